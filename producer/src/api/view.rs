//! Imports and records in the shape in which clients see them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use muster_domain::error::{FileError, RecordError};
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::options::{ImportOptions, Start};
use muster_domain::outcome::{Counts, Outcome, Reason};
use muster_domain::parse::{Delimiter, TextEncoding};
use muster_domain::progress::Progress;
use muster_store::family::{Family, Member};
use muster_store::records::RecordReport;
use muster_store::reports::{ChunkCounts, ImportReport};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// An import.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ImportView {
    /// Id.
    #[schema(value_type = Uuid)]
    pub id: ImportId,
    /// State: receiving, received, planning, planned, running, paused, completed, aborted, refused or cancelled.
    #[schema(value_type = String)]
    pub state: ImportState,
    /// The file's label.
    pub filename: Option<String>,
    /// What its text was in, where that was not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub encoding: Option<TextEncoding>,
    /// What ends the cells of its table, where that is not the comma.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub delimiter: Option<Delimiter>,
    /// What the import was asked to do.
    #[schema(value_type = Object)]
    pub options: ImportOptions,
    /// In lists: a newer version wrote this import, and this program cannot tell all of its options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The import whose failed records it brought again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub mends: Option<ImportId>,
    /// Outcomes so far: total, pending, inserted, updated, skipped, failed. They add up at every moment.
    #[schema(value_type = Object)]
    pub counts: Counts,
    /// Chunks by state.
    #[serde(default)]
    #[schema(value_type = Object, required = true)]
    pub chunks: ChunkCounts,
    /// Why it was refused or aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub error: Option<FileError>,
    /// While it has not ended: `no_progress_since`, whether it is `stalled`, records a second (`rate`) and when it `ends_at` that
    /// rate, the last `problem` (message, at, since, chunks, attempts, next_try_at), what it `waits_for` (upload, proceed, resume,
    /// tenant, producer, worker, retry, dispatch, window or turn), how many imports of the tenant are `ahead`, and its places in the `window`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub progress: Option<Progress>,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When everything was staged.
    pub received_at: Option<DateTime<Utc>>,
    /// When it began to run.
    pub started_at: Option<DateTime<Utc>>,
    /// When it reached its end.
    pub completed_at: Option<DateTime<Utc>>,
    // Left out where there is no server: commands print imports too.
    /// Where its parts are.
    #[serde(default, skip_serializing_if = "ImportLinks::are_left_out")]
    #[schema(required = true)]
    pub links: ImportLinks,
}

/// Addresses of an import's parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportLinks {
    /// The import.
    #[serde(rename = "self")]
    pub own: String,
    /// Its chunks.
    #[serde(default)]
    pub chunks: String,
    /// Its records.
    pub records: String,
    /// Its failures by cause.
    #[serde(default)]
    pub problems: String,
    /// Its receipt, once it has ended.
    #[serde(default)]
    pub receipt: String,
    /// Its failed records as a table.
    pub failed_csv: String,
    /// Its failed records, an object a line.
    pub failed_ndjson: String,
    /// What it would do, of an import that is or was planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

impl ImportLinks {
    fn are_left_out(&self) -> bool {
        self.own.is_empty()
    }
}

impl ImportView {
    /// The view of an import, its links beginning with `base`.
    pub fn new(report: ImportReport, base: &str) -> Self {
        let problem = report.problem();
        let own = format!("{base}/v1/imports/{}", report.id);
        let links = ImportLinks {
            chunks: format!("{own}/chunks"),
            records: format!("{own}/records"),
            problems: format!("{own}/problems"),
            receipt: format!("{own}/receipt"),
            failed_csv: format!("{own}/failed.csv"),
            failed_ndjson: format!("{own}/failed.ndjson"),
            plan: (report.options.start == Start::Plan).then(|| format!("{own}/plan")),
            own,
        };
        Self {
            id: report.id,
            state: report.state,
            filename: report.filename,
            encoding: report.encoding,
            delimiter: report.delimiter,
            options: report.options.as_given(),
            problem,
            mends: report.mends,
            counts: report.counts,
            chunks: report.chunks,
            error: report.error,
            progress: None,
            created_at: report.created_at,
            received_at: report.received_at,
            started_at: report.started_at,
            completed_at: report.completed_at,
            links,
        }
    }

