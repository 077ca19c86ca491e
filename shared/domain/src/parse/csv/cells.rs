//! One CSV record → its cells.

use std::convert::Infallible;

use memchr::{memchr, memchr_iter};

use crate::parse::fields::Unescaped;
use crate::record::{NameId, RawField, RawValue};

/// The columns of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Columns {
    /// Columns up to the last one with a name. Each record has a cell for each of them.
    pub(super) named: usize,
    /// All columns. Columns after the last name come from trailing delimiters, and their cells must be empty.
    pub(super) all: usize,
}

/// What was noticed while a record was cut into cells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::parse) struct Cut {
    /// How many cells there are.
    pub(in crate::parse) cells: usize,
    /// Index of the first cell with a quote where none may be.
    pub(in crate::parse) bad_quote: Option<usize>,
    /// Index of the first cell that is not empty and has no column with a name.
    pub(in crate::parse) nameless: Option<usize>,
}

/// Cuts a record into the cells of the named columns, and counts those beyond.
pub(super) struct Cutter<'c, 't> {
    text: &'t str,
    delimiter: u8,
    named: usize,
    fields: &'c mut Vec<RawField<'t>>,
    unescaped: &'c mut Unescaped,
    /// Stray quotes are text.
    lax: bool,
    cut: Cut,
}

impl<'c, 't> Cutter<'c, 't> {
    /// A cutter for the record `text`, given without its line end. It appends to `fields`.
    pub(super) fn new(
        text: &'t str,
        delimiter: u8,
        named: usize,
        fields: &'c mut Vec<RawField<'t>>,
        unescaped: &'c mut Unescaped,
    ) -> Self {
        Self { text, delimiter, named, fields, unescaped, lax: false, cut: Cut::default() }
    }

    /// Takes stray quotes as text, where that is wanted.
    pub(super) fn lax(mut self, lax: bool) -> Self {
        self.lax = lax;
        self
    }

    /// Cuts a record that has no quote at all.
    pub(super) fn cut_plain(mut self) -> Cut {
        let mut start = 0;
        for end in memchr_iter(self.delimiter, self.text.as_bytes()) {
            self.push(start, end);
            start = end + 1;
        }
        self.push(start, self.text.len());
        self.cut
    }

    /// Cuts any record.
    pub(super) fn cut_quoted(mut self) -> Cut {
        let mut start = 0;
        loop {
            let end = match self.text.as_bytes().get(start) {
                Some(b'"') => self.quoted_cell(start),
                _ => self.bare_cell(start),
            };
            if end >= self.text.len() {
                return self.cut;
            }
            start = end + 1;
        }
    }

    /// Takes the cell that begins with a quote at `start`, and gives the offset of the delimiter (or end) after it.
    fn quoted_cell(&mut self, start: usize) -> usize {
        let bytes = self.text.as_bytes();
        let mut doubled = false;
        let mut at = start + 1;
        loop {
            let Some(found) = memchr(b'"', bytes.get(at..).unwrap_or_default()) else {
                // Only in the start of a record: the quote closes beyond it.
                self.push(start, bytes.len());
                return bytes.len();
            };
            let quote = at + found;
            at = quote + 2;
            match bytes.get(quote + 1) {
                Some(b'"') => doubled = true,
                next if next.is_none_or(|byte| *byte == self.delimiter) => {
                    self.push_quoted(start + 1, quote, doubled);
                    return quote + 1;
                }
                _ => break,
            }
        }
        // Text after the closing quote.
        let end = self.next_delimiter(at);
        if self.lax {
            self.push_closed_early(start, at - 2, end);
        } else {
            // The cell is kept as in the source.
            self.bad_quote();
            self.push(start, end);
        }
        end
    }

    fn bare_cell(&mut self, start: usize) -> usize {
        let end = self.next_delimiter(start);
        if !self.lax && memchr(b'"', self.text.as_bytes().get(start..end).unwrap_or_default()).is_some() {
            self.bad_quote();
        }
        self.push(start, end);
        end
    }

    fn next_delimiter(&self, from: usize) -> usize {
        let rest = self.text.as_bytes().get(from..).unwrap_or_default();
        memchr(self.delimiter, rest).map_or(self.text.len(), |found| from + found)
    }

    fn bad_quote(&mut self) {
        self.cut.bad_quote.get_or_insert(self.cut.cells);
    }

    fn push_quoted(&mut self, start: usize, end: usize, doubled: bool) {
        if doubled && self.cut.cells < self.named {
            let inner = self.text.get(start..end).unwrap_or_default();
            let Ok(()) = self.unescaped.write(self.fields.len(), |text| undouble(inner, text));
        }
        self.push(start, end);
    }

