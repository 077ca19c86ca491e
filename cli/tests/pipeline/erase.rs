//! Erasing a person.

use std::time::{Duration, Instant};

use muster_domain::erase::Person;
use muster_domain::error::ErrorCode;
use muster_domain::options::{IdentifierField, ImportOptions, OnExisting, Start};
use muster_domain::outcome::Counts;
use muster_domain::outcome::Outcome;
use muster_store::erase::{self, Erased};
use muster_store::undo::{self, NewUndo, OpenedUndo};
use muster_store::{lifecycle, users};

use crate::harness::{Backend, Pipeline};
use crate::on_both_queues;
use crate::undo::{taken_back, undone, whole};

on_both_queues!(
    an_erased_person_is_nowhere_any_more_and_comes_back_by_no_retry,
    a_record_that_is_on_its_way_to_a_worker_is_erased_with_its_person,
    an_erased_person_whom_an_undo_deleted_is_nowhere_any_more,
);

/// What stands in no other value.
const MARKS: [&str; 5] = ["ann-marker@example.com", "+85298765432", "AnnMarker", "MarkerNote", "marker-boss"];

/// Every row of every table, and every chunk as it was uploaded.
async fn everything(pipeline: &Pipeline) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "select quote_ident(relname) from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace",
    )
    .fetch_all(pipeline.store.pool())
    .await
    .unwrap();
    let mut all = String::new();
    for table in tables {
        let rows: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select row_to_json(t)::text from {table} as t")))
                .fetch_all(pipeline.store.pool())
                .await
                .unwrap();
        all.extend(rows);
    }
    let bodies: Vec<Vec<u8>> = sqlx::query_scalar(
        "select body from chunks union all select body from queue_messages
          union all select images from before_images where images is not null",
    )
    .fetch_all(pipeline.store.pool())
    .await
    .unwrap();
    for body in bodies {
        let chunk = muster_domain::chunk::decode(&body).unwrap();
        let fields = chunk.fields();
        all.push_str(&format!("{:?}", chunk.records(&fields).collect::<Vec<_>>()));
    }
    all
}

fn left(all: &str) -> Vec<&'static str> {
    MARKS.into_iter().filter(|mark| all.contains(mark)).collect()
}

