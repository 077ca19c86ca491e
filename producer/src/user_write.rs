//! Writes one user: the values of a request become a record, which is validated, planned and stored like a
//! record of an import, in one transaction. The response is sent after the commit.
//!
//! Guarantees: concurrent requests that create the same user insert it once, and none of them fails because
//! of the others. A failed request has no effect. The caller must run in a task that is never cancelled (as
//! API requests do), since a cancelled statement leaves its connection unusable.

use chrono::{DateTime, Utc};
use muster_domain::error::{ErrorCode, RecordError};
use muster_domain::fault::{self, Mutant, Point, mutant};
use muster_domain::id::TenantId;
use muster_domain::options::Enrolment;
use muster_domain::outcome::{Outcome, Verdict};
use muster_domain::record::{FieldNames, Position, RawField, RawRecord, RawValue, Record, RecordNumber};
use muster_domain::rules::Rules;
use muster_domain::tenant::Slug;
use muster_domain::validate::{Binding, validate};
use muster_runtime::clock;
use muster_store::applications::{self, Application, ApplicationMember};
use muster_store::connections::{ConnectionPool, is_met_alone};
use muster_store::members::{self, Member};
use muster_store::upsert::upsert_one;
use muster_store::{Connection, ErrorKind, Store, StoreError, apply, catalog};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Collisions after which the request fails. With the exclusive lock there can be none.
const MOST_TRIES: u32 = 6;

/// The values of a request under the names of its field table.
pub(crate) struct Values<'v> {
    binding: Binding,
    fields: Vec<RawField<'v>>,
}

impl<'v> Values<'v> {
    /// Binds them to the rules.
    pub(crate) fn new(rules: &Rules, pairs: &[(&str, RawValue<'v>)]) -> Self {
        let mut names = FieldNames::new();
        let fields =
            pairs.iter().map(|(name, value)| RawField { name: names.push(name), value: *value }).collect();
        let mut binding = Binding::new(rules);
        binding.extend(&names);
        Self { binding, fields }
    }

    /// The record, or everything that is wrong with it.
    pub(crate) fn validate(&self, rules: &Rules) -> Result<Record<'_>, Vec<RecordError>> {
        let position = Position { record: RecordNumber::FIRST, line: 1, byte: 0 };
        let raw = RawRecord { position, fields: &self.fields, defect: None, raw: None };
        validate(&raw, &self.binding, rules).result
    }
}

/// The write for the user of a record.
pub(crate) struct Write<'w> {
    pub(crate) tenant: TenantId,
    /// Who asks for it.
    pub(crate) actor: String,
    /// The organization that the user is, or is to be, a member of.
    pub(crate) organization: &'w Slug,
    /// The group to enrol the user in, created if it is not there. None: only a member is written.
    pub(crate) group: Option<&'w str>,
    pub(crate) record: &'w Record<'w>,
    pub(crate) rules: Rules,
    /// The application that the user is registered with as well.
    pub(crate) registration: Option<Registration<'w>>,
}

