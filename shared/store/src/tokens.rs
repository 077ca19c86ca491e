//! Tokens: create, look up, list, revoke. Only their hashes are here.

use chrono::{DateTime, Utc};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{TenantId, TokenId};
use muster_domain::tenant::Slug;
use muster_domain::token::{Credential, Scope, Token};
use muster_runtime::clock;
use serde::Serialize;
use serde_json::json;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::audit::{self, Did, Entry};
use super::{Store, StoreError};

/// Data about a token, without the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenInfo {
    /// Id.
    pub id: TokenId,
    /// Name, unique in the tenant, also among the revoked.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Slug of the only organization that it may work on; none for all of the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// From when on it opens nothing; none for never.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the hour.
    pub last_used_at: Option<DateTime<Utc>>,
}

struct TokenRow {
    id: Uuid,
    name: String,
    scopes: Vec<String>,
    organization: Option<String>,
    created_at: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

impl From<TokenRow> for TokenInfo {
    fn from(row: TokenRow) -> Self {
        Self {
            id: TokenId::new(row.id),
            name: row.name,
            scopes: known_scopes(&row.scopes),
            organization: row.organization,
            created_at: row.created_at,
            revoked_at: row.revoked_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        }
    }
}

/// What creating a token came to.
#[derive(Debug)]
pub enum NewToken {
    /// A new token. Its text is here and nowhere else: show it now.
    Created(TokenInfo, Token),
    /// The name is taken, perhaps by a token that is revoked; nothing was done.
    NameTaken(TokenInfo),
}

/// Creates a token under a name that is new in the tenant.
pub async fn create(
    store: &Store,
    tenant: TenantId,
    name: &str,
    scopes: &[Scope],
) -> Result<NewToken, StoreError> {
    create_for(store, tenant, None, name, scopes, None).await
}

/// The same, limited to one organization and with an expiry, if these are given.
pub async fn create_for(
    store: &Store,
    tenant: TenantId,
    organization: Option<&Slug>,
    name: &str,
    scopes: &[Scope],
    expires_at: Option<DateTime<Utc>>,
) -> Result<NewToken, StoreError> {
    let token = Token::generate(&mut clock::rng());
    // In a transaction, so that a lost answer to its commit loses no token: it is shown this once.
    let mut transaction = store.pool().begin().await?;
    let texts: Vec<String> = scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
    let row = sqlx::query_as!(
        TokenRow,
        r#"
        insert into tokens (id, tenant_id, name, hash, scopes, organization, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (tenant_id, name) do nothing
        returning id, name, scopes, organization, created_at, revoked_at, expires_at, last_used_at
        "#,
        clock::new_id(),
        tenant.get(),
        name,
        &token.hash(),
        &texts,
        organization.map(Slug::as_str),
        expires_at,
    )
    .fetch_optional(&mut *transaction)
    .await?;
    if let Some(row) = row {
        let entry = Entry::of(Did::TokenCreate).to(row.id).named(name);
        // The names of scopes are no value of a user, and say more than their number.
        let entry = entry.counting(json!({ "scopes": scopes.len() }));
        let entry =
            entry.chosen(Some(json!({ "scopes": texts.join(" "), "expires": row.expires_at.is_some() })));
        audit::note(&mut transaction, store, tenant, entry).await?;
        super::commit(store, transaction).await?;
        return Ok(NewToken::Created(row.into(), token));
    }
    transaction.rollback().await?;
    match find_by_name(store.pool(), tenant, name).await? {
        Some(info) => Ok(NewToken::NameTaken(info)),
        // Tokens are revoked, not deleted.
        None => Err(StoreError::Conflict("the token")),
    }
}

/// What a token is found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authenticated {
    /// It stands for this.
    Known(Credential),
    /// It is known, and its tenant is disabled.
    Disabled,
    /// It is not known, is revoked or has expired.
    Unknown,
}

impl Authenticated {
    /// The credential of the token, if it is valid.
    pub fn credential(self) -> Option<Credential> {
        match self {
            Self::Known(credential) => Some(credential),
            Self::Disabled | Self::Unknown => None,
        }
    }
}

/// Whom a token stands for. Writes down that it was used, once an hour.
///
/// It is found by its hash. The timing of the lookup reveals something about the hash, which does not help to guess a token.
pub async fn authenticate(store: &Store, token: &Token) -> Result<Authenticated, StoreError> {
    let Some(row) = sqlx::query!(
        r#"
        select id, tenant_id, name, scopes, organization, expires_at,
               coalesce(last_used_at < now() - interval '1 hour', true) as "unnoted!",
               exists (select from tenants
                        where tenants.id = tokens.tenant_id and disabled_at is not null and not $3) as "disabled!"
        from   tokens
        where  hash = $1 and revoked_at is null and (expires_at is null or expires_at > now() or $2)
        "#,
        &token.hash(),
        mutant(Mutant::TokensForEver),
        mutant(Mutant::DisabledIsServed),
    )
    .fetch_optional(store.pool())
    .await?
    else {
        return Ok(Authenticated::Unknown);
    };
    if row.disabled {
        return Ok(Authenticated::Disabled);
    }
    if row.unnoted {
        sqlx::query!(
            "update tokens set last_used_at = now()
              where id = $1 and coalesce(last_used_at < now() - interval '1 hour', true)",
            row.id,
        )
        .execute(store.pool())
        .await?;
    }
    Ok(Authenticated::Known(Credential {
        tenant_id: TenantId::new(row.tenant_id),
        token_id: TokenId::new(row.id),
        name: row.name,
        scopes: known_scopes(&row.scopes),
        organization: row.organization,
        expires_at: row.expires_at,
    }))
}

/// Whether a token that was known a while ago still opens what it did.
pub async fn is_good(store: &Store, token: TokenId) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select from tokens k
                            join tenants t on t.id = k.tenant_id
                           where k.id = $1 and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
                             and t.disabled_at is null) as "good!""#,
        token.get(),
    )
    .fetch_one(store.pool())
    .await?)
}

