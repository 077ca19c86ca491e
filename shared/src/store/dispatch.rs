//! Dispatching: which chunks may go out, claiming them, and ending imports.

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::dispatch::LaneHead;
use crate::fault::{self, Mutant, Point, mutant};
use crate::id::{ChunkId, ImportId, TenantId};

/// The first chunk that has not ended of each lane of each running import.
pub async fn lane_heads(store: &Store) -> Result<Vec<LaneHead>, StoreError> {
    let rows = sqlx::query!(
        r#"select head.id as "id!", i.id as "import_id!", i.tenant_id as "tenant_id!",
                  head.ready as "ready!", head.in_flight as "in_flight!"
             from imports i
            cross join lateral generate_series(0, i.lanes - 1) as l (lane)
            cross join lateral (
                  select c.id,
                         c.state = 'staged'
                         or c.state = 'retryable' and c.due_at <= now()
                         or c.state = 'dispatched' and c.leased_until <= now() as ready,
                         c.state = 'dispatched' and c.leased_until > now() as in_flight
                    from chunks c
                   where c.import_id = i.id and c.lane = l.lane
                     and c.state in ('staged', 'dispatched', 'retryable')
                   order by c.seq
                   limit 1) as head
            where i.state = 'running'
            -- Lanes in turn, so that all imports are served evenly whatever their number of lanes.
            order by l.lane, i.id"#
    )
    .fetch_all(store.pool())
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| LaneHead {
            chunk: ChunkId::new(row.id),
            import: ImportId::new(row.import_id),
            tenant: TenantId::new(row.tenant_id),
            ready: row.ready,
            in_flight: row.in_flight,
        })
        .collect())
}

/// A chunk claimed for publishing.
#[derive(Debug, Clone)]
pub struct ClaimedChunk {
    /// Id.
    pub id: ChunkId,
    /// Its import.
    pub import: ImportId,
    /// Its tenant.
    pub tenant: TenantId,
    /// The attempt that its delivery will begin.
    pub attempt: u32,
    /// The encoded records.
    pub body: Vec<u8>,
}

/// Claims chunks: of several dispatchers that try, one gets each. A claimed chunk is dispatched until its lease is over.
pub async fn claim(
    store: &Store,
    chunks: &[ChunkId],
    lease_seconds: f64,
) -> Result<Vec<ClaimedChunk>, StoreError> {
    let ids: Vec<i64> = chunks.iter().map(|chunk| chunk.get()).collect();
    let rows = sqlx::query!(
        "update chunks
            set state = 'dispatched', leased_until = now() + make_interval(secs => $2), due_at = null
          where id = any($1)
            and (state = 'staged'
                 or state = 'retryable' and due_at <= now()
                 or state = 'dispatched' and leased_until <= now())
            and exists (select from imports where imports.id = chunks.import_id and imports.state = 'running')
        returning id, import_id, tenant_id, attempts, body",
        &ids,
        lease_seconds,
    )
    .fetch_all(store.pool())
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| ClaimedChunk {
            id: ChunkId::new(row.id),
            import: ImportId::new(row.import_id),
            tenant: TenantId::new(row.tenant_id),
            attempt: u32::try_from(row.attempts).unwrap_or(0) + 1,
            body: row.body,
        })
        .collect())
}

