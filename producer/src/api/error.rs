//! Errors of requests: one enum, one mapping to status and code, one shape.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_domain::catalog::FieldError;
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::request::OptionsError;
use muster_domain::token::Scope;
use muster_store::deliveries::MOST_PINGS;
use muster_store::undo::Refusal;
use muster_store::{ErrorKind, StoreError};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::receive::ReceiveError;
use crate::request::RequestError;
use crate::webhook::TargetError;

/// What an upload may be.
pub(super) const MEDIA_TYPES: &str = "the upload must be text/csv, application/json, application/x-ndjson, a workbook (XLSX) or multipart/form-data; \
     with `?format=csv` (json, ndjson) it may be of any media type";

/// Seconds after which an upload that found no place may try again.
pub(super) const RETRY_AFTER: u64 = 5;

/// Seconds after which a request may be sent again that could not be done now.
pub(super) const TRY_AGAIN: u64 = 2;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No credential, or none that is known.
    #[error("a bearer token that is known is needed")]
    Unauthorized,
    /// The credential may not do this.
    #[error("the token lacks the scope `{0}`")]
    Forbidden(Scope),
    /// The credential is for one organization, and this is about the whole tenant.
    #[error("the token is bound to one organization, and this is about all of the tenant")]
    OneOrganization,
    /// The credential is known, and its tenant is disabled.
    #[error("the tenant is disabled: nothing is done for it until it is enabled again")]
    TenantDisabled,
    /// Too many credentials were shown that are none.
    #[error("too many credentials that are not known were shown; try again in {0} seconds")]
    TooManyFailures(u64),
    /// No such thing, or none that this credential may see.
    #[error("there is no such thing")]
    NotFound,
    /// The method is none of the resource's.
    #[error("the resource does not take this method")]
    MethodNotAllowed,
    /// A parameter, option or header is not as it must be.
    #[error("{}", sentence(.0))]
    Invalid(FieldError),
    /// A document is not as it must be, in these places.
    #[error("the document is refused in {} places", .0.len())]
    Refused(Vec<FieldError>),
    /// The body's media type or content encoding is none that is taken.
    #[error("{0}")]
    UnsupportedMediaType(&'static str),
    /// The multipart body is not as it must be.
    #[error("{0}")]
    Multipart(String),
    /// The body is larger than the limit, or could not be read.
    #[error("{}", .0.message)]
    Body(FileError),
    /// The upload came to nothing; its import says the same.
    #[error("{}", .1.message)]
    Upload(ImportId, FileError),
    /// The import is in a state in which this cannot be done.
    #[error("the import is {0}, so this cannot be done")]
    StateConflict(ImportState),
    /// The import has no plan.
    #[error("the import has no plan: it was not asked for one, or was cancelled before it was applied")]
    NoPlan,
    /// The import cannot be undone.
    #[error("{}", why_not(.0))]
    CannotUndo(Refusal),
    /// Nothing was done with a webhook.
    #[error("{0}")]
    Webhook(WebhookRefusal),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for a request with other options or another file")]
    IdempotencyMismatch,
    /// A request with this idempotency key is still running.
    #[error("a request with this idempotency key is still being received")]
    IdempotencyInProgress,
    /// The tenant has as many uploads under way as it may.
    #[error(
        "the tenant has as many uploads under way as it may have; send this one again when another has ended"
    )]
    TooManyUploads,
    /// As many clients follow events as may, of the tenant or in all.
    #[error("as many clients follow events as may at a time; read them page by page, or try again later")]
    TooManyFollowers,
    /// As many requests wait for a change as may, of the tenant or in all.
    #[error("as many requests wait for a change as may at a time; ask without waiting, or try again later")]
    TooManyWaiters,
    /// The tenant has as many imports under way as it may.
    #[error("as many imports are under way as the tenant may have; send this one when another has ended")]
    TooManyImports,
    /// The request took longer than it may; it may still come to its end.
    #[error("the request took too long to be answered; what it was to do may be done all the same")]
    TimedOut,
    /// As many uploads are under way as may be.
    #[error("as many uploads are under way as this server takes at a time; try again")]
    Busy,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The program failed.
    #[error("the request failed; the log has the cause under its id")]
    Internal,
}

