//! What an undo does, case by case.

use muster_domain::catalog::Catalog;
use muster_domain::chunk::ChunkLimits;
use muster_domain::import::ImportState;
use muster_domain::options::{Enrolment, ImportOptions, Start};
use muster_domain::outcome::Counts;
use muster_domain::outcome::{Outcome, Reason};
use muster_store::lifecycle::{self, Transition};
use muster_store::undo::{self, OpenedUndo, Refusal};
use muster_store::{catalog, retention};
use serde_json::json;

use super::{opened, orphans, plain, taken_back, undone, users, whole};
use crate::harness::{Backend, Pipeline, people};
use crate::on_both_queues;

on_both_queues!(
    an_undone_import_leaves_everything_as_it_was_and_can_be_had_back,
    what_somebody_changed_since_is_left_alone_and_told,
    users_that_exchanged_unique_values_get_them_back,
    a_user_that_an_import_inserted_and_changed_later_is_deleted,
    a_user_that_was_touched_is_kept,
    a_value_that_somebody_took_is_not_taken_from_them,
    a_flag_does_not_come_back_beside_another_value,
    an_undo_takes_back_what_is_named_and_nothing_else,
    what_cannot_be_undone_is_refused_with_its_reason,
    an_undo_ends_once_whatever_dies,
    credentials_and_memberships_go_with_their_users,
    an_undo_waits_is_cancelled_and_can_be_begun_again,
);

const HASH: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

pub(super) async fn execute(pipeline: &Pipeline, sql: &'static str) {
    assert!(sqlx::raw_sql(sql).execute(pipeline.store.pool()).await.unwrap().rows_affected() > 0, "{sql}");
}

async fn an_undone_import_leaves_everything_as_it_was_and_can_be_had_back(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline.import(&people(60), &plain()).await;
    let before = users(&pipeline, true).await;
    let mut csv = String::from("email,first_name,phone_number,custom__office,locked\n");
    for at in 30..90 {
        csv.push_str(&format!("user{at}@example.com,Other {at},+8529876{at:04},Rome,true\n"));
    }
    let import = pipeline.import(&csv, &plain()).await;
    assert_eq!(import.counts, Counts { total: 60, inserted: 30, updated: 30, ..Counts::default() });
    let left = users(&pipeline, true).await;
    assert_ne!(before, left);

    let new = whole(&pipeline, import.id);
    let report = undone(&mut pipeline, &new).await;
    assert_eq!(
        (report.state, report.counts),
        (ImportState::Completed, Counts { total: 60, updated: 60, ..Counts::default() })
    );
    assert_eq!(users(&pipeline, true).await, before);
    let deleted =
        pipeline.outcomes(new.id).await.into_iter().filter(|(_, reason)| *reason == Some(Reason::Deleted));
    assert_eq!(deleted.count(), 30);

    // The undo is an import, and is undone like one.
    let again = whole(&pipeline, new.id);
    let report = undone(&mut pipeline, &again).await;
    assert_eq!(report.counts, Counts { total: 60, inserted: 30, updated: 30, ..Counts::default() });
    assert_eq!(users(&pipeline, true).await, left);
    let third = whole(&pipeline, again.id);
    undone(&mut pipeline, &third).await;
    assert_eq!(users(&pipeline, true).await, before);
    pipeline.finish().await;
}

