//! What needs no engine: wrong usage, wrong files, configuration.

use std::process::Stdio;

use crate::harness::{Desk, signal, until, wait};

#[test]
fn wrong_usage_is_told_with_exit_code_2() {
    let desk = Desk::new();
    desk.write("users.xml", "<users/>");
    desk.write("users.csv", "email\n");
    for (args, words) in [
        (&["import", "users", "users.csv", "--format", "xml"][..], &["xml", "csv, json, ndjson"][..]),
        (&["import", "users", "users.csv", "--identifier", "shoe"], &["shoe", "email"]),
        (&["import", "users", "users.csv", "--on-existing", "replace"], &["skip, update, enrol"]),
        (&["import", "users", "users.xml"], &["users.xml", "--format"]),
        (&["import", "users", "-"], &["--format"]),
        (&["import", "users", "users.csv", "--server", "http://localhost:1"], &["--token"]),
        (&["import", "users", "users.csv", "--server", "localhost", "--token", "t"], &["http://"]),
        (&["import", "users", "users.csv", "--tenant", "a b"], &["a-z"]),
        (&["imports", "records", "last", "--outcome", "lost"], &["skipped"]),
        (&["top"], &["needs a terminal", "muster imports list"]),
        (&["explain", "no_such_code"], &["muster explain"]),
        (&["explain", "emial_invalid"], &["Did you mean email_invalid?"]),
        (&["frobnicate"], &["frobnicate"]),
    ] {
        desk.run(args).exits(2).tells(words);
    }
    assert!(!desk.path(".muster").exists(), "nothing was started");
}

#[test]
fn a_file_that_cannot_be_read_is_told_before_anything_is_started() {
    let desk = Desk::new();
    desk.run(&["import", "users", "nowhere.csv"])
        .exits(1)
        .tells(&["error: cannot open nowhere.csv", "No such file"]);
    std::fs::create_dir(desk.path("folder.csv")).unwrap();
    desk.run(&["import", "users", "folder.csv"]).exits(1).tells(&["folder.csv is a folder"]);
    assert!(!desk.path(".muster").exists());
}

#[test]
fn a_pipe_that_nobody_writes_to_is_waited_for_until_a_signal_comes() {
    let desk = Desk::new();
    let made = std::process::Command::new("mkfifo").arg(desk.path("users.csv")).status().unwrap();
    assert!(made.success());
    for name in ["INT", "TERM"] {
        let child = desk.start(&["import", "users", "users.csv"], Stdio::null());
        until_listens(&child, name);
        signal(&child, name);
        wait(child).exits(1).tells(&["stopped by a signal"]);
    }
    assert!(!desk.path(".muster").exists(), "nothing was started");
}

/// Waits until the program has a handler for the signal, which would else end it without a word.
fn until_listens(child: &std::process::Child, name: &str) {
    let number = if name == "INT" { 2 } else { 15 };
    until("the program listens for signals", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        (u64::from_str_radix(caught.trim(), 16).unwrap() >> (number - 1) & 1 == 1).then_some(())
    });
}

#[test]
fn the_configuration_shows_where_values_come_from_and_hides_secrets() {
    let desk = Desk::new()
        .set("DATABASE_URL", "postgres://someone:hunter2@db.example.com/muster")
        .set("AMQP_URL", "amqp://someone:hunter3@mq.example.com/%2f");
    desk.write("muster.toml", "[worker]\nconcurrency = 3\n");
    let shown = desk.run(&["config", "show", "--data-dir", "elsewhere"]).exits(0);
    assert!(!shown.stdout.contains("hunter"), "{}", shown.stdout);
    for line in
        ["postgres://someone:***@db.example.com/muster", "environment", "file", "arguments", "elsewhere"]
    {
        assert!(shown.stdout.contains(line), "{line}: {}", shown.stdout);
    }
    let json = desk.run(&["config", "show", "--json"]).exits(0).json();
    let setting = |key: &str| json.as_array().unwrap().iter().find(|one| one["key"] == key).unwrap().clone();
    assert_eq!(setting("worker.concurrency")["source"], "file");
    assert_eq!(setting("database.url")["value"], "postgres://someone:***@db.example.com/muster");
    assert!(desk.run(&["config", "reference"]).exits(0).stdout.contains("`MUSTER_DATA_DIR`"));
}

