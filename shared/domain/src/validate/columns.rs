//! Checks whether the header of a table is usable, and explains what is wrong with it.

use std::collections::{HashMap, HashSet};

use super::binding::Binding;
use super::rule::Rule;
use crate::column_name::{clean, fold, quoted};
use crate::error::{ErrorCode, FileError};
use crate::fault::{Mutant, mutant};
use crate::field::{Field, FieldSet, METADATA_PREFIX, dictionary};
use crate::normalise::{EmailAddress, PhoneNumber};
use crate::options::{FullNames, HeaderNames, ImportOptions, UnknownColumns};

/// What nobody types into a flag: the ends of lines, and what stands for a NUL.
const NOT_TYPED: [char; 3] = ['\r', '\n', '\u{fffd}'];
/// Most columns that a message names.
const TOLD: usize = 30;

impl Binding {
    /// Whether the header of a table can be worked with: it is one, the identifier is there, nothing twice, nothing unknown.
    pub fn check_header(&self, options: &ImportOptions) -> Result<(), FileError> {
        self.check_is_header()?;
        self.check_unknown(options)?;
        self.check_names(options)?;
        let fields = self.check_twice()?;
        if !fields.contains(options.identifier.into()) {
            return Err(self.without_identifier(options));
        }
        match self.required().iter().find(|(field, _)| !fields.contains(*field)) {
            None => Ok(()),
            Some((_, name)) => {
                let message = format!("the header has no column `{name}`, which every record must have");
                Err(FileError::new(ErrorCode::CsvHeaderMissing, message).at_line(1).in_field(&**name))
            }
        }
    }

    /// A line with somebody's address is no header. Nothing of it may be told.
    fn check_is_header(&self) -> Result<(), FileError> {
        let known = self.rules.iter().any(|rule| *rule != Rule::Unknown);
        let value = |name: &str| EmailAddress::parse(name).is_ok() || PhoneNumber::parse(name).is_ok();
        if known || !self.names().any(value) {
            return Ok(());
        }
        let message = "the file has no header line: its first line holds values of a user. Write the columns' names above it, such as \
                       `email,first_name,last_name`";
        Err(FileError::new(ErrorCode::CsvHeaderMissing, message).at_line(1))
    }

