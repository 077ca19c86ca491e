//! The bounds of errors that have none with them.

use serde_json::Value;

use super::value::{MAX_NAME_CHARS, MAX_TEXT_BYTES};
use crate::bound::Bound;
use crate::catalog::AttributeDefinition;
use crate::error::{ErrorCode, RecordError};
use crate::fault::{Mutant, mutant};
use crate::normalise::Username;

/// The bound that the value broke. Programs before bounds stored errors without: it is found again by what the value is, and by what
/// its attribute is defined as now.
pub fn bound_of(
    error: &RecordError,
    value: Option<&Value>,
    definition: Option<&AttributeDefinition>,
) -> Option<Bound> {
    if let Some(bound) = error.bound.as_deref().filter(|_| !mutant(Mutant::BoundLookedUpAgain)) {
        return Some(bound.clone());
    }
    let text = value.and_then(Value::as_str);
    match error.code {
        ErrorCode::ValueTooLong => Some(match text {
            Some(text) if text.len() <= MAX_TEXT_BYTES => Bound::MaxChars(MAX_NAME_CHARS),
            _ => Bound::MaxBytes(MAX_TEXT_BYTES),
        }),
        ErrorCode::ValueOutOfRange => definition.and_then(AttributeDefinition::range),
        ErrorCode::UsernameInvalid | ErrorCode::ControlChar => text.and_then(Username::bound_of_plain),
        _ => None,
    }
}
