//! `muster token`: create, list and revoke tokens. A token's text is printed once, at its creation.

use std::time::Duration;

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use muster_domain::quantity::parse_duration as duration;
use muster_domain::tenant::Slug;
use muster_domain::token::{Scope, checked_name, expires_at};
use muster_runtime::clock;
use muster_runtime::config::Config;
use muster_store::catalog;
use muster_store::tokens::{self, NewToken, TokenInfo};
use serde_json::json as value;

use crate::connect::{self, Need, Session};
use crate::failure::Exit;
use crate::output::{json, stderr_line, stdout_line, table};
use crate::shutdown::Shutdown;
use crate::values::one_of;

/// Options of `muster token`.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    what: TokenCommand,
    /// The tenant that the tokens are of
    #[arg(long, global = true, value_name = "SLUG", default_value = Slug::DEFAULT)]
    tenant: Slug,
    /// Answer as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Create a token and print it, once
    #[command(
        after_help = "Examples:\n  muster token create --name nightly --scope import:write --scope import:read\n  TOKEN=$(muster token create --tenant acme --name ops --scope ops)\n  muster token create --name sync --organization sales --scope users:write\n  muster token create --name audit --scope import:read --expires 90d"
    )]
    Create {
        /// Name, new in the tenant
        #[arg(long)]
        name: String,
        /// What it may do; may be given several times
        #[arg(long = "scope", required = true, value_delimiter = ',',
              value_parser = one_of::<Scope>(Scope::ALL.iter().map(|scope| scope.as_str())))]
        scopes: Vec<Scope>,
        /// The only organization that it may work on; it opens nothing that is about the whole tenant
        #[arg(long, value_name = "SLUG")]
        organization: Option<Slug>,
        /// How long the token is valid, as in 12h or 90d; without it, forever
        #[arg(long, value_name = "TIME", value_parser = duration)]
        expires: Option<Duration>,
    },
    /// List the tenant's tokens, the revoked ones too
    #[command(after_help = "Examples:\n  muster token list --tenant acme")]
    List,
    /// Revoke a token permanently
    #[command(after_help = "Examples:\n  muster token revoke nightly")]
    Revoke {
        /// Its name
        name: String,
    },
}

/// Runs the command.
pub(crate) async fn run(args: &TokenArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Exit> {
    let work = async |session: &Session| {
        let tenant = session.tenant(&args.tenant).await?;
        match &args.what {
            TokenCommand::Create { name, scopes, organization, expires } => {
                let name = checked_name(name)
                    .map_err(|wrong| crate::failure::usage(format!("a token's name {wrong}")))?;
                let mut scopes = scopes.clone();
                scopes.sort_unstable();
                scopes.dedup();
                if organization.is_some() && scopes.contains(&Scope::TenantsAll) {
                    let why =
                        "--scope tenants:all is for tokens of the whole tenant: leave out --organization";
                    return Err(crate::failure::usage(why));
                }
                if let Some(slug) = organization
                    && catalog::find_organization(session.store.pool(), tenant, slug).await?.is_none()
                {
                    return Err(crate::failure::usage(format!(
                        "--organization: the catalog has no organization {slug}; `muster catalog show` shows those there are"
                    )));
                }
                let organization = organization.as_ref();
                let expires = expires
                    .map(|time| expires_at(clock::now(), time))
                    .transpose()
                    .map_err(|wrong| crate::failure::usage(format!("--expires {wrong}")))?;
                let token =
                    tokens::create_for(&session.store, tenant, organization, name, &scopes, expires).await?;
                created(token, args.json)
            }
            TokenCommand::List => listed(&tokens::list(session.store.pool(), tenant).await?, args.json),
            TokenCommand::Revoke { name } => match tokens::revoke(&session.store, tenant, name).await? {
                Some(token) if args.json => json(&token).map(|()| Exit::Done),
                Some(token) => {
                    stdout_line(format_args!("token {} is revoked", token.name))?;
                    Ok(Exit::Done)
                }
                None => {
                    bail!("tenant {} has no token of that name; `muster token list` shows them", args.tenant)
                }
            },
        }
    };
    Box::pin(connect::with(config, Need::Look, shutdown, work)).await
}

fn created(token: NewToken, as_json: bool) -> anyhow::Result<Exit> {
    match token {
        NewToken::NameTaken(info) => {
            let revoked = if info.revoked_at.is_some() { ", which is revoked" } else { "" };
            bail!("the tenant has a token named {} already{revoked}; choose another name", info.name)
        }
        NewToken::Created(info, token) if as_json => json(&value!({
            "id": info.id, "name": info.name, "scopes": info.scopes, "organization": info.organization,
            "created_at": info.created_at, "expires_at": info.expires_at, "token": token.reveal(),
        }))?,
        NewToken::Created(info, token) => {
            stdout_line(token.reveal())?;
            stderr_line(format_args!(
                "token {} is created; it is shown this once and kept nowhere",
                info.name
            ));
        }
    }
    Ok(Exit::Done)
}

fn listed(tokens: &[TokenInfo], as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        json(&tokens)?;
    } else {
        let rows: Vec<Vec<String>> = tokens
            .iter()
            .map(|token| {
                let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
                let time = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339()).unwrap_or_default();
                let organization = token.organization.clone().unwrap_or_default();
                vec![
                    token.name.clone(),
                    scopes.join(","),
                    organization,
                    time(Some(token.created_at)),
                    time(token.expires_at),
                    time(token.last_used_at),
                    time(token.revoked_at),
                ]
            })
            .collect();
        stdout_line(table(
            &["NAME", "SCOPES", "ORGANIZATION", "CREATED", "EXPIRES", "LAST USED", "REVOKED"],
            &rows,
        ))?;
    }
    Ok(Exit::Done)
}
