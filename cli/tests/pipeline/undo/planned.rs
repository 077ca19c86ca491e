//! An undo that is planned first: what it would do is told, nothing is written, and then that is done.

use muster_domain::outcome::Counts;
use std::time::Duration;

use muster_domain::chunk::ChunkLimits;
use muster_domain::error::ErrorCode;
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::options::{Enrolment, IdentifierField, ImportOptions, Start};
use muster_domain::outcome::{Outcome, Reason};
use muster_domain::planned::{APPLIED_ALTHOUGH, OnDrift};
use muster_domain::undo::UndoCode;
use muster_store::lifecycle::{self, Transition};
use muster_store::undo::{NewUndo, OpenedUndo, Refusal};
use muster_store::{catalog, erase};

use super::story::execute;
use super::{opened, plain, undone, users, whole};
use crate::harness::{Backend, Pipeline, people};
use crate::on_both_queues;
use crate::plan::{applied, everything, no_keys_are_kept, records, summary, verdicts, work_on_plan};

on_both_queues!(an_undo_is_planned_and_does_what_was_planned, the_plan_of_an_undo_is_made_whatever_dies,);

/// An undo in small chunks that is planned first, and its plan. It wrote nothing.
async fn planned(pipeline: &mut Pipeline, of: ImportId) -> NewUndo {
    let new = NewUndo { start: Start::Plan, ..whole(pipeline, of) };
    let before = everything(pipeline).await;
    opened(pipeline, &new).await;
    work_on_plan(pipeline, new.id).await;
    assert_eq!(everything(pipeline).await, before, "a plan writes nothing");
    new
}

async fn done(pipeline: &mut Pipeline, undo: ImportId) {
    let steered = lifecycle::proceed(&pipeline.store, pipeline.tenant, undo).await.unwrap();
    assert_eq!(steered, Transition::Done(ImportState::Running));
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(3));
    let report = pipeline.ended(undo).await;
    worker.stop().await;
    dispatcher.stop().await;
    assert_eq!(report.state, ImportState::Completed);
}

/// Users are named several times, in a chunk each, and values go from one to another.
async fn an_undo_is_planned_and_does_what_was_planned(backend: Backend) {
    for exchange in [false, true] {
        let mut pipeline = Pipeline::new(backend).await;
        pipeline.limits.chunk = ChunkLimits { records: 2, bytes: 64 * 1024, lanes: 2 };
        pipeline.import(&people(6), &plain()).await;
        let before = users(&pipeline, true).await;
        let mut csv = String::from("email,first_name,new_email,custom__office\n");
        for at in 0..8 {
            csv.push_str(&format!("user{at}@example.com,Other {at},,Rome\n"));
        }
        csv.push_str("user0@example.com,Again,,Oslo\nuser7@example.com,Again,,Oslo\n");
        if exchange {
            csv.push_str("user1@example.com,,moved@example.com,\nuser2@example.com,,user1@example.com,\n");
        }
        let import = pipeline.import(&csv, &plain()).await.id;
        // Somebody corrects one; what they did is no business of the undo.
        execute(
            &pipeline,
            "update users set given_name = 'Edited', version = version + 1 where email = 'user3@example.com'",
        )
        .await;
        let undo = planned(&mut pipeline, import).await.id;
        let foreseen = records(&pipeline, undo).await;
        let plan = summary(&pipeline, undo).await;
        assert_eq!(plan.counts.failed, 0, "{plan:?}");
        assert_eq!(plan.sums.reasons.get("deleted"), Some(&2));
        assert_eq!(plan.sums.kinds.get("user deleted"), Some(&2));
        let offices = plan.sums.fields["metadata.office"];
        assert!(offices.changed >= 6, "{offices:?}");
        let kept = foreseen.values().find(|record| !record.warnings.is_empty()).unwrap();
        assert!(kept.warnings[0].contains("left as it is: given_name"), "{kept:?}");
        assert!(
            kept.after.contains_key("metadata.office") && !kept.after.contains_key("given_name"),
            "{kept:?}"
        );
        done(&mut pipeline, undo).await;
        assert_eq!(pipeline.outcomes(undo).await, verdicts(&foreseen));
        execute(&pipeline, "update users set given_name = 'Zoë 3' where email = 'user3@example.com'").await;
        assert_eq!(users(&pipeline, true).await, before);
        no_keys_are_kept(&pipeline).await;
        pipeline.finish().await;
    }
}

