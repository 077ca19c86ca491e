//! The stored form of a planned chunk: one compact value.

use std::io::Read;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::apart::{read_apart, write_apart};
use crate::error::RecordError;
use crate::fault::{Mutant, mutant};
use crate::id::GroupId;
use crate::options::Enrolment;
use crate::outcome::{Outcome, Reason, Verdict};
use crate::plan::{ExistingUser, UserRow};
use crate::undo::{LeftUser, is_membership, membership_path};

/// The first byte.
const VERSION: u8 = 2;
/// The previous version: arrays and objects of users are in the JSON unchanged, so deeply nested ones cannot be read.
const NESTED: u8 = 1;
/// As fast as it gets: it is written once and read about once.
const ZSTD_LEVEL: i32 = 1;
/// The longest value that is read, so that a damaged one does not fill the memory.
const MOST_BYTES: u64 = 512 * 1024 * 1024;

/// What a record would come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedRecord {
    /// Place in its chunk.
    #[serde(rename = "i")]
    pub index: usize,
    /// Number in the file, from 1.
    #[serde(rename = "n")]
    pub record: u64,
    /// Line at which it begins; 0 where that is not known.
    #[serde(rename = "l", default, skip_serializing_if = "is_zero")]
    pub line: u64,
    /// Outcome.
    #[serde(rename = "o")]
    pub outcome: Outcome,
    /// Why, where there is more than one way to it.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The user that the record means, where it is there already.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Uuid>,
    /// What is wrong with it.
    #[serde(rename = "e", default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<RecordError>,
    /// What it says in vain.
    #[serde(rename = "w", default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What its user has in the fields that it changes.
    #[serde(rename = "b", default, skip_serializing_if = "Map::is_empty", serialize_with = "write_apart")]
    pub before: Map<String, Value>,
    /// What the user has in them afterwards.
    #[serde(rename = "a", default, skip_serializing_if = "Map::is_empty", serialize_with = "write_apart")]
    pub after: Map<String, Value>,
    /// For a record that inserts a user: a hash of all its values.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub inserts: Option<i64>,
    /// Of one whose user is not there yet: the record that makes it.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<Maker>,
    /// Of an undo: where taking it back would not simply give back what was before, as [`ChangeResult::exceptions`]. None in a plan of an
    /// earlier version.
    ///
    /// [`ChangeResult::exceptions`]: crate::undo::ChangeResult::exceptions
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub exceptions: Option<Vec<String>>,
}

/// The record of the import that makes a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Maker {
    /// Its chunk.
    #[serde(rename = "c")]
    pub chunk: i64,
    /// Its place there.
    #[serde(rename = "i")]
    pub index: usize,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl PlannedRecord {
    /// Outcome and reason.
    pub fn verdict(&self) -> Verdict {
        Verdict { outcome: self.outcome, reason: self.reason }
    }

    /// Replaces the group that did not exist when this was planned by the group of the import.
    pub fn put_group(&mut self, place: Enrolment) {
        let missing = membership_path(place.organization_id, GroupId::PLANNED.get());
        if let Some(enrolled) = self.after.remove(&missing) {
            self.after.insert(membership_path(place.organization_id, place.group_id), enrolled);
        }
    }

    /// Whether its user comes into a group that did not exist when this was planned.
    pub fn lacks_group(&self) -> bool {
        self.after.keys().any(|path| of_missing_group(path).is_some())
    }

    /// Puts a name in the place of a group that did not exist when this was planned.
    pub fn name_group(&mut self, name: &str) {
        let named = |path: &String| Some((path.clone(), format!("{}.{name}", of_missing_group(path)?)));
        let missing: Vec<(String, String)> = self.after.keys().filter_map(named).collect();
        for (path, named) in missing {
            if let Some(enrolled) = self.after.remove(&path) {
                self.after.insert(named, enrolled);
            }
        }
    }
}

/// The path of a membership in a group that does not exist, without the group.
fn of_missing_group(path: &str) -> Option<&str> {
    let (organization, group) = path.rsplit_once('.').filter(|_| is_membership(path))?;
    (group.parse() == Ok(GroupId::PLANNED.get())).then_some(organization)
}

