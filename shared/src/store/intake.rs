//! Receiving: an import is opened, its chunks are staged, and it is received, refused or aborted.
//!
//! Until [`receive`] commits, an import is worth nothing: chunks staged before a crash are thrown away with it. So staging
//! does not wait for the disk; [`receive`] does, and with it everything that was written before.

use sqlx::postgres::PgConnection;
use uuid::Uuid;

pub use super::doubles::stage_keys;
use super::{Store, StoreError, doubles};
use crate::chunk::SealedChunk;
use crate::error::{FileError, RecordError};
use crate::fault::{self, Point};
use crate::id::{ImportId, TenantId};
use crate::import::ImportState;
use crate::options::{Duplicates, ImportOptions, OnInvalid, Start};
use crate::outcome::{OutcomeSheet, Verdict};
use crate::parse::TextEncoding;

/// A new import.
#[derive(Debug, Clone)]
pub struct NewImport {
    /// Id.
    pub id: ImportId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Name of the file, a label and never a path.
    pub filename: Option<String>,
    /// What it is asked to do.
    pub options: ImportOptions,
    /// The client's key for this request, and the SHA-256 of what the key stands for.
    pub idempotency: Option<(String, [u8; 32])>,
}

/// What opening an import found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// It is open and waits for its chunks.
    New,
    /// The idempotency key is in use, for the same request: this is its import.
    Known(ImportId, ImportState),
    /// The idempotency key is in use, for another request.
    Mismatch,
}

/// Opens an import. Its receiver has `lease_seconds` to [`renew`] the lease before the import counts as abandoned.
pub async fn open(store: &Store, import: &NewImport, lease_seconds: f64) -> Result<Opened, StoreError> {
    let (key, hash) = import.idempotency.as_ref().map(|(key, hash)| (key.as_str(), &hash[..])).unzip();
    // An import that came to nothing frees its key: the client may send the file again.
    let mut transaction = store.pool().begin().await?;
    sqlx::query!(
        "update imports
            set idempotency_key = null
          where tenant_id = $1 and idempotency_key = $2 and state in ('aborted', 'refused')",
        import.tenant.get(),
        key,
    )
    .execute(&mut *transaction)
    .await?;
    let inserted = sqlx::query!(
        "insert into imports (id, tenant_id, filename, options, idempotency_key, request_hash, alive_until)
         values ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))
         on conflict (tenant_id, idempotency_key) where idempotency_key is not null do nothing",
        import.id.get(),
        import.tenant.get(),
        import.filename,
        serde_json::to_value(&import.options).map_err(|error| StoreError::Program(error.to_string()))?,
        key,
        hash,
        lease_seconds,
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    let opened = if inserted == 1 {
        Opened::New
    } else {
        let known = sqlx::query!(
            "select id, state, request_hash from imports where tenant_id = $1 and idempotency_key = $2",
            import.tenant.get(),
            key,
        )
        .fetch_one(&mut *transaction)
        .await?;
        if known.request_hash.as_deref() == hash {
            let state = known.state.parse().map_err(|_| StoreError::corrupt("imports", "state", known.id))?;
            Opened::Known(ImportId::new(known.id), state)
        } else {
            Opened::Mismatch
        }
    };
    fault::point(Point::OpenImport)?;
    transaction.commit().await?;
    Ok(opened)
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
            and state in ('received', 'running', 'paused')
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

/// A record with something to say beside its outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Issue {
    /// Number of the record.
    pub record: u64,
    /// Whether the record failed (else there are only warnings).
    pub failed: bool,
    /// What is wrong with it.
    pub errors: Vec<RecordError>,
    /// What its owner should know although it was applied.
    pub warnings: Vec<String>,
    /// The record as uploaded, secrets redacted: JSON text `[[name, value], …]`.
    pub source: String,
}

impl Issue {
    /// About how many bytes it holds.
    pub fn size(&self) -> usize {
        let errors =
            self.errors.iter().map(|error| error.message.len() + error.field.as_ref().map_or(0, String::len));
        let warnings = self.warnings.iter().map(String::len);
        let own = size_of::<Self>() + size_of_val(&self.errors[..]) + size_of_val(&self.warnings[..]);
        own + self.source.len() + errors.sum::<usize>() + warnings.sum::<usize>()
    }
}

