//! Credentials: a token, what it may do, and for which tenant.
//!
//! A token has 256 random bits, so it cannot be guessed, and its SHA-256 is safe to store without a slow
//! hash. The token itself is shown once and never stored.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rand::CryptoRng;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fault::{Mutant, mutant};
use crate::id::{TenantId, TokenId};

/// How every token begins, so that people and secret scanners know it when they see it.
const PREFIX: &str = "mst_";
/// Length of 32 bytes in base64url without padding.
const BODY_LENGTH: usize = 43;
/// Length of the checksum that follows them. Tokens made before there was one have none.
const CHECKSUM_LENGTH: usize = 6;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A bearer token: `mst_`, 43 random characters, and 6 that are a checksum of them, by which a secret scanner tells a token from
/// what looks like one, and a mistyped one is told without asking the store. Neither `Debug` nor anything else prints it; [`Token::reveal`] does.
#[derive(Clone)]
pub struct Token(SecretString);

/// The text does not have the form of a token. Says nothing about whether a token is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a token: it must be {PREFIX} and {} characters as they were printed", BODY_LENGTH + CHECKSUM_LENGTH)]
pub struct InvalidToken;

/// SHA-256 of a token: what the store keeps and finds it by.
pub type TokenHash = [u8; 32];

impl Token {
    /// A new token.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        let body = base64url(&bytes);
        Self(SecretString::from(format!("{PREFIX}{body}{}", checksum(&body))))
    }

    /// The text, to be shown to its owner once or sent as a credential.
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }

    /// What the store knows of it.
    pub fn hash(&self) -> TokenHash {
        Sha256::digest(self.reveal().as_bytes()).into()
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        match text.strip_prefix(PREFIX) {
            Some(body) if body.bytes().all(|byte| ALPHABET.contains(&byte)) => {
                let (random, check) = body.split_at_checked(BODY_LENGTH).ok_or(InvalidToken)?;
                let whole = check.is_empty() || check == checksum(random);
                if whole { Ok(Self(SecretString::from(text))) } else { Err(InvalidToken) }
            }
            _ => Err(InvalidToken),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// CRC-32 (IEEE 802.3) of the text, in base64url.
fn checksum(text: &str) -> String {
    let crc = text.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    });
    base64url(&(!crc).to_be_bytes())
}

fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..=group.len() {
            let six = (bits >> (18 - 6 * at)) & 0x3f;
            text.push(char::from(ALPHABET[six as usize]));
        }
    }
    text
}

macro_rules! scopes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// One thing that a token may do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Scope { $($(#[$doc])* #[serde(rename = $text)] $variant,)* }

        impl Scope {
            /// Every scope, in the order of the help texts.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The text in the store, in requests and on the command line.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl FromStr for Scope {
            type Err = UnknownScope;

            fn from_str(text: &str) -> Result<Self, UnknownScope> {
                match text { $($text => Ok(Self::$variant),)* _ => Err(UnknownScope) }
            }
        }
    };
}

scopes! {
    /// Create imports; start, pause, resume, cancel, retry and undo them; inspect files; save and delete import profiles.
    ImportWrite = "import:write",
    /// Read imports, their chunks, records, failed records and problems; events; import profiles.
    ImportRead = "import:read",
    /// Find, list and export users.
    UsersRead = "users:read",
    /// Create, enrol and change single users.
    UsersWrite = "users:write",
    /// Erase users, and every trace of them.
    UsersErase = "users:erase",
    /// Read the catalog.
    CatalogRead = "catalog:read",
    /// Replace the catalog.
    CatalogWrite = "catalog:write",
    /// Read webhooks and their deliveries.
    WebhooksRead = "webhooks:read",
    /// Create, change, try and delete webhooks, give them new secrets, and deliver again.
    WebhooksWrite = "webhooks:write",
    /// The operator of the tenant: everything above, and the audit.
    Ops = "ops",
    /// The operator of the installation: at the console, to do in every tenant what the other scopes allow.
    TenantsAll = "tenants:all",
}

impl Scope {
    /// Whether a credential with this scope may do what `wanted` names. [`Scope::Ops`] opens everything of its own tenant, and no other tenant.
    pub fn opens(self, wanted: Self) -> bool {
        self == wanted
            || (self == Self::Ops && (wanted != Self::TenantsAll || mutant(Mutant::OpsOpensAllTenants)))
    }
}

/// The text names no scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of: {}", Scope::ALL.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", "))]
pub struct UnknownScope;

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Longest name of a token, in characters.
pub const NAME_CHARS: usize = 255;
/// The latest expiry of a token: so long after it is made.
const LONGEST_LIFE: TimeDelta = TimeDelta::days(100 * 365);

/// The name of a token without the blanks around it, or what a name must be.
pub fn checked_name(text: &str) -> Result<&str, &'static str> {
    let name = text.trim();
    if name.is_empty() {
        Err("must not be empty")
    } else if name.chars().count() > NAME_CHARS || name.chars().any(char::is_control) {
        Err("must have 255 characters at most, all of them visible")
    } else {
        Ok(name)
    }
}

