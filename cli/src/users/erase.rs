//! Erasing a person: their user, and every trace of them in what was staged.

use clap::Args;
use muster_domain::erase::Person;
use muster_domain::id::{TenantId, UserId};
use muster_domain::normalise::{EmailAddress, PhoneNumber, Username};
use muster_domain::options::IdentifierField;
use muster_producer::api::ErasedView;
use muster_store::{Store, erase};

use super::{NO_SUCH_USER, Named};
use crate::client::{Remote, operations};
use crate::connect::OPERATOR;
use crate::failure::{Exit, usage};
use crate::output::{json, stdout_line};

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Who {
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
    /// What was given, in the form in which it is stored.
    pub(super) fn named(&self) -> anyhow::Result<Named> {
        let wrong = |option: &str| usage(format!("{option} is not a value that this field can have"));
        Ok(if let Some(text) = &self.email {
            let email = EmailAddress::parse(text).map_err(|_| wrong("--email"))?;
            Named::Field(IdentifierField::Email, email.into_inner().into_owned())
        } else if let Some(text) = &self.phone_number {
            let number = PhoneNumber::parse(text).map_err(|_| wrong("--phone-number"))?;
            Named::Field(IdentifierField::PhoneNumber, number.into_inner().into_owned())
        } else if let Some(text) = &self.preferred_username {
            let name = Username::parse(text).map_err(|_| wrong("--preferred-username"))?;
            Named::Field(IdentifierField::PreferredUsername, name.into_inner().into_owned())
        } else {
            Named::Id(self.id.ok_or_else(|| usage("say who is meant"))?)
        })
    }
}

/// Erases a person in the store of this machine.
pub(super) async fn here(
    store: &Store,
    tenant: TenantId,
    who: &Named,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let person: Option<Person> = match who {
        Named::Field(field, value) => Some(erase::person_by(store, tenant, *field, value).await?),
        Named::Id(id) => erase::person(store, tenant, *id).await?,
    };
    let Some(person) = person else { anyhow::bail!(NO_SUCH_USER) };
    print_erased(&erase::erase(store, tenant, &person, OPERATOR).await?.into(), as_json)
}

/// Erases a user behind a server.
pub(super) async fn behind(remote: &Remote, user: UserId, as_json: bool) -> anyhow::Result<Exit> {
    // It takes as long as there is much staged, so there is no time limit.
    print_erased(&remote.ask_without_limit(operations::USERS_ERASE.at(&[&user])).await?, as_json)
}

fn print_erased(erased: &ErasedView, as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        json(erased)?;
    } else {
        let ErasedView { users, records, mentions, changes } = erased;
        stdout_line(format_args!(
            "erased: {users} user(s), {records} staged record(s), values in {mentions} record(s) of others, and {changes} \
             before-image(s)"
        ))?;
    }
    Ok(Exit::Done)
}
