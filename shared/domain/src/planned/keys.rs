//! The unique values that a chunk of a plan involves, as hashes. By them later chunks find the chunks that they depend on.
//!
//! A hash collision costs one extra lookup and has no other effect, since users are compared by their values.

use std::collections::HashMap;

use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::fault::{Mutant, mutant};
use crate::id::ImportId;
use crate::options::IdentifierField;
use crate::outcome::Outcome;
use crate::plan::{ExistingUser, Plan};
use crate::record::{Patch, Record};
use crate::undo::{Change, Found, LeftUser};

/// The key of a value in a field. Another import has others.
fn key(import: ImportId, field: IdentifierField, value: &str) -> i64 {
    let seed = xxh3_64_with_seed(import.get().as_bytes(), field as u64);
    i64::from_ne_bytes(xxh3_64_with_seed(value.as_bytes(), seed).to_ne_bytes())
}

fn of_record<'r>(record: &'r Record<'_>) -> impl Iterator<Item = (IdentifierField, &'r str)> {
    let own = IdentifierField::ALL.iter().filter_map(|field| match record.identity(*field) {
        Patch::Value(value) => Some((*field, value)),
        Patch::Absent | Patch::Null => None,
    });
    own.chain(record.new_email().map(|new| (IdentifierField::Email, new)))
}

