//! Planning chunk by chunk comes to what working through the records one by one comes to.

use std::fmt::Write as _;

use muster_domain::chunk::{ChunkLimits, PackedChunk};
use muster_domain::options::Enrolment;
use muster_domain::parse::{Dialect, ParseLimits};
use muster_testkit::engine::{Course, Decided, Engine};
use muster_testkit::hostile::{Shape, Upload};
use muster_testkit::oracle::Oracle;
use muster_testkit::random::Random;
use muster_testkit::table::Table;

const ENROLMENTS: [Enrolment; 3] = [
    Enrolment { organization_id: 1, group_id: 0 },
    Enrolment { organization_id: 1, group_id: 2 },
    Enrolment { organization_id: 2, group_id: 0 },
];

/// Uploads on one tenant, each cut and its lanes interleaved by the seed.
#[derive(Debug, Clone)]
struct Case {
    uploads: Vec<Upload>,
    seed: u64,
}

impl Case {
    fn make(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let uploads = (0..random.between(1, 3))
            .map(|_| {
                let shape = Shape { records: *random.pick(&[3, 8, 20]), fields: *random.pick(&[2, 5, 9]) };
                Upload::make(&mut random, shape, &ENROLMENTS)
            })
            .collect();
        Self { uploads, seed }
    }

    fn smaller(&self) -> Vec<Self> {
        let mut smaller: Vec<Self> = (0..self.uploads.len())
            .map(|gone| {
                let mut case = self.clone();
                case.uploads.remove(gone);
                case
            })
            .collect();
        for (at, upload) in self.uploads.iter().enumerate() {
            smaller.extend(upload.smaller().into_iter().map(|upload| {
                let mut case = self.clone();
                case.uploads[at] = upload;
                case
            }));
        }
        smaller
    }
}

/// An import beside the oracle.
struct Run {
    engine: Engine,
    oracle: Oracle,
}

impl Run {
    fn upload(&mut self, upload: &Upload, random: &mut Random) -> Result<(), String> {
        let chunk = ChunkLimits {
            records: u32::try_from(random.between(1, 12)).expect("small"),
            bytes: *random.pick(&[64, 1 << 20]),
            lanes: u32::try_from(random.between(1, 4)).expect("small"),
        };
        // The chunks of a lane in their order, the lanes in any.
        let mut next = |chunks: &[PackedChunk]| random.below(chunks.len());
        let course =
            Course { parse: ParseLimits::default(), dialect: Dialect::default(), chunk, next: &mut next };
        let (oracle, mut problem) = (&mut self.oracle, None);
        let mut each = |decided: Decided, table: &Table| {
            if problem.is_none() {
                problem = compare(oracle, upload, &decided, table).err();
            }
        };
        let records = self
            .engine
            .import(&upload.bytes(), &upload.options, course, &mut each)
            .map_err(|error| format!("refused: {error}"))?;
        match problem {
            Some(problem) => Err(problem),
            None if records == upload.lines.len() as u64 => Ok(()),
            None => Err(format!("{records} records were read of {}", upload.lines.len())),
        }
    }
}

fn compare(oracle: &mut Oracle, upload: &Upload, decided: &Decided, table: &Table) -> Result<(), String> {
    for (number, observed) in decided {
        let line = &upload.lines[usize::try_from(*number).expect("small") - 1];
        let told = oracle.apply(line, &upload.options, observed.user.unwrap_or_default());
        if !told.is(observed) {
            return Err(format!("record {number} must come to {told:?}\nand comes to {observed:?}"));
        }
    }
    let mut wanted = oracle.users.clone();
    wanted.sort_by_key(|user| user.id);
    let ended = table.plain();
    match wanted.iter().zip(&ended).find(|(wanted, got)| wanted != got) {
        _ if wanted.len() != ended.len() => Err(format!("{} users, not {}", ended.len(), wanted.len())),
        Some((wanted, got)) => Err(format!("a user must be {wanted:?}\nand is {got:?}")),
        None => Ok(()),
    }
}

fn check(case: &Case) -> Result<(), String> {
    // A panic (a unique index that breaks) is a finding like any other.
    let result = std::panic::catch_unwind(|| {
        let mut random = Random::new(case.seed ^ 0x5eed);
        let mut run = Run { engine: Engine::default(), oracle: Oracle::default() };
        case.uploads.iter().try_for_each(|upload| run.upload(upload, &mut random))
    });
    result.unwrap_or_else(|_| Err("it panics".to_owned()))
}

/// The smallest case that still fails, and how.
fn shrink(mut case: Case, mut problem: String) -> String {
    while let Some((smaller, why)) =
        case.smaller().into_iter().find_map(|smaller| check(&smaller).err().map(|why| (smaller, why)))
    {
        (case, problem) = (smaller, why);
    }
    let mut text = format!("MUSTER_SEED={} fails: {problem}\n", case.seed);
    for upload in &case.uploads {
        let _ = writeln!(text, "{:?}\n{}", upload.options, String::from_utf8_lossy(&upload.bytes()));
    }
    text
}

/// `MUSTER_SEED` repeats one case, `MUSTER_CASES` says how many there are.
#[test]
fn planning_a_chunk_is_working_through_it() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("MUSTER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MUSTER_CASES").unwrap_or(2_000),
    };
    for seed in seeds {
        let case = Case::make(seed);
        if let Err(problem) = check(&case) {
            panic!("{}", shrink(case, problem));
        }
    }
}
