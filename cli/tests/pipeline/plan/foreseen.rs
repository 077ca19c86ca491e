//! What a plan says, what becomes of it, and who dies meanwhile.

use muster_domain::chunk::ChunkLimits;
use muster_domain::error::ErrorCode;
use muster_domain::id::ChunkId;
use muster_domain::import::ImportState;
use muster_domain::intake::Memory;
use muster_domain::options::{IdentifierField, ImportOptions, Start};
use muster_domain::outcome::Counts;
use muster_domain::outcome::{Outcome, Reason};
use muster_domain::planned::{FieldSum, KeptKeys, OnDrift, PlannedChunk};
use muster_store::lifecycle::{self, Transition};
use muster_store::{erase, plans};

use super::{
    applied, everything, first, keys, no_keys_are_kept, plan, records, summary, verdicts, work_on_plan,
};
use crate::harness::{Backend, Pipeline, people};
use crate::on_both_queues;
use crate::undo::{taken_back, users};

on_both_queues!(
    a_plan_writes_nothing_and_says_what_applying_does,
    later_chunks_meet_what_earlier_ones_would_leave,
    independent_records_are_planned_without_keys,
    a_plan_is_made_whatever_dies,
);

/// Two records a chunk in two lanes.
pub(super) async fn small(backend: Backend) -> Pipeline {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline.limits.chunk = ChunkLimits { records: 2, bytes: 64 * 1024, lanes: 2 };
    pipeline.limits.repeats = Memory::of(1 << 20);
    pipeline
}

pub(super) const BEFORE: &str = "email,phone_number,given_name,custom__office\n\
                      a@example.com,+3212345671,Ann,Milan\n\
                      b@example.com,+3212345672,Bob,Milan\n\
                      c@example.com,,Cid,Rome\n";

async fn a_plan_writes_nothing_and_says_what_applying_does(backend: Backend) {
    let mut pipeline = small(backend).await;
    let options = ImportOptions::default();
    pipeline.import(BEFORE, &options).await;
    let before = everything(&pipeline).await;
    let csv = "email,phone_number,given_name,custom__office\n\
               a@example.com,,Ann,Oslo\n\
               b@example.com,+3212345671,Bob,Milan\n\
               c@example.com,,Cid,Rome\n\
               d@example.com,+3212345674,Dan,Oslo\n";
    let import = plan(&mut pipeline, csv, &options).await;
    assert_eq!(everything(&pipeline).await, before, "a plan writes nothing");
    let planned = records(&pipeline, import).await;
    assert_eq!(
        verdicts(&planned),
        [
            (Outcome::Updated, None),
            (Outcome::Failed, None),
            (Outcome::Skipped, Some(Reason::Unchanged)),
            (Outcome::Inserted, None),
        ]
    );
    assert_eq!(planned[&1].before["metadata.office"], "Milan");
    assert_eq!(planned[&1].after["metadata.office"], "Oslo");
    assert_eq!(planned[&2].errors[0].code, ErrorCode::IdentityConflict);
    let plan = summary(&pipeline, import).await;
    assert_eq!(
        plan.counts,
        Counts { total: 4, inserted: 1, updated: 1, skipped: 1, failed: 1, ..Counts::default() }
    );
    assert_eq!(plan.sums.fields["metadata.office"], FieldSum { changed: 1, ..FieldSum::default() });
    assert_eq!(plan.since.map(|since| (since.looked_at, since.changed)), Some((1, 0)));
    let report = pipeline.report(import).await;
    assert_eq!((report.counts.pending, report.chunks.planned), (4, report.chunks.planned));
    assert!(report.chunks.planned > 1 && keys(&pipeline).await > 0);

    let left = users(&pipeline, true).await;
    let report = applied(&mut pipeline, import, OnDrift::Refuse).await;
    assert_eq!(
        report.counts,
        Counts { total: 4, inserted: 1, updated: 1, skipped: 1, failed: 1, ..Counts::default() }
    );
    assert_eq!(pipeline.outcomes(import).await, verdicts(&planned));
    no_keys_are_kept(&pipeline).await;
    // What was planned can be undone as any other import, and its plan can still be read.
    taken_back(&mut pipeline, import).await;
    assert_eq!(users(&pipeline, true).await, left);
    let plan = summary(&pipeline, import).await;
    assert_eq!(
        (plan.counts, plan.since),
        (Counts { total: 4, inserted: 1, updated: 1, skipped: 1, failed: 1, ..Counts::default() }, None)
    );
    // Twice is once; in another way it is refused.
    let steered = async |on_drift| {
        lifecycle::proceed_with(&pipeline.store, pipeline.tenant, import, on_drift).await.unwrap()
    };
    assert_eq!(steered(OnDrift::Refuse).await, Transition::Done(ImportState::Completed));
    assert_eq!(steered(OnDrift::Apply).await, Transition::Refused(ImportState::Completed));
    pipeline.finish().await;
}

