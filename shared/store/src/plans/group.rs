//! The group of an import that is planned: one that the catalog lacks is made when the plan is applied, and not before.

use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{GroupId, ImportId, TenantId};
use muster_domain::normalise::fold_name;
use muster_domain::planned::PlannedRecord;
use sqlx::postgres::PgConnection;

use super::super::StoreError;

/// The group that the import's options name.
const FIND: &str = "select id from catalog_names where tenant_id = $1 and kind = 'group' and key = $2";

/// Writes the id of its group into the options of an import that was planned without it. Where the catalog has no such group by now, it is
/// made if that is wanted. The import's row is locked.
pub(in super::super) async fn settle_group(
    connection: &mut PgConnection,
    import: ImportId,
    make: bool,
) -> Result<(), StoreError> {
    let missing: Option<(i32, String)> = sqlx::query_as(
        "select tenant_id, options ->> 'group'
           from imports
          where id = $1 and options ->> 'group' is not null and (options #>> '{enrolment,group_id}')::int = $2",
    )
    .bind(import.get())
    .bind(GroupId::PLANNED.get())
    .fetch_optional(&mut *connection)
    .await?;
    let Some((tenant, name)) = missing.filter(|_| !mutant(Mutant::PlannedGroupForgotten)) else {
        return Ok(());
    };
    let key = fold_name(&name);
    if make {
        sqlx::query(
            "insert into catalog_names (tenant_id, kind, key, name) values ($1, 'group', $2, $3)
             on conflict (tenant_id, kind, key) do nothing",
        )
        .bind(tenant)
        .bind(&*key)
        .bind(name.trim())
        .execute(&mut *connection)
        .await?;
    }
    let group: Option<i32> =
        sqlx::query_scalar(FIND).bind(tenant).bind(&*key).fetch_optional(&mut *connection).await?;
    let group = match group {
        Some(group) => group,
        None if make => return Err(StoreError::Conflict("the group")),
        None => return Ok(()),
    };
    sqlx::query("update imports set options = jsonb_set(options, '{enrolment,group_id}', to_jsonb($2::int)) where id = $1")
        .bind(import.get())
        .bind(group)
        .execute(connection)
        .await?;
    Ok(())
}

/// Gives the group of records that did not exist when they were planned the name that the import asks for, instead of an id: for showing them.
pub(super) async fn name_group(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    records: &mut [PlannedRecord],
) -> Result<(), StoreError> {
    if !records.iter().any(PlannedRecord::lacks_group) || mutant(Mutant::PlannedGroupByNumber) {
        return Ok(());
    }
    let name = sqlx::query_scalar!(
        "select options ->> 'group' as name from imports where id = $1 and tenant_id = $2",
        import.get(),
        tenant.get(),
    )
    .fetch_optional(connection)
    .await?
    .flatten();
    if let Some(name) = name {
        records.iter_mut().for_each(|record| record.name_group(name.trim()));
    }
    Ok(())
}
