//! Whatever the bytes and wherever they are cut: no panic, and the same records and the same error.

use muster_domain::error::{ErrorCode, FileError};
use muster_domain::parse::{Delimiter, Dialect, Format, ParseLimits, Parser, RecordSink, TextEncoding};
use muster_domain::record::{FieldNames, RawRecord};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::seen::{Parsing, Seen, parse, parse_pieces};

/// The first bytes are gathered before they are read, so only what follows them meets a reader in pieces.
const BLANK_HEAD: usize = 512;

/// Small, so that short uploads come to them.
fn small_limits() -> ParseLimits {
    ParseLimits { record_bytes: 40, header_bytes: 24, fields: 4, names: 5, name_bytes: 8, depth: 3 }
}

fn cut<'u>(upload: &'u [u8], cuts: &[Index]) -> Vec<&'u [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(upload.len() + 1)).collect();
    places.sort_unstable();
    let mut pieces = Vec::new();
    let mut start = 0;
    for place in places {
        pieces.push(&upload[start..place]);
        start = place;
    }
    pieces.push(&upload[start..]);
    pieces
}

/// Text made of what matters to the format, so that a random upload gets past its first byte.
fn upload(tokens: &'static [&'static [u8]], start: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        12 => proptest::sample::select(tokens).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 1..4),
    ];
    proptest::collection::vec(token, 0..40).prop_map(move |tokens| {
        let mut upload = start.to_vec();
        upload.extend(tokens.concat());
        upload
    })
}

const CSV: &[&[u8]] = &[
    b",",
    b",",
    b"\"",
    b"\"\"",
    b"\n",
    b"\r\n",
    b"\r",
    b"a",
    b"b c",
    b";",
    b"\t",
    b"\xC3\xA9",
    b"\xC3",
    b"\xFF",
    b"x,y\n",
];

const JSON: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\"a\"",
    b"\"b\":",
    b"\"c\":1",
    b"{\"a\":1}",
    b",{\"b\":\"x\"}",
    b"null",
    b"true",
    b"-1.5e3",
    b"\\",
    b"\\u",
    b"\"\\ud800\"",
    b"\"\\ud83d\\ude00\"",
    b" ",
    b"\n",
    b"\r\n",
    b"\xC3\xA9",
    b"\xFF",
    b"{\"a\":{\"b\":[1]}}",
    b"{\"a\":1,\"a\":2}",
    b"\"\x01\"",
    b"\n{\"a\":\"b\"}\n",
    b"{\"c\":[[[[]]]]}",
];

