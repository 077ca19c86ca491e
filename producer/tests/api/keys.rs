//! What a key stands for, when it is free, and what is answered where an upload cannot be taken now; and what is told of
//! those that were.

use std::time::{Duration, Instant};

use muster_producer::ProducerOptions;
use muster_producer::api::HttpOptions;
use reqwest::multipart::{Form, Part};
use serde_json::Value;

use crate::harness::{Server, accepted, assert_refused, refused, until};
use crate::uploads::zstd;

const CSV: &str = "email,first_name\na@example.com,Ada\nb@example.com,Bob\n";

/// An upload whose pieces the test sends one by one.
fn streamed(
    server: &Server,
    key: &str,
) -> (tokio::sync::mpsc::Sender<Result<String, std::io::Error>>, reqwest::RequestBuilder) {
    let (pieces, body) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(1);
    let body =
        futures_util::stream::unfold(body, |mut body| async { body.recv().await.map(|piece| (piece, body)) });
    (pieces, server.upload("", reqwest::Body::wrap_stream(body)).header("idempotency-key", key))
}

#[tokio::test]
async fn a_key_stands_for_its_file_too() {
    let server = Server::start().await;
    let keyed = |body: Vec<u8>| server.upload("", body).header("idempotency-key", "k");
    let first = accepted(keyed(CSV.into())).await;
    let other = b"email\nsomebody.else@example.com\n";
    assert_refused(keyed(other.to_vec()), 422, "idempotency_mismatch").await;
    // The same file otherwise compressed is the same file.
    let packed = zstd(CSV.as_bytes()).await;
    let again = accepted(keyed(packed.clone()).header("content-encoding", "zstd")).await;
    assert_eq!(again["id"], first["id"]);
    let cut = packed[..packed.len() - 3].to_vec();
    let (status, error) = refused(keyed(cut).header("content-encoding", "zstd")).await;
    assert_eq!(status, 400, "{error}");
    // As a form, too.
    let form = |text: &'static str| {
        let part = Part::text(text).mime_str("text/csv").unwrap();
        server.post("/v1/imports").header("idempotency-key", "k").multipart(Form::new().part("file", part))
    };
    assert_eq!(accepted(form(CSV)).await["id"], first["id"]);
    assert_refused(form("email\nx@example.com\n"), 422, "idempotency_mismatch").await;
    assert_eq!(server.json("/v1/imports").await["imports"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_that_is_in_progress_says_when_to_ask_again() {
    let server = Server::start().await;
    let (pieces, first) = streamed(&server, "k");
    let first = tokio::spawn(first.send());
    pieces.send(Ok("email\n".into())).await.unwrap();
    while server.json("/v1/imports?state=receiving").await["imports"].as_array().unwrap().is_empty() {}
    let second = server.upload("", CSV).header("idempotency-key", "k").send().await.unwrap();
    assert_eq!((second.status().as_u16(), &second.headers()["retry-after"]), (409, &"1".parse().unwrap()));
    drop(pieces);
    drop(first);
}

/// Whenever the same key comes again while its first upload is being aborted: it is told to wait, or its file is taken. It is
/// never answered with the import that came to nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_whose_upload_is_cut_off_is_free_at_once() {
    let server = Server::start().await;
    for number in 0..40 {
        let key = format!("k{number}");
        let (pieces, first) = streamed(&server, &key);
        let first = tokio::spawn(first.send());
        let row = format!("email\nuser{number}@example.com\n");
        pieces.send(Ok(row.clone())).await.unwrap();
        until("the first is being received", async || {
            let path = format!("/v1/imports?idempotency_key={key}");
            !server.json(&path).await["imports"].as_array().unwrap().is_empty()
        })
        .await;
        first.abort();
        drop(pieces);
        let deadline = Instant::now() + Duration::from_secs(10);
        let import = loop {
            let response =
                server.upload("", row.clone()).header("idempotency-key", &key).send().await.unwrap();
            match response.status().as_u16() {
                202 => break response.json::<Value>().await.unwrap(),
                409 => assert!(Instant::now() < deadline, "the key is not freed"),
                status => panic!("{status}: {}", response.text().await.unwrap()),
            }
        };
        assert_eq!((&import["state"], &import["counts"]["total"]), (&"running".into(), &1.into()));
    }
}

/// The receiver of a key died with its process: a new request takes the key over, long before the lease ends.
#[tokio::test]
async fn a_key_is_taken_from_a_receiver_that_fell_silent() {
    let server = Server::start().await;
    let orphan = "insert into imports (id, tenant_id, options, idempotency_key, request_hash, alive_until)
                  select gen_random_uuid(), $1, '{}', $2, sha256('x'), now() + make_interval(secs => $3)";
    for (key, left) in [("fresh", 59.0), ("silent", 51.0)] {
        sqlx::query(orphan)
            .bind(server.tenant.id.get())
            .bind(key)
            .bind(left)
            .execute(server.store.pool())
            .await
            .unwrap();
    }
    let keyed = |key: &str| server.upload("", CSV).header("idempotency-key", key);
    assert_refused(keyed("fresh"), 409, "idempotency_in_progress").await;
    assert_eq!(accepted(keyed("silent")).await["state"], "running");
    let aborted: i64 = sqlx::query_scalar("select count(*) from imports where state = 'aborted'")
        .fetch_one(server.store.pool())
        .await
        .unwrap();
    assert_eq!(aborted, 1);
}

#[tokio::test]
async fn records_that_fail_while_they_are_staged_are_counted_once() {
    let server = Server::start().await;
    let text = async || server.get("/metrics").send().await.unwrap().text().await.unwrap();
    // The first who asks installs the recorder.
    text().await;
    accepted(server.upload("", "email\na@example.com\nnonsense\nnonsense too\n")).await;
    let counted = text().await;
    assert!(counted.contains("muster_records_total{outcome=\"failed\"} 2"), "{counted}");
}

#[tokio::test]
async fn an_import_with_options_of_a_newer_version_is_answered_with_a_readable_error() {
    let server = Server::start().await;
    let import = accepted(server.upload("", CSV)).await;
    let newer = "update imports set options = jsonb_set(options, '{on_existing}', '\"merge_in_a_new_way\"')";
    sqlx::raw_sql(newer).execute(server.store.pool()).await.unwrap();
    let own = format!("/v1/imports/{}", import["id"].as_str().unwrap());
    for path in [own.clone(), format!("{own}/records"), format!("{own}/failed.csv")] {
        let error = assert_refused(server.get(&path), 503, "newer_version").await;
        assert!(error["message"].as_str().unwrap().contains("newer version"), "{path}: {error}");
    }
}

#[tokio::test]
async fn an_import_with_options_of_a_newer_version_is_listed_with_its_problem_beside_all_others() {
    let server = Server::start().await;
    accepted(server.upload("", CSV)).await;
    let import = accepted(server.upload("on_existing=skip", CSV).header("idempotency-key", "newer")).await;
    accepted(server.upload("", CSV)).await;
    let newer = "update imports set options = jsonb_set(options, '{metadata}', '\"merge_in_a_new_way\"')
                  where idempotency_key = 'newer'";
    sqlx::raw_sql(newer).execute(server.store.pool()).await.unwrap();
    let listed = server.json("/v1/imports").await;
    let listed = listed["imports"].as_array().unwrap();
    assert_eq!(listed.len(), 3);
    assert!(listed[0].get("problem").is_none() && listed[2].get("problem").is_none(), "{listed:?}");
    let by_key = server.json("/v1/imports?idempotency_key=newer").await;
    for found in [&listed[1], &by_key["imports"][0]] {
        assert_eq!(found["id"], import["id"]);
        let problem = found["problem"].as_str().unwrap();
        assert!(problem.contains("newer version") && problem.contains("`metadata`"), "{problem}");
        // What this program knows of it is told as ever.
        assert_eq!(
            (&found["options"]["on_existing"], &found["counts"]["total"]),
            (&"skip".into(), &2.into())
        );
    }
}

#[tokio::test]
async fn more_uploads_than_may_be_at_a_time_are_asked_to_come_again() {
    let uploads = muster_store::StoreOptions::default().uploads;
    let http = HttpOptions { tenant_uploads: 2 * uploads as usize, ..HttpOptions::default() };
    let server = Server::start_with(ProducerOptions { http, ..ProducerOptions::default() }).await;
    let mut under_way = Vec::new();
    for number in 0..uploads {
        let (pieces, request) = streamed(&server, &number.to_string());
        let request = tokio::spawn(request.send());
        pieces.send(Ok("email\n".into())).await.unwrap();
        under_way.push((pieces, request));
    }
    until("all are being received", async || {
        let receiving = server.json("/v1/imports?state=receiving&limit=100").await;
        receiving["imports"].as_array().unwrap().len() == uploads as usize
    })
    .await;
    assert_eq!(server.json("/readyz").await["uploads"], "busy");
    let refused = server.upload("", CSV).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"2".parse().unwrap()));
    // One ends, and there is room.
    let (pieces, first) = under_way.pop().unwrap();
    pieces.send(Ok("a@example.com\n".into())).await.unwrap();
    drop(pieces);
    assert_eq!(first.await.unwrap().unwrap().status().as_u16(), 202);
    accepted(server.upload("", CSV)).await;
    assert_eq!(server.json("/readyz").await["uploads"], "ok");
}
