//! The harness's own look into the database, which is killed like everything else: what fails for that is tried again.

use std::str::FromStr as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions as _, Postgres};
use tokio::time::{sleep, timeout};

/// A statement with its values.
pub(crate) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// Longest that the database may be away.
const PATIENCE: Duration = Duration::from_secs(150);

#[derive(Debug, Clone)]
pub(crate) struct Db {
    pool: PgPool,
}

impl Db {
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        let options = PgConnectOptions::from_str(url).context("the database's URL")?;
        let options = options.application_name("soak").disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(12)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    /// Rows of a statement that may run twice.
    pub(crate) async fn rows(
        &self,
        sql: &'static str,
        bind: impl Fn(Statement<'static>) -> Statement<'static>,
    ) -> anyhow::Result<Vec<PgRow>> {
        let began = Instant::now();
        loop {
            match timeout(Duration::from_secs(60), bind(sqlx::query(sql)).fetch_all(&self.pool)).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(error)) if !away(&error) || began.elapsed() > PATIENCE => {
                    return Err(error).with_context(|| format!("the harness asked: {sql}"));
                }
                Err(_) if began.elapsed() > PATIENCE => anyhow::bail!("no answer to: {sql}"),
                _ => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// The one value of a statement.
    pub(crate) async fn value<T>(&self, sql: &'static str) -> anyhow::Result<T>
    where
        T: for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
    {
        let rows = self.rows(sql, |query| query).await?;
        let row = rows.first().with_context(|| format!("no row: {sql}"))?;
        Ok(sqlx::Row::try_get(row, 0)?)
    }

    /// Rows, or nothing where the database does not answer at once.
    pub(crate) async fn glance(
        &self,
        sql: &'static str,
        bind: impl Fn(Statement<'static>) -> Statement<'static>,
    ) -> Option<Vec<PgRow>> {
        let asking = bind(sqlx::query(sql)).fetch_all(&self.pool);
        timeout(Duration::from_secs(2), asking).await.ok()?.ok()
    }

    /// Several statements without values.
    pub(crate) async fn script(&self, sql: &'static str) -> anyhow::Result<()> {
        sqlx::raw_sql(sql).execute(&self.pool).await?;
        Ok(())
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// Whether the database is away, and not the statement wrong.
fn away(error: &sqlx::Error) -> bool {
    match error.as_database_error().and_then(|error| error.code()) {
        Some(state) => ["08", "53", "57", "40", "55"].contains(&&state[..2]),
        None => matches!(
            error,
            sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::Protocol(_)
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::Tls(_)
        ),
    }
}
