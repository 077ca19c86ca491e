//! The values of options that are choices. The comment of a value here is its text in the documents.

use serde::{Deserialize, Serialize};

use crate::fault::{Mutant, mutant};

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $meaning:literal])* $variant:ident = $text:literal,)* } default $default:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[doc = $meaning])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every value, in the order in which help texts list them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The same as texts, with what each of them means.
            pub const VALUES: &'static [ChoiceValue] =
                &[$(ChoiceValue { name: $text, meaning: concat!($($meaning,)*).trim_ascii() },)*];

            /// The text in requests and on the command line.
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

/// A value of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChoiceValue {
    /// The text in requests and on the command line.
    pub name: &'static str,
    /// One or more sentences.
    pub meaning: &'static str,
}

/// The text is none of the values of the option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of: {}", allowed.replace(' ', ", "))]
pub struct UnknownChoice {
    /// The values there are, separated by blanks.
    pub allowed: &'static str,
}

choice! {
    /// The field that identifies the user of a record.
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
    /// What happens to existing users.
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
    /// How a record's metadata is combined with the metadata of the user.
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
        /// Either, depending on the content of the list.
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
    /// Which usernames are accepted.
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
        /// Missing cells are as empty ones (at Bitcaster's door null), surplus ones are left out.
        Flexible = "flexible",
    } default Strict
}

choice! {
    /// What an address does whose name or value the user has already, with another value or under another name.
    AddressClash {
        /// The name gets the new value; a value that exists under another name stays only there.
        Replace = "replace",
        /// The record fails.
        Refuse = "refuse",
        /// The new value gets its own name beside it (`email 2`); a value that exists under another name stays only there.
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
        /// Only they fail, and the rest is imported.
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
    /// Which names of columns and keys are recognised besides those of the fields.
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
        /// The one of these that is proved by each column of the file with days in it; else it is refused.
        /// When it is received, its import shows the detected order.
        Auto = "auto",
    } default Iso
}

choice! {
    /// What happens with a full name.
    FullNames {
        /// It is one value.
        Whole = "whole",
        /// One of the form `Last, First` also gives the family name and the given name, where the record does not say them itself.
        LastFirst = "last_first",
    } default Whole
}

choice! {
    /// The separator of the names in a table cell with several names.
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
    /// What happens with an invalid value of a field that does not identify users.
    OnInvalidValue {
        /// The record fails.
        Refuse = "refuse",
        /// It is left out, with a warning.
        Drop = "drop",
    } default Refuse
}
