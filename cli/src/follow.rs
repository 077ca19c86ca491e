//! Following an import to its end.

use std::time::Duration;

use anyhow::bail;
use muster_shared::id::{ImportId, TenantId};
use muster_shared::store::{Store, reports};

use crate::client::{Refused, Remote};
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

/// How often to ask a server.
const ASK: Duration = Duration::from_secs(1);
/// How often in a row a server may fail to answer.
const SILENT: u32 = 60;

/// Follows an import behind a server until its end, through outages of a minute. The import goes on without us.
pub(crate) async fn remote(
    remote: &Remote,
    import: ImportId,
    progress: &Progress,
    shutdown: &Shutdown,
) -> anyhow::Result<View> {
    let mut silent = 0;
    loop {
        match remote.show(import).await {
            Ok(view) => {
                silent = 0;
                progress.applying(&view.counts);
                if view.state.is_final() {
                    return Ok(view);
                }
            }
            // What the server refuses, it will refuse again; what does not reach it, may.
            Err(error) if error.is::<Refused>() || silent >= SILENT => return Err(error),
            Err(error) => {
                silent += 1;
                tracing::debug!(%error, "the server does not answer; asking again");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(ASK) => {}
            () = shutdown.stopping() => {
                progress.clear();
                return Err(anyhow::Error::new(Aborted).context(format!(
                    "import {import} goes on without being watched; `muster imports show {import}` tells how far it is"
                )));
            }
        }
    }
}
