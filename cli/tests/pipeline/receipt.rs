//! The receipt: what it promises is there and durable, or the upload fails; and what became of it is known even where the
//! connection ends before the answer.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use muster_domain::chunk::ChunkLimits;
use muster_domain::fault::{self, Point};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::options::{Duplicates, ImportOptions};
use muster_domain::receive::NewImport;
use muster_engine::{EmbeddedEngine, EngineOptions};
use muster_producer::receive::{self, Compression, Receipt, ReceiveError, ReceiveLimits};
use muster_runtime::clock;
use muster_store::{Store, StoreOptions, reports, tenants};
use muster_testkit::TestDatabase;
use muster_testkit::proxy::{Proxy, Then};
use tokio::sync::mpsc;

use crate::harness::people;

/// Stops every upload before its receipt, until the test has done what it wants done then.
struct Gate {
    reached: mpsc::UnboundedReceiver<()>,
    go: std::sync::mpsc::Sender<()>,
}

impl Gate {
    fn before_receipt() -> Self {
        Self::at(Point::BeforeReceipt)
    }

    fn at(point: Point) -> Self {
        let (reach, reached) = mpsc::unbounded_channel();
        let (go, wait) = std::sync::mpsc::channel();
        let wait = Mutex::new(wait);
        fault::call_at(point, move || {
            reach.send(()).unwrap();
            // What else waits for this thread is done by another one.
            tokio::task::block_in_place(|| wait.lock().unwrap().recv().unwrap());
        });
        Self { reached, go }
    }

    async fn reached(&mut self) {
        tokio::time::timeout(Duration::from_secs(60), self.reached.recv()).await.unwrap().unwrap();
    }

    fn open(&self) {
        self.go.send(()).unwrap();
    }
}

fn new_import(tenant: TenantId, options: &ImportOptions) -> NewImport {
    NewImport {
        id: ImportId::new(clock::new_id()),
        tenant,
        filename: None,
        options: options.clone(),
        idempotency: None,
        provenance: Default::default(),
    }
}

async fn upload(store: Store, import: NewImport, csv: String) -> Result<Receipt, ReceiveError> {
    let limits = ReceiveLimits {
        chunk: ChunkLimits { records: 20, bytes: 64 * 1024, lanes: 4 },
        ..ReceiveLimits::default()
    };
    let upload = receive::begin(&store, import, Compression::Identity, limits).await?;
    upload.push(csv.into_bytes().into()).await;
    upload.finish().await
}

async fn state(store: &Store, tenant: TenantId, import: ImportId) -> ImportState {
    reports::import(store, tenant, import).await.unwrap().unwrap().state
}

async fn fresh() -> (TestDatabase, Store, TenantId) {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
    (database, store, tenant)
}

/// Whatever of an upload is missing when it ends, by whatever fault: it is not answered with success, and nothing of it is
/// applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_of_which_something_is_missing_at_its_receipt_fails() {
    let (database, store, tenant) = fresh().await;
    let mut gate = Gate::before_receipt();
    let mut csv = people(200);
    csv.push_str("not an address,A,B\nnor this,A,B\n");
    let refusing = ImportOptions { duplicates: Duplicates::Refuse, ..ImportOptions::default() };
    let plain = ImportOptions::default();
    for (damage, options) in [
        ("delete from chunks where id = (select min(id) from chunks)", &plain),
        ("delete from chunks", &plain),
        ("update chunks set body_hash = body_hash + 1 where id = (select max(id) from chunks)", &plain),
        ("delete from record_issues where record = 201", &plain),
        ("update record_issues set record = 203 where record = 201", &plain),
        ("truncate import_keys", &refusing),
    ] {
        let import = new_import(tenant, options);
        let id = import.id;
        let uploading = tokio::spawn(upload(store.clone(), import, csv.clone()));
        gate.reached().await;
        sqlx::raw_sql(damage).execute(store.pool()).await.unwrap();
        gate.open();
        let failed = uploading.await.unwrap();
        assert!(matches!(failed, Err(ReceiveError::Store(_))), "{damage}: {failed:?}");
        assert_eq!(state(&store, tenant, id).await, ImportState::Aborted, "{damage}");
        let snapshot = database.snapshot().await;
        assert!(snapshot["chunks"].is_empty() && snapshot["record_issues"].is_empty(), "{damage}");
    }
    let import = new_import(tenant, &refusing);
    let uploading = tokio::spawn(upload(store.clone(), import, csv));
    gate.reached().await;
    gate.open();
    assert_eq!(uploading.await.unwrap().unwrap().counts.failed, 2);
}