    /// The same with the import's progress.
    pub fn with(self, progress: Option<Progress>) -> Self {
        Self { progress, ..self }
    }
}

/// A page of imports, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ImportList {
    /// The imports.
    pub imports: Vec<ImportView>,
    /// What to give as `after` for the next page; null on the last.
    #[schema(value_type = Option<Uuid>)]
    pub next: Option<ImportId>,
    /// Address of the next page; null on the last.
    pub next_link: Option<String>,
}

/// The outcome of one record.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RecordView {
    /// Its number in the file, from 1.
    pub record: u64,
    /// The line of the file that it begins on; of a workbook its row. Null where it is not known.
    #[serde(default)]
    pub line: Option<u64>,
    /// pending, inserted, updated, skipped or failed.
    #[schema(value_type = String)]
    pub outcome: Outcome,
    /// Why, where there is more than one way to the outcome: exists, unchanged, cancelled, enrolled, superseded.
    #[schema(value_type = Option<String>)]
    pub reason: Option<Reason>,
    /// The user concerned.
    pub user_id: Option<Uuid>,
    /// The identifier as it was uploaded.
    pub identifier: Option<String>,
    /// What its owner should know although it was applied.
    pub warnings: Vec<String>,
    /// What is wrong with it.
    #[schema(value_type = Vec<Object>)]
    pub errors: Vec<RecordError>,
}

impl From<RecordReport> for RecordView {
    fn from(report: RecordReport) -> Self {
        Self {
            record: report.record,
            line: report.line,
            outcome: report.outcome,
            reason: report.reason,
            user_id: report.user_id,
            identifier: report.identifier,
            warnings: report.warnings,
            errors: report.errors,
        }
    }
}

/// An import, with the parts that are only included on request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ImportDetails {
    /// The import.
    #[serde(flatten)]
    pub import: ImportView,
    /// Skipped records by reason: exists, unchanged, cancelled, enrolled, superseded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped_by_reason: Option<BTreeMap<String, u64>>,
    /// Where failed records of an import were brought again by others: all of these imports, shown as one.
    /// For an import that has not ended, it is included if `details` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<FamilyView>,
}

/// An import and those that brought its failed records again, shown as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FamilyView {
    /// The first import.
    pub root: Uuid,
    /// Its records.
    pub records: u64,
    /// Those of them that were applied, by whichever import of the family. An import that has not ended or was undone does not count.
    pub applied: u64,
    /// The others.
    pub open: u64,
    /// The same in a sentence.
    pub summary: String,
    /// The imports, the first one first, at most 200.
    pub members: Vec<MemberView>,
}

/// An import of a family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberView {
    /// Id.
    pub id: Uuid,
    /// The import whose failed records it brought again; null for the first one.
    pub mends: Option<Uuid>,
    /// State.
    #[schema(value_type = String)]
    pub state: ImportState,
    /// The file's label.
    pub filename: Option<String>,
    /// Its records.
    pub records: u64,
    /// Whether it was undone as a whole.
    pub undone: bool,
}

impl From<Family> for FamilyView {
    fn from(family: Family) -> Self {
        let Family { root, records, applied, open, summary, members } = family;
        let members = members.into_iter().map(MemberView::from).collect();
        Self { root: root.get(), records, applied, open, summary, members }
    }
}

impl From<Member> for MemberView {
    fn from(member: Member) -> Self {
        let Member { id, mends, state, filename, records, undone, .. } = member;
        Self { id: id.get(), mends: mends.map(ImportId::get), state, filename, records, undone }
    }
}

/// A page of records in file order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RecordList {
    /// The records.
    pub records: Vec<RecordView>,
    /// What to give as `after` for the next page; null on the last.
    pub next: Option<u64>,
    /// Address of the next page; null on the last.
    #[serde(default)]
    pub next_link: Option<String>,
}
