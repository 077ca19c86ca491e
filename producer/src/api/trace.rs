//! Around every request: its id, one log line, one shape for errors. A request runs on a task of its own, so that it ends
//! even when its client leaves, and a panic ends it alone.

use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use muster_shared::clock;
use muster_shared::id::{TenantId, TokenId};
use muster_shared::token::Credential;
use tokio::time::Instant;

use super::AppState;
use super::error::{ApiError, Failed, Told};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from a client.
const ID_BYTES: usize = 64;

/// What is learnt of a request on its way, for the log.
#[derive(Debug, Clone, Default)]
pub(super) struct Trail(Arc<OnceLock<(TenantId, Option<TokenId>)>>);

impl Trail {
    /// Whose request it is.
    pub(super) fn found(&self, credential: &Credential) {
        let _ = self.0.set((credential.tenant_id, Some(credential.token_id)));
    }

    /// The same of a request that was not authorised by a token of ours.
    pub(super) fn found_tenant(&self, tenant: TenantId) {
        let _ = self.0.set((tenant, None));
    }
}

/// The middleware.
pub(super) async fn around(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(&request);
    let method = request.method().clone();
    // The route, not the address: addresses carry users' values.
    let route = request.extensions().get::<MatchedPath>().map_or("-", MatchedPath::as_str).to_owned();
    let trail = Trail::default();
    request.extensions_mut().insert(trail.clone());
    let handled = state.0.tasks.spawn(next.run(request)).await;
    let mut response = handled.unwrap_or_else(|error| {
        tracing::error!(request_id = id, %error, "a request did not end well");
        ApiError::Internal.into_response()
    });
    if let Some(Failed(error)) = response.extensions_mut().remove() {
        response = failed(&error, response, &id);
    }
    if let Some(Told(cause)) = response.extensions_mut().remove() {
        tracing::error!(request_id = id, error = %cause, "a request failed in the store");
    }
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    let (tenant, token) = trail.0.get().copied().unzip();
    let (tenant, token) = (tenant.map(TenantId::get), token.flatten().map(|token| token.to_string()));
    let elapsed = started.elapsed();
    let milliseconds = elapsed.as_secs_f64() * 1000.0;
    tracing::info!(request_id = id, %method, route, status, tenant, token, milliseconds, "request");
    let labels = [("method", method.as_str().to_owned()), ("route", route), ("status", status.to_string())];
    metrics::histogram!("muster_http_request_seconds", &labels).record(elapsed.as_secs_f64());
    response
}

/// The error's body under the request's id. Its cause is logged here and not sent.
fn failed(error: &ApiError, response: Response, id: &str) -> Response {
    log_cause(error, id);
    let (mut parts, _) = response.into_parts();
    let (body_parts, body) = Json(error.body(id)).into_response().into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(body_parts.headers);
    Response::from_parts(parts, body)
}

fn log_cause(error: &ApiError, id: &str) {
    if let ApiError::Store(cause) = error {
        tracing::error!(request_id = id, error = %cause, "a request failed in the store");
    }
}

/// The client's id where it is sane, a new one otherwise.
fn request_id(request: &Request) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match request.headers().get(&REQUEST_ID).map(HeaderValue::as_bytes) {
        Some(given) if (1..=ID_BYTES).contains(&given.len()) && given.iter().copied().all(plain) => {
            String::from_utf8_lossy(given).into_owned()
        }
        _ => clock::new_id().to_string(),
    }
}
