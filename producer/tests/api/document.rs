//! The description of the API: whole, and true.

use std::collections::BTreeSet;
use std::path::PathBuf;

use muster_producer::api::openapi;
use serde_json::{Value, json};

use crate::matrix::OPEN;

const VERBS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) fn updates() -> bool {
    std::env::var_os("MUSTER_UPDATE_DOCS").is_some()
}

/// Path, verb and operation of every route.
pub(crate) fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let verbs = item.as_object().unwrap().iter();
            verbs
                .filter(|(verb, _)| VERBS.contains(&verb.as_str()))
                .map(move |(verb, operation)| (path.as_str(), verb.as_str(), operation))
        })
        .collect()
}

/// `MUSTER_UPDATE_DOCS=1` writes the copy anew.
#[test]
fn the_committed_document_is_the_one_that_is_served() {
    let path = root().join("docs/openapi.json");
    let served = serde_json::to_string_pretty(&openapi()).unwrap() + "\n";
    if updates() {
        std::fs::write(&path, &served).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    if written != served {
        let line =
            written.lines().zip(served.lines()).position(|(before, now)| before != now).unwrap_or_default();
        let around =
            |text: &str| text.lines().skip(line.saturating_sub(3)).take(7).collect::<Vec<_>>().join("\n");
        panic!(
            "docs/openapi.json is not what is served (line {}). Before:\n{}\nNow:\n{}\nA change that breaks clients needs another \
             version of the API; else run this test with MUSTER_UPDATE_DOCS=1",
            line + 1,
            around(&written),
            around(&served)
        );
    }
}

#[test]
fn every_operation_has_an_id_of_its_own_by_tag_and_verb_and_says_its_errors() {
    let document = openapi();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (path, verb, operation) in operations(&document) {
        let name = format!("{verb} {path}");
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{name} has no id"));
        let tag = operation["tags"][0].as_str().unwrap();
        assert!(id.starts_with(&format!("{tag}_")), "{name}: {id}");
        assert!(ids.insert(id.to_owned()), "{name}: {id} is another's");
        assert!(
            operation["summary"].is_string() || operation["description"].is_string(),
            "{name} says nothing"
        );
        let responses = operation["responses"].as_object().unwrap();
        assert!(!responses.contains_key("default"), "{name} has one answer for all errors");
        if !OPEN.contains(&path) {
            // What the store cannot do now is an unexpected error to clients of Authgear, and an upload takes as long as its body.
            let is_upload = name == "post /_api/admin/users/import";
            assert!(responses.contains_key("500") && (is_upload || responses.contains_key("503")), "{name}");
            assert!(responses.contains_key("401") || responses.contains_key("403"), "{name}");
        }
    }
    let tags: Vec<&str> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    assert_eq!(tags.first(), Some(&"imports"));
    assert_eq!(tags[tags.len() - 3..], ["authgear", "ccai", "bitcaster"]);
}

/// Places of objects that do not say what they hold, and of lists that do not say of what.
fn vague(schema: &Value, at: &str, found: &mut Vec<String>) {
    let Some(fields) = schema.as_object() else {
        for (index, item) in schema.as_array().into_iter().flatten().enumerate() {
            vague(item, &format!("{at}/{index}"), found);
        }
        return;
    };
    let is = |wanted: &str| match &fields.get("type") {
        Some(Value::String(kind)) => kind == wanted,
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == wanted),
        _ => false,
    };
    let says = |keys: &[&str]| keys.iter().any(|key| fields.contains_key(*key));
    if is("object") && !says(&["properties", "additionalProperties", "allOf", "oneOf", "anyOf"])
        || is("array") && !says(&["items", "prefixItems"])
    {
        found.push(at.to_owned());
    }
    for (key, value) in fields {
        if !matches!(key.as_str(), "example" | "examples" | "enum") {
            vague(value, &format!("{at}/{key}"), found);
        }
    }
}

