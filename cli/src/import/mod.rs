//! `muster import users FILE`: a file goes in, the import is followed to its end, and the summary says what came of it.

pub(crate) mod inspect;
mod local;
pub(crate) mod options;
mod remote;
mod source;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use muster_domain::tenant::Slug;
use muster_runtime::config::Config;

pub(crate) use local::{ReceivedImport, Unreceived, take_in, view};
pub(crate) use options::OptionArgs;
pub(crate) use source::Source;

use crate::client::ServerToken;
use crate::failure::Exit;
use crate::shutdown::{Aborted, Shutdown};

/// Options of `muster import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    what: ImportCommand,
}

#[derive(Debug, Subcommand)]
enum ImportCommand {
    /// Import users from a CSV, JSON, NDJSON or XLSX file
    #[command(after_help = EXAMPLES)]
    Users(Box<UsersArgs>),
}

const EXAMPLES: &str = "\
Examples:
  muster import users people.csv
  muster import users people.csv --plan
  muster import users staff.xlsx --sheet Berlin
  muster import users people.ndjson.zst --on-existing skip
  generate | muster import users - --format ndjson --json
  muster import users people.csv --server https://muster.example.com --token-file ~/.muster-token

The same command again after a crash goes on where the import stood. Endings .gz and .zst are decompressed.
Exit codes: 0 done, 1 could not run, 2 wrong usage, 3 done with failed records.";

/// Options of `muster import users`.
#[derive(Debug, Args)]
pub(crate) struct UsersArgs {
    /// The file; `-` reads standard input
    file: PathBuf,
    #[command(flatten)]
    options: OptionArgs,
    /// The tenant whose users they are
    #[arg(long, value_name = "SLUG", default_value = Slug::DEFAULT)]
    tenant: Slug,
    /// Hand the file to this server instead of working on the database
    #[arg(long, value_name = "URL", env = "MUSTER_SERVER")]
    server: Option<String>,
    #[command(flatten)]
    token: ServerToken,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

impl UsersArgs {
    /// The options that were given, as the API names them.
    fn pairs(&self, source: &source::Source) -> Vec<(&'static str, String)> {
        let format = ("format", source.format.as_str().to_owned());
        let others = self.options.pairs().into_iter().filter(|(name, _)| *name != "format");
        let filename = source.name.clone().map(|name| ("filename", name));
        std::iter::once(format).chain(others).chain(filename).collect()
    }
}

/// Runs the command.
pub(crate) async fn run(args: ImportArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Exit> {
    let ImportCommand::Users(mut args) = args.what;
    // What can be read only once waits, while it is received, until its order is known.
    if args.options.get("dates") == Some("auto") && source::can_be_read_again(&args.file).await {
        args.options.set("dates", None);
        let order = Box::pin(inspect::proved_order(&args, config, shutdown)).await?;
        args.options.set("dates", Some(order.as_str().to_owned()));
    }
    // Problems of the file are reported before anything is started. A FIFO opens only once somebody writes to it: the
    // thread that waits for that goes down with the process.
    let source = tokio::select! {
        source = source::Source::open(&args.file, args.options.format()) => source?,
        () = shutdown.stopping() => return Err(Aborted.into()),
    };
    match &args.server {
        Some(server) => Box::pin(remote::run(&args, source, server, shutdown)).await,
        None => Box::pin(local::run(&args, source, config, shutdown)).await,
    }
}
