//! Retry: what it reopens, what it leaves, and what it meets meanwhile.

use muster_domain::chunk::ChunkLimits;
use muster_domain::error::RecordError;
use muster_domain::id::{ChunkId, ImportId};
use muster_domain::import::ImportState;
use muster_domain::options::{HeaderNames, ImportOptions};
use muster_domain::outcome::Counts;
use muster_domain::outcome::Outcome;
use muster_runtime::clock;
use muster_store::lifecycle::{self, Transition};
use muster_store::problems::{self, Cause};
use muster_store::records::{self, RecordFilter, RecordReport};
use muster_store::{Store, StoreOptions, apply, console_figures, dispatch};
use muster_testkit::proxy::{Proxy, Then};
use sqlx::{Connection, PgConnection};

use crate::harness::{Backend, Pipeline, people};

mod superseded;

/// `n` users, of whom every tenth has no valid address.
fn some_invalid(n: usize) -> String {
    let valid = |at: usize| if at % 10 == 3 { String::new() } else { format!("user{at}@example.com") };
    (0..n).fold(String::from("email,first_name\n"), |csv, at| csv + &format!("{},Zoë\n", valid(at)))
}

/// Numbers of the failed records, as the file of failed records tells them.
async fn told(pipeline: &Pipeline, import: ImportId) -> Vec<u64> {
    let failed = records::failed(&pipeline.store, pipeline.tenant, import, 0, 1_000, 1 << 24).await.unwrap();
    assert!(failed.iter().all(|record| !record.errors.is_empty()));
    failed.into_iter().map(|record| record.record).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_leaves_the_errors_of_records_that_stay_failed() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let import = pipeline.accepted(&some_invalid(400), &ImportOptions::default()).await;
    let invalid: Vec<u64> = (0..40).map(|ten| ten * 10 + 4).collect();
    assert_eq!(told(&pipeline, import).await, invalid);
    assert_eq!(
        lifecycle::pause(&store, tenant, import).await.unwrap(),
        Transition::Done(ImportState::Paused)
    );
    // No chunk has ended, so none is reopened.
    assert_eq!(
        lifecycle::retry(&store, tenant, import).await.unwrap(),
        Transition::Done(ImportState::Paused)
    );
    assert_eq!(told(&pipeline, import).await, invalid);
    // One has ended: it alone is reopened, whatever its fellows hold.
    let first: i64 = sqlx::query_scalar("select min(id) from chunks").fetch_one(store.pool()).await.unwrap();
    assert!(apply::mark_dead(&store, ChunkId::new(first), "for a test").await.unwrap());
    assert!(told(&pipeline, import).await.len() > invalid.len());
    assert_eq!(
        lifecycle::retry(&store, tenant, import).await.unwrap(),
        Transition::Done(ImportState::Paused)
    );
    let left = pipeline.report(import).await.counts.failed;
    assert!(left > 0 && told(&pipeline, import).await.len() as u64 == left, "{left} failed");
    // Some have ended.
    lifecycle::resume(&store, tenant, import).await.unwrap();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(1));
    while pipeline.report(import).await.chunks.applied == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        let steered = lifecycle::retry(&store, tenant, import).await.unwrap();
        assert!(matches!(steered, Transition::Done(_)), "{steered:?}");
        pipeline.report(import).await;
        pipeline.records(import, None).await;
    }
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 400, inserted: 360, failed: 40, ..Counts::default() }
    );
    assert_eq!(told(&pipeline, import).await, invalid);
    assert_eq!(pipeline.witness().await, (360, 360));
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// The picture over time tells each record once: those that were applied before a retry at the time of that.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_one_record_is_told_as_one_record() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    // All of them in one chunk.
    pipeline.limits.chunk = ChunkLimits { lanes: 1, ..pipeline.limits.chunk };
    refuse_name(&pipeline, "Ada").await;
    let csv = "email,first_name\nada@example.com,Ada\nbea@example.com,Bea\ncea@example.com,Cea\nnobody,Dea\n";
    let import = pipeline.import(csv, &ImportOptions::default()).await.id;
    let settled = async || {
        let whole = console_figures::settled_of_import(&store, tenant, import, 60.0).await.unwrap();
        let since = clock::now() - chrono::TimeDelta::hours(6);
        assert_eq!(console_figures::settled(&store, tenant, since, 60.0).await.unwrap(), whole);
        whole.into_iter().map(|stretch| (stretch.done, stretch.failed)).collect::<Vec<_>>()
    };
    assert_eq!(settled().await, [(2, 2)]);
    let mut connection = store.connection().await.unwrap();
    // Without the witness, which takes this for a second application.
    sqlx::raw_sql(
        "set session_replication_role = replica;
         update chunks set applied_at = applied_at - interval '1 hour';
         reset session_replication_role",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    sqlx::raw_sql("alter table users drop constraint refused").execute(&mut connection).await.unwrap();
    assert_eq!(
        lifecycle::retry(&store, tenant, import).await.unwrap(),
        Transition::Done(ImportState::Running)
    );
    assert_eq!(settled().await, [(2, 0)], "what is tried once more has no outcome");
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(1));
    let counts = pipeline.ended(import).await.counts;
    assert_eq!((counts.inserted, counts.failed), (3, 1));
    assert_eq!(settled().await, [(2, 0), (1, 1)]);
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// A record that the database refuses and one that is invalid, both with a line break in a name. Nobody looks at the file once more, so
/// that it was there is told for as long as the import is; and what fails again still says what mends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_keeps_what_was_found_in_the_file() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    refuse_name(&pipeline, "Ada B.").await;
    let options = ImportOptions { header_names: HeaderNames::Common, ..ImportOptions::default() };
    let csv = "email,first_name,phone_number\n\
               ada@example.com,\"Ada\nB.\",\nbea@example.com,\"Bea\nC.\",0151 234567\n";
    let import = pipeline.import(csv, &options).await.id;
    let told = |records: Vec<RecordReport>| -> Vec<(Outcome, Vec<String>, Vec<RecordError>)> {
        records.into_iter().map(|record| (record.outcome, record.warnings, record.errors)).collect()
    };
    let before = told(pipeline.records(import, None).await);
    let folded = vec!["first_name holds a line break; it was replaced by a blank.".to_owned()];
    assert!(before.iter().all(|(outcome, warnings, _)| *outcome == Outcome::Failed && *warnings == folded));
    assert!(before[1].2[0].message.contains("--phone-country"), "{before:?}");
    // While they are to be tried once more they have no errors.
    assert_eq!(
        lifecycle::retry(&store, tenant, import).await.unwrap(),
        Transition::Done(ImportState::Running)
    );
    let pending = (Outcome::Pending, folded.clone(), Vec::new());
    assert_eq!(told(pipeline.records(import, None).await), [pending.clone(), pending]);
    let mut connection = store.connection().await.unwrap();
    sqlx::raw_sql("alter table users drop constraint refused").execute(&mut connection).await.unwrap();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 2, inserted: 1, failed: 1, ..Counts::default() }
    );
    let inserted = (Outcome::Inserted, folded, Vec::new());
    assert_eq!(told(pipeline.records(import, None).await), [inserted, before[1].clone()]);
    // Only the record that failed keeps its source.
    let sources = "select source is not null from record_issues order by record";
    let sources: Vec<bool> = sqlx::query_scalar(sources).fetch_all(&mut connection).await.unwrap();
    assert_eq!(sources, [false, true]);
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// An import of two chunks of one record, both failed.
async fn all_failed(pipeline: &mut Pipeline) -> ImportId {
    pipeline.limits.chunk.records = 1;
    let mut connection = pipeline.store.connection().await.unwrap();
    sqlx::raw_sql("alter table users add constraint nobody check (false)")
        .execute(&mut connection)
        .await
        .unwrap();
    let report = pipeline.import(&people(2), &ImportOptions::default()).await;
    assert_eq!(report.counts, Counts { total: 2, failed: 2, ..Counts::default() });
    sqlx::raw_sql("alter table users drop constraint nobody").execute(&mut connection).await.unwrap();
    report.id
}

