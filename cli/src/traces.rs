//! Sending traces to the collector that `trace.endpoint` names. Nothing is connected before there is something to send.

use std::time::Duration;

use anyhow::{Context, bail};
use muster_runtime::config::Config;
use muster_runtime::telemetry::traces::{self, Carrier, Exporter, Refused, Taken};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url};
use secrecy::ExposeSecret;
use serde::Deserialize;

use crate::args::Command;

/// Where collectors take traces, if the endpoint does not say it.
const PATH: &str = "/v1/traces";
/// How long a request may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Most bytes of an answer that are read.
const ANSWER_BYTES: usize = 64 * 1024;
/// How long the last spans may take at the end of the program, beside what its work may take.
const FLUSH: Duration = Duration::from_secs(2);

/// What sends traces while a command runs, if anything does.
pub(crate) struct Traces(Option<Exporter>);

impl Traces {
    /// Starts to trace, where a collector is named.
    pub(crate) fn start(command: &Command, config: &Config) -> anyhow::Result<Self> {
        let Some(endpoint) = &config.trace.endpoint else { return Ok(Self(None)) };
        let collector = Collector::new(endpoint.secret().expose_secret())?;
        let service = match command {
            Command::Producer(_) => "muster-producer",
            Command::Worker(_) => "muster-worker",
            _ => "muster",
        };
        Ok(Self(Some(traces::start(service, config.trace.ratio, collector))))
    }

    /// Sends what there is.
    pub(crate) async fn stop(self) {
        if let Some(exporter) = self.0 {
            exporter.stop(FLUSH).await;
        }
    }
}

/// The collector, asked directly and never by way of a proxy.
struct Collector {
    client: Client,
    url: Url,
}

impl Collector {
    fn new(endpoint: &str) -> anyhow::Result<Self> {
        // Err means that one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")))
                .redirect(Policy::none())
                .no_proxy()
                .timeout(ANSWER)
        };
        // A system without certificates of authorities can still have a collector without HTTPS.
        let client = builder().build().or_else(|_| ClientBuilder::tls_certs_only(builder(), []).build());
        let client = client.context("the HTTP client for traces cannot be made")?;
        Ok(Self { client, url: address(endpoint)? })
    }
}

/// The address of a request. An error does not repeat it: it may hold a password.
fn address(endpoint: &str) -> anyhow::Result<Url> {
    let Ok(mut url) = Url::parse(endpoint) else { bail!("trace.endpoint: is no URL") };
    if !url.has_host() {
        bail!("trace.endpoint: names no host");
    }
    if url.path() == "/" {
        url.set_path(PATH);
    }
    Ok(url)
}

impl Carrier for Collector {
    async fn carry(&self, body: Vec<u8>) -> Result<Taken, Refused> {
        // User and password of the URL become the header of Basic authentication.
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(body);
        let response = request.send().await.map_err(unreached)?;
        let status = response.status();
        if status.is_success() {
            return Ok(read(response).await);
        }
        let again = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        Err(Refused { why: format!("the answer was {}", status.as_u16()), again })
    }
}

fn unreached(error: reqwest::Error) -> Refused {
    let error = error.without_url();
    let mut deepest: &dyn std::error::Error = &error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    let why = if error.is_timeout() {
        format!("no answer within {} seconds", ANSWER.as_secs())
    } else {
        deepest.to_string()
    };
    Refused { why, again: true }
}

/// How many spans the collector reports as rejected; without a report it has kept all of them.
async fn read(mut response: Response) -> Taken {
    let mut text = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        text.extend_from_slice(&piece);
        if text.len() > ANSWER_BYTES {
            break;
        }
    }
    rejected(&text)
}

fn rejected(answer: &[u8]) -> Taken {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        partial_success: Option<Partial>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Partial {
        // A number of 64 bits is a text in this format, and some write it as a number all the same.
        rejected_spans: Option<serde_json::Value>,
    }
    let answer: Option<Answer> = serde_json::from_slice(answer).ok();
    let rejected = answer.and_then(|answer| answer.partial_success?.rejected_spans);
    let rejected = rejected.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    Taken { rejected: rejected.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_without_a_path_is_given_that_of_the_protocol() {
        for (endpoint, asked) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
            ("https://tempo.example.com/otlp/v1/traces", "https://tempo.example.com/otlp/v1/traces"),
            ("https://u:p@tempo.example.com", "https://u:p@tempo.example.com/v1/traces"),
        ] {
            assert_eq!(address(endpoint).unwrap().as_str(), asked);
        }
        for wrong in ["http://", "http://u:hunter2@:1", "https://[::1", "http://h:port"] {
            let told = address(wrong).unwrap_err().to_string();
            assert!(told.starts_with("trace.endpoint: ") && !told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn what_a_collector_did_not_keep_is_read_from_its_answer() {
        for (answer, rejected_spans) in [
            ("", 0),
            ("{}", 0),
            ("{\"partialSuccess\":{}}", 0),
            ("{\"partialSuccess\":{\"rejectedSpans\":\"3\",\"errorMessage\":\"too old\"}}", 3),
            ("{\"partialSuccess\":{\"rejectedSpans\":4}}", 4),
            ("{\"partialSuccess\":{\"rejectedSpans\":-1}}", 0),
            ("<html>", 0),
        ] {
            assert_eq!(rejected(answer.as_bytes()), Taken { rejected: rejected_spans }, "{answer}");
        }
    }
}
