//! What dies, and what must not be lost with it. Kills of whole processes are in `process`; here parts of the pipeline die
//! in the middle of their work, and the store's backends are cut.

use std::time::{Duration, Instant};

use muster_shared::options::ImportOptions;

use crate::harness::{Backend, Pipeline, counts, people};
use crate::{on_both_queues, on_the_bundled_engine};

on_both_queues!(
    workers_that_vanish_in_the_middle_change_nothing,
    dispatchers_that_vanish_in_the_middle_change_nothing,
    cut_database_sessions_change_nothing,
    a_lost_queue_is_filled_again,
);

on_the_bundled_engine!(
    workers_that_vanish_in_the_middle_change_nothing,
    dispatchers_that_vanish_in_the_middle_change_nothing,
    cut_database_sessions_change_nothing,
    a_lost_queue_is_filled_again,
);

async fn some_progress(pipeline: &Pipeline, import: muster_shared::id::ImportId, wanted: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while pipeline.report(import).await.counts.inserted < wanted {
        assert!(Instant::now() < deadline, "no progress");
        tokio::task::yield_now().await;
    }
}

async fn workers_that_vanish_in_the_middle_change_nothing(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let import = pipeline.accepted(&people(1500), &ImportOptions::default()).await;
    let dispatcher = pipeline.dispatcher();
    for step in 1..=4 {
        let worker = pipeline.worker(3);
        some_progress(&pipeline, import, step * 200).await;
        // Not stopped: its tasks are cut off wherever they are.
        drop(worker);
    }
    let worker = pipeline.worker(3);
    assert_eq!(pipeline.ended(import).await.counts, counts(1500, 1500, 0, 0, 0));
    assert_eq!(pipeline.witness().await, (1500, 1500));
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

async fn dispatchers_that_vanish_in_the_middle_change_nothing(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let import = pipeline.accepted(&people(1500), &ImportOptions::default()).await;
    let worker = pipeline.worker(3);
    for step in 1..=4 {
        let dispatcher = pipeline.dispatcher();
        some_progress(&pipeline, import, step * 200).await;
        drop(dispatcher);
        expire_leases(&pipeline).await;
    }
    let dispatcher = pipeline.dispatcher();
    assert_eq!(pipeline.ended(import).await.counts, counts(1500, 1500, 0, 0, 0));
    assert_eq!(pipeline.witness().await, (1500, 1500));
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

async fn cut_database_sessions_change_nothing(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let import = pipeline.accepted(&people(1500), &ImportOptions::default()).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(3));
    let mut operator = pipeline.store.connection().await.unwrap();
    for step in 1..=3 {
        some_progress(&pipeline, import, step * 250).await;
        // All sessions but the operator's and the listening one of this test.
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity
              where datname = current_database() and pid <> pg_backend_pid() and query not ilike 'listen%muster_imports%'",
        )
        .execute(&mut operator)
        .await
        .unwrap();
    }
    assert_eq!(pipeline.ended(import).await.counts, counts(1500, 1500, 0, 0, 0));
    assert_eq!(pipeline.witness().await, (1500, 1500));
    // An outage spends no attempts.
    let dead = pipeline.report(import).await.chunks.dead;
    assert_eq!(dead, 0);
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// All messages are gone: the staged chunks are the truth and go out again.
async fn a_lost_queue_is_filled_again(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let import = pipeline.accepted(&people(300), &ImportOptions::default()).await;
    let dispatcher = pipeline.dispatcher();
    let deadline = Instant::now() + Duration::from_secs(60);
    while pipeline.queue.depth().await.unwrap().ready < 4 {
        assert!(Instant::now() < deadline, "nothing was dispatched");
        tokio::task::yield_now().await;
    }
    dispatcher.stop().await;
    pipeline.queue.purge().await.unwrap();
    expire_leases(&pipeline).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(pipeline.ended(import).await.counts, counts(300, 300, 0, 0, 0));
    assert_eq!(pipeline.witness().await, (300, 300));
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// As if the leases' time had passed.
async fn expire_leases(pipeline: &Pipeline) {
    let mut connection = pipeline.store.connection().await.unwrap();
    sqlx::raw_sql("update chunks set leased_until = now() where state = 'dispatched'")
        .execute(&mut connection)
        .await
        .unwrap();
}
