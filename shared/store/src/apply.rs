//! Applying a chunk in one transaction: lock it, upsert its users ([`upsert`](super::upsert)), and finish it.
//!
//! Why nothing happens twice (P3): [`lock`] takes the chunk's row lock and looks at its state; users, outcomes, counts and
//! the state `applied` commit together. A message delivered again finds the chunk ended and changes nothing.
//!
//! Why only a chunk that kills its workers becomes dead: [`begin`] writes the worker's id into the chunk's
//! row before any work, and every end of the work removes it. An id that is left behind shows that a worker
//! died while applying this chunk.

mod dead;

use std::time::Duration;

use muster_domain::chunk::SecretKey;
use muster_domain::fault::{self, Mutant, Point};
use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_domain::import::{ChunkState, ChunkStep};
use muster_domain::options::{ImportOptions, NewerOptions};
use muster_domain::outcome::OutcomeSheet;
use muster_domain::planned::PlanUse;
use muster_domain::receive::Issue;
use muster_domain::undo::Images;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

pub use dead::{end_dead, mark_dead};

use super::convert::{number, read_sheet, small};
use super::issues::write_issues;
use super::{Store, StoreError, Transaction};

/// First key of the advisory locks on tenants; the second is the tenant.
const TENANT_LOCK: i32 = 0x6d75;

/// Time limits of a worker's connection, kept by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest statement.
    pub statement: Duration,
    /// Longest wait for one lock.
    pub lock: Duration,
    /// Longest pause inside a transaction: what a worker that is frozen or cut off has locked is free after that.
    pub idle: Duration,
}

/// Notes that a worker begins a chunk, as [`begin`] runs it: prepared by name, since a statement of several in one text would be
/// planned anew for each chunk.
const NOTE_BEGINNING: &str = "prepare note_beginning (bigint, uuid, uuid, boolean) as \
    update chunks set begun = array_append(begun, $3) \
     where id = $1 and state = 'dispatched' and import_id = $2 and $3 <> all (begun) and ($4 or cardinality(begun) = 0)";

/// A connection for applying chunks, with these limits.
pub async fn connection(store: &Store, limits: &Limits) -> Result<PgConnection, StoreError> {
    let mut connection = store.dedicated_connection().await?;
    let milliseconds = |limit: Duration| limit.as_millis().clamp(1, i32::MAX as u128);
    // The only values in the text are numbers.
    let settings = format!(
        "set statement_timeout = {}; set lock_timeout = {}; set idle_in_transaction_session_timeout = {}",
        milliseconds(limits.statement),
        milliseconds(limits.lock),
        milliseconds(limits.idle),
    );
    let settings = if fault::mutant(Mutant::LongIdleInTransaction) {
        "set idle_in_transaction_session_timeout = 0".to_owned()
    } else {
        settings
    };
    sqlx::raw_sql(AssertSqlSafe(format!("{NOTE_BEGINNING}; {settings}"))).execute(&mut connection).await?;
    Ok(connection)
}

/// What a message says it carries, and who begins it.
#[derive(Debug, Clone, Copy)]
pub struct Beginning {
    /// The chunk.
    pub chunk: ChunkId,
    /// The import that the message names.
    pub import: ImportId,
    /// This worker, for as long as its process lives.
    pub worker: Uuid,
    /// Nothing else is being applied by this worker, so that its death would be this chunk's doing.
    pub isolated: bool,
}

/// Begins the transaction that applies a chunk, and before it, in one of its own, notes that this worker begins.
///
/// All of it is one round trip. The note does not wait for the disk: a crash of the database loses it, and with it nothing
/// but the suspicion of a worker that died in the same moment. A chunk that another worker began is noted only by
/// an isolated worker; [`lock`] tells.
pub async fn begin<'c>(
    connection: &'c mut PgConnection,
    beginning: &Beginning,
) -> Result<Transaction<'c>, StoreError> {
    let Beginning { chunk, import, worker, isolated } = *beginning;
    // Statements at once, which the extended protocol does not know. The only values in the text are numbers and UUIDs.
    let begin = format!(
        "begin; set local synchronous_commit = off; \
         execute note_beginning ({}, '{import}', '{worker}', {isolated}); commit; begin",
        chunk.get(),
    );
    let begin = if fault::mutant(Mutant::BegunUnnoted) { "begin".to_owned() } else { begin };
    Ok(sqlx::Connection::begin_with(connection, AssertSqlSafe(begin)).await?)
}

