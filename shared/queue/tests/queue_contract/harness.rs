//! A queue of its own for each test, and a look at what the test left behind.

use std::env;
use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use muster_queue::{Consumer, Delivery, Headers, Message, Queue, QueueDepth, QueueOptions, Topology};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgPool};
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

/// Longer than anything takes that is not broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The delivery limit of every test's queue.
pub(crate) const DELIVERY_LIMIT: u32 = 3;

/// Limits so short that a test can wait for them. A broker that is busy with a large body answers no probe meanwhile.
pub(crate) fn options() -> QueueOptions {
    QueueOptions {
        publish_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(5),
        health_interval: Duration::from_secs(2),
        ..QueueOptions::default()
    }
}

pub(crate) struct Rig {
    pub(crate) queue: Queue,
    pub(crate) topology: Topology,
    pub(crate) backend: Backend,
}

pub(crate) enum Backend {
    Rabbit { url: String },
    Postgres { server: Box<PgConnectOptions>, database: String, pool: PgPool },
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} must be set for this test"))
}

fn unique() -> String {
    format!("test-{}", Uuid::new_v4().simple())
}

impl Rig {
    pub(crate) fn rabbit() -> Self {
        Self::rabbit_at(variable("TEST_AMQP_URL"), DELIVERY_LIMIT, options())
    }

    pub(crate) fn rabbit_at(url: String, delivery_limit: u32, options: QueueOptions) -> Self {
        let topology = Topology::new(unique()).unwrap().with_delivery_limit(delivery_limit);
        let queue = Queue::rabbit(&url, topology.clone(), options).unwrap();
        // Cleaning up never goes through a proxy.
        Self { queue, topology, backend: Backend::Rabbit { url: variable("TEST_AMQP_URL") } }
    }

    pub(crate) async fn postgres() -> Self {
        Self::postgres_through(|connect| connect, options()).await
    }

