//! The values that a file has had so far, as hashes, with the first record of each. Memory is bounded: a full
//! table still answers for the values that it holds, and answers "unknown" for all others.
//!
//! Most values are new, and the table of a large file is larger than the caches of a processor. A few bits for each place
//! tell of most new values that they are not in the table, and several of them are then added at a time, so that the
//! memory is asked for their places side by side.
//!
//! An attacker can choose values whose hashes are close together. So the slot of a hash depends on a random
//! key of each table, and a search looks at a limited number of slots.

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;

use super::memory::Memory;
use crate::fault::{Mutant, mutant};

/// Places of the smallest table.
const SMALL: usize = 1 << 10;
/// How many times as wide a table becomes where it has no room.
const WIDER: usize = 4;
/// Places that a search looks at. With three quarters in use, randomly placed hashes need a few hundred at most.
const PROBES: usize = 1 << 10;
/// Values that are added together.
const TOGETHER: usize = 64;
/// Bits for each place that tell whether a value may be in the table.
const BITS: usize = 8;
/// What a place costs with its bits.
const PLACE_BYTES: usize = size_of::<Place>() + BITS / 8;

/// A table of hashes of eight bytes, each with the number of a record. A collision would report a different
/// value: for a million values, in one of about forty million files.
#[derive(Debug)]
pub(crate) struct KnownValues {
    places: Vec<Place>,
    /// For each place some bits. Where a value's own bit is not set, the value is not known.
    bits: Vec<u64>,
    /// New values that are not in their places yet, each with its keyed hash.
    new: Vec<(u64, Place)>,
    /// Values in their places.
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
        Self {
            places: Vec::new(),
            bits: Vec::new(),
            new: Vec::new(),
            taken: 0,
            memory,
            hashing: RandomState::new(),
            full: false,
        }
    }

    /// How many values are remembered.
    pub(crate) fn len(&self) -> usize {
        self.taken + self.new.len()
    }

    /// Meets a value by its hash, in the record of this number.
    pub(crate) fn meet(&mut self, hash: u64, record: u64) -> Lookup {
        // Making it wider may fill it, too: then it stays full.
        let has_room = self.full || self.has_room() || self.widen();
        self.full |= !has_room;
        let keyed = self.keyed(hash);
        if self.see(keyed) {
            let is_new = |(known, place): &&(u64, Place)| *known == keyed && whole(place.hash) == hash;
            let first = self.new.iter().find(is_new).map(|(_, place)| place.record);
            if let Some(first) = first.or_else(|| self.find(keyed, hash).ok()) {
                return Lookup::Again(u64::from(first));
            }
        }
        match u32::try_from(record) {
            Ok(record) if !self.full => {
                self.new.push((keyed, Place { hash: halves(hash), record }));
                if self.new.len() == TOGETHER {
                    self.place();
                }
                Lookup::First
            }
            _ => {
                self.full = true;
                Lookup::NoRoom
            }
        }
    }

    /// Whether a value with this keyed hash may be known. From now on it may.
    fn see(&mut self, keyed: u64) -> bool {
        let at = part(keyed, self.bits.len() * 64);
        let bit = 1 << (at % 64);
        self.bits.get_mut(at / 64).is_none_or(|bits| {
            let set = *bits & bit != 0;
            *bits |= bit;
            set
        })
    }

    /// Puts the new values into their places. One that meets too many others is forgotten, and no more are remembered.
    fn place(&mut self) {
        let mut new = std::mem::take(&mut self.new);
        // Looked at first, one independent of the other: the memory answers for several at a time.
        let touched = new.iter().fold(0, |touched, (keyed, _)| {
            touched | self.places.get(self.home(*keyed)).map_or(0, |place| place.record)
        });
        black_box(touched);
        for (keyed, place) in new.drain(..) {
            self.put(keyed, place);
        }
        self.new = new;
    }

    fn put(&mut self, keyed: u64, place: Place) {
        match self.find(keyed, whole(place.hash)) {
            Err(Some(free)) => {
                self.places[free] = place;
                self.taken += 1;
            }
            Err(None) => self.full = true,
            Ok(_) => {}
        }
    }

    /// Whether a quarter of the places is still free once one more is taken: a search ends at a free one.
    fn has_room(&self) -> bool {
        (self.len() + 1).saturating_mul(4) <= self.places.len().saturating_mul(3)
    }

    /// Makes the table wider, by a third at least. While it does, the narrower one is there too. False if there is no room then either.
    fn widen(&mut self) -> bool {
        self.place();
        let there = self.places.len();
        let most = there.saturating_mul(WIDER).max(SMALL);
        let taken = self.memory.take(|left| {
            let places = most.min(left / PLACE_BYTES);
            (places > there + there / 3).then(|| places * PLACE_BYTES)
        });
        let Some(taken) = taken else { return false };
        let places = taken / PLACE_BYTES;
        let narrow = std::mem::replace(&mut self.places, vec![Place::default(); places]);
        self.bits = vec![0; (places * BITS).div_ceil(64)];
        self.taken = 0;
        for place in narrow.into_iter().filter(|place| place.record != 0) {
            let keyed = self.keyed(whole(place.hash));
            self.see(keyed);
            self.put(keyed, place);
        }
        self.memory.give_back(there * PLACE_BYTES);
        self.has_room()
    }

    /// The record of a hash, or the free slot for it, if the search finds one.
    fn find(&self, keyed: u64, hash: u64) -> Result<u32, Option<usize>> {
        let places = self.places.len();
        let mut at = self.home(keyed);
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

    /// A hash that nobody can foresee.
    fn keyed(&self, hash: u64) -> u64 {
        if mutant(Mutant::HomesUnkeyed) { hash } else { self.hashing.hash_one(hash) }
    }

    /// Where the search for a keyed hash begins.
    fn home(&self, keyed: u64) -> usize {
        part(keyed, self.places.len())
    }
}

