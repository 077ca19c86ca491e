//! The progress of an import: rate, expected end, what it waits for, and whether it is stalled. Pure: the
//! store reads the [`Facts`], and [`Progress::of`] interprets them.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::fault::{Mutant, mutant};
use crate::import::ImportState;

/// How far back the rate looks, in seconds. The store's query has the same number.
pub const LATELY: f64 = 60.0;
/// Where nothing has come to an end for so long, in seconds, what came before foretells nothing.
const QUIET: i64 = 10;
/// A rate over less than this says nothing, in seconds.
const SHORTEST: f64 = 1.0;

/// What the store knows of an import at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The moment, by the database's clock.
    pub now: DateTime<Utc>,
    /// State.
    pub state: ImportState,
    /// Since when it is in this state; `None` where that was not noted.
    pub state_since: Option<DateTime<Utc>>,
    /// When it began to run.
    pub started_at: Option<DateTime<Utc>>,
    /// Nothing is done for its tenant.
    pub tenant_disabled: bool,
    /// Records without an outcome.
    pub pending: u64,
    /// Chunks that have not ended.
    pub open: u64,
    /// Of those, chunks that hold a place in the window.
    pub places: u64,
    /// The same of all imports of the tenant.
    pub tenant_places: u64,
    /// Of the chunks that are with the workers, when the first was sent.
    pub sent_since: Option<DateTime<Utc>>,
    /// When a chunk last came to its end.
    pub last_ended: Option<DateTime<Utc>>,
    /// Records of the chunks that were applied in the last [`LATELY`] seconds, since the import came into its state. Chunks that a
    /// retry opened again are not among them: most of their records had their outcome before.
    pub lately: u64,
    /// Running imports of the tenant that are older.
    pub ahead: u64,
    /// What chunks that have not ended met last.
    pub problem: Option<Problem>,
}

/// The surroundings of all imports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surroundings {
    /// Places in the window.
    pub window: u64,
    /// Of those, taken by whatever import.
    pub used: u64,
    /// Workers that live.
    pub workers: u64,
    /// Dispatchers that live.
    pub dispatchers: u64,
}

/// A problem of chunks that have not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The last one, in words. Without any user's value.
    pub message: String,
    /// When it was last met.
    pub at: Option<DateTime<Utc>>,
    /// Since when chunks are in trouble.
    pub since: Option<DateTime<Utc>>,
    /// How many chunks are.
    pub chunks: u64,
    /// Most attempts that one of them has spent.
    pub attempts: u64,
    /// When the first of them is tried again; `None` where that needs something else first.
    pub next_try_at: Option<DateTime<Utc>>,
}

/// Places in the window of chunks that are with the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Held by the import.
    pub import: u64,
    /// Held by all imports of its tenant.
    pub tenant: u64,
    /// Held by anybody.
    pub used: u64,
    /// There are so many.
    pub size: u64,
}

/// What an import waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// The rest of its upload.
    Upload,
    /// `proceed`.
    Proceed,
    /// `resume`.
    Resume,
    /// The tenant to be enabled.
    Tenant,
    /// A producer: none runs, and only producers send chunks to the workers.
    Producer,
    /// A worker: none runs.
    Worker,
    /// The next try of chunks that met a problem.
    Retry,
    /// Its chunks to be sent: places are free, no chunk is with the workers, and none met a problem.
    Dispatch,
    /// A place in the window.
    Window,
    /// Its turn among the imports of its tenant, while all places are taken.
    Turn,
}

impl WaitsFor {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Upload,
        Self::Proceed,
        Self::Resume,
        Self::Tenant,
        Self::Producer,
        Self::Worker,
        Self::Retry,
        Self::Dispatch,
        Self::Window,
        Self::Turn,
    ];
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upload => "the rest of its upload",
            Self::Proceed => "`proceed`",
            Self::Resume => "`resume`",
            Self::Tenant => "its tenant, which is disabled",
            Self::Producer => "a producer: none is running",
            Self::Worker => "a worker: none is running",
            Self::Retry => "the next try of its chunks",
            Self::Dispatch => "its chunks to be sent to the workers",
            Self::Window => "a place in the window: all are in use",
            Self::Turn => "its turn among the imports of its tenant",
        })
    }
}

