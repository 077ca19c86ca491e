//! A server with workers, and imports in every state.

use std::time::{Duration, Instant};

use muster_domain::chunk::ChunkLimits;
use muster_domain::id::TenantId;
use muster_domain::token::Scope;
use muster_producer::receive::ReceiveLimits;
use muster_producer::{DispatchOptions, Producer, ProducerOptions};
use muster_queue::{Queue, QueueOptions, Topology};
use muster_runtime::clock;
use muster_store::tokens::NewToken;
use muster_store::{Store, tenants, tokens};
use muster_testkit::TestDatabase;
use muster_testkit::proxy::Proxy;
use muster_worker::{Worker, WorkerOptions};
use reqwest::{Client, StatusCode};
use serde_json::Value;

/// An import that makes no progress stands still after a second.
fn impatient() -> DispatchOptions {
    DispatchOptions { stall_after: Duration::from_secs(1), ..DispatchOptions::default() }
}

pub(crate) struct Rig {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) store: Store,
    client: Client,
    queue: Queue,
    worker: Option<Worker>,
    work: WorkerOptions,
    /// Where the queue is a broker: the way to it, which can be broken.
    pub(crate) broker: Option<Proxy>,
    producer: Producer,
    _database: TestDatabase,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let database = TestDatabase::create().await;
        let store = database.store().await;
        let queue =
            Queue::postgres(store.pool().clone(), Topology::new("muster").unwrap(), QueueOptions::default());
        Self::with(database, store, queue, DispatchOptions::default()).await
    }

    /// One where an import that makes no progress stands still after a second.
    pub(crate) async fn on_call() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let database = TestDatabase::create().await;
        let store = database.store().await;
        let queue =
            Queue::postgres(store.pool().clone(), Topology::new("muster").unwrap(), QueueOptions::default());
        Self::with(database, store, queue, impatient()).await
    }

    /// The same with a broker.
    pub(crate) async fn on_call_with_broker() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = std::env::var("TEST_AMQP_URL").expect("TEST_AMQP_URL is missing: run `make test`");
        let (broker, through) = Proxy::before(&url).await;
        let topology = Topology::new(format!("test-{}", clock::new_id().simple())).unwrap();
        let options = QueueOptions {
            publish_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(3),
            health_interval: Duration::from_secs(1),
            ..QueueOptions::default()
        };
        let queue = Queue::rabbit(&through, topology, options).unwrap();
        let database = TestDatabase::create().await;
        let store = database.store().await;
        Self { broker: Some(broker), ..Self::with(database, store, queue, impatient()).await }
    }

    async fn with(database: TestDatabase, store: Store, queue: Queue, dispatch: DispatchOptions) -> Self {
        let options = ProducerOptions {
            receive: ReceiveLimits {
                chunk: ChunkLimits { records: 250, lanes: 8, ..ChunkLimits::default() },
                ..ReceiveLimits::default()
            },
            dispatch,
            ..ProducerOptions::default()
        };
        let producer = Producer::start(store.clone(), queue.clone(), options).await.unwrap();
        let tenant =
            tenants::create(&store, &"acme".parse().unwrap(), "Acme Stationers").await.unwrap().into_inner();
        let token = made(&store, tenant.id, "ann", &[Scope::Ops, Scope::TenantsAll]).await;
        let url = format!("http://{}", producer.local_addr());
        let work = WorkerOptions {
            first_delay: Duration::from_millis(200),
            longest_delay: Duration::from_secs(1),
            ..WorkerOptions::default()
        };
        Self {
            url,
            token,
            store,
            client: Client::new(),
            queue,
            worker: None,
            work,
            broker: None,
            producer,
            _database: database,
        }
    }

    pub(crate) fn work(&mut self) {
        self.worker = Some(Worker::start(self.store.clone(), self.queue.clone(), self.work));
    }

    /// The worker goes away, as a process that ends.
    pub(crate) async fn rest(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.stop().await;
        }
    }

    pub(crate) async fn stop(mut self) {
        self.rest().await;
        self.producer.stop().await.unwrap();
        if self.broker.is_some() {
            self.queue.delete().await.unwrap();
        }
    }

    /// Another tenant, and a token of it.
    pub(crate) async fn tenant(&self, slug: &str, name: &str) -> String {
        let tenant = tenants::create(&self.store, &slug.parse().unwrap(), name).await.unwrap().into_inner();
        made(&self.store, tenant.id, "loader", &[Scope::Ops]).await
    }

    pub(crate) async fn upload(&self, query: &str, file: String) -> (StatusCode, String) {
        self.upload_with(&self.token, query, file).await
    }

    pub(crate) async fn upload_with(&self, token: &str, query: &str, file: String) -> (StatusCode, String) {
        let request = self.client.post(format!("{}/v1/imports?{query}", self.url)).bearer_auth(token);
        let answer = request.header("content-type", "text/csv").body(file).send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        let id = body["id"].as_str().or_else(|| body["error"]["import_id"].as_str()).unwrap_or_default();
        (status, id.to_owned())
    }

    pub(crate) async fn act(&self, import: &str, lever: &str) {
        let request =
            self.client.post(format!("{}/v1/imports/{import}/{lever}", self.url)).bearer_auth(&self.token);
        assert!(request.send().await.unwrap().status().is_success());
    }

    /// Asks for something to be done, and gives the answer.
    pub(crate) async fn post(&self, path: &str) -> Value {
        let answer =
            self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.token).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.unwrap()
    }

    /// What the API answers.
    pub(crate) async fn ask(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        request.send().await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn save(&self, path: &str, document: Value) {
        let request = self.client.put(format!("{}{path}", self.url)).bearer_auth(&self.token);
        assert!(request.json(&document).send().await.unwrap().status().is_success());
    }

    pub(crate) async fn until(&self, import: &str, what: &str, so: impl Fn(&Value) -> bool) {
        self.until_at(&format!("/v1/imports/{import}"), what, so).await;
    }

    pub(crate) async fn until_at(&self, path: &str, what: &str, so: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let now = self.ask(path).await;
            if so(&now) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {now}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn ended(&self, import: &str) {
        self.until(import, "it ends", |now| now["state"] == "completed").await;
    }

    pub(crate) async fn sql(&self, text: &str) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(text.to_owned())).execute(self.store.pool()).await.unwrap();
    }
}

