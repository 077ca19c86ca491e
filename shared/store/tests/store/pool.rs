use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use muster_store::{ErrorKind, Store, StoreError, StoreOptions};
use muster_testkit::TestDatabase;
use muster_testkit::proxy::Proxy;
use sqlx::{Connection, PgConnection, Row};

async fn setting(connection: &mut PgConnection, name: &str) -> String {
    sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn the_server_keeps_the_time_limits() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let mut connection = store.pool().acquire().await.unwrap();
    assert_eq!(setting(&mut connection, "statement_timeout").await, "1min");
    assert_eq!(setting(&mut connection, "lock_timeout").await, "20s");
    assert_eq!(setting(&mut connection, "idle_in_transaction_session_timeout").await, "15s");
    assert_eq!(setting(&mut connection, "application_name").await, "muster");
}

#[tokio::test]
async fn a_setting_in_the_url_wins() {
    let database = TestDatabase::create().await;
    let target = database.target().options([("statement_timeout", "7s")]);
    let store = Store::connect(target, &StoreOptions::default()).await.unwrap();
    let mut connection = store.pool().acquire().await.unwrap();
    assert_eq!(setting(&mut connection, "statement_timeout").await, "7s");
    assert_eq!(setting(&mut connection, "lock_timeout").await, "20s");
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_a_transient_error() {
    let database = TestDatabase::create().await;
    let options = StoreOptions { statement_timeout: Duration::from_millis(20), ..StoreOptions::default() };
    let store = database.store_with(&options).await;
    let result = sqlx::query("select pg_sleep(10)").execute(store.pool()).await;
    let error = StoreError::from(result.unwrap_err());
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Transient, Some("57014")));
}

/// A connection that is open and carries nothing is thrown away: an idle one when it is taken, one whose statement was given up when
/// it is given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_leads_nowhere_takes_no_place_in_the_pool() {
    let database = TestDatabase::create().await;
    let (proxy, target) = Proxy::before_database(&database.target()).await;
    let options = StoreOptions { max_connections: 1, ..StoreOptions::default() };
    let store = Store::connect(target, &options).await.unwrap();
    store.ping().await.unwrap();
    proxy.freeze();
    let frozen = Instant::now();
    store.ping().await.unwrap();
    let mut connection = store.pool().acquire().await.unwrap();
    proxy.freeze();
    let asked = async { Ok(sqlx::raw_sql("select 1").execute(&mut *connection).await?) };
    let given_up = Store::within(Duration::from_millis(200), asked).await;
    assert!(matches!(given_up, Err(StoreError::Silent(_))), "{given_up:?}");
    drop(connection);
    store.ping().await.unwrap();
    assert!(frozen.elapsed() < Duration::from_secs(25), "{:?}", frozen.elapsed());
}

#[tokio::test]
async fn a_slot_of_a_worker_plans_by_index_and_once() {
    let database = TestDatabase::create().await;
    let store = database.store_with(&StoreOptions { max_connections: 8, ..StoreOptions::default() }).await;
    let mut connection = store.dedicated_connection().await.unwrap();
    for (name, value) in [
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("jit", "off"),
        ("plan_cache_mode", "force_generic_plan"),
        ("lock_timeout", "20s"),
    ] {
        assert_eq!(setting(&mut connection, name).await, value, "{name}");
    }
    // The reserve, over which chunks are sent, plans once too.
    let mut reserved = store.reserved().pool().acquire().await.unwrap();
    for (name, value) in
        [("enable_seqscan", "off"), ("jit", "off"), ("plan_cache_mode", "force_generic_plan")]
    {
        assert_eq!(setting(&mut reserved, name).await, value, "{name}");
    }
    // The pool itself plans as usual.
    let mut pooled = store.pool().acquire().await.unwrap();
    assert_eq!(setting(&mut pooled, "enable_seqscan").await, "on");
}

#[tokio::test]
async fn a_begin_that_was_cancelled_leaves_no_connection_inside_a_transaction() {
    let database = TestDatabase::create().await;
    let store = database.store_with(&StoreOptions { max_connections: 1, ..StoreOptions::default() }).await;
    let mut connection = store.pool().acquire().await.unwrap();
    loop {
        // As when a request's client leaves: BEGIN is sent, its answer is not awaited. A server that answers before the
        // first look has left nothing to cancel; that transaction is rolled back, and another begun.
        let mut begin = pin!(connection.begin());
        if begin.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            break;
        }
    }
    drop(connection);

    let mut connection = store.pool().acquire().await.unwrap();
    // Inside a transaction now() stands still.
    let first = sqlx::raw_sql("select now()::text").fetch_one(&mut *connection).await.unwrap();
    let second = sqlx::raw_sql("select now()::text").fetch_one(&mut *connection).await.unwrap();
    assert_ne!(first.get::<String, _>(0), second.get::<String, _>(0));
}

