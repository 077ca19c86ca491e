//! The planner beside an oracle: one record after the other over a plain list of users.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::normalise::{EmailAddress, PhoneNumber, Username};
use crate::options::{AddressClash, Enrolment, ImportOptions, MetadataMode};
use crate::record::{Extras, MetadataEntry, Position, RawValue, RecordNumber};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Plain {
    email: Option<String>,
    phone: Option<String>,
    username: Option<String>,
    given: Option<String>,
    metadata: BTreeMap<String, String>,
    enrolled: bool,
}

/// What a record says, before it becomes a typed record. `None`: absent, `Some(None)`: null.
#[derive(Debug, Clone)]
struct Said {
    email: u8,
    phone: Option<Option<u8>>,
    username: Option<Option<u8>>,
    given: Option<Option<u8>>,
    metadata: Option<(u8, u8)>,
}

fn said() -> impl Strategy<Value = Said> {
    let patch = |most: u8| prop::option::of(prop::option::of(0..most));
    (0u8..6, patch(4), patch(4), patch(3), prop::option::of((0u8..2, 0u8..3))).prop_map(
        |(email, phone, username, given, metadata)| Said { email, phone, username, given, metadata },
    )
}

fn email(n: u8) -> String {
    format!("user{n}@example.com")
}
fn phone(n: u8) -> String {
    format!("+8529876540{n}")
}
fn username(n: u8) -> String {
    format!("name{n}")
}

/// The oracle: as plain as can be.
fn interpret(users: &mut Vec<Plain>, said: &Said, options: &ImportOptions) -> &'static str {
    let at = users.iter().position(|user| user.email == Some(email(said.email)));
    if let (Some(at), OnExisting::Skip) = (at, options.on_existing) {
        let _ = at;
        return "exists";
    }
    if let (Some(at), OnExisting::Enrol) = (at, options.on_existing) {
        return if options.enrolment.is_some() && !std::mem::replace(&mut users[at].enrolled, true) {
            "enrolled"
        } else {
            "exists"
        };
    }
    let clash = users.iter().enumerate().any(|(other, user)| {
        Some(other) != at
            && (said.phone.flatten().is_some_and(|n| user.phone == Some(phone(n)))
                || said.username.flatten().is_some_and(|n| user.username == Some(username(n))))
    });
    if clash {
        return "failed";
    }
    let mut user = at.map(|at| users[at].clone()).unwrap_or_default();
    user.email = Some(email(said.email));
    if let Some(value) = said.phone {
        user.phone = value.map(phone);
    }
    if let Some(value) = said.username {
        user.username = value.map(username);
    }
    if let Some(value) = said.given {
        user.given = value.map(|n| n.to_string());
    }
    if let Some((key, value)) = said.metadata {
        user.metadata.insert(key.to_string(), value.to_string());
    }
    let Some(at) = at else {
        user.enrolled = options.enrolment.is_some();
        users.push(user);
        return "inserted";
    };
    let changed = user != users[at];
    let enrolled = options.enrolment.is_some() && !user.enrolled;
    user.enrolled |= options.enrolment.is_some();
    users[at] = user;
    if changed {
        "updated"
    } else if enrolled {
        "enrolled"
    } else {
        "unchanged"
    }
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::INSERTED => "inserted",
        Verdict::UPDATED => "updated",
        Verdict::ENROLLED => "enrolled",
        Verdict::EXISTS => "exists",
        Verdict::UNCHANGED => "unchanged",
        _ => "failed",
    }
}

/// A field as said: absent, null or a text.
type SaidText = Option<Option<String>>;

/// E-mail address, phone number, username, given name, one metadata key.
type SaidTexts = (String, SaidText, SaidText, SaidText, Option<(String, String)>);

struct Texts(Vec<SaidTexts>);

fn texts(said: &[Said]) -> Texts {
    Texts(
        said.iter()
            .map(|s| {
                (
                    email(s.email),
                    s.phone.map(|v| v.map(phone)),
                    s.username.map(|v| v.map(username)),
                    s.given.map(|v| v.map(|n| n.to_string())),
                    s.metadata.map(|(k, v)| (k.to_string(), v.to_string())),
                )
            })
            .collect(),
    )
}

fn patch<'a, T>(said: &'a Option<Option<String>>, parse: impl Fn(&'a str) -> T) -> Patch<T> {
    match said {
        None => Patch::Absent,
        Some(None) => Patch::Null,
        Some(Some(text)) => Patch::Value(parse(text)),
    }
}

