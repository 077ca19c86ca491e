//! What an import is asked to do. Written down with the import and never changed afterwards.

use serde::{Deserialize, Serialize};

use crate::fault::{Mutant, mutant};
use crate::field::{Field, FieldTable};
use crate::parse::Format;
use crate::undo::Undo;

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* } default $default:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every value, in the order in which help texts list them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The text that stands in requests and on the command line.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl Default for $name {
            fn default() -> Self { Self::$default }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownChoice;

            fn from_str(text: &str) -> Result<Self, UnknownChoice> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(UnknownChoice { allowed: concat!($($text, " ",)*).trim_end() }),
                }
            }
        }
    };
}

/// The text is none of the values of the option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of: {}", allowed.replace(' ', ", "))]
pub struct UnknownChoice {
    /// The values there are, separated by blanks.
    pub allowed: &'static str,
}

choice! {
    /// The field that says which user a record means.
    IdentifierField {
        /// The e-mail address.
        Email = "email",
        /// The phone number.
        PhoneNumber = "phone_number",
        /// The username.
        PreferredUsername = "preferred_username",
    } default Email
}

choice! {
    /// What happens to a user that exists already.
    OnExisting {
        /// Nothing: the record is skipped.
        Skip = "skip",
        /// The record's fields are applied.
        Update = "update",
        /// No field changes; the user is enrolled in the import's organization and group.
        Enrol = "enrol",
    } default Update
}

choice! {
    /// How a record's metadata meets the metadata that a user has.
    MetadataMode {
        /// Deep: objects recurse, everything else (lists too) is replaced, null is stored.
        Merge = "merge",
        /// Shallow: the keys sent are replaced, the others kept.
        Override = "override",
        /// The metadata becomes exactly what was sent.
        Rewrite = "rewrite",
        /// The keys sent are deleted; object onto object recurses; an emptied parent goes too.
        Remove = "remove",
        /// An existing user's metadata stays as it is.
        Ignore = "ignore",
        /// Custom attributes: a key is set, or removed when null; keys that the catalog does not define are left out.
        Attributes = "attributes",
    } default Merge
}

choice! {
    /// How roles, groups and teams are given.
    Sets {
        /// As a list of names: the user has exactly these afterwards.
        Whole = "whole",
        /// As a list of `{name, value}`: 1 adds, 0 takes away, no value leaves as it is.
        Delta = "delta",
        /// As either, told by what stands in the list.
        Either = "either",
    } default Either
}

choice! {
    /// Which forms of a value are taken where a number or a yes-or-no is wanted. Table cells are always lenient.
    Values {
        /// A JSON number, or `true` and `false`.
        Exact = "exact",
        /// Those, the same as text, and 0 and 1 for `false` and `true`.
        Lenient = "lenient",
    } default Exact
}

choice! {
    /// What happens with a role, group, team or location that the catalog does not know.
    UnknownNames {
        /// The record fails.
        Refuse = "refuse",
        /// The name is left out, with a warning.
        Ignore = "ignore",
    } default Refuse
}

choice! {
    /// What happens with records of one file that mean the same user.
    Duplicates {
        /// They are applied in the order of the file.
        InOrder = "in_order",
        /// All but the first fail, as do those that would give two users one new e-mail address.
        Refuse = "refuse",
    } default InOrder
}

choice! {
    /// How phone numbers are checked.
    PhoneCheck {
        /// The shape of E.164.
        Shape = "shape",
        /// Also that the numbering plan of the country gives out such numbers (costs about as much as an insert).
        Valid = "valid",
    } default Shape
}

choice! {
    /// Which usernames are taken.
    Usernames {
        /// Any text without blanks, up to 150 characters.
        Any = "any",
        /// Letters, digits, `_`, `.` and `-` of ASCII, up to 40 characters, and no reserved name.
        Ascii = "ascii",
    } default Any
}

choice! {
    /// What happens with a table's records that have more or fewer cells than the header has columns.
    Rows {
        /// They fail.
        Strict = "strict",
        /// Missing cells are null, surplus ones are left out.
        Flexible = "flexible",
    } default Strict
}

choice! {
    /// What an address does whose name or value the user has already, with another value or under another name.
    AddressClash {
        /// The name gets the new value; a value that is there under another name stays there alone.
        Replace = "replace",
        /// The record fails.
        Refuse = "refuse",
        /// The new value gets a name of its own beside it (`email 2`); a value that is there under another name stays there alone.
        Beside = "beside",
    } default Replace
}