/// A tenant's tokens by name, the revoked ones too.
pub async fn list(executor: impl PgExecutor<'_>, tenant: TenantId) -> Result<Vec<TokenInfo>, StoreError> {
    let rows = sqlx::query_as!(
        TokenRow,
        "select id, name, scopes, organization, created_at, revoked_at, expires_at, last_used_at from tokens where tenant_id = $1 order by name",
        tenant.get(),
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(TokenInfo::from).collect())
}

/// The token with this name.
pub async fn find_by_name(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    name: &str,
) -> Result<Option<TokenInfo>, StoreError> {
    let row = sqlx::query_as!(
        TokenRow,
        r#"
        select id, name, scopes, organization, created_at, revoked_at, expires_at, last_used_at
        from   tokens
        where  tenant_id = $1 and name = $2
        "#,
        tenant.get(),
        name,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(TokenInfo::from))
}

/// Revokes a token permanently. `None` if the tenant has no such token; revoking again changes nothing.
pub async fn revoke(store: &Store, tenant: TenantId, name: &str) -> Result<Option<TokenInfo>, StoreError> {
    let mut transaction = store.pool().begin().await?;
    // Of two that revoke it at once, one did it.
    sqlx::query("select from tokens where tenant_id = $1 and name = $2 for update")
        .bind(tenant.get())
        .bind(name)
        .execute(&mut *transaction)
        .await?;
    let was_good =
        find_by_name(&mut *transaction, tenant, name).await?.is_some_and(|info| info.revoked_at.is_none());
    let row = sqlx::query_as!(
        TokenRow,
        r#"
        update tokens
        set    revoked_at = coalesce(revoked_at, now())   -- the first revocation counts
        where  tenant_id = $1 and name = $2
        returning id, name, scopes, organization, created_at, revoked_at, expires_at, last_used_at
        "#,
        tenant.get(),
        name,
    )
    .fetch_optional(&mut *transaction)
    .await?;
    // Revoking again changes nothing.
    if let Some(row) = row.as_ref().filter(|_| was_good) {
        let entry = Entry::of(Did::TokenRevoke).to(row.id).named(name);
        audit::note(&mut transaction, store, tenant, entry).await?;
    }
    transaction.commit().await?;
    Ok(row.map(TokenInfo::from))
}

/// A scope that a newer program gave is not known here and grants nothing here.
pub(super) fn known_scopes(texts: &[String]) -> Vec<Scope> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}
