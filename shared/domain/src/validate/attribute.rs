//! Attributes: the standard ones with their formats, and the custom ones that a tenant's catalog defines.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Number;

use super::{formats, json, value};
use crate::catalog::AttributeDefinition;
use crate::error::{ErrorCode, RecordError};
use crate::fault::{Mutant, mutant};
use crate::field::Field;
use crate::normalise::{EmailAddress, PhoneNumber};
use crate::record::{MetadataEntry, MetadataValue, Patch, RawValue};

/// The parts of an address that have a rule. Others are kept as they are.
const ADDRESS_PARTS: [&str; 6] =
    ["formatted", "street_address", "locality", "region", "postal_code", "country"];

/// A standard attribute. `handmade`: people made the file.
pub(super) fn standard<'a>(
    field: Field,
    value: RawValue<'a>,
    lenient: bool,
    handmade: bool,
) -> Result<Patch<RawValue<'a>>, RecordError> {
    if value == RawValue::Null {
        return Ok(Patch::Null);
    }
    if field == Field::Address {
        return address(json::source(value, '{', "an object", lenient)?);
    }
    value::text(value, |text| {
        let text = match field {
            // Signed links are long.
            Field::Profile | Field::Website | Field::Picture => value::line(text)?,
            _ => value::name(text)?,
        };
        // Programs' addresses are judged as Authgear judges them; in what people typed, blanks and quotes are slips.
        if handmade && matches!(field, Field::Profile | Field::Website | Field::Picture) {
            formats::typed_uri(text)?;
        }
        match field {
            Field::Profile | Field::Website => formats::uri(text)?,
            Field::Picture => formats::picture(text)?,
            Field::Birthdate => formats::birthdate(text)?,
            Field::Zoneinfo => formats::zoneinfo(text)?,
            Field::Locale => formats::locale(text)?,
            _ => {}
        }
        Ok(RawValue::Text(text))
    })
}

/// An empty address is none.
fn address(source: &str) -> Result<Patch<RawValue<'_>>, RecordError> {
    let entries = json::entries(source)?;
    for (key, part) in &entries {
        if !ADDRESS_PARTS.contains(&&**key) {
            continue;
        }
        match value::json_text(part, value::name_cow) {
            Ok(Patch::Value(_)) => {}
            Ok(_) => return Err(value::null().in_field(key.clone())),
            Err(error) => return Err(error.in_field(key.clone())),
        }
    }
    Ok(if entries.is_empty() { Patch::Null } else { Patch::Value(RawValue::Json(source)) })
}

/// Custom attributes by their definitions. Those that are not defined are left out.
pub(super) fn custom<'a>(
    source: &'a str,
    definitions: &BTreeMap<String, AttributeDefinition>,
    lenient: bool,
) -> Result<Vec<MetadataEntry<'a>>, RecordError> {
    let mut attributes = Vec::new();
    for (key, json) in json::entries(source)? {
        if let Some(value) = custom_one(&key, json_value(json), definitions, lenient)
            .map_err(|error| error.in_field(key.clone()))?
        {
            attributes.push(MetadataEntry { key, value });
        }
    }
    Ok(attributes)
}

/// A value inside an object, as a value of its own. A text with escapes keeps its source.
fn json_value(json: &str) -> Value<'_> {
    match json {
        "null" => Value::Null,
        json => match value::unescape(json) {
            Some(text) => Value::Text(text, Some(json)),
            None => Value::Json(json),
        },
    }
}

enum Value<'a> {
    Null,
    /// A text, and its JSON source where it has one.
    Text(Cow<'a, str>, Option<&'a str>),
    Json(&'a str),
}

/// One custom attribute. `None` if it is not defined.
pub(super) fn custom_value<'a>(
    key: &str,
    value: RawValue<'a>,
    definitions: &BTreeMap<String, AttributeDefinition>,
    lenient: bool,
) -> Result<Option<MetadataValue<'a>>, RecordError> {
    let value = match value {
        RawValue::Null => Value::Null,
        RawValue::Text(text) => Value::Text(Cow::Borrowed(text), None),
        RawValue::Json(json) => Value::Json(json),
    };
    custom_one(key, value, definitions, lenient)
}

