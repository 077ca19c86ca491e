//! Upserting: the users that records mean are found, the records are planned, and the plan is written, in the caller's
//! transaction.

use std::borrow::Cow;
use std::collections::HashSet;

use chrono::{DateTime, Utc};
use muster_domain::error::RecordError;
use muster_domain::fault::{self, Point};
use muster_domain::id::TenantId;
use muster_domain::options::{Enrolment, IdentifierField};
use muster_domain::outcome::Verdict;
use muster_domain::plan::{Effect, ExistingUser, NewCredentials, Plan, UserRow, plan, plan_in_detail};
use muster_domain::planned::Drift;
use muster_domain::profile::Profile;
use muster_domain::record::{Patch, Record};
use muster_domain::rules::Rules;
use muster_domain::undo::{Change, Kind, flat_user};
use muster_domain::warning::Warning;
use muster_runtime::telemetry::traces;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::copy::CopyBuffer;
use super::members::Member;
use super::{StoreError, history};

/// Finds, plans and writes: what the records, in their order, make of the tenant's users.
///
/// A conflict (somebody else was faster) is an error of kind `Conflict`; the transaction must then be rolled back. `alone` says that
/// the transaction has the tenant's lock for itself; a few plans need that ([`Plan::needs_alone`]), and without it they are
/// [`StoreError::NotAlone`].
pub async fn upsert<'a>(
    connection: &mut PgConnection,
    tenant: TenantId,
    alone: bool,
    records: &[&'a Record<'a>],
    rules: &Rules,
    now: DateTime<Utc>,
    new_id: &mut (dyn FnMut() -> Uuid + Send),
) -> Result<Upserted, StoreError> {
    let enrolment = rules.options.enrolment;
    let planning = traces::span("plan");
    let existing = find_users(connection, tenant, &Keys::of(records), enrolment).await?;
    let began = std::time::Instant::now();
    let plan = plan(records, &existing, rules, now, new_id);
    metrics::histogram!("muster_plan_seconds").record(began.elapsed().as_secs_f64());
    planning.end();
    if plan.needs_alone && !alone {
        return Err(StoreError::NotAlone);
    }
    fault::point(Point::Planned)?;
    let writing = traces::span("write");
    write_users(connection, tenant, &plan, enrolment).await?;
    writing.end();
    let Plan { verdicts, errors, warnings, changes, .. } = plan;
    Ok(Upserted { verdicts, errors, warnings, changes })
}

/// The users that have a unique value of the records.
pub(super) async fn existing(
    connection: &mut PgConnection,
    tenant: TenantId,
    records: &[&Record<'_>],
    enrolment: Option<Enrolment>,
) -> Result<Vec<ExistingUser>, StoreError> {
    find_users(connection, tenant, &Keys::of(records), enrolment).await
}

/// Compares a record, by its place among all records, with its plan.
pub type Compare<'c> = dyn Fn(usize, Verdict, Option<Uuid>, &Effect) -> Option<Drift> + Sync + 'c;

/// What is to be compared with the plan of an import before anything is written.
pub struct Check<'c> {
    /// Compares a record, by its place among all records, with its plan.
    pub drift: &'c Compare<'c>,
    /// Whether a record that differs is not written.
    pub refuse: bool,
}

/// Rounds of planning after which records that mean the same user as one that is not written are not written either.
const ROUNDS: usize = 20;

