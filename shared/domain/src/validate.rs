//! Validates a `RawRecord`: the result is a [`Record`] or all its errors. Pure, and the same while receiving and while applying.
//!
//! The meaning of each name is determined once for each import ([`Binding`]). A record then takes one pass over its fields.

mod attribute;
mod binding;
mod bounds;
mod catalog_refs;
mod cell;
mod columns;
pub(crate) mod days;
mod formats;
mod given_back;
pub(crate) mod json;
mod person;
mod rule;
mod secret;
mod value;

use std::borrow::Cow;

pub use crate::column_name::{clean as clean_column, fold as fold_column, quoted};
pub use binding::{Binding, NOT_KNOWN, OF_FAILED, Shape};
pub use bounds::bound_of;
pub(crate) use catalog_refs::last_first;
pub use person::address_text;

use crate::catalog::CatalogKind;
use crate::error::{ErrorCode, RecordError, first_errors};
use crate::fault::{Mutant, mutant};
use crate::field::{Behaviour, Blank, Field, FieldRule, FieldSet};
use crate::normalise::EmailAddress;
use crate::options::{EmptyCell, FullNames, HeaderNames, MetadataMode, UnknownColumns};
use crate::record::{
    Extras, MetadataEntry, MetadataValue, NameChange, Password, Patch, RawRecord, RawValue, Record,
};
use crate::rules::Rules;
use crate::warning::Warning;
use given_back::{damaged, redacted};
use person::{addresses, agent, identifier_of, owned, phone, status, username};
use rule::{Cell, Rule};

/// Longest name or value of an address, in characters (contracts C.1.6).
pub(crate) const MAX_ADDRESS_CHARS: usize = 255;

/// What validating one record gave.
#[derive(Debug)]
pub struct Validated<'a> {
    /// The normalised identifier, if the record has a valid one, whatever else is wrong with it: it decides the lane.
    pub identifier: Option<Cow<'a, str>>,
    /// The normalised e-mail address that the user is to have from now on, in the same way.
    pub new_email: Option<Cow<'a, str>>,
    /// The record, or everything that is wrong with it.
    pub result: Result<Record<'a>, Vec<RecordError>>,
}

/// Validates one record.
///
/// ```
/// use muster_domain::options::ImportOptions;
/// use muster_domain::record::{FieldNames, Position, RawField, RawRecord, RawValue, RecordNumber};
/// use muster_domain::rules::Rules;
/// use muster_domain::validate::{Binding, validate};
///
/// let rules = Rules::new(ImportOptions::default());
/// let names = FieldNames::from_header(["email", "given_name"]);
/// let mut binding = Binding::new(&rules);
/// binding.extend(&names);
/// let text = |name, value| RawField { name, value: RawValue::Text(value) };
/// let fields = [text(0, "Ada@Example.com"), text(1, "Ada")];
/// let position = Position { record: RecordNumber::FIRST, line: 2, byte: 17 };
/// let raw = RawRecord { position, fields: &fields, defect: None, raw: None };
///
/// let validated = validate(&raw, &binding, &rules);
/// assert_eq!(validated.identifier.as_deref(), Some("ada@example.com"));
/// assert!(validated.result.is_ok());
/// ```
pub fn validate<'a>(raw: &RawRecord<'a>, binding: &'a Binding, rules: &Rules) -> Validated<'a> {
    let mut pass = Pass {
        raw,
        binding,
        rules,
        lenient: rules.lenient(),
        record: Record::empty(raw.position),
        errors: Vec::new(),
        further: Vec::new(),
        seen: FieldSet::default(),
        given: FieldSet::default(),
    };
    let passed = binding.passed_over(raw, rules);
    for field in raw.fields.iter().filter(|field| !passed.contains(&field.name)) {
        pass.field(field.name as usize, field.value);
    }
    if let Some(defect) = raw.defect {
        // The fields of a record that could not be read whole are good for its lane; what is wrong with them follows from
        // the defect, and telling it too would mislead.
        pass.errors = vec![defect.clone()];
    }
    pass.finish(raw.defect.is_some())
}

