//! Imports in the store.

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use muster_domain::chunk::ChunkLimits;
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_producer::api::{ChunkView, RecordView};
use muster_producer::export::{self, ExportFormat};
use muster_store::chunks::{self, ChunkFilter};
use muster_store::family;
use muster_store::lifecycle::{self, Transition};
use muster_store::problems::{self, Problems};
use muster_store::records::{self, RecordFilter};
use muster_store::reports::{self, ImportReport};
use muster_store::status::{self, Bounds};

use super::asked::{CauseArgs, ImportAction, Outcomes, why};
use crate::connect::Session;
use crate::view::View;

/// A tenant's imports in the session's store.
pub(crate) struct Local<'s> {
    pub(crate) session: &'s Session,
    pub(crate) tenant: TenantId,
    /// The surroundings that the progress of imports depends on.
    pub(crate) bounds: Bounds,
    /// How large the chunks of an undo may become.
    pub(crate) chunk: ChunkLimits,
}

impl Local<'_> {
    async fn report(&self, id: ImportId) -> anyhow::Result<ImportReport> {
        match reports::import(&self.session.store, self.tenant, id).await? {
            Some(report) => Ok(report),
            None => bail!("the tenant has no import {id}; `muster imports list` shows them"),
        }
    }

    pub(crate) async fn list(&self, state: Option<ImportState>, limit: u32) -> anyhow::Result<Vec<View>> {
        let reports =
            reports::imports(&self.session.store, self.tenant, state, None, i64::from(limit)).await?;
        let views: Vec<View> = reports.into_iter().map(View::from).collect();
        self.with_progress(views).await
    }

    pub(crate) async fn show(&self, id: ImportId) -> anyhow::Result<View> {
        let views = self.with_progress(vec![self.report(id).await?.into()]).await?;
        let view = views.into_iter().next().with_context(|| format!("import {id} is gone"))?;
        // As over HTTP: a client that watches an import asks repeatedly, and this reads the chunks of its whole family.
        let family = match view.state.is_final() {
            true => family::of(&self.session.store, self.tenant, id).await?.map(Into::into),
            false => None,
        };
        Ok(View { family, ..view })
    }

    /// The same views, with the progress of imports that have not ended.
    async fn with_progress(&self, views: Vec<View>) -> anyhow::Result<Vec<View>> {
        let open: Vec<ImportId> =
            views.iter().filter(|view| !view.state.is_final()).map(|view| view.id).collect();
        let mut known = status::of(&self.session.store, self.tenant, &open, &self.bounds).await?;
        let with = |view: View| {
            let progress = known.remove(&view.id);
            view.with(progress)
        };
        Ok(views.into_iter().map(with).collect())
    }

    pub(crate) async fn chunks(
        &self,
        id: ImportId,
        filter: ChunkFilter,
        limit: u64,
    ) -> anyhow::Result<Vec<ChunkView>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        match chunks::page(&self.session.store, self.tenant, id, filter, limit).await? {
            Some(page) => Ok(page.into_iter().map(ChunkView::from).collect()),
            None => bail!("the tenant has no import {id}; `muster imports list` shows them"),
        }
    }

    pub(crate) async fn ids_with(&self, part: &str) -> anyhow::Result<Vec<ImportId>> {
        Ok(reports::ids_with(&self.session.store, self.tenant, part, 2).await?)
    }

    pub(crate) async fn records(
        &self,
        id: ImportId,
        outcome: Option<Outcomes>,
        cause: &CauseArgs,
        after: u64,
        limit: u64,
    ) -> anyhow::Result<Vec<RecordView>> {
        let report = self.report(id).await?;
        let outcome = outcome.map(Outcomes::outcome);
        let filter = RecordFilter { outcome, cause: cause.cause(), after, sources: false };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let page =
            records::page(&self.session.store, self.tenant, id, &report.options, filter, limit).await?;
        Ok(page.into_iter().map(RecordView::from).collect())
    }

    pub(crate) async fn problems(&self, id: ImportId, limit: u8) -> anyhow::Result<Problems> {
        self.report(id).await?;
        Ok(problems::problems(&self.session.store, self.tenant, id, i64::from(limit)).await?)
    }

    pub(crate) async fn failed(
        &self,
        id: ImportId,
        format: &str,
        cause: &CauseArgs,
    ) -> anyhow::Result<BoxStream<'static, anyhow::Result<Bytes>>> {
        let report = self.report(id).await?;
        let format = if format == "ndjson" { ExportFormat::Ndjson } else { ExportFormat::Csv };
        let pieces = export::failed_of_cause(&self.session.store, &report, format, cause.cause(), true);
        Ok(pieces.map(|piece| Ok(piece?)).boxed())
    }

    pub(crate) async fn perform(
        &self,
        id: ImportId,
        action: ImportAction,
        cause: &CauseArgs,
    ) -> anyhow::Result<View> {
        let (store, tenant) = (&self.session.store, self.tenant);
        let steered = match action {
            ImportAction::Proceed(None) => lifecycle::proceed(store, tenant, id).await?,
            ImportAction::Proceed(Some(on_drift)) => {
                lifecycle::proceed_with(store, tenant, id, on_drift).await?
            }
            ImportAction::Pause => lifecycle::pause(store, tenant, id).await?,
            ImportAction::Resume => lifecycle::resume(store, tenant, id).await?,
            ImportAction::Cancel => lifecycle::cancel(store, tenant, id).await?,
            ImportAction::Retry => lifecycle::retry_cause(store, tenant, id, cause.cause()).await?,
            ImportAction::Replan => lifecycle::plan(store, tenant, id).await?,
        };
        match steered {
            Transition::Done(_) => {
                if action.sets_going() {
                    muster_store::dispatch::wake(store).await?;
                }
                self.show(id).await
            }
            Transition::Refused(state) => bail!("import {id} is {state}: it cannot {} now", action.word()),
            Transition::Undone(refusal) => {
                bail!("import {id}: it cannot {} now: {} [{}]", action.word(), why(refusal), refusal.code())
            }
            Transition::NotFound => bail!("the tenant has no import {id}; `muster imports list` shows them"),
        }
    }
}
