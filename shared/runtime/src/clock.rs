//! The only module that reads the clock and generates randomness and ids.
//!
//! The core takes them as arguments ([`Clock`], [`IdSource`], a generator), so that it is deterministic; the
//! shell gets them here. Clippy forbids the ambient functions everywhere else.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use uuid::{Builder, Uuid};

/// The time now.
#[expect(clippy::disallowed_methods, reason = "this is the place where time comes from")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// A new id, UUID version 7: for things made one at a time. For a chunk of users take an [`IdSource`].
#[expect(clippy::disallowed_methods, reason = "this is the place where ids come from")]
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// A generator fit for secrets, seeded by the operating system.
pub fn rng() -> StdRng {
    StdRng::from_os_rng()
}

/// A source of ids for one batch, seeded by the operating system and starting now.
pub fn id_source() -> IdSource {
    IdSource::new(now(), rng())
}

/// A source of the time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time now.
    fn now(&self) -> DateTime<Utc>;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        now()
    }
}

/// A clock that moves only when a test moves it. Clones show the same time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<DateTime<Utc>>>);

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: DateTime<Utc>) -> Self {
        Self(Arc::new(Mutex::new(start)))
    }

    /// Moves the clock.
    pub fn advance(&self, by: TimeDelta) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes many UUIDs of version 7, each greater than the one before, without asking the system for each.
///
/// 48 bits of time in milliseconds, 12 bits of a counter, 62 bits of randomness (RFC 9562, section 6.2, method 1). The counter starts
/// anywhere in its lower half and carries into the time, so a batch of thousands may run a few milliseconds ahead of the clock. The 62
/// bits are drawn for each id from a generator fit for secrets that the operating system seeds once a batch: knowing some ids of a batch
/// does not reveal the others, and two sources do not collide within a millisecond.
#[derive(Debug)]
pub struct IdSource<R = StdRng> {
    /// Time and counter: the first 60 bits of the next id, its version left out.
    prefix: u64,
    rng: R,
}

const COUNTER_BITS: u32 = 12;

impl<R: RngCore> IdSource<R> {
    /// A source that starts at `now` and draws from `rng`.
    pub fn new(now: DateTime<Utc>, mut rng: R) -> Self {
        let milliseconds = u64::try_from(now.timestamp_millis()).unwrap_or(0);
        let counter = u64::from(rng.next_u32() >> (32 - (COUNTER_BITS - 1)));
        Self { prefix: (milliseconds << COUNTER_BITS) | counter, rng }
    }

    /// The next id.
    pub fn next_id(&mut self) -> Uuid {
        let milliseconds = self.prefix >> COUNTER_BITS;
        let [.., high, low] = self.prefix.to_be_bytes();
        self.prefix += 1;

        let mut tail = [0; 10];
        self.rng.fill_bytes(&mut tail);
        // The builder overwrites the four bits above the counter with the version, and two of the tail with the variant.
        tail[0] = high;
        tail[1] = low;
        Builder::from_unix_timestamp_millis(milliseconds, &tail).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant() -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_123).unwrap()
    }

    fn batch(seed: u64, count: usize) -> Vec<Uuid> {
        let mut source = IdSource::new(instant(), StdRng::seed_from_u64(seed));
        (0..count).map(|_| source.next_id()).collect()
    }

    #[test]
    fn ids_of_a_batch_rise_and_are_of_version_7() {
        let ids = batch(1, 20_000);
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        for id in &ids {
            assert_eq!(id.get_version_num(), 7);
            assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        }
    }

    #[test]
    fn ids_carry_the_time_they_were_made_at() {
        let ids = batch(2, 2_000);
        assert_eq!(milliseconds(ids[0]), 1_700_000_000_123);
        assert!(milliseconds(ids[1_999]) <= 1_700_000_000_124);
    }

    #[test]
    fn two_sources_of_the_same_millisecond_do_not_meet() {
        let mut ids = batch(3, 5_000);
        ids.extend(batch(4, 5_000));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn the_same_seed_makes_the_same_ids() {
        assert_eq!(batch(5, 10), batch(5, 10));
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(instant());
        let same = clock.clone();
        clock.advance(TimeDelta::seconds(5));
        assert_eq!(same.now() - instant(), TimeDelta::seconds(5));
    }

    fn milliseconds(id: Uuid) -> u64 {
        u64::try_from(id.as_u128() >> 80).unwrap()
    }
}
