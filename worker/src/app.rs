//! The worker as a whole: what `muster worker`, `muster serve` and the tests start.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::fault::{self, Mutant, Point};
use muster_queue::{Consumer, Delivery, Queue, QueueError};
use muster_runtime::retry::{Backoff, Policy as RetryPolicy};
use muster_runtime::supervise::{Progress, Supervised, supervise};
use muster_runtime::telemetry::series::{self, Part};
use muster_store::Store;
use muster_store::holding::Holding;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::consume::{Shared, handle};
use crate::room::Room;
use crate::settle::Policy;
use crate::slots::Slots;

/// How often a worker that has nothing to do notes that it lives.
const ROUND: Duration = Duration::from_secs(1);

/// How long a worker that stops may take to tell what it holds no more.
const LEAVING: Duration = Duration::from_secs(2);

/// How a worker works.
#[derive(Debug, Clone, Copy)]
pub struct WorkerOptions {
    /// Chunks in work at once, and the consumer's prefetch.
    pub concurrency: u16,
    /// Most decoded bytes of chunks that are applied at once.
    pub bytes_at_once: usize,
    /// Attempts a chunk has.
    pub attempts: u32,
    /// Delay before a chunk's second attempt; doubled for each further one.
    pub first_delay: Duration,
    /// The longest delay between attempts.
    pub longest_delay: Duration,
    /// How long one step may wait for the database before its connection is given up.
    pub deadline: Duration,
    /// How long stopping may take.
    pub grace: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            concurrency: 4,
            bytes_at_once: 4 * 1024 * 1024,
            attempts: policy.attempts,
            first_delay: policy.first_delay,
            longest_delay: policy.longest_delay,
            deadline: Duration::from_secs(15),
            grace: Duration::from_secs(20),
        }
    }
}

/// A running worker. Dropped, it is aborted: what it held is delivered again.
#[derive(Debug)]
pub struct Worker {
    grace: Duration,
    task: Supervised,
    /// Tells others what this worker holds.
    holding: Holding,
}

impl Worker {
    /// Starts to consume. The broker may be away: the worker keeps trying.
    pub fn start(store: Store, queue: Queue, options: WorkerOptions) -> Self {
        series::expose(Part::Worker);
        let stop = CancellationToken::new();
        let policy = Policy {
            attempts: options.attempts.max(1),
            first_delay: options.first_delay,
            longest_delay: options.longest_delay,
        };
        let holding = Holding::start(store.clone(), "worker");
        // Part of the time that the worker's task has to stop.
        let releasing = (options.grace - leaving(options.grace)) * 2 / 3;
        let shared = Shared::new(
            Slots::new(store, options.deadline),
            Room::new(options.bytes_at_once),
            policy,
            holding.holder(),
            stop.clone(),
            releasing,
        );
        let shared = Arc::new(shared);
        let concurrency = options.concurrency.max(1);
        let task = supervise("worker", stop.clone(), move |progress| {
            run(shared.clone(), queue.clone(), concurrency, stop.clone(), progress)
        });
        Self { grace: options.grace, task, holding }
    }

    /// How long ago it last got round, for readiness.
    pub fn progress(&self) -> Progress {
        self.task.progress()
    }

    /// Stops taking work, finishes what is in work, and returns when all of it is settled, or its time is up: then whatever
    /// hangs is cut off, and delivered again. True if everything was settled.
    pub async fn stop(self) -> bool {
        let grace =
            if fault::mutant(Mutant::StopWithoutGrace) { Duration::from_secs(3600) } else { self.grace };
        // To tell that nothing is held any more takes its part of the time.
        let leaving = leaving(grace);
        let settled = self.task.stop(grace - leaving).await;
        if timeout(leaving, self.holding.stop()).await.is_err() {
            tracing::debug!("the store was not told that this worker ends");
        }
        settled
    }
}

fn leaving(grace: Duration) -> Duration {
    LEAVING.min(grace / 2)
}

async fn run(
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
