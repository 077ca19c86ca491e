//! Tenants: create, find, list, disable and enable.

use chrono::{DateTime, Utc};
use muster_domain::id::TenantId;
use muster_domain::tenant::{Slug, Tenant};
use sqlx::PgExecutor;

use super::{Created, Store, StoreError, dispatch};

struct TenantRow {
    id: i32,
    slug: String,
    name: String,
    created_at: DateTime<Utc>,
    disabled_at: Option<DateTime<Utc>>,
}

impl TryFrom<TenantRow> for Tenant {
    type Error = StoreError;

    fn try_from(row: TenantRow) -> Result<Self, StoreError> {
        let slug = row.slug.parse().map_err(|_| StoreError::corrupt("tenants", "slug", row.id))?;
        Ok(Self {
            id: TenantId::new(row.id),
            slug,
            name: row.name,
            created_at: row.created_at,
            disabled_at: row.disabled_at,
        })
    }
}

/// A tenant as its row says.
pub(super) fn read(
    id: i32,
    slug: String,
    name: String,
    created_at: DateTime<Utc>,
    disabled_at: Option<DateTime<Utc>>,
) -> Result<Tenant, StoreError> {
    TenantRow { id, slug, name, created_at, disabled_at }.try_into()
}

/// Creates a tenant, unless one has the slug.
pub async fn create(store: &Store, slug: &Slug, name: &str) -> Result<Created<Tenant>, StoreError> {
    let row = sqlx::query_as!(
        TenantRow,
        r#"
        insert into tenants (slug, name) values ($1, $2)
        on conflict (slug) do nothing
        returning id, slug, name, created_at, disabled_at
        "#,
        slug.as_str(),
        name,
    )
    .fetch_optional(store.pool())
    .await?;
    match row {
        Some(row) => Ok(Created::New(row.try_into()?)),
        None => match find_by_slug(store.pool(), slug).await? {
            Some(tenant) => Ok(Created::Existing(tenant)),
            // Tenants are not deleted.
            None => Err(StoreError::Conflict("the tenant")),
        },
    }
}

/// Makes sure that there is a tenant `default` with an organization `default`: what the embedded default starts with.
pub async fn ensure_default(store: &Store) -> Result<Created<Tenant>, StoreError> {
    // One statement, so that a crash leaves either both or neither, and two programs that start at once make one pair.
    let created = sqlx::query!(
        r#"
        with tenant as (
            insert into tenants (slug, name) values ($1, 'Default')
            on conflict (slug) do nothing
            returning id
        )
        insert into organizations (tenant_id, slug, name)
        select id, $1, 'Default' from tenant
        "#,
        Slug::DEFAULT,
    )
    .execute(store.pool())
    .await?
    .rows_affected();
    let slug = Slug::DEFAULT.parse().map_err(|_| StoreError::Program("the default slug is none".into()))?;
    match (find_by_slug(store.pool(), &slug).await?, created) {
        (Some(tenant), 0) => Ok(Created::Existing(tenant)),
        (Some(tenant), _) => Ok(Created::New(tenant)),
        (None, _) => Err(StoreError::Conflict("the tenant")),
    }
}

/// The tenant with this slug.
pub async fn find_by_slug(executor: impl PgExecutor<'_>, slug: &Slug) -> Result<Option<Tenant>, StoreError> {
    sqlx::query_as!(
        TenantRow,
        "select id, slug, name, created_at, disabled_at from tenants where slug = $1",
        slug.as_str(),
    )
    .fetch_optional(executor)
    .await?
    .map(Tenant::try_from)
    .transpose()
}

/// All tenants, by slug.
pub async fn list(executor: impl PgExecutor<'_>) -> Result<Vec<Tenant>, StoreError> {
    sqlx::query_as!(TenantRow, "select id, slug, name, created_at, disabled_at from tenants order by slug")
        .fetch_all(executor)
        .await?
        .into_iter()
        .map(Tenant::try_from)
        .collect()
}

/// Disables a tenant, or enables it again. If a tenant is disabled, its credentials are refused and no more
/// of its chunks go to the workers. Chunks that are with the workers are still applied. `None` if there is no
/// such tenant; doing it twice changes nothing.
pub async fn set_disabled(store: &Store, slug: &Slug, disabled: bool) -> Result<Option<Tenant>, StoreError> {
    let tenant = sqlx::query_as!(
        TenantRow,
        "update tenants
            set disabled_at = case when $2 then coalesce(disabled_at, now()) end
          where slug = $1
         returning id, slug, name, created_at, disabled_at",
        slug.as_str(),
        disabled,
    )
    .fetch_optional(store.pool())
    .await?
    .map(Tenant::try_from)
    .transpose()?;
    if !disabled {
        // What waited goes on now.
        dispatch::wake(store).await?;
    }
    Ok(tenant)
}