#[test]
fn a_wrong_configuration_is_told_whole_and_doctor_tells_it_as_a_check() {
    let desk = Desk::new().set("MUSTER_INTAKE_LANE", "4").set("MUSTER_WORKER_CONCURRENCY", "many");
    desk.run(&["imports", "list"]).exits(1).tells(&["MUSTER_INTAKE_LANE", "MUSTER_WORKER_CONCURRENCY"]);
    let checks = desk.run(&["doctor", "--json"]).exits(1).json();
    assert_eq!(
        (checks[0]["id"].as_str(), checks[0]["status"].as_str()),
        (Some("configuration"), Some("failed"))
    );
}

#[test]
fn doctor_tells_of_a_database_and_a_broker_that_are_away() {
    let desk = Desk::new()
        .set("DATABASE_URL", "postgres://someone:hunter2@127.0.0.1:1/muster")
        .set("AMQP_URL", "amqp://someone:hunter3@127.0.0.1:1/%2f");
    let run = desk.run(&["doctor", "--json"]).exits(1);
    assert!(!run.stdout.contains("hunter"), "{}", run.stdout);
    let checks = run.json();
    for id in ["database", "broker"] {
        let check = checks.as_array().unwrap().iter().find(|check| check["id"] == id).unwrap();
        assert_eq!(check["status"], "failed");
        assert!(check["advice"].is_string());
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let desk = Desk::new();
    for command in [
        "",
        "import users",
        "imports",
        "imports list",
        "imports show",
        "imports records",
        "imports failed",
        "imports proceed",
        "imports pause",
        "imports resume",
        "imports cancel",
        "imports retry",
        "imports problems",
        "imports report",
        "profile save",
        "profile list",
        "profile show",
        "profile delete",
        "users list",
        "users show",
        "users export",
        "users delete",
        "users erase",
        "serve",
        "producer",
        "worker",
        "migrate",
        "doctor",
        "tenant create",
        "tenant list",
        "token create",
        "token list",
        "token revoke",
        "catalog show",
        "catalog apply",
        "config show",
        "config reference",
        "explain",
        "completions",
    ] {
        let mut args: Vec<&str> = command.split_whitespace().collect();
        args.push("--help");
        let help = desk.run(&args).exits(0);
        assert!(help.stdout.contains("Examples:"), "{command}: {}", help.stdout);
    }
}

#[test]
fn completions_and_explanations_need_nothing() {
    let desk = Desk::new().set("MUSTER_INTAKE_LANE", "4");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = desk.run(&["completions", shell]).exits(0);
        assert!(script.stdout.contains("on-existing"), "{shell}");
    }
    let told = desk.run(&["explain", "email_invalid"]).exits(0);
    assert!(
        told.stdout.starts_with("email_invalid (met in: record)\n\n  Not an e-mail address.\n"),
        "{told:#?}"
    );
    assert!(told.stdout.contains("\nWhat to do\n  ") && told.stdout.contains("\nExample\n  "), "{told:#?}");
    for reason in ["changed_since", "gone", "superseded", "deleted"] {
        let told = desk.run(&["explain", reason]).exits(0);
        assert!(told.stdout.starts_with(&format!("{reason} (met in: ")), "{told:#?}");
    }
    let listed = desk.run(&["explain"]).exits(0);
    let all = desk.run(&["explain", "--json"]).exits(0).json();
    for one in all.as_array().unwrap() {
        for name in ["code", "explanation", "advice"] {
            assert!(!one[name].as_str().unwrap().is_empty(), "{one}");
        }
        assert!(listed.stdout.contains(one["code"].as_str().unwrap()), "{one}");
    }
}
