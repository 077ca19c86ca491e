//! Values that may stand once in a file: the records that repeat one are found across all chunks and lanes.

use muster_domain::error::{ErrorCode, FileError};
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::options::{Duplicates, EmptyFile, ImportOptions, OnInvalid};
use muster_domain::outcome::Counts;
use muster_domain::outcome::Outcome;
use muster_domain::parse::Format;
use muster_producer::receive::ReceiveError;
use muster_store::lifecycle::{self, Transition};

use crate::harness::{Backend, Pipeline};
use crate::{on_both_queues, on_the_bundled_engine};

on_both_queues!(
    values_that_stand_twice_fail_alone_wherever_they_stand,
    a_file_with_doubles_is_refused_where_invalid_records_are,
    retry_leaves_doubles_failed,
    nothing_is_left_of_the_keys,
    a_file_without_records_can_be_refused,
);

on_the_bundled_engine!(
    values_that_stand_twice_fail_alone_wherever_they_stand,
    a_file_with_doubles_is_refused_where_invalid_records_are,
);

fn refusing() -> ImportOptions {
    ImportOptions { duplicates: Duplicates::Refuse, ..ImportOptions::default() }
}

/// 400 users in 20 chunks; record 1, 7 and 390 mean one user, 20 and 400 another, and 3, 250 and 399 want one new address.
fn file() -> String {
    let mut csv = String::from("email,new_email,first_name\n");
    for record in 1..=400 {
        let email = match record {
            1 => "One@Example.com".to_owned(),
            7 | 390 => " one@example.com".to_owned(),
            400 => "user20@example.com".to_owned(),
            _ => format!("user{record}@example.com"),
        };
        let new_email = if matches!(record, 3 | 250 | 399) { "new@example.com" } else { "" };
        // The first one of its address is invalid for another reason, and so is the last one of its new address.
        let name = if matches!(record, 20 | 399) { "\u{7}" } else { "Name" };
        csv.push_str(&format!("{email},{new_email},{name}\n"));
    }
    csv
}

/// Number and codes of each failed record, with the field at fault.
async fn failed(pipeline: &Pipeline, import: ImportId) -> Vec<(u64, Vec<(ErrorCode, String)>)> {
    let records = pipeline.records(import, Some(Outcome::Failed)).await;
    let errors = |errors: Vec<muster_domain::error::RecordError>| {
        errors.into_iter().map(|error| (error.code, error.field.unwrap_or_default())).collect()
    };
    records.into_iter().map(|record| (record.record, errors(record.errors))).collect()
}

fn expected() -> Vec<(u64, Vec<(ErrorCode, String)>)> {
    let double = |field: &str| (ErrorCode::DuplicateInFile, field.to_owned());
    let control = || (ErrorCode::ControlChar, "first_name".to_owned());
    vec![
        (7, vec![double("email")]),
        (20, vec![control()]),
        (250, vec![double("new_email")]),
        (390, vec![double("email")]),
        (399, vec![control(), double("new_email")]),
        (400, vec![double("email")]),
    ]
}

async fn values_that_stand_twice_fail_alone_wherever_they_stand(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let report = pipeline.import(&file(), &refusing()).await;
    assert_eq!(report.counts, Counts { total: 400, inserted: 394, failed: 6, ..Counts::default() });
    assert_eq!(failed(&pipeline, report.id).await, expected());
    let in_order = pipeline.import(&file(), &ImportOptions::default()).await;
    assert_eq!(in_order.counts.failed, 2, "without the option only what is invalid");
    pipeline.finish().await;
}

async fn a_file_with_doubles_is_refused_where_invalid_records_are(backend: Backend) {
    let pipeline = Pipeline::new(backend).await;
    let options = ImportOptions { on_invalid: OnInvalid::Refuse, ..refusing() };
    let csv = "email,first_name\na@example.com,A\nb@example.com,B\nA@EXAMPLE.com,C\n";
    let receipt = pipeline.upload(csv.as_bytes(), &options).await.unwrap();
    assert_eq!((receipt.state, receipt.counts.total, receipt.counts.failed), (ImportState::Refused, 3, 1));
    let double = (3, vec![(ErrorCode::DuplicateInFile, "email".to_owned())]);
    assert_eq!(failed(&pipeline, receipt.import).await, [double]);
    assert_eq!(pipeline.witness().await, (0, 0));
    pipeline.finish().await;
}

async fn retry_leaves_doubles_failed(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let report = pipeline.import(&file(), &refusing()).await;
    let (users, _) = pipeline.witness().await;
    let retried = lifecycle::retry(&pipeline.store, pipeline.tenant, report.id).await.unwrap();
    assert!(matches!(retried, Transition::Done(_)), "{retried:?}");
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    let report = pipeline.ended(report.id).await;
    worker.stop().await;
    dispatcher.stop().await;
    assert_eq!(report.counts, Counts { total: 400, inserted: 394, failed: 6, ..Counts::default() });
    let after = failed(&pipeline, report.id).await;
    assert_eq!(after, expected());
    assert_eq!(pipeline.witness().await.0, users);
    pipeline.finish().await;
}

async fn nothing_is_left_of_the_keys(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline.import(&file(), &refusing()).await;
    // One that stops: the transport failed, or its bytes are no file.
    let broken = pipeline.upload(b"email,first_name\na@example.com,A\n\"b@exa", &refusing()).await;
    assert!(matches!(broken, Err(ReceiveError::Refused(..))), "{broken:?}");
    let snapshot = pipeline.database().snapshot().await;
    assert!(snapshot["import_keys"].is_empty() && snapshot["import_doubles"].is_empty());
    pipeline.finish().await;
}

async fn a_file_without_records_can_be_refused(backend: Backend) {
    let pipeline = Pipeline::new(backend).await;
    let json = ImportOptions { format: Format::Json, ..ImportOptions::default() };
    assert_eq!(pipeline.upload(b"[]", &json).await.unwrap().counts.total, 0);
    let refusing = ImportOptions { empty_file: EmptyFile::Refuse, ..json };
    match pipeline.upload(b" [ ] ", &refusing).await {
        Err(ReceiveError::Refused(_, FileError { code, .. })) => assert_eq!(code, ErrorCode::FileEmpty),
        other => panic!("{other:?}"),
    }
    pipeline.finish().await;
}
