//! Secrets that an import may bring: password hashes and TOTP secrets. They are checked for form and cost,
//! never computed and never printed.
//!
//! An imported hash names its own cost, and every login pays it. Limits keep an import from overloading the
//! service that checks the passwords (the bounds are those of Ory Kratos, reliability finding 14).

use std::borrow::Cow;
use std::fmt;

use crate::error::{ErrorCode, RecordError};

/// The placeholder of a secret where records are stored or shown.
pub const REDACTED: &str = "REDACTED";

/// Dearest bcrypt cost that is taken.
const MAX_BCRYPT_COST: u32 = 15;
/// Most memory of an argon2 hash, in KiB.
const MAX_ARGON2_MEMORY: u32 = 1024 * 1024;
/// Most passes of an argon2 hash.
const MAX_ARGON2_PASSES: u32 = 10;
/// Most lanes of an argon2 hash.
const MAX_ARGON2_LANES: u32 = 64;

/// How a password was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashKind {
    /// bcrypt: `$2a$`, `$2b$` or `$2y$`.
    Bcrypt,
    /// argon2id, as a PHC string.
    Argon2id,
}

impl HashKind {
    /// The text in uploads.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bcrypt => "bcrypt",
            Self::Argon2id => "argon2id",
        }
    }
}

/// A password hash of a known kind and a bearable cost.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash<'a> {
    text: Cow<'a, str>,
    kind: HashKind,
}

impl<'a> PasswordHash<'a> {
    /// Checks form and cost.
    pub fn parse(text: Cow<'a, str>) -> Result<Self, RecordError> {
        let kind = match text.split('$').nth(1) {
            Some("2a" | "2b" | "2y") => check_bcrypt(&text).map(|()| HashKind::Bcrypt),
            Some("argon2id") => check_argon2id(&text).map(|()| HashKind::Argon2id),
            Some(_) if text.starts_with('$') => Err(RecordError::new(
                ErrorCode::HashUnsupported,
                "the password hash must be bcrypt ($2a$, $2b$, $2y$) or argon2id",
            )),
            _ if text == REDACTED => Err(RecordError::new(
                ErrorCode::HashInvalid,
                "the hash was redacted when the record was given back: put it in again",
            )),
            _ => Err(RecordError::new(
                ErrorCode::HashInvalid,
                "the password must be given as a hash, bcrypt or argon2id; plain passwords are not accepted",
            )),
        }?;
        Ok(Self { text, kind })
    }

    /// The hash, for the service that checks logins.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// How the password was hashed.
    pub fn kind(&self) -> HashKind {
        self.kind
    }
}

/// Prints the kind and nothing of the hash.
impl fmt::Debug for PasswordHash<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash({})", self.kind.as_str())
    }
}

fn invalid(rule: &'static str) -> RecordError {
    RecordError::new(ErrorCode::HashInvalid, rule)
}

fn too_dear(rule: String) -> RecordError {
    RecordError::new(ErrorCode::HashCost, rule)
}

