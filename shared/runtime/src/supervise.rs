//! Supervision of the tasks that must run for as long as the process does: a task that panics or ends by itself is started again
//! after a while, which is logged and counted, and [`Progress`] tells readiness how long ago the task finished its last round.
//!
//! The unfinished work of a task is lost, as in a crash of the process. So only tasks that tolerate a crash belong here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_domain::fault::{Mutant, mutant};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::retry::{Backoff, Policy};

/// A task that ran for so long before it ended is started again at once, as after its first end.
const SETTLED: Duration = Duration::from_secs(60);

/// A task under supervision. Dropped, it is aborted.
#[derive(Debug)]
pub struct Supervised {
    name: &'static str,
    stop: CancellationToken,
    progress: Progress,
    task: JoinHandle<()>,
}

/// How long ago a task last got round, and how often it was started again. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Progress(Arc<State>);

#[derive(Debug)]
struct State {
    since: Instant,
    /// Milliseconds after `since`.
    last: AtomicU64,
    restarts: AtomicU64,
}

/// Runs what `start` gives until `stop` is cancelled: when it panics or ends before that, it is started again with back-off.
///
/// The task must end by itself when `stop` is cancelled, and call [`Progress::note`] each time it gets round.
pub fn supervise<Task>(
    name: &'static str,
    stop: CancellationToken,
    mut start: impl FnMut(Progress) -> Task + Send + 'static,
) -> Supervised
where
    Task: Future<Output = ()> + Send + 'static,
{
    let progress = Progress::new();
    let (seen, token) = (progress.clone(), stop.clone());
    let task = tokio::spawn(async move {
        let mut backoff = Backoff::new(Policy::RECONNECT);
        loop {
            let started = Instant::now();
            // A set of one, so that the task is aborted when its supervisor is.
            let mut running = JoinSet::new();
            running.spawn(start(seen.clone()));
            let ended = running.join_next().await;
            if token.is_cancelled() || mutant(Mutant::NotStartedAgain) {
                return;
            }
            match ended {
                Some(Err(error)) => {
                    tracing::error!(task = name, %error, "a task did not end well; it is started again")
                }
                _ => tracing::error!(task = name, "a task ended before its time; it is started again"),
            }
            metrics::counter!("muster_task_restarts_total", "task" => name).increment(1);
            seen.0.restarts.fetch_add(1, Ordering::Relaxed);
            if started.elapsed() >= SETTLED {
                backoff.reset();
            }
            tokio::select! {
                () = sleep(backoff.delay()) => {}
                () = token.cancelled() => return,
            }
        }
    });
    Supervised { name, stop, progress, task }
}

impl Supervised {
    /// What the task reports about itself, for readiness.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Cancels the task's token, and aborts the task if it does not end within `grace`. True if it ended by itself.
    pub async fn stop(mut self, grace: Duration) -> bool {
        self.stop.cancel();
        let grace = if mutant(Mutant::StopWaits) { Duration::from_secs(3600) } else { grace };
        match timeout(grace, &mut self.task).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(task = self.name, %error, "a task did not end well");
                false
            }
            Err(_) => {
                tracing::warn!(task = self.name, "a task did not end within its grace and is aborted");
                false
            }
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Progress {
    /// As if the task had got round just now.
    pub fn new() -> Self {
        Self(Arc::new(State { since: Instant::now(), last: AtomicU64::new(0), restarts: AtomicU64::new(0) }))
    }

    /// The task got round.
    pub fn note(&self) {
        self.0.last.store(self.now(), Ordering::Relaxed);
    }

    /// How long ago the task last got round.
    pub fn silent_for(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.0.last.load(Ordering::Relaxed)))
    }

    /// How often the task was started again.
    pub fn restarts(&self) -> u64 {
        self.0.restarts.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a test may")]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_or_ends_is_started_again_until_it_is_stopped() {
        let stop = CancellationToken::new();
        let token = stop.clone();
        let mut starts = 0;
        let supervised = supervise("test", stop, move |progress| {
            starts += 1;
            let (number, token) = (starts, token.clone());
            async move {
                progress.note();
                match number {
                    1 => panic!("for a test"),
                    2 => {}
                    _ => token.cancelled().await,
                }
            }
        });
        let progress = supervised.progress();
        // Of the paused clock: it comes at once where nothing else is waited for.
        let deadline = Instant::now() + Duration::from_secs(60);
        while progress.restarts() < 2 {
            assert!(Instant::now() < deadline, "it is not started again");
            sleep(Duration::from_millis(10)).await;
        }
        sleep(Duration::from_secs(5)).await;
        assert_eq!(progress.restarts(), 2);
        assert!(progress.silent_for() >= Duration::from_secs(4));
        assert!(supervised.stop(Duration::from_secs(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_stop_is_aborted_after_its_grace() {
        let supervised = supervise("test", CancellationToken::new(), |_| std::future::pending());
        let asked = Instant::now();
        assert!(!supervised.stop(Duration::from_secs(3)).await);
        assert_eq!(asked.elapsed(), Duration::from_secs(3));
    }
}
