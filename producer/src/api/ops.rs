//! For operators and their machines: is it alive, is it ready, how does it fare. Without a token, and without any tenant's
//! data.

use std::sync::OnceLock;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use muster_shared::fault::{Mutant, mutant};
use muster_shared::queue::QueueDepth;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, interval, timeout};
use utoipa::ToSchema;

use super::AppState;

/// How long a part may take to answer.
const ANSWER_IN: Duration = Duration::from_secs(3);
/// A dispatcher that has ended no round for so long does not dispatch.
const DISPATCHER_SILENT: Duration = Duration::from_secs(5);
/// Bounds of the histograms, in seconds.
const SECONDS: [f64; 12] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0, 3600.0];

/// Whether the parts that the producer needs are there.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// `ready`; `degraded`: uploads are accepted and staged, but not dispatched for now; `unavailable`.
    status: &'static str,
    /// `ok`; `read_only`: a standby, on which nothing can be staged; or `unreachable`.
    store: &'static str,
    /// `ok`; `blocked`: an alarm of the broker keeps it from taking messages; or `unreachable`.
    queue: &'static str,
    /// `ok`, or `busy`: as many uploads are under way as this process takes at a time.
    uploads: &'static str,
    /// `ok`, or `stalled`: chunks have not been dispatched for some seconds, whatever the reason.
    dispatcher: &'static str,
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
    let (store, queue) =
        tokio::join!(cached(&checks.store, store_word(&state)), cached(&checks.depth, depth(&state)));
    let queue = match queue {
        Some(_) if state.0.queue.is_blocked() => "blocked",
        Some(_) => "ok",
        None => "unreachable",
    };
    let dispatches =
        state.0.dispatcher.silent_for() <= DISPATCHER_SILENT || mutant(Mutant::ReadyWithoutDispatcher);
    let (code, status) = match (store, queue, dispatches) {
        ("ok", "ok", true) => (StatusCode::OK, "ready"),
        ("ok", ..) => (StatusCode::OK, "degraded"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let uploads = if state.0.store.takes_uploads() { "ok" } else { "busy" };
    let dispatcher = if dispatches { "ok" } else { "stalled" };
    (code, Json(Readiness { status, store, queue, uploads, dispatcher }))
}

/// How long an answer of a part counts: however many ask, each part is asked once in this time.
const COUNTS_FOR: Duration = Duration::from_secs(1);

/// What the parts answered last.
#[derive(Debug, Default)]
pub(super) struct Checks {
    store: Kept<&'static str>,
    depth: Kept<Option<QueueDepth>>,
}

/// An answer and when it came.
type Kept<T> = Mutex<Option<(Instant, T)>>;

/// The last answer where it still counts, or a new one, which all wait for that ask meanwhile.
async fn cached<T: Copy>(kept: &Kept<T>, ask: impl Future<Output = T>) -> T {
    let mut kept = kept.lock().await;
    if let Some((since, answer)) = *kept
        && since.elapsed() < COUNTS_FOR
        && !mutant(Mutant::AskEachTime)
    {
        return answer;
    }
    let answer = ask.await;
    *kept = Some((Instant::now(), answer));
    answer
}

/// How many messages lie in the queues, as it was known within the last second; none where the queue does not answer.
pub(super) async fn known_depth(state: &AppState) -> Option<QueueDepth> {
    cached(&state.0.checks.depth, depth(state)).await
}

/// The time-outs are around tasks: a statement is never cancelled.
async fn store_word(state: &AppState) -> &'static str {
    let store = state.0.store.clone();
    let asked = tokio::spawn(async move { store.is_writable().await });
    match timeout(ANSWER_IN, asked).await {
        Ok(Ok(Ok(true))) => "ok",
        Ok(Ok(Ok(false))) => "read_only",
        _ => "unreachable",
    }
}

async fn depth(state: &AppState) -> Option<QueueDepth> {
    let queue = state.0.queue.clone();
    let depth = tokio::spawn(async move { queue.depth().await });
    match timeout(ANSWER_IN, depth).await {
        Ok(Ok(Ok(depth))) => Some(depth),
        _ => None,
    }
}

/// Counters, gauges and histograms of this process, in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations", security(()),
    responses((status = 200, description = "Metrics", content_type = "text/plain", body = String)))]
pub(super) async fn metrics(State(state): State<AppState>) -> Response {
    let pool = state.0.store.status();
    metrics::gauge!("muster_store_connections", "state" => "open").set(pool.open);
    metrics::gauge!("muster_store_connections", "state" => "idle").set(pool.idle);
    metrics::gauge!("muster_store_connections", "state" => "in_use").set(pool.open.saturating_sub(pool.idle));
    metrics::gauge!("muster_store_connections_max").set(pool.max);
    if let Some(depth) = known_depth(&state).await {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and exact up to 2^53")]
        for (which, count) in [("ready", depth.ready), ("dead", depth.dead)] {
            metrics::gauge!("muster_queue_messages", "state" => which).set(count as f64);
        }
    }
    let Some(handle) = recorder() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    handle.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render()).into_response()
}

/// The process's recorder, installed by the first who asks. None if another one was installed before.
pub(super) fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    RECORDER
        .get_or_init(|| PrometheusBuilder::new().set_buckets(&SECONDS).ok()?.install_recorder().ok())
        .as_ref()
}

/// How often histograms are drained: between two drains every value that was recorded is kept.
const DRAINED_EVERY: Duration = Duration::from_secs(5);

/// Drains the histograms for as long as it is polled, whether or not anybody asks for the metrics.
pub(crate) async fn keep_up() {
    every(DRAINED_EVERY, || {
        if let Some(handle) = recorder() {
            handle.run_upkeep();
        }
    })
    .await;
}

async fn every(period: Duration, mut act: impl FnMut()) {
    let mut times = interval(period);
    loop {
        times.tick().await;
        act();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn histograms_are_drained_though_nobody_looks() {
        let mut drained = 0;
        let _ = timeout(Duration::from_secs(61), every(DRAINED_EVERY, || drained += 1)).await;
        assert_eq!(drained, 13);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_is_asked_once_a_second_however_many_look() {
        let (kept, asked) = (Kept::default(), AtomicU32::new(0));
        let ask = async || asked.fetch_add(1, Ordering::Relaxed);
        let looks = (0..100).map(|_| cached(&kept, ask()));
        assert!(futures_util::future::join_all(looks).await.into_iter().all(|answer| answer == 0));
        tokio::time::advance(COUNTS_FOR).await;
        assert_eq!(cached(&kept, ask()).await, 1);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
