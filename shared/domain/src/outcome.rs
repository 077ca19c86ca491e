//! The outcomes of records, their counts, and the compact form in which a chunk stores them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The outcome of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Not decided yet.
    Pending,
    /// A user was made.
    Inserted,
    /// An existing user was changed.
    Updated,
    /// Nothing was to be done, or nothing was allowed to be.
    Skipped,
    /// The record is at fault; its errors say why.
    Failed,
}

/// Why a record has its outcome, where there is more than one way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Skipped: the user exists, and existing users are not to be changed.
    Exists,
    /// Skipped: the user is already as the record wants it.
    Unchanged,
    /// Skipped: the import was cancelled before the record's turn.
    Cancelled,
    /// Updated: no field changed, the user was enrolled in the organization.
    Enrolled,
    /// Skipped: when the record was retried, a later record of the file with the same identifier had been applied.
    Superseded,
    /// Updated, in an undo: the user that the import had inserted was deleted.
    Deleted,
    /// Skipped, in an undo: somebody changed the user since, and it is left as it is.
    ChangedSince,
    /// Skipped, in an undo: the user is there no more.
    Gone,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Exists,
        Self::Unchanged,
        Self::Cancelled,
        Self::Enrolled,
        Self::Superseded,
        Self::Deleted,
        Self::ChangedSince,
        Self::Gone,
    ];

    /// The outcome that it is a reason of.
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Enrolled | Self::Deleted => Outcome::Updated,
            Self::Exists
            | Self::Unchanged
            | Self::Cancelled
            | Self::Superseded
            | Self::ChangedSince
            | Self::Gone => Outcome::Skipped,
        }
    }

    /// What it means, in a sentence.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Exists => "The user exists, and existing users were not to be changed.",
            Self::Unchanged => {
                "The user is already as the record wants it, or, in an undo, as it was before."
            }
            Self::Cancelled => "The import was cancelled before the record's turn.",
            Self::Enrolled => "No field changed; the user was enrolled in the organization.",
            Self::Superseded => {
                "When the record was retried, a later record of the file for the same user had been applied."
            }
            Self::Deleted => "The undo deleted the user that the import had inserted.",
            Self::ChangedSince => {
                "Somebody changed the user after the import that is undone, and the undo left it as it is."
            }
            Self::Gone => {
                "The user was deleted after the import that is undone, so nothing is left to take back."
            }
        }
    }

    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Exists => {
                "If existing users are to be changed, import the file with `--on-existing update`."
            }
            Self::Unchanged | Self::Enrolled | Self::Deleted | Self::Gone => "Nothing is to be done.",
            Self::Cancelled => "`muster imports resume <ID>` goes on where the import stopped.",
            Self::Superseded => {
                "Nothing is to be done: the later record counts. If this one is to count, import it alone."
            }
            Self::ChangedSince => {
                "The record's warning names the fields, and who changed them where that is known. `muster users show <USER>` \
                 shows the user as it is now. Whoever wants the earlier values all the same imports them, or changes the user by hand."
            }
        }
    }

    /// The text in responses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::Unchanged => "unchanged",
            Self::Cancelled => "cancelled",
            Self::Enrolled => "enrolled",
            Self::Superseded => "superseded",
            Self::Deleted => "deleted",
            Self::ChangedSince => "changed_since",
            Self::Gone => "gone",
        }
    }
}

/// An outcome with its reason: one byte in a sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// The outcome of the record.
    pub outcome: Outcome,
    /// Why.
    pub reason: Option<Reason>,
}

impl Verdict {
    /// Not decided yet.
    pub const PENDING: Self = Self::plain(Outcome::Pending);
    /// A user was made.
    pub const INSERTED: Self = Self::plain(Outcome::Inserted);
    /// An existing user was changed.
    pub const UPDATED: Self = Self::plain(Outcome::Updated);
    /// The record is at fault.
    pub const FAILED: Self = Self::plain(Outcome::Failed);
    /// The user exists.
    pub const EXISTS: Self = Self::because(Outcome::Skipped, Reason::Exists);
    /// The user is as the record wants it.
    pub const UNCHANGED: Self = Self::because(Outcome::Skipped, Reason::Unchanged);
    /// The import was cancelled first.
    pub const CANCELLED: Self = Self::because(Outcome::Skipped, Reason::Cancelled);
    /// The user was enrolled.
    pub const ENROLLED: Self = Self::because(Outcome::Updated, Reason::Enrolled);
    /// A later record was applied first.
    pub const SUPERSEDED: Self = Self::because(Outcome::Skipped, Reason::Superseded);
    /// The user was deleted.
    pub const DELETED: Self = Self::because(Outcome::Updated, Reason::Deleted);
    /// Somebody changed the user since.
    pub const CHANGED_SINCE: Self = Self::because(Outcome::Skipped, Reason::ChangedSince);
    /// The user is there no more.
    pub const GONE: Self = Self::because(Outcome::Skipped, Reason::Gone);

