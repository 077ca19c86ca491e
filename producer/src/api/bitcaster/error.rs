//! Errors of a request, each with its status: `{"detail": …}` as in Django REST Framework, or what is wrong with its fields.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_domain::fault::{Mutant, mutant};
use muster_store::{ErrorKind, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::error::{StoreCause, TRY_AGAIN};
use super::messages::FieldErrors;

/// What the framework says of a failure that is no fault of the request.
const SERVER_ERROR: &str = "A server error occurred.";

/// Why a request comes to nothing.
#[derive(Debug)]
pub(super) enum DoorError {
    /// No credential of a kind that is known.
    NotAuthenticated,
    /// A credential that is not known.
    InvalidToken,
    /// A header in which no token can be; what the framework says of it.
    TokenHeader(&'static str),
    /// The credential may not do this here.
    Forbidden,
    /// The credential is known, and its tenant is disabled.
    TenantDisabled,
    /// Too many credentials of this address are not known; after so many seconds it may try again.
    Throttled(u64),
    /// No such organization, user or page.
    NotFound,
    /// The method is none of the resource's.
    MethodNotAllowed(Method),
    /// The body cannot be read.
    Unreadable(String),
    /// The body is none of the media types.
    UnsupportedMediaType(String),
    /// The body is larger than a record may be.
    TooLarge,
    /// The body came too slowly.
    TooSlow,
    /// Fields are not as they must be.
    Fields(FieldErrors),
    /// The store failed.
    Store(StoreError),
    /// The program failed; the log has the cause.
    Internal,
}

impl From<StoreError> for DoorError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The body of an error that no field is at fault for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Detail {
    /// One sentence.
    #[schema(example = "Not found.")]
    detail: String,
}

impl DoorError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotAuthenticated | Self::InvalidToken | Self::TokenHeader(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::TenantDisabled => StatusCode::FORBIDDEN,
            Self::Throttled(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unreadable(_) | Self::Fields(_) => StatusCode::BAD_REQUEST,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Store(error) => match error.kind() {
                ErrorKind::Transient | ErrorKind::Conflict => StatusCode::SERVICE_UNAVAILABLE,
                ErrorKind::Data => StatusCode::BAD_REQUEST,
                ErrorKind::Permanent => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::NotAuthenticated => "Authentication credentials were not provided.".into(),
            Self::InvalidToken => "Invalid token.".into(),
            Self::TokenHeader(said) => (*said).into(),
            Self::Forbidden => "You do not have permission to perform this action.".into(),
            Self::TenantDisabled => "The tenant is disabled.".into(),
            Self::Throttled(seconds) => {
                format!("Request was throttled. Expected available in {seconds} seconds.")
            }
            Self::NotFound => "Not found.".into(),
            Self::MethodNotAllowed(method) => format!("Method \"{method}\" not allowed."),
            Self::Unreadable(why) => why.clone(),
            Self::UnsupportedMediaType(media_type) => {
                format!("Unsupported media type \"{media_type}\" in request.")
            }
            Self::TooLarge => "The request is larger than the limit.".into(),
            Self::TooSlow => "The request paused for too long.".into(),
            Self::Fields(_) => "Invalid input.".into(),
            Self::Store(error) => match error.kind() {
                ErrorKind::Transient | ErrorKind::Conflict => {
                    "Service temporarily unavailable, try again later.".into()
                }
                ErrorKind::Data => "The database refused the user.".into(),
                ErrorKind::Permanent => SERVER_ERROR.into(),
            },
            Self::Internal => SERVER_ERROR.into(),
        }
    }
}

impl IntoResponse for DoorError {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = match &self {
            Self::Fields(errors) => (status, Json(errors)).into_response(),
            other => (status, Json(Detail { detail: other.detail() })).into_response(),
        };
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Key"));
        }
        let retry_after = match self {
            Self::Throttled(seconds) => Some(seconds),
            _ if status == StatusCode::SERVICE_UNAVAILABLE && !mutant(Mutant::NeverComeBack) => {
                Some(TRY_AGAIN)
            }
            _ => None,
        };
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if let Self::Store(error) = self {
            response.extensions_mut().insert(StoreCause(Arc::new(error)));
        }
        response
    }
}
