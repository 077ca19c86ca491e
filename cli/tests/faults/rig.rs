//! A database, a queue, a producer and a worker of one's own, and a client that sends its requests until they are answered.

use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_domain::catalog::Catalog;
use muster_domain::id::TenantId;
use muster_domain::token::Scope;
use muster_queue::{Queue, QueueOptions, Topology};
use muster_runtime::clock;
use muster_store::{Store, catalog, tenants, tokens};
use muster_testkit::TestDatabase;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::service::Service;

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(110);
const POLL: Duration = Duration::from_millis(50);
/// Good records of a file; one more is invalid.
pub(crate) const USERS: i64 = 60;

/// Which queue carries the chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Rabbit,
    Rows,
}

/// Which of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Producer,
    Worker,
}

pub(crate) struct Rig {
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    pub(crate) tenant: TenantId,
    _database: TestDatabase,
    pub(crate) desk: Arc<Desk>,
    address: String,
    token: String,
    http: reqwest::Client,
    producer: Option<Service>,
    worker: Option<Service>,
    died: Vec<(Role, ExitStatus)>,
    mortal: Option<Child>,
}

impl Rig {
    pub(crate) async fn new(carrier: Carrier) -> Self {
        let database = TestDatabase::create().await;
        let url = database.url();
        Self::over(carrier, database, &url).await
    }

    /// The services reach the database at this address, the test itself reaches it directly.
    pub(crate) async fn over(carrier: Carrier, database: TestDatabase, url: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = database.store().await;
        let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
        let scopes = [Scope::ImportWrite, Scope::ImportRead, Scope::UsersWrite];
        let token = match tokens::create(&store, tenant, "tester", &scopes).await.unwrap() {
            tokens::NewToken::Created(_, token) => token.reveal().to_owned(),
            other => panic!("{other:?}"),
        };
        let organizations: Catalog =
            serde_json::from_value(json!({"organizations": [{"slug": "org", "name": "Org"}]})).unwrap();
        catalog::apply(&store, tenant, &organizations).await.unwrap();
        let prefix = format!("test-{}", clock::new_id().simple());
        let topology = Topology::new(prefix.as_str()).unwrap();
        let address = muster_testkit::free_address();
        let mut desk = Desk::new()
            .set("DATABASE_URL", url)
            .set("MUSTER_BROKER_PREFIX", &prefix)
            .set("MUSTER_HTTP_LISTEN", &address)
            .set("MUSTER_DATABASE_MAX_CONNECTIONS", "4")
            .set("MUSTER_INTAKE_CHUNK_RECORDS", "20")
            .set("MUSTER_WORKER_CONCURRENCY", "2")
            .set("MUSTER_WORKER_ATTEMPTS", "2")
            .set("MUSTER_WORKER_BACKOFF_INITIAL", "100ms")
            .set("MUSTER_WORKER_BACKOFF_MAX", "1s")
            .set("MUSTER_DISPATCH_LEASE", "5s")
            .set("MUSTER_DISPATCH_POLL", "50ms")
            .set("MUSTER_WEBHOOK_ALLOW_PRIVATE", "true")
            .set("MUSTER_WEBHOOK_TIMEOUT", "1s");
        let queue = if carrier == Carrier::Rabbit {
            let broker = std::env::var("TEST_AMQP_URL").expect("TEST_AMQP_URL is missing: run `make test`");
            desk = desk.set("AMQP_URL", &broker);
            Queue::rabbit(&broker, topology, QueueOptions::default()).unwrap()
        } else {
            Queue::postgres(store.pool().clone(), topology, QueueOptions::default())
        };
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
        let desk = Arc::new(desk);
        Self {
            store,
            queue,
            tenant,
            _database: database,
            desk,
            address,
            token,
            http,
            producer: None,
            worker: None,
            died: Vec::new(),
            mortal: None,
        }
    }

    /// Starts a service with these failpoints.
    pub(crate) fn start(&mut self, role: Role, failpoints: &str) {
        self.start_with(role, &[("FAILPOINTS", failpoints)], &[]);
    }

    /// Starts a service that reaches the database at this address.
    pub(crate) fn start_over(&mut self, role: Role, url: &str) {
        self.start_with(role, &[], &[("DATABASE_URL", url)]);
    }

    /// Starts a service that nobody starts again when it dies.
    pub(crate) fn start_mortal(&mut self, role: Role, failpoints: &str) {
        assert_eq!(role, Role::Worker);
        self.mortal = Some(Service::start_mortal(&self.desk, "worker", failpoints));
    }

