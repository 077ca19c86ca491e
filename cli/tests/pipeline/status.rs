//! How an import gets on, as everybody is told it: what is in its way, since when, and what it waits for.

use muster_domain::outcome::Counts;
use std::ops::Range;
use std::time::{Duration, Instant};

use muster_domain::chunk::ChunkLimits;
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ChunkState;
use muster_domain::options::{Duplicates, ImportOptions, Start};
use muster_domain::outcome::Outcome;
use muster_domain::progress::{Progress, WaitsFor};
use muster_producer::DispatchOptions;
use muster_runtime::clock;
use muster_store::chunks::{self, ChunkFilter, ChunkReport};
use muster_store::holders::LIVES;
use muster_store::status::{self, Bounds, StalledImports};
use muster_store::{console_figures, dispatch, figures, holders, lifecycle, overview, tenants};
use muster_worker::{Worker, WorkerOptions};

use crate::harness::{Backend, Pipeline, people};
use crate::on_both_queues;
use crate::outages;
use crate::refusals::{deferred, execute, holder};

on_both_queues!(
    an_import_that_the_database_refuses_tells_why_since_when_and_when_it_is_tried_again,
    an_import_that_no_worker_takes_stands_still_and_says_so,
);

/// So short that every import that makes no progress stands still.
const BOUNDS: Bounds = Bounds { window: Some(8), stall_after: Duration::from_millis(1) };

async fn progress(pipeline: &Pipeline, import: ImportId) -> Progress {
    let found = status::of_one(&pipeline.store, pipeline.tenant, import, &BOUNDS).await.unwrap();
    found.expect("it has not ended")
}

async fn listed(pipeline: &Pipeline, import: ImportId, filter: ChunkFilter) -> Vec<ChunkReport> {
    chunks::page(&pipeline.store, pipeline.tenant, import, filter, 1000).await.unwrap().unwrap()
}

