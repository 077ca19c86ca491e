//! Each cell of `docs/fields.md`: the engine does what [`effect`] says.

use chrono::DateTime;
use muster_domain::field::{Behaviour, Effect, Field, FieldTable, PatchKind, UserState, effect, page};
use muster_domain::options::{IdentifierField, ImportOptions};
use muster_domain::parse::{Format, ParseLimits, Parser, RecordSink};
use muster_domain::plan::{Plan, plan};
use muster_domain::record::{FieldNames, RawRecord};
use muster_domain::rules::Rules;
use muster_domain::validate::{Binding, validate};
use muster_testkit::oracle::Fields;
use muster_testkit::table::{Table, index};
use serde_json::{Map, Value, json};
use uuid::Uuid;

const HASH: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
const OTHER_HASH: &str = "$2b$11$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

/// A value, another one (none for flags, where the other one is not to have it), where a user shows it, and as what.
struct Values {
    value: Value,
    other: Option<Value>,
    key: &'static str,
    shown: Value,
}

fn values(field: Field) -> Values {
    let password = |hash: &str| json!({"type": "bcrypt", "password_hash": hash});
    let (value, other, key, shown) = match field {
        Field::Email => (json!("A@example.com"), json!("b@example.com"), "email", json!("a@example.com")),
        Field::NewEmail => (json!("New@example.com"), Value::Null, "email", json!("new@example.com")),
        Field::MfaEmail => {
            (json!("m@example.com"), json!("n@example.com"), "mfa_email", json!("m@example.com"))
        }
        Field::Mfa => (
            json!({"email": "m@example.com"}),
            json!({"email": "n@example.com"}),
            "mfa_email",
            json!("m@example.com"),
        ),
        Field::PhoneNumber
        | Field::MfaPhoneNumber
        | Field::DirectInboundNumber1
        | Field::DirectInboundNumber2
        | Field::DirectInboundNumber3
        | Field::DirectInboundNumber4
        | Field::DirectInboundNumber5 => {
            (json!(" +85298765401"), json!("+85298765402"), field.as_str(), json!("+85298765401"))
        }
        Field::PreferredUsername => (json!("JDoe"), json!("roe"), "preferred_username", json!("jdoe")),
        Field::EmailVerified | Field::PhoneNumberVerified | Field::Disabled | Field::Locked => {
            (json!(true), Value::Null, field.as_str(), json!(true))
        }
        Field::Status => (json!("Inactive"), Value::Null, "disabled", json!(true)),
        Field::UnrestrictedInternationalCalling | Field::ExternalUser | Field::MaxChatLimitEnabled => {
            (json!(true), json!(false), field.as_str(), json!(true))
        }
        Field::MaxChatLimit | Field::AvailabilityFilterTimeout => {
            (json!(2), json!(3), field.as_str(), json!(2))
        }
        Field::Profile | Field::Picture | Field::Website => {
            let url = json!("https://example.com/p");
            (url.clone(), json!("https://example.com/q"), field.as_str(), url)
        }
        Field::Birthdate => (json!("1990-01-31"), json!("1990"), "birthdate", json!("1990-01-31")),
        Field::Zoneinfo => (json!("Europe/Rome"), json!("Asia/Hong_Kong"), "zoneinfo", json!("Europe/Rome")),
        Field::Locale => (json!("de"), json!("zh-Hant-HK"), "locale", json!("de")),
        Field::Address => {
            (json!({"locality": "Bern"}), json!({"country": "CH"}), "address", json!({"locality": "Bern"}))
        }
        Field::CustomAttributes => {
            (json!({"member_id": "1"}), json!({"member_id": "2"}), "metadata", json!({"member_id": "1"}))
        }
        Field::Metadata => (json!({"a": 1}), json!({"a": {"b": 2}}), "metadata", json!({"a": 1})),
        Field::Roles => (json!(["ADMIN"]), json!(["Agent"]), "roles", json!(["admin"])),
        Field::Groups => (json!(["Reader"]), json!(["Writer"]), "groups", json!(["reader"])),
        Field::Teams => (json!(["Sales"]), json!(["Support"]), "teams", json!(["sales"])),
        Field::Location => (json!("Milan"), json!("München"), "location", json!("milan")),
        Field::AccountValidFrom | Field::AccountValidUntil | Field::PasswordExpireAfter => {
            let shown = json!("2026-01-01T00:00:00+00:00");
            (json!("2026-01-01T00:00:00Z"), json!("2027-01-01T00:00:00Z"), field.as_str(), shown)
        }
        Field::Password => (password(HASH), password(OTHER_HASH), "password_hash", json!(HASH)),
        Field::PasswordHash | Field::MfaPasswordHash => {
            (json!(HASH), json!(OTHER_HASH), field.as_str(), json!(HASH))
        }
        Field::MfaTotpSecret => {
            (json!("JBSWY3DPEHPK3PXP"), json!("JBSWY3DPEHPK3PXQ"), field.as_str(), json!("JBSWY3DPEHPK3PXP"))
        }
        Field::Addresses => {
            let of = |value: &str| json!([{"name": "sms", "value": value}]);
            (of("+391234567"), of("+391234568"), "addresses", json!({"sms": "+391234567"}))
        }
        Field::GivenName
        | Field::FamilyName
        | Field::Name
        | Field::MiddleName
        | Field::Nickname
        | Field::Gender
        | Field::AgentNumber
        | Field::Alias
        | Field::ExtensionNumber
        | Field::UcaasSipUri
        | Field::UcaasUserName
        | Field::AvailabilityFilter => (json!("Ann"), json!("Bea"), field.as_str(), json!("Ann")),
    };
    Values { value, other: Some(other).filter(|other| !other.is_null()), key, shown }
}