/// Until a session of the database waits for a lock.
async fn somebody_waits(connection: &mut PgConnection) {
    let waiting = "select exists (select from pg_stat_activity
                                   where datname = current_database() and wait_event_type = 'Lock')";
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&mut *connection).await.unwrap() {
        assert!(std::time::Instant::now() < deadline, "nobody waits");
        tokio::task::yield_now().await;
    }
}

/// A reader that has seen which records failed, and waits before it sees why, while a retry makes them pending.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_records_is_of_one_moment() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let import = all_failed(&mut pipeline).await;
    let options = pipeline.report(import).await.options;
    let mut operator = store.connection().await.unwrap();
    let mut holder = store.connection().await.unwrap();
    let mut held = holder.begin().await.unwrap();
    sqlx::raw_sql("lock table record_issues in access exclusive mode").execute(&mut *held).await.unwrap();
    let reading = tokio::spawn(async move {
        records::page(&store, tenant, import, &options, RecordFilter::default(), 10).await.unwrap()
    });
    somebody_waits(&mut operator).await;
    sqlx::query("delete from record_issues where import_id = $1")
        .bind(import.get())
        .execute(&mut *held)
        .await
        .unwrap();
    sqlx::query(
        "update chunks set state = 'staged', outcomes = null, pending = 1, failed = 0 where import_id = $1",
    )
    .bind(import.get())
    .execute(&mut *held)
    .await
    .unwrap();
    held.commit().await.unwrap();
    let page = reading.await.unwrap();
    assert!(
        page.iter().all(|record| record.outcome == Outcome::Failed && !record.errors.is_empty()),
        "{page:?}"
    );
    pipeline.finish().await;
}