async fn what_somebody_changed_since_is_left_alone_and_told(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline.import(&people(3), &plain()).await;
    let csv = "email,first_name,last_name,custom__office\nuser0@example.com,A,B,Rome\nuser1@example.com,A,B,Rome\n\
               user2@example.com,A,B,Rome\n";
    let import = pipeline.import(csv, &plain()).await;
    // Another import changes one field of one and all fields of another; a person takes one back by hand.
    let first = pipeline.import("email,first_name\nuser0@example.com,Edited\n", &plain()).await;
    execute(&pipeline, "update users set given_name = 'X', family_name = 'Y', metadata = '{\"office\": \"Z\"}', version = version + 1 where email = 'user1@example.com'").await;
    execute(
        &pipeline,
        "update users set given_name = 'Zoë 2', family_name = null, metadata = '{\"office\": \"Milan, 2\"}', version = version + 1
          where email = 'user2@example.com'",
    )
    .await;
    let new = whole(&pipeline, import.id);
    let report = undone(&mut pipeline, &new).await;
    assert_eq!(report.counts, Counts { total: 3, updated: 1, skipped: 2, ..Counts::default() });
    assert_eq!(
        pipeline.users().await,
        [
            "user0@example.com|-|-|Edited|-|{\"office\": \"Milan, 0\"}",
            "user1@example.com|-|-|X|Y|{\"office\": \"Z\"}",
            "user2@example.com|-|-|Zoë 2|-|{\"office\": \"Milan, 2\"}",
        ]
    );
    let mut records = pipeline.records(new.id, None).await;
    records.sort_by_key(|record| record.user_id);
    let told: Vec<_> =
        records.iter().map(|record| (record.outcome, record.reason, record.warnings.clone())).collect();
    assert_eq!(
        told,
        [
            (
                Outcome::Updated,
                None,
                vec![format!("changed since by import {}, and left as it is: given_name", first.id)]
            ),
            (
                Outcome::Skipped,
                Some(Reason::ChangedSince),
                vec!["changed since, and left as it is: family_name, given_name, metadata.office".to_owned()]
            ),
            (Outcome::Skipped, Some(Reason::Unchanged), vec![]),
        ]
    );
    pipeline.finish().await;
}

/// The exchange was made within one chunk; each can only have its value back if the other gives it up in the same moment. And a value
/// that goes round in several chunks goes back the same way.
async fn users_that_exchanged_unique_values_get_them_back(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let mut csv = String::from("email,phone_number\n");
    for at in 0..40 {
        csv.push_str(&format!("user{at}@example.com,+852987650{at:02}\n"));
    }
    pipeline.import(&csv, &plain()).await;
    let before = users(&pipeline, true).await;
    // Two exchange their numbers. Then each number moves on by one user: the first gives its own up, then each takes that of the one
    // before it.
    let mut csv = String::from(
        "email,phone_number\nuser10@example.com,+85298765098\nuser11@example.com,+85298765010\n\
         user10@example.com,+85298765011\nuser0@example.com,+85298765099\n",
    );
    for at in 1..40 {
        csv.push_str(&format!("user{at}@example.com,+852987650{:02}\n", at - 1));
    }
    // Several chunks, one after the other.
    pipeline.limits.chunk = ChunkLimits { records: 6, bytes: 64 * 1024, lanes: 1 };
    let import = pipeline.import(&csv, &plain()).await;
    assert_eq!(import.counts, Counts { total: 43, updated: 42, skipped: 1, ..Counts::default() });
    let left = users(&pipeline, true).await;
    let undo = taken_back(&mut pipeline, import.id).await;
    assert_eq!(users(&pipeline, true).await, before);
    taken_back(&mut pipeline, undo).await;
    assert_eq!(users(&pipeline, true).await, left);
    pipeline.finish().await;
}

/// Its later change is taken back first, which raises its version: that is no touch of somebody else.
async fn a_user_that_an_import_inserted_and_changed_later_is_deleted(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline.import(&people(2), &plain()).await;
    let before = users(&pipeline, true).await;
    let mut csv = people(30);
    for round in 0..2 {
        for at in 0..30 {
            csv.push_str(&format!("user{at}@example.com,Name {round},Office {round}\n"));
        }
    }
    let import = pipeline.import(&csv, &plain()).await;
    assert_eq!(
        import.counts,
        Counts { total: 90, inserted: 28, updated: 60, skipped: 2, ..Counts::default() }
    );
    let undo = taken_back(&mut pipeline, import.id).await;
    assert_eq!(users(&pipeline, true).await, before);
    let again = taken_back(&mut pipeline, undo).await;
    taken_back(&mut pipeline, again).await;
    assert_eq!(users(&pipeline, true).await, before);
    pipeline.finish().await;
}

