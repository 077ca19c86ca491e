//! The expected result of an import, as simple as possible: one record after the other, over a list of users
//! that are maps from field to value. Written from the contracts (A.3.3, B.3, C.1.5) and the design's section
//! 4, not from the planner.
//!
//! It shares with the engine the options, the names of fields and the error codes; what values mean stands beside them
//! in the samples ([`hostile`](super::hostile)), written by hand.

mod change;
mod metadata;
mod read;
mod seen;

use std::collections::{BTreeMap, BTreeSet};

use muster_domain::error::{ErrorCode, RecordError};
use muster_domain::field::Field;
use muster_domain::options::{ImportOptions, OnExisting};
use muster_domain::outcome::Verdict;
use serde_json::Value;
use uuid::Uuid;

pub use read::READABLE;
pub use seen::seen;

/// A user: every field that it has, by the field's name. Names of the catalog are folded, moments are in UTC.
pub type Fields = BTreeMap<String, Value>;

/// A user.
#[derive(Debug, Clone, PartialEq)]
pub struct Plain {
    /// Id.
    pub id: Uuid,
    /// How many records changed or made it.
    pub version: i32,
    /// What it has.
    pub fields: Fields,
    /// Organizations and groups that it is in.
    pub enrolled: BTreeSet<(i32, i32)>,
}

