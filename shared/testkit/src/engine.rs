//! The pure half of an import, from bytes to users, on a [`Table`] that stands for the store: parse, validate, cut, encode,
//! decode, validate once more, plan, write.

use chrono::DateTime;
use muster_domain::apply::Applying;
use muster_domain::chunk::{ChunkLimits, PackedChunk, decode};
use muster_domain::error::{FileError, RecordError};
use muster_domain::intake::Memory;
use muster_domain::options::ImportOptions;
use muster_domain::outcome::{OutcomeSheet, Verdict};
use muster_domain::parse::{Dialect, ParseLimits, Parser};
use muster_domain::plan::plan;
use muster_domain::receive::{Bounds, Cut, CutTaker, Issue, Packing, Receiving, Repeats, Staged};
use muster_domain::record::{RawRecord, Record};
use muster_domain::rules::Rules;
use muster_domain::validate::{Binding, validate};
use uuid::Uuid;

use super::oracle::Observed;
use super::table::{Table, index};

/// What became of the records of one chunk, by their numbers.
pub type Decided = Vec<(u64, Observed)>;

/// The engine with its users.
#[derive(Debug, Default)]
pub struct Engine {
    /// The users.
    pub table: Table,
    made: u128,
    /// Memory for records that mean the user of an earlier one.
    repeats: Memory,
}

/// How an upload is cut and in which order its chunks are applied.
pub struct Course<'c> {
    /// Bounds of the parse step.
    pub parse: ParseLimits,
    /// How the upload is written.
    pub dialect: Dialect,
    /// Bounds of the chunks.
    pub chunk: ChunkLimits,
    /// Which of the chunks that are left is next; of its lane the first is taken.
    pub next: &'c mut dyn FnMut(&[PackedChunk]) -> usize,
}

impl std::fmt::Debug for Course<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Course")
            .field("parse", &self.parse)
            .field("dialect", &self.dialect)
            .field("chunk", &self.chunk)
            .finish_non_exhaustive()
    }
}

/// What the producer stages.
#[derive(Debug)]
struct Everything {
    packing: Packing,
    chunks: Vec<PackedChunk>,
    issues: Vec<Issue>,
}

impl CutTaker for Everything {
    fn take(&mut self, cut: Cut) -> bool {
        let Self { packing, chunks, issues } = self;
        let packed = packing.pack(cut, |staged| {
            match staged {
                Staged::Chunk(chunk) => chunks.push(chunk),
                Staged::Issues(some) => issues.extend(some),
                Staged::Keys(_) | Staged::End => {}
            }
            true
        });
        packed.expect("what was cut is compressed")
    }
}

impl Engine {
    /// An engine that warns of records that mean the user of an earlier one.
    pub fn telling_repeats(memory: usize) -> Self {
        Self { repeats: Memory::of(memory), ..Self::default() }
    }

    /// Imports an upload; after each chunk `each` sees what became of its records. Returns how many records there were.
    ///
    /// # Errors
    /// What the file is refused for.
    ///
    /// # Panics
    /// When a guarantee of the engine does not hold.
    pub fn import(
        &mut self,
        bytes: &[u8],
        options: &ImportOptions,
        course: Course<'_>,
        each: &mut dyn FnMut(Decided, &Table),
    ) -> Result<u64, FileError> {
        let rules = Rules::new(options.clone()).with_catalog(index());
        let bounds = Bounds { chunk: course.chunk, repeats: self.repeats, ..Bounds::default() };
        let repeats = Repeats::new(options, self.repeats);
        let packing = Packing::new(repeats).expect("there is memory for a compressor");
        let everything = Everything { packing, chunks: Vec::new(), issues: Vec::new() };
        let mut receiving = Receiving::new(rules.clone(), None, bounds, everything);
        let mut parser = Parser::in_dialect(options.format, course.parse, course.dialect)
            .at(options.at.as_deref())
            .reshaping(rules.table());
        parser.feed(bytes, &mut receiving)?;
        let end = parser.finish(&mut receiving)?;
        let Everything { mut chunks, issues, .. } = receiving.finish().expect("what is cut is taken").taker;
        let failed = |issue: &Issue| {
            let errors = issue.errors.clone();
            (issue.record, Observed { verdict: Verdict::FAILED, user: None, errors, warnings: Vec::new() })
        };
        let invalid: Decided = issues.iter().filter(|issue| issue.failed).map(failed).collect();
        while !chunks.is_empty() {
            let lane = chunks[(course.next)(&chunks)].lane;
            let at = chunks.iter().position(|chunk| chunk.lane == lane).expect("a chunk of the lane");
            let mut decided = self.chunk(&chunks.remove(at), &rules, &invalid);
            for (number, observed) in &mut decided {
                let more = issues.iter().filter(|issue| issue.record == *number);
                observed.warnings.extend(more.flat_map(|issue| issue.warnings.clone()));
            }
            each(decided, &self.table);
        }
        Ok(end.records)
    }

