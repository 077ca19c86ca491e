//! Connections: the pool, and connections of one's own.

use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions};

use super::StoreError;

/// How to use the database. The time limits are kept by the server, which is the only one that can end a statement
/// without leaving its connection out of step.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Most connections in the pool.
    pub max_connections: u32,
    /// How long to wait for a connection of the pool, connecting included.
    pub acquire_timeout: Duration,
    /// Longest statement.
    pub statement_timeout: Duration,
    /// Longest wait for one lock.
    pub lock_timeout: Duration,
    /// Longest pause inside a transaction. The server then ends the session, so that a frozen program holds no locks.
    pub idle_in_transaction_timeout: Duration,
    /// What the connections are called in `pg_stat_activity`, unless the URL names them.
    pub application_name: String,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            max_connections: 16,
            acquire_timeout: Duration::from_secs(30),
            statement_timeout: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(20),
            idle_in_transaction_timeout: Duration::from_secs(60),
            application_name: "muster".into(),
        }
    }
}

/// How full the pool is. In-use connections that no work explains are lost ones: time to rebuild the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStatus {
    /// Open connections.
    pub open: u32,
    /// Of those, waiting for work.
    pub idle: u32,
    /// Most there may be.
    pub max: u32,
}

/// A pool of connections to the database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
}

/// Notifications of one channel.
#[derive(Debug)]
pub struct Wakes(PgListener);

impl Wakes {
    /// Waits for the next one. An error means that some may have been missed.
    pub async fn next(&mut self) -> Result<(), StoreError> {
        self.0.recv().await?;
        Ok(())
    }
}

impl Store {
    /// Connects by URL, and proves it by opening one connection.
    pub async fn connect_url(url: &SecretString, options: &StoreOptions) -> Result<Self, StoreError> {
        Self::connect(PgConnectOptions::from_str(url.expose_secret())?, options).await
    }

    /// Connects, and proves it by opening one connection.
    pub async fn connect(target: PgConnectOptions, options: &StoreOptions) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            // A begin that was cancelled midway (a request whose client left) can hand the pool a connection inside a
            // transaction; the next user's writes would then wait for a commit that never comes. A rollback proves that
            // the connection lives just as the pool's own ping would, for the same one round trip.
            .test_before_acquire(false)
            .before_acquire(|connection, _| {
                Box::pin(async move {
                    sqlx::raw_sql("rollback").execute(connection).await?;
                    Ok(true)
                })
            })
            .connect_with(with_session_settings(target, options))
            .await?;
        Ok(Self { pool })
    }

    /// The pool, for functions that take any executor.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection that is no part of the pool, with the same settings as the pool's: for sessions (LISTEN, advisory
    /// locks, COPY) and for whatever must not wait for the pool.
    pub async fn connection(&self) -> Result<PgConnection, StoreError> {
        Ok((*self.pool.connect_options()).clone().connect().await?)
    }

    /// A connection for one worker slot, which runs the same few statements for days.
    ///
    /// Its statements are planned once, for any parameters, and by index only. Otherwise a plan made and cached while a
    /// table was still empty is a sequential scan, and stays one when the table has grown to millions of rows; and every
    /// chunk would pay for planning and for compiling what runs in a few milliseconds.
    pub async fn dedicated_connection(&self) -> Result<PgConnection, StoreError> {
        let settings = [
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("jit", "off"),
            ("plan_cache_mode", "force_generic_plan"),
        ];
        Ok((*self.pool.connect_options()).clone().options(settings).connect().await?)
    }

    /// Listens for notifications on a channel, over a connection of its own.
    pub async fn listen(&self, channel: &str) -> Result<Wakes, StoreError> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(channel).await?;
        Ok(Wakes(listener))
    }

    /// How full the pool is.
    pub fn status(&self) -> PoolStatus {
        PoolStatus {
            open: self.pool.size(),
            idle: u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX),
            max: self.pool.options().get_max_connections(),
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::raw_sql("select 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Waits until every connection is given back, and closes them.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Adds the session's settings, except those that the URL's `options` name themselves.
fn with_session_settings(target: PgConnectOptions, options: &StoreOptions) -> PgConnectOptions {
    let given = target.get_options().unwrap_or_default().to_owned();
    let settings = [
        ("statement_timeout", milliseconds(options.statement_timeout)),
        ("lock_timeout", milliseconds(options.lock_timeout)),
        ("idle_in_transaction_session_timeout", milliseconds(options.idle_in_transaction_timeout)),
        // Or each rollback of a connection taken from the pool is answered with a warning that there is nothing to roll back.
        ("client_min_messages", "error".into()),
        // Compiling takes longer than any statement here.
        ("jit", "off".into()),
        // What a user's timestamps look like is no matter of the server's place.
        ("timezone", "UTC".into()),
    ];
    let target = match target.get_application_name() {
        Some(_) => target,
        None => target.application_name(&options.application_name),
    };
    target
        .options(settings.into_iter().filter(|(name, _)| !given.contains(name)))
        // Statements in the log are the server's business (log_min_duration_statement).
        .disable_statement_logging()
}

fn milliseconds(duration: Duration) -> String {
    // PostgreSQL takes 0 for "no limit" and at most i32::MAX.
    duration.as_millis().clamp(1, i32::MAX as u128).to_string()
}
