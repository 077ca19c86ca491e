//! `muster top` in a terminal of its own, against a server.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use super::serve::serve;
use crate::harness::{Desk, signal, until, wait};

/// The command in a terminal of 160 by 40 characters; what it draws goes to a file.
fn in_a_terminal(desk: &Desk, drawn: &str, variables: &[(&str, &str)]) -> Child {
    let program = env!("CARGO_BIN_EXE_muster");
    let line = format!("stty rows 40 cols 160; exec '{program}' top --every 1");
    Command::new("script")
        .args(["--quiet", "--flush", "--return", "--command", &line, drawn])
        .current_dir(desk.path("."))
        .env("TERM", "xterm-256color")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("there is no `script`: it comes with bsdutils")
}

#[test]
fn imports_are_watched_and_controlled_by_keys() {
    let desk = Desk::new();
    let (server, url, token) = serve(&desk, true);
    let at = |args: &[&str]| {
        let mut args = args.to_vec();
        args.extend(["--server", &url, "--token", &token]);
        desk.run(&args)
    };
    desk.write("waits.csv", "email\nann@example.com\nnobody\n");
    at(&["import", "users", "waits.csv", "--start", "manual"]).exits(3);
    let state = || at(&["imports", "show", "last", "--json"]).exits(0).json()["state"].clone();
    let variables = [("MUSTER_SERVER", url.as_str()), ("MUSTER_TOKEN", token.as_str())];
    let mut top = in_a_terminal(&desk, "drawn", &variables);
    let drawn = |text: &str| {
        let all = std::fs::read(desk.path("drawn")).unwrap_or_default();
        String::from_utf8_lossy(&all).contains(text).then_some(())
    };
    until("the import is on the screen", || drawn("waits.csv"));
    until("its problems are on the screen", || drawn("email_invalid"));
    let mut keys = top.stdin.take().unwrap();
    // It waits for its start, and r starts it.
    keys.write_all(b"r").unwrap();
    until("the import has ended", || (state() == "completed").then_some(()));
    until("the end is on the screen", || drawn("completed"));
    // It has ended, so that it cannot pause; that is told, and nothing is done. (g takes away what was told before.)
    keys.write_all(b"gp").unwrap();
    until("why not is on the screen", || drawn("it cannot pause now"));
    keys.write_all(b"q").unwrap();
    wait(top).exits(0);
    // The terminal is as it was: the other screen is left, and the cursor shown.
    assert!(drawn("\u{1b}[?1049l").is_some() && drawn("\u{1b}[?25h").is_some());
    signal(&server, "TERM");
    wait(server).exits(0);
}
