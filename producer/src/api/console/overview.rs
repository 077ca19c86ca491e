//! The first page: running imports, imports that need attention, and the recent throughput.

use std::collections::HashMap;

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::progress::Progress;
use muster_domain::token::Scope;
use muster_queue::QueueDepth;
use muster_runtime::clock;
use muster_store::audit::{self, AuditEntry, Did};
use muster_store::holders::{self, Process};
use muster_store::overview::{self as whole, Concerning, UnderWay};
use muster_store::reports::{self, ImportReport};
use muster_store::{console_figures, status};

use super::attention::{self, Item};
use super::charts::{self, Timeline};
use super::error::ConsoleError;
use super::formatting::{count, number};
use super::page::{Page, Section};
use super::session::Visit;
use super::{BASE, imports};
use crate::api::AppState;
use crate::api::ops;

/// How much of the past the picture shows, and its stretches in seconds.
const HOURS: i64 = 6;
const STRETCH: i64 = 300;
/// Most imports of one state that are shown; of those that ended last; and most that are named because they need somebody.
const MOST: i64 = 20;
const SHOWN_ENDED: i64 = 8;
const MOST_CONCERNING: i64 = 50;

/// What the page shows.
#[derive(Debug)]
struct Overview {
    open: Vec<(ImportReport, Option<Progress>)>,
    newest: Vec<ImportReport>,
    /// Who paused those that are paused.
    paused: HashMap<ImportId, AuditEntry>,
    /// Records that failed in the time of the picture, and were corrected since.
    mended: u64,
    /// Of all imports, not only those that are shown.
    under_way: UnderWay,
    concerning: Concerning,
    timeline: Timeline,
    /// For operators only: queue and processes serve all tenants.
    machines: Option<Machines>,
}

#[derive(Debug)]
struct Machines {
    depth: Option<QueueDepth>,
    processes: Vec<Process>,
}

/// Shows the page.
pub(super) async fn show(State(state): State<AppState>, visit: Visit) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::ImportRead)?;
    let now = clock::now();
    let overview = Box::pin(read(&state, tenant, visit.allows(Scope::Ops), now)).await?;
    let moves = |state| matches!(state, ImportState::Running | ImportState::Planning);
    let moves = overview.open.iter().any(|(report, _)| moves(report.state));
    let page = Page {
        section: Section::Overview,
        title: "Overview".into(),
        renew: Some(if moves { 2_000 } else { 5_000 }),
        main: view(&overview, now),
    };
    Ok(page.show(&visit))
}

/// Side by side, four connections at most: while the machine is busy each of them waits for its turn.
async fn read(
    state: &AppState,
    tenant: TenantId,
    ops: bool,
    now: DateTime<Utc>,
) -> Result<Overview, ConsoleError> {
    let store = &state.0.store;
    let ended = async {
        let newest = reports::ended(store, tenant, SHOWN_ENDED).await?;
        let concerning = if mutant(Mutant::NewestImportsAlone) {
            Concerning { all: newest.len() as u64, imports: newest.clone() }
        } else {
            whole::concerning(store, tenant, now - attention::LATELY, MOST_CONCERNING).await?
        };
        Ok::<_, ConsoleError>((newest, concerning))
    };
    let from = now - TimeDelta::hours(HOURS);
    let settled = async {
        let settled = console_figures::settled(store, tenant, from, STRETCH as f64).await?;
        Ok((settled, whole::mended(store, tenant, from).await?))
    };
    let machines = async {
        let under_way = whole::under_way(store, tenant).await?;
        if !ops {
            return Ok((under_way, None));
        }
        let processes = holders::list(store).await?;
        Ok((under_way, Some(Machines { depth: ops::known_depth(state).await, processes })))
    };
    let open = async {
        let open = open(state, tenant).await?;
        let paused = open.iter().filter(|(report, _)| report.state == ImportState::Paused);
        let paused: Vec<ImportId> = paused.map(|(report, _)| report.id).collect();
        Ok((open, audit::last(store, tenant, &paused, Did::ImportPause).await?))
    };
    let ((open, paused), (newest, concerning), (settled, mended), (under_way, machines)) =
        tokio::try_join!(open, ended, settled, machines)?;
    let timeline = Timeline::new(&settled, from, now, STRETCH);
    Ok(Overview { open, newest, paused, mended, under_way, concerning, timeline, machines })
}

/// The imports that have not ended, and how they get on.
async fn open(
    state: &AppState,
    tenant: TenantId,
) -> Result<Vec<(ImportReport, Option<Progress>)>, ConsoleError> {
    let store = &state.0.store;
    let under_way = [
        ImportState::Running,
        ImportState::Planning,
        ImportState::Planned,
        ImportState::Paused,
        ImportState::Received,
        ImportState::Receiving,
    ];
    let open = reports::newest_in(store, tenant, &under_way, MOST).await?;
    let ids: Vec<ImportId> = open.iter().map(|report| report.id).collect();
    let mut known = status::of(store, tenant, &ids, &state.0.bounds).await?;
    let open = open.into_iter().map(|report| {
        let progress = known.remove(&report.id);
        (report, progress)
    });
    Ok(open.collect())
}

