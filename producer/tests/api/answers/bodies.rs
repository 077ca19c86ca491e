//! Bodies that come too slowly, are too large, are of no media type that is taken, or cannot be read; and the jobs of the front door for CCAI
//! Platform that they are for.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use muster_domain::parse::ParseLimits;
use muster_producer::api::HttpOptions;
use muster_producer::receive::ReceiveLimits;
use reqwest::{Body, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Asked, options};
use crate::harness::Server;
use crate::matrix::{Credentials, Door, Row, World, world};

/// Largest upload, and largest body that is one record.
const UPLOAD: usize = 8 * 1024;
const RECORD: usize = 4 * 1024;

/// A form with a file, and with the job that it is for.
fn form(job: Option<&str>, file: &str) -> String {
    let job = job.map_or_else(String::new, |job| {
        format!("--b\r\ncontent-disposition: form-data; name=\"id\"\r\n\r\n{job}\r\n")
    });
    let head = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"u.json\"\r\n\r\n";
    format!("{job}{head}{file}\r\n--b--\r\n")
}

struct Desk<'s> {
    server: &'s Server,
    world: &'s World,
    all: &'s Credentials,
}

impl Desk<'_> {
    fn request(&self, row: &Row) -> RequestBuilder {
        let url = format!("{}{}", self.server.url, self.world.ids().path(row));
        self.all.on(row.door, self.server.client.request(row.method.clone(), url))
    }

    fn at(&self, door: Door, method: &str, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.server.url);
        self.all.on(door, self.server.client.request(method.parse().unwrap(), url))
    }

    fn form(&self, method: &str, job: Option<&str>) -> RequestBuilder {
        let request = self.at(Door::Ccai, method, "/apps/api/v1/bulk/users/upload");
        request.header("content-type", FORM).body(form(job, "[]"))
    }

    /// What is answered to a body that begins and does not go on.
    async fn slow(&self, row: &Row) -> (u16, Value) {
        let credential = match row.door {
            Door::Native | Door::Bitcaster => format!("Bearer {}", self.all.token),
            Door::Authgear => format!("Bearer {}", self.all.jwt),
            Door::Ccai => {
                format!("Basic {}", STANDARD.encode(format!("{}:{}", self.all.slug, self.all.token)))
            }
        };
        let (media_type, begins) = media(row);
        let request = format!(
            "{} {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {credential}\r\nContent-Type: {media_type}\r\n\
             Content-Length: 1000\r\n\r\n{begins}",
            row.method,
            self.world.ids().path(row)
        );
        let mut stream = TcpStream::connect(self.server.url.trim_start_matches("http://")).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Where the rest was not waited for, the connection may end with an error after the answer.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) =
            answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{} {}: {answer}", row.method, row.path));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

const FORM: &str = "multipart/form-data; boundary=b";

/// The media type of a body, and how it begins.
fn media(row: &Row) -> (&'static str, &'static str) {
    match (row.door, row.path.as_str()) {
        (Door::Ccai, path) if path.ends_with("/upload") => {
            (FORM, "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"u.json\"\r\n\r\n[")
        }
        (Door::Native, "/v1/imports") => ("text/csv", "email\n"),
        _ => ("application/json", "{"),
    }
}

/// A body that is just too large.
fn large(row: &Row) -> Body {
    let blanks = |count: usize| Body::from(format!("{{{}", " ".repeat(count)));
    match (row.door, row.path.as_str()) {
        (Door::Authgear, _) => blanks(500_000),
        (Door::Bitcaster, _) => blanks(RECORD),
        (Door::Native, "/v1/catalog") => blanks(32 * 1024 * 1024),
        (Door::Native, path) if path.starts_with("/v1/profiles") => blanks(256 * 1024),
        (Door::Native, path) if path.starts_with("/v1/webhooks") => blanks(64 * 1024),
        // Its size is not said, so that it is read.
        (Door::Native, _) => pieces("email\n", "a@example.com\n", ""),
        (Door::Ccai, _) => {
            let head = form(None, "[{\"email\": \"a@example.com\"}");
            pieces(
                head.trim_end_matches("\r\n--b--\r\n"),
                ",{\"email\": \"b@example.com\"}",
                "]\r\n--b--\r\n",
            )
        }
    }
}

