//! `muster imports`: shows imports and changes their state, in the store of this machine or on a server.

mod asked;
mod backend;
mod bulk;
mod causes;
mod chunks;
mod local;
pub(crate) mod plan;
mod proof;
mod remote;
mod report;
mod show;
pub(crate) mod summary;
mod undo;
mod watch;

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use muster_domain::id::ImportId;
use muster_domain::import::{ChunkState, ImportState};
use muster_domain::planned::OnDrift;
use muster_domain::tenant::Slug;
use muster_runtime::config::Config;

pub(crate) use asked::{CauseArgs, ImportAction, Outcomes};
pub(crate) use backend::Backend;
pub(crate) use local::Local;

use crate::client::{Remote, ServerToken};
use crate::connect::{self, Need, Session};
use crate::failure::Exit;
use crate::invocation::Invocation;
use crate::output::stderr_line;
use crate::pipeline::{dispatch_options, receive_limits};
use crate::shutdown::Shutdown;
use crate::values::one_of;
use crate::view::View;

/// Options of `muster imports`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImportsArgs {
    #[command(subcommand)]
    what: ImportsCommand,
    /// The tenant whose imports they are
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

const EXAMPLES: &str = "\
Examples:
  muster imports list
  muster imports show last
  muster imports watch last
  muster imports chunks last --problem
  muster imports failed 0198 -o failed.csv
  muster imports bulk retry --code catalog_unknown
  muster imports retry last --server https://muster.example.com --token-file ~/.muster-token

ID is the import's id, the beginning or the end of it where that is enough, `last`, or an id as clients of Authgear see it.";

