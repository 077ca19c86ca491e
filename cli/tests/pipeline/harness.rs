//! A tenant with a database and a queue of its own, and the parts of the pipeline to start on them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use muster_domain::chunk::ChunkLimits;
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::options::ImportOptions;
use muster_domain::outcome::{Counts, Outcome, Reason};
use muster_domain::receive::NewImport;
use muster_engine::{EmbeddedEngine, EngineOptions};
use muster_producer::receive::{self, Compression, Receipt, ReceiveError, ReceiveLimits};
use muster_producer::{DispatchOptions, Dispatcher};
use muster_queue::{Queue, QueueOptions, Topology};
use muster_runtime::clock;
use muster_store::records::{self, RecordFilter, RecordReport};
use muster_store::reports::{self, ImportReport};
use muster_store::{Store, StoreOptions, Wakes, dispatch, tenants};
use muster_testkit::TestDatabase;
use muster_worker::{Worker, WorkerOptions};

use crate::witness;

/// Which queue carries the chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Rabbit,
    Postgres,
    /// The embedded default: the queue in rows of the bundled engine.
    Bundled,
}

/// Longer than anything here takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);

pub(crate) struct Pipeline {
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    pub(crate) tenant: TenantId,
    pub(crate) limits: ReceiveLimits,
    /// How long a dispatched chunk may be silent.
    pub(crate) lease: Duration,
    completed: Wakes,
    database: TestDatabase,
    engine: Option<(EmbeddedEngine, tempfile::TempDir)>,
}

impl Pipeline {
    pub(crate) async fn new(backend: Backend) -> Self {
        // Few connections, so that a test server serves many tests.
        Self::with(backend, &StoreOptions { max_connections: 4, ..StoreOptions::default() }).await
    }

    pub(crate) async fn with(backend: Backend, options: &StoreOptions) -> Self {
        let (database, engine) = if backend == Backend::Bundled {
            let folder = tempfile::tempdir().unwrap();
            let engine = EmbeddedEngine::start(EngineOptions::new(folder.path())).await.unwrap();
            (TestDatabase::create_on(engine.connect_options()).await, Some((engine, folder)))
        } else {
            (TestDatabase::create().await, None)
        };
        let store = database.store_with(options).await;
        witness::install(&store).await;
        let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
        let topology = Topology::new(format!("test-{}", clock::new_id().simple())).unwrap();
        let queue = match backend {
            Backend::Postgres | Backend::Bundled => {
                Queue::postgres(store.pool().clone(), topology, QueueOptions::default())
            }
            Backend::Rabbit => {
                let url = std::env::var("TEST_AMQP_URL").expect("TEST_AMQP_URL is missing: run `make test`");
                Queue::rabbit(&url, topology, QueueOptions::default()).unwrap()
            }
        };
        // Small chunks, so that small files have many of them in several lanes.
        let limits = ReceiveLimits {
            chunk: ChunkLimits { records: 20, bytes: 64 * 1024, lanes: 4 },
            ..ReceiveLimits::default()
        };
        let completed = store.listen(dispatch::COMPLETED_CHANNEL).await.unwrap();
        Self {
            store,
            queue,
            tenant,
            limits,
            lease: DispatchOptions::default().lease,
            completed,
            database,
            engine,
        }
    }

    pub(crate) fn dispatcher(&self) -> Dispatcher {
        let options = DispatchOptions {
            window: Some(8),
            poll: Duration::from_millis(50),
            lease: self.lease,
            ..DispatchOptions::default()
        };
        Dispatcher::start(self.store.clone(), self.queue.clone(), options)
    }

    pub(crate) fn worker(&self, concurrency: u16) -> Worker {
        let options = WorkerOptions {
            concurrency,
            first_delay: Duration::from_millis(20),
            longest_delay: Duration::from_millis(100),
            ..WorkerOptions::default()
        };
        Worker::start(self.store.clone(), self.queue.clone(), options)
    }

    /// Sends an upload in small pieces.
    pub(crate) async fn upload(
        &self,
        bytes: &[u8],
        options: &ImportOptions,
    ) -> Result<Receipt, ReceiveError> {
        let import = NewImport {
            id: ImportId::new(clock::new_id()),
            tenant: self.tenant,
            filename: Some("users.csv".into()),
            options: options.clone(),
            idempotency: None,
            provenance: Default::default(),
        };
        let upload = receive::begin(&self.store, import, Compression::Identity, self.limits).await?;
        for piece in bytes.chunks(777) {
            if !upload.push(Bytes::copy_from_slice(piece)).await {
                break;
            }
        }
        upload.finish().await
    }

    pub(crate) async fn accepted(&self, csv: &str, options: &ImportOptions) -> ImportId {
        self.upload(csv.as_bytes(), options).await.unwrap().import
    }

    pub(crate) async fn report(&self, import: ImportId) -> ImportReport {
        assert_failed_have_errors(&self.store, import).await;
        reports::import(&self.store, self.tenant, import).await.unwrap().unwrap()
    }

    /// Waits until the import has ended.
    pub(crate) async fn ended(&mut self, import: ImportId) -> ImportReport {
        let completed = async {
            loop {
                let report = self.report(import).await;
                assert!(report.counts.add_up(), "{:?}", report.counts);
                if report.state.is_final() {
                    return report;
                }
                self.completed.next().await.unwrap();
            }
        };
        match tokio::time::timeout(DEADLINE, completed).await {
            Ok(report) => report,
            Err(_) => panic!("the import did not end: {:?}", self.report(import).await),
        }
    }

