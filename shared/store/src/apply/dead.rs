//! The end of a chunk that cannot be applied, and what is written about its records.

use muster_domain::chunk::decode;
use muster_domain::error::{ErrorCode, RecordError};
use muster_domain::fault::{self, Mutant, Point};
use muster_domain::id::{ChunkId, ImportId};
use muster_domain::import::{ChunkState, ChunkStep};
use muster_domain::outcome::{Outcome, OutcomeSheet, Verdict};
use muster_domain::receive::Issue;
use muster_domain::record::{Secrets, source_json};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::convert::read_sheet;
use crate::issues::write_issues;
use crate::{Store, StoreError};

const END_DEAD: ChunkStep = ChunkStep::of("end_dead", ChunkState::Dispatched, ChunkState::Dead);

/// Ends a chunk that cannot be applied: its pending records fail with code `chunk_dead`. False for a chunk that has ended.
pub async fn mark_dead(store: &Store, chunk: ChunkId, problem: &str) -> Result<bool, StoreError> {
    let mut connection = store.pool().acquire().await?;
    end_dead(&mut connection, chunk, Uuid::nil(), problem).await
}

/// The same over the connection of a worker: its own id in the row does not mean that it died.
pub async fn end_dead(
    connection: &mut PgConnection,
    chunk: ChunkId,
    worker: Uuid,
    problem: &str,
) -> Result<bool, StoreError> {
    let mut transaction = crate::begin(connection).await?;
    let Some(row) = sqlx::query!(
        r#"select import_id, records, pending, body, outcomes, reopened > 0 as "reopened!"
             from chunks
            where id = $1 and state = any($2)
              for no key update"#,
        chunk.get(),
        &END_DEAD.from(),
    )
    .fetch_optional(&mut *transaction)
    .await?
    else {
        transaction.rollback().await?;
        return Ok(false);
    };
    let mut sheet = read_sheet(chunk, row.records, row.outcomes.as_deref())?;
    write_dead_issues(&mut transaction, ImportId::new(row.import_id), chunk, &row.body, &sheet).await?;
    sheet.turn(Outcome::Pending, Verdict::FAILED);
    let moved = sqlx::query!(
        "update chunks
            set state = $5, failed = failed + pending, pending = 0, outcomes = $3,
                attempts = attempts + cardinality(array_remove(begun, $4)), begun = '{}',
                leased_until = null, due_at = null, problem = $2,
                problem_at = now(), problem_since = coalesce(problem_since, now())
          where id = $1 and state = any($6)",
        chunk.get(),
        problem,
        &sheet.encode()[..],
        worker,
        END_DEAD.to(),
        &END_DEAD.from(),
    )
    .execute(&mut *transaction)
    .await?;
    crate::one_moved(moved.rows_affected(), "a chunk")?;
    fault::point(Point::Dead)?;
    transaction.commit().await?;
    if !row.reopened {
        let failed = u64::from(row.pending.unsigned_abs());
        metrics::counter!("muster_records_total", "outcome" => "failed").increment(failed);
        metrics::counter!("muster_failures_total", "code" => ErrorCode::ChunkDead.as_str()).increment(failed);
    }
    Ok(true)
}

/// Issues written at a time for a dead chunk, and bytes of their sources: it may be dead because it takes more memory than there is.
const DEAD_ISSUES: usize = 200;
const DEAD_BYTES: usize = 128 * 1024;

/// Writes what the pending records of a dead chunk failed of.
async fn write_dead_issues(
    connection: &mut PgConnection,
    import: ImportId,
    chunk: ChunkId,
    body: &[u8],
    sheet: &OutcomeSheet,
) -> Result<(), StoreError> {
    let Ok(records) = decode(body) else {
        return write_unreadable_issues(connection, import, chunk, sheet).await;
    };
    let fields = records.fields();
    let secrets = Secrets::by_name(records.names());
    let mut issues = Vec::with_capacity(DEAD_ISSUES);
    let mut bytes = 0;
    for (record, (verdict, _)) in records.records(&fields).zip(sheet.iter()) {
        if verdict.outcome != Outcome::Pending {
            continue;
        }
        let source = source_json(&record, records.names(), &secrets);
        bytes += source.len();
        issues.push(Issue {
            record: record.position.record.get(),
            failed: true,
            errors: vec![RecordError::new(
                ErrorCode::ChunkDead,
                "the chunk of this record could not be applied and its attempts are spent; retry drives it again",
            )],
            warnings: Vec::new(),
            source: Some(source),
        });
        if issues.len() == DEAD_ISSUES || bytes >= DEAD_BYTES {
            write_issues(connection, import, &issues).await?;
            issues.clear();
            bytes = 0;
        }
    }
    write_issues(connection, import, &issues).await
}

/// The same if the records cannot be read: each still has its number and an error, but no source.
async fn write_unreadable_issues(
    connection: &mut PgConnection,
    import: ImportId,
    chunk: ChunkId,
    sheet: &OutcomeSheet,
) -> Result<(), StoreError> {
    if fault::mutant(Mutant::UnreadableWithoutErrors) {
        return Ok(());
    }
    let numbers = crate::unreadable::numbers(connection, import, chunk.get()).await?;
    let pending =
        numbers.iter().zip(sheet.iter()).filter(|(_, (verdict, _))| verdict.outcome == Outcome::Pending);
    let issues: Vec<Issue> = pending
        .map(|(number, _)| Issue {
            record: number.unsigned_abs(),
            failed: true,
            errors: vec![RecordError::new(
                ErrorCode::ChunkDead,
                "the chunk of this record could not be read by the workers; import the record once more",
            )],
            warnings: Vec::new(),
            source: Some("[]".to_owned()),
        })
        .collect();
    write_issues(connection, import, &issues).await
}
