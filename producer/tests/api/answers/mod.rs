//! Each route gives the errors that the description of the API says, and no other: every one of them is asked for here, by operation, status
//! and code (at the front doors for clients of others by status alone). That an answer is outside of the description is seen in all other
//! tests as well: the program refuses to send one (producer/src/api/document/held.rs).

mod bodies;
mod files;
mod states;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::future::join_all;
use muster_domain::token::Scope;
use muster_producer::ProducerOptions;
use muster_producer::api::{HttpOptions, openapi};
use muster_producer::receive::ReceiveLimits;
use muster_producer::webhook::{Targets, WebhookOptions};
use muster_store::tenants;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::harness::Server;
use crate::matrix::{Credentials, Door, Ids, OPEN, Row, answer, rows, signed, with_body, world};

/// A request as the document names it, and an error: status, and code at Muster's own door.
type Given = BTreeSet<(String, String)>;

/// What was asked for, and what is said of it.
struct Asked {
    rows: Vec<Row>,
    said: Given,
    seen: Given,
}

impl Asked {
    fn new() -> Self {
        let document = openapi();
        let mut said = Given::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            if OPEN.contains(&path.as_str()) {
                continue;
            }
            for (verb, operation) in item.as_object().unwrap() {
                let name = format!("{} {path}", verb.to_uppercase());
                for (status, response) in operation["responses"].as_object().unwrap() {
                    match response["x-error-codes"].as_array() {
                        _ if status.as_str() < "400" => {}
                        None => drop(said.insert((name.clone(), status.clone()))),
                        Some(codes) => said.extend(
                            codes
                                .iter()
                                .map(|code| (name.clone(), format!("{status} {}", code.as_str().unwrap()))),
                        ),
                    }
                }
            }
        }
        let rows = rows().into_iter().filter(|row| document["paths"][&row.path].is_object()).collect();
        Self { rows, said, seen: Given::new() }
    }

    /// The rows of the operations that say such an error.
    fn rows_with(&self, status: &str) -> Vec<Row> {
        let says = |row: &&Row| {
            self.said.iter().any(|(name, error)| *name == named(row) && error.starts_with(status))
        };
        self.rows.iter().filter(says).cloned().collect()
    }

    fn note(&mut self, row: &Row, status: u16, body: &Value) {
        if status < 400 {
            return;
        }
        let error = match row.door {
            _ if body.as_str().is_some_and(|text| text.contains("description of the API")) => {
                body.to_string()
            }
            Door::Native => {
                format!("{status} {}", body["error"]["code"].as_str().unwrap_or("without a code"))
            }
            _ => status.to_string(),
        };
        self.seen.insert((named(row), error));
    }

    async fn ask(&mut self, row: &Row, request: RequestBuilder) -> (u16, Value) {
        let (status, body) = answer(request).await;
        self.note(row, status, &body);
        (status, body)
    }

    /// Asks an operation by its name, `POST /v1/imports`. Its answer must be this one: a status, and a code at Muster's own door.
    async fn told(&mut self, name: &str, wanted: &str, request: RequestBuilder) {
        let row = self.rows.iter().find(|row| named(row) == name).unwrap_or_else(|| panic!("{name}")).clone();
        let (status, body) = self.ask(&row, request).await;
        let told = match (status, body["error"]["code"].as_str()) {
            (400.., Some(code)) => format!("{status} {code}"),
            _ => status.to_string(),
        };
        assert_eq!(told, wanted, "{name}: {body}");
    }

    /// What is said and was not seen, and what was seen and is not said.
    fn differences(&self) -> Vec<String> {
        let line =
            |what: &'static str| move |(name, error): &(String, String)| format!("{what}: {name} {error}");
        let never = self.said.difference(&self.seen).map(line("said and never given"));
        never.chain(self.seen.difference(&self.said).map(line("given and not said"))).collect()
    }
}

fn named(row: &Row) -> String {
    format!("{} {}", row.method, row.path)
}

