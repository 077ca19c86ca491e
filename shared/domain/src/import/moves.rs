//! Every move from one state to another, as data: by which operation, when, and where the store makes it. ARCHITECTURE.md shows these tables
//! (`the_states_of_the_documents_are_the_tables`), and the store is held against them state by state on a real database
//! (`every_operation_moves_an_import_as_the_table_says`, `every_operation_moves_a_chunk_as_the_table_says`).

use super::{ChunkState, ImportState};

/// One move.
#[derive(Debug, Clone, Copy)]
pub struct Move<S: 'static> {
    /// From these states; none: it begins.
    pub from: &'static [S],
    /// To this one.
    pub to: S,
    /// The operation that does it.
    pub by: &'static str,
    /// When, beside what the operation itself says.
    pub when: &'static str,
    /// The module of the store that makes it.
    pub place: &'static str,
}

const fn to<S>(
    from: &'static [S],
    to: S,
    by: &'static str,
    when: &'static str,
    place: &'static str,
) -> Move<S> {
    Move { from, to, by, when, place }
}

use ImportState::{
    Aborted, Cancelled, Completed, Paused, Planned, Planning, Received, Receiving, Refused, Running,
};

/// The moves of imports.
pub const IMPORT_MOVES: &[Move<ImportState>] = &[
    to(&[], Receiving, "open", "an upload begins", "shared/store/src/receiving.rs"),
    to(&[], Running, "undo", "an undo is opened: its records are there already", "shared/store/src/undo.rs"),
    to(&[], Received, "undo", "the same, and it is shown before it begins", "shared/store/src/undo.rs"),
    to(&[], Planning, "undo", "the same, and it is planned first", "shared/store/src/undo.rs"),
    to(&[Receiving], Running, "receive", "everything is staged", "shared/store/src/receipt.rs"),
    to(
        &[Receiving],
        Received,
        "receive",
        "everything is staged, and `start=manual`",
        "shared/store/src/receipt.rs",
    ),
    to(
        &[Receiving],
        Planning,
        "receive",
        "everything is staged, and `start=plan`",
        "shared/store/src/receipt.rs",
    ),
    to(&[Receiving], Refused, "refuse", "the file cannot be imported", "shared/store/src/receiving.rs"),
    to(&[Receiving], Aborted, "abort", "the upload did not come to its end", "shared/store/src/receiving.rs"),
    to(&[Planning], Planned, "complete", "no chunk is open", "shared/store/src/dispatch.rs"),
    to(&[Planned], Planning, "plan", "the import is planned again", "shared/store/src/lifecycle.rs"),
    to(&[Received, Planned], Running, "proceed", "", "shared/store/src/lifecycle.rs"),
    to(&[Running], Paused, "pause", "", "shared/store/src/lifecycle.rs"),
    to(&[Paused], Running, "resume", "", "shared/store/src/lifecycle.rs"),
    to(
        &[Cancelled],
        Running,
        "resume",
        "what was cancelled is staged again",
        "shared/store/src/lifecycle.rs",
    ),
    to(
        &[Cancelled],
        Planning,
        "resume",
        "it was cancelled before its plan was applied",
        "shared/store/src/lifecycle.rs",
    ),
    to(
        &[Received, Planning, Planned, Running, Paused],
        Cancelled,
        "cancel",
        "",
        "shared/store/src/lifecycle.rs",
    ),
    to(&[Running, Paused], Completed, "complete", "no chunk is open", "shared/store/src/dispatch.rs"),
    to(&[Completed], Running, "retry", "a chunk was opened again", "shared/store/src/lifecycle.rs"),
];