    /// A cell whose quotes close before its end: the text in the quotes, and the rest unchanged.
    fn push_closed_early(&mut self, start: usize, quote: usize, end: usize) {
        if self.cut.cells < self.named {
            let inner = self.text.get(start + 1..quote).unwrap_or_default();
            let rest = self.text.get(quote + 1..end).unwrap_or_default();
            let Ok(()) = self.unescaped.write(self.fields.len(), |text| {
                undouble(inner, text)?;
                text.push_str(rest);
                Ok::<(), Infallible>(())
            });
        }
        self.push(start, end);
    }

    fn push(&mut self, start: usize, end: usize) {
        let index = self.cut.cells;
        self.cut.cells += 1;
        // Cells end at ASCII characters, so these are character boundaries.
        let cell = self.text.get(start..end).unwrap_or_default();
        if index < self.named {
            let name = NameId::try_from(index).unwrap_or(NameId::MAX);
            self.fields.push(RawField { name, value: RawValue::Text(cell) });
        } else if !cell.is_empty() {
            self.cut.nameless.get_or_insert(index);
        }
    }
}

/// Writes the inside of a quoted cell with each doubled quote as one.
fn undouble(inner: &str, text: &mut String) -> Result<(), Infallible> {
    for (index, part) in inner.split("\"\"").enumerate() {
        if index > 0 {
            text.push('"');
        }
        text.push_str(part);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, named: usize) -> (Vec<String>, Cut) {
        let mut fields = Vec::new();
        let mut unescaped = Unescaped::default();
        let cut = Cutter::new(text, b',', named, &mut fields, &mut unescaped).cut_quoted();
        unescaped.settle(&mut fields);
        let cells = fields.iter().map(|field| match field.value {
            RawValue::Text(text) => text.to_owned(),
            other => format!("{other:?}"),
        });
        (cells.collect(), cut)
    }

    #[test]
    fn quotes_are_undone() {
        let (cells, seen) = cut(r#"a,"b,c","say ""hi""","",d"#, 5);
        assert_eq!(cells, ["a", "b,c", r#"say "hi""#, "", "d"]);
        assert_eq!(seen, Cut { cells: 5, bad_quote: None, nameless: None });
    }

    #[test]
    fn cell_with_a_stray_quote_is_kept_as_it_stands() {
        let (cells, seen) = cut(r#"a"b,"c"d"e,"f""#, 3);
        assert_eq!(cells, [r#"a"b"#, r#""c"d"e"#, "f"]);
        assert_eq!(seen, Cut { cells: 3, bad_quote: Some(0), nameless: None });
    }

    /// What `csv.reader` of Python gives for the same lines.
    #[test]
    fn stray_quotes_are_text_where_that_is_wanted() {
        for (line, cells) in [
            (r#"a"b,"c"d"e,"f""#, vec![r#"a"b"#, r#"cd"e"#, "f"]),
            (r#"""A""b,"x"" y"z,"#, vec![r#"A""b"#, r#"x" yz"#, ""]),
            (r#" "a",b""#, vec![r#" "a""#, r#"b""#]),
            (r#""é"ü,c"#, vec!["éü", "c"]),
        ] {
            let mut fields = Vec::new();
            let mut unescaped = Unescaped::default();
            let cut = Cutter::new(line, b',', 9, &mut fields, &mut unescaped).lax(true).cut_quoted();
            unescaped.settle(&mut fields);
            let read: Vec<_> = fields.iter().map(|field| field.value).collect();
            assert_eq!(read, cells.into_iter().map(RawValue::Text).collect::<Vec<_>>(), "{line}");
            assert_eq!(cut.bad_quote, None, "{line}");
        }
    }

    #[test]
    fn cells_beyond_the_names_are_counted_and_not_kept() {
        let (cells, seen) = cut("a,b,,\"d\"\"\"", 2);
        assert_eq!(cells, ["a", "b"]);
        assert_eq!(seen, Cut { cells: 4, bad_quote: None, nameless: Some(3) });
    }

    #[test]
    fn plain_and_quoted_cutting_agree_without_quotes() {
        for text in ["a", "", ",", "a,b,", "é,,ü"] {
            let mut fields = Vec::new();
            let mut unescaped = Unescaped::default();
            let plain = Cutter::new(text, b',', 9, &mut fields, &mut unescaped).cut_plain();
            let plain_cells: Vec<_> = fields.iter().map(|field| field.value).collect();
            let (cells, quoted) = cut(text, 9);
            assert_eq!(plain, quoted);
            assert_eq!(plain_cells, cells.iter().map(|cell| RawValue::Text(cell)).collect::<Vec<_>>());
        }
    }
}
