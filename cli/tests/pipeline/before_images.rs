//! What users had before an import changed them.

use muster_domain::chunk::decode;
use muster_domain::erase::Person;
use muster_domain::options::{IdentifierField, ImportOptions};
use muster_domain::outcome::Counts;
use muster_domain::undo::{Change, Kind, changes};
use muster_store::{erase, lifecycle, retention};
use serde_json::json;

use crate::harness::{Backend, Pipeline, people};
use crate::on_both_queues;

on_both_queues!(
    an_import_keeps_what_it_changed_and_nothing_else,
    a_chunk_that_is_applied_again_has_images_of_its_own,
    before_images_go_with_their_retention_and_with_their_import,
    an_erased_person_is_in_no_before_image,
);

const HASH: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

/// The rows that an import left, in their order: the changes, if any are written down.
pub(crate) async fn images(pipeline: &Pipeline, import: uuid::Uuid) -> Vec<Option<Vec<Change>>> {
    let rows: Vec<Option<Vec<u8>>> =
        sqlx::query_scalar("select images from before_images where import_id = $1 order by id")
            .bind(import)
            .fetch_all(pipeline.store.pool())
            .await
            .unwrap();
    let read = |bytes: Vec<u8>| changes(&decode(&bytes).unwrap()).into_iter().flatten().collect();
    rows.into_iter().map(|row| row.map(read)).collect()
}

async fn an_import_keeps_what_it_changed_and_nothing_else(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    // Users that one record each inserts are in the outcomes already; 60 users are 3 chunks at least.
    let first = pipeline.import(&people(60), &ImportOptions::default()).await;
    let kept = images(&pipeline, first.id.get()).await;
    assert!(kept.len() >= 3 && kept.iter().all(Option::is_none), "{kept:?}");

    // The same again changes nobody, and keeps nothing.
    let same = pipeline.import(&people(60), &ImportOptions::default()).await;
    assert_eq!(same.counts, Counts { total: 60, skipped: 60, ..Counts::default() });
    assert_eq!(images(&pipeline, same.id.get()).await, Vec::new());

    // One record changes a user, one inserts one with a password, and two come one upon the other.
    let csv = format!(
        "email,first_name,phone_number,custom__office,password_hash\n\
         user7@example.com,Ann,+85298765432,,{HASH}\n\
         new@example.com,New,,,{HASH}\n\
         user8@example.com,Bob,,Rome,\n\
         user8@example.com,Bo,,Rome,\n\
         late@example.com,L,,,\n\
         late@example.com,Late,,,\n"
    );
    let import = pipeline.import(&csv, &ImportOptions::default()).await;
    assert_eq!(import.counts, Counts { total: 6, inserted: 2, updated: 4, ..Counts::default() });
    let mut kept: Vec<Change> =
        images(&pipeline, import.id.get()).await.into_iter().flatten().flatten().collect();
    kept.sort_by_key(|change| change.record);
    let told: Vec<_> = kept
        .iter()
        .map(|change| {
            (change.kind, change.record, change.from, change.to, json!([change.before, change.after]))
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                Kind::Updated,
                1,
                1,
                2,
                json!([{"given_name": "Zoë 7"}, {"given_name": "Ann", "phone_number": "+85298765432"}])
            ),
            (
                Kind::Updated,
                4,
                1,
                3,
                json!([
                    {"given_name": "Zoë 8", "metadata.office": "Milan, 1"},
                    {"given_name": "Bo", "metadata.office": "Rome"}
                ])
            ),
            (Kind::Inserted, 6, 0, 2, json!([{}, {}])),
        ]
    );
    // No secret is anywhere in them.
    let all: Vec<Vec<u8>> = sqlx::query_scalar("select images from before_images where images is not null")
        .fetch_all(pipeline.store.pool())
        .await
        .unwrap();
    for bytes in all {
        let records = decode(&bytes).unwrap();
        assert!(!format!("{:?}", records.fields()).contains("N9qo8uLO"));
    }
    pipeline.finish().await;
}