    /// A database of its own, which the queue reaches by what `route` makes of the server's address.
    pub(crate) async fn postgres_through(
        route: impl FnOnce(PgConnectOptions) -> PgConnectOptions,
        options: QueueOptions,
    ) -> Self {
        let server: PgConnectOptions = variable("TEST_DATABASE_URL").parse().unwrap();
        let database = unique();
        let mut connection = server.connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!(r#"create database "{database}""#)))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        let direct = server.clone().database(&database);
        let pool = PgPoolOptions::new().max_connections(4).connect_with(direct.clone()).await.unwrap();
        sqlx::raw_sql(include_str!("../../../../migrations/0002_queue.sql")).execute(&pool).await.unwrap();

        let topology = Topology::new(unique()).unwrap().with_delivery_limit(DELIVERY_LIMIT);
        let routed = PgPoolOptions::new().max_connections(4).connect_lazy_with(route(direct));
        let queue = Queue::postgres(routed, topology.clone(), options);
        Self { queue, topology, backend: Backend::Postgres { server: Box::new(server), database, pool } }
    }

    /// The same queue as another process sees it: nothing is shared with the first.
    pub(crate) fn elsewhere(&self) -> Queue {
        let topology = self.topology.clone();
        match &self.backend {
            Backend::Rabbit { url } => Queue::rabbit(url, topology, options()).unwrap(),
            Backend::Postgres { pool, .. } => {
                let pool = PgPoolOptions::new()
                    .max_connections(2)
                    .connect_lazy_with((*pool.connect_options()).clone());
                Queue::postgres(pool, topology, options())
            }
        }
    }

    /// Puts a message into the queue whose headers say nothing.
    pub(crate) async fn publish_poison(&self) {
        self.queue.depth().await.unwrap();
        match &self.backend {
            Backend::Rabbit { url } => {
                let channel = raw_channel(url).await;
                let queue = self.topology.queue().into();
                let properties = lapin::BasicProperties::default();
                channel
                    .basic_publish("".into(), queue, BasicPublishOptions::default(), b"poison", properties)
                    .await
                    .unwrap()
                    .await
                    .unwrap();
            }
            Backend::Postgres { pool, .. } => {
                sqlx::query("insert into queues (name) values ($1) on conflict do nothing")
                    .bind(self.topology.queue())
                    .execute(pool)
                    .await
                    .unwrap();
                sqlx::query(
                    "insert into queue_messages (queue_id, headers, body)
                     select id, '{\"muster-version\": \"one\"}', 'poison' from queues where name = $1",
                )
                .bind(self.topology.queue())
                .execute(pool)
                .await
                .unwrap();
            }
        }
    }

    /// How many consumers (RabbitMQ) or held messages (PostgreSQL) the server still knows of.
    async fn busy(&self) -> i64 {
        match &self.backend {
            Backend::Rabbit { url } => {
                let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
                let channel = raw_channel(url).await;
                let declared =
                    channel.queue_declare(self.topology.queue().into(), options, FieldTable::default()).await;
                declared.map_or(0, |queue| queue.consumer_count().into())
            }
            Backend::Postgres { pool, .. } => {
                sqlx::query_scalar("select count(*) from queue_messages where holder is not null")
                    .fetch_one(pool)
                    .await
                    .unwrap()
            }
        }
    }

    async fn clean_up(&self) {
        self.elsewhere().delete().await.unwrap();
        if let Backend::Postgres { server, database, pool } = &self.backend {
            pool.close().await;
            let mut connection = server.connect().await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(format!(r#"drop database "{database}" with (force)"#)))
                .execute(&mut connection)
                .await
                .unwrap();
            connection.close().await.unwrap();
        }
    }
}

/// A channel that shares nothing with the queue under test.
pub(crate) async fn raw_channel(url: &str) -> lapin::Channel {
    let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await.unwrap();
    connection.create_channel().await.unwrap()
}

/// Runs a test on a rig, looks whether it left anything unsettled or behind, and cleans up, whatever became of it.
pub(crate) async fn run<Test: Future<Output = ()> + Send + 'static>(
    rig: Rig,
    test: impl FnOnce(Arc<Rig>) -> Test,
) {
    // RUST_LOG=muster_queue=debug shows what the queue did, where a test fails.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
    let rig = Arc::new(rig);
    let ran = tokio::spawn(timeout(3 * PATIENCE, test(Arc::clone(&rig)))).await;
    if let Ok(Ok(())) = ran {
        until("nothing is held any more", || async { rig.busy().await == 0 }).await;
        let left = rig.elsewhere().depth().await.unwrap();
        rig.clean_up().await;
        assert_eq!(left, QueueDepth { ready: 0, dead: 0 }, "the test left messages behind");
        return;
    }
    rig.clean_up().await;
    match ran {
        Ok(_) => panic!("the test did not end"),
        Err(error) => resume_unwind(error.into_panic()),
    }
}

/// Message number `chunk`, with a body that tells it from others.
pub(crate) fn message(chunk: i64) -> Message {
    let headers = Headers {
        version: 1,
        tenant: Some(3),
        import_id: Uuid::from_u128(42),
        chunk_id: chunk,
        attempt: 1,
        traceparent: None,
    };
    Message { headers, body: Bytes::from(format!("chunk {chunk}")) }
}

pub(crate) fn chunk(delivery: &Delivery) -> i64 {
    delivery.body.as_ref().unwrap().headers.chunk_id
}

/// The next delivery, which must come.
pub(crate) async fn next(consumer: &mut Consumer) -> Delivery {
    timeout(PATIENCE, consumer.next()).await.expect("no delivery came").expect("the consumer ended")
}

/// No delivery comes for a while.
pub(crate) async fn nothing(consumer: &mut Consumer) {
    let waited = timeout(Duration::from_millis(300), consumer.next()).await;
    assert!(waited.is_err(), "a delivery came: {:?}", waited.unwrap());
}

/// Asks again and again until it is so. Each question is a round trip to a server, so this does not spin.
pub(crate) async fn until<Answer: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> Answer) {
    let asked = timeout(PATIENCE, async {
        while !so().await {
            tokio::task::yield_now().await;
        }
    });
    assert!(asked.await.is_ok(), "it never came to be that {what}");
}

pub(crate) async fn until_depth(queue: &Queue, ready: u64, dead: u64) {
    let wanted = QueueDepth { ready, dead };
    until(&format!("{wanted:?}"), || async { queue.depth().await.unwrap() == wanted }).await;
}
