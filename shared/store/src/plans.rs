//! Plans of imports: chunks are planned one by one, each in its transaction, and nothing is written to users.
//!
//! Why a later chunk sees the effects of earlier ones: [`known`] finds the chunks that involve one of its values, and [`put`] checks
//! again, under a lock of the import's plan, for chunks that were planned since. So the chunks of a plan are planned as if one after
//! the other; where two of them have to do with one value, in the order of `plans.id`. Each notes which chunks of other lanes it follows
//! ([`of_chunk`]), so that they are applied in that order where it matters.

mod erase;
mod forget;
mod group;
mod read;
mod undo;

use std::collections::{BTreeMap, HashMap};

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

pub(super) use erase::erase;
pub use forget::forget_keys;
pub(super) use forget::{clear_keys, forget};
pub(super) use group::settle_group;
pub use read::{
    Cursor, PlanSummary, PlannedPage, PlannedRecords, Since, WORTH_A_WARNING, chunk_after, fields, is_there,
    page, summary,
};

pub use undo::{Undoing, met_by_undo};

use muster_domain::fault::{self, Mutant, Point};
use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_domain::import::{ChunkState, ChunkStep};
use muster_domain::options::Enrolment;
use muster_domain::outcome::{Counts, Outcome};
use muster_domain::planned::{KeptKeys, Known, Maker, PlannedChunk, PlannedRecord, Sums};
use muster_domain::record::Record;

use super::StoreError;
use super::convert::read_sheet;
use super::convert::small;
use super::copy::CopyBuffer;
use super::upsert::existing;

/// First key of the advisory locks on plans; the second is made of the import's id.
const PLAN_LOCK: i32 = 0x6d70;

/// What a chunk meets.
#[derive(Debug, Default)]
pub struct Met {
    /// The users.
    pub known: Known,
    /// The chunks of other lanes that they come from, the last one of each lane.
    follows: Follows,
    /// The snapshot that this was read with: it tells which chunks were planned since.
    seen: String,
    /// The lane of the chunk that is planned.
    lane: i32,
}

/// A chunk that is being planned.
#[derive(Debug, Clone, Copy)]
pub struct Planning<'a> {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its import.
    pub import: ImportId,
    /// Its tenant.
    pub tenant: TenantId,
    /// The keys of what its records name, sorted.
    pub asked: &'a [i64],
    /// No record of the import meets what another one leaves: nothing is looked up of other chunks, and no key is kept.
    pub independent: bool,
    /// [`put`] said [`Put::Again`] in this transaction.
    pub again: bool,
}