    fn check_unknown(&self, options: &ImportOptions) -> Result<(), FileError> {
        if options.unknown_columns == UnknownColumns::Ignore {
            return Ok(());
        }
        let unknown: Vec<usize> = self
            .rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| **rule == Rule::Unknown)
            .map(|(at, _)| at)
            .collect();
        let Some(first) = unknown.first() else { return Ok(()) };
        let proposals = if self.is_native() { self.proposals(&unknown, options) } else { Vec::new() };
        let error = FileError::new(ErrorCode::CsvHeaderUnknown, self.unknown_message(&unknown, &proposals));
        let flags = proposals.into_iter().flat_map(|pair| ["--column".to_owned(), pair]);
        Err(error.at_line(1).at_column(*first as u64 + 1).in_field(self.name(*first)).mended_by(flags))
    }

    fn unknown_message(&self, unknown: &[usize], proposals: &[String]) -> String {
        let told = || unknown.iter().take(TOLD);
        let name = |at: &usize| match shorten(self.name(*at)) {
            name if name.is_empty() => format!("column {}, which has no name", at + 1),
            name => format!("`{name}`"),
        };
        let mut names = told().map(name).collect::<Vec<_>>().join(", ");
        if unknown.len() > TOLD {
            names.push_str(&format!(" and {} more", unknown.len() - TOLD));
        }
        let message = match unknown {
            [one] if self.name(*one).trim().is_empty() => format!("column {} has no name", one + 1),
            [_] => format!("the column {names} is not known"),
            _ => format!("{} columns are not known: {names}", unknown.len()),
        };
        if proposals.is_empty() {
            return message;
        }
        let flags: Vec<String> = proposals.iter().map(|pair| format!("--column {}", quoted(pair))).collect();
        let all = if unknown.len() == 1 { "it" } else { "all of them" };
        format!(
            "{message}. Say what it is, as in: {} (nothing after the `=` leaves a column out); or keep {all} with \
             `--unknown-columns metadata`, or leave {all} out with `--unknown-columns ignore`",
            flags.join(" ")
        )
    }

    /// `NAME=FIELD` for each of these columns, by the best guess: a field that is not there yet, else a key of the metadata, else nothing.
    fn proposals(&self, unknown: &[usize], options: &ImportOptions) -> Vec<String> {
        let mut there: HashSet<String> = self.meanings().filter_map(|(_, meaning, _)| meaning).collect();
        let mut propose = |at: &usize| {
            let name = self.name(*at);
            let (folded, key) = (fold(name), clean(name));
            let by_place = folded.is_empty()
                || unknown.iter().any(|other| other != at && fold(self.name(*other)) == folded);
            let shown = if by_place || name.contains(NOT_TYPED) {
                format!("#{}", at + 1)
            } else {
                name.trim().to_owned()
            };
            let identifier = Field::from(options.identifier);
            let lacking = !there.contains(identifier.as_str()) && unknown.len() == 1 && !folded.is_empty();
            let field = dictionary::nearest(&folded)
                .or_else(|| lacking.then_some(identifier))
                .map(|field| field.as_str().to_owned());
            let custom = |key: &str| (!key.is_empty()).then(|| format!("{METADATA_PREFIX}{key}"));
            let guesses = [field, dictionary::metadata_key(&folded).and_then(custom), custom(&key)];
            let guess =
                guesses.into_iter().flatten().find(|guess| !there.contains(guess)).unwrap_or_default();
            there.insert(guess.clone());
            format!("{shown}={guess}")
        };
        unknown.iter().take(TOLD).map(&mut propose).collect()
    }

    /// Beside a given name in the language of its people, `Name` is as often the family's name as the whole one: asked, not guessed.
    fn check_names(&self, options: &ImportOptions) -> Result<(), FileError> {
        let named = |field: Field, names: &[&str]| {
            let all = self.rules.iter().enumerate();
            all.filter(|(at, rule)| rule.field() == Some(field) && !self.is_mapped(*at))
                .map(|(at, _)| at)
                .find(|at| names.contains(&&*fold(self.name(*at))))
        };
        let others = self.rules.iter().any(|rule| rule.field() == Some(Field::FamilyName));
        let told = options.header_names == HeaderNames::Exact || options.full_names == FullNames::LastFirst;
        if others || told || !self.is_native() || mutant(Mutant::NameIsWhole) {
            return Ok(());
        }
        let (Some(at), Some(given)) = (
            named(Field::Name, &["name", "naam"]),
            named(Field::GivenName, &["vorname", "rufname", "voornaam"]),
        ) else {
            return Ok(());
        };
        let (name, given) = (self.name(at).trim(), self.name(given).trim());
        let by_place = name.contains(['\r', '\n']);
        let column = if by_place { format!("#{}", at + 1) } else { name.to_owned() };
        let flag = |field: Field| quoted(&format!("{column}={field}")).into_owned();
        let message = format!(
            "the column `{}` may hold the family name, since `{}` stands beside it, or the whole name. Say which: `--column {}` or `--column {}`",
            shorten(name),
            shorten(given),
            flag(Field::FamilyName),
            flag(Field::Name)
        );
        let error = FileError::new(ErrorCode::CsvHeaderUnknown, message);
        let mend = ["--column".to_owned(), format!("{column}={}", Field::FamilyName)];
        Err(error.at_line(1).at_column(at as u64 + 1).in_field(name).mended_by(mend))
    }

    /// The fields that the columns have, each once. Several that the import maps to one field are no fault: see `passed_over`.
    fn check_twice(&self) -> Result<FieldSet, FileError> {
        let mut first: HashMap<String, usize> = HashMap::new();
        let mut fields = FieldSet::default();
        for (at, rule) in self.rules.iter().enumerate() {
            if let Some(field) = rule.field() {
                fields.insert(field);
            }
            let key = match rule {
                Rule::Ignored | Rule::ErrorCode | Rule::Unknown => continue,
                Rule::Field(rule) => rule.field.as_str().to_owned(),
                Rule::Metadata(key, _) => format!("{METADATA_PREFIX}{key}"),
            };
            if let Some(before) = first.insert(key.clone(), at)
                && !self.are_alternatives(before, at)
            {
                return Err(self.named_twice(before, at, &key));
            }
        }
        Ok(fields)
    }

    fn named_twice(&self, before: usize, at: usize, key: &str) -> FileError {
        let (one, two) = (shorten(self.name(before)), shorten(self.name(at)));
        let mut message =
            format!("the columns {} `{one}` and {} `{two}` name the same field, `{key}`", before + 1, at + 1);
        let mut flags = Vec::new();
        // Compared as they were sent, which is how they were found to be the same.
        let folded = |at: usize| self.names().nth(at).map(fold);
        let same = folded(before) == folded(at);
        // A name can be mapped once: what the import says of one column stays, and the other is left out.
        let out = match (self.is_mapped(before), self.is_mapped(at)) {
            (true, true) if !same => None,
            (false, true) if !same => Some(before),
            _ => Some(at),
        };
        if let Some(out) = out.filter(|_| self.is_native()) {
            let name = self.name(out).trim();
            let by_place = same || fold(name).is_empty() || name.contains(NOT_TYPED);
            let left = if by_place { format!("#{}=", out + 1) } else { format!("{name}=") };
            message.push_str(&format!(
                "; leave one out with `--column {}`, or keep it as metadata with `--column {}`",
                quoted(&left),
                quoted(&format!(
                    "{left}{METADATA_PREFIX}{}",
                    clean(&format!("{} {}", shorten(name), out + 1))
                ))
            ));
            flags.extend(["--column".to_owned(), left]);
        }
        let error = FileError::new(ErrorCode::CsvHeaderDuplicate, message);
        error.at_line(1).at_column(at as u64 + 1).in_field(self.name(at)).mended_by(flags)
    }

    fn without_identifier(&self, options: &ImportOptions) -> FileError {
        let identifier = options.identifier;
        let mut message = format!("the header has no column `{identifier}`, which identifies the users");
        if self.is_native() {
            let there = [Field::Email, Field::PhoneNumber, Field::PreferredUsername];
            let other = there.into_iter().find(|field| self.name_of(*field).is_some());
            let other =
                other.map(|field| format!(", or identify them by another field: `--identifier {field}`"));
            message.push_str(&format!(
                ". Say which column it is, as in `--column \"NAME={identifier}\"`{}",
                other.unwrap_or_default()
            ));
        }
        FileError::new(ErrorCode::CsvHeaderMissing, message).at_line(1).in_field(identifier.as_str())
    }

    /// The table is Muster's own, so that an import can map names.
    fn is_native(&self) -> bool {
        self.table.0.len() >= Field::ALL.len()
    }
}

