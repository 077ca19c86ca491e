//! Errors that are data: errors of a record, and of a whole file.
//!
//! Both carry a stable [`ErrorCode`]; neither ever carries the value at fault.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bound::{self, Bound};
use crate::fault::{Mutant, mutant};

pub use crate::error_code::{ErrorCode, ErrorPlace};

/// How many errors of one record are reported; of the others only the number is.
pub const MAX_ERRORS: usize = 20;
/// How many characters of a field's name are reported, since names of an upload may have any length.
const MAX_FIELD_CHARS: usize = 200;
/// Most characters of a message.
const MAX_MESSAGE_CHARS: usize = 1_000;

/// The text with U+FFFD for each NUL, which no JSON of the database can be read with. Names of a file may have one, and become texts.
pub fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') && !mutant(Mutant::NulInTexts) {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The text as it is told: without a NUL, its end cut off beyond so many characters.
pub(crate) fn cut(mut text: String, most: usize) -> String {
    if let Cow::Owned(shown) = without_nul(&text) {
        text = shown;
    }
    if text.len() > most
        && let Some((at, _)) = text.char_indices().nth(most)
    {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// The first [`MAX_ERRORS`] of a record's errors, and how many more there are.
pub fn first_errors(mut errors: Vec<RecordError>) -> Vec<RecordError> {
    let more = errors.len().saturating_sub(MAX_ERRORS);
    if more > 0 && !mutant(Mutant::AllErrors) {
        errors.truncate(MAX_ERRORS + 1);
        if let Some(last) = errors.last_mut() {
            *last = RecordError::new(last.code, format!("and {more} more"));
        }
        errors.shrink_to_fit();
    }
    errors
}

/// An error of one record. Stored beside its outcome `failed`.
///
/// ```
/// use muster_domain::error::{ErrorCode, RecordError};
///
/// let error = RecordError::new(ErrorCode::EmailInvalid, "there is nothing behind the @").in_field("email");
/// assert_eq!((error.code.as_str(), error.field.as_deref()), ("email_invalid", Some("email")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordError {
    /// Stable code, for programs.
    pub code: ErrorCode,
    /// Name of the field at fault as the upload spells it, where one field is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// One sentence for people. Names the rule, never the value.
    pub message: String,
    /// The other user that holds the value, where the record collides with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Uuid>,
    /// The limit that the value broke, where the error is about one. For front doors: answers leave it out, the database has it
    /// ([`stored`]). Older programs stored none.
    #[serde(skip_serializing, default, deserialize_with = "bound::known")]
    pub bound: Option<Box<Bound>>,
}

/// An error as the database keeps it.
#[derive(Debug, Serialize)]
pub struct StoredError<'a> {
    #[serde(flatten)]
    error: &'a RecordError,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<&'a Bound>,
}

/// The errors of a record as the database keeps them: with what answers leave out.
///
/// ```
/// use muster_domain::bound::Bound;
/// use muster_domain::error::{ErrorCode, RecordError, stored};
///
/// let error = RecordError::new(ErrorCode::ValueTooLong, "too long").bounded_by(Bound::MaxChars(9));
/// let kept = serde_json::to_string(&stored(&[error.clone()])).unwrap();
/// assert_eq!(kept, r#"[{"code":"value_too_long","message":"too long","bound":{"max_chars":9}}]"#);
/// assert_eq!(serde_json::from_str::<Vec<RecordError>>(&kept).unwrap(), [error.clone()]);
/// assert_eq!(serde_json::to_string(&error).unwrap(), r#"{"code":"value_too_long","message":"too long"}"#);
/// ```
pub fn stored(errors: &[RecordError]) -> Vec<StoredError<'_>> {
    errors.iter().map(|error| StoredError { error, bound: error.bound.as_deref() }).collect()
}

impl RecordError {
    /// An error of the record as a whole.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = cut(message.into(), MAX_MESSAGE_CHARS);
        Self { code, field: None, message, user_id: None, bound: None }
    }

    /// Says which field is at fault.
    #[must_use]
    pub fn in_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(cut(field.into(), MAX_FIELD_CHARS));
        self
    }

    /// Says which other user holds the value.
    #[must_use]
    pub fn held_by(mut self, user_id: Uuid) -> Self {
        self.user_id = Some(user_id);
        self
    }

    /// Says which limit the value broke.
    #[must_use]
    pub fn bounded_by(mut self, bound: Bound) -> Self {
        self.bound = Some(Box::new(bound));
        self
    }
}

/// An error of a whole file: its record boundaries or its columns are unreliable. Nothing of it is applied.
///
/// ```
/// use muster_domain::error::{ErrorCode, FileError};
///
/// let error = FileError::new(ErrorCode::CsvUnclosedQuote, "A quote is not closed.").at_record(3).at_line(4);
/// assert_eq!(error.to_string(), "A quote is not closed. (record 3, line 4)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}{}", self.place())]
pub struct FileError {
    /// Stable code, for programs.
    pub code: ErrorCode,
    /// One sentence for people.
    pub message: String,
    /// Number of the record at fault, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// Physical line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Column: the number of the CSV column, or of the character in the line for JSON; from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// Name of the column at fault, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Box<str>>,
    /// Flags of the command that prevent it, as words. Never read out of the message, which may quote names of the file.
    #[serde(skip)]
    mends: Option<Box<Mends>>,
}

