//! The lifecycle of imports: proceed, pause, resume, cancel, retry. Each is one transition, guarded by the state that it starts from.

mod retry;

use muster_domain::fault::{self, Mutant, Point};
use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_domain::import::{ChunkState, ChunkStep, ImportState, ImportStep};
use muster_domain::planned::{OnDrift, PlanUse};
use sqlx::postgres::PgConnection;

pub use retry::{retry, retry_cause};

use super::audit::{self, Did, Entry};
use super::dispatch::write_final_counts;
use super::undo::{self, Refusal};
use super::{Store, StoreError, Transaction, plans};

pub(super) const PROCEED: ImportStep = ImportStep::of("proceed", ImportState::Received, ImportState::Running);
const APPLY_PLAN: ImportStep = ImportStep::of("proceed", ImportState::Planned, ImportState::Running);
const PLAN: ImportStep = ImportStep::of("plan", ImportState::Planned, ImportState::Planning);
const PAUSE: ImportStep = ImportStep::of("pause", ImportState::Running, ImportState::Paused);
const RESUME: ImportStep = ImportStep::of("resume", ImportState::Paused, ImportState::Running);
const RESUME_CANCELLED: ImportStep = ImportStep::of("resume", ImportState::Cancelled, ImportState::Running);
const PLAN_CANCELLED: ImportStep = ImportStep::of("resume", ImportState::Cancelled, ImportState::Planning);
const STAGE_CANCELLED: ChunkStep = ChunkStep::of("resume", ChunkState::Cancelled, ChunkState::Staged);
const CANCEL: ImportStep = ImportStep::of("cancel", ImportState::Running, ImportState::Cancelled);
const CANCEL_CHUNKS: ChunkStep = ChunkStep::of("cancel", ChunkState::Staged, ChunkState::Cancelled);

/// The result of a requested transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// Done; the import is now in this state.
    Done(ImportState),
    /// The import is in a state in which this cannot be done.
    Refused(ImportState),
    /// It cannot be done because of an undo: this import is undone at the moment, or undoes one that another undo is taking back.
    Undone(Refusal),
    /// The tenant has no such import.
    NotFound,
}

/// Starts an import that was received and waits. Starting an import that runs or ran changes nothing and is
/// not an error, so that a client may repeat it.
pub async fn proceed(store: &Store, tenant: TenantId, import: ImportId) -> Result<Transition, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let moved = sqlx::query!(
        "update imports set state = $3, started_at = now() where id = $1 and tenant_id = $2 and state = any($4)",
        import.get(),
        tenant.get(),
        PROCEED.to(),
        &PROCEED.from(),
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    noted(&mut transaction, store, tenant, import, Did::ImportProceed, moved).await?;
    commit(store, transaction).await?;
    let moved = if moved == 0 { apply_plan(store, tenant, import, PlanUse::Refuse).await? } else { moved };
    settle(store, tenant, import, moved, &[ImportState::Running, ImportState::Completed]).await
}

/// The same, and says what happens to records whose plan no longer holds. An import that runs or ran in another way is refused.
pub async fn proceed_with(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    on_drift: OnDrift,
) -> Result<Transition, StoreError> {
    let plan = match on_drift {
        OnDrift::Refuse => PlanUse::Refuse,
        OnDrift::Apply => PlanUse::Apply,
    };
    let moved = apply_plan(store, tenant, import, plan).await?;
    let so = sqlx::query_scalar!(
        r#"select plan is not distinct from $3 as "so!" from imports where id = $1 and tenant_id = $2"#,
        import.get(),
        tenant.get(),
        plan.as_str(),
    )
    .fetch_optional(store.pool())
    .await?;
    let done: &[ImportState] =
        if so == Some(true) { &[ImportState::Running, ImportState::Completed] } else { &[] };
    settle(store, tenant, import, moved, done).await
}

/// Applies what was planned: its chunks are dispatched once more. Returns the number of imports: 0 or 1.
async fn apply_plan(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    plan: PlanUse,
) -> Result<u64, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let moved = sqlx::query!(
        "update imports
            set state = $4, plan = $3, started_at = now()
          where id = $1 and tenant_id = $2 and state = any($5)",
        import.get(),
        tenant.get(),
        plan.as_str(),
        APPLY_PLAN.to(),
        &APPLY_PLAN.from(),
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if moved == 1 {
        plans::settle_group(&mut transaction, import, true).await?;
        plans::stage_planned(&mut transaction, import, plans::PROCEED).await?;
        plans::clear_keys(&mut transaction, import).await?;
    }
    noted(&mut transaction, store, tenant, import, Did::ImportProceed, moved).await?;
    commit(store, transaction).await?;
    Ok(moved)
}

