//! Of which users an undo left changes out: [`LEFT_OUT`](muster_domain::undo::LEFT_OUT), the empty text, stands among the fields of their steps.

use muster_domain::error::ErrorCode;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::ImportId;
use muster_domain::undo::{Change, Found, Kind};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::problems::Cause;

/// The users of these changes that are not there and of whom earlier chunks of the undo left changes out. Of those that are there it is
/// known already, and one that is to be made again waits for nothing.
pub(super) async fn gone(
    connection: &mut PgConnection,
    import: ImportId,
    changes: &[Change],
    found: &[Found],
) -> Result<Vec<Uuid>, StoreError> {
    let is_gone = |user: &Uuid| found.binary_search_by_key(user, |found| found.id).is_err();
    let others = changes.iter().filter(|change| change.kind != Kind::Deleted).map(|change| change.user);
    let gone: Vec<Uuid> = others.filter(is_gone).collect();
    if gone.is_empty() {
        return Ok(gone);
    }
    Ok(sqlx::query_scalar!(
        "select user_id from undo_steps where import_id = $1 and user_id = any($2) and '' = any(kept)",
        import.get(),
        &gone,
    )
    .fetch_all(connection)
    .await?)
}

/// Forgets it where a retry tries again all that was left out: an undo has no other records that failed in this way.
pub(crate) async fn forget_left_out(
    connection: &mut PgConnection,
    import: ImportId,
    cause: Cause<'_>,
) -> Result<(), StoreError> {
    let is_meant = cause.code.is_none_or(|code| code == ErrorCode::ChangedSincePlan.as_str());
    if !is_meant || cause.field.is_some() || mutant(Mutant::RetryLeavesLeftOut) {
        return Ok(());
    }
    sqlx::query!(
        "update undo_steps set kept = array_remove(kept, '') where import_id = $1 and '' = any(kept)",
        import.get(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