/// A record that identifies its user, with what a field needs beside it.
fn record(field: Field, said: Option<Value>) -> (IdentifierField, Map<String, Value>) {
    let identifier = match field {
        Field::Email | Field::EmailVerified | Field::PhoneNumberVerified => {
            IdentifierField::PreferredUsername
        }
        _ => IdentifierField::Email,
    };
    let mut record = Map::new();
    match identifier {
        IdentifierField::Email => record.insert("email".to_owned(), json!("user@example.com")),
        _ => record.insert("preferred_username".to_owned(), json!("user")),
    };
    match field {
        Field::EmailVerified => record.insert("email".to_owned(), json!("user@example.com")),
        Field::PhoneNumberVerified => record.insert("phone_number".to_owned(), json!("+85298765400")),
        Field::PasswordExpireAfter => record.insert("password_hash".to_owned(), json!(HASH)),
        _ => None,
    };
    record.extend(said.map(|value| (field.as_str().to_owned(), value)));
    (identifier, record)
}

/// What became of one record: its errors and warnings.
#[derive(Debug, Default, PartialEq)]
struct Came {
    errors: Vec<String>,
    warnings: Vec<String>,
}

struct One<'t> {
    table: &'t mut Table,
    rules: Rules,
    came: Came,
}

impl RecordSink for One<'_> {
    fn header(&mut self, _: &FieldNames) -> Result<(), muster_domain::error::FileError> {
        Ok(())
    }

    fn record(
        &mut self,
        raw: &RawRecord<'_>,
        names: &FieldNames,
    ) -> Result<(), muster_domain::error::FileError> {
        let mut binding = Binding::new(&self.rules);
        binding.extend(names);
        let of = |error: &muster_domain::error::RecordError| {
            format!("{} {}", error.code.as_str(), error.field.as_deref().unwrap_or_default())
        };
        match validate(raw, &binding, &self.rules).result {
            Err(errors) => self.came.errors.extend(errors.iter().map(of)),
            Ok(record) => {
                let refs = [&record];
                let existing = self.table.find(&refs, None);
                let plan: Plan<'_> =
                    plan(&refs, &existing, &self.rules, DateTime::UNIX_EPOCH, &mut || Uuid::from_u128(1));
                self.came.errors.extend(plan.errors.iter().map(|(_, error)| of(error)));
                self.came.warnings.extend(plan.warnings.iter().map(|(_, warning)| warning.to_string()));
                self.table.write(&plan, None);
            }
        }
        Ok(())
    }
}

