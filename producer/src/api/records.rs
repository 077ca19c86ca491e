//! Records of an import: their outcomes, and the failed ones as a file.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::Stream;
use muster_domain::error::ErrorCode;
use muster_domain::id::{ImportId, TenantId};
use muster_domain::outcome::Outcome;
use muster_domain::token::Scope;
use muster_store::StoreError;
use muster_store::problems::{self, Cause, Problem, Problems, Warned};
use muster_store::records::{self, RecordFilter};
use muster_store::reports::{self, ImportReport};
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AppState;
use super::auth::Caller;
use super::error::ApiError;
use super::paged;
use super::params::{Id, Params, and, invalid, next_page};
use super::view::RecordList;
use crate::export::{self, ExportFormat};

/// Lists the outcome of each record, in file order.
#[utoipa::path(
    get, path = "/v1/imports/{id}/records", tag = "imports", operation_id = "imports_records",
    params(("id" = String, Path),
           ("outcome" = Option<String>, Query, description = "pending, inserted, updated, skipped or failed"),
           ("code" = Option<String>, Query, description = "those that failed with this error"),
           ("field" = Option<String>, Query, description = "those that failed for this column or key"),
           ("after" = Option<u64>, Query, description = "`next` of the page before: the number of its last record"),
           ("limit" = Option<u16>, Query, description = "Most records of the page")),
    responses((status = 200, description = "A page of records", body = RecordList,
               headers(("Link" = String, description = "Address of the next page, `rel=\"next\"`; absent on the last")))),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Id(import): Id<ImportId>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    let outcome_text = params.take::<String>("outcome")?;
    let outcome = outcome_text.as_deref().map(outcome).transpose()?;
    let after = params.take_after()?.unwrap_or(0);
    let wanted = Wanted::take(&mut params)?;
    let limit = usize::from(params.take_limit(100, 1000)?);
    params.finish()?;
    let report = found(&state, tenant, import).await?;
    let filter = RecordFilter { outcome, cause: wanted.cause(), after, sources: false };
    let mut page = records::page(&state.0.store, tenant, import, &report.options, filter, limit + 1).await?;
    let more = page.len() > limit;
    page.truncate(limit);
    let next = if more { page.last().map(|record| record.record) } else { None };
    let base = &state.0.link_base;
    let filter = wanted.query(outcome_text.as_deref());
    let next_link =
        next.map(|next| format!("{base}/v1/imports/{import}/records?after={next}&limit={limit}{filter}"));
    let headers = next_page(next_link.as_deref());
    let records = page.into_iter().map(Into::into).collect();
    Ok((headers, Json(RecordList { records, next, next_link })).into_response())
}

/// The cause that is asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    code: Option<String>,
    field: Option<String>,
}

impl Wanted {
    pub(super) fn take(params: &mut Params) -> Result<Self, ApiError> {
        let code: Option<ErrorCode> = params.take("code")?;
        Ok(Self { code: code.map(|code| code.as_str().to_owned()), field: params.take("field")? })
    }

    /// The same as a query that follows others.
    fn query(&self, outcome: Option<&str>) -> String {
        let mut query = String::new();
        let wanted = [("outcome", outcome), ("code", self.code.as_deref()), ("field", self.field.as_deref())];
        for (name, value) in wanted {
            if let Some(value) = value {
                and(&mut query, name, value);
            }
        }
        query
    }

    pub(super) fn cause(&self) -> Cause<'_> {
        Cause { code: self.code.as_deref(), field: self.field.as_deref() }
    }
}

/// Failures by cause, and warnings by their text.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProblemList {
    /// The causes, the most frequent first: code, field, count, message of the first, example, advice, first records.
    #[schema(value_type = Vec<Object>)]
    problems: Vec<Problem>,
    /// Whether there are more causes than these.
    more: bool,
    /// The warnings, the most frequent first: message, count, first records.
    #[schema(value_type = Vec<Object>)]
    warnings: Vec<Warned>,
    /// Whether there are more warnings than these.
    more_warnings: bool,
}

