//! Limits failed authentication by the address of the client and by the beginning of the credential, so that
//! neither one attacker nor many together can guess without limit. A client that lately used a valid
//! credential is not locked out by the failures of others.
//!
//! Memory is fixed: failures are counted in a table whose slots are chosen by a keyed hash. Two addresses may
//! share a slot, but nobody can choose which.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::request::Parts;
use muster_domain::fault::{Mutant, mutant};
use tokio::time::{Instant, sleep_until};

use super::error::ApiError;

/// Places of a table.
const PLACES: usize = 1 << 14;
/// Bytes of a credential by which those that begin alike are counted together: `mst_` and eight more.
const BEGINNING: usize = 12;
/// How long a credential that was known is not limited.
const GOOD_FOR: Duration = Duration::from_secs(60 * 60);
/// Most credentials of which that is remembered.
const MOST_GOOD: usize = 10_000;
/// How long it takes at least to say that a credential is none. The lookup of a revoked token takes a
/// different time than that of an unknown one, and this must not be observable.
const FAILS_AFTER: Duration = Duration::from_millis(25);
const MINUTE: f64 = 60.0;

/// The other end of a request's connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// From where a request comes, as far as failures are counted: an IPv6 network of 64 bits is one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Origin(Option<IpAddr>);

impl Origin {
    /// Of a request.
    pub(super) fn of(parts: &Parts) -> Self {
        Self(parts.extensions.get::<Peer>().map(|peer| network(peer.0.ip())))
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// The limits, and what has failed lately.
#[derive(Debug)]
pub(super) struct AuthLimit {
    keys: RandomState,
    origins: Table,
    beginnings: Table,
    /// Keyed hashes of credentials that were known, and when.
    good: Mutex<HashMap<u64, Instant>>,
}

impl AuthLimit {
    /// Most failures a minute of one address, and with credentials that begin alike; none is no limit.
    pub(super) fn new(of_origin: Option<NonZeroU32>, of_beginning: Option<NonZeroU32>) -> Self {
        Self {
            keys: RandomState::new(),
            origins: Table::new(of_origin),
            beginnings: Table::new(of_beginning),
            good: Mutex::default(),
        }
    }

    /// Lets a credential be looked up, unless too many have failed. It counts as a failure until the result
    /// is known, so that parallel attempts have no advantage over sequential ones.
    pub(super) fn admit(&self, origin: Origin, credential: &str) -> Result<Trial<'_>, ApiError> {
        self.try_with(origin, credential, credential.get(..BEGINNING))
    }

    /// The same of a credential whose beginning says nothing.
    pub(super) fn admit_whole(&self, origin: Origin, credential: &str) -> Result<Trial<'_>, ApiError> {
        self.try_with(origin, credential, None)
    }

    fn try_with(
        &self,
        origin: Origin,
        credential: &str,
        beginning: Option<&str>,
    ) -> Result<Trial<'_>, ApiError> {
        let now = Instant::now();
        let good = self.keys.hash_one(credential);
        let mut trial = Trial { limit: self, good, origin: None, beginning: None, began: now };
        if self.is_good(good, now) {
            return Ok(trial);
        }
        let too_many = |wait: Duration| ApiError::TooManyFailures(wait.as_secs() + 1);
        let origin = origin.0.map(|address| self.place(address));
        if let Some(place) = origin {
            self.origins.take(place, now).map_err(too_many)?;
        }
        trial.origin = origin;
        let beginning = beginning.map(|text| self.place(text));
        if let Some(place) = beginning.filter(|_| !mutant(Mutant::GuessesFromEverywhere)) {
            // Dropped on the way out, the trial stays counted for its address.
            self.beginnings.take(place, now).map_err(too_many)?;
            trial.beginning = Some(place);
        }
        Ok(trial)
    }

    fn place(&self, key: impl Hash) -> usize {
        usize::try_from(self.keys.hash_one(key) % PLACES as u64).unwrap_or(0)
    }

    fn is_good(&self, hash: u64, now: Instant) -> bool {
        let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        good.get(&hash).is_some_and(|since| now.saturating_duration_since(*since) < GOOD_FOR)
    }
}

/// A credential that is being looked up.
#[derive(Debug)]
#[must_use = "it counts as a failure"]
pub(super) struct Trial<'l> {
    limit: &'l AuthLimit,
    good: u64,
    origin: Option<usize>,
    beginning: Option<usize>,
    began: Instant,
}

impl Trial<'_> {
    /// The credential is known: nothing failed.
    pub(super) fn succeeded(self) {
        let mut good = self.limit.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good.len() >= MOST_GOOD && !good.contains_key(&self.good) {
            good.clear();
        }
        good.insert(self.good, self.began);
        drop(good);
        self.untold();
    }

    /// The credential could not be checked.
    pub(super) fn untold(self) {
        if let Some(place) = self.origin {
            self.limit.origins.give_back(place);
        }
        if let Some(place) = self.beginning {
            self.limit.beginnings.give_back(place);
        }
    }

    /// The credential is none. Returns as late as for every other that is none.
    pub(super) async fn failed(self) {
        self.limit.good.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.good);
        if !mutant(Mutant::FailAtOnce) {
            sleep_until(self.began + FAILS_AFTER).await;
        }
    }
}

