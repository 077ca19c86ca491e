//! Health, readiness and metrics of a worker that runs as its own process, on its own listener. No token is
//! needed, and no tenant's data is shown.

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
use muster_queue::Queue;
use muster_queue::readiness::QueuePart;
use muster_runtime::readiness;
use muster_runtime::supervise::Progress;
use muster_runtime::telemetry::exposition;
use muster_store::Store;
use muster_store::readiness::{StorePart, set_pool};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

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
#[derive(Debug, Serialize)]
struct Readiness {
    /// `ready`; `degraded`: the queue cannot be reached or takes no messages; `unavailable`.
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
    store_part: StorePart,
    queue_part: QueuePart,
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
        let asked = Arc::new(Asked {
            store,
            queue,
            progress,
            store_part: StorePart::default(),
            queue_part: QueuePart::default(),
        });
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
    let (store, queue) =
        tokio::join!(asked.store_part.word(&asked.store), asked.queue_part.word(&asked.queue));
    let worker = if asked.progress.silent_for() <= SILENT { "ok" } else { "stalled" };
    let mut reasons = readiness::reasons(store, queue);
    reasons.extend((worker != "ok").then_some("the worker takes no deliveries"));
    let (code, status) = match (store, queue, worker) {
        ("ok", "ok", "ok") => (StatusCode::OK, "ready"),
        ("ok", _, "ok") => (StatusCode::OK, "degraded"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    (code, Json(Readiness { status, store, queue, worker, reasons }))
}

async fn metrics(State(asked): State<Arc<Asked>>) -> Response {
    set_pool(&asked.store);
    match exposition::render() {
        Some(text) => ([(header::CONTENT_TYPE, exposition::TEXT)], text).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