/// The COMMIT reaches the server or does not, and its answer never comes: read again, so that who steers is told what it came to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_or_a_cancel_whose_commit_is_not_answered_is_told_what_it_came_to() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let tenant = pipeline.tenant;
    let import = all_failed(&mut pipeline).await;
    let (proxy, through) = Proxy::before_database(&pipeline.database().target()).await;
    let options = StoreOptions { max_connections: 4, ..StoreOptions::default() };
    let far = Store::connect(through, &options).await.unwrap();
    let swallowed = async |then| {
        let rule = proxy.when("COMMIT", 1, then);
        let steered = match pipeline.report(import).await.state {
            ImportState::Completed => lifecycle::retry(&far, tenant, import).await,
            _ => lifecycle::cancel(&far, tenant, import).await,
        };
        assert_eq!(rule.hits(), 1);
        (steered, pipeline.report(import).await.state)
    };
    let (retried, state) = swallowed(Then::CutBefore).await;
    assert!(retried.is_err() && state == ImportState::Completed, "{retried:?} {state}");
    let (retried, state) = swallowed(Then::SwallowReply).await;
    assert_eq!((retried.unwrap(), state), (Transition::Done(ImportState::Running), ImportState::Running));
    let (cancelled, state) = swallowed(Then::CutBefore).await;
    assert!(cancelled.is_err() && state == ImportState::Running, "{cancelled:?} {state}");
    let (cancelled, state) = swallowed(Then::SwallowReply).await;
    assert_eq!(
        (cancelled.unwrap(), state),
        (Transition::Done(ImportState::Cancelled), ImportState::Cancelled)
    );
    pipeline.finish().await;
}

