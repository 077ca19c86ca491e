//! The store, the engine and the queue that a command works with, opened and closed in one place.
//!
//! `DATABASE_URL` names the database; without it the embedded engine runs on the data folder. However the
//! command ends, also by an error or a signal, the engine is stopped before the program exits.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use muster_domain::fault::{self, Mutant};
use muster_domain::id::TenantId;
use muster_domain::tenant::Slug;
use muster_engine::{EmbeddedEngine, EngineError, EngineOptions};
use muster_queue::{Queue, QueueOptions, Topology};
use muster_runtime::config::{Config, SecretUrl};
use muster_runtime::retry::{Backoff, Policy};
use muster_store::{ErrorKind, Store, StoreError, StoreOptions, dispatch, migrate, receiving, tenants};
use secrecy::ExposeSecret;

use crate::output::stderr_line;
use crate::shutdown::{Aborted, Shutdown};

/// Who works at the command line of the store.
pub(crate) const OPERATOR: &str = "operator";

/// How long the program that runs an engine may take to prepare it.
const PREPARING: Duration = Duration::from_secs(10);

/// How long one try to connect may take while a start waits for the database.
const ONE_TRY: Duration = Duration::from_secs(5);
/// After how long an unfinished attempt is reported.
const TELL_AFTER: Duration = Duration::from_millis(700);

/// What a command needs of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// To read and to change states: an engine that another `muster` runs is enough.
    Look,
    /// To work: on the embedded default this program must be the one that runs the engine.
    Work,
    /// To be one of several programs: on the embedded default there is only one.
    Share,
    /// The same, and to migrate a configured database first.
    ShareMigrated,
    /// To work as a service that is all there is to it.
    Serve,
    /// The same, and to migrate a configured database first.
    ServeMigrated,
    /// To work on a configured database as it is, migrated or not.
    Any,
    /// To look at the database as it is, migrated or not.
    Inspect,
}

impl Need {
    /// How long a start waits for a configured database if no setting says it; `None` means without a limit.
    fn patience(self) -> Option<Duration> {
        match self {
            Self::Share | Self::ShareMigrated | Self::Serve | Self::ServeMigrated => None,
            Self::Inspect => Some(Duration::from_secs(5)),
            Self::Look | Self::Work | Self::Any => Some(Duration::from_secs(30)),
        }
    }
}

/// What serves the store.
#[derive(Debug)]
enum Serving {
    /// A configured database.
    Configured,
    /// The engine that this program runs.
    Engine(EmbeddedEngine),
    /// The engine of another `muster`.
    Guest,
}

/// An open store, and what it runs on.
#[derive(Debug)]
pub(crate) struct Session {
    /// The store.
    pub(crate) store: Store,
    serving: Serving,
}

/// Opens a session, runs `work` in it, and closes it, whatever came of the work.
pub(crate) async fn with<T>(
    config: &Config,
    need: Need,
    shutdown: &Shutdown,
    work: impl AsyncFnOnce(&Session) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let session = tokio::select! {
        session = Box::pin(Session::open(config, need)) => session?,
        // Nothing runs yet. The start of an own engine is always completed.
        () = shutdown.stopping(), if config.database.url.is_some() => return Err(Aborted.into()),
        () = shutdown.aborting() => return Err(Aborted.into()),
    };
    let prepared_work = async {
        session.prepare(need).await?;
        work(&session).await
    };
    let result = tokio::select! {
        result = prepared_work => result,
        error = session.engine_died() => Err(error.into()),
        () = shutdown.aborting() => Err(Aborted.into()),
    };
    let closed = session.close().await;
    let value = result?;
    closed?;
    Ok(value)
}

impl Session {
    async fn open(config: &Config, need: Need) -> anyhow::Result<Self> {
        let options = StoreOptions {
            max_connections: config.database.max_connections,
            idle_timeout: config.database.idle_timeout,
            max_lifetime: config.database.max_lifetime,
            uploads: config.intake.uploads,
            application_name: "muster".into(),
            ..StoreOptions::default()
        };
        match &config.database.url {
            Some(url) => {
                let patience = config.database.start_wait.or(need.patience());
                let connecting = wait_for_database(url, &options, patience).await;
                let store = connecting.with_context(|| format!("the database {url} cannot be used"))?;
                Ok(Self::new(store, Serving::Configured))
            }
            None if matches!(need, Need::Share | Need::ShareMigrated) => bail!(
                "DATABASE_URL is not set, and the private PostgreSQL serves one program only: `muster serve` is producer and \
                 worker in one, and with DATABASE_URL (and AMQP_URL) set they can be programs of their own"
            ),
            None => Self::embedded(config, need, &options).await,
        }
    }

