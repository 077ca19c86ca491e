//! Requests, and the table: each row is tried with all of its values, so that a new option needs no test of its own here.

use serde_json::json;

use super::*;
use crate::error::ErrorCode;
use crate::field::{Field, FieldTable};
use crate::options::{Dates, Enrolment, NewerOptions, UnknownColumns};
use crate::parse::Delimiter;
use crate::record::FieldNames;
use crate::rules::Rules;
use crate::undo::Undo;
use crate::validate::Binding;

/// Values that an option may have: all of a choice, the bounds of a number, examples of a text.
fn samples(option: &ImportOption) -> Vec<String> {
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    match option.kind {
        Kind::Choice(values) => values.iter().map(|value| value.name.to_owned()).collect(),
        Kind::Number(least, most) => vec![least.to_string(), most.to_string()],
        Kind::YesNo => texts(&["true", "false"]),
        Kind::Slug => texts(&["acme"]),
        Kind::Id => vec![uuid::Uuid::from_u128(7).to_string()],
        Kind::Pairs(example) => texts(&[example]),
        Kind::Text(Text { examples: [], .. }) => texts(&["staff"]),
        Kind::Text(Text { examples, .. }) => texts(examples),
    }
}

fn with(option: &ImportOption, value: &str) -> AskedImport {
    let format = (option.name != "format").then_some(("format", "csv"));
    let pairs = [(option.name, value)].into_iter().chain(format).filter(|(name, _)| *name != "profile");
    ImportRequest::from_pairs(pairs)
        .unwrap_or_else(|error| panic!("{}={value}: {error:?}", option.name))
        .asked(None)
        .unwrap()
}

#[test]
fn every_option_takes_its_values_and_no_other_choice_or_number() {
    for option in OPTIONS {
        for value in samples(option) {
            let asked = ImportRequest::default().set(option.name, &value);
            assert_eq!(asked, Ok(()), "{}={value}", option.name);
        }
        let other = match option.kind {
            Kind::Choice(_) | Kind::YesNo | Kind::Id => "nothing-of-the-kind".to_owned(),
            Kind::Number(_, most) => (u16::from(most) + 1).to_string(),
            Kind::Slug => "a b".to_owned(),
            Kind::Pairs(_) => "a".to_owned(),
            Kind::Text(_) => continue,
        };
        assert_eq!(refused(&[(option.name, &other)]).field, option.name);
    }
}

#[test]
fn what_counts_without_an_option_is_what_the_table_says() {
    for option in OPTIONS {
        if let Usual::Value(value) = option.usual {
            let without = ImportRequest::from_pairs([("format", "csv")]).unwrap().asked(None).unwrap();
            assert_eq!(with(option, value), without, "{}", option.name);
        }
        let chosen = matches!(option.kind, Kind::Choice(_) | Kind::YesNo | Kind::Number(..));
        assert!(
            !chosen || option.usual != Usual::Nothing,
            "{} does not say what counts without it",
            option.name
        );
    }
}

#[test]
fn a_choice_has_all_values_of_its_type_and_a_question_no_other() {
    let names = |name: &str| match ImportOption::find(name).unwrap().kind {
        Kind::Choice(values) => values.iter().map(|value| value.name).collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    assert_eq!(names("format"), Format::ALL.map(Format::as_str));
    let delimiters: Vec<&str> = Delimiter::ALL.into_iter().map(Delimiter::as_str).chain(["auto"]).collect();
    assert_eq!(names("delimiter"), delimiters);
    let encodings: Vec<&str> =
        TextEncoding::ALL.into_iter().map(TextEncoding::as_str).chain(["auto"]).collect();
    assert_eq!(names("encoding"), encodings);
    for option in OPTIONS {
        let Some(question) = option.question else { continue };
        let mut wanted = match option.kind {
            Kind::YesNo => vec!["false", "true"],
            _ => names(option.name),
        };
        let mut offered = match question.answer {
            Answer::OneOf(values) => values.iter().map(|(value, _)| *value).collect::<Vec<_>>(),
            Answer::Text(_) => Vec::new(),
        };
        if let (Usual::Value(usual), Some(first)) = (option.usual, offered.first()) {
            assert_eq!(*first, usual, "the usual value of {} is the first", option.name);
        }
        wanted.sort_unstable();
        offered.sort_unstable();
        assert_eq!(offered, wanted, "{}", option.name);
    }
    for option in OPTIONS {
        if let Kind::Choice(values) = option.kind {
            assert!(values.iter().all(|value| !value.meaning.is_empty()), "{}", option.name);
        }
        assert!(!option.meaning.ends_with('.'), "{}", option.name);
    }
    let mut once = NAMES.to_vec();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), OPTIONS.len());
}