choice! {
    /// What an empty CSV cell means.
    EmptyCell {
        /// As if the column were not there for this record.
        Ignore = "ignore",
        /// The field is removed.
        Remove = "remove",
        /// The field is an empty text.
        Keep = "keep",
    } default Ignore
}

choice! {
    /// When an import starts.
    Start {
        /// As soon as it is received.
        Auto = "auto",
        /// When `proceed` is called.
        Manual = "manual",
        /// When `proceed` is called; until then it is known what every record would come to, and nothing is written.
        Plan = "plan",
    } default Auto
}

choice! {
    /// What invalid records do to the others.
    OnInvalid {
        /// They fail alone and the rest goes on.
        Continue = "continue",
        /// One of them refuses the whole import, before anything is applied.
        Refuse = "refuse",
    } default Continue
}

choice! {
    /// What happens with a file that has no records.
    EmptyFile {
        /// It is an import of no records.
        Accept = "accept",
        /// It is refused.
        Refuse = "refuse",
    } default Accept
}

choice! {
    /// What happens with a column or key that is not known.
    UnknownColumns {
        /// CSV: the file is refused. JSON: the record fails.
        Refuse = "refuse",
        /// It is left out.
        Ignore = "ignore",
        /// It is kept as metadata, under its own name.
        Metadata = "metadata",
    } default Refuse
}

choice! {
    /// Which names of columns and keys are known besides those of the fields.
    HeaderNames {
        /// None.
        Exact = "exact",
        /// Common names in several languages (docs/columns.md).
        Common = "common",
    } default Exact
}

choice! {
    /// In which order days are written.
    Dates {
        /// Year, month, day, and nothing else.
        Iso = "iso",
        /// Also day, month, year.
        Dmy = "dmy",
        /// Also month, day, year.
        Mdy = "mdy",
        /// The one of these that is proved by each column of the file with days in it; else it is refused. Once it is received, its import
        /// says which one that was.
        Auto = "auto",
    } default Iso
}

choice! {
    /// What becomes of a full name.
    FullNames {
        /// It is one value.
        Whole = "whole",
        /// One of the form `Last, First` also gives the family name and the given name, where the record does not say them itself.
        LastFirst = "last_first",
    } default Whole
}

choice! {
    /// What stands between the names in a table's cell that holds several.
    ListSeparator {
        /// A comma.
        Comma = "comma",
        /// A semicolon.
        Semicolon = "semicolon",
        /// A vertical line.
        Pipe = "pipe",
    } default Comma
}

impl ListSeparator {
    /// The character.
    pub fn character(self) -> char {
        match self {
            _ if mutant(Mutant::ListsAtCommas) => ',',
            Self::Comma => ',',
            Self::Semicolon => ';',
            Self::Pipe => '|',
        }
    }
}

choice! {
    /// What a value does that a field does not take, where the field is not the one that identifies users.
    OnInvalidValue {
        /// The record fails.
        Refuse = "refuse",
        /// It is left out, with a warning.
        Drop = "drop",
    } default Refuse
}

impl From<IdentifierField> for Field {
    fn from(field: IdentifierField) -> Self {
        match field {
            IdentifierField::Email => Self::Email,
            IdentifierField::PhoneNumber => Self::PhoneNumber,
            IdentifierField::PreferredUsername => Self::PreferredUsername,
        }
    }
}

/// An organization, and a group in it, that users are enrolled in; resolved when the import is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// Id of the organization.
    pub organization_id: i32,
    /// Id of the group, 0 for none, -1 for one that is made when the import's plan is applied.
    pub group_id: i32,
}

