//! The examples in the description of the API are what a run answers.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_domain::outcome::Outcome;
use muster_domain::rsa_key::RsaPublicKey;
use muster_producer::api::openapi;
use muster_store::keys::{self, NewKey};
use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value, json};

use crate::document::{operations, root, updates};
use crate::harness::{Server, accepted, until};
use crate::matrix::{PUBLIC, signed};
use crate::plans::{made_of, planned};
use crate::undo::applied;
use crate::webhooks::receiver::Receiver;

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
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().to_owned();
        let is_json = kind == "application/json";
        let text = response.text().await.unwrap();
        assert!((200..300).contains(&status), "{operation}: {status} {text}");
        let body = if is_json { serde_json::from_str(&text).unwrap() } else { Value::String(text) };
        let shown = self.steady.of(&body);
        // Of answers with several types each is shown as what it is.
        let key = if is_json || kind.is_empty() { status.to_string() } else { format!("{status} {kind}") };
        self.answers.entry(operation.to_owned()).or_default().insert(key, shown);
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
    run.ask("profiles_list", get("/v1/profiles")).await;
    let csv = "email,given_name,custom__office\nada@example.com,Ada,Rome\nnobody,Bob,Bern\n";
    run.ask("imports_inspect", server.post("/v1/inspect").header("content-type", "text/csv").body(csv)).await;
    let import = run.ask("imports_create", server.upload("start=manual&filename=users.csv", csv)).await;
    let id = import["id"].as_str().unwrap().to_owned();
    run.ask("imports_show", get(&format!("/v1/imports/{id}"))).await;
    run.ask("imports_chunks", get(&format!("/v1/imports/{id}/chunks"))).await;
    run.ask("imports_list", get("/v1/imports")).await;
    run.ask("imports_records", get(&format!("/v1/imports/{id}/records"))).await;
    run.ask("imports_problems", get(&format!("/v1/imports/{id}/problems"))).await;
    run.ask("imports_failed_csv", get(&format!("/v1/imports/{id}/failed.csv"))).await;
    run.ask("imports_failed_ndjson", get(&format!("/v1/imports/{id}/failed.ndjson"))).await;
    run.ask("imports_cancel", server.post(&format!("/v1/imports/{id}/cancel"))).await;
    told(&server, &id).await;
    run.ask("events_of_import", get(&format!("/v1/imports/{id}/events"))).await;
    run.ask("events_list", get("/v1/events?limit=2")).await;
    run.ask("imports_receipt", get(&format!("/v1/imports/{id}/receipt"))).await;
    run.ask("imports_receipt_key", get("/v1/receipts/key")).await;
    // Before anything else runs, so that nothing is ahead of it.
    Box::pin(steering(&mut run, &server)).await;
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
    for format in ["csv", "ndjson"] {
        run.ask("users_export", get(&format!("/v1/users/export?format={format}"))).await;
    }
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
    let task = run.ask("authgear_create", task).await;
    let task = format!("{}/_api/admin/users/import/{}", server.url, task["id"].as_str().unwrap());
    run.ask("authgear_show", server.client.get(task).bearer_auth(signed(&server.tenant, "key"))).await;
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

    Box::pin(plans_and_undos(&mut run, &server)).await;
    Box::pin(bulk(&mut run, &server)).await;
    Box::pin(front_doors(&mut run, &server)).await;

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

/// What happened to an import that was uploaded and cancelled has its numbers.
async fn told(server: &Server, import: &str) {
    let path = format!("/v1/imports/{import}/events");
    until("all is told", async || server.json(&path).await["events"].as_array().unwrap().len() == 3).await;
}

/// Imports on which no dispatcher works meanwhile: they are as a client finds them that says the same again.
async fn steering(run: &mut Run, server: &Server) {
    let import = applied(server, true).await;
    let path = format!("/v1/imports/{import}");
    run.ask("imports_proceed", server.post(&format!("{path}/proceed"))).await;
    run.ask("imports_retry", server.post(&format!("{path}/retry"))).await;
    let paused = accepted(server.upload("start=manual", "email\nzoe@example.com\n")).await;
    let paused = paused["id"].as_str().unwrap();
    sqlx::query("update imports set state = 'paused' where id = $1::uuid")
        .bind(paused)
        .execute(server.store.pool())
        .await
        .unwrap();
    run.ask("imports_pause", server.post(&format!("/v1/imports/{paused}/pause"))).await;
    let ended = server.upload("filename=bad.csv", "email\nnobody\n").header("prefer", "wait=30");
    run.ask("imports_create", ended).await;
}

