//! What prevents an import from being undone or run again: only one of its undos runs at a time, and the
//! import itself does not run meanwhile.

use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use sqlx::postgres::PgConnection;

use super::Refusal;
use crate::StoreError;

/// The undo of an import, other than `but`, beside which there may be no further one. With the import's row locked the answer stays true.
///
/// - One that is open, or was cancelled after it had changed something: it can be resumed, and another one could not tell what it took
///   back from what somebody changed.
/// - One that has ended and took everything back, unless the import was driven once more since. What failed in it may be tried by
///   another one: what depends on that was left as it was by then, so that a retry does not bring it back. What failed as
///   `changed_since_plan` is no such failure: what depends on it waited for it, and the retry brought it back as well.
pub(super) async fn other_undo(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    but: Option<ImportId>,
) -> Result<Option<ImportId>, StoreError> {
    let undo = sqlx::query_scalar!(
        r#"select u.id
             from imports as u
             join imports as i on i.id = u.undoes
            where u.undoes = $1 and u.tenant_id = $2 and u.id is distinct from $3::uuid
              and case u.state
                      when 'completed' then
                          not (u.options -> 'undo' ?| array['fields', 'records', 'outcome', 'code'])
                          and u.created_at >= i.completed_at
                          and not exists (select from chunks as c where c.import_id = u.id and c.failed > 0)
                          and (select coalesce(sum(c.reopened), 0) from chunks as c where c.import_id = u.id)
                              <= coalesce((u.options #>> '{undo,drifted}')::bigint, 0)
                      when 'cancelled' then
                          exists (select from chunks as c where c.import_id = u.id and c.inserted + c.updated > 0)
                      else true
                  end
            order by u.id desc
            limit 1"#,
        import.get(),
        tenant.get(),
        but.map(ImportId::get),
    )
    .fetch_optional(connection)
    .await?;
    Ok(undo.map(ImportId::new))
}

/// Why an import may not be resumed or retried: an undo of it is open; or it is an undo itself, and another one works on the same import,
/// or that import does. Locks the row of an import that this one undoes, and then the row of this one.
pub(crate) async fn hindrance(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
) -> Result<Option<Refusal>, StoreError> {
    if mutant(Mutant::UndosAtOnce) {
        return Ok(None);
    }
    let undone = sqlx::query!(
        "select id, state
           from imports
          where id = (select undoes from imports where id = $1 and tenant_id = $2) and tenant_id = $2
            for no key update",
        import.get(),
        tenant.get(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(undone) = undone {
        let state: ImportState =
            undone.state.parse().map_err(|_| StoreError::corrupt("imports", "state", undone.id))?;
        if !state.is_final() {
            return Ok(Some(Refusal::State(state)));
        }
        let of = ImportId::new(undone.id);
        if let Some(other) = other_undo(connection, tenant, of, Some(import)).await? {
            return Ok(Some(Refusal::Undone(other)));
        }
    }
    // Opening an undo of it waits for this lock.
    sqlx::query!(
        "select from imports where id = $1 and tenant_id = $2 for no key update",
        import.get(),
        tenant.get(),
    )
    .execute(&mut *connection)
    .await?;
    let undo = sqlx::query_scalar!(
        "select id
           from imports
          where undoes = $1 and tenant_id = $2 and state in ('received', 'planning', 'planned', 'running', 'paused')
          order by id desc
          limit 1",
        import.get(),
        tenant.get(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(undo.map(|undo| Refusal::Undone(ImportId::new(undo))))
}
