//! Proceed, pause, resume, cancel, retry.

use muster_domain::error::ErrorCode;
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::options::{ImportOptions, Start};
use muster_domain::outcome::Counts;
use muster_domain::outcome::{Outcome, Reason};
use muster_queue::{Headers, Message};
use muster_store::lifecycle::{self, Transition};
use muster_store::{apply, dispatch, reports, retention, tenants};

use crate::harness::{Backend, Pipeline, people};
use crate::on_both_queues;

on_both_queues!(imports_of_a_disabled_tenant_wait_and_go_on_when_it_is_enabled);

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_import_waits_for_proceed() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let options = ImportOptions { start: Start::Manual, ..ImportOptions::default() };
    let import = pipeline.accepted(&people(50), &options).await;
    assert_eq!(pipeline.report(import).await.state, ImportState::Received);
    assert!(dispatch::lane_heads(&pipeline.store).await.unwrap().is_empty());
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    assert_eq!(
        lifecycle::pause(&store, tenant, import).await.unwrap(),
        Transition::Refused(ImportState::Received)
    );
    for _ in 0..2 {
        assert_eq!(
            lifecycle::proceed(&store, tenant, import).await.unwrap(),
            Transition::Done(ImportState::Running)
        );
    }
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(pipeline.ended(import).await.counts, Counts { total: 50, inserted: 50, ..Counts::default() });
    assert_eq!(
        lifecycle::proceed(&store, tenant, import).await.unwrap(),
        Transition::Done(ImportState::Completed)
    );
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_import_sends_nothing_and_goes_on_after_resume() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let import = pipeline.accepted(&people(50), &ImportOptions::default()).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    assert_eq!(
        lifecycle::pause(&store, tenant, import).await.unwrap(),
        Transition::Done(ImportState::Paused)
    );
    assert!(dispatch::lane_heads(&store).await.unwrap().is_empty());
    assert_eq!(
        lifecycle::resume(&store, tenant, import).await.unwrap(),
        Transition::Done(ImportState::Running)
    );
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(pipeline.ended(import).await.counts, Counts { total: 50, inserted: 50, ..Counts::default() });
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

