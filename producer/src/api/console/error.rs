//! What the console returns instead of a page: errors and redirects.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use muster_store::StoreError;

use super::frame::{bare, sentence};
use crate::api::error::{ApiError, StoreCause};
use crate::api::params::encoded;

/// Why there is no page.
#[derive(Debug)]
pub(super) enum ConsoleError {
    /// Not signed in: redirects to the sign-in page, and afterwards back to this address.
    SignIn(Option<String>),
    /// The session has ended, and the request was an automatic refresh.
    Over,
    /// The form does not belong to this session.
    Form,
    /// The request failed.
    Failed(ApiError),
}

impl From<ApiError> for ConsoleError {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for ConsoleError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl IntoResponse for ConsoleError {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn(then) => {
                let then = then.map_or(String::new(), |path| format!("?then={}", encoded(&path)));
                Redirect::to(&format!("{}/sign-in{then}", super::BASE)).into_response()
            }
            Self::Over => StatusCode::UNAUTHORIZED.into_response(),
            Self::Form => {
                let text = "This form is not one that this session was given, or it is too old. Go back, load the page again, and \
                            send it once more. Nothing was done.";
                message_page(StatusCode::FORBIDDEN, "The form does not count", text)
            }
            Self::Failed(error) => failed(error),
        }
    }
}

/// The database does not answer. Said without asking it who looks.
pub(super) fn database_away() -> Response {
    let text = "Check that PostgreSQL runs, that this program reaches it at database.url (DATABASE_URL), and what its log says. Uploads that \
                were answered are safe, and work goes on by itself once it answers.";
    let mut response = message_page(StatusCode::SERVICE_UNAVAILABLE, DATABASE_AWAY, text);
    response.extensions_mut().remove::<Refusal>();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// Whether the database is away, rather than refusing or being slow.
fn is_away(error: &StoreError) -> bool {
    let away = matches!(
        error,
        StoreError::Unreachable(_) | StoreError::Silent(_) | StoreError::PoolTimeout | StoreError::Unknown
    );
    // It is stopped, or starts.
    away || error.sqlstate().is_some_and(|state| state.starts_with("57P"))
}

const DATABASE_AWAY: &str = "The database does not answer";

fn failed(error: ApiError) -> Response {
    if matches!(&error, ApiError::Store(cause) if is_away(cause)) {
        let mut response = database_away();
        if let ApiError::Store(cause) = error {
            response.extensions_mut().insert(StoreCause(Arc::new(cause)));
        }
        return response;
    }
    let (status, _) = error.status();
    let title = match status {
        StatusCode::NOT_FOUND => "There is no such page",
        StatusCode::FORBIDDEN => "This token may not do that",
        StatusCode::TOO_MANY_REQUESTS => "Too many tries",
        StatusCode::SERVICE_UNAVAILABLE => "Not now",
        status if status.is_client_error() => "That was not understood",
        _ => "Something went wrong",
    };
    let message = match &error {
        ApiError::NotFound => {
            "The address leads nowhere, or to something that this token may not see.".to_owned()
        }
        other => sentence(&other.body("").error.message),
    };
    let wait = error.retry_after();
    let mut response = message_page(status, title, &message);
    if let Some(seconds) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    if let ApiError::Store(cause) = error {
        response.extensions_mut().insert(StoreCause(Arc::new(cause)));
    }
    response
}

/// What stands instead of a page, on its way to whoever gives it the header of somebody who is signed in.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    /// What it is called.
    pub(super) title: String,
    /// What it says.
    pub(super) main: Markup,
}

fn message_page(status: StatusCode, title: &str, message: &str) -> Response {
    let main = html! {
        h1 { (title) }
        p.lead { (message) }
        @if status != StatusCode::FORBIDDEN { p { a.button href=(super::BASE) { "To the overview" } } }
    };
    let mut response = bare(title, &main).into_response();
    *response.status_mut() = status;
    response.extensions_mut().insert(Refusal { title: title.to_owned(), main });
    response.headers_mut().insert("x-robots-tag", HeaderValue::from_static("noindex"));
    response
}
