//! The processes of Muster: each is started again when it ended, whoever ended it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use serde_json::json;
use tokio::process::Command;
use tokio::time::sleep;

use super::journal::{Journal, held};
use super::servers::{alive, signal};

/// How to run the program.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) environment: BTreeMap<String, String>,
}

impl Program {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(arguments).current_dir(&self.dir).stdin(Stdio::null()).kill_on_drop(true);
        let ours = |name: &str| {
            name.starts_with("MUSTER_") || ["DATABASE_URL", "AMQP_URL", "FAILPOINTS"].contains(&name)
        };
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(ours) {
                command.env_remove(name);
            }
        }
        command.envs(&self.environment);
        command
    }

    /// Runs a command to its end. What it printed.
    pub(crate) async fn call(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(arguments).output().await.context("the program cannot be run")?;
        if !output.status.success() {
            bail!("muster {} failed: {}", arguments[0], String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A process that is kept running.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    log: PathBuf,
    pid: AtomicI32,
    /// Its end was asked for.
    expected: AtomicBool,
    /// How long it stays away after its next end.
    away: AtomicU64,
    closing: AtomicBool,
    frozen: AtomicBool,
    /// Most memory seen, in KiB.
    peak: AtomicU64,
    /// How long it took to stop when asked to.
    pub(crate) stops: Mutex<Vec<f64>>,
}

impl Process {
    /// Starts it, and goes on starting it.
    pub(crate) fn start(
        program: &Program,
        journal: &Arc<Journal>,
        name: &str,
        role: &'static str,
        settings: &[(&str, String)],
    ) -> Arc<Self> {
        let process = Arc::new(Self {
            name: name.to_owned(),
            log: program.dir.join(format!("{name}.log")),
            pid: AtomicI32::new(0),
            expected: AtomicBool::new(false),
            away: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            peak: AtomicU64::new(0),
            stops: Mutex::default(),
        });
        let mut program = program.clone();
        program.environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        tokio::spawn(process.clone().keep(program, journal.clone(), role));
        process
    }

    async fn keep(self: Arc<Self>, program: Program, journal: Arc<Journal>, role: &'static str) {
        while !self.closing.load(Ordering::SeqCst) {
            let began = Instant::now();
            match self.run(&program, role).await {
                Ok(status) if !self.expected.swap(false, Ordering::SeqCst) => {
                    let tail = tail(&self.log);
                    let seconds = began.elapsed().as_secs_f64();
                    let fields =
                        json!({"name": self.name, "status": status, "seconds": seconds, "tail": tail});
                    journal.event("exited_by_itself", fields);
                    self.away.store(500, Ordering::SeqCst);
                }
                Ok(_) => {}
                Err(error) => {
                    journal.event("not_started", json!({"name": self.name, "error": error.to_string()}));
                    self.away.store(1000, Ordering::SeqCst);
                }
            }
            sleep(Duration::from_millis(self.away.swap(0, Ordering::SeqCst))).await;
        }
    }

    async fn run(&self, program: &Program, role: &str) -> anyhow::Result<String> {
        let out = File::options().create(true).append(true).open(&self.log)?;
        let mut command = program.command(&[role]);
        command.stdout(Stdio::null()).stderr(out);
        let mut child = command.spawn()?;
        self.pid.store(child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0), Ordering::SeqCst);
        let status = child.wait().await;
        self.pid.store(0, Ordering::SeqCst);
        self.frozen.store(false, Ordering::SeqCst);
        Ok(status?.to_string())
    }

    /// Its process id, if it runs.
    pub(crate) fn pid(&self) -> Option<i32> {
        Some(self.pid.load(Ordering::SeqCst)).filter(|pid| *pid != 0)
    }

    /// Ends it by a signal; it stays away for a while. False if it does not run.
    pub(crate) fn end(&self, how: Signal, away: Duration) -> bool {
        let Some(pid) = self.pid() else { return false };
        self.expected.store(true, Ordering::SeqCst);
        let away = u64::try_from(away.as_millis()).unwrap_or(0);
        self.away.store(away, Ordering::SeqCst);
        let sent = signal(pid, how);
        // A frozen process cannot follow a polite signal.
        signal(pid, Signal::CONT);
        sent
    }

    /// Asks it to stop, and notes how long that took. It is killed after a while.
    pub(crate) async fn restart(&self, away: Duration) -> bool {
        let Some(pid) = self.pid() else { return false };
        let began = Instant::now();
        let sent = self.end(Signal::TERM, away);
        while alive(pid) && began.elapsed() < Duration::from_secs(90) {
            sleep(Duration::from_millis(20)).await;
        }
        held(&self.stops).push(began.elapsed().as_secs_f64());
        if alive(pid) {
            signal(pid, Signal::KILL);
        }
        sent
    }

    /// Freezes it, or lets it go on. False if it does not run, or is so already.
    pub(crate) fn freeze(&self, freeze: bool) -> bool {
        let Some(pid) = self.pid() else { return false };
        if self.frozen.swap(freeze, Ordering::SeqCst) == freeze {
            return false;
        }
        signal(pid, if freeze { Signal::STOP } else { Signal::CONT })
    }

    /// Looks at its memory.
    pub(crate) fn look(&self) {
        let Some(pid) = self.pid() else { return };
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return };
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
        self.peak.fetch_max(kib.unwrap_or(0), Ordering::SeqCst);
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::SeqCst)
    }

    /// Ends it for good.
    pub(crate) async fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.restart(Duration::ZERO).await;
    }
}

/// The end of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(800)..]).into_owned()
}