/// The users that records meet: those that are there, and over them how earlier chunks of the plan would leave theirs. One chunk of
/// those is read at a time, and nothing is kept of it but the users that matter.
pub async fn known(
    connection: &mut PgConnection,
    planning: &Planning<'_>,
    records: &[&Record<'_>],
    enrolment: Option<Enrolment>,
) -> Result<Met, StoreError> {
    let users = existing(connection, planning.tenant, records, enrolment).await?;
    let mut met = Met { known: Known::there(users), ..Met::default() };
    if planning.independent {
        lazily(connection).await?;
        return Ok(met);
    }
    let lay = |met: &mut Met, chunk: PlannedChunk| {
        met.known.lay_over(chunk.users, |user| user.has_one_of(planning.import, planning.asked));
    };
    earlier(connection, planning, &mut met, lay).await?;
    Ok(met)
}

/// Nobody waits until the plan of a chunk is on disk, as [`EARLIER`] says.
async fn lazily(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("set local synchronous_commit = off").execute(connection).await?;
    Ok(())
}

/// Reads the chunks of the plan that have to do with one of the values, in their order, and notes which of them this one follows.
async fn earlier(
    connection: &mut PgConnection,
    planning: &Planning<'_>,
    met: &mut Met,
    mut lay: impl FnMut(&mut Met, PlannedChunk) + Send,
) -> Result<(), StoreError> {
    let found: Vec<Found> = sqlx::query_as(EARLIER)
        .bind(planning.import.get())
        .bind(planning.asked)
        .bind(planning.chunk.get())
        .fetch_all(&mut *connection)
        .await?;
    if let Some(row) = found.first() {
        (met.seen, met.lane) = (row.seen.clone(), row.own);
    }
    if fault::mutant(Mutant::PlanForgetsEarlier) {
        return Ok(());
    }
    for row in found {
        let (Some(plan), Some(chunk), Some(lane)) = (row.plan, row.chunk, row.lane) else { continue };
        if row.writes == Some(true) || fault::mutant(Mutant::PlanReadsFailed) {
            let records: Option<Vec<u8>> = sqlx::query_scalar("select records from plans where id = $1")
                .bind(plan)
                .fetch_optional(&mut *connection)
                .await?;
            // Gone: the import was cancelled since, and this plan cannot be stored.
            let Some(records) = records else { continue };
            lay(met, decoded(&records, plan)?);
        }
        if row.other == Some(true) {
            met.follows.insert(lane, (plan, chunk));
        }
    }
    Ok(())
}

/// A chunk that has to do with one of the values, as [`EARLIER`] tells it.
#[derive(sqlx::FromRow)]
struct Found {
    seen: String,
    /// The lane of the chunk that is planned.
    own: i32,
    plan: Option<i64>,
    chunk: Option<i64>,
    lane: Option<i32>,
    /// Whether it would write users at all.
    writes: Option<bool>,
    /// Whether its lane is another one.
    other: Option<bool>,
}

/// The chunks of the plan that have to do with one of the values, in their order: all that write users, and of those that write none the
/// last one of each lane. What a chunk of the second kind leaves is what was there, so it is followed and not read: where many records
/// fail over one value, each chunk would read all before it. A chunk of an undo that writes nothing may still have found out what is to be
/// left alone. Keys of a plan that was forgotten find nothing. At least one row.
///
/// Nobody waits until the plan of a chunk is on disk: what a crash of the server takes back is a chunk that is with the workers again, and
/// it is planned again when its lease ends. The move of the import to `planned` waits, and with it all that was committed before.
const EARLIER: &str = "
    with found as (
        select p.id as plan, p.chunk_id as chunk, c.lane,
               p.inserted + p.updated > 0 or exists (select from imports where id = $1 and undoes is not null) as writes
          from (select distinct plan_id from planned_keys where import_id = $1 and key = any($2)) as k
          join plans p on p.id = k.plan_id and p.import_id = $1
          join chunks c on c.id = p.chunk_id
    ), met as (
        select plan, chunk, lane, writes from found where writes
        union all
        (select distinct on (lane) plan, chunk, lane, writes from found where not writes order by lane, plan desc)
    )
    select own.seen, own.lane as own, met.plan, met.chunk, met.lane, met.writes, met.lane <> own.lane as other
      from (select pg_current_snapshot()::text as seen, coalesce((select lane from chunks where id = $3), 0) as lane,
                   set_config('synchronous_commit', 'off', true) as lazily) as own
      left join met on true
     order by met.plan";

fn decoded(records: &[u8], plan: i64) -> Result<PlannedChunk, StoreError> {
    PlannedChunk::decode(records).map_err(|_| StoreError::corrupt("plans", "records", plan))
}

/// What a chunk's records would come to.
#[derive(Debug)]
pub struct NewPlan<'a> {
    /// The records and how they leave their users.
    pub chunk: &'a PlannedChunk,
    /// The records by outcome.
    pub counts: Counts,
    /// By these later chunks find it.
    pub keys: &'a KeptKeys,
    /// The users that were there and would change, and the versions at which they were met.
    pub met: (Vec<Uuid>, Vec<i32>),
}

/// The result of storing a plan.
#[derive(Debug, PartialEq, Eq)]
pub enum Put {
    /// It is kept, to be committed, and the chunk is `planned`.
    Kept,
    /// A chunk was planned meanwhile that has to do with this one: it is to be planned again, in this transaction.
    Again,
}