/// When a token expires that is made now and is valid for so long, or how long it may be valid.
pub fn expires_at(now: DateTime<Utc>, valid_for: Duration) -> Result<DateTime<Utc>, &'static str> {
    let too_long = "must be 36500d at most";
    let valid_for = TimeDelta::from_std(valid_for).map_err(|_| too_long)?;
    if valid_for > LONGEST_LIFE && !mutant(Mutant::TokensOfAnyLength) {
        return Err(too_long);
    }
    Ok(now + valid_for)
}

/// Whom a known token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The tenant. Everything that is done with the token is done to this tenant alone. In a session of the console in which a token with
    /// [`Scope::TenantsAll`] has opened another tenant, that one.
    pub tenant_id: TenantId,
    /// The token's id, for logs.
    pub token_id: TokenId,
    /// The token's name.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Slug of the only organization that it may work on; none for all of the tenant.
    pub organization: Option<String>,
    /// From when on it opens nothing; none for never.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Credential {
    /// Whether the token may do this.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|held| held.opens(scope))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_token_reads_back_and_does_not_print() {
        let token = Token::generate(&mut StdRng::seed_from_u64(1));
        assert_eq!(token.reveal().len(), 53);
        let same: Token = token.reveal().parse().unwrap();
        assert_eq!(same.hash(), token.hash());
        assert_eq!(format!("{token:?}"), "Token(***)");
    }

    #[test]
    fn base64url_is_that_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64url(bytes.as_bytes()), text);
        }
        assert_eq!(base64url(&[0xfb, 0xff, 0xfe]), "-__-");
        assert_eq!(base64url(&[0; 32]).len(), BODY_LENGTH);
    }

    #[test]
    fn a_token_is_told_from_what_looks_like_one_by_its_checksum() {
        // The check value of CRC-32.
        assert_eq!(checksum("123456789"), base64url(&0xcbf4_3926_u32.to_be_bytes()));
        let token = Token::generate(&mut StdRng::seed_from_u64(2));
        let (old, check) = token.reveal().split_at(47);
        assert!(old.parse::<Token>().is_ok(), "tokens of before have no checksum and count");
        let other = if check.starts_with('A') { "B" } else { "A" };
        for wrong in [
            format!("{old}{other}{}", &check[1..]),
            format!("{old}{}", &check[1..]),
            format!("{old}{check}A"),
        ] {
            assert!(wrong.parse::<Token>().is_err());
        }
    }

    #[test]
    fn what_is_no_token_is_told_without_repeating_it() {
        for text in
            ["", "mst_", "mst_short", &format!("xyz_{}", "A".repeat(43)), &format!("mst_{}", "=".repeat(43))]
        {
            assert_eq!(text.parse::<Token>().unwrap_err(), InvalidToken, "{text}");
        }
    }

    #[test]
    fn an_operator_may_do_everything_in_the_tenant_and_others_what_they_hold() {
        let mut credential = Credential {
            tenant_id: TenantId::new(1),
            token_id: TokenId::new(Uuid::nil()),
            name: "ci".into(),
            scopes: vec![Scope::ImportRead],
            organization: None,
            expires_at: None,
        };
        assert!(credential.allows(Scope::ImportRead));
        assert!(!credential.allows(Scope::ImportWrite));
        credential.scopes = vec![Scope::Ops];
        let others = Scope::ALL.iter().filter(|scope| !credential.allows(**scope));
        assert_eq!(
            others.collect::<Vec<_>>(),
            [&Scope::TenantsAll],
            "other tenants are a scope of their own"
        );
        credential.scopes = vec![Scope::TenantsAll];
        let held = Scope::ALL.iter().filter(|scope| credential.allows(**scope));
        assert_eq!(held.collect::<Vec<_>>(), [&Scope::TenantsAll], "and it opens nothing by itself");
    }

    #[test]
    fn a_name_is_visible_and_not_endless() {
        assert_eq!(checked_name("  nightly run "), Ok("nightly run"));
        assert!(checked_name(&"é".repeat(255)).is_ok());
        for wrong in ["", " \t ", "a\nb", "a\u{7f}b", &"é".repeat(256)] {
            assert!(checked_name(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_expiry_that_no_calendar_has_is_refused() {
        let now = DateTime::from_timestamp(1_764_000_000, 0).unwrap();
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!(expires_at(now, 90 * day), Ok(now + TimeDelta::days(90)));
        assert!(expires_at(now, 36_500 * day).is_ok());
        for long in [36_501 * day, 3_000_000_000 * day / 10, Duration::from_millis(u64::MAX), Duration::MAX] {
            assert!(expires_at(now, long).is_err(), "{long:?}");
        }
    }

    #[test]
    fn scopes_read_as_they_are_written() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(*scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
        }
    }
}