/// One thing that a value says of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// Null.
    Null,
    /// A value, in its normal form.
    Is(Value),
    /// Exactly these names of the catalog.
    Whole(Vec<&'static str>),
    /// These are added or taken away, in this order.
    Delta(Vec<(&'static str, bool)>),
    /// A name that the catalog does not know was left out.
    LeftOut,
}

/// What a value means, if null and empty texts are left aside.
#[derive(Debug, Clone, PartialEq)]
pub enum Means {
    /// It breaks rules: the code of each, and the path of the part at fault under the field's name.
    Wrong(Vec<(ErrorCode, &'static str)>),
    /// It says this.
    Facts(Vec<(Field, Fact)>),
}

/// A name of a record with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The name in the upload.
    pub name: String,
    /// The JSON source of the value. In a table, a text is the cell.
    pub json: String,
    /// What it means.
    pub means: Means,
}

/// A record of an upload.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// Names and values.
    Said(Vec<Said>),
    /// Text that is no record, and the code of what is wrong with it.
    Broken(&'static str, ErrorCode),
}

/// What must become of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedOutcome {
    /// Its outcome.
    pub verdict: Verdict,
    /// The user concerned.
    pub user: Option<Uuid>,
    /// Everything that is wrong with the record itself: code and field, in order.
    pub invalid: Vec<(ErrorCode, Option<String>)>,
    /// Why it cannot be applied; one of these is told: code, field, and the user in the way.
    pub refused: Vec<(ErrorCode, String, Option<Uuid>)>,
    /// What it said in vain, sorted.
    pub warnings: Vec<String>,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Its outcome.
    pub verdict: Verdict,
    /// The user concerned.
    pub user: Option<Uuid>,
    /// Its errors.
    pub errors: Vec<RecordError>,
    /// Its warnings, sorted.
    pub warnings: Vec<String>,
}

impl ExpectedOutcome {
    fn failed(invalid: Vec<(ErrorCode, Option<String>)>) -> Self {
        Self { verdict: Verdict::FAILED, user: None, invalid, refused: Vec::new(), warnings: Vec::new() }
    }

    fn of(verdict: Verdict, user: Uuid, warnings: Vec<String>) -> Self {
        Self { verdict, user: Some(user), invalid: Vec::new(), refused: Vec::new(), warnings }
    }

    /// Whether this is what became of the record.
    pub fn is(&self, observed: &Observed) -> bool {
        if self.verdict != observed.verdict || self.user != observed.user {
            return false;
        }
        if self.verdict != Verdict::FAILED {
            // Whether an account is valid now, the clock says, which the model does not have.
            let without_clock = |warning: &String| warning.replace("outside_valid_period", "normal");
            let warnings: Vec<String> = observed.warnings.iter().map(without_clock).collect();
            return observed.errors.is_empty() && self.warnings == warnings;
        }
        if !self.invalid.is_empty() {
            let told = observed.errors.iter().map(|error| (error.code, error.field.clone()));
            return told.eq(self.invalid.iter().cloned());
        }
        let [error] = &observed.errors[..] else { return false };
        self.refused.iter().any(|(code, field, holder)| {
            error.code == *code && error.field.as_ref() == Some(field) && error.user_id == *holder
        })
    }
}

/// The users of a tenant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Oracle {
    /// In the order in which they were made.
    pub users: Vec<Plain>,
}

impl Oracle {
    /// Works through one record. Should it make a user, that one gets the id.
    pub fn apply(&mut self, line: &Line, options: &ImportOptions, id: Uuid) -> ExpectedOutcome {
        let record = match read::read(line, options) {
            Ok(record) => record,
            Err(invalid) => return ExpectedOutcome::failed(invalid),
        };
        let key = options.identifier.as_str();
        let holder = |value: &Value| self.users.iter().position(|user| user.fields.get(key) == Some(value));
        // One that was renamed as the record asks is found under its new name.
        let found = holder(&record.identifier).or_else(|| match (key, record.value(Field::NewEmail)) {
            ("email", Some(renamed)) => holder(renamed),
            _ => None,
        });
        match (found, options.on_existing) {
            (None, _) => self.insert(&record, options, id),
            (Some(at), OnExisting::Skip) => {
                ExpectedOutcome::of(Verdict::EXISTS, self.users[at].id, Vec::new())
            }
            (Some(at), OnExisting::Enrol) => {
                let user = &mut self.users[at];
                let before = user.fields.clone();
                // Nothing that is there changes.
                if user.fields.get("addresses").is_none_or(|addresses| addresses.get("email").is_none()) {
                    change::default_address(&mut user.fields, options);
                }
                let addressed = user.fields != before;
                user.version += i32::from(addressed);
                let verdict = match (enrol(user, options), addressed) {
                    (true, _) => Verdict::ENROLLED,
                    (false, true) => Verdict::UPDATED,
                    (false, false) => Verdict::EXISTS,
                };
                ExpectedOutcome::of(verdict, user.id, Vec::new())
            }
            (Some(at), OnExisting::Update) => self.update(at, &record, options),
        }
    }

    fn insert(&mut self, record: &read::Record, options: &ImportOptions, id: Uuid) -> ExpectedOutcome {
        let (fields, warnings) = change::of_new(record, options);
        let refused = self.in_the_way(&fields, None, record);
        if !refused.is_empty() {
            return ExpectedOutcome { refused, ..ExpectedOutcome::failed(Vec::new()) };
        }
        let mut user = Plain { id, version: 1, fields, enrolled: BTreeSet::new() };
        enrol(&mut user, options);
        self.users.push(user);
        ExpectedOutcome::of(Verdict::INSERTED, id, warnings)
    }

    fn update(&mut self, at: usize, record: &read::Record, options: &ImportOptions) -> ExpectedOutcome {
        let (fields, warnings) = change::of_existing(&self.users[at].fields, record, options);
        let refused = self.in_the_way(&fields, Some(at), record);
        if !refused.is_empty() {
            return ExpectedOutcome { refused, ..ExpectedOutcome::failed(Vec::new()) };
        }
        let user = &mut self.users[at];
        let changed = user.fields != fields;
        user.fields = fields;
        user.version += i32::from(changed);
        let verdict = match (changed, enrol(user, options)) {
            (true, _) => Verdict::UPDATED,
            (false, true) => Verdict::ENROLLED,
            (false, false) => Verdict::UNCHANGED,
        };
        ExpectedOutcome::of(verdict, user.id, warnings)
    }

    /// Why a user may not become this: another has one of the unique values, or the validity would end before it begins.
    fn in_the_way(
        &self,
        fields: &Fields,
        at: Option<usize>,
        record: &read::Record,
    ) -> Vec<(ErrorCode, String, Option<Uuid>)> {
        let mut refused = Vec::new();
        for key in ["email", "phone_number", "preferred_username"] {
            let Some(value) = fields.get(key) else { continue };
            let others = self.users.iter().enumerate().filter(|(other, _)| Some(*other) != at);
            for (_, other) in others.filter(|(_, other)| other.fields.get(key) == Some(value)) {
                let renames = key == "email" && record.value(Field::NewEmail) == Some(value);
                let name = if renames { "new_email" } else { key };
                refused.push((ErrorCode::IdentityConflict, name.to_owned(), Some(other.id)));
            }
        }
        if let (Some(from), Some(until)) =
            (fields.get("account_valid_from"), fields.get("account_valid_until"))
            && read::moment(from) >= read::moment(until)
        {
            for field in [Field::AccountValidFrom, Field::AccountValidUntil] {
                if record.says(field) {
                    refused.push((ErrorCode::ValidityInvalid, field.as_str().to_owned(), None));
                }
            }
        }
        refused
    }
}

/// True if the user was not in the import's organization and group before.
fn enrol(user: &mut Plain, options: &ImportOptions) -> bool {
    options
        .enrolment
        .is_some_and(|enrolment| user.enrolled.insert((enrolment.organization_id, enrolment.group_id)))
}