/// Keeps what a chunk would do. Whoever gets [`Put::Again`] has the lock of the plan, so no chunk is planned before the next try.
///
/// Others wait for the lock, so everything is written before it is taken. Nobody sees that before it is committed.
pub async fn put(
    connection: &mut PgConnection,
    planning: &Planning<'_>,
    met: &Met,
    new: &NewPlan<'_>,
) -> Result<Put, StoreError> {
    let row = NewRow::of(new)?;
    if new.keys.all.is_empty() {
        // Nothing of it matters to another chunk, nor another chunk to it (`keys::kept`): it has no place in their order.
        insert(connection, planning, new, row, &chunks_of(&met.follows)).await?;
        fault::point(Point::Finished)?;
        return Ok(Put::Kept);
    }
    let mut written = connection.begin().await?;
    let mut follows = met.follows.clone();
    follows.remove(&met.lane);
    let foreseen = chunks_of(&follows);
    let id = insert(&mut written, planning, new, row, &foreseen).await?;
    copy_keys(&mut written, planning.import, id, &new.keys.all).await?;
    if !planning.again {
        lock(&mut written, planning.import).await?;
    }
    if !follow_later(&mut written, planning, met, new, &mut follows).await? {
        written.rollback().await?;
        // What was written is taken back, and with it the lock.
        if !fault::mutant(Mutant::PlanLockTakenBack) {
            lock(connection, planning.import).await?;
        }
        return Ok(Put::Again);
    }
    follows.remove(&met.lane);
    let follows = chunks_of(&follows);
    if follows != foreseen {
        sqlx::query!("update plans set follows = $2 where id = $1", id, &follows)
            .execute(&mut *written)
            .await?;
    }
    written.commit().await?;
    fault::point(Point::Finished)?;
    Ok(Put::Kept)
}

/// By lane, the last plan and its chunk.
type Follows = BTreeMap<i32, (i64, i64)>;

fn chunks_of(follows: &Follows) -> Vec<i64> {
    follows.values().map(|(_, chunk)| *chunk).collect()
}

/// Adds the chunks that this one follows because of the values that its users give up. False if one was planned meanwhile whose users this
/// one did not meet.
async fn follow_later(
    connection: &mut PgConnection,
    planning: &Planning<'_>,
    met: &Met,
    new: &NewPlan<'_>,
    follows: &mut Follows,
) -> Result<bool, StoreError> {
    let mut note = |lane: i32, plan: i64, chunk: i64| {
        let last = follows.entry(lane).or_default();
        *last = (*last).max((plan, chunk));
    };
    for plan in since(connection, planning, met).await? {
        let keys = read_keys(&plan.keys);
        if touches(&keys, planning.asked) && !fault::mutant(Mutant::PlanUnchecked) {
            return Ok(false);
        }
        if touches(&keys, &new.keys.given_up) {
            note(plan.lane, plan.id, plan.chunk_id);
        }
    }
    for plan in looked_at(connection, planning, &new.keys.given_up).await? {
        note(plan.0, plan.1, plan.2);
    }
    Ok(true)
}

/// A chunk that was planned since others were read.
struct Later {
    id: i64,
    keys: Vec<u8>,
    chunk_id: i64,
    lane: i32,
}

/// The chunks that were planned since the earlier ones were read. None on the second try, which has had the lock since before that: where a
/// database was restored from a dump, its transactions are numbered anew, and all plans look as if they were made since.
async fn since(
    connection: &mut PgConnection,
    planning: &Planning<'_>,
    met: &Met,
) -> Result<Vec<Later>, StoreError> {
    if planning.again {
        return Ok(Vec::new());
    }
    let later = sqlx::query_as!(
        Later,
        "select p.id, p.keys, p.chunk_id, c.lane
           from plans p
           join chunks c on c.id = p.chunk_id
          where p.import_id = $1 and p.kept_by >= pg_snapshot_xmin($2::text::pg_snapshot)
            and not pg_visible_in_snapshot(p.kept_by, $2::text::pg_snapshot) and p.chunk_id <> $3
          order by p.id",
        planning.import.get(),
        met.seen,
        planning.chunk.get(),
    );
    Ok(later.fetch_all(connection).await?)
}

