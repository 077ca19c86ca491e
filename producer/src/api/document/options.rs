//! What parameters may be: values, bounds and defaults from the tables that requests are read by.

use muster_domain::bulk::Action;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::import::{ChunkState, DeliveryState, ImportState};
use muster_domain::options as choices;
use muster_domain::parse::{Delimiter, Format, TextEncoding};
use muster_domain::planned::OnDrift;
use muster_domain::undo::UndoCode;
use serde_json::{Map, Value, json};

use super::schemas::reference;
use super::{Route, put};
use crate::api::params::MOST_WAIT;

/// The options of an upload, as parameters of its query.
pub(super) fn of_uploads(document: &Value) -> Vec<Value> {
    let parameters = &document["paths"]["/v1/imports"]["post"]["parameters"];
    let query = |parameter: &&Value| parameter["in"] == "query";
    parameters
        .as_array()
        .into_iter()
        .flatten()
        .filter(query)
        .map(|parameter| typed(parameter.clone(), None))
        .collect()
}

/// Says of each parameter of an operation what it may be.
pub(super) fn complete(route: &Route, operation: &mut Map<String, Value>, uploads: &[Value]) {
    if !route.is_native() && route.tag != "ccai" {
        return;
    }
    let given = operation.remove("parameters");
    let mut parameters: Vec<Value> = given.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
    parameters = parameters.into_iter().map(|parameter| typed(parameter, Some(route))).collect();
    if route.path == "/v1/inspect" {
        // The options of an import, all of them.
        parameters.retain(|parameter| parameter["in"] != "query");
        parameters.splice(0..0, uploads.iter().cloned());
    }
    if !parameters.is_empty() {
        put(operation, "parameters", Value::Array(parameters));
    }
}

/// The parameter with what is known of its values.
fn typed(mut parameter: Value, route: Option<&Route>) -> Value {
    let name = parameter["name"].as_str().unwrap_or_default().to_owned();
    let of_ccai = route.is_some_and(|route| route.tag == "ccai");
    let known = match parameter["in"].as_str() {
        // Jobs of the front door for CCAI Platform have numbers.
        Some("path") if name == "id" && !of_ccai => Some(json!({ "type": "string", "format": "uuid" })),
        Some("header") => header(&name),
        Some("query") if of_ccai => paged(route, &name),
        Some("query") => route.and_then(|route| of_route(route, &name)).or_else(|| schema(&name)),
        _ => None,
    };
    // What may be left out is not null: it is not there.
    let mut schema = known.unwrap_or_else(|| without_null(parameter["schema"].clone()));
    let told_apart = !mutant(Mutant::DefaultsInDocument);
    let default = schema.as_object_mut().filter(|_| told_apart).and_then(|schema| schema.remove("default"));
    if let Some(default) = default {
        let of_upload = route.is_none_or(|route| route.path == "/v1/imports" && route.verb == "post");
        let told = told_default(parameter["description"].as_str().unwrap_or_default(), &default, of_upload);
        parameter["description"] = Value::from(told);
    }
    parameter["schema"] = schema;
    parameter
}

/// The description of a parameter with its default. The schema has none: a generated client sends the default of a schema as if its
/// caller had set it, and what a caller sets counts more than what a profile says.
fn told_default(description: &str, default: &Value, of_upload: bool) -> String {
    let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
    let profile = if of_upload { ", if no profile says otherwise" } else { "" };
    let between = if description.is_empty() { "" } else { ". " };
    format!("{description}{between}Default: `{default}`{profile}")
}

fn without_null(mut schema: Value) -> Value {
    if let Some(types) = schema.get("type").and_then(Value::as_array) {
        let others: Vec<Value> = types.iter().filter(|kind| *kind != "null").cloned().collect();
        if let [only] = others.as_slice() {
            schema["type"] = only.clone();
        }
    }
    schema
}

fn header(name: &str) -> Option<Value> {
    Some(match name {
        "Idempotency-Key" => json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
        "Content-Encoding" => json!({ "type": "string", "enum": ["identity", "gzip", "zstd"] }),
        "Prefer" => json!({ "type": "string", "examples": ["respond-async", "wait=30"] }),
        _ => return None,
    })
}

/// A number from 1 to `most`.
fn limit(default: u16, most: u16) -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": most, "default": default })
}

/// Pages of the front door for CCAI Platform.
fn paged(route: Option<&Route>, name: &str) -> Option<Value> {
    let of_users = route.is_some_and(|route| route.path.ends_with("/users"));
    match name {
        "page" => Some(json!({ "type": "integer", "format": "int64", "minimum": 1, "default": 1 })),
        "per_page" if of_users => Some(limit(100, 1_000)),
        "per_page" => Some(limit(20, 100)),
        _ => None,
    }
}

