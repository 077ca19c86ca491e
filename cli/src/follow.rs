//! Following an import to its end.

use std::time::Duration;

use anyhow::bail;
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::outcome::Counts;
use muster_runtime::config::Config;
use muster_store::reports::ChunkCounts;
use muster_store::{Store, reports};

use crate::client::{Refused, Remote};
use crate::connect::Session;
use crate::pipeline::Pipeline;
use crate::progress::Progress;
use crate::shutdown::{Aborted, Shutdown};
use crate::view::View;

/// Whether there is nothing more to wait for: the import has ended, or its plan waits for somebody.
fn rests(state: ImportState) -> bool {
    state.is_final() || state == ImportState::Planned
}

/// How far an import is. While it is planned its records stay pending, and its chunks tell how far that is.
fn so_far(state: ImportState, counts: Counts, chunks: ChunkCounts) -> Counts {
    let open = chunks.staged + chunks.dispatched + chunks.retryable;
    let all = open + chunks.planned;
    if state != ImportState::Planning || all == 0 {
        return counts;
    }
    let pending = u128::from(counts.pending) * u128::from(open) / u128::from(all);
    Counts { pending: u64::try_from(pending).unwrap_or(counts.pending), ..counts }
}

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
        progress.applying(&so_far(report.state, report.counts, report.chunks));
        if rests(report.state) {
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
                progress.applying(&so_far(view.state, view.counts, view.chunks));
                if rests(view.state) {
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
                    "import {import} continues in the background; `muster imports show {import}` shows its progress"
                )));
            }
        }
    }
}

/// Dispatches and applies here until the import is at its end. Stopped before, it can be gone on with.
pub(crate) async fn drive(
    session: &Session,
    config: &Config,
    tenant: TenantId,
    import: ImportId,
    progress: &Progress,
    shutdown: &Shutdown,
) -> anyhow::Result<View> {
    let pipeline = Pipeline::start(&session.store, &session.queue(config)?, config);
    pipeline.wake();
    let ended = local(&session.store, tenant, import, progress, shutdown).await;
    pipeline.stop().await;
    ended
}