/// A number below `parts`, or 0: the same part of them as a keyed hash is of its range.
fn part(keyed: u64, parts: usize) -> usize {
    // The upper bits of the product of two numbers below 2^64 and `parts` are below `parts`.
    usize::try_from((u128::from(keyed) * (parts as u128)) >> u64::BITS).unwrap_or(0)
}

impl Drop for KnownValues {
    fn drop(&mut self) {
        self.memory.give_back(self.places.len() * PLACE_BYTES);
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
            let mut met = KnownValues::within(Memory::of(places * PLACE_BYTES));
            let mut first: HashMap<u64, u64> = HashMap::new();
            for (at, hash) in hashes.iter().enumerate() {
                let record = at as u64 + 1;
                match (met.meet(*hash, record), first.get(hash)) {
                    (Lookup::First, None) => {
                        first.insert(*hash, record);
                    }
                    (Lookup::Again(told), Some(earlier)) => prop_assert_eq!(told, *earlier),
                    // The narrower table counts while the wider one is made, so the last one may be three sevenths of what there is.
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
        let crowd: Vec<u64> =
            (0..u64::MAX).filter(|hash| met.home(met.keyed(*hash)) < 4).take(PROBES + 100).collect();
        let told: Vec<Lookup> = (1..).zip(&crowd).map(|(record, hash)| met.meet(*hash, record)).collect();
        let first = told.iter().take_while(|told| **told == Lookup::First).count();
        // Some were told to be new before their places were looked for.
        assert!((PROBES..=PROBES + TOGETHER + 4).contains(&first), "{first}");
        assert!(told[first..].iter().all(|told| *told == Lookup::NoRoom));
        assert!(met.len() < PROBES + 4);
        assert_eq!(met.meet(crowd[0], 1_000_000), Lookup::Again(1));
        assert_eq!(met.meet(crowd[first - 1], 1_000_001), Lookup::NoRoom);
    }

    #[test]
    fn tables_share_one_memory_and_give_it_back() {
        let memory = Memory::of(SMALL * PLACE_BYTES);
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
