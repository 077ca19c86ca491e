//! Finds full names that could be split. If most full names of a file have the form `Last, First`, the option is suggested.

use super::causes::PLACES;
use super::{Place, Problem};
use crate::fault::{Mutant, mutant};
use crate::options::FullNames;
use crate::record::Record;
use crate::validate::last_first;

/// The full names of records that say neither family nor given name.
#[derive(Debug, Default)]
pub(super) struct FullNameForms {
    last_first: u64,
    others: u64,
    /// The first of the form.
    first: Vec<Place>,
}

impl FullNameForms {
    /// Looks at the next record.
    pub(super) fn record(&mut self, record: &Record<'_>, option: FullNames, place: Place) {
        let Some(name) = record.full_name().filter(|_| option == FullNames::Whole) else { return };
        if !(record.given_name.is_absent() && record.family_name.is_absent()) {
            return;
        }
        if last_first(name).is_none() {
            self.others += 1;
            return;
        }
        self.last_first += 1;
        if self.first.len() < PLACES {
            self.first.push(place);
        }
    }

    /// What to tell, where most are of the form. `name` is what the file calls the field.
    pub(super) fn problem(self, name: &str) -> Option<Problem> {
        (self.last_first > self.others && !mutant(Mutant::SplitUnproposed)).then(|| Problem {
            code: None,
            field: None,
            count: self.last_first,
            message: format!(
                "{name} is of the form `Last, First`: `--full-names last_first` also takes the family and the given name out of it"
            ),
            first: self.first,
        })
    }
}