async fn made(store: &Store, tenant: TenantId, name: &str, scopes: &[Scope]) -> String {
    match tokens::create(store, tenant, name, scopes).await.unwrap() {
        NewToken::Created(_, token) => token.reveal().to_owned(),
        NewToken::NameTaken(_) => panic!("the name is taken"),
    }
}

const GIVEN: [&str; 10] =
    ["Anna", "Bruno", "Chiara", "Dario", "Elena", "Fabio", "Giulia", "Hugo", "Ines", "Jonas"];
const FAMILY: [&str; 8] = ["Rossi", "Marino", "Keller", "Novak", "Lindqvist", "Okafor", "Tanaka", "Moreau"];

/// A file of people as a personnel office has it. One record in `flaw` has something wrong with it; 0 means none.
pub(crate) fn people(count: usize, domain: &str, flaw: usize) -> String {
    let mut file = String::from("email,given_name,family_name,phone_number\n");
    for number in 1..=count {
        let (given, family) = (GIVEN[number % GIVEN.len()], FAMILY[number % FAMILY.len()]);
        let name = format!("{}.{}{number}", given.to_lowercase(), family.to_lowercase());
        let wrong = flaw > 0 && number % flaw == 0;
        let (email, phone) = match (wrong, number / flaw.max(1) % 3) {
            (true, 0) => (format!("{name}@"), String::new()),
            (true, 1) => (String::new(), String::new()),
            (true, _) => (format!("{name}@{domain}"), "055 12 34".to_owned()),
            (false, _) => (format!("{name}@{domain}"), String::new()),
        };
        file.push_str(&format!("{email},{given},{family},{phone}\n"));
    }
    file
}
