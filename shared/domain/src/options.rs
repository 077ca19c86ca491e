//! The options of an import. They are stored with the import and never change.
//!
//! The options of a request are the table in [`crate::request`]; this is their stored form.

mod choices;

use serde::{Deserialize, Serialize};

pub use choices::{
    AddressClash, ChoiceValue, Dates, Duplicates, EmptyCell, EmptyFile, FullNames, HeaderNames,
    IdentifierField, ListSeparator, MetadataMode, OnExisting, OnInvalid, OnInvalidValue, PhoneCheck, Rows,
    Sets, Start, UnknownChoice, UnknownColumns, UnknownNames, Usernames, Values,
};

use crate::fault::{Mutant, mutant};
use crate::field::{Field, FieldTable};
use crate::parse::Format;
use crate::undo::Undo;

impl From<IdentifierField> for Field {
    fn from(field: IdentifierField) -> Self {
        match field {
            IdentifierField::Email => Self::Email,
            IdentifierField::PhoneNumber => Self::PhoneNumber,
            IdentifierField::PreferredUsername => Self::PreferredUsername,
        }
    }
}

/// An organization, and a group in it, that users are enrolled in; resolved when the import is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// Id of the organization.
    pub organization_id: i32,
    /// Id of the group, 0 for none, -1 for one that is created when the import's plan is applied.
    pub group_id: i32,
}

/// The options of an import as they are stored, and their names.
macro_rules! stored_options {
    ($(#[$docs:meta])* pub struct $options:ident { $($(#[$meta:meta])* pub $name:ident: $type:ty,)* }) => {
        $(#[$docs])*
        pub struct $options { $($(#[$meta])* pub $name: $type,)* }

        impl $options {
            /// Every option by name, in the order in which they are stored.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];
        }
    };
}

stored_options! {
/// Everything an import is asked to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportOptions {
    /// Format of the upload.
    pub format: Format,
    /// Which field identifies a user.
    pub identifier: IdentifierField,
    /// What happens to an existing user.
    pub on_existing: OnExisting,
    /// How metadata merges.
    pub metadata: MetadataMode,
    /// What an empty CSV cell means.
    pub empty_cells: EmptyCell,
    /// When to start.
    pub start: Start,
    /// What invalid records do.
    pub on_invalid: OnInvalid,
    /// What unknown columns and keys do.
    pub unknown_columns: UnknownColumns,
    /// Which names are known besides those of the fields.
    #[serde(skip_serializing_if = "is_usual")]
    pub header_names: HeaderNames,
    /// How roles, groups and teams are given.
    pub sets: Sets,
    /// Which forms of values are taken.
    pub values: Values,
    /// What happens with names that are not in the catalog.
    pub unknown_names: UnknownNames,
    /// What happens with records about the same user.
    pub duplicates: Duplicates,
    /// How phone numbers are checked.
    pub phone_check: PhoneCheck,
    /// Which usernames are accepted.
    pub usernames: Usernames,
    /// What a table's short and long records do.
    pub rows: Rows,
    /// What addresses do that clash with those the user has.
    #[serde(skip_serializing_if = "is_usual")]
    pub address_clash: AddressClash,
    /// What a file without records does.
    pub empty_file: EmptyFile,
    /// Whether every user gets an address named `email` with the e-mail address.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default_address: bool,
    /// In which order days are written.
    #[serde(skip_serializing_if = "is_usual")]
    pub dates: Dates,
    /// What becomes of full names.
    #[serde(skip_serializing_if = "is_usual")]
    pub full_names: FullNames,
    /// Two letters of the country whose phone numbers may omit the country code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_country: Option<String>,
    /// What values do that a field does not take.
    #[serde(skip_serializing_if = "is_usual")]
    pub on_invalid_value: OnInvalidValue,
    /// The separator of the names in a cell with several names.
    #[serde(skip_serializing_if = "is_usual")]
    pub list_separator: ListSeparator,
    /// Texts that mean an empty cell, such as `NULL`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub null_words: Vec<String>,
    /// The JSON Pointer to the list of records in a JSON file, if it is not the file itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The sheet of a workbook, by its name or its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
    /// The names of the upload, where they are not Muster's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<FieldTable>,
    /// Slug of the organization to enrol users in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// Name of the group to enrol users in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What organization and group resolved to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Enrolment>,
    /// What the import undoes, if it is an undo. Its records are changes of users then, and all other options are idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
}
}

/// What is as it is by itself is not stored: older programs read what they know.
fn is_usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Stored options that this program does not know: a newer one wrote them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("option `{option}` is not known to this program, or has a value that is not")]
pub struct NewerOptions {
    /// The option.
    pub option: String,
}

impl ImportOptions {
    /// The options as they were given: without ids that were looked up, and without what the program notes for itself.
    pub fn as_given(self) -> Self {
        let undo = self.undo.map(|undo| Undo { once: false, inserts: true, drifted: 0, ..undo });
        Self { enrolment: None, undo, ..self }
    }

    /// Whether the text of a cell means an empty one.
    pub fn is_null_word(&self, text: &str) -> bool {
        !self.null_words.is_empty()
            && !mutant(Mutant::NullWordsAreValues)
            && self.null_words.iter().any(|word| word == text.trim())
    }

    /// What of stored options this program knows, and what it does not: for showing them, not for acting on them.
    pub fn known_of_stored(json: serde_json::Value) -> (Self, Option<NewerOptions>) {
        if let Ok(options) = serde_json::from_value(json.clone()) {
            return (options, None);
        }
        let serde_json::Value::Object(options) = &json else {
            return (Self::default(), Self::from_stored(json).err());
        };
        let knows = |(name, value): &(&String, &serde_json::Value)| {
            let one = serde_json::Map::from_iter([((*name).clone(), (*value).clone())]);
            Self::NAMES.contains(&name.as_str()) && serde_json::from_value::<Self>(one.into()).is_ok()
        };
        let known: serde_json::Map<_, _> =
            options.iter().filter(knows).map(|(name, value)| (name.clone(), value.clone())).collect();
        let newer = Self::from_stored(json.clone()).err();
        (serde_json::from_value(known.into()).unwrap_or_default(), newer)
    }

    /// Reads options as they are stored. An option or a value that is not known is an error: to apply an import without what
    /// it was asked to do would be wrong.
    pub fn from_stored(json: serde_json::Value) -> Result<Self, NewerOptions> {
        let newer = |option: &str| NewerOptions { option: option.to_owned() };
        let serde_json::Value::Object(options) = &json else { return Err(newer("options")) };
        if let Some(name) = options.keys().find(|name| !Self::NAMES.contains(&name.as_str())) {
            // The name comes from the row; an unknown name is not repeated at full length.
            return Err(newer(&name.chars().take(40).collect::<String>()));
        }
        let alone = |(name, value): (&String, &serde_json::Value)| {
            let one = serde_json::Map::from_iter([(name.clone(), value.clone())]);
            serde_json::from_value::<Self>(one.into()).is_err().then(|| newer(name))
        };
        let wrong = || options.iter().find_map(alone).unwrap_or_else(|| newer("options"));
        serde_json::from_value(json.clone()).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_newer_program_stored_is_named() {
        for (stored, option) in [
            (json!({"metadata": "weave"}), "metadata"),
            (json!({"identifier": "email", "on_drift": "refuse"}), "on_drift"),
            (json!([]), "options"),
        ] {
            assert_eq!(ImportOptions::from_stored(stored), Err(NewerOptions { option: option.into() }));
        }
    }
}
