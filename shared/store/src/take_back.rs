//! Undoing changes, as [`upsert`](super::upsert) applies records: finds the users, plans the changes
//! ([`plan`]), and writes the plan, in the caller's transaction.

mod found;
mod left_out;
mod lost;
mod untouched;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use muster_domain::fault::{self, Mutant, Point, mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::options::IdentifierField;
use muster_domain::outcome::{Outcome, OutcomeSheet};
use muster_domain::plan::UserRow;
use muster_domain::planned::{Drift, UndoCheck, plan_undo};
use muster_domain::undo::{Change, ChangeResult, Planned, Step, Undo, Written, plan, row_of};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

pub(super) use self::found::{ReadMemberships, find};
pub(super) use self::left_out::forget_left_out;
pub(super) use self::lost::lost;
use super::StoreError;
use super::convert::number;
use super::upsert::{Memberships, insert, release, update};

/// How much the clocks of workers may differ: what was made this long before an import began may be of it.
const CLOCKS: Duration = Duration::from_secs(3600);

/// What taking changes back came to.
#[derive(Debug, Default)]
pub struct TakenBack {
    /// What was written, and what became of each change.
    pub planned: Planned,
    /// Who changed users last that are left as they are, as far as that is known.
    pub changed_by: HashMap<Uuid, ChangedBy>,
    /// The places of changes that differ from their plan.
    pub drifts: Vec<(usize, Drift)>,
}

/// Finds, plans and writes: what taking back the changes, in their order, makes of the tenant's users. Where the undo was planned before, the
/// changes are compared with that plan. Inserted users that nobody touched since are deleted without being read first.
///
/// A conflict (somebody else was faster) is an error of kind `Conflict`; the transaction must then be rolled back.
pub async fn take_back(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    changes: &[Change],
    undo: &Undo,
    check: Option<&UndoCheck<'_>>,
) -> Result<TakenBack, StoreError> {
    let deleted = untouched::delete(connection, tenant, undo.of, changes, check).await?;
    if deleted.is_empty() {
        return read_and_take_back(connection, (tenant, import), changes, undo, check).await;
    }
    let is_left = |change: &Change| deleted.binary_search_by_key(&change.user, |user| user.id).is_err();
    let (places, others): (Vec<usize>, Vec<Change>) = changes
        .iter()
        .enumerate()
        .filter(|(_, change)| is_left(change))
        .map(|(at, change)| (at, change.clone()))
        .unzip();
    let place = |at: usize| places.get(at).copied().unwrap_or(at);
    let mut done = TakenBack::default();
    if !others.is_empty() {
        let refuse = check.is_some_and(|check| check.refuse);
        let drift = |at: usize, told: &ChangeResult| (check?.drift)(place(at), told);
        let check = check.is_some().then_some(UndoCheck { drift: &drift, refuse });
        done = read_and_take_back(connection, (tenant, import), &others, undo, check.as_ref()).await?;
    }
    done.drifts.iter_mut().for_each(|(at, _)| *at = place(*at));
    done.planned = done.planned.with_deleted(changes, deleted);
    Ok(done)
}

async fn read_and_take_back(
    connection: &mut PgConnection,
    (tenant, import): (TenantId, ImportId),
    changes: &[Change],
    undo: &Undo,
    check: Option<&UndoCheck<'_>>,
) -> Result<TakenBack, StoreError> {
    let found = find(connection, tenant, import, undo.of, changes, ReadMemberships::IfNeeded).await?;
    let lost = lost(connection, tenant, changes).await?;
    let (planned, drifts) = match check {
        Some(check) => {
            let gone = match check.refuse {
                true => left_out::gone(connection, import, changes, &found).await?,
                false => Vec::new(),
            };
            plan_undo(changes, &found, (&gone, &lost), undo, check)
        }
        None => (plan(changes, &found, &lost, undo), Vec::new()),
    };
    fault::point(Point::Planned)?;
    delete(connection, tenant, &planned.deleted).await?;
    let releases: Vec<(Uuid, IdentifierField)> =
        planned.releases.iter().filter_map(|(user, field)| Some((*user, identifier(field)?))).collect();
    release(connection, &releases).await?;
    write(connection, tenant, &planned.written).await?;
    write_steps(connection, tenant, import, &planned.steps, undo).await?;
    let changed_by = changed_by_others(connection, tenant, import, undo, changes, &planned).await?;
    Ok(TakenBack { planned, changed_by, drifts })
}

/// Who changed a user after the import that is undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedBy {
    /// An import.
    Import(ImportId),
    /// A request about this user alone.
    Request {
        /// When.
        at: DateTime<Utc>,
        /// Who asked: `token:` and the id of the token, or `operator`. None where that is not known.
        actor: Option<String>,
    },
}

impl fmt::Display for ChangedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Import(import) => write!(f, "import {import}"),
            Self::Request { at, actor } => {
                let actor = actor.as_deref().map(|actor| format!(" of {actor}")).unwrap_or_default();
                write!(f, "a request{actor} at {}", at.format("%Y-%m-%d %H:%M:%S UTC"))
            }
        }
    }
}

