//! Connections for applying, one a chunk in work. A connection that saw an error is thrown away, never given on.

use std::sync::{Arc, Mutex, PoisonError};

use muster_shared::store::{Connection, Store, StoreError};

/// The idle connections of a worker.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    store: Store,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Slots {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, idle: Arc::default() }
    }

    /// An idle connection, or a new one.
    pub(crate) async fn take(&self) -> Result<Connection, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(connection) => Ok(connection),
            None => self.store.dedicated_connection().await,
        }
    }

    /// Gives back a connection on which nothing failed.
    pub(crate) fn give_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}
