//! What becomes of records: inserted, updated, skipped, failed, each exactly once and each with its reason.

use futures_util::StreamExt;
use muster_domain::error::ErrorCode;
use muster_domain::import::ImportState;
use muster_domain::options::{Enrolment, HeaderNames, ImportOptions, OnExisting, OnInvalid, UnknownColumns};
use muster_domain::outcome::Counts;
use muster_domain::outcome::{Outcome, Reason};
use muster_domain::parse::Format;
use muster_producer::export::{self, ExportFormat, UsersWanted};
use muster_producer::receive::ReceiveError;
use muster_store::problems::{self, Cause};
use muster_store::{catalog, lifecycle, records};

use crate::harness::{Backend, Pipeline, people};
use crate::{on_both_queues, on_the_bundled_engine};

on_both_queues!(
    every_record_has_one_outcome,
    the_same_file_again_rewrites_nothing,
    a_bad_record_fails_alone,
    on_existing_decides_about_users_that_exist,
    later_records_see_what_earlier_ones_did,
    what_the_database_alone_refuses_fails_alone,
);

on_the_bundled_engine!(
    every_record_has_one_outcome,
    the_same_file_again_rewrites_nothing,
    a_bad_record_fails_alone,
    on_existing_decides_about_users_that_exist,
    later_records_see_what_earlier_ones_did,
    what_the_database_alone_refuses_fails_alone,
);

