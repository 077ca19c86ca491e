//! A commit whose answer never comes: the server has done it, the client cannot know. Nobody may assume either way; the state is
//! read again. A proxy before the database swallows the answer to COMMIT and cuts the connection.
//!
//! `COMMITS` says how many there are of each kind (default 7, so that the three make about 20).

use std::time::Duration;

use muster_testkit::TestDatabase;
use muster_testkit::proxy::{Proxy, Then};
use serde_json::json;

use crate::rig::{Carrier, Rig, Role, USERS};

const COMMIT: &[u8] = b"COMMIT\0";

fn cases() -> i64 {
    std::env::var("COMMITS").map_or(7, |count| count.parse().expect("COMMITS is a number"))
}

/// A worker cannot know whether its chunk is applied: it comes again, and the ledger tells.
async fn chunks_are_applied_once(carrier: Carrier) {
    let database = TestDatabase::create().await;
    let (proxy, through) = Proxy::before(&database.url()).await;
    let direct = database.url();
    let mut rig = Rig::over(carrier, database, &direct).await;
    rig.start(Role::Producer, "");
    rig.start_over(Role::Worker, &through);
    for case in 0..cases() {
        let swallowed = proxy.when(COMMIT, 1, Then::SwallowReply);
        let name = format!("Name{case}");
        let import = rig.upload(&name, &name, "").await;
        let ended = rig.ended(&import).await;
        assert_eq!(swallowed.hits(), 1, "an answer was swallowed");
        let counts = &ended["counts"];
        assert_eq!((&counts["failed"], &counts["pending"]), (&json!(1), &json!(0)), "{ended}");
        assert_eq!(
            rig.witness().await,
            (USERS, USERS * (case + 1)),
            "no record is applied twice, none is left out"
        );
        assert_eq!(rig.ledger().await, (case + 1, 0));
    }
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_whose_commit_is_not_answered_is_applied_once() {
    chunks_are_applied_once(Carrier::Rabbit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_of_the_queue_of_rows_whose_commit_is_not_answered_is_applied_once() {
    chunks_are_applied_once(Carrier::Rows).await;
}

/// A producer cannot know whether the import is received: it looks, and the client's next try finds the same import.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_receipt_is_not_answered_is_one_import() {
    let database = TestDatabase::create().await;
    let (proxy, through) = Proxy::before(&database.url()).await;
    let direct = database.url();
    let mut rig = Rig::over(Carrier::Rabbit, database, &direct).await;
    // The pause tells when the next COMMIT is the receipt's.
    rig.start_failing_over(Role::Producer, &through, "before_receipt=return(pause)");
    rig.start(Role::Worker, "");
    for case in 0..cases() {
        let name = format!("Name{case}");
        let upload = rig.upload(&name, &name, "");
        let watch = async {
            while rig.notes().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            proxy.when(COMMIT, 1, Then::SwallowReply)
        };
        let (import, swallowed) = tokio::join!(upload, watch);
        rig.acted();
        let ended = rig.ended(&import).await;
        assert_eq!(swallowed.hits(), 1, "an answer was swallowed");
        assert_eq!(ended["counts"]["failed"], 1, "{ended}");
        assert_eq!(rig.witness().await, (USERS, USERS * (case + 1)));
        assert_eq!(rig.ledger().await, (case + 1, 0), "one file is one import");
    }
    rig.finish().await;
}

/// A message is acked when its chunk is committed and not before: what a killed worker held lies in the queue again at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_worker_held_lies_in_the_queue_again() {
    let mut rig = Rig::new(Carrier::Rabbit).await;
    rig.start(Role::Producer, "");
    let import = rig.upload("Name", "key", "").await;
    // One message of several is taken, and never comes back by itself: nothing dispatches any more.
    rig.until_ready(|ready| ready > 0).await;
    rig.stop(Role::Producer);
    let before = rig.queue.depth().await.unwrap().ready;
    rig.start_mortal(Role::Worker, "before_commit=return(kill)");
    rig.until_dead(Role::Worker).await;
    rig.until_ready(|ready| ready == before).await;
    rig.start(Role::Producer, "");
    rig.start(Role::Worker, "");
    assert_eq!(rig.ended(&import).await["counts"]["inserted"], USERS);
    assert_eq!(rig.witness().await, (USERS, USERS));
    rig.finish().await;
}
