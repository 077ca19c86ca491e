//! Wakes consumers when there may be something for them: those of this process at once, those of others by NOTIFY.
//!
//! A wake-up is only ever a hint; consumers look by themselves every second. So none has to arrive, and NOTIFY, which
//! takes a lock on the whole database for the moment of its commit, is sent apart from every transaction that matters,
//! one at a time: however many messages are published meanwhile, one NOTIFY tells of all of them.

use std::sync::Arc;

use muster_domain::fault::{Mutant, mutant};
use muster_runtime::retry::{Backoff, Policy};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

const CHANNEL: &str = "muster_queue";

#[derive(Debug, Clone)]
pub(super) struct Bell {
    here: watch::Sender<()>,
    elsewhere: Arc<Notify>,
}

impl Bell {
    pub(super) fn new() -> Self {
        Self { here: watch::Sender::new(()), elsewhere: Arc::new(Notify::new()) }
    }

    /// There may be something to deliver.
    pub(super) fn ring(&self) {
        self.here.send_replace(());
        self.elsewhere.notify_one();
    }

    /// Hears every ring from now on.
    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.here.subscribe()
    }

    /// Carries rings to other processes, over a pool of its own: after an error over another one, since another server may take
    /// the writes then. Runs until aborted.
    pub(super) async fn tell_others(self, side_pool: impl Fn() -> PgPool + Send, queue: String) {
        let mut pool = side_pool();
        loop {
            // Holds one ring that comes while the last is being sent.
            self.elsewhere.notified().await;
            let sent = sqlx::query!("select pg_notify($1, $2)", CHANNEL, queue).execute(&pool).await;
            if let Err(error) = sent {
                tracing::debug!(%error, "consumers elsewhere were not woken; they look by themselves");
                if !mutant(Mutant::BellKeepsItsServer) {
                    pool = side_pool();
                }
            }
        }
    }

    /// Carries rings from other processes, each time over a pool of its own. Runs until aborted.
    pub(super) async fn hear_others(
        self,
        side_pool: impl Fn() -> PgPool + Send,
        queue: String,
        policy: Policy,
    ) {
        let mut backoff = Backoff::new(policy);
        let mut pool = side_pool();
        loop {
            if let Err(error) = self.hear(&pool, &queue, &mut backoff).await {
                tracing::debug!(%error, "not woken by other processes for now");
            }
            sleep(backoff.delay()).await;
            if !mutant(Mutant::BellKeepsItsServer) {
                pool = side_pool();
            }
        }
    }

    async fn hear(&self, pool: &PgPool, queue: &str, backoff: &mut Backoff) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        backoff.reset();
        // What was published while nobody listened.
        self.here.send_replace(());
        while let Some(notification) = listener.try_recv().await? {
            if notification.payload() == queue {
                self.here.send_replace(());
            }
        }
        Ok(())
    }
}
