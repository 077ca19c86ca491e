//! Records that mean the user of an earlier one of their file.
//!
//! In a file with a line for each membership, most records do. The first of them are reported individually,
//! each with the number of the first record. The others are counted and reported together, since a warning
//! for each could be as many rows as the file has.

use crate::chunk::LaneHash;
use crate::fault::{Mutant, mutant};
use crate::intake::{KnownValues, Lookup, Memory};
use crate::options::{Duplicates, HeaderNames, ImportOptions};

/// How many records of a file are reported individually.
pub const REPEATS_TOLD: u64 = 10_000;

/// The users of a file met so far.
#[derive(Debug)]
pub struct Repeats {
    met: KnownValues,
    /// The warning about the lack of memory was already given.
    full: bool,
    /// Records that meant an earlier one's user.
    repeated: u64,
}

/// What there is to tell of a record because of the earlier ones of its file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Nothing.
    Nothing,
    /// This warning.
    Told(String),
    /// It is the first of those that are reported together.
    FirstUntold,
}

impl Repeats {
    /// The users of a file with these options, as far as the memory has room: all uploads share one. None if
    /// repeated users are not reported.
    pub fn new(options: &ImportOptions, memory: Memory) -> Option<Self> {
        let repeats = || Self { met: KnownValues::within(memory), full: false, repeated: 0 };
        Self::are_told(options, memory).then(repeats)
    }

    /// Whether repeated users are reported. Programs get the responses that they expect, and if users must be
    /// unique in the file, the later record fails.
    pub(super) fn are_told(options: &ImportOptions, memory: Memory) -> bool {
        let handmade = options.header_names == HeaderNames::Common;
        let in_order = options.duplicates == Duplicates::InOrder;
        handmade && in_order && !memory.is_none() && !mutant(Mutant::RepeatsUntold)
    }

    /// Takes the next record by its user.
    pub(super) fn of(&mut self, identifier: LaneHash, record: u64) -> Repeat {
        match self.met.meet(identifier.get(), record) {
            Lookup::First => Repeat::Nothing,
            Lookup::Again(first) => self.again(first),
            Lookup::NoRoom if self.full || mutant(Mutant::FullTableUntold) => Repeat::Nothing,
            Lookup::NoRoom => {
                self.full = true;
                Repeat::Told(self.no_room())
            }
        }
    }

    fn again(&mut self, first: u64) -> Repeat {
        self.repeated += 1;
        if self.repeated > REPEATS_TOLD && !mutant(Mutant::RepeatsAllTold) {
            return if self.repeated == REPEATS_TOLD + 1 { Repeat::FirstUntold } else { Repeat::Nothing };
        }
        Repeat::Told(format!(
            "Record {first}, an earlier one of the file, is about the same user. Records are applied in the order of the file; `--duplicates refuse` accepts only the first one."
        ))
    }

    fn no_room(&self) -> String {
        if self.met.len() == 0 {
            return "Records of this file about the same user are not reported: other uploads use the memory for that at present \
                    (`intake.repeats_memory`)."
                .to_owned();
        }
        format!(
            "From this record on, only records about one of the first {} users of the file are reported \
             (`intake.repeats_memory`).",
            self.met.len()
        )
    }

    /// What the first of the others is warned of, once all of them are counted.
    pub(super) fn untold(&self) -> Option<String> {
        let untold = self.repeated.saturating_sub(REPEATS_TOLD);
        (untold > 0 && !mutant(Mutant::RepeatsAllTold)).then(|| {
            format!(
                "More records mean the user of an earlier one of the file than the {REPEATS_TOLD} that are told one by one: from this \
                 record on, {untold} of them. They are applied in the order of the file."
            )
        })
    }
}
