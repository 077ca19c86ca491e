//! Compares the client with the description of the API: every request exists there, and every response can be parsed.

use std::collections::BTreeSet;

use clap::ValueEnum;
use muster_domain::import::{ChunkState, ImportState};
use muster_domain::parse::Format;
use muster_producer::export::ExportFormat;
use serde_json::{Map, Value, json};

use super::Problem;
use super::operations::{Row, rows};
use crate::imports::Outcomes;

fn document() -> Value {
    serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap()
}

fn operation<'d>(document: &'d Value, row: &Row) -> &'d Value {
    let operation = &document["paths"][row.path][row.method.as_str().to_lowercase()];
    assert!(operation.is_object(), "{} {} is not in the document", row.method, row.path);
    operation
}

fn parameters<'o>(operation: &'o Value, place: &str) -> BTreeSet<&'o str> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    all.filter(|one| one["in"] == place).filter_map(|one| one["name"].as_str()).collect()
}

/// What a parameter of an operation may be.
fn values<'d>(document: &'d Value, path: &str, name: &str) -> Vec<&'d str> {
    let all = document["paths"][path]["get"]["parameters"].as_array().unwrap();
    let schema = &all.iter().find(|one| one["name"] == name).unwrap()["schema"];
    schema["enum"].as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect()
}

#[test]
fn every_operation_is_in_the_document_with_its_parameters() {
    let document = document();
    for row in rows() {
        let operation = operation(&document, &row);
        assert_eq!(operation["operationId"], row.id, "{} {}", row.method, row.path);
        let known = parameters(operation, "query");
        for name in row.parameters {
            assert!(known.contains(name), "{} has no parameter {name}", row.id);
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let (name, required) = (parameter["name"].as_str().unwrap(), parameter["required"] == true);
            let given = parameter["in"] == "path" || row.parameters.contains(&name);
            assert!(given || !required, "{} wants {name}", row.id);
        }
    }
}

#[test]
fn what_commands_send_is_what_the_document_takes() {
    let document = document();
    let create = &document["paths"]["/v1/imports"]["post"];
    assert!(
        parameters(create, "header").is_superset(&BTreeSet::from(["Idempotency-Key", "Content-Encoding"]))
    );
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Json) {
        let media_type = format.media_type();
        assert!(create["requestBody"]["content"][media_type].is_object(), "{media_type}");
    }
    let told = create["requestBody"]["description"].as_str().unwrap();
    assert!(told.contains(&format!("also as {}", Format::Json.media_type())), "{told}");
    let save = &document["paths"]["/v1/profiles/{name}"]["put"];
    assert!(save["requestBody"]["content"]["application/json"].is_object());
    let outcomes: Vec<&str> = Outcomes::value_variants().iter().map(|outcome| outcome.word()).collect();
    assert_eq!(values(&document, "/v1/imports/{id}/records", "outcome"), outcomes);
    let states: Vec<&str> = ImportState::ALL.iter().map(|state| state.as_str()).collect();
    assert_eq!(values(&document, "/v1/imports", "state"), states);
    let states: Vec<&str> = ChunkState::ALL.iter().map(|state| state.as_str()).collect();
    assert_eq!(values(&document, "/v1/imports/{id}/chunks", "state"), states);
    let formats = [ExportFormat::Csv, ExportFormat::Ndjson].map(ExportFormat::extension);
    assert_eq!(values(&document, "/v1/users/export", "format"), formats);
}

#[test]
fn every_answer_of_the_document_can_be_read() {
    let document = document();
    let mut read = 0;
    for row in rows() {
        let Some(reads) = row.reads else { continue };
        let responses = operation(&document, &row)["responses"].as_object().unwrap();
        for (status, response) in responses.iter().filter(|(status, _)| status.starts_with('2')) {
            let media = &response["content"]["application/json"];
            assert!(media.is_object(), "{} does not answer {status} with JSON", row.id);
            let shown = media.get("example").cloned();
            for answer in samples(&document, &media["schema"]).into_iter().chain(shown) {
                let as_it_is = answer.clone();
                reads(answer).unwrap_or_else(|error| panic!("{} {status}: {error}: {as_it_is:#}", row.id));
                read += 1;
            }
        }
    }
    assert!(read > 100, "{read}");
}

