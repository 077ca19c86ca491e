//! A user as the API shows it, and the other shapes of a user. There are six, one for each step:
//!
//! | Shape | Where | What it is for |
//! |---|---|---|
//! | `record::Record` | a validated record of a file | what is to become of a user: fields that are absent, null or have a value |
//! | `ExistingUser` | read from the store before planning | the columns as stored, with the version that guards the write |
//! | `Draft` (plan/draft.rs) | while a chunk is planned | an existing or new user with the changes of the records so far |
//! | `plan::UserRow` | written to the store | the columns of an insert or update |
//! | `planned::PlannedUser`, `undo::Flat` | kept in plans and before-images | a user as a chunk would leave it; a user as a map from field to value, to compare and restore |
//! | `User` | responses and exports | names instead of ids, without secrets |
//!
//! Front doors have views of their own, made from these (`Member` and `ProfiledUser` of the store).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::id::UserId;
use crate::options::IdentifierField;
use crate::profile::{Address, Profile};

/// A user, in the shape of `GET /v1/users/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Id.
    pub id: UserId,
    /// E-mail address, normalised.
    pub email: Option<String>,
    /// Phone number in E.164.
    pub phone_number: Option<String>,
    /// Username, normalised.
    pub preferred_username: Option<String>,
    /// Given (first) name.
    pub given_name: Option<String>,
    /// Family (last) name.
    pub family_name: Option<String>,
    /// Custom metadata, empty for none.
    pub metadata: Map<String, Value>,
    /// Organizations the user is in, and the groups there, by organization and group.
    pub memberships: Vec<Membership>,
    /// 1 when inserted, raised by one with every change.
    pub version: i32,
    /// Whether the e-mail address is known to be the user's.
    pub email_verified: bool,
    /// Whether the phone number is known to be the user's.
    pub phone_number_verified: bool,
    /// Names of roles, sorted.
    pub roles: Vec<String>,
    /// Names of groups, sorted.
    pub groups: Vec<String>,
    /// Names of teams, sorted.
    pub teams: Vec<String>,
    /// Name of the location.
    pub location: Option<String>,
    /// Whether the account is disabled.
    pub disabled: bool,
    /// Since when the account is disabled.
    pub disabled_at: Option<DateTime<Utc>>,
    /// When the account begins to be valid.
    pub account_valid_from: Option<DateTime<Utc>>,
    /// When the account ceases to be valid.
    pub account_valid_until: Option<DateTime<Utc>>,
    /// Whether messages to the user are held back.
    pub locked: bool,
    /// Where one-time codes go. Passwords and secrets are never shown.
    pub mfa: SecondFactors,
    /// Addresses, by name.
    pub addresses: BTreeMap<String, Address>,
    /// Fields of a contact-centre agent, by name; empty for none.
    pub agent: Map<String, Value>,
    /// When the user was inserted.
    pub created_at: DateTime<Utc>,
    /// When the user was last changed.
    pub updated_at: DateTime<Utc>,
    /// The other standard attributes, each under its own name beside the fields above.
    #[serde(flatten)]
    pub attributes: Map<String, Value>,
}

/// Where one-time codes of a user go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondFactors {
    /// E-mail address.
    pub email: Option<String>,
    /// Phone number.
    pub phone_number: Option<String>,
}

/// That a user is in an organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Slug of the organization.
    pub organization: String,
    /// Name of the group, `null` for the organization without a group.
    pub group: Option<String>,
}

/// A user as the store has it, as far as planning needs it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExistingUser {
    /// Id.
    pub id: Uuid,
    /// Raised by every change; writing is refused when it moved since this was read.
    pub version: i32,
    /// Normalised e-mail address.
    pub email: Option<String>,
    /// Phone number in E.164.
    pub phone_number: Option<String>,
    /// Normalised username.
    pub preferred_username: Option<String>,
    /// Given name.
    pub given_name: Option<String>,
    /// Family name.
    pub family_name: Option<String>,
    /// Other standard attributes, as JSON text of an object.
    pub attributes: Option<String>,
    /// Metadata, as JSON text of an object.
    pub metadata: Option<String>,
    /// Everything else, if there is anything.
    pub profile: Option<Box<Profile>>,
    /// Whether the user is in the organization and group of the import.
    pub enrolled: bool,
}

impl ExistingUser {
    /// What the user has in this identifying field.
    pub fn identity(&self, field: IdentifierField) -> Option<&str> {
        match field {
            IdentifierField::Email => self.email.as_deref(),
            IdentifierField::PhoneNumber => self.phone_number.as_deref(),
            IdentifierField::PreferredUsername => self.preferred_username.as_deref(),
        }
    }
}
