//! Uploading: every shape of a body, every way in which it can be wrong.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use async_compression::tokio::bufread::{GzipEncoder, ZstdEncoder};
use muster_producer::ProducerOptions;
use muster_producer::api::HttpOptions;
use muster_producer::receive::ReceiveLimits;
use reqwest::multipart::{Form, Part};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Server, accepted, assert_refused};

const CSV: &str = "email,first_name\na@example.com,Ada\nb@example.com,Bob\n";

async fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    GzipEncoder::new(bytes).read_to_end(&mut out).await.unwrap();
    out
}

pub(crate) async fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ZstdEncoder::new(bytes).read_to_end(&mut out).await.unwrap();
    out
}

#[tokio::test]
async fn every_shape_of_a_body_is_taken() {
    let server = Server::start().await;
    let json = r#"[{"email":"a@example.com"},{"email":"b@example.com"}]"#;
    let lines = "{\"email\":\"a@example.com\"}\n{\"email\":\"b@example.com\"}\n";
    let (first, second) = CSV.split_at(30);
    let members = [gzip(first.as_bytes()).await, gzip(second.as_bytes()).await].concat();
    let post = |media_type: &str| server.post("/v1/imports?start=manual").header("content-type", media_type);
    let part = Part::text(CSV).file_name("../people.csv").mime_str("text/csv").unwrap();
    let named = Part::text(CSV).file_name("people.csv").mime_str("application/octet-stream").unwrap();
    let tabs = "email\tfirst_name\na@example.com\tAda\nb@example.com\tBea\n";
    // As browsers name the kinds of files that Windows has saved.
    let browser = |name: &'static str, kind: &str, text: &'static str| {
        let part = Part::text(text).file_name(name).mime_str(kind).unwrap();
        server.post("/v1/imports?start=manual").multipart(Form::new().part("file", part))
    };
    let requests = [
        browser("people.csv", "application/vnd.ms-excel", CSV),
        browser("people.txt", "text/plain", tabs),
        browser("people.tsv", "text/tab-separated-values", tabs),
        server
            .post("/v1/imports?start=manual&filename=people.txt")
            .header("content-type", "text/plain")
            .body(tabs),
        post("text/csv; charset=utf-8").body(CSV),
        post("application/json").body(json),
        post("application/x-ndjson").body(lines),
        server.post("/v1/imports?start=manual&filename=users.ndjson").body(lines),
        post("text/csv").header("content-encoding", "gzip").body(members),
        post("text/csv").header("content-encoding", "zstd").body(zstd(CSV.as_bytes()).await),
        server.post("/v1/imports?start=manual&filename=people.csv.gz").body(gzip(CSV.as_bytes()).await),
        server.post("/v1/imports?start=manual&filename=people.csv.zst").body(zstd(CSV.as_bytes()).await),
        server.post("/v1/imports?start=manual&filename=people.csv.gz").body(CSV),
        server.post("/v1/imports").multipart(Form::new().text("start", "manual").part("file", part)),
        server.post("/v1/imports?start=manual").multipart(Form::new().part("file", named)),
    ];
    for request in requests {
        let import = accepted(request).await;
        assert_eq!(import["state"], "received");
        assert_eq!(import["counts"]["total"], 2);
        let mut shown = server.json(import["links"]["self"].as_str().unwrap()).await;
        // How it gets on is told to those who ask.
        assert!(shown.as_object_mut().unwrap().remove("progress").is_some());
        assert_eq!(shown, import);
    }
}

#[tokio::test]
async fn a_delimiter_that_is_not_the_comma_is_told() {
    let server = Server::start().await;
    let none = serde_json::Value::Null;
    for (file, told) in [
        ("email,first_name\na@example.com,Ada\n", none),
        ("email;first_name\na@example.com;Ada\n", "semicolon".into()),
        ("email\tfirst_name\na@example.com\tAda\n", "tab".into()),
    ] {
        let import = accepted(server.upload("start=manual", file)).await;
        assert_eq!(import["delimiter"], told, "{import}");
        let shown = server.json(import["links"]["self"].as_str().unwrap()).await;
        assert_eq!(shown["delimiter"], told, "{shown}");
    }
}

