//! Bytes → [`RawRecord`]s with positions. Pure and incremental: fed with pieces of any size, it holds at most one record.
//!
//! Guarantee: whatever the pieces, the same bytes give the same records and the same error (`tests/parse.rs` proves it).
//! Non-goal: meaning. Which columns there must be and what a value means is validate's.

use crate::error::FileError;
use crate::record::{Names, RawRecord};

/// Receives what a parser finds.
pub trait RecordSink {
    /// The CSV header was read; called once, before the first record, and not at all for JSON.
    fn header(&mut self, names: &Names) -> Result<(), FileError>;

    /// One record, in file order. `names` resolves its field names; it only ever grows.
    fn record(&mut self, record: &RawRecord<'_>, names: &Names) -> Result<(), FileError>;
}