    /// Waits until the import's plan is made, or it has ended.
    pub(crate) async fn planned(&mut self, import: ImportId) -> ImportReport {
        let planned = async {
            loop {
                let report = self.report(import).await;
                assert!(report.counts.add_up(), "{:?}", report.counts);
                if report.state.is_final() || report.state == ImportState::Planned {
                    return report;
                }
                self.completed.next().await.unwrap();
            }
        };
        match tokio::time::timeout(DEADLINE, planned).await {
            Ok(report) => report,
            Err(_) => panic!("the plan was not made: {:?}", self.report(import).await),
        }
    }

    /// Imports a file with one dispatcher and one worker, from upload to end.
    pub(crate) async fn import(&mut self, csv: &str, options: &ImportOptions) -> ImportReport {
        let import = self.accepted(csv, options).await;
        let (dispatcher, worker) = (self.dispatcher(), self.worker(2));
        let report = self.ended(import).await;
        worker.stop().await;
        dispatcher.stop().await;
        assert_eq!(report.state, ImportState::Completed);
        report
    }

    /// The records with this outcome, or all of them. Of an import that has ended, the counts are those of its records (P2).
    pub(crate) async fn records(&self, import: ImportId, outcome: Option<Outcome>) -> Vec<RecordReport> {
        let before = self.report(import).await;
        let all = self.pages(import, &before.options, outcome).await;
        let after = self.report(import).await;
        if outcome.is_none() && before.state.is_final() && after.state.is_final() {
            let mut counted = Counts::default();
            all.iter().for_each(|record| counted.add(record.outcome));
            assert_eq!(counted, after.counts, "counts of an import, and its records");
        }
        all
    }

    async fn pages(
        &self,
        import: ImportId,
        options: &ImportOptions,
        outcome: Option<Outcome>,
    ) -> Vec<RecordReport> {
        let mut all: Vec<RecordReport> = Vec::new();
        loop {
            // Small pages, so that page boundaries are crossed.
            let after = all.last().map_or(0, |record| record.record);
            let page = records::page(
                &self.store,
                self.tenant,
                import,
                options,
                RecordFilter { outcome, after, ..RecordFilter::default() },
                7,
            )
            .await
            .unwrap();
            if page.is_empty() {
                return all;
            }
            for record in &page {
                assert_eq!(record.outcome == Outcome::Failed, !record.errors.is_empty(), "{record:?}");
            }
            all.extend(page);
        }
    }

    /// Outcome and reason of each record, in file order.
    pub(crate) async fn outcomes(&self, import: ImportId) -> Vec<(Outcome, Option<Reason>)> {
        self.records(import, None).await.into_iter().map(|record| (record.outcome, record.reason)).collect()
    }

    /// One line a user, without ids and times, sorted.
    pub(crate) async fn users(&self) -> Vec<String> {
        let mut connection = self.store.connection().await.unwrap();
        sqlx::query_scalar(
            "select concat_ws('|', coalesce(email, '-'), coalesce(phone_number, '-'), coalesce(preferred_username, '-'),
                              coalesce(given_name, '-'), coalesce(family_name, '-'), attributes::text, metadata::text)
               from users order by email, phone_number, preferred_username",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap()
    }

    /// Number of users and sum of their versions: the sum counts every write, so it shows whether one happened twice.
    pub(crate) async fn witness(&self) -> (i64, i64) {
        let mut connection = self.store.connection().await.unwrap();
        sqlx::query_as("select count(*), coalesce(sum(version), 0)::bigint from users")
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    pub(crate) fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// Stops a worker when every message is settled. One that was prefetched as the worker stopped goes back to the queue, so
    /// another worker may have to look again.
    pub(crate) async fn settle(&self, mut worker: Worker) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            while self.queue.depth().await.unwrap().ready > 0 {
                assert!(Instant::now() < deadline, "messages are left");
                tokio::task::yield_now().await;
            }
            worker.stop().await;
            if self.queue.depth().await.unwrap().ready == 0 {
                return;
            }
            worker = self.worker(1);
        }
    }

    /// Nothing may be left: no message, no open chunk, no half import.
    pub(crate) async fn finish(self) {
        witness::assert_satisfied(&self.store).await;
        let depth = self.queue.depth().await.unwrap();
        assert_eq!((depth.ready, depth.dead), (0, 0), "messages are left");
        self.queue.delete().await.unwrap();
        if let Some((engine, _folder)) = self.engine {
            drop((self.completed, self.queue));
            self.store.close().await;
            engine.stop().await.unwrap();
        }
    }
}

/// As many records have failed as have an error that is kept, at one moment. Checked at every read (P2).
pub(crate) async fn assert_failed_have_errors(store: &Store, import: ImportId) {
    let mut connection = store.pool().acquire().await.unwrap();
    let (failed, told): (i64, i64) = sqlx::query_as(
        "select (select coalesce(sum(failed), 0)::bigint from chunks where import_id = $1),
                (select count(*) from record_issues
                  where import_id = $1 and failed and json_array_length(errors) > 0)",
    )
    .bind(import.get())
    .fetch_one(&mut *connection)
    .await
    .unwrap();
    assert_eq!(failed, told, "failed records, and errors of failed records");
}

/// A CSV of `n` users with three columns.
pub(crate) fn people(n: usize) -> String {
    let mut csv = String::from("email,first_name,custom__office\n");
    for at in 0..n {
        csv.push_str(&format!("user{at}@example.com,Zoë {at},\"Milan, {}\"\n", at % 7));
    }
    csv
}