fn records(texts: &Texts) -> Vec<Record<'_>> {
    texts
        .0
        .iter()
        .map(|(email, phone, username, given, metadata)| Record {
            email: Patch::Value(EmailAddress::parse(email).unwrap()),
            phone_number: patch(phone, |text| PhoneNumber::parse(text).unwrap()),
            preferred_username: patch(username, |text| Username::parse(text).unwrap()),
            given_name: patch(given, |text| text),
            metadata: match metadata {
                None => Patch::Absent,
                Some((key, value)) => Patch::Value(vec![MetadataEntry {
                    key: key.as_str().into(),
                    value: RawValue::Text(value).into(),
                }]),
            },
            ..Record::empty(Position { record: RecordNumber::FIRST, line: 1, byte: 0 })
        })
        .collect()
}

fn store_of(users: &[Plain]) -> Vec<ExistingUser> {
    users
        .iter()
        .enumerate()
        .map(|(at, user)| ExistingUser {
            id: Uuid::from_u128(at as u128 + 1),
            version: 1,
            email: user.email.clone(),
            phone_number: user.phone.clone(),
            preferred_username: user.username.clone(),
            given_name: user.given.clone(),
            family_name: None,
            attributes: None,
            metadata: (!user.metadata.is_empty()).then(|| serde_json::to_string(&user.metadata).unwrap()),
            profile: None,
            enrolled: user.enrolled,
        })
        .collect()
}

/// Writes a plan the way the store does: releases, then updates, then inserts, with unique fields checked all the time.
fn write(existing: &[ExistingUser], plan: &Plan<'_>) -> BTreeMap<Uuid, ExistingUser> {
    let mut table: BTreeMap<Uuid, ExistingUser> =
        existing.iter().map(|user| (user.id, user.clone())).collect();
    for (id, field) in &plan.releases {
        let user = table.get_mut(id).unwrap();
        match field {
            IdentifierField::Email => user.email = None,
            IdentifierField::PhoneNumber => user.phone_number = None,
            IdentifierField::PreferredUsername => user.preferred_username = None,
        }
    }
    let rows = plan
        .updates
        .iter()
        .map(|(row, version)| (row, *version))
        .chain(plan.inserts.iter().map(|row| (row, 0)));
    for (row, version) in rows {
        let owned = |value: &Option<Cow<'_, str>>| value.as_deref().map(str::to_owned);
        let enrolled = table.get(&row.id).is_some_and(|user| user.enrolled);
        let user = ExistingUser {
            id: row.id,
            version: version + row.changes,
            email: owned(&row.email),
            phone_number: owned(&row.phone_number),
            preferred_username: owned(&row.preferred_username),
            given_name: owned(&row.given_name),
            family_name: owned(&row.family_name),
            attributes: owned(&row.attributes),
            metadata: owned(&row.metadata),
            profile: None,
            enrolled,
        };
        for field in IdentifierField::ALL {
            let clash = user.identity(*field).is_some()
                && table
                    .values()
                    .any(|other| other.id != user.id && other.identity(*field) == user.identity(*field));
            assert!(!clash, "the plan breaks a unique index");
        }
        table.insert(user.id, user);
    }
    for id in &plan.enrolments {
        assert!(!std::mem::replace(&mut table.get_mut(id).unwrap().enrolled, true), "enrolled twice");
    }
    table
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn planning_a_chunk_is_working_through_it(
        before in prop::collection::vec(said(), 0..6),
        said in prop::collection::vec(said(), 0..14),
        on_existing in prop::sample::select(OnExisting::ALL),
        enrol in any::<bool>(),
        cut in 0usize..14,
    ) {
        let update = ImportOptions { on_existing: OnExisting::Update, ..ImportOptions::default() };
        let options = ImportOptions {
            on_existing,
            enrolment: enrol.then_some(Enrolment { organization_id: 1, group_id: 0 }),
            metadata: MetadataMode::Merge,
            ..ImportOptions::default()
        };
        let rules = Rules::new(options.clone());
        let mut users = Vec::new();
        for record in &before {
            interpret(&mut users, record, &update);
        }
        let mut store = store_of(&users);
        let wanted: Vec<&str> = said.iter().map(|record| interpret(&mut users, record, &options)).collect();

        // The same records in two chunks end the same: the second sees what the first wrote.
        let mut got = Vec::new();
        let mut next = 1000;
        let (first, second) = said.split_at(cut.min(said.len()));
        for part in [first, second] {
            let texts = texts(part);
            let records = records(&texts);
            let refs: Vec<&Record<'_>> = records.iter().collect();
            let plan = plan(&refs, &store, &rules, DateTime::UNIX_EPOCH, &mut || { next += 1; Uuid::from_u128(next) });
            got.extend(plan.verdicts.iter().map(|(verdict, _)| verdict_name(*verdict)));
            for (index, error) in &plan.errors {
                prop_assert_eq!(plan.verdicts[*index].0, Verdict::FAILED);
                prop_assert!(error.user_id.is_some());
            }
            let table = write(&store, &plan);
            store = table.into_values().collect();
        }
        prop_assert_eq!(got, wanted);
        let mut ended: Vec<Plain> = store.iter().map(|user| Plain {
            email: user.email.clone(), phone: user.phone_number.clone(), username: user.preferred_username.clone(),
            given: user.given_name.clone(), enrolled: user.enrolled,
            metadata: user.metadata.as_deref().map(|json| serde_json::from_str(json).unwrap()).unwrap_or_default(),
        }).collect();
        ended.sort_by(|a, b| a.email.cmp(&b.email));
        users.sort_by(|a, b| a.email.cmp(&b.email));
        prop_assert_eq!(ended, users);
    }
}