/// Bodies are damaged where they are stored. The records have outcomes all the same, and each that failed has an error (P2).
#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_dead_chunk_that_cannot_be_read_have_errors() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let import = pipeline.accepted(&some_invalid(400), &ImportOptions::default()).await;
    // Two of the chunks that lie beside each other, and one by itself.
    let damaged = "update chunks set body = '\\x01ffff'
                    where id in (select id from chunks order by id limit 2) or id = (select max(id) from chunks)";
    let mut connection = store.connection().await.unwrap();
    assert_eq!(sqlx::query(damaged).execute(&mut connection).await.unwrap().rows_affected(), 3);
    let unreadable: i64 = sqlx::query_scalar("select sum(records) from chunks where body = '\\x01ffff'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    // Also before they are dead, each has its number.
    assert_eq!(pipeline.records(import, None).await.len(), 400);
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    for retried in [false, true] {
        if retried {
            lifecycle::retry(&store, tenant, import).await.unwrap();
        }
        let report = pipeline.ended(import).await;
        assert_eq!(report.chunks.dead, 3);
        let records = pipeline.records(import, None).await;
        let numbers: Vec<u64> = records.iter().map(|record| record.record).collect();
        assert_eq!(numbers, (1..=400).collect::<Vec<u64>>(), "each number once, in file order");
        let failed = told(&pipeline, import).await;
        assert_eq!(failed.len() as u64, report.counts.failed);
        let dead = records.iter().filter(|record| {
            record.errors.iter().any(|error| error.code == muster_domain::error::ErrorCode::ChunkDead)
        });
        let invalid = records.iter().filter(|record| {
            record.errors.iter().any(|error| error.code != muster_domain::error::ErrorCode::ChunkDead)
        });
        let (dead, invalid) = (dead.count(), invalid.count());
        assert!(dead > 0 && dead < usize::try_from(unreadable).unwrap() + 1, "{dead} of {unreadable}");
        assert_eq!(dead + invalid, failed.len());
    }
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// The dispatcher is about to complete an import, and waits for a retry that has not committed.
#[tokio::test(flavor = "multi_thread")]
async fn completing_neither_waits_for_a_retry_nor_misses_what_it_opened() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let import = all_failed(&mut pipeline).await;
    let mut operator = store.connection().await.unwrap();
    // As it stands between the last chunk's end and its completion.
    sqlx::query(
        "update imports set state = 'running', completed_at = null, final_counts = null where id = $1",
    )
    .bind(import.get())
    .execute(&mut operator)
    .await
    .unwrap();
    let mut holder = store.connection().await.unwrap();
    let mut held = holder.begin().await.unwrap();
    // What retry does, step by step: the import's row first, then the chunks.
    sqlx::query("select from imports where id = $1 for no key update")
        .bind(import.get())
        .execute(&mut *held)
        .await
        .unwrap();
    let mut completing = tokio::spawn({
        let store = store.clone();
        async move { dispatch::complete_ended(&store).await.unwrap() }
    });
    let waited = tokio::select! {
        () = somebody_waits(&mut operator) => true,
        completed = &mut completing => {
            assert_eq!(completed.unwrap().imports, []);
            false
        }
    };
    sqlx::query("delete from record_issues where import_id = $1")
        .bind(import.get())
        .execute(&mut *held)
        .await
        .unwrap();
    sqlx::query(
        "update chunks set state = 'staged', outcomes = null, pending = 1, failed = 0, reopened = 1
                   where import_id = $1",
    )
    .bind(import.get())
    .execute(&mut *held)
    .await
    .unwrap();
    held.commit().await.unwrap();
    if waited {
        assert_eq!(completing.await.unwrap().imports, []);
        panic!("completing waited for the retry, and all other imports with it");
    }
    assert_eq!(pipeline.report(import).await.state, ImportState::Running);
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(1));
    assert_eq!(pipeline.ended(import).await.counts, Counts { total: 2, inserted: 2, ..Counts::default() });
    assert_eq!(
        lifecycle::retry(&store, tenant, import).await.unwrap(),
        Transition::Done(ImportState::Completed)
    );
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_frees_an_import_that_is_completed_with_open_chunks() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let import = pipeline.accepted(&people(50), &ImportOptions::default()).await;
    let mut operator = store.connection().await.unwrap();
    sqlx::query("update imports set state = 'completed', completed_at = now() where id = $1")
        .bind(import.get())
        .execute(&mut operator)
        .await
        .unwrap();
    assert_eq!(
        lifecycle::retry(&store, tenant, import).await.unwrap(),
        Transition::Done(ImportState::Running)
    );
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(pipeline.ended(import).await.counts, Counts { total: 50, inserted: 50, ..Counts::default() });
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// Chunks of one record, retried again and again while they end and the import completes: it is never completed with a
/// record that is still to come.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn retrying_while_completing_leaves_no_record_pending() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let import = all_failed(&mut pipeline).await;
    let mut operator = store.connection().await.unwrap();
    sqlx::raw_sql("alter table users add constraint nobody check (false)")
        .execute(&mut operator)
        .await
        .unwrap();
    let worker = pipeline.worker(2);
    let dispatcher = pipeline.dispatcher();
    let mut completed = 0;
    for _ in 0..60 {
        // Two at once: the second finds nothing, or what has failed again meanwhile.
        let (one, other) =
            tokio::join!(lifecycle::retry(&store, tenant, import), lifecycle::retry(&store, tenant, import));
        assert!(matches!((one.unwrap(), other.unwrap()), (Transition::Done(_), Transition::Done(_))));
        dispatch::complete_ended(&store).await.unwrap();
        let report = pipeline.report(import).await;
        if report.state == ImportState::Completed {
            completed += 1;
            assert_eq!(report.counts, Counts { total: 2, failed: 2, ..Counts::default() });
        }
    }
    println!("completed {completed} of 60 times");
    assert_eq!(pipeline.ended(import).await.counts, Counts { total: 2, failed: 2, ..Counts::default() });
    assert_eq!(pipeline.records(import, Some(Outcome::Failed)).await.len(), 2);
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// Refuses every user with this name for as long as it is there.
async fn refuse_name(pipeline: &Pipeline, name: &str) {
    let mut connection = pipeline.store.connection().await.unwrap();
    let rule = format!("alter table users add constraint refused check (given_name <> '{name}')");
    sqlx::raw_sql(sqlx::AssertSqlSafe(rule)).execute(&mut connection).await.unwrap();
}

