//! Receiving: opening an import, staging its chunks, and ending it as received, refused or aborted.
//!
//! Until [`receive`] commits, an import is provisional: after a crash its staged chunks are discarded. So
//! staging does not wait for the disk. The commit of [`receive`] does, and makes everything written before
//! durable.
//!
//! A server that crashes may lose what was staged last, and a new connection would not notice. So [`receive`]
//! runs in the session that staged, which ends with its server. In the same transaction it compares the
//! stored chunks with what was staged ([`Tally`]).

use muster_domain::chunk::PackedChunk;
use muster_domain::error::FileError;
use muster_domain::fault::{self, Mutant, Point, mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::{ImportState, ImportStep};
use muster_domain::outcome::{OutcomeSheet, Verdict};
use muster_domain::receive::{Allowance, NewImport};
use sqlx::PgExecutor;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::convert::{small, wide};
pub use super::duplicates::stage_keys;
pub use super::issues::write_issues;
use super::quota::{self, TenantLimits};
pub use super::receipt::{Concluded, Settled, Tally, receive};
use super::{Store, StoreError};

/// What opening an import found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// It is open and waits for its chunks, and may have so much.
    New(Allowance),
    /// The idempotency key is that of a request with the same options that was received.
    Known(KnownImport),
    /// A request with this idempotency key is being received, or is coming to its end at this moment.
    InProgress,
    /// The idempotency key is in use, for a request with other options.
    Mismatch,
    /// As many of the tenant's imports are under way as may be.
    TooManyImports,
}

/// The import of an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownImport {
    /// Its id.
    pub id: ImportId,
    /// Its state.
    pub state: ImportState,
    /// SHA-256 of its upload, decompressed: the same key with another upload is another request.
    pub digest: [u8; 32],
}

/// How long an import may be without a sign of life from its receiver.
pub const LEASE_SECONDS: f64 = 60.0;
/// How long a receiver is silent before the same idempotency key may be taken from it. It speaks every
/// [`RENEW_SECONDS`].
const SILENT_SECONDS: f64 = 8.0;
/// How often a receiver renews its lease.
pub const RENEW_SECONDS: f64 = 2.0;
/// How often opening looks again at a key that changed hands meanwhile.
const OPEN_TRIES: u32 = 10;

/// Opens an import. Its receiver must [`renew`] the lease every [`RENEW_SECONDS`]; after [`LEASE_SECONDS`] without that the
/// import counts as abandoned.
///
/// An idempotency key stands for one request that was received. An import that came to nothing frees its key, one whose
/// receiver fell silent is aborted here. The tenant's limits are asked of new imports only: the same key is always answered.
pub async fn open(store: &Store, import: &NewImport, limits: &TenantLimits) -> Result<Opened, StoreError> {
    for _ in 0..OPEN_TRIES {
        let mut transaction = store.pool().begin().await?;
        let opened = if insert(&mut transaction, import).await? {
            if !quota::may_open(&mut transaction, import.tenant, limits).await? {
                transaction.rollback().await?;
                return Ok(Opened::TooManyImports);
            }
            let allowance = quota::left(&mut transaction, import.tenant, import.id, limits).await?;
            Some(Opened::New(allowance))
        } else {
            match held_by(&mut transaction, import).await {
                // A holder of the lock for so long is receiving the import, or ending it.
                Err(error) if error.sqlstate() == Some("55P03") => return Ok(Opened::InProgress),
                found => found?,
            }
        };
        fault::point(Point::OpenImport)?;
        transaction.commit().await?;
        if let Some(opened) = opened {
            return Ok(opened);
        }
    }
    Ok(Opened::InProgress)
}

