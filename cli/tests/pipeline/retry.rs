//! Retry: what it reopens, what it leaves, and what it meets meanwhile.

use muster_shared::chunk::ChunkLimits;
use muster_shared::error::ErrorCode;
use muster_shared::id::ImportId;
use muster_shared::import::ImportState;
use muster_shared::options::{ImportOptions, OnExisting};
use muster_shared::outcome::{Outcome, Reason};
use muster_shared::store::problems::{self, Cause};
use muster_shared::store::records::{self, RecordFilter, RecordReport};
use muster_shared::store::steer::{self, Steered};
use muster_shared::store::{apply, dispatch, retention};
use muster_shared::warning::Warning;
use sqlx::{Connection, PgConnection};

use crate::harness::{Backend, Pipeline, counts, people};

/// `n` users, of whom every tenth has no valid address.
fn some_invalid(n: usize) -> String {
    let valid = |at: usize| if at % 10 == 3 { String::new() } else { format!("user{at}@example.com") };
    (0..n).fold(String::from("email,first_name\n"), |csv, at| csv + &format!("{},Zoë\n", valid(at)))
}

/// Numbers of the failed records, as the file of failed records tells them.
async fn told(pipeline: &Pipeline, import: ImportId) -> Vec<u64> {
    let failed = records::failed(&pipeline.store, import, 0, 1_000, 1 << 24).await.unwrap();
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
    assert_eq!(steer::pause(&store, tenant, import).await.unwrap(), Steered::Done(ImportState::Paused));
    // No chunk has ended, so none is reopened.
    assert_eq!(steer::retry(&store, tenant, import).await.unwrap(), Steered::Done(ImportState::Paused));
    assert_eq!(told(&pipeline, import).await, invalid);
    // Some have ended.
    steer::resume(&store, tenant, import).await.unwrap();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(1));
    while pipeline.report(import).await.chunks.applied == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        let steered = steer::retry(&store, tenant, import).await.unwrap();
        assert!(matches!(steered, Steered::Done(_)), "{steered:?}");
        pipeline.report(import).await;
        pipeline.records(import, None).await;
    }
    assert_eq!(pipeline.ended(import).await.counts, counts(400, 360, 0, 0, 40));
    assert_eq!(told(&pipeline, import).await, invalid);
    assert_eq!(pipeline.witness().await, (360, 360));
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
    assert_eq!(report.counts, counts(2, 0, 0, 0, 2));
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
    let store = pipeline.store.clone();
    let import = all_failed(&mut pipeline).await;
    let options = pipeline.report(import).await.options;
    let mut operator = store.connection().await.unwrap();
    let mut holder = store.connection().await.unwrap();
    let mut held = holder.begin().await.unwrap();
    sqlx::raw_sql("lock table record_issues in access exclusive mode").execute(&mut *held).await.unwrap();
    let reading = tokio::spawn(async move {
        records::page(&store, import, &options, RecordFilter::default(), 10).await.unwrap()
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
            assert_eq!(completed.unwrap(), []);
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
        assert_eq!(completing.await.unwrap(), []);
        panic!("completing waited for the retry, and all other imports with it");
    }
    assert_eq!(pipeline.report(import).await.state, ImportState::Running);
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(1));
    assert_eq!(pipeline.ended(import).await.counts, counts(2, 2, 0, 0, 0));
    assert_eq!(steer::retry(&store, tenant, import).await.unwrap(), Steered::Done(ImportState::Completed));
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
    assert_eq!(steer::retry(&store, tenant, import).await.unwrap(), Steered::Done(ImportState::Running));
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(pipeline.ended(import).await.counts, counts(50, 50, 0, 0, 0));
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
            tokio::join!(steer::retry(&store, tenant, import), steer::retry(&store, tenant, import));
        assert!(matches!((one.unwrap(), other.unwrap()), (Steered::Done(_), Steered::Done(_))));
        dispatch::complete_ended(&store).await.unwrap();
        let report = pipeline.report(import).await;
        if report.state == ImportState::Completed {
            completed += 1;
            assert_eq!(report.counts, counts(2, 0, 0, 0, 2));
        }
    }
    println!("completed {completed} of 60 times");
    assert_eq!(pipeline.ended(import).await.counts, counts(2, 0, 0, 0, 2));
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
    let steered = steer::retry(&pipeline.store, pipeline.tenant, import).await.unwrap();
    assert_eq!(steered, Steered::Done(ImportState::Running));
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(3));
    assert_eq!(pipeline.ended(import).await.state, ImportState::Completed);
    pipeline.settle(worker).await;
    dispatcher.stop().await;
}