#[derive(Debug, Subcommand)]
enum ImportsCommand {
    /// List imports, newest first
    #[command(
        after_help = "Examples:\n  muster imports list --state running\n  muster imports list --limit 100 --json"
    )]
    List {
        /// Only those in this state
        #[arg(long, value_parser = one_of::<ImportState>(ImportState::ALL.iter().map(|state| state.as_str())))]
        state: Option<ImportState>,
        /// Most imports to list
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show one import
    #[command(after_help = "Examples:\n  muster imports show last --json")]
    Show(Which),
    /// List the records of an import with their outcomes, in the order of the file
    #[command(
        after_help = "Examples:\n  muster imports records last --outcome failed\n  muster imports records last --after 5000 --limit 100 --json"
    )]
    Records {
        #[command(flatten)]
        which: Which,
        /// Only those with this outcome
        #[arg(long, value_enum)]
        outcome: Option<Outcomes>,
        #[command(flatten)]
        cause: CauseArgs,
        /// Only those after this record
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// Most records to list [default: all]
        #[arg(long)]
        limit: Option<u64>,
    },
    /// List the chunks of an import: the state, the process and the last problem of each
    #[command(
        after_help = "Examples:\n  muster imports chunks last\n  muster imports chunks last --problem\n  muster imports chunks last --state dead --json"
    )]
    Chunks {
        #[command(flatten)]
        which: Which,
        /// Only those in this state
        #[arg(long, value_parser = one_of::<ChunkState>(ChunkState::ALL.iter().map(|state| state.as_str())))]
        state: Option<ChunkState>,
        /// Only those that met a problem
        #[arg(long)]
        problem: bool,
        /// Most chunks to list [default: all]
        #[arg(long)]
        limit: Option<u64>,
    },
    /// Follow an import to its end, with its rate and its obstacles
    #[command(after_help = "Examples:\n  muster imports watch last")]
    Watch(Which),
    /// List failures and warnings by cause: how many, the first records with their lines, an example, and what to do
    #[command(
        after_help = "Examples:\n  muster imports problems last\n  muster imports failed last --code phone_invalid -o phones.csv"
    )]
    Problems {
        #[command(flatten)]
        which: Which,
        /// Most causes to tell
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=200))]
        limit: u8,
    },
    /// Write the outcome of every record as a table: record, line, identifier, outcome, reason, user, error, warnings
    #[command(
        after_help = "Examples:\n  muster imports report last -o report.csv\n  muster imports report last --html -o report.html"
    )]
    Report {
        #[command(flatten)]
        which: Which,
        /// File to write [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Write one page to print or to send instead, with sums and causes and without any value of a user
        #[arg(long)]
        html: bool,
    },
    /// Write the signed receipt of an import that has ended: the file, the outcomes, the times; `muster verify` checks it
    #[command(
        after_help = "Examples:\n  muster imports receipt last -o receipt.json\n  muster verify receipt.json people.csv"
    )]
    Receipt {
        #[command(flatten)]
        which: Which,
        /// File to write [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write the failed records as a file that can be corrected and imported again
    #[command(
        after_help = "Examples:\n  muster imports failed last -o failed.csv\n  muster imports failed last --format ndjson | jq"
    )]
    Failed {
        #[command(flatten)]
        which: Which,
        /// File to write [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Format to write [default: by the ending of the file's name, else csv for a table and ndjson for JSON]
        #[arg(long, value_parser = ["csv", "ndjson"])]
        format: Option<String>,
        #[command(flatten)]
        cause: CauseArgs,
    },
    /// Show what an import would do that was planned and not applied: counts, sums by field, and what somebody should look at
    #[command(
        after_help = "Examples:\n  muster import users people.csv --plan\n  muster imports plan last\n  muster imports plan last --diff --field phone_number\n  muster imports plan last --diff --outcome skipped"
    )]
    Plan(plan::PlanArgs),
    /// Start an import that was received and waits, or apply what was planned
    #[command(
        after_help = "Examples:\n  muster imports proceed last\n  muster imports proceed last --on-drift apply"
    )]
    Proceed {
        #[command(flatten)]
        which: Which,
        /// Of an import that was planned, what happens to a record that would no longer come to what its plan says: it fails, or it is
        /// applied and marked [default: refuse]
        #[arg(long, value_parser = one_of::<OnDrift>(OnDrift::ALL.iter().map(|value| value.as_str())))]
        on_drift: Option<OnDrift>,
    },
    /// Stop handing out chunks; those that are with the workers are finished
    #[command(after_help = "Examples:\n  muster imports pause last")]
    Pause(Which),
    /// Go on after a pause, or where a cancelled import stopped
    #[command(after_help = "Examples:\n  muster imports resume last")]
    Resume(Which),
    /// End an import; records whose turn has not come are skipped
    #[command(after_help = "Examples:\n  muster imports cancel last")]
    Cancel(Which),
    /// Drive failed records and dead chunks once more; a record that a later one of the same user has passed is skipped
    #[command(
        after_help = "Examples:\n  muster imports retry last\n  muster imports retry last --code catalog_unknown"
    )]
    Retry {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        cause: CauseArgs,
    },
    /// Take back what an import changed, as far as nobody changed it since: planned first, then done by `proceed`; an undo can be undone
    #[command(
        after_help = "Examples:\n  muster imports undo last --check\n  muster imports undo last\n  muster imports undo last --now\n  muster imports undo 0198 --field phone_number --field metadata.office\n  muster imports undo last --outcome inserted --hold"
    )]
    Undo(undo::UndoArgs),
    /// Pause, resume, cancel, retry or redrive many imports at once, chosen by what they are like
    Bulk(bulk::BulkArgs),
}

#[derive(Debug, Args)]
struct Which {
    /// The import: its id, the beginning or the end of it, `last`, or `userimport_…`
    id: String,
}

impl ImportsCommand {
    fn action(&self) -> Option<(ImportAction, &Which, CauseArgs)> {
        if let Self::Retry { which, cause } = self {
            return Some((ImportAction::Retry, which, cause.clone()));
        }
        let (action, which) = match self {
            Self::Proceed { which, on_drift } => (ImportAction::Proceed(*on_drift), which),
            Self::Pause(which) => (ImportAction::Pause, which),
            Self::Resume(which) => (ImportAction::Resume, which),
            Self::Cancel(which) => (ImportAction::Cancel, which),
            Self::List { .. }
            | Self::Show(_)
            | Self::Records { .. }
            | Self::Chunks { .. }
            | Self::Watch(_)
            | Self::Problems { .. }
            | Self::Report { .. }
            | Self::Receipt { .. }
            | Self::Failed { .. }
            | Self::Plan(_)
            | Self::Retry { .. }
            | Self::Undo(_)
            | Self::Bulk(_) => return None,
        };
        Some((action, which, CauseArgs::default()))
    }
}