/// Where each record is about a user of its own and names nothing else that is unique, no key is kept. What each comes to is known all the same.
async fn independent_records_are_planned_without_keys(backend: Backend) {
    let mut pipeline = small(backend).await;
    let options = ImportOptions { start: Start::Plan, ..ImportOptions::default() };
    pipeline.import(BEFORE, &ImportOptions::default()).await;
    let head = "email,given_name,custom__office\n";
    let own: String = (0..40).map(|user| format!("u{user}@example.com,Una,Oslo\n")).collect();
    for (csv, independent) in [
        (format!("{head}{own}a@example.com,Ada,Oslo\n"), true),
        (format!("{head}{own}U39@example.com,Ada,Oslo\n"), false),
        (format!("email,new_email,custom__office\n{}", own.replace("Una", "")), false),
        (format!("email,phone_number\nx@example.com,\n{}", own.replace("Una,Oslo", "")), false),
    ] {
        let import = plan(&mut pipeline, &csv, &options).await;
        assert_eq!(keys(&pipeline).await == 0, independent, "{csv}");
        let foreseen = verdicts(&records(&pipeline, import).await);
        applied(&mut pipeline, import, OnDrift::Refuse).await;
        assert_eq!(pipeline.outcomes(import).await, foreseen);
        no_keys_are_kept(&pipeline).await;
    }
    pipeline.finish().await;
}

/// Duplicates, renames, and values that users give up and others take, each in a chunk of its own.
async fn later_chunks_meet_what_earlier_ones_would_leave(backend: Backend) {
    let mut pipeline = small(backend).await;
    pipeline.limits.chunk.records = 1;
    let options = ImportOptions::default();
    pipeline.import(BEFORE, &options).await;
    let csv = "email,new_email,phone_number,given_name\n\
               new@example.com,,+3212345679,New\n\
               new@example.com,,,Newer\n\
               new@example.com,,,Newer\n\
               a@example.com,moved@example.com,,Ann\n\
               moved@example.com,,,Anna\n\
               b@example.com,,+3212345670,Bob\n\
               c@example.com,,+3212345679,Cid\n\
               e@example.com,,+3212345672,Eve\n";
    let import = plan(&mut pipeline, csv, &options).await;
    let planned = records(&pipeline, import).await;
    let foreseen = verdicts(&planned);
    assert_eq!(
        foreseen[..3],
        [(Outcome::Inserted, None), (Outcome::Updated, None), (Outcome::Skipped, Some(Reason::Unchanged)),]
    );
    // A user that is not there yet has no id.
    assert_eq!((planned[&2].user, &planned[&2].before["given_name"]), (None, &"New".into()));
    applied(&mut pipeline, import, OnDrift::Refuse).await;
    assert_eq!(pipeline.outcomes(import).await, foreseen);
    let failed = pipeline.records(import, Some(Outcome::Failed)).await;
    assert!(failed.iter().all(|record| record.errors[0].code == ErrorCode::IdentityConflict), "{failed:?}");
    pipeline.finish().await;
}