/// A user becomes a member of an application, in the transaction in which it is written.
#[derive(Clone, Copy)]
pub(crate) struct Registration<'w> {
    pub(crate) project: &'w Slug,
    pub(crate) application: &'w Slug,
    /// The same user by its e-mail address, which gets the username where it has none: another door, or another version of the client,
    /// may have made it before.
    pub(crate) by_email: Option<(&'w Record<'w>, &'w Rules)>,
    /// The same user once more, with addresses to find or add; `None` where there are none.
    pub(crate) addresses: Option<(&'w Record<'w>, &'w Rules)>,
    /// Data that is merged into the application's data about its member.
    pub(crate) custom_fields: Option<&'w Map<String, Value>>,
    pub(crate) active: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Written {
    /// There is no such organization.
    NoOrganization,
    /// The organization has no such member.
    NoMember,
    /// The record fails beside the users there are.
    Refused(RecordError),
    /// What was done, the user as it is now, and what the application has about it where it was registered.
    User(Verdict, Box<Member>, Option<ApplicationMember>),
}

/// What one try came to.
enum Tried {
    Done(Written),
    /// The group has to be created first.
    NoGroup,
}

/// Writes single users, over connections of their own.
#[derive(Debug)]
pub(crate) struct UserWriter {
    store: Store,
    idle: ConnectionPool,
    /// One a connection.
    permits: Semaphore,
}

impl UserWriter {
    /// At most so many connections, opened when they are needed.
    pub(crate) fn new(store: Store, connections: usize) -> Self {
        Self { store, idle: ConnectionPool::default(), permits: Semaphore::new(connections) }
    }

    /// Does it in one transaction. Collisions with other writers are tried again.
    pub(crate) async fn write(&self, mut write: Write<'_>) -> Result<Written, StoreError> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await.map_err(|_| StoreError::PoolTimeout)?;
        let (mut collisions, mut exclusive) = (0, false);
        loop {
            match self.attempt(&mut write, exclusive).await {
                Ok(Tried::Done(written)) => return Ok(written),
                Ok(Tried::NoGroup) => {
                    catalog::ensure_group(&self.store, write.tenant, write.group.unwrap_or_default()).await?;
                }
                Err(error) if error.kind() == ErrorKind::Conflict && collisions < MOST_TRIES => {
                    collisions += 1;
                    exclusive |= is_met_alone(&error, collisions);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&self, write: &mut Write<'_>, exclusive: bool) -> Result<Tried, StoreError> {
        let idle = self.idle.take();
        let reused = idle.is_some();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.store.dedicated_connection().await?,
        };
        let mut begun = false;
        let mut tried = run(&self.store, &mut connection, write, exclusive, &mut begun).await;
        let went_away = tried.as_ref().is_err_and(|error| error.kind() == ErrorKind::Transient);
        if reused && !begun && went_away {
            // The server went away while the connection was idle: nothing was begun, and the other ones are gone too.
            self.idle.close_idle();
            connection = self.store.dedicated_connection().await?;
            tried = run(&self.store, &mut connection, write, exclusive, &mut begun).await;
        }
        // After a collision the transaction was rolled back in order; after any other error the connection is thrown away.
        if tried.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::Conflict) {
            self.idle.give_back(connection);
        }
        tried
    }
}

/// Begins a transaction, works in it, and ends it.
async fn run(
    store: &Store,
    connection: &mut Connection,
    write: &mut Write<'_>,
    exclusive: bool,
    begun: &mut bool,
) -> Result<Tried, StoreError> {
    let mut transaction = apply::begin_writing(connection, write.tenant, exclusive).await?;
    *begun = true;
    let tried = work(&mut transaction, write, exclusive).await;
    match &tried {
        Ok(Tried::Done(Written::User(..))) => {
            fault::point(Point::SingleWrite)?;
            muster_store::commit(store, transaction).await?;
            fault::point(Point::SingleWritten)?;
        }
        Ok(_) => transaction.rollback().await?,
        Err(error) if error.kind() == ErrorKind::Conflict => transaction.rollback().await?,
        Err(_) => {}
    }
    tried
}

async fn work(
    connection: &mut Connection,
    write: &mut Write<'_>,
    exclusive: bool,
) -> Result<Tried, StoreError> {
    let tenant = write.tenant;
    if let Some(none) = place(connection, write).await? {
        return Ok(none);
    }
    let done =
        upsert_one(connection, tenant, exclusive, write.record, &write.rules, moment(), Some(&write.actor))
            .await?;
    let done = match (done, write.registration.and_then(|registration| registration.by_email)) {
        (Err(error), Some(by_email)) if is_of_email(&error) => {
            match claim(
                connection,
                (tenant, write.actor.as_str()),
                exclusive,
                by_email,
                write.rules.options.enrolment,
            )
            .await?
            {
                Some(claimed) => claimed,
                None => Err(error),
            }
        }
        (done, _) => done,
    };
    Ok(Tried::Done(match (done, write.registration) {
        (Err(error), _) => Written::Refused(error),
        // It was a member a moment ago, and has another e-mail address now.
        (Ok((verdict, _)), _) if write.group.is_none() && verdict.outcome == Outcome::Inserted => {
            Written::NoMember
        }
        (Ok((verdict, member)), None) => Written::User(verdict, Box::new(member), None),
        (Ok((verdict, member)), Some(registration)) => {
            let Some(enrolment) = write.rules.options.enrolment else {
                return Ok(Tried::Done(Written::NoOrganization));
            };
            register(
                connection,
                (tenant, write.actor.as_str()),
                exclusive,
                registration,
                enrolment,
                (verdict, member),
            )
            .await?
        }
    }))
}

/// Finds where the user is to be enrolled, or the member that is meant. What is answered where there is no such place or member.
async fn place(connection: &mut Connection, write: &mut Write<'_>) -> Result<Option<Tried>, StoreError> {
    let tenant = write.tenant;
    match write.group {
        Some(group) => {
            let Some(enrolment) = members::enrolment(connection, tenant, write.organization, group).await?
            else {
                return Ok(Some(Tried::Done(Written::NoOrganization)));
            };
            if enrolment.group_id == 0 {
                return Ok(Some(Tried::NoGroup));
            }
            write.rules.options.enrolment = Some(enrolment);
        }
        None => {
            let email = write.record.email.value().map_or("", |email| email.as_str());
            if members::find(&mut *connection, tenant, write.organization, email).await?.is_none() {
                return Ok(Some(Tried::Done(Written::NoMember)));
            }
        }
    }
    Ok(None)
}

/// Now, and an id for a user that is new.
fn moment() -> (DateTime<Utc>, Uuid) {
    (clock::now(), clock::new_id())
}

fn is_of_email(error: &RecordError) -> bool {
    error.code == ErrorCode::IdentityConflict && error.field.as_deref() == Some("email")
}

/// Gives the user with the e-mail address the username, where it has none. `None` where it has one.
async fn claim(
    connection: &mut Connection,
    (tenant, actor): (TenantId, &str),
    exclusive: bool,
    (record, rules): (&Record<'_>, &Rules),
    enrolment: Option<Enrolment>,
) -> Result<Option<Result<(Verdict, Member), RecordError>>, StoreError> {
    let email = record.email.value().map_or("", |email| email.as_str());
    if mutant(Mutant::NameOfAnotherUser) || !applications::lock_nameless(connection, tenant, email).await? {
        return Ok(None);
    }
    let mut rules = rules.clone();
    rules.options.enrolment = enrolment;
    upsert_one(connection, tenant, exclusive, record, &rules, moment(), Some(actor)).await.map(Some)
}

/// Adds the addresses, then makes the user a member of the application.
async fn register(
    connection: &mut Connection,
    (tenant, actor): (TenantId, &str),
    exclusive: bool,
    registration: Registration<'_>,
    enrolment: Enrolment,
    (verdict, mut member): (Verdict, Member),
) -> Result<Written, StoreError> {
    if let Some((record, rules)) = registration.addresses {
        match upsert_one(connection, tenant, exclusive, record, rules, moment(), Some(actor)).await? {
            Ok((_, with_addresses)) => member = with_addresses,
            Err(error) => return Ok(Written::Refused(error)),
        }
    }
    let place = Application {
        organization_id: enrolment.organization_id,
        project: registration.project,
        application: registration.application,
    };
    let (custom_fields, active) = (registration.custom_fields, registration.active);
    let registered =
        applications::register(connection, tenant, place, member.id, custom_fields, active).await?;
    Ok(Written::User(verdict, Box::new(member), Some(registered)))
}
