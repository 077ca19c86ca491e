//! Jobs whose work stands still, dies or is over, and uploads that do not come whole. No worker runs here, so what a job is
//! waits to be looked at.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use muster_domain::chunk::ChunkLimits;
use muster_domain::id::ImportId;
use muster_domain::options::{ImportOptions, Start};
use muster_domain::parse::Format;
use muster_domain::receive::NewImport;
use muster_domain::token::Scope;
use muster_producer::ProducerOptions;
use muster_producer::api::HttpOptions;
use muster_producer::receive::{self, Compression, ReceiveLimits};
use muster_runtime::clock;
use muster_store::tokens::NewToken;
use muster_store::{apply, bulk_jobs, dispatch, retention, tokens};
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Server, token, until, until_completed};

/// Each record is a chunk of its own, in one of two lanes.
pub(super) async fn start() -> Server {
    let chunk = ChunkLimits { records: 1, lanes: 2, ..ChunkLimits::default() };
    let receive = ReceiveLimits { chunk, ..ReceiveLimits::default() };
    Server::start_with(ProducerOptions { receive, ..ProducerOptions::default() }).await
}

async fn start_http(http: HttpOptions) -> Server {
    Server::start_with(ProducerOptions { http, ..ProducerOptions::default() }).await
}

pub(super) fn at(server: &Server, method: Method, path: &str) -> RequestBuilder {
    let url = format!("{}/apps/api/v1/bulk/{path}", server.url);
    server.client.request(method, url).basic_auth(server.tenant.slug.as_str(), Some(&server.token))
}

pub(super) fn users(count: usize) -> String {
    let user = |at| json!({"email": format!("u{at}@example.com"), "first_name": "U", "last_name": "X"});
    Value::from_iter((0..count).map(user)).to_string()
}

pub(super) fn form(file: impl Into<String>) -> Form {
    Form::new().part("file", Part::text(file.into()).file_name("users.json"))
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

pub(super) async fn ok(request: RequestBuilder) -> Value {
    let (status, body) = answer(request).await;
    assert_eq!(status, 200, "{body}");
    body
}

/// The status of an error, whose shape is checked.
pub(super) async fn refused(request: RequestBuilder) -> u16 {
    let (status, body) = answer(request).await;
    let message = body["message"].as_str().unwrap_or_else(|| panic!("{status}: {body}"));
    assert!(!message.is_empty() && body.as_object().unwrap().len() == 1, "{body}");
    status
}

pub(super) async fn uploaded(server: &Server, count: usize) -> i64 {
    let job = ok(at(server, Method::POST, "users/upload").multipart(form(users(count)))).await;
    job["id"].as_i64().unwrap()
}

pub(super) async fn job(server: &Server, id: i64) -> Value {
    ok(at(server, Method::GET, &format!("users/jobs/{id}"))).await
}

pub(super) fn proceed(server: &Server, id: i64) -> RequestBuilder {
    at(server, Method::POST, "users/proceed").json(&json!({"id": id}))
}

pub(super) fn put(server: &Server, id: i64, file: String) -> RequestBuilder {
    at(server, Method::PUT, "users/upload").multipart(form(file).text("id", id.to_string()))
}

/// Ends the first open chunk of each lane as one that no worker can apply.
async fn mark_heads_dead(server: &Server, most: usize) -> usize {
    let heads = dispatch::lane_heads(&server.store).await.unwrap();
    for head in heads.iter().take(most) {
        assert!(apply::mark_dead(&server.store, head.chunk, "for the test").await.unwrap());
    }
    dispatch::complete_ended(&server.store).await.unwrap();
    heads.len()
}

async fn mark_all_dead(server: &Server) {
    while mark_heads_dead(server, usize::MAX).await > 0 {}
    until_completed(&server.store).await;
}

#[tokio::test]
async fn in_progress_has_counters_that_move() {
    let server = start().await;
    let id = uploaded(&server, 3).await;
    ok(proceed(&server, id)).await;
    let begun = job(&server, id).await;
    let numbers =
        |job: &Value| [job["total_rows"].clone(), job["affected_rows"].clone(), job["failed_rows"].clone()];
    assert_eq!(begun["status"], "in_progress");
    assert_eq!(numbers(&begun), [json!(3), json!(0), json!(0)]);
    mark_heads_dead(&server, 1).await;
    let midway = job(&server, id).await;
    assert_eq!(midway["status"], "in_progress");
    assert_eq!(numbers(&midway), [json!(3), json!(0), json!(1)]);
    let import = server.json("/v1/imports").await["imports"][0]["id"].as_str().unwrap().to_owned();
    server.post(&format!("/v1/imports/{import}/pause")).send().await.unwrap().error_for_status().unwrap();
    assert_eq!(job(&server, id).await["status"], "in_progress");
}

/// A reader that has seen how many failed, and waits before it sees why, while a retry makes them pending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_and_errors_of_a_job_are_of_one_moment() {
    let server = start().await;
    let id = uploaded(&server, 2).await;
    ok(proceed(&server, id)).await;
    mark_all_dead(&server).await;
    let read = server.retried_while("record_issues", job(&server, id)).await;
    let errors = read["update_errors"].as_array().unwrap().len();
    assert_eq!((&read["failed_rows"], errors), (&json!(2), 2), "{read}");
    let later = job(&server, id).await;
    assert_eq!((&later["failed_rows"], &later["status"]), (&json!(0), &json!("in_progress")));
}

