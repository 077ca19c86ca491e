//! `muster doctor`: one list of checks, each with its status and what to do.

mod broker;
mod database;
mod server;

use std::path::PathBuf;

use clap::Args;
use muster_domain::fault::{Mutant, mutant};
use muster_runtime::clock;
use muster_runtime::config::Config;
use serde::Serialize;

use crate::client::ServerToken;
use crate::connect::{self, Need, Session};
use crate::failure::Exit;
use crate::output::{json, stdout_line};
use crate::shutdown::Shutdown;

/// Options of `muster doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  muster doctor\n  muster doctor --server https://muster.example.com --token-file ~/.muster-token\n  DATABASE_URL=postgres://… AMQP_URL=amqp://… muster doctor --json\n\nExit codes: 0 nothing failed, 1 a check failed."
)]
pub(crate) struct DoctorArgs {
    /// Check this server, which commands are to ask, instead of the database
    #[arg(long, value_name = "URL", env = "MUSTER_SERVER")]
    server: Option<String>,
    #[command(flatten)]
    token: ServerToken,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Ok,
    Warning,
    Failed,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// Stable name.
    pub(crate) id: &'static str,
    /// How it came out.
    pub(crate) status: Status,
    /// What was found.
    pub(crate) message: String,
    /// What to do about it, where there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

impl Check {
    fn ok(id: &'static str, message: impl Into<String>) -> Self {
        Self { id, status: Status::Ok, message: message.into(), advice: None }
    }

    fn warning(id: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { id, status: Status::Warning, message: message.into(), advice: Some(advice.into()) }
    }

    fn failed(id: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { id, status: Status::Failed, message: message.into(), advice: Some(advice.into()) }
    }
}

/// Tells that the configuration cannot be read; nothing else can be checked then.
pub(crate) fn misconfigured(args: &DoctorArgs, error: &anyhow::Error) -> anyhow::Result<Exit> {
    let advice = "correct the named settings; `muster config reference` lists all of them";
    tell(args, &[Check::failed("configuration", error.to_string(), advice)])
}

/// Runs the command.
pub(crate) async fn run(args: &DoctorArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Exit> {
    let mut checks = vec![configuration(config)];
    if let Some(server) = args.server.as_ref().filter(|_| !mutant(Mutant::DoctorSetsUp)) {
        checks.extend(server::checks(server, &args.token).await);
        return tell(args, &checks);
    }
    // A check leaves no data folder behind: an engine that was never started is tried in a folder that goes again.
    let scratch = Scratch::where_there_is_no(config);
    let tried = scratch.as_ref().map(|scratch| scratch.config(config));
    let config = tried.as_ref().unwrap_or(config);
    let looking = async |session: &Session| {
        let mut found = vec![Check::ok("database", format!("{} answers", session.serving()))];
        found.extend(database::checks(&session.store, config).await);
        found.push(broker::check(session, config).await);
        Ok(found)
    };
    match Box::pin(connect::with(config, Need::Inspect, shutdown, looking)).await {
        Ok(found) => checks.extend(found),
        Err(error) => {
            checks.push(database::unreachable(config, &error));
            checks.extend(broker::check_alone(config).await);
        }
    }
    tell(args, &checks)
}

/// A folder for an engine that is only tried.
struct Scratch(PathBuf);

impl Scratch {
    /// One where the configured data folder is still to be made.
    fn where_there_is_no(config: &Config) -> Option<Self> {
        let missing = config.database.url.is_none() && !config.engine.data_dir.exists();
        let missing = missing && !mutant(Mutant::DoctorSetsUp);
        missing.then(|| Self(std::env::temp_dir().join(format!("muster-doctor-{}", clock::new_id()))))
    }

    fn config(&self, config: &Config) -> Config {
        let mut tried = config.clone();
        tried.engine.data_dir.clone_from(&self.0);
        tried
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Leftovers are in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn configuration(config: &Config) -> Check {
    let file = config.file.as_deref().map_or("no file".to_owned(), |file| format!("file {file}"));
    let set =
        config.effective().iter().filter(|one| one.source != muster_runtime::config::Source::Default).count();
    Check::ok("configuration", format!("valid; {file}, {set} setting(s) differ from their defaults"))
}

fn tell(args: &DoctorArgs, checks: &[Check]) -> anyhow::Result<Exit> {
    if args.json {
        json(&checks)?;
    } else {
        for check in checks {
            let word = match check.status {
                Status::Ok => "ok     ",
                Status::Warning => "warning",
                Status::Failed => "FAILED ",
            };
            stdout_line(format_args!("{word}  {}: {}", check.id, check.message))?;
            if let Some(advice) = &check.advice {
                stdout_line(format_args!("         what to do: {advice}"))?;
            }
        }
    }
    let failed = checks.iter().any(|check| check.status == Status::Failed);
    Ok(if failed { Exit::Failure } else { Exit::Done })
}
