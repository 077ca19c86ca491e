//! Attributes: the standard ones with their formats, and the custom ones that a tenant's catalog defines.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{formats, json, value};
use crate::catalog::AttributeDefinition;
use crate::error::{ErrorCode, RecordError};
use crate::field::Field;
use crate::normalise::{EmailAddress, PhoneNumber};
use crate::record::{MetadataEntry, MetadataValue, Patch, RawValue};

/// The parts of an address that have a rule. Others are kept as they are.
const ADDRESS_PARTS: [&str; 6] =
    ["formatted", "street_address", "locality", "region", "postal_code", "country"];

/// A standard attribute.
pub(super) fn standard<'a>(
    field: Field,
    value: RawValue<'a>,
    lenient: bool,
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
        AttributeDefinition::Number {} => number(value, lenient)?,
        AttributeDefinition::Integer { minimum, maximum } => {
            integer(value, lenient, minimum.unwrap_or(i64::MIN), maximum.unwrap_or(i64::MAX))?
        }
        text => text_of(value, text)?,
    };
    Ok(Some(checked))
}

fn number(value: Value<'_>, lenient: bool) -> Result<MetadataValue<'_>, RecordError> {
    let digits: Cow<'_, str> = match value {
        Value::Json(json) => json.into(),
        Value::Text(text, _) if lenient => text.trim().to_owned().into(),
        _ => return Err(value::mismatch("a number")),
    };
    match serde_json::from_str::<serde_json::Value>(&digits) {
        Ok(serde_json::Value::Number(_)) => Ok(MetadataValue::Json(digits)),
        _ => Err(value::mismatch("a number")),
    }
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
    match value::integer(raw, lenient, least, most)? {
        Patch::Value(number) => Ok(MetadataValue::Json(Cow::Owned(number.to_string()))),
        _ => Ok(MetadataValue::Null),
    }
}

fn text_of<'a>(value: Value<'a>, definition: &AttributeDefinition) -> Result<MetadataValue<'a>, RecordError> {
    let Value::Text(text, source) = value else { return Err(value::mismatch("a text")) };
    if text.is_empty() {
        return Err(value::empty());
    }
    json::plain_text(&text)?;
    match definition {
        AttributeDefinition::Enum { values } if !values.iter().any(|value| *value == *text) => {
            let message = "the value is none of those that the attribute may have";
            return Err(RecordError::new(ErrorCode::ValueInvalid, message));
        }
        AttributeDefinition::PhoneNumber {} => {
            PhoneNumber::parse(&text)?;
        }
        AttributeDefinition::Email {} => {
            EmailAddress::parse(&text)?;
        }
        AttributeDefinition::Url {} => formats::web_url(&text)?,
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
