//! Uploading: a form with the file, and perhaps with the job that it is for. The file streams into receiving, whatever its
//! size, and is validated on the way.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use muster_domain::id::TenantId;
use muster_domain::import::ImportState;
use muster_domain::token::Scope;
use muster_store::bulk_jobs::{self, Moved};
use muster_store::lifecycle;

use super::auth::ApiUser;
use super::error::{Answer, DoorError, Message};
use super::request::{Form, started};
use super::view::{Ticket, status};
use crate::api::AppState;
use crate::api::error::ApiError;
use crate::receive::{ReceiveError, Upload};

/// Uploads a file: a new job, or where `id` names a job that was not started, a new file for it.
#[utoipa::path(
    post, path = "/bulk/users/upload", tag = "ccai", operation_id = "ccai_upload", security(("api_user" = [])),
    request_body(content = Object, description = "`file`: a JSON array of users; `id`: a job", content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The job; poll it for the outcome of the validation", body = Ticket,
         headers(("Link" = String, description = "address of the job"))),
        (status = 400, description = "No file, or a form that cannot be read", body = Message),
        (status = 409, description = "The job was started", body = Message),
        (status = "default", description = "An error", body = Message)),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    user: ApiUser,
    request: Request,
) -> Answer<(HeaderMap, Json<Ticket>)> {
    upload(state, user, request, false).await
}

/// Uploads another file for a job that was not started.
#[utoipa::path(
    put, path = "/bulk/users/upload", tag = "ccai", operation_id = "ccai_upload_again", security(("api_user" = [])),
    request_body(content = Object, description = "`id`: the job; `file`: a JSON array of users", content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The job; poll it for the outcome of the validation", body = Ticket,
         headers(("Link" = String, description = "address of the job"))),
        (status = 400, description = "No file or no job, or a form that cannot be read", body = Message),
        (status = 404, description = "No such job", body = Message),
        (status = 409, description = "The job was started", body = Message),
        (status = "default", description = "An error", body = Message)),
)]
pub(super) async fn replace(
    State(state): State<AppState>,
    user: ApiUser,
    request: Request,
) -> Answer<(HeaderMap, Json<Ticket>)> {
    upload(state, user, request, true).await
}

async fn upload(
    state: AppState,
    user: ApiUser,
    request: Request,
    names_job: bool,
) -> Answer<(HeaderMap, Json<Ticket>)> {
    let tenant = user.may(Scope::ImportWrite)?;
    let _place = state.0.slots.take(tenant)?;
    let (upload, id) = Form::new(&state, tenant, user.actor(), names_job).receive(request).await?;
    let id = match id {
        Some(id) => put_in_place(&state, tenant, &user, id, upload).await?,
        None => {
            // The job first: once the file is durable, so is the way to it. If the upload fails now, its
            // import is aborted, and its job no longer exists.
            let id = bulk_jobs::create(&state.0.store, tenant, upload.import(), user.name()).await?;
            finish(upload).await?;
            id
        }
    };
    let ticket = Ticket::new(&state, id, status(ImportState::Receiving));
    Ok((ticket.headers(), Json(ticket)))
}

/// Makes the upload the file of a job, unless that was started meanwhile.
async fn put_in_place(
    state: &AppState,
    tenant: TenantId,
    user: &ApiUser,
    id: i64,
    upload: Upload,
) -> Answer<i64> {
    let store = &state.0.store.by(&user.actor());
    let import = upload.import();
    finish(upload).await?;
    let refusal = match bulk_jobs::replace(store, tenant, id, import, user.name()).await? {
        Moved::Done(_) => return Ok(id),
        Moved::Refused(now) => started(now),
        Moved::NotFound => DoorError::no_such_job(),
    };
    lifecycle::cancel(store, tenant, import).await?;
    Err(refusal)
}

/// Waits until the file is staged durably. A file that cannot be imported is not an error of the request: the job reports it.
async fn finish(upload: Upload) -> Answer<()> {
    match upload.finish().await {
        Ok(_) | Err(ReceiveError::Refused(..)) => Ok(()),
        Err(error) => Err(ApiError::from(error).into()),
    }
}
