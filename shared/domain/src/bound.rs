//! Bounds: which limit a value broke, as data. An error carries it, so that whoever explains the error need not know the limits.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Number, Value};

/// The limit of a value. What a text may be of (a format, the words of a list) is no bound: such a list may be long, and each failed record
/// would keep it.
///
/// ```
/// use muster_domain::bound::Bound;
///
/// let bound = Bound::Range { minimum: Some(1.into()), maximum: None };
/// assert_eq!(serde_json::to_string(&bound).unwrap(), r#"{"range":{"minimum":1}}"#);
/// assert_eq!(serde_json::to_string(&Bound::MaxChars(150)).unwrap(), r#"{"max_chars":150}"#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// A number from one to another. What is absent does not limit.
    Range {
        /// Least value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        minimum: Option<Number>,
        /// Greatest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        maximum: Option<Number>,
    },
    /// A text of at most so many characters.
    MaxChars(usize),
    /// A text, or the source of a JSON value, of at most so many bytes.
    MaxBytes(usize),
}

/// Reads the bound of a stored error. One that only a newer program knows is none.
pub(crate) fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<Bound>>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}
