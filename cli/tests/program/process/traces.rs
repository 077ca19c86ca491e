//! Traces, as a collector gets them from programs on a real PostgreSQL and a real RabbitMQ.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use muster_queue::{Queue, QueueOptions, Topology};
use muster_runtime::clock;
use serde_json::Value;

use super::bounds::{Rig, service};
use crate::collector::{Collector, Seen};
use crate::harness::{generated, signal, until, wait};

/// A client's trace, and the span of it that sends the request.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

fn header(sampled: bool) -> String {
    format!("traceparent: 00-{TRACE}-{CLIENT}-0{}\r\n", u8::from(sampled))
}

/// An upload that waits for its start; its import.
fn upload(rig: &Rig, headers: &str) -> String {
    let headers = format!("Content-Type: text/csv\r\n{headers}");
    let (status, accepted) = rig.whole("start=manual", &headers, generated(500).into());
    assert_eq!(status, 202, "{accepted}");
    accepted
}

fn id(accepted: &str) -> String {
    let accepted: Value = serde_json::from_str(accepted).unwrap();
    accepted["id"].as_str().unwrap().to_owned()
}

/// Ends the producer, so that all that it knew of the upload is in the store, and has another one dispatch it.
fn apply(rig: &mut Rig, accepted: &str) {
    signal(&rig.producer, "TERM");
    assert!(rig.producer.wait().unwrap().success());
    rig.producer = service(&rig.desk, "producer");
    rig.desk.run(&["imports", "proceed", &id(accepted)]).exits(0);
    let worker = service(&rig.desk, "worker");
    until("the producer answers", || rig.answers().then_some(()));
    rig.until_completed(accepted);
    signal(&worker, "TERM");
    wait(worker).exits(0);
}

fn rig(collector: &Collector, queue: &[(&str, &str)], ratio: &str) -> Rig {
    let settings = [
        ("MUSTER_TRACE_ENDPOINT", &*collector.url),
        ("MUSTER_TRACE_RATIO", ratio),
        ("MUSTER_INTAKE_CHUNK_RECORDS", "100"),
    ];
    Rig::start(&[&settings[..], queue].concat())
}

fn named<'s>(spans: &'s [Seen], name: &str) -> Vec<&'s Seen> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[track_caller]
fn one<'s>(spans: &'s [Seen], name: &str) -> &'s Seen {
    let found = named(spans, name);
    assert_eq!(found.len(), 1, "{name}: {spans:#?}");
    found[0]
}

/// Below `parent`, and within its time where that is over only after it.
#[track_caller]
fn below<'s>(spans: &'s [Seen], parent: &Seen, name: &str) -> &'s Seen {
    let found: Vec<&Seen> =
        spans.iter().filter(|span| span.name == name && span.parent.as_ref() == Some(&parent.id)).collect();
    assert_eq!(found.len(), 1, "{name} below {parent:?}: {spans:#?}");
    assert!(found[0].began >= parent.began && found[0].ended >= found[0].began, "{:?}", found[0]);
    found[0]
}