/// The progress of an import that has not ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Since when there is no progress: when a chunk last came to its end, or when the import came into its state.
    pub no_progress_since: Option<DateTime<Utc>>,
    /// It runs, there is no progress for longer than `dispatch.stall_after`, and it does not merely wait for its turn.
    pub stalled: bool,
    /// Records a second over the last minute; `None` where none were applied, or nothing has come to an end for some seconds.
    pub rate: Option<f64>,
    /// When it comes to its end at that rate; `None` while chunks are in trouble.
    pub ends_at: Option<DateTime<Utc>>,
    /// What chunks that have not ended met last.
    pub problem: Option<Problem>,
    /// What it waits for; `None` while the workers have some of it.
    pub waits_for: Option<WaitsFor>,
    /// Running imports of the tenant that are older, and go first where places are few.
    pub ahead: u64,
    /// Places in the window.
    pub window: Window,
}

impl Progress {
    /// What the facts mean. `None` for an import that has ended.
    pub fn of(facts: &Facts, around: &Surroundings, stall_after: Duration) -> Option<Self> {
        if facts.state.is_final() {
            return None;
        }
        let since = [facts.state_since.or(facts.started_at), facts.last_ended].into_iter().flatten().max();
        let waits_for = waits_for(facts, around);
        // Where nobody applies anything, what was applied a moment ago foretells nothing.
        let nobody = matches!(waits_for, Some(WaitsFor::Worker | WaitsFor::Producer | WaitsFor::Tenant));
        let quiet = |since| facts.now.signed_duration_since(since) >= TimeDelta::seconds(QUIET);
        let quiet = since.is_some_and(quiet) && !mutant(Mutant::ForeseenInSilence);
        let rate = rate(facts).filter(|_| !nobody && !quiet);
        let stall_after = TimeDelta::from_std(stall_after).unwrap_or(TimeDelta::MAX);
        let silent = since.is_some_and(|since| facts.now.signed_duration_since(since) >= stall_after);
        Some(Self {
            no_progress_since: since,
            stalled: silent && is_fault(facts, waits_for) && !mutant(Mutant::StallsInSilence),
            rate,
            // Nor is the end foretold while chunks are in trouble: nobody knows when that is over.
            ends_at: rate.filter(|_| facts.problem.is_none()).and_then(|rate| ends_at(facts, rate)),
            problem: facts.problem.clone(),
            waits_for,
            ahead: facts.ahead,
            window: Window {
                import: facts.places,
                tenant: facts.tenant_places,
                used: around.used,
                size: around.window,
            },
        })
    }

    /// Why it is stalled, in one sentence without any user's value.
    pub fn reason(&self) -> String {
        match (&self.problem, self.waits_for) {
            (_, Some(waits @ (WaitsFor::Producer | WaitsFor::Worker))) => format!("it waits for {waits}"),
            (Some(problem), _) => problem.message.clone(),
            (None, Some(waits)) => format!("it waits for {waits}"),
            (None, None) => "its chunks are with the workers, and none comes to an end".into(),
        }
    }
}

/// Whether its chunks are dispatched.
fn runs(facts: &Facts) -> bool {
    matches!(facts.state, ImportState::Planning | ImportState::Running)
}

/// Whether no progress is somebody's fault, and not the turn of others.
fn is_fault(facts: &Facts, waits_for: Option<WaitsFor>) -> bool {
    // Where nothing is open, the only thing that is left to do is a dispatcher's: to complete it.
    let left = facts.open > 0 || waits_for == Some(WaitsFor::Producer);
    let others = matches!(waits_for, Some(WaitsFor::Tenant | WaitsFor::Window | WaitsFor::Turn));
    runs(facts) && left && !others
}

