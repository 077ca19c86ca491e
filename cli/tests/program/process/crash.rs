//! Killed and interrupted runs: the same command again finishes the import, with exact counts.

use std::process::{Child, Stdio};

use serde_json::Value;

use crate::harness::{Desk, generated, signal, wait};

const RECORDS: usize = 50_000;

/// Small chunks, one at a time: there is time to look at the middle.
fn desk() -> Desk {
    let desk = Desk::new()
        .set("MUSTER_INTAKE_CHUNK_RECORDS", "250")
        .set("MUSTER_WORKER_CONCURRENCY", "1")
        .set("MUSTER_DISPATCH_WINDOW", "4");
    desk.write("users.csv", generated(RECORDS));
    desk
}

const IMPORT: [&str; 4] = ["import", "users", "users.csv", "--json"];

/// Starts the import, and returns once some of its records are done and some are not.
fn half_way(desk: &Desk) -> Child {
    let child = desk.start(&IMPORT, Stdio::null());
    desk.until_runs(&child);
    desk.until_import(|import| {
        let count = |name: &str| import["counts"][name].as_u64().unwrap();
        (import["state"] == "running" && count("inserted") > 0 && count("pending") > 0).then_some(())
    });
    child
}

fn finishes(desk: &Desk) {
    let second = desk.run(&IMPORT).exits(0).tells(&["resuming import", "of 50,000 records are done"]);
    let summary: Value = second.json();
    assert_eq!(summary["state"], "completed");
    assert_eq!(
        (&summary["counts"]["total"], &summary["counts"]["inserted"]),
        (&RECORDS.into(), &RECORDS.into())
    );
    desk.assert_quiet();
    let list = desk.run(&["imports", "list", "--json"]).exits(0).json();
    assert_eq!(list.as_array().unwrap().len(), 1, "no second import was made");
    // Nothing was applied twice, or the same file again would find something to do.
    let again = desk.run(&IMPORT).exits(0).json();
    assert_eq!(again["counts"]["skipped"], RECORDS);
}

#[test]
fn a_killed_import_is_finished_by_the_same_command() {
    let desk = desk();
    let mut child = half_way(&desk);
    child.kill().unwrap();
    child.wait().unwrap();
    desk.until_quiet();
    finishes(&desk);
}

#[test]
fn an_interrupted_import_ends_in_order_and_is_finished_by_the_same_command() {
    let desk = desk();
    let child = half_way(&desk);
    signal(&child, "INT");
    wait(child).exits(1).tells(&["is not finished", "same command again"]);
    desk.assert_quiet();
    finishes(&desk);
}

#[test]
fn an_import_killed_while_it_was_received_is_aborted_and_received_again() {
    let desk = Desk::new();
    let mut child = desk.start(&["import", "users", "-", "--format", "csv"], Stdio::piped());
    desk.until_runs(&child);
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, generated(10_000).as_bytes()).unwrap();
    desk.until_import(|import| (import["state"] == "receiving").then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    desk.until_quiet();
    let run = desk
        .run_with_input(&["import", "users", "-", "--format", "csv", "--json"], generated(10_000).as_bytes());
    assert_eq!(run.exits(0).json()["counts"]["inserted"], 10_000);
    let list = desk.run(&["imports", "list", "--json"]).exits(0).json();
    assert_eq!((&list[0]["state"], &list[1]["state"]), (&"completed".into(), &"aborted".into()));
}

#[test]
fn an_interrupt_while_receiving_aborts_the_import() {
    let desk = Desk::new();
    let mut child = desk.start(&["import", "users", "-", "--format", "csv"], Stdio::piped());
    desk.until_runs(&child);
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"email\nsomeone@example.com\n").unwrap();
    desk.until_import(|import| (import["state"] == "receiving").then_some(()));
    signal(&child, "TERM");
    wait(child).exits(1);
    desk.assert_quiet();
    drop(input);
    let last = desk.run(&["imports", "show", "last", "--json"]).exits(0).json();
    assert_eq!((&last["state"], &last["error"]["code"]), (&"aborted".into(), &"upload_incomplete".into()));
}
