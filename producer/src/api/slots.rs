//! Limits how many uploads there are at a time, and how many requests follow events or wait for a change: in all and for each tenant.
//! When all slots are taken, a client is told to try again later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::TenantId;

use super::error::ApiError;

/// The slots of uploads, or of other requests that last.
#[derive(Debug, Clone)]
pub(super) struct Slots(Arc<Places>);

#[derive(Debug)]
struct Places {
    in_all: usize,
    of_one: usize,
    taken: Mutex<HashMap<TenantId, usize>>,
}

/// A place; dropped, it is free again.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Places>,
    tenant: TenantId,
}

impl Slots {
    pub(super) fn new(in_all: usize, of_one: usize) -> Self {
        Self(Arc::new(Places { in_all, of_one, taken: Mutex::default() }))
    }

    /// Takes a place for an upload of a tenant.
    pub(super) fn take(&self, tenant: TenantId) -> Result<Slot, ApiError> {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&tenant).copied().unwrap_or(0);
        if !mutant(Mutant::AnyUploads) {
            if own >= self.0.of_one {
                return Err(ApiError::TooManyUploads);
            }
            if taken.values().sum::<usize>() >= self.0.in_all {
                return Err(ApiError::Busy);
            }
        }
        taken.insert(tenant, own + 1);
        Ok(Slot { slots: self.0.clone(), tenant })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.tenant) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.tenant)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_for_one_tenant_and_come_free_again() {
        let slots = Slots::new(3, 2);
        let tenants = [TenantId::new(1), TenantId::new(2)];
        let first = slots.take(tenants[0]).unwrap();
        let _second = slots.take(tenants[0]).unwrap();
        assert!(matches!(slots.take(tenants[0]), Err(ApiError::TooManyUploads)));
        let _third = slots.take(tenants[1]).unwrap();
        assert!(matches!(slots.take(tenants[1]), Err(ApiError::Busy)));
        drop(first);
        let _fourth = slots.take(tenants[1]).unwrap();
        assert!(matches!(slots.take(tenants[0]), Err(ApiError::Busy)));
    }
}