/// A clash of two lanes over a phone number: one record goes in, the other one fails.
const CLASH: &str = "email,phone_number\n\
                     a@example.com,+3212345671\n\
                     b@example.com,+3212345671\n\
                     c@example.com,+3212345671\n\
                     d@example.com,+3212345671\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_is_given_up_is_free_for_later_chunks() {
    let mut pipeline = small(Backend::Postgres).await;
    pipeline.limits.chunk = ChunkLimits { records: 1, bytes: 64 * 1024, lanes: 1 };
    let options = ImportOptions::default();
    pipeline.import(BEFORE, &options).await;
    let csv = "email,phone_number\n\
               b@example.com,+3212345670\n\
               e@example.com,+3212345672\n";
    let import = plan(&mut pipeline, csv, &options).await;
    let foreseen = [(Outcome::Updated, None), (Outcome::Inserted, None)];
    assert_eq!(verdicts(&records(&pipeline, import).await), foreseen);
    applied(&mut pipeline, import, OnDrift::Refuse).await;
    assert_eq!(pipeline.outcomes(import).await, foreseen);
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_are_planned_at_the_same_moment_see_each_other() {
    let mut pipeline = small(Backend::Postgres).await;
    let import = pipeline.accepted(CLASH, &first(&ImportOptions::default())).await;
    // One chunk of each lane is planned at a time.
    let lanes: i64 = sqlx::query_scalar("select count(distinct lane) from chunks where import_id = $1")
        .bind(import.get())
        .fetch_one(pipeline.store.pool())
        .await
        .unwrap();
    assert!(lanes > 1, "the records are in several lanes");
    // Whoever plans waits here, after it has looked at what the others left.
    let mut other = pipeline.store.connection().await.unwrap();
    let mut held = sqlx::Connection::begin(&mut other).await.unwrap();
    let [.., a, b, c, d] = *import.get().as_bytes();
    sqlx::query("select pg_advisory_xact_lock($1, $2)")
        .bind(0x6d70_i32)
        .bind(i32::from_be_bytes([a, b, c, d]))
        .execute(&mut *held)
        .await
        .unwrap();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(4));
    until(async || waiting(&pipeline).await >= lanes).await;
    held.commit().await.unwrap();
    pipeline.planned(import).await;
    worker.stop().await;
    dispatcher.stop().await;
    assert_eq!(
        summary(&pipeline, import).await.counts,
        Counts { total: 4, inserted: 1, failed: 3, ..Counts::default() }
    );
    assert_eq!(
        applied(&mut pipeline, import, OnDrift::Refuse).await.counts,
        Counts { total: 4, inserted: 1, failed: 3, ..Counts::default() }
    );
    pipeline.finish().await;
}