#[test]
fn stored_options_are_read_back_and_every_name_is_known() {
    let mut stored = json!({});
    for option in OPTIONS {
        for value in samples(option) {
            let options = with(option, &value).options;
            let written = serde_json::to_value(&options).unwrap();
            assert_eq!(ImportOptions::from_stored(written.clone()), Ok(options), "{}={value}", option.name);
            let members = written.as_object().unwrap().clone();
            stored.as_object_mut().unwrap().extend(members);
        }
    }
    // What no request says.
    let others = ImportOptions {
        fields: Some(FieldTable(Vec::new())),
        enrolment: Some(Enrolment { organization_id: 1, group_id: 2 }),
        address_clash: crate::options::AddressClash::Refuse,
        undo: Some(Undo {
            fields: vec!["metadata".into()],
            records: "1-7".parse().ok(),
            outcome: Some(crate::outcome::Outcome::Updated),
            ..Undo::whole(ImportId::new(uuid::Uuid::nil()), chrono::DateTime::UNIX_EPOCH)
        }),
        ..ImportOptions::default()
    };
    let written = serde_json::to_value(&others).unwrap();
    assert_eq!(ImportOptions::from_stored(written.clone()), Ok(others));
    stored.as_object_mut().unwrap().extend(written.as_object().unwrap().clone());
    let mut names: Vec<&str> = stored.as_object().unwrap().keys().map(String::as_str).collect();
    let mut known = ImportOptions::NAMES.to_vec();
    names.sort_unstable();
    known.sort_unstable();
    assert_eq!(names, known);
    assert!(ImportOptions::from_stored(stored).is_ok());
    assert_eq!(ImportOptions::from_stored(json!({})), Ok(ImportOptions::default()));
    let newer = NewerOptions { option: "on_drift".into() };
    assert_eq!(ImportOptions::from_stored(json!({"on_drift": "refuse"})), Err(newer));
}

fn refused(pairs: &[(&str, &str)]) -> FieldError {
    ImportRequest::from_pairs(pairs.iter().copied()).unwrap_err()
}

#[test]
fn an_option_that_cannot_be_taken_says_what_there_is() {
    let error = refused(&[("on_existing", "replace")]);
    assert_eq!((error.code, error.field.as_str()), (ErrorCode::InvalidRequest, "on_existing"));
    assert_eq!(error.message, "must be one of: skip, update, enrol");
    assert!(refused(&[("tenant", "other")]).message.contains("on_invalid"));
    assert_eq!(refused(&[("start", "auto"), ("start", "auto")]).message, "is given twice");
    assert_eq!(refused(&[("delimiter", "x")]).field, "delimiter");
    assert!(refused(&[("encoding", "ebcdic")]).message.contains("windows-1252"));
    assert_eq!(refused(&[("organization", "a b")]).field, "organization");
    assert_eq!(refused(&[("group", "\u{202e}")]).field, "group");
    assert!(refused(&[("format", "xml")]).message.contains("ndjson"));
}

#[test]
fn built_in_profiles_can_be_taken_and_what_is_given_counts_more() {
    for profile in BUILTIN {
        let asked = ImportRequest::from_pairs([("profile", profile.name), ("format", "csv")]).unwrap();
        let AskedImport { options, .. } = asked.asked(None).unwrap();
        assert_eq!(options.unknown_columns, UnknownColumns::Metadata, "{}", profile.name);
    }
    let given = [
        ("profile", "slack"),
        ("format", "csv"),
        ("unknown_columns", "ignore"),
        ("columns", "FullName=nickname,x=email"),
    ];
    let AskedImport { options, .. } = ImportRequest::from_pairs(given).unwrap().asked(None).unwrap();
    assert_eq!(options.unknown_columns, UnknownColumns::Ignore);
    let table = options.fields.unwrap();
    let field = |name: &str| table.find(name).map(|rule| rule.field);
    assert_eq!((field("fullname"), field("x")), (Some(Field::Nickname), Some(Field::Email)));
    assert_eq!(field("displayname"), Some(Field::Nickname));
    assert!(refused(&[("profile", "auto")]).message.contains("muster inspect"));
    let unknown = ImportRequest::from_pairs([("profile", "hr")]).unwrap().asked(None).unwrap_err();
    assert!(unknown.to_string().contains("google-workspace"));
    let pairs = |name: &str| vec![(name.to_owned(), "x".to_owned())];
    assert_eq!(checked_profile("slack", &[]).unwrap_err().field, "name");
    assert_eq!(checked_profile("hr", &pairs("filename")).unwrap_err().field, "filename");
    assert_eq!(checked_profile("hr", &pairs("dates")).unwrap_err().field, "dates");
    let auto = [("dates".to_owned(), "auto".to_owned())];
    assert!(checked_profile("hr", &auto).unwrap_err().message.contains("a profile is for many"));
    assert_eq!(checked_profile("HR", &[]).unwrap().as_str(), "hr");
}

