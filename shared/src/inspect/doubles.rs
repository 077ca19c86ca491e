//! Values that a file has twice although one user alone may have them.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;

use crate::options::IdentifierField;
use crate::record::{Patch, Record};

/// Most values that are remembered: memory must not grow with the file. Later ones are still compared with these.
const MOST: usize = 250_000;

/// The values of the unique fields met so far, as fingerprints, with the first record of each.
#[derive(Debug, Default)]
pub(super) struct Doubles {
    hashing: RandomState,
    first: HashMap<u64, u64>,
}

impl Doubles {
    /// Takes the next record, and hands over each unique field whose value stands in an earlier one, with that one's number. A record
    /// that means the same user as an earlier one may have that user's other values too.
    pub(super) fn record(
        &mut self,
        record: &Record<'_>,
        identifier: IdentifierField,
        mut note: impl FnMut(IdentifierField, u64),
    ) {
        let same_user = self.earlier(record, identifier);
        if let Some(earlier) = same_user {
            note(identifier, earlier);
        }
        for field in IdentifierField::ALL.iter().filter(|field| **field != identifier) {
            let earlier = self.earlier(record, *field);
            if let Some(earlier) = earlier.filter(|_| same_user.is_none()) {
                note(*field, earlier);
            }
        }
    }

    /// The first record with this one's value in a field.
    fn earlier(&mut self, record: &Record<'_>, field: IdentifierField) -> Option<u64> {
        let Patch::Value(value) = record.target(field) else { return None };
        let full = self.first.len() >= MOST;
        match self.first.entry(self.hashing.hash_one((field, value))) {
            Entry::Occupied(earlier) => return Some(*earlier.get()),
            Entry::Vacant(_) if full => {}
            Entry::Vacant(free) => {
                free.insert(record.position.record.get());
            }
        }
        None
    }
}
