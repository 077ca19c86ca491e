//! Addresses that a user has already, and those that come.

use chrono::DateTime;
use muster_domain::error::ErrorCode;
use muster_domain::normalise::EmailAddress;
use muster_domain::options::{AddressClash, ImportOptions, OnExisting};
use muster_domain::outcome::Verdict;
use muster_domain::plan::{ExistingUser, plan};
use muster_domain::profile::Profile;
use muster_domain::record::{Extras, Patch, Position, Record, RecordNumber};
use muster_domain::rules::Rules;
use uuid::Uuid;

const EMAIL: &str = "a@example.com";

/// A user with the addresses `a` and `b`, as the store has it.
fn addressed() -> ExistingUser {
    let mut profile = Profile::default();
    profile.add_address("a", "one");
    profile.add_address("b", "two");
    ExistingUser {
        id: Uuid::from_u128(1),
        version: 1,
        email: Some(EMAIL.into()),
        profile: Some(Box::new(profile)),
        ..ExistingUser::default()
    }
}

/// What adding this address comes to: the verdict, or the place of the error; and what the user then has.
fn adding(name: &str, value: &str, clash: AddressClash) -> (Result<Verdict, Option<String>>, Vec<String>) {
    let user = [addressed()];
    let mut record = Record::empty(Position { record: RecordNumber::FIRST, line: 1, byte: 0 });
    record.email = Patch::Value(EmailAddress::parse(EMAIL).unwrap());
    record.extras = Some(Box::new(Extras {
        addresses: Patch::Value(vec![(name.into(), value.into())]),
        ..Extras::default()
    }));
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
fn an_address_whose_name_is_taken_stands_beside_it_where_asked() {
    let beside = |name, value| adding(name, value, AddressClash::Beside);
    let before = || vec!["a=one".to_owned(), "b=two".to_owned()];
    assert_eq!(
        beside("a", "x"),
        (Ok(Verdict::UPDATED), vec!["a=one".into(), "a 2=x".into(), "b=two".into()])
    );
    assert_eq!(beside("a", "two"), (Ok(Verdict::UNCHANGED), before()), "it is there under another name");
    assert_eq!(beside("a", "one"), (Ok(Verdict::UNCHANGED), before()));
    assert_eq!(beside("c", "x"), (Ok(Verdict::UPDATED), [before(), vec!["c=x".into()]].concat()));
    let mut profile = Profile::default();
    for value in ["one", "two", "three", "two"] {
        profile.add_address_beside("a", value);
    }
    assert_eq!(profile.addresses.keys().collect::<Vec<_>>(), ["a", "a 2", "a 3"]);
    let long = "ü".repeat(255);
    let mut profile = Profile::default();
    for value in ["one", "two"] {
        profile.add_address_beside(&long, value);
    }
    let cut = format!("{} 2", "ü".repeat(253));
    assert_eq!(profile.addresses.keys().collect::<Vec<_>>(), [&cut, &long]);
}

#[test]
fn a_user_that_is_only_enrolled_keeps_an_address_named_email() {
    let mut user = addressed();
    let mut profile = Profile::default();
    profile.add_address("email", "other@example.com");
    user.profile = Some(Box::new(profile));
    let mut record = Record::empty(Position { record: RecordNumber::FIRST, line: 1, byte: 0 });
    record.email = Patch::Value(EmailAddress::parse(EMAIL).unwrap());
    let options =
        ImportOptions { on_existing: OnExisting::Enrol, default_address: true, ..ImportOptions::default() };
    let (rules, user) = (Rules::new(options), [user]);
    let plan = plan(&[&record], &user, &rules, DateTime::UNIX_EPOCH, &mut || Uuid::from_u128(9));
    assert_eq!((plan.verdicts[0].0, plan.updates.len()), (Verdict::EXISTS, 0));
}
