//! A start, and an end, while what it needs is away; and what a command sends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use muster_testkit::TestDatabase;
use muster_testkit::proxy::{Proxy, Then};
use tokio::runtime::Runtime;

use crate::harness::{Desk, signal, until};

/// The lines of a stream, read by a thread of its own.
fn lines(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (told, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if told.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Waits for a line that has these words.
#[track_caller]
fn told(lines: &mpsc::Receiver<String>, words: &str, within: Duration) {
    let deadline = Instant::now() + within;
    loop {
        let line = lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        match line {
            Ok(line) if line.contains(words) => return,
            Ok(_) => {}
            Err(_) => panic!("not told within {within:?}: {words}"),
        }
    }
}

/// Waits for its end, and says how long that took.
#[track_caller]
fn ends(mut child: Child) -> Duration {
    let began = Instant::now();
    loop {
        if child.try_wait().unwrap().is_some() {
            return began.elapsed();
        }
        if began.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("it does not end");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(60);

#[test]
fn a_service_waits_for_its_database_and_says_so() {
    let runtime = Runtime::new().unwrap();
    let database = runtime.block_on(TestDatabase::create());
    let (proxy, url) = runtime.block_on(Proxy::before(&database.url()));
    proxy.refuse();
    let desk = Desk::new().set("DATABASE_URL", &url).set("AMQP_URL", "amqp://guest:guest@127.0.0.1:1");
    let args = ["producer", "--listen", "127.0.0.1:0"];
    let mut child = desk.start(&args, Stdio::null());
    let stderr = lines(child.stderr.take().unwrap());
    let stdout = lines(child.stdout.take().unwrap());
    told(&stderr, "waiting for the database", SOON);
    // And again.
    told(&stderr, "waiting for the database", SOON);
    proxy.pass();
    told(&stdout, "listening on", LATER);
    // The broker is not waited for, but told of.
    told(&stderr, "waiting for the broker", SOON);
    // It stops though the database is away again.
    proxy.freeze_for_good();
    signal(&child, "TERM");
    let took = ends(child);
    assert!(took < Duration::from_secs(25), "it took {took:?}");
}

/// The database hangs: the dispatcher stops after its grace and the worker after its own, and the one does not wait for the other.
#[test]
fn the_parts_of_a_program_stop_at_the_same_time() {
    let runtime = Runtime::new().unwrap();
    let database = runtime.block_on(TestDatabase::create());
    let (proxy, url) = runtime.block_on(Proxy::before(&database.url()));
    let grace = Duration::from_secs(8);
    let desk = Desk::new()
        .set("DATABASE_URL", &url)
        .set("MUSTER_WORKER_STOP_GRACE", "8s")
        .set("MUSTER_HTTP_SHUTDOWN_GRACE", "1s")
        .set("MUSTER_WORKER_DEADLINE", "60s");
    desk.write("users.csv", "email\na@example.com\n");
    let address = muster_testkit::free_address();
    let mut child = desk.start(&["serve", "--listen", &address], Stdio::null());
    let stdout = lines(child.stdout.take().unwrap());
    let stderr = lines(child.stderr.take().unwrap());
    told(&stdout, "listening on", LATER);
    // The worker's step is sent, and nothing comes back; nor does the dispatcher get anything.
    let applying = proxy.when("update chunks set begun", 1, Then::FreezeBefore);
    desk.run(&["tenant", "create", "acme", "--name", "Acme"]).exits(0);
    let scopes = ["--scope", "import:write", "--scope", "import:read"];
    let args = [&["token", "create", "--tenant", "acme", "--name", "loader"], &scopes[..]].concat();
    let printed = desk.run(&args).exits(0).stdout;
    let token = printed.split_whitespace().find(|word| word.starts_with("mst_")).unwrap();
    let server = format!("http://{address}");
    let args = ["import", "users", "users.csv", "--server", &server, "--token", token, "--quiet"];
    let import = desk.start(&args, Stdio::null());
    let begun = runtime.block_on(async { tokio::time::timeout(LATER, applying.applied(1)).await });
    begun.expect("a chunk is applied");
    proxy.freeze_for_good();
    until("the dispatcher hangs", || {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.contains("\"dispatcher\":\"stalled\"").then_some(())
    });
    signal(&child, "TERM");
    let took = ends(child);
    // Beside it the API has 1 s and 5 s more for requests that are cut, then the dispatcher 5 s and 2 s more to say that it goes;
    // connections that hang are waited for another 5 s. That makes 18 s, and one after the other 26 s.
    assert!(took < grace + Duration::from_secs(14), "it took {took:?}");
    told(&stderr, "cut off", SOON);
    signal(&import, "KILL");
    ends(import);
}

#[test]
fn a_service_that_waits_for_its_database_can_be_stopped_and_bounded() {
    let away = "postgres://muster:secret@127.0.0.1:1/muster";
    let desk = Desk::new().set("DATABASE_URL", away).set("AMQP_URL", "amqp://guest:guest@127.0.0.1:1");
    let mut child = desk.start(&["worker"], Stdio::null());
    let stderr = lines(child.stderr.take().unwrap());
    told(&stderr, "waiting for the database", SOON);
    signal(&child, "TERM");
    let took = ends(child);
    assert!(took < Duration::from_secs(10), "it took {took:?}");
    let bounded = desk.set("MUSTER_DATABASE_START_WAIT", "1s");
    let run = bounded.run(&["worker"]).exits(1).tells(&["cannot be used", "127.0.0.1:1"]);
    assert!(!run.stderr.contains("secret"), "{run:#?}");
}

#[test]
fn what_can_be_read_only_once_is_sent_with_a_key_too() {
    let desk = Desk::new();
    let mut keys = Vec::new();
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                head.push(line.to_ascii_lowercase());
            }
            stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").unwrap();
            head
        });
        let args = ["import", "users", "-", "--format", "csv", "--server", &url, "--token", "t"];
        desk.run_with_input(&args, b"email\na@example.com\n").exits(1);
        let head = server.join().unwrap();
        assert!(head[0].starts_with("post /v1/imports"), "{head:?}");
        let key = head.iter().find(|line| line.starts_with("idempotency-key: cli:once:"));
        keys.push(key.unwrap_or_else(|| panic!("no key: {head:?}")).clone());
    }
    assert_ne!(keys[0], keys[1]);
}