/// Chunks of a plan are kept one at a time.
async fn lock(connection: &mut PgConnection, import: ImportId) -> Result<(), StoreError> {
    let [.., a, b, c, d] = *import.get().as_bytes();
    sqlx::query!("select pg_advisory_xact_lock($1, $2)", PLAN_LOCK, i32::from_be_bytes([a, b, c, d]))
        .execute(connection)
        .await?;
    Ok(())
}

/// Lane, plan and chunk of the others that have to do with values that users give up.
async fn looked_at(
    connection: &mut PgConnection,
    planning: &Planning<'_>,
    given_up: &[i64],
) -> Result<Vec<(i32, i64, i64)>, StoreError> {
    if given_up.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        "select p.id, p.chunk_id, c.lane
           from plans p
           join chunks c on c.id = p.chunk_id
          where p.id in (select plan_id from planned_keys where import_id = $1 and key = any($2)) and p.chunk_id <> $3",
        planning.import.get(),
        given_up,
        planning.chunk.get(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.lane, row.id, row.chunk_id)).collect())
}

/// The row of a plan.
struct NewRow {
    sums: serde_json::Value,
    keys: Vec<u8>,
    records: Vec<u8>,
}

impl NewRow {
    fn of(new: &NewPlan<'_>) -> Result<Self, StoreError> {
        let program =
            |error: &dyn std::fmt::Display| StoreError::Program(format!("the plan of a chunk: {error}"));
        Ok(Self {
            sums: serde_json::to_value(Sums::of(&new.chunk.records)).map_err(|error| program(&error))?,
            keys: new.keys.all.iter().flat_map(|key| key.to_le_bytes()).collect(),
            records: new.chunk.encode().map_err(|error| program(&error))?,
        })
    }
}

const FORESEE: ChunkStep = ChunkStep::of("foresee", ChunkState::Dispatched, ChunkState::Planned);

/// Writes the plan of a chunk and moves the chunk.
async fn insert(
    connection: &mut PgConnection,
    planning: &Planning<'_>,
    new: &NewPlan<'_>,
    row: NewRow,
    follows: &[i64],
) -> Result<i64, StoreError> {
    let NewRow { sums, keys, records } = row;
    sqlx::query_scalar!(
        "with moved as (
             update chunks
                set state = $12, applied_at = now(), leased_until = null, begun = '{}', attempts = 0, deferrals = 0,
                    problem = null, problem_at = null, problem_since = null
              where id = $1 and state = any($13)
             returning id, import_id, tenant_id
         )
         insert into plans (tenant_id, import_id, chunk_id, inserted, updated, skipped, failed, sums, follows, users, versions, keys,
                            records)
         select tenant_id, import_id, id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 from moved
         returning id",
        planning.chunk.get(),
        small(new.counts.inserted)?,
        small(new.counts.updated)?,
        small(new.counts.skipped)?,
        small(new.counts.failed)?,
        sums,
        follows,
        &new.met.0,
        &new.met.1,
        keys,
        records,
        FORESEE.to(),
        &FORESEE.from(),
    )
    .fetch_optional(connection)
    .await?
    .ok_or(StoreError::Conflict("a chunk"))
}

