//! The receipt: the transaction that turns a staged upload into an import. After it no crash loses a record (P1).
//!
//! It runs in the session that staged, which ends with its server, and compares the stored chunks with what
//! was staged ([`Tally`]). Its commit waits for the disk, and so for everything written before. With
//! synchronous replication it also waits for the standbys, as the server is configured. With asynchronous
//! replication a standby may take over without the last imports; that is the operator's choice.

use muster_domain::chunk::PackedChunk;
use muster_domain::error::FileError;
use muster_domain::fault::{self, Mutant};
use muster_domain::id::ImportId;
use muster_domain::import::{ImportState, ImportStep};
use muster_domain::options::{Duplicates, ImportOptions, OnInvalid, Start};
use muster_domain::parse::TextEncoding;
use muster_domain::receive::{Issue, NewImport, Received};
use sqlx::postgres::PgConnection;

use super::convert::{small, wide};
use super::quota::{self, TenantLimits};
use super::{Store, StoreError, duplicates, plans};

/// How receiving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The import's state.
    pub state: ImportState,
    /// Records that failed, those that repeat a value of an earlier one included.
    pub invalid: u64,
}

/// What a receiver staged. The same is found in the store, or the upload fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    chunks: i64,
    records: i64,
    failed: i64,
    /// The chunks' digests, one upon the other.
    bodies: i64,
    issues: i64,
    /// The sum of the numbers of the records with issues.
    issue_records: i64,
    keys: i64,
}

impl Tally {
    /// A chunk was staged.
    pub fn chunk(&mut self, chunk: &PackedChunk) {
        self.chunks += 1;
        self.records += i64::from(chunk.records);
        self.failed += wide(chunk.invalid.len() as u64);
        self.bodies ^= chunk.body_hash;
    }

    /// Issues were written, each of another record.
    pub fn issues(&mut self, issues: &[Issue]) {
        self.issues += wide(issues.len() as u64);
        self.issue_records += issues.iter().map(|issue| wide(issue.record)).sum::<i64>();
    }

    /// Keys were staged.
    pub fn keys(&mut self, keys: usize) {
        self.keys += wide(keys as u64);
    }

    /// What is in the store. Reads no body: a row of a chunk is small beside it.
    async fn read(connection: &mut PgConnection, import: ImportId) -> Result<Self, StoreError> {
        Ok(sqlx::query_as!(
            Self,
            r#"select chunks as "chunks!", records as "records!", failed as "failed!", bodies as "bodies!",
                      issues as "issues!", issue_records as "issue_records!", keys as "keys!"
                 from (select count(*) as chunks, coalesce(sum(records), 0)::bigint as records,
                              coalesce(sum(failed), 0)::bigint as failed, coalesce(bit_xor(body_hash), 0) as bodies
                         from chunks where import_id = $1) as c,
                      (select count(*) as issues, coalesce(sum(record), 0)::bigint as issue_records
                         from record_issues where import_id = $1) as i,
                      -- Unlogged: after a crash of the server the table is empty.
                      (select count(*) as keys from import_keys where import_id = $1) as k"#,
            import.get(),
        )
        .fetch_one(connection)
        .await?)
    }
}

/// What the receipt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concluded {
    /// The import was received, or refused.
    Settled(Settled),
    /// It was not being received any more.
    NotReceiving,
    /// The store does not contain what was staged: the server crashed meanwhile, or somebody deleted it.
    NotStaged,
    /// The tenant's quota has no room for it.
    OverQuota(FileError),
}