async fn every_record_has_one_outcome(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let report = pipeline.import(&people(500), &ImportOptions::default()).await;
    assert_eq!(report.counts, Counts { total: 500, inserted: 500, ..Counts::default() });
    let records = pipeline.records(report.id, None).await;
    let numbers: Vec<u64> = records.iter().map(|record| record.record).collect();
    assert_eq!(numbers, (1..=500).collect::<Vec<u64>>());
    assert_eq!(records[41].identifier.as_deref(), Some("user41@example.com"));
    assert!(records.iter().all(|record| record.user_id.is_some() && record.outcome == Outcome::Inserted));
    assert_eq!(pipeline.witness().await, (500, 500));
    assert_eq!(pipeline.users().await[0], r#"user0@example.com|-|-|Zoë 0|-|{"office": "Milan, 0"}"#);
    pipeline.finish().await;
}

async fn the_same_file_again_rewrites_nothing(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline.import(&people(300), &ImportOptions::default()).await;
    let before = pipeline.database().snapshot().await;
    let report = pipeline.import(&people(300), &ImportOptions::default()).await;
    assert_eq!(report.counts, Counts { total: 300, skipped: 300, ..Counts::default() });
    assert!(
        pipeline
            .outcomes(report.id)
            .await
            .iter()
            .all(|outcome| *outcome == (Outcome::Skipped, Some(Reason::Unchanged)))
    );
    let after = pipeline.database().snapshot().await;
    assert_eq!(before["users"], after["users"]);
    pipeline.finish().await;
}

async fn a_bad_record_fails_alone(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let csv = "email,phone_number,first_name\n\
               good1@example.com,,A\n\
               not an address,,B\n\
               good2@example.com,12,C\n\
               good3@example.com,,\"D\"x\n\
               good4@example.com,,E,extra\n\
               ,,F\n\
               good5@example.com,+85298765432,G\n";
    let report = pipeline.import(csv, &ImportOptions::default()).await;
    assert_eq!(report.counts, Counts { total: 7, inserted: 2, failed: 5, ..Counts::default() });
    let failed = pipeline.records(report.id, Some(Outcome::Failed)).await;
    let codes: Vec<(u64, ErrorCode)> =
        failed.iter().map(|record| (record.record, record.errors[0].code)).collect();
    assert_eq!(
        codes,
        [
            (2, ErrorCode::EmailInvalid),
            (3, ErrorCode::PhoneInvalid),
            (4, ErrorCode::CsvBadQuote),
            (5, ErrorCode::CsvColumnCount),
            (6, ErrorCode::FieldRequired),
        ]
    );
    assert_eq!(
        records::failed(&pipeline.store, pipeline.tenant, report.id, 0, 100, 1 << 20).await.unwrap().len(),
        5
    );
    pipeline.finish().await;
}

async fn on_existing_decides_about_users_that_exist(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let first = "email,first_name\na@example.com,Anna\n";
    let second = "email,first_name\nA@Example.com,Berta\nb@example.com,Bea\n";
    pipeline.import(first, &ImportOptions::default()).await;
    let skip = ImportOptions { on_existing: OnExisting::Skip, ..ImportOptions::default() };
    let report = pipeline.import(second, &skip).await;
    let exists = (Outcome::Skipped, Some(Reason::Exists));
    assert_eq!(pipeline.outcomes(report.id).await, [exists, (Outcome::Inserted, None)]);

    let slug = "default".parse().unwrap();
    let organization =
        catalog::find_organization(pipeline.store.pool(), pipeline.tenant, &slug).await.unwrap().unwrap();
    let enrolment = muster_domain::options::Enrolment { organization_id: organization.0.get(), group_id: 0 };
    let enrol = ImportOptions {
        on_existing: OnExisting::Enrol,
        enrolment: Some(enrolment),
        ..ImportOptions::default()
    };
    let report = pipeline.import(second, &enrol).await;
    let enrolled = (Outcome::Updated, Some(Reason::Enrolled));
    assert_eq!(pipeline.outcomes(report.id).await, [enrolled, enrolled]);
    let report = pipeline.import(second, &enrol).await;
    assert_eq!(pipeline.outcomes(report.id).await, [exists, exists]);
    assert_eq!(pipeline.users().await, ["a@example.com|-|-|Anna|-", "b@example.com|-|-|Bea|-"]);

    let report = pipeline.import(second, &ImportOptions::default()).await;
    assert_eq!(
        pipeline.outcomes(report.id).await,
        [(Outcome::Updated, None), (Outcome::Skipped, Some(Reason::Unchanged))]
    );
    assert_eq!(pipeline.users().await[0], "a@example.com|-|-|Berta|-");
    pipeline.finish().await;
}

/// A database that was restored may give the number of a group to another one. A worker that was there before does not enrol by the
/// number that it read then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_group_of_an_import_is_read_anew_for_each_chunk() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.import("email,phone_number\nann@example.com,+85298765432\n", &ImportOptions::default()).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(1));
    let slug = "default".parse().unwrap();
    let organization =
        catalog::find_organization(pipeline.store.pool(), pipeline.tenant, &slug).await.unwrap().unwrap();
    let enrolment = Enrolment { organization_id: organization.0.get(), group_id: 41 };
    let options = ImportOptions { enrolment: Some(enrolment), ..ImportOptions::default() };
    let csv = "email,phone_number\nbea@example.com,\ncai@example.com,+85298765432\n";
    let import = pipeline.accepted(csv, &options).await;
    assert_eq!(pipeline.ended(import).await.counts.failed, 1, "the number is Ann's");
    for sql in [
        "update users set phone_number = null",
        "update imports set options = jsonb_set(options, '{enrolment,group_id}', '42') where options ? 'enrolment'",
    ] {
        sqlx::raw_sql(sql).execute(pipeline.store.pool()).await.unwrap();
    }
    lifecycle::retry(&pipeline.store, pipeline.tenant, import).await.unwrap();
    assert_eq!(pipeline.ended(import).await.counts.failed, 0);
    worker.stop().await;
    dispatcher.stop().await;
    let groups: Vec<(String, i32)> = sqlx::query_as(
        "select u.email, m.group_id from memberships m join users u on u.id = m.user_id where m.group_id > 0 order by 1",
    )
    .fetch_all(pipeline.store.pool())
    .await
    .unwrap();
    assert_eq!(groups, [("bea@example.com".to_owned(), 41), ("cai@example.com".to_owned(), 42)]);
    pipeline.finish().await;
}

