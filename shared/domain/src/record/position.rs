//! The position of a record in the upload.

use std::fmt;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// Number of a record in its import, from 1 in file order. A CSV header is not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordNumber(NonZeroU64);

impl RecordNumber {
    /// The first record.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// `None` for zero: there is no record 0.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The plain number, 1 or more.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The record after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for RecordNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Place of a record's first byte in the decoded (decompressed) upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Number of the record, from 1.
    pub record: RecordNumber,
    /// Physical line on which the record starts, from 1 (a CSV header stands on line 1).
    pub line: u64,
    /// Offset of the record's first byte, from 0.
    pub byte: u64,
}
