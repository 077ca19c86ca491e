//! What was done that leaves no other trace: rows that are written once, by those who do it (see migration 0018), and read here.

use chrono::{DateTime, Utc};
use muster_domain::id::TenantId;
use serde_json::Value;
use uuid::Uuid;

use super::{Store, StoreError};

/// One thing that was done.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Number: greater is later.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who: `token:` and the id of a token, or `operator` for the command line.
    pub actor: String,
    /// Name of the token, where it was one of the tenant.
    pub token: Option<String>,
    /// What: `users.erase`.
    pub action: String,
    /// Id of the user concerned.
    pub subject: Option<Uuid>,
    /// How many of what.
    pub counts: Value,
}

/// Up to `limit` entries of a tenant, the newest first, from before a number on.
pub async fn page(
    store: &Store,
    tenant: TenantId,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<AuditEntry>, StoreError> {
    // Not as the role of the second lock, which may read neither audit nor tokens.
    Ok(sqlx::query_as!(
        AuditEntry,
        r#"select audit.id, audit.at, audit.actor, tokens.name as "token?", audit.action, audit.subject, audit.counts
             from audit
             left join tokens on tokens.tenant_id = audit.tenant_id and 'token:' || tokens.id::text = audit.actor
            where audit.tenant_id = $1 and audit.id < coalesce($2, 9223372036854775807)
            order by audit.id desc
            limit $3"#,
        tenant.get(),
        before,
        limit,
    )
    .fetch_all(store.pool())
    .await?)
}
