//! Preferred usernames: trimmed, NFKC, case-folded; 1 to 150 characters without blanks or control characters.

use std::borrow::Cow;
use std::fmt;

use super::{fold_name, invisible_char};
use crate::bound::Bound;
use crate::error::{ErrorCode, RecordError};

const MAX_CHARS: usize = 150;
const MAX_PLAIN_CHARS: usize = 40;
/// Names that people take for the service itself.
const RESERVED: [&str; 16] = [
    "admin",
    "administrator",
    "anonymous",
    "api",
    "guest",
    "help",
    "info",
    "me",
    "moderator",
    "null",
    "owner",
    "root",
    "security",
    "support",
    "system",
    "webmaster",
];

/// A username in its normal form.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Username<'a>(Cow<'a, str>);

impl<'a> Username<'a> {
    /// Checks and normalises.
    ///
    /// ```
    /// use muster_domain::normalise::Username;
    ///
    /// assert_eq!(Username::parse(" Ada ").unwrap().as_str(), "ada");
    /// assert!(Username::parse("ada lovelace").is_err());
    /// ```
    pub fn parse(text: &'a str) -> Result<Self, RecordError> {
        if let Some(c) = invisible_char(text.trim()) {
            let message =
                format!("the username holds the control or invisible character U+{:04X}", u32::from(c));
            return Err(RecordError::new(ErrorCode::ControlChar, message));
        }
        let folded = fold_name(text);
        let invalid = |rule| Err(RecordError::new(ErrorCode::UsernameInvalid, rule));
        if folded.is_empty() {
            return invalid("a username has at least one character");
        }
        if folded.len() > MAX_CHARS && folded.chars().count() > MAX_CHARS {
            let bound = Bound::MaxChars(MAX_CHARS);
            return invalid("a username has at most 150 characters").map_err(|error| error.bounded_by(bound));
        }
        if folded.contains(char::is_whitespace) {
            return invalid("a username holds no blanks");
        }
        Ok(Self(folded))
    }

    /// Whether the name keeps to what is safe in addresses and cannot be mistaken for another (contracts A.3.2).
    pub fn is_plain(&self) -> bool {
        self.0.len() <= MAX_PLAIN_CHARS
            && self.0.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
            && !RESERVED.contains(&&*self.0)
    }

    /// The length of plain names ([`Self::is_plain`]), where the text is longer.
    pub fn bound_of_plain(text: &str) -> Option<Bound> {
        (text.trim().chars().count() > MAX_PLAIN_CHARS).then_some(Bound::MaxChars(MAX_PLAIN_CHARS))
    }

    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The normal form, borrowed where the text was normal already.
    pub fn into_inner(self) -> Cow<'a, str> {
        self.0
    }
}

/// Prints nothing of the username: it is a user's value.
impl fmt::Debug for Username<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Username(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames_fold_to_one_key() {
        let key = |text| Username::parse(text).ok().map(|name| name.as_str().to_owned());
        assert_eq!(key(" JDoe "), Some("jdoe".to_owned()));
        assert_eq!(key("ﬁn"), Some("fin".to_owned()));
        assert_eq!(key("a b"), None);
        assert_eq!(key("  "), None);
        assert_eq!(key("a\u{200b}b"), None);
        assert_eq!(key(&"x".repeat(151)), None);
    }
}
