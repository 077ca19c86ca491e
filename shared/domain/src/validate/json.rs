//! Values that are JSON objects or lists, as their source text.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue as JsonSource;

use super::value::{MAX_TEXT_BYTES, mismatch};
use crate::bound::Bound;
use crate::digits::loses_digits;
use crate::error::{ErrorCode, RecordError};
use crate::fault::{Mutant, mutant};
use crate::parse::{depth, string_fault};
use crate::record::RawValue;

/// Levels of nesting that a value may have: serde_json reads 127, and the object that the value is kept in is one of them.
const DEEPEST: usize = 126;

/// The source of a JSON value, once it is known that the database can hold it: valid strings, finite numbers, no NUL.
pub(super) fn checked(json: &str) -> Result<&str, RecordError> {
    if json.len() > MAX_TEXT_BYTES {
        return Err(too_long());
    }
    storable(json)
}

fn too_long() -> RecordError {
    RecordError::new(ErrorCode::ValueTooLong, "the value is longer than 64 KiB")
        .bounded_by(Bound::MaxBytes(MAX_TEXT_BYTES))
}

fn storable(json: &str) -> Result<&str, RecordError> {
    let scalar = matches!(json, "true" | "false");
    if !scalar {
        let value: serde_json::Value = serde_json::from_str(json).map_err(|_| not_stored(json))?;
        // Each level has two brackets.
        if json.len() > 2 * DEEPEST && depth(json.as_bytes()) > DEEPEST {
            return Err(not_stored(json));
        }
        if loses_digits(json) && !mutant(Mutant::DigitsLost) {
            return Err(RecordError::new(
                ErrorCode::ValueOutOfRange,
                "a number in the value has more digits than can be kept: write it as a text, in quotes",
            ));
        }
        if memchr::memchr(b'\\', json.as_bytes()).is_some() && holds_nul(&value) {
            return Err(RecordError::new(ErrorCode::ControlChar, "the value holds a NUL character"));
        }
    }
    Ok(json)
}

/// The syntax was judged before. The remaining causes are nesting (in a table cell, whose depth was not
/// measured), half a surrogate pair, or a number such as 1e400.
fn not_stored(json: &str) -> RecordError {
    if depth(json.as_bytes()) > DEEPEST {
        RecordError::new(ErrorCode::JsonTooDeep, "arrays and objects in the value are nested too deep")
    } else if string_fault(json.as_bytes()).is_some() {
        RecordError::new(ErrorCode::JsonInvalidString, "a text in the value cannot be stored")
    } else {
        RecordError::new(ErrorCode::ValueOutOfRange, "a number in the value is too large to be stored")
    }
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

/// The source of an object or list. Where `lenient`, a text that holds one will do: cells of a table have no other way.
pub(super) fn source<'a>(
    value: RawValue<'a>,
    open: char,
    wanted: &str,
    lenient: bool,
) -> Result<&'a str, RecordError> {
    let source = match value {
        RawValue::Json(json) | RawValue::Text(json) => json,
        RawValue::Null => "",
    };
    if source.len() > MAX_TEXT_BYTES {
        return Err(too_long());
    }
    long_source(value, open, wanted, lenient)
}

/// The same of a value that is not kept: only the size of the record bounds it.
pub(super) fn long_source<'a>(
    value: RawValue<'a>,
    open: char,
    wanted: &str,
    lenient: bool,
) -> Result<&'a str, RecordError> {
    match value {
        RawValue::Json(json) if json.starts_with(open) => storable(json),
        RawValue::Text(text) if lenient && text.trim_start().starts_with(open) => {
            let text = text.trim();
            serde_json::from_str::<&JsonSource>(text)
                .map_err(|_| RecordError::new(ErrorCode::JsonInvalid, "the text is not JSON"))?;
            storable(text)
        }
        _ => Err(mismatch(wanted)),
    }
}

/// Whether this may be a metadata value: any JSON the database can hold, or a text without NUL.
pub(super) fn check_metadata(value: RawValue<'_>) -> Result<(), RecordError> {
    match value {
        RawValue::Text(text) => plain_text(text),
        RawValue::Json(json) => checked(json).map(drop),
        RawValue::Null => Ok(()),
    }
}

pub(super) fn plain_text(text: &str) -> Result<(), RecordError> {
    // Most texts are short, for which the search for a `char` takes longer.
    if memchr::memchr(0, text.as_bytes()).is_some() {
        return Err(RecordError::new(ErrorCode::ControlChar, "the value holds a NUL character"));
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(too_long());
    }
    Ok(())
}

/// An entry of an object: its key, and its value as JSON source.
pub(crate) type Entry<'a> = (Cow<'a, str>, &'a str);

/// The entries of an object whose source was checked.
pub(crate) fn entries(json: &str) -> Result<Vec<Entry<'_>>, RecordError> {
    let mut reader = serde_json::Deserializer::from_str(json);
    reader
        .deserialize_map(Entries)
        .map_err(|_| RecordError::new(ErrorCode::JsonInvalid, "the value is not a JSON object"))
}

/// The items of a list whose source was checked.
pub(super) fn items(json: &str) -> Result<Vec<&str>, RecordError> {
    let mut reader = serde_json::Deserializer::from_str(json);
    reader
        .deserialize_seq(Items)
        .map_err(|_| RecordError::new(ErrorCode::JsonInvalid, "the value is not a JSON list"))
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<Entry<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de JsonSource>()? {
            entries.push((key, value.get()));
        }
        Ok(entries)
    }
}

struct Items;

impl<'de> Visitor<'de> for Items {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<&'de JsonSource>()? {
            items.push(item.get());
        }
        Ok(items)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_stored_is_told_apart() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        for (json, code) in [
            ("1e400", Some(ErrorCode::ValueOutOfRange)),
            (r#"{"a":[1,-2e999]}"#, Some(ErrorCode::ValueOutOfRange)),
            (r#"["\ud83d"]"#, Some(ErrorCode::JsonInvalidString)),
            (r#"["\u0000"]"#, Some(ErrorCode::ControlChar)),
            (&nested(DEEPEST), None),
            (&nested(DEEPEST + 1), Some(ErrorCode::JsonTooDeep)),
            (&nested(30_000), Some(ErrorCode::JsonTooDeep)),
            ("1e308", None),
            ("1e-400", None),
            ("123456789012345678901234567890", Some(ErrorCode::ValueOutOfRange)),
            (r#"{"a": [12345678901234567890123]}"#, Some(ErrorCode::ValueOutOfRange)),
            (r#"{"a": ["12345678901234567890123", 0.30000000000000004]}"#, None),
        ] {
            assert_eq!(checked(json).err().map(|error| error.code), code);
        }
    }

    /// Or the next change of the user would lose what it is kept beside.
    #[test]
    fn the_deepest_value_can_be_read_in_the_object_that_it_is_kept_in() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let deepest =
            (1..200).map(nested).take_while(|json| checked(json).is_ok()).last().unwrap_or_default();
        let kept = format!(r#"{{"k": {deepest}}}"#);
        assert!(serde_json::from_str::<serde_json::Value>(&kept).is_ok(), "{}", deepest.len());
        assert!(deepest.len() > 200);
    }
}
