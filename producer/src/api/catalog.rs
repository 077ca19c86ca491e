//! The tenant's catalog: read it, replace it.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use muster_domain::catalog::Catalog;
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::json_words::in_words_of_json;
use muster_domain::token::Scope;
use muster_store::catalog::{self as store, Applied};
use tokio::time::timeout;

use super::AppState;
use super::auth::Caller;
use super::error::ApiError;
use super::incoming::single;
use super::params::Params;

/// Largest catalog, in bytes.
pub(super) const CATALOG_BYTES: usize = 32 * 1024 * 1024;

/// Shows the catalog.
#[utoipa::path(
    get, path = "/v1/catalog", tag = "catalog",
    responses((status = 200, description = "The catalog", body = serde_json::Value)),
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    params: Params,
) -> Result<Json<Catalog>, ApiError> {
    let tenant = caller.may(Scope::CatalogRead)?;
    params.finish()?;
    Ok(Json(store::get(&state.0.store, tenant).await?))
}

/// Replaces the catalog with the one that is sent.
#[utoipa::path(
    put, path = "/v1/catalog", tag = "catalog",
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses((status = 200, description = "The catalog as it is now", body = serde_json::Value)),
)]
pub(super) async fn replace(
    State(state): State<AppState>,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Catalog>, ApiError> {
    let tenant = caller.may(Scope::CatalogWrite)?;
    params.finish()?;
    let media_type = single(&headers, header::CONTENT_TYPE.as_str())?.unwrap_or_default();
    if !media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(ApiError::UnsupportedMediaType("the catalog must be application/json"));
    }
    let failed = |code, message: &str| ApiError::Body(FileError::new(code, message));
    let bytes = timeout(state.0.pace.pause, to_bytes(body, CATALOG_BYTES))
        .await
        .map_err(|_| failed(ErrorCode::UploadTimeout, "the body came too slowly"))?
        .map_err(|_| failed(ErrorCode::UploadTooLarge, "the body is too large or stopped before its end"))?;
    let catalog: Catalog = Catalog::parse(&bytes).map_err(|error| {
        let told = format!("the body is no catalog: {}", in_words_of_json(&error));
        let place = FileError::new(ErrorCode::InvalidRequest, told);
        ApiError::Body(place.at_line(error.line() as u64).at_column(error.column() as u64))
    })?;
    match store::apply(&state.0.store.by(&caller.actor()), tenant, &catalog).await? {
        Applied::Catalog(stored) => Ok(Json(stored)),
        Applied::Refused(errors) => Err(ApiError::Refused(errors)),
    }
}