/// Flags of the command as words. Errors are small, and most have none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mends(Vec<String>);

impl FileError {
    /// An error without a place.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: cut(message.into(), MAX_MESSAGE_CHARS),
            record: None,
            line: None,
            column: None,
            field: None,
            mends: None,
        }
    }

    /// Says at which record.
    #[must_use]
    pub fn at_record(mut self, record: u64) -> Self {
        self.record = Some(record);
        self
    }

    /// Says on which line.
    #[must_use]
    pub fn at_line(mut self, line: u64) -> Self {
        self.line = Some(line);
        self
    }

    /// Says in which column.
    #[must_use]
    pub fn at_column(mut self, column: u64) -> Self {
        self.column = Some(column);
        self
    }

    /// Says which column by name.
    #[must_use]
    pub fn in_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(cut(field.into(), MAX_FIELD_CHARS).into());
        self
    }

    /// Sets the flags of the command that prevent it.
    #[must_use]
    pub fn mended_by<S: Into<String>>(mut self, flags: impl IntoIterator<Item = S>) -> Self {
        let flags: Vec<String> = flags.into_iter().map(Into::into).collect();
        self.mends = (!flags.is_empty()).then(|| Box::new(Mends(flags)));
        self
    }

    /// The flags of the command that prevent it, each with its value.
    pub fn mends(&self) -> &[String] {
        self.mends.as_deref().map_or(&[], |mends| &mends.0)
    }

    fn place(&self) -> String {
        let parts: Vec<String> = [("record", self.record), ("line", self.line), ("column", self.column)]
            .into_iter()
            .filter_map(|(word, number)| number.map(|number| format!("{word} {number}")))
            .collect();
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_errors_are_told_and_the_number_of_the_others() {
        let errors = |count: usize| {
            let one = || RecordError::new(ErrorCode::FieldUnknown, "the field is not known").in_field("x");
            first_errors((0..count).map(|_| one()).collect())
        };
        assert_eq!(errors(MAX_ERRORS - 1).len(), MAX_ERRORS - 1);
        assert!(errors(MAX_ERRORS).iter().all(|error| error.field.is_some()));
        for count in [MAX_ERRORS + 1, 256] {
            let told = errors(count);
            assert_eq!(told.len(), MAX_ERRORS + 1);
            assert_eq!(told[MAX_ERRORS].message, format!("and {} more", count - MAX_ERRORS));
        }
    }

    /// Programs of before and after this one read what it stores, and it reads what they store.
    #[test]
    fn a_bound_that_is_not_known_or_not_there_is_none() {
        let read = |json: &str| serde_json::from_str::<RecordError>(json).unwrap();
        let told = RecordError::new(ErrorCode::ValueOutOfRange, "m");
        assert_eq!(read(r#"{"code": "value_out_of_range", "message": "m"}"#), told);
        for bound in [r#"{"of_tomorrow": 1}"#, r#"{"range": 7}"#, "null", "[]"] {
            assert_eq!(
                read(&format!(r#"{{"code": "value_out_of_range", "message": "m", "bound": {bound}}}"#)),
                told
            );
        }
        let bound = Bound::Range { minimum: serde_json::Number::from_f64(0.5), maximum: Some(9.into()) };
        let error = told.bounded_by(bound);
        let kept = serde_json::to_string(&stored(std::slice::from_ref(&error))).unwrap();
        assert_eq!(serde_json::from_str::<Vec<RecordError>>(&kept).unwrap(), [error]);
    }

    #[test]
    fn no_text_of_an_error_has_a_nul() {
        let error = RecordError::new(ErrorCode::FieldUnknown, "a\0b").in_field("x\0");
        assert_eq!((error.message.as_str(), error.field.as_deref()), ("a\u{fffd}b", Some("x\u{fffd}")));
        let error = FileError::new(ErrorCode::MostlyInvalid, "\0").in_field("\0y");
        assert_eq!((error.message.as_str(), error.field.as_deref()), ("\u{fffd}", Some("\u{fffd}y")));
    }

    #[test]
    fn names_and_messages_are_cut() {
        let name = "ü".repeat(MAX_FIELD_CHARS + 1);
        let error = RecordError::new(ErrorCode::FieldUnknown, "m".repeat(5_000)).in_field(name.as_str());
        assert_eq!(error.field.unwrap().chars().count(), MAX_FIELD_CHARS + 1);
        assert_eq!(error.message.chars().count(), MAX_MESSAGE_CHARS + 1);
        let error = FileError::new(ErrorCode::CsvHeaderUnknown, "short").in_field(&name[2..]);
        assert_eq!(
            (error.message.as_str(), error.field.unwrap().chars().count()),
            ("short", MAX_FIELD_CHARS)
        );
    }
}
