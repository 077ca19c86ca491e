//! What stands under one name of an upload, and how that is known.

use crate::field::{Field, FieldRule, FieldTable, METADATA_PATTERN, METADATA_PREFIX, Mapped};
use crate::options::IdentifierField;

/// What stands under one name of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    /// A field.
    Field(FieldRule),
    /// One key of the metadata.
    Metadata(Box<str>, Cell),
    /// Known and left out (`_error_*` of a file of failed records).
    Ignored,
    /// `_error_code` of a file of failed records.
    ErrorCode,
    /// Not known.
    Unknown,
}

impl Cell {
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::List => "[]",
            Self::Object | Self::VerbatimObject => "{}",
        }
    }
}

/// How the value of a metadata key is written in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    /// As itself.
    Plain,
    /// As a list: `custom__x[]`.
    List,
    /// As an object: `custom__x{}`.
    Object,
    /// The same as Bitcaster's importer reads it.
    VerbatimObject,
}

/// The word for a name that only a file of failed records has.
pub const OF_FAILED: &str = "file of failed records";
/// The word for a name that is not known.
pub const NOT_KNOWN: &str = "not known";

/// How it is known what stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// It is the name of a field, or of a key of the metadata.
    Name,
    /// The import says so.
    Mapping,
    /// It is a common name.
    Dictionary,
    /// Unknown names are kept as metadata.
    Metadata,
    /// It marks a file of failed records.
    Mark,
    /// It is not known.
    Nothing,
}

impl By {
    /// The rule in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Mapping => "mapping",
            Self::Dictionary => "common name",
            Self::Metadata => "unknown, kept as metadata",
            Self::Mark => OF_FAILED,
            Self::Nothing => NOT_KNOWN,
        }
    }
}

impl Rule {
    /// What a name of the table means.
    pub(super) fn known(name: &str, table: &FieldTable) -> Option<Self> {
        // A name of nothing means nothing, unless the import says that it is left out.
        let left_out = |rule: &FieldRule| rule.mapped.as_ref().is_some_and(|mapped| mapped.left_out);
        let rule = table
            .find(name)
            .filter(|rule| name != METADATA_PATTERN && (!name.is_empty() || left_out(rule)))?;
        Some(match &rule.mapped {
            Some(Mapped { left_out: true, .. }) => Self::Ignored,
            Some(Mapped { key: Some(key), .. }) => Self::key(key),
            _ => Self::Field(rule.clone()),
        })
    }

    /// A name that begins as keys of the metadata do.
    pub(super) fn custom(name: &str, table: &FieldTable) -> Option<Self> {
        let key = name.strip_prefix(METADATA_PREFIX)?;
        (!key.is_empty() && table.metadata_pattern().is_some()).then(|| Self::key(key))
    }

    /// A key of the metadata, with what its end says of its values.
    pub(super) fn key(key: &str) -> Self {
        let suffixed = |suffix| key.strip_suffix(suffix).map(str::trim_end).filter(|key| !key.is_empty());
        match (suffixed("[]"), suffixed("{}")) {
            (Some(key), _) => Self::Metadata(key.into(), Cell::List),
            (_, Some(key)) => Self::Metadata(key.into(), Cell::Object),
            (None, None) => Self::Metadata(key.into(), Cell::Plain),
        }
    }

    pub(super) fn field(&self) -> Option<Field> {
        match self {
            Self::Field(rule) => Some(rule.field),
            Self::Metadata(..) => Some(Field::Metadata),
            Self::Ignored | Self::ErrorCode | Self::Unknown => None,
        }
    }

    /// The field that the import maps the name to, and the place of that in the mapping.
    pub(super) fn mapped_place(&self) -> Option<(Field, u16)> {
        match self {
            Self::Field(FieldRule { field, mapped: Some(mapped), .. }) => Some((*field, mapped.place)),
            _ => None,
        }
    }

    pub(super) fn identifies(&self, field: IdentifierField) -> bool {
        self.field() == Some(field.into())
    }
}
