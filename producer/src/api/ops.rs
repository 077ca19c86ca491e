//! For operators and their machines: is it alive, is it ready, how does it fare. Without a token, and without any tenant's
//! data.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_shared::fault::{Mutant, mutant};
use muster_shared::queue::QueueDepth;
use muster_shared::store::figures::Figures;
use muster_shared::store::status::{self, Stalled};
use muster_shared::telemetry::exposition;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use utoipa::ToSchema;

use super::{AppState, figures};

/// How long a part may take to answer.
pub(super) const ANSWER_IN: Duration = Duration::from_secs(3);
/// A dispatcher that has ended no round for so long does not dispatch.
const DISPATCHER_SILENT: Duration = Duration::from_secs(5);

/// Whether the parts that the producer needs are there.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// `ready`; `degraded`: uploads are accepted and staged, but something does not get on; `unavailable`.
    status: &'static str,
    /// `ok`; `read_only`: a standby, on which nothing can be staged; or `unreachable`.
    store: &'static str,
    /// `ok`; `blocked`: an alarm of the broker keeps it from taking messages; or `unreachable`.
    queue: &'static str,
    /// `ok`, or `busy`: as many uploads are under way as this process takes at a time.
    uploads: &'static str,
    /// `ok`, or `stalled`: chunks have not been dispatched for some seconds, whatever the reason.
    dispatcher: &'static str,
    /// `ok`; `stalled`: a running import makes no progress for longer than `dispatch.stall_after`; or `unknown`.
    imports: &'static str,
    /// Why it is not `ready`, a sentence each.
    reasons: Vec<String>,
}

/// Says that the process is alive.
#[utoipa::path(get, path = "/healthz", tag = "operations", security(()),
    responses((status = 200, description = "Alive", body = serde_json::Value)))]
pub(super) async fn healthz() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "status": "alive" }))
}

/// Says whether uploads are accepted.
#[utoipa::path(get, path = "/readyz", tag = "operations", security(()),
    responses((status = 200, description = "Uploads are accepted", body = Readiness),
              (status = 503, description = "The store is away", body = Readiness)))]
