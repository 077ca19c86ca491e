//! What changes would give back and the catalog no longer has: organizations, groups, roles, teams and locations.

use std::collections::BTreeSet;

use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::TenantId;
use muster_domain::undo::{Change, Lost, Named, named};
use sqlx::postgres::PgConnection;

use crate::StoreError;

/// Of what the changes would give back, what the tenant's catalog does not have.
pub(crate) async fn lost(
    connection: &mut PgConnection,
    tenant: TenantId,
    changes: &[Change],
) -> Result<Lost, StoreError> {
    let values = changes.iter().flat_map(|change| &change.before);
    let mut lost: Lost = values.flat_map(|(path, value)| named(path, value)).collect();
    if lost.is_empty() || mutant(Mutant::UndoEnrolsNowhere) {
        return Ok(Lost::new());
    }
    let (mut organizations, mut others) = (BTreeSet::new(), BTreeSet::new());
    for named in &lost {
        match named {
            Named::Organization(id) => organizations.insert(*id),
            Named::Other(id) => others.insert(*id),
        };
    }
    let (organizations, others): (Vec<i32>, Vec<i32>) =
        (organizations.into_iter().collect(), others.into_iter().collect());
    let there = sqlx::query!(
        r#"select id as "id!", true as "is_organization!" from organizations where tenant_id = $1 and id = any($2)
           union all
           select id, false from catalog_names where tenant_id = $1 and id = any($3)"#,
        tenant.get(),
        &organizations,
        &others,
    )
    .fetch_all(connection)
    .await?;
    for row in there {
        lost.remove(&if row.is_organization { Named::Organization(row.id) } else { Named::Other(row.id) });
    }
    Ok(lost)
}
