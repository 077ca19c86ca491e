//! A real Prometheus that scrapes real programs, with the rules of deploy/prometheus. Its durations (`for:`) are shortened, minutes to
//! seconds; nothing else of the rules is changed.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use muster_runtime::clock;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::read;
use crate::harness::Desk;

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(200);

/// The rules with `for: 5m` as `for: 5s`.
pub(super) fn faster(rules: &str) -> String {
    let shortened = |line: &str| match line.trim_start().strip_prefix("for: ") {
        Some(duration) => {
            let minutes = duration.strip_suffix('m').expect("durations of alerts are in minutes");
            line.replace(&format!("for: {duration}"), &format!("for: {minutes}s"))
        }
        None => line.to_owned(),
    };
    rules.lines().map(shortened).collect::<Vec<_>>().join("\n") + "\n"
}

/// A Prometheus of one's own. Dropped, it ends.
pub(super) struct Prometheus {
    child: Child,
    url: String,
    http: reqwest::Client,
    http_error: String,
}

impl Prometheus {
    /// Starts one that asks a producer and a worker at these addresses; it keeps its files in the desk's folder.
    pub(super) async fn start(desk: &Desk, producer: &str, worker: &str) -> Self {
        desk.write("rules.yml", faster(&read("deploy/prometheus/rules.yml")));
        // The jobs as in deploy/prometheus/prometheus.yml. A program that cannot reach its database takes up to three seconds to say so.
        let jobs = [("muster", producer), ("muster-worker", worker)];
        let jobs = jobs.map(|(job, target)| {
            format!("  - {{ job_name: {job}, static_configs: [{{ targets: [\"{target}\"] }}] }}\n")
        });
        let config = format!(
            "global: {{ scrape_interval: 5s, scrape_timeout: 5s, evaluation_interval: 1s }}\n\
             rule_files: [rules.yml]\nscrape_configs:\n{}",
            jobs.concat()
        );
        desk.write("prometheus.yml", config);
        let address = muster_testkit::free_address();
        let child = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=series", "--log.level=warn"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(desk.path("."))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is no prometheus: deploy/local/services.sh install brings it");
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
        let mut prometheus =
            Self { child, url: format!("http://{address}"), http, http_error: String::new() };
        let deadline = Instant::now() + PATIENCE;
        while prometheus.get("/-/ready", &[]).await.is_none() {
            assert!(Instant::now() < deadline, "Prometheus is not ready: {}", prometheus.http_error);
            assert_eq!(prometheus.child.try_wait().unwrap(), None, "Prometheus ended");
            sleep(POLL).await;
        }
        prometheus
    }

    /// The text at an address; none where there is no answer that is a success.
    async fn get(&mut self, path: &str, query: &[(&str, &str)]) -> Option<String> {
        let request = self.http.get(format!("{}{path}", self.url)).query(query);
        let asked = async { request.send().await?.error_for_status()?.text().await };
        match asked.await {
            Ok(text) => Some(text),
            Err(error) => {
                self.http_error = error.to_string();
                None
            }
        }
    }

    /// What the HTTP API has there.
    async fn data(&mut self, path: &str, query: &[(&str, &str)]) -> Value {
        let text = self.get(path, query).await;
        let text = text.unwrap_or_else(|| panic!("Prometheus does not answer: {}", self.http_error));
        serde_json::from_str::<Value>(&text).unwrap()["data"].take()
    }

    /// The alerts that are pending or firing.
    async fn alerts(&mut self) -> Vec<Value> {
        let mut data = self.data("/api/v1/alerts", &[]).await;
        serde_json::from_value(data["alerts"].take()).unwrap()
    }

    /// Waits until each of these fires, or has fired since. Each shows where its section of the runbook is.
    pub(super) async fn until_fired(&mut self, names: &[&str]) {
        let mut left = names.to_vec();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let alerts = self.alerts().await;
            for alert in alerts.iter().filter(|alert| alert["state"] == "firing") {
                assert!(alert["annotations"]["runbook"].is_string(), "{alert}");
                let name = alert["labels"]["alertname"].as_str().unwrap();
                left.retain(|wanted| *wanted != name);
            }
            if left.is_empty() {
                return;
            }
            if Instant::now() >= deadline {
                let targets = self.data("/api/v1/targets", &[("state", "active")]).await;
                panic!("{left:?} did not fire; these are there: {alerts:#?}; of {targets:#}");
            }
            sleep(POLL).await;
        }
    }

    /// Waits until no alert fires or is pending.
    pub(super) async fn until_quiet(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let alerts = self.alerts().await;
            if alerts.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "these do not end: {alerts:#?}");
            sleep(POLL).await;
        }
    }

    /// Waits until the programs of a job were asked after this moment, so that what they count from now on is seen to rise.
    pub(super) async fn until_scraped(&mut self, job: &str) {
        let since = clock::now().timestamp_millis();
        let question = format!("timestamp(up{{job=\"{job}\"}} == 1) * 1000");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let data = self.data("/api/v1/query", &[("query", &question)]).await;
            let at = data["result"][0]["value"][1].as_str().map(|text| text.parse::<f64>().unwrap());
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century are exact")]
            if at.is_some_and(|at| at > since as f64) {
                return;
            }
            assert!(Instant::now() < deadline, "{job} is not scraped: {data}");
            sleep(POLL).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn durations_alone_are_shortened() {
    let rules = "      - alert: A\n        expr: 'increase(a[15m]) > 0'\n        for: 15m\n";
    assert_eq!(faster(rules), "      - alert: A\n        expr: 'increase(a[15m]) > 0'\n        for: 15s\n");
}
