//! The second half of receiving: compresses chunks, and tells of records that mean the user of an earlier one. It takes what
//! [`Receiving`](super::Receiving) cut, on a thread of its own, so that parsing does not wait for either.

use std::vec::IntoIter;

use super::repeats::{Repeat, Repeats};
use super::{Cut, Issue, Staged};
use crate::chunk::{Compressor, LaneHash};
use crate::fault::{Mutant, mutant};

/// Bytes of issues that are gathered before they are written.
const ISSUE_BYTES: usize = 256 * 1024;

/// What there is to say of records that follow one another in a file.
#[derive(Debug, Default)]
pub struct RecordNotes {
    /// The numbers of the records that mean a user, each with the hash of that user, ascending.
    users: Vec<(u64, LaneHash)>,
    /// Issues of the records, ascending.
    issues: Vec<Issue>,
    issue_bytes: usize,
}

impl RecordNotes {
    /// The record of this number means this user.
    pub(super) fn user(&mut self, record: u64, user: LaneHash) {
        self.users.push((record, user));
    }

    /// Adds an issue of the last record.
    pub(super) fn issue(&mut self, issue: Issue) {
        self.issue_bytes += issue.size();
        self.issues.push(issue);
    }

    /// About how many bytes it holds.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.users[..]) + self.issue_bytes
    }
}

/// Turns what was cut into what is staged.
#[derive(Debug)]
pub struct Packing {
    compressor: Compressor,
    /// The users of the records so far, if somebody needs to know of repeated ones.
    repeats: Option<Repeats>,
    issues: Vec<Issue>,
    issue_bytes: usize,
    /// The warning of the first record that also covers others; it is known when all of them are counted.
    stands_for_repeats: Option<Issue>,
}

impl Packing {
    /// Nothing is packed yet. `repeats` is [`Repeats::new`] of the options that [`Receiving`](super::Receiving) has.
    ///
    /// # Errors
    ///
    /// If there is no memory for a compressor.
    pub fn new(repeats: Option<Repeats>) -> std::io::Result<Self> {
        let compressor = Compressor::new()?;
        Ok(Self { compressor, repeats, issues: Vec::new(), issue_bytes: 0, stands_for_repeats: None })
    }

    /// Hands what comes of a part to `take`, which says whether it was taken. False if it was not.
    ///
    /// # Errors
    ///
    /// If the compressor fails.
    pub fn pack(&mut self, cut: Cut, mut take: impl FnMut(Staged) -> bool) -> std::io::Result<bool> {
        Ok(match cut {
            Cut::Chunk(chunk) => take(Staged::Chunk(chunk.pack(&mut self.compressor)?)),
            Cut::Records(notes) => {
                self.tell(notes);
                self.pass_issues(ISSUE_BYTES, &mut take)
            }
            Cut::Keys(keys) => take(Staged::Keys(keys)),
            Cut::End => {
                self.tell_untold();
                self.pass_issues(0, &mut take) && take(Staged::End)
            }
        })
    }

    /// Whether it is known that each record meant another user.
    pub fn users_differ(&self) -> bool {
        self.repeats.as_ref().is_some_and(Repeats::all_differ)
    }

    /// Adds the issues of some records, and what there is to tell of their users.
    fn tell(&mut self, notes: RecordNotes) {
        let mut issues = notes.issues.into_iter();
        for (record, user) in notes.users {
            let repeat = self.repeats.as_mut().map_or(Repeat::Nothing, |repeats| repeats.meet(user, record));
            if repeat == Repeat::Nothing {
                continue;
            }
            self.push_before(record, &mut issues);
            let own = issues.as_slice().first().is_some_and(|issue| issue.record == record);
            let own = if own { issues.next() } else { None };
            let mut issue = own.unwrap_or_else(|| Issue::of(record));
            match repeat {
                Repeat::Told(warning) => {
                    issue.warnings.push(warning);
                    self.push(issue);
                }
                _ => self.stands_for_repeats = Some(issue),
            }
        }
        self.push_before(u64::MAX, &mut issues);
    }

    /// Adds the issues of the records before one.
    fn push_before(&mut self, record: u64, issues: &mut IntoIter<Issue>) {
        while issues.as_slice().first().is_some_and(|issue| issue.record < record) {
            issues.next().into_iter().for_each(|issue| self.push(issue));
        }
    }

    fn push(&mut self, issue: Issue) {
        self.issue_bytes += issue.size();
        self.issues.push(issue);
    }

    /// All records are counted: says how many are not told one by one.
    fn tell_untold(&mut self) {
        if let Some(mut issue) = self.stands_for_repeats.take() {
            issue.warnings.extend(self.repeats.as_ref().and_then(Repeats::untold));
            self.push(issue);
        }
    }

    /// Passes issues on once they are larger than so many bytes. False if nobody takes them.
    fn pass_issues(&mut self, bytes: usize, take: &mut impl FnMut(Staged) -> bool) -> bool {
        let many = match mutant(Mutant::IssuesByNumber) {
            true => bytes == 0 && !self.issues.is_empty() || self.issues.len() > 1_000,
            false => self.issue_bytes > bytes,
        };
        if !many {
            return true;
        }
        self.issue_bytes = 0;
        take(Staged::Issues(std::mem::take(&mut self.issues)))
    }
}

#[cfg(test)]
mod tests;
