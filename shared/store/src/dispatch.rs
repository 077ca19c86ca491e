//! Dispatching: which chunks may be sent, claiming them, finding lost ones, and completing imports.
//!
//! Locked rows of chunks are skipped, so one chunk never blocks another.

mod channels;
mod claimed;
mod letters;

use muster_domain::dispatch::LaneHead;
use muster_domain::fault::{self, Mutant, Point, mutant};
use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_domain::import::{ImportState, ImportStep};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

pub use channels::{COMPLETED_CHANNEL, WAKE_CHANNEL, wake};
pub use claimed::ClaimedChunk;
pub use letters::{DeadLetterOf, dead_letter};

use claimed::ClaimedRow;

use super::holders::LIVES;
use super::{Store, StoreError};

/// What there is to dispatch.
#[derive(Debug, Clone, Default)]
pub struct Heads {
    /// Chunks with the workers, and chunks that may go to them.
    pub heads: Vec<LaneHead>,
    /// Some imports may have more that may go than were read.
    pub cut: bool,
}

/// Everything that is with the workers, and the first open chunk of each lane that may go to them.
pub async fn lane_heads(store: &Store) -> Result<Vec<LaneHead>, StoreError> {
    Ok(some_lane_heads(store, None, 0).await?.heads)
}

/// The same, but where a tenant has many imports only some chunks of each: enough for `wanted` places. Lanes are looked at from
/// `first_lane` on, so that all of them get their turn.
///
/// An import whose chunks the database refuses gets one place, once its last deferral is over, until a chunk of it is applied: its
/// tries cost the other imports little (P8).
pub async fn some_lane_heads(
    store: &Store,
    wanted: Option<i32>,
    first_lane: i32,
) -> Result<Heads, StoreError> {
    let rows = sqlx::query_file!(
        "src/dispatch/lane_heads.sql",
        wanted,
        first_lane,
        mutant(Mutant::DisabledGoOn),
        mutant(Mutant::AllLanesProbe),
    )
    .fetch_all(store.pool())
    .await?;
    let cut = rows.iter().any(|row| row.cut);
    let heads = rows.into_iter().map(|row| LaneHead {
        chunk: ChunkId::new(row.id),
        import: ImportId::new(row.import_id),
        tenant: TenantId::new(row.tenant_id),
        size: u64::try_from(row.size).unwrap_or(0),
        ready: row.ready,
        in_flight: row.in_flight,
    });
    Ok(Heads { heads: heads.collect(), cut })
}

/// How long a claim is good for without being confirmed, in seconds; longer while a process that lives says that it holds the chunk.
const CLAIM: f64 = 2.0;

/// Claims chunks whose messages are published already: for tests.
#[doc(hidden)]
pub async fn claim(
    store: &Store,
    chunks: &[ChunkId],
    lease_seconds: f64,
) -> Result<Vec<ClaimedChunk>, StoreError> {
    let claimed = claim_to_publish(store, chunks, &[], lease_seconds).await?;
    let ids: Vec<ChunkId> = claimed.iter().map(|chunk| chunk.id).collect();
    confirm(store, &ids, lease_seconds).await?;
    Ok(claimed)
}

