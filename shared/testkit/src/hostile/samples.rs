//! Values of each field with what they mean: the oracle's knowledge of the rules, written by hand from contracts A.1.5,
//! B.1.1 and C.2.

use muster_domain::catalog::CatalogKind;
use muster_domain::error::ErrorCode::{self, *};
use muster_domain::field::Field;
use muster_domain::options::{PhoneCheck, Sets, UnknownNames, Usernames};
use serde_json::{Value, json};

use super::{Reading, Sample};
use crate::oracle::{Fact, Means};

/// A bcrypt hash of a bearable cost.
pub(super) const HASH: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
const DEAR: &str = "$2b$16$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
const ARGON: &str = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21l$MTIzNDU2Nzg5MDEyMzQ1Ng";

struct List(Vec<Sample>);

impl List {
    fn says(&mut self, json: impl Into<String>, facts: Vec<(Field, Fact)>) {
        self.0.push(Sample { json: json.into(), means: Means::Facts(facts) });
    }

    fn is(&mut self, field: Field, json: impl Into<String>, value: impl Into<Value>) {
        self.says(json, vec![(field, Fact::Is(value.into()))]);
    }

    fn wrong(&mut self, json: impl Into<String>, code: ErrorCode, path: &'static str) {
        self.0.push(Sample { json: json.into(), means: Means::Wrong(vec![(code, path)]) });
    }
}

