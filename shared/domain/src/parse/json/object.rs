//! The text of one record → its fields.

use std::fmt;

use memchr::memchr;
use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::nested::names_a_key_twice;
use super::text::{depth, string_fault, unescape};
use crate::error::{ErrorCode, FileError, RecordError};
use crate::parse::ParseLimits;
use crate::parse::fields::Unescaped;
use crate::record::{FieldNames, NameId, RawField, RawValue as Value};

/// The text is not JSON, or a string in it is not valid text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: ErrorCode,
    /// Offset in the record's text.
    pub(super) offset: usize,
}

/// The names of one import, and in which order its records use them.
#[derive(Debug, Default)]
pub(super) struct NameBook {
    pub(super) names: FieldNames,
    /// The names of the record before: most records name their fields in one order, which saves looking them up.
    order: Vec<NameId>,
    /// For each name the number of the last record that used it.
    seen: Vec<u64>,
    record: u64,
}

/// One record being read. What is wrong is noted here, and reading goes on: a fault of the text further on weighs more.
pub(super) struct ObjectReading<'r, 't> {
    pub(super) text: &'t str,
    pub(super) limits: &'r ParseLimits,
    pub(super) book: &'r mut NameBook,
    pub(super) fields: &'r mut Vec<RawField<'t>>,
    pub(super) unescaped: &'r mut Unescaped,
    /// Offset in the text of bytes that were not UTF-8.
    pub(super) not_utf8: Option<usize>,
    pub(super) noted: Noted,
}

/// What was noticed while a record was read, the first of each kind.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// How many fields there were.
    count: usize,
    pub(super) defect: Option<RecordError>,
    pub(super) fault: Option<Fault>,
    pub(super) error: Option<FileError>,
    /// The field with the bytes that were not UTF-8.
    pub(super) not_utf8_in: Option<NameId>,
}

impl ObjectReading<'_, '_> {
    /// Reads the whole text.
    pub(super) fn read(mut self) -> Result<Noted, Fault> {
        let first = self.text.trim_ascii_start().as_bytes().first().copied().unwrap_or_default();
        if first != b'{' {
            return self.not_an_object(first);
        }
        self.book.record += 1;
        let mut reader = serde_json::Deserializer::from_str(self.text);
        let read = reader.deserialize_map(&mut self).and_then(|()| reader.end());
        read.map_err(|error| fault_of(&error, self.text))?;
        match self.noted.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(self.noted),
        }
    }

    fn not_an_object(mut self, first: u8) -> Result<Noted, Fault> {
        serde_json::from_str::<IgnoredAny>(self.text).map_err(|error| fault_of(&error, self.text))?;
        if let Some(offset) = string_fault(self.text.as_bytes()) {
            return Err(Fault { code: ErrorCode::JsonInvalidString, offset });
        }
        let kind = match first {
            b'[' => "an array",
            b'"' => "a string",
            b't' | b'f' => "a boolean",
            b'n' => "null",
            _ => "a number",
        };
        if depth(self.text.as_bytes()) > self.limits.depth {
            self.note(too_deep(self.limits));
        }
        self.note(RecordError::new(ErrorCode::TypeMismatch, format!("The record is {kind}, not an object.")));
        Ok(self.noted)
    }

    /// Where a field belongs, or `None` for one that is not kept.
    fn field(&mut self, key: &str) -> Option<NameId> {
        let index = self.noted.count;
        self.noted.count += 1;
        if index >= self.limits.fields {
            let message = format!("The record has more than {} fields.", self.limits.fields);
            self.note(RecordError::new(ErrorCode::TooManyFields, message));
            return None;
        }
        if key.len() > self.limits.name_bytes {
            let message = format!("A field name is longer than {} bytes.", self.limits.name_bytes);
            self.note(RecordError::new(ErrorCode::FieldUnknown, message));
            return None;
        }
        let Some(id) = self.book.look_up(index, key, self.limits.names) else {
            let message = format!("The records have more than {} different field names.", self.limits.names);
            self.noted.error.get_or_insert_with(|| FileError::new(ErrorCode::TooManyFields, message));
            return None;
        };
        if !self.book.first_use(id) {
            let message = "The record names this field twice.";
            self.note(RecordError::new(ErrorCode::JsonDuplicateKey, message).in_field(key));
            return None;
        }
        Some(id)
    }

    fn note(&mut self, defect: RecordError) {
        self.noted.defect.get_or_insert(defect);
    }

    fn named(&self, error: RecordError, id: NameId) -> RecordError {
        match self.book.names.get(id) {
            Some(name) => error.in_field(name),
            None => error,
        }
    }

    fn nested(&mut self, id: NameId, source: &str, start: usize) {
        // The record's own object is the first level.
        if depth(source.as_bytes()) >= self.limits.depth {
            let defect = self.named(too_deep(self.limits), id);
            return self.note(defect);
        }
        if memchr(b'\\', source.as_bytes()).is_some()
            && let Some(offset) = string_fault(source.as_bytes())
        {
            return self.bad_string(start + offset);
        }
        match names_a_key_twice(source) {
            Ok(false) => {}
            Ok(true) => {
                let message = "An object in this field names a key twice.";
                let defect = self.named(RecordError::new(ErrorCode::JsonDuplicateKey, message), id);
                self.note(defect);
            }
            Err(_) => {
                self.noted.fault.get_or_insert(Fault { code: ErrorCode::JsonInvalid, offset: start });
            }
        }
    }

    fn bad_string(&mut self, offset: usize) {
        self.noted.fault.get_or_insert(Fault { code: ErrorCode::JsonInvalidString, offset });
    }
}

