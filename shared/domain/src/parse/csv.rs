//! CSV (RFC 4180) → records, strictly.
//!
//! Guarantees: a quote that is never closed is an error of the file and swallows nothing; line numbers are those of a text
//! editor (LF, CRLF and lone CR each end a line, inside quotes as well); a record that is complete within one piece is
//! borrowed from it and not copied. Blank lines are ignored.

mod cells;
mod header;
mod record_boundary;

pub(super) use header::{cut_header, detect, is_blank_line};

use std::borrow::Cow;
use std::mem;
use std::str;

use cells::{Columns, Cut, Cutter};
use record_boundary::BoundaryScan;

use super::fields::{FieldStore, Unescaped};
use super::western::looks_like_windows_1252;
use super::{Delimiter, Dialect, ParseLimits, RecordSink, TextEncoding};
use crate::error::{ErrorCode, FileError, RecordError};
use crate::fault::{Mutant, mutant};
use crate::record::{FieldNames, NameId, Position, RawField, RawRecord, RawValue, RecordNumber};

/// Reads one CSV upload, byte order mark taken off.
#[derive(Debug)]
pub(super) struct CsvReader {
    limits: ParseLimits,
    dialect: Dialect,
    /// The table is a sheet of a workbook: its rows end with their last cell that has something in it, and a line break in a cell ends no line.
    sheet: bool,
    boundary: BoundaryScan,
    /// The start of a record whose end has not come yet. A record has at least one byte, so empty is between records.
    carry: Vec<u8>,
    /// Physical line of the next byte between records, of the record's first byte inside one.
    line: u64,
    /// Whether the last line end was a CR, which an LF may still belong to.
    after_return: bool,
    /// Offset of the next byte to be taken between records, of the record's first byte inside one.
    byte: u64,
    /// Lines before the header that are still to be skipped.
    skip: u64,
    /// The bytes that are skipped are inside the quotes of a sheet's cell.
    skip_quoted: bool,
    records: Records,
}

/// The half of the reader that knows the header and numbers the records.
#[derive(Debug)]
struct Records {
    header: Option<header::Header>,
    next: RecordNumber,
    count: u64,
    store: FieldStore,
    unescaped: Unescaped,
    encoding: TextEncoding,
    handmade: bool,
    lax_quotes: bool,
    flexible: bool,
    sheet: bool,
    /// A character beyond ASCII was read well.
    letters_seen: bool,
    /// Whether bytes that are not UTF-8 look like windows-1252, where that is known.
    western: Option<bool>,
}

impl CsvReader {
    pub(super) fn new(limits: ParseLimits, dialect: Dialect, sheet: bool) -> Self {
        let records = Records {
            header: None,
            next: RecordNumber::FIRST,
            count: 0,
            store: FieldStore::default(),
            unescaped: Unescaped::default(),
            encoding: TextEncoding::default(),
            handmade: dialect.handmade,
            lax_quotes: dialect.lax_quotes,
            flexible: dialect.flexible,
            sheet,
            letters_seen: false,
            western: None,
        };
        Self {
            limits,
            dialect,
            sheet,
            boundary: BoundaryScan::new(dialect.delimiter),
            carry: Vec::new(),
            line: 1,
            after_return: false,
            byte: 0,
            skip: 0,
            skip_quoted: false,
            records,
        }
    }

    /// The lines before the header, and its delimiter if that is known.
    pub(super) fn begin(&mut self, skip: u64, delimiter: Option<Delimiter>) {
        self.skip = skip;
        self.dialect.delimiter = delimiter;
        self.boundary = BoundaryScan::new(delimiter);
    }

    /// Whether the table is a sheet of a workbook.
    pub(super) fn is_sheet(&self) -> bool {
        self.sheet
    }

    /// What bytes that are not UTF-8 look like.
    pub(super) fn looks_western(&mut self, western: bool) {
        self.records.western = Some(western);
    }

    /// What ends a cell, once the header is read.
    pub(super) fn delimiter(&self) -> Option<Delimiter> {
        self.records.header.as_ref().map(|header| header.delimiter)
    }

    /// Counts the bytes of a byte order mark that was taken off, and notes what the text was before it became UTF-8.
    pub(super) fn open(&mut self, mark: usize, encoding: TextEncoding) {
        self.byte += mark as u64;
        self.dialect.encoding = Some(encoding);
        self.records.encoding = encoding;
    }

