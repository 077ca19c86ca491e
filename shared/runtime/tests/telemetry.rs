//! Logging as a program sees it: this test runs itself as a child, since a process starts logging only once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use muster_runtime::config::{LogConfig, LogFormat};
use muster_runtime::telemetry;

const MARKER: &str = "marker@example.com";

fn child(case: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child", "--nocapture"])
        .env("MUSTER_TEST_TELEMETRY", case)
        .output()
        .unwrap()
}

#[test]
fn the_child() {
    let Ok(case) = std::env::var("MUSTER_TEST_TELEMETRY") else {
        return;
    };
    let format = if case == "text" { LogFormat::Text } else { LogFormat::Auto };
    let filter = (case == "filter").then(|| "debug".to_owned());
    telemetry::init(&LogConfig { format, filter }, "info").unwrap();
    tracing::info!(chunk = 7, "applied");
    tracing::debug!("details");
    if case == "panic" {
        panic!("it holds {MARKER}");
    }
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8(output.stderr.clone()).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn away_from_a_terminal_each_line_is_a_json_object() {
    let lines = lines(&child("json"));
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!((line["chunk"].as_u64(), line["message"].as_str()), (Some(7), Some("applied")));
}

#[test]
fn the_filter_that_is_set_wins_over_the_default() {
    assert_eq!(lines(&child("filter")).len(), 2);
}

#[test]
fn text_has_no_colours_away_from_a_terminal() {
    let lines = lines(&child("text"));
    assert!(lines[0].contains("applied") && !lines[0].contains('\u{1b}'), "{lines:?}");
}

#[test]
fn a_panic_is_logged_once_with_its_place_and_without_its_values() {
    let output = child("panic");
    assert!(!output.status.success());
    let lines = lines(&output);
    let panics = lines.iter().filter(|line| line.contains("the program panicked")).count();
    assert_eq!(panics, 1, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("telemetry.rs")), "{lines:?}");
    assert!(!lines.join("").contains(MARKER), "{lines:?}");
}
