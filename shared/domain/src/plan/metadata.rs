//! Combines the metadata of a record with that of the user (contracts C.1.5). Every mode is idempotent.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::fault::{Mutant, mutant};
use crate::options::MetadataMode;
use crate::record::{MetadataEntry, MetadataValue};
use crate::undo::{kept_alike, objects_kept_alike};

/// Applies `sent` to `stored`. True if `stored` changed.
pub(super) fn apply(stored: &mut Map<String, Value>, sent: Map<String, Value>, mode: MetadataMode) -> bool {
    match mode {
        MetadataMode::Merge => merge(stored, sent),
        MetadataMode::Override => {
            sent.into_iter().fold(false, |changed, (key, value)| replace(stored, &key, value) || changed)
        }
        MetadataMode::Rewrite => {
            let differs = differ(stored, &sent);
            if differs {
                *stored = sent;
            }
            differs
        }
        MetadataMode::Remove => remove(stored, &sent),
        MetadataMode::Ignore => false,
        MetadataMode::Attributes => sent.into_iter().fold(false, |changed, (key, value)| {
            let gone_or_set = match value {
                Value::Null => stored.remove(&key).is_some(),
                value => replace(stored, &key, value),
            };
            gone_or_set || changed
        }),
    }
}

/// The JSON text of a stored object into which what was sent is merged.
pub fn merged(stored: &str, sent: &Map<String, Value>) -> String {
    let mut object = parse_object(Some(stored));
    merge(&mut object, sent.clone());
    Value::Object(object).to_string()
}

/// Objects recurse; everything else, lists and null too, is replaced.
fn merge(stored: &mut Map<String, Value>, sent: Map<String, Value>) -> bool {
    let mut changed = false;
    for (key, value) in sent {
        changed |= match (stored.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(more)) => merge(inner, more),
            (_, value) => replace(stored, &key, value),
        };
    }
    changed
}

/// Sets one key. True if that changed anything.
pub(super) fn replace(stored: &mut Map<String, Value>, key: &str, value: Value) -> bool {
    let is_same = if mutant(Mutant::MetadataComparesDigits) {
        stored.get(key) == Some(&value)
    } else {
        kept_alike(stored.get(key), Some(&value))
    };
    if is_same {
        return false;
    }
    stored.insert(key.to_owned(), value);
    true
}

/// Whether two objects are not the same when the store gives them back.
pub(super) fn differ(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    if mutant(Mutant::MetadataComparesDigits) { one != other } else { !objects_kept_alike(one, other) }
}

/// Deletes the keys named. An object onto an object recurses, and a parent left empty goes too.
fn remove(stored: &mut Map<String, Value>, sent: &Map<String, Value>) -> bool {
    let mut changed = false;
    for (key, value) in sent {
        let gone = match (stored.get_mut(key), value) {
            (None, _) => false,
            (Some(Value::Object(inner)), Value::Object(keys)) => {
                changed |= remove(inner, keys);
                inner.is_empty()
            }
            (Some(_), _) => true,
        };
        if gone {
            stored.remove(key);
            changed = true;
        }
    }
    changed
}

/// A JSON value of what the upload said. Sources were checked by validate; one that is not JSON would become null.
pub(super) fn to_json(value: &MetadataValue<'_>) -> Value {
    match value {
        MetadataValue::Null => Value::Null,
        MetadataValue::Text(text) => Value::String((*text).to_owned()),
        MetadataValue::Json(json) => serde_json::from_str(json).unwrap_or(Value::Null),
    }
}

