//! Every alert of deploy/prometheus fires once, in a real Prometheus that scrapes real programs which meet what the alert is about.

use reqwest::{Method, StatusCode};
use tokio::time::{Duration, Instant, sleep};

use super::rig::Rig;

/// Each alert, and what was done to make it fire. The runbook says the same.
pub(super) const FIRED: &[(&str, &str)] = &[
    // programs_and_servers_that_go_away_are_told_and_so_is_their_return
    ("MusterTargetDown", "no worker runs where one is to be scraped"),
    ("MusterNoWorker", "an import runs and no worker does"),
    ("MusterNothingTaken", "messages wait and no worker ever ran"),
    ("MusterImportsStalled", "an import runs without a worker for longer than `dispatch.stall_after`"),
    ("MusterImportOld", "the start of a running import is set back seven hours"),
    ("MusterQueueUnreachable", "the broker refuses the producer's connections"),
    ("MusterNoDispatcher", "a lock keeps programs from saying that they live"),
    ("MusterPoolFull", "a lock on `imports` holds every connection of the pool"),
    ("MusterStoreUnreachable", "the database refuses the producer's connections"),
    ("MusterServerErrors", "requests come while the database refuses connections"),
    // chunks_that_do_not_get_on_are_told
    ("MusterChunksLost", "a message is taken out of the queue and nothing is done"),
    ("MusterTaskRestarts", "the task that takes dead letters panics"),
    ("MusterDeadLetters", "a message becomes a dead letter while its chunk is locked"),
    ("MusterWorkersBusy", "each statement that writes users takes twelve seconds"),
    ("MusterApplyingSlow", "each statement that writes users takes twelve seconds"),
    ("MusterAttemptsFail", "each attempt fails"),
    ("MusterChunksDead", "each attempt fails until none is left"),
    ("MusterChunksPutOff", "the database refuses every user as if its disk were full"),
    // clients_and_records_that_fail_are_told
    ("MusterUploadsAborted", "clients leave in the middle of their uploads"),
    ("MusterServerBusy", "uploads come while the tenant has as many as it may"),
    ("MusterWrongCredentials", "requests come with a wrong token"),
    ("MusterUploadsFail", "the database refuses chunks as if its disk were full"),
    ("MusterRecordsFail", "records without an address are uploaded"),
    ("MusterManyRecordsFail", "a third of the records of a file have no address"),
    ("MusterSpansLost", "nothing listens where spans are to be sent"),
];

/// The alerts of the table from this one to that one.
fn of(first: &str, last: &str) -> Vec<&'static str> {
    let at = |name: &str| FIRED.iter().position(|(alert, _)| *alert == name).unwrap();
    FIRED[at(first)..=at(last)].iter().map(|(alert, _)| *alert).collect()
}

/// What a table holds decides what the database does to whoever writes: how long a statement takes, and whether it is refused.
const WHIMS: &str = "
    create table whims (seconds float8 not null default 0, refuses boolean not null default false);
    insert into whims default values;
    create function whim() returns trigger language plpgsql as $$
    begin
        perform pg_sleep(seconds) from whims where seconds > 0;
        if (select refuses from whims) then raise exception 'refused' using errcode = '53100'; end if;
        return null;
    end $$;";
const WHIMS_ABOUT_USERS: &str =
    "create trigger whim before insert or update on users for each statement execute function whim()";
const WHIMS_ABOUT_CHUNKS: &str =
    "create trigger whim before insert on chunks for each statement execute function whim()";

