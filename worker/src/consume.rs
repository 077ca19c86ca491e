//! Consuming: a permit, then a delivery, which a task of its own works on and settles. As many at a time as the worker has permits.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::fault::{self, Mutant, Point};
use muster_queue::{Consumer, Delivery, Queue, QueueError};
use muster_runtime::retry::{Backoff, Policy as RetryPolicy};
use muster_runtime::supervise::Progress;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::shared::Shared;
use crate::work::handle;

/// How often a worker that has nothing to do notes that it lives.
const ROUND: Duration = Duration::from_secs(1);

/// Takes deliveries until the worker is to stop, and waits for those that are in work.
pub(crate) async fn run(
    shared: Arc<Shared>,
    queue: Queue,
    concurrency: u16,
    stop: CancellationToken,
    progress: Progress,
) {
    let permits = Arc::new(Semaphore::new(usize::from(concurrency)));
    let _free = Places::add("free", f64::from(concurrency));
    let mut tasks = JoinSet::new();
    let mut consumer = None;
    while !stop.is_cancelled() {
        let Some(open) = consumer.as_mut() else {
            consumer = connect(&queue, concurrency, &stop, &progress).await;
            continue;
        };
        match next(open, &permits, &stop, &progress).await {
            Next::Delivery(delivery, permit) => {
                while tasks.try_join_next().is_some_and(report) {}
                let shared = shared.clone();
                tasks.spawn(async move {
                    let _busy = (Places::add("busy", 1.0), Places::add("free", -1.0));
                    handle(shared, delivery, permit).await;
                });
            }
            Next::Ended if fault::mutant(Mutant::EndedConsumerStops) => std::future::pending().await,
            Next::Ended => {
                tracing::error!("the consumer ended by itself; another is started");
                consumer = None;
            }
            Next::Stop => break,
        }
    }
    if let Some(consumer) = consumer.as_mut() {
        consumer.stop();
    }
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
    if let Some(consumer) = consumer {
        consumer.close().await;
    }
}

/// Places of this worker in the metrics, taken away again when dropped: also by a panic or when the task is aborted.
struct Places(&'static str, f64);

impl Places {
    fn add(state: &'static str, places: f64) -> Self {
        metrics::gauge!("muster_worker_slots", "state" => state).increment(places);
        Self(state, places)
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        metrics::gauge!("muster_worker_slots", "state" => self.0).decrement(self.1);
    }
}

enum Next {
    Delivery(Delivery, OwnedSemaphorePermit),
    Ended,
    Stop,
}

/// Waits for a permit and then for a delivery, in this order: a delivery that is received is worked on.
async fn next(
    consumer: &mut Consumer,
    permits: &Arc<Semaphore>,
    stop: &CancellationToken,
    progress: &Progress,
) -> Next {
    let Some(permit) = rounds(permits.clone().acquire_owned(), stop, progress).await else {
        return Next::Stop;
    };
    // Never closed.
    let Ok(permit) = permit else { return Next::Stop };
    if fault::point(Point::ConsumerEnds).is_err() {
        return Next::Ended;
    }
    match rounds(consumer.next(), stop, progress).await {
        Some(Some(delivery)) => Next::Delivery(delivery, permit),
        Some(None) => Next::Ended,
        None => Next::Stop,
    }
}

/// Waits for something, and notes meanwhile that the worker lives. `None` when it is to stop.
async fn rounds<T>(
    wanted: impl Future<Output = T>,
    stop: &CancellationToken,
    progress: &Progress,
) -> Option<T> {
    let mut wanted = std::pin::pin!(wanted);
    loop {
        progress.note();
        tokio::select! {
            result = timeout(ROUND, wanted.as_mut()) => if let Ok(result) = result { return Some(result) },
            () = stop.cancelled() => return None,
        }
    }
}

/// A task that panicked outside of a chunk's work dropped its delivery, which requeues it.
fn report(ended: Result<(), tokio::task::JoinError>) -> bool {
    if let Err(error) = ended {
        tracing::error!(%error, "a chunk's task did not end well");
    }
    true
}

async fn connect(
    queue: &Queue,
    prefetch: u16,
    stop: &CancellationToken,
    progress: &Progress,
) -> Option<Consumer> {
    let mut backoff = Backoff::new(RetryPolicy::RECONNECT);
    loop {
        let connected: Result<Consumer, QueueError> =
            rounds(queue.consumer(prefetch), stop, progress).await?;
        match connected {
            Ok(consumer) => return Some(consumer),
            Err(error) => tracing::warn!(%error, "the queue cannot be reached; trying again"),
        }
        rounds(tokio::time::sleep(backoff.delay()), stop, progress).await?;
    }
}