/// The receipt's COMMIT reaches the server or does not, and its answer never comes: read again, so that the upload is
/// answered as what it came to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_receipt_is_not_answered_is_known_to_be_received_or_aborted() {
    let (database, store, tenant) = fresh().await;
    let (proxy, through) = Proxy::before_database(&database.target()).await;
    let options = StoreOptions { max_connections: 4, ..StoreOptions::default() };
    let far = Store::connect(through, &options).await.unwrap();
    let mut gate = Gate::before_receipt();
    for then in [Then::SwallowReply, Then::CutBefore, Then::CutAfter] {
        let import = new_import(tenant, &ImportOptions::default());
        let id = import.id;
        let uploading = tokio::spawn(upload(far.clone(), import, people(100)));
        gate.reached().await;
        let rule = proxy.when("COMMIT", 1, then);
        gate.open();
        let ended = uploading.await.unwrap();
        assert_eq!(rule.hits(), 1);
        let now = state(&store, tenant, id).await;
        match (then, ended) {
            (Then::SwallowReply, Ok(receipt)) => {
                assert_eq!((receipt.state, now), (ImportState::Running, ImportState::Running));
                assert_eq!(receipt.counts.total, 100);
            }
            (Then::CutBefore, Err(ReceiveError::Store(_))) => assert_eq!(now, ImportState::Aborted),
            // Either may be, and the answer says which.
            (Then::CutAfter, Ok(_)) => assert_eq!(now, ImportState::Running),
            (Then::CutAfter, Err(ReceiveError::Store(_))) => assert_eq!(now, ImportState::Aborted),
            (then, ended) => panic!("{then:?}: {ended:?}, and the import is {now}"),
        }
    }
}

/// Marks of commits do not pile up.
#[tokio::test]
async fn marks_of_commits_are_deleted_when_nobody_looks_for_them_any_more() {
    let (_database, store, tenant) = fresh().await;
    upload(store.clone(), new_import(tenant, &ImportOptions::default()), people(3)).await.unwrap();
    let marks = async || -> i64 {
        sqlx::query_scalar("select count(*) from commit_marks").fetch_one(store.pool()).await.unwrap()
    };
    assert_eq!((marks().await, muster_store::forget_commit_marks(&store).await.unwrap()), (1, 0));
    sqlx::raw_sql("update commit_marks set at = at - interval '16 minutes'")
        .execute(store.pool())
        .await
        .unwrap();
    assert_eq!((muster_store::forget_commit_marks(&store).await.unwrap(), marks().await), (1, 0));
}

/// An engine of one's own, all of whose processes can be killed at once.
struct Killable {
    folder: tempfile::TempDir,
    engine: EmbeddedEngine,
}

impl Killable {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = EmbeddedEngine::start(EngineOptions::new(folder.path())).await.unwrap();
        let killable = Self { folder, engine };
        // What is not waited for reaches the disk late: a crash is sure to lose it.
        let store = killable.store().await;
        for sql in ["alter system set wal_writer_delay = '10s'", "select pg_reload_conf()"] {
            sqlx::raw_sql(sql).execute(store.pool()).await.unwrap();
        }
        store.close().await;
        killable
    }

    async fn store(&self) -> Store {
        let options = StoreOptions { max_connections: 8, ..StoreOptions::default() };
        Store::connect(self.engine.connect_options(), &options).await.unwrap()
    }

    /// What a crash of the machine does to the server: every process is gone at once, and nothing is written any more.
    async fn crash(self) -> Self {
        let leader = self.engine.pid();
        let children = std::fs::read_to_string(format!("/proc/{leader}/task/{leader}/children")).unwrap();
        let pids = std::iter::once(leader.to_string()).chain(children.split_whitespace().map(str::to_owned));
        // A child that ended by itself since they were listed makes `kill` fail; that the leader is gone is what counts.
        Command::new("kill").arg("-KILL").args(pids).status().unwrap();
        self.engine.died().await;
        let place = self.engine.connect_options();
        drop(self.engine);
        let engine = EmbeddedEngine::start(EngineOptions::new(self.folder.path())).await.unwrap();
        assert_eq!(format!("{:?}", engine.connect_options()), format!("{place:?}"), "it is found again");
        Self { folder: self.folder, engine }
    }
}

#[cfg(feature = "embedded-postgres")]
mod process {
    use super::*;

