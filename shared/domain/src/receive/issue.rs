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
    /// The record as uploaded, secrets redacted: JSON text `[[name, value], …]`.
    pub source: String,
}

impl Issue {
    /// About how many bytes it holds.
    pub fn size(&self) -> usize {
        let errors =
            self.errors.iter().map(|error| error.message.len() + error.field.as_ref().map_or(0, String::len));
        let warnings = self.warnings.iter().map(String::len);
        let own = size_of::<Self>() + size_of_val(&self.errors[..]) + size_of_val(&self.warnings[..]);
        own + self.source.len() + errors.sum::<usize>() + warnings.sum::<usize>()
    }
}
