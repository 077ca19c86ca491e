//! Values that must be unique in a file (`duplicates = refuse`). Records that repeat a value are found when
//! the whole file is staged, and fail.
//!
//! The keys are kept in the store while the file is received, so memory depends on the size of a chunk and not on the file (P7).

use std::collections::BTreeMap;

use muster_domain::chunk::{ChunkRecords, decode};
use muster_domain::error::{ErrorCode, RecordError};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::field::Field;
use muster_domain::id::{ChunkId, ImportId};
use muster_domain::import::{ChunkState, ChunkStep};
use muster_domain::options::ImportOptions;
use muster_domain::outcome::{Outcome, Verdict};
use muster_domain::receive::Issue;
use muster_domain::record::source_json;
use muster_domain::rules::Rules;
use muster_domain::unique::{KeyList, UniqueKey};
use muster_domain::validate::Binding;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::StoreError;
use super::convert::{number, numbers, read_sheet, small, wide};
use super::issues::write_issues;

/// Which of a record's values an earlier record has.
#[derive(Debug, Clone, Copy)]
struct Duplicate {
    identifier: bool,
    new_email: bool,
}

/// Stages keys of records.
pub async fn stage_keys(
    connection: &mut PgConnection,
    import: ImportId,
    keys: &[UniqueKey],
) -> Result<(), StoreError> {
    let lists: Vec<i16> = keys.iter().map(|key| key.list.number()).collect();
    let fingerprints: Vec<Uuid> = keys.iter().map(|key| Uuid::from_u128(key.fingerprint)).collect();
    let records: Vec<i64> = keys.iter().map(|key| wide(key.record)).collect();
    sqlx::query!(
        "insert into import_keys (import_id, list, key, record)
         select $1, list, key, record
           from unnest($2::smallint[], $3::uuid[], $4::bigint[]) as new (list, key, record)",
        import.get(),
        &lists,
        &fingerprints,
        &records,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets every record fail whose key an earlier one has. Returns how many records failed that had not failed before.
pub(super) async fn fail(
    connection: &mut PgConnection,
    import: ImportId,
    options: &ImportOptions,
) -> Result<u64, StoreError> {
    // Sorting the keys of a very large file may take longer than other statements are given.
    sqlx::raw_sql("set local statement_timeout = '1h'").execute(&mut *connection).await?;
    let duplicates = sqlx::query!(
        "insert into import_doubles (import_id, record, identifier, new_email)
         select $1, record, bool_or(list = $2), bool_or(list = $3)
           from (select list, record, row_number() over (partition by list, key order by record) as place
                   from import_keys
                  where import_id = $1) as keys
          where place > 1
          group by record",
        import.get(),
        KeyList::Identifier.number(),
        KeyList::NewEmail.number(),
    )
    .execute(&mut *connection)
    .await?;
    let mut failed = 0;
    if duplicates.rows_affected() > 0 {
        let rules = Rules::new(options.clone());
        let mut after = 0;
        while let Some((chunk, newly)) = fail_in_next(connection, import, &rules, after).await? {
            failed += newly;
            after = chunk;
        }
    }
    drop_keys(connection, import.get()).await?;
    Ok(failed)
}

/// The keys have served.
async fn drop_keys(connection: &mut PgConnection, import: Uuid) -> Result<(), StoreError> {
    sqlx::query!("delete from import_doubles where import_id = $1", import).execute(&mut *connection).await?;
    sqlx::query!("delete from import_keys where import_id = $1", import).execute(connection).await?;
    Ok(())
}

const ALL_REPEAT: ChunkStep = ChunkStep::of("receive", ChunkState::Staged, ChunkState::Applied);

/// The same within the next chunk after one that may have such records. `None` if there is none left.
async fn fail_in_next(
    connection: &mut PgConnection,
    import: ImportId,
    rules: &Rules,
    after: i64,
) -> Result<Option<(i64, u64)>, StoreError> {
    let Some(row) = sqlx::query!(
        "select id, records, body, outcomes
           from chunks
          where import_id = $1 and id > $2
            and exists (select from import_doubles as d
                         where d.import_id = $1 and d.record between chunks.first_record and chunks.last_record)
          order by id
          limit 1",
        import.get(),
        after,
    )
    .fetch_optional(&mut *connection)
    .await?
    else {
        return Ok(None);
    };
    let records = decode(&row.body).map_err(|_| StoreError::corrupt("chunks", "body", row.id))?;
    let duplicates_found = duplicates_of(connection, import, &records).await?;
    let mut sheet = read_sheet(ChunkId::new(row.id), row.records, row.outcomes.as_deref())?;
    let mut issues = issues(&records, &duplicates_found, rules);
    let mut failed = 0;
    for (index, _) in &issues {
        if sheet.get(*index).is_some_and(|(verdict, _)| verdict.outcome == Outcome::Pending) {
            sheet.set(*index, Verdict::FAILED, None);
            failed += 1;
        }
    }
    add_known_errors(connection, import, &mut issues).await?;
    let issues: Vec<Issue> = issues.into_iter().map(|(_, issue)| issue).collect();
    write_issues(connection, import, &issues).await?;
    if failed > 0 {
        let counts = sheet.counts();
        let moved = sqlx::query!(
            "update chunks
                set state = case when $2::int = 0 then $6 else state end, pending = $2, failed = $3, outcomes = $4,
                    applied_at = case when $2::int = 0 and not $5 then now() end
              where id = $1 and state = any($7)",
            row.id,
            small(counts.pending)?,
            small(counts.failed)?,
            &sheet.encode()[..],
            mutant(Mutant::StagedWithoutEnd),
            ALL_REPEAT.to(),
            &ALL_REPEAT.from(),
        )
        .execute(connection)
        .await?;
        super::one_moved(moved.rows_affected(), "a chunk")?;
    }
    Ok(Some((row.id, failed)))
}

/// The doubles among a chunk's records.
async fn duplicates_of(
    connection: &mut PgConnection,
    import: ImportId,
    chunk: &ChunkRecords,
) -> Result<BTreeMap<u64, Duplicate>, StoreError> {
    let records = numbers(chunk);
    let rows = sqlx::query!(
        "select record, identifier, new_email
           from import_doubles
          where import_id = $1 and record = any($2)",
        import.get(),
        &records,
    )
    .fetch_all(connection)
    .await?;
    let mut duplicates_found = BTreeMap::new();
    for row in rows {
        let which = Duplicate { identifier: row.identifier, new_email: row.new_email };
        duplicates_found.insert(number(row.record, ("import_doubles", "record"), import)?, which);
    }
    Ok(duplicates_found)
}

/// What to tell of the doubled records of a chunk, with their index in it.
fn issues(
    chunk: &ChunkRecords,
    duplicates_found: &BTreeMap<u64, Duplicate>,
    rules: &Rules,
) -> Vec<(usize, Issue)> {
    let mut binding = Binding::new(rules);
    binding.extend(chunk.names());
    let identifier = Field::from(rules.options.identifier);
    let error = |field: Field| {
        let message = "an earlier record of the file has the same value";
        RecordError::new(ErrorCode::DuplicateInFile, message)
            .in_field(binding.name_of(field).unwrap_or(field.as_str()))
    };
    let fields = chunk.fields();
    let mut issues = Vec::new();
    for (index, record) in chunk.records(&fields).enumerate() {
        let number = record.position.record.get();
        let Some(which) = duplicates_found.get(&number) else { continue };
        let errors = [(which.identifier, identifier), (which.new_email, Field::NewEmail)];
        let issue = Issue {
            record: number,
            failed: true,
            errors: errors.into_iter().filter(|(is, _)| *is).map(|(_, field)| error(field)).collect(),
            warnings: Vec::new(),
            source: Some(source_json(&record, chunk.names(), binding.secrets())),
        };
        issues.push((index, issue));
    }
    issues
}

/// The validation errors of the same records are kept, before the added ones.
async fn add_known_errors(
    connection: &mut PgConnection,
    import: ImportId,
    issues: &mut [(usize, Issue)],
) -> Result<(), StoreError> {
    let records: Vec<i64> = issues.iter().map(|(_, issue)| wide(issue.record)).collect();
    let rows = sqlx::query!(
        r#"select record, errors as "errors: sqlx::types::Json<Vec<RecordError>>"
             from record_issues
            where import_id = $1 and record = any($2)"#,
        import.get(),
        &records,
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let Ok(at) = records.binary_search(&row.record) else { continue };
        if let (Some((_, issue)), Some(errors)) = (issues.get_mut(at), row.errors) {
            issue.errors.splice(0..0, errors.0);
        }
    }
    Ok(())
}

/// Which of a chunk's records, by index, failed for repeating a value.
pub(super) async fn among(
    connection: &mut PgConnection,
    import: ImportId,
    records: &[i64],
) -> Result<Vec<usize>, StoreError> {
    let duplicates_found = sqlx::query_scalar!(
        r#"select record
             from record_issues
            where import_id = $1 and record = any($2) and errors::jsonb @> '[{"code": "duplicate_in_file"}]'"#,
        import.get(),
        records,
    )
    .fetch_all(connection)
    .await?;
    Ok(duplicates_found.iter().filter_map(|record| records.binary_search(record).ok()).collect())
}
