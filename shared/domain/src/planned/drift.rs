//! Compares what a record is about to do with its plan.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::PlannedRecord;
use crate::error::{ErrorCode, RecordError};
use crate::fault::{Mutant, mutant};
use crate::outcome::{Outcome, Verdict};
use crate::plan::Effect;
use crate::undo::{ChangeResult, same};

/// How the warning of a record begins that was applied although its plan no longer held.
pub const APPLIED_ALTHOUGH: &str = "applied although";
/// Most fields that are named.
const NAMED: usize = 20;
/// A moment at which something happens: that it is there was planned, not which moment it is.
const MOMENTS: [&str; 1] = ["disabled_at"];

/// How a record differs from its plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The fields in which it differs, sorted. Empty where only the outcome does.
    pub fields: Vec<String>,
    /// What was planned.
    pub planned: Verdict,
    /// What it comes to now.
    pub now: Verdict,
}

/// How what a record is about to do differs from what was planned. `None` where it does not, and for a record
/// that fails: its own errors are reported.
pub fn drift(planned: &PlannedRecord, now: Verdict, user: Option<Uuid>, effect: &Effect) -> Option<Drift> {
    if now.outcome == Outcome::Failed || mutant(Mutant::DriftUnseen) {
        return None;
    }
    let mut fields = BTreeSet::new();
    differing(&planned.before, &effect.before, &mut fields);
    differing(&planned.after, &effect.after, &mut fields);
    let other_user = planned.user.is_some() && planned.user != user;
    let other_values = planned.inserts != effect.inserts;
    if planned.verdict() == now && fields.is_empty() && !other_user && !other_values {
        return None;
    }
    Some(Drift { fields: fields.into_iter().map(str::to_owned).collect(), planned: planned.verdict(), now })
}

/// The same for a change that an undo takes back. `None` also for one of which nothing is taken back: its own reason is told.
pub fn drift_of_undo(planned: &PlannedRecord, now: &ChangeResult) -> Option<Drift> {
    if !now.is_written() || mutant(Mutant::UndoPlanUnbound) {
        return None;
    }
    let found: BTreeSet<&String> = now.exceptions.iter().collect();
    let foreseen = planned.exceptions.as_ref().map_or_else(|| found.clone(), |paths| paths.iter().collect());
    let fields: Vec<String> = foreseen.symmetric_difference(&found).map(|path| (*path).clone()).collect();
    // What an earlier program planned (`ChangeResult::is_rewritten`).
    let is_earlier_plan = now.is_rewritten && planned.verdict() == Verdict::UNCHANGED;
    let is_same = (planned.verdict() == now.verdict || is_earlier_plan) && fields.is_empty();
    (!is_same).then(|| Drift { fields, planned: planned.verdict(), now: now.verdict })
}

fn differing<'m>(
    planned: &'m Map<String, Value>,
    now: &'m Map<String, Value>,
    fields: &mut BTreeSet<&'m str>,
) {
    for path in planned.keys().chain(now.keys()) {
        let is_same = match (planned.get(path), now.get(path)) {
            (Some(_), Some(_)) if MOMENTS.contains(&path.as_str()) => true,
            (planned, now) if mutant(Mutant::DriftComparesDigits) => planned == now,
            (planned, now) => same(planned, now),
        };
        if !is_same {
            fields.insert(path);
        }
    }
}

impl Drift {
    /// For a record whose plan no longer exists, and for a record about a user that no record of the import
    /// created although its plan says so. `None` for one that fails.
    pub fn without_plan(now: Verdict) -> Option<Self> {
        (now.outcome != Outcome::Failed).then_some(Self { fields: Vec::new(), planned: now, now })
    }

    /// That of a record that means the same user as many others that are not applied.
    pub fn behind_another() -> Self {
        Self { fields: Vec::new(), planned: Verdict::PENDING, now: Verdict::PENDING }
    }

    /// That of a change that an undo does not take back, since a later change of the same user, or of one that has the value that it gives
    /// back, is not taken back either.
    pub fn behind_a_later_change() -> Self {
        Self { fields: Vec::new(), planned: Verdict::PENDING, now: Verdict::FAILED }
    }

    /// The error of a record that is not applied because of it.
    pub fn error(&self) -> RecordError {
        RecordError::new(ErrorCode::ChangedSincePlan, format!("{}; it is not applied", self.words()))
    }

    /// The warning of a record that is applied all the same.
    pub fn warning(&self) -> String {
        format!("{APPLIED_ALTHOUGH} {}", self.words())
    }

    fn words(&self) -> String {
        let verdict = |verdict: Verdict| match verdict.reason {
            Some(reason) => format!("{} ({})", word(verdict.outcome), reason.as_str()),
            None => word(verdict.outcome).to_owned(),
        };
        let is_behind = self.planned.outcome == Outcome::Pending;
        let mut words = if is_behind && self.now == Verdict::FAILED {
            "a later change has to be taken back first, and that is no longer what the plan says".to_owned()
        } else if is_behind {
            "records before it for the same user are no longer what the plan says".to_owned()
        } else if self.planned == self.now {
            "what it changes is no longer what the plan says".to_owned()
        } else {
            format!("the plan says `{}` and it would be `{}` now", verdict(self.planned), verdict(self.now))
        };
        if !self.fields.is_empty() {
            let named: Vec<&str> = self.fields.iter().take(NAMED).map(String::as_str).collect();
            words.push_str(": ");
            words.push_str(&named.join(", "));
            let more = self.fields.len().saturating_sub(NAMED);
            if more > 0 {
                words.push_str(&format!(" and {more} more"));
            }
        }
        words
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pending => "pending",
        Outcome::Inserted => "inserted",
        Outcome::Updated => "updated",
        Outcome::Skipped => "skipped",
        Outcome::Failed => "failed",
    }
}
