//! Imports behind a server, over its HTTP API.

use anyhow::{anyhow, bail};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_producer::api::{ChunkView, RecordView};
use muster_store::chunks::ChunkFilter;
use muster_store::problems::Problems;
use reqwest::Response;

use super::asked::{CauseArgs, ImportAction, Outcomes};
use crate::client::{Remote, operations};
use crate::view::View;

/// Imports on a page of the list, where the whole list is gone through.
const PAGE: u32 = 100;

impl Remote {
    pub(crate) async fn list(&self, state: Option<ImportState>, limit: u32) -> anyhow::Result<Vec<View>> {
        let mut views = Vec::new();
        let mut after = None;
        while views.len() < limit as usize {
            let left = limit - u32::try_from(views.len()).unwrap_or(limit);
            let (page, next) = self.page(state, after.take(), left.min(PAGE)).await?;
            views.extend(page);
            after = next;
            if after.is_none() {
                break;
            }
        }
        Ok(views)
    }

    async fn page(
        &self,
        state: Option<ImportState>,
        after: Option<ImportId>,
        limit: u32,
    ) -> anyhow::Result<(Vec<View>, Option<ImportId>)> {
        let call = operations::IMPORTS_LIST
            .call()
            .with("limit", limit.to_string())
            .with_all(state.map(|state| ("state", state.to_string())))
            .with_all(after.map(|after| ("after", after.to_string())));
        let page = self.ask(call).await?;
        Ok((page.imports.into_iter().map(View::from).collect(), page.next))
    }

    /// The import that has this idempotency key.
    pub(crate) async fn by_key(&self, key: &str) -> anyhow::Result<Option<View>> {
        let page = self.ask(operations::IMPORTS_LIST.call().with("idempotency_key", key)).await?;
        Ok(page.imports.into_iter().next().map(View::from))
    }

    pub(crate) async fn show(&self, id: ImportId) -> anyhow::Result<View> {
        self.ask(operations::IMPORTS_SHOW.at(&[&id])).await
    }

    pub(crate) async fn ids_with(&self, part: &str) -> anyhow::Result<Vec<ImportId>> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let (page, next) = self.page(None, after, PAGE).await?;
            let named = |id: &ImportId| {
                let text = id.to_string();
                text.starts_with(part) || text.ends_with(part)
            };
            found.extend(page.iter().map(|view| view.id).filter(named));
            after = next;
            if after.is_none() || found.len() > 1 {
                return Ok(found);
            }
        }
    }

    pub(crate) async fn records(
        &self,
        id: ImportId,
        outcome: Option<Outcomes>,
        cause: &CauseArgs,
        after: u64,
        limit: u64,
    ) -> anyhow::Result<Vec<RecordView>> {
        let call = operations::IMPORTS_RECORDS
            .at(&[&id])
            .with("after", after.to_string())
            .with("limit", limit.to_string())
            .with_all(cause.query())
            .with_all(outcome.map(|outcome| ("outcome", outcome.word().to_owned())));
        Ok(self.ask(call).await?.records)
    }

    pub(crate) async fn chunks(
        &self,
        id: ImportId,
        filter: ChunkFilter,
        limit: u64,
    ) -> anyhow::Result<Vec<ChunkView>> {
        let call = operations::IMPORTS_CHUNKS
            .at(&[&id])
            .with("limit", limit.to_string())
            .with_all(filter.state.map(|state| ("state", state.to_string())))
            .with_all(filter.problem.then(|| ("problem", "true".to_owned())))
            .with_all(filter.after.map(|after| ("after", after.to_string())));
        Ok(self.ask(call).await?.chunks)
    }

    pub(crate) async fn problems(&self, id: ImportId, limit: u8) -> anyhow::Result<Problems> {
        self.ask(operations::IMPORTS_PROBLEMS.at(&[&id]).with("limit", limit.to_string())).await
    }

    pub(crate) async fn failed(
        &self,
        id: ImportId,
        format: &str,
        cause: &CauseArgs,
    ) -> anyhow::Result<BoxStream<'static, anyhow::Result<Bytes>>> {
        let file = match format {
            "ndjson" => &operations::IMPORTS_FAILED_NDJSON,
            _ => &operations::IMPORTS_FAILED_CSV,
        };
        let response = self.send(self.request(&file.at(&[&id]).with_all(cause.query()))).await?;
        let pieces = response.bytes_stream();
        Ok(pieces.map(|piece| piece.map_err(|error| anyhow!(error.without_url()))).boxed())
    }

    pub(crate) async fn perform(
        &self,
        id: ImportId,
        action: ImportAction,
        cause: &CauseArgs,
    ) -> anyhow::Result<View> {
        let on_drift = match action {
            ImportAction::Proceed(on_drift) => {
                on_drift.map(|on_drift| ("on_drift", on_drift.as_str().to_owned()))
            }
            _ => None,
        };
        let operation = match action {
            ImportAction::Proceed(_) => &operations::IMPORTS_PROCEED,
            ImportAction::Pause => &operations::IMPORTS_PAUSE,
            ImportAction::Resume => &operations::IMPORTS_RESUME,
            ImportAction::Cancel => &operations::IMPORTS_CANCEL,
            ImportAction::Retry => &operations::IMPORTS_RETRY,
            ImportAction::Replan => &operations::IMPORTS_PLAN_ANEW,
        };
        self.ask(operation.at(&[&id]).with_all(cause.query()).with_all(on_drift)).await
    }

    /// The import that an answer to an upload is about.
    pub(crate) async fn accepted(response: Response) -> anyhow::Result<View> {
        match response.json().await {
            Ok(view) => Ok(view),
            Err(_) => bail!(
                "the server took the file, but its answer cannot be understood; `muster imports list` shows it"
            ),
        }
    }
}
