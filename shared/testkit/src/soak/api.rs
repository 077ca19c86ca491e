//! Muster's API as a client uses it: one of the producers, chosen in turn, and answers that may be none.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::generate::Draft;
use super::model::OnExisting;

/// What came back.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A status with a body of JSON, null where it was none.
    Is(u16, Value),
    /// The request was never sent.
    NotSent,
    /// It was sent, and nobody answered.
    Nothing(String),
}

/// How a body is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    Whole,
    /// In pieces with pauses.
    Slow,
    /// The connection is cut after so many bytes, before the end.
    Cut(usize),
    /// The client leaves after so long, wherever it is.
    Leave(Duration),
}

/// An import as the API shows it.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) id: Uuid,
    pub(crate) state: String,
    pub(crate) total: u64,
    pub(crate) pending: u64,
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
}

impl View {
    pub(crate) fn read(json: &Value) -> Option<Self> {
        let count = |name: &str| json["counts"][name].as_u64();
        Some(Self {
            id: json["id"].as_str()?.parse().ok()?,
            state: json["state"].as_str()?.to_owned(),
            total: count("total")?,
            pending: count("pending")?,
            inserted: count("inserted")?,
            updated: count("updated")?,
            skipped: count("skipped")?,
            failed: count("failed")?,
        })
    }

    pub(crate) fn adds_up(&self) -> bool {
        self.total == self.pending + self.inserted + self.updated + self.skipped + self.failed
    }

    pub(crate) fn ended(&self) -> bool {
        ["completed", "cancelled", "aborted", "refused"].contains(&&*self.state)
    }
}

/// An upload: what is sent beside the body.
#[derive(Debug, Clone)]
pub(crate) struct Upload<'a> {
    pub(crate) tenant: usize,
    pub(crate) draft: &'a Draft,
    pub(crate) label: String,
    pub(crate) key: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Api {
    http: reqwest::Client,
    bases: Vec<String>,
    tokens: Vec<String>,
    turn: AtomicUsize,
}

impl Api {
    pub(crate) fn new(bases: Vec<String>, tokens: Vec<String>) -> anyhow::Result<Self> {
        // Fails where one is there already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(120))
            .build()?;
        Ok(Self { http, bases, tokens, turn: AtomicUsize::new(0) })
    }

    pub(crate) fn bases(&self) -> &[String] {
        &self.bases
    }

    fn base(&self) -> &str {
        &self.bases[self.turn.fetch_add(1, Ordering::Relaxed) % self.bases.len()]
    }

    async fn sent(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Answer::NotSent,
            Err(error) => return Answer::Nothing(error.without_url().to_string()),
        };
        let status = response.status().as_u16();
        match response.bytes().await {
            Ok(body) => Answer::Is(status, serde_json::from_slice(&body).unwrap_or(Value::Null)),
            Err(error) => Answer::Nothing(error.without_url().to_string()),
        }
    }

    /// One request without a body.
    pub(crate) async fn ask(&self, tenant: usize, post: bool, path: &str) -> Answer {
        let url = format!("{}{path}", self.base());
        let request = if post { self.http.post(url) } else { self.http.get(url) };
        let request = request.bearer_auth(&self.tokens[tenant]).timeout(Duration::from_secs(30));
        self.sent(request).await
    }

    /// Reads until somebody answers with something other than 503; for as long as nobody does, it tries again.
    pub(crate) async fn read(&self, tenant: usize, path: &str, patience: Duration) -> Option<(u16, Value)> {
        let reading = async {
            loop {
                match self.ask(tenant, false, path).await {
                    Answer::Is(status, body) if status != 503 => return (status, body),
                    _ => sleep(Duration::from_millis(100)).await,
                }
            }
        };
        timeout(patience, reading).await.ok()
    }

    /// What a server says in plain text, without a token.
    pub(crate) async fn plain(&self, base: &str, path: &str) -> Option<String> {
        self.http.get(format!("{base}{path}")).send().await.ok()?.text().await.ok()
    }

    /// Uploads a file.
    pub(crate) async fn upload(&self, upload: &Upload<'_>, way: Way) -> Answer {
        let draft = upload.draft;
        let mut query = vec![("format", draft.format.name()), ("filename", &upload.label)];
        if draft.on_existing == OnExisting::Skip {
            query.push(("on_existing", "skip"));
        }
        if draft.refuse {
            query.push(("on_invalid", "refuse"));
        }
        if draft.manual {
            query.push(("start", "manual"));
        } else if draft.planned {
            query.push(("start", "plan"));
        }
        let mut request = self
            .http
            .post(format!("{}/v1/imports", self.base()))
            .bearer_auth(&self.tokens[upload.tenant])
            .query(&query)
            .header("content-type", draft.format.media_type())
            .body(body(&draft.body, way));
        if let Some(key) = &upload.key {
            request = request.header("idempotency-key", key);
        }
        match way {
            Way::Leave(after) => match timeout(after, self.sent(request)).await {
                Ok(answer) => answer,
                Err(_) => Answer::Nothing("the client left".into()),
            },
            _ => self.sent(request).await,
        }
    }
}

fn body(bytes: &Bytes, way: Way) -> reqwest::Body {
    match way {
        Way::Whole | Way::Leave(_) => bytes.clone().into(),
        Way::Slow => {
            let piece = bytes.len().div_ceil(8).max(1);
            let pieces: Vec<Bytes> = bytes.chunks(piece).map(Bytes::copy_from_slice).collect();
            let slowly = stream::iter(pieces).then(async |piece| {
                sleep(Duration::from_millis(150)).await;
                Ok::<_, Infallible>(piece)
            });
            reqwest::Body::wrap_stream(slowly)
        }
        Way::Cut(at) => {
            let sent = bytes.slice(..at.min(bytes.len()));
            let end = stream::once(async {
                // What was sent before is on its way by then.
                sleep(Duration::from_millis(20)).await;
                Err(std::io::Error::other("cut"))
            });
            reqwest::Body::wrap_stream(stream::iter([Ok(sent)]).chain(end))
        }
    }
}
