//! Several undos of one import, and an import that is driven again when it was undone.

use muster_domain::outcome::Counts;
use std::time::{Duration, Instant};

use muster_domain::chunk::ChunkLimits;
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::options::Start;
use muster_domain::planned::OnDrift;
use muster_domain::trace::TraceContext;
use muster_runtime::telemetry::traces;
use muster_store::lifecycle::{self, Transition};
use muster_store::undo::{self, NewUndo, OpenedUndo, Refusal};
use muster_store::{apply, dispatch};

use super::story::execute;
use super::{opened, plain, taken_back, undone, users, whole};
use crate::harness::{Backend, Pipeline, people};
use crate::plan::{applied, work_on_plan};

/// An undo that waits.
fn waiting(pipeline: &Pipeline, of: ImportId) -> NewUndo {
    NewUndo { start: Start::Manual, ..whole(pipeline, of) }
}

async fn open(pipeline: &Pipeline, new: &NewUndo) -> OpenedUndo {
    undo::open(&pipeline.store, new).await.unwrap()
}

/// What is open is worked off.
async fn worked_off(pipeline: &mut Pipeline, import: ImportId) -> ImportState {
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    let state = pipeline.ended(import).await.state;
    worker.stop().await;
    dispatcher.stop().await;
    state
}

/// Two records of a user, in a chunk each, and the same of a user that the import inserts.
async fn twice(pipeline: &mut Pipeline) -> ImportId {
    pipeline.limits.chunk = ChunkLimits { records: 2, bytes: 64 * 1024, lanes: 1 };
    let csv =
        "email,first_name\nuser0@example.com,A\nnew@example.com,N\nuser0@example.com,B\nnew@example.com,M\n";
    let import = pipeline.import(csv, &plain()).await;
    assert_eq!(import.counts, Counts { total: 4, inserted: 1, updated: 3, ..Counts::default() });
    import.id
}

#[tokio::test(flavor = "multi_thread")]
async fn what_parts_took_back_is_no_change_of_somebody_else() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.import(&people(1), &plain()).await;
    let before = users(&pipeline, true).await;
    let import = twice(&mut pipeline).await;
    let mut part = whole(&pipeline, import);
    part.records = "3-4".parse().ok();
    assert_eq!(
        undone(&mut pipeline, &part).await.counts,
        Counts { total: 2, updated: 2, ..Counts::default() }
    );
    assert_eq!(pipeline.users().await[0], "new@example.com|-|-|N|-");
    let rest = whole(&pipeline, import);
    assert_eq!(
        undone(&mut pipeline, &rest).await.counts,
        Counts { total: 4, updated: 2, skipped: 2, ..Counts::default() }
    );
    assert_eq!(users(&pipeline, true).await, before);
    pipeline.finish().await;
}

/// A part of the fields is no change of somebody else either, whether it took back all of a change or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_fields_were_taken_back_one_by_one_is_deleted_with_the_rest() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.import(&people(1), &plain()).await;
    let before = users(&pipeline, true).await;
    pipeline.limits.chunk = ChunkLimits { records: 2, bytes: 64 * 1024, lanes: 1 };
    let csv = "email,first_name,custom__office
user0@example.com,A,
new@example.com,N,
user0@example.com,B,Oslo
new@example.com,M,Oslo
";
    let import = pipeline.import(csv, &plain()).await;
    assert_eq!(import.counts, Counts { total: 4, inserted: 1, updated: 3, ..Counts::default() });
    let mut part = whole(&pipeline, import.id);
    part.fields = vec!["given_name".into()];
    assert_eq!(
        undone(&mut pipeline, &part).await.counts,
        Counts { total: 3, updated: 3, ..Counts::default() }
    );
    let rest = whole(&pipeline, import.id);
    assert_eq!(
        undone(&mut pipeline, &rest).await.counts,
        Counts { total: 4, updated: 3, skipped: 1, ..Counts::default() }
    );
    assert_eq!(users(&pipeline, true).await, before);
    pipeline.finish().await;
}

