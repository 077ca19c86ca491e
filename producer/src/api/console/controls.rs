//! The actions on an import: start, pause, resume, cancel, retry. Each is safe to repeat, also by two people
//! at once, since the store changes an import only from the states that allow the action.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::token::Scope;
use muster_store::lifecycle::{self, Transition};
use muster_store::problems::Cause;
use muster_store::reports::ImportReport;

use super::error::ConsoleError;
use super::formatting::number;
use super::imports::address;
use super::page::secret;
use super::session::{Filled, Visit};
use crate::api::AppState;
use crate::api::error::ApiError;

/// One act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    Proceed,
    Pause,
    Resume,
    Retry,
    Replan,
    Cancel,
}

impl Control {
    const ALL: [Self; 6] =
        [Self::Proceed, Self::Resume, Self::Pause, Self::Retry, Self::Replan, Self::Cancel];

    /// Its name in addresses, and as an operation of the table of moves.
    fn name(self) -> &'static str {
        match self {
            Self::Proceed => "proceed",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Retry => "retry",
            Self::Replan => "plan",
            Self::Cancel => "cancel",
        }
    }

    /// The one with a name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lever| lever.name() == name)
    }

    fn label(self) -> &'static str {
        match self {
            Self::Proceed => "Start",
            Self::Pause => "Pause",
            Self::Resume => "Resume",
            Self::Retry => "Retry what failed",
            Self::Replan => "Plan anew",
            Self::Cancel => "Cancel this import",
        }
    }

    /// The message after success.
    pub(super) fn done(self) -> &'static str {
        match self {
            Self::Proceed => "The import was started.",
            Self::Pause => "The import is paused.",
            Self::Resume => "The import goes on.",
            Self::Retry => "What failed was driven once more; what was applied stays as it is.",
            Self::Replan => "The plan is made anew, as things are now.",
            Self::Cancel => "The import was cancelled. Records whose turn had not come are skipped.",
        }
    }

    /// Whether that message is still true of an import in a state.
    pub(super) fn holds(self, state: ImportState) -> bool {
        match self {
            // They were done, whatever came after; but not where nothing has begun.
            Self::Proceed | Self::Retry => !matches!(state, ImportState::Received | ImportState::Planned),
            Self::Resume => matches!(state, ImportState::Running | ImportState::Planning),
            Self::Pause => state == ImportState::Paused,
            Self::Replan => matches!(state, ImportState::Planning | ImportState::Planned),
            Self::Cancel => state == ImportState::Cancelled,
        }
    }

    /// The message if the import's state does not allow it.
    pub(super) fn refused(self) -> &'static str {
        match self {
            Self::Proceed => "It could not be started: it does not wait for that.",
            Self::Pause => "It could not be paused: it does not run.",
            Self::Resume => "It could not be resumed: it is neither paused nor cancelled.",
            Self::Retry => "It could not be retried in its state.",
            Self::Replan => "Its plan could not be made anew: it does not wait with one.",
            Self::Cancel => "It could not be cancelled: it has ended.",
        }
    }

    /// Whether it makes sense now.
    fn fits(self, report: &ImportReport) -> bool {
        let moves = !report.state.moved_by(self.name()).is_empty();
        if self != Self::Retry {
            return moves;
        }
        let failed = report.open_failed() > 0 || report.chunks.dead > 0;
        // A retry opens chunks of an import that goes on without moving the import.
        failed && (moves || matches!(report.state, ImportState::Running | ImportState::Paused))
    }
}

/// Does it.
pub(super) async fn pull(
    State(state): State<AppState>,
    Path((id, lever)): Path<(String, String)>,
    filled: Filled,
) -> Result<Response, ConsoleError> {
    let tenant = filled.visit.may(Scope::ImportWrite)?;
    let (Ok(import), Some(lever)) = (id.parse::<ImportId>(), Control::named(&lever)) else {
        return Err(ApiError::NotFound.into());
    };
    let store = &state.0.store.by(&filled.visit.actor());
    let done = match lever {
        Control::Proceed => lifecycle::proceed(store, tenant, import).await?,
        Control::Pause => lifecycle::pause(store, tenant, import).await?,
        Control::Resume => lifecycle::resume(store, tenant, import).await?,
        Control::Retry => {
            let given = |name| filled.field(name).filter(|text| !text.is_empty());
            let cause = Cause { code: given("code"), field: given("field") };
            lifecycle::retry_cause(store, tenant, import, cause).await?
        }
        Control::Replan => lifecycle::plan(store, tenant, import).await?,
        Control::Cancel => lifecycle::cancel(store, tenant, import).await?,
    };
    let told = match done {
        Transition::Done(_) => "did",
        Transition::Refused(_) | Transition::Undone(_) => "not",
        Transition::NotFound => return Err(ApiError::NotFound.into()),
    };
    state.0.wake.notify_one();
    Ok(Redirect::to(&format!("{}?{told}={}", address(import), lever.name())).into_response())
}