/// The chunk that is taken back first changes one field. What it would leave still has the membership, which the next one asks for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_undo_deletes_enrolled_users_that_a_later_chunk_changed() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.limits.chunk = ChunkLimits { records: 1, bytes: 64 * 1024, lanes: 1 };
    let slug = "default".parse().unwrap();
    let store = &pipeline.store;
    let found = catalog::find_organization(store.pool(), pipeline.tenant, &slug).await.unwrap();
    let enrolment = Enrolment { organization_id: found.unwrap().0.get(), group_id: 0 };
    let enrolled = ImportOptions { enrolment: Some(enrolment), ..plain() };
    let csv = "email,first_name\na@example.com,Ann\na@example.com,Anna\n";
    let import = pipeline.import(csv, &enrolled).await.id;
    let chunk = ChunkLimits { records: 1, bytes: 64 * 1024, lanes: 1 };
    let new = NewUndo { start: Start::Plan, chunk, ..whole(&pipeline, import) };
    opened(&pipeline, &new).await;
    work_on_plan(&mut pipeline, new.id).await;
    let foreseen = records(&pipeline, new.id).await;
    let reasons: Vec<Option<Reason>> = foreseen.values().map(|record| record.reason).collect();
    assert_eq!(reasons, [None, Some(Reason::Deleted)], "{foreseen:?}");
    done(&mut pipeline, new.id).await;
    assert_eq!(pipeline.outcomes(new.id).await, verdicts(&foreseen));
    assert_eq!(users(&pipeline, true).await, [""; 0]);
    pipeline.finish().await;
}

/// One user gets an address back for a moment, since it is deleted then; the other one, who had it first, gets it back after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_a_deleted_user_had_for_a_moment_is_free_in_the_plan() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.limits.chunk = ChunkLimits { records: 1, bytes: 64 * 1024, lanes: 1 };
    let options = ImportOptions { identifier: IdentifierField::PhoneNumber, ..plain() };
    let csv = "phone_number,email\n+3212345671,first@example.com\n+3212345671,second@example.com\n\
               +3212345672,first@example.com\n+3212345672,third@example.com\n";
    let import = pipeline.import(csv, &options).await;
    assert_eq!((import.counts.inserted, import.counts.updated), (2, 2));
    let undo = planned(&mut pipeline, import.id).await.id;
    let foreseen = records(&pipeline, undo).await;
    assert!(foreseen.values().all(|record| record.warnings.is_empty()), "{foreseen:?}");
    let reasons: Vec<Option<Reason>> = foreseen.values().map(|record| record.reason).collect();
    assert_eq!(reasons, [None, Some(Reason::Deleted), None, Some(Reason::Deleted)]);
    done(&mut pipeline, undo).await;
    assert_eq!(pipeline.outcomes(undo).await, verdicts(&foreseen));
    assert_eq!(users(&pipeline, true).await, [""; 0]);
    pipeline.finish().await;
}

async fn the_plan_of_an_undo_is_made_whatever_dies(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline.import(&people(300), &plain()).await;
    let before = users(&pipeline, true).await;
    let import = pipeline.import(&people(400).replace("Milan", "Rome"), &plain()).await.id;
    let new = NewUndo { start: Start::Plan, ..whole(&pipeline, import) };
    opened(&pipeline, &new).await;
    // What a dispatcher claimed and did not send must not wait longer than the test.
    pipeline.lease = Duration::from_secs(5);
    for turn in 0..3 {
        let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(3));
        for _ in 0..(turn * 60) {
            tokio::task::yield_now().await;
        }
        // Not stopped: their tasks are cut off wherever they are.
        drop((dispatcher, worker));
    }
    work_on_plan(&mut pipeline, new.id).await;
    let foreseen = records(&pipeline, new.id).await;
    assert_eq!(foreseen.len(), 400);
    done(&mut pipeline, new.id).await;
    assert_eq!(pipeline.outcomes(new.id).await, verdicts(&foreseen));
    assert_eq!(users(&pipeline, true).await, before);
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_changes_after_the_plan_of_an_undo_is_left_alone_too() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.import(&people(2), &plain()).await;
    let import = pipeline.import(&people(3).replace("Milan", "Rome"), &plain()).await.id;
    let undo = planned(&mut pipeline, import).await.id;
    execute(&pipeline, "update users set metadata = '{\"office\": \"Pisa\"}', version = version + 1 where email <> 'user1@example.com'").await;
    let since = summary(&pipeline, undo).await.since.unwrap();
    assert_eq!((since.looked_at, since.changed), (3, 2));
    done(&mut pipeline, undo).await;
    let outcomes = pipeline.outcomes(undo).await;
    let kept = (Outcome::Skipped, Some(Reason::ChangedSince));
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == kept).count(), 2, "{outcomes:?}");
    let offices: Vec<String> = sqlx::query_scalar("select metadata ->> 'office' from users order by email")
        .fetch_all(pipeline.store.pool())
        .await
        .unwrap();
    assert_eq!(offices, ["Pisa", "Milan, 1", "Pisa"]);
    pipeline.finish().await;
}