/// Plans an import again with the current data.
pub async fn plan(store: &Store, tenant: TenantId, import: ImportId) -> Result<Transition, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let moved = sqlx::query!(
        "update imports
            set state = $3, planned_at = null
          where id = $1 and tenant_id = $2 and state = any($4)",
        import.get(),
        tenant.get(),
        PLAN.to(),
        &PLAN.from(),
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if moved == 1 {
        plans::settle_group(&mut transaction, import, false).await?;
        plans::forget(&mut transaction, import).await?;
        plans::stage_planned(&mut transaction, import, plans::PLAN_ANEW).await?;
    }
    noted(&mut transaction, store, tenant, import, Did::ImportPlan, moved).await?;
    commit(store, transaction).await?;
    settle(store, tenant, import, moved, &[ImportState::Planning]).await
}

/// Stops dispatching. Chunks with the workers are still applied.
pub async fn pause(store: &Store, tenant: TenantId, import: ImportId) -> Result<Transition, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let moved = make(&mut transaction, tenant, import, PAUSE).await?;
    noted(&mut transaction, store, tenant, import, Did::ImportPause, moved).await?;
    commit(store, transaction).await?;
    settle(store, tenant, import, moved, &[ImportState::Paused]).await
}

/// Makes a step that changes nothing beside the state. Returns the number of imports: 0 or 1.
async fn make(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    step: ImportStep,
) -> Result<u64, StoreError> {
    let moved = sqlx::query!(
        "update imports set state = $3 where id = $1 and tenant_id = $2 and state = any($4)",
        import.get(),
        tenant.get(),
        step.to(),
        &step.from(),
    )
    .execute(connection)
    .await?;
    Ok(moved.rows_affected())
}

/// Goes on after a pause, or where a cancelled import stopped: what was skipped because of that becomes pending again. Cancelled chunks
/// come last in their lanes, so nothing is applied out of order; and one that a retry had opened is compared with later ones as ever.
/// An import that was cancelled before its plan was applied is planned anew.
pub async fn resume(store: &Store, tenant: TenantId, import: ImportId) -> Result<Transition, StoreError> {
    resume_from(store, tenant, import, &[ImportState::Paused, ImportState::Cancelled]).await
}

/// The same, but only for an import in one of these states: a client that saw it paused must not resume an
/// import that was cancelled meanwhile.
pub async fn resume_from(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    from: &[ImportState],
) -> Result<Transition, StoreError> {
    let moved =
        if from.contains(&ImportState::Paused) { resume_paused(store, tenant, import).await? } else { 0 };
    let resumes =
        moved == 0 && from.contains(&ImportState::Cancelled) && !fault::mutant(Mutant::CancelledForGood);
    let done = &[ImportState::Running, ImportState::Planning];
    match if resumes { resume_cancelled(store, tenant, import).await? } else { Ok(moved) } {
        Ok(moved) => settle(store, tenant, import, moved, done).await,
        Err(refusal) => Ok(Transition::Undone(refusal)),
    }
}

/// Goes on after a pause: 0 for an import in another state.
async fn resume_paused(store: &Store, tenant: TenantId, import: ImportId) -> Result<u64, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let moved = make(&mut transaction, tenant, import, RESUME).await?;
    noted(&mut transaction, store, tenant, import, Did::ImportResume, moved).await?;
    commit(store, transaction).await?;
    Ok(moved)
}

/// The same of a cancelled import: 0 for one in another state. The lock on its row comes first, as everywhere, but for that on the row of
/// an import that it undoes.
async fn resume_cancelled(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
) -> Result<Result<u64, Refusal>, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let hindrance = undo::hindrance(&mut transaction, tenant, import).await?;
    let state = sqlx::query_scalar!(
        "select state from imports where id = $1 and tenant_id = $2 for no key update",
        import.get(),
        tenant.get(),
    )
    .fetch_optional(&mut *transaction)
    .await?;
    if state.as_deref() != Some(ImportState::Cancelled.as_str()) {
        transaction.rollback().await?;
        return Ok(Ok(0));
    }
    if let Some(refusal) = hindrance {
        transaction.rollback().await?;
        return Ok(Err(refusal));
    }
    stage_cancelled_chunks(&mut transaction, import).await?;
    let moved = sqlx::query!(
        "update imports
            set state        = case plan when 'make' then $2 else $3 end,
                started_at   = case plan when 'make' then null else coalesce(started_at, now()) end,
                completed_at = null, final_counts = null, final_chunks = null, planned_at = case plan when 'make' then null else planned_at end
          where id = $1 and state = any($4)",
        import.get(),
        PLAN_CANCELLED.to(),
        RESUME_CANCELLED.to(),
        &RESUME_CANCELLED.from(),
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    // Somebody may have made its group meanwhile.
    plans::settle_group(&mut transaction, import, false).await?;
    noted(&mut transaction, store, tenant, import, Did::ImportResume, moved).await?;
    commit(store, transaction).await?;
    Ok(Ok(moved))
}

