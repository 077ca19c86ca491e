//! Well-formed uploads read as others read them.

use muster_domain::parse::{Delimiter, Dialect, Format, ParseLimits};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::seen::{Seen, SeenRecord, SeenValue, parse_pieces};

const CASES: u32 = if cfg!(debug_assertions) { 1_000 } else { 20_000 };

fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z]{0,8}",
        2 => "[ -~]{0,12}",
        1 => "[a\"\n\r,;\t|é€😀\u{0}]{0,8}",
    ]
}

/// How a generated file is written.
#[derive(Debug, Clone)]
struct Style {
    delimiter: Delimiter,
    line_end: &'static str,
    last_line_end: bool,
    blank_lines: bool,
    mark: bool,
}

fn style() -> impl Strategy<Value = Style> {
    let delimiter = proptest::sample::select(&Delimiter::ALL[..]);
    let line_end = proptest::sample::select(&["\n", "\r\n", "\r"][..]);
    (delimiter, line_end, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(delimiter, line_end, last_line_end, blank_lines, mark)| Style {
            delimiter,
            line_end,
            last_line_end,
            blank_lines,
            mark,
        },
    )
}

/// The file, and the line on which each record stands.
fn write_csv(header: usize, rows: &[Vec<(String, bool)>], style: &Style) -> (String, Vec<u64>) {
    let delimiter = char::from(style.delimiter.byte());
    let names: Vec<String> = (0..header).map(|column| format!("column{column}")).collect();
    let mut text = if style.mark { "\u{feff}".to_owned() } else { String::new() };
    text += &names.join(&delimiter.to_string());
    let mut lines = Vec::new();
    for row in rows {
        text += style.line_end;
        if style.blank_lines {
            text += style.line_end;
        }
        lines.push(1 + line_ends(&text));
        for (column, (cell, quoted)) in row.iter().enumerate() {
            if column > 0 {
                text.push(delimiter);
            }
            let must = cell.contains(['"', '\n', '\r', delimiter]) || (row.len() == 1 && cell.is_empty());
            if *quoted || must {
                text += &format!("\"{}\"", cell.replace('"', "\"\""));
            } else {
                text += cell;
            }
        }
    }
    if style.last_line_end {
        text += style.line_end;
    }
    (text, lines)
}

fn line_ends(text: &str) -> u64 {
    text.replace("\r\n", "\n").matches(['\n', '\r']).count() as u64
}

fn texts(record: &SeenRecord) -> Vec<String> {
    let fields = record.fields.iter().map(|(_, value)| match value {
        SeenValue::Text(text) => text.clone(),
        other => panic!("a cell is text: {other:?}"),
    });
    fields.collect()
}

fn value_of(seen: &SeenValue) -> Value {
    match seen {
        SeenValue::Null => Value::Null,
        SeenValue::Text(text) => Value::String(text.clone()),
        SeenValue::Json(source) => serde_json::from_str(source).expect("JSON"),
    }
}

fn objects(seen: &Seen) -> Vec<Value> {
    let records = seen.records.iter().map(|record| {
        assert_eq!(record.defect, None);
        Value::Object(record.fields.iter().map(|(name, value)| (name.clone(), value_of(value))).collect())
    });
    records.collect()
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z\\\\\"/\n\u{1f}\u{7f}é😀]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-c\"é]{0,3}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn json_object() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map("[a-d\\\\\"é😀]{0,4}", json_value(), 0..6)
        .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>()))
}

