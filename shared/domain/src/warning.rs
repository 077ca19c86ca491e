//! Warnings: data beside an outcome, for what a record said in vain. The texts are those of contracts A.3.4.

use std::fmt;

use crate::field::Field;

/// Something that a record said in vain.
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
                write!(f, "invalid account status transition: {before} -> {after}")
            }
            Self::UnknownNames(field) => {
                write!(f, "{field} holds names that the catalog does not know; they were left out.")
            }
            Self::Superseded(later) => {
                write!(f, "Record {later}, a later one of the file for the same user, was applied first.")
            }
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
