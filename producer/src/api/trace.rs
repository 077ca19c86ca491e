//! The middleware of every request: its id, one log line, one shape for errors. A request runs in its own
//! task, so it finishes even if its client disconnects, and a panic ends only this request. Where the client
//! goes away before the answer, the line and the span say so.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use muster_domain::error::ErrorCode;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::TenantId;
use muster_runtime::clock;
use muster_runtime::telemetry::series::{REFUSALS, STATUS_CLASSES};
use muster_runtime::telemetry::traces::{self, Kind as SpanKind, Span, Value};
use tokio::time::{Instant, timeout};

use super::error::{ApiError, Failed, StoreCause};
use super::params::wait_of;
#[cfg(feature = "faults")]
use super::routes::openapi;
use super::routes::{NO_ROUTE, OTHER_METHOD, counts, of_door};
use super::trail::Trail;
use super::waiting::Client;
use super::{AppState, console};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Longest request id that is taken over from a client.
const ID_BYTES: usize = 64;
/// In the log and in traces, the status of a request that nobody waited for any more: its client went away, or its connection was cut at
/// a stop. No answer has it.
const CLIENT_GONE: u16 = 499;

/// The middleware.
pub(super) async fn around(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(&request);
    let (method, uri) = (known_method(request.method()), request.uri().clone());
    // The route, not the address: addresses carry users' values.
    let route = request.extensions().get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let trail = Trail::default();
    request.extensions_mut().insert(trail.clone());
    let client = Client::default();
    // Dropped with this future, which is when the client is gone at the latest.
    let _waits = client.waits();
    request.extensions_mut().insert(client);
    let span = begin_span(&request, &method, &route);
    let mut told = Told { id, method, route, trail, span, started, ended: false };
    let mut response = if told.method == OTHER_METHOD {
        of_door(&uri, ApiError::MethodNotAllowed)
    } else {
        handle(&state, request, next, &told).await
    };
    let mut code = None;
    if let Some(Failed(error)) = response.extensions_mut().remove() {
        code = Some(error.status().1);
        response = failed(&error, response, &told.id);
    }
    response = held(&told.method, &told.route, code, response);
    if let Some(StoreCause(cause)) = response.extensions_mut().remove() {
        tracing::error!(request_id = told.id, error = %cause, "a request failed in the store");
    }
    let headers = response.headers_mut();
    protect(headers, Kind::of(&told.route, uri.path()), state.0.encrypted);
    if let Ok(value) = HeaderValue::from_str(&told.id) {
        headers.insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    count(&told.method, &told.route, status, told.started.elapsed());
    told.end(status);
    response
}

/// What is told of a request at its end: one line of the log, and its span. Dropped before its answer, it tells that nobody waited for that.
struct Told {
    id: String,
    method: Cow<'static, str>,
    route: String,
    trail: Trail,
    span: Span,
    started: Instant,
    ended: bool,
}

impl Told {
    fn end(&mut self, status: u16) {
        self.ended = true;
        let (tenant, token) = self.trail.0.get().copied().unzip();
        let (tenant, token) = (tenant.map(TenantId::get), token.flatten().map(|token| token.to_string()));
        let milliseconds = self.started.elapsed().as_secs_f64() * 1000.0;
        let trace = self.span.context().map(|context| context.trace_id());
        tracing::info!(
            request_id = self.id,
            method = &*self.method,
            route = self.route,
            status,
            tenant,
            token,
            milliseconds,
            trace,
            "request"
        );
        end_span(std::mem::take(&mut self.span), status, tenant);
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if !self.ended && !mutant(Mutant::GoneClientUntold) {
            self.end(CLIENT_GONE);
        }
    }
}

/// Tests fail for any response that is not in the description of the API.
#[cfg(feature = "faults")]
fn held(method: &str, route: &str, code: Option<ErrorCode>, response: Response) -> Response {
    match super::document::lacks(openapi, method, route, response.status().as_u16(), code) {
        Some(told) => {
            tracing::error!(error = told, "an answer outside the description of the API");
            (axum::http::StatusCode::INTERNAL_SERVER_ERROR, told).into_response()
        }
        None => response,
    }
}

/// The answer as it is.
#[cfg(not(feature = "faults"))]
fn held(_: &str, _: &str, _: Option<ErrorCode>, response: Response) -> Response {
    response
}

/// Runs a request on a task of its own, for as long as it may take.
async fn handle(state: &AppState, request: Request, next: Next, told: &Told) -> Response {
    let (uri, route) = (request.uri().clone(), &*told.route);
    let upload = is_unlimited(request.method(), route);
    let handled = state.0.tasks.spawn(traces::within(told.span.context(), next.run(request)));
    // The task goes on when the time is over: what it has begun in the store comes to its end.
    let handled = if upload || mutant(Mutant::NoRequestTimeout) {
        handled.await
    } else {
        // A request that waits for a change names its own time limit.
        let wait = if WAITS.contains(&route) { wait_of(&uri) } else { Duration::ZERO };
        let answer = timeout(state.0.request_timeout + wait, handled).await;
        answer.unwrap_or_else(|_| Ok(of_door(&uri, ApiError::TimedOut)))
    };
    handled.unwrap_or_else(|error| {
        tracing::error!(request_id = told.id, %error, "a request did not end well");
        of_door(&uri, ApiError::Internal)
    })
}

/// The span of a request, named by its route: its address would bring users' values along.
fn begin_span(request: &Request, method: &str, route: &str) -> Span {
    let mut given = request.headers().get_all(&TRACEPARENT).iter();
    // With two, it is unclear which one is valid.
    let given = match (given.next(), given.next()) {
        (Some(one), None) if !mutant(Mutant::ClientTraceIgnored) => one.to_str().ok(),
        _ => None,
    };
    let mut span = traces::entry(given, "request", SpanKind::Server);
    span.doubt();
    if mutant(Mutant::AddressInSpan) {
        span.route(method, &request.uri().to_string());
    } else {
        span.route(method, route);
    }
    span
}

/// What a request came to. Unauthenticated requests leave nothing, or a stranger's flag could fill the collector.
fn end_span(mut span: Span, status: u16, tenant: Option<i32>) {
    match tenant {
        Some(tenant) => {
            span.set("muster.tenant", Value::Number(tenant.into()));
            span.keep();
        }
        None if mutant(Mutant::StrangersTraced) => span.keep(),
        None => {}
    }
    span.count("http.response.status_code", status.into());
    if status >= 500 {
        span.fail();
    }
}

/// Counts a request. Its series is one of those that were there from the start, whatever clients send.
fn count(method: &str, route: &str, status: u16, elapsed: Duration) {
    let (method, route) = labels(method, route, status);
    let class = STATUS_CLASSES.get(usize::from(status / 100).wrapping_sub(1)).copied().unwrap_or("5xx");
    if status >= 400 {
        let status = status.to_string();
        let known = REFUSALS.iter().copied().find(|refusal| *refusal == status).unwrap_or("other");
        metrics::counter!("muster_http_refusals_total", "status" => known).increment(1);
    }
    let labels = [("method", method.to_owned()), ("route", route.to_owned())];
    metrics::histogram!("muster_http_request_seconds", &labels).record(elapsed.as_secs_f64());
    let [method, route] = labels;
    let labels = [method, route, ("status", class.to_owned())];
    metrics::counter!("muster_http_requests_total", &labels).increment(1);
}

/// Method and route in the metrics: `HEAD` counts as `GET`, and requests without a route have none.
fn labels<'r>(method: &'r str, route: &'r str, status: u16) -> (&'r str, &'r str) {
    if mutant(Mutant::WrongMethodsAppearLate) || mutant(Mutant::AnyMethod) {
        return (method, route);
    }
    match if method == "HEAD" { "GET" } else { method } {
        _ if status == 405 => (OTHER_METHOD, NO_ROUTE),
        method if counts(method, route) => (method, route),
        method if counts(method, NO_ROUTE) => (method, NO_ROUTE),
        _ => (OTHER_METHOD, NO_ROUTE),
    }
}

