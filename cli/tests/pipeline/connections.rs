//! Connections to the database: the server's are few, and nobody keeps what others need.

use std::time::{Duration, Instant};

use muster_domain::chunk::ChunkLimits;
use muster_domain::options::ImportOptions;
use muster_store::StoreOptions;
use tokio::task::JoinSet;

use crate::harness::{Backend, Pipeline, people};

/// How long an import of 300 new users takes from the first byte to its end, at the median. Compare with
/// `MUTANT=sockets_untuned`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures; run it with --run-ignored all --no-capture"]
async fn small_imports_end_soon() {
    let mut pipeline = Pipeline::new(Backend::Rabbit).await;
    pipeline.limits.chunk = ChunkLimits::default();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    let mut took = Vec::new();
    for round in 0..41 {
        let csv = people(300).replace("user", &format!("round{round}-"));
        let began = Instant::now();
        let import = pipeline.accepted(&csv, &ImportOptions::default()).await;
        pipeline.ended(import).await;
        took.push(began.elapsed());
    }
    took.sort();
    println!("300 records, end to end: p50 {:?}, p90 {:?}", took[20], took[36]);
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// Reads take every connection that they can get, and more wait for one. Chunks go out all the same, and it is said who holds them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_take_no_connection_of_the_dispatcher() {
    let options = StoreOptions { max_connections: 8, ..StoreOptions::default() };
    let pipeline = Pipeline::with(Backend::Rabbit, &options).await;
    let import = pipeline.accepted(&people(100), &ImportOptions::default()).await;
    let mut look = pipeline.store.connection().await.unwrap();
    let pool = pipeline.store.pool();
    let mut reads = JoinSet::new();
    for _ in 0..20 {
        let pool = pool.clone();
        reads.spawn(async move {
            let held = pool.acquire().await;
            std::future::pending::<()>().await;
            drop(held);
        });
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while pool.num_idle() > 0 || pool.size() < pool.options().get_max_connections() {
        assert!(Instant::now() < deadline, "the reads do not take every connection");
        tokio::task::yield_now().await;
    }
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    loop {
        let (state, holders): (String, i64) =
            sqlx::query_as("select state, (select count(*) from chunk_holders) from imports where id = $1")
                .bind(import.get())
                .fetch_one(&mut look)
                .await
                .unwrap();
        if state == "completed" && holders == 2 {
            break;
        }
        assert!(Instant::now() < deadline, "{state}, and {holders} processes say what they hold");
        tokio::task::yield_now().await;
    }
    reads.shutdown().await;
    assert_eq!(pipeline.report(import).await.counts.inserted, 100);
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

#[cfg(feature = "embedded-postgres")]
mod process {
    use std::time::Duration;

    use muster_domain::id::{ImportId, TenantId};
    use muster_domain::options::ImportOptions;
    use muster_domain::receive::NewImport;
    use muster_engine::{EmbeddedEngine, EngineOptions};
    use muster_producer::receive::{self, Compression, ReceiveLimits};
    use muster_runtime::clock;
    use muster_store::{Store, StoreOptions, migrate, reports, tenants};
    use tokio::task::JoinSet;

    use crate::harness::people;

    async fn upload(store: &Store, tenant: TenantId) {
        let import = NewImport {
            id: ImportId::new(clock::new_id()),
            tenant,
            filename: None,
            options: ImportOptions::default(),
            idempotency: None,
            provenance: Default::default(),
        };
        let upload =
            receive::begin(store, import, Compression::Identity, ReceiveLimits::default()).await.unwrap();
        upload.push(people(50).into_bytes().into()).await;
        upload.finish().await.unwrap();
    }

    /// Two stores, as of two processes: the first one's burst of reads leaves connections idle, up to its maximum and the
    /// server's.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn uploads_and_workers_find_connections_after_and_during_a_burst_of_reads() {
        let folder = tempfile::tempdir().unwrap();
        let small = EngineOptions { max_connections: 14, ..EngineOptions::new(folder.path()) };
        let engine = EmbeddedEngine::start(small).await.unwrap();
        // Long enough that nothing is given back by time alone.
        let options = StoreOptions { idle_timeout: Duration::from_secs(600), ..StoreOptions::default() };
        let store = Store::connect(engine.connect_options(), &options).await.unwrap();
        let other = Store::connect(engine.connect_options(), &options).await.unwrap();
        migrate::run(&store).await.unwrap();
        let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
        for round in 0..2 {
            let mut reads = JoinSet::new();
            for number in 0..200 {
                let store = [&store, &other][number % 2].clone();
                reads.spawn(async move { reports::imports(&store, tenant, None, None, 100).await.map(drop) });
            }
            if round == 0 {
                while let Some(read) = reads.join_next().await {
                    read.unwrap().unwrap();
                }
            }
            let mut uploads = JoinSet::new();
            for _ in 0..8 {
                let store = store.clone();
                uploads.spawn(async move { upload(&store, tenant).await });
            }
            while let Some(done) = uploads.join_next().await {
                done.unwrap();
            }
            drop(store.dedicated_connection().await.unwrap());
            while let Some(read) = reads.join_next().await {
                read.unwrap().unwrap();
            }
        }
        for store in [store, other] {
            store.close().await;
        }
        engine.stop().await.unwrap();
    }

    /// A begin that was cancelled is cleaned up after, and the server has nothing to warn of where there was none.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn taking_connections_from_the_pool_leaves_no_warning_in_the_log_of_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let engine = EmbeddedEngine::start(EngineOptions::new(folder.path())).await.unwrap();
        let target = engine.connect_options().options([("log_min_messages", "warning")]);
        let store = Store::connect(target, &StoreOptions::default()).await.unwrap();
        // The server's log has warnings.
        sqlx::raw_sql("do $$ begin raise warning 'one of ours'; end $$").execute(store.pool()).await.unwrap();
        for _ in 0..20 {
            store.ping().await.unwrap();
        }
        store.close().await;
        engine.stop().await.unwrap();
        let log = std::fs::read_to_string(folder.path().join("engine.log")).unwrap();
        assert_eq!(log.matches("WARNING").count(), 1, "{log}");
        assert!(log.contains("one of ours"), "{log}");
    }
}
