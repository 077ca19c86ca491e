//! Workers that die over a chunk, are frozen in it, or are stopped: which chunk pays for it, and how soon another goes on.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Service, Services};
use crate::harness::{generated, signal, until, wait};

/// A file that is small enough for a test that waits for several deaths.
const FEW: usize = 5_000;

/// How long a chunk may take of the workers here.
const DEADLINE: (&str, &str) = ("MUSTER_WORKER_DEADLINE", "6s");

impl Services {
    /// Starts a worker with these variables.
    fn worker_with(&self, variables: &[(&str, &str)]) -> Child {
        let mut command: Command = self.desk.command(&["worker", "--log", "warn"]);
        command.envs(variables.iter().copied());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// A worker that is stopped in the middle of its transaction, where these failpoints hold it.
    fn frozen_in_the_middle(&self, failpoints: &str) -> Service {
        // The broker misses two heartbeats before it takes a consumer for gone.
        let broker = std::env::var("TEST_AMQP_URL").unwrap().replace("heartbeat=10", "heartbeat=2");
        let variables = [("AMQP_URL", broker.as_str()), DEADLINE, ("FAILPOINTS", failpoints)];
        let frozen = Service(Some(self.worker_with(&variables)));
        until("the worker is in the middle", || {
            let inside = "select count(*) from pg_stat_activity
                           where datname = current_database() and state = 'idle in transaction' and query like 'with kept as%'";
            (self.number(inside) == 1).then_some(())
        });
        signal(frozen.0.as_ref().unwrap(), "STOP");
        frozen
    }

    /// The answer to a question with one number.
    fn number(&self, question: &'static str) -> i64 {
        self.runtime.block_on(async {
            let mut connection = self.store.connection().await.unwrap();
            sqlx::query_scalar(question).fetch_one(&mut connection).await.unwrap()
        })
    }

    /// Starts a producer, and a client that uploads the file and waits for its end.
    fn upload(&self, token: &str) -> (Service, Child) {
        let producer = self.service("producer");
        until("the producer listens", || std::net::TcpStream::connect(&self.address).ok());
        let server = format!("http://{}", self.address);
        let args =
            ["import", "users", "users.csv", "--server", &server, "--token", token, "--json", "--quiet"];
        let client = self.desk.start(&args, Stdio::null());
        until("everything is received", || {
            (self.number("select count(*) from imports where state = 'running'") == 1).then_some(())
        });
        (producer, client)
    }
}

#[test]
fn a_chunk_that_kills_its_workers_is_dead_after_its_attempts_and_no_other() {
    let services = Services::new();
    services.desk.write("users.csv", generated(FEW));
    let token = services.token();
    let (producer, client) = services.upload(&token);
    let culprit = services.number("select id from chunks order by id limit 1 offset 3");
    let failpoints = format!("apply_locked=return(kill@{culprit})");
    let mut deaths = 0;
    loop {
        let variables = [
            ("FAILPOINTS", failpoints.as_str()),
            ("MUSTER_WORKER_CONCURRENCY", "4"),
            ("MUSTER_WORKER_BACKOFF_INITIAL", "100ms"),
        ];
        let mut worker = services.worker_with(&variables);
        let died = until("the worker dies or the import ends", || {
            let completed = services.number("select count(*) from imports where state = 'completed'") == 1;
            match worker.try_wait().unwrap() {
                Some(_) => Some(true),
                None => completed.then_some(false),
            }
        });
        // Only the chunk that was being applied alone may be under the suspicion of having killed two.
        assert!(services.number("select count(*) from chunks where cardinality(begun) > 1") <= 1);
        if !died {
            signal(&worker, "TERM");
            wait(worker).exits(0);
            break;
        }
        deaths += 1;
        assert!(deaths <= 5, "the chunk killed more workers than it has attempts");
    }
    assert_eq!(deaths, 5);
    let summary = wait(client).exits(3).json();
    assert_eq!((&summary["state"], &summary["counts"]["failed"]), (&"completed".into(), &250.into()));
    assert_eq!(services.number("select id from chunks where state = 'dead' and attempts = 5"), culprit);
    assert_eq!(services.number("select count(*) from chunks where state <> 'applied' or attempts > 0"), 1);
    assert_eq!(services.number("select count(*) from record_issues where failed"), 250);
    producer.ends_in_order();
    services.runtime.block_on(services.queue.delete()).unwrap();
}

#[test]
fn stopping_a_worker_gently_spends_no_attempt() {
    let services = Services::new();
    let token = services.token();
    let (producer, client) = services.upload(&token);
    for step in 1..=10 {
        let before = services.users().0;
        let worker = services.worker_with(&[("MUSTER_WORKER_CONCURRENCY", "4")]);
        // Progress of this worker: one that has only just begun has nothing to stop.
        until("there is progress", || (services.users().0 >= (step * 1_500).max(before + 1)).then_some(()));
        signal(&worker, "TERM");
        wait(worker).exits(0);
        let suspected =
            "select count(*) from chunks where attempts > 0 or deferrals > 0 or cardinality(begun) > 0";
        assert_eq!(services.number(suspected), 0, "after {step} stops");
    }
    let worker = services.service("worker");
    wait(client).exits(0);
    assert_eq!(services.number("select count(*) from chunks where attempts > 0"), 0);
    for service in [worker, producer] {
        service.ends_in_order();
    }
    services.runtime.block_on(services.queue.delete()).unwrap();
}

/// Frozen in the middle of its transaction, it wakes up when another has applied the chunk: its commit comes to nothing, and it
/// works on.
#[test]
fn a_frozen_worker_that_wakes_up_changes_nothing_and_works_on() {
    let services = Services::new();
    services.desk.write("users.csv", generated(250));
    let token = services.token();
    let (producer, client) = services.upload(&token);
    // Awake again, it goes on at once.
    let frozen = services.frozen_in_the_middle("before_commit=1*return(delay)");
    let other = Service(Some(services.worker_with(&[DEADLINE])));
    assert_eq!(wait(client).exits(0).json()["counts"]["inserted"], 250);
    other.ends_in_order();
    signal(frozen.0.as_ref().unwrap(), "CONT");
    // All that is left is the sleeper: what comes now is its work.
    services.desk.write("users.csv", generated(260));
    let server = format!("http://{}", services.address);
    let args = ["import", "users", "users.csv", "--server", &server, "--token", &token, "--json", "--quiet"];
    let again = services.desk.run(&args).exits(0).json();
    assert_eq!((&again["counts"]["inserted"], &again["counts"]["skipped"]), (&10.into(), &250.into()));
    assert_eq!(services.users(), (260, 260));
    for service in [frozen, producer] {
        service.ends_in_order();
    }
    services.runtime.block_on(services.queue.delete()).unwrap();
}

#[test]
fn a_frozen_worker_holds_its_chunk_no_longer_than_its_limit() {
    let services = Services::new();
    services.desk.write("users.csv", generated(250));
    let token = services.token();
    let (producer, client) = services.upload(&token);
    let frozen = services.frozen_in_the_middle("before_commit=sleep(600000)");
    let began = Instant::now();
    let other = Service(Some(services.worker_with(&[DEADLINE])));
    let summary = wait(client).exits(0).json();
    let took = began.elapsed();
    println!("a frozen worker's chunk was applied by another after {took:?}");
    assert_eq!(summary["counts"]["inserted"], 250);
    assert!(took < Duration::from_secs(18), "another worker applied the chunk after {took:?}");
    frozen.kill();
    for service in [other, producer] {
        service.ends_in_order();
    }
    services.runtime.block_on(services.queue.delete()).unwrap();
}
