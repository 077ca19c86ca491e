//! What only a database can do to a consumer.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_queue::{Queue, QueueError, QueueOptions};
use muster_runtime::retry::ErrorKind;
use muster_testkit::proxy::Proxy;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};

use crate::harness::{Backend, PATIENCE, Rig, chunk, message, next, options, run, until_depth};

fn pool(rig: &Rig) -> &PgPool {
    match &rig.backend {
        Backend::Postgres { pool, .. } => pool,
        Backend::Rabbit { .. } => unreachable!("these tests run on PostgreSQL"),
    }
}

/// Ends every session of consumers, publishers and bells, as a restart or an operator would.
async fn kill_sessions(pool: &PgPool) {
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name = 'muster queue'",
    )
    .execute(pool)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_session_frees_what_it_held_and_the_consumer_goes_on() {
    run(Rig::postgres().await, |rig| async move {
        rig.queue.publish(message(1)).await.unwrap();
        let mut consumer = rig.queue.consumer(1).await.unwrap();
        let first = next(&mut consumer).await;
        kill_sessions(pool(&rig)).await;
        // Freed by the sweep with which the consumer's next session begins.
        let again = next(&mut consumer).await;
        assert_eq!(chunk(&again), 1);
        assert!(again.redelivered);
        assert!(matches!(first.ack().await, Err(QueueError::Lost)));
        again.ack().await.unwrap();
        rig.queue.publish(message(2)).await.unwrap();
        next(&mut consumer).await.ack().await.unwrap();
        consumer.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_sessions_lose_no_message() {
    run(Rig::postgres().await, |rig| async move {
        let mut consumer = rig.queue.consumer(10).await.unwrap();
        let queue = rig.queue.clone();
        let publishing = tokio::spawn(async move {
            for number in 0..300 {
                queue.publish(message(number)).await.unwrap();
            }
        });
        let (mut seen, mut received) = (BTreeSet::new(), 0);
        while seen.len() < 300 {
            let delivery = next(&mut consumer).await;
            seen.insert(chunk(&delivery));
            received += 1;
            if received % 100 == 50 {
                kill_sessions(pool(&rig)).await;
            }
            match delivery.ack().await {
                Ok(()) | Err(QueueError::Lost) => {}
                Err(error) => panic!("{error}"),
            }
        }
        publishing.await.unwrap();
        consumer.close().await;
        rig.queue.purge().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_consumer_keeps_what_it_holds() {
    run(Rig::postgres().await, |rig| async move {
        rig.queue.publish(message(1)).await.unwrap();
        let mut holder = rig.queue.consumer(1).await.unwrap();
        let held = next(&mut holder).await;
        // Its first sweep has passed when it gets a message that was published after it came.
        let mut other = rig.queue.consumer(1).await.unwrap();
        rig.queue.publish(message(2)).await.unwrap();
        let second = next(&mut other).await;
        assert_eq!(chunk(&second), 2);
        held.ack().await.unwrap();
        second.ack().await.unwrap();
        holder.close().await;
        other.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_session_is_replaced() {
    let server: PgConnectOptions = std::env::var("TEST_DATABASE_URL")
        .expect("TEST_DATABASE_URL must be set for this test")
        .parse()
        .unwrap();
    let proxy = Proxy::to((server.get_host().to_owned(), server.get_port())).await;
    let (host, port) = (proxy.address.ip().to_string(), proxy.address.port());
    let options = QueueOptions { publish_timeout: Duration::from_secs(2), ..options() };
    let rig = Rig::postgres_through(|connect| connect.host(&host).port(port), options).await;
    run(rig, |rig| async move {
        let mut consumer = rig.queue.consumer(1).await.unwrap();
        proxy.freeze();
        rig.elsewhere().publish(message(1)).await.unwrap();
        next(&mut consumer).await.ack().await.unwrap();
        consumer.close().await;
    })
    .await;
}

/// The server that took the writes is gone for good, and the pool connects to another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_fail_over_consumers_are_woken_by_the_server_that_is_left() {
    run(Rig::postgres().await, |rig| async move {
        let direct = (*pool(&rig).connect_options()).clone();
        let (first, through) = Proxy::before_database(&direct).await;
        let (second, elsewhere) = Proxy::before_database(&direct).await;
        let routed = PgPoolOptions::new().max_connections(4).connect_lazy_with(through);
        let queue = Queue::postgres(routed.clone(), rig.topology.clone(), options());
        let mut consumer = queue.consumer(1).await.unwrap();
        queue.publish(message(1)).await.unwrap();
        next(&mut consumer).await.ack().await.unwrap();

        routed.set_connect_options(elsewhere);
        first.refuse();
        first.cut();
        let mut heard = PgListener::connect_with(pool(&rig)).await.unwrap();
        heard.listen("muster_queue").await.unwrap();
        // A publish tells others; the first ones may meet what is left of the old connections.
        let told = async {
            let mut number = 2;
            loop {
                if queue.publish(message(number)).await.is_ok() {
                    number += 1;
                }
                tokio::select! {
                    told = heard.recv() => return (told.unwrap(), number),
                    () = tokio::time::sleep(Duration::from_millis(200)) => {}
                }
            }
        };
        let (_, number) = tokio::time::timeout(PATIENCE, told).await.expect("others are told");
        // And it listens there too: of the sessions that do, one is this queue's, by the second server.
        let listening = "select count(*) from pg_stat_activity
                          where datname = current_database() and application_name = 'muster queue'
                            and query ilike 'listen%'";
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while sqlx::query_scalar::<_, i64>(listening).fetch_one(pool(&rig)).await.unwrap() == 0 {
            assert!(tokio::time::Instant::now() < deadline, "nobody listens");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(second.connected() > 0);
        for _ in 2..number {
            next(&mut consumer).await.ack().await.unwrap();
        }
        consumer.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_tables_the_queue_fails_for_good() {
    run(Rig::postgres().await, |rig| async move {
        sqlx::raw_sql("alter table queues rename to queues_away").execute(pool(&rig)).await.unwrap();
        assert_eq!(rig.queue.publish(message(1)).await.unwrap_err().kind(), ErrorKind::Permanent);
        assert_eq!(rig.queue.check().await.unwrap_err().kind(), ErrorKind::Permanent);
        sqlx::raw_sql("alter table queues_away rename to queues").execute(pool(&rig)).await.unwrap();
        until_depth(&rig.queue, 0, 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_away_is_a_transient_error() {
    let nobody: std::net::SocketAddr = muster_testkit::free_address().parse().unwrap();
    let away = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(nobody.port());
    let pool = PgPoolOptions::new().acquire_timeout(Duration::from_millis(500)).connect_lazy_with(away);
    let queue = Queue::postgres(pool, muster_queue::Topology::new("test").unwrap(), options());
    assert_eq!(queue.publish(message(1)).await.unwrap_err().kind(), ErrorKind::Transient);
    assert_eq!(queue.consumer(1).await.unwrap_err().kind(), ErrorKind::Transient);
}
