//! A JSON array of objects → records, element by element.
//!
//! The boundaries of elements are found by counting brackets outside strings. Each element is then parsed
//! once as a whole. A syntax error makes all later boundaries uncertain, so it is an error of the file. An
//! element that is valid JSON but not a valid record (no object, a repeated key, nested too deeply, invalid
//! UTF-8 inside a string) is an error of that record.

mod element;
mod nested;
mod object;
mod records;
mod seek;
mod tail;
mod text;

use std::mem;

use element::ElementScan;
pub(super) use records::{Broken, JsonRecords, NotTaken, fault_text};
use text::Place;
pub(super) use text::is_blank;
pub(crate) use text::{depth, string_fault};

use super::{Dialect, ParseLimits, RecordSink, TextEncoding};
use crate::error::{ErrorCode, FileError};

/// Reads one upload that is a JSON array, byte order mark taken off.
#[derive(Debug)]
pub(super) struct JsonReader {
    record_bytes: usize,
    state: State,
    element: ElementScan,
    /// The start of an element whose end has not come yet.
    carry: Vec<u8>,
    /// Place of the next byte outside elements, of the element's first byte inside one.
    place: Place,
    /// Offset of the same byte.
    byte: u64,
    records: JsonRecords,
    /// People made the file: one object is a record, and objects may stand one after another.
    handmade: bool,
    /// The records are objects without an array around them.
    bare: bool,
    /// The path of the list, if it is inside an object.
    seek: Option<seek::Seek>,
    /// What follows the list there.
    tail: Option<tail::Tail>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the array.
    Start,
    /// On the way to the array inside an object.
    Seek,
    /// After the array inside an object: what is left of the object.
    Tail,
    /// After `[`.
    First,
    /// After a comma.
    Next,
    /// In an element.
    Element,
    /// After an element.
    After,
    /// After `]`.
    Done,
}

impl JsonReader {
    pub(super) fn new(limits: ParseLimits, dialect: Dialect) -> Self {
        Self {
            record_bytes: limits.record_bytes,
            state: State::Start,
            element: ElementScan::default(),
            carry: Vec::new(),
            place: Place::START,
            byte: 0,
            records: JsonRecords::new(limits, dialect),
            handmade: dialect.handmade,
            bare: false,
            seek: None,
            tail: None,
        }
    }

    /// The list is inside an object: the keys to it. Where that is optional, a list that is the file itself will do.
    pub(super) fn at(&mut self, keys: Vec<String>, optional: bool) {
        self.seek = Some(seek::Seek::new(keys, optional));
        self.state = State::Seek;
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
        loop {
            if self.state == State::Seek {
                input = self.seek(input)?;
            } else if self.state == State::Tail {
                input = self.tail(input)?;
            }
            if self.state != State::Element && self.state != State::Seek && self.state != State::Tail {
                let blanks = input.iter().position(|byte| !is_blank(*byte)).unwrap_or(input.len());
                input = self.pass(input, blanks);
            }
            let Some(first) = input.first() else { return Ok(()) };
            input = if self.state == State::Element {
                self.take_element(input, sink)?
            } else if matches!(self.state, State::Seek | State::Tail) {
                continue;
            } else {
                let passed = self.take_structure(*first)?;
                self.pass(input, passed)
            };
        }
    }

    pub(super) fn finish(&mut self) -> Result<u64, FileError> {
        match self.state {
            State::Done => Ok(self.records.count()),
            State::Start => Err(FileError::new(ErrorCode::FileEmpty, "The file is empty.")),
            State::Seek | State::Tail => {
                Err(self.here(ErrorCode::JsonTruncated, "The JSON object ends before it is complete."))
            }
            State::Element if self.element.deepest() > self.records.depth() => Err(self.too_deep()),
            State::First | State::Next | State::Element | State::After => {
                let message = "The JSON array ends before it is complete.";
                Err(self.here(ErrorCode::JsonTruncated, message).at_record(self.records.next().get()))
            }
        }
    }

