//! The state of the queue: a word for readiness, and the number of messages.

use muster_runtime::readiness::{COUNTS_FOR, Part};

use super::{Queue, QueueDepth};

/// What the queue answered last.
#[derive(Debug, Default)]
pub struct QueuePart(Part<QueueDepth>);

impl QueuePart {
    /// How many messages there are; `None` where the queue does not answer.
    pub async fn depth(&self, queue: &Queue) -> Option<QueueDepth> {
        let question = || {
            let queue = queue.clone();
            async move { queue.depth().await.ok() }
        };
        self.0.ask(COUNTS_FOR, question).await
    }

    /// `ok`; `blocked`: an alarm of the broker keeps it from taking messages; or `unreachable`.
    pub async fn word(&self, queue: &Queue) -> &'static str {
        match self.depth(queue).await {
            Some(_) if queue.is_blocked() => "blocked",
            Some(_) => "ok",
            None => "unreachable",
        }
    }
}
