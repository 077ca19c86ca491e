//! Inspects a file before it is imported: its format, the meaning of its columns, how its first records are
//! read, and all its problems, grouped by cause. Nothing is stored, and no database is needed.
//!
//! Memory is bounded: a few records and a limited number of causes. Names of the tenant's catalog (roles,
//! groups, teams, locations) are not looked up.

mod causes;
mod days;
mod duplicates;
mod full_names;

use serde::Serialize;

use crate::error::{ErrorCode, FileError};
use crate::fault::{Mutant, mutant};
use crate::field::Field;
use crate::import_profile::Builtin;
use crate::intake::{CheckedRecord, Memory, Reading};
use crate::options::{Dates, FullNames, IdentifierField, ImportOptions, UnknownNames};
use crate::parse::{Delimiter, Dialect, Format, ParseEnd, ParseLimits, Parser, RecordSink, TextEncoding};
use crate::record::{FieldNames, Patch, REDACTED, RawField, RawRecord, RawValue, Secrets, looks_secret};
use crate::rules::Rules;

use causes::{Cause, Causes};
use days::DayOrders;
pub use days::{DayLook, DayOrder, DayProof};
use duplicates::{Duplicate, Duplicates};
use full_names::FullNameForms;

/// Records that are shown.
const SHOWN: usize = 20;
/// Longest value that is shown, in characters.
const VALUE_CHARS: usize = 60;

/// What a file is and holds.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its format.
    pub format: Format,
    /// What its text is in.
    pub encoding: TextEncoding,
    /// How that is known.
    pub encoding_known: &'static str,
    /// What ends the cells of a table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<Delimiter>,
    /// The sheet of a workbook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
    /// The built-in profile for such a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<&'static str>,
    /// What was skipped before the header.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<&'static str>,
    /// How many lines that were.
    #[serde(skip_serializing_if = "is_zero")]
    pub skipped_lines: u64,
    /// Bytes, decompressed.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Records that would fail.
    pub invalid: u64,
    /// What each column or key means.
    pub columns: Vec<Column>,
    /// The first records as they will be read: field and value.
    pub first: Vec<Vec<(String, String)>>,
    /// The problems, the most frequent first.
    pub problems: Vec<Problem>,
    /// In which order its days are written.
    pub days: DayProof,
    /// The order that the options say.
    #[serde(skip)]
    pub dates: Dates,
    /// The file names roles, groups, teams or locations, which were not looked up.
    pub needs_catalog: bool,
    /// Why the file would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<FileError>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A column or key.
#[derive(Debug, Clone, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The field (`custom__…` for metadata); none where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// How that is known.
    pub by: &'static str,
}

/// Failures or warnings with one cause.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// The code; none for a warning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// The column or key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// How many records have it.
    pub count: u64,
    /// The message of the first one, with advice.
    pub message: String,
    /// The first records, with the lines that they begin on.
    pub first: Vec<Place>,
}

/// A record's place.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Place {
    /// Its number.
    pub record: u64,
    /// Its line.
    pub line: u64,
}

/// Looks at a file piece by piece.
pub struct Inspection {
    parser: Parser,
    look: Look,
    format: Format,
    refused: Option<FileError>,
    bytes: u64,
    sheet: Option<String>,
}

