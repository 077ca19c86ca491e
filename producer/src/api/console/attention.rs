//! What needs attention: imports that will not continue by themselves, or not as they should, each with advice.

use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use muster_domain::import::ImportState;
use muster_domain::progress::{Progress, WaitsFor};
use muster_store::reports::ImportReport;

use super::formatting::{ago, count, span};
use super::{imports, page};

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
}

impl Item {
    fn new(weight: Weight, what: impl Into<String>, todo: &str) -> Self {
        Self { weight, what: what.into(), when: None, todo: todo.to_owned() }
    }

    fn since(self, at: Option<DateTime<Utc>>) -> Self {
        Self { when: at.map(When::Since), ..self }
    }

    fn at(self, at: Option<DateTime<Utc>>) -> Self {
        Self { when: at.map(When::At), ..self }
    }
}

/// What of one import needs somebody, the most urgent first.
pub(super) fn of(report: &ImportReport, progress: Option<&Progress>, now: DateTime<Utc>) -> Vec<Item> {
    let mut items = Vec::new();
    let lately = |at: Option<DateTime<Utc>>| at.is_some_and(|at| now - at < LATELY);
    if report.chunks.dead > 0 && (!report.state.is_final() || lately(report.completed_at)) {
        let what = count(report.chunks.dead, "chunk is dead", "chunks are dead");
        items.push(Item::new(Weight::Bad, what, "Check the reason, fix it, and retry."));
    }
    items.extend(progress.and_then(standstill));
    let moves = matches!(report.state, ImportState::Planning | ImportState::Running);
    if report.chunks.retryable > 0 && moves {
        let what =
            count(report.chunks.retryable, "chunk waits to be tried again", "chunks wait to be tried again");
        let why = progress
            .and_then(|progress| progress.problem.as_ref())
            .map(|problem| page::sentence(&problem.message));
        let todo = format!(
            "{}They go on by themselves once the reason is gone.",
            why.map_or(String::new(), |why| why + " ")
        );
        items.push(Item::new(Weight::Wait, what, &todo));
    }
    match report.state {
        ImportState::Paused => items.push(Item::new(Weight::Wait, "paused", "Resume or cancel it.")),
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
        ImportState::Completed if report.counts.failed > 0 && lately(report.completed_at) => {
            let what = count(report.counts.failed, "record failed", "records failed");
            let todo = "Check the problems; correct the records and upload them again, or retry.";
            items.push(Item::new(Weight::Wait, what, todo).at(report.completed_at));
        }
        _ => {}
    }
    items.sort_by_key(|item| item.weight);
    items
}

/// That an import makes no progress, where that is somebody's fault or will not end by itself.
fn standstill(progress: &Progress) -> Option<Item> {
    let nobody = matches!(progress.waits_for, Some(WaitsFor::Worker | WaitsFor::Producer | WaitsFor::Tenant));
    let (what, why) = match progress.waits_for {
        Some(waits) if nobody => (format!("waits for {waits}"), String::new()),
        _ if progress.stalled => ("stands still".to_owned(), page::sentence(&progress.reason())),
        _ => return None,
    };
    let todo = match progress.waits_for {
        Some(WaitsFor::Worker) => "Start a worker.",
        Some(WaitsFor::Producer) => "Start a producer.",
        Some(WaitsFor::Tenant) => "Enable the tenant again.",
        _ => why.as_str(),
    };
    Some(Item::new(Weight::Bad, what, todo).since(progress.no_progress_since))
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
                        p { (item.todo) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::outcome::Counts;
    use muster_store::reports::ChunkCounts;

    use super::*;
    use crate::api::console::imports::tests::{progress, report};

    #[test]
    fn what_needs_nobody_is_not_told() {
        let now = report().created_at + TimeDelta::minutes(10);
        assert!(of(&report(), None, now).is_empty());
        let old = ImportReport { completed_at: Some(now - TimeDelta::days(2)), ..report() };
        let counts = Counts { total: 1, failed: 1, ..Counts::default() };
        assert!(of(&ImportReport { counts, ..old }, None, now).is_empty());
    }

    #[test]
    fn an_import_that_stands_still_says_since_when_and_why() {
        let now = report().created_at + TimeDelta::minutes(10);
        let counts = Counts { total: 10, pending: 10, ..Counts::default() };
        let running = ImportReport { state: ImportState::Running, counts, ..report() };
        let since = Some(now - TimeDelta::minutes(3));
        let still = Progress { no_progress_since: since, stalled: true, ..progress() };
        let [item] = &of(&running, Some(&still), now)[..] else { panic!("one thing is told") };
        assert_eq!((item.what.as_str(), item.when), ("stands still", since.map(When::Since)));
        assert_eq!(item.todo, "Its chunks are with the workers, and none comes to an end.");
        let alone = Progress { waits_for: Some(WaitsFor::Worker), ..progress() };
        let [item] = &of(&running, Some(&alone), now)[..] else { panic!("one thing is told") };
        assert_eq!(
            (item.what.as_str(), item.todo.as_str()),
            ("waits for a worker: none is running", "Start a worker.")
        );
        let turn = Progress { waits_for: Some(WaitsFor::Turn), ..progress() };
        assert!(of(&running, Some(&turn), now).is_empty(), "that is nobody's fault");
    }

    #[test]
    fn the_most_urgent_comes_first() {
        let now = report().created_at + TimeDelta::minutes(10);
        let chunks = ChunkCounts { dead: 1, retryable: 2, ..ChunkCounts::default() };
        let counts = Counts { total: 10, pending: 10, ..Counts::default() };
        let running = ImportReport { state: ImportState::Running, chunks, counts, ..report() };
        let told: Vec<String> = of(&running, None, now).into_iter().map(|item| item.what).collect();
        assert_eq!(told, ["1 chunk is dead", "2 chunks wait to be tried again"]);
    }
}
