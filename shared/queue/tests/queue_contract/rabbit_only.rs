//! What only a broker can do to a client, and a client to itself.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use muster_queue::{Queue, QueueError, QueueOptions, Topology};
use muster_runtime::retry::{ErrorKind, Policy, retry};
use muster_testkit::proxy::Proxy;
use tokio::time::Instant;

use crate::harness::{Backend, Rig, chunk, message, next, options, raw_channel, run};

async fn proxied(options: QueueOptions) -> (Rig, Proxy) {
    let url = std::env::var("TEST_AMQP_URL").expect("TEST_AMQP_URL must be set for this test");
    let mut uri: AMQPUri = url.parse().unwrap();
    let proxy = Proxy::to((uri.authority.host.clone(), uri.authority.port)).await;
    uri.authority.host = proxy.address.ip().to_string();
    uri.authority.port = proxy.address.port();
    // A frozen connection's deliveries come again once the broker misses two heartbeats.
    uri.query.heartbeat = Some(1);
    // High: every lost connection counts against it.
    (Rig::rabbit_at(uri.to_string(), 1000, options), proxy)
}

fn url(rig: &Rig) -> &str {
    match &rig.backend {
        Backend::Rabbit { url } => url,
        Backend::Postgres { .. } => unreachable!("these tests run on RabbitMQ"),
    }
}

