//! One connection to the broker. It is opened when needed, and opened again after it was lost or marked as unreliable.
//!
//! lapin's own recovery stays off. It covers only the socket, not a channel that the broker closed, and it
//! hides whether a connection will come back or hangs.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use muster_domain::fault::{self, Mutant};
use tokio::time::{Duration, Instant, timeout};

use super::declare::{declare, delete_broken};
use super::handshake;
use crate::{QueueError, QueueOptions, Topology};

/// A queue at which the broker did not fail for so long is not failing any more.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// A queue at which the broker fails.
#[derive(Debug, Clone, Copy)]
struct Failing {
    since: Instant,
    last: Instant,
    /// How long it is tried before it counts as broken.
    patience: Duration,
}

#[derive(Debug)]
pub(super) struct Link {
    uri: AMQPUri,
    purpose: &'static str,
    topology: Topology,
    connect_timeout: Duration,
    broken_after: Duration,
    failing: Mutex<HashMap<String, Failing>>,
    current: Mutex<Option<Arc<Connection>>>,
    // The last attempt to connect was not answered.
    unanswered: AtomicBool,
    // Held while connecting, so that many callers that find the connection gone open one, not many.
    opening: tokio::sync::Mutex<()>,
}

impl Link {
    pub(super) fn new(
        uri: AMQPUri,
        purpose: &'static str,
        topology: Topology,
        options: &QueueOptions,
    ) -> Self {
        Self {
            uri,
            purpose,
            topology,
            connect_timeout: options.connect_timeout,
            broken_after: options.broken_after,
            failing: Mutex::default(),
            current: Mutex::new(None),
            unanswered: AtomicBool::new(false),
            opening: tokio::sync::Mutex::new(()),
        }
    }

    /// The connection, opened and with its topology declared where there was none.
    pub(super) async fn connection(&self) -> Result<Arc<Connection>, QueueError> {
        if let Some(connection) = self.usable() {
            return Ok(connection);
        }
        let _alone = self.opening.lock().await;
        if let Some(connection) = self.usable() {
            return Ok(connection);
        }
        // So that an attempt cut short from outside counts as unanswered, too.
        let probe_first = self.unanswered.swap(true, Ordering::Relaxed);
        let opened = timeout(self.connect_timeout, self.open(probe_first)).await;
        self.unanswered.store(opened.is_err(), Ordering::Relaxed);
        let connection = Arc::new(opened.map_err(|_| QueueError::TimedOut {
            doing: "connecting to the broker",
            after: self.connect_timeout,
            blocked: false,
        })??);
        *self.lock() = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// A new channel, with the connection that it is on.
    pub(super) async fn channel(&self) -> Result<(Arc<Connection>, Channel), QueueError> {
        let connection = self.connection().await?;
        let opened = timeout(self.connect_timeout, connection.create_channel()).await;
        match opened {
            Ok(Ok(channel)) => Ok((connection, channel)),
            Ok(Err(error)) => {
                self.discard(&connection);
                Err(error.into())
            }
            Err(_) => {
                self.discard(&connection);
                let after = self.connect_timeout;
                Err(QueueError::TimedOut { doing: "opening a channel", after, blocked: false })
            }
        }
    }

    /// Forgets a connection that failed or is not trusted. Those who still work on it may finish; it closes after them.
    pub(super) fn discard(&self, connection: &Arc<Connection>) {
        self.lock().take_if(|current| Arc::ptr_eq(current, connection));
    }

    /// A queue was used, and the broker did not fail.
    pub(super) fn works(&self, queue: &str) {
        self.failing().remove(queue);
    }

    /// Whether the broker has failed at a queue for so long that no client can still be declaring it. While
    /// one client declares a queue, the broker fails in the same way for all others. Once it is so, it is not
    /// so again before as long a time.
    fn is_broken(&self, queue: &str) -> bool {
        if fault::mutant(Mutant::BrokenAtOnce) {
            return true;
        }
        let now = Instant::now();
        let mut failing = self.failing();
        let known = failing.get(queue).copied().filter(|known| now - known.last < FORGOTTEN);
        let Some(known) = known else {
            // The time differs between programs, so that one does not delete what another has just declared again.
            let random = RandomState::new().build_hasher().finish() % 1_000;
            let patience = self.broken_after.mul_f64(1.0 + random as f64 / 1_000.0);
            failing.insert(queue.to_owned(), Failing { since: now, last: now, patience });
            return false;
        };
        let broken = now - known.since >= known.patience;
        if broken {
            failing.remove(queue);
        } else {
            failing.insert(queue.to_owned(), Failing { last: now, ..known });
        }
        broken
    }

    // Nothing can panic while the lock is held.
    fn failing(&self) -> MutexGuard<'_, HashMap<String, Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up a connection that failed with this error while it used a queue. Where the broker keeps failing at the queue itself, the
    /// queue is deleted. What keeps it from that is only logged: the caller has an error of its own, and tries again.
    pub(super) async fn give_up(&self, connection: &Arc<Connection>, queue: &str, error: &QueueError) {
        self.discard(connection);
        if !error.is_internal() || !self.is_broken(queue) {
            return;
        }
        let looked = async {
            let (connection, channel) = self.channel().await?;
            let deleted = timeout(self.connect_timeout, delete_broken(&channel, queue)).await;
            self.discard(&connection);
            match deleted {
                Ok(done) => Ok(done?),
                Err(_) => Err(QueueError::TimedOut {
                    doing: "deleting a queue",
                    after: self.connect_timeout,
                    blocked: false,
                }),
            }
        };
        if let Err(error) = looked.await {
            tracing::warn!(%error, queue, "a queue that the broker cannot use could not be deleted");
        }
    }

    /// Whether new work would go over this connection.
    pub(super) fn is_current(&self, connection: &Arc<Connection>) -> bool {
        self.usable().is_some_and(|current| Arc::ptr_eq(&current, connection))
    }

    /// Whether the broker blocks the connection that is open.
    pub(super) fn is_blocked(&self) -> bool {
        self.usable().is_some_and(|connection| connection.status().blocked())
    }

    fn usable(&self) -> Option<Arc<Connection>> {
        self.lock().as_ref().filter(|connection| connection.status().connected()).cloned()
    }

    // Nothing can panic while the lock is held.
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Connection>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self, probe_first: bool) -> Result<Connection, QueueError> {
        // lapin's thread for a connection outlives an attempt that is given up, until the socket fails. So as not to
        // leave one behind with every attempt while a broker is frozen, probe first.
        if probe_first {
            handshake::answers(&self.uri).await.map_err(lapin::Error::from)?;
        }
        // The name is what operators see in the broker's list of connections.
        let properties =
            ConnectionProperties::default().with_connection_name(format!("muster {}", self.purpose).into());
        let connection = Connection::connect_uri(self.uri.clone(), properties).await?;
        declare(&connection, &self.topology).await?;
        Ok(connection)
    }
}