/// The later of two changes was taken back and the earlier one failed, of a user that is older than the import.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_undo_gave_back_before_it_failed_is_no_change_of_somebody_else() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.import("email,first_name,custom__office\na@example.com,Ann,Milan\n", &plain()).await;
    execute(
        &pipeline,
        "update users
            set id = (lpad(to_hex((extract(epoch from now() - interval '2 hours') * 1000)::bigint), 12, '0')
                      || '70008000000000000001')::uuid",
    )
    .await;
    pipeline.limits.chunk = ChunkLimits { records: 1, bytes: 64 * 1024, lanes: 1 };
    let csv = "email,first_name,custom__office\na@example.com,Bea,Rome\na@example.com,Cleo,\n";
    let import = pipeline.import(csv, &plain()).await.id;
    let mut first = NewUndo { start: Start::Plan, ..whole(&pipeline, import) };
    first.chunk.records = 1;
    opened(&pipeline, &first).await;
    work_on_plan(&mut pipeline, first.id).await;
    execute(&pipeline, "update users set metadata = '{\"office\": \"Pisa\"}', version = version + 1").await;
    let counts = applied(&mut pipeline, first.id, OnDrift::Refuse).await.counts;
    assert_eq!(counts, Counts { total: 2, updated: 1, failed: 1, ..Counts::default() });
    let second = whole(&pipeline, import);
    assert_eq!(
        undone(&mut pipeline, &second).await.counts,
        Counts { total: 2, updated: 1, skipped: 1, ..Counts::default() }
    );
    let seen: String = sqlx::query_scalar("select given_name || ' ' || (metadata ->> 'office') from users")
        .fetch_one(pipeline.store.pool())
        .await
        .unwrap();
    assert_eq!(seen, "Ann Pisa");
    pipeline.finish().await;
}

/// What one part took back and somebody changed then is theirs.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_after_a_part_was_taken_back_is_left_alone() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.import(&people(1), &plain()).await;
    let import = twice(&mut pipeline).await;
    let mut part = whole(&pipeline, import);
    part.records = "3-4".parse().ok();
    undone(&mut pipeline, &part).await;
    execute(&pipeline, "update users set given_name = given_name || '!', version = version + 1").await;
    let rest = whole(&pipeline, import);
    assert_eq!(
        undone(&mut pipeline, &rest).await.counts,
        Counts { total: 4, skipped: 4, ..Counts::default() }
    );
    assert_eq!(pipeline.users().await.len(), 2);
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_undo_that_changed_something_is_resumed_and_not_begun_again() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let import = pipeline.import(&people(300), &plain()).await;
    let mut new = whole(&pipeline, import.id);
    new.chunk = ChunkLimits { records: 2, bytes: 64 * 1024, lanes: 1 };
    opened(&pipeline, &new).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(1));
    let deadline = Instant::now() + Duration::from_secs(60);
    while pipeline.report(new.id).await.counts.updated == 0 {
        assert!(Instant::now() < deadline, "no progress");
        tokio::task::yield_now().await;
    }
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    assert_eq!(
        lifecycle::cancel(&store, tenant, new.id).await.unwrap(),
        Transition::Done(ImportState::Cancelled)
    );
    let again = whole(&pipeline, import.id);
    assert_eq!(open(&pipeline, &again).await, OpenedUndo::Refused(Refusal::Undone(new.id)));
    let preview = undo::preview(&store, tenant, import.id).await.unwrap().unwrap();
    assert_eq!(preview.undone_by, Some(new.id));
    assert_eq!(
        lifecycle::resume(&store, tenant, new.id).await.unwrap(),
        Transition::Done(ImportState::Running)
    );
    assert_eq!(pipeline.ended(new.id).await.counts, Counts { total: 300, updated: 300, ..Counts::default() });
    assert_eq!(pipeline.witness().await, (0, 0));
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_undo_is_not_resumed_beside_another() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let import = pipeline.import(&people(10), &plain()).await.id;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let first = waiting(&pipeline, import);
    opened(&pipeline, &first).await;
    lifecycle::cancel(&store, tenant, first.id).await.unwrap();
    // One that is being planned is open too.
    let planned = NewUndo { start: Start::Plan, ..whole(&pipeline, import) };
    opened(&pipeline, &planned).await;
    let refused = Transition::Undone(Refusal::Undone(planned.id));
    assert_eq!(lifecycle::resume(&store, tenant, first.id).await.unwrap(), refused);
    lifecycle::cancel(&store, tenant, planned.id).await.unwrap();
    let second = waiting(&pipeline, import);
    opened(&pipeline, &second).await;
    let refused = Transition::Undone(Refusal::Undone(second.id));
    assert_eq!(lifecycle::resume(&store, tenant, first.id).await.unwrap(), refused);
    assert_eq!(pipeline.report(first.id).await.state, ImportState::Cancelled);
    // Of many at once, resumed or begun, one is it.
    lifecycle::cancel(&store, tenant, second.id).await.unwrap();
    let third = waiting(&pipeline, import);
    let (one, other, begun) = tokio::join!(
        lifecycle::resume(&store, tenant, first.id),
        lifecycle::resume(&store, tenant, second.id),
        undo::open(&store, &third)
    );
    let resumed = [one.unwrap(), other.unwrap()];
    let running =
        resumed.iter().filter(|steered| **steered == Transition::Done(ImportState::Running)).count();
    assert_eq!(running + usize::from(matches!(begun.unwrap(), OpenedUndo::New { .. })), 1, "{resumed:?}");
    for undo in [first.id, second.id, third.id] {
        lifecycle::cancel(&store, tenant, undo).await.unwrap();
    }
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_not_driven_again_while_it_is_undone() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline
        .import("email,phone_number\na@example.com,+85298765432\nb@example.com,\nc@example.com,\n", &plain())
        .await;
    let before = users(&pipeline, true).await;
    // The number of the first is the wish of the second, which fails.
    let csv = "email,phone_number,first_name\nb@example.com,+85298765432,Bea\nc@example.com,,Cid\n";
    let import = pipeline.import(csv, &plain()).await;
    assert_eq!(import.counts, Counts { total: 2, updated: 1, failed: 1, ..Counts::default() });
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let first = waiting(&pipeline, import.id);
    opened(&pipeline, &first).await;
    let refused = Transition::Undone(Refusal::Undone(first.id));
    assert_eq!(lifecycle::retry(&store, tenant, import.id).await.unwrap(), refused);
    lifecycle::proceed(&store, tenant, first.id).await.unwrap();
    worked_off(&mut pipeline, first.id).await;
    assert_eq!(users(&pipeline, true).await, before);
    assert_eq!(
        open(&pipeline, &whole(&pipeline, import.id)).await,
        OpenedUndo::Refused(Refusal::Undone(first.id))
    );

    // Driven again it changes something once more, and that can be undone as well.
    execute(&pipeline, "update users set phone_number = null where email = 'a@example.com'").await;
    let before = users(&pipeline, true).await;
    assert_eq!(
        lifecycle::retry(&store, tenant, import.id).await.unwrap(),
        Transition::Done(ImportState::Running)
    );
    let refused = Transition::Undone(Refusal::State(ImportState::Running));
    assert_eq!(lifecycle::retry(&store, tenant, first.id).await.unwrap(), refused);
    assert_eq!(worked_off(&mut pipeline, import.id).await, ImportState::Completed);
    assert_ne!(users(&pipeline, true).await, before);
    let second = whole(&pipeline, import.id);
    assert_eq!(undone(&mut pipeline, &second).await.counts.failed, 0);
    assert_eq!(users(&pipeline, true).await, before);
    assert_eq!(
        open(&pipeline, &whole(&pipeline, import.id)).await,
        OpenedUndo::Refused(Refusal::Undone(second.id))
    );
    pipeline.finish().await;
}

