//! `muster import users FILE`: a file goes in, the import is followed to its end, and the summary says what came of it.

mod local;
mod progress;
mod remote;
mod source;
pub(crate) mod summary;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use muster_shared::config::Config;
use muster_shared::options::{
    EmptyCell, IdentifierField, MetadataMode, OnExisting, OnInvalid, Start, UnknownColumns,
};
use muster_shared::parse::Format;
use muster_shared::tenant::Slug;

pub(crate) use local::{Taken, drive, take_in, view};
pub(crate) use progress::Progress;
pub(crate) use source::Source;

use crate::args::one_of;
use crate::failure::Ended;
use crate::shutdown::Shutdown;

/// Options of `muster import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Import users from a CSV, JSON or NDJSON file
    #[command(after_help = EXAMPLES)]
    Users(Box<UsersArgs>),
}

const EXAMPLES: &str = "\
Examples:
  muster import users people.csv
  muster import users people.ndjson.zst --on-existing skip
  generate | muster import users - --format ndjson --json
  muster import users people.csv --server https://muster.example.com --token \"$TOKEN\"

The same command again after a crash goes on where the import stood. Endings .gz and .zst are decompressed.
Exit codes: 0 done, 1 could not run, 2 wrong usage, 3 done with failed records.";

macro_rules! texts {
    ($type:ty) => {
        one_of::<$type>(<$type>::ALL.iter().map(|value| value.as_str()))
    };
}

/// Options of `muster import users`.
#[derive(Debug, Args)]
pub(crate) struct UsersArgs {
    /// The file; `-` reads standard input
    file: PathBuf,
    /// Format of the file [default: by the ending of its name]
    #[arg(long, value_parser = texts!(Format))]
    format: Option<Format>,
    /// The field that says which user a record means [default: email]
    #[arg(long, value_parser = texts!(IdentifierField))]
    identifier: Option<IdentifierField>,
    /// What happens to a user that exists already [default: update]
    #[arg(long, value_parser = texts!(OnExisting))]
    on_existing: Option<OnExisting>,
    /// How a record's metadata meets the metadata that a user has [default: merge]
    #[arg(long, value_parser = texts!(MetadataMode))]
    metadata: Option<MetadataMode>,
    /// Organization to enrol the users in
    #[arg(long, value_name = "SLUG", visible_alias = "organization")]
    org: Option<Slug>,
    /// Group to enrol the users in; made if it is new
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Whether invalid records fail alone, or refuse the whole file [default: continue]
    #[arg(long, value_parser = texts!(OnInvalid))]
    on_invalid: Option<OnInvalid>,
    /// What happens with columns that are not known [default: refuse]
    #[arg(long, value_parser = texts!(UnknownColumns))]
    unknown_columns: Option<UnknownColumns>,
    /// What an empty CSV cell means [default: ignore]
    #[arg(long, value_parser = texts!(EmptyCell))]
    empty_cells: Option<EmptyCell>,
    /// What ends a CSV cell; `auto` tells it from the header [default: comma]
    #[arg(long, value_parser = ["comma", "semicolon", "tab", "pipe", "auto"])]
    delimiter: Option<String>,
    /// Start at once, or when `muster imports proceed` says so [default: auto]
    #[arg(long, value_parser = texts!(Start))]
    start: Option<Start>,
    /// The tenant whose users they are
    #[arg(long, value_name = "SLUG", default_value = Slug::DEFAULT)]
    tenant: Slug,
    /// Hand the file to this server instead of working on the database
    #[arg(long, value_name = "URL", env = "MUSTER_SERVER")]
    server: Option<String>,
    /// The token to show the server
    #[arg(long, env = "MUSTER_TOKEN", hide_env_values = true)]
    token: Option<String>,
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
        let text = |value: Option<&'static str>| value.map(str::to_owned);
        let given = [
            ("format", Some(source.format.as_str().to_owned())),
            ("identifier", text(self.identifier.map(IdentifierField::as_str))),
            ("on_existing", text(self.on_existing.map(OnExisting::as_str))),
            ("metadata", text(self.metadata.map(MetadataMode::as_str))),
            ("organization", self.org.as_ref().map(|slug| slug.as_str().to_owned())),
            ("group", self.group.clone()),
            ("start", text(self.start.map(Start::as_str))),
            ("on_invalid", text(self.on_invalid.map(OnInvalid::as_str))),
            ("unknown_columns", text(self.unknown_columns.map(UnknownColumns::as_str))),
            ("empty_cells", text(self.empty_cells.map(EmptyCell::as_str))),
            ("delimiter", self.delimiter.clone()),
            ("filename", source.name.clone()),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// Runs the command.
pub(crate) async fn run(args: ImportArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Ended> {
    let What::Users(args) = args.what;
    // What is wrong with the file is told before anything is started.
    let source = source::Source::open(&args.file, args.format).await?;
    match &args.server {
        Some(server) => Box::pin(remote::run(&args, source, server, shutdown)).await,
        None => Box::pin(local::run(&args, source, config, shutdown)).await,
    }
}
