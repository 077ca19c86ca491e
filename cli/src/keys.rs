//! `muster tenant key`: add, list and remove the public keys that verify a tenant's signed requests.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use muster_domain::rsa_key::RsaPublicKey;
use muster_domain::tenant::Slug;
use muster_domain::token::Scope;
use muster_runtime::config::Config;
use muster_store::keys::{self, KeyInfo, NewKey};
use serde_json::json as value;

use crate::connect::{self, Need, Session};
use crate::failure::{Exit, usage};
use crate::output::{json, stdout_line, table};
use crate::shutdown::Shutdown;

/// Longest key id, app id or host, in bytes.
const MAX_NAME_BYTES: usize = 255;
/// Largest file that is looked at: a key is far smaller.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Options of `muster tenant key`.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    what: KeyCommand,
    /// The tenant that the keys speak for
    #[arg(long, global = true, value_name = "SLUG", default_value = Slug::DEFAULT)]
    tenant: Slug,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Add a public key (RSA, PEM): requests that its owner signs are the tenant's
    #[command(
        after_help = "Examples:\n  muster tenant key add --tenant acme --kid k1 public.pem\n  openssl rsa -in private.pem -pubout | muster tenant key add --tenant acme --kid k1 --app-id my-app -"
    )]
    Add {
        /// Key id, as the header of a token names it
        #[arg(long)]
        kid: String,
        /// What tokens may name as their audience (`aud`) instead of the tenant's short name
        #[arg(long, value_name = "ID")]
        app_id: Option<String>,
        /// Take the key only in requests to this host
        #[arg(long, value_name = "HOST")]
        host: Option<String>,
        /// What requests that it signed may do; may be given several times [default: import:write and import:read]
        #[arg(long = "scope", value_name = "SCOPE", value_parser = crate::values::one_of::<Scope>(of_one_tenant()))]
        scopes: Vec<Scope>,
        /// PEM file; `-` reads standard input
        file: PathBuf,
    },
    /// List the tenant's keys
    #[command(after_help = "Examples:\n  muster tenant key list --tenant acme")]
    List,
    /// Remove a key: from now on nothing that it signed is taken
    #[command(after_help = "Examples:\n  muster tenant key remove --tenant acme k1")]
    Remove {
        /// Key id
        kid: String,
    },
}

/// Runs the command.
pub(crate) async fn run(
    args: &KeyArgs,
    as_json: bool,
    config: &Config,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    let key = match &args.what {
        KeyCommand::Add { file, .. } => Some(RsaPublicKey::from_pem(&read(file)?)?),
        KeyCommand::List | KeyCommand::Remove { .. } => None,
    };
    let work = async |session: &Session| {
        let tenant = session.tenant(&args.tenant).await?;
        let pool = session.store.pool();
        match (&args.what, &key) {
            (KeyCommand::Add { kid, app_id, host, scopes, .. }, Some(key)) => {
                let kid = name("--kid", kid)?;
                let app_id = app_id.as_deref().map(|id| name("--app-id", id)).transpose()?;
                let host = host.as_deref().map(|host| name("--host", host)).transpose()?;
                let host = host.map(str::to_ascii_lowercase);
                if host.as_deref().is_some_and(|host| host.contains('/') || has_port(host)) {
                    return Err(usage("--host is the name of a host, without scheme, port and path"));
                }
                let scopes = if scopes.is_empty() { NewKey::SCOPES } else { scopes };
                let new = NewKey { kid, key, app_id, host: host.as_deref(), scopes };
                if !keys::add(pool, tenant, &new).await? {
                    bail!("the tenant has a key {kid} already; remove it first, or choose another id");
                }
                added(kid, key, as_json)
            }
            (KeyCommand::Remove { kid }, _) => {
                if !keys::remove(pool, tenant, kid).await? {
                    bail!("tenant {} has no such key; `muster tenant key list` shows them", args.tenant);
                }
                if as_json {
                    json(&value!({ "kid": kid }))?
                } else {
                    stdout_line(format_args!("key {kid} is removed"))?
                }
                Ok(Exit::Done)
            }
            _ => listed(&keys::list(pool, tenant).await?, as_json),
        }
    };
    Box::pin(connect::with(config, Need::Look, shutdown, work)).await
}

/// What a key may be for: it speaks for its own tenant, and never at the console.
fn of_one_tenant() -> impl Iterator<Item = &'static str> {
    Scope::ALL.iter().filter(|scope| **scope != Scope::TenantsAll).map(|scope| scope.as_str())
}

/// A name without blanks around it, neither empty nor endless.
fn name<'t>(option: &str, text: &'t str) -> anyhow::Result<&'t str> {
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_NAME_BYTES || text.contains(char::is_control) {
        return Err(usage(format!(
            "{option} must have from 1 to {MAX_NAME_BYTES} bytes, all of them visible"
        )));
    }
    Ok(text)
}

/// An IPv6 address is in brackets, so that its colons do not look like a port's.
fn has_port(host: &str) -> bool {
    host.contains(':') && !host.ends_with(']')
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(MAX_FILE_BYTES).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(MAX_FILE_BYTES).read_to_string(&mut text))
    };
    read.with_context(|| format!("cannot read the key from {}", file.display()))?;
    Ok(text)
}

fn added(kid: &str, key: &RsaPublicKey, as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        json(&value!({ "kid": kid, "bits": key.bits() }))?;
    } else {
        stdout_line(format_args!("key {kid} is added: RSA, {} bits", key.bits()))?;
    }
    Ok(Exit::Done)
}

fn listed(keys: &[KeyInfo], as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        json(&keys)?;
    } else {
        let rows: Vec<Vec<String>> = keys
            .iter()
            .map(|key| {
                let text = |value: &Option<String>| value.clone().unwrap_or_default();
                let scopes = key.scopes.join(",");
                vec![key.kid.clone(), text(&key.app_id), text(&key.host), scopes, key.created_at.to_rfc3339()]
            })
            .collect();
        stdout_line(table(&["KID", "APP ID", "HOST", "SCOPES", "ADDED"], &rows))?;
    }
    Ok(Exit::Done)
}
