//! Which errors a route can give, with one of each as an example.

use std::collections::BTreeMap;

use muster_domain::error::ErrorCode;
use serde_json::{Map, Value, json};

use super::Route;
use crate::api::error::ApiError;

/// Gives an operation its errors instead of one answer for all.
pub(super) fn complete(route: &Route, operation: &mut Map<String, Value>) {
    let has_body = operation.contains_key("requestBody");
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    let told = responses.remove("default");
    if route.is_open() {
        return;
    }
    if route.is_native() {
        for (status, response) in native(&codes(route, has_body)) {
            responses.entry(status).or_insert(response);
        }
        return;
    }
    let content = told.as_ref().and_then(|told| told.get("content")).cloned().unwrap_or_else(|| json!({}));
    for (status, description) in of_door(route, has_body) {
        let response = || json!({ "description": description, "content": content });
        responses.entry(status.to_string()).or_insert_with(response);
    }
}

/// The codes of errors that a route of Muster's own can give.
fn codes(route: &Route, has_body: bool) -> Vec<ErrorCode> {
    use ErrorCode as E;
    let mut codes = vec![
        E::InvalidRequest,
        E::Unauthorized,
        E::Forbidden,
        E::TenantDisabled,
        E::RateLimited,
        E::RequestTimeout,
        E::Unavailable,
        E::NewerVersion,
        E::Internal,
    ];
    if route.path.contains('{') {
        codes.push(E::NotFound);
    }
    // What is done with an import depends on its state.
    if route.verb != "get" && route.path.contains("{id}") && route.tag != "webhooks" {
        codes.push(E::StateConflict);
    }
    if has_body {
        codes.extend([E::UploadTimeout, E::UploadTooLarge, E::UnsupportedMediaType]);
    }
    if route.verb == "get" && route.path.contains("/plan") {
        codes.push(E::NoPlan);
    }
    match (route.verb, route.path.as_str()) {
        ("post", "/v1/imports") => codes.extend([
            E::CsvUnclosedQuote,
            E::MultipartInvalid,
            E::IdempotencyInProgress,
            E::IdempotencyMismatch,
            E::InvalidRecords,
            E::TooManyImports,
            E::QuotaExceeded,
        ]),
        ("post", "/v1/imports/{id}/undo") => {
            codes.extend([E::NotApplied, E::AlreadyUndone, E::BeforeImagesGone]);
        }
        ("post", "/v1/webhooks") => codes.extend([E::WebhookTargetRefused, E::TooManyWebhooks]),
        ("patch", "/v1/webhooks/{id}") => codes.push(E::WebhookTargetRefused),
        ("post" | "delete", "/v1/webhooks/{id}/secret") => codes.push(E::StateConflict),
        ("put", "/v1/catalog") => codes.push(E::StateConflict),
        _ => {}
    }
    codes
}

/// One response a status, with an example of each of its codes.
fn native(codes: &[ErrorCode]) -> BTreeMap<String, Value> {
    let mut examples: BTreeMap<u16, Map<String, Value>> = BTreeMap::new();
    for error in ApiError::samples() {
        let (status, code) = error.status();
        if codes.contains(&code) {
            let body = error.body("0190a5f0-7b7c-7000-8000-00000000000a");
            let example = json!({ "summary": code.to_string(), "value": body });
            examples.entry(status.as_u16()).or_default().insert(code.to_string(), example);
        }
    }
    let response = |(status, examples): (u16, Map<String, Value>)| {
        let mut response = json!({
            "description": meaning(status),
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/ErrorBody" }, "examples": examples } },
        });
        if matches!(status, 409 | 429 | 503) {
            response["headers"] = json!({ "Retry-After": {
                "description": "After how many seconds to send the request again, where that helps", "schema": { "type": "integer" } } });
        }
        (status.to_string(), response)
    };
    examples.into_iter().map(response).collect()
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
    let mut statuses: Vec<u16> = match route.tag.as_str() {
        "authgear" => vec![403, 429, 500, 503],
        _ => vec![401, 403, 429, 500, 503],
    };
    let may_be_missing =
        route.path.contains('{') || route.path.ends_with("/proceed") || route.path.ends_with("/upload");
    if may_be_missing {
        statuses.push(404);
    }
    if has_body {
        statuses.extend([400, 413]);
    }
    match (route.tag.as_str(), route.verb) {
        ("ccai", "post" | "put") => statuses.extend([408, 409, 415]),
        ("ccai", _) => statuses.push(400),
        ("bitcaster", "post" | "put" | "patch") if has_body => statuses.extend([408, 415]),
        _ => {}
    }
    statuses.into_iter().map(|status| (status, meaning(status))).collect()
}