/// Who changed users last that are left as they are, as far as that is known.
pub async fn changed_by_others(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    undo: &Undo,
    changes: &[Change],
    planned: &Planned,
) -> Result<HashMap<Uuid, ChangedBy>, StoreError> {
    let kept = changes.iter().zip(&planned.told).filter(|(_, told)| told.is_kept());
    let kept: Vec<Uuid> = kept.map(|(change, _)| change.user).take(ASKED).collect();
    changed_by(connection, tenant, import, undo, &kept).await
}

/// Most users of a chunk of whom it is asked who changed them.
const ASKED: usize = 20;

/// Applications of chunks of a tenant before an undo began to work, the last ones first. Few of them, however many there were since.
const LATER_CHUNKS: &str = "select b.import_id, c.records, c.outcomes, c.applied_at
  from (select newest.id, newest.import_id, newest.chunk_id
          from before_images as newest
         where newest.tenant_id = $1
           and newest.id < coalesce((select min(undo.id) from before_images as undo where undo.import_id = $2), 9223372036854775807)
         order by newest.id desc
         limit 100) as b
  join chunks as c on c.id = b.chunk_id
 where b.import_id <> $3 and b.id > (select min(own.id) from before_images as own where own.import_id = $3)
 order by b.id desc";

/// The last request about each of these users alone since a moment.
const LATER_REQUESTS: &str = "select distinct on (user_id) user_id, at, actor
  from user_changes
 where tenant_id = $1 and user_id = any($2) and at >= $3
 order by user_id, id desc";

/// A row of [`LATER_CHUNKS`].
type LaterChunk = (Uuid, i32, Option<Vec<u8>>, Option<DateTime<Utc>>);

/// Who changed each of these users last, after the import that is undone began to; none where that is not known, or it is too long ago.
async fn changed_by(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    undo: &Undo,
    users: &[Uuid],
) -> Result<HashMap<Uuid, ChangedBy>, StoreError> {
    if users.is_empty() {
        return Ok(HashMap::new());
    }
    // Not a checked macro: a test asks how the database goes about the same text.
    let rows: Vec<LaterChunk> = sqlx::query_as(LATER_CHUNKS)
        .bind(tenant.get())
        .bind(import.get())
        .bind(undo.of.get())
        .fetch_all(&mut *connection)
        .await?;
    let mut imports: HashMap<Uuid, (ImportId, Option<DateTime<Utc>>)> = HashMap::new();
    for (later, records, outcomes, at) in rows {
        let records = number(records, ("chunks", "records"), later)?;
        let Some(sheet) = outcomes.and_then(|bytes| OutcomeSheet::decode(&bytes, records).ok()) else {
            continue;
        };
        for (verdict, user) in sheet.iter() {
            let changed = matches!(verdict.outcome, Outcome::Inserted | Outcome::Updated);
            if let Some(user) = user.filter(|user| users.contains(user))
                && (changed || mutant(Mutant::UndoBlamesTheUnchanged))
            {
                imports.entry(user).or_insert((ImportId::new(later), at));
            }
        }
    }
    let requests: Vec<(Uuid, DateTime<Utc>, Option<String>)> = sqlx::query_as(LATER_REQUESTS)
        .bind(tenant.get())
        .bind(users)
        .bind(undo.since)
        .fetch_all(connection)
        .await?;
    let mut changed_by: HashMap<Uuid, ChangedBy> =
        imports.iter().map(|(user, (import, _))| (*user, ChangedBy::Import(*import))).collect();
    for (user, at, actor) in requests {
        let later = imports.get(&user).is_none_or(|(_, applied)| applied.is_some_and(|applied| applied < at));
        if later && !mutant(Mutant::UndoForgetsRequests) {
            changed_by.insert(user, ChangedBy::Request { at, actor });
        }
    }
    Ok(changed_by)
}

fn identifier(field: &str) -> Option<IdentifierField> {
    IdentifierField::ALL.iter().find(|known| known.as_str() == field).copied()
}

/// Deletes users with all that is theirs. A membership that came in between is a conflict: somebody enrolled the user.
async fn delete(
    connection: &mut PgConnection,
    tenant: TenantId,
    deleted: &[(Uuid, i32, usize)],
) -> Result<(), StoreError> {
    if deleted.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = deleted.iter().map(|(id, ..)| *id).collect();
    let versions: Vec<i32> = deleted.iter().map(|(_, version, _)| *version).collect();
    let users = sqlx::query!(
        "delete from users as u
          using unnest($2::uuid[], $3::int[]) as n (id, version)
          where u.tenant_id = $1 and u.id = n.id and u.version = n.version",
        tenant.get(),
        &ids,
        &versions,
    )
    .execute(&mut *connection)
    .await?;
    if users.rows_affected() != deleted.len() as u64 {
        return Err(StoreError::Conflict("a user"));
    }
    delete_parts(connection, &ids, deleted.iter().map(|(_, _, count)| *count as u64).sum()).await
}

