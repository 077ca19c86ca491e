//! Turns a record of a received file into what is staged: the record is checked, validated, and corrected if
//! the import's options or its context allow it.
//!
//! This happens once, while the file is received. The corrected record is staged, so workers validate and
//! plan as usual. Valid records cost nothing extra, since only refused values are corrected. Only values of
//! the file are stored (P13): wrongly decoded text and the traces of spreadsheet errors are refused.

mod corrections;
mod explain;
mod known_values;
mod letters;
mod memory;
mod zeros;

use std::borrow::Cow;

use crate::chunk::LaneHash;
use crate::error::{ErrorCode, FileError, RecordError};
use crate::fault::{Mutant, mutant};
use crate::field::Field;
use crate::options::{FullNames, HeaderNames};
use crate::record::{FieldNames, NameId, RawField, RawRecord, RawValue, Secrets};
use crate::rules::Rules;
use crate::validate::{Binding, Validated, last_first, validate};
pub(crate) use known_values::{KnownValues, Lookup};
pub use memory::Memory;
use zeros::Zeros;

/// The rules of an import and what its names mean, while its file is received.
#[derive(Debug)]
pub struct Reading {
    /// The rules.
    pub rules: Rules,
    /// What names mean.
    pub binding: Binding,
    /// People made the file, and the import takes their names.
    handmade: bool,
    beyond_ascii: bool,
    /// Which columns have numbers that begin with a zero.
    zeros: Zeros,
    /// Causes are counted, and not reported for each record.
    counts_causes: bool,
}

/// What a record came to.
#[derive(Debug)]
pub struct CheckedRecord<'r, 'a> {
    /// The corrected record to stage.
    pub record: &'r RawRecord<'a>,
    /// What validating it gave.
    pub validated: Validated<'r>,
    /// The hash of its identifier, where that is valid.
    pub identifier: Option<LaneHash>,
    /// What to tell beside its outcome.
    pub warnings: Vec<String>,
    /// Which names hold secrets.
    pub secrets: &'r Secrets,
    /// By which it was validated.
    rules: &'r Rules,
    binding: &'r Binding,
}

impl CheckedRecord<'_, '_> {
    /// An error of the record with advice.
    pub(crate) fn explained(&self, error: &RecordError) -> RecordError {
        let mut error = error.clone();
        explain_in(&mut error, self.record, self.binding, self.rules);
        error
    }
}

impl Reading {
    /// A reading with no names met yet.
    pub fn new(rules: Rules) -> Self {
        let handmade = rules.options.header_names == HeaderNames::Common;
        Self {
            binding: Binding::new(&rules),
            rules,
            handmade,
            beyond_ascii: false,
            zeros: Zeros::default(),
            counts_causes: false,
        }
    }

    /// For counting causes: errors are passed as validation gives them, since advice is needed once for each
    /// cause ([`CheckedRecord::explained`]), and warnings for all records.
    #[must_use]
    pub(crate) fn counting_causes(self) -> Self {
        Self { counts_causes: true, ..self }
    }

    /// The header of a table.
    pub fn header(&mut self, names: &FieldNames) -> Result<(), FileError> {
        self.binding.extend(names);
        self.binding.check_header(&self.rules.options)
    }

    /// The next record has characters beyond ASCII.
    pub fn beyond_ascii(&mut self) {
        self.beyond_ascii = true;
    }

    /// Validates the next record, and hands over what it came to.
    pub fn record<R>(
        &mut self,
        record: &RawRecord<'_>,
        names: &FieldNames,
        then: impl FnOnce(CheckedRecord<'_, '_>) -> R,
    ) -> R {
        self.binding.extend(names);
        let mut warnings = Vec::new();
        let mut defect = None;
        if std::mem::take(&mut self.beyond_ascii) {
            let found = letters::letters(record, names);
            (defect, warnings) = (found.defect, found.warnings);
        }
        if self.handmade && record.defect.is_none() && defect.is_none() {
            defect = self.spreadsheet_damage(record, &mut warnings);
            self.damaged_numbers(record, &mut warnings);
        }
        let record = RawRecord { defect: record.defect.or(defect.as_ref()), ..*record };
        let validated = validate(&record, &self.binding, &self.rules);
        let errors = match &validated.result {
            Err(errors) if self.handmade && record.defect.is_none() => errors,
            _ => {
                return then(self.taken(&record, validated, warnings));
            }
        };
        let corrections =
            corrections::corrections(&record, &self.binding, &self.rules, errors, &mut warnings);
        if corrections.is_empty() {
            let validated = self.explained(&record, validated);
            return then(self.taken(&record, validated, warnings));
        }
        let fields = corrected(&record, &corrections);
        let once = RawRecord { fields: &fields, ..record };
        let validated = validate(&once, &self.binding, &self.rules);
        let Err(errors) = &validated.result else {
            return then(self.taken(&once, validated, warnings));
        };
        let corrections =
            corrections::without(&record, &self.binding, &self.rules, &corrections, errors, &mut warnings);
        let Some(corrections) = corrections else {
            let validated = self.explained(&once, validated);
            return then(self.taken(&once, validated, warnings));
        };
        let fields = corrected(&record, &corrections);
        let without = RawRecord { fields: &fields, ..record };
        let validated = self.explained(&without, validate(&without, &self.binding, &self.rules));
        then(self.taken(&without, validated, warnings))
    }

