//! Applying: a chunk is locked, its users are upserted ([`upsert`](super::upsert)), and it is finished, in one transaction.
//!
//! Why nothing happens twice (P3): [`lock`] takes the chunk's row lock and looks at its state; users, outcomes, counts and
//! the state `applied` commit together. A message delivered again finds the chunk ended and changes nothing.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::intake::{Issue, small, write_issues};
use super::{Store, StoreError, Transaction};
use crate::chunk::{SecretKey, decode};
use crate::error::{ErrorCode, RecordError};
use crate::fault::{self, Point};
use crate::id::{ChunkId, ImportId, TenantId};
use crate::import::ChunkState;
use crate::options::ImportOptions;
use crate::outcome::{Outcome, OutcomeSheet, Verdict};
use crate::record::{Secrets, source_json};

/// First key of the advisory locks on tenants; the second is the tenant.
const TENANT_LOCK: i32 = 0x6d75;

/// A chunk whose row is locked until the transaction ends.
#[derive(Debug, Clone)]
pub struct LockedChunk {
    /// Its import.
    pub import: ImportId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its state.
    pub state: ChunkState,
    /// Attempts that did not end well, so far.
    pub attempts: u32,
    /// How many records it has.
    pub records: usize,
    /// Fingerprint of the body.
    pub body_hash: i64,
    /// Outcomes so far: only the pending records are to be applied.
    pub outcomes: OutcomeSheet,
    /// Nobody else writes users of the tenant meanwhile.
    pub alone: bool,
    /// Retry opened it again: later records of the file may have been applied before its own.
    pub reopened: bool,
}

/// Locks a chunk, and shares the tenant's lock with other writers of its users. `None` if there is no such chunk.
///
/// With `alone`, nobody else writes users of the tenant until the transaction ends: for a chunk that kept colliding.
pub async fn lock(
    connection: &mut PgConnection,
    chunk: ChunkId,
    alone: bool,
) -> Result<Option<LockedChunk>, StoreError> {
    let Some(row) = sqlx::query!(
        r#"select import_id, tenant_id, state, attempts, records, body_hash, outcomes, reopened > 0 as "reopened!"
           from chunks
          where id = $1
            for no key update"#,
        chunk.get(),
    )
    .fetch_optional(&mut *connection)
    .await?
    else {
        return Ok(None);
    };
    lock_tenant(connection, TenantId::new(row.tenant_id), alone).await?;
    let records = usize::try_from(row.records).unwrap_or(0);
    let outcomes = read_sheet(chunk, row.records, row.outcomes.as_deref())?;
    Ok(Some(LockedChunk {
        import: ImportId::new(row.import_id),
        tenant: TenantId::new(row.tenant_id),
        state: row.state.parse().map_err(|_| StoreError::corrupt("chunks", "state", chunk))?,
        attempts: u32::try_from(row.attempts).unwrap_or(0),
        records,
        body_hash: row.body_hash,
        outcomes,
        alone,
        reopened: row.reopened,
    }))
}

/// Shares the tenant's lock with other writers of its users, or takes it alone, until the transaction ends.
pub async fn lock_tenant(
    connection: &mut PgConnection,
    tenant: TenantId,
    alone: bool,
) -> Result<(), StoreError> {
    if alone {
        sqlx::query!("select pg_advisory_xact_lock($1, $2)", TENANT_LOCK, tenant.get())
            .execute(connection)
            .await?;
    } else {
        sqlx::query!("select pg_advisory_xact_lock_shared($1, $2)", TENANT_LOCK, tenant.get())
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Begins a transaction that writes users, and shares the tenant's lock (or takes it alone) in the same round trip.
pub async fn begin_writing(
    connection: &mut PgConnection,
    tenant: TenantId,
    alone: bool,
) -> Result<Transaction<'_>, StoreError> {
    let lock = if alone { "pg_advisory_xact_lock" } else { "pg_advisory_xact_lock_shared" };
    // Two statements at once, which no prepared statement can be. The only values in the text are two numbers.
    let begin = format!("begin; select {lock}({TENANT_LOCK}, {})", tenant.get());
    Ok(sqlx::Connection::begin_with(connection, AssertSqlSafe(begin)).await?)
}

/// The options of an import, and whether its records are rows of a table. `None` if there is no such import.
pub async fn options(store: &Store, import: ImportId) -> Result<Option<ImportOptions>, StoreError> {
    let Some(json) = sqlx::query_scalar!("select options from imports where id = $1", import.get())
        .fetch_optional(store.pool())
        .await?
    else {
        return Ok(None);
    };
    serde_json::from_value(json).map(Some).map_err(|_| StoreError::corrupt("imports", "options", import))
}

/// The staged body of a chunk, for when its message does not carry it.
pub async fn body(connection: &mut PgConnection, chunk: ChunkId) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(sqlx::query_scalar!("select body from chunks where id = $1", chunk.get())
        .fetch_optional(connection)
        .await?)
}