/// The acts that make sense now, for somebody who may.
pub(super) fn view(report: &ImportReport, visit: &Visit) -> Markup {
    let fitting = || Control::ALL.into_iter().filter(move |lever| lever.fits(report));
    html! {
        @if visit.allows(Scope::ImportWrite) && (fitting().next().is_some() || can_be_undone(report)) {
            div.levers role="group" aria-label="What you can do" {
                @for lever in fitting().filter(|lever| *lever != Control::Cancel) {
                    form method="post" action={ (address(report.id)) "/" (lever.name()) } {
                        (secret(visit))
                        button type="submit" class=[matches!(lever, Control::Proceed | Control::Resume).then_some("main")] {
                            (lever.label())
                        }
                    }
                }
                @if Control::Retry.fits(report) && report.mended > 0 {
                    p.hint { "A retry drives all " (number(report.counts.failed)) " once more as they are, also the " (number(report.mended)) " that other imports corrected." }
                }
                @if can_be_undone(report) { a.button href={ (address(report.id)) "/undo" } { "Undo…" } }
                @if Control::Cancel.fits(report) {
                    details.confirm {
                        summary.button { "Cancel…" }
                        form method="post" action={ (address(report.id)) "/cancel" } {
                            (secret(visit))
                            p { "Records whose turn has not come are skipped. What was applied stays. It can be resumed from where it stopped." }
                            button.danger type="submit" { (Control::Cancel.label()) }
                        }
                    }
                }
            }
        }
    }
}

/// Whether it makes sense to look at what could be undone.
fn can_be_undone(report: &ImportReport) -> bool {
    let ended = matches!(report.state, ImportState::Completed | ImportState::Cancelled);
    ended && report.counts.inserted + report.counts.updated > 0
}

/// What the form carries that retries the records of one cause, for somebody who may.
pub(super) fn retry_secret(report: &ImportReport, visit: &Visit) -> Option<Markup> {
    (visit.allows(Scope::ImportWrite) && Control::Retry.fits(report)).then(|| secret(visit))
}

/// The action for dead chunks only, if the visitor may use it.
pub(super) fn redrive(report: &ImportReport, visit: &Visit) -> Markup {
    html! {
        @if visit.allows(Scope::ImportWrite) && Control::Retry.fits(report) {
            form method="post" action={ (address(report.id)) "/retry" } {
                (secret(visit))
                button type="submit" { (Control::Retry.label()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::outcome::Counts;

    use super::*;
    use crate::api::console::imports::tests::report;

    #[test]
    fn what_makes_no_sense_is_not_offered() {
        let fitting = |state, failed| {
            let counts = Counts { total: 2, failed, inserted: 2 - failed, ..Counts::default() };
            let report = ImportReport { state, counts, ..report() };
            Control::ALL.into_iter().filter(|lever| lever.fits(&report)).collect::<Vec<_>>()
        };
        assert_eq!(fitting(ImportState::Running, 0), [Control::Pause, Control::Cancel]);
        assert_eq!(fitting(ImportState::Paused, 1), [Control::Resume, Control::Retry, Control::Cancel]);
        assert_eq!(fitting(ImportState::Received, 0), [Control::Proceed, Control::Cancel]);
        assert_eq!(fitting(ImportState::Planning, 0), [Control::Cancel]);
        assert_eq!(fitting(ImportState::Planned, 0), [Control::Proceed, Control::Replan, Control::Cancel]);
        assert!(fitting(ImportState::Completed, 0).is_empty());
        assert_eq!(fitting(ImportState::Completed, 2), [Control::Retry]);
        assert_eq!(fitting(ImportState::Cancelled, 2), [Control::Resume]);
        let counts = Counts { total: 2, failed: 2, ..Counts::default() };
        let retry = |mended| Control::Retry.fits(&ImportReport { counts, mended, ..report() });
        assert!(retry(1) && !retry(2), "what other imports corrected needs no retry");
    }

    #[test]
    fn levers_are_known_by_their_names() {
        assert!(Control::ALL.into_iter().all(|lever| Control::named(lever.name()) == Some(lever)));
        assert_eq!(Control::named("drop"), None);
    }
}