fn one_trace_leads_to_every_commit(queue: &[(&str, &str)]) {
    let collector = Collector::new();
    let mut rig = rig(&collector, queue, "0");
    let accepted = upload(&rig, &header(true));
    apply(&mut rig, &accepted);
    let import = id(&accepted);
    // The store, for as long as the import is kept.
    let chunks = rig.get(&format!("/v1/imports/{import}"))["chunks"]["applied"].as_u64().unwrap();
    rig.stop();
    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.trace == TRACE), "what nobody asked for is not traced: {spans:#?}");
    let ids: HashSet<&str> = spans.iter().map(|span| &*span.id).collect();
    assert_eq!(ids.len(), spans.len(), "each span has an id of its own");

    let request = one(&spans, "POST /v1/imports");
    assert_eq!((request.parent.as_deref(), request.kind), (Some(CLIENT), 2));
    assert_eq!(request.says("http.response.status_code"), "202");
    let receive = below(&spans, request, "receive");
    assert_eq!((receive.says("muster.import"), receive.says("muster.records")), (&*import, "500"));
    let tenant = receive.says("muster.tenant");
    below(&spans, receive, "stage");
    below(&spans, receive, "commit");

    let published = named(&spans, "publish chunk");
    assert_eq!(published.len() as u64, chunks);
    assert!(chunks > 3, "{chunks}");
    for publish in published {
        assert_eq!((publish.parent.as_ref(), publish.kind), (Some(&request.id), 4));
        let applied = below(&spans, publish, "apply chunk");
        assert_eq!((&*publish.service, &*applied.service), ("muster-producer", "muster-worker"));
        assert_eq!((applied.kind, applied.says("muster.verdict"), applied.failed), (5, "ack", false));
        for span in [publish, applied] {
            assert_eq!((span.says("muster.import"), span.says("muster.tenant")), (&*import, tenant));
            assert_eq!(span.says("muster.chunk"), publish.says("muster.chunk"));
        }
        for step in ["lock", "read", "plan", "write", "finish", "commit"] {
            below(&spans, applied, step);
        }
    }
}

#[test]
fn one_trace_leads_from_an_upload_through_rows_to_the_commit_of_every_chunk() {
    one_trace_leads_to_every_commit(&[]);
}

#[test]
fn one_trace_leads_from_an_upload_through_rabbitmq_to_the_commit_of_every_chunk() {
    let broker = std::env::var("TEST_AMQP_URL").expect("TEST_AMQP_URL is missing: run `make test`");
    let prefix = format!("test-{}", clock::new_id().simple());
    one_trace_leads_to_every_commit(&[("AMQP_URL", &*broker), ("MUSTER_BROKER_PREFIX", &*prefix)]);
    let topology = Topology::new(prefix).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        Queue::rabbit(&broker, topology, QueueOptions::default()).unwrap().delete().await.unwrap();
    });
}

#[test]
fn what_is_not_sampled_is_carried_and_not_sent() {
    let collector = Collector::new();
    let mut rig = rig(&collector, &[], "0");
    let client = upload(&rig, &header(false));
    let nobody = upload(&rig, "");
    apply(&mut rig, &client);
    apply(&mut rig, &nobody);
    let kept = |accepted: &str| kept(&rig, &id(accepted));
    assert!(kept(&client).unwrap().starts_with(&format!("00-{TRACE}-")));
    for import in [&client, &nobody] {
        assert!(kept(import).unwrap().ends_with("-00"), "it was decided once, for everybody");
    }
    rig.stop();
    assert_eq!(collector.text(), "");
}

/// The trace context of an import, as the store has it.
fn kept(rig: &Rig, import: &str) -> Option<String> {
    rig.runtime.block_on(async {
        let store = rig.database.store().await;
        let kept = sqlx::query_scalar("select traceparent from imports where id::text = $1")
            .bind(import)
            .fetch_one(store.pool())
            .await
            .unwrap();
        store.close().await;
        kept
    })
}

#[test]
fn where_no_collector_is_named_a_clients_trace_is_carried_and_nothing_begins() {
    let mut rig = Rig::start(&[]);
    let (client, nobody) = (upload(&rig, &header(true)), upload(&rig, ""));
    assert_eq!(kept(&rig, &id(&client)), Some(format!("00-{TRACE}-{CLIENT}-01")));
    assert_eq!(kept(&rig, &id(&nobody)), None);
    let log = std::fs::read_to_string(rig.desk.path("producer.log")).unwrap();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let uploads = lines.iter().filter(|line| line["route"] == "/v1/imports" && line["method"] == "POST");
    let traces: Vec<&Value> = uploads.map(|line| &line["trace"]).collect();
    assert_eq!(traces, [&Value::from(TRACE), &Value::Null]);
    apply(&mut rig, &client);
    let log = std::fs::read_to_string(rig.desk.path("worker.log")).unwrap();
    assert!(log.contains(&format!("\"trace\":\"{TRACE}\"")), "lines about chunks name their trace: {log}");
    rig.stop();
}