fn sorted(keys: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut keys: Vec<i64> = keys.collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The keys of the values that records name, sorted.
pub fn asked(import: ImportId, records: &[&Record<'_>]) -> Vec<i64> {
    sorted(
        records.iter().flat_map(|record| of_record(record)).map(|(field, value)| key(import, field, value)),
    )
}

/// The keys of a person's values: e-mail address, phone number and username.
pub fn keys_of(import: ImportId, values: [Option<&str>; 3]) -> Vec<i64> {
    let values = IdentifierField::ALL.iter().zip(values);
    values.filter_map(|(field, value)| Some(key(import, *field, value?))).collect()
}

/// The key of a user of an undo, whose records name users by their ids.
fn user_key(import: ImportId, user: Uuid) -> i64 {
    let seed = xxh3_64_with_seed(import.get().as_bytes(), IdentifierField::ALL.len() as u64);
    i64::from_ne_bytes(xxh3_64_with_seed(user.as_bytes(), seed).to_ne_bytes())
}

/// The keys of these users in the plan of an undo.
pub fn keys_of_users(import: ImportId, users: impl Iterator<Item = Uuid>) -> Vec<i64> {
    users.map(|user| user_key(import, user)).collect()
}

/// The key of a unique value that is named by its field.
fn unique_key(import: ImportId, (field, value): (&str, &str)) -> Option<i64> {
    let field = IdentifierField::ALL.iter().find(|known| known.as_str() == field)?;
    Some(key(import, *field, value))
}

/// The keys that the changes of an undo look up, sorted: of their users, of those who are there with one of the values that they give back,
/// and of these values.
pub fn asked_by_undo(import: ImportId, changes: &[Change], found: impl Iterator<Item = Uuid>) -> Vec<i64> {
    let users = changes.iter().map(|change| change.user).chain(found);
    let values = changes.iter().flat_map(|change| {
        let value = move |field: &IdentifierField| {
            Some((field.as_str(), change.before.get(field.as_str())?.as_str()?))
        };
        IdentifierField::ALL.iter().filter_map(value)
    });
    let values = values.filter_map(|named| unique_key(import, named));
    sorted(users.map(|user| user_key(import, user)).chain(values))
}

/// The keys that are kept of a chunk of an undo: of its users, of the unique values that they did not have before, and of those that they
/// no longer have. Whoever has a value now is found by it, and by the user's own key then. Whoever gets a value from an earlier chunk and
/// gives it up in this one is found by the value alone: a later chunk that asks for it has to read both. Chunks whose users exchange
/// values are in one lane, so none is followed.
pub fn kept_of_undo(import: ImportId, found: &[Found], left: &[LeftUser]) -> KeptKeys {
    let before: HashMap<Uuid, &Found> = found.iter().map(|user| (user.id, user)).collect();
    let gained = left.iter().flat_map(|user| {
        let known = before.get(&user.id).copied();
        let had = move |field: &str, value: &str| known.is_some_and(|known| known.has_text(field, value));
        user.unique().filter(move |&(field, value)| !had(field, value))
    });
    let let_go = left.iter().flat_map(|user| {
        let known = before.get(&user.id).copied().filter(|_| !mutant(Mutant::UndoPlanForgetsLetGo));
        let has = move |field: &str, value: &str| user.unique().any(|unique| unique == (field, value));
        known.into_iter().flat_map(Found::unique).filter(move |&(field, value)| !has(field, value))
    });
    let values = gained.chain(let_go).filter_map(|named| unique_key(import, named));
    KeptKeys {
        all: sorted(left.iter().map(|user| user_key(import, user.id)).chain(values)),
        given_up: Vec::new(),
    }
}

impl LeftUser {
    /// Whether it or one of its unique values is asked for.
    pub fn is_asked(&self, import: ImportId, asked: &[i64]) -> bool {
        let is = |key: i64| asked.binary_search(&key).is_ok();
        is(user_key(import, self.id)) || self.unique().filter_map(|named| unique_key(import, named)).any(is)
    }
}

impl super::PlannedUser {
    /// Whether one of the user's values is asked for.
    pub fn has_one_of(&self, import: ImportId, asked: &[i64]) -> bool {
        let values = [
            (IdentifierField::Email, &self.email),
            (IdentifierField::PhoneNumber, &self.phone_number),
            (IdentifierField::PreferredUsername, &self.preferred_username),
        ];
        values.into_iter().any(|(field, value)| {
            value.as_deref().is_some_and(|value| asked.binary_search(&key(import, field, value)).is_ok())
        })
    }
}

/// What is kept of a chunk's values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptKeys {
    /// By these later chunks find this one; sorted.
    pub all: Vec<i64>,
    /// Those of them that no record names: values that users give up. Earlier chunks may have looked at them.
    pub given_up: Vec<i64>,
}

/// The keys that are kept of a chunk.
///
/// A record that leaves its user alone needs none: other records about that user have the same identifier, so
/// they are in the same lane, unless records of the import may rename (`renames`). Every other record may
/// come to something else if it meets one of its values in another state, so all of them are kept, those of
/// failed records too.
pub fn kept(
    import: ImportId,
    records: &[&Record<'_>],
    existing: &[ExistingUser],
    plan: &Plan<'_>,
    identifier: IdentifierField,
    renames: bool,
) -> KeptKeys {
    let matters = |outcome: Outcome| renames || outcome != Outcome::Skipped;
    let named = records
        .iter()
        .zip(&plan.verdicts)
        .filter(|(_, (verdict, _))| matters(verdict.outcome))
        .flat_map(|(record, _)| of_record(record))
        .map(|(field, value)| key(import, field, value));
    let before: HashMap<Uuid, &ExistingUser> = existing.iter().map(|user| (user.id, user)).collect();
    let mut given_up = Vec::new();
    // The identifier by which a user that changes is found next: it may have been found by another value.
    let mut found_by = Vec::new();
    for (row, _) in &plan.updates {
        let Some(user) = before.get(&row.id) else { continue };
        for field in IdentifierField::ALL {
            match (user.identity(*field), row.identity(*field)) {
                (Some(old), new) if new != Some(old) => given_up.push(key(import, *field, old)),
                (_, Some(new)) if *field == identifier => found_by.push(key(import, *field, new)),
                _ => {}
            }
        }
    }
    if mutant(Mutant::PlanForgetsGivenUp) {
        given_up.clear();
    }
    let given_up = sorted(given_up.into_iter());
    KeptKeys { all: sorted(named.chain(given_up.iter().copied()).chain(found_by)), given_up }
}