fn view(overview: &Overview, now: DateTime<Utc>) -> Markup {
    let Overview { open, newest, paused, mended, under_way, concerning, timeline, machines } = overview;
    let others =
        concerning.imports.iter().filter(|report| !open.iter().any(|(open, _)| open.id == report.id));
    let looked_at = open
        .iter()
        .map(|(report, progress)| (report, progress.as_ref()))
        .chain(others.map(|report| (report, None)));
    let mut attention: Vec<(&ImportReport, Item)> = looked_at
        .flat_map(|(report, progress)| {
            attention::of(report, progress, paused.get(&report.id), now)
                .into_iter()
                .map(move |item| (report, item))
        })
        .collect();
    attention.sort_by_key(|(_, item)| item.weight);
    let open: Vec<ImportReport> = open.iter().map(|(report, _)| report.clone()).collect();
    let more = concerning.all.saturating_sub(concerning.imports.len() as u64);
    let settled: u64 = timeline.bars.iter().map(|bar| bar.done + bar.failed).sum();
    let failed: u64 = timeline.bars.iter().map(|bar| bar.failed).sum();
    let open_failed = failed.saturating_sub(*mended);
    html! {
        h1 { "Overview" }
        dl.figures {
            (figure("Running", &number(under_way.imports), "imports"))
            (figure("To be settled", &number(under_way.pending), "records of running imports"))
            (figure("Settled", &number(settled), "records in 6 hours"))
            (figure("Failed", &number(open_failed), &failed_of(*mended)))
            @if let Some(machines) = machines { (machine_figures(machines)) }
        }
        section aria-labelledby="attention" {
            h2 #attention { "Needs attention" }
            (attention::list(&attention, now))
            @if more > 0 {
                p.hint { "And " (count(more, "import", "imports")) " more: " a href={ (BASE) "/imports" } { "all imports" } "." }
            }
        }
        section aria-labelledby="open" {
            h2 #open { "Under way" }
            @if under_way.imports > MOST.unsigned_abs() { p.hint { "The newest " (MOST) " of " (number(under_way.imports)) " that run:" } }
            @if open.is_empty() { p.calm { "No import is under way." } } @else { (imports::table(&open, now)) }
        }
        section aria-labelledby="lately" {
            h2 #lately { "Records in the last 6 hours" }
            @if settled == 0 { p.calm { "Nothing was settled in the last 6 hours." } } @else { (charts::timeline(timeline)) }
        }
        section aria-labelledby="ended" {
            h2 #ended { "Ended last" }
            @if newest.is_empty() { p.calm { "No import has ended yet." } } @else { (imports::table(newest, now)) }
            p { a href={ (BASE) "/imports" } { "All imports" } }
        }
    }
}

/// Of what the number of failed records is.
fn failed_of(mended: u64) -> String {
    if mended == 0 { "of them".to_owned() } else { format!("of them, {} corrected since", number(mended)) }
}

/// A number, what it is, and of what.
pub(super) fn figure(name: &str, value: &str, of: &str) -> Markup {
    html! { div { dt { (name) } dd { span.value { (value) } " " span.of { (of) } } } }
}

fn machine_figures(machines: &Machines) -> Markup {
    let Machines { depth, processes } = machines;
    let workers = processes.iter().filter(|process| process.name.starts_with("worker"));
    let held: u64 = workers.clone().map(|process| process.chunks).sum();
    html! {
        @match depth {
            Some(depth) => {
                (figure("In the queue", &number(depth.ready), "messages ready"))
                @if depth.dead > 0 { (figure("Dead letters", &number(depth.dead), "in the queue")) }
            }
            None => { (figure("In the queue", "–", "it does not answer")) }
        }
        (figure("Workers", &number(workers.count() as u64), &format!("with {}", count(held, "chunk", "chunks"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::console::imports::tests::report;

    #[test]
    fn an_empty_overview_says_so_and_an_operator_sees_the_machines() {
        let now = clock::now();
        let timeline = Timeline::new(&[], now - TimeDelta::hours(1), now, STRETCH);
        let empty = Overview {
            open: Vec::new(),
            newest: Vec::new(),
            paused: HashMap::new(),
            mended: 0,
            under_way: UnderWay::default(),
            concerning: Concerning::default(),
            timeline,
            machines: None,
        };
        let shown = view(&empty, now).into_string();
        for text in ["Nothing needs attention.", "No import is under way.", "No import has ended yet."] {
            assert!(shown.contains(text), "{shown}");
        }
        assert!(!shown.contains("Workers"));
        let process = Process { name: "worker 12".into(), seen_at: now, chunks: 3, problem: None };
        let machines = Some(Machines { depth: None, processes: vec![process] });
        let shown = view(&Overview { newest: vec![report()], machines, ..empty }, now).into_string();
        assert!(shown.contains("with 3 chunks") && shown.contains("it does not answer"), "{shown}");
        assert!(shown.contains("people.csv"), "{shown}");
    }
}
