//! The fields of a request: the field of Muster for each, and its effect on an existing user.

use muster_domain::error::RecordError;
use muster_domain::field::{Blank, Field, FieldRule, FieldTable};
use muster_domain::options::{
    AddressClash, IdentifierField, ImportOptions, MetadataMode, OnExisting, UnknownColumns,
};
use muster_domain::parse::Format;
use muster_domain::record::RawValue;
use muster_domain::rules::Rules;

use super::error::DoorError;
use super::messages::{BLANK, FieldErrors, NO_BOOLEAN, NULL, REQUIRED};
use super::request::{Document, Value};

/// Most characters of a name; of an e-mail address too, since it is the username.
const NAME_CHARS: u16 = 150;

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

/// By what a registration names its user: a name that is an e-mail address is the user's address, as everywhere here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    ByEmail,
    ByUsername,
}

impl Named {
    fn identifier(self) -> IdentifierField {
        match self {
            Self::ByEmail => IdentifierField::Email,
            Self::ByUsername => IdentifierField::PreferredUsername,
        }
    }

    fn rule(self) -> FieldRule {
        FieldRule::new("username", self.identifier().into()).longest(NAME_CHARS)
    }
}

/// A user that is registered with an application: a new one, or one that is only enrolled.
pub(super) fn registering(named: Named) -> Rules {
    let [first_name, last_name, _] = person();
    let fields = [named.rule(), first_name, last_name].into_iter();
    let email = (named == Named::ByUsername).then(email);
    let options = ImportOptions {
        identifier: named.identifier(),
        on_existing: OnExisting::Enrol,
        ..ImportOptions::default()
    };
    rules(fields.chain(email), options)
}

/// The same user by its e-mail address, which is to have the username from now on.
pub(super) fn claiming() -> Rules {
    rules([email(), Named::ByUsername.rule()], ImportOptions::default())
}

/// The same user, for its addresses. Custom fields are checked and not the user's: they are the application's.
pub(super) fn registering_addresses(named: Named) -> Rules {
    let options = ImportOptions {
        identifier: named.identifier(),
        metadata: MetadataMode::Ignore,
        // What the user has stays: names that the request leaves out are made up here.
        address_clash: AddressClash::Beside,
        ..ImportOptions::default()
    };
    let fields = [
        named.rule(),
        FieldRule::new("addresses", Field::Addresses),
        FieldRule::new("custom_fields", Field::Metadata),
    ];
    rules(fields, options)
}

/// A user that gets an address.
pub(super) fn addressing() -> Rules {
    let options = ImportOptions { address_clash: AddressClash::Refuse, ..ImportOptions::default() };
    rules([email(), FieldRule::new("addresses", Field::Addresses)], options)
}

/// The fields of the request, and their errors before the engine validates them.
#[derive(Debug, Default)]
pub(super) struct RequestFields {
    values: Vec<(&'static str, Value)>,
    pub(super) errors: FieldErrors,
}

impl RequestFields {
    /// A value that the request itself does not carry.
    pub(super) fn set(&mut self, name: &'static str, value: Value) {
        self.values.push((name, value));
    }

    /// Takes a value out again.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.values.iter().position(|(given, _)| *given == name)?;
        Some(self.values.swap_remove(at).1)
    }

    /// The source of a JSON value that was given.
    pub(super) fn json(&self, name: &str) -> Option<&str> {
        self.values.iter().find_map(|(given, value)| match value {
            Value::Json(json) if *given == name => Some(json.as_str()),
            _ => None,
        })
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

    /// Yes or no, for the engine.
    pub(super) fn flag(&mut self, document: &mut Document, name: &'static str) {
        if let Some(flag) = self.boolean(document, name) {
            self.set(name, Value::Json(flag.to_string()));
        }
    }

    /// Yes or no, in any of the framework's spellings.
    pub(super) fn boolean(&mut self, document: &mut Document, name: &'static str) -> Option<bool> {
        let spelled = match document.take(name)? {
            Value::Null => {
                self.errors.add(name, NULL);
                return None;
            }
            Value::Text(text) | Value::Json(text) => text,
        };
        let read = boolean(&spelled);
        if read.is_none() {
            self.errors.add(name, NO_BOOLEAN);
        }
        read
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
    pub(super) fn refused(&self, errors: &[RecordError]) -> DoorError {
        let mut told = self.errors.clone();
        for error in errors {
            told.note(error);
        }
        DoorError::Fields(told)
    }

    /// The values as the engine reads them.
    pub(super) fn pairs(&self) -> Vec<(&str, RawValue<'_>)> {
        self.values.iter().map(|(name, value)| (*name, value.raw())).collect()
    }
}

/// Yes or no, in any of the framework's spellings.
pub(super) fn boolean(spelled: &str) -> Option<bool> {
    match spelled.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Everything the engine found wrong, in the framework's words.
pub(super) fn refused(errors: &[RecordError]) -> DoorError {
    RequestFields::default().refused(errors)
}
