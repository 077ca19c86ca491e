//! Where imports are: in a store, or behind a server. One set of operations on both.

use anyhow::bail;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_producer::api::{ChunkView, RecordView};
use muster_store::chunks::ChunkFilter;
use muster_store::problems::Problems;

use super::asked::{CauseArgs, ImportAction, Outcomes};
use super::local::Local;
use crate::client::Remote;
use crate::failure::usage;
use crate::view::View;

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

    /// Performs the action and returns the import as it is then.
    pub(crate) async fn perform(
        &self,
        id: ImportId,
        action: ImportAction,
        cause: &CauseArgs,
    ) -> anyhow::Result<View> {
        either!(self, inner => inner.perform(id, action, cause).await)
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
