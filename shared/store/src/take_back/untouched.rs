//! Deletes inserted users that nobody touched since in the statement that reads them: what they had is kept by the undo.

use muster_domain::fault::{self, Mutant, Point, mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::planned::UndoCheck;
use muster_domain::undo::{Change, Found, deletable};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::found::{FoundRow, noted_steps};
use crate::StoreError;

/// Deletes the users that are as they were left: at that version and without memberships. None where an undo of the import noted a step:
/// a version may stand for another one then. Whoever changes a user meanwhile is waited for, and the user is left; whoever enrols it is waited
/// for, and it is a conflict.
///
/// Not a checked macro: its rows are those of [`FOUND`](super::found::FOUND), and a test asks how the database goes about the same text.
pub(super) const DELETED: &str = concat!(
    noted_steps!("$4"),
    r#"
   delete from users as u
    using unnest($2::uuid[], $3::int[]) as n (id, version)
    where u.tenant_id = $1 and u.id = n.id and (u.version = n.version or $5)
      and not (select noted from steps)
      and (select m.user_id from memberships as m where m.user_id = u.id limit 1) is null
   returning u.id, u.version, u.email, u.phone_number, u.preferred_username, u.given_name, u.family_name,
             u.attributes::text, u.metadata::text, u.profile::text, null::bigint[] as memberships,
             null::int as stands_for, null::text[] as kept, null::text[] as given_back"#
);

/// Deletes those of the inserted users that nobody touched since, and all that is theirs. What they had, by id. Those that were planned to
/// come to something else are left.
pub(super) async fn delete(
    connection: &mut PgConnection,
    tenant: TenantId,
    of: ImportId,
    changes: &[Change],
    check: Option<&UndoCheck<'_>>,
) -> Result<Vec<Found>, StoreError> {
    let places = deletable(changes, |at, told| check.is_none_or(|check| (check.drift)(at, told).is_none()));
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let mut users: Vec<(Uuid, i32)> =
        places.iter().filter_map(|at| changes.get(*at)).map(|change| (change.user, change.to)).collect();
    // By id, as every other writer locks users: so none waits for another in a circle.
    users.sort_unstable();
    let (ids, versions): (Vec<Uuid>, Vec<i32>) = users.into_iter().unzip();
    fault::point(Point::Planned)?;
    let rows: Vec<FoundRow> = sqlx::query_as(DELETED)
        .bind(tenant.get())
        .bind(&ids)
        .bind(&versions)
        .bind(of.get())
        .bind(mutant(Mutant::UndoDeletesUnread))
        .fetch_all(&mut *connection)
        .await?;
    let mut deleted = rows.into_iter().map(FoundRow::found).collect::<Result<Vec<_>, _>>()?;
    deleted.sort_unstable_by_key(|user| user.id);
    let ids: Vec<Uuid> = deleted.iter().map(|user| user.id).collect();
    super::delete_parts(connection, &ids, 0).await?;
    Ok(deleted)
}