const BEFORE: &str = "email,first_name,custom__office
a@example.com,Ann,Milan
b@example.com,Ann,Milan
c@example.com,Ann,Milan
d@example.com,Ann,Milan
e@example.com,Ann,Milan
";
const LATER: &str = "email,first_name,new_email,custom__office
a@example.com,Other,,Rome
b@example.com,Other,,Rome
c@example.com,Other,,Rome
d@example.com,,moved@example.com,
";

/// What was in the way when the undo was planned is gone, and something else is in the way.
async fn planned_among_edits(pipeline: &mut Pipeline) -> ImportId {
    pipeline.import(BEFORE, &plain()).await;
    let import = pipeline.import(LATER, &plain()).await.id;
    execute(
        pipeline,
        r#"update users set metadata = '{"office": "Pisa"}', version = version + 1 where email = 'a@example.com';
           update users set email = 'd@example.com', version = version + 1 where email = 'e@example.com'"#,
    )
    .await;
    let undo = planned(pipeline, import).await.id;
    let mut foreseen: Vec<(Outcome, Option<Reason>)> = verdicts(&records(pipeline, undo).await);
    foreseen.retain(|verdict| *verdict != (Outcome::Updated, None));
    assert_eq!(
        foreseen,
        [(Outcome::Skipped, Some(Reason::ChangedSince))],
        "the address of d has another user"
    );
    execute(
        pipeline,
        r#"update users set metadata = '{"office": "Rome"}', version = version + 1 where email = 'a@example.com';
           update users set metadata = '{"office": "Pisa"}', version = version + 1 where email = 'b@example.com';
           update users set email = 'e@example.com', version = version + 1 where email = 'd@example.com'"#,
    )
    .await;
    undo
}

/// E-mail address, given name and office of each user.
async fn seen(pipeline: &Pipeline) -> Vec<String> {
    sqlx::query_scalar(
        "select concat_ws(' ', email, given_name, metadata ->> 'office') from users order by email",
    )
    .fetch_all(pipeline.store.pool())
    .await
    .unwrap()
}