async fn later_records_see_what_earlier_ones_did(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let csv = "email,phone_number,first_name\n\
               a@example.com,+85298765432,1\n\
               A@EXAMPLE.COM,,2\n\
               b@example.com,+85298765432,3\n\
               a@example.com,,2\n";
    let report = pipeline.import(csv, &ImportOptions::default()).await;
    let outcomes = pipeline.outcomes(report.id).await;
    assert_eq!(
        outcomes,
        [
            (Outcome::Inserted, None),
            (Outcome::Updated, None),
            (Outcome::Failed, None),
            (Outcome::Skipped, Some(Reason::Unchanged)),
        ]
    );
    let records = pipeline.records(report.id, None).await;
    assert_eq!(records[2].errors[0].code, ErrorCode::IdentityConflict);
    assert_eq!(records[2].errors[0].user_id, records[0].user_id);
    assert_eq!(pipeline.witness().await, (1, 2));
    pipeline.finish().await;
}

/// A rule that only the database knows stands for every rule that the planner does not foresee (P5).
async fn what_the_database_alone_refuses_fails_alone(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let mut connection = pipeline.store.connection().await.unwrap();
    sqlx::raw_sql("alter table users add check (given_name not like '% 13')")
        .execute(&mut connection)
        .await
        .unwrap();
    let report = pipeline.import(&people(100), &ImportOptions::default()).await;
    assert_eq!(report.counts, Counts { total: 100, inserted: 99, failed: 1, ..Counts::default() });
    let failed = pipeline.records(report.id, Some(Outcome::Failed)).await;
    assert_eq!((failed[0].record, failed[0].errors[0].code), (14, ErrorCode::DatabaseRefused));
    assert!(!failed[0].errors[0].message.contains("Zoë"));
    pipeline.finish().await;
}

/// No JSON of the database can be read with a NUL, and names of a file become parts of some: of errors, and of warnings.
#[tokio::test]
async fn a_nul_in_a_name_breaks_no_chunk_and_no_report() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let ndjson = ImportOptions { format: Format::Ndjson, ..ImportOptions::default() };
    // Applying warns of the flag, and receiving warned of the number.
    let warned = "{\"email\":\"a@b.co\",\"phone_number_verified\":true,\"family_name\\u0000\":\"1.5E+10\"}\n";
    let common = ImportOptions { header_names: HeaderNames::Common, ..ndjson.clone() };
    let report = pipeline.import(warned, &common).await;
    assert_eq!(report.counts, Counts { total: 1, inserted: 1, ..Counts::default() });
    let warnings = pipeline.records(report.id, None).await.remove(0).warnings;
    assert!(warnings.iter().any(|text| text.contains("family_name\u{fffd}")), "{warnings:?}");
    assert_eq!(warnings.len(), 2, "{warnings:?}");

    let report = pipeline.import("{\"email\":\"b@b.co\",\"x\\u0000\":1}\n", &ndjson).await;
    assert_eq!(report.counts, Counts { total: 1, failed: 1, ..Counts::default() });
    let problems = problems::problems(&pipeline.store, pipeline.tenant, report.id, 10).await.unwrap();
    let causes: Vec<_> =
        problems.problems.iter().map(|one| (one.code.as_str(), one.field.as_deref())).collect();
    assert_eq!(causes, [("field_unknown", Some("x\u{fffd}"))]);
    let cause = Cause { code: Some("field_unknown"), field: Some("x\u{fffd}") };
    let retried = lifecycle::retry_cause(&pipeline.store, pipeline.tenant, report.id, cause).await;
    assert!(matches!(retried, Ok(lifecycle::Transition::Done(_))), "{retried:?}");
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(1));
    assert_eq!(pipeline.ended(report.id).await.counts.failed, 1);
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// A cause with a NUL refuses the file as any other does.
#[tokio::test]
async fn the_brake_tells_of_a_name_with_a_nul() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.limits.brake = Some(50);
    let file: String = (0..100).map(|n| format!("{{\"email\":\"u{n}@b.co\",\"x\\u0000\":1}}\n")).collect();
    let ndjson = ImportOptions { format: Format::Ndjson, ..ImportOptions::default() };
    match pipeline.upload(file.as_bytes(), &ndjson).await {
        Err(ReceiveError::Refused(import, error)) => {
            assert_eq!(error.code, ErrorCode::MostlyInvalid);
            assert_eq!(pipeline.report(import).await.state, ImportState::Refused);
        }
        other => panic!("{other:?}"),
    }
    pipeline.finish().await;
}