/// Claims chunks, to be published now and [confirmed](confirm) then: of several dispatchers that try, one gets each. Confirms, in the
/// same round trip, those that were published before.
pub async fn claim_to_publish(
    store: &Store,
    chunks: &[ChunkId],
    published: &[ChunkId],
    lease_seconds: f64,
) -> Result<Vec<ClaimedChunk>, StoreError> {
    let (ids, confirmed) = (numbers(chunks), numbers(published));
    if mutant(Mutant::ClaimWaits) {
        wait_for_locked(store).await?;
    }
    let rows = sqlx::query_as!(
        ClaimedRow,
        r#"with confirmed as (
             update chunks
                set claim_until = null, leased_until = now() + make_interval(secs => $2),
                    -- What the queue did not take before, it has now. What workers met stays told until it is applied.
                    problem       = case when attempts + deferrals > 0 then problem end,
                    problem_at    = case when attempts + deferrals > 0 then problem_at end,
                    problem_since = case when attempts + deferrals > 0 then problem_since end
              where id in (select c.id from chunks c
                            where c.id = any($3) and c.state = 'dispatched' and c.claim_until is not null
                              for no key update skip locked)
         ), free as materialized (
             select c.id
               from chunks c
              where c.id = any($1)
                and (c.state = 'staged' or c.state = 'retryable' and c.due_at <= now())
                and exists (select from imports i where i.id = c.import_id and i.state in ('planning', 'running'))
                -- Since it was chosen, another of its lane may have been claimed, or opened again before it. What two dispatchers
                -- do in the same moment, the index chunks_one_a_lane refuses.
                and not exists (select from chunks other
                                 where other.import_id = c.import_id and other.lane = c.lane and other.state = 'dispatched')
                and not exists (select from chunks earlier
                                 where earlier.import_id = c.import_id and earlier.lane = c.lane and earlier.seq < c.seq
                                   and earlier.state in ('staged', 'dispatched', 'retryable'))
                for no key update skip locked
         )
         update chunks
            set state = 'dispatched', due_at = null, sent_at = now(),
                leased_until = now() + make_interval(secs => $2), claim_until = now() + make_interval(secs => $4)
           from free
          where chunks.id = free.id
         returning chunks.id, chunks.import_id, chunks.tenant_id, chunks.attempts, chunks.body,
                   (select i.traceparent from imports i where i.id = chunks.import_id) as "traceparent?""#,
        &ids,
        lease_seconds,
        &confirmed,
        CLAIM,
    )
    .fetch_all(store.pool())
    .await?;
    fault::point(Point::Claimed)?;
    Ok(rows.into_iter().map(ClaimedChunk::from).collect())
}

/// The fault of waiting for rows that somebody has locked, for a test.
async fn wait_for_locked(store: &Store) -> Result<(), StoreError> {
    let locked = "select from chunks where state = 'dispatched' and leased_until <= now() for no key update";
    sqlx::query(locked).execute(store.pool()).await?;
    Ok(())
}

