//! Bytes that nobody would send, as bodies of the front doors: whatever comes is answered, and never with a fault of the server.
//! `MUSTER_FUZZ_SECONDS` says for how long (1; `make fuzz` takes minutes).

use std::time::Instant;

use async_compression::tokio::bufread::GzipEncoder;
use muster_producer::ProducerOptions;
use muster_producer::receive::ReceiveLimits;
use muster_testkit::fuzz::{Random, seconds, seed};
use reqwest::RequestBuilder;
use tokio::io::AsyncReadExt;

use crate::harness::Server;
use crate::uploads::zstd;

async fn fuzz(target: &str, corpus: Vec<Vec<u8>>, request: impl Fn(&Server) -> RequestBuilder) {
    let receive =
        ReceiveLimits { decompressed_bytes: Some(1 << 20), ratio: Some(1_000), ..ReceiveLimits::default() };
    let server = Server::start_with(ProducerOptions { receive, ..ProducerOptions::default() }).await;
    let (seed, until) = (seed(), Instant::now() + seconds());
    println!("{target}: MUSTER_FUZZ_SEED={seed}");
    let (mut random, mut runs) = (Random::new(seed), 0);
    while runs < corpus.len() || Instant::now() < until {
        let body = corpus.get(runs).cloned().unwrap_or_else(|| random.changed(&corpus));
        let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
        // A connection that is closed over such a body is an answer, too; the server must be there afterwards.
        if let Ok(response) = request(&server).body(body).send().await {
            assert!(response.status().as_u16() < 500, "{target}: {} for {hex}", response.status());
        }
        runs += 1;
    }
    assert_eq!(server.json("/healthz").await["status"], "alive");
    println!("{target}: {runs} runs");
}

async fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    GzipEncoder::new(bytes).read_to_end(&mut out).await.unwrap();
    out
}

const CSV: &[u8] = b"email,first_name\na@example.com,Ada\nb@example.com,Bob\n";

fn upload(server: &Server, encoding: &'static str) -> RequestBuilder {
    let request = server.post("/v1/imports?start=manual").header("content-type", "text/csv");
    request.header("content-encoding", encoding)
}

#[tokio::test]
async fn any_bytes_are_a_gzip_upload_or_refused() {
    let members = [gzip(CSV).await, gzip(b"c@example.com,C\n").await].concat();
    fuzz("gzip", vec![gzip(CSV).await, members], |server| upload(server, "gzip")).await;
}

#[tokio::test]
async fn any_bytes_are_a_zstd_upload_or_refused() {
    fuzz("zstd", vec![zstd(CSV).await, zstd(&[b'x'; 5_000]).await], |server| upload(server, "zstd")).await;
}

#[tokio::test]
async fn any_bytes_are_a_form_or_refused() {
    let form = b"--x\r\nContent-Disposition: form-data; name=\"start\"\r\n\r\nmanual\r\n--x\r\nContent-Disposition: form-data; \
        name=\"file\"; filename=\"a.csv\"\r\nContent-Type: text/csv\r\n\r\nemail\na@example.com\n\r\n--x--\r\n";
    fuzz("multipart", vec![form.to_vec()], |server| {
        server.post("/v1/imports?start=manual").header("content-type", "multipart/form-data; boundary=x")
    })
    .await;
}

#[tokio::test]
async fn any_bytes_are_a_job_of_ccai_or_refused() {
    let form = b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.json\"\r\n\r\n\
        [{\"email\":\"a@example.com\",\"first_name\":\"A\",\"last_name\":\"B\",\"status\":\"Active\"}]\r\n--x--\r\n";
    fuzz("ccai", vec![form.to_vec()], |server| {
        let url = format!("{}/apps/api/v1/bulk/users/upload", server.url);
        let request = server.client.post(url).basic_auth("default", Some(&server.token));
        request.header("content-type", "multipart/form-data; boundary=x")
    })
    .await;
}

#[tokio::test]
async fn any_bytes_are_a_user_of_bitcaster_or_refused() {
    let one = br#"{"email":"a@example.com","first_name":"A","last_name":"B","custom_fields":{"x":[1]}}"#;
    let many = br#"[{"email":"a@example.com"},{"email":"b@example.com","locked":true}]"#;
    fuzz("bitcaster", vec![one.to_vec(), many.to_vec()], |server| {
        server.post("/api/o/default/u/").header("content-type", "application/json")
    })
    .await;
}

#[tokio::test]
async fn any_bytes_are_a_catalog_or_refused() {
    let catalog =
        br#"{"organizations":[{"slug":"default","name":"Default","groups":["A"]}],"roles":["r"],"teams":[]}"#;
    fuzz("catalog", vec![catalog.to_vec()], |server| {
        server.request(reqwest::Method::PUT, "/v1/catalog").header("content-type", "application/json")
    })
    .await;
}