/// Every file that cannot be imported leaves nothing but an import that says why.
#[tokio::test]
async fn a_refused_file_leaves_no_half_import() {
    let pipeline = Pipeline::new(Backend::Postgres).await;
    let many = people(200);
    let cases: [(&[u8], Format, ErrorCode); 10] = [
        (b"", Format::Csv, ErrorCode::FileEmpty),
        (b"first_name\nA\n", Format::Csv, ErrorCode::CsvHeaderMissing),
        (b"email,EMAIL\na@b.co,a@b.co\n", Format::Csv, ErrorCode::CsvHeaderDuplicate),
        (b"email,is_admin\na@b.co,1\n", Format::Csv, ErrorCode::CsvHeaderUnknown),
        (b"e\0m\0a\0", Format::Csv, ErrorCode::EncodingUnsupported),
        (b"%PDF-1.4 x", Format::Csv, ErrorCode::FormatMismatch),
        (b"[{\"email\":\"a@b.co\"},{", Format::Json, ErrorCode::JsonTruncated),
        (b"[{\"email\":\"a@b.co\"}] []", Format::Json, ErrorCode::JsonTrailing),
        (b"{\"email\":\"a@b.co\"}\n{\"em", Format::Ndjson, ErrorCode::JsonTruncated),
        (&[many.as_bytes(), b"\"open"].concat(), Format::Csv, ErrorCode::CsvUnclosedQuote),
    ];
    for (bytes, format, code) in cases {
        let options = ImportOptions { format, ..ImportOptions::default() };
        let Err(ReceiveError::Refused(import, error)) = pipeline.upload(bytes, &options).await else {
            panic!("{code} was not refused");
        };
        assert_eq!(error.code, code);
        let report = pipeline.report(import).await;
        assert_eq!((report.state, report.counts.total), (ImportState::Refused, 0));
        assert_eq!(report.error.unwrap().code, code);
        assert_eq!(report.chunks, Default::default());
    }
    let snapshot = pipeline.database().snapshot().await;
    assert!(
        snapshot["chunks"].is_empty() && snapshot["record_issues"].is_empty() && snapshot["users"].is_empty()
    );
    pipeline.finish().await;
}

#[tokio::test]
async fn refuse_applies_nothing_and_names_the_invalid_records() {
    let pipeline = Pipeline::new(Backend::Postgres).await;
    let options = ImportOptions { on_invalid: OnInvalid::Refuse, ..ImportOptions::default() };
    let import = pipeline.accepted("email\na@example.com\nnone\n", &options).await;
    let report = pipeline.report(import).await;
    assert_eq!(report.state, ImportState::Refused);
    assert_eq!(report.counts, Counts { total: 2, skipped: 1, failed: 1, ..Counts::default() });
    assert_eq!(report.error.unwrap().code, ErrorCode::InvalidRecords);
    assert_eq!(pipeline.records(import, Some(Outcome::Failed)).await[0].record, 2);
    assert!(pipeline.users().await.is_empty());
    pipeline.finish().await;
}

#[tokio::test]
async fn an_upload_that_stops_half_way_is_aborted() {
    let pipeline = Pipeline::new(Backend::Postgres).await;
    let import = muster_domain::receive::NewImport {
        id: muster_domain::id::ImportId::new(muster_runtime::clock::new_id()),
        tenant: pipeline.tenant,
        filename: None,
        options: ImportOptions::default(),
        idempotency: None,
        provenance: Default::default(),
    };
    let id = import.id;
    let upload =
        muster_producer::receive::begin(&pipeline.store, import, Default::default(), pipeline.limits)
            .await
            .unwrap();
    assert!(upload.push(people(200).into_bytes().into()).await);
    drop(upload);
    // The receiver's task ends by itself; its last act is the import's state.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while pipeline.report(id).await.state == ImportState::Receiving {
        assert!(std::time::Instant::now() < deadline, "the import was not aborted");
        tokio::task::yield_now().await;
    }
    let report = pipeline.report(id).await;
    assert_eq!((report.state, report.counts.total), (ImportState::Aborted, 0));
    assert_eq!(report.error.unwrap().code, ErrorCode::UploadIncomplete);
    assert!(pipeline.database().snapshot().await["chunks"].is_empty());
    pipeline.finish().await;
}

