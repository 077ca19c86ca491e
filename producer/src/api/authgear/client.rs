//! Who asks: the signed token of a request, and the tenant that its key speaks for.

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use muster_shared::clock;
use muster_shared::id::TenantId;
use muster_shared::store::keys::{self, TenantKey};

use super::error::Failure;
use super::token::Token;
use crate::api::AppState;
use crate::api::trace::Trail;

/// A client whose token was verified. The tenant comes from the key that signed, never from what the token says alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub(super) tenant: TenantId,
}

impl FromRequestParts<AppState> for Client {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let tenant = authenticate(parts, state).await?;
        if let Some(trail) = parts.extensions.get::<Trail>() {
            trail.found_tenant(tenant);
        }
        Ok(Self { tenant })
    }
}

/// Every way in which a request is not authorised is the same to its client.
async fn authenticate(parts: &Parts, state: &AppState) -> Result<TenantId, Failure> {
    let token = bearer(parts).and_then(Token::parse).ok_or(Failure::Forbidden)?;
    if !token.counts_at(clock::now()) {
        return Err(Failure::Forbidden);
    }
    let mut keys = keys::candidates(state.0.store.pool(), token.kid(), token.audiences()).await?;
    keys.retain(|key| may_be_asked(key, parts) && token.is_signed_by(&key.public_key));
    match keys.as_slice() {
        [key] => Ok(key.tenant),
        // Two tenants that have one key in common, and a token for both: nothing says which of them is meant.
        _ => Err(Failure::Forbidden),
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
