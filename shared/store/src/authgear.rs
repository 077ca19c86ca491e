//! Data of the Authgear front door: the ids of its imports, and how many records a tenant sent.

use chrono::{Datelike, NaiveDate};
use muster_domain::id::{ImportId, TenantId};
use uuid::Uuid;

use super::convert::wide;
use super::{Store, StoreError};

/// Most records that a tenant may send. What is not set does not limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// In a day, by UTC.
    pub per_day: Option<u64>,
    /// In a month, by UTC.
    pub per_month: Option<u64>,
}

/// The time for which a quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// The day.
    Day,
    /// The month.
    Month,
}

/// Notes an import as one of this front door, and counts its records against the quota, both or neither.
///
/// `Some` if the quota has no room for all of them: nothing is noted then. Requests of one tenant and day wait for each
/// other at the day's row, so that together they keep to the quota.
pub async fn admit(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    records: u64,
    quota: Quota,
    today: NaiveDate,
) -> Result<Option<Period>, StoreError> {
    let mut transaction = store.pool().begin().await?;
    sqlx::query!(
        "insert into authgear_imports (import_id, tenant_id, day, records) values ($1, $2, $3, $4)",
        import.get(),
        tenant.get(),
        today,
        wide(records),
    )
    .execute(&mut *transaction)
    .await?;
    let day = sqlx::query_scalar!(
        "insert into record_usage as u (tenant_id, day, records) values ($1, $2, $3)
         on conflict (tenant_id, day) do update set records = u.records + excluded.records
         returning records",
        tenant.get(),
        today,
        wide(records),
    )
    .fetch_one(&mut *transaction)
    .await?;
    let over = |used: i64, most: Option<u64>| most.is_some_and(|most| used > wide(most));
    if over(day, quota.per_day) {
        return Ok(Some(Period::Day));
    }
    if quota.per_month.is_some() {
        let first = today.with_day(1).unwrap_or(today);
        let month = sqlx::query_scalar!(
            r#"select coalesce(sum(records), 0)::bigint as "sum!"
                 from record_usage
                where tenant_id = $1 and day between $2 and $3"#,
            tenant.get(),
            first,
            today,
        )
        .fetch_one(&mut *transaction)
        .await?;
        if over(month, quota.per_month) {
            return Ok(Some(Period::Month));
        }
    }
    super::commit(store, transaction).await?;
    Ok(None)
}

/// Takes back what [`admit`] noted, for an import that came to nothing. Taking back twice is taking back once.
pub async fn withdraw(store: &Store, tenant: TenantId, import: ImportId) -> Result<(), StoreError> {
    sqlx::query!(
        "with gone as (
             delete from authgear_imports where import_id = $1 and tenant_id = $2
             returning tenant_id, day, records
         )
         update record_usage as u
            set records = greatest(0, u.records - gone.records)
           from gone
          where u.tenant_id = gone.tenant_id and u.day = gone.day",
        import.get(),
        tenant.get(),
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// Whether an import of the tenant came through this front door.
pub async fn is_ours(store: &Store, tenant: TenantId, import: ImportId) -> Result<bool, StoreError> {
    let found: Option<Uuid> = sqlx::query_scalar!(
        "select import_id from authgear_imports where import_id = $1 and tenant_id = $2",
        import.get(),
        tenant.get(),
    )
    .fetch_optional(&mut *store.reading(tenant).await?)
    .await?;
    Ok(found.is_some())
}
