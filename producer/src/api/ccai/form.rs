//! The form of an upload: `file`, and `id` before or after it. Other parts are passed over.

use std::sync::Arc;

use axum::RequestExt;
use axum::body::Body;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::header;
use futures_util::stream::{self, StreamExt};
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::id::{ImportId, TenantId};
use muster_runtime::clock;
use muster_store::catalog;
use muster_store::intake::{NewImport, Provenance};
use tokio::sync::Mutex;

use super::refusal::{Answer, Refusal};
use super::upload::{check_job, withdrawn};
use super::{fields, template};
use crate::api::AppState;
use crate::api::error::ApiError;
use crate::api::incoming::{BodyLimits, Watch, bounded, drain, too_large};
use crate::receive::{self, Encoding, Upload};
use crate::request::file_label;

/// Longest number of a job, in bytes.
const ID_BYTES: usize = 64;

/// A form that is being read.
pub(super) struct Form<'s> {
    state: &'s AppState,
    tenant: TenantId,
    actor: String,
    /// The form must say which job it is for.
    names_job: bool,
    watch: Watch,
    id: Option<i64>,
    upload: Option<Upload>,
}

impl<'s> Form<'s> {
    pub(super) fn new(state: &'s AppState, tenant: TenantId, actor: String, names_job: bool) -> Self {
        Self { state, tenant, actor, names_job, watch: Watch::default(), id: None, upload: None }
    }

    /// Reads the whole form: the file, all of it pushed, and the job that it is for.
    pub(super) async fn receive(mut self, request: Request) -> Answer<(Upload, Option<i64>)> {
        let limits = BodyLimits { bytes: self.state.0.max_upload_bytes, pace: self.state.0.pace };
        let declared = request.headers().get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if let (Some(limit), Some(size)) = (limits.bytes, declared)
            && size > limit
        {
            return Err(ApiError::Body(too_large(limit)).into());
        }
        let (parts, body) = request.into_parts();
        let pieces = Arc::new(Mutex::new(bounded(body, limits, self.watch.clone())));
        // Shared, so that what a refused form leaves unread can be drained.
        let shared = stream::unfold(pieces.clone(), |pieces| async {
            let piece = pieces.lock().await.next().await?;
            Some((piece, pieces))
        });
        let read = self.parts(Request::from_parts(parts, Body::from_stream(shared))).await;
        let refusal = match (read, self.upload.take()) {
            (Ok(()), Some(upload)) => return Ok((upload, self.id)),
            (Ok(()), None) => Refusal::bad_request("The form has no part `file`"),
            (Err(refusal), None) => refusal,
            (Err(refusal), Some(upload)) => {
                let reason = self.watch.error().unwrap_or_else(withdrawn);
                upload.fail(reason).await;
                refusal
            }
        };
        drain(&mut *pieces.lock().await).await;
        Err(refusal)
    }

    async fn parts(&mut self, mut request: Request) -> Answer<()> {
        DefaultBodyLimit::disable().apply(&mut request);
        let form = Multipart::from_request(request.with_limited_body(), &()).await;
        let mut form = form
            .map_err(|_| Refusal::bad_request("The body must be multipart/form-data with a part `file`"))?;
        while let Some(field) = form.next_field().await.map_err(|error| self.damaged(&error))? {
            self.watch.seen();
            match field.name() {
                Some("file") if self.upload.is_some() => {
                    return Err(Refusal::bad_request("The form has more than one part `file`"));
                }
                Some("file") => self.file(field).await?,
                Some("id") => self.job(field).await?,
                _ => self.pass_over(field).await?,
            }
        }
        if self.names_job && self.id.is_none() {
            return Err(Refusal::bad_request("The form has no part `id`: it names the job"));
        }
        Ok(())
    }

    async fn job(&mut self, mut field: Field<'_>) -> Answer<()> {
        let mut text = Vec::new();
        while let Some(bytes) = field.chunk().await.map_err(|error| self.damaged(&error))? {
            text.extend_from_slice(&bytes);
            if text.len() > ID_BYTES {
                break;
            }
        }
        let text = std::str::from_utf8(&text).unwrap_or("?").trim();
        // An empty part is what a form sends for a field that was not filled in.
        if text.is_empty() {
            return Ok(());
        }
        let id = text.parse().map_err(|_| Refusal::bad_request("`id` must be the number of a job"))?;
        check_job(self.state, self.tenant, id).await?;
        self.id = Some(id);
        Ok(())
    }

    async fn file(&mut self, mut field: Field<'_>) -> Answer<()> {
        let import = NewImport {
            id: ImportId::new(clock::new_id()),
            tenant: self.tenant,
            filename: field.file_name().and_then(file_label),
            options: fields::options(),
            idempotency: None,
            provenance: Provenance { actor: Some(self.actor.clone()), ..Provenance::default() },
        };
        let shared = &self.state.0;
        let mut limits = shared.limits;
        // On top of the configured size: a copy of the template is taken, however many roles and teams it names.
        let names = catalog::names(shared.store.pool(), self.tenant).await?;
        limits.parse.record_bytes = limits.parse.record_bytes.saturating_add(template::most_bytes(&names));
        let upload = receive::begin(&shared.store, import, Encoding::Identity, limits).await;
        let upload = self.upload.insert(upload.map_err(ApiError::from)?);
        let mut taken = true;
        loop {
            match field.chunk().await {
                // What follows the place at which a file was refused is read all the same: `id` may come after it.
                Ok(Some(bytes)) => {
                    self.watch.seen();
                    taken = taken && upload.push(bytes).await;
                }
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.damaged(&error)),
            }
        }
    }

    /// The watch bounds what is read without anything being found.
    async fn pass_over(&self, mut field: Field<'_>) -> Answer<()> {
        while field.chunk().await.map_err(|error| self.damaged(&error))?.is_some() {}
        Ok(())
    }

    /// The body's own error counts, where it has one; else the form is at fault.
    fn damaged(&self, error: &MultipartError) -> Refusal {
        tracing::debug!(%error, "a form could not be read");
        let damaged = || FileError::new(ErrorCode::MultipartInvalid, "the form is damaged or cut short");
        ApiError::Body(self.watch.error().unwrap_or_else(damaged)).into()
    }
}
