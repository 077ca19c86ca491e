//! The deliveries of one channel that are not settled yet, and the commands that settle them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use lapin::options::{BasicAckOptions, BasicRejectOptions};
use lapin::{Acker, BasicProperties};
use muster_domain::fault::{self, Point};
use tokio::sync::mpsc;

use super::properties;
use super::publish::Publisher;
use crate::delivery::{Settle, Settlement, Settler};
use crate::{Delivery, Message, QueueError};

pub(super) struct Settling {
    publisher: Arc<Publisher>,
    dead_queue: String,
    unsettled: HashMap<u64, Unsettled>,
    // Given to every delivery; let go once no further delivery comes, so that the last settled one ends `commands`.
    handle: Option<mpsc::UnboundedSender<Settle>>,
    commands: mpsc::UnboundedReceiver<Settle>,
    // Answers under way: one that waits for the broker must not hold up the others.
    running: FuturesUnordered<BoxFuture<'static, ()>>,
}

/// What is kept of a delivery to settle it or to dead-letter it.
struct Unsettled {
    acker: Acker,
    properties: BasicProperties,
    body: Bytes,
}

impl Settling {
    pub(super) fn new(publisher: Arc<Publisher>, dead_queue: String) -> Self {
        let (handle, commands) = mpsc::unbounded_channel();
        let running = FuturesUnordered::new();
        Self { publisher, dead_queue, unsettled: HashMap::new(), handle: Some(handle), commands, running }
    }

    /// Takes a delivery in; `None` once [`Self::accept_no_more`] was called.
    pub(super) fn accept(&mut self, delivery: lapin::message::Delivery) -> Option<Delivery> {
        let settler = Settler::new(delivery.delivery_tag, self.handle.clone()?);
        let body = Bytes::from(delivery.data);
        let unsettled =
            Unsettled { acker: delivery.acker, properties: delivery.properties, body: body.clone() };
        let accepted = Delivery {
            body: properties::headers(&unsettled.properties).map(|headers| Message { headers, body }),
            redelivered: delivery.redelivered,
            delivery_count: properties::delivery_count(&unsettled.properties),
            settler,
        };
        self.unsettled.insert(delivery.delivery_tag, unsettled);
        Some(accepted)
    }

    /// From now on [`Self::step`] ends once everything is settled.
    pub(super) fn accept_no_more(&mut self) {
        self.handle = None;
    }

    /// Deliveries that are not settled yet.
    pub(super) fn unsettled(&self) -> usize {
        self.unsettled.len()
    }

    /// Waits for one command or the end of one answer; false when there is nothing left to wait for.
    ///
    /// May be cancelled.
    pub(super) async fn step(&mut self) -> bool {
        tokio::select! {
            Some(()) = self.running.next(), if !self.running.is_empty() => true,
            command = self.commands.recv() => match command {
                Some(command) => {
                    self.begin(command);
                    true
                }
                None => self.running.next().await.is_some(),
            },
        }
    }

    fn begin(&mut self, command: Settle) {
        // Every tag is settled once: the handle is consumed by it.
        let Some(unsettled) = self.unsettled.remove(&command.tag) else { return };
        let publisher = Arc::clone(&self.publisher);
        let dead_queue = self.dead_queue.clone();
        self.running.push(Box::pin(async move {
            let result = match command.how {
                Settlement::Ack => unsettled.ack().await,
                Settlement::Requeue => unsettled.requeue().await,
                Settlement::DeadLetter { reason } => {
                    unsettled.dead_letter(&publisher, &dead_queue, &reason).await
                }
            };
            match (command.reply, result) {
                // The receiver gave up waiting: there is nobody to tell.
                (Some(reply), result) => drop(reply.send(result)),
                (None, Err(error)) => {
                    tracing::debug!(%error, "a dropped delivery comes back with its channel")
                }
                (None, Ok(())) => {}
            }
        }));
    }
}

impl Unsettled {
    async fn ack(self) -> Result<(), QueueError> {
        // This message only: those before it may still be worked on.
        let options = BasicAckOptions { multiple: false };
        held(self.acker.ack(options).await)
    }

    async fn requeue(self) -> Result<(), QueueError> {
        // Reject, not nack: RabbitMQ 4.3 counts only this against the delivery limit, older ones count both.
        let options = BasicRejectOptions { requeue: true };
        held(self.acker.reject(options).await)
    }

    // A copy is published and then the original acked: the broker's own dead-lettering carries no reason. Dying in
    // between leaves two copies, never none. Over the publishers' connection: one that publishes is blocked by an alarm,
    // and settling must go on then.
    async fn dead_letter(
        self,
        publisher: &Publisher,
        dead_queue: &str,
        reason: &str,
    ) -> Result<(), QueueError> {
        let properties = properties::dead_lettered(self.properties.clone(), reason);
        match publisher.publish(dead_queue, properties, self.body.clone()).await {
            Ok(()) => {
                fault::point(Point::DeadLettered)?;
                self.ack().await
            }
            Err(error) => {
                self.requeue().await?;
                Err(error)
            }
        }
    }
}

// lapin says `false` where the channel is gone: nothing was sent.
fn held(answer: Result<bool, lapin::Error>) -> Result<(), QueueError> {
    match answer {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(QueueError::Lost),
    }
}