/// Between its first try and its second one no other chunk is planned, which the second one would not see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_is_planned_again_keeps_the_lock() {
    let mut pipeline = small(Backend::Postgres).await;
    pipeline.limits.chunk.records = 1;
    let import = pipeline.accepted(CLASH, &first(&ImportOptions::default())).await;
    let store = pipeline.store.clone();
    let chunks: Vec<i64> = sqlx::query_scalar("select id from chunks where import_id = $1 order by id")
        .bind(import.get())
        .fetch_all(store.pool())
        .await
        .unwrap();
    sqlx::query(
        "update chunks set state = 'dispatched', leased_until = now() + interval '1 h' where id = $1",
    )
    .bind(chunks[0])
    .execute(store.pool())
    .await
    .unwrap();
    let mut connection = store.connection().await.unwrap();
    let mut planned = sqlx::Connection::begin(&mut connection).await.unwrap();
    let (chunk, tenant) = (ChunkId::new(chunks[0]), pipeline.tenant);
    let planning = plans::Planning { chunk, import, tenant, asked: &[7], independent: false, again: false };
    let met = plans::known(&mut planned, &planning, &[], None).await.unwrap();
    let other = "insert into plans (tenant_id, import_id, chunk_id, inserted, updated, skipped, failed, sums, follows, users, versions,
                                    keys, records)
                 values ($1, $2, $3, 0, 0, 0, 1, '{}', '{}', '{}', '{}', '\\x0700000000000000', '')";
    let other = sqlx::query(other).bind(tenant.get()).bind(import.get()).bind(chunks[1]);
    other.execute(store.pool()).await.unwrap();
    let nothing = PlannedChunk { records: Vec::new(), users: Vec::new(), left: Vec::new() };
    let keys = KeptKeys { all: vec![7], given_up: Vec::new() };
    let (counts, met_users) = (Counts::default(), (Vec::new(), Vec::new()));
    let new = plans::NewPlan { chunk: &nothing, counts, keys: &keys, met: met_users };
    assert_eq!(plans::put(&mut planned, &planning, &met, &new).await.unwrap(), plans::Put::Again);
    let [.., a, b, c, d] = *import.get().as_bytes();
    let free = "select pg_try_advisory_xact_lock($1, $2)";
    let free = sqlx::query_scalar(free).bind(0x6d70_i32).bind(i32::from_be_bytes([a, b, c, d]));
    let free: bool = free.fetch_one(store.pool()).await.unwrap();
    assert!(!free);
    let again = plans::Planning { again: true, ..planning };
    assert_eq!(plans::put(&mut planned, &again, &met, &new).await.unwrap(), plans::Put::Kept);
    planned.commit().await.unwrap();
    assert_eq!(self::keys(&pipeline).await, 1);
    pipeline.finish().await;
}

/// Where all records fail over one value, each chunk would read all before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_write_nothing_are_not_read_by_later_ones() {
    let mut pipeline = small(Backend::Postgres).await;
    pipeline.limits.chunk.records = 1;
    let import = pipeline.accepted(CLASH, &first(&ImportOptions::default())).await;
    let chunks: Vec<i64> = sqlx::query_scalar("select id from chunks where import_id = $1 order by id")
        .bind(import.get())
        .fetch_all(pipeline.store.pool())
        .await
        .unwrap();
    // One that would fail, in bytes that nobody can read, and the key of a plan that is gone.
    sqlx::query(
        "with plan as (
             insert into plans (tenant_id, import_id, chunk_id, inserted, updated, skipped, failed, sums, follows, users, versions, keys,
                                records)
             values ($1, $2, $3, 0, 0, 0, 1, '{}', '{}', '{}', '{}', '', '\\x09')
             returning id
         )
         insert into planned_keys (import_id, key, plan_id) select $2, 7, id from plan union all select $2, 7, -1",
    )
    .bind(pipeline.tenant.get())
    .bind(import.get())
    .bind(chunks[0])
    .execute(pipeline.store.pool())
    .await
    .unwrap();
    let mut connection = pipeline.store.connection().await.unwrap();
    let (chunk, tenant) = (ChunkId::new(chunks[1]), pipeline.tenant);
    let planning = plans::Planning { chunk, import, tenant, asked: &[7], independent: false, again: false };
    let met = plans::known(&mut connection, &planning, &[], None).await.unwrap();
    assert!(met.known.users.is_empty());
    // One that would write is read.
    sqlx::query("update plans set inserted = 1, failed = 0").execute(pipeline.store.pool()).await.unwrap();
    assert!(plans::known(&mut connection, &planning, &[], None).await.is_err());
    pipeline.finish().await;
}

