//! Sessions of the console: opened with a token, and found by the hash of the browser's secret. A session
//! ends by time-out, by signing out, or with its token. Its permissions are those of the token at that
//! moment.

use std::time::Duration;

use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{TenantId, TokenId};
use muster_domain::token::Credential;

use super::tokens::known_scopes;
use super::{Store, StoreError};

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
    /// It represents this token, of the tenant with this name.
    Open(Credential, String),
    /// It is known, and its tenant is disabled.
    Disabled,
    /// It is not known, or it is over.
    Over,
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
        r#"select tokens.id, tokens.tenant_id, tokens.name, tokens.scopes, tokens.organization,
                  tenants.name as tenant, tenants.disabled_at is not null as "disabled!",
                  session.used_at < now() - interval '1 minute' as "unnoted!"
             from console_sessions as session
             join tokens on tokens.id = session.token_id
             join tenants on tenants.id = tokens.tenant_id
            where session.hash = $1
              and (session.used_at > now() - make_interval(secs => $2) or $4)
              and session.created_at > now() - make_interval(secs => $3)
              and tokens.revoked_at is null and (tokens.expires_at is null or tokens.expires_at > now())"#,
        &hash[..],
        limits.idle.as_secs_f64(),
        limits.most.as_secs_f64(),
        mutant(Mutant::ConsoleNeverIdle),
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
        sqlx::query!("update console_sessions set used_at = now() where hash = $1", &hash[..])
            .execute(store.pool())
            .await?;
    }
    let credential = Credential {
        tenant_id: TenantId::new(row.tenant_id),
        token_id: TokenId::new(row.id),
        name: row.name,
        scopes: known_scopes(&row.scopes),
        organization: row.organization,
    };
    Ok(Session::Open(credential, row.tenant))
}

/// Ends a session. Ending one that is over changes nothing.
pub async fn end(store: &Store, hash: &SessionHash) -> Result<(), StoreError> {
    sqlx::query!("delete from console_sessions where hash = $1", &hash[..]).execute(store.pool()).await?;
    Ok(())
}
