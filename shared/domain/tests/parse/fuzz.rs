//! Bytes that nobody would send, against everything that reads bytes of others: the parsers, chunks, message bodies and the keys
//! of users. Each target checks a rule of `shared/fuzz/src/rules.rs`, as the fuzzer does. It starts from a corpus (`test_data`, and
//! `test_data/fuzz` for what once went wrong), which is replayed first; then its files are changed at random by a seed for
//! `MUSTER_FUZZ_SECONDS` (1; `make fuzz` takes minutes). A panic, an input that takes five seconds, and a rule that does not hold fail,
//! with the bytes that did it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use muster_domain::chunk::{ChunkCutter, ChunkLimits, LaneHash, SecretKey};
use muster_domain::parse::{Dialect, Format, ParseLimits};
use muster_domain::record::{FieldNames, Position, RawField, RawRecord, RawValue, RecordNumber, Secrets};
use muster_testkit::fuzz::{Random, seconds, seed};

#[path = "../../../fuzz/src/rules.rs"]
mod rules;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../test_data")
}

fn corpus(wanted: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort_unstable();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let files = files.iter().filter(|path| wanted(&name(path)));
    files.map(|path| fs::read(path).unwrap()).collect()
}

/// What once went wrong with a target, and stays good from then on.
fn kept(target: &str) -> Vec<Vec<u8>> {
    let Ok(files) = fs::read_dir(folder().join("fuzz").join(target)) else { return Vec::new() };
    files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

fn fuzz(target: &str, corpus: Vec<Vec<u8>>, run: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    assert!(!corpus.is_empty(), "{target} has a corpus");
    let check = |bytes: &[u8]| {
        let began = Instant::now();
        let ended = std::panic::catch_unwind(|| run(bytes));
        let took = began.elapsed();
        if ended.is_err() || took > Duration::from_secs(5) {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            panic!("{target} does not stand these bytes ({took:?}): {hex}");
        }
    };
    kept(target).iter().chain(&corpus).for_each(|bytes| check(bytes));
    let seed = seed();
    let until = Instant::now() + seconds();
    let (mut random, mut runs) = (Random::new(seed), 0u64);
    println!("{target}: MUSTER_FUZZ_SEED={seed}");
    while Instant::now() < until {
        check(&random.changed(&corpus));
        runs += 1;
    }
    println!("{target}: {runs} runs");
}

fn parses(format: Format, upload: &[u8]) {
    for handmade in [false, true] {
        let limits = ParseLimits { record_bytes: 2_000, ..ParseLimits::default() };
        let dialect = Dialect { handmade, delimiter: None, ..Dialect::default() };
        rules::pieces_change_nothing(format, (limits, dialect), 7, upload);
    }
}

#[test]
fn any_bytes_are_a_table_or_refused() {
    fuzz("csv", corpus(|name| name.starts_with("csv_") && !name.ends_with(".json")), |bytes| {
        parses(Format::Csv, bytes)
    });
}

#[test]
fn any_bytes_are_a_json_list_or_refused() {
    fuzz("json", corpus(|name| name.starts_with("json_") && !name.ends_with(".expected.json")), |bytes| {
        parses(Format::Json, bytes);
    });
}

#[test]
fn any_bytes_are_lines_of_json_or_refused() {
    fuzz("ndjson", corpus(|name| name.ends_with(".ndjson")), |bytes| parses(Format::Ndjson, bytes));
}

/// Chunks with and without secrets, as messages carry them.
fn chunks() -> Vec<Vec<u8>> {
    let names = FieldNames::from_header(["email", "password_hash", "note"]);
    let mut bodies = Vec::new();
    for secret in [false, true] {
        let mut cutter = ChunkCutter::new(ChunkLimits::default()).sealing(SecretKey::new(&[3; 32]).unwrap());
        if secret {
            cutter.hide(&Secrets::by_name(&names));
        }
        for number in 1..=20 {
            let text = format!("u{number}@example.com");
            let fields = [
                RawField { name: 0, value: RawValue::Text(&text) },
                RawField { name: 1, value: RawValue::Text("secret") },
                RawField { name: 2, value: RawValue::Json("[1,2,3]") },
            ];
            let position = Position { record: RecordNumber::new(number).unwrap(), line: number, byte: 0 };
            let record = RawRecord { position, fields: &fields, defect: None, raw: None };
            cutter.push(&record, &names, Some(LaneHash::of(&text)), true).unwrap();
        }
        cutter.finish(&names).unwrap();
        bodies.extend(cutter.take().unwrap().into_iter().map(|chunk| chunk.body));
    }
    bodies
}

#[test]
fn any_bytes_are_a_chunk_or_refused() {
    fuzz("chunk", chunks(), rules::chunk);
}

/// From the lines to the plan.
#[test]
fn any_bytes_are_records_that_are_planned_as_they_were_received() {
    fuzz("record", corpus(|name| name.ends_with(".ndjson")), rules::record);
}

/// A key of a key is itself, whatever it was made of.
#[test]
fn any_text_is_a_key_or_refused_and_a_key_is_its_own_key() {
    let texts = [
        "Ada@Example.COM",
        "e\u{301}@ex\u{e4}mple.com",
        "\u{ff41}@example.com",
        "ada.l",
        "\u{130}@i.com",
        "+41791234567",
        "\u{df}\u{1e9e}",
    ];
    let corpus = texts.map(|text| text.as_bytes().to_vec()).to_vec();
    fuzz("keys", corpus, rules::keys);
}
