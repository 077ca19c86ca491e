//! Connections: the pool, and connections of one's own.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::fault::{self, Mutant};
use muster_runtime::retry::{Backoff, Policy};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{ErrorKind, StoreError, hosts, socket};

/// How to use the database. The time limits are kept by the server, which is the only one that can end a statement
/// without leaving its connection out of step.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Most connections in the pool, with its reserve ([`Store::reserved`]). It takes no more than half of those that the server has, so
    /// that there are some for uploads and workers.
    pub max_connections: u32,
    /// How long a connection of the pool may be idle before it is given back.
    pub idle_timeout: Duration,
    /// How old a connection of the pool may get.
    pub max_lifetime: Duration,
    /// Most uploads at a time; each has a connection of its own.
    pub uploads: u32,
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
            idle_timeout: Duration::from_secs(60),
            max_lifetime: Duration::from_secs(30 * 60),
            uploads: 16,
            acquire_timeout: Duration::from_secs(30),
            statement_timeout: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(20),
            idle_in_transaction_timeout: Duration::from_secs(15),
            application_name: "muster".into(),
        }
    }
}

/// How long a connection of the pool may take to answer when it is taken or given back.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);

/// How many connections of the pool are its reserve, and the smallest pool that has one.
const RESERVE: u32 = 3;
const RESERVE_FROM: u32 = 8;

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
    /// The one that is used.
    pool: PgPool,
    /// What everybody uses.
    common: PgPool,
    /// Connections that only those get that must not wait for reads. None where the pool is small.
    reserve: Option<PgPool>,
    /// One an upload.
    uploads: Arc<Semaphore>,
    /// Whether there is the role that the second lock needs. It is tried once: the role is created by a migration and never removed.
    second_lock: Arc<OnceCell<bool>>,
    /// For whom it is used.
    actor: Option<Arc<str>>,
}