/// A body that is sent piece by piece, larger than an upload may be.
fn pieces(first: &str, again: &str, last: &str) -> Body {
    let middle = again.repeat(UPLOAD / again.len() + 1);
    let all = [first.to_owned(), middle, last.to_owned()];
    Body::wrap_stream(futures_util::stream::iter(all.map(Ok::<_, std::io::Error>)))
}

/// Everything about bodies.
pub(super) async fn all(asked: &mut Asked) {
    let http = HttpOptions {
        idle_body_timeout: Duration::from_millis(300),
        max_upload_bytes: Some(UPLOAD as u64),
        ..HttpOptions::default()
    };
    let parse = ParseLimits { record_bytes: RECORD, ..ParseLimits::default() };
    let mut options = options(http, ReceiveLimits { parse, ..ReceiveLimits::default() });
    // The tenant has one already.
    options.webhooks.most = 1;
    let server = Server::start_with(options).await;
    let (world, all) = world(&server, "own").await;
    let desk = Desk { server: &server, world: &world, all: &all };
    let rows = asked.rows_with("408");
    // Together: what a client still sends is waited for.
    for (row, (status, body)) in rows.iter().zip(join_all(rows.iter().map(|row| desk.slow(row))).await) {
        asked.note(row, status, &body);
    }
    for row in asked.rows_with("413") {
        let request = desk.request(&row).header("content-type", media(&row).0).body(large(&row));
        let (status, body) = asked.ask(&row, request).await;
        assert_eq!(status, 413, "{} {}: {body}", row.method, row.path);
    }
    for row in asked.rows_with("415") {
        asked.ask(&row, desk.request(&row).header("content-type", "image/png").body("x")).await;
    }
    for row in asked.rows_with("400") {
        if matches!(row.door, Door::Bitcaster | Door::Authgear) {
            asked.ask(&row, desk.request(&row).header("content-type", "application/json").body("{")).await;
        }
    }
    let webhook = json!({"url": "https://hooks.example.com/"});
    let request = desk.at(Door::Native, "POST", "/v1/webhooks").json(&webhook);
    asked.told("POST /v1/webhooks", "409 too_many_webhooks", request).await;
    Box::pin(jobs(asked, &desk)).await;
}

/// The front door for CCAI Platform: pages, and jobs that are not there or in another state.
async fn jobs(asked: &mut Asked, desk: &Desk<'_>) {
    let (users, upload) = ("/apps/api/v1/users", "/apps/api/v1/bulk/users/upload");
    let (list, proceed) = ("/apps/api/v1/bulk/users/jobs", "/apps/api/v1/bulk/users/proceed");
    for path in [users, list] {
        let request = desk.at(Door::Ccai, "GET", &format!("{path}?page=0"));
        asked.told(&format!("GET {path}"), "400", request).await;
    }
    let start = |id: Value| desk.at(Door::Ccai, "POST", proceed).json(&json!({"id": id}));
    let name = format!("POST {proceed}");
    asked.told(&name, "400", start("x".into())).await;
    asked.told(&name, "404", start(999_999_999.into())).await;
    // As if the job's file were not valid, and then as if it had been started.
    let state = async |state: &str| {
        sqlx::query("update imports set state = $1 where id in (select import_id from bulk_jobs)")
            .bind(state)
            .execute(desk.server.store.pool())
            .await
            .unwrap();
    };
    state("refused").await;
    let job = desk.world.job.as_str();
    asked.told(&name, "409", start(job.into())).await;
    state("running").await;
    for method in ["POST", "PUT"] {
        let name = format!("{method} {upload}");
        asked.told(&name, "400", desk.at(Door::Ccai, method, upload).body("x")).await;
        asked.told(&name, "404", desk.form(method, Some("999999999"))).await;
        asked.told(&name, "409", desk.form(method, Some(job))).await;
    }
}