fn custom_one<'a>(
    key: &str,
    value: Value<'a>,
    definitions: &BTreeMap<String, AttributeDefinition>,
    lenient: bool,
) -> Result<Option<MetadataValue<'a>>, RecordError> {
    let Some(definition) = definitions.get(key) else { return Ok(None) };
    if let Value::Null = value {
        return Ok(Some(MetadataValue::Null));
    }
    let checked = match definition {
        AttributeDefinition::Number { minimum, maximum } => {
            number(value, lenient, minimum.as_ref(), maximum.as_ref())
        }
        AttributeDefinition::Integer { minimum, maximum } => {
            integer(value, lenient, minimum.unwrap_or(i64::MIN), maximum.unwrap_or(i64::MAX))
        }
        text => text_of(value, text),
    };
    checked.map(Some).map_err(|error| match definition.range() {
        Some(range) if error.code == ErrorCode::ValueOutOfRange => error.bounded_by(range),
        _ => error,
    })
}

fn number<'a>(
    value: Value<'a>,
    lenient: bool,
    minimum: Option<&Number>,
    maximum: Option<&Number>,
) -> Result<MetadataValue<'a>, RecordError> {
    let digits: Cow<'_, str> = match value {
        Value::Json(json) => json.into(),
        Value::Text(text, _) if lenient => text.trim().to_owned().into(),
        _ => return Err(value::mismatch("a number")),
    };
    let Ok(serde_json::Value::Number(number)) = serde_json::from_str(&digits) else {
        return Err(value::mismatch("a number"));
    };
    let below = |one: &Number, other: &Number| one.as_f64() < other.as_f64();
    let within = minimum.is_none_or(|least| !below(&number, least))
        && maximum.is_none_or(|most| !below(most, &number));
    if within || mutant(Mutant::NumbersWithoutBounds) {
        return Ok(MetadataValue::Json(digits));
    }
    Err(RecordError::new(
        ErrorCode::ValueOutOfRange,
        match (minimum, maximum) {
            (Some(least), Some(most)) => format!("the number must be from {least} to {most}"),
            (Some(least), None) => format!("the number must be {least} or more"),
            (_, most) => {
                format!("the number must be {} or less", most.map(Number::to_string).unwrap_or_default())
            }
        },
    ))
}

fn integer(
    value: Value<'_>,
    lenient: bool,
    least: i64,
    most: i64,
) -> Result<MetadataValue<'static>, RecordError> {
    let raw = match &value {
        Value::Json(json) => RawValue::Json(json),
        Value::Text(text, _) => RawValue::Text(text),
        Value::Null => RawValue::Null,
    };
    let written = match raw {
        RawValue::Json(text) | RawValue::Text(text) if !mutant(Mutant::IntegersAsWritten) => {
            whole(text.trim())
        }
        _ => None,
    };
    let raw = match (raw, written.as_deref()) {
        (RawValue::Json(_), Some(digits)) => RawValue::Json(digits),
        (RawValue::Text(_), Some(digits)) => RawValue::Text(digits),
        (raw, _) => raw,
    };
    match value::integer(raw, lenient, least, most)? {
        Patch::Value(number) => Ok(MetadataValue::Json(Cow::Owned(number.to_string()))),
        _ => Ok(MetadataValue::Null),
    }
}

/// More digits than a whole number of 64 bits has.
const TOO_MANY_DIGITS: usize = 40;

/// The digits of a whole number however it is written: `3.0`, `1e2`, `12.50e1`. `None` for what is no number or has a part behind the point.
fn whole(number: &str) -> Option<String> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let positive = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (before, behind) = positive.split_once('.').unwrap_or((positive, ""));
    if before.is_empty() || !before.bytes().chain(behind.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{before}{behind}");
    let significant = digits.trim_end_matches('0').len();
    if significant == 0 {
        return Some("0".to_owned());
    }
    // Where the point is in the digits, once the exponent has moved it.
    let point = i64::try_from(before.len()).ok()?.checked_add(exponent)?;
    let point = usize::try_from(point).ok().filter(|point| significant <= *point)?;
    let point = point.min(digits.len() + TOO_MANY_DIGITS);
    let mut whole: String = digits.chars().chain(std::iter::repeat('0')).take(point).collect();
    if positive.len() < mantissa.len() {
        whole.insert(0, '-');
    }
    Some(whole)
}

