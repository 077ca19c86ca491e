//! Marker values through every path of a service, and then a search in all that it leaves: logs, metrics, traces, errors, messages, the
//! process list and every table. One hit fails (P9).

use muster_domain::chunk::decode;
use muster_domain::record::RawValue;
use muster_testkit::TestDatabase;
use sqlx::{AssertSqlSafe, Row};

use super::bounds::{Rig, service};
use crate::collector::Collector;
use crate::harness::{signal, until, wait};

/// Stands in every value of a user. It may be in what a tenant reads of its users and records, and nowhere else.
const MARKER: &str = "zq7marker";
/// Stands in every secret, in the letters that a password hash and a TOTP secret may have. It may be in `user_credentials` alone.
const HASH: &str = "$2b$10$kx7secretkx7secretkx7skx7secretkx7secretkx7secretkx7s";
const TOTP: &str = "KX7SECRETKX7SECR";

fn has_secret(text: &str) -> bool {
    let text = text.to_lowercase();
    // As it is, and as the text of bytes.
    text.contains("kx7secret") || text.contains("6b7837736563726574") || text.contains("4b5837534543524554")
}

#[track_caller]
fn assert_no_secret(text: &str, place: &str) {
    assert!(!has_secret(text), "a secret is in {place}: {text}");
}

#[track_caller]
fn assert_no_marker(text: &str, place: &str) {
    assert!(!text.to_lowercase().contains(MARKER), "a marker is in {place}: {text}");
    assert_no_secret(text, place);
}

/// Messages that wait, whose headers must say nothing of a user, and whose bodies nothing of a secret.
async fn assert_messages_are_private(database: &TestDatabase) -> usize {
    let store = database.store().await;
    let messages = sqlx::query("select headers::text as headers, body from queue_messages")
        .fetch_all(store.pool())
        .await
        .unwrap();
    for message in &messages {
        assert_no_marker(&message.get::<String, _>("headers"), "the headers of a message");
        let chunk = decode(&message.get::<Vec<u8>, _>("body")).unwrap();
        for field in chunk.fields() {
            if let RawValue::Text(text) | RawValue::Json(text) = field.value {
                assert_no_secret(text, "a message");
            }
        }
    }
    store.close().await;
    messages.len()
}

/// Every table as text: no secret but in the table of secrets.
async fn assert_tables_are_private(database: &TestDatabase) {
    let store = database.store().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "select table_name::text from information_schema.tables
          where table_schema = 'public' and table_type = 'BASE TABLE' and table_name <> 'user_credentials'",
    )
    .fetch_all(store.pool())
    .await
    .unwrap();
    assert!(tables.len() > 10, "{tables:?}");
    for table in tables {
        let sql = format!("select coalesce(string_agg(t::text, E'\\n'), '') from \"{table}\" t");
        let text: String = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(store.pool()).await.unwrap();
        assert_no_secret(&text, &table);
    }
    let kept: i64 =
        sqlx::query_scalar("select count(*) from user_credentials where password_hash like '%kx7secret%'")
            .fetch_one(store.pool())
            .await
            .unwrap();
    assert_eq!(kept, 2, "the secrets of users who are there");
    store.close().await;
}