    pub(super) fn feed<S: RecordSink + ?Sized>(
        &mut self,
        mut input: &[u8],
        sink: &mut S,
    ) -> Result<(), FileError> {
        loop {
            if self.skip > 0 {
                input = self.skip_lines(input);
            }
            if self.carry.is_empty() {
                input = self.skip_line_ends(input);
            }
            if input.is_empty() {
                return Ok(());
            }
            // One byte more than a record may have: found there, its end is still in time; without it, it never is.
            let room = self.limit().saturating_add(1).saturating_sub(self.carry.len());
            let (window, rest) = input.split_at(room.min(input.len()));
            match self.boundary.scan(window) {
                Some(end) => {
                    let (record, _) = window.split_at(end);
                    self.take(record, sink)?;
                    input = input.get(end..).unwrap_or_default();
                }
                None => {
                    self.carry.extend_from_slice(window);
                    if window.len() == room {
                        return Err(self.too_long());
                    }
                    input = rest;
                }
            }
        }
    }

    pub(super) fn finish<S: RecordSink + ?Sized>(&mut self, sink: &mut S) -> Result<u64, FileError> {
        if let Some(offset) = self.boundary.open_quote() {
            return Err(self.unclosed(offset, "before the end of the file"));
        }
        // DOS ended texts with Ctrl-Z.
        let ended = self.dialect.handmade && self.carry == [0x1A] && self.records.header.is_some();
        if !self.carry.is_empty() && !ended {
            self.take(&[], sink)?;
        }
        if self.records.header.is_none() {
            return Err(FileError::new(ErrorCode::FileEmpty, "The file is empty: it has no header."));
        }
        Ok(self.records.count)
    }

    fn limit(&self) -> usize {
        if self.records.header.is_some() { self.limits.record_bytes } else { self.limits.header_bytes }
    }

    /// Takes the lines before the header that are to be skipped, or as much of them as is there.
    fn skip_lines<'i>(&mut self, mut input: &'i [u8]) -> &'i [u8] {
        while self.skip > 0 {
            // The second half of a line end belongs to the line before.
            if self.after_return && input.first() == Some(&b'\n') {
                self.after_return = false;
                self.byte += 1;
                input = input.get(1..).unwrap_or_default();
            }
            let Some(end) = self.line_end(input) else {
                self.after_return &= input.is_empty();
                self.byte += input.len() as u64;
                return &[];
            };
            self.after_return = input.get(end) == Some(&b'\r');
            self.byte += end as u64 + 1;
            self.line += 1;
            self.skip -= 1;
            input = input.get(end + 1..).unwrap_or_default();
        }
        input
    }

    /// Where the line ends that is skipped. In a sheet that is its row.
    fn line_end(&mut self, input: &[u8]) -> Option<usize> {
        if !self.sheet || mutant(Mutant::SheetLinesCounted) {
            return memchr::memchr2(b'\n', b'\r', input);
        }
        memchr::memchr2_iter(b'\n', b'"', input).find(|at| {
            let quote = input.get(*at) == Some(&b'"');
            self.skip_quoted ^= quote;
            !quote && !self.skip_quoted
        })
    }

    /// Takes the line ends before the next record: that of the record before, and those of blank lines.
    fn skip_line_ends<'i>(&mut self, input: &'i [u8]) -> &'i [u8] {
        let mut taken = 0;
        for byte in input {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' => self.line += 1,
                b'\r' => {
                    self.line += 1;
                    self.after_return = true;
                }
                _ => {
                    self.after_return = false;
                    break;
                }
            }
            taken += 1;
        }
        self.byte += taken as u64;
        input.get(taken..).unwrap_or_default()
    }

    /// Takes the record that ends with `last`, the rest of it being carried from earlier pieces.
    fn take<S: RecordSink + ?Sized>(&mut self, last: &[u8], sink: &mut S) -> Result<(), FileError> {
        if self.carry.is_empty() {
            return self.take_whole(last, sink);
        }
        let mut carry = mem::take(&mut self.carry);
        carry.extend_from_slice(last);
        let result = self.take_whole(&carry, sink);
        carry.clear();
        self.carry = carry;
        result
    }

    fn take_whole<S: RecordSink + ?Sized>(&mut self, record: &[u8], sink: &mut S) -> Result<(), FileError> {
        let quotes = self.boundary.has_quotes();
        if self.records.header.is_some() {
            let position = Position { record: self.records.next, line: self.line, byte: self.byte };
            self.records.take(record, quotes, position, sink)?;
        } else if let Some(header) = header::read(record, (&self.limits, &self.dialect), self.records.western)
            .map_err(|error| error.at_line(self.line))?
        {
            self.boundary.set_delimiter(header.delimiter);
            let line = self.line;
            sink.header(&header.names).map_err(|error| error.at_line(line))?;
            self.records.header = Some(header);
        }
        if quotes && !self.sheet {
            self.line += record_boundary::line_ends(record);
        }
        self.byte += record.len() as u64;
        self.boundary.restart();
        Ok(())
    }

    fn too_long(&self) -> FileError {
        let limit = self.limit();
        if let Some(offset) = self.boundary.open_quote() {
            return self.unclosed(offset, &format!("within the {limit} bytes that a record may have"));
        }
        if self.records.header.is_none() {
            let message = format!("The header is longer than {limit} bytes.");
            return FileError::new(ErrorCode::CsvHeaderTooLarge, message).at_line(self.line);
        }
        let message = format!("The record is longer than {limit} bytes.");
        self.in_record(FileError::new(ErrorCode::RecordTooLarge, message).at_line(self.line))
    }

    fn unclosed(&self, offset: usize, place: &str) -> FileError {
        let line = self.line + record_boundary::line_ends(self.carry.get(..offset).unwrap_or_default());
        let message = format!("A quote is opened here and not closed {place}.");
        self.in_record(FileError::new(ErrorCode::CsvUnclosedQuote, message).at_line(line))
    }

    fn in_record(&self, error: FileError) -> FileError {
        if self.records.header.is_some() { error.at_record(self.records.next.get()) } else { error }
    }
}

