use super::*;
use crate::options::{ImportOptions, OnInvalidValue};
use crate::parse::{Format, ParseLimits, Parser, RecordSink};
use crate::record::Patch;

/// What a file's records came to: number, given and family name, warnings.
type Came = Vec<(u64, Option<(Patch<String>, Patch<String>)>, Vec<String>)>;

struct Sink {
    reading: Reading,
    came: Came,
}

impl RecordSink for Sink {
    fn header(&mut self, names: &FieldNames) -> Result<(), FileError> {
        self.reading.header(names)
    }

    fn knows(&self, name: &str) -> bool {
        self.reading.binding.knows(name)
    }

    fn record(&mut self, record: &RawRecord<'_>, names: &FieldNames) -> Result<(), FileError> {
        let Self { reading, came } = self;
        // The parsers look for letters only where people made the file; here it is done for all.
        reading.beyond_ascii();
        let number = record.position.record.get();
        reading.record(record, names, |taken| {
            let own = |name: &Patch<&str>| name.map(str::to_owned);
            let split = taken.validated.result.ok();
            let split = split.map(|record| (own(&record.given_name), own(&record.family_name)));
            came.push((number, split, taken.warnings));
        });
        Ok(())
    }
}

fn read(file: &str, options: ImportOptions) -> Came {
    let options = ImportOptions { header_names: HeaderNames::Common, ..options };
    let rules = Rules::new(options);
    let mut parser = Parser::new(rules.options.format, ParseLimits::default());
    let mut sink = Sink { reading: Reading::new(rules), came: Vec::new() };
    parser.feed(file.as_bytes(), &mut sink).unwrap();
    parser.finish(&mut sink).unwrap();
    sink.came
}

/// The warnings of each record that has some.
fn warned(file: &str, options: ImportOptions) -> Vec<(u64, String)> {
    let came = read(file, options).into_iter();
    came.filter(|(_, _, warnings)| !warnings.is_empty())
        .map(|(record, _, warnings)| (record, warnings.join(" ")))
        .collect()
}

#[test]
fn a_full_name_gives_family_and_given_name_and_nothing_is_guessed() {
    let names =
        |given: &str, family: &str| Some((Patch::Value(given.to_owned()), Patch::Value(family.to_owned())));
    let file = "email,Name,given_name\na@example.com,\"Lovelace, Ada\",\nb@example.com,\"van der Berg,Anna Maria \",\n\
                c@example.com,Cher,\nd@example.com,\"Davis, Sammy, Jr.\",\ne@example.com,\"Plato,\",\n\
                f@example.com,\"King, Ada\",Augusta\ng@example.com,,\n";
    let whole = read(file, ImportOptions::default());
    assert_eq!(
        whole[0],
        (1, Some((Patch::Absent, Patch::Absent)), Vec::new()),
        "the default guesses nothing"
    );
    let split = ImportOptions { full_names: FullNames::LastFirst, ..ImportOptions::default() };
    let came = read(file, split);
    assert_eq!(came[0], (1, names("Ada", "Lovelace"), Vec::new()));
    assert_eq!(came[1], (2, names("Anna Maria", "van der Berg"), Vec::new()));
    let untold =
        "Name was kept whole: it is not of the form `Last, First`, with one comma and a given name after it."
            .to_owned();
    for (at, record) in [(2, 3), (3, 4), (4, 5)] {
        assert_eq!(came[at], (record, Some((Patch::Absent, Patch::Absent)), vec![untold.clone()]));
    }
    assert_eq!(came[5], (6, names("Augusta", "King"), Vec::new()), "what the record says itself counts more");
    assert_eq!(came[6], (7, Some((Patch::Absent, Patch::Absent)), Vec::new()));
}

#[test]
fn a_suffix_after_the_comma_is_no_given_name() {
    let split = ImportOptions { full_names: FullNames::LastFirst, ..ImportOptions::default() };
    let came = |name: &str| read(&format!("email,Name\na@example.com,\"{name}\"\n"), split.clone()).remove(0);
    for name in [
        "Martin Luther King, Jr.",
        "Jane Doe, PhD",
        "Jane Doe, Ph.D.",
        "Jane Doe, M.D. PhD",
        "Acme, Inc.",
        "Muster, GmbH",
        "Louis, III",
    ] {
        let (_, names, warnings) = came(name);
        assert_eq!(names, Some((Patch::Absent, Patch::Absent)), "{name}");
        assert!(
            matches!(warnings.as_slice(), [told] if told.contains("was kept whole")),
            "{name}: {warnings:?}"
        );
    }
    for (name, given) in [("Ng, Vi", "Vi"), ("Doe, Jane PhD", "Jane PhD"), ("Doe, Inca", "Inca")] {
        let (_, names, warnings) = came(name);
        assert_eq!(
            names,
            Some((Patch::Value(given.to_owned()), Patch::Value(name[..name.find(',').unwrap()].to_owned())))
        );
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

/// The database's JSON can be read with no NUL, and every text here becomes a part of some.
#[test]
fn a_nul_in_a_name_is_in_no_text() {
    let common = ImportOptions { format: Format::Ndjson, ..ImportOptions::default() };
    let left_out = ImportOptions { on_invalid_value: OnInvalidValue::Drop, ..common.clone() };
    let told = "family_name\u{fffd} holds a number that a spreadsheet shortened";
    for (record, options, words) in [
        (r#"{"email":"a@b.co","family_name\u0000":"1.5E+10"}"#, &common, told),
        (r#"{"email":"a@b.co","given_name\u0000":"a�"}"#, &common, "given_name\u{fffd} holds U+FFFD"),
        (r#"{"email":"a@b.co","given_name\u0000":"a\nb"}"#, &common, "given_name\u{fffd} holds a line break"),
        (r#"{"email":"a@b.co","phone_number\u0000":"x"}"#, &left_out, "phone_number\u{fffd} was left out"),
    ] {
        let warned = warned(record, options.clone());
        assert!(warned.iter().any(|(_, text)| text.contains(words)), "{record}: {warned:?}");
        assert!(warned.iter().all(|(_, text)| !text.contains('\0')), "{record}: {warned:?}");
    }
}

#[test]
fn an_error_of_a_spreadsheet_is_told_in_the_metadata_and_refused_for_a_field() {
    let file = "email,first_name,custom__office\na@example.com,Ada,#BEZUG!\nb@example.com,Err:502,x\nc@example.com,Erik,#12\n";
    let came = read(file, ImportOptions::default());
    assert!(
        matches!(came[0].2.as_slice(), [told] if told.starts_with("custom__office holds an error")),
        "{came:?}"
    );
    assert!(came[0].1.is_some() && came[1].1.is_none() && came[2].1.is_some(), "{came:?}");
    assert!(came[2].2.is_empty(), "{came:?}");
}