const TAKEN_BACK: [&str; 5] = [
    "a@example.com Ann Milan",
    "b@example.com Ann Pisa",
    "c@example.com Ann Milan",
    "d@example.com Ann Milan",
    "e@example.com Ann Milan",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_undo_would_take_back_otherwise_than_planned_fails_and_is_left() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let undo = planned_among_edits(&mut pipeline).await;
    let report = applied(&mut pipeline, undo, OnDrift::Refuse).await;
    assert_eq!(report.counts, Counts { total: 4, updated: 1, failed: 3, ..Counts::default() });
    let failed = pipeline.records(undo, Some(Outcome::Failed)).await;
    assert!(failed.iter().all(|record| record.errors[0].code == ErrorCode::ChangedSincePlan), "{failed:?}");
    let told: Vec<&str> = failed.iter().map(|record| record.errors[0].message.as_str()).collect();
    assert_eq!(told.iter().filter(|text| text.contains(": metadata.office;")).count(), 2, "{told:?}");
    let address = "the plan says `skipped (changed_since)` and it would be `updated` now: email;";
    assert_eq!(told.iter().filter(|text| text.contains(address)).count(), 1, "{told:?}");
    assert_eq!(
        seen(&pipeline).await,
        [
            "a@example.com Other Rome",
            "b@example.com Other Pisa",
            "c@example.com Ann Milan",
            "e@example.com Ann Milan",
            "moved@example.com Ann Milan",
        ]
    );
    // Tried again, they are taken back as things are now.
    lifecycle::retry(&pipeline.store, pipeline.tenant, undo).await.unwrap();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    let counts = pipeline.ended(undo).await.counts;
    worker.stop().await;
    dispatcher.stop().await;
    assert_eq!(counts, Counts { total: 4, updated: 4, ..Counts::default() });
    assert_eq!(seen(&pipeline).await, TAKEN_BACK);
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_undo_takes_back_otherwise_than_planned_is_marked_where_that_is_wanted() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let undo = planned_among_edits(&mut pipeline).await;
    let report = applied(&mut pipeline, undo, OnDrift::Apply).await;
    assert_eq!(report.counts, Counts { total: 4, updated: 4, ..Counts::default() });
    let told: Vec<String> =
        pipeline.records(undo, None).await.into_iter().flat_map(|record| record.warnings).collect();
    assert_eq!(told.iter().filter(|text| text.starts_with(APPLIED_ALTHOUGH)).count(), 3, "{told:?}");
    assert_eq!(seen(&pipeline).await, TAKEN_BACK);
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_takes_back_what_was_told_with_a_code() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.import(&people(2), &plain()).await;
    let csv = "email,custom__office\nuser0@example.com,Oslo\nuser1@example.com,Oslo\nnew@example.com,Oslo\n";
    let import = crate::plan::plan(&mut pipeline, csv, &plain()).await;
    execute(&pipeline, "update users set metadata = '{\"office\": \"Pisa\"}', version = version + 1 where email = 'user0@example.com'").await;
    assert_eq!(
        applied(&mut pipeline, import, OnDrift::Apply).await.counts,
        Counts { total: 3, inserted: 1, updated: 2, ..Counts::default() }
    );
    let of = |code| NewUndo { code: Some(code), ..whole(&pipeline, import) };
    let none = of(UndoCode::Enrolled);
    assert_eq!(
        muster_store::undo::open(&pipeline.store, &none).await.unwrap(),
        OpenedUndo::Refused(Refusal::NotApplied)
    );
    let marked = of(UndoCode::ChangedSincePlan);
    assert_eq!(
        undone(&mut pipeline, &marked).await.counts,
        Counts { total: 1, updated: 1, ..Counts::default() }
    );
    let offices: Vec<String> = sqlx::query_scalar("select metadata ->> 'office' from users order by email")
        .fetch_all(pipeline.store.pool())
        .await
        .unwrap();
    assert_eq!(offices, ["Oslo", "Pisa", "Oslo"]);
    // A part is not the whole: the rest can still be taken back, and of that undo what it deleted alone.
    let rest = whole(&pipeline, import);
    assert_eq!(
        undone(&mut pipeline, &rest).await.counts,
        Counts { total: 3, updated: 2, skipped: 1, ..Counts::default() }
    );
    let deleted = NewUndo { code: Some(UndoCode::Deleted), ..whole(&pipeline, rest.id) };
    assert_eq!(
        undone(&mut pipeline, &deleted).await.counts,
        Counts { total: 1, inserted: 1, ..Counts::default() }
    );
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_changed_a_user_since_is_named() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.import(&people(2), &plain()).await;
    let import = pipeline.import(&people(2).replace("Milan", "Rome"), &plain()).await.id;
    // As a request does it: the user, and what it has in its history.
    execute(
        &pipeline,
        "with edited as (
             update users set metadata = '{\"office\": \"Pisa\"}', version = version + 1 where email = 'user0@example.com'
             returning tenant_id, id
         )
         insert into user_changes (tenant_id, user_id, actor, kind, before, after)
         select tenant_id, id, 'token:7', 'updated', '{}', '{}' from edited",
    )
    .await;
    let undo = planned(&mut pipeline, import).await.id;
    let foreseen = records(&pipeline, undo).await;
    done(&mut pipeline, undo).await;
    let told: Vec<String> =
        pipeline.records(undo, None).await.into_iter().flat_map(|record| record.warnings).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("changed since by a request of token:7 at 2"), "{told:?}");
    let planned: Vec<&String> = foreseen.values().flat_map(|record| &record.warnings).collect();
    assert_eq!(planned, told.iter().collect::<Vec<_>>());
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_person_is_in_no_plan_of_an_undo() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (store, tenant) = (pipeline.store.clone(), pipeline.tenant);
    pipeline.import(&people(2), &plain()).await;
    let import = pipeline
        .import("email,first_name\nuser0@example.com,Marker\nuser1@example.com,Other\n", &plain())
        .await
        .id;
    let undo = planned(&mut pipeline, import).await.id;
    let person = erase::person_by(&store, tenant, IdentifierField::Email, "user0@example.com").await.unwrap();
    erase::erase(&store, tenant, &person, "operator").await.unwrap();
    let foreseen = records(&pipeline, undo).await;
    let told = serde_json::to_string(&foreseen.values().collect::<Vec<_>>()).unwrap();
    assert!(!told.contains("Marker") && !told.contains("Zoë 0"), "{told}");
    let stored: Vec<Vec<u8>> =
        sqlx::query_scalar("select records from plans").fetch_all(store.pool()).await.unwrap();
    for bytes in stored {
        let chunk = muster_domain::planned::PlannedChunk::decode(&bytes).unwrap();
        let text = serde_json::to_string(&chunk).unwrap();
        assert!(!text.contains("user0@example.com") && !text.contains("Marker"), "{text}");
    }
    done(&mut pipeline, undo).await;
    pipeline.finish().await;
}
