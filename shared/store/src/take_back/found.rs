//! The users that an undo has to do with, as they are.

use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::options::IdentifierField;
use muster_domain::plan::ExistingUser;
use muster_domain::undo::{Change, Found, GivenBack, Kind, add_given_back, flat_user, is_membership};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, Row as _};
use uuid::Uuid;

use crate::StoreError;

/// Whether memberships of users are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadMemberships {
    /// If a change of these needs them.
    IfNeeded,
    /// Always: what is found is kept for later chunks, and a change of theirs may need them.
    Always,
}

/// The users of the changes, and those that have a unique value which one of them had. One statement, so one moment.
pub(crate) async fn find(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    of: ImportId,
    changes: &[Change],
    memberships: ReadMemberships,
) -> Result<Vec<Found>, StoreError> {
    let ids: Vec<Uuid> = changes.iter().map(|change| change.user).collect();
    let values = |field: IdentifierField| -> Vec<String> {
        let had = changes.iter().filter_map(|change| change.before.get(field.as_str())?.as_str());
        had.map(str::to_owned).collect()
    };
    let paths =
        |change: &Change| change.before.keys().chain(change.after.keys()).any(|path| is_membership(path));
    let all = memberships == ReadMemberships::Always && !mutant(Mutant::PlanForgetsMemberships);
    let enrolled = all || changes.iter().any(|change| change.kind != Kind::Updated || paths(change));
    let values = [IdentifierField::Email, IdentifierField::PhoneNumber, IdentifierField::PreferredUsername]
        .map(values);
    let rows = rows(connection, tenant, (import, of), &ids, values, enrolled).await?;
    let mut found = rows.into_iter().map(FoundRow::found).collect::<Result<Vec<_>, _>>()?;
    found.sort_unstable_by_key(|user| user.id);
    found.dedup_by_key(|user| user.id);
    Ok(found)
}

/// The undos of an import, and whether one of them has noted a step of anybody: the head of a statement. Takes the parameter that is the
/// import; `$1` is the tenant.
macro_rules! noted_steps {
    ($import:literal) => {
        concat!(
            "with undos as materialized (
                  select array(select undo.id from imports as undo where undo.undoes = ",
            $import,
            " and undo.tenant_id = $1) as ids
            ), steps as materialized (
                  select exists (select from undos, unnest(ids) as undo (id)
                                  cross join lateral (select from undo_steps as noted where noted.import_id = undo.id
                                                       order by noted.import_id, noted.user_id limit 1) as first) as noted
            )
            "
        )
    };
}
pub(super) use noted_steps;

/// The users of the changes, and who has a value that one of them had; with what the undos of the import left of each.
///
/// The undos of the import are an array, so that the steps of a user are found by both columns of their key. With a join the database looked
/// for them by the user alone, and read the whole index for each user. Where no undo of the import has noted a step, nothing is looked up.
///
/// Not a checked macro: a test asks how the database goes about the same text.
pub(super) const FOUND: &str = concat!(
    noted_steps!("$8"),
    r#"
   select u.id, u.version, u.email, u.phone_number, u.preferred_username, u.given_name,
          u.family_name, u.attributes::text, u.metadata::text, u.profile::text,
          case when $6 then array(select (m.organization_id::bigint << 32) + m.group_id
                                    from memberships as m where m.user_id = u.id) end as memberships,
          case when (select noted from steps) then (
                select min(s.stands_for)
                  from undo_steps as s
                 where s.user_id = u.id and s.version = u.version and s.import_id = any((select ids from undos)::uuid[])
          ) end as stands_for,
          case when (select noted from steps) then (
                select s.kept from undo_steps as s where s.import_id = $7 and s.user_id = u.id
          ) end as kept,
          case when (select noted from steps) then array(
                select s.given_back::text
                  from undo_steps as s
                 where s.user_id = u.id and s.given_back is not null and s.import_id = any((select ids from undos)::uuid[])
          ) end as given_back
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
          ) as u"#
);

async fn rows(
    connection: &mut PgConnection,
    tenant: TenantId,
    (import, of): (ImportId, ImportId),
    ids: &[Uuid],
    [emails, phone_numbers, usernames]: [Vec<String>; 3],
    enrolled: bool,
) -> Result<Vec<FoundRow>, StoreError> {
    sqlx::query_as(FOUND)
        .bind(tenant.get())
        .bind(ids)
        .bind(&emails)
        .bind(&phone_numbers)
        .bind(&usernames)
        .bind(enrolled)
        .bind(import.get())
        .bind(of.get())
        .fetch_all(connection)
        .await
        .map_err(StoreError::from)
}

/// A user as [`FOUND`] tells it.
pub(super) struct FoundRow {
    id: Uuid,
    version: i32,
    email: Option<String>,
    phone_number: Option<String>,
    preferred_username: Option<String>,
    given_name: Option<String>,
    family_name: Option<String>,
    attributes: Option<String>,
    metadata: Option<String>,
    profile: Option<String>,
    /// Organization and group of each in one number.
    memberships: Option<Vec<i64>>,
    /// Of this undo, or of others of the same import that took a part back.
    stands_for: Option<i32>,
    kept: Option<Vec<String>>,
    /// Of this undo and others of the same import.
    given_back: Option<Vec<String>>,
}

/// By position: fourteen names are not looked up for each user.
impl<'r> FromRow<'r, PgRow> for FoundRow {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get(0)?,
            version: row.try_get(1)?,
            email: row.try_get(2)?,
            phone_number: row.try_get(3)?,
            preferred_username: row.try_get(4)?,
            given_name: row.try_get(5)?,
            family_name: row.try_get(6)?,
            attributes: row.try_get(7)?,
            metadata: row.try_get(8)?,
            profile: row.try_get(9)?,
            memberships: row.try_get(10)?,
            stands_for: row.try_get(11)?,
            kept: row.try_get(12)?,
            given_back: row.try_get(13)?,
        })
    }
}

impl FoundRow {
    pub(super) fn found(self) -> Result<Found, StoreError> {
        let wrong = |column| StoreError::corrupt("users", column, self.id);
        let profile = self.profile.map(|json| serde_json::from_str(&json)).transpose();
        let user = ExistingUser {
            id: self.id,
            version: self.version,
            email: self.email,
            phone_number: self.phone_number,
            preferred_username: self.preferred_username,
            given_name: self.given_name,
            family_name: self.family_name,
            attributes: self.attributes,
            metadata: self.metadata,
            profile: profile.map_err(|_| wrong("profile"))?,
            enrolled: false,
        };
        // Both are not negative, so that they come apart again.
        let apart =
            |both: i64| Some((i32::try_from(both >> 32).ok()?, i32::try_from(both & 0xffff_ffff).ok()?));
        let memberships: Vec<(i32, i32)> =
            self.memberships.unwrap_or_default().into_iter().filter_map(apart).collect();
        let fields = flat_user(&user, &memberships).ok_or_else(|| wrong("metadata"))?;
        let stands_for = self.stands_for.filter(|_| !mutant(Mutant::UndoForgetsItsSteps));
        let kept = self.kept.unwrap_or_default().into_iter().collect();
        let mut given_back = GivenBack::new();
        for step in self.given_back.unwrap_or_default() {
            let step = serde_json::from_str(&step);
            let step = step.map_err(|_| StoreError::corrupt("undo_steps", "given_back", self.id))?;
            add_given_back(&mut given_back, step);
        }
        Ok(Found { id: self.id, version: self.version, stands_for, kept, given_back, fields })
    }
}
