//! Accepting connections: HTTP/1 and HTTP/2 on one port, limits for the head of a request and for answers that
//! nobody reads, and an orderly end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::auth_limit::Peer;
use super::tls::Tls;
use super::unread::Unread;
use super::{AppState, Audience, HttpOptions, app};

/// Pause after an accept that failed for want of something (file descriptors), which the next one would want too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a request whose connection is gone may take to end.
const REQUESTS_END_IN: Duration = Duration::from_secs(5);

/// Reads the certificate and its key, where HTTPS is wanted.
pub(crate) fn open_tls(options: &HttpOptions) -> io::Result<Option<Arc<Tls>>> {
    options.tls.clone().map(|files| Tls::open(files).map(Arc::new)).transpose()
}

/// Serves until `shutdown`, then finishes running requests within the grace period, and aborts the rest.
pub(crate) async fn serve(
    listener: TcpListener,
    state: AppState,
    audience: Audience,
    options: HttpOptions,
    tls: Option<Arc<Tls>>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let requests = state.0.tasks.clone();
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    // Dropping this future drops the connections too.
    let _cut_when_dropped = cut.clone().drop_guard();
    let server = Server {
        app: app::app(state, audience),
        header_timeout: options.header_timeout,
        idle_answer_timeout: options.idle_answer_timeout,
        tls,
        shutdown,
        cut: cut.clone(),
    };
    let places = Arc::new(Semaphore::new(options.connections));
    loop {
        // Without a free slot no connection is accepted: new clients wait in the system's accept queue.
        let accepted = tokio::select! {
            accepted = async {
                let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
                io::Result::Ok((listener.accept().await?, place))
            } => accepted,
            () = server.shutdown.cancelled() => break,
        };
        match accepted {
            Ok(((stream, peer), place)) => {
                let connection = server.clone().connection(stream, Peer(peer));
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    end(&connections, &requests, options.shutdown_grace, &cut).await;
    Ok(())
}

/// Finishes what is under way as long as the grace lasts, and cuts the rest.
async fn end(connections: &TaskTracker, requests: &TaskTracker, grace: Duration, cut: &CancellationToken) {
    connections.close();
    requests.close();
    if timeout(grace, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests took longer than the grace and are cut");
        cut.cancel();
        connections.wait().await;
    }
    // A request whose connection is gone ends by itself, since its body does. A request that waits for an
    // unreachable database is abandoned.
    if timeout(REQUESTS_END_IN, requests.wait()).await.is_err() {
        tracing::warn!(
            requests = requests.len(),
            "requests wait for a server that is away, and are left behind"
        );
    }
}

#[derive(Clone)]
struct Server {
    app: Router,
    header_timeout: Duration,
    idle_answer_timeout: Duration,
    tls: Option<Arc<Tls>>,
    shutdown: CancellationToken,
    cut: CancellationToken,
}

impl Server {
    async fn connection(self, stream: TcpStream, peer: Peer) {
        let _ = stream.set_nodelay(true);
        let stream = Unread::new(stream, self.idle_answer_timeout);
        let Some(tls) = self.tls.clone() else { return self.requests(stream, peer).await };
        // A client that does not finish its handshake is disconnected, like one that does not finish the head of its request.
        let handshake = timeout(self.header_timeout, tls.acceptor().accept(stream));
        let encrypted = tokio::select! {
            encrypted = handshake => encrypted,
            () = self.shutdown.cancelled() => return,
        };
        match encrypted {
            Ok(Ok(stream)) => Box::pin(self.requests(stream, peer)).await,
            Ok(Err(error)) => tracing::debug!(%error, "a connection could not be encrypted"),
            Err(_) => tracing::debug!("a connection took too long to be encrypted"),
        }
    }

    async fn requests(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer) {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.header_timeout);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(30));
        let asked = Arc::new(AtomicBool::new(false));
        let flag = asked.clone();
        let app = self.app.map_request(move |request: axum::http::Request<hyper::body::Incoming>| {
            flag.store(true, Ordering::Relaxed);
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(peer);
            request
        });
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
        tokio::pin!(connection);
        // The builder's own limit starts once it knows the version; a client may never tell.
        let first_request = sleep(self.header_timeout);
        tokio::pin!(first_request);
        let (mut watching, mut ending) = (true, false);
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return;
                }
                () = first_request.as_mut(), if watching => {
                    watching = false;
                    if !asked.load(Ordering::Relaxed) {
                        return;
                    }
                }
                () = self.shutdown.cancelled(), if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = self.cut.cancelled() => return,
            }
        }
    }
}
