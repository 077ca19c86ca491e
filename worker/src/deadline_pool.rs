//! The connections for applying, one for each chunk in progress, and the deadline of each step on them.
//!
//! A connection that saw an error or was not answered in time is thrown away, never given on, and the idle ones with it.

use std::time::Duration;

use muster_domain::fault::{self, Mutant};
use muster_store::apply::{self, Limits};
use muster_store::connections::ConnectionPool;
use muster_store::{Connection, Store, StoreError};

/// The idle connections of a worker.
#[derive(Debug, Clone)]
pub(crate) struct DeadlinePool {
    store: Store,
    deadline: Duration,
    idle: ConnectionPool,
}

impl DeadlinePool {
    /// `deadline` is how long one step may take before its connection is given up. The server's own limits
    /// are shorter, so that a living server ends a step itself.
    pub(crate) fn new(store: Store, deadline: Duration) -> Self {
        Self { store, deadline, idle: ConnectionPool::default() }
    }

    /// How long one step may take.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The limits that the server keeps.
    pub(crate) fn limits(&self) -> Limits {
        Limits { statement: self.deadline * 2 / 3, lock: self.deadline / 2, idle: self.deadline / 3 }
    }

    /// An idle connection, or a new one.
    pub(crate) async fn take(&self) -> Result<Connection, StoreError> {
        match self.idle.take() {
            Some(connection) => Ok(connection),
            None => self.within(apply::connection(&self.store, &self.limits())).await,
        }
    }

    /// Gives back a connection on which nothing failed.
    pub(crate) fn give_back(&self, connection: Connection) {
        self.idle.give_back(connection);
    }

    /// Closes the idle connections.
    pub(crate) fn close_idle(&self) {
        self.idle.close_idle();
    }

    /// Waits for a step until the deadline. After [`StoreError::Silent`] the caller must drop the connection of the step.
    pub(crate) async fn within<T>(
        &self,
        step: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if fault::mutant(Mutant::NoDeadline) {
            return step.await;
        }
        match tokio::time::timeout(self.deadline, step).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::Silent(self.deadline)),
        }
    }

    /// The same for what consists of several statements with work of its own between them.
    pub(crate) async fn within_longer<T>(
        &self,
        steps: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let pool = Self { deadline: self.deadline * 4, ..self.clone() };
        pool.within(steps).await
    }
}
