//! `muster import users` on the embedded engine.

use std::process::{Command, Stdio};

use crate::harness::{Desk, example, generated};

fn import(desk: &Desk, file: &str) -> crate::harness::Run {
    desk.run(&["import", "users", file])
}

#[test]
fn a_file_is_imported_its_failed_records_mended_and_imported_again() {
    let desk = Desk::new();
    std::fs::copy(example("users.csv"), desk.path("users.csv")).unwrap();
    let first = import(&desk, "users.csv").exits(3);
    for line in
        ["total     20", "inserted  18", "failed    2", "email: ", "record 12, line 13", "record 19, line 20"]
    {
        assert!(first.stdout.contains(line), "{line}: {first:#?}");
    }
    desk.assert_quiet();
    let named = first.stdout.lines().find_map(|line| line.strip_prefix("failed records: muster ")).unwrap();
    let args: Vec<&str> = named.split_whitespace().collect();
    desk.run(&args).exits(0);
    let failed = desk.read("failed.csv");
    assert_eq!(failed.lines().count(), 3, "{failed}");
    // As it is, it is taken and fails again; mended, it does not.
    let again = desk.run(&["import", "users", "failed.csv", "--json"]).exits(3).json();
    assert_eq!((&again["counts"]["total"], &again["counts"]["failed"]), (&2.into(), &2.into()));
    desk.write(
        "mended.csv",
        failed.replace("not-an-address", "missing@example.com").replace("call me", "+3221234567"),
    );
    let mended = desk.run(&["import", "users", "mended.csv", "--json"]).exits(0).json();
    assert_eq!(mended["counts"]["inserted"], 2);
    assert_eq!(mended["state"], "completed");
}

#[test]
fn the_same_file_again_changes_nothing() {
    let desk = Desk::new();
    desk.write("users.csv", generated(50));
    import(&desk, "users.csv").exits(0);
    let again = import(&desk, "users.csv").exits(0);
    assert!(again.stdout.contains("skipped   50 (unchanged 50)"), "{again:#?}");
    let list = desk.run(&["imports", "list", "--json"]).exits(0).json();
    assert_eq!(list.as_array().unwrap().len(), 2, "an import that has ended blocks no new one");
}

#[test]
fn standard_input_and_compressed_files_are_read() {
    let desk = Desk::new();
    let json = std::fs::read(example("users.json")).unwrap();
    let run = desk.run_with_input(&["import", "users", "-", "--format", "json", "--json"], &json).exits(0);
    assert_eq!(run.json()["counts"]["inserted"], 5);
    desk.write("people.csv", generated(30));
    let packed =
        Command::new("gzip").arg("people.csv").current_dir(desk.path("")).stdin(Stdio::null()).status();
    assert!(packed.unwrap().success());
    let run = desk.run(&["import", "users", "people.csv.gz", "--json"]).exits(0);
    assert_eq!(run.json()["counts"]["inserted"], 30);
    std::fs::copy(example("users.ndjson"), desk.path("users.ndjson")).unwrap();
    let run = desk.run(&["import", "users", "users.ndjson", "--json"]).exits(0);
    assert_eq!(run.json()["counts"]["skipped"], 5);
}

#[test]
fn a_file_in_another_encoding_is_read_once_its_encoding_is_known() {
    let desk = Desk::new();
    let text = "email,first_name\nrene@example.com,René\n";
    let mut marked = vec![0xff, 0xfe];
    marked.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    desk.write("marked.csv", &marked);
    let told = import(&desk, "marked.csv").exits(0);
    assert!(told.stdout.contains("\n  encoding  utf-16le\n"), "{told:#?}");
    let latin1: Vec<u8> = text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect();
    desk.write("latin1.csv", latin1);
    import(&desk, "latin1.csv").exits(1).tells(&["say so with `--encoding windows-1252`"]);
    let args = ["import", "users", "latin1.csv", "--encoding", "latin1", "--json"];
    let summary = desk.run(&args).exits(0).json();
    // The same user as before, the same name.
    assert_eq!((&summary["encoding"], &summary["counts"]["skipped"]), (&"latin1".into(), &1.into()));
}

#[test]
fn a_file_that_is_none_leaves_no_half_import() {
    let desk = Desk::new();
    for (name, content, words) in [
        ("empty.csv", &b""[..], &["file_empty"][..]),
        ("no-identifier.csv", b"first_name\nZuzana\n", &["csv_header_missing", "email"]),
        ("unknown-column.csv", b"email,shoe_size\na@example.com,43\n", &["csv_header_unknown", "shoe_size"]),
        ("quote.csv", b"email\n\"a@example.com\n", &["csv_unclosed_quote", "line 2"]),
        ("broken.json", b"[{\"email\": \"a@example.com\"}, {", &["json_truncated"]),
    ] {
        desk.write(name, content);
        import(&desk, name).exits(1).tells(words).tells(&[name]);
        let last = desk.run(&["imports", "show", "last", "--json"]).exits(0).json();
        assert_eq!(last["state"], "refused", "{name}: {last}");
    }
    desk.write("cut.csv.gz", [0x1f, 0x8b, 8, 0, 0, 0]);
    import(&desk, "cut.csv.gz").exits(1).tells(&["compression_corrupt"]);
    let none = desk.run(&["imports", "list", "--state", "completed", "--json"]).exits(0).json();
    assert_eq!(none, serde_json::json!([]));
}

#[test]
fn invalid_records_refuse_the_file_where_asked() {
    let desk = Desk::new();
    desk.write("users.csv", "email\na@example.com\nb\n");
    let args = ["import", "users", "users.csv", "--on-invalid", "refuse"];
    desk.run(&args).exits(1).tells(&["1 of 2 records", "imports failed"]);
    let failed = desk.run(&["imports", "failed", "last"]).exits(0);
    assert!(failed.stdout.contains("email_invalid"), "{failed:#?}");
}

#[test]
fn what_the_catalog_lacks_is_told_as_wrong_usage() {
    let desk = Desk::new();
    desk.write("users.csv", "email\na@example.com\n");
    desk.run(&["import", "users", "users.csv", "--org", "nowhere"])
        .exits(2)
        .tells(&["--org: ", "no organization `nowhere`"]);
    let misnamed = ["import", "users", "users.csv", "--behaviour", "first_name=ignore"];
    desk.run(&misnamed).exits(2).tells(&["--behaviour: ", "the field is called `given_name`"]);
    desk.run(&["import", "users", "users.csv", "--tenant", "nobody"])
        .exits(1)
        .tells(&["no tenant nobody", "tenant create"]);
    desk.run(&["import", "users", "users.csv", "--org", "default", "--group", "Readers"]).exits(0);
}