/// The moves of chunks.
pub const CHUNK_MOVES: &[Move<ChunkState>] = &[
    to(&[], ChunkState::Staged, "stage", "", "shared/store/src/receiving.rs"),
    to(
        &[],
        ChunkState::Applied,
        "stage",
        "all its records failed validation",
        "shared/store/src/receiving.rs",
    ),
    to(
        &[ChunkState::Staged],
        ChunkState::Applied,
        "receive",
        "all its records turned out to be duplicates",
        "shared/store/src/duplicates.rs",
    ),
    to(
        &[ChunkState::Staged, ChunkState::Retryable],
        ChunkState::Dispatched,
        "claim",
        "the dispatcher sends it; after a failure, when it is due",
        "shared/store/src/dispatch.rs",
    ),
    to(
        &[ChunkState::Dispatched],
        ChunkState::Staged,
        "unclaim",
        "the queue did not take its message",
        "shared/store/src/dispatch.rs",
    ),
    to(
        &[ChunkState::Dispatched],
        ChunkState::Staged,
        "take_back",
        "its message or its dispatcher was lost",
        "shared/store/src/dispatch.rs",
    ),
    to(
        &[ChunkState::Dispatched],
        ChunkState::Staged,
        "dead_letter",
        "its message became a dead letter, and it has attempts left",
        "shared/store/src/dispatch.rs",
    ),
    to(
        &[ChunkState::Dispatched],
        ChunkState::Retryable,
        "defer",
        "an attempt failed, or it waits for something",
        "shared/store/src/apply.rs",
    ),
    to(
        &[ChunkState::Dispatched],
        ChunkState::Planned,
        "foresee",
        "a worker planned it",
        "shared/store/src/plans.rs",
    ),
    to(
        &[ChunkState::Dispatched],
        ChunkState::Applied,
        "apply",
        "a worker committed it",
        "shared/store/src/apply.rs",
    ),
    to(
        &[ChunkState::Staged, ChunkState::Dispatched, ChunkState::Retryable],
        ChunkState::Dead,
        "end_dead",
        "its attempts are spent, or its records cannot be read",
        "shared/store/src/apply.rs",
    ),
    to(&[ChunkState::Planned], ChunkState::Staged, "proceed", "", "shared/store/src/plans.rs"),
    to(
        &[ChunkState::Planned],
        ChunkState::Staged,
        "plan",
        "the import is planned again",
        "shared/store/src/plans.rs",
    ),
    to(
        &[ChunkState::Staged, ChunkState::Dispatched, ChunkState::Retryable, ChunkState::Planned],
        ChunkState::Cancelled,
        "cancel",
        "",
        "shared/store/src/lifecycle.rs",
    ),
    to(
        &[ChunkState::Staged],
        ChunkState::Cancelled,
        "receive",
        "the import is refused for its invalid records",
        "shared/store/src/receipt.rs",
    ),
    to(
        &[ChunkState::Applied, ChunkState::Dead],
        ChunkState::Staged,
        "retry",
        "it has failed records",
        "shared/store/src/lifecycle.rs",
    ),
    to(&[ChunkState::Cancelled], ChunkState::Staged, "resume", "", "shared/store/src/lifecycle.rs"),
];

impl ImportState {
    /// The states to which this operation moves an import that is in this one; none where it leaves it alone.
    pub fn moved_by(self, operation: &str) -> Vec<Self> {
        targets(IMPORT_MOVES, self, operation)
    }
}

impl ChunkState {
    /// The states to which this operation moves a chunk that is in this one; none where it leaves it alone.
    pub fn moved_by(self, operation: &str) -> Vec<Self> {
        targets(CHUNK_MOVES, self, operation)
    }
}

fn targets<S: Copy + PartialEq>(moves: &[Move<S>], from: S, operation: &str) -> Vec<S> {
    let fits = |one: &&Move<S>| one.by == operation && one.from.contains(&from);
    moves.iter().filter(fits).map(|one| one.to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_can_be_reached_and_only_ends_lead_nowhere() {
        for state in ImportState::ALL {
            assert!(IMPORT_MOVES.iter().any(|one| one.to == *state), "{state}");
            let leads_on = IMPORT_MOVES.iter().any(|one| one.from.contains(state));
            assert_eq!(leads_on, !matches!(state, Aborted | Refused), "{state}");
        }
        for state in ChunkState::ALL {
            assert!(CHUNK_MOVES.iter().any(|one| one.to == *state), "{state}");
            assert!(CHUNK_MOVES.iter().any(|one| one.from.contains(state)), "{state}");
        }
        assert_eq!(Planned.moved_by("cancel"), [Cancelled]);
        assert!(Completed.moved_by("cancel").is_empty());
    }
}
