//! The same result whatever the parallelism (P4), and no harm from messages that come twice (P3).

use muster_domain::outcome::Counts;
use std::collections::HashMap;

use muster_domain::chunk::ChunkLimits;
use muster_domain::options::{ImportOptions, OnExisting};
use muster_domain::outcome::{Outcome, Reason};
use muster_store::dispatch;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::harness::{Backend, Pipeline};
use crate::{on_both_queues, on_the_bundled_engine};

on_both_queues!(
    duplicates_end_as_file_order_says,
    messages_that_come_again_change_nothing,
    two_imports_of_one_file_share_the_users
);

type Verdict = (Outcome, Option<Reason>);

on_the_bundled_engine!(
    duplicates_end_as_file_order_says,
    messages_that_come_again_change_nothing,
    two_imports_of_one_file_share_the_users,
);

/// Works through the records one after the other.
fn interpret(records: &[(u8, u8)], on_existing: OnExisting) -> (Vec<Verdict>, HashMap<u8, u8>) {
    let mut users: HashMap<u8, u8> = HashMap::new();
    let outcomes = records
        .iter()
        .map(|(key, value)| match (users.get(key).copied(), on_existing) {
            (None, _) => {
                users.insert(*key, *value);
                (Outcome::Inserted, None)
            }
            (Some(_), OnExisting::Skip | OnExisting::Enrol) => (Outcome::Skipped, Some(Reason::Exists)),
            (Some(before), OnExisting::Update) if before == *value => {
                (Outcome::Skipped, Some(Reason::Unchanged))
            }
            (Some(_), OnExisting::Update) => {
                users.insert(*key, *value);
                (Outcome::Updated, None)
            }
        })
        .collect();
    (outcomes, users)
}

/// One key in several spellings that fold to the same.
fn spelling(key: u8, at: usize) -> String {
    match at % 4 {
        0 => format!("user{key}@example.com"),
        1 => format!("USER{key}@Example.COM"),
        2 => format!(" user{key}@example.com "),
        _ => format!("\u{ff35}ser{key}@EXAMPLE.com"),
    }
}

async fn duplicates_end_as_file_order_says(backend: Backend) {
    let mut runner = TestRunner::deterministic();
    for round in 0..6 {
        let strategy = (
            prop::collection::vec((0u8..40, 0u8..3), 0..400),
            prop::sample::select(vec![OnExisting::Skip, OnExisting::Update]),
            (1u32..30, 1u32..9, 1u16..5),
        );
        let (records, on_existing, (size, lanes, workers)) =
            strategy.new_tree(&mut runner).unwrap().current();
        let mut csv = String::from("email,first_name\n");
        for (at, (key, value)) in records.iter().enumerate() {
            csv.push_str(&format!("{},n{value}\n", spelling(*key, at)));
        }
        let (wanted, users) = interpret(&records, on_existing);

        let mut pipeline = Pipeline::new(backend).await;
        pipeline.limits.chunk = ChunkLimits { records: size, bytes: 4096, lanes };
        let options = ImportOptions { on_existing, ..ImportOptions::default() };
        let import = pipeline.accepted(&csv, &options).await;
        let (first, second) = (pipeline.dispatcher(), pipeline.dispatcher());
        let (left, right) = (pipeline.worker(workers), pipeline.worker(1));
        pipeline.ended(import).await;
        for worker in [left, right] {
            worker.stop().await;
        }
        for dispatcher in [first, second] {
            dispatcher.stop().await;
        }
        assert_eq!(pipeline.outcomes(import).await, wanted, "round {round}, {size} {lanes} {workers}");
        let mut names: Vec<String> =
            users.iter().map(|(key, value)| format!("user{key}@example.com|-|-|n{value}|-")).collect();
        names.sort();
        assert_eq!(pipeline.users().await, names);
        pipeline.finish().await;
    }
}

async fn messages_that_come_again_change_nothing(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let csv = crate::harness::people(200);
    let import = pipeline.accepted(&csv, &ImportOptions::default()).await;
    // Every chunk's message five times, before anybody works, besides what the dispatcher sends.
    let heads = dispatch::lane_heads(&pipeline.store).await.unwrap();
    let chunks: Vec<_> = heads.iter().map(|head| head.chunk).collect();
    for chunk in dispatch::claim(&pipeline.store, &chunks, 60.0).await.unwrap() {
        for _ in 0..5 {
            let headers = muster_queue::Headers {
                version: 1,
                tenant: Some(chunk.tenant.get()),
                import_id: chunk.import.get(),
                chunk_id: chunk.id.get(),
                attempt: chunk.attempt,
                traceparent: None,
            };
            let message = muster_queue::Message { headers, body: chunk.body.clone().into() };
            pipeline.queue.publish(message).await.unwrap();
        }
    }
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(3));
    let report = pipeline.ended(import).await;
    assert_eq!(report.counts, Counts { total: 200, inserted: 200, ..Counts::default() });
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    // Only now has each copy been looked at.
    assert_eq!(pipeline.witness().await, (200, 200));
    let mut connection = pipeline.store.connection().await.unwrap();
    let sums: (i64, i64) = sqlx::query_as("select sum(inserted)::bigint, sum(skipped)::bigint from chunks")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(sums, (200, 0));
    drop(connection);
    pipeline.finish().await;
}

/// Two imports write the same users at the same time: each user is written once, each record has one outcome.
async fn two_imports_of_one_file_share_the_users(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let csv = crate::harness::people(400);
    let first = pipeline.accepted(&csv, &ImportOptions::default()).await;
    let second = pipeline.accepted(&csv, &ImportOptions::default()).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(4));
    let one = pipeline.ended(first).await.counts;
    let two = pipeline.ended(second).await.counts;
    assert_eq!((one.inserted + two.inserted, one.skipped + two.skipped), (400, 400), "{one:?} {two:?}");
    assert_eq!(pipeline.witness().await, (400, 400));
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}
