//! Retrying: what failed is driven once more, and nothing else.

mod issues;

use muster_domain::chunk::decode;
use muster_domain::error::ErrorCode;
use muster_domain::fault::{self, Mutant, Point};
use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_domain::import::{ChunkState, ChunkStep, ImportState, ImportStep};
use muster_domain::options::Duplicates;
use muster_domain::outcome::{Outcome, Verdict};
use serde_json::json;
use sqlx::postgres::PgConnection;

use super::{REOPENED_AT_A_TIME, Transition, commit, settle};
use crate::audit::{self, Did, Entry};
use crate::convert::{numbers, read_sheet, small};
use crate::problems::{self, Cause};
use crate::take_back::forget_left_out;
use crate::{Store, StoreError, duplicates, undo, unreadable};

const RETRY: ImportStep = ImportStep::of("retry", ImportState::Completed, ImportState::Running);
const REOPEN: ChunkStep = ChunkStep::of("retry", ChunkState::Dead, ChunkState::Staged);

/// Drives what failed once more: failed records and the records of dead chunks become pending, and the import runs again.
/// What was inserted, updated or skipped stays as it is. With nothing to retry the import stays completed, unless it has
/// open chunks, which it should not: then it runs again too.
///
/// The lock on the import's row comes before everything else, here and in whatever completes or cancels an import; before it only that on
/// the row of an import that it undoes.
pub async fn retry(store: &Store, tenant: TenantId, import: ImportId) -> Result<Transition, StoreError> {
    retry_cause(store, tenant, import, Cause::default()).await
}

/// The same for the records that failed with such an error; all others stay as they are.
pub async fn retry_cause(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    cause: Cause<'_>,
) -> Result<Transition, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let hindrance = undo::hindrance(&mut transaction, tenant, import).await?;
    let row = sqlx::query!(
        r#"select state, options ->> 'duplicates' as duplicates, undoes is not null as "is_undo!"
             from imports
            where id = $1 and tenant_id = $2
              for no key update"#,
        import.get(),
        tenant.get(),
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(row) = row.filter(|row| matches!(row.state.as_str(), "running" | "paused" | "completed")) else {
        transaction.rollback().await?;
        return settle(store, tenant, import, 0, &[]).await;
    };
    if let Some(refusal) = hindrance {
        transaction.rollback().await?;
        return Ok(Transition::Undone(refusal));
    }
    let unique = row.duplicates.as_deref() == Some(Duplicates::Refuse.as_str());
    let kind = Kind { unique, is_undo: row.is_undo };
    let reopened = reopen_chunks(&mut transaction, import, kind, cause).await?;
    if reopened > 0 {
        forget_left_out(&mut transaction, import, cause).await?;
    }
    let moved = if reopened == 0
        && !(row.state == "completed" && has_open_chunks(&mut transaction, import).await?)
    {
        0
    } else {
        sqlx::query!(
            "update imports
                set state = case when state = any($2) then $3 else state end, final_counts = null, final_chunks = null, completed_at = null
              where id = $1",
            import.get(),
            &RETRY.from(),
            RETRY.to(),
        )
        .execute(&mut *transaction)
        .await?
        .rows_affected()
    };
    if moved > 0 {
        let entry = Entry::of_import(Did::ImportRetry, import).counting(json!({ "chunks": reopened }));
        audit::note(&mut transaction, store, tenant, entry.chosen(cause.as_filter())).await?;
    }
    fault::point(Point::Retry)?;
    commit(store, transaction).await?;
    settle(store, tenant, import, moved, &[ImportState::Running, ImportState::Paused, ImportState::Completed])
        .await
}

async fn has_open_chunks(connection: &mut PgConnection, import: ImportId) -> Result<bool, StoreError> {
    if fault::mutant(Mutant::RetryLeavesOpenChunks) {
        return Ok(false);
    }
    Ok(sqlx::query_scalar!(
        r#"select exists (select from chunks
                           where import_id = $1 and state in ('staged', 'dispatched', 'retryable')) as "open!""#,
        import.get(),
    )
    .fetch_one(connection)
    .await?)
}

/// What the retried import is like.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// Records that repeat a value of their file stay failed, since only a corrected file can help.
    unique: bool,
    is_undo: bool,
}

/// What became of a chunk with failed records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reopened {
    /// None of them is tried again.
    No,
    /// Some are.
    Yes,
    /// Some are, of an undo, and all these had failed as `changed_since_plan`.
    Drifted,
}

