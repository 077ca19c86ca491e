use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::*;
use crate::error::{ErrorCode, RecordError};
use crate::id::ImportId;
use crate::outcome::{Outcome, Reason, Verdict};
use crate::plan::Effect;
use crate::undo::{Change, ChangeResult, Found, Kind, Lost, Undo};

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn record(outcome: Outcome, before: Value, after: Value) -> PlannedRecord {
    PlannedRecord {
        index: 0,
        record: 7,
        line: 8,
        outcome,
        reason: None,
        user: (outcome == Outcome::Updated).then(|| Uuid::from_u128(1)),
        errors: Vec::new(),
        warnings: Vec::new(),
        before: map(before),
        after: map(after),
        inserts: None,
        maker: None,
        exceptions: None,
    }
}

fn user(number: u128, email: &str) -> PlannedUser {
    PlannedUser {
        id: Uuid::from_u128(number),
        new: false,
        maker: None,
        version: 2,
        email: Some(email.to_owned()),
        phone_number: None,
        preferred_username: None,
        given_name: None,
        family_name: None,
        attributes: None,
        metadata: Some(json!({"a": null}).to_string()),
        profile: None,
        enrolled: true,
    }
}

#[test]
fn a_planned_chunk_comes_back_as_it_was() {
    let mut failed = record(Outcome::Failed, json!({}), json!({}));
    failed.errors = vec![RecordError::new(ErrorCode::IdentityConflict, "taken").in_field("email")];
    let updated = record(Outcome::Updated, json!({"given_name": "Zoë"}), json!({"metadata.x": [1, null]}));
    let chunk = PlannedChunk {
        records: vec![failed, updated],
        users: vec![user(3, "a@example.com")],
        ..PlannedChunk::default()
    };
    let bytes = chunk.encode().unwrap();
    assert_eq!(PlannedChunk::decode(&bytes).unwrap(), chunk);
    for wrong in [&bytes[..bytes.len() - 3], &[9, 1, 2], &[]] {
        assert!(PlannedChunk::decode(wrong).is_err());
    }
}

#[test]
fn a_value_that_is_nested_as_deep_as_a_cell_may_be_comes_back() {
    let deep: Value = serde_json::from_str(&("[".repeat(127) + &"]".repeat(127))).unwrap();
    let before =
        json!({"metadata.a": ["[1]"], "metadata.b": [["x"]], "metadata.c": {"x": [1.5]}, "locale": "[1]"});
    let mut after = map(json!({"metadata.a": [], "metadata.b": null}));
    after.insert("metadata.deep".into(), deep);
    let updated = record(Outcome::Updated, before, Value::Object(after));
    let chunk = PlannedChunk { records: vec![updated], ..PlannedChunk::default() };
    assert_eq!(PlannedChunk::decode(&chunk.encode().unwrap()).unwrap(), chunk);
}

#[test]
fn what_was_planned_by_the_version_before_is_read() {
    let mut expected = record(Outcome::Updated, json!({"given_name": "Ann"}), json!({}));
    let mut json = serde_json::to_value(&expected).unwrap();
    json["a"] = json!({"metadata.x": ["[1]"]});
    expected.after = map(json!({"metadata.x": ["[1]"]}));
    let json = json!({"records": [json], "users": []}).to_string();
    let bytes = [vec![1], zstd::encode_all(json.as_bytes(), 1).unwrap()].concat();
    assert_eq!(PlannedChunk::decode(&bytes).unwrap().records, [expected]);
}