async fn copy_keys(
    connection: &mut PgConnection,
    import: ImportId,
    plan: i64,
    keys: &[i64],
) -> Result<(), StoreError> {
    if keys.is_empty() {
        return Ok(());
    }
    let mut buffer = CopyBuffer::with_capacity(keys.len() * 46);
    for key in keys {
        buffer.row(3);
        buffer.uuid(import.get());
        buffer.long(*key);
        buffer.long(plan);
    }
    let mut copy = sqlx::postgres::PgConnection::copy_in_raw(
        connection,
        "copy planned_keys (import_id, key, plan_id) from stdin (format binary)",
    )
    .await?;
    // No time-out and no select! around this: a copy that is dropped half-way puts its connection out of step.
    if let Err(error) = copy.send(buffer.finish()).await {
        copy.abort("the rows could not be sent").await?;
        return Err(error.into());
    }
    copy.finish().await?;
    Ok(())
}

fn read_keys(bytes: &[u8]) -> Vec<i64> {
    let (whole, _) = bytes.as_chunks::<8>();
    whole.iter().map(|eight| i64::from_le_bytes(*eight)).collect()
}

/// Whether two sorted lists have a key in common.
fn touches(keys: &[i64], others: &[i64]) -> bool {
    let (few, many) = if keys.len() < others.len() { (keys, others) } else { (others, keys) };
    few.iter().any(|key| many.binary_search(key).is_ok())
}

/// What was planned for a chunk that is to be applied.
#[derive(Debug)]
pub struct OfChunk {
    /// Its records.
    pub records: Vec<PlannedRecord>,
    /// A chunk that it follows is not applied yet.
    pub waits: bool,
}

/// What was planned for a chunk of an import that was planned.
pub async fn of_chunk(connection: &mut PgConnection, chunk: ChunkId) -> Result<OfChunk, StoreError> {
    let row = sqlx::query!(
        r#"select p.id, p.records,
                  exists (select from chunks c
                           where c.id = any(p.follows) and c.state in ('staged', 'dispatched', 'retryable')) as "waits!"
             from plans p
            where p.chunk_id = $1"#,
        chunk.get(),
    )
    .fetch_optional(connection)
    .await?
    .ok_or_else(|| StoreError::corrupt("plans", "chunk_id", chunk))?;
    let waits = row.waits && !fault::mutant(Mutant::PlanOrderForgotten);
    Ok(OfChunk { records: decoded(&row.records, row.id)?.records, waits })
}

/// The users that records of other chunks inserted when those were applied. A record that inserted none has no place among them.
pub async fn made(
    connection: &mut PgConnection,
    makers: &[Maker],
) -> Result<HashMap<Maker, Uuid>, StoreError> {
    let mut chunks: Vec<i64> = makers.iter().map(|maker| maker.chunk).collect();
    chunks.sort_unstable();
    chunks.dedup();
    let rows: Vec<(i64, i32, Option<Vec<u8>>)> =
        sqlx::query_as("select id, records, outcomes from chunks where id = any($1)")
            .bind(chunks)
            .fetch_all(connection)
            .await?;
    let mut sheets = HashMap::with_capacity(rows.len());
    for (chunk, records, outcomes) in rows {
        sheets.insert(chunk, read_sheet(ChunkId::new(chunk), records, outcomes.as_deref())?);
    }
    let inserted = |maker: &Maker| {
        let (verdict, user) = sheets.get(&maker.chunk)?.get(maker.index)?;
        Some((*maker, user.filter(|_| verdict.outcome == Outcome::Inserted)?))
    };
    Ok(makers.iter().filter_map(inserted).collect())
}

/// The import's plan is applied, or it is planned anew.
pub(super) const PROCEED: ChunkStep = ChunkStep::of("proceed", ChunkState::Planned, ChunkState::Staged);
pub(super) const PLAN_ANEW: ChunkStep = ChunkStep::of("plan", ChunkState::Planned, ChunkState::Staged);

/// Chunks of an import that were planned may be dispatched again.
pub(super) async fn stage_planned(
    connection: &mut PgConnection,
    import: ImportId,
    step: ChunkStep,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update chunks
            set state = $2, applied_at = null, sent_at = null
          where import_id = $1 and state = any($3)",
        import.get(),
        step.to(),
        &step.from(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