#[tokio::test]
async fn an_import_has_its_location_options_and_label() {
    let server = Server::start().await;
    let query = "start=manual&on_existing=skip&filename=..%2Fx%2Fusers.csv&organization=default&group=Blue";
    let response = server.upload(query, CSV).send().await.unwrap();
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let import: serde_json::Value = response.json().await.unwrap();
    assert_eq!(location, format!("/v1/imports/{}", import["id"].as_str().unwrap()));
    assert_eq!(import["filename"], "users.csv");
    assert_eq!(import["options"]["on_existing"], "skip");
    assert_eq!(import["options"]["group"], "Blue");
    assert!(import["options"].get("enrolment").is_none());
}

#[tokio::test]
async fn a_text_in_another_encoding_is_read_as_its_mark_the_charset_or_the_option_says() {
    let server = Server::start().await;
    let text = "email,first_name\nnobody,René\n";
    let latin1: Vec<u8> = text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect();
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [&b"\xff\xfe"[..], &little].concat();
    let post = |query: &str, media_type: &str, body: &[u8]| {
        let path = format!("/v1/imports?start=manual{query}");
        server.post(&path).header("content-type", media_type).body(body.to_vec())
    };
    let part = Part::bytes(latin1.clone()).file_name("a.csv").mime_str("text/csv; charset=latin1").unwrap();
    let packed = gzip(&marked).await;
    for (request, encoding) in [
        (post("", "text/csv", text.as_bytes()), None),
        (post("", "text/csv; charset=iso-8859-1", &latin1), Some("latin1")),
        (post("&encoding=windows-1252", "text/csv; charset=utf-8", &latin1), Some("windows-1252")),
        (post("", "text/csv", &marked), Some("utf-16le")),
        (post("&encoding=auto", "text/csv", &packed).header("content-encoding", "gzip"), Some("utf-16le")),
        (post("&encoding=utf-16le", "text/csv", &little), Some("utf-16le")),
        (server.post("/v1/imports?start=manual").multipart(Form::new().part("file", part)), Some("latin1")),
    ] {
        let import = accepted(request).await;
        assert_eq!(import.get("encoding").and_then(|encoding| encoding.as_str()), encoding);
        let failed = server.get(import["links"]["failed_csv"].as_str().unwrap()).send().await.unwrap();
        let failed = failed.text().await.unwrap();
        assert!(failed.contains("\"nobody\",\"René\""), "{encoding:?}: {failed}");
    }
}

#[tokio::test]
async fn each_wrong_request_has_its_own_answer() {
    let server = Server::start().await;
    let invalid = async |query: &str, field: &str| {
        let error = assert_refused(server.upload(query, CSV), 400, "invalid_request").await;
        assert_eq!(error["field"], field);
    };
    invalid("on_existing=replace", "on_existing").await;
    invalid("tenant=other", "tenant").await;
    invalid("start=auto&start=auto", "start").await;
    invalid("organization=nowhere", "organization").await;
    invalid("encoding=ebcdic", "encoding").await;
    let none = |body: &'static str| server.post("/v1/imports").body(body);
    assert_refused(none(CSV), 415, "unsupported_media_type").await;
    assert_refused(none(CSV).header("content-type", "image/png"), 415, "unsupported_media_type").await;
    let charset = none(CSV).header("content-type", "text/csv; charset=koi8-r");
    assert_eq!(assert_refused(charset, 400, "invalid_request").await["field"], "Content-Type");
    let brotli = server.upload("", CSV).header("content-encoding", "br");
    assert_refused(brotli, 415, "unsupported_media_type").await;
    let imports = server.json("/v1/imports").await;
    assert_eq!(imports["imports"].as_array().unwrap().len(), 0, "nothing was opened");
}

#[tokio::test]
async fn each_wrong_file_has_its_own_answer_and_is_not_applied() {
    let server = Server::start().await;
    let cases = [
        ("text/csv", "", "file_empty"),
        ("text/csv", "first_name\nAda\n", "csv_header_missing"),
        ("text/csv", "email,EMAIL\na@example.com,b\n", "csv_header_duplicate"),
        ("text/csv", "email,rank\na@example.com,b\n", "csv_header_unknown"),
        ("text/csv", "email\n\"a@example.com\n", "csv_unclosed_quote"),
        ("text/csv", "e\0m\0a\0", "encoding_unsupported"),
        ("text/csv; charset=iso-8859-1", "\u{feff}email\n", "encoding_unsupported"),
        ("application/json", "[{\"email\":\"a@example.com\"},{\"em", "json_truncated"),
        ("application/json", "[] []", "json_trailing"),
    ];
    for (media_type, body, code) in cases {
        let request = server.post("/v1/imports").header("content-type", media_type).body(body);
        let error = assert_refused(request, 400, code).await;
        let import = server.json(&format!("/v1/imports/{}", error["import_id"].as_str().unwrap())).await;
        assert_eq!((&import["state"], &import["counts"]["total"]), (&"refused".into(), &0.into()), "{code}");
        assert_eq!(import["error"]["code"], code);
    }
    let broken = server.upload("", vec![0x1f, 0x8b, 0, 0]).header("content-encoding", "gzip");
    assert_refused(broken, 400, "compression_corrupt").await;
    let error =
        assert_refused(server.upload("on_invalid=refuse", "email\nnobody\n"), 422, "invalid_records").await;
    assert!(error["message"].as_str().unwrap().starts_with("1 of 1"));
}