#[test]
fn sums_tell_what_happens_to_fields_and_no_value() {
    let updated = |before, after| record(Outcome::Updated, before, after);
    let mut failed = record(Outcome::Failed, json!({}), json!({}));
    failed.errors = vec![RecordError::new(ErrorCode::IdentityConflict, "taken")];
    let mut skipped = record(Outcome::Skipped, json!({}), json!({}));
    skipped.reason = Some(Reason::Unchanged);
    let records = [
        updated(json!({"email": "a@old.example", "roles.3": true}), json!({"email": "a@new.example"})),
        updated(json!({"roles.3": true}), json!({"roles.4": true, "disabled_at": "2026-01-01T00:00:00Z"})),
        updated(json!({"phone_number": "+321"}), json!({"metadata.office": "Rome"})),
        failed,
        skipped,
    ];
    let sums = Sums::of(&records);
    let sum = |set, changed, removed| FieldSum { set, changed, removed };
    let fields: BTreeMap<&str, FieldSum> = sums.fields.iter().map(|(name, sum)| (&**name, *sum)).collect();
    assert_eq!(
        fields,
        BTreeMap::from([
            ("disabled_at", sum(1, 0, 0)),
            ("email", sum(0, 1, 0)),
            ("metadata.office", sum(1, 0, 0)),
            ("phone_number", sum(0, 0, 1)),
            ("roles", sum(0, 1, 1)),
        ])
    );
    assert_eq!((sums.email_domains, sums.roles_removed, sums.disabled), (1, 2, 1));
    assert_eq!(sums.kinds["metadata.office set, phone_number removed"], 1);
    assert_eq!((sums.reasons["unchanged"], sums.codes["identity_conflict"]), (1, 1));
    let json = serde_json::to_string(&sums).unwrap();
    assert!(!json.contains("example") && !json.contains("Rome"), "{json}");
    let mut twice: Sums = serde_json::from_str(&json).unwrap();
    twice.add(&sums);
    assert_eq!((twice.fields["roles"], twice.roles_removed), (sum(0, 2, 2), 4));
}

#[test]
fn sums_of_any_number_of_fields_stay_small() {
    let after: Map<String, Value> = (0..5_000).map(|at| (format!("metadata.{at}"), json!(1))).collect();
    let sums = Sums::of(&[record(Outcome::Updated, json!({}), Value::Object(after))]);
    assert_eq!((sums.fields.len(), sums.fields[OTHER].set), (201, 4_800));
}

#[test]
fn a_record_drifts_where_outcome_user_or_values_are_others() {
    let planned = record(Outcome::Updated, json!({"office": "Milan"}), json!({"office": "Rome"}));
    let effect = |before, after| Effect { before: map(before), after: map(after), ..Effect::default() };
    let same = effect(json!({"office": "Milan"}), json!({"office": "Rome"}));
    let user = Some(Uuid::from_u128(1));
    assert_eq!(drift(&planned, Verdict::UPDATED, user, &same), None);
    assert_eq!(drift(&planned, Verdict::FAILED, None, &Effect::default()), None);
    let other = effect(json!({"office": "Oslo"}), json!({"office": "Rome"}));
    let found = drift(&planned, Verdict::UPDATED, user, &other).unwrap();
    assert_eq!(found.fields, ["office"]);
    let error = found.error();
    assert_eq!(error.code, ErrorCode::ChangedSincePlan);
    assert!(error.message.contains("office") && !error.message.contains("Oslo"), "{}", error.message);
    assert!(drift(&planned, Verdict::UPDATED, Some(Uuid::from_u128(2)), &same).is_some());
    let unchanged = drift(&planned, Verdict::UNCHANGED, user, &Effect::default()).unwrap();
    assert_eq!(unchanged.fields, ["office"]);
    assert!(unchanged.warning().contains("`skipped (unchanged)`"), "{}", unchanged.warning());
}