    /// The record as it is passed on, with the warnings of any record.
    fn taken<'r, 'a>(
        &'r self,
        record: &'r RawRecord<'a>,
        validated: Validated<'r>,
        mut warnings: Vec<String>,
    ) -> CheckedRecord<'r, 'a> {
        let Self { rules, binding, .. } = self;
        let identifier = validated.identifier.as_deref().map(LaneHash::of);
        if rules.options.full_names == FullNames::LastFirst {
            warnings.extend(kept_whole(&validated, binding));
        }
        let secrets = binding.secrets();
        CheckedRecord { record, validated, identifier, warnings, secrets, rules, binding }
    }

    /// Errors with advice, if each record is reported.
    fn explained<'v>(&self, record: &RawRecord<'_>, validated: Validated<'v>) -> Validated<'v> {
        if self.counts_causes {
            return validated;
        }
        let explain = |errors| explained(errors, record, &self.binding, &self.rules);
        Validated { result: validated.result.map_err(explain), ..validated }
    }

    /// Tells of numbers whose last digits are gone, and of those without the zeros that others of their
    /// column have. For phone numbers the error has it.
    fn damaged_numbers(&mut self, record: &RawRecord<'_>, warnings: &mut Vec<String>) {
        for field in record.fields {
            let RawValue::Text(text) = field.value else { continue };
            // Most texts end with a letter.
            if text.as_bytes().last().is_none_or(u8::is_ascii_alphabetic) {
                continue;
            }
            let damage = match self.damage(field.name, text) {
                Some(damage) if self.binding.is_read(field.name) => damage,
                _ => continue,
            };
            if self.binding.field_of(field.name).is_some_and(is_phone) {
                continue;
            }
            let name = self.binding.name_at(field.name);
            match damage {
                Damage::Digits => warnings.push(format!(
                    "{name} holds a number that a spreadsheet shortened: format the column as text where the file comes from, and export it \
                     again."
                )),
                Damage::Zeros => warnings.extend(self.zeros.told(name, self.counts_causes)),
            }
        }
    }

    fn damage(&mut self, name: NameId, text: &str) -> Option<Damage> {
        let bytes = text.as_bytes();
        if bytes.iter().all(u8::is_ascii_digit) {
            let lost = self.zeros.lost(name, text) && !mutant(Mutant::LostZerosUntold);
            return lost.then_some(Damage::Zeros);
        }
        // Few of the others have a sign.
        memchr::memchr(b'+', bytes)?;
        let text = bare(text);
        let shortened = text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
            && is_scientific(text.trim_start_matches('-'))
            && !mutant(Mutant::ShortenedNumbersUntold);
        shortened.then_some(Damage::Digits)
    }

