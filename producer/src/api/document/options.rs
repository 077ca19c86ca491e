//! The schemas of parameters: values, bounds and defaults from the tables by which requests are parsed.

use muster_domain::bulk::Action;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::import::{ChunkState, DeliveryState, ImportState};
use muster_domain::options::ChoiceValue;
use muster_domain::planned::OnDrift;
use muster_domain::request::{ImportOption, Kind, OPTIONS, Text, Usual};
use muster_domain::undo::UndoCode;
use serde_json::{Map, Value, json};

use super::{Route, put, reference};
use crate::api::params::MOST_WAIT;

/// The options of an upload, as parameters of its query: the rows of the table.
pub(super) fn of_uploads() -> Vec<Value> {
    OPTIONS.iter().map(parameter).collect()
}

fn parameter(option: &ImportOption) -> Value {
    let given = json!({
        "name": option.name, "in": "query", "description": meaning(option), "required": false, "schema": schema(option),
    });
    with_default_told(given, true)
}

/// What an option is for, and what each of its values does.
fn meaning(option: &ImportOption) -> String {
    let mut told = option.meaning.to_owned();
    match option.kind {
        Kind::Choice(values) => {
            for ChoiceValue { name, meaning } in values {
                told.push_str(&format!(
                    "{} `{name}`: {}",
                    if told.ends_with('.') { "" } else { "." },
                    meaning
                ));
            }
            let length = told.trim_end_matches('.').len();
            told.truncate(length);
        }
        Kind::Pairs(example) => {
            told.push_str(&format!(". Pairs with commas between them, `{example}`, or a JSON object"))
        }
        _ => {}
    }
    if let Usual::Told(way) = option.usual {
        told.push_str(&format!(". Default: {way}"));
    }
    told
}

/// Says of each parameter of an operation what it may be.
pub(super) fn complete(route: &Route, operation: &mut Map<String, Value>, uploads: &[Value]) {
    if !route.is_native() && route.tag != "ccai" {
        return;
    }
    let given = operation.remove("parameters");
    let mut parameters: Vec<Value> = given.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
    parameters = parameters.into_iter().map(|parameter| typed(parameter, route)).collect();
    if route.path == "/v1/inspect" || (route.path == "/v1/imports" && route.verb == "post") {
        parameters.splice(0..0, uploads.iter().cloned());
    }
    if !parameters.is_empty() {
        put(operation, "parameters", Value::Array(parameters));
    }
}

/// The parameter with the schema of its values.
fn typed(mut parameter: Value, route: &Route) -> Value {
    let name = parameter["name"].as_str().unwrap_or_default().to_owned();
    let of_ccai = route.tag == "ccai";
    let known = match parameter["in"].as_str() {
        // Jobs of the front door for CCAI Platform have numbers.
        Some("path") if name == "id" && !of_ccai => Some(json!({ "type": "string", "format": "uuid" })),
        Some("header") => header(&name),
        Some("query") if of_ccai => paged(route, &name),
        Some("query") => of_route(route, &name).or_else(|| of_option(&name)),
        _ => None,
    };
    // What may be left out is not null: it is not there.
    parameter["schema"] = known.unwrap_or_else(|| without_null(parameter["schema"].clone()));
    with_default_told(parameter, false)
}

/// What the option of this name may be; a parameter of another route that is called as it is may be the same.
pub(super) fn of_option(name: &str) -> Option<Value> {
    ImportOption::find(name).map(schema)
}

fn with_default_told(mut parameter: Value, of_upload: bool) -> Value {
    let told_apart = !mutant(Mutant::DefaultsInDocument);
    let schema = parameter["schema"].as_object_mut().filter(|_| told_apart);
    if let Some(default) = schema.and_then(|schema| schema.remove("default")) {
        let told = told_default(parameter["description"].as_str().unwrap_or_default(), &default, of_upload);
        parameter["description"] = Value::from(told);
    }
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
fn paged(route: &Route, name: &str) -> Option<Value> {
    let of_users = route.path.ends_with("/users");
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
        ("/v1/users", "get", "preferred_username") => json!({ "type": "string", "examples": ["ada"] }),
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
        (_, _, "field") => json!({ "type": "string", "examples": ["email"] }),
        ("/v1/bulk", "post", "older_than" | "newer_than") => {
            json!({ "type": "string", "examples": ["30min", "12h", "7d"] })
        }
        ("/v1/bulk", "post", "file") => json!({ "type": "string", "examples": ["users.csv"] }),
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

/// One of the values, and the default.
fn choice<T: Copy + Default>(all: &[T], text: fn(T) -> &'static str) -> Value {
    let mut schema = one_of(all, text);
    schema["default"] = Value::from(text(T::default()));
    schema
}

/// What an option of an upload may be.
fn schema(option: &ImportOption) -> Value {
    let mut schema = match option.kind {
        Kind::Choice(values) => {
            let names: Vec<&str> = values.iter().map(|value| value.name).collect();
            json!({ "type": "string", "enum": names })
        }
        Kind::Number(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::YesNo => json!({ "type": "boolean" }),
        Kind::Slug => {
            json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", "examples": ["acme"] })
        }
        Kind::Id => json!({ "type": "string", "format": "uuid" }),
        Kind::Pairs(example) => json!({ "type": "string", "examples": [example] }),
        Kind::Text(text) => text_schema(text),
    };
    if let Usual::Value(value) = option.usual {
        // A number or a yes or no is one in JSON, too.
        schema["default"] = match option.kind {
            Kind::Number(..) | Kind::YesNo => {
                serde_json::from_str(value).unwrap_or_else(|_| Value::from(value))
            }
            _ => Value::from(value),
        };
    }
    schema
}

fn text_schema(text: Text) -> Value {
    let mut schema = json!({ "type": "string" });
    let bounds = [
        ("minLength", text.least.map(Value::from)),
        ("maxLength", text.most.map(Value::from)),
        ("pattern", text.pattern.map(Value::from)),
        ("examples", (!text.examples.is_empty()).then(|| Value::from(text.examples))),
    ];
    for (bound, value) in bounds {
        if let Some(value) = value {
            schema[bound] = value;
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_an_upload_says_what_it_may_be_and_what_it_does() {
        for option in of_uploads() {
            assert!(option["schema"]["type"].is_string(), "{option}");
            assert!(option["schema"].get("default").is_none(), "{option}");
            assert!(option["description"].as_str().is_some_and(|told| told.len() > 10), "{option}");
        }
        let on_existing = ImportOption::find("on_existing").map(parameter).unwrap();
        let told = on_existing["description"].as_str().unwrap();
        assert!(told.starts_with(
            "What happens to existing users. `skip`: Nothing: the record is skipped. `update`: "
        ));
        assert!(told.ends_with(". Default: `update`, if no profile says otherwise"), "{told}");
    }
}
