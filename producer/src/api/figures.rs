//! What `/metrics` queries when it is scraped: the store, the queue, the pool. Each is queried at intervals, however many clients scrape.

use std::time::Duration;

use muster_domain::fault::{Mutant, mutant};
use muster_domain::import::{ChunkState, ImportState};
use muster_store::figures::{self, Figures};
use muster_store::readiness::set_pool;

use super::AppState;
use super::stalls::stalled;

/// How long the figures of the store count.
const FIGURES_FOR: Duration = Duration::from_secs(5);

/// Sets the gauges. What does not answer keeps its last figures, and says that it cannot be reached.
pub(super) async fn read(state: &AppState) {
    let checks = &state.0.checks;
    let (store, depth, consumers, figures, stalled) = tokio::join!(
        checks.store.word(&state.0.store),
        checks.queue.depth(&state.0.queue),
        consumers(state),
        ask(state),
        stalled(state),
    );
    set_pool(&state.0.store);
    metrics::gauge!("muster_store_reachable").set(f64::from(u8::from(store == "ok")));
    let takes = depth.is_some() && !state.0.queue.is_blocked();
    metrics::gauge!("muster_queue_reachable").set(f64::from(u8::from(takes)));
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
    metrics::gauge!("muster_dispatch_window_size").set(float(figures.around.window));
    metrics::gauge!("muster_dispatch_window_used").set(float(figures.around.used));
    metrics::gauge!("muster_processes", "kind" => "worker").set(float(figures.around.workers));
    metrics::gauge!("muster_processes", "kind" => "dispatcher").set(float(figures.around.dispatchers));
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and exact up to 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

/// What the store was found to have lately; none where it does not answer.
pub(super) async fn ask(state: &AppState) -> Option<Figures> {
    if mutant(Mutant::FiguresOfOneProcess) {
        return None;
    }
    let question = || {
        let (store, bounds) = (state.0.store.clone(), state.0.bounds);
        async move { figures::read(&store, &bounds).await.ok() }
    };
    state.0.checks.figures.ask(FIGURES_FOR, question).await
}

/// How many consume; none where the queue does not answer.
pub(super) async fn consumers(state: &AppState) -> Option<u64> {
    let question = || {
        let queue = state.0.queue.clone();
        async move { queue.consumers().await.ok() }
    };
    state.0.checks.consumers.ask(FIGURES_FOR, question).await
}
