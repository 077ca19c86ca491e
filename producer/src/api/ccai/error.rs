//! Errors of this front door: a status and `{"message": …}`.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::error::{ApiError, StoreCause};

/// The body of every error of the CCAI Platform's front door.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CcaiMessage)]
pub(in crate::api) struct Message {
    /// One sentence for people.
    message: String,
}

/// Why a request failed.
#[derive(Debug)]
pub(super) struct DoorError {
    status: StatusCode,
    message: String,
    /// After how many seconds the request may be sent again, where its status says that it may.
    retry_after: u64,
    /// The error of the store, only for the log.
    cause: Option<Arc<StoreError>>,
}

pub(super) type Answer<T> = Result<T, DoorError>;

impl DoorError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: 1, cause: None }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "Bad credentials: the user is the subdomain, the password a token",
        )
    }

    pub(super) fn no_such_job() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is no such job")
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    pub(super) fn too_many() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests: try again in a second")
    }
}

impl From<ApiError> for DoorError {
    fn from(error: ApiError) -> Self {
        let (status, _) = error.status();
        match error {
            ApiError::Unauthorized => Self::unauthorized(),
            ApiError::Store(cause) => Self {
                status,
                message: ApiError::store_message(status).to_owned(),
                retry_after: 1,
                cause: Some(Arc::new(cause)),
            },
            ApiError::Invalid(wrong) => Self::new(status, format!("`{}` {}", wrong.field, wrong.message)),
            ApiError::TooManyFailures(seconds) => {
                Self { retry_after: seconds, ..Self::new(status, error.to_string()) }
            }
            other => Self::new(status, other.to_string()),
        }
    }
}

impl From<StoreError> for DoorError {
    fn from(error: StoreError) -> Self {
        ApiError::Store(error).into()
    }
}

impl IntoResponse for DoorError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(Message { message: self.message })).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                let scheme = HeaderValue::from_static("Basic realm=\"Muster\", charset=\"UTF-8\"");
                headers.insert(header::WWW_AUTHENTICATE, scheme);
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, self.retry_after.into());
            }
            _ => {}
        }
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(StoreCause(cause));
        }
        response
    }
}