#[tokio::test]
async fn a_job_in_progress_takes_no_other_file_and_is_started_once() {
    let server = start().await;
    let id = uploaded(&server, 2).await;
    ok(proceed(&server, id)).await;
    let begun = job(&server, id).await;
    assert_eq!(refused(put(&server, id, users(1))).await, 409);
    let post = at(&server, Method::POST, "users/upload").multipart(form(users(1)).text("id", id.to_string()));
    assert_eq!(refused(post).await, 409);
    assert_eq!(ok(proceed(&server, id)).await["status"], "in_progress");
    assert_eq!(job(&server, id).await, begun);
}

/// Whichever comes first: the job runs one of the two files, whole.
#[tokio::test]
async fn a_file_that_comes_while_the_job_is_started_is_the_jobs_file_or_refused() {
    let server = start().await;
    for _ in 0..10 {
        let id = uploaded(&server, 1).await;
        let (started, replaced) =
            tokio::join!(proceed(&server, id).send(), put(&server, id, users(2)).send());
        let (started, replaced) = (started.unwrap().status(), replaced.unwrap().status());
        let seen = job(&server, id).await;
        match (started, replaced) {
            (StatusCode::OK, StatusCode::CONFLICT) => assert_eq!(seen["total_rows"], 1),
            (StatusCode::OK, StatusCode::OK) => assert_eq!(seen["total_rows"], 2),
            other => panic!("{other:?}: {seen}"),
        }
        assert_eq!(seen["status"], "in_progress");
    }
}

#[tokio::test]
async fn a_job_whose_file_is_still_coming_is_created() {
    let server = start().await;
    let new = NewImport {
        id: ImportId::new(clock::new_id()),
        tenant: server.tenant.id,
        filename: None,
        options: ImportOptions { format: Format::Json, start: Start::Manual, ..ImportOptions::default() },
        idempotency: None,
        provenance: Default::default(),
    };
    let import = new.id;
    let upload =
        receive::begin(&server.store, new, Compression::Identity, ReceiveLimits::default()).await.unwrap();
    let id = bulk_jobs::create(&server.store, server.tenant.id, import, "someone").await.unwrap();
    assert_eq!(job(&server, id).await["status"], "created");
    assert_eq!(refused(proceed(&server, id)).await, 409);
    ok(put(&server, id, users(2))).await;
    let replaced = job(&server, id).await;
    assert_eq!((&replaced["status"], &replaced["total_rows"]), (&json!("valid_scheme"), &json!(2)));
    drop(upload);
}

