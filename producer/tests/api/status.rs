//! How imports get on, over HTTP: their progress, their chunks, and what readiness says of those that stand still.

use std::time::Duration;

use muster_domain::chunk::ChunkLimits;
use muster_producer::receive::ReceiveLimits;
use muster_producer::{DispatchOptions, ProducerOptions};
use serde_json::{Value, json};

use crate::harness::{Server, accepted, assert_refused, until};

/// A server without workers, whose imports stand still after a second.
async fn impatient() -> Server {
    let dispatch = DispatchOptions { stall_after: Duration::from_secs(1), ..DispatchOptions::default() };
    Server::start_with(ProducerOptions { dispatch, ..ProducerOptions::default() }).await
}

#[tokio::test]
async fn readiness_is_degraded_by_an_import_that_stands_still_and_says_why() {
    let server = impatient().await;
    assert_eq!(server.json("/readyz").await["reasons"], json!([]));
    let import = accepted(server.upload("", "email\na@example.com\n")).await;
    until("readiness tells of it", async || server.json("/readyz").await["imports"] == "stalled").await;
    let ready = server.json("/readyz").await;
    assert_eq!(ready["status"], "degraded", "{ready}");
    let reason = ready["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("a running import makes no progress since "), "{reason}");
    assert!(reason.ends_with("it waits for a worker: none is running"), "{reason}");
    assert!(!reason.contains(import["id"].as_str().unwrap()), "anybody may ask: {reason}");
    let path = import["links"]["self"].as_str().unwrap().to_owned();
    let progress = server.json(&path).await["progress"].take();
    assert_eq!(
        (&progress["stalled"], &progress["waits_for"]),
        (&json!(true), &json!("worker")),
        "{progress}"
    );
    assert_eq!(progress["window"], json!({"import": 1, "tenant": 1, "used": 1, "size": 16}));
    let listed = server.json("/v1/imports").await;
    assert_eq!(listed["imports"][0]["progress"]["stalled"], true, "{listed}");
    // Whoever is cancelled stands still no more, and one that has ended has no progress to tell.
    let cancelled: Value = server.post(&format!("{path}/cancel")).send().await.unwrap().json().await.unwrap();
    assert!(cancelled.get("progress").is_none(), "{cancelled}");
    until("readiness is well again", async || server.json("/readyz").await["status"] == "ready").await;
}

#[tokio::test]
async fn readiness_says_so_where_it_cannot_be_told_whether_imports_make_progress() {
    let server = Server::start().await;
    let execute = async |sql: &'static str| sqlx::raw_sql(sql).execute(server.store.pool()).await.unwrap();
    until("it is ready", async || server.json("/readyz").await["status"] == "ready").await;
    // Nothing but the measure of progress reads it.
    execute("alter table imports rename column state_since to gone").await;
    until("it cannot be told", async || server.json("/readyz").await["imports"] == "unknown").await;
    let ready = server.json("/readyz").await;
    assert_eq!(
        (&ready["status"], &ready["reasons"]),
        (&json!("degraded"), &json!(["it is unknown whether imports make progress"]))
    );
    execute("alter table imports rename column gone to state_since").await;
    until("it is ready again", async || server.json("/readyz").await["status"] == "ready").await;
}

#[tokio::test]
async fn chunks_are_listed_by_lane_and_number_page_by_page() {
    let chunk = ChunkLimits { records: 100, bytes: 64 * 1024, lanes: 4 };
    let receive = ReceiveLimits { chunk, ..ReceiveLimits::default() };
    let server = Server::start_with(ProducerOptions { receive, ..ProducerOptions::default() }).await;
    let rows: String = (0..1000).map(|n| format!("u{n}@example.com\n")).collect();
    let import = accepted(server.upload("start=manual", format!("email\n{rows}"))).await;
    let path = import["links"]["chunks"].as_str().unwrap().to_owned();
    let all = server.json(&path).await;
    let (all, next) = (all["chunks"].as_array().unwrap(), &all["next"]);
    assert!(next.is_null() && all.len() > 8, "{all:?}");
    let place = |chunk: &Value| (chunk["lane"].as_u64().unwrap(), chunk["seq"].as_u64().unwrap());
    assert!(all.windows(2).all(|pair| place(&pair[0]) < place(&pair[1])), "{all:?}");
    let records: u64 = all.iter().map(|chunk| chunk["counts"]["total"].as_u64().unwrap()).sum();
    assert_eq!(records, 1000);
    assert!(all.iter().all(|chunk| chunk["state"] == "staged" && chunk["attempts"] == 0), "{all:?}");
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.json(&format!("{path}?limit=2{after}")).await;
        let chunks = page["chunks"].as_array().unwrap();
        assert!(chunks.len() <= 2);
        paged.extend(chunks.iter().map(|chunk| chunk["id"].clone()));
        match &page["next"] {
            Value::Null => break,
            next => after = format!("&after={next}"),
        }
    }
    assert_eq!(paged, all.iter().map(|chunk| chunk["id"].clone()).collect::<Vec<_>>());
    assert_eq!(server.json(&format!("{path}?state=dead")).await["chunks"], json!([]));
    assert_eq!(server.json(&format!("{path}?problem=true")).await["chunks"], json!([]));
    for wrong in ["state=lost", "limit=0", "limit=1001", "after=x", "problem=1", "colour=red"] {
        assert_refused(server.get(&format!("{path}?{wrong}")), 400, "invalid_request").await;
    }
    let missing = "/v1/imports/0190a5f0-7b7c-7000-8000-000000000001/chunks";
    assert_refused(server.get(missing), 404, "not_found").await;
}
