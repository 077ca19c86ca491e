//! Authentication: the signed token of a request, and the tenant of its key.

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use muster_domain::id::TenantId;
use muster_domain::token::Scope;
use muster_runtime::clock;
use muster_store::keys::{self, TenantKey};

use super::error::DoorError;
use super::token::Token;
use crate::api::AppState;
use crate::api::auth_limit::Origin;
use crate::api::error::ApiError;
use crate::api::trail::Trail;

/// A client whose token was verified. The tenant comes from the signing key, never only from the token's
/// claims, and only through [`Client::may`].
#[derive(Debug, Clone)]
pub(super) struct Client(TenantKey);

impl Client {
    /// The tenant on which the client may do this.
    pub(super) fn may(&self, scope: Scope) -> Result<TenantId, DoorError> {
        if self.0.allows(scope) { Ok(self.0.tenant) } else { Err(DoorError::Forbidden) }
    }
}

impl FromRequestParts<AppState> for Client {
    type Rejection = DoorError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, DoorError> {
        let limit = &state.0.auth_limit;
        let named = parts.headers.contains_key(header::AUTHORIZATION);
        let shown = bearer(parts).unwrap_or_default();
        // A whole token is one credential. What such tokens begin with is the same for all of a tenant, so it counts for none.
        let trial = limit.admit_whole(Origin::of(parts), shown).map_err(|error| match error {
            ApiError::TooManyFailures(seconds) => DoorError::TooManyFailures(seconds),
            _ => DoorError::Internal,
        })?;
        let key = match authenticate(shown, parts, state).await {
            Ok(key) => key,
            Err(DoorError::Forbidden) if named => {
                trial.failed().await;
                return Err(DoorError::Forbidden);
            }
            Err(error) => {
                trial.untold();
                return Err(error);
            }
        };
        trial.succeeded();
        if let Some(trail) = parts.extensions.get::<Trail>() {
            trail.found_tenant(key.tenant);
        }
        if key.disabled { Err(DoorError::TenantDisabled) } else { Ok(Self(key)) }
    }
}

/// Every way in which a request is not authorised is the same to its client.
async fn authenticate(shown: &str, parts: &Parts, state: &AppState) -> Result<TenantKey, DoorError> {
    let token = Token::parse(shown).ok_or(DoorError::Forbidden)?;
    if !token.counts_at(clock::now()) {
        return Err(DoorError::Forbidden);
    }
    let mut keys = keys::candidates(state.0.store.pool(), token.kid(), token.audiences()).await?;
    keys.retain(|key| may_be_asked(key, parts) && token.is_signed_by(&key.public_key));
    match (keys.pop(), keys.pop()) {
        (Some(key), None) => Ok(key),
        // Two tenants that have one key in common, and a token for both: nothing says which of them is meant.
        _ => Err(DoorError::Forbidden),
    }
}

/// A key with a host counts in requests to that host only.
fn may_be_asked(key: &TenantKey, parts: &Parts) -> bool {
    let Some(wanted) = key.host.as_deref() else { return true };
    let named = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = parts.uri.host().or_else(|| named.map(without_port));
    host.is_some_and(|host| host.eq_ignore_ascii_case(wanted))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// `Bearer`, one blank, the token: exactly so, and once.
fn bearer(parts: &Parts) -> Option<&str> {
    let mut headers = parts.headers.get_all(header::AUTHORIZATION).iter();
    let (only, None) = (headers.next()?, headers.next()) else { return None };
    only.to_str().ok()?.strip_prefix("Bearer ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_no_part_of_a_host() {
        for (given, host) in [
            ("a.example", "a.example"),
            ("a.example:80", "a.example"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(without_port(given), host);
        }
    }
}
