use super::*;
use crate::options::{ImportOptions, OnInvalidValue};
use crate::parse::{Format, ParseLimits, Parser, RecordSink};
use crate::record::Patch;

/// What a file's records came to: number, given and family name, warnings.
type Came = Vec<(u64, Option<(Patch<String>, Patch<String>)>, Vec<String>)>;

struct Sink {
    reading: Reading,
    came: Came,
    /// The first of the records that are reported together.
    stands_for_repeats: Option<u64>,
}

impl RecordSink for Sink {
    fn header(&mut self, names: &FieldNames) -> Result<(), FileError> {
        self.reading.header(names)
    }

    fn knows(&self, name: &str) -> bool {
        self.reading.binding.knows(name)
    }

    fn record(&mut self, record: &RawRecord<'_>, names: &FieldNames) -> Result<(), FileError> {
        let Self { reading, came, stands_for_repeats } = self;
        // The parsers look for letters only where people made the file; here it is done for all.
        reading.beyond_ascii();
        let number = record.position.record.get();
        let identifier = reading.record(record, names, |taken| {
            let own = |name: &Patch<&str>| name.map(str::to_owned);
            let split = taken.validated.result.ok();
            let split = split.map(|record| (own(&record.given_name), own(&record.family_name)));
            came.push((number, split, taken.warnings));
            taken.identifier
        });
        match reading.repeat(identifier, number) {
            Repeat::Nothing => {}
            Repeat::Told(warning) => came.last_mut().unwrap().2.push(warning),
            Repeat::FirstUntold => assert_eq!(stands_for_repeats.replace(number), None),
        }
        Ok(())
    }
}

fn read(file: &str, options: ImportOptions, memory: usize) -> Came {
    sink(file, options, memory).came
}

fn sink(file: &str, options: ImportOptions, memory: usize) -> Sink {
    let options = ImportOptions { header_names: HeaderNames::Common, ..options };
    let rules = Rules::new(options);
    let mut parser = Parser::new(rules.options.format, ParseLimits::default());
    let reading = Reading::new(rules).telling_repeats(Memory::of(memory));
    let mut sink = Sink { reading, came: Vec::new(), stands_for_repeats: None };
    parser.feed(file.as_bytes(), &mut sink).unwrap();
    parser.finish(&mut sink).unwrap();
    sink
}

/// The warnings of each record that has some.
fn warned(file: &str, options: ImportOptions, memory: usize) -> Vec<(u64, String)> {
    let came = read(file, options, memory).into_iter();
    came.filter(|(_, _, warnings)| !warnings.is_empty())
        .map(|(record, _, warnings)| (record, warnings.join(" ")))
        .collect()
}

#[test]
fn a_record_of_an_earlier_ones_user_is_told_with_its_number() {
    // The third is invalid for another reason, and two people have its address all the same.
    let file = "email,first_name,birthdate\na@example.com,Ada,\nb@example.com,Bea,\nC@example.com,Eva,soon\n\
                A@EXAMPLE.COM ,Ann,\nc@example.com,Eve,\na@example.com,Amy,\n";
    let warned = warned(file, ImportOptions::default(), 1 << 16);
    let of = |record: u64, first: u64| {
        let told = warned.iter().find(|(of, _)| *of == record).map(|(_, warning)| warning.as_str());
        let wanted = format!("Record {first}, an earlier one of the file, is about the same user. ");
        assert!(told.is_some_and(|told| told.starts_with(&wanted)), "{record}: {told:?}");
    };
    of(4, 1);
    of(5, 3);
    of(6, 1);
    assert_eq!(warned.len(), 3, "{warned:?}");
    let refusing = ImportOptions { duplicates: Duplicates::Refuse, ..ImportOptions::default() };
    assert!(self::warned(file, refusing, 1 << 16).is_empty(), "the receipt refuses them");
    let file = "{\"email\":\"a@example.com\"}\n{\"email\":\"a@example.com\"}\n";
    let lines = ImportOptions { format: Format::Ndjson, ..ImportOptions::default() };
    assert_eq!(self::warned(file, lines, 1 << 16).len(), 1);
}

