//! The queue as rows of PostgreSQL, for an installation without a broker: `migrations/0002_queue.sql` has its tables.
//!
//! Limitations: it is slower than a broker (every message is an insert, an update and a delete), it adds load
//! to the database, and it does not work through a transaction pooler, since a consumer is identified by a
//! lock of its session. A message whose consumer died waits about a second longer than with a broker.

mod consume;
mod notifier;
mod session;
mod socket;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::consume::{Setup, Window};
use self::notifier::Notifier;
use super::{DeadLetter, Feed, Message, QueueDepth, QueueError, QueueOptions, QueueServer, Topology};
use crate::message::{HeaderValue, Headers};

#[derive(Debug)]
pub(crate) struct PgQueue {
    pool: PgPool,
    topology: Topology,
    options: QueueOptions,
    notifier: Notifier,
    tells: Once,
    hears: Once,
    declared: AtomicBool,
    // Owns the tasks of consumers, of dead letters being taken, and of the notifier, so they end with the queue at the latest.
    tasks: Mutex<JoinSet<()>>,
}

impl PgQueue {
    pub(crate) fn new(pool: PgPool, topology: Topology, options: QueueOptions) -> Self {
        Self {
            pool,
            topology,
            options,
            notifier: Notifier::new(),
            tells: Once::new(),
            hears: Once::new(),
            declared: AtomicBool::new(false),
            tasks: Mutex::new(JoinSet::new()),
        }
    }

    pub(crate) async fn publish(&self, message: Message) -> Result<(), QueueError> {
        let pool = self.pool.clone();
        let queue = self.topology.queue();
        let declare = !self.declared.load(Ordering::Relaxed);
        let stored = self
            .owned("publishing", async move {
                if declare {
                    sqlx::query!(
                        "insert into queues (name) values ($1) on conflict (name) do nothing",
                        queue
                    )
                    .execute(&pool)
                    .await?;
                }
                sqlx::query!(
                    "insert into queue_messages (queue_id, headers, body)
                     select id, $2, $3 from queues where name = $1",
                    queue,
                    to_json(&message.headers),
                    &message.body[..]
                )
                .execute(&pool)
                .await
            })
            .await?;
        if stored.rows_affected() == 0 {
            self.declared.store(false, Ordering::Relaxed);
            return Err(QueueError::Unroutable { queue: self.topology.queue() });
        }
        self.declared.store(true, Ordering::Relaxed);
        self.tells.call_once(|| {
            let pool = self.pool.clone();
            self.spawn(self.notifier.clone().broadcast(move || side_pool(&pool), self.topology.queue()));
        });
        self.notifier.notify();
        Ok(())
    }

    pub(crate) async fn consumer(&self, prefetch: u16) -> Result<Feed, QueueError> {
        let setup = self.setup(prefetch);
        let session = setup.open().await?;
        self.hears.call_once(|| {
            let (pool, policy) = (self.pool.clone(), self.options.reconnect);
            let side_pool = move || side_pool(&pool);
            self.spawn(self.notifier.clone().receive_broadcasts(side_pool, self.topology.queue(), policy));
        });
        let (out, deliveries) = mpsc::unbounded_channel();
        let (alive, ended) = oneshot::channel();
        self.spawn(async move {
            consume::run(setup, session, out).await;
            drop(alive);
        });
        Ok(Feed { deliveries, ended })
    }

    pub(crate) async fn dead_letters(&self, max: usize) -> Result<Vec<DeadLetter>, QueueError> {
        let most = i64::try_from(max).unwrap_or(i64::MAX);
        let setup = self.setup(1);
        let session = setup.open().await?;
        let after = self.options.publish_timeout;
        let claimed = timeout(after, session.claim_dead(most)).await;
        let late = QueueError::TimedOut { doing: "taking dead letters", after, blocked: false };
        let (session, claimed) = claimed.map_err(|_| late)??;
        let mut window = Window::new(most);
        let taken = claimed
            .into_iter()
            .filter_map(|mut message| {
                let reason = message.dead_reason.take().unwrap_or_default();
                window.accept(message).map(|delivery| DeadLetter { delivery, reason })
            })
            .collect();
        // The session lives as long as what was taken over it.
        self.spawn(async move {
            if let Err(error) = window.settle_all(session, &setup).await {
                tracing::warn!(%error, "dead letters that were taken go back");
            }
        });
        Ok(taken)
    }