fn same_in_pieces(
    format: Format,
    parsing: impl Into<Parsing>,
    upload: &[u8],
    cuts: &[Index],
) -> Result<Seen, TestCaseError> {
    let parsing = parsing.into();
    let mut padded = vec![b'\n'; BLANK_HEAD];
    padded.extend_from_slice(upload);
    for upload in [upload, &padded] {
        let whole = parse(format, parsing, upload);
        prop_assert_eq!(&parse_pieces(format, parsing, cut(upload, cuts)), &whole);
        prop_assert_eq!(&parse_pieces(format, parsing, upload.chunks(1)), &whole);
    }
    Ok(parse(format, parsing, &padded))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 1_500 } else { 20_000 }))]

    #[test]
    fn csv_in_pieces_is_csv_whole(
        upload in upload(CSV, b"a,b\n"),
        cuts in proptest::collection::vec(any::<Index>(), 0..6),
        delimiter in proptest::option::of(Just(Delimiter::Comma)),
        small in any::<bool>(),
    ) {
        let limits = if small { small_limits() } else { ParseLimits::default() };
        let parsing = (limits, Dialect { delimiter, ..Dialect::default() });
        same_in_pieces(Format::Csv, parsing, &upload, &cuts)?;
        // The header itself in pieces.
        same_in_pieces(Format::Csv, parsing, upload.get(4..).unwrap_or_default(), &cuts)?;
    }

    #[test]
    fn json_in_pieces_is_json_whole(
        upload in upload(JSON, b"["),
        cuts in proptest::collection::vec(any::<Index>(), 0..6),
        small in any::<bool>(),
    ) {
        let limits = if small { small_limits() } else { ParseLimits::default() };
        let seen = same_in_pieces(Format::Json, limits, &upload, &cuts)?;
        // What is taken for a whole array must be one to others as well, bad bytes and strings aside.
        if seen.end.is_ok() && let Ok(text) = std::str::from_utf8(&upload) {
            let elements: Vec<&serde_json::value::RawValue> = serde_json::from_str(text).expect("JSON");
            prop_assert_eq!(elements.len(), seen.records.len());
        }
    }

    #[test]
    fn ndjson_in_pieces_is_ndjson_whole(
        upload in upload(JSON, b""),
        cuts in proptest::collection::vec(any::<Index>(), 0..6),
        small in any::<bool>(),
    ) {
        let limits = if small { small_limits() } else { ParseLimits::default() };
        same_in_pieces(Format::Ndjson, limits, &upload, &cuts)?;
    }

    #[test]
    fn any_bytes_in_pieces_are_the_same_whole(
        upload in proptest::collection::vec(any::<u8>(), 0..700),
        cuts in proptest::collection::vec(any::<Index>(), 0..6),
        encoding in proptest::option::of(proptest::sample::select(&TextEncoding::ALL[..])),
    ) {
        for format in Format::ALL {
            let told = Dialect { delimiter: None, ..Dialect::default() };
            for (limits, dialect) in [(small_limits(), Dialect::default()), (ParseLimits::default(), told)] {
                same_in_pieces(format, (limits, Dialect { encoding, ..dialect }), &upload, &cuts)?;
            }
        }
    }

    #[test]
    fn a_text_gives_the_same_records_in_every_encoding(
        text in "(email,note\n|\\[|)[a-z \",;:éÿ{}\\[\\]\n]{0,300}",
        cuts in proptest::collection::vec(any::<Index>(), 0..6),
        small in any::<bool>(),
    ) {
        let limits = if small { small_limits() } else { ParseLimits::default() };
        // A workbook's rows come in one encoding.
        for format in [Format::Csv, Format::Json, Format::Ndjson] {
            let plain = parse(format, limits, text.as_bytes());
            for encoding in TextEncoding::ALL {
                let upload = encoded(&text, encoding);
                let named = (limits, Dialect { encoding: Some(encoding), ..Dialect::default() });
                let seen = parse_pieces(format, named, cut(&upload, &cuts));
                prop_assert_eq!((&seen.header, &seen.records), (&plain.header, &plain.records));
                prop_assert_eq!(seen.end.as_ref().err(), plain.end.as_ref().err());
                prop_assert!(seen.end.is_err() || seen.end.is_ok_and(|end| end.encoding == encoding));
            }
        }
    }
}

/// A text of characters that every encoding has.
fn encoded(text: &str, encoding: TextEncoding) -> Vec<u8> {
    match encoding {
        TextEncoding::Utf8 => text.as_bytes().to_vec(),
        TextEncoding::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        TextEncoding::Utf16Be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        TextEncoding::Latin1 | TextEncoding::Windows1252 => {
            text.chars().map(|letter| u8::try_from(u32::from(letter)).expect("a byte")).collect()
        }
    }
}

/// Refuses the second record.
struct Refuse(u32);

impl RecordSink for Refuse {
    fn header(&mut self, _: &FieldNames) -> Result<(), FileError> {
        Ok(())
    }

    fn record(&mut self, _: &RawRecord<'_>, _: &FieldNames) -> Result<(), FileError> {
        self.0 += 1;
        if self.0 == 2 { Err(FileError::new(ErrorCode::TooManyRecords, "two")) } else { Ok(()) }
    }
}

#[test]
fn error_of_the_sink_is_final() {
    let uploads: [(Format, &[u8]); 3] = [
        (Format::Csv, b"a\n1\n2\n3\n"),
        (Format::Json, b"[{\"a\":1},{\"a\":2},{\"a\":3}]"),
        (Format::Ndjson, b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n"),
    ];
    for (format, upload) in uploads {
        let mut parser = Parser::new(format, ParseLimits::default());
        let mut sink = Refuse(0);
        let fed = parser.feed(upload, &mut sink).and_then(|()| parser.finish(&mut sink).map(|_| ()));
        assert_eq!(fed.expect_err("refused").code, ErrorCode::TooManyRecords);
        assert!(parser.feed(b"", &mut sink).is_err());
        assert!(parser.finish(&mut sink).is_err());
        assert_eq!(sink.0, 2, "{format}");
    }
}

#[test]
fn end_can_be_asked_for_again_but_not_followed() {
    let mut parser = Parser::new(Format::Csv, ParseLimits::default());
    let mut sink = Refuse(0);
    parser.feed(b"a\n1\n", &mut sink).expect("good");
    let end = parser.finish(&mut sink).expect("good");
    assert_eq!((end.records, end.bytes), (1, 4));
    assert_eq!(parser.finish(&mut sink), Ok(end));
    assert_eq!(parser.feed(b"2\n", &mut sink).expect_err("ended").code, ErrorCode::Internal);
}