#[test]
fn a_moment_of_now_or_a_number_written_in_another_way_is_no_drift_and_another_new_user_is() {
    let planned = record(Outcome::Updated, json!({}), json!({"disabled_at": "2026-01-01T00:00:00Z"}));
    let user = Some(Uuid::from_u128(1));
    let later = map(json!({"disabled_at": "2026-01-02T00:00:00Z"}));
    let effect = Effect { after: later, ..Effect::default() };
    assert_eq!(drift(&planned, Verdict::UPDATED, user, &effect), None);
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let number = record(Outcome::Updated, read(r#"{"metadata.n": 1e16}"#), read(r#"{"metadata.n": 1}"#));
    let effect = |before: &str| Effect {
        before: map(read(before)),
        after: map(read(r#"{"metadata.n": 1.0}"#)),
        ..Effect::default()
    };
    let same = effect(r#"{"metadata.n": 10000000000000000}"#);
    assert_eq!(drift(&number, Verdict::UPDATED, user, &same), None);
    let other = effect(r#"{"metadata.n": 10000000000000001}"#);
    assert_eq!(drift(&number, Verdict::UPDATED, user, &other).unwrap().fields, ["metadata.n"]);
    let inserted = PlannedRecord { inserts: Some(1), ..record(Outcome::Inserted, json!({}), json!({})) };
    let effect = |hash| Effect { inserts: Some(hash), ..Effect::default() };
    assert_eq!(drift(&inserted, Verdict::INSERTED, user, &effect(1)), None);
    assert!(drift(&inserted, Verdict::INSERTED, user, &effect(2)).is_some());
}

#[test]
fn later_chunks_lie_over_what_is_there_and_over_earlier_ones() {
    let there =
        ExistingUser { id: Uuid::from_u128(1), email: Some("a@example.com".into()), ..Default::default() };
    let mut known = Known::there(vec![there]);
    let asked = |user: &PlannedUser| user.email.as_deref() == Some("b@example.com");
    known.lay_over(vec![user(1, "b@example.com"), user(2, "b@example.com"), user(3, "c@example.com")], asked);
    known.lay_over(vec![PlannedUser { new: true, ..user(2, "d@example.com") }], |_| false);
    let emails: Vec<&str> = known.users.iter().filter_map(|user| user.email.as_deref()).collect();
    assert_eq!(emails, ["b@example.com", "d@example.com"]);
    assert_eq!((known.planned.len(), known.new.len()), (2, 1));
    assert!(known.users.iter().all(|user| user.enrolled && user.version == 2));
}

/// Earlier programs did not write such numbers, and planned so.
#[test]
fn numbers_that_are_written_as_before_again_are_what_an_earlier_program_planned() {
    let user = Uuid::from_u128(1);
    let change = Change {
        kind: Kind::Updated,
        from: 1,
        before: map(json!({"metadata.n": 1})),
        after: map(json!({"metadata.n": 1.0})),
        ..Change::inserted(user, 2)
    };
    let found = Found {
        id: user,
        version: 2,
        stands_for: None,
        kept: BTreeSet::new(),
        given_back: BTreeMap::new(),
        fields: change.after.clone().into_iter().collect(),
    };
    let undo = Undo::whole(ImportId::new(Uuid::nil()), chrono::DateTime::UNIX_EPOCH);
    let check = UndoCheck { drift: &|_, _| None, refuse: true };
    let (planned, _) = plan_undo(&[change], &[found], (&[], &Lost::new()), &undo, &check);
    let [told] = planned.told.as_slice() else { panic!("{:?}", planned.told) };
    assert_eq!((told.verdict, planned.written.len()), (Verdict::UPDATED, 1));
    let drift = |verdict: Verdict, told: &ChangeResult| {
        let planned =
            PlannedRecord { reason: verdict.reason, ..record(verdict.outcome, json!({}), json!({})) };
        drift_of_undo(&planned, told)
    };
    assert_eq!(drift(Verdict::UNCHANGED, told), None);
    assert_eq!(drift(Verdict::UPDATED, told), None);
    assert!(drift(Verdict::CHANGED_SINCE, told).is_some());
    let values = ChangeResult { is_rewritten: false, ..told.clone() };
    assert!(drift(Verdict::UNCHANGED, &values).is_some());
}
