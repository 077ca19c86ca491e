//! Errors that are data: what is wrong with a record, and what is wrong with a whole file.
//!
//! Both carry a stable [`ErrorCode`]; neither ever carries the value at fault.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use crate::error_code::{ErrorCode, ErrorPlace};

/// What is wrong with one record. Stored beside its outcome `failed`.
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
}

impl RecordError {
    /// An error of the record as a whole.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, field: None, message: message.into(), user_id: None }
    }

    /// Says which field is at fault.
    #[must_use]
    pub fn in_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says which other user holds the value.
    #[must_use]
    pub fn held_by(mut self, user_id: Uuid) -> Self {
        self.user_id = Some(user_id);
        self
    }
}

/// What is wrong with a whole file: record borders cannot be trusted, or its columns cannot be. Nothing of it is applied.
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
    pub field: Option<String>,
}

impl FileError {
    /// An error without a place.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), record: None, line: None, column: None, field: None }
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
        self.field = Some(field.into());
        self
    }

    fn place(&self) -> String {
        let parts: Vec<String> = [("record", self.record), ("line", self.line), ("column", self.column)]
            .into_iter()
            .filter_map(|(word, number)| number.map(|number| format!("{word} {number}")))
            .collect();
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
    }
}
