//! Every move from one state to another, as data: by which operation, when, and where the store makes it. The store takes the states of its
//! moves from here ([`Step`], `the_store_makes_its_moves_by_steps_of_the_tables`). ARCHITECTURE.md shows these tables
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
    to(
        &[Receiving],
        Refused,
        "receive",
        "everything is staged, records are invalid, and `on_invalid=refuse`",
        "shared/store/src/receipt.rs",
    ),
    to(&[Receiving], Refused, "refuse", "the file cannot be imported", "shared/store/src/receiving.rs"),
    to(&[Receiving], Aborted, "abort", "the upload did not come to its end", "shared/store/src/receiving.rs"),
    to(&[Planning], Planned, "complete", "no chunk is open", "shared/store/src/dispatch.rs"),
    to(&[Planned], Planning, "plan", "the import is planned again", "shared/store/src/lifecycle.rs"),
    to(&[Received], Running, "proceed", "", "shared/store/src/lifecycle.rs"),
    to(&[Planned], Running, "proceed", "its plan is applied", "shared/store/src/lifecycle.rs"),
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
    to(&[Completed], Running, "retry", "a chunk was opened again", "shared/store/src/lifecycle/retry.rs"),
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
        "stage_again",
        "its message or its dispatcher was lost",
        "shared/store/src/dispatch.rs",
    ),
    to(
        &[ChunkState::Dispatched],
        ChunkState::Staged,
        "dead_letter",
        "its message became a dead letter, and it has attempts left",
        "shared/store/src/dispatch/letters.rs",
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
        "shared/store/src/plans/keep.rs",
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
        "shared/store/src/apply/dead.rs",
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
        "shared/store/src/lifecycle/retry.rs",
    ),
    to(&[ChunkState::Cancelled], ChunkState::Staged, "resume", "", "shared/store/src/lifecycle.rs"),
];

/// A move that the table has, for the store to make: its SQL takes the states from here, so a row of the table changes what it does.
///
/// ```
/// use muster_domain::import::{ImportState, ImportStep};
///
/// const PAUSE: ImportStep = ImportStep::of("pause", ImportState::Running, ImportState::Paused);
/// assert_eq!((PAUSE.from(), PAUSE.to()), (vec!["running".to_owned()], "paused"));
/// ```
///
/// One that the table lacks does not compile:
///
/// ```compile_fail
/// use muster_domain::import::{ImportState, ImportStep};
///
/// const AGAIN: ImportStep = ImportStep::of("resume", ImportState::Refused, ImportState::Running);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Step<S: 'static> {
    from: &'static [S],
    to: S,
}

/// A step of an import.
pub type ImportStep = Step<ImportState>;
/// A step of a chunk.
pub type ChunkStep = Step<ChunkState>;

macro_rules! step {
    ($state:ident, $moves:ident) => {
        impl Step<$state> {
            /// The move of this operation that leads from this state to that one, with all states from which it leads there. For
            /// constants: where the table has no such move they do not compile.
            #[allow(clippy::panic, reason = "a constant cannot be without its move")]
            pub const fn of(by: &str, from: $state, to: $state) -> Self {
                let mut at = 0;
                while at < $moves.len() {
                    let one = &$moves[at];
                    if same(one.by, by) && one.to as u8 == to as u8 {
                        let mut place = 0;
                        while place < one.from.len() {
                            if one.from[place] as u8 == from as u8 {
                                return Self { from: one.from, to };
                            }
                            place += 1;
                        }
                    }
                    at += 1;
                }
                panic!("the table of moves has no such move");
            }

            /// The states that it leads from, as the store writes them.
            pub fn from(self) -> Vec<String> {
                self.from.iter().map(|state| state.as_str().to_owned()).collect()
            }

            /// The state that it leads to, as the store writes it.
            pub fn to(self) -> &'static str {
                self.to.as_str()
            }

            /// The state that it leads to.
            pub const fn target(self) -> $state {
                self.to
            }

            /// Whether it leads from this state.
            pub fn leaves(self, state: $state) -> bool {
                self.from.contains(&state)
            }
        }
    };
}

step!(ImportState, IMPORT_MOVES);
step!(ChunkState, CHUNK_MOVES);

/// Whether two texts are the same, for constants.
const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

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
    fn a_step_has_the_states_of_its_row() {
        const CANCEL: ImportStep = ImportStep::of("cancel", Running, Cancelled);
        assert_eq!(CANCEL.from(), ["received", "planning", "planned", "running", "paused"]);
        assert_eq!((CANCEL.to(), CANCEL.target()), ("cancelled", Cancelled));
        assert!(CANCEL.leaves(Paused) && !CANCEL.leaves(Completed));
        // Two rows of one operation lead to one state.
        const RESUME: ImportStep = ImportStep::of("resume", Cancelled, Running);
        assert_eq!(RESUME.from(), ["cancelled"]);
        const RETRY: ChunkStep = ChunkStep::of("retry", ChunkState::Dead, ChunkState::Staged);
        assert_eq!(RETRY.from(), ["applied", "dead"]);
        assert!(same("plan", "plan") && !same("plan", "planned") && !same("plan", "plum"));
    }

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
