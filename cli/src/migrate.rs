//! `muster migrate`: brings the database to this program's version.

use clap::Args;
use muster_runtime::config::Config;
use muster_store::migrate;

use crate::connect::{self, Need, Session};
use crate::failure::Exit;
use crate::output::{json, stdout_line};
use crate::shutdown::Shutdown;

/// Options of `muster migrate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  DATABASE_URL=postgres://muster@db/muster muster migrate\n  muster migrate --dry-run"
)]
pub(crate) struct MigrateArgs {
    /// Only list what would be applied
    #[arg(long)]
    dry_run: bool,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &MigrateArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Exit> {
    let work = async |session: &Session| {
        let (migrations, version) = if args.dry_run {
            (migrate::pending(&session.store).await?, migrate::program_version())
        } else {
            let report = migrate::run(&session.store).await?;
            (report.applied, report.version)
        };
        if args.json {
            json(
                &serde_json::json!({ "applied": !args.dry_run, "migrations": migrations, "version": version }),
            )?;
            return Ok(Exit::Done);
        }
        let word = if args.dry_run { "pending" } else { "applied" };
        for migration in &migrations {
            stdout_line(format_args!("{word} {:04} {}", migration.version, migration.description))?;
        }
        if migrations.is_empty() {
            stdout_line(format_args!("nothing to do: the database has version {version}"))?;
        }
        Ok(Exit::Done)
    };
    Box::pin(connect::with(config, Need::Any, shutdown, work)).await
}
