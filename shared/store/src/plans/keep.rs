//! Keeps what a chunk of a plan would do, as if the chunks were planned one after the other.

use muster_domain::fault::{self, Mutant, Point};
use muster_domain::id::ImportId;
use muster_domain::import::{ChunkState, ChunkStep};
use muster_domain::outcome::Counts;
use muster_domain::planned::{KeptKeys, PlannedChunk, Sums};
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{Follows, Met, Planning};
use crate::StoreError;
use crate::convert::small;
use crate::copy::CopyBuffer;

/// First key of the advisory locks on plans; the second is made of the import's id.
const PLAN_LOCK: i32 = 0x6d70;

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
/// Others wait for the lock, so everything is written before it is taken, but for a chunk that is planned again. Nobody sees that before it
/// is committed.
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
        // What was written is taken back, and with it the lock. Whoever gets it in between does no harm: what was planned before the
        // second try is read again after this.
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

/// The chunks that were planned since the earlier ones were read, but for those without keys. None on the second try, which has had the
/// lock since before that.
///
/// Where a database was restored from a dump, its transactions are numbered anew. A plan with a number that is still to come was made
/// before that, so it is an earlier one. One whose number was given again may be taken for a later one; then the chunk is planned twice.
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
            and not pg_visible_in_snapshot(p.kept_by, $2::text::pg_snapshot)
            and p.kept_by < pg_snapshot_xmax(pg_current_snapshot()) and p.keys <> '' and p.chunk_id <> $3
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
