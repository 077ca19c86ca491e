//! Nested objects: no key may be repeated, at any depth.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Whether an object in this JSON value names a key twice. Keys are compared with their escapes undone.
///
/// Recurses once a level: the value's depth must have been checked.
pub(super) fn names_a_key_twice(value: &str) -> Result<bool, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(value);
    match value.as_bytes().first() {
        Some(b'{') => reader.deserialize_map(Container),
        Some(b'[') => reader.deserialize_seq(Container),
        _ => Ok(false),
    }
}

struct Container;

impl<'de> Visitor<'de> for Container {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut keys = Vec::new();
        let mut twice = false;
        while let Some(key) = map.next_key_seed(Key)? {
            keys.push(key);
            twice |= inside::<A::Error>(map.next_value()?)?;
        }
        keys.sort_unstable();
        Ok(twice || !keys.is_sorted_by(|one, next| one < next))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let mut twice = false;
        while let Some(value) = seq.next_element()? {
            twice |= inside::<A::Error>(value)?;
        }
        Ok(twice)
    }
}

fn inside<E: serde::de::Error>(value: &RawValue) -> Result<bool, E> {
    names_a_key_twice(value.get()).map_err(E::custom)
}

/// A key, lent where it has no escape.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_key_is_found_at_any_depth() {
        for (value, twice) in [
            (r#"{"a":1,"b":1}"#, false),
            (r#"{"a":1,"b":2,"a":1}"#, true),
            (r#"{"a":1,"\u0061":1}"#, true),
            (r#"[1e999,[{"x":{"a":1,"a":1}}]]"#, true),
            (r#"[{"a":{"a":1}},{"a":1}]"#, false),
            (r#""text""#, false),
            ("{}", false),
        ] {
            assert_eq!(names_a_key_twice(value).ok(), Some(twice), "{value}");
        }
    }
}