/// Tells what failed, by cause: how many records, the first of them with their lines, an example, and what to do.
#[utoipa::path(
    get, path = "/v1/imports/{id}/problems", tag = "imports",
    params(("id" = String, Path), ("limit" = Option<u16>, Query, description = "Most causes, and most warnings")),
    responses((status = 200, description = "The failures by cause, and the warnings", body = ProblemList)),
)]
pub(super) async fn problems(
    State(state): State<AppState>,
    caller: Caller,
    Id(import): Id<ImportId>,
    mut params: Params,
) -> Result<Json<ProblemList>, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    let limit = params.take_limit(20, 200)?;
    params.finish()?;
    found(&state, tenant, import).await?;
    let found = problems::problems(&state.0.store, tenant, import, i64::from(limit)).await?;
    let Problems { problems, more, warnings, more_warnings } = found;
    Ok(Json(ProblemList { problems, more, warnings, more_warnings }))
}

fn outcome(text: &str) -> Result<Outcome, ApiError> {
    let text: StrDeserializer<'_, Error> = text.into_deserializer();
    Outcome::deserialize(text)
        .map_err(|_| invalid("outcome", "must be one of: pending, inserted, updated, skipped, failed"))
}

async fn found(state: &AppState, tenant: TenantId, import: ImportId) -> Result<ImportReport, ApiError> {
    reports::import(&state.0.store, tenant, import).await?.ok_or(ApiError::NotFound)
}

/// The failed records as a table, to be corrected and uploaded again. Those of an undo have the values of users only for tokens with the scope
/// `users:read`.
#[utoipa::path(
    get, path = "/v1/imports/{id}/failed.csv", tag = "imports",
    params(("id" = String, Path),
           ("code" = Option<String>, Query, description = "those that failed with this error"),
           ("field" = Option<String>, Query, description = "those that failed for this column or key")),
    responses((status = 200, description = "The upload's columns and _error_code, _error_field, _error_message",
               content_type = "text/csv", body = String)),
)]
pub(super) async fn failed_csv(
    State(state): State<AppState>,
    caller: Caller,
    id: Id<ImportId>,
    params: Params,
) -> Result<Response, ApiError> {
    failed(state, caller, id, params, ExportFormat::Csv).await
}

/// The failed records, an object a line.
#[utoipa::path(
    get, path = "/v1/imports/{id}/failed.ndjson", tag = "imports",
    params(("id" = String, Path),
           ("code" = Option<String>, Query, description = "those that failed with this error"),
           ("field" = Option<String>, Query, description = "those that failed for this column or key")),
    responses((status = 200, description = "Each record with _error_code, _error_field, _error_message",
               content_type = "application/x-ndjson", body = String)),
)]
pub(super) async fn failed_ndjson(
    State(state): State<AppState>,
    caller: Caller,
    id: Id<ImportId>,
    params: Params,
) -> Result<Response, ApiError> {
    failed(state, caller, id, params, ExportFormat::Ndjson).await
}

async fn failed(
    state: AppState,
    caller: Caller,
    Id(import): Id<ImportId>,
    mut params: Params,
    format: ExportFormat,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    let wanted = Wanted::take(&mut params)?;
    params.finish()?;
    let report = found(&state, tenant, import).await?;
    let shown = caller.sees_users();
    let pages = export::failed_of_cause(&state.0.store, &report, format, wanted.cause(), shown);
    streamed(&state, pages, format, &format!("failed-{import}.{}", format.extension())).await
}

/// A file that is read from the store while it is sent.
pub(super) async fn streamed(
    state: &AppState,
    pages: impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static,
    format: ExportFormat,
    name: &str,
) -> Result<Response, ApiError> {
    let body = paged::body(state, pages).await?;
    let name = format!("attachment; filename=\"{name}\"");
    let headers =
        [(header::CONTENT_TYPE, format.media_type().to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, body).into_response())
}
