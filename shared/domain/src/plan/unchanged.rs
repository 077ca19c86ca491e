//! Finds most records that say of a user only what is stored, without building the user's state: a file that is imported again
//! consists of them.

use super::row::entry_pair;
use super::{ExistingUser, wanted};
use crate::fault::{Mutant, mutant};
use crate::field::Field;
use crate::options::{IdentifierField, MetadataMode};
use crate::record::{MetadataValue, Patch, Record};
use crate::rules::Rules;
use crate::validate::json::entries;

/// Keys of a record that are looked for one by one in what is stored. With more of them, building a map is faster.
const FEW: usize = 32;

/// Whether a record certainly changes nothing of a user as stored. False says nothing: the state must then be built to find out.
pub(super) fn says_what_is_stored(record: &Record<'_>, base: &ExistingUser, rules: &Rules) -> bool {
    let ignored = |field| rules.ignored().contains(field);
    let identities = || {
        IdentifierField::ALL
            .iter()
            .all(|field| is_stored(base.identity(*field), wanted(record, *field, rules)))
    };
    let name = |field, stored: &Option<String>, patch| ignored(field) || is_stored(stored.as_deref(), patch);
    record.custom_attributes().is_empty()
        && name(Field::GivenName, &base.given_name, record.given_name)
        && name(Field::FamilyName, &base.family_name, record.family_name)
        && identities()
        && attributes_are_stored(record, base, ignored)
        && (ignored(Field::Metadata) || metadata_is_stored(record, base, rules.options.metadata))
}

fn is_stored(stored: Option<&str>, patch: Patch<&str>) -> bool {
    match patch {
        Patch::Absent => true,
        Patch::Null => stored.is_none(),
        Patch::Value(value) => stored == Some(value),
    }
}

fn attributes_are_stored(
    record: &Record<'_>,
    base: &ExistingUser,
    ignored: impl Fn(Field) -> bool + Copy,
) -> bool {
    let said =
        || record.attributes.iter().filter(move |(field, patch)| !ignored(*field) && !patch.is_absent());
    if said().next().is_none() {
        return true;
    }
    // Null removes an attribute: the state tells whether there was one.
    let values = || said().filter_map(|(field, patch)| Some((field.as_str(), (*patch.value()?).into())));
    said().count() == values().count() && holds(base.attributes.as_deref(), values)
}

fn metadata_is_stored(record: &Record<'_>, base: &ExistingUser, mode: MetadataMode) -> bool {
    let entries = match &record.metadata {
        Patch::Absent => return true,
        Patch::Null => return mode == MetadataMode::Ignore,
        Patch::Value(entries) => entries,
    };
    let said = || entries.iter().map(entry_pair);
    match mode {
        MetadataMode::Ignore => true,
        MetadataMode::Merge | MetadataMode::Override => holds(base.metadata.as_deref(), said),
        // Null removes a key.
        MetadataMode::Attributes => {
            said().all(|(_, value)| !is_null(&value)) && holds(base.metadata.as_deref(), said)
        }
        // What is not said counts there too.
        MetadataMode::Rewrite | MetadataMode::Remove => false,
    }
}

fn is_null(value: &MetadataValue<'_>) -> bool {
    match value {
        MetadataValue::Null => true,
        MetadataValue::Text(_) => false,
        MetadataValue::Json(json) => json == "null",
    }
}

/// Whether an object has each of these keys with this very value, as its text says without being read further.
fn holds<'e, I>(stored: Option<&str>, said: impl Fn() -> I) -> bool
where
    I: Iterator<Item = (&'e str, MetadataValue<'e>)>,
{
    if said().count() > FEW {
        return false;
    }
    let Ok(stored) = entries(stored.unwrap_or("{}")) else { return false };
    said().all(|(key, value)| {
        // The last one counts, where a key stands twice.
        let kept = stored.iter().rev().find(|(kept, _)| kept == key);
        kept.is_some_and(|(_, kept)| is_written(kept, &value)) || mutant(Mutant::NewKeysUnseen)
    })
}

/// Whether the JSON text is surely this value.
fn is_written(json: &str, value: &MetadataValue<'_>) -> bool {
    match value {
        MetadataValue::Null => json == "null",
        MetadataValue::Text(text) => {
            let inner = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            // With a backslash in it, it is written otherwise than it is.
            inner.is_some_and(|inner| inner == *text && !text.contains('\\'))
        }
        MetadataValue::Json(said) => json == &**said,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;
    use crate::plan::metadata;
    use crate::record::MetadataEntry;

    /// Objects with few keys and values, so that many say the same, with what needs an escape among them.
    fn objects() -> impl Strategy<Value = Map<String, Value>> {
        let leaf = prop_oneof![
            Just(Value::Null),
            Just(Value::Bool(true)),
            Just(Value::from(1)),
            Just(Value::from(1.5)),
            "[ab\"\\\\]{0,2}".prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(2, 4, 2, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..2).prop_map(Value::from),
                prop::collection::btree_map("[ab\\\\]", inner, 0..2)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        prop::collection::btree_map("[ab\\\\]", value, 0..4).prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        /// What is found stored changes nothing in the state, and plain texts that are stored are found.
        #[test]
        fn what_is_stored_changes_nothing(stored in objects(), sent in objects()) {
            let entries: Vec<MetadataEntry<'_>> = sent
                .iter()
                .map(|(key, value)| {
                    let value = match value {
                        Value::Null => MetadataValue::Null,
                        Value::String(text) => MetadataValue::Text(text),
                        other => MetadataValue::Json(other.to_string().into()),
                    };
                    MetadataEntry { key: key.as_str().into(), value }
                })
                .collect();
            let text = Value::Object(stored.clone()).to_string();
            let held = holds(Some(&text), || entries.iter().map(entry_pair));
            for mode in [MetadataMode::Merge, MetadataMode::Override] {
                let mut state = stored.clone();
                let changed = metadata::apply(&mut state, metadata::object(&entries), mode);
                prop_assert!(!(held && changed), "{} {}", mode, text);
                let plain = sent.values().all(|value| value.as_str().is_some_and(|text| !text.contains(['"', '\\'])));
                prop_assert!(held || changed || !plain || sent.keys().any(|key| key.contains('\\')), "{} {}", mode, text);
            }
        }
    }

    #[test]
    fn a_key_that_stands_twice_counts_as_the_last_and_a_text_as_it_is_written() {
        let told = |stored: &str, value: MetadataValue<'static>| {
            holds(Some(stored), || std::iter::once(("a", value.clone())))
        };
        assert!(told(r#"{"a": "y", "a": "x"}"#, MetadataValue::Text("x")));
        assert!(!told(r#"{"a": "x", "a": "y"}"#, MetadataValue::Text("x")));
        assert!(!told(r#"{"a": "\u0041"}"#, MetadataValue::Text("\\u0041")));
        assert!(!told(r#"{"a": "\n"}"#, MetadataValue::Text("\\n")));
        assert!(!told(r#"{"b": "x"}"#, MetadataValue::Text("x")));
        assert!(!holds(None, || std::iter::once(("a", MetadataValue::Null))));
        assert!(holds(None, std::iter::empty));
    }
}