#[tokio::test]
async fn a_job_that_nobody_can_apply_is_completed_with_every_row_failed() {
    let server = start().await;
    let id = uploaded(&server, 2).await;
    ok(proceed(&server, id)).await;
    mark_all_dead(&server).await;
    let ended = job(&server, id).await;
    assert_eq!(ended["status"], "completed");
    assert_eq!((&ended["affected_rows"], &ended["failed_rows"]), (&json!(0), &json!(2)));
    let errors = ok(at(&server, Method::GET, &format!("users/errors/update/{id}"))).await;
    let told: Vec<(&Value, &Value)> =
        errors.as_array().unwrap().iter().map(|error| (&error["row"], &error["error_type"])).collect();
    assert_eq!(told, [(&json!(1), &json!("error")), (&json!(2), &json!("error"))]);
}

#[tokio::test]
async fn a_job_that_ended_long_ago_is_gone_and_one_that_waits_stays() {
    let server = start().await;
    let (ended, waits) = (uploaded(&server, 1).await, uploaded(&server, 1).await);
    ok(proceed(&server, ended)).await;
    mark_all_dead(&server).await;
    // One that somebody else has locked at this moment is left for the next time.
    until("the job is deleted", async || {
        retention::delete_ended(&server.store, 0.0).await.unwrap().imports > 0
    })
    .await;
    for path in ["users/jobs/", "users_jobs/", "users/errors/scheme/", "users/errors/update/"] {
        assert_eq!(refused(at(&server, Method::GET, &format!("{path}{ended}"))).await, 404, "{path}");
    }
    assert_eq!(job(&server, waits).await["status"], "valid_scheme");
    let listed = at(&server, Method::GET, "users/jobs").send().await.unwrap();
    assert_eq!(listed.headers()["total"], "1");
    assert_eq!(listed.json::<Value>().await.unwrap()[0]["id"], waits);
}

#[tokio::test]
async fn a_form_over_the_limit_is_413_and_leaves_no_job() {
    let server = start_http(HttpOptions { max_upload_bytes: Some(600), ..HttpOptions::default() }).await;
    let id = uploaded(&server, 1).await;
    let large = users(40);
    // One that says how long it is, and one that does not.
    let chunked = || {
        let file = large.clone();
        let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>(file)]);
        Form::new().part("file", Part::stream(Body::wrap_stream(pieces)).file_name("users.json"))
    };
    for form in [form(large.clone()), chunked()] {
        assert_eq!(refused(at(&server, Method::POST, "users/upload").multipart(form)).await, 413);
    }
    for form in [form(large.clone()), chunked()] {
        let request = at(&server, Method::PUT, "users/upload").multipart(form.text("id", id.to_string()));
        assert_eq!(refused(request).await, 413);
    }
    let jobs = ok(at(&server, Method::GET, "users/jobs")).await;
    assert_eq!(jobs.as_array().unwrap().len(), 1);
    assert_eq!(jobs[0]["total_rows"], 1);
}

