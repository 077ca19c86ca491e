//! Records that mean the user of an earlier one of their file.
//!
//! In a file with a line for each membership, most records do. So many of them are told one by one, each with the number of the first;
//! the others are counted, and told with the first of them: a warning for each would be as many rows as the file has.

use super::{Meeting, Memory, Met};
use crate::chunk::LaneHash;
use crate::fault::{Mutant, mutant};

/// Records of a file that are told one by one.
pub const REPEATS_TOLD: u64 = 10_000;

/// The users met so far.
#[derive(Debug)]
pub(super) struct Repeats {
    met: Met,
    /// It was told that there is no more room.
    full: bool,
    /// Records that meant an earlier one's user.
    repeated: u64,
}

/// What is told of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    Nothing,
    Told(String),
    /// It is the first of those that are told together.
    FirstUntold,
}

impl Repeats {
    pub(super) fn within(memory: Memory) -> Self {
        Self { met: Met::within(memory), full: false, repeated: 0 }
    }

    /// Takes the next record by its user.
    pub(super) fn of(&mut self, identifier: LaneHash, record: u64) -> Repeat {
        match self.met.meet(identifier.get(), record) {
            Meeting::First => Repeat::Nothing,
            Meeting::Again(first) => self.again(first),
            Meeting::NoRoom if self.full || mutant(Mutant::FullTableUntold) => Repeat::Nothing,
            Meeting::NoRoom => {
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
            "Record {first}, an earlier one of the file, means the same user. Records are applied in the order of the file; \
             `--duplicates refuse` takes the first one alone."
        ))
    }

    fn no_room(&self) -> String {
        if self.met.len() == 0 {
            return "It is not told which records of this file mean the same user: other uploads have the memory for that at present \
                    (`intake.repeats_memory`)."
                .to_owned();
        }
        format!(
            "From this record on, it is only told whether a record means one of the first {} users of the file \
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