impl std::fmt::Debug for Inspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspection").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Inspection {
    /// An inspection of a program's file that would be imported with these options.
    pub fn new(options: ImportOptions, limits: ParseLimits) -> Self {
        Self::in_dialect(options, limits, Dialect::default())
    }

    /// An inspection of a file of this dialect that would be imported with these options.
    pub fn in_dialect(options: ImportOptions, limits: ParseLimits, dialect: Dialect) -> Self {
        let format = options.format;
        let at = options.at.clone();
        // The file is read once: which order its days prove, the report says.
        let dates = if options.dates == Dates::Auto { Dates::Iso } else { options.dates };
        // Without the catalog every name would be unknown.
        let options = ImportOptions { unknown_names: UnknownNames::Ignore, dates, ..options };
        let rules = Rules::new(options);
        Self {
            parser: Parser::in_dialect(format, limits, dialect).at(at.as_deref()).reshaping(rules.table()),
            look: Look {
                reading: Reading::new(rules).counting_causes(),
                first: Vec::new(),
                problems: Causes::default(),
                days: DayOrders::default(),
                duplicates: Duplicates::default(),
                full_names: FullNameForms::default(),
                records: 0,
                invalid: 0,
            },
            format,
            refused: None,
            bytes: 0,
            sheet: None,
        }
    }

    /// Remembers the file's values in this memory, which uploads share.
    #[must_use]
    pub fn remembering(mut self, memory: Memory) -> Self {
        if !memory.is_none() {
            self.look.duplicates = Duplicates::within(memory);
        }
        self
    }

    /// Takes the next piece. False once the file is refused: nothing more need be read.
    pub fn feed(&mut self, piece: &[u8]) -> bool {
        if self.refused.is_none() {
            self.bytes += piece.len() as u64;
            self.refused = self.parser.feed(piece, &mut self.look).err();
        }
        self.refused.is_none()
    }

    /// The file cannot be read any further; an earlier reason counts.
    pub fn stop(&mut self, error: FileError) {
        self.refused.get_or_insert(error);
    }

    /// The rows were those of a workbook's sheet.
    pub fn of_sheet(&mut self, sheet: String, bytes: u64) {
        (self.sheet, self.bytes) = (Some(sheet), bytes);
    }

    /// Ends the file.
    pub fn finish(mut self) -> Report {
        let end = match self.refused.take() {
            Some(error) => Err(error),
            None => self.parser.finish(&mut self.look),
        };
        self.report(end)
    }

    /// Ends the inspection of a file that cannot be read any further.
    pub fn refuse(self, error: FileError) -> Report {
        self.report(Err(error))
    }

    fn report(self, end: Result<ParseEnd, FileError>) -> Report {
        let opening = self.parser.table_opening().clone();
        let Look { reading, first, problems, days, duplicates: _, full_names, records, invalid } = self.look;
        let profile = Builtin::of_names(reading.binding.names()).map(|profile| profile.name);
        let columns = reading.binding.meanings().map(|(name, field, by)| Column {
            name: name.to_owned(),
            field,
            by: by.as_str(),
        });
        let mut problems = problems.into_problems();
        problems.extend(reading.binding.name_of(Field::Name).and_then(|name| full_names.problem(name)));
        problems.sort_by(|one, other| {
            let first = |problem: &Problem| (problem.code.is_none(), std::cmp::Reverse(problem.count));
            let then = |problem: &Problem| (problem.code.map(ErrorCode::as_str), problem.field.clone());
            first(one).cmp(&first(other)).then_with(|| then(one).cmp(&then(other)))
        });
        Report {
            format: self.format,
            encoding: self.parser.encoding(),
            encoding_known: self.parser.encoding_evidence(),
            delimiter: end.as_ref().ok().and_then(|end| end.delimiter).or(opening.delimiter),
            sheet: self.sheet,
            profile,
            skipped: opening.skipped,
            skipped_lines: opening.skip,
            bytes: self.bytes,
            records,
            invalid,
            columns: columns.collect(),
            first,
            problems,
            days: days.proof(&reading.binding),
            dates: reading.rules.options.dates,
            needs_catalog: reading.binding.needs_catalog(&reading.rules),
            refused: end.err(),
        }
    }
}

/// The sink of an inspection.
struct Look {
    reading: Reading,
    first: Vec<Vec<(String, String)>>,
    problems: Causes,
    days: DayOrders,
    duplicates: Duplicates,
    full_names: FullNameForms,
    records: u64,
    invalid: u64,
}

impl RecordSink for Look {
    fn header(&mut self, names: &FieldNames) -> Result<(), FileError> {
        self.reading.header(names)
    }

    fn knows(&self, name: &str) -> bool {
        self.reading.binding.knows(name)
    }

    fn beyond_ascii(&mut self) {
        self.reading.beyond_ascii();
    }

    fn record(&mut self, record: &RawRecord<'_>, names: &FieldNames) -> Result<(), FileError> {
        let Self { reading, first, problems, days, duplicates, full_names: forms, records, invalid } = self;
        *records += 1;
        reading.binding.extend(names);
        days.record(record, &reading.binding);
        let (identifier, full_names) = (reading.rules.options.identifier, reading.rules.options.full_names);
        let place = Place { record: record.position.record.get(), line: record.position.line };
        let shown = reading.record(record, names, |taken| {
            match &taken.validated.result {
                Err(errors) => {
                    *invalid += 1;
                    for error in errors {
                        problems.error(error, place, || taken.explained(error));
                    }
                }
                Ok(record) => {
                    forms.record(record, full_names, place);
                    duplicates.record(record, identifier, |duplicate| {
                        let cause = match duplicate {
                            Duplicate::In(field, _) => Cause::Twice(field),
                            Duplicate::Full(_) => Cause::Full,
                        };
                        problems.note(cause, place, || told_of(duplicate, identifier, place.record));
                    });
                }
            }
            for warning in &taken.warnings {
                problems.note(Cause::Warning(warning), place, || warning.clone());
            }
            (first.len() < SHOWN)
                .then(|| (values(taken.record, names, taken.secrets), split_names(&taken, full_names)))
        });
        if let Some((shown, split)) = shown {
            let meanings: Vec<Option<String>> =
                reading.binding.meanings().map(|(_, field, _)| field).collect();
            let named = |(name, value): (usize, String)| {
                let field = meanings.get(name)?.clone()?;
                let value = if is_secret(&field) {
                    REDACTED.to_owned()
                } else {
                    // As it is stored, without what a file of failed records has before it for spreadsheets.
                    reading.binding.unescape(&value).to_owned()
                };
                Some((field, value))
            };
            let mut values: Vec<(String, String)> = shown.into_iter().filter_map(named).collect();
            for (field, value) in split {
                if values.iter().all(|(there, _)| there != field) {
                    values.push((field.to_owned(), value));
                }
            }
            first.push(values);
        }
        Ok(())
    }
}

