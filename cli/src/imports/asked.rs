//! What is asked of imports: what to do to one, and which of its records are meant.

use clap::{Args, ValueEnum};
use muster_domain::error::ErrorCode;
use muster_domain::import::ImportState;
use muster_domain::outcome::Outcome;
use muster_domain::planned::OnDrift;
use muster_store::problems::Cause;
use muster_store::undo::Refusal;

use crate::invocation::Invocation;
use crate::values::one_of;
use crate::view::View;

/// What can be done to an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ImportAction {
    /// Start it; of one that was planned, this happens to records whose plan no longer holds.
    Proceed(Option<OnDrift>),
    Pause,
    Resume,
    Cancel,
    Retry,
    /// Make its plan anew.
    Replan,
}

impl ImportAction {
    /// The word on the command line and in the API.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Proceed(_) => "proceed",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Replan => "plan",
        }
    }

    /// What to say where it changed nothing: the import did not wait for it.
    pub(crate) fn told_idle(self, before: &View, after: &View, invocation: &Invocation) -> Option<String> {
        let (id, state) = (after.id, after.state);
        match self {
            Self::Proceed(_) if !matches!(before.state, ImportState::Received | ImportState::Planned) => {
                Some(format!(
                    "nothing was to be done: import {id} is {state} and does not wait to be started; `{}` and `{}` show those that do",
                    invocation.command("list", "--state planned"),
                    invocation.command("list", "--state received")
                ))
            }
            Self::Retry
                if before.state == state && before.completed_at == after.completed_at && state.is_final() =>
            {
                Some(match after.counts.failed {
                    0 => {
                        format!("nothing was to be done: import {id} is {state}, and no record of it failed")
                    }
                    _ => format!(
                        "nothing was to be done: import {id} is {state}, and none of its failed records is tried again; `{}` shows why they failed",
                        invocation.command("problems", id)
                    ),
                })
            }
            _ => None,
        }
    }

    /// Whether the import runs afterwards.
    pub(crate) fn sets_going(self) -> bool {
        matches!(self, Self::Proceed(_) | Self::Resume | Self::Retry | Self::Replan)
    }
}

/// Outcomes that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Outcomes {
    Pending,
    Inserted,
    Updated,
    Skipped,
    Failed,
}

impl Outcomes {
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Pending => Outcome::Pending,
            Self::Inserted => Outcome::Inserted,
            Self::Updated => Outcome::Updated,
            Self::Skipped => Outcome::Skipped,
            Self::Failed => Outcome::Failed,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Inserted => "inserted",
            Self::Updated => "updated",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// The failures that are meant, as they are named on the command line.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CauseArgs {
    /// Only those that failed with this error (`muster imports problems` shows them)
    #[arg(long, value_name = "CODE", value_parser = one_of::<ErrorCode>(ErrorCode::ALL.iter().map(|code| code.as_str())), hide_possible_values = true)]
    code: Option<ErrorCode>,
    /// Only those that failed for this column or key
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
}

impl CauseArgs {
    pub(crate) fn cause(&self) -> Cause<'_> {
        Cause { code: self.code.map(ErrorCode::as_str), field: self.field.as_deref() }
    }

    /// As the API names them.
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        let code = self.code.map(|code| ("code", code.as_str().to_owned()));
        code.into_iter().chain(self.field.clone().map(|field| ("field", field))).collect()
    }
}

/// Why an import is not undone, resumed or retried.
pub(super) fn why(refusal: Refusal) -> String {
    match refusal {
        Refusal::State(state) => {
            format!("what is to be undone is {state}; wait for its end, or cancel it first")
        }
        Refusal::NotApplied => "it changed nothing that could be undone".to_owned(),
        Refusal::Undone(undo) => format!("import {undo} undoes it already"),
        Refusal::Gone => "what it changed is not kept any more".to_owned(),
    }
}