fn import(table: &mut Table, field: Field, behaviour: Option<Behaviour>, said: Option<Value>) -> Came {
    let (identifier, record) = record(field, said);
    let mut fields = FieldTable::native();
    if let Some(behaviour) = behaviour {
        fields.set_behaviour(field, behaviour);
    }
    let options =
        ImportOptions { format: Format::Json, identifier, fields: Some(fields), ..ImportOptions::default() };
    let mut sink = One { table, rules: Rules::new(options).with_catalog(index()), came: Came::default() };
    let mut parser = Parser::new(Format::Json, ParseLimits::default());
    parser.feed(json!([record]).to_string().as_bytes(), &mut sink).unwrap();
    parser.finish(&mut sink).unwrap();
    sink.came
}

fn fields_of(table: &Table) -> Fields {
    table.plain().into_iter().next().map(|user| user.fields).unwrap_or_default()
}

/// What the engine does, seen from outside.
fn observed(field: Field, behaviour: Behaviour, says: PatchKind, meets: UserState) -> String {
    let Values { value, other, key, shown } = values(field);
    let mut table = Table::default();
    if meets == UserState::Existing {
        // Before null the user has the value; before a value it has another one, or none.
        let before = if says == PatchKind::Value { other } else { Some(value.clone()) };
        let renames = field == Field::NewEmail;
        let came = import(&mut table, field, None, before.filter(|_| !renames));
        assert_eq!(came, Came::default(), "{field}");
    }
    let before = fields_of(&table);
    let said = match says {
        PatchKind::Absent => None,
        PatchKind::Null => Some(Value::Null),
        PatchKind::Value => Some(value),
    };
    let came = import(&mut table, field, Some(behaviour), said);
    let after = fields_of(&table);
    if let [error] = &came.errors[..] {
        assert_eq!(before, after, "{field}: a record that fails leaves nothing behind");
        return format!("error {error}");
    }
    assert!(came.errors.is_empty(), "{field}: {came:?}");
    let unchanged = before.get(key) == after.get(key)
        || (meets == UserState::New && field == Field::NewEmail && after.get(key) != Some(&shown));
    match (&came.warnings[..], unchanged) {
        ([warning], true) => format!("no effect (\"{warning}\")"),
        ([], true) => "untouched".to_owned(),
        ([], false) if after.get(key) == Some(&shown) => "set".to_owned(),
        ([], false) if !after.contains_key(key) => "removed".to_owned(),
        _ => format!("{came:?}, {before:?}, {after:?}"),
    }
}

#[test]
fn fields_do_what_the_table_says() {
    let mut wrong = Vec::new();
    for field in Field::ALL {
        for behaviour in Behaviour::ALL {
            for (says, meets) in
                PatchKind::ALL.into_iter().flat_map(|says| UserState::ALL.map(|meets| (says, meets)))
            {
                let wanted = match effect(*field, behaviour, says, meets) {
                    Effect::Error(code) => format!("error {} {field}", code.as_str()),
                    effect => effect.to_string(),
                };
                let got = observed(*field, behaviour, says, meets);
                if got != wanted {
                    wrong.push(format!(
                        "{field} {behaviour:?} {says:?} {meets:?}: {wanted:?} is said, {got:?} is done"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/fields.md");
    if std::env::var_os("MUSTER_UPDATE_DOCS").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page(), "docs/fields.md is out of date: run this test with MUSTER_UPDATE_DOCS=1");
}
