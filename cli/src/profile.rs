//! `muster profile`: a tenant's named sets of import options, and the built-in ones; in the store of this machine or behind a server.

use std::collections::BTreeMap;

use anyhow::bail;
use clap::{Args, Subcommand};
use muster_domain::error::ErrorCode;
use muster_domain::import_profile::{BUILTIN, Builtin};
use muster_domain::request::checked_profile;
use muster_domain::tenant::Slug;
use muster_producer::api::ProfileView;
use muster_producer::request::too_many_profiles;
use muster_runtime::config::Config;
use muster_store::import_profiles;
use serde_json::{Map, Value, json as value};

use crate::client::{Refused, Remote, ServerToken, operations};
use crate::connect::{self, Need, Session};
use crate::failure::{Exit, usage, wrong_option};
use crate::import::OptionArgs;
use crate::output::{json, stdout_line, table};
use crate::shutdown::{Aborted, Shutdown};

/// Options of `muster profile`.
#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    #[command(subcommand)]
    what: ProfileCommand,
    /// The tenant whose profiles they are
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
enum ProfileCommand {
    /// Save the options that follow under a name; a profile of that name is replaced. All but `--profile`, `--format` and `--dates auto`,
    /// which are of one file, can be saved
    #[command(
        after_help = "Examples:\n  muster profile save hr --encoding windows-1252 --column Abteilung=custom__department --phone-country DE\n  muster import users people.csv --profile hr"
    )]
    Save {
        /// Its name
        name: Slug,
        #[command(flatten)]
        options: Box<OptionArgs>,
    },
    /// List the tenant's profiles and the built-in ones
    #[command(after_help = "Examples:\n  muster profile list")]
    List,
    /// Show the options of a profile
    #[command(after_help = "Examples:\n  muster profile show okta")]
    Show {
        /// Its name
        name: Slug,
    },
    /// Delete a profile; imports that used it keep their options
    #[command(after_help = "Examples:\n  muster profile delete hr")]
    Delete {
        /// Its name
        name: Slug,
    },
}

/// Runs the command.
pub(crate) async fn run(args: &ProfileArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Exit> {
    // The built-in ones need no database.
    if let ProfileCommand::Show { name } = &args.what
        && let Some(builtin) = Builtin::find(name.as_str())
    {
        return shown(builtin.name, &builtin.pairs(), Some(builtin.title), args.json);
    }
    if let Some(server) = &args.server {
        let remote = Remote::new(server, &args.token)?;
        return tokio::select! {
            ended = behind(args, &remote) => ended,
            () = shutdown.aborting() => Err(Aborted.into()),
        };
    }
    let work = async |session: &Session| {
        let (store, tenant) = (&session.store, session.tenant(&args.tenant).await?);
        match &args.what {
            ProfileCommand::Save { name, options } => {
                let (name, pairs) = checked(name, options)?;
                let Some(saved) = import_profiles::save(store, tenant, &name, &pairs).await? else {
                    bail!("{}", too_many_profiles());
                };
                shown(&saved.name, &saved.options, None, args.json)
            }
            ProfileCommand::List => {
                let saved = import_profiles::list(&mut *store.reading(tenant).await?, tenant).await?;
                listed(&saved.into_iter().map(ProfileView::from).collect::<Vec<_>>(), args.json)
            }
            ProfileCommand::Show { name } => {
                match import_profiles::get(&mut *store.reading(tenant).await?, tenant, name).await? {
                    Some(saved) => shown(&saved.name, &saved.options, None, args.json),
                    None => none(args, name),
                }
            }
            ProfileCommand::Delete { name } => match import_profiles::delete(store, tenant, name).await? {
                true => deleted(name, args.json),
                false => none(args, name),
            },
        }
    };
    Box::pin(connect::with(config, Need::Look, shutdown, work)).await
}

async fn behind(args: &ProfileArgs, remote: &Remote) -> anyhow::Result<Exit> {
    let missing = |error: &anyhow::Error| {
        error.downcast_ref::<Refused>().is_some_and(|refused| refused.is(ErrorCode::NotFound))
    };
    match &args.what {
        ProfileCommand::Save { name, options } => {
            let (name, pairs) = checked(name, options)?;
            let body: BTreeMap<&str, &str> =
                pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let call = operations::PROFILES_SAVE.at(&[&name]).with_body(value!(body));
            remote.send(remote.request(&call)).await?;
            shown(name.as_str(), &pairs, None, args.json)
        }
        ProfileCommand::List => {
            let all = remote.ask(operations::PROFILES_LIST.call()).await?;
            let own: Vec<ProfileView> =
                all.profiles.into_iter().filter(|one| one.built_in.is_none()).collect();
            listed(&own, args.json)
        }
        ProfileCommand::Show { name } => match remote.profile(name.as_str()).await? {
            Some(pairs) => shown(name.as_str(), &pairs, None, args.json),
            None => bail!("there is no profile {name}; `muster profile list` shows those there are"),
        },
        ProfileCommand::Delete { name } => {
            let request = remote.request(&operations::PROFILES_DELETE.at(&[name]));
            match remote.send(request).await {
                Ok(_) => deleted(name, args.json),
                Err(error) if missing(&error) => {
                    bail!("there is no profile {name}; `muster profile list` shows those there are")
                }
                Err(error) => Err(error),
            }
        }
    }
}

/// The options that were given, where they can be saved under the name.
fn checked(name: &Slug, options: &OptionArgs) -> anyhow::Result<(Slug, Vec<(String, String)>)> {
    let pairs: Vec<(String, String)> =
        options.pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    if pairs.is_empty() {
        return Err(usage("no option is given: name at least one to save"));
    }
    if options.get("dates") == Some("auto") {
        return Err(usage(
            "--dates: `auto` looks at one file, and a profile is for many: say `iso`, `dmy` or `mdy`",
        ));
    }
    let name = checked_profile(name.as_str(), &pairs).map_err(wrong_option)?;
    Ok((name, pairs))
}

fn deleted(name: &Slug, as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        json(&value!({ "deleted": name }))?;
    } else {
        stdout_line(format_args!("profile {name} is deleted"))?;
    }
    Ok(Exit::Done)
}