/// Stages one chunk, with the outcomes of those of its records that failed validation.
pub async fn stage(
    connection: &mut PgConnection,
    import: ImportId,
    tenant: TenantId,
    chunk: &SealedChunk,
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
                             records, pending, failed, body_hash, body, outcomes)
         values ($1, $2, $3, $4, case when $7::int = $8::int then 'applied' else 'staged' end, $5, $6,
                 $7, $7::int - $8::int, $8, $9, $10, $11)",
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
    )
    .execute(connection)
    .await?;
    fault::point(Point::Stage)?;
    Ok(())
}

/// Writes issues of records. A record's later issue replaces its earlier one, so that writing twice is writing once.
pub async fn write_issues(
    connection: &mut PgConnection,
    import: ImportId,
    issues: &[Issue],
) -> Result<(), StoreError> {
    if issues.is_empty() {
        return Ok(());
    }
    let json = |value: &dyn erased::Json| value.text();
    let records: Vec<i64> = issues.iter().map(|issue| wide(issue.record)).collect();
    let failed: Vec<bool> = issues.iter().map(|issue| issue.failed).collect();
    let errors: Vec<Option<String>> = issues.iter().map(|issue| json(&issue.errors)).collect();
    let warnings: Vec<Option<String>> = issues.iter().map(|issue| json(&issue.warnings)).collect();
    let sources: Vec<String> = issues.iter().map(|issue| issue.source.clone()).collect();
    sqlx::query!(
        "insert into record_issues (import_id, record, failed, errors, warnings, source)
         select $1, record, failed, errors::json, warnings::json, source::json
           from unnest($2::bigint[], $3::boolean[], $4::text[], $5::text[], $6::text[])
             as issue (record, failed, errors, warnings, source)
         on conflict (import_id, record) do update
            set failed = excluded.failed, errors = excluded.errors,
                warnings = excluded.warnings, source = excluded.source",
        import.get(),
        &records,
        &failed,
        &errors as &[Option<String>],
        &warnings as &[Option<String>],
        &sources,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// JSON text of a list, nothing for an empty one.
mod erased {
    use serde::Serialize;

    pub(super) trait Json {
        fn text(&self) -> Option<String>;
    }

    impl<T: Serialize> Json for Vec<T> {
        fn text(&self) -> Option<String> {
            if self.is_empty() { None } else { serde_json::to_string(self).ok() }
        }
    }
}

/// Says that the receiver is alive. False if the import is not being received any more: the receiver must stop.
pub async fn renew(store: &Store, import: ImportId, lease_seconds: f64) -> Result<bool, StoreError> {
    let renewed = sqlx::query!(
        "update imports
            set alive_until = now() + make_interval(secs => $2)
          where id = $1 and state = 'receiving'",
        import.get(),
        lease_seconds,
    )
    .execute(store.pool())
    .await?;
    Ok(renewed.rows_affected() == 1)
}

/// What was received.
#[derive(Debug, Clone)]
pub struct Received {
    /// Records.
    pub total: u64,
    /// Records that failed validation.
    pub invalid: u64,
    /// Bytes, decompressed.
    pub bytes: u64,
    /// SHA-256 of the bytes, decompressed.
    pub digest: [u8; 32],
    /// Field names in the order of the upload.
    pub columns: Vec<String>,
    /// Lanes.
    pub lanes: u32,
    /// What the text was in.
    pub encoding: TextEncoding,
}

/// How receiving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The import's state.
    pub state: ImportState,
    /// Records that failed, those that repeat a value of an earlier one included.
    pub invalid: u64,
}

/// How long an import is kept from being taken for abandoned while the doubles of its file are looked for.
const DOUBLES_SECONDS: f64 = 3600.0;

/// Everything is staged: the import is received, and with `auto` it runs. Once this returns, no crash loses a record (P1).
///
/// With `duplicates = refuse`, records that repeat a value fail here. With `on_invalid = refuse`, invalid records refuse
/// the import here. `None` if the import was not being received any more.
pub async fn receive(
    store: &Store,
    import: ImportId,
    options: &ImportOptions,
    received: &Received,
) -> Result<Option<Settled>, StoreError> {
    let unique = options.duplicates == Duplicates::Refuse;
    if unique && !renew(store, import, DOUBLES_SECONDS).await? {
        return Ok(None);
    }
    let mut transaction = store.pool().begin().await?;
    let doubles = if unique { doubles::fail(&mut transaction, import, options).await? } else { 0 };
    let invalid = received.invalid + doubles;
    let refused = options.on_invalid == OnInvalid::Refuse && invalid > 0;
    let state = match (refused, options.start) {
        (true, _) => ImportState::Refused,
        (false, Start::Auto) => ImportState::Running,
        (false, Start::Manual) => ImportState::Received,
    };
    // The database's JSON takes no NUL: a name with one is shown as it is in the sources of records.
    let columns: Vec<String> = received.columns.iter().map(|name| name.replace('\0', "\u{fffd}")).collect();
    let columns = serde_json::to_value(&columns).map_err(|error| StoreError::Program(error.to_string()))?;
    let moved = sqlx::query!(
        "update imports
            set state = $2, total = $3, bytes = $4, digest = $5, columns = $6, lanes = $7, encoding = $8,
                received_at = now(),
                started_at = case when $2 = 'running' then now() end
          where id = $1 and state = 'receiving'",
        import.get(),
        state.as_str(),
        wide(received.total),
        wide(received.bytes),
        &received.digest[..],
        columns,
        small(received.lanes)?,
        (received.encoding != TextEncoding::Utf8).then_some(received.encoding.as_str()),
    )
    .execute(&mut *transaction)
    .await?;
    if moved.rows_affected() == 0 {
        return Ok(None);
    }
    if refused {
        let error = FileError::new(
            crate::error::ErrorCode::InvalidRecords,
            format!("{invalid} of {} records are invalid, and the import was to refuse them", received.total),
        );
        refuse_staged(&mut transaction, import, &error).await?;
    }
    transaction.commit().await?;
    Ok(Some(Settled { state, invalid }))
}

/// Nothing of a refused import is applied, but its invalid records can be read.
async fn refuse_staged(
    connection: &mut PgConnection,
    import: ImportId,
    error: &FileError,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update chunks
            set state = 'cancelled', skipped = skipped + pending, pending = 0
          where import_id = $1 and state = 'staged'",
        import.get(),
    )
    .execute(&mut *connection)
    .await?;
    let error = serde_json::to_value(error).map_err(|error| StoreError::Program(error.to_string()))?;
    super::dispatch::write_final_counts(connection, import).await?;
    sqlx::query!("update imports set error = $2, completed_at = now() where id = $1", import.get(), error)
        .execute(connection)
        .await?;
    Ok(())
}

