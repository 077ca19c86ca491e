//! The table of limits: its settings, its tests, and docs/limits.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{env, fs};

use muster_runtime::config::KEYS;
use muster_runtime::limits::{LIMITS, Most, tables};
use muster_testkit::sources;

const MEMORY: &str = include_str!("../../test_data/limits/memory.md");
const FUZZING: &str = include_str!("../../test_data/limits/fuzzing.md");

#[test]
fn every_limit_has_its_setting_and_its_tests() {
    let sources = sources::all();
    for limit in LIMITS.iter().flat_map(|(_, limits)| *limits) {
        if let Most::Set(path) = limit.most {
            assert!(KEYS.iter().any(|key| key.path() == path), "there is no setting {path}");
        }
        assert!(!limit.tests.is_empty(), "{} has no test", limit.what);
        for test in limit.tests {
            assert!(sources.contains(&format!("fn {test}(")), "there is no test {test}");
        }
    }
}

/// `MUSTER_UPDATE_DOCS=1` writes the page anew.
#[test]
fn the_page_of_limits_is_the_table() {
    let page = format!(
        "# Limits\n\n<!-- Made of shared/runtime/src/limits.rs: MUSTER_UPDATE_DOCS=1 cargo nextest run --workspace --all-features the_page_of_limits -->\n\n\
         What is bounded, what becomes of more, and the tests that stand at the limit. In brackets is the setting that changes it;\n\
         what has none is part of what the value is. Settings are checked for what they make together.\n\n{}{MEMORY}{FUZZING}",
        tables()
    );
    let path = sources::root().join("docs/limits.md");
    if env::var_os("MUSTER_UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/limits.md is out of date: run this test with MUSTER_UPDATE_DOCS=1");
}
