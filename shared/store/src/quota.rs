//! The limits of one tenant: running imports, records each day, stored bytes.
//!
//! They are checked when an import is opened, and again when it is received and its size is known. The second
//! check runs one import at a time, so that all imports together stay within the limits.

use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::receive::Allowance;
use sqlx::postgres::PgConnection;

use super::StoreError;

/// First key of the advisory locks under which a tenant's imports are counted; the second is the tenant. "QUOT".
const QUOTA_LOCK: i32 = 0x5155_4f54;

/// Limits of one tenant. What is not set does not limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TenantLimits {
    /// Imports that are being received, run or are paused.
    pub imports: Option<u32>,
    /// Records that are received in a day, by UTC.
    pub records_per_day: Option<u64>,
    /// Bytes of the uploads that are kept, decompressed.
    pub stored_bytes: Option<u64>,
}

impl TenantLimits {
    fn is_without_quota(&self) -> bool {
        (self.records_per_day.is_none() && self.stored_bytes.is_none()) || mutant(Mutant::NoQuota)
    }
}

/// Whether one more import, which is in the table already, may be under way.
pub(super) async fn may_open(
    connection: &mut PgConnection,
    tenant: TenantId,
    limits: &TenantLimits,
) -> Result<bool, StoreError> {
    let Some(most) = limits.imports else { return Ok(true) };
    lock(connection, tenant).await?;
    let under_way = sqlx::query_scalar!(
        r#"select count(*) as "count!"
             from imports
            where tenant_id = $1 and state in ('receiving', 'planning', 'running', 'paused')"#,
        tenant.get(),
    )
    .fetch_one(connection)
    .await?;
    Ok(under_way <= i64::from(most) || mutant(Mutant::AnyImports))
}

/// The remaining quota of the tenant for an import.
pub(super) async fn left(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    limits: &TenantLimits,
) -> Result<Allowance, StoreError> {
    if limits.is_without_quota() {
        return Ok(Allowance::default());
    }
    lock(connection, tenant).await?;
    let used = sqlx::query!(
        r#"select coalesce(sum(total) filter (
                      where received_at >= date_trunc('day', now() at time zone 'utc') at time zone 'utc'
                        -- Nobody sent the records of an undo.
                        and undoes is null
                  ), 0)::bigint as "records!",
                  coalesce(sum(bytes), 0)::bigint as "bytes!"
             from imports
            where tenant_id = $1 and id <> $2"#,
        tenant.get(),
        import.get(),
    )
    .fetch_one(connection)
    .await?;
    let left = |most: Option<u64>, used: i64| most.map(|most| most.saturating_sub(used.unsigned_abs()));
    Ok(Allowance {
        records: left(limits.records_per_day, used.records),
        bytes: left(limits.stored_bytes, used.bytes),
    })
}

/// Until the transaction ends, nobody else counts the tenant's imports.
async fn lock(connection: &mut PgConnection, tenant: TenantId) -> Result<(), StoreError> {
    sqlx::query!("select pg_advisory_xact_lock($1, $2)", QUOTA_LOCK, tenant.get())
        .execute(connection)
        .await?;
    Ok(())
}