async fn a_user_that_was_touched_is_kept(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let catalog: Catalog =
        serde_json::from_value(json!({"organizations": [{"slug": "acme", "name": "Acme"}]})).unwrap();
    catalog::apply(&pipeline.store, pipeline.tenant, &catalog).await.unwrap();
    let organization: i32 = sqlx::query_scalar("select id from organizations where slug = 'acme'")
        .fetch_one(pipeline.store.pool())
        .await
        .unwrap();
    let import = pipeline.import(&people(4), &plain()).await;
    let first = pipeline.import("email,first_name\nuser1@example.com,Edited\n", &plain()).await;
    // There and back is a touch as well, and so is an enrolment.
    pipeline.import("email,first_name\nuser2@example.com,Edited\n", &plain()).await;
    let second = pipeline.import("email,first_name\nuser2@example.com,Zoë 2\n", &plain()).await;
    let enrolment = Some(Enrolment { organization_id: organization, group_id: 0 });
    let enrolling = ImportOptions { enrolment, ..plain() };
    let third = pipeline.import("email\nuser3@example.com\n", &enrolling).await;
    let new = whole(&pipeline, import.id);
    let report = undone(&mut pipeline, &new).await;
    assert_eq!(report.counts, Counts { total: 4, updated: 1, skipped: 3, ..Counts::default() });
    assert_eq!(
        pipeline.users().await,
        [
            "user1@example.com|-|-|Edited|-|{\"office\": \"Milan, 1\"}",
            "user2@example.com|-|-|Zoë 2|-|{\"office\": \"Milan, 2\"}",
            "user3@example.com|-|-|Zoë 3|-|{\"office\": \"Milan, 3\"}",
        ]
    );
    let mut records = pipeline.records(new.id, Some(Outcome::Skipped)).await;
    records.sort_by_key(|record| record.user_id);
    for (record, import) in records.iter().zip([first, second, third]) {
        assert_eq!(record.reason, Some(Reason::ChangedSince));
        assert_eq!(
            record.warnings,
            [format!("import {} changed the user since it was inserted; it is kept", import.id)]
        );
    }
    pipeline.finish().await;
}

async fn a_value_that_somebody_took_is_not_taken_from_them(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline.import("email,phone_number,first_name\na@example.com,+85298765432,Ann\n", &plain()).await;
    let import =
        pipeline.import("email,phone_number,first_name\na@example.com,+85298765499,Anna\n", &plain()).await;
    pipeline.import("email,phone_number\nb@example.com,+85298765432\n", &plain()).await;
    let holder: uuid::Uuid = sqlx::query_scalar("select id from users where email = 'b@example.com'")
        .fetch_one(pipeline.store.pool())
        .await
        .unwrap();
    let new = whole(&pipeline, import.id);
    let report = undone(&mut pipeline, &new).await;
    assert_eq!(report.counts, Counts { total: 1, updated: 1, ..Counts::default() });
    assert_eq!(
        pipeline.users().await,
        ["a@example.com|+85298765499|-|Ann|-", "b@example.com|+85298765432|-|-|-"]
    );
    let told = format!("phone_number: the value belongs to user {holder} by now; left as it is");
    assert_eq!(pipeline.records(new.id, None).await[0].warnings, [told]);

    // A user that was deleted and whose address is somebody else's by now is not made again.
    let inserted = pipeline.import("email\nc@example.com\n", &plain()).await;
    let deleted = whole(&pipeline, inserted.id);
    undone(&mut pipeline, &deleted).await;
    pipeline.import("email\nc@example.com\n", &plain()).await;
    let again = whole(&pipeline, deleted.id);
    assert_eq!(
        undone(&mut pipeline, &again).await.counts,
        Counts { total: 1, failed: 1, ..Counts::default() }
    );
    let failed = pipeline.records(again.id, Some(Outcome::Failed)).await;
    assert_eq!(failed[0].errors[0].code.as_str(), "identity_conflict");
    assert_eq!(failed[0].errors[0].field.as_deref(), Some("email"));
    pipeline.finish().await;
}

