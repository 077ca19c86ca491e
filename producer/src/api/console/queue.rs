//! The queue and the workers: messages, processes, and the tenant's stalled chunks. For operators.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use muster_domain::id::TenantId;
use muster_domain::token::Scope;
use muster_queue::QueueDepth;
use muster_runtime::clock;
use muster_store::console_figures::{self, HeldUp};
use muster_store::holders::{self, Process};
use muster_store::overview::{self, UnderWay};
use muster_store::reports::ImportReport;

use super::attention::problem_view;
use super::error::ConsoleError;
use super::formatting::{ago, count, number};
use super::import::held_up;
use super::imports::{address, name};
use super::overview::figure;
use super::page::{Page, Section};
use super::session::Visit;
use super::{charts, controls};
use crate::api::AppState;
use crate::api::{figures, ops};

/// How many imports with stalled chunks are shown.
const MOST: i64 = 20;
/// Most chunks of one import that are named.
const CHUNKS: i64 = 10;

/// What the page shows.
#[derive(Debug)]
struct Work {
    depth: Option<QueueDepth>,
    /// Messages that are with the workers, where queue and store both answer.
    unacked: Option<u64>,
    consumers: Option<u64>,
    /// Places in the window that are taken, and all of them.
    window: Option<(u64, u64)>,
    /// Records of the tenant that were settled in the last minute.
    settled: u64,
    blocked: bool,
    /// Where the broker is, if there is one.
    broker: Option<String>,
    processes: Vec<Process>,
    /// Imports with stalled chunks.
    stuck: Vec<(ImportReport, Vec<HeldUp>)>,
    /// How many such imports there are.
    all_stuck: u64,
    under_way: UnderWay,
}

/// Shows the page.
pub(super) async fn show(State(state): State<AppState>, visit: Visit) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::Ops)?;
    let now = clock::now();
    let work = read(&state, tenant, now).await?;
    let page = Page {
        section: Section::Queue,
        title: "Queue and workers".into(),
        renew: Some(2_000),
        main: view(&work, &visit, now),
    };
    Ok(page.show(&visit))
}

async fn read(state: &AppState, tenant: TenantId, now: DateTime<Utc>) -> Result<Work, ConsoleError> {
    let store = &state.0.store;
    let found = overview::stuck(store, tenant, MOST).await?;
    let mut stuck = Vec::with_capacity(found.imports.len());
    for report in found.imports {
        let chunks = console_figures::held_up(store, tenant, report.id, CHUNKS).await?;
        stuck.push((report, chunks));
    }
    let depth = ops::known_depth(state).await;
    let figures = figures::ask(state).await;
    let minute = console_figures::settled(store, tenant, now - TimeDelta::minutes(1), 60.0).await?;
    Ok(Work {
        depth,
        unacked: depth
            .zip(figures.as_ref())
            .map(|(depth, known)| known.published.saturating_sub(depth.ready)),
        consumers: figures::consumers(state).await,
        window: figures.map(|known| (known.around.used, known.around.window)),
        settled: minute.iter().map(|part| part.done + part.failed).sum(),
        blocked: state.0.queue.is_blocked(),
        broker: state.0.queue.broker(),
        processes: holders::list(store).await?,
        stuck,
        all_stuck: found.all,
        under_way: overview::under_way(store, tenant).await?,
    })
}

fn view(work: &Work, visit: &Visit, now: DateTime<Utc>) -> Markup {
    let under_way = &work.under_way;
    let workers = work.processes.iter().any(|process| process.name.starts_with("worker"));
    html! {
        h1 { "Queue and workers" }
        @if work.depth.is_none() {
            p.note.wrong {
                @match &work.broker {
                    Some(at) => { strong { "RabbitMQ does not answer (" (at) "). " } "Start it, or check " code { "broker.url" } " (" code { "AMQP_URL" } ")." }
                    None => { strong { "The queue does not answer. " } "It is in the database: check that PostgreSQL runs." }
                }
                " Uploads are accepted and staged; chunks are sent when it is back."
            }
        } @else if work.blocked {
            p.note.wrong { strong { "The broker takes no messages. " } "It has an alarm of memory or disk; chunks are sent when that is over." }
        }
        @if under_way.imports > 0 && !workers {
            p.note.wrong { strong { "No worker is there. " } "Imports run, but no worker applies their chunks: start a worker." }
        }
        dl.figures {
            @if let Some(depth) = &work.depth {
                (figure("Ready", &number(depth.ready), "messages in the queue"))
                @if let Some(unacked) = work.unacked { (figure("Unacked", &number(unacked), "messages with consumers")) }
                (figure("Dead letters", &number(depth.dead), "messages"))
            }
            @if let Some(consumers) = work.consumers { (figure("Consumers", &number(consumers), "of the queue")) }
            @if let Some((used, size)) = work.window { (figure("Window", &number(used), &taken(used, size))) }
            (figure("Rate", &number(work.settled / 60), "records a second in the last minute"))
            @if workers { (figure("With the workers", &number(under_way.dispatched), "chunks of this tenant")) }
            @else { (figure("Sent", &number(under_way.dispatched), "chunks of this tenant, taken by no worker yet")) }
            (figure("Waiting", &number(under_way.waiting), &format!("chunks, {} with none at work", count(under_way.lanes, "lane", "lanes"))))
        }
        section aria-labelledby="processes" {
            h2 #processes { "Processes" }
            @if work.processes.is_empty() { p.calm { "No process has said lately that it works." } } @else { (processes(&work.processes, now)) }
        }
        section aria-labelledby="stuck" {
            h2 #stuck { "Stalled chunks" }
            @if work.stuck.is_empty() { p.calm { "No chunk is stalled." } }
            @if work.all_stuck > MOST.unsigned_abs() { p.hint { "Chunks of the newest " (MOST) " of " (number(work.all_stuck)) " imports:" } }
            @for (report, chunks) in &work.stuck { (stuck(report, chunks, visit, now)) }
        }
    }
}

/// How many places of the window are taken. It follows the number of workers, so more may be taken than there are now.
fn taken(used: u64, size: u64) -> String {
    match used > size {
        true => format!("places taken; there were more when these chunks were sent, now there are {size}"),
        false => format!("of {size} places taken"),
    }
}

fn stuck(report: &ImportReport, chunks: &[HeldUp], visit: &Visit, now: DateTime<Utc>) -> Markup {
    html! {
        div.stuck {
            h3 { a href=(address(report.id)) { (name(report)) } " " (charts::state(report.state)) }
            p.hint {
                (count(report.chunks.dead, "dead chunk", "dead chunks")) ", "
                (count(report.chunks.retryable, "chunk", "chunks")) " to be tried again"
            }
            ul.held { @for chunk in chunks { li.bad[chunk.due_at.is_none()] { (held_up(chunk, now)) } } }
            @if report.chunks.dead > 0 { (controls::redrive(report, visit)) }
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
                            th scope="row" {
                                (process.name)
                                @if let Some(problem) = &process.problem { p.hint { (problem_view(problem)) } }
                            }
                            td.number data-name="Chunks" { (number(process.chunks)) }
                            td data-name="Last heard of" { (ago(now, process.seen_at)) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_became_smaller_is_explained() {
        assert_eq!(taken(3, 4), "of 4 places taken");
        assert_eq!(
            taken(16, 4),
            "places taken; there were more when these chunks were sent, now there are 4"
        );
    }
}
