//! Staging: writes chunks to the store as they are packed, and renews the import's lease meanwhile.

use std::time::Duration;

use muster_domain::fault::{self, Point};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::receive::Staged;
use muster_store::receiving::{self, Tally};
use muster_store::{Connection, Store, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// What was staged, and the session that did it: the receipt goes over the same one.
pub(crate) struct Stage {
    pub(crate) connection: Connection,
    pub(crate) tally: Tally,
}

/// Stages what comes in until nothing more does. `None` if the import was aborted by others meanwhile. The
/// parser itself reports whether it reached the end.
pub(crate) async fn stage(
    store: &Store,
    import: ImportId,
    tenant: TenantId,
    mut staged: mpsc::Receiver<Staged>,
) -> Result<Option<Stage>, StoreError> {
    let mut connection = receiving::staging_connection(store).await?;
    let mut tally = Tally::default();
    let renewal = Duration::from_secs_f64(receiving::RENEW_SECONDS);
    let mut renew_at = Instant::now() + renewal;
    loop {
        // The time-out is around a channel, never around the store.
        match timeout_at(renew_at, staged.recv()).await {
            Ok(Some(Staged::Chunk(chunk))) => {
                receiving::stage(&mut connection, import, tenant, &chunk).await?;
                tally.chunk(&chunk);
            }
            Ok(Some(Staged::Issues(issues))) => {
                fault::point(Point::StageIssues)?;
                receiving::write_issues(&mut connection, import, &issues).await?;
                tally.issues(&issues);
            }
            Ok(Some(Staged::Keys(keys))) => {
                receiving::stage_keys(&mut connection, import, &keys).await?;
                tally.keys(keys.len());
            }
            Ok(Some(Staged::End) | None) => return Ok(Some(Stage { connection, tally })),
            Err(_) => {}
        }
        if Instant::now() >= renew_at {
            // Over the same connection, so that no reader can be in the way.
            if !receiving::renew(&mut connection, import).await? {
                return Ok(None);
            }
            renew_at = Instant::now() + renewal;
        }
    }
}