    /// Chunks are staged without waiting for the disk; a server that crashes then has forgotten them.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_crash_of_the_database_between_staging_and_receipt_fails_the_upload() {
        let mut server = Killable::start().await;
        let store = server.store().await;
        muster_store::migrate::run(&store).await.unwrap();
        let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
        let mut gate = Gate::before_receipt();
        let import = new_import(tenant, &ImportOptions::default());
        let id = import.id;
        let uploading = tokio::spawn(upload(store.clone(), import, people(500)));
        gate.reached().await;
        server = server.crash().await;
        gate.open();
        let failed = uploading.await.unwrap();
        assert!(matches!(failed, Err(ReceiveError::Store(_))), "{failed:?}");
        assert_eq!(state(&store, tenant, id).await, ImportState::Aborted);
        // And the next one goes well.
        let import = new_import(tenant, &ImportOptions::default());
        let id = import.id;
        let uploading = tokio::spawn(upload(store.clone(), import, people(500)));
        gate.reached().await;
        gate.open();
        assert_eq!(uploading.await.unwrap().unwrap().counts.total, 500);
        assert_whole(&store, tenant, id, 500).await;
        store.close().await;
        server.engine.stop().await.unwrap();
    }

    /// A server that crashes forgets the numbers of transactions that had not reached its disk, and gives them to others. That such a
    /// number is committed says nothing of the transaction that had it first.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_number_that_the_database_gives_away_again_proves_no_commit() {
        let mut server = Killable::start().await;
        let store = server.store().await;
        muster_store::migrate::run(&store).await.unwrap();
        let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
        let mut gate = Gate::at(Point::StoreCommit);
        let import = new_import(tenant, &ImportOptions::default());
        let id = import.id;
        let uploading = tokio::spawn(upload(store.clone(), import, people(500)));
        gate.reached().await;
        let open = "select backend_xid::text::bigint from pg_stat_activity where backend_xid is not null";
        let lost: i64 = sqlx::query_scalar(open).fetch_one(store.pool()).await.unwrap();
        server = server.crash().await;
        // A stranger gets its number, and commits.
        let strangers = server.store().await;
        loop {
            let number = "select pg_current_xact_id()::text::bigint";
            let number: i64 = sqlx::query_scalar(number).fetch_one(strangers.pool()).await.unwrap();
            assert!(number <= lost, "{lost} is not given away again: {number} was the first number after it");
            if number == lost {
                break;
            }
        }
        gate.open();
        let failed = uploading.await.unwrap();
        assert!(matches!(failed, Err(ReceiveError::Store(_))), "{failed:?}");
        assert_eq!(state(&strangers, tenant, id).await, ImportState::Aborted);
        store.close().await;
        strangers.close().await;
        server.engine.stop().await.unwrap();
    }

    /// Crashes wherever they come: what was answered with success is there, whole.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn crashes_of_the_database_lose_no_accepted_upload() {
        let mut server = Killable::start().await;
        let store = server.store().await;
        muster_store::migrate::run(&store).await.unwrap();
        let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
        let (accept, mut accepted) = mpsc::unbounded_channel();
        static STOP: AtomicBool = AtomicBool::new(false);
        let uploaders: Vec<_> = (0..3)
            .map(|_| {
                let (store, accept) = (store.clone(), accept.clone());
                tokio::spawn(async move {
                    while !STOP.load(Ordering::SeqCst) {
                        let import = new_import(tenant, &ImportOptions::default());
                        let id = import.id;
                        if upload(store.clone(), import, people(300)).await.is_ok() {
                            accept.send(id).unwrap();
                        }
                    }
                })
            })
            .collect();
        drop(accept);
        for _ in 0..5 {
            // A few are accepted between two crashes, however slow the machine.
            for _ in 0..4 {
                let id = accepted.recv().await.unwrap();
                assert_whole(&store, tenant, id, 300).await;
            }
            server = server.crash().await;
        }
        STOP.store(true, Ordering::SeqCst);
        for uploader in uploaders {
            uploader.await.unwrap();
        }
        while let Some(id) = accepted.recv().await {
            assert_whole(&store, tenant, id, 300).await;
        }
        // Once more, now that nothing crashes any more.
        let wrong: i64 = sqlx::query_scalar(
            "select count(*) from imports i
              where i.state = 'running' and i.total <> (select sum(records) from chunks c where c.import_id = i.id)",
        )
        .fetch_one(store.pool())
        .await
        .unwrap();
        assert_eq!(wrong, 0);
        store.close().await;
        server.engine.stop().await.unwrap();
    }

    async fn assert_whole(store: &Store, tenant: TenantId, import: ImportId, records: i64) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let found: Result<(String, i64), _> = sqlx::query_as(
                "select state, (select coalesce(sum(records), 0)::bigint from chunks where import_id = i.id)
                   from imports i where id = $1 and tenant_id = $2",
            )
            .bind(import.get())
            .bind(tenant.get())
            .fetch_one(store.pool())
            .await;
            match found {
                Ok(found) => return assert_eq!(found, ("running".to_owned(), records)),
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        }
    }
}
