//! The producer as a whole: the HTTP API and a dispatcher, started and stopped together.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use muster_shared::queue::Queue;
use muster_shared::store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api::{self, AppState, HttpOptions};
use crate::receive::ReceiveLimits;
use crate::{DispatchOptions, Dispatcher};

/// How a producer works.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// Address and port of the HTTP API; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The HTTP API.
    pub http: HttpOptions,
    /// The dispatcher.
    pub dispatch: DispatchOptions,
    /// Bounds of an upload.
    pub receive: ReceiveLimits,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            http: HttpOptions::default(),
            dispatch: DispatchOptions::default(),
            receive: ReceiveLimits::default(),
        }
    }
}

/// A running producer. Dropped, it begins to stop: no further request is taken, and nothing more is dispatched.
#[derive(Debug)]
pub struct Producer {
    local_addr: SocketAddr,
    /// Dropped, it makes the API stop too.
    shutdown: DropGuard,
    api: JoinHandle<io::Result<()>>,
    dispatcher: Dispatcher,
}

impl Producer {
    /// Starts to listen and to dispatch. Fails where the address cannot be listened on; store and broker may be away.
    pub async fn start(store: Store, queue: Queue, options: ProducerOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let local_addr = listener.local_addr()?;
        let dispatcher = Dispatcher::start(store.clone(), queue.clone(), options.dispatch);
        let state = AppState::new(store, queue, &dispatcher, options.receive, &options.http);
        let shutdown = CancellationToken::new();
        let api = tokio::spawn(api::serve(listener, state, options.http, shutdown.clone()));
        tracing::info!(address = %local_addr, "the HTTP API listens");
        Ok(Self { local_addr, shutdown: shutdown.drop_guard(), api, dispatcher })
    }

    /// Where the HTTP API listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Something new is staged, by other means than the HTTP API.
    pub fn wake(&self) {
        self.dispatcher.wake();
    }

    /// Stops taking requests, finishes those under way as long as the grace lasts, then stops dispatching.
    pub async fn stop(mut self) -> io::Result<()> {
        drop(self.shutdown);
        let served = (&mut self.api).await;
        self.dispatcher.stop().await;
        served.map_err(io::Error::other)?
    }
}