/// A user with the addresses `a` and `b`, as the store has it.
fn addressed() -> ExistingUser {
    let mut profile = Profile::default();
    profile.add_address("a", "one");
    profile.add_address("b", "two");
    ExistingUser {
        id: Uuid::from_u128(1),
        version: 1,
        email: Some(email(0)),
        profile: Some(Box::new(profile)),
        ..ExistingUser::default()
    }
}

/// What adding this address comes to: the verdict, or the place of the error; and what the user then has.
fn adding(name: &str, value: &str, clash: AddressClash) -> (Result<Verdict, Option<String>>, Vec<String>) {
    let user = [addressed()];
    let email = email(0);
    let mut record = Record::empty(Position { record: RecordNumber::FIRST, line: 1, byte: 0 });
    record.email = Patch::Value(EmailAddress::parse(&email).unwrap());
    record.extras =
        Some(Box::new(Extras { addresses: vec![(name.into(), value.into())], ..Extras::default() }));
    let rules = Rules::new(ImportOptions { address_clash: clash, ..ImportOptions::default() });
    let mut plan = plan(&[&record], &user, &rules, DateTime::UNIX_EPOCH, &mut || Uuid::from_u128(9));
    let verdict = match plan.errors.pop() {
        Some((_, error)) => {
            assert_eq!(error.code, ErrorCode::AddressTaken);
            assert!(plan.updates.is_empty());
            Err(error.field)
        }
        None => Ok(plan.verdicts[0].0),
    };
    let profile = match plan.updates.first() {
        Some((row, _)) => Profile::parse(row.profile.as_deref()).unwrap(),
        None => *addressed().profile.unwrap(),
    };
    (verdict, profile.addresses.iter().map(|(name, address)| format!("{name}={}", address.value)).collect())
}

#[test]
fn an_address_that_clashes_is_refused_where_asked() {
    let (replace, refuse) = (AddressClash::Replace, AddressClash::Refuse);
    let before = || vec!["a=one".to_owned(), "b=two".to_owned()];
    let added = || vec!["a=one".to_owned(), "b=two".to_owned(), "c=three".to_owned()];
    for clash in [replace, refuse] {
        assert_eq!(adding("c", "three", clash), (Ok(Verdict::UPDATED), added()));
        assert_eq!(adding("a", "one", clash), (Ok(Verdict::UNCHANGED), before()));
    }
    assert_eq!(adding("a", "x", replace), (Ok(Verdict::UPDATED), vec!["a=x".into(), "b=two".into()]));
    assert_eq!(adding("a", "x", refuse), (Err(Some("addresses.0.name".into())), before()));
    assert_eq!(adding("c", "two", replace), (Ok(Verdict::UNCHANGED), before()));
    assert_eq!(adding("c", "two", refuse), (Err(Some("addresses.0.value".into())), before()));
}

#[test]
fn a_user_that_is_only_enrolled_keeps_an_address_named_email() {
    let mut user = addressed();
    let mut profile = Profile::default();
    profile.add_address("email", "other@example.com");
    user.profile = Some(Box::new(profile));
    let email = email(0);
    let mut record = Record::empty(Position { record: RecordNumber::FIRST, line: 1, byte: 0 });
    record.email = Patch::Value(EmailAddress::parse(&email).unwrap());
    let options =
        ImportOptions { on_existing: OnExisting::Enrol, default_address: true, ..ImportOptions::default() };
    let (rules, user) = (Rules::new(options), [user]);
    let plan = plan(&[&record], &user, &rules, DateTime::UNIX_EPOCH, &mut || Uuid::from_u128(9));
    assert_eq!((plan.verdicts[0].0, plan.updates.len()), (Verdict::EXISTS, 0));
}
