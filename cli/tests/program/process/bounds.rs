//! What each process takes in memory, whatever it is sent (docs/limits.md): its peak, as the kernel counts it, is held against
//! its bound after each load. `MUSTER_MEMORY=long` sends the sizes of `make memory`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use muster_domain::token::Scope;
use muster_store::tenants;
use muster_store::tokens::{self, NewToken};
use muster_testkit::TestDatabase;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::harness::{Desk, signal, until, wait};

const MIB: u64 = 1024 * 1024;
/// Most memory of a producer, of a worker, and of `muster import` with everything in one process.
const PRODUCER_MIB: u64 = 150;
const WORKER_MIB: u64 = 150;
const IMPORT_MIB: u64 = 200;

/// A size of `make test`, or the one of `make memory`.
fn size(short: u64, long: u64) -> u64 {
    if std::env::var("MUSTER_MEMORY").as_deref() == Ok("long") { long } else { short }
}

/// The most memory that a process has had, in MiB. What it has mapped of its own program file is not counted: the system can take
/// that back at any time, and of a debug build it is a lot.
fn peak_mib(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Some(kib("VmHWM:")?.saturating_sub(kib("RssFile:")?) / 1024)
}

#[track_caller]
fn assert_below(child: &Child, most: u64, after: &str) {
    let peak = peak_mib(child).unwrap();
    println!("{peak} MiB after {after}");
    assert!(peak < most, "{peak} MiB after {after}, at most {most}");
}

/// A producer on a database of its own.
pub(super) struct Rig {
    pub(super) desk: Desk,
    pub(super) address: String,
    pub(super) token: String,
    pub(super) producer: Child,
    pub(super) runtime: Runtime,
    pub(super) database: TestDatabase,
}

impl Rig {
    pub(super) fn start(settings: &[(&str, &str)]) -> Self {
        let runtime = Runtime::new().unwrap();
        let database = runtime.block_on(TestDatabase::create());
        let store = runtime.block_on(database.store());
        let token = runtime.block_on(async {
            let tenant = tenants::ensure_default(&store).await.unwrap().into_inner();
            let token = tokens::create(&store, tenant.id, "loader", &[Scope::Ops]).await.unwrap();
            store.close().await;
            match token {
                NewToken::Created(_, token) => token.reveal().to_owned(),
                NewToken::NameTaken(_) => panic!("the name is taken"),
            }
        });
        let address = muster_testkit::free_address();
        let mut desk = Desk::new().set("DATABASE_URL", &database.url()).set("MUSTER_HTTP_LISTEN", &address);
        for (name, value) in settings {
            desk = desk.set(name, value);
        }
        let producer = service(&desk, "producer");
        let rig = Self { desk, address, token, producer, runtime, database };
        until("the producer answers", || rig.answers().then_some(()));
        rig
    }

    /// Whether the producer takes connections.
    pub(super) fn answers(&self) -> bool {
        TcpStream::connect(&self.address).is_ok()
    }

    /// Sends an upload in chunks of its body; returns status and body of the answer.
    fn upload(
        &self,
        query: &str,
        headers: &str,
        mut body: impl FnMut(&mut Vec<u8>) -> bool,
    ) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "POST /v1/imports?{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
             Transfer-Encoding: chunked\r\n{headers}\r\n",
            self.token
        )
        .unwrap();
        let mut piece = Vec::new();
        while body(&mut piece) {
            let sent = write!(stream, "{:x}\r\n", piece.len())
                .and_then(|()| stream.write_all(&piece))
                .and_then(|()| stream.write_all(b"\r\n"));
            // Refused before its end: the answer says why.
            if sent.is_err() {
                break;
            }
            piece.clear();
        }
        let _ = stream.write_all(b"0\r\n\r\n");
        answer(stream)
    }

    pub(super) fn whole(&self, query: &str, headers: &str, body: Vec<u8>) -> (u16, String) {
        let mut body = Some(body);
        self.upload(query, headers, |piece| match body.take() {
            Some(whole) => {
                *piece = whole;
                true
            }
            None => false,
        })
    }

    pub(super) fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    /// What a path answers, as text.
    pub(super) fn text(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            self.token
        )
        .unwrap();
        let (status, text) = answer(stream);
        assert_eq!(status, 200, "{text}");
        text
    }

    pub(super) fn until_completed(&self, accepted: &str) -> Value {
        let accepted: Value = serde_json::from_str(accepted).unwrap();
        let path = format!("/v1/imports/{}", accepted["id"].as_str().unwrap());
        until("the import is completed", || {
            let import = self.get(&path);
            (import["state"] == "completed").then_some(import)
        })
    }

    pub(super) fn stop(self) {
        let Self { desk, producer, runtime, database, .. } = self;
        signal(&producer, "TERM");
        wait(producer).exits(0);
        drop(desk);
        runtime.block_on(async { drop(database) });
    }
}

