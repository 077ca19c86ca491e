//! Forgetting: imports that ended long ago are deleted with their chunks and outcomes. Users stay.

use super::{Store, StoreError};

/// Imports deleted in one transaction.
const AT_A_TIME: i64 = 20;

/// Deletes some imports of all tenants that ended longer ago than that. Returns how many; fewer than a batch means that no
/// more are due.
pub async fn delete_ended(store: &Store, seconds: f64) -> Result<usize, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let ended = sqlx::query_scalar!(
        "select id
           from imports
          where state in ('completed', 'aborted', 'refused', 'cancelled')
            and completed_at < now() - make_interval(secs => $1)
          order by id
          limit $2
            for update skip locked",
        seconds,
        AT_A_TIME,
    )
    .fetch_all(&mut *transaction)
    .await?;
    if ended.is_empty() {
        return Ok(0);
    }
    sqlx::query!("delete from record_issues where import_id = any($1)", &ended)
        .execute(&mut *transaction)
        .await?;
    sqlx::query!("delete from bulk_jobs where import_id = any($1)", &ended)
        .execute(&mut *transaction)
        .await?;
    sqlx::query!(
        "delete from chunk_identifiers where chunk_id in (select id from chunks where import_id = any($1))",
        &ended
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query!("delete from chunks where import_id = any($1)", &ended).execute(&mut *transaction).await?;
    sqlx::query!("delete from imports where id = any($1)", &ended).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(ended.len())
}
