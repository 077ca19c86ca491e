//! The whole application: the routes with what is around each request, and for whom a listener is.

use std::sync::LazyLock;

use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use axum::{Router, middleware};
use bytes::Bytes;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::error::ApiError;
use super::routes::{client_routes, expose_requests, of_door, openapi, operator_routes, routes};
use super::{AppState, console, ops, trace};

/// Where the description of the API is.
const DOCUMENT_PATH: &str = "/openapi.json";
/// The description, as it is sent: all who read it share these bytes.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| openapi().to_string().into());

/// For whom a listener is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Everybody: all routes.
    Everybody,
    /// Clients: no metrics, readiness or documentation, which another listener has.
    Clients,
    /// Operators: nothing else.
    Operators,
}

/// The whole application, or what an audience sees of it.
pub(super) fn app(state: AppState, audience: Audience) -> Router {
    expose_requests();
    let documentation = || {
        let pages = SwaggerUi::new("/docs").config(Config::from(DOCUMENT_PATH));
        Router::new()
            .route(DOCUMENT_PATH, get(async || ([(CONTENT_TYPE, "application/json")], DOCUMENT.clone())))
            .merge(pages)
    };
    let router = match audience {
        Audience::Everybody => {
            routes().split_for_parts().0.merge(console::routes(&state)).merge(documentation())
        }
        Audience::Clients => client_routes().split_for_parts().0.merge(console::routes(&state)),
        Audience::Operators => {
            let alive = OpenApiRouter::new().routes(routes!(ops::healthz));
            operator_routes().merge(alive).split_for_parts().0.merge(documentation())
        }
    };
    router
        .fallback(async |uri: Uri| of_door(&uri, ApiError::NotFound))
        .method_not_allowed_fallback(async |uri: Uri| of_door(&uri, ApiError::MethodNotAllowed))
        .layer(middleware::from_fn_with_state(state.clone(), trace::around))
        .with_state(state)
}
