//! `muster profile`: a tenant's named sets of import options, and the built-in ones.

use anyhow::bail;
use clap::{Args, Subcommand};
use muster_producer::request::checked_profile;
use muster_shared::config::Config;
use muster_shared::import_profile::{BUILTIN, Builtin};
use muster_shared::store::import_profiles;
use muster_shared::tenant::Slug;
use serde_json::{Map, Value, json as value};

use crate::connect::{self, Need, Session};
use crate::failure::{Ended, usage};
use crate::import::OptionArgs;
use crate::import::wrong_option;
use crate::output::{answer, json, table};
use crate::shutdown::Shutdown;

/// Options of `muster profile`.
#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    #[command(subcommand)]
    what: What,
    /// The tenant whose profiles they are
    #[arg(long, global = true, value_name = "SLUG", default_value = Slug::DEFAULT)]
    tenant: Slug,
    /// Answer as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Save the options that follow under a name; a profile of that name is replaced
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
pub(crate) async fn run(args: &ProfileArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Ended> {
    // The built-in ones need no database.
    if let What::Show { name } = &args.what
        && let Some(builtin) = Builtin::find(name.as_str())
    {
        return shown(builtin.name, &builtin.pairs(), Some(builtin.title), args.json);
    }
    let work = async |session: &Session| {
        let (store, tenant) = (&session.store, session.tenant(&args.tenant).await?);
        match &args.what {
            What::Save { name, options } => {
                let pairs: Vec<(String, String)> =
                    options.pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                if pairs.is_empty() {
                    return Err(usage("a profile of nothing: name the options that it is to have"));
                }
                let name = checked_profile(name.as_str(), &pairs).map_err(wrong_option)?;
                let saved = import_profiles::save(store, tenant, &name, &pairs).await?;
                shown(&saved.name, &saved.options, None, args.json)
            }
            What::List => {
                listed(&import_profiles::list(&mut *store.reading(tenant).await?, tenant).await?, args.json)
            }
            What::Show { name } => {
                match import_profiles::get(&mut *store.reading(tenant).await?, tenant, name).await? {
                    Some(saved) => shown(&saved.name, &saved.options, None, args.json),
                    None => none(args, name),
                }
            }
            What::Delete { name } => match import_profiles::delete(store.pool(), tenant, name).await? {
                true if args.json => json(&value!({ "deleted": name })).map(|()| Ended::Done),
                true => {
                    answer(format_args!("profile {name} is deleted"))?;
                    Ok(Ended::Done)
                }
                false => none(args, name),
            },
        }
    };
    Box::pin(connect::with(config, Need::Look, shutdown, work)).await
}

fn none(args: &ProfileArgs, name: &Slug) -> anyhow::Result<Ended> {
    bail!("tenant {} has no profile {name}; `muster profile list` shows those there are", args.tenant)
}

fn shown(
    name: &str,
    options: &[(String, String)],
    title: Option<&str>,
    as_json: bool,
) -> anyhow::Result<Ended> {
    if as_json {
        let members: Map<String, Value> =
            options.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        json(&value!({ "name": name, "options": members, "built_in": title }))?;
        return Ok(Ended::Done);
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
    answer(format_args!("profile {name}{title}\n{}", table(&["OPTION", "VALUE"], &rows)))?;
    Ok(Ended::Done)
}

fn listed(own: &[import_profiles::SavedProfile], as_json: bool) -> anyhow::Result<Ended> {
    if as_json {
        let own = own.iter().map(|saved| value!({ "name": saved.name, "updated_at": saved.updated_at }));
        let builtin = BUILTIN.iter().map(|one| value!({ "name": one.name, "built_in": one.title }));
        json(&own.chain(builtin).collect::<Vec<Value>>())?;
        return Ok(Ended::Done);
    }
    let mine = own.iter().map(|saved| {
        let names: Vec<&str> = saved.options.iter().map(|(name, _)| name.as_str()).collect();
        vec![saved.name.clone(), format!("{} (saved {})", names.join(", "), saved.updated_at.to_rfc3339())]
    });
    let builtin = BUILTIN.iter().map(|one| vec![one.name.to_owned(), one.title.to_owned()]);
    answer(table(&["PROFILE", "FOR"], &mine.chain(builtin).collect::<Vec<_>>()))?;
    Ok(Ended::Done)
}
