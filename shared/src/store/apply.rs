//! Applying: a chunk is locked, its users are found, the plan is written, and the chunk is finished, in one transaction.
//!
//! Why nothing happens twice (P3): [`lock`] takes the chunk's row lock and looks at its state; users, outcomes, counts and
//! the state `applied` commit together. A message delivered again finds the chunk ended and changes nothing.

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::copy::CopyBuffer;
use super::intake::{Issue, small, write_issues};
use super::{Store, StoreError};
use crate::chunk::decode;
use crate::error::{ErrorCode, RecordError};
use crate::id::{ChunkId, ImportId, TenantId};
use crate::import::ChunkState;
use crate::options::{Enrolment, IdentifierField, ImportOptions};
use crate::outcome::{Outcome, OutcomeSheet, Verdict};
use crate::plan::{ExistingUser, Plan, UserRow};
use crate::record::source_json;

/// First key of the advisory locks on tenants; the second is the tenant.
const TENANT_LOCK: i32 = 0x6d75;

/// A chunk whose row is locked until the transaction ends.
#[derive(Debug, Clone)]
pub struct LockedChunk {
    /// Its import.
    pub import: ImportId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its state.
    pub state: ChunkState,
    /// Attempts that did not end well, so far.
    pub attempts: u32,
    /// How many records it has.
    pub records: usize,
    /// Fingerprint of the body.
    pub body_hash: i64,
    /// Outcomes so far: only the pending records are to be applied.
    pub outcomes: OutcomeSheet,
}

/// Locks a chunk, and shares the tenant's lock with other writers of its users. `None` if there is no such chunk.
///
/// With `alone`, nobody else writes users of the tenant until the transaction ends: for a chunk that kept colliding.
pub async fn lock(
    connection: &mut PgConnection,
    chunk: ChunkId,
    alone: bool,
) -> Result<Option<LockedChunk>, StoreError> {
    let Some(row) = sqlx::query!(
        "select import_id, tenant_id, state, attempts, records, body_hash, outcomes
           from chunks
          where id = $1
            for no key update",
        chunk.get(),
    )
    .fetch_optional(&mut *connection)
    .await?
    else {
        return Ok(None);
    };
    lock_tenant(connection, TenantId::new(row.tenant_id), alone).await?;
    let records = usize::try_from(row.records).unwrap_or(0);
    let outcomes = read_sheet(chunk, row.records, row.outcomes.as_deref())?;
    Ok(Some(LockedChunk {
        import: ImportId::new(row.import_id),
        tenant: TenantId::new(row.tenant_id),
        state: row.state.parse().map_err(|_| StoreError::corrupt("chunks", "state", chunk))?,
        attempts: u32::try_from(row.attempts).unwrap_or(0),
        records,
        body_hash: row.body_hash,
        outcomes,
    }))
}

async fn lock_tenant(connection: &mut PgConnection, tenant: TenantId, alone: bool) -> Result<(), StoreError> {
    if alone {
        sqlx::query!("select pg_advisory_xact_lock($1, $2)", TENANT_LOCK, tenant.get())
            .execute(connection)
            .await?;
    } else {
        sqlx::query!("select pg_advisory_xact_lock_shared($1, $2)", TENANT_LOCK, tenant.get())
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// The options of an import, and whether its records are rows of a table. `None` if there is no such import.
pub async fn options(store: &Store, import: ImportId) -> Result<Option<ImportOptions>, StoreError> {
    let Some(json) = sqlx::query_scalar!("select options from imports where id = $1", import.get())
        .fetch_optional(store.pool())
        .await?
    else {
        return Ok(None);
    };
    serde_json::from_value(json).map(Some).map_err(|_| StoreError::corrupt("imports", "options", import))
}

/// The staged body of a chunk, for when its message does not carry it.
pub async fn body(connection: &mut PgConnection, chunk: ChunkId) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(sqlx::query_scalar!("select body from chunks where id = $1", chunk.get())
        .fetch_optional(connection)
        .await?)
}

/// The unique values that a chunk's records name, each sorted.
#[derive(Debug, Clone, Default)]
pub struct Keys<'a> {
    /// Normalised e-mail addresses.
    pub emails: Vec<&'a str>,
    /// Phone numbers in E.164.
    pub phone_numbers: Vec<&'a str>,
    /// Normalised usernames.
    pub usernames: Vec<&'a str>,
}

