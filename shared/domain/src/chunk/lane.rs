//! Which lane a record belongs to: the hash of its normalised identifier modulo the number of lanes.
//!
//! Records with the same identifier share a lane, and a lane is processed in order. So parallel workers
//! produce the result that one worker would (P4).

use std::num::NonZeroU32;

use xxhash_rust::xxh3::xxh3_64;

/// How many lanes an import has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneCount(NonZeroU32);

impl LaneCount {
    /// One lane: file order for everything.
    pub const ONE: Self = Self(NonZeroU32::MIN);

    /// At least one.
    pub fn new(lanes: u32) -> Self {
        Self(NonZeroU32::new(lanes).unwrap_or(NonZeroU32::MIN))
    }

    /// The number of lanes for an import of `records` records: one a chunk's worth, `most` at the most.
    ///
    /// ```
    /// use muster_domain::chunk::LaneCount;
    ///
    /// assert_eq!(LaneCount::for_records(300, 2_000, 16).get(), 1);
    /// assert_eq!(LaneCount::for_records(1_000_000, 2_000, 16).get(), 16);
    /// ```
    pub fn for_records(records: u64, chunk_records: u32, most: u32) -> Self {
        let chunks = records.div_ceil(u64::from(chunk_records.max(1)));
        Self::new(u32::try_from(chunks).unwrap_or(u32::MAX).min(most))
    }

    /// The plain number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// The hash of a normalised identifier. Records with one identifier have one hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaneHash(u64);

impl LaneHash {
    /// The hash of this normalised identifier.
    pub fn of(identifier: &str) -> Self {
        Self(xxh3_64(identifier.as_bytes()))
    }

    /// The plain number.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// The lane of a record: by the hash of its normalised identifier; one without a valid identifier can clash with nothing and goes by
/// its number.
///
/// ```
/// use muster_domain::chunk::{LaneCount, LaneHash, lane_of};
///
/// let lanes = LaneCount::new(16);
/// let ada = Some(LaneHash::of("ada@example.com"));
/// assert_eq!(lane_of(ada, 7, lanes), lane_of(ada, 4_711, lanes));
/// ```
pub fn lane_of(identifier: Option<LaneHash>, record: u64, lanes: LaneCount) -> u32 {
    let key = identifier.map_or(record, LaneHash::get);
    // The remainder of a u32 divisor fits a u32.
    u32::try_from(key % u64::from(lanes.get())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_identifier_stays_in_its_lane() {
        let lanes = LaneCount::new(16);
        let hash = |identifier| Some(LaneHash::of(identifier));
        assert_eq!(lane_of(hash("a@b.co"), 1, lanes), lane_of(hash("a@b.co"), 99, lanes));
        assert!((0..1000).all(|n| lane_of(None, n, lanes) < 16));
    }

    #[test]
    fn a_file_that_fits_one_chunk_has_one_lane() {
        assert_eq!(LaneCount::for_records(0, 2000, 16), LaneCount::ONE);
        assert_eq!(LaneCount::for_records(2000, 2000, 16), LaneCount::ONE);
        assert_eq!(LaneCount::for_records(2001, 2000, 16).get(), 2);
        assert_eq!(LaneCount::for_records(u64::MAX, 2000, 16).get(), 16);
    }
}
