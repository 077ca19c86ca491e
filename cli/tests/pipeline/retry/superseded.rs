//! Retried records that later ones of their file passed: the file's order holds (P4).

use muster_domain::chunk::ChunkLimits;
use muster_domain::error::ErrorCode;
use muster_domain::id::ImportId;
use muster_domain::options::{ImportOptions, OnExisting};
use muster_domain::outcome::Counts;
use muster_domain::outcome::{Outcome, Reason};
use muster_domain::warning::Warning;
use muster_store::records::RecordReport;
use muster_store::{apply, dispatch, retention};

use super::{mend_and_retry, refuse_name, told};
use crate::harness::{Backend, Pipeline};

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
        assert_eq!(
            report.counts,
            Counts { total: 10, inserted: 3, updated: 1, skipped: 1, failed: 5, ..Counts::default() },
            "{records}"
        );
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
        assert_eq!(
            report.counts,
            Counts { total: 10, inserted: 4, updated: 2, skipped: 4, ..Counts::default() },
            "{records}"
        );
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
        assert_eq!(
            report.counts,
            Counts { total: 5, inserted: 3, failed: 2, ..Counts::default() },
            "{records}"
        );
        let before = (told(&pipeline, report.id).await, pipeline.users().await);
        mend_and_retry(&mut pipeline, report.id).await;
        assert_eq!(
            pipeline.report(report.id).await.counts,
            Counts { total: 5, inserted: 3, failed: 2, ..Counts::default() },
            "{records}"
        );
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
    assert_eq!(report.counts, Counts { total: 12, failed: 12, ..Counts::default() });
    mend_and_retry(&mut pipeline, report.id).await;
    assert_eq!(
        pipeline.report(report.id).await.counts,
        Counts { total: 12, inserted: 1, updated: 11, ..Counts::default() }
    );
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
    assert_eq!(report.counts, Counts { total: 2, inserted: 1, failed: 1, ..Counts::default() });
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
        assert!(apply::mark_dead(&pipeline.store, first, "for a test").await.unwrap());
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
    assert_eq!(report.counts, Counts { total: 300, inserted: 271, failed: 29, ..Counts::default() });
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
