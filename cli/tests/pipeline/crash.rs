//! What dies, and what must not be lost with it. Kills of whole processes are in `process`; here parts of the pipeline die
//! in the middle of their work, and the store's backends are cut.

use muster_domain::outcome::Counts;
use std::time::{Duration, Instant};

use muster_domain::options::ImportOptions;
use muster_store::StoreOptions;

use crate::harness::{Backend, Pipeline, people};
use crate::{on_both_queues, on_the_bundled_engine};

on_both_queues!(
    workers_that_vanish_in_the_middle_change_nothing,
    dispatchers_that_vanish_in_the_middle_change_nothing,
    cut_database_sessions_change_nothing,
    a_worker_cut_off_in_its_copy_spoils_no_connection_of_the_store,
    a_lost_queue_is_filled_again,
);

on_the_bundled_engine!(
    workers_that_vanish_in_the_middle_change_nothing,
    dispatchers_that_vanish_in_the_middle_change_nothing,
    cut_database_sessions_change_nothing,
    a_lost_queue_is_filled_again,
);

async fn some_progress(pipeline: &Pipeline, import: muster_domain::id::ImportId, wanted: u64) {
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
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 1500, inserted: 1500, ..Counts::default() }
    );
    assert_eq!(pipeline.witness().await, (1500, 1500));
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

async fn dispatchers_that_vanish_in_the_middle_change_nothing(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    // What a dispatcher sent as it vanished can be claimed after the leases below were ended: the next one's lease must not
    // outlast the test.
    pipeline.lease = Duration::from_secs(5);
    let import = pipeline.accepted(&people(1500), &ImportOptions::default()).await;
    let worker = pipeline.worker(3);
    for step in 1..=4 {
        let dispatcher = pipeline.dispatcher();
        some_progress(&pipeline, import, step * 200).await;
        drop(dispatcher);
        expire_leases(&pipeline).await;
    }
    let dispatcher = pipeline.dispatcher();
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 1500, inserted: 1500, ..Counts::default() }
    );
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
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 1500, inserted: 1500, ..Counts::default() }
    );
    assert_eq!(pipeline.witness().await, (1500, 1500));
    // An outage spends no attempts.
    let dead = pipeline.report(import).await.chunks.dead;
    assert_eq!(dead, 0);
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// A copy that is cut off half-way puts its connection out of step for good, so nobody may be given that connection again.
async fn a_worker_cut_off_in_its_copy_spoils_no_connection_of_the_store(backend: Backend) {
    // No time-out of the server ends what this test wants to see ended by the worker.
    let long = Duration::from_secs(600);
    let options = StoreOptions {
        max_connections: 4,
        statement_timeout: long,
        lock_timeout: long,
        idle_in_transaction_timeout: long,
        ..StoreOptions::default()
    };
    let mut pipeline = Pipeline::with(backend, &options).await;
    let mut operator = pipeline.store.connection().await.unwrap();
    let mut holder = pipeline.store.connection().await.unwrap();
    // A session that waits for a lock notices only so that its client has gone.
    sqlx::raw_sql(
        "do $$ begin
             execute format('alter database %I set client_connection_check_interval = 20', current_database());
         end $$",
    )
    .execute(&mut operator)
    .await
    .unwrap();
    // The copy comes to wait for the end of this transaction, which has the address of one of its rows.
    sqlx::raw_sql("begin").execute(&mut holder).await.unwrap();
    sqlx::query(
        "insert into users (id, tenant_id, email) values (gen_random_uuid(), $1, 'user7@example.com')",
    )
    .bind(pipeline.tenant.get())
    .execute(&mut holder)
    .await
    .unwrap();
    let import = pipeline.accepted(&people(20), &ImportOptions::default()).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(1));
    let copying = "select pid from pg_stat_activity
                    where datname = current_database() and wait_event_type = 'Lock' and query like 'copy users%'";
    let session: i32 = until(&mut operator, copying, |found: &Option<i32>| found.is_some()).await.unwrap();
    drop(worker);
    let alive = format!("select pid from pg_stat_activity where pid = {session}");
    until(&mut operator, &alive, |found: &Option<i32>| found.is_none()).await;

    for number in 0..50 {
        let answer: i32 =
            sqlx::query_scalar("select $1").bind(number).fetch_one(pipeline.store.pool()).await.unwrap();
        assert_eq!(answer, number);
    }
    sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    let worker = pipeline.worker(1);
    assert_eq!(pipeline.ended(import).await.counts, Counts { total: 20, inserted: 20, ..Counts::default() });
    assert_eq!(pipeline.witness().await, (20, 20));
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// Asks until the answer is as wanted.
async fn until(
    connection: &mut sqlx::PgConnection,
    question: &str,
    wanted: impl Fn(&Option<i32>) -> bool,
) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let question = sqlx::query_scalar(sqlx::AssertSqlSafe(question.to_owned()));
        let answer = question.fetch_optional(&mut *connection).await.unwrap();
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "it is still {answer:?}");
        tokio::task::yield_now().await;
    }
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
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 300, inserted: 300, ..Counts::default() }
    );
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
