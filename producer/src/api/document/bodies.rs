//! Request and response bodies: uploads are files, forms list their options, and untyped values get a schema.

use serde_json::{Map, Value, json};

use super::schemas::{any, nullable, object, text, texts};
use super::{Route, put, reference};

/// Types of uploads that are taken as they are. JSON is taken too and is not among them: openapi-python-client cannot make a request whose
/// body is a list.
const RAW: [&str; 4] = [
    "application/octet-stream",
    "text/csv",
    "application/x-ndjson",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
];

/// Gives the bodies of an operation their shapes.
pub(super) fn complete(route: &Route, operation: &mut Map<String, Value>) {
    let parameters = operation.get("parameters").cloned().unwrap_or_default();
    if let Some(content) = operation.get_mut("requestBody").and_then(|body| body.get_mut("content")) {
        for (media_type, media) in content.as_object_mut().into_iter().flatten() {
            if let Some(schema) = request(route, media_type, &parameters) {
                media["schema"] = schema;
            }
        }
    }
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    for (status, response) in responses {
        let Some(content) = response.get_mut("content").and_then(Value::as_object_mut) else { continue };
        for media in content.values_mut() {
            if let Some(schema) = answer(route, status) {
                media["schema"] = schema;
            }
        }
    }
}

fn request(route: &Route, media_type: &str, parameters: &Value) -> Option<Value> {
    match (route.path.as_str(), media_type) {
        ("/v1/imports", "multipart/form-data") => Some(form(parameters)),
        ("/v1/imports" | "/v1/inspect", raw) if RAW.contains(&raw) => {
            Some(json!({ "type": "string", "format": "binary" }))
        }
        ("/v1/profiles/{name}", _) => Some(any("Options by name, each a text as in a query")),
        ("/v1/catalog", _) => Some(reference("Catalog")),
        ("/_api/admin/users/import", _) => Some(authgear_request()),
        ("/apps/api/v1/bulk/users/proceed", _) => Some(object("The job", json!({ "id": job() }), &[])),
        ("/apps/api/v1/bulk/users/upload", _) => {
            let file =
                json!({ "type": "string", "format": "binary", "description": "A JSON array of users" });
            let optional: &[&str] = if route.verb == "post" { &["id"] } else { &[] };
            Some(object(
                "The file, and the job that it is for",
                json!({ "id": job(), "file": file }),
                optional,
            ))
        }
        (path, _) if route.tag == "bitcaster" => Some(bitcaster_request(path, route.verb)),
        _ => None,
    }
}

fn answer(route: &Route, status: &str) -> Option<Value> {
    Some(match (route.path.as_str(), route.verb, status) {
        ("/v1/users/{id}", "get", "200") => reference("User"),
        ("/v1/imports/{id}/receipt", "get", "200") => receipt(),
        ("/v1/catalog", _, "200") => reference("Catalog"),
        ("/v1/inspect", _, "200") => reference("Inspection"),
        ("/healthz", _, "200") => {
            object("Alive", json!({ "status": { "type": "string", "const": "alive" } }), &[])
        }
        _ if route.tag == "bitcaster" && status == "400" => json!({
            "description": "A list of sentences a field, or one sentence", "type": "object", "additionalProperties": true,
            "examples": [{ "email": ["Enter a valid email address."] }, { "detail": "JSON parse error - …" }],
        }),
        _ => return None,
    })
}

fn receipt() -> Value {
    let signature = json!({
        "algorithm": { "type": "string", "const": "Ed25519" },
        "key": { "type": "string", "description": "The installation's public key, in base64" },
        "value": { "type": "string", "description": "The signature of the bytes of `receipt` as they are written here, in base64" },
    });
    let properties = json!({
        "receipt": any("version, issued_at, program, tenant, import, file, options, counts, problems, outcomes, times and lineage"),
        "signature": object("Who says so", signature, &[]),
    });
    object("A receipt", properties, &[])
}

/// A form: every option of the query, and the file as its last part.
fn form(parameters: &Value) -> Value {
    let mut properties = Map::new();
    for parameter in
        parameters.as_array().into_iter().flatten().filter(|parameter| parameter["in"] == "query")
    {
        let mut schema = parameter["schema"].clone();
        if let (Some(schema), Some(description)) = (schema.as_object_mut(), parameter.get("description")) {
            put(schema, "description", description.clone());
        }
        properties.insert(parameter["name"].as_str().unwrap_or_default().to_owned(), schema);
    }
    let file =
        json!({ "type": "string", "format": "binary", "description": "The file: the last part of the form" });
    properties.insert("file".into(), file);
    json!({ "type": "object", "properties": properties, "required": ["file"] })
}

fn job() -> Value {
    json!({ "type": "integer", "format": "int64", "description": "Id of the job" })
}

fn authgear_request() -> Value {
    let identifier = texts(["email", "phone_number", "preferred_username"]);
    json!({
        "type": "object",
        "properties": {
            "identifier": identifier,
            "upsert": { "type": "boolean", "description": "Users that exist are updated, not skipped. Default: `false`" },
            "records": { "type": "array", "minItems": 1, "items": any("A record") },
        },
        "required": ["identifier", "records"], "additionalProperties": false,
    })
}

fn bitcaster_request(path: &str, verb: &str) -> Value {
    let name = || json!({ "type": "string", "maxLength": 150 });
    let custom_fields = || any("Custom fields");
    let address = json!({
        "type": "object",
        "properties": { "value": { "type": "string", "maxLength": 255 }, "name": { "type": "string", "maxLength": 255, "description": "Default: what kind of address it is" },
                        "assign_to_preferred_channel": { "type": "boolean", "description": "Default: `false`" } },
        "required": ["value"],
    });
    let (properties, required) = match (path, verb) {
        (path, _) if path.ends_with("/register/") => (
            json!({ "username": name(), "email": text(), "first_name": name(), "last_name": name(), "custom_fields": custom_fields(),
                    "active": { "type": "boolean", "description": "Default: `true`" }, "addresses": { "type": "array", "items": address },
                    "distribution_list": nullable(text()) }),
            json!(["username"]),
        ),
        (path, _) if path.contains("/address") => (
            json!({ "name": { "type": "string", "maxLength": 255 }, "value": { "type": "string", "maxLength": 255 },
                    "type": texts(["GENERIC", "email", "phone", "account"]) }),
            json!(["name", "value"]),
        ),
        (_, "post") => (
            json!({ "email": { "type": "string", "format": "email", "maxLength": 150 }, "first_name": name(), "last_name": name(),
                    "custom_fields": custom_fields() }),
            json!(["email"]),
        ),
        _ => (
            json!({ "first_name": name(), "last_name": name(), "locked": { "type": "boolean" }, "custom_fields": custom_fields(),
                    "_mode": texts(["merge", "override", "rewrite", "remove", "ignore"]) }),
            json!([]),
        ),
    };
    json!({ "type": "object", "properties": properties, "required": required })
}
