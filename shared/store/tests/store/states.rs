//! Every operation on every state, on a real database: it moves an import or a chunk as the tables of the domain say, and leaves all others
//! alone. Receiving, planning, applying and retrying take more than a row: the tests of the pipeline have them.

use std::time::Duration;

use muster_domain::error::{ErrorCode, FileError};
use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_domain::import::{CHUNK_MOVES, ChunkState, IMPORT_MOVES, ImportState, Move};
use muster_store::apply::{self, Costs, Later};
use muster_store::chunks::{self, ChunkFilter};
use muster_store::{Store, StoreError, dispatch, lifecycle, receiving, tenants};
use muster_testkit::TestDatabase;
use uuid::Uuid;

/// An import in this state, without chunks. `plan`: what its plan is used for.
async fn import_in(store: &Store, tenant: TenantId, state: ImportState, plan: Option<&str>) -> ImportId {
    let id: Uuid = sqlx::query_scalar(
        "insert into imports (id, tenant_id, state, options, alive_until, plan)
         values (gen_random_uuid(), $1, $2, '{}', now(), $3) returning id",
    )
    .bind(tenant.get())
    .bind(state.as_str())
    .bind(plan)
    .fetch_one(store.pool())
    .await
    .unwrap();
    ImportId::new(id)
}

async fn state_of(store: &Store, import: ImportId) -> ImportState {
    let state: String = sqlx::query_scalar("select state from imports where id = $1")
        .bind(import.get())
        .fetch_one(store.pool())
        .await
        .unwrap();
    state.parse().unwrap()
}

const IMPORT_OPERATIONS: [&str; 9] =
    ["proceed", "plan", "pause", "resume", "cancel", "complete", "refuse", "abort", "retry"];

async fn operate(store: &Store, tenant: TenantId, import: ImportId, operation: &str) {
    let why = || FileError::new(ErrorCode::UploadIncomplete, "it is to end");
    match operation {
        "proceed" => {
            lifecycle::proceed(store, tenant, import).await.unwrap();
        }
        "plan" => {
            lifecycle::plan(store, tenant, import).await.unwrap();
        }
        "pause" => {
            lifecycle::pause(store, tenant, import).await.unwrap();
        }
        "resume" => {
            lifecycle::resume(store, tenant, import).await.unwrap();
        }
        "cancel" => {
            lifecycle::cancel(store, tenant, import).await.unwrap();
        }
        "retry" => {
            lifecycle::retry(store, tenant, import).await.unwrap();
        }
        "complete" => {
            dispatch::complete_ended(store).await.unwrap();
        }
        "refuse" => {
            receiving::discard(store, import, ImportState::Refused, &why()).await.unwrap();
        }
        "abort" => {
            receiving::discard(store, import, ImportState::Aborted, &why()).await.unwrap();
        }
        other => panic!("no such operation: {other}"),
    }
}

