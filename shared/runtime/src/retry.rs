//! When to retry and how long to wait: exponential back-off with jitter.
//!
//! The only module that uses the `backoff` crate. It offers two interfaces: [`Backoff`], an endless iterator of delays for loops that
//! reconnect, and [`retry`], which runs an operation until it succeeds, fails for good, or the policy's time is up. Neither uses the
//! crate's `retry_after`, which ignores every time limit.

use std::fmt::Display;
use std::time::Duration;

use backoff::backoff::Backoff as _;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use tokio::time::{Instant, sleep};

/// Whether an operation that failed may be tried again, and how. Errors of the store and of the queue know their kind, so that the caller
/// need not know their source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// What was asked is away, busy or out of something. The same again may work later.
    Transient,
    /// Someone else was there first. Read again, decide again, write again.
    Conflict,
    /// The database refuses these rows. The same rows will be refused again; fewer of them may not be.
    Data,
    /// A mistake of the program or its set-up. Trying again does not help.
    Permanent,
}

/// How delays grow and when to give up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// The first delay, before jitter.
    pub first: Duration,
    /// The longest delay, before jitter.
    pub longest: Duration,
    /// How much longer each delay is than the one before.
    pub factor: f64,
    /// Part of the delay, from 0 to 1, by which it is randomly shortened or lengthened, so that many clients that lost
    /// the same server do not come back in step.
    pub jitter: f64,
    /// Time from the start after which no further try begins; `None` tries for ever.
    pub give_up_after: Option<Duration>,
}

impl Policy {
    /// For connections: quick at first, since a fail-over takes well under a second, then at most every five seconds, without an end.
    pub const RECONNECT: Self = Self {
        first: Duration::from_millis(100),
        longest: Duration::from_secs(5),
        factor: 2.0,
        jitter: 0.3,
        give_up_after: None,
    };

    /// The same growth, but given up after `limit`.
    #[must_use]
    pub const fn for_at_most(mut self, limit: Duration) -> Self {
        self.give_up_after = Some(limit);
        self
    }
}

/// The delays of a policy, one after the other, without end.
#[derive(Debug)]
pub struct Backoff(ExponentialBackoff);

impl Backoff {
    /// Starts with the policy's first delay. The policy's time limit is not applied here: a loop that reconnects has none.
    pub fn new(policy: Policy) -> Self {
        let inner = ExponentialBackoffBuilder::new()
            .with_initial_interval(policy.first)
            .with_max_interval(policy.longest)
            .with_multiplier(policy.factor)
            .with_randomization_factor(policy.jitter)
            .with_max_elapsed_time(None)
            .build();
        Self(inner)
    }

    /// Starts again with the first delay. Call it when something worked.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// The next delay.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use muster_runtime::retry::{Backoff, Policy};
    ///
    /// let mut backoff = Backoff::new(Policy::RECONNECT);
    /// for _ in 0..10 {
    ///     // The longest, and the jitter.
    ///     assert!(backoff.delay() <= Duration::from_secs(7));
    /// }
    /// ```
    pub fn delay(&mut self) -> Duration {
        // Without a time limit the crate never answers `None`; its longest interval is the sensible reading if it did.
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.delay())
    }
}

/// Runs `operation` until it succeeds, its error is permanent, or the policy's time is up; gives the last error then.
///
/// Transient errors and conflicts are tried again, each logged as a warning with the delay that follows.
pub async fn retry<T, E, Try>(
    policy: Policy,
    kind: impl Fn(&E) -> ErrorKind,
    mut operation: impl FnMut() -> Try,
) -> Result<T, E>
where
    E: Display,
    // Not an async closure: what holds one cannot be spawned.
    Try: Future<Output = Result<T, E>>,
{
    let started = Instant::now();
    let mut backoff = Backoff::new(policy);
    loop {
        let error = match operation().await {
            Ok(value) => return Ok(value),
            Err(error) if matches!(kind(&error), ErrorKind::Permanent | ErrorKind::Data) => {
                return Err(error);
            }
            Err(error) => error,
        };
        let delay = backoff.delay();
        if policy.give_up_after.is_some_and(|limit| started.elapsed() + delay > limit) {
            return Err(error);
        }
        tracing::warn!(%error, delay_ms = delay.as_millis(), "trying again");
        sleep(delay).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[derive(Debug, PartialEq, thiserror::Error)]
    #[error("failed")]
    struct Failed(ErrorKind);

    impl Failed {
        fn kind(&self) -> ErrorKind {
            self.0
        }
    }

    #[test]
    fn delays_grow_to_the_longest_and_start_again_after_a_reset() {
        let mut backoff = Backoff::new(Policy { jitter: 0.0, ..Policy::RECONNECT });
        let delays: Vec<u128> = backoff.by_ref().take(8).map(|delay| delay.as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.delay().as_millis(), 100);
    }

    #[test]
    fn jitter_stays_within_its_part() {
        let policy = Policy { jitter: 0.3, factor: 1.0, ..Policy::RECONNECT };
        assert!(Backoff::new(policy).take(1000).all(|delay| (70..=130).contains(&delay.as_millis())));
    }

    #[tokio::test(start_paused = true)]
    async fn transient_errors_are_tried_again_and_permanent_ones_are_not() {
        let mut left = 3;
        let result = retry(Policy::RECONNECT, Failed::kind, || {
            left -= 1;
            ready(if left > 0 { Err(Failed(ErrorKind::Transient)) } else { Ok(left) })
        })
        .await;
        assert_eq!(result, Ok(0));

        let mut calls = 0;
        let result: Result<(), Failed> = retry(Policy::RECONNECT, Failed::kind, || {
            calls += 1;
            ready(Err(Failed(ErrorKind::Permanent)))
        })
        .await;
        assert_eq!((result, calls), (Err(Failed(ErrorKind::Permanent)), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_limit_ends_it() {
        let started = Instant::now();
        let policy = Policy::RECONNECT.for_at_most(Duration::from_secs(60));
        let result: Result<(), Failed> =
            retry(policy, Failed::kind, || ready(Err(Failed(ErrorKind::Transient)))).await;
        assert!(result.is_err());
        assert!(started.elapsed() <= Duration::from_secs(60));
        assert!(started.elapsed() > Duration::from_secs(50));
    }
}
