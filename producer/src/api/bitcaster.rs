//! The front door for clients of Bitcaster: its user API, one user a request, under both of its prefixes.
//!
//! Paths, fields, answers and errors are Bitcaster's (and with it Django REST Framework's); what a value means, and what
//! becomes of a user, is decided by the engine that imports go through ([`crate::single`]).

mod addresses;
mod applications;
mod auth;
mod error;
mod fields;
mod list;
mod messages;
mod request;
mod request_path;
mod users;
mod view;

use axum::http::Method;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::Paths;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use super::AppState;
use super::error::ApiError;
use error::DoorError;

/// The security scheme of the documentation.
const SCHEME: &str = "key";

/// What ended a request from outside, or the answer at an address of the front door that leads nowhere.
pub(super) fn refused(error: &ApiError) -> Response {
    let fault = match error {
        ApiError::TimedOut => DoorError::Store(muster_store::StoreError::PoolTimeout),
        ApiError::Internal => DoorError::Internal,
        _ => DoorError::NotFound,
    };
    fault.into_response()
}

/// Every route, under the path that Bitcaster's documents name and the one that its server has.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    let users = "/api/o/{org}/u/";
    let documented = "/api/v1/user/{org}/";
    let mounts: [(UtoipaMethodRouter<AppState>, &[&str]); 6] = [
        (routes!(list::list, users::create), &[users, documented]),
        (
            routes!(users::show, users::update),
            &["/api/o/{org}/u/{username}/", "/api/v1/user/{org}/{username}/"],
        ),
        (
            routes!(addresses::list, addresses::add),
            &[
                "/api/o/{org}/u/{username}/addresses/",
                "/api/o/{org}/u/{username}/address/",
                "/api/v1/user/{org}/{username}/address/",
                "/api/v1/user/{org}/{username}/addresses/",
            ],
        ),
        (routes!(applications::register), &["/api/o/{org}/p/{project}/a/{application}/register/"]),
        (
            routes!(applications::unregister),
            &["/api/o/{org}/p/{project}/a/{application}/unregister/{username}/"],
        ),
        (routes!(users::ping), &["/api/system/ping/", "/api/login/"]),
    ];
    let mut router = OpenApiRouter::with_openapi(documentation());
    for (mount, paths) in mounts {
        router = mounted(router, mount, paths);
    }
    router
}

/// Adds the operations at each of the paths. The slash at the end may be left out.
fn mounted(
    mut router: OpenApiRouter<AppState>,
    (schemas, documented, methods): UtoipaMethodRouter<AppState>,
    paths: &[&str],
) -> OpenApiRouter<AppState> {
    let methods = methods.fallback(async |method: Method| DoorError::MethodNotAllowed(method));
    let Some(item) = documented.paths.into_values().next() else { return router };
    let mut everywhere = Paths::new();
    for path in paths {
        everywhere.paths.insert((*path).to_owned(), item.clone());
        router = router.route(path.trim_end_matches('/'), methods.clone());
    }
    router.routes((schemas, everywhere, methods))
}

fn documentation() -> OpenApi {
    let mut documentation = OpenApi::default();
    let description = "`Token`, `Key` or `Bearer`, a blank, and the token";
    documentation.components.get_or_insert_default().add_security_scheme(
        SCHEME,
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description("Authorization", description))),
    );
    documentation
}
