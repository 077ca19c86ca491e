//! A tenant: the boundary of isolation.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::TenantId;
use crate::normalise::fold_name;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Id.
    pub id: TenantId,
    /// The name that commands and addresses use.
    pub slug: Slug,
    /// The name for people.
    pub name: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// Since when it is disabled; none where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<DateTime<Utc>>,
}

/// The short name of a tenant or an organization: 1 to 63 of `a-z 0-9 . _ -`, the first a letter or a digit.
///
/// Parsing folds case and compatibility forms, so that `ACME` finds `acme`.
///
/// ```
/// use muster_domain::tenant::Slug;
///
/// let slug: Slug = "ACME".parse().unwrap();
/// assert_eq!(slug.as_str(), "acme");
/// assert!("-acme".parse::<Slug>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Slug(String);

/// The text is no [`Slug`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 63 of a-z, 0-9, '.', '_' and '-', and start with a letter or a digit")]
pub struct InvalidSlug;

impl Slug {
    /// The slug of the tenant, and of its organization, that the embedded default starts with.
    pub const DEFAULT: &'static str = "default";

    /// The plain text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = InvalidSlug;

    fn from_str(text: &str) -> Result<Self, InvalidSlug> {
        let folded = fold_name(text);
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let starts_well = folded.bytes().next().is_some_and(plain);
        let goes_on_well = folded.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'));
        if starts_well && goes_on_well && folded.len() <= 63 {
            Ok(Self(folded.into_owned()))
        } else {
            Err(InvalidSlug)
        }
    }
}

impl<'de> Deserialize<'de> for Slug {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_fold_and_keep_to_their_alphabet() {
        assert_eq!(" ACME-1 ".parse::<Slug>().unwrap().as_str(), "acme-1");
        assert_eq!("a".repeat(63).parse::<Slug>().unwrap().as_str().len(), 63);
        for bad in ["", "-a", ".a", "a b", "ä", "a/b", &"a".repeat(64)] {
            assert_eq!(bad.parse::<Slug>(), Err(InvalidSlug), "{bad}");
        }
    }
}