impl Records {
    fn take<S: RecordSink + ?Sized>(
        &mut self,
        record: &[u8],
        quotes: bool,
        position: Position,
        sink: &mut S,
    ) -> Result<(), FileError> {
        let Some(header) = &self.header else { return Ok(()) };
        let Self { flexible, sheet, .. } = *self;
        let (text, fault) = decoded(record);
        if self.handmade && !record.is_ascii() {
            self.letters_seen = self.letters_seen || has_letters(&text);
            sink.beyond_ascii();
        }
        self.unescaped.clear();
        let mut fields = self.store.take();
        let cutter = Cutter::new(
            &text,
            header.delimiter.byte(),
            header.columns.named,
            &mut fields,
            &mut self.unescaped,
        )
        .lax(self.lax_quotes);
        let mut cut = if quotes { cutter.cut_quoted() } else { cutter.cut_plain() };
        self.unescaped.settle(&mut fields);
        if self.handmade && may_be_blank(record, header.delimiter) && is_blank(&cut, &fields) {
            self.store.give_back(fields);
            return Ok(());
        }
        fill(&mut fields, &mut cut, header.columns.named, (flexible, sheet));
        // The text before the first bad byte is the same in both readings, and so is the column that it ends in.
        let fault = fault.map(|at| column_at(text.get(..at).unwrap_or_default(), header.delimiter, quotes));
        let columns = (!flexible).then_some(header.columns);
        let western = || self.western.unwrap_or_else(|| looks_like_windows_1252(record));
        if let Some(cell) = fault
            && self.handmade
            && !self.letters_seen
            && self.encoding == TextEncoding::Utf8
        {
            // The first characters beyond ASCII are not UTF-8, so the file is not.
            let field = NameId::try_from(cell).ok().and_then(|id| header.names.get(id)).unwrap_or_default();
            let error = not_in(self.encoding, western()).in_field(field);
            return Err(error.at_record(position.record.get()).at_line(position.line));
        }
        let hints = self.handmade.then_some(&*text);
        let defect = defect(&cut, columns, &header.names, hints).or_else(|| {
            let message = self.encoding.not_in(&format!("Cell {} has bytes that are", fault? + 1), western());
            Some(in_column(RecordError::new(ErrorCode::InvalidUtf8, message), &header.names, fault?))
        });
        let raw = defect.is_some().then_some(&*text);
        let raw_record = RawRecord { position, fields: &fields, defect: defect.as_ref(), raw };
        let result = sink.record(&raw_record, &header.names);
        self.store.give_back(fields);
        self.next = self.next.next();
        self.count += 1;
        result
    }
}

/// The text of a record, and where its first bytes are that are not UTF-8.
fn decoded(record: &[u8]) -> (Cow<'_, str>, Option<usize>) {
    match str::from_utf8(record) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(error) => (String::from_utf8_lossy(record), Some(error.valid_up_to())),
    }
}

/// Fills the columns that a record does not reach, where that is no mistake. Named columns come first, so those are the last ones.
fn fill(fields: &mut Vec<RawField<'_>>, cut: &mut Cut, named: usize, (flexible, sheet): (bool, bool)) {
    let missing = (cut.cells..named).filter_map(|index| NameId::try_from(index).ok());
    if sheet {
        fields.extend(missing.map(|name| RawField { name, value: RawValue::Text("") }));
        cut.cells = cut.cells.max(named);
    } else if flexible {
        fields.extend(missing.map(|name| RawField { name, value: RawValue::Null }));
    }
}

