//! A server with workers, and imports in every state.

use std::time::{Duration, Instant};

use muster_domain::chunk::ChunkLimits;
use muster_domain::token::Scope;
use muster_producer::receive::ReceiveLimits;
use muster_producer::{Producer, ProducerOptions};
use muster_queue::{Queue, QueueOptions, Topology};
use muster_store::tokens::NewToken;
use muster_store::{Store, tenants, tokens};
use muster_testkit::TestDatabase;
use muster_worker::{Worker, WorkerOptions};
use reqwest::{Client, StatusCode};
use serde_json::Value;

pub(crate) struct Rig {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) store: Store,
    client: Client,
    queue: Queue,
    worker: Option<Worker>,
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
        let options = ProducerOptions {
            receive: ReceiveLimits {
                chunk: ChunkLimits { records: 250, lanes: 8, ..ChunkLimits::default() },
                ..ReceiveLimits::default()
            },
            ..ProducerOptions::default()
        };
        let producer = Producer::start(store.clone(), queue.clone(), options).await.unwrap();
        let tenant =
            tenants::create(&store, &"acme".parse().unwrap(), "Acme Stationers").await.unwrap().into_inner();
        let token = match tokens::create(&store, tenant.id, "ann", &[Scope::Ops]).await.unwrap() {
            NewToken::Created(_, token) => token.reveal().to_owned(),
            NewToken::NameTaken(_) => panic!("the name is taken"),
        };
        let url = format!("http://{}", producer.local_addr());
        Self { url, token, store, client: Client::new(), queue, worker: None, producer, _database: database }
    }

    pub(crate) fn work(&mut self) {
        self.worker = Some(Worker::start(self.store.clone(), self.queue.clone(), WorkerOptions::default()));
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
    }

    pub(crate) async fn upload(&self, query: &str, file: String) -> (StatusCode, String) {
        let request = self.client.post(format!("{}/v1/imports?{query}", self.url)).bearer_auth(&self.token);
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

    pub(crate) async fn show(&self, import: &str) -> Value {
        self.ask(&format!("/v1/imports/{import}")).await
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
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let now = self.show(import).await;
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