/// `$2b$CC$` and 53 characters: 22 of salt, 31 of hash.
fn check_bcrypt(text: &str) -> Result<(), RecordError> {
    const FORM: &str =
        "a bcrypt hash is $2a$, $2b$ or $2y$, a cost of two digits, $, and 53 characters of ./A-Za-z0-9";
    let mut parts = text.get(4..).unwrap_or_default().splitn(2, '$');
    let (cost, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let in_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/';
    if cost.len() != 2 || rest.len() != 53 || !rest.bytes().all(in_alphabet) {
        return Err(invalid(FORM));
    }
    match cost.parse::<u32>() {
        Ok(4..=MAX_BCRYPT_COST) => Ok(()),
        Ok(16..=31) => {
            Err(too_dear(format!("the cost of a bcrypt hash may be {MAX_BCRYPT_COST} at the most")))
        }
        _ => Err(invalid(FORM)),
    }
}

/// `$argon2id$v=19$m=65536,t=3,p=4$salt$hash`, salt and hash in base64 without padding.
fn check_argon2id(text: &str) -> Result<(), RecordError> {
    const FORM: &str = "an argon2id hash is $argon2id$v=19$m=…,t=…,p=…$salt$hash";
    let parts: Vec<&str> = text.split('$').collect();
    let ["", "argon2id", "v=19", costs, salt, hash] = parts[..] else { return Err(invalid(FORM)) };
    let base64 = |text: &str, least: usize| {
        (least..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
    };
    if !base64(salt, 11) || !base64(hash, 16) {
        return Err(invalid(FORM));
    }
    let costs: Vec<&str> = costs.split(',').collect();
    let [memory, passes, lanes] = costs[..] else { return Err(invalid(FORM)) };
    let number =
        |text: &str, name: &str| text.strip_prefix(name).and_then(|digits| digits.parse::<u32>().ok());
    let (Some(memory), Some(passes), Some(lanes)) =
        (number(memory, "m="), number(passes, "t="), number(lanes, "p="))
    else {
        return Err(invalid(FORM));
    };
    if passes == 0 || lanes == 0 || memory < 8 {
        return Err(invalid(FORM));
    }
    if memory > MAX_ARGON2_MEMORY || passes > MAX_ARGON2_PASSES || lanes > MAX_ARGON2_LANES {
        return Err(too_dear(format!(
            "an argon2id hash may cost m={MAX_ARGON2_MEMORY}, t={MAX_ARGON2_PASSES}, p={MAX_ARGON2_LANES} at the most"
        )));
    }
    Ok(())
}

/// The secret of a TOTP generator: upper-case base32 (RFC 4648) without padding.
#[derive(Clone, PartialEq, Eq)]
pub struct TotpSecret<'a>(Cow<'a, str>);

impl<'a> TotpSecret<'a> {
    /// Checks the form.
    pub fn parse(text: Cow<'a, str>) -> Result<Self, RecordError> {
        let alphabet = text.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'));
        // Lengths that no number of bytes gives: 1, 3 and 6 more than a multiple of 8.
        let whole = !matches!(text.len() % 8, 1 | 3 | 6);
        // The placeholder of a secret is valid base32 too: it must not become a secret that everybody knows.
        if text == REDACTED {
            return Err(RecordError::new(
                ErrorCode::TotpInvalid,
                "the secret was redacted when the record was given back: put it in again",
            ));
        }
        if text.is_empty() || text.len() > 256 || !alphabet || !whole {
            return Err(RecordError::new(
                ErrorCode::TotpInvalid,
                "a TOTP secret is upper-case base32 (A-Z, 2-7) without padding",
            ));
        }
        Ok(Self(text))
    }

    /// The secret, for the service that checks logins.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Prints nothing of the secret.
impl fmt::Debug for TotpSecret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT_AND_HASH: &str = "N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

    fn code(text: &str) -> Option<ErrorCode> {
        PasswordHash::parse(text.into()).err().map(|error| error.code)
    }

    #[test]
    fn hashes_are_taken_by_form_and_cost() {
        for kind in ["2a", "2b", "2y"] {
            assert_eq!(code(&format!("${kind}$10${SALT_AND_HASH}")), None);
        }
        let argon = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21l$MTIzNDU2Nzg5MDEyMzQ1Ng";
        assert_eq!(code(argon), None);
        let cases = [
            ("", ErrorCode::HashInvalid),
            ("hunter2", ErrorCode::HashInvalid),
            ("5f4dcc3b5aa765d61d8327deb882cf99", ErrorCode::HashInvalid),
            ("$1$salt$hash", ErrorCode::HashUnsupported),
            ("$2z$10$x", ErrorCode::HashUnsupported),
            ("$pbkdf2-sha256$i=1$a$b", ErrorCode::HashUnsupported),
            ("$2b$10$short", ErrorCode::HashInvalid),
            ("$2b$03$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", ErrorCode::HashInvalid),
            ("$2b$16$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", ErrorCode::HashCost),
            ("$2b$31$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", ErrorCode::HashCost),
            ("$2b$é$", ErrorCode::HashInvalid),
            ("$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21l", ErrorCode::HashInvalid),
            ("$argon2id$v=19$m=4194304,t=3,p=4$c29tZXNhbHRzb21l$MTIzNDU2Nzg5MDEyMzQ1Ng", ErrorCode::HashCost),
            ("$argon2id$v=19$m=64,t=11,p=4$c29tZXNhbHRzb21l$MTIzNDU2Nzg5MDEyMzQ1Ng", ErrorCode::HashCost),
        ];
        for (text, wanted) in cases {
            assert_eq!(code(text), Some(wanted), "{text}");
        }
    }

    #[test]
    fn totp_secrets_are_upper_case_base32() {
        let redacted = TotpSecret::parse(REDACTED.into()).unwrap_err();
        assert!(redacted.message.contains("put it in again"), "{redacted:?}");
        assert!(TotpSecret::parse("JBSWY3DPEHPK3PXP".into()).is_ok());
        for bad in ["", "secret", "JBSWY3DPEHPK3P", "JBSWY3DP=", "JBSWY3D1"] {
            assert!(TotpSecret::parse(bad.into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let hash = PasswordHash::parse(format!("$2a$10${SALT_AND_HASH}").into()).unwrap();
        assert_eq!(format!("{hash:?}"), "PasswordHash(bcrypt)");
        assert_eq!(format!("{:?}", TotpSecret::parse("JBSWY3DPEHPK3PXP".into()).unwrap()), "TotpSecret(…)");
    }
}