/// A chunk with failed records, its row locked.
struct Failing {
    id: i64,
    lane: i32,
    seq: i32,
    records: i32,
    body: Vec<u8>,
    outcomes: Option<Vec<u8>>,
}

/// Makes failed records pending. Returns of how many chunks.
async fn reopen_chunks(
    connection: &mut PgConnection,
    import: ImportId,
    kind: Kind,
    cause: Cause<'_>,
) -> Result<usize, StoreError> {
    let (mut reopened, mut drifted) = (0, 0);
    let mut after = (-1, -1);
    loop {
        let page = sqlx::query_as!(
            Failing,
            "select id, lane, seq, records, body, outcomes
               from chunks
              where import_id = $1 and (lane, seq) > ($2, $3) and state in ('applied', 'dead') and failed > 0
              order by lane, seq
              limit $4
                for no key update",
            import.get(),
            after.0,
            after.1,
            REOPENED_AT_A_TIME,
        )
        .fetch_all(&mut *connection)
        .await?;
        let Some(last) = page.last() else { break };
        after = (last.lane, last.seq);
        for chunk in &page {
            let became = reopen(connection, import, chunk, kind, cause).await?;
            reopened += usize::from(became != Reopened::No);
            drifted += i64::from(became == Reopened::Drifted);
        }
    }
    if drifted > 0 && !fault::mutant(Mutant::HealedUndoIsNotWhole) {
        note_drifted(connection, import, drifted).await?;
    }
    Ok(reopened)
}

/// Counts the chunks of an undo after whose retry nothing is left of what had failed: whether the undo is whole depends on it.
async fn note_drifted(
    connection: &mut PgConnection,
    import: ImportId,
    chunks: i64,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update imports
            set options = jsonb_set(options, '{undo,drifted}',
                                    to_jsonb(coalesce((options #>> '{undo,drifted}')::bigint, 0) + $2))
          where id = $1",
        import.get(),
        chunks,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Reopens one chunk, if a record of it is to be tried again.
async fn reopen(
    connection: &mut PgConnection,
    import: ImportId,
    chunk: &Failing,
    kind: Kind,
    cause: Cause<'_>,
) -> Result<Reopened, StoreError> {
    let id = ChunkId::new(chunk.id);
    let mut sheet = read_sheet(id, chunk.records, chunk.outcomes.as_deref())?;
    let numbers = match decode(&chunk.body) {
        Ok(records) => numbers(&records),
        Err(_) => unreadable::numbers(connection, import, chunk.id).await?,
    };
    if cause.is_any() || fault::mutant(Mutant::RetryOfAllCauses) {
        sheet.turn(Outcome::Failed, Verdict::PENDING);
    } else {
        let meant = problems::among(connection, import, cause, &numbers).await?;
        for (index, number) in numbers.iter().enumerate() {
            if meant.binary_search(number).is_ok() {
                sheet.set(index, Verdict::PENDING, None);
            }
        }
    }
    if kind.unique {
        for index in duplicates::among(connection, import, &numbers).await? {
            sheet.set(index, Verdict::FAILED, None);
        }
    }
    let counts = sheet.counts();
    if counts.pending == 0 {
        return Ok(Reopened::No);
    }
    let moved = sqlx::query!(
        "update chunks
            set state = $5, attempts = 0, deferrals = 0, problem = null, problem_at = null, problem_since = null,
                outcomes = $2, applied_at = null,
                earlier_done = inserted + updated + skipped, earlier_failed = $4, earlier_at = coalesce(earlier_at, applied_at),
                reopened = reopened + 1, pending = $3, failed = $4
          where id = $1 and state = any($6)",
        chunk.id,
        &sheet.encode()[..],
        small(counts.pending)?,
        small(counts.failed)?,
        REOPEN.to(),
        &REOPEN.from(),
    )
    .execute(&mut *connection)
    .await?;
    crate::one_moved(moved.rows_affected(), "a chunk")?;
    // Errors of the records that are retried are deleted; those of all other records stay.
    let pending = sheet.iter().zip(&numbers).filter(|((verdict, _), _)| verdict.outcome == Outcome::Pending);
    let pending: Vec<i64> = pending.map(|(_, number)| *number).collect();
    let drifted = Cause { code: Some(ErrorCode::ChangedSincePlan.as_str()), field: None };
    let only_drifted =
        kind.is_undo && problems::among(connection, import, drifted, &pending).await?.len() == pending.len();
    issues::forget_errors(connection, import, &pending).await?;
    Ok(if only_drifted { Reopened::Drifted } else { Reopened::Yes })
}
