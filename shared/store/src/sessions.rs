//! Sessions of the console: opened with a token, and found by the hash of the browser's secret. A session
//! ends by time-out, by signing out, or with its token. Its permissions are those of the token at that
//! moment.
//!
//! It is in the tenant of its token, or in another one that a token with [`Scope::TenantsAll`] has opened. That is
//! decided anew each time a session is found: without the scope, and when the other tenant is disabled, it is in its own.

use std::time::Duration;

use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{TenantId, TokenId};
use muster_domain::tenant::{Slug, Tenant};
use muster_domain::token::{Credential, Scope};

use super::audit::{self, Did, Entry};
use super::tokens::known_scopes;
use super::{Store, StoreError, tenants};

/// SHA-256 of what the browser keeps.
pub type SessionHash = [u8; 32];

/// How long a session lasts.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Without a request of a person.
    pub idle: Duration,
    /// In all.
    pub most: Duration,
}

/// What a session is found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Session {
    /// It is valid.
    Open(SignedIn),
    /// It is known, and its tenant is disabled.
    Disabled,
    /// It is not known, or it is over.
    Over,
}

/// Who is signed in, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// The token. Its tenant is the one that the session is in.
    pub credential: Credential,
    /// Name of that tenant.
    pub tenant: String,
    /// The token's own tenant, where the session is in another one.
    pub own: Option<OwnTenant>,
}

/// The tenant that a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnTenant {
    /// The name that addresses use.
    pub slug: String,
    /// The name for people.
    pub name: String,
}

/// What choosing a tenant for a session came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// The session is in this tenant now.
    In(Tenant),
    /// The tenant is disabled. Nothing was done.
    Disabled,
    /// There is no such tenant. Nothing was done.
    NotFound,
}

/// Opens a session. Sessions that are over for long go.
pub async fn open(store: &Store, hash: &SessionHash, credential: &Credential) -> Result<(), StoreError> {
    sqlx::query!(
        "with over as (delete from console_sessions where created_at < now() - interval '7 days')
         insert into console_sessions (hash, tenant_id, token_id) values ($1, $2, $3)",
        &hash[..],
        credential.tenant_id.get(),
        credential.token_id.get(),
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// The token of a session. With `used`, a person asked: that is noted, to the minute.
pub async fn find(
    store: &Store,
    hash: &SessionHash,
    limits: SessionLimits,
    used: bool,
) -> Result<Session, StoreError> {
    let Some(row) = sqlx::query!(
        r#"select tokens.id as "id!", tokens.tenant_id as "tenant_id!", tokens.name as "name!", tokens.scopes as "scopes!", tokens.organization, tokens.expires_at as "expires_at?",
                  tenants.slug as "own_slug!", tenants.name as "own_name!", tenants.disabled_at is not null as "disabled!",
                  other.id as "other_id?", other.name as "other_name?",
                  session.chosen_tenant_id is not null and other.id is null as "shut!",
                  session.used_at < now() - interval '1 minute' as "unnoted!"
             from console_sessions as session
             join tokens on tokens.id = session.token_id
             join tenants on tenants.id = tokens.tenant_id
             left join tenants as other
                    on other.id = session.chosen_tenant_id
                   and (other.disabled_at is null and tokens.organization is null and $5 = any(tokens.scopes) or $6)
            where session.hash = $1
              and (session.used_at > now() - make_interval(secs => $2) or $4)
              and session.created_at > now() - make_interval(secs => $3)
              and tokens.revoked_at is null and (tokens.expires_at is null or tokens.expires_at > now())"#,
        &hash[..],
        limits.idle.as_secs_f64(),
        limits.most.as_secs_f64(),
        mutant(Mutant::ConsoleNeverIdle),
        Scope::TenantsAll.as_str(),
        mutant(Mutant::OpenedForGood),
    )
    .fetch_optional(store.pool())
    .await?
    else {
        return Ok(Session::Over);
    };
    if row.disabled {
        return Ok(Session::Disabled);
    }
    if row.unnoted && used {
        note_use(store, hash).await?;
    }
    if row.shut {
        leave(store, hash).await?;
    }
    let own = OwnTenant { slug: row.own_slug, name: row.own_name };
    let (tenant_id, tenant, own) = match (row.other_id, row.other_name) {
        (Some(id), Some(name)) => (id, name, Some(own)),
        _ => (row.tenant_id, own.name, None),
    };
    let credential = Credential {
        tenant_id: TenantId::new(tenant_id),
        token_id: TokenId::new(row.id),
        name: row.name,
        scopes: known_scopes(&row.scopes),
        organization: row.organization,
        expires_at: row.expires_at,
    };
    Ok(Session::Open(SignedIn { credential, tenant, own }))
}

async fn note_use(store: &Store, hash: &SessionHash) -> Result<(), StoreError> {
    sqlx::query!("update console_sessions set used_at = now() where hash = $1", &hash[..])
        .execute(store.pool())
        .await?;
    Ok(())
}

/// What was opened once and is closed is not opened again by itself, when its tenant is enabled again.
async fn leave(store: &Store, hash: &SessionHash) -> Result<(), StoreError> {
    sqlx::query!("update console_sessions set chosen_tenant_id = null where hash = $1", &hash[..])
        .execute(store.pool())
        .await?;
    Ok(())
}

/// Lets a session be in another tenant, or in that of its token again. Its token must have [`Scope::TenantsAll`]: without it nothing
/// changes. That a tenant was opened stands in its own audit, in the same transaction; opening it again changes nothing.
pub async fn choose(store: &Store, hash: &SessionHash, tenant: &Slug) -> Result<Chosen, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let Some(tenant) = tenants::find_by_slug(&mut *transaction, tenant).await? else {
        return Ok(Chosen::NotFound);
    };
    if tenant.disabled_at.is_some() {
        return Ok(Chosen::Disabled);
    }
    let own = sqlx::query_scalar!(
        r#"update console_sessions as session
              set chosen_tenant_id = nullif($2, session.tenant_id)
             from tokens
            where session.hash = $1 and tokens.id = session.token_id
              and tokens.organization is null and $3 = any(tokens.scopes)
              and coalesce(session.chosen_tenant_id, session.tenant_id) <> $2
           returning session.tenant_id"#,
        &hash[..],
        tenant.id.get(),
        Scope::TenantsAll.as_str(),
    )
    .fetch_optional(&mut *transaction)
    .await?;
    if own.is_some_and(|own| own != tenant.id.get()) {
        audit::note(&mut transaction, store, tenant.id, Entry::of(Did::OperatorEnter)).await?;
    }
    transaction.commit().await?;
    Ok(Chosen::In(tenant))
}

/// Ends a session. Ending one that is over changes nothing.
pub async fn end(store: &Store, hash: &SessionHash) -> Result<(), StoreError> {
    sqlx::query!("delete from console_sessions where hash = $1", &hash[..]).execute(store.pool()).await?;
    Ok(())
}
