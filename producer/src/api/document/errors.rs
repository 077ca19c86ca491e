//! Which errors a route can give, with one of each as an example.
//!
//! Each route of Muster's own names its codes, by status, in `x-error-codes`; front doors for clients of
//! other systems have only statuses, since their errors are different. Held by
//! `each_route_gives_the_errors_that_the_document_says_and_no_other`.

use std::collections::{BTreeMap, BTreeSet};

use muster_domain::error::{ErrorCode, ErrorPlace, FileError};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::ImportId;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Route;
use crate::api::error::ApiError;

/// Name of the member that has the codes of a status.
pub(super) const CODES: &str = "x-error-codes";

/// Gives an operation its errors instead of one answer for all.
pub(super) fn complete(route: &Route, operation: &mut Map<String, Value>) {
    let has_body = operation.contains_key("requestBody");
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    let told = responses.remove("default");
    if route.is_open() {
        return;
    }
    if route.is_native() {
        for (status, response) in native(&codes(route)) {
            responses.entry(status).or_insert(response);
        }
        return;
    }
    let content = told.as_ref().and_then(|told| told.get("content")).cloned().unwrap_or_else(|| json!({}));
    for (status, description) in of_door(route, has_body) {
        let response = || json!({ "description": description, "content": content });
        let response = responses.entry(status.to_string()).or_insert_with(response);
        if matches!(status, 429 | 503) && response.get("headers").is_none() {
            response["headers"] = retry_after();
        }
    }
}

/// The codes of errors that a route of Muster's own can give.
fn codes(route: &Route) -> BTreeSet<ErrorCode> {
    use ErrorCode as E;
    let path = route.path.as_str();
    let mut codes = BTreeSet::from([
        E::InvalidRequest,
        E::Unauthorized,
        E::Forbidden,
        E::TenantDisabled,
        E::RateLimited,
        E::Unavailable,
        E::Internal,
    ]);
    if path.contains('{') {
        codes.insert(E::NotFound);
    }
    // An upload takes as long as its body, and opening an undo as long as its import is large.
    if !matches!((route.verb, path), ("post", "/v1/imports" | "/v1/imports/{id}/undo" | "/v1/inspect")) {
        codes.insert(E::RequestTimeout);
    }
    codes.extend(of_route(route.verb, path));
    if reads_options(route.verb, path) {
        codes.insert(E::NewerVersion);
    }
    codes
}

/// Whether a route has to know all options of an import, which a newer program may have written.
fn reads_options(verb: &str, path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/v1/imports") else { return false };
    match (verb, rest) {
        // The response to a known idempotency key shows its import.
        ("post", _) => true,
        (_, "" | "/{id}/chunks" | "/{id}/plan" | "/{id}/plan/changes" | "/{id}/plan.csv") => false,
        _ => true,
    }
}

/// Errors of single routes.
fn of_route(verb: &str, path: &str) -> Vec<ErrorCode> {
    use ErrorCode as E;
    match (verb, path) {
        ("post", "/v1/imports") => {
            let of_file = |code: &ErrorCode| code.places().contains(&ErrorPlace::File);
            let mut codes: Vec<E> = ErrorCode::ALL.iter().copied().filter(of_file).collect();
            codes.extend([
                E::UnsupportedMediaType,
                E::IdempotencyInProgress,
                E::IdempotencyMismatch,
                E::TooManyImports,
            ]);
            codes
        }
        // What is wrong with the file, or with how it came, is what is asked for.
        ("post", "/v1/inspect") if mutant(Mutant::ErrorsThatCannotBe) => {
            vec![E::UnsupportedMediaType, E::UploadTimeout]
        }
        ("post", "/v1/inspect") => vec![E::UnsupportedMediaType],
        ("post", "/v1/imports/{id}/undo") => {
            vec![E::StateConflict, E::NotApplied, E::AlreadyUndone, E::BeforeImagesGone]
        }
        ("post", "/v1/imports/{id}/resume" | "/v1/imports/{id}/retry") => {
            vec![E::StateConflict, E::AlreadyUndone]
        }
        ("post", path) if path.starts_with("/v1/imports/{id}/") => vec![E::StateConflict],
        ("get", "/v1/imports/{id}/receipt" | "/v1/imports/{id}/report.html")
            if !mutant(Mutant::ErrorsUntold) =>
        {
            vec![E::StateConflict]
        }
        ("get", "/v1/imports/{id}/plan" | "/v1/imports/{id}/plan/changes" | "/v1/imports/{id}/plan.csv") => {
            vec![E::NoPlan]
        }
        ("put", "/v1/profiles/{name}") => vec![E::UploadTimeout, E::UploadTooLarge],
        ("put", "/v1/catalog") => {
            vec![E::UploadTimeout, E::UploadTooLarge, E::UnsupportedMediaType, E::StateConflict]
        }
        ("post", "/v1/webhooks") => {
            vec![E::UploadTimeout, E::UploadTooLarge, E::WebhookTargetRefused, E::TooManyWebhooks]
        }
        ("patch", "/v1/webhooks/{id}") => vec![E::UploadTimeout, E::UploadTooLarge, E::WebhookTargetRefused],
        ("post" | "delete", "/v1/webhooks/{id}/secret") => vec![E::StateConflict],
        _ => Vec::new(),
    }
}