/// Whether a text begins with what is surely no blank, as most values do.
fn begins(text: &str) -> bool {
    text.as_bytes().first().is_some_and(u8::is_ascii_graphic)
}

struct Pass<'a, 'o> {
    raw: &'o RawRecord<'a>,
    binding: &'a Binding,
    rules: &'o Rules,
    lenient: bool,
    record: Record<'a>,
    errors: Vec<RecordError>,
    /// What else is wrong with the field that is being read.
    further: Vec<RecordError>,
    /// Fields that the record names: two names can mean the same one.
    seen: FieldSet,
    /// Fields that the record has a value or an error for.
    given: FieldSet,
}

impl<'a> Pass<'a, '_> {
    fn field(&mut self, name: usize, value: RawValue<'a>) {
        let binding = self.binding;
        let Some(rule) = binding.rule(name) else { return };
        let value = match (value, binding.shape()) {
            (RawValue::Null, Shape::Columns) => match binding.missing_cell(rule) {
                Some(value) => value,
                None => return,
            },
            _ => value,
        };
        let value = match rule {
            Rule::Field(_) if self.rules.options.header_names == HeaderNames::Common => self.blank(value),
            _ => self.cell(value),
        };
        let Some(value) = value else { return };
        let applied = match rule {
            Rule::Field(_) | Rule::Metadata(..) if self.is_hidden(rule, value) => Err(redacted()),
            Rule::Field(field) => self.known(field, name, value),
            Rule::Metadata(key, cell) => self.metadata_key(key, *cell, value),
            Rule::Ignored => Ok(()),
            Rule::ErrorCode => damaged(value),
            Rule::Unknown => match self.rules.options.unknown_columns {
                UnknownColumns::Ignore => Ok(()),
                UnknownColumns::Refuse | UnknownColumns::Metadata => {
                    Err(RecordError::new(ErrorCode::FieldUnknown, "the field is not known"))
                }
            },
        };
        if let Err(error) = applied {
            let errors = std::iter::once(error).chain(self.further.drain(..));
            self.errors.extend(errors.map(|error| value::nested(error, binding.name(name))));
        }
    }

    /// In what people make, a text of blanks for a field is an empty cell, in JSON as in a table.
    fn blank(&self, value: RawValue<'a>) -> Option<RawValue<'a>> {
        let RawValue::Text(text) = value else { return Some(value) };
        let text = self.binding.unescape(text);
        // Most values begin with something.
        let says_something =
            begins(text) || !text.chars().all(|c| c.is_whitespace() || matches!(c, '\u{200b}' | '\u{feff}'));
        if says_something && !self.rules.options.is_null_word(text) {
            return Some(RawValue::Text(text));
        }
        match self.rules.options.empty_cells {
            EmptyCell::Ignore => None,
            EmptyCell::Remove => Some(RawValue::Null),
            EmptyCell::Keep => Some(RawValue::Text("")),
        }
    }

    /// What an empty cell means is an option; a JSON empty string is an empty string.
    fn cell(&self, value: RawValue<'a>) -> Option<RawValue<'a>> {
        let RawValue::Text(text) = value else { return Some(value) };
        if self.binding.shape() != Shape::Columns {
            return Some(value);
        }
        let text = self.binding.unescape(text);
        if !text.is_empty() && !self.rules.options.is_null_word(text) {
            return Some(RawValue::Text(text));
        }
        match self.rules.options.empty_cells {
            EmptyCell::Ignore => None,
            EmptyCell::Remove => Some(RawValue::Null),
            EmptyCell::Keep => Some(RawValue::Text("")),
        }
    }

    /// A field of the table: what no content means, that it stands once, that null is allowed, and then its own rule.
    fn known(&mut self, rule: &FieldRule, name: usize, value: RawValue<'a>) -> Result<(), RecordError> {
        // A text of nothing but blanks has no content either.
        let blank = matches!(value, RawValue::Text(text) if !begins(text) && text.trim().is_empty());
        let value = match (rule.blank, value) {
            (Blank::Absent, RawValue::Null) => return Ok(()),
            (Blank::Absent | Blank::TextAbsent, _) if blank => return Ok(()),
            (Blank::Null, _) if blank => RawValue::Null,
            (_, value) => value,
        };
        if !self.seen.insert(rule.field) {
            let message = "another column or key of the record names the same field";
            self.given.insert(rule.field);
            self.errors.push(
                RecordError::new(ErrorCode::JsonDuplicateKey, message).in_field(self.binding.name(name)),
            );
            return Ok(());
        }
        if value == RawValue::Null && rule.behaviour == Behaviour::Keep {
            self.given.insert(rule.field);
            return Err(value::null());
        }
        if value != RawValue::Null {
            self.given.insert(rule.field);
        }
        if let (Some(longest), RawValue::Text(text)) = (rule.longest, value)
            && text.len() > usize::from(longest)
            && text.trim().chars().nth(usize::from(longest)).is_some()
        {
            return Err(value::longer_than(usize::from(longest)));
        }
        if let Err(error) = self.apply_rule(rule, value) {
            // What is wrong is told; that nothing is there would be noise.
            self.given.insert(rule.field);
            return Err(error);
        }
        if rule.field == Field::Mfa && rule.behaviour == Behaviour::Ignore {
            let ignored = &mut self.extras().ignored;
            ignored.insert(Field::MfaEmail);
            ignored.insert(Field::MfaPhoneNumber);
        }
        Ok(())
    }

    fn apply_rule(&mut self, rule: &FieldRule, value: RawValue<'a>) -> Result<(), RecordError> {
        if rule.enabled {
            let enabled = value::flag(value, true)?;
            return self.disabled(enabled.map(|enabled| !enabled), true);
        }
        self.apply(rule.field, value)
    }

    fn apply(&mut self, field: Field, value: RawValue<'a>) -> Result<(), RecordError> {
        let (lenient, rules) = (self.lenient, self.rules);
        match field {
            Field::Email => self.record.email = value::text(value, EmailAddress::parse)?,
            Field::PhoneNumber => {
                self.record.phone_number = value::text(value, |text| phone(Cow::Borrowed(text), rules))?;
            }
            Field::PreferredUsername => {
                self.record.preferred_username = value::text(value, |text| username(text, rules))?;
            }
            Field::GivenName => self.record.given_name = value::text(value, value::name)?,
            Field::FamilyName => self.record.family_name = value::text(value, value::name)?,
            Field::Metadata => self.metadata_object(value)?,
            field if field.is_attribute() => {
                let patch = attribute::standard(
                    field,
                    value,
                    lenient,
                    rules.options.header_names == HeaderNames::Common,
                )?;
                self.record.attributes.push((field, patch));
            }
            field if field.is_agent() => {
                let patch = agent(field, value, rules)?;
                self.extras().agent.push((field, patch));
            }
            field => self.extra(field, value)?,
        }
        Ok(())
    }

    fn extras(&mut self) -> &mut Extras<'a> {
        self.record.extras.get_or_insert_default()
    }

    /// What only some records have.
    fn extra(&mut self, field: Field, value: RawValue<'a>) -> Result<(), RecordError> {
        let (lenient, rules) = (self.lenient, self.rules);
        let extras = self.extras();
        match field {
            Field::NewEmail => extras.new_email = value::text(value, EmailAddress::parse)?,
            Field::EmailVerified => extras.email_verified = value::flag(value, lenient)?,
            Field::PhoneNumberVerified => extras.phone_number_verified = value::flag(value, lenient)?,
            // Null changes no attribute, where the behaviour allows it.
            Field::CustomAttributes if value == RawValue::Null => {}
            Field::CustomAttributes => {
                let source = json::source(value, '{', "an object", lenient)?;
                let attributes = attribute::custom(source, &rules.catalog.attributes, lenient)?;
                self.extras().custom_attributes = attributes;
            }
            Field::Roles => self.names(field, CatalogKind::Role, value, |extras| &mut extras.roles)?,
            Field::Groups => self.names(field, CatalogKind::Group, value, |extras| &mut extras.groups)?,
            Field::Teams => self.names(field, CatalogKind::Team, value, |extras| &mut extras.teams)?,
            Field::Location => {
                let (location, left_out) = catalog_refs::one(CatalogKind::Location, value, rules)?;
                let extras = self.extras();
                extras.location = location;
                if left_out {
                    extras.warnings.push(Warning::UnknownNames(field));
                }
            }
            Field::Disabled => self.disabled(value::flag(value, lenient)?, false)?,
            Field::Status => self.disabled(status(value)?, true)?,
            Field::AccountValidFrom => extras.valid_from = value::text(value, formats::date_time)?,
            Field::AccountValidUntil => extras.valid_until = value::text(value, formats::date_time)?,
            Field::Locked => extras.locked = value::flag(value, lenient)?,
            Field::Password => extras.password = Patch::Value(secret::password(value, lenient)?),
            Field::Mfa => secret::mfa(value, rules, extras)?,
            Field::MfaEmail => extras.mfa_email = value::text(value, EmailAddress::parse)?,
            Field::MfaPhoneNumber => {
                extras.mfa_phone_number = value::text(value, |text| phone(Cow::Borrowed(text), rules))?;
            }
            Field::PasswordHash => self.password_hash(value)?,
            Field::PasswordExpireAfter => self.password_expiry(value)?,
            Field::MfaPasswordHash => {
                let hash = value::text(value, |text| secret::password_hash(Cow::Borrowed(text)))?;
                extras.mfa_password = hash.map(|hash| Password { hash, expire_after: None });
            }
            Field::MfaTotpSecret => {
                extras.mfa_totp = value::text(value, |text| secret::totp_secret(Cow::Borrowed(text)))?;
            }
            Field::Addresses if value == RawValue::Null => extras.addresses = Patch::Null,
            Field::Addresses => extras.addresses = Patch::Value(addresses(value, lenient)?),
            // The others are applied elsewhere: see `apply`.
            _ => {}
        }
        Ok(())
    }

    fn names(
        &mut self,
        field: Field,
        kind: CatalogKind,
        value: RawValue<'a>,
        slot: for<'e> fn(&'e mut Extras<'a>) -> &'e mut Patch<NameChange>,
    ) -> Result<(), RecordError> {
        let (change, left_out) = catalog_refs::change(kind, value, self.rules, &mut self.further)?;
        let extras = self.extras();
        *slot(extras) = change;
        if left_out {
            extras.warnings.push(Warning::UnknownNames(field));
        }
        Ok(())
    }

    /// Two fields say whether an account is disabled; they may both be there if they agree.
    fn disabled(&mut self, said: Patch<bool>, by_status: bool) -> Result<(), RecordError> {
        let extras = self.extras();
        match (extras.disabled, said) {
            (Patch::Value(before), Patch::Value(now)) if before != now => {
                let message = "`disabled` and `status` contradict each other";
                return Err(RecordError::new(ErrorCode::ValueInvalid, message));
            }
            (Patch::Value(_), _) => {}
            (_, said) => {
                extras.disabled = said;
                extras.by_status = by_status;
            }
        }
        Ok(())
    }

    fn password_hash(&mut self, value: RawValue<'a>) -> Result<(), RecordError> {
        let expire_after = self.pending_expiry();
        let hash = value::text(value, |text| secret::password_hash(Cow::Borrowed(text)))?;
        self.extras().password = hash.map(|hash| Password { hash, expire_after });
        Ok(())
    }

    /// The column may stand before the one with the hash: until that comes, the moment waits where validity ends.
    fn password_expiry(&mut self, value: RawValue<'a>) -> Result<(), RecordError> {
        let moment = value::text(value, formats::date_time)?;
        let extras = self.extras();
        match (&mut extras.password, moment) {
            (Patch::Value(password), Patch::Value(moment)) => password.expire_after = Some(moment),
            (_, Patch::Value(moment)) => extras.password_expiry = Some(moment),
            _ => {}
        }
        Ok(())
    }

    fn pending_expiry(&mut self) -> Option<chrono::DateTime<chrono::Utc>> {
        self.extras().password_expiry.take()
    }

    fn metadata_object(&mut self, value: RawValue<'a>) -> Result<(), RecordError> {
        if value == RawValue::Null {
            self.record.metadata = Patch::Null;
            return Ok(());
        }
        let source = json::source(value, '{', "an object", self.lenient)?;
        let entries = if self.rules.options.metadata == MetadataMode::Attributes {
            attribute::custom(source, &self.rules.catalog.attributes, self.lenient)?
        } else {
            json::entries(source)?
                .into_iter()
                .map(|(key, json)| {
                    let value = match json {
                        "null" => MetadataValue::Null,
                        json => MetadataValue::Json(Cow::Borrowed(json)),
                    };
                    MetadataEntry { key, value }
                })
                .collect()
        };
        self.add_metadata(|there| there.extend(entries));
        Ok(())
    }

    fn metadata_key(&mut self, key: &'a str, cell: Cell, value: RawValue<'a>) -> Result<(), RecordError> {
        // The database's JSON takes no NUL, in keys as in values.
        json::plain_text(key)?;
        let value = match (cell, value) {
            (Cell::List, RawValue::Text(text)) => {
                owned(&cell::list(text, self.rules.options.list_separator.character())?)
            }
            (Cell::Object, RawValue::Text(text)) => owned(&cell::object(text)?),
            (Cell::VerbatimObject, RawValue::Text(text)) => owned(&cell::verbatim_object(text)?),
            (_, value) if self.rules.options.metadata == MetadataMode::Attributes => {
                match attribute::custom_value(key, value, &self.rules.catalog.attributes, self.lenient)? {
                    Some(value) => value,
                    None => return Ok(()),
                }
            }
            (_, value) => {
                json::check_metadata(value)?;
                value.into()
            }
        };
        self.add_metadata(|there| there.push(MetadataEntry { key: Cow::Borrowed(key), value }));
        Ok(())
    }

    /// Adds entries, or none: an object without entries counts as said too.
    fn add_metadata(&mut self, add: impl FnOnce(&mut Vec<MetadataEntry<'a>>)) {
        if !matches!(self.record.metadata, Patch::Value(_)) {
            // Most records have fewer.
            self.record.metadata = Patch::Value(Vec::with_capacity(8));
        }
        if let Patch::Value(there) = &mut self.record.metadata {
            add(there);
        }
    }

    /// Takes family and given name out of a full name, where the record does not say them itself.
    fn split_full_name(&mut self) {
        let record = &mut self.record;
        let Some((last, first)) = record.full_name().and_then(last_first) else { return };
        if record.family_name.is_absent() || mutant(Mutant::SplitNamesCountMore) {
            record.family_name = Patch::Value(last);
        }
        if record.given_name.is_absent() || mutant(Mutant::SplitNamesCountMore) {
            record.given_name = Patch::Value(first);
        }
    }

    fn finish(mut self, defective: bool) -> Validated<'a> {
        if self.rules.options.full_names == FullNames::LastFirst {
            self.split_full_name();
        }
        let field = self.rules.options.identifier;
        let name = field.as_str();
        match self.record.identity(field) {
            Patch::Value(_) => {}
            // Where the identifier has its own error, or nothing could be read, "required" would be noise.
            Patch::Absent | Patch::Null if defective || self.binding.blames(&self.errors, field) => {}
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
        if !defective {
            for (required, name) in self.binding.required() {
                if !self.given.contains(*required) && *required != Field::from(field) {
                    let message = "every record must have the field";
                    self.errors
                        .push(RecordError::new(ErrorCode::FieldRequired, message).in_field(name.as_str()));
                }
            }
        }
        let identifier = identifier_of(&self.record, field);
        let extras = self.record.extras.as_deref();
        let new_email =
            extras.and_then(|extras| extras.new_email.value().cloned()).map(EmailAddress::into_inner);
        let result = if self.errors.is_empty() { Ok(self.record) } else { Err(first_errors(self.errors)) };
        Validated { identifier, new_email, result }
    }
}

#[cfg(test)]
mod tests;