/// What each record says it was passed by, if it was.
async fn passed_by(pipeline: &Pipeline, import: ImportId) -> Vec<Option<String>> {
    let records = pipeline.records(import, None).await;
    let superseded = (Outcome::Skipped, Some(Reason::Superseded));
    let warning = |record: RecordReport| {
        ((record.outcome, record.reason) == superseded).then(|| record.warnings.concat())
    };
    records.into_iter().map(warning).collect()
}

fn later(record: u64) -> Option<String> {
    Some(Warning::Superseded(record).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_record_does_not_undo_what_a_later_one_did() {
    // In one chunk, in several of one lane, and with others in between.
    for records in [1, 2, 3, 100] {
        let mut pipeline = Pipeline::new(Backend::Postgres).await;
        // Users that have the phone numbers of some records.
        let mut holders = String::from("email,phone_number\n");
        (1..=8).for_each(|at| holders.push_str(&format!("holder{at}@example.com,+8529876543{at}\n")));
        pipeline.import(&holders, &ImportOptions::default()).await;
        pipeline.limits.chunk.records = records;
        pipeline.limits.chunk.lanes = 2;
        let csv = "email,phone_number,first_name\n\
                   a@example.com,+85298765431,Old\n\
                   b@example.com,+85298765432,Old\n\
                   A@example.com,+85298765433,Old\n\
                   c@example.com,,New\n\
                   a@EXAMPLE.com,,New\n\
                   d@example.com,+85298765436,Old\n\
                   a@example.com,,Newer\n\
                   a@example.com,+85298765438,Old\n\
                   c@example.com,,New\n\
                   d@example.com,,New\n";
        let report = pipeline.import(csv, &ImportOptions::default()).await;
        assert_eq!(report.counts, counts(10, 3, 1, 1, 5), "{records}");
        let mut connection = pipeline.store.connection().await.unwrap();
        sqlx::query("delete from users where email like 'holder%'").execute(&mut connection).await.unwrap();
        mend_and_retry(&mut pipeline, report.id).await;
        // What no later record of the same user passed is applied; the last one of a user is what counts.
        assert_eq!(
            passed_by(&pipeline, report.id).await,
            [later(5), None, later(5), None, None, later(10), None, None, None, None],
            "{records}"
        );
        let report = pipeline.report(report.id).await;
        assert_eq!(report.counts, counts(10, 4, 2, 4, 0), "{records}");
        assert_eq!(
            pipeline.users().await,
            [
                "a@example.com|+85298765438|-|Old|-",
                "b@example.com|+85298765432|-|Old|-",
                "c@example.com|-|-|New|-",
                "d@example.com|-|-|New|-"
            ]
        );
        let records = pipeline.records(report.id, None).await;
        assert_eq!(records[0].user_id, records[4].user_id, "the user concerned is that of the later record");
        pipeline.finish().await;
    }
}

/// The owner of the data learns what is wrong with the record, not that another one came later.
#[tokio::test(flavor = "multi_thread")]
async fn a_passed_record_that_is_still_refused_keeps_its_reason() {
    for records in [1, 10] {
        let mut pipeline = Pipeline::new(Backend::Postgres).await;
        pipeline.limits.chunk = ChunkLimits { records, lanes: 1, ..pipeline.limits.chunk };
        let csv = "email,phone_number,first_name\n\
                   holder@example.com,+85298765431,Holder\n\
                   a@example.com,+85298765431,Old\n\
                   a@example.com,,New\n\
                   b@example.com,+85298765431,Refused\n\
                   b@example.com,,New\n";
        let options = ImportOptions::default();
        let report = pipeline.import(csv, &options).await;
        assert_eq!(report.counts, counts(5, 3, 0, 0, 2), "{records}");
        let before = (told(&pipeline, report.id).await, pipeline.users().await);
        mend_and_retry(&mut pipeline, report.id).await;
        assert_eq!(pipeline.report(report.id).await.counts, counts(5, 3, 0, 0, 2), "{records}");
        assert_eq!((told(&pipeline, report.id).await, pipeline.users().await), before, "{records}");
        let failed = pipeline.records(report.id, Some(Outcome::Failed)).await;
        assert!(failed.iter().all(|record| record.errors[0].code == ErrorCode::IdentityConflict));
        // Only what would go in is superseded.
        let mut connection = pipeline.store.connection().await.unwrap();
        sqlx::query("delete from users where email like 'holder%'").execute(&mut connection).await.unwrap();
        mend_and_retry(&mut pipeline, report.id).await;
        assert_eq!(passed_by(&pipeline, report.id).await, [None, later(3), None, later(5), None]);
        pipeline.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_retried_together_keep_their_order() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.limits.chunk.records = 1;
    refuse_name(&pipeline, "Refused").await;
    let mut csv = String::from("email,first_name,last_name\n");
    (1..=12).for_each(|at| csv.push_str(&format!("a@example.com,Refused,{at}\n")));
    let report = pipeline.import(&csv, &ImportOptions::default()).await;
    assert_eq!(report.counts, counts(12, 0, 0, 0, 12));
    mend_and_retry(&mut pipeline, report.id).await;
    assert_eq!(pipeline.report(report.id).await.counts, counts(12, 1, 11, 0, 0));
    let mut connection = pipeline.store.connection().await.unwrap();
    let last: String =
        sqlx::query_scalar("select family_name from users").fetch_one(&mut connection).await.unwrap();
    assert_eq!(last, "12");
    pipeline.finish().await;
}

/// The user has another name since; the retried record would else make a new one of the old name.
#[tokio::test(flavor = "multi_thread")]
async fn a_retried_record_makes_no_user_that_a_later_one_renamed() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.limits.chunk.records = 1;
    refuse_name(&pipeline, "Old").await;
    let csv = "email,new_email,first_name\na@example.com,,Old\na@example.com,b@example.com,New\n";
    let report = pipeline.import(csv, &ImportOptions::default()).await;
    assert_eq!(report.counts, counts(2, 1, 0, 0, 1));
    mend_and_retry(&mut pipeline, report.id).await;
    assert_eq!(passed_by(&pipeline, report.id).await, [later(2), None]);
    assert_eq!(pipeline.users().await, ["b@example.com|-|-|New|-"]);
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_dead_chunk_that_later_ones_passed_are_superseded() {
    for on_existing in [OnExisting::Update, OnExisting::Skip] {
        let mut pipeline = Pipeline::new(Backend::Postgres).await;
        pipeline.limits.chunk = ChunkLimits { records: 2, lanes: 1, ..pipeline.limits.chunk };
        let csv = "email,first_name\n\
                   a@example.com,1\n\
                   not an address,2\n\
                   b@example.com,3\n\
                   a@example.com,4\n\
                   c@example.com,5\n\
                   a@example.com,6\n";
        let options = ImportOptions { on_existing, ..ImportOptions::default() };
        let import = pipeline.accepted(csv, &options).await;
        let first = dispatch::lane_heads(&pipeline.store).await.unwrap()[0].chunk;
        assert!(apply::bury(&pipeline.store, first, "for a test").await.unwrap());
        let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
        let report = pipeline.ended(import).await;
        assert_eq!((report.counts.failed, report.chunks.dead), (2, 1));
        worker.stop().await;
        dispatcher.stop().await;
        let witness = pipeline.witness().await;
        mend_and_retry(&mut pipeline, import).await;
        // Where existing users are left alone, the user that the later record made simply exists.
        let first = if on_existing == OnExisting::Update { later(4) } else { None };
        assert_eq!(passed_by(&pipeline, import).await, [first, None, None, None, None, None]);
        if on_existing == OnExisting::Skip {
            let records = pipeline.records(import, None).await;
            assert_eq!((records[0].outcome, records[0].reason), (Outcome::Skipped, Some(Reason::Exists)));
        }
        // What is invalid stays so, and says why.
        assert_eq!(told(&pipeline, import).await, [2]);
        assert_eq!(pipeline.witness().await, witness);
        pipeline.finish().await;
    }
}

/// Each later chunk is decoded once, and then known by its fingerprints, for all reopened chunks of its lane.
#[tokio::test(flavor = "multi_thread")]
async fn later_chunks_are_known_by_their_fingerprints() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.limits.chunk = ChunkLimits { records: 10, lanes: 1, ..pipeline.limits.chunk };
    refuse_name(&pipeline, "Refused").await;
    // A refused record in each of 30 chunks but the last, which has a later record for every second one.
    let mut csv = String::from("email,first_name\n");
    for at in 0..290 {
        csv.push_str(&format!("user{at}@example.com,{}\n", if at % 10 == 0 { "Refused" } else { "Fine" }));
    }
    (0..10).for_each(|at| csv.push_str(&format!("user{}@example.com,Last\n", at * 20)));
    let report = pipeline.import(&csv, &ImportOptions::default()).await;
    assert_eq!(report.counts, counts(300, 271, 0, 0, 29));
    mend_and_retry(&mut pipeline, report.id).await;
    let passed = passed_by(&pipeline, report.id).await;
    for (at, passed) in passed.iter().enumerate() {
        let wanted = if at < 200 && at % 20 == 0 { later(291 + at as u64 / 20) } else { None };
        assert_eq!(*passed, wanted, "record {}", at + 1);
    }
    let mut connection = pipeline.store.connection().await.unwrap();
    let kept: i64 = sqlx::query_scalar("select count(*) from chunk_identifiers")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept, 29);
    assert_eq!(retention::delete_ended(&pipeline.store, 0.0).await.unwrap().imports, 1);
    assert!(pipeline.database().snapshot().await["chunk_identifiers"].is_empty());
    pipeline.finish().await;
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
            assert!(apply::bury(&store, head.chunk, "for a test").await.unwrap());
        }
        let (retried, _, stopped) = tokio::join!(
            steer::retry(&store, tenant, import),
            dispatch::complete_ended(&store),
            steer::cancel(&store, tenant, import),
        );
        retried.unwrap();
        match stopped.unwrap() {
            Steered::Done(state) => assert_eq!(state, ImportState::Cancelled),
            // It completed first; a retry after that runs it again, and then it can be cancelled.
            Steered::Refused(_) => {
                steer::retry(&store, tenant, import).await.unwrap();
                let steered = steer::cancel(&store, tenant, import).await.unwrap();
                assert_eq!(steered, Steered::Done(ImportState::Cancelled));
            }
            Steered::NotFound => panic!("there it is"),
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
            assert!(apply::bury(&store, head.chunk, "for a test").await.unwrap());
        }
    }
    assert_eq!(told(&pipeline, import).await.len(), 300);
    let (one, other) =
        tokio::join!(steer::retry(&store, tenant, import), steer::retry(&store, tenant, import));
    assert_eq!((one.unwrap(), other.unwrap()), {
        let running = Steered::Done(ImportState::Running);
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
    assert_eq!(pipeline.ended(import).await.counts, counts(300, 300, 0, 0, 0));
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
    assert_eq!(pipeline.ended(import).await.counts, counts(100, 70, 0, 0, 30));
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    let cause = Cause { code: None, field: Some("phone_number") };
    assert_eq!(
        steer::retry_cause(&store, tenant, import, cause).await.unwrap(),
        Steered::Done(ImportState::Running)
    );
    let now = pipeline.report(import).await.counts;
    assert_eq!((now.pending, now.failed), (20, 10));
    assert_eq!(told(&pipeline, import).await.len(), 10);
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(pipeline.ended(import).await.counts, counts(100, 70, 0, 0, 30));
    let (problems, more) = problems::problems(&store, import, 10).await.unwrap();
    let counted: Vec<(u64, Option<&str>)> =
        problems.iter().map(|problem| (problem.count, problem.field.as_deref())).collect();
    assert_eq!((counted, more), (vec![(20, Some("phone_number")), (10, Some("email"))], false));
    let nobody = Cause { code: Some("database_refused"), field: None };
    let steered = steer::retry_cause(&store, tenant, import, nobody).await.unwrap();
    assert_eq!(steered, Steered::Done(ImportState::Completed));
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}