/// Everything an import is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportOptions {
    /// Format of the upload.
    pub format: Format,
    /// Which field identifies a user.
    pub identifier: IdentifierField,
    /// What happens to an existing user.
    pub on_existing: OnExisting,
    /// How metadata merges.
    pub metadata: MetadataMode,
    /// What an empty CSV cell means.
    pub empty_cells: EmptyCell,
    /// When to start.
    pub start: Start,
    /// What invalid records do.
    pub on_invalid: OnInvalid,
    /// What unknown columns and keys do.
    pub unknown_columns: UnknownColumns,
    /// Which names are known besides those of the fields.
    #[serde(skip_serializing_if = "is_exact")]
    pub header_names: HeaderNames,
    /// How roles, groups and teams are given.
    pub sets: Sets,
    /// Which forms of values are taken.
    pub values: Values,
    /// What names do that the catalog does not know.
    pub unknown_names: UnknownNames,
    /// What records do that mean the same user.
    pub duplicates: Duplicates,
    /// How phone numbers are checked.
    pub phone_check: PhoneCheck,
    /// Which usernames are taken.
    pub usernames: Usernames,
    /// What a table's short and long records do.
    pub rows: Rows,
    /// What addresses do that clash with those the user has.
    #[serde(skip_serializing_if = "is_replace")]
    pub address_clash: AddressClash,
    /// What a file without records does.
    pub empty_file: EmptyFile,
    /// Whether every user gets an address named `email` with the e-mail address.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default_address: bool,
    /// In which order days are written.
    #[serde(skip_serializing_if = "is_iso")]
    pub dates: Dates,
    /// What becomes of full names.
    #[serde(skip_serializing_if = "is_whole")]
    pub full_names: FullNames,
    /// Two letters of the country whose phone numbers may stand without their country code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_country: Option<String>,
    /// What values do that a field does not take.
    #[serde(skip_serializing_if = "is_refuse")]
    pub on_invalid_value: OnInvalidValue,
    /// What stands between the names in a cell that holds several.
    #[serde(skip_serializing_if = "is_comma")]
    pub list_separator: ListSeparator,
    /// Texts that stand for an empty cell, such as `NULL`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub null_words: Vec<String>,
    /// Where the list of records stands in a JSON file, as a JSON Pointer, where it is not the file itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The sheet of a workbook, by its name or its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
    /// The names of the upload, where they are not Muster's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<FieldTable>,
    /// Slug of the organization to enrol users in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// Name of the group to enrol users in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What organization and group resolved to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Enrolment>,
    /// What the import undoes, if it is an undo. Its records are changes of users then, and all other options are idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
}

fn is_exact(names: &HeaderNames) -> bool {
    *names == HeaderNames::Exact
}

fn is_iso(dates: &Dates) -> bool {
    *dates == Dates::Iso
}

fn is_whole(names: &FullNames) -> bool {
    *names == FullNames::Whole
}

fn is_refuse(values: &OnInvalidValue) -> bool {
    *values == OnInvalidValue::Refuse
}

fn is_comma(separator: &ListSeparator) -> bool {
    *separator == ListSeparator::Comma
}

/// Stored options that this program does not know: a newer one wrote them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("option `{option}` is not known to this program, or has a value that is not")]
pub struct NewerOptions {
    /// The option.
    pub option: String,
}

impl ImportOptions {
    /// Every option by name, in the order in which they are stored.
    pub const NAMES: &'static [&'static str] = &[
        "format",
        "identifier",
        "on_existing",
        "metadata",
        "empty_cells",
        "start",
        "on_invalid",
        "unknown_columns",
        "header_names",
        "sets",
        "values",
        "unknown_names",
        "duplicates",
        "phone_check",
        "usernames",
        "rows",
        "address_clash",
        "empty_file",
        "default_address",
        "dates",
        "full_names",
        "phone_country",
        "on_invalid_value",
        "list_separator",
        "null_words",
        "at",
        "sheet",
        "fields",
        "organization",
        "group",
        "enrolment",
        "undo",
    ];

    /// Whether the text of a cell stands for an empty one.
    pub fn is_null_word(&self, text: &str) -> bool {
        !self.null_words.is_empty()
            && !mutant(Mutant::NullWordsAreValues)
            && self.null_words.iter().any(|word| word == text.trim())
    }

    /// What of stored options this program knows, and what it does not: for showing them, not for acting on them.
    pub fn known_of_stored(json: serde_json::Value) -> (Self, Option<NewerOptions>) {
        if let Ok(options) = serde_json::from_value(json.clone()) {
            return (options, None);
        }
        let serde_json::Value::Object(options) = &json else {
            return (Self::default(), Self::from_stored(json).err());
        };
        let knows = |(name, value): &(&String, &serde_json::Value)| {
            let one = serde_json::Map::from_iter([((*name).clone(), (*value).clone())]);
            Self::NAMES.contains(&name.as_str()) && serde_json::from_value::<Self>(one.into()).is_ok()
        };
        let known: serde_json::Map<_, _> =
            options.iter().filter(knows).map(|(name, value)| (name.clone(), value.clone())).collect();
        let newer = Self::from_stored(json.clone()).err();
        (serde_json::from_value(known.into()).unwrap_or_default(), newer)
    }

    /// Reads options as they are stored. An option or a value that is not known is an error: to apply an import without what
    /// it was asked to do would be wrong.
    pub fn from_stored(json: serde_json::Value) -> Result<Self, NewerOptions> {
        let newer = |option: &str| NewerOptions { option: option.to_owned() };
        let serde_json::Value::Object(options) = &json else { return Err(newer("options")) };
        if let Some(name) = options.keys().find(|name| !Self::NAMES.contains(&name.as_str())) {
            // A name is taken from the row; one that is no name of ours is not repeated at any length.
            return Err(newer(&name.chars().take(40).collect::<String>()));
        }
        let alone = |(name, value): (&String, &serde_json::Value)| {
            let one = serde_json::Map::from_iter([(name.clone(), value.clone())]);
            serde_json::from_value::<Self>(one.into()).is_err().then(|| newer(name))
        };
        let wrong = || options.iter().find_map(alone).unwrap_or_else(|| newer("options"));
        serde_json::from_value(json.clone()).map_err(|_| wrong())
    }
}

