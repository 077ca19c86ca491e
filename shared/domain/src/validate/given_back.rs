//! Records of a file of failed records: what was lost or hidden when they were given back is no value.

use super::Pass;
use super::rule::Rule;
use crate::error::{ErrorCode, RecordError};
use crate::fault::{Mutant, mutant};
use crate::field::Field;
use crate::record::{RawValue, is_redacted};

/// What a file of failed records says of a record that could not be read whole. Its cells lack the lost data,
/// so applying them would make the loss permanent. Somebody must check them first.
pub(super) fn damaged(code: RawValue<'_>) -> Result<(), RecordError> {
    let RawValue::Text(code) = code else { return Ok(()) };
    let codes = [ErrorCode::CsvColumnCount, ErrorCode::CsvBadQuote, ErrorCode::InvalidUtf8];
    match codes.into_iter().find(|known| known.as_str() == code) {
        None => Ok(()),
        Some(code) => Err(RecordError::new(
            code,
            "the record could not be read completely in its original file: correct its cells, and then empty this one",
        )),
    }
}

pub(super) fn redacted() -> RecordError {
    RecordError::new(
        ErrorCode::ValueRedacted,
        "the value was hidden when the record was given back, and must be entered again",
    )
}

impl Pass<'_, '_> {
    /// Whether a record that was given back has the word in the place of a value that was hidden. Passwords and second factors have
    /// errors of their own for it.
    #[inline(always)]
    pub(super) fn is_hidden(&mut self, rule: &Rule, value: RawValue<'_>) -> bool {
        // In most files there are none.
        self.binding.has_marks() && self.is_marked(rule, value)
    }

    fn is_marked(&mut self, rule: &Rule, value: RawValue<'_>) -> bool {
        let secret = |field: Field| field.is_secret() || field == Field::Mfa;
        if !is_redacted(value)
            || rule.field().is_some_and(secret)
            || !self.binding.is_given_back(self.raw)
            || mutant(Mutant::RedactedTaken)
        {
            return false;
        }
        if let Rule::Field(rule) = rule {
            self.given.insert(rule.field);
        }
        true
    }
}
