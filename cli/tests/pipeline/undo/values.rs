//! Values that an undo gives back, and what it says of who changed them.

use muster_domain::catalog::Catalog;
use muster_domain::chunk::ChunkLimits;
use muster_domain::options::{Enrolment, ImportOptions};
use muster_domain::outcome::Counts;
use muster_domain::outcome::{Outcome, Reason};
use muster_domain::parse::Format;
use muster_store::applications::{self, Application};
use muster_store::catalog;
use serde_json::json;
use uuid::Uuid;

use super::story::execute;
use super::{orphans, plain, taken_back, undone, users, whole};
use crate::harness::{Backend, Pipeline, people};

async fn flags(pipeline: &Pipeline) -> Vec<(String, Option<bool>)> {
    sqlx::query_as("select email, (profile ->> 'email_verified')::boolean from users order by email")
        .fetch_all(pipeline.store.pool())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verified_flag_does_not_stay_beside_an_address_that_was_never_verified() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline
        .import(
            "email,email_verified\na@example.com,\nb@example.com,true\nc@example.com,\nd@example.com,true\n",
            &plain(),
        )
        .await;
    // The import moves addresses; then their users verify the new ones.
    let import = pipeline
        .import("email,new_email\na@example.com,a2@example.com\nb@example.com,b2@example.com\n", &plain())
        .await;
    execute(
        &pipeline,
        "update users set profile = '{\"email_verified\": true}', version = version + 1
          where email in ('a2@example.com', 'b2@example.com')",
    )
    .await;
    let new = whole(&pipeline, import.id);
    assert_eq!(
        undone(&mut pipeline, &new).await.counts,
        Counts { total: 2, updated: 2, ..Counts::default() }
    );
    let known = |email: &str, verified: Option<bool>| (email.to_owned(), verified);
    let before = [
        known("a@example.com", None),
        known("b@example.com", Some(true)),
        known("c@example.com", None),
        known("d@example.com", Some(true)),
    ];
    assert_eq!(flags(&pipeline).await, before);
    // It is a change as any other: undone, the address is verified again.
    let again = whole(&pipeline, new.id);
    undone(&mut pipeline, &again).await;
    assert_eq!(
        flags(&pipeline).await[..2],
        [known("a2@example.com", Some(true)), known("b2@example.com", Some(true))]
    );
    taken_back(&mut pipeline, again.id).await;

    // The import says as well that the new addresses are verified. The addresses alone are taken back.
    pipeline.limits.chunk = ChunkLimits { records: 20, bytes: 64 * 1024, lanes: 1 };
    let csv = "email,new_email,email_verified\nc@example.com,c2@example.com,\nc2@example.com,,true\n\
               d@example.com,d2@example.com,\nd2@example.com,,true\n";
    let import = pipeline.import(csv, &plain()).await;
    assert_eq!(
        flags(&pipeline).await[2..],
        [known("c2@example.com", Some(true)), known("d2@example.com", Some(true))]
    );
    let mut new = whole(&pipeline, import.id);
    new.fields = vec!["email".into()];
    assert_eq!(
        undone(&mut pipeline, &new).await.counts,
        Counts { total: 2, updated: 2, ..Counts::default() }
    );
    assert_eq!(flags(&pipeline).await, before);
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_takes_large_numbers_back() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.import("email\na@example.com\n", &plain()).await;
    let before = users(&pipeline, true).await;
    let json =
        r#"[{"email": "a@example.com", "metadata": {"large": 1e16, "whole": 1.0, "deep": {"n": [2e3]}}}]"#;
    let import = pipeline.import(json, &ImportOptions { format: Format::Json, ..plain() }).await;
    assert_eq!(import.counts, Counts { total: 1, updated: 1, ..Counts::default() });
    taken_back(&mut pipeline, import.id).await;
    assert_eq!(users(&pipeline, true).await, before);
    pipeline.finish().await;
}

/// A file that is imported each night has the values that users have; it is not the one that changed them.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changed_nothing_of_a_user_is_not_named() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.limits.chunk = ChunkLimits { records: 20, bytes: 64 * 1024, lanes: 1 };
    pipeline.import(&people(2), &plain()).await;
    let import =
        pipeline.import("email,first_name\nuser0@example.com,A\nuser1@example.com,B\n", &plain()).await;
    execute(
        &pipeline,
        "update users set given_name = 'By hand', version = version + 1 where email = 'user0@example.com'",
    )
    .await;
    let named = pipeline.import("email,first_name\nuser1@example.com,Named\n", &plain()).await;
    let nightly = "email,first_name\nuser0@example.com,By hand\nuser1@example.com,Named\nnew@example.com,N\n";
    assert_eq!(
        pipeline.import(nightly, &plain()).await.counts,
        Counts { total: 3, inserted: 1, skipped: 2, ..Counts::default() }
    );
    let new = whole(&pipeline, import.id);
    assert_eq!(
        undone(&mut pipeline, &new).await.counts,
        Counts { total: 2, skipped: 2, ..Counts::default() }
    );
    let mut records = pipeline.records(new.id, None).await;
    records.sort_by_key(|record| record.user_id);
    let told: Vec<String> = records.into_iter().flat_map(|record| record.warnings).collect();
    assert_eq!(
        told,
        [
            "changed since, and left as it is: given_name".to_owned(),
            format!("changed since by import {}, and left as it is: given_name", named.id),
        ]
    );
    pipeline.finish().await;
}

