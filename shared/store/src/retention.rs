//! Retention: imports that ended long ago are deleted with their chunks and outcomes. Their before-images and
//! the key of their secrets are deleted earlier. Imports that nobody starts are cancelled. Users are kept.

use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId};
use uuid::Uuid;

use super::{Store, StoreError, lifecycle};

/// Imports deleted in one go.
const AT_A_TIME: usize = 20;
/// Imports read at a time.
const PAGE: i64 = 100;

/// What one go came to.
#[derive(Debug, Default)]
pub struct Deleted {
    /// Imports deleted.
    pub imports: usize,
    /// Imports that the store refused to delete; they are tried again the next time.
    pub refused: usize,
    /// Why, for the first of them.
    pub problem: Option<StoreError>,
}

/// Deletes some imports of all tenants that ended longer ago than that, each by itself: one that cannot be deleted stops no other.
pub async fn delete_ended(store: &Store, seconds: f64) -> Result<Deleted, StoreError> {
    let mut deleted = Deleted::default();
    let mut after = Uuid::nil();
    loop {
        let page = sqlx::query_scalar!(
            "select id
               from imports
              where state in ('completed', 'aborted', 'refused', 'cancelled')
                and completed_at < now() - make_interval(secs => $1)
                and id > $2
              order by id
              limit $3",
            seconds,
            after,
            PAGE,
        )
        .fetch_all(store.pool())
        .await?;
        let Some(last) = page.last() else { return Ok(deleted) };
        after = *last;
        for import in page {
            match delete(store, import, seconds).await {
                Ok(true) => deleted.imports += 1,
                Ok(false) => {}
                Err(error) if mutant(Mutant::RetentionInOne) => return Err(error),
                Err(error) => {
                    deleted.refused += 1;
                    deleted.problem.get_or_insert(error);
                }
            }
            // The rest has its turn the next time; and where nothing can be deleted, that is the database's trouble.
            if deleted.imports + deleted.refused >= AT_A_TIME && deleted.imports > 0
                || deleted.refused >= AT_A_TIME * 10
            {
                return Ok(deleted);
            }
        }
    }
}

/// False for an import that somebody else is about to change.
async fn delete(store: &Store, import: Uuid, seconds: f64) -> Result<bool, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let still = sqlx::query_scalar!(
        "select id
           from imports
          where id = $1
            and state in ('completed', 'aborted', 'refused', 'cancelled')
            and completed_at < now() - make_interval(secs => $2)
            for update skip locked",
        import,
        seconds,
    )
    .fetch_optional(&mut *transaction)
    .await?;
    if still.is_none() {
        return Ok(false);
    }
    sqlx::query!("delete from record_issues where import_id = $1", import).execute(&mut *transaction).await?;
    sqlx::query!("delete from bulk_jobs where import_id = $1", import).execute(&mut *transaction).await?;
    sqlx::query!(
        "delete from chunk_identifiers where chunk_id in (select id from chunks where import_id = any($1))",
        &[import][..]
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query!("delete from before_images where import_id = $1", import).execute(&mut *transaction).await?;
    sqlx::query!("delete from undo_steps where import_id = $1", import).execute(&mut *transaction).await?;
    super::plans::forget(&mut transaction, ImportId::new(import)).await?;
    sqlx::query!("delete from chunks where import_id = $1", import).execute(&mut *transaction).await?;
    sqlx::query!("delete from imports where id = $1", import).execute(&mut *transaction).await?;
    sqlx::query!("delete from events where import_id = $1", import).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
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

/// Rows of before-images deleted in one go.
const IMAGES_AT_A_TIME: i64 = 1_000;

/// Deletes some of the before-images of imports that ended longer ago than that: those imports cannot be undone any more. Returns how
/// many rows there were.
pub async fn forget_before_images(store: &Store, seconds: f64) -> Result<u64, StoreError> {
    if mutant(Mutant::BeforeImagesForEver) {
        return Ok(0);
    }
    let forgotten = sqlx::query!(
        "delete from before_images
          where id in (select b.id
                         from imports as i
                         join before_images as b on b.import_id = i.id
                        where i.state in ('completed', 'cancelled')
                          and i.completed_at < now() - make_interval(secs => $1)
                        limit $2
                        -- Who opens an undo of the import has locked it.
                          for no key update of i skip locked)",
        seconds,
        IMAGES_AT_A_TIME,
    )
    .execute(store.pool())
    .await?;
    Ok(forgotten.rows_affected())
}

/// What one go of cancelling came to.
#[derive(Debug, Default)]
pub struct Unstarted {
    /// Imports cancelled.
    pub cancelled: u64,
    /// Why the first of those was not cancelled that the store refused; they are tried again the next time.
    pub problem: Option<StoreError>,
}

/// Cancels some imports that were received or planned longer ago than that and that nobody started, each by itself: one that cannot be
/// cancelled stops no other.
pub async fn cancel_unstarted(store: &Store, seconds: f64) -> Result<Unstarted, StoreError> {
    let waiting: Vec<Uuid> = sqlx::query_scalar(
        "select id
           from imports
          where state in ('received', 'planned') and coalesce(planned_at, received_at) < now() - make_interval(secs => $1)
          order by id
          limit $2",
    )
    .bind(seconds)
    .bind(PAGE)
    .fetch_all(store.pool())
    .await?;
    let mut unstarted = Unstarted::default();
    for import in waiting {
        match cancel(store, import, seconds).await {
            Ok(cancelled) => unstarted.cancelled += cancelled,
            Err(error) if mutant(Mutant::UnstartedInOne) => return Err(error),
            Err(error) => {
                unstarted.problem.get_or_insert(error);
            }
        }
    }
    Ok(unstarted)
}

/// 0 for an import that somebody else is about to change, or has changed since.
async fn cancel(store: &Store, import: Uuid, seconds: f64) -> Result<u64, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let tenant: Option<i32> = sqlx::query_scalar(
        "select tenant_id
           from imports
          where id = $1 and state in ('received', 'planned')
            and coalesce(planned_at, received_at) < now() - make_interval(secs => $2)
            for update skip locked",
    )
    .bind(import)
    .bind(seconds)
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(tenant) = tenant else { return Ok(0) };
    let import = ImportId::new(import);
    let cancelled = lifecycle::cancel_import(&mut transaction, TenantId::new(tenant), import).await?;
    transaction.commit().await?;
    Ok(cancelled)
}
