//! What each target of the fuzzer does with the bytes that it is given. A panic, an input that takes too long or too much memory, and a
//! rule that does not hold are findings: what is found is put into `shared/test_data/fuzz`, which `make test` replays.
//!
//! What only a server reads (compressed uploads, forms, bodies of the front doors) is tried over HTTP by `producer/tests/api/fuzz.rs`.

mod rules;

use muster_domain::parse::{Dialect, Format, ParseLimits};

/// The first byte chooses how the others are read, so that the fuzzer finds what each choice opens.
fn parses(format: Format, bytes: &[u8]) {
    let (choice, bytes) = bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest));
    let limits = ParseLimits { record_bytes: 2_000, ..ParseLimits::default() };
    let dialect = Dialect {
        handmade: choice & 1 != 0,
        flexible: choice & 2 != 0,
        lax_quotes: choice & 4 != 0,
        ..Dialect::default()
    };
    rules::pieces_change_nothing(format, (limits, dialect), usize::from(choice >> 3) + 1, bytes);
}

/// A table.
pub fn csv(bytes: &[u8]) {
    parses(Format::Csv, bytes);
}

/// A list of JSON objects.
pub fn json(bytes: &[u8]) {
    parses(Format::Json, bytes);
}

/// JSON objects, one a line.
pub fn ndjson(bytes: &[u8]) {
    parses(Format::Ndjson, bytes);
}

/// A chunk.
pub fn chunk(bytes: &[u8]) {
    rules::chunk(bytes);
}

/// What identifies users.
pub fn keys(bytes: &[u8]) {
    rules::keys(bytes);
}

/// Records, from their lines to their plan.
pub fn record(bytes: &[u8]) {
    rules::record(bytes);
}
