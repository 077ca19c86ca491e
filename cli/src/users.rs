//! `muster users`: list, show, export, delete and erase; in the store of this machine or behind a server.

mod erase;
mod history;

use std::path::{Path, PathBuf};

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use muster_domain::id::{TenantId, UserId};
use muster_domain::normalise::{EmailAddress, PhoneNumber, Username};
use muster_domain::options::IdentifierField;
use muster_domain::quantity::parse_moment;
use muster_domain::tenant::Slug;
use muster_domain::user::User;
use muster_producer::export::{self, ExportFormat, UsersWanted};
use muster_runtime::config::Config;
use muster_store::Store;
use muster_store::users::{self, UserFilter};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::client::{Remote, ServerToken, operations};
use crate::connect::{self, Need, Session};
use crate::failure::{Exit, usage};
use crate::output::{json, number, stderr_line, stdout_line, table, to_file};
use crate::shutdown::{Aborted, Shutdown};

/// Users asked for at a time.
const PAGE: u32 = 500;

const NO_SUCH_USER: &str = "the tenant has no such user; `muster users list` shows them";

/// Options of `muster users`.
#[derive(Debug, Args)]
pub(crate) struct UsersArgs {
    #[command(subcommand)]
    what: UsersCommand,
    /// The tenant whose users they are
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

#[derive(Debug, Subcommand)]
enum UsersCommand {
    /// List users, oldest first
    #[command(
        after_help = "Examples:\n  muster users list\n  muster users list --updated-since 2026-01-01T00:00:00Z --json"
    )]
    List {
        #[command(flatten)]
        which: Which,
        /// Only those after the user with this id
        #[arg(long, value_name = "ID")]
        after: Option<UserId>,
        /// Most users to list
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show one user
    #[command(
        after_help = "Examples:\n  muster users show ada@example.com\n  muster users show +420601234567"
    )]
    Show {
        /// The user's id, e-mail address, phone number or username
        user: String,
    },
    /// Tell what happened to a user, the last first: each import, undo and single request, field by field, with record and line
    #[command(
        after_help = "Examples:\n  muster users history ada@example.com\n  muster users history ada@example.com --json"
    )]
    History {
        /// The user's id, e-mail address, phone number or username
        user: String,
    },
    /// Write users as a file that import takes; importing it again changes nothing
    #[command(
        after_help = "Examples:\n  muster users export -o users.csv\n  muster users export --format ndjson | jq"
    )]
    Export {
        #[command(flatten)]
        which: Which,
        /// File to write [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Format to write [default: by the ending of the file's name, else csv]
        #[arg(long, value_parser = ["csv", "ndjson"])]
        format: Option<String>,
    },
    /// Delete a user, and every trace of them in staged records and errors
    #[command(
        after_help = "Examples:\n  muster users delete ada@example.com\n\nThat it was done is kept, without any value. Where it was cut short, do it again."
    )]
    Delete {
        /// The user's id, e-mail address, phone number or username
        user: String,
    },
    /// Erase a person who need not be a user: their user, and every trace of them in staged records and errors
    #[command(
        after_help = "Examples:\n  muster users erase --email ann@example.com --tenant acme\n  muster users erase --id 0190a5f0-7b7c-7000-8000-000000000001\n\nThat it was done is kept, without any value. Where it was cut short, do it again."
    )]
    Erase(erase::Who),
}

#[derive(Debug, Args)]
struct Which {
    /// Only those in this organization
    #[arg(long, value_name = "SLUG", visible_alias = "organization")]
    org: Option<Slug>,
    /// Only those that were changed since then
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    updated_since: Option<DateTime<Utc>>,
}

impl Which {
    fn wanted(&self) -> UsersWanted {
        UsersWanted {
            organization: self.org.as_ref().map(|slug| slug.as_str().to_owned()),
            updated_since: self.updated_since,
        }
    }

    /// As the API names them.
    fn query(&self) -> Vec<(&'static str, String)> {
        let organization = self.org.as_ref().map(|slug| ("organization", slug.as_str().to_owned()));
        let since = self.updated_since.map(|since| ("updated_since", since.to_rfc3339()));
        organization.into_iter().chain(since).collect()
    }
}

