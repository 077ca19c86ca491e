//! The two error logs of a job: what was wrong with its file, and what went wrong while it was applied.
//!
//! They are read page by page and sent as they are read, so memory does not grow with their number.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_store::records::{self, IssueReport};
use muster_store::reports::{self, ImportReport};
use muster_store::{Store, StoreError};
use serde::Serialize;

use super::auth::ApiUser;
use super::error::{Answer, DoorError, Message};
use super::fields::Columns;
use super::jobs::{JobNumber, found};
use super::messages::LoggedError;
use super::view::{self, UpdateError};
use crate::api::{AppState, paged};

/// Records that are read at a time.
const AT_A_TIME: u16 = 1_000;

/// What is wrong with the job's file.
#[utoipa::path(
    get, path = "/bulk/users/errors/scheme/{id}", tag = "ccai", operation_id = "ccai_scheme_errors",
    security(("api_user" = [])), params(("id" = i64, Path)),
    responses((status = 200, description = "The errors in the order of the file", body = Vec<LoggedError>),
              (status = 404, description = "No such job", body = Message),
              (status = "default", description = "An error", body = Message)),
)]
pub(super) async fn scheme(State(state): State<AppState>, user: ApiUser, id: JobNumber) -> Answer<Response> {
    log(state, user, id, Log::Scheme).await
}

/// What went wrong while the job was applied.
#[utoipa::path(
    get, path = "/bulk/users/errors/update/{id}", tag = "ccai", operation_id = "ccai_update_errors",
    security(("api_user" = [])), params(("id" = i64, Path)),
    responses((status = 200, description = "The errors in the order of the file", body = Vec<UpdateError>),
              (status = 404, description = "No such job", body = Message),
              (status = "default", description = "An error", body = Message)),
)]
pub(super) async fn update(State(state): State<AppState>, user: ApiUser, id: JobNumber) -> Answer<Response> {
    log(state, user, id, Log::Update).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    Scheme,
    Update,
}

async fn log(state: AppState, user: ApiUser, id: JobNumber, log: Log) -> Answer<Response> {
    let (tenant, job) = found(&state, &user, id).await?;
    let report = reports::import(&state.0.store, tenant, job.import).await?;
    let report = report.ok_or_else(DoorError::no_such_job)?;
    let pages = Pages {
        store: state.0.store.clone(),
        tenant,
        import: report.id,
        columns: view::columns(&state, tenant).await?,
        log,
        // Issues of a file that was refused are its own; those of any other come from applying it.
        more: (log == Log::Scheme) == (report.state == ImportState::Refused),
        after: 0,
        first: true,
    };
    let body = paged::body(&state, pages.stream(&report)).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// A log that is being read.
struct Pages {
    store: Store,
    tenant: TenantId,
    import: ImportId,
    columns: Columns,
    log: Log,
    more: bool,
    after: u64,
    /// Nothing was written yet.
    first: bool,
}

impl Pages {
    /// The log as the text of a JSON array, a piece at a time.
    fn stream(mut self, report: &ImportReport) -> impl Stream<Item = Result<Bytes, StoreError>> + use<> {
        let mut head = vec![b'['];
        match self.log {
            Log::Scheme => self.put(view::scheme_error_of_file(report), &mut head),
            Log::Update => self.put(view::update_error_of_import(report), &mut head),
        }
        stream::try_unfold(Some((head, self)), |state| async move {
            let Some((mut piece, mut pages)) = state else { return Ok(None) };
            if pages.more {
                let tenant = pages.tenant;
                let mut reading = pages.store.reading(tenant).await?;
                let issues =
                    records::issues(&mut *reading, tenant, &[pages.import], pages.after, AT_A_TIME.into())
                        .await?;
                pages.more = issues.len() == usize::from(AT_A_TIME);
                for issue in &issues {
                    pages.after = issue.record;
                    pages.issue(issue, &mut piece);
                }
            }
            let rest = if pages.more {
                Some((Vec::new(), pages))
            } else {
                piece.push(b']');
                None
            };
            Ok(Some((Bytes::from(piece), rest)))
        })
    }

    fn issue(&mut self, issue: &IssueReport, piece: &mut Vec<u8>) {
        match self.log {
            Log::Scheme => self.put(view::scheme_errors(issue, &self.columns), piece),
            Log::Update => self.put(view::update_errors(issue, &self.columns), piece),
        }
    }

    fn put<T: Serialize>(&mut self, errors: impl IntoIterator<Item = T>, piece: &mut Vec<u8>) {
        for error in errors {
            if !std::mem::take(&mut self.first) {
                piece.push(b',');
            }
            // Texts and numbers: writing them to memory cannot fail.
            let _ = serde_json::to_writer(&mut *piece, &error);
        }
    }
}
