//! How a chunk is applied, and what that gave.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_domain::error::ErrorCode;
use muster_domain::fault::{self, Mutant};
use muster_domain::outcome::{Counts, Outcome, OutcomeSheet};
use muster_domain::receive::Issue;
use muster_store::StoreError;
use muster_store::apply::LockedChunk;

/// How to apply a chunk: first in the fastest way, then as the last failure requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ApplyMode {
    /// Holds the tenant's lock exclusively, so nobody else writes its users: for chunks with repeated collisions.
    pub(crate) exclusive: bool,
    /// Bisect the chunk until each record that the database refuses is isolated (P5).
    pub(crate) bisect: bool,
    /// This worker applies nothing else meanwhile, since another worker may have died while applying the chunk.
    pub(crate) isolated: bool,
}

/// What applying gave.
#[derive(Debug)]
pub(crate) enum Report {
    /// Applied.
    Done(Box<AppliedSummary>),
    /// Planned: what its records would come to.
    Planned(Counts),
    /// It comes after a chunk of another lane that is not applied yet.
    Waits,
    /// The chunk is not (or no longer) to be applied.
    NothingToDo,
    /// No such chunk.
    Unknown,
    /// The message names another import or tenant than the chunk has.
    Foreign,
    /// Another worker began it and did not report the end: it must be applied in isolation.
    NeedsIsolation,
    /// The allowed number of workers died while applying it.
    Spent,
    /// Written by a newer program, as far as this one can tell.
    Newer(String),
    /// The staged records cannot be read.
    Broken(String),
    /// The database answers, and refuses everything.
    StoreRefuses(StoreError),
}

/// The outcomes of a chunk's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AppliedSummary {
    /// All of them.
    pub(crate) counts: Counts,
    /// Those whose outcome is new with this commit. A retried record that failed again was already counted when it failed first.
    pub(crate) fresh: Counts,
    /// Those of them that failed, by their first error.
    pub(crate) codes: Vec<(ErrorCode, u64)>,
    /// How long the committed try took.
    pub(crate) took: Duration,
}

/// What to tell of a chunk whose commit went through.
pub(super) fn summary(
    locked: &LockedChunk,
    sheet: &OutcomeSheet,
    issues: &[Issue],
    took: Duration,
) -> AppliedSummary {
    let counts = sheet.counts();
    let mut codes: BTreeMap<ErrorCode, u64> = BTreeMap::new();
    if !locked.reopened || fault::mutant(Mutant::CodesCountedAgain) {
        for first in issues.iter().filter(|issue| issue.failed).filter_map(|issue| issue.errors.first()) {
            *codes.entry(first.code).or_default() += 1;
        }
    }
    let codes = codes.into_iter().collect();
    if fault::mutant(Mutant::CountsWholeChunks) {
        return AppliedSummary { counts, fresh: counts, codes, took };
    }
    let mut fresh = Counts::default();
    for ((before, _), (after, _)) in locked.outcomes.iter().zip(sheet.iter()) {
        let again = locked.reopened && after.outcome == Outcome::Failed;
        if before.outcome == Outcome::Pending && !again {
            fresh.add(after.outcome);
        }
    }
    AppliedSummary { counts, fresh, codes, took }
}
