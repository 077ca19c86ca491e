//! The failed records of an import as a file, as the API gives it: all of them, or those of one cause. It has people's
//! values, so in a tenant that was opened it is for those alone who see them.

use axum::extract::{Path, State};
use axum::response::Response;
use muster_domain::id::ImportId;
use muster_domain::token::Scope;

use super::error::ConsoleError;
use super::session::Visit;
use crate::api::AppState;
use crate::api::error::ApiError;
use crate::api::params::{Id, Params};
use crate::api::records;

/// As a table.
pub(super) async fn csv(
    state: State<AppState>,
    visit: Visit,
    id: Path<String>,
    params: Params,
) -> Result<Response, ConsoleError> {
    may_take(&visit)?;
    Ok(records::failed_csv(state, visit.caller(), import(&id)?, params).await?)
}

/// An object a line.
pub(super) async fn ndjson(
    state: State<AppState>,
    visit: Visit,
    id: Path<String>,
    params: Params,
) -> Result<Response, ConsoleError> {
    may_take(&visit)?;
    Ok(records::failed_ndjson(state, visit.caller(), import(&id)?, params).await?)
}

fn may_take(visit: &Visit) -> Result<(), ApiError> {
    if visit.takes_failed_records() { Ok(()) } else { Err(ApiError::Forbidden(Scope::UsersRead)) }
}

fn import(id: &str) -> Result<Id<ImportId>, ApiError> {
    id.parse().map(Id).map_err(|_| ApiError::NotFound)
}
