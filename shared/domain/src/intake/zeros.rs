//! Numbers that lost their leading zeros in a spreadsheet. They are reported if other values of the column show that there were some.

use crate::record::NameId;

/// Longest number that is looked at, in digits.
const LONGEST: u8 = 32;

/// How many records of a file are reported, since a column may have lost the zeros of almost all of its numbers.
const TOLD: u64 = 1_000;

/// What the numbers of each column and key look like, as far as they were read.
#[derive(Debug, Default)]
pub(super) struct Zeros {
    columns: Vec<Shown>,
    told: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Shown {
    /// No value begins with a zero.
    #[default]
    None,
    /// All that do have so many digits.
    Digits(u8),
    /// They have different numbers of digits, so nothing can be said.
    Several,
}

impl Zeros {
    /// What to tell of a number that has lost some; of so many records at the most, unless `all` are wanted.
    pub(super) fn told(&mut self, name: &str, all: bool) -> Option<String> {
        self.told += 1;
        let last = match self.told {
            told if told < TOLD || all => "",
            TOLD => " This is told of no further record.",
            _ => return None,
        };
        Some(format!(
            "{name} holds a number with fewer digits than those of its column that begin with a zero: a spreadsheet takes such zeros off. \
             Format the column as text where the file comes from, and export it again.{last}"
        ))
    }

    /// Takes the digits of a value, and says whether it has fewer than those of its column that begin with a zero.
    pub(super) fn lost(&mut self, column: NameId, digits: &str) -> bool {
        let Ok(column) = usize::try_from(column) else { return false };
        let length = match u8::try_from(digits.len()) {
            Ok(length) if length <= LONGEST => length,
            _ => return false,
        };
        let led = length > 1 && digits.starts_with('0');
        match (self.columns.get_mut(column), led) {
            (Some(Shown::Digits(shown)), false) => length < *shown,
            (Some(Shown::Digits(shown)), true) if *shown == length => false,
            (Some(shown), true) => {
                *shown = if *shown == Shown::None { Shown::Digits(length) } else { Shown::Several };
                false
            }
            (_, false) => false,
            (None, true) => {
                self.columns.resize(column + 1, Shown::None);
                self.columns[column] = Shown::Digits(length);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_lost_its_zeros_where_the_others_of_its_column_have_theirs() {
        let lost = |values: &[&str]| {
            let mut zeros = Zeros::default();
            values.iter().map(|value| zeros.lost(3, value)).collect::<Vec<_>>()
        };
        assert_eq!(lost(&["01067", "10115", "1067", "0"]), [false, false, true, true]);
        // What comes before the first zero, what is as long, and columns of numbers of any length say nothing.
        assert_eq!(lost(&["1067", "01067", "10115"]), [false, false, false]);
        assert_eq!(lost(&["007", "00815", "7", "0815"]), [false, false, false, false]);
        assert_eq!(lost(&["0", "7"]), [false, false]);
        let mut zeros = Zeros::default();
        assert!(!zeros.lost(1, "007") && !zeros.lost(2, "7") && zeros.lost(1, "7"));
    }

    #[test]
    fn so_many_records_are_told_and_the_last_one_says_so() {
        let mut zeros = Zeros::default();
        let told: Vec<String> = (0..2 * TOLD).map_while(|_| zeros.told("plz", false)).collect();
        assert_eq!(told.len() as u64, TOLD);
        let last = told.iter().filter(|text| text.ends_with("This is told of no further record.")).count();
        assert_eq!((last, zeros.told("plz", true).is_some()), (1, true));
    }
}
