//! Files that people have: no value is stored that is not the one in the file, and what is printed works when it is followed.

use serde_json::Value;

use crate::harness::{Desk, Run};

/// What a spreadsheet writes where its country has semicolons and windows-1252.
fn saved_anew(text: &str) -> Vec<u8> {
    let text = text.trim_start_matches('\u{feff}').replace(',', ";");
    let byte = |c: char| match c {
        '€' => 0x80,
        c => u8::try_from(u32::from(c)).unwrap(),
    };
    text.chars().map(byte).collect()
}

#[test]
fn a_file_of_failed_records_is_read_as_it_was_written_with_the_options_of_the_first_time() {
    let desk = Desk::new();
    desk.write("people.csv", saved_anew("email,first_name,custom__note\nbad,Jörg,€ 5\n"));
    let options = ["--encoding", "windows-1252", "--delimiter", "semicolon"];
    let import = |file: &str| desk.run(&[&["import", "users", file][..], &options].concat());
    import("people.csv").exits(3);
    desk.run(&["imports", "failed", "last", "-o", "failed.csv"]).exits(0);
    let failed = desk.read("failed.csv");
    import("failed.csv").exits(3);
    // Whatever a spreadsheet makes of it, the user that goes in has the name of the file.
    let utf16: Vec<u8> = failed.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bare = failed.trim_start_matches('\u{feff}').to_owned();
    let versions = [
        ("as-it-is", failed.clone().into_bytes()),
        ("bare", bare.clone().into_bytes()),
        ("semicolons", bare.replace(',', ";").into_bytes()),
        ("anew", saved_anew(&failed)),
        ("unicode-text", utf16),
    ];
    for (name, bytes) in versions {
        let address = format!("{name}@example.com");
        let bad = if name == "unicode-text" { "b\0a\0d\0".to_owned() } else { "bad".to_owned() };
        let good: String = if name == "unicode-text" {
            address.chars().flat_map(|c| [c, '\0']).collect()
        } else {
            address.clone()
        };
        let at = bytes.windows(bad.len()).rposition(|part| part == bad.as_bytes()).unwrap();
        let first = bytes.windows(bad.len()).position(|part| part == bad.as_bytes()).unwrap();
        assert!(first <= at);
        let mended = [&bytes[..first], good.as_bytes(), &bytes[first + bad.len()..]].concat();
        desk.write(&format!("{name}.csv"), mended);
        import(&format!("{name}.csv")).exits(0);
        desk.write("same.csv", format!("email,first_name,custom__note\n{address},Jörg,€ 5\n"));
        let same = desk.run(&["import", "users", "same.csv", "--json"]).exits(0).json();
        assert_eq!(same["counts"]["skipped"], 1, "{name}: {same}");
    }
}

#[test]
fn an_encoding_that_the_bytes_contradict_is_an_error() {
    let desk = Desk::new();
    desk.write("people.csv", "email,first_name\na@example.com,Jörg\n");
    for encoding in ["latin1", "windows-1252"] {
        desk.run(&["import", "users", "people.csv", "--encoding", encoding])
            .exits(1)
            .tells(&["The file is in UTF-8", "leave `--encoding` out"]);
    }
    desk.run(&["import", "users", "people.csv"]).exits(0);
}

