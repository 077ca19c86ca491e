//! A collector of traces: a small HTTP server that takes OTLP as JSON and keeps the spans.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// One span, as far as tests look at it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) service: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    pub(crate) name: String,
    pub(crate) kind: u64,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) failed: bool,
    pub(crate) attributes: HashMap<String, String>,
}

impl Seen {
    /// An attribute that must be there.
    #[track_caller]
    pub(crate) fn says(&self, name: &str) -> &str {
        self.attributes.get(name).unwrap_or_else(|| panic!("{name} is not said: {self:?}"))
    }
}

/// The server. It listens until the process of the test ends.
pub(crate) struct Collector {
    pub(crate) url: String,
    status: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    /// One that takes everything.
    pub(crate) fn new() -> Self {
        Self::answering(200)
    }

    /// One that answers with this status; 0: with nothing, ever.
    pub(crate) fn answering(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let kept = kept.clone();
                std::thread::spawn(move || serve(stream, status, &kept));
            }
        });
        Self { url, status, requests }
    }

    /// Everything that was sent, as it came: heads and bodies.
    pub(crate) fn text(&self) -> String {
        self.requests.lock().unwrap().join("\n")
    }

    /// All spans that were taken, in the order in which they began.
    pub(crate) fn spans(&self) -> Vec<Seen> {
        assert_eq!(self.status, 200);
        let mut spans = Vec::new();
        for request in self.requests.lock().unwrap().iter() {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
            assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
            let body: Value = serde_json::from_str(body).unwrap();
            for resource in body["resourceSpans"].as_array().unwrap() {
                let service = attributes(&resource["resource"])["service.name"].clone();
                for scope in resource["scopeSpans"].as_array().unwrap() {
                    spans.extend(scope["spans"].as_array().unwrap().iter().map(|span| seen(span, &service)));
                }
            }
        }
        spans.sort_by_key(|span| span.began);
        spans
    }
}

fn seen(span: &Value, service: &str) -> Seen {
    let text = |name: &str| span[name].as_str().map(str::to_owned);
    let number = |name: &str| span[name].as_str().unwrap().parse().unwrap();
    let (trace, id) = (text("traceId").unwrap(), text("spanId").unwrap());
    assert!(trace.len() == 32 && id.len() == 16, "{span}");
    Seen {
        service: service.to_owned(),
        trace,
        id,
        parent: text("parentSpanId"),
        name: text("name").unwrap(),
        kind: span["kind"].as_u64().unwrap(),
        began: number("startTimeUnixNano"),
        ended: number("endTimeUnixNano"),
        failed: span["status"]["code"] == 2,
        attributes: attributes(span),
    }
}

fn attributes(of: &Value) -> HashMap<String, String> {
    let text = |value: &Value| {
        value["stringValue"].as_str().or_else(|| value["intValue"].as_str()).unwrap_or_default().to_owned()
    };
    let all = of["attributes"].as_array().unwrap().iter();
    all.map(|one| (one["key"].as_str().unwrap().to_owned(), text(&one["value"]))).collect()
}

/// Serves one connection, request after request.
fn serve(stream: TcpStream, status: u16, kept: &Mutex<Vec<String>>) {
    let mut answers = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let before = head.len();
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
            let line = head[before..].to_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        kept.lock().unwrap().push(head + &String::from_utf8(body).unwrap());
        if status == 0 {
            // The connection stays open for as long as the client waits.
            let _ = reader.read_exact(&mut [0]);
            return;
        }
        let answer =
            format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}");
        if answers.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