/// Webhooks of tests lead to this machine.
fn options(http: HttpOptions, receive: ReceiveLimits) -> ProducerOptions {
    let targets = Targets { allow_private: true, ..Targets::default() };
    let webhooks = WebhookOptions { targets, ..WebhookOptions::default() };
    ProducerOptions { http, receive, webhooks, ..ProducerOptions::default() }
}

/// A credential that is none, at each door.
fn unknown(slug: &str, tenant: &muster_domain::tenant::Tenant) -> Credentials {
    let token = format!("mst_{}", "A".repeat(43));
    Credentials { slug: slug.to_owned(), token, jwt: signed(tenant, "unknown") }
}

/// Who asks, for what, and with which parameters.
async fn of_credentials(asked: &mut Asked) {
    let server = Server::start().await;
    let (world, all) = world(&server, "own").await;
    let none = Credentials::new(&server, &world.tenant, None).await;
    let closed = tenants::create(&server.store, &"closed".parse().unwrap(), "Closed").await.unwrap();
    let closed = closed.into_inner();
    let disabled = Credentials::new(&server, &closed, Some(Scope::Ops)).await;
    tenants::set_disabled(&server.store, &closed.slug, true).await.unwrap().unwrap();
    let unknown = unknown(&all.slug, &world.tenant);
    for row in asked.rows.clone() {
        let request = |credentials: &Credentials, path: &str| {
            let request = server.client.request(row.method.clone(), format!("{}{path}", server.url));
            with_body(&row, credentials.on(row.door, request))
        };
        let path = world.ids().path(&row);
        for credentials in [&unknown, &none, &disabled] {
            asked.ask(&row, request(credentials, &path)).await;
        }
        if row.door == Door::Native {
            asked.ask(&row, request(&all, &format!("{path}?nonsense=1"))).await;
        }
        if row.path.contains('{') {
            let mut missing = Ids::missing(&world);
            // A new user of an organization of one's own is not missing, but new; and a profile may have any name that is one.
            if !row.path.contains("{username}") {
                missing.org = "missing-org".into();
            }
            if row.method == Method::PUT {
                missing.profile = "..%2F..".into();
            }
            asked.ask(&row, request(&all, &missing.path(&row))).await;
        }
    }
}

/// Too many credentials that are none.
async fn of_failures(asked: &mut Asked) {
    let http = HttpOptions { auth_failures: NonZeroU32::new(1), ..HttpOptions::default() };
    let server = Server::start_with(options(http, ReceiveLimits::default())).await;
    let unknown = unknown(server.tenant.slug.as_str(), &server.tenant);
    let first = server.client.get(format!("{}/v1/imports", server.url));
    assert_eq!(answer(unknown.on(Door::Native, first)).await.0, 401);
    for row in asked.rows.clone() {
        let url = format!("{}{}", server.url, Ids::all("x").path(&row));
        let request = unknown.on(row.door, server.client.request(row.method.clone(), url));
        asked.ask(&row, request).await;
    }
}

