//! One user while a chunk is planned: as found or new, with the changes of the records that meant it.

use std::borrow::Cow;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{ExistingUser, metadata};
use crate::options::{IdentifierField, ImportOptions, MetadataMode};
use crate::record::{MetadataEntry, Patch, RawValue, Record};

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
}

/// A user in the planner.
pub(super) struct Draft<'a> {
    id: Uuid,
    base: Option<&'a ExistingUser>,
    /// For a new user that one record made: that record, so that the common case copies nothing.
    record: Option<&'a Record<'a>>,
    /// The state, once there is more to it than the record or the base.
    state: Option<Box<State<'a>>>,
    changes: i32,
    enrolled: bool,
    newly_enrolled: bool,
}

#[derive(Default)]
struct State<'a> {
    email: Option<Cow<'a, str>>,
    phone_number: Option<Cow<'a, str>>,
    preferred_username: Option<Cow<'a, str>>,
    given_name: Option<Cow<'a, str>>,
    family_name: Option<Cow<'a, str>>,
    attributes: Map<String, Value>,
    metadata: Map<String, Value>,
}

impl<'a> Draft<'a> {
    pub(super) fn existing(base: &'a ExistingUser) -> Self {
        Self {
            id: base.id,
            base: Some(base),
            record: None,
            state: None,
            changes: 0,
            enrolled: base.enrolled,
            newly_enrolled: false,
        }
    }

    pub(super) fn new(id: Uuid, record: &'a Record<'a>) -> Self {
        Self {
            id,
            base: None,
            record: Some(record),
            state: None,
            changes: 1,
            enrolled: false,
            newly_enrolled: false,
        }
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    pub(super) fn base(&self) -> Option<&'a ExistingUser> {
        self.base
    }

    pub(super) fn is_changed(&self) -> bool {
        self.changes > 0
    }

    pub(super) fn is_newly_enrolled(&self) -> bool {
        self.newly_enrolled
    }

    /// True if the user was not enrolled before.
    pub(super) fn enrol(&mut self) -> bool {
        let newly = !self.enrolled;
        self.enrolled = true;
        self.newly_enrolled |= newly;
        newly
    }

    /// The current value of a unique field.
    pub(super) fn identity(&self, field: IdentifierField) -> Option<&str> {
        match (&self.state, self.record, self.base) {
            (Some(state), _, _) => match field {
                IdentifierField::Email => state.email.as_deref(),
                IdentifierField::PhoneNumber => state.phone_number.as_deref(),
                IdentifierField::PreferredUsername => state.preferred_username.as_deref(),
            },
            (None, Some(record), _) => match record.identity(field) {
                Patch::Value(value) => Some(value),
                Patch::Absent | Patch::Null => None,
            },
            (None, None, Some(base)) => base.identity(field),
            (None, None, None) => None,
        }
    }

    /// Applies a record to a user that exists (in the store, or since an earlier record). True if anything changed.
    pub(super) fn apply(&mut self, record: &'a Record<'a>, options: &ImportOptions) -> bool {
        let mut state = self.state.take().unwrap_or_else(|| Box::new(self.load()));
        let changed = state.apply(record, options.metadata);
        self.state = Some(state);
        self.changes += i32::from(changed);
        changed
    }

    fn load(&self) -> State<'a> {
        match (self.record, self.base) {
            (Some(record), _) => {
                let mut state = State::default();
                // A new user takes everything a record says, whatever the mode says of existing ones.
                state.apply(record, MetadataMode::Rewrite);
                state
            }
            (None, Some(base)) => State::of(base),
            (None, None) => State::default(),
        }
    }

    pub(super) fn into_row(self) -> UserRow<'a> {
        match (self.state, self.record, self.base) {
            (Some(state), _, _) => state.into_row(self.id, self.changes),
            (None, Some(record), _) => record_row(self.id, record),
            (None, None, Some(base)) => State::of(base).into_row(self.id, self.changes),
            (None, None, None) => State::default().into_row(self.id, self.changes),
        }
    }
}

