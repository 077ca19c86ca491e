//! The services as processes of their own, on a real PostgreSQL and a real RabbitMQ, and workers that are killed.

mod looking;
mod workers;

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use muster_queue::{Queue, QueueOptions, Topology};
use muster_runtime::clock;
use muster_store::Store;
use muster_testkit::TestDatabase;
use tokio::runtime::Runtime;

use crate::harness::{Desk, generated, signal, until, wait};

const RECORDS: usize = 40_000;

/// A service that ends with its test, also when the test fails.
struct Service(Option<Child>);

impl Service {
    fn kill(mut self) {
        let mut child = self.0.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn ends_in_order(mut self) {
        let child = self.0.take().unwrap();
        signal(&child, "TERM");
        wait(child).exits(0);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Services {
    desk: Desk,
    runtime: Runtime,
    store: Store,
    queue: Queue,
    address: String,
    _database: TestDatabase,
}

impl Services {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let database = runtime.block_on(TestDatabase::create());
        let store = runtime.block_on(database.store());
        let broker = std::env::var("TEST_AMQP_URL").expect("TEST_AMQP_URL is missing: run `make test`");
        let prefix = format!("test-{}", clock::new_id().simple());
        let topology = Topology::new(prefix.as_str()).unwrap();
        let queue = Queue::rabbit(&broker, topology, QueueOptions::default()).unwrap();
        let address = muster_testkit::free_address();
        let desk = Desk::new()
            .set("DATABASE_URL", &database.url())
            .set("AMQP_URL", &broker)
            .set("MUSTER_BROKER_PREFIX", &prefix)
            .set("MUSTER_HTTP_LISTEN", &address)
            .set("MUSTER_INTAKE_CHUNK_RECORDS", "250")
            .set("MUSTER_WORKER_CONCURRENCY", "2");
        desk.write("users.csv", generated(RECORDS));
        Self { desk, runtime, store, queue, address, _database: database }
    }

    fn token(&self) -> String {
        self.desk.run(&["tenant", "create", "acme", "--name", "Acme"]).exits(0);
        let scopes = ["--scope", "import:write", "--scope", "import:read"];
        let args = [&["token", "create", "--tenant", "acme", "--name", "loader"], &scopes[..]].concat();
        let printed = self.desk.run(&args).exits(0).stdout;
        printed.split_whitespace().find(|word| word.starts_with("mst_")).unwrap().to_owned()
    }

    /// Starts a service. What it logs goes nowhere: a pipe that nobody reads would stop it.
    fn service(&self, name: &str) -> Service {
        let mut command = self.desk.command(&[name, "--log", "warn"]);
        Service(Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()))
    }

    /// Number of users, and the sum of their versions, which counts every change.
    fn users(&self) -> (i64, i64) {
        self.runtime.block_on(async {
            let mut connection = self.store.connection().await.unwrap();
            sqlx::query_as("select count(*), coalesce(sum(version), 0)::bigint from users")
                .fetch_one(&mut connection)
                .await
                .unwrap()
        })
    }
}

/// Starts a worker and reads where its metrics are.
fn telling_worker(services: &Services) -> (Service, String) {
    let mut command = services.desk.command(&["worker", "--log", "warn"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = lines.next().unwrap().unwrap();
    let url = told.strip_prefix("metrics and readiness on ").unwrap().to_owned();
    (Service(Some(child)), url)
}

#[test]
fn a_worker_tells_how_it_fares_on_a_listener_of_its_own() {
    let services = Services::new();
    services.desk.write("few.csv", format!("{}nonsense,A,B,1\n", generated(500)));
    let token = services.token();
    let producer = services.service("producer");
    until("the producer listens", || TcpStream::connect(&services.address).ok());
    // Two on one machine take ports of their own where none is set.
    let (first, one) = telling_worker(&services);
    let (second, other) = telling_worker(&services);
    assert_ne!(one, other);
    let get = |url: &str, path: &str| {
        let url = format!("{url}{path}");
        services.runtime.block_on(async { reqwest::get(url).await.unwrap().text().await.unwrap() })
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    assert_eq!(get(&one, "/healthz"), "{\"status\":\"alive\"}");
    until("the worker is ready", || get(&one, "/readyz").contains("\"status\":\"ready\"").then_some(()));
    for part in [&one, &other] {
        let metrics = get(part, "/metrics");
        assert!(metrics.contains("muster_records_total{outcome=\"inserted\"} 0"), "{metrics}");
        assert!(metrics.contains("# TYPE muster_chunk_seconds histogram"), "{metrics}");
        assert!(metrics.contains("muster_worker_slots{state=\"free\"} 2"), "{metrics}");
        assert!(!metrics.contains("muster_http_request_seconds_count"), "it serves no API: {metrics}");
    }
    let server = format!("http://{}", services.address);
    let args = ["import", "users", "few.csv", "--server", &server, "--token", &token, "--json", "--quiet"];
    let summary = services.desk.run(&args).exits(3).json();
    assert_eq!((&summary["counts"]["inserted"], &summary["counts"]["failed"]), (&500.into(), &1.into()));
    let sum = |series: &str| -> u64 {
        let of = |url: &str| {
            let metrics = get(url, "/metrics");
            let line = metrics.lines().find_map(|line| line.strip_prefix(series)).unwrap().trim().to_owned();
            line.parse::<u64>().unwrap()
        };
        of(&one) + of(&other)
    };
    assert_eq!(sum("muster_records_total{outcome=\"inserted\"} "), 500);
    assert_eq!(sum("muster_records_total{outcome=\"failed\"} "), 0, "it failed while it was staged");
    assert!(sum("muster_chunk_attempts_total ") >= 2);
    assert_eq!(sum("muster_chunk_attempts_total "), sum("muster_apply_seconds_count "));
    for service in [first, second, producer] {
        service.ends_in_order();
    }
    services.runtime.block_on(services.queue.delete()).unwrap();
}

#[test]
fn killed_workers_change_nothing_in_the_end() {
    let services = Services::new();
    let token = services.token();
    let producer = services.service("producer");
    until("the producer listens", || TcpStream::connect(&services.address).ok());
    let mut workers = vec![services.service("worker"), services.service("worker")];
    let server = format!("http://{}", services.address);
    let args = ["import", "users", "users.csv", "--server", &server, "--token", &token, "--json", "--quiet"];
    let client = services.desk.start(&args, Stdio::null());
    for step in 1..=3 {
        until("there is progress", || (services.users().0 >= step * 7_000).then_some(()));
        workers.remove(0).kill();
        workers.push(services.service("worker"));
    }
    let summary = wait(client).exits(0).json();
    assert_eq!(summary["state"], "completed");
    assert_eq!(
        (&summary["counts"]["total"], &summary["counts"]["inserted"]),
        (&RECORDS.into(), &RECORDS.into())
    );
    let all = i64::try_from(RECORDS).unwrap();
    assert_eq!(services.users(), (all, all));

    let again = services.desk.run(&args).exits(0).json();
    assert_eq!(again["counts"]["skipped"], RECORDS);
    assert_eq!(services.users(), (all, all));
    for service in workers.into_iter().chain([producer]) {
        service.ends_in_order();
    }
    services.runtime.block_on(services.queue.delete()).unwrap();
}