#[test]
fn requests_without_a_credential_leave_no_spans() {
    let collector = Collector::new();
    let mut rig = rig(&collector, &[], "1");
    let token = std::mem::replace(&mut rig.token, "mst_nobody".into());
    let (status, told) =
        rig.whole("", &format!("Content-Type: text/csv\r\n{}", header(true)), "email\n".into());
    assert_eq!(status, 401, "{told}");
    rig.token = token;
    rig.text("/v1/imports");
    rig.stop();
    let spans = collector.spans();
    one(&spans, "GET /v1/imports");
    assert!(named(&spans, "POST /v1/imports").is_empty(), "{spans:#?}");
}

/// Its import waits for its start, so nothing is answered for a while.
#[test]
fn a_request_whose_client_goes_away_is_told_with_a_status_of_its_own() {
    let collector = Collector::new();
    let rig = rig(&collector, &[], "1");
    let path = format!("/v1/imports/{}", id(&upload(&rig, "")));
    let line = until("the log has the request", || {
        let mut stream = TcpStream::connect(&rig.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        write!(
            stream,
            "GET {path}?wait=5s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
            rig.token
        )
        .unwrap();
        // It may leave before its token was looked at; then it tries once more.
        assert!(stream.read(&mut [0]).is_err(), "it was answered");
        drop(stream);
        let log = std::fs::read_to_string(rig.desk.path("producer.log")).unwrap();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["status"] == 499 && line["tenant"].is_number())
    });
    assert_eq!((&line["message"], &line["method"]), (&"request".into(), &"GET".into()));
    assert_eq!((&line["route"], line["token"].is_string()), (&"/v1/imports/{id}".into(), true));
    rig.stop();
    let spans = collector.spans();
    let span = spans.iter().find(|span| line["trace"] == *span.trace).unwrap_or_else(|| panic!("{spans:#?}"));
    assert_eq!((&*span.name, span.says("http.response.status_code")), ("GET /v1/imports/{id}", "499"));
    assert!(!span.failed, "{span:?}");
}

#[test]
fn a_collector_that_hangs_or_refuses_costs_spans_and_no_import() {
    for status in [0, 400, 503] {
        let collector = Collector::answering(status);
        let mut rig = rig(&collector, &[], "1");
        let accepted = upload(&rig, "");
        apply(&mut rig, &accepted);
        until("the collector was asked", || (!collector.text().is_empty()).then_some(()));
        if status == 400 {
            until("lost spans are counted", || {
                let metrics = rig.text("/metrics");
                let line = metrics
                    .lines()
                    .find(|line| line.contains("muster_trace_spans_total{result=\"refused\"}"));
                let count: f64 = line?.rsplit(' ').next()?.parse().ok()?;
                (count > 0.0).then_some(())
            });
        }
        let began = Instant::now();
        rig.stop();
        assert!(began.elapsed() < Duration::from_secs(15), "{status}: {:?}", began.elapsed());
    }
}

#[test]
fn an_import_on_the_command_line_is_one_trace() {
    let collector = Collector::new();
    let desk = crate::harness::Desk::new()
        .set("MUSTER_TRACE_ENDPOINT", &collector.url)
        .set("MUSTER_TRACE_RATIO", "1");
    desk.write("users.csv", generated(50));
    desk.run(&["import", "users", "users.csv"]).exits(0);
    let spans = collector.spans();
    let root = one(&spans, "muster import");
    assert_eq!(root.parent, None);
    below(&spans, root, "receive");
    let publish = below(&spans, root, "publish chunk");
    let applied = below(&spans, publish, "apply chunk");
    below(&spans, applied, "commit");
    assert!(spans.iter().all(|span| span.trace == root.trace && span.service == "muster"), "{spans:#?}");
}
