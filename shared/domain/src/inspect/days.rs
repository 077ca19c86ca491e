//! Finds the order in which the dates of a file are written (day or month first), if its values prove it.

use crate::error::FileError;
use crate::fault::{Mutant, mutant};
use crate::field::Field;
use crate::intake::Reading;
use crate::options::{Dates, ImportOptions};
use crate::parse::{Dialect, ParseLimits, Parser, RecordSink};
use crate::record::{FieldNames, NameId, RawRecord, RawValue};
use crate::rules::Rules;
use crate::validate::{Binding, days::date};

/// Counts, for each column and key with days in it, the days that only one order fits: what one column proves says nothing of another,
/// which may come from another system. A value that no order fits proves nothing.
#[derive(Debug, Default)]
pub(super) struct DayOrders {
    columns: Vec<DayColumn>,
    /// How many names were looked at.
    looked: usize,
}

/// The days of a column.
#[derive(Debug, Default)]
struct DayColumn {
    name: NameId,
    only_day_first: u64,
    only_month_first: u64,
    either: u64,
    /// Days that are the same in both orders, such as 05.05.1990.
    same: u64,
}

impl DayOrders {
    /// Records the dates of a record, as written in the file.
    pub(super) fn record(&mut self, record: &RawRecord<'_>, binding: &Binding) {
        let known = binding.names().len();
        for name in self.looked..known {
            let Ok(name) = NameId::try_from(name) else { break };
            let field = binding.field_of(name);
            if matches!(field, Some(Field::Birthdate | Field::AccountValidFrom | Field::AccountValidUntil)) {
                self.columns.push(DayColumn { name, ..DayColumn::default() });
            }
        }
        self.looked = known;
        if self.columns.is_empty() {
            return;
        }
        for field in record.fields {
            let RawValue::Text(text) = field.value else { continue };
            if let Some(column) = self.columns.iter_mut().find(|column| column.name == field.name) {
                column.count(text);
            }
        }
    }

    /// What the file proves: one order for all of its columns.
    pub(super) fn proof(&self, binding: &Binding) -> DayProof {
        let has = |order: DayOrder| self.columns.iter().find(|column| column.order() == Some(order));
        let day_first = has(DayOrder::Dmy).is_some();
        let month_first = has(DayOrder::Mdy).is_some();
        if (day_first && month_first) || has(DayOrder::Mixed).is_some() {
            return DayOrder::Mixed.into();
        }
        let proved = day_first || month_first;
        let unproved = has(DayOrder::Unproved).filter(|_| !(proved && mutant(Mutant::OneColumnProvesAll)));
        if let Some(column) = unproved {
            let column = Some(binding.name_at(column.name).to_owned());
            return DayProof { order: DayOrder::Unproved, column };
        }
        // Where each day is the same in both orders, either will do.
        let any_other = self.columns.iter().any(|column| column.same > 0);
        match (day_first || any_other, month_first) {
            (_, true) => DayOrder::Mdy.into(),
            (true, false) => DayOrder::Dmy.into(),
            (false, false) => DayOrder::Iso.into(),
        }
    }
}

impl DayColumn {
    fn count(&mut self, text: &str) {
        let year_first =
            text.trim().as_bytes().get(..4).is_some_and(|start| start.iter().all(u8::is_ascii_digit));
        // Most days of most files need no further look, and none needs a text.
        if year_first {
            return;
        }
        match (date(text, Dates::Dmy), date(text, Dates::Mdy)) {
            (Some(day_first), Some(month_first)) if day_first == month_first => self.same += 1,
            (Some(_), Some(_)) => self.either += 1,
            (Some(_), None) => self.only_day_first += 1,
            (None, Some(_)) => self.only_month_first += 1,
            (None, None) => {}
        }
    }