async fn an_erased_person_is_nowhere_any_more_and_comes_back_by_no_retry(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    // Applied; failed; of somebody else; failed and names them; names them and was not to be applied; unread.
    let csv = "email,phone_number,first_name,custom__note\n\
               ann-marker@example.com,+85298765432,AnnMarker,MarkerNote\n\
               ann-marker@example.com,12,AnnMarker,MarkerNote\n\
               bob@example.com,,Bob,\n\
               dora@example.com,12,Dora,marker-boss is ann-marker@example.com\n\
               bob@example.com,,Bob,marker-boss is ANN-marker@example.com\n\
               ann-marker@example.com,+85298765432,AnnMarker,MarkerNote,extra\n";
    let options = ImportOptions { on_existing: OnExisting::Skip, ..ImportOptions::default() };
    let import = pipeline.import(csv, &options).await;
    assert_eq!(import.counts, Counts { total: 6, inserted: 2, skipped: 1, failed: 3, ..Counts::default() });
    // And one that waits: it must not bring them back.
    let waiting = ImportOptions { start: Start::Manual, ..ImportOptions::default() };
    let waiting = pipeline
        .accepted("email,first_name\nAnn-Marker@example.com,AnnMarker\nemil@example.com,Emil\n", &waiting)
        .await;
    assert_eq!(left(&everything(&pipeline).await), MARKS);

    let person = erase::person_by(&store, tenant, IdentifierField::Email, MARKS[0]).await.unwrap();
    assert_eq!(person.phone_number.as_deref(), Some(MARKS[1]));
    let user = person.user.unwrap();
    let erased = erase::erase(&store, tenant, &person, "operator").await.unwrap();
    assert_eq!(erased, Erased { users: 1, records: 5, mentions: 1, changes: 0 });
    assert_eq!(left(&everything(&pipeline).await), Vec::<&str>::new());
    assert_eq!(users::get(store.pool(), tenant, user).await.unwrap(), None);

    // Counts and outcomes are as they were; who failed has an error that says why nothing is left.
    assert_eq!(pipeline.report(import.id).await.counts, import.counts);
    let failed = pipeline.records(import.id, Some(Outcome::Failed)).await;
    let codes: Vec<ErrorCode> = failed.iter().map(|record| record.errors[0].code).collect();
    assert_eq!(codes, [ErrorCode::Erased; 3]);
    lifecycle::proceed(&store, tenant, waiting).await.unwrap();
    lifecycle::retry(&store, tenant, import.id).await.unwrap();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(
        pipeline.ended(waiting).await.counts,
        Counts { total: 2, inserted: 1, failed: 1, ..Counts::default() }
    );
    assert_eq!(pipeline.ended(import.id).await.counts, import.counts);
    assert_eq!(pipeline.records(waiting, Some(Outcome::Failed)).await[0].errors[0].code, ErrorCode::Erased);
    assert_eq!(left(&everything(&pipeline).await), Vec::<&str>::new());

    // Again it finds nothing, and is noted too: the fact stays, and cannot be changed.
    let again = erase::erase(&store, tenant, &Person { user: None, ..person }, "operator").await.unwrap();
    assert_eq!(again, Erased::default());
    let noted: Vec<(String, Option<uuid::Uuid>, serde_json::Value)> =
        sqlx::query_as("select actor, subject, counts from audit order by id")
            .fetch_all(store.pool())
            .await
            .unwrap();
    assert_eq!(
        noted[0],
        (
            "operator".into(),
            Some(user.get()),
            serde_json::json!({"users": 1, "records": 5, "mentions": 1, "changes": 0})
        )
    );
    assert_eq!(noted.len(), 2);
    for change in ["update audit set actor = 'nobody'", "delete from audit", "truncate audit"] {
        assert!(sqlx::raw_sql(change).execute(store.pool()).await.is_err(), "{change}");
    }
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// The message that is under way has the record still: the worker takes what is staged.
async fn a_record_that_is_on_its_way_to_a_worker_is_erased_with_its_person(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let import = pipeline
        .accepted("email\nann-marker@example.com\nbob@example.com\n", &ImportOptions::default())
        .await;
    let dispatcher = pipeline.dispatcher();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while pipeline.report(import).await.chunks.dispatched == 0
        || pipeline.queue.depth().await.unwrap().ready == 0
    {
        assert!(std::time::Instant::now() < deadline, "its chunks are dispatched");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let person = Person::known_by(IdentifierField::Email, MARKS[0].into());
    assert_eq!(erase::erase(&store, tenant, &person, "operator").await.unwrap().records, 1);
    let worker = pipeline.worker(2);
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 2, inserted: 1, failed: 1, ..Counts::default() }
    );
    assert_eq!(users::find(store.pool(), tenant, IdentifierField::Email, MARKS[0]).await.unwrap(), None);
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// Nothing but what the undo kept tells that the user was theirs: the other changes of it name nobody.
async fn an_erased_person_whom_an_undo_deleted_is_nowhere_any_more(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    // Each record has a chunk of its own: the first inserts the user, the second changes it.
    pipeline.limits.chunk.records = 1;
    let csv = "email,phone_number,preferred_username,first_name,custom__note\n\
               ann-marker@example.com,+85298765432,marker-boss,AnnMarker,MarkerNote\n\
               ann-marker@example.com,,,Ann,Another\n\
               bob@example.com,,bob,Bob,\n";
    let import = pipeline.import(csv, &ImportOptions::default()).await;
    assert_eq!(import.counts, Counts { total: 3, inserted: 2, updated: 1, ..Counts::default() });
    let undo = taken_back(&mut pipeline, import.id).await;
    assert_eq!(pipeline.users().await, Vec::<String>::new());
    assert_eq!(left(&everything(&pipeline).await), MARKS);

    let person =
        erase::person_by(&store, tenant, IdentifierField::PreferredUsername, MARKS[4]).await.unwrap();
    assert_eq!(person.user, None);
    let erased = erase::erase(&store, tenant, &person, "operator").await.unwrap();
    assert!(erased.users == 0 && erased.changes >= 2, "{erased:?}");
    assert_eq!(left(&everything(&pipeline).await), Vec::<&str>::new());
    assert!(everything(&pipeline).await.contains("bob@example.com"), "others stay");
    let again = erase::erase(&store, tenant, &person, "operator").await.unwrap();
    assert_eq!(again, Erased::default());

    // What is taken back makes the others again, and not her.
    let again = whole(&pipeline, undo);
    undone(&mut pipeline, &again).await;
    assert_eq!(pipeline.users().await, ["bob@example.com|-|bob|Bob|-"]);
    assert_eq!(left(&everything(&pipeline).await), Vec::<&str>::new());
    pipeline.finish().await;
}

/// Whether somebody waits for a lock of this kind.
async fn waits(pipeline: &Pipeline, kind: &str) -> bool {
    sqlx::query_scalar(
        "select exists (select from pg_locks
                         where not granted and locktype = $1
                           and database = (select oid from pg_database where datname = current_database()))",
    )
    .bind(kind)
    .fetch_one(pipeline.store.pool())
    .await
    .unwrap()
}

/// The undo has copies of what the import changed when the person is erased, and is to be seen only after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_undo_that_is_being_opened_is_erased_too() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let plain = ImportOptions::default();
    pipeline.import("email,first_name\nann-marker@example.com,AnnMarker\n", &plain).await;
    let import = pipeline.import("email,first_name\nann-marker@example.com,Other\n", &plain).await.id;
    let new = NewUndo { start: Start::Manual, ..whole(&pipeline, import) };
    let person =
        erase::person_by(&store, tenant, IdentifierField::Email, "ann-marker@example.com").await.unwrap();
    let mut gate = store.dedicated_connection().await.unwrap();
    sqlx::raw_sql("begin; lock table imports in share mode").execute(&mut gate).await.unwrap();
    let opening = tokio::spawn({
        let store = store.clone();
        async move { undo::open(&store, &new).await }
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    while !waits(&pipeline, "relation").await {
        assert!(Instant::now() < deadline && !opening.is_finished(), "its last statement waits for the gate");
        tokio::task::yield_now().await;
    }
    let erasing = tokio::spawn({
        let store = store.clone();
        async move { erase::erase(&store, tenant, &person, "operator").await }
    });
    while !erasing.is_finished() && !waits(&pipeline, "advisory").await {
        assert!(Instant::now() < deadline, "it neither waits nor ends");
        tokio::task::yield_now().await;
    }
    sqlx::raw_sql("commit").execute(&mut gate).await.unwrap();
    assert!(matches!(opening.await.unwrap().unwrap(), OpenedUndo::New { records: 1, .. }));
    erasing.await.unwrap().unwrap();
    assert_eq!(left(&everything(&pipeline).await), Vec::<&str>::new());
    pipeline.finish().await;
}
