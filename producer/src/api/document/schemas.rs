//! Schemas of the domain's types. The domain does not depend on OpenAPI, so they are written here, and a test
//! compares them with actual responses.

use muster_domain::bulk::Action;
use muster_domain::error::ErrorCode;
use muster_domain::import::{ChunkState, DeliveryState, ImportState};
use muster_domain::options::{AddressClash, ImportOptions};
use muster_domain::parse::{Delimiter, Format, TextEncoding};
use muster_domain::progress::WaitsFor;
use serde_json::{Map, Value, json};

use super::{options, reference};

fn list_of(name: &str) -> Value {
    json!({ "type": "array", "items": reference(name) })
}

fn or_null(name: &str) -> Value {
    json!({ "oneOf": [{ "type": "null" }, reference(name)] })
}

/// An object of these properties; those that are not named as optional are required.
pub(super) fn object(description: &str, properties: Value, optional: &[&str]) -> Value {
    let names = properties.as_object().into_iter().flat_map(Map::keys);
    let required: Vec<&String> = names.filter(|name| !optional.contains(&name.as_str())).collect();
    json!({ "type": "object", "description": description, "properties": properties, "required": required })
}

pub(super) fn any(description: &str) -> Value {
    json!({ "type": "object", "description": description, "additionalProperties": true })
}

fn count() -> Value {
    json!({ "type": "integer", "format": "int64", "minimum": 0 })
}

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

fn moment() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

pub(super) fn nullable(schema: Value) -> Value {
    let mut schema = schema;
    schema["type"] = json!([schema["type"].clone(), "null"]);
    schema
}

pub(super) fn texts<'t>(values: impl IntoIterator<Item = &'t str>) -> Value {
    json!({ "type": "string", "enum": values.into_iter().collect::<Vec<_>>() })
}

/// Adds the domain's shapes, and says of the properties of others which of them they are.
pub(super) fn complete(schemas: &mut Map<String, Value>) {
    for (name, schema) in
        shared().into_iter().chain(imports()).chain(progress()).chain(catalog()).chain(inspection())
    {
        schemas.insert(name.to_owned(), schema);
    }
    let properties: [(&str, &str, Value); 30] = [
        ("ImportView", "state", reference("ImportState")),
        ("ImportView", "encoding", or_null("TextEncoding")),
        ("ImportView", "delimiter", or_null("Delimiter")),
        ("ImportView", "options", reference("ImportOptions")),
        ("ImportView", "counts", reference("Counts")),
        ("ImportView", "chunks", reference("ChunkCounts")),
        ("ImportView", "error", or_null("FileError")),
        ("ImportView", "progress", or_null("Progress")),
        ("MemberView", "state", reference("ImportState")),
        ("ChunkView", "state", texts(ChunkState::ALL.iter().map(|state| state.as_str()))),
        ("ChunkView", "counts", reference("Counts")),
        (
            "EventView",
            "data",
            any("Of an import `state` and `from`; of a chunk `chunk`, `lane` and `problem`"),
        ),
        ("RecordView", "outcome", reference("Outcome")),
        ("RecordView", "reason", or_null("Reason")),
        ("RecordView", "errors", list_of("RecordError")),
        ("UserList", "users", list_of("User")),
        ("ErrorDetail", "code", reference("ErrorCode")),
        ("ErrorDetail", "state", or_null("ImportState")),
        ("ErrorDetail", "errors", list_of("FieldError")),
        ("ProblemList", "problems", list_of("ImportProblem")),
        ("ProblemList", "warnings", list_of("ImportWarning")),
        ("PlanView", "state", reference("ImportState")),
        ("PlanView", "counts", reference("Counts")),
        ("PlannedView", "outcome", reference("Outcome")),
        ("PlannedView", "reason", or_null("Reason")),
        ("PlannedView", "errors", list_of("RecordError")),
        ("UndoPreview", "refused", or_null("ErrorCode")),
        ("DeliveryView", "state", texts(DeliveryState::ALL.iter().map(|state| state.as_str()))),
        ("ProfileView", "options", any("Options by name, as an upload takes them")),
        ("AuthgearDetail", "record", any("The record as it was sent, secrets redacted")),
    ];
    for (name, property, schema) in properties.into_iter().chain(words()) {
        let there =
            schemas.get_mut(name).and_then(|schema| schema.pointer_mut(&format!("/properties/{property}")));
        if let Some(there) = there {
            let description = there.get("description").cloned();
            *there = schema;
            if let (Some(description), Some(there)) = (description, there.as_object_mut()) {
                there.insert("description".into(), description);
            }
        }
    }
    for schema in schemas.values_mut() {
        free_objects(schema);
    }
}