/// Notes that claimed chunks are published. One that a worker has locked already is as good as confirmed.
pub async fn confirm(store: &Store, published: &[ChunkId], lease_seconds: f64) -> Result<(), StoreError> {
    sqlx::query!(
        "update chunks
            set claim_until = null, leased_until = now() + make_interval(secs => $2),
                problem       = case when attempts + deferrals > 0 then problem end,
                problem_at    = case when attempts + deferrals > 0 then problem_at end,
                problem_since = case when attempts + deferrals > 0 then problem_since end
          where id in (select c.id from chunks c
                        where c.id = any($1) and c.state = 'dispatched' and c.claim_until is not null
                          for no key update skip locked)",
        &numbers(published),
        lease_seconds,
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// Gives back a claimed chunk whose message the queue did not take, and notes why. One that is locked goes back when its claim is
/// over.
pub async fn unclaim(store: &Store, chunk: ChunkId, problem: &str) -> Result<(), StoreError> {
    fault::point(Point::Unclaim)?;
    sqlx::query!(
        "update chunks
            set state = 'staged', leased_until = null, claim_until = null,
                -- What workers met stays told until the chunk is applied, as when it is published.
                problem    = case when attempts + deferrals > 0 and not $3 then coalesce(problem, $2) else coalesce($2, problem) end,
                problem_at = case when attempts + deferrals > 0 and not $3 then coalesce(problem_at, now()) else now() end,
                problem_since = coalesce(problem_since, now())
          where id in (select c.id from chunks c where c.id = $1 and c.state = 'dispatched' for no key update skip locked)",
        chunk.get(),
        (!mutant(Mutant::UnpublishedInSilence)).then_some(problem),
        mutant(Mutant::QueueHidesTheWorker),
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// Stages every chunk again that is with the workers, where no other program can be alive: what a killed one had claimed is
/// dispatched again at once. A message that still waits for such a chunk does no harm (P3).
pub async fn stage_all_again(store: &Store) -> Result<u64, StoreError> {
    let taken = sqlx::query!(
        "update chunks set state = 'staged', leased_until = null, claim_until = null where state = 'dispatched'"
    )
    .execute(store.pool())
    .await?;
    Ok(taken.rows_affected())
}

/// Leases after which a chunk counts as silent though a process says that it holds it: nothing takes so long, the process hangs.
const HELD_AT_MOST: f64 = 10.0;

/// The chunks that are dispatched and published, and that no process that lives holds, in the order in which they were sent. Each
/// waits in the queue, is on its way, or is lost: see [`Silence`](muster_domain::dispatch::Silence).
pub async fn silent(store: &Store, lease_seconds: f64) -> Result<Vec<ChunkId>, StoreError> {
    let ids = sqlx::query_scalar!(
        "select c.id
           from chunks c
          where c.state = 'dispatched' and c.claim_until is null
            and (c.leased_until < now() - make_interval(secs => $1)
                 or not exists (select from chunk_holders h
                                 where h.seen_at between now() - make_interval(secs => $2) and now() + make_interval(secs => $2)
                                   and c.id = any(h.chunks)))
          order by c.leased_until, c.id",
        (HELD_AT_MOST - 1.0) * lease_seconds,
        LIVES.as_secs_f64(),
    )
    .fetch_all(store.pool())
    .await?;
    Ok(ids.into_iter().map(ChunkId::new).collect())
}

/// Turns lost chunks back to staged; spends no attempt. A locked chunk is in progress or stuck, and is skipped.
pub async fn stage_again(store: &Store, lost: &[ChunkId]) -> Result<u64, StoreError> {
    let taken = sqlx::query!(
        "update chunks
            set state = 'staged', leased_until = null
          where id in (select c.id from chunks c
                        where c.id = any($1) and c.state = 'dispatched' and c.claim_until is null
                          for no key update skip locked)",
        &numbers(lost),
    )
    .execute(store.pool())
    .await?;
    Ok(taken.rows_affected())
}

/// Turns chunks back to staged whose claim is over and held by no process that lives: the dispatcher died before it had published
/// them, or before it had confirmed that.
pub async fn stage_claims_again(store: &Store) -> Result<u64, StoreError> {
    let taken = sqlx::query!(
        "update chunks
            set state = 'staged', leased_until = null, claim_until = null
          where id in (select c.id from chunks c
                        where c.state = 'dispatched' and c.claim_until <= now()
                          and not exists (select from chunk_holders h
                                           where h.seen_at between now() - make_interval(secs => $1)
                                                               and now() + make_interval(secs => $1)
                                             and c.id = any(h.chunks))
                          for no key update of c skip locked)",
        LIVES.as_secs_f64(),
    )
    .execute(store.pool())
    .await?;
    Ok(taken.rows_affected())
}

/// Renews the leases of chunks whose messages wait in the queue, well before they end. Held or locked chunks
/// are not renewed, so that a stalled chunk gives up its place in the window.
pub async fn renew_waiting(
    store: &Store,
    waiting: &[ChunkId],
    lease_seconds: f64,
) -> Result<u64, StoreError> {
    let renewed = sqlx::query!(
        "update chunks
            set leased_until = now() + make_interval(secs => $2)
          where id in (select c.id from chunks c
                        where c.id = any($1) and c.state = 'dispatched'
                          and c.leased_until < now() + make_interval(secs => $3)
                          for no key update skip locked)",
        &numbers(waiting),
        lease_seconds,
        lease_seconds / 2.0,
    )
    .execute(store.pool())
    .await?;
    Ok(renewed.rows_affected())
}

fn numbers(chunks: &[ChunkId]) -> Vec<i64> {
    chunks.iter().map(|chunk| chunk.get()).collect()
}

/// What came of completing imports.
#[derive(Debug, Default)]
pub struct Completed {
    /// Those that are completed now.
    pub imports: Vec<ImportId>,
    /// The first of those that cannot be completed, and why. It keeps no other from it.
    pub problem: Option<(ImportId, StoreError)>,
}

/// Completes the running and paused imports none of whose chunks is open; those that were planned are planned now and wait.
pub async fn complete_ended(store: &Store) -> Result<Completed, StoreError> {
    let ended = sqlx::query_scalar!(
        "select i.id
           from imports i
          where i.state in ('planning', 'running', 'paused')
            and not exists (select from chunks c
                             where c.import_id = i.id and c.state in ('staged', 'dispatched', 'retryable'))"
    )
    .fetch_all(store.pool())
    .await?;
    let mut completed = Completed::default();
    for import in ended {
        match complete(store, import).await {
            Ok(true) => completed.imports.push(ImportId::new(import)),
            Ok(false) => {}
            // The database answers: the others can be completed.
            Err(error) if error.is_answer() => {
                completed.problem.get_or_insert((ImportId::new(import), error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(completed)
}

const PLANNED: ImportStep = ImportStep::of("complete", ImportState::Planning, ImportState::Planned);
const COMPLETED: ImportStep = ImportStep::of("complete", ImportState::Running, ImportState::Completed);

async fn complete(store: &Store, import: Uuid) -> Result<bool, StoreError> {
    let mut transaction = store.pool().begin().await?;
    // Whoever opens chunks holds this lock. It is taken in a statement of its own: one that waits for a lock and looks for
    // open chunks at once would look at them as they were before it waited. Nor does it wait at all: a long retry of one import
    // keeps no other from being completed.
    if fault::mutant(Mutant::CompletingWaits) {
        sqlx::query("select from imports where id = $1 for no key update")
            .bind(import)
            .execute(&mut *transaction)
            .await?;
    } else if !fault::mutant(Mutant::CompletingSeesTheOldMoment) {
        let locked = sqlx::query!("select from imports where id = $1 for no key update skip locked", import)
            .execute(&mut *transaction)
            .await?;
        if locked.rows_affected() == 0 {
            return Ok(false);
        }
    }
    let now = sqlx::query_scalar!(
        "update imports
            set state        = case when state = any($2) then $3 else $5 end,
                completed_at = case when state = any($4) then now() end,
                planned_at   = case when state = any($2) then now() else planned_at end
          where id = $1 and (state = any($2) or state = any($4))
            and not exists (select from chunks c
                             where c.import_id = $1 and c.state in ('staged', 'dispatched', 'retryable'))
        returning state",
        import,
        &PLANNED.from(),
        PLANNED.to(),
        &COMPLETED.from(),
        COMPLETED.to(),
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let completed = now.as_deref() == Some(ImportState::Completed.as_str());
    if now.is_some() {
        if completed {
            write_final_counts(&mut transaction, ImportId::new(import)).await?;
        }
        // Once for each import, so this NOTIFY may be in a transaction.
        sqlx::query!("select pg_notify('muster_imports', $1)", import.to_string())
            .execute(&mut *transaction)
            .await?;
        fault::point(Point::Complete)?;
        transaction.commit().await?;
    }
    Ok(completed)
}

/// Writes down the sums of an import whose chunks have all ended, so that lists need not sum them, and throws the key of its
/// secrets away unless a retry or a resume may need it.
pub(super) async fn write_final_counts(
    connection: &mut PgConnection,
    import: ImportId,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update imports
            set final_counts = jsonb_build_object(
                    'total',    sums.total,
                    'pending',  sums.pending,
                    'inserted', sums.inserted,
                    'updated',  sums.updated,
                    'skipped',  sums.skipped,
                    'failed',   sums.failed),
                final_chunks = sums.chunks,
                -- A retry may need it, or a resume of what was cancelled; retention throws it away after a while.
                secret_key = case when $2 or state = 'completed' and sums.failed > 0
                                    or state = 'cancelled' and sums.cancelled > 0 then secret_key end
           from (select coalesce(sum(records), 0) as total, coalesce(sum(pending), 0) as pending,
                        coalesce(sum(inserted), 0) as inserted, coalesce(sum(updated), 0) as updated,
                        coalesce(sum(skipped), 0) as skipped, coalesce(sum(failed), 0) as failed,
                        count(*) filter (where state = 'cancelled') as cancelled,
                        jsonb_build_object(
                            'staged',     count(*) filter (where state = 'staged'),
                            'dispatched', count(*) filter (where state = 'dispatched'),
                            'retryable',  count(*) filter (where state = 'retryable'),
                            'applied',    count(*) filter (where state = 'applied'),
                            'dead',       count(*) filter (where state = 'dead'),
                            'cancelled',  count(*) filter (where state = 'cancelled')) as chunks
                   from chunks
                  where import_id = $1) as sums
          where id = $1",
        import.get(),
        mutant(Mutant::KeepSecretKey),
    )
    .execute(connection)
    .await?;
    Ok(())
}
