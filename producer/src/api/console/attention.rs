//! What needs attention: imports that will not continue by themselves, or not as they should, each with advice.

use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use muster_domain::import::ImportState;
use muster_domain::progress::{Progress, WaitsFor};
use muster_store::audit::AuditEntry;
use muster_store::reports::ImportReport;

use super::formatting::{ago, count, number, span};
use super::{audit, imports, page, words};

/// How long ended imports that went wrong are shown.
pub(super) const LATELY: TimeDelta = TimeDelta::hours(24);

/// How urgent something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Somebody has to act, or it stays as it is.
    Bad,
    /// It goes on by itself, or when somebody wants it to.
    Wait,
}

/// A moment in the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// It happened then.
    At(DateTime<Utc>),
    /// It is so since then.
    Since(DateTime<Utc>),
}

impl When {
    /// As it follows what it is about.
    pub(super) fn view(self, now: DateTime<Utc>) -> Markup {
        html! {
            @match self {
                Self::At(at) => { (ago(now, at)) }
                Self::Since(at) if now - at < TimeDelta::seconds(1) => { "since just now" }
                Self::Since(at) => { "for " (span(now - at)) }
            }
        }
    }
}

/// Something that needs somebody.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    /// How urgent it is.
    pub(super) weight: Weight,
    /// What is so.
    pub(super) what: String,
    /// When it happened, or since when it is so, where that is known.
    pub(super) when: Option<When>,
    /// What to do.
    pub(super) todo: String,
    /// What to type for it.
    pub(super) command: Option<&'static str>,
}

impl Item {
    fn new(weight: Weight, what: impl Into<String>, todo: &str) -> Self {
        Self { weight, what: what.into(), when: None, todo: todo.to_owned(), command: None }
    }

    fn since(self, at: Option<DateTime<Utc>>) -> Self {
        Self { when: at.map(When::Since), ..self }
    }

    fn at(self, at: Option<DateTime<Utc>>) -> Self {
        Self { when: at.map(When::At), ..self }
    }
}

/// Who has a lock that somebody else waits for. The runbook (deploy/README.md) has it too.
const WHO_LOCKS: &str = "select pid, state, now() - xact_start as since, left(query, 80) from pg_stat_activity where pid in \
    (select unnest(pg_blocking_pids(pid)) from pg_stat_activity)";

/// What helps against a problem that a chunk met, and what to type for it, where that is known.
pub(super) fn advice(problem: &str) -> (Option<&'static str>, Option<&'static str>) {
    let has = |words: &str| problem.contains(words);
    if has("did not answer within") || has("something holds a lock") {
        let advice = "Perhaps something holds a lock: this, typed into psql, tells which session does. End it with pg_terminate_backend, \
            or its program.";
        (Some(advice), Some(WHO_LOCKS))
    } else if has("disk full") {
        (Some("Free space on the database’s disk."), None)
    } else {
        (None, None)
    }
}

/// A problem with what helps against it, as text.
pub(super) fn problem_view(problem: &str) -> Markup {
    let (told, command) = problem_told(problem);
    html! { (words::told(&told)) @if let Some(command) = command { " " code { (command) } } }
}

/// A problem as a sentence, and what helps against it.
fn problem_told(problem: &str) -> (String, Option<&'static str>) {
    let (advice, command) = advice(problem);
    let told = page::sentence(problem);
    (advice.map_or(told.clone(), |advice| format!("{told} {advice}")), command)
}

/// What of one import needs somebody, the most urgent first. `paused`: who paused it last, where that is known.
pub(super) fn of(
    report: &ImportReport,
    progress: Option<&Progress>,
    paused: Option<&AuditEntry>,
    now: DateTime<Utc>,
) -> Vec<Item> {
    let mut items = Vec::new();
    let lately = |at: Option<DateTime<Utc>>| at.is_some_and(|at| now - at < LATELY);
    if report.chunks.dead > 0 && (!report.state.is_final() || lately(report.completed_at)) {
        let what = count(report.chunks.dead, "chunk is dead", "chunks are dead");
        items.push(Item::new(Weight::Bad, what, "Check the reason, mend it, and retry."));
    }
    let moves = matches!(report.state, ImportState::Planning | ImportState::Running);
    // What stands still says why: the same once more, of its chunks, would be the same trouble twice.
    match progress.and_then(standstill) {
        Some(item) => items.push(item),
        None if moves => items.extend(trouble(report, progress)),
        None => {}
    }
    match report.state {
        ImportState::Paused => items.push(paused_by(report, paused)),
        ImportState::Received => {
            let item = Item::new(Weight::Wait, "waits to be started", "Start or cancel it.");
            items.push(item.since(report.received_at));
        }
        ImportState::Planned => {
            let todo = "Look at its plan, then start or cancel it.";
            items.push(Item::new(Weight::Wait, "its plan waits for a decision", todo));
        }
        ImportState::Refused | ImportState::Aborted if lately(Some(report.created_at)) => {
            let what = if report.state == ImportState::Refused {
                "the file was refused"
            } else {
                "the upload was cut off"
            };
            let why = report.error.as_ref().map(|error| page::sentence(&error.message));
            items.push(
                Item::new(Weight::Bad, what, &why.unwrap_or_else(|| "Upload it again.".into()))
                    .at(Some(report.created_at)),
            );
        }
        ImportState::Completed if report.open_failed() > 0 && lately(report.completed_at) => {
            items.push(failed(report));
        }
        _ => {}
    }
    items.sort_by_key(|item| item.weight);
    items
}