#[test]
fn the_format_is_told_by_option_then_media_type_then_name() {
    let named = ImportRequest::from_pairs([("filename", "a.ndjson.gz")]).unwrap();
    assert_eq!(named.format(Some("application/octet-stream")), Some(Format::Ndjson));
    assert_eq!(named.format(Some("text/csv; charset=utf-8")), Some(Format::Csv));
    let told = ImportRequest::from_pairs([("format", "json"), ("filename", "a.csv")]).unwrap();
    assert_eq!(told.format(Some("text/csv")), Some(Format::Json));
    assert_eq!(ImportRequest::default().format(None), None);
}

#[test]
fn the_encoding_is_told_by_option_then_charset() {
    let told = |pairs: &[(&str, &str)], media_type| {
        ImportRequest::from_pairs(pairs.iter().copied()).unwrap().encoding(media_type)
    };
    let latin1 = Some("text/csv; charset=ISO-8859-1");
    assert_eq!(told(&[], latin1), Ok(Some(TextEncoding::Latin1)));
    assert_eq!(told(&[("encoding", "utf-8")], latin1), Ok(Some(TextEncoding::Utf8)));
    assert_eq!(told(&[("encoding", "auto")], latin1), Ok(None));
    assert_eq!(told(&[], Some("text/csv")), Ok(None));
    assert_eq!(told(&[], Some("text/csv; charset=koi8-r")).unwrap_err().field, "Content-Type");
    assert_eq!(told(&[("encoding", "auto")], Some("text/csv; charset=koi8-r")), Ok(None));
}

#[test]
fn a_file_name_is_a_label() {
    assert_eq!(file_label("../../etc/passwd").as_deref(), Some("passwd"));
    assert_eq!(file_label("C:\\x\\users.csv").as_deref(), Some("users.csv"));
    assert_eq!(file_label("a\r\nSet-Cookie\0: b\u{202e}.csv").as_deref(), Some("aSet-Cookie: b.csv"));
    assert_eq!(file_label("/"), None);
    assert_eq!(file_label(&"ä".repeat(300)).map(|label| label.chars().count()), Some(255));
}

/// What the columns of a file mean to a request, by their names.
fn meanings(request: &ImportRequest, header: &[&str]) -> Vec<Option<String>> {
    let mut binding = Binding::new(&Rules::new(request.asked(None).unwrap().options));
    binding.extend(&FieldNames::from_header(header));
    binding.meanings().map(|(_, meaning, _)| meaning).collect()
}

#[test]
fn failed_records_are_read_as_they_were_and_what_is_chosen_counts_more() {
    let asked = |pairs: &[(&str, &str)]| {
        let file = [("filename", "people.csv"), ("unknown_columns", "ignore")];
        ImportRequest::from_pairs(file.iter().chain(pairs).copied()).unwrap()
    };
    let first = asked(&[
        ("columns", "Role=roles,#3=name,Stelle=custom__job"),
        ("null_words", "n/a"),
        ("dates", "dmy"),
    ]);
    let (before, columns) =
        (first.asked(None).unwrap().options, ["E-Mail", "Role", "Wer", "Stelle"].map(str::to_owned));
    let header = ["Stelle", "Wer", "E-Mail", "Role"];
    assert_eq!(meanings(&asked(&[]), &header)[3], None, "nobody knows it");
    let again = asked(&[]).read_as_before(&before, &columns);
    let wanted = ["custom__job", "name", "email", "roles"].map(|field| Some(field.to_owned()));
    assert_eq!(meanings(&again, &header), wanted);
    let options = again.asked(None).unwrap().options;
    assert_eq!((options.null_words, options.dates), (vec!["n/a".to_owned()], Dates::Dmy));
    // As lines of JSON, where names are compared as they are written.
    let lines =
        ImportRequest::from_pairs([("filename", "failed.ndjson"), ("header_names", "exact")]).unwrap();
    assert_eq!(meanings(&lines.read_as_before(&before, &columns), &["Role"]), [Some("roles".to_owned())]);
    let other =
        asked(&[("columns", "Role=custom__role"), ("dates", "mdy")]).read_as_before(&before, &columns);
    assert_eq!(meanings(&other, &header)[2..], [Some("email".to_owned()), Some("custom__role".to_owned())]);
    assert_eq!(other.asked(None).unwrap().options.dates, Dates::Mdy);
}
