//! The state of `muster top`, and the meaning of its keys. Pure: it sends no requests and draws nothing.

use chrono::{DateTime, Utc};
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_store::problems::Problems;

use crate::imports::ImportAction;
use crate::view::View;

/// Rates that are kept, one a look.
const KEPT: usize = 240;

/// What there is of queue and programs, as far as it can be known where it was asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Machines {
    /// Messages that wait.
    pub(crate) ready: Option<u64>,
    /// Messages that workers have.
    pub(crate) unacked: Option<u64>,
    /// Dead letters.
    pub(crate) dead: Option<u64>,
    /// Workers that live.
    pub(crate) workers: Option<u64>,
    /// Dispatchers that live.
    pub(crate) dispatchers: Option<u64>,
    /// `ready`, `degraded` or `unavailable`.
    pub(crate) readiness: Option<String>,
    /// Why it is not ready.
    pub(crate) reasons: Vec<String>,
}

/// What one look came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// When.
    pub(crate) at: DateTime<Utc>,
    /// Imports, each once.
    pub(crate) imports: Vec<View>,
    /// Queue and programs.
    pub(crate) machines: Machines,
    /// What failed in one of the imports.
    pub(crate) problems: Option<(ImportId, Problems)>,
}

/// A key that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// The import above.
    Up,
    /// The import below.
    Down,
    /// The first import.
    First,
    /// The last import.
    Last,
    /// Stop handing out its chunks.
    Pause,
    /// Go on with it, or start it.
    Resume,
    /// Drive what failed once more.
    Retry,
    /// Leave.
    Quit,
    /// The size of the terminal changed.
    Redraw,
}

/// The action of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Nothing but drawing.
    Nothing,
    /// The end.
    Quit,
    /// This, to an import.
    Do(ImportId, ImportAction),
}

/// Everything that is on the screen.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Top {
    /// Where the imports are, in words.
    pub(crate) place: String,
    /// Those that have not ended, then others; the newest of each first.
    pub(crate) imports: Vec<View>,
    /// Which of them is meant by a key.
    pub(crate) chosen: Option<ImportId>,
    /// What failed in the chosen one, once that is known.
    pub(crate) problems: Option<(ImportId, Problems)>,
    /// Queue and programs.
    pub(crate) machines: Machines,
    /// Records a second of all imports, one a look, the newest last.
    pub(crate) rates: Vec<u64>,
    /// What a key came to.
    pub(crate) told: Option<String>,
    /// Why the last query failed; the screen then shows older data.
    pub(crate) silent: Option<String>,
    /// When something was seen last.
    pub(crate) seen_at: Option<DateTime<Utc>>,
}

impl Top {
    /// Nothing is known yet.
    pub(crate) fn new(place: String) -> Self {
        Self { place, ..Self::default() }
    }

    /// Takes what was seen. The selected import stays selected when its position changes.
    pub(crate) fn take(&mut self, seen: Seen) {
        let Seen { at, mut imports, machines, problems } = seen;
        imports.sort_by_key(|view| (view.state.is_final(), std::cmp::Reverse(view.id)));
        imports.dedup_by_key(|view| view.id);
        let place = self.at();
        self.imports = imports;
        if self.at().is_none() {
            let next = place.unwrap_or(0).min(self.imports.len().saturating_sub(1));
            self.chosen = self.imports.get(next).map(|view| view.id);
        }
        self.machines = machines;
        self.problems = problems.filter(|(import, _)| Some(*import) == self.chosen);
        self.rates.push(rate(&self.imports));
        let surplus = self.rates.len().saturating_sub(KEPT);
        self.rates.drain(..surplus);
        self.silent = None;
        self.seen_at = Some(at);
    }

    /// Nothing was seen.
    pub(crate) fn miss(&mut self, why: String) {
        self.silent = Some(why);
    }

    /// The position of the selected import.
    pub(crate) fn at(&self) -> Option<usize> {
        self.imports.iter().position(|view| Some(view.id) == self.chosen)
    }

    /// The chosen import.
    pub(crate) fn import(&self) -> Option<&View> {
        self.imports.get(self.at()?)
    }

