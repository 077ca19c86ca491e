//! Where PostgreSQL and RabbitMQ are: named by the environment, or private ones, started and stopped by the script.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::guard::{Guard, Leftover, text};
use crate::process;

/// The root of the checkout: the nearest folder above the working folder, or above this program, that has the script.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let starts = [std::env::current_dir().ok(), std::env::current_exe().ok()];
    let mut folders = starts.iter().flatten().flat_map(|start| start.ancestors());
    let root = folders.find(|folder| script(folder).is_file());
    root.map(Path::to_owned).context("start this inside Muster's checkout")
}

fn script(root: &Path) -> PathBuf {
    root.join("deploy/local/services.sh")
}

/// The servers of a run.
pub(crate) struct Services {
    pub(crate) database: String,
    pub(crate) amqp: Option<String>,
    /// "PostgreSQL 15.1", "RabbitMQ 3.10.0", as the servers say.
    pub(crate) versions: Vec<String>,
}

/// Finds or starts what is needed; `broker`: RabbitMQ as well.
pub(crate) fn find(root: &Path, guard: &mut Guard, broker: bool, prefix: &str) -> anyhow::Result<Services> {
    let script = script(root);
    let mut wanted = vec![("postgres", "TEST_DATABASE_URL")];
    if broker {
        wanted.push(("rabbitmq", "TEST_AMQP_URL"));
    }
    wanted.retain(|(_, variable)| std::env::var_os(variable).is_none_or(|value| value.is_empty()));
    let mut urls = String::new();
    if !wanted.is_empty() {
        // Installing may ask for a password and takes a while: it may speak for itself.
        let status = Command::new(&script)
            .arg("install")
            .stdout(Stdio::null())
            .status()
            .context("services.sh install")?;
        if !status.success() {
            bail!("the servers cannot be installed: set TEST_DATABASE_URL and TEST_AMQP_URL to use others");
        }
        let running = process::run(Command::new(&script).arg("running"))?;
        for (name, _) in &wanted {
            if !running.lines().any(|line| line == *name) {
                guard.add(&Leftover::Service { script: text(&script)?, name: (*name).to_owned() })?;
            }
        }
        urls = process::run(Command::new(&script).arg("up").args(wanted.iter().map(|(name, _)| *name)))?;
        if wanted.iter().any(|(name, _)| *name == "rabbitmq") {
            guard.add(&Leftover::Queues { script: text(&script)?, prefix: prefix.to_owned() })?;
        }
    }
    let url = |variable: &str| -> anyhow::Result<String> {
        let given = std::env::var(variable).ok().filter(|value| !value.is_empty());
        let started = || {
            urls.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix('=')).map(str::to_owned)
        };
        given.or_else(started).with_context(|| format!("{variable} is not known"))
    };
    let database = url("TEST_DATABASE_URL")?;
    let amqp = broker.then(|| url("TEST_AMQP_URL")).transpose()?;
    let mut versions = Command::new(&script);
    versions.arg("versions").env("TEST_DATABASE_URL", &database);
    if let Some(amqp) = &amqp {
        versions.env("TEST_AMQP_URL", amqp);
    }
    let versions = process::run(&mut versions)?.lines().map(str::to_owned).collect();
    Ok(Services { database, amqp, versions })
}
