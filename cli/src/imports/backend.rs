//! Where imports are: in a store, or behind a server. One set of operations on both.

use anyhow::bail;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use futures_util::stream::BoxStream;
use muster_domain::error::{ErrorCode, RecordError};
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::outcome::{Outcome, Reason};
use muster_domain::planned::OnDrift;
use muster_producer::api::ChunkView;
use muster_store::chunks::ChunkFilter;
use muster_store::problems::{Cause, Problems};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::local::Local;
use crate::args::one_of;
use crate::client::Remote;
use crate::failure::usage;
use crate::view::View;

/// What can be done to an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Steer {
    /// Start it; of one that was planned, this happens to records whose plan no longer holds.
    Proceed(Option<OnDrift>),
    Pause,
    Resume,
    Cancel,
    Retry,
    /// Make its plan anew.
    Replan,
}

impl Steer {
    /// The word on the command line and in the API.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Proceed(_) => "proceed",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Replan => "plan",
        }
    }

    /// Whether the import runs afterwards.
    pub(crate) fn sets_going(self) -> bool {
        matches!(self, Self::Proceed(_) | Self::Resume | Self::Retry | Self::Replan)
    }
}

/// Outcomes that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Outcomes {
    Pending,
    Inserted,
    Updated,
    Skipped,
    Failed,
}

impl Outcomes {
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Pending => Outcome::Pending,
            Self::Inserted => Outcome::Inserted,
            Self::Updated => Outcome::Updated,
            Self::Skipped => Outcome::Skipped,
            Self::Failed => Outcome::Failed,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Inserted => "inserted",
            Self::Updated => "updated",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// The failures that are meant, as they are named on the command line.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CauseArgs {
    /// Only those that failed with this error (`muster imports problems` shows them)
    #[arg(long, value_name = "CODE", value_parser = one_of::<ErrorCode>(ErrorCode::ALL.iter().map(|code| code.as_str())), hide_possible_values = true)]
    code: Option<ErrorCode>,
    /// Only those that failed for this column or key
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
}

impl CauseArgs {
    pub(crate) fn cause(&self) -> Cause<'_> {
        Cause { code: self.code.map(ErrorCode::as_str), field: self.field.as_deref() }
    }

    /// As the API names them.
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        let code = self.code.map(|code| ("code", code.as_str().to_owned()));
        code.into_iter().chain(self.field.clone().map(|field| ("field", field))).collect()
    }
}

/// One record, in the API's shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordView {
    pub(crate) record: u64,
    #[serde(default)]
    pub(crate) line: Option<u64>,
    pub(crate) outcome: Outcome,
    #[serde(default)]
    pub(crate) reason: Option<Reason>,
    #[serde(default)]
    pub(crate) user_id: Option<Uuid>,
    #[serde(default)]
    pub(crate) identifier: Option<String>,
    #[serde(default)]
    pub(crate) warnings: Vec<String>,
    #[serde(default)]
    pub(crate) errors: Vec<RecordError>,
}

/// Where imports are.
pub(crate) enum Backend<'a> {
    Local(Local<'a>),
    Remote(&'a Remote),
}

macro_rules! either {
    ($self:expr, $inner:ident => $call:expr) => {
        match $self {
            Backend::Local($inner) => $call,
            Backend::Remote($inner) => $call,
        }
    };
}

impl Backend<'_> {
    /// Up to `limit` imports, newest first.
    pub(crate) async fn list(&self, state: Option<ImportState>, limit: u32) -> anyhow::Result<Vec<View>> {
        either!(self, inner => inner.list(state, limit).await)
    }

    /// One import.
    pub(crate) async fn show(&self, id: ImportId) -> anyhow::Result<View> {
        either!(self, inner => inner.show(id).await)
    }

    /// Up to `limit` records after one.
    pub(crate) async fn records(
        &self,
        id: ImportId,
        outcome: Option<Outcomes>,
        cause: &CauseArgs,
        after: u64,
        limit: u64,
    ) -> anyhow::Result<Vec<RecordView>> {
        either!(self, inner => inner.records(id, outcome, cause, after, limit).await)
    }

    /// The failures by cause, and the warnings by their text.
    pub(crate) async fn problems(&self, id: ImportId, limit: u8) -> anyhow::Result<Problems> {
        either!(self, inner => inner.problems(id, limit).await)
    }

    /// Up to `limit` chunks of an import, by lane and number.
    pub(crate) async fn chunks(
        &self,
        id: ImportId,
        filter: ChunkFilter,
        limit: u64,
    ) -> anyhow::Result<Vec<ChunkView>> {
        either!(self, inner => inner.chunks(id, filter, limit).await)
    }

    /// The file of failed records.
    pub(crate) async fn failed(
        &self,
        id: ImportId,
        format: &str,
        cause: &CauseArgs,
    ) -> anyhow::Result<BoxStream<'static, anyhow::Result<Bytes>>> {
        either!(self, inner => inner.failed(id, format, cause).await)
    }

    /// Steers, and answers with the import as it is then.
    pub(crate) async fn steer(&self, id: ImportId, steer: Steer, cause: &CauseArgs) -> anyhow::Result<View> {
        either!(self, inner => inner.steer(id, steer, cause).await)
    }

    /// The import that an argument means: an id, the beginning or the end of one, or `last`.
    pub(crate) async fn find(&self, text: &str) -> anyhow::Result<ImportId> {
        if text == "last" {
            return match self.list(None, 1).await?.first() {
                Some(view) => Ok(view.id),
                None => bail!("there is no import yet"),
            };
        }
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        if let Some(id) = muster_producer::api::decode_import_id(text) {
            return Ok(id);
        }
        let part = text.to_ascii_lowercase();
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
            return Err(usage("an import is named by its id, the beginning or the end of it, or `last`"));
        }
        let mut found = either!(self, inner => inner.ids_with(&part).await?);
        match (found.pop(), found.is_empty()) {
            (Some(id), true) => Ok(id),
            (None, _) => {
                bail!(
                    "there is no import whose id begins with {part} or ends with it; `muster imports list` shows them"
                )
            }
            (Some(_), false) => {
                bail!(
                    "several imports have an id that begins with {part} or ends with it; give more of it, at its end where they differ"
                )
            }
        }
    }
}