/// Starts a service; its log is in the file `ROLE.log`.
pub(super) fn service(desk: &Desk, role: &str) -> Child {
    let log = std::fs::File::create(desk.path(&format!("{role}.log"))).unwrap();
    desk.command(&[role]).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

fn answer(stream: TcpStream) -> (u16, String) {
    let mut reader = BufReader::new(stream);
    let (mut line, mut chunked) = (String::new(), false);
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        chunked |= line.to_ascii_lowercase().starts_with("transfer-encoding: chunked");
        if line.trim().is_empty() {
            break;
        }
    }
    let mut text = String::new();
    if chunked {
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let mut piece = vec![0; usize::from_str_radix(line.trim(), 16).unwrap() + 2];
            reader.read_exact(&mut piece).unwrap();
            if piece.len() == 2 {
                break;
            }
            text.push_str(std::str::from_utf8(&piece[..piece.len() - 2]).unwrap());
        }
    } else {
        reader.read_to_string(&mut text).unwrap();
    }
    (status, text)
}

/// Runs a command of the shell for the bytes that it prints.
fn printed(command: &str) -> Vec<u8> {
    let output = std::process::Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// What a shell command reads on standard input, compressed.
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

/// 1,000 records whose every key is wrong, as long as they may be.
fn worst_file() -> Vec<u8> {
    let mut record = String::from("{\"email\":\"a@example.com\"");
    for key in 0..255 {
        record.push_str(&format!(",\"{}{key:04}\":1", "k".repeat(1_000)));
    }
    record.push_str("}\n");
    gzipped(record.repeat(1_000).as_bytes())
}

#[test]
fn the_worst_file_does_not_make_a_producer_grow() {
    let rig = Rig::start(&[("MUSTER_INTAKE_MAX_RATIO", "1000")]);
    let file = worst_file();
    assert!(file.len() < 4_000_000, "{}", file.len());
    let headers = "Content-Type: application/x-ndjson\r\nContent-Encoding: gzip\r\n";
    let (status, text) = rig.whole("start=manual&brake=0", headers, file);
    assert_eq!(status, 202, "{text}");
    assert!(text.contains("\"failed\":1000"), "{text}");
    assert_below(&rig.producer, PRODUCER_MIB, "the worst file");
    rig.stop();
}

#[test]
fn neither_large_uploads_nor_bombs_nor_slow_clients_make_a_producer_grow() {
    let rig =
        Rig::start(&[("MUSTER_INTAKE_MAX_RATIO", "100000"), ("MUSTER_INTAKE_MAX_RECORDS", "100000000")]);
    let (total, mut sent, mut number) = (size(48, 10 * 1024) * MIB, 0, 0);
    let filler = "filler ".repeat(140);
    let (status, text) = rig.upload("start=manual", "Content-Type: text/csv\r\n", |piece| {
        if sent >= total {
            return false;
        }
        if number == 0 {
            piece.extend_from_slice(b"email,custom__note\n");
        }
        while piece.len() < 60_000 {
            number += 1;
            writeln!(piece, "user{number}@example.com,{filler}{number}").unwrap();
        }
        sent += piece.len() as u64;
        true
    });
    assert_eq!(status, 202, "{text}");
    assert!(text.contains(&format!("\"total\":{number}")), "{text}");
    assert_below(&rig.producer, PRODUCER_MIB, &format!("an upload of {} MiB", total / MIB));

    let bomb = size(64, 1024);
    let blanks = printed(&format!("head -c {bomb}M /dev/zero | tr '\\000' '\\n' | gzip -c"));
    let packed = [gzipped(b"email\n"), blanks].concat();
    let headers = "Content-Type: text/csv\r\nContent-Encoding: gzip\r\n";
    let (status, text) = rig.whole("start=manual", headers, packed);
    assert_eq!(status, 202, "{text}");
    let line = printed(&format!("head -c {bomb}M /dev/zero | tr '\\000' 'x' | gzip -c"));
    let (status, text) = rig.whole("start=manual", headers, [gzipped(b"email\n"), line].concat());
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("record_too_large"), "{text}");
    assert_below(&rig.producer, PRODUCER_MIB, &format!("bombs of {bomb} MiB"));

    let mut slow = Vec::new();
    for client in 0..1_000 {
        let mut stream = TcpStream::connect(&rig.address).unwrap();
        if client % 2 == 0 {
            write!(stream, "GET /v1/imports HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
        } else {
            write!(
                stream,
                "POST /v1/imports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: text/csv\r\n\
                 Content-Length: 100000\r\n\r\nemail\n",
                rig.token
            )
            .unwrap();
        }
        slow.push(stream);
    }
    assert!(rig.get("/v1/imports")["imports"].is_array(), "others are served");
    assert_below(&rig.producer, PRODUCER_MIB, "1,000 slow clients");
    drop(slow);
    rig.stop();
}

#[test]
fn the_fattest_chunks_do_not_make_a_worker_grow() {
    let rig = Rig::start(&[("MUSTER_WORKER_CONCURRENCY", "8")]);
    let worker = service(&rig.desk, "worker");
    let headers = "Content-Type: application/x-ndjson\r\n";
    // Each as large as a record may be, and so a chunk of its own; then the same users with other values.
    for round in 0..2 {
        let mut left = size(24, 400);
        let (status, text) = rig.upload("metadata=merge", headers, |piece| {
            if left == 0 {
                return false;
            }
            left -= 1;
            write!(piece, "{{\"email\":\"fat{left}@example.com\"").unwrap();
            for field in 0..15 {
                let mark = format!("{round}{left}{field}x");
                write!(piece, ",\"custom__f{field}\":\"{}\"", mark.repeat(65_000 / mark.len())).unwrap();
            }
            piece.extend_from_slice(b"}\n");
            assert!(piece.len() < 1024 * 1024);
            true
        });
        assert_eq!(status, 202, "{text}");
        let import = rig.until_completed(&text);
        assert_eq!(import["counts"]["failed"], 0, "{import}");
        assert_below(&worker, WORKER_MIB, "records of 1 MiB");
        assert_below(&rig.producer, PRODUCER_MIB, "taking them");
    }
    // Many small values: what a chunk is in memory is more than its bytes.
    let mut left = size(2_000, 20_000);
    let (status, text) = rig.upload("", headers, |piece| {
        if left == 0 {
            return false;
        }
        left -= 1;
        write!(piece, "{{\"email\":\"many{left}@example.com\"").unwrap();
        for field in 0..250 {
            write!(piece, ",\"custom__{field}\":{}", field % 10).unwrap();
        }
        piece.extend_from_slice(b"}\n");
        true
    });
    assert_eq!(status, 202, "{text}");
    assert_eq!(rig.until_completed(&text)["counts"]["failed"], 0);
    assert_below(&worker, WORKER_MIB, "records of 250 fields");
    assert_below(&rig.producer, PRODUCER_MIB, "taking them");
    signal(&worker, "TERM");
    wait(worker).exits(0);
    rig.stop();
}

#[test]
fn an_import_with_everything_in_one_process_stays_small() {
    let desk = Desk::new();
    let records = size(40_000, 1_000_000);
    let mut file = std::io::BufWriter::new(std::fs::File::create(desk.path("people.csv")).unwrap());
    writeln!(file, "email,first_name,last_name,phone_number,custom__department,custom__office,custom__note")
        .unwrap();
    for number in 0..records {
        writeln!(
            file,
            "person{number}@example.com,Given{},Family{},+4179{number:07},Department {},Office {},\"a note, {number}\"",
            number % 1_000,
            number % 5_000,
            number % 37,
            number % 11
        )
        .unwrap();
    }
    file.into_inner().unwrap().sync_all().unwrap();
    let mut command = desk.command(&["import", "users", "people.csv", "--json", "--log", "off"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut peak = 0;
    let mut told = String::new();
    let mut stdout = child.stdout.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| stdout.read_to_string(&mut told).unwrap());
        while child.try_wait().unwrap().is_none() {
            peak = peak_mib(&child).unwrap_or(0).max(peak);
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    });
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["counts"]["inserted"], records, "{told}");
    println!("{peak} MiB for {records} records");
    assert!(peak < IMPORT_MIB, "{peak} MiB, at most {IMPORT_MIB}");
}
