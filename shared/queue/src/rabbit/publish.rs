//! Publishing: the result is `Ok` only if the broker has confirmed and routed the message.
//!
//! Each channel has one message in flight. A returned message does not say which publish it belongs to, and
//! lapin attaches it to the next confirm. With one message in flight that is always the right one, so an
//! unroutable message is never taken for a stored one. A failure affects only one channel: a channel that was
//! opened during a leader election may refuse messages until it is replaced.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use muster_domain::fault::{self, Mutant, Point};
use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant, sleep, timeout_at};

use super::link::Link;
use crate::QueueError;

#[derive(Debug)]
pub(super) struct Publisher {
    link: Link,
    turns: Semaphore,
    idle: Mutex<Vec<Open>>,
    limit: Duration,
}

/// A channel in confirm mode, with nothing in flight.
#[derive(Debug)]
struct Open {
    connection: Arc<Connection>,
    channel: Channel,
}

// How often a blocked publisher looks whether the alarm is over.
const BLOCKED_LOOK: Duration = Duration::from_millis(100);

impl Publisher {
    pub(super) fn new(link: Link, in_flight: usize, limit: Duration) -> Self {
        Self { link, turns: Semaphore::new(in_flight.max(1)), idle: Mutex::new(Vec::new()), limit }
    }

    /// Whether the broker has blocked the connection for publishing.
    pub(super) fn is_blocked(&self) -> bool {
        self.link.is_blocked()
    }

    /// Publishes to a queue by its name. Cancelled midway, the message may or may not be stored.
    pub(super) async fn publish(
        &self,
        queue: &str,
        properties: BasicProperties,
        body: Bytes,
    ) -> Result<(), QueueError> {
        // A pending confirm never answers while the connection is frozen, and neither does anything before it.
        let deadline = Instant::now() + self.limit;
        let late = |doing, blocked| QueueError::TimedOut { doing, after: self.limit, blocked };
        let Ok(turn) = timeout_at(deadline, self.turns.acquire()).await else {
            return Err(late("waiting for a turn to publish", false));
        };
        // Never closed.
        let _turn = turn.map_err(|_| QueueError::Lost)?;
        let opened = timeout_at(deadline, self.open()).await;
        let open = opened.map_err(|_| late("opening a channel to publish", false))??;
        match timeout_at(deadline, open.send(queue, properties, body)).await {
            Ok(Ok(())) => {
                self.lock().push(open);
                Ok(())
            }
            // The channel is dropped, and so closed. What else must go depends on what went wrong.
            Ok(Err(error)) => {
                if fault::mutant(Mutant::KeepRefusedChannel) {
                    self.lock().push(open);
                    return Err(error);
                }
                // The next connection declares the queue again.
                let undeclared = matches!(error, QueueError::Unroutable { .. });
                if undeclared || !open.connection.status().connected() {
                    self.link.discard(&open.connection);
                }
                Err(error)
            }
            Err(_) => {
                let blocked = open.connection.status().blocked();
                // A blocked connection is a healthy one that waits; any other that does not answer is not trusted.
                if !blocked {
                    self.link.discard(&open.connection);
                }
                Err(late("waiting for the broker's confirm", blocked))
            }
        }
    }

    async fn open(&self) -> Result<Open, QueueError> {
        while let Some(open) = self.pop() {
            if open.channel.status().connected() && self.link.is_current(&open.connection) {
                return Ok(open);
            }
        }
        let (connection, channel) = self.link.channel().await?;
        // nowait false: a publish before the answer would go unconfirmed.
        channel.confirm_select(ConfirmSelectOptions { nowait: false }).await?;
        Ok(Open { connection, channel })
    }

    fn pop(&self) -> Option<Open> {
        self.lock().pop()
    }

    // Nothing can panic while the lock is held.
    fn lock(&self) -> MutexGuard<'_, Vec<Open>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    async fn send(&self, queue: &str, properties: BasicProperties, body: Bytes) -> Result<(), QueueError> {
        // During an alarm nothing is written, and messages that are handed over collect in memory until it ends.
        while self.connection.status().blocked() {
            sleep(BLOCKED_LOOK).await;
        }
        let options = BasicPublishOptions {
            // An unroutable message is confirmed too; only this flag makes the broker return it.
            mandatory: !fault::mutant(Mutant::PublishWithoutMandatory),
            // Quorum queues do not know it.
            immediate: false,
        };
        fault::point(Point::Publish)?;
        // The default exchange routes to the queue of the name given and needs no binding that could be missing.
        let confirm = self.channel.basic_publish("".into(), queue.into(), options, &body, properties).await?;
        match confirm.await? {
            Confirmation::Ack(None) => Ok(fault::point(Point::Published)?),
            Confirmation::Ack(Some(_)) => Err(QueueError::Unroutable { queue: queue.to_owned() }),
            // Not requested cannot be after confirm_select; if it were, nothing was promised.
            Confirmation::Nack(_) | Confirmation::NotRequested => {
                Err(QueueError::Refused { queue: queue.to_owned() })
            }
        }
    }
}
