//! Users, to be read. They are written by applied chunks, and one at a time for front doors ([`upsert`](super::upsert)).

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::PgExecutor;
use sqlx::types::Json;
use uuid::Uuid;

use super::StoreError;
use crate::id::{TenantId, UserId};
use crate::options::IdentifierField;
use crate::user::{Membership, User};

struct UserRow {
    id: Uuid,
    email: Option<String>,
    phone_number: Option<String>,
    preferred_username: Option<String>,
    given_name: Option<String>,
    family_name: Option<String>,
    attributes: Option<Json<Map<String, Value>>>,
    metadata: Option<Json<Map<String, Value>>>,
    memberships: Json<Vec<Membership>>,
    version: i32,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        let object = |value: Option<Json<Map<String, Value>>>| value.map(|json| json.0).unwrap_or_default();
        Self {
            id: UserId(row.id),
            email: row.email,
            phone_number: row.phone_number,
            preferred_username: row.preferred_username,
            given_name: row.given_name,
            family_name: row.family_name,
            metadata: object(row.metadata),
            memberships: row.memberships.0,
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
            UserRow,
            r#"
            select u.id, u.email, u.phone_number, u.preferred_username, u.given_name, u.family_name,
                   u.attributes as "attributes: _", u.metadata as "metadata: _",
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
    let row = user_where!("u.id = $2", tenant.0, id.0).fetch_optional(executor).await?;
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
        IdentifierField::Email => user_where!("u.email = $2", tenant.0, key).fetch_optional(executor).await,
        IdentifierField::PhoneNumber => {
            user_where!("u.phone_number = $2", tenant.0, key).fetch_optional(executor).await
        }
        IdentifierField::PreferredUsername => {
            user_where!("u.preferred_username = $2", tenant.0, key).fetch_optional(executor).await
        }
    };
    Ok(row?.map(User::from))
}
