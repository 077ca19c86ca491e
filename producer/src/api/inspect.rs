//! `POST /v1/inspect`: what a file is and what is wrong with it. Nothing is stored.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header;
use futures_util::stream::{self, StreamExt};
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::inspect::Report;
use muster_domain::request::{AskedImport, ImportRequest};
use muster_domain::token::Scope;

use super::AppState;
use super::auth::Caller;
use super::error::ApiError;
use super::incoming::{BodyLimits, Watch, bounded, drain, encoding, held_back, single};
use super::params::Params;
use crate::inspect;
use crate::mending::{Beginning, read_as_before};
use crate::receive::{Compression, ReceiveLimits};
use crate::request::with_profile;

/// Looks at a file as `POST /v1/imports` with these options would read it: columns, first records, problems by cause. Stores nothing.
///
/// The body is the file itself. All options of `POST /v1/imports` may be given in the query.
#[utoipa::path(
    post, path = "/v1/inspect", tag = "imports", operation_id = "imports_inspect",
    params(
        ("Content-Encoding" = Option<String>, Header, description = "gzip or zstd"),
    ),
    request_body(content((Vec<u8> = "application/octet-stream"), (Vec<u8> = "text/csv"), (Vec<u8> = "application/x-ndjson"),
                         (Vec<u8> = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")),
                 description = "The file, also as application/json. Where `format` is given, any media type will do"),
    responses((status = 200, description = "What the file is and holds; `refused` has the reason where it would be refused",
               body = serde_json::Value)),
)]
pub(super) async fn look(
    State(state): State<AppState>,
    caller: Caller,
    params: Params,
    request: Request,
) -> Result<Json<Report>, ApiError> {
    let tenant = caller.may(Scope::ImportWrite)?;
    let _place = state.0.slots.take(tenant)?;
    let headers = request.headers();
    let media_type = single(headers, header::CONTENT_TYPE.as_str())?.map(str::to_owned);
    let encoding = encoding(headers)?;
    let asked = ImportRequest::from_pairs(params.into_pairs())?;
    let encoding = encoding.unwrap_or_else(|| Compression::of_upload(asked.filename()));
    let store = &state.0.store;
    let profiled = with_profile(&asked, store, tenant).await?;
    profiled.asked(media_type.as_deref())?;
    let bounds = BodyLimits { bytes: state.0.max_upload_bytes, pace: state.0.pace };
    let watch = Watch::default();
    let mut pieces = bounded(request.into_body(), bounds, watch.clone()).fuse();
    let beginning = Beginning::of(profiled.format(media_type.as_deref()), encoding);
    let (held, origin) = held_back(&mut pieces, beginning, &watch).await;
    let asked = match asked.profile() {
        Some(_) => profiled,
        None => read_as_before(&asked, store, tenant, origin).await?,
    };
    let AskedImport { options, dialect, .. } = asked.asked(media_type.as_deref())?;
    let limits = ReceiveLimits { dialect, ..state.0.limits };
    let inspecting = inspect::begin(options, encoding, limits);
    let mut pieces = stream::iter(held).chain(pieces);
    while let Some(piece) = pieces.next().await {
        watch.seen();
        match piece {
            Ok(bytes) => {
                if !inspecting.push(bytes).await {
                    break;
                }
            }
            Err(_) => {
                let stopped =
                    || FileError::new(ErrorCode::UploadIncomplete, "the upload stopped before its end");
                let error = watch.error().unwrap_or_else(stopped);
                return Ok(Json(inspecting.fail(error).await));
            }
        }
    }
    drain(&mut pieces).await;
    Ok(Json(inspecting.finish().await))
}