/// The same as [`upsert`] for records that were planned before. Records that differ from their plan are not written, and those behind
/// them are planned without them, and compared again; or they are written, and told.
#[expect(clippy::too_many_arguments, reason = "those of upsert, and one")]
pub async fn upsert_planned<'a>(
    connection: &mut PgConnection,
    tenant: TenantId,
    alone: bool,
    records: &[&'a Record<'a>],
    rules: &Rules,
    now: DateTime<Utc>,
    new_id: &mut (dyn FnMut() -> Uuid + Send),
    check: &Check<'_>,
) -> Result<(Upserted, Vec<(usize, Drift)>), StoreError> {
    let enrolment = rules.options.enrolment;
    let planning = traces::span("plan");
    let existing = find_users(connection, tenant, &Keys::of(records), enrolment).await?;
    let mut left: Vec<usize> = (0..records.len()).collect();
    let mut drifts: Vec<(usize, Drift)> = Vec::new();
    let mut rounds = 0;
    let plan = loop {
        let chosen: Vec<&'a Record<'a>> = left.iter().filter_map(|at| records.get(*at).copied()).collect();
        let plan = plan_in_detail(&chosen, &existing, rules, now, &mut *new_id);
        let found = left.iter().zip(plan.verdicts.iter().zip(&plan.effects));
        let found = found.filter_map(|(at, ((verdict, user), effect))| {
            Some((*at, (check.drift)(*at, *verdict, *user, effect)?))
        });
        let found: Vec<(usize, Drift)> = found.collect();
        if found.is_empty() || !check.refuse {
            drifts.extend(found);
            break plan;
        }
        rounds += 1;
        let refused = refused(records, &left, &found, rules.options.identifier, rounds > ROUNDS);
        left.retain(|at| !refused.contains(at));
        let told: HashSet<usize> = found.iter().map(|(at, _)| *at).collect();
        drifts.extend(found);
        let behind = refused.into_iter().filter(|at| !told.contains(at));
        drifts.extend(behind.map(|at| (at, Drift::behind_another())));
    };
    planning.end();
    if plan.needs_alone && !alone {
        return Err(StoreError::NotAlone);
    }
    fault::point(Point::Planned)?;
    let writing = traces::span("write");
    write_users(connection, tenant, &plan, enrolment).await?;
    writing.end();
    let Plan { verdicts, errors, warnings, changes, .. } = plan;
    let place = |at: usize| left.get(at).copied();
    let mut all: Vec<(Verdict, Option<Uuid>)> = vec![(Verdict::FAILED, None); records.len()];
    for (at, verdict) in left.iter().zip(verdicts) {
        if let Some(slot) = all.get_mut(*at) {
            *slot = verdict;
        }
    }
    let done = Upserted {
        verdicts: all,
        errors: errors.into_iter().filter_map(|(at, error)| Some((place(at)?, error))).collect(),
        warnings: warnings.into_iter().filter_map(|(at, warning)| Some((place(at)?, warning))).collect(),
        changes,
    };
    Ok((done, drifts))
}

/// The records that are not written: those that differ, and after many rounds those that are identified by the same values.
fn refused(
    records: &[&Record<'_>],
    left: &[usize],
    found: &[(usize, Drift)],
    field: IdentifierField,
    many: bool,
) -> HashSet<usize> {
    let mut refused: HashSet<usize> = found.iter().map(|(at, _)| *at).collect();
    if many {
        let identifier = |at: &usize| value(records.get(*at)?.identity(field));
        let means: HashSet<&str> = refused.iter().filter_map(identifier).collect();
        let same = |at: &&usize| identifier(at).is_some_and(|value| means.contains(value));
        refused.extend(left.iter().filter(same).copied());
    }
    refused
}

/// The same for one record: what became of it, and the user as it is now. An error of the record is a value; nothing is
/// written then. What changed is noted as that of a request of `actor`.
pub async fn upsert_one<'a>(
    connection: &mut PgConnection,
    tenant: TenantId,
    alone: bool,
    record: &'a Record<'a>,
    rules: &Rules,
    (now, new_id): (DateTime<Utc>, Uuid),
    actor: Option<&str>,
) -> Result<Result<(Verdict, Member), RecordError>, StoreError> {
    let enrolment = rules.options.enrolment;
    let records = [record];
    let planning = traces::span("plan");
    let existing = find_users(connection, tenant, &Keys::of(&records), enrolment).await?;
    let mut plan = plan(&records, &existing, rules, now, &mut || new_id);
    planning.end();
    if plan.needs_alone && !alone {
        return Err(StoreError::NotAlone);
    }
    if let Some((_, error)) = plan.errors.pop() {
        return Ok(Err(error));
    }
    let writing = traces::span("write");
    write_users(connection, tenant, &plan, enrolment).await?;
    writing.end();
    note(connection, tenant, actor, &plan, enrolment).await?;
    let Some((verdict, Some(id))) = plan.verdicts.pop() else {
        return Err(StoreError::Program("a record was planned without a verdict".into()));
    };
    let rows = plan.inserts.into_iter().chain(plan.updates.into_iter().map(|(row, _)| row));
    let written = rows.into_iter().find(|row| row.id == id).map(Member::from);
    let found = || existing.into_iter().find(|user| user.id == id).map(Member::from);
    match written.or_else(found) {
        Some(user) => Ok(Ok((verdict, user))),
        None => Err(StoreError::Program("a record was planned without its user".into())),
    }
}