    /// What a spreadsheet leaves in the place of a value: its errors, and the mark of a text before an address. A field is refused for
    /// it; the metadata may have any text, so there it is told.
    fn spreadsheet_damage(&self, record: &RawRecord<'_>, warnings: &mut Vec<String>) -> Option<RecordError> {
        let mut damage = None;
        for field in record.fields {
            let RawValue::Text(text) = field.value else { continue };
            let text = self.binding.unescape(text);
            // Most texts begin otherwise, and need no further look.
            let error = explain::may_be_spreadsheet_error(text);
            if !(error || text.starts_with('\'')) || self.rules.options.is_null_word(text) {
                continue;
            }
            let name = || self.binding.name_at(field.name);
            let message = if error && explain::is_spreadsheet_error(text) {
                "the value is an error of a spreadsheet: correct the formula there, and export again"
            } else if !error && self.binding.is_email(field.name) {
                "the address begins with an apostrophe, by which spreadsheets mark a text: remove it"
            } else {
                continue;
            };
            if self.binding.is_field(field.name) {
                damage = damage.or_else(|| {
                    Some(RecordError::new(ErrorCode::SpreadsheetDamage, message).in_field(name()))
                });
            } else if self.binding.is_read(field.name) && !mutant(Mutant::MetadataErrorsUntold) {
                warnings.push(format!(
                    "{} holds an error of a spreadsheet: correct the formula there, and export again.",
                    name()
                ));
            }
        }
        damage
    }
}

/// What a spreadsheet did to a number.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// Its last digits are gone.
    Digits,
    /// The zeros before it are gone.
    Zeros,
}

/// Tells of a full name that is not split although the options say so.
fn kept_whole(validated: &Validated<'_>, binding: &Binding) -> Option<String> {
    let record = validated.result.as_ref().ok()?;
    let whole = record.full_name().is_some_and(|name| last_first(name).is_none());
    let lacks = record.given_name.is_absent() || record.family_name.is_absent();
    let name = binding.name_of(Field::Name)?;
    (whole && lacks && !mutant(Mutant::WholeNamesUntold)).then(|| {
        format!(
            "{name} was kept whole: it is not of the form `Last, First`, with one comma and a given name after it."
        )
    })
}

/// Errors with advice, if people made the file; programs get the responses that they expect.
pub fn explained(
    mut errors: Vec<RecordError>,
    record: &RawRecord<'_>,
    binding: &Binding,
    rules: &Rules,
) -> Vec<RecordError> {
    for error in &mut errors {
        explain_in(error, record, binding, rules);
    }
    errors
}

fn explain_in(error: &mut RecordError, record: &RawRecord<'_>, binding: &Binding, rules: &Rules) {
    // A record with a defect was not read well, and nothing is known of its values.
    if rules.options.header_names == HeaderNames::Common && record.defect.is_none() {
        explain::explain(error, record, binding, rules);
    }
}

/// The replacement of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Correction {
    /// Another text.
    Text(String),
    /// Yes or no.
    Flag(bool),
    /// Nothing.
    LeftOut,
}

fn corrected<'m>(record: &RawRecord<'m>, corrections: &'m [(usize, Correction)]) -> Vec<RawField<'m>> {
    let correction =
        |at: usize| corrections.iter().find(|(of, _)| *of == at).map(|(_, correction)| correction);
    let fields = record.fields.iter().enumerate().filter_map(|(at, field)| {
        let value = match correction(at) {
            None => field.value,
            Some(Correction::Text(text)) => RawValue::Text(text),
            Some(Correction::Flag(true)) => RawValue::Json("true"),
            Some(Correction::Flag(false)) => RawValue::Json("false"),
            Some(Correction::LeftOut) => return None,
        };
        Some(RawField { name: field.name, value })
    });
    fields.collect()
}

/// The text without what cannot be seen at its ends.
fn bare(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || crate::normalise::is_invisible(c))
}

/// A number as a spreadsheet shows a long one: `4.47712E+11`.
fn is_scientific(text: &str) -> bool {
    let Some((digits, power)) = text.split_once("E+").or_else(|| text.split_once("e+")) else { return false };
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','))
        && !power.is_empty()
        && power.bytes().all(|byte| byte.is_ascii_digit())
}

/// The text in `="…"`, which people use to keep spreadsheets from changing a value.
fn unwrapped(text: &str) -> Cow<'_, str> {
    match text.strip_prefix("=\"").and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => Cow::Owned(inner.replace("\"\"", "\"")),
        None => Cow::Borrowed(text.strip_prefix('\'').unwrap_or(text)),
    }
}

/// The position in the record of the field of an error.
fn place(record: &RawRecord<'_>, binding: &Binding, error: &RecordError) -> Option<usize> {
    let name = error.field.as_deref()?;
    record.fields.iter().position(|field| binding.name_at(field.name) == name)
}

fn is_phone(field: Field) -> bool {
    matches!(field, Field::PhoneNumber | Field::MfaPhoneNumber)
        || (Field::DirectInboundNumber1..=Field::DirectInboundNumber5).contains(&field)
}

#[cfg(test)]
mod tests;