fn waits_for(facts: &Facts, around: &Surroundings) -> Option<WaitsFor> {
    match facts.state {
        ImportState::Receiving => return Some(WaitsFor::Upload),
        ImportState::Received | ImportState::Planned => return Some(WaitsFor::Proceed),
        ImportState::Paused => return Some(WaitsFor::Resume),
        ImportState::Running | ImportState::Planning => {}
        ImportState::Completed | ImportState::Aborted | ImportState::Refused | ImportState::Cancelled => {
            return None;
        }
    }
    if facts.open == 0 {
        let nobody = around.dispatchers == 0 && !mutant(Mutant::EndsInSilence);
        return nobody.then_some(WaitsFor::Producer);
    }
    let with_workers = facts.sent_since.is_some();
    let full = around.used >= around.window;
    if facts.tenant_disabled {
        Some(WaitsFor::Tenant)
    } else if around.dispatchers == 0 && !with_workers {
        Some(WaitsFor::Producer)
    } else if around.workers == 0 && (with_workers || full) {
        Some(WaitsFor::Worker)
    } else if with_workers {
        None
    } else if facts.problem.is_some() {
        Some(WaitsFor::Retry)
    } else if mutant(Mutant::TurnWhilePlacesAreFree) {
        let turn = (facts.ahead > 0).then_some(WaitsFor::Turn);
        if full { Some(WaitsFor::Window) } else { turn }
    } else if !full {
        Some(WaitsFor::Dispatch)
    } else if facts.ahead > 0 {
        Some(WaitsFor::Turn)
    } else {
        Some(WaitsFor::Window)
    }
}

