//! Pages: `page` and `per_page`, in the query or in a JSON body, and the headers that lead on.

use axum::body::{Body, to_bytes};
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use serde_json::Value;
use tokio::time::timeout;

use super::error::{Answer, DoorError};
use crate::api::AppState;
use crate::api::params::thousands;

/// Largest body of a request that is not an upload.
const BODY_BYTES: usize = 64 * 1024;

/// The pairs of a query.
pub(super) fn query(uri: &Uri) -> Answer<Vec<(String, String)>> {
    Query::try_from_uri(uri)
        .map(|Query(pairs)| pairs)
        .map_err(|_| DoorError::bad_request("The query cannot be read"))
}

/// The body as JSON; an empty one is null.
pub(super) async fn json_body(state: &AppState, body: Body) -> Answer<Value> {
    let unreadable = || DoorError::bad_request("The body is too large, too slow or stopped before its end");
    let bytes = timeout(state.0.pace.pause, to_bytes(body, BODY_BYTES))
        .await
        .map_err(|_| unreadable())?
        .map_err(|_| unreadable())?;
    if bytes.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes).map_err(|_| DoorError::bad_request("The body must be JSON"))
}

/// Which page is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    /// From 1.
    pub(super) number: u64,
    /// Entries a page.
    pub(super) size: u64,
}

impl Page {
    /// Reads what is asked for; the query wins over the body.
    pub(super) fn read(query: &[(String, String)], body: &Value, default: u64, most: u64) -> Answer<Self> {
        let number = parameter(query, body, "page")?.unwrap_or(1);
        let size = parameter(query, body, "per_page")?.unwrap_or(default);
        if size > most {
            let most = thousands(most);
            return Err(DoorError::bad_request(format!(
                "Exceeded maximum page size request ({most} is the maximum)"
            )));
        }
        Ok(Self { number, size })
    }

    /// How many entries come before the page.
    pub(super) fn offset(self) -> u64 {
        (self.number - 1).saturating_mul(self.size)
    }

    /// `Total`, `Per-Page`, and where there are more pages `Link` (RFC 8288). `address` is the list's own.
    pub(super) fn headers(self, address: &str, total: u64) -> HeaderMap {
        let last = total.div_ceil(self.size).max(1);
        let mut links = Vec::new();
        let mut link = |relation: &str, number: u64| {
            let size = self.size;
            links.push(format!("<{address}?page={number}&per_page={size}>; rel=\"{relation}\""));
        };
        if self.number > 1 {
            link("first", 1);
            link("prev", (self.number - 1).min(last));
        }
        if self.number < last {
            link("last", last);
            link("next", self.number + 1);
        }
        let mut headers = HeaderMap::new();
        headers.insert("total", total.into());
        headers.insert("per-page", self.size.into());
        if !links.is_empty()
            && let Ok(value) = HeaderValue::from_str(&links.join(", "))
        {
            headers.insert(header::LINK, value);
        }
        headers
    }
}

/// A whole number from 1, as number or as text, from the query or else from the body.
fn parameter(query: &[(String, String)], body: &Value, name: &str) -> Answer<Option<u64>> {
    let given = query.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone());
    let text = given.or_else(|| match body.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    });
    let Some(text) = text else { return Ok(None) };
    match text.trim().parse::<u64>() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(DoorError::bad_request(format!("`{name}` must be a number, 1 or more"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(query: &[(&str, &str)], body: &Value) -> Option<(u64, u64)> {
        let query: Vec<_> = query.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Page::read(&query, body, 20, 1_000).ok().map(|page| (page.number, page.size))
    }

    #[test]
    fn the_query_wins_over_the_body() {
        assert_eq!(read(&[], &Value::Null), Some((1, 20)));
        assert_eq!(read(&[], &json!({"page": 2, "per_page": "5"})), Some((2, 5)));
        assert_eq!(read(&[("page", "3")], &json!({"page": 2, "per_page": 5})), Some((3, 5)));
        for (name, value) in [("page", "0"), ("page", "x"), ("per_page", "-1"), ("per_page", "1001")] {
            assert_eq!(read(&[(name, value)], &Value::Null), None, "{name}={value}");
        }
    }

    #[test]
    fn links_lead_to_the_other_pages() {
        let links = |number, total| {
            let headers = Page { number, size: 2 }.headers("/j", total);
            assert_eq!(headers["total"], total.to_string());
            assert_eq!(headers["per-page"], "2");
            headers.get(header::LINK).map(|link| link.to_str().unwrap().to_owned())
        };
        assert_eq!(links(1, 2), None);
        assert_eq!(
            links(1, 3).as_deref(),
            Some("</j?page=2&per_page=2>; rel=\"last\", </j?page=2&per_page=2>; rel=\"next\"")
        );
        assert_eq!(
            links(9, 3).as_deref(),
            Some("</j?page=1&per_page=2>; rel=\"first\", </j?page=2&per_page=2>; rel=\"prev\"")
        );
    }
}
