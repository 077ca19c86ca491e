//! The sums of a plan by field, kind and cause. They are small and contain no value of a user.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::PlannedRecord;
use crate::error::RecordError;
use crate::outcome::{Outcome, Reason};

/// How many fields, kinds and causes are distinguished; further ones are counted under [`OTHER`].
const MOST: usize = 200;
/// Most fields that a kind names.
const NAMED: usize = 8;
/// What is not told apart.
pub const OTHER: &str = "(other)";
/// Members of a user of which each element has a path of its own: they are counted as one field.
const SETS: [&str; 5] = ["roles", "groups", "teams", "memberships", "addresses"];

/// In how many records a field changes, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FieldSum {
    /// It was empty and gets a value.
    #[serde(skip_serializing_if = "is_zero")]
    pub set: u64,
    /// It gets another value.
    #[serde(skip_serializing_if = "is_zero")]
    pub changed: u64,
    /// It loses its value.
    #[serde(skip_serializing_if = "is_zero")]
    pub removed: u64,
}

/// The sums of some planned records. They can be added up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sums {
    /// Records that would be skipped, and those that would only enrol their user, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<String, u64>,
    /// Records that would fail, by their first error.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub codes: BTreeMap<String, u64>,
    /// Updates by field.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, FieldSum>,
    /// Updates by what changes together: `given_name changed, phone_number removed`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<String, u64>,
    /// Updates that change the domain of an e-mail address.
    #[serde(skip_serializing_if = "is_zero")]
    pub email_domains: u64,
    /// Updates that take a role away.
    #[serde(skip_serializing_if = "is_zero")]
    pub roles_removed: u64,
    /// Updates that disable a user.
    #[serde(skip_serializing_if = "is_zero")]
    pub disabled: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What happens to a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Set,
    Changed,
    Removed,
}

impl How {
    fn as_str(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

impl Sums {
    /// Of these records.
    pub fn of(records: &[PlannedRecord]) -> Self {
        let mut sums = Self::default();
        for record in records {
            sums.add_record(record);
        }
        sums
    }

    fn add_record(&mut self, record: &PlannedRecord) {
        if let Some(reason) = record.reason {
            *self.reasons.entry(reason.as_str().to_owned()).or_default() += 1;
        }
        if let Some(RecordError { code, .. }) = record.errors.first() {
            add(&mut self.codes, code.as_str(), 1);
        }
        if record.outcome != Outcome::Updated {
            return;
        }
        if record.reason == Some(Reason::Deleted) {
            add(&mut self.kinds, "user deleted", 1);
            return;
        }
        let (before, after) = (&record.before, &record.after);
        let changes = changes(before, after);
        for (field, how) in &changes {
            let sum = at(&mut self.fields, field);
            match how {
                How::Set => sum.set += 1,
                How::Changed => sum.changed += 1,
                How::Removed => sum.removed += 1,
            }
        }
        add(&mut self.kinds, &kind(&changes), 1);
        self.email_domains += u64::from(moves_domain(before.get("email"), after.get("email")));
        self.roles_removed += u64::from(before.keys().any(|path| path.starts_with("roles.")));
        self.disabled += u64::from(after.contains_key("disabled_at"));
    }

    /// Adds other sums.
    pub fn add(&mut self, other: &Self) {
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
        for (code, count) in &other.codes {
            add(&mut self.codes, code, *count);
        }
        for (field, sum) in &other.fields {
            let all = at(&mut self.fields, field);
            all.set += sum.set;
            all.changed += sum.changed;
            all.removed += sum.removed;
        }
        for (kind, count) in &other.kinds {
            add(&mut self.kinds, kind, *count);
        }
        self.email_domains += other.email_domains;
        self.roles_removed += other.roles_removed;
        self.disabled += other.disabled;
    }
}

/// The field that a path is summed as.
pub fn field_of(path: &str) -> &str {
    match path.split_once('.') {
        Some((member, _)) if SETS.contains(&member) => member,
        _ => path,
    }
}

/// What happens to each field.
fn changes<'m>(before: &'m Map<String, Value>, after: &'m Map<String, Value>) -> BTreeMap<&'m str, How> {
    let mut changes: BTreeMap<&str, How> = BTreeMap::new();
    for path in before.keys() {
        changes.insert(field_of(path), How::Removed);
    }
    for path in after.keys() {
        changes
            .entry(field_of(path))
            .and_modify(|how| *how = if *how == How::Set { How::Set } else { How::Changed })
            .or_insert(How::Set);
    }
    changes
}

/// What changes together, in words.
fn kind(changes: &BTreeMap<&str, How>) -> String {
    let named = changes.iter().take(NAMED).map(|(field, how)| format!("{field} {}", how.as_str()));
    let named = named.collect::<Vec<_>>().join(", ");
    match changes.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn moves_domain(before: Option<&Value>, after: Option<&Value>) -> bool {
    let domain = |value: Option<&Value>| {
        value.and_then(Value::as_str).and_then(|email| Some(email.rsplit_once('@')?.1.to_owned()))
    };
    match (domain(before), domain(after)) {
        (Some(before), Some(after)) => before != after,
        _ => false,
    }
}

fn add(sums: &mut BTreeMap<String, u64>, name: &str, count: u64) {
    *at(sums, name) += count;
}

/// The sum under a name, or the one of all others where there are enough.
fn at<'m, T: Default>(sums: &'m mut BTreeMap<String, T>, name: &str) -> &'m mut T {
    let name = if sums.len() < MOST || sums.contains_key(name) { name } else { OTHER };
    sums.entry(name.to_owned()).or_default()
}
