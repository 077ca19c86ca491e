//! `muster tenant`: create, list, disable and enable tenants, and see to their keys.

use anyhow::bail;
use clap::{Args, Subcommand};
use muster_domain::tenant::{Slug, Tenant};
use muster_runtime::config::Config;
use muster_store::{Created, tenants};

use crate::connect::{self, Need, Session};
use crate::failure::Exit;
use crate::keys::{self, KeyArgs};
use crate::output::{json, stdout_line, table};
use crate::shutdown::Shutdown;

/// Options of `muster tenant`.
#[derive(Debug, Args)]
pub(crate) struct TenantArgs {
    #[command(subcommand)]
    what: TenantCommand,
    /// Answer as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum TenantCommand {
    #[command(flatten)]
    Tenants(Tenants),
    /// Add, list and remove public keys that verify signed requests of a tenant
    Key(KeyArgs),
}

#[derive(Debug, Subcommand)]
enum Tenants {
    /// Create a tenant; an existing one is not changed
    #[command(after_help = "Examples:\n  muster tenant create acme --name 'Acme Inc.'")]
    Create {
        /// Short name: a-z, 0-9, '.', '_' and '-'
        slug: Slug,
        /// Name for people [default: the short name]
        #[arg(long)]
        name: Option<String>,
    },
    /// List the tenants
    #[command(after_help = "Examples:\n  muster tenant list --json")]
    List,
    /// Disable a tenant: its tokens and keys open nothing, and its imports wait
    #[command(
        after_help = "Examples:\n  muster tenant disable acme\n\nWithin three seconds every server knows it."
    )]
    Disable {
        /// Short name
        slug: Slug,
    },
    /// Enable a tenant again: its tokens and keys open what they did, and its imports go on
    #[command(after_help = "Examples:\n  muster tenant enable acme")]
    Enable {
        /// Short name
        slug: Slug,
    },
}

/// Runs the command.
pub(crate) async fn run(args: &TenantArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Exit> {
    let tenants = match &args.what {
        TenantCommand::Key(key) => return keys::run(key, args.json, config, shutdown).await,
        TenantCommand::Tenants(tenants) => tenants,
    };
    let work = async |session: &Session| match tenants {
        Tenants::Create { slug, name } => {
            let name =
                name.as_deref().map(str::trim).filter(|name| !name.is_empty()).unwrap_or(slug.as_str());
            let created = tenants::create(&session.store, slug, name).await?;
            tell_created(&created, args.json)
        }
        Tenants::List => tell(&tenants::list(session.store.pool()).await?, args.json),
        Tenants::Disable { slug } => set_disabled(session, slug, true, args.json).await,
        Tenants::Enable { slug } => set_disabled(session, slug, false, args.json).await,
    };
    Box::pin(connect::with(config, Need::Look, shutdown, work)).await
}

async fn set_disabled(session: &Session, slug: &Slug, disabled: bool, as_json: bool) -> anyhow::Result<Exit> {
    let Some(tenant) = tenants::set_disabled(&session.store, slug, disabled).await? else {
        bail!("there is no tenant {slug}; `muster tenant list` shows those there are");
    };
    if as_json {
        json(&tenant)?;
    } else {
        let how = if disabled { "disabled" } else { "enabled" };
        stdout_line(format_args!("tenant {slug} is {how}"))?;
    }
    Ok(Exit::Done)
}

fn tell_created(created: &Created<Tenant>, as_json: bool) -> anyhow::Result<Exit> {
    let (Created::New(tenant) | Created::Existing(tenant)) = created;
    if as_json {
        json(tenant)?;
    } else if created.is_new() {
        stdout_line(format_args!("tenant {} is created", tenant.slug))?;
    } else {
        stdout_line(format_args!("tenant {} is there already and stays as it is", tenant.slug))?;
    }
    Ok(Exit::Done)
}

fn tell(tenants: &[Tenant], as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        json(&tenants)?;
    } else {
        let rows: Vec<Vec<String>> = tenants
            .iter()
            .map(|tenant| {
                let disabled = tenant.disabled_at.map(|at| at.to_rfc3339()).unwrap_or_default();
                vec![tenant.slug.to_string(), tenant.name.clone(), tenant.created_at.to_rfc3339(), disabled]
            })
            .collect();
        stdout_line(table(&["SLUG", "NAME", "CREATED", "DISABLED"], &rows))?;
    }
    Ok(Exit::Done)
}
