//! What a request's fields mean: which of Muster's they are, and what they do to a user that exists.

use muster_shared::error::RecordError;
use muster_shared::field::{Blank, Field, FieldRule, FieldTable};
use muster_shared::options::{AddressClash, ImportOptions, MetadataMode, OnExisting, UnknownColumns};
use muster_shared::parse::Format;
use muster_shared::record::RawValue;
use muster_shared::rules::Rules;

use super::body::{Document, Value};
use super::error::{BLANK, Fault, FieldErrors, NULL, REQUIRED};

/// Most characters of a name; of an e-mail address too, since it is the username.
pub(super) const NAME_CHARS: u16 = 150;

fn email() -> FieldRule {
    FieldRule::new("email", Field::Email).longest(NAME_CHARS)
}

fn person() -> [FieldRule; 3] {
    [
        FieldRule::new("first_name", Field::GivenName).blank(Blank::Null).longest(NAME_CHARS),
        FieldRule::new("last_name", Field::FamilyName).blank(Blank::Null).longest(NAME_CHARS),
        FieldRule::new("custom_fields", Field::Metadata),
    ]
}

fn rules(fields: impl IntoIterator<Item = FieldRule>, options: ImportOptions) -> Rules {
    Rules::new(ImportOptions {
        format: Format::Json,
        unknown_columns: UnknownColumns::Ignore,
        fields: Some(FieldTable(fields.into_iter().collect())),
        ..options
    })
}

/// A new user, or one that is only enrolled.
pub(super) fn creating() -> Rules {
    let options =
        ImportOptions { on_existing: OnExisting::Enrol, default_address: true, ..ImportOptions::default() };
    rules(person().into_iter().chain([email()]), options)
}

/// A user that is changed; the e-mail address comes from the path.
pub(super) fn updating(mode: MetadataMode) -> Rules {
    let options = ImportOptions { metadata: mode, ..ImportOptions::default() };
    rules(person().into_iter().chain([email(), FieldRule::new("locked", Field::Locked)]), options)
}

/// A user that gets an address.
pub(super) fn addressing() -> Rules {
    let options = ImportOptions { address_clash: AddressClash::Refuse, ..ImportOptions::default() };
    rules([email(), FieldRule::new("addresses", Field::Addresses)], options)
}

/// What the request says of the fields, and what is wrong with it before the engine looks.
#[derive(Debug, Default)]
pub(super) struct Given {
    values: Vec<(&'static str, Value)>,
    pub(super) errors: FieldErrors,
}

impl Given {
    /// A value that the request itself does not carry.
    pub(super) fn set(&mut self, name: &'static str, value: Value) {
        self.values.push((name, value));
    }

    /// A text. Numbers are texts too, as in Bitcaster; null never is one. None if it is not there, or not as it must be.
    pub(super) fn text(&mut self, document: &mut Document, name: &'static str) -> Option<String> {
        match document.take(name)? {
            Value::Null => self.errors.add(name, NULL),
            Value::Text(text) => return Some(text),
            Value::Json(json) if json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
                return Some(json);
            }
            Value::Json(_) => self.errors.add(name, "Not a valid string."),
        }
        None
    }

    /// A text that must be there and not blank.
    pub(super) fn required(&mut self, document: &mut Document, name: &'static str) -> Option<String> {
        let text = self.text(document, name);
        match &text {
            Some(text) if text.trim().is_empty() => self.errors.add(name, BLANK),
            Some(_) => return text,
            None if !self.errors.names(name) => self.errors.add(name, REQUIRED),
            None => {}
        }
        None
    }

    /// First and last name.
    pub(super) fn names(&mut self, document: &mut Document) {
        for name in ["first_name", "last_name"] {
            if let Some(text) = self.text(document, name) {
                self.set(name, Value::Text(text));
            }
        }
    }

    /// Custom fields: an object, in a form as JSON text. Null says nothing: Bitcaster's own client sends it.
    pub(super) fn custom_fields(&mut self, document: &mut Document) {
        let name = "custom_fields";
        match document.take(name) {
            None | Some(Value::Null) => {}
            Some(Value::Text(text)) if document.form => {
                let text = text.trim().to_owned();
                match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
                    Ok(_) => self.set(name, Value::Json(text)),
                    Err(_) => self.errors.add(name, "Value must be valid JSON."),
                }
            }
            Some(value) => self.set(name, value),
        }
    }

    /// Yes or no, in any of the framework's spellings.
    pub(super) fn flag(&mut self, document: &mut Document, name: &'static str) {
        let spelled = match document.take(name) {
            None => return,
            Some(Value::Null) => return self.errors.add(name, NULL),
            Some(Value::Text(text) | Value::Json(text)) => text,
        };
        match spelled.trim().to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => self.set(name, Value::Json("true".into())),
            "false" | "f" | "no" | "n" | "off" | "0" => self.set(name, Value::Json("false".into())),
            _ => self.errors.add(name, "Must be a valid boolean."),
        }
    }

    /// How custom fields meet those that are there: any case, and `replace` for `rewrite` as an older document has it.
    pub(super) fn mode(&mut self, document: &mut Document) -> Option<MetadataMode> {
        let name = "_mode";
        let spelled = match document.take(name)? {
            Value::Null => {
                self.errors.add(name, NULL);
                return None;
            }
            Value::Text(text) | Value::Json(text) => text,
        };
        let mode = match spelled.to_ascii_lowercase().as_str() {
            "merge" => MetadataMode::Merge,
            "remove" => MetadataMode::Remove,
            "override" => MetadataMode::Override,
            "rewrite" | "replace" => MetadataMode::Rewrite,
            "ignore" => MetadataMode::Ignore,
            _ => {
                // A parameter and no user's value; Bitcaster's own words quote it.
                let shown: String = spelled.chars().take(60).collect();
                self.errors.add(name, format!("\"{shown}\" is not a valid choice."));
                return None;
            }
        };
        Some(mode)
    }

    /// Everything that is wrong: what was noted, and what the engine found beside it.
    pub(super) fn refused(&self, errors: &[RecordError]) -> Fault {
        let mut told = self.errors.clone();
        for error in errors {
            told.note(error);
        }
        Fault::Fields(told)
    }

    /// The values as the engine reads them.
    pub(super) fn pairs(&self) -> Vec<(&str, RawValue<'_>)> {
        self.values.iter().map(|(name, value)| (*name, value.raw())).collect()
    }
}

/// Everything the engine found wrong, in the framework's words.
pub(super) fn refused(errors: &[RecordError]) -> Fault {
    Given::default().refused(errors)
}
