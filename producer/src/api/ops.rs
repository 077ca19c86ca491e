//! Health, readiness and metrics for operators and their tools. No token is needed, and no tenant's data is shown.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_domain::fault::{Mutant, mutant};
use muster_queue::QueueDepth;
use muster_queue::readiness::QueuePart;
use muster_runtime::readiness::{self, Part};
use muster_runtime::telemetry::exposition;
use muster_store::figures::Figures;
use muster_store::readiness::StorePart;
use serde::Serialize;
use utoipa::ToSchema;

use super::stalls::{Stalls, stalled};
use super::{AppState, figures};

/// A dispatcher that has ended no round for so long does not dispatch.
const DISPATCHER_SILENT: Duration = Duration::from_secs(5);

/// Whether the parts that the producer needs are available.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// `ready`; `degraded`: uploads are accepted and staged, but something makes no progress; `unavailable`.
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
    let (store, queue, stalled) =
        tokio::join!(checks.store.word(&state.0.store), checks.queue.word(&state.0.queue), stalled(&state),);
    let dispatches =
        state.0.dispatcher.silent_for() <= DISPATCHER_SILENT || mutant(Mutant::ReadyWithoutDispatcher);
    let uploads = if state.0.store.takes_uploads() { "ok" } else { "busy" };
    let dispatcher = if dispatches { "ok" } else { "stalled" };
    let imports = match &stalled {
        Some(Stalls { count: 0, .. }) => "ok",
        Some(_) => "stalled",
        None => "unknown",
    };
    let reasons = reasons(store, queue, dispatches, stalled);
    let (code, status) = match (store, reasons.is_empty()) {
        ("ok", true) => (StatusCode::OK, "ready"),
        ("ok", false) => (StatusCode::OK, "degraded"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    (code, Json(Readiness { status, store, queue, uploads, dispatcher, imports, reasons }))
}

/// A sentence for each part that is not well.
fn reasons(store: &str, queue: &str, dispatches: bool, stalled: Option<Stalls>) -> Vec<String> {
    let dispatcher = (!dispatches).then_some("no round of dispatching ends");
    let imports = match stalled {
        Some(stalls) => stalls.reason,
        // Where the database does not answer, that is the reason.
        None if store == "unreachable" || mutant(Mutant::UnknownProgressIsReady) => None,
        None => Some("it is unknown whether imports make progress".into()),
    };
    readiness::reasons(store, queue).into_iter().chain(dispatcher).map(str::to_owned).chain(imports).collect()
}

/// What the parts answered last.
#[derive(Debug, Default)]
pub(super) struct Checks {
    pub(super) store: StorePart,
    pub(super) queue: QueuePart,
    pub(super) stalled: Part<Stalls>,
    pub(super) consumers: Part<u64>,
    pub(super) figures: Part<Figures>,
}

/// How many messages lie in the queues, as it was known within the last second; none where the queue does not answer.
pub(super) async fn known_depth(state: &AppState) -> Option<QueueDepth> {
    state.0.checks.queue.depth(&state.0.queue).await
}

/// Counters, gauges and histograms of this process, and what the store and the queue have, in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations", security(()),
    responses((status = 200, description = "Metrics", content_type = "text/plain", body = String),
              (status = 503, description = "They cannot be gathered")))]
pub(super) async fn metrics(State(state): State<AppState>) -> Response {
    figures::read(&state).await;
    match exposition::render() {
        Some(text) => ([(header::CONTENT_TYPE, exposition::TEXT)], text).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
