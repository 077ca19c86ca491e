//! The limits of docs/limits.md over HTTP: the last value that is within, and the first that is not.

use std::time::Duration;

use muster_domain::token::Scope;
use muster_producer::ProducerOptions;
use muster_producer::api::HttpOptions;
use muster_producer::receive::ReceiveLimits;
use muster_store::quota::TenantLimits;
use muster_store::tenants;
use reqwest::RequestBuilder;
use serde_json::Value;

use crate::harness::{Server, accepted, assert_refused, token, until};
use crate::uploads::zstd;

async fn server(receive: ReceiveLimits) -> Server {
    Server::start_with(ProducerOptions { receive, ..ProducerOptions::default() }).await
}

async fn of_tenant(tenant: TenantLimits) -> Server {
    server(ReceiveLimits { tenant, ..ReceiveLimits::default() }).await
}

fn csv(records: std::ops::Range<usize>) -> String {
    records.fold("email\n".to_owned(), |csv, at| csv + &format!("u{at}@example.com\n"))
}

/// A refusal leaves an import that says why, and nothing else.
async fn assert_no_effect(server: &Server) {
    let left: i64 = sqlx::query_scalar(
        "select (select count(*) from chunks c join imports i on i.id = c.import_id where i.state = 'refused')
              + (select count(*) from users)",
    )
    .fetch_one(server.store.pool())
    .await
    .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn an_upload_has_so_many_records_and_no_more() {
    let server = server(ReceiveLimits { records: Some(3), ..ReceiveLimits::default() }).await;
    let lines = |count: usize| "{\"email\":\"a@example.com\"}\n".repeat(count);
    let array = |count: usize| format!("[{}]", vec!["{\"email\":\"a@example.com\"}"; count].join(","));
    let send = |media_type: &str, body: String| {
        server.post("/v1/imports?start=manual").header("content-type", media_type).body(body)
    };
    for count in [2, 3, 4] {
        for request in [
            send("text/csv", csv(0..count)),
            send("application/x-ndjson", lines(count)),
            send("application/json", array(count)),
        ] {
            if count <= 3 {
                assert_eq!(accepted(request).await["counts"]["total"], count);
            } else {
                let told = assert_refused(request, 413, "too_many_records").await;
                assert_eq!(told["record"], 4);
            }
        }
    }
    assert_no_effect(&server).await;
}

#[tokio::test]
async fn an_upload_has_so_many_bytes_decompressed_and_no_more() {
    let server = server(ReceiveLimits { decompressed_bytes: Some(100), ..ReceiveLimits::default() }).await;
    for (bytes, fits) in [(99, true), (100, true), (101, false)] {
        let text = format!("email\n{}", "x".repeat(bytes - 6));
        let packed = server.upload("", zstd(text.as_bytes()).await).header("content-encoding", "zstd");
        for request in [server.upload("", text), packed] {
            if fits {
                accepted(request).await;
            } else {
                assert_refused(request, 413, "decompressed_too_large").await;
            }
        }
    }
    assert_no_effect(&server).await;
}

#[tokio::test]
async fn an_upload_has_so_many_bytes_as_sent_and_no_more() {
    let http = HttpOptions { max_upload_bytes: Some(64), ..HttpOptions::default() };
    let server = Server::start_with(ProducerOptions { http, ..ProducerOptions::default() }).await;
    for (bytes, fits) in [(63, true), (64, true), (65, false)] {
        let text = format!("email\n{}", "x".repeat(bytes - 6));
        let pieces = text.bytes().map(|byte| Ok::<_, std::io::Error>(vec![byte])).collect::<Vec<_>>();
        let streamed = server.upload("", reqwest::Body::wrap_stream(futures_util::stream::iter(pieces)));
        for request in [server.upload("", text), streamed] {
            if fits {
                accepted(request).await;
            } else {
                assert_refused(request, 413, "upload_too_large").await;
            }
        }
    }
}

/// Values at their limits, a record each: within, within, beyond.
#[tokio::test]
async fn values_have_lengths() {
    let server = Server::start().await;
    let email = |local: usize, all: usize| format!("{}@{}", "a".repeat(local), domain(all - local - 1));
    let rows: Vec<(&str, [String; 3], &str)> = vec![
        ("first_name", [255, 256, 257].map(|size| "\u{eb}".repeat(size)), "value_too_long"),
        ("custom__note", [65_535, 65_536, 65_537].map(|size| "x".repeat(size)), "value_too_long"),
        ("preferred_username", [149, 150, 151].map(|size| "u".repeat(size)), "username_invalid"),
        ("email", [253, 254, 255].map(|size| email(60, size)), "email_invalid"),
        ("email", [63, 64, 65].map(|size| email(size, size + 12)), "email_invalid"),
        (
            "website",
            [65_535, 65_536, 65_537].map(|size| "https://example.com/".to_owned() + &"x".repeat(size - 20)),
            "value_too_long",
        ),
    ];
    for (column, values, code) in rows {
        let file = if column == "email" {
            format!("email\n{}\n", values.join("\n"))
        } else {
            let lines: Vec<String> =
                values.iter().enumerate().map(|(at, value)| format!("v{at}@example.com,{value}")).collect();
            format!("email,{column}\n{}\n", lines.join("\n"))
        };
        let import = accepted(server.upload("start=manual", file)).await;
        let records = server.json(&format!("/v1/imports/{}/records", import["id"].as_str().unwrap())).await;
        let codes: Vec<&Value> = (0..3).map(|at| &records["records"][at]["errors"][0]["code"]).collect();
        assert_eq!(codes, [&Value::Null, &Value::Null, &Value::from(code)], "{column}");
    }
}

/// A domain of so many bytes, in labels that are not too long.
fn domain(bytes: usize) -> String {
    let mut domain = "example.com".to_owned();
    while domain.len() < bytes {
        let label = (bytes - domain.len() - 1).min(40);
        domain = format!("{}.{domain}", "d".repeat(label.max(1)));
    }
    domain
}

#[tokio::test]
async fn keys_and_labels_have_lengths() {
    let server = Server::start().await;
    for (size, fits) in [(254, true), (255, true), (256, false)] {
        let request = server.upload("start=manual", csv(0..1)).header("idempotency-key", "k".repeat(size));
        if fits {
            accepted(request).await;
        } else {
            assert_refused(request, 400, "invalid_request").await;
        }
        let label = "\u{eb}".repeat(size);
        let request = server.upload("start=manual", csv(0..1)).query(&[("filename", &label)]);
        let kept = accepted(request).await["filename"].as_str().unwrap().chars().count();
        assert_eq!(kept, size.min(255), "a label is cut");
    }
}

#[tokio::test]
async fn a_tenant_has_so_many_imports_under_way_and_no_more() {
    let server = of_tenant(TenantLimits { imports: Some(2), ..TenantLimits::default() }).await;
    // No worker: what runs goes on running.
    let send = |key: &str| server.upload("", csv(0..1)).header("idempotency-key", key.to_owned());
    let first = accepted(send("1")).await;
    accepted(send("2")).await;
    let refused = send("3").send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "5");
    let (status, told) = crate::harness::error(refused).await;
    assert_eq!((status, told["code"].as_str()), (429, Some("too_many_imports")));
    assert_eq!(accepted(send("1")).await["id"], first["id"], "a key that is known is answered");
    let count: i64 =
        sqlx::query_scalar("select count(*) from imports").fetch_one(server.store.pool()).await.unwrap();
    assert_eq!(count, 2, "what is refused leaves nothing");
    // Another tenant has its own, and one that has ended makes room.
    let other =
        tenants::create(&server.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    let foreign = token(&server.store, &other, "all", &[Scope::Ops]).await;
    let others = server.client.post(format!("{}/v1/imports", server.url)).bearer_auth(foreign);
    accepted(others.header("content-type", "text/csv").body(csv(0..1))).await;
    let cancel = format!("/v1/imports/{}/cancel", first["id"].as_str().unwrap());
    assert!(server.post(&cancel).send().await.unwrap().status().is_success());
    accepted(send("3")).await;
}

#[tokio::test]
async fn imports_that_come_at_once_keep_to_the_tenants_number() {
    let server = of_tenant(TenantLimits { imports: Some(3), ..TenantLimits::default() }).await;
    let sent = (0..8).map(|_| server.upload("", csv(0..1)).send());
    let statuses: Vec<u16> = futures_util::future::join_all(sent)
        .await
        .into_iter()
        .map(|answer| answer.unwrap().status().as_u16())
        .collect();
    let of = |status: u16| statuses.iter().filter(|found| **found == status).count();
    assert_eq!((of(202), of(429)), (3, 5), "{statuses:?}");
}

#[tokio::test]
async fn a_tenant_has_so_many_records_a_day_and_no_more() {
    let server = of_tenant(TenantLimits { records_per_day: Some(3), ..TenantLimits::default() }).await;
    let send = |count: usize| server.upload("", csv(0..count));
    accepted(send(2)).await;
    let told = assert_refused(send(2), 429, "quota_exceeded").await;
    assert!(told["message"].as_str().unwrap().contains("room for 1 more records"), "{told}");
    accepted(send(1)).await;
    assert_refused(send(1), 429, "quota_exceeded").await;
    assert_no_effect(&server).await;
    sqlx::query("update imports set received_at = received_at - interval '1 day'")
        .execute(server.store.pool())
        .await
        .unwrap();
    accepted(send(3)).await;
}

/// Each alone has room, and both together have not: the one that ends later is refused.
#[tokio::test]
async fn uploads_at_once_keep_to_the_quota_together() {
    let server = of_tenant(TenantLimits { records_per_day: Some(3), ..TenantLimits::default() }).await;
    let begin = || {
        let (pieces, body) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(1);
        let body = futures_util::stream::unfold(body, |mut body| async {
            body.recv().await.map(|piece| (piece, body))
        });
        let request: RequestBuilder = server.upload("", reqwest::Body::wrap_stream(body));
        (pieces, tokio::spawn(request.send()))
    };
    let both = [begin(), begin()];
    for (pieces, _) in &both {
        pieces.send(Ok(csv(0..2))).await.unwrap();
    }
    until("both are under way", async || {
        server.json("/v1/imports?state=receiving").await["imports"].as_array().unwrap().len() == 2
    })
    .await;
    let mut statuses = Vec::new();
    for (pieces, answer) in both {
        drop(pieces);
        statuses.push(answer.await.unwrap().unwrap().status().as_u16());
    }
    assert_eq!(statuses, [202, 429]);
    assert_no_effect(&server).await;
}

/// The search may take long, and the quota is counted by one upload of the tenant at a time.
#[tokio::test]
async fn a_search_for_duplicates_holds_up_no_other_upload_of_the_tenant() {
    let server = of_tenant(TenantLimits { records_per_day: Some(9), ..TenantLimits::default() }).await;
    let mut locked = server.store.pool().begin().await.unwrap();
    sqlx::query("lock table import_doubles in exclusive mode").execute(&mut *locked).await.unwrap();
    let searching = tokio::spawn(server.upload("duplicates=refuse", csv(0..2)).send());
    server.until_waiting(1).await;
    accepted(server.upload("", csv(2..4))).await;
    locked.rollback().await.unwrap();
    assert_eq!(searching.await.unwrap().unwrap().status(), 202);
    // Both are counted.
    assert_refused(server.upload("", csv(4..10)), 429, "quota_exceeded").await;
}

#[tokio::test]
async fn a_tenant_keeps_so_many_bytes_and_no_more() {
    let size = csv(0..2).len() as u64;
    for (limit, fits) in [(2 * size - 1, false), (2 * size, true), (2 * size + 1, true)] {
        let server = of_tenant(TenantLimits { stored_bytes: Some(limit), ..TenantLimits::default() }).await;
        accepted(server.upload("", csv(0..2))).await;
        let second = server.upload("", csv(0..2));
        if fits {
            accepted(second).await;
        } else {
            assert_refused(second, 429, "quota_exceeded").await;
            assert_no_effect(&server).await;
        }
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_in_time() {
    let http = HttpOptions { request_timeout: Duration::from_millis(300), ..HttpOptions::default() };
    let server = Server::start_with(ProducerOptions { http, ..ProducerOptions::default() }).await;
    accepted(server.upload("", csv(0..1))).await;
    let mut locked = server.store.pool().begin().await.unwrap();
    sqlx::query("lock table imports in access exclusive mode").execute(&mut *locked).await.unwrap();
    let late = server.get("/v1/imports").send().await.unwrap();
    assert_eq!(late.headers()["retry-after"], "2");
    let (status, told) = crate::harness::error(late).await;
    assert_eq!((status, told["code"].as_str()), (503, Some("request_timeout")));
    locked.rollback().await.unwrap();
    // What else waited for the table goes first.
    let answered = async || server.get("/v1/imports").send().await.unwrap().status().as_u16() == 200;
    until("it is answered again", answered).await;
}
