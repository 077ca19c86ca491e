//! The catalog: read and replaced as a whole, and lookups of its names.

use std::collections::BTreeMap;

use muster_domain::catalog::{AttributeDefinition, Catalog, CatalogKind, FieldError, Limits, Organization};
use muster_domain::error::ErrorCode;
use muster_domain::id::{GroupId, OrganizationId, TenantId};
use muster_domain::normalise::fold_name;
use muster_domain::rules::CatalogIndex;
use muster_domain::tenant::Slug;
use serde_json::json;
use sqlx::PgConnection;
use sqlx::PgExecutor;
use sqlx::types::Json;

use super::apply::lock_tenant;
use super::audit::{self, Did, Entry};
use super::{Store, StoreError, Transaction};

/// What replacing a catalog came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied {
    /// The catalog is now this.
    Catalog(Catalog),
    /// Nothing was changed, for these reasons.
    Refused(Vec<FieldError>),
}

/// A tenant's catalog: organizations by slug, names by their folded form. A tenant without one has an empty catalog.
pub async fn get(store: &Store, tenant: TenantId) -> Result<Catalog, StoreError> {
    let mut transaction = store.reading_one_moment(tenant).await?;
    let catalog = read(&mut transaction, tenant).await?;
    transaction.commit().await?;
    Ok(catalog)
}

/// Replaces the catalog by this one: missing names are added, names that are not in it are removed, equal
/// ones are not touched. Applying the same again changes nothing.
///
/// Refused when the catalog is not valid, and when it leaves out an organization or a group that users are in or that an
/// open import enrols users in.
pub async fn apply(store: &Store, tenant: TenantId, catalog: &Catalog) -> Result<Applied, StoreError> {
    match catalog.clone().validated() {
        Ok(catalog) => replace(store, begin(store, tenant).await?, tenant, &catalog).await,
        Err(errors) => Ok(Applied::Refused(errors)),
    }
}

/// The same, if the catalog still is one that its caller has seen; `None` if it is another by now.
pub async fn apply_over(
    store: &Store,
    tenant: TenantId,
    catalog: &Catalog,
    is_seen: impl FnOnce(&Catalog) -> bool,
) -> Result<Option<Applied>, StoreError> {
    let catalog = match catalog.clone().validated() {
        Ok(catalog) => catalog,
        Err(errors) => return Ok(Some(Applied::Refused(errors))),
    };
    let mut transaction = begin(store, tenant).await?;
    if !is_seen(&read(&mut transaction, tenant).await?) {
        transaction.rollback().await?;
        return Ok(None);
    }
    replace(store, transaction, tenant, &catalog).await.map(Some)
}

/// A transaction that alone may change a tenant's catalog.
async fn begin(store: &Store, tenant: TenantId) -> Result<Transaction<'static>, StoreError> {
    let mut transaction = store.pool().begin().await?;
    // One change of a tenant's catalog at a time.
    sqlx::query!("select id from tenants where id = $1 for no key update", tenant.get())
        .fetch_one(&mut *transaction)
        .await?;
    // So no users are enrolled meanwhile in something that is about to be removed.
    lock_tenant(&mut transaction, tenant, true).await?;
    Ok(transaction)
}

async fn replace(
    store: &Store,
    mut transaction: Transaction<'static>,
    tenant: TenantId,
    catalog: &Catalog,
) -> Result<Applied, StoreError> {
    let groups = keys(catalog.names(CatalogKind::Group));
    let mut refused = organizations_in_use(&mut transaction, tenant, &catalog.organizations).await?;
    refused.extend(groups_in_use(&mut transaction, tenant, &groups).await?);
    if !refused.is_empty() {
        transaction.rollback().await?;
        return Ok(Applied::Refused(refused));
    }

    replace_organizations(&mut transaction, tenant, &catalog.organizations).await?;
    for kind in CatalogKind::ALL {
        replace_names(&mut transaction, tenant, kind, catalog.names(kind)).await?;
    }
    replace_attributes(&mut transaction, tenant, catalog).await?;
    sqlx::query!(
        "update tenants set limits = $2 where id = $1 and limits <> $2",
        tenant.get(),
        Json(catalog.limits) as _,
    )
    .execute(&mut *transaction)
    .await?;

    let stored = read(&mut transaction, tenant).await?;
    let counts = json!({
        "organizations": catalog.organizations.len(), "roles": catalog.roles.len(), "groups": catalog.groups.len(),
        "teams": catalog.teams.len(), "locations": catalog.locations.len(), "attributes": catalog.custom_attributes.len(),
    });
    let entry = Entry::of(Did::CatalogReplace).counting(counts);
    audit::note(&mut transaction, store, tenant, entry).await?;
    super::commit(store, transaction).await?;
    Ok(Applied::Catalog(stored))
}