pub(super) fn of(field: Field, reading: &Reading<'_>) -> Vec<Sample> {
    let mut list = List(Vec::new());
    match field {
        Field::Email | Field::NewEmail => emails(&mut list, field),
        Field::MfaEmail => {
            list.is(field, r#""M1@example.com""#, "m1@example.com");
            list.is(field, r#""m2@example.com""#, "m2@example.com");
            list.wrong(r#""m1""#, EmailInvalid, "");
            list.wrong(r#""""#, EmailInvalid, "");
        }
        Field::PhoneNumber
        | Field::MfaPhoneNumber
        | Field::DirectInboundNumber1
        | Field::DirectInboundNumber2
        | Field::DirectInboundNumber3
        | Field::DirectInboundNumber4
        | Field::DirectInboundNumber5 => phones(&mut list, field, reading),
        Field::PreferredUsername => usernames(&mut list, reading),
        Field::EmailVerified
        | Field::PhoneNumberVerified
        | Field::Disabled
        | Field::Locked
        | Field::UnrestrictedInternationalCalling
        | Field::ExternalUser
        | Field::MaxChatLimitEnabled => flags(&mut list, field, reading),
        Field::Status => {
            for (json, disabled) in
                [(r#""Active""#, false), (r#"" ACTIVE ""#, false), (r#""inactive""#, true)]
            {
                list.is(field, json, disabled);
            }
            list.wrong(r#""Gone""#, ValueInvalid, "");
            list.wrong(r#""""#, ValueInvalid, "");
            list.wrong("true", TypeMismatch, "");
        }
        Field::AccountValidFrom | Field::AccountValidUntil | Field::PasswordExpireAfter => {
            moments(&mut list, field)
        }
        Field::Profile | Field::Website => {
            list.is(field, r#""https://example.com/p""#, "https://example.com/p");
            list.is(field, r#""ftp://example.com""#, "ftp://example.com");
            list.wrong(r#""/p""#, UriInvalid, "");
            list.wrong(r#""""#, EmptyNotAllowed, "");
        }
        Field::Picture => {
            list.is(field, r#""authgearimages:///i.png""#, "authgearimages:///i.png");
            list.wrong(r#""ftp://example.com/i.png""#, UriInvalid, "");
            list.wrong(r#""""#, EmptyNotAllowed, "");
        }
        Field::Birthdate => {
            list.is(field, r#""--02-29""#, "--02-29");
            list.is(field, r#""1990""#, "1990");
            list.wrong(r#""2023-02-29""#, DateInvalid, "");
            list.wrong(r#""""#, EmptyNotAllowed, "");
        }
        Field::Zoneinfo => {
            list.is(field, r#""Europe/Rome""#, "Europe/Rome");
            list.wrong(r#""UTC""#, ZoneinfoInvalid, "");
            list.wrong(r#""""#, EmptyNotAllowed, "");
        }
        Field::Locale => {
            list.is(field, r#""zh-Hant-HK""#, "zh-Hant-HK");
            list.wrong(r#""zh-hant-hk""#, LocaleInvalid, "");
            list.wrong(r#""""#, EmptyNotAllowed, "");
        }
        Field::Address => {
            list.is(field, r#"{"locality": "Bern", "x": 1}"#, json!({"locality": "Bern", "x": 1}));
            list.is(field, r#"{"formatted": "1 Road\nHK"}"#, json!({"formatted": "1 Road\nHK"}));
            list.0.pop();
            list.says("{}", vec![(field, Fact::Null)]);
            list.wrong(r#"{"locality": ""}"#, EmptyNotAllowed, "locality");
            list.wrong(r#"{"country": null}"#, NullNotAllowed, "country");
            list.wrong(r#""Bern""#, TypeMismatch, "");
            list.wrong(r#""""#, TypeMismatch, "");
        }
        Field::CustomAttributes => attributes(&mut list, field, reading),
        Field::Metadata if reading.attributes() => attributes(&mut list, field, reading),
        Field::Metadata => metadata(&mut list),
        Field::Roles => names(&mut list, field, CatalogKind::Role, ["admin", "agent", "strasse"], reading),
        Field::Groups => names(&mut list, field, CatalogKind::Group, ["reader", "writer", "writer"], reading),
        Field::Teams => names(&mut list, field, CatalogKind::Team, ["support", "sales", "sales"], reading),
        Field::Location => {
            list.is(field, r#""Milan""#, "milan");
            list.is(field, r#"" MÜNCHEN ""#, "münchen");
            match reading.options.unknown_names {
                UnknownNames::Refuse => list.wrong(r#""Nowhere""#, CatalogUnknown, ""),
                UnknownNames::Ignore => list.says(r#""Nowhere""#, vec![(field, Fact::LeftOut)]),
            }
            list.wrong(r#""""#, EmptyNotAllowed, "");
            list.wrong("7", TypeMismatch, "");
        }
        Field::Password => passwords(&mut list),
        Field::PasswordHash | Field::MfaPasswordHash => {
            list.is(field, format!("\"{HASH}\""), HASH);
            list.is(field, format!("\"{ARGON}\""), ARGON);
            list.wrong(format!("\"{DEAR}\""), HashCost, "");
            list.wrong(r#""hunter2""#, HashInvalid, "");
            list.wrong(r#""$1$salt$hash""#, HashUnsupported, "");
            list.wrong(r#""""#, EmptyNotAllowed, "");
        }
        Field::MfaTotpSecret => {
            list.is(field, r#""JBSWY3DPEHPK3PXP""#, "JBSWY3DPEHPK3PXP");
            list.wrong(r#""secret""#, TotpInvalid, "");
            list.wrong(r#""""#, EmptyNotAllowed, "");
        }
        Field::Mfa => factors(&mut list),
        Field::Addresses => addresses(&mut list),
        Field::MaxChatLimit => numbers(&mut list, field, 1, 10, reading),
        Field::AvailabilityFilterTimeout => numbers(&mut list, field, 0, 1440, reading),
        Field::AgentNumber
        | Field::Alias
        | Field::ExtensionNumber
        | Field::UcaasSipUri
        | Field::UcaasUserName
        | Field::AvailabilityFilter => {
            list.is(field, r#"" A-1 ""#, "A-1");
            list.is(field, r#""7""#, "7");
            if reading.lenient {
                list.is(field, "7", "7");
            } else {
                list.wrong("7", TypeMismatch, "");
            }
            list.wrong("true", TypeMismatch, "");
            list.wrong(r#""""#, EmptyNotAllowed, "");
        }
        Field::GivenName
        | Field::FamilyName
        | Field::Name
        | Field::MiddleName
        | Field::Nickname
        | Field::Gender => {
            list.is(field, r#""Ann""#, "Ann");
            list.is(field, r#"" Zoë ""#, "Zoë");
            list.wrong(r#""  ""#, EmptyNotAllowed, "");
            list.wrong(r#""""#, EmptyNotAllowed, "");
            list.wrong(r#""a\u0000b""#, ControlChar, "");
            list.wrong(format!("\"{}\"", "x".repeat(257)), ValueTooLong, "");
            list.wrong("7", TypeMismatch, "");
        }
    }
    list.0
}

pub(super) fn of_key(key: &'static str, reading: &Reading<'_>) -> Vec<Sample> {
    let mut list = List(Vec::new());
    if !reading.attributes() {
        for value in [
            "\"Milan\"",
            "\"\"",
            "\" x \"",
            "1",
            "1.0",
            "1e2",
            "{\"x\": 1}",
            "{\"x\": null, \"y\": {}}",
            "[1, 2]",
            "{}",
        ] {
            let value: Value = serde_json::from_str(value).expect("JSON");
            list.is(Field::Metadata, value.to_string(), json!({key: value}));
        }
        list.wrong("12345678901234567890123", ValueOutOfRange, "");
        list.wrong(r#""a\u0000b""#, ControlChar, "");
        return list.0;
    }
    match key {
        "member_id" => {
            list.is(Field::Metadata, r#""M1""#, json!({key: "M1"}));
            list.wrong(r#""""#, EmptyNotAllowed, "");
            list.wrong("7", TypeMismatch, "");
        }
        "age" => {
            list.is(Field::Metadata, "7", json!({key: 7}));
            if reading.lenient {
                list.is(Field::Metadata, r#""8""#, json!({key: 8}));
            } else {
                list.wrong(r#""8""#, TypeMismatch, "");
            }
            list.wrong(r#""""#, TypeMismatch, "");
        }
        _ => {
            // Not defined: left out, whatever it is.
            list.says(r#""x""#, Vec::new());
            list.says(r#""""#, Vec::new());
            list.says("7", Vec::new());
        }
    }
    list.0
}

fn emails(list: &mut List, field: Field) {
    for at in 0..4 {
        let normal = format!("user{at}@example.com");
        list.is(field, format!("\"{normal}\""), normal.as_str());
        list.is(field, format!("\" USER{at}@Example.COM \""), normal.as_str());
        list.is(field, format!("\"\u{ff35}ser{at}@example.com\""), normal.as_str());
    }
    list.is(field, r#""u@München.de""#, "u@münchen.de");
    list.is(field, r#""u@xn--mnchen-3ya.de""#, "u@münchen.de");
    list.wrong(r#""user0@""#, EmailInvalid, "");
    list.wrong(r#""""#, EmailInvalid, "");
    list.wrong(r#""a\u202eb@example.com""#, ControlChar, "");
    list.wrong("7", TypeMismatch, "");
    list.wrong("[]", TypeMismatch, "");
}

fn phones(list: &mut List, field: Field, reading: &Reading<'_>) {
    for at in 0..3 {
        let normal = format!("+8529876540{at}");
        list.is(field, format!("\"{normal}\""), normal.as_str());
        list.is(field, format!("\" {normal} \""), normal.as_str());
    }
    match reading.options.phone_check {
        PhoneCheck::Shape => list.is(field, r#""+1234567""#, "+1234567"),
        PhoneCheck::Valid => list.wrong(r#""+1234567""#, PhoneInvalid, ""),
    }
    list.wrong(r#""0014155550100""#, PhoneInvalid, "");
    list.wrong(r#""""#, PhoneInvalid, "");
    list.wrong("85298765400", TypeMismatch, "");
}

fn usernames(list: &mut List, reading: &Reading<'_>) {
    let field = Field::PreferredUsername;
    for at in 0..3 {
        let normal = format!("name{at}");
        list.is(field, format!("\"{normal}\""), normal.as_str());
        list.is(field, format!("\" NAME{at} \""), normal.as_str());
    }
    match reading.options.usernames {
        Usernames::Any => {
            list.is(field, "\"\u{ff2e}ame1\"", "name1");
            list.is(field, r#""Straße""#, "strasse");
            list.is(field, r#""Admin""#, "admin");
            list.is(field, "\"jose\u{301}\"", "jos\u{e9}");
        }
        Usernames::Ascii => {
            list.wrong(r#""Admin""#, UsernameInvalid, "");
            list.wrong("\"jose\u{301}\"", UsernameInvalid, "");
            // They fold to ASCII, and are not.
            list.wrong("\"\u{ff2e}ame1\"", UsernameInvalid, "");
            list.wrong(r#""Straße""#, UsernameInvalid, "");
        }
    }
    list.wrong(r#""a b""#, UsernameInvalid, "");
    list.wrong(r#""""#, UsernameInvalid, "");
    list.wrong("7", TypeMismatch, "");
}

fn flags(list: &mut List, field: Field, reading: &Reading<'_>) {
    list.is(field, "true", true);
    list.is(field, "false", false);
    for (json, value) in [("1", true), ("0", false), (r#""true""#, true), (r#"" NO ""#, false)] {
        if reading.lenient {
            list.is(field, json, value);
        } else {
            list.wrong(json, TypeMismatch, "");
        }
    }
    list.wrong("2", TypeMismatch, "");
    list.wrong(r#""""#, TypeMismatch, "");
}

fn numbers(list: &mut List, field: Field, least: i64, most: i64, reading: &Reading<'_>) {
    list.is(field, least.to_string(), least);
    list.is(field, most.to_string(), most);
    list.wrong((most + 1).to_string(), ValueOutOfRange, "");
    list.wrong((least - 1).to_string(), ValueOutOfRange, "");
    if reading.lenient {
        list.is(field, r#"" 3 ""#, 3);
    } else {
        list.wrong(r#"" 3 ""#, TypeMismatch, "");
    }
    list.wrong("1.5", TypeMismatch, "");
    list.wrong(r#""""#, TypeMismatch, "");
}

fn moments(list: &mut List, field: Field) {
    list.is(field, r#""2026-01-01T00:00:00Z""#, "2026-01-01T00:00:00+00:00");
    list.is(field, r#""2026-01-01T02:00:00+02:00""#, "2026-01-01T00:00:00+00:00");
    list.is(field, r#""2027-06-01T00:00:00.5Z""#, "2027-06-01T00:00:00.500+00:00");
    list.is(field, r#""2025-12-31T23:59:59Z""#, "2025-12-31T23:59:59+00:00");
    list.wrong(r#""2026-01-01""#, DateInvalid, "");
    list.wrong(r#""""#, DateInvalid, "");
    list.wrong("0", TypeMismatch, "");
}

fn attributes(list: &mut List, field: Field, reading: &Reading<'_>) {
    let all = [
        json!({"member_id": "M1"}),
        json!({"member_id": "M2", "age": 7}),
        json!({"member_id": null}),
        json!({"age": 150, "score": 1.5, "tier": "gold", "country": "IT", "site": "https://example.com"}),
        json!({"score": null, "tier": null}),
        json!({"mail": "M@example.com", "phone": "+85298765432"}),
        json!({}),
    ];
    for value in all {
        list.is(field, value.to_string(), value);
    }
    list.is(field, r#"{"nobody": {"x": 1}, "tier": "silver"}"#, json!({"tier": "silver"}));
    if reading.lenient {
        list.is(field, r#"{"age": " 9 "}"#, json!({"age": 9}));
    } else {
        list.wrong(r#"{"age": " 9 "}"#, TypeMismatch, "age");
    }
    list.wrong(r#"{"age": 151}"#, ValueOutOfRange, "age");
    list.wrong(r#"{"tier": "iron"}"#, ValueInvalid, "tier");
    list.wrong(r#"{"country": "it"}"#, ValueInvalid, "country");
    list.wrong(r#"{"member_id": ""}"#, EmptyNotAllowed, "member_id");
    list.wrong(r#"{"member_id": {}}"#, TypeMismatch, "member_id");
    list.wrong("7", TypeMismatch, "");
    list.wrong(r#""""#, TypeMismatch, "");
}

fn metadata(list: &mut List) {
    let all = [
        r#"{"a": 1}"#,
        r#"{"a": 1.0}"#,
        r#"{"a": 1e2}"#,
        r#"{"a": -0}"#,
        r#"{"a": {"x": 1, "y": {"z": [1, {"w": 2}]}}}"#,
        r#"{"a": {"x": null}}"#,
        r#"{"a": {"y": {"z": 0}}}"#,
        r#"{"a": {}}"#,
        r#"{"b": "t", "a": null}"#,
        r#"{"b": ["x"]}"#,
        r#"{"b": {"a": {"a": {"a": true}}}}"#,
        "{}",
    ];
    for source in all {
        list.is(Field::Metadata, source, serde_json::from_str::<Value>(source).expect("JSON"));
    }
    list.wrong(r#"{"a": 12345678901234567890123}"#, ValueOutOfRange, "");
    list.wrong(r#"{"a": "\u0000"}"#, ControlChar, "");
    list.wrong("7", TypeMismatch, "");
    list.wrong("[]", TypeMismatch, "");
    list.wrong(r#""""#, TypeMismatch, "");
}

fn names(list: &mut List, field: Field, kind: CatalogKind, keys: [&'static str; 3], reading: &Reading<'_>) {
    let [one, two, three] = keys;
    let upper = one.to_uppercase();
    let whole = [
        (format!("[\"{one}\"]"), vec![one]),
        (format!("[\" {upper} \", \"{two}\", \"{one}\"]"), vec![one, two]),
        (format!("[\"{three}\"]"), vec![three]),
    ];
    for (json, names) in whole {
        match reading.sets() {
            Sets::Delta => list.wrong(json, TypeMismatch, "0"),
            Sets::Whole | Sets::Either => list.says(json, vec![(field, Fact::Whole(names))]),
        }
    }
    match reading.sets() {
        Sets::Delta => list.says("[]", vec![(field, Fact::Delta(Vec::new()))]),
        Sets::Whole | Sets::Either => list.says("[]", vec![(field, Fact::Whole(Vec::new()))]),
    }
    let delta = [
        (format!(r#"[{{"name": "{upper}", "value": 1}}]"#), vec![(one, true)]),
        (format!(r#"[{{"name": "{one}", "value": "0"}}, {{"name": "{two}"}}]"#), vec![(one, false)]),
        (
            format!(r#"[{{"name": "{two}", "value": true}}, {{"value": 0, "name": "{two}", "id": 7}}]"#),
            vec![(two, true), (two, false)],
        ),
        (
            format!(r#"[{{"name": "{two}", "value": 1}}, {{"name": "{one}", "value": ""}}]"#),
            vec![(two, true)],
        ),
    ];
    for (json, changes) in delta {
        match reading.sets() {
            Sets::Whole => {
                let items = json.matches("name").count();
                let errors = ["0", "1"].into_iter().take(items).map(|at| (TypeMismatch, at)).collect();
                list.0.push(Sample { json, means: Means::Wrong(errors) });
            }
            Sets::Delta | Sets::Either => list.says(json, vec![(field, Fact::Delta(changes))]),
        }
    }
    let unknown = format!("[\"{one}\", \"Nobody {}\"]", kind.as_str());
    match (reading.sets(), reading.options.unknown_names) {
        (Sets::Delta, _) => list.wrong(unknown, TypeMismatch, "0"),
        (_, UnknownNames::Refuse) => list.wrong(unknown, CatalogUnknown, "1"),
        (_, UnknownNames::Ignore) => {
            list.says(unknown, vec![(field, Fact::Whole(vec![one])), (field, Fact::LeftOut)])
        }
    }
    let unknown = r#"[{"name": "Nobody"}]"#;
    match (reading.sets(), reading.options.unknown_names) {
        (Sets::Whole, _) => list.wrong(unknown, TypeMismatch, "0"),
        (_, UnknownNames::Refuse) => list.wrong(unknown, CatalogUnknown, "0"),
        (_, UnknownNames::Ignore) => {
            list.says(unknown, vec![(field, Fact::Delta(Vec::new())), (field, Fact::LeftOut)]);
        }
    }
    let cell = format!("\"{upper}, {two},\"");
    match (reading.lenient, reading.sets()) {
        (true, Sets::Whole | Sets::Either) => list.says(cell, vec![(field, Fact::Whole(vec![one, two]))]),
        _ => list.wrong(cell, TypeMismatch, ""),
    }
    match (reading.lenient, reading.sets()) {
        (true, Sets::Whole | Sets::Either) => list.says(r#""""#, vec![(field, Fact::Whole(Vec::new()))]),
        _ => list.wrong(r#""""#, TypeMismatch, ""),
    }
    list.wrong("[7]", TypeMismatch, "0");
    list.wrong("{}", TypeMismatch, "");
    if reading.sets() != Sets::Whole {
        list.wrong(r#"[{"value": 1}]"#, FieldRequired, "0.name");
        list.wrong(format!(r#"[{{"name": "{one}", "value": 2}}]"#), TypeMismatch, "0.value");
    }
}

fn passwords(list: &mut List) {
    let hash = |hash: &str| (Field::PasswordHash, Fact::Is(hash.into()));
    list.says(json!({"type": "bcrypt", "password_hash": HASH}).to_string(), vec![hash(HASH)]);
    let expiry = (Field::PasswordExpireAfter, Fact::Is("2027-06-01T00:00:00+00:00".into()));
    list.says(
        json!({"expire_after": "2027-06-01T00:00:00Z", "password_hash": ARGON, "type": "argon2id"})
            .to_string(),
        vec![hash(ARGON), expiry],
    );
    list.wrong(json!({"type": "bcrypt"}).to_string(), FieldRequired, "password_hash");
    list.wrong(json!({"type": "md5", "password_hash": HASH}).to_string(), ValueInvalid, "type");
    list.wrong(json!({"type": "argon2id", "password_hash": HASH}).to_string(), HashInvalid, "password_hash");
    list.wrong(json!({"type": "bcrypt", "password_hash": DEAR}).to_string(), HashCost, "password_hash");
    list.wrong(json!({"type": "bcrypt", "password_hash": HASH, "x": 1}).to_string(), FieldUnknown, "x");
    list.wrong(r#""hunter2""#, TypeMismatch, "");
    list.wrong(r#""""#, TypeMismatch, "");
}

fn factors(list: &mut List) {
    let is = |field, value: &str| (field, Fact::Is(Value::from(value)));
    list.says(r#"{"email": "M1@example.com"}"#, vec![is(Field::MfaEmail, "m1@example.com")]);
    list.says(
        r#"{"email": null, "phone_number": "+85298765401"}"#,
        vec![(Field::MfaEmail, Fact::Null), is(Field::MfaPhoneNumber, "+85298765401")],
    );
    list.says(r#"{"phone_number": null}"#, vec![(Field::MfaPhoneNumber, Fact::Null)]);
    list.says(
        json!({"totp": {"secret": "JBSWY3DPEHPK3PXP"}, "password": {"type": "bcrypt", "password_hash": HASH}}).to_string(),
        vec![is(Field::MfaTotpSecret, "JBSWY3DPEHPK3PXP"), is(Field::MfaPasswordHash, HASH)],
    );
    list.says("{}", Vec::new());
    list.wrong(r#"{"email": "m1"}"#, EmailInvalid, "email");
    list.wrong(r#"{"totp": {"secret": "x"}}"#, TotpInvalid, "totp.secret");
    list.wrong(r#"{"totp": null}"#, NullNotAllowed, "totp");
    list.wrong(r#"{"password": {"type": "bcrypt"}}"#, FieldRequired, "password.password_hash");
    list.wrong(r#"{"sms": "+85298765401"}"#, FieldUnknown, "sms");
    list.wrong(r#""x""#, TypeMismatch, "");
    list.wrong(r#""""#, TypeMismatch, "");
}

fn addresses(list: &mut List) {
    let pairs = |list: &mut List, pairs: &[(&str, &str)]| {
        let sent: Vec<Value> =
            pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let said: Vec<Value> = pairs.iter().map(|(name, value)| json!([name, value])).collect();
        list.is(Field::Addresses, Value::from(sent).to_string(), said);
    };
    pairs(list, &[("sms", "+391234567890")]);
    pairs(list, &[("sms", "+391234567891"), ("x", "somewhere")]);
    pairs(list, &[("x", "somewhere"), ("y", "somewhere"), ("z", "user0@example.com")]);
    pairs(list, &[("email", "other@example.com")]);
    pairs(list, &[]);
    list.wrong(r#"[{"name": "x"}]"#, EmptyNotAllowed, "0.value");
    list.wrong(r#"[{"name": "x", "value": "y"}, {"name": "x", "value": "z"}]"#, AddressTaken, "1.name");
    list.wrong(r#"[{"name": "x", "value": "y"}, 7]"#, TypeMismatch, "1");
    list.wrong(r#"[{"name": "x", "value": "y", "kind": 1}]"#, FieldUnknown, "0.kind");
    list.wrong(r#"[{"name": "x", "value": null}]"#, NullNotAllowed, "0.value");
    list.wrong(r#"{"name": "x", "value": "y"}"#, TypeMismatch, "");
    list.wrong(r#""""#, TypeMismatch, "");
}