/// The same JSON with every character beyond ASCII as an escape. In valid JSON such characters stand in strings only.
fn escaped(json: &str) -> String {
    let mut text = String::new();
    for character in json.chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                text += &format!("\\u{unit:04X}");
            }
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn csv_reads_as_it_was_written_and_as_another_reader_reads_it(
        (header, rows) in (1_usize..5).prop_flat_map(|columns| {
            (Just(columns), vec(vec((cell(), any::<bool>()), columns), 0..8))
        }),
        style in style(),
        piece in 1_usize..300,
    ) {
        let (text, lines) = write_csv(header, &rows, &style);
        let dialect = Dialect { delimiter: Some(style.delimiter), ..Dialect::default() };
        let seen = parse_pieces(Format::Csv, dialect, text.as_bytes().chunks(piece));
        prop_assert_eq!(seen.end.as_ref().map(|end| end.records), Ok(rows.len() as u64));
        prop_assert_eq!(seen.codes(), Vec::<String>::new());

        let written: Vec<Vec<&str>> =
            rows.iter().map(|row| row.iter().map(|(cell, _)| cell.as_str()).collect()).collect();
        let read: Vec<Vec<String>> = seen.records.iter().map(texts).collect();
        prop_assert_eq!(&read, &written);
        let read_lines: Vec<u64> = seen.records.iter().map(|record| record.position.line).collect();
        prop_assert_eq!(read_lines, lines);

        let mut other = csv::ReaderBuilder::new()
            .delimiter(style.delimiter.byte())
            .flexible(true)
            .from_reader(text.as_bytes());
        let others: Vec<csv::StringRecord> = other.records().collect::<Result<_, _>>().expect("well-formed");
        prop_assert_eq!(others.len(), read.len());
        for (ours, theirs) in seen.records.iter().zip(&others) {
            prop_assert_eq!(&texts(ours), &theirs.iter().collect::<Vec<_>>());
            let rest = text.as_bytes().get(ours.position.byte as usize - 1..).unwrap_or_default();
            prop_assert!(matches!(rest, [b'\n' | b'\r', next, ..] if !matches!(next, b'\n' | b'\r')));
        }
    }

    #[test]
    fn records_of_any_length_fill_the_named_columns(
        header in 1_usize..5,
        rows in vec(vec((cell(), any::<bool>()), 1..7), 0..8),
        style in style(),
        piece in 1_usize..300,
    ) {
        let (text, _) = write_csv(header, &rows, &style);
        let dialect = Dialect { delimiter: Some(style.delimiter), flexible: true, ..Dialect::default() };
        let seen = parse_pieces(Format::Csv, dialect, text.as_bytes().chunks(piece));
        prop_assert_eq!(seen.end.as_ref().map(|end| end.records), Ok(rows.len() as u64));
        prop_assert_eq!(seen.codes(), Vec::<String>::new());
        for (record, row) in seen.records.iter().zip(&rows) {
            let wanted = (0..header).map(|column| match row.get(column) {
                Some((cell, _)) => SeenValue::Text(cell.clone()),
                None => SeenValue::Null,
            });
            let read = record.fields.iter().map(|(_, value)| value.clone());
            prop_assert_eq!(read.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
        }
    }

    #[test]
    fn json_reads_as_another_reader_reads_it(
        values in vec(json_object(), 0..6),
        pretty in any::<bool>(),
        escape in any::<bool>(),
        mark in any::<bool>(),
        piece in 1_usize..300,
    ) {
        let mut text =
            if pretty { serde_json::to_string_pretty(&values) } else { serde_json::to_string(&values) }.expect("JSON");
        if escape {
            text = escaped(&text);
        }
        if mark {
            text.insert(0, '\u{feff}');
        }
        let seen = parse_pieces(Format::Json, ParseLimits::default(), text.as_bytes().chunks(piece));
        prop_assert_eq!(seen.end.as_ref().map(|end| end.records), Ok(values.len() as u64));
        let theirs: Vec<Value> = serde_json::from_str(text.trim_start_matches('\u{feff}')).expect("JSON");
        prop_assert_eq!(objects(&seen), theirs);
        for record in &seen.records {
            let before = text.get(..record.position.byte as usize).expect("a character border");
            prop_assert_eq!(text.as_bytes().get(before.len()), Some(&b'{'));
            prop_assert_eq!(record.position.line, 1 + before.matches('\n').count() as u64);
        }
    }

    #[test]
    fn ndjson_reads_as_another_reader_reads_it(
        values in vec(json_object(), 1..6),
        line_end in proptest::sample::select(&["\n", "\r\n", "\n \n", "\t\n\n"][..]),
        escape in any::<bool>(),
        piece in 1_usize..300,
    ) {
        let lines: Vec<String> = values.iter().map(|value| serde_json::to_string(value).expect("JSON")).collect();
        let mut text = lines.join(line_end);
        if escape {
            text = escaped(&text);
        }
        let seen = parse_pieces(Format::Ndjson, ParseLimits::default(), text.as_bytes().chunks(piece));
        prop_assert_eq!(seen.end.as_ref().map(|end| end.records), Ok(values.len() as u64));
        let theirs: Result<Vec<Value>, _> = lines.iter().map(|line| serde_json::from_str(line)).collect();
        prop_assert_eq!(objects(&seen), theirs.expect("JSON"));
        for record in &seen.records {
            let before = text.get(..record.position.byte as usize).expect("a character border");
            prop_assert_eq!(record.position.line, 1 + before.matches('\n').count() as u64);
        }
    }
}
