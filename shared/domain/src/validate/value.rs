//! Rules for single values of plain kinds: texts, numbers, yes-or-no. An error names the rule that was broken, never the value.

use std::borrow::Cow;

use crate::bound::Bound;
use crate::error::{ErrorCode, RecordError};
use crate::normalise::has_forbidden_char;
use crate::record::{Patch, RawValue};

/// Longest name of a person, in characters.
pub(super) const MAX_NAME_CHARS: usize = 256;
/// Longest text or JSON of one field, in bytes.
pub(super) const MAX_TEXT_BYTES: usize = 64 * 1024;

/// The value is not of the type wanted.
pub(super) fn mismatch(wanted: &str) -> RecordError {
    RecordError::new(ErrorCode::TypeMismatch, format!("the value must be {wanted}"))
}

/// The value must not be null.
pub(super) fn null() -> RecordError {
    RecordError::new(ErrorCode::NullNotAllowed, "the value must not be null")
}

/// The value must not be empty.
pub(super) fn empty() -> RecordError {
    RecordError::new(ErrorCode::EmptyNotAllowed, "the value must not be empty")
}

/// The text has more characters than it may have.
pub(super) fn longer_than(chars: usize) -> RecordError {
    RecordError::new(ErrorCode::ValueTooLong, format!("the value is longer than {chars} characters"))
        .bounded_by(Bound::MaxChars(chars))
}

/// A field that takes a text: anything but a text is a type error.
#[inline(always)]
pub(super) fn text<'a, T>(
    value: RawValue<'a>,
    parse: impl FnOnce(&'a str) -> Result<T, RecordError>,
) -> Result<Patch<T>, RecordError> {
    match value {
        RawValue::Null => Ok(Patch::Null),
        RawValue::Text(text) => parse(text).map(Patch::Value),
        RawValue::Json(_) => Err(mismatch("a text")),
    }
}

/// The same for a value inside an object or list, given as its JSON source.
pub(super) fn json_text<'a, T>(
    json: &'a str,
    parse: impl FnOnce(Cow<'a, str>) -> Result<T, RecordError>,
) -> Result<Patch<T>, RecordError> {
    if json == "null" {
        return Ok(Patch::Null);
    }
    match unescape(json) {
        Some(text) => parse(text).map(Patch::Value),
        None => Err(mismatch("a text")),
    }
}

/// The text of a JSON string, borrowed unless it has escapes. `None` if the source is no string.
pub(super) fn unescape(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// A person's name, or another one-line text about a person: not empty, nothing that cannot be seen.
#[inline(always)]
pub(super) fn name(text: &str) -> Result<&str, RecordError> {
    up_to(MAX_NAME_CHARS, text)
}

/// The same of another length.
#[inline(always)]
fn up_to(chars: usize, text: &str) -> Result<&str, RecordError> {
    let text = line(text)?;
    if text.len() > chars && text.chars().count() > chars {
        return Err(longer_than(chars));
    }
    Ok(text)
}

/// A text of one line whose form and length are judged elsewhere: not empty, nothing that cannot be seen.
#[inline(always)]
pub(super) fn line(text: &str) -> Result<&str, RecordError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(empty());
    }
    visible(text)?;
    Ok(text)
}