#[tokio::test]
async fn a_form_that_is_wrong_is_refused() {
    let server = Server::start().await;
    let form = |body: &'static str| {
        server.post("/v1/imports").header("content-type", "multipart/form-data; boundary=x").body(body)
    };
    let file = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\nemail\na@example.com\n";
    let after: &'static str = Box::leak(
        format!("{file}\r\n--x\r\nContent-Disposition: form-data; name=\"start\"\r\n\r\nauto\r\n--x--\r\n")
            .into(),
    );
    let open: &'static str = Box::leak(file.to_owned().into());
    assert_refused(form("--x--\r\n"), 400, "multipart_invalid").await;
    assert_refused(form(after), 400, "multipart_invalid").await;
    assert_refused(form(open), 400, "multipart_invalid").await;
    let bare = server.post("/v1/imports").header("content-type", "multipart/form-data").body(file);
    assert_refused(bare, 400, "multipart_invalid").await;
    let unknown = server.post("/v1/imports").multipart(Form::new().text("colour", "red"));
    assert_refused(unknown, 400, "invalid_request").await;
}

#[tokio::test]
async fn a_large_file_that_is_refused_at_its_head_is_answered() {
    let server = Server::start().await;
    let body = format!("email,rank\n{}", "a@example.com,1\n".repeat(500_000));
    assert_refused(server.upload("", body.clone()), 400, "csv_header_unknown").await;
    let part = Part::text(body).file_name("a.csv");
    let form = Form::new().part("file", part);
    assert_refused(server.post("/v1/imports").multipart(form), 400, "csv_header_unknown").await;
}

#[tokio::test]
async fn sizes_have_limits() {
    let http = HttpOptions { max_upload_bytes: Some(64), ..HttpOptions::default() };
    let receive =
        ReceiveLimits { decompressed_bytes: Some(4_000_000), ratio: Some(250), ..ReceiveLimits::default() };
    let server = Server::start_with(ProducerOptions { http, receive, ..ProducerOptions::default() }).await;
    let body = |bytes: usize| format!("email\n{}", "x".repeat(bytes - 6));
    accepted(server.upload("", body(64))).await;
    assert_refused(server.upload("", body(65)), 413, "upload_too_large").await;
    let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>(body(64)), Ok("x".into())]);
    let streamed = server.upload("", reqwest::Body::wrap_stream(pieces));
    assert_refused(streamed, 413, "upload_too_large").await;
}

#[tokio::test]
async fn a_bomb_is_refused() {
    let receive = ReceiveLimits { ratio: Some(250), ..ReceiveLimits::default() };
    let server = Server::start_with(ProducerOptions { receive, ..ProducerOptions::default() }).await;
    let mut bomb = "email\n".to_owned();
    bomb.push_str(&"\n".repeat(50_000_000));
    let request = server.upload("", gzip(bomb.as_bytes()).await).header("content-encoding", "gzip");
    assert_refused(request, 413, "decompressed_too_large").await;
}

