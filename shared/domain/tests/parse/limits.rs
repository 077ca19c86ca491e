//! Each limit at the last value that is in it and the first that is not, and hostile sizes against all of them.

use muster_domain::error::ErrorCode;
use muster_domain::parse::{Format, ParseLimits};

use crate::seen::{Seen, parse, parse_pieces};

fn limits() -> ParseLimits {
    ParseLimits {
        record_bytes: 1_000,
        header_bytes: 600,
        fields: 10,
        names: 12,
        name_bytes: 20,
        ..ParseLimits::default()
    }
}

/// The codes that an upload comes to, the same in one piece and in pieces of every small size.
fn codes(format: Format, limits: ParseLimits, upload: &[u8]) -> Vec<String> {
    let whole = parse(format, limits, upload);
    for size in [1, 7, 513, 1_001] {
        assert_eq!(parse_pieces(format, limits, upload.chunks(size)), whole);
    }
    whole.codes()
}

fn check(format: Format, upload: impl Fn(usize) -> String, limit: usize, code: &str) {
    for size in [limit - 1, limit] {
        assert_eq!(codes(format, limits(), upload(size).as_bytes()), Vec::<String>::new(), "{format} {size}");
    }
    assert_eq!(codes(format, limits(), upload(limit + 1).as_bytes()), [code], "{format}");
}

#[test]
fn record_bytes() {
    for end in ["", "\n", "\r\n", "\r", "\nb\n"] {
        check(Format::Csv, |size| format!("h\n{}{end}", "x".repeat(size)), 1_000, "record_too_large");
        check(Format::Csv, |size| format!("h\n\"{}\"{end}", "x".repeat(size - 2)), 1_000, "record_too_large");
    }
    for end in ["", "\n", "\r\n", "\n{}\n"] {
        let line = |size: usize| format!("\n{{\"a\":\"{}\"}}{end}", "x".repeat(size - 8));
        check(Format::Ndjson, line, 1_000, "record_too_large");
    }
    let array = |size: usize| format!("[\n{{\"a\":\"{}\"}} , {{}}]", "x".repeat(size - 8));
    check(Format::Json, array, 1_000, "record_too_large");
}

#[test]
fn quote_that_is_open_at_the_record_limit_is_never_closed() {
    let upload = format!("h,i\na,b\nc,\"x\n{}\"\n", "x\n".repeat(5_000));
    assert_eq!(codes(Format::Csv, limits(), upload.as_bytes()), ["csv_unclosed_quote"]);
    let error = parse(Format::Csv, limits(), upload.as_bytes()).end.expect_err("unclosed");
    assert_eq!((error.line, error.record), (Some(3), Some(2)));
}

#[test]
fn header_bytes() {
    check(Format::Csv, |size| format!("{}\na\n", "h".repeat(size)), 600, "csv_header_too_large");
}

#[test]
fn columns() {
    let header = |columns: usize| format!("{}\n", vec!["h"; columns].join(","));
    check(Format::Csv, header, 10, "csv_header_too_large");
    let wide = format!("{}\n", vec!["h"; 100_000].join(","));
    assert_eq!(codes(Format::Csv, ParseLimits::default(), wide.as_bytes()), ["csv_header_too_large"]);
}

fn object(fields: std::ops::Range<usize>) -> String {
    let fields: Vec<String> = fields.map(|field| format!("\"f{field}\":{field}")).collect();
    format!("{{{}}}", fields.join(","))
}

#[test]
fn fields_of_a_record() {
    check(Format::Ndjson, |fields| format!("{}\n{{}}\n", object(0..fields)), 10, "too_many_fields");
    check(Format::Json, |fields| format!("[{},{{}}]", object(0..fields)), 10, "too_many_fields");
}

#[test]
fn names_of_an_import() {
    let names = |all: usize| format!("{}\n{}\n", object(0..8), object(8..all));
    check(Format::Ndjson, names, 12, "too_many_fields");
    let error = parse(Format::Ndjson, limits(), names(13).as_bytes()).end.expect_err("too many");
    assert_eq!((error.record, error.code), (Some(2), ErrorCode::TooManyFields));
}

#[test]
fn bytes_of_a_name() {
    check(Format::Ndjson, |size| format!("{{\"{}\":1}}\n", "n".repeat(size)), 20, "field_unknown");
}

#[test]
fn depth_of_a_record() {
    let nested = |levels: usize| {
        format!("{}{}", "{\"a\":".repeat(levels - 1) + "[", "]".to_owned() + &"}".repeat(levels - 1))
    };
    check(Format::Json, |levels| format!("[{},{{}}]", nested(levels)), 8, "json_too_deep");
    check(Format::Ndjson, |levels| format!("{}\n{{}}\n", nested(levels)), 8, "json_too_deep");
}

#[test]
fn depth_of_any_size_is_refused() {
    for levels in [200, 10_000, 500_000, 1_000_000] {
        let closed = "[".repeat(levels) + &"]".repeat(levels);
        let open = "[{\"a\":".to_owned() + &"[".repeat(levels);
        for upload in [format!("[{closed}]"), format!("[{{\"a\":{closed}}}]"), open] {
            let seen = parse_pieces(Format::Json, ParseLimits::default(), upload.as_bytes().chunks(65_536));
            assert_eq!(seen.codes(), ["json_too_deep"], "{levels}");
        }
        for upload in [format!("{{\"a\":{closed}}}\n"), format!("{{\"a\":{}", "[".repeat(levels))] {
            let seen = parse_pieces(Format::Ndjson, ParseLimits::default(), upload.as_bytes().chunks(65_536));
            assert_eq!(seen.codes(), ["json_too_deep"], "{levels}");
        }
    }
}

#[test]
fn record_of_any_size_is_refused_once_the_limit_is_passed() {
    const PIECE: usize = 65_536;
    let starts: [(Format, &str, &str); 5] = [
        (Format::Csv, "h\n", "record_too_large"),
        (Format::Csv, "h\n\"", "csv_unclosed_quote"),
        (Format::Csv, "", "csv_header_too_large"),
        (Format::Ndjson, "{\"a\":\"", "record_too_large"),
        (Format::Json, "[{\"a\":\"", "record_too_large"),
    ];
    let filler = vec![b'x'; PIECE];
    for (format, start, code) in starts {
        let mut fed = 0;
        let endless = std::iter::once(start.as_bytes()).chain(std::iter::repeat_with(|| {
            fed += PIECE;
            assert!(fed <= 1024 * 1024 + 2 * PIECE, "{format}: still taking");
            filler.as_slice()
        }));
        let Seen { end, .. } = parse_pieces(format, ParseLimits::default(), endless);
        assert_eq!(end.expect_err("too large").code.as_str(), code);
    }
}

#[test]
fn no_limit_at_all_is_taken() {
    let all = ParseLimits { record_bytes: usize::MAX, header_bytes: usize::MAX, ..ParseLimits::default() };
    for (format, upload) in
        [(Format::Csv, "a\n1\n"), (Format::Ndjson, "{\"a\":1}\n"), (Format::Json, "[{\"a\":1}]")]
    {
        assert_eq!(codes(format, all, upload.as_bytes()), Vec::<String>::new(), "{format}");
    }
}
