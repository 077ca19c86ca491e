//! docs/contracts/authgear.md A.3.3: what each field does to a user that exists.

use serde_json::{Value, json};

use super::project::{HASH, Project, warnings};

const OTHER_HASH: &str = "$2a$10$abcdefghijklmnopqrstuu5KAwGSVKMTvdcwEQ2Z6rXKJsUqhxv4K";

fn record(fields: &Value) -> Value {
    let mut record = json!({"email": "one@example.com"});
    record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    record
}

/// A user with the first fields, after an update with the second; and the outcome, which is `updated`.
async fn updated(project: &Project, first: Value, second: Value) -> (Value, Value) {
    let (user, detail) = project.update(record(&first), record(&second)).await;
    assert_eq!(detail["outcome"], "updated", "{detail}");
    assert_eq!(detail["user_id"], user["id"]);
    (user, detail)
}

#[tokio::test]
async fn identifier_is_never_changed() {
    let project = Project::new().await;
    let first = json!({"email": "one@example.com", "preferred_username": "one"});
    let second = json!({"email": "one@example.com", "preferred_username": "two"});
    let details = project
        .import(false, &[first, json!({"email": "two@example.com", "preferred_username": "deux"})])
        .await;
    assert!(details.iter().all(|detail| detail["outcome"] == "inserted"));
    let change = [json!({"preferred_username": "one", "email": "new@example.com"})];
    assert_eq!(project.import_by("preferred_username", true, &change).await[0]["outcome"], "updated");
    let users = project.tenant.users().await;
    assert_eq!(
        (&users[0]["email"], &users[0]["preferred_username"]),
        (&json!("new@example.com"), &json!("one"))
    );
    // No longer there under the old address: a new user.
    assert_eq!(project.import(true, &[second]).await[0]["outcome"], "inserted");
}

#[tokio::test]
async fn value_sets_or_changes_another_identity() {
    let project = Project::new().await;
    let (user, _) =
        updated(&project, json!({}), json!({"phone_number": "+85298765432", "preferred_username": "jdoe"}))
            .await;
    assert_eq!(
        (&user["phone_number"], &user["preferred_username"]),
        (&json!("+85298765432"), &json!("jdoe"))
    );
    project.import(true, &[record(&json!({"phone_number": "+85298765433"}))]).await;
    assert_eq!(project.user().await["phone_number"], "+85298765433");
}

#[tokio::test]
async fn null_removes_phone_number() {
    let project = Project::new().await;
    let (user, _) =
        updated(&project, json!({"phone_number": "+85298765432"}), json!({"phone_number": null})).await;
    assert_eq!(user["phone_number"], Value::Null);
}

#[tokio::test]
async fn null_removes_preferred_username() {
    let project = Project::new().await;
    let (user, _) =
        updated(&project, json!({"preferred_username": "jdoe"}), json!({"preferred_username": null})).await;
    assert_eq!(user["preferred_username"], Value::Null);
}

#[tokio::test]
async fn null_removes_email_that_is_not_the_identifier() {
    let project = Project::new().await;
    project.import(false, &[json!({"email": "one@example.com", "preferred_username": "one"})]).await;
    let change = [json!({"preferred_username": "one", "email": null})];
    assert_eq!(project.import_by("preferred_username", true, &change).await[0]["outcome"], "updated");
    assert_eq!(project.user().await["email"], Value::Null);
}

#[tokio::test]
async fn absent_identities_stay() {
    let project = Project::new().await;
    let (user, _) = updated(
        &project,
        json!({"phone_number": "+85298765432", "preferred_username": "jdoe"}),
        json!({"name": "J"}),
    )
    .await;
    assert_eq!(
        (&user["phone_number"], &user["preferred_username"]),
        (&json!("+85298765432"), &json!("jdoe"))
    );
}

#[tokio::test]
async fn true_verifies_and_false_takes_it_back() {
    let project = Project::new().await;
    let (user, _) = updated(&project, json!({}), json!({"email_verified": true})).await;
    assert_eq!(user["profile"]["email_verified"], true);
    project.import(true, &[record(&json!({"email_verified": false}))]).await;
    assert_eq!(project.user().await["profile"], Value::Null);
}