/// Notes what a request about a single user changed, for the user's history.
async fn note(
    connection: &mut PgConnection,
    tenant: TenantId,
    actor: Option<&str>,
    plan: &Plan<'_>,
    enrolment: Option<Enrolment>,
) -> Result<(), StoreError> {
    let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
    for row in &plan.inserts {
        let user = ExistingUser {
            email: text(&row.email),
            phone_number: text(&row.phone_number),
            preferred_username: text(&row.preferred_username),
            given_name: text(&row.given_name),
            family_name: text(&row.family_name),
            attributes: text(&row.attributes),
            metadata: text(&row.metadata),
            profile: Profile::parse(row.profile.as_deref()).map(Box::new),
            ..ExistingUser::default()
        };
        let memberships = enrolment.filter(|_| plan.enrolments.contains(&row.id));
        let memberships: Vec<(i32, i32)> =
            memberships.into_iter().map(|place| (place.organization_id, place.group_id)).collect();
        let after = flat_user(&user, &memberships).unwrap_or_default().into_iter().collect();
        let change = Change { after, ..Change::inserted(row.id, row.changes) };
        history::note(connection, tenant, actor, &change).await?;
    }
    for change in plan.changes.iter().filter(|change| change.kind == Kind::Updated) {
        history::note(connection, tenant, actor, change).await?;
    }
    Ok(())
}

/// What became of the records: the part of a [`Plan`] that is left when it is written.
#[derive(Debug, Default, PartialEq)]
pub struct Upserted {
    /// One verdict a record, with the user concerned.
    pub verdicts: Vec<(Verdict, Option<Uuid>)>,
    /// Errors of the failed records, by index.
    pub errors: Vec<(usize, RecordError)>,
    /// What records said in vain, by index, ascending.
    pub warnings: Vec<(usize, Warning)>,
    /// What users had in the fields that changed ([`Plan::changes`]).
    pub changes: Vec<Change>,
}

/// The unique values that records name, normalised, each sorted.
struct Keys<'a> {
    emails: Vec<&'a str>,
    phone_numbers: Vec<&'a str>,
    usernames: Vec<&'a str>,
}

impl<'r> Keys<'r> {
    /// The values of these records.
    fn of(records: &[&'r Record<'_>]) -> Self {
        let of = |field| {
            let mut values: Vec<&'r str> =
                records.iter().filter_map(|record| value(record.identity(field))).collect();
            if field == IdentifierField::Email {
                values.extend(records.iter().filter_map(|record| record.new_email()));
            }
            values.sort_unstable();
            values.dedup();
            values
        };
        Self {
            emails: of(IdentifierField::Email),
            phone_numbers: of(IdentifierField::PhoneNumber),
            usernames: of(IdentifierField::PreferredUsername),
        }
    }
}

fn value<T>(patch: Patch<T>) -> Option<T> {
    match patch {
        Patch::Value(value) => Some(value),
        Patch::Absent | Patch::Null => None,
    }
}

