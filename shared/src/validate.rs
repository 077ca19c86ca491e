//! `RawRecord` → [`Record`] or all that is wrong with it. Pure, and the same while receiving and while applying.
//!
//! A value's rule is bound to its column once an import ([`Binding`]); a record is then one pass over its fields.

mod binding;
mod header;
mod value;

use std::borrow::Cow;

pub use binding::{Binding, Rule, Shape};

use crate::error::{ErrorCode, RecordError};
use crate::normalise::{EmailAddress, PhoneNumber, Username};
use crate::options::{EmptyCell, IdentifierField, ImportOptions, UnknownColumns};
use crate::record::{MetadataEntry, Patch, RawRecord, RawValue, Record};

/// What validating one record gave.
#[derive(Debug)]
pub struct Validated<'a> {
    /// The normalised identifier, if the record has a valid one, whatever else is wrong with it: it decides the lane.
    pub identifier: Option<Cow<'a, str>>,
    /// The record, or everything that is wrong with it.
    pub result: Result<Record<'a>, Vec<RecordError>>,
}

/// Validates one record.
pub fn validate<'a>(raw: &RawRecord<'a>, binding: &'a Binding, options: &ImportOptions) -> Validated<'a> {
    let mut pass =
        Pass { binding, options, record: Record::empty(raw.position), errors: Vec::new(), seen: 0 };
    for field in raw.fields {
        pass.field(field.name as usize, field.value);
    }
    if let Some(defect) = raw.defect {
        // The fields of a record that could not be read whole are good for its lane; what is wrong with them follows from
        // the defect, and telling it too would mislead.
        pass.errors = vec![defect.clone()];
    }
    pass.finish(raw.defect.is_some())
}

struct Pass<'a, 'o> {
    binding: &'a Binding,
    options: &'o ImportOptions,
    record: Record<'a>,
    errors: Vec<RecordError>,
    /// One bit a rule that may apply once: two names can mean the same field.
    seen: u64,
}

impl<'a> Pass<'a, '_> {
    fn field(&mut self, name: usize, value: RawValue<'a>) {
        let binding = self.binding;
        let Some(rule) = binding.rule(name) else { return };
        let Some(value) = self.present(value) else { return };
        if let Some(bit) = rule.bit() {
            if self.seen & bit != 0 {
                let message = "another column or key of the record names the same field";
                self.errors.push(
                    RecordError::new(ErrorCode::JsonDuplicateKey, message).in_field(binding.name(name)),
                );
                return;
            }
            self.seen |= bit;
        }
        if let Err(error) = self.apply(rule, value) {
            self.errors.push(error.in_field(binding.name(name)));
        }
    }

    /// What an empty cell means is an option; a JSON empty string is an empty string.
    fn present(&self, value: RawValue<'a>) -> Option<RawValue<'a>> {
        let RawValue::Text(text) = value else { return Some(value) };
        if self.binding.shape() != Shape::Columns {
            return Some(value);
        }
        let text = self.binding.unguard(text);
        if !text.is_empty() {
            return Some(RawValue::Text(text));
        }
        match self.options.empty_cells {
            EmptyCell::Ignore => None,
            EmptyCell::Remove => Some(RawValue::Null),
            EmptyCell::Keep => Some(RawValue::Text("")),
        }
    }

    fn apply(&mut self, rule: &'a Rule, value: RawValue<'a>) -> Result<(), RecordError> {
        match rule {
            Rule::Email => self.record.email = value::text(value, EmailAddress::parse)?,
            Rule::PhoneNumber => self.record.phone_number = value::text(value, PhoneNumber::parse)?,
            Rule::PreferredUsername => self.record.preferred_username = value::text(value, Username::parse)?,
            Rule::GivenName => self.record.given_name = value::text(value, value::name)?,
            Rule::FamilyName => self.record.family_name = value::text(value, value::name)?,
            Rule::Attribute(attribute) => {
                let patch = value::attribute(*attribute, value)?;
                self.record.attributes.push((*attribute, patch));
            }
            Rule::Metadata(key) => {
                let value = value::metadata(value)?;
                self.add_metadata([MetadataEntry { key: Cow::Borrowed(key), value }]);
            }
            Rule::MetadataObject => match value {
                RawValue::Null => self.record.metadata = Patch::Null,
                RawValue::Json(json) => {
                    let entries = value::metadata_object(json)?;
                    self.add_metadata(entries);
                }
                RawValue::Text(_) => return Err(value::mismatch("an object")),
            },
            Rule::Ignored => {}
            Rule::Unknown => match self.options.unknown_columns {
                UnknownColumns::Ignore => {}
                UnknownColumns::Refuse => {
                    return Err(RecordError::new(ErrorCode::FieldUnknown, "the field is not known"));
                }
            },
        }
        Ok(())
    }

    fn add_metadata(&mut self, entries: impl IntoIterator<Item = MetadataEntry<'a>>) {
        match &mut self.record.metadata {
            Patch::Value(there) => there.extend(entries),
            patch => *patch = Patch::Value(entries.into_iter().collect()),
        }
    }

    fn finish(mut self, defective: bool) -> Validated<'a> {
        let field = self.options.identifier;
        let name = field.as_str();
        let named = self.errors.iter().any(|error| self.binding.means(error.field.as_deref(), field));
        match self.record.identity(field) {
            Patch::Value(_) => {}
            // Where the identifier has its own error, or nothing could be read, "required" would be noise.
            Patch::Absent | Patch::Null if named || defective => {}
            Patch::Absent => self.errors.push(
                RecordError::new(ErrorCode::FieldRequired, "the field identifies the user and must be there")
                    .in_field(name),
            ),
            Patch::Null => self.errors.push(
                RecordError::new(
                    ErrorCode::NullNotAllowed,
                    "the field identifies the user and must not be null",
                )
                .in_field(name),
            ),
        }
        let identifier = identifier_of(&self.record, field);
        let result = if self.errors.is_empty() { Ok(self.record) } else { Err(self.errors) };
        Validated { identifier, result }
    }
}

fn identifier_of<'a>(record: &Record<'a>, field: IdentifierField) -> Option<Cow<'a, str>> {
    match field {
        IdentifierField::Email => record.email.value().cloned().map(EmailAddress::into_inner),
        IdentifierField::PhoneNumber => record.phone_number.value().cloned().map(PhoneNumber::into_inner),
        IdentifierField::PreferredUsername => {
            record.preferred_username.value().cloned().map(Username::into_inner)
        }
    }
}
