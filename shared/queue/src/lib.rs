//! The queue seam: publish (confirmed and routed), consume, settle. Two backends, one contract
//! (`tests/queue_contract` runs every promise against both).
//!
//! Guarantees: a message whose publish returned `Ok` is stored durably and is delivered at least once, until
//! it is acked or dead-lettered. A consumer survives the loss of its connection, its channel or the whole
//! broker, and its unsettled messages are delivered again. Non-goals: delivery exactly once (consumers are
//! idempotent), delays and retries (the store's), priorities.
//!
//! The types that matter: a [`Queue`] publishes a [`Message`] with its [`Headers`], and gives a [`Consumer`] that yields each
//! [`Delivery`], which [`Settler`] acks, requeues or dead-letters; a [`DeadLetter`] is a message that was dead-lettered.
//! [`Topology`] names the queue, [`QueueOptions`] has the time limits, and [`QueueError::kind`] says whether trying again can
//! help.

mod delivery;
mod error;
mod message;
mod postgres;
mod rabbit;
pub mod readiness;
mod topology;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

pub use delivery::{DeadLetter, Delivery, Settler};
pub use error::QueueError;
pub use message::{DecodeError, HeaderValue, Headers, MAX_BODY, Message};
pub use topology::Topology;

use muster_runtime::retry::Policy;
use postgres::PgQueue;
use rabbit::RabbitQueue;

/// Time limits and window of a queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueueOptions {
    /// How long a publish may take, waiting for its turn included, before it fails as transient.
    pub publish_timeout: Duration,
    /// How long a connection may take to be ready.
    pub connect_timeout: Duration,
    /// How often a consumer makes sure that it is still one; also how long the answer may take.
    pub health_interval: Duration,
    /// How many publishes wait for their confirms at once; more wait for their turn.
    pub in_flight: usize,
    /// How a lost connection is sought again.
    pub reconnect: Policy,
    /// How long the broker must fail at a queue, each time it is used, until the queue counts as broken and is deleted; up to twice as
    /// long, so that of several programs one does it.
    pub broken_after: Duration,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            publish_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            health_interval: Duration::from_secs(5),
            in_flight: 128,
            reconnect: Policy::RECONNECT,
            broken_after: Duration::from_secs(10),
        }
    }
}

/// How many messages lie in the queues; those delivered and not yet settled lie in neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueDepth {
    /// Messages waiting for a consumer.
    pub ready: u64,
    /// Messages in the dead-letter queue.
    pub dead: u64,
}

/// What serves the queue, for `doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueServer {
    /// `rabbitmq` or `postgres`.
    pub backend: &'static str,
    /// The server's version, if it reports it.
    pub version: Option<String>,
}

/// A work queue with its dead-letter queue, on either backend. Cheap to clone; all clones share connections.
///
/// Deliveries live no longer than the queue and its consumers: when the last clone and the last consumer are
/// dropped, unsettled deliveries are requeued.
#[derive(Debug, Clone)]
pub struct Queue(Backend);

#[derive(Debug, Clone)]
enum Backend {
    Rabbit(Arc<RabbitQueue>),
    Postgres(Arc<PgQueue>),
}

macro_rules! either {
    ($queue:expr, $inner:ident => $call:expr) => {
        match &$queue.0 {
            Backend::Rabbit($inner) => $call,
            Backend::Postgres($inner) => $call,
        }
    };
}

impl Queue {
    /// A queue on RabbitMQ. Connects and declares its topology when first used.
    ///
    /// Fails as permanent on an address that is none.
    pub fn rabbit(url: &str, topology: Topology, options: QueueOptions) -> Result<Self, QueueError> {
        Ok(Self(Backend::Rabbit(Arc::new(RabbitQueue::new(url, topology, options)?))))
    }

    /// A queue of PostgreSQL rows. Publishes through `pool`; consumers open connections of their own with its options,
    /// which must lead to the server itself or a session pooler, since a consumer is known by a session's lock.
    pub fn postgres(pool: PgPool, topology: Topology, options: QueueOptions) -> Self {
        Self(Backend::Postgres(Arc::new(PgQueue::new(pool, topology, options))))
    }

