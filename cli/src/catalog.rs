//! `muster catalog`: show and replace what a tenant knows by name.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use muster_domain::catalog::Catalog;
use muster_domain::tenant::Slug;
use muster_runtime::config::Config;
use muster_store::catalog::{self, Applied};

use crate::connect::{self, Need, Session};
use crate::failure::Exit;
use crate::output::{json, stderr_line};
use crate::shutdown::Shutdown;

/// Options of `muster catalog`.
#[derive(Debug, Args)]
pub(crate) struct CatalogArgs {
    #[command(subcommand)]
    what: CatalogCommand,
    /// The tenant whose catalog it is
    #[arg(long, global = true, value_name = "SLUG", default_value = Slug::DEFAULT)]
    tenant: Slug,
}

#[derive(Debug, Subcommand)]
enum CatalogCommand {
    /// Print the catalog as JSON: organizations, groups, roles, teams, locations, custom attributes, limits
    #[command(after_help = "Examples:\n  muster catalog show > catalog.json")]
    Show,
    /// Make the catalog exactly the one in the file: what the file does not name is removed
    #[command(
        after_help = "Examples:\n  muster catalog apply catalog.json\n  muster catalog apply - < catalog.json"
    )]
    Apply {
        /// JSON in the shape that `show` prints; `-` reads standard input
        file: PathBuf,
    },
}

/// Runs the command.
pub(crate) async fn run(args: &CatalogArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Exit> {
    let new = match &args.what {
        CatalogCommand::Show => None,
        CatalogCommand::Apply { file } => Some(read(file)?),
    };
    let work = async |session: &Session| {
        let tenant = session.tenant(&args.tenant).await?;
        let Some(new) = &new else {
            json(&catalog::get(&session.store, tenant).await?)?;
            return Ok(Exit::Done);
        };
        match catalog::apply(&session.store, tenant, new).await? {
            Applied::Catalog(catalog) => {
                json(&catalog)?;
                Ok(Exit::Done)
            }
            Applied::Refused(errors) => {
                for error in &errors {
                    stderr_line(format_args!("{}: {}", error.field, error.message));
                }
                bail!(
                    "the catalog is refused, and the current one stays: {} mistake(s), listed above",
                    errors.len()
                )
            }
        }
    };
    Box::pin(connect::with(config, Need::Look, shutdown, work)).await
}

fn read(file: &Path) -> anyhow::Result<Catalog> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    Catalog::parse(text.as_bytes()).with_context(|| format!("{} is not a catalog", file.display()))
}
