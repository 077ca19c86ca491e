//! Data that only some users have. It is kept in one JSON column, so that other users cost nothing.
//!
//! Catalog names are stored as ids. Renaming a name renames it for all users, and removing it from the catalog removes it from its users.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::normalise::{EmailAddress, PhoneNumber, is_phone_written_out};
use crate::validate::MAX_ADDRESS_CHARS;

/// Name of the address that holds the user's e-mail address.
pub const DEFAULT_ADDRESS: &str = "email";

/// The rest of a user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// The e-mail address is known to be the user's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub email_verified: bool,
    /// The phone number is known to be the user's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub phone_number_verified: bool,
    /// Ids of roles in the catalog.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub roles: BTreeSet<i32>,
    /// Ids of groups in the catalog.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<i32>,
    /// Ids of teams in the catalog.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub teams: BTreeSet<i32>,
    /// Id of the location in the catalog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<i32>,
    /// Since when the account is disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<DateTime<Utc>>,
    /// When the account begins to be valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<DateTime<Utc>>,
    /// When the account ceases to be valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<DateTime<Utc>>,
    /// Messages to the user are held back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub locked: bool,
    /// E-mail address for one-time codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfa_email: Option<String>,
    /// Phone number for one-time codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfa_phone_number: Option<String>,
    /// Addresses by name; no two have one value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<String, Address>,
    /// Fields of a contact-centre agent, by their names.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub agent: Map<String, Value>,
}

/// An address to reach a user at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: AddressKind,
    /// The address.
    pub value: String,
}

/// What an address is, worked out from its value (contracts C.1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressKind {
    /// A phone number with its country code.
    #[serde(rename = "phone")]
    Phone,
    /// An e-mail address.
    #[serde(rename = "email")]
    Email,
    /// Anything else.
    #[serde(rename = "GENERIC")]
    Generic,
}

impl Address {
    /// An address; its kind follows from its value.
    pub fn of(value: &str) -> Self {
        let kind = if PhoneNumber::parse(value).is_ok() || is_phone_written_out(value) {
            AddressKind::Phone
        } else if EmailAddress::parse(value).is_ok() {
            AddressKind::Email
        } else {
            AddressKind::Generic
        };
        Self { kind, value: value.to_owned() }
    }
}

impl Profile {
    /// Reads what the store has; nothing stored is an empty profile. `None` if it cannot be read.
    pub fn parse(json: Option<&str>) -> Option<Self> {
        json.map_or_else(|| Some(Self::default()), |json| serde_json::from_str(json).ok())
    }

    /// What the store is to have: nothing for an empty profile.
    ///
    /// ```
    /// use muster_domain::profile::Profile;
    ///
    /// assert_eq!(Profile::default().to_json(), None);
    /// assert_eq!(Profile::parse(None), Some(Profile::default()));
    /// ```
    pub fn to_json(&self) -> Option<String> {
        if *self == Self::default() {
            return None;
        }
        // Maps with text keys and plain values: it cannot fail.
        serde_json::to_string(self).ok()
    }

    /// Gives the user an address under a name. What is there already, under whatever name, stays.
    pub fn add_address(&mut self, name: &str, value: &str) {
        let there = self.addresses.iter().any(|(known, address)| known != name && address.value == value);
        if !there && self.addresses.get(name).is_none_or(|address| address.value != value) {
            self.addresses.insert(name.to_owned(), Address::of(value));
        }
    }

    /// The same, but an address that has the name keeps it: the new one gets the first free `NAME n`, from 2 on, its end cut off where it
    /// would be too long.
    pub fn add_address_beside(&mut self, name: &str, value: &str) {
        if self.addresses.values().any(|address| address.value == value) {
            return;
        }
        let numbered = (2..).map(|number: u32| {
            let number = format!(" {number}");
            name.chars().take(MAX_ADDRESS_CHARS - number.len()).chain(number.chars()).collect::<String>()
        });
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        if let Some(free) = names.find(|name| !self.addresses.contains_key(name)) {
            self.addresses.insert(free, Address::of(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_an_address_is_told_by_its_value() {
        for (value, kind) in [
            ("+390669821234", AddressKind::Phone),
            ("+39 06 6982 1234", AddressKind::Phone),
            ("06 6982 1234", AddressKind::Generic),
            ("+39 x", AddressKind::Generic),
            ("a@example.com", AddressKind::Email),
        ] {
            assert_eq!(Address::of(value).kind, kind, "{value}");
        }
    }

    #[test]
    fn an_empty_profile_is_nothing_and_others_read_back() {
        assert_eq!(Profile::default().to_json(), None);
        let mut profile = Profile { roles: [3, 1].into(), locked: true, ..Profile::default() };
        profile.add_address("email", "a@example.com");
        profile.add_address("sms", "+391234567890");
        profile.add_address("x", "somewhere");
        profile.add_address("again", "somewhere");
        let json = profile.to_json().unwrap();
        assert_eq!(
            json,
            r#"{"roles":[1,3],"locked":true,"addresses":{"email":{"type":"email","value":"a@example.com"},"sms":{"type":"phone","value":"+391234567890"},"x":{"type":"GENERIC","value":"somewhere"}}}"#
        );
        assert_eq!(Profile::parse(Some(&json)), Some(profile));
        assert_eq!(Profile::parse(Some("[")), None);
    }
}