impl ImportsArgs {
    /// Whether the command may have something to finish when it is asked to end.
    pub(crate) fn works(&self) -> bool {
        match &self.what {
            ImportsCommand::Undo(args) => args.works(),
            ImportsCommand::Bulk(args) => args.works(),
            ImportsCommand::Watch(_) => true,
            ImportsCommand::Plan(args) => args.again,
            what => what.action().is_some_and(|(action, ..)| action.sets_going()),
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: &ImportsArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Exit> {
    if let Some(server) = &args.server {
        let remote = Remote::new(server, &args.token)?;
        let backend = Backend::Remote(&remote);
        let work = command(args, config, &backend, shutdown);
        return tokio::select! {
            ended = work => ended,
            () = shutdown.aborting() => Err(crate::shutdown::Aborted.into()),
        };
    }
    let work = async |session: &Session| {
        let tenant = session.tenant(&args.tenant).await?;
        let bounds = dispatch_options(config).bounds();
        let local = Local { session, tenant, bounds, chunk: receive_limits(config).chunk };
        command(args, config, &Backend::Local(local), shutdown).await
    };
    Box::pin(connect::with(config, Need::Look, shutdown, work)).await
}

async fn command(
    args: &ImportsArgs,
    config: &Config,
    backend: &Backend<'_>,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    let invocation = Invocation::new(args.server.as_deref(), args.token.file(), &args.tenant);
    if let Some((action, which, cause)) = args.what.action() {
        let id = backend.find(&which.id).await?;
        let view = act(backend, id, action, &cause, &invocation).await?;
        return Box::pin(go_on(args, config, backend, &view, action.sets_going(), &invocation, shutdown))
            .await;
    }
    if let ImportsCommand::Plan(asked) = &args.what
        && asked.again
    {
        let id = backend.find(&asked.id).await?;
        let view = backend.perform(id, ImportAction::Replan, &CauseArgs::default()).await?;
        return Box::pin(until_planned(args, config, backend, &view, true, &invocation, shutdown)).await;
    }
    if let ImportsCommand::Undo(asked) = &args.what {
        let id = backend.find(&asked.id).await?;
        let Some(view) = undo::undo(backend, id, asked, args.json, &invocation).await? else {
            return Ok(Exit::Done);
        };
        return Box::pin(until_planned(args, config, backend, &view, asked.works(), &invocation, shutdown))
            .await;
    }
    match &args.what {
        ImportsCommand::List { state, limit } => show::list(&backend.list(*state, *limit).await?, args.json),
        ImportsCommand::Show(which) => {
            shown(backend, backend.find(&which.id).await?, args.json, &invocation).await
        }
        ImportsCommand::Records { which, outcome, cause, after, limit } => {
            let id = backend.find(&which.id).await?;
            let asked =
                show::Asked { outcome: *outcome, cause, after: *after, limit: limit.unwrap_or(u64::MAX) };
            show::records(backend, id, asked, args.json).await
        }
        ImportsCommand::Chunks { which, state, problem, limit } => {
            let id = backend.find(&which.id).await?;
            let wanted =
                chunks::Wanted { state: *state, problem: *problem, limit: limit.unwrap_or(u64::MAX) };
            chunks::list(backend, id, wanted, args.json).await
        }
        ImportsCommand::Watch(which) => {
            let id = backend.find(&which.id).await?;
            watch::run(backend, id, args.json, &invocation, shutdown).await
        }
        ImportsCommand::Bulk(asked) => {
            Box::pin(bulk::run(backend, asked, args.json, &invocation, shutdown)).await
        }
        ImportsCommand::Problems { which, limit } => {
            let id = backend.find(&which.id).await?;
            show::problems(backend, id, *limit, args.json, &invocation).await
        }
        what => written(what, args.json, backend, &invocation).await,
    }
}

/// Shows one import, with the undo that it has.
async fn shown(
    backend: &Backend<'_>,
    id: ImportId,
    as_json: bool,
    invocation: &Invocation,
) -> anyhow::Result<Exit> {
    let view = backend.show(id).await?;
    // What never ended has no undo.
    let undone_by = match view.state.is_final() && !as_json {
        true => undo::preview(backend, id).await.ok().and_then(|found| found.undone_by),
        false => None,
    };
    show::one(&view, undone_by.map(ImportId::new), as_json, invocation)
}

/// Does it to an import, and says so where nothing was to be done. The API answers that as success, since a client may repeat a request.
async fn act(
    backend: &Backend<'_>,
    id: ImportId,
    action: ImportAction,
    cause: &CauseArgs,
    invocation: &Invocation,
) -> anyhow::Result<View> {
    // A token may be for changes alone: then it is done without a look before.
    let before = backend.show(id).await.ok();
    let done = backend.perform(id, action, cause).await;
    let is_cancelled = before.as_ref().is_some_and(|before| before.state == ImportState::Cancelled);
    let view = match done {
        Err(error) if action == ImportAction::Retry && is_cancelled => {
            bail!("{error}; `{}` goes on where it stopped", invocation.command("resume", id))
        }
        done => done?,
    };
    if let Some(text) = before.and_then(|before| action.told_idle(&before, &view, invocation)) {
        stderr_line(text);
    }
    Ok(view)
}

/// What is written to a file or shown as it is.
async fn written(
    what: &ImportsCommand,
    as_json: bool,
    backend: &Backend<'_>,
    invocation: &Invocation,
) -> anyhow::Result<Exit> {
    match what {
        ImportsCommand::Report { which, output, html: false } => {
            let id = backend.find(&which.id).await?;
            report::write(backend, id, output.as_deref()).await
        }
        ImportsCommand::Plan(asked) => {
            let id = backend.find(&asked.id).await?;
            plan::show(backend, id, asked, as_json, invocation).await
        }
        ImportsCommand::Report { which, output, html: true } => {
            let id = backend.find(&which.id).await?;
            proof::write(&backend.report_page(id).await?, output.as_deref(), "the report")
        }
        ImportsCommand::Receipt { which, output } => {
            let id = backend.find(&which.id).await?;
            proof::write(&backend.receipt(id).await?, output.as_deref(), "the receipt")
        }
        ImportsCommand::Failed { which, output, format, cause } => {
            let id = backend.find(&which.id).await?;
            show::failed(backend, id, output.as_deref(), format.as_deref(), cause).await
        }
        _ => Ok(Exit::Done),
    }
}

/// Shows the plan of an import once it is made; an import that is not planned as [`go_on`] does.
async fn until_planned(
    args: &ImportsArgs,
    config: &Config,
    backend: &Backend<'_>,
    view: &View,
    going: bool,
    invocation: &Invocation,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    let here = matches!(backend, Backend::Local(local) if local.session.runs_engine());
    if view.state == ImportState::Planning && !here {
        return watch::run(backend, view.id, args.json, invocation, shutdown).await;
    }
    go_on(args, config, backend, view, going, invocation, shutdown).await
}

/// Shows an import after an action. If no other process works on the store, the work is done here.
async fn go_on(
    args: &ImportsArgs,
    config: &Config,
    backend: &Backend<'_>,
    view: &View,
    going: bool,
    invocation: &Invocation,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    if let Backend::Local(local) = backend
        && local.session.runs_engine()
        && going
        && matches!(view.state, ImportState::Planning | ImportState::Running)
    {
        return local.drive(config, view.id, args.json, invocation, shutdown).await;
    }
    show::one(view, None, args.json, invocation)
}
