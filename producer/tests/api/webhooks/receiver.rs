//! A server that receives webhooks: it notes every request, and answers as it was told to, well or badly.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_runtime::clock;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::harness::until;

/// How to answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// With this status.
    Status(u16),
    /// The same, after a while.
    Slow(u16, Duration),
    /// With these bytes, whatever they are.
    Raw(String),
    /// Not at all, and the connection stays open.
    Hang,
    /// With success, and a body that never ends.
    Endless,
    /// With a head that never ends.
    EndlessHead,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn told(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn kind(&self) -> String {
        self.told()["type"].as_str().unwrap().to_owned()
    }

    pub(crate) fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    /// The signatures, as many as there are.
    pub(crate) fn signatures(&self) -> Vec<&str> {
        self.headers["webhook-signature"].split(' ').collect()
    }

    /// Whether one of the signatures was made with this secret, which is computed here by itself, and lately.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let timestamp: i64 = self.headers["webhook-timestamp"].parse().unwrap();
        assert!((clock::now().timestamp() - timestamp).abs() < 300, "{timestamp}");
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let signed = format!("{}.{timestamp}.{}", self.id(), self.body);
        let mut block = [0_u8; 64];
        block[..key.len()].copy_from_slice(&key);
        let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(signed).finalize();
        let outer = Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize();
        let expected = format!("v1,{}", STANDARD.encode(outer));
        self.signatures().contains(&expected.as_str())
    }
}

#[derive(Debug, Default)]
struct Noted {
    received: Vec<Received>,
    next: VecDeque<Reply>,
    always: Option<Reply>,
    connections: usize,
    /// Requests that are received and not answered.
    open: usize,
    most_open: usize,
}

#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    noted: Arc<Mutex<Noted>>,
    serving: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        let noted = Arc::new(Mutex::new(Noted::default()));
        let shared = noted.clone();
        let serving = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                shared.lock().unwrap().connections += 1;
                let shared = shared.clone();
                // What a client breaks off is no error here.
                tokio::spawn(async move { answer(stream, &shared).await.unwrap_or_default() });
            }
        });
        Self { url, noted, serving }
    }

    /// How to answer the next requests, one after the other.
    pub(crate) fn next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.noted.lock().unwrap().next.extend(replies);
    }

    /// How to answer all others. Before this is said, with success.
    pub(crate) fn always(&self, reply: Reply) {
        self.noted.lock().unwrap().always = Some(reply);
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.noted.lock().unwrap().received.clone()
    }

    pub(crate) fn kinds(&self) -> Vec<String> {
        self.received().iter().map(Received::kind).collect()
    }

    pub(crate) fn connections(&self) -> usize {
        self.noted.lock().unwrap().connections
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.noted.lock().unwrap().most_open
    }

    /// Waits until there were so many requests.
    pub(crate) async fn until(&self, count: usize) -> Vec<Received> {
        until(&format!("{count} requests are received"), async || self.received().len() >= count).await;
        self.received()
    }

    pub(crate) fn port(&self) -> u16 {
        let authority = self.url.strip_prefix("http://127.0.0.1:").unwrap();
        authority.strip_suffix("/hooks").unwrap().parse().unwrap()
    }
}

async fn answer(stream: TcpStream, noted: &Mutex<Noted>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    if !line.starts_with("POST /") {
        return Ok(());
    }
    let mut headers = HashMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let reply = {
        let mut noted = noted.lock().unwrap();
        noted.received.push(Received { headers, body: String::from_utf8(body).unwrap() });
        noted.open += 1;
        noted.most_open = noted.most_open.max(noted.open);
        noted.next.pop_front().or_else(|| noted.always.clone()).unwrap_or(Reply::Status(204))
    };
    if let Reply::Slow(_, pause) = &reply {
        tokio::time::sleep(*pause).await;
    }
    noted.lock().unwrap().open -= 1;
    let head = |status: u16| format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    match reply {
        Reply::Status(status) | Reply::Slow(status, _) => stream.write_all(head(status).as_bytes()).await?,
        Reply::Raw(text) => stream.write_all(text.as_bytes()).await?,
        Reply::Hang => std::future::pending().await,
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            loop {
                stream.write_all(format!("400\r\n{}\r\n", "x".repeat(1024)).as_bytes()).await?;
            }
        }
        Reply::EndlessHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                stream.write_all(format!("x-more: {}\r\n", "x".repeat(1024)).as_bytes()).await?;
            }
        }
    }
    stream.shutdown().await
}
