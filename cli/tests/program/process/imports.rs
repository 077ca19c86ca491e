//! `muster imports` on the embedded engine.

use std::process::Stdio;

use crate::harness::{Desk, generated, wait};

#[test]
fn an_import_waits_proceeds_and_is_found_by_the_beginning_of_its_id() {
    let desk = Desk::new();
    desk.write("users.csv", generated(20));
    let waiting = desk.run(&["import", "users", "users.csv", "--start", "manual", "--json"]).exits(0).json();
    assert_eq!(waiting["state"], "received");
    let id = waiting["id"].as_str().unwrap();
    // The same command again does not make a second one.
    let same = desk.run(&["import", "users", "users.csv", "--start", "manual", "--json"]).exits(0).json();
    assert_eq!(same["id"], id);
    let done = desk.run(&["imports", "proceed", &id[..20], "--json"]).exits(0).json();
    assert_eq!((&done["state"], &done["counts"]["inserted"]), (&"completed".into(), &20.into()));
    let records = desk.run(&["imports", "records", id, "--limit", "3", "--json"]).exits(0);
    let lines: Vec<serde_json::Value> =
        records.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["record"], 3);
    assert_eq!(lines[2]["outcome"], "inserted");
    desk.run(&["imports", "pause", id]).exits(1).tells(&["completed", "cannot pause"]);
    desk.run(&["imports", "show", "ffffffffff"]).exits(1).tells(&["begins with ffffffffff", "imports list"]);
    let by_its_end = desk.run(&["imports", "show", &id[id.len() - 8..], "--json"]).exits(0).json();
    assert_eq!(by_its_end["id"], id);
    desk.run(&["imports", "show", "01234567-89ab-7def-8123-456789abcdef"]).exits(1).tells(&["no import"]);
    desk.run(&["imports", "show", "first"]).exits(2).tells(&["last"]);
}

#[test]
fn a_waiting_import_is_cancelled_and_its_records_are_skipped() {
    let desk = Desk::new();
    desk.write("users.csv", generated(20));
    desk.run(&["import", "users", "users.csv", "--start", "manual"]).exits(0);
    let cancelled = desk.run(&["imports", "cancel", "last", "--json"]).exits(0).json();
    assert_eq!((&cancelled["state"], &cancelled["counts"]["skipped"]), (&"cancelled".into(), &20.into()));
    desk.run(&["import", "users", "users.csv"]).exits(0);
}

#[test]
fn retry_does_its_work_before_it_ends() {
    let desk = Desk::new();
    desk.write("users.csv", "email\nsomeone@example.com\nno-one\n");
    desk.run(&["import", "users", "users.csv"]).exits(3);
    let again = desk.run(&["imports", "retry", "last", "--json"]).exits(3).json();
    assert_eq!((&again["state"], &again["counts"]["inserted"]), (&"completed".into(), &1.into()));
    assert_eq!(again["first_failures"][0]["record"], 2);
    let failed = desk.run(&["imports", "failed", "last", "-o", "failed.ndjson"]).exits(0);
    assert!(failed.stderr.contains("1 failed records"), "{failed:#?}");
    let line: serde_json::Value = serde_json::from_str(desk.read("failed.ndjson").trim()).unwrap();
    assert_eq!(line["_error_code"], "email_invalid");
}

/// Nobody would ever end it here: that is said, with the command that goes on.
#[test]
fn an_import_on_which_nobody_works_is_not_watched_for_ever() {
    let desk = Desk::new();
    desk.write("users.csv", "email\nsomeone@example.com\nno-one\n");
    desk.run(&["import", "users", "users.csv", "--start", "manual"]).exits(3);
    let told = desk.run(&["imports", "watch", "last"]).exits(1);
    let told = told.tells(&["is received", "no program works on it here", "muster serve"]);
    let command = told.stderr.split('`').nth(3).unwrap().to_owned();
    assert!(command.starts_with("muster imports proceed "), "{told:#?}");
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    desk.run(&words).exits(3);
    // One that has ended is told as it is at the end of an import, exit code included.
    let ended = desk.run(&["imports", "watch", "last"]).exits(3);
    assert!(ended.stdout.contains("completed") && ended.stdout.contains("record 2, line 3"), "{ended:#?}");
    let json = desk.run(&["imports", "watch", "last", "--json"]).exits(3).json();
    assert_eq!((&json["state"], &json["counts"]["inserted"]), (&"completed".into(), &1.into()));
    desk.run(&["imports", "watch", "ffffffffff"]).exits(1).tells(&["begins with ffffffffff"]);
}

