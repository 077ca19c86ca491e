//! What the tenant's quotas leave for an import.

use crate::error::{ErrorCode, FileError};

/// What one more import may have. What is not set does not limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Records.
    pub records: Option<u64>,
    /// Bytes, decompressed.
    pub bytes: Option<u64>,
}

impl Allowance {
    /// The error of an import that has more than it may.
    pub fn check(&self, records: u64, bytes: u64) -> Result<(), FileError> {
        let told = |message: String| FileError::new(ErrorCode::QuotaExceeded, message);
        match (self.records, self.bytes) {
            (Some(most), _) if records > most => {
                Err(told(format!("the tenant's quota of the day has room for {most} more records")))
            }
            (_, Some(most)) if bytes > most => Err(told(format!(
                "the tenant's quota has room for {most} more bytes of uploads that are kept"
            ))),
            _ => Ok(()),
        }
    }
}
