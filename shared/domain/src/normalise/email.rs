//! E-mail addresses: one written rule, one key.
//!
//! Rule: `local@domain`; at most 254 bytes, local part at most 64; local part of letters, digits (of any script) and
//! ``.!#$%&'*+/=?^_`{|}~-`` without a dot at an end or two in a row; domain of at least two labels, valid by IDNA. No
//! display name, comment, quoted local part or address literal. Plus tags and dots have no special meaning (RFC 5321:
//! the local part is opaque).

use std::borrow::Cow;
use std::fmt;

use super::{fold_name, invisible_char};
use crate::error::{ErrorCode, RecordError};

const MAX_BYTES: usize = 254;
const MAX_LOCAL_BYTES: usize = 64;

/// A valid e-mail address in its normal form: trimmed, local part NFKC and case-folded, domain mapped by IDNA.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EmailAddress<'a>(Cow<'a, str>);

impl<'a> EmailAddress<'a> {
    /// Checks and normalises. The error names the rule broken, never the address.
    ///
    /// ```
    /// use muster_domain::normalise::EmailAddress;
    ///
    /// let email = EmailAddress::parse(" Ada@EXAMPLE.com ").unwrap();
    /// assert_eq!(email.as_str(), "ada@example.com");
    /// assert!(EmailAddress::parse("mario.rossi@").is_err());
    /// ```
    pub fn parse(text: &'a str) -> Result<Self, RecordError> {
        let text = text.trim();
        if text.is_ascii() { Self::parse_ascii(text) } else { Self::parse_unicode(text) }
    }

    fn parse_ascii(text: &'a str) -> Result<Self, RecordError> {
        let (local, domain) = split(text)?;
        check_local(local)?;
        // Labels that start with xn-- carry Unicode: they go through IDNA so that both spellings meet in one key.
        if domain.len() >= 4 && has_punycode_label(domain) {
            return Self::parse_unicode(text);
        }
        check_ascii_domain(domain)?;
        Ok(Self(if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        }))
    }

    fn parse_unicode(text: &str) -> Result<Self, RecordError> {
        if let Some(c) = invisible_char(text) {
            let message =
                format!("the e-mail address holds the control or invisible character U+{:04X}", u32::from(c));
            return Err(RecordError::new(ErrorCode::ControlChar, message));
        }
        let (local, domain) = split(text)?;
        let local = fold_name(local);
        check_local(&local)?;
        let ascii = idna::domain_to_ascii_strict(domain)
            .map_err(|_| invalid("the domain is not a valid internationalised domain name"))?;
        check_ascii_domain(&ascii)?;
        let (shown, valid) = idna::domain_to_unicode(&ascii);
        valid.map_err(|_| invalid("the domain is not a valid internationalised domain name"))?;
        let normal = format!("{local}@{shown}");
        // Folding can lengthen; the limit holds for what is stored.
        if normal.len() > MAX_BYTES {
            return Err(invalid("the address is longer than 254 bytes"));
        }
        Ok(Self(Cow::Owned(normal)))
    }

    /// The same of a text that may be owned.
    pub fn parse_cow(text: Cow<'a, str>) -> Result<Self, RecordError> {
        match text {
            Cow::Borrowed(text) => Self::parse(text),
            Cow::Owned(text) => {
                EmailAddress::parse(&text).map(|email| Self(Cow::Owned(email.0.into_owned())))
            }
        }
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

/// Prints nothing of the address: it is a user's value.
impl fmt::Debug for EmailAddress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(…)")
    }
}

fn invalid(rule: &'static str) -> RecordError {
    RecordError::new(ErrorCode::EmailInvalid, rule)
}

fn split(text: &str) -> Result<(&str, &str), RecordError> {
    if text.len() > MAX_BYTES {
        return Err(invalid("the address is longer than 254 bytes"));
    }
    let at = memchr::memrchr(b'@', text.as_bytes()).ok_or_else(|| invalid("an e-mail address needs an @"))?;
    let (local, domain) = (&text[..at], &text[at + 1..]);
    if local.is_empty() {
        return Err(invalid("there is nothing before the @"));
    }
    if domain.is_empty() {
        return Err(invalid("there is nothing after the @"));
    }
    Ok((local, domain))
}

