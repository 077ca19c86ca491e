//! The front door for clients of Authgear's User Import API (contracts, section A): the request is decoded into options and
//! the slice of its body that holds the records, which goes the way of every upload; what became of it is encoded as those
//! clients expect. Only imports that came in here can be asked for here.

mod auth;
mod causes;
mod error;
mod fields;
mod import_id;
mod messages;
mod redacted_input;
mod request;
mod token;
mod view;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::parse::ParseLimits;
use muster_domain::receive::{NewImport, Provenance};
use muster_domain::token::Scope;
use muster_runtime::clock;
use muster_runtime::config::Envelope;
use muster_store::authgear::{self as store, Quota};
use muster_store::reports;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::error::ApiError;
use super::incoming::{BodyLimits, Watch, bounded, single};
use crate::receive::{self, Compression, ReceiveError, ReceiveLimits, Upload};
use auth::Client;
use error::{DoorError, ErrorAnswer};
pub use import_id::decode as decode_import_id;
use request::UserImportRequest;
use view::UserImport;

/// Largest body, in bytes (contracts A.1.3).
const BODY_BYTES: u64 = 500_000;

/// How this front door behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuthgearOptions {
    /// The form of response bodies.
    pub envelope: Envelope,
    /// Most records that a tenant may send.
    pub quota: Quota,
}

/// Name of the security scheme in the documentation.
pub(super) const SECURITY: &str = "authgear";

/// The security scheme in the documentation.
pub(super) fn security() -> SecurityScheme {
    let description = "A JWT by RS256: `kid` names a key of the tenant, `aud` the tenant.";
    SecurityScheme::Http(
        HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some(description))
            .build(),
    )
}

/// Whether an address belongs to this front door.
pub(super) fn owns(path: &str) -> bool {
    path.starts_with("/_api/admin/users/import") && !mutant(Mutant::OtherDoorsWords)
}

/// What ended a request from outside, in this front door's shape.
pub(super) fn refused(error: &ApiError) -> Response {
    match error {
        ApiError::TimedOut => DoorError::TimedOut.into_response(),
        _ => DoorError::Internal.into_response(),
    }
}

/// The routes of this front door.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(show))
}

/// Starts an import of users, as Authgear's User Import API does.
///
/// Answers once the records are staged durably; what becomes of them is to be asked for.
#[utoipa::path(
    post, path = "/_api/admin/users/import", tag = "authgear", operation_id = "authgear_create",
    security(("authgear" = [])),
    request_body(content = serde_json::Value, content_type = "application/json",
                 description = "`identifier`, `records` and perhaps `upsert`; at most 500,000 bytes"),
    responses((status = 200, description = "The import, also under `result`", body = UserImport),
              (status = 403, description = "Not authorised", content_type = "text/plain", body = String),
              (status = "default", description = "An error", body = ErrorAnswer)),
)]
async fn create(
    State(state): State<AppState>,
    client: Client,
    request: Request,
) -> Result<Response, DoorError> {
    let tenant = client.may(Scope::ImportWrite)?;
    let content_type = single(request.headers(), header::CONTENT_TYPE.as_str());
    if !content_type.ok().flatten().is_some_and(request::is_json) {
        return Err(DoorError::ContentType);
    }
    let _place = state.0.slots.take(tenant).map_err(|_| DoorError::Busy)?;
    let body = read(&state, request.into_body()).await?;
    let import = stage(&state, tenant, request::decode(&body)?).await?;
    state.0.wake.notify_one();
    let report = reports::import(&state.0.store, tenant, import).await?.ok_or(DoorError::Internal)?;
    Ok(view::respond(&view::pending(&report), Vec::new(), state.0.authgear.envelope))
}

