//! Phone numbers in E.164: `+`, a first digit from 1 to 9, 7 to 15 digits in all, nothing else.
//!
//! The form is always checked. Numbering plans of countries are checked only if the import's options ask for
//! it, since that costs as much as an insert.

use std::borrow::Cow;
use std::fmt;

use crate::error::{ErrorCode, RecordError};
use crate::fault::{Mutant, mutant};

/// A phone number of the shape of E.164.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhoneNumber<'a>(Cow<'a, str>);

/// Whether it is a number with its country code as people write it, with blanks, brackets and hyphens.
pub fn is_phone_written_out(text: &str) -> bool {
    text.trim_start().starts_with('+') && phonenumber::parse(None, text).is_ok_and(|number| number.is_valid())
}

/// A number as people of a country write it, in E.164; `None` where it has not the digits of a number, or could be read in two ways.
///
/// ```
/// use muster_domain::normalise::phone_of_country;
///
/// assert_eq!(phone_of_country("030 123456", "DE").as_deref(), Some("+4930123456"));
/// assert_eq!(phone_of_country("call me", "GB"), None);
/// ```
pub fn phone_of_country(text: &str, country: &str) -> Option<String> {
    let country = country.parse::<phonenumber::country::Id>().ok()?;
    let text = icu_normalizer::ComposingNormalizer::new_nfkc().normalize(text).replace("(0)", "");
    let plain = |c: char| c.is_ascii_digit() || c.is_whitespace() || "+-()./".contains(c);
    // A spreadsheet's `447700900133.0` is no number with a further digit.
    if !text.chars().all(plain) || text.trim().ends_with(".0") {
        return None;
    }
    let number = |text: &str| phonenumber::parse(Some(country), text).ok().filter(is_whole);
    let read =
        |text: &str| number(text).map(|number| number.format().mode(phonenumber::Mode::E164).to_string());
    // A whole number and a `/` with digits after it are two numbers, or one with an extension; an area code before it is none.
    if let Some((before, after)) = text.split_once('/')
        && after.contains(|c: char| c.is_ascii_digit())
        && number(before).is_some_and(|number| number.national().to_string().len() > AREA_DIGITS)
        && !mutant(Mutant::SurplusDigits)
    {
        return None;
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let code = phonenumber::metadata::DATABASE.by_id(country.as_ref())?.country_code().to_string();
    if text.trim_start().starts_with(['+', '0', '(']) || !digits.starts_with(&code) {
        return read(&text);
    }
    // It begins with the country's code, or with an area that has the same digits.
    match (read(&text), read(&format!("+{digits}"))) {
        (Some(national), Some(whole)) if national != whole => None,
        (national, whole) => national.or(whole),
    }
}

/// Most digits of an area code, the zero before it apart.
const AREA_DIGITS: usize = 5;

/// Whether the plan of its country has such numbers, all digits counted. The library asks only that a number begins like one of the plan.
fn is_whole(number: &phonenumber::PhoneNumber) -> bool {
    let national = number.national().to_string();
    let Some(plans) = phonenumber::metadata::DATABASE.by_code(&number.country().code()) else { return false };
    let fits = plans.iter().any(|plan| {
        let general = plan.descriptors().general();
        let ends =
            general.national_number().find(&national).is_some_and(|found| found.end() == national.len());
        general.is_match(&national) && (ends || mutant(Mutant::SurplusDigits))
    });
    // The pattern may find a shorter number where it could have found this one; that of its kind then has its length.
    fits || number.is_valid()
}

/// Whether numbers of the country can be read.
pub fn is_phone_country(country: &str) -> bool {
    country.len() == 2 && country.parse::<phonenumber::country::Id>().is_ok()
}

impl<'a> PhoneNumber<'a> {
    /// Checks the shape; blanks at the ends are dropped.
    ///
    /// ```
    /// use muster_domain::normalise::PhoneNumber;
    ///
    /// assert_eq!(PhoneNumber::parse("+441134960000").unwrap().as_str(), "+441134960000");
    /// assert!(PhoneNumber::parse("0113 496 0000").is_err());
    /// ```
    pub fn parse(text: &'a str) -> Result<Self, RecordError> {
        let text = text.trim();
        let digits = text.strip_prefix('+').map(str::as_bytes).unwrap_or_default();
        let shape = (7..=15).contains(&digits.len())
            && digits.iter().all(u8::is_ascii_digit)
            && digits.first().is_some_and(|digit| *digit != b'0');
        if shape {
            Ok(Self(Cow::Borrowed(text)))
        } else {
            Err(RecordError::new(
                ErrorCode::PhoneInvalid,
                "a phone number is written in E.164: a plus sign and 7 to 15 digits, the first not 0, without blanks",
            ))
        }
    }

    /// The same of a text that may be owned.
    pub fn parse_cow(text: Cow<'a, str>) -> Result<Self, RecordError> {
        match text {
            Cow::Borrowed(text) => Self::parse(text),
            Cow::Owned(text) => PhoneNumber::parse(&text).map(|phone| Self(Cow::Owned(phone.0.into_owned()))),
        }
    }

    /// Whether the numbering plan of the number's country gives out such numbers. Dear: about as much as an insert.
    pub fn is_valid(&self) -> bool {
        phonenumber::parse(None, self.as_str()).is_ok_and(|number| number.is_valid())
    }

    /// The number, `+` first.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number, borrowed.
    pub fn into_inner(self) -> Cow<'a, str> {
        self.0
    }
}