async fn organization(pipeline: &Pipeline) -> i32 {
    let catalog: Catalog =
        serde_json::from_value(json!({"organizations": [{"slug": "acme", "name": "Acme"}]})).unwrap();
    catalog::apply(&pipeline.store, pipeline.tenant, &catalog).await.unwrap();
    sqlx::query_scalar("select id from organizations where slug = 'acme'")
        .fetch_one(pipeline.store.pool())
        .await
        .unwrap()
}

/// An organization went while nobody was in it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_put_back_into_what_the_catalog_no_longer_has() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let enrolment = Some(Enrolment { organization_id: organization(&pipeline).await, group_id: 0 });
    pipeline.import(&people(1), &plain()).await;
    let import = pipeline.import(&people(2), &ImportOptions { enrolment, ..plain() }).await;
    assert_eq!(import.counts, Counts { total: 2, inserted: 1, updated: 1, ..Counts::default() });
    let undo = taken_back(&mut pipeline, import.id).await;
    execute(&pipeline, "delete from organizations").await;
    let again = whole(&pipeline, undo);
    assert_eq!(
        undone(&mut pipeline, &again).await.counts,
        Counts { total: 2, inserted: 1, skipped: 1, ..Counts::default() }
    );
    let told: Vec<String> =
        pipeline.records(again.id, None).await.into_iter().flat_map(|record| record.warnings).collect();
    let lost = |text: &&String| {
        text.starts_with("memberships.") && text.contains("the catalog no longer has what it names")
    };
    assert_eq!((told.len(), told.iter().filter(lost).count()), (2, 2), "{told:?}");
    let memberships: i64 = sqlx::query_scalar("select count(*) from memberships")
        .fetch_one(pipeline.store.pool())
        .await
        .unwrap();
    assert_eq!((memberships, pipeline.users().await.len()), (0, 2));
    pipeline.finish().await;
}

/// The user is deleted when the undo has found it, before it gives the membership back.
#[cfg(feature = "faults")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_membership_that_is_given_back_does_not_outlive_its_user() {
    use muster_domain::fault::{self, Point};

    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let enrolment = Some(Enrolment { organization_id: organization(&pipeline).await, group_id: 0 });
    pipeline.import(&people(1), &plain()).await;
    let import = pipeline.import(&people(1), &ImportOptions { enrolment, ..plain() }).await;
    assert_eq!(import.counts, Counts { total: 1, updated: 1, ..Counts::default() });
    let undo = taken_back(&mut pipeline, import.id).await;
    let again = whole(&pipeline, undo);
    let (store, here) = (pipeline.store.clone(), tokio::runtime::Handle::current());
    fault::call_at(Point::Planned, move || {
        tokio::task::block_in_place(|| {
            here.block_on(async { sqlx::raw_sql("delete from users").execute(store.pool()).await.unwrap() })
        });
    });
    assert_eq!(
        undone(&mut pipeline, &again).await.counts,
        Counts { total: 1, skipped: 1, ..Counts::default() }
    );
    assert_eq!(pipeline.outcomes(again.id).await, [(Outcome::Skipped, Some(Reason::Gone))]);
    assert_eq!(orphans(&pipeline).await, 0);
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_was_registered_for_an_application_is_kept() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let organization_id = organization(&pipeline).await;
    let import = pipeline.import(&people(2), &plain()).await;
    let user: Uuid = sqlx::query_scalar("select id from users where email = 'user1@example.com'")
        .fetch_one(pipeline.store.pool())
        .await
        .unwrap();
    let (project, application) = ("p".parse().unwrap(), "a".parse().unwrap());
    let place = Application { organization_id, project: &project, application: &application };
    let fields = json!({"k": 1}).as_object().unwrap().clone();
    let mut connection = pipeline.store.connection().await.unwrap();
    let versions = async || -> i64 { pipeline.witness().await.1 };
    for (active, expected) in [(true, 3), (true, 3), (false, 4), (false, 4)] {
        let registered =
            applications::register(&mut connection, pipeline.tenant, place, user, Some(&fields), active);
        assert_eq!(registered.await.unwrap().active, active);
        assert_eq!(versions().await, expected, "the same again is no touch");
    }
    let nobody =
        applications::register(&mut connection, pipeline.tenant, place, Uuid::nil(), None, true).await;
    assert!(matches!(nobody, Err(muster_store::StoreError::Conflict(_))), "{nobody:?}");
    drop(connection);
    let new = whole(&pipeline, import.id);
    assert_eq!(
        undone(&mut pipeline, &new).await.counts,
        Counts { total: 2, updated: 1, skipped: 1, ..Counts::default() }
    );
    let members: i64 =
        sqlx::query_scalar("select count(*) from application_members join users on users.id = user_id")
            .fetch_one(pipeline.store.pool())
            .await
            .unwrap();
    assert_eq!(members, 1);
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_read_fails_and_says_so() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let import = pipeline.import(&people(1), &plain()).await;
    let new = whole(&pipeline, import.id);
    super::opened(&pipeline, &new).await;
    // Another chunk's body can be read, and has no change in it.
    let damaged = "update chunks as c set body = other.body, body_hash = other.body_hash
                     from chunks as other where c.import_id = $1 and other.import_id = $2";
    sqlx::query(damaged)
        .bind(new.id.get())
        .bind(import.id.get())
        .execute(pipeline.store.pool())
        .await
        .unwrap();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(pipeline.ended(new.id).await.counts, Counts { total: 1, failed: 1, ..Counts::default() });
    worker.stop().await;
    dispatcher.stop().await;
    let failed = pipeline.records(new.id, None).await;
    assert_eq!(failed[0].errors[0].code.as_str(), "change_unreadable");
    pipeline.finish().await;
}