/// The chunk that was planned first is held up, and the one that met it waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_met_each_other_are_applied_in_the_order_in_which_they_were_planned() {
    let mut pipeline = small(Backend::Postgres).await;
    let import = plan(&mut pipeline, CLASH, &ImportOptions::default()).await;
    let foreseen = records(&pipeline, import).await;
    let (later, earlier): (i64, i64) =
        sqlx::query_as("select chunk_id, follows[1] from plans where import_id = $1 and follows <> '{}'")
            .bind(import.get())
            .fetch_one(pipeline.store.pool())
            .await
            .unwrap();
    let mut other = pipeline.store.connection().await.unwrap();
    let mut held = sqlx::Connection::begin(&mut other).await.unwrap();
    lifecycle::proceed(&pipeline.store, pipeline.tenant, import).await.unwrap();
    sqlx::query("select from chunks where id = $1 for share")
        .bind(earlier)
        .execute(&mut *held)
        .await
        .unwrap();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(4));
    let met = async || -> bool {
        sqlx::query_scalar("select state in ('applied', 'retryable') from chunks where id = $1")
            .bind(later)
            .fetch_one(pipeline.store.pool())
            .await
            .unwrap()
    };
    until(met).await;
    held.commit().await.unwrap();
    let report = pipeline.ended(import).await;
    worker.stop().await;
    dispatcher.stop().await;
    assert_eq!(report.counts, Counts { total: 4, inserted: 1, failed: 3, ..Counts::default() });
    assert_eq!(pipeline.outcomes(import).await, verdicts(&foreseen));
    let failed = pipeline.records(import, Some(Outcome::Failed)).await;
    assert!(failed.iter().all(|record| record.errors[0].code == ErrorCode::IdentityConflict), "{failed:?}");
    pipeline.finish().await;
}

/// Sessions of this database that wait for a lock.
async fn waiting(pipeline: &Pipeline) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    )
    .fetch_one(pipeline.store.pool())
    .await
    .unwrap()
}

async fn until(mut look: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !look().await {
        assert!(std::time::Instant::now() < deadline, "it does not come to that");
        tokio::task::yield_now().await;
    }
}

/// Workers that are cut off, dispatchers that vanish: each chunk is planned once.
async fn a_plan_is_made_whatever_dies(backend: Backend) {
    let mut pipeline = small(backend).await;
    let options = ImportOptions::default();
    let import = pipeline.accepted(&people(60), &first(&options)).await;
    // One time less than the attempts that a chunk has: it may be with a worker each time.
    for _ in 0..4 {
        let before = pipeline.report(import).await;
        let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(3));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let now = pipeline.report(import).await;
            if now.chunks.planned > before.chunks.planned || now.state == ImportState::Planned {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "no chunk is planned");
            tokio::task::yield_now().await;
        }
        // Not stopped: their tasks are cut off wherever they are.
        drop((worker, dispatcher));
        sqlx::query("update chunks set leased_until = now() where state = 'dispatched'")
            .execute(pipeline.store.pool())
            .await
            .unwrap();
    }
    work_on_plan(&mut pipeline, import).await;
    assert_eq!(pipeline.witness().await, (0, 0));
    let plan = summary(&pipeline, import).await;
    assert_eq!(plan.counts, Counts { total: 60, inserted: 60, ..Counts::default() });
    assert_eq!(records(&pipeline, import).await.len(), 60);
    let report = applied(&mut pipeline, import, OnDrift::Refuse).await;
    assert_eq!(report.counts, Counts { total: 60, inserted: 60, ..Counts::default() });
    pipeline.settle(pipeline.worker(1)).await;
    pipeline.finish().await;
}

/// Somebody changes users between the plan and its application.
async fn edited(pipeline: &Pipeline) {
    let edits = "update users set metadata = '{\"office\": \"Pisa\"}', version = version + 1 where email = 'a@example.com';
                 update users set family_name = 'Edited', version = version + 1 where email = 'b@example.com';
                 delete from users where email = 'c@example.com'";
    sqlx::raw_sql(edits).execute(pipeline.store.pool()).await.unwrap();
}