fn told_of(duplicate: Duplicate, identifier: IdentifierField, record: u64) -> String {
    match duplicate {
        Duplicate::In(field, earlier) => twice(field, identifier, record, earlier),
        Duplicate::Full(values) => format!(
            "from record {record} on, values that only one user can have are compared only with the first {values} of the file; the import itself compares all of them"
        ),
    }
}

/// What becomes of a record with a value that an earlier one has.
fn twice(field: IdentifierField, identifier: IdentifierField, record: u64, earlier: u64) -> String {
    if field == identifier {
        format!(
            "record {record} means the same user as record {earlier}: the user has in the end what the later one says"
        )
    } else {
        format!(
            "{field}: record {record} has the value of record {earlier}, and only one user can have it: the later record will fail, unless the earlier one's user has another value by then"
        )
    }
}

/// The names that a full name is split into, where the options say so.
fn split_names(taken: &CheckedRecord<'_, '_>, full_names: FullNames) -> Vec<(&'static str, String)> {
    let Ok(record) = &taken.validated.result else { return Vec::new() };
    if full_names == FullNames::Whole {
        return Vec::new();
    }
    let names = [("given_name", &record.given_name), ("family_name", &record.family_name)];
    let shown = |(field, name): (&'static str, &Patch<&str>)| {
        Some((field, name.value()?.chars().take(VALUE_CHARS).collect()))
    };
    names.into_iter().filter_map(shown).collect()
}

/// Nobody's secret is shown.
fn is_secret(field: &str) -> bool {
    field == "mfa" || looks_secret(field)
}

/// The values of a record that may be shown, by the index of their names.
fn values(record: &RawRecord<'_>, names: &FieldNames, secrets: &Secrets) -> Vec<(usize, String)> {
    let record = if secrets.hide_whole(record) { Secrets::hidden(record) } else { *record };
    let text = |field: &RawField<'_>| match field.value {
        RawValue::Null => "null".to_owned(),
        _ if secrets.shown(field, names).is_some() && !mutant(Mutant::InspectShowsSecrets) => {
            REDACTED.to_owned()
        }
        RawValue::Text(text) | RawValue::Json(text) => text.chars().take(VALUE_CHARS).collect(),
    };
    let shown = record.fields.iter().filter(|field| field.value != RawValue::Text(""));
    shown.map(|field| (field.name as usize, text(field))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::HeaderNames;

    fn report(file: &str, full_names: FullNames) -> Report {
        let options = ImportOptions {
            format: Format::Csv,
            header_names: HeaderNames::Common,
            full_names,
            ..ImportOptions::default()
        };
        let mut inspection = Inspection::new(options, ParseLimits::default());
        assert!(inspection.feed(file.as_bytes()));
        inspection.finish()
    }

    #[test]
    fn full_names_that_could_be_split_are_told_with_the_option_that_does_it() {
        let file = "email,Full Name\na@example.com,\"Lovelace, Ada\"\nb@example.com,Cher\nc@example.com,\"King, Ada\"\n";
        let told = report(file, FullNames::Whole);
        let problem =
            told.problems.iter().find(|problem| problem.message.contains("--full-names last_first"));
        let problem = problem.map(|problem| (problem.code, problem.count, problem.first.len()));
        assert_eq!(problem, Some((None, 2, 2)), "{told:?}");
        assert_eq!(told.first[0].len(), 2, "nothing is split unasked: {told:?}");
        // With the option, the parts are shown, and names that are not split are reported.
        let split = report(file, FullNames::LastFirst);
        let wanted = [("given_name", "Ada"), ("family_name", "Lovelace")];
        let shown = split.first[0][2..].iter().map(|(field, value)| (field.as_str(), value.as_str()));
        assert!(shown.eq(wanted), "{split:?}");
        assert!(split.problems.iter().any(|problem| problem.message.contains("kept whole")), "{split:?}");
        assert!(split.problems.iter().all(|problem| !problem.message.contains("--full-names")), "{split:?}");
        let own = "email,name,first_name\na@example.com,\"Lovelace, Ada\",Ada\n";
        assert!(report(own, FullNames::Whole).problems.is_empty());
    }

    #[test]
    fn values_that_look_like_secrets_are_not_shown() {
        let file = b"email,custom__notes,custom__facts{}\na@example.com,$2b$10$N9qo8uLOickgx2ZMRZoMye,\"a=1;token=hunter2\"\n";
        let options = ImportOptions { format: Format::Csv, ..ImportOptions::default() };
        let mut inspection = Inspection::new(options, ParseLimits::default());
        assert!(inspection.feed(file));
        let report = inspection.finish();
        let shown = format!("{:?}", report.first);
        assert!(shown.contains("a@example.com") && shown.contains(REDACTED), "{shown}");
        assert!(!shown.contains("$2b$") && !shown.contains("hunter2"), "{shown}");
    }
}
