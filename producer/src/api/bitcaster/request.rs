//! The body of a request: JSON, a form or a multipart form, made into values by name.
//!
//! A body that begins with `{` is JSON whatever its content type says: Bitcaster's own examples send JSON as a form.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Form, FromRequest, Multipart, Request};
use axum::http::{HeaderMap, HeaderName, Method, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use muster_domain::error::ErrorCode;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::record::RawValue;
use serde_json::value::RawValue as Json;

use super::super::AppState;
use super::super::incoming::{BodyLimits, Watch, bounded, drain};
use super::error::DoorError;
use super::messages::FieldErrors;

/// A value of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    /// A text: a JSON string, or a field of a form.
    Text(String),
    /// Any other JSON value, as its source.
    Json(String),
}

impl Value {
    /// The value as the engine reads it.
    pub(super) fn raw(&self) -> RawValue<'_> {
        match self {
            Self::Null => RawValue::Null,
            Self::Text(text) => RawValue::Text(text),
            Self::Json(json) => RawValue::Json(json),
        }
    }

    /// Reads the source of a JSON value that is known to be one. `None` for a text that is none (a lone surrogate).
    fn of(json: &Json) -> Option<Self> {
        let json = json.get();
        Some(match json.as_bytes().first() {
            Some(b'"') => Self::Text(serde_json::from_str(json).ok()?),
            _ if json == "null" => Self::Null,
            _ => Self::Json(json.to_owned()),
        })
    }
}

/// The values of a request by name. Of a name that is given twice, the last counts.
#[derive(Debug, Default)]
pub(super) struct Document {
    values: BTreeMap<String, Value>,
    /// The values are texts of a form, also where they mean something else.
    pub(super) form: bool,
}

impl Document {
    /// Takes a value out.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.values.remove(name)
    }
}

impl FromRequest<AppState> for Document {
    type Rejection = DoorError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, DoorError> {
        let media_type = header_text(request.headers(), header::CONTENT_TYPE).unwrap_or_default();
        let encoding = header_text(request.headers(), header::CONTENT_ENCODING);
        if let Some(encoding) = encoding.filter(|encoding| encoding != "identity") {
            return Err(DoorError::UnsupportedMediaType(shorten(&encoding)));
        }
        let body = read(request.into_body(), state).await?;
        let start = body.trim_ascii_start();
        if start.is_empty() {
            return Ok(Self::default());
        }
        let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            _ if start.starts_with(b"{") => json(start),
            "application/json" => json(start),
            "" | "application/x-www-form-urlencoded" => form(body).await,
            "multipart/form-data" => multipart(body, media_type).await,
            other => Err(DoorError::UnsupportedMediaType(shorten(other))),
        }
    }
}

fn header_text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

async fn read(body: Body, state: &AppState) -> Result<Bytes, DoorError> {
    let limits = BodyLimits { bytes: Some(state.0.limits.parse.record_bytes as u64), pace: state.0.pace };
    let watch = Watch::default();
    let mut pieces = bounded(body, limits, watch.clone());
    let mut bytes = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else {
            drain(&mut pieces).await;
            return Err(match watch.error().map(|error| error.code) {
                Some(ErrorCode::UploadTooLarge) => DoorError::TooLarge,
                Some(ErrorCode::UploadTimeout) => DoorError::TooSlow,
                _ => DoorError::Unreadable("The request stopped before its end.".into()),
            });
        };
        watch.seen();
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

fn json(body: &[u8]) -> Result<Document, DoorError> {
    // The reader's own words for broken syntax tell a place and never a value.
    let broken = |why: String| DoorError::Unreadable(format!("JSON parse error - {why}"));
    let whole: &Json = serde_json::from_slice(body).map_err(|error| broken(error.to_string()))?;
    let kind = match whole.get().as_bytes().first() {
        Some(b'{') => None,
        Some(b'[') => Some("list"),
        Some(b'"') => Some("str"),
        Some(b't' | b'f') => Some("bool"),
        Some(b'n') => Some("NoneType"),
        _ => Some("int"),
    };
    if let Some(kind) = kind {
        let mut errors = FieldErrors::default();
        let sentence = match kind {
            "NoneType" if !mutant(Mutant::NullIsOfAType) => "No data provided".to_owned(),
            kind => format!("Invalid data. Expected a dictionary, but got {kind}."),
        };
        errors.add("non_field_errors", sentence);
        return Err(DoorError::Fields(errors));
    }
    let entries: BTreeMap<String, Box<Json>> =
        serde_json::from_str(whole.get()).map_err(|_| broken("a name cannot be read".into()))?;
    let values =
        entries.into_iter().map(|(name, json)| Some((name, Value::of(&json)?))).collect::<Option<_>>();
    let values = values.ok_or_else(|| broken("a text cannot be read".into()))?;
    Ok(Document { values, form: false })
}

async fn form(body: Bytes) -> Result<Document, DoorError> {
    let request = rebuilt(body, "application/x-www-form-urlencoded")?;
    let Form(pairs) = Form::<Vec<(String, String)>>::from_request(request, &())
        .await
        .map_err(|_| DoorError::Unreadable("Form parse error".into()))?;
    let values = pairs.into_iter().map(|(name, value)| (name, Value::Text(value))).collect();
    Ok(Document { values, form: true })
}

async fn multipart(body: Bytes, media_type: String) -> Result<Document, DoorError> {
    let broken = || DoorError::Unreadable("Multipart form parse error".into());
    let request = rebuilt(body, &media_type)?;
    let mut parts = Multipart::from_request(request, &()).await.map_err(|_| broken())?;
    let mut values = BTreeMap::new();
    while let Some(part) = parts.next_field().await.map_err(|_| broken())? {
        let name = part.name().unwrap_or_default().to_owned();
        values.insert(name, Value::Text(part.text().await.map_err(|_| broken())?));
    }
    Ok(Document { values, form: true })
}

/// A request of the bytes that were read, for the readers of forms.
fn rebuilt(body: Bytes, media_type: &str) -> Result<Request, DoorError> {
    let mut request = Request::builder()
        .method(Method::POST)
        .header(header::CONTENT_TYPE, media_type)
        .body(Body::from(body))
        .map_err(|_| DoorError::UnsupportedMediaType(shorten(media_type)))?;
    // The bytes are read, and within their own limit.
    DefaultBodyLimit::disable().apply(&mut request);
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_by_name_with_the_last_of_two() {
        let mut document =
            json(br#"{"a": "x\u00e9", "b": null, "c": {"k": 1.10}, "d": 1, "d": [2]} "#).unwrap();
        assert_eq!(document.take("a"), Some(Value::Text("x\u{e9}".into())));
        assert_eq!(document.take("b"), Some(Value::Null));
        assert_eq!(document.take("c"), Some(Value::Json(r#"{"k": 1.10}"#.into())));
        assert_eq!(document.take("d"), Some(Value::Json("[2]".into())));
        assert_eq!(document.take("e"), None);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(matches!(json(b"{\"a\": "), Err(DoorError::Unreadable(_))));
        assert!(matches!(json(br#"{"a": "\ud800"}"#), Err(DoorError::Unreadable(_))));
        assert!(matches!(json(br#"{"a": 1} x"#), Err(DoorError::Unreadable(_))));
        assert!(matches!(json(b"[1]"), Err(DoorError::Fields(_))));
    }
}
