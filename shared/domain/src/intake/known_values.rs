//! The values that a file has had so far, as hashes, with the first record of each. Memory is bounded: a full
//! table still answers for the values that it holds, and answers "unknown" for all others.
//!
//! An attacker can choose values whose hashes are close together. So the slot of a hash depends on a random
//! key of each table, and a search looks at a limited number of slots.

use std::hash::{BuildHasher, RandomState};

use super::memory::Memory;
use crate::fault::{Mutant, mutant};

/// Places of the smallest table.
const SMALL: usize = 1 << 10;
/// How many times as wide a table becomes where it has no room.
const WIDER: usize = 4;
/// Places that a search looks at. With three quarters in use, randomly placed hashes need a few hundred at most.
const PROBES: usize = 1 << 10;

/// A table of hashes of eight bytes, each with the number of a record. A collision would report a different
/// value: for a million values, in one of about forty million files.
#[derive(Debug)]
pub(crate) struct KnownValues {
    places: Vec<Place>,
    taken: usize,
    /// What the places are taken from.
    memory: Memory,
    hashing: RandomState,
    /// The table is full: from now on no value is added, so that the first values are the ones that are remembered.
    full: bool,
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
pub(crate) enum Lookup {
    /// It is new, and remembered from now on.
    First,
    /// The record of this number had it first.
    Again(u64),
    /// It is not among the remembered values, and the table is full.
    NoRoom,
}

impl KnownValues {
    /// A table that takes its places from a memory, and gives them back at its end.
    pub(crate) fn within(memory: Memory) -> Self {
        Self { places: Vec::new(), taken: 0, memory, hashing: RandomState::new(), full: false }
    }

    /// How many values are remembered.
    pub(crate) fn len(&self) -> usize {
        self.taken
    }

    /// Meets a value by its hash, in the record of this number.
    pub(crate) fn meet(&mut self, hash: u64, record: u64) -> Lookup {
        self.full = self.full || !(self.has_room() || self.widen());
        match (self.find(hash), u32::try_from(record)) {
            (Ok(first), _) => Lookup::Again(u64::from(first)),
            (Err(Some(free)), Ok(record)) if !self.full => {
                self.places[free] = Place { hash: halves(hash), record };
                self.taken += 1;
                Lookup::First
            }
            (Err(_), _) => {
                self.full = true;
                Lookup::NoRoom
            }
        }
    }

    /// Whether a quarter of the places is still free once one more is taken: a search ends at a free one.
    fn has_room(&self) -> bool {
        (self.taken + 1).saturating_mul(4) <= self.places.len().saturating_mul(3)
    }

    /// Makes the table wider, by half at least. While it does, the narrower one is there too. False if there is no room then either.
    fn widen(&mut self) -> bool {
        let there = self.places.len();
        let most = there.saturating_mul(WIDER).max(SMALL);
        let taken = self.memory.take(|left| {
            let places = most.min(left / size_of::<Place>());
            (places > there + there / 2).then(|| places * size_of::<Place>())
        });
        let Some(bytes) = taken else { return false };
        let wide = vec![Place::default(); bytes / size_of::<Place>()];
        let narrow = std::mem::replace(&mut self.places, wide);
        self.taken = 0;
        for place in narrow.into_iter().filter(|place| place.record != 0) {
            if let Err(Some(free)) = self.find(whole(place.hash)) {
                self.places[free] = place;
                self.taken += 1;
            }
        }
        self.memory.give_back(there * size_of::<Place>());
        self.has_room()
    }

    /// The record of a hash, or the free slot for it, if the search finds one.
    fn find(&self, hash: u64) -> Result<u32, Option<usize>> {
        let places = self.places.len();
        let mut at = self.home(hash);
        let hash = halves(hash);
        for _ in 0..PROBES {
            // None in a table of no places.
            let Some(place) = self.places.get(at) else { break };
            if place.record == 0 {
                return Err(Some(at));
            }
            if place.hash == hash {
                return Ok(place.record);
            }
            at = if at + 1 == places { 0 } else { at + 1 };
        }
        Err(None)
    }

