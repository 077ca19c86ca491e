//! The channels on which programs tell each other what happened.

use muster_domain::fault::{self, Point};

use crate::{Store, StoreError};

/// The channel that announces the ids of imports when they complete.
pub const COMPLETED_CHANNEL: &str = "muster_imports";

/// The channel on which dispatchers are woken.
pub const WAKE_CHANNEL: &str = "muster_dispatch";

/// Wakes the dispatchers. Sent outside of any transaction that writes: a NOTIFY in one would make all commits wait for each other.
pub async fn wake(store: &Store) -> Result<(), StoreError> {
    fault::point(Point::Wake)?;
    sqlx::query!("select pg_notify('muster_dispatch', '')").execute(store.pool()).await?;
    Ok(())
}
