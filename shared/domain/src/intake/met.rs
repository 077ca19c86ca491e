//! Which values a file has had so far, by their hashes, and the record that had each first. Memory is bounded: a full table still knows
//! what it holds, and says of anything else that it cannot know.

/// Places of the smallest table.
const SMALL: usize = 1 << 10;
/// How many times as wide a table becomes where it has no room.
const WIDER: usize = 4;

/// A table of hashes of eight bytes, each with the number of a record. A collision tells of a value that is another one: of a million
/// values, in one file of about forty million.
#[derive(Debug, Clone, Default)]
pub(crate) struct Met {
    places: Vec<Place>,
    taken: usize,
    /// Most places.
    most: usize,
}

/// Twelve bytes, so that most values need one line of the processor's cache.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    hash: [u32; 2],
    /// Records are numbered from 1: 0 is a free place.
    record: u32,
}

/// What is known of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// It is new, and remembered from now on.
    First,
    /// The record of this number had it first.
    Again(u64),
    /// It is none of those that are remembered, and there is no room for more.
    NoRoom,
}

impl Met {
    /// A table of so many bytes at most. While it becomes wider, the narrower one is there too.
    pub(crate) fn within(bytes: usize) -> Self {
        Self { most: bytes / size_of::<Place>(), ..Self::default() }
    }

    /// How many values are remembered.
    pub(crate) fn len(&self) -> usize {
        self.taken
    }

    /// Meets a value by its hash, in the record of this number.
    pub(crate) fn meet(&mut self, hash: u64, record: u64) -> Meeting {
        let room = self.has_room() || self.widen();
        match (self.find(hash), u32::try_from(record)) {
            (Ok(first), _) => Meeting::Again(u64::from(first)),
            (Err(free), Ok(record)) if room => {
                self.places[free] = Place { hash: halves(hash), record };
                self.taken += 1;
                Meeting::First
            }
            (Err(_), _) => Meeting::NoRoom,
        }
    }

    /// Whether a quarter of the places is still free once one more is taken: a search ends at a free one.
    fn has_room(&self) -> bool {
        (self.taken + 1).saturating_mul(4) <= self.places.len().saturating_mul(3)
    }

    /// Makes the table wider. False if there is no room then either.
    fn widen(&mut self) -> bool {
        let places = self.places.len().saturating_mul(WIDER).max(SMALL).min(self.most);
        if places <= self.places.len() {
            return false;
        }
        let narrow = std::mem::replace(&mut self.places, vec![Place::default(); places]);
        for place in narrow.into_iter().filter(|place| place.record != 0) {
            if let Err(free) = self.find(whole(place.hash)) {
                self.places[free] = place;
            }
        }
        self.has_room()
    }

    /// The record of a hash, or the place where it would stand.
    fn find(&self, hash: u64) -> Result<u32, usize> {
        let places = self.places.len();
        // The upper bits of the product of two numbers below 2^64 and `places` are below `places`.
        let home = (u128::from(hash) * (places as u128)) >> u64::BITS;
        let mut at = usize::try_from(home).unwrap_or(0);
        let hash = halves(hash);
        while let Some(place) = self.places.get(at) {
            if place.record == 0 {
                return Err(at);
            }
            if place.hash == hash {
                return Ok(place.record);
            }
            at = if at + 1 == places { 0 } else { at + 1 };
        }
        // A table of no places.
        Err(0)
    }
}

fn halves(hash: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

fn whole([low, high]: [u32; 2]) -> u64 {
    (u64::from(high) << u32::BITS) | u64::from(low)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The table beside a map: as long as there is room they agree, and a full table never says a wrong number.
        #[test]
        fn a_value_that_was_met_is_known_by_its_first_record(
            hashes in prop::collection::vec(prop_oneof![0_u64..40, (0_u64..40).prop_map(|n| u64::MAX - n), any::<u64>()], 0..4_000),
            places in 0_usize..6_000,
        ) {
            let mut met = Met::within(places * size_of::<Place>());
            let mut first: HashMap<u64, u64> = HashMap::new();
            for (at, hash) in hashes.iter().enumerate() {
                let record = at as u64 + 1;
                match (met.meet(*hash, record), first.get(hash)) {
                    (Meeting::First, None) => {
                        first.insert(*hash, record);
                    }
                    (Meeting::Again(told), Some(earlier)) => prop_assert_eq!(told, *earlier),
                    (Meeting::NoRoom, None) => prop_assert!(first.len() >= places * 3 / 4),
                    (told, known) => prop_assert!(false, "{:?} of {:?}", told, known),
                }
                prop_assert!(met.places.len() <= places && met.len() == first.len());
            }
        }
    }

    #[test]
    fn a_million_values_fit_sixteen_mebibytes() {
        assert_eq!(size_of::<Place>(), 12);
        let mut met = Met::within(16 * 1024 * 1024);
        for number in 1..=1_000_000_u64 {
            assert_eq!(met.meet(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number), Meeting::First);
        }
    }
}
