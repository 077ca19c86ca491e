//! Reads the progress of imports from the store ([`muster_domain::progress`] interprets it).
//!
//! The cost is summing the chunks of the imports that have not ended, and one small query for the
//! surroundings. The surroundings (the window, living processes) belong to no tenant and are read without
//! one.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use muster_domain::dispatch;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::progress::{Facts, Problem, Progress, Surroundings};
use sqlx::PgExecutor;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::convert::number;
use super::holders::{self, LIVES, SLOTS_UNSAID, Trouble};
use super::{Store, StoreError};

/// What the program's settings say of dispatching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Places in the window. None: what follows from the workers.
    pub window: Option<usize>,
    /// How long an import may run without progress before it counts as stalled.
    pub stall_after: Duration,
}

/// The progress of a tenant's imports that have not ended.
pub async fn of(
    store: &Store,
    tenant: TenantId,
    imports: &[ImportId],
    bounds: &Bounds,
) -> Result<HashMap<ImportId, Progress>, StoreError> {
    if imports.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = imports.iter().map(|import| import.get()).collect();
    // A worker that waits for the database says so by itself: the rows of its chunks may be locked.
    let troubles = holders::troubles(store.pool()).await?;
    let facts = {
        let mut reading = store.reading(tenant).await?;
        facts(&mut reading, Some(tenant), Some(&ids), None, &troubles).await?
    };
    let around = surroundings(store.pool(), bounds).await?;
    let progress = facts
        .into_iter()
        .filter_map(|(import, _, facts)| Some((import, Progress::of(&facts, &around, bounds.stall_after)?)));
    Ok(progress.collect())
}

/// The same of one import.
pub async fn of_one(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    bounds: &Bounds,
) -> Result<Option<Progress>, StoreError> {
    Ok(of(store, tenant, &[import], bounds).await?.remove(&import))
}

/// A stalled import.
#[derive(Debug, Clone, PartialEq)]
pub struct Stalled {
    /// The import.
    pub import: ImportId,
    /// Its tenant.
    pub tenant: TenantId,
    /// How it gets on.
    pub progress: Progress,
}

/// The stalled imports.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StalledImports {
    /// How many there are.
    pub count: u64,
    /// Those that have been stalled for the longest time first; at most [`TOLD`].
    pub first: Vec<Stalled>,
}

/// How many stalled imports are reported individually.
pub const TOLD: usize = 100;

/// The stalled imports of all tenants. Those of disabled tenants are to wait.
pub async fn stalled(store: &Store, bounds: &Bounds) -> Result<StalledImports, StoreError> {
    let mut connection = store.pool().acquire().await?;
    let troubles = holders::troubles(&mut *connection).await?;
    let facts = facts(&mut connection, None, None, Some(bounds.stall_after), &troubles).await?;
    drop(connection);
    if facts.is_empty() {
        return Ok(StalledImports::default());
    }
    let around = surroundings(store.pool(), bounds).await?;
    let mut stalled: Vec<Stalled> = facts
        .into_iter()
        .filter_map(|(import, tenant, facts)| {
            let progress = Progress::of(&facts, &around, bounds.stall_after)?;
            progress.stalled.then_some(Stalled { import, tenant, progress })
        })
        .collect();
    // Also by import, so that the order is stable for imports that stalled at the same moment.
    stalled.sort_by_key(|one| (one.progress.no_progress_since, one.import));
    let count = stalled.len() as u64;
    stalled.truncate(TOLD);
    Ok(StalledImports { count, first: stalled })
}

/// The surroundings of all imports.
pub async fn surroundings<'c>(
    executor: impl PgExecutor<'c>,
    bounds: &Bounds,
) -> Result<Surroundings, StoreError> {
    let row = sqlx::query!(
        r#"select (select count(*) from chunks where state = 'dispatched' and leased_until > now()) as "used!",
                  count(*) filter (where name like 'worker%')     as "workers!",
                  sum(coalesce(slots, $2)) filter (where name like 'worker%') as slots,
                  count(*) filter (where name like 'dispatcher%') as "dispatchers!"
             from chunk_holders
            where seen_at between now() - make_interval(secs => $1) and now() + make_interval(secs => $1)"#,
        LIVES.as_secs_f64(),
        SLOTS_UNSAID,
    )
    .fetch_one(executor)
    .await?;
    let slots = row.slots.map(i64::unsigned_abs);
    Ok(Surroundings {
        window: dispatch::window(bounds.window, slots) as u64,
        used: wide(row.used),
        workers: wide(row.workers),
        dispatchers: wide(row.dispatchers),
    })
}

struct Row {
    id: Uuid,
    tenant_id: i32,
    state: String,
    state_since: Option<DateTime<Utc>>,
    started_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    disabled: bool,
    pending: i64,
    open: i64,
    places: i64,
    tenant_places: i64,
    sent_since: Option<DateTime<Utc>>,
    last_ended: Option<DateTime<Utc>>,
    lately: i64,
    ahead: i64,
    problem: Option<String>,
    problem_at: Option<DateTime<Utc>>,
    problem_since: Option<DateTime<Utc>>,
    troubled: i64,
    attempts: Option<i32>,
    next_try_at: Option<DateTime<Utc>>,
    met: Option<Vec<i64>>,
}

/// The facts of imports that have not ended: of one tenant, of these imports, and of those that run without progress for so long and
/// whose tenant is not disabled, where each is asked for.
async fn facts(
    connection: &mut PgConnection,
    tenant: Option<TenantId>,
    imports: Option<&[Uuid]>,
    silent_for: Option<Duration>,
    troubles: &[Trouble],
) -> Result<Vec<(ImportId, TenantId, Facts)>, StoreError> {
    let silent_for = silent_for.map(|limit| i32::try_from(limit.as_millis()).unwrap_or(i32::MAX));
    let rows = rows(connection, tenant, imports, silent_for, &holders::troubled(troubles)).await?;
    rows.into_iter().map(|row| facts_of(row, troubles)).collect()
}

