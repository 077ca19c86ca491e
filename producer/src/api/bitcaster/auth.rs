//! Authentication: `Authorization: Token|Key|Bearer <token>`, and what the token may do in an organization.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::TenantId;
use muster_domain::tenant::Slug;
use muster_domain::token::{Credential, Scope};

use super::super::auth_limit::Origin;
use super::super::error::ApiError;
use super::super::trail::Trail;
use super::super::{AppState, auth};
use super::error::DoorError;

/// The schemes before a token: those of the documents, of the server, and Muster's own.
const SCHEMES: [&str; 3] = ["token", "key", "bearer"];

/// What the framework says of headers in which no token can be.
const NO_TOKEN: &str = "Invalid token header. No credentials provided.";
const BLANK_IN_TOKEN: &str = "Invalid token header. Token string should not contain spaces.";
const ODD_TOKEN: &str = "Invalid token header. Token string should not contain invalid characters.";

/// Whoever sent the request.
#[derive(Debug, Clone)]
pub(super) struct Caller(Arc<Credential>);

impl Caller {
    /// The tenant, where the caller may read the organization's users. Who may write them may read them.
    pub(super) fn reads(&self, organization: &Slug) -> Result<TenantId, DoorError> {
        self.may(&[Scope::UsersRead, Scope::UsersWrite], organization)
    }

    /// The tenant, where the caller may write the organization's users.
    pub(super) fn writes(&self, organization: &Slug) -> Result<TenantId, DoorError> {
        self.may(&[Scope::UsersWrite], organization)
    }

    /// Who it is, as what it does says it.
    pub(super) fn actor(&self) -> String {
        format!("token:{}", self.0.token_id)
    }

    /// The token's name.
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    fn may(&self, any: &[Scope], organization: &Slug) -> Result<TenantId, DoorError> {
        let here = self.0.organization.as_deref().is_none_or(|only| only == organization.as_str());
        if here && any.iter().any(|scope| self.0.allows(*scope)) {
            Ok(self.0.tenant_id)
        } else {
            Err(DoorError::Forbidden)
        }
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = DoorError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, DoorError> {
        let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
        let (Some(only), None) = (headers.next(), headers.next()) else {
            return Err(DoorError::NotAuthenticated);
        };
        let mut words = only.as_bytes().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let scheme = words.next().unwrap_or_default();
        if !SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known.as_bytes())) {
            return Err(DoorError::NotAuthenticated);
        }
        let token = match (words.next(), words.next()) {
            (None, _) => Err(NO_TOKEN),
            (Some(_), Some(_)) => Err(BLANK_IN_TOKEN),
            (Some(token), None) => std::str::from_utf8(token).map_err(|_| ODD_TOKEN),
        };
        let origin = Origin::of(parts);
        let found = match token.map(str::parse) {
            Ok(Ok(token)) => auth::credential(&state.0, origin, &token).await,
            Ok(Err(_)) | Err(_) => Err(auth::malformed(&state.0, origin).await),
        };
        let credential = found.map_err(|error| match error {
            ApiError::Store(error) => DoorError::Store(error),
            ApiError::TenantDisabled => DoorError::TenantDisabled,
            ApiError::TooManyFailures(seconds) => DoorError::Throttled(seconds),
            _ => match token {
                Err(header) if !mutant(Mutant::HeaderIsToken) => DoorError::TokenHeader(header),
                _ => DoorError::InvalidToken,
            },
        })?;
        if let Some(trail) = parts.extensions.get::<Trail>() {
            trail.found(&credential);
        }
        Ok(Self(credential))
    }
}
