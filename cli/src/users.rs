//! `muster users`: erase a person.

use clap::{Args, Subcommand};
use muster_shared::config::Config;
use muster_shared::erase::Person;
use muster_shared::id::UserId;
use muster_shared::normalise::{EmailAddress, PhoneNumber, Username};
use muster_shared::options::IdentifierField;
use muster_shared::store::erase;
use muster_shared::tenant::Slug;

use crate::connect::{self, Need, Session};
use crate::failure::{Ended, usage};
use crate::output::{answer, json};
use crate::shutdown::Shutdown;

/// Who did it, in the audit.
const OPERATOR: &str = "operator";

/// Options of `muster users`.
#[derive(Debug, Args)]
pub(crate) struct UsersArgs {
    #[command(subcommand)]
    what: What,
    /// The tenant
    #[arg(long, global = true, value_name = "SLUG", default_value = Slug::DEFAULT)]
    tenant: Slug,
    /// Answer as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Erase a person: their user, and every trace of them in staged records and errors
    #[command(
        after_help = "Examples:\n  muster users erase --email ann@example.com --tenant acme\n  muster users erase --id 0190a5f0-7b7c-7000-8000-000000000001\n\nThat it was done is kept, without any value. Where it was cut short, do it again."
    )]
    Erase(Who),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Who {
    /// Id of the user
    #[arg(long)]
    id: Option<UserId>,
    /// Their e-mail address; they need not be a user
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Their phone number; they need not be a user
    #[arg(long, value_name = "NUMBER")]
    phone_number: Option<String>,
    /// Their user name; they need not be a user
    #[arg(long, value_name = "NAME")]
    preferred_username: Option<String>,
}

impl Who {
    /// The identifier that was given, in the form in which it is stored.
    fn identifier(&self) -> anyhow::Result<Option<(IdentifierField, String)>> {
        let wrong = |option: &str| usage(format!("{option} is not a value that this field can have"));
        Ok(if let Some(text) = &self.email {
            let email = EmailAddress::parse(text).map_err(|_| wrong("--email"))?;
            Some((IdentifierField::Email, email.into_inner().into_owned()))
        } else if let Some(text) = &self.phone_number {
            let number = PhoneNumber::parse(text).map_err(|_| wrong("--phone-number"))?;
            Some((IdentifierField::PhoneNumber, number.into_inner().into_owned()))
        } else if let Some(text) = &self.preferred_username {
            let name = Username::parse(text).map_err(|_| wrong("--preferred-username"))?;
            Some((IdentifierField::PreferredUsername, name.into_inner().into_owned()))
        } else {
            None
        })
    }
}

/// Runs the command.
pub(crate) async fn run(args: &UsersArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Ended> {
    let What::Erase(who) = &args.what;
    let identifier = who.identifier()?;
    let work = async |session: &Session| {
        let tenant = session.tenant(&args.tenant).await?;
        let store = &session.store;
        let person: Option<Person> = match (&identifier, who.id) {
            (Some((field, value)), _) => Some(erase::person_by(store, tenant, *field, value).await?),
            (None, Some(id)) => erase::person(store, tenant, id).await?,
            (None, None) => None,
        };
        let Some(person) = person else {
            anyhow::bail!("tenant {} has no such user", args.tenant);
        };
        let erased = erase::erase(store, tenant, &person, OPERATOR).await?;
        if args.json {
            json(&erased)?;
        } else {
            let erase::Erased { users, records, mentions, changes } = erased;
            answer(format_args!(
                "erased: {users} user(s), {records} staged record(s), values in {mentions} record(s) of others, and {changes} \
                 before-image(s)"
            ))?;
        }
        Ok(Ended::Done)
    };
    Box::pin(connect::with(config, Need::Look, shutdown, work)).await
}
