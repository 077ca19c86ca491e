//! Following an import to its end.

use std::time::Duration;

use anyhow::bail;
use muster_shared::id::{ImportId, TenantId};
use muster_shared::store::{Store, reports};

use crate::import::Progress;
use crate::shutdown::{Aborted, Shutdown};
use crate::view::View;

/// How often to look.
const POLL: Duration = Duration::from_millis(200);

/// Follows an import in the store until its end. An error once the command is asked to stop.
pub(crate) async fn local(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    progress: &Progress,
    shutdown: &Shutdown,
) -> anyhow::Result<View> {
    loop {
        let Some(report) = reports::import(store, tenant, import).await? else {
            bail!("import {import} is gone");
        };
        progress.applying(&report.counts);
        if report.state.is_final() {
            return Ok(report.into());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = shutdown.stopping() => {
                progress.clear();
                return Err(anyhow::Error::new(Aborted)
                    .context(format!("import {import} is not finished; the same command again goes on with it")));
            }
        }
    }
}
