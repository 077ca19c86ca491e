//! Planning chunk by chunk comes to what working through the records one by one comes to.

use std::fmt::Write as _;

use chrono::DateTime;
use uuid::Uuid;

use super::table::{Table, index};
use crate::chunk::{ChunkCutter, ChunkLimits, SealedChunk, decode};
use crate::error::FileError;
use crate::options::Enrolment;
use crate::outcome::Verdict;
use crate::parse::{ParseLimits, Parser, RecordSink};
use crate::plan::plan;
use crate::record::{Names, RawRecord, Record};
use crate::rules::Rules;
use crate::testing::hostile::{Shape, Upload};
use crate::testing::oracle::{Observed, Oracle};
use crate::testing::random::Random;
use crate::validate::{Binding, validate};

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

/// The producer's pure half.
struct Sink {
    rules: Rules,
    binding: Binding,
    cutter: ChunkCutter,
    invalid: Vec<(u64, Observed)>,
}

impl RecordSink for Sink {
    fn header(&mut self, names: &Names) -> Result<(), FileError> {
        self.binding.extend(names);
        self.binding.check_header(&self.rules.options)
    }

    fn record(&mut self, record: &RawRecord<'_>, names: &Names) -> Result<(), FileError> {
        self.binding.extend(names);
        let validated = validate(record, &self.binding, &self.rules);
        let valid = validated.result.is_ok();
        if let Err(errors) = validated.result {
            let observed = Observed { verdict: Verdict::FAILED, user: None, errors, warnings: Vec::new() };
            self.invalid.push((record.position.record.get(), observed));
        }
        self.cutter
            .push(record, names, validated.identifier.as_deref(), valid)
            .expect("a chunk can be encoded");
        Ok(())
    }
}

/// An import on the map that stands for the store.
struct Run {
    table: Table,
    oracle: Oracle,
    next_id: u128,
}

impl Run {
    fn upload(&mut self, upload: &Upload, random: &mut Random) -> Result<(), String> {
        let rules = Rules::new(upload.options.clone()).with_catalog(index());
        let limits = ChunkLimits {
            records: u32::try_from(random.between(1, 12)).expect("small"),
            bytes: *random.pick(&[64, 1 << 20]),
            lanes: u32::try_from(random.between(1, 4)).expect("small"),
        };
        let mut sink = Sink {
            binding: Binding::new(&rules),
            rules: rules.clone(),
            cutter: ChunkCutter::new(limits),
            invalid: Vec::new(),
        };
        let mut parser = Parser::new(upload.options.format, ParseLimits::default());
        parser.feed(&upload.bytes(), &mut sink).map_err(|error| format!("refused: {error}"))?;
        let end = parser.finish(&mut sink).map_err(|error| format!("refused: {error}"))?;
        if end.records != upload.lines.len() as u64 {
            return Err(format!("{} records were read of {}", end.records, upload.lines.len()));
        }
        let mut names = Names::new();
        for name in sink.binding.names() {
            names.push(name);
        }
        sink.cutter.finish(&names).expect("a chunk can be encoded");
        // The chunks of a lane in their order, the lanes in any.
        let mut chunks = sink.cutter.take();
        while !chunks.is_empty() {
            let lane = random.pick(&chunks).lane;
            let at = chunks.iter().position(|chunk| chunk.lane == lane).expect("a chunk of the lane");
            self.chunk(&chunks.remove(at), upload, &rules, &sink.invalid)?;
        }
        Ok(())
    }

    fn chunk(
        &mut self,
        chunk: &SealedChunk,
        upload: &Upload,
        rules: &Rules,
        invalid: &[(u64, Observed)],
    ) -> Result<(), String> {
        let records = decode(&chunk.body).expect("a chunk that was just encoded");
        let fields = records.fields();
        let mut binding = Binding::new(rules);
        binding.extend(records.names());
        let raw: Vec<RawRecord<'_>> = records.records(&fields).collect();
        let mut observed: Vec<Option<Observed>> = Vec::new();
        let mut valid: Vec<(usize, Record<'_>)> = Vec::new();
        for (at, record) in raw.iter().enumerate() {
            let before = invalid.iter().find(|(number, _)| *number == record.position.record.get());
            observed.push(before.map(|(_, observed)| observed.clone()));
            match (validate(record, &binding, rules).result, before) {
                (Ok(record), None) => valid.push((at, record)),
                (Err(errors), Some((_, before))) if errors == before.errors => {}
                _ => return Err("validating once more comes to something else".to_owned()),
            }
        }
        let refs: Vec<&Record<'_>> = valid.iter().map(|(_, record)| record).collect();
        let existing = self.table.find(&refs, rules.options.enrolment);
        let mut next = self.next_id;
        let plan = plan(&refs, &existing, rules, DateTime::UNIX_EPOCH, &mut || {
            next += 1;
            Uuid::from_u128(next)
        });
        self.next_id = next;
        for (index, (at, _)) in valid.iter().enumerate() {
            let (verdict, user) = plan.verdicts[index];
            let errors = plan.errors.iter().filter(|(of, _)| *of == index).map(|(_, error)| error.clone());
            let warnings =
                plan.warnings.iter().filter(|(of, _)| *of == index).map(|(_, text)| text.to_string());
            let mut warnings: Vec<String> = warnings.collect();
            warnings.sort();
            observed[*at] = Some(Observed { verdict, user, errors: errors.collect(), warnings });
        }
        self.table.write(&plan, rules.options.enrolment);
        for (record, observed) in raw.iter().zip(observed) {
            let number = usize::try_from(record.position.record.get()).expect("small");
            let observed = observed.expect("every record has an outcome");
            let line = &upload.lines[number - 1];
            let told = self.oracle.apply(line, &upload.options, observed.user.unwrap_or_default());
            if !told.is(&observed) {
                return Err(format!("record {number} must come to {told:?}\nand comes to {observed:?}"));
            }
        }
        let mut wanted = self.oracle.users.clone();
        wanted.sort_by_key(|user| user.id);
        let ended = self.table.plain();
        match wanted.iter().zip(&ended).find(|(wanted, got)| wanted != got) {
            _ if wanted.len() != ended.len() => Err(format!("{} users, not {}", ended.len(), wanted.len())),
            Some((wanted, got)) => Err(format!("a user must be {wanted:?}\nand is {got:?}")),
            None => Ok(()),
        }
    }
}

fn check(case: &Case) -> Result<(), String> {
    // A panic (a unique index that breaks) is a finding like any other.
    let result = std::panic::catch_unwind(|| {
        let mut random = Random::new(case.seed ^ 0x5eed);
        let mut run = Run { table: Table::default(), oracle: Oracle::default(), next_id: 0 };
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
