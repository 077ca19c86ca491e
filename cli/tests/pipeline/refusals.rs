//! What the database refuses: one record, or everything. And what a chunk waits for without spending an attempt.

use muster_domain::outcome::Counts;
use std::time::{Duration, Instant};

use muster_domain::chunk::ChunkLimits;
use muster_domain::error::ErrorCode;
use muster_domain::id::{ChunkId, ImportId};
use muster_domain::options::ImportOptions;
use muster_domain::outcome::Outcome;
use muster_queue::{Headers, Message};
use muster_store::{dispatch, lifecycle, tenants};
use muster_worker::{Worker, WorkerOptions};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::harness::{Backend, Pipeline, people};
use crate::on_both_queues;

on_both_queues!(
    what_the_database_refuses_for_everybody_waits_and_goes_in_later,
    a_chunk_that_waits_for_a_locked_user_gives_its_place_back,
    what_a_newer_program_wrote_waits_for_it,
    a_message_that_names_another_import_changes_nothing,
);

/// All records of a file in one chunk.
async fn one_chunk(backend: Backend) -> Pipeline {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline.limits.chunk = ChunkLimits { records: 2000, bytes: 1024 * 1024, lanes: 1 };
    pipeline
}

pub(crate) async fn execute(pipeline: &Pipeline, sql: &str) {
    let mut connection = pipeline.store.connection().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
}

/// A session that has taken these locks and keeps them until it is told otherwise, however long it says nothing.
pub(crate) async fn holder(pipeline: &Pipeline, locks: &str) -> PgConnection {
    let mut session = pipeline.store.connection().await.unwrap();
    let begin = format!("set idle_in_transaction_session_timeout = 0; begin; {locks}");
    sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut session).await.unwrap();
    session
}

