//! Reading users. They are written by chunks, and singly for front doors ([`upsert`](super::upsert)).

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use muster_domain::id::{TenantId, UserId};
use muster_domain::options::IdentifierField;
use muster_domain::profile::Profile;
use muster_domain::user::{Membership, SecondFactors, User};
use serde_json::{Map, Value};
use sqlx::PgExecutor;
use sqlx::types::Json;
use uuid::Uuid;

use super::StoreError;

struct ListedUserRow {
    id: Uuid,
    email: Option<String>,
    phone_number: Option<String>,
    preferred_username: Option<String>,
    given_name: Option<String>,
    family_name: Option<String>,
    attributes: Option<Json<Map<String, Value>>>,
    metadata: Option<Json<Map<String, Value>>>,
    profile: Option<Json<Profile>>,
    /// Names of the catalog that the profile has the ids of.
    names: Json<BTreeMap<i32, String>>,
    memberships: Json<Vec<Membership>>,
    version: i32,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<ListedUserRow> for User {
    fn from(row: ListedUserRow) -> Self {
        let object = |value: Option<Json<Map<String, Value>>>| value.map(|json| json.0).unwrap_or_default();
        let profile = row.profile.map(|json| json.0).unwrap_or_default();
        // An id whose name has left the catalog has no name, and is not shown.
        let names = |ids: &BTreeSet<i32>| {
            let mut names: Vec<String> = ids.iter().filter_map(|id| row.names.get(id).cloned()).collect();
            names.sort_unstable();
            names
        };
        Self {
            id: UserId::new(row.id),
            email: row.email,
            phone_number: row.phone_number,
            preferred_username: row.preferred_username,
            given_name: row.given_name,
            family_name: row.family_name,
            metadata: object(row.metadata),
            memberships: row.memberships.0,
            email_verified: profile.email_verified,
            phone_number_verified: profile.phone_number_verified,
            roles: names(&profile.roles),
            groups: names(&profile.groups),
            teams: names(&profile.teams),
            location: profile.location.and_then(|id| row.names.get(&id).cloned()),
            disabled: profile.disabled_at.is_some(),
            disabled_at: profile.disabled_at,
            account_valid_from: profile.valid_from,
            account_valid_until: profile.valid_until,
            locked: profile.locked,
            mfa: SecondFactors { email: profile.mfa_email, phone_number: profile.mfa_phone_number },
            addresses: profile.addresses,
            agent: profile.agent,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
            attributes: object(row.attributes),
        }
    }
}

/// One whole user; the condition is all that differs. One statement, so that the memberships fit the user.
macro_rules! user_where {
    ($condition:tt, $($argument:expr),+) => {
        sqlx::query_as!(
            ListedUserRow,
            r#"
            select u.id, u.email, u.phone_number, u.preferred_username, u.given_name, u.family_name,
                   u.attributes as "attributes: _", u.metadata as "metadata: _", u.profile as "profile: _",
                   coalesce(
                       (select json_object_agg(c.id, c.name)
                        from   catalog_names as c
                        where  c.tenant_id = u.tenant_id
                        and    u.profile is not null
                        and    c.id in (select jsonb_array_elements_text(
                                                   coalesce(u.profile -> 'roles', '[]') || coalesce(u.profile -> 'groups', '[]')
                                                   || coalesce(u.profile -> 'teams', '[]')
                                                   || coalesce(u.profile -> 'location', '[]'))::integer)),
                       '{}'
                   ) as "names!: _",
                   coalesce(
                       (select json_agg(json_build_object('organization', o.slug, 'group', g.name) order by o.slug, g.key)
                        from   memberships as m
                        join   organizations as o on o.id = m.organization_id
                        left   join catalog_names as g on g.id = m.group_id
                        where  m.user_id = u.id),
                       '[]'
                   ) as "memberships!: _",
                   u.version, u.created_at, u.updated_at
            from   users as u
            where  u.tenant_id = $1 and "# + $condition,
            $($argument),+
        )
    };
}

/// The tenant's user with this id.
pub async fn get(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    id: UserId,
) -> Result<Option<User>, StoreError> {
    let row = user_where!("u.id = $2", tenant.get(), id.get()).fetch_optional(executor).await?;
    Ok(row.map(User::from))
}

/// The tenant's user that has this value in a unique field. `key` is the normalised value: the store does not fold.
pub async fn find(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    field: IdentifierField,
    key: &str,
) -> Result<Option<User>, StoreError> {
    let row = match field {
        IdentifierField::Email => {
            user_where!("u.email = $2", tenant.get(), key).fetch_optional(executor).await
        }
        IdentifierField::PhoneNumber => {
            user_where!("u.phone_number = $2", tenant.get(), key).fetch_optional(executor).await
        }
        IdentifierField::PreferredUsername => {
            user_where!("u.preferred_username = $2", tenant.get(), key).fetch_optional(executor).await
        }
    };
    Ok(row?.map(User::from))
}

/// Which users to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserFilter<'f> {
    /// Those after this one only.
    pub after: Option<UserId>,
    /// Those in this organization only, by its slug.
    pub organization: Option<&'f str>,
    /// Those that were changed since then only.
    pub updated_since: Option<DateTime<Utc>>,
}

/// Up to `limit` of the tenant's users, in the order of their ids, which is that of their coming.
pub async fn page(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    filter: UserFilter<'_>,
    limit: i64,
) -> Result<Vec<User>, StoreError> {
    let after = filter.after.map_or(Uuid::nil(), |user| user.get());
    let rows = user_where!(
        r#"u.id > $2
            and    ($3::timestamptz is null or u.updated_at >= $3)
            and    ($4::text is null or exists (
                       select from memberships as m join organizations as o on o.id = m.organization_id
                       where  m.user_id = u.id and o.slug = $4))
            order by u.id
            limit  $5"#,
        tenant.get(),
        after,
        filter.updated_since,
        filter.organization,
        limit
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(User::from).collect())
}
