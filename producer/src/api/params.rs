//! Parameters of a request: every one known, none twice, each of its type, or an error that says so.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use muster_shared::catalog::FieldError;
use muster_shared::error::ErrorCode;

use super::AppState;
use super::error::ApiError;

/// The query of a request.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// None at all, for what is asked from within.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// The pairs as they came.
    pub(super) fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }

    /// Takes one parameter out.
    pub(super) fn take<T>(&mut self, name: &'static str) -> Result<Option<T>, ApiError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let Some(at) = self.0.iter().position(|(given, _)| given == name) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(at);
        if self.0.iter().any(|(given, _)| given == name) {
            return Err(invalid(name, "is given twice"));
        }
        value.parse().map(Some).map_err(|error: T::Err| invalid(name, error.to_string()))
    }

    /// Takes a page size out, from 1 to `most`.
    pub(super) fn take_limit(&mut self, default: u16, most: u16) -> Result<u16, ApiError> {
        match self.take("limit")? {
            None => Ok(default),
            Some(limit) if (1..=most).contains(&limit) => Ok(limit),
            Some(_) => Err(invalid("limit", format!("must be from 1 to {most}"))),
        }
    }

    /// Makes sure that nothing is left.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(invalid(name.chars().take(60).collect::<String>(), "there is no such parameter"))
            }
        }
    }
}

impl FromRequestParts<AppState> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(pairs)| Self(pairs))
            .map_err(|_| invalid("query", "the query cannot be read"))
    }
}

/// The id in an address. One that is none is the id of nothing.
#[derive(Debug)]
pub(super) struct Id<T>(pub(super) T);

impl<T: std::str::FromStr> FromRequestParts<AppState> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|_| ApiError::NotFound)?;
        text.parse().map(Self).map_err(|_| ApiError::NotFound)
    }
}

/// A parameter, option or header that is not as it must be.
pub(super) fn invalid(field: impl Into<String>, message: impl Into<String>) -> ApiError {
    ApiError::Invalid(FieldError::new(ErrorCode::InvalidRequest, field, message))
}
