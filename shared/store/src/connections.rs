//! Connections beside the pool of the store: each does one transaction at a time, with a step after the other under the eyes of whoever
//! works on it, and is kept afterwards only where nothing failed on it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Connection, StoreError};

/// The idle ones. How many are in use is bounded by whoever takes them.
#[derive(Debug, Clone, Default)]
pub struct ConnectionPool(Arc<Mutex<Vec<Connection>>>);

impl ConnectionPool {
    /// One that is idle. Nobody knows whether it still leads anywhere.
    pub fn take(&self) -> Option<Connection> {
        self.idle().pop()
    }

    /// Gives back a connection on which nothing failed.
    pub fn give_back(&self, connection: Connection) {
        self.idle().push(connection);
    }

    /// Throws the idle ones away: what broke one connection may have broken all, and each would be waited for in vain.
    pub fn close_idle(&self) {
        // Dropped without the lock held.
        let idle = std::mem::take(&mut *self.idle());
        drop(idle);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Collisions with other writers in a row before one is met by working alone.
const SHARED_TRIES: u32 = 3;

/// Whether the next try is to have the tenant's users for itself, after so many collisions in a row, of which this error is the last.
pub fn is_met_alone(error: &StoreError, collisions: u32) -> bool {
    collisions >= SHARED_TRIES || matches!(error, StoreError::NeedsExclusive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collision_is_met_alone_the_third_time_or_where_it_asks_for_that() {
        let collision = StoreError::Conflict("a row changed");
        assert_eq!([1, 2, 3, 4].map(|times| is_met_alone(&collision, times)), [false, false, true, true]);
        assert!(is_met_alone(&StoreError::NeedsExclusive, 1));
    }
}
