//! Records + existing users + rules → what to write and what became of each record. A pure function.
//!
//! Guarantee: the plan equals processing the records one after the other. Records of one chunk see each other's effects; a
//! record that collides with a user on a unique field fails and names that user. Non-goal: the database. Concurrent changes are
//! detected while writing (by a unique index or the user's version), and the chunk is then planned again.

mod draft;
mod metadata;
mod profile;
mod row;
mod unchanged;

use std::borrow::Cow;
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::error::{ErrorCode, RecordError};
use crate::fault::{Mutant, mutant};
use crate::field::Field;
use crate::options::{IdentifierField, OnExisting};
use crate::outcome::Verdict;
use crate::record::{PassedBy, Patch, Record};
use crate::rules::Rules;
use crate::undo::{Change, membership_path};
pub use crate::user::ExistingUser;
use crate::warning::Warning;
use draft::{Draft, Snapshot};
pub use metadata::merged;
pub use row::{NewCredentials, UserRow};

/// What is to be written, and the outcome of each record.
#[derive(Debug, Default, PartialEq)]
pub struct Plan<'a> {
    /// One verdict a record, with the user concerned, in the order of the records.
    pub verdicts: Vec<(Verdict, Option<Uuid>)>,
    /// Errors of the failed records, by index in the records.
    pub errors: Vec<(usize, RecordError)>,
    /// The warnings of records, by index, ascending.
    pub warnings: Vec<(usize, Warning)>,
    /// Users to insert, sorted by identifier so that all writers lock in one order.
    pub inserts: Vec<UserRow<'a>>,
    /// Users to change, whole rows, with the version each was read at; sorted by id.
    pub updates: Vec<(UserRow<'a>, i32)>,
    /// Unique values to let go of first: another user of this plan takes them over.
    pub releases: Vec<(Uuid, IdentifierField)>,
    /// Users that stood in the way of a record, or were found under the name that it gives them, and are not changed, with the
    /// version each was read at; sorted by id. A record is decided only by what is still so when the others are written.
    pub obstacles: Vec<(Uuid, i32)>,
    /// The plan hangs on something that no row shows, so it is good only if nobody else wrote users of the tenant since
    /// they were read: a unique value that was taken and given up again, or an identifier that nobody has and that the record
    /// turns into another one at once.
    pub needs_exclusive: bool,
    /// Users to enrol in the import's organization and group.
    pub enrolments: Vec<Uuid>,
    /// Passwords and second factors of new users, sorted by id.
    pub credentials: Vec<NewCredentials<'a>>,
    /// What is changed of users that were there, sorted by id; and users that are inserted and changed at
    /// once. A user that a record inserts is not among them.
    pub changes: Vec<Change>,
    /// What each record does to its user, in the order of the records; empty unless it was [asked for](plan_in_detail).
    pub effects: Vec<Effect>,
}

/// What one record does to one user.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effect {
    /// What the user has in the fields that change.
    pub before: Map<String, Value>,
    /// What it has in them afterwards.
    pub after: Map<String, Value>,
    /// Of a record that inserts a user: a hash of everything that the user is to have, its secrets and moments of now apart.
    pub inserts: Option<i64>,
    /// Of a record whose user an earlier record of the same plan makes: that record's number.
    pub made_by: Option<u64>,
}

/// Plans the records, in their order.
///
/// `existing` holds every user that has one of the records' unique values; `now` is the moment at which it happens;
/// `new_id` gives ids for new users, ascending.
pub fn plan<'a>(
    records: &[&'a Record<'a>],
    existing: &'a [ExistingUser],
    rules: &Rules,
    now: DateTime<Utc>,
    new_id: &mut dyn FnMut() -> Uuid,
) -> Plan<'a> {
    Planner::new(existing, records.len(), rules, now).plan(records, new_id)
}

/// The same, and what each record does to its user. Takes longer.
pub fn plan_in_detail<'a>(
    records: &[&'a Record<'a>],
    existing: &'a [ExistingUser],
    rules: &Rules,
    now: DateTime<Utc>,
    new_id: &mut dyn FnMut() -> Uuid,
) -> Plan<'a> {
    let mut planner = Planner::new(existing, records.len(), rules, now);
    planner.detailed = true;
    planner.plan(records, new_id)
}

