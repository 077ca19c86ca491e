//! Errors in Authgear's shape: of a request, and of a record.

use std::sync::Arc;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_store::StoreError;
use muster_store::authgear::Period;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::BODY_BYTES;
use super::causes::Cause;
use crate::api::error::{ApiError, RETRY_AFTER, StoreCause, TRY_AGAIN};

/// An error as clients see it (contracts A.2.3).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = AuthgearError)]
pub(super) struct ErrorObject {
    /// Kind: BadRequest, Invalid, NotFound, TooManyRequest, …
    pub(super) name: &'static str,
    /// What went wrong, for programs.
    pub(super) reason: &'static str,
    /// One sentence for people.
    pub(super) message: String,
    /// The HTTP status that the error has on its own.
    pub(super) code: u16,
    /// More about it, by reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(super) info: Option<Value>,
}

/// The body of an answer that is an error.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuthgearErrorAnswer)]
pub(super) struct ErrorAnswer {
    /// What went wrong.
    error: ErrorObject,
}

/// The kinds of errors that occur here, each with its status.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    BadRequest,
    Invalid,
    Forbidden,
    NotFound,
    TooManyRequest,
    InternalError,
    RequestEntityTooLarge,
    ServiceUnavailable,
}

impl ErrorObject {
    pub(super) fn new(kind: Kind, reason: &'static str, message: impl Into<String>) -> Self {
        let (name, status) = match kind {
            Kind::BadRequest => ("BadRequest", StatusCode::BAD_REQUEST),
            Kind::Invalid => ("Invalid", StatusCode::BAD_REQUEST),
            Kind::Forbidden => ("Forbidden", StatusCode::FORBIDDEN),
            Kind::NotFound => ("NotFound", StatusCode::NOT_FOUND),
            Kind::TooManyRequest => ("TooManyRequest", StatusCode::TOO_MANY_REQUESTS),
            Kind::InternalError => ("InternalError", StatusCode::INTERNAL_SERVER_ERROR),
            Kind::RequestEntityTooLarge => ("RequestEntityTooLarge", StatusCode::PAYLOAD_TOO_LARGE),
            Kind::ServiceUnavailable => ("ServiceUnavailable", StatusCode::SERVICE_UNAVAILABLE),
        };
        Self { name, reason, message: message.into(), code: status.as_u16(), info: None }
    }

    /// Says more about it.
    pub(super) fn with(mut self, info: Value) -> Self {
        self.info = Some(info);
        self
    }

    /// What does not keep to a schema, place by place. Sorts the causes as clients expect them.
    pub(super) fn validation(message: &str, mut causes: Vec<Cause>) -> Self {
        causes.sort_by(|a, b| a.location.cmp(&b.location).then(a.kind.cmp(b.kind)));
        Self::new(Kind::Invalid, "ValidationFailed", message).with(json!({ "causes": causes }))
    }

    /// Whatever no client can do anything about.
    pub(super) fn unexpected() -> Self {
        Self::new(Kind::InternalError, "UnexpectedError", "unexpected error occurred")
    }
}

/// Why a request is not answered with an import (contracts A.2.4).
#[derive(Debug)]
pub(super) enum DoorError {
    /// Not authorised, for whatever reason.
    Forbidden,
    /// Authorised, and the tenant is disabled.
    TenantDisabled,
    /// Too many requests of this address were not authorised; after so many seconds it may try again.
    TooManyFailures(u64),
    /// The media type of the body is none that is taken.
    ContentType,
    /// The body is larger than the limit.
    TooLarge,
    /// The body did not come to its end.
    Incomplete(String),
    /// The body is not JSON.
    InvalidJson {
        /// What the parser says.
        message: String,
        /// After how many bytes, where that is known.
        offset: Option<usize>,
    },
    /// The body is not what the outer schema wants.
    Invalid(Vec<Cause>),
    /// The quota has no room for the records.
    QuotaExceeded(Period),
    /// As many requests with records are under way as there may be.
    Busy,
    /// There is no such import here, or none any more.
    TaskNotFound,
    /// The request took longer than it may.
    TimedOut,
    /// The store failed.
    Store(Arc<StoreError>),
    /// The program failed; the log has the cause.
    Internal,
}

impl From<StoreError> for DoorError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl DoorError {
    /// The error as clients see it. `None` where they see a plain text.
    fn object(&self) -> Option<ErrorObject> {
        Some(match self {
            Self::Forbidden => return None,
            Self::TenantDisabled => {
                ErrorObject::new(Kind::Forbidden, "TenantDisabled", ApiError::TenantDisabled.to_string())
            }
            Self::TooManyFailures(seconds) => ErrorObject::new(
                Kind::TooManyRequest,
                "TooManyRequest",
                ApiError::TooManyFailures(*seconds).to_string(),
            ),
            Self::ContentType => {
                ErrorObject::new(Kind::BadRequest, "BadRequest", "request content type is invalid")
            }
            Self::TooLarge => {
                ErrorObject::new(Kind::RequestEntityTooLarge, "JSONTooLarge", "request body too large")
                    .with(json!({ "limit": BODY_BYTES }))
            }
            Self::Incomplete(message) => ErrorObject::new(Kind::BadRequest, "BadRequest", message.clone()),
            Self::InvalidJson { message, offset } => {
                let mut info = Map::new();
                if let Some(offset) = offset {
                    info.insert("byte_offset".into(), (*offset).into());
                }
                ErrorObject::new(Kind::BadRequest, "InvalidJSON", message.clone()).with(info.into())
            }
            Self::Invalid(causes) => ErrorObject::validation("invalid request body", causes.clone()),
            Self::QuotaExceeded(period) => {
                let period = match period {
                    Period::Day => "day",
                    Period::Month => "month",
                };
                ErrorObject::new(Kind::TooManyRequest, "UsageLimitExceeded", "usage limit exceeded")
                    .with(json!({ "name": "UserImport", "usage_name": "user_import", "period": period }))
            }
            Self::Busy => ErrorObject::new(
                Kind::TooManyRequest,
                "TooManyRequest",
                "as many requests with records are under way as there may be; try again",
            ),
            Self::TaskNotFound => ErrorObject::new(Kind::NotFound, "TaskNotFound", "task not found"),
            Self::TimedOut => ErrorObject::new(
                Kind::ServiceUnavailable,
                "ServiceUnavailable",
                ApiError::TimedOut.to_string(),
            ),
            Self::Store(_) | Self::Internal => ErrorObject::unexpected(),
        })
    }
}

impl IntoResponse for DoorError {
    fn into_response(self) -> Response {
        let Some(error) = self.object() else {
            let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            return (StatusCode::FORBIDDEN, text, "Forbidden\n").into_response();
        };
        let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(ErrorAnswer { error })).into_response();
        let retry_after = match self {
            Self::Busy => Some(RETRY_AFTER),
            Self::TooManyFailures(seconds) => Some(seconds),
            Self::TimedOut => Some(TRY_AGAIN),
            _ => None,
        };
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if let Self::Store(cause) = self {
            response.extensions_mut().insert(StoreCause(cause));
        }
        response
    }
}
