//! Bytes changed at random, by a seed that is printed.

use std::time::Duration;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// `MUSTER_FUZZ_SEED`, or a new one.
pub fn seed() -> u64 {
    variable("MUSTER_FUZZ_SEED")
        .unwrap_or_else(|| muster_runtime::clock::now().timestamp_micros().unsigned_abs())
}

/// How long to go on: `MUSTER_FUZZ_SECONDS`, or one.
pub fn seconds() -> Duration {
    Duration::from_secs(variable("MUSTER_FUZZ_SECONDS").unwrap_or(1))
}

/// Numbers by a seed.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below that one.
    pub fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most.max(1) as u64).unwrap_or(0)
    }

    /// One of the corpus, changed in some places.
    pub fn changed(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        const PIECES: [&[u8]; 16] = [
            b"\"",
            b"\n",
            b"\r",
            b",",
            b"\0",
            b"\xff",
            b"\xef\xbb\xbf",
            b"{",
            b"}",
            b"[",
            b"]",
            b"\\u0000",
            b"\\ud800",
            b"\\",
            b"1e999",
            "\u{3164}\u{202e}e\u{301}".as_bytes(),
        ];
        let mut bytes = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => bytes.truncate(at),
                2 => {
                    bytes.splice(at..at, PIECES[self.below(PIECES.len())].iter().copied());
                }
                3 => {
                    let end = (at + self.below(16)).min(bytes.len());
                    bytes.drain(at..end);
                }
                4 => {
                    let end = (at + self.below(64)).min(bytes.len());
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => {
                    let other = &corpus[self.below(corpus.len())];
                    let from = self.below(other.len() + 1);
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[from..]);
                }
            }
        }
        bytes.truncate(100_000);
        bytes
    }
}