/// The file cannot be imported, or its upload stopped: the import ends as `refused` or `aborted` and nothing staged is kept.
///
/// False if the import was not being received any more.
pub async fn discard(
    store: &Store,
    import: ImportId,
    state: ImportState,
    error: &FileError,
) -> Result<bool, StoreError> {
    let error = serde_json::to_value(error).map_err(|error| StoreError::Program(error.to_string()))?;
    let mut transaction = store.pool().begin().await?;
    let moved = sqlx::query!(
        "update imports
            set state = $2, error = $3, completed_at = now(), total = 0, secret_key = null
          where id = $1 and state = 'receiving'",
        import.get(),
        state.as_str(),
        error,
    )
    .execute(&mut *transaction)
    .await?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    discard_staged(&mut transaction, import.get()).await?;
    transaction.commit().await?;
    Ok(true)
}

async fn discard_staged(connection: &mut PgConnection, import: Uuid) -> Result<(), StoreError> {
    doubles::drop_keys(connection, import).await?;
    sqlx::query!("delete from record_issues where import_id = $1", import).execute(&mut *connection).await?;
    sqlx::query!("delete from chunks where import_id = $1", import).execute(connection).await?;
    Ok(())
}

/// Aborts imports whose receiver died: those whose lease is over, or all of them where no other receiver can be alive.
/// Returns how many there were.
pub async fn abort_abandoned(store: &Store, all: bool) -> Result<usize, StoreError> {
    let error = FileError::new(
        crate::error::ErrorCode::UploadIncomplete,
        "the receiver stopped before the upload was complete",
    );
    let error = serde_json::to_value(error).map_err(|error| StoreError::Program(error.to_string()))?;
    let mut transaction = store.pool().begin().await?;
    let abandoned = sqlx::query_scalar!(
        "update imports
            set state = 'aborted', error = $2, completed_at = now(), total = 0, secret_key = null
          where state = 'receiving' and ($1 or alive_until < now())
        returning id",
        all,
        error,
    )
    .fetch_all(&mut *transaction)
    .await?;
    for import in &abandoned {
        discard_staged(&mut transaction, *import).await?;
    }
    transaction.commit().await?;
    Ok(abandoned.len())
}

/// Record numbers and sizes beyond 2^63 do not happen; should one, it is written as the largest number there is.
pub(super) fn wide(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn small<N: TryInto<i32>>(number: N) -> Result<i32, StoreError> {
    number.try_into().map_err(|_| StoreError::Program("a count of one chunk is out of range".into()))
}
