//! Authentication: the bearer token of a request, and its scopes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{TenantId, TokenId};
use muster_domain::token::{Credential, Scope, Token, TokenHash};
use muster_store::tokens::{self, Authenticated};
use tokio::time::Instant;

use super::auth_limit::Origin;
use super::error::ApiError;
use super::trail::Trail;
use super::{AppState, Shared};

/// How long a token that was found known is not looked up again: a revoked one works this much longer.
const KNOWN_FOR: Duration = Duration::from_secs(3);
/// Most tokens kept.
const MOST_KNOWN: usize = 10_000;

/// Tokens that were found known lately, by their hash. Unknown ones are never kept.
#[derive(Debug, Default)]
pub(super) struct KnownTokens(Mutex<HashMap<TokenHash, (Instant, Arc<Credential>)>>);

impl KnownTokens {
    fn get(&self, hash: &TokenHash) -> Option<Arc<Credential>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(hash)
            .filter(|(since, _)| since.elapsed() < KNOWN_FOR)
            .map(|(_, credential)| credential.clone())
    }

    fn put(&self, hash: TokenHash, credential: Arc<Credential>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(hash, (Instant::now(), credential));
    }
}

/// Whoever sent the request. The tenant comes out only through [`Caller::may`].
#[derive(Debug, Clone)]
pub(super) struct Caller(Arc<Credential>);

impl Caller {
    /// The caller of a credential.
    pub(super) fn of(credential: Arc<Credential>) -> Self {
        Self(credential)
    }

    /// What the credential is called.
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// Id of the credential.
    pub(super) fn token(&self) -> TokenId {
        self.0.token_id
    }

    /// When the credential ends; none for never.
    pub(super) fn ends_at(&self) -> Option<DateTime<Utc>> {
        self.0.expires_at
    }

    /// Whether the caller may see users' values.
    pub(super) fn sees_users(&self) -> bool {
        self.0.allows(Scope::UsersRead) || mutant(Mutant::PlanUnmasked)
    }

    /// Who the caller is, as what it does says it.
    pub(super) fn actor(&self) -> String {
        format!("token:{}", self.token())
    }

    /// The tenant on which the caller may do this.
    pub(super) fn may(&self, scope: Scope) -> Result<TenantId, ApiError> {
        if self.0.allows(scope) { Ok(self.0.tenant_id) } else { Err(ApiError::Forbidden(scope)) }
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let credential = match bearer(parts) {
            Some(token) => authenticate(&state.0, Origin::of(parts), &token).await?,
            None if parts.headers.contains_key(AUTHORIZATION) => {
                return Err(malformed(&state.0, Origin::of(parts)).await);
            }
            None => return Err(ApiError::Unauthorized),
        };
        if let Some(trail) = parts.extensions.get::<Trail>() {
            trail.found(&credential);
        }
        Ok(Self(credential))
    }
}

/// The credential of a token, if it may work on the whole tenant.
pub(super) async fn authenticate(
    shared: &Shared,
    origin: Origin,
    token: &Token,
) -> Result<Arc<Credential>, ApiError> {
    let credential = credential(shared, origin, token).await?;
    if credential.organization.is_some() { Err(ApiError::OneOrganization) } else { Ok(credential) }
}

/// Whom a token stands for. The caller must check the credential's organization.
///
/// Neither the response nor its timing distinguishes a revoked or expired token from an unknown one.
pub(super) async fn credential(
    shared: &Shared,
    origin: Origin,
    token: &Token,
) -> Result<Arc<Credential>, ApiError> {
    let hash = token.hash();
    if let Some(credential) = shared.known_tokens.get(&hash) {
        return Ok(credential);
    }
    let trial = shared.auth_limit.admit(origin, token.reveal())?;
    let found = match tokens::authenticate(&shared.store, token).await {
        Ok(found) => found,
        Err(error) => {
            trial.untold();
            return Err(error.into());
        }
    };
    match found {
        Authenticated::Known(credential) => {
            trial.succeeded();
            let credential = Arc::new(credential);
            shared.known_tokens.put(hash, credential.clone());
            Ok(credential)
        }
        Authenticated::Disabled => {
            trial.succeeded();
            Err(ApiError::TenantDisabled)
        }
        Authenticated::Unknown => {
            trial.failed().await;
            Err(ApiError::Unauthorized)
        }
    }
}

/// What a request with a credential that can be none comes to: it counts as a failure of its address.
pub(super) async fn malformed(shared: &Shared, origin: Origin) -> ApiError {
    match shared.auth_limit.admit(origin, "") {
        Ok(trial) => {
            trial.failed().await;
            ApiError::Unauthorized
        }
        Err(error) => error,
    }
}

/// The token, where exactly one header holds one.
fn bearer(parts: &Parts) -> Option<Token> {
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let (only, None) = (headers.next()?, headers.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") { token.trim().parse().ok() } else { None }
}
