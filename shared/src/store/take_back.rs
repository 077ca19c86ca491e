//! Taking changes back: the users concerned are found, the changes are planned ([`plan`]), and the plan is written, in the caller's
//! transaction. What [`upsert`](super::upsert) is to records.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::StoreError;
use super::upsert::{insert, release, update};
use crate::fault::{self, Mutant, Point, mutant};
use crate::id::{ImportId, TenantId};
use crate::options::IdentifierField;
use crate::plan::{ExistingUser, UserRow};
use crate::undo::{
    Change, Found, Kind, Planned, Step, Undo, Written, flat_user, is_membership, plan, row_of,
};

/// How much the clocks of workers may differ: what was made this long before an import began may be of it.
const CLOCKS: Duration = Duration::from_secs(3600);

/// Finds, plans and writes: what taking back the changes, in their order, makes of the tenant's users. Beside it, which import changed
/// users last that are left as they are, as far as that is known.
///
/// A conflict (somebody else was faster) is an error of kind `Conflict`; the transaction must then be rolled back.
pub async fn take_back(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    changes: &[Change],
    undo: &Undo,
) -> Result<(Planned, HashMap<Uuid, ImportId>), StoreError> {
    let found = find(connection, tenant, import, changes).await?;
    let planned = plan(changes, &found, undo);
    fault::point(Point::Planned)?;
    delete(connection, tenant, &planned.deleted).await?;
    let releases: Vec<(Uuid, IdentifierField)> =
        planned.releases.iter().filter_map(|(user, field)| Some((*user, identifier(field)?))).collect();
    release(connection, &releases).await?;
    write(connection, tenant, &planned.written).await?;
    write_steps(connection, tenant, import, &planned.steps, undo.since).await?;
    let kept = changes.iter().zip(&planned.told).filter(|(_, told)| told.is_kept());
    let kept: Vec<Uuid> = kept.map(|(change, _)| change.user).take(ASKED).collect();
    let changed_by = changed_by(connection, tenant, import, undo, &kept).await?;
    Ok((planned, changed_by))
}

/// Most users of a chunk of whom it is asked who changed them.
const ASKED: usize = 20;

/// Which import changed each of these users last, after the one that is undone began to; none where that was no import.
async fn changed_by(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    undo: &Undo,
    users: &[Uuid],
) -> Result<HashMap<Uuid, ImportId>, StoreError> {
    if users.is_empty() {
        return Ok(HashMap::new());
    }
    // The ids of users stand in the outcomes as they are.
    let rows = sqlx::query!(
        r#"select k.id as "id!", later.import_id as "import_id!"
             from unnest($2::uuid[]) as k (id)
            cross join lateral (
                  select b.import_id
                    from before_images as b
                    join chunks as c on c.id = b.chunk_id
                   where b.tenant_id = $1 and b.import_id <> $3 and b.import_id <> $4
                     and b.id > (select min(own.id) from before_images as own where own.import_id = $4)
                     and position(uuid_send(k.id) in c.outcomes) > 0
                   order by b.id desc
                   limit 1) as later"#,
        tenant.get(),
        users,
        import.get(),
        undo.of.get(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, ImportId::new(row.import_id))).collect())
}

fn identifier(field: &str) -> Option<IdentifierField> {
    IdentifierField::ALL.iter().find(|known| known.as_str() == field).copied()
}