async fn a_flag_does_not_come_back_beside_another_value(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline.import("email,email_verified\na@example.com,true\nb@example.com,true\n", &plain()).await;
    let before = users(&pipeline, true).await;
    let import = pipeline
        .import("email,new_email\na@example.com,a2@example.com\nb@example.com,b2@example.com\n", &plain())
        .await;
    execute(
        &pipeline,
        "update users set email = 'a3@example.com', version = version + 1 where email = 'a2@example.com'",
    )
    .await;
    let new = whole(&pipeline, import.id);
    undone(&mut pipeline, &new).await;
    let flags: Vec<(String, Option<bool>)> =
        sqlx::query_as("select email, (profile ->> 'email_verified')::boolean from users order by email")
            .fetch_all(pipeline.store.pool())
            .await
            .unwrap();
    assert_eq!(flags, [("a3@example.com".to_owned(), None), ("b@example.com".to_owned(), Some(true))]);
    assert_eq!(users(&pipeline, true).await[1], before[1]);
    pipeline.finish().await;
}

async fn an_undo_takes_back_what_is_named_and_nothing_else(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline.import(&people(3), &plain()).await;
    let csv = "email,first_name,custom__office\nuser0@example.com,A,Rome\nuser1@example.com,B,Rome\nnew@example.com,N,Rome\n";
    let import = pipeline.import(csv, &plain()).await;
    let mut by_field = whole(&pipeline, import.id);
    by_field.fields = vec!["metadata.office".into()];
    assert_eq!(
        undone(&mut pipeline, &by_field).await.counts,
        Counts { total: 2, updated: 2, ..Counts::default() }
    );
    let names =
        |users: Vec<String>| users.iter().map(|user| user.replace("@example.com", "")).collect::<Vec<_>>();
    assert_eq!(
        names(pipeline.users().await),
        [
            "new|-|-|N|-|{\"office\": \"Rome\"}",
            "user0|-|-|A|-|{\"office\": \"Milan, 0\"}",
            "user1|-|-|B|-|{\"office\": \"Milan, 1\"}",
            "user2|-|-|Zoë 2|-|{\"office\": \"Milan, 2\"}",
        ]
    );
    let mut by_record = whole(&pipeline, import.id);
    by_record.records = "2-3".parse().ok();
    by_record.outcome = Some(Outcome::Updated);
    assert_eq!(
        undone(&mut pipeline, &by_record).await.counts,
        Counts { total: 1, updated: 1, ..Counts::default() }
    );
    let mut by_outcome = whole(&pipeline, import.id);
    by_outcome.outcome = Some(Outcome::Inserted);
    assert_eq!(
        undone(&mut pipeline, &by_outcome).await.counts,
        Counts { total: 1, updated: 1, ..Counts::default() }
    );
    // What is left; and then nothing is.
    let rest = whole(&pipeline, import.id);
    let report = undone(&mut pipeline, &rest).await;
    assert_eq!(report.counts, Counts { total: 3, updated: 1, skipped: 2, ..Counts::default() });
    assert_eq!(names(pipeline.users().await)[0], "user0|-|-|Zoë 0|-|{\"office\": \"Milan, 0\"}");
    assert_eq!(
        undo::open(&pipeline.store, &whole(&pipeline, import.id)).await.unwrap(),
        OpenedUndo::Refused(Refusal::Undone(rest.id))
    );
    pipeline.finish().await;
}

