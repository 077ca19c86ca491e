//! Deciding what becomes of a delivery: a pure function of what applying gave, the attempts so far and the policy.
//!
//! The broker is never asked to try again: it would at once, and would count against its own limit. Whatever is to be
//! tried later is put off in the store and its message acked.

use std::time::Duration;

use muster_shared::store::ErrorKind;

/// When to try a chunk again, and when to give it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Attempts a chunk has.
    pub(crate) attempts: u32,
    /// Delay before the second attempt; doubled for each further one.
    pub(crate) first_delay: Duration,
    /// The longest delay.
    pub(crate) longest_delay: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { attempts: 5, first_delay: Duration::from_secs(1), longest_delay: Duration::from_secs(600) }
    }
}

/// What applying a delivery came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The chunk is applied, by this delivery.
    Done,
    /// There was nothing to do: applied before, cancelled, or dispatched anew.
    NothingToDo,
    /// There is no such chunk: its import was deleted, or the message is not ours.
    Unknown,
    /// The staged records cannot be read.
    Broken,
    /// The store refused.
    Failed(ErrorKind),
}

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    /// It is dealt with.
    Ack,
    /// The chunk is dispatched again after a while; the delivery is acked.
    PutOff(Duration),
    /// The chunk is dead; the delivery is acked.
    Bury,
    /// The delivery is parked: nobody can do anything with it.
    Park(&'static str),
    /// The store is away: the same delivery is tried again once it is back.
    Hold,
}

/// Decides. `attempts` counts this one too; `jitter` is a random number from 0 to 1.
pub(crate) fn decide(applied: Applied, attempts: u32, policy: &Policy, jitter: f64) -> Verdict {
    match applied {
        Applied::Done | Applied::NothingToDo => Verdict::Ack,
        Applied::Unknown => Verdict::Park("no such chunk"),
        Applied::Broken => Verdict::Bury,
        Applied::Failed(ErrorKind::Transient) => Verdict::Hold,
        Applied::Failed(ErrorKind::Conflict | ErrorKind::Data | ErrorKind::Permanent) => {
            if attempts >= policy.attempts {
                Verdict::Bury
            } else {
                Verdict::PutOff(delay(attempts, policy, jitter))
            }
        }
    }
}

/// Doubled for each attempt, and 20 % more or less at random so that chunks that failed together do not come back together.
fn delay(attempts: u32, policy: &Policy, jitter: f64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(30);
    let plain = policy.first_delay.saturating_mul(1 << doublings).min(policy.longest_delay);
    plain.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy =
        Policy { attempts: 3, first_delay: Duration::from_secs(1), longest_delay: Duration::from_secs(3) };

    #[test]
    fn attempts_are_spent_one_by_one_and_then_the_chunk_is_dead() {
        let failed = Applied::Failed(ErrorKind::Permanent);
        assert_eq!(decide(failed, 1, &POLICY, 0.5), Verdict::PutOff(Duration::from_secs(1)));
        assert_eq!(decide(failed, 2, &POLICY, 0.5), Verdict::PutOff(Duration::from_secs(2)));
        assert_eq!(decide(failed, 3, &POLICY, 0.5), Verdict::Bury);
        assert_eq!(decide(failed, 4, &POLICY, 0.5), Verdict::Bury);
    }

    #[test]
    fn an_outage_spends_no_attempt() {
        for attempts in [1, 3, 99] {
            assert_eq!(decide(Applied::Failed(ErrorKind::Transient), attempts, &POLICY, 0.5), Verdict::Hold);
        }
    }

    #[test]
    fn delays_stay_within_the_limit_and_the_jitter() {
        for attempts in 0..200 {
            for jitter in [0.0, 0.3, 1.0] {
                let delay = delay(attempts, &POLICY, jitter);
                assert!(
                    delay >= Duration::from_millis(800) && delay <= Duration::from_millis(3600),
                    "{delay:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_settled_before_is_acked_and_strangers_are_parked() {
        assert_eq!(decide(Applied::NothingToDo, 1, &POLICY, 0.0), Verdict::Ack);
        assert_eq!(decide(Applied::Done, 9, &POLICY, 0.0), Verdict::Ack);
        assert!(matches!(decide(Applied::Unknown, 1, &POLICY, 0.0), Verdict::Park(_)));
        assert_eq!(decide(Applied::Broken, 1, &POLICY, 0.0), Verdict::Bury);
    }
}