async fn imports_of_a_disabled_tenant_wait_and_go_on_when_it_is_enabled(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let store = pipeline.store.clone();
    let (disabled, slug) = (pipeline.tenant, "default".parse().unwrap());
    let waits = pipeline.accepted(&people(50), &ImportOptions::default()).await;
    let since = tenants::set_disabled(&store, &slug, true).await.unwrap().unwrap().disabled_at;
    assert!(since.is_some());
    let again = tenants::set_disabled(&store, &slug, true).await.unwrap().unwrap();
    assert_eq!(again.disabled_at, since, "the first time counts");
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    // Another tenant's import, which came later, is at its end: so would the first be.
    let other = tenants::create(&store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    pipeline.tenant = other.id;
    let later = pipeline.accepted(&people(50), &ImportOptions::default()).await;
    pipeline.ended(later).await;
    let report = reports::import(&store, disabled, waits).await.unwrap().unwrap();
    assert_eq!((report.state, report.counts.pending), (ImportState::Running, 50));
    pipeline.tenant = disabled;
    assert_eq!(tenants::set_disabled(&store, &slug, false).await.unwrap().unwrap().disabled_at, None);
    assert_eq!(pipeline.ended(waits).await.counts, Counts { total: 50, inserted: 50, ..Counts::default() });
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

fn message_of(chunk: dispatch::ClaimedChunk) -> Message {
    let headers = Headers {
        version: 1,
        tenant: None,
        import_id: chunk.import.get(),
        chunk_id: chunk.id.get(),
        attempt: 1,
        traceparent: None,
    };
    Message { headers, body: chunk.body.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_skips_what_has_not_had_its_turn() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let import = pipeline.accepted(&people(50), &ImportOptions::default()).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let heads: Vec<_> = dispatch::lane_heads(&store).await.unwrap().iter().map(|head| head.chunk).collect();
    let claimed = dispatch::claim(&store, &heads, 60.0).await.unwrap();
    assert_eq!(
        lifecycle::cancel(&store, tenant, import).await.unwrap(),
        Transition::Done(ImportState::Cancelled)
    );
    let report = pipeline.report(import).await;
    assert_eq!(report.counts, Counts { total: 50, skipped: 50, ..Counts::default() });
    let cancelled = (Outcome::Skipped, Some(Reason::Cancelled));
    assert!(pipeline.outcomes(import).await.iter().all(|outcome| *outcome == cancelled));
    // A chunk's message that is still under way finds nothing to do.
    for chunk in claimed {
        pipeline.queue.publish(message_of(chunk)).await.unwrap();
    }
    let worker = pipeline.worker(2);
    pipeline.settle(worker).await;
    assert_eq!(pipeline.witness().await, (0, 0));
    assert_eq!(
        lifecycle::retry(&store, tenant, import).await.unwrap(),
        Transition::Refused(ImportState::Cancelled)
    );
    let _ = pipeline.ended(import).await;
    pipeline.finish().await;
}

/// Cancelled in the middle, with a chunk that has failed records and one that a worker has applied: everything else goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_import_that_is_resumed_goes_on_where_it_stopped() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let csv = people(200).replace("user7@example.com", "nonsense");
    let import = pipeline.accepted(&csv, &ImportOptions::default()).await;
    // One chunk is applied, and no other.
    let first = dispatch::lane_heads(&store).await.unwrap()[0].chunk;
    for chunk in dispatch::claim(&store, &[first], 60.0).await.unwrap() {
        pipeline.queue.publish(message_of(chunk)).await.unwrap();
    }
    let worker = pipeline.worker(1);
    crate::outages::progress(&pipeline, import, 1).await;
    pipeline.settle(worker).await;
    assert_eq!(
        lifecycle::cancel(&store, tenant, import).await.unwrap(),
        Transition::Done(ImportState::Cancelled)
    );
    let stopped = pipeline.report(import).await.counts;
    assert!(stopped.inserted > 0 && stopped.failed == 1 && stopped.pending == 0, "{stopped:?}");
    let cancelled = pipeline.records(import, Some(Outcome::Skipped)).await.len() as u64;
    assert_eq!(stopped.skipped, cancelled);
    // Twice at once: one resumes, and nothing is staged twice.
    let (one, other) =
        tokio::join!(lifecycle::resume(&store, tenant, import), lifecycle::resume(&store, tenant, import));
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(
        (one.unwrap(), other.unwrap()),
        (Transition::Done(ImportState::Running), Transition::Done(ImportState::Running))
    );
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 200, inserted: 199, failed: 1, ..Counts::default() }
    );
    assert_eq!(pipeline.witness().await, (199, 199));
    assert_eq!(
        lifecycle::resume(&store, tenant, import).await.unwrap(),
        Transition::Refused(ImportState::Completed)
    );
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_drives_failed_records_and_dead_chunks_once_more() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let mut connection = store.connection().await.unwrap();
    sqlx::raw_sql("alter table users add constraint thirteen check (given_name not like '% 13')")
        .execute(&mut connection)
        .await
        .unwrap();
    let import = pipeline.accepted(&people(60), &ImportOptions::default()).await;
    let first = dispatch::lane_heads(&store).await.unwrap()[0].chunk;
    assert!(apply::mark_dead(&store, first, "for a test").await.unwrap());
    assert!(!apply::mark_dead(&store, first, "twice").await.unwrap());
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    let report = pipeline.ended(import).await;
    assert_eq!(report.chunks.dead, 1);
    assert_eq!(report.counts.inserted + report.counts.failed, 60);
    let failed = pipeline.records(import, Some(Outcome::Failed)).await;
    assert!(failed.iter().any(|record| record.errors[0].code == ErrorCode::ChunkDead));
    assert_eq!(failed.len() as u64, report.counts.failed);

    sqlx::raw_sql("alter table users drop constraint thirteen").execute(&mut connection).await.unwrap();
    assert_eq!(
        lifecycle::retry(&store, tenant, import).await.unwrap(),
        Transition::Done(ImportState::Running)
    );
    let report = pipeline.ended(import).await;
    assert_eq!(report.counts, Counts { total: 60, inserted: 60, ..Counts::default() });
    assert_eq!(pipeline.witness().await, (60, 60));
    assert!(pipeline.records(import, None).await.iter().all(|record| record.errors.is_empty()));
    // With nothing left to retry, retrying is no work and no error.
    assert_eq!(
        lifecycle::retry(&store, tenant, import).await.unwrap(),
        Transition::Done(ImportState::Completed)
    );
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// It is no record's fault, and goes on: the chunk is dead after its attempts, and not sooner.
#[cfg(feature = "faults")]
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_fails_each_time_is_dead_after_its_attempts() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    fail::cfg("rules", "return(refused)").unwrap();
    let import = pipeline.accepted(&people(10), &ImportOptions::default()).await;
    let chunks = pipeline.report(import).await.chunks.staged;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    let ended = tokio::time::timeout(std::time::Duration::from_secs(40), pipeline.ended(import)).await;
    let report = ended.expect("the import ends");
    assert_eq!(
        (report.chunks.dead, report.counts),
        (chunks, Counts { total: 10, failed: 10, ..Counts::default() })
    );
    // The last attempt ended the chunk and is counted by its end.
    let mut connection = pipeline.store.connection().await.unwrap();
    let spent: Vec<i32> =
        sqlx::query_scalar("select attempts from chunks").fetch_all(&mut connection).await.unwrap();
    assert!(spent.iter().all(|attempts| *attempts == 4), "{spent:?}");
    fail::remove("rules");
    lifecycle::retry(&pipeline.store, pipeline.tenant, import).await.unwrap();
    assert_eq!(pipeline.ended(import).await.counts, Counts { total: 10, inserted: 10, ..Counts::default() });
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

#[tokio::test]
async fn another_tenant_can_change_no_state() {
    let pipeline = Pipeline::new(Backend::Postgres).await;
    let import = pipeline.accepted(&people(5), &ImportOptions::default()).await;
    let stranger = TenantId::new(pipeline.tenant.get() + 1);
    let missing = ImportId::new(muster_runtime::clock::new_id());
    for (tenant, import) in [(stranger, import), (pipeline.tenant, missing)] {
        let store = &pipeline.store;
        assert_eq!(lifecycle::proceed(store, tenant, import).await.unwrap(), Transition::NotFound);
        assert_eq!(lifecycle::pause(store, tenant, import).await.unwrap(), Transition::NotFound);
        assert_eq!(lifecycle::resume(store, tenant, import).await.unwrap(), Transition::NotFound);
        assert_eq!(lifecycle::cancel(store, tenant, import).await.unwrap(), Transition::NotFound);
        assert_eq!(lifecycle::retry(store, tenant, import).await.unwrap(), Transition::NotFound);
    }
    assert_eq!(pipeline.report(import).await.state, ImportState::Running);
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_deletes_what_ended_and_leaves_users_and_open_imports() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let ended = pipeline.import(&people(30), &ImportOptions::default()).await.id;
    let open = pipeline.accepted(&people(30), &ImportOptions::default()).await;
    assert_eq!(retention::delete_ended(&pipeline.store, 3600.0).await.unwrap().imports, 0);
    assert_eq!(retention::delete_ended(&pipeline.store, 0.0).await.unwrap().imports, 1);
    assert!(reports::import(&pipeline.store, pipeline.tenant, ended).await.unwrap().is_none());
    assert_eq!(pipeline.report(open).await.counts.total, 30);
    assert_eq!(pipeline.witness().await, (30, 30));
    pipeline.finish().await;
}