/// Texts of answers that are one of a few words.
fn words() -> Vec<(&'static str, &'static str, Value)> {
    let parts: [(&'static str, &'static str, &'static [&'static str]); 11] = [
        ("BulkView", "state", &["preview", "running", "done", "aborted"]),
        ("EventView", "kind", &["import", "chunk_dead"]),
        ("HistoryEntry", "kind", &["inserted", "updated", "deleted"]),
        ("HistoryEntry", "by", &["import", "undo", "request"]),
        ("PlanWarning", "code", &["many_users", "email_domains", "roles_removed", "users_disabled"]),
        ("Readiness", "status", &["ready", "degraded", "unavailable"]),
        ("Readiness", "store", &["ok", "read_only", "unreachable"]),
        ("Readiness", "queue", &["ok", "blocked", "unreachable"]),
        ("Readiness", "uploads", &["ok", "busy"]),
        ("Readiness", "dispatcher", &["ok", "stalled"]),
        ("Readiness", "imports", &["ok", "stalled", "unknown"]),
    ];
    let word = |(name, property, values): (&'static str, &'static str, &'static [&'static str])| {
        (name, property, texts(values.iter().copied()))
    };
    let action = ("BulkView", "action", texts(Action::ALL.iter().map(|action| action.as_str())));
    parts.into_iter().map(word).chain([action]).collect()
}

/// An object without properties may contain anything. The schema says so explicitly, so that it is not taken for an empty object.
fn free_objects(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let bare = fields.get("type").is_some_and(is_object)
                && !["properties", "additionalProperties", "oneOf", "allOf", "anyOf"]
                    .iter()
                    .any(|key| fields.contains_key(*key));
            if bare {
                fields.insert("additionalProperties".into(), Value::Bool(true));
            }
            fields.values_mut().for_each(free_objects);
        }
        Value::Array(items) => items.iter_mut().for_each(free_objects),
        _ => {}
    }
}

fn is_object(kind: &Value) -> bool {
    kind == "object" || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "object"))
}

fn user() -> Value {
    let fields = json!({
        "id": { "type": "string", "format": "uuid" },
        "email": nullable(text()), "phone_number": nullable(text()), "preferred_username": nullable(text()),
        "given_name": nullable(text()), "family_name": nullable(text()),
        "metadata": any("Custom metadata, empty for none"),
        "memberships": list_of("Membership"),
        "version": { "type": "integer", "minimum": 1 },
        "email_verified": { "type": "boolean" }, "phone_number_verified": { "type": "boolean" },
        "roles": { "type": "array", "items": text() }, "groups": { "type": "array", "items": text() },
        "teams": { "type": "array", "items": text() }, "location": nullable(text()),
        "disabled": { "type": "boolean" }, "disabled_at": nullable(moment()),
        "account_valid_from": nullable(moment()), "account_valid_until": nullable(moment()),
        "locked": { "type": "boolean" }, "mfa": reference("SecondFactors"),
        "addresses": { "type": "object", "description": "By name", "additionalProperties": reference("UserAddress") },
        "agent": any("Fields of a contact-centre agent, by name; empty for none"),
        "created_at": moment(), "updated_at": moment(),
    });
    let mut user =
        object("A user. Other standard attributes have their own names beside these fields", fields, &[]);
    user["additionalProperties"] = Value::Bool(true);
    user
}