    /// What a key means.
    pub(crate) fn press(&mut self, key: Key) -> Want {
        let action = match key {
            Key::Quit => return Want::Quit,
            Key::Redraw => return Want::Nothing,
            Key::Up => return self.choose(self.at().map_or(0, |at| at.saturating_sub(1))),
            Key::Down => return self.choose(self.at().map_or(0, |at| at + 1)),
            Key::First => return self.choose(0),
            Key::Last => return self.choose(usize::MAX),
            Key::Pause => ImportAction::Pause,
            Key::Resume => ImportAction::Resume,
            Key::Retry => ImportAction::Retry,
        };
        let Some(view) = self.import() else {
            self.told = Some("there is no import".into());
            return Want::Nothing;
        };
        match fitting(action, view) {
            Ok(action) => {
                let id = view.id;
                self.told = Some(format!("{} of {id} …", action.word()));
                Want::Do(id, action)
            }
            Err(why) => {
                self.told = Some(why);
                Want::Nothing
            }
        }
    }

    fn choose(&mut self, at: usize) -> Want {
        let at = at.min(self.imports.len().saturating_sub(1));
        let chosen = self.imports.get(at).map(|view| view.id);
        if chosen != self.chosen {
            self.chosen = chosen;
            self.problems = None;
        }
        self.told = None;
        Want::Nothing
    }

    /// Takes the result of an action.
    pub(crate) fn done(&mut self, action: ImportAction, came: Result<View, String>) {
        match came {
            Ok(view) => {
                self.told = Some(format!("{} of {}: it is {} now", action.word(), view.id, view.state));
                if let Some(known) = self.imports.iter_mut().find(|known| known.id == view.id) {
                    *known = view;
                }
            }
            Err(why) => self.told = Some(why),
        }
    }
}

/// What fits the state of an import, or why nothing does.
fn fitting(action: ImportAction, view: &View) -> Result<ImportAction, String> {
    use ImportState as S;
    match (action, view.state) {
        (ImportAction::Pause, S::Running) => Ok(ImportAction::Pause),
        (ImportAction::Resume, S::Paused | S::Cancelled) => Ok(ImportAction::Resume),
        // What waits for its start goes on by that.
        (ImportAction::Resume, S::Received | S::Planned) => Ok(ImportAction::Proceed(None)),
        (ImportAction::Retry, S::Running | S::Paused | S::Completed)
            if view.counts.failed == 0 && view.chunks.dead == 0 =>
        {
            Err("nothing of it failed".into())
        }
        (ImportAction::Retry, S::Running | S::Paused | S::Completed) => Ok(ImportAction::Retry),
        (action, state) => Err(format!("it is {state}: it cannot {} now", action.word())),
    }
}

/// Records a second of all imports together.
fn rate(imports: &[View]) -> u64 {
    let rates = imports.iter().filter_map(|view| view.progress.as_ref()?.rate);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is not negative, and a float that is too large becomes the largest number"
    )]
    let rate = rates.sum::<f64>().round() as u64;
    rate
}

#[cfg(test)]
pub(crate) mod tests {
    use muster_domain::options::ImportOptions;
    use muster_domain::outcome::Counts;
    use muster_domain::progress::{Progress, Window};
    use muster_producer::api::{ImportLinks, ImportView};
    use muster_store::reports::ChunkCounts;
    use uuid::Uuid;

    use super::*;

    pub(crate) fn view(number: u128, state: ImportState) -> View {
        let at = DateTime::from_timestamp(1_750_000_000, 0).unwrap();
        let import = ImportView {
            id: ImportId::new(Uuid::from_u128(number)),
            state,
            filename: Some(format!("people-{number}.csv")),
            encoding: None,
            delimiter: None,
            options: ImportOptions::default(),
            problem: None,
            mends: None,
            counts: Counts { total: 100, pending: 60, inserted: 37, failed: 3, ..Counts::default() },
            chunks: ChunkCounts::default(),
            error: None,
            progress: None,
            created_at: at,
            received_at: Some(at),
            started_at: Some(at),
            completed_at: None,
            links: ImportLinks::default(),
        };
        View { import, family: None }
    }

    pub(crate) fn progress() -> Progress {
        Progress {
            no_progress_since: None,
            stalled: false,
            rate: Some(1_250.4),
            ends_at: DateTime::from_timestamp(1_750_000_600, 0),
            problem: None,
            waits_for: None,
            ahead: 0,
            window: Window { import: 2, tenant: 3, used: 8, size: 16 },
        }
    }

    pub(crate) fn seen(imports: Vec<View>) -> Seen {
        Seen {
            at: DateTime::from_timestamp(1_750_000_100, 0).unwrap(),
            imports,
            machines: Machines::default(),
            problems: None,
        }
    }

    fn ids(top: &Top) -> Vec<u128> {
        top.imports.iter().map(|view| view.id.get().as_u128()).collect()
    }

