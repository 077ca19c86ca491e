//! A record as it stood in the upload: names, values, position, and nothing decided yet.
//!
//! Absent, null and empty stay three different things: an absent field is not in `fields`, a null one is
//! [`RawValue::Null`], an empty one is [`RawValue::Text`] of `""`. What an empty CSV cell *means* is for the options to say.

use std::collections::HashMap;

use super::position::Position;
use crate::error::RecordError;

/// Index of a field's name in the import's [`FieldNames`].
pub type NameId = u32;

/// The field names met in one import, in the order in which they were met (for CSV: the header, column by column).
///
/// Records name their fields by index, so that what a name means is worked out once an import and not once a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldNames {
    names: Vec<Box<str>>,
    index: HashMap<Box<str>, NameId>,
}

impl FieldNames {
    /// No names yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The names of a CSV header, duplicates kept so that indexes are columns ([`FieldNames::find`] gives the first).
    pub fn from_header<S: AsRef<str>>(columns: impl IntoIterator<Item = S>) -> Self {
        let mut names = Self::new();
        for column in columns {
            names.push(column.as_ref());
        }
        names
    }

    /// Appends a name even if it is there already.
    pub fn push(&mut self, name: &str) -> NameId {
        let id = NameId::try_from(self.names.len()).unwrap_or(NameId::MAX);
        self.names.push(name.into());
        self.index.entry(name.into()).or_insert(id);
        id
    }

    /// Index of `name`, appended if it is new.
    ///
    /// ```
    /// use muster_domain::record::FieldNames;
    ///
    /// let mut names = FieldNames::from_header(["email", "phone"]);
    /// assert_eq!((names.intern("phone"), names.intern("given_name")), (1, 2));
    /// assert_eq!(names.get(2), Some("given_name"));
    /// ```
    pub fn intern(&mut self, name: &str) -> NameId {
        match self.index.get(name) {
            Some(id) => *id,
            None => self.push(name),
        }
    }

    /// Index of the first field with this exact name.
    pub fn find(&self, name: &str) -> Option<NameId> {
        self.index.get(name).copied()
    }

    /// The name at an index.
    pub fn get(&self, id: NameId) -> Option<&str> {
        self.names.get(id as usize).map(|name| &**name)
    }

    /// All names, by index.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no name was met yet.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// A value as it stood in the upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawValue<'a> {
    /// JSON `null`.
    Null,
    /// A CSV cell after unquoting, or a JSON string after unescaping.
    Text(&'a str),
    /// Any other JSON value (number, boolean, array, object) as its own source text, so that no digit is lost.
    Json(&'a str),
}

/// One field of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawField<'a> {
    /// Which name in the import's [`FieldNames`].
    pub name: NameId,
    /// What stood there.
    pub value: RawValue<'a>,
}

/// One record of an upload, borrowed from the parser's buffer or from a decoded chunk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RawRecord<'a> {
    /// Its position in the upload.
    pub position: Position,
    /// Its fields in the order of the upload; for CSV one a column. With a defect: as far as they could be read.
    pub fields: &'a [RawField<'a>],
    /// Why the record could not be read whole (wrong number of cells, undecodable bytes, broken JSON line).
    /// A record with a defect fails and never becomes a user; other records are not affected.
    pub defect: Option<&'a RecordError>,
    /// The record's source text, without its line end, where there is a defect: `fields` may then contain only a part of
    /// it, and the file of failed records must contain what was sent. Bytes that are not UTF-8 are U+FFFD.
    pub raw: Option<&'a str>,
}

impl<'a> RawRecord<'a> {
    /// The value under a name, `None` where the field is absent.
    pub fn value(&self, name: NameId) -> Option<RawValue<'a>> {
        self.fields.iter().find(|field| field.name == name).map(|field| field.value)
    }
}