pub(super) async fn readyz(State(state): State<AppState>) -> (StatusCode, Json<Readiness>) {
    let checks = &state.0.checks;
    let (store, queue, stalled) = tokio::join!(
        cached(&checks.store, COUNTS_FOR, store_word(&state)),
        cached(&checks.depth, COUNTS_FOR, depth(&state)),
        cached(&checks.stalled, STALLS_FOR, stalled(&state)),
    );
    let queue = match queue {
        Some(_) if state.0.queue.is_blocked() => "blocked",
        Some(_) => "ok",
        None => "unreachable",
    };
    let dispatches =
        state.0.dispatcher.silent_for() <= DISPATCHER_SILENT || mutant(Mutant::ReadyWithoutDispatcher);
    let uploads = if state.0.store.takes_uploads() { "ok" } else { "busy" };
    let dispatcher = if dispatches { "ok" } else { "stalled" };
    let imports = match &stalled {
        Some(Stalls { count: 0, .. }) => "ok",
        Some(_) => "stalled",
        None => "unknown",
    };
    let reasons = reasons(store, queue, dispatches, stalled.and_then(|stalls| stalls.reason));
    let (code, status) = match (store, reasons.is_empty()) {
        ("ok", true) => (StatusCode::OK, "ready"),
        ("ok", false) => (StatusCode::OK, "degraded"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    (code, Json(Readiness { status, store, queue, uploads, dispatcher, imports, reasons }))
}

/// A sentence for each part that is not well.
fn reasons(store: &str, queue: &str, dispatches: bool, stalled: Option<String>) -> Vec<String> {
    let store = match store {
        "ok" => None,
        "read_only" => Some("the database is a standby and takes no writes"),
        _ => Some("the database does not answer"),
    };
    let queue = match queue {
        "ok" => None,
        "blocked" => Some("the broker takes no messages: it has an alarm of memory or disk"),
        _ => Some("the queue cannot be reached"),
    };
    let dispatcher = (!dispatches).then_some("no round of dispatching ends");
    [store, queue, dispatcher].into_iter().flatten().map(str::to_owned).chain(stalled).collect()
}

/// How long an answer of a part counts: however many ask, each part is asked once in this time.
pub(super) const COUNTS_FOR: Duration = Duration::from_secs(1);
/// The same of what reads the chunks of all imports that run without progress.
pub(super) const STALLS_FOR: Duration = Duration::from_secs(2);

/// What the parts answered last.
#[derive(Debug, Default)]
pub(super) struct Checks {
    pub(super) store: Kept<&'static str>,
    pub(super) depth: Kept<Option<QueueDepth>>,
    pub(super) stalled: Kept<Option<Stalls>>,
    pub(super) consumers: Kept<Option<u64>>,
    pub(super) figures: Kept<Option<Figures>>,
}

/// An answer and when it came.
pub(super) type Kept<T> = Mutex<Option<(Instant, T)>>;

/// The last answer where it still counts, or a new one, which all wait for that ask meanwhile.
pub(super) async fn cached<T: Clone>(kept: &Kept<T>, good_for: Duration, ask: impl Future<Output = T>) -> T {
    let mut kept = kept.lock().await;
    if let Some((since, answer)) = &*kept
        && since.elapsed() < good_for
        && !mutant(Mutant::AskEachTime)
    {
        return answer.clone();
    }
    let answer = ask.await;
    *kept = Some((Instant::now(), answer.clone()));
    answer
}

/// Imports that stand still.
#[derive(Debug, Clone, Default)]
pub(super) struct Stalls {
    pub(super) count: u64,
    /// Why, where some do. Names no tenant and no import: anybody may ask.
    reason: Option<String>,
}

/// The imports that stand still; `None` where that cannot be told.
pub(super) async fn stalled(state: &AppState) -> Option<Stalls> {
    let (store, bounds) = (state.0.store.clone(), state.0.bounds);
    let asked = tokio::spawn(async move { status::stalled(&store, &bounds).await });
    match timeout(ANSWER_IN, asked).await {
        Ok(Ok(Ok(stalled))) => {
            let count = stalled.len() as u64;
            Some(Stalls { count, reason: stalled.first().map(|first| why(count, first)) })
        }
        _ => None,
    }
}

fn why(count: u64, first: &Stalled) -> String {
    let since = first.progress.no_progress_since;
    let since = since.map_or_else(String::new, |at| at.format(" since %Y-%m-%d %H:%M:%S UTC").to_string());
    let reason = first.progress.reason();
    match count {
        1 => format!("a running import makes no progress{since}: {reason}"),
        more => format!("{more} running imports make no progress, the first{since}: {reason}"),
    }
}

/// How many messages lie in the queues, as it was known within the last second; none where the queue does not answer.
pub(super) async fn known_depth(state: &AppState) -> Option<QueueDepth> {
    cached(&state.0.checks.depth, COUNTS_FOR, depth(state)).await
}

/// The time-outs are around tasks: a statement is never cancelled.
pub(super) async fn store_word(state: &AppState) -> &'static str {
    let store = state.0.store.clone();
    let asked = tokio::spawn(async move { store.is_writable().await });
    match timeout(ANSWER_IN, asked).await {
        Ok(Ok(Ok(true))) => "ok",
        Ok(Ok(Ok(false))) => "read_only",
        _ => "unreachable",
    }
}

pub(super) async fn depth(state: &AppState) -> Option<QueueDepth> {
    let queue = state.0.queue.clone();
    let depth = tokio::spawn(async move { queue.depth().await });
    match timeout(ANSWER_IN, depth).await {
        Ok(Ok(Ok(depth))) => Some(depth),
        _ => None,
    }
}

/// Counters, gauges and histograms of this process, and what the store and the queue have, in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations", security(()),
    responses((status = 200, description = "Metrics", content_type = "text/plain", body = String)))]
pub(super) async fn metrics(State(state): State<AppState>) -> Response {
    figures::read(&state).await;
    match exposition::render() {
        Some(text) => ([(header::CONTENT_TYPE, exposition::TEXT)], text).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_part_is_asked_once_a_second_however_many_look() {
        let (kept, asked) = (Kept::default(), AtomicU32::new(0));
        let ask = async || asked.fetch_add(1, Ordering::Relaxed);
        let looks = (0..100).map(|_| cached(&kept, COUNTS_FOR, ask()));
        assert!(futures_util::future::join_all(looks).await.into_iter().all(|answer| answer == 0));
        tokio::time::advance(COUNTS_FOR).await;
        assert_eq!(cached(&kept, COUNTS_FOR, ask()).await, 1);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
