//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use muster_runtime::config::Config;

use crate::audit::AuditArgs;
use crate::bc::BcArgs;
use crate::catalog::CatalogArgs;
use crate::completions::CompletionsArgs;
use crate::configuration::ConfigArgs;
use crate::doctor::DoctorArgs;
use crate::explain::ExplainArgs;
use crate::import::ImportArgs;
use crate::import::inspect::InspectArgs;
use crate::imports::ImportsArgs;
use crate::migrate::MigrateArgs;
use crate::profile::ProfileArgs;
use crate::receipts::ReceiptsArgs;
use crate::service::{ProducerArgs, ServeArgs, WorkerArgs};
use crate::tenants::TenantArgs;
use crate::tokens::TokenArgs;
use crate::top::TopArgs;
use crate::users::UsersArgs;
use crate::verify::VerifyArgs;
use crate::webhook::WebhookArgs;

/// Imports users in bulk: takes a file, applies it record by record, and accounts for every one.
#[derive(Debug, Parser)]
#[command(name = "muster", version, max_term_width = 100, propagate_version = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  muster import users people.csv             import a file, with nothing else installed
  muster imports failed last -o failed.csv   the records that failed, to be corrected and imported again
  muster serve                               take files over HTTP
  muster doctor                              what is wrong with the set-up, and what to do

Without DATABASE_URL a private PostgreSQL runs on the data folder; without AMQP_URL the queue is kept in the database.
Exit codes: 0 done, 1 could not run, 2 wrong usage, 3 done with failed records.";

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Configuration file [default: muster.toml where it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the private PostgreSQL [default: .muster]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Run the installed PostgreSQL whose programs are in this folder, not the bundled one
    #[arg(long, global = true, value_name = "DIR")]
    postgres_bin: Option<String>,
    /// What to log, as in `info` or `warn,muster_worker=debug`
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
}

impl Global {
    /// The configuration, these options included.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        let arguments = [
            ("engine.data_dir", &self.data_dir),
            ("engine.postgres_bin", &self.postgres_bin),
            ("log.filter", &self.log),
        ];
        let given = arguments.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)));
        Ok(Config::load(self.config.as_deref(), given.collect())?)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Import a file and follow the import to its end
    Import(ImportArgs),
    /// Inspect a file before it is imported: its format, the meaning of its columns, and its problems
    Inspect(InspectArgs),
    /// Do what Bitcaster's own program does
    Bc(BcArgs),
    /// Look at imports, fetch their failed records, pause, resume, cancel and retry them
    Imports(ImportsArgs),
    /// Watch the queue, the imports, their rates and problems live in the terminal; pause, resume and retry by a key
    Top(TopArgs),
    /// Run everything in one process: take files over HTTP, apply them
    Serve(ServeArgs),
    /// Take files over HTTP and send them to the workers
    Producer(ProducerArgs),
    /// Apply what the producers send
    Worker(WorkerArgs),
    /// Bring the database to this program's version
    Migrate(MigrateArgs),
    /// Check the set-up and give advice on each problem
    Doctor(DoctorArgs),
    /// Create, list, disable and enable tenants
    #[command(alias = "tenants")]
    Tenant(TenantArgs),
    /// Create, list and revoke tokens
    Token(TokenArgs),
    /// List, show and export users; tell the history of one; delete one; erase a person
    Users(UsersArgs),
    /// Check a receipt, and the file that it is about, without a database or a server
    Verify(VerifyArgs),
    /// Tell the key by which receipts of this installation are known
    #[command(alias = "receipt")]
    Receipts(ReceiptsArgs),
    /// Save, list, show and delete named sets of import options
    Profile(ProfileArgs),
    /// Create, list, test and delete webhooks; show their deliveries; rotate their secrets
    #[command(alias = "webhooks")]
    Webhook(WebhookArgs),
    /// See who did what, when, and to how many
    Audit(AuditArgs),
    /// Show and replace what a tenant knows by name: organizations, groups, roles, …
    Catalog(CatalogArgs),
    /// Show the settings in effect, and all there are
    Config(ConfigArgs),
    /// Say what an error code means
    Explain(ExplainArgs),
    /// Print the completions for a shell
    Completions(CompletionsArgs),
}

impl Command {
    /// The default log filter.
    pub(crate) fn log_filter(&self) -> &'static str {
        match self {
            // The driver's own log lines may quote values of a statement. Errors are logged in the store's wording.
            Self::Serve(_) | Self::Producer(_) | Self::Worker(_) => "info,sqlx_core=off,sqlx_postgres=off",
            // The screen is its own.
            Self::Top(_) => "off",
            _ => "warn,sqlx_core=off,sqlx_postgres=off",
        }
    }
}

impl Cli {
    /// What a line asks `muster inspect` for; none where it asks for something else or cannot be.
    pub(crate) fn inspected(line: Vec<String>) -> Option<Box<crate::import::UsersArgs>> {
        match Self::try_parse_from(line).ok()?.command {
            Command::Inspect(args) => Some(args.users),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    /// clap checks a command only when it is used: without this, only a user would find an option that two of its parts define.
    #[test]
    fn every_command_is_well_formed() {
        Cli::command().debug_assert();
    }
}