/// That records failed, and nobody has corrected all of them.
fn failed(report: &ImportReport) -> Item {
    let what = match report.mended {
        0 => count(report.counts.failed, "record failed", "records failed"),
        mended => format!(
            "{}, {} corrected, {} open",
            count(report.counts.failed, "record failed", "records failed"),
            number(mended),
            number(report.open_failed())
        ),
    };
    let todo = match report.chunks.dead {
        0 => "Check the problems; correct the records and upload them again, or retry.",
        _ => {
            "Check the problems: mend what made chunks die, and retry; correct other records and upload them again."
        }
    };
    Item::new(Weight::Wait, what, todo).at(report.completed_at)
}

/// What becomes of chunks that wait to be tried again.
const GO_ON: &str = "Its chunks go on by themselves once the reason is gone.";

/// What chunks of an import that runs met and wait for.
fn trouble(report: &ImportReport, progress: Option<&Progress>) -> Option<Item> {
    let problem = progress.and_then(|progress| progress.problem.as_ref());
    let what = match (report.chunks.retryable, problem) {
        (0, None) => return None,
        (0, Some(problem)) => count(problem.chunks, "chunk is in trouble", "chunks are in trouble"),
        (waiting, _) => count(waiting, "chunk waits to be tried again", "chunks wait to be tried again"),
    };
    let (why, command) = problem.map_or((String::new(), None), |problem| problem_told(&problem.message));
    let todo = format!("{why} {GO_ON}");
    let since = problem.and_then(|problem| problem.since);
    Some(Item { command, ..Item::new(Weight::Wait, what, todo.trim_start()).since(since) })
}

/// That an import is paused, by whom, and what is still applied of it.
fn paused_by(report: &ImportReport, paused: Option<&AuditEntry>) -> Item {
    let what = paused.map_or("paused".to_owned(), |entry| format!("paused by {}", audit::who(entry)));
    let sent = still_applied(report);
    let todo = format!("Resume or cancel it.{}", sent.map_or(String::new(), |sent| format!(" {sent}")));
    Item::new(Weight::Wait, what, &todo).since(paused.map(|entry| entry.at))
}

/// How many chunks of a paused import are with the workers.
pub(super) fn still_applied(report: &ImportReport) -> Option<String> {
    let sent = report.chunks.dispatched;
    (sent > 0).then(|| {
        let chunks = count(sent, "chunk is with the workers and is", "chunks are with the workers and are");
        format!("{chunks} still applied.")
    })
}

/// That an import makes no progress, where that is somebody's fault or will not end by itself.
fn standstill(progress: &Progress) -> Option<Item> {
    let nobody = matches!(progress.waits_for, Some(WaitsFor::Worker | WaitsFor::Producer | WaitsFor::Tenant));
    let (what, (why, command)) = match progress.waits_for {
        Some(waits) if nobody => (format!("waits for {waits}"), (String::new(), None)),
        _ if progress.stalled => ("stands still".to_owned(), problem_told(&progress.reason())),
        _ => return None,
    };
    let todo = match progress.waits_for {
        Some(WaitsFor::Worker) => "Start a worker.".to_owned(),
        Some(WaitsFor::Producer) => "Start a producer.".to_owned(),
        Some(WaitsFor::Tenant) => "Enable the tenant again.".to_owned(),
        Some(WaitsFor::Retry) => format!("{why} {GO_ON}"),
        _ => why,
    };
    // Since when nobody is there is not known: the import may have stood still before.
    let since = progress.no_progress_since.filter(|_| !nobody);
    Some(Item { command, ..Item::new(Weight::Bad, what, &todo).since(since) })
}