/// A user as a chunk would leave it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedUser {
    /// Id; for a new user, an id that no user will have.
    pub id: Uuid,
    /// Whether the plan makes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new: bool,
    /// The record that makes it, where the plan does.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<Maker>,
    /// The version that it would have.
    #[serde(rename = "v")]
    pub version: i32,
    /// E-mail address.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Phone number.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// Username.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub preferred_username: Option<String>,
    /// Given name.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    /// Family name.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub family_name: Option<String>,
    /// Other standard attributes, as JSON text.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<String>,
    /// Metadata, as JSON text.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Everything else, as JSON text.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Whether it would be in the organization and group of the import.
    #[serde(rename = "o", default, skip_serializing_if = "std::ops::Not::not")]
    pub enrolled: bool,
}

impl PlannedUser {
    /// As a row says.
    pub(super) fn of_row(row: &UserRow<'_>, version: i32, enrolled: bool, new: bool) -> Self {
        let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
        Self {
            id: row.id,
            new,
            maker: None,
            version,
            email: text(&row.email),
            phone_number: text(&row.phone_number),
            preferred_username: text(&row.preferred_username),
            given_name: text(&row.given_name),
            family_name: text(&row.family_name),
            attributes: text(&row.attributes),
            metadata: text(&row.metadata),
            profile: text(&row.profile),
            enrolled,
        }
    }

    /// A user of which nothing changes but that it is enrolled.
    pub(super) fn enrolled(user: &ExistingUser, new: bool) -> Self {
        Self {
            id: user.id,
            new,
            maker: None,
            version: user.version,
            email: user.email.clone(),
            phone_number: user.phone_number.clone(),
            preferred_username: user.preferred_username.clone(),
            given_name: user.given_name.clone(),
            family_name: user.family_name.clone(),
            attributes: user.attributes.clone(),
            metadata: user.metadata.clone(),
            profile: user.profile.as_deref().and_then(crate::profile::Profile::to_json),
            enrolled: true,
        }
    }

    /// As the planner reads users.
    pub(super) fn into_existing(self) -> ExistingUser {
        let profile = self.profile.as_deref().and_then(|json| serde_json::from_str(json).ok());
        ExistingUser {
            id: self.id,
            version: self.version,
            email: self.email,
            phone_number: self.phone_number,
            preferred_username: self.preferred_username,
            given_name: self.given_name,
            family_name: self.family_name,
            attributes: self.attributes,
            metadata: self.metadata,
            profile: profile.map(Box::new),
            enrolled: self.enrolled,
        }
    }
}

/// A planned chunk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlannedChunk {
    /// Its pending records, in the chunk's order.
    pub records: Vec<PlannedRecord>,
    /// The users that it writes.
    pub users: Vec<PlannedUser>,
    /// Of an undo: the users that it has to do with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<LeftUser>,
}

/// The bytes are no planned chunk of a version that this program knows.
#[derive(Debug, thiserror::Error)]
#[error("the plan of a chunk cannot be read: {0}")]
pub struct BrokenPlan(String);

impl PlannedChunk {
    /// As it is kept.
    pub fn encode(&self) -> std::io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let mut bytes = Vec::with_capacity(json.len() / 4 + 64);
        bytes.push(if mutant(Mutant::PlanNestsValues) { NESTED } else { VERSION });
        zstd::stream::copy_encode(&json[..], &mut bytes, ZSTD_LEVEL)?;
        Ok(bytes)
    }

    /// Reads what is kept.
    pub fn decode(bytes: &[u8]) -> Result<Self, BrokenPlan> {
        let wrong = |error: &dyn std::fmt::Display| BrokenPlan(error.to_string());
        let (version, compressed) = match bytes.split_first() {
            Some((version @ (&NESTED | &VERSION), rest)) => (*version, rest),
            Some((version, _)) => return Err(BrokenPlan(format!("it has version {version}"))),
            None => return Err(BrokenPlan("it is empty".into())),
        };
        let reader = zstd::Decoder::new(compressed).map_err(|error| wrong(&error))?;
        let mut json = Vec::with_capacity(compressed.len() * 5);
        reader.take(MOST_BYTES).read_to_end(&mut json).map_err(|error| wrong(&error))?;
        // The words of the parser may hold a value.
        let mut chunk: Self = serde_json::from_slice(&json)
            .map_err(|error| BrokenPlan(format!("byte {} is wrong", error.column())))?;
        if version != NESTED {
            for record in &mut chunk.records {
                let read = read_apart(&mut record.before).and_then(|()| read_apart(&mut record.after));
                read.map_err(|_| BrokenPlan(format!("a value of record {} is wrong", record.record)))?;
            }
            for fields in chunk.left.iter_mut().filter_map(|user| user.fields.as_mut()) {
                read_apart(fields).map_err(|_| BrokenPlan("a value of a user is wrong".into()))?;
            }
        }
        Ok(chunk)
    }
}