/// The head of an upload whose body is to have 100 bytes, and its first ones.
async fn begin_upload(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST /v1/imports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: text/csv\r\n\
         Content-Length: 100\r\n\r\nemail\na@example.com\n",
        server.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_body_that_stops_half_way_leaves_an_aborted_import() {
    let server = Server::start().await;
    let stream = begin_upload(&server).await;
    let stream = stream.into_std().unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut stream = TcpStream::from_std(stream).unwrap();
    // The server closes once it has dealt with it.
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let (store, tenant) = (server.store.clone(), server.tenant.clone());
    // Stopping waits for the request, and so for its import.
    let _database = server.stop().await;
    let imports = muster_store::reports::imports(&store, tenant.id, None, None, 10).await.unwrap();
    assert_eq!(imports.len(), 1);
    assert_eq!(imports[0].state.as_str(), "aborted");
    assert_eq!(imports[0].counts.total, 0);
    store.close().await;
}

#[tokio::test]
async fn a_body_that_pauses_too_long_is_cut() {
    let http = HttpOptions { idle_body_timeout: Duration::from_millis(200), ..HttpOptions::default() };
    let server = Server::start_with(ProducerOptions { http, ..ProducerOptions::default() }).await;
    let mut stream = begin_upload(&server).await;
    let mut answer = [0; 64];
    stream.read_exact(&mut answer[..12]).await.unwrap();
    assert_eq!(&answer[..12], b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_head_that_does_not_come_is_cut() {
    let http = HttpOptions { header_timeout: Duration::from_millis(200), ..HttpOptions::default() };
    let server = Server::start_with(ProducerOptions { http, ..ProducerOptions::default() }).await;
    for head in ["", "P", "PRI * HTTP", "GET / HTTP/1.1\r\nHost:"] {
        let address = server.url.trim_start_matches("http://").to_owned();
        let head = head.to_owned();
        let cut = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            let mut rest = Vec::new();
            std::io::Read::read_to_end(&mut stream, &mut rest)
        });
        assert!(cut.await.unwrap().is_ok(), "the server closes");
    }
}

#[tokio::test]
async fn an_idempotency_key_gives_the_same_import_once() {
    let server = Server::start().await;
    let keyed = |query: &str| server.upload(query, CSV).header("idempotency-key", "k1");
    let first = accepted(keyed("start=manual")).await;
    let again = accepted(keyed("start=manual")).await;
    assert_eq!(first, again);
    assert_refused(keyed("start=auto"), 422, "idempotency_mismatch").await;
    let imports = server.json("/v1/imports").await;
    assert_eq!(imports["imports"].as_array().unwrap().len(), 1);
    // Who does not know whether an answer was lost can ask.
    assert_eq!(server.json("/v1/imports?idempotency_key=k1").await, imports);
    for other in ["k", "k1&state=completed"] {
        let found = server.json(&format!("/v1/imports?idempotency_key={other}")).await;
        assert_eq!(found["imports"], serde_json::json!([]), "{other}");
    }
    assert_refused(server.get("/v1/imports?idempotency_key=k%00"), 400, "invalid_request").await;
    let bad = server.upload("", CSV).header("idempotency-key", "");
    assert_refused(bad, 400, "invalid_request").await;
    // A file that came to nothing frees its key.
    assert_refused(
        server.upload("", "nonsense\n").header("idempotency-key", "k2"),
        400,
        "csv_header_unknown",
    )
    .await;
    accepted(server.upload("", CSV).header("idempotency-key", "k2")).await;
}

#[tokio::test]
async fn a_key_whose_upload_is_still_coming_in_is_in_progress() {
    let server = Server::start().await;
    let (pieces, body) = tokio::sync::mpsc::channel::<Result<&'static str, std::io::Error>>(1);
    let body =
        futures_util::stream::unfold(body, |mut body| async { body.recv().await.map(|piece| (piece, body)) });
    let first = server.upload("", reqwest::Body::wrap_stream(body)).header("idempotency-key", "k").send();
    let first = tokio::spawn(first);
    pieces.send(Ok("email\n")).await.unwrap();
    while server.json("/v1/imports?state=receiving").await["imports"].as_array().unwrap().is_empty() {}
    let second = server.upload("", CSV).header("idempotency-key", "k");
    assert_refused(second, 409, "idempotency_in_progress").await;
    pieces.send(Ok("a@example.com\n")).await.unwrap();
    drop(pieces);
    assert_eq!(first.await.unwrap().unwrap().status().as_u16(), 202);
}

#[tokio::test]
async fn a_file_is_looked_at_and_nothing_is_stored() {
    let server = Server::start().await;
    let file = "E-Mail;Vorname\na@example.com;J\u{f6}rg\nno;Ada\n";
    let request = server.post("/v1/inspect").header("content-type", "text/csv").body(file);
    let told: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&told["records"], &told["invalid"], &told["delimiter"]),
        (&2.into(), &1.into(), &"semicolon".into())
    );
    assert_eq!(told["problems"][0]["code"], "email_invalid");
    let refused = server.post("/v1/inspect").header("content-type", "text/csv").body("email,b\u{fc}ro\n");
    let told: serde_json::Value = refused.send().await.unwrap().json().await.unwrap();
    assert_eq!(told["refused"]["code"], "csv_header_unknown");
    assert_eq!(server.json("/v1/imports").await["imports"], serde_json::json!([]));
}
