//! Errors in the shapes of Django REST Framework: `{"detail": …}`, or a list of sentences a field.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_domain::error::{ErrorCode, RecordError};
use muster_domain::fault::{Mutant, mutant};
use muster_store::{ErrorKind, StoreError};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::error::{StoreCause, TRY_AGAIN};

/// What the framework says of a failure that is no fault of the request.
const SERVER_ERROR: &str = "A server error occurred.";
/// Key for what no single field is at fault for.
const NO_FIELD: &str = "non_field_errors";

/// The errors by field. Never the value, except where Bitcaster's own words quote a choice.
#[derive(Debug, Clone, Default)]
pub(super) struct FieldErrors(BTreeMap<String, Value>);

impl FieldErrors {
    /// Notes a sentence about a field.
    pub(super) fn add(&mut self, field: &str, sentence: impl Into<String>) {
        let sentence = Value::String(sentence.into());
        // Errors that were noted in another shape stay.
        if let Value::Array(sentences) =
            self.0.entry(field.to_owned()).or_insert_with(|| Value::Array(Vec::new()))
        {
            sentences.push(sentence);
        }
    }

    /// Notes what is wrong with a field in another shape than a list of sentences: of a list, or of an
    /// object. In a list, the errors of other items are reported too.
    pub(super) fn set(&mut self, field: &str, told: Value) {
        match self.0.get_mut(field) {
            Some(known) => add_items(known, told),
            None => {
                self.0.insert(field.to_owned(), told);
            }
        }
    }

    pub(super) fn names(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// Notes an error of the engine in the framework's words, unless the field has one already.
    pub(super) fn note(&mut self, error: &RecordError) {
        let field = error.field.as_deref().map_or(NO_FIELD, location);
        if !self.names(field) {
            self.add(field, sentence(field, error));
        }
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Adds what is wrong with the items of a list to what is known of them. Known errors of a part of an item stay.
fn add_items(known: &mut Value, told: Value) {
    let (Value::Array(known), Value::Array(told)) = (known, told) else { return };
    if mutant(Mutant::FirstAddressAlone) {
        return;
    }
    for (at, item) in told.into_iter().enumerate() {
        if at == known.len() {
            known.push(item);
        } else if let (Some(Value::Object(known)), Value::Object(item)) = (known.get_mut(at), item) {
            for (part, sentences) in item {
                known.entry(part).or_insert(sentences);
            }
        }
    }
}

/// The request's field that an error's path begins with; a part of an address is a field of its request.
fn location(path: &str) -> &str {
    match path.split_once('.') {
        Some(("addresses", rest)) => rest.rsplit('.').next().unwrap_or(rest),
        Some((field, _)) => field,
        None => path,
    }
}

pub(super) fn sentence(field: &str, error: &RecordError) -> String {
    match (error.code, field) {
        (ErrorCode::FieldRequired, _) => REQUIRED.into(),
        (ErrorCode::NullNotAllowed, _) => NULL.into(),
        (ErrorCode::EmptyNotAllowed, _) => BLANK.into(),
        (ErrorCode::EmailInvalid, _) => "Enter a valid email address.".into(),
        (ErrorCode::TypeMismatch, "locked") => NO_BOOLEAN.into(),
        (ErrorCode::TypeMismatch, "custom_fields") => "Expected a dictionary of items.".into(),
        (ErrorCode::TypeMismatch, _) => "Not a valid string.".into(),
        (ErrorCode::ValueTooLong, "email" | "first_name" | "last_name") => too_long(NAME_CHARS),
        (ErrorCode::ValueTooLong, "name" | "value") => too_long(255),
        _ => capital(&error.message),
    }
}

pub(super) const REQUIRED: &str = "This field is required.";
pub(super) const NULL: &str = "This field may not be null.";
pub(super) const NO_BOOLEAN: &str = "Must be a valid boolean.";
pub(super) const BLANK: &str = "This field may not be blank.";

/// Most characters of a name; of an e-mail address too, since it is the username.
pub(super) const NAME_CHARS: u16 = 150;

fn too_long(characters: u16) -> String {
    format!("Ensure this field has no more than {characters} characters.")
}

fn capital(message: &str) -> String {
    let mut rest = message.chars();
    match rest.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), rest.as_str()),
        None => String::new(),
    }
}

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
            Self::Fields(errors) => (status, Json(&errors.0)).into_response(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_error_is_told_under_the_requests_field() {
        let mut errors = FieldErrors::default();
        errors.note(&RecordError::new(ErrorCode::EmailInvalid, "x").in_field("email"));
        errors.note(&RecordError::new(ErrorCode::ValueTooLong, "x").in_field("email"));
        errors.note(
            &RecordError::new(ErrorCode::AddressTaken, "the name is taken").in_field("addresses.0.name"),
        );
        errors.note(&RecordError::new(ErrorCode::ControlChar, "no").in_field("custom_fields.a.b"));
        let json = serde_json::to_value(&errors.0).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"email": ["Enter a valid email address."], "name": ["The name is taken."],
                               "custom_fields": ["No."]})
        );
    }
}