#[tokio::test(flavor = "multi_thread")]
async fn programs_and_servers_that_go_away_are_told_and_so_is_their_return() {
    let mut rig = Rig::new(&[("MUSTER_DISPATCH_STALL_AFTER", "2s")], "").await;
    assert_eq!(rig.uploads("waits", 100).await, StatusCode::ACCEPTED);
    rig.execute("update imports set started_at = now() - interval '7 hours' where state = 'running'").await;
    let without_worker = [
        "MusterTargetDown",
        "MusterNoWorker",
        "MusterNothingTaken",
        "MusterImportsStalled",
        "MusterImportOld",
    ];
    rig.fires(&without_worker).await;
    rig.worker("").await;
    rig.prometheus.until_quiet().await;

    rig.broker.refuse();
    rig.broker.cut();
    rig.fires(&["MusterQueueUnreachable"]).await;
    rig.broker.pass();
    rig.prometheus.until_quiet().await;

    let silence = rig.session("begin; lock table chunk_holders in exclusive mode").await;
    rig.fires(&["MusterNoDispatcher"]).await;
    drop(silence);
    rig.prometheus.until_quiet().await;

    let blockade = rig.session("begin; lock table imports in access exclusive mode").await;
    rig.fires(&["MusterPoolFull"]).await;
    drop(blockade);
    rig.prometheus.until_quiet().await;

    rig.database.refuse();
    rig.database.cut();
    rig.asks_often(20, None, |status| status.is_server_error()).await;
    rig.fires(&["MusterStoreUnreachable", "MusterServerErrors"]).await;
    rig.database.pass();
    assert_eq!(rig.finish().await, of("MusterTargetDown", "MusterServerErrors"));
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_do_not_get_on_are_told() {
    let settings = [
        ("MUSTER_WORKER_ATTEMPTS", "2"),
        ("MUSTER_WORKER_BACKOFF_INITIAL", "100ms"),
        ("MUSTER_WORKER_BACKOFF_MAX", "500ms"),
        // Longer than a statement here takes.
        ("MUSTER_WORKER_DEADLINE", "60s"),
    ];
    let mut rig = Rig::new(&settings, "take_dead_letter=1*return(panic)").await;
    rig.execute(WHIMS).await;
    rig.execute(WHIMS_ABOUT_USERS).await;
    assert_eq!(rig.uploads("first", 100).await, StatusCode::ACCEPTED);
    let mut consumer = rig.consumer().await;
    consumer.next().await.unwrap().ack().await.unwrap();
    rig.fires(&["MusterChunksLost"]).await;

    let lock = rig.session("begin; select from chunks for update").await;
    consumer.next().await.unwrap().dead_letter("for a test").await.unwrap();
    consumer.close().await;
    rig.fires(&["MusterTaskRestarts", "MusterDeadLetters"]).await;
    drop(lock);

    rig.execute("update whims set seconds = 12").await;
    rig.worker("").await;
    rig.fires(&["MusterWorkersBusy", "MusterApplyingSlow"]).await;
    rig.execute("update whims set seconds = 0").await;
    until_none_is_open(&rig).await;

    rig.worker("apply_locked=return(refused)").await;
    assert_eq!(rig.uploads("second", 100).await, StatusCode::ACCEPTED);
    rig.fires(&["MusterAttemptsFail", "MusterChunksDead"]).await;

    rig.worker("").await;
    rig.execute("update whims set refuses = true").await;
    assert_eq!(rig.uploads("third", 300).await, StatusCode::ACCEPTED);
    rig.fires(&["MusterChunksPutOff"]).await;
    assert_eq!(rig.finish().await, of("MusterChunksLost", "MusterChunksPutOff"));
}

/// Waits until every chunk has come to its end.
async fn until_none_is_open(rig: &Rig) {
    until_number(rig, "select count(*) from chunks where state in ('staged', 'dispatched', 'retryable')", 0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_records_that_fail_are_told() {
    let collector = format!("http://{}", muster_testkit::free_address());
    let settings = [
        ("MUSTER_TRACE_ENDPOINT", &*collector),
        ("MUSTER_TRACE_RATIO", "1"),
        ("MUSTER_HTTP_TENANT_UPLOADS", "2"),
        ("MUSTER_HTTP_AUTH_FAILURES", "100000"),
        ("MUSTER_HTTP_TOKEN_FAILURES", "100000"),
    ];
    let mut rig = Rig::new(&settings, "").await;
    for upload in 1..=6 {
        let client = rig.begins_upload();
        until_received(&rig, upload).await;
        drop(client);
        until_aborted(&rig, upload).await;
    }
    rig.fires(&["MusterUploadsAborted"]).await;

    let under_way = [rig.begins_upload(), rig.begins_upload()];
    until_received(&rig, 8).await;
    for number in 0..30 {
        assert_eq!(rig.uploads(&format!("busy{number}x"), 1).await, StatusCode::TOO_MANY_REQUESTS);
    }
    drop(under_way);
    until_aborted(&rig, 8).await;
    rig.fires(&["MusterServerBusy"]).await;

    rig.asks_often(100, Some("mst_wrong"), |status| status == StatusCode::UNAUTHORIZED).await;
    rig.fires(&["MusterWrongCredentials"]).await;

    rig.execute(WHIMS).await;
    rig.execute(WHIMS_ABOUT_CHUNKS).await;
    rig.execute("update whims set refuses = true").await;
    assert!(rig.uploads("full", 10).await.is_server_error());
    rig.fires(&["MusterUploadsFail"]).await;
    rig.execute("update whims set refuses = false").await;

    let lines = (0..400).map(|number| {
        if number % 3 == 0 { "nobody\n".to_owned() } else { format!("third{number}@example.com\n") }
    });
    let file = std::iter::once("email\n".to_owned()).chain(lines).collect::<String>();
    assert_eq!(rig.asks(Method::POST, "/v1/imports", file).await, StatusCode::ACCEPTED);
    rig.fires(&["MusterRecordsFail", "MusterManyRecordsFail"]).await;
    rig.fires(&["MusterSpansLost"]).await;
    assert_eq!(rig.finish().await, of("MusterUploadsAborted", "MusterSpansLost"));
}

/// Waits until so many uploads have begun to be received.
async fn until_received(rig: &Rig, uploads: i64) {
    until_number(rig, "select count(*) from imports where state in ('receiving', 'aborted')", uploads).await;
}

/// Waits until so many uploads were aborted.
async fn until_aborted(rig: &Rig, uploads: i64) {
    until_number(rig, "select count(*) from imports where state = 'aborted'", uploads).await;
}

async fn until_number(rig: &Rig, question: &'static str, number: i64) {
    let deadline = Instant::now() + Duration::from_secs(110);
    while rig.number(question).await != number {
        assert!(Instant::now() < deadline, "not {number}: {question}");
        sleep(Duration::from_millis(20)).await;
    }
}
