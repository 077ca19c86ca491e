//! Erasing a person from plans.

use muster_domain::erase::Person;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId, UserId};
use muster_domain::planned::{PlannedChunk, PlannedRecord, keys_of, keys_of_users};
use uuid::Uuid;

use super::super::{Store, StoreError};
use super::decoded;

/// Takes the person out of all plans. Returns of how many records that was. A record of theirs that is applied later fails as erased;
/// one of others in which a value named them fails if it is applied, since its plan is not known any more.
pub(in super::super) async fn erase(
    store: &Store,
    tenant: TenantId,
    person: &Person,
) -> Result<u64, StoreError> {
    let (mut erased, mut after) = (0, 0);
    while let Some(row) = sqlx::query!(
        "select id, import_id, records from plans where tenant_id = $1 and id > $2 order by id limit 1",
        tenant.get(),
        after,
    )
    .fetch_optional(store.pool())
    .await?
    {
        after = row.id;
        let (chunk, found) = match decoded(&row.records, row.id) {
            Ok(mut chunk) => {
                let found = erase_in(&mut chunk, person);
                (chunk, found)
            }
            Err(error) if mutant(Mutant::BrokenPlanStopsErasing) => return Err(error),
            // Nobody can read it, and it may name the person: nothing of it stays. Its records have no plan any more, and fail where
            // they are applied.
            Err(_) => (PlannedChunk::default(), 1),
        };
        if found == 0 || mutant(Mutant::ErasedStaysInPlans) {
            continue;
        }
        let records = chunk.encode().map_err(|error| StoreError::Program(format!("a plan: {error}")))?;
        // Written once, and changed only by an erasure. If two run at once, the later one looks again.
        let changed = sqlx::query!(
            "update plans set records = $2 where id = $1 and records = $3",
            row.id,
            records,
            row.records,
        )
        .execute(store.pool())
        .await?;
        if changed.rows_affected() == 0 {
            after -= 1;
            continue;
        }
        erased += found;
        let values = [&person.email, &person.phone_number, &person.preferred_username];
        let import = ImportId::new(row.import_id);
        let mut keys = keys_of(import, values.map(Option::as_deref));
        keys.extend(keys_of_users(import, person.users().map(UserId::get)));
        sqlx::query!(
            "delete from planned_keys where import_id = $1 and key = any($2)",
            row.import_id,
            &keys,
        )
        .execute(store.pool())
        .await?;
    }
    Ok(erased)
}

fn erase_in(chunk: &mut PlannedChunk, person: &Person) -> u64 {
    let users: Vec<Uuid> = person.users().map(UserId::get).collect();
    let is_theirs = |user: Option<Uuid>| user.is_some_and(|user| users.contains(&user));
    let is_named = |json: serde_json::Result<String>| json.is_ok_and(|json| person.is_named_in(&json));
    let mut erased = 0;
    for record in &mut chunk.records {
        let theirs = is_theirs(record.user);
        if theirs || is_named(serde_json::to_string(record)) {
            hide(record, theirs);
            erased += 1;
        }
    }
    let before = chunk.users.len() + chunk.left.len();
    chunk.users.retain(|left| !is_theirs(Some(left.id)) && !is_named(serde_json::to_string(left)));
    chunk.left.retain(|left| !is_theirs(Some(left.id)) && !is_named(serde_json::to_string(left)));
    // A record and the user that it writes are one change.
    erased.max((before - chunk.users.len() - chunk.left.len()) as u64)
}

fn hide(record: &mut PlannedRecord, theirs: bool) {
    record.before.clear();
    record.after.clear();
    record.warnings.clear();
    record.errors.iter_mut().for_each(|error| error.user_id = None);
    if theirs {
        record.user = None;
        record.errors = vec![Person::error()];
    }
}
