//! Files that people have (`shared/test_data/cases`), and what each must come to: through the options of a request, parse, validate, cut
//! and plan, with no database.
//!
//! `table.json` has the rows. A row says the options (`with`), and either what the file is refused for (`refused`) or what becomes of
//! its records (`inserted`, `failed`, …) and of some users. What the message says stands in `tells`, what it must not say in `hides`.
//! `hint` is the part of the message that mends it: its flags, followed word for word, must give what `then` says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use muster_domain::chunk::ChunkLimits;
use muster_domain::outcome::Outcome;
use muster_domain::parse::{Format, ParseLimits};
use muster_domain::request::{AskedImport, ImportRequest};
use muster_producer::workbook::{self, BookLimits};
use muster_testkit::engine::{Course, Engine};
use serde_json::Value;

use case_table::{Come, folder, options, rows, words};

#[path = "common/case_table.rs"]
mod case_table;

/// What a file came to.
#[derive(Debug, Default)]
struct Came {
    refused: Option<String>,
    outcomes: BTreeMap<&'static str, u64>,
    users: Vec<BTreeMap<String, Value>>,
    messages: Vec<String>,
}

fn bytes(file: &str) -> Vec<u8> {
    let bytes = fs::read(folder().join(file)).unwrap();
    if !file.ends_with(".gz") {
        return bytes;
    }
    let mut gzip =
        Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    gzip.stdin.take().unwrap().write_all(&bytes).unwrap();
    gzip.wait_with_output().unwrap().stdout
}

fn import(file: &str, flags: &[String]) -> Came {
    let mut request = ImportRequest::from_pairs(options(flags))
        .unwrap_or_else(|error| panic!("{file} {flags:?}: {error:?}"));
    request.default_filename(file);
    let mut came = Came::default();
    let AskedImport { options, dialect, .. } = match request.asked(None) {
        Ok(read) => read,
        Err(error) => {
            return Came {
                refused: Some("format_unknown".into()),
                messages: vec![error.to_string()],
                ..came
            };
        }
    };
    let mut engine = Engine::telling_repeats(1 << 16);
    let course = Course {
        parse: ParseLimits::default(),
        dialect,
        chunk: ChunkLimits { lanes: 1, ..ChunkLimits::default() },
        next: &mut |_| 0,
    };
    let text = match options.format {
        Format::Xlsx => workbook::text(&bytes(file), BookLimits::default(), options.sheet.as_deref()),
        _ => Ok(bytes(file)),
    };
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            came.refused = Some(error.code.to_string());
            came.messages.push(error.to_string());
            return came;
        }
    };
    let imported = engine.import(&text, &options, course, &mut |decided, _| {
        for (_, observed) in decided {
            let outcome = match observed.verdict.outcome {
                Outcome::Inserted => "inserted",
                Outcome::Updated => "updated",
                Outcome::Skipped => "skipped",
                _ => "failed",
            };
            *came.outcomes.entry(outcome).or_default() += 1;
            let field = |error: &muster_domain::error::RecordError| error.field.clone().unwrap_or_default();
            came.messages.extend(
                observed
                    .errors
                    .iter()
                    .map(|error| format!("{} {}: {}", error.code, field(error), error.message)),
            );
            came.messages.extend(observed.warnings);
        }
    });
    if let Err(error) = imported {
        came.refused = Some(error.code.to_string());
        came.messages.push(error.to_string());
    }
    came.users = engine.table.plain().into_iter().map(|user| user.fields.into_iter().collect()).collect();
    came
}

/// What is not as the row says.
fn wrong(file: &str, flags: &[String], wanted: &Come) -> Vec<String> {
    let came = import(file, flags);
    let mut wrong = Vec::new();
    let mut differ = |what: &str, wanted: &dyn std::fmt::Debug| {
        wrong.push(format!("{file} {flags:?}: {what}: {wanted:?} is wanted of {came:#?}"));
    };
    if came.refused != wanted.refused {
        differ("refused", &wanted.refused);
    }
    for (outcome, count) in [
        ("inserted", wanted.inserted),
        ("updated", wanted.updated),
        ("skipped", wanted.skipped),
        ("failed", wanted.failed),
    ] {
        if wanted.refused.is_none() && came.outcomes.get(outcome).copied().unwrap_or(0) != count {
            differ(outcome, &count);
        }
    }
    for user in &wanted.users {
        let has =
            |came: &BTreeMap<String, Value>| user.iter().all(|(field, value)| came.get(field) == Some(value));
        if !came.users.iter().any(has) {
            differ("user", user);
        }
    }
    let told = came.messages.join("\n");
    for words in wanted.tells.iter().chain(&wanted.hint) {
        if !told.contains(words.as_str()) {
            differ("tells", words);
        }
    }
    for words in &wanted.hides {
        if told.contains(words.as_str()) {
            differ("hides", words);
        }
    }
    if let (Some(hint), Some(then)) = (&wanted.hint, &wanted.then) {
        let flags: Vec<String> = flags.iter().cloned().chain(words(hint)).collect();
        wrong.extend(self::wrong(file, &flags, then));
    }
    wrong
}

#[test]
fn files_that_people_have_come_to_what_the_table_says() {
    let wrong: Vec<String> =
        rows().iter().flat_map(|row| wrong(&row.file, &row.come.with, &row.come)).collect();
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_file_has_a_row() {
    let rows: BTreeSet<String> = rows().into_iter().map(|row| row.file).collect();
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(rows.contains(&name) || name == "table.json", "{name} has no row");
    }
}