/// A tenant's catalog, to be looked up in while records are validated.
pub async fn index(connection: &mut PgConnection, tenant: TenantId) -> Result<CatalogIndex, StoreError> {
    let mut index = CatalogIndex::default();
    let names = sqlx::query!("select id, kind, key from catalog_names where tenant_id = $1", tenant.get())
        .fetch_all(&mut *connection)
        .await?;
    for row in names {
        let kind = CatalogKind::ALL.into_iter().find(|kind| kind.as_str() == row.kind);
        index.insert(
            kind.ok_or_else(|| StoreError::corrupt("catalog_names", "kind", row.id))?,
            row.key,
            row.id,
        );
    }
    index.attributes = definitions(connection, tenant).await?;
    let limits = sqlx::query_scalar!(
        r#"select limits as "limits: Json<Limits>" from tenants where id = $1"#,
        tenant.get()
    )
    .fetch_one(&mut *connection)
    .await?;
    index.max_chat_limit = limits.0.max_chat_limit;
    Ok(index)
}

/// A name of the catalog as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogName {
    /// What users refer to it by.
    pub id: i32,
    /// Of which list it is.
    pub kind: CatalogKind,
    /// The name.
    pub name: String,
}

/// All names of a tenant's catalog with their ids, each list in the order of [`get`].
pub async fn names(executor: impl PgExecutor<'_>, tenant: TenantId) -> Result<Vec<CatalogName>, StoreError> {
    let rows = sqlx::query!(
        "select id, kind, name from catalog_names where tenant_id = $1 order by kind, key",
        tenant.get(),
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            let kind = CatalogKind::ALL.into_iter().find(|kind| kind.as_str() == row.kind);
            let kind = kind.ok_or_else(|| StoreError::corrupt("catalog_names", "kind", row.id))?;
            Ok(CatalogName { id: row.id, kind, name: row.name })
        })
        .collect()
}

/// The organization with this slug.
pub async fn find_organization(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    slug: &Slug,
) -> Result<Option<(OrganizationId, Organization)>, StoreError> {
    let row = sqlx::query!(
        "select id, slug, name from organizations where tenant_id = $1 and slug = $2",
        tenant.get(),
        slug.as_str(),
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| (OrganizationId::new(row.id), Organization { slug: row.slug, name: row.name })))
}

/// The group with this name, in whatever case and form it is written.
pub async fn find_group(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    name: &str,
) -> Result<Option<GroupId>, StoreError> {
    let id = sqlx::query_scalar!(
        "select id from catalog_names where tenant_id = $1 and kind = 'group' and key = $2",
        tenant.get(),
        &*fold_name(name),
    )
    .fetch_optional(executor)
    .await?;
    Ok(id.map(GroupId::new))
}

/// The group with this name, created if it is not there.
pub async fn ensure_group(store: &Store, tenant: TenantId, name: &str) -> Result<GroupId, StoreError> {
    if let Some(id) = find_group(store.pool(), tenant, name).await? {
        return Ok(id);
    }
    sqlx::query!(
        r#"
        insert into catalog_names (tenant_id, kind, key, name) values ($1, 'group', $2, $3)
        on conflict (tenant_id, kind, key) do nothing
        "#,
        tenant.get(),
        &*fold_name(name),
        name.trim(),
    )
    .execute(store.pool())
    .await?;
    find_group(store.pool(), tenant, name).await?.ok_or(StoreError::Conflict("the group"))
}

async fn read(connection: &mut PgConnection, tenant: TenantId) -> Result<Catalog, StoreError> {
    let limits = sqlx::query_scalar!(
        r#"select limits as "limits: Json<Limits>" from tenants where id = $1"#,
        tenant.get()
    )
    .fetch_one(&mut *connection)
    .await?;
    let organizations = sqlx::query_as!(
        Organization,
        "select slug, name from organizations where tenant_id = $1 order by slug",
        tenant.get(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut catalog = Catalog { organizations, limits: limits.0, ..Catalog::default() };

    for kind in CatalogKind::ALL {
        *catalog.names_mut(kind) = sqlx::query_scalar!(
            "select name from catalog_names where tenant_id = $1 and kind = $2 order by key",
            tenant.get(),
            kind.as_str(),
        )
        .fetch_all(&mut *connection)
        .await?;
    }
    catalog.custom_attributes = definitions(connection, tenant).await?;
    Ok(catalog)
}

/// The tenant's custom attributes by name.
async fn definitions(
    connection: &mut PgConnection,
    tenant: TenantId,
) -> Result<BTreeMap<String, AttributeDefinition>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select name, definition as "definition: Json<AttributeDefinition>"
        from   attribute_definitions
        where  tenant_id = $1
        "#,
        tenant.get(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.name, row.definition.0)).collect())
}