    #[test]
    fn what_has_not_ended_stands_first_and_each_import_once() {
        let mut top = Top::new("here".into());
        let running = view(3, ImportState::Running).with(Some(progress()));
        top.take(seen(vec![
            view(9, ImportState::Completed),
            running.clone(),
            view(5, ImportState::Paused),
            running,
        ]));
        assert_eq!(ids(&top), [5, 3, 9]);
        assert_eq!(top.rates, [1_250]);
    }

    #[test]
    fn the_chosen_import_stays_chosen_and_when_it_goes_the_one_in_its_place_is() {
        let mut top = Top::new("here".into());
        assert_eq!(top.press(Key::Down), Want::Nothing);
        let running = |number| view(number, ImportState::Running);
        top.take(seen(vec![running(1), running(2), running(3)]));
        assert_eq!(top.import().unwrap().id.get().as_u128(), 3);
        top.press(Key::Down);
        assert_eq!(top.import().unwrap().id.get().as_u128(), 2);
        // A newer import arrives, and the position of the selected one changes.
        top.take(seen(vec![running(1), running(2), running(3), running(4)]));
        assert_eq!((top.at(), top.import().unwrap().id.get().as_u128()), (Some(2), 2));
        top.take(seen(vec![running(1), running(3), running(4)]));
        assert_eq!(top.import().unwrap().id.get().as_u128(), 1);
        top.press(Key::First);
        top.press(Key::Up);
        assert_eq!(top.at(), Some(0));
        top.press(Key::Last);
        top.press(Key::Down);
        assert_eq!(top.at(), Some(2));
        top.take(seen(Vec::new()));
        assert_eq!(top.import(), None);
    }

    #[test]
    fn a_key_does_what_fits_the_state_and_else_says_why_not() {
        use ImportState as S;
        let press = |state, key, failed| {
            let mut top = Top::new("here".into());
            let counts = Counts { total: 10, failed, inserted: 10 - failed, ..Counts::default() };
            let mut import = view(1, state);
            import.import.counts = counts;
            top.take(seen(vec![import]));
            let want = top.press(key);
            let action = if let Want::Do(_, action) = want { Some(action) } else { None };
            (action, top.told.unwrap())
        };
        assert_eq!(press(S::Running, Key::Pause, 0).0, Some(ImportAction::Pause));
        assert_eq!(press(S::Paused, Key::Resume, 0).0, Some(ImportAction::Resume));
        assert_eq!(press(S::Cancelled, Key::Resume, 0).0, Some(ImportAction::Resume));
        assert_eq!(press(S::Received, Key::Resume, 0).0, Some(ImportAction::Proceed(None)));
        assert_eq!(press(S::Completed, Key::Retry, 3).0, Some(ImportAction::Retry));
        assert_eq!(press(S::Completed, Key::Retry, 0), (None, "nothing of it failed".into()));
        assert_eq!(press(S::Completed, Key::Pause, 0), (None, "it is completed: it cannot pause now".into()));
        let mut empty = Top::new("here".into());
        assert_eq!(
            (empty.press(Key::Retry), empty.told.as_deref()),
            (Want::Nothing, Some("there is no import"))
        );
        assert_eq!(empty.press(Key::Quit), Want::Quit);
    }

    #[test]
    fn the_result_of_an_action_is_shown_at_once() {
        let mut top = Top::new("here".into());
        top.take(seen(vec![view(1, ImportState::Running)]));
        top.done(ImportAction::Pause, Ok(view(1, ImportState::Paused)));
        assert_eq!(top.import().unwrap().state, ImportState::Paused);
        assert!(top.told.as_deref().unwrap().ends_with("it is paused now"));
        top.done(ImportAction::Retry, Err("the server refused".into()));
        assert_eq!(top.told.as_deref(), Some("the server refused"));
    }

    #[test]
    fn a_look_that_fails_leaves_what_was_seen_and_says_so() {
        let mut top = Top::new("here".into());
        top.take(seen(vec![view(1, ImportState::Running)]));
        top.miss("the server does not answer".into());
        assert_eq!((top.imports.len(), top.silent.is_some()), (1, true));
        top.take(seen(vec![view(1, ImportState::Running)]));
        assert_eq!(top.silent, None);
        for _ in 0..2 * KEPT {
            top.take(seen(Vec::new()));
        }
        assert_eq!(top.rates.len(), KEPT, "what is kept is bounded");
    }
}
