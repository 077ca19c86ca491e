//! The body of a request: its outer shape is checked here, its records by the engine. Pure.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use muster_domain::options::IdentifierField;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::causes::{Cause, step};
use super::error::DoorError;

/// The identifiers in the order in which errors list them.
const IDENTIFIERS: [IdentifierField; 3] =
    [IdentifierField::PreferredUsername, IdentifierField::Email, IdentifierField::PhoneNumber];

/// A request whose outer shape is right.
#[derive(Debug)]
pub(super) struct UserImportRequest {
    /// Users that exist are updated, not skipped.
    pub(super) upsert: bool,
    /// What identifies a user.
    pub(super) identifier: IdentifierField,
    /// The list of records, as in the body.
    pub(super) records: Bytes,
    /// How many there are.
    pub(super) count: u64,
}

/// Whether a media type is `application/json`, without parameters or with the one charset there is.
pub(super) fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let mut parameters = parts.filter(|part| !part.is_empty());
    let charset = |parameter: &str| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("charset")
                && value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
    };
    essence.eq_ignore_ascii_case("application/json")
        && parameters.next().is_none_or(charset)
        && parameters.next().is_none()
}

/// Reads a body.
pub(super) fn decode(body: &Bytes) -> Result<UserImportRequest, DoorError> {
    let root: &RawValue = serde_json::from_slice(body).map_err(|error| invalid_json(&error, body))?;
    if !root.get().starts_with('{') {
        return Err(DoorError::Invalid(vec![wrong_type("", root, &["object"])]));
    }
    let Outer(fields) = serde_json::from_str(root.get()).map_err(|error| invalid_json(&error, body))?;
    let mut causes = Vec::new();
    causes.extend(Cause::required("", fields.keys().map(String::as_str), &["identifier", "records"]));
    let (mut upsert, mut identifier, mut records) = (false, None, None);
    for (name, value) in &fields {
        let at = step("", name);
        match name.as_str() {
            "upsert" => upsert = flag(&at, value, &mut causes),
            "identifier" => identifier = identifier_of(&at, value, &mut causes),
            "records" => records = list(&at, value, &mut causes),
            _ => causes.push(Cause::unknown(at)),
        }
    }
    match (identifier, records, causes.is_empty()) {
        (Some(identifier), Some((records, count)), true) => {
            let records = body.slice_ref(records.as_bytes());
            Ok(UserImportRequest { upsert, identifier, records, count })
        }
        _ => Err(DoorError::Invalid(causes)),
    }
}

/// The outer object. A repeated key is refused: otherwise one of two lists of records would be lost silently.
struct Outer<'b>(BTreeMap<String, &'b RawValue>);

impl<'de> Deserialize<'de> for Outer<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = BTreeMap<String, &'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    if fields.insert(key, value).is_some() {
                        return Err(serde::de::Error::custom("a key stands twice in the object"));
                    }
                }
                Ok(fields)
            }
        }

        from.deserialize_map(Keys).map(Self)
    }
}

fn flag(at: &str, value: &RawValue, causes: &mut Vec<Cause>) -> bool {
    match value.get() {
        "true" => return true,
        "false" => {}
        _ => causes.push(wrong_type(at, value, &["boolean"])),
    }
    false
}

fn identifier_of(at: &str, value: &RawValue, causes: &mut Vec<Cause>) -> Option<IdentifierField> {
    let text = serde_json::from_str::<String>(value.get()).ok();
    let found = IDENTIFIERS.into_iter().find(|field| Some(field.as_str()) == text.as_deref());
    if found.is_none() {
        let allowed = serde_json::json!(IDENTIFIERS.map(IdentifierField::as_str));
        let actual = serde_json::from_str(value.get()).unwrap_or_default();
        causes.push(Cause::not_one_of(at, &actual, &allowed));
    }
    if text.is_none() {
        causes.push(wrong_type(at, value, &["string"]));
    }
    found
}

