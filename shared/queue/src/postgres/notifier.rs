//! Wakes consumers when there may be messages: those of this process directly, those of other processes by NOTIFY.
//!
//! A notification is only a hint, since consumers poll every second. NOTIFY locks the whole database for the
//! moment of its commit. So it is sent outside of all important transactions, one at a time, and one NOTIFY
//! covers all messages published meanwhile.

use std::sync::Arc;

use muster_domain::fault::{Mutant, mutant};
use muster_runtime::retry::{Backoff, Policy};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

const CHANNEL: &str = "muster_queue";

#[derive(Debug, Clone)]
pub(super) struct Notifier {
    here: watch::Sender<()>,
    elsewhere: Arc<Notify>,
}

impl Notifier {
    pub(super) fn new() -> Self {
        Self { here: watch::Sender::new(()), elsewhere: Arc::new(Notify::new()) }
    }

    /// There may be something to deliver.
    pub(super) fn notify(&self) {
        self.here.send_replace(());
        self.elsewhere.notify_one();
    }

    /// Receives every notification from now on.
    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.here.subscribe()
    }

    /// Sends notifications to other processes, over its own pool. After an error a new pool is used, since another server may accept
    /// the writes then. Runs until aborted.
    pub(super) async fn broadcast(self, side_pool: impl Fn() -> PgPool + Send, queue: String) {
        let mut pool = side_pool();
        loop {
            // Holds one notification that arrives while the last one is being sent.
            self.elsewhere.notified().await;
            let sent = sqlx::query!("select pg_notify($1, $2)", CHANNEL, queue).execute(&pool).await;
            if let Err(error) = sent {
                tracing::debug!(%error, "consumers elsewhere were not woken; they look by themselves");
                if !mutant(Mutant::NotifierKeepsItsServer) {
                    pool = side_pool();
                }
            }
        }
    }

    /// Receives notifications of other processes, over a new pool each time. Runs until aborted.
    pub(super) async fn receive_broadcasts(
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
            if !mutant(Mutant::NotifierKeepsItsServer) {
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
