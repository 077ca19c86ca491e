//! Records of an import: what became of each, and the failed ones as a file.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use muster_shared::id::{ImportId, TenantId};
use muster_shared::outcome::Outcome;
use muster_shared::store::records::{self, RecordFilter};
use muster_shared::store::reports::{self, ImportReport};
use muster_shared::token::Scope;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};
use tokio::sync::mpsc;

use super::AppState;
use super::auth::Caller;
use super::error::ApiError;
use super::params::{Id, Params, invalid, next_page};
use super::view::RecordList;
use crate::export::{self, ExportFormat};

/// Lists what became of each record, in file order.
#[utoipa::path(
    get, path = "/v1/imports/{id}/records", tag = "imports", operation_id = "imports_records",
    params(("id" = String, Path),
           ("outcome" = Option<String>, Query, description = "pending, inserted, updated, skipped or failed"),
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
    let wanted = params.take::<String>("outcome")?;
    let outcome = wanted.as_deref().map(outcome).transpose()?;
    let after = params.take_after()?.unwrap_or(0);
    let limit = usize::from(params.take_limit(100, 1000)?);
    params.finish()?;
    let report = found(&state, tenant, import).await?;
    let filter = RecordFilter { outcome, after, sources: false };
    let mut page = records::page(&state.0.store, tenant, import, &report.options, filter, limit + 1).await?;
    let more = page.len() > limit;
    page.truncate(limit);
    let next = if more { page.last().map(|record| record.record) } else { None };
    let base = &state.0.link_base;
    let wanted = wanted.map_or(String::new(), |outcome| format!("&outcome={outcome}"));
    let next_link =
        next.map(|next| format!("{base}/v1/imports/{import}/records?after={next}&limit={limit}{wanted}"));
    let headers = next_page(next_link.as_deref());
    let records = page.into_iter().map(Into::into).collect();
    Ok((headers, Json(RecordList { records, next, next_link })).into_response())
}

fn outcome(text: &str) -> Result<Outcome, ApiError> {
    let text: StrDeserializer<'_, Error> = text.into_deserializer();
    Outcome::deserialize(text)
        .map_err(|_| invalid("outcome", "must be one of: pending, inserted, updated, skipped, failed"))
}

async fn found(state: &AppState, tenant: TenantId, import: ImportId) -> Result<ImportReport, ApiError> {
    reports::import(&state.0.store, tenant, import).await?.ok_or(ApiError::NotFound)
}

/// The failed records as a table, to be mended and uploaded again.
#[utoipa::path(
    get, path = "/v1/imports/{id}/failed.csv", tag = "imports", params(("id" = String, Path)),
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
    get, path = "/v1/imports/{id}/failed.ndjson", tag = "imports", params(("id" = String, Path)),
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
    params: Params,
    format: ExportFormat,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    params.finish()?;
    let report = found(&state, tenant, import).await?;
    let mut pages = Box::pin(export::failed(&state.0.store, &report, format));
    // The first page before the answer, so that a store that is away is an error and no empty file.
    let first = pages.next().await.transpose()?.unwrap_or_default();
    let (pieces, coming) = mpsc::channel::<Result<Bytes, std::io::Error>>(2);
    // A task of its own: were the reading dropped with its client, a statement would be cancelled midway.
    state.0.tasks.spawn(async move {
        let mut piece = Ok(first);
        loop {
            let broken = piece.is_err();
            if pieces.send(piece).await.is_err() || broken {
                return;
            }
            piece = match pages.next().await {
                None => return,
                Some(Ok(bytes)) => Ok(bytes),
                Some(Err(error)) => {
                    tracing::error!(%import, %error, "failed records could not be read to their end");
                    Err(std::io::Error::other("the store failed"))
                }
            };
        }
    });
    let body =
        stream::unfold(coming, |mut coming| async { coming.recv().await.map(|piece| (piece, coming)) });
    let name = format!("attachment; filename=\"failed-{import}.{}\"", format.extension());
    let headers =
        [(header::CONTENT_TYPE, format.media_type().to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(body)).into_response())
}