/// A retry applies a chunk a second time: what the first time changed stays known, and so does what the second one did.
async fn a_chunk_that_is_applied_again_has_images_of_its_own(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline
        .import("email,phone_number\na@example.com,+85298765432\nb@example.com,\n", &ImportOptions::default())
        .await;
    // The second and third record fail while the number is somebody's.
    let csv = "email,phone_number,first_name\n\
               b@example.com,,Bea\n\
               b@example.com,+85298765432,Bea\n\
               c@example.com,+85298765432,Cid\n";
    let import = pipeline.import(csv, &ImportOptions::default()).await;
    assert_eq!(import.counts, Counts { total: 3, updated: 1, failed: 2, ..Counts::default() });
    sqlx::query("update users set phone_number = null, version = version + 1 where email = 'a@example.com'")
        .execute(pipeline.store.pool())
        .await
        .unwrap();
    lifecycle::retry(&pipeline.store, pipeline.tenant, import.id).await.unwrap();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    let report = pipeline.ended(import.id).await;
    worker.stop().await;
    dispatcher.stop().await;
    assert_eq!(report.counts.failed, 1, "one of the two has the number now: {:?}", report.counts);
    let kept = images(&pipeline, import.id.get()).await;
    assert_eq!(kept.len(), 2, "{kept:?}");
    let first = kept[0].as_ref().unwrap();
    assert_eq!(
        (first.len(), first[0].kind, json!(first[0].after)),
        (1, Kind::Updated, json!({"given_name": "Bea"}))
    );
    assert_eq!(kept[1].as_ref().unwrap().len(), 1, "{kept:?}");
    pipeline.finish().await;
}

async fn before_images_go_with_their_retention_and_with_their_import(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let first = pipeline.import(&people(30), &ImportOptions::default()).await;
    let second =
        pipeline.import("email,first_name\nuser1@example.com,Ann\n", &ImportOptions::default()).await;
    let store = pipeline.store.clone();
    assert_eq!(retention::forget_before_images(&store, 3600.0).await.unwrap(), 0);
    assert_eq!(images(&pipeline, second.id.get()).await.len(), 1);
    assert!(retention::forget_before_images(&store, 0.0).await.unwrap() >= 3);
    for import in [&first, &second] {
        assert_eq!(images(&pipeline, import.id.get()).await, Vec::new());
    }
    let third = pipeline.import("email,first_name\nuser1@example.com,Bea\n", &ImportOptions::default()).await;
    assert_eq!(images(&pipeline, third.id.get()).await.len(), 1);
    assert_eq!(retention::delete_ended(&store, 0.0).await.unwrap().imports, 3);
    let left: i64 =
        sqlx::query_scalar("select count(*) from before_images").fetch_one(store.pool()).await.unwrap();
    assert_eq!(left, 0);
    pipeline.finish().await;
}

async fn an_erased_person_is_in_no_before_image(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    let options = ImportOptions::default();
    let before = "email,first_name,custom__boss\nann-marker@example.com,AnnMarker,\nbob@example.com,Bob,ann-marker@example.com\n\
                  cid@example.com,Cid,bob@example.com\n";
    pipeline.import(before, &options).await;
    let after = "email,first_name,custom__boss\nann-marker@example.com,Ann,\nbob@example.com,Bob,eve@example.com\n\
                 cid@example.com,Cid,eve@example.com\n";
    let import = pipeline.import(after, &options).await;
    assert_eq!(import.counts, Counts { total: 3, updated: 3, ..Counts::default() });
    let told = |kept: Vec<Option<Vec<Change>>>| format!("{:?}", kept);
    let all = told(images(&pipeline, import.id.get()).await);
    assert!(all.contains("AnnMarker") && all.contains("ann-marker@example.com"), "{all}");
    let person =
        erase::person_by(&store, tenant, IdentifierField::Email, "ann-marker@example.com").await.unwrap();
    let erased = erase::erase(&store, tenant, &person, "operator").await.unwrap();
    // Hers, and the one of Bob, who had her as his boss.
    assert_eq!((erased.users, erased.changes), (1, 2));
    let kept = images(&pipeline, import.id.get()).await;
    let left: Vec<&Change> = kept.iter().flatten().flatten().collect();
    assert_eq!((left.len(), json!(left[0].before)), (1, json!({"metadata.boss": "bob@example.com"})));
    // Again it finds nothing.
    let again = erase::erase(&store, tenant, &Person { user: None, ..person }, "operator").await.unwrap();
    assert_eq!(again.changes, 0);
    pipeline.finish().await;
}