/// The right to receive one upload.
#[derive(Debug)]
pub struct UploadPermit(
    #[expect(dead_code, reason = "it counts as long as it lives")] Option<OwnedSemaphorePermit>,
);

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
    /// Connects by URL, and proves it by opening one connection. Of several servers in the URL it is the one that takes
    /// writes, now and later.
    pub async fn connect_url(url: &SecretString, options: &StoreOptions) -> Result<Self, StoreError> {
        let targets = hosts::targets(url.expose_secret())?;
        if let [target] = &targets[..] {
            return Self::connect(target.clone(), options).await;
        }
        let (primary, watched) = hosts::primary(&targets, options.acquire_timeout).await?;
        let store = Self::connect(primary, options).await?;
        let targets = targets.into_iter().map(|target| with_session_settings(target, options)).collect();
        let reserve = store.reserve.iter().cloned().map(|pool| (pool, reserve_settings as hosts::Settings));
        let common = (store.common.clone(), (|target| target) as hosts::Settings);
        hosts::follow(std::iter::once(common).chain(reserve).collect(), targets, watched);
        Ok(store)
    }

    /// Connects, and proves it by opening one connection.
    pub async fn connect(target: PgConnectOptions, options: &StoreOptions) -> Result<Self, StoreError> {
        let target = with_session_settings(target, options);
        let connections = connections_of(&target, options.acquire_timeout).await?;
        let most = options.max_connections.min((connections / 2).max(1));
        if most < options.max_connections {
            tracing::info!(most, server = connections, "the pool takes half of the server's connections");
        }
        let kept = if most >= RESERVE_FROM && !fault::mutant(Mutant::ReadsTakeAll) { RESERVE } else { 0 };
        let common = pool_of(target.clone(), options, most - kept);
        Ok(Self {
            pool: common.clone(),
            common,
            reserve: (kept > 0).then(|| pool_of(reserve_settings(target), options, kept)),
            uploads: Arc::new(Semaphore::new(options.uploads as usize)),
            second_lock: Arc::default(),
            actor: None,
        })
    }

    fn pools(&self) -> impl Iterator<Item = &PgPool> {
        std::iter::once(&self.common).chain(&self.reserve)
    }

    /// The same store over the reserve of its pool: for short statements without which all work stands still, however many reads wait for
    /// a connection. A small pool has none, and is used itself.
    #[must_use]
    pub fn reserved(&self) -> Self {
        Self { pool: self.reserve.as_ref().unwrap_or(&self.common).clone(), ..self.clone() }
    }

    pub(super) fn lock(&self) -> &OnceCell<bool> {
        &self.second_lock
    }

    /// The pool, for functions that take any executor.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection outside the pool, with the same settings: for sessions (LISTEN, advisory locks, COPY) and
    /// for work that must not wait for the pool.
    pub async fn connection(&self) -> Result<PgConnection, StoreError> {
        match socket::connect(&self.pool.connect_options()).await.map_err(StoreError::from) {
            Err(error) if is_full(&error) => self.take_from_pool().await,
            connected => connected,
        }
    }

    /// The server has no connection left, and some of those that it gave are perhaps idle in the pool.
    async fn take_from_pool(&self) -> Result<PgConnection, StoreError> {
        Ok(self.pool.acquire().await?.detach())
    }

    /// The same store, used for somebody: what is done through it is in the [audit](super::audit) under this name.
    #[must_use]
    pub fn by(&self, actor: &str) -> Self {
        Self { actor: Some(actor.into()), ..self.clone() }
    }

    /// The same store, used for nobody: what the program does by itself.
    #[must_use]
    pub fn by_itself(&self) -> Self {
        Self { actor: None, ..self.clone() }
    }

    /// For whom it is used.
    pub fn actor(&self) -> Option<&str> {
        self.actor.as_deref()
    }

    /// Waits until there is room for one more upload, and takes it.
    pub async fn upload_permit(&self) -> UploadPermit {
        // The semaphore is never closed.
        UploadPermit(Arc::clone(&self.uploads).acquire_owned().await.ok())
    }

    /// Whether there is room for one more upload now.
    pub fn takes_uploads(&self) -> bool {
        self.uploads.available_permits() > 0
    }

    /// A connection for one worker slot, which runs the same few statements for days.
    ///
    /// Its statements are planned once, for any parameters, and by index only. Otherwise a plan made and cached while a
    /// table was still empty is a sequential scan, and stays one when the table has grown to millions of rows; and every
    /// chunk would pay for planning and for compiling what runs in a few milliseconds.
    pub async fn dedicated_connection(&self) -> Result<PgConnection, StoreError> {
        let target = (*self.pool.connect_options()).clone().options(SLOT_SETTINGS);
        match socket::connect(&target).await.map_err(StoreError::from) {
            Err(error) if is_full(&error) => {
                let mut connection = self.take_from_pool().await?;
                for (name, value) in SLOT_SETTINGS {
                    sqlx::query("select set_config($1, $2, false)")
                        .bind(name)
                        .bind(value)
                        .execute(&mut connection)
                        .await?;
                }
                Ok(connection)
            }
            connected => Ok(connected?),
        }
    }

    /// Listens for notifications on a channel, over a connection of its own.
    pub async fn listen(&self, channel: &str) -> Result<Wakes, StoreError> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(channel).await?;
        Ok(Wakes(listener))
    }

    /// How full the pool is, without its reserve: reads wait where this is at its most.
    pub fn status(&self) -> PoolStatus {
        PoolStatus {
            open: self.pool.size(),
            idle: u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX),
            max: self.pool.options().get_max_connections(),
        }
    }

    /// Waits for an operation on the pool at most `limit`. A dead connection would never answer; it is
    /// closed. The operation may still be executed. Not for COPY, and not for a queue's work.
    pub async fn within<T>(
        limit: Duration,
        asked: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if fault::mutant(Mutant::StoreWithoutDeadline) {
            return asked.await;
        }
        timeout(limit, asked).await.unwrap_or(Err(StoreError::Silent(limit)))
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::raw_sql("select 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Whether the database answers and takes writes: a standby does not.
    pub async fn is_writable(&self) -> Result<bool, StoreError> {
        let writable = sqlx::query_scalar!(
            r#"select not pg_is_in_recovery() and not current_setting('transaction_read_only')::boolean as "writable!""#
        );
        Ok(writable.fetch_one(&self.pool).await?)
    }

    /// Waits until every connection is given back, and closes them.
    pub async fn close(&self) {
        for pool in self.pools() {
            pool.close().await;
        }
    }
}

/// How a slot of a worker plans.
const SLOT_SETTINGS: [(&str, &str); 5] = [
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// How the reserve plans. Dispatchers run its statements for each chunk that ends, and planning them took longer than running them.
/// A plan is made once, for any parameters, and uses indexes even while the tables are still empty.
fn reserve_settings(target: PgConnectOptions) -> PgConnectOptions {
    target.options([("enable_seqscan", "off"), ("jit", "off"), ("plan_cache_mode", "force_generic_plan")])
}

/// A pool of so many connections. The first one is opened when it is needed.
fn pool_of(target: PgConnectOptions, options: &StoreOptions, most: u32) -> PgPool {
    let tuned = target.clone();
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(options.acquire_timeout)
        .idle_timeout(options.idle_timeout)
        .max_lifetime(options.max_lifetime)
        .after_connect(move |_, _| {
            socket::tune(&tuned);
            Box::pin(async { Ok(()) })
        })
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(clean(connection)))
        .after_release(|connection, _| Box::pin(alive(connection)))
        .connect_lazy_with(target)
}

fn is_full(error: &StoreError) -> bool {
    error.sqlstate() == Some("53300") && !fault::mutant(Mutant::PoolKeepsConnections)
}

/// How many connections the server has for programs. Waits for one that is just starting.
async fn connections_of(target: &PgConnectOptions, patience: Duration) -> Result<u32, StoreError> {
    let deadline = Instant::now() + patience;
    let mut backoff = Backoff::new(Policy { longest: Duration::from_secs(1), ..Policy::RECONNECT });
    loop {
        let asked = timeout_at(deadline, ask_connections(target)).await;
        let error = match asked.unwrap_or(Err(StoreError::PoolTimeout)) {
            Ok(connections) => return Ok(connections),
            Err(error) => error,
        };
        let delay = backoff.delay();
        if error.kind() != ErrorKind::Transient || Instant::now() + delay >= deadline {
            return Err(error);
        }
        sleep(delay).await;
    }
}

async fn ask_connections(target: &PgConnectOptions) -> Result<u32, StoreError> {
    let mut connection = socket::connect(target).await?;
    let connections = sqlx::query_scalar!(
        r#"select current_setting('max_connections')::integer
                  - current_setting('superuser_reserved_connections')::integer
                  - coalesce(current_setting('reserved_connections', true), '0')::integer as "connections!""#
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(u32::try_from(connections).unwrap_or(1))
}

/// A begin that was cancelled midway (a request whose client left) can hand the pool a connection inside a transaction; the
/// next user's writes would then wait for a commit that never comes. Beginning and rolling back ends such a transaction as
/// well, says nothing where there is none, and proves that the connection lives just as the pool's own ping would, for the
/// same one round trip.
async fn clean(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let how = if fault::mutant(Mutant::PoolUncleaned) {
        "select"
    } else if fault::mutant(Mutant::PoolBareRollback) {
        "rollback"
    } else {
        "begin; rollback"
    };
    answered(sqlx::raw_sql(how).execute(connection)).await?;
    Ok(true)
}

/// A connection whose operation timed out (see [`Store::within`]) is tested before the pool reuses it.
/// Otherwise the pool could wait for its pending answer without a limit, and lose the slot.
async fn alive(connection: &mut PgConnection) -> sqlx::Result<bool> {
    answered(connection.ping()).await?;
    Ok(true)
}

/// A connection that leads nowhere gives no error and no answer; after a while it is thrown away.
async fn answered<T>(asked: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    if fault::mutant(Mutant::PoolWaitsForSilent) {
        return asked.await;
    }
    match timeout(ALIVE_WITHIN, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

/// Adds the session's settings, except those that the URL's `options` name themselves.
fn with_session_settings(target: PgConnectOptions, options: &StoreOptions) -> PgConnectOptions {
    let given = target.get_options().unwrap_or_default().to_owned();
    let settings = [
        ("statement_timeout", milliseconds(options.statement_timeout)),
        ("lock_timeout", milliseconds(options.lock_timeout)),
        ("idle_in_transaction_session_timeout", milliseconds(options.idle_in_transaction_timeout)),
        // Warnings are in the server's own log.
        ("client_min_messages", "error".into()),
        // The server notices that we vanished, as we notice it of the server (see `socket`), and frees what we hold.
        ("tcp_keepalives_idle", "10".into()),
        ("tcp_keepalives_interval", "5".into()),
        ("tcp_keepalives_count", "3".into()),
        ("tcp_user_timeout", "20000".into()),
        // Compiling takes longer than any statement here.
        ("jit", "off".into()),
        // The form of a user's timestamps must not depend on the server's time zone.
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