/// Parameters that mean something else on each route.
fn of_route(route: &Route, name: &str) -> Option<Value> {
    Some(match (route.path.as_str(), route.verb, name) {
        ("/v1/imports", "get", "limit") => limit(50, 200),
        ("/v1/imports", "get", "after" | "before") => json!({ "type": "string", "format": "uuid" }),
        ("/v1/imports", "get", "state") | ("/v1/bulk", "post", "state") => {
            one_of(ImportState::ALL, ImportState::as_str)
        }
        ("/v1/bulk", "post", "action") => one_of(Action::ALL, Action::as_str),
        ("/v1/imports", "get", "idempotency_key") => {
            json!({ "type": "string", "minLength": 1, "maxLength": 255 })
        }
        ("/v1/imports/{id}/records", "get", "limit") => limit(100, 1_000),
        ("/v1/imports/{id}/records", "get", "after") => {
            json!({ "type": "integer", "format": "int64", "minimum": 0 })
        }
        ("/v1/imports/{id}/records", "get", "outcome") => {
            json!({ "type": "string", "enum": ["pending", "inserted", "updated", "skipped", "failed"] })
        }
        ("/v1/imports/{id}/chunks" | "/v1/imports/{id}/events" | "/v1/events", "get", "limit") => {
            limit(100, 1_000)
        }
        ("/v1/imports/{id}/chunks" | "/v1/imports/{id}/events" | "/v1/events", "get", "after") => {
            json!({ "type": "integer", "format": "int64", "minimum": 0 })
        }
        ("/v1/imports/{id}/plan/changes", "get", "limit") => limit(100, 1_000),
        ("/v1/imports/{id}/plan/changes", "get", "outcome") => {
            json!({ "type": "string", "enum": ["inserted", "updated", "skipped", "failed"] })
        }
        ("/v1/imports/{id}/proceed", "post", "on_drift") => choice(OnDrift::ALL, OnDrift::as_str),
        ("/v1/imports/{id}/problems", "get", "limit") => limit(20, 200),
        ("/v1/users", "get", "limit") => limit(100, 1_000),
        ("/v1/users", "get", "after") => json!({ "type": "string", "format": "uuid" }),
        ("/v1/users", "get", "email") => json!({ "type": "string", "examples": ["ada@example.com"] }),
        ("/v1/users", "get", "phone_number") => json!({ "type": "string", "examples": ["+390669821234"] }),
        ("/v1/users" | "/v1/users/export", "get", "updated_since") => {
            json!({ "type": "string", "format": "date-time" })
        }
        ("/v1/users/export", "get", "format") => {
            json!({ "type": "string", "enum": ["csv", "ndjson"], "default": "csv" })
        }
        ("/v1/imports/{id}/undo", "post", "code") => {
            json!({ "type": "string", "enum": UndoCode::ALL.map(UndoCode::as_str) })
        }
        // Of the failed records, wherever they are asked for.
        (_, _, "code") => reference("ErrorCode"),
        ("/v1/imports/{id}/undo", "post", "outcome") => {
            json!({ "type": "string", "enum": ["inserted", "updated"] })
        }
        ("/v1/imports/{id}/undo", "post", "records") => {
            json!({ "type": "string", "minLength": 1, "examples": ["7,100-200"] })
        }
        ("/v1/imports/{id}/undo", "post", "field") => {
            json!({ "type": "string", "minLength": 1, "examples": ["given_name,locked"] })
        }
        ("/v1/imports/{id}/chunks", "get", "state") => one_of(ChunkState::ALL, ChunkState::as_str),
        ("/v1/users/{id}/history" | "/v1/webhooks/{id}/deliveries" | "/v1/audit", "get", "limit") => {
            limit(50, 200)
        }
        ("/v1/webhooks/{id}/deliveries", "get", "after") => json!({ "type": "string", "format": "uuid" }),
        ("/v1/webhooks/{id}/deliveries", "get", "state") => one_of(DeliveryState::ALL, DeliveryState::as_str),
        ("/v1/webhooks/{id}/secret", "delete", "which") => {
            json!({ "type": "string", "enum": ["old", "new"], "default": "old" })
        }
        ("/v1/audit", "get", "after") => json!({ "type": "integer", "format": "int64", "minimum": 0 }),
        (_, _, "wait") => {
            let description = format!("At most {} seconds", MOST_WAIT.as_secs());
            json!({ "type": "string", "pattern": "^[0-9]+(s|ms)?$", "description": description, "examples": ["30s"] })
        }
        _ => return None,
    })
}