/// The users of the changes, and those that have a unique value which one of them had. One statement, so one moment.
async fn find(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    changes: &[Change],
) -> Result<Vec<Found>, StoreError> {
    let ids: Vec<Uuid> = changes.iter().map(|change| change.user).collect();
    let values = |field: IdentifierField| -> Vec<String> {
        let had = changes.iter().filter_map(|change| change.before.get(field.as_str())?.as_str());
        had.map(str::to_owned).collect()
    };
    let paths =
        |change: &Change| change.before.keys().chain(change.after.keys()).any(|path| is_membership(path));
    let enrolled = changes.iter().any(|change| change.kind != Kind::Updated || paths(change));
    let rows = sqlx::query!(
        r#"select u.id as "id!", u.version as "version!", u.email, u.phone_number, u.preferred_username, u.given_name,
                  u.family_name, u.attributes::text, u.metadata::text, u.profile::text,
                  case when $6 then array(select (m.organization_id::bigint << 32) + m.group_id
                                            from memberships as m where m.user_id = u.id) end as memberships,
                  case when s.version = u.version then s.stands_for end as stands_for, s.kept as "kept?"
             from (select user_.*
                     from unnest($2::uuid[]) as k (value)
                    cross join lateral (select * from users where id = k.value and tenant_id = $1 limit 1) as user_
                   union all
                   select user_.*
                     from unnest($3::text[]) as k (value)
                    cross join lateral (select * from users
                                         where tenant_id = $1 and email = k.value collate "C" limit 1) as user_
                   union all
                   select user_.*
                     from unnest($4::text[]) as k (value)
                    cross join lateral (select * from users
                                         where tenant_id = $1 and phone_number = k.value collate "C" limit 1) as user_
                   union all
                   select user_.*
                     from unnest($5::text[]) as k (value)
                    cross join lateral (select * from users
                                         where tenant_id = $1 and preferred_username = k.value collate "C" limit 1) as user_
                  ) as u
             left join undo_steps as s on s.import_id = $7 and s.user_id = u.id"#,
        tenant.get(),
        &ids,
        &values(IdentifierField::Email),
        &values(IdentifierField::PhoneNumber),
        &values(IdentifierField::PreferredUsername),
        enrolled,
        import.get(),
    )
    .fetch_all(connection)
    .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let wrong = |column| StoreError::corrupt("users", column, row.id);
        let profile = row.profile.map(|json| serde_json::from_str(&json)).transpose();
        let user = ExistingUser {
            id: row.id,
            version: row.version,
            email: row.email,
            phone_number: row.phone_number,
            preferred_username: row.preferred_username,
            given_name: row.given_name,
            family_name: row.family_name,
            attributes: row.attributes,
            metadata: row.metadata,
            profile: profile.map_err(|_| wrong("profile"))?,
            enrolled: false,
        };
        // Both are not negative, so that they come apart again.
        let apart =
            |both: i64| Some((i32::try_from(both >> 32).ok()?, i32::try_from(both & 0xffff_ffff).ok()?));
        let memberships: Vec<(i32, i32)> =
            row.memberships.unwrap_or_default().into_iter().filter_map(apart).collect();
        let fields = flat_user(&user, &memberships).ok_or_else(|| wrong("metadata"))?;
        let stands_for = row.stands_for.filter(|_| !mutant(Mutant::UndoForgetsItsSteps));
        let kept = row.kept.unwrap_or_default().into_iter().collect();
        found.push(Found { id: row.id, version: row.version, stands_for, kept, fields });
    }
    found.sort_unstable_by_key(|user| user.id);
    found.dedup_by_key(|user| user.id);
    Ok(found)
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
    if mutant(Mutant::UndoLeavesParts) {
        return Ok(());
    }
    // The users are locked now: whoever enrols one waits, or has ended and is seen.
    let memberships = sqlx::query!("delete from memberships where user_id = any($1)", &ids)
        .execute(&mut *connection)
        .await?;
    if memberships.rows_affected() != deleted.iter().map(|(_, _, count)| *count as u64).sum::<u64>() {
        return Err(StoreError::Conflict("a membership"));
    }
    sqlx::query!("delete from user_credentials where user_id = any($1)", &ids).execute(connection).await?;
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
        added.put(user.id, &user.memberships.0);
        gone.put(user.id, &user.memberships.1);
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
    added.add(connection, tenant).await?;
    gone.delete(connection).await
}

/// Memberships of several users.
#[derive(Default)]
struct Memberships {
    users: Vec<Uuid>,
    organizations: Vec<i32>,
    groups: Vec<i32>,
}

impl Memberships {
    fn put(&mut self, user: Uuid, places: &[(i32, i32)]) {
        for (organization, group) in places {
            self.users.push(user);
            self.organizations.push(*organization);
            self.groups.push(*group);
        }
    }

    async fn add(&self, connection: &mut PgConnection, tenant: TenantId) -> Result<(), StoreError> {
        if self.users.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "insert into memberships (user_id, organization_id, group_id, tenant_id)
             select user_id, organization_id, group_id, $1
               from unnest($2::uuid[], $3::int[], $4::int[]) as new (user_id, organization_id, group_id)
             on conflict do nothing",
            tenant.get(),
            &self.users,
            &self.organizations,
            &self.groups,
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn delete(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
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

/// Notes which fields were left as they are; and of which earlier version users are again, where the import may have inserted them: a
/// user's id tells when it was made.
async fn write_steps(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    steps: &[Step],
    since: DateTime<Utc>,
) -> Result<(), StoreError> {
    let since = since - TimeDelta::from_std(CLOCKS).unwrap_or_default();
    let since = u64::try_from(since.timestamp()).unwrap_or(0);
    let young = |id: &Uuid| id.get_timestamp().is_none_or(|made| made.to_unix().0 >= since);
    let steps: Vec<&Step> = steps.iter().filter(|step| !step.kept.is_empty() || young(&step.user)).collect();
    if steps.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = steps.iter().map(|step| step.user).collect();
    let versions: Vec<i32> = steps.iter().map(|step| step.version).collect();
    let earlier: Vec<i32> = steps.iter().map(|step| step.stands_for).collect();
    // An array of arrays must be rectangular, so the lists come as JSON.
    let kept: Vec<String> =
        steps.iter().map(|step| serde_json::to_string(&step.kept).unwrap_or_default()).collect();
    sqlx::query!(
        "insert into undo_steps (import_id, user_id, tenant_id, version, stands_for, kept)
         select $1, user_id, $2, version, stands_for, array(select json_array_elements_text(kept::json))
           from unnest($3::uuid[], $4::int[], $5::int[], $6::text[]) as new (user_id, version, stands_for, kept)
         on conflict (import_id, user_id) do update
            set version = excluded.version, stands_for = excluded.stands_for, kept = undo_steps.kept || excluded.kept",
        import.get(),
        tenant.get(),
        &ids,
        &versions,
        &earlier,
        &kept,
    )
    .execute(connection)
    .await?;
    Ok(())
}
