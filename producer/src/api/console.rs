//! The console at `/console`: pages for people who run and watch imports, rendered here for any browser.
//!
//! Guarantees: a page has the permissions of its session's token, for the tenant of that token only; a token
//! with [`Scope::TenantsAll`] may open another tenant, which stands in that one's audit. Every form has a secret
//! of its session and tenant. Names and file contents are shown as text and never as markup. Nothing
//! is loaded from another host, and pages contain no inline scripts. Without scripts every page but New
//! import works, and pages do not refresh themselves.

mod assets;
mod attention;
mod audit;
mod bulk;
mod catalog;
mod changes;
mod charts;
mod choices;
mod controls;
mod error;
mod failed;
mod family;
mod formatting;
mod frame;
mod history;
mod import;
mod imports;
mod new_import;
mod overview;
mod page;
mod plan;
mod problems;
mod profiles;
mod proof;
mod queue;
mod records;
mod session;
mod sign_in;
mod tenants;
mod tokens;
mod undo;
mod users;
mod webhook_edit;
mod webhooks;
mod words;

use axum::Router;
use axum::extract::Path;
use axum::http::Uri;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};
use muster_domain::token::Scope;

use super::AppState;
use super::error::ApiError;
use error::ConsoleError;

/// Where the console is.
const BASE: &str = "/console";

/// A page or an act of the console.
#[derive(Debug, Clone, Copy)]
pub struct ConsoleRoute {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Its address.
    pub path: &'static str,
    /// What the token of the session must allow; none where everybody who is signed in may.
    pub scope: Option<Scope>,
}

macro_rules! routes {
    ($($method:ident $name:literal $path:literal $handler:path, $scope:expr;)*) => {
        /// Pages for signed-in users only.
        pub const ROUTES: &[ConsoleRoute] =
            &[$(ConsoleRoute { method: $name, path: $path, scope: $scope },)*];

        fn pages() -> Router<AppState> {
            Router::new()$(.route($path, $method($handler)))*
        }
    };
}

routes! {
    get "GET" "/console" overview::show, Some(Scope::ImportRead);
    get "GET" "/console/imports" imports::list, Some(Scope::ImportRead);
    get "GET" "/console/imports/{id}" import::show, Some(Scope::ImportRead);
    get "GET" "/console/imports/{id}/records" records::list, Some(Scope::ImportRead);
    get "GET" "/console/imports/{id}/changes" changes::list, Some(Scope::ImportRead);
    get "GET" "/console/imports/{id}/failed.csv" failed::csv, Some(Scope::ImportRead);
    get "GET" "/console/imports/{id}/failed.ndjson" failed::ndjson, Some(Scope::ImportRead);
    get "GET" "/console/imports/{id}/receipt" proof::receipt, Some(Scope::ImportRead);
    get "GET" "/console/imports/{id}/report.html" proof::report, Some(Scope::ImportRead);
    get "GET" "/console/imports/{id}/undo" undo::preview, Some(Scope::ImportRead);
    post "POST" "/console/imports/{id}/undo" undo::open, Some(Scope::ImportWrite);
    post "POST" "/console/imports/{id}/{lever}" controls::pull, Some(Scope::ImportWrite);
    get "GET" "/console/bulk" bulk::form, Some(Scope::ImportRead);
    post "POST" "/console/bulk" bulk::look, Some(Scope::ImportWrite);
    get "GET" "/console/bulk/{id}" bulk::show, Some(Scope::ImportRead);
    post "POST" "/console/bulk/{id}/{lever}" bulk::pull, Some(Scope::ImportWrite);
    get "GET" "/console/new" new_import::show, Some(Scope::ImportWrite);
    post "POST" "/console/new/look" new_import::look, Some(Scope::ImportWrite);
    post "POST" "/console/new/take" new_import::take, Some(Scope::ImportWrite);
    post "POST" "/console/new/keep" profiles::keep, Some(Scope::ImportWrite);
    get "GET" "/console/profiles" profiles::list, Some(Scope::ImportRead);
    post "POST" "/console/profiles" profiles::create, Some(Scope::ImportWrite);
    get "GET" "/console/profiles/{name}" profiles::show, Some(Scope::ImportRead);
    post "POST" "/console/profiles/{name}" profiles::save, Some(Scope::ImportWrite);
    post "POST" "/console/profiles/{name}/delete" profiles::delete, Some(Scope::ImportWrite);
    get "GET" "/console/queue" queue::show, Some(Scope::Ops);
    get "GET" "/console/users" users::find, Some(Scope::UsersRead);
    get "GET" "/console/users/{id}" users::show, Some(Scope::UsersRead);
    get "GET" "/console/catalog" catalog::show, Some(Scope::CatalogRead);
    post "POST" "/console/catalog" catalog::replace, Some(Scope::CatalogWrite);
    get "GET" "/console/webhooks" webhooks::list, Some(Scope::WebhooksRead);
    post "POST" "/console/webhooks" webhooks::create, Some(Scope::WebhooksWrite);
    get "GET" "/console/webhooks/{id}" webhooks::show, Some(Scope::WebhooksRead);
    post "POST" "/console/webhooks/{id}/{act}" webhooks::act, Some(Scope::WebhooksWrite);
    post "POST" "/console/webhooks/{id}/deliveries/{delivery}/redeliver" webhooks::redeliver, Some(Scope::WebhooksWrite);
    get "GET" "/console/audit" audit::list, Some(Scope::Ops);
    get "GET" "/console/tenants" tenants::show, Some(Scope::TenantsAll);
    post "POST" "/console/tenants" tenants::open, Some(Scope::TenantsAll);
    get "GET" "/console/tokens" tokens::list, Some(Scope::Ops);
    post "POST" "/console/tokens" tokens::create, Some(Scope::Ops);
    post "POST" "/console/tokens/revoke" tokens::revoke, Some(Scope::Ops);
    post "POST" "/console/sign-out" sign_in::leave, None;
}

/// All of the console.
pub(super) fn routes(state: &AppState) -> Router<AppState> {
    pages()
        .route("/console/sign-in", get(sign_in::show).post(sign_in::enter))
        .route("/console/assets/{name}", get(asset))
        .route("/console/", get(async || Redirect::permanent(BASE)))
        .route("/console/{*rest}", any(async || refused(ApiError::NotFound)))
        .layer(from_fn_with_state(state.clone(), page::with_header))
        .layer(from_fn_with_state(state.clone(), page::while_the_database_answers))
}

/// Whether an address is one of the console's.
pub(super) fn owns(path: &str) -> bool {
    path.strip_prefix(BASE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// An error as a page.
pub(super) fn refused(error: ApiError) -> Response {
    ConsoleError::from(error).into_response()
}

/// Shows a file that pages name.
async fn asset(Path(name): Path<String>, uri: Uri) -> Result<Response, ConsoleError> {
    Ok(assets::answer(&name, &uri).ok_or(ApiError::NotFound)?)
}
