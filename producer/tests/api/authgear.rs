//! What of Authgear's contract needs a server of its own: settings, an import whose work stands still or dies, and time.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use muster_domain::rsa_key::RsaPublicKey;
use muster_producer::ProducerOptions;
use muster_producer::api::{AuthgearOptions, HttpOptions};
use muster_runtime::clock;
use muster_runtime::config::Envelope;
use muster_store::authgear::Quota;
use muster_store::keys::{self, NewKey};
use muster_store::{apply, dispatch, retention};
use reqwest::{Method, Response, StatusCode};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bounds::{begun, receiving};
use crate::harness::{Server, until, until_completed};

const PRIVATE: &str = include_str!("../../../cli/tests/contract/authgear/test_key.pem");
const PUBLIC: &str = include_str!("../../../shared/test_data/keys/public.pem");

async fn start(envelope: Envelope, quota: Quota) -> Server {
    let authgear = AuthgearOptions { envelope, quota };
    start_with(HttpOptions { authgear, ..HttpOptions::default() }).await
}

async fn start_with(http: HttpOptions) -> Server {
    let server = Server::start_with(ProducerOptions { http, ..ProducerOptions::default() }).await;
    let key = RsaPublicKey::from_pem(PUBLIC).unwrap();
    let new = NewKey { kid: "k", key: &key, app_id: None, host: None, scopes: NewKey::SCOPES };
    assert!(keys::add(server.store.pool(), server.tenant.id, &new).await.unwrap());
    server
}

fn token(server: &Server) -> String {
    let digits: String = PRIVATE.lines().filter(|line| !line.starts_with("-----")).collect();
    let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(digits).unwrap()).unwrap();
    let now = clock::now().timestamp();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({"alg": "RS256", "typ": "JWT", "kid": "k"}));
    let claims = part(json!({"aud": server.tenant.slug, "iat": now, "exp": now + 300}));
    let signed = format!("{header}.{claims}");
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

async fn post(server: &Server, records: usize) -> Response {
    let records: Vec<Value> =
        (0..records).map(|at| json!({"email": format!("user{at}@example.com")})).collect();
    let url = format!("{}/_api/admin/users/import", server.url);
    let request = server.client.post(url).bearer_auth(token(server));
    request.json(&json!({"identifier": "email", "records": records})).send().await.unwrap()
}

async fn get(server: &Server, id: &str) -> Response {
    let url = format!("{}/_api/admin/users/import/{id}", server.url);
    server.client.get(url).bearer_auth(token(server)).send().await.unwrap()
}

/// A request that is taken: the id here, and the id at the native API.
async fn taken(server: &Server, records: usize) -> (String, String) {
    let response = post(server, records).await;
    assert_eq!(response.status(), StatusCode::OK);
    let answer: Value = response.json().await.unwrap();
    let listed = server.json("/v1/imports?limit=1").await;
    (answer["id"].as_str().unwrap().to_owned(), listed["imports"][0]["id"].as_str().unwrap().to_owned())
}

async fn shown(server: &Server, id: &str) -> Value {
    let response = get(server, id).await;
    assert_eq!(response.status(), StatusCode::OK);
    response.json().await.unwrap()
}

/// Ends every open chunk as one that no worker can apply.
async fn mark_all_dead(server: &Server) {
    for head in dispatch::lane_heads(&server.store).await.unwrap() {
        assert!(apply::mark_dead(&server.store, head.chunk, "for the test").await.unwrap());
    }
    until_completed(&server.store).await;
}

async fn exceeded(response: Response, period: &str) {
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(
        answer["error"],
        json!({"name": "TooManyRequest", "reason": "UsageLimitExceeded", "message": "usage limit exceeded",
               "code": 429, "info": {"name": "UserImport", "usage_name": "user_import", "period": period}})
    );
}

/// A reader that has seen the summary, and waits before it sees the details, while a retry makes the failed records pending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn summary_and_details_are_of_one_moment() {
    let server = start(Envelope::Both, Quota::default()).await;
    let (id, _) = taken(&server, 2).await;
    mark_all_dead(&server).await;
    let read = server.retried_while("catalog_names", shown(&server, &id)).await;
    assert_eq!(read["summary"]["failed"], 2, "{read}");
    let failed = read["details"].as_array().unwrap().iter().filter(|detail| detail["outcome"] == "failed");
    assert_eq!(failed.count(), 2, "{read}");
    assert_eq!(shown(&server, &id).await["status"], "pending");
}

