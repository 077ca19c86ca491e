//! Muster as it is run: the release build of this checkout, a producer and workers as processes of their own.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::guard::{Guard, Leftover};
use crate::http::Client;
use crate::process;

/// Builds the release program, unless it is up to date, and says where it is.
pub(crate) fn build(root: &Path) -> anyhow::Result<PathBuf> {
    build_with(root, &[])
}

/// The same with more arguments for cargo.
pub(crate) fn build_with(root: &Path, arguments: &[&str]) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args([
        "build",
        "--locked",
        "--release",
        "-p",
        "muster-cli",
        "--message-format=json-render-diagnostics",
    ]);
    command.args(arguments);
    command.current_dir(root).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let output = command.output().context("cannot start cargo")?;
    let messages = process::finished("cargo build", &output)?;
    let program = |line: &str| -> Option<PathBuf> {
        let message: Value = serde_json::from_str(line).ok()?;
        let named = message.pointer("/target/name")? == "muster";
        named.then(|| message.get("executable")?.as_str().map(PathBuf::from)).flatten()
    };
    messages.lines().rev().find_map(program).context("cargo has built no program `muster`")
}

/// Settings of the caller that a run passes on, so that they can be compared.
pub(crate) fn inherited_settings() -> Vec<String> {
    const SECTIONS: [&str; 6] = ["DATABASE", "BROKER", "HTTP", "INTAKE", "DISPATCH", "WORKER"];
    let ours = |name: &str| {
        let rest = name.strip_prefix("MUSTER_").unwrap_or_default();
        SECTIONS.iter().any(|section| rest.strip_prefix(section).is_some_and(|rest| rest.starts_with('_')))
    };
    let mut all: Vec<String> = std::env::vars()
        .filter(|(name, _)| {
            ours(name) && !["MUSTER_HTTP_LISTEN", "MUSTER_BROKER_PREFIX"].contains(&name.as_str())
        })
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    all.sort();
    all
}

/// How to start Muster's programs for one database.
pub(crate) struct Muster<'a> {
    pub(crate) program: &'a Path,
    pub(crate) folder: &'a Path,
    pub(crate) database: String,
    pub(crate) amqp: &'a str,
    pub(crate) prefix: String,
    /// More variables of its environment.
    pub(crate) variables: &'static [(&'static str, &'static str)],
}

impl Muster<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command.args(arguments).current_dir(self.folder).stdin(Stdio::null());
        for name in ["MUSTER_CONFIG", "MUSTER_SERVER", "MUSTER_TOKEN", "MUSTER_DATA_DIR"] {
            command.env_remove(name);
        }
        command.env("DATABASE_URL", &self.database).env("AMQP_URL", self.amqp);
        command.env("MUSTER_BROKER_PREFIX", &self.prefix);
        command.envs(self.variables.iter().copied());
        command
    }

    /// Runs a command to its end. What it printed.
    pub(crate) fn call(&self, arguments: &[&str]) -> anyhow::Result<String> {
        process::run(&mut self.command(arguments))
    }

    /// A tenant, and a token that may import. The token is the one word that looks like one.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        self.token_of("bench")
    }

    /// The same for a tenant of that name.
    pub(crate) fn token_of(&self, tenant: &str) -> anyhow::Result<String> {
        self.token_for(tenant, &["--scope", "import:write", "--scope", "import:read"])
    }

    /// The same with a token that may do everything in the tenant.
    pub(crate) fn operator_of(&self, tenant: &str) -> anyhow::Result<String> {
        self.token_for(tenant, &["--scope", "ops"])
    }

    fn token_for(&self, tenant: &str, scopes: &[&str]) -> anyhow::Result<String> {
        self.call(&["tenant", "create", tenant])?;
        let printed =
            self.call(&[&["token", "create", "--tenant", tenant, "--name", "bench"], scopes].concat())?;
        let token = printed.split_whitespace().find(|word| word.starts_with("mst_"));
        token.map(str::to_owned).context("`muster token create` has printed no token")
    }

    /// Starts a service, and makes sure that it ends with the run.
    pub(crate) fn service(&self, guard: &mut Guard, name: &str, role: &str) -> anyhow::Result<Service> {
        // Bound once to learn a free one; nobody else is expected to take it in the moment between.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
        let address = free.local_addr().context("looking for a free port")?;
        drop(free);
        let log = self.folder.join(format!("{name}.log"));
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = self.command(&[role]);
        command.env("MUSTER_HTTP_LISTEN", address.to_string()).env("MUSTER_LOG_FORMAT", "text");
        command.stdout(Stdio::null()).stderr(Stdio::from(out));
        let child = command.spawn().with_context(|| format!("cannot start muster {role}"))?;
        let pid = child.id().to_string();
        let start = process::start_time(&pid).unwrap_or_default();
        guard.add(&Leftover::Process { pid, start: start.clone() })?;
        Ok(Service { name: name.to_owned(), child, start, address, log })
    }
}

/// A running process of Muster.
pub(crate) struct Service {
    pub(crate) name: String,
    child: Child,
    start: String,
    pub(crate) address: SocketAddr,
    log: PathBuf,
}

impl Service {
    /// Waits until a producer says that it is ready.
    pub(crate) fn answers(&mut self) -> anyhow::Result<()> {
        let client = Client { address: self.address, token: String::new() };
        self.wait(Duration::from_secs(60), |_| client.probe("/readyz") == Some(200))?
            .then_some(())
            .with_context(|| format!("{} is not ready after a minute: {}", self.name, self.last_words()))
    }

    /// Waits until a worker says that it has started. It has no port to ask, so what counts is its log; one that says
    /// it in other words is given three seconds.
    pub(crate) fn works(&mut self) -> anyhow::Result<()> {
        let said =
            |log: &Path| std::fs::read_to_string(log).is_ok_and(|text| text.contains("worker started"));
        self.wait(Duration::from_secs(3), said).map(drop)
    }

    fn wait(&mut self, patience: Duration, done: impl Fn(&Path) -> bool) -> anyhow::Result<bool> {
        let since = Instant::now();
        while since.elapsed() < patience {
            self.check()?;
            if done(&self.log) {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(false)
    }

    /// An error, with the end of its log, if it runs no more.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait().with_context(|| format!("asking for {}", self.name))? {
            None => Ok(()),
            Some(status) => bail!("{} has ended ({status}): {}", self.name, self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n")
    }

    pub(crate) fn peak_memory(&self) -> anyhow::Result<u64> {
        process::peak_memory(self.child.id()).with_context(|| format!("peak memory of {}", self.name))
    }

    /// Stops it. It must end well.
    pub(crate) fn stop(mut self, guard: &mut Guard) -> anyhow::Result<()> {
        self.check()?;
        let pid = self.child.id().to_string();
        process::end(&pid, &self.start, Duration::from_secs(30))?;
        let status = self.child.wait().with_context(|| format!("waiting for {}", self.name))?;
        guard.forget(&Leftover::Process { pid, start: self.start.clone() })?;
        if !status.success() {
            bail!("{} did not stop cleanly ({status}): {}", self.name, self.last_words());
        }
        Ok(())
    }
}
