//! What `/readyz` says of the broker.

use muster_producer::{Producer, ProducerOptions};
use muster_queue::{Queue, QueueOptions, Topology};
use muster_runtime::clock;
use muster_store::tenants;
use muster_testkit::TestDatabase;
use muster_testkit::proxy::Proxy;
use serde_json::Value;

use crate::harness::{token, until};

// A frame as a broker sends it: type method, channel 0, length, class connection, method blocked, reason, end.
const BLOCKED: &[u8] = b"\x01\0\0\0\0\0\x12\0\x0a\0\x3c\x0dlow on memory\xce";
const UNBLOCKED: &[u8] = b"\x01\0\0\0\0\0\x04\0\x0a\0\x3d\xce";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_blocks_publishers_is_told() {
    let url = std::env::var("TEST_AMQP_URL").expect("TEST_AMQP_URL is missing: run `make test`");
    let (proxy, through) = Proxy::before(&url).await;
    let topology = Topology::new(format!("test-{}", clock::new_id().simple())).unwrap();
    let queue = Queue::rabbit(&through, topology, QueueOptions::default()).unwrap();
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let tenant = tenants::ensure_default(&store).await.unwrap().into_inner();
    let token = token(&store, &tenant, "all", &[muster_domain::token::Scope::Ops]).await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let producer = Producer::start(store.clone(), queue.clone(), ProducerOptions::default()).await.unwrap();
    let at = format!("http://{}", producer.local_addr());
    let ready =
        async || -> Value { client.get(format!("{at}/readyz")).send().await.unwrap().json().await.unwrap() };
    let upload =
        client.post(format!("{at}/v1/imports")).bearer_auth(token).header("content-type", "text/csv");
    let status = upload.body("email\na@example.com\n").send().await.unwrap().status();
    assert_eq!(status.as_u16(), 202);
    until("the chunk is published", async || queue.depth().await.unwrap().ready == 1).await;
    assert_eq!((&ready().await["status"], &ready().await["queue"]), (&"ready".into(), &"ok".into()));
    proxy.say(BLOCKED);
    until("the alarm is told", async || ready().await["queue"] == "blocked").await;
    assert_eq!(ready().await["status"], "degraded");
    proxy.say(UNBLOCKED);
    until("its end is told", async || ready().await["queue"] == "ok").await;
    queue.delete().await.unwrap();
    producer.stop().await.unwrap();
}