/// A file with a line for each membership: two users, and so many records that mean one of them again.
#[test]
fn so_many_repeats_are_told_one_by_one_and_the_others_are_counted() {
    let came = |repeats: u64| {
        let rows: String = (0..repeats + 2).map(|at| format!("u{}@example.com\n", at % 2)).collect();
        let sink = sink(&format!("email\n{rows}"), ImportOptions::default(), 1 << 16);
        let told = sink.came.iter().filter(|(_, _, warnings)| !warnings.is_empty()).count() as u64;
        (told, sink.stands_for_repeats, sink.reading.untold_repeats())
    };
    assert_eq!(came(REPEATS_TOLD), (REPEATS_TOLD, None, None));
    for untold in [1, 2_345] {
        let (told, stands, text) = came(REPEATS_TOLD + untold);
        // Two users came first.
        assert_eq!((told, stands), (REPEATS_TOLD, Some(REPEATS_TOLD + 3)));
        let wanted = format!("from this record on, {untold} of them");
        assert!(text.as_ref().is_some_and(|text| text.contains(&wanted)), "{text:?}");
    }
}

#[test]
fn a_full_memory_says_so_once_and_never_guesses() {
    let users = [1, 2, 3, 4, 5, 4, 2, 5];
    let rows: String = users.iter().map(|user| format!("u{user}@example.com\n")).collect();
    // Room for three of four.
    let warned = warned(&format!("email\n{rows}"), ImportOptions::default(), 4 * 13);
    let [(4, full), (7, again)] = warned.as_slice() else { panic!("{warned:?}") };
    assert!(full.contains("one of the first 3 users of the file"), "{full}");
    assert!(again.starts_with("Record 2, "), "{again}");
}

#[test]
fn a_full_name_gives_family_and_given_name_and_nothing_is_guessed() {
    let names =
        |given: &str, family: &str| Some((Patch::Value(given.to_owned()), Patch::Value(family.to_owned())));
    let file = "email,Name,given_name\na@example.com,\"Lovelace, Ada\",\nb@example.com,\"van der Berg,Anna Maria \",\n\
                c@example.com,Cher,\nd@example.com,\"Davis, Sammy, Jr.\",\ne@example.com,\"Plato,\",\n\
                f@example.com,\"King, Ada\",Augusta\ng@example.com,,\n";
    let whole = read(file, ImportOptions::default(), 0);
    assert_eq!(
        whole[0],
        (1, Some((Patch::Absent, Patch::Absent)), Vec::new()),
        "the default guesses nothing"
    );
    let split = ImportOptions { full_names: FullNames::LastFirst, ..ImportOptions::default() };
    let came = read(file, split, 0);
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
    let came =
        |name: &str| read(&format!("email,Name\na@example.com,\"{name}\"\n"), split.clone(), 0).remove(0);
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
        let warned = warned(record, options.clone(), 0);
        assert!(warned.iter().any(|(_, text)| text.contains(words)), "{record}: {warned:?}");
        assert!(warned.iter().all(|(_, text)| !text.contains('\0')), "{record}: {warned:?}");
    }
}

#[test]
fn an_error_of_a_spreadsheet_is_told_in_the_metadata_and_refused_for_a_field() {
    let file = "email,first_name,custom__office\na@example.com,Ada,#BEZUG!\nb@example.com,Err:502,x\nc@example.com,Erik,#12\n";
    let came = read(file, ImportOptions::default(), 0);
    assert!(
        matches!(came[0].2.as_slice(), [told] if told.starts_with("custom__office holds an error")),
        "{came:?}"
    );
    assert!(came[0].1.is_some() && came[1].1.is_none() && came[2].1.is_some(), "{came:?}");
    assert!(came[2].2.is_empty(), "{came:?}");
}