/// False if the idempotency key is in use.
async fn insert(connection: &mut PgConnection, import: &NewImport) -> Result<bool, StoreError> {
    let (key, hash) = import.idempotency.as_ref().map(|(key, hash)| (key.as_str(), &hash[..])).unzip();
    let inserted = sqlx::query!(
        "insert into imports (id, tenant_id, filename, options, idempotency_key, request_hash, alive_until, actor, mends,
                              traceparent, profile)
         values ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7), $8, $9, $10, $11)
         on conflict (tenant_id, idempotency_key) where idempotency_key is not null do nothing",
        import.id.get(),
        import.tenant.get(),
        import.filename,
        serde_json::to_value(&import.options).map_err(|error| StoreError::Program(error.to_string()))?,
        key,
        hash,
        LEASE_SECONDS,
        import.provenance.actor,
        import.provenance.mends.map(ImportId::get),
        super::trace_of_work(),
        import.provenance.profile,
    )
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Who holds the import's idempotency key. `None` if nobody does any more: the key was freed, by this very call perhaps.
async fn held_by(connection: &mut PgConnection, import: &NewImport) -> Result<Option<Opened>, StoreError> {
    let (key, hash) = import.idempotency.as_ref().map(|(key, hash)| (key.as_str(), &hash[..])).unzip();
    sqlx::raw_sql("set local lock_timeout = '5s'").execute(&mut *connection).await?;
    // Locked, and so as it is once whoever is ending it has ended it: what the insert met may be older than that.
    let held = sqlx::query!(
        r#"select id, state, request_hash, digest, alive_until < now() + make_interval(secs => $3) as "silent!"
             from imports
            where tenant_id = $1 and idempotency_key = $2
              for no key update"#,
        import.tenant.get(),
        key,
        LEASE_SECONDS - SILENT_SECONDS,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(held) = held else { return Ok(None) };
    let state: ImportState =
        held.state.parse().map_err(|_| StoreError::corrupt("imports", "state", held.id))?;
    match state {
        ImportState::Receiving if !held.silent || fault::mutant(Mutant::SilentKeepsKey) => {
            return Ok(Some(Opened::InProgress));
        }
        ImportState::Receiving => abort(connection, held.id).await?,
        ImportState::Aborted if fault::mutant(Mutant::AbortedKeepsKey) => {
            return Ok(Some(Opened::InProgress));
        }
        ImportState::Aborted | ImportState::Refused => {}
        _ if held.request_hash.as_deref() != hash => return Ok(Some(Opened::Mismatch)),
        _ => {
            let digest = held.digest.and_then(|digest| digest.try_into().ok());
            let digest = digest.ok_or_else(|| StoreError::corrupt("imports", "digest", held.id))?;
            return Ok(Some(Opened::Known(KnownImport { id: ImportId::new(held.id), state, digest })));
        }
    }
    // An upload without a result does not block its key: the client may send the file again.
    sqlx::query!("update imports set idempotency_key = null where id = $1", held.id)
        .execute(connection)
        .await?;
    Ok(None)
}

const REFUSE: ImportStep = ImportStep::of("refuse", ImportState::Receiving, ImportState::Refused);
const ABORT: ImportStep = ImportStep::of("abort", ImportState::Receiving, ImportState::Aborted);

/// Ends an import that is being received and whose row is locked. The key of its secrets is not kept.
async fn end(
    connection: &mut PgConnection,
    import: Uuid,
    step: ImportStep,
    error: &FileError,
) -> Result<(), StoreError> {
    let error = serde_json::to_value(error).map_err(|error| StoreError::Program(error.to_string()))?;
    let moved = sqlx::query!(
        "update imports
            set state = $2, error = $3, completed_at = now(), total = 0, secret_key = null
          where id = $1 and state = any($4)",
        import,
        step.to(),
        error,
        &step.from(),
    )
    .execute(connection)
    .await?;
    super::one_moved(moved.rows_affected(), "an import")
}

/// Aborts an import whose receiver is gone. Its row is locked, and it is being received.
async fn abort(connection: &mut PgConnection, import: Uuid) -> Result<(), StoreError> {
    let error = FileError::new(
        muster_domain::error::ErrorCode::UploadIncomplete,
        "the receiver stopped before the upload was complete",
    );
    end(connection, import, ABORT, &error).await?;
    delete_page(connection, import).await?;
    Ok(())
}

/// The newest import of this very request (`request_hash` as in [`NewImport::idempotency`]) that was received and has not
/// ended, under a key that begins with `prefix`: what a client that lost its program goes on with.
pub async fn unfinished(
    store: &Store,
    tenant: TenantId,
    prefix: &str,
    request_hash: [u8; 32],
) -> Result<Option<ImportId>, StoreError> {
    let id = sqlx::query_scalar!(
        "select id
           from imports
          where tenant_id = $1 and request_hash = $2 and starts_with(idempotency_key, $3)
            and state in ('received', 'planning', 'planned', 'running', 'paused')
          order by id desc
          limit 1",
        tenant.get(),
        &request_hash[..],
        prefix,
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(id.map(ImportId::new))
}

/// A connection for staging: its commits do not wait for the disk (see the module).
pub async fn staging_connection(store: &Store) -> Result<PgConnection, StoreError> {
    let mut connection = store.connection().await?;
    sqlx::raw_sql("set synchronous_commit = off").execute(&mut connection).await?;
    Ok(connection)
}

/// Stages one chunk, with the outcomes of those of its records that failed validation. One all of whose records did is at its end.
pub async fn stage(
    connection: &mut PgConnection,
    import: ImportId,
    tenant: TenantId,
    chunk: &PackedChunk,
) -> Result<(), StoreError> {
    let records = small(chunk.records)?;
    let failed = small(chunk.invalid.len())?;
    let sheet = (failed > 0).then(|| {
        let mut sheet = OutcomeSheet::pending(chunk.records as usize);
        for index in &chunk.invalid {
            sheet.set(*index as usize, Verdict::FAILED, None);
        }
        sheet.encode()
    });
    sqlx::query!(
        "insert into chunks (import_id, tenant_id, lane, seq, state, first_record, last_record,
                             records, pending, failed, body_hash, body, outcomes, applied_at)
         values ($1, $2, $3, $4, case when $7::int = $8::int then 'applied' else 'staged' end, $5, $6,
                 $7, $7::int - $8::int, $8, $9, $10, $11, case when $7::int = $8::int and not $12 then now() end)",
        import.get(),
        tenant.get(),
        small(chunk.lane)?,
        small(chunk.seq)?,
        wide(chunk.first_record),
        wide(chunk.last_record),
        records,
        failed,
        chunk.body_hash,
        &chunk.body[..],
        sheet,
        mutant(Mutant::StagedWithoutEnd),
    )
    .execute(connection)
    .await?;
    fault::point(Point::Stage)?;
    Ok(())
}

/// Says that the receiver is alive. False if the import is not being received any more: the receiver must stop.
pub async fn renew(executor: impl PgExecutor<'_>, import: ImportId) -> Result<bool, StoreError> {
    let renewed = sqlx::query!(
        "update imports
            set alive_until = now() + make_interval(secs => $2)
          where id = $1 and state = 'receiving'",
        import.get(),
        LEASE_SECONDS,
    )
    .execute(executor)
    .await?;
    Ok(renewed.rows_affected() == 1)
}

/// The file cannot be imported, or its upload stopped: the import ends as `refused` or `aborted` and nothing staged is kept.
///
/// Returns the state in which the import is now: another one if it was not being received any more.
pub async fn discard(
    store: &Store,
    import: ImportId,
    state: ImportState,
    error: &FileError,
) -> Result<ImportState, StoreError> {
    let mut transaction = store.pool().begin().await?;
    // Locked first: a receipt that is being committed is waited for, and then seen.
    let now = sqlx::query_scalar!("select state from imports where id = $1 for no key update", import.get())
        .fetch_optional(&mut *transaction)
        .await?;
    // Gone: it was aborted long ago.
    let now = now.as_deref().unwrap_or(ImportState::Aborted.as_str());
    let now: ImportState = now.parse().map_err(|_| StoreError::corrupt("imports", "state", import))?;
    let after = match now {
        ImportState::Receiving => {
            let step = if state == ImportState::Refused { REFUSE } else { ABORT };
            end(&mut transaction, import.get(), step, error).await?;
            step.target()
        }
        now => now,
    };
    // An import that others aborted: what was staged since is left over.
    let discarded = matches!(now, ImportState::Receiving | ImportState::Aborted);
    let mut more = discarded && delete_page(&mut transaction, import.get()).await?;
    transaction.commit().await?;
    while more {
        more = delete_leftovers(store, import).await.unwrap_or_else(|error| {
            tracing::warn!(%import, %error, "what was staged of an import that came to nothing is deleted later");
            false
        });
    }
    Ok(after)
}

/// Rows deleted in one go. The bodies of chunks are large, the others small.
const KEYS_AT_A_TIME: i64 = 50_000;
const ISSUES_AT_A_TIME: i64 = 10_000;
const CHUNKS_AT_A_TIME: i64 = 500;
/// Imports with leftovers that are looked at in one go.
const LEFTOVERS_AT_A_TIME: i64 = 100;

/// Deletes some of what was staged of an import that came to nothing and whose row is locked. Returns, and notes, whether there may be more:
/// nobody should wait until millions of rows are deleted, and what a long transaction had done would be lost with it.
async fn delete_page(connection: &mut PgConnection, import: Uuid) -> Result<bool, StoreError> {
    let more = sqlx::query_scalar!(
        r#"with keys as (
               delete from import_keys
                where ctid = any(array(select ctid from import_keys where import_id = $1 limit $2)) returning 1
           ), doubles as (
               delete from import_doubles
                where ctid = any(array(select ctid from import_doubles where import_id = $1 limit $2)) returning 1
           ), issues as (
               delete from record_issues
                where ctid = any(array(select ctid from record_issues where import_id = $1 limit $3)) returning 1
           ), staged as (
               delete from chunks
                where id = any(array(select id from chunks where import_id = $1 limit $4)) returning 1
           )
           select (select count(*) from keys) >= $2 or (select count(*) from doubles) >= $2
               or (select count(*) from issues) >= $3 or (select count(*) from staged) >= $4 as "more!""#,
        import,
        KEYS_AT_A_TIME,
        ISSUES_AT_A_TIME,
        CHUNKS_AT_A_TIME,
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query!("update imports set leftovers = $2 where id = $1 and leftovers <> $2", import, more)
        .execute(connection)
        .await?;
    Ok(more)
}

/// The imports that came to nothing and of which something staged is left.
pub async fn left_over(store: &Store) -> Result<Vec<ImportId>, StoreError> {
    let ids = sqlx::query_scalar!(
        "select id from imports where leftovers order by id limit $1",
        LEFTOVERS_AT_A_TIME
    )
    .fetch_all(store.pool())
    .await?;
    Ok(ids.into_iter().map(ImportId::new).collect())
}

/// Deletes some of what is left of an import that came to nothing. Returns whether there may be more; false too where somebody else is
/// deleting it.
pub async fn delete_leftovers(store: &Store, import: ImportId) -> Result<bool, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let locked = sqlx::query!(
        "select from imports where id = $1 and leftovers for no key update skip locked",
        import.get()
    )
    .execute(&mut *transaction)
    .await?;
    if locked.rows_affected() == 0 {
        return Ok(false);
    }
    let more = delete_page(&mut transaction, import.get()).await?;
    transaction.commit().await?;
    Ok(more)
}

