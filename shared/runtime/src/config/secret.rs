//! URLs that may hold a password.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

use super::value::Setting;

/// A URL that may hold a password. Whatever shows it shows `***` in the password's place.
///
/// ```
/// use muster_runtime::config::SecretUrl;
///
/// let url = SecretUrl::new("postgres://muster:correct-horse@db/muster");
/// assert!(!url.to_string().contains("correct-horse"));
/// ```
#[derive(Clone)]
pub struct SecretUrl(SecretString);

impl SecretUrl {
    /// Takes a URL without checking it; connecting does that.
    pub fn new(url: impl Into<String>) -> Self {
        Self(SecretString::from(url.into()))
    }

    /// The URL as it is, to connect with.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }

    /// What stands before `://`.
    pub(super) fn scheme(&self) -> &str {
        self.0.expose_secret().split_once("://").map_or("", |(scheme, _)| scheme)
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(self.0.expose_secret()))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl PartialEq for SecretUrl {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Setting for SecretUrl {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("must not be empty".into()) } else { Ok(Self::new(text)) }
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// The URL without its password, in the user part or in a parameter. Errs on the side of hiding: what does not look like a
/// URL is hidden whole, and so is everything up to the last `@` when a password holds what it should have escaped.
fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "***".into();
    };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let user_end = match rest[..authority_end].rfind('@') {
        Some(at) => Some(at),
        None => rest.rfind('@'),
    };
    let (user, rest) = match user_end {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    };
    let user = match user.map(|user| user.split_once(':')) {
        None => String::new(),
        Some(Some((name, _))) => format!("{name}:***@"),
        Some(None) => format!("{}@", user.unwrap_or_default()),
    };
    let (place, parameters) = match rest.split_once('?') {
        Some((place, parameters)) => (place, Some(parameters)),
        None => (rest, None),
    };
    let mut text = format!("{scheme}://{user}{place}");
    for (at, parameter) in parameters.into_iter().flat_map(|parameters| parameters.split('&')).enumerate() {
        text.push(if at == 0 { '?' } else { '&' });
        match parameter.split_once('=') {
            Some((name, _)) if name.to_ascii_lowercase().contains("pass") => {
                text.push_str(name);
                text.push_str("=***");
            }
            _ => text.push_str(parameter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_show() {
        for (url, shown) in [
            (
                "postgres://u:secret@host:5432/db?sslmode=require",
                "postgres://u:***@host:5432/db?sslmode=require",
            ),
            ("postgres://u@host/db", "postgres://u@host/db"),
            (
                "postgres:///db?host=/run&password=secret&user=u",
                "postgres:///db?host=/run&password=***&user=u",
            ),
            ("postgres://host/db?sslpassword=secret", "postgres://host/db?sslpassword=***"),
            ("amqp://u:secret@host/%2f?heartbeat=10", "amqp://u:***@host/%2f?heartbeat=10"),
            ("amqp://u:secr/et?@host/%2f", "amqp://u:***@host/%2f"),
            ("amqp://u:sec@ret@host", "amqp://u:***@host"),
            ("host=h password=secret", "***"),
            ("", "***"),
        ] {
            let secret = SecretUrl::new(url);
            assert_eq!(secret.to_string(), shown);
            assert_eq!(format!("{secret:?}"), shown);
            assert_eq!(serde_json::to_value(&secret).unwrap(), shown);
            assert_eq!(secret.secret().expose_secret(), url);
        }
    }
}