    async fn embedded(config: &Config, need: Need, options: &StoreOptions) -> anyhow::Result<Self> {
        let engine_options = EngineOptions {
            postgres_bin: config.engine.postgres_bin.clone(),
            ..EngineOptions::new(&config.engine.data_dir)
        };
        if matches!(need, Need::Look | Need::Inspect)
            && let Some(target) = EmbeddedEngine::attach(&engine_options).await?
        {
            let store = Store::connect(target, options).await.context("the running engine cannot be used")?;
            return Ok(Self::new(store, Serving::Guest));
        }
        if !config.engine.data_dir.exists() && need != Need::Inspect {
            let folder = std::path::absolute(&config.engine.data_dir);
            let folder = folder.as_deref().unwrap_or(&config.engine.data_dir).display();
            stderr_line(format_args!(
                "a private PostgreSQL is set up in {folder}; commands find it when they run in this folder, or when MUSTER_DATA_DIR names it"
            ));
        }
        let engine = match EmbeddedEngine::start(engine_options).await {
            Ok(engine) => engine,
            Err(error @ EngineError::InUse { .. }) => {
                return Err(anyhow::Error::new(error)
                    .context(
                        "another muster works on the data folder: end it first, hand it the work (`muster import users` and \
                         `muster imports` take --server URL --token TOKEN), or set DATABASE_URL",
                    ));
            }
            Err(error) => return Err(error.into()),
        };
        let store = match Store::connect(engine.connect_options(), options).await {
            Ok(store) => store,
            Err(error) => {
                engine.stop().await?;
                return Err(anyhow::Error::new(error).context("the embedded engine cannot be used"));
            }
        };
        Ok(Self::new(store, Serving::Engine(engine)))
    }

    fn new(store: Store, serving: Serving) -> Self {
        // What commands do stands in the audit as the operator's; services use the store for those who ask.
        Self { store: store.by(OPERATOR), serving }
    }

    async fn prepare(&self, need: Need) -> anyhow::Result<()> {
        match (&self.serving, need) {
            (Serving::Engine(_), _) => self.prepare_embedded().await,
            (Serving::Configured | Serving::Guest, Need::Any | Need::Inspect) => Ok(()),
            (Serving::Configured, Need::ServeMigrated | Need::ShareMigrated) => {
                migrate::run(&self.store).await.context("the database cannot be migrated")?;
                Ok(())
            }
            (Serving::Guest, _) => {
                self.await_owner().await?;
                check_migrated(&self.store).await
            }
            (Serving::Configured, _) => check_migrated(&self.store).await,
        }
    }

