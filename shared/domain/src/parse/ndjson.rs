//! One JSON object a line → records.
//!
//! A broken record cannot move the end of its line, so a broken line fails alone. Only a last line without a
//! line end can be half a record. The file is then refused, since it may have been cut off. Lines end at LF;
//! a CR before it and blank lines mean nothing.

use std::mem;

use memchr::memchr;

use super::json::{Broken, JsonRecords, NotTaken, depth, is_blank};
use super::{Dialect, ParseLimits, RecordSink, TextEncoding};
use crate::error::{ErrorCode, FileError};

/// Reads one upload of JSON lines, byte order mark taken off.
#[derive(Debug)]
pub(super) struct NdjsonReader {
    record_bytes: usize,
    /// The start of a line whose end has not come yet.
    carry: Vec<u8>,
    /// The line at hand, from 1.
    line: u64,
    /// Offset of its first byte.
    byte: u64,
    records: JsonRecords,
}

impl NdjsonReader {
    pub(super) fn new(limits: ParseLimits, dialect: Dialect) -> Self {
        let records = JsonRecords::new(limits, dialect);
        Self { record_bytes: limits.record_bytes, carry: Vec::new(), line: 1, byte: 0, records }
    }

    /// Counts the bytes of a byte order mark that was taken off, and notes what the text was before it became UTF-8.
    pub(super) fn open(&mut self, mark: usize, encoding: TextEncoding) {
        self.byte += mark as u64;
        self.records.open(encoding);
    }

    pub(super) fn feed<S: RecordSink + ?Sized>(
        &mut self,
        mut input: &[u8],
        sink: &mut S,
    ) -> Result<(), FileError> {
        while !input.is_empty() {
            // A record, a CR and the LF: without an LF among them the line is too long.
            let room = self.record_bytes.saturating_add(2).saturating_sub(self.carry.len());
            let (window, rest) = input.split_at(room.min(input.len()));
            match memchr(b'\n', window) {
                Some(end) => {
                    let (last, _) = window.split_at(end);
                    self.take(last, Broken::IsRejected, sink)?;
                    input = input.get(end + 1..).unwrap_or_default();
                }
                None => {
                    self.carry.extend_from_slice(window);
                    if window.len() == room {
                        return Err(self.too_long(&self.carry));
                    }
                    input = rest;
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish<S: RecordSink + ?Sized>(&mut self, sink: &mut S) -> Result<u64, FileError> {
        self.take(&[], Broken::IsReturned, sink)?;
        if self.records.count() == 0 {
            return Err(FileError::new(ErrorCode::FileEmpty, "The file is empty."));
        }
        Ok(self.records.count())
    }

    /// Takes the line that ends with `last`, the rest of it being carried from earlier pieces.
    fn take<S: RecordSink + ?Sized>(
        &mut self,
        last: &[u8],
        broken: Broken,
        sink: &mut S,
    ) -> Result<(), FileError> {
        let mut carry = mem::take(&mut self.carry);
        if carry.is_empty() {
            return self.take_whole(last, broken, sink);
        }
        carry.extend_from_slice(last);
        let result = self.take_whole(&carry, broken, sink);
        carry.clear();
        self.carry = carry;
        result
    }

    fn take_whole<S: RecordSink + ?Sized>(
        &mut self,
        line: &[u8],
        broken: Broken,
        sink: &mut S,
    ) -> Result<(), FileError> {
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        if text.len() > self.record_bytes {
            return Err(self.too_long(text));
        }
        if let Some(first) = text.iter().find(|byte| !is_blank(**byte)) {
            if *first == b'[' && self.records.count() == 0 {
                let message = "One JSON object a line is expected, but the file begins with an array. If it is one array of \
                               objects, its format is json.";
                return Err(FileError::new(ErrorCode::FormatMismatch, message));
            }
            self.take_record(text, broken, sink)?;
        }
        self.line += 1;
        self.byte += line.len() as u64 + 1;
        Ok(())
    }

    fn take_record<S: RecordSink + ?Sized>(
        &mut self,
        text: &[u8],
        broken: Broken,
        sink: &mut S,
    ) -> Result<(), FileError> {
        match self.records.take(text, (self.line, self.byte), broken, sink) {
            Ok(()) => Ok(()),
            Err(NotTaken::File(error)) => Err(error),
            Err(NotTaken::Broken(..)) if depth(text) > self.records.depth() => Err(self.too_deep()),
            Err(NotTaken::Broken(..)) => {
                let message = "The last line has no line end and is not whole.";
                Err(self.here(ErrorCode::JsonTruncated, message))
            }
        }
    }

    fn here(&self, code: ErrorCode, message: impl Into<String>) -> FileError {
        FileError::new(code, message).at_record(self.records.next().get()).at_line(self.line)
    }

    fn too_long(&self, start: &[u8]) -> FileError {
        let start = start.get(..self.record_bytes.saturating_add(1)).unwrap_or(start);
        if depth(start) > self.records.depth() {
            return self.too_deep();
        }
        self.here(
            ErrorCode::RecordTooLarge,
            format!("The record is longer than {} bytes.", self.record_bytes),
        )
    }

    /// Nesting whose end was not found: unlike that of a whole line, it is the file's fault.
    fn too_deep(&self) -> FileError {
        let levels = self.records.depth();
        let message = format!("Arrays and objects are nested more than {levels} levels deep and not closed.");
        self.here(ErrorCode::JsonTooDeep, message)
    }
}
