//! One record's bytes → the sink, for both JSON formats.

use std::borrow::Cow;
use std::str;

use super::object::{Fault, NameBook, Noted, ObjectReading};
use super::text::characters;
use crate::error::{ErrorCode, FileError, RecordError};
use crate::fault::{Mutant, mutant};
use crate::parse::fields::{FieldStore, Unescaped};
use crate::parse::{Dialect, ParseLimits, RecordSink, TextEncoding};
use crate::record::{Position, RawRecord, RecordNumber};

/// Nesting that the duplicate check may recurse into, whatever the limit is set to.
const DEEPEST: usize = 128;

/// Reads records one by one, numbers them and knows their names.
#[derive(Debug)]
pub(in crate::parse) struct JsonRecords {
    limits: ParseLimits,
    dialect: Dialect,
    book: NameBook,
    store: FieldStore,
    unescaped: Unescaped,
    next: RecordNumber,
    count: u64,
}

/// What to do with a record whose text is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::parse) enum Broken {
    /// It is a record with a defect, since its boundaries are known.
    IsRejected,
    /// It is no record.
    IsReturned,
}

/// Why a record was not taken.
#[derive(Debug)]
pub(in crate::parse) enum NotTaken {
    /// Its text is broken at this offset.
    Broken(ErrorCode, usize),
    /// The file is refused.
    File(FileError),
}

impl JsonRecords {
    pub(in crate::parse) fn new(limits: ParseLimits, dialect: Dialect) -> Self {
        Self {
            limits: ParseLimits { depth: limits.depth.min(DEEPEST), ..limits },
            dialect,
            book: NameBook::default(),
            store: FieldStore::default(),
            unescaped: Unescaped::default(),
            next: RecordNumber::FIRST,
            count: 0,
        }
    }

    /// Notes what the text was before it became UTF-8.
    pub(in crate::parse) fn open(&mut self, encoding: TextEncoding) {
        self.dialect.encoding = Some(encoding);
    }

    /// Records taken so far.
    pub(in crate::parse) fn count(&self) -> u64 {
        self.count
    }

    /// Number of the next record.
    pub(in crate::parse) fn next(&self) -> RecordNumber {
        self.next
    }

    /// Levels of nesting that a record may have.
    pub(in crate::parse) fn depth(&self) -> usize {
        self.limits.depth
    }

    /// Reads one record, which begins at this line and byte, and gives it to the sink.
    pub(in crate::parse) fn take<S: RecordSink + ?Sized>(
        &mut self,
        bytes: &[u8],
        (line, byte): (u64, u64),
        broken: Broken,
        sink: &mut S,
    ) -> Result<(), NotTaken> {
        let (text, not_utf8) = match str::from_utf8(bytes) {
            Ok(text) => (Cow::Borrowed(text), None),
            Err(error) => (String::from_utf8_lossy(bytes), Some(error.valid_up_to())),
        };
        self.unescaped.clear();
        let mut fields = self.store.take();
        let reading = ObjectReading {
            text: &text,
            limits: &self.limits,
            book: &mut self.book,
            fields: &mut fields,
            unescaped: &mut self.unescaped,
            not_utf8,
            noted: Noted::default(),
        };
        let defect = match reading.read() {
            Ok(Noted { error: Some(error), .. }) => {
                return Err(NotTaken::File(error.at_record(self.next.get())));
            }
            Ok(noted) => self.defect(noted, not_utf8),
            Err(fault) => {
                let fault = fault_before(fault, not_utf8);
                if broken == Broken::IsReturned {
                    return Err(NotTaken::Broken(fault.code, fault.offset));
                }
                fields.clear();
                self.unescaped.clear();
                Some(broken_line(&fault, bytes))
            }
        };
        self.unescaped.settle(&mut fields);
        let position = Position { record: self.next, line, byte };
        if self.dialect.handmade
            && !mutant(Mutant::JsonLettersUnseen)
            && (!bytes.is_ascii() || memchr::memmem::find(bytes, b"\\u").is_some())
        {
            sink.beyond_ascii();
        }
        let raw = defect.is_some().then_some(&*text);
        let record = RawRecord { position, fields: &fields, defect: defect.as_ref(), raw };
        let result = sink.record(&record, &self.book.names);
        self.store.give_back(fields);
        self.next = self.next.next();
        self.count += 1;
        result.map_err(NotTaken::File)
    }

    fn defect(&self, noted: Noted, not_utf8: Option<usize>) -> Option<RecordError> {
        if not_utf8.is_none() {
            return noted.defect;
        }
        let message =
            self.dialect.encoding.unwrap_or_default().not_in("The record has bytes that are", false);
        let error = RecordError::new(ErrorCode::InvalidUtf8, message);
        match noted.not_utf8_in.and_then(|id| self.book.names.get(id)) {
            Some(name) => Some(error.in_field(name)),
            None => Some(error),
        }
    }
}

/// The earlier of two faults: what follows bytes that are not UTF-8 was read with those replaced.
fn fault_before(fault: Fault, not_utf8: Option<usize>) -> Fault {
    match not_utf8 {
        Some(offset) if offset <= fault.offset => Fault { code: ErrorCode::InvalidUtf8, offset },
        _ => fault,
    }
}

fn broken_line(fault: &Fault, line: &[u8]) -> RecordError {
    let column = 1 + characters(line.get(..fault.offset).unwrap_or(line));
    RecordError::new(fault.code, format!("{} (character {column} of the line).", fault_text(fault.code)))
}

/// What a fault of the text is, in words without a full stop.
pub(in crate::parse) fn fault_text(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::JsonInvalidString => "A JSON string has a raw control character or half a surrogate pair",
        ErrorCode::InvalidUtf8 => "The JSON text has bytes that are no characters",
        _ => "The text is not valid JSON",
    }
}
