//! Backends that are away, or whose connections lead nowhere: work goes on as soon as it can, and no attempt is spent.

use muster_domain::outcome::Counts;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use muster_domain::options::ImportOptions;
use muster_queue::{Queue, QueueOptions, Topology};
use muster_runtime::clock;
use muster_store::{Store, StoreOptions, dispatch, lifecycle};
use muster_testkit::proxy::{Proxy, Then};
use muster_worker::{Worker, WorkerOptions};
use sqlx::PgConnection;

use crate::harness::{Backend, Pipeline, people};
use crate::on_both_queues;
use crate::refusals::{chunks, deferred, execute, holder};

on_both_queues!(
    connections_that_lead_nowhere_hold_no_worker,
    stopping_takes_no_longer_than_its_grace,
    lost_sessions_of_the_database_spend_no_attempt,
    a_consumer_that_ends_is_started_again,
    a_stop_in_an_outage_leaves_no_note_behind,
);

/// A worker that reaches the backends by a way that can be broken; everything else reaches them directly.
pub(crate) struct Away {
    pub(crate) database: Proxy,
    pub(crate) broker: Option<Proxy>,
    store: Store,
    pub(crate) queue: Queue,
}

impl Away {
    pub(crate) async fn new(pipeline: &mut Pipeline, backend: Backend) -> Self {
        let (database, target) = Proxy::before_database(&pipeline.database().target()).await;
        let few = StoreOptions {
            max_connections: 4,
            acquire_timeout: Duration::from_secs(5),
            ..StoreOptions::default()
        };
        let store = Store::connect(target, &few).await.unwrap();
        let topology = Topology::new(format!("test-{}", clock::new_id().simple())).unwrap();
        let options = QueueOptions {
            publish_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(3),
            health_interval: Duration::from_secs(1),
            ..QueueOptions::default()
        };
        let (broker, queue, direct) = if backend == Backend::Rabbit {
            let url = std::env::var("TEST_AMQP_URL").expect("TEST_AMQP_URL is missing: run `make test`");
            // What a frozen connection holds comes again once the broker misses two heartbeats.
            let url = url.replace("heartbeat=10", "heartbeat=2");
            let (broker, through) = Proxy::before(&url).await;
            let queue = Queue::rabbit(&through, topology.clone(), options).unwrap();
            (Some(broker), queue, Queue::rabbit(&url, topology, options).unwrap())
        } else {
            let queue = Queue::postgres(store.pool().clone(), topology.clone(), options);
            (None, queue, Queue::postgres(pipeline.store.pool().clone(), topology, options))
        };
        pipeline.queue = direct;
        Self { database, broker, store, queue }
    }

    pub(crate) fn worker(&self, options: WorkerOptions) -> Worker {
        Worker::start(self.store.clone(), self.queue.clone(), options)
    }
}

pub(crate) fn options() -> WorkerOptions {
    WorkerOptions {
        concurrency: 3,
        deadline: Duration::from_secs(3),
        grace: Duration::from_secs(3),
        first_delay: Duration::from_millis(20),
        longest_delay: Duration::from_millis(100),
        ..WorkerOptions::default()
    }
}

pub(crate) async fn progress(pipeline: &Pipeline, import: muster_domain::id::ImportId, wanted: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while pipeline.report(import).await.counts.inserted < wanted {
        assert!(Instant::now() < deadline, "no progress");
        tokio::task::yield_now().await;
    }
}

async fn connections_that_lead_nowhere_hold_no_worker(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let away = Away::new(&mut pipeline, backend).await;
    let import = pipeline.accepted(&people(1500), &ImportOptions::default()).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), away.worker(options()));
    progress(&pipeline, import, 100).await;
    away.database.freeze();
    let frozen = Instant::now();
    let before = pipeline.report(import).await.counts.inserted;
    progress(&pipeline, import, before + 200).await;
    println!("{backend:?}: database half open, work resumed after {:?}", frozen.elapsed());
    assert!(frozen.elapsed() < Duration::from_secs(30), "work resumed after {:?}", frozen.elapsed());
    if let Some(broker) = &away.broker {
        broker.freeze();
        let frozen = Instant::now();
        let before = pipeline.report(import).await.counts.inserted;
        progress(&pipeline, import, before + 200).await;
        println!("{backend:?}: broker half open, work resumed after {:?}", frozen.elapsed());
        assert!(frozen.elapsed() < Duration::from_secs(30), "work resumed after {:?}", frozen.elapsed());
    }
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 1500, inserted: 1500, ..Counts::default() }
    );
    assert_eq!(pipeline.witness().await, (1500, 1500));
    assert!(chunks(&pipeline, import).await.iter().all(|(_, _, attempts, _)| *attempts == 0));
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.queue.delete().await.unwrap();
}