fn text_of<'a>(value: Value<'a>, definition: &AttributeDefinition) -> Result<MetadataValue<'a>, RecordError> {
    let Value::Text(text, source) = value else { return Err(value::mismatch("a text")) };
    if text.is_empty() {
        return Err(value::empty());
    }
    json::plain_text(&text)?;
    match definition {
        AttributeDefinition::Enum { values } if !values.iter().any(|value| *value == *text) => {
            let message = "the value is not one of those that the attribute may have";
            return Err(RecordError::new(ErrorCode::ValueInvalid, message));
        }
        AttributeDefinition::PhoneNumber {} => {
            PhoneNumber::parse(&text)?;
        }
        AttributeDefinition::Email {} => {
            EmailAddress::parse(&text)?;
        }
        AttributeDefinition::Url {} => formats::uri(&text)?,
        AttributeDefinition::CountryCode {} => formats::country(&text)?,
        _ => {}
    }
    Ok(match (text, source) {
        (Cow::Borrowed(text), _) => MetadataValue::Text(text),
        (Cow::Owned(_), Some(source)) => MetadataValue::Json(Cow::Borrowed(source)),
        (Cow::Owned(text), None) => {
            MetadataValue::Json(Cow::Owned(serde_json::Value::String(text).to_string()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(definition: &AttributeDefinition, json: &str) -> Result<String, ErrorCode> {
        let definitions = BTreeMap::from([("x".to_owned(), definition.clone())]);
        match custom_value("x", RawValue::Json(json), &definitions, false) {
            Ok(Some(MetadataValue::Json(json))) => Ok(json.into_owned()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.code),
        }
    }

    #[test]
    fn whole_numbers_are_integers_however_they_are_written() {
        let integer = AttributeDefinition::Integer { minimum: Some(-500), maximum: Some(500) };
        for (json, read) in [
            ("3", "3"),
            ("3.0", "3"),
            ("1e2", "100"),
            ("1E+2", "100"),
            ("12.50e1", "125"),
            ("-3.00", "-3"),
            ("0.0", "0"),
            ("-0.0", "0"),
            ("3000e-1", "300"),
        ] {
            assert_eq!(check(&integer, json), Ok(read.to_owned()), "{json}");
        }
        for (json, code) in [
            ("3.5", ErrorCode::TypeMismatch),
            ("35e-1", ErrorCode::TypeMismatch),
            ("true", ErrorCode::TypeMismatch),
            ("1e3", ErrorCode::ValueOutOfRange),
            ("-5.01e2", ErrorCode::ValueOutOfRange),
            ("1e30", ErrorCode::ValueOutOfRange),
            ("1e300", ErrorCode::ValueOutOfRange),
        ] {
            assert_eq!(check(&integer, json), Err(code), "{json}");
        }
    }

    #[test]
    fn numbers_keep_to_their_bounds() {
        let bound = |text: &str| Some(serde_json::from_str::<Number>(text).unwrap());
        let number = AttributeDefinition::Number { minimum: bound("0.5"), maximum: bound("10") };
        for json in ["0.5", "1", "10", "1e1", "9.99"] {
            assert_eq!(check(&number, json), Ok(json.to_owned()));
        }
        for json in ["0.49", "10.01", "-1", "1e2"] {
            assert_eq!(check(&number, json), Err(ErrorCode::ValueOutOfRange), "{json}");
        }
        assert_eq!(check(&number, "\"1\""), Err(ErrorCode::TypeMismatch));
        let open = AttributeDefinition::Number { minimum: None, maximum: None };
        assert_eq!(check(&open, "-1e300"), Ok("-1e300".to_owned()));
    }
}