#[test]
fn every_object_says_what_it_holds_and_every_reference_leads_somewhere() {
    let document = openapi();
    let mut found = Vec::new();
    vague(&document["components"]["schemas"], "", &mut found);
    vague(&document["paths"], "/paths", &mut found);
    assert_eq!(found, Vec::<String>::new());
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[test]
fn files_are_binary_and_forms_have_every_option() {
    let document = openapi();
    let content = &document["paths"]["/v1/imports"]["post"]["requestBody"]["content"];
    let looked_at = &document["paths"]["/v1/inspect"]["post"]["requestBody"]["content"];
    for media_type in [
        "application/octet-stream",
        "text/csv",
        "application/x-ndjson",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ] {
        for content in [content, looked_at] {
            assert_eq!(
                content[media_type]["schema"],
                json!({"type": "string", "format": "binary"}),
                "{media_type}"
            );
        }
    }
    let form = &content["multipart/form-data"]["schema"]["properties"];
    assert_eq!(form["file"]["format"], "binary");
    for option in muster_domain::request::NAMES {
        assert!(form[option]["description"].is_string(), "{option}");
        assert!(form[option]["type"].is_string(), "{option}");
    }
    assert_eq!(form["on_existing"]["enum"], json!(["skip", "update", "enrol"]));
}

#[test]
fn numbers_in_queries_have_bounds_and_exports_have_both_their_types() {
    let document = openapi();
    for (path, verb, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
            let number = parameter["in"] == "query" && schema["type"] == "integer";
            // Where a page begins has no bound.
            if number && !matches!(name, "after" | "page") {
                assert!(schema["maximum"].is_u64() && schema["minimum"].is_u64(), "{verb} {path}: {name}");
            }
        }
    }
    let paths = &document["paths"];
    let content = &paths["/v1/users/export"]["get"]["responses"]["200"]["content"];
    let types: Vec<&String> = content.as_object().unwrap().keys().collect();
    assert_eq!(types, ["application/x-ndjson", "text/csv"]);
    let parameter = |path: &str, verb: &str, name: &str| {
        let all = paths[path][verb]["parameters"].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap()["schema"].clone()
    };
    assert_eq!(parameter("/v1/users/export", "get", "format")["enum"], json!(["csv", "ndjson"]));
    assert_eq!(parameter("/v1/users", "get", "limit")["maximum"], 1_000);
    assert_eq!(parameter("/v1/imports/{id}/undo", "post", "outcome")["enum"], json!(["inserted", "updated"]));
    for path in ["/v1/imports/{id}/records", "/v1/imports/{id}/failed.csv"] {
        assert_eq!(parameter(path, "get", "code")["$ref"], "#/components/schemas/ErrorCode", "{path}");
    }
}

#[test]
fn texts_that_are_one_of_a_few_words_have_them() {
    let document = openapi();
    for (name, property, word) in [
        ("BulkView", "state", "preview"),
        ("BulkView", "action", "redrive"),
        ("EventView", "kind", "chunk_dead"),
        ("HistoryEntry", "by", "request"),
        ("PlanWarning", "code", "many_users"),
        ("Readiness", "status", "degraded"),
        ("ChunkView", "state", "dead"),
        ("DeliveryView", "state", "pending"),
    ] {
        let schema = &document["components"]["schemas"][name]["properties"][property];
        assert!(schema["enum"].as_array().unwrap().contains(&json!(word)), "{name}.{property}: {schema}");
        assert!(schema["description"].is_string(), "{name}.{property}");
    }
}

/// Lists that are short, and causes, of which the most frequent are told: neither has pages.
const WITHOUT_PAGES: [&str; 1] = ["imports_problems"];

