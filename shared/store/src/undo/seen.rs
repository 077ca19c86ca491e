//! Whether something comes more than once, in bounded memory: bits that its hashes name. It may be told of what comes once, where there are
//! very many; never the other way round.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Bits: 4 MiB of them. Of a million different users one in a thousand times any is taken for another.
const BITS: u64 = 1 << 25;
/// Bits of each one.
const EACH: u64 = 12;

/// What came so far.
#[derive(Debug, Default)]
pub(super) struct SeenOnce {
    bits: Vec<u64>,
    again: bool,
}

impl SeenOnce {
    /// Whether all that came differs, for certain.
    pub(super) fn all_differ(&self) -> bool {
        !self.again
    }

    pub(super) fn see(&mut self, what: &impl Hash) {
        if self.again {
            return;
        }
        if self.bits.is_empty() {
            self.bits = vec![0; usize::try_from(BITS / 64).unwrap_or_default()];
        }
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        let hash = hasher.finish();
        let (first, step) = (hash >> 32, (hash & 0xffff_ffff) | 1);
        let mut is_new = false;
        for place in (0..EACH).map(|each| first.wrapping_add(each.wrapping_mul(step)) % BITS) {
            let bit = 1_u64 << (place % 64);
            if let Some(bits) = usize::try_from(place / 64).ok().and_then(|at| self.bits.get_mut(at)) {
                is_new |= *bits & bit == 0;
                *bits |= bit;
            }
        }
        self.again = !is_new;
        if self.again {
            self.bits = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_is_seen_and_what_comes_once_is_not_taken_for_it() {
        let mut seen = SeenOnce::default();
        for number in 0..200_000_u64 {
            seen.see(&number);
        }
        assert!(seen.all_differ());
        seen.see(&7_u64);
        assert!(!seen.all_differ());
        seen.see(&300_000_u64);
        assert!(!seen.all_differ());
    }
}
