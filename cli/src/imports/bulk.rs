//! `muster imports bulk`: the same for many imports at once. What would be done is shown first; `--yes` or `start` does it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use muster_domain::bulk::{Action, Filter};
use muster_domain::error::ErrorCode;
use muster_domain::import::ImportState;
use muster_producer::api::{BulkView, too_many_in_bulk};
use muster_store::bulk::{self as store, Looked};
use uuid::Uuid;

use super::backend::Backend;
use super::local::Local;
use crate::client::{Refused, Remote, operations};
use crate::failure::{Exit, usage};
use crate::invocation::Invocation;
use crate::output::{json, number, stderr_line, stdout_line, table};
use crate::shutdown::Shutdown;
use crate::values::one_of;

/// How often to look how far it is.
const LOOK: Duration = Duration::from_millis(500);
/// How often in a row a server may fail to answer.
const SILENT: u32 = 120;

/// Options of `muster imports bulk`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  muster imports bulk retry --code catalog_unknown\n  muster imports bulk redrive --yes\n  muster imports bulk cancel --state received --older-than 7d\n  muster imports bulk start 0198…"
)]
pub(super) struct BulkArgs {
    #[command(subcommand)]
    what: BulkCommand,
}

#[derive(Debug, Subcommand)]
enum BulkCommand {
    /// Stop handing out chunks of running imports
    Pause(Asked),
    /// Go on with paused imports; with `--state cancelled` where cancelled ones stopped
    Resume(Asked),
    /// End imports that have not ended; records whose turn has not come are skipped
    Cancel(Asked),
    /// Drive failed records once more, all or those of one cause
    Retry(Asked),
    /// Drive the records of dead chunks once more
    Redrive(Asked),
    /// Do what was shown, to those imports and no others
    Start {
        /// Its id, as it was shown; it counts for an hour
        id: Uuid,
    },
    /// Tell how far it is
    Show {
        /// Its id
        id: Uuid,
    },
    /// End it where it is; imports that were done stay done
    Abort {
        /// Its id
        id: Uuid,
    },
    /// List what was started last, newest first
    List,
}

/// Which imports are meant.
#[derive(Debug, Args)]
struct Asked {
    /// Only those in this state [default: all to which it can be done, cancelled ones apart]
    #[arg(long, value_parser = one_of::<ImportState>(ImportState::ALL.iter().map(|state| state.as_str())))]
    state: Option<ImportState>,
    /// Only those opened longer ago than this: 30min, 12h, 7d
    #[arg(long, value_name = "TIME")]
    older_than: Option<String>,
    /// Only those opened less long ago than this
    #[arg(long, value_name = "TIME")]
    newer_than: Option<String>,
    /// Only those with this in the name of their file
    #[arg(long, value_name = "TEXT")]
    file: Option<String>,
    /// Only those received with this profile
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Only imports with records that failed with this error; a retry repeats only these records
    #[arg(long, value_name = "CODE", value_parser = one_of::<ErrorCode>(ErrorCode::ALL.iter().map(|code| code.as_str())), hide_possible_values = true)]
    code: Option<ErrorCode>,
    /// Only imports with records that failed for this column or key; a retry repeats only these records
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// Only those with dead chunks
    #[arg(long)]
    dead: bool,
    /// Execute the action at once on the imports that are found
    #[arg(long)]
    yes: bool,
}

impl Asked {
    fn filter(&self, action: Action) -> anyhow::Result<Filter> {
        let texts = [
            ("state", self.state.map(|state| state.to_string())),
            ("older_than", self.older_than.clone()),
            ("newer_than", self.newer_than.clone()),
            ("file", self.file.clone()),
            ("profile", self.profile.clone()),
            ("code", self.code.map(|code| code.as_str().to_owned())),
            ("field", self.field.clone()),
            ("dead", self.dead.then(|| "true".to_owned())),
        ];
        let option = |wrong: muster_domain::bulk::WrongFilter| {
            usage(format!("--{}: {}", wrong.name.replace('_', "-"), wrong.message))
        };
        let mut filter = Filter::default();
        for (name, text) in texts {
            if let Some(text) = text {
                filter.set(name, &text).map_err(option)?;
            }
        }
        filter.check(action).map_err(option)?;
        Ok(filter)
    }
}

impl BulkArgs {
    /// Whether it may have something to finish when it is asked to end.
    pub(super) fn works(&self) -> bool {
        match &self.what {
            BulkCommand::Pause(asked)
            | BulkCommand::Resume(asked)
            | BulkCommand::Cancel(asked)
            | BulkCommand::Retry(asked)
            | BulkCommand::Redrive(asked) => asked.yes,
            BulkCommand::Start { .. } => true,
            BulkCommand::Show { .. } | BulkCommand::Abort { .. } | BulkCommand::List => false,
        }
    }
}

