//! Records as JSON through the rules; what is told names the field by its path, and never the value.

use crate::catalog::{AttributeDefinition, CatalogKind};
use crate::error::{ErrorCode, RecordError};
use crate::field::{Behaviour, Blank, Field, FieldRule, FieldTable};
use crate::options::{EmptyCell, ImportOptions, Rows, Sets, UnknownColumns, UnknownNames, Usernames, Values};
use crate::parse::{Format, ParseLimits, Parser, RecordSink};
use crate::record::{FieldNames, NameChange, Patch, RawRecord, Record};
use crate::rules::{CatalogIndex, Rules};

use super::{Binding, validate};

fn rules(options: ImportOptions) -> Rules {
    let mut catalog = CatalogIndex::default();
    catalog.max_chat_limit = Some(5);
    catalog.insert(CatalogKind::Role, "admin".into(), 1);
    catalog.insert(CatalogKind::Role, "agent".into(), 2);
    catalog.insert(CatalogKind::Location, "mexico".into(), 3);
    catalog
        .attributes
        .insert("age".into(), AttributeDefinition::Integer { minimum: Some(0), maximum: Some(150) });
    catalog.attributes.insert("plan".into(), AttributeDefinition::Enum { values: vec!["free".into()] });
    catalog.attributes.insert("home".into(), AttributeDefinition::CountryCode {});
    Rules::new(options).with_catalog(catalog)
}

