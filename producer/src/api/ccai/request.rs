//! The form of an upload: `file`, and `id` before or after it. Other parts are ignored.

use axum::extract::Request;
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::receive::{NewImport, Provenance};
use muster_domain::request::file_label;
use muster_runtime::clock;
use muster_store::{bulk_jobs, catalog};

use super::error::{Answer, DoorError};
use super::view::status;
use super::{fields, template};
use crate::api::AppState;
use crate::api::error::ApiError;
use crate::api::incoming::{BodyLimits, Watch};
use crate::api::multipart::{self, Part, check_declared_size};
use crate::receive::{self, Compression, Upload};

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
        check_declared_size(request.headers(), limits).map_err(ApiError::Body)?;
        let mut form = match multipart::Form::open(request, limits, &self.watch).await {
            Ok(form) => form,
            Err(rest) => {
                rest.drain().await;
                return Err(DoorError::bad_request(
                    "The body must be multipart/form-data with a part `file`",
                ));
            }
        };
        let read = self.parts(&mut form).await;
        let refusal = match (read, self.upload.take()) {
            (Ok(()), Some(upload)) => return Ok((upload, self.id)),
            (Ok(()), None) => DoorError::bad_request("The form has no part `file`"),
            (Err(refusal), None) => refusal,
            (Err(refusal), Some(upload)) => {
                let reason = self.watch.error().unwrap_or_else(withdrawn);
                upload.fail(reason).await;
                refusal
            }
        };
        form.rest().drain().await;
        Err(refusal)
    }

    async fn parts(&mut self, form: &mut multipart::Form) -> Answer<()> {
        while let Some(part) = form.next().await.map_err(ApiError::Body)? {
            match part.name() {
                Some("file") if self.upload.is_some() => {
                    return Err(DoorError::bad_request("The form has more than one part `file`"));
                }
                Some("file") => self.file(part).await?,
                Some("id") => self.job(part).await?,
                _ => part.pass_over().await.map_err(ApiError::Body)?,
            }
        }
        if self.names_job && self.id.is_none() {
            return Err(DoorError::bad_request("The form has no part `id`: it names the job"));
        }
        Ok(())
    }

    async fn job(&mut self, part: Part<'_>) -> Answer<()> {
        let text = part.bytes(ID_BYTES).await.map_err(ApiError::Body)?;
        let text = text.as_deref().and_then(|text| std::str::from_utf8(text).ok()).unwrap_or("?").trim();
        // An empty part is what a form sends for a field that was not filled in.
        if text.is_empty() {
            return Ok(());
        }
        let id = text.parse().map_err(|_| DoorError::bad_request("`id` must be the number of a job"))?;
        check_job(self.state, self.tenant, id).await?;
        self.id = Some(id);
        Ok(())
    }

    async fn file(&mut self, mut part: Part<'_>) -> Answer<()> {
        let import = NewImport {
            id: ImportId::new(clock::new_id()),
            tenant: self.tenant,
            filename: part.file_name().and_then(file_label),
            options: fields::options(),
            idempotency: None,
            provenance: Provenance { actor: Some(self.actor.clone()), ..Provenance::default() },
        };
        let shared = &self.state.0;
        let mut limits = shared.limits;
        // On top of the configured size: a copy of the template is taken, however many roles and teams it names.
        let names = catalog::names(shared.store.pool(), self.tenant).await?;
        limits.parse.record_bytes = limits.parse.record_bytes.saturating_add(template::most_bytes(&names));
        let upload = receive::begin(&shared.store, import, Compression::Identity, limits).await;
        let upload = self.upload.insert(upload.map_err(ApiError::from)?);
        let mut taken = true;
        // The body after the position at which a file was refused is still read: `id` may come after it.
        while let Some(bytes) = part.piece().await.map_err(ApiError::Body)? {
            taken = taken && upload.push(bytes).await;
        }
        Ok(())
    }
}

/// Whether a job can be given another file.
async fn check_job(state: &AppState, tenant: TenantId, id: i64) -> Answer<()> {
    let job = bulk_jobs::get(&state.0.store, tenant, id).await?.ok_or_else(DoorError::no_such_job)?;
    match job.state {
        ImportState::Receiving | ImportState::Received | ImportState::Refused => Ok(()),
        now => Err(started(now)),
    }
}

/// The job is past the point where its file can be replaced.
pub(super) fn started(now: ImportState) -> DoorError {
    DoorError::conflict(format!("The job is {}: its file cannot be replaced any more", status(now)))
}

/// Why an import ends whose request was refused after its file had come.
fn withdrawn() -> FileError {
    FileError::new(ErrorCode::InvalidRequest, "the request that brought the file was refused")
}
