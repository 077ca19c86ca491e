//! The state of an account and its period of validity.

use chrono::{DateTime, TimeDelta, Utc};
use muster_domain::error::ErrorCode;
use muster_domain::normalise::{EmailAddress, Username};
use muster_domain::options::ImportOptions;
use muster_domain::plan::{ExistingUser, plan};
use muster_domain::profile::Profile;
use muster_domain::record::{Extras, Patch, Position, Record, RecordNumber};
use muster_domain::rules::Rules;
use uuid::Uuid;

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn user(email: &str, profile: Profile) -> ExistingUser {
    ExistingUser {
        id: Uuid::from_u128(1),
        version: 1,
        email: Some(email.into()),
        preferred_username: Some("taken".into()),
        profile: Some(Box::new(profile)),
        ..ExistingUser::default()
    }
}

fn record(email: &'static str, extras: Extras<'static>) -> Record<'static> {
    let mut record = Record::empty(Position { record: RecordNumber::FIRST, line: 1, byte: 0 });
    record.email = Patch::Value(EmailAddress::parse(email).unwrap());
    record.extras = Some(Box::new(extras));
    record
}

#[test]
fn the_state_of_an_account_that_is_not_valid_now_is_outside_its_period() {
    let hour = TimeDelta::hours(1);
    let period = |from: Option<TimeDelta>, until: Option<TimeDelta>| Profile {
        valid_from: from.map(|from| NOW + from),
        valid_until: until.map(|until| NOW + until),
        ..Profile::default()
    };
    for (profile, disable, state) in [
        (period(Some(hour), None), false, "outside_valid_period -> normal"),
        (period(None, Some(-hour)), false, "outside_valid_period -> normal"),
        (period(None, Some(TimeDelta::zero())), false, "outside_valid_period -> normal"),
        (period(Some(-hour), Some(hour)), false, "normal -> normal"),
        (Profile { disabled_at: Some(NOW), ..period(Some(hour), None) }, true, "disabled -> disabled"),
    ] {
        let existing = [user("a@example.com", profile)];
        let record = record("a@example.com", Extras { disabled: Patch::Value(disable), ..Extras::default() });
        let rules = Rules::new(ImportOptions::default());
        let plan = plan(&[&record], &existing, &rules, NOW, &mut || Uuid::from_u128(9));
        let warnings: Vec<String> = plan.warnings.iter().map(|(_, warning)| warning.to_string()).collect();
        assert_eq!(warnings, [format!("invalid account status transition: {state}")]);
    }
}

#[test]
fn a_taken_value_is_told_before_a_period_that_ends_before_it_begins() {
    let existing = [user("a@example.com", Profile::default())];
    let extras = Extras {
        valid_from: Patch::Value(NOW + TimeDelta::hours(1)),
        valid_until: Patch::Value(NOW),
        ..Extras::default()
    };
    let mut record = record("b@example.com", extras);
    let rules = Rules::new(ImportOptions::default());
    let code = |record: &Record<'_>| {
        plan(&[record], &existing, &rules, NOW, &mut || Uuid::from_u128(9)).errors[0].1.code
    };
    assert_eq!(code(&record), ErrorCode::ValidityInvalid);
    record.preferred_username = Patch::Value(Username::parse("taken").unwrap());
    assert_eq!(code(&record), ErrorCode::IdentityConflict);
}
