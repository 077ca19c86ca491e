//! Starting jobs and querying them.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, Request, State};
use axum::http::{HeaderMap, Uri};
use muster_domain::id::TenantId;
use muster_domain::import::ImportState;
use muster_domain::token::Scope;
use muster_store::bulk_jobs::{self, BulkJob, Moved};
use serde_json::Value;

use super::auth::ApiUser;
use super::error::{Answer, DoorError, Message};
use super::page::{Page, json_body, query};
use super::view::{self, JobView, Ticket, status};
use crate::api::AppState;

/// The job number in a path. A value that is not a number, or not even text, matches no job.
pub(super) type JobNumber = Result<Path<String>, PathRejection>;

/// Jobs a page, where none is asked for, and at the most.
const PAGE: (u64, u64) = (20, 100);

/// Starts a job whose file is valid. Asking again changes nothing.
#[utoipa::path(
    post, path = "/bulk/users/proceed", tag = "ccai", operation_id = "ccai_proceed", security(("api_user" = [])),
    request_body(content = Object, description = "`{\"id\": 12345}`", content_type = "application/json"),
    responses(
        (status = 200, description = "Started; `status` is the state before", body = Ticket,
         headers(("Link" = String, description = "address of the job"))),
        (status = 404, description = "No such job", body = Message),
        (status = 409, description = "The job's file is not valid", body = Message),
        (status = "default", description = "An error", body = Message)),
)]
pub(super) async fn proceed(
    State(state): State<AppState>,
    user: ApiUser,
    request: Request,
) -> Answer<(HeaderMap, Json<Ticket>)> {
    let tenant = user.may(Scope::ImportWrite)?;
    let body = json_body(&state, request.into_body()).await?;
    let id =
        job_id(body.get("id")).ok_or_else(|| DoorError::bad_request("`id` must be the number of a job"))?;
    match bulk_jobs::proceed(&state.0.store.by(&user.actor()), tenant, id, user.name()).await? {
        Moved::Done(before) => {
            if before == ImportState::Received {
                state.0.wake.notify_one();
            }
            let ticket = Ticket::new(&state, id, status(before));
            Ok((ticket.headers(), Json(ticket)))
        }
        Moved::Refused(now) => Err(DoorError::conflict(format!(
            "The job is {}: only one that is valid_scheme can be processed",
            status(now)
        ))),
        Moved::NotFound => Err(DoorError::no_such_job()),
    }
}

fn job_id(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_i64(),
    }
}

/// Lists jobs, newest first.
#[utoipa::path(
    get, path = "/bulk/users/jobs", tag = "ccai", operation_id = "ccai_jobs", security(("api_user" = [])),
    params(("page" = Option<u64>, Query, description = "from 1"),
           ("per_page" = Option<u64>, Query, description = "1 to 100, else 20")),
    responses(
        (status = 200, description = "A page of jobs", body = Vec<JobView>,
         headers(("Link" = String, description = "addresses of the other pages"),
                 ("Total" = u64, description = "jobs there are"),
                 ("Per-Page" = u64, description = "jobs a page"))),
        (status = "default", description = "An error", body = Message)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    user: ApiUser,
    OriginalUri(uri): OriginalUri,
    body: Body,
) -> Answer<(HeaderMap, Json<Vec<JobView>>)> {
    let tenant = user.may(Scope::ImportRead)?;
    let page = Page::read(&query(&uri)?, &json_body(&state, body).await?, PAGE.0, PAGE.1)?;
    let store = &state.0.store;
    let total = bulk_jobs::count(store, tenant).await?;
    let jobs = bulk_jobs::page(store, tenant, page.offset(), page.size).await?;
    let headers = page.headers(&address(&state, &uri), total);
    Ok((headers, Json(view::jobs(&state, tenant, jobs).await?)))
}

/// The list's own address, under the prefix by which it was asked for.
pub(super) fn address(state: &AppState, uri: &Uri) -> String {
    format!("{}{}", state.0.link_base, uri.path())
}

/// Shows a job.
#[utoipa::path(
    get, path = "/bulk/users/jobs/{id}", tag = "ccai", operation_id = "ccai_job", security(("api_user" = [])),
    params(("id" = i64, Path)),
    responses((status = 200, description = "The job", body = JobView),
              (status = 404, description = "No such job", body = Message),
              (status = "default", description = "An error", body = Message)),
)]
pub(super) async fn show(
    State(state): State<AppState>,
    user: ApiUser,
    id: JobNumber,
) -> Answer<Json<JobView>> {
    let (tenant, job) = found(&state, &user, id).await?;
    view::jobs(&state, tenant, vec![job]).await?.pop().map(Json).ok_or_else(DoorError::no_such_job)
}

/// Shows a job, at the address that links lead to.
#[utoipa::path(
    get, path = "/bulk/users_jobs/{id}", tag = "ccai", operation_id = "ccai_job_by_link",
    security(("api_user" = [])), params(("id" = i64, Path)),
    responses((status = 200, description = "The job", body = JobView),
              (status = 404, description = "No such job", body = Message),
              (status = "default", description = "An error", body = Message)),
)]
pub(super) async fn show_by_link(
    state: State<AppState>,
    user: ApiUser,
    id: JobNumber,
) -> Answer<Json<JobView>> {
    show(state, user, id).await
}

/// The job with this number, if the caller may see it.
pub(super) async fn found(state: &AppState, user: &ApiUser, id: JobNumber) -> Answer<(TenantId, BulkJob)> {
    let tenant = user.may(Scope::ImportRead)?;
    let id = id.ok().and_then(|Path(id)| id.parse::<i64>().ok()).ok_or_else(DoorError::no_such_job)?;
    let job = bulk_jobs::get(&state.0.store, tenant, id).await?.ok_or_else(DoorError::no_such_job)?;
    Ok((tenant, job))
}
