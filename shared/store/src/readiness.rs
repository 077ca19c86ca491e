//! The state of the database: a word for readiness, and gauges of the pool.

use muster_runtime::readiness::{COUNTS_FOR, Part};

use super::Store;

/// What the database answered last.
#[derive(Debug, Default)]
pub struct StorePart(Part<&'static str>);

impl StorePart {
    /// `ok`; `read_only`: a standby, which takes no writes; or `unreachable`.
    pub async fn word(&self, store: &Store) -> &'static str {
        let question = || {
            let store = store.clone();
            async move { store.is_writable().await.ok().map(|writable| if writable { "ok" } else { "read_only" }) }
        };
        self.0.ask(COUNTS_FOR, question).await.unwrap_or("unreachable")
    }
}

/// Sets the gauges of the pool.
pub fn set_pool(store: &Store) {
    let pool = store.status();
    metrics::gauge!("muster_store_connections", "state" => "open").set(pool.open);
    metrics::gauge!("muster_store_connections", "state" => "idle").set(pool.idle);
    metrics::gauge!("muster_store_connections", "state" => "in_use").set(pool.open.saturating_sub(pool.idle));
    metrics::gauge!("muster_store_connections_max").set(pool.max);
}