/// `limit` and `after` are given; `next`, `next_link` and `Link` are answered.
#[test]
fn every_list_with_a_limit_is_paged_in_one_way() {
    let document = openapi();
    let mut paged = 0;
    for (path, _, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let names: BTreeSet<&str> = parameters.map(|parameter| parameter["name"].as_str().unwrap()).collect();
        if !path.starts_with("/v1/") || !names.contains("limit") || WITHOUT_PAGES.contains(&id) {
            continue;
        }
        assert!(names.contains("after"), "{id}");
        let answer = &operation["responses"]["200"];
        assert!(answer["headers"]["Link"].is_object(), "{id}");
        let schema = answer["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
        let schema = &document["components"]["schemas"][schema.rsplit('/').next().unwrap()];
        for property in ["next", "next_link"] {
            assert!(schema["properties"][property].is_object(), "{id}: {property}");
        }
        paged += 1;
    }
    assert!(paged >= 8, "{paged}");
}

/// Places of schemas that have a default.
fn defaults(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("default") {
                found.push(at.to_owned());
            }
            for (key, value) in fields {
                defaults(value, &format!("{at}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                defaults(item, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// What a client sends counts more than what a profile says, and generated clients send what has a default.
#[test]
fn no_request_has_a_default_that_clients_would_send() {
    let document = openapi();
    let mut found = Vec::new();
    defaults(&document, "", &mut found);
    assert_eq!(found, Vec::<String>::new());
    let create = &document["paths"]["/v1/imports"]["post"];
    let parameters = create["parameters"].as_array().unwrap();
    let on_existing = parameters.iter().find(|one| one["name"] == "on_existing").unwrap();
    let told = on_existing["description"].as_str().unwrap();
    assert!(told.ends_with("Default: `update`, if no profile says otherwise"), "{told}");
    let form = &create["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"];
    assert_eq!(form["on_existing"]["description"], told);
    let of_lists = document["paths"]["/v1/imports"]["get"]["parameters"].as_array().unwrap();
    let limit = of_lists.iter().find(|one| one["name"] == "limit").unwrap();
    assert!(limit["description"].as_str().unwrap().ends_with("Default: `50`"), "{limit}");
}

#[test]
fn every_operation_says_which_scope_it_needs() {
    let document = openapi();
    let said = |path: &str, verb: &str| {
        document["paths"][path][verb]["description"]
            .as_str()
            .unwrap()
            .rsplit("\n\n")
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(said("/v1/imports", "post"), "Needs the scope `import:write`.");
    assert_eq!(said("/api/o/{org}/u/", "get"), "Needs the scope `users:read` or `users:write`.");
    assert_eq!(said("/api/system/ping/", "get"), "Every credential will do.");
    assert_eq!(said("/healthz", "get"), "Needs no credential.");
}

#[test]
fn undoing_tells_why_an_import_cannot_be_undone() {
    let document = openapi();
    let responses = &document["paths"]["/v1/imports/{id}/undo"]["post"]["responses"];
    for (status, code) in [
        ("409", "state_conflict"),
        ("409", "not_applied"),
        ("409", "already_undone"),
        ("410", "before_images_gone"),
    ] {
        let examples = &responses[status]["content"]["application/json"]["examples"];
        assert_eq!(examples[code]["value"]["error"]["code"], code, "{status}");
    }
}

/// Answers that are not shown: a page, and what a dispatcher changes while it is answered.
const NOT_SHOWN: [&str; 3] = ["imports_report_page", "imports_resume", "imports_plan_anew"];

#[test]
fn every_answer_of_musters_own_has_an_example() {
    let document = openapi();
    let mut bare = Vec::new();
    for (path, _, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        let is_own = path.starts_with("/v1/") && !NOT_SHOWN.contains(&id);
        let successes = operation["responses"].as_object().unwrap().iter();
        for (status, response) in successes.filter(|(status, _)| is_own && status.as_str() < "300") {
            let media = response["content"].as_object().into_iter().flatten();
            let bare_media = media
                .filter(|(media_type, _)| *media_type != "text/event-stream")
                .filter(|(_, media)| media["example"].is_null());
            bare.extend(bare_media.map(|(media_type, _)| format!("{id} {status} {media_type}")));
        }
    }
    assert_eq!(bare, Vec::<String>::new());
}
