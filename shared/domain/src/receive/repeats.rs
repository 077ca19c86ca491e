//! Records that mean the user of an earlier one of their file.
//!
//! In a file with a line for each membership, most records do. The first of them are reported individually,
//! each with the number of the first record. The others are counted and reported together, since a warning
//! for each could be as many rows as the file has.

use crate::chunk::LaneHash;
use crate::fault::{Mutant, mutant};
use crate::intake::{KnownValues, Lookup, Memory};
use crate::options::{Duplicates, HeaderNames, ImportOptions, Start};

/// How many records of a file are reported individually.
pub const REPEATS_TOLD: u64 = 10_000;

/// The users of a file met so far.
#[derive(Debug)]
pub struct Repeats {
    /// None once nobody needs to know more.
    met: Option<KnownValues>,
    /// The warning about the lack of memory was already given.
    full: bool,
    /// Records that meant an earlier one's user.
    repeated: u64,
    /// Repeated users are reported.
    told: bool,
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
    /// nobody needs to know of repeated users.
    pub fn new(options: &ImportOptions, memory: Memory) -> Option<Self> {
        let told = Self::are_told(options);
        let repeats = || Self { met: Some(KnownValues::within(memory)), full: false, repeated: 0, told };
        Self::are_counted(options, memory).then(repeats)
    }

    /// Whether users are looked up: to report repeated ones, or because a plan is less work if there are none.
    pub(super) fn are_counted(options: &ImportOptions, memory: Memory) -> bool {
        (Self::are_told(options) || options.start == Start::Plan) && !memory.is_none()
    }

    /// Whether repeated users are reported. Programs get the responses that they expect, and if users must be
    /// unique in the file, the later record fails.
    fn are_told(options: &ImportOptions) -> bool {
        let handmade = options.header_names == HeaderNames::Common;
        let in_order = options.duplicates == Duplicates::InOrder;
        handmade && in_order && !mutant(Mutant::RepeatsUntold)
    }

    /// Whether it is known that each record meant another user.
    pub(super) fn all_differ(&self) -> bool {
        self.repeated == 0 && !self.full || mutant(Mutant::RepeatsTakenForOthers)
    }

    /// Meets the next record by its user. Where nothing is reported, the first repeated user is all there is to know, and the memory is free
    /// for others.
    pub(super) fn meet(&mut self, identifier: LaneHash, record: u64) -> Repeat {
        let Some(met) = &mut self.met else { return Repeat::Nothing };
        let lookup = met.meet(identifier.get(), record);
        if lookup != Lookup::First && !self.told && !mutant(Mutant::UntoldRepeatsRemembered) {
            self.met = None;
        }
        match lookup {
            Lookup::First => Repeat::Nothing,
            Lookup::Again(first) => self.again(first),
            Lookup::NoRoom => {
                let known = std::mem::replace(&mut self.full, true);
                let untold = known || !self.told || mutant(Mutant::FullTableUntold);
                if untold { Repeat::Nothing } else { Repeat::Told(self.no_room()) }
            }
        }
    }

    fn again(&mut self, first: u64) -> Repeat {
        self.repeated += 1;
        if !self.told {
            return Repeat::Nothing;
        }
        if self.repeated > REPEATS_TOLD && !mutant(Mutant::RepeatsAllTold) {
            return if self.repeated == REPEATS_TOLD + 1 { Repeat::FirstUntold } else { Repeat::Nothing };
        }
        Repeat::Told(format!(
            "Record {first}, an earlier one of the file, is about the same user. Records are applied in the order of the file; `--duplicates refuse` accepts only the first one."
        ))
    }

    fn no_room(&self) -> String {
        let users = self.met.as_ref().map_or(0, KnownValues::len);
        if users == 0 {
            return "Records of this file about the same user are not reported: other uploads use the memory for that at present \
                    (`intake.repeats_memory`)."
                .to_owned();
        }
        format!(
            "From this record on, only records about one of the first {users} users of the file are reported \
             (`intake.repeats_memory`)."
        )
    }

    /// What the first of the others is warned of, once all of them are counted.
    pub(super) fn untold(&self) -> Option<String> {
        let untold = self.repeated.saturating_sub(REPEATS_TOLD);
        (untold > 0 && self.told && !mutant(Mutant::RepeatsAllTold)).then(|| {
            format!(
                "More records mean the user of an earlier one of the file than the {REPEATS_TOLD} that are told one by one: from this \
                 record on, {untold} of them. They are applied in the order of the file."
            )
        })
    }
}