/// A user as [`FIND_USERS`] gives it.
fn existing_user(row: &PgRow) -> sqlx::Result<ExistingUser> {
    Ok(ExistingUser {
        id: row.try_get(0)?,
        version: row.try_get(1)?,
        email: row.try_get(2)?,
        phone_number: row.try_get(3)?,
        preferred_username: row.try_get(4)?,
        given_name: row.try_get(5)?,
        family_name: row.try_get(6)?,
        attributes: row.try_get(7)?,
        metadata: row.try_get(8)?,
        profile: row
            .try_get::<Option<String>, _>(9)?
            .map(|json| serde_json::from_str(&json))
            .transpose()
            .map_err(|error| sqlx::Error::Decode(error.into()))?,
        enrolled: row.try_get(10)?,
    })
}

/// Not a checked macro: its row struct would have every column optional, and this is the hot path. The tests of the
/// pipeline run it against the schema.
const FIND_USERS: &str = r#"select u.id, u.version, u.email, u.phone_number, u.preferred_username, u.given_name, u.family_name,
        u.attributes::text, u.metadata::text, u.profile::text,
        $5 <> 0 and exists (select from memberships m
                             where m.user_id = u.id and m.organization_id = $5 and m.group_id = $6)
   from (select user_.*
           from unnest($2::text[]) as k (value)
          cross join lateral (select * from users
                               where tenant_id = $1 and email = k.value collate "C" limit 1) as user_
         union all
         select user_.*
           from unnest($3::text[]) as k (value)
          cross join lateral (select * from users
                               where tenant_id = $1 and phone_number = k.value collate "C" limit 1) as user_
         union all
         select user_.*
           from unnest($4::text[]) as k (value)
          cross join lateral (select * from users
                               where tenant_id = $1 and preferred_username = k.value collate "C" limit 1) as user_
        ) as u"#;

/// Every user of the tenant that has one of the values, each once. One statement, so one moment in time.
///
/// One look into an index a value, and `limit 1` so that no other plan is possible: a plan made while the table was empty
/// would else read the whole tenant for each chunk, for as long as it is cached (the test below looks at the plan).
async fn find_users(
    connection: &mut PgConnection,
    tenant: TenantId,
    keys: &Keys<'_>,
    enrolment: Option<Enrolment>,
) -> Result<Vec<ExistingUser>, StoreError> {
    let Enrolment { organization_id, group_id } =
        enrolment.unwrap_or(Enrolment { organization_id: 0, group_id: 0 });
    let mut users: Vec<ExistingUser> = sqlx::query(FIND_USERS)
        .bind(tenant.get())
        .bind(&keys.emails)
        .bind(&keys.phone_numbers)
        .bind(&keys.usernames)
        .bind(organization_id)
        .bind(group_id)
        .try_map(|row| existing_user(&row))
        .fetch_all(connection)
        .await?;
    users.sort_unstable_by_key(|user| user.id);
    users.dedup_by_key(|user| user.id);
    Ok(users)
}

/// Writes what a plan says of users: values are let go of, users changed, users inserted, users enrolled.
///
/// A conflict (somebody else was faster) is an error of kind `Conflict`; the transaction must then be rolled back.
async fn write_users(
    connection: &mut PgConnection,
    tenant: TenantId,
    plan: &Plan<'_>,
    enrolment: Option<Enrolment>,
) -> Result<(), StoreError> {
    hold(connection, &plan.obstacles).await?;
    release(connection, &plan.releases).await?;
    update(connection, &plan.updates).await?;
    insert(connection, tenant, &plan.inserts).await?;
    add_credentials(connection, tenant, &plan.credentials).await?;
    if let Some(enrolment) = enrolment {
        enrol(connection, tenant, plan, enrolment).await?;
    }
    Ok(())
}