#[tokio::test]
async fn json_and_lines_give_what_csv_gives() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let json = r#"[{"email": "a@example.com", "given_name": "Zoë", "custom__n": 1, "metadata": {"deep": {"x": [1, 2]}}},
                   {"email": "b@example.com", "address": {"locality": "Bern"}, "what": true},
                   {"email": "c@example.com", "given_name": 7}]"#;
    let options = ImportOptions { format: Format::Json, ..ImportOptions::default() };
    let report = pipeline.import(json, &options).await;
    assert_eq!(report.counts, Counts { total: 3, inserted: 1, failed: 2, ..Counts::default() });
    let failed = pipeline.records(report.id, Some(Outcome::Failed)).await;
    assert_eq!(failed[0].errors[0].code, ErrorCode::FieldUnknown);
    assert_eq!(failed[1].errors[0].code, ErrorCode::TypeMismatch);
    let lines =
        "{\"email\": \"b@example.com\", \"address\": {\"locality\": \"Bern\"}, \"what\": true}\n{broken\n\n";
    let lenient = ImportOptions {
        format: Format::Ndjson,
        unknown_columns: UnknownColumns::Ignore,
        ..ImportOptions::default()
    };
    let report = pipeline.import(lines, &lenient).await;
    assert_eq!(report.counts, Counts { total: 2, inserted: 1, failed: 1, ..Counts::default() });
    assert_eq!(
        pipeline.users().await,
        [
            r#"a@example.com|-|-|Zoë|-|{"n": 1, "deep": {"x": [1, 2]}}"#,
            r#"b@example.com|-|-|-|-|{"address": {"locality": "Bern"}}"#,
        ]
    );
    pipeline.finish().await;
}

#[tokio::test]
async fn an_empty_import_completes() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let report = pipeline.import("email\n", &ImportOptions::default()).await;
    assert_eq!(report.counts, Counts::default());
    pipeline.finish().await;
}

/// The tenant's users as a file.
async fn exported(pipeline: &Pipeline, format: ExportFormat) -> String {
    let pieces = export::users(&pipeline.store, pipeline.tenant, UsersWanted::default(), format);
    let pieces: Vec<_> = pieces.map(|piece| piece.unwrap().to_vec()).collect().await;
    String::from_utf8(pieces.concat()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_imported_again_changes_nothing() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let full = concat!(
        r#"{"email": "full@example.com", "phone_number": "+420601234567", "preferred_username": "full", "given_name": "=cmd","#,
        r#" "family_name": "O'Neil, \"x\"", "name": "-1", "zoneinfo": "Europe/Prague", "locale": "cs-CZ","#,
        r#" "address": {"country": "CZ"}, "birthdate": "1980-12-24", "email_verified": true, "locked": true, "disabled": true,"#,
        r#" "account_valid_until": "2099-01-01T00:00:00Z", "mfa_email": "codes@example.com","#,
        r#" "addresses": [{"name": "home", "value": "+420601234568"}], "alias": "F", "extension_number": "12","#,
        r#" "metadata": {"n": 1.50, "big": 12345678901234567890, "list": [1, "a"], "none": null, "text": "007"}}"#,
        "\n{\"email\": \"bare@example.com\"}\n"
    );
    let ndjson = ImportOptions { format: Format::Ndjson, ..ImportOptions::default() };
    let import = pipeline.accepted(full, &ndjson).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(pipeline.ended(import).await.counts, Counts { total: 2, inserted: 2, ..Counts::default() });
    for (format, options) in [(ExportFormat::Ndjson, ndjson), (ExportFormat::Csv, ImportOptions::default())] {
        let file = exported(&pipeline, format).await;
        let import = pipeline.accepted(&file, &options).await;
        let report = pipeline.ended(import).await;
        assert_eq!(
            report.counts,
            Counts { total: 2, skipped: 2, ..Counts::default() },
            "{file}\n{:?}",
            pipeline.records(import, None).await
        );
    }
    assert_eq!(pipeline.witness().await, (2, 2));
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}
