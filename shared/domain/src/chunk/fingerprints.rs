//! The identifiers of a chunk's records as fingerprints. They show whether a chunk can contain an identifier without decoding the chunk.

use xxhash_rust::xxh3::xxh3_64;

/// Four bytes of each normalised identifier's hash, sorted.
///
/// Two identifiers of which one is looked for among 2,000 share theirs once in 2,000,000 looks, so a hit is looked at again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fingerprints(Vec<u32>);

/// The fingerprint of one normalised identifier.
pub fn fingerprint(identifier: &str) -> u32 {
    let [a, b, c, d, ..] = xxh3_64(identifier.as_bytes()).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

impl Fingerprints {
    /// Those of the identifiers.
    pub fn of<'a>(identifiers: impl Iterator<Item = &'a str>) -> Self {
        let mut sorted: Vec<u32> = identifiers.map(fingerprint).collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self(sorted)
    }

    /// Whether an identifier with this fingerprint may be among them.
    pub fn contains(&self, fingerprint: u32) -> bool {
        self.0.binary_search(&fingerprint).is_ok()
    }

    /// The stored form: four bytes each, little-endian.
    pub fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|fingerprint| fingerprint.to_le_bytes()).collect()
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Self {
        let (whole, _) = bytes.as_chunks::<4>();
        Self(whole.iter().map(|four| u32::from_le_bytes(*four)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_identifier_is_found_again_and_a_strange_one_is_not() {
        let identifiers: Vec<String> = (0..2_000).map(|at| format!("user{at}@example.com")).collect();
        let stored = Fingerprints::of(identifiers.iter().map(String::as_str)).encode();
        let read = Fingerprints::decode(&stored);
        assert!(identifiers.iter().all(|identifier| read.contains(fingerprint(identifier))));
        assert!(!read.contains(fingerprint("stranger@example.com")));
        assert_eq!(stored.len(), 8_000);
    }
}
