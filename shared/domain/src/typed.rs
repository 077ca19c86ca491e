//! A record after validation: every value checked and in its normal form. Only validate builds one.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::field::{Field, FieldSet};
use crate::normalise::{EmailAddress, PasswordHash, PhoneNumber, TotpSecret, Username};
use crate::options::IdentifierField;
use crate::record::{Position, RawValue};
use crate::warning::Warning;

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

    /// Whether the record says nothing of the field.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The same of something that the value holds.
    pub fn map<U>(self, of: impl FnOnce(T) -> U) -> Patch<U> {
        match self {
            Self::Absent => Patch::Absent,
            Self::Null => Patch::Null,
            Self::Value(value) => Patch::Value(of(value)),
        }
    }

    /// The same with the value borrowed.
    pub fn as_ref(&self) -> Patch<&T> {
        match self {
            Self::Absent => Patch::Absent,
            Self::Null => Patch::Null,
            Self::Value(value) => Patch::Value(value),
        }
    }
}

/// One key of a record's metadata or custom attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataEntry<'a> {
    /// The key.
    pub key: Cow<'a, str>,
    /// What was sent for it.
    pub value: MetadataValue<'a>,
}

/// A value of metadata. JSON is kept as its source text and is known to be valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataValue<'a> {
    /// JSON `null`.
    Null,
    /// A text.
    Text(&'a str),
    /// Any other JSON value.
    Json(Cow<'a, str>),
}

impl<'a> From<RawValue<'a>> for MetadataValue<'a> {
    fn from(value: RawValue<'a>) -> Self {
        match value {
            RawValue::Null => Self::Null,
            RawValue::Text(text) => Self::Text(text),
            RawValue::Json(json) => Self::Json(Cow::Borrowed(json)),
        }
    }
}

/// How a record changes a user's roles, groups or teams, by their ids in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameChange {
    /// The user has exactly these.
    Whole(Vec<i32>),
    /// These are added (true) or taken away (false), in this order.
    Delta(Vec<(i32, bool)>),
}

/// A password for a new user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Password<'a> {
    /// The hash.
    pub hash: PasswordHash<'a>,
    /// When the password expires.
    pub expire_after: Option<DateTime<Utc>>,
}

/// A field of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentValue<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(u32),
}

/// What only some records say. Kept apart so that the others stay small.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extras<'a> {
    /// The e-mail address the user is to have from now on.
    pub new_email: Patch<EmailAddress<'a>>,
    /// The e-mail address is known to be the user's.
    pub email_verified: Patch<bool>,
    /// The phone number is known to be the user's.
    pub phone_number_verified: Patch<bool>,
    /// Custom attributes, each defined and checked.
    pub custom_attributes: Vec<MetadataEntry<'a>>,
    /// Roles.
    pub roles: Patch<NameChange>,
    /// Groups.
    pub groups: Patch<NameChange>,
    /// Teams.
    pub teams: Patch<NameChange>,
    /// Location.
    pub location: Patch<i32>,
    /// Whether the account is disabled, by either of the two fields that say so.
    pub disabled: Patch<bool>,
    /// It was `status` that said so, which warns of nothing.
    pub by_status: bool,
    /// When the account begins to be valid.
    pub valid_from: Patch<DateTime<Utc>>,
    /// When the account ceases to be valid.
    pub valid_until: Patch<DateTime<Utc>>,
    /// Messages are held back.
    pub locked: Patch<bool>,
    /// Password.
    pub password: Patch<Password<'a>>,
    /// When the password expires, until the password itself is met.
    pub password_expiry: Option<DateTime<Utc>>,
    /// E-mail address for one-time codes.
    pub mfa_email: Patch<EmailAddress<'a>>,
    /// Phone number for one-time codes.
    pub mfa_phone_number: Patch<PhoneNumber<'a>>,
    /// Second password.
    pub mfa_password: Patch<Password<'a>>,
    /// Secret of a TOTP generator.
    pub mfa_totp: Patch<TotpSecret<'a>>,
    /// Addresses: name and value.
    pub addresses: Patch<Vec<(Cow<'a, str>, Cow<'a, str>)>>,
    /// Fields that were said in an object that leaves existing users as they are, whatever their own names do.
    pub ignored: FieldSet,
    /// Fields of an agent, each at most once.
    pub agent: Vec<(Field, Patch<AgentValue<'a>>)>,
    /// What was left out of the record, and is to be told.
    pub warnings: Vec<Warning>,
}

/// One valid record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<'a> {
    /// Its position in the upload.
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
    pub attributes: Vec<(Field, Patch<RawValue<'a>>)>,
    /// Metadata keys in the order of the upload; `Null` where the whole metadata is to go.
    pub metadata: Patch<Vec<MetadataEntry<'a>>>,
    /// Everything else.
    pub extras: Option<Box<Extras<'a>>>,
    /// Set where the record is retried and a later one of its file was applied meanwhile.
    pub passed_by: Option<PassedBy>,
}

/// A later record of the file with the same identifier, which was applied first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassedBy {
    /// Its number in the upload.
    pub record: u64,
    /// The user concerned.
    pub user: Option<Uuid>,
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
            extras: None,
            passed_by: None,
        }
    }

    /// The normalised value of one of the three identity fields.
    #[inline]
    pub fn identity(&self, field: IdentifierField) -> Patch<&str> {
        match field {
            IdentifierField::Email => self.email.as_ref().map(EmailAddress::as_str),
            IdentifierField::PhoneNumber => self.phone_number.as_ref().map(PhoneNumber::as_str),
            IdentifierField::PreferredUsername => self.preferred_username.as_ref().map(Username::as_str),
        }
    }

    /// The identity field as the user is to have it afterwards: `new_email` takes the place of `email`.
    pub fn target(&self, field: IdentifierField) -> Patch<&str> {
        match (field, self.new_email()) {
            (IdentifierField::Email, Some(new)) => Patch::Value(new),
            _ => self.identity(field),
        }
    }

    /// The full name.
    pub fn full_name(&self) -> Option<&'a str> {
        self.attributes.iter().find_map(|(field, patch)| match (field, patch) {
            (Field::Name, Patch::Value(RawValue::Text(name))) => Some(*name),
            _ => None,
        })
    }

    /// The custom attributes that the record says something of.
    pub fn custom_attributes(&self) -> &[MetadataEntry<'a>] {
        self.extras.as_deref().map_or(&[], |extras| &extras.custom_attributes)
    }

    /// The e-mail address the user is to have from now on.
    pub fn new_email(&self) -> Option<&str> {
        self.extras.as_deref().and_then(|extras| extras.new_email.value()).map(EmailAddress::as_str)
    }
}
