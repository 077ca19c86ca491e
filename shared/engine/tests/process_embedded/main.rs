//! The embedded engine with real servers, real kills and real files.
//!
//! Tests that need another process run this test binary again as a helper (`helper`, told what to do by environment
//! variables). Nothing here waits for a time: it waits for a condition, with a deadline.
#![cfg(all(feature = "embedded-postgres", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod crash;
mod life;
mod users;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use muster_engine::{EmbeddedEngine, EngineError, EngineOptions};
use rustix::process::{Pid, Signal, geteuid, getpgid, kill_process};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

const DEADLINE: Duration = Duration::from_secs(60);
const FOLDER: &str = "MUSTER_TEST_FOLDER";
const BINARIES: &str = "MUSTER_TEST_BINARIES";

fn options(folder: &Path) -> EngineOptions {
    let mut options = EngineOptions::new(folder);
    options.shared_buffers_mb = 32;
    options.max_connections = 20;
    options
}

/// A folder that other users can get to.
fn open_tempdir() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin")).find(|bin| bin.join("postgres").exists());
    if found.is_none() {
        eprintln!("skipped: no PostgreSQL is installed under /usr/lib/postgresql");
    }
    found
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    options.connect().await.expect("the engine takes connections")
}

async fn write_row(options: &PgConnectOptions, id: i32) {
    let mut connection = connect(options).await;
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS kept (id int PRIMARY KEY)")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query("INSERT INTO kept VALUES ($1)").bind(id).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn rows(options: &PgConnectOptions) -> Vec<i32> {
    let mut connection = connect(options).await;
    let rows =
        sqlx::query_scalar("SELECT id FROM kept ORDER BY id").fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    rows
}

async fn setting(options: &PgConnectOptions, name: &str) -> String {
    let mut connection = connect(options).await;
    sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(&mut connection).await.unwrap()
}

/// Every process that works on the database files in that data folder.
fn servers(folder: &Path) -> Vec<u32> {
    let pg = folder.canonicalize().unwrap().join("pg");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let processes =
        processes.filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == pg));
    processes.filter_map(|process| process.file_name().to_str()?.parse().ok()).collect()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

fn read_link_user(pid: u32) -> u32 {
    fs::metadata(format!("/proc/{pid}")).unwrap().uid()
}

/// Another program that runs an engine, has written row 1 and holds on until it is killed.
struct Holder {
    process: Child,
    engine: u32,
    /// Open as long as the helper may write.
    _output: Box<dyn Iterator<Item = String>>,
}

impl Holder {
    fn start(command: &mut Command, folder: &Path) -> Self {
        let mut process = spawn_helper(command, folder);
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let engine = lines
            .by_ref()
            .inspect(|line| println!("helper: {line}"))
            .find_map(|line| line.split_once("READY ").and_then(|(_, pid)| pid.trim().parse().ok()))
            .expect("the helper's engine starts");
        Self { process, engine, _output: Box::new(lines) }
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn spawn_helper(command: &mut Command, folder: &Path) -> Child {
    command
        .args(["--exact", "helper", "--nocapture"])
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn this_program() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

/// Not a test of its own: what the helper process does. Ends when its standard input does.
#[tokio::test]
async fn helper() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let mut options = options(&folder);
    options.postgres_bin = std::env::var_os(BINARIES).map(PathBuf::from);
    let engine = EmbeddedEngine::start(options).await.unwrap();
    write_row(&engine.connect_options(), 1).await;
    println!("\nREADY {}", engine.pid());
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await.unwrap().unwrap();
    engine.stop().await.unwrap();
}
