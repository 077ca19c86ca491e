//! Jobs: a small number for clients, and the import of the current file. A client uploads to a job, perhaps
//! several times, and then starts it once.
//!
//! A job has no state of its own, so it cannot disagree with its import. A job whose only upload was interrupted does not exist.

use chrono::{DateTime, Utc};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use uuid::Uuid;

use super::audit::Did;
use super::convert::wide;
use super::lifecycle::{PROCEED, cancel_import, noted};
use super::{Store, StoreError};

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkJob {
    /// Number.
    pub id: i64,
    /// Its current import.
    pub import: ImportId,
    /// State of the import.
    pub state: ImportState,
    /// Name of the token that uploaded the current file.
    pub uploaded_by: String,
    /// Name of the token that asked for the start.
    pub proceeded_by: Option<String>,
    /// When that was.
    pub process_requested_at: Option<DateTime<Utc>>,
    /// When the job was made.
    pub created_at: DateTime<Utc>,
}

/// The result of a transition of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// Done; before it, the job's import was in this state.
    Done(ImportState),
    /// The job's import is in a state in which this cannot be done.
    Refused(ImportState),
    /// The tenant has no such job.
    NotFound,
}

struct JobRow {
    id: i64,
    import_id: Uuid,
    state: String,
    uploaded_by: String,
    proceeded_by: Option<String>,
    process_requested_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

impl TryFrom<JobRow> for BulkJob {
    type Error = StoreError;

    fn try_from(row: JobRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            import: ImportId::new(row.import_id),
            state: read_state(&row.state, row.import_id)?,
            uploaded_by: row.uploaded_by,
            proceeded_by: row.proceeded_by,
            process_requested_at: row.process_requested_at,
            created_at: row.created_at,
        })
    }
}

fn read_state(state: &str, import: Uuid) -> Result<ImportState, StoreError> {
    state.parse().map_err(|_| StoreError::corrupt("imports", "state", import))
}

/// Makes a job for an import that is being received.
pub async fn create(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    uploaded_by: &str,
) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar!(
        "insert into bulk_jobs (tenant_id, import_id, uploaded_by) values ($1, $2, $3) returning id",
        tenant.get(),
        import.get(),
        uploaded_by,
    )
    .fetch_one(store.pool())
    .await?)
}

/// A job of the tenant. `None` if there is no such job.
pub async fn get(store: &Store, tenant: TenantId, id: i64) -> Result<Option<BulkJob>, StoreError> {
    sqlx::query_as!(
        JobRow,
        "select j.id, j.import_id, i.state, j.uploaded_by, j.proceeded_by, j.process_requested_at, j.created_at
           from bulk_jobs as j
           join imports as i on i.id = j.import_id
          where j.tenant_id = $1 and j.id = $2 and i.state <> 'aborted'",
        tenant.get(),
        id,
    )
    .fetch_optional(&mut *store.reading(tenant).await?)
    .await?
    .map(BulkJob::try_from)
    .transpose()
}

/// Some of the tenant's jobs, newest first.
pub async fn page(
    store: &Store,
    tenant: TenantId,
    offset: u64,
    limit: u64,
) -> Result<Vec<BulkJob>, StoreError> {
    let rows = sqlx::query_as!(
        JobRow,
        "select j.id, j.import_id, i.state, j.uploaded_by, j.proceeded_by, j.process_requested_at, j.created_at
           from bulk_jobs as j
           join imports as i on i.id = j.import_id
          where j.tenant_id = $1 and i.state <> 'aborted'
          order by j.id desc
         offset $2
          limit $3",
        tenant.get(),
        wide(offset),
        wide(limit),
    )
    .fetch_all(&mut *store.reading(tenant).await?)
    .await?;
    rows.into_iter().map(BulkJob::try_from).collect()
}

/// How many jobs the tenant has.
pub async fn count(store: &Store, tenant: TenantId) -> Result<u64, StoreError> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!"
             from bulk_jobs as j
             join imports as i on i.id = j.import_id
            where j.tenant_id = $1 and i.state <> 'aborted'"#,
        tenant.get(),
    )
    .fetch_one(&mut *store.reading(tenant).await?)
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Gives a job that was not started another file: `import` takes the place of its import, which is cancelled if it waited.
pub async fn replace(
    store: &Store,
    tenant: TenantId,
    id: i64,
    import: ImportId,
    uploaded_by: &str,
) -> Result<Moved, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let Some((before, state)) = lock(&mut transaction, tenant, id).await? else {
        return Ok(Moved::NotFound);
    };
    if !matches!(state, ImportState::Receiving | ImportState::Received | ImportState::Refused) {
        return Ok(Moved::Refused(state));
    }
    let cancelled = cancel_import(&mut transaction, tenant, before).await?;
    noted(&mut transaction, store, tenant, before, Did::ImportCancel, cancelled).await?;
    sqlx::query!(
        "update bulk_jobs set import_id = $2, uploaded_by = $3 where id = $1",
        id,
        import.get(),
        uploaded_by,
    )
    .execute(&mut *transaction)
    .await?;
    super::commit(store, transaction).await?;
    Ok(Moved::Done(state))
}

/// Starts a job whose import was received, and writes down who asked. Asking again changes nothing and is no error.
pub async fn proceed(store: &Store, tenant: TenantId, id: i64, by: &str) -> Result<Moved, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let Some((import, state)) = lock(&mut transaction, tenant, id).await? else {
        return Ok(Moved::NotFound);
    };
    match state {
        ImportState::Received => {}
        ImportState::Running | ImportState::Paused | ImportState::Completed | ImportState::Cancelled => {
            return Ok(Moved::Done(state));
        }
        // Jobs have no plans.
        ImportState::Receiving
        | ImportState::Planning
        | ImportState::Planned
        | ImportState::Refused
        | ImportState::Aborted => {
            return Ok(Moved::Refused(state));
        }
    }
    let moved = sqlx::query!(
        "update imports set state = $2, started_at = now() where id = $1 and state = any($3)",
        import.get(),
        PROCEED.to(),
        &PROCEED.from(),
    )
    .execute(&mut *transaction)
    .await?;
    super::one_moved(moved.rows_affected(), "an import")?;
    noted(&mut transaction, store, tenant, import, Did::ImportProceed, 1).await?;
    sqlx::query!(
        "update bulk_jobs set process_requested_at = now(), proceeded_by = $2 where id = $1",
        id,
        by
    )
    .execute(&mut *transaction)
    .await?;
    super::commit(store, transaction).await?;
    Ok(Moved::Done(state))
}

/// The job's import and its state. Neither changes until the transaction ends, whatever other clients request.
///
/// The job first and by itself: who waited for another's new file must then see that file. One statement for both would look
/// for the new import among those that it joined before it waited, and find no job.
async fn lock(
    transaction: &mut super::Transaction<'_>,
    tenant: TenantId,
    id: i64,
) -> Result<Option<(ImportId, ImportState)>, StoreError> {
    let import = sqlx::query_scalar!(
        "select import_id from bulk_jobs where tenant_id = $1 and id = $2 for no key update",
        tenant.get(),
        id,
    )
    .fetch_optional(&mut **transaction)
    .await?;
    let Some(import) = import else { return Ok(None) };
    let state = sqlx::query_scalar!(
        "select state from imports where id = $1 and state <> 'aborted' for no key update",
        import,
    )
    .fetch_optional(&mut **transaction)
    .await?;
    state.map(|state| Ok((ImportId::new(import), read_state(&state, import)?))).transpose()
}
