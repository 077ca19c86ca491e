//! The summary of an import: counts, time, rate, the first failures, and where to find the rest.

use std::fmt::Write;
use std::time::Duration;

use muster_domain::error::RecordError;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::TenantId;
use muster_domain::import::ImportState;
use muster_store::problems::{self, Problem, Problems, Warned};
use muster_store::{Store, records, reports};
use serde::Serialize;

use super::asked::{CauseArgs, Outcomes};
use super::causes::{problem_text, warned};
use crate::client::{Remote, operations};
use crate::failure::Exit;
use crate::invocation::Invocation;
use crate::output::{json, number, stdout_line};
use crate::view::View;

/// How many failures are shown.
pub(crate) const SHOWN: u8 = 5;
/// How many causes are told.
pub(crate) const CAUSES: u8 = 10;
/// Most bytes of the failed records that are read for it.
const SHOWN_BYTES: i64 = 1024 * 1024;

/// What a summary says beyond the import itself.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Details {
    /// Skipped records by reason.
    pub(crate) skipped_by_reason: Vec<(String, u64)>,
    /// The first failures.
    pub(crate) first_failures: Vec<Failed>,
    /// What failed, by cause.
    pub(crate) problems: Vec<Problem>,
    /// Whether there are further causes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) further_problems: bool,
    /// What records were warned of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<Warned>,
}

/// A record that failed.
#[derive(Debug, Serialize)]
pub(crate) struct Failed {
    /// Its number.
    pub(crate) record: u64,
    /// What is wrong with it.
    pub(crate) errors: Vec<RecordError>,
}

impl Details {
    /// Reads them from the store.
    pub(crate) async fn read(store: &Store, tenant: TenantId, view: &View) -> anyhow::Result<Self> {
        let mut details = Self::default();
        if view.counts.skipped > 0 {
            let mut reading = store.reading(tenant).await?;
            let reasons = reports::skipped_by_reason(&mut reading, tenant, view.id).await?;
            details.skipped_by_reason =
                reasons.into_iter().map(|(reason, count)| (reason.as_str().to_owned(), count)).collect();
        }
        if view.counts.failed > 0 {
            let failed = records::failed(store, tenant, view.id, 0, i64::from(SHOWN), SHOWN_BYTES).await?;
            details.first_failures =
                failed.into_iter().map(|one| Failed { record: one.record, errors: one.errors }).collect();
        }
        details.add(problems::problems(store, tenant, view.id, i64::from(CAUSES)).await?);
        Ok(details)
    }

    /// Asks a server for them.
    pub(crate) async fn ask(remote: &Remote, view: &View) -> anyhow::Result<Self> {
        let mut details = Self::default();
        if view.counts.skipped > 0 && !mutant(Mutant::SkipsWithoutReason) {
            // An older server does not tell them.
            let call = operations::IMPORTS_DETAILS.at(&[&view.id]).with("details", "true");
            let further = remote.ask(call).await.ok().and_then(|shown| shown.skipped_by_reason);
            details.skipped_by_reason = further.unwrap_or_default().into_iter().collect();
        }
        if view.counts.failed > 0 {
            let failed = remote
                .records(view.id, Some(Outcomes::Failed), &CauseArgs::default(), 0, u64::from(SHOWN))
                .await?;
            details.first_failures =
                failed.into_iter().map(|one| Failed { record: one.record, errors: one.errors }).collect();
        }
        // An older server does not tell them.
        details.add(remote.problems(view.id, CAUSES).await.unwrap_or_default());
        Ok(details)
    }

    /// Adds the problems of the records.
    pub(crate) fn add(&mut self, found: Problems) {
        let Problems { problems, more, warnings, more_warnings } = found;
        self.problems = problems;
        self.further_problems = more || more_warnings;
        self.warnings = warnings;
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    #[serde(flatten)]
    import: &'a View,
    seconds: Option<f64>,
    #[serde(flatten)]
    details: &'a Details,
}

/// Prints the summary of an import that has ended.
pub(crate) fn tell(
    as_json: bool,
    view: &View,
    details: Details,
    invocation: &Invocation,
) -> anyhow::Result<Exit> {
    if as_json {
        json(&Summary {
            import: view,
            seconds: took(view).map(|took| took.as_secs_f64()),
            details: &details,
        })?;
    } else {
        stdout_line(text(view, &details, invocation))?;
    }
    Ok(match view.state {
        ImportState::Completed if view.counts.failed == 0 => Exit::Done,
        ImportState::Completed => Exit::FailedRecords,
        _ => Exit::Failure,
    })
}

/// Tells of an import that is received and waits to be started.
pub(crate) fn waiting(as_json: bool, view: &View, invocation: &Invocation) -> anyhow::Result<Exit> {
    if as_json {
        json(view)?;
    } else {
        let (id, total, failed) = (view.id, number(view.counts.total), number(view.counts.failed));
        stdout_line(format_args!(
            "import {id} is received: {total} records, {failed} of them invalid; `{}` starts it",
            invocation.command("proceed", id)
        ))?;
    }
    Ok(if view.counts.failed > 0 { Exit::FailedRecords } else { Exit::Done })
}

fn took(view: &View) -> Option<Duration> {
    (view.completed_at? - view.created_at).to_std().ok()
}

fn text(view: &View, details: &Details, invocation: &Invocation) -> String {
    let counts = &view.counts;
    let mut text = format!("import {} {}", view.id, view.state);
    if let Some(name) = &view.filename {
        // Writing to a String cannot fail, here and below.
        let _ = write!(text, ": {name}");
    }
    if let Some(encoding) = view.encoding {
        let _ = write!(text, "\n  encoding  {encoding}");
    }
    if let Some(delimiter) = view.delimiter {
        let _ = write!(text, "\n  delimiter {delimiter}");
    }
    let _ = write!(
        text,
        "\n  total     {}\n  inserted  {}\n  updated   {}\n  skipped   {}{}\n  failed    {}",
        number(counts.total),
        number(counts.inserted),
        number(counts.updated),
        number(counts.skipped),
        reasons(details),
        number(counts.failed)
    );
    if let Some(took) = took(view) {
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = counts.total.saturating_mul(1000) / milliseconds;
        let _ = write!(text, "\n  time      {:.1} s, {} records/s", took.as_secs_f64(), number(rate));
    }
    if counts.total == 0 && view.state == ImportState::Completed {
        text.push_str("\nThe file has no records: it has a header or an empty list, and nothing else.");
    }
    for problem in &details.problems {
        let _ = write!(text, "\n{}", problem_text(problem, None));
    }
    for warning in &details.warnings {
        let _ = write!(text, "\n{}", warned(warning));
    }
    if details.further_problems {
        let _ = write!(text, "\nand further causes: {}", invocation.command("problems", view.id));
    }
    if counts.failed > 0 {
        let _ = write!(text, "\nwhat to do about them: {}", invocation.command("problems", view.id));
        let _ = write!(text, "\nfailed records: {}", failed(view, invocation));
    }
    text
}

/// The command that shows what failed: the changes of an undo are no file that could be corrected.
pub(super) fn failed(view: &View, invocation: &Invocation) -> String {
    match &view.options.undo {
        Some(_) => invocation.failed_records(view.id),
        None => invocation.failed(view.id, view.options.format),
    }
}

fn reasons(details: &Details) -> String {
    let reasons = &details.skipped_by_reason;
    if reasons.is_empty() {
        return String::new();
    }
    let texts: Vec<String> =
        reasons.iter().map(|(reason, count)| format!("{reason} {}", number(*count))).collect();
    format!(" ({})", texts.join(", "))
}
