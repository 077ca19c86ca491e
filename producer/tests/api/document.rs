//! The description of the API: whole, and true.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_domain::rsa_key::RsaPublicKey;
use muster_producer::api::openapi;
use muster_store::keys::{self, NewKey};
use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value, json};

use crate::harness::Server;
use crate::matrix::{OPEN, PUBLIC, signed};
use crate::webhooks::receiver::Receiver;

const VERBS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn updates() -> bool {
    std::env::var_os("MUSTER_UPDATE_DOCS").is_some()
}

/// Path, verb and operation of every route.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
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
            assert!(responses.contains_key("503") && responses.contains_key("500"), "{name}");
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
    let told = "skip, update or enrol. Default: `update`, if no profile says otherwise";
    assert_eq!(on_existing["description"], told);
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

/// Values that differ from run to run, each replaced by one of its kind.
#[derive(Default)]
struct Steady {
    ids: BTreeMap<String, String>,
}

impl Steady {
    fn of(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::from(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.of(item)).collect(),
            Value::Object(fields) => {
                let steady = |(name, value): (&String, &Value)| match name.as_str() {
                    "took_ms" => (name.clone(), json!(42)),
                    _ => (name.clone(), self.of(value)),
                };
                let fields = fields.iter().map(steady);
                Value::Object(fields.collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }

    fn text(&mut self, text: &str) -> String {
        let is_time = text.len() >= 20 && text.as_bytes().get(10) == Some(&b'T') && text.ends_with('Z');
        if is_time {
            return "2026-01-31T09:30:00Z".into();
        }
        // Keys and signatures: 32 and 64 bytes in base64.
        if matches!(STANDARD.decode(text).map(|bytes| bytes.len()), Ok(32 | 64)) {
            return STANDARD.encode(vec![7; if text.len() < 64 { 32 } else { 64 }]);
        }
        if text.starts_with("whsec_") {
            return "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into();
        }
        if text.starts_with("http://127.0.0.1:") {
            return "https://hooks.example.com/muster".into();
        }
        if text.starts_with("userimport_") {
            return "userimport_06H0R72M7DR1Z0ZJDNGH73KZA6R9683M".into();
        }
        let (mut steady, mut rest) = (String::new(), text);
        while let Some(at) = first_id(rest) {
            let next = self.ids.len() + 1;
            let id = self.ids.entry(rest[at..at + 36].to_owned());
            steady.push_str(&rest[..at]);
            steady.push_str(id.or_insert_with(|| format!("0190a5f0-7b7c-7000-8000-{next:012}")));
            rest = &rest[at + 36..];
        }
        steady + rest
    }
}

/// Where the first id of a text is.
fn first_id(text: &str) -> Option<usize> {
    let is_id = |part: &[u8]| {
        part.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    text.as_bytes().windows(36).position(is_id)
}

/// What a run answers, by operation and status.
struct Run {
    steady: Steady,
    answers: BTreeMap<String, BTreeMap<String, Value>>,
}

impl Run {
    async fn ask(&mut self, operation: &str, request: RequestBuilder) -> Value {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        // A line of a file is a text, also where it looks like JSON.
        let is_json = response
            .headers()
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let text = response.text().await.unwrap();
        assert!((200..300).contains(&status), "{operation}: {status} {text}");
        let body = if is_json { serde_json::from_str(&text).unwrap() } else { Value::String(text) };
        let shown = self.steady.of(&body);
        self.answers.entry(operation.to_owned()).or_default().insert(status.to_string(), shown);
        body
    }
}

/// The examples are what a run answers. `MUSTER_UPDATE_DOCS=1` writes them anew (and then the document, by its own test).
#[tokio::test]
async fn examples_are_answers_of_a_run() {
    let server = Server::start().await;
    let mut run = Run { steady: Steady::default(), answers: BTreeMap::new() };
    let get = |path: &str| server.get(path);
    let catalog = json!({"organizations": [{"slug": "acme", "name": "Acme"}], "groups": ["Staff"], "roles": ["Agent"],
                         "locations": ["Rome"], "custom_attributes": {"level": {"type": "integer", "minimum": 1, "maximum": 9}}});
    run.ask("catalog_replace", server.request(Method::PUT, "/v1/catalog").json(&catalog)).await;
    run.ask("catalog_show", get("/v1/catalog")).await;
    let profile = json!({"columns": "E-Mail=email,Vorname=given_name", "delimiter": "semicolon", "on_existing": "skip"});
    run.ask("profiles_save", server.request(Method::PUT, "/v1/profiles/hr").json(&profile)).await;
    run.ask("profiles_show", get("/v1/profiles/hr")).await;
    let csv = "email,given_name,custom__office\nada@example.com,Ada,Rome\nnobody,Bob,Bern\n";
    run.ask("imports_inspect", server.post("/v1/inspect").header("content-type", "text/csv").body(csv)).await;
    let import = run.ask("imports_create", server.upload("start=manual&filename=users.csv", csv)).await;
    let id = import["id"].as_str().unwrap().to_owned();
    run.ask("imports_show", get(&format!("/v1/imports/{id}"))).await;
    run.ask("imports_list", get("/v1/imports")).await;
    run.ask("imports_records", get(&format!("/v1/imports/{id}/records"))).await;
    run.ask("imports_problems", get(&format!("/v1/imports/{id}/problems"))).await;
    run.ask("imports_failed_csv", get(&format!("/v1/imports/{id}/failed.csv"))).await;
    run.ask("imports_failed_ndjson", get(&format!("/v1/imports/{id}/failed.ndjson"))).await;
    run.ask("imports_cancel", server.post(&format!("/v1/imports/{id}/cancel"))).await;
    run.ask("imports_receipt", get(&format!("/v1/imports/{id}/receipt"))).await;
    run.ask("imports_receipt_key", get("/v1/receipts/key")).await;
    let users = "/api/o/acme/u/";
    run.ask(
        "bitcaster_create",
        server.post(users).json(&json!({"email": "ann@example.com", "first_name": "Ann"})),
    )
    .await;
    run.ask("bitcaster_list", get(users)).await;
    let change = json!({"last_name": "Lee", "custom_fields": {"office": "Rome"}, "_mode": "merge"});
    run.ask(
        "bitcaster_update",
        server.request(Method::PUT, &format!("{users}ann@example.com/")).json(&change),
    )
    .await;
    run.ask("bitcaster_show", get(&format!("{users}ann@example.com/"))).await;
    let address = json!({"name": "sms", "value": "+390669821234"});
    run.ask(
        "bitcaster_add_address",
        server.post(&format!("{users}ann@example.com/addresses/")).json(&address),
    )
    .await;
    run.ask("bitcaster_addresses", get(&format!("{users}ann@example.com/addresses/"))).await;
    let member = json!({"username": "ann@example.com", "custom_fields": {"plan": "gold"}});
    run.ask("bitcaster_register", server.post("/api/o/acme/p/crm/a/web/register/").json(&member)).await;
    run.ask("bitcaster_unregister", server.post("/api/o/acme/p/crm/a/web/unregister/ann@example.com/")).await;
    run.ask("bitcaster_ping", get("/api/system/ping/")).await;
    let found = run.ask("users_find", get("/v1/users?email=ann@example.com")).await;
    let user = found["users"][0]["id"].as_str().unwrap().to_owned();
    run.ask("users_show", get(&format!("/v1/users/{user}"))).await;
    run.ask("users_history", get(&format!("/v1/users/{user}/history"))).await;
    let api = |method: Method, path: &str| {
        let request = server.client.request(method, format!("{}/apps/api/v1/{path}", server.url));
        request.basic_auth(server.tenant.slug.as_str(), Some(&server.token))
    };
    run.ask("ccai_template", api(Method::GET, "bulk/users/template")).await;
    let file = "[{\"email\": \"bo@example.com\", \"first_name\": \"Bo\", \"last_name\": \"\"}]";
    let part = reqwest::multipart::Part::text(file).file_name("users.json");
    let form = reqwest::multipart::Form::new().part("file", part);
    run.ask("ccai_upload", api(Method::POST, "bulk/users/upload").multipart(form)).await;
    run.ask("ccai_jobs", api(Method::GET, "bulk/users/jobs")).await;
    let key = RsaPublicKey::from_pem(PUBLIC).unwrap();
    let new = NewKey { kid: "key", key: &key, app_id: None, host: None, scopes: NewKey::SCOPES };
    assert!(keys::add(server.store.pool(), server.tenant.id, &new).await.unwrap());
    let records = json!({"identifier": "email", "records": [{"email": "ada@example.com", "name": "Ada"}]});
    let task = server.client.post(format!("{}/_api/admin/users/import", server.url));
    let task = task.bearer_auth(signed(&server.tenant, "key")).json(&records);
    run.ask("authgear_create", task).await;
    run.ask("users_erase", server.request(Method::DELETE, &format!("/v1/users/{user}"))).await;

    run.ask("audit_list", get("/v1/audit")).await;
    let receiver = Receiver::start().await;
    let webhook = json!({"url": receiver.url, "description": "HR", "events": ["import.completed", "chunk.dead"], "failed_above": 5});
    let webhook = run.ask("webhooks_create", server.post("/v1/webhooks").json(&webhook)).await;
    let webhook = format!("/v1/webhooks/{}", webhook["id"].as_str().unwrap());
    run.ask("webhooks_list", get("/v1/webhooks")).await;
    run.ask("webhooks_show", get(&webhook)).await;
    let change = json!({"description": "HR and payroll", "failed_above": null});
    run.ask("webhooks_change", server.request(Method::PATCH, &webhook).json(&change)).await;
    run.ask("webhooks_rotate", server.post(&format!("{webhook}/secret"))).await;
    let ping = run.ask("webhooks_ping", server.post(&format!("{webhook}/ping?wait=20s"))).await;
    run.ask("webhooks_deliveries", get(&format!("{webhook}/deliveries"))).await;
    let again = format!("{webhook}/deliveries/{}/redeliver?wait=20s", ping["id"].as_str().unwrap());
    run.ask("webhooks_redeliver", server.post(&again)).await;

    let document = openapi();
    let ids: BTreeSet<&str> = operations(&document)
        .iter()
        .filter_map(|(_, _, operation)| operation["operationId"].as_str())
        .collect();
    for operation in run.answers.keys() {
        assert!(ids.contains(operation.as_str()), "{operation} is no operation");
    }
    let path = root().join("producer/src/api/document/examples.json");
    let answered = serde_json::to_string_pretty(&run.answers).unwrap() + "\n";
    if updates() {
        std::fs::write(&path, &answered).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), answered, "run this test with MUSTER_UPDATE_DOCS=1");
}
