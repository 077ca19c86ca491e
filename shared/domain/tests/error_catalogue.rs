//! The catalogue of error codes: whole, used, and the same in the docs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use muster_domain::error::{ErrorCode, ErrorPlace};

/// Codes that are published ahead of the code that gives them.
const AHEAD: [ErrorCode; 2] = [ErrorCode::FormatUnknown, ErrorCode::DuplicateInFile];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_code_has_its_page() {
    for code in ErrorCode::ALL {
        for text in [code.explanation(), code.advice()] {
            assert!(
                text.starts_with(|first: char| first.is_uppercase() || "`{".contains(first)),
                "{code}: {text}"
            );
            assert!(
                text.ends_with('.') && !text.contains(['\n', '\t']) && !text.contains("  "),
                "{code}: {text}"
            );
        }
        let places = code.places();
        assert!(!places.is_empty() && places.is_sorted(), "{code}: {places:?}");
        if let Some(example) = code.example() {
            assert!(
                example.lines().all(|line| !line.is_empty() && line.chars().count() <= 90),
                "{code}: {example}"
            );
        }
        assert_eq!(code.as_str().parse(), Ok(*code));
    }
}

/// The crates that a program is made of.
const CRATES: [&str; 8] = [
    "shared/domain",
    "shared/runtime",
    "shared/queue",
    "shared/store",
    "shared/engine",
    "producer",
    "worker",
    "cli",
];

/// The sources of every crate, without the catalogue itself and without tests.
fn sources() -> Vec<String> {
    let mut sources = Vec::new();
    let mut folders: Vec<PathBuf> = CRATES.iter().map(|name| root().join(name).join("src")).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && !["error_code.rs", "tests.rs"].contains(&name) {
                let text = fs::read_to_string(&path).unwrap();
                let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
                sources.push(text[..end].to_owned());
            }
        }
    }
    sources
}

#[test]
fn every_code_is_given_somewhere() {
    let sources = sources();
    assert!(sources.len() > 100, "the sources are there");
    for code in ErrorCode::ALL.iter().filter(|code| !AHEAD.contains(code)) {
        let name = format!("ErrorCode::{code:?}");
        let longer = |rest: &str| rest.starts_with(|next: char| next.is_alphanumeric());
        let given = sources
            .iter()
            .any(|text| text.match_indices(&name).any(|(at, _)| !longer(&text[at + name.len()..])));
        assert!(given, "{code} is given nowhere");
    }
}

fn page(out: &mut String, code: ErrorCode) {
    let places: Vec<&str> = code.places().iter().map(|place| place.as_str()).collect();
    write!(out, "### `{code}`\n\n{}\n\n", code.explanation()).unwrap();
    writeln!(out, "*Met in:* {}. *What to do:* {}\n", places.join(", "), code.advice()).unwrap();
    if let Some(example) = code.example() {
        writeln!(out, "```text\n{example}\n```\n").unwrap();
    }
}

fn docs() -> String {
    let mut out = String::from(
        "# Error codes\n\n<!-- Made of shared/domain/src/error_code.rs: MUSTER_UPDATE_DOCS=1 cargo test -p muster-domain --test error_catalogue -->\n\n\
         Every error has a code that keeps its meaning. It stands in brackets after a message, as `code` in JSON and as\n\
         `_error_code` in the file of failed records; `muster explain CODE` prints the same as this page.\n\n",
    );
    for (place, title) in [
        (ErrorPlace::File, "A whole file: nothing of it is applied"),
        (ErrorPlace::Record, "One record: the others are applied"),
        (ErrorPlace::Request, "A request"),
    ] {
        writeln!(out, "## {title}\n").unwrap();
        // A code of several places stands once, under the first of them.
        for code in ErrorCode::ALL.iter().filter(|code| code.places().first() == Some(&place)) {
            page(&mut out, *code);
        }
    }
    out.trim_end().to_owned() + "\n"
}

/// `MUSTER_UPDATE_DOCS=1` writes the page anew.
#[test]
fn the_docs_have_every_page() {
    let path = root().join("docs/errors.md");
    if env::var_os("MUSTER_UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, docs()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == docs(), "docs/errors.md is stale: run this test with MUSTER_UPDATE_DOCS=1");
}

#[test]
fn the_guides_are_the_profiles() {
    use muster_domain::import_profile::{BUILTIN, guide};

    for profile in BUILTIN {
        let path = root().join("docs/guides").join(format!("{}.md", profile.name));
        if env::var_os("MUSTER_UPDATE_DOCS").is_some() {
            fs::write(&path, guide(profile)).unwrap();
        }
        let page = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(page, guide(profile), "run with MUSTER_UPDATE_DOCS=1 to renew {}", path.display());
    }
}
