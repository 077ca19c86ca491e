//! Warnings: data beside an outcome, about parts of a record that had no effect. The texts are those of contracts A.3.4.

use std::fmt;

use crate::field::Field;

/// A part of a record that had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// A new user: null removes nothing.
    NullInInsert(Field),
    /// A new user: `false` is what it is anyway.
    FalseInInsert(Field),
    /// A new user: nothing is there to be verified.
    VerifiedInInsert(Field, Field),
    /// An existing user: the record does not say what was verified.
    VerifiedWithout(Field, Field),
    /// An existing user: the record removes what it says was verified.
    VerifiedWithNull(Field, Field),
    /// The account is in that state already.
    Transition {
        /// State before and after: disabled, or normal.
        disabled: bool,
        /// It is not disabled, and outside its period of validity.
        outside: bool,
    },
    /// Names that the catalog does not know were left out.
    UnknownNames(Field),
    /// The record was retried after a later one of its file with the same identifier, which has this number, was applied.
    Superseded(u64),
}

impl Warning {
    /// Whether a text is that of a warning which applying gives. It is told anew each time the record is applied, other than what was
    /// found in the file.
    pub fn is_text_of_one(text: &str) -> bool {
        text.starts_with(TRANSITION)
            || NO_EFFECT.iter().any(|words| text.contains(words))
            || text.ends_with(UNKNOWN_NAMES)
            || (text.starts_with("Record ") && text.ends_with(SUPERSEDED))
    }
}

const TRANSITION: &str = "invalid account status transition: ";
const NO_EFFECT: [&str; 2] = [" has no effect in insert.", " has no effect when "];
const UNKNOWN_NAMES: &str = " holds names that the catalog does not know; they were left out.";
const SUPERSEDED: &str = ", a later one of the file for the same user, was applied first.";

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = |disabled: bool| if disabled { "disabled" } else { "normal" };
        match self {
            Self::NullInInsert(field) => write!(f, "{} = null has no effect in insert.", path(*field)),
            Self::FalseInInsert(field) => write!(f, "{} = false has no effect in insert.", path(*field)),
            Self::VerifiedInInsert(flag, field) => {
                write!(f, "{flag} = true has no effect when {field} is absent.")
            }
            Self::VerifiedWithout(flag, field) => write!(f, "{flag} has no effect when {field} is absent."),
            Self::VerifiedWithNull(flag, field) => write!(f, "{flag} has no effect when {field} = null."),
            Self::Transition { disabled, outside } => {
                let after = state(*disabled);
                let before = if *outside { "outside_valid_period" } else { after };
                write!(f, "{TRANSITION}{before} -> {after}")
            }
            Self::UnknownNames(field) => write!(f, "{field}{UNKNOWN_NAMES}"),
            Self::Superseded(later) => write!(f, "Record {later}{SUPERSEDED}"),
        }
    }
}

/// Fields within `mfa` by their path.
fn path(field: Field) -> &'static str {
    match field {
        Field::MfaEmail => "mfa.email",
        Field::MfaPhoneNumber => "mfa.phone_number",
        field => field.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_applying_warns_of_is_told_from_what_was_found_in_the_file() {
        for warning in [
            Warning::NullInInsert(Field::MfaEmail),
            Warning::FalseInInsert(Field::EmailVerified),
            Warning::VerifiedInInsert(Field::EmailVerified, Field::Email),
            Warning::VerifiedWithout(Field::EmailVerified, Field::Email),
            Warning::VerifiedWithNull(Field::EmailVerified, Field::Email),
            Warning::Transition { disabled: true, outside: false },
            Warning::UnknownNames(Field::Roles),
            Warning::Superseded(7),
        ] {
            assert!(Warning::is_text_of_one(&warning.to_string()), "{warning}");
        }
        for text in [
            "first_name holds a line break; it was replaced by a blank.",
            "Record 7, an earlier one of the file, is about the same user. Records are applied in the order of the file; \
             `--duplicates refuse` takes the first one alone.",
            "phone_number was left out: a phone number is written in E.164",
        ] {
            assert!(!Warning::is_text_of_one(text), "{text}");
        }
    }
}