fn check_local(local: &str) -> Result<(), RecordError> {
    if local.len() > MAX_LOCAL_BYTES {
        return Err(invalid("the part before the @ is longer than 64 bytes"));
    }
    let mut after_dot = true;
    for c in local.chars() {
        if c == '.' {
            if after_dot {
                return Err(invalid("there is a leading dot, or two dots in a row, before the @"));
            }
            after_dot = true;
            continue;
        }
        after_dot = false;
        if !(c.is_alphanumeric() || "!#$%&'*+/=?^_`{|}~-".contains(c) || (!c.is_ascii() && is_mark(c))) {
            return Err(invalid("the part before the @ contains a character that is not allowed"));
        }
    }
    if after_dot { Err(invalid("there is a dot right before the @")) } else { Ok(()) }
}

/// Combining marks that NFKC leaves (vowel signs of Indic scripts, for one) belong to the letters they follow.
fn is_mark(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !c.is_alphanumeric() && unicode_mark(c)
}

fn unicode_mark(c: char) -> bool {
    matches!(c as u32,
        0x0300..=0x036F | 0x0483..=0x0489 | 0x0591..=0x05C7 | 0x0610..=0x061A | 0x064B..=0x065F | 0x0900..=0x0DFF
        | 0x0E31..=0x0E4E | 0x0EB1..=0x0ECE | 0x0F18..=0x0FC6 | 0x102B..=0x109D | 0x135D..=0x135F | 0x1712..=0x1734
        | 0x17B4..=0x17D3 | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20F0 | 0xFE20..=0xFE2F)
}

fn has_punycode_label(domain: &str) -> bool {
    domain.split('.').any(|label| label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--")))
}

fn check_ascii_domain(domain: &str) -> Result<(), RecordError> {
    let mut labels = 0;
    for label in domain.split('.') {
        labels += 1;
        let bytes = label.as_bytes();
        if bytes.is_empty() || bytes.len() > 63 {
            return Err(invalid("a label of the domain is empty or longer than 63 bytes"));
        }
        if bytes[0] == b'-' || bytes[bytes.len() - 1] == b'-' {
            return Err(invalid("a label of the domain starts or ends with a hyphen"));
        }
        if !bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
            return Err(invalid("the domain contains a character that is not allowed"));
        }
        if labels > 1 && bytes.iter().all(u8::is_ascii_digit) && domain.ends_with(label) {
            return Err(invalid("the domain's last label is a number"));
        }
    }
    if labels < 2 { Err(invalid("the domain needs at least two labels")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> Option<String> {
        EmailAddress::parse(text).ok().map(|email| email.as_str().to_owned())
    }

    #[test]
    fn addresses_that_mean_the_same_mailbox_have_one_key() {
        assert_eq!(key(" Mario.Rossi@Example.COM "), key("mario.rossi@example.com"));
        assert_eq!(key("u@M\u{fc}nchen.de"), key("u@xn--mnchen-3ya.de"));
        assert_eq!(key("STRA\u{df}E@example.com"), key("strasse@example.com"));
        assert_ne!(key("a+b@example.com"), key("a@example.com"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let local65 = format!("{}@example.com", "a".repeat(65));
        let long = format!("a@{}.com", "b.".repeat(126));
        for text in [
            "",
            "@",
            "a",
            "a@",
            "@b.co",
            "a@b",
            "a b@c.de",
            ".a@b.co",
            "a.@b.co",
            "a..b@c.de",
            "a@b..co",
            "a@-b.co",
            "a@b-.co",
            "Foo <a@b.co>",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "\"a b\"@c.de",
            "a@b.co.",
            "a@b@c.de",
            "a(x)@b.co",
            "a\u{0}b@c.de",
            "a\u{202e}b@c.de",
            local65.as_str(),
            long.as_str(),
        ] {
            assert_eq!(key(text), None, "{text:?}");
        }
    }

    #[test]
    fn addresses_of_any_script_are_taken() {
        for text in
            ["x@y.co", "o'neil@example.com", "\u{7528}\u{6237}@\u{4f8b}\u{5b50}.com", "jos\u{e9}@example.com"]
        {
            assert!(key(text).is_some(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in "[a-zA-Z0-9.\\-\u{df}\u{e9}\u{130}\u{3a3}]{1,12}@[a-zA-Z\u{fc}\u{df}-]{1,9}\\.(com|DE|xn--p1ai)") {
            if let Some(once) = key(&text) {
                prop_assert_eq!(key(&once), Some(once));
            }
        }
    }
}
