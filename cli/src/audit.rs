//! `muster audit`: who did what; from the store of this machine or a server.

use clap::{Args, Subcommand};
use muster_domain::tenant::Slug;
use muster_producer::api::AuditView;
use muster_runtime::config::Config;
use muster_store::audit;
use serde_json::Value;

use crate::client::{Remote, ServerToken, operations};
use crate::connect::{self, Need, Session};
use crate::failure::Exit;
use crate::output::{json, stdout_line, table};
use crate::shutdown::{Aborted, Shutdown};

/// Options of `muster audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    what: AuditCommand,
    /// The tenant whose audit it is
    #[arg(long, global = true, value_name = "SLUG", default_value = Slug::DEFAULT)]
    tenant: Slug,
    /// Ask this server instead of the database; its token says which tenant
    #[arg(long, global = true, value_name = "URL", env = "MUSTER_SERVER")]
    server: Option<String>,
    #[command(flatten)]
    token: ServerToken,
    /// Answer as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// List what was done, the newest first: who, when, what, to what, how many, and how they were chosen
    #[command(after_help = "Examples:\n  muster audit list\n  muster audit list --limit 10 --after 4711")]
    List {
        /// Most entries
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
        limit: u16,
        /// Those before this number only: the last one of the list before
        #[arg(long, value_name = "NUMBER")]
        after: Option<i64>,
    },
}

/// Runs the command.
pub(crate) async fn run(args: &AuditArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Exit> {
    let AuditCommand::List { limit, after } = args.what;
    if let Some(server) = &args.server {
        let remote = Remote::new(server, &args.token)?;
        let call = operations::AUDIT_LIST
            .call()
            .with("limit", limit.to_string())
            .with_all(after.map(|after| ("after", after.to_string())));
        return tokio::select! {
            page = remote.ask(call) => listed(&page?.entries, args.json),
            () = shutdown.aborting() => Err(Aborted.into()),
        };
    }
    let work = async |session: &Session| {
        let tenant = session.tenant(&args.tenant).await?;
        let found = audit::page(&session.store, tenant, after, None, limit.into()).await?;
        listed(&found.into_iter().map(Into::into).collect::<Vec<_>>(), args.json)
    };
    Box::pin(connect::with(config, Need::Look, shutdown, work)).await
}

fn listed(entries: &[AuditView], as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        json(&entries)?;
        return Ok(Exit::Done);
    }
    let row = |entry: &AuditView| {
        vec![
            entry.id.to_string(),
            entry.at.to_rfc3339(),
            who(entry),
            entry.action.clone(),
            entry
                .name
                .clone()
                .or_else(|| entry.subject.map(|subject| subject.to_string()))
                .unwrap_or_default(),
            pairs(Some(&entry.counts)),
            pairs(entry.filter.as_ref()),
        ]
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    stdout_line(table(&["NUMBER", "WHEN", "WHO", "WHAT", "TO WHAT", "HOW MANY", "WHICH"], &rows))?;
    Ok(Exit::Done)
}

/// The name of a token, and whether it is that of an operator of all tenants.
fn who(entry: &AuditView) -> String {
    match &entry.token {
        Some(name) if entry.of_other_tenant => format!("{name} (an operator's)"),
        Some(name) => name.clone(),
        None => entry.actor.clone(),
    }
}

/// Names with their values: `records 3, chunks 1`.
fn pairs(value: Option<&Value>) -> String {
    let all = value.and_then(Value::as_object).into_iter().flatten();
    let all: Vec<String> = all
        .map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name} {text}"),
            None => format!("{name} {value}"),
        })
        .collect();
    all.join(", ")
}