/// A chunk whose row is locked until the transaction ends.
#[derive(Debug, Clone)]
pub struct LockedChunk {
    /// Its import.
    pub import: ImportId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its state.
    pub state: ChunkState,
    /// Failed attempts that were reported.
    pub attempts: u32,
    /// Other workers that began the chunk and did not tell how that ended.
    pub begun_elsewhere: u32,
    /// How often the chunk was deferred.
    pub deferrals: u32,
    /// Retry opened it again: later records of the file may have been applied before its own.
    pub reopened: bool,
    /// How many records it has.
    pub records: usize,
    /// Fingerprint of the body.
    pub body_hash: i64,
    /// Outcomes so far: only the pending records are to be applied.
    pub outcomes: OutcomeSheet,
    /// Nobody else writes users of the tenant meanwhile.
    pub exclusive: bool,
    /// Whether it is to be planned, or how to apply what was planned. None: it is applied as it is.
    pub plan: Option<PlanUse>,
    /// Of a chunk that is to be planned: the names of the upload.
    pub columns: Option<Vec<String>>,
    /// Of a chunk that is to be planned: no record of its import meets what another one leaves.
    pub independent: bool,
}

/// Locks a chunk, and shares the tenant's lock with other writers of its users. `None` if there is no such chunk.
///
/// With `exclusive`, nobody else writes users of the tenant until the transaction ends: for a chunk that kept colliding.
pub async fn lock(
    connection: &mut PgConnection,
    chunk: ChunkId,
    worker: Uuid,
    exclusive: bool,
) -> Result<Option<LockedChunk>, StoreError> {
    let Some(row) = sqlx::query!(
        r#"select import_id, tenant_id, state, attempts, records, body_hash, outcomes, deferrals, reopened > 0 as "reopened!",
                  cardinality(array_remove(begun, $2)) as "begun_elsewhere!"
             from chunks
            where id = $1
              for no key update"#,
        chunk.get(),
        worker,
    )
    .fetch_optional(&mut *connection)
    .await?
    else {
        return Ok(None);
    };
    let Purpose { plan, columns, independent } =
        lock_tenant_of(connection, row.tenant_id, row.import_id, exclusive).await?;
    let records = number(row.records, ("chunks", "records"), chunk)?;
    // Records that have an outcome are left out of a second application: a guard of its own, which this mutant takes away too.
    let sheet = row.outcomes.as_deref().filter(|_| !fault::mutant(Mutant::NoLedger));
    let outcomes = read_sheet(chunk, row.records, sheet)?;
    Ok(Some(LockedChunk {
        import: ImportId::new(row.import_id),
        tenant: TenantId::new(row.tenant_id),
        state: row.state.parse().map_err(|_| StoreError::corrupt("chunks", "state", chunk))?,
        attempts: number(row.attempts, ("chunks", "attempts"), chunk)?,
        begun_elsewhere: number(row.begun_elsewhere, ("chunks", "begun"), chunk)?,
        deferrals: number(row.deferrals, ("chunks", "deferrals"), chunk)?,
        reopened: row.reopened,
        records,
        body_hash: row.body_hash,
        outcomes,
        exclusive,
        plan,
        columns,
        independent,
    }))
}

/// What the chunks of an import are for.
struct Purpose {
    plan: Option<PlanUse>,
    columns: Option<Vec<String>>,
    independent: bool,
}