async fn what_cannot_be_undone_is_refused_with_its_reason(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let store = pipeline.store.clone();
    let refused =
        async |pipeline: &Pipeline, of| undo::open(&pipeline.store, &whole(pipeline, of)).await.unwrap();
    // Received; running; nothing changed; another tenant's; missing.
    let manual = ImportOptions { start: Start::Manual, ..plain() };
    let import = pipeline.accepted(&people(30), &manual).await;
    assert_eq!(refused(&pipeline, import).await, OpenedUndo::Refused(Refusal::State(ImportState::Received)));
    lifecycle::proceed(&store, pipeline.tenant, import).await.unwrap();
    assert_eq!(refused(&pipeline, import).await, OpenedUndo::Refused(Refusal::State(ImportState::Running)));
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    pipeline.ended(import).await;
    worker.stop().await;
    dispatcher.stop().await;
    let same = pipeline.import(&people(30), &plain()).await;
    assert_eq!(refused(&pipeline, same.id).await, OpenedUndo::Refused(Refusal::NotApplied));
    let mut nobody = whole(&pipeline, import);
    nobody.records = "31".parse().ok();
    assert_eq!(undo::open(&store, &nobody).await.unwrap(), OpenedUndo::Refused(Refusal::NotApplied));
    let mut foreign = whole(&pipeline, import);
    foreign.tenant = muster_domain::id::TenantId::new(pipeline.tenant.get() + 1);
    assert_eq!(undo::open(&store, &foreign).await.unwrap(), OpenedUndo::NotFound);
    assert_eq!(undo::preview(&store, foreign.tenant, import).await.unwrap(), None);

    // Of many at once one is it, and while it runs and after it there is no other.
    let wanted: Vec<_> = (0..4).map(|_| whole(&pipeline, import)).collect();
    let opened = futures_util::future::join_all(wanted.iter().map(|new| undo::open(&store, new))).await;
    let opened: Vec<_> = opened.into_iter().map(|opened| opened.unwrap()).collect();
    let winner = opened.iter().position(|opened| matches!(opened, OpenedUndo::New { .. })).unwrap();
    for (at, opened) in opened.iter().enumerate().filter(|(at, _)| *at != winner) {
        assert_eq!(*opened, OpenedUndo::Refused(Refusal::Undone(wanted[winner].id)), "{at}");
    }
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    pipeline.ended(wanted[winner].id).await;
    worker.stop().await;
    dispatcher.stop().await;
    assert_eq!(refused(&pipeline, import).await, OpenedUndo::Refused(Refusal::Undone(wanted[winner].id)));
    let preview = undo::preview(&store, pipeline.tenant, import).await.unwrap().unwrap();
    assert_eq!(
        (preview.refused.unwrap().as_str(), preview.undone_by),
        ("already_undone", Some(wanted[winner].id))
    );
    assert_eq!((preview.inserted, preview.updated, preview.gone), (30, 0, 0));
    assert_eq!(preview.later, [], "an undo is no change of somebody else");

    // What was before is forgotten: of all of it, or of a part.
    let third = pipeline.import(&people(30), &plain()).await;
    sqlx::query(
        "delete from before_images where id = (select min(id) from before_images where import_id = $1)",
    )
    .bind(third.id.get())
    .execute(store.pool())
    .await
    .unwrap();
    let preview = undo::preview(&store, pipeline.tenant, third.id).await.unwrap().unwrap();
    assert!(preview.refused.is_none() && preview.gone > 0 && preview.gone < 30, "{preview:?}");
    retention::forget_before_images(&store, 0.0).await.unwrap();
    assert_eq!(refused(&pipeline, third.id).await, OpenedUndo::Refused(Refusal::Gone));
    pipeline.finish().await;
}

