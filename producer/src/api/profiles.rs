//! A tenant's import profiles: list, show, save, delete; the built-in ones are listed and shown with them.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::import_profile::{BUILTIN, Builtin};
use muster_domain::request::checked_profile;
use muster_domain::tenant::Slug;
use muster_domain::token::Scope;
use muster_store::import_profiles::{self as store, SavedProfile};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::AppState;
use super::auth::Caller;
use super::error::ApiError;
use super::params::{Id, Params, invalid};
use crate::request::too_many_profiles;

/// Largest profile, in bytes.
const PROFILE_BYTES: usize = 256 * 1024;

/// A profile.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProfileView {
    /// Its name.
    pub name: String,
    /// The product and the file of a built-in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub built_in: Option<String>,
    /// Options by name, as `POST /v1/imports` takes them.
    #[schema(value_type = Object)]
    pub options: BTreeMap<String, String>,
    /// When one of the tenant's own was saved last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<DateTime<Utc>>,
}

/// Profiles.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProfileList {
    /// The tenant's own, by name, then the built-in ones.
    pub profiles: Vec<ProfileView>,
}

impl From<SavedProfile> for ProfileView {
    fn from(saved: SavedProfile) -> Self {
        Self {
            name: saved.name,
            built_in: None,
            options: saved.options.into_iter().collect(),
            updated_at: Some(saved.updated_at),
        }
    }
}

impl From<&Builtin> for ProfileView {
    fn from(builtin: &Builtin) -> Self {
        Self {
            name: builtin.name.to_owned(),
            built_in: Some(builtin.title.to_owned()),
            options: builtin.pairs().into_iter().collect(),
            updated_at: None,
        }
    }
}

/// Lists the tenant's import profiles, and the built-in ones.
#[utoipa::path(
    get, path = "/v1/profiles", tag = "profiles",
    responses((status = 200, description = "The profiles", body = ProfileList)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    params: Params,
) -> Result<Json<ProfileList>, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    params.finish()?;
    let own = store::list(&mut *state.0.store.reading(tenant).await?, tenant).await?;
    let own = own.into_iter().map(ProfileView::from);
    Ok(Json(ProfileList { profiles: own.chain(BUILTIN.iter().map(ProfileView::from)).collect() }))
}

/// Shows an import profile.
#[utoipa::path(
    get, path = "/v1/profiles/{name}", tag = "profiles", params(("name" = String, Path)),
    responses((status = 200, description = "The profile", body = ProfileView)),
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Id(name): Id<Slug>,
    params: Params,
) -> Result<Json<ProfileView>, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    params.finish()?;
    if let Some(builtin) = Builtin::find(name.as_str()) {
        return Ok(Json(builtin.into()));
    }
    let saved = store::get(&mut *state.0.store.reading(tenant).await?, tenant, &name).await?;
    saved.map(|saved| Json(saved.into())).ok_or(ApiError::NotFound)
}

/// Saves an import profile; one of that name is replaced.
///
/// The body is an object of options by name, each a text as in a query.
#[utoipa::path(
    put, path = "/v1/profiles/{name}", tag = "profiles", params(("name" = String, Path)),
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses((status = 200, description = "The profile as it is now", body = ProfileView)),
)]
pub(super) async fn save(
    State(state): State<AppState>,
    caller: Caller,
    Id(name): Id<Slug>,
    params: Params,
    body: Body,
) -> Result<Json<ProfileView>, ApiError> {
    let tenant = caller.may(Scope::ImportWrite)?;
    params.finish()?;
    let failed = |code, message: &str| ApiError::Body(FileError::new(code, message));
    let bytes = timeout(state.0.pace.pause, to_bytes(body, PROFILE_BYTES))
        .await
        .map_err(|_| failed(ErrorCode::UploadTimeout, "the body came too slowly"))?
        .map_err(|_| failed(ErrorCode::UploadTooLarge, "the body is too large or stopped before its end"))?;
    let members: Map<String, Value> = serde_json::from_slice(&bytes)
        .map_err(|_| failed(ErrorCode::InvalidRequest, "the body must be an object of options"))?;
    let mut pairs = Vec::new();
    for (name, value) in members {
        let Value::String(text) = value else {
            return Err(invalid(name.chars().take(60).collect::<String>(), "must be a text"));
        };
        pairs.push((name, text));
    }
    let name = checked_profile(name.as_str(), &pairs)?;
    let saved = store::save(&state.0.store.by(&caller.actor()), tenant, &name, &pairs).await?;
    saved.map(|saved| Json(saved.into())).ok_or_else(|| invalid("name", too_many_profiles()))
}

/// Deletes an import profile. Imports that used it keep their options.
#[utoipa::path(
    delete, path = "/v1/profiles/{name}", tag = "profiles", params(("name" = String, Path)),
    responses((status = 204, description = "It is deleted")),
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Id(name): Id<Slug>,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let tenant = caller.may(Scope::ImportWrite)?;
    params.finish()?;
    match store::delete(&state.0.store.by(&caller.actor()), tenant, &name).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::NotFound),
    }
}