/// Looks until the import gets on as wanted.
async fn until(pipeline: &Pipeline, import: ImportId, wanted: impl Fn(&Progress) -> bool) -> Progress {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let progress = progress(pipeline, import).await;
        if wanted(&progress) {
            return progress;
        }
        assert!(Instant::now() < deadline, "it does not come to this: {progress:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const REFUSE_ALL: &str = "create function refuse() returns trigger language plpgsql as $$
     begin
         raise exception 'the value % is refused', new.email using errcode = '53100';
     end $$;
     create trigger refuse before insert or update on users for each row execute function refuse();";

async fn an_import_that_the_database_refuses_tells_why_since_when_and_when_it_is_tried_again(
    backend: Backend,
) {
    let mut pipeline = Pipeline::new(backend).await;
    // No chunk waits for another of its lane.
    pipeline.limits.chunk = ChunkLimits { records: 2000, bytes: 1024 * 1024, lanes: 4 };
    execute(&pipeline, REFUSE_ALL).await;
    let import = pipeline.accepted(&people(50), &ImportOptions::default()).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    deferred(&pipeline, import, 1).await;
    let first = progress(&pipeline, import).await;
    let problem = first.problem.clone().expect("it has a problem");
    assert!(problem.message.contains("SQLSTATE 53100") && !problem.message.contains('@'), "{problem:?}");
    assert!(first.stalled && problem.chunks > 0 && problem.attempts <= 1, "{first:?}");
    deferred(&pipeline, import, 3).await;
    let later = progress(&pipeline, import).await;
    let now = later.problem.clone().unwrap();
    assert_eq!(now.since, problem.since, "it is one trouble since its first problem");
    assert!(now.at > problem.at && now.since.is_some() && now.since < now.at, "{now:?}");
    assert_eq!(later.no_progress_since, first.no_progress_since);
    let waits = until(&pipeline, import, |progress| progress.waits_for == Some(WaitsFor::Retry)).await;
    assert!(waits.problem.unwrap().next_try_at.is_some());
    let troubled = listed(&pipeline, import, ChunkFilter { problem: true, ..ChunkFilter::default() }).await;
    assert!(
        troubled.iter().all(|chunk| chunk.deferrals >= 3 && chunk.problem_since.is_some()),
        "{troubled:?}"
    );
    let stalled = status::stalled(&pipeline.store, &BOUNDS).await.unwrap();
    assert_eq!(stalled.first.iter().map(|one| one.import).collect::<Vec<_>>(), [import]);
    // It goes on by itself, and nothing is left of the trouble.
    execute(&pipeline, "drop trigger refuse on users").await;
    assert_eq!(pipeline.ended(import).await.counts, Counts { total: 50, inserted: 50, ..Counts::default() });
    let all = listed(&pipeline, import, ChunkFilter::default()).await;
    assert!(all.iter().all(|chunk| chunk.problem.is_none() && chunk.problem_since.is_none()), "{all:?}");
    assert!(all.iter().all(|chunk| chunk.ended_at.is_some() && chunk.sent_at <= chunk.ended_at), "{all:?}");
    assert_eq!(status::stalled(&pipeline.store, &BOUNDS).await.unwrap(), StalledImports::default());
    assert_eq!(status::of_one(&pipeline.store, pipeline.tenant, import, &BOUNDS).await.unwrap(), None);
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

async fn an_import_that_no_worker_takes_stands_still_and_says_so(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let import = pipeline.accepted(&people(50), &ImportOptions::default()).await;
    let nobody = until(&pipeline, import, |progress| progress.stalled).await;
    assert_eq!(nobody.waits_for, Some(WaitsFor::Producer));
    let dispatcher = pipeline.dispatcher();
    let waits = until(&pipeline, import, |progress| progress.waits_for == Some(WaitsFor::Worker)).await;
    assert!(waits.stalled && waits.window.import > 0 && waits.window.size == 8, "{waits:?}");
    assert_eq!((waits.problem.as_ref(), waits.rate), (None, None));
    let sent = ChunkFilter { state: Some(ChunkState::Dispatched), ..ChunkFilter::default() };
    let sent = listed(&pipeline, import, sent).await;
    assert!(!sent.is_empty() && sent.iter().all(|chunk| chunk.sent_at.is_some()), "{sent:?}");
    // A worker that is at it is told by its name.
    let mut holder = holder(&pipeline, "lock table users in share mode").await;
    let worker = pipeline.worker(2);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let chunks = listed(&pipeline, import, ChunkFilter::default()).await;
        if chunks.iter().any(|chunk| chunk.holder.as_ref().is_some_and(|name| name.starts_with("worker "))) {
            break;
        }
        assert!(Instant::now() < deadline, "nobody holds them: {chunks:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until(&pipeline, import, |progress| progress.waits_for.is_none()).await;
    sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    assert_eq!(pipeline.ended(import).await.counts, Counts { total: 50, inserted: 50, ..Counts::default() });
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// Two statements, each within its limit and both together longer than a step may take: the database seems to say nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_waits_for_a_silent_database_says_so() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.import("email\nuser7@example.com\n", &ImportOptions::default()).await;
    let slow = "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(3.4); return null; end $$";
    execute(&pipeline, slow).await;
    execute(
        &pipeline,
        "create trigger slow after insert or update on users for each statement execute function slow()",
    )
    .await;
    let import = pipeline.accepted(&people(20), &ImportOptions::default()).await;
    let dispatcher = pipeline.dispatcher();
    let options = WorkerOptions { deadline: Duration::from_secs(6), ..outages::options() };
    let worker = Worker::start(pipeline.store.clone(), pipeline.queue.clone(), options);
    let waits = until(&pipeline, import, |progress| progress.problem.is_some()).await;
    let problem = waits.problem.unwrap();
    assert_eq!(problem.message, "the database did not answer within 6 s");
    assert!(problem.chunks > 0 && problem.since.is_some(), "{problem:?}");
    // Before the worker gives up and has it written with the chunk.
    assert!(listed(&pipeline, import, ChunkFilter::default()).await.iter().all(|chunk| chunk.deferrals == 0));
    let held = console_figures::held_up(&pipeline.store, pipeline.tenant, import, 10).await.unwrap();
    assert!(held.iter().any(|chunk| chunk.problem.as_ref() == Some(&problem.message)), "{held:?}");
    let stuck = overview::stuck(&pipeline.store, pipeline.tenant, 10).await.unwrap();
    assert_eq!(stuck.all, 1);
    let processes = holders::list(&pipeline.store).await.unwrap();
    assert!(processes.iter().any(|process| process.problem.is_some()), "{processes:?}");
    execute(&pipeline, "alter table users disable trigger slow").await;
    let counts = pipeline.ended(import).await.counts;
    assert_eq!(counts, Counts { total: 20, inserted: 19, updated: 1, ..Counts::default() });
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// Every producer tells it, not only the one that cannot publish.
#[cfg(feature = "faults")]
#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_messages_the_queue_does_not_take_says_so_until_it_does() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    fail::cfg("before_publish", "return(error)").unwrap();
    let import = pipeline.accepted(&people(50), &ImportOptions::default()).await;
    let dispatcher = pipeline.dispatcher();
    let refused = until(&pipeline, import, |progress| progress.problem.is_some()).await;
    let problem = refused.problem.unwrap();
    assert!(problem.message.starts_with("the queue does not accept it: "), "{problem:?}");
    let since = problem.since.expect("since when");
    until(&pipeline, import, |progress| progress.problem.as_ref().is_some_and(|now| now.at > problem.at))
        .await;
    assert_eq!(progress(&pipeline, import).await.problem.unwrap().since, Some(since));
    fail::remove("before_publish");
    // What is published is in no trouble, though nobody has applied it.
    until(&pipeline, import, |progress| progress.problem.is_none() && progress.window.import > 0).await;
    let worker = pipeline.worker(2);
    assert_eq!(pipeline.ended(import).await.counts, Counts { total: 50, inserted: 50, ..Counts::default() });
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_met_stays_told_when_the_queue_takes_nothing() {
    let pipeline = Pipeline::new(Backend::Postgres).await;
    let import = pipeline.accepted(&people(1), &ImportOptions::default()).await;
    let chunk = listed(&pipeline, import, ChunkFilter::default()).await[0].id;
    let refused = async |met: Option<&str>| -> String {
        sqlx::query(
            "update chunks set attempts = case when $2::text is null then 0 else 1 end, problem = $2, problem_at = now(),
                               problem_since = now()
              where id = $1",
        )
        .bind(chunk.get())
        .bind(met)
        .execute(pipeline.store.pool())
        .await
        .unwrap();
        assert_eq!(dispatch::claim(&pipeline.store, &[chunk], 60.0).await.unwrap().len(), 1);
        dispatch::unclaim(&pipeline.store, chunk, "the queue is away").await.unwrap();
        sqlx::query_scalar("select problem from chunks where id = $1")
            .bind(chunk.get())
            .fetch_one(pipeline.store.pool())
            .await
            .unwrap()
    };
    assert_eq!(refused(None).await, "the queue is away");
    assert_eq!(refused(Some("the database refuses it")).await, "the database refuses it");
    lifecycle::cancel(&pipeline.store, pipeline.tenant, import).await.unwrap();
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_waits_for_its_turn_or_for_people_does_not_stand_still() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let older = pipeline.accepted(&people(200), &ImportOptions::default()).await;
    let younger = pipeline.accepted(&people(20), &ImportOptions::default()).await;
    let one =
        DispatchOptions { window: Some(1), poll: Duration::from_millis(50), ..DispatchOptions::default() };
    let dispatcher = muster_producer::Dispatcher::start(pipeline.store.clone(), pipeline.queue.clone(), one);
    let bounds = Bounds { window: Some(1), ..BOUNDS };
    let deadline = Instant::now() + Duration::from_secs(60);
    // A worker that lives and takes nothing: it waits for the lock.
    let mut holder = holder(&pipeline, "lock table users in share mode").await;
    let worker = pipeline.worker(1);
    loop {
        let known = status::of(&pipeline.store, pipeline.tenant, &[older, younger], &bounds).await.unwrap();
        let (first, second) = (&known[&older], &known[&younger]);
        if first.window.import == 1 && second.waits_for == Some(WaitsFor::Turn) {
            assert_eq!((second.stalled, second.ahead, second.window.tenant), (false, 1, 1), "{second:?}");
            break;
        }
        assert!(Instant::now() < deadline, "{known:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lifecycle::pause(&pipeline.store, pipeline.tenant, younger).await.unwrap();
    let paused = progress(&pipeline, younger).await;
    assert_eq!((paused.stalled, paused.waits_for), (false, Some(WaitsFor::Resume)));
    lifecycle::resume(&pipeline.store, pipeline.tenant, younger).await.unwrap();
    let resumed = progress(&pipeline, younger).await;
    assert!(resumed.no_progress_since > paused.no_progress_since, "it begins anew: {resumed:?} {paused:?}");
    sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    dispatch::wake(&pipeline.store).await.unwrap();
    assert_eq!(pipeline.ended(younger).await.counts.total, 20);
    assert_eq!(pipeline.ended(older).await.counts.total, 200);
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// The words of a function in the database may quote a row; those of the server about a constraint do not.
#[tokio::test(flavor = "multi_thread")]
async fn the_databases_own_words_are_told_where_they_hold_no_value() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    execute(&pipeline, "alter table users add constraint thirteen check (given_name not like '% 13')").await;
    execute(
        &pipeline,
        "create function refuse() returns trigger language plpgsql as $$
         begin
             if new.email = 'user7@example.com' then
                 raise exception 'the value % is refused', new.email using errcode = '42501';
             end if;
             return new;
         end $$;
         create trigger refuse before insert or update on users for each row execute function refuse();",
    )
    .await;
    let report = pipeline.import(&people(20), &ImportOptions::default()).await;
    assert_eq!(report.counts, Counts { total: 20, inserted: 18, failed: 2, ..Counts::default() });
    let failed = pipeline.records(report.id, Some(Outcome::Failed)).await;
    let (raised, checked) = (&failed[0].errors[0].message, &failed[1].errors[0].message);
    assert!(raised.contains("42501") && !raised.contains("user7"), "{raised}");
    assert!(checked.contains("violates check constraint \"thirteen\""), "{checked}");
    pipeline.finish().await;
}

/// Copies of an import and its chunks, as though they had run for so long. Their ids are in the order of their numbers.
async fn copied(pipeline: &Pipeline, of: ImportId, tenant: TenantId, numbers: Range<i32>, ran: &str) {
    let mut connection = pipeline.store.connection().await.unwrap();
    sqlx::query(
        "with source as (select * from imports where id = $1),
              copies as (
                  insert into imports (id, tenant_id, state, options, started_at, state_since, alive_until)
                  select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, $2, 'running', options,
                         now() - $5::interval, now() - $5::interval, now() + interval '1 hour'
                    from source, generate_series($3, $4 - 1) as n
                  returning id)
         insert into chunks (import_id, tenant_id, lane, seq, state, first_record, last_record, records, pending,
                             body_hash, body)
         select copies.id, $2, c.lane, c.seq, 'staged', c.first_record, c.last_record, c.records, c.records, c.body_hash, c.body
           from copies, chunks as c
          where c.import_id = $1",
    )
    .bind(of.get())
    .bind(tenant.get())
    .bind(numbers.start)
    .bind(numbers.end)
    .bind(ran)
    .execute(&mut connection)
    .await
    .unwrap();
}

/// Those that wait for others are nobody's fault, and neither they nor imports of disabled tenants are in the way of the others.
#[tokio::test(flavor = "multi_thread")]
async fn imports_that_stand_still_are_found_behind_any_number_that_wait() {
    let pipeline = Pipeline::new(Backend::Postgres).await;
    let store = &pipeline.store;
    let manual = ImportOptions { start: Start::Manual, ..ImportOptions::default() };
    let source = pipeline.accepted(&people(1), &manual).await;
    let other = tenants::create(store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner().id;
    // A window that is full, and a dispatcher and a worker that live.
    let ids = (clock::new_id(), clock::new_id());
    let live = async || {
        holders::say(store, ids.0, "dispatcher 1", None, &[], None).await.unwrap();
        holders::say(store, ids.1, "worker 1", None, &[], None).await.unwrap();
    };
    copied(&pipeline, source, pipeline.tenant, 0..150, "1 hour").await;
    copied(&pipeline, source, other, 150..153, "2 hours").await;
    copied(&pipeline, source, pipeline.tenant, 153..154, "1 minute").await;
    let sql = "update chunks set state = 'retryable', problem = 'the disk is full', problem_at = now(), problem_since = now(),
                      due_at = now() + interval '1 hour'
                where import_id = (select id from imports where state = 'running' order by started_at desc limit 1)";
    execute(&pipeline, sql).await;
    // No place in the window is free, so that whoever has no problem waits for others.
    let full = Bounds { window: Some(0), ..BOUNDS };
    live().await;
    let stalled = status::stalled(store, &full).await.unwrap();
    assert_eq!((stalled.count, stalled.first.len()), (1, 1), "{stalled:?}");
    assert_eq!(stalled.first[0].progress.problem.as_ref().unwrap().message, "the disk is full");
    // Places are free, and nothing is sent: all of them stand still, the longest first, and as many are told as can be read.
    let free = Bounds { window: Some(8), ..BOUNDS };
    live().await;
    let stalled = status::stalled(store, &free).await.unwrap();
    assert_eq!((stalled.count, stalled.first.len()), (154, status::TOLD));
    assert_eq!(stalled.first[0].tenant, other);
    assert_eq!(stalled.first[0].progress.waits_for, Some(WaitsFor::Dispatch));
    tenants::set_disabled(store, &"other".parse().unwrap(), true).await.unwrap();
    live().await;
    let stalled = status::stalled(store, &free).await.unwrap();
    assert_eq!((stalled.count, stalled.first[0].tenant), (151, pipeline.tenant));
    // They count for the age of the oldest import neither.
    live().await;
    let figures = figures::read(store, &free).await.unwrap();
    assert!((3600.0..7200.0).contains(&figures.oldest_seconds), "{figures:?}");
    assert_eq!((figures.around.workers, figures.around.dispatchers), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_which_nothing_is_left_waits_for_a_producer_to_complete_it() {
    let pipeline = Pipeline::new(Backend::Postgres).await;
    let import = pipeline.accepted(&people(20), &ImportOptions::default()).await;
    execute(&pipeline, "update chunks set state = 'dead', problem_at = now(), pending = 0, failed = records")
        .await;
    let waits = progress(&pipeline, import).await;
    assert_eq!((waits.stalled, waits.waits_for), (true, Some(WaitsFor::Producer)));
    let stalled = status::stalled(&pipeline.store, &BOUNDS).await.unwrap();
    assert_eq!(stalled.first.iter().map(|one| one.import).collect::<Vec<_>>(), [import]);
}

/// What it did before it was paused, and before a retry, says nothing of how fast it goes now.
#[tokio::test(flavor = "multi_thread")]
async fn the_rate_counts_from_the_last_move_on_and_without_what_a_retry_opened_again() {
    let pipeline = Pipeline::new(Backend::Postgres).await;
    let import = pipeline.accepted(&people(100), &ImportOptions::default()).await;
    // Where no worker or no producer lives, nothing is told of how fast it goes.
    let (worker, producer) = (clock::new_id(), clock::new_id());
    let rate = async || {
        holders::say(&pipeline.store, worker, "worker 1", None, &[], None).await.unwrap();
        holders::say(&pipeline.store, producer, "dispatcher 1", None, &[], None).await.unwrap();
        progress(&pipeline, import).await.rate
    };
    // Chunks are applied by hand here.
    execute(&pipeline, "drop trigger witness on chunks").await;
    let applied = "update chunks set state = 'applied', applied_at = now(), pending = 0, inserted = records
                    where seq = 0 and lane = (select min(lane) from chunks)";
    execute(&pipeline, applied).await;
    assert!(rate().await.is_some());
    lifecycle::pause(&pipeline.store, pipeline.tenant, import).await.unwrap();
    lifecycle::resume(&pipeline.store, pipeline.tenant, import).await.unwrap();
    assert_eq!(rate().await, None, "nothing was applied since");
    execute(&pipeline, "update chunks set applied_at = now() where state = 'applied'").await;
    assert!(rate().await.is_some());
    execute(&pipeline, "update chunks set reopened = 1 where state = 'applied'").await;
    assert_eq!(rate().await, None, "most of its records had their outcome before");
}

/// Workers that are gone are gone everywhere after the same time.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_says_nothing_for_some_seconds_is_listed_no_more() {
    let pipeline = Pipeline::new(Backend::Postgres).await;
    holders::say(&pipeline.store, clock::new_id(), "worker 1", None, &[], None).await.unwrap();
    assert_eq!(holders::list(&pipeline.store).await.unwrap().len(), 1);
    let later =
        format!("update chunk_holders set seen_at = seen_at - interval '{} seconds'", LIVES.as_secs() + 1);
    sqlx::raw_sql(sqlx::AssertSqlSafe(later)).execute(pipeline.store.pool()).await.unwrap();
    assert_eq!(holders::list(&pipeline.store).await.unwrap(), []);
    let around = status::surroundings(pipeline.store.pool(), &BOUNDS).await.unwrap();
    assert_eq!(around.workers, 0);
    pipeline.finish().await;
}

/// A chunk may come to its end while it is staged: all of its records are invalid, or repeat others.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_ends_while_it_is_staged_says_when() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.limits.chunk = ChunkLimits { records: 1, bytes: 64 * 1024, lanes: 1 };
    let options =
        ImportOptions { start: Start::Manual, duplicates: Duplicates::Refuse, ..ImportOptions::default() };
    let csv = "email\na@example.com\nnonsense\nA@example.com\nb@example.com\n";
    let import = pipeline.accepted(csv, &options).await;
    let chunks = listed(&pipeline, import, ChunkFilter::default()).await;
    let told: Vec<_> = chunks.iter().map(|chunk| (chunk.state, chunk.ended_at.is_some())).collect();
    let (ended, open) = ((ChunkState::Applied, true), (ChunkState::Staged, false));
    assert_eq!(told, [open, ended, ended, open]);
}
