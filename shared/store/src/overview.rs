//! An overview of all imports of a tenant: how many run, which failed lately, and which have stalled chunks.
//! Unlike a page of the list, it covers all imports.

use chrono::{DateTime, Utc};
use muster_domain::id::{ImportId, TenantId};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::reports::{self, ImportReport};
use super::{Store, StoreError};

/// How much is under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Imports that run.
    pub imports: u64,
    /// Their records that have no outcome yet.
    pub pending: u64,
    /// Their chunks that are with the workers.
    pub dispatched: u64,
    /// Their chunks that wait to be sent.
    pub waiting: u64,
    /// Their lanes of which no chunk is with the workers.
    pub lanes: u64,
}

/// How much of a tenant is under way.
pub async fn under_way(store: &Store, tenant: TenantId) -> Result<UnderWay, StoreError> {
    let row = sqlx::query!(
        r#"select count(*) as "imports!", coalesce(sum(open.pending), 0)::bigint as "pending!",
                  coalesce(sum(open.dispatched), 0)::bigint as "dispatched!", coalesce(sum(open.waiting), 0)::bigint as "waiting!",
                  coalesce(sum(open.lanes), 0)::bigint as "lanes!"
             from imports
            cross join lateral (
                  select sum(pending) as pending, count(*) filter (where state = 'dispatched') as dispatched,
                         count(*) filter (where state <> 'dispatched') as waiting,
                         count(distinct lane) - count(distinct lane) filter (where state = 'dispatched') as lanes
                    from chunks
                   where chunks.import_id = imports.id and state in ('staged', 'dispatched', 'retryable')) as open
            where tenant_id = $1 and imports.state in ('planning', 'running')"#,
        tenant.get(),
    )
    .fetch_one(&mut *store.reading(tenant).await?)
    .await?;
    Ok(UnderWay {
        imports: row.imports.unsigned_abs(),
        pending: row.pending.unsigned_abs(),
        dispatched: row.dispatched.unsigned_abs(),
        waiting: row.waiting.unsigned_abs(),
        lanes: row.lanes.unsigned_abs(),
    })
}

/// Imports that somebody has to know of, and how many there are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Concerning {
    /// The first of them: those with dead chunks or without any effect, then the others, the newest of each first.
    pub imports: Vec<ImportReport>,
    /// How many there are.
    pub all: u64,
}

/// Imports that wait for somebody, that have dead or retryable chunks, or that ended with failures or without effect since a moment.
pub async fn concerning(
    store: &Store,
    tenant: TenantId,
    since: DateTime<Utc>,
    limit: i64,
) -> Result<Concerning, StoreError> {
    let mut reading = store.reading(tenant).await?;
    let rows = sqlx::query_as!(
        OneOf,
        r#"select id, count(*) over () as "all!"
             from (select id, state, created_at, completed_at,
                          coalesce((final_counts ->> 'failed')::bigint, 0) > 0 as failed,
                          case when completed_at is null
                               then exists (select from chunks where import_id = imports.id and chunks.state = 'dead')
                               else coalesce((final_chunks ->> 'dead')::bigint, (final_counts #>> '{chunks,dead}')::bigint, 0) > 0
                          end as dead,
                          imports.state in ('planning', 'running')
                            and exists (select from chunks where import_id = imports.id and chunks.state = 'retryable') as retryable
                     from imports
                    where tenant_id = $1
                      and (imports.state in ('received', 'planning', 'planned', 'running', 'paused') or completed_at > $2
                           or imports.state in ('refused', 'aborted') and created_at > $2)) as import
            where state in ('received', 'planned', 'paused', 'refused', 'aborted') or dead or retryable or failed and state = 'completed'
            order by (dead or state in ('refused', 'aborted')) desc, id desc
            limit $3"#,
        tenant.get(),
        since,
        limit,
    )
    .fetch_all(&mut *reading)
    .await?;
    read(&mut reading, tenant, &rows).await
}

/// Imports with dead chunks, and those that are planned, run or are paused and have chunks that wait to be tried again; newest first.
pub async fn stuck(store: &Store, tenant: TenantId, limit: i64) -> Result<Concerning, StoreError> {
    let mut reading = store.reading(tenant).await?;
    let rows = sqlx::query_as!(
        OneOf,
        r#"select id, count(*) over () as "all!"
             from imports
            where tenant_id = $1
              and case when completed_at is null
                       then imports.state in ('planning', 'planned', 'running', 'paused')
                            and exists (select from chunks where import_id = imports.id and chunks.state in ('dead', 'retryable'))
                       else coalesce((final_chunks ->> 'dead')::bigint, (final_counts #>> '{chunks,dead}')::bigint, 0) > 0
                  end
            order by id desc
            limit $2"#,
        tenant.get(),
        limit,
    )
    .fetch_all(&mut *reading)
    .await?;
    read(&mut reading, tenant, &rows).await
}

/// An import, and how many there are like it.
struct OneOf {
    id: Uuid,
    all: i64,
}

async fn read(
    connection: &mut PgConnection,
    tenant: TenantId,
    rows: &[OneOf],
) -> Result<Concerning, StoreError> {
    let mut imports = Vec::with_capacity(rows.len());
    for row in rows {
        imports.extend(reports::listed_import(connection, tenant, ImportId::new(row.id)).await?);
    }
    Ok(Concerning { imports, all: rows.first().map_or(0, |row| row.all.unsigned_abs()) })
}