/// Refuses nobody any more, retries, and waits for the end.
async fn mend_and_retry(pipeline: &mut Pipeline, import: ImportId) {
    let mut connection = pipeline.store.connection().await.unwrap();
    sqlx::raw_sql("alter table users drop constraint if exists refused")
        .execute(&mut connection)
        .await
        .unwrap();
    let steered = lifecycle::retry(&pipeline.store, pipeline.tenant, import).await.unwrap();
    assert_eq!(steered, Transition::Done(ImportState::Running));
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(3));
    assert_eq!(pipeline.ended(import).await.state, ImportState::Completed);
    pipeline.settle(worker).await;
    dispatcher.stop().await;
}

/// Whichever comes first, nothing is left open.
#[tokio::test(flavor = "multi_thread")]
async fn retrying_and_cancelling_at_once_leaves_nothing_open() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.limits.chunk.records = 1;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let mut cancelled = 0;
    for _ in 0..20 {
        let import = pipeline.accepted(&people(4), &ImportOptions::default()).await;
        for head in dispatch::lane_heads(&store).await.unwrap() {
            assert!(apply::mark_dead(&store, head.chunk, "for a test").await.unwrap());
        }
        let (retried, _, stopped) = tokio::join!(
            lifecycle::retry(&store, tenant, import),
            dispatch::complete_ended(&store),
            lifecycle::cancel(&store, tenant, import),
        );
        retried.unwrap();
        match stopped.unwrap() {
            Transition::Done(state) => assert_eq!(state, ImportState::Cancelled),
            // It completed first; a retry after that runs it again, and then it can be cancelled.
            Transition::Refused(_) => {
                lifecycle::retry(&store, tenant, import).await.unwrap();
                let steered = lifecycle::cancel(&store, tenant, import).await.unwrap();
                assert_eq!(steered, Transition::Done(ImportState::Cancelled));
            }
            Transition::NotFound | Transition::Undone(_) => panic!("there it is, and nobody undoes it"),
        }
        cancelled += 1;
        let report = pipeline.report(import).await;
        assert_eq!((report.counts.total, report.counts.pending), (4, 0), "{report:?}");
        assert_eq!(report.counts.skipped + report.counts.failed, 4);
        assert_eq!(report.chunks.staged + report.chunks.dispatched + report.chunks.retryable, 0);
    }
    assert_eq!(cancelled, 20);
    pipeline.finish().await;
}

