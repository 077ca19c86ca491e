//! One small file an oddity (`shared/test_data/records`) through parse, validate, cut and plan: what becomes of each record.
//!
//! `MUSTER_BLESS=1` writes what they come to now: look at the difference before it is committed. The same files go through
//! the whole pipeline in `files_come_to_what_stands_beside_them` of cli/tests/pipeline.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{env, fs};

use muster_domain::chunk::ChunkLimits;
use muster_domain::options::ImportOptions;
use muster_domain::parse::{Dialect, Format, ParseLimits};
use muster_testkit::corpus::{Oddity, came, oddities, refused};
use muster_testkit::engine::{Course, Decided, Engine};
use serde_json::Value;

fn import(
    engine: &mut Engine,
    bytes: &[u8],
    options: &ImportOptions,
    parse: ParseLimits,
    records: u32,
) -> Result<Decided, Value> {
    let mut decided = Decided::new();
    let chunk = ChunkLimits { records, lanes: 1, ..ChunkLimits::default() };
    let course = Course { parse, dialect: Dialect::default(), chunk, next: &mut |_| 0 };
    let result = engine.import(bytes, options, course, &mut |more, _| decided.extend(more));
    result.map(|_| decided).map_err(|error| refused(&error))
}

/// With chunks of so many records; the number must not show.
fn play(oddity: &Oddity, records: u32) -> Value {
    let mut engine = Engine::default();
    if let Some(before) = &oddity.before {
        let options = ImportOptions { format: Format::Json, ..ImportOptions::default() };
        let decided =
            import(&mut engine, before, &options, ParseLimits::default(), records).expect("what was before");
        assert!(
            decided.iter().all(|(_, observed)| observed.errors.is_empty()),
            "{}: {decided:?}",
            oddity.name
        );
    }
    match import(&mut engine, &oddity.bytes, &oddity.options, oddity.limits, records) {
        Err(refused) => refused,
        Ok(decided) => {
            let records: Vec<_> = decided.into_iter().map(|(_, observed)| observed).collect();
            came(&records, engine.table.plain().into_iter().map(|user| user.fields).collect())
        }
    }
}

#[test]
fn records_come_to_what_stands_beside_them() {
    let bless = env::var_os("MUSTER_BLESS").is_some();
    let mut wrong = Vec::new();
    let oddities = oddities();
    assert!(oddities.len() >= 30, "the corpus is there");
    for oddity in oddities {
        let got = play(&oddity, 1000);
        assert_eq!(play(&oddity, 1), got, "{}: one record a chunk", oddity.name);
        if bless {
            let text = serde_json::to_string_pretty(&got).expect("JSON") + "\n";
            fs::write(&oddity.expected, text).expect("written");
        } else if got != oddity.wanted() {
            wrong.push(format!("{}: {got:#}", oddity.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
