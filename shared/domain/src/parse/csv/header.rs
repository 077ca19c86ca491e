//! The CSV header: names, delimiter, and signs that the file is not CSV.

use std::str;

use super::cells::{Columns, Cutter};
use crate::error::{ErrorCode, FileError};
use crate::parse::fields::Unescaped;
use crate::parse::marked::is_mark;
use crate::parse::western::looks_like_windows_1252;
use crate::parse::{Delimiter, Dialect, FAILED_MARK, ParseLimits};
use crate::record::{FieldNames, RawValue};

/// A header that was read.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) names: FieldNames,
    pub(super) columns: Columns,
    pub(super) delimiter: Delimiter,
}

/// Reads the header line, or gives `None` for a line of blanks, which is none.
pub(super) fn read(
    line: &[u8],
    (limits, dialect): (&ParseLimits, &Dialect),
    western: Option<bool>,
) -> Result<Option<Header>, FileError> {
    refuse_json(line)?;
    let (text, not_utf8) = match str::from_utf8(line) {
        Ok(text) => (text, None),
        // The bytes before the fault are text, which is enough to find its column.
        Err(error) => (
            str::from_utf8(line.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default(),
            Some(()),
        ),
    };
    let blank = text.trim().is_empty() || (dialect.handmade && is_blank_line(text));
    if blank && not_utf8.is_none() {
        return Ok(None);
    }
    let delimiter = dialect.delimiter.unwrap_or_else(|| detect(text));
    let (cells, cut) = cut(text, delimiter, limits.fields);
    if not_utf8.is_some() {
        let western = western.unwrap_or_else(|| looks_like_windows_1252(line));
        let encoding = dialect.encoding.unwrap_or_default();
        let message = encoding.not_in("The header has bytes that are", western);
        let error = FileError::new(ErrorCode::InvalidUtf8, message)
            .mended_by(encoding.mends(western).iter().copied());
        return Err(error.at_column(cut.cells as u64));
    }
    if let Some(index) = cut.bad_quote {
        let message = if dialect.handmade && text.contains([',', ';', '\t', '|']) && text.contains(" \"") {
            "There is a blank between a delimiter and a quote of the header: quotes must follow the delimiter directly. Remove the blanks after \
             the delimiters, or the quotes."
        } else {
            "The header has a quote inside an unquoted cell, or text after a closing quote."
        };
        return Err(FileError::new(ErrorCode::CsvBadQuote, message).at_column(index as u64 + 1));
    }
    // Columns without a name after the last named one are ignored.
    if cut.cells > limits.fields && (!dialect.handmade || cut.nameless.is_some()) {
        let message = format!("The header has {} columns; {} are allowed.", cut.cells, limits.fields);
        return Err(FileError::new(ErrorCode::CsvHeaderTooLarge, message));
    }
    let named = cells.iter().rposition(|cell| !cell.is_empty()).map_or(0, |last| last + 1);
    if named == 0 {
        return Err(FileError::new(ErrorCode::FileEmpty, "The header names no column."));
    }
    if dialect.handmade {
        refuse_quoted(&cells, text)?;
    }
    if cut.cells == 1 {
        refuse_other_delimiter(text, delimiter)?;
    }
    let name = |cell: &String| if is_mark(cell) { FAILED_MARK.to_owned() } else { cell.clone() };
    let names = match dialect.lax_quotes {
        // Python's csv module leaves the blanks around a name.
        true => FieldNames::from_header(cut_raw(text, delimiter, named).0.iter().map(name)),
        false => FieldNames::from_header(cells.iter().take(named).map(name)),
    };
    Ok(Some(Header { names, columns: Columns { named, all: cut.cells }, delimiter }))
}

/// Nothing stands in the line.
pub(in crate::parse) fn is_blank_line(line: &str) -> bool {
    line.chars().all(|c| c.is_whitespace() || matches!(c, ',' | ';' | '|' | '"' | '\u{feff}' | '\u{200b}'))
}

/// The cells of a line that may be a header.
pub(in crate::parse) fn cut_header(line: &str, delimiter: Delimiter) -> (Vec<String>, super::cells::Cut) {
    cut(line, delimiter, 1024)
}

/// Quotes around whole lines, and quotes that are none.
fn refuse_quoted(cells: &[String], line: &str) -> Result<(), FileError> {
    let message = match cells {
        [one] if one.contains([',', ';', '\t']) && line.trim_start().starts_with('"') => {
            "Each line is in quotes as one cell: save the file again from its original program, or remove the quotes at the ends of the lines."
        }
        [first, ..] if first.len() > 2 && first.starts_with('\'') && first.ends_with('\'') => {
            "The names are in single quotes, which are not quotes in CSV: use \" or none."
        }
        _ => return Ok(()),
    };
    Err(FileError::new(ErrorCode::CsvBadQuote, message))
}

/// The trimmed cells, those beyond `max` only counted.
fn cut(text: &str, delimiter: Delimiter, max: usize) -> (Vec<String>, super::cells::Cut) {
    let (cells, cut) = cut_raw(text, delimiter, max);
    (cells.iter().map(|cell| cell.trim().to_owned()).collect(), cut)
}

/// The same with the blanks around them.
fn cut_raw(text: &str, delimiter: Delimiter, max: usize) -> (Vec<String>, super::cells::Cut) {
    let mut fields = Vec::new();
    let mut unescaped = Unescaped::default();
    let cut = Cutter::new(text, delimiter.byte(), max, &mut fields, &mut unescaped).cut_quoted();
    unescaped.settle(&mut fields);
    let cells = fields.iter().map(|field| match field.value {
        RawValue::Text(cell) => cell.to_owned(),
        RawValue::Null | RawValue::Json(_) => String::new(),
    });
    (cells.collect(), cut)
}

/// The delimiter that cuts the header into the most cells. A delimiter that leaves quotes inside cells is not chosen if another one fits.
pub(in crate::parse) fn detect(text: &str) -> Delimiter {
    let mut best = (Delimiter::Comma, (false, 0));
    for delimiter in Delimiter::ALL {
        let (_, cut) = cut(text, delimiter, 0);
        let fitness = (cut.bad_quote.is_none(), cut.cells);
        if fitness > best.1 {
            best = (delimiter, fitness);
        }
    }
    best.0
}

fn refuse_json(line: &[u8]) -> Result<(), FileError> {
    let look = match line.trim_ascii_start().first() {
        Some(b'[') => "a JSON array",
        Some(b'{') => "JSON objects",
        _ => return Ok(()),
    };
    Err(FileError::new(
        ErrorCode::FormatMismatch,
        format!("The file looks like {look}, not like CSV with a header."),
    ))
}

fn refuse_other_delimiter(text: &str, delimiter: Delimiter) -> Result<(), FileError> {
    let likely = detect(text);
    if likely == delimiter || cut(text, likely, 0).1.cells == 1 {
        return Ok(());
    }
    let message = format!(
        "The header has one column when cut at the {delimiter}; it looks as if the delimiter were the {likely}. Name the \
         delimiter if so."
    );
    Err(FileError::new(ErrorCode::CsvHeaderUnknown, message))
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn names(line: &str, delimiter: Option<Delimiter>) -> (Vec<String>, Columns, Delimiter) {
        let dialect = Dialect { delimiter, ..Dialect::default() };
        let header = read(line.as_bytes(), (&ParseLimits::default(), &dialect), None)
            .expect("a header")
            .expect("not blank");
        (header.names.iter().map(str::to_owned).collect(), header.columns, header.delimiter)
    }

    #[test]
    fn delimiter_is_told_from_the_header() {
        for (line, delimiter) in [
            ("a,b", Delimiter::Comma),
            ("a;b,c;d", Delimiter::Semicolon),
            ("a\tb", Delimiter::Tab),
            ("\"a,b,c\"|d", Delimiter::Pipe),
            ("a", Delimiter::Comma),
            ("a,b;c", Delimiter::Comma),
            ("a|\"b,c,d\"|e", Delimiter::Pipe),
        ] {
            assert_eq!(names(line, None).2, delimiter, "{line}");
        }
    }

    #[test]
    fn names_are_trimmed_and_trailing_nameless_columns_are_set_apart() {
        let (names, columns, _) = names(" email ,\" given name\",,x, ,", Some(Delimiter::Comma));
        assert_eq!(names, ["email", "given name", "", "x"]);
        assert_eq!(columns, Columns { named: 4, all: 6 });
    }

    #[test]
    fn single_column_with_another_delimiter_is_refused_with_a_hint() {
        let error = read(b"email;name", (&ParseLimits::default(), &Dialect::default()), None)
            .expect_err("one column");
        assert_eq!(error.code, ErrorCode::CsvHeaderUnknown);
        assert!(error.message.contains("semicolon"), "{}", error.message);
        assert!(read(b"email", (&ParseLimits::default(), &Dialect::default()), None).is_ok());
    }
}
