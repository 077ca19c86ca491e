//! What became of a change that was to be taken back.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::error::RecordError;
use crate::outcome::{Outcome, Verdict};

/// A field that was left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The field.
    pub path: String,
    /// Why.
    pub why: Why,
}

/// Why a field was left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Somebody changed it, or it does not fit what somebody changed.
    Changed,
    /// This user has the value that it would get.
    Held(Uuid),
    /// The catalog no longer has what it would name.
    Lost,
}

impl Kept {
    pub(super) fn new(path: &str, why: Why) -> Self {
        Self { path: path.to_owned(), why }
    }

    /// Who has the value that it would get, where that is why.
    pub fn holder(&self) -> Option<Uuid> {
        if let Why::Held(holder) = self.why { Some(holder) } else { None }
    }
}

/// What became of one change.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeResult {
    /// Its outcome.
    pub verdict: Verdict,
    /// Fields that were left as they are although the import changed them.
    pub kept: Vec<Kept>,
    /// Where it is not simply as before the change again, sorted: fields that it does not give back, and flags that it removes besides.
    pub exceptions: Vec<String>,
    /// It only writes numbers as they were written before (`1` for `1.0`); no value changes. Earlier programs did not write them, and
    /// their plans say `unchanged`.
    pub is_rewritten: bool,
    /// Why it failed.
    pub error: Option<RecordError>,
}

impl ChangeResult {
    /// Whether something was left as it is because somebody changed it.
    pub fn is_kept(&self) -> bool {
        self.verdict == Verdict::CHANGED_SINCE || self.kept.iter().any(|kept| kept.why == Why::Changed)
    }

    /// Whether it writes something.
    pub fn is_written(&self) -> bool {
        matches!(self.verdict.outcome, Outcome::Inserted | Outcome::Updated)
    }

    pub(super) fn of(verdict: Verdict) -> Self {
        Self { verdict, kept: Vec::new(), exceptions: Vec::new(), is_rewritten: false, error: None }
    }

    /// Of a change of which these fields are as before again; of `rewritten`, the numbers stay the same.
    pub(super) fn restored(
        restored: &BTreeSet<&str>,
        kept: Vec<Kept>,
        wanted: &BTreeSet<&str>,
        rewritten: &[&str],
    ) -> Self {
        let verdict = match (restored.is_empty(), kept.is_empty()) {
            (false, _) => Verdict::UPDATED,
            (true, false) => Verdict::CHANGED_SINCE,
            (true, true) => Verdict::UNCHANGED,
        };
        let exceptions = wanted.symmetric_difference(restored).map(|path| (*path).to_owned()).collect();
        let is_rewritten = !restored.is_empty() && restored.iter().all(|path| rewritten.contains(path));
        Self { kept, exceptions, is_rewritten, ..Self::of(verdict) }
    }
}