async fn stopping_takes_no_longer_than_its_grace(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let away = Away::new(&mut pipeline, backend).await;
    let import = pipeline.accepted(&people(3000), &ImportOptions::default()).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), away.worker(options()));
    progress(&pipeline, import, 100).await;
    away.database.freeze_for_good();
    if let Some(broker) = &away.broker {
        broker.freeze_for_good();
    }
    let asked = Instant::now();
    let stopped = tokio::time::timeout(Duration::from_secs(20), worker.stop()).await;
    let took = asked.elapsed();
    assert!(stopped.is_ok() && took < Duration::from_secs(10), "stopping took {took:?}");
    // Another worker that can reach everything finishes it.
    let worker = pipeline.worker(3);
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 3000, inserted: 3000, ..Counts::default() }
    );
    assert_eq!(pipeline.witness().await, (3000, 3000));
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.queue.delete().await.unwrap();
}

/// The database ends every session ten times while one and the same chunk is being applied.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_breaks_its_connections_is_put_off_and_says_why() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    execute(
        &pipeline,
        "create function sever() returns trigger language plpgsql as $$
         begin perform pg_terminate_backend(pg_backend_pid()); return new; end $$;
         create trigger sever before insert on users for each row execute function sever();",
    )
    .await;
    let import = pipeline.accepted("email\na@example.com\n", &ImportOptions::default()).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(1));
    let problems = deferred(&pipeline, import, 2).await;
    assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.is_empty()), "{problems:?}");
    execute(&pipeline, "drop trigger sever on users").await;
    assert_eq!(pipeline.ended(import).await.counts, Counts { total: 1, inserted: 1, ..Counts::default() });
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// Waits until a chunk is being applied by a session that is none of those that were ended: they are listed for a moment longer.
async fn being_applied(operator: &mut PgConnection, ended: &[i32]) {
    let waiting = "select pid from pg_stat_activity
                    where datname = current_database() and wait_event_type = 'Lock' and query like 'update users%'
                      and pid <> all ($1)";
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found: Option<i32> =
            sqlx::query_scalar(waiting).bind(ended).fetch_optional(&mut *operator).await.unwrap();
        if found.is_some() {
            return;
        }
        assert!(Instant::now() < deadline, "nothing is being applied");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn lost_sessions_of_the_database_spend_no_attempt(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline.import("email\nuser7@example.com\n", &ImportOptions::default()).await;
    let mut operator = pipeline.store.connection().await.unwrap();
    let mut holder = holder(&pipeline, "set application_name = 'holder'; select from users for update").await;
    let import = pipeline.accepted(&people(20), &ImportOptions::default()).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    let mut ended = Vec::new();
    for _ in 0..10 {
        being_applied(&mut operator, &ended).await;
        let mut now_ended: Vec<i32> = sqlx::query_scalar(
            "with session as materialized (
                 select pid from pg_stat_activity
                  where datname = current_database() and pid <> pg_backend_pid() and application_name <> 'holder'
                    and query not ilike 'listen%muster_imports%')
             select pid from session where pg_terminate_backend(pid)",
        )
        .fetch_all(&mut operator)
        .await
        .unwrap();
        ended.append(&mut now_ended);
    }
    // Between two tries nobody may have begun it: a chunk whose connections break so often is deferred.
    being_applied(&mut operator, &ended).await;
    // One worker began it, however often it was delivered, and is not taken for dead.
    let begun: i32 = sqlx::query_scalar("select max(cardinality(begun)) from chunks")
        .fetch_one(&mut operator)
        .await
        .unwrap();
    assert_eq!(begun, 1);
    sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 20, inserted: 19, updated: 1, ..Counts::default() }
    );
    let chunks = chunks(&pipeline, import).await;
    assert!(chunks.iter().all(|(state, _, attempts, _)| state == "applied" && *attempts == 0), "{chunks:?}");
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// A worker is asked to stop while it waits for the database: the chunk that it had begun is not to look as if it had killed it.
async fn a_stop_in_an_outage_leaves_no_note_behind(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let away = Away::new(&mut pipeline, backend).await;
    pipeline.import("email\nuser7@example.com\n", &ImportOptions::default()).await;
    let mut holder = holder(&pipeline, "select from users for update").await;
    let import = pipeline.accepted(&people(20), &ImportOptions::default()).await;
    // Long enough for the chunk to be in work until the database goes away.
    let deadline = WorkerOptions::default().deadline;
    let options = WorkerOptions { grace: Duration::from_secs(20), deadline, ..options() };
    let (dispatcher, worker) = (pipeline.dispatcher(), away.worker(options));
    let begun = "select count(*) from chunks where cardinality(begun) > 0";
    let question = async |question: &'static str| -> i64 {
        sqlx::query_scalar(question).fetch_one(pipeline.store.pool()).await.unwrap()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while question(begun).await == 0 {
        assert!(Instant::now() < deadline, "nothing is being applied");
        tokio::task::yield_now().await;
    }
    // The database is away for it, also when it tries to take its note away, and then back.
    fail::cfg("consume", "return(error)").unwrap();
    let releases = away.database.when("array_remove(begun, $2) where", 2, Then::CutBefore);
    away.database.cut();
    worker.stop().await;
    assert_eq!(releases.hits(), 2, "the database was away when it stopped");
    assert_eq!(question(begun).await, 0, "a note is left");
    fail::remove("consume");
    sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    let worker = pipeline.worker(2);
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 20, inserted: 19, updated: 1, ..Counts::default() }
    );
    let chunks = chunks(&pipeline, import).await;
    assert!(chunks.iter().all(|(_, _, attempts, _)| *attempts == 0), "{chunks:?}");
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.queue.delete().await.unwrap();
}