/// Takes the tenant's lock, shared or exclusively, and reads in the same round trip what the import's chunks are for. That does not
/// change while a chunk of it is with the workers, and this statement begins after the chunk was locked.
async fn lock_tenant_of(
    connection: &mut PgConnection,
    tenant: i32,
    import: Uuid,
    exclusive: bool,
) -> Result<Purpose, StoreError> {
    let row = sqlx::query!(
        r#"select case when $3 then pg_advisory_xact_lock($1, $2)::text else pg_advisory_xact_lock_shared($1, $2)::text end as "lock?",
                  import.plan as "plan?",
                  case when import.plan = 'make' then import.columns end as "columns?",
                  coalesce(import.plan = 'make' and import.independent, false) as "independent!"
             from (values (1)) as one (row)
             left join imports as import on import.id = $4"#,
        TENANT_LOCK,
        tenant,
        exclusive,
        import,
    )
    .fetch_one(connection)
    .await?;
    let plan = row.plan.map(|text| text.parse().map_err(|_| StoreError::corrupt("imports", "plan", import)));
    let columns = row.columns.and_then(|names| serde_json::from_value(names).ok());
    Ok(Purpose { plan: plan.transpose()?, columns, independent: row.independent })
}

/// Takes the tenant's lock, shared with other writers of its users or exclusively, until the transaction ends.
pub async fn lock_tenant(
    connection: &mut PgConnection,
    tenant: TenantId,
    exclusive: bool,
) -> Result<(), StoreError> {
    if exclusive {
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

/// Begins a transaction that writes users, and takes the tenant's lock (shared or exclusively) in the same round trip.
pub async fn begin_writing(
    connection: &mut PgConnection,
    tenant: TenantId,
    exclusive: bool,
) -> Result<Transaction<'_>, StoreError> {
    let lock = if exclusive { "pg_advisory_xact_lock" } else { "pg_advisory_xact_lock_shared" };
    // Two statements at once, which no prepared statement can be. The only values in the text are two numbers.
    let begin = format!("begin; select {lock}({TENANT_LOCK}, {})", tenant.get());
    Ok(sqlx::Connection::begin_with(connection, AssertSqlSafe(begin)).await?)
}

/// What a worker has to know of an import.
#[derive(Debug, Clone)]
pub struct AppliedImport {
    /// Its tenant.
    pub tenant: TenantId,
    /// The tenant's name, for the log.
    pub tenant_slug: String,
    /// Its options, or what of them this program does not know.
    pub options: Result<ImportOptions, NewerOptions>,
}

/// What a worker has to know of an import. `None` if there is no such import.
pub async fn import(
    connection: &mut PgConnection,
    import: ImportId,
) -> Result<Option<AppliedImport>, StoreError> {
    let row = sqlx::query!(
        "select i.options, i.tenant_id, t.slug from imports i join tenants t on t.id = i.tenant_id where i.id = $1",
        import.get()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| AppliedImport {
        tenant: TenantId::new(row.tenant_id),
        tenant_slug: row.slug,
        options: ImportOptions::from_stored(row.options),
    }))
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

/// Finishes a locked chunk: outcomes, counts, before-images and state `applied`, to be committed with the users.
///
/// The before-images go in the same statement, so that they cost no round trip. They come last in the transaction, when the users are
/// locked: their ids tell in which order two chunks changed one user.
pub async fn finish(
    connection: &mut PgConnection,
    chunk: ChunkId,
    import: ImportId,
    sheet: &OutcomeSheet,
    issues: &[Issue],
    images: &Images,
) -> Result<(), StoreError> {
    write_issues(connection, import, issues).await?;
    let mut counts = sheet.counts();
    if fault::mutant(Mutant::CountsFromMemory) {
        (counts.inserted, counts.updated) = (counts.inserted + counts.updated, 0);
    }
    if fault::mutant(Mutant::NoLedger) {
        sqlx::query("update chunks set state = 'dispatched' where id = $1")
            .bind(chunk.get())
            .execute(&mut *connection)
            .await?;
    }
    let written = sqlx::query!(
        "with kept as (
             insert into before_images (chunk_id, import_id, tenant_id, reopened, gives_up, takes, images)
             select id, import_id, tenant_id, reopened, $9::boolean, $10::boolean, $11::bytea
               from chunks
              where id = $1 and $8::boolean
         )
         update chunks
            set state = 'applied', applied_at = now(), leased_until = null, begun = '{}',
                 problem = null, problem_at = null, problem_since = null,
                pending = $2, inserted = $3, updated = $4, skipped = $5, failed = $6, outcomes = $7
          where id = $1 and state in ('staged', 'dispatched', 'retryable')",
        chunk.get(),
        small(counts.pending)?,
        small(counts.inserted)?,
        small(counts.updated)?,
        small(counts.skipped)?,
        small(counts.failed)?,
        &sheet.encode()[..],
        images.any && !fault::mutant(Mutant::BeforeImagesForgotten),
        images.gives_up,
        images.takes,
        images.body.as_deref(),
    )
    .execute(connection)
    .await?;
    fault::point(Point::Finished)?;
    if written.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Conflict("a chunk")) }
}

