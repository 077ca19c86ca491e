//! Parameters of a request: each must be known, given once, and of its type.

use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use muster_domain::catalog::FieldError;
use muster_domain::error::ErrorCode;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::request::has_nul;

pub(super) use muster_domain::outcome::thousands;

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

    /// The value of a parameter, which stays where it is.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
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
        value.parse().map(Some).map_err(|error: T::Err| {
            let told = error.to_string();
            // Errors of our own types say what must be; those of others speak of types that no client knows.
            let ours = told.starts_with("must ") || mutant(Mutant::TypesInErrors);
            invalid(name, if ours { told } else { "has a value that cannot be read".to_owned() })
        })
    }

    /// Takes a page size out, from 1 to `most`.
    pub(super) fn take_limit(&mut self, default: u16, most: u16) -> Result<u16, ApiError> {
        if mutant(Mutant::TypesInErrors) {
            return Ok(self.take("limit")?.unwrap_or(default));
        }
        let Some(text) = self.take::<String>("limit")? else { return Ok(default) };
        match text.parse() {
            Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
            _ => Err(invalid("limit", format!("must be from 1 to {}", thousands(most.into())))),
        }
    }

    /// Takes out after what a page is to begin: `next` of the page before.
    pub(super) fn take_after<T: std::str::FromStr>(&mut self) -> Result<Option<T>, ApiError> {
        let Some(text) = self.take::<String>("after")? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| invalid("after", "must be `next` of the page before"))
    }

    /// Takes out how long an answer may wait for a change: `30s`, `500ms`, or a number of seconds.
    pub(super) fn take_wait(&mut self) -> Result<Option<Duration>, ApiError> {
        let Some(text) = self.take::<String>("wait")? else { return Ok(None) };
        let wrong = || {
            invalid("wait", format!("must be a time of up to {} seconds, such as 30s", MOST_WAIT.as_secs()))
        };
        read_wait(&text).map(Some).ok_or_else(wrong)
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
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| invalid("query", "the query cannot be read"))?;
        match pairs.iter().find(|(name, value)| has_nul(name) || has_nul(value)) {
            Some((name, _)) if has_nul(name) => Err(invalid("query", "must not hold a NUL")),
            Some((name, _)) => Err(invalid(name.chars().take(60).collect::<String>(), "must not hold a NUL")),
            None => Ok(Self(pairs)),
        }
    }
}

/// Longest time that an answer waits for a change.
pub(super) const MOST_WAIT: Duration = Duration::from_secs(60);

/// The time that a text says, where an answer may wait so long.
fn read_wait(text: &str) -> Option<Duration> {
    let (number, milliseconds) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1_000),
        (None, None) => (text, 1_000),
    };
    let number: u64 = number.parse().ok()?;
    Some(Duration::from_millis(number.checked_mul(milliseconds)?)).filter(|wait| *wait <= MOST_WAIT)
}

/// How long a request may wait for a change before it is answered, by its query.
pub(super) fn wait_of(uri: &Uri) -> Duration {
    let pairs =
        Query::<Vec<(String, String)>>::try_from_uri(uri).map(|Query(pairs)| pairs).unwrap_or_default();
    pairs.iter().filter(|(name, _)| name == "wait").find_map(|(_, text)| read_wait(text)).unwrap_or_default()
}

/// Text as a value in the query of an address (RFC 3986; `/` may stand there as it is).
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Adds `&name=value` to a query.
pub(super) fn and(query: &mut String, name: &str, value: &str) {
    query.push_str(&format!("&{name}={}", encoded(value)));
}

/// The header of a page that names the next one.
pub(super) fn next_page(link: Option<&str>) -> HeaderMap {
    let value = link.and_then(|link| HeaderValue::from_str(&format!("<{link}>; rel=\"next\"")).ok());
    value.map(|value| (header::LINK, value)).into_iter().collect()
}

/// The id in an address. A text that is not an id matches nothing.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_query_keeps_its_letters_and_nothing_else() {
        assert_eq!(
            encoded("/console/imports?state=running&q=a b"),
            "/console/imports%3Fstate%3Drunning%26q%3Da%20b"
        );
        assert_eq!(encoded("é"), "%C3%A9");
    }

    #[test]
    fn times_to_wait_are_read_with_their_unit() {
        for (text, wait) in
            [("30s", Some(30_000)), ("500ms", Some(500)), ("7", Some(7_000)), ("60s", Some(60_000))]
        {
            assert_eq!(read_wait(text), wait.map(Duration::from_millis), "{text}");
        }
        for text in ["", "s", "61s", "-1s", "1.5s", "1m", "99999999999999999999"] {
            assert_eq!(read_wait(text), None, "{text}");
        }
        assert_eq!(wait_of(&"/v1/imports/x?a=1&wait=3s".parse().unwrap()), Duration::from_secs(3));
        assert_eq!(wait_of(&"/v1/imports/x?wait=3h".parse().unwrap()), Duration::ZERO);
    }
}