#[tokio::test]
async fn a_database_that_is_away_is_a_transient_error() {
    let target = TestDatabase::create().await.target().host("127.0.0.1").port(1);
    let options = StoreOptions { acquire_timeout: Duration::from_millis(50), ..StoreOptions::default() };
    let error = Store::connect(target, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_a_permanent_error() {
    let target = TestDatabase::create().await.target().database("muster_no_such_database");
    let error = Store::connect(target, &StoreOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Permanent, Some("3D000")));
}

#[tokio::test]
async fn an_error_shows_no_value_of_a_row() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let marker = "marker@example.com";
    let twice = format!(
        "insert into users (id, tenant_id, email) values \
         ('00000000-0000-7000-8000-000000000001', 1, '{marker}'), \
         ('00000000-0000-7000-8000-000000000002', 1, '{marker}')"
    );
    let not_a_uuid = format!("select '{marker}'::uuid");
    let not_null = format!("insert into users (id, email) values (gen_random_uuid(), '{marker}')");
    for (sql, kind) in
        [(twice, ErrorKind::Conflict), (not_a_uuid, ErrorKind::Data), (not_null, ErrorKind::Data)]
    {
        let result = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(store.pool()).await;
        let error = StoreError::from(result.unwrap_err());
        assert_eq!(error.kind(), kind);
        assert!(std::error::Error::source(&error).is_none());
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("marker"), "{shown}");
    }
}

#[tokio::test]
async fn a_row_refused_by_an_index_names_it() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let sql = "insert into tenants (slug, name) values ('a', 'A'), ('a', 'B')";
    let error = StoreError::from(sqlx::raw_sql(sql).execute(store.pool()).await.unwrap_err());
    assert_eq!(error.constraint(), Some("tenants_slug_key"));
}

#[tokio::test]
async fn the_status_counts_connections() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let held = store.pool().acquire().await.unwrap();
    let status = store.status();
    assert_eq!((status.open, status.idle, status.max), (1, 0, 4));
    drop(held);
    store.ping().await.unwrap();
    store.close().await;
    assert_eq!(store.ping().await.unwrap_err().kind(), ErrorKind::Transient);
}

/// The options of this process's sockets to a port: small packets at once, keepalive, time-out of what is not acknowledged.
#[cfg(target_os = "linux")]
fn sockets(port: u16) -> Vec<(bool, bool, u32)> {
    use std::net::SocketAddr;

    use rustix::net::{getpeername, sockopt};
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let number = entry.file_name().to_str().unwrap().parse().unwrap();
        let Ok(socket) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else { continue };
        let peer = getpeername(&socket).ok().flatten().and_then(|peer| SocketAddr::try_from(peer).ok());
        if peer.is_some_and(|peer| peer.port() == port) {
            found.push((
                sockopt::tcp_nodelay(&socket).unwrap(),
                sockopt::socket_keepalive(&socket).unwrap(),
                sockopt::tcp_user_timeout(&socket).unwrap(),
            ));
        }
    }
    found
}

/// Looking for the server that takes the writes must not itself hang on one that vanished.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_look_for_the_server_that_takes_writes_notices_one_that_vanished() {
    let database = TestDatabase::create().await;
    let (first, through) = Proxy::before(&database.url()).await;
    let (second, _) = Proxy::before(&database.url()).await;
    let both = through.replace(&first.address.to_string(), &format!("{},{}", first.address, second.address));
    let store = Store::connect_url(&both.into(), &StoreOptions::default()).await.unwrap();
    assert!(sockets(second.address.port()).is_empty());
    first.refuse();
    first.cut();
    // Nothing uses the pool meanwhile, whose next connection would set the options of all sockets.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let found = sockets(second.address.port());
        if !found.is_empty() && found.iter().all(|socket| *socket == (true, true, 20_000)) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{found:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The pool is told a moment later.
    while let Err(error) = store.ping().await {
        assert!(std::time::Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn every_connection_sends_small_packets_at_once_and_notices_a_server_that_vanished() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let topology = muster_queue::Topology::new("muster").unwrap();
    let queue = muster_queue::Queue::postgres(store.pool().clone(), topology, Default::default());
    let _held = (
        store.pool().acquire().await.unwrap(),
        store.pool().acquire().await.unwrap(),
        store.connection().await.unwrap(),
        store.dedicated_connection().await.unwrap(),
        muster_store::receiving::staging_connection(&store).await.unwrap(),
        store.listen("muster_test").await.unwrap(),
        queue.consumer(1).await.unwrap(),
    );
    let sockets = sockets(database.target().get_port());
    assert!(sockets.len() >= 7, "{sockets:?}");
    assert!(sockets.iter().all(|socket| *socket == (true, true, 20_000)), "{sockets:?}");
}