async fn plans_and_undos(run: &mut Run, server: &Server) {
    let records = vec![
        planned(0, Outcome::Inserted, &json!({}), &json!({})),
        planned(1, Outcome::Updated, &json!({"given_name": "Ada"}), &json!({"given_name": "Adele"})),
        planned(
            2,
            Outcome::Updated,
            &json!({"metadata.office": "Rome"}),
            &json!({"metadata.office": "Oslo"}),
        ),
    ];
    let import = made_of(server, vec![records]).await;
    let path = format!("/v1/imports/{import}/plan");
    run.ask("imports_plan", server.get(&path)).await;
    run.ask("imports_plan_changes", server.get(&format!("{path}/changes"))).await;
    run.ask("imports_plan_csv", server.get(&format!("{path}.csv"))).await;
    let path = format!("/v1/imports/{}/undo", applied(server, true).await);
    run.ask("imports_undo_preview", server.get(&path)).await;
    run.ask("imports_undo", server.post(&format!("{path}?start=manual"))).await;
}

/// Actions on many imports: one that is aborted, and one that is done.
async fn bulk(run: &mut Run, server: &Server) {
    accepted(server.upload("start=manual&filename=leavers.csv", "email\nzoe@example.com\n")).await;
    let look = || server.post("/v1/bulk?action=cancel&file=leavers");
    let aborted = run.ask("bulk_look", look()).await;
    let aborted = format!("/v1/bulk/{}", aborted["id"].as_str().unwrap());
    run.ask("bulk_abort", server.post(&format!("{aborted}/abort"))).await;
    let done = run.ask("bulk_look", look()).await;
    let done = format!("/v1/bulk/{}", done["id"].as_str().unwrap());
    server.post(&format!("{done}/start")).send().await.unwrap().error_for_status().unwrap();
    until("the action is done", async || server.json(&done).await["state"] == "done").await;
    // Said again, it changes nothing.
    run.ask("bulk_start", server.post(&format!("{done}/start"))).await;
    run.ask("bulk_show", server.get(&done)).await;
    run.ask("bulk_list", server.get("/v1/bulk")).await;
}

/// What the front doors for clients of others answer besides.
async fn front_doors(run: &mut Run, server: &Server) {
    let api = |method: Method, path: &str| {
        let request = server.client.request(method, format!("{}/apps/api/v1/{path}", server.url));
        request.basic_auth(server.tenant.slug.as_str(), Some(&server.token))
    };
    run.ask("ccai_scheme_errors", api(Method::GET, "bulk/users/errors/scheme/1")).await;
    let file = r#"[{"email": "bo@example.com", "first_name": "Bo", "last_name": "Lee"}]"#;
    let part = reqwest::multipart::Part::text(file).file_name("users.json");
    let form = reqwest::multipart::Form::new().text("id", "1").part("file", part);
    run.ask("ccai_upload_again", api(Method::PUT, "bulk/users/upload").multipart(form)).await;
    run.ask("ccai_job", api(Method::GET, "bulk/users/jobs/1")).await;
    run.ask("ccai_job_by_link", api(Method::GET, "bulk/users_jobs/1")).await;
    run.ask("ccai_proceed", api(Method::POST, "bulk/users/proceed").json(&json!({"id": 1}))).await;
    run.ask("ccai_update_errors", api(Method::GET, "bulk/users/errors/update/1")).await;

    let (eve, v1) = (json!({"email": "eve@example.com", "first_name": "Eve"}), "/api/v1/user/acme/");
    run.ask("bitcaster_create_v1", server.post(v1).json(&eve)).await;
    run.ask("bitcaster_create_v1", server.post(v1).json(&eve)).await;
    run.ask("bitcaster_create", server.post("/api/o/acme/u/").json(&eve)).await;
    run.ask("bitcaster_list_v1", server.get(v1)).await;
    run.ask("bitcaster_show_v1", server.get(&format!("{v1}eve@example.com/"))).await;
    let change = json!({"custom_fields": {"office": "Oslo"}});
    let of_eve = format!("{v1}eve@example.com/");
    run.ask("bitcaster_update_v1", server.request(Method::PUT, &of_eve).json(&change)).await;
    run.ask("bitcaster_update_partial_v1", server.request(Method::PATCH, &of_eve).json(&change)).await;
    let served = "/api/o/acme/u/eve@example.com/";
    run.ask("bitcaster_update_partial", server.request(Method::PATCH, served).json(&change)).await;
    let address = json!({"name": "sms", "value": "+390669821234"});
    run.ask(
        "bitcaster_add_address_v1",
        server.post(&format!("{v1}eve@example.com/addresses/")).json(&address),
    )
    .await;
    run.ask("bitcaster_add_address", server.post(&format!("{served}addresses/")).json(&address)).await;
    run.ask("bitcaster_addresses_v1", server.get(&format!("{v1}eve@example.com/addresses/"))).await;
    let new = json!({"username": "finn@example.com", "email": "finn@example.com"});
    run.ask("bitcaster_register", server.post("/api/o/acme/p/crm/a/web/register/").json(&new)).await;
    run.ask("bitcaster_ping_login", server.get("/api/login/")).await;
    run.ask("ccai_users", api(Method::GET, "users")).await;
}
