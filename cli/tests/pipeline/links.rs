//! The link to the broker or the database: away, going up and down, or slow. What was accepted is applied once, and no attempt is
//! spent.

use muster_domain::outcome::Counts;
use std::time::{Duration, Instant};

use muster_domain::chunk::ChunkLimits;
use muster_domain::options::ImportOptions;
use muster_producer::{DispatchOptions, Dispatcher};

use crate::harness::{Backend, Pipeline, people};
use crate::on_both_queues;
use crate::outages::{Away, options, progress};
use crate::refusals::chunks;

on_both_queues!(a_slow_link_costs_time_and_nothing_else);

/// A dispatcher that reaches the broker by the same way as the worker.
fn dispatcher(pipeline: &Pipeline, away: &Away) -> Dispatcher {
    let options =
        DispatchOptions { window: Some(8), poll: Duration::from_millis(50), ..DispatchOptions::default() };
    Dispatcher::start(pipeline.store.clone(), away.queue.clone(), options)
}

/// Ends everything, and makes sure that nobody paid for the link.
async fn finish(pipeline: Pipeline, dispatcher: Dispatcher, worker: muster_worker::Worker) {
    let mut connection = pipeline.store.connection().await.unwrap();
    let spent: i64 =
        sqlx::query_scalar("select count(*) from chunks where attempts > 0 or state <> 'applied'")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(spent, 0, "chunks that spent an attempt");
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.queue.delete().await.unwrap();
}

/// The whole broker is away: every upload is accepted, and applied once it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_are_accepted_while_the_broker_is_away_and_applied_when_it_is_back() {
    let mut pipeline = Pipeline::new(Backend::Rabbit).await;
    let away = Away::new(&mut pipeline, Backend::Rabbit).await;
    let broker = away.broker.as_ref().unwrap();
    let (dispatcher, worker) = (dispatcher(&pipeline, &away), away.worker(options()));
    let first = pipeline.accepted(&people(100), &ImportOptions::default()).await;
    assert_eq!(pipeline.ended(first).await.counts, Counts { total: 100, inserted: 100, ..Counts::default() });
    broker.refuse();
    broker.cut();
    let mut imports = Vec::new();
    for number in 0..5 {
        let csv = people(100).replace("user", &format!("away{number}-"));
        imports.push(pipeline.accepted(&csv, &ImportOptions::default()).await);
        // Both have tried in vain in between.
        broker.until_refused(2 * (number + 1)).await;
    }
    for import in &imports {
        assert_eq!(pipeline.report(*import).await.counts.pending, 100, "nothing carries it");
    }
    broker.pass();
    let back = Instant::now();
    progress(&pipeline, imports[0], 1).await;
    println!("broker back, work resumed after {:?}", back.elapsed());
    for import in imports {
        assert_eq!(
            pipeline.ended(import).await.counts,
            Counts { total: 100, inserted: 100, ..Counts::default() }
        );
    }
    assert_eq!(pipeline.witness().await, (600, 600));
    finish(pipeline, dispatcher, worker).await;
}

/// The link goes down and up again while work goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_to_the_broker_that_goes_up_and_down_loses_nothing() {
    const FLAPS: u32 = 10;
    let mut pipeline = Pipeline::new(Backend::Rabbit).await;
    pipeline.limits.chunk = ChunkLimits { records: 10, bytes: 64 * 1024, lanes: 8 };
    let away = Away::new(&mut pipeline, Backend::Rabbit).await;
    let broker = away.broker.as_ref().unwrap();
    let import = pipeline.accepted(&people(2000), &ImportOptions::default()).await;
    let (dispatcher, worker) = (dispatcher(&pipeline, &away), away.worker(options()));
    for flap in 1..=FLAPS {
        let before = pipeline.report(import).await.counts.inserted;
        progress(&pipeline, import, before + 60).await;
        let refused = broker.refused();
        broker.refuse();
        broker.cut();
        broker.until_refused(refused + 2).await;
        broker.pass();
        println!("down {flap} times, {before} records were applied before");
    }
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 2000, inserted: 2000, ..Counts::default() }
    );
    assert_eq!(pipeline.witness().await, (2000, 2000));
    finish(pipeline, dispatcher, worker).await;
}

/// Everything a worker and a dispatcher say and hear comes 50 ms late: nobody takes the other for dead.
async fn a_slow_link_costs_time_and_nothing_else(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let away = Away::new(&mut pipeline, backend).await;
    let (dispatcher, worker) = (dispatcher(&pipeline, &away), away.worker(options()));
    let first = pipeline.accepted(&people(100), &ImportOptions::default()).await;
    assert_eq!(pipeline.ended(first).await.counts, Counts { total: 100, inserted: 100, ..Counts::default() });
    let late = Duration::from_millis(50);
    away.database.delay(late);
    if let Some(broker) = &away.broker {
        broker.delay(late);
    }
    let connected = away.broker.as_ref().map(|broker| broker.connected());
    let csv = people(300).replace("user", "slow");
    let began = Instant::now();
    let second = pipeline.accepted(&csv, &ImportOptions::default()).await;
    assert_eq!(
        pipeline.ended(second).await.counts,
        Counts { total: 300, inserted: 300, ..Counts::default() }
    );
    assert!(began.elapsed() > 4 * late, "the link was not slow");
    assert_eq!(
        away.broker.as_ref().map(|broker| broker.connected()),
        connected,
        "no connection was given up"
    );
    assert_eq!(pipeline.witness().await, (400, 400));
    let chunks = chunks(&pipeline, second).await;
    assert!(chunks.iter().all(|(_, _, attempts, deferrals)| (*attempts, *deferrals) == (0, 0)), "{chunks:?}");
    away.database.delay(Duration::ZERO);
    finish(pipeline, dispatcher, worker).await;
}
