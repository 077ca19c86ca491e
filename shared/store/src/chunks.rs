//! The chunks of an import: the state, the worker and the last problem of each.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_domain::import::ChunkState;
use muster_domain::outcome::Counts;

use super::convert::number;
use super::{Store, StoreError, holders};

/// A chunk as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct ChunkReport {
    /// Id.
    pub id: ChunkId,
    /// Its lane.
    pub lane: u32,
    /// Its number in the lane, from 0.
    pub seq: u32,
    /// State.
    pub state: ChunkState,
    /// Number of its first record. Records of other lanes are between its records.
    pub first_record: u64,
    /// Number of its last record.
    pub last_record: u64,
    /// Outcomes; they add up.
    pub counts: Counts,
    /// Attempts that are spent, those of workers that died over it and one that is under way included.
    pub attempts: u32,
    /// How often it was deferred without spending an attempt.
    pub deferrals: u32,
    /// How often a retry opened it again.
    pub reopened: u32,
    /// When it was last sent to the workers.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it came to its end: applied, dead, or all of its records failed before. None for a cancelled one.
    pub ended_at: Option<DateTime<Utc>>,
    /// When it is tried again, if it waits for that.
    pub next_try_at: Option<DateTime<Utc>>,
    /// Which process has it. None for one with the workers: its message waits in the queue, or is on its way.
    pub holder: Option<String>,
    /// What it met last. Without any user's value.
    pub problem: Option<String>,
    /// When it met that.
    pub problem_at: Option<DateTime<Utc>>,
    /// Since when it is in trouble.
    pub problem_since: Option<DateTime<Utc>>,
}

/// Which chunks are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChunkFilter {
    /// Those in this state only.
    pub state: Option<ChunkState>,
    /// Those that met a problem only.
    pub problem: bool,
    /// Those after this one only.
    pub after: Option<ChunkId>,
}

struct Row {
    id: i64,
    lane: i32,
    seq: i32,
    state: String,
    first_record: i64,
    last_record: i64,
    records: i32,
    pending: i32,
    inserted: i32,
    updated: i32,
    skipped: i32,
    failed: i32,
    attempts: i32,
    deferrals: i32,
    reopened: i32,
    sent_at: Option<DateTime<Utc>>,
    applied_at: Option<DateTime<Utc>>,
    due_at: Option<DateTime<Utc>>,
    problem: Option<String>,
    problem_at: Option<DateTime<Utc>>,
    problem_since: Option<DateTime<Utc>>,
}

/// Up to `limit` chunks of an import by lane and number. `None` if the tenant has no such import.
pub async fn page(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    filter: ChunkFilter,
    limit: i64,
) -> Result<Option<Vec<ChunkReport>>, StoreError> {
    let rows = {
        let mut reading = store.reading_one_moment(tenant).await?;
        let there = sqlx::query_scalar!(
            "select id from imports where id = $1 and tenant_id = $2",
            import.get(),
            tenant.get()
        )
        .fetch_optional(&mut *reading)
        .await?;
        if there.is_none() {
            return Ok(None);
        }
        // By lane and number, which the index has, and which is the order in which they are applied.
        sqlx::query_as!(
            Row,
            r#"select id, lane, seq, state, first_record, last_record, records, pending, inserted, updated, skipped, failed,
                      attempts + cardinality(begun) as "attempts!", deferrals, reopened, sent_at, applied_at, due_at,
                      problem, problem_at, problem_since
                 from chunks
                where import_id = $1 and tenant_id = $2
                  and ($3::text is null or state = $3)
                  and (not $4 or problem is not null)
                  and ($5::bigint is null
                       or (lane, seq) > (select k.lane, k.seq from chunks k where k.id = $5 and k.import_id = $1))
                order by lane, seq
                limit $6"#,
            import.get(),
            tenant.get(),
            filter.state.map(ChunkState::as_str),
            filter.problem,
            filter.after.map(ChunkId::get),
            limit,
        )
        .fetch_all(&mut *reading)
        .await?
    };
    let held: Vec<ChunkId> = rows
        .iter()
        .filter(|row| row.state == ChunkState::Dispatched.as_str())
        .map(|row| ChunkId::new(row.id))
        .collect();
    let mut names = if held.is_empty() { HashMap::new() } else { holders::of(store, &held).await? };
    rows.into_iter().map(|row| report(row, &mut names)).collect::<Result<_, _>>().map(Some)
}

fn report(row: Row, holders: &mut HashMap<ChunkId, String>) -> Result<ChunkReport, StoreError> {
    let id = ChunkId::new(row.id);
    let small = |value: i32, column| number::<_, u32>(value, ("chunks", column), id);
    let count = |value: i32, column| number::<_, u64>(value, ("chunks", column), id);
    let wide = |value: i64, column| number::<_, u64>(value, ("chunks", column), id);
    let state: ChunkState = row.state.parse().map_err(|_| StoreError::corrupt("chunks", "state", id))?;
    Ok(ChunkReport {
        id,
        lane: small(row.lane, "lane")?,
        seq: small(row.seq, "seq")?,
        state,
        first_record: wide(row.first_record, "first_record")?,
        last_record: wide(row.last_record, "last_record")?,
        counts: Counts {
            total: count(row.records, "records")?,
            pending: count(row.pending, "pending")?,
            inserted: count(row.inserted, "inserted")?,
            updated: count(row.updated, "updated")?,
            skipped: count(row.skipped, "skipped")?,
            failed: count(row.failed, "failed")?,
        },
        attempts: small(row.attempts, "attempts")?,
        deferrals: small(row.deferrals, "deferrals")?,
        reopened: small(row.reopened, "reopened")?,
        sent_at: row.sent_at,
        ended_at: if state == ChunkState::Dead { row.problem_at } else { row.applied_at },
        next_try_at: row.due_at.filter(|_| state == ChunkState::Retryable),
        holder: holders.remove(&id),
        problem: row.problem,
        problem_at: row.problem_at,
        problem_since: row.problem_since,
    })
}