#[tokio::test]
async fn verified_needs_its_identity_in_the_record() {
    let project = Project::new().await;
    let (user, detail) =
        updated(&project, json!({"phone_number": "+85298765432"}), json!({"phone_number_verified": true}))
            .await;
    assert_eq!(user["profile"], Value::Null);
    assert_eq!(warnings(&detail), ["phone_number_verified has no effect when phone_number is absent."]);
    let both = record(&json!({"phone_number": "+85298765432", "phone_number_verified": true}));
    project.import(true, &[both]).await;
    assert_eq!(project.user().await["profile"]["phone_number_verified"], true);
}

#[tokio::test]
async fn standard_attributes_are_set_removed_by_null_and_kept_where_absent() {
    let project = Project::new().await;
    let values = json!({
        "name": "A", "given_name": "B", "family_name": "C", "middle_name": "D", "nickname": "E", "gender": "F",
        "profile": "https://example.com/p", "picture": "https://example.com/i", "website": "https://example.com/w",
        "birthdate": "1990-01-01", "zoneinfo": "Asia/Tokyo", "locale": "ja",
    });
    let (before, _) = updated(&project, json!({}), values.clone()).await;
    let value = |user: &Value, name: &str| match name {
        "given_name" | "family_name" => user[name].clone(),
        name => user["attributes"][name].clone(),
    };
    for (name, wanted) in values.as_object().unwrap() {
        assert_eq!(value(&before, name), *wanted);
    }
    for name in values.as_object().unwrap().keys() {
        assert_eq!(project.import(true, &[record(&json!({name: null}))]).await[0]["outcome"], "updated");
        let user = project.user().await;
        assert_eq!(value(&user, name), Value::Null, "{name}");
    }
    assert_eq!(project.user().await["attributes"], Value::Null);
}

#[tokio::test]
async fn address_is_replaced_whole() {
    let project = Project::new().await;
    let (user, _) = updated(
        &project,
        json!({"address": {"locality": "Central", "country": "HK"}}),
        json!({"address": {"country": "JP"}}),
    )
    .await;
    assert_eq!(user["attributes"]["address"], json!({"country": "JP"}));
}

#[tokio::test]
async fn address_is_removed_by_null_and_by_an_empty_object() {
    for gone in [json!(null), json!({})] {
        let project = Project::new().await;
        let (user, _) =
            updated(&project, json!({"address": {"country": "HK"}}), json!({"address": gone})).await;
        assert_eq!(user["attributes"], Value::Null);
    }
}

#[tokio::test]
async fn custom_attributes_each_for_itself() {
    let project = Project::with_catalog().await;
    let (user, _) = updated(
        &project,
        json!({"custom_attributes": {"member_id": "1", "level": 2, "plan": "free"}}),
        json!({"custom_attributes": {"level": 3, "plan": null, "not_defined": true}}),
    )
    .await;
    assert_eq!(user["metadata"], json!({"member_id": "1", "level": 3}));
}

#[tokio::test]
async fn roles_become_exactly_the_list() {
    let project = Project::with_catalog().await;
    updated(&project, json!({"roles": ["admin"]}), json!({"roles": ["editor"]})).await;
    assert_eq!(project.names("roles").await, ["editor"]);
    project.import(true, &[record(&json!({"name": "J"}))]).await;
    assert_eq!(project.names("roles").await, ["editor"]);
    project.import(true, &[record(&json!({"roles": []}))]).await;
    assert!(project.names("roles").await.is_empty());
}

#[tokio::test]
async fn groups_become_exactly_the_list() {
    let project = Project::with_catalog().await;
    updated(&project, json!({"groups": ["staff"]}), json!({"groups": ["guests"]})).await;
    assert_eq!(project.names("groups").await, ["guests"]);
    project.import(true, &[record(&json!({"groups": []}))]).await;
    assert!(project.names("groups").await.is_empty());
}

#[tokio::test]
async fn disabled_true_disables_and_false_enables_again() {
    let project = Project::new().await;
    let (user, detail) = updated(&project, json!({}), json!({"disabled": true})).await;
    assert!(user["profile"]["disabled_at"].is_string());
    assert!(warnings(&detail).is_empty());
    project.import(true, &[record(&json!({"disabled": false}))]).await;
    assert_eq!(project.user().await["profile"], Value::Null);
}

