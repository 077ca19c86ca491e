//! Error messages in the wording of the original: each validation of B.1.1 has a short message, and a column of the portal's table.

use muster_domain::bound::Bound;
use muster_domain::error::{ErrorCode, FileError, RecordError};
use muster_store::records::IssueReport;
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::Columns;

/// One error of a file, a row or a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CcaiError)]
pub(super) struct LoggedError {
    /// What is wrong.
    pub(super) message: String,
    /// The column of the portal's table, from 1.
    pub(super) column: usize,
    /// The user's place in the file, from 1; null where the whole file is at fault.
    pub(super) row: Option<u64>,
}

const EMAIL: &str = "Must be a valid email";
const NAME: &str = "Non-empty string";
const FLAG: &str = "Must be 0, 1 or empty";

/// All messages about one record, by column: errors or warnings.
pub(super) fn of_issue(issue: &IssueReport, columns: &Columns) -> Vec<LoggedError> {
    let place =
        |message, path: &str| LoggedError { message, column: columns.column(path), row: Some(issue.record) };
    let errors = issue
        .errors
        .iter()
        .map(move |error| place(of_record(error), error.field.as_deref().unwrap_or_default()));
    // A warning begins with the field that it is about.
    let warnings = issue
        .warnings
        .iter()
        .map(move |warning| place(warning.clone(), warning.split_whitespace().next().unwrap_or_default()));
    let mut told: Vec<LoggedError> = errors.chain(warnings).collect();
    told.sort_by_key(|error| error.column);
    told
}

/// An error of a whole file.
pub(super) fn of_file(error: &FileError) -> LoggedError {
    let message = match error.code {
        ErrorCode::FileEmpty => "Must have at least one user".to_owned(),
        ErrorCode::FormatMismatch => "Must be a JSON array of users".to_owned(),
        ErrorCode::JsonInvalid | ErrorCode::JsonTruncated | ErrorCode::JsonTrailing => {
            format!("Must be valid JSON: {error}")
        }
        _ => error.to_string(),
    };
    LoggedError { message, column: 1, row: None }
}

fn of_record(error: &RecordError) -> String {
    let path = error.field.as_deref().unwrap_or_default();
    let (field, inner) = path.split_once('.').unwrap_or((path, ""));
    let phrase = match (field, error.code) {
        // Errors that are not about the value of the field keep the engine's wording.
        (
            _,
            ErrorCode::ChunkDead | ErrorCode::DatabaseRefused | ErrorCode::Internal | ErrorCode::InvalidUtf8,
        ) => None,
        (_, ErrorCode::DuplicateInFile) => Some("Must be unique within the file".into()),
        ("email" | "new_email", ErrorCode::IdentityConflict) => Some("Email is already taken".into()),
        (_, ErrorCode::JsonDuplicateKey) => Some("Must be given once".into()),
        ("", ErrorCode::TypeMismatch) => Some("Must be an object".into()),
        ("email" | "new_email", _) => Some(EMAIL.into()),
        ("first_name" | "last_name", ErrorCode::ValueTooLong | ErrorCode::ControlChar) => None,
        ("first_name" | "last_name", _) => Some(NAME.into()),
        ("status", _) => Some("Must be Active, Inactive or empty".into()),
        ("location", ErrorCode::CatalogUnknown) => Some("Unknown location".into()),
        ("roles", ErrorCode::CatalogUnknown) => Some("Unknown role".into()),
        ("teams", ErrorCode::CatalogUnknown) => Some("Unknown team".into()),
        ("roles" | "teams", _) if inner.ends_with("value") => Some(FLAG.into()),
        ("roles" | "teams", ErrorCode::TypeMismatch | ErrorCode::FieldRequired) => {
            Some("Must be a list of objects with name and value".into())
        }
        ("max_chat_limit" | "availability_filter_timeout", _) => error.bound.as_deref().and_then(range),
        ("max_chat_limit_enabled" | "unrestricted_international_calling" | "external_user", _) => {
            Some(FLAG.into())
        }
        (name, _) if name.starts_with("direct_inbound_number") => {
            Some("Must be a phone number in E.164".into())
        }
        _ => None,
    };
    phrase.unwrap_or_else(|| capitalised(&error.message))
}

/// The numbers that a field takes.
fn range(bound: &Bound) -> Option<String> {
    match bound {
        Bound::Range { minimum: Some(least), maximum: Some(most) } => {
            Some(format!("Must be in the range {least}..{most}"))
        }
        Bound::Range { minimum: Some(least), maximum: None } => {
            Some(format!("Must be a number, {least} or more"))
        }
        _ => None,
    }
}

fn capitalised(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_short_messages() {
        for (field, code, phrase) in [
            ("email", ErrorCode::EmailInvalid, EMAIL),
            ("email", ErrorCode::DuplicateInFile, "Must be unique within the file"),
            ("new_email", ErrorCode::IdentityConflict, "Email is already taken"),
            ("first_name", ErrorCode::FieldRequired, NAME),
            ("first_name", ErrorCode::InvalidUtf8, "The value is long"),
            ("roles.2", ErrorCode::CatalogUnknown, "Unknown role"),
            ("teams.0.value", ErrorCode::TypeMismatch, FLAG),
            ("alias", ErrorCode::ValueTooLong, "The value is long"),
            ("", ErrorCode::TypeMismatch, "Must be an object"),
        ] {
            let error = RecordError::new(code, "the value is long");
            let error = if field.is_empty() { error } else { error.in_field(field) };
            assert_eq!(of_record(&error), phrase, "{field}");
        }
    }

    #[test]
    fn numbers_are_told_by_the_bound_that_their_error_carries() {
        let told = |field: &str, code, bound: Option<(u32, Option<u32>)>| {
            let error = RecordError::new(code, "the number must be from 1 to 5").in_field(field);
            of_record(&match bound {
                Some((least, most)) => error
                    .bounded_by(Bound::Range { minimum: Some(least.into()), maximum: most.map(Into::into) }),
                None => error,
            })
        };
        let (range, kind) = (ErrorCode::ValueOutOfRange, ErrorCode::TypeMismatch);
        assert_eq!(told("max_chat_limit", range, Some((1, Some(5)))), "Must be in the range 1..5");
        assert_eq!(told("max_chat_limit", kind, Some((1, Some(5)))), "Must be in the range 1..5");
        assert_eq!(told("max_chat_limit", range, Some((1, None))), "Must be a number, 1 or more");
        let timeout = "availability_filter_timeout";
        assert_eq!(told(timeout, range, Some((0, Some(1_440)))), "Must be in the range 0..1440");
        // An older program stored it.
        assert_eq!(told("max_chat_limit", range, None), "The number must be from 1 to 5");
    }
}
