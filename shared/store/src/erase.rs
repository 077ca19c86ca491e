//! Erasing a person: the user and all staged data about them. Only the fact of the erasure is kept.
//!
//! Chunks are rewritten one by one, each in its own transaction, and the user is deleted last. So an
//! interrupted erasure can be repeated and finds what is left. A worker with an old message of a chunk
//! notices the change and uses the staged chunk. An import that is still being received is not covered: erase
//! again afterwards.

mod former;

use std::collections::HashSet;

use muster_domain::chunk::{self, Fate, body_hash, decode};
use muster_domain::erase::{IdentifierColumns, Person};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ChunkId, TenantId, UserId};
use muster_domain::options::{IdentifierField, ImportOptions};
use muster_domain::outcome::Outcome;
use muster_domain::record::{FieldNames, REDACTED, RawRecord};
use muster_domain::rules::Rules;
use muster_domain::validate::Binding;
use serde_json::json;
use serde_json::value::RawValue as Json;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::audit::{self, Did, Entry};
use super::convert::read_sheet;
use super::{Store, StoreError, undo};

/// What was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Erased {
    /// Users: one, or none where there was none.
    pub users: u64,
    /// Staged records of theirs, and failed ones of others in which a value named them.
    pub records: u64,
    /// Other staged records of others in which a value named them: it is hidden.
    pub mentions: u64,
    /// Before-images and planned records of their user, and of others in which a value named them.
    pub changes: u64,
}

