//! Staging: chunks go into the store as they are sealed, and the import is kept alive meanwhile.

use std::time::Duration;

use muster_shared::fault::{self, Point};
use muster_shared::id::{ImportId, TenantId};
use muster_shared::store::{Store, StoreError, intake};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::receive::Staged;

/// Stages what comes in until nothing more does. False if the import was aborted by others meanwhile. Whether the parser
/// came to its end is the parser's to say.
pub(crate) async fn stage(
    store: &Store,
    import: ImportId,
    tenant: TenantId,
    lease_seconds: f64,
    mut staged: mpsc::Receiver<Staged>,
) -> Result<bool, StoreError> {
    let mut connection = intake::staging_connection(store).await?;
    let renewal = Duration::from_secs_f64(lease_seconds / 4.0);
    let mut renew_at = Instant::now() + renewal;
    loop {
        // The time-out is around a channel, never around the store.
        match timeout_at(renew_at, staged.recv()).await {
            Ok(Some(Staged::Chunk(chunk))) => intake::stage(&mut connection, import, tenant, &chunk).await?,
            Ok(Some(Staged::Issues(issues))) => {
                fault::point(Point::StageIssues)?;
                intake::write_issues(&mut connection, import, &issues).await?
            }
            Ok(Some(Staged::Keys(keys))) => intake::stage_keys(&mut connection, import, &keys).await?,
            Ok(Some(Staged::End)) => return Ok(true),
            Ok(None) => return Ok(true),
            Err(_) => {}
        }
        if Instant::now() >= renew_at {
            if !intake::renew(store, import, lease_seconds).await? {
                return Ok(false);
            }
            renew_at = Instant::now() + renewal;
        }
    }
}