/// What needs somebody, each with its import.
pub(super) fn list(found: &[(&ImportReport, Item)], now: DateTime<Utc>) -> Markup {
    html! {
        @if found.is_empty() {
            p.calm { "Nothing needs attention." }
        } @else {
            ul.attention {
                @for (report, item) in found {
                    li.bad[item.weight == Weight::Bad] {
                        a href=(imports::address(report.id)) { (imports::name(report)) }
                        " " span.what { (item.what) @if let Some(when) = item.when { ", " (when.view(now)) } }
                        p { (words::told(&item.todo)) }
                        @if let Some(command) = item.command { pre { code { (command) } } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use muster_domain::outcome::Counts;
    use muster_domain::progress::Problem;
    use muster_store::StoreError;
    use muster_store::reports::ChunkCounts;

    use super::*;
    use crate::api::console::imports::tests::{progress, report};

    #[test]
    fn what_needs_nobody_is_not_told() {
        let now = report().created_at + TimeDelta::minutes(10);
        assert!(of(&report(), None, None, now).is_empty());
        let old = ImportReport { completed_at: Some(now - TimeDelta::days(2)), ..report() };
        let counts = Counts { total: 1, failed: 1, ..Counts::default() };
        assert!(of(&ImportReport { counts, ..old }, None, None, now).is_empty());
    }

    #[test]
    fn an_import_that_stands_still_says_since_when_and_why() {
        let now = report().created_at + TimeDelta::minutes(10);
        let counts = Counts { total: 10, pending: 10, ..Counts::default() };
        let running = ImportReport { state: ImportState::Running, counts, ..report() };
        let since = Some(now - TimeDelta::minutes(3));
        let still = Progress { no_progress_since: since, stalled: true, ..progress() };
        let [item] = &of(&running, Some(&still), None, now)[..] else { panic!("one thing is told") };
        assert_eq!((item.what.as_str(), item.when), ("stands still", since.map(When::Since)));
        assert_eq!(item.todo, "Its chunks are with the workers, and none comes to an end.");
        let alone = Progress { waits_for: Some(WaitsFor::Worker), ..progress() };
        let [item] = &of(&running, Some(&alone), None, now)[..] else { panic!("one thing is told") };
        assert_eq!(
            (item.what.as_str(), item.todo.as_str()),
            ("waits for a worker: none is running", "Start a worker.")
        );
        let turn = Progress { waits_for: Some(WaitsFor::Turn), ..progress() };
        assert!(of(&running, Some(&turn), None, now).is_empty(), "that is nobody's fault");
    }

    #[test]
    fn the_most_urgent_comes_first() {
        let now = report().created_at + TimeDelta::minutes(10);
        let chunks = ChunkCounts { dead: 1, retryable: 2, ..ChunkCounts::default() };
        let counts = Counts { total: 10, pending: 10, ..Counts::default() };
        let running = ImportReport { state: ImportState::Running, chunks, counts, ..report() };
        let told: Vec<String> = of(&running, None, None, now).into_iter().map(|item| item.what).collect();
        assert_eq!(told, ["1 chunk is dead", "2 chunks wait to be tried again"]);
    }

    #[test]
    fn failures_that_others_corrected_are_told_as_long_as_some_are_open() {
        let now = report().created_at + TimeDelta::minutes(10);
        let counts = Counts { total: 40, failed: 37, inserted: 3, ..Counts::default() };
        let told = |mended| of(&ImportReport { counts, mended, ..report() }, None, None, now);
        assert_eq!(told(0)[0].what, "37 records failed");
        assert_eq!(told(35)[0].what, "37 records failed, 35 corrected, 2 open");
        assert_eq!(told(37), []);
    }

    #[test]
    fn a_database_that_does_not_answer_is_told_before_the_import_stands_still_with_what_to_type() {
        let now = report().created_at + TimeDelta::minutes(10);
        let chunks = ChunkCounts { dispatched: 2, ..ChunkCounts::default() };
        let running = ImportReport { state: ImportState::Running, chunks, ..report() };
        let message = StoreError::Silent(Duration::from_secs(15)).to_string();
        let problem = Problem { message, at: None, since: None, chunks: 2, attempts: 0, next_try_at: None };
        let waits = Progress { problem: Some(problem), ..progress() };
        let [item] = &of(&running, Some(&waits), None, now)[..] else { panic!("one thing is told") };
        assert_eq!(item.what, "2 chunks are in trouble");
        assert!(
            item.todo.starts_with("The database did not answer within 15 s. Perhaps something holds a lock")
        );
        assert!(item.command.is_some_and(|command| command.contains("pg_blocking_pids")));
        // Once it stands still, that is told once.
        let chunks = ChunkCounts { retryable: 2, ..chunks };
        let still = Progress { stalled: true, ..waits };
        let told = of(&ImportReport { chunks, ..running }, Some(&still), None, now);
        assert!(told.len() == 1 && told[0].command.is_some(), "{told:?}");
    }

    #[test]
    fn a_paused_import_says_how_many_chunks_are_still_applied() {
        let chunks = ChunkCounts { dispatched: 12, ..ChunkCounts::default() };
        let paused = ImportReport { state: ImportState::Paused, chunks, ..report() };
        let [item] = &of(&paused, None, None, paused.created_at)[..] else { panic!("one thing is told") };
        assert_eq!(item.todo, "Resume or cancel it. 12 chunks are with the workers and are still applied.");
    }
}
