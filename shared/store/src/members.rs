//! Members of an organization, one by one and as a list: what a front door shows of them, and where they are enrolled.

use muster_domain::id::TenantId;
use muster_domain::normalise::fold_name;
use muster_domain::options::Enrolment;
use muster_domain::plan::{ExistingUser, UserRow};
use muster_domain::profile::Profile;
use muster_domain::tenant::Slug;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::StoreError;

/// A user as a member of an organization is shown.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Member {
    /// Id.
    pub id: Uuid,
    /// Normalised e-mail address.
    pub email: Option<String>,
    /// Given name.
    pub given_name: Option<String>,
    /// Family name.
    pub family_name: Option<String>,
    /// Metadata as JSON text of an object, `None` for none.
    pub metadata: Option<String>,
    /// Everything beyond the columns.
    pub profile: Profile,
}

struct MemberRow {
    id: Uuid,
    email: Option<String>,
    given_name: Option<String>,
    family_name: Option<String>,
    metadata: Option<String>,
    profile: Option<String>,
}

impl TryFrom<MemberRow> for Member {
    type Error = StoreError;

    fn try_from(row: MemberRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            email: row.email,
            given_name: row.given_name,
            family_name: row.family_name,
            metadata: row.metadata,
            profile: Profile::parse(row.profile.as_deref())
                .ok_or_else(|| StoreError::corrupt("users", "profile", row.id))?,
        })
    }
}

impl From<ExistingUser> for Member {
    fn from(user: ExistingUser) -> Self {
        Self {
            id: user.id,
            email: user.email,
            given_name: user.given_name,
            family_name: user.family_name,
            metadata: user.metadata,
            profile: user.profile.map(|profile| *profile).unwrap_or_default(),
        }
    }
}

impl From<UserRow<'_>> for Member {
    fn from(row: UserRow<'_>) -> Self {
        let owned = |text: Option<std::borrow::Cow<'_, str>>| text.map(std::borrow::Cow::into_owned);
        Self {
            id: row.id,
            // The planner wrote it, so it reads back.
            profile: Profile::parse(row.profile.as_deref()).unwrap_or_default(),
            email: owned(row.email),
            given_name: owned(row.given_name),
            family_name: owned(row.family_name),
            metadata: owned(row.metadata),
        }
    }
}

/// Where to enrol: the organization of that slug and the group of that name; group id 0 where the group is not there yet.
/// `None` where the organization is not.
pub async fn enrolment(
    connection: &mut PgConnection,
    tenant: TenantId,
    organization: &Slug,
    group: &str,
) -> Result<Option<Enrolment>, StoreError> {
    let row = sqlx::query!(
        "select o.id as organization_id, g.id as \"group_id?\"
           from organizations as o
           left join catalog_names as g on g.tenant_id = o.tenant_id and g.kind = 'group' and g.key = $3
          where o.tenant_id = $1 and o.slug = $2",
        tenant.get(),
        organization.as_str(),
        &*fold_name(group),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Enrolment { organization_id: row.organization_id, group_id: row.group_id.unwrap_or(0) }))
}

/// The member of the organization with this e-mail address. `email` is the normalised value: the store does not fold.
pub async fn find(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    organization: &Slug,
    email: &str,
) -> Result<Option<Member>, StoreError> {
    let row = sqlx::query_as!(
        MemberRow,
        "select u.id, u.email, u.given_name, u.family_name, u.metadata::text, u.profile::text
           from users as u
          where u.tenant_id = $1 and u.email = $3
            and exists (select from memberships as m
                          join organizations as o on o.id = m.organization_id
                         where m.user_id = u.id and o.tenant_id = $1 and o.slug = $2)",
        tenant.get(),
        organization.as_str(),
        email,
    )
    .fetch_optional(executor)
    .await?;
    row.map(Member::try_from).transpose()
}

/// A page of the organization's members that have an e-mail address, in the order in which they came: those whose id is
/// greater than `after`. Less than `limit` is the last page.
pub async fn page(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    organization: i32,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Member>, StoreError> {
    let rows = sqlx::query_as!(
        MemberRow,
        "select u.id, u.email, u.given_name, u.family_name, null as metadata, u.profile::text
           from (select distinct m.user_id   -- once, in however many groups
                   from memberships as m
                   join users as e on e.id = m.user_id and e.email is not null
                  where m.tenant_id = $1 and m.organization_id = $2 and m.user_id > $3
                  order by m.user_id
                  limit $4) as m
           join users as u on u.id = m.user_id
          order by u.id",
        tenant.get(),
        organization,
        after,
        limit,
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(Member::try_from).collect()
}
