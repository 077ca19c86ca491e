//! `muster serve` on the embedded engine, and commands that talk to it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::harness::{Desk, generated, signal, wait};

/// Starts the service; returns its address, and the token that it writes to a file at its first start: standard output is a pipe,
/// as where logs are kept, and must not hold it.
pub(super) fn serve(desk: &Desk, first: bool) -> (Child, String, String) {
    let mut child = desk.start(&["serve", "--listen", "127.0.0.1:0", "--log", "warn"], Stdio::null());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let url = lines.next().unwrap_or_else(|| panic!("{:?}", wait_for(&mut child)));
    let token = if first {
        let told = lines.next().unwrap();
        assert!(!told.contains("mst_"), "{told}");
        let file = told.strip_prefix("token in ").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(desk.path(file)).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        desk.read(file).trim().to_owned()
    } else {
        String::new()
    };
    let url = url.strip_prefix("listening on ").unwrap().to_owned();
    (child, url, token)
}

fn wait_for(child: &mut Child) -> String {
    let mut text = String::new();
    std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut text).unwrap();
    text
}

#[test]
fn the_token_of_the_first_start_is_in_the_audit() {
    let desk = Desk::new();
    let (child, url, token) = serve(&desk, true);
    let listed = |url: &str| {
        desk.run(&["audit", "list", "--json", "--server", url, "--token", &token]).exits(0).json()
    };
    let audit = listed(&url);
    let entry = &audit[0];
    assert_eq!(
        (&entry["action"], &entry["name"], &entry["actor"], audit.as_array().unwrap().len()),
        (&"token.create".into(), &"operator".into(), &"start".into(), 1)
    );
    signal(&child, "TERM");
    wait(child).exits(0);
    // Another start makes no token.
    let (child, url, _) = serve(&desk, false);
    assert_eq!(listed(&url), audit);
    signal(&child, "TERM");
    wait(child).exits(0);
}

#[test]
fn a_file_is_handed_to_a_server_and_followed_to_its_end() {
    let desk = Desk::new();
    let (child, url, token) = serve(&desk, true);
    let at = |args: &[&str]| {
        let mut args = args.to_vec();
        args.extend(["--server", &url, "--token", &token]);
        desk.run(&args)
    };
    desk.write("users.csv", generated(3000));
    let done = at(&["import", "users", "users.csv", "--json"]).exits(0).json();
    assert_eq!((&done["state"], &done["counts"]["inserted"]), (&"completed".into(), &3000.into()));
    // One that has ended is in nobody's way.
    let again = at(&["import", "users", "users.csv", "--json"]).exits(0).json();
    assert_eq!(again["counts"]["skipped"], 3000);
    let third = at(&["import", "users", "users.csv", "--json"]).exits(0).json();
    assert_ne!(third["id"], again["id"]);
    desk.write("mixed.csv", "email\nsomeone@example.com\nno-one\n");
    let mixed = at(&["import", "users", "mixed.csv"]).exits(3);
    assert!(mixed.stdout.contains("record 2, line 3"), "{mixed:#?}");
    // The command that is told works as it is copied.
    let reached = format!(" --server {url} -o failed.csv");
    assert!(mixed.stdout.contains(&reached), "{mixed:#?}");
    let problems = at(&["imports", "problems", "last", "--json"]).exits(0).json();
    assert_eq!(
        (&problems["problems"][0]["code"], &problems["more"]),
        (&"email_invalid".into(), &false.into())
    );
    let chunks = at(&["imports", "chunks", "last", "--state", "applied"]).exits(0);
    assert!(chunks.stdout.contains("applied"), "{chunks:#?}");
    let undo = at(&["imports", "undo", "last", "--check", "--json"]).exits(0).json();
    assert_eq!((&undo["inserted"], &undo["refused"]), (&1.into(), &serde_json::Value::Null));
    at(&["imports", "failed", "last", "-o", "failed.csv"]).exits(0);
    assert!(desk.read("failed.csv").contains("email_invalid"));
    let list = at(&["imports", "list", "--json"]).exits(0).json();
    assert_eq!(list.as_array().unwrap().len(), 4);
    let prefix = list[1]["id"].as_str().unwrap();
    assert_eq!(at(&["imports", "show", prefix, "--json"]).exits(0).json()["id"], list[1]["id"]);
    at(&["imports", "retry", "last"]).exits(0);
    let records = at(&["imports", "records", "last", "--outcome", "inserted"]).exits(0);
    assert!(records.stdout.contains("someone@example.com"), "{records:#?}");

    let stdin = desk.run_with_input(
        &["import", "users", "-", "--format", "csv", "--json", "--server", &url, "--token", &token],
        b"email\nanother@example.com\n",
    );
    assert_eq!(stdin.exits(0).json()["counts"]["inserted"], 1);
    desk.write("unknown.csv", "email,shoe_size\na@example.com,43\n");
    at(&["import", "users", "unknown.csv"]).exits(1).tells(&["unknown.csv", "csv_header_unknown"]);
    let wrong = ["imports", "list", "--server", &url, "--token", "mst_wrong"];
    desk.run(&wrong).exits(1).tells(&["unauthorized"]);
    // The commands that look may look at the store itself meanwhile.
    desk.run(&["imports", "list"]).exits(0);

    signal(&child, "TERM");
    wait(child).exits(0);
    desk.assert_quiet();
    let (child, _, _) = serve(&desk, false);
    signal(&child, "INT");
    wait(child).exits(0);
    let tokens = desk.run(&["token", "list", "--json"]).exits(0).json();
    assert_eq!(tokens.as_array().unwrap().len(), 1, "the operator's token is made once");
}

/// Whoever pastes a page of commands does not wait for the first one.
#[test]
fn a_command_waits_till_the_service_has_prepared_its_engine() {
    let desk = Desk::new();
    let serving = desk.start(&["serve", "--listen", "127.0.0.1:0", "--log", "warn"], Stdio::null());
    desk.until_runs(&serving);
    desk.run(&["catalog", "show"]).exits(0);
    desk.run(&["token", "create", "--name", "loader", "--scope", "import:write"]).exits(0);
    signal(&serving, "TERM");
    wait(serving).exits(0);
}

/// Nobody could ever join them.
#[test]
fn a_producer_or_worker_on_the_private_engine_is_refused() {
    for role in ["producer", "worker"] {
        let desk = Desk::new();
        desk.run(&[role]).exits(1).tells(&["DATABASE_URL is not set", "muster serve"]);
        assert!(!desk.path(".muster").exists());
    }
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let desk = Desk::new();
    desk.write("users.csv", generated(1));
    let args = ["import", "users", "users.csv", "--server", "http://127.0.0.1:1", "--token", "t"];
    desk.run(&args).exits(1).tells(&["http://127.0.0.1:1 cannot be reached"]);
    assert!(!desk.path(".muster").exists());
}
