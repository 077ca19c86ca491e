//! The complete worker, as `muster worker`, `muster serve` and the tests start it.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use muster_domain::fault::{self, Mutant};
use muster_queue::Queue;
use muster_runtime::supervise::{Progress, Supervised, supervise};
use muster_runtime::telemetry::series::{self, Part};
use muster_store::Store;
use muster_store::holding::Holding;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::consume::run;
use crate::deadline_pool::DeadlinePool;
use crate::memory_budget::MemoryBudget;
use crate::settlement::AttemptPolicy;
use crate::shared::Shared;

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
        let policy = AttemptPolicy::default();
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
        let policy = AttemptPolicy {
            attempts: options.attempts.max(1),
            first_delay: options.first_delay,
            longest_delay: options.longest_delay,
        };
        let holding = Holding::start(store.clone(), "worker", NonZeroU16::new(options.concurrency.max(1)));
        // Part of the time that the worker's task has to stop.
        let releasing = (options.grace - leaving(options.grace)) * 2 / 3;
        let shared = Shared::new(
            DeadlinePool::new(store, options.deadline),
            MemoryBudget::new(options.bytes_at_once),
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

    /// Stops taking work, finishes the chunks in progress, and returns when all of them are settled or the
    /// time is up. Then the remaining work is aborted, and delivered again. True if everything was settled.
    pub async fn stop(self) -> bool {
        let grace =
            if fault::mutant(Mutant::StopWithoutGrace) { Duration::from_secs(3600) } else { self.grace };
        // To tell that nothing is held any more takes its part of the time.
        let leaving = leaving(grace);
        let settled = self.task.stop(grace - leaving).await;
        if timeout(leaving, self.holding.stop()).await.is_err() {
            tracing::debug!("the store could not be informed that this worker ends");
        }
        settled
    }
}

fn leaving(grace: Duration) -> Duration {
    LEAVING.min(grace / 2)
}
