//! Nested values of a JSON record, addressed by JSON Pointers: `/name/givenName`, `/emails/0/value`.
//!
//! In a list of objects, a part of a pointer that is not a number selects the first object in which that key is true, or whose `type`
//! is that word: `/emails/primary/value`, `/emails/work/value`. If several pointers map to one field, the first one that leads to a
//! value is used. The staged record has the values under the pointers as written. The object around them is kept only if the mapping
//! names it too. A null that a pointer leads to is used if no later pointer of its field leads to a value.

use std::collections::HashMap;

use serde_json::value::RawValue as Json;

use super::RecordSink;
use crate::error::FileError;
use crate::fault::{Mutant, mutant};
use crate::field::FieldTable;
use crate::record::{FieldNames, NameId, RawField, RawRecord, RawValue};

/// What an import takes out of its records.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pointers: Vec<Pointer>,
    /// The names of the records as they are staged.
    names: FieldNames,
    /// Names in the mapping itself: their values are kept, whatever pointers take out of them.
    kept: Vec<String>,
    /// What each name of the upload is: one of those, or what pointers begin with.
    known: Vec<Option<NameId>>,
}

#[derive(Debug, Clone)]
struct Pointer {
    /// As in the mapping.
    name: String,
    parts: Vec<String>,
    /// What it leads to: a field, or a key of the metadata.
    to: String,
}

/// A value that was taken out.
#[derive(Debug, PartialEq)]
enum Held {
    Text(String),
    Json(String),
    Null,
}

impl Held {
    /// A value by its source.
    fn of(json: &str) -> Option<Self> {
        match json.as_bytes().first()? {
            b'"' => serde_json::from_str(json).ok().map(Self::Text),
            b'n' if mutant(Mutant::PointersSkipNulls) => None,
            b'n' => Some(Self::Null),
            _ if mutant(Mutant::PointersLoseDigits) => {
                let value: serde_json::Value = serde_json::from_str(json).ok()?;
                Some(Self::Json(value.to_string()))
            }
            _ => Some(Self::Json(json.to_owned())),
        }
    }
}

impl Shape {
    /// None where no name of the table is a pointer.
    pub(super) fn of(table: &FieldTable) -> Option<Self> {
        let pointer = |rule: &crate::field::FieldRule| {
            let mapped = rule.mapped.as_ref()?;
            let parts: Vec<String> = rule
                .name
                .strip_prefix('/')?
                .split('/')
                .map(|part| part.replace("~1", "/").replace("~0", "~"))
                .collect();
            let key = mapped.key.as_deref().unwrap_or_default();
            let to = format!("{} {key}", rule.field);
            (parts.len() > 1).then(|| (mapped.place, Pointer { name: rule.name.clone(), parts, to }))
        };
        let mut pointers: Vec<(u16, Pointer)> = table.0.iter().filter_map(pointer).collect();
        pointers.sort_by_key(|(place, _)| *place);
        let pointers: Vec<Pointer> = pointers.into_iter().map(|(_, pointer)| pointer).collect();
        let kept = table.0.iter().filter(|rule| rule.mapped.as_ref().is_some_and(|mapped| !mapped.left_out));
        let kept = kept.map(|rule| rule.name.clone()).collect();
        (!pointers.is_empty()).then(|| Self { pointers, kept, names: FieldNames::new(), known: Vec::new() })
    }

    /// A sink whose records are reshaped before `sink` takes them.
    pub(super) fn around<'s, S: RecordSink + ?Sized>(&'s mut self, sink: &'s mut S) -> Around<'s, S> {
        Around { shape: self, sink }
    }

    /// The record with what the pointers lead to, and its names.
    fn reshape<R>(
        &mut self,
        record: &RawRecord<'_>,
        names: &FieldNames,
        then: impl FnOnce(&RawRecord<'_>, &FieldNames) -> R,
    ) -> R {
        for name in names.iter().skip(self.known.len()) {
            let begins =
                self.pointers.iter().any(|pointer| pointer.parts.first().is_some_and(|part| part == name));
            self.known.push((!begins).then(|| self.names.intern(name)));
        }
        let mut whole: Vec<(&str, &str)> = Vec::new();
        for field in record.fields.iter().filter(|field| self.known_as(field.name).is_none()) {
            if let (Some(name), RawValue::Json(json)) = (names.get(field.name), field.value) {
                whole.push((name, json));
            }
        }
        let held = Self::held(&self.pointers, &mut self.names, &whole);
        let mut fields: Vec<RawField<'_>> = Vec::with_capacity(record.fields.len() + held.len());
        for field in record.fields {
            let whole = match field.value {
                RawValue::Json(json) => !json.starts_with(['{', '[']) || self.keeps(names.get(field.name)),
                RawValue::Text(_) => true,
                RawValue::Null => self.keeps(names.get(field.name)),
            };
            let name = match (self.known_as(field.name), names.get(field.name)) {
                (Some(name), _) => name,
                // Not what the pointers lead into: it is not lost without a word.
                (None, Some(name)) if whole => self.names.intern(name),
                (None, _) => continue,
            };
            fields.push(RawField { name, value: field.value });
        }
        let taken = held.iter().map(|(name, value)| RawField {
            name: *name,
            value: match value {
                Held::Text(text) => RawValue::Text(text),
                Held::Json(json) => RawValue::Json(json),
                Held::Null => RawValue::Null,
            },
        });
        fields.extend(taken);
        then(&RawRecord { fields: &fields, ..*record }, &self.names)
    }

    /// What the pointers lead to, of each field the first value, and a null where there is no value.
    fn held(pointers: &[Pointer], names: &mut FieldNames, whole: &[(&str, &str)]) -> Vec<(NameId, Held)> {
        let mut held: Vec<(&str, NameId, Held)> = Vec::new();
        for pointer in pointers {
            let Some((first, rest)) = pointer.parts.split_first() else { continue };
            let source =
                whole.iter().find(|(name, _)| name == first).and_then(|(_, json)| follow(json, rest));
            let Some(taken) = source.and_then(Held::of) else { continue };
            let name = names.intern(&pointer.name);
            match held.iter_mut().find(|(to, ..)| *to == pointer.to) {
                None => held.push((&pointer.to, name, taken)),
                Some(before) if before.2 == Held::Null => (before.1, before.2) = (name, taken),
                Some(_) => {}
            }
        }
        held.into_iter().map(|(_, name, taken)| (name, taken)).collect()
    }

    /// Whether the value under a name is kept as a whole.
    fn keeps(&self, name: Option<&str>) -> bool {
        name.is_some_and(|name| self.kept.iter().any(|kept| kept == name))
            && !mutant(Mutant::PointersDropTheRest)
    }

    fn known_as(&self, name: NameId) -> Option<NameId> {
        self.known.get(name as usize).copied().flatten()
    }
}

/// A sink that takes reshaped records.
pub(super) struct Around<'s, S: ?Sized> {
    shape: &'s mut Shape,
    sink: &'s mut S,
}

