//! Plans of imports: chunks are planned one by one, each in its transaction, and nothing is written to users.
//!
//! Why a later chunk sees the effects of earlier ones: [`known`] finds the chunks that involve one of its values, and [`put`] checks
//! again, under a lock of the import's plan, for chunks that were planned since. So the chunks of a plan are planned as if one after
//! the other; where the users of two of them have one value, in the order of `plans.id`. Each notes which chunks of other lanes it follows
//! ([`of_chunk`]), so that they are applied in that order where it matters.

mod erase;
mod forget;
mod group;
mod keep;
mod read;
mod undo;

use std::collections::{BTreeMap, HashMap};

use sqlx::postgres::PgConnection;
use uuid::Uuid;

pub(super) use erase::erase;
pub use forget::forget_keys;
pub(super) use forget::{clear_keys, forget};
pub(super) use group::settle_group;
pub use keep::{NewPlan, Put, put};
pub use read::{
    Cursor, PlanSummary, PlannedPage, PlannedRecords, Since, WORTH_A_WARNING, chunk_after, fields, is_there,
    page, summary,
};

pub use undo::{Undoing, met_by_undo};

use muster_domain::fault::{self, Mutant};
use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_domain::import::{ChunkState, ChunkStep};
use muster_domain::options::Enrolment;
use muster_domain::outcome::Outcome;
use muster_domain::planned::{Known, Maker, PlannedChunk, PlannedRecord};
use muster_domain::record::Record;

use super::StoreError;
use super::convert::read_sheet;
use super::upsert::existing;

/// By lane, the last plan and its chunk.
type Follows = BTreeMap<i32, (i64, i64)>;

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