/// Runs the command.
pub(crate) async fn run(args: &UsersArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Exit> {
    if let Some(server) = &args.server {
        let remote = Remote::new(server, &args.token)?;
        return tokio::select! {
            ended = behind(args, &remote) => ended,
            () = shutdown.aborting() => Err(Aborted.into()),
        };
    }
    let work = async |session: &Session| here(args, session).await;
    Box::pin(connect::with(config, Need::Look, shutdown, work)).await
}

async fn here(args: &UsersArgs, session: &Session) -> anyhow::Result<Exit> {
    let (store, tenant) = (&session.store, session.tenant(&args.tenant).await?);
    match &args.what {
        UsersCommand::List { which, after, limit } => {
            let wanted = which.wanted();
            let filter = UserFilter {
                after: *after,
                organization: wanted.organization.as_deref(),
                updated_since: wanted.updated_since,
            };
            listed(
                &users::page(&mut *store.reading(tenant).await?, tenant, filter, i64::from(*limit)).await?,
                args.json,
            )
        }
        UsersCommand::Show { user } => shown(found(store, tenant, &named(user)?).await?, args.json),
        UsersCommand::History { user } => match named(user)? {
            // One who is there no more may have a history.
            Named::Id(id) => history::here(store, tenant, id, args.json).await,
            named => match found(store, tenant, &named).await? {
                Some(user) => history::here(store, tenant, user.id, args.json).await,
                None => bail!(NO_SUCH_USER),
            },
        },
        UsersCommand::Export { which, output, format } => {
            let format = export_format(output.as_deref(), format.as_deref());
            let pieces = export::users(store, tenant, which.wanted(), format);
            write(pieces.map(|piece| Ok(piece?.to_vec())).boxed(), output.as_deref()).await
        }
        UsersCommand::Delete { user } => {
            let Some(user) = found(store, tenant, &named(user)?).await? else { bail!(NO_SUCH_USER) };
            erase::here(store, tenant, &Named::Id(user.id), args.json).await
        }
        UsersCommand::Erase(who) => erase::here(store, tenant, &who.named()?, args.json).await,
    }
}

async fn behind(args: &UsersArgs, remote: &Remote) -> anyhow::Result<Exit> {
    match &args.what {
        UsersCommand::List { which, after, limit } => {
            let (mut found, mut after) = (Vec::<User>::new(), after.map(|after| after.to_string()));
            loop {
                let left = limit - u32::try_from(found.len()).unwrap_or(*limit).min(*limit);
                if left == 0 {
                    break;
                }
                let call = operations::USERS_FIND
                    .call()
                    .with_all(which.query())
                    .with("limit", left.min(PAGE).to_string())
                    .with_all(after.map(|after| ("after", after)));
                let page = remote.ask(call).await?;
                found.extend(page.users);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            listed(&found, args.json)
        }
        UsersCommand::Show { user } => shown(asked(remote, &named(user)?).await?, args.json),
        UsersCommand::History { user } => match named(user)? {
            Named::Id(id) => history::behind(remote, id, args.json).await,
            named => match asked(remote, &named).await? {
                Some(user) => history::behind(remote, user.id, args.json).await,
                None => bail!(NO_SUCH_USER),
            },
        },
        UsersCommand::Export { which, output, format } => {
            let format = export_format(output.as_deref(), format.as_deref());
            let call =
                operations::USERS_EXPORT.call().with_all(which.query()).with("format", format.extension());
            let response = remote.send(remote.request(&call)).await?;
            let pieces = response.bytes_stream();
            let pieces = pieces.map(|piece| Ok(piece.map_err(reqwest::Error::without_url)?.to_vec()));
            write(pieces.boxed(), output.as_deref()).await
        }
        UsersCommand::Delete { user } => {
            let Some(user) = asked(remote, &named(user)?).await? else { bail!(NO_SUCH_USER) };
            erase::behind(remote, user.id, args.json).await
        }
        UsersCommand::Erase(who) => match asked(remote, &who.named()?).await? {
            Some(user) => erase::behind(remote, user.id, args.json).await,
            None => bail!(
                "the tenant has no such user, and a server erases users alone; beside the database this command also erases what was staged of a person who is no user"
            ),
        },
    }
}

/// What a user is named by; a value in the form in which it is stored.
enum Named {
    Id(UserId),
    Field(IdentifierField, String),
}

async fn found(store: &Store, tenant: TenantId, named: &Named) -> anyhow::Result<Option<User>> {
    let mut reading = store.reading(tenant).await?;
    Ok(match named {
        Named::Id(id) => users::get(&mut *reading, tenant, *id).await?,
        Named::Field(field, key) => users::find(&mut *reading, tenant, *field, key).await?,
    })
}

async fn asked(remote: &Remote, named: &Named) -> anyhow::Result<Option<User>> {
    Ok(match named {
        Named::Id(id) => Some(remote.ask(operations::USERS_SHOW.at(&[id])).await?),
        Named::Field(field, key) => {
            let page = remote.ask(operations::USERS_FIND.call().with(field.as_str(), key.as_str())).await?;
            page.users.into_iter().next()
        }
    })
}

/// What a user is named by.
fn named(text: &str) -> anyhow::Result<Named> {
    if let Ok(id) = text.parse() {
        return Ok(Named::Id(id));
    }
    let email = || Some((IdentifierField::Email, EmailAddress::parse(text).ok()?.into_inner().into_owned()));
    let phone =
        || Some((IdentifierField::PhoneNumber, PhoneNumber::parse(text).ok()?.into_inner().into_owned()));
    let name =
        || Some((IdentifierField::PreferredUsername, Username::parse(text).ok()?.into_inner().into_owned()));
    match email().or_else(phone).or_else(name) {
        Some((field, key)) => Ok(Named::Field(field, key)),
        None => {
            Err(usage("a user is named by the id, the e-mail address, the phone number (+…) or the username"))
        }
    }
}

fn export_format(output: Option<&Path>, format: Option<&str>) -> ExportFormat {
    let ending = output.and_then(Path::extension).and_then(|ending| ending.to_str());
    match format.or(ending) {
        Some("ndjson" | "jsonl") => ExportFormat::Ndjson,
        _ => ExportFormat::Csv,
    }
}

fn shown(user: Option<User>, as_json: bool) -> anyhow::Result<Exit> {
    let Some(user) = user else { bail!(NO_SUCH_USER) };
    if as_json {
        json(&user)?;
        return Ok(Exit::Done);
    }
    let serde_json::Value::Object(members) = serde_json::to_value(&user)? else { return Ok(Exit::Done) };
    let empty = |value: &serde_json::Value| match value {
        serde_json::Value::Null | serde_json::Value::Bool(false) => true,
        serde_json::Value::Array(items) => items.is_empty(),
        serde_json::Value::Object(members) => members.values().all(serde_json::Value::is_null),
        _ => false,
    };
    let rows: Vec<Vec<String>> = members
        .iter()
        .filter(|(_, value)| !empty(value))
        .map(|(name, value)| {
            let text =
                value.as_str().map_or_else(|| value.to_string(), |text| text.escape_debug().to_string());
            vec![name.clone(), text]
        })
        .collect();
    stdout_line(table(&["FIELD", "VALUE"], &rows))?;
    Ok(Exit::Done)
}

fn listed(users: &[User], as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        json(&users)?;
        return Ok(Exit::Done);
    }
    let text = |value: &Option<String>| value.as_deref().unwrap_or_default().escape_debug().to_string();
    let rows: Vec<Vec<String>> = users
        .iter()
        .map(|user| {
            let name = [&user.given_name, &user.family_name].map(text).join(" ");
            let keys = [&user.email, &user.phone_number, &user.preferred_username].map(text);
            let [email, phone, username] = keys;
            vec![
                user.id.to_string(),
                email,
                phone,
                username,
                name.trim().to_owned(),
                user.updated_at.to_rfc3339(),
            ]
        })
        .collect();
    stdout_line(table(&["ID", "EMAIL", "PHONE", "USERNAME", "NAME", "UPDATED"], &rows))?;
    Ok(Exit::Done)
}

/// Writes the file.
async fn write(
    mut pieces: BoxStream<'_, anyhow::Result<Vec<u8>>>,
    output: Option<&Path>,
) -> anyhow::Result<Exit> {
    let Some(path) = output else {
        copy(&mut pieces, &mut tokio::io::stdout()).await?;
        return Ok(Exit::Done);
    };
    let bytes = to_file(path, async |file| copy(&mut pieces, file).await).await?;
    stderr_line(format_args!("the users are in {} ({} bytes)", path.display(), number(bytes)));
    Ok(Exit::Done)
}

async fn copy(
    pieces: &mut BoxStream<'_, anyhow::Result<Vec<u8>>>,
    out: &mut (impl AsyncWrite + Unpin),
) -> anyhow::Result<u64> {
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        bytes += piece.len() as u64;
        out.write_all(&piece).await?;
    }
    out.flush().await?;
    Ok(bytes)
}