/// Gives back a chunk whose message the broker did not take.
pub async fn unclaim(store: &Store, chunk: ChunkId) -> Result<(), StoreError> {
    fault::point(Point::Unclaim)?;
    sqlx::query!(
        "update chunks set state = 'staged', leased_until = null where id = $1 and state = 'dispatched'",
        chunk.get(),
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// Takes back every chunk that is with the workers, where no other program can be alive: what a killed one had claimed is
/// dispatched again at once instead of after its lease. A message that still waits for such a chunk does no harm (P3).
pub async fn take_back_all(store: &Store) -> Result<u64, StoreError> {
    let taken =
        sqlx::query!("update chunks set state = 'staged', leased_until = null where state = 'dispatched'")
            .execute(store.pool())
            .await?;
    Ok(taken.rows_affected())
}

/// How many dispatched chunks are past their lease.
pub async fn overdue(store: &Store) -> Result<u64, StoreError> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from chunks where state = 'dispatched' and leased_until <= now()"#
    )
    .fetch_one(store.pool())
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Extends the leases of overdue chunks: their messages are known to wait in the queue.
pub async fn extend_leases(store: &Store, lease_seconds: f64) -> Result<u64, StoreError> {
    let extended = sqlx::query!(
        "update chunks
            set leased_until = now() + make_interval(secs => $1)
          where state = 'dispatched' and leased_until <= now()",
        lease_seconds,
    )
    .execute(store.pool())
    .await?;
    Ok(extended.rows_affected())
}

/// Completes the running and paused imports none of whose chunks is open. Returns them.
pub async fn complete_ended(store: &Store) -> Result<Vec<ImportId>, StoreError> {
    let ended = sqlx::query_scalar!(
        "select i.id
           from imports i
          where i.state in ('running', 'paused')
            and not exists (select from chunks c
                             where c.import_id = i.id and c.state in ('staged', 'dispatched', 'retryable'))"
    )
    .fetch_all(store.pool())
    .await?;
    let mut completed = Vec::new();
    for import in ended {
        if complete(store, import).await? {
            completed.push(ImportId::new(import));
        }
    }
    Ok(completed)
}

async fn complete(store: &Store, import: Uuid) -> Result<bool, StoreError> {
    let mut transaction = store.pool().begin().await?;
    // Whoever opens chunks holds this lock. It is taken in a statement of its own: one that waits for a lock and looks for
    // open chunks at once would look at them as they were before it waited.
    if !fault::mutant(Mutant::CompletingSeesTheOldMoment) {
        sqlx::query!("select from imports where id = $1 for no key update", import)
            .execute(&mut *transaction)
            .await?;
    }
    let moved = sqlx::query!(
        "update imports
            set state = 'completed', completed_at = now()
          where id = $1 and state in ('running', 'paused')
            and not exists (select from chunks c
                             where c.import_id = $1 and c.state in ('staged', 'dispatched', 'retryable'))",
        import,
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if moved == 1 {
        write_final_counts(&mut transaction, ImportId::new(import)).await?;
        // Once an import, so that this NOTIFY may stand in a transaction.
        sqlx::query!("select pg_notify('muster_imports', $1)", import.to_string())
            .execute(&mut *transaction)
            .await?;
        fault::point(Point::Complete)?;
        transaction.commit().await?;
    }
    Ok(moved == 1)
}

/// Writes down the sums of an import whose chunks have all ended, so that lists need not sum them, and throws the key of its
/// secrets away unless a retry may need it.
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
                    'failed',   sums.failed,
                    'chunks',   sums.chunks),
                secret_key = case when $2 or state = 'completed' and sums.failed > 0 then secret_key end
           from (select coalesce(sum(records), 0) as total, coalesce(sum(pending), 0) as pending,
                        coalesce(sum(inserted), 0) as inserted, coalesce(sum(updated), 0) as updated,
                        coalesce(sum(skipped), 0) as skipped, coalesce(sum(failed), 0) as failed,
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

/// Wakes the dispatchers. Sent outside of any transaction that writes: a NOTIFY in one would make all commits wait for each other.
pub async fn wake(store: &Store) -> Result<(), StoreError> {
    fault::point(Point::Wake)?;
    sqlx::query!("select pg_notify('muster_dispatch', '')").execute(store.pool()).await?;
    Ok(())
}

/// The channel on which the ids of imports are told when they complete.
pub const COMPLETED_CHANNEL: &str = "muster_imports";

/// The channel on which dispatchers are woken.
pub const WAKE_CHANNEL: &str = "muster_dispatch";
