//! Decides how a delivery is settled: a pure function of the result of applying, the attempts so far and the policy.
//!
//! The broker is never asked to redeliver: it would do so at once, and count against its own limit. A chunk
//! that is tried later waits in the store, and its message is acked. A delivery is held only while the store
//! cannot be reached.

use std::time::Duration;

use muster_domain::backoff;
use muster_store::ErrorKind;

/// When to try a chunk again, and when to give it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AttemptPolicy {
    /// Attempts a chunk has.
    pub(crate) attempts: u32,
    /// Delay before the second attempt; doubled for each further one.
    pub(crate) first_delay: Duration,
    /// The longest delay.
    pub(crate) longest_delay: Duration,
}

/// The longest wait of a deferred chunk, so that it continues soon after its cause is gone.
const LONGEST_DEFERRAL: Duration = Duration::from_secs(30);

/// How long a chunk waits that comes after another one. About as long as that takes.
const WAIT: Duration = Duration::from_millis(50);

impl Default for AttemptPolicy {
    fn default() -> Self {
        Self { attempts: 5, first_delay: Duration::from_secs(1), longest_delay: Duration::from_secs(600) }
    }
}

/// What applying a delivery came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The chunk is applied, by this delivery.
    Done,
    /// Another chunk is to be applied first.
    Waits,
    /// There was nothing to do: applied before, cancelled, or dispatched again.
    NothingToDo,
    /// There is no such chunk: its import was deleted, or the message is not ours.
    Unknown,
    /// The message names another import or tenant than its chunk has.
    Foreign,
    /// The staged records cannot be read.
    Broken,
    /// The allowed number of workers died while applying it.
    Spent,
    /// A newer program wrote it.
    Newer,
    /// The store answers and refuses everything, or another session holds a lock that the chunk needs.
    StoreRefuses,
    /// The store cannot be reached.
    StoreUnreachable,
    /// The store can be reached, and its connections break whenever the chunk is applied.
    Breaks,
    /// The store refused the chunk, or the program panicked over it.
    Failed(ErrorKind),
}