/// Cancelling left the outcomes of chunks as they were: what is pending there was skipped by it, and nothing else.
async fn stage_cancelled_chunks(connection: &mut PgConnection, import: ImportId) -> Result<(), StoreError> {
    let mut after = (-1, -1);
    loop {
        let page = sqlx::query!(
            "select id, lane, seq, records, outcomes
               from chunks
              where import_id = $1 and (lane, seq) > ($2, $3) and state = 'cancelled'
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
        let Some(last) = page.last() else { return Ok(()) };
        after = (last.lane, last.seq);
        for chunk in &page {
            let sheet =
                super::convert::read_sheet(ChunkId::new(chunk.id), chunk.records, chunk.outcomes.as_deref())?;
            let pending = super::convert::small(sheet.counts().pending)?;
            let moved = sqlx::query!(
                "update chunks
                    set state = $3, attempts = 0, deferrals = 0, begun = '{}',
                        problem = null, problem_at = null, problem_since = null,
                        pending = $2, skipped = skipped - $2
                  where id = $1 and state = any($4)",
                chunk.id,
                pending,
                STAGE_CANCELLED.to(),
                &STAGE_CANCELLED.from(),
            )
            .execute(&mut *connection)
            .await?;
            super::one_moved(moved.rows_affected(), "a chunk")?;
        }
    }
}

/// Ends an import before its time: records whose turn has not come are skipped with reason `cancelled`. A chunk that is
/// being applied at this moment is waited for and keeps its outcomes.
pub async fn cancel(store: &Store, tenant: TenantId, import: ImportId) -> Result<Transition, StoreError> {
    cancel_from(store, tenant, import, ImportState::ALL).await
}

/// The same, but only for an import in one of these states.
pub async fn cancel_from(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    from: &[ImportState],
) -> Result<Transition, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let moved = cancel_import_from(&mut transaction, tenant, import, from).await?;
    noted(&mut transaction, store, tenant, import, Did::ImportCancel, moved).await?;
    fault::point(Point::Cancel)?;
    commit(store, transaction).await?;
    settle(store, tenant, import, moved, &[ImportState::Cancelled]).await
}

/// Cancels in the caller's transaction. Returns the number of imports cancelled: 0 or 1.
pub(super) async fn cancel_import(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
) -> Result<u64, StoreError> {
    cancel_import_from(connection, tenant, import, ImportState::ALL).await
}

async fn cancel_import_from(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    from: &[ImportState],
) -> Result<u64, StoreError> {
    let from = from.iter().filter(|state| CANCEL.leaves(**state));
    let from: Vec<&str> = from.map(|state| state.as_str()).collect();
    let cancelled: Option<Option<String>> = sqlx::query_scalar(
        "update imports
            set state = $4, completed_at = now()
          where id = $1 and tenant_id = $2 and state = any($3)
        returning plan",
    )
    .bind(import.get())
    .bind(tenant.get())
    .bind(from)
    .bind(CANCEL.to())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(plan) = cancelled else { return Ok(0) };
    sqlx::query!(
        "update chunks
            set state = $2, skipped = skipped + pending, pending = 0, leased_until = null, due_at = null,
                applied_at = case state when 'planned' then null else applied_at end
          where import_id = $1 and state = any($3)",
        import.get(),
        CANCEL_CHUNKS.to(),
        &CANCEL_CHUNKS.from(),
    )
    .execute(&mut *connection)
    .await?;
    write_final_counts(connection, import).await?;
    // A plan that was not applied is of no further use. A plan that was being applied stays valid for the resumed chunks.
    if plan.as_deref() == Some(PlanUse::Make.as_str()) {
        plans::forget(connection, import).await?;
    }
    Ok(1)
}

/// Chunks that are reopened at a time: memory must not grow with their number.
const REOPENED_AT_A_TIME: i64 = 8;

/// Notes in the same transaction that somebody moved an import, where it moved.
pub(super) async fn noted(
    connection: &mut PgConnection,
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    did: Did,
    moved: u64,
) -> Result<(), StoreError> {
    if moved == 0 {
        return Ok(());
    }
    audit::note(connection, store, tenant, Entry::of_import(did, import)).await
}

/// The caller learns the result even if the answer to the commit is lost.
async fn commit(store: &Store, transaction: Transaction<'_>) -> Result<(), StoreError> {
    if fault::mutant(Mutant::TransitionTrusted) {
        return Ok(transaction.commit().await?);
    }
    super::commit(store, transaction).await
}

async fn settle(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    moved: u64,
    done: &[ImportState],
) -> Result<Transition, StoreError> {
    let Some(state) = sqlx::query_scalar!(
        "select state from imports where id = $1 and tenant_id = $2",
        import.get(),
        tenant.get(),
    )
    .fetch_optional(store.pool())
    .await?
    else {
        return Ok(Transition::NotFound);
    };
    let state = state.parse().map_err(|_| StoreError::corrupt("imports", "state", import))?;
    Ok(if moved > 0 || done.contains(&state) { Transition::Done(state) } else { Transition::Refused(state) })
}