fn shared() -> Vec<(&'static str, Value)> {
    let codes = ErrorCode::ALL.iter().map(|code| code.to_string()).collect::<Vec<_>>();
    vec![
        (
            "ErrorCode",
            json!({ "type": "string", "enum": codes, "description": "What went wrong, for programs" }),
        ),
        (
            "FieldError",
            object(
                "One error of a request",
                json!({ "code": reference("ErrorCode"), "field": text(), "message": text() }),
                &[],
            ),
        ),
        ("User", user()),
        (
            "Membership",
            object(
                "That a user is in an organization",
                json!({ "organization": text(), "group": nullable(text()) }),
                &[],
            ),
        ),
        (
            "SecondFactors",
            object(
                "Where one-time codes of a user go",
                json!({ "email": nullable(text()), "phone_number": nullable(text()) }),
                &[],
            ),
        ),
        (
            "UserAddress",
            object(
                "An address to reach a user at",
                json!({ "type": texts(["phone", "email", "GENERIC"]), "value": text() }),
                &[],
            ),
        ),
    ]
}

fn imports() -> Vec<(&'static str, Value)> {
    let counts = ["total", "pending", "inserted", "updated", "skipped", "failed"];
    let chunks = ["staged", "dispatched", "retryable", "planned", "applied", "dead", "cancelled"];
    let numbers =
        |names: &[&str]| Value::Object(names.iter().map(|name| ((*name).to_owned(), count())).collect());
    let place = json!({ "code": reference("ErrorCode"), "message": text(), "record": count(), "line": count(), "column": count(), "field": text() });
    let first = list_of("ImportPlace");
    let line = json!({ "record": count(), "line": nullable(count()) });
    let problem = json!({ "code": text(), "field": nullable(text()), "count": count(), "message": text(),
                          "example": nullable(text()), "advice": nullable(text()), "first": first });
    let warning = json!({ "message": text(), "count": count(), "first": first });
    let record_error = json!({
        "code": reference("ErrorCode"), "field": text(), "message": text(), "user_id": { "type": "string", "format": "uuid" },
    });
    vec![
        ("ImportState", texts(ImportState::ALL.iter().map(|state| state.as_str()))),
        ("TextEncoding", texts(TextEncoding::ALL.iter().map(|encoding| encoding.as_str()))),
        ("Delimiter", texts(Delimiter::ALL.iter().map(|delimiter| delimiter.as_str()))),
        ("Format", texts(Format::ALL.iter().map(|format| format.as_str()))),
        ("Outcome", texts(["pending", "inserted", "updated", "skipped", "failed"])),
        ("Reason", texts(["exists", "unchanged", "cancelled", "enrolled", "superseded"])),
        (
            "Counts",
            object("Outcomes of records. They add up to the total at every moment", numbers(&counts), &[]),
        ),
        ("ChunkCounts", object("Chunks by state", numbers(&chunks), &[])),
        ("FileError", object("An error of a whole file", place, &["record", "line", "column", "field"])),
        ("RecordError", object("An error of one record", record_error, &["field", "user_id"])),
        ("ImportOptions", import_options()),
        (
            "ImportPlace",
            object("A record's place; its line is not known once the records are gone", line, &[]),
        ),
        ("ImportProblem", object("Failures with one cause", problem, &[])),
        ("ImportWarning", object("Warnings with one text", warning, &[])),
    ]
}

