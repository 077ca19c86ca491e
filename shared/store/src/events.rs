//! Events of imports, which clients can follow from any producer.
//!
//! Triggers write events in the transaction of the change, so each change has exactly one event. Numbers are
//! assigned after the commit ([`number`]), by one program at a time. So a client that has read up to a number
//! has seen all lower ones, whatever the order of commits.

use chrono::{DateTime, Utc};
use muster_domain::id::{ImportId, TenantId};
use serde_json::Value;

use super::{Store, StoreError};

/// Key of the advisory lock of who gives numbers.
const NUMBERING: i64 = 0x6d75_6576;
/// Events numbered at a time.
const AT_A_TIME: i64 = 1000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number: greater is later.
    pub number: i64,
    /// The import.
    pub import: ImportId,
    /// When.
    pub at: DateTime<Utc>,
    /// `import`: it came into another state; `chunk_dead`.
    pub kind: String,
    /// What: the state and the one before it; or the chunk, its lane and problem.
    pub data: Value,
}

/// Up to `limit` events of a tenant after a number, of one import where one is named.
pub async fn after(
    store: &Store,
    tenant: TenantId,
    import: Option<ImportId>,
    after: i64,
    limit: i64,
) -> Result<Vec<Event>, StoreError> {
    let rows = sqlx::query!(
        r#"select number as "number!", import_id, at, kind, data
             from events
            where tenant_id = $1 and ($2::uuid is null or import_id = $2) and number > $3
            order by number
            limit $4"#,
        tenant.get(),
        import.map(ImportId::get),
        after,
        limit,
    )
    .fetch_all(&mut *store.reading(tenant).await?)
    .await?;
    let event = |(number, import, at, kind, data)| Event { number, import, at, kind, data };
    Ok(rows
        .into_iter()
        .map(|row| event((row.number, ImportId::new(row.import_id), row.at, row.kind, row.data)))
        .collect())
}

/// The number of a tenant's last event; 0 without any.
pub async fn last(store: &Store, tenant: TenantId) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select coalesce(max(number), 0) as "last!" from events where tenant_id = $1"#,
        tenant.get()
    )
    .fetch_one(&mut *store.reading(tenant).await?)
    .await?)
}

/// The number of the last event of all; 0 without any.
pub async fn newest(store: &Store) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar!(r#"select coalesce(max(number), 0) as "newest!" from events"#)
        .fetch_one(store.pool())
        .await?)
}

/// Whether something happened to an import that has no number yet.
pub async fn has_unnumbered(store: &Store, tenant: TenantId, import: ImportId) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select from events where tenant_id = $1 and import_id = $2 and number is null) as "any!""#,
        tenant.get(),
        import.get(),
    )
    .fetch_one(&mut *store.reading(tenant).await?)
    .await?)
}

/// Gives numbers to the events that have none. Returns how many got one: none where another program is at it.
pub async fn number(store: &Store) -> Result<u64, StoreError> {
    let any = sqlx::query_scalar!(r#"select exists (select from events where number is null) as "any!""#);
    if !any.fetch_one(store.pool()).await? {
        return Ok(0);
    }
    let mut transaction = store.pool().begin().await?;
    // Held until the commit: whoever comes next sees these numbers, and gives greater ones.
    let mine = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "mine!""#, NUMBERING);
    if !mine.fetch_one(&mut *transaction).await? {
        return Ok(0);
    }
    let numbered = sqlx::query!(
        "update events
            set number = fresh.number
           from (select id, nextval('event_numbers') as number
                   from (select id from events where number is null order by id limit $1) as first) as fresh
          where events.id = fresh.id",
        AT_A_TIME,
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    transaction.commit().await?;
    Ok(numbered)
}
