//! An import as commands see it, whether it is in a store or behind a server. The shape is the HTTP API's.

use chrono::{DateTime, Utc};
use muster_domain::error::FileError;
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::options::ImportOptions;
use muster_domain::outcome::Counts;
use muster_domain::parse::{Delimiter, TextEncoding};
use muster_domain::progress::Progress;
use muster_store::family::Family;
use muster_store::reports::{ChunkCounts, ImportReport};
use serde::{Deserialize, Serialize};

/// An import.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct View {
    /// Id.
    pub(crate) id: ImportId,
    /// State.
    pub(crate) state: ImportState,
    /// Name of the file.
    pub(crate) filename: Option<String>,
    /// What its text was in, where that was not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<TextEncoding>,
    /// What ends the cells of its table, where that is not the comma.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delimiter: Option<Delimiter>,
    /// What it was asked to do.
    pub(crate) options: ImportOptions,
    /// A newer program wrote it, and this one cannot tell all of its options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    /// The import whose failed records it brought again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mends: Option<ImportId>,
    /// The import and those that brought its failed records again, where there are such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) family: Option<Family>,
    /// Outcomes so far.
    pub(crate) counts: Counts,
    /// Chunks by state.
    #[serde(default)]
    pub(crate) chunks: ChunkCounts,
    /// Why it was refused or aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<FileError>,
    /// Its progress, while it has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<Progress>,
    /// When it was opened.
    pub(crate) created_at: DateTime<Utc>,
    /// When everything was staged.
    pub(crate) received_at: Option<DateTime<Utc>>,
    /// When it began to run.
    pub(crate) started_at: Option<DateTime<Utc>>,
    /// When it reached its end.
    pub(crate) completed_at: Option<DateTime<Utc>>,
}

impl From<ImportReport> for View {
    fn from(report: ImportReport) -> Self {
        let problem = report.problem();
        Self {
            id: report.id,
            state: report.state,
            filename: report.filename,
            encoding: report.encoding,
            delimiter: report.delimiter,
            options: report.options,
            problem,
            mends: report.mends,
            family: None,
            counts: report.counts,
            chunks: report.chunks,
            error: report.error,
            progress: None,
            created_at: report.created_at,
            received_at: report.received_at,
            started_at: report.started_at,
            completed_at: report.completed_at,
        }
    }
}
