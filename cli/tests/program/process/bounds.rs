//! What a service takes in memory, whatever it is sent.

use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;

use muster_shared::store::tenants;
use muster_shared::store::tokens::{self, NewToken};
use muster_shared::testing::TestDatabase;
use muster_shared::token::Scope;
use tokio::runtime::Runtime;

use crate::harness::{Desk, signal, until, wait};

/// Most memory of a producer (docs/limits.md).
const PRODUCER_KIB: u64 = 150 * 1024;

/// 1,000 records whose every key is wrong, as long as they may be.
fn worst_file() -> Vec<u8> {
    let mut record = String::from("{\"email\":\"a@example.com\"");
    for key in 0..255 {
        record.push_str(&format!(",\"{}{key:04}\":1", "k".repeat(1_000)));
    }
    record.push_str("}\n");
    let file = record.repeat(1_000);
    let mut packed = gzipped(file.as_bytes());
    packed.shrink_to_fit();
    packed
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut child = std::process::Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(bytes).unwrap());
        child.wait_with_output().unwrap().stdout
    })
}

fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_worst_file_does_not_make_a_producer_grow() {
    let runtime = Runtime::new().unwrap();
    let database = runtime.block_on(TestDatabase::create());
    let store = runtime.block_on(database.store());
    let token = runtime.block_on(async {
        let tenant = tenants::ensure_default(&store).await.unwrap().into_inner();
        match tokens::create(&store, tenant.id, "loader", &[Scope::Ops]).await.unwrap() {
            NewToken::Created(_, token) => token.reveal().to_owned(),
            NewToken::NameTaken(_) => panic!("the name is taken"),
        }
    });
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let desk = Desk::new()
        .set("DATABASE_URL", &database.url())
        .set("MUSTER_HTTP_LISTEN", &address)
        .set("MUSTER_INTAKE_MAX_RATIO", "1000");
    let mut command = desk.command(&["producer", "--log", "warn"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let url = format!("http://{address}");
    // The client wants one even where nothing is encrypted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    until("the producer answers", || {
        runtime.block_on(client.get(format!("{url}/healthz")).send()).ok().map(drop)
    });
    let file = worst_file();
    assert!(file.len() < 4_000_000, "{}", file.len());
    let request = client
        .post(format!("{url}/v1/imports?start=manual"))
        .bearer_auth(token)
        .header("content-type", "application/x-ndjson")
        .header("content-encoding", "gzip")
        .body(file);
    let answer = runtime.block_on(request.send()).unwrap();
    let (status, text) = (answer.status(), runtime.block_on(answer.text()).unwrap());
    assert_eq!(status, 202, "{text}");
    assert!(text.contains("\"failed\":1000"), "{text}");
    let peak = peak_kib(child.id());
    signal(&child, "TERM");
    wait(child).exits(0);
    assert!(peak < PRODUCER_KIB, "the producer took {} MiB at its peak", peak / 1024);
}