    /// Each verdict's place is its byte in a sheet: append only.
    const BYTES: [Self; 12] = [
        Self::PENDING,
        Self::INSERTED,
        Self::UPDATED,
        Self::FAILED,
        Self::EXISTS,
        Self::UNCHANGED,
        Self::CANCELLED,
        Self::ENROLLED,
        Self::SUPERSEDED,
        Self::DELETED,
        Self::CHANGED_SINCE,
        Self::GONE,
    ];

    const fn plain(outcome: Outcome) -> Self {
        Self { outcome, reason: None }
    }

    const fn because(outcome: Outcome, reason: Reason) -> Self {
        Self { outcome, reason: Some(reason) }
    }

    fn to_byte(self) -> u8 {
        // Every verdict that can be made is in the table (test below), so the fallback is never taken.
        Self::BYTES
            .iter()
            .position(|verdict| *verdict == self)
            .and_then(|at| u8::try_from(at).ok())
            .unwrap_or(0)
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::BYTES.get(usize::from(byte)).copied()
    }
}

/// How many records have which outcome.
///
/// ```
/// use muster_domain::outcome::{Counts, Outcome};
///
/// let mut counts = Counts::default();
/// counts.add(Outcome::Inserted);
/// counts.add(Outcome::Failed);
/// assert_eq!((counts.total, counts.inserted, counts.failed), (2, 1, 1));
/// assert!(counts.add_up());
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All records.
    pub total: u64,
    /// Not decided yet.
    pub pending: u64,
    /// Users made.
    pub inserted: u64,
    /// Users changed.
    pub updated: u64,
    /// Records with nothing to do.
    pub skipped: u64,
    /// Records at fault.
    pub failed: u64,
}

impl Counts {
    /// Counts one record more.
    pub fn add(&mut self, outcome: Outcome) {
        self.total += 1;
        match outcome {
            Outcome::Pending => self.pending += 1,
            Outcome::Inserted => self.inserted += 1,
            Outcome::Updated => self.updated += 1,
            Outcome::Skipped => self.skipped += 1,
            Outcome::Failed => self.failed += 1,
        }
    }

    /// Whether the parts make up the total (P2). Everything that reads counts from the store checks this.
    pub fn add_up(&self) -> bool {
        self.total == self.pending + self.inserted + self.updated + self.skipped + self.failed
    }
}

/// The outcomes of one chunk: a verdict a record, in the chunk's order, and the ids of the users concerned.
///
/// As bytes: the format's version, then one byte a record (the verdict; bit 7 set where an id follows), then the ids, 16
/// bytes each, in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutcomeSheet {
    verdicts: Vec<Verdict>,
    users: Vec<Option<Uuid>>,
}

const VERSION: u8 = 1;
const HAS_USER: u8 = 0x80;

/// The bytes are no outcome sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the outcome sheet cannot be read")]
pub struct BrokenSheet;

impl OutcomeSheet {
    /// A sheet of `records` pending records.
    pub fn pending(records: usize) -> Self {
        Self { verdicts: vec![Verdict::PENDING; records], users: vec![None; records] }
    }

    /// How many records the sheet has.
    pub fn len(&self) -> usize {
        self.verdicts.len()
    }

    /// Whether the sheet has no records.
    pub fn is_empty(&self) -> bool {
        self.verdicts.is_empty()
    }

    /// Sets the outcome of the record at `index` of the chunk. An index past the end is ignored.
    pub fn set(&mut self, index: usize, verdict: Verdict, user: Option<Uuid>) {
        if let (Some(slot), Some(id)) = (self.verdicts.get_mut(index), self.users.get_mut(index)) {
            *slot = verdict;
            *id = user;
        }
    }

    /// The outcome of the record at `index` of the chunk.
    pub fn get(&self, index: usize) -> Option<(Verdict, Option<Uuid>)> {
        Some((*self.verdicts.get(index)?, *self.users.get(index)?))
    }

