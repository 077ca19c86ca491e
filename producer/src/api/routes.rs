//! Every route with its documentation. A route without documentation cannot be added.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use muster_runtime::telemetry::series;
use serde_json::Value;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, ErrorBody};
use super::{
    AppState, audit, authgear, bitcaster, bulk, catalog, ccai, chunks, console, document, events, history,
    imports, inspect, ops, plans, profiles, receipts, records, report_page, undo, upload, users, webhooks,
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Muster", description = "Imports users in bulk, and accounts for every record."),
    components(schemas(ErrorBody, ccai::Message))
)]
struct Documentation;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    client_routes().merge(operator_routes())
}

pub(super) fn operator_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(ops::readyz)).routes(routes!(ops::metrics))
}

pub(super) fn client_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Documentation::openapi())
        .routes(routes!(upload::create, imports::list))
        .routes(routes!(inspect::look))
        .routes(routes!(imports::show))
        .routes(routes!(chunks::list))
        .routes(routes!(events::list))
        .routes(routes!(events::of_import))
        .routes(routes!(records::list))
        .routes(routes!(records::problems))
        .routes(routes!(records::failed_csv))
        .routes(routes!(records::failed_ndjson))
        .routes(routes!(imports::proceed))
        .routes(routes!(imports::pause))
        .routes(routes!(imports::resume))
        .routes(routes!(imports::cancel))
        .routes(routes!(imports::retry))
        .routes(routes!(plans::show, imports::plan))
        .routes(routes!(plans::changes))
        .routes(routes!(plans::csv))
        .routes(routes!(undo::preview, undo::create))
        .routes(routes!(receipts::show))
        .routes(routes!(receipts::key))
        .routes(routes!(report_page::show))
        .routes(routes!(bulk::look, bulk::list))
        .routes(routes!(bulk::show))
        .routes(routes!(bulk::start))
        .routes(routes!(bulk::abort))
        .routes(routes!(profiles::list))
        .routes(routes!(profiles::show, profiles::save, profiles::delete))
        .routes(routes!(users::find))
        .routes(routes!(users::export))
        .routes(routes!(users::show, users::erase))
        .routes(routes!(history::show))
        .routes(routes!(catalog::show, catalog::replace))
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::show, webhooks::change, webhooks::delete))
        .routes(routes!(webhooks::rotate, webhooks::drop_secret))
        .routes(routes!(webhooks::ping))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::redeliver))
        .routes(routes!(audit::list))
        .merge(bitcaster::routes())
        .routes(routes!(ops::healthz))
        .merge(authgear::routes())
        .merge(ccai::routes())
}

/// The documentation of every route, as served at `/openapi.json`.
pub fn openapi() -> Value {
    finished(gathered())
}

/// The documentation at the routes.
pub(super) fn gathered() -> OpenApi {
    routes().split_for_parts().1
}

/// Routes that are neither in the documentation nor among those of the console that need a session.
const UNDOCUMENTED: [(&str, &str); 3] =
    [("GET", "/console/sign-in"), ("POST", "/console/sign-in"), ("GET", "/console/assets/{name}")];

/// A method that no route of ours has.
pub(super) const OTHER_METHOD: &str = "other";
/// The route of what no route has.
pub(super) const NO_ROUTE: &str = "-";

/// Routes as which requests are counted, each with its methods; and [`NO_ROUTE`] for all other requests.
static COUNTED: LazyLock<HashMap<String, Vec<&'static str>>> = LazyLock::new(|| {
    let documented = openapi();
    let none = ["GET", "POST", OTHER_METHOD];
    let mut routes = HashMap::from([(NO_ROUTE.to_owned(), none.to_vec())]);
    for (path, item) in documented["paths"].as_object().into_iter().flatten() {
        let methods =
            [("get", "GET"), ("put", "PUT"), ("post", "POST"), ("patch", "PATCH"), ("delete", "DELETE")];
        let there = methods.into_iter().filter(|(verb, _)| item.get(verb).is_some());
        routes.entry(path.clone()).or_default().extend(there.map(|(_, method)| method));
    }
    let console = console::ROUTES.iter().map(|route| (route.method, route.path));
    for (method, path) in console.chain(UNDOCUMENTED) {
        routes.entry(path.to_owned()).or_default().push(method);
    }
    routes
});

/// Whether requests of this method to this route are counted as such.
pub(super) fn counts(method: &str, route: &str) -> bool {
    COUNTED.get(route).is_some_and(|methods| methods.contains(&method))
}

/// Makes the series of requests there.
pub(super) fn expose_requests() {
    let of = |(route, methods): (&'static String, &'static Vec<&'static str>)| {
        methods.iter().map(move |method| (*method, route.as_str()))
    };
    series::expose_routes(COUNTED.iter().flat_map(of));
}

/// The error of an address that no route has, as the clients of the front door it belongs to read errors.
pub(super) fn of_door(uri: &Uri, error: ApiError) -> Response {
    // What ends a request at a route of a front door, whatever the route.
    let ends = matches!(error, ApiError::TimedOut | ApiError::Internal);
    match uri.path() {
        path if ccai::owns(path) => ccai::refused(error),
        path if console::owns(path) => console::refused(error),
        path if ends && authgear::owns(path) => authgear::refused(&error),
        path if path.starts_with("/api/") => bitcaster::refused(&error),
        _ => error.into_response(),
    }
}

/// Adds the credentials that there are, and makes the document whole.
fn finished(mut documentation: OpenApi) -> Value {
    if let Some(components) = documentation.components.as_mut() {
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        components.add_security_scheme(authgear::SECURITY, authgear::security());
        components.add_security_scheme("api_user", SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)));
    }
    document::whole(&documentation)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Who knows one door finds the same thing in the others.
    #[test]
    fn each_front_door_has_the_files_of_its_roles() {
        let api = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
        for door in ["authgear", "bitcaster", "ccai"] {
            for role in ["auth", "request", "fields", "error", "messages", "view"] {
                let file = api.join(door).join(role).with_extension("rs");
                assert!(file.is_file(), "{}", file.display());
            }
        }
    }
}
