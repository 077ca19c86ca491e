//! One user while a chunk is planned: existing or new, with the changes of the records about this user.

use std::borrow::Cow;

use chrono::DateTime;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::row::{NewCredentials, UserRow, of_record};
use super::{Effect, ExistingUser, metadata, unchanged, wanted};
use crate::fault::{Mutant, mutant};
use crate::field::Field;
use crate::options::{IdentifierField, MetadataMode};
use crate::profile::{DEFAULT_ADDRESS, Profile};
use crate::record::{MetadataEntry, Patch, Record};
use crate::rules::Rules;
use crate::undo::{Change, Kind, flat_profile, membership_path, put_differences};

/// A user in the planner.
pub(super) struct Draft<'a> {
    id: Uuid,
    base: Option<&'a ExistingUser>,
    /// The record that made a new user.
    record: Option<&'a Record<'a>>,
    /// The state, once there is more to it than the base, or than a plain record says: the common case copies nothing.
    state: Option<Box<State<'a>>>,
    changes: i32,
    enrolled: bool,
    newly_enrolled: bool,
}

/// A user as it was at a moment while a chunk was planned.
pub(super) struct Snapshot<'a>(State<'a>);

#[derive(Default, Clone)]
struct State<'a> {
    email: Option<Cow<'a, str>>,
    phone_number: Option<Cow<'a, str>>,
    preferred_username: Option<Cow<'a, str>>,
    given_name: Option<Cow<'a, str>>,
    family_name: Option<Cow<'a, str>>,
    attributes: Map<String, Value>,
    metadata: Map<String, Value>,
    profile: Profile,
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

    /// A new user. `profile` is what the record makes of it beyond the columns, if anything.
    pub(super) fn new(id: Uuid, record: &'a Record<'a>, profile: Option<Profile>, rules: &Rules) -> Self {
        let mut draft = Self {
            id,
            base: None,
            record: Some(record),
            state: None,
            changes: 1,
            enrolled: false,
            newly_enrolled: false,
        };
        // Attributes set to null are not there, unlike keys of metadata, and neither are keys to be removed: the record alone
        // does not say what is written.
        let reduced = matches!(rules.options.metadata, MetadataMode::Attributes | MetadataMode::Remove)
            && !record.metadata.is_absent();
        if profile.is_some() || record.extras.is_some() || reduced {
            draft.state = Some(Box::new(State {
                profile: profile.unwrap_or_default(),
                ..State::of_record(record, rules)
            }));
        }
        draft
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    /// The record of this plan that made the user.
    pub(super) fn made_by(&self) -> Option<u64> {
        let made = self.record.filter(|_| self.base.is_none());
        made.map(|record| record.position.record.get())
    }

    pub(super) fn base(&self) -> Option<&'a ExistingUser> {
        self.base
    }

    pub(super) fn is_changed(&self) -> bool {
        self.changes > 0
    }

    /// Whether anything of the user is written: a new one, a change, an enrolment.
    pub(super) fn is_written(&self) -> bool {
        self.is_changed() || self.newly_enrolled
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
            (Some(state), _, _) => state.identity(field),
            (None, Some(record), _) => match record.identity(field) {
                Patch::Value(value) => Some(value),
                Patch::Absent | Patch::Null => None,
            },
            (None, None, Some(base)) => base.identity(field),
            (None, None, None) => None,
        }
    }

    /// What the user has beyond the columns.
    pub(super) fn profile(&self) -> Cow<'_, Profile> {
        match (&self.state, self.base.and_then(|base| base.profile.as_deref())) {
            (Some(state), _) => Cow::Borrowed(&state.profile),
            (None, Some(profile)) => Cow::Borrowed(profile),
            (None, None) => Cow::Owned(Profile::default()),
        }
    }

    /// Applies a record to a user that exists (in the store, or since an earlier record). `profile` is what the record makes
    /// of it beyond the columns, if it changes that. True if anything changed.
    pub(super) fn apply(&mut self, record: &'a Record<'a>, profile: Option<Profile>, rules: &Rules) -> bool {
        if let (None, None, Some(base)) = (&self.state, self.record, self.base)
            && profile.is_none()
            && unchanged::says_what_is_stored(record, base, rules)
        {
            return false;
        }
        let mut state = self.load(rules);
        let mut changed = state.apply(record, rules);
        if let Some(profile) = profile {
            changed |= profile != state.profile;
            state.profile = profile;
        }
        self.state = Some(state);
        self.changes += i32::from(changed);
        changed
    }

    /// Sees to it that the user has the default address, where the import wants one. True if that changed anything.
    pub(super) fn ensure_address(&mut self, rules: &Rules) -> bool {
        let Some(email) = self.identity(IdentifierField::Email).filter(|_| rules.options.default_address)
        else {
            return false;
        };
        // No field of a user that is only enrolled changes: an address of that name stays as it is.
        if self.profile().addresses.contains_key(DEFAULT_ADDRESS) {
            return false;
        }
        let mut profile = self.profile().into_owned();
        profile.add_address(DEFAULT_ADDRESS, email);
        if profile == *self.profile() {
            return false;
        }
        let mut state = self.load(rules);
        state.profile = profile;
        self.state = Some(state);
        self.changes += 1;
        true
    }

    /// What an undo has to know of the user: what it had in the fields that change. `None` where nothing changes, and for a user
    /// that one record inserts.
    pub(super) fn change(&self, rules: &Rules) -> Option<Change> {
        if mutant(Mutant::BeforeImagesForgotten) {
            return None;
        }
        let Some(base) = self.base else {
            return (self.changes > 1).then(|| Change::inserted(self.id, self.changes));
        };
        if !self.is_written() {
            return None;
        }
        let to = base.version + self.changes;
        let mut change = Change { kind: Kind::Updated, from: base.version, ..Change::inserted(self.id, to) };
        if let Some(state) = &self.state {
            state.put_differences(base, &mut change);
        }
        if self.newly_enrolled
            && let Some(place) = rules.options.enrolment
        {
            change.after.insert(membership_path(place.organization_id, place.group_id), Value::Bool(true));
        }
        Some(change)
    }

    /// The user as it is at this moment, to be compared with what becomes of it.
    pub(super) fn snapshot(&self, rules: &Rules) -> Snapshot<'a> {
        Snapshot(match (&self.state, self.record, self.base) {
            (Some(state), ..) => State::clone(state),
            (None, Some(record), _) => State::of_record(record, rules),
            (None, None, Some(base)) => State::of(base),
            (None, None, None) => State::default(),
        })
    }

    /// Adds what is another than it was at that moment.
    pub(super) fn put_effect(&self, before: &Snapshot<'a>, effect: &mut Effect) {
        if let Some(state) = &self.state {
            state.put_changes(&before.0, &mut effect.before, &mut effect.after);
        }
    }

    /// A hash of everything that a new user is to have. The same records give the same, today and tomorrow, unless the catalog
    /// reads them otherwise: a moment that is now counts as there.
    pub(super) fn digest(&self) -> i64 {
        let row = match (&self.state, self.record) {
            (Some(state), _) => {
                let mut state = State::clone(state);
                state.profile.disabled_at = state.profile.disabled_at.map(|_| DateTime::UNIX_EPOCH);
                state.into_row(self.id, 1)
            }
            (None, Some(record)) => of_record(self.id, record),
            (None, None) => State::default().into_row(self.id, 1),
        };
        row.digest()
    }

    /// Secrets that come with a new user.
    pub(super) fn credentials(&self) -> Option<NewCredentials<'a>> {
        self.record.and_then(|record| NewCredentials::of(self.id, record))
    }

    fn load(&mut self, rules: &Rules) -> Box<State<'a>> {
        self.state.take().unwrap_or_else(|| {
            Box::new(match (self.record, self.base) {
                (Some(record), _) => State::of_record(record, rules),
                (None, Some(base)) => State::of(base),
                (None, None) => State::default(),
            })
        })
    }

    pub(super) fn into_row(self) -> UserRow<'a> {
        match (self.state, self.record, self.base) {
            (Some(state), _, _) => state.into_row(self.id, self.changes),
            (None, Some(record), _) => of_record(self.id, record),
            (None, None, Some(base)) => State::of(base).into_row(self.id, self.changes),
            (None, None, None) => State::default().into_row(self.id, self.changes),
        }
    }
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
            profile: base.profile.as_deref().cloned().unwrap_or_default(),
        }
    }

    /// What a record makes of a user that is not there yet: every value, whatever the options say of existing users.
    fn of_record(record: &'a Record<'a>, rules: &Rules) -> Self {
        let mut state = Self::default();
        for field in IdentifierField::ALL {
            state.set_identity(*field, record.target(*field));
        }
        state.set_names(record, |_| false);
        state.set_attributes(record, |_| false);
        let mode = match rules.options.metadata {
            // There is nothing to remove, and a second import of the file would remove what this one set.
            mode @ (MetadataMode::Attributes | MetadataMode::Remove) => mode,
            _ => MetadataMode::Rewrite,
        };
        state.apply_metadata(&record.metadata, mode);
        state.apply_custom(record);
        state
    }

    /// Adds what is another than in the base: what the base has, and what is there now.
    fn put_differences(&self, base: &'a ExistingUser, change: &mut Change) {
        self.put_changes(&State::of(base), &mut change.before, &mut change.after);
        change.keep_flags_with_values(|path| match path {
            "email_verified" => self.profile.email_verified.then_some(Value::Bool(true)),
            "phone_number_verified" => self.profile.phone_number_verified.then_some(Value::Bool(true)),
            _ => {
                let field = IdentifierField::ALL.iter().find(|known| known.as_str() == path)?;
                self.identity(*field).map(Value::from)
            }
        });
    }

    /// Adds what is another than in an earlier state: what was there, and what is there now.
    fn put_changes(&self, old: &Self, before: &mut Map<String, Value>, after: &mut Map<String, Value>) {
        let identities = IdentifierField::ALL
            .iter()
            .map(|field| (field.as_str(), old.identity(*field), self.identity(*field)));
        let names = [
            (Field::GivenName.as_str(), old.given_name.as_deref(), self.given_name.as_deref()),
            (Field::FamilyName.as_str(), old.family_name.as_deref(), self.family_name.as_deref()),
        ];
        for (path, old, new) in identities.chain(names).filter(|(_, old, new)| old != new) {
            before.extend(old.map(|old| (path.to_owned(), old.into())));
            after.extend(new.map(|new| (path.to_owned(), new.into())));
        }
        put_differences("", &old.attributes, &self.attributes, before, after);
        put_differences("metadata.", &old.metadata, &self.metadata, before, after);
        if old.profile != self.profile {
            put_differences("", &flat_profile(&old.profile), &flat_profile(&self.profile), before, after);
        }
    }

    fn identity(&self, field: IdentifierField) -> Option<&str> {
        match field {
            IdentifierField::Email => self.email.as_deref(),
            IdentifierField::PhoneNumber => self.phone_number.as_deref(),
            IdentifierField::PreferredUsername => self.preferred_username.as_deref(),
        }
    }

    fn set_identity(&mut self, field: IdentifierField, patch: Patch<&'a str>) -> bool {
        let target = match field {
            IdentifierField::Email => &mut self.email,
            IdentifierField::PhoneNumber => &mut self.phone_number,
            IdentifierField::PreferredUsername => &mut self.preferred_username,
        };
        set(target, patch)
    }

    /// What a record changes of a user that exists, its profile apart.
    fn apply(&mut self, record: &'a Record<'a>, rules: &Rules) -> bool {
        let ignored = |field| rules.ignored().contains(field);
        let mut changed = false;
        for field in IdentifierField::ALL {
            changed |= self.set_identity(*field, wanted(record, *field, rules));
        }
        changed |= self.set_names(record, ignored);
        changed |= self.set_attributes(record, ignored);
        let metadata = !ignored(Field::Metadata) && !record.metadata.is_absent();
        let custom = !ignored(Field::CustomAttributes) && !record.custom_attributes().is_empty();
        // One may undo what the other did: only what both come to counts.
        let before = (metadata && custom).then(|| self.metadata.clone());
        let set = metadata && self.apply_metadata(&record.metadata, rules.options.metadata);
        let set = (custom && self.apply_custom(record)) || set;
        changed | before.map_or(set, |before| metadata::differ(&before, &self.metadata))
    }

    fn set_names(&mut self, record: &'a Record<'a>, ignored: impl Fn(Field) -> bool) -> bool {
        let given = !ignored(Field::GivenName) && set(&mut self.given_name, record.given_name);
        let family = !ignored(Field::FamilyName) && set(&mut self.family_name, record.family_name);
        given | family
    }

    fn set_attributes(&mut self, record: &'a Record<'a>, ignored: impl Fn(Field) -> bool) -> bool {
        let mut changed = false;
        for (field, patch) in record.attributes.iter().filter(|(field, _)| !ignored(*field)) {
            changed |= match patch {
                Patch::Absent => false,
                Patch::Null => self.attributes.remove(field.as_str()).is_some(),
                Patch::Value(value) => metadata::replace(
                    &mut self.attributes,
                    field.as_str(),
                    metadata::to_json(&(*value).into()),
                ),
            };
        }
        changed
    }

    fn apply_metadata(&mut self, patch: &Patch<Vec<MetadataEntry<'a>>>, mode: MetadataMode) -> bool {
        match patch {
            Patch::Absent => false,
            Patch::Null if mode == MetadataMode::Ignore => false,
            Patch::Null => !std::mem::take(&mut self.metadata).is_empty(),
            Patch::Value(entries) => metadata::apply(&mut self.metadata, metadata::object(entries), mode),
        }
    }

    fn apply_custom(&mut self, record: &Record<'_>) -> bool {
        let custom = record.custom_attributes();
        !custom.is_empty()
            && metadata::apply(&mut self.metadata, metadata::object(custom), MetadataMode::Attributes)
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
            profile: self.profile.to_json().map(Cow::Owned),
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