    /// Every record's verdict and user, in the chunk's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Verdict, Option<Uuid>)> {
        self.verdicts.iter().copied().zip(self.users.iter().copied())
    }

    /// Turns every record with outcome `from` into `to` and forgets its user. Returns how many there were.
    pub fn turn(&mut self, from: Outcome, to: Verdict) -> usize {
        let mut turned = 0;
        for (verdict, user) in self.verdicts.iter_mut().zip(&mut self.users) {
            if verdict.outcome == from {
                *verdict = to;
                *user = None;
                turned += 1;
            }
        }
        turned
    }

    /// The sheet's sums.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for verdict in &self.verdicts {
            counts.add(verdict.outcome);
        }
        counts
    }

    /// The compact form.
    ///
    /// ```
    /// use muster_domain::outcome::{OutcomeSheet, Verdict};
    ///
    /// let mut sheet = OutcomeSheet::pending(2);
    /// sheet.set(0, Verdict::UNCHANGED, None);
    /// assert_eq!(OutcomeSheet::decode(&sheet.encode(), 2), Ok(sheet));
    /// ```
    pub fn encode(&self) -> Vec<u8> {
        let ids = self.users.iter().flatten().count();
        let mut bytes = Vec::with_capacity(1 + self.verdicts.len() + 16 * ids);
        bytes.push(VERSION);
        for (verdict, user) in self.iter() {
            bytes.push(verdict.to_byte() | if user.is_some() { HAS_USER } else { 0 });
        }
        for user in self.users.iter().flatten() {
            bytes.extend_from_slice(user.as_bytes());
        }
        bytes
    }

    /// Reads the compact form of a sheet of `records` records.
    pub fn decode(bytes: &[u8], records: usize) -> Result<Self, BrokenSheet> {
        let (version, rest) = bytes.split_first().ok_or(BrokenSheet)?;
        if *version != VERSION || rest.len() < records {
            return Err(BrokenSheet);
        }
        let (codes, ids) = rest.split_at(records);
        let mut ids = ids.chunks_exact(16);
        let mut sheet = Self { verdicts: Vec::with_capacity(records), users: Vec::with_capacity(records) };
        for code in codes {
            sheet.verdicts.push(Verdict::from_byte(code & !HAS_USER).ok_or(BrokenSheet)?);
            sheet.users.push(match code & HAS_USER {
                0 => None,
                _ => Some(Uuid::from_slice(ids.next().ok_or(BrokenSheet)?).map_err(|_| BrokenSheet)?),
            });
        }
        if ids.next().is_some() || !ids.remainder().is_empty() { Err(BrokenSheet) } else { Ok(sheet) }
    }
}

/// A number with commas between its thousands: `1,234,567`.
///
/// ```
/// use muster_domain::outcome::thousands;
///
/// assert_eq!(thousands(1_234_567), "1,234,567");
/// ```
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut told = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            told.push(',');
        }
        told.push(digit);
    }
    told
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_reason_is_one_of_its_outcome_and_explained() {
        for reason in Reason::ALL {
            let verdict = Verdict { outcome: reason.outcome(), reason: Some(reason) };
            assert!(Verdict::BYTES.contains(&verdict), "{reason:?}");
            for text in [reason.explanation(), reason.advice()] {
                assert!(text.ends_with('.') && !text.contains("  "), "{text}");
            }
        }
        let told = Verdict::BYTES.iter().filter(|verdict| verdict.reason.is_some()).count();
        assert_eq!(told, Reason::ALL.len());
    }

    #[test]
    fn every_verdict_has_its_byte() {
        for (at, verdict) in Verdict::BYTES.iter().enumerate() {
            assert_eq!(usize::from(verdict.to_byte()), at);
            assert_eq!(Verdict::from_byte(verdict.to_byte()), Some(*verdict));
        }
    }

    proptest! {
        #[test]
        fn sheets_come_back_as_they_were(cells in prop::collection::vec((0u8..12, prop::option::of(any::<u128>())), 0..200)) {
            let mut sheet = OutcomeSheet::pending(cells.len());
            for (at, (code, id)) in cells.iter().enumerate() {
                sheet.set(at, Verdict::BYTES[usize::from(*code)], id.map(Uuid::from_u128));
            }
            let bytes = sheet.encode();
            prop_assert_eq!(OutcomeSheet::decode(&bytes, cells.len()), Ok(sheet.clone()));
            prop_assert!(sheet.counts().add_up());
            prop_assert!(OutcomeSheet::decode(&bytes[..bytes.len() - 1], cells.len()).is_err());
        }

        #[test]
        fn garbage_is_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), records in 0usize..50) {
            let _ = OutcomeSheet::decode(&bytes, records);
        }
    }

    #[test]
    fn thousands_have_commas() {
        for (number, told) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), told);
        }
    }
}