#[test]
fn every_error_of_the_document_can_be_read() {
    let document = document();
    for answer in samples(&document, &json!({ "$ref": "#/components/schemas/ErrorBody" })) {
        let problem: Problem = serde_json::from_value(answer.clone()).unwrap();
        assert_eq!(Value::from(problem.error.code), answer["error"]["code"]);
    }
}

/// Values that a schema allows: one with nothing that may be left out or be null, and as many with everything as it takes for every
/// value of every enumeration to be in one.
fn samples(document: &Value, schema: &Value) -> Vec<Value> {
    let full = (0..longest(document, schema, 0)).map(|turn| sample(document, schema, Some(turn)));
    full.chain([sample(document, schema, None)]).collect()
}

fn resolved<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// How many values the longest enumeration in it has.
fn longest(document: &Value, schema: &Value, depth: usize) -> usize {
    assert!(depth < 30, "a schema that holds itself");
    let schema = resolved(document, schema);
    let own = schema["enum"].as_array().map_or(1, Vec::len);
    let parts =
        ["allOf", "oneOf", "anyOf"].iter().flat_map(|key| schema[key].as_array().into_iter().flatten());
    let properties = schema["properties"].as_object().into_iter().flat_map(Map::values);
    let others =
        [&schema["items"], &schema["additionalProperties"]].into_iter().filter(|one| one.is_object());
    parts.chain(properties).chain(others).map(|part| longest(document, part, depth + 1)).fold(own, usize::max)
}

/// Nothing is known of what such an object holds.
fn is_free(document: &Value, schema: &Value) -> bool {
    let schema = resolved(document, schema);
    let object = schema["additionalProperties"] == true && schema.get("properties").is_none();
    object || schema["items"].is_object() && is_free(document, &schema["items"])
}

/// One value: with everything in it and that value of each enumeration, or with as little as may be.
fn sample(document: &Value, schema: &Value, turn: Option<usize>) -> Value {
    let schema = resolved(document, schema);
    if let Some(all) = schema["allOf"].as_array() {
        let parts = all.iter().map(|part| sample(document, part, turn));
        return parts.filter_map(|part| part.as_object().cloned()).flatten().collect::<Map<_, _>>().into();
    }
    if let Some(all) = ["oneOf", "anyOf"].iter().find_map(|key| schema[key].as_array()) {
        let null = |one: &&Value| one["type"] == "null";
        let chosen = match turn {
            None => all.iter().find(null).or(all.first()),
            Some(turn) => {
                let others: Vec<&Value> = all.iter().filter(|one| !null(one)).collect();
                others.get(turn % others.len()).copied()
            }
        };
        return sample(document, chosen.unwrap(), turn);
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(values) = schema["enum"].as_array() {
        return values[turn.unwrap_or_default() % values.len()].clone();
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    if turn.is_none() && kinds.contains(&"null") {
        return Value::Null;
    }
    match kinds.into_iter().find(|kind| *kind != "null").unwrap_or("null") {
        "string" => text(schema),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        "boolean" => json!(turn.is_some()),
        "array" => list(document, schema, turn),
        "object" => object(document, schema, turn),
        _ => Value::Null,
    }
}

fn text(schema: &Value) -> Value {
    match (schema["format"].as_str(), schema["examples"].get(0)) {
        (Some("uuid"), _) => json!("0190a5f0-7b7c-7000-8000-000000000001"),
        (Some("date-time"), _) => json!("2026-01-31T09:30:00Z"),
        (_, Some(example)) => example.clone(),
        (_, None) => json!("text"),
    }
}

fn list(document: &Value, schema: &Value, turn: Option<usize>) -> Value {
    let fewest = schema["minItems"].as_u64().unwrap_or_default().max(u64::from(turn.is_some()));
    let item = || sample(document, &schema["items"], turn);
    (0..fewest).map(|_| item()).collect()
}

fn object(document: &Value, schema: &Value, turn: Option<usize>) -> Value {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut members = Map::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let must = required.contains(&name.as_str());
        if must || turn.is_some() && !is_free(document, property) {
            members.insert(name.clone(), sample(document, property, turn));
        }
    }
    if turn.is_some() && schema["additionalProperties"].is_object() {
        members.insert("name".into(), sample(document, &schema["additionalProperties"], turn));
    }
    members.into()
}
