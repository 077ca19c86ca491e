//! Forgetting plans, and the keys by which their chunks were found.

use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::ImportId;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::super::{Store, StoreError};

/// Forgets the keys of a plan that its chunks were compared by: it is whole. Those in `planned_keys` may be millions, and are left to
/// [`forget_keys`].
pub(in super::super) async fn clear_keys(
    connection: &mut PgConnection,
    import: ImportId,
) -> Result<(), StoreError> {
    delete_keys(connection, import).await?;
    sqlx::query!("update plans set keys = '' where import_id = $1 and keys <> ''", import.get())
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets a plan. Its keys find nothing from then on, and are left to [`forget_keys`].
pub(in super::super) async fn forget(
    connection: &mut PgConnection,
    import: ImportId,
) -> Result<(), StoreError> {
    delete_keys(connection, import).await?;
    sqlx::query!("delete from plans where import_id = $1", import.get()).execute(connection).await?;
    Ok(())
}

/// This is not done during a transition, since nobody should wait until millions of rows are deleted.
async fn delete_keys(connection: &mut PgConnection, import: ImportId) -> Result<(), StoreError> {
    if mutant(Mutant::TransitionDeletesKeys) {
        sqlx::query("delete from planned_keys where import_id = $1")
            .bind(import.get())
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Keys deleted in one go.
const KEYS_AT_A_TIME: i64 = 50_000;

/// An import that has keys and is not being planned. Each import is looked for once, however many keys it has.
const PLANNED_NO_MORE: &str = "
    with recursive planned (import_id) as (
        (select import_id from planned_keys order by import_id limit 1)
        union all
        select (select k.import_id from planned_keys k where k.import_id > planned.import_id order by k.import_id limit 1)
          from planned
         where planned.import_id is not null
    )
    select planned.import_id
      from planned
      left join imports i on i.id = planned.import_id
     where planned.import_id is not null and coalesce(i.state not in ('planning', 'planned'), true)
     limit 1";

/// Deletes some keys of an import of any tenant that is applied, cancelled or gone. Returns how many; 0: there are no more.
///
/// Of an import that was planned anew the keys of the plan before stay until the import leaves its plan behind.
pub async fn forget_keys(store: &Store) -> Result<u64, StoreError> {
    let import: Option<Uuid> = sqlx::query_scalar(PLANNED_NO_MORE).fetch_optional(store.pool()).await?;
    let Some(import) = import else { return Ok(0) };
    // One statement sees one moment: if the import is planned anew meanwhile, the keys of that are not among these.
    let deleted = sqlx::query(
        "delete from planned_keys
          where ctid = any(array(select ctid from planned_keys where import_id = $1 limit $2))
            and not exists (select from imports where id = $1 and state in ('planning', 'planned'))",
    )
    .bind(import)
    .bind(KEYS_AT_A_TIME)
    .execute(store.pool())
    .await?;
    Ok(deleted.rows_affected())
}