    /// Takes these many bytes outside elements.
    fn pass<'i>(&mut self, input: &'i [u8], count: usize) -> &'i [u8] {
        let (passed, rest) = input.split_at(count.min(input.len()));
        self.place = self.place.after(passed);
        self.byte += passed.len() as u64;
        rest
    }

    /// Advances by a byte outside elements, and returns how many bytes that takes: none if an element begins.
    fn take_structure(&mut self, byte: u8) -> Result<usize, FileError> {
        self.state = match (self.state, byte) {
            (State::Start, b'[') => State::First,
            (State::First | State::After, b']') => match &self.seek {
                Some(seek) if !seek.keys().is_empty() => {
                    self.tail = Some(tail::Tail::new(seek.keys().to_vec()));
                    State::Tail
                }
                _ => State::Done,
            },
            (State::Start, b'{') if self.handmade => {
                self.bare = true;
                self.element.start(byte);
                self.state = State::Element;
                return Ok(0);
            }
            (State::Done, b'{') if self.bare => {
                self.element.start(byte);
                self.state = State::Element;
                return Ok(0);
            }
            (State::After, b',') => State::Next,
            (State::First | State::Next, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                self.element.start(byte);
                self.state = State::Element;
                return Ok(0);
            }
            (State::Start, _) => return Err(not_an_array(byte)),
            (State::Done, _) => {
                return Err(self.here(ErrorCode::JsonTrailing, "Something follows the JSON array."));
            }
            (State::First | State::Next, _) => return Err(self.invalid("An object is expected here.")),
            (State::After | State::Element | State::Seek | State::Tail, _) => {
                return Err(self.invalid("A comma or the end of the array is expected here."));
            }
        };
        Ok(1)
    }

    fn take_element<'i, S: RecordSink + ?Sized>(
        &mut self,
        input: &'i [u8],
        sink: &mut S,
    ) -> Result<&'i [u8], FileError> {
        // One byte more than a record may have: if the element has not ended then, it is too long.
        let room = self.record_bytes.saturating_add(1).saturating_sub(self.carry.len());
        let (window, rest) = input.split_at(room.min(input.len()));
        let end = self.element.scan(window);
        if end.map_or(window.len(), |end| end) == room {
            // What is said of it depends on its beginning, and not on the pieces in which that came.
            self.carry.extend_from_slice(window);
            return Err(self.too_long());
        }
        let Some(end) = end else {
            self.carry.extend_from_slice(window);
            return Ok(rest);
        };
        let (last, _) = window.split_at(end);
        let mut carry = mem::take(&mut self.carry);
        if carry.is_empty() {
            self.take_whole(last, sink)?;
        } else {
            carry.extend_from_slice(last);
            self.take_whole(&carry, sink)?;
            carry.clear();
        }
        self.carry = carry;
        self.state = if self.bare { State::Done } else { State::After };
        Ok(input.get(end..).unwrap_or_default())
    }

    /// Goes on towards the list.
    fn seek<'i>(&mut self, input: &'i [u8]) -> Result<&'i [u8], FileError> {
        let Some(seek) = &mut self.seek else { return Ok(input) };
        let (taken, found) = match seek.feed(input) {
            Ok(found) => found,
            Err((code, message)) => return Err(self.here(code, message)),
        };
        if found {
            self.state = State::First;
        }
        Ok(self.pass(input, taken))
    }

    /// Goes on behind the list.
    fn tail<'i>(&mut self, input: &'i [u8]) -> Result<&'i [u8], FileError> {
        let Some(tail) = &mut self.tail else { return Ok(input) };
        match tail.feed(input) {
            Ok((taken, ended)) => {
                if ended {
                    self.state = State::Done;
                }
                Ok(self.pass(input, taken))
            }
            Err((at, code)) => {
                self.pass(input, at);
                let message = match code {
                    ErrorCode::JsonDuplicateKey => {
                        "The object has the key of the list with the records once more: only one of its lists would be read.".to_owned()
                    }
                    ErrorCode::JsonTooDeep => "What follows the list is nested too deep.".to_owned(),
                    code => format!("What follows the list: {}.", fault_text(code)),
                };
                Err(self.here(code, message))
            }
        }
    }

    fn take_whole<S: RecordSink + ?Sized>(&mut self, element: &[u8], sink: &mut S) -> Result<(), FileError> {
        if self.bare && self.records.count() == 0 {
            seek::refuse_wrapper(element)?;
        }
        let start = (self.place.line, self.byte);
        match self.records.take(element, start, Broken::IsReturned, sink) {
            Ok(()) => {}
            Err(NotTaken::File(error)) => return Err(error),
            Err(NotTaken::Broken(code, offset)) => {
                self.place = self.place.after(element.get(..offset).unwrap_or(element));
                return Err(self
                    .here(code, format!("{}.", fault_text(code)))
                    .at_record(self.records.next().get()));
            }
        }
        self.pass(element, element.len());
        Ok(())
    }

    fn here(&self, code: ErrorCode, message: impl Into<String>) -> FileError {
        FileError::new(code, message).at_line(self.place.line).at_column(self.place.column)
    }

    fn invalid(&self, message: &str) -> FileError {
        self.here(ErrorCode::JsonInvalid, message).at_record(self.records.next().get())
    }

    fn too_long(&self) -> FileError {
        if self.bare
            && self.records.count() == 0
            && let Err(error) = seek::refuse_wrapper(&self.carry)
        {
            return error;
        }
        if self.element.deepest() > self.records.depth() {
            return self.too_deep();
        }
        let message = format!("The record is longer than {} bytes.", self.record_bytes);
        self.here(ErrorCode::RecordTooLarge, message).at_record(self.records.next().get())
    }

    /// Nesting whose end was not found. Unlike in a record with known boundaries, this is an error of the file.
    fn too_deep(&self) -> FileError {
        let levels = self.records.depth();
        let message = format!("Arrays and objects are nested more than {levels} levels deep and not closed.");
        self.here(ErrorCode::JsonTooDeep, message).at_record(self.records.next().get())
    }
}

fn not_an_array(first: u8) -> FileError {
    let message = if first == b'{' {
        "A JSON array of objects is expected, but the file begins with an object. If it has one object a line, its format \
         is ndjson."
    } else {
        "A JSON array of objects is expected, but the file does not begin with one."
    };
    FileError::new(ErrorCode::FormatMismatch, message)
}