/// Shows an import of users, as Authgear's User Import API does.
#[utoipa::path(
    get, path = "/_api/admin/users/import/{id}", tag = "authgear", operation_id = "authgear_show",
    security(("authgear" = [])), params(("id" = String, Path)),
    responses((status = 200, description = "The import, also under `result`", body = UserImport),
              (status = 403, description = "Not authorised", content_type = "text/plain", body = String),
              (status = "default", description = "An error", body = ErrorAnswer)),
)]
async fn show(
    State(state): State<AppState>,
    client: Client,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, DoorError> {
    let tenant = client.may(Scope::ImportRead)?;
    let import = id.ok().and_then(|Path(id)| import_id::decode(&id)).ok_or(DoorError::TaskNotFound)?;
    let shared = &state.0;
    if !store::is_ours(&shared.store, tenant, import).await? {
        return Err(DoorError::TaskNotFound);
    }
    let report = reports::import(&shared.store, tenant, import).await?.ok_or(DoorError::TaskNotFound)?;
    view::answer(&shared.store, &report, shared.authgear.envelope).await?.ok_or(DoorError::TaskNotFound)
}

/// The whole body: its limit is small, and nothing of it is staged before its end was seen.
async fn read(state: &AppState, body: Body) -> Result<Bytes, DoorError> {
    let limits = BodyLimits { bytes: Some(BODY_BYTES), pace: state.0.pace };
    let watch = Watch::default();
    let mut pieces = bounded(body, limits, watch.clone());
    let mut whole = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(bytes) => whole.extend_from_slice(&bytes),
            Err(_) => {
                return Err(match watch.error() {
                    Some(error) if error.code == ErrorCode::UploadTooLarge => DoorError::TooLarge,
                    Some(error) => DoorError::Incomplete(error.message),
                    None => DoorError::Internal,
                });
            }
        }
    }
    Ok(whole.freeze())
}

/// Stages the records of a request. A refused or failed one leaves nothing behind but an import marked so.
async fn stage(
    state: &AppState,
    tenant: TenantId,
    request: UserImportRequest,
) -> Result<ImportId, DoorError> {
    let shared = &state.0;
    let id = ImportId::new(clock::new_id());
    let options = fields::options(request.identifier, request.upsert);
    let provenance = Provenance::default();
    let import = NewImport { id, tenant, filename: None, options, idempotency: None, provenance };
    let upload = receive::begin(&shared.store, import, Compression::Identity, limits(shared.limits))
        .await
        .map_err(failure)?;
    let today = clock::now().date_naive();
    match store::admit(&shared.store, tenant, id, request.count, shared.authgear.quota, today).await {
        Ok(None) => {}
        Ok(Some(period)) => {
            give_up(upload, ErrorCode::QuotaExceeded, "the tenant's quota has no room for the records").await;
            return Err(DoorError::QuotaExceeded(period));
        }
        Err(error) => {
            give_up(upload, ErrorCode::Unavailable, "the store failed while receiving").await;
            return Err(error.into());
        }
    }
    // Should it not take the records, `finish` says why.
    upload.push(request.records).await;
    match upload.finish().await {
        Ok(receipt) => Ok(receipt.import),
        Err(error) => {
            if let Err(error) = store::withdraw(&shared.store, tenant, id).await {
                tracing::warn!(import = %id, %error, "records of a failed request stay counted");
            }
            Err(failure(error))
        }
    }
}

async fn give_up(upload: Upload, code: ErrorCode, message: &str) {
    // It tells what it was told.
    let _ = upload.fail(FileError::new(code, message)).await;
}

/// The bounds of a request: its size bounds everything in it, so that none of the parser's own refuses it as a whole.
fn limits(configured: ReceiveLimits) -> ReceiveLimits {
    let most = usize::try_from(BODY_BYTES).unwrap_or(usize::MAX);
    let parse = ParseLimits {
        record_bytes: configured.parse.record_bytes.max(most),
        fields: most,
        names: most,
        depth: 128,
        ..configured.parse
    };
    ReceiveLimits { parse, decompressed_bytes: None, records: None, ..configured }
}

fn failure(error: ReceiveError) -> DoorError {
    match error {
        ReceiveError::Refused(_, error) if error.code == ErrorCode::QuotaExceeded => {
            DoorError::QuotaExceeded(store::Period::Day)
        }
        // What the engine's parser refuses beyond the outer check: half a surrogate pair in a string, above all.
        ReceiveError::Refused(_, error) => DoorError::InvalidJson { message: error.message, offset: None },
        ReceiveError::Store(error) => error.into(),
        ReceiveError::Aborted(import, error) => {
            tracing::error!(%import, code = %error.code, "a request could not be staged");
            DoorError::Internal
        }
        ReceiveError::TooManyImports => DoorError::Busy,
        ReceiveError::Busy => muster_store::StoreError::PoolTimeout.into(),
        // There is no idempotency key.
        ReceiveError::Known(..)
        | ReceiveError::InProgress
        | ReceiveError::Mismatch
        | ReceiveError::Unread(_) => DoorError::Internal,
    }
}