/// How often the chunk was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The attempt that this is, from 1.
    pub(crate) attempt: u32,
    /// How often it was deferred.
    pub(crate) deferrals: u32,
}

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Settlement {
    /// It is done.
    Ack,
    /// An attempt is spent, the chunk is dispatched again later, and the delivery is acked.
    RetryLater(Duration),
    /// The same, and no attempt is spent.
    Defer(Duration),
    /// Another chunk is applied first; the chunk is dispatched again soon; the delivery is acked.
    Wait(Duration),
    /// The chunk is dead; the delivery is acked.
    MarkDead,
    /// The delivery is a dead letter: it cannot be processed.
    DeadLetter(&'static str),
    /// The store is away: the same delivery is tried again once it is back.
    Hold,
    /// The worker stops: the delivery goes back to the queue.
    GiveBack,
}

/// How often a chunk is deferred whose connections break, before that counts as attempts. Each deferral was written down, so the database
/// works for others; but it may take a while until that is so for the chunk too.
const BREAKS: u32 = 8;

/// How many workers may die while they end a chunk whose attempts are spent.
const ENDINGS: u32 = 2;

/// Decides. `jitter` is a random number from 0 to 1.
pub(crate) fn decide(
    applied: Applied,
    standing: Standing,
    policy: &AttemptPolicy,
    jitter: f64,
) -> Settlement {
    match applied {
        Applied::Done | Applied::NothingToDo => Settlement::Ack,
        Applied::Waits => Settlement::Wait(delay(1, WAIT, WAIT, jitter)),
        Applied::Unknown => Settlement::DeadLetter("no such chunk"),
        Applied::Foreign => {
            Settlement::DeadLetter("the message names another import or tenant than its chunk has")
        }
        // Ending the chunk takes memory too, so this may kill workers. The producer ends dead letters whose attempts are spent.
        Applied::Spent if standing.attempt > policy.attempts.saturating_add(ENDINGS) => {
            Settlement::DeadLetter("its workers die of ending it as well")
        }
        Applied::Broken | Applied::Spent => Settlement::MarkDead,
        Applied::Breaks if standing.deferrals < BREAKS => defer(standing, policy, jitter),
        Applied::Newer | Applied::StoreRefuses => defer(standing, policy, jitter),
        Applied::StoreUnreachable => Settlement::Hold,
        Applied::Breaks | Applied::Failed(_) => {
            if standing.attempt >= policy.attempts {
                Settlement::MarkDead
            } else {
                Settlement::RetryLater(delay(
                    standing.attempt,
                    policy.first_delay,
                    policy.longest_delay,
                    jitter,
                ))
            }
        }
    }
}

/// The chunk waits, longer each time, and no attempt is spent.
fn defer(standing: Standing, policy: &AttemptPolicy, jitter: f64) -> Settlement {
    let longest = policy.longest_delay.min(LONGEST_DEFERRAL);
    Settlement::Defer(delay(standing.deferrals.saturating_add(1), policy.first_delay, longest, jitter))
}

/// The wait after so many times, 20 % more or less at random.
fn delay(times: u32, first: Duration, longest: Duration, jitter: f64) -> Duration {
    backoff::delay(times, (first, longest), 0.2, jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: AttemptPolicy = AttemptPolicy {
        attempts: 3,
        first_delay: Duration::from_secs(1),
        longest_delay: Duration::from_secs(3),
    };

    fn standing(attempt: u32) -> Standing {
        Standing { attempt, deferrals: 0 }
    }

    #[test]
    fn a_chunk_that_kills_workers_while_they_end_it_is_left_to_the_producer() {
        // The attempt after the last is the first that finds all of them spent.
        for deaths in 0..2 {
            let standing = standing(POLICY.attempts + 1 + deaths);
            assert_eq!(decide(Applied::Spent, standing, &POLICY, 0.5), Settlement::MarkDead);
        }
        let last = decide(Applied::Spent, standing(POLICY.attempts + 3), &POLICY, 0.5);
        assert!(matches!(last, Settlement::DeadLetter(_)), "{last:?}");
    }

    #[test]
    fn attempts_are_spent_one_by_one_and_then_the_chunk_is_dead() {
        let failed = Applied::Failed(ErrorKind::Permanent);
        assert_eq!(decide(failed, standing(1), &POLICY, 0.5), Settlement::RetryLater(Duration::from_secs(1)));
        assert_eq!(decide(failed, standing(2), &POLICY, 0.5), Settlement::RetryLater(Duration::from_secs(2)));
        assert_eq!(decide(failed, standing(3), &POLICY, 0.5), Settlement::MarkDead);
        assert_eq!(decide(failed, standing(4), &POLICY, 0.5), Settlement::MarkDead);
        assert_eq!(decide(Applied::Spent, standing(1), &POLICY, 0.5), Settlement::MarkDead);
    }

    #[test]
    fn an_outage_spends_no_attempt() {
        for attempt in [1, 3, 99] {
            assert_eq!(decide(Applied::StoreUnreachable, standing(attempt), &POLICY, 0.5), Settlement::Hold);
        }
    }

    #[test]
    fn a_chunk_that_breaks_its_connections_waits_and_then_spends_its_attempts() {
        for deferrals in 0..BREAKS {
            let settlement = decide(Applied::Breaks, Standing { attempt: 1, deferrals }, &POLICY, 0.5);
            assert!(matches!(settlement, Settlement::Defer(_)), "{deferrals}: {settlement:?}");
        }
        let standing = |attempt| Standing { attempt, deferrals: BREAKS };
        let retried = decide(Applied::Breaks, standing(1), &POLICY, 0.5);
        assert_eq!(retried, Settlement::RetryLater(POLICY.first_delay));
        assert_eq!(decide(Applied::Breaks, standing(3), &POLICY, 0.5), Settlement::MarkDead);
    }

    #[test]
    fn what_the_chunk_waits_for_is_waited_for_longer_each_time_and_never_ends_it() {
        for applied in [Applied::StoreRefuses, Applied::Newer] {
            for (deferrals, seconds) in [(0, 1), (1, 2), (2, 3), (1000, 3)] {
                let standing = Standing { attempt: 99, deferrals };
                let expected = Settlement::Defer(Duration::from_secs(seconds));
                assert_eq!(decide(applied, standing, &POLICY, 0.5), expected);
            }
        }
        let patient = AttemptPolicy { longest_delay: Duration::from_secs(600), ..POLICY };
        let standing = Standing { attempt: 1, deferrals: 1000 };
        assert_eq!(
            decide(Applied::StoreRefuses, standing, &patient, 0.5),
            Settlement::Defer(LONGEST_DEFERRAL)
        );
    }

    #[test]
    fn delays_stay_within_the_limit_and_the_jitter() {
        for times in 0..200 {
            for jitter in [0.0, 0.3, 1.0] {
                let delay = delay(times, POLICY.first_delay, POLICY.longest_delay, jitter);
                assert!(
                    delay >= Duration::from_millis(800) && delay <= Duration::from_millis(3600),
                    "{delay:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_settled_before_is_acked_and_strangers_are_dead_letters() {
        assert_eq!(decide(Applied::NothingToDo, standing(1), &POLICY, 0.0), Settlement::Ack);
        assert_eq!(decide(Applied::Done, standing(9), &POLICY, 0.0), Settlement::Ack);
        for stranger in [Applied::Unknown, Applied::Foreign] {
            assert!(matches!(decide(stranger, standing(1), &POLICY, 0.0), Settlement::DeadLetter(_)));
        }
        assert_eq!(decide(Applied::Broken, standing(1), &POLICY, 0.0), Settlement::MarkDead);
    }
}
