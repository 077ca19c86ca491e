//! Records + existing users + options → what to write and what became of each record. A pure function.
//!
//! Guarantee: the plan is that of working through the records one after the other. Records of one chunk see each other's
//! effects; a record that collides with a user on a unique field fails and names that user.
//! Non-goal: the database. What another transaction did in the meantime is found while writing (a unique index or the
//! user's version says so), and the chunk is then planned again.

mod metadata;
mod state;

use std::borrow::Cow;
use std::collections::HashMap;

use uuid::Uuid;

use crate::error::{ErrorCode, RecordError};
use crate::options::{IdentifierField, ImportOptions, OnExisting};
use crate::outcome::Verdict;
use crate::record::{Patch, Record};
use state::Draft;
pub use state::UserRow;

/// A user as the store has it, as far as planning needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
    /// Whether the user is in the organization and group of the import.
    pub enrolled: bool,
}

/// What is to be written, and what became of each record.
#[derive(Debug, Default, PartialEq)]
pub struct Plan<'a> {
    /// One verdict a record, with the user concerned, in the order of the records.
    pub verdicts: Vec<(Verdict, Option<Uuid>)>,
    /// Errors of the failed records, by index in the records.
    pub errors: Vec<(usize, RecordError)>,
    /// Users to insert, sorted by identifier so that all writers lock in one order.
    pub inserts: Vec<UserRow<'a>>,
    /// Users to change, whole rows, with the version each was read at; sorted by id.
    pub updates: Vec<(UserRow<'a>, i32)>,
    /// Unique values to let go of first: another user of this plan takes them over.
    pub releases: Vec<(Uuid, IdentifierField)>,
    /// Users to enrol in the import's organization and group.
    pub enrolments: Vec<Uuid>,
}

/// Plans the records, in their order.
///
/// `existing` holds every user that has one of the records' unique values; `new_id` gives ids for new users, ascending.
pub fn plan<'a>(
    records: &[&'a Record<'a>],
    existing: &'a [ExistingUser],
    options: &ImportOptions,
    new_id: &mut dyn FnMut() -> Uuid,
) -> Plan<'a> {
    let mut planner = Planner::new(existing, records.len(), options);
    let mut plan = Plan { verdicts: Vec::with_capacity(records.len()), ..Plan::default() };
    for (index, record) in records.iter().enumerate() {
        match planner.decide(record, new_id) {
            Ok((verdict, user)) => plan.verdicts.push((verdict, Some(user))),
            Err(error) => {
                plan.verdicts.push((Verdict::FAILED, None));
                plan.errors.push((index, error));
            }
        }
    }
    planner.write_into(&mut plan);
    plan
}

