//! A producer over a real socket, on a database of its own, with the queue of PostgreSQL rows.

use std::time::{Duration, Instant};

use muster_domain::tenant::Tenant;
use muster_domain::token::Scope;
use muster_producer::webhook::{Targets, WebhookOptions};
use muster_producer::{Producer, ProducerOptions};
use muster_queue::{Queue, QueueOptions, Topology};
use muster_store::tokens::NewToken;
use muster_store::{Store, dispatch, tenants, tokens};
use muster_testkit::TestDatabase;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) store: Store,
    pub(crate) tenant: Tenant,
    pub(crate) client: reqwest::Client,
    pub(crate) producer: Producer,
    // Dropped last: the database goes with it.
    pub(crate) database: TestDatabase,
}

impl Server {
    pub(crate) async fn start() -> Self {
        // Webhooks of tests lead to this machine.
        let targets = Targets { allow_private: true, ..Targets::default() };
        let webhooks = WebhookOptions { targets, ..WebhookOptions::default() };
        Self::start_with(ProducerOptions { webhooks, ..ProducerOptions::default() }).await
    }

    pub(crate) async fn start_with(options: ProducerOptions) -> Self {
        let database = TestDatabase::create().await;
        let store = database.store().await;
        Self::start_on(database, store, options).await
    }

    /// With a store that may reach the database in another way.
    pub(crate) async fn start_on(database: TestDatabase, store: Store, options: ProducerOptions) -> Self {
        // The client wants one even where nothing is encrypted; another test of the process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let queue =
            Queue::postgres(store.pool().clone(), Topology::new("muster").unwrap(), QueueOptions::default());
        let producer = Producer::start(store.clone(), queue, options).await.unwrap();
        let tenant = tenants::ensure_default(&store).await.unwrap().into_inner();
        let token = token(&store, &tenant, "all", &[Scope::Ops]).await;
        let url = format!("http://{}", producer.local_addr());
        Self { url, token, store, tenant, client: reqwest::Client::new(), producer, database }
    }

    /// Stops the producer; the database lives on with what is returned.
    pub(crate) async fn stop(self) -> TestDatabase {
        self.producer.stop().await.unwrap();
        self.database
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    pub(crate) fn upload(&self, query: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.post(&format!("/v1/imports?{query}")).header("content-type", "text/csv").body(body)
    }

    /// Waits until so many statements of the server wait for a lock.
    pub(crate) async fn until_waiting(&self, count: i64) {
        until("requests wait for a lock", async || {
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
            )
            .fetch_one(self.store.pool())
            .await
            .unwrap();
            waiting >= count
        })
        .await;
    }

    /// What a retry of everything that failed does, while somebody reads and waits for this table.
    pub(crate) async fn retried_while<T>(&self, table: &str, reading: impl Future<Output = T>) -> T {
        let mut other = self.store.connection().await.unwrap();
        let mut held = sqlx::Connection::begin(&mut other).await.unwrap();
        let lock = format!("lock table {table} in access exclusive mode");
        sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut *held).await.unwrap();
        let retry = async {
            self.until_waiting(1).await;
            let retry = "delete from record_issues;
                         update chunks set state = 'staged', outcomes = null, pending = failed, failed = 0 where failed > 0;
                         update imports set state = 'running', final_counts = null, completed_at = null";
            sqlx::raw_sql(retry).execute(&mut *held).await.unwrap();
            held.commit().await.unwrap();
        };
        tokio::join!(reading, retry).0
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let response = self.get(path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.unwrap()
    }
}

/// Looks until it is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !look().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Completes the imports whose chunks have all ended. One that the server's dispatcher completes at this moment is waited for.
pub(crate) async fn until_completed(store: &Store) {
    until("what has ended is completed", async || {
        dispatch::complete_ended(store).await.unwrap();
        let none = "select not exists (select from imports as i where i.state in ('planning', 'running', 'paused') and not exists (
                        select from chunks where import_id = i.id and state in ('staged', 'dispatched', 'retryable')))";
        sqlx::query_scalar(none).fetch_one(store.pool()).await.unwrap()
    })
    .await;
}

pub(crate) async fn token(store: &Store, tenant: &Tenant, name: &str, scopes: &[Scope]) -> String {
    match tokens::create(store, tenant.id, name, scopes).await.unwrap() {
        NewToken::Created(_, token) => token.reveal().to_owned(),
        NewToken::NameTaken(_) => panic!("the name is taken"),
    }
}

pub(crate) async fn accepted(request: RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, StatusCode::ACCEPTED, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Status and the error, whose shape is checked.
pub(crate) async fn refused(request: RequestBuilder) -> (u16, Value) {
    error(request.send().await.unwrap()).await
}

pub(crate) async fn error(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let mut body: Value = response.json().await.unwrap();
    let error = body["error"].take();
    assert_eq!(error["request_id"], id);
    assert!(!error["message"].as_str().unwrap().is_empty());
    (status, error)
}

pub(crate) async fn assert_refused(request: RequestBuilder, status: u16, code: &str) -> Value {
    let (found, error) = refused(request).await;
    assert_eq!((found, error["code"].as_str()), (status, Some(code)), "{error}");
    error
}