    /// What it proves; nothing where every order fits it.
    fn order(&self) -> Option<DayOrder> {
        match (self.only_day_first, self.only_month_first, self.either) {
            (0, 0, 0) => None,
            (1.., 0, _) => Some(DayOrder::Dmy),
            (0, 1.., _) => Some(DayOrder::Mdy),
            (0, 0, _) => Some(DayOrder::Unproved),
            (1.., 1.., _) => Some(DayOrder::Mixed),
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
    /// A look at a program's file that would be imported with these options.
    pub fn new(options: ImportOptions, limits: ParseLimits) -> Self {
        Self::in_dialect(options, limits, Dialect::default())
    }

    /// A look at a file of this dialect that would be imported with these options.
    pub fn in_dialect(options: ImportOptions, limits: ParseLimits, dialect: Dialect) -> Self {
        let rules = Rules::new(options);
        Self {
            parser: Parser::in_dialect(rules.options.format, limits, dialect)
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
    pub fn finish(mut self) -> Result<DayProof, FileError> {
        self.parser.finish(&mut self.days)?;
        Ok(self.days.orders.proof(&self.days.reading.binding))
    }
}

impl RecordSink for Days {
    fn header(&mut self, names: &FieldNames) -> Result<(), FileError> {
        self.reading.header(names)
    }

    fn knows(&self, name: &str) -> bool {
        self.reading.binding.knows(name)
    }

    fn record(&mut self, record: &RawRecord<'_>, names: &FieldNames) -> Result<(), FileError> {
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
    /// Each day of a column can be read in both orders.
    Unproved,
    /// Some fit only one order, some only the other.
    Mixed,
}

/// In which order a file's days are written, and the column that does not prove it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct DayProof {
    /// The order.
    pub order: DayOrder,
    /// The first column or key each of whose days fits both orders, where there is one.
    #[serde(skip)]
    pub column: Option<String>,
}

impl From<DayOrder> for DayProof {
    fn from(order: DayOrder) -> Self {
        Self { order, column: None }
    }
}

impl DayProof {
    /// What there is to say where the options have this order: nothing where they decided it already.
    pub fn told_beside(&self, given: Dates) -> Option<String> {
        match (self.order, given) {
            (DayOrder::Dmy, Dates::Dmy) | (DayOrder::Mdy, Dates::Mdy) => None,
            (DayOrder::Unproved, Dates::Dmy | Dates::Mdy) => None,
            _ => self.sentence(),
        }
    }

    /// What it says of a file, in words; nothing where every day is year first.
    pub fn sentence(&self) -> Option<String> {
        let told = match self.order {
            DayOrder::Iso => return None,
            DayOrder::Dmy => "Days are written day first, which is the only order that fits: `--dates dmy`",
            DayOrder::Mdy => "Days are written month first, which is the only order that fits: `--dates mdy`",
            DayOrder::Unproved => {
                let column = self.column.as_ref().map(|column| format!(" in {column}")).unwrap_or_default();
                return Some(format!(
                    "Each date fits both orders{column}: ask the author of the file, and add `--dates dmy` or `--dates mdy`"
                ));
            }
            DayOrder::Mixed => {
                "Some days are written day first and some month first: no order fits all of them"
            }
        };
        Some(told.to_owned())
    }

    /// The option that reads such days, where there is one that is sure.
    pub fn option(&self) -> Option<Dates> {
        match self.order {
            DayOrder::Iso => Some(Dates::Iso),
            DayOrder::Dmy => Some(Dates::Dmy),
            DayOrder::Mdy => Some(Dates::Mdy),
            DayOrder::Unproved if mutant(Mutant::DaysUnproved) => Some(Dates::Dmy),
            DayOrder::Unproved | DayOrder::Mixed => None,
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
        inspection.finish().days.order
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
    fn an_order_that_the_options_say_is_proposed_no_more() {
        let told = |order: DayOrder, given| DayProof::from(order).told_beside(given).is_some();
        assert!(told(DayOrder::Dmy, Dates::Iso) && told(DayOrder::Unproved, Dates::Iso));
        assert!(!told(DayOrder::Dmy, Dates::Dmy) && !told(DayOrder::Unproved, Dates::Mdy));
        // What the options say does not fit.
        assert!(told(DayOrder::Mdy, Dates::Dmy) && told(DayOrder::Mixed, Dates::Dmy));
    }

    #[test]
    fn the_days_of_one_column_prove_nothing_of_another() {
        let proof = |rows: &[(&str, &str)]| {
            let options = ImportOptions { header_names: HeaderNames::Common, ..ImportOptions::default() };
            let mut look = DayLook::new(options, ParseLimits::default());
            look.feed(b"email,birthdate,account_valid_until\n").unwrap();
            for (at, (born, until)) in rows.iter().enumerate() {
                look.feed(format!("a{at}@example.com,{born},{until}\n").as_bytes()).unwrap();
            }
            look.finish().unwrap()
        };
        let other = proof(&[("24/12/1980", "03/04/2026"), ("13/01/1990", "05/06/2026")]);
        assert_eq!((other.order, other.option()), (DayOrder::Unproved, None));
        assert!(other.sentence().is_some_and(|told| told.contains("in account_valid_until: ")), "{other:?}");
        let order = |rows: &[(&str, &str)]| proof(rows).order;
        // Dates with the year first, and dates that are equal in both orders, fit every order.
        assert_eq!(order(&[("24/12/1980", "2026-04-03"), ("01/02/1990", "")]), DayOrder::Dmy);
        assert_eq!(order(&[("12/24/1980", "04/04/2026"), ("01/02/1990", "soon")]), DayOrder::Mdy);
        assert_eq!(order(&[("24/12/1980", "31/12/2026"), ("01/02/1990", "03/04/2026")]), DayOrder::Dmy);
        assert_eq!(order(&[("24/12/1980", "12/31/2026")]), DayOrder::Mixed);
        assert_eq!(order(&[("24/12/1980", "12/31/2026"), ("12/24/1980", "")]), DayOrder::Mixed);
        assert_eq!(order(&[("", "04/04/2026")]), DayOrder::Dmy);
        assert_eq!(order(&[("1980-12-24", "")]), DayOrder::Iso);
    }

    #[test]
    fn a_look_for_days_alone_finds_what_the_inspection_finds() {
        let options = ImportOptions { header_names: HeaderNames::Common, ..ImportOptions::default() };
        let look = |file: &str| {
            let mut look = DayLook::new(options.clone(), ParseLimits::default());
            look.feed(file.as_bytes())?;
            look.finish().map(|proof| (proof.order, proof.column))
        };
        assert_eq!(
            look("email,Geburtsdatum\na@example.com,24.12.1980\nb,1.2.1990\n"),
            Ok((DayOrder::Dmy, None))
        );
        let unproved = Ok((DayOrder::Unproved, Some("birthdate".to_owned())));
        assert_eq!(look("email,birthdate\na@example.com,1/2/1990\n"), unproved);
        assert!(look("email,nothing known\n").is_err());
    }
}
