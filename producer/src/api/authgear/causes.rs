//! Causes: where and why a JSON value violates a schema, in the keywords of JSON Schema. Pure.

use muster_domain::bound::Bound;
use serde::Serialize;
use serde_json::{Map, Number, Value, json};

/// One place that does not keep to the schema (contracts A.2.3).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Cause {
    /// JSON pointer; empty for the root.
    pub(super) location: String,
    /// The keyword that is broken; empty for a property that there is not.
    pub(super) kind: &'static str,
    /// What was found and what was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) details: Option<Value>,
}

impl Cause {
    pub(super) fn new(location: impl Into<String>, kind: &'static str, details: Value) -> Self {
        Self { location: location.into(), kind, details: Some(details) }
    }

    /// A property that the schema does not know.
    pub(super) fn unknown(location: impl Into<String>) -> Self {
        Self { location: location.into(), kind: "", details: None }
    }

    /// A value of another type.
    pub(super) fn of_type(location: impl Into<String>, actual: &Value, expected: &[&str]) -> Self {
        Self::new(location, "type", json!({ "actual": types_of(actual), "expected": expected }))
    }

    /// Properties that an object lacks. Without any, what it has is null, not an empty list.
    pub(super) fn required<'k>(
        location: impl Into<String>,
        present: impl Iterator<Item = &'k str>,
        expected: &[&str],
    ) -> Option<Self> {
        let mut present: Vec<&str> = present.collect();
        present.sort_unstable();
        let missing: Vec<&&str> = expected.iter().filter(|name| !present.contains(*name)).collect();
        if missing.is_empty() {
            return None;
        }
        let actual = if present.is_empty() { Value::Null } else { json!(present) };
        let details = json!({ "actual": actual, "expected": expected, "missing": missing });
        Some(Self::new(location, "required", details))
    }

    /// A text that is shorter than it may be.
    pub(super) fn too_short(location: impl Into<String>) -> Self {
        Self::new(location, "minLength", json!({ "actual": 0, "expected": 1 }))
    }

    /// A text that is longer than it may be. Says how long it is by the same measure.
    pub(super) fn too_long(location: impl Into<String>, value: Option<&Value>, bound: &Bound) -> Self {
        let text = value.and_then(Value::as_str);
        let (actual, most) = match bound {
            Bound::MaxChars(most) => (text.map(|text| text.chars().count()), Some(most)),
            Bound::MaxBytes(most) => (text.map(str::len), Some(most)),
            Bound::Range { .. } => (None, None),
        };
        let details = match actual {
            Some(actual) => json!({ "actual": actual, "expected": most }),
            None => json!({ "expected": most }),
        };
        Self::new(location, "maxLength", details)
    }

    /// A number that is not from one to another: the bound that it broke, under its own name.
    pub(super) fn out_of_range(
        location: impl Into<String>,
        value: &Value,
        minimum: Option<&Number>,
        maximum: Option<&Number>,
    ) -> Self {
        match minimum {
            Some(least) if value.as_f64() < least.as_f64() => {
                Self::new(location, "minimum", json!({ "actual": value, "minimum": least }))
            }
            _ => Self::new(location, "maximum", json!({ "actual": value, "maximum": maximum })),
        }
    }

    /// A value that is none of those that may be. One of another type is not of the type either.
    pub(super) fn not_one_of(location: impl Into<String>, actual: &Value, expected: &Value) -> Self {
        Self::new(location, "enum", json!({ "actual": actual, "expected": expected }))
    }

    /// A text that is not of the format.
    pub(super) fn format(location: impl Into<String>, format: &str, error: &str) -> Self {
        Self::new(location, "format", json!({ "error": error, "format": format }))
    }

    /// Anything that no keyword says.
    pub(super) fn general(location: impl Into<String>, message: &str) -> Self {
        Self::new(location, "general", json!({ "msg": message }))
    }
}

/// The types that a value has: a whole number has two.
pub(super) fn types_of(value: &Value) -> &'static [&'static str] {
    match value {
        Value::Null => &["null"],
        Value::Bool(_) => &["boolean"],
        // However it is written: 3.0 and 1e2 are whole.
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => {
            &["integer", "number"]
        }
        Value::Number(_) => &["number"],
        Value::String(_) => &["string"],
        Value::Array(_) => &["array"],
        Value::Object(_) => &["object"],
    }
}

/// A pointer one step longer.
pub(super) fn step(location: &str, key: &str) -> String {
    format!("{location}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// A text of one character at least.
    Text,
    /// A text whose format says everything about it, its length too.
    Formatted(&'static str),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A list of texts of one character at least.
    Texts,
    /// An object of this shape.
    Object(&'static Shape),
    /// An object whose properties have their rules elsewhere.
    FreeObject,
}

/// One property of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Property {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) nullable: bool,
}

impl Property {
    pub(super) const fn new(name: &'static str, form: Form) -> Self {
        Self { name, form, nullable: false }
    }

    pub(super) const fn nullable(name: &'static str, form: Form) -> Self {
        Self { nullable: true, ..Self::new(name, form) }
    }

    fn expected(&self) -> &'static [&'static str] {
        match (self.form, self.nullable) {
            (Form::Text | Form::Formatted(_) | Form::OneOf(_), false) => &["string"],
            (Form::Text | Form::Formatted(_) | Form::OneOf(_), true) => &["null", "string"],
            (Form::Flag, _) => &["boolean"],
            (Form::Texts, _) => &["array"],
            (Form::Object(_) | Form::FreeObject, false) => &["object"],
            (Form::Object(_) | Form::FreeObject, true) => &["null", "object"],
        }
    }
}

/// What an object may be.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) properties: &'static [Property],
    pub(super) required: &'static [&'static str],
    /// Other properties are errors.
    pub(super) closed: bool,
}