/// When a chunk may be dispatched again, and why it was not applied now.
#[derive(Debug, Clone, Copy)]
pub struct Later<'a> {
    /// How long to wait.
    pub delay: Duration,
    /// The reason, without any user's value.
    pub problem: &'a str,
    /// What it costs the chunk.
    pub costs: Costs,
}

/// What a chunk is charged for not being applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Costs {
    /// An attempt: the chunk is at fault, or may be.
    Attempt,
    /// A deferral: what it needs is not to be had, and the next try comes later each time.
    Deferral,
    /// Nothing: its turn comes after another chunk's.
    Nothing,
}

const DEFER: ChunkStep = ChunkStep::of("defer", ChunkState::Dispatched, ChunkState::Retryable);

/// Ends this worker's attempt without an outcome: the chunk may be dispatched again after a while. False for a chunk that is
/// with the workers no more. Then only the worker's note is taken away: notes that are left behind count as deaths.
pub async fn defer(
    connection: &mut PgConnection,
    chunk: ChunkId,
    worker: Uuid,
    later: Later<'_>,
) -> Result<bool, StoreError> {
    let spends = later.costs == Costs::Attempt;
    if spends {
        fault::point(Point::CountAttempt)?;
    }
    fault::point(Point::Defer)?;
    let moved = sqlx::query!(
        "update chunks
            set state = $7, due_at = now() + make_interval(secs => $3), leased_until = null, problem = $4,
                problem_at = now(), problem_since = case when $6 then now() else coalesce(problem_since, now()) end,
                begun = array_remove(begun, $2),
                attempts = attempts + case when $5 then 1 else 0 end,
                deferrals = deferrals + case when $9 then 1 else 0 end
          where id = $1 and state = any($8)",
        chunk.get(),
        worker,
        later.delay.as_secs_f64(),
        later.problem,
        spends && !fault::mutant(Mutant::AttemptsNotCounted),
        fault::mutant(Mutant::TroubleBeginsAnew),
        DEFER.to(),
        &DEFER.from(),
        later.costs == Costs::Deferral || fault::mutant(Mutant::WaitingIsADeferral) && !spends,
    )
    .execute(&mut *connection)
    .await?;
    let is_deferred = moved.rows_affected() == 1;
    if !is_deferred && !fault::mutant(Mutant::LateDeferralKeepsNote) {
        release(connection, chunk, worker).await?;
    }
    Ok(is_deferred)
}

/// Takes this worker's note away: it gives the chunk back, and nothing that the chunk did is the reason.
pub async fn release(connection: &mut PgConnection, chunk: ChunkId, worker: Uuid) -> Result<(), StoreError> {
    sqlx::query!(
        "update chunks set begun = array_remove(begun, $2) where id = $1 and $2 = any (begun)",
        chunk.get(),
        worker,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Wakes the dispatchers, over a connection of the worker's own.
pub async fn wake_dispatchers(connection: &mut PgConnection) -> Result<(), StoreError> {
    fault::point(Point::Wake)?;
    sqlx::query!("select pg_notify('muster_dispatch', '')").execute(connection).await?;
    Ok(())
}