/// Keeps users as they are until the transaction ends, because records were refused for what they have. Else two chunks could
/// each refuse a record for a value that the other one frees, which no order of the two would do.
async fn hold(connection: &mut PgConnection, obstacles: &[(Uuid, i32)]) -> Result<(), StoreError> {
    if obstacles.is_empty() {
        return Ok(());
    }
    let (ids, versions): (Vec<Uuid>, Vec<i32>) = obstacles.iter().copied().unzip();
    let held = sqlx::query_scalar!(
        "select count(*)
           from (select u.id
                   from users as u
                   join unnest($1::uuid[], $2::int[]) as o (id, version) on u.id = o.id and u.version = o.version
                  order by u.id
                    for share of u) as held",
        &ids,
        &versions,
    )
    .fetch_one(connection)
    .await?;
    if held == i64::try_from(obstacles.len()).ok() { Ok(()) } else { Err(StoreError::Conflict("a user")) }
}

pub(super) async fn release(
    connection: &mut PgConnection,
    releases: &[(Uuid, IdentifierField)],
) -> Result<(), StoreError> {
    if releases.is_empty() {
        return Ok(());
    }
    let of =
        |field| -> Vec<Uuid> { releases.iter().filter(|(_, f)| *f == field).map(|(id, _)| *id).collect() };
    let ids: Vec<Uuid> = releases.iter().map(|(id, _)| *id).collect();
    sqlx::query!(
        "update users
            set email              = case when id = any($2) then null else email end,
                phone_number       = case when id = any($3) then null else phone_number end,
                preferred_username = case when id = any($4) then null else preferred_username end
          where id = any($1)",
        &ids,
        &of(IdentifierField::Email),
        &of(IdentifierField::PhoneNumber),
        &of(IdentifierField::PreferredUsername),
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn update(
    connection: &mut PgConnection,
    updates: &[(UserRow<'_>, i32)],
) -> Result<(), StoreError> {
    if updates.is_empty() {
        return Ok(());
    }
    let text = |get: for<'r> fn(&'r UserRow<'_>) -> Option<&'r str>| -> Vec<Option<&str>> {
        updates.iter().map(|(row, _)| get(row)).collect()
    };
    let ids: Vec<Uuid> = updates.iter().map(|(row, _)| row.id).collect();
    let versions: Vec<i32> = updates.iter().map(|(_, version)| *version).collect();
    let changes: Vec<i32> = updates.iter().map(|(row, _)| row.changes).collect();
    let written = sqlx::query!(
        "update users as u
            set version = u.version + n.changes, updated_at = now(),
                email = n.email, phone_number = n.phone_number, preferred_username = n.preferred_username,
                given_name = n.given_name, family_name = n.family_name,
                attributes = n.attributes::jsonb, metadata = n.metadata::jsonb, profile = n.profile::jsonb
           from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                       $10::int[], $11::text[])
             as n (id, version, email, phone_number, preferred_username, given_name, family_name, attributes, metadata,
                   changes, profile)
          where u.id = n.id and u.version = n.version",
        &ids,
        &versions,
        &text(|row| row.email.as_deref()) as &[Option<&str>],
        &text(|row| row.phone_number.as_deref()) as &[Option<&str>],
        &text(|row| row.preferred_username.as_deref()) as &[Option<&str>],
        &text(|row| row.given_name.as_deref()) as &[Option<&str>],
        &text(|row| row.family_name.as_deref()) as &[Option<&str>],
        &text(|row| row.attributes.as_deref()) as &[Option<&str>],
        &text(|row| row.metadata.as_deref()) as &[Option<&str>],
        &changes,
        &text(|row| row.profile.as_deref()) as &[Option<&str>],
    )
    .execute(connection)
    .await?;
    fault::point(Point::Updated)?;
    if written.rows_affected() == updates.len() as u64 { Ok(()) } else { Err(StoreError::Conflict("a user")) }
}

/// So many rows and fewer are inserted one by one: a COPY's extra round trips cost more than a row.
const FEW: usize = 2;

pub(super) async fn insert(
    connection: &mut PgConnection,
    tenant: TenantId,
    rows: &[UserRow<'_>],
) -> Result<(), StoreError> {
    if rows.len() > FEW {
        return copy(connection, tenant, rows).await;
    }
    for row in rows {
        sqlx::query!(
            "insert into users (id, tenant_id, version, email, phone_number, preferred_username, given_name, family_name,
                                attributes, metadata, profile)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, $10::text::jsonb, $11::text::jsonb)",
            row.id,
            tenant.get(),
            row.changes,
            row.email.as_deref(),
            row.phone_number.as_deref(),
            row.preferred_username.as_deref(),
            row.given_name.as_deref(),
            row.family_name.as_deref(),
            row.attributes.as_deref(),
            row.metadata.as_deref(),
            row.profile.as_deref(),
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// COPY without a conflict clause: a key that someone else inserted in the meantime refuses the chunk, which is planned
/// again. Half as much work for the database as asking for each row first.
async fn copy(
    connection: &mut PgConnection,
    tenant: TenantId,
    rows: &[UserRow<'_>],
) -> Result<(), StoreError> {
    let mut buffer = CopyBuffer::with_capacity(rows.len() * 160);
    for row in rows {
        buffer.row(11);
        buffer.uuid(row.id);
        buffer.int(tenant.get());
        buffer.int(row.changes);
        for text in
            [&row.email, &row.phone_number, &row.preferred_username, &row.given_name, &row.family_name]
        {
            buffer.text(text.as_deref());
        }
        buffer.jsonb(row.attributes.as_deref());
        buffer.jsonb(row.metadata.as_deref());
        buffer.jsonb(row.profile.as_deref());
    }
    let mut copy = sqlx::postgres::PgConnection::copy_in_raw(
        connection,
        "copy users (id, tenant_id, version, email, phone_number, preferred_username, given_name, family_name, attributes, metadata,
                     profile)
         from stdin (format binary)",
    )
    .await?;
    // No time-out and no select! around this: a copy that is dropped half-way puts its connection out of step.
    if let Err(error) = copy.send(buffer.finish()).await {
        copy.abort("the rows could not be sent").await?;
        return Err(error.into());
    }
    copy.finish().await?;
    fault::point(Point::Copied)?;
    Ok(())
}

/// Only new users bring credentials, so there is nothing to collide with.
async fn add_credentials(
    connection: &mut PgConnection,
    tenant: TenantId,
    credentials: &[NewCredentials<'_>],
) -> Result<(), StoreError> {
    if credentials.is_empty() {
        return Ok(());
    }
    let users: Vec<Uuid> = credentials.iter().map(|new| new.user).collect();
    let passwords: Vec<Option<&str>> = credentials.iter().map(|new| new.password_hash).collect();
    let expiries: Vec<_> = credentials.iter().map(|new| new.password_expires_at).collect();
    let second: Vec<Option<&str>> = credentials.iter().map(|new| new.mfa_password_hash).collect();
    let secrets: Vec<Option<&str>> = credentials.iter().map(|new| new.totp_secret).collect();
    sqlx::query!(
        "insert into user_credentials (user_id, tenant_id, password_hash, password_expires_at, mfa_password_hash, totp_secret)
         select user_id, $2, password_hash, password_expires_at, mfa_password_hash, totp_secret
           from unnest($1::uuid[], $3::text[], $4::timestamptz[], $5::text[], $6::text[])
             as new (user_id, password_hash, password_expires_at, mfa_password_hash, totp_secret)",
        &users,
        tenant.get(),
        &passwords as &[Option<&str>],
        &expiries as &[Option<chrono::DateTime<chrono::Utc>>],
        &second as &[Option<&str>],
        &secrets as &[Option<&str>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn enrol(
    connection: &mut PgConnection,
    tenant: TenantId,
    plan: &Plan<'_>,
    enrolment: Enrolment,
) -> Result<(), StoreError> {
    if plan.enrolments.is_empty() {
        return Ok(());
    }
    let new: HashSet<Uuid> = plan.inserts.iter().map(|row| row.id).collect();
    let there: Vec<Uuid> = plan.enrolments.iter().copied().filter(|user| !new.contains(user)).collect();
    let mut memberships = Memberships::default();
    for user in &plan.enrolments {
        memberships.put(*user, enrolment.organization_id, enrolment.group_id);
    }
    memberships.add(connection, tenant, &there).await
}

/// Memberships of several users.
#[derive(Default)]
pub(super) struct Memberships {
    users: Vec<Uuid>,
    organizations: Vec<i32>,
    groups: Vec<i32>,
}

impl Memberships {
    pub(super) fn put(&mut self, user: Uuid, organization: i32, group: i32) {
        self.users.push(user);
        self.organizations.push(organization);
        self.groups.push(group);
    }

    /// The users, each once.
    pub(super) fn users(&self) -> Vec<Uuid> {
        let users: HashSet<Uuid> = self.users.iter().copied().collect();
        users.into_iter().collect()
    }

    /// Adds them. The users `there`, which this transaction did not make, are kept from being deleted meanwhile: an undo may be about to.
    /// A conflict where one of them is gone.
    pub(super) async fn add(
        &self,
        connection: &mut PgConnection,
        tenant: TenantId,
        there: &[Uuid],
    ) -> Result<(), StoreError> {
        if self.users.is_empty() {
            return Ok(());
        }
        let held = sqlx::query_scalar!(
            r#"with held as materialized (
                   select id from users where id = any($5) order by id for key share
               ), enrolled as (
                   insert into memberships (user_id, organization_id, group_id, tenant_id)
                   select user_id, organization_id, group_id, $4
                     from unnest($1::uuid[], $2::int[], $3::int[]) as new (user_id, organization_id, group_id)
                   on conflict do nothing
               )
               select count(*) as "held!" from held"#,
            &self.users,
            &self.organizations,
            &self.groups,
            tenant.get(),
            there,
        )
        .fetch_one(connection)
        .await?;
        if i64::try_from(there.len()).ok() == Some(held) {
            Ok(())
        } else {
            Err(StoreError::Conflict("a user"))
        }
    }

    /// Takes them away.
    pub(super) async fn delete(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        if self.users.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "delete from memberships as m
              using unnest($1::uuid[], $2::int[], $3::int[]) as old (user_id, organization_id, group_id)
              where m.user_id = old.user_id and m.organization_id = old.organization_id and m.group_id = old.group_id",
            &self.users,
            &self.organizations,
            &self.groups,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Writes a user that nobody means and changes it, to see whether the database takes any user at all. The caller rolls it back.
pub async fn probe(connection: &mut PgConnection, tenant: TenantId, id: Uuid) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into users (id, tenant_id, email, given_name, family_name) values ($1, $2, $3, 'Probe', 'Probe')",
        id,
        tenant.get(),
        // A name that nobody can have (RFC 2606).
        format!("{}@probe.invalid", id.simple()),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("update users set version = version + 1 where id = $1", id).execute(connection).await?;
    Ok(())
}

/// Checks now what the database would check at the commit only, so that a part that is refused can be rolled back alone.
pub async fn check_deferred(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::raw_sql("set constraints all immediate; set constraints all deferred").execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use muster_testkit::TestDatabase;
    use sqlx::AssertSqlSafe;

    use super::FIND_USERS;

    #[tokio::test]
    async fn users_are_looked_up_by_index_even_if_the_plan_was_made_on_an_empty_table() {
        let database = TestDatabase::create().await;
        let store = database.store().await;
        let mut connection = store.dedicated_connection().await.unwrap();
        let prepare = format!("prepare find (int, text[], text[], text[], int, int) as {FIND_USERS}");
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await.unwrap();
        let explain = "explain execute find (1, '{a}', '{b}', '{c}', 0, 0)";
        let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut connection).await.unwrap();
        let plan = plan.join("\n");
        for key in ["email", "phone_number", "preferred_username"] {
            assert!(plan.contains(&format!("Index Cond: ((tenant_id = $1) AND ({key} = ")), "{plan}");
        }
    }
}
