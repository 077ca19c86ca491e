//! Keys of tenants: public keys that verify signed requests.

use chrono::{DateTime, Utc};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::TenantId;
use muster_domain::rsa_key::RsaPublicKey;
use muster_domain::token::Scope;
use serde::Serialize;
use sqlx::PgExecutor;

use super::StoreError;
use super::tokens::known_scopes;

/// A key as an operator adds it.
#[derive(Debug, Clone)]
pub struct NewKey<'a> {
    /// Key id, as tokens name it.
    pub kid: &'a str,
    /// The key.
    pub key: &'a RsaPublicKey,
    /// What tokens may name as their audience instead of the tenant's slug.
    pub app_id: Option<&'a str>,
    /// The only host in whose requests the key counts, in lower case and without a port.
    pub host: Option<&'a str>,
    /// What requests that it signed may do.
    pub scopes: &'a [Scope],
}

impl NewKey<'_> {
    /// What a key may do where nobody says otherwise: all that its front door has.
    pub const SCOPES: &'static [Scope] = &[Scope::ImportWrite, Scope::ImportRead];
}

/// Data about a key, without the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// Key id.
    pub kid: String,
    /// Audience beside the tenant's slug.
    pub app_id: Option<String>,
    /// The only host.
    pub host: Option<String>,
    /// What requests that it signed may do.
    pub scopes: Vec<String>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

/// A key that may have signed a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantKey {
    /// Whom it speaks for.
    pub tenant: TenantId,
    /// The key, as PKCS #1 in DER.
    pub public_key: Vec<u8>,
    /// The only host in whose requests it counts.
    pub host: Option<String>,
    /// What requests that it signed may do.
    pub scopes: Vec<Scope>,
    /// Its tenant is disabled.
    pub disabled: bool,
}

impl TenantKey {
    /// Whether what the key signed may do this.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|held| held.opens(scope))
    }
}

/// Adds a key to a tenant. False if the tenant has one of this id, which stays as it is.
pub async fn add(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    key: &NewKey<'_>,
) -> Result<bool, StoreError> {
    let scopes: Vec<String> = key.scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
    let added = sqlx::query!(
        "insert into tenant_keys (tenant_id, kid, public_key, app_id, host, scopes)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (tenant_id, kid) do nothing",
        tenant.get(),
        key.kid,
        key.key.as_der(),
        key.app_id,
        key.host,
        &scopes,
    )
    .execute(executor)
    .await?;
    Ok(added.rows_affected() == 1)
}

/// A tenant's keys by id.
pub async fn list(executor: impl PgExecutor<'_>, tenant: TenantId) -> Result<Vec<KeyInfo>, StoreError> {
    Ok(sqlx::query_as!(
        KeyInfo,
        "select kid, app_id, host, scopes, created_at from tenant_keys where tenant_id = $1 order by kid",
        tenant.get(),
    )
    .fetch_all(executor)
    .await?)
}

/// Removes a key: from now on nothing that it signed is taken. False if the tenant has no such key.
pub async fn remove(executor: impl PgExecutor<'_>, tenant: TenantId, kid: &str) -> Result<bool, StoreError> {
    let removed =
        sqlx::query!("delete from tenant_keys where tenant_id = $1 and kid = $2", tenant.get(), kid)
            .execute(executor)
            .await?;
    Ok(removed.rows_affected() == 1)
}

/// The keys of this id whose tenant goes by one of these names. Which of them signed, only the signature says.
pub async fn candidates(
    executor: impl PgExecutor<'_>,
    kid: &str,
    audiences: &[String],
) -> Result<Vec<TenantKey>, StoreError> {
    let rows = sqlx::query!(
        "select k.tenant_id, k.public_key, k.host, k.scopes, t.disabled_at
           from tenant_keys as k
           join tenants as t on t.id = k.tenant_id
          where k.kid = $1 and (t.slug = any ($2) or k.app_id = any ($2))
          order by k.tenant_id",
        kid,
        audiences,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| TenantKey {
            tenant: TenantId::new(row.tenant_id),
            public_key: row.public_key,
            host: row.host,
            scopes: known_scopes(&row.scopes),
            disabled: row.disabled_at.is_some() && !mutant(Mutant::DisabledIsServed),
        })
        .collect())
}
