//! Figures of the console about imports: settled records over time, chunks by lane, stalled chunks.

use chrono::{DateTime, Utc};
use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_domain::import::ChunkState;

use super::convert::number;
use super::reports::ChunkCounts;
use super::{Store, StoreError, holders};

/// Records that got their outcome within one stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// When the stretch begins.
    pub at: DateTime<Utc>,
    /// Inserted, updated or skipped.
    pub done: u64,
    /// Failed.
    pub failed: u64,
}

// Of a chunk that a retry opened again, what had been settled before counts at the time of that.

/// What a tenant's imports settled since then, by stretches of so many seconds; stretches without any are left out. Looks at the newest
/// 200 imports and at those that run.
pub async fn settled(
    store: &Store,
    tenant: TenantId,
    since: DateTime<Utc>,
    seconds: f64,
) -> Result<Vec<Settled>, StoreError> {
    let rows = sqlx::query!(
        r#"with lately as (
               -- Of one that had ended by then, nothing was settled since.
               select id
                 from (select id, completed_at from imports where tenant_id = $1 order by id desc limit 200) as newest
                where completed_at is null or completed_at >= $2
               union
               select id from imports where tenant_id = $1 and state in ('running', 'paused')
           )
           select date_bin(make_interval(secs => $3), part.at, timestamptz '2000-01-01 00:00:00+00') as "at!",
                  sum(part.done) as "done!", sum(part.failed) as "failed!"
             from lately
             join chunks on chunks.import_id = lately.id
            cross join lateral (values
                  (chunks.applied_at, greatest(chunks.inserted + chunks.updated + chunks.skipped - chunks.earlier_done, 0),
                   greatest(chunks.failed - chunks.earlier_failed, 0)),
                  (chunks.earlier_at, chunks.earlier_done, chunks.earlier_failed)) as part (at, done, failed)
            where part.at >= $2 and chunks.tenant_id = $1
            group by 1
            order by 1"#,
        tenant.get(),
        since,
        seconds,
    )
    .fetch_all(&mut *store.reading(tenant).await?)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Settled { at: row.at, done: row.done.unsigned_abs(), failed: row.failed.unsigned_abs() })
        .collect())
}

/// The same of one import, from its beginning.
pub async fn settled_of_import(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    seconds: f64,
) -> Result<Vec<Settled>, StoreError> {
    let rows = sqlx::query!(
        r#"select date_bin(make_interval(secs => $3), part.at, timestamptz '2000-01-01 00:00:00+00') as "at!",
                  sum(part.done) as "done!", sum(part.failed) as "failed!"
             from chunks
            cross join lateral (values
                  (applied_at, greatest(inserted + updated + skipped - earlier_done, 0), greatest(chunks.failed - earlier_failed, 0)),
                  (earlier_at, earlier_done, earlier_failed)) as part (at, done, failed)
            where import_id = $1 and tenant_id = $2 and part.at is not null
            group by 1
            order by 1"#,
        import.get(),
        tenant.get(),
        seconds,
    )
    .fetch_all(&mut *store.reading(tenant).await?)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Settled { at: row.at, done: row.done.unsigned_abs(), failed: row.failed.unsigned_abs() })
        .collect())
}

/// Some chunks of one lane that follow each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneCell {
    /// The lane, from 0.
    pub lane: u32,
    /// The place in the lane, from 0.
    pub place: u32,
    /// The chunks by state.
    pub chunks: ChunkCounts,
    /// Failed records in them.
    pub failed: u64,
}