/// The person that a user of the tenant is.
pub async fn person(store: &Store, tenant: TenantId, user: UserId) -> Result<Option<Person>, StoreError> {
    let row = sqlx::query!(
        "select email, phone_number, preferred_username from users where tenant_id = $1 and id = $2",
        tenant.get(),
        user.get(),
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(row.map(|row| Person {
        user: Some(user),
        email: row.email,
        phone_number: row.phone_number,
        preferred_username: row.preferred_username,
        former: Vec::new(),
    }))
}

/// The person with this normalised value in one of the unique fields: all that is known of their user where there is one.
pub async fn person_by(
    store: &Store,
    tenant: TenantId,
    field: IdentifierField,
    value: &str,
) -> Result<Person, StoreError> {
    let user = sqlx::query_scalar!(
        "select id from users
          where tenant_id = $1 and case $2 when 'email' then email when 'phone_number' then phone_number
                                           else preferred_username end = $3
            -- So that the index of the field is used.
            and (email = $3 or phone_number = $3 or preferred_username = $3)",
        tenant.get(),
        field.as_str(),
        value,
    )
    .fetch_optional(store.pool())
    .await?;
    let known = Person::known_by(field, value.to_owned());
    match user {
        Some(user) => Ok(person(store, tenant, UserId::new(user)).await?.unwrap_or(known)),
        None => Ok(known),
    }
}

/// Erases a person, and the users of theirs that an undo deleted. `actor` says who does it, and stays with how much it was.
pub async fn erase(
    store: &Store,
    tenant: TenantId,
    person: &Person,
    actor: &str,
) -> Result<Erased, StoreError> {
    let mut erased = Erased::default();
    let person = &former::with_former(store, tenant, person).await?;
    let mut seen = HashSet::new();
    erase_records(store, tenant, person, &mut seen, &mut erased).await?;
    erased.changes =
        erase_images(store, tenant, person).await? + erase_history(store, tenant, person).await?;
    // An undo that was being opened has copies of what was there. Those that are opened from now on find nothing.
    undo::none_is_being_opened(store, tenant).await?;
    erase_records(store, tenant, person, &mut seen, &mut erased).await?;
    erased.changes += super::plans::erase(store, tenant, person).await?;
    let mut transaction = store.pool().begin().await?;
    if let Some(user) = person.user {
        erased.users = delete_user(&mut transaction, tenant, user).await?;
    }
    let counts = json!({
        "users": erased.users, "records": erased.records, "mentions": erased.mentions, "changes": erased.changes,
    });
    let mut entry = Entry::of(Did::UsersErase).counting(counts);
    if let Some(user) = person.user {
        entry = entry.to(user.get());
    }
    audit::write(&mut transaction, tenant, actor, entry).await?;
    transaction.commit().await?;
    Ok(erased)
}

/// Takes the person out of the records of all imports that were not seen yet.
async fn erase_records(
    store: &Store,
    tenant: TenantId,
    person: &Person,
    seen: &mut HashSet<Uuid>,
    erased: &mut Erased,
) -> Result<(), StoreError> {
    let imports =
        sqlx::query!("select id, options from imports where tenant_id = $1 order by id", tenant.get())
            .fetch_all(store.pool())
            .await?;
    for import in imports.into_iter().filter(|import| seen.insert(import.id)) {
        // The options of a newer program may map columns in unknown ways; the columns' own names are still checked.
        let options: ImportOptions = serde_json::from_value(import.options).unwrap_or_default();
        let rules = Rules::new(options);
        let mut after = 0;
        while let Some(chunk) = sqlx::query_scalar!(
            "select id from chunks where import_id = $1 and tenant_id = $2 and id > $3 order by id limit 1",
            import.id,
            tenant.get(),
            after,
        )
        .fetch_optional(store.pool())
        .await?
        {
            after = chunk;
            erase_in(store, import.id, chunk, person, &rules, erased).await?;
        }
    }
    Ok(())
}

/// Takes the person out of all before-images. An undo of those imports does not change what it can no longer know.
async fn erase_images(store: &Store, tenant: TenantId, person: &Person) -> Result<u64, StoreError> {
    let (mut erased, mut after) = (0, 0);
    while let Some(row) = sqlx::query!(
        r#"select id, images as "images!"
             from before_images
            where tenant_id = $1 and id > $2 and images is not null
            order by id
            limit 1"#,
        tenant.get(),
        after,
    )
    .fetch_optional(store.pool())
    .await?
    {
        after = row.id;
        let fate =
            |_: usize, record: &RawRecord<'_>, names: &FieldNames| person.fate_of_change(record, names);
        let found = chunk::erase(&row.images, &Person::error(), fate);
        let found = found.map_err(|_| StoreError::corrupt("before_images", "images", row.id))?;
        let Some(found) = found.filter(|_| !mutant(Mutant::ErasedStaysInImages)) else { continue };
        // Written once, and changed only by an erasure. If two run at once, the later one looks again.
        let changed = sqlx::query!(
            "update before_images set images = $2 where id = $1 and images = $3",
            row.id,
            found.body,
            row.images,
        )
        .execute(store.pool())
        .await?;
        match changed.rows_affected() {
            0 => after -= 1,
            _ => erased += found.fates.iter().filter(|fate| **fate == Fate::Erase).count() as u64,
        }
    }
    Ok(erased)
}

/// Takes what requests did to the person's user out of the histories, and what they did to others in which a value names the person.
async fn erase_history(store: &Store, tenant: TenantId, person: &Person) -> Result<u64, StoreError> {
    if mutant(Mutant::ErasedStaysInHistory) {
        return Ok(0);
    }
    let users: Vec<Uuid> = person.users().map(UserId::get).collect();
    let named: Vec<String> = person.names().map(str::to_lowercase).collect();
    let erased = sqlx::query!(
        "delete from user_changes
          where tenant_id = $1
            and (user_id = any($2)
                 or exists (select from unnest($3::text[]) as name
                             where strpos(lower(before::text), name) > 0 or strpos(lower(after::text), name) > 0))",
        tenant.get(),
        &users,
        &named,
    )
    .execute(store.pool())
    .await?;
    Ok(erased.rows_affected())
}

async fn delete_user(
    connection: &mut PgConnection,
    tenant: TenantId,
    user: UserId,
) -> Result<u64, StoreError> {
    let deleted =
        sqlx::query!("delete from users where tenant_id = $1 and id = $2", tenant.get(), user.get())
            .execute(&mut *connection)
            .await?
            .rows_affected();
    sqlx::query!("delete from memberships where tenant_id = $1 and user_id = $2", tenant.get(), user.get())
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "delete from user_credentials where tenant_id = $1 and user_id = $2",
        tenant.get(),
        user.get()
    )
    .execute(connection)
    .await?;
    Ok(deleted)
}