/// The key of an import's secrets. `None` when it was thrown away, or the import is older than such keys.
pub async fn secret_key(
    connection: &mut PgConnection,
    import: ImportId,
) -> Result<Option<SecretKey>, StoreError> {
    let bytes = sqlx::query_scalar!("select secret_key from imports where id = $1", import.get())
        .fetch_optional(connection)
        .await?
        .flatten();
    bytes
        .map(|bytes| {
            SecretKey::new(&bytes).ok_or_else(|| StoreError::corrupt("imports", "secret_key", import))
        })
        .transpose()
}

/// Finishes a locked chunk: outcomes, counts and state `applied`, to be committed with the users.
pub async fn finish(
    connection: &mut PgConnection,
    chunk: ChunkId,
    import: ImportId,
    sheet: &OutcomeSheet,
    issues: &[Issue],
) -> Result<(), StoreError> {
    write_issues(connection, import, issues).await?;
    let counts = sheet.counts();
    let written = sqlx::query!(
        "update chunks
            set state = 'applied', applied_at = now(), leased_until = null, problem = null,
                pending = $2, inserted = $3, updated = $4, skipped = $5, failed = $6, outcomes = $7
          where id = $1 and state in ('staged', 'dispatched', 'retryable')",
        chunk.get(),
        small(counts.pending)?,
        small(counts.inserted)?,
        small(counts.updated)?,
        small(counts.skipped)?,
        small(counts.failed)?,
        &sheet.encode()[..],
    )
    .execute(connection)
    .await?;
    fault::point(Point::Finished)?;
    if written.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Conflict("a chunk")) }
}

/// Counts an attempt that did not end well: the worker died, or the chunk could not be applied. Returns the attempts so far,
/// `None` if the chunk has ended.
pub async fn count_attempt(store: &Store, chunk: ChunkId) -> Result<Option<u32>, StoreError> {
    fault::point(Point::CountAttempt)?;
    let attempts = sqlx::query_scalar!(
        "update chunks
            set attempts = attempts + 1
          where id = $1 and state in ('staged', 'dispatched', 'retryable')
        returning attempts",
        chunk.get(),
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(attempts.map(|attempts| u32::try_from(attempts).unwrap_or(0)))
}

/// Puts a chunk off: it may be dispatched again after a while. No effect on a chunk that has ended.
pub async fn put_off(store: &Store, chunk: ChunkId, seconds: f64, problem: &str) -> Result<(), StoreError> {
    fault::point(Point::Defer)?;
    sqlx::query!(
        "update chunks
            set state = 'retryable', due_at = now() + make_interval(secs => $2), leased_until = null, problem = $3
          where id = $1 and state in ('staged', 'dispatched', 'retryable')",
        chunk.get(),
        seconds,
        problem,
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// Ends a chunk that cannot be applied: its pending records fail with code `chunk_dead`. False for a chunk that has ended.
pub async fn bury(store: &Store, chunk: ChunkId, problem: &str) -> Result<bool, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let Some(row) = sqlx::query!(
        "select import_id, records, body, outcomes
           from chunks
          where id = $1 and state in ('staged', 'dispatched', 'retryable')
            for no key update",
        chunk.get(),
    )
    .fetch_optional(&mut *transaction)
    .await?
    else {
        return Ok(false);
    };
    let mut sheet = read_sheet(chunk, row.records, row.outcomes.as_deref())?;
    let issues = dead_issues(&row.body, &sheet);
    sheet.turn(Outcome::Pending, Verdict::FAILED);
    write_issues(&mut transaction, ImportId::new(row.import_id), &issues).await?;
    sqlx::query!(
        "update chunks
            set state = 'dead', failed = failed + pending, pending = 0, outcomes = $3,
                leased_until = null, due_at = null, problem = $2
          where id = $1",
        chunk.get(),
        problem,
        &sheet.encode()[..],
    )
    .execute(&mut *transaction)
    .await?;
    fault::point(Point::Dead)?;
    transaction.commit().await?;
    Ok(true)
}

/// What the pending records of a dead chunk failed of. A body that cannot be read gives no sources, and then no issues.
fn dead_issues(body: &[u8], sheet: &OutcomeSheet) -> Vec<Issue> {
    let Ok(records) = decode(body) else { return Vec::new() };
    let fields = records.fields();
    let secrets = Secrets::by_name(records.names());
    records
        .records(&fields)
        .zip(sheet.iter())
        .filter(|(_, (verdict, _))| verdict.outcome == Outcome::Pending)
        .map(|(record, _)| Issue {
            record: record.position.record.get(),
            failed: true,
            errors: vec![RecordError::new(
                ErrorCode::ChunkDead,
                "the chunk of this record could not be applied and its attempts are spent; retry drives it again",
            )],
            warnings: Vec::new(),
            source: source_json(&record, records.names(), &secrets),
        })
        .collect()
}

pub(super) fn read_sheet(
    chunk: ChunkId,
    records: i32,
    outcomes: Option<&[u8]>,
) -> Result<OutcomeSheet, StoreError> {
    let records = usize::try_from(records).unwrap_or(0);
    match outcomes {
        None => Ok(OutcomeSheet::pending(records)),
        Some(bytes) => {
            OutcomeSheet::decode(bytes, records).map_err(|_| StoreError::corrupt("chunks", "outcomes", chunk))
        }
    }
}