    /// Where the search for a hash begins.
    fn home(&self, hash: u64) -> usize {
        let keyed = if mutant(Mutant::HomesUnkeyed) { hash } else { self.hashing.hash_one(hash) };
        // The upper bits of the product of two numbers below 2^64 and `places` are below `places`.
        let home = (u128::from(keyed) * (self.places.len() as u128)) >> u64::BITS;
        usize::try_from(home).unwrap_or(0)
    }
}

impl Drop for KnownValues {
    fn drop(&mut self) {
        self.memory.give_back(self.places.len() * size_of::<Place>());
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
            let mut met = KnownValues::within(Memory::of(places * size_of::<Place>()));
            let mut first: HashMap<u64, u64> = HashMap::new();
            for (at, hash) in hashes.iter().enumerate() {
                let record = at as u64 + 1;
                match (met.meet(*hash, record), first.get(hash)) {
                    (Lookup::First, None) => {
                        first.insert(*hash, record);
                    }
                    (Lookup::Again(told), Some(earlier)) => prop_assert_eq!(told, *earlier),
                    // The narrower table counts while the wider one is made, so the last one may be two fifths of what there is.
                    (Lookup::NoRoom, None) => prop_assert!(first.len() + 2 >= places * 3 / 10),
                    (told, known) => prop_assert!(false, "{:?} of {:?}", told, known),
                }
                prop_assert!(met.places.len() <= places && met.len() == first.len());
            }
        }
    }

    /// The upper bits of these hashes are equal: with predictable slots, each search would visit all of them.
    #[test]
    fn hashes_that_a_file_chooses_do_not_crowd() {
        let mut met = KnownValues::within(Memory::of(1 << 20));
        for hash in 0..20_000_u64 {
            assert_eq!(met.meet(hash, hash + 1), Lookup::First, "{hash}");
        }
        assert_eq!(met.meet(0, 20_001), Lookup::Again(1));
    }

    #[test]
    fn a_search_ends_where_too_many_stand_in_one_place() {
        let mut met = KnownValues::within(Memory::default());
        met.places = vec![Place::default(); 4 * PROBES];
        let crowd: Vec<u64> = (0..u64::MAX).filter(|hash| met.home(*hash) < 4).take(PROBES + 100).collect();
        let told: Vec<Lookup> = (1..).zip(&crowd).map(|(record, hash)| met.meet(*hash, record)).collect();
        let first = told.iter().take_while(|told| **told == Lookup::First).count();
        assert!((PROBES..PROBES + 4).contains(&first), "{first}");
        assert!(told[first..].iter().all(|told| *told == Lookup::NoRoom));
        assert_eq!((met.len(), met.meet(crowd[0], 1_000_000)), (first, Lookup::Again(1)));
    }

    #[test]
    fn tables_share_one_memory_and_give_it_back() {
        let memory = Memory::of(SMALL * size_of::<Place>());
        let mut one = KnownValues::within(memory);
        let mut other = KnownValues::within(memory);
        assert_eq!(one.meet(1, 1), Lookup::First);
        assert_eq!(other.meet(1, 1), Lookup::NoRoom);
        drop(one);
        // Earlier answers stay true.
        assert_eq!(other.meet(1, 2), Lookup::NoRoom);
        assert_eq!(KnownValues::within(memory).meet(1, 1), Lookup::First);
        // Grown tables leave no memory in use either.
        let memory = Memory::of(1 << 20);
        for _ in 0..50 {
            let mut met = KnownValues::within(memory);
            assert!((1..=20_000).all(|number| met.meet(number, number) == Lookup::First));
        }
        assert_eq!(memory.take(Some), Some(1 << 20));
    }

    #[test]
    fn a_million_values_fit_thirty_two_mebibytes() {
        assert_eq!(size_of::<Place>(), 12);
        let mut met = KnownValues::within(Memory::of(32 * 1024 * 1024));
        for number in 1..=1_000_000_u64 {
            assert_eq!(met.meet(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number), Lookup::First);
        }
    }
}