/// An object of entries.
pub(super) fn object(entries: &[MetadataEntry<'_>]) -> Map<String, Value> {
    entries.iter().map(|entry| (entry.key.to_string(), to_json(&entry.value))).collect()
}

/// The object the store has; nothing stored is an empty one.
pub(super) fn parse_object(json: Option<&str>) -> Map<String, Value> {
    json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

/// The JSON text of an object, without building one. `None` if it would be empty.
pub(super) fn object_text<'e>(entries: impl Iterator<Item = (&'e str, MetadataValue<'e>)>) -> Option<String> {
    let mut text = String::new();
    for (key, value) in entries {
        text.push(if text.is_empty() { '{' } else { ',' });
        push_string(&mut text, key);
        text.push(':');
        match value {
            MetadataValue::Null => text.push_str("null"),
            MetadataValue::Text(value) => push_string(&mut text, value),
            // As a later change of the user would write it, so that the cut of the file does not show: 1e2 as 100.0.
            value @ MetadataValue::Json(_) => {
                // Writing to a text cannot fail.
                let _ = write!(text, "{}", to_json(&value));
            }
        }
    }
    if text.is_empty() {
        return None;
    }
    text.push('}');
    Some(text)
}

fn push_string(into: &mut String, text: &str) {
    // Looks at all bytes, which is faster for a short text than to stop at the first.
    let plain =
        text.bytes().fold(true, |plain, byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\'));
    if plain {
        into.push('"');
        into.push_str(text);
        into.push('"');
    } else {
        into.push_str(&Value::String(text.to_owned()).to_string());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The store gives `1e16` back as an integer.
    #[test]
    fn a_number_that_the_store_cannot_tell_from_another_changes_nothing() {
        let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let stored = r#"{"n": 10000000000000000, "o": {"n": [10000000000000000]}}"#;
        let sent = r#"{"n": 1e16, "o": {"n": [1e16]}}"#;
        for mode in
            [MetadataMode::Merge, MetadataMode::Override, MetadataMode::Rewrite, MetadataMode::Attributes]
        {
            let mut map = read(stored);
            assert!(!apply(&mut map, read(sent), mode), "{mode}");
            assert_eq!(map, read(stored), "{mode}");
            assert!(apply(&mut map, read(r#"{"n": 2e16, "o": {"n": [1e16]}}"#), mode), "{mode}");
            // These the store keeps apart.
            let mut map = read(r#"{"n": 1}"#);
            assert!(apply(&mut map, read(r#"{"n": 1.0}"#), mode), "{mode}");
        }
    }

    /// Every worked example of contracts C.1.5.
    #[test]
    fn modes_do_what_the_contract_says() {
        let stored =
            json!({"office": "Milan", "dept": {"code": "IT", "floor": 3}, "tags": ["a", "b"], "note": "x"});
        let with = |key: &str, value: Value| {
            let mut map = stored.clone();
            map[key] = value;
            map
        };
        let without = |key: &str| {
            let mut map = stored.clone();
            map.as_object_mut().unwrap().remove(key);
            map
        };
        let cases = [
            (MetadataMode::Merge, json!({"office": "London"}), with("office", json!("London"))),
            (
                MetadataMode::Merge,
                json!({"dept": {"floor": 4}}),
                with("dept", json!({"code": "IT", "floor": 4})),
            ),
            (MetadataMode::Merge, json!({"dept": "IT"}), with("dept", json!("IT"))),
            (MetadataMode::Merge, json!({"note": {"k": 1}}), with("note", json!({"k": 1}))),
            (MetadataMode::Merge, json!({"tags": ["c"]}), with("tags", json!(["c"]))),
            (MetadataMode::Merge, json!({"note": null}), with("note", json!(null))),
            (MetadataMode::Merge, json!({"dept": {}}), stored.clone()),
            (MetadataMode::Merge, json!({}), stored.clone()),
            (MetadataMode::Override, json!({"dept": {"floor": 4}}), with("dept", json!({"floor": 4}))),
            (MetadataMode::Rewrite, json!({"dept": {"floor": 4}}), json!({"dept": {"floor": 4}})),
            (MetadataMode::Rewrite, json!({}), json!({})),
            (MetadataMode::Remove, json!({"note": 7}), without("note")),
            (MetadataMode::Remove, json!({"dept": {"floor": 0}}), with("dept", json!({"code": "IT"}))),
            (MetadataMode::Remove, json!({"dept": {"code": 0, "floor": 0}}), without("dept")),
            (MetadataMode::Remove, json!({"dept": {}}), stored.clone()),
            (MetadataMode::Remove, json!({"dept": null}), without("dept")),
            (MetadataMode::Remove, json!({"tags": ["a"]}), without("tags")),
            (MetadataMode::Remove, json!({"office": {"x": 1}}), without("office")),
            (MetadataMode::Remove, json!({"zzz": 1}), stored.clone()),
            (MetadataMode::Ignore, json!({"office": "London"}), stored.clone()),
        ];
        for (mode, sent, wanted) in cases {
            let mut map = stored.as_object().unwrap().clone();
            let sent_map = sent.as_object().unwrap().clone();
            let changed = apply(&mut map, sent_map.clone(), mode);
            assert_eq!(Value::Object(map.clone()), wanted, "{mode} {sent}");
            assert_eq!(changed, wanted != stored, "{mode} {sent}");
            assert!(!apply(&mut map, sent_map, mode), "{mode} {sent} twice");
        }
        let mut map = json!({"dept": {}}).as_object().unwrap().clone();
        assert!(apply(&mut map, json!({"dept": {}}).as_object().unwrap().clone(), MetadataMode::Remove));
        assert!(map.is_empty());
    }
}
