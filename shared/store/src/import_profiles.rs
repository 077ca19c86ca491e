//! A tenant's import profiles: save, list, show, delete.

use chrono::{DateTime, Utc};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::TenantId;
use muster_domain::tenant::Slug;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sqlx::PgExecutor;

use super::audit::{self, Did, Entry};
use super::{Store, StoreError};

/// A named set of options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SavedProfile {
    /// Its name.
    pub name: String,
    /// Options by name, as in a request.
    pub options: Vec<(String, String)>,
    /// When it was saved first.
    pub created_at: DateTime<Utc>,
    /// When it was saved last.
    pub updated_at: DateTime<Utc>,
}

struct ProfileRow {
    name: String,
    options: Value,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<ProfileRow> for SavedProfile {
    type Error = StoreError;

    fn try_from(row: ProfileRow) -> Result<Self, StoreError> {
        let corrupt =
            || StoreError::Corrupt { table: "import_profiles", column: "options", key: row.name.clone() };
        let Value::Object(members) = &row.options else { return Err(corrupt()) };
        let pair = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        let options = members.iter().map(pair).collect::<Option<_>>().ok_or_else(corrupt)?;
        Ok(Self { name: row.name, options, created_at: row.created_at, updated_at: row.updated_at })
    }
}

/// Most profiles of a tenant: all of them are listed at once.
pub const MOST: i64 = 200;

/// First key of the advisory locks under which a tenant's profiles are counted; the second is the tenant. "PROF".
const PROFILES_LOCK: i32 = 0x5052_4f46;

/// Saves a profile; one of that name is replaced. None where the tenant has [`MOST`] of other names.
///
/// A tenant's profiles are saved one at a time: each statement counts what was committed before it, and two that count at the same
/// moment would both find the last free place.
pub async fn save(
    store: &Store,
    tenant: TenantId,
    name: &Slug,
    options: &[(String, String)],
) -> Result<Option<SavedProfile>, StoreError> {
    match save_over(store, tenant, name, options, |_| true).await? {
        Saved::Done(saved) => Ok(Some(saved)),
        Saved::TooMany | Saved::Changed => Ok(None),
    }
}

/// What saving over what was seen came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// This is the profile now.
    Done(SavedProfile),
    /// What is there is not what was seen; nothing was saved.
    Changed,
    /// The tenant has [`MOST`] of other names.
    TooMany,
}

/// Saves a profile as [`save`] does, where the one of that name, or that there is none, is what was seen.
pub async fn save_over(
    store: &Store,
    tenant: TenantId,
    name: &Slug,
    options: &[(String, String)],
    is_seen: impl Fn(Option<&SavedProfile>) -> bool,
) -> Result<Saved, StoreError> {
    let members: Map<String, Value> =
        options.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let mut transaction = store.pool().begin().await?;
    if !mutant(Mutant::ProfilesCountedAtOnce) {
        sqlx::query!("select pg_advisory_xact_lock($1, $2)", PROFILES_LOCK, tenant.get())
            .execute(&mut *transaction)
            .await?;
    }
    if !is_seen(get(&mut *transaction, tenant, name).await?.as_ref()) {
        return Ok(Saved::Changed);
    }
    let saved = sqlx::query_as!(
        ProfileRow,
        r#"
        insert into import_profiles (tenant_id, name, options)
        select $1::integer, $2::text, $3::jsonb
         where (select count(*) from import_profiles where tenant_id = $1) < $4
            or exists (select from import_profiles where tenant_id = $1 and name = $2)
        on conflict (tenant_id, name) do update set options = excluded.options, updated_at = now()
        returning name, options, created_at, updated_at
        "#,
        tenant.get(),
        name.as_str(),
        Value::Object(members),
        MOST,
    )
    .fetch_optional(&mut *transaction)
    .await?;
    if saved.is_some() {
        let entry = Entry::of(Did::ProfileSave).named(name.as_str());
        let entry = entry.counting(json!({ "options": options.len() }));
        audit::note(&mut transaction, store, tenant, entry).await?;
    }
    transaction.commit().await?;
    Ok(match saved {
        Some(row) => Saved::Done(row.try_into()?),
        None => Saved::TooMany,
    })
}

/// The profile of this name.
pub async fn get(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    name: &Slug,
) -> Result<Option<SavedProfile>, StoreError> {
    sqlx::query_as!(
        ProfileRow,
        "select name, options, created_at, updated_at from import_profiles where tenant_id = $1 and name = $2",
        tenant.get(),
        name.as_str(),
    )
    .fetch_optional(executor)
    .await?
    .map(SavedProfile::try_from)
    .transpose()
}

/// All of the tenant's profiles, by name.
pub async fn list(executor: impl PgExecutor<'_>, tenant: TenantId) -> Result<Vec<SavedProfile>, StoreError> {
    sqlx::query_as!(
        ProfileRow,
        "select name, options, created_at, updated_at from import_profiles where tenant_id = $1 order by name",
        tenant.get(),
    )
    .fetch_all(executor)
    .await?
    .into_iter()
    .map(SavedProfile::try_from)
    .collect()
}

/// Deletes a profile. False if there is none of that name.
pub async fn delete(store: &Store, tenant: TenantId, name: &Slug) -> Result<bool, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let deleted = sqlx::query!(
        "delete from import_profiles where tenant_id = $1 and name = $2",
        tenant.get(),
        name.as_str(),
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if deleted == 1 {
        let entry = Entry::of(Did::ProfileDelete).named(name.as_str());
        audit::note(&mut transaction, store, tenant, entry).await?;
    }
    transaction.commit().await?;
    Ok(deleted == 1)
}
