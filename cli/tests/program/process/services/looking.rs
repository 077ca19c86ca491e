//! Looking at imports behind a server: following one through a restart, and which chunks do not get on.

use std::fs::File;
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::Value;

use super::{Service, Services};
use crate::harness::{Run, generated, signal, until, wait};

impl Services {
    /// Runs `muster imports …` against the server.
    fn imports(&self, token: &str, args: &[&str]) -> Run {
        let server = format!("http://{}", self.address);
        self.desk.run(&[&["imports"], args, &["--server", &server, "--token", token]].concat())
    }

    /// Starts to watch an import; what is told goes to a file, as it is told.
    fn watches(&self, token: &str, import: &str, told: &str) -> Child {
        let server = format!("http://{}", self.address);
        let args = ["imports", "watch", import, "--server", &server, "--token", token];
        let told = File::create(self.desk.path(told)).unwrap();
        self.desk.command(&args).stdout(Stdio::piped()).stderr(told).spawn().unwrap()
    }

    /// A producer that answers, and an import that waits for its start there.
    fn waiting_import(&self, token: &str, records: usize) -> (Service, String) {
        let producer = self.service("producer");
        until("the producer listens", || TcpStream::connect(&self.address).ok());
        self.desk.write("users.csv", generated(records));
        let server = format!("http://{}", self.address);
        let args = ["import", "users", "users.csv", "--server", &server, "--token", token, "--json"];
        let import = self.desk.run(&[&args[..], &["--start", "manual"]].concat()).exits(0).json();
        (producer, import["id"].as_str().unwrap().to_owned())
    }

    fn execute(&self, statements: &'static str) {
        self.runtime.block_on(async {
            let mut connection = self.store.connection().await.unwrap();
            sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
        });
    }
}

#[test]
fn watching_goes_on_while_the_server_is_away_and_tells_what_is_in_the_way() {
    let services = Services::new();
    let token = services.token();
    let (producer, import) = services.waiting_import(&token, 10);
    let watching = services.watches(&token, &import, "told");
    let told = |text: &str| services.desk.read("told").contains(text).then_some(());
    until("its state is told", || told(&format!("import {import} is received")));
    until("what it waits for is told", || told("it waits for `proceed`"));
    producer.ends_in_order();
    let producer = services.service("producer");
    until("the producer listens", || TcpStream::connect(&services.address).ok());
    services.imports(&token, &["proceed", &import]).exits(0);
    until("its new state is told", || told(&format!("import {import} is running")));
    until("what is in its way is told", || told("it waits for a worker: none is running"));
    let worker = services.service("worker");
    let ended = wait(watching).exits(0);
    assert!(ended.stdout.contains(&format!("import {import} completed")), "{ended:#?}");
    let text = services.desk.read("told");
    let states = ["received", "running"].map(|state| format!("import {import} is {state}"));
    for once in states.iter().map(String::as_str).chain(["it waits for a worker"]) {
        assert_eq!(text.matches(once).count(), 1, "{once}: {text}");
    }
    for service in [worker, producer] {
        service.ends_in_order();
    }
    services.runtime.block_on(services.queue.delete()).unwrap();
}

#[test]
fn who_stops_watching_leaves_the_import_alone_and_is_told_how_to_look_again() {
    let services = Services::new();
    let token = services.token();
    let (producer, import) = services.waiting_import(&token, 10);
    let watching = services.watches(&token, "last", "told");
    until("it is watched", || services.desk.read("told").contains("is received").then_some(()));
    signal(&watching, "INT");
    wait(watching).exits(0);
    let text = services.desk.read("told");
    let again =
        format!("import {import} continues; `MUSTER_TOKEN=\"$TOKEN\" muster imports show {import} --server ");
    assert!(text.contains(&again), "{text}");
    let shown = services.imports(&token, &["show", &import, "--json"]).exits(0).json();
    assert_eq!(shown["state"], "received");
    producer.ends_in_order();
    services.runtime.block_on(services.queue.delete()).unwrap();
}

#[test]
fn chunks_tell_where_they_stand_who_has_them_and_what_they_met() {
    let services = Services::new();
    let token = services.token();
    // Two chunks or more: 250 records are one, and lanes divide them.
    let (producer, import) = services.waiting_import(&token, 500);
    let chunks = |args: &[&str]| {
        let run = services.imports(&token, &[&["chunks", &import, "--json"], args].concat()).exits(0);
        run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let all = chunks(&["--state", "staged"]).len();
    assert!(all >= 2, "{all} chunks");
    assert_eq!((chunks(&[]).len(), chunks(&["--problem"]).len()), (all, 0));
    services.imports(&token, &["proceed", &import]).exits(0);
    // Without a worker they lie in the queue, and nobody has them. The producer has them for a moment, which it notes a little later and then
    // takes back.
    until("chunks are in the queue", || {
        let table = services.imports(&token, &["chunks", &import, "--state", "dispatched"]).exits(0);
        let mut lines = table.stdout.lines().skip(1).peekable();
        let in_queue = lines.peek().is_some() && lines.all(|line| line.contains("in the queue"));
        let sent = chunks(&["--state", "dispatched"]);
        (in_queue && !sent.is_empty() && sent.iter().all(|chunk| chunk["holder"].is_null())).then_some(())
    });
    services.execute(
        "create function refuse() returns trigger language plpgsql as
             $$ begin raise exception 'no' using errcode = '53100'; end $$;
         create trigger refuse before insert on users for each statement execute function refuse()",
    );
    let mut command = services.desk.command(&["worker", "--log", "warn"]);
    command.env("MUSTER_WORKER_BACKOFF_INITIAL", "100ms").env("MUSTER_WORKER_BACKOFF_MAX", "1s");
    let worker = Service(Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()));
    let met =
        until("chunks met the refusal", || Some(chunks(&["--problem"])).filter(|some| !some.is_empty()));
    for chunk in &met {
        assert!(chunk["problem"].as_str().unwrap().contains("53100"), "{chunk}");
        assert!(chunk["problem_since"].is_string() && chunk["attempts"] == 0, "{chunk}");
    }
    let table = services.imports(&token, &["chunks", &import, "--problem"]).exits(0);
    assert!(table.stdout.contains("53100") && table.stdout.contains("(since "), "{table:#?}");
    services.execute("drop trigger refuse on users");
    until("all are applied", || (chunks(&["--state", "applied"]).len() == all).then_some(()));
    assert_eq!((chunks(&["--problem"]).len(), chunks(&["--limit", "1"]).len()), (0, 1));
    for service in [worker, producer] {
        service.ends_in_order();
    }
    services.runtime.block_on(services.queue.delete()).unwrap();
}