/// The planner's view of the users while it works through the records.
struct Planner<'a, 'o> {
    options: &'o ImportOptions,
    users: Vec<Draft<'a>>,
    /// Who holds which value of the three unique fields now.
    holders: [HashMap<Cow<'a, str>, usize>; 3],
}

impl<'a, 'o> Planner<'a, 'o> {
    fn new(existing: &'a [ExistingUser], records: usize, options: &'o ImportOptions) -> Self {
        let mut planner =
            Self { options, users: Vec::with_capacity(existing.len()), holders: Default::default() };
        planner.holders[slot(options.identifier)].reserve(records + existing.len());
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

    fn decide(
        &mut self,
        record: &'a Record<'a>,
        new_id: &mut dyn FnMut() -> Uuid,
    ) -> Result<(Verdict, Uuid), RecordError> {
        let field = self.options.identifier;
        let Patch::Value(key) = record.identity(field) else {
            return Err(RecordError::new(
                ErrorCode::FieldRequired,
                "the field identifies the user and must be there",
            )
            .in_field(field.as_str()));
        };
        match self.holders[slot(field)].get(key).copied() {
            None => self.insert(record, new_id),
            Some(at) => match self.options.on_existing {
                OnExisting::Skip => Ok((Verdict::EXISTS, self.users[at].id())),
                OnExisting::Enrol => {
                    let verdict = if self.enrol(at) { Verdict::ENROLLED } else { Verdict::EXISTS };
                    Ok((verdict, self.users[at].id()))
                }
                OnExisting::Update => self.update(at, record),
            },
        }
    }

    fn insert(
        &mut self,
        record: &'a Record<'a>,
        new_id: &mut dyn FnMut() -> Uuid,
    ) -> Result<(Verdict, Uuid), RecordError> {
        let at = self.users.len();
        self.check_free(record, at)?;
        for field in IdentifierField::ALL {
            if let Patch::Value(value) = record.identity(*field) {
                self.holders[slot(*field)].insert(Cow::Borrowed(value), at);
            }
        }
        let id = new_id();
        self.users.push(Draft::new(id, record));
        self.enrol(at);
        Ok((Verdict::INSERTED, id))
    }

    fn update(&mut self, at: usize, record: &'a Record<'a>) -> Result<(Verdict, Uuid), RecordError> {
        self.check_free(record, at)?;
        for field in IdentifierField::ALL {
            let patch = record.identity(*field);
            if *field == self.options.identifier || patch == Patch::Absent {
                continue;
            }
            let holders = &mut self.holders[slot(*field)];
            if let Some(before) = self.users[at].identity(*field) {
                holders.remove(before);
            }
            if let Patch::Value(value) = patch {
                holders.insert(Cow::Borrowed(value), at);
            }
        }
        let changed = self.users[at].apply(record, self.options);
        let enrolled = self.enrol(at);
        let verdict = match (changed, enrolled) {
            (true, _) => Verdict::UPDATED,
            (false, true) => Verdict::ENROLLED,
            (false, false) => Verdict::UNCHANGED,
        };
        Ok((verdict, self.users[at].id()))
    }

    /// Nobody but the user at `at` may hold a unique value of the record.
    fn check_free(&self, record: &Record<'_>, at: usize) -> Result<(), RecordError> {
        for field in IdentifierField::ALL {
            if let Patch::Value(value) = record.identity(*field)
                && let Some(holder) = self.holders[slot(*field)].get(value)
                && *holder != at
            {
                return Err(RecordError::new(
                    ErrorCode::IdentityConflict,
                    "the value belongs to another user",
                )
                .in_field(field.as_str())
                .held_by(self.users[*holder].id()));
            }
        }
        Ok(())
    }

    /// Enrols the user where the import says so. False if there is nothing to do.
    fn enrol(&mut self, at: usize) -> bool {
        self.options.enrolment.is_some() && self.users[at].enrol()
    }

    fn write_into(self, plan: &mut Plan<'a>) {
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
            if user.is_newly_enrolled() {
                plan.enrolments.push(user.id());
            }
            match user.base().map(|base| base.version) {
                None => plan.inserts.push(user.into_row()),
                Some(version) if user.is_changed() => plan.updates.push((user.into_row(), version)),
                Some(_) => {}
            }
        }
        let identifier = self.options.identifier;
        plan.inserts.sort_unstable_by(|a, b| a.identity(identifier).cmp(&b.identity(identifier)));
        plan.updates.sort_unstable_by_key(|(row, _)| row.id);
        plan.releases.sort_unstable_by_key(|(id, _)| *id);
        plan.enrolments.sort_unstable();
    }
}

fn slot(field: IdentifierField) -> usize {
    match field {
        IdentifierField::Email => 0,
        IdentifierField::PhoneNumber => 1,
        IdentifierField::PreferredUsername => 2,
    }
}

impl ExistingUser {
    fn identity(&self, field: IdentifierField) -> Option<&str> {
        match field {
            IdentifierField::Email => self.email.as_deref(),
            IdentifierField::PhoneNumber => self.phone_number.as_deref(),
            IdentifierField::PreferredUsername => self.preferred_username.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests;
