//! The signed token of a request: a JWT by RS256 (RFC 7515, 7519), taken apart and verified. Pure.
//!
//! Written on ring rather than on a JWT package: what is needed is one algorithm and the verifying half, ring is in the tree already
//! (TLS), and such packages bring either a second provider of cryptography, which one process must not have, or the `rsa` package with
//! its open advisory. The token never selects the algorithm: a token with any algorithm but RS256 is invalid.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde::Deserialize;

/// How far the clocks of signer and verifier may be apart, in seconds (contracts A.1.2).
const SKEW: f64 = 300.0;
/// Most audiences of one token that are looked at.
const MAX_AUDIENCES: usize = 16;

/// A token that has the right form; nothing it says is known to be true yet.
#[derive(Debug)]
pub(super) struct Token<'t> {
    /// What the signature covers.
    signed: &'t str,
    signature: Vec<u8>,
    kid: String,
    claims: Claims,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: String,
    typ: Option<String>,
    /// Extensions that must be understood: none is.
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Claims {
    aud: Audience,
    exp: f64,
    iat: Option<f64>,
    nbf: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl<'t> Token<'t> {
    /// Takes a token apart. `None` if it is none, or not one of RS256.
    pub(super) fn parse(text: &'t str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        let typed = header.typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"));
        if header.alg != "RS256" || !typed || header.crit.is_some() {
            return None;
        }
        let claims = serde_json::from_slice(&decode(claims)?).ok()?;
        let token = Self { signed, signature: decode(signature)?, kid: header.kid, claims };
        // No key and no tenant is called so, and the database would refuse to look for it.
        let nameable = |name: &str| !name.contains('\0');
        (nameable(token.kid()) && token.audiences().iter().all(|name| nameable(name))).then_some(token)
    }

    /// The id of the key that is said to have signed.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// For whom the token is said to be.
    pub(super) fn audiences(&self) -> &[String] {
        let all = match &self.claims.aud {
            Audience::One(one) => std::slice::from_ref(one),
            Audience::Many(many) => many,
        };
        all.get(..MAX_AUDIENCES).unwrap_or(all)
    }

    /// Whether the token is valid now.
    #[expect(clippy::cast_precision_loss, reason = "a moment in milliseconds is exact up to 2^53")]
    pub(super) fn counts_at(&self, now: DateTime<Utc>) -> bool {
        let now = now.timestamp_millis() as f64 / 1000.0;
        let begun = |moment: Option<f64>| moment.is_none_or(|moment| now >= moment - SKEW);
        now < self.claims.exp + SKEW && begun(self.claims.iat) && begun(self.claims.nbf)
    }

    /// Whether the owner of this key (PKCS #1 in DER) signed it.
    pub(super) fn is_signed_by(&self, public_key: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key)
            .verify(self.signed.as_bytes(), &self.signature)
            .is_ok()
    }
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn only_tokens_of_the_one_algorithm_are_tokens() {
        let claims = r#"{"aud":"acme","exp":1}"#;
        for (header, taken) in [
            (r#"{"alg":"RS256","typ":"JWT","kid":"k"}"#, true),
            (r#"{"alg":"RS256","kid":"k"}"#, true),
            (r#"{"alg":"RS256","typ":"at+jwt","kid":"k"}"#, false),
            (r#"{"alg":"RS256","typ":"JWT"}"#, false),
            (r#"{"alg":"RS256","kid":"k","crit":["b64"]}"#, false),
            (r#"{"alg":"RS256","kid":"k","kid":"l"}"#, false),
            (r#"{"alg":"none","kid":"k"}"#, false),
            (r#"{"alg":"HS256","kid":"k"}"#, false),
            (r#"{"alg":"rs256","kid":"k"}"#, false),
            (r#"{"alg":"RS256","kid":"k\u0000"}"#, false),
            ("[]", false),
        ] {
            assert_eq!(Token::parse(&token(header, claims)).is_some(), taken, "{header}");
        }
        let claims = r#"{"aud":["acme","a\u0000"],"exp":1}"#;
        assert!(Token::parse(&token(r#"{"alg":"RS256","kid":"k"}"#, claims)).is_none());
        for text in ["", ".", "..", "a.b", "a.b.c", "a.b.c.d"] {
            assert!(Token::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn moments_count_with_five_minutes_of_skew() {
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let header = r#"{"alg":"RS256","kid":"k"}"#;
        let text = token(header, r#"{"aud":["a","b"],"iat":10000,"exp":11000.5}"#);
        let parsed = Token::parse(&text).unwrap();
        assert_eq!((parsed.kid(), parsed.audiences()), ("k", &["a".to_owned(), "b".to_owned()][..]));
        for (moment, counts) in [(9699, false), (9700, true), (10500, true), (11300, true), (11301, false)] {
            assert_eq!(parsed.counts_at(at(moment)), counts, "{moment}");
        }
        let text = token(header, r#"{"aud":"a","exp":11000,"nbf":10000}"#);
        assert!(!Token::parse(&text).unwrap().counts_at(at(9000)));
        for claims in [r#"{"aud":"a"}"#, r#"{"exp":1}"#, r#"{"aud":7,"exp":1}"#, r#"{"aud":"a","exp":"1"}"#] {
            assert!(Token::parse(&token(header, claims)).is_none(), "{claims}");
        }
    }
}