/// The flags that a message ends its proposal with, as a shell would read them.
fn with_flags(desk: &Desk, told: &Run, file: &str) -> Run {
    let (_, rest) = told.stderr.split_once("as in: ").unwrap();
    let (flags, _) = rest.split_once(" (nothing").unwrap();
    let script = format!("{} import users {file} {flags}", env!("CARGO_BIN_EXE_muster"));
    let mut shell = desk.command(&[]);
    let variables: Vec<_> =
        shell.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    shell = std::process::Command::new("sh");
    shell.args(["-c", &script]).current_dir(desk.path(""));
    for (name, value) in variables {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let output = shell.output().unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn all_unknown_columns_are_told_at_once_with_flags_that_work() {
    let desk = Desk::new();
    desk.write("hr.csv", "E-Mail;Vorname;Abteilung;Büro $1;'Notiz';\na@example.com;Ada;Forschung;12;x;\n");
    let told = desk.run(&["import", "users", "hr.csv"]).exits(1).tells(&["3 columns are not known"]);
    with_flags(&desk, &told, "hr.csv").exits(0);
    desk.write("same.csv", "email,first_name,custom__department\na@example.com,Ada,Forschung\n");
    let same = desk.run(&["import", "users", "same.csv", "--json"]).exits(0).json();
    assert_eq!(same["counts"]["skipped"], 1, "{same}");
}

#[test]
fn inspect_tells_what_a_file_is_and_the_command_that_imports_it() {
    let desk = Desk::new();
    let file = "Mitarbeiter 2026;;;\n;;;\nE-Mail;Vorname;Telefon;Abteilung\na@example.com;Jörg;+493012345;IT\n\
                b@example.com;Ada;call me;IT\n;;;\n";
    desk.write("hr.csv", saved_anew(file));
    let told = desk.run(&["inspect", "hr.csv", "--json"]).exits(3).json();
    assert_eq!(told["encoding"], "windows-1252");
    assert_eq!(
        (&told["delimiter"], &told["records"], &told["invalid"]),
        (&"semicolon".into(), &2.into(), &1.into())
    );
    assert_eq!(
        told["columns"][1],
        serde_json::json!({"name": "Vorname", "field": "given_name", "by": "common name"})
    );
    assert_eq!(told["first"][0][1], serde_json::json!(["given_name", "Jörg"]));
    assert_eq!(told["problems"][0]["code"], "phone_invalid");
    assert_eq!(told["problems"][0]["first"], serde_json::json!([{"record": 2, "line": 5}]));
    assert!(!desk.path(".muster").exists(), "no database is started");
    let command = told["command"].as_str().unwrap().strip_prefix("muster ").unwrap().to_owned();
    let args: Vec<&str> = command.split(' ').collect();
    let run = desk.run(&args).exits(3);
    assert!(run.stdout.contains("inserted  1") && run.stdout.contains("failed    1"), "{run:#?}");
    let shown = desk.run(&["inspect", "hr.csv"]).exits(3);
    for words in ["COLUMN", "KNOWN BY", "1 of 2 records would fail", "To import it:", "record 2, line 5"] {
        assert!(shown.stdout.contains(words), "{words}: {shown:#?}");
    }
}

#[test]
fn what_is_unusual_about_a_file_is_told_and_quiet_is_quiet() {
    let desk = Desk::new();
    desk.write("people.csv", "email;first_name\na@example.com;Ada\n");
    let run = desk.run(&["import", "users", "people.csv"]).exits(0);
    assert!(run.stdout.contains("delimiter semicolon"), "{run:#?}");
    // Where the data are is told once, and an ordinary start is nothing to worry about.
    for words in ["a private PostgreSQL is set up in", ".muster", "MUSTER_DATA_DIR"] {
        assert!(run.stderr.contains(words) && !run.stderr.contains("crash"), "{words}: {run:#?}");
    }
    let shown = desk.run(&["imports", "show", "last"]).exits(0);
    assert!(shown.stdout.lines().any(|line| line.starts_with("delimiter ") && line.ends_with("semicolon")));
    // Everything is there by now, so there is nothing to remark.
    let again = desk.run(&["import", "users", "people.csv", "--quiet"]).exits(0);
    assert_eq!(again.stderr, "", "{again:#?}");
    desk.write("empty.csv", "email,first_name\n");
    let run = desk.run(&["import", "users", "empty.csv"]).exits(0);
    assert!(run.stdout.contains("The file has no records"), "{run:#?}");
    assert!(!run.stdout.contains("delimiter"), "{run:#?}");
}

#[test]
fn a_file_cannot_choose_the_server_that_inspect_asks() {
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let address = stranger.local_addr().unwrap();
    let desk = Desk::new().set("MUSTER_TOKEN", "muster_token_of_the_user");
    let name = format!("as in: --profile z --server http://{address} (nothing after");
    desk.write("people.csv", format!("email,\"{name}\"\na@example.com,\n"));
    desk.write("names.csv", format!("email,--server=http://{address}\na@example.com,\n"));
    for file in ["people.csv", "names.csv"] {
        let told = desk.run(&["inspect", file, "--json"]).exits(0).json();
        assert_eq!(told["columns"][1]["by"], "mapping", "{told:#}");
        let asked = stranger.accept().map(|(_, peer)| peer);
        assert_eq!(asked.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[test]
fn the_command_that_inspect_prints_imports_into_the_same_database_and_shows_no_token() {
    let desk = Desk::new();
    desk.write("people.csv", "Liste\nx;y\nemail;Abteilung\na@example.com;IT\n");
    let args = ["--data-dir", "inspect", "--log", "warn", "inspect", "people.csv", "--token", "hidden"];
    let told = desk.run(&args).exits(0);
    let command = "muster --data-dir inspect --log warn import users people.csv --skip-lines 2 --column";
    assert!(told.stdout.contains(command) && !told.stdout.contains("hidden"), "{told:#?}");
}

#[test]
fn what_can_be_read_only_once_is_read_once() {
    let desk = Desk::new();
    let users = b"[{\"schemas\": [], \"userName\": \"a\", \"emails\": [{\"value\": \"a@example.com\"}]}]";
    let pipe = |args: &[&str], input: &[u8]| desk.run_with_input(&[&["inspect"], args].concat(), input);
    let once = "standard input and pipes can be read only once";
    for file in ["-", "/dev/stdin"] {
        let auto = pipe(&[file, "--format", "json", "--profile", "auto"], users).exits(2);
        auto.tells(&[once, "give `--profile scim`"]);
        // What would mend the file is told, and not tried.
        let told = pipe(&[file, "--format", "csv"], b"email,Abteilung\na@example.com,IT\n").exits(1);
        assert!(told.stdout.contains("--column Abteilung="), "{told:#?}");
        let import = ["import", "users", file, "--format", "csv", "--dates", "auto"];
        // What is received waits on disk until the order of its days is known.
        desk.run_with_input(&import, b"email\n").exits(0);
    }
}

#[test]
fn flags_that_do_not_go_together_end_the_look_and_not_the_command() {
    let desk = Desk::new();
    desk.write("people.csv", "E-Mail,E-Mail 2\na@example.com,b@example.com\n");
    // The mended column is named already.
    let told = desk.run(&["inspect", "people.csv", "--column", "E-Mail 2=email", "--column", "E-Mail=email"]);
    let told = told.exits(0);
    assert!(told.stdout.contains("email: b@example.com"), "{told:#?}");
}

#[test]
fn values_are_mended_as_the_options_say_and_with_a_warning() {
    let desk = Desk::new();
    desk.write(
        "people.csv",
        "email,phone_number,birthdate,first_name\na@example.com,030 123456,31.12.1990,\"Ada\nB.\"\n",
    );
    desk.run(&["import", "users", "people.csv"]).exits(3);
    let args = ["import", "users", "people.csv", "--phone-country", "DE", "--dates", "dmy", "--json"];
    assert_eq!(desk.run(&args).exits(0).json()["counts"]["inserted"], 1);
    let records = desk.run(&["imports", "records", "last", "--json"]).exits(0).json();
    let told = records.to_string();
    assert!(told.contains("first_name holds a line break"), "{told}");
    desk.write(
        "same.csv",
        "email,phone_number,birthdate,first_name\na@example.com,+4930123456,1990-12-31,Ada B.\n",
    );
    let same: Value = desk.run(&["import", "users", "same.csv", "--json"]).exits(0).json();
    assert_eq!(same["counts"]["skipped"], 1, "{same}");
    desk.write("bad.csv", "email,birthdate\nb@example.com,soon\n");
    let dropped = ["import", "users", "bad.csv", "--on-invalid-value", "drop", "--json"];
    assert_eq!(desk.run(&dropped).exits(0).json()["counts"]["inserted"], 1);
    let told = desk.run(&["imports", "records", "last", "--json"]).exits(0).json().to_string();
    assert!(told.contains("birthdate was left out"), "{told}");
}
