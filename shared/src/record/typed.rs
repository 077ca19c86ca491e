//! A record after validation: every value checked and in its normal form. Only validate builds one.

use std::borrow::Cow;

use super::position::Position;
use super::raw::RawValue;
use crate::normalise::{EmailAddress, PhoneNumber, Username};
use crate::options::IdentifierField;

/// What a record says of one field: nothing, that it is to go, or a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patch<T> {
    /// The record does not name the field.
    #[default]
    Absent,
    /// The field is to be removed.
    Null,
    /// The field is to have this value.
    Value(T),
}

impl<T> Patch<T> {
    /// The value, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }
}

/// The standard attributes that have no column of their own in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the OpenID Connect standard claim of its name")]
pub enum Attribute {
    Address,
    Birthdate,
    Gender,
    Locale,
    MiddleName,
    Name,
    Nickname,
    Picture,
    Profile,
    Website,
    Zoneinfo,
}

impl Attribute {
    /// All of them, by name.
    pub const ALL: [Self; 11] = [
        Self::Address,
        Self::Birthdate,
        Self::Gender,
        Self::Locale,
        Self::MiddleName,
        Self::Name,
        Self::Nickname,
        Self::Picture,
        Self::Profile,
        Self::Website,
        Self::Zoneinfo,
    ];

    /// The name in uploads, in the store and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Birthdate => "birthdate",
            Self::Gender => "gender",
            Self::Locale => "locale",
            Self::MiddleName => "middle_name",
            Self::Name => "name",
            Self::Nickname => "nickname",
            Self::Picture => "picture",
            Self::Profile => "profile",
            Self::Website => "website",
            Self::Zoneinfo => "zoneinfo",
        }
    }
}

/// One key of a record's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataEntry<'a> {
    /// The key.
    pub key: Cow<'a, str>,
    /// What was sent for it. JSON values are kept as their source text and are known to be valid.
    pub value: RawValue<'a>,
}

/// One valid record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<'a> {
    /// Where it stands in the upload.
    pub position: Position,
    /// E-mail address.
    pub email: Patch<EmailAddress<'a>>,
    /// Phone number.
    pub phone_number: Patch<PhoneNumber<'a>>,
    /// Username.
    pub preferred_username: Patch<Username<'a>>,
    /// Given (first) name.
    pub given_name: Patch<&'a str>,
    /// Family (last) name.
    pub family_name: Patch<&'a str>,
    /// The other standard attributes, each at most once.
    pub attributes: Vec<(Attribute, Patch<RawValue<'a>>)>,
    /// Metadata keys in the order of the upload; `Null` where the whole metadata is to go.
    pub metadata: Patch<Vec<MetadataEntry<'a>>>,
}

impl<'a> Record<'a> {
    /// A record that says nothing yet.
    pub fn empty(position: Position) -> Self {
        Self {
            position,
            email: Patch::Absent,
            phone_number: Patch::Absent,
            preferred_username: Patch::Absent,
            given_name: Patch::Absent,
            family_name: Patch::Absent,
            attributes: Vec::new(),
            metadata: Patch::Absent,
        }
    }

    /// The normalised value of one of the three identity fields.
    pub fn identity(&self, field: IdentifierField) -> Patch<&str> {
        fn text<'r, T>(patch: &'r Patch<T>, as_str: impl Fn(&'r T) -> &'r str) -> Patch<&'r str> {
            match patch {
                Patch::Absent => Patch::Absent,
                Patch::Null => Patch::Null,
                Patch::Value(value) => Patch::Value(as_str(value)),
            }
        }
        match field {
            IdentifierField::Email => text(&self.email, EmailAddress::as_str),
            IdentifierField::PhoneNumber => text(&self.phone_number, PhoneNumber::as_str),
            IdentifierField::PreferredUsername => text(&self.preferred_username, Username::as_str),
        }
    }
}
