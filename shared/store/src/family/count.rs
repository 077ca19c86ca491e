//! Notes with each import how many of its failed records its family has corrected, so that lists and the overview know it without
//! reading chunks.

use chrono::{DateTime, Utc};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{MOST, kin, mended, still_failed};
use crate::{ErrorKind, Store, StoreError};

/// Key of the advisory lock of who counts: an older count never overwrites a newer one. "MEND".
const LOCK: i64 = 0x4d45_4e44;
/// Families that are counted in one turn.
const TURN: i64 = 20;

/// Counts where an import ended, or was undone, that may change what its family has corrected. Returns how many were looked at.
pub async fn count(store: &Store) -> Result<u64, StoreError> {
    if mutant(Mutant::MendedStayAlarms) {
        return Ok(0);
    }
    let due = sqlx::query!(
        "select id, tenant_id, state_since
           from imports
          where (mends is not null or undoes is not null or mended > 0)
            and (kin_counted is not null or state in ('completed', 'cancelled'))
            and kin_counted is distinct from state_since
          order by id
          limit $1",
        TURN,
    )
    .fetch_all(store.pool())
    .await?;
    let (looked_at, mut problem) = (due.len() as u64, None);
    for row in due {
        let tenant = TenantId::new(row.tenant_id);
        match family(store, tenant, row.id).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Transient => return Err(error),
            // What cannot be read now cannot be read later: the others are not to wait for it.
            Err(error) => {
                note(&mut *store.pool().acquire().await?, tenant, &[(row.id, row.state_since)]).await?;
                problem.get_or_insert(error);
            }
        }
    }
    problem.map_or(Ok(looked_at), Err)
}

/// Counts for all imports of the family of one, or of the import that it undoes.
async fn family(store: &Store, tenant: TenantId, import: Uuid) -> Result<(), StoreError> {
    let mut transaction = store.pool().begin().await?;
    let alone = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "alone!""#, LOCK)
        .fetch_one(&mut *transaction)
        .await?;
    if !alone {
        return Ok(());
    }
    // The states are read before anything else: an import that moves meanwhile is counted once more.
    let Some(first) = sqlx::query!(
        r#"with recursive back as (
               select id, undoes, state_since, 0 as depth from imports where id = $1 and tenant_id = $2
               union all
               select older.id, older.undoes, back.state_since, back.depth + 1
                 from imports as older
                 join back on older.id = back.undoes
                where older.tenant_id = $2 and back.depth < $3
           )
           select id as "id!", state_since from back order by depth desc limit 1"#,
        import,
        tenant.get(),
        MOST,
    )
    .fetch_optional(&mut *transaction)
    .await?
    else {
        return Ok(());
    };
    let mut known = Vec::new();
    let (mut ids, mut counts) = (Vec::new(), Vec::new());
    if let Some(kin) = kin(&mut transaction, tenant, ImportId::new(first.id)).await? {
        let mended = mended(&mut transaction, tenant, &kin).await?;
        for (one, records) in kin.iter().zip(mended) {
            let id = one.member.id;
            let count = still_failed(&mut transaction, tenant, id, records).await?;
            ids.push(id.get());
            counts.push(i64::try_from(count).unwrap_or(i64::MAX));
            known.push((id.get(), one.state_since));
        }
    }
    // An undo is not of the family.
    if !ids.contains(&import) {
        known.push((import, first.state_since));
    }
    sqlx::query!(
        "update imports
            set mended = counted.mended
           from unnest($1::uuid[], $2::bigint[]) as counted (id, mended)
          where imports.id = counted.id and imports.tenant_id = $3 and imports.mended <> counted.mended",
        &ids,
        &counts,
        tenant.get(),
    )
    .execute(&mut *transaction)
    .await?;
    note(&mut transaction, tenant, &known).await?;
    transaction.commit().await?;
    Ok(())
}

/// Notes since when the imports, as they were counted, are in their states.
async fn note(
    connection: &mut PgConnection,
    tenant: TenantId,
    known: &[(Uuid, Option<DateTime<Utc>>)],
) -> Result<(), StoreError> {
    let (ids, since): (Vec<Uuid>, Vec<Option<DateTime<Utc>>>) = known.iter().copied().unzip();
    sqlx::query!(
        "update imports
            set kin_counted = known.since
           from unnest($1::uuid[], $2::timestamptz[]) as known (id, since)
          where imports.id = known.id and imports.tenant_id = $3 and imports.kin_counted is distinct from known.since",
        &ids,
        &since as &[Option<DateTime<Utc>>],
        tenant.get(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