/// Failures in each place: so many a minute, and after a pause as many at once.
#[derive(Debug)]
struct Table {
    most: Option<f64>,
    places: Mutex<Vec<Place>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    failures: f64,
    /// When that was so.
    at: Option<Instant>,
}

impl Table {
    fn new(most: Option<NonZeroU32>) -> Self {
        let places = if most.is_some() { PLACES } else { 0 };
        Self {
            most: most.map(|most| f64::from(most.get())),
            places: Mutex::new(vec![Place::default(); places]),
        }
    }

    /// Counts a failure in a slot. If the slot is full, returns how long until it is not.
    fn take(&self, place: usize, now: Instant) -> Result<(), Duration> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(most), Some(place)) = (self.most, places.get_mut(place)) else { return Ok(()) };
        if let Some(at) = place.at {
            let over = now.saturating_duration_since(at).as_secs_f64() * most / MINUTE;
            place.failures = (place.failures - over).max(0.0);
        }
        place.at = Some(now);
        if place.failures + 1.0 > most && !mutant(Mutant::GuessWithoutEnd) {
            return Err(Duration::from_secs_f64((place.failures + 1.0 - most) * MINUTE / most));
        }
        place.failures += 1.0;
        Ok(())
    }

    fn give_back(&self, place: usize) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get_mut(place) {
            place.failures = (place.failures - 1.0).max(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(address: &str) -> Origin {
        Origin(Some(network(address.parse().unwrap())))
    }

    fn limit(of_origin: u32, of_beginning: u32) -> AuthLimit {
        AuthLimit::new(NonZeroU32::new(of_origin), NonZeroU32::new(of_beginning))
    }

    /// How many of so many trials are admitted; all of them fail.
    fn admitted(limit: &AuthLimit, trials: usize, who: impl Fn(usize) -> (Origin, String)) -> usize {
        let admitted = (0..trials).filter(|number| {
            let (origin, credential) = who(*number);
            limit.admit(origin, &credential).is_ok()
        });
        admitted.count()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_fails_so_often_a_minute_and_no_more() {
        let limit = limit(60, 1000);
        let guess = |number: usize| (origin("192.0.2.1"), format!("mst_{number:08}rest"));
        assert_eq!(admitted(&limit, 100, guess), 60);
        let Err(ApiError::TooManyFailures(seconds)) = limit.admit(origin("192.0.2.1"), "x") else {
            panic!("it is limited")
        };
        assert_eq!(seconds, 2, "one a second, and what is begun counts whole");
        assert_eq!(admitted(&limit, 1, |_| (origin("192.0.2.2"), "x".into())), 1, "another address goes on");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(admitted(&limit, 100, guess), 10);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(admitted(&limit, 100, guess), 60, "a pause saves no more");
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_that_begin_alike_are_counted_together_wherever_they_come_from() {
        let limit = limit(1000, 10);
        let guess = |number: usize| (origin(&format!("192.0.2.{number}")), format!("mst_abcdefgh{number}"));
        assert_eq!(admitted(&limit, 100, guess), 10);
        let other = |number: usize| (origin(&format!("192.0.2.{number}")), format!("mst_ABCDEFGH{number}"));
        assert_eq!(admitted(&limit, 100, other), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_ipv6_is_one_address_and_a_mapped_one_is_that_of_ipv4() {
        assert_eq!(origin("2001:db8:1:2::1"), origin("2001:db8:1:2:ffff::9"));
        assert_ne!(origin("2001:db8:1:2::1"), origin("2001:db8:1:3::1"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_known_lately_is_let_in_whatever_others_do() {
        let limit = limit(5, 5);
        let here = origin("192.0.2.1");
        limit.admit(here, "mst_abcdefgh-good").unwrap().succeeded();
        assert_eq!(admitted(&limit, 100, |number| (here, format!("mst_abcdefgh{number}"))), 5);
        for _ in 0..100 {
            limit.admit(here, "mst_abcdefgh-good").unwrap().succeeded();
        }
        // Revoked, it is as all others.
        limit.admit(here, "mst_abcdefgh-good").unwrap().failed().await;
        assert!(limit.admit(here, "mst_abcdefgh-good").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn trials_at_once_are_counted_and_given_back_where_nothing_failed() {
        let limit = limit(5, 50);
        let here = origin("192.0.2.1");
        let running: Vec<_> = (0..5).map(|number| limit.admit(here, &format!("{number}")).unwrap()).collect();
        assert!(limit.admit(here, "another").is_err());
        running.into_iter().for_each(Trial::untold);
        assert!(limit.admit(here, "another").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn failing_takes_the_same_time_however_long_the_look_took() {
        let limit = limit(5, 5);
        for look in [0, 3, 24] {
            let began = Instant::now();
            let trial = limit.admit(origin("192.0.2.1"), "x").unwrap();
            tokio::time::sleep(Duration::from_millis(look)).await;
            trial.failed().await;
            assert_eq!(began.elapsed(), FAILS_AFTER);
        }
    }

    #[test]
    fn without_limits_nothing_is_kept() {
        let limit = AuthLimit::new(None, None);
        assert_eq!(limit.origins.places.lock().unwrap().len(), 0);
        assert_eq!(admitted(&limit, 1000, |_| (origin("192.0.2.1"), "mst_abcdefgh".into())), 1000);
    }
}