async fn an_undo_ends_once_whatever_dies(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline.import(&people(200), &plain()).await;
    let before = users(&pipeline, true).await;
    let mut csv = String::from("email,first_name,custom__office\n");
    for at in 100..400 {
        csv.push_str(&format!("user{at}@example.com,Other {at},Rome\n"));
    }
    let import = pipeline.import(&csv, &plain()).await;
    let new = whole(&pipeline, import.id);
    opened(&pipeline, &new).await;
    let dispatcher = pipeline.dispatcher();
    for step in 1..=4 {
        let worker = pipeline.worker(3);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while pipeline.report(new.id).await.counts.updated < step * 50 {
            assert!(std::time::Instant::now() < deadline, "no progress");
            tokio::task::yield_now().await;
        }
        // Not stopped: its tasks are cut off wherever they are.
        drop(worker);
    }
    let worker = pipeline.worker(3);
    assert_eq!(pipeline.ended(new.id).await.counts, Counts { total: 300, updated: 300, ..Counts::default() });
    assert_eq!(users(&pipeline, true).await, before);
    // 200 inserted, 100 of them changed and changed back.
    assert_eq!(pipeline.witness().await, (200, 400));
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

async fn credentials_and_memberships_go_with_their_users(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let catalog: Catalog =
        serde_json::from_value(json!({"organizations": [{"slug": "acme", "name": "Acme"}]})).unwrap();
    catalog::apply(&pipeline.store, pipeline.tenant, &catalog).await.unwrap();
    let organization: i32 = sqlx::query_scalar("select id from organizations where slug = 'acme'")
        .fetch_one(pipeline.store.pool())
        .await
        .unwrap();
    pipeline.import(&format!("email,password_hash\nold@example.com,{HASH}\n"), &plain()).await;
    let before = users(&pipeline, true).await;
    let enrolment = Some(Enrolment { organization_id: organization, group_id: 0 });
    let enrolling = ImportOptions { enrolment, ..plain() };
    let csv = format!("email,password_hash\nold@example.com,\nnew@example.com,{HASH}\n");
    let import = pipeline.import(&csv, &enrolling).await;
    assert_eq!(import.counts, Counts { total: 2, inserted: 1, updated: 1, ..Counts::default() });
    let left = users(&pipeline, false).await;
    let new = whole(&pipeline, import.id);
    assert_eq!(
        undone(&mut pipeline, &new).await.counts,
        Counts { total: 2, updated: 2, ..Counts::default() }
    );
    assert_eq!(users(&pipeline, true).await, before);
    assert_eq!(orphans(&pipeline).await, 0);
    // The user comes back with its membership; its password is gone for good.
    let again = whole(&pipeline, new.id);
    assert_eq!(
        undone(&mut pipeline, &again).await.counts,
        Counts { total: 2, inserted: 1, updated: 1, ..Counts::default() }
    );
    assert_eq!(users(&pipeline, false).await, left);
    let credentials: i64 = sqlx::query_scalar("select count(*) from user_credentials")
        .fetch_one(pipeline.store.pool())
        .await
        .unwrap();
    assert_eq!(credentials, 1);
    pipeline.finish().await;
}

async fn an_undo_waits_is_cancelled_and_can_be_begun_again(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let import = pipeline.import(&people(40), &plain()).await;
    let store = pipeline.store.clone();
    let waiting = muster_store::undo::NewUndo { start: Start::Manual, ..whole(&pipeline, import.id) };
    assert_eq!(opened(&pipeline, &waiting).await, (40, 0));
    assert_eq!(pipeline.report(waiting.id).await.state, ImportState::Received);
    assert_eq!(
        undo::open(&store, &whole(&pipeline, import.id)).await.unwrap(),
        OpenedUndo::Refused(Refusal::Undone(waiting.id))
    );
    let cancelled = lifecycle::cancel(&store, pipeline.tenant, waiting.id).await.unwrap();
    assert_eq!(cancelled, Transition::Done(ImportState::Cancelled));
    assert_eq!(pipeline.witness().await, (40, 40));
    let new = whole(&pipeline, import.id);
    assert_eq!(
        undone(&mut pipeline, &new).await.counts,
        Counts { total: 40, updated: 40, ..Counts::default() }
    );
    assert_eq!(pipeline.witness().await, (0, 0));
    pipeline.finish().await;
}