#[tokio::test]
async fn disabled_as_it_is_already_is_a_warning_and_the_rest_is_applied() {
    let project = Project::new().await;
    let (user, detail) =
        updated(&project, json!({"disabled": true}), json!({"disabled": true, "name": "J"})).await;
    assert_eq!(user["attributes"]["name"], "J");
    assert_eq!(warnings(&detail), ["invalid account status transition: disabled -> disabled"]);
}

#[tokio::test]
async fn account_validity_is_set_and_stays_where_absent() {
    let project = Project::new().await;
    let (user, _) = updated(
        &project,
        json!({"account_valid_from": "2026-01-01T00:00:00Z"}),
        json!({"account_valid_until": "2027-01-01T00:00:00Z"}),
    )
    .await;
    assert_eq!(user["profile"]["valid_from"], "2026-01-01T00:00:00Z");
    assert_eq!(user["profile"]["valid_until"], "2027-01-01T00:00:00Z");
}

#[tokio::test]
async fn password_is_ignored_without_a_warning() {
    let project = Project::new().await;
    let (_, detail) = updated(
        &project,
        json!({"password": {"type": "bcrypt", "password_hash": HASH}}),
        json!({"password": {"type": "bcrypt", "password_hash": OTHER_HASH, "expire_after": "2027-01-01T00:00:00Z"}}),
    )
    .await;
    assert!(warnings(&detail).is_empty());
    let secrets = project.secrets().await.unwrap();
    assert_eq!(secrets, [Some(HASH.to_owned()), None, None, None]);
}

#[tokio::test]
async fn password_is_not_added_to_a_user_without_one() {
    let project = Project::new().await;
    updated(&project, json!({}), json!({"password": {"type": "bcrypt", "password_hash": HASH}})).await;
    assert_eq!(project.secrets().await, None);
}

#[tokio::test]
async fn mfa_email_is_replaced_and_removed_by_null() {
    let project = Project::new().await;
    let (user, _) = updated(
        &project,
        json!({"mfa": {"email": "a@example.com"}}),
        json!({"mfa": {"email": "b@example.com"}}),
    )
    .await;
    assert_eq!(user["profile"]["mfa_email"], "b@example.com");
    project.import(true, &[record(&json!({"mfa": {}}))]).await;
    assert_eq!(project.user().await["profile"]["mfa_email"], "b@example.com");
    project.import(true, &[record(&json!({"mfa": {"email": null}}))]).await;
    assert_eq!(project.user().await["profile"], Value::Null);
}

#[tokio::test]
async fn mfa_phone_number_is_replaced_and_removed_by_null() {
    let project = Project::new().await;
    let (user, _) = updated(
        &project,
        json!({"mfa": {"phone_number": "+85298765432"}}),
        json!({"mfa": {"phone_number": "+85298765433"}}),
    )
    .await;
    assert_eq!(user["profile"]["mfa_phone_number"], "+85298765433");
    project.import(true, &[record(&json!({"mfa": {"phone_number": null}}))]).await;
    assert_eq!(project.user().await["profile"], Value::Null);
}

#[tokio::test]
async fn mfa_password_and_totp_are_ignored() {
    let project = Project::new().await;
    let (_, detail) = updated(
        &project,
        json!({"mfa": {"totp": {"secret": "JBSWY3DPEHPK3PXP"}}}),
        json!({"mfa": {"totp": {"secret": "GEZDGNBVGY3TQOJQ"}, "password": {"type": "bcrypt", "password_hash": HASH}}}),
    )
    .await;
    assert!(warnings(&detail).is_empty());
    let secrets = project.secrets().await.unwrap();
    assert_eq!(secrets, [None, None, None, Some("JBSWY3DPEHPK3PXP".to_owned())]);
}

#[tokio::test]
async fn an_update_that_changes_nothing_is_updated_all_the_same() {
    let project = Project::new().await;
    let (user, _) = updated(&project, json!({"name": "J"}), json!({"name": "J"})).await;
    assert_eq!(user["version"], 1);
}
