//! Rules that hold for any bytes. The fuzzer (shared/fuzz) and the tests that change files at random (shared/domain/tests/parse/fuzz.rs) check the
//! same ones.

use chrono::DateTime;
use muster_domain::chunk::{ChunkCutter, ChunkLimits, LaneHash, SecretKey, decode, decode_with};
use muster_domain::error::FileError;
use muster_domain::normalise::{EmailAddress, PhoneNumber, Username};
use muster_domain::options::ImportOptions;
use muster_domain::parse::{Dialect, Format, ParseLimits, Parser, RecordSink};
use muster_domain::plan::plan;
use muster_domain::record::{FieldNames, RawRecord, Record};
use muster_domain::rules::Rules;
use muster_domain::validate::{Binding, validate};
use uuid::Uuid;

/// Everything that a parser gave, as text that can be compared.
#[derive(Default)]
struct Seen {
    text: String,
    header: bool,
    records: bool,
}

impl RecordSink for Seen {
    fn header(&mut self, names: &FieldNames) -> Result<(), FileError> {
        assert!(!self.header, "the header comes once");
        assert!(!self.records, "the header comes first");
        self.header = true;
        for name in names.iter() {
            self.text.push_str(&format!("{name:?} "));
        }
        Ok(())
    }

    fn record(&mut self, record: &RawRecord<'_>, names: &FieldNames) -> Result<(), FileError> {
        self.records = true;
        assert!(record.fields.iter().all(|field| names.get(field.name).is_some()), "a name for each field");
        let fields = record.fields.iter().map(|field| (names.get(field.name), field.value));
        let fields: Vec<_> = fields.collect();
        self.text.push_str(&format!("{record:?} {fields:?}\n"));
        Ok(())
    }
}

fn parse<'p>(
    format: Format,
    (limits, dialect): (ParseLimits, Dialect),
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> String {
    let mut parser = Parser::in_dialect(format, limits, dialect);
    let mut seen = Seen::default();
    let fed = pieces.into_iter().try_for_each(|piece| parser.feed(piece, &mut seen));
    let end = fed.and_then(|()| parser.finish(&mut seen));
    if let Err(error) = &end {
        assert_eq!(parser.feed(b"x", &mut seen).as_ref(), Err(error), "an error is final");
        assert_eq!(parser.finish(&mut seen).as_ref(), Err(error), "an error is final");
    }
    seen.text.push_str(&format!("{end:?}"));
    seen.text
}

/// Whatever the pieces, the same bytes give the same records and the same error.
pub(crate) fn pieces_change_nothing(
    format: Format,
    parsing: (ParseLimits, Dialect),
    size: usize,
    bytes: &[u8],
) {
    let whole = parse(format, parsing, [bytes]);
    assert_eq!(
        parse(format, parsing, bytes.chunks(size)),
        whole,
        "pieces of {size} bytes are read as the whole is"
    );
}

/// A chunk as a message carries it: what a forger may write outside and inside of its compression.
pub(crate) fn chunk(bytes: &[u8]) {
    let Some(key) = SecretKey::new(&[3; 32]) else { panic!("32 bytes are a key") };
    for key in [None, Some(&key)] {
        if let Ok(chunk) = decode_with(bytes, key) {
            let fields = chunk.fields();
            assert!(chunk.records(&fields).all(|record| record.fields.len() <= fields.len()));
        }
    }
    let version = bytes.first().copied().unwrap_or(1).clamp(1, 2);
    let mut body = vec![version];
    let Ok(packed) = zstd::encode_all(bytes.get(1..).unwrap_or_default(), 1) else {
        panic!("any bytes can be compressed")
    };
    body.extend(packed);
    let _ = decode(&body);
}

/// The key of a key is itself, whatever it was made of.
pub(crate) fn keys(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(key) = EmailAddress::parse(&text) {
        assert_eq!(EmailAddress::parse(key.as_str()).as_ref().map(EmailAddress::as_str), Ok(key.as_str()));
    }
    if let Ok(key) = PhoneNumber::parse(&text) {
        assert_eq!(PhoneNumber::parse(key.as_str()).as_ref().map(PhoneNumber::as_str), Ok(key.as_str()));
    }
    if let Ok(key) = Username::parse(&text) {
        assert_eq!(Username::parse(key.as_str()).as_ref().map(Username::as_str), Ok(key.as_str()));
    }
}

/// Reads, validates and cuts, as receiving does.
struct Received {
    rules: Rules,
    binding: Binding,
    cutter: ChunkCutter,
    valid: usize,
}

impl RecordSink for Received {
    fn header(&mut self, names: &FieldNames) -> Result<(), FileError> {
        self.binding.extend(names);
        Ok(())
    }

    fn record(&mut self, record: &RawRecord<'_>, names: &FieldNames) -> Result<(), FileError> {
        self.binding.extend(names);
        let validated = validate(record, &self.binding, &self.rules);
        let valid = validated.result.is_ok();
        let identifier = validated.identifier.as_deref().map(LaneHash::of);
        if self.cutter.push(record, names, identifier, valid).is_ok() {
            self.valid += usize::from(valid);
        }
        Ok(())
    }
}

/// Records all the way: what is valid when it is received is valid in its chunk, and is planned, one verdict a record.
pub(crate) fn record(bytes: &[u8]) {
    let rules = Rules::new(ImportOptions { format: Format::Ndjson, ..ImportOptions::default() });
    let limits = ChunkLimits { records: u32::MAX, bytes: usize::MAX, lanes: 1 };
    let mut received =
        Received { binding: Binding::new(&rules), rules, cutter: ChunkCutter::new(limits), valid: 0 };
    let mut parser = Parser::new(Format::Ndjson, ParseLimits::default());
    if parser.feed(bytes, &mut received).is_err() || parser.finish(&mut received).is_err() {
        return;
    }
    let Received { rules, binding, mut cutter, valid } = received;
    let mut names = FieldNames::new();
    for name in binding.names() {
        names.push(name);
    }
    assert!(cutter.finish(&names).is_ok(), "what was taken is encoded");
    let mut planned = 0;
    let Ok(chunks) = cutter.take() else { panic!("what was taken is compressed") };
    for body in chunks.into_iter().map(|chunk| chunk.body) {
        let Ok(decoded) = decode(&body) else { panic!("what was encoded is decoded") };
        let fields = decoded.fields();
        let mut binding = Binding::new(&rules);
        binding.extend(decoded.names());
        let binding = binding;
        let records: Vec<Record<'_>> =
            decoded.records(&fields).filter_map(|raw| validate(&raw, &binding, &rules).result.ok()).collect();
        let records: Vec<&Record<'_>> = records.iter().collect();
        let mut made = 0u128;
        let plan = plan(&records, &[], &rules, DateTime::UNIX_EPOCH, &mut || {
            made += 1;
            Uuid::from_u128(made << 64)
        });
        assert_eq!(plan.verdicts.len(), records.len(), "one verdict a record");
        planned += records.len();
    }
    assert_eq!(planned, valid, "what was valid when it was received is planned");
}