/// Runs the command.
pub(super) async fn run(
    backend: &Backend<'_>,
    args: &BulkArgs,
    as_json: bool,
    invocation: &Invocation,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    let (action, asked) = match &args.what {
        BulkCommand::Pause(asked) => (Action::Pause, asked),
        BulkCommand::Resume(asked) => (Action::Resume, asked),
        BulkCommand::Cancel(asked) => (Action::Cancel, asked),
        BulkCommand::Retry(asked) => (Action::Retry, asked),
        BulkCommand::Redrive(asked) => (Action::Redrive, asked),
        BulkCommand::Start { id } => return start(backend, *id, as_json, invocation, shutdown).await,
        BulkCommand::Show { id } => return tell(&backend.bulk(*id, None).await?, as_json),
        BulkCommand::Abort { id } => return tell(&backend.bulk(*id, Some(Control::Abort)).await?, as_json),
        BulkCommand::List => return list(&backend.bulks().await?, as_json),
    };
    let looked = backend.look(action, &asked.filter(action)?).await?;
    if asked.yes {
        return start(backend, looked.id, as_json, invocation, shutdown).await;
    }
    tell(&looked, as_json)?;
    if looked.imports > 0 {
        stderr_line(format_args!(
            "nothing was done yet; this does it: {}",
            invocation.command("bulk start", looked.id)
        ));
    }
    Ok(Exit::Done)
}

/// What is done to an action itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    Start,
    Abort,
}

/// Starts it and follows it to its end.
async fn start(
    backend: &Backend<'_>,
    id: Uuid,
    as_json: bool,
    invocation: &Invocation,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    let mut bulk = backend.bulk(id, Some(Control::Start)).await?;
    let mut silent = 0;
    let mut told = 0;
    while !bulk.is_final() {
        let done = bulk.succeeded + bulk.refused;
        if done > told && !as_json {
            stderr_line(format_args!("{} of {} imports", number(done), number(bulk.imports)));
            told = done;
        }
        // Where no dispatcher works on the store, or beside those that do.
        let worked = match backend {
            Backend::Local(local) => store::work(&local.session.store).await?,
            Backend::Remote(_) => false,
        };
        if !worked {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.stopping() => {
                    stderr_line(format_args!("it goes on where a server runs; `{}` ends it", invocation.command("bulk abort", id)));
                    return Ok(Exit::Done);
                }
            }
        }
        bulk = match backend.bulk(id, None).await {
            Ok(bulk) => {
                silent = 0;
                bulk
            }
            Err(error)
                if !matches!(backend, Backend::Remote(_)) || error.is::<Refused>() || silent >= SILENT =>
            {
                return Err(error);
            }
            Err(error) => {
                silent += 1;
                tracing::debug!(%error, "the server does not answer; asking again");
                bulk
            }
        };
    }
    if let Backend::Local(local) = backend {
        muster_store::dispatch::wake(&local.session.store).await?;
        if local.session.runs_engine() && bulk.succeeded > 0 {
            stderr_line("what runs now is worked on by `muster serve`");
        }
    }
    tell(&bulk, as_json)?;
    Ok(if bulk.refused > 0 { Exit::Failure } else { Exit::Done })
}

fn tell(bulk: &BulkView, as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        json(bulk)?;
    } else {
        stdout_line(table(&["BULK", &bulk.id.to_string()], &rows(bulk)))?;
    }
    Ok(Exit::Done)
}

/// Name and text of each line.
fn rows(bulk: &BulkView) -> Vec<Vec<String>> {
    let row = |name: &str, text: String| vec![name.to_owned(), text];
    let failures = bulk.action.parse::<Action>().is_ok_and(Action::is_about_failures);
    let mut rows = vec![
        row("action", bulk.action.clone()),
        row("chosen by", filter(&bulk.filter)),
        row("state", bulk.state.clone()),
        row("imports", format!("{}{}", number(bulk.imports), states(&bulk.states))),
        row(if failures { "failed records" } else { "pending records" }, number(bulk.records)),
    ];
    if bulk.started_at.is_some() {
        rows.push(row("done", number(bulk.succeeded)));
        rows.push(row("refused", number(bulk.refused)));
    }
    rows.extend(bulk.refusals.iter().map(|one| row("", format!("{}: {}", one.import, one.why))));
    if bulk.started_at.is_none() {
        rows.extend(bulk.first.iter().map(|import| row("", import.to_string())));
        let more = bulk.imports.saturating_sub(bulk.first.len() as u64);
        if more > 0 {
            rows.push(row("", format!("and {} more", number(more))));
        }
    }
    rows
}