/// Why nothing was done with a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookRefusal {
    /// It may not lead there.
    #[error("url {0}")]
    Target(TargetError),
    /// The tenant has so many, as many as it may have.
    #[error("the tenant has {0} webhooks, and no more are allowed")]
    TooMany(u32),
    /// So many pings wait that it makes no sense to add one.
    #[error(
        "{MOST_PINGS} pings of the webhook are still to be made; wait for them, or look at its deliveries"
    )]
    TooManyPings,
    /// Two secrets are valid already.
    #[error(
        "two secrets are valid already; drop one of them first: DELETE at the same address with which=old or which=new"
    )]
    TwoSecrets,
    /// There is one alone.
    #[error("only one secret is valid, and it cannot be dropped; give the webhook a new one first")]
    OneSecret,
}

impl WebhookRefusal {
    fn status(self) -> (StatusCode, ErrorCode) {
        match self {
            Self::Target(TargetError::Busy) => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable),
            Self::Target(_) => (StatusCode::BAD_REQUEST, ErrorCode::WebhookTargetRefused),
            Self::TooMany(_) => (StatusCode::CONFLICT, ErrorCode::TooManyWebhooks),
            Self::TooManyPings => (StatusCode::TOO_MANY_REQUESTS, ErrorCode::RateLimited),
            Self::TwoSecrets | Self::OneSecret => (StatusCode::CONFLICT, ErrorCode::StateConflict),
        }
    }
}

/// What is wrong, with the name of what it is about where the text begins in its middle: `limit must be from 1 to 1,000`.
fn sentence(error: &FieldError) -> String {
    let FieldError { field, message, .. } = error;
    let about = ["must ", "is ", "has "].iter().any(|start| message.starts_with(start));
    if about && !mutant(Mutant::TypesInErrors) { format!("{field} {message}") } else { message.clone() }
}

/// The body of every error.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// Stable code, for programs.
    #[schema(value_type = String)]
    pub code: ErrorCode,
    /// One sentence for people.
    pub message: String,
    /// The option, parameter or column at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Number of the record at fault, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// Line at fault, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Column at fault, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// The import that was refused or aborted, or that undoes the one that was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import_id: Option<Uuid>,
    /// State of the import, where it is the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub state: Option<ImportState>,
    /// Everything that is wrong, where it is more than one thing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub errors: Vec<FieldError>,
    /// The request, as the log knows it.
    pub request_id: String,
}

