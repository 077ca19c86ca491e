//! Receipts of imports, and the public key that verifies them.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::receipt::ALGORITHM;
use muster_domain::token::Scope;
use muster_store::Store;
use muster_store::receipts::{self, Found};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AppState;
use super::auth::Caller;
use super::error::ApiError;
use super::params::{Id, Params};

/// Who makes receipts.
pub const PROGRAM: &str = concat!("muster ", env!("CARGO_PKG_VERSION"));

/// The public half of the installation's key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReceiptKeyView {
    /// Ed25519.
    pub algorithm: String,
    /// The key: 32 bytes in base64.
    pub key: String,
}

/// Gives the receipt of an import that has ended: what was done with which file, signed by this installation. `muster verify` checks it.
///
/// Exactly the bytes of the member `receipt` are signed as written here, so store the response unchanged.
#[utoipa::path(
    get, path = "/v1/imports/{id}/receipt", tag = "imports", operation_id = "imports_receipt", params(("id" = String, Path)),
    responses((status = 200, description = "The members `receipt` and `signature`", body = serde_json::Value)),
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Id(import): Id<ImportId>,
    params: Params,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    params.finish()?;
    let document = signed(&state.0.store, tenant, import).await?;
    let name = format!("attachment; filename=\"receipt-{import}.json\"");
    let headers =
        [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((StatusCode::OK, headers, document).into_response())
}

/// The document of a receipt.
async fn signed(store: &Store, tenant: TenantId, import: ImportId) -> Result<String, ApiError> {
    match receipts::read(store, tenant, import, PROGRAM).await? {
        Found::NotFound => Err(ApiError::NotFound),
        Found::NotEnded(state) => Err(ApiError::StateConflict(state)),
        Found::Receipt(receipt) => receipts::key(store).await?.sign(&receipt).map_err(|error| {
            tracing::error!(%error, "a receipt cannot be written");
            ApiError::Internal
        }),
    }
}

/// Tells the public key that receipts of this installation are signed with. The first question makes the key.
#[utoipa::path(
    get, path = "/v1/receipts/key", tag = "imports", operation_id = "imports_receipt_key",
    responses((status = 200, description = "The key", body = ReceiptKeyView)),
)]
pub(super) async fn key(
    State(state): State<AppState>,
    caller: Caller,
    params: Params,
) -> Result<Json<ReceiptKeyView>, ApiError> {
    caller.may(Scope::ImportRead)?;
    params.finish()?;
    let key = receipts::key(&state.0.store).await?.public().to_string();
    Ok(Json(ReceiptKeyView { algorithm: ALGORITHM.to_owned(), key }))
}