/// A header cell for a message: a header is not a user's value, but it may be any length.
fn shorten(name: &str) -> String {
    let line: Vec<&str> = name.split_whitespace().collect();
    line.join(" ").chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{FieldRule, FieldTable, Mapped};
    use crate::record::FieldNames;
    use crate::rules::Rules;

    fn header(columns: &[&str], options: &ImportOptions) -> Result<(), (ErrorCode, Option<u64>)> {
        let mut binding = Binding::new(&Rules::new(options.clone()));
        binding.extend(&FieldNames::from_header(columns));
        binding.check_header(options).map_err(|error| (error.code, error.column))
    }

    #[test]
    fn headers_are_taken_or_refused_with_their_place() {
        let options = ImportOptions::default();
        assert_eq!(header(&["Email", "First Name", "custom__office", "_error_code"], &options), Ok(()));
        assert_eq!(header(&["first_name"], &options), Err((ErrorCode::CsvHeaderMissing, None)));
        assert_eq!(header(&["email", "EMAIL"], &options), Err((ErrorCode::CsvHeaderDuplicate, Some(2))));
        assert_eq!(
            header(&["email", "first_name", "given_name"], &options),
            Err((ErrorCode::CsvHeaderDuplicate, Some(3)))
        );
        assert_eq!(header(&["email", "is_admin"], &options), Err((ErrorCode::CsvHeaderUnknown, Some(2))));
        assert_eq!(header(&["email", ""], &options), Err((ErrorCode::CsvHeaderUnknown, Some(2))));
        let lenient = ImportOptions { unknown_columns: UnknownColumns::Ignore, ..options };
        assert_eq!(header(&["email", "is_admin", ""], &lenient), Ok(()));
    }

    #[test]
    fn a_name_beside_a_given_name_is_asked_for() {
        let common = ImportOptions { header_names: HeaderNames::Common, ..ImportOptions::default() };
        let asked = Err((ErrorCode::CsvHeaderUnknown, Some(1)));
        assert_eq!(header(&["Name", "Vorname", "E-Mail"], &common), asked);
        assert_eq!(header(&["Naam", "Voornaam", "E-mail"], &common), asked);
        for columns in [
            &["Name", "Vorname", "Nachname", "E-Mail"][..],
            &["Name", "first_name", "E-Mail"],
            &["Name", "E-Mail"],
            &["Vollst\u{e4}ndiger Name", "Vorname", "E-Mail"],
        ] {
            assert_eq!(header(columns, &common), Ok(()), "{columns:?}");
        }
        let split = ImportOptions { full_names: FullNames::LastFirst, ..common.clone() };
        assert_eq!(header(&["Name", "Vorname", "E-Mail"], &split), Ok(()));
        for field in [Field::FamilyName, Field::Name] {
            let mut table = FieldTable::native();
            table.0.retain(|rule| rule.name != "name");
            let mapped = Some(Mapped { place: 0, key: None, left_out: false });
            table.0.push(FieldRule { mapped, ..FieldRule::new("name", field) });
            let options = ImportOptions { fields: Some(table), ..common.clone() };
            assert_eq!(header(&["Name", "Vorname", "E-Mail"], &options), Ok(()), "{field}");
        }
    }
}
