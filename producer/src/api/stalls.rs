//! The stalled imports, for readiness, metrics and the page of all tenants.

use std::sync::Arc;
use std::time::Duration;

use muster_store::status::{self, Stalled, StalledImports};

use super::AppState;

/// How long the list of stalled imports is cached: reading it checks the chunks of all imports without progress.
const STALLS_FOR: Duration = Duration::from_secs(2);

/// Imports that stand still.
#[derive(Debug, Clone, Default)]
pub(super) struct Stalls {
    pub(super) count: u64,
    /// Why, where some do. Names no tenant and no import: anybody may ask.
    pub(super) reason: Option<String>,
    /// What they are, for those alone who may see all tenants.
    pub(super) found: Arc<StalledImports>,
}

/// The stalled imports; `None` if it is unknown.
pub(super) async fn stalled(state: &AppState) -> Option<Stalls> {
    let question = || {
        let (store, bounds) = (state.0.store.clone(), state.0.bounds);
        async move {
            let stalled = status::stalled(&store, &bounds).await.ok()?;
            let reason = stalled.first.first().map(|first| why(stalled.count, first));
            Some(Stalls { count: stalled.count, reason, found: Arc::new(stalled) })
        }
    };
    state.0.checks.stalled.ask(STALLS_FOR, question).await
}

fn why(count: u64, first: &Stalled) -> String {
    let since = first.progress.no_progress_since;
    let since = since.map_or_else(String::new, |at| at.format(" since %Y-%m-%d %H:%M:%S UTC").to_string());
    let reason = first.progress.reason();
    match count {
        1 => format!("a running import makes no progress{since}: {reason}"),
        more => format!("{more} running imports make no progress, the first{since}: {reason}"),
    }
}
