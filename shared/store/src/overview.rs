//! An overview of all imports of a tenant: how many run, which failed lately, and which have stalled chunks.
//! Unlike a page of the list, it covers all imports. And one of all tenants, in numbers alone.

use chrono::{DateTime, Utc};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::tenant::Tenant;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::reports::{self, ImportReport};
use super::{Store, StoreError, holders, tenants};

/// How much is under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Imports that run.
    pub imports: u64,
    /// Their records that have no outcome yet.
    pub pending: u64,
    /// The chunks that are with the workers: theirs, and those of paused imports, which are still applied.
    pub dispatched: u64,
    /// Their chunks that wait to be sent.
    pub waiting: u64,
    /// Their lanes of which no chunk is with the workers.
    pub lanes: u64,
}

/// How much of a tenant is under way.
pub async fn under_way(store: &Store, tenant: TenantId) -> Result<UnderWay, StoreError> {
    let row = sqlx::query!(
        r#"select count(*) filter (where imports.state <> 'paused') as "imports!",
                  coalesce(sum(open.pending) filter (where imports.state <> 'paused'), 0)::bigint as "pending!",
                  coalesce(sum(open.dispatched), 0)::bigint as "dispatched!",
                  coalesce(sum(open.waiting) filter (where imports.state <> 'paused'), 0)::bigint as "waiting!",
                  coalesce(sum(open.lanes) filter (where imports.state <> 'paused'), 0)::bigint as "lanes!"
             from imports
            cross join lateral (
                  select sum(pending) as pending, count(*) filter (where state = 'dispatched') as dispatched,
                         count(*) filter (where state <> 'dispatched') as waiting,
                         count(distinct lane) - count(distinct lane) filter (where state = 'dispatched') as lanes
                    from chunks
                   where chunks.import_id = imports.id and state in ('staged', 'dispatched', 'retryable')) as open
            where tenant_id = $1 and imports.state in ('planning', 'running', 'paused')"#,
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

/// Imports that wait for somebody, that have dead or retryable chunks, or that ended since a moment without effect, or with failures that no
/// import of their family corrected.
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
                          coalesce((final_counts ->> 'failed')::bigint, 0) > mended as failed,
                          case when completed_at is null
                               then exists (select from chunks where import_id = imports.id and chunks.state = 'dead')
                               else coalesce((final_chunks ->> 'dead')::bigint, (final_counts #>> '{chunks,dead}')::bigint, 0) > 0
                          end as dead,
                          imports.state in ('planning', 'running')
                            and exists (select from chunks where import_id = imports.id and chunks.state = 'retryable') as retryable
                     from imports
                    where tenant_id = $1
                      and (imports.state in ('received', 'planning', 'planned', 'running', 'paused') or completed_at > $2)) as import
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

/// Failed records of the tenant's imports that ended since a moment, and that imports of their family corrected.
pub async fn mended(store: &Store, tenant: TenantId, since: DateTime<Utc>) -> Result<u64, StoreError> {
    let mended = sqlx::query_scalar!(
        r#"select coalesce(sum(mended), 0)::bigint as "mended!" from imports where tenant_id = $1 and completed_at > $2"#,
        tenant.get(),
        since,
    )
    .fetch_one(&mut *store.reading(tenant).await?)
    .await?;
    Ok(mended.unsigned_abs())
}

/// Imports with dead chunks, and those that are planned, run or are paused and have chunks that wait to be tried again or for a database
/// that does not answer; newest first.
pub async fn stuck(store: &Store, tenant: TenantId, limit: i64) -> Result<Concerning, StoreError> {
    let troubled = holders::troubled(&holders::troubles(store.pool()).await?);
    let mut reading = store.reading(tenant).await?;
    let rows = sqlx::query_as!(
        OneOf,
        r#"select id, count(*) over () as "all!"
             from imports
            where tenant_id = $1
              and case when completed_at is null
                       then imports.state in ('planning', 'planned', 'running', 'paused')
                            and (exists (select from chunks
                                          where import_id = imports.id
                                            and (chunks.state in ('dead', 'retryable')
                                                 or chunks.state in ('staged', 'dispatched') and problem is not null))
                                 or id in (select import_id from chunks where chunks.id = any($3) and chunks.state = 'dispatched'))
                       else coalesce((final_chunks ->> 'dead')::bigint, (final_counts #>> '{chunks,dead}')::bigint, 0) > 0
                  end
            order by id desc
            limit $2"#,
        tenant.get(),
        limit,
        &troubled,
    )
    .fetch_all(&mut *reading)
    .await?;
    read(&mut reading, tenant, &rows).await
}

/// These imports of a tenant, as lists show them. Those that it does not have are left out.
pub async fn listed(
    store: &Store,
    tenant: TenantId,
    imports: &[ImportId],
) -> Result<Vec<ImportReport>, StoreError> {
    if imports.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = imports.iter().map(|import| import.get()).collect();
    reports::listed_imports(&mut *store.reading(tenant).await?, tenant, &ids).await
}

/// A tenant, and how much of it is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantOverview {
    /// The tenant.
    pub tenant: Tenant,
    /// Its imports that run.
    pub running: u64,
    /// Their records that have no outcome yet.
    pub pending: u64,
    /// Its imports that [`concerning`] tells.
    pub concerning: u64,
    /// Those among them that somebody has to act on: with dead chunks, or without any effect.
    pub urgent: u64,
}

/// Some of the tenants, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Everywhere {
    /// The first of them: those that were asked for first, then those where most has to be acted on or known of, then those where most
    /// runs, then by slug.
    pub tenants: Vec<TenantOverview>,
    /// How many there are.
    pub all: u64,
}

/// The tenants whose slug or name has `text` in it, in any case, or all of them, each in numbers, and `limit` of them at most, those of
/// `first` before the others. Read without a tenant, and so without the second lock: for those alone who may see all tenants. What is behind a number is read for its tenant.
pub async fn everywhere(
    store: &Store,
    text: Option<&str>,
    first: &[TenantId],
    since: DateTime<Utc>,
    limit: i64,
) -> Result<Everywhere, StoreError> {
    let first: Vec<i32> = first.iter().map(|tenant| tenant.get()).collect();
    // The imports and the conditions are those of `concerning`; `the_overview_of_all_tenants_counts_what_that_of_each_tells` holds the two together.
    let rows = sqlx::query!(
        r#"select tenants.id as "id!", tenants.slug as "slug!", tenants.name as "name!", tenants.created_at as "created_at!",
                  tenants.disabled_at as "disabled_at?", count(*) over () as "all!",
                  coalesce(sums.running, 0) as "running!", coalesce(sums.pending, 0) as "pending!",
                  coalesce(sums.concerning, 0) as "concerning!", coalesce(sums.urgent, 0) as "urgent!"
             from tenants
             left join (
                  select tenant_id, count(*) filter (where state in ('planning', 'running')) as running, sum(pending)::bigint as pending,
                         count(*) filter (where urgent or state in ('received', 'planned', 'paused') or retryable or failed and state = 'completed')
                           as concerning,
                         count(*) filter (where urgent) as urgent
                    from (select tenant_id, state, retryable, failed, pending, dead or state in ('refused', 'aborted') as urgent
                            from (select imports.tenant_id, imports.state, open.pending, coalesce(open.retryable, false) as retryable,
                                         coalesce((final_counts ->> 'failed')::bigint, 0) > mended as failed,
                                         case when completed_at is null
                                              then exists (select from chunks where import_id = imports.id and chunks.state = 'dead')
                                              else coalesce((final_chunks ->> 'dead')::bigint, (final_counts #>> '{chunks,dead}')::bigint, 0) > 0
                                         end as dead
                                    from imports
                                    left join lateral (
                                         select sum(chunks.pending) as pending, bool_or(chunks.state = 'retryable') as retryable
                                           from chunks
                                          where chunks.import_id = imports.id and chunks.state in ('staged', 'dispatched', 'retryable')) as open
                                           on imports.state in ('planning', 'running')
                                   where imports.state in ('received', 'planning', 'planned', 'running', 'paused') or completed_at > $1)
                                 as import) as import
                   group by tenant_id) as sums
                    on sums.tenant_id = tenants.id
            where $2::text is null or strpos(lower(tenants.slug), lower($2)) > 0 or strpos(lower(tenants.name), lower($2)) > 0
            order by (tenants.id = any($4)) desc, coalesce(sums.urgent, 0) desc, coalesce(sums.concerning, 0) desc, coalesce(sums.running, 0) desc, tenants.slug
            limit $3"#,
        since,
        text,
        limit,
        &first,
    )
    .fetch_all(store.pool())
    .await?;
    let all = rows.first().map_or(0, |row| row.all.unsigned_abs());
    let tenants = rows.into_iter().map(|row| -> Result<TenantOverview, StoreError> {
        let tenant = tenants::read(row.id, row.slug, row.name, row.created_at, row.disabled_at)?;
        Ok(TenantOverview {
            tenant,
            running: row.running.unsigned_abs(),
            pending: row.pending.unsigned_abs(),
            concerning: row.concerning.unsigned_abs(),
            urgent: row.urgent.unsigned_abs(),
        })
    });
    Ok(Everywhere { tenants: tenants.collect::<Result<_, StoreError>>()?, all })
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
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let imports = reports::listed_imports(connection, tenant, &ids).await?;
    Ok(Concerning { imports, all: rows.first().map_or(0, |row| row.all.unsigned_abs()) })
}
