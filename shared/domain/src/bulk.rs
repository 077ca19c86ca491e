//! Bulk actions: the action, and the filter for its imports.

use std::time::Duration;

use crate::error::ErrorCode;
use crate::fault::{Mutant, mutant};
use crate::import::ImportState;
use crate::quantity::parse_duration;

/// Most imports of one action.
pub const MOST: usize = 10_000;

/// Most bytes of a text in a filter.
const TEXT: usize = 255;

/// Longest age in a filter, in days: a hundred years.
const LONGEST_DAYS: u64 = 36_500;
/// The same as a length of time.
const LONGEST: Duration = Duration::from_secs(LONGEST_DAYS * 24 * 60 * 60);

/// The action on each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Stops dispatching.
    Pause,
    /// Goes on after a pause, or where a cancelled import stopped.
    Resume,
    /// Ends them before their time.
    Cancel,
    /// Drives what failed once more.
    Retry,
    /// The same, but only for the records of dead chunks.
    Redrive,
}

/// The text names no action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of: pause, resume, cancel, retry, redrive")]
pub struct UnknownAction;

impl Action {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Pause, Self::Resume, Self::Cancel, Self::Retry, Self::Redrive];

    /// Its name in the store, in addresses and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Redrive => "redrive",
        }
    }

    /// The states of imports that it can be done to.
    pub fn can_be_done_in(self) -> &'static [ImportState] {
        use ImportState as S;
        match self {
            Self::Pause => &[S::Running],
            Self::Resume => &[S::Paused, S::Cancelled],
            Self::Cancel if mutant(Mutant::BulkLeavesPlans) => &[S::Received, S::Running, S::Paused],
            Self::Cancel => &[S::Received, S::Planning, S::Planned, S::Running, S::Paused],
            Self::Retry | Self::Redrive => &[S::Running, S::Paused, S::Completed],
        }
    }

    /// The default states of the filter. For example, `resume` does not include imports that somebody ended.
    pub fn is_meant_for(self) -> &'static [ImportState] {
        match self {
            Self::Resume if !mutant(Mutant::BulkResumesCancelled) => &[ImportState::Paused],
            other => other.can_be_done_in(),
        }
    }

    /// Whether it is about records that failed.
    pub fn is_about_failures(self) -> bool {
        matches!(self, Self::Retry | Self::Redrive)
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        Self::ALL.iter().copied().find(|action| action.as_str() == text).ok_or(UnknownAction)
    }
}

/// Which imports are meant: all that are like this.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// In this state.
    pub state: Option<ImportState>,
    /// Opened longer ago than this.
    pub older_than: Option<Duration>,
    /// Opened less long ago than this.
    pub newer_than: Option<Duration>,
    /// With this in the name of their file, whatever its case.
    pub file: Option<String>,
    /// Received with this profile.
    pub profile: Option<String>,
    /// With records that failed with this error; a retry repeats only those.
    pub code: Option<ErrorCode>,
    /// With records that failed for this column or key; a retry repeats only those.
    pub field: Option<String>,
    /// With dead chunks.
    pub dead: bool,
}

/// A part of a filter that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WrongFilter {
    /// Its name.
    pub name: &'static str,
    /// What it must be.
    pub message: String,
}

