//! A database of one's own for every test, on the real PostgreSQL.
//!
//! `TEST_DATABASE_URL` names a server and a role that may create databases. A test without it fails; none is skipped.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use muster_store::{Store, StoreOptions, migrate};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

/// Guards the making of the template.
const TEMPLATE_LOCK: i64 = 0x6d75_7374_6572_7465;
/// Held by the one that sweeps up.
const SWEEP_LOCK: i64 = 0x6d75_7374_6572_7377;

/// A fresh database with the schema in it.
///
/// It outlives the value: dropping a database waits for every session of the server to take notice, and one that is
/// halfway through connecting, from a runtime that is just ending, takes none for a minute. So whoever makes the next
/// database sweeps up those that nobody has used for a while.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    server: PgConnectOptions,
}

impl TestDatabase {
    /// A database with all migrations applied, copied from a template that the first test to come made.
    ///
    /// # Panics
    /// When `TEST_DATABASE_URL` is missing or its server cannot be used.
    pub async fn create() -> Self {
        Self::create_on(server()).await
    }

    /// The same on a server of one's own: the bundled engine, for one.
    ///
    /// # Panics
    /// When the server cannot be used.
    pub async fn create_on(server: PgConnectOptions) -> Self {
        let mut admin = connect(&server).await;
        let template = ensure_template(&server, &mut admin).await;
        sweep(&mut admin).await;
        let name = unique_name();
        execute(&mut admin, format!("create database {name} template {template}")).await;
        Self { name, server }
    }

    /// A database with nothing in it, for tests of migrating.
    ///
    /// # Panics
    /// As [`create`](Self::create).
    pub async fn create_empty() -> Self {
        let server = server();
        let name = unique_name();
        execute(&mut connect(&server).await, format!("create database {name} template template0")).await;
        Self { name, server }
    }

    /// Where it is, password included.
    pub fn url(&self) -> String {
        self.target().to_url_lossy().to_string()
    }

    /// Where it is, for the driver.
    pub fn target(&self) -> PgConnectOptions {
        self.server.clone().database(&self.name)
    }

    /// A store on it, with few connections so that a test server serves many tests.
    ///
    /// # Panics
    /// When it cannot connect.
    pub async fn store(&self) -> Store {
        self.store_with(&StoreOptions { max_connections: 4, ..StoreOptions::default() }).await
    }

    /// A store on it with other options.
    ///
    /// # Panics
    /// When it cannot connect.
    pub async fn store_with(&self, options: &StoreOptions) -> Store {
        Store::connect(self.target(), options).await.expect("the test database must be usable")
    }

    /// Every row of every table as text, sorted, by table: to see whether doing something twice is doing it once. Without the marks of
    /// commits, since doing something twice is two commits.
    ///
    /// # Panics
    /// When the database cannot be read.
    pub async fn snapshot(&self) -> BTreeMap<String, Vec<String>> {
        let mut connection = connect(&self.target()).await;
        let tables: Vec<String> = sqlx::query_scalar(
            "select tablename::text from pg_tables
              where schemaname = 'public' and tablename not in ('_sqlx_migrations', 'commit_marks')",
        )
        .fetch_all(&mut connection)
        .await
        .expect("the tables can be listed");
        let mut snapshot = BTreeMap::new();
        for table in tables {
            let rows = sqlx::query_scalar(AssertSqlSafe(format!(
                r#"select row_to_json(t)::text from "{table}" as t order by 1"#
            )));
            snapshot.insert(table, rows.fetch_all(&mut connection).await.expect("the table can be read"));
        }
        snapshot
    }
}

fn server() -> PgConnectOptions {
    let url = std::env::var("TEST_DATABASE_URL").unwrap_or_else(|_| {
        panic!("TEST_DATABASE_URL is not set: run `make test`, or `make services-up` and set what it prints")
    });
    PgConnectOptions::from_str(&url)
        .expect("TEST_DATABASE_URL must be a PostgreSQL URL")
        .disable_statement_logging()
}

async fn connect(target: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(target).await.expect("the server named by TEST_DATABASE_URL must be running")
}

async fn execute(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .expect("the role may create and drop databases");
}

/// Drops a few databases of tests that are over: made longer ago than a test may take, and no session in them.
async fn sweep(admin: &mut PgConnection) {
    let mine: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(SWEEP_LOCK)
        .fetch_one(&mut *admin)
        .await
        .expect("a lock");
    if !mine {
        return;
    }
    let over: Vec<String> = sqlx::query_scalar(
        "select datname::text
           from pg_database
          where datname ~ '^muster_test_[0-9]+_[0-9]+_[0-9]+$'
            and to_timestamp(split_part(datname, '_', 4)::numeric / 1000000) < now() - interval '10 minutes'
            and not exists (select from pg_stat_activity where pg_stat_activity.datname = pg_database.datname)
          limit 4",
    )
    .fetch_all(&mut *admin)
    .await
    .expect("the databases can be listed");
    for name in over {
        // Somebody may use it after all, and then it stays.
        let _ = sqlx::raw_sql(AssertSqlSafe(format!("drop database if exists {name}")))
            .execute(&mut *admin)
            .await;
    }
    sqlx::query("select pg_advisory_unlock($1)")
        .bind(SWEEP_LOCK)
        .execute(admin)
        .await
        .expect("a lock to free");
}

fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // Process ids come again, and a killed test leaves its database behind: the time makes the difference.
    let micros = muster_runtime::clock::now().timestamp_micros();
    format!("muster_test_{}_{micros}_{count}", std::process::id())
}

/// The template is named for the migrations in it, so that two checkouts can share a server.
async fn ensure_template(server: &PgConnectOptions, admin: &mut PgConnection) -> String {
    let template = format!("muster_template_{:016x}", migrate::fingerprint());
    sqlx::query("select pg_advisory_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut *admin)
        .await
        .expect("a lock");
    let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(&template)
        .fetch_one(&mut *admin)
        .await
        .expect("the databases can be listed");
    if !exists {
        // Made under another name, so that a template that is there is whole.
        let making = format!("{template}_making");
        execute(admin, format!("drop database if exists {making} with (force)")).await;
        execute(admin, format!("create database {making} template template0")).await;
        let target = server.clone().database(&making);
        let store = Store::connect(target, &StoreOptions { max_connections: 1, ..StoreOptions::default() })
            .await
            .expect("the template must be usable");
        migrate::run(&store).await.expect("the migrations must apply to an empty database");
        store.close().await;
        drop_sessions(admin, &making).await;
        execute(admin, format!("alter database {making} rename to {template}")).await;
    }
    sqlx::query("select pg_advisory_unlock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(admin)
        .await
        .expect("a lock to free");
    template
}

/// A closed connection's session may live on for a moment, and a database with a session can be no template.
async fn drop_sessions(admin: &mut PgConnection, database: &str) {
    sqlx::query("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = $1")
        .bind(database)
        .execute(admin)
        .await
        .expect("sessions of the own role can be ended");
}