/// Publishes 300 messages while `fault` happens now and then; every one that was confirmed must be delivered.
async fn no_confirmed_message_is_lost(rig: Arc<Rig>, fault: impl Fn()) {
    let mut consumer = rig.queue.consumer(10).await.unwrap();
    let queue = rig.queue.clone();
    let publishing = tokio::spawn(async move {
        for number in 0..300 {
            retry(Policy::RECONNECT, QueueError::kind, || queue.publish(message(number))).await.unwrap();
        }
    });
    let mut seen = BTreeSet::new();
    let mut received = 0;
    while seen.len() < 300 {
        let delivery = next(&mut consumer).await;
        seen.insert(chunk(&delivery));
        received += 1;
        if received % 60 == 30 {
            fault();
        }
        match delivery.ack().await {
            // Lost ones come again.
            Ok(()) | Err(QueueError::Lost) => {}
            Err(error) => panic!("{error}"),
        }
    }
    publishing.await.unwrap();
    consumer.close().await;
    rig.elsewhere().purge().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_lose_no_confirmed_message() {
    let (rig, proxy) = proxied(options()).await;
    run(rig, |rig| no_confirmed_message_is_lost(rig, move || proxy.cut())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_connections_are_replaced_and_lose_no_confirmed_message() {
    let options = QueueOptions { publish_timeout: Duration::from_secs(1), ..options() };
    let (rig, proxy) = proxied(options).await;
    run(rig, |rig| no_confirmed_message_is_lost(rig, move || proxy.freeze())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_of_a_lost_connection_cannot_be_acked() {
    let (rig, proxy) = proxied(options()).await;
    run(rig, |rig| async move {
        rig.queue.publish(message(1)).await.unwrap();
        let mut consumer = rig.queue.consumer(1).await.unwrap();
        let first = next(&mut consumer).await;
        proxy.cut();
        let second = next(&mut consumer).await;
        assert!(second.redelivered);
        assert!(matches!(first.ack().await, Err(QueueError::Lost)));
        second.ack().await.unwrap();
        consumer.close().await;
    })
    .await;
}

/// Connects and declares the queue before that, which may take longer than a publish may take in the test.
async fn publish_first(rig: &Rig) {
    retry(Policy::RECONNECT, QueueError::kind, || rig.queue.publish(message(1))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_broker_fails_a_publish_in_time() {
    let options = QueueOptions { publish_timeout: Duration::from_millis(500), ..options() };
    let (rig, proxy) = proxied(options).await;
    run(rig, |rig| async move {
        publish_first(&rig).await;
        proxy.freeze_for_good();
        // First on the connection that is open, then on one that never comes to be.
        for _ in 0..2 {
            let started = Instant::now();
            let error = rig.queue.publish(message(2)).await.unwrap_err();
            assert!(matches!(error, QueueError::TimedOut { blocked: false, .. }), "{error}");
            assert_eq!(error.kind(), ErrorKind::Transient);
            assert!(started.elapsed() < Duration::from_secs(2));
        }
        rig.elsewhere().purge().await.unwrap();
    })
    .await;
}

// Frames as a broker sends them: type method, channel 0, length, class connection, method, arguments, end.
const BLOCKED: &[u8] = b"\x01\0\0\0\0\0\x12\0\x0a\0\x3c\x0dlow on memory\xce";
const UNBLOCKED: &[u8] = b"\x01\0\0\0\0\0\x04\0\x0a\0\x3d\xce";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_of_the_broker_fails_a_publish_in_time_and_is_named() {
    let options = QueueOptions { publish_timeout: Duration::from_millis(500), ..options() };
    let (rig, proxy) = proxied(options).await;
    run(rig, |rig| async move {
        publish_first(&rig).await;
        proxy.say(BLOCKED);
        // The alarm is on its way: a publish may still slip through before it.
        let mut alarmed = None;
        while alarmed.is_none() {
            alarmed = rig.queue.publish(message(2)).await.err();
        }
        let error = alarmed.unwrap();
        assert!(matches!(error, QueueError::TimedOut { blocked: true, .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.to_string().contains("alarm"), "{error}");
        proxy.say(UNBLOCKED);
        retry(Policy::RECONNECT, QueueError::kind, || rig.queue.publish(message(3))).await.unwrap();
        rig.elsewhere().purge().await.unwrap();
    })
    .await;
}

/// Takes a queue's files and its process away, and leaves what the broker has noted of it: so a broker comes back that was killed while
/// it wrote them.
fn lose_files(queue: &str) {
    raft("force_delete_server", queue);
}

/// Has the broker do something with the server of a queue.
fn raft(what: &str, queue: &str) {
    let services = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/local/services.sh");
    let expression = format!("ra:{what}(quorum_queues, {{'%2F_{queue}', node()}}).");
    let output = Command::new(services).args(["ctl", "eval", &expression]).output().unwrap();
    assert!(output.status.success(), "the broker must be the one of `make services-up`: {output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_whose_files_the_broker_lost_is_declared_anew() {
    let url = std::env::var("TEST_AMQP_URL").expect("TEST_AMQP_URL must be set for this test");
    let broken_after = Duration::from_millis(300);
    let options = QueueOptions { publish_timeout: Duration::from_secs(1), broken_after, ..options() };
    run(Rig::rabbit_at(url, 1000, options), |rig| async move {
        publish_first(&rig).await;
        lose_files(&rig.topology.queue());
        rig.queue.publish(message(2)).await.unwrap_err();
        let mut consumer =
            retry(Policy::RECONNECT, QueueError::kind, || rig.queue.consumer(1)).await.unwrap();
        retry(Policy::RECONNECT, QueueError::kind, || rig.queue.publish(message(3))).await.unwrap();
        let delivery = next(&mut consumer).await;
        assert_eq!(chunk(&delivery), 3);
        delivery.ack().await.unwrap();
        consumer.close().await;

        lose_files(&rig.topology.dead());
        let dead = retry(Policy::RECONNECT, QueueError::kind, || rig.queue.dead_letters(1)).await.unwrap();
        assert!(dead.is_empty());
    })
    .await;
}

/// While one program declares a queue, the broker fails at it for all others as if it had lost the queue's files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_just_being_declared_is_left_alone() {
    run(Rig::rabbit(), |rig| async move {
        let other = Queue::rabbit(url(&rig), rig.topology.clone(), options()).unwrap();
        for round in 0..4 {
            rig.queue.publish(message(round)).await.unwrap();
            // As the broker answers while the queue's own process does not run yet.
            raft("stop_server", &rig.topology.queue());
            assert!(other.consumer(1).await.is_err(), "the broker does not fail at the queue");
            raft("restart_server", &rig.topology.queue());
            let mut consumer =
                retry(Policy::RECONNECT, QueueError::kind, || other.consumer(1)).await.unwrap();
            let delivery = next(&mut consumer).await;
            assert_eq!(chunk(&delivery), round, "what was confirmed is there");
            delivery.ack().await.unwrap();
            consumer.close().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_with_other_properties_is_a_permanent_error_that_says_so() {
    run(Rig::rabbit(), |rig| async move {
        let channel = raw_channel(url(&rig)).await;
        let classic = QueueDeclareOptions::durable();
        channel.queue_declare(rig.topology.queue().into(), classic, FieldTable::default()).await.unwrap();
        let error = rig.queue.publish(message(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent);
        let text = error.to_string();
        assert!(matches!(error, QueueError::Mismatch { .. }), "{text}");
        assert!(text.contains(&rig.topology.queue()) && text.contains("delete it"), "{text}");
        assert!(rig.queue.check().await.is_err());
        assert!(rig.queue.consumer(1).await.is_err());
        channel
            .queue_delete(rig.topology.queue().into(), lapin::options::QueueDeleteOptions::default())
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_a_permanent_error_and_is_not_repeated() {
    run(Rig::rabbit(), |rig| async move {
        let mut uri: AMQPUri = url(&rig).parse().unwrap();
        uri.authority.userinfo.password = "not-this-one".to_owned();
        let queue = Queue::rabbit(&uri.to_string(), rig.topology.clone(), options()).unwrap();
        let error = queue.publish(message(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
        assert!(!error.to_string().contains("not-this-one"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_repeating_it() {
    let topology = Topology::new("test").unwrap();
    let error = Queue::rabbit("http://user:secret@host", topology, options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert!(!error.to_string().contains("secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_is_a_transient_error() {
    let nobody = muster_testkit::free_address();
    let topology = Topology::new("test").unwrap();
    let queue = Queue::rabbit(&format!("amqp://{nobody}/%2f"), topology, options()).unwrap();
    assert_eq!(queue.publish(message(1)).await.unwrap_err().kind(), ErrorKind::Transient);
    assert_eq!(queue.consumer(1).await.unwrap_err().kind(), ErrorKind::Transient);
}