/// The head of an upload whose body is to have 1,000 bytes, and its first ones.
async fn begin_form(server: &Server, method: &str, id: Option<i64>) -> TcpStream {
    use base64::Engine;
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let credential = format!("{}:{}", server.tenant.slug, server.token);
    let credential = base64::engine::general_purpose::STANDARD.encode(credential);
    let id = id.map_or(String::new(), |id| {
        format!("--x\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\n{id}\r\n")
    });
    let head = format!(
        "{method} /apps/api/v1/bulk/users/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credential}\r\n\
         Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000\r\n\r\n{id}\
         --x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"u.json\"\r\n\r\n[{{\"email\": \"a@"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_form_that_stops_half_way_leaves_no_job_and_a_job_its_file() {
    let server = start().await;
    let id = uploaded(&server, 1).await;
    for stream in [begin_form(&server, "POST", None).await, begin_form(&server, "PUT", Some(id)).await] {
        let stream = stream.into_std().unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut stream = TcpStream::from_std(stream).unwrap();
        // The server closes once it has dealt with it.
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("{\"message\":"), "{answer}");
    }
    let jobs = ok(at(&server, Method::GET, "users/jobs")).await;
    assert_eq!(jobs.as_array().unwrap().len(), 1, "{jobs}");
    assert_eq!((&jobs[0]["status"], &jobs[0]["total_rows"]), (&json!("valid_scheme"), &json!(1)));
}

#[tokio::test]
async fn a_form_that_pauses_too_long_is_408() {
    let http = HttpOptions { idle_body_timeout: Duration::from_millis(200), ..HttpOptions::default() };
    let server = start_http(http).await;
    let mut stream = begin_form(&server, "POST", None).await;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_store_that_fails_is_500_and_one_that_is_away_503() {
    let server = start().await;
    let jobs = || at(&server, Method::GET, "users/jobs");
    ok(jobs()).await;
    sqlx::raw_sql("alter table bulk_jobs rename to elsewhere").execute(server.store.pool()).await.unwrap();
    let (status, body) = answer(jobs()).await;
    assert_eq!(status, 500);
    let message = body["message"].as_str().unwrap();
    assert!(!message.contains("bulk_jobs") && !message.contains("relation"), "{message}");
    server.store.close().await;
    assert_eq!(refused(jobs()).await, 503);
}

#[tokio::test]
async fn addresses_and_methods_that_there_are_not_are_told_in_the_doors_shape() {
    let server = start().await;
    for prefix in ["/apps/api/v1", "/v1"] {
        let at = |method: Method, path: &str| server.request(method, &format!("{prefix}/bulk/{path}"));
        assert_eq!(refused(at(Method::GET, "users/nothing/here")).await, 404, "{prefix}");
        assert_eq!(refused(at(Method::DELETE, "users/jobs")).await, 405, "{prefix}");
    }
}

/// Revoking works within seconds: a token that was used lately is not looked up at every request.
#[tokio::test]
async fn a_token_that_was_revoked_is_401() {
    let server = start().await;
    let slug = server.tenant.slug.as_str();
    let ask = |token: &str| {
        let url = format!("{}/apps/api/v1/bulk/users/jobs", server.url);
        server.client.get(url).basic_auth(slug, Some(token))
    };
    let unused = token(&server.store, &server.tenant, "unused", &[Scope::Ops]).await;
    let used = token(&server.store, &server.tenant, "used", &[Scope::Ops]).await;
    ok(ask(&used)).await;
    for name in ["unused", "used"] {
        tokens::revoke(&server.store, server.tenant.id, name).await.unwrap().unwrap();
    }
    assert_eq!(refused(ask(&unused)).await, 401);
    let deadline = Instant::now() + Duration::from_secs(60);
    while ask(&used).send().await.unwrap().status() != StatusCode::UNAUTHORIZED {
        assert!(Instant::now() < deadline, "a revoked token still works");
    }
}

#[tokio::test]
async fn a_token_that_is_bound_to_one_organization_is_403() {
    let server = start().await;
    let slug = "default".parse().unwrap();
    let made =
        tokens::create_for(&server.store, server.tenant.id, Some(&slug), "bound", &[Scope::Ops], None).await;
    let NewToken::Created(_, bound) = made.unwrap() else { panic!("the name is taken") };
    let bound = bound.reveal().to_owned();
    let url = format!("{}/apps/api/v1/bulk/users/jobs", server.url);
    let request = server.client.get(url).basic_auth(server.tenant.slug.as_str(), Some(bound));
    assert_eq!(refused(request).await, 403);
}
