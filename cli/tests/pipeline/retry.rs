//! Retry: what it reopens, what it leaves, and what it meets meanwhile.

use muster_shared::id::ImportId;
use muster_shared::import::ImportState;
use muster_shared::options::ImportOptions;
use muster_shared::outcome::Outcome;
use muster_shared::store::dispatch;
use muster_shared::store::records;
use muster_shared::store::steer::{self, Steered};
use sqlx::{Connection, PgConnection};

use crate::harness::{Backend, Pipeline, counts, people};

/// `n` users, of whom every tenth has no valid address.
fn some_invalid(n: usize) -> String {
    let valid = |at: usize| if at % 10 == 3 { String::new() } else { format!("user{at}@example.com") };
    (0..n).fold(String::from("email,first_name\n"), |csv, at| csv + &format!("{},Zoë\n", valid(at)))
}

/// Numbers of the failed records, as the file of failed records tells them.
async fn told(pipeline: &Pipeline, import: ImportId) -> Vec<u64> {
    let failed = records::failed(&pipeline.store, import, 0, 1_000).await.unwrap();
    assert!(failed.iter().all(|record| !record.errors.is_empty()));
    failed.into_iter().map(|record| record.record).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_leaves_the_errors_of_records_that_stay_failed() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let import = pipeline.accepted(&some_invalid(400), &ImportOptions::default()).await;
    let invalid: Vec<u64> = (0..40).map(|ten| ten * 10 + 4).collect();
    assert_eq!(told(&pipeline, import).await, invalid);
    assert_eq!(steer::pause(&store, tenant, import).await.unwrap(), Steered::Done(ImportState::Paused));
    // No chunk has ended, so none is reopened.
    assert_eq!(steer::retry(&store, tenant, import).await.unwrap(), Steered::Done(ImportState::Paused));
    assert_eq!(told(&pipeline, import).await, invalid);
    // Some have ended.
    steer::resume(&store, tenant, import).await.unwrap();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(1));
    while pipeline.report(import).await.chunks.applied == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        let steered = steer::retry(&store, tenant, import).await.unwrap();
        assert!(matches!(steered, Steered::Done(_)), "{steered:?}");
        pipeline.report(import).await;
        pipeline.records(import, None).await;
    }
    assert_eq!(pipeline.ended(import).await.counts, counts(400, 360, 0, 0, 40));
    assert_eq!(told(&pipeline, import).await, invalid);
    assert_eq!(pipeline.witness().await, (360, 360));
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// An import of two chunks of one record, both failed.
async fn all_failed(pipeline: &mut Pipeline) -> ImportId {
    pipeline.limits.chunk.records = 1;
    let mut connection = pipeline.store.connection().await.unwrap();
    sqlx::raw_sql("alter table users add constraint nobody check (false)")
        .execute(&mut connection)
        .await
        .unwrap();
    let report = pipeline.import(&people(2), &ImportOptions::default()).await;
    assert_eq!(report.counts, counts(2, 0, 0, 0, 2));
    sqlx::raw_sql("alter table users drop constraint nobody").execute(&mut connection).await.unwrap();
    report.id
}

/// Until a session of the database waits for a lock.
async fn somebody_waits(connection: &mut PgConnection) {
    let waiting = "select exists (select from pg_stat_activity
                                   where datname = current_database() and wait_event_type = 'Lock')";
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&mut *connection).await.unwrap() {
        assert!(std::time::Instant::now() < deadline, "nobody waits");
        tokio::task::yield_now().await;
    }
}

/// The dispatcher is about to complete an import, and waits for a retry that has not committed.
#[tokio::test(flavor = "multi_thread")]
async fn completing_sees_what_a_retry_opened_while_it_waited() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let import = all_failed(&mut pipeline).await;
    let mut operator = store.connection().await.unwrap();
    // As it stands between the last chunk's end and its completion.
    sqlx::query(
        "update imports set state = 'running', completed_at = null, final_counts = null where id = $1",
    )
    .bind(import.get())
    .execute(&mut operator)
    .await
    .unwrap();
    let mut holder = store.connection().await.unwrap();
    let mut held = holder.begin().await.unwrap();
    // What retry does, step by step: the import's row first, then the chunks.
    sqlx::query("select from imports where id = $1 for no key update")
        .bind(import.get())
        .execute(&mut *held)
        .await
        .unwrap();
    let completing = tokio::spawn({
        let store = store.clone();
        async move { dispatch::complete_ended(&store).await.unwrap() }
    });
    somebody_waits(&mut operator).await;
    sqlx::query("delete from record_issues where import_id = $1")
        .bind(import.get())
        .execute(&mut *held)
        .await
        .unwrap();
    sqlx::query(
        "update chunks set state = 'staged', outcomes = null, pending = 1, failed = 0 where import_id = $1",
    )
    .bind(import.get())
    .execute(&mut *held)
    .await
    .unwrap();
    held.commit().await.unwrap();
    assert_eq!(completing.await.unwrap(), []);
    assert_eq!(pipeline.report(import).await.state, ImportState::Running);
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(1));
    assert_eq!(pipeline.ended(import).await.counts, counts(2, 2, 0, 0, 0));
    assert_eq!(steer::retry(&store, tenant, import).await.unwrap(), Steered::Done(ImportState::Completed));
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_frees_an_import_that_is_completed_with_open_chunks() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let import = pipeline.accepted(&people(50), &ImportOptions::default()).await;
    let mut operator = store.connection().await.unwrap();
    sqlx::query("update imports set state = 'completed', completed_at = now() where id = $1")
        .bind(import.get())
        .execute(&mut operator)
        .await
        .unwrap();
    assert_eq!(steer::retry(&store, tenant, import).await.unwrap(), Steered::Done(ImportState::Running));
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(pipeline.ended(import).await.counts, counts(50, 50, 0, 0, 0));
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// Chunks of one record, retried again and again while they end and the import completes: it is never completed with a
/// record that is still to come.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn retrying_while_completing_leaves_no_record_pending() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let import = all_failed(&mut pipeline).await;
    let mut operator = store.connection().await.unwrap();
    sqlx::raw_sql("alter table users add constraint nobody check (false)")
        .execute(&mut operator)
        .await
        .unwrap();
    let worker = pipeline.worker(2);
    let dispatcher = pipeline.dispatcher();
    let mut completed = 0;
    for _ in 0..60 {
        // Two at once: the second finds nothing, or what has failed again meanwhile.
        let (one, other) =
            tokio::join!(steer::retry(&store, tenant, import), steer::retry(&store, tenant, import));
        assert!(matches!((one.unwrap(), other.unwrap()), (Steered::Done(_), Steered::Done(_))));
        dispatch::complete_ended(&store).await.unwrap();
        let report = pipeline.report(import).await;
        if report.state == ImportState::Completed {
            completed += 1;
            assert_eq!(report.counts, counts(2, 0, 0, 0, 2));
        }
    }
    println!("completed {completed} of 60 times");
    assert_eq!(pipeline.ended(import).await.counts, counts(2, 0, 0, 0, 2));
    assert_eq!(pipeline.records(import, Some(Outcome::Failed)).await.len(), 2);
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}
