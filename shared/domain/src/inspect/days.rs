//! In which order the days of a file are written, where its values prove it.

use crate::error::FileError;
use crate::fault::{Mutant, mutant};
use crate::field::Field;
use crate::intake::Reading;
use crate::options::{Dates, ImportOptions};
use crate::parse::{ParseLimits, Parser, RecordSink};
use crate::record::{NameId, Names, RawRecord, RawValue};
use crate::rules::Rules;
use crate::validate::{Binding, days::day};

/// Counts the days that only one order fits. A value that no order fits proves nothing.
#[derive(Debug, Default)]
pub(super) struct DayOrders {
    /// The columns and keys with days in them.
    names: Vec<NameId>,
    /// How many names were looked at.
    looked: usize,
    only_day_first: u64,
    only_month_first: u64,
    either: u64,
    /// Days that are the same in both orders, such as 05.05.1990.
    same: u64,
}

impl DayOrders {
    /// Looks at the days of a record, as they stand in the file.
    pub(super) fn record(&mut self, record: &RawRecord<'_>, binding: &Binding) {
        let known = binding.names().len();
        for name in self.looked..known {
            let Ok(name) = NameId::try_from(name) else { break };
            let field = binding.field_of(name);
            if matches!(field, Some(Field::Birthdate | Field::AccountValidFrom | Field::AccountValidUntil)) {
                self.names.push(name);
            }
        }
        self.looked = known;
        if self.names.is_empty() {
            return;
        }
        for field in record.fields.iter().filter(|field| self.names.contains(&field.name)) {
            let RawValue::Text(text) = field.value else { continue };
            let year_first =
                text.trim().as_bytes().get(..4).is_some_and(|start| start.iter().all(u8::is_ascii_digit));
            match (day(text, Dates::Dmy), day(text, Dates::Mdy)) {
                _ if year_first => {}
                (Some(day_first), Some(month_first)) if day_first == month_first => self.same += 1,
                (Some(_), Some(_)) => self.either += 1,
                (Some(_), None) => self.only_day_first += 1,
                (None, Some(_)) => self.only_month_first += 1,
                (None, None) => {}
            }
        }
    }

    /// What the file proves.
    pub(super) fn proof(&self) -> DayOrder {
        match (self.only_day_first, self.only_month_first, self.either) {
            (0, 0, 0) if self.same == 0 => DayOrder::Iso,
            // Either will do.
            (0, 0, 0) => DayOrder::Dmy,
            (1.., 0, _) => DayOrder::Dmy,
            (0, 1.., _) => DayOrder::Mdy,
            (0, 0, _) => DayOrder::Unproved,
            (1.., 1.., _) => DayOrder::Mixed,
        }
    }
}

/// Looks at a file for the order of its days and for nothing else.
pub struct DayLook {
    parser: Parser,
    days: Days,
}

struct Days {
    reading: Reading,
    orders: DayOrders,
}

impl std::fmt::Debug for DayLook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DayLook").field("orders", &self.days.orders).finish_non_exhaustive()
    }
}

impl DayLook {
    /// A look at a file that would be imported with these options.
    pub fn new(options: ImportOptions, limits: ParseLimits) -> Self {
        let rules = Rules::new(options);
        Self {
            parser: Parser::new(rules.options.format, limits)
                .at(rules.options.at.as_deref())
                .reshaping(rules.table()),
            days: Days { reading: Reading::new(rules), orders: DayOrders::default() },
        }
    }

    /// Takes the next piece.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), FileError> {
        self.parser.feed(piece, &mut self.days)
    }

    /// Ends the file, and says what it proves.
    pub fn finish(mut self) -> Result<DayOrder, FileError> {
        self.parser.finish(&mut self.days)?;
        Ok(self.days.orders.proof())
    }
}

impl RecordSink for Days {
    fn header(&mut self, names: &Names) -> Result<(), FileError> {
        self.reading.header(names)
    }

    fn knows(&self, name: &str) -> bool {
        self.reading.binding.knows(name)
    }

    fn record(&mut self, record: &RawRecord<'_>, names: &Names) -> Result<(), FileError> {
        self.reading.binding.extend(names);
        self.orders.record(record, &self.reading.binding);
        Ok(())
    }
}

/// In which order a file's days are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DayOrder {
    /// No day is written otherwise than year first.
    Iso,
    /// Day, month, year: no other order fits all of them.
    Dmy,
    /// Month, day, year: no other order fits all of them.
    Mdy,
    /// Each day can be read in both orders.
    Unproved,
    /// Some fit one order alone, some the other.
    Mixed,
}

impl DayOrder {
    /// What it says of a file, in words; nothing where every day is year first.
    pub fn told(self) -> Option<&'static str> {
        match self {
            Self::Iso => None,
            Self::Dmy => Some("Days are written day first, which is the only order that fits: `--dates dmy`"),
            Self::Mdy => {
                Some("Days are written month first, which is the only order that fits: `--dates mdy`")
            }
            Self::Unproved => Some(
                "Each day fits both orders: ask whoever made the file, and add `--dates dmy` or `--dates mdy`",
            ),
            Self::Mixed => {
                Some("Some days are written day first and some month first: no order fits all of them")
            }
        }
    }

    /// The option that reads such days, where there is one that is sure.
    pub fn option(self) -> Option<Dates> {
        match self {
            Self::Iso => Some(Dates::Iso),
            Self::Dmy => Some(Dates::Dmy),
            Self::Mdy => Some(Dates::Mdy),
            Self::Unproved if mutant(Mutant::DaysUnproved) => Some(Dates::Dmy),
            Self::Unproved | Self::Mixed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{HeaderNames, ImportOptions};
    use crate::parse::ParseLimits;

    fn order(days: &[&str]) -> DayOrder {
        let options = ImportOptions { header_names: HeaderNames::Common, ..ImportOptions::default() };
        let mut inspection = crate::inspect::Inspection::new(options, ParseLimits::default());
        let rows = days.iter().enumerate().map(|(at, day)| format!("a{at}@example.com,{day}\n"));
        inspection.feed(format!("email,birthdate\n{}", rows.collect::<String>()).as_bytes());
        inspection.finish().days
    }

    #[test]
    fn an_order_is_proved_by_days_that_fit_no_other() {
        assert_eq!(order(&["24.12.1980", "01.02.1990", "31.02.1980", ""]), DayOrder::Dmy);
        assert_eq!(order(&["12/24/1980", "01/02/1990"]), DayOrder::Mdy);
        assert_eq!(order(&["01/02/1990", "1990-12-24"]), DayOrder::Unproved);
        assert_eq!(order(&["24/12/1980", "12/24/1980"]), DayOrder::Mixed);
        assert_eq!(order(&["1980-12-24", "", "soon"]), DayOrder::Iso);
        assert_eq!(order(&["05.05.1990"]), DayOrder::Dmy);
    }

    #[test]
    fn a_look_for_days_alone_finds_what_the_inspection_finds() {
        let options = ImportOptions { header_names: HeaderNames::Common, ..ImportOptions::default() };
        let look = |file: &str| {
            let mut look = DayLook::new(options.clone(), ParseLimits::default());
            look.feed(file.as_bytes())?;
            look.finish()
        };
        assert_eq!(look("email,Geburtsdatum\na@example.com,24.12.1980\nb,1.2.1990\n"), Ok(DayOrder::Dmy));
        assert_eq!(look("email,birthdate\na@example.com,1/2/1990\n"), Ok(DayOrder::Unproved));
        assert!(look("email,nothing known\n").is_err());
    }
}