/// State, reason, attempts and deferrals of each chunk of an import.
pub(crate) async fn chunks(pipeline: &Pipeline, import: ImportId) -> Vec<(String, Option<String>, i32, i32)> {
    let mut connection = pipeline.store.connection().await.unwrap();
    sqlx::query_as("select state, problem, attempts, deferrals from chunks where import_id = $1 order by id")
        .bind(import.get())
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

/// Waits until every chunk of the import was deferred so often.
pub(crate) async fn deferred(pipeline: &Pipeline, import: ImportId, times: i32) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let chunks = chunks(pipeline, import).await;
        assert!(chunks.iter().all(|(state, _, attempts, _)| *attempts == 0 && state != "dead"), "{chunks:?}");
        if chunks.iter().all(|(_, _, _, deferrals)| *deferrals >= times) {
            return chunks.into_iter().filter_map(|(_, problem, _, _)| problem).collect();
        }
        assert!(Instant::now() < deadline, "not deferred: {chunks:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A trigger on users that raises an error where `condition` holds.
fn trigger(condition: &str, sqlstate: &str) -> String {
    format!(
        "create or replace function refuse() returns trigger language plpgsql as $$
         begin
             if {condition} then raise exception 'refused' using errcode = '{sqlstate}'; end if;
             return new;
         end $$;
         create or replace trigger refuse before insert or update on users for each row execute function refuse();"
    )
}

/// The codes of a user-defined error, a full disk, an internal error, and what else is usually no fault of a record: time-outs,
/// lost connections, a server that shuts down, a deadlock, a value that is there already.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_refuses_one_record_lets_it_fail_alone() {
    let mut pipeline = one_chunk(Backend::Postgres).await;
    let codes = ["P0001", "53100", "XX000", "57014", "55P03", "57P01", "08006", "40P01", "23505", "42501"];
    for (at, sqlstate) in codes.into_iter().enumerate() {
        let bad = format!("{at}user77@example.com");
        execute(&pipeline, &trigger(&format!("new.email = '{bad}'"), sqlstate)).await;
        let csv = people(300).replace("\nuser", &format!("\n{at}user"));
        let report = pipeline.import(&csv, &ImportOptions::default()).await;
        assert_eq!(
            report.counts,
            Counts { total: 300, inserted: 299, failed: 1, ..Counts::default() },
            "{sqlstate}"
        );
        let failed = pipeline.records(report.id, Some(Outcome::Failed)).await;
        assert_eq!(failed[0].identifier.as_deref(), Some(bad.as_str()), "{sqlstate}");
        assert_eq!(failed[0].errors[0].code, ErrorCode::DatabaseRefused, "{sqlstate}");
        assert!(failed[0].errors[0].message.contains(sqlstate), "{sqlstate}: {:?}", failed[0].errors);
    }
    pipeline.finish().await;
}

/// Several refused records of a chunk, neighbours among them, and a chunk that consists of nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn each_of_several_refused_records_fails_and_no_other() {
    let mut pipeline = one_chunk(Backend::Postgres).await;
    execute(&pipeline, &trigger("new.email ~ '^user(0|1|2|150|199)@'", "P0001")).await;
    let report = pipeline.import(&people(200), &ImportOptions::default()).await;
    assert_eq!(report.counts, Counts { total: 200, inserted: 195, failed: 5, ..Counts::default() });
    let failed = pipeline.records(report.id, Some(Outcome::Failed)).await;
    assert_eq!(failed.iter().map(|record| record.record).collect::<Vec<_>>(), [1, 2, 3, 151, 200]);
    let alone = pipeline.import("email\nuser150@example.com\n", &ImportOptions::default()).await;
    assert_eq!(alone.counts, Counts { total: 1, failed: 1, ..Counts::default() });
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_refused_at_the_commit_fails_alone() {
    let mut pipeline = one_chunk(Backend::Postgres).await;
    execute(
        &pipeline,
        "create function refuse() returns trigger language plpgsql as $$
         begin
             if new.email = 'user77@example.com' then raise exception 'refused' using errcode = 'P0001'; end if;
             return null;
         end $$;
         create constraint trigger refuse after insert or update on users deferrable initially deferred
             for each row execute function refuse();",
    )
    .await;
    let report = pipeline.import(&people(300), &ImportOptions::default()).await;
    assert_eq!(report.counts, Counts { total: 300, inserted: 299, failed: 1, ..Counts::default() });
    let failed = pipeline.records(report.id, Some(Outcome::Failed)).await;
    assert_eq!((failed[0].record, failed[0].errors[0].code), (78, ErrorCode::DatabaseRefused));
    pipeline.finish().await;
}

async fn what_the_database_refuses_for_everybody_waits_and_goes_in_later(backend: Backend) {
    let mut pipeline = one_chunk(backend).await;
    execute(&pipeline, &trigger("true", "53100")).await;
    let import = pipeline.accepted(&people(200), &ImportOptions::default()).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    let problems = deferred(&pipeline, import, 3).await;
    assert!(problems.iter().all(|problem| problem.contains("53100")), "{problems:?}");
    assert_eq!(pipeline.report(import).await.counts.pending, 200);
    execute(&pipeline, "drop trigger refuse on users").await;
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 200, inserted: 200, ..Counts::default() }
    );
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// What refuses everybody ends while the chunk is being split: with the first look whether the database takes any user, after the first
/// record was refused alone. A sequence remembers it, whatever is rolled back.
#[tokio::test(flavor = "multi_thread")]
async fn what_refuses_everybody_and_ends_meanwhile_fails_no_record() {
    let mut pipeline = one_chunk(Backend::Postgres).await;
    execute(
        &pipeline,
        "create sequence probes;
         create function refuse() returns trigger language plpgsql as $$
         begin
             if not (select is_called from probes) then
                 if new.email like '%@probe.invalid' then perform nextval('probes'); end if;
                 raise exception 'refused' using errcode = '53100';
             end if;
             return new;
         end $$;
         create trigger refuse before insert or update on users for each row execute function refuse();",
    )
    .await;
    let import = pipeline.accepted(&people(200), &ImportOptions::default()).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 200, inserted: 200, ..Counts::default() }
    );
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// The worker has one place; while the first import's chunk waits for a user that somebody else holds, the second one ends.
async fn a_chunk_that_waits_for_a_locked_user_gives_its_place_back(backend: Backend) {
    let mut pipeline = one_chunk(backend).await;
    pipeline.import("email,first_name\nheld@example.com,Before\n", &ImportOptions::default()).await;
    let mut holder = holder(&pipeline, "select from users where email = 'held@example.com' for update").await;
    let waits =
        pipeline.accepted("email,first_name\nheld@example.com,After\n", &ImportOptions::default()).await;
    let dispatcher = pipeline.dispatcher();
    // A lock is waited for half as long.
    let options = WorkerOptions {
        concurrency: 1,
        deadline: Duration::from_secs(3),
        first_delay: Duration::from_millis(50),
        longest_delay: Duration::from_millis(200),
        ..WorkerOptions::default()
    };
    let worker = Worker::start(pipeline.store.clone(), pipeline.queue.clone(), options);
    deferred(&pipeline, waits, 1).await;
    let goes = pipeline.accepted(&people(50), &ImportOptions::default()).await;
    assert_eq!(pipeline.ended(goes).await.counts, Counts { total: 50, inserted: 50, ..Counts::default() });
    assert_eq!(pipeline.report(waits).await.counts.pending, 1);
    sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    assert_eq!(pipeline.ended(waits).await.counts, Counts { total: 1, updated: 1, ..Counts::default() });
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

async fn what_a_newer_program_wrote_waits_for_it(backend: Backend) {
    let mut pipeline = one_chunk(backend).await;
    let csv = |name: &str| people(20).replace("\nuser", &format!("\n{name}"));
    let option = pipeline.accepted(&csv("a"), &ImportOptions::default()).await;
    let value = pipeline.accepted(&csv("b"), &ImportOptions::default()).await;
    let body = pipeline.accepted(&csv("c"), &ImportOptions::default()).await;
    let (option_id, value_id, body_id) = (option.get(), value.get(), body.get());
    execute(
        &pipeline,
        &format!(
            r#"update imports set options = options || '{{"on_drift": "refuse"}}' where id = '{option_id}';
               update imports set options = options || '{{"metadata": "weave"}}' where id = '{value_id}';
               update chunks set body = set_byte(body, 0, 200) where import_id = '{body_id}'"#
        ),
    )
    .await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    for (import, reason) in [(option, "on_drift"), (value, "metadata"), (body, "version 200")] {
        let problems = deferred(&pipeline, import, 6).await;
        assert!(problems.iter().all(|problem| problem.contains(reason)), "{problems:?}");
    }
    execute(
        &pipeline,
        &format!(
            r#"update imports set options = options - 'on_drift' where id = '{option_id}';
               update imports set options = options || '{{"metadata": "merge"}}' where id = '{value_id}';
               update chunks set body = set_byte(body, 0, 1) where import_id = '{body_id}'"#
        ),
    )
    .await;
    for import in [option, value, body] {
        assert_eq!(
            pipeline.ended(import).await.counts,
            Counts { total: 20, inserted: 20, ..Counts::default() }
        );
    }
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// The message of a claimed chunk, as the dispatcher would publish it.
async fn claimed(pipeline: &Pipeline) -> Message {
    let heads = dispatch::lane_heads(&pipeline.store).await.unwrap();
    let ids: Vec<ChunkId> = heads.iter().map(|head| head.chunk).collect();
    let chunk = dispatch::claim(&pipeline.store, &ids, 600.0).await.unwrap().remove(0);
    Message {
        headers: Headers {
            version: 1,
            tenant: Some(chunk.tenant.get()),
            import_id: chunk.import.get(),
            chunk_id: chunk.id.get(),
            attempt: chunk.attempt,
            traceparent: None,
        },
        body: chunk.body.into(),
    }
}

async fn dead_letters(pipeline: &Pipeline, wanted: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let depth = pipeline.queue.depth().await.unwrap();
        if depth.dead == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{depth:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A message tells what is its own, or it is a dead letter: import, tenant and options are those of the chunk's row.
async fn a_message_that_names_another_import_changes_nothing(backend: Backend) {
    let mut pipeline = one_chunk(backend).await;
    let other = tenants::create(&pipeline.store, &"other".parse().unwrap(), "Other").await.unwrap();
    let (mine, theirs) = (pipeline.tenant, other.into_inner().id);
    pipeline.tenant = theirs;
    let forged = pipeline.accepted(&people(3), &ImportOptions::default()).await;
    lifecycle::pause(&pipeline.store, theirs, forged).await.unwrap();
    pipeline.tenant = mine;
    let import = pipeline.accepted(&people(20), &ImportOptions::default()).await;
    let message = claimed(&pipeline).await;
    let headers = &message.headers;
    for wrong in [
        Headers { import_id: forged.get(), ..headers.clone() },
        Headers { tenant: Some(theirs.get()), ..headers.clone() },
        Headers { import_id: forged.get(), tenant: Some(theirs.get()), ..headers.clone() },
    ] {
        pipeline.queue.publish(Message { headers: wrong, body: message.body.clone() }).await.unwrap();
    }
    let worker = pipeline.worker(2);
    dead_letters(&pipeline, 3).await;
    assert_eq!(pipeline.witness().await, (0, 0));
    assert_eq!(chunks(&pipeline, import).await[0], ("dispatched".into(), None, 0, 0));
    // A version that is not known waits; the right message is applied.
    let newer = Headers { version: 99, ..headers.clone() };
    pipeline.queue.publish(Message { headers: newer, body: message.body.clone() }).await.unwrap();
    deferred(&pipeline, import, 1).await;
    let message = tokio::time::timeout(Duration::from_secs(30), async {
        while !dispatch::lane_heads(&pipeline.store).await.unwrap().iter().any(|head| head.ready) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        claimed(&pipeline).await
    });
    let message = message.await.unwrap();
    pipeline.queue.publish(message).await.unwrap();
    let dispatch_nothing = Instant::now() + Duration::from_secs(60);
    while pipeline.report(import).await.counts.inserted < 20 {
        assert!(Instant::now() < dispatch_nothing, "the right message was not applied");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    pipeline.settle(worker).await;
    pipeline.queue.purge().await.unwrap();
    pipeline.finish().await;
}
