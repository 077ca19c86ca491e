//! A user as the API shows one.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::UserId;

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
    /// When the user was inserted.
    pub created_at: DateTime<Utc>,
    /// When the user was last changed.
    pub updated_at: DateTime<Utc>,
    /// The other standard attributes, each under its own name beside the fields above.
    #[serde(flatten)]
    pub attributes: Map<String, Value>,
}

/// That a user is in an organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Slug of the organization.
    pub organization: String,
    /// Name of the group, `null` for the organization without a group.
    pub group: Option<String>,
}