impl<S: RecordSink + ?Sized> RecordSink for Around<'_, S> {
    fn header(&mut self, names: &FieldNames) -> Result<(), FileError> {
        self.sink.header(names)
    }

    fn knows(&self, name: &str) -> bool {
        self.sink.knows(name)
    }

    fn beyond_ascii(&mut self) {
        self.sink.beyond_ascii();
    }

    fn record(&mut self, record: &RawRecord<'_>, names: &FieldNames) -> Result<(), FileError> {
        let Self { shape, sink } = self;
        shape.reshape(record, names, |record, names| sink.record(record, names))
    }
}

/// The source of what a pointer leads to.
fn follow<'j>(json: &'j str, parts: &[String]) -> Option<&'j str> {
    let Some((part, rest)) = parts.split_first() else { return Some(json) };
    let next: &'j str = match json.as_bytes().first()? {
        b'{' => member(json, part)?,
        b'[' => {
            let items: Vec<&'j Json> = serde_json::from_str(json).ok()?;
            match part.parse::<usize>() {
                Ok(at) => items.get(at)?.get(),
                Err(_) => items.iter().find(|item| is_chosen(item.get(), part))?.get(),
            }
        }
        _ => return None,
    };
    follow(next, rest)
}

fn member<'j>(json: &'j str, key: &str) -> Option<&'j str> {
    let members: HashMap<String, &'j Json> = serde_json::from_str(json).ok()?;
    members.get(key).map(|value| value.get())
}

/// Whether a word selects this item of a list.
fn is_chosen(item: &str, word: &str) -> bool {
    let kind = || member(item, "type").and_then(|kind| serde_json::from_str::<String>(kind).ok());
    member(item, word) == Some("true") || kind().is_some_and(|kind| kind == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_lead_through_objects_and_lists() {
        let json =
            r#"[{"value": "a"}, {"value": "b", "primary": true}, {"value": "c", "type": "work"}, "x"]"#;
        let led = |pointer: &str| {
            let parts: Vec<String> = pointer.split('/').map(str::to_owned).collect();
            follow(json, &parts)
        };
        assert_eq!(led("0/value"), Some("\"a\""));
        assert_eq!(led("primary/value"), Some("\"b\""));
        assert_eq!(led("work/value"), Some("\"c\""));
        assert_eq!((led("home/value"), led("9/value"), led("0/value/x")), (None, None, None));
    }

    #[test]
    fn a_null_counts_where_no_later_pointer_leads_to_a_value() {
        let pointer = |name: &str, to: &str| Pointer {
            name: format!("/{name}"),
            parts: name.split('/').map(str::to_owned).collect(),
            to: to.to_owned(),
        };
        let pointers = [
            pointer("name/given", "given_name"),
            pointer("name/first", "given_name"),
            pointer("name/last", "family_name"),
        ];
        let held = |json: &str| {
            let mut names = FieldNames::new();
            let held = Shape::held(&pointers, &mut names, &[("name", json)]);
            let named = |(name, held)| (names.get(name).unwrap().to_owned(), held);
            held.into_iter().map(named).collect::<Vec<_>>()
        };
        let text = |name: &str, text: &str| (name.to_owned(), Held::Text(text.into()));
        assert_eq!(held(r#"{"given": null, "first": "Ada"}"#), [text("/name/first", "Ada")]);
        assert_eq!(held(r#"{"given": "Eva", "first": null}"#), [text("/name/given", "Eva")]);
        assert_eq!(
            held(r#"{"first": null, "last": "B"}"#),
            [("/name/first".to_owned(), Held::Null), text("/name/last", "B"),]
        );
        assert_eq!(held("{}"), []);
    }

    #[test]
    fn what_a_pointer_leads_to_keeps_its_digits() {
        let json = r#"{"a": {"n": 1.50, "big": 123456789012345678901234567890, "z": 1, "b": [2, 1e400]}, "t": "\u00e9"}"#;
        let held = |parts: &[&str]| {
            let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            follow(json, &parts).and_then(Held::of)
        };
        for (parts, text) in [
            (&["a", "n"][..], "1.50"),
            (&["a", "big"], "123456789012345678901234567890"),
            (&["a", "b"], "[2, 1e400]"),
        ] {
            assert_eq!(held(parts), Some(Held::Json(text.into())));
        }
        assert_eq!(held(&["t"]), Some(Held::Text("é".into())));
    }
}