impl Shape {
    pub(super) fn property(&self, name: &str) -> Option<&'static Property> {
        self.properties.iter().find(|property| property.name == name)
    }

    /// Everything in an object that is not as the shape wants it, formats apart.
    pub(super) fn check(
        &self,
        object: &Map<String, Value>,
        required: &[&str],
        location: &str,
        causes: &mut Vec<Cause>,
    ) {
        causes.extend(Cause::required(location, object.keys().map(String::as_str), required));
        for (key, value) in object {
            let at = step(location, key);
            match self.property(key) {
                Some(property) => property.check(value, &at, causes),
                None if self.closed => causes.push(Cause::unknown(at)),
                None => {}
            }
        }
    }
}

impl Property {
    fn check(&self, value: &Value, location: &str, causes: &mut Vec<Cause>) {
        let mismatch = |causes: &mut Vec<Cause>| {
            causes.push(Cause::of_type(location, value, self.expected()));
        };
        match (self.form, value) {
            (_, Value::Null) if self.nullable => {}
            (Form::Text, Value::String(text)) if text.trim().is_empty() => {
                causes.push(Cause::too_short(location))
            }
            (Form::Text | Form::Formatted(_), Value::String(_)) => {}
            (Form::OneOf(allowed), Value::String(text)) => {
                if !allowed.contains(&text.as_str()) {
                    causes.push(Cause::not_one_of(location, value, &json!(allowed)));
                }
            }
            (Form::OneOf(allowed), other) => {
                causes.push(Cause::not_one_of(location, other, &json!(allowed)));
                mismatch(causes);
            }
            (Form::Flag, Value::Bool(_)) => {}
            (Form::Texts, Value::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    Self::new("", Form::Text).check(item, &step(location, &at.to_string()), causes);
                }
            }
            (Form::Object(shape), Value::Object(object)) => {
                shape.check(object, shape.required, location, causes)
            }
            (Form::FreeObject, Value::Object(_)) => {}
            _ => mismatch(causes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNER: Shape = Shape {
        properties: &[Property::new("kind", Form::OneOf(&["a", "b"])), Property::new("hash", Form::Text)],
        required: &["hash", "kind"],
        closed: true,
    };
    const OUTER: Shape = Shape {
        properties: &[
            Property::nullable("name", Form::Text),
            Property::new("flag", Form::Flag),
            Property::new("names", Form::Texts),
            Property::new("inner", Form::Object(&INNER)),
        ],
        required: &[],
        closed: false,
    };

    fn causes(value: &Value) -> Vec<(String, &'static str)> {
        let mut causes = Vec::new();
        OUTER.check(value.as_object().unwrap(), &["name"], "", &mut causes);
        causes.into_iter().map(|cause| (cause.location, cause.kind)).collect()
    }

    #[test]
    fn every_place_is_told() {
        let value = json!({"name": null, "flag": true, "names": ["a"], "inner": {"kind": "a", "hash": "x"}, "other": 1});
        assert_eq!(causes(&value), []);
        let value = json!({"name": "", "flag": "true", "names": ["", 7], "inner": {"kind": "c", "a/b~": 1}});
        let found = causes(&value);
        for expected in [
            ("/name", "minLength"),
            ("/flag", "type"),
            ("/names/0", "minLength"),
            ("/names/1", "type"),
            ("/inner", "required"),
            ("/inner/kind", "enum"),
            ("/inner/a~1b~0", ""),
        ] {
            assert!(found.contains(&(expected.0.to_owned(), expected.1)), "{expected:?} in {found:?}");
        }
        assert_eq!(found.len(), 7);
    }

    #[test]
    fn what_is_redacted_is_not_judged() {
        assert_eq!(causes(&json!({"name": "x", "inner": {"kind": "a", "hash": "REDACTED"}})), []);
        assert_eq!(causes(&json!({"name": "x", "inner": "REDACTED"})), [("/inner".to_owned(), "type")]);
    }

    #[test]
    fn an_empty_object_has_null_not_nothing() {
        let cause = Cause::required("", std::iter::empty(), &["email"]).unwrap();
        let details = json!({"actual": null, "expected": ["email"], "missing": ["email"]});
        assert_eq!(cause.details, Some(details));
        assert_eq!(types_of(&json!(1)), ["integer", "number"]);
        for whole in ["1", "3.0", "1e2", "-0.0"] {
            let value: Value = serde_json::from_str(whole).unwrap();
            assert_eq!(types_of(&value), ["integer", "number"], "{whole}");
        }
        assert_eq!(types_of(&json!(1.5)), ["number"]);
    }

    #[test]
    fn what_is_no_text_is_none_of_the_texts_either_and_types_are_sorted() {
        assert_eq!(
            causes(&json!({"name": "x", "inner": {"kind": 7, "hash": "x"}})),
            [("/inner/kind".to_owned(), "enum"), ("/inner/kind".to_owned(), "type")]
        );
        let mut found = Vec::new();
        OUTER.check(json!({"name": 7}).as_object().unwrap(), &[], "", &mut found);
        let details = json!({"actual": ["integer", "number"], "expected": ["null", "string"]});
        assert_eq!(found[0].details, Some(details));
    }
}
