//! A message: a few ids as headers, and an opaque body. Pure; the backends translate [`Headers::encode`] into their
//! own tables and hand [`Headers::decode`] a way to look values up again.
//!
//! Headers are readable by everyone who operates the broker, so they carry ids only, never a user's value.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use uuid::Uuid;

/// The longest body in bytes: the largest message that a RabbitMQ 4 broker takes by default.
pub const MAX_BODY: usize = 16 * 1024 * 1024;

/// One message: what a chunk is, and its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Ids, attempt and trace context.
    pub headers: Headers,
    /// The chunk's records, opaque to the queue; at most [`MAX_BODY`] bytes.
    pub body: Bytes,
}

/// The headers of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// Version of the body's format.
    pub version: u16,
    /// Tenant of the import; `None` where the import belongs to none.
    pub tenant: Option<i32>,
    /// The import.
    pub import_id: Uuid,
    /// The chunk.
    pub chunk_id: i64,
    /// The attempt that this message begins, from 1.
    pub attempt: u32,
    /// Trace context as W3C's `traceparent` spells it.
    pub traceparent: Option<String>,
}

/// A header's value, as every backend can carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderValue {
    /// An integer.
    Integer(i64),
    /// A text.
    Text(String),
}

/// Why the headers of a delivery are not those of a message. Names the header, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A header that must be there is not.
    #[error("header {0} is missing")]
    Missing(&'static str),
    /// A header has a value that it cannot have.
    #[error("header {0} has a value that it cannot have")]
    Invalid(&'static str),
}

const VERSION: &str = "muster-version";
const TENANT: &str = "muster-tenant";
const IMPORT: &str = "muster-import";
const CHUNK: &str = "muster-chunk";
const ATTEMPT: &str = "muster-attempt";
// The name that tracing tools look for.
const TRACEPARENT: &str = "traceparent";
// 55 characters in version 00; more is no trace context and has no place in a header.
const TRACEPARENT_LONGEST: usize = 64;

impl Headers {
    /// Name and value of each header that is set.
    pub fn encode(&self) -> Vec<(&'static str, HeaderValue)> {
        let mut pairs = vec![
            (VERSION, HeaderValue::Integer(self.version.into())),
            (IMPORT, HeaderValue::Text(self.import_id.to_string())),
            (CHUNK, HeaderValue::Integer(self.chunk_id)),
            (ATTEMPT, HeaderValue::Integer(self.attempt.into())),
        ];
        pairs.extend(self.tenant.map(|tenant| (TENANT, HeaderValue::Integer(tenant.into()))));
        pairs.extend(self.traceparent.clone().map(|context| (TRACEPARENT, HeaderValue::Text(context))));
        pairs
    }

    /// Reads headers by name. Headers with other names are ignored: brokers add their own.
    ///
    /// A trace context that makes no sense is dropped, since it may never cost a message.
    ///
    /// ```
    /// use muster_queue::{HeaderValue, Headers};
    ///
    /// let headers = Headers {
    ///     version: 1,
    ///     tenant: Some(7),
    ///     import_id: "0198d3a0-0000-7000-8000-000000000000".parse().unwrap(),
    ///     chunk_id: 4_711,
    ///     attempt: 1,
    ///     traceparent: None,
    /// };
    /// let sent = headers.encode();
    /// let look_up = |name: &str| sent.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    /// assert_eq!(Headers::decode(look_up), Ok(headers.clone()));
    /// assert!(matches!(look_up("muster-chunk"), Some(HeaderValue::Integer(4_711))));
    /// ```
    pub fn decode(look_up: impl Fn(&str) -> Option<HeaderValue>) -> Result<Self, DecodeError> {
        let integer = |name| match look_up(name) {
            Some(HeaderValue::Integer(value)) => Ok(Some(value)),
            Some(HeaderValue::Text(_)) => Err(DecodeError::Invalid(name)),
            None => Ok(None),
        };
        let import = match look_up(IMPORT) {
            Some(HeaderValue::Text(text)) => {
                Uuid::from_str(&text).map_err(|_| DecodeError::Invalid(IMPORT))?
            }
            Some(HeaderValue::Integer(_)) => return Err(DecodeError::Invalid(IMPORT)),
            None => return Err(DecodeError::Missing(IMPORT)),
        };
        Ok(Self {
            version: narrow(VERSION, integer(VERSION)?)?.ok_or(DecodeError::Missing(VERSION))?,
            tenant: narrow(TENANT, integer(TENANT)?)?,
            import_id: import,
            chunk_id: integer(CHUNK)?.ok_or(DecodeError::Missing(CHUNK))?,
            attempt: narrow(ATTEMPT, integer(ATTEMPT)?)?.ok_or(DecodeError::Missing(ATTEMPT))?,
            traceparent: match look_up(TRACEPARENT) {
                Some(HeaderValue::Text(text)) if text.len() <= TRACEPARENT_LONGEST => Some(text),
                _ => None,
            },
        })
    }
}

/// The short name that operators see in the broker: ids only.
impl fmt::Display for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.import_id, self.chunk_id, self.attempt)
    }
}

fn narrow<T: TryFrom<i64>>(name: &'static str, value: Option<i64>) -> Result<Option<T>, DecodeError> {
    value.map(T::try_from).transpose().map_err(|_| DecodeError::Invalid(name))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn headers() -> Headers {
        Headers {
            version: 1,
            tenant: Some(7),
            import_id: Uuid::from_u128(0x0123_4567_89ab_cdef),
            chunk_id: i64::MAX,
            attempt: u32::MAX,
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        }
    }

    fn table(headers: &Headers) -> HashMap<&'static str, HeaderValue> {
        headers.encode().into_iter().collect()
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let full = headers();
        let bare = Headers { tenant: None, traceparent: None, ..headers() };
        for headers in [full, bare] {
            let table = table(&headers);
            assert_eq!(Headers::decode(|name| table.get(name).cloned()), Ok(headers));
        }
    }

    #[test]
    fn a_missing_header_is_named() {
        for name in [VERSION, IMPORT, CHUNK, ATTEMPT] {
            let mut table = table(&headers());
            table.remove(name);
            assert_eq!(Headers::decode(|name| table.get(name).cloned()), Err(DecodeError::Missing(name)));
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_or_size_is_named() {
        let wrong = [
            (VERSION, HeaderValue::Integer(65_536)),
            (TENANT, HeaderValue::Integer(i64::MAX)),
            (IMPORT, HeaderValue::Text("not a uuid".to_owned())),
            (IMPORT, HeaderValue::Integer(1)),
            (CHUNK, HeaderValue::Text("1".to_owned())),
            (ATTEMPT, HeaderValue::Integer(-1)),
        ];
        for (name, value) in wrong {
            let mut table = table(&headers());
            table.insert(name, value);
            assert_eq!(Headers::decode(|name| table.get(name).cloned()), Err(DecodeError::Invalid(name)));
        }
    }

    #[test]
    fn a_trace_context_that_makes_no_sense_is_dropped() {
        for value in [HeaderValue::Integer(1), HeaderValue::Text("x".repeat(65))] {
            let mut table = table(&headers());
            table.insert(TRACEPARENT, value);
            let decoded = Headers::decode(|name| table.get(name).cloned());
            assert_eq!(decoded, Ok(Headers { traceparent: None, ..headers() }));
        }
    }
}