#[test]
fn no_marker_is_left_anywhere() {
    let collector = Collector::new();
    let filter = "info,muster_producer=trace,muster_worker=trace,muster_runtime=trace,muster_queue=trace,muster_store=trace,muster_engine=trace,muster_cli=trace";
    let rig = Rig::start(&[
        ("MUSTER_LOG_FILTER", filter),
        ("MUSTER_TRACE_ENDPOINT", &*collector.url),
        ("MUSTER_TRACE_RATIO", "1"),
    ]);
    let table = format!(
        "email,first_name,phone_number,password_hash,mfa_totp_secret,custom__note\n\
         {MARKER}1@example.com,{MARKER},+41791230777,{HASH},{TOTP},{MARKER}\n\
         {MARKER}2@example.com,{MARKER},+41791230777,{HASH},{TOTP},{MARKER}\n\
         {MARKER}3,{MARKER},,{HASH},{TOTP},{MARKER}\n\
         {MARKER}4@example.com,{HASH}\n\
         {MARKER}5@example.com,{MARKER},,{MARKER}{HASH},kx7secret,\"{MARKER}\"x\n"
    );
    let lines = format!(
        "{{\"email\":\"{MARKER}6@example.com\",\"password\":{{\"type\":\"bcrypt\",\"password_hash\":\"{HASH}\"}}}}\n\
         {{\"email\":\"{MARKER}7@example.com\",\"password\":{{\"plain\":\"kx7secret\"}},\"{MARKER}\":1}}\n\
         {{\"email\":\"{MARKER}8@example.com\",\"passwd\":\"kx7secret\",\n"
    );
    let (status, accepted) = rig.whole(
        "unknown_columns=ignore",
        &format!("Content-Type: text/csv\r\nIdempotency-Key: k1\r\ntraceparent: {MARKER}\r\n"),
        table.into_bytes(),
    );
    assert_eq!(status, 202, "{accepted}");
    let lines = lines + &format!("{{\"email\":\"{MARKER}9@example.com\"}}\n");
    let (status, second) =
        rig.whole("unknown_columns=ignore", "Content-Type: application/x-ndjson\r\n", lines.into_bytes());
    assert_eq!(status, 202, "{second}");
    // Whole files that are refused: what their errors say.
    for (headers, body) in [
        ("Content-Type: text/csv\r\n", format!("email,{MARKER}\n")),
        ("Content-Type: text/csv\r\n", format!("email,password_hash\n{MARKER}@example.com,\"{HASH}\n")),
        (
            "Content-Type: application/json\r\n",
            format!("[{{\"email\":\"{MARKER}@example.com\",\"password_hash\":\"{HASH}"),
        ),
        (&*format!("Content-Type: text/{MARKER}\r\n"), "email\n".to_owned()),
    ] {
        let (status, told) = rig.whole("", headers, body.into_bytes());
        assert!((400..500).contains(&status), "{told}");
        assert_no_secret(&told, "an error");
    }
    let waiting = until("messages wait", || {
        let count = rig.runtime.block_on(assert_messages_are_private(&rig.database));
        (count >= 2).then_some(count)
    });
    assert!(waiting >= 2);
    let worker = service(&rig.desk, "worker");
    for accepted in [&accepted, &second] {
        let import = rig.until_completed(accepted);
        let link = format!("/v1/imports/{}", import["id"].as_str().unwrap());
        for path in ["", "/records?limit=100", "/failed.csv", "/failed.ndjson"] {
            assert_no_secret(&rig.text(&format!("{link}{path}")), path);
        }
        for path in ["/receipt", "/report.html"] {
            assert_no_marker(&rig.text(&format!("{link}{path}")), path);
        }
    }
    assert_no_secret(&rig.text("/v1/imports"), "the list of imports");
    let user = rig.text(&format!("/v1/users?email={MARKER}1@example.com"));
    assert_no_secret(&user, "a user");
    let user: serde_json::Value = serde_json::from_str(&user).unwrap();
    let history = format!("/v1/users/{}/history", user["users"][0]["id"].as_str().unwrap());
    let history = rig.text(&history);
    assert!(history.contains(MARKER), "{history}");
    assert_no_secret(&history, "a history");
    assert_no_marker(&rig.text("/metrics"), "the metrics");
    for child in [&rig.producer, &worker] {
        let line = std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
        let line = String::from_utf8_lossy(&line).into_owned();
        assert_no_marker(&line, "the process list");
        assert!(!line.contains(&rig.token), "the token is in the process list");
    }
    signal(&worker, "TERM");
    wait(worker).exits(0);
    rig.runtime.block_on(assert_tables_are_private(&rig.database));
    let (producer, worker) = (rig.desk.path("producer.log"), rig.desk.path("worker.log"));
    let token = rig.token.clone();
    for log in [producer, worker] {
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(!text.is_empty(), "there is a log");
        assert_no_marker(&text, "a log");
        assert!(!text.contains("41791230777") && !text.contains(&token), "a log has a number or a token");
        // What is said to the person at a terminal is no event.
        for line in text.lines().filter(|line| !line.starts_with("stopping: ")) {
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "one event a line: {line}");
        }
    }
    rig.stop();
    let traces = collector.text();
    assert!(collector.spans().iter().any(|span| span.name == "apply chunk"), "chunks were traced");
    assert_no_marker(&traces, "a trace");
    assert!(!traces.contains("41791230777") && !traces.contains(&token), "a trace has a number or a token");
}