    /// Publishes one message. `Ok` means: stored durably in the queue. Any number may be called at once.
    ///
    /// A failure does not mean that the message was *not* stored. Permanent: [`QueueError::TooLarge`], and what a person
    /// must change at the broker; everything else may be published again.
    pub async fn publish(&self, message: Message) -> Result<(), QueueError> {
        let size = message.body.len();
        if size > MAX_BODY {
            return Err(QueueError::TooLarge { size });
        }
        either!(self, queue => queue.publish(message).await)
    }

    /// Begins to consume, with at most `prefetch` (at least 1) deliveries unsettled at a time.
    ///
    /// Fails where the backend cannot be reached now; from then on the consumer reconnects by itself.
    pub async fn consumer(&self, prefetch: u16) -> Result<Consumer, QueueError> {
        let prefetch = prefetch.max(1);
        either!(self, queue => queue.consumer(prefetch).await.map(|feed| Consumer { feed, queue: self.clone() }))
    }

    /// Takes up to `max` messages out of the dead-letter queue, oldest first. Each stays there until it is acked.
    pub async fn dead_letters(&self, max: usize) -> Result<Vec<DeadLetter>, QueueError> {
        either!(self, queue => queue.dead_letters(max).await)
    }

    /// How many messages lie in the queues.
    pub async fn depth(&self) -> Result<QueueDepth, QueueError> {
        either!(self, queue => queue.depth().await)
    }

    /// How many consumers there are. The backend of rows counts those of all queues of its database.
    pub async fn consumers(&self) -> Result<u64, QueueError> {
        either!(self, queue => queue.consumers().await)
    }

    /// Host and port of the broker, without credentials; `None` where the queue is rows of the database.
    pub fn broker(&self) -> Option<String> {
        match &self.0 {
            Backend::Rabbit(queue) => Some(queue.place()),
            Backend::Postgres(_) => None,
        }
    }

    /// Whether an alarm of the broker (memory, disk) blocks publishing now, as far as the broker has reported it.
    pub fn is_blocked(&self) -> bool {
        match &self.0 {
            Backend::Rabbit(queue) => queue.is_blocked(),
            Backend::Postgres(_) => false,
        }
    }

    /// Makes sure that the backend can be reached and its topology is as it must be.
    pub async fn check(&self) -> Result<QueueServer, QueueError> {
        either!(self, queue => queue.check().await)
    }

    /// Deletes ready messages and dead letters. For tests.
    #[doc(hidden)]
    pub async fn purge(&self) -> Result<(), QueueError> {
        either!(self, queue => queue.purge().await)
    }

    /// Deletes both queues with their messages. For tests.
    #[doc(hidden)]
    pub async fn delete(&self) -> Result<(), QueueError> {
        either!(self, queue => queue.delete().await)
    }
}

/// Receives deliveries; reconnects by itself when its connection is lost.
///
/// Dropped or [closed](Self::close), it stops receiving: what it had not yielded is requeued, what it had can still be
/// settled as long as a clone of the queue lives.
#[derive(Debug)]
pub struct Consumer {
    feed: Feed,
    // Keeps the tasks alive that own the connections.
    queue: Queue,
}

/// The two ends of a consumer's task that the consumer holds.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) deliveries: mpsc::UnboundedReceiver<Delivery>,
    // Never sent to: the task drops the other end when it ends.
    pub(crate) ended: oneshot::Receiver<()>,
}

impl Consumer {
    /// Waits for the next delivery; as long as it takes, through outages too. `None` once the consumer was closed.
    ///
    /// May be cancelled: no delivery is lost that way.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            let delivery = self.feed.deliveries.recv().await?;
            // Its connection is gone: the same message comes again, and working on this one would be for nothing.
            if !delivery.settler.is_lost() {
                return Some(delivery);
            }
        }
    }

    /// Stops receiving. Deliveries that wait to be yielded are requeued; those yielded can still be settled.
    pub fn stop(&mut self) {
        self.feed.deliveries.close();
        while self.feed.deliveries.try_recv().is_ok() {}
    }

    /// Stops receiving and waits until every delivery that it yielded is settled.
    pub async fn close(mut self) {
        self.stop();
        // The sender is dropped, never used, so an error is the signal.
        let _ = (&mut self.feed.ended).await;
        drop(self.queue);
    }
}
