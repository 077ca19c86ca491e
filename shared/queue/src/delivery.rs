//! One delivery. It is settled by a command to the task that owns the connection.
//!
//! So settling needs no connection of its own, and dropping a delivery can settle it too, although `drop` cannot wait.

use muster_domain::fault::{self, Mutant};
use tokio::sync::{mpsc, oneshot};

use crate::QueueError;
use crate::message::{DecodeError, Message};

/// A message handed to a consumer, to be settled once: [`ack`](Self::ack), [`requeue`](Self::requeue) or
/// [`dead_letter`](Self::dead_letter). Dropped unsettled, it is requeued.
#[derive(Debug)]
pub struct Delivery {
    /// The message, or why it is none. A delivery that is no message is settled like any other.
    pub body: Result<Message, DecodeError>,
    /// Whether the message may have been delivered before; false is a promise that it was not.
    pub redelivered: bool,
    /// How many times the message was delivered, this time included, as far as the backend counts.
    pub delivery_count: u32,
    pub(super) settler: Settler,
}

/// A delivery taken out of the dead-letter queue. Acked it is gone; requeued or dropped it stays there.
#[derive(Debug)]
pub struct DeadLetter {
    /// The delivery.
    pub delivery: Delivery,
    /// Why it was dead-lettered: the reason given to [`Delivery::dead_letter`], or the backend's own (`delivery_limit`).
    pub reason: String,
}

/// The right to settle one delivery. Dropped unused, it requeues.
#[derive(Debug)]
pub struct Settler {
    tag: u64,
    // Empty once the command was sent, so that dropping does not send another.
    to: Option<mpsc::UnboundedSender<Settle>>,
}

/// A command to the task that owns the connection.
#[derive(Debug)]
pub(super) struct Settle {
    pub(super) tag: u64,
    pub(super) how: Settlement,
    pub(super) reply: Option<oneshot::Sender<Result<(), QueueError>>>,
}

/// What becomes of a delivery's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settlement {
    Ack,
    Requeue,
    DeadLetter { reason: String },
}

impl Delivery {
    /// The message is dealt with and leaves the queue.
    ///
    /// Fails with [`QueueError::Lost`] where the connection was lost meanwhile; the message then comes again.
    pub async fn ack(self) -> Result<(), QueueError> {
        self.settler.ack().await
    }

    /// The message goes back to the queue and is delivered again at once, possibly to another consumer. It counts
    /// against the delivery limit, so it is no way to retry: that is the store's.
    pub async fn requeue(self) -> Result<(), QueueError> {
        self.settler.requeue().await
    }

    /// Parks the message in the dead-letter queue with a reason: a code or a sentence, never a user's value.
    pub async fn dead_letter(self, reason: impl Into<String>) -> Result<(), QueueError> {
        self.settler.dead_letter(reason).await
    }

    /// The message apart from the right to settle it.
    pub fn into_parts(self) -> (Result<Message, DecodeError>, Settler) {
        (self.body, self.settler)
    }
}

impl Settler {
    pub(super) fn new(tag: u64, to: mpsc::UnboundedSender<Settle>) -> Self {
        Self { tag, to: Some(to) }
    }

    /// See [`Delivery::ack`].
    pub async fn ack(self) -> Result<(), QueueError> {
        self.settle(Settlement::Ack).await
    }

    /// See [`Delivery::requeue`].
    pub async fn requeue(self) -> Result<(), QueueError> {
        self.settle(Settlement::Requeue).await
    }

    /// See [`Delivery::dead_letter`].
    pub async fn dead_letter(self, reason: impl Into<String>) -> Result<(), QueueError> {
        self.settle(Settlement::DeadLetter { reason: reason.into() }).await
    }

    /// Whether the connection that the delivery came by is gone, so that its message comes again.
    pub(super) fn is_lost(&self) -> bool {
        self.to.as_ref().is_none_or(mpsc::UnboundedSender::is_closed)
    }

    async fn settle(mut self, how: Settlement) -> Result<(), QueueError> {
        let (reply, answer) = oneshot::channel();
        let to = self.to.take().ok_or(QueueError::Lost)?;
        to.send(Settle { tag: self.tag, how, reply: Some(reply) }).map_err(|_| QueueError::Lost)?;
        // The task counts the senders that are left to know when it may end.
        drop(to);
        answer.await.map_err(|_| QueueError::Lost)?
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        if let Some(to) = self.to.take() {
            // Nobody listens any more: the connection is gone, and the backend requeues by itself.
            let how =
                if fault::mutant(Mutant::DroppedIsAcked) { Settlement::Ack } else { Settlement::Requeue };
            let _ = to.send(Settle { tag: self.tag, how, reply: None });
        }
    }
}
