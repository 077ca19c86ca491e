//! Producer, worker and Prometheus of one's own, on a database and a queue of one's own. The producer reaches both by way of proxies,
//! which can be told to refuse.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use muster_domain::token::Scope;
use muster_queue::{Consumer, Queue, QueueOptions, Topology};
use muster_runtime::clock;
use muster_store::{Store, tenants, tokens};
use muster_testkit::TestDatabase;
use muster_testkit::proxy::Proxy;
use reqwest::{Method, StatusCode};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::prometheus::Prometheus;
use crate::harness::{Desk, until};

pub(super) struct Rig {
    pub(super) prometheus: Prometheus,
    pub(super) database: Proxy,
    pub(super) broker: Proxy,
    pub(super) queue: Queue,
    fired: Vec<&'static str>,
    producer: Child,
    worker: Option<Child>,
    address: String,
    token: String,
    http: reqwest::Client,
    store: Store,
    own: TestDatabase,
    desk: Desk,
}

impl Rig {
    /// A producer with these settings and failpoints, and a Prometheus that has asked it. No worker runs yet.
    pub(super) async fn new(settings: &[(&str, &str)], failpoints: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let own = TestDatabase::create().await;
        let store = own.store().await;
        let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
        let token = match tokens::create(&store, tenant, "loader", &[Scope::Ops]).await.unwrap() {
            tokens::NewToken::Created(_, token) => token.reveal().to_owned(),
            tokens::NewToken::NameTaken(_) => panic!("the name is taken"),
        };
        let amqp = std::env::var("TEST_AMQP_URL").expect("TEST_AMQP_URL is missing: run `make test`");
        let prefix = format!("test-{}", clock::new_id().simple());
        let topology = Topology::new(prefix.as_str()).unwrap();
        let queue = Queue::rabbit(&amqp, topology, QueueOptions::default()).unwrap();
        let (database, through_database) = Proxy::before(&own.url()).await;
        let (broker, through_broker) = Proxy::before(&amqp).await;
        let (address, worker_address) = (muster_testkit::free_address(), muster_testkit::free_address());
        let common = [
            ("DATABASE_URL", own.url()),
            ("AMQP_URL", amqp),
            ("MUSTER_BROKER_PREFIX", prefix),
            ("MUSTER_HTTP_LISTEN", address.clone()),
            ("MUSTER_WORKER_OPS_LISTEN", worker_address.clone()),
            ("MUSTER_DATABASE_MAX_CONNECTIONS", "3".to_owned()),
            ("MUSTER_INTAKE_CHUNK_RECORDS", "20".to_owned()),
            ("MUSTER_WORKER_CONCURRENCY", "1".to_owned()),
        ];
        let common = common.iter().map(|(name, value)| (*name, value.as_str()));
        let desk = common
            .chain(settings.iter().copied())
            .fold(Desk::new(), |desk, (name, value)| desk.set(name, value));
        let through = [
            ("DATABASE_URL", &*through_database),
            ("AMQP_URL", &*through_broker),
            ("FAILPOINTS", failpoints),
        ];
        let producer = service(&desk, "producer", &through);
        until("the producer listens", || TcpStream::connect(&address).ok());
        let mut prometheus = Prometheus::start(&desk, &address, &worker_address).await;
        prometheus.until_scraped("muster").await;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        let fired = Vec::new();
        Self {
            prometheus,
            database,
            broker,
            queue,
            fired,
            producer,
            worker: None,
            address,
            token,
            http,
            store,
            own,
            desk,
        }
    }

    /// Starts a worker with these failpoints, in place of the one before; Prometheus has asked it.
    pub(super) async fn worker(&mut self, failpoints: &str) {
        self.kill_worker();
        self.worker = Some(service(&self.desk, "worker", &[("FAILPOINTS", failpoints)]));
        self.prometheus.until_scraped("muster-worker").await;
    }

    pub(super) fn kill_worker(&mut self) {
        if let Some(mut worker) = self.worker.take() {
            worker.kill().unwrap();
            worker.wait().unwrap();
        }
    }

    /// Waits until each of these alerts fires.
    pub(super) async fn fires(&mut self, alerts: &[&'static str]) {
        self.prometheus.until_fired(alerts).await;
        self.fired.extend(alerts);
    }

    /// Sends a request with the token.
    pub(super) async fn asks(&self, method: Method, path: &str, body: String) -> StatusCode {
        self.asks_as(&self.token, method, path, body).await
    }

    async fn asks_as(&self, token: &str, method: Method, path: &str, body: String) -> StatusCode {
        let request = self.http.request(method, format!("http://{}{path}", self.address));
        let request = request.bearer_auth(token).header("content-type", "text/csv").body(body);
        request.send().await.unwrap().status()
    }

    /// Uploads that many records, each with an identifier that `name` begins.
    pub(super) async fn uploads(&self, name: &str, records: usize) -> StatusCode {
        let lines = (0..records).map(|number| format!("{name}{number}@example.com\n"));
        let file = std::iter::once("email\n".to_owned()).chain(lines).collect::<String>();
        self.asks(Method::POST, "/v1/imports", file).await
    }

    /// Asks for the imports so many times, some at a time, and makes sure of the status of each.
    pub(super) async fn asks_often(&self, times: usize, token: Option<&str>, wanted: fn(StatusCode) -> bool) {
        let token = token.unwrap_or(&self.token);
        let mut left = times;
        while left > 0 {
            let some = left.min(20);
            let asked = (0..some).map(|_| self.asks_as(token, Method::GET, "/v1/imports", String::new()));
            let answers = join_all(asked).await;
            assert!(answers.iter().all(|status| wanted(*status)), "{answers:?}");
            left -= some;
        }
    }

    /// Begins an upload whose end does not come as long as the connection is kept.
    pub(super) fn begins_upload(&self) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "POST /v1/imports HTTP/1.1\r\nHost: muster\r\nAuthorization: Bearer {}\r\nContent-Type: text/csv\r\n\
             Content-Length: 1000\r\n\r\nemail\nhalf@example.com\n",
            self.token
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    /// Runs statements on the database.
    pub(super) async fn execute(&self, statements: &str) {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(self.store.pool()).await.unwrap();
    }

    /// A session that has run these statements and keeps what they locked.
    pub(super) async fn session(&self, statements: &'static str) -> PgConnection {
        let mut session = PgConnection::connect_with(&self.own.target()).await.unwrap();
        sqlx::raw_sql(statements).execute(&mut session).await.unwrap();
        session
    }

    /// The answer to a question with one number.
    pub(super) async fn number(&self, question: &'static str) -> i64 {
        sqlx::query_scalar(question).fetch_one(self.store.pool()).await.unwrap()
    }

    /// A consumer of one's own, where no worker takes what there is.
    pub(super) async fn consumer(&self) -> Consumer {
        self.queue.consumer(1).await.unwrap()
    }

    /// Ends everything; returns the alerts that were seen to fire.
    pub(super) async fn finish(mut self) -> Vec<&'static str> {
        self.kill_worker();
        self.producer.kill().unwrap();
        self.producer.wait().unwrap();
        self.queue.delete().await.unwrap();
        std::mem::take(&mut self.fired)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for child in [Some(&mut self.producer), self.worker.as_mut()].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a service. What it logs goes nowhere: a pipe that nobody reads would stop it.
fn service(desk: &Desk, name: &str, variables: &[(&str, &str)]) -> Child {
    let mut command = desk.command(&[name, "--log", "warn"]);
    command.envs(variables.iter().copied());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}