impl FromRow<'_, PgRow> for ExistingUser {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get(0)?,
            version: row.try_get(1)?,
            email: row.try_get(2)?,
            phone_number: row.try_get(3)?,
            preferred_username: row.try_get(4)?,
            given_name: row.try_get(5)?,
            family_name: row.try_get(6)?,
            attributes: row.try_get(7)?,
            metadata: row.try_get(8)?,
            enrolled: row.try_get(9)?,
        })
    }
}

/// Not a checked macro: its row struct would have every column optional, and this is the hot path. The tests of the
/// pipeline run it against the schema.
const FIND_USERS: &str = r#"select u.id, u.version, u.email, u.phone_number, u.preferred_username, u.given_name, u.family_name,
        u.attributes::text, u.metadata::text,
        $5 <> 0 and exists (select from memberships m
                             where m.user_id = u.id and m.organization_id = $5 and m.group_id = $6)
   from (select user_.*
           from unnest($2::text[]) as k (value)
          cross join lateral (select * from users
                               where tenant_id = $1 and email = k.value collate "C" limit 1) as user_
         union all
         select user_.*
           from unnest($3::text[]) as k (value)
          cross join lateral (select * from users
                               where tenant_id = $1 and phone_number = k.value collate "C" limit 1) as user_
         union all
         select user_.*
           from unnest($4::text[]) as k (value)
          cross join lateral (select * from users
                               where tenant_id = $1 and preferred_username = k.value collate "C" limit 1) as user_
        ) as u"#;

/// Every user of the tenant that has one of the values, each once. One statement, so one moment in time.
///
/// One look into an index a value, and `limit 1` so that no other plan is possible: a plan made while the table was empty
/// would else read the whole tenant for each chunk, for as long as it is cached (the test below looks at the plan).
pub async fn find_users(
    connection: &mut PgConnection,
    tenant: TenantId,
    keys: &Keys<'_>,
    enrolment: Option<Enrolment>,
) -> Result<Vec<ExistingUser>, StoreError> {
    let Enrolment { organization_id, group_id } =
        enrolment.unwrap_or(Enrolment { organization_id: 0, group_id: 0 });
    let mut users: Vec<ExistingUser> = sqlx::query_as(FIND_USERS)
        .bind(tenant.get())
        .bind(&keys.emails)
        .bind(&keys.phone_numbers)
        .bind(&keys.usernames)
        .bind(organization_id)
        .bind(group_id)
        .fetch_all(connection)
        .await?;
    users.sort_unstable_by_key(|user| user.id);
    users.dedup_by_key(|user| user.id);
    Ok(users)
}

/// Writes what a plan says of users: values are let go of, users changed, users inserted, users enrolled.
///
/// A conflict (somebody else was faster) is an error of kind `Conflict`; the transaction must then be rolled back.
pub async fn write_users(
    connection: &mut PgConnection,
    tenant: TenantId,
    plan: &Plan<'_>,
    enrolment: Option<Enrolment>,
) -> Result<(), StoreError> {
    release(connection, &plan.releases).await?;
    update(connection, &plan.updates).await?;
    insert(connection, tenant, &plan.inserts).await?;
    if let Some(enrolment) = enrolment {
        enrol(connection, tenant, &plan.enrolments, enrolment).await?;
    }
    Ok(())
}