/// The records' source and their number: each must be an object, and there must be one.
fn list<'b>(at: &str, value: &'b RawValue, causes: &mut Vec<Cause>) -> Option<(&'b str, u64)> {
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else {
        causes.push(wrong_type(at, value, &["array"]));
        return None;
    };
    if items.is_empty() {
        causes.push(Cause::new(at, "minItems", serde_json::json!({ "actual": 0, "expected": 1 })));
    }
    for (index, item) in items.iter().enumerate() {
        if !item.get().starts_with('{') {
            causes.push(wrong_type(&step(at, &index.to_string()), item, &["object"]));
        }
    }
    Some((value.get(), items.len() as u64))
}

/// Only the kind of the value matters, so its content is not read.
fn wrong_type(at: &str, value: &RawValue, expected: &[&str]) -> Cause {
    let sample = match value.get().as_bytes().first() {
        Some(b'{') => Value::Object(serde_json::Map::new()),
        Some(b'[') => Value::Array(Vec::new()),
        Some(b'"') => Value::String(String::new()),
        Some(b't' | b'f') => Value::Bool(false),
        Some(b'n') => Value::Null,
        _ => serde_json::from_str(value.get()).unwrap_or(Value::Null),
    };
    Cause::of_type(at, &sample, expected)
}

/// The parser's message names the rule and the position, never the value there.
fn invalid_json(error: &serde_json::Error, body: &[u8]) -> DoorError {
    let before: usize = body
        .split_inclusive(|byte| *byte == b'\n')
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    let offset = (before + error.column()).min(body.len());
    DoorError::InvalidJson { message: error.to_string(), offset: Some(offset) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causes(body: &str) -> Vec<(String, &'static str)> {
        match decode(&Bytes::copy_from_slice(body.as_bytes())) {
            Err(DoorError::Invalid(causes)) => {
                causes.into_iter().map(|cause| (cause.location, cause.kind)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn media_types() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in [
            "",
            "text/json",
            "application/json; charset=latin1",
            "application/json; a=b",
            "application/json; charset=utf-8; a=b",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
    }

    #[test]
    fn records_are_a_slice_of_the_body() {
        let body = Bytes::from_static(
            br#" {"records" : [ {"a": 1}, {} ], "identifier":"phone_number", "upsert":true} "#,
        );
        let request = decode(&body).unwrap();
        assert_eq!(&request.records[..], br#"[ {"a": 1}, {} ]"#);
        assert_eq!(
            (request.count, request.upsert, request.identifier),
            (2, true, IdentifierField::PhoneNumber)
        );
    }

    #[test]
    fn everything_wrong_with_the_outer_shape_is_told() {
        assert_eq!(causes("{}"), [(String::new(), "required")]);
        assert_eq!(causes("[1]"), [(String::new(), "type")]);
        let found = causes(r#"{"upsert": null, "identifier": "id", "records": [{}, 1, "x"], "more": 1}"#);
        for place in [
            ("/upsert", "type"),
            ("/identifier", "enum"),
            ("/records/1", "type"),
            ("/records/2", "type"),
            ("/more", ""),
        ] {
            assert!(found.contains(&(place.0.to_owned(), place.1)), "{place:?} in {found:?}");
        }
        assert_eq!(
            causes(r#"{"identifier": "email", "records": []}"#),
            [("/records".to_owned(), "minItems")]
        );
        assert_eq!(causes(r#"{"identifier": 7, "records": {}}"#).len(), 3);
    }

    #[test]
    fn broken_json_is_told_with_its_place() {
        let twice = r#"{"records": [{}], "records": []}"#;
        for (body, at) in [("", 0), ("{\n \"a\" 1}", 8), ("{} x", 4), ("[1,", 3), (twice, 32)] {
            match decode(&Bytes::copy_from_slice(body.as_bytes())) {
                Err(DoorError::InvalidJson { offset: Some(offset), .. }) => assert_eq!(offset, at, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }
}
