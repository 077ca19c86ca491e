//! Planning imports: nothing is written, what was foreseen happens, and what changed meanwhile is told.

mod foreseen;
mod meanwhile;
mod property;

use std::collections::BTreeMap;

use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::options::{ImportOptions, Start};
use muster_domain::outcome::{Outcome, Reason};
use muster_domain::planned::{OnDrift, PlannedRecord};
use muster_store::lifecycle::{self, Transition};
use muster_store::plans::{self, PlanSummary, PlannedPage};
use muster_store::reports::ImportReport;

use crate::harness::Pipeline;

/// Options with which an import is planned first.
pub(super) fn first(options: &ImportOptions) -> ImportOptions {
    ImportOptions { start: Start::Plan, ..options.clone() }
}

/// Plans a file with one dispatcher and one worker.
pub(super) async fn plan(pipeline: &mut Pipeline, csv: &str, options: &ImportOptions) -> ImportId {
    let import = pipeline.accepted(csv, &first(options)).await;
    work_on_plan(pipeline, import).await;
    import
}

/// Works until the plan is made.
pub(super) async fn work_on_plan(pipeline: &mut Pipeline, import: ImportId) {
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(3));
    let report = pipeline.planned(import).await;
    worker.stop().await;
    dispatcher.stop().await;
    assert_eq!(report.state, ImportState::Planned);
}

/// Applies what was planned.
pub(super) async fn applied(pipeline: &mut Pipeline, import: ImportId, on_drift: OnDrift) -> ImportReport {
    let steered = lifecycle::proceed_with(&pipeline.store, pipeline.tenant, import, on_drift).await.unwrap();
    assert_eq!(steered, Transition::Done(ImportState::Running));
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(3));
    let report = pipeline.ended(import).await;
    worker.stop().await;
    dispatcher.stop().await;
    assert_eq!(report.state, ImportState::Completed);
    report
}

pub(super) async fn summary(pipeline: &Pipeline, import: ImportId) -> PlanSummary {
    plans::summary(&pipeline.store, pipeline.tenant, import).await.unwrap().unwrap().unwrap()
}

/// What was planned for each record, by its number; read in small pages.
pub(super) async fn records(pipeline: &Pipeline, import: ImportId) -> BTreeMap<u64, PlannedRecord> {
    let mut all = BTreeMap::new();
    let mut after = plans::Cursor::default();
    loop {
        let wanted = PlannedPage { after, limit: 7, ..PlannedPage::default() };
        let page = plans::page(&pipeline.store, pipeline.tenant, import, wanted).await.unwrap();
        for record in page.records {
            assert!(all.insert(record.record, record).is_none(), "a record is told twice");
        }
        match page.next {
            Some(next) => after = next,
            None => return all,
        }
    }
}

/// Outcome and reason that were planned, by number.
pub(super) fn verdicts(records: &BTreeMap<u64, PlannedRecord>) -> Vec<(Outcome, Option<Reason>)> {
    records.values().map(|record| (record.outcome, record.reason)).collect()
}

/// Every row of the tables that a plan may not write to.
pub(super) async fn everything(pipeline: &Pipeline) -> Vec<String> {
    let mut all = Vec::new();
    for table in [
        "users",
        "memberships",
        "user_credentials",
        "organizations",
        "catalog_names",
        "attribute_definitions",
        "before_images",
        "undo_steps",
        "record_issues",
    ] {
        let sql = format!("select row_to_json(t)::text from {table} as t order by 1");
        let rows: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(pipeline.store.pool()).await.unwrap();
        all.extend(rows.into_iter().map(|row| format!("{table} {row}")));
    }
    all
}

/// What only planning needed goes, some at a time.
pub(super) async fn no_keys_are_kept(pipeline: &Pipeline) {
    while plans::forget_keys(&pipeline.store).await.unwrap() > 0 {}
    assert_eq!(keys(pipeline).await, 0);
}

/// How many rows there are that only planning needs.
pub(super) async fn keys(pipeline: &Pipeline) -> i64 {
    sqlx::query_scalar("select count(*) from planned_keys").fetch_one(pipeline.store.pool()).await.unwrap()
}
