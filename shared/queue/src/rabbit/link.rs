//! One connection to the broker that is opened when needed and opened anew once it is lost or distrusted.
//!
//! lapin's own recovery stays off: it covers the socket only, not a channel that the broker closed, and while it
//! reconnects nobody can tell a connection that will come back from one that hangs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::time::{Duration, timeout};

use super::declare::{declare, delete_broken};
use super::greeting;
use crate::{QueueError, Topology};

#[derive(Debug)]
pub(super) struct Link {
    uri: AMQPUri,
    purpose: &'static str,
    topology: Topology,
    connect_timeout: Duration,
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
        connect_timeout: Duration,
    ) -> Self {
        Self {
            uri,
            purpose,
            topology,
            connect_timeout,
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
        let knock = self.unanswered.swap(true, Ordering::Relaxed);
        let opened = timeout(self.connect_timeout, self.open(knock)).await;
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

    /// Gives up a connection that failed with this error while it used a queue. Where the broker failed at the queue itself, the queue is
    /// deleted if it is broken. What keeps it from that is only logged: the caller has an error of its own, and tries again.
    pub(super) async fn give_up(&self, connection: &Arc<Connection>, queue: &str, error: &QueueError) {
        self.discard(connection);
        if !error.is_internal() {
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

    async fn open(&self, knock: bool) -> Result<Connection, QueueError> {
        // lapin's thread for a connection outlives an attempt that is given up, until the socket fails. So as not to
        // leave one behind with every attempt while a broker is frozen, knock first.
        if knock {
            greeting::answers(&self.uri).await.map_err(lapin::Error::from)?;
        }
        // The name is what operators see in the broker's list of connections.
        let properties =
            ConnectionProperties::default().with_connection_name(format!("muster {}", self.purpose).into());
        let connection = Connection::connect_uri(self.uri.clone(), properties).await?;
        declare(&connection, &self.topology).await?;
        Ok(connection)
    }
}