/// Prints nothing of the number: it is a user's value.
impl fmt::Debug for PhoneNumber<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_country_are_read_as_people_write_them() {
        for text in [
            "07700 900123",
            "+44 7700 900123",
            "(07700) 900-123",
            "0044 7700 900123",
            "+44 (0)7700 900123",
            "447700900123",
        ] {
            assert_eq!(phone_of_country(text, "GB").as_deref(), Some("+447700900123"), "{text}");
        }
        assert_eq!(phone_of_country("030 123456", "DE").as_deref(), Some("+4930123456"));
        assert_eq!(phone_of_country("\u{ff0b}447700900132", "GB").as_deref(), Some("+447700900132"));
        assert_eq!(phone_of_country("4.47712E+11", "GB"), None);
        assert_eq!(phone_of_country("447700900133.0", "GB"), None);
        assert_eq!(phone_of_country("(415) 555-0100", "GB"), None);
        assert_eq!(phone_of_country("-", "GB"), None);
        assert_eq!(phone_of_country("030/123456", "DE").as_deref(), Some("+4930123456"));
        assert_eq!(phone_of_country("035242/65432", "DE").as_deref(), Some("+493524265432"));
        assert_eq!(phone_of_country("+49 35242/65432", "DE").as_deref(), Some("+493524265432"));
        assert_eq!(phone_of_country("call me", "GB"), None);
        assert!(is_phone_country("DE") && !is_phone_country("XX") && !is_phone_country("DEU"));
    }

    #[test]
    fn a_number_with_more_digits_than_its_plan_has_is_none() {
        for (text, country) in [
            ("020 7946 0018 / 19", "GB"),
            ("07700 9001234", "GB"),
            ("415-555-0100/01", "US"),
            ("030 4711 / 4712", "DE"),
            ("+49 30 4711/4712", "DE"),
        ] {
            assert_eq!(phone_of_country(text, country), None, "{text}");
        }
    }

    #[test]
    fn only_e164_is_a_phone_number() {
        for good in ["+85298765432", " +14155550100 ", "+1234567", "+123456789012345"] {
            assert!(PhoneNumber::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "+",
            "+0123456789",
            "0014155550100",
            "+1 415 555 0100",
            "+1234567890123456",
            "+123456",
            "+12345a7",
        ] {
            assert!(PhoneNumber::parse(bad).is_err(), "{bad}");
        }
    }
}