/// Whether a text shows that the file is UTF-8: characters beyond ASCII do, but for what stands where bytes were lost.
fn has_letters(text: &str) -> bool {
    text.chars().any(|c| !c.is_ascii() && c != char::REPLACEMENT_CHARACTER)
}

/// The error of a file that is not in the encoding.
fn not_in(encoding: TextEncoding, western: bool) -> FileError {
    let message = encoding.not_in("The file has bytes that are", western);
    FileError::new(ErrorCode::InvalidUtf8, message).mended_by(encoding.mends(western).iter().copied())
}

/// Index of the cell that the end of `text`, the start of a record, stands in.
fn column_at(text: &str, delimiter: Delimiter, quotes: bool) -> usize {
    let (mut fields, mut unescaped) = (Vec::new(), Unescaped::default());
    let cutter = Cutter::new(text, delimiter.byte(), 0, &mut fields, &mut unescaped);
    let cut = if quotes { cutter.cut_quoted() } else { cutter.cut_plain() };
    cut.cells.saturating_sub(1)
}

/// What is wrong with a record's shape. It comes first: without it no cell is sure to be in its column. Without `columns`,
/// any number of cells will do.
/// `hints` is the text of a handmade file's record: what people and programs do to it can be named.
fn defect(
    cut: &Cut,
    columns: Option<Columns>,
    names: &FieldNames,
    hints: Option<&str>,
) -> Option<RecordError> {
    if let Some(index) = cut.bad_quote {
        let mut message =
            format!("Cell {} has a quote inside unquoted text, or text after its closing quote.", index + 1);
        if hints.is_some_and(|text| text.contains("\\\"")) {
            message.push_str(" A quote inside quotes is doubled, not written after a backslash.");
        } else if hints.is_some() {
            message.push_str(" Put the whole cell in quotes, and double the quotes inside it.");
        }
        return Some(in_column(RecordError::new(ErrorCode::CsvBadQuote, message), names, index));
    }
    if let Some(columns) = columns.filter(|columns| cut.cells < columns.named || cut.cells > columns.all) {
        let mut message = format!(
            "The record has {} {}, the header has {} {}.",
            cut.cells,
            if cut.cells == 1 { "cell" } else { "cells" },
            columns.all,
            if columns.all == 1 { "column" } else { "columns" },
        );
        if let Some(text) = hints {
            message.push_str(count_hint(cut, columns, text));
        }
        return Some(RecordError::new(ErrorCode::CsvColumnCount, message));
    }
    if columns.is_some()
        && let Some(index) = cut.nameless
    {
        let message = format!("Cell {} is not empty, but the header has no name for its column.", index + 1);
        return Some(RecordError::new(ErrorCode::CsvColumnCount, message));
    }
    None
}

/// What may be behind a wrong number of cells.
fn count_hint(cut: &Cut, columns: Columns, text: &str) -> &'static str {
    let whole_line = cut.cells == 1
        && text.starts_with('"')
        && text.matches([',', ';', '\t', '|']).count() + 1 >= columns.named;
    if whole_line && columns.named > 1 {
        " The whole line is in quotes: save the file again from its original program, or remove the quotes."
    } else if text.contains(['\u{201c}', '\u{201d}', '\u{201e}']) {
        " The characters \u{201c} and \u{201d} are no quotes: use \" around a cell with a delimiter in it."
    } else if cut.cells < columns.named && cut.cells == 1 {
        " If the line is no record, remove it; `--rows flexible` takes short rows."
    } else if cut.cells < columns.named {
        " `--rows flexible` takes short rows."
    } else if cut.nameless.is_none() {
        " The surplus cells are empty: `--rows flexible` leaves them out."
    } else {
        " A cell that contains a delimiter must be in quotes."
    }
}

/// Whether a record may have nothing in it, by its first byte: most have.
fn may_be_blank(record: &[u8], delimiter: Delimiter) -> bool {
    // A blank that does not break, a zero-width one and a byte order mark begin with these three.
    matches!(record.first(), Some(b' ' | b'\t' | b'"' | 0xC2 | 0xE2 | 0xEF))
        || record.first() == Some(&delimiter.byte())
}

/// Whether no cell has anything in it.
fn is_blank(cut: &Cut, fields: &[RawField<'_>]) -> bool {
    let empty = |c: char| c.is_whitespace() || matches!(c, '\u{200b}' | '\u{feff}');
    cut.nameless.is_none()
        && cut.bad_quote.is_none()
        && fields.iter().all(|field| matches!(field.value, RawValue::Text(text) if text.chars().all(empty)))
}

fn in_column(error: RecordError, names: &FieldNames, index: usize) -> RecordError {
    match NameId::try_from(index).ok().and_then(|id| names.get(id)) {
        Some(name) => error.in_field(name),
        None => error,
    }
}