impl<'t> ObjectReading<'_, 't> {
    fn value(&mut self, id: NameId, source: &'t str) {
        // The source is a part of the text, so this is its offset.
        let start = source.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        if self.not_utf8.is_some_and(|at| (start..start + source.len()).contains(&at)) {
            self.noted.not_utf8_in = Some(id);
        }
        let value = match source.as_bytes().first() {
            Some(b'n') => Value::Null,
            Some(b'"') => {
                let inner = source.get(1..source.len() - 1).unwrap_or_default();
                if memchr(b'\\', inner.as_bytes()).is_some()
                    && let Err(offset) = self.unescaped.write(self.fields.len(), |text| unescape(inner, text))
                {
                    self.bad_string(start + 1 + offset);
                }
                Value::Text(inner)
            }
            Some(b'{' | b'[') => {
                self.nested(id, source, start);
                Value::Json(source)
            }
            _ => Value::Json(source),
        };
        self.fields.push(RawField { name: id, value });
    }
}

impl<'t> Visitor<'t> for &mut ObjectReading<'_, 't> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(id) = map.next_key_seed(Key(&mut *self))? {
            let source: &'t RawValue = map.next_value()?;
            if let Some(id) = id {
                self.value(id, source.get());
            }
        }
        Ok(())
    }
}

/// A key, looked up without being copied.
struct Key<'k, 'r, 't>(&'k mut ObjectReading<'r, 't>);

impl<'de> DeserializeSeed<'de> for Key<'_, '_, '_> {
    type Value = Option<NameId>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_, '_> {
    type Value = Option<NameId>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.field(key))
    }
}

impl NameBook {
    /// Index of the name of a record's field, learnt if it is new; `None` if there are too many.
    fn look_up(&mut self, index: usize, key: &str, max: usize) -> Option<NameId> {
        let expected = self.order.get(index).copied();
        if let Some(id) = expected.filter(|id| self.names.get(*id) == Some(key)) {
            return Some(id);
        }
        let id = match self.names.find(key) {
            Some(id) => id,
            None if self.names.len() >= max => return None,
            None => self.names.push(key),
        };
        if let Some(slot) = self.order.get_mut(index) {
            *slot = id;
        } else if index == self.order.len() {
            // Otherwise a field before this one was not kept, and the order is of no use.
            self.order.push(id);
        }
        Some(id)
    }

    /// Whether the record at hand had no field of this name yet; from now on it has.
    fn first_use(&mut self, id: NameId) -> bool {
        let index = id as usize;
        if index >= self.seen.len() {
            self.seen.resize(index + 1, 0);
        }
        self.seen.get_mut(index).is_none_or(|last| std::mem::replace(last, self.record) != self.record)
    }
}

fn too_deep(limits: &ParseLimits) -> RecordError {
    let message = format!("Arrays and objects are nested more than {} levels deep.", limits.depth);
    RecordError::new(ErrorCode::JsonTooDeep, message)
}

/// The fault that a reader stopped at. Its words are not passed on: they may hold the value.
fn fault_of(error: &serde_json::Error, text: &str) -> Fault {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let offset = lines.map(str::len).sum::<usize>() + error.column();
    match string_fault(text.as_bytes()) {
        Some(found) if found <= offset => Fault { code: ErrorCode::JsonInvalidString, offset: found },
        // The column counts the bytes up to and with the one at fault.
        _ => Fault { code: ErrorCode::JsonInvalid, offset: offset.saturating_sub(1) },
    }
}