/// The organizations that would go although they are in use.
async fn organizations_in_use(
    connection: &mut PgConnection,
    tenant: TenantId,
    keep: &[Organization],
) -> Result<Vec<FieldError>, StoreError> {
    let slugs: Vec<String> = keep.iter().map(|organization| organization.slug.clone()).collect();
    let in_use = sqlx::query_scalar!(
        r#"
        select o.slug
        from   organizations as o
        where  o.tenant_id = $1
        and    o.slug <> all ($2)
        and    (exists (select from memberships as m where m.organization_id = o.id)
                -- What an open import resolved its target to is written down in its options.
                or exists (select from imports as i
                           where i.tenant_id = $1
                           and   i.state in ('receiving', 'received', 'planning', 'planned', 'running', 'paused')
                           and   (i.options #>> '{enrolment,organization_id}')::integer = o.id))
        order  by o.slug
        "#,
        tenant.get(),
        &slugs,
    )
    .fetch_all(connection)
    .await?;
    Ok(in_use.into_iter().map(|slug| still_in_use("organizations", "organization", &slug)).collect())
}

/// The groups that would go although they are in use.
async fn groups_in_use(
    connection: &mut PgConnection,
    tenant: TenantId,
    keep: &[String],
) -> Result<Vec<FieldError>, StoreError> {
    let in_use = sqlx::query_scalar!(
        r#"
        select g.name
        from   catalog_names as g
        where  g.tenant_id = $1
        and    g.kind = 'group'
        and    g.key <> all ($2)
        and    (exists (select from memberships as m where m.group_id = g.id)
                or exists (select from imports as i
                           where i.tenant_id = $1
                           and   i.state in ('receiving', 'received', 'planning', 'planned', 'running', 'paused')
                           and   (i.options #>> '{enrolment,group_id}')::integer = g.id))
        order  by g.key
        "#,
        tenant.get(),
        keep,
    )
    .fetch_all(connection)
    .await?;
    Ok(in_use.into_iter().map(|name| still_in_use("groups", "group", &name)).collect())
}

fn still_in_use(field: &str, what: &str, name: &str) -> FieldError {
    let message =
        format!("the {what} '{name}' cannot be removed: users are in it, or an open import puts users in it");
    FieldError::new(ErrorCode::StateConflict, field, message)
}

async fn replace_organizations(
    connection: &mut PgConnection,
    tenant: TenantId,
    organizations: &[Organization],
) -> Result<(), StoreError> {
    let slugs: Vec<String> = organizations.iter().map(|organization| organization.slug.clone()).collect();
    let names: Vec<String> = organizations.iter().map(|organization| organization.name.clone()).collect();
    sqlx::query!("delete from organizations where tenant_id = $1 and slug <> all ($2)", tenant.get(), &slugs)
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        r#"
        update organizations as o
        set    name = new.name
        from   unnest($2::text[], $3::text[]) as new (slug, name)
        where  o.tenant_id = $1 and o.slug = new.slug and o.name <> new.name
        "#,
        tenant.get(),
        &slugs,
        &names,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        r#"
        insert into organizations (tenant_id, slug, name)
        select $1, new.slug, new.name
        from   unnest($2::text[], $3::text[]) as new (slug, name)
        -- Asked before the insert, because a row that meets a conflict has used up an id.
        where  not exists (select from organizations as o where o.tenant_id = $1 and o.slug = new.slug)
        on     conflict (tenant_id, slug) do nothing
        "#,
        tenant.get(),
        &slugs,
        &names,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn replace_names(
    connection: &mut PgConnection,
    tenant: TenantId,
    kind: CatalogKind,
    names: &[String],
) -> Result<(), StoreError> {
    let keys = keys(names);
    sqlx::query!(
        "delete from catalog_names where tenant_id = $1 and kind = $2 and key <> all ($3)",
        tenant.get(),
        kind.as_str(),
        &keys,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        r#"
        update catalog_names as n
        set    name = new.name
        from   unnest($3::text[], $4::text[]) as new (key, name)
        where  n.tenant_id = $1 and n.kind = $2 and n.key = new.key and n.name <> new.name
        "#,
        tenant.get(),
        kind.as_str(),
        &keys,
        names,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        r#"
        insert into catalog_names (tenant_id, kind, key, name)
        select $1, $2, new.key, new.name
        from   unnest($3::text[], $4::text[]) as new (key, name)
        where  not exists (select from catalog_names as n
                           where n.tenant_id = $1 and n.kind = $2 and n.key = new.key)
        -- An import may be creating its default group at this moment.
        on     conflict (tenant_id, kind, key) do nothing
        "#,
        tenant.get(),
        kind.as_str(),
        &keys,
        names,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn replace_attributes(
    connection: &mut PgConnection,
    tenant: TenantId,
    catalog: &Catalog,
) -> Result<(), StoreError> {
    let names: Vec<String> = catalog.custom_attributes.keys().cloned().collect();
    let definitions: Vec<Json<&AttributeDefinition>> = catalog.custom_attributes.values().map(Json).collect();
    sqlx::query!(
        "delete from attribute_definitions where tenant_id = $1 and name <> all ($2)",
        tenant.get(),
        &names,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        r#"
        insert into attribute_definitions as a (tenant_id, name, definition)
        select $1, new.name, new.definition
        from   unnest($2::text[], $3::jsonb[]) as new (name, definition)
        on     conflict (tenant_id, name) do update
        set    definition = excluded.definition
        where  a.definition <> excluded.definition
        "#,
        tenant.get(),
        &names,
        &definitions as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn keys(names: &[String]) -> Vec<String> {
    names.iter().map(|name| fold_name(name).into_owned()).collect()
}
