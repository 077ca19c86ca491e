//! The front door for clients of the CCAI Platform's Bulk User Management API: a job is uploaded, validated
//! as a whole, started, and queried.
//!
//! Guarantees: nothing of a file is applied before `proceed`, and nothing of a file with a scheme error is
//! ever applied. A job always ends. Errors have the shape `{"message": …}`. Non-goal: users of a portal.
//! Every caller is an API credential, which here is a token of the tenant.

mod auth;
mod error;
mod error_log;
mod fields;
mod jobs;
mod messages;
mod page;
mod rate;
mod request;
mod template;
mod upload;
mod users;
mod view;

use axum::Router;
use axum::response::{IntoResponse, Response};
use muster_domain::fault::{Mutant, mutant};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use error::DoorError;
pub(super) use error::Message;
pub(super) use rate::RateLimit;
pub(super) use users::{asked_by_api_user, mirror};

use super::AppState;
use super::error::ApiError;

/// The base path of the front door; links in its responses begin with it.
const BASE: &str = "/apps/api/v1";

/// Whether a path belongs only to this front door, even if there is no such route.
pub(super) fn owns(path: &str) -> bool {
    // Muster's own actions on many imports are beside the short addresses: /v1/bulk/{bulk}.
    let short = if mutant(Mutant::OtherDoorsWords) { "/v1/bulk/" } else { "/v1/bulk/users" };
    path.starts_with("/apps/api/v1/") || path.starts_with(short)
}

/// An error in this front door's shape.
pub(super) fn refused(error: ApiError) -> Response {
    DoorError::from(error).into_response()
}

/// Every route: under its own prefix with its documentation, and once more under the short one that the documents of the
/// original also print. `GET /v1/users` is shared with the native API (see [`mirror`]).
pub(super) fn routes() -> OpenApiRouter<AppState> {
    let short: Router<AppState> = bulk().split_for_parts().0;
    let own = bulk().routes(routes!(users::list));
    OpenApiRouter::new().nest(BASE, own).merge(OpenApiRouter::from(Router::new().nest("/v1", short)))
}

fn bulk() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(template::show))
        .routes(routes!(upload::create, upload::replace))
        .routes(routes!(jobs::proceed))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::show))
        .routes(routes!(jobs::show_by_link))
        .routes(routes!(error_log::scheme))
        .routes(routes!(error_log::update))
}
