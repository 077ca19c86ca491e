//! The private PostgreSQL and RabbitMQ of a run: deploy/local/services.sh starts them, each in a folder of its own so that
//! both can be started at once; they are broken here.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use lapin::options::{QueueDeleteOptions, QueuePurgeOptions};
use lapin::{Connection, ConnectionProperties};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

/// How long the script may take: a server that starts on a busy machine needs minutes.
const PATIENCE: Duration = Duration::from_secs(900);

/// One of the two.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    script: PathBuf,
    dir: PathBuf,
    url: String,
    /// Held while the server is being broken and brought back.
    pub(crate) turn: Mutex<()>,
}

impl Server {
    /// Starts it. `root` is the checkout, `dir` a folder that the server may have.
    pub(crate) async fn start(root: &Path, name: &'static str, dir: PathBuf) -> anyhow::Result<Self> {
        let script = root.join("deploy/local/services.sh");
        let mut server = Self { name, script, dir, url: String::new(), turn: Mutex::new(()) };
        let printed = server.up().await?;
        let variable = if name == "postgres" { "TEST_DATABASE_URL=" } else { "TEST_AMQP_URL=" };
        let url = printed.lines().find_map(|line| line.strip_prefix(variable));
        url.context("services.sh names no URL")?.trim_matches('\'').clone_into(&mut server.url);
        Ok(server)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    async fn call(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(&self.script);
        command.args(arguments).env("MUSTER_SERVICES_DIR", &self.dir);
        command.env_remove("TEST_DATABASE_URL").env_remove("TEST_AMQP_URL").stdin(Stdio::null());
        timeout(PATIENCE, command.output())
            .await
            .with_context(|| format!("services.sh {} takes too long", arguments.join(" ")))?
            .context("services.sh cannot be run")
    }

    async fn succeed(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.call(arguments).await?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("services.sh {} failed: {said}", arguments.join(" "));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts the server where it does not run.
    pub(crate) async fn up(&self) -> anyhow::Result<String> {
        self.succeed(&["up", self.name]).await
    }

    /// Stops it; `purge` removes its data.
    pub(crate) async fn down(&self, purge: bool) -> anyhow::Result<()> {
        let arguments: &[&str] = if purge { &["down", self.name, "--purge"] } else { &["down", self.name] };
        self.succeed(arguments).await.map(drop)
    }

    /// SIGKILL to the server's main process; returns when that is gone.
    pub(crate) async fn kill(&self) -> anyhow::Result<()> {
        let note = std::fs::read_to_string(self.dir.join(format!("{}.pid", self.name)));
        let pid = note.context("the server has no pid file")?;
        let pid: i32 = pid.split(' ').next().unwrap_or_default().trim().parse().context("a pid")?;
        signal(pid, Signal::KILL);
        while alive(pid) {
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Removes what RabbitMQ has stored: queues, messages, users. It must not run.
    pub(crate) fn wipe(&self) -> anyhow::Result<()> {
        let data = self.dir.join("rabbitmq/data");
        std::fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))
    }

    /// rabbitmqctl.
    pub(crate) async fn ctl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.succeed(&[&["ctl"], arguments].concat()).await
    }

    /// Throws a queue's messages away, or the queue itself.
    pub(crate) async fn lose_queue(&self, queue: &str, delete: bool) -> anyhow::Result<()> {
        let losing = async {
            let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            if delete {
                channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
            } else {
                channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await?;
            }
            connection.close(200, "done".into()).await
        };
        timeout(Duration::from_secs(10), losing).await.context("the broker does not answer")??;
        Ok(())
    }
}

/// Sends a signal. False if there is no such process any more.
pub(crate) fn signal(pid: i32, signal: Signal) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// Whether a process runs; a zombie does not.
pub(crate) fn alive(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // After the name, which may itself hold anything, stands the state.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
