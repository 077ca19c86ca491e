//! Finds values that a file has twice although only one user may have them.

use std::sync::atomic::AtomicUsize;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::fault::{Mutant, mutant};
use crate::intake::{KnownValues, Lookup, Memory};
use crate::options::IdentifierField;
use crate::record::{Patch, Record};

/// Memory in which values are remembered where no other is named, for all files together: it must not grow with them. Values beyond it are
/// still compared with these.
static LEFT: AtomicUsize = AtomicUsize::new(32 * 1024 * 1024);

/// The values of the unique fields met so far, as fingerprints, with the first record of each.
#[derive(Debug)]
pub(super) struct Duplicates {
    met: KnownValues,
    full: bool,
}

impl Default for Duplicates {
    fn default() -> Self {
        Self::within(Memory::counted(&LEFT))
    }
}

/// The findings about a record's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duplicate {
    /// The value of this field is also in the earlier record of this number.
    In(IdentifierField, u64),
    /// From here on, values are compared only with the remembered ones.
    Full(usize),
}

impl Duplicates {
    pub(super) fn within(memory: Memory) -> Self {
        Self { met: KnownValues::within(memory), full: false }
    }

    /// Takes the next record, and reports each unique field whose value is in an earlier record, with that record's number. A record
    /// that means the same user as an earlier one may have that user's other values too.
    pub(super) fn record(
        &mut self,
        record: &Record<'_>,
        identifier: IdentifierField,
        mut note: impl FnMut(Duplicate),
    ) {
        let same_user = self.earlier(record, identifier, &mut note);
        if let Some(earlier) = same_user {
            note(Duplicate::In(identifier, earlier));
        }
        for field in IdentifierField::ALL.iter().filter(|field| **field != identifier) {
            let earlier = self.earlier(record, *field, &mut note);
            if let Some(earlier) = earlier.filter(|_| same_user.is_none()) {
                note(Duplicate::In(*field, earlier));
            }
        }
    }

    /// The first record with this one's value in a field.
    fn earlier(
        &mut self,
        record: &Record<'_>,
        field: IdentifierField,
        note: &mut impl FnMut(Duplicate),
    ) -> Option<u64> {
        let Patch::Value(value) = record.target(field) else { return None };
        let hash = xxh3_64_with_seed(value.as_bytes(), field as u64);
        match self.met.meet(hash, record.position.record.get()) {
            Lookup::First => None,
            Lookup::Again(earlier) => Some(earlier),
            Lookup::NoRoom => {
                if !std::mem::replace(&mut self.full, true) && !mutant(Mutant::FullTableUntold) {
                    note(Duplicate::Full(self.met.len()));
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalise::EmailAddress;
    use crate::record::{Position, RecordNumber};

    #[test]
    fn what_is_not_remembered_is_told_once_and_what_is_stays_known() {
        let mut duplicates = Duplicates::within(Memory::of(13 * 4));
        let mut told = Vec::new();
        for (at, user) in [1, 2, 3, 4, 5, 2, 5].into_iter().enumerate() {
            let number = at as u64 + 1;
            let position = Position { record: RecordNumber::new(number).unwrap(), line: number, byte: 0 };
            let address = format!("u{user}@example.com");
            let mut record = Record::empty(position);
            record.email = Patch::Value(EmailAddress::parse(&address).unwrap());
            duplicates.record(&record, IdentifierField::Email, |duplicate| told.push((number, duplicate)));
        }
        assert_eq!(told, [(4, Duplicate::Full(3)), (6, Duplicate::In(IdentifierField::Email, 2))]);
    }
}
