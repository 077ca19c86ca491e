//! Forgetting: imports that ended long ago are deleted with their chunks and outcomes, before that the key of their secrets, and
//! imports that nobody starts are cancelled. Users stay.

use super::{Store, StoreError, steer};
use crate::id::{ImportId, TenantId};

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
    sqlx::query!("delete from chunks where import_id = any($1)", &ended).execute(&mut *transaction).await?;
    sqlx::query!("delete from imports where id = any($1)", &ended).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(ended.len())
}

/// Throws away the keys of secrets of imports that ended longer ago than that: their failed records cannot be applied with
/// their secrets from then on. Returns how many there were.
pub async fn forget_secrets(store: &Store, seconds: f64) -> Result<u64, StoreError> {
    let forgotten = sqlx::query!(
        "update imports
            set secret_key = null
          where state in ('completed', 'aborted', 'refused', 'cancelled')
            and completed_at < now() - make_interval(secs => $1) and secret_key is not null",
        seconds,
    )
    .execute(store.pool())
    .await?;
    Ok(forgotten.rows_affected())
}

/// Cancels some imports that were received longer ago than that and that nobody started. Returns how many.
pub async fn cancel_unstarted(store: &Store, seconds: f64) -> Result<u64, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let waiting = sqlx::query!(
        "select id, tenant_id
           from imports
          where state = 'received' and received_at < now() - make_interval(secs => $1)
          order by id
          limit $2
            for update skip locked",
        seconds,
        AT_A_TIME,
    )
    .fetch_all(&mut *transaction)
    .await?;
    let mut cancelled = 0;
    for import in waiting {
        let tenant = TenantId::new(import.tenant_id);
        cancelled += steer::cancel_import(&mut transaction, tenant, ImportId::new(import.id)).await?;
    }
    transaction.commit().await?;
    Ok(cancelled)
}