/// More than one page of them.
#[test]
fn chunks_of_an_import_are_listed_all_of_them_once() {
    let desk = Desk::new().set("MUSTER_INTAKE_CHUNK_RECORDS", "1");
    desk.write("users.csv", generated(1_100));
    desk.run(&["import", "users", "users.csv", "--start", "manual"]).exits(0);
    let chunks = |args: &[&str]| {
        let run = desk.run(&[&["imports", "chunks", "last", "--json"], args].concat()).exits(0);
        let lines = run.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.collect::<Vec<_>>()
    };
    let all = chunks(&[]);
    let ids: std::collections::BTreeSet<i64> =
        all.iter().map(|chunk| chunk["id"].as_i64().unwrap()).collect();
    assert_eq!((all.len(), ids.len()), (1_100, 1_100));
    let places: Vec<_> = all.iter().map(|chunk| (chunk["lane"].as_i64(), chunk["seq"].as_i64())).collect();
    assert!(places.is_sorted(), "they stand by lane and number");
    assert!(
        all.iter().all(|chunk| chunk["state"] == "staged" && chunk["counts"]["pending"] == 1),
        "{}",
        all[0]
    );
    assert_eq!(chunks(&["--limit", "1050"]).len(), 1_050);
    assert_eq!(chunks(&["--state", "applied"]).len(), 0);
    assert_eq!(chunks(&["--problem"]).len(), 0);
    let table = desk.run(&["imports", "chunks", "last", "--limit", "2"]).exits(0);
    assert!(table.stdout.starts_with("CHUNK") && table.stdout.lines().count() == 3, "{table:#?}");
    desk.run(&["imports", "chunks", "last", "--state", "lost"]).exits(2).tells(&["retryable"]);
}

/// Shown first, then done by the id that was shown; with `--yes` at once.
#[test]
fn many_imports_are_cancelled_and_resumed_at_once() {
    let desk = Desk::new();
    let states = || {
        let list = desk.run(&["imports", "list", "--json"]).exits(0).json();
        let states =
            list.as_array().unwrap().iter().map(|import| import["state"].as_str().unwrap().to_owned());
        states.collect::<Vec<_>>()
    };
    for name in ["one.csv", "two.csv", "other.csv"] {
        desk.write(name, format!("email\n{name}@example.com\n"));
        desk.run(&["import", "users", name, "--start", "manual"]).exits(0);
    }
    let shown = desk.run(&["imports", "bulk", "cancel", "--file", "o.csv"]).exits(0);
    assert!(shown.stdout.contains("imports          1 (1 received)"), "{shown:#?}");
    let id = shown.stdout.split_whitespace().nth(1).unwrap().to_owned();
    assert!(shown.stderr.contains(&format!("muster imports bulk start {id}")), "{shown:#?}");
    assert_eq!(states(), ["received"; 3]);
    let done = desk.run(&["imports", "bulk", "start", &id, "--json"]).exits(0).json();
    assert_eq!((&done["state"], &done["succeeded"]), (&"done".into(), &1.into()));
    assert_eq!(states(), ["received", "cancelled", "received"]);
    let all = desk.run(&["imports", "bulk", "cancel", "--yes", "--json"]).exits(0).json();
    assert_eq!((&all["imports"], &all["succeeded"]), (&2.into(), &2.into()));
    assert_eq!(states(), ["cancelled"; 3]);
    let none = desk.run(&["imports", "bulk", "pause", "--json"]).exits(0);
    assert_eq!((none.json()["imports"].as_u64(), none.stderr.contains("this does it")), (Some(0), false));
    let list = desk.run(&["imports", "bulk", "list", "--json"]).exits(0).json();
    assert_eq!(list.as_array().unwrap().len(), 2);
    desk.run(&["imports", "bulk", "pause", "--state", "completed"]).exits(2).tells(&["--state", "running"]);
    desk.run(&["imports", "bulk", "retry", "--older-than", "soon"]).exits(2).tells(&["--older-than", "30d"]);
    let nobody = "0190a5f0-7b7c-7000-8000-000000000001";
    desk.run(&["imports", "bulk", "start", nobody]).exits(1).tells(&[nobody, "bulk list"]);
}

#[test]
fn two_programs_on_one_folder_get_a_clear_answer() {
    let desk = Desk::new();
    let mut first = desk.start(&["import", "users", "-", "--format", "csv"], Stdio::piped());
    desk.until_runs(&first);
    let mut input = first.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"email\n").unwrap();
    // Looking is welcome, a second engine is not.
    desk.until_import(|import| (import["state"] == "receiving").then_some(()));
    desk.run(&["tenant", "list"]).exits(0);
    desk.run(&["doctor"]).exits(0);
    desk.write("users.csv", generated(1));
    let second = desk.run(&["import", "users", "users.csv"]).exits(1);
    second.tells(&["in use by `muster import`", &first.id().to_string(), "--server"]);
    std::io::Write::write_all(&mut input, b"someone@example.com\n").unwrap();
    drop(input);
    wait(first).exits(0);
}
