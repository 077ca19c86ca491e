//! What `/metrics` asks for when it is scraped: the store, the queue, the pool. Each part is asked once in a while, however many scrape.

use std::time::Duration;

use muster_shared::fault::{Mutant, mutant};
use muster_shared::import::{ChunkState, ImportState};
use muster_shared::store::figures::{self, Figures};
use tokio::time::timeout;

use super::AppState;
use super::ops::{ANSWER_IN, COUNTS_FOR, cached, depth, stalled, store_word};

/// How long the figures of the store count.
const FIGURES_FOR: Duration = Duration::from_secs(5);

/// Sets the gauges. What does not answer keeps its last figures, and says that it cannot be reached.
pub(super) async fn read(state: &AppState) {
    let checks = &state.0.checks;
    let (store, depth, consumers, figures, stalled) = tokio::join!(
        cached(&checks.store, COUNTS_FOR, store_word(state)),
        cached(&checks.depth, COUNTS_FOR, depth(state)),
        cached(&checks.consumers, FIGURES_FOR, consumers(state)),
        cached(&checks.figures, FIGURES_FOR, ask(state)),
        cached(&checks.stalled, super::ops::STALLS_FOR, stalled(state)),
    );
    set_pool(state);
    metrics::gauge!("muster_store_reachable").set(f64::from(u8::from(store == "ok")));
    let takes = depth.is_some() && !state.0.queue.is_blocked();
    metrics::gauge!("muster_queue_reachable").set(f64::from(u8::from(takes)));
    metrics::gauge!("muster_dispatch_window_size").set(float(state.0.bounds.window as u64));
    if let Some(depth) = depth {
        metrics::gauge!("muster_queue_messages", "state" => "ready").set(float(depth.ready));
        metrics::gauge!("muster_queue_messages", "state" => "dead").set(float(depth.dead));
        if let Some(figures) = &figures {
            let unacked = figures.published.saturating_sub(depth.ready);
            metrics::gauge!("muster_queue_messages", "state" => "unacked").set(float(unacked));
        }
    }
    if let Some(consumers) = consumers {
        metrics::gauge!("muster_queue_consumers").set(float(consumers));
    }
    if let Some(figures) = &figures {
        set_figures(figures);
    }
    if let Some(stalled) = stalled {
        metrics::gauge!("muster_imports_stalled").set(float(stalled.count));
    }
}

fn set_pool(state: &AppState) {
    let pool = state.0.store.status();
    metrics::gauge!("muster_store_connections", "state" => "open").set(pool.open);
    metrics::gauge!("muster_store_connections", "state" => "idle").set(pool.idle);
    metrics::gauge!("muster_store_connections", "state" => "in_use").set(pool.open.saturating_sub(pool.idle));
    metrics::gauge!("muster_store_connections_max").set(pool.max);
}

fn set_figures(figures: &Figures) {
    // A state that has none any more is set too.
    for state in ImportState::ALL {
        let count = figures.imports.iter().find(|(found, _)| found == state).map_or(0, |(_, count)| *count);
        metrics::gauge!("muster_imports", "state" => state.as_str()).set(float(count));
    }
    for state in ChunkState::ALL {
        let count = figures.chunks.iter().find(|(found, _)| found == state).map_or(0, |(_, count)| *count);
        metrics::gauge!("muster_chunks", "state" => state.as_str()).set(float(count));
    }
    metrics::gauge!("muster_oldest_pending_seconds").set(figures.oldest_seconds);
    metrics::gauge!("muster_dispatch_window_used").set(float(figures.in_window));
    metrics::gauge!("muster_processes", "kind" => "worker").set(float(figures.workers));
    metrics::gauge!("muster_processes", "kind" => "dispatcher").set(float(figures.dispatchers));
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and exact up to 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

/// The time-outs are around tasks: a statement is never cancelled.
async fn ask(state: &AppState) -> Option<Figures> {
    if mutant(Mutant::FiguresOfOneProcess) {
        return None;
    }
    let store = state.0.store.clone();
    let asked = tokio::spawn(async move { figures::read(&store).await });
    match timeout(ANSWER_IN, asked).await {
        Ok(Ok(Ok(figures))) => Some(figures),
        _ => None,
    }
}

async fn consumers(state: &AppState) -> Option<u64> {
    let queue = state.0.queue.clone();
    let asked = tokio::spawn(async move { queue.consumers().await });
    match timeout(ANSWER_IN, asked).await {
        Ok(Ok(Ok(consumers))) => Some(consumers),
        _ => None,
    }
}