/// Whether each move that the operations can make was seen.
fn all_seen<S: Copy + PartialEq + std::fmt::Debug>(
    moves: &[Move<S>],
    operations: &[&'static str],
    seen: &[(S, S, &'static str)],
) {
    for one in moves.iter().filter(|one| operations.contains(&one.by)) {
        for from in one.from {
            assert!(seen.contains(&(*from, one.to, one.by)), "{from:?} by {}: never seen", one.by);
        }
    }
}

#[tokio::test]
async fn every_operation_moves_an_import_as_the_table_says() {
    let store = TestDatabase::create().await.store().await;
    let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
    let mut seen = Vec::new();
    for operation in IMPORT_OPERATIONS {
        for state in ImportState::ALL.iter().copied() {
            let planned = matches!(state, ImportState::Planning | ImportState::Planned);
            let plans: &[Option<&str>] = match state {
                // One that was cancelled before its plan was applied is planned anew.
                ImportState::Cancelled => &[None, Some("make")],
                _ if planned => &[Some("make")],
                _ => &[None],
            };
            for plan in plans {
                let import = import_in(&store, tenant, state, *plan).await;
                operate(&store, tenant, import, operation).await;
                let after = state_of(&store, import).await;
                let expected = state.moved_by(operation);
                // With nothing to drive again the state stays.
                let stays = expected.is_empty() || operation == "retry";
                let fits = expected.contains(&after) || stays && after == state;
                assert!(fits, "{operation} of an import that is {state}: {after}, not {expected:?}");
                seen.push((state, after, operation));
            }
        }
    }
    let sure: Vec<&str> = IMPORT_OPERATIONS.into_iter().filter(|operation| *operation != "retry").collect();
    all_seen(IMPORT_MOVES, &sure, &seen);
}

/// A chunk of one record in this state, of an import in that one.
async fn chunk_in(
    store: &Store,
    tenant: TenantId,
    state: ChunkState,
    import: ImportState,
) -> (ImportId, ChunkId) {
    let planned = import == ImportState::Planned;
    let import = import_in(store, tenant, import, planned.then_some("make")).await;
    let open = !matches!(state, ChunkState::Applied | ChunkState::Dead | ChunkState::Cancelled);
    let ended = |wanted| i32::from(state == wanted);
    let id: i64 = sqlx::query_scalar(
        "insert into chunks (import_id, tenant_id, lane, seq, state, first_record, last_record, records, pending, inserted,
                             failed, skipped, due_at, body_hash, body)
         values ($1, $2, 0, 0, $3, 1, 1, 1, $4, $5, $6, $7, case when $3 = 'retryable' then now() end, 0, '') returning id",
    )
    .bind(import.get())
    .bind(tenant.get())
    .bind(state.as_str())
    .bind(i32::from(open))
    .bind(ended(ChunkState::Applied))
    .bind(ended(ChunkState::Dead))
    .bind(ended(ChunkState::Cancelled))
    .fetch_one(store.pool())
    .await
    .unwrap();
    (import, ChunkId::new(id))
}

/// Operations on chunks, with the state of the import in which they can be done.
const CHUNK_OPERATIONS: [(&str, ImportState); 10] = [
    ("claim", ImportState::Running),
    ("unclaim", ImportState::Running),
    ("stage_again", ImportState::Running),
    ("dead_letter", ImportState::Running),
    ("defer", ImportState::Running),
    ("end_dead", ImportState::Running),
    ("cancel", ImportState::Running),
    ("proceed", ImportState::Planned),
    ("plan", ImportState::Planned),
    ("resume", ImportState::Cancelled),
];

async fn operate_on_chunk(
    store: &Store,
    tenant: TenantId,
    (import, chunk): (ImportId, ChunkId),
    operation: &str,
) {
    match operation {
        "claim" => {
            dispatch::claim(store, &[chunk], 30.0).await.unwrap();
        }
        "unclaim" => dispatch::unclaim(store, chunk, "the queue is away").await.unwrap(),
        "stage_again" => {
            dispatch::stage_again(store, &[chunk]).await.unwrap();
        }
        "dead_letter" => {
            dispatch::dead_letter(store, chunk, import, 5).await.unwrap();
        }
        "defer" => {
            let later = Later { delay: Duration::from_secs(1), problem: "it waits", costs: Costs::Deferral };
            let mut connection = store.dedicated_connection().await.unwrap();
            apply::defer(&mut connection, chunk, Uuid::nil(), later).await.unwrap();
        }
        "end_dead" => {
            apply::mark_dead(store, chunk, "it cannot be read").await.unwrap();
        }
        on_import => operate(store, tenant, import, on_import).await,
    }
}

#[tokio::test]
async fn every_operation_moves_a_chunk_as_the_table_says() {
    let store = TestDatabase::create().await.store().await;
    let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
    let mut seen = Vec::new();
    for (operation, of_import) in CHUNK_OPERATIONS {
        for state in ChunkState::ALL.iter().copied() {
            let (import, chunk) = chunk_in(&store, tenant, state, of_import).await;
            operate_on_chunk(&store, tenant, (import, chunk), operation).await;
            let after: String = sqlx::query_scalar("select state from chunks where id = $1")
                .bind(chunk.get())
                .fetch_one(store.pool())
                .await
                .unwrap();
            let after: ChunkState = after.parse().unwrap();
            let expected = state.moved_by(operation);
            let fits = if expected.is_empty() { after == state } else { expected.contains(&after) };
            assert!(fits, "{operation} of a chunk that is {state}: {after}, not {expected:?}");
            seen.push((state, after, operation));
        }
    }
    let operations = CHUNK_OPERATIONS.map(|(operation, _)| operation);
    all_seen(CHUNK_MOVES, &operations, &seen);
}

#[tokio::test]
async fn a_number_that_cannot_be_is_told_with_its_table_column_and_key() {
    let store = TestDatabase::create().await.store().await;
    let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
    let (import, chunk) = chunk_in(&store, tenant, ChunkState::Staged, ImportState::Running).await;
    let filter = ChunkFilter { state: None, problem: false, after: None };
    assert_eq!(chunks::page(&store, tenant, import, filter, 10).await.unwrap().unwrap().len(), 1);
    sqlx::query("update chunks set attempts = -1 where id = $1")
        .bind(chunk.get())
        .execute(store.pool())
        .await
        .unwrap();
    let told = chunks::page(&store, tenant, import, filter, 10).await.unwrap_err();
    let expected = chunk.get().to_string();
    let known =
        matches!(&told, StoreError::Corrupt { table: "chunks", column: "attempts", key } if *key == expected);
    assert!(known, "{told:?}");
}

/// What a chunk waits for without being at fault: the next real deferral must not be as long as if there had been many.
#[tokio::test]
async fn a_chunk_whose_turn_comes_later_is_charged_nothing() {
    let store = TestDatabase::create().await.store().await;
    let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
    let mut connection = store.dedicated_connection().await.unwrap();
    for (costs, charged) in [(Costs::Nothing, (0, 0)), (Costs::Deferral, (0, 1)), (Costs::Attempt, (1, 0))] {
        let (_, chunk) = chunk_in(&store, tenant, ChunkState::Dispatched, ImportState::Running).await;
        let later = Later { delay: Duration::from_millis(50), problem: "it comes after another", costs };
        assert!(apply::defer(&mut connection, chunk, Uuid::nil(), later).await.unwrap());
        let told: (i32, i32) = sqlx::query_as("select attempts, deferrals from chunks where id = $1")
            .bind(chunk.get())
            .fetch_one(store.pool())
            .await
            .unwrap();
        assert_eq!(told, charged, "{costs:?}");
    }
}

/// It was taken back while its worker could not go on with it.
#[tokio::test]
async fn a_chunk_that_is_deferred_too_late_keeps_no_note_of_its_worker() {
    let store = TestDatabase::create().await.store().await;
    let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
    let (_, chunk) = chunk_in(&store, tenant, ChunkState::Dispatched, ImportState::Running).await;
    let worker = Uuid::from_u128(1);
    sqlx::query("update chunks set begun = array[$2, $3] where id = $1")
        .bind(chunk.get())
        .bind(worker)
        .bind(Uuid::from_u128(2))
        .execute(store.pool())
        .await
        .unwrap();
    assert_eq!(dispatch::stage_again(&store, &[chunk]).await.unwrap(), 1);
    let later = Later { delay: Duration::from_secs(1), problem: "it waits", costs: Costs::Deferral };
    let mut connection = store.dedicated_connection().await.unwrap();
    assert!(!apply::defer(&mut connection, chunk, worker, later).await.unwrap());
    let told: (String, Vec<Uuid>) = sqlx::query_as("select state, begun from chunks where id = $1")
        .bind(chunk.get())
        .fetch_one(store.pool())
        .await
        .unwrap();
    assert_eq!(told, ("staged".to_owned(), vec![Uuid::from_u128(2)]));
}