/// The row of a new user that one record made, straight from the record.
fn record_row<'a>(id: Uuid, record: &'a Record<'a>) -> UserRow<'a> {
    fn cow<'a, T>(patch: &'a Patch<T>, text: impl Fn(&'a T) -> &'a str) -> Option<Cow<'a, str>> {
        patch.value().map(text).map(Cow::Borrowed)
    }
    let attributes: Vec<(&str, RawValue<'_>)> = record
        .attributes
        .iter()
        .filter_map(|(attribute, patch)| patch.value().map(|value| (attribute.as_str(), *value)))
        .collect();
    UserRow {
        id,
        email: cow(&record.email, |email| email.as_str()),
        phone_number: cow(&record.phone_number, |phone| phone.as_str()),
        preferred_username: cow(&record.preferred_username, |name| name.as_str()),
        given_name: cow(&record.given_name, |name| name),
        family_name: cow(&record.family_name, |name| name),
        attributes: metadata::object_text(attributes.iter().copied()).map(Cow::Owned),
        metadata: record
            .metadata
            .value()
            .and_then(|entries| metadata::object_text(entries.iter().map(entry_pair)))
            .map(Cow::Owned),
        changes: 1,
    }
}

fn entry_pair<'e>(entry: &'e MetadataEntry<'_>) -> (&'e str, RawValue<'e>) {
    (&*entry.key, entry.value)
}

impl<'a> State<'a> {
    fn of(base: &'a ExistingUser) -> Self {
        let cow = |value: &'a Option<String>| value.as_deref().map(Cow::Borrowed);
        Self {
            email: cow(&base.email),
            phone_number: cow(&base.phone_number),
            preferred_username: cow(&base.preferred_username),
            given_name: cow(&base.given_name),
            family_name: cow(&base.family_name),
            attributes: metadata::parse_object(base.attributes.as_deref()),
            metadata: metadata::parse_object(base.metadata.as_deref()),
        }
    }

    fn apply(&mut self, record: &'a Record<'a>, mode: MetadataMode) -> bool {
        let mut changed = false;
        for field in IdentifierField::ALL {
            let target = match field {
                IdentifierField::Email => &mut self.email,
                IdentifierField::PhoneNumber => &mut self.phone_number,
                IdentifierField::PreferredUsername => &mut self.preferred_username,
            };
            changed |= set(target, record.identity(*field));
        }
        changed |= set(&mut self.given_name, record.given_name);
        changed |= set(&mut self.family_name, record.family_name);
        for (attribute, patch) in &record.attributes {
            changed |= match patch {
                Patch::Absent => false,
                Patch::Null => self.attributes.remove(attribute.as_str()).is_some(),
                Patch::Value(value) => {
                    let value = metadata::to_json(*value);
                    let differs = self.attributes.get(attribute.as_str()) != Some(&value);
                    if differs {
                        self.attributes.insert(attribute.as_str().to_owned(), value);
                    }
                    differs
                }
            };
        }
        changed | self.apply_metadata(&record.metadata, mode)
    }

    fn apply_metadata(&mut self, patch: &Patch<Vec<MetadataEntry<'a>>>, mode: MetadataMode) -> bool {
        match patch {
            Patch::Absent => false,
            Patch::Null if mode == MetadataMode::Ignore => false,
            Patch::Null => !std::mem::take(&mut self.metadata).is_empty(),
            Patch::Value(entries) => {
                let sent = entries
                    .iter()
                    .map(|entry| (entry.key.to_string(), metadata::to_json(entry.value)))
                    .collect();
                metadata::apply(&mut self.metadata, sent, mode)
            }
        }
    }

    fn into_row(self, id: Uuid, changes: i32) -> UserRow<'a> {
        let text =
            |map: Map<String, Value>| (!map.is_empty()).then(|| Cow::Owned(Value::Object(map).to_string()));
        UserRow {
            id,
            email: self.email,
            phone_number: self.phone_number,
            preferred_username: self.preferred_username,
            given_name: self.given_name,
            family_name: self.family_name,
            attributes: text(self.attributes),
            metadata: text(self.metadata),
            changes,
        }
    }
}

fn set<'a>(target: &mut Option<Cow<'a, str>>, patch: Patch<&'a str>) -> bool {
    let wanted = match patch {
        Patch::Absent => return false,
        Patch::Null => None,
        Patch::Value(value) => Some(value),
    };
    if target.as_deref() == wanted {
        return false;
    }
    *target = wanted.map(Cow::Borrowed);
    true
}
