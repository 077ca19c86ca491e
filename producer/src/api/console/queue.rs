//! The queue and those who work: messages, processes, and the tenant's chunks that do not get on. For operators.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use muster_shared::clock;
use muster_shared::id::TenantId;
use muster_shared::import::ImportState;
use muster_shared::queue::QueueDepth;
use muster_shared::store::holders::{self, Process};
use muster_shared::store::progress::{self, HeldUp};
use muster_shared::store::reports::{self, ImportReport};
use muster_shared::token::Scope;

use super::import::held_up;
use super::imports::{address, name};
use super::leave::Leave;
use super::overview::figure;
use super::page::{Page, Section};
use super::session::Visit;
use super::words::{ago, count, number};
use super::{levers, shapes};
use crate::api::AppState;
use crate::api::ops;

/// Most imports that are looked at: those that run, and the newest.
const MOST: i64 = 20;
/// Most chunks of one import that are named.
const CHUNKS: i64 = 10;

/// What the page shows.
#[derive(Debug)]
struct Work {
    depth: Option<QueueDepth>,
    blocked: bool,
    processes: Vec<Process>,
    /// Imports with chunks that do not get on.
    stuck: Vec<(ImportReport, Vec<HeldUp>)>,
    running: Vec<ImportReport>,
}

/// Shows the page.
pub(super) async fn show(State(state): State<AppState>, visit: Visit) -> Result<Response, Leave> {
    let tenant = visit.may(Scope::Ops)?;
    let work = read(&state, tenant).await?;
    let page = Page {
        section: Section::Queue,
        title: "Queue and workers".into(),
        renew: Some(2_000),
        main: view(&work, &visit, clock::now()),
    };
    Ok(page.show(&visit))
}

async fn read(state: &AppState, tenant: TenantId) -> Result<Work, Leave> {
    let store = &state.0.store;
    let running = reports::imports(store, tenant, Some(ImportState::Running), None, MOST).await?;
    let paused = reports::imports(store, tenant, Some(ImportState::Paused), None, MOST).await?;
    let mut newest = reports::imports(store, tenant, None, None, MOST).await?;
    newest.retain(|report| report.state.is_final());
    let mut stuck = Vec::new();
    for report in running.iter().chain(&paused).chain(&newest) {
        if report.chunks.dead + report.chunks.retryable > 0 {
            stuck.push((report.clone(), progress::held_up(store, tenant, report.id, CHUNKS).await?));
        }
    }
    Ok(Work {
        depth: ops::known_depth(state).await,
        blocked: state.0.queue.is_blocked(),
        processes: holders::list(store).await?,
        stuck,
        running,
    })
}

fn view(work: &Work, visit: &Visit, now: DateTime<Utc>) -> Markup {
    let with_workers: u64 = work.running.iter().map(|report| report.chunks.dispatched).sum();
    let waiting: u64 = work.running.iter().map(|report| report.chunks.staged + report.chunks.retryable).sum();
    html! {
        h1 { "Queue and workers" }
        @if work.depth.is_none() {
            p.note.wrong { strong { "The queue does not answer. " } "Uploads are accepted and staged; chunks are sent when it is back." }
        } @else if work.blocked {
            p.note.wrong { strong { "The broker takes no messages. " } "It has an alarm of memory or disk; chunks are sent when that is over." }
        }
        @if !work.running.is_empty() && !work.processes.iter().any(|process| process.name.starts_with("worker")) {
            p.note.wrong { strong { "No worker is there. " } "Imports run, and nobody applies their chunks: start a worker." }
        }
        dl.figures {
            @if let Some(depth) = &work.depth {
                (figure("Ready", &number(depth.ready), "messages in the queue"))
                (figure("Dead letters", &number(depth.dead), "messages"))
            }
            (figure("With the workers", &number(with_workers), "chunks of this tenant"))
            (figure("Waiting", &number(waiting), "chunks of this tenant"))
        }
        section aria-labelledby="processes" {
            h2 #processes { "Processes" }
            @if work.processes.is_empty() { p.calm { "No process has said lately that it works." } } @else { (processes(&work.processes, now)) }
        }
        section aria-labelledby="stuck" {
            h2 #stuck { "Chunks that do not get on" }
            @if work.stuck.is_empty() { p.calm { "All chunks get on." } }
            @for (report, chunks) in &work.stuck { (stuck(report, chunks, visit, now)) }
        }
    }
}

fn stuck(report: &ImportReport, chunks: &[HeldUp], visit: &Visit, now: DateTime<Utc>) -> Markup {
    html! {
        div.stuck {
            h3 { a href=(address(report.id)) { (name(report)) } " " (shapes::state(report.state)) }
            p.hint {
                (count(report.chunks.dead, "dead chunk", "dead chunks")) ", "
                (count(report.chunks.retryable, "chunk", "chunks")) " to be tried again"
            }
            ul.held { @for chunk in chunks { li.bad[chunk.due_at.is_none()] { (held_up(chunk, now)) } } }
            @if report.chunks.dead > 0 { (levers::redrive(report, visit)) }
        }
    }
}

fn processes(processes: &[Process], now: DateTime<Utc>) -> Markup {
    html! {
        div.scroll {
            table.processes {
                thead { tr { th scope="col" { "Process" } th.number scope="col" { "Chunks" } th scope="col" { "Last heard of" } } }
                tbody {
                    @for process in processes {
                        tr {
                            th scope="row" { (process.name) }
                            td.number data-name="Chunks" { (number(process.chunks)) }
                            td data-name="Last heard of" { (ago(now, process.seen_at)) }
                        }
                    }
                }
            }
        }
    }
}
