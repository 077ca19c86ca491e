//! What is wrong with the fields of a request, in the sentences of Django REST Framework: a list of them for each field. Pure.

use std::collections::BTreeMap;

use muster_domain::bound::Bound;
use muster_domain::error::{ErrorCode, RecordError};
use muster_domain::fault::{Mutant, mutant};
use serde::Serialize;
use serde_json::Value;

/// Key for what no single field is at fault for.
const NO_FIELD: &str = "non_field_errors";

/// The errors by field. Never the value, except where Bitcaster's own words quote a choice.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct FieldErrors(BTreeMap<String, Value>);

impl FieldErrors {
    /// Notes a sentence about a field.
    pub(super) fn add(&mut self, field: &str, sentence: impl Into<String>) {
        let sentence = Value::String(sentence.into());
        // Errors that were noted in another shape stay.
        if let Value::Array(sentences) =
            self.0.entry(field.to_owned()).or_insert_with(|| Value::Array(Vec::new()))
        {
            sentences.push(sentence);
        }
    }

    /// Notes what is wrong with a field in another shape than a list of sentences: of a list, or of an
    /// object. In a list, the errors of other items are reported too.
    pub(super) fn set(&mut self, field: &str, told: Value) {
        match self.0.get_mut(field) {
            Some(known) => add_items(known, told),
            None => {
                self.0.insert(field.to_owned(), told);
            }
        }
    }

    pub(super) fn names(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// Notes an error of the engine in the framework's words, unless the field has one already.
    pub(super) fn note(&mut self, error: &RecordError) {
        let field = error.field.as_deref().map_or(NO_FIELD, location);
        if !self.names(field) {
            self.add(field, sentence(field, error));
        }
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Adds what is wrong with the items of a list to what is known of them. Known errors of a part of an item stay.
fn add_items(known: &mut Value, told: Value) {
    let (Value::Array(known), Value::Array(told)) = (known, told) else { return };
    if mutant(Mutant::FirstAddressAlone) {
        return;
    }
    for (at, item) in told.into_iter().enumerate() {
        if at == known.len() {
            known.push(item);
        } else if let (Some(Value::Object(known)), Value::Object(item)) = (known.get_mut(at), item) {
            for (part, sentences) in item {
                known.entry(part).or_insert(sentences);
            }
        }
    }
}

/// The request's field that an error's path begins with; a part of an address is a field of its request.
fn location(path: &str) -> &str {
    match path.split_once('.') {
        Some(("addresses", rest)) => rest.rsplit('.').next().unwrap_or(rest),
        Some((field, _)) => field,
        None => path,
    }
}

/// An error of the engine in the framework's words.
pub(super) fn sentence(field: &str, error: &RecordError) -> String {
    match (error.code, field) {
        (ErrorCode::FieldRequired, _) => REQUIRED.into(),
        (ErrorCode::NullNotAllowed, _) => NULL.into(),
        (ErrorCode::EmptyNotAllowed, _) => BLANK.into(),
        (ErrorCode::EmailInvalid, _) => "Enter a valid email address.".into(),
        (ErrorCode::TypeMismatch, "locked") => NO_BOOLEAN.into(),
        (ErrorCode::TypeMismatch, "custom_fields") => "Expected a dictionary of items.".into(),
        (ErrorCode::TypeMismatch, _) => "Not a valid string.".into(),
        (ErrorCode::ValueTooLong, "email" | "first_name" | "last_name" | "name" | "value") => too_long(error),
        _ => capital(&error.message),
    }
}

fn too_long(error: &RecordError) -> String {
    match error.bound.as_deref() {
        Some(Bound::MaxChars(most)) => format!("Ensure this field has no more than {most} characters."),
        _ => capital(&error.message),
    }
}

pub(super) const REQUIRED: &str = "This field is required.";
pub(super) const NULL: &str = "This field may not be null.";
pub(super) const NO_BOOLEAN: &str = "Must be a valid boolean.";
pub(super) const BLANK: &str = "This field may not be blank.";

fn capital(message: &str) -> String {
    let mut rest = message.chars();
    match rest.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), rest.as_str()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_error_is_told_under_the_requests_field() {
        let mut errors = FieldErrors::default();
        errors.note(&RecordError::new(ErrorCode::EmailInvalid, "x").in_field("email"));
        errors.note(&RecordError::new(ErrorCode::ValueTooLong, "x").in_field("email"));
        errors.note(
            &RecordError::new(ErrorCode::AddressTaken, "the name is taken").in_field("addresses.0.name"),
        );
        errors.note(&RecordError::new(ErrorCode::ControlChar, "no").in_field("custom_fields.a.b"));
        let json = serde_json::to_value(&errors).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"email": ["Enter a valid email address."], "name": ["The name is taken."],
                               "custom_fields": ["No."]})
        );
    }
}
