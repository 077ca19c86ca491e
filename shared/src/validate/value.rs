//! Rules for single values. An error names the rule that was broken, never the value.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue as JsonSource;

use crate::error::{ErrorCode, RecordError};
use crate::normalise::has_forbidden_char;
use crate::record::{Attribute, MetadataEntry, Patch, RawValue};

const MAX_NAME_CHARS: usize = 256;
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// The value is not of the type wanted.
pub(super) fn mismatch(wanted: &str) -> RecordError {
    RecordError::new(ErrorCode::TypeMismatch, format!("the value must be {wanted}"))
}

/// A field that takes a text: null removes, anything but a text is a type error.
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

/// A person's name, or another one-line text about a person.
pub(super) fn name(text: &str) -> Result<&str, RecordError> {
    let text = text.trim();
    if has_forbidden_char(text) {
        return Err(RecordError::new(
            ErrorCode::ControlChar,
            "the value holds a control or invisible character",
        ));
    }
    if text.len() > MAX_NAME_CHARS && text.chars().count() > MAX_NAME_CHARS {
        return Err(RecordError::new(ErrorCode::ValueTooLong, "the value is longer than 256 characters"));
    }
    Ok(text)
}

/// A standard attribute.
pub(super) fn attribute<'a>(
    attribute: Attribute,
    value: RawValue<'a>,
) -> Result<Patch<RawValue<'a>>, RecordError> {
    match (attribute, value) {
        (_, RawValue::Null) => Ok(Patch::Null),
        (Attribute::Address, RawValue::Json(json)) if json.starts_with('{') => {
            checked_json(json).map(|json| Patch::Value(RawValue::Json(json)))
        }
        (Attribute::Address, _) => Err(mismatch("an object")),
        (_, RawValue::Text(text)) => name(text).map(|text| Patch::Value(RawValue::Text(text))),
        (_, RawValue::Json(_)) => Err(mismatch("a text")),
    }
}

/// A metadata value: any JSON the database can hold, or a text without NUL.
pub(super) fn metadata(value: RawValue<'_>) -> Result<RawValue<'_>, RecordError> {
    match value {
        RawValue::Null => Ok(value),
        RawValue::Text(text) => plain_text(text).map(RawValue::Text),
        RawValue::Json(json) => checked_json(json).map(RawValue::Json),
    }
}

fn plain_text(text: &str) -> Result<&str, RecordError> {
    if text.contains('\0') {
        return Err(RecordError::new(ErrorCode::ControlChar, "the value holds a NUL character"));
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(RecordError::new(ErrorCode::ValueTooLong, "the value is longer than 64 KiB"));
    }
    Ok(text)
}

/// The source of a JSON value, once it is known that the database can hold it: valid strings, finite numbers, no NUL.
fn checked_json(json: &str) -> Result<&str, RecordError> {
    if json.len() > MAX_TEXT_BYTES {
        return Err(RecordError::new(ErrorCode::ValueTooLong, "the value is longer than 64 KiB"));
    }
    let scalar = matches!(json, "true" | "false");
    if !scalar {
        let value: serde_json::Value = serde_json::from_str(json).map_err(|_| {
            RecordError::new(ErrorCode::JsonInvalidString, "a text or number in the value cannot be stored")
        })?;
        if memchr::memmem::find(json.as_bytes(), b"\\u0000").is_some() && holds_nul(&value) {
            return Err(RecordError::new(ErrorCode::ControlChar, "the value holds a NUL character"));
        }
    }
    Ok(json)
}

fn holds_nul(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(items) => items.iter().any(holds_nul),
        serde_json::Value::Object(map) => {
            map.iter().any(|(key, value)| key.contains('\0') || holds_nul(value))
        }
        _ => false,
    }
}

/// The top-level entries of a metadata object.
pub(super) fn metadata_object(json: &str) -> Result<Vec<MetadataEntry<'_>>, RecordError> {
    if !json.starts_with('{') {
        return Err(mismatch("an object"));
    }
    checked_json(json)?;
    let mut reader = serde_json::Deserializer::from_str(json);
    reader
        .deserialize_map(Entries)
        .map_err(|_| RecordError::new(ErrorCode::JsonInvalid, "the value is not a JSON object"))
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<MetadataEntry<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de JsonSource>()? {
            let value = match value.get() {
                "null" => RawValue::Null,
                json => RawValue::Json(json),
            };
            entries.push(MetadataEntry { key, value });
        }
        Ok(entries)
    }
}

/// A key, borrowed unless it has escapes (serde's own `Cow` always copies).
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}
