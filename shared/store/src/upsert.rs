//! Upserting: finds the users of the records, plans the records, and writes the plan, in the caller's transaction.

mod write;

use std::borrow::Cow;
use std::collections::HashSet;

use chrono::{DateTime, Utc};
use muster_domain::error::RecordError;
use muster_domain::fault::{self, Point};
use muster_domain::id::TenantId;
use muster_domain::options::{Enrolment, IdentifierField};
use muster_domain::outcome::Verdict;
use muster_domain::plan::{Effect, ExistingUser, Plan, plan, plan_in_detail};
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

pub(super) use write::{Memberships, insert, release, update};
use write::{add_credentials, enrol, hold};

use super::members::Member;
use super::{StoreError, history};

/// Finds, plans and writes: what the records, in their order, make of the tenant's users.
///
/// A conflict (somebody else was faster) is an error of kind `Conflict`; the transaction must then be rolled back. `exclusive` says that
/// the transaction has the tenant's lock for itself; a few plans need that ([`Plan::needs_exclusive`]), and without it they are
/// [`StoreError::NeedsExclusive`].
pub async fn upsert<'a>(
    connection: &mut PgConnection,
    tenant: TenantId,
    exclusive: bool,
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
    if plan.needs_exclusive && !exclusive {
        return Err(StoreError::NeedsExclusive);
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

/// The comparison with the plan of an import, before anything is written.
pub struct Check<'c> {
    /// Compares a record, by its place among all records, with its plan.
    pub drift: &'c Compare<'c>,
    /// Whether a record that differs is not written.
    pub refuse: bool,
}

/// Rounds of planning after which records that mean the same user as one that is not written are not written either.
const ROUNDS: usize = 20;

/// The same as [`upsert`] for records that were planned before. Records that differ from their plan are not
/// written; the records after them are planned without them and compared again. Or they are written and
/// reported.
#[expect(clippy::too_many_arguments, reason = "those of upsert, and one")]
pub async fn upsert_planned<'a>(
    connection: &mut PgConnection,
    tenant: TenantId,
    exclusive: bool,
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
    if plan.needs_exclusive && !exclusive {
        return Err(StoreError::NeedsExclusive);
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

/// The same for one record: its outcome, and the user as it is now. An error of the record is a value; nothing is
/// written then. What changed is noted as that of a request of `actor`.
pub async fn upsert_one<'a>(
    connection: &mut PgConnection,
    tenant: TenantId,
    exclusive: bool,
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
    if plan.needs_exclusive && !exclusive {
        return Err(StoreError::NeedsExclusive);
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

/// The outcomes of the records: the part of a [`Plan`] that remains after it is written.
#[derive(Debug, Default, PartialEq)]
pub struct Upserted {
    /// One verdict a record, with the user concerned.
    pub verdicts: Vec<(Verdict, Option<Uuid>)>,
    /// Errors of the failed records, by index.
    pub errors: Vec<(usize, RecordError)>,
    /// The warnings of records, by index, ascending.
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

/// Writes and changes a probe user, to see whether the database accepts any user at all. The caller rolls it back.
pub async fn probe(connection: &mut PgConnection, tenant: TenantId, id: Uuid) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into users (id, tenant_id, email, given_name, family_name) values ($1, $2, $3, 'Probe', 'Probe')",
        id,
        tenant.get(),
        // A reserved name that cannot belong to anybody (RFC 2606).
        format!("{}@probe.invalid", id.simple()),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("update users set version = version + 1 where id = $1", id).execute(connection).await?;
    Ok(())
}

/// Runs the checks that the database would defer to the commit, so that a refused part can be rolled back separately.
pub async fn check_deferred(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::raw_sql("set constraints all immediate; set constraints all deferred").execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