    /// The worker's part.
    fn chunk(&mut self, chunk: &PackedChunk, rules: &Rules, invalid: &Decided) -> Decided {
        let records = decode(&chunk.body).expect("a chunk that was just encoded");
        let fields = records.fields();
        let mut binding = Binding::new(rules);
        binding.extend(records.names());
        let raw: Vec<RawRecord<'_>> = records.records(&fields).collect();
        let mut decided = Decided::new();
        let mut sheet = OutcomeSheet::pending(raw.len());
        for (index, record) in raw.iter().enumerate() {
            let number = record.position.record.get();
            let Some((_, before)) = invalid.iter().find(|(invalid, _)| *invalid == number) else { continue };
            let errors = validate(record, &binding, rules).result.expect_err("what was invalid is invalid");
            // While it is received, a message also says what mends the value.
            let codes = |errors: &[RecordError]| -> Vec<_> {
                errors.iter().map(|error| (error.code, error.field.clone())).collect()
            };
            assert_eq!(codes(&errors), codes(&before.errors), "validating once more comes to the same");
            decided.push((number, before.clone()));
            sheet.set(index, Verdict::FAILED, None);
        }
        let mut applying = Applying::new(sheet, records.names(), &raw, &binding, rules);
        assert!(applying.issues.is_empty(), "what was valid is valid: {:?}", applying.issues);
        let valid = std::mem::take(&mut applying.valid);
        let refs: Vec<&Record<'_>> = valid.iter().map(|(_, record)| record).collect();
        let existing = self.table.find(&refs, rules.options.enrolment);
        let mut made = self.made;
        let plan = plan(&refs, &existing, rules, DateTime::UNIX_EPOCH, &mut || {
            made += 1;
            Uuid::from_u128(made)
        });
        self.made = made;
        let place = |at: usize| valid[at].0;
        applying.note(
            valid.iter().zip(&plan.verdicts).map(|((index, _), (verdict, user))| (*index, *verdict, *user)),
            plan.errors.iter().map(|(at, error)| (place(*at), error.clone())),
            plan.warnings.iter().map(|(at, warning)| (place(*at), warning.to_string())),
        );
        for ((index, _), (verdict, user)) in valid.iter().zip(&plan.verdicts) {
            let number = raw[*index].position.record.get();
            let issues: Vec<&Issue> = applying.issues.iter().filter(|issue| issue.record == number).collect();
            let errors = issues.iter().flat_map(|issue| issue.errors.clone()).collect();
            let mut warnings: Vec<String> = issues.iter().flat_map(|issue| issue.warnings.clone()).collect();
            warnings.sort();
            decided.push((number, Observed { verdict: *verdict, user: *user, errors, warnings }));
        }
        self.table.write(&plan, rules.options.enrolment);
        decided.sort_by_key(|(number, _)| *number);
        decided
    }
}