/// Two at once reopen what one reopens.
#[tokio::test(flavor = "multi_thread")]
async fn many_dead_chunks_are_retried_once_by_two_retries() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.limits.chunk = ChunkLimits { records: 1, lanes: 4, ..pipeline.limits.chunk };
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let import = pipeline.accepted(&people(300), &ImportOptions::default()).await;
    loop {
        let heads = dispatch::lane_heads(&store).await.unwrap();
        if heads.is_empty() {
            break;
        }
        for head in heads {
            assert!(apply::mark_dead(&store, head.chunk, "for a test").await.unwrap());
        }
    }
    assert_eq!(told(&pipeline, import).await.len(), 300);
    let (one, other) =
        tokio::join!(lifecycle::retry(&store, tenant, import), lifecycle::retry(&store, tenant, import));
    assert_eq!((one.unwrap(), other.unwrap()), {
        let running = Transition::Done(ImportState::Running);
        (running, running)
    });
    let mut connection = store.connection().await.unwrap();
    let reopened: Vec<(i32, i64)> = sqlx::query_as("select reopened, count(*) from chunks group by reopened")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(reopened, [(1, 300)]);
    assert!(told(&pipeline, import).await.is_empty());
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(4));
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 300, inserted: 300, ..Counts::default() }
    );
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_one_cause_leaves_the_others() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let line = |at: usize| match at % 10 {
        3 => ",+420602000000\n".to_owned(),
        5 | 6 => format!("user{at}@example.com,call me\n"),
        _ => format!("user{at}@example.com,\n"),
    };
    let csv = (0..100).fold(String::from("email,phone_number\n"), |csv, at| csv + &line(at));
    let import = pipeline.accepted(&csv, &ImportOptions::default()).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 100, inserted: 70, failed: 30, ..Counts::default() }
    );
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    let cause = Cause { code: None, field: Some("phone_number") };
    assert_eq!(
        lifecycle::retry_cause(&store, tenant, import, cause).await.unwrap(),
        Transition::Done(ImportState::Running)
    );
    let now = pipeline.report(import).await.counts;
    assert_eq!((now.pending, now.failed), (20, 10));
    assert_eq!(told(&pipeline, import).await.len(), 10);
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 100, inserted: 70, failed: 30, ..Counts::default() }
    );
    let told = problems::problems(&store, tenant, import, 10).await.unwrap();
    let counted: Vec<(u64, Option<&str>)> =
        told.problems.iter().map(|problem| (problem.count, problem.field.as_deref())).collect();
    assert_eq!((counted, told.more), (vec![(20, Some("phone_number")), (10, Some("email"))], false));
    let nobody = Cause { code: Some("database_refused"), field: None };
    let steered = lifecycle::retry_cause(&store, tenant, import, nobody).await.unwrap();
    assert_eq!(steered, Transition::Done(ImportState::Completed));
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}