/// A name that may be owned.
pub(super) fn name_cow(text: Cow<'_, str>) -> Result<Cow<'_, str>, RecordError> {
    up_to_cow(MAX_NAME_CHARS, text)
}

/// The same of another length.
pub(super) fn up_to_cow(chars: usize, text: Cow<'_, str>) -> Result<Cow<'_, str>, RecordError> {
    match text {
        Cow::Borrowed(text) => up_to(chars, text).map(Cow::Borrowed),
        Cow::Owned(text) => up_to(chars, &text).map(|text| Cow::Owned(text.to_owned())),
    }
}

/// Nothing that cannot be seen may stand in the text.
pub(super) fn visible(text: &str) -> Result<(), RecordError> {
    if has_forbidden_char(text) {
        return Err(RecordError::new(
            ErrorCode::ControlChar,
            "the value holds a control or invisible character",
        ));
    }
    Ok(())
}

/// Yes or no. Lenient: also as text, and 0 and 1.
pub(super) fn flag(value: RawValue<'_>, lenient: bool) -> Result<Patch<bool>, RecordError> {
    let text = match value {
        RawValue::Null => return Ok(Patch::Null),
        RawValue::Json("true") => return Ok(Patch::Value(true)),
        RawValue::Json("false") => return Ok(Patch::Value(false)),
        RawValue::Json(json) | RawValue::Text(json) if lenient => json.trim(),
        _ => return Err(mismatch("true or false")),
    };
    if text == "1" || text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("yes") {
        Ok(Patch::Value(true))
    } else if text == "0" || text.eq_ignore_ascii_case("false") || text.eq_ignore_ascii_case("no") {
        Ok(Patch::Value(false))
    } else {
        Err(mismatch("true or false (or 1, 0, yes, no)"))
    }
}

/// A whole number within bounds. Lenient: also as text.
pub(super) fn integer(
    value: RawValue<'_>,
    lenient: bool,
    least: i64,
    most: i64,
) -> Result<Patch<i64>, RecordError> {
    let digits = match value {
        RawValue::Null => return Ok(Patch::Null),
        RawValue::Json(json) => json,
        RawValue::Text(text) if lenient => text.trim(),
        RawValue::Text(_) => return Err(mismatch("a number")),
    };
    let negative = digits.strip_prefix('-');
    let plain = negative.unwrap_or(digits);
    if plain.is_empty() || !plain.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(mismatch("a whole number"));
    }
    match digits.parse::<i64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(Patch::Value(number)),
        _ => Err(RecordError::new(
            ErrorCode::ValueOutOfRange,
            if most == i64::MAX && least == i64::MIN {
                "the number is too large".to_owned()
            } else if most == i64::MAX {
                format!("the number must be {least} or more")
            } else {
                format!("the number must be from {least} to {most}")
            },
        )),
    }
}

/// A text for an agent's field. Lenient: a number is taken as its digits.
pub(super) fn plain<'a>(value: RawValue<'a>, lenient: bool) -> Result<Patch<Cow<'a, str>>, RecordError> {
    let text = match value {
        RawValue::Null => return Ok(Patch::Null),
        RawValue::Text(text) => text,
        RawValue::Json(json) if lenient && json.bytes().all(|byte| byte.is_ascii_digit()) => json,
        RawValue::Json(_) => return Err(mismatch("a text")),
    };
    name(text).map(|text| Patch::Value(Cow::Borrowed(text)))
}

/// A field in a field.
pub(super) fn nested(error: RecordError, outer: &str) -> RecordError {
    let path = match &error.field {
        Some(inner) => format!("{outer}.{inner}"),
        None => outer.to_owned(),
    };
    error.in_field(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_yes_and_no() {
        assert_eq!(flag(RawValue::Json("true"), false), Ok(Patch::Value(true)));
        assert!(flag(RawValue::Text("true"), false).is_err() && flag(RawValue::Json("1"), false).is_err());
        for (text, wanted) in [("1", true), ("0", false), ("TRUE", true), ("no", false), (" yes ", true)] {
            assert_eq!(flag(RawValue::Text(text), true), Ok(Patch::Value(wanted)), "{text}");
        }
        for text in ["2", "", "on", "\u{661}"] {
            assert!(flag(RawValue::Text(text), true).is_err(), "{text}");
        }
    }

    #[test]
    fn whole_numbers_keep_to_their_bounds() {
        let code = |value, lenient| integer(value, lenient, 1, 10).map_err(|error| error.code);
        assert_eq!(code(RawValue::Json("10"), false), Ok(Patch::Value(10)));
        assert_eq!(code(RawValue::Text(" 3 "), true), Ok(Patch::Value(3)));
        assert_eq!(code(RawValue::Json("11"), false), Err(ErrorCode::ValueOutOfRange));
        assert_eq!(code(RawValue::Json("99999999999999999999"), false), Err(ErrorCode::ValueOutOfRange));
        for json in ["1.0", "1e1", "true", "[]"] {
            assert_eq!(code(RawValue::Json(json), false), Err(ErrorCode::TypeMismatch), "{json}");
        }
        assert_eq!(code(RawValue::Text("3"), false), Err(ErrorCode::TypeMismatch));
    }
}
