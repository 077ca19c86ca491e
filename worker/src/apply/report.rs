//! How a chunk is applied, and what that gave.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_domain::error::ErrorCode;
use muster_domain::fault::{self, Mutant};
use muster_domain::outcome::{Counts, Outcome, OutcomeSheet};
use muster_domain::receive::Issue;
use muster_store::StoreError;
use muster_store::apply::LockedChunk;

/// How carefully to apply: as fast as can be first, then the way that the failure before calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Care {
    /// Nobody else writes users of the tenant meanwhile: for chunks that kept colliding.
    pub(crate) alone: bool,
    /// Split around records that the database refuses, until each stands alone (P5).
    pub(crate) split: bool,
    /// Nothing else is applied by this worker meanwhile: another worker may have died over the chunk.
    pub(crate) secluded: bool,
}

/// What applying gave.
#[derive(Debug)]
pub(crate) enum Report {
    /// Applied.
    Done(Box<Told>),
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
    /// Another worker began it and did not tell how that ended: it is to be applied in seclusion.
    Suspect,
    /// So many workers died over it as may.
    Spent,
    /// Written by a newer program, as far as this one can tell.
    Newer(String),
    /// The staged records cannot be read.
    Broken(String),
    /// The database answers, and refuses everything.
    Sick(StoreError),
}

/// What became of a chunk's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// All of them.
    pub(crate) counts: Counts,
    /// Those whose outcome was decided by this commit and is not told yet: a record that a retry drove once more and that
    /// failed again was counted when it failed first.
    pub(crate) fresh: Counts,
    /// Those of them that failed, by their first error.
    pub(crate) codes: Vec<(ErrorCode, u64)>,
    /// How long the try took that was committed.
    pub(crate) took: Duration,
}

/// What to tell of a chunk whose commit went through.
pub(super) fn told(locked: &LockedChunk, sheet: &OutcomeSheet, issues: &[Issue], took: Duration) -> Told {
    let counts = sheet.counts();
    let mut codes: BTreeMap<ErrorCode, u64> = BTreeMap::new();
    if !locked.reopened || fault::mutant(Mutant::CodesCountedAgain) {
        for first in issues.iter().filter(|issue| issue.failed).filter_map(|issue| issue.errors.first()) {
            *codes.entry(first.code).or_default() += 1;
        }
    }
    let codes = codes.into_iter().collect();
    if fault::mutant(Mutant::CountsWholeChunks) {
        return Told { counts, fresh: counts, codes, took };
    }
    let mut fresh = Counts::default();
    for ((before, _), (after, _)) in locked.outcomes.iter().zip(sheet.iter()) {
        let again = locked.reopened && after.outcome == Outcome::Failed;
        if before.outcome == Outcome::Pending && !again {
            fresh.add(after.outcome);
        }
    }
    Told { counts, fresh, codes, took }
}