fn one_of<T: Copy>(all: &[T], text: fn(T) -> &'static str) -> Value {
    let values: Vec<&str> = all.iter().map(|value| text(*value)).collect();
    json!({ "type": "string", "enum": values })
}

/// One of the values, and the one that counts where none is given.
fn choice<T: Copy + Default>(all: &[T], text: fn(T) -> &'static str) -> Value {
    let mut schema = one_of(all, text);
    schema["default"] = Value::from(text(T::default()));
    schema
}

fn and_auto(mut schema: Value) -> Value {
    if let Some(values) = schema["enum"].as_array_mut() {
        values.push(Value::from("auto"));
    }
    schema
}

/// What an option of an upload may be.
pub(super) fn schema(name: &str) -> Option<Value> {
    use choices::{
        Dates, Duplicates, EmptyCell, FullNames, HeaderNames, IdentifierField, MetadataMode, OnExisting,
        OnInvalid, OnInvalidValue, PhoneCheck, Rows, Sets, Start, UnknownColumns, UnknownNames, Usernames,
        Values,
    };
    Some(match name {
        "format" => one_of(&Format::ALL, Format::as_str),
        "identifier" => choice(IdentifierField::ALL, IdentifierField::as_str),
        "on_existing" => choice(OnExisting::ALL, OnExisting::as_str),
        "metadata" => choice(MetadataMode::ALL, MetadataMode::as_str),
        "organization" => {
            json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", "examples": ["acme"] })
        }
        "group" => json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
        "start" => choice(Start::ALL, Start::as_str),
        "on_invalid" => choice(OnInvalid::ALL, OnInvalid::as_str),
        "unknown_columns" => choice(UnknownColumns::ALL, UnknownColumns::as_str),
        "header_names" => {
            let mut schema = one_of(HeaderNames::ALL, HeaderNames::as_str);
            schema["default"] = Value::from("common");
            schema
        }
        "at" => {
            json!({ "type": "string", "minLength": 1, "maxLength": 1024, "examples": ["users", "/realm/users"] })
        }
        "skip_lines" => {
            json!({ "type": "string", "pattern": "^(auto|[0-9]{1,4})$", "examples": ["auto", "2"] })
        }
        "empty_cells" => choice(EmptyCell::ALL, EmptyCell::as_str),
        "rows" => choice(Rows::ALL, Rows::as_str),
        "columns" => json!({ "type": "string", "examples": ["E-Mail=email,Abteilung=custom__department"] }),
        "behaviours" => json!({ "type": "string", "examples": ["given_name=ignore"] }),
        "sets" => choice(Sets::ALL, Sets::as_str),
        "values" => one_of(Values::ALL, Values::as_str),
        "unknown_names" => choice(UnknownNames::ALL, UnknownNames::as_str),
        "duplicates" => choice(Duplicates::ALL, Duplicates::as_str),
        "phone_check" => choice(PhoneCheck::ALL, PhoneCheck::as_str),
        "phone_country" => json!({ "type": "string", "pattern": "^[A-Za-z]{2}$", "examples": ["DE"] }),
        "dates" => choice(Dates::ALL, Dates::as_str),
        "full_names" => choice(FullNames::ALL, FullNames::as_str),
        "on_invalid_value" => choice(OnInvalidValue::ALL, OnInvalidValue::as_str),
        "usernames" => choice(Usernames::ALL, Usernames::as_str),
        "default_address" => json!({ "type": "boolean", "default": false }),
        "delimiter" => and_auto(one_of(&Delimiter::ALL, Delimiter::as_str)),
        "encoding" => and_auto(one_of(&TextEncoding::ALL, TextEncoding::as_str)),
        "profile" => json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
        "brake" => json!({ "type": "integer", "minimum": 0, "maximum": 100, "default": 50 }),
        "sheet" => json!({ "type": "string", "minLength": 1, "examples": ["1", "Users"] }),
        "list_separator" => json!({ "type": "string", "enum": ["comma", "semicolon", "pipe"] }),
        "null_words" => json!({ "type": "string", "examples": ["NULL,N/A"] }),
        "mends" => json!({ "type": "string", "format": "uuid" }),
        "filename" => json!({ "type": "string", "maxLength": 255, "examples": ["users.csv"] }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::OPTIONS;

    #[test]
    fn every_option_of_an_upload_says_what_it_may_be() {
        for name in OPTIONS {
            assert!(schema(name).is_some(), "{name}");
        }
    }
}
