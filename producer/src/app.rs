//! The complete producer: the HTTP API and a dispatcher, started and stopped together.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use muster_queue::Queue;
use muster_runtime::telemetry::exposition;
use muster_runtime::telemetry::series::Part;
use muster_store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::api::{self, AppState, Audience, HttpOptions};
use crate::receive::ReceiveLimits;
use crate::webhook::{WebhookOptions, Webhooks};
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
    /// Webhooks.
    pub webhooks: WebhookOptions,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            http: HttpOptions::default(),
            dispatch: DispatchOptions::default(),
            receive: ReceiveLimits::default(),
            webhooks: WebhookOptions::default(),
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
    /// The listener of operators, where they have their own.
    ops: Option<(SocketAddr, JoinHandle<io::Result<()>>)>,
    _upkeep: AbortOnDropHandle<()>,
    /// Looks for new events.
    _looking: AbortOnDropHandle<()>,
    dispatcher: Dispatcher,
    webhooks: Webhooks,
}

impl Producer {
    /// Starts to listen and to dispatch. Fails where the address cannot be listened on; store and broker may be away.
    pub async fn start(store: Store, queue: Queue, options: ProducerOptions) -> io::Result<Self> {
        // Before anything is counted, here or by a worker of this process.
        exposition::start(Part::Producer);
        let tls = api::open_tls(&options.http)?;
        let listener = TcpListener::bind(options.listen).await?;
        let ops_listener = match options.http.ops_listen {
            Some(address) => Some(TcpListener::bind(address).await?),
            None => None,
        };
        let local_addr = listener.local_addr()?;
        let dispatcher = Dispatcher::start(store.clone(), queue.clone(), options.dispatch);
        let webhooks = Webhooks::start(store.clone(), options.webhooks);
        let shutdown = CancellationToken::new();
        let (tell, news) = watch::channel(0);
        let looking = AbortOnDropHandle::new(tokio::spawn(api::look(store.clone(), tell)));
        let (limits, http) = (options.receive, &options.http);
        let state =
            AppState::new(store, queue, &dispatcher, limits, http, options.webhooks, news, shutdown.clone());
        let serve = |listener, audience| {
            let serving = api::serve(
                listener,
                state.clone(),
                audience,
                options.http.clone(),
                tls.clone(),
                shutdown.clone(),
            );
            tokio::spawn(serving)
        };
        let audience = if ops_listener.is_some() { Audience::Clients } else { Audience::Everybody };
        let api = serve(listener, audience);
        tracing::info!(address = %local_addr, "the HTTP API listens");
        let ops = match ops_listener {
            Some(listener) => {
                let address = listener.local_addr()?;
                tracing::info!(%address, "metrics, readiness and documentation listen");
                Some((address, serve(listener, Audience::Operators)))
            }
            None => None,
        };
        let upkeep = AbortOnDropHandle::new(tokio::spawn(exposition::keep_up()));
        Ok(Self {
            local_addr,
            shutdown: shutdown.drop_guard(),
            api,
            ops,
            _upkeep: upkeep,
            _looking: looking,
            dispatcher,
            webhooks,
        })
    }

    /// Where the HTTP API listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where metrics, readiness and the documentation listen, where that is a listener of its own.
    pub fn ops_addr(&self) -> Option<SocketAddr> {
        self.ops.as_ref().map(|(address, _)| *address)
    }

    /// Something new is staged, by other means than the HTTP API.
    pub fn wake(&self) {
        self.dispatcher.wake();
    }

    /// Stops taking requests, finishes those under way as long as the grace lasts, then stops dispatching.
    pub async fn stop(mut self) -> io::Result<()> {
        drop(self.shutdown);
        let mut served = vec![(&mut self.api).await];
        if let Some((_, ops)) = self.ops.take() {
            served.push(ops.await);
        }
        // Also where a listener did not end well.
        tokio::join!(self.dispatcher.stop(), self.webhooks.stop());
        served.into_iter().try_for_each(|ended| ended.map_err(io::Error::other)?)
    }
}