/// Everything is staged: the import is received, and with `auto` it runs. Once this returns, no crash loses a record (P1).
///
/// `connection` is the one that staged. With `duplicates = refuse`, records that repeat a value fail here. With
/// `on_invalid = refuse`, invalid records refuse the import here.
pub async fn receive(
    store: &Store,
    connection: &mut PgConnection,
    import: &NewImport,
    limits: &TenantLimits,
    received: &Received,
    staged: &Tally,
) -> Result<Concluded, StoreError> {
    let (tenant, options, import) = (import.tenant, &import.options, import.id);
    let mut transaction = super::begin(connection).await?;
    wait_for_disk(&mut transaction).await?;
    // Locked until the end, so that it is not taken for abandoned, however long the search for duplicates takes.
    let receiving = sqlx::query_scalar!(
        r#"select state = 'receiving' as "receiving!" from imports where id = $1 for no key update"#,
        import.get()
    )
    .fetch_optional(&mut *transaction)
    .await?;
    if receiving != Some(true) {
        transaction.rollback().await?;
        return Ok(Concluded::NotReceiving);
    }
    let stored = Tally::read(&mut transaction, import).await?;
    let whole = stored == *staged && stored.records == wide(received.total);
    let unchecked = fault::mutant(Mutant::ReceiptUnchecked) || fault::mutant(Mutant::ReceiptElsewhere);
    if !whole && !unchecked {
        tracing::error!(%import, ?stored, ?staged, records = received.total, "what was staged is not in the store");
        transaction.rollback().await?;
        return Ok(Concluded::NotStaged);
    }
    let unique = options.duplicates == Duplicates::Refuse;
    let duplicates = if unique { duplicates::fail(&mut transaction, import, options).await? } else { 0 };
    // Last, since the tenant's other uploads wait for its lock, and the search for duplicates may take long.
    let allowance = quota::left(&mut transaction, tenant, import, limits).await?;
    if let Err(error) = allowance.check(received.total, received.bytes) {
        transaction.rollback().await?;
        return Ok(Concluded::OverQuota(error));
    }
    let invalid = received.invalid + duplicates;
    if let Some(dates) = received.dates.filter(|_| !fault::mutant(Mutant::DatesStayAuto)) {
        sqlx::query!(
            "update imports set options = options || jsonb_build_object('dates', $2::text) where id = $1 and state = 'receiving'",
            import.get(),
            dates.as_str(),
        )
        .execute(&mut *transaction)
        .await?;
    }
    let state = move_on(&mut transaction, import, options, received, invalid).await?;
    super::commit(store, transaction).await?;
    Ok(Concluded::Settled(Settled { state, invalid }))
}

/// This transaction's commit waits for the disk, though the session's others do not. The server's own setting may ask for
/// more (a standby), which stays.
async fn wait_for_disk(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!(
        r#"select set_config('synchronous_commit', case reset_val when 'off' then 'on' else reset_val end, true) as "set!"
             from pg_settings
            where name = 'synchronous_commit'"#
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

const RUN: ImportStep = ImportStep::of("receive", ImportState::Receiving, ImportState::Running);
const WAIT: ImportStep = ImportStep::of("receive", ImportState::Receiving, ImportState::Received);
const PLAN: ImportStep = ImportStep::of("receive", ImportState::Receiving, ImportState::Planning);
const REFUSE: ImportStep = ImportStep::of("receive", ImportState::Receiving, ImportState::Refused);

/// The guarded move. Returns the new state.
async fn move_on(
    connection: &mut PgConnection,
    import: ImportId,
    options: &ImportOptions,
    received: &Received,
    invalid: u64,
) -> Result<ImportState, StoreError> {
    let refused = options.on_invalid == OnInvalid::Refuse && invalid > 0;
    let step = match (refused, options.start) {
        (true, _) => REFUSE,
        (false, Start::Auto) => RUN,
        (false, Start::Manual) => WAIT,
        (false, Start::Plan) => PLAN,
    };
    let state = step.target();
    let columns =
        serde_json::to_value(&received.columns).map_err(|error| StoreError::Program(error.to_string()))?;
    let reading =
        serde_json::to_value(received.reading).map_err(|error| StoreError::Program(error.to_string()))?;
    let moved = sqlx::query!(
        "update imports
              set state = $2, total = $3, bytes = $4, digest = $5, columns = $6, lanes = $7, encoding = $8, reading = $9,
                  -- What was said counts more than what the file says.
                  mends = coalesce(mends, (select parent.id
                                             from imports as parent
                                            where parent.id = $10 and parent.tenant_id = imports.tenant_id
                                              and parent.id <> imports.id and parent.undoes is null)),
                  received_at = now(),
                  started_at = case when $2 = 'running' then now() end,
                  plan = case when $2 = 'planning' then 'make' end, independent = $12
            where id = $1 and state = any($11)",
        import.get(),
        step.to(),
        wide(received.total),
        wide(received.bytes),
        &received.digest[..],
        columns,
        small(received.lanes)?,
        (received.encoding != TextEncoding::Utf8).then_some(received.encoding.as_str()),
        reading,
        received.mends.map(ImportId::get),
        &step.from(),
        received.independent,
    )
    .execute(&mut *connection)
    .await?;
    super::one_moved(moved.rows_affected(), "an import")?;
    if refused {
        let error = FileError::new(
            muster_domain::error::ErrorCode::InvalidRecords,
            format!("{invalid} of {} records are invalid, and the import was to refuse them", received.total),
        );
        refuse_staged(connection, import, &error).await?;
    }
    if state == ImportState::Planning {
        // Somebody may have made its group while it was received.
        plans::settle_group(connection, import, false).await?;
    }
    Ok(state)
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