/// The routes whose answers may wait for a change.
const WAITS: [&str; 3] =
    ["/v1/imports/{id}", "/v1/webhooks/{id}/ping", "/v1/webhooks/{id}/deliveries/{delivery}/redeliver"];

/// Whether a request has no limit of this kind: it is as long as its body, which has limits of its own, or it opens an undo, which it
/// would go on to do all the same, in one transaction that follows the import's size.
fn is_unlimited(method: &Method, route: &str) -> bool {
    let sends = matches!(*method, Method::POST | Method::PUT);
    sends
        && (matches!(
            route,
            "/v1/imports"
                | "/v1/inspect"
                | "/_api/admin/users/import"
                | "/console/new/look"
                | "/console/new/take"
                | "/v1/imports/{id}/undo"
                | "/console/imports/{id}/undo"
        ) || route.ends_with("/bulk/users/upload"))
}

/// The method's name, for logs and metrics: a client may send any word as a method.
fn known_method(method: &Method) -> Cow<'static, str> {
    if mutant(Mutant::AnyMethod) {
        return method.as_str().to_owned().into();
    }
    Cow::Borrowed(match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER_METHOD,
    })
}

/// What an answer is to a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Data: it shows nothing and loads nothing.
    Data,
    /// A page of the documentation, which brings scripts and styles of its own.
    Documentation,
    /// A page of the console: only files of this server are loaded, and inline scripts are forbidden.
    Console,
    /// A file of the console, whose address changes with it.
    File,
}

impl Kind {
    fn of(route: &str, path: &str) -> Self {
        if route.starts_with("/docs") {
            Self::Documentation
        } else if route.starts_with("/console/assets/") {
            Self::File
        } else if console::owns(path) {
            Self::Console
        } else {
            Self::Data
        }
    }

    fn policy(self) -> &'static str {
        match self {
            Self::Documentation => {
                "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; \
                 img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"
            }
            Self::Console => {
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                 form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
            }
            Self::Data | Self::File => {
                "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            }
        }
    }
}

/// Headers of every response: no type sniffing, no frames, no caching, no referrer.
fn protect(headers: &mut HeaderMap, kind: Kind, encrypted: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if mutant(Mutant::BareAnswers) {
        return;
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(kind.policy()));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    if encrypted {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if !matches!(kind, Kind::Documentation | Kind::File) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// It would be opened all the same, after an answer that says that it was not.
    #[test]
    fn a_request_that_opens_an_undo_has_no_limit_and_one_that_looks_at_it_has() {
        for route in ["/v1/imports/{id}/undo", "/console/imports/{id}/undo"] {
            assert!(is_unlimited(&Method::POST, route) && !is_unlimited(&Method::GET, route), "{route}");
        }
        assert!(!is_unlimited(&Method::POST, "/v1/imports/{id}/proceed"));
    }
}
