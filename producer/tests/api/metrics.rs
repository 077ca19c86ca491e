//! `/metrics`: every series is there from the start, and tells what there is.

use std::collections::HashMap;

use muster_producer::api::openapi;
use muster_runtime::telemetry::series::{Kind, Part, SERIES, STATUS_CLASSES};

use crate::harness::{Server, accepted, until};

/// Every line of `/metrics`: name with labels, and value; and the lines of HELP and TYPE by metric.
pub(crate) struct Scrape {
    pub(crate) values: HashMap<String, f64>,
    notes: Vec<String>,
}

impl Scrape {
    pub(crate) async fn of(server: &Server) -> Self {
        let text = server.get("/metrics").send().await.unwrap().text().await.unwrap();
        let (notes, values): (Vec<&str>, Vec<&str>) =
            text.lines().filter(|line| !line.is_empty()).partition(|line| line.starts_with('#'));
        let value = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        };
        Self {
            values: values.into_iter().map(value).collect(),
            notes: notes.into_iter().map(str::to_owned).collect(),
        }
    }

    /// The value of a series. Its labels stand in the order of the table.
    #[track_caller]
    pub(crate) fn get(&self, series: &str) -> f64 {
        *self.values.get(series).unwrap_or_else(|| panic!("{series} is not there"))
    }
}

fn series(name: &str, labels: &[(&str, &str)]) -> String {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
}

#[tokio::test]
async fn every_series_is_there_from_the_start_at_zero_with_its_help_and_type() {
    let server = Server::start().await;
    let scrape = Scrape::of(&server).await;
    for metric in SERIES.iter().filter(|metric| metric.is_of(Part::Producer)) {
        let name = metric.name;
        assert!(scrape.notes.contains(&format!("# HELP {name} {}", metric.help)), "{name} has no help");
        assert!(
            scrape.notes.contains(&format!("# TYPE {name} {}", metric.kind.as_str())),
            "{name} has no type"
        );
        for labels in metric.combinations() {
            match metric.kind {
                Kind::Counter => assert_eq!(scrape.get(&series(name, &labels)), 0.0, "{name} {labels:?}"),
                Kind::Gauge => assert!(scrape.get(&series(name, &labels)).is_finite()),
                Kind::Histogram => assert!(scrape.get(&series(&format!("{name}_count"), &labels)) >= 0.0),
            }
        }
    }
    let documented = serde_json::to_value(openapi()).unwrap();
    for (route, item) in documented["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
            let labels = [("method", method.as_str()), ("route", route.as_str())];
            scrape.get(&series("muster_http_request_seconds_count", &labels));
            for status in STATUS_CLASSES {
                let labels = [labels[0], labels[1], ("status", *status)];
                scrape.get(&series("muster_http_requests_total", &labels));
            }
        }
    }
    assert_eq!(scrape.get("muster_store_reachable"), 1.0);
    assert_eq!(scrape.get("muster_dispatch_window_size"), 16.0);
    // Whatever is asked for: a wrong verb, an address that leads nowhere, a head, files of the console and of the documentation.
    for (method, path) in [
        ("PUT", "/v1/imports"),
        ("DELETE", "/v1/catalog"),
        ("OPTIONS", "/v1/events"),
        ("BREW", "/v1/imports"),
        ("HEAD", "/v1/imports"),
        ("HEAD", "/nowhere"),
        ("PATCH", "/nowhere"),
        ("GET", "/v1/imports/0190a5f0-7b7c-7000-8000-000000000001/nothing"),
        ("GET", "/console/sign-in"),
        ("POST", "/console/sign-in"),
        ("GET", "/console/assets/nothing.css"),
        ("GET", "/console/nowhere"),
        ("GET", "/docs/"),
        ("GET", "/openapi.json"),
    ] {
        server.request(method.parse().unwrap(), path).send().await.unwrap();
    }
    let again = Scrape::of(&server).await;
    assert_eq!(
        again.values.len(),
        scrape.values.len(),
        "no series appears later: {:?}",
        again.values.keys().filter(|name| !scrape.values.contains_key(*name)).collect::<Vec<_>>()
    );
    let of = |method: &str, route: &str, status: &str| {
        again.get(&format!(
            "muster_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}"
        ))
    };
    assert_eq!(of("other", "-", "4xx"), 5.0, "wrong verbs, and one to nowhere");
    assert_eq!(of("GET", "/v1/imports", "2xx"), 1.0, "a head is the answer to GET");
    assert!(of("GET", "-", "4xx") >= 3.0);
}

#[tokio::test]
async fn what_is_received_waits_and_is_refused_is_among_the_metrics() {
    let server = Server::start().await;
    let body = "email\na@example.com\nnonsense\nnonsense too\n";
    accepted(server.upload("start=manual", body)).await;
    accepted(server.upload("", "email\nb@example.com\n")).await;
    let refused = server.upload("", "email,shoe_size\na@example.com,43\n").send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 400);
    until("what is there is told", async || {
        let scrape = Scrape::of(&server).await;
        scrape.get("muster_imports{state=\"running\"}") == 1.0
            && scrape.get("muster_chunks{state=\"dispatched\"}") == 1.0
            // Claimed first, then published; and counted at most each second.
            && scrape.get("muster_queue_messages{state=\"ready\"}") == 1.0
            && scrape.get("muster_processes{kind=\"dispatcher\"}") == 1.0
    })
    .await;
    let scrape = Scrape::of(&server).await;
    for (series, value) in [
        ("muster_imports{state=\"received\"}", 1.0),
        ("muster_imports{state=\"completed\"}", 0.0),
        ("muster_chunks{state=\"staged\"}", 1.0),
        ("muster_dispatch_window_used", 1.0),
        ("muster_queue_messages{state=\"ready\"}", 1.0),
        ("muster_queue_consumers", 0.0),
        ("muster_processes{kind=\"worker\"}", 0.0),
        ("muster_processes{kind=\"dispatcher\"}", 1.0),
        ("muster_uploads_total{result=\"received\"}", 2.0),
        ("muster_uploads_total{result=\"refused\"}", 1.0),
        ("muster_records_total{outcome=\"failed\"}", 2.0),
        ("muster_failures_total{code=\"email_invalid\"}", 2.0),
        ("muster_http_refusals_total{status=\"400\"}", 1.0),
        ("muster_http_requests_total{method=\"POST\",route=\"/v1/imports\",status=\"2xx\"}", 2.0),
        ("muster_http_requests_total{method=\"POST\",route=\"/v1/imports\",status=\"4xx\"}", 1.0),
        ("muster_http_request_seconds_count{method=\"POST\",route=\"/v1/imports\"}", 3.0),
    ] {
        assert_eq!(scrape.get(series), value, "{series}");
    }
    assert!(scrape.get("muster_upload_bytes_total") >= body.len() as f64);
    assert!(scrape.get("muster_oldest_pending_seconds") >= 0.0);
}