impl Filter {
    /// Names of its parts.
    pub const NAMES: &'static [&'static str] =
        &["state", "older_than", "newer_than", "file", "profile", "code", "field", "dead"];

    /// Sets a part from its text. False for a name that is none of its parts.
    pub fn set(&mut self, name: &str, text: &str) -> Result<bool, WrongFilter> {
        let Some(name) = Self::NAMES.iter().copied().find(|known| *known == name) else { return Ok(false) };
        let wrong = |message: String| WrongFilter { name, message };
        let short = |text: &str| match text.len() {
            1..=TEXT => Ok(Some(text.to_owned())),
            _ => Err(wrong(format!("must be from 1 to {TEXT} bytes"))),
        };
        match name {
            "state" => {
                self.state = Some(
                    text.parse().map_err(|error: crate::import::UnknownState| wrong(error.to_string()))?,
                );
            }
            "older_than" => self.older_than = Some(age(text).map_err(wrong)?),
            "newer_than" => self.newer_than = Some(age(text).map_err(wrong)?),
            "file" => self.file = short(text)?,
            "profile" => self.profile = short(text)?,
            "code" => {
                let known = ErrorCode::ALL.iter().copied().find(|code| code.as_str() == text);
                self.code = Some(known.ok_or_else(|| wrong("must be an error code".into()))?);
            }
            "field" => self.field = short(text)?,
            _ => {
                let known = match text {
                    "true" => true,
                    "false" => false,
                    _ => return Err(wrong("must be true or false".into())),
                };
                self.dead = known;
            }
        }
        Ok(true)
    }

    /// Its parts that say something, as texts by name.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let seconds = |length: Duration| format!("{}s", length.as_secs().max(1));
        let pairs = [
            ("state", self.state.map(|state| state.to_string())),
            ("older_than", self.older_than.map(seconds)),
            ("newer_than", self.newer_than.map(seconds)),
            ("file", self.file.clone()),
            ("profile", self.profile.clone()),
            ("code", self.code.map(|code| code.as_str().to_owned())),
            ("field", self.field.clone()),
            ("dead", self.dead.then(|| "true".to_owned())),
        ];
        pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// A combination of action and filter that is never allowed.
    pub fn check(&self, action: Action) -> Result<(), WrongFilter> {
        let wrong = |name, message| Err(WrongFilter { name, message });
        if let Some(state) = self.state
            && !action.can_be_done_in().contains(&state)
        {
            let states: Vec<&str> = action.can_be_done_in().iter().map(|state| state.as_str()).collect();
            let states = states.join(", ");
            return wrong("state", format!("must be one of: {states}: {action} does nothing to others"));
        }
        if action == Action::Redrive && self.code.is_some_and(|code| code != ErrorCode::ChunkDead) {
            return wrong("code", "must be left out: redrive is about records of dead chunks alone".into());
        }
        Ok(())
    }
}

/// How long ago an import was opened: no longer than a database can reckon back.
fn age(text: &str) -> Result<Duration, String> {
    let length = parse_duration(text)?;
    if length > LONGEST && !mutant(Mutant::BulkAnyAge) {
        return Err(format!("must be at most {LONGEST_DAYS}d"));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_read_as_they_are_written() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(*action));
        }
        assert_eq!("delete".parse::<Action>(), Err(UnknownAction));
    }

    #[test]
    fn a_filter_reads_as_it_is_written() {
        let texts = [
            ("state", "completed"),
            ("older_than", "7200s"),
            ("newer_than", "86400s"),
            ("file", "HR"),
            ("profile", "monthly"),
            ("code", "email_invalid"),
            ("field", "email"),
            ("dead", "true"),
        ];
        let mut filter = Filter::default();
        for (name, text) in texts {
            assert_eq!(filter.set(name, text), Ok(true), "{name}");
        }
        assert_eq!(Filter::default().set("older_than", "36500d"), Ok(true));
        let pairs = filter.pairs();
        assert_eq!(pairs, texts.map(|(name, text)| (name, text.to_owned())));
        assert_eq!(filter.set("colour", "red"), Ok(false));
        assert!(Filter::default().pairs().is_empty());
    }

    #[test]
    fn what_cannot_be_read_says_what_it_must_be() {
        let long = "x".repeat(256);
        for (name, text) in [
            ("state", "done"),
            ("older_than", "soon"),
            ("older_than", "36501d"),
            ("newer_than", "9999999d"),
            ("file", ""),
            ("profile", ""),
            ("code", "nothing"),
            ("field", long.as_str()),
            ("dead", "yes"),
        ] {
            let wrong = Filter::default().set(name, text).unwrap_err();
            assert_eq!(wrong.name, name);
            assert!(wrong.message.starts_with("must be "), "{wrong}");
        }
    }

    #[test]
    fn a_state_in_which_nothing_can_be_done_is_refused() {
        let of = |state| Filter { state: Some(state), ..Filter::default() };
        assert!(of(ImportState::Completed).check(Action::Pause).is_err());
        assert_eq!(of(ImportState::Cancelled).check(Action::Resume), Ok(()));
        let dead = Filter { code: Some(ErrorCode::EmailInvalid), ..Filter::default() };
        assert!(dead.check(Action::Redrive).is_err());
        assert_eq!(dead.check(Action::Retry), Ok(()));
        // Who names no state does not bring back what somebody ended.
        assert_eq!(Action::Resume.is_meant_for(), [ImportState::Paused]);
    }
}
