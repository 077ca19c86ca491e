//! Users with their profiles, many at a time: for clients that mirror them.
//! Profiles of imports are in [`import_profiles`](crate::import_profiles).

use muster_domain::id::{TenantId, UserId};
use muster_domain::profile::Profile;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::StoreError;
use super::convert::wide;

/// A user, as far as such a client is concerned.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfiledUser {
    /// Id.
    pub id: UserId,
    /// Normalised e-mail address.
    pub email: String,
    /// Given name.
    pub given_name: Option<String>,
    /// Family name.
    pub family_name: Option<String>,
    /// Everything else.
    pub profile: Profile,
}

/// Which users are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Those with one of these normalised e-mail addresses.
    Emails(Vec<String>),
    /// Those with one of these ids.
    Ids(Vec<Uuid>),
    /// Agents with one of these numbers.
    AgentNumbers(Vec<String>),
}

struct Row {
    id: Uuid,
    email: String,
    given_name: Option<String>,
    family_name: Option<String>,
    profile: Option<String>,
}

impl TryFrom<Row> for ProfiledUser {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let profile = Profile::parse(row.profile.as_deref());
        Ok(Self {
            id: UserId::new(row.id),
            email: row.email,
            given_name: row.given_name,
            family_name: row.family_name,
            profile: profile.ok_or_else(|| StoreError::corrupt("users", "profile", row.id))?,
        })
    }
}

/// The tenant's users that are wanted, each once, by e-mail address. One without an e-mail address is none of them.
pub async fn chosen(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    wanted: &Wanted,
) -> Result<Vec<ProfiledUser>, StoreError> {
    let rows = match wanted {
        Wanted::Emails(emails) => {
            sqlx::query_as!(
                Row,
                r#"select id, email as "email!", given_name, family_name, profile::text
                     from users
                    where tenant_id = $1 and email = any($2)
                    order by email"#,
                tenant.get(),
                emails,
            )
            .fetch_all(executor)
            .await?
        }
        Wanted::Ids(ids) => {
            sqlx::query_as!(
                Row,
                r#"select id, email as "email!", given_name, family_name, profile::text
                     from users
                    where tenant_id = $1 and id = any($2) and email is not null
                    order by email"#,
                tenant.get(),
                ids,
            )
            .fetch_all(executor)
            .await?
        }
        Wanted::AgentNumbers(numbers) => {
            // One look into the index of agents a number; the condition is that index's own.
            sqlx::query_as!(
                Row,
                r#"select u.id as "id!", u.email as "email!", u.given_name, u.family_name, u.profile
                     from (select distinct value from unnest($2::text[]) as n (value)) as wanted
                    cross join lateral (select id, email, given_name, family_name, profile::text
                                          from users
                                         where tenant_id = $1 and email is not null
                                           and profile #>> '{agent,agent_number}' is not null
                                           and profile #>> '{agent,agent_number}' = wanted.value) as u
                    order by u.email"#,
                tenant.get(),
                numbers,
            )
            .fetch_all(executor)
            .await?
        }
    };
    rows.into_iter().map(ProfiledUser::try_from).collect()
}

/// Some of the tenant's users that have an e-mail address, by it.
pub async fn page(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    offset: u64,
    limit: u64,
) -> Result<Vec<ProfiledUser>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"select id, email as "email!", given_name, family_name, profile::text
             from users
            where tenant_id = $1 and email is not null
            order by email
           offset $2
            limit $3"#,
        tenant.get(),
        wide(offset),
        wide(limit),
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(ProfiledUser::try_from).collect()
}

/// How many users of the tenant have an e-mail address.
pub async fn count(executor: impl PgExecutor<'_>, tenant: TenantId) -> Result<u64, StoreError> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from users where tenant_id = $1 and email is not null"#,
        tenant.get(),
    )
    .fetch_one(executor)
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}
