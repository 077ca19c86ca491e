//! What is written for a user: a row, and the secrets, which are stored separately.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::metadata;
use crate::chunk::body_hash;
use crate::options::IdentifierField;
use crate::record::{MetadataEntry, MetadataValue, Record};

/// A whole user as it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow<'a> {
    /// Id.
    pub id: Uuid,
    /// Normalised e-mail address.
    pub email: Option<Cow<'a, str>>,
    /// Phone number in E.164.
    pub phone_number: Option<Cow<'a, str>>,
    /// Normalised username.
    pub preferred_username: Option<Cow<'a, str>>,
    /// Given name.
    pub given_name: Option<Cow<'a, str>>,
    /// Family name.
    pub family_name: Option<Cow<'a, str>>,
    /// Other standard attributes as JSON text, `None` for none.
    pub attributes: Option<Cow<'a, str>>,
    /// Metadata as JSON text, `None` for none.
    pub metadata: Option<Cow<'a, str>>,
    /// Everything else as JSON text, `None` for nothing.
    pub profile: Option<Cow<'a, str>>,
    /// How many records changed (or made) the user: that much the version rises, so that it does not tell how the
    /// records were cut into chunks.
    pub changes: i32,
}

impl UserRow<'_> {
    /// The value of one of the unique fields.
    pub fn identity(&self, field: IdentifierField) -> Option<&str> {
        match field {
            IdentifierField::Email => self.email.as_deref(),
            IdentifierField::PhoneNumber => self.phone_number.as_deref(),
            IdentifierField::PreferredUsername => self.preferred_username.as_deref(),
        }
    }

    /// A hash of everything but the id and the version.
    pub(super) fn digest(&self) -> i64 {
        let texts = [
            &self.email,
            &self.phone_number,
            &self.preferred_username,
            &self.given_name,
            &self.family_name,
            &self.attributes,
            &self.metadata,
            &self.profile,
        ];
        let mut bytes = Vec::with_capacity(256);
        for text in texts {
            // A length of its own for a text that is not there, so that no two rows look alike.
            let length = text.as_ref().map_or(u64::MAX, |text| text.len() as u64);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(text.as_deref().unwrap_or_default().as_bytes());
        }
        body_hash(&bytes)
    }
}

/// The row of a new user that one plain record made, straight from the record.
pub(super) fn of_record<'a>(id: Uuid, record: &'a Record<'a>) -> UserRow<'a> {
    let attributes = record
        .attributes
        .iter()
        .filter_map(|(field, patch)| Some((field.as_str(), (*patch.value()?).into())));
    let metadata = record.metadata.value();
    UserRow {
        id,
        email: record.email.value().map(|email| Cow::Borrowed(email.as_str())),
        phone_number: record.phone_number.value().map(|phone| Cow::Borrowed(phone.as_str())),
        preferred_username: record.preferred_username.value().map(|name| Cow::Borrowed(name.as_str())),
        given_name: record.given_name.value().map(|name| Cow::Borrowed(*name)),
        family_name: record.family_name.value().map(|name| Cow::Borrowed(*name)),
        attributes: metadata::object_text(attributes).map(Cow::Owned),
        metadata: metadata
            .and_then(|entries| metadata::object_text(entries.iter().map(entry_pair)))
            .map(Cow::Owned),
        profile: None,
        changes: 1,
    }
}

pub(super) fn entry_pair<'e>(entry: &'e MetadataEntry<'_>) -> (&'e str, MetadataValue<'e>) {
    let value = match &entry.value {
        MetadataValue::Null => MetadataValue::Null,
        MetadataValue::Text(text) => MetadataValue::Text(text),
        MetadataValue::Json(json) => MetadataValue::Json(Cow::Borrowed(json)),
    };
    (&*entry.key, value)
}

/// Passwords and second factors of a new user. Written once, never read back.
#[derive(Clone, PartialEq, Eq)]
pub struct NewCredentials<'a> {
    /// Whose they are.
    pub user: Uuid,
    /// Password hash.
    pub password_hash: Option<&'a str>,
    /// When the password expires.
    pub password_expires_at: Option<DateTime<Utc>>,
    /// Second password, hashed.
    pub mfa_password_hash: Option<&'a str>,
    /// Secret of a TOTP generator.
    pub totp_secret: Option<&'a str>,
}

/// Prints whose they are and nothing of them.
impl std::fmt::Debug for NewCredentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewCredentials({})", self.user)
    }
}

impl<'a> NewCredentials<'a> {
    /// What a record brings. `None` for nothing.
    pub(super) fn of(user: Uuid, record: &'a Record<'a>) -> Option<Self> {
        let extras = record.extras.as_deref()?;
        let password = extras.password.value();
        let credentials = Self {
            user,
            password_hash: password.map(|password| password.hash.reveal()),
            password_expires_at: password.and_then(|password| password.expire_after),
            mfa_password_hash: extras.mfa_password.value().map(|password| password.hash.reveal()),
            totp_secret: extras.mfa_totp.value().map(|secret| secret.reveal()),
        };
        let any = credentials.password_hash.or(credentials.mfa_password_hash).or(credentials.totp_secret);
        any.is_some().then_some(credentials)
    }
}