/// Whoever looks a credential up is refused with this SQLSTATE.
async fn refuse(server: &Server, sqlstate: &str) {
    let function = format!(
        "create or replace function refuse() returns boolean language plpgsql volatile as
         $$ begin raise exception 'for the test' using errcode = '{sqlstate}'; end $$"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(function)).execute(server.store.pool()).await.unwrap();
}

/// A store that does not do what it is asked, for now or at all.
async fn of_the_store(asked: &mut Asked) {
    let server = Server::start().await;
    let all = Credentials::new(&server, &server.tenant, Some(Scope::Ops)).await;
    // No space for another connection.
    refuse(&server, "53300").await;
    let views = "alter table tokens rename to tokens_behind;
                 create view tokens as select * from tokens_behind where refuse();
                 alter table tenant_keys rename to tenant_keys_behind;
                 create view tenant_keys as select * from tenant_keys_behind where refuse()";
    sqlx::raw_sql(views).execute(server.store.pool()).await.unwrap();
    // Then no such table.
    for sqlstate in ["53300", "42P01"] {
        refuse(&server, sqlstate).await;
        for row in asked.rows.clone() {
            let url = format!("{}{}", server.url, Ids::all("x").path(&row));
            let request = all.on(row.door, server.client.request(row.method.clone(), url));
            let (status, body) = asked.ask(&row, request).await;
            assert!(matches!(status, 500 | 503), "{}: {status} {body}", named(&row));
        }
    }
}

/// A store that does not answer in time.
async fn of_time(asked: &mut Asked) {
    let http = HttpOptions { request_timeout: Duration::from_millis(300), ..HttpOptions::default() };
    let server = Server::start_with(options(http, ReceiveLimits::default())).await;
    let all = Credentials::new(&server, &server.tenant, Some(Scope::Ops)).await;
    let mut held = server.store.pool().begin().await.unwrap();
    let lock = "lock table tokens, tenant_keys in access exclusive mode";
    sqlx::query(lock).execute(&mut *held).await.unwrap();
    // An upload takes as long as its body, and the opening of an undo as long as it has changes: they wait for the store.
    let is_upload = |row: &Row| {
        row.method != Method::GET
            && (row.path.ends_with("/upload")
                || row.door == Door::Authgear
                || matches!(row.path.as_str(), "/v1/imports" | "/v1/imports/{id}/undo" | "/v1/inspect"))
    };
    let rows: Vec<Row> = asked.rows.iter().filter(|row| !is_upload(row)).cloned().collect();
    let answers = rows.iter().map(|row| {
        let url = format!("{}{}", server.url, Ids::all("x").path(row));
        answer(all.on(row.door, server.client.request(row.method.clone(), url)))
    });
    for (row, (status, body)) in rows.iter().zip(join_all(answers).await) {
        assert_eq!(status, 503, "{}: {body}", named(row));
        asked.note(row, status, &body);
    }
    held.rollback().await.unwrap();
}

#[tokio::test]
async fn each_route_gives_the_errors_that_the_document_says_and_no_other() {
    let mut asked = Asked::new();
    // Their futures are large.
    Box::pin(of_credentials(&mut asked)).await;
    Box::pin(of_failures(&mut asked)).await;
    Box::pin(of_the_store(&mut asked)).await;
    Box::pin(of_time(&mut asked)).await;
    Box::pin(bodies::all(&mut asked)).await;
    Box::pin(files::all(&mut asked)).await;
    Box::pin(states::all(&mut asked)).await;
    let differences = asked.differences();
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// Whatever ends a request, its client can read it, and knows when to come back.
#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_in_the_words_of_its_door() {
    let mut asked = Asked::new();
    asked.rows.retain(|row| {
        let native = ["/v1/bulk/{bulk}", "/v1/imports"].contains(&row.path.as_str());
        row.method == Method::GET && (native || row.door != Door::Native)
    });
    let http = HttpOptions { request_timeout: Duration::from_millis(300), ..HttpOptions::default() };
    let server = Server::start_with(options(http, ReceiveLimits::default())).await;
    let all = Credentials::new(&server, &server.tenant, Some(Scope::Ops)).await;
    let mut held = server.store.pool().begin().await.unwrap();
    let lock = "lock table tokens, tenant_keys in access exclusive mode";
    sqlx::query(lock).execute(&mut *held).await.unwrap();
    for row in &asked.rows {
        let url = format!("{}{}", server.url, Ids::all("x").path(row));
        let late = all.on(row.door, server.client.request(row.method.clone(), url)).send().await.unwrap();
        assert_eq!(late.status(), 503, "{}", named(row));
        assert_eq!(
            late.headers()["retry-after"],
            if row.door == Door::Ccai { "1" } else { "2" },
            "{}",
            named(row)
        );
        let body: Value = late.json().await.unwrap();
        let told = match row.door {
            Door::Native => body["error"]["code"] == "request_timeout",
            Door::Authgear => body["error"]["name"] == "ServiceUnavailable" && body["error"]["code"] == 503,
            Door::Ccai => body["message"].is_string(),
            Door::Bitcaster => body["detail"].is_string(),
        };
        assert!(told, "{}: {body}", named(row));
    }
    held.rollback().await.unwrap();
}
