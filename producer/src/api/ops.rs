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
use tokio::time::timeout;
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
    let (store, queue) = tokio::join!(store_word(&state), depth(&state));
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
    if let Some(depth) = depth(&state).await {
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