/// Deletes what belongs to users that are deleted: so many memberships, and their credentials.
async fn delete_parts(
    connection: &mut PgConnection,
    users: &[Uuid],
    memberships: u64,
) -> Result<(), StoreError> {
    if users.is_empty() || mutant(Mutant::UndoLeavesParts) {
        return Ok(());
    }
    // The users are locked now: a concurrent enrolment waits, or has committed and is visible.
    let gone = sqlx::query!("delete from memberships where user_id = any($1)", users)
        .execute(&mut *connection)
        .await?;
    if gone.rows_affected() != memberships {
        return Err(StoreError::Conflict("a membership"));
    }
    sqlx::query!("delete from user_credentials where user_id = any($1)", users).execute(connection).await?;
    Ok(())
}

async fn write(
    connection: &mut PgConnection,
    tenant: TenantId,
    written: &[Written],
) -> Result<(), StoreError> {
    let (mut updates, mut inserts) = (Vec::new(), Vec::new());
    let (mut added, mut gone): (Memberships, Memberships) = Default::default();
    for user in written {
        let damaged = || StoreError::corrupt("before_images", "images", user.id);
        let row = row_of(&user.fields).ok_or_else(damaged)?;
        let (new, old) = &user.memberships;
        new.iter().for_each(|(organization, group)| added.put(user.id, *organization, *group));
        old.iter().for_each(|(organization, group)| gone.put(user.id, *organization, *group));
        let [email, phone_number, preferred_username, given_name, family_name] = row.texts;
        let (before, version) = user.version;
        let row = UserRow {
            id: user.id,
            email: email.map(Cow::Owned),
            phone_number: phone_number.map(Cow::Owned),
            preferred_username: preferred_username.map(Cow::Owned),
            given_name: given_name.map(Cow::Owned),
            family_name: family_name.map(Cow::Owned),
            attributes: row.attributes.map(Cow::Owned),
            metadata: row.metadata.map(Cow::Owned),
            profile: row.profile.map(Cow::Owned),
            changes: version - before.unwrap_or(0),
        };
        match before {
            Some(before) if user.row => updates.push((row, before)),
            Some(_) => {}
            None => inserts.push(row),
        }
    }
    update(connection, &updates).await?;
    insert(connection, tenant, &inserts).await?;
    // Those that were made again just now are there as well.
    let there = if mutant(Mutant::UndoEnrolsNobody) { Vec::new() } else { added.users() };
    added.add(connection, tenant, &there).await?;
    gone.delete(connection).await
}

/// Whether a step is noted: of all users where a part alone is taken back, since an undo of another part may come, and where the import changed
/// some user more than once, since an earlier change may fail and another undo take it back; else where fields were left as they are, or the
/// import may have inserted the user, which this undo then deletes: a user's id tells when it was made.
pub fn is_remembered(step: &Step, undo: &Undo) -> bool {
    let since = undo.since - TimeDelta::from_std(CLOCKS).unwrap_or_default();
    let since = u64::try_from(since.timestamp()).unwrap_or(0);
    let is_young = |id: &Uuid| id.get_timestamp().is_none_or(|made| made.to_unix().0 >= since);
    !undo.is_whole() || !undo.once || !step.kept.is_empty() || undo.inserts && is_young(&step.user)
}

/// Notes which fields were left as they are, and which were given back; and of which earlier version users are again.
async fn write_steps(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    steps: &[Step],
    undo: &Undo,
) -> Result<(), StoreError> {
    let steps: Vec<&Step> = steps.iter().filter(|step| is_remembered(step, undo)).collect();
    if steps.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = steps.iter().map(|step| step.user).collect();
    let versions: Vec<i32> = steps.iter().map(|step| step.version).collect();
    let earlier: Vec<i32> = steps.iter().map(|step| step.stands_for).collect();
    // An array of arrays must be rectangular, so the lists come as JSON.
    let kept: Vec<String> =
        steps.iter().map(|step| serde_json::to_string(&step.kept).unwrap_or_default()).collect();
    let given_back = steps.iter().map(|step| {
        let some = Some(&step.given_back).filter(|given_back| !given_back.is_empty())?;
        serde_json::to_string(some).ok()
    });
    let given_back: Vec<Option<String>> = given_back.collect();
    sqlx::query!(
        "insert into undo_steps (import_id, user_id, tenant_id, version, stands_for, kept, given_back)
         select $1, user_id, $2, version, stands_for, array(select json_array_elements_text(kept::json)), given_back::jsonb
           from unnest($3::uuid[], $4::int[], $5::int[], $6::text[], $7::text[])
                as new (user_id, version, stands_for, kept, given_back)
         on conflict (import_id, user_id) do update
            set version = excluded.version, stands_for = excluded.stands_for, kept = undo_steps.kept || excluded.kept,
                given_back = coalesce(undo_steps.given_back || excluded.given_back, undo_steps.given_back, excluded.given_back)",
        import.get(),
        tenant.get(),
        &ids,
        &versions,
        &earlier,
        &kept,
        &given_back as &[Option<String>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