/// A worker cannot reach the store, and its chunk goes back meanwhile. Back at it, it finds nothing to do, and what it had noted is not to
/// look as if the chunk had killed it.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_finds_nothing_to_do_leaves_no_note_behind() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let import = pipeline.accepted(&people(10), &ImportOptions::default()).await;
    let chunks_of_it = chunks(&pipeline, import).await.len();
    let dispatcher = pipeline.dispatcher();
    let deadline = Instant::now() + Duration::from_secs(60);
    while pipeline.queue.depth().await.unwrap().ready < chunks_of_it as u64 {
        assert!(Instant::now() < deadline, "nothing is sent");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Nobody sends them again.
    dispatcher.stop().await;
    fail::cfg("rules", "return(error)").unwrap();
    let worker = pipeline.worker(4);
    let notes = async || -> i64 {
        let begun = "select count(*) from chunks where cardinality(begun) > 0";
        sqlx::query_scalar(begun).fetch_one(pipeline.store.pool()).await.unwrap()
    };
    let chunks_of_it = i64::try_from(chunks_of_it).unwrap();
    while notes().await < chunks_of_it {
        assert!(Instant::now() < deadline, "nothing is being applied");
        tokio::task::yield_now().await;
    }
    let taken = dispatch::stage_all_again(&pipeline.store).await.unwrap();
    assert_eq!(i64::try_from(taken).unwrap(), chunks_of_it);
    fail::remove("rules");
    while notes().await > 0 {
        assert!(Instant::now() < deadline, "a note is left");
        tokio::task::yield_now().await;
    }
    let dispatcher = pipeline.dispatcher();
    assert_eq!(pipeline.ended(import).await.counts, Counts { total: 10, inserted: 10, ..Counts::default() });
    let chunks = chunks(&pipeline, import).await;
    assert!(chunks.iter().all(|(_, _, attempts, _)| *attempts == 0), "{chunks:?}");
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

async fn a_consumer_that_ends_is_started_again(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    fail::cfg("consumer_ends", "2*return(error)->off").unwrap();
    let import = pipeline.accepted(&people(100), &ImportOptions::default()).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 100, inserted: 100, ..Counts::default() }
    );
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// Counters by name and outcome.
#[derive(Clone, Default)]
struct Counted(Arc<Mutex<HashMap<String, u64>>>);

struct One(Counted, String);

impl CounterFn for One {
    fn increment(&self, value: u64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += value;
    }

    fn absolute(&self, value: u64) {
        self.0.0.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl Recorder for Counted {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<&str> = key.labels().map(metrics::Label::value).collect();
        Counter::from_arc(Arc::new(One(self.clone(), format!("{} {}", key.name(), labels.join(" ")))))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_outcome_is_counted_once_whatever_a_retry_does() {
    let counted = Counted::default();
    metrics::set_global_recorder(counted.clone()).unwrap();
    let count = |outcome: &str| {
        let counted = counted.0.lock().unwrap();
        counted.get(&format!("muster_records_total {outcome}")).copied().unwrap_or(0)
    };
    let failures = |code: &str| {
        let counted = counted.0.lock().unwrap();
        counted.get(&format!("muster_failures_total {code}")).copied().unwrap_or(0)
    };
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    execute(
        &pipeline,
        "create function refuse() returns trigger language plpgsql as $$
         begin
             if new.email = 'user77@example.com' then raise exception 'refused'; end if;
             return new;
         end $$;
         create trigger refuse before insert or update on users for each row execute function refuse();",
    )
    .await;
    let import = pipeline.accepted(&people(1000), &ImportOptions::default()).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    for retries in 0..3 {
        if retries > 0 {
            lifecycle::retry(&pipeline.store, pipeline.tenant, import).await.unwrap();
        }
        assert_eq!(
            pipeline.ended(import).await.counts,
            Counts { total: 1000, inserted: 999, failed: 1, ..Counts::default() }
        );
        assert_eq!((count("inserted"), count("failed")), (999, 1), "after {retries} retries");
        assert_eq!(failures("database_refused"), 1, "after {retries} retries");
    }
    execute(&pipeline, "drop trigger refuse on users").await;
    lifecycle::retry(&pipeline.store, pipeline.tenant, import).await.unwrap();
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 1000, inserted: 1000, ..Counts::default() }
    );
    assert_eq!((count("inserted"), count("failed")), (1000, 1), "after the record went in");
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}
