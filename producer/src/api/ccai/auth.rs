//! Authentication: HTTP Basic, with the tenant's slug (the subdomain) as user and one of its tokens (the API credential) as password.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_domain::id::TenantId;
use muster_domain::tenant::Slug;
use muster_domain::token::{Scope, Token};
use muster_store::tenants;
use tokio::time::Instant;

use super::error::{Answer, DoorError};
use crate::api::AppState;
use crate::api::auth::{Caller, authenticate, malformed};
use crate::api::auth_limit::Origin;
use crate::api::trail::Trail;

/// An API credential that is known.
#[derive(Debug)]
pub(super) struct ApiUser(Caller);

impl ApiUser {
    /// The tenant on which the caller may do this.
    pub(super) fn may(&self, scope: Scope) -> Answer<TenantId> {
        Ok(self.0.may(scope)?)
    }

    /// Who it is, as what it does says it.
    pub(super) fn actor(&self) -> String {
        self.0.actor()
    }

    /// What the credential is called.
    pub(super) fn name(&self) -> &str {
        self.0.name()
    }
}

impl FromRequestParts<AppState> for ApiUser {
    type Rejection = DoorError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Answer<Self> {
        let origin = Origin::of(parts);
        let Some((slug, token)) = basic(&parts.headers) else {
            return Err(match parts.headers.contains_key(AUTHORIZATION) {
                true => malformed(&state.0, origin).await.into(),
                false => DoorError::unauthorized(),
            });
        };
        let credential = authenticate(&state.0, origin, &token).await?;
        let tenant = tenants::find_by_slug(state.0.store.pool(), &slug).await?;
        if tenant.is_none_or(|tenant| tenant.id != credential.tenant_id) {
            return Err(malformed(&state.0, origin).await.into());
        }
        if let Some(trail) = parts.extensions.get::<Trail>() {
            trail.found(&credential);
        }
        if !state.0.ccai_rate.admits(credential.tenant_id, Instant::now()) {
            return Err(DoorError::too_many());
        }
        Ok(Self(Caller::of(credential)))
    }
}

/// Whether the request comes with this scheme, well-formed or not.
pub(super) fn is_basic(headers: &HeaderMap) -> bool {
    let value = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    value.and_then(|value| value.get(..6)).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic "))
}

/// User and password, where exactly one header holds them and they can be such.
fn basic(headers: &HeaderMap) -> Option<(Slug, Token)> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (only, None) = (values.next()?, values.next()) else { return None };
    let (scheme, encoded) = only.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.parse().ok()?, password.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(value: &str) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        basic(&headers).map(|(slug, token)| (slug.as_str().to_owned(), token.reveal().to_owned()))
    }

    #[test]
    fn user_and_password_are_read_or_nothing_is() {
        let token = format!("mst_{}", "A".repeat(43));
        let encoded = STANDARD.encode(format!("acme:{token}"));
        let both = Some(("acme".to_owned(), token));
        assert_eq!(of(&format!("Basic {encoded}")), both);
        assert_eq!(of(&format!("bAsIc  {encoded} ")), both);
        for value in ["Basic", "Basic !", "Basic YWNtZQ==", "Basic YWNtZTp4", &format!("Bearer {encoded}")] {
            assert_eq!(of(value), None, "{value}");
        }
    }
}