impl ApiError {
    /// Status and stable code.
    pub fn status(&self) -> (StatusCode, ErrorCode) {
        match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized),
            Self::Forbidden(_) | Self::OneOrganization => (StatusCode::FORBIDDEN, ErrorCode::Forbidden),
            Self::TenantDisabled => (StatusCode::FORBIDDEN, ErrorCode::TenantDisabled),
            Self::TooManyFailures(_) => (StatusCode::TOO_MANY_REQUESTS, ErrorCode::RateLimited),
            Self::NotFound => (StatusCode::NOT_FOUND, ErrorCode::NotFound),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::MethodNotAllowed),
            Self::Invalid(error) => (StatusCode::BAD_REQUEST, error.code),
            Self::Refused(errors) if errors.iter().all(|error| error.code == ErrorCode::StateConflict) => {
                (StatusCode::CONFLICT, ErrorCode::StateConflict)
            }
            Self::Refused(_) => (StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest),
            Self::UnsupportedMediaType(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::UnsupportedMediaType)
            }
            Self::Multipart(_) => (StatusCode::BAD_REQUEST, ErrorCode::MultipartInvalid),
            Self::Body(error) | Self::Upload(_, error) => (file_status(error.code), error.code),
            Self::StateConflict(_) => (StatusCode::CONFLICT, ErrorCode::StateConflict),
            Self::NoPlan => (StatusCode::CONFLICT, ErrorCode::NoPlan),
            Self::CannotUndo(Refusal::Gone) => (StatusCode::GONE, Refusal::Gone.code()),
            Self::CannotUndo(refusal) => (StatusCode::CONFLICT, refusal.code()),
            Self::Webhook(refusal) => refusal.status(),
            Self::IdempotencyMismatch => (StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::IdempotencyMismatch),
            Self::IdempotencyInProgress => (StatusCode::CONFLICT, ErrorCode::IdempotencyInProgress),
            Self::TooManyUploads | Self::TooManyFollowers | Self::TooManyWaiters => {
                (StatusCode::TOO_MANY_REQUESTS, ErrorCode::RateLimited)
            }
            Self::TooManyImports => (StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyImports),
            Self::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::RequestTimeout),
            Self::Busy | Self::Store(StoreError::Newer { .. }) => {
                (StatusCode::SERVICE_UNAVAILABLE, self.unavailable())
            }
            Self::Store(error) => match error.kind() {
                ErrorKind::Transient | ErrorKind::Conflict => {
                    (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable)
                }
                ErrorKind::Data | ErrorKind::Permanent => {
                    (StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Internal)
                }
            },
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Internal),
        }
    }

    /// The body, under the id of its request.
    pub fn body(&self, request_id: &str) -> ErrorBody {
        let (_, code) = self.status();
        let mut error = ErrorDetail {
            code,
            message: match self {
                // No value of a user, and what an operator must know.
                Self::Store(error @ StoreError::Newer { .. }) => error.to_string(),
                Self::Store(_) => Self::store_message(self.status().0).to_owned(),
                other => other.to_string(),
            },
            field: None,
            record: None,
            line: None,
            column: None,
            import_id: None,
            state: None,
            errors: Vec::new(),
            request_id: request_id.to_owned(),
        };
        match self {
            Self::Invalid(wrong) => error.field = Some(wrong.field.clone()),
            Self::Refused(wrong) => error.errors.clone_from(wrong),
            Self::StateConflict(state) | Self::CannotUndo(Refusal::State(state)) => {
                error.state = Some(*state)
            }
            Self::CannotUndo(Refusal::Undone(undo)) => error.import_id = Some(undo.get()),
            Self::Webhook(WebhookRefusal::Target(_)) => error.field = Some("url".into()),
            Self::Body(file) | Self::Upload(_, file) => {
                error.field = file.field.as_deref().map(str::to_owned);
                (error.record, error.line, error.column) = (file.record, file.line, file.column);
            }
            _ => {}
        }
        if let Self::Upload(import, _) = self {
            error.import_id = Some(import.get());
        }
        ErrorBody { error }
    }

    /// Which of the codes for "not now, or not here".
    fn unavailable(&self) -> ErrorCode {
        match self {
            Self::Store(StoreError::Newer { .. }) => ErrorCode::NewerVersion,
            _ => ErrorCode::Unavailable,
        }
    }

    /// After how many seconds the request may be sent again, where that helps.
    pub(super) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::IdempotencyInProgress => Some(1),
            Self::TooManyUploads | Self::TooManyFollowers | Self::TooManyWaiters | Self::TooManyImports => {
                Some(RETRY_AFTER)
            }
            Self::Webhook(WebhookRefusal::TooManyPings) => Some(RETRY_AFTER),
            Self::TooManyFailures(seconds) => Some(*seconds),
            _ => (self.status().0 == StatusCode::SERVICE_UNAVAILABLE).then_some(TRY_AGAIN),
        }
    }

    /// The error of the store as clients see it.
    pub(super) fn store_message(status: StatusCode) -> &'static str {
        if status == StatusCode::SERVICE_UNAVAILABLE {
            "the store cannot be reached now; try again"
        } else {
            "the request failed; the log has the cause under its id"
        }
    }

    /// One of each, for the documentation.
    pub(super) fn samples() -> Vec<Self> {
        let import = ImportId::new(Uuid::from_u128(0x0190_a5f0_7b7c_7000_8000_0000_0000_0001));
        let option =
            FieldError::new(ErrorCode::InvalidRequest, "on_existing", "must be one of: skip, update, enrol");
        let quote = FileError::new(ErrorCode::CsvUnclosedQuote, "a quoted cell is never closed")
            .at_record(7)
            .at_line(8);
        let large =
            FileError::new(ErrorCode::UploadTooLarge, "the upload is larger than the limit of 1000000 bytes");
        let slow = FileError::new(ErrorCode::UploadTimeout, "the upload paused for longer than 60 seconds");
        vec![
            Self::Unauthorized,
            Self::Forbidden(Scope::ImportWrite),
            Self::TenantDisabled,
            Self::TooManyFailures(7),
            Self::NotFound,
            Self::MethodNotAllowed,
            Self::Invalid(option),
            Self::Upload(import, quote),
            Self::Body(large),
            Self::Upload(import, slow),
            Self::UnsupportedMediaType(MEDIA_TYPES),
            Self::Multipart("the form has no part `file`".into()),
            Self::StateConflict(ImportState::Completed),
            Self::NoPlan,
            Self::CannotUndo(Refusal::NotApplied),
            Self::CannotUndo(Refusal::Undone(import)),
            Self::CannotUndo(Refusal::Gone),
            Self::Webhook(WebhookRefusal::Target(TargetError::Private)),
            Self::Webhook(WebhookRefusal::TooMany(20)),
            Self::IdempotencyMismatch,
            Self::IdempotencyInProgress,
            Self::TooManyUploads,
            Self::TooManyImports,
            Self::Upload(
                import,
                FileError::new(
                    ErrorCode::QuotaExceeded,
                    "the tenant's quota of the day has room for 0 more records",
                ),
            ),
            Self::Upload(
                import,
                FileError::new(
                    ErrorCode::InvalidRecords,
                    "1 of 3 records are invalid, and the import was to refuse them",
                ),
            ),
            Self::TimedOut,
            Self::Busy,
            Self::Store(StoreError::PoolTimeout),
            Self::Store(StoreError::Newer { table: "import", column: "options", key: import.to_string() }),
            Self::Internal,
        ]
    }
}

