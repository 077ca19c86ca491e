//! A change that is left out, since it differs from the plan of its undo, holds back what is behind it, and a retry takes all of it back.

use muster_domain::chunk::ChunkLimits;
use muster_domain::error::ErrorCode;
use muster_domain::id::ImportId;
use muster_domain::options::Start;
use muster_domain::outcome::{Counts, Outcome};
use muster_domain::planned::OnDrift;
use muster_store::lifecycle;
use muster_store::problems::{self, Cause};
use muster_store::undo::{self, NewUndo, OpenedUndo, Refusal};

use super::story::execute;
use super::{opened, plain, whole};
use crate::harness::{Backend, Pipeline};
use crate::plan::{applied, work_on_plan};

/// In one chunk of the undo, and in two.
const CHUNKS: [u32; 2] = [7, 1];

/// An import of which each record is one change, also where it changes the same user again.
async fn imported(pipeline: &mut Pipeline, csv: &str) -> ImportId {
    pipeline.limits.chunk = ChunkLimits { records: 1, bytes: 64 * 1024, lanes: 1 };
    pipeline.import(csv, &plain()).await.id
}

async fn planned(pipeline: &mut Pipeline, of: ImportId, records: u32) -> ImportId {
    let chunk = ChunkLimits { records, bytes: 64 * 1024, lanes: 3 };
    let new = NewUndo { start: Start::Plan, chunk, ..whole(pipeline, of) };
    opened(pipeline, &new).await;
    work_on_plan(pipeline, new.id).await;
    new.id
}

/// Does what was planned: both records fail, one because of `field`, and the other one is behind it.
async fn both_fail(pipeline: &mut Pipeline, undo: ImportId, field: &str) {
    let report = applied(pipeline, undo, OnDrift::Refuse).await;
    assert_eq!(report.counts, Counts { total: 2, failed: 2, ..Counts::default() });
    let failed = pipeline.records(undo, Some(Outcome::Failed)).await;
    assert!(failed.iter().all(|record| record.errors[0].code == ErrorCode::ChangedSincePlan), "{failed:?}");
    let told: Vec<&str> = failed.iter().map(|record| record.errors[0].message.as_str()).collect();
    assert!(told.iter().any(|text| text.contains(&format!(": {field};"))), "{told:?}");
    let behind = "a later change has to be taken back first";
    assert_eq!(told.iter().filter(|text| text.starts_with(behind)).count(), 1, "{told:?}");
}

/// Tries again what the guide says, and nothing else.
async fn retried(pipeline: &mut Pipeline, undo: ImportId) {
    let cause = Cause { code: Some(ErrorCode::ChangedSincePlan.as_str()), field: None };
    lifecycle::retry_cause(&pipeline.store, pipeline.tenant, undo, cause).await.unwrap();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    let counts = pipeline.ended(undo).await.counts;
    worker.stop().await;
    dispatcher.stop().await;
    assert_eq!(counts, Counts { total: 2, updated: 2, ..Counts::default() });
}

/// Nothing failed in the end, so the undo is a whole one: there is no other beside it.
async fn is_whole(pipeline: &Pipeline, import: ImportId, undo_id: ImportId) {
    let preview = undo::preview(&pipeline.store, pipeline.tenant, import).await.unwrap().unwrap();
    assert_eq!((preview.refused, preview.undone_by), (Some(ErrorCode::AlreadyUndone), Some(undo_id)));
    let again = undo::open(&pipeline.store, &whole(pipeline, import)).await.unwrap();
    assert_eq!(again, OpenedUndo::Refused(Refusal::Undone(undo_id)));
}

/// E-mail address and names of each user.
async fn seen(pipeline: &Pipeline) -> Vec<String> {
    sqlx::query_scalar("select concat_ws(' ', email, given_name, family_name) from users order by email")
        .fetch_all(pipeline.store.pool())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn earlier_changes_wait_for_one_that_is_left_out_and_a_retry_takes_all_back() {
    for records in CHUNKS {
        let mut pipeline = Pipeline::new(Backend::Postgres).await;
        imported(&mut pipeline, "email,first_name,last_name\na@example.com,Ann,Xu\n").await;
        let csv = "email,first_name,last_name\na@example.com,Bea,\na@example.com,Cleo,Young\n";
        let import = imported(&mut pipeline, csv).await;
        let undo = planned(&mut pipeline, import, records).await;
        execute(&pipeline, "update users set family_name = 'Zhou', version = version + 1").await;
        both_fail(&mut pipeline, undo, "family_name").await;
        assert_eq!(seen(&pipeline).await, ["a@example.com Cleo Zhou"]);
        let before = undo::preview(&pipeline.store, pipeline.tenant, import).await.unwrap().unwrap();
        assert_eq!(before.refused, None, "what failed may be tried by another undo, too");
        retried(&mut pipeline, undo).await;
        assert_eq!(seen(&pipeline).await, ["a@example.com Ann Zhou"]);
        is_whole(&pipeline, import, undo).await;
        pipeline.finish().await;
    }
}

/// What was in the way when the undo was planned is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inserted_user_waits_for_its_change_that_is_left_out_and_a_retry_deletes_it() {
    for records in CHUNKS {
        let mut pipeline = Pipeline::new(Backend::Postgres).await;
        imported(&mut pipeline, "email,first_name\ne@example.com,Eve\n").await;
        let csv = "email,first_name,new_email\nn@example.com,New,\nn@example.com,,moved@example.com\n";
        let import = imported(&mut pipeline, csv).await;
        execute(
            &pipeline,
            "update users set email = 'n@example.com', version = version + 1 where given_name = 'Eve'",
        )
        .await;
        let undo = planned(&mut pipeline, import, records).await;
        execute(
            &pipeline,
            "update users set email = 'e@example.com', version = version + 1 where given_name = 'Eve'",
        )
        .await;
        both_fail(&mut pipeline, undo, "email").await;
        assert_eq!(seen(&pipeline).await, ["e@example.com Eve", "moved@example.com New"]);
        retried(&mut pipeline, undo).await;
        assert_eq!(seen(&pipeline).await, ["e@example.com Eve"]);
        pipeline.finish().await;
    }
}

/// Of two users another field each was changed since the plan.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_drifted_records_shows_no_field_of_one_of_them() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let csv = "email,first_name,last_name\na@example.com,Ann,Xu\nb@example.com,Bo,Xu\n";
    imported(&mut pipeline, csv).await;
    let csv = "email,first_name,last_name\na@example.com,Cleo,Young\nb@example.com,Cleo,Young\n";
    let import = imported(&mut pipeline, csv).await;
    let undo = planned(&mut pipeline, import, 7).await;
    execute(
        &pipeline,
        "update users set version = version + 1,
                          given_name = case email when 'a@example.com' then 'Dora' else given_name end,
                          family_name = case email when 'b@example.com' then 'Zhou' else family_name end",
    )
    .await;
    let report = applied(&mut pipeline, undo, OnDrift::Refuse).await;
    assert_eq!(report.counts, Counts { total: 2, failed: 2, ..Counts::default() });
    let found = problems::problems(&pipeline.store, pipeline.tenant, undo, 9).await.unwrap().problems;
    assert_eq!((found.len(), found[0].count, found[0].first[0].line), (1, 2, None));
    assert!(!found[0].message.contains("_name"), "{found:?}");
    let command = format!("`muster imports retry {undo} --code changed_since_plan`");
    assert!(found[0].advice.as_deref().unwrap().contains(&command), "{found:?}");
    pipeline.finish().await;
}
