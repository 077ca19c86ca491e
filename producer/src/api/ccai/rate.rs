//! Rate limit for each tenant: a token bucket that is full after a second without requests.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use muster_domain::id::TenantId;
use tokio::time::Instant;

/// What a tenant has left.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// In requests.
    left: f64,
    /// When that was so.
    at: Instant,
}

impl Bucket {
    fn full(rate: NonZeroU32, now: Instant) -> Self {
        Self { left: f64::from(rate.get()), at: now }
    }

    /// Takes one request out. False if there is none.
    fn take(&mut self, rate: NonZeroU32, now: Instant) -> bool {
        let rate = f64::from(rate.get());
        let since = now.saturating_duration_since(self.at).min(Duration::from_secs(1));
        self.left = (self.left + since.as_secs_f64() * rate).min(rate);
        self.at = now;
        let there = self.left >= 1.0;
        if there {
            self.left -= 1.0;
        }
        there
    }
}

/// The buckets of all tenants that ever asked: tenants are few.
#[derive(Debug, Default)]
pub(in crate::api) struct RateLimit {
    rate: Option<NonZeroU32>,
    buckets: Mutex<HashMap<TenantId, Bucket>>,
}

impl RateLimit {
    /// A limit of so many requests a second; none is no limit.
    pub(in crate::api) fn new(rate: Option<NonZeroU32>) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// Whether the tenant may make a request now, which then counts.
    pub(super) fn admits(&self, tenant: TenantId, now: Instant) -> bool {
        let Some(rate) = self.rate else { return true };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.entry(tenant).or_insert_with(|| Bucket::full(rate, now)).take(rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tenant_has_so_many_requests_a_second_and_no_more() {
        let limit = RateLimit::new(NonZeroU32::new(10));
        let (one, two, start) = (TenantId::new(1), TenantId::new(2), Instant::now());
        assert!((0..10).all(|_| limit.admits(one, start)));
        assert!(!limit.admits(one, start));
        assert!(limit.admits(two, start), "another tenant has its own");
        let later = start + Duration::from_millis(101);
        assert!(limit.admits(one, later) && !limit.admits(one, later), "a tenth of a second gives one");
        let much_later = later + Duration::from_secs(60);
        assert_eq!((0..100).filter(|_| limit.admits(one, much_later)).count(), 10, "a pause saves no more");
        let unlimited = RateLimit::new(None);
        assert!((0..1000).all(|_| unlimited.admits(one, start)));
    }
}
