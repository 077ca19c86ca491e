//! What a record has to say beside its outcome.

use crate::error::RecordError;

/// A record with something to say beside its outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Issue {
    /// Number of the record.
    pub record: u64,
    /// Whether the record failed (else there are only warnings).
    pub failed: bool,
    /// What is wrong with it.
    pub errors: Vec<RecordError>,
    /// What its owner should know although it was applied.
    pub warnings: Vec<String>,
    /// Of a failed record: the record as uploaded, secrets redacted: JSON text `[[name, value], …]`.
    pub source: Option<String>,
}

impl Issue {
    /// An issue of a record that did not fail, with nothing in it yet.
    pub(crate) fn of(record: u64) -> Self {
        Self { record, failed: false, errors: Vec::new(), warnings: Vec::new(), source: None }
    }

    /// About how many bytes it holds.
    pub fn size(&self) -> usize {
        let errors =
            self.errors.iter().map(|error| error.message.len() + error.field.as_ref().map_or(0, String::len));
        let warnings = self.warnings.iter().map(String::len);
        let own = size_of::<Self>() + size_of_val(&self.errors[..]) + size_of_val(&self.warnings[..]);
        own + self.source.as_ref().map_or(0, String::len) + errors.sum::<usize>() + warnings.sum::<usize>()
    }
}