/// The progress of an import (shared/domain/src/progress.rs).
fn progress() -> [(&'static str, Value); 3] {
    let waits = WaitsFor::ALL.into_iter().map(|waits| json!(waits));
    let progress = json!({
        "no_progress_since": nullable(moment()), "stalled": { "type": "boolean" },
        "rate": { "type": ["number", "null"], "description": "Records a second over the last minute" },
        "ends_at": nullable(moment()), "problem": or_null("ProgressProblem"),
        "waits_for": { "type": ["string", "null"], "enum": waits.chain([Value::Null]).collect::<Vec<_>>() },
        "ahead": count(), "window": reference("Window"),
    });
    let problem = json!({
        "message": text(), "at": nullable(moment()), "since": nullable(moment()), "chunks": count(), "attempts": count(),
        "next_try_at": nullable(moment()),
    });
    let window = json!({ "import": count(), "tenant": count(), "used": count(), "size": count() });
    [
        ("Progress", object("The progress of an import that has not ended", progress, &[])),
        (
            "ProgressProblem",
            object("What its chunks met last, and since when they are in trouble", problem, &[]),
        ),
        (
            "Window",
            object(
                "Places of chunks that are with the workers: the import's, the tenant's, all, and how many there are",
                window,
                &[],
            ),
        ),
    ]
}

/// What an import was asked to do. Options that say what they say anyway are left out.
fn import_options() -> Value {
    let mut properties = Map::new();
    for name in ImportOptions::NAMES {
        let mut schema = options::of_option(name).unwrap_or_else(text);
        // What an import was asked to do is what it was asked to do.
        if let Some(fields) = schema.as_object_mut() {
            fields.remove("default");
        }
        properties.insert((*name).to_owned(), schema);
    }
    properties.insert("address_clash".into(), texts(AddressClash::ALL.iter().map(|clash| clash.as_str())));
    properties.insert("empty_file".into(), texts(["accept", "refuse"]));
    let rules = json!({ "type": "array", "description": "What the names of the upload mean, where they are not Muster's own",
                        "items": any("A name, its field, and what it does to a user that exists") });
    properties.insert("fields".into(), rules);
    properties.insert("default_address".into(), json!({ "type": "boolean" }));
    properties.insert("null_words".into(), json!({ "type": "array", "items": text() }));
    properties.insert(
        "enrolment".into(),
        any("Organization and group that the users are enrolled in, by their numbers"),
    );
    properties.insert("undo".into(), any("The import that is undone, and how much of it"));
    json!({ "type": "object", "description": "What an import was asked to do; what goes without saying is left out",
            "properties": properties, "required": ["format", "identifier", "on_existing"], "additionalProperties": true })
}

fn catalog() -> Vec<(&'static str, Value)> {
    let names = || json!({ "type": "array", "items": { "type": "string", "minLength": 1, "maxLength": 255 }, "maxItems": 10_000 });
    let kind = |kind: &str, more: Value| {
        let mut properties = json!({ "type": { "type": "string", "const": kind } });
        if let (Some(properties), Some(more)) = (properties.as_object_mut(), more.as_object()) {
            properties.extend(more.clone());
        }
        json!({ "type": "object", "properties": properties, "required": ["type"], "additionalProperties": false })
    };
    let bounds = |number: &str| json!({ "minimum": { "type": number }, "maximum": { "type": number } });
    let mut one_of_texts =
        kind("enum", json!({ "values": { "type": "array", "items": text(), "minItems": 1 } }));
    one_of_texts["required"] = json!(["type", "values"]);
    let attribute = json!({
        "description": "What the values of a custom attribute must be",
        "oneOf": [
            kind("string", json!({})), kind("number", bounds("number")), kind("integer", bounds("integer")), one_of_texts,
            kind("phone_number", json!({})), kind("email", json!({})), kind("url", json!({})), kind("country_code", json!({})),
        ],
    });
    let whole = json!({
        "organizations": { "type": "array", "items": reference("Organization"), "maxItems": 10_000 },
        "groups": names(), "roles": names(), "teams": names(), "locations": names(),
        "custom_attributes": { "type": "object", "description": "By name", "additionalProperties": reference("AttributeDefinition") },
        "limits": reference("CatalogLimits"),
    });
    let all = ["organizations", "groups", "roles", "teams", "locations", "custom_attributes", "limits"];
    let mut catalog = object("What a tenant knows by name. What is left out is empty", whole, &all);
    catalog["additionalProperties"] = Value::Bool(false);
    let limits = json!({ "max_chat_limit": { "type": "integer", "format": "int64", "minimum": 0, "maximum": u32::MAX } });
    let slug =
        json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", "examples": ["acme"] });
    vec![
        ("Catalog", catalog),
        ("Organization", object("An organization of a tenant", json!({ "slug": slug, "name": text() }), &[])),
        ("AttributeDefinition", attribute),
        (
            "CatalogLimits",
            object("Limits of a tenant. What is not set does not limit", limits, &["max_chat_limit"]),
        ),
    ]
}

fn inspection() -> Vec<(&'static str, Value)> {
    let report = json!({
        "format": reference("Format"), "encoding": reference("TextEncoding"), "encoding_known": text(),
        "delimiter": texts(["comma", "semicolon", "tab", "pipe"]), "sheet": text(), "profile": text(),
        "skipped": { "type": "array", "items": text() }, "skipped_lines": count(), "bytes": count(), "records": count(), "invalid": count(),
        "columns": list_of("InspectedColumn"),
        "first": { "type": "array", "description": "The first records: field and value",
                   "items": { "type": "array", "items": { "type": "array", "items": text(), "minItems": 2, "maxItems": 2 } } },
        "problems": list_of("InspectedProblem"), "days": texts(["iso", "dmy", "mdy", "unproved", "mixed"]), "needs_catalog": { "type": "boolean" }, "refused": reference("FileError"),
    });
    let problem = json!({ "code": reference("ErrorCode"), "field": text(), "count": count(), "message": text(),
                          "first": list_of("InspectedPlace") });
    vec![
        (
            "Inspection",
            object(
                "What a file is and holds",
                report,
                &["delimiter", "sheet", "profile", "skipped", "skipped_lines", "refused"],
            ),
        ),
        (
            "InspectedColumn",
            object("A column or key", json!({ "name": text(), "field": text(), "by": text() }), &["field"]),
        ),
        ("InspectedProblem", object("Failures or warnings with one cause", problem, &["code", "field"])),
        ("InspectedPlace", object("A record's place", json!({ "record": count(), "line": count() }), &[])),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use muster_domain::catalog::Catalog;
    use muster_domain::error::{FileError, RecordError};
    use muster_domain::inspect::Inspection;
    use muster_domain::outcome::{Counts, Outcome, Reason};
    use muster_domain::parse::ParseLimits;
    use muster_store::reports::ChunkCounts;
    use serde::Serialize;
    use uuid::Uuid;

    use super::*;

    fn schemas() -> Map<String, Value> {
        let mut schemas = Map::new();
        complete(&mut schemas);
        schemas
    }

    /// Responses have only the documented properties, and all required ones.
    #[track_caller]
    fn same(name: &str, sent: &impl Serialize) {
        let schemas = schemas();
        let schema = &schemas[name];
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<String>>();
        let (sent, written) = (keys(&serde_json::to_value(sent).unwrap()), keys(&schema["properties"]));
        assert!(sent.is_subset(&written), "{name}: {:?}", sent.difference(&written));
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(sent.contains(required.as_str().unwrap()), "{name}: {required}");
        }
    }

    /// Of two shapes of one name clients would get one, wherever the other is sent.
    #[test]
    fn no_shape_has_the_name_of_another() {
        let gathered = serde_json::to_value(crate::api::routes::gathered()).unwrap();
        let there = gathered["components"]["schemas"].as_object().unwrap();
        for name in schemas().keys() {
            assert!(!there.contains_key(name), "{name}");
        }
    }

    #[test]
    fn shapes_are_those_of_what_is_sent() {
        same("Counts", &Counts::default());
        same("ChunkCounts", &ChunkCounts::default());
        let place =
            FileError::new(ErrorCode::FileEmpty, "x").at_record(1).at_line(1).at_column(1).in_field("x");
        same("FileError", &place);
        same("FileError", &FileError::new(ErrorCode::FileEmpty, "x"));
        same(
            "RecordError",
            &RecordError::new(ErrorCode::EmailInvalid, "x").in_field("x").held_by(Uuid::nil()),
        );
        same("ImportOptions", &ImportOptions::default());
        same("Catalog", &Catalog::default());
        let inspection = Inspection::new(ImportOptions::default(), ParseLimits::default());
        same("Inspection", &inspection.refuse(FileError::new(ErrorCode::FileEmpty, "x")));
        for outcome in
            [Outcome::Pending, Outcome::Inserted, Outcome::Updated, Outcome::Skipped, Outcome::Failed]
        {
            let sent = serde_json::to_value(outcome).unwrap();
            assert!(schemas()["Outcome"]["enum"].as_array().unwrap().contains(&sent), "{sent}");
        }
        for reason in
            [Reason::Exists, Reason::Unchanged, Reason::Cancelled, Reason::Enrolled, Reason::Superseded]
        {
            let sent = serde_json::to_value(reason).unwrap();
            assert!(schemas()["Reason"]["enum"].as_array().unwrap().contains(&sent), "{sent}");
        }
    }
}