fn why_not(refusal: &Refusal) -> String {
    match refusal {
        Refusal::State(state) => {
            format!("the import to undo is {state}: cancel it first, or wait for its end, then undo it")
        }
        Refusal::NotApplied => "the import changed nothing that could be undone".to_owned(),
        Refusal::Undone(undo) => {
            format!("import {undo} undoes it already; where that one was undone itself, undo the newest undo")
        }
        Refusal::Gone => "what the import changed is not kept any more, so it cannot be undone".to_owned(),
    }
}

fn file_status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::UploadTooLarge | ErrorCode::DecompressedTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::TooManyRecords | ErrorCode::WorkbookTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::UploadTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorCode::InvalidRecords | ErrorCode::MostlyInvalid => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// Why the store failed, on its way to the log with an answer that a front door gave in its own words.
#[derive(Debug, Clone)]
pub(super) struct StoreCause(pub(super) Arc<StoreError>);

/// An error on its way out; the tracing middleware gives it its body, since it knows the request's id.
#[derive(Debug, Clone)]
pub(super) struct Failed(pub(super) Arc<ApiError>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status().0.into_response();
        if matches!(self, Self::Unauthorized) {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(Failed(Arc::new(self)));
        response
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::Invalid(error)
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Options(error) => error.into(),
            RequestError::Store(error) => Self::Store(error),
        }
    }
}

impl From<OptionsError> for ApiError {
    fn from(error: OptionsError) -> Self {
        match error {
            OptionsError::Invalid(error) => Self::Invalid(error),
            OptionsError::FormatUnknown(advice) => Self::UnsupportedMediaType(advice.unwrap_or(MEDIA_TYPES)),
        }
    }
}

impl From<ReceiveError> for ApiError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Refused(import, error) | ReceiveError::Aborted(import, error) => {
                Self::Upload(import, error)
            }
            // A known import is answered before it comes to this.
            ReceiveError::Known(..) | ReceiveError::InProgress => Self::IdempotencyInProgress,
            ReceiveError::Busy => Self::Busy,
            ReceiveError::TooManyImports => Self::TooManyImports,
            ReceiveError::Unread(error) => Self::Body(error),
            ReceiveError::Mismatch => Self::IdempotencyMismatch,
            ReceiveError::Store(error) => Self::Store(error),
        }
    }
}