async fn rows(
    connection: &mut PgConnection,
    tenant: Option<TenantId>,
    imports: Option<&[Uuid]>,
    silent_for: Option<i32>,
    troubled: &[i64],
) -> Result<Vec<Row>, StoreError> {
    let most = (silent_for.is_some() && mutant(Mutant::StalledBehindOthers)).then_some(100_i64);
    Ok(sqlx::query_as!(
        Row,
        r#"select i.id, i.tenant_id, i.state, i.state_since, i.started_at, now() as "now!",
                  t.disabled_at is not null as "disabled!",
                  c.pending as "pending!", c.open as "open!", c.places as "places!", c.sent_since, c.last_ended, c.lately as "lately!",
                  c.problem, c.problem_at, c.problem_since, c.troubled as "troubled!", c.attempts, c.next_try_at, c.met,
                  (select count(*) from chunks o
                    where o.tenant_id = i.tenant_id and o.state = 'dispatched' and o.leased_until > now()) as "tenant_places!",
                  (select count(*) from imports o
                    where o.tenant_id = i.tenant_id and o.state in ('planning', 'running') and o.id < i.id) as "ahead!"
             from imports i join tenants t on t.id = i.tenant_id
            cross join lateral (
                  -- What was applied before a pause or before a retry says nothing of how fast it goes now.
                  select greatest(now() - interval '60 s', i.state_since, i.started_at) as at) as began
            cross join lateral (
                  select coalesce(sum(k.pending) filter (where k.state <> 'planned'), 0) as pending,
                         count(*) filter (where k.open) as open,
                         count(*) filter (where k.state = 'dispatched' and k.leased_until > now()) as places,
                         min(k.sent_at) filter (where k.state = 'dispatched') as sent_since,
                         greatest(max(k.applied_at), max(k.problem_at) filter (where k.state = 'dead')) as last_ended,
                         -- A chunk that a retry opened again has records that had their outcome long before.
                         coalesce(sum(k.records) filter (where k.reopened = 0 and k.applied_at > began.at or $4 and k.applied_at > now() - interval '60 s'), 0) as lately,
                         count(*) filter (where k.open and k.problem is not null) as troubled,
                         (array_agg(k.problem order by k.problem_at desc nulls last, k.id)
                                 filter (where k.open and k.problem is not null))[1] as problem,
                         max(k.problem_at)    filter (where k.open and k.problem is not null) as problem_at,
                         min(k.problem_since) filter (where k.open and k.problem is not null) as problem_since,
                         max(k.attempts + cardinality(k.begun)) filter (where k.open and k.problem is not null) as attempts,
                         min(k.due_at) filter (where k.state = 'retryable') as next_try_at,
                         array_agg(k.id) filter (where k.state = 'dispatched' and k.id = any($6)) as met
                    from (select *, state in ('staged', 'dispatched', 'retryable') as open
                            from chunks
                           where chunks.import_id = i.id) as k) as c
            where i.state in ('receiving', 'received', 'planning', 'planned', 'running', 'paused')
              and ($1::integer is null or i.tenant_id = $1)
              and ($2::uuid[] is null or i.id = any($2))
              and ($3::integer is null
                   or i.state in ('planning', 'running') and t.disabled_at is null
                      and greatest(coalesce(i.state_since, i.started_at), c.last_ended)
                          <= now() - make_interval(secs => $3::integer / 1000.0))
            order by i.id
            limit $5"#,
        tenant.map(TenantId::get),
        imports,
        silent_for,
        mutant(Mutant::RateAcrossPauses),
        most,
        troubled,
    )
    .fetch_all(connection)
    .await?)
}

fn facts_of(row: Row, troubles: &[Trouble]) -> Result<(ImportId, TenantId, Facts), StoreError> {
    let attempts = number(row.attempts.unwrap_or(0), ("chunks", "attempts"), row.id)?;
    let ids = row.met.unwrap_or_default();
    let met =
        ids.iter().filter_map(|chunk| holders::trouble_of(troubles, *chunk)).min_by_key(|met| met.since);
    let met = met.map(|met| Problem {
        message: met.problem.clone(),
        at: Some(row.now),
        since: Some(row.problem_since.map_or(met.since, |since| since.min(met.since))),
        chunks: ids.len() as u64,
        attempts,
        next_try_at: row.next_try_at,
    });
    let problem = met.or(row.problem.map(|message| Problem {
        message,
        at: row.problem_at,
        since: row.problem_since,
        chunks: wide(row.troubled),
        attempts,
        next_try_at: row.next_try_at,
    }));
    let facts = Facts {
        now: row.now,
        state: row.state.parse().map_err(|_| StoreError::corrupt("imports", "state", row.id))?,
        state_since: row.state_since,
        started_at: row.started_at,
        tenant_disabled: row.disabled,
        pending: number(row.pending, ("chunks", "pending"), row.id)?,
        open: wide(row.open),
        places: wide(row.places),
        tenant_places: wide(row.tenant_places),
        sent_since: row.sent_since,
        last_ended: row.last_ended,
        lately: wide(row.lately),
        ahead: wide(row.ahead),
        problem,
    };
    Ok((ImportId::new(row.id), TenantId::new(row.tenant_id), facts))
}

/// A number of rows.
fn wide(rows: i64) -> u64 {
    rows.unsigned_abs()
}