/// Records a second. An import that runs for less than a minute is looked at from its start on.
#[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
fn rate(facts: &Facts) -> Option<f64> {
    let began = facts.state_since.max(facts.started_at)?;
    let seconds = facts.now.signed_duration_since(began).as_seconds_f64().clamp(SHORTEST, LATELY);
    (runs(facts) && facts.lately > 0).then(|| facts.lately as f64 / seconds)
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "an estimate for people")]
fn ends_at(facts: &Facts, rate: f64) -> Option<DateTime<Utc>> {
    let seconds = (facts.pending as f64 / rate).ceil();
    facts.now.checked_add_signed(TimeDelta::try_seconds(seconds as i64)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(60);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    /// An import that runs for ten minutes, with two chunks at the workers.
    fn running() -> Facts {
        Facts {
            now: at(600),
            state: ImportState::Running,
            state_since: Some(at(0)),
            started_at: Some(at(0)),
            tenant_disabled: false,
            pending: 6_000,
            open: 3,
            places: 2,
            tenant_places: 2,
            sent_since: Some(at(590)),
            last_ended: Some(at(595)),
            lately: 6_000,
            ahead: 0,
            problem: None,
        }
    }

    fn problem() -> Option<Problem> {
        let message = "the database refuses every record".to_owned();
        let (since, at, next) = (Some(at(100)), Some(at(590)), Some(at(610)));
        Some(Problem { message, at, since, chunks: 3, attempts: 0, next_try_at: next })
    }

    const AROUND: Surroundings = Surroundings { window: 16, used: 2, workers: 1, dispatchers: 1 };

    fn progress(facts: &Facts, around: Surroundings) -> Progress {
        Progress::of(facts, &around, STALL).unwrap()
    }

    #[test]
    fn rate_and_end_are_those_of_the_last_minute_or_since_the_start() {
        let progress = progress(&running(), AROUND);
        assert_eq!((progress.rate, progress.ends_at), (Some(100.0), Some(at(660))));
        assert_eq!((progress.stalled, progress.waits_for), (false, None));
        let young = Facts { now: at(10), sent_since: Some(at(9)), last_ended: Some(at(9)), ..running() };
        assert_eq!(self::progress(&young, AROUND).rate, Some(600.0));
        let alone = self::progress(&running(), Surroundings { workers: 0, ..AROUND });
        assert_eq!((alone.rate, alone.ends_at), (None, None), "nobody applies what is to come");
        let quiet = Facts { last_ended: Some(at(590)), ..running() };
        assert_eq!(
            (self::progress(&quiet, AROUND).rate, self::progress(&quiet, AROUND).ends_at),
            (None, None)
        );
        let troubled = Facts { problem: problem(), ..running() };
        assert_eq!(self::progress(&troubled, AROUND).ends_at, None, "nobody knows when the trouble is over");
        let nothing = Facts { lately: 0, ..running() };
        assert_eq!(
            (self::progress(&nothing, AROUND).rate, self::progress(&nothing, AROUND).ends_at),
            (None, None)
        );
    }

    #[test]
    fn an_import_stands_still_where_nothing_ends_for_long_and_it_is_not_the_turn_of_others() {
        let silent = Facts { last_ended: Some(at(500)), lately: 0, sent_since: None, places: 0, ..running() };
        let full = Surroundings { used: 16, ..AROUND };
        for (facts, around, stalled, waits) in [
            (Facts { problem: problem(), ..silent.clone() }, AROUND, true, Some(WaitsFor::Retry)),
            (silent.clone(), Surroundings { dispatchers: 0, ..AROUND }, true, Some(WaitsFor::Producer)),
            (silent.clone(), Surroundings { workers: 0, ..full }, true, Some(WaitsFor::Worker)),
            (Facts { sent_since: Some(at(510)), ..silent.clone() }, AROUND, true, None),
            (silent.clone(), AROUND, true, Some(WaitsFor::Dispatch)),
            (Facts { ahead: 2, ..silent.clone() }, AROUND, true, Some(WaitsFor::Dispatch)),
            (silent.clone(), full, false, Some(WaitsFor::Window)),
            (Facts { ahead: 2, ..silent.clone() }, full, false, Some(WaitsFor::Turn)),
            (Facts { tenant_disabled: true, ..silent.clone() }, AROUND, false, Some(WaitsFor::Tenant)),
            (Facts { state: ImportState::Paused, ..silent.clone() }, AROUND, false, Some(WaitsFor::Resume)),
            (
                Facts { state: ImportState::Received, ..silent.clone() },
                AROUND,
                false,
                Some(WaitsFor::Proceed),
            ),
            (Facts { open: 0, ..silent.clone() }, AROUND, false, None),
            (
                Facts { open: 0, ..silent.clone() },
                Surroundings { dispatchers: 0, ..AROUND },
                true,
                Some(WaitsFor::Producer),
            ),
            // It was resumed just now.
            (
                Facts { state_since: Some(at(590)), problem: problem(), ..silent },
                AROUND,
                false,
                Some(WaitsFor::Retry),
            ),
        ] {
            let progress = progress(&facts, around);
            assert_eq!((progress.stalled, progress.waits_for), (stalled, waits), "{facts:?}");
        }
        let ended = Facts { state: ImportState::Cancelled, ..running() };
        assert_eq!(Progress::of(&ended, &AROUND, STALL), None);
    }

    #[test]
    fn the_reason_is_what_has_to_be_mended_first() {
        let silent = Facts { sent_since: None, problem: problem(), ..running() };
        assert_eq!(progress(&silent, AROUND).reason(), "the database refuses every record");
        let nobody = Surroundings { dispatchers: 0, ..AROUND };
        assert_eq!(progress(&silent, nobody).reason(), "it waits for a producer: none is running");
        let held = Facts { problem: None, ..running() };
        assert!(progress(&held, AROUND).reason().contains("none comes to an end"));
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        let progress = progress(&Facts { problem: problem(), ..running() }, AROUND);
        let json = serde_json::to_value(&progress).unwrap();
        assert_eq!(json["window"], serde_json::json!({"import": 2, "tenant": 2, "used": 2, "size": 16}));
        assert_eq!(serde_json::from_value::<Progress>(json).unwrap(), progress);
    }
}
