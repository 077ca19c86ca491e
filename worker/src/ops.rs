//! What operators and their machines ask of a worker that is a process of its own: is it alive, is it ready, how does it fare. On a
//! listener of its own, without a token, and without any tenant's data.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use muster_shared::queue::Queue;
use muster_shared::store::Store;
use muster_shared::supervise::Progress;
use muster_shared::telemetry::exposition;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

/// How long a part may take to answer.
const ANSWER_IN: Duration = Duration::from_secs(3);
/// How long an answer counts, however many ask.
const COUNTS_FOR: Duration = Duration::from_secs(1);
/// A worker that has not got round for so long does not take deliveries.
const SILENT: Duration = Duration::from_secs(5);
/// Most connections at a time, and how long one may last.
const CONNECTIONS: usize = 64;
const CONNECTION: Duration = Duration::from_secs(60);
/// How long a client may take for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// Pause after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listener. Dropped, it ends.
#[derive(Debug)]
pub struct Ops {
    local_addr: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

/// Whether the parts that a worker needs are there.
#[derive(Debug, Clone, Serialize)]
struct Readiness {
    /// `ready`; `degraded`: the queue cannot be reached; `unavailable`.
    status: &'static str,
    store: &'static str,
    queue: &'static str,
    worker: &'static str,
    reasons: Vec<&'static str>,
}

struct Asked {
    store: Store,
    queue: Queue,
    progress: Progress,
    last: Mutex<Option<(Instant, Readiness)>>,
}

impl Ops {
    /// Starts to listen; `progress` is the worker's.
    pub async fn start(
        listen: SocketAddr,
        store: Store,
        queue: Queue,
        progress: Progress,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let local_addr = listener.local_addr()?;
        let asked = Arc::new(Asked { store, queue, progress, last: Mutex::default() });
        let app = Router::new()
            .route("/healthz", get(async || Json(serde_json::json!({ "status": "alive" }))))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(asked);
        let task = tokio::spawn(async move {
            tokio::select! {
                () = serve(listener, app) => {}
                () = exposition::keep_up() => {}
            }
        });
        Ok(Self { local_addr, _task: AbortOnDropHandle::new(task) })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

async fn serve(listener: TcpListener, app: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // Aborted when this is dropped.
    let mut connections = JoinSet::new();
    loop {
        // Never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                while connections.try_join_next().is_some() {}
                let app = app.clone();
                connections.spawn(async move {
                    if timeout(CONNECTION, requests(stream, app)).await.is_err() {
                        tracing::debug!("a connection for metrics or readiness lasted too long and is cut");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn requests(stream: TcpStream, app: Router) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app)).await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn readyz(State(asked): State<Arc<Asked>>) -> (StatusCode, Json<Readiness>) {
    let mut last = asked.last.lock().await;
    let readiness = match &*last {
        Some((since, readiness)) if since.elapsed() < COUNTS_FOR => readiness.clone(),
        _ => {
            let readiness = look(&asked).await;
            *last = Some((Instant::now(), readiness.clone()));
            readiness
        }
    };
    let code =
        if readiness.status == "unavailable" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(readiness))
}

async fn look(asked: &Asked) -> Readiness {
    // The time-outs are around tasks: a statement is never cancelled.
    let (store, queue) = (asked.store.clone(), asked.queue.clone());
    let store = timeout(ANSWER_IN, tokio::spawn(async move { store.is_writable().await }));
    let queue = timeout(ANSWER_IN, tokio::spawn(async move { queue.depth().await }));
    let (store, queue) = tokio::join!(store, queue);
    let store = match store {
        Ok(Ok(Ok(true))) => "ok",
        Ok(Ok(Ok(false))) => "read_only",
        _ => "unreachable",
    };
    let queue = if matches!(queue, Ok(Ok(Ok(_)))) { "ok" } else { "unreachable" };
    let worker = if asked.progress.silent_for() <= SILENT { "ok" } else { "stalled" };
    let reasons = [
        (store == "read_only").then_some("the database is a standby and takes no writes"),
        (store == "unreachable").then_some("the database does not answer"),
        (queue != "ok").then_some("the queue cannot be reached"),
        (worker != "ok").then_some("the worker takes no deliveries"),
    ];
    let status = match (store, queue, worker) {
        ("ok", "ok", "ok") => "ready",
        ("ok", _, "ok") => "degraded",
        _ => "unavailable",
    };
    Readiness { status, store, queue, worker, reasons: reasons.into_iter().flatten().collect() }
}

async fn metrics(State(asked): State<Arc<Asked>>) -> Response {
    let pool = asked.store.status();
    metrics::gauge!("muster_store_connections", "state" => "open").set(pool.open);
    metrics::gauge!("muster_store_connections", "state" => "idle").set(pool.idle);
    metrics::gauge!("muster_store_connections", "state" => "in_use").set(pool.open.saturating_sub(pool.idle));
    metrics::gauge!("muster_store_connections_max").set(pool.max);
    match exposition::render() {
        Some(text) => ([(header::CONTENT_TYPE, exposition::TEXT)], text).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