fn filter(filter: &BTreeMap<String, String>) -> String {
    if filter.is_empty() {
        return "all to which it can be done".into();
    }
    filter.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

fn states(states: &BTreeMap<String, u64>) -> String {
    let texts: Vec<String> =
        states.iter().map(|(state, count)| format!("{} {state}", number(*count))).collect();
    if texts.is_empty() { String::new() } else { format!(" ({})", texts.join(", ")) }
}

fn list(found: &[BulkView], as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        json(&found)?;
        return Ok(Exit::Done);
    }
    let row = |bulk: &BulkView| {
        vec![
            bulk.id.to_string(),
            bulk.action.clone(),
            bulk.state.clone(),
            number(bulk.imports),
            number(bulk.succeeded),
            number(bulk.refused),
            bulk.created_at.format("%Y-%m-%d %H:%M").to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    stdout_line(table(&["ID", "ACTION", "STATE", "IMPORTS", "DONE", "REFUSED", "LOOKED AT (UTC)"], &rows))?;
    Ok(Exit::Done)
}

impl Backend<'_> {
    async fn look(&self, action: Action, filter: &Filter) -> anyhow::Result<BulkView> {
        match self {
            Self::Local(local) => local.look(action, filter).await,
            Self::Remote(remote) => remote.look(action, filter).await,
        }
    }

    async fn bulk(&self, id: Uuid, control: Option<Control>) -> anyhow::Result<BulkView> {
        match self {
            Self::Local(local) => local.bulk(id, control).await,
            Self::Remote(remote) => remote.bulk(id, control).await,
        }
    }

    async fn bulks(&self) -> anyhow::Result<Vec<BulkView>> {
        match self {
            Self::Local(local) => {
                let found = store::list(&local.session.store, local.tenant).await?;
                Ok(found.into_iter().map(BulkView::from).collect())
            }
            Self::Remote(remote) => Ok(remote.ask(operations::BULK_LIST.call()).await?.actions),
        }
    }
}

impl Local<'_> {
    async fn look(&self, action: Action, filter: &Filter) -> anyhow::Result<BulkView> {
        match store::look(&self.session.store, self.tenant, "operator", action, filter).await? {
            Looked::Found(bulk) => Ok((*bulk).into()),
            Looked::TooMany => bail!("{}", too_many_in_bulk()),
        }
    }

    async fn bulk(&self, id: Uuid, control: Option<Control>) -> anyhow::Result<BulkView> {
        let (store, tenant) = (&self.session.store, self.tenant);
        let found = match control {
            None => store::show(store, tenant, id).await?,
            Some(Control::Start) => store::start(store, tenant, id).await?,
            Some(Control::Abort) => store::abort(store, tenant, id).await?,
        };
        let bulk = found.with_context(|| {
            format!("the tenant has no {id}; what was shown counts for an hour, and `muster imports bulk list` has what was started")
        })?;
        Ok(bulk.into())
    }
}

impl Remote {
    async fn look(&self, action: Action, filter: &Filter) -> anyhow::Result<BulkView> {
        self.ask_without_limit(
            operations::BULK_LOOK.call().with("action", action.to_string()).with_all(filter.pairs()),
        )
        .await
    }

    async fn bulk(&self, id: Uuid, control: Option<Control>) -> anyhow::Result<BulkView> {
        let operation = match control {
            None => &operations::BULK_SHOW,
            Some(Control::Start) => &operations::BULK_START,
            Some(Control::Abort) => &operations::BULK_ABORT,
        };
        self.ask(operation.at(&[&id])).await
    }
}

#[cfg(test)]
mod tests {
    use muster_runtime::clock;

    use super::*;

    #[test]
    fn what_would_be_done_is_told_with_its_numbers() {
        let bulk = BulkView {
            id: Uuid::from_u128(1),
            action: "redrive".into(),
            filter: BTreeMap::from([("older_than".into(), "3600s".into())]),
            state: "preview".into(),
            imports: 12,
            records: 1_234,
            states: BTreeMap::from([("completed".into(), 11), ("paused".into(), 1)]),
            first: vec![Uuid::from_u128(2)],
            succeeded: 0,
            refused: 0,
            refusals: Vec::new(),
            actor: "operator".into(),
            created_at: clock::now(),
            started_at: None,
            ended_at: None,
        };
        let told = table(&["BULK", "1"], &rows(&bulk));
        for text in
            ["12 (11 completed, 1 paused)", "failed records  1,234", "older_than=3600s", "and 11 more"]
        {
            assert!(told.contains(text), "{text}: {told}");
        }
    }
}