    pub(crate) async fn depth(&self) -> Result<QueueDepth, QueueError> {
        let (pool, queue) = (self.pool.clone(), self.topology.queue());
        let counts = self
            .owned("counting messages", async move {
                sqlx::query!(
                    r#"select count(*) filter (where dead_reason is null)     as "ready!",
                              count(*) filter (where dead_reason is not null) as "dead!"
                       from   queue_messages
                       where  queue_id = (select id from queues where name = $1) and holder is null"#,
                    queue
                )
                .fetch_one(&pool)
                .await
            })
            .await?;
        Ok(QueueDepth { ready: counts.ready.cast_unsigned(), dead: counts.dead.cast_unsigned() })
    }

    /// Each consumer holds an advisory lock of this class (session.rs) for as long as it lives.
    pub(crate) async fn consumers(&self) -> Result<u64, QueueError> {
        let pool = self.pool.clone();
        let count = self.owned("counting consumers", async move {
            sqlx::query_scalar!(
                r#"select count(*) as "count!"
                     from pg_locks
                    where locktype = 'advisory' and classid = $1::integer::oid and objsubid = 2 and granted
                      and database = (select oid from pg_database where datname = current_database())"#,
                session::LOCK_CLASS
            )
            .fetch_one(&pool)
            .await
        });
        Ok(count.await?.cast_unsigned())
    }

    pub(crate) async fn check(&self) -> Result<QueueServer, QueueError> {
        self.depth().await?;
        let pool = self.pool.clone();
        let version = self.owned("asking for the version", async move {
            sqlx::query_scalar!("select current_setting('server_version')").fetch_one(&pool).await
        });
        Ok(QueueServer { backend: "postgres", version: version.await? })
    }

    pub(crate) async fn purge(&self) -> Result<(), QueueError> {
        let (pool, queue) = (self.pool.clone(), self.topology.queue());
        let purged = self.owned("purging", async move {
            sqlx::query!(
                "delete from queue_messages
                 where queue_id = (select id from queues where name = $1) and holder is null",
                queue
            )
            .execute(&pool)
            .await
        });
        purged.await.map(drop)
    }

    pub(crate) async fn delete(&self) -> Result<(), QueueError> {
        let (pool, queue) = (self.pool.clone(), self.topology.queue());
        let deleted = self.owned("deleting", async move {
            sqlx::query!(
                "with gone as (delete from queues where name = $1 returning id)
                 delete from queue_messages where queue_id in (select id from gone)",
                queue
            )
            .execute(&pool)
            .await
        });
        deleted.await.map(drop)
    }

    fn setup(&self, prefetch: u16) -> Setup {
        Setup {
            pool: self.pool.clone(),
            notifier: self.notifier.clone(),
            topology: self.topology.clone(),
            options: self.options,
            prefetch,
        }
    }

    /// Runs a use of the pool in a task of its own. The caller may be cancelled or run out of time; the statement never
    /// is, for a cancelled one leaves its connection to the next user in an unknown state.
    async fn owned<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    ) -> Result<T, QueueError> {
        let after = self.options.publish_timeout;
        match timeout(after, tokio::spawn(work)).await {
            Ok(Ok(result)) => Ok(result?),
            // The runtime is shutting down.
            Ok(Err(_)) => Err(QueueError::Lost),
            Err(_) => Err(QueueError::TimedOut { doing, after, blocked: false }),
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

/// How consumers connect: to the server that the pool connects to now.
fn consuming(pool: &PgPool) -> PgConnectOptions {
    (*pool.connect_options()).clone().application_name("muster queue").options([
        // A claim or an ack that a crash of the server forgets is a message delivered again, which is harmless; not
        // waiting for the disk makes consuming much cheaper. Publishing does not go over these connections.
        ("synchronous_commit", "off"),
        // A client that vanished is noticed, and what it held is freed, after some 20 s instead of two hours.
        ("tcp_keepalives_count", "2"),
    ])
}

/// One connection, opened when it is used; apart from the pool, which others need. It leads to the server that the pool connects to
/// when it is made, and to no other.
fn side_pool(pool: &PgPool) -> PgPool {
    let target = consuming(pool);
    let tuned = target.clone();
    PgPoolOptions::new()
        .max_connections(1)
        .after_connect(move |_, _| {
            socket::tune(&tuned);
            Box::pin(async { Ok(()) })
        })
        .connect_lazy_with(target)
}

fn to_json(headers: &Headers) -> serde_json::Value {
    let pairs = headers.encode().into_iter().map(|(name, value)| {
        let value = match value {
            HeaderValue::Integer(value) => value.into(),
            HeaderValue::Text(text) => text.into(),
        };
        (name.to_owned(), value)
    });
    serde_json::Value::Object(pairs.collect())
}