#[tokio::test]
async fn quota_of_a_day_refuses_the_whole_request() {
    let server = start(Envelope::Both, Quota { per_day: Some(5), per_month: Some(100) }).await;
    assert_eq!(post(&server, 3).await.status(), StatusCode::OK);
    exceeded(post(&server, 3).await, "day").await;
    // What was refused is not counted, so what fits is still taken.
    assert_eq!(post(&server, 2).await.status(), StatusCode::OK);
    exceeded(post(&server, 1).await, "day").await;
    let refused = server.json("/v1/imports?state=aborted").await;
    assert_eq!(refused["imports"][0]["error"]["code"], "quota_exceeded");
}

#[tokio::test]
async fn quota_of_a_month_refuses_the_whole_request() {
    let server = start(Envelope::Both, Quota { per_day: None, per_month: Some(4) }).await;
    assert_eq!(post(&server, 4).await.status(), StatusCode::OK);
    exceeded(post(&server, 1).await, "month").await;
}

#[tokio::test]
async fn a_request_with_records_waits_for_a_place_of_its_tenant() {
    let server = start_with(HttpOptions { tenant_uploads: 1, ..HttpOptions::default() }).await;
    let upload = begun(&server, &server.token).await;
    receiving(&server, 1).await;
    let refusal = post(&server, 1).await;
    assert_eq!(
        (refusal.status(), refusal.headers().contains_key("retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, true)
    );
    let answer: Value = refusal.json().await.unwrap();
    assert_eq!(
        (&answer["error"]["name"], &answer["error"]["reason"]),
        (&json!("TooManyRequest"), &json!("TooManyRequest"))
    );
    // Reading goes on, and a place that comes free is there for the next.
    assert_eq!(get(&server, "x").await.status(), StatusCode::NOT_FOUND);
    drop(upload);
    until("a place is free", async || post(&server, 1).await.status() == StatusCode::OK).await;
}

#[tokio::test]
async fn envelope_of_the_real_server() {
    let server = start(Envelope::Result, Quota::default()).await;
    let answer: Value = post(&server, 1).await.json().await.unwrap();
    assert_eq!(answer.as_object().unwrap().len(), 1);
    assert_eq!(answer["result"]["status"], "pending");
    mark_all_dead(&server).await;
    let answer = shown(&server, answer["result"]["id"].as_str().unwrap()).await;
    assert_eq!(answer.as_object().unwrap().len(), 1);
    assert_eq!(answer["result"]["details"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn envelope_of_the_documentation() {
    let server = start(Envelope::Bare, Quota::default()).await;
    let answer: Value = post(&server, 1).await.json().await.unwrap();
    assert_eq!(answer["status"], "pending");
    mark_all_dead(&server).await;
    let answer = shown(&server, answer["id"].as_str().unwrap()).await;
    assert!(answer.get("result").is_none());
    assert_eq!(answer["details"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn pending_shows_its_state_and_nothing_of_its_progress() {
    let server = start(Envelope::Both, Quota::default()).await;
    let (id, native) = taken(&server, 2).await;
    let answer = shown(&server, &id).await;
    let mut keys: Vec<&str> = answer["result"].as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!((keys, &answer["status"]), (vec!["created_at", "id", "status"], &json!("pending")));
    // There is no other state: one that an operator paused is pending as well.
    let paused = server.request(Method::POST, &format!("/v1/imports/{native}/pause")).send().await.unwrap();
    assert_eq!(paused.status(), StatusCode::OK);
    assert_eq!(shown(&server, &id).await, answer);
}

#[tokio::test]
async fn records_of_a_part_that_died_failed_unexpectedly() {
    let server = start(Envelope::Both, Quota::default()).await;
    let (id, _) = taken(&server, 2).await;
    mark_all_dead(&server).await;
    let answer = shown(&server, &id).await;
    let error = json!({"name": "InternalError", "reason": "UnexpectedError",
                       "message": "unexpected error occurred", "code": 500});
    assert_eq!((&answer["status"], &answer["error"]), (&json!("completed"), &error));
    assert_eq!(
        answer["summary"],
        json!({"total": 2, "inserted": 0, "updated": 0, "skipped": 0, "failed": 2})
    );
    assert_eq!(
        answer["details"][1],
        json!({"index": 1, "record": {"email": "user1@example.com"}, "outcome": "failed", "errors": [error]})
    );
}

#[tokio::test]
async fn records_of_a_cancelled_import_are_skipped() {
    let server = start(Envelope::Both, Quota::default()).await;
    let (id, native) = taken(&server, 2).await;
    let cancelled = server.post(&format!("/v1/imports/{native}/cancel")).send().await.unwrap();
    assert_eq!(cancelled.status(), StatusCode::OK);
    let answer = shown(&server, &id).await;
    assert_eq!((&answer["status"], &answer["summary"]["skipped"]), (&json!("completed"), &json!(2)));
    let detail = &answer["details"][0];
    assert_eq!((&detail["outcome"], detail.get("user_id")), (&json!("skipped"), None));
    assert_eq!(detail["warnings"], json!([{"message": "skipping because the import was cancelled"}]));
}

#[tokio::test]
async fn an_import_is_kept_after_its_end_and_then_unknown() {
    let server = start(Envelope::Both, Quota::default()).await;
    let (id, _) = taken(&server, 1).await;
    mark_all_dead(&server).await;
    assert_eq!(retention::delete_ended(&server.store, 24.0 * 3600.0).await.unwrap().imports, 0);
    assert_eq!(shown(&server, &id).await["status"], "completed");
    // One that somebody else has locked at this moment is left for the next time.
    until("the import is deleted", async || {
        retention::delete_ended(&server.store, 0.0).await.unwrap().imports > 0
    })
    .await;
    let response = get(&server, &id).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["reason"], "TaskNotFound");
}

#[tokio::test]
async fn operations_are_documented_with_their_own_scheme() {
    let server = start(Envelope::Both, Quota::default()).await;
    let document = server.json("/openapi.json").await;
    let paths = &document["paths"];
    for (operation, scope) in [
        (&paths["/_api/admin/users/import"]["post"], "import:write"),
        (&paths["/_api/admin/users/import/{id}"]["get"], "import:read"),
    ] {
        assert_eq!(operation["security"], json!([{ "authgear": [scope] }]));
        let error = &operation["responses"]["500"]["content"]["application/json"]["schema"]["$ref"];
        assert_eq!(error, "#/components/schemas/AuthgearErrorAnswer");
    }
    assert_eq!(document["components"]["securitySchemes"]["authgear"]["bearerFormat"], "JWT");
}

#[tokio::test]
async fn a_store_that_fails_or_is_away_is_an_unexpected_error() {
    let server = start(Envelope::Both, Quota::default()).await;
    sqlx::raw_sql("alter table tenant_keys rename to elsewhere").execute(server.store.pool()).await.unwrap();
    unexpected(post(&server, 1).await).await;
    server.store.close().await;
    unexpected(post(&server, 1).await).await;
}

async fn unexpected(response: Response) {
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let answer: Value = response.json().await.unwrap();
    let error = &answer["error"];
    assert_eq!((&error["name"], &error["reason"]), (&json!("InternalError"), &json!("UnexpectedError")));
    assert_eq!((&error["message"], &error["code"]), (&json!("unexpected error occurred"), &json!(500)));
}

#[tokio::test]
async fn a_body_that_stops_half_way_leaves_no_import() {
    let server = start(Envelope::Both, Quota::default()).await;
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST /_api/admin/users/import HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{\"identifier\": \"email\",",
        token(&server)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let stream = stream.into_std().unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut stream = TcpStream::from_std(stream).unwrap();
    // The server closes once it has dealt with it.
    let _ = stream.read_to_end(&mut Vec::new()).await;
    assert_eq!(server.json("/v1/imports").await["imports"], json!([]));
}