/// The later change could not be taken back, so that the earlier one was left alone. A retry of the undo does not mend that, and another
/// undo does.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_undo_failed_to_take_back_another_one_does() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.import(&people(1), &plain()).await;
    let before = users(&pipeline, true).await;
    let import = twice(&mut pipeline).await;
    let mut first = whole(&pipeline, import);
    first.chunk = ChunkLimits { records: 2, bytes: 64 * 1024, lanes: 1 };
    opened(&pipeline, &first).await;
    let head = dispatch::lane_heads(&pipeline.store).await.unwrap()[0].chunk;
    assert!(apply::mark_dead(&pipeline.store, head, "for a test").await.unwrap());
    worked_off(&mut pipeline, first.id).await;
    let counted = pipeline.report(first.id).await.counts;
    assert_eq!(counted, Counts { total: 4, skipped: 2, failed: 2, ..Counts::default() });
    lifecycle::retry(&pipeline.store, pipeline.tenant, first.id).await.unwrap();
    worked_off(&mut pipeline, first.id).await;
    assert_ne!(users(&pipeline, true).await, before);
    let second = taken_back_again(&mut pipeline, import).await;
    assert_eq!(users(&pipeline, true).await, before);
    // Nothing failed in this one, so there is none after it.
    assert_eq!(
        open(&pipeline, &whole(&pipeline, import)).await,
        OpenedUndo::Refused(Refusal::Undone(second))
    );
    // Undone, it is as it was before this one.
    taken_back(&mut pipeline, second).await;
    pipeline.finish().await;
}

async fn taken_back_again(pipeline: &mut Pipeline, import: ImportId) -> ImportId {
    let new = whole(pipeline, import);
    assert_eq!(undone(pipeline, &new).await.counts.failed, 0);
    new.id
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_belongs_to_the_trace_of_its_request() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let import = pipeline.import(&people(1), &plain()).await.id;
    let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let new = whole(&pipeline, import);
    traces::within(TraceContext::parse(header), undone(&mut pipeline, &new)).await;
    let mut connection = pipeline.store.connection().await.unwrap();
    let kept: Vec<Option<String>> = sqlx::query_scalar("select traceparent from imports order by id")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept, [None, Some(header.to_owned())], "the import was of nobody's trace");
    pipeline.finish().await;
}