    /// Waits until it is dead.
    pub(crate) async fn until_dead(&mut self, role: Role) {
        assert_eq!(role, Role::Worker);
        let mut child = self.mortal.take().unwrap();
        crate::desk::until("the worker is dead", || child.try_wait().unwrap());
    }

    /// Waits until so many messages are ready in the queue.
    pub(crate) async fn until_ready(&self, wanted: impl Fn(u64) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let ready = self.queue.depth().await.unwrap().ready;
            if wanted(ready) {
                return;
            }
            assert!(Instant::now() < deadline, "{ready} messages are ready");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Both.
    pub(crate) fn start_failing_over(&mut self, role: Role, url: &str, failpoints: &str) {
        self.start_with(role, &[("FAILPOINTS", failpoints)], &[("DATABASE_URL", url)]);
    }

    /// `once` is said to the first process alone, not to those that follow when it dies.
    fn start_with(&mut self, role: Role, once: &[(&str, &str)], always: &[(&str, &str)]) {
        let (slot, name) = match role {
            Role::Producer => (&mut self.producer, "producer"),
            Role::Worker => (&mut self.worker, "worker"),
        };
        assert!(slot.is_none(), "the {name} runs");
        *slot = Some(Service::start(&self.desk, name, once, always));
    }

    /// Ends a service in order.
    pub(crate) fn stop(&mut self, role: Role) {
        let service = match role {
            Role::Producer => self.producer.take(),
            Role::Worker => self.worker.take(),
        };
        if let Some(service) = service {
            let died = service.stop();
            self.died.extend(died.into_iter().map(|status| (role, status)));
        }
    }

    /// Starts a service again without failpoints.
    pub(crate) fn restart_clean(&mut self, role: Role) {
        self.stop(role);
        self.start(role, "");
    }

    /// How this service died so far.
    pub(crate) fn deaths(&self, role: Role) -> Vec<ExitStatus> {
        let running = match role {
            Role::Producer => &self.producer,
            Role::Worker => &self.worker,
        };
        let before = self.died.iter().filter(|(of, _)| *of == role).map(|(_, status)| *status);
        before.chain(running.iter().flat_map(Service::deaths)).collect()
    }

    /// The same, and forgets it.
    pub(crate) fn take_deaths(&mut self, role: Role) -> Vec<ExitStatus> {
        let deaths = self.deaths(role);
        self.stop(role);
        self.died.retain(|(of, _)| *of != role);
        deaths
    }

    pub(crate) fn runs(&self, role: Role) -> bool {
        match role {
            Role::Producer => self.producer.is_some(),
            Role::Worker => self.worker.is_some(),
        }
    }

    /// The points that acted since they were last forgotten.
    pub(crate) fn notes(&self) -> Vec<String> {
        let notes = std::fs::read_to_string(self.desk.path("notes")).unwrap_or_default();
        notes.lines().map(str::to_owned).collect()
    }

    /// The same, and forgets them.
    pub(crate) fn acted(&self) -> Vec<String> {
        let notes = self.notes();
        let _ = std::fs::remove_file(self.desk.path("notes"));
        notes
    }

    /// Sends a request until it is answered with a success: what a client does that was told to try again.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Sent>) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut request = self
                .http
                .request(method.clone(), format!("http://{}{path}", self.address))
                .bearer_auth(&self.token);
            if let Some(body) = body {
                request = request.header("content-type", body.media_type).body(body.text.clone());
                if let Some(key) = &body.key {
                    request = request.header("idempotency-key", key);
                }
            }
            let problem = match request.send().await {
                Ok(answer) => {
                    let status = answer.status();
                    let text = answer.text().await.unwrap_or_default();
                    if status.is_success() && !text.is_empty() {
                        return serde_json::from_str(&text).unwrap();
                    }
                    let again = status.is_success()
                        || status.is_server_error()
                        || [StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
                    assert!(again, "{path}: {status} {text}");
                    format!("{status} {text}")
                }
                Err(error) => error.to_string(),
            };
            assert!(Instant::now() < deadline, "{path} is not answered: {problem}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Uploads a file of [`USERS`] good records and an invalid one. The same key again is the same upload.
    pub(crate) async fn upload(&self, name: &str, key: &str, options: &str) -> String {
        let sent = Sent { media_type: "text/csv", key: Some(key.to_owned()), text: people(name) };
        let path = format!("/v1/imports?format=csv{options}");
        self.send(Method::POST, &path, Some(&sent)).await["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn import(&self, id: &str) -> Value {
        self.send(Method::GET, &format!("/v1/imports/{id}"), None).await
    }

    pub(crate) async fn steer(&self, id: &str, how: &str) -> Value {
        let nothing = Sent { media_type: "application/json", key: None, text: String::new() };
        self.send(Method::POST, &format!("/v1/imports/{id}/{how}"), Some(&nothing)).await
    }

    /// Waits until the import has ended.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let import = self.import(id).await;
            if ["completed", "cancelled", "aborted", "refused"].contains(&import["state"].as_str().unwrap()) {
                return import;
            }
            assert!(Instant::now() < deadline, "the import did not end: {import}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the import is in this state.
    pub(crate) async fn until_state(&self, id: &str, wanted: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let import = self.import(id).await;
            if import["state"] == wanted {
                return import;
            }
            assert!(Instant::now() < deadline, "the import is not {wanted}: {import}");
            tokio::time::sleep(POLL).await;
        }
    }

    pub(crate) async fn plan(&self, id: &str) -> Value {
        self.send(Method::GET, &format!("/v1/imports/{id}/plan"), None).await
    }

    /// Opens an undo, which is planned first. Whose request is not answered looks whether there is one before asking again.
    pub(crate) async fn undo(&self, id: &str) -> String {
        let path = format!("/v1/imports/{id}/undo");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let preview = self.send(Method::GET, &path, None).await;
            if let Some(undo) = preview["undone_by"].as_str() {
                return undo.to_owned();
            }
            let request =
                self.http.post(format!("http://{}{path}", self.address)).bearer_auth(&self.token).send();
            if let Ok(answer) = request.await
                && answer.status() == StatusCode::ACCEPTED
                && let Ok(undo) = answer.json::<Value>().await
            {
                return undo["id"].as_str().unwrap().to_owned();
            }
            assert!(Instant::now() < deadline, "the undo is not opened");
            tokio::time::sleep(POLL).await;
        }
    }

    /// What users are called, by address.
    pub(crate) async fn names(&self) -> Vec<String> {
        let mut connection = self.store.connection().await.unwrap();
        sqlx::query_scalar("select email || ' ' || given_name from users order by email")
            .fetch_all(&mut connection)
            .await
            .unwrap()
    }

    /// Number of users, and the sum of their versions, which counts every write.
    pub(crate) async fn witness(&self) -> (i64, i64) {
        let mut connection = self.store.connection().await.unwrap();
        sqlx::query_as("select count(*), coalesce(sum(version), 0)::bigint from users")
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    /// Imports in each state, those that came to nothing left out; and the records without exactly one outcome.
    pub(crate) async fn ledger(&self) -> (i64, i64) {
        let mut connection = self.store.connection().await.unwrap();
        sqlx::query_as(
            "select (select count(*) from imports where state not in ('aborted', 'refused')),
                    (select count(*) from chunks
                      where pending > 0 or inserted + updated + skipped + failed <> records)",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap()
    }

    /// Every failed record of an import has its error.
    pub(crate) async fn errors(&self, id: &str) -> i64 {
        let mut connection = self.store.connection().await.unwrap();
        sqlx::query_scalar(
            "select count(*) from record_issues where import_id = $1::uuid and failed and errors is not null",
        )
        .bind(id)
        .fetch_one(&mut connection)
        .await
        .unwrap()
    }

    /// Stops what runs, and makes sure that no message is left.
    pub(crate) async fn finish(mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let depth = self.queue.depth().await.unwrap();
            if (depth.ready, depth.dead) == (0, 0) {
                break;
            }
            assert!(Instant::now() < deadline, "messages are left: {depth:?}");
            tokio::time::sleep(POLL).await;
        }
        self.stop(Role::Producer);
        self.stop(Role::Worker);
        assert_eq!(self.died, [], "nothing died that was not to");
        self.queue.delete().await.unwrap();
    }
}

/// The body of a request.
pub(crate) struct Sent {
    pub(crate) media_type: &'static str,
    pub(crate) key: Option<String>,
    pub(crate) text: String,
}

/// The same users under another name, and a record that is invalid.
fn people(name: &str) -> String {
    let mut csv = String::from("email,first_name\n");
    for number in 0..USERS {
        csv.push_str(&format!("user{number}@example.com,{name}\n"));
    }
    csv.push_str("no address,Nobody\n");
    csv
}