const LATER: &str = "email,given_name,custom__office\n\
                     a@example.com,Ann,Oslo\n\
                     b@example.com,Bob,Oslo\n\
                     c@example.com,Cid,Rome\n\
                     d@example.com,Dan,Oslo\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_whose_user_changed_since_the_plan_fails_and_names_the_fields() {
    let mut pipeline = small(Backend::Postgres).await;
    let options = ImportOptions::default();
    pipeline.import(BEFORE, &options).await;
    let import = plan(&mut pipeline, LATER, &options).await;
    edited(&pipeline).await;
    let since = summary(&pipeline, import).await.since.unwrap();
    assert_eq!((since.looked_at, since.changed), (2, 2));
    let report = applied(&mut pipeline, import, OnDrift::Refuse).await;
    assert_eq!(report.counts, Counts { total: 4, inserted: 1, updated: 1, failed: 2, ..Counts::default() });
    let failed = pipeline.records(import, Some(Outcome::Failed)).await;
    let told: Vec<(u64, ErrorCode)> =
        failed.iter().map(|record| (record.record, record.errors[0].code)).collect();
    assert_eq!(told, [(1, ErrorCode::ChangedSincePlan), (3, ErrorCode::ChangedSincePlan)]);
    let message = &failed[0].errors[0].message;
    assert!(message.contains("metadata.office") && !message.contains("Pisa"), "{message}");
    assert!(failed[1].errors[0].message.contains("`inserted`"), "{}", failed[1].errors[0].message);
    // Tried again, they are applied as things are now.
    lifecycle::retry(&pipeline.store, pipeline.tenant, import).await.unwrap();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 4, inserted: 2, updated: 2, ..Counts::default() }
    );
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_whose_user_changed_since_the_plan_is_applied_and_marked_where_that_is_wanted() {
    let mut pipeline = small(Backend::Postgres).await;
    let options = ImportOptions::default();
    pipeline.import(BEFORE, &options).await;
    let import = plan(&mut pipeline, LATER, &options).await;
    edited(&pipeline).await;
    let report = applied(&mut pipeline, import, OnDrift::Apply).await;
    assert_eq!(report.counts, Counts { total: 4, inserted: 2, updated: 2, ..Counts::default() });
    let all = pipeline.records(import, None).await;
    let warned: Vec<bool> = all.iter().map(|record| !record.warnings.is_empty()).collect();
    assert_eq!(warned, [true, false, true, false]);
    assert!(all[0].warnings[0].contains("metadata.office"), "{:?}", all[0].warnings);
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_can_be_dropped_resumed_and_made_anew() {
    let mut pipeline = small(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let options = ImportOptions::default();
    pipeline.import(BEFORE, &options).await;
    // What is compared by keys is to be forgotten, too.
    pipeline.limits.repeats = Memory::default();
    let import = plan(&mut pipeline, LATER, &options).await;
    assert_eq!(
        lifecycle::pause(&store, tenant, import).await.unwrap(),
        Transition::Refused(ImportState::Planned)
    );
    assert_eq!(
        lifecycle::retry(&store, tenant, import).await.unwrap(),
        Transition::Refused(ImportState::Planned)
    );
    edited(&pipeline).await;
    assert_eq!(
        lifecycle::plan(&store, tenant, import).await.unwrap(),
        Transition::Done(ImportState::Planning)
    );
    assert_eq!(
        lifecycle::proceed(&store, tenant, import).await.unwrap(),
        Transition::Refused(ImportState::Planning)
    );
    work_on_plan(&mut pipeline, import).await;
    let foreseen = verdicts(&records(&pipeline, import).await);
    assert_eq!(foreseen[2], (Outcome::Inserted, None));
    assert_eq!(plans::forget_keys(&store).await.unwrap(), 0, "a plan that waits may be made anew");
    let kept = keys(&pipeline).await;
    lifecycle::cancel(&store, tenant, import).await.unwrap();
    let cancelled = pipeline.report(import).await;
    assert_eq!(
        (cancelled.state, cancelled.counts),
        (ImportState::Cancelled, Counts { total: 4, skipped: 4, ..Counts::default() })
    );
    assert_eq!(plans::summary(&store, tenant, import).await.unwrap(), Some(None));
    assert_eq!((keys(&pipeline).await, kept > 0), (kept, true), "whoever cancels does not wait for them");
    no_keys_are_kept(&pipeline).await;
    // Nothing is applied that nobody saw: what is resumed is planned.
    assert_eq!(
        lifecycle::resume(&store, tenant, import).await.unwrap(),
        Transition::Done(ImportState::Planning)
    );
    work_on_plan(&mut pipeline, import).await;
    assert_eq!(verdicts(&records(&pipeline, import).await), foreseen);
    assert_eq!(applied(&mut pipeline, import, OnDrift::Refuse).await.counts.failed, 0);
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_person_is_in_no_plan() {
    let mut pipeline = small(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let options = ImportOptions::default();
    pipeline.import(BEFORE, &options).await;
    let csv = "email,given_name,custom__office\na@example.com,Ann,Oslo\nb@example.com,Bob,Oslo\n";
    let import = plan(&mut pipeline, csv, &options).await;
    let person = erase::person_by(&store, tenant, IdentifierField::Email, "a@example.com").await.unwrap();
    let erased = erase::erase(&store, tenant, &person, "operator").await.unwrap();
    assert!(erased.changes > 0, "{erased:?}");
    let planned = records(&pipeline, import).await;
    assert_eq!((planned[&1].before.len(), planned[&1].after.len(), planned[&1].user), (0, 0, None));
    assert_eq!(planned[&1].errors[0].code, ErrorCode::Erased);
    let report = applied(&mut pipeline, import, OnDrift::Refuse).await;
    assert_eq!(report.counts, Counts { total: 2, updated: 1, failed: 1, ..Counts::default() });
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_cannot_be_read_stops_no_erasure_and_is_not_applied() {
    let mut pipeline = small(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let options = ImportOptions::default();
    pipeline.import(BEFORE, &options).await;
    let csv = "email,given_name,custom__office\na@example.com,Ann,Oslo\nb@example.com,Bob,Oslo\n";
    let import = plan(&mut pipeline, csv, &options).await;
    sqlx::query("update plans set records = '\\x0901'::bytea where import_id = $1")
        .bind(import.get())
        .execute(store.pool())
        .await
        .unwrap();
    let person = erase::person_by(&store, tenant, IdentifierField::Email, "c@example.com").await.unwrap();
    erase::erase(&store, tenant, &person, "operator").await.unwrap();
    assert!(records(&pipeline, import).await.is_empty());
    assert_eq!(
        applied(&mut pipeline, import, OnDrift::Refuse).await.counts,
        Counts { total: 2, failed: 2, ..Counts::default() }
    );
    let failed = pipeline.records(import, Some(Outcome::Failed)).await;
    let codes: Vec<ErrorCode> = failed.iter().map(|record| record.errors[0].code).collect();
    assert_eq!(codes, [ErrorCode::ChangedSincePlan; 2]);
    pipeline.finish().await;
}

/// Somebody else makes the user that the plan makes, with the same values, after the plan was made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_not_applied_to_a_stranger_in_the_place_of_a_user_that_the_plan_makes() {
    for at_a_time in [1, 2] {
        let mut pipeline = small(Backend::Postgres).await;
        pipeline.limits.chunk.records = at_a_time;
        let options = ImportOptions::default();
        let csv = "email,given_name,custom__office\nn@example.com,New,Oslo\nn@example.com,New,Rome\n";
        let import = plan(&mut pipeline, csv, &options).await;
        let foreseen = verdicts(&records(&pipeline, import).await);
        assert_eq!(foreseen, [(Outcome::Inserted, None), (Outcome::Updated, None)]);
        pipeline.import("email,given_name,custom__office\nn@example.com,New,Oslo\n", &options).await;
        let left = users(&pipeline, true).await;
        assert_eq!(
            applied(&mut pipeline, import, OnDrift::Refuse).await.counts,
            Counts { total: 2, failed: 2, ..Counts::default() }
        );
        assert_eq!(users(&pipeline, true).await, left, "{at_a_time} a chunk");
        let failed = pipeline.records(import, Some(Outcome::Failed)).await;
        let codes: Vec<ErrorCode> = failed.iter().map(|record| record.errors[0].code).collect();
        assert_eq!(codes, [ErrorCode::ChangedSincePlan; 2]);
        pipeline.finish().await;
    }
}