/// The chunks of an import by lane and position: one for each cell if the longest lane has at most `places`, otherwise several in one cell.
pub async fn lanes(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    places: i32,
) -> Result<Vec<LaneCell>, StoreError> {
    let rows = sqlx::query!(
        r#"select lane, case when most > $3 then (seq::bigint * $3 / most)::integer else seq end as "place!",
                  count(*) filter (where state = 'staged')     as "staged!",
                  count(*) filter (where state = 'dispatched') as "dispatched!",
                  count(*) filter (where state = 'retryable')  as "retryable!",
                  count(*) filter (where state = 'planned')    as "planned!",
                  count(*) filter (where state = 'applied')    as "applied!",
                  count(*) filter (where state = 'dead')       as "dead!",
                  count(*) filter (where state = 'cancelled')  as "cancelled!",
                  sum(failed) as "failed!"
             from (select lane, seq, state, failed, max(seq) over () + 1 as most
                     from chunks
                    where import_id = $1 and tenant_id = $2) as chunk
            group by 1, 2
            order by 1, 2"#,
        import.get(),
        tenant.get(),
        places,
    )
    .fetch_all(&mut *store.reading(tenant).await?)
    .await?;
    let cell = |lane: i32, place: i32, chunks, failed: i64| {
        Ok(LaneCell {
            lane: number(lane, ("chunks", "lane"), import)?,
            place: number(place, ("chunks", "seq"), import)?,
            chunks,
            failed: failed.unsigned_abs(),
        })
    };
    let cells = rows.into_iter().map(|row| {
        let chunks = ChunkCounts {
            staged: row.staged.unsigned_abs(),
            dispatched: row.dispatched.unsigned_abs(),
            retryable: row.retryable.unsigned_abs(),
            planned: row.planned.unsigned_abs(),
            applied: row.applied.unsigned_abs(),
            dead: row.dead.unsigned_abs(),
            cancelled: row.cancelled.unsigned_abs(),
        };
        cell(row.lane, row.place, chunks, row.failed)
    });
    cells.collect()
}

/// A stalled chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldUp {
    /// Id.
    pub id: ChunkId,
    /// Its lane, from 0.
    pub lane: u32,
    /// Its state: retryable, dead, or with the workers once more.
    pub state: ChunkState,
    /// Number of its first record.
    pub first_record: u64,
    /// Number of its last record.
    pub last_record: u64,
    /// How many records it has.
    pub records: u64,
    /// Attempts that did not end well.
    pub attempts: u64,
    /// How often it was deferred without spending an attempt.
    pub deferrals: u64,
    /// Why, without any user's value.
    pub problem: Option<String>,
    /// When it is tried again.
    pub due_at: Option<DateTime<Utc>>,
}

/// Up to `limit` stalled chunks of a tenant's import, dead ones first.
pub async fn held_up(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    limit: i64,
) -> Result<Vec<HeldUp>, StoreError> {
    let troubles = holders::troubles(store.pool()).await?;
    let rows = sqlx::query!(
        "select id, lane, state, first_record, last_record, records, attempts, deferrals, problem, due_at
           from chunks
          where import_id = $1 and tenant_id = $2
            and (state in ('retryable', 'dead') or state in ('staged', 'dispatched') and problem is not null
                 or state = 'dispatched' and id = any($4))
          order by state = 'dead' desc, due_at, id
          limit $3",
        import.get(),
        tenant.get(),
        limit,
        &holders::troubled(&troubles),
    )
    .fetch_all(&mut *store.reading(tenant).await?)
    .await?;
    rows.into_iter()
        .map(|row| {
            let state = row.state.parse().map_err(|_| StoreError::corrupt("chunks", "state", row.id))?;
            let met = holders::trouble_of(&troubles, row.id).filter(|_| state == ChunkState::Dispatched);
            Ok(HeldUp {
                id: ChunkId::new(row.id),
                lane: number(row.lane, ("chunks", "lane"), row.id)?,
                state,
                first_record: row.first_record.unsigned_abs(),
                last_record: row.last_record.unsigned_abs(),
                records: row.records.unsigned_abs().into(),
                attempts: row.attempts.unsigned_abs().into(),
                deferrals: row.deferrals.unsigned_abs().into(),
                problem: met.map(|met| met.problem.clone()).or(row.problem),
                due_at: row.due_at,
            })
        })
        .collect()
}