    /// Waits until the program that runs the engine has prepared it, or has had the time to.
    async fn await_owner(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        while began.elapsed() < PREPARING {
            let pending = migrate::pending(&self.store).await;
            if pending.is_err()
                || pending.is_ok_and(|pending| pending.is_empty()) && self.has_default().await?
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn has_default(&self) -> anyhow::Result<bool> {
        let default = Slug::DEFAULT.parse::<Slug>();
        let Ok(default) = default else { return Ok(true) };
        Ok(tenants::find_by_slug(self.store.pool(), &default).await?.is_some())
    }

    /// No other program can be receiving or working on this engine.
    async fn prepare_embedded(&self) -> anyhow::Result<()> {
        migrate::run(&self.store).await.context("the data folder cannot be brought to this version")?;
        tenants::ensure_default(&self.store).await?;
        let aborted = receiving::abort_abandoned(&self.store, true).await?;
        if aborted > 0 {
            tracing::warn!(aborted, "imports that an earlier run was still receiving are aborted");
        }
        dispatch::stage_all_again(&self.store).await?;
        Ok(())
    }

    /// Whether the engine of this program serves the store, so that nobody else works on it.
    pub(crate) fn runs_engine(&self) -> bool {
        matches!(self.serving, Serving::Engine(_))
    }

    /// What serves the store, for people.
    pub(crate) fn serving(&self) -> &'static str {
        match self.serving {
            Serving::Configured => "the configured database",
            Serving::Engine(_) => "the embedded engine",
            Serving::Guest => "the embedded engine of another muster",
        }
    }

    async fn engine_died(&self) -> EngineError {
        match &self.serving {
            Serving::Engine(engine) => engine.died().await,
            Serving::Configured | Serving::Guest => std::future::pending().await,
        }
    }

    /// The queue: RabbitMQ where `AMQP_URL` is set, rows of the store elsewhere.
    pub(crate) fn queue(&self, config: &Config) -> anyhow::Result<Queue> {
        let topology = Topology::new(&config.broker.prefix)?;
        Ok(match &config.broker.url {
            Some(url) => Queue::rabbit(url.secret().expose_secret(), topology, QueueOptions::default())?,
            // Chunks go out and come back however much is read.
            None => Queue::postgres(self.store.reserved().pool().clone(), topology, QueueOptions::default()),
        })
    }

    /// The tenant of that slug.
    pub(crate) async fn tenant(&self, slug: &Slug) -> anyhow::Result<TenantId> {
        match tenants::find_by_slug(self.store.pool(), slug).await? {
            Some(tenant) => Ok(tenant.id),
            None => bail!(
                "there is no tenant {slug}; `muster tenant list` shows those there are, `muster tenant create {slug}` makes it"
            ),
        }
    }

    /// The same, of one for which something may be done.
    pub(crate) async fn enabled_tenant(&self, slug: &Slug) -> anyhow::Result<TenantId> {
        let found = tenants::find_by_slug(self.store.pool(), slug).await?;
        if found.is_some_and(|tenant| tenant.disabled_at.is_some()) {
            bail!(
                "the tenant {slug} is disabled (tenant_disabled); `muster tenant enable {slug}` enables it"
            );
        }
        self.tenant(slug).await
    }

    async fn close(self) -> anyhow::Result<()> {
        // A connection that a task was aborted with may not come back; the engine's stop closes it then.
        if tokio::time::timeout(Duration::from_secs(5), self.store.close()).await.is_err() {
            tracing::debug!("connections were still in use at the end");
        }
        match self.serving {
            Serving::Engine(engine) => Ok(engine.stop().await?),
            Serving::Configured | Serving::Guest => Ok(()),
        }
    }
}

/// Connects. While the database is unavailable this waits for at most `patience`, and reports it at once and repeatedly.
async fn wait_for_database(
    url: &SecretUrl,
    options: &StoreOptions,
    patience: Option<Duration>,
) -> Result<Store, StoreError> {
    let began = Instant::now();
    // One try is short, so that there is something to tell again and again.
    let one_try = StoreOptions { acquire_timeout: ONE_TRY, ..options.clone() };
    let mut backoff = Backoff::new(Policy::RECONNECT);
    loop {
        let connecting = Store::connect_url(url.secret(), &one_try);
        tokio::pin!(connecting);
        // It is not cancelled, only reported.
        let tried = match tokio::time::timeout(TELL_AFTER, connecting.as_mut()).await {
            Ok(tried) => tried,
            Err(_) => {
                tell(url, &"no answer yet");
                connecting.await
            }
        };
        let error = match tried {
            Ok(probe) => {
                probe.close().await;
                return Store::connect_url(url.secret(), options).await;
            }
            Err(error) => error,
        };
        let delay = backoff.delay();
        let over = patience.is_some_and(|patience| began.elapsed() + delay >= patience);
        if error.kind() != ErrorKind::Transient || over {
            return Err(error);
        }
        tell(url, &error);
        tokio::time::sleep(delay).await;
    }
}

fn tell(url: &SecretUrl, why: &dyn std::fmt::Display) {
    if !fault::mutant(Mutant::SilentStart) {
        tracing::warn!(database = %url, %why, "waiting for the database");
    }
}

/// Tells of a broker that is away, at once and again and again, until it is there. Nothing else waits for it: uploads are staged meanwhile.
pub(crate) async fn tell_of_broker(queue: Queue) {
    let mut backoff = Backoff::new(Policy::RECONNECT);
    let mut away = false;
    loop {
        match queue.check().await {
            Ok(_) if away => return tracing::info!("the broker is there"),
            Ok(_) => return,
            Err(error) => tracing::warn!(%error, "waiting for the broker"),
        }
        away = true;
        tokio::time::sleep(backoff.delay()).await;
    }
}

/// A database that somebody else looks after is not migrated in passing.
async fn check_migrated(store: &Store) -> anyhow::Result<()> {
    match migrate::pending(store).await {
        Ok(pending) if pending.is_empty() => Ok(()),
        Ok(pending) => bail!(
            "the database lacks {} migration(s) of this program: run `muster migrate` first",
            pending.len()
        ),
        // The version before keeps working while a newer one takes over.
        Err(error @ StoreError::SchemaTooNew { .. }) => {
            stderr_line(format_args!("warning: {error}"));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