fn is_replace(clash: &AddressClash) -> bool {
    *clash == AddressClash::Replace
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            format: Format::Csv,
            identifier: IdentifierField::default(),
            on_existing: OnExisting::default(),
            metadata: MetadataMode::default(),
            empty_cells: EmptyCell::default(),
            start: Start::default(),
            on_invalid: OnInvalid::default(),
            unknown_columns: UnknownColumns::default(),
            header_names: HeaderNames::default(),
            sets: Sets::default(),
            values: Values::default(),
            unknown_names: UnknownNames::default(),
            duplicates: Duplicates::default(),
            phone_check: PhoneCheck::default(),
            usernames: Usernames::default(),
            rows: Rows::default(),
            address_clash: AddressClash::default(),
            empty_file: EmptyFile::default(),
            default_address: false,
            dates: Dates::default(),
            full_names: FullNames::default(),
            phone_country: None,
            on_invalid_value: OnInvalidValue::default(),
            list_separator: ListSeparator::default(),
            null_words: Vec::new(),
            at: None,
            sheet: None,
            fields: None,
            organization: None,
            group: None,
            enrolment: None,
            undo: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stored_options_are_read_back_and_every_name_is_known() {
        let options = ImportOptions {
            address_clash: AddressClash::Refuse,
            default_address: true,
            header_names: HeaderNames::Common,
            dates: Dates::Dmy,
            full_names: FullNames::LastFirst,
            phone_country: Some("DE".into()),
            on_invalid_value: OnInvalidValue::Drop,
            list_separator: ListSeparator::Pipe,
            null_words: vec!["NULL".into()],
            at: Some("users".into()),
            sheet: Some("Staff".into()),
            fields: Some(FieldTable(Vec::new())),
            organization: Some("acme".into()),
            group: Some("staff".into()),
            enrolment: Some(Enrolment { organization_id: 1, group_id: 2 }),
            undo: Some(Undo {
                fields: vec!["metadata".into()],
                records: "1-7".parse().ok(),
                outcome: Some(crate::outcome::Outcome::Updated),
                ..Undo::whole(crate::id::ImportId::new(uuid::Uuid::nil()), chrono::DateTime::UNIX_EPOCH)
            }),
            ..ImportOptions::default()
        };
        let stored = serde_json::to_value(&options).unwrap_or_default();
        let mut names: Vec<&str> =
            stored.as_object().into_iter().flatten().map(|(name, _)| &**name).collect();
        let mut known = ImportOptions::NAMES.to_vec();
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known);
        assert_eq!(ImportOptions::from_stored(stored), Ok(options));
        assert_eq!(ImportOptions::from_stored(json!({})), Ok(ImportOptions::default()));
    }

    #[test]
    fn what_a_newer_program_stored_is_named() {
        for (stored, option) in [
            (json!({"metadata": "weave"}), "metadata"),
            (json!({"identifier": "email", "on_drift": "refuse"}), "on_drift"),
            (json!([]), "options"),
        ] {
            assert_eq!(ImportOptions::from_stored(stored), Err(NewerOptions { option: option.into() }));
        }
    }
}
