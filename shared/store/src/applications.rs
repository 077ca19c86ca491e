//! Members of applications: users of an organization whom clients registered for an application (contracts C.5).
//!
//! Projects and applications are slugs and nothing more: each exists as soon as somebody is registered with it.

use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::TenantId;
use muster_domain::plan::merged;
use muster_domain::tenant::Slug;
use serde_json::{Map, Value};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::StoreError;

/// An application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Application<'a> {
    /// Id of the organization.
    pub organization_id: i32,
    /// Slug of the project.
    pub project: &'a Slug,
    /// Slug of the application in the project.
    pub application: &'a Slug,
}

/// What an application has about one of its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationMember {
    /// JSON text of an object.
    pub custom_fields: String,
    /// What the last registration said.
    pub active: bool,
}

/// Makes a user a member, or changes the member that it is: custom fields are merged into those that are there.
///
/// In the caller's transaction. Registrations of one user wait for each other, and each sees what the one before wrote. One that changes
/// something raises the user's version, so that an undo of the import that made the user counts it as a touch and leaves the user.
pub async fn register(
    connection: &mut PgConnection,
    tenant: TenantId,
    place: Application<'_>,
    user: Uuid,
    custom_fields: Option<&Map<String, Value>>,
    active: bool,
) -> Result<ApplicationMember, StoreError> {
    let (project, application) = (place.project.as_str(), place.application.as_str());
    let new = enter(connection, tenant, place, user).await?;
    let stored = sqlx::query_scalar!(
        r#"select custom_fields::text as "custom_fields!"
             from application_members
            where tenant_id = $1 and organization_id = $2 and project = $3 and application = $4 and user_id = $5
              for update"#,
        tenant.get(),
        place.organization_id,
        project,
        application,
        user,
    )
    .fetch_optional(&mut *connection)
    .await?
    // The user was deleted since it was found: an undo may do that.
    .ok_or(StoreError::Conflict("a user"))?;
    let custom_fields = match custom_fields {
        Some(sent) => merged(&stored, sent),
        None => stored,
    };
    // The row is there, and locked: it is not written where nothing of it changes.
    let changed = sqlx::query!(
        "update application_members
            set custom_fields = $6::text::jsonb, active = $7
          where tenant_id = $1 and organization_id = $2 and project = $3 and application = $4 and user_id = $5
            and (custom_fields <> $6::text::jsonb or active <> $7)",
        tenant.get(),
        place.organization_id,
        project,
        application,
        user,
        custom_fields,
        active,
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if new + changed > 0 && !mutant(Mutant::RegistrationIsNoTouch) {
        touch(connection, tenant, user).await?;
    }
    Ok(ApplicationMember { custom_fields, active })
}

/// Makes a user that is there a member, unless it is one. How many became one.
async fn enter(
    connection: &mut PgConnection,
    tenant: TenantId,
    place: Application<'_>,
    user: Uuid,
) -> Result<u64, StoreError> {
    let entered = sqlx::query!(
        "insert into application_members (tenant_id, organization_id, project, application, user_id)
         select tenant_id, $2, $3, $4, id
           from users
          where id = $5 and tenant_id = $1
            for key share
         on conflict (organization_id, project, application, user_id) do nothing",
        tenant.get(),
        place.organization_id,
        place.project.as_str(),
        place.application.as_str(),
        user,
    )
    .execute(connection)
    .await?;
    Ok(entered.rows_affected())
}

/// Raises a user's version and changes nothing of the user itself.
async fn touch(connection: &mut PgConnection, tenant: TenantId, user: Uuid) -> Result<(), StoreError> {
    let touched = sqlx::query!(
        "update users set version = version + 1 where id = $1 and tenant_id = $2",
        user,
        tenant.get(),
    )
    .execute(connection)
    .await?;
    if touched.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Conflict("a user")) }
}

/// Whether the user with this e-mail address has no username. It gets none meanwhile but from the caller's transaction.
pub async fn lock_nameless(
    connection: &mut PgConnection,
    tenant: TenantId,
    email: &str,
) -> Result<bool, StoreError> {
    let nameless = sqlx::query_scalar!(
        r#"select preferred_username is null as "nameless!"
             from users
            where tenant_id = $1 and email = $2
              for update"#,
        tenant.get(),
        email,
    )
    .fetch_optional(connection)
    .await?;
    Ok(nameless.unwrap_or(false))
}

/// Whether the organization has a member with this e-mail address or this username. Both are normalised values.
pub async fn has_member(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    organization: &Slug,
    email: Option<&str>,
    username: Option<&str>,
) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar!(
        r#"select exists (select from users as u
                           where u.tenant_id = $1 and (u.email = $3 or u.preferred_username = $4)
                             and exists (select from memberships as m
                                           join organizations as o on o.id = m.organization_id
                                          where m.user_id = u.id and o.tenant_id = $1 and o.slug = $2)) as "found!""#,
        tenant.get(),
        organization.as_str(),
        email,
        username,
    )
    .fetch_one(executor)
    .await?;
    Ok(found)
}
