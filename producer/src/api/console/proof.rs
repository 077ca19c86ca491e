//! The receipt of an import and its printable report, as from the API.

use axum::extract::{Path, State};
use axum::response::Response;
use muster_domain::id::ImportId;

use super::error::ConsoleError;
use super::session::Visit;
use crate::api::AppState;
use crate::api::error::ApiError;
use crate::api::params::{Id, Params};
use crate::api::{receipts, report_page};

/// The signed receipt.
pub(super) async fn receipt(
    state: State<AppState>,
    visit: Visit,
    id: Path<String>,
    params: Params,
) -> Result<Response, ConsoleError> {
    Ok(receipts::show(state, visit.caller(), import(&id)?, params).await?)
}

/// The report as one page.
pub(super) async fn report(
    state: State<AppState>,
    visit: Visit,
    id: Path<String>,
    params: Params,
) -> Result<Response, ConsoleError> {
    Ok(report_page::show(state, visit.caller(), import(&id)?, params).await?)
}

fn import(id: &str) -> Result<Id<ImportId>, ApiError> {
    id.parse().map(Id).map_err(|_| ApiError::NotFound)
}
