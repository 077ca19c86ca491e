//! The worker as a whole: what `muster worker`, `muster serve` and the tests start.

use std::sync::Arc;
use std::time::Duration;

use muster_shared::holding::Holding;
use muster_shared::queue::{Consumer, Queue, QueueError};
use muster_shared::retry::{Backoff, Policy as RetryPolicy};
use muster_shared::store::Store;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::consume::{Shared, handle};
use crate::settle::Policy;

/// How a worker works.
#[derive(Debug, Clone, Copy)]
pub struct WorkerOptions {
    /// Chunks in work at once, and the consumer's prefetch.
    pub concurrency: u16,
    /// Attempts a chunk has.
    pub attempts: u32,
    /// Delay before a chunk's second attempt; doubled for each further one.
    pub first_delay: Duration,
    /// The longest delay between attempts.
    pub longest_delay: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            concurrency: 4,
            attempts: policy.attempts,
            first_delay: policy.first_delay,
            longest_delay: policy.longest_delay,
        }
    }
}

/// A running worker. Dropped, it is aborted: what it held is delivered again.
#[derive(Debug)]
pub struct Worker {
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// Tells others what this worker holds.
    holding: Option<Holding>,
}

impl Worker {
    /// Starts to consume. The broker may be away: the worker keeps trying.
    pub fn start(store: Store, queue: Queue, options: WorkerOptions) -> Self {
        let stop = CancellationToken::new();
        let policy = Policy {
            attempts: options.attempts.max(1),
            first_delay: options.first_delay,
            longest_delay: options.longest_delay,
        };
        let holding = Holding::start(store.clone(), "worker");
        let shared = Arc::new(Shared::new(store, policy, holding.holder()));
        let task = tokio::spawn(run(shared, queue, options.concurrency.max(1), stop.clone()));
        Self { stop, task, holding: Some(holding) }
    }

    /// Stops taking work, finishes what is in work, and returns when all of it is settled.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the worker did not end well");
        }
        if let Some(holding) = self.holding.take() {
            holding.stop().await;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(shared: Arc<Shared>, queue: Queue, concurrency: u16, stop: CancellationToken) {
    let Some(mut consumer) = connect(&queue, concurrency, &stop).await else { return };
    let permits = Arc::new(Semaphore::new(usize::from(concurrency)));
    let mut tasks = JoinSet::new();
    loop {
        // The permit comes first: a delivery that is received is worked on.
        let permit = tokio::select! {
            permit = permits.clone().acquire_owned() => permit,
            () = stop.cancelled() => break,
        };
        let Ok(permit) = permit else { break };
        let delivery = tokio::select! {
            delivery = consumer.next() => delivery,
            () = stop.cancelled() => break,
        };
        let Some(delivery) = delivery else { break };
        while tasks.try_join_next().is_some_and(report) {}
        tasks.spawn(handle(shared.clone(), delivery, permit));
    }
    consumer.stop();
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
    consumer.close().await;
}

/// A task that panicked dropped its delivery, which requeues it: the chunk comes again, as a suspect.
fn report(ended: Result<(), tokio::task::JoinError>) -> bool {
    if let Err(error) = ended {
        tracing::error!(%error, "a chunk's task did not end well");
    }
    true
}

async fn connect(queue: &Queue, prefetch: u16, stop: &CancellationToken) -> Option<Consumer> {
    let mut backoff = Backoff::new(RetryPolicy::RECONNECT);
    loop {
        let connected: Result<Consumer, QueueError> = tokio::select! {
            connected = queue.consumer(prefetch) => connected,
            () = stop.cancelled() => return None,
        };
        match connected {
            Ok(consumer) => return Some(consumer),
            Err(error) => tracing::warn!(%error, "the queue cannot be reached; trying again"),
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.delay()) => {}
            () = stop.cancelled() => return None,
        }
    }
}