/// The planner's view of the users while it works through the records.
struct Planner<'a, 'o> {
    rules: &'o Rules,
    now: DateTime<Utc>,
    users: Vec<Draft<'a>>,
    /// Who holds which value of the three unique fields now.
    holders: [HashMap<Cow<'a, str>, usize>; 3],
    /// Warnings of the record that is being decided.
    warnings: Vec<Warning>,
    /// Users that stood in the way of a record, or were found under the name that it gives them.
    obstacles: Vec<usize>,
    /// Unique values that a record took and a later one gave up.
    passed: Vec<(IdentifierField, Cow<'a, str>)>,
    /// See [`Plan::needs_exclusive`].
    needs_exclusive: bool,
    /// Whether what each record does is kept.
    detailed: bool,
    /// What the record that is being decided does.
    effect: Effect,
}

impl<'a, 'o> Planner<'a, 'o> {
    fn new(existing: &'a [ExistingUser], records: usize, rules: &'o Rules, now: DateTime<Utc>) -> Self {
        let mut planner = Self {
            rules,
            now,
            users: Vec::with_capacity(existing.len()),
            holders: Default::default(),
            warnings: Vec::new(),
            obstacles: Vec::new(),
            passed: Vec::new(),
            needs_exclusive: false,
            detailed: false,
            effect: Effect::default(),
        };
        planner.holders[slot(rules.options.identifier)].reserve(records + existing.len());
        for user in existing {
            let at = planner.users.len();
            for field in IdentifierField::ALL {
                if let Some(value) = user.identity(*field) {
                    planner.holders[slot(*field)].insert(Cow::Borrowed(value), at);
                }
            }
            planner.users.push(Draft::existing(user));
        }
        planner
    }

    fn plan(mut self, records: &[&'a Record<'a>], new_id: &mut dyn FnMut() -> Uuid) -> Plan<'a> {
        let mut plan = Plan { verdicts: Vec::with_capacity(records.len()), ..Plan::default() };
        for (index, record) in records.iter().enumerate() {
            match self.decide(record, new_id) {
                Ok(decided) => plan.verdicts.push(decided),
                Err(error) => {
                    plan.verdicts.push((Verdict::FAILED, None));
                    plan.errors.push((index, error));
                }
            }
            plan.warnings.extend(self.warnings.drain(..).map(|warning| (index, warning)));
            if self.detailed {
                plan.effects.push(std::mem::take(&mut self.effect));
            }
        }
        self.write_into(&mut plan);
        plan
    }

    fn decide(
        &mut self,
        record: &'a Record<'a>,
        new_id: &mut dyn FnMut() -> Uuid,
    ) -> Result<(Verdict, Option<Uuid>), RecordError> {
        let Some((found, renamed)) = self.find(record) else {
            return Err(RecordError::new(
                ErrorCode::FieldRequired,
                "the field identifies the user and must be there",
            )
            .in_field(self.rules.options.identifier.as_str()));
        };
        if let Some(later) = record.passed_by {
            return self.supersede(record, found, later);
        }
        let (verdict, user) = match (found, self.rules.options.on_existing) {
            (None, _) => self.insert(record, new_id)?,
            (Some(at), OnExisting::Skip) => (Verdict::EXISTS, self.users[at].id()),
            (Some(at), OnExisting::Enrol) => {
                let before = self.detailed.then(|| self.users[at].snapshot(self.rules));
                let addressed = self.users[at].ensure_address(self.rules);
                let enrolled = self.enrol(at);
                self.note_effect(at, before.as_ref(), enrolled);
                let verdict = match (enrolled, addressed) {
                    (true, _) => Verdict::ENROLLED,
                    (false, true) => Verdict::UPDATED,
                    (false, false) => Verdict::EXISTS,
                };
                (verdict, self.users[at].id())
            }
            (Some(at), OnExisting::Update) => self.update(at, record)?,
        };
        if self.detailed {
            self.effect.made_by = found.and_then(|at| self.users[at].made_by());
        }
        // No user has the record's identifier before or after, so no row shows whether another transaction took it in
        // between. If the record decides nothing that is written, its decision is as of the moment of reading.
        self.needs_exclusive |= match found {
            None => self.wants_new_identifier(record),
            Some(at) => renamed && self.users[at].is_written(),
        };
        Ok((verdict, Some(user)))
    }

    /// A record that a later one passed changes nothing. If it is still refused, its failure keeps its
    /// reason; a record that would be applied is superseded.
    fn supersede(
        &mut self,
        record: &'a Record<'a>,
        found: Option<usize>,
        later: PassedBy,
    ) -> Result<(Verdict, Option<Uuid>), RecordError> {
        let at = match (found, self.rules.options.on_existing) {
            (Some(at), OnExisting::Skip | OnExisting::Enrol) => {
                return Ok((Verdict::EXISTS, Some(self.users[at].id())));
            }
            (Some(at), OnExisting::Update) => {
                profile::of_existing(&self.users[at], record, self.rules, self.now, &mut self.warnings)?;
                at
            }
            (None, _) => {
                profile::of_new(record, self.rules, self.now, &mut self.warnings)?;
                self.users.len()
            }
        };
        self.check_free(record, at)?;
        // Warnings about the record no longer matter.
        self.warnings.clear();
        self.warnings.push(Warning::Superseded(later.record));
        Ok((Verdict::SUPERSEDED, later.user))
    }

    /// Whether a new user of this record is not found by what the record is identified by.
    fn wants_new_identifier(&self, record: &Record<'_>) -> bool {
        let field = self.rules.options.identifier;
        record.target(field) != record.identity(field)
    }

    /// The user that a record means: `None` if it does not say, `Some(None)` if there is none yet.
    ///
    /// A user that was already renamed is found under the new name, so that a file can be imported again. True says so:
    /// the lane of that name may be working on the same user.
    fn find(&mut self, record: &Record<'_>) -> Option<(Option<usize>, bool)> {
        let field = self.rules.options.identifier;
        let Patch::Value(key) = record.identity(field) else { return None };
        let holders = &self.holders[slot(field)];
        let renamed = || match record.target(field) {
            Patch::Value(new) if new != key => holders.get(new).copied(),
            _ => None,
        };
        match (holders.get(key).copied(), renamed()) {
            (None, Some(renamed)) => {
                self.obstacles.push(renamed);
                Some((Some(renamed), true))
            }
            (found, _) => Some((found, false)),
        }
    }

    fn insert(
        &mut self,
        record: &'a Record<'a>,
        new_id: &mut dyn FnMut() -> Uuid,
    ) -> Result<(Verdict, Uuid), RecordError> {
        let at = self.users.len();
        // A taken value is reported before a validity that ends before it begins.
        if !mutant(Mutant::ValidityBeforeIdentity) {
            self.check_free(record, at)?;
        }
        let profile = profile::of_new(record, self.rules, self.now, &mut self.warnings)?;
        if mutant(Mutant::ValidityBeforeIdentity) {
            self.check_free(record, at)?;
        }
        for field in IdentifierField::ALL {
            if let Patch::Value(value) = record.target(*field) {
                self.holders[slot(*field)].insert(Cow::Borrowed(value), at);
            }
        }
        let id = new_id();
        self.users.push(Draft::new(id, record, profile, self.rules));
        self.enrol(at);
        if self.detailed {
            self.effect.inserts = Some(self.users[at].digest());
        }
        Ok((Verdict::INSERTED, id))
    }

    fn update(&mut self, at: usize, record: &'a Record<'a>) -> Result<(Verdict, Uuid), RecordError> {
        self.check_free(record, at)?;
        let profile =
            profile::of_existing(&self.users[at], record, self.rules, self.now, &mut self.warnings)?;
        for field in IdentifierField::ALL {
            let patch = self.wanted(record, *field);
            if patch == Patch::Absent {
                continue;
            }
            let user = &self.users[at];
            let holders = &mut self.holders[slot(*field)];
            let given_up = user.identity(*field).and_then(|before| holders.remove_entry(before));
            if let Some((before, _)) = given_up
                && patch != Patch::Value(&*before)
                && user.base().and_then(|base| base.identity(*field)) != Some(&*before)
            {
                self.passed.push((*field, before));
            }
            if let Patch::Value(value) = patch {
                holders.insert(Cow::Borrowed(value), at);
            }
        }
        let before = self.detailed.then(|| self.users[at].snapshot(self.rules));
        let changed = self.users[at].apply(record, profile, self.rules);
        let enrolled = self.enrol(at);
        self.note_effect(at, before.as_ref(), enrolled);
        let verdict = match (changed, enrolled) {
            (true, _) => Verdict::UPDATED,
            (false, true) => Verdict::ENROLLED,
            (false, false) => Verdict::UNCHANGED,
        };
        Ok((verdict, self.users[at].id()))
    }

    /// Notes what the record that is being decided did to a user that was there.
    fn note_effect(&mut self, at: usize, before: Option<&Snapshot<'a>>, enrolled: bool) {
        let Some(before) = before else { return };
        self.users[at].put_effect(before, &mut self.effect);
        if let Some(place) = self.rules.options.enrolment.filter(|_| enrolled) {
            let path = membership_path(place.organization_id, place.group_id);
            self.effect.after.insert(path, Value::Bool(true));
        }
    }

    /// What a record wants of a unique field of a user that exists.
    fn wanted<'r>(&self, record: &'r Record<'_>, field: IdentifierField) -> Patch<&'r str> {
        wanted(record, field, self.rules)
    }

    /// Only the user at `at` may hold the record's unique values.
    fn check_free(&mut self, record: &Record<'_>, at: usize) -> Result<(), RecordError> {
        for field in IdentifierField::ALL {
            let patch =
                if at < self.users.len() { self.wanted(record, *field) } else { record.target(*field) };
            if let Patch::Value(value) = patch
                && let Some(holder) = self.holders[slot(*field)].get(value).copied()
                && holder != at
            {
                self.obstacles.push(holder);
                let renames = *field == IdentifierField::Email && record.new_email() == Some(value);
                let name = if renames { "new_email" } else { field.as_str() };
                let message = match self.users[holder].made_by() {
                    Some(earlier) => {
                        format!("the value belongs to another user, whom record {earlier} of the file made")
                    }
                    None => "the value belongs to another user".to_owned(),
                };
                let error = RecordError::new(ErrorCode::IdentityConflict, message);
                return Err(error.in_field(name).held_by(self.users[holder].id()));
            }
        }
        Ok(())
    }

    /// Enrols the user where the import says so. False if there is nothing to do.
    fn enrol(&mut self, at: usize) -> bool {
        self.rules.options.enrolment.is_some() && self.users[at].enrol()
    }

    fn write_into(self, plan: &mut Plan<'a>) {
        for at in &self.obstacles {
            let user = &self.users[*at];
            if let Some(base) = user.base()
                && !user.is_changed()
            {
                plan.obstacles.push((base.id, base.version));
            }
        }
        plan.obstacles.sort_unstable();
        plan.obstacles.dedup();
        // What somebody has in the end is written, and then the unique index watches over it.
        let watched =
            |(field, value): &(IdentifierField, Cow<'a, str>)| self.holders[slot(*field)].contains_key(value);
        plan.needs_exclusive = self.needs_exclusive || !self.passed.iter().all(watched);
        for user in &self.users {
            let Some(base) = user.base() else { continue };
            for field in IdentifierField::ALL {
                if let Some(value) = base.identity(*field)
                    && user.identity(*field) != Some(value)
                    && self.holders[slot(*field)].contains_key(value)
                {
                    plan.releases.push((base.id, *field));
                }
            }
        }
        for user in self.users {
            plan.changes.extend(user.change(self.rules));
            if user.is_newly_enrolled() {
                plan.enrolments.push(user.id());
            }
            plan.credentials.extend(user.credentials());
            match user.base().map(|base| base.version) {
                None => plan.inserts.push(user.into_row()),
                Some(version) if user.is_changed() => plan.updates.push((user.into_row(), version)),
                Some(_) => {}
            }
        }
        let identifier = self.rules.options.identifier;
        plan.inserts.sort_unstable_by(|a, b| a.identity(identifier).cmp(&b.identity(identifier)));
        plan.updates.sort_unstable_by_key(|(row, _)| row.id);
        plan.releases.sort_unstable_by_key(|(id, _)| *id);
        plan.enrolments.sort_unstable();
        plan.changes.sort_unstable_by_key(|change| change.user);
        plan.credentials.sort_unstable_by_key(|credentials| credentials.user);
    }
}

/// What a record wants of a unique field of a user that exists: the identifier only changes by `new_email`, and a field that
/// is ignored does not change.
fn wanted<'r>(record: &'r Record<'_>, field: IdentifierField, rules: &Rules) -> Patch<&'r str> {
    if field == IdentifierField::Email
        && let Some(new) = record.new_email()
        && !rules.ignored().contains(Field::NewEmail)
    {
        return Patch::Value(new);
    }
    if field == rules.options.identifier || rules.ignored().contains(field.into()) {
        return Patch::Absent;
    }
    record.identity(field)
}

fn slot(field: IdentifierField) -> usize {
    match field {
        IdentifierField::Email => 0,
        IdentifierField::PhoneNumber => 1,
        IdentifierField::PreferredUsername => 2,
    }
}