struct One<'r, T, F: FnMut(Result<Record<'_>, Vec<RecordError>>) -> T>(&'r Rules, Option<T>, F);

impl<T, F: FnMut(Result<Record<'_>, Vec<RecordError>>) -> T> RecordSink for One<'_, T, F> {
    fn header(&mut self, _: &FieldNames) -> Result<(), crate::error::FileError> {
        Ok(())
    }

    fn record(&mut self, record: &RawRecord<'_>, names: &FieldNames) -> Result<(), crate::error::FileError> {
        let mut binding = Binding::new(self.0);
        binding.extend(names);
        self.1 = Some((self.2)(validate(record, &binding, self.0).result));
        Ok(())
    }
}

/// What validating one record of an upload gives.
fn one<T>(upload: &str, rules: &Rules, look: impl FnMut(Result<Record<'_>, Vec<RecordError>>) -> T) -> T {
    let mut sink = One(rules, None, look);
    let mut parser = Parser::new(rules.options.format, ParseLimits::default());
    parser.feed(upload.as_bytes(), &mut sink).unwrap();
    parser.finish(&mut sink).unwrap();
    sink.1.expect("the upload has one record")
}

fn json(options: ImportOptions) -> ImportOptions {
    ImportOptions { format: Format::Json, ..options }
}

/// Codes and places of a record's errors; the record is `a@example.com` and these fields.
#[track_caller]
fn errors(fields: &str, options: ImportOptions) -> Vec<(ErrorCode, String)> {
    let upload = format!(r#"[{{"email": "a@example.com", {fields}}}]"#);
    one(&upload, &rules(json(options)), |result| {
        let errors = result.err().unwrap_or_default();
        errors.into_iter().map(|error| (error.code, error.field.unwrap_or_default())).collect()
    })
}

#[track_caller]
fn wrong(fields: &str, code: ErrorCode, place: &str) {
    assert_eq!(errors(fields, ImportOptions::default()), [(code, place.to_owned())], "{fields}");
}

#[test]
fn errors_name_the_field_by_its_path() {
    wrong(r#""given_name": """#, ErrorCode::EmptyNotAllowed, "given_name");
    wrong(r#""given_name": 7"#, ErrorCode::TypeMismatch, "given_name");
    wrong(r#""address": {"locality": ""}"#, ErrorCode::EmptyNotAllowed, "address.locality");
    wrong(r#""address": {"country": null}"#, ErrorCode::NullNotAllowed, "address.country");
    wrong(r#""address": []"#, ErrorCode::TypeMismatch, "address");
    wrong(r#""email_verified": "true""#, ErrorCode::TypeMismatch, "email_verified");
    wrong(r#""email_verified": null"#, ErrorCode::NullNotAllowed, "email_verified");
    wrong(r#""roles": ["Admin", "Nobody"]"#, ErrorCode::CatalogUnknown, "roles.1");
    wrong(r#""roles": ["Admin", 7]"#, ErrorCode::TypeMismatch, "roles.1");
    wrong(r#""roles": [{"name": "Admin", "value": 3}]"#, ErrorCode::TypeMismatch, "roles.0.value");
    wrong(r#""roles": [{"value": 1}]"#, ErrorCode::FieldRequired, "roles.0.name");
    wrong(r#""roles": null"#, ErrorCode::NullNotAllowed, "roles");
    wrong(r#""location": "Nowhere""#, ErrorCode::CatalogUnknown, "location");
    wrong(r#""custom_attributes": {"age": 151}"#, ErrorCode::ValueOutOfRange, "custom_attributes.age");
    wrong(r#""custom_attributes": {"plan": "gold"}"#, ErrorCode::ValueInvalid, "custom_attributes.plan");
    wrong(r#""custom_attributes": {"home": "it"}"#, ErrorCode::ValueInvalid, "custom_attributes.home");
    wrong(r#""account_valid_from": "today""#, ErrorCode::DateInvalid, "account_valid_from");
    wrong(r#""password": "hunter2""#, ErrorCode::TypeMismatch, "password");
    wrong(r#""password": {"type": "bcrypt"}"#, ErrorCode::FieldRequired, "password.password_hash");
    wrong(r#""password": {"type": "md5", "password_hash": "x"}"#, ErrorCode::ValueInvalid, "password.type");
    wrong(
        r#""password": {"type": "bcrypt", "password_hash": "x"}"#,
        ErrorCode::HashInvalid,
        "password.password_hash",
    );
    wrong(r#""mfa": {"totp": {"secret": "secret"}}"#, ErrorCode::TotpInvalid, "mfa.totp.secret");
    wrong(r#""mfa": {"totp": {}}"#, ErrorCode::FieldRequired, "mfa.totp.secret");
    wrong(r#""mfa": {"email": "x"}"#, ErrorCode::EmailInvalid, "mfa.email");
    wrong(r#""mfa": {"sms": 1}"#, ErrorCode::FieldUnknown, "mfa.sms");
    wrong(r#""max_chat_limit": 6"#, ErrorCode::ValueOutOfRange, "max_chat_limit");
    wrong(r#""direct_inbound_number2": "12""#, ErrorCode::PhoneInvalid, "direct_inbound_number2");
    wrong(r#""addresses": [{"name": "sms"}]"#, ErrorCode::EmptyNotAllowed, "addresses.0.value");
    wrong(r#""status": "Sleeping""#, ErrorCode::ValueInvalid, "status");
    wrong(r#""disabled": true, "status": "Active""#, ErrorCode::ValueInvalid, "status");
    wrong(r#""first_name": "A", "given_name": "B""#, ErrorCode::JsonDuplicateKey, "given_name");
    wrong(r#""is_admin": true"#, ErrorCode::FieldUnknown, "is_admin");
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let told = errors(r#""given_name": "", "zoneinfo": "UTC", "x": 1"#, ImportOptions::default());
    let codes: Vec<ErrorCode> = told.into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes, [ErrorCode::EmptyNotAllowed, ErrorCode::ZoneinfoInvalid, ErrorCode::FieldUnknown]);
}

#[test]
fn every_name_of_a_list_that_is_at_fault_is_told() {
    let told =
        errors(r#""roles": ["Ghost", "Admin", 7, "Spook"], "teams": ["Ghost"]"#, ImportOptions::default());
    let expected = [
        (ErrorCode::CatalogUnknown, "roles.0"),
        (ErrorCode::TypeMismatch, "roles.2"),
        (ErrorCode::CatalogUnknown, "roles.3"),
        (ErrorCode::CatalogUnknown, "teams.0"),
    ];
    assert_eq!(told, expected.map(|(code, place)| (code, place.to_owned())));
}

#[test]
fn names_are_a_whole_set_or_a_delta() {
    let change = |fields: &str, sets| {
        let upload = format!(r#"[{{"email": "a@example.com", {fields}}}]"#);
        let rules = rules(json(ImportOptions { sets, ..ImportOptions::default() }));
        one(&upload, &rules, |result| Some(result.ok()?.extras?.roles))
    };
    let whole = r#""roles": ["AGENT", "admin", "Agent"]"#;
    let delta = r#""roles": [{"name": "agent", "value": "1"}, {"name": "Admin", "value": false}, {"name": "admin", "value": ""}]"#;
    let wanted_whole = Some(Patch::Value(NameChange::Whole(vec![1, 2])));
    let wanted_delta = Some(Patch::Value(NameChange::Delta(vec![(2, true), (1, false)])));
    assert_eq!(change(whole, Sets::Either), wanted_whole);
    assert_eq!(change(delta, Sets::Either), wanted_delta);
    assert_eq!(change(whole, Sets::Whole), wanted_whole);
    assert_eq!(change(delta, Sets::Whole), None);
    assert_eq!(change(delta, Sets::Delta), wanted_delta);
    assert_eq!(change(whole, Sets::Delta), None);
    assert_eq!(change(r#""roles": []"#, Sets::Either), Some(Patch::Value(NameChange::Whole(vec![]))));
}

#[test]
fn unknown_names_can_be_left_out_with_a_warning() {
    let options = ImportOptions { unknown_names: UnknownNames::Ignore, ..ImportOptions::default() };
    let upload = r#"[{"email": "a@example.com", "roles": ["Admin", "Nobody"], "location": "Nowhere"}]"#;
    one(upload, &rules(json(options)), |result| {
        let extras = result.unwrap().extras.unwrap();
        assert_eq!(extras.roles, Patch::Value(NameChange::Whole(vec![1])));
        assert_eq!(extras.location, Patch::Absent);
        let warnings: Vec<String> = extras.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "roles holds names that the catalog does not know; they were left out.",
                "location holds names that the catalog does not know; they were left out."
            ]
        );
    });
}

#[test]
fn a_table_of_names_says_what_is_required_and_what_no_content_means() {
    let table = FieldTable(vec![
        FieldRule::new("email", Field::Email),
        FieldRule::new("first", Field::GivenName).required().blank(Blank::Absent),
        FieldRule::new("where", Field::Location).with(Behaviour::Remove).blank(Blank::TextAbsent),
        FieldRule::new("last", Field::FamilyName).blank(Blank::Null),
    ]);
    let options = || {
        json(ImportOptions {
            fields: Some(table.clone()),
            unknown_columns: UnknownColumns::Ignore,
            ..ImportOptions::default()
        })
    };
    let told = |fields| errors(fields, options());
    assert_eq!(told(r#""first": """#), [(ErrorCode::FieldRequired, "first".to_owned())]);
    assert_eq!(told(r#""first": null"#), [(ErrorCode::FieldRequired, "first".to_owned())]);
    assert_eq!(told(r#""given_name": "A""#), [(ErrorCode::FieldRequired, "first".to_owned())]);
    let upload = r#"[{"email": "a@example.com", "first": "A", "where": null, "last": ""}]"#;
    one(upload, &rules(options()), |result| {
        let record = result.unwrap();
        assert_eq!((record.given_name, record.family_name), (Patch::Value("A"), Patch::Null));
        assert_eq!(record.extras.unwrap().location, Patch::Null);
    });
    let upload = r#"[{"email": "a@example.com", "first": "A", "where": ""}]"#;
    one(upload, &rules(options()), |result| assert!(result.unwrap().extras.is_none()));
}

#[test]
fn lenient_values_are_taken_where_asked_and_in_tables() {
    let fields = r#""email_verified": "1", "max_chat_limit": "3", "extension_number": 1234"#;
    assert_eq!(errors(fields, ImportOptions::default()).len(), 3);
    assert_eq!(errors(fields, ImportOptions { values: Values::Lenient, ..ImportOptions::default() }), []);
    let upload = "email,email_verified,roles,address,custom__Tags[],custom__facts{}\n\
                  a@example.com,yes,\"Agent, Admin\",\"{\"\"locality\"\": \"\"Bern\"\"}\",\"a, b\",\"n=1,s=x\"\n";
    one(upload, &rules(ImportOptions::default()), |result| {
        let record = result.unwrap();
        let metadata = record.metadata.value().unwrap();
        let keys: Vec<&str> = metadata.iter().map(|entry| &*entry.key).collect();
        assert_eq!(keys, ["Tags", "facts"]);
        assert_eq!(record.attributes.len(), 1);
        let extras = record.extras.unwrap();
        assert_eq!(extras.roles, Patch::Value(NameChange::Whole(vec![1, 2])));
        assert_eq!(extras.email_verified, Patch::Value(true));
    });
}

#[test]
fn usernames_can_be_held_to_ascii() {
    let ascii = || ImportOptions { usernames: Usernames::Ascii, ..ImportOptions::default() };
    assert_eq!(errors(r#""preferred_username": "zoë""#, ImportOptions::default()), []);
    for name in ["zoë", "admin", "a+b"] {
        let told = errors(&format!(r#""preferred_username": "{name}""#), ascii());
        assert_eq!(told, [(ErrorCode::UsernameInvalid, "preferred_username".to_owned())], "{name}");
    }
    assert_eq!(errors(r#""preferred_username": "J.Doe_1-x""#, ascii()), []);
}

#[test]
fn a_bad_secret_is_told_after_all_else_that_is_wrong_with_its_object() {
    let told = |mfa: &str| errors(&format!(r#""mfa": {mfa}"#), ImportOptions::default());
    assert_eq!(
        told(r#"{"totp": {"secret": "bad", "digits": 8}}"#),
        [(ErrorCode::FieldUnknown, "mfa.totp.digits".to_owned())]
    );
    assert_eq!(
        told(r#"{"totp": {"secret": "bad"}, "email": "nobody"}"#),
        [(ErrorCode::EmailInvalid, "mfa.email".to_owned())]
    );
    assert_eq!(
        told(r#"{"totp": {"secret": "bad"}}"#),
        [(ErrorCode::TotpInvalid, "mfa.totp.secret".to_owned())]
    );
}

#[test]
fn a_username_of_ascii_is_written_in_ascii() {
    let ascii = || ImportOptions { usernames: Usernames::Ascii, ..ImportOptions::default() };
    assert_eq!(errors(r#""preferred_username": "JDoe""#, ascii()), []);
    // A fullwidth letter and the sign of the unit kelvin fold to ASCII.
    for name in ["\u{ff4a}doe", "\u{212a}ay"] {
        assert_eq!(
            errors(&format!(r#""preferred_username": "{name}""#), ascii()),
            [(ErrorCode::UsernameInvalid, "preferred_username".to_owned())]
        );
    }
}

/// A file of failed records that comes back with only its address corrected (P13).
#[test]
fn what_was_hidden_is_never_taken_for_a_value() {
    let hidden = |rest: &str| {
        let fields = format!(r#""_error_code": "email_invalid", {rest}"#);
        errors(
            &fields,
            ImportOptions { unknown_columns: UnknownColumns::Metadata, ..ImportOptions::default() },
        )
    };
    for (fields, name) in [
        (r#""custom__pin": "REDACTED""#, "custom__pin"),
        (r#""metadata": {"token_count": "REDACTED", "n": 1}"#, "metadata"),
        (r#""given_name": "REDACTED""#, "given_name"),
        (r#""api_key": "REDACTED""#, "api_key"),
        (r#""custom_attributes": {"age": "REDACTED"}"#, "custom_attributes"),
    ] {
        assert_eq!(hidden(fields), [(ErrorCode::ValueRedacted, name.to_owned())], "{fields}");
    }
    // These say it themselves, as they do in any other file.
    assert_eq!(
        hidden(r#""mfa_totp_secret": "REDACTED""#),
        [(ErrorCode::TotpInvalid, "mfa_totp_secret".to_owned())]
    );
    assert_eq!(hidden(r#""custom__note": "REDACTED by law", "custom__pin": """#), []);
    let own = ImportOptions::default();
    assert_eq!(errors(r#""custom__pin": "REDACTED""#, own), [], "a file that nobody was given");
    let origin = format!(r#""_error_import": "{}#1", "custom__pin": "REDACTED""#, uuid::Uuid::from_u128(7));
    assert_eq!(errors(&origin, ImportOptions::default()).len(), 1);
    let table = "email,custom__pin,_error_code\na@example.com,REDACTED,\n";
    let code =
        one(table, &rules(ImportOptions::default()), |result| result.err().map(|errors| errors[0].code));
    assert_eq!(code, Some(ErrorCode::ValueRedacted));
}

/// A short row of a table, as spreadsheets write one whose last cells are empty (P13).
#[test]
fn a_missing_cell_says_what_an_empty_one_does() {
    let read = |empty_cells| {
        let options = ImportOptions { rows: Rows::Flexible, empty_cells, ..ImportOptions::default() };
        let rules = rules(options);
        let mut sink = One(&rules, None, |result: Result<Record<'_>, _>| {
            let record = result.map_err(|_| ()).ok()?;
            let metadata = record.metadata.value().map(|entries| entries.len());
            let nulls = record.metadata.value().is_some_and(|entries| {
                entries.iter().any(|entry| matches!(entry.value, crate::record::MetadataValue::Null))
            });
            Some((metadata, nulls, record.given_name == Patch::Null))
        });
        let dialect = crate::parse::Dialect { flexible: true, ..Default::default() };
        let mut parser = Parser::in_dialect(Format::Csv, ParseLimits::default(), dialect);
        parser.feed(b"email,custom__a,custom__b,first_name\na@example.com,x\n", &mut sink).unwrap();
        parser.finish(&mut sink).unwrap();
        sink.1.flatten().unwrap()
    };
    assert_eq!(read(EmptyCell::Ignore), (Some(1), false, false), "what is stored stays");
    assert_eq!(read(EmptyCell::Remove), (Some(2), true, true));
}

/// Where metadata is rewritten, it empties it.
#[test]
fn metadata_without_entries_is_not_metadata_that_is_not_named() {
    let said = |fields: &str| {
        let upload = format!(r#"[{{"email": "a@example.com"{fields}}}]"#);
        one(&upload, &rules(json(ImportOptions::default())), |record| {
            record.unwrap().metadata.value().map(Vec::len)
        })
    };
    assert_eq!(said(r#", "metadata": {}"#), Some(0));
    assert_eq!(said(""), None);
}