/// Aborts imports whose receiver died: those whose lease is over, or all of them where no other receiver can be alive. Each in a
/// transaction of its own, so that none waits for another; what was staged of a large one is deleted later ([`delete_leftovers`]).
/// Returns how many there were.
pub async fn abort_abandoned(store: &Store, all: bool) -> Result<usize, StoreError> {
    let abandoned = sqlx::query_scalar!(
        "select id from imports where state = 'receiving' and ($1 or alive_until < now())",
        all,
    )
    .fetch_all(store.pool())
    .await?;
    let (mut aborted, mut problem) = (0, None);
    for import in abandoned {
        match abort_one_abandoned(store, import, all).await {
            Ok(done) => aborted += usize::from(done),
            // The database answers: the others can be aborted.
            Err(error) if error.is_answer() => {
                problem.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    problem.map_or(Ok(aborted), Err)
}

/// One that is locked is coming to its end by itself.
async fn abort_one_abandoned(store: &Store, import: Uuid, all: bool) -> Result<bool, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let locked = sqlx::query!(
        "select from imports
          where id = $1 and state = 'receiving' and ($2 or alive_until < now())
            for no key update skip locked",
        import,
        all,
    )
    .execute(&mut *transaction)
    .await?;
    if locked.rows_affected() == 0 {
        return Ok(false);
    }
    abort(&mut transaction, import).await?;
    transaction.commit().await?;
    Ok(true)
}