/// One chunk. It is locked only where something is to be changed, and then looked at once more.
async fn erase_in(
    store: &Store,
    import: Uuid,
    chunk: i64,
    person: &Person,
    rules: &Rules,
    erased: &mut Erased,
) -> Result<(), StoreError> {
    let mut connection = store.pool().acquire().await?;
    if looked_at(&mut connection, chunk, person, rules, false).await?.is_none() {
        return Ok(());
    }
    drop(connection);
    let mut transaction = store.pool().begin().await?;
    let Some(chunk::Erased { body, fates }) = looked_at(&mut transaction, chunk, person, rules, true).await?
    else {
        return Ok(());
    };
    if !mutant(Mutant::ErasedStaysStaged) {
        sqlx::query!(
            "update chunks set body = $2, body_hash = $3 where id = $1",
            chunk,
            body,
            body_hash(&body)
        )
        .execute(&mut *transaction)
        .await?;
        sqlx::query!("delete from chunk_identifiers where chunk_id = $1", chunk)
            .execute(&mut *transaction)
            .await?;
    }
    let records = decode(&body).map_err(|_| StoreError::corrupt("chunks", "body", chunk))?;
    let fields = records.fields();
    for (record, fate) in records.records(&fields).zip(&fates) {
        let number = i64::try_from(record.position.record.get()).unwrap_or(i64::MAX);
        match fate {
            Fate::Stay => continue,
            Fate::Erase => {
                erased.records += 1;
                erase_issue(&mut transaction, import, number).await?;
            }
            Fate::Hide(_) => {
                erased.mentions += 1;
                hide_in_issue(&mut transaction, import, number, person).await?;
            }
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// The chunk without the person, and what becomes of each record; `None` where nothing is of them.
async fn looked_at(
    connection: &mut PgConnection,
    chunk: i64,
    person: &Person,
    rules: &Rules,
    lock: bool,
) -> Result<Option<chunk::Erased>, StoreError> {
    if lock {
        sqlx::query!("select from chunks where id = $1 for update", chunk).execute(&mut *connection).await?;
    }
    let Some(row) = sqlx::query!("select records, body, outcomes from chunks where id = $1", chunk)
        .fetch_optional(connection)
        .await?
    else {
        return Ok(None);
    };
    let sheet = read_sheet(ChunkId::new(chunk), row.records, row.outcomes.as_deref())?;
    let mut columns: Option<IdentifierColumns> = None;
    let error = Person::error();
    chunk::erase(&row.body, &error, |place, record, names| {
        if rules.options.undo.is_some() {
            return person.fate_of_change(record, names);
        }
        // One that is erased already stays so.
        if record.defect.is_some_and(|defect| defect.code == error.code) {
            return Fate::Stay;
        }
        let columns = columns.get_or_insert_with(|| {
            let mut binding = Binding::new(rules);
            binding.extend(names);
            IdentifierColumns::new(&binding, names)
        });
        let (outcome, user) =
            sheet.get(place).map_or((Outcome::Pending, None), |(verdict, user)| (verdict.outcome, user));
        person.fate(record, outcome, user, columns)
    })
    .map_err(|_| StoreError::corrupt("chunks", "body", chunk))
}

/// A failed record keeps that it failed. Warnings and sources go.
async fn erase_issue(connection: &mut PgConnection, import: Uuid, record: i64) -> Result<(), StoreError> {
    if mutant(Mutant::ErasedStaysInIssues) {
        return Ok(());
    }
    let errors =
        serde_json::to_string(&[Person::error()]).map_err(|error| StoreError::Program(error.to_string()))?;
    sqlx::query!(
        "with told as (
             delete from record_issues where import_id = $1 and record = $2 and not failed
         )
         update record_issues
            set errors = $3::text::json, warnings = null, source = '[]'
          where import_id = $1 and record = $2 and failed",
        import,
        record,
        errors,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Hides the values that name the person in the source of somebody else's record.
async fn hide_in_issue(
    connection: &mut PgConnection,
    import: Uuid,
    record: i64,
    person: &Person,
) -> Result<(), StoreError> {
    let source = sqlx::query_scalar!(
        r#"select source as "source: sqlx::types::Json<Box<Json>>" from record_issues where import_id = $1 and record = $2"#,
        import,
        record,
    )
    .fetch_optional(&mut *connection)
    .await?
    .flatten();
    let Some(source) = source else { return Ok(()) };
    let fields: Vec<(String, Box<Json>)> = serde_json::from_str(source.0.get()).unwrap_or_default();
    let fields = fields.iter().map(|(name, value)| match person.is_named_in(value.get()) {
        true => json!([name, REDACTED]).to_string(),
        // The value's own text: a number keeps its digits.
        false => format!("[{},{}]", json!(name), value.get()),
    });
    let hidden = format!("[{}]", fields.collect::<Vec<_>>().join(","));
    sqlx::query!(
        "update record_issues set source = $3::text::json where import_id = $1 and record = $2",
        import,
        record,
        hidden,
    )
    .execute(connection)
    .await?;
    Ok(())
}