/// One response a status, with its codes and an example of most of them.
fn native(codes: &BTreeSet<ErrorCode>) -> BTreeMap<String, Value> {
    let mut examples: BTreeMap<u16, Map<String, Value>> = BTreeMap::new();
    let mut named: BTreeMap<u16, BTreeSet<&str>> = BTreeMap::new();
    let mut shown = BTreeSet::new();
    for error in ApiError::samples() {
        let (status, code) = error.status();
        if codes.contains(&code) {
            let body = error.body("0190a5f0-7b7c-7000-8000-00000000000a");
            let example = json!({ "summary": code.to_string(), "value": body });
            examples.entry(status.as_u16()).or_default().insert(code.to_string(), example);
            named.entry(status.as_u16()).or_default().insert(code.as_str());
            shown.insert(code);
        }
    }
    for code in codes.difference(&shown) {
        // What has no example is what a file is refused for.
        let (status, _) = ApiError::Upload(ImportId::new(Uuid::nil()), FileError::new(*code, "")).status();
        named.entry(status.as_u16()).or_default().insert(code.as_str());
    }
    let response = |(status, codes): (u16, BTreeSet<&str>)| {
        let mut media = json!({ "schema": { "$ref": "#/components/schemas/ErrorBody" } });
        if let Some(examples) = examples.remove(&status) {
            media["examples"] = Value::Object(examples);
        }
        let mut response =
            json!({ "description": meaning(status), "content": { "application/json": media } });
        response[CODES] = json!(codes);
        if matches!(status, 409 | 429 | 503) {
            response["headers"] = retry_after();
        }
        (status.to_string(), response)
    };
    named.into_iter().map(response).collect()
}

fn retry_after() -> Value {
    let description = "After how many seconds to send the request again, where that helps";
    json!({ "Retry-After": { "description": description, "schema": { "type": "integer" } } })
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "Something in the request is not as it must be",
        401 => "No credential, or none that is known",
        403 => "The credential may not do this",
        404 => "There is no such thing, or none that this credential may see",
        408 => "The body came too slowly",
        409 => "It cannot be done in the state that things are in",
        410 => "What it needs is not kept any more",
        413 => "The body is too large",
        415 => "The body is of no media type that is taken",
        422 => "The request was understood and is refused",
        429 => "Too much at once, or too much of what there is a quota for",
        500 => "The request failed; the log has the cause under its id",
        503 => "Not now: try again",
        _ => "An error",
    }
}

/// The statuses of errors at a front door, whose shape is the door's own.
fn of_door(route: &Route, has_body: bool) -> Vec<(u16, &'static str)> {
    let (verb, path) = (route.verb, route.path.as_str());
    let statuses: &[u16] = match (route.tag.as_str(), verb) {
        // What the store cannot do is an unexpected error there; a body that comes too slowly is one that cannot be read.
        ("authgear", "post") => &[400, 403, 413, 429, 500],
        ("authgear", _) => &[403, 404, 429, 500, 503],
        ("ccai", _) if path.ends_with("/upload") => &[400, 401, 403, 404, 408, 409, 413, 429, 500, 503],
        ("ccai", _) if path.ends_with("/proceed") => &[400, 401, 403, 404, 409, 429, 500, 503],
        ("ccai", _) if path.contains('{') => &[401, 403, 404, 429, 500, 503],
        ("ccai", _) if path.ends_with("/template") => &[401, 403, 429, 500, 503],
        // A list, page by page.
        ("ccai", _) => &[400, 401, 403, 429, 500, 503],
        ("bitcaster", _) if has_body => &[400, 401, 403, 404, 408, 413, 415, 429, 500, 503],
        ("bitcaster", _) if path.contains('{') => &[401, 403, 404, 429, 500, 503],
        _ => &[401, 403, 429, 500, 503],
    };
    statuses.iter().map(|status| (*status, meaning(*status))).collect()
}
