//! One case: what is imported, how it is cut, and what goes wrong meanwhile.

use std::fmt;

use muster_domain::chunk::ChunkLimits;
use muster_domain::options::Enrolment;
use muster_testkit::hostile::{Shape, Upload};
use muster_testkit::random::Random;

use super::asks::{self, Ask};

/// What goes wrong while an import runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble {
    /// Extra copies of the messages of each lane's first chunk.
    pub(super) copies: usize,
    /// Workers that are cut off in the middle.
    pub(super) dying_workers: usize,
    /// Dispatchers that are.
    pub(super) dying_dispatchers: usize,
    /// Workers at a time, and chunks that each works on at a time.
    pub(super) workers: usize,
    pub(super) concurrency: u16,
}

#[derive(Debug)]
pub(super) struct Import {
    pub(super) upload: Upload,
    pub(super) limits: ChunkLimits,
    pub(super) trouble: Trouble,
    /// What is asked for while it runs.
    pub(super) asks: Vec<Ask>,
    /// How often it is retried when it has completed.
    pub(super) retries: usize,
    /// It is cancelled after that all, if it has not completed.
    pub(super) cancelled: bool,
}

#[derive(Debug)]
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) imports: Vec<Import>,
    /// The imports run at the same time, not one after the other.
    pub(super) together: bool,
}

/// Organizations and groups by their place: the ids are known once a tenant is there.
const PLACES: [Enrolment; 3] = [
    Enrolment { organization_id: 0, group_id: 0 },
    Enrolment { organization_id: 0, group_id: 1 },
    Enrolment { organization_id: 1, group_id: 0 },
];

impl Case {
    pub(super) fn make(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let imports = (0..random.between(1, 4)).map(|_| Import::make(&mut random)).collect();
        Self { seed, imports, together: random.percent(30) }
    }
}

impl Import {
    fn make(random: &mut Random) -> Self {
        let shape = Shape { records: *random.pick(&[10, 40, 80]), fields: *random.pick(&[2, 3, 6]) };
        let dies = |random: &mut Random| if random.percent(25) { random.between(1, 3) } else { 0 };
        Self {
            upload: Upload::make(random, shape, &PLACES),
            limits: ChunkLimits {
                records: u32::try_from(*random.pick(&[1, 2, 3, 5, 10])).unwrap(),
                bytes: *random.pick(&[100, 64 * 1024]),
                lanes: u32::try_from(random.between(1, 6)).unwrap(),
            },
            trouble: Trouble {
                copies: if random.percent(30) { random.between(1, 3) } else { 0 },
                dying_workers: dies(random),
                dying_dispatchers: dies(random),
                workers: random.between(1, 2),
                concurrency: u16::try_from(random.between(1, 4)).unwrap(),
            },
            asks: asks::some(random),
            retries: random.below(3),
            cancelled: random.percent(7),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, together: {}", self.seed, self.together)?;
        for import in &self.imports {
            writeln!(f, "{:?} {:?}\n{:?}", import.limits, import.trouble, import.upload.options)?;
            writeln!(f, "{:?}, retries: {}, cancelled: {}", import.asks, import.retries, import.cancelled)?;
            for (at, line) in String::from_utf8_lossy(&import.upload.bytes()).lines().enumerate() {
                writeln!(f, "{:>4} {line}", at + 1)?;
            }
        }
        Ok(())
    }
}
