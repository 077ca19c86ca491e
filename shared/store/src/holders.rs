//! Which process holds which chunks. Each process writes this about every second, in one row. A process that
//! is silent for [`LIVES`] is taken for dead, and its chunks for free.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::time::Duration;

use chrono::{DateTime, Utc};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::ChunkId;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{Store, StoreError};

/// A process that says nothing for so long is gone, and what it held is not held any more. Nor does one live that spoke so far in the
/// future: the server's clock was set back since, and a process that lives would have spoken again.
pub const LIVES: Duration = Duration::from_secs(3);

/// With how many slots a worker counts that does not say: the most that it has without a setting.
pub(crate) const SLOTS_UNSAID: i32 = 8;

/// What a process that lives met with chunks that it holds, and could not write down with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The chunks.
    pub chunks: Vec<ChunkId>,
    /// What was met with the one that is in trouble for the longest, without any user's value.
    pub problem: String,
    /// Since when that one is.
    pub since: DateTime<Utc>,
}

/// Says that a process lives, how many chunks it applies at a time if it is a worker, which chunks it holds, and its trouble with them.
pub async fn say(
    store: &Store,
    process: Uuid,
    name: &str,
    slots: Option<NonZeroU16>,
    chunks: &[ChunkId],
    trouble: Option<&Trouble>,
) -> Result<(), StoreError> {
    let troubled: Vec<i64> =
        trouble.map_or(&[][..], |trouble| &trouble.chunks).iter().map(|chunk| chunk.get()).collect();
    let ids: Vec<i64> = chunks.iter().map(|chunk| chunk.get()).collect();
    sqlx::query!(
        "insert into chunk_holders (id, name, slots, chunks, troubled, problem, problem_since)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (id) do update
            set seen_at = now(), chunks = excluded.chunks,
                troubled = excluded.troubled, problem = excluded.problem, problem_since = excluded.problem_since",
        process,
        name,
        slots.map(|slots| i32::from(slots.get())),
        &ids,
        &troubled,
        trouble.map(|trouble| trouble.problem.as_str()),
        trouble.map(|trouble| trouble.since),
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// The troubles of the processes that live, the oldest first. They belong to no tenant: what is shown of them is looked up by chunk.
pub async fn troubles(executor: impl PgExecutor<'_>) -> Result<Vec<Trouble>, StoreError> {
    let rows = sqlx::query!(
        r#"select troubled, problem as "problem!", problem_since as "problem_since!"
             from chunk_holders
            where seen_at between now() - make_interval(secs => $1) and now() + make_interval(secs => $1)
              and problem is not null and problem_since is not null
            order by problem_since, id"#,
        LIVES.as_secs_f64(),
    )
    .fetch_all(executor)
    .await?;
    let troubles = rows.into_iter().map(|row| Trouble {
        chunks: row.troubled.into_iter().map(ChunkId::new).collect(),
        problem: row.problem,
        since: row.problem_since,
    });
    Ok(troubles.collect())
}

/// The chunks of these troubles.
pub(crate) fn troubled(troubles: &[Trouble]) -> Vec<i64> {
    troubles.iter().flat_map(|trouble| &trouble.chunks).map(|chunk| chunk.get()).collect()
}

/// The trouble of a chunk.
pub(crate) fn trouble_of(troubles: &[Trouble], chunk: i64) -> Option<&Trouble> {
    troubles.iter().find(|trouble| trouble.chunks.iter().any(|one| one.get() == chunk))
}

/// Which process that lives holds each of these chunks. A dispatcher and a worker may both hold one for a moment; it is the worker's then.
pub async fn of(store: &Store, chunks: &[ChunkId]) -> Result<HashMap<ChunkId, String>, StoreError> {
    let ids: Vec<i64> = chunks.iter().map(|chunk| chunk.get()).collect();
    let rows = sqlx::query!(
        "select name, chunks from chunk_holders
          where seen_at between now() - make_interval(secs => $2) and now() + make_interval(secs => $2)
            and chunks && $1
          order by name",
        &ids,
        LIVES.as_secs_f64(),
    )
    .fetch_all(store.pool())
    .await?;
    // The last one counts, and workers come after dispatchers.
    let held =
        rows.into_iter().flat_map(|row| row.chunks.into_iter().map(move |chunk| (chunk, row.name.clone())));
    Ok(held
        .filter(|(chunk, _)| ids.contains(chunk))
        .map(|(chunk, name)| (ChunkId::new(chunk), name))
        .collect())
}

/// How many chunks the workers that live apply at a time, all together. None if no worker lives.
pub async fn slots(store: &Store) -> Result<Option<u64>, StoreError> {
    let slots = sqlx::query_scalar!(
        r#"select sum(coalesce(slots, $2))::bigint
             from chunk_holders
            where seen_at between now() - make_interval(secs => $1) and now() + make_interval(secs => $1)
              and name like 'worker%'"#,
        LIVES.as_secs_f64(),
        SLOTS_UNSAID,
    )
    .fetch_one(store.pool())
    .await?;
    Ok(slots.map(i64::unsigned_abs))
}

/// A process ends: what it held is not held any more.
pub async fn leave(store: &Store, process: Uuid) -> Result<(), StoreError> {
    sqlx::query!("delete from chunk_holders where id = $1", process).execute(store.pool()).await?;
    Ok(())
}

/// Ends the sessions of this role in this database that have waited for so long for the data of one of Muster's own copies, which send theirs
/// at once. PostgreSQL looks at no time-out while it waits for such data: a worker that froze in the middle of one would hold its chunk for
/// as long as its connection stands. Returns how many were ended.
pub async fn end_stuck_copies(store: &Store, longer: Duration) -> Result<u64, StoreError> {
    let ended = sqlx::query_scalar!(
        r#"select count(*) filter (where pg_terminate_backend(pid)) as "ended!"
             from pg_stat_activity
            where datname = current_database() and usename = session_user
              and state = 'active' and wait_event = 'ClientRead'
              and (query like 'copy users (%from stdin (format binary)' or query like 'copy planned_keys (%from stdin (format binary)')
              and query_start < now() - make_interval(secs => $1)"#,
        longer.as_secs_f64(),
    )
    .fetch_one(store.pool())
    .await?;
    Ok(ended.unsigned_abs())
}

/// Deletes the rows of processes that are gone for long.
pub async fn delete_gone(store: &Store) -> Result<u64, StoreError> {
    let deleted = sqlx::query!(
        "delete from chunk_holders where seen_at not between now() - interval '1 minute' and now() + interval '1 minute'"
    )
    .execute(store.pool())
    .await?;
    Ok(deleted.rows_affected())
}

/// A process that lives, as it said lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// What it is: `worker`, `dispatcher` and its number in its system.
    pub name: String,
    /// When it last said so.
    pub seen_at: DateTime<Utc>,
    /// How many chunks it holds.
    pub chunks: u64,
    /// What it met with some of them, if they wait for that.
    pub problem: Option<String>,
}

/// The processes that live, by name.
pub async fn list(store: &Store) -> Result<Vec<Process>, StoreError> {
    let lives = if mutant(Mutant::DeadWorkersListed) { 15.0 } else { LIVES.as_secs_f64() };
    let rows = sqlx::query!(
        r#"select name, seen_at, cardinality(chunks) as "chunks!", problem
             from chunk_holders
            where seen_at between now() - make_interval(secs => $1) and now() + make_interval(secs => $1)
            order by name"#,
        lives,
    )
    .fetch_all(store.pool())
    .await?;
    let processes = rows.into_iter().map(|row| Process {
        name: row.name,
        seen_at: row.seen_at,
        chunks: u64::try_from(row.chunks).unwrap_or(0),
        problem: row.problem,
    });
    Ok(processes.collect())
}