fn none(args: &ProfileArgs, name: &Slug) -> anyhow::Result<Exit> {
    bail!("tenant {} has no profile {name}; `muster profile list` shows those there are", args.tenant)
}

fn shown(
    name: &str,
    options: &[(String, String)],
    title: Option<&str>,
    as_json: bool,
) -> anyhow::Result<Exit> {
    if as_json {
        let members: Map<String, Value> =
            options.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        json(&value!({ "name": name, "options": members, "built_in": title }))?;
        return Ok(Exit::Done);
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (option, value) in options {
        match serde_json::from_str::<Map<String, Value>>(value) {
            Ok(members) if option == "columns" || option == "behaviours" => {
                let pair = |(name, value): (&String, &Value)| {
                    vec![option.clone(), format!("{name}={}", value.as_str().unwrap_or_default())]
                };
                rows.extend(members.iter().map(pair));
            }
            _ => rows.push(vec![option.clone(), value.clone()]),
        }
    }
    let title = title.map(|title| format!(" ({title})")).unwrap_or_default();
    stdout_line(format_args!("profile {name}{title}\n{}", table(&["OPTION", "VALUE"], &rows)))?;
    Ok(Exit::Done)
}

fn listed(own: &[ProfileView], as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        let own = own.iter().map(|saved| value!({ "name": saved.name, "updated_at": saved.updated_at }));
        let builtin = BUILTIN.iter().map(|one| value!({ "name": one.name, "built_in": one.title }));
        json(&own.chain(builtin).collect::<Vec<Value>>())?;
        return Ok(Exit::Done);
    }
    let mine = own.iter().map(|saved| {
        let names: Vec<&str> = saved.options.keys().map(String::as_str).collect();
        let saved_at = saved.updated_at.map(|at| format!(" (saved {})", at.to_rfc3339())).unwrap_or_default();
        vec![saved.name.clone(), names.join(", ") + &saved_at]
    });
    let builtin = BUILTIN.iter().map(|one| vec![one.name.to_owned(), one.title.to_owned()]);
    stdout_line(table(&["PROFILE", "FOR"], &mine.chain(builtin).collect::<Vec<_>>()))?;
    Ok(Exit::Done)
}