async fn release(
    connection: &mut PgConnection,
    releases: &[(Uuid, IdentifierField)],
) -> Result<(), StoreError> {
    if releases.is_empty() {
        return Ok(());
    }
    let of =
        |field| -> Vec<Uuid> { releases.iter().filter(|(_, f)| *f == field).map(|(id, _)| *id).collect() };
    let ids: Vec<Uuid> = releases.iter().map(|(id, _)| *id).collect();
    sqlx::query!(
        "update users
            set email              = case when id = any($2) then null else email end,
                phone_number       = case when id = any($3) then null else phone_number end,
                preferred_username = case when id = any($4) then null else preferred_username end
          where id = any($1)",
        &ids,
        &of(IdentifierField::Email),
        &of(IdentifierField::PhoneNumber),
        &of(IdentifierField::PreferredUsername),
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(connection: &mut PgConnection, updates: &[(UserRow<'_>, i32)]) -> Result<(), StoreError> {
    if updates.is_empty() {
        return Ok(());
    }
    let text = |get: for<'r> fn(&'r UserRow<'_>) -> Option<&'r str>| -> Vec<Option<&str>> {
        updates.iter().map(|(row, _)| get(row)).collect()
    };
    let ids: Vec<Uuid> = updates.iter().map(|(row, _)| row.id).collect();
    let versions: Vec<i32> = updates.iter().map(|(_, version)| *version).collect();
    let changes: Vec<i32> = updates.iter().map(|(row, _)| row.changes).collect();
    let written = sqlx::query!(
        "update users as u
            set version = u.version + n.changes, updated_at = now(),
                email = n.email, phone_number = n.phone_number, preferred_username = n.preferred_username,
                given_name = n.given_name, family_name = n.family_name,
                attributes = n.attributes::jsonb, metadata = n.metadata::jsonb
           from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::int[])
             as n (id, version, email, phone_number, preferred_username, given_name, family_name, attributes, metadata, changes)
          where u.id = n.id and u.version = n.version",
        &ids,
        &versions,
        &text(|row| row.email.as_deref()) as &[Option<&str>],
        &text(|row| row.phone_number.as_deref()) as &[Option<&str>],
        &text(|row| row.preferred_username.as_deref()) as &[Option<&str>],
        &text(|row| row.given_name.as_deref()) as &[Option<&str>],
        &text(|row| row.family_name.as_deref()) as &[Option<&str>],
        &text(|row| row.attributes.as_deref()) as &[Option<&str>],
        &text(|row| row.metadata.as_deref()) as &[Option<&str>],
        &changes,
    )
    .execute(connection)
    .await?;
    if written.rows_affected() == updates.len() as u64 { Ok(()) } else { Err(StoreError::Conflict("a user")) }
}

/// COPY without a conflict clause: a key that someone else inserted in the meantime refuses the chunk, which is planned
/// again. Half as much work for the database as asking for each row first.
async fn insert(
    connection: &mut PgConnection,
    tenant: TenantId,
    rows: &[UserRow<'_>],
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut buffer = CopyBuffer::with_capacity(rows.len() * 160);
    for row in rows {
        buffer.row(10);
        buffer.uuid(row.id);
        buffer.int(tenant.get());
        buffer.int(row.changes);
        for text in
            [&row.email, &row.phone_number, &row.preferred_username, &row.given_name, &row.family_name]
        {
            buffer.text(text.as_deref());
        }
        buffer.jsonb(row.attributes.as_deref());
        buffer.jsonb(row.metadata.as_deref());
    }
    let mut copy = sqlx::postgres::PgConnection::copy_in_raw(
        connection,
        "copy users (id, tenant_id, version, email, phone_number, preferred_username, given_name, family_name, attributes, metadata)
         from stdin (format binary)",
    )
    .await?;
    // No time-out and no select! around this: a copy that is dropped half-way puts its connection out of step.
    if let Err(error) = copy.send(buffer.finish()).await {
        copy.abort("the rows could not be sent").await?;
        return Err(error.into());
    }
    copy.finish().await?;
    Ok(())
}

async fn enrol(
    connection: &mut PgConnection,
    tenant: TenantId,
    users: &[Uuid],
    enrolment: Enrolment,
) -> Result<(), StoreError> {
    if users.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into memberships (user_id, organization_id, group_id, tenant_id)
         select id, $2, $3, $4 from unnest($1::uuid[]) as id
         on conflict do nothing",
        users,
        enrolment.organization_id,
        enrolment.group_id,
        tenant.get(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Finishes a locked chunk: outcomes, counts and state `applied`, to be committed with the users.
pub async fn finish(
    connection: &mut PgConnection,
    chunk: ChunkId,
    import: ImportId,
    sheet: &OutcomeSheet,
    issues: &[Issue],
) -> Result<(), StoreError> {
    write_issues(connection, import, issues).await?;
    let counts = sheet.counts();
    let written = sqlx::query!(
        "update chunks
            set state = 'applied', applied_at = now(), leased_until = null, problem = null,
                pending = $2, inserted = $3, updated = $4, skipped = $5, failed = $6, outcomes = $7
          where id = $1 and state in ('staged', 'dispatched', 'retryable')",
        chunk.get(),
        small(counts.pending)?,
        small(counts.inserted)?,
        small(counts.updated)?,
        small(counts.skipped)?,
        small(counts.failed)?,
        &sheet.encode()[..],
    )
    .execute(connection)
    .await?;
    if written.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Conflict("a chunk")) }
}

/// Counts an attempt that did not end well: the worker died, or the chunk could not be applied. Returns the attempts so far,
/// `None` if the chunk has ended.
pub async fn count_attempt(store: &Store, chunk: ChunkId) -> Result<Option<u32>, StoreError> {
    let attempts = sqlx::query_scalar!(
        "update chunks
            set attempts = attempts + 1
          where id = $1 and state in ('staged', 'dispatched', 'retryable')
        returning attempts",
        chunk.get(),
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(attempts.map(|attempts| u32::try_from(attempts).unwrap_or(0)))
}

/// Puts a chunk off: it may be dispatched again after a while. No effect on a chunk that has ended.
pub async fn put_off(store: &Store, chunk: ChunkId, seconds: f64, problem: &str) -> Result<(), StoreError> {
    sqlx::query!(
        "update chunks
            set state = 'retryable', due_at = now() + make_interval(secs => $2), leased_until = null, problem = $3
          where id = $1 and state in ('staged', 'dispatched', 'retryable')",
        chunk.get(),
        seconds,
        problem,
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// Ends a chunk that cannot be applied: its pending records fail with code `chunk_dead`. False for a chunk that has ended.
pub async fn bury(store: &Store, chunk: ChunkId, problem: &str) -> Result<bool, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let Some(row) = sqlx::query!(
        "select import_id, records, body, outcomes
           from chunks
          where id = $1 and state in ('staged', 'dispatched', 'retryable')
            for no key update",
        chunk.get(),
    )
    .fetch_optional(&mut *transaction)
    .await?
    else {
        return Ok(false);
    };
    let mut sheet = read_sheet(chunk, row.records, row.outcomes.as_deref())?;
    let issues = dead_issues(&row.body, &sheet);
    sheet.turn(Outcome::Pending, Verdict::FAILED);
    write_issues(&mut transaction, ImportId::new(row.import_id), &issues).await?;
    sqlx::query!(
        "update chunks
            set state = 'dead', failed = failed + pending, pending = 0, outcomes = $3,
                leased_until = null, due_at = null, problem = $2
          where id = $1",
        chunk.get(),
        problem,
        &sheet.encode()[..],
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(true)
}

/// What the pending records of a dead chunk failed of. A body that cannot be read gives no sources, and then no issues.
fn dead_issues(body: &[u8], sheet: &OutcomeSheet) -> Vec<Issue> {
    let Ok(records) = decode(body) else { return Vec::new() };
    let fields = records.fields();
    records
        .records(&fields)
        .zip(sheet.iter())
        .filter(|(_, (verdict, _))| verdict.outcome == Outcome::Pending)
        .map(|(record, _)| Issue {
            record: record.position.record.get(),
            failed: true,
            errors: vec![RecordError::new(
                ErrorCode::ChunkDead,
                "the chunk of this record could not be applied and its attempts are spent; retry drives it again",
            )],
            warnings: Vec::new(),
            source: source_json(&record, records.names()),
        })
        .collect()
}

pub(super) fn read_sheet(
    chunk: ChunkId,
    records: i32,
    outcomes: Option<&[u8]>,
) -> Result<OutcomeSheet, StoreError> {
    let records = usize::try_from(records).unwrap_or(0);
    match outcomes {
        None => Ok(OutcomeSheet::pending(records)),
        Some(bytes) => {
            OutcomeSheet::decode(bytes, records).map_err(|_| StoreError::corrupt("chunks", "outcomes", chunk))
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use sqlx::AssertSqlSafe;

    use super::FIND_USERS;
    use crate::testing::TestDatabase;

    #[tokio::test]
    async fn users_are_looked_up_by_index_even_if_the_plan_was_made_on_an_empty_table() {
        let database = TestDatabase::create().await;
        let store = database.store().await;
        let mut connection = store.dedicated_connection().await.unwrap();
        let prepare = format!("prepare find (int, text[], text[], text[], int, int) as {FIND_USERS}");
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await.unwrap();
        let explain = "explain execute find (1, '{a}', '{b}', '{c}', 0, 0)";
        let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut connection).await.unwrap();
        let plan = plan.join("\n");
        for key in ["email", "phone_number", "preferred_username"] {
            assert!(plan.contains(&format!("Index Cond: ((tenant_id = $1) AND ({key} = ")), "{plan}");
        }
    }
}
