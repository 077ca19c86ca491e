//! A.3.4: what a record says in vain.

use serde_json::{Value, json};

use super::project::{Project, warnings};

/// Warnings of a record that inserts a user.
async fn inserting(record: Value) -> Vec<String> {
    let project = Project::new().await;
    let detail = project.import(false, &[record]).await.remove(0);
    assert_eq!(detail["outcome"], "inserted", "{detail}");
    warnings(&detail).into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn skip_of_a_user_that_exists() {
    let project = Project::new().await;
    let record = json!({"email": "one@example.com"});
    project.import(false, std::slice::from_ref(&record)).await;
    let detail = project.import(false, &[record]).await.remove(0);
    assert_eq!(detail["outcome"], "skipped");
    assert_eq!(warnings(&detail), ["skipping because upsert = false and user exists"]);
}

#[tokio::test]
async fn insert_with_null_identities() {
    let record = json!({"email": "one@example.com", "phone_number": null, "preferred_username": null});
    let expected = [
        "phone_number = null has no effect in insert.",
        "preferred_username = null has no effect in insert.",
    ];
    assert_eq!(inserting(record).await, expected);
    let project = Project::new().await;
    let detail = project
        .import_by("preferred_username", false, &[json!({"preferred_username": "x", "email": null})])
        .await;
    assert_eq!(warnings(&detail[0]), ["email = null has no effect in insert."]);
}

#[tokio::test]
async fn insert_with_null_second_factors() {
    let record = json!({"email": "one@example.com", "mfa": {"email": null, "phone_number": null}});
    let expected =
        ["mfa.email = null has no effect in insert.", "mfa.phone_number = null has no effect in insert."];
    assert_eq!(inserting(record).await, expected);
}

#[tokio::test]
async fn insert_with_false() {
    let record = json!({"email": "one@example.com", "email_verified": false, "phone_number_verified": false, "disabled": false});
    let expected = [
        "email_verified = false has no effect in insert.",
        "phone_number_verified = false has no effect in insert.",
        "disabled = false has no effect in insert.",
    ];
    assert_eq!(inserting(record).await, expected);
}

#[tokio::test]
async fn insert_with_verified_of_an_absent_identity() {
    let record = json!({"email": "one@example.com", "phone_number_verified": true});
    assert_eq!(
        inserting(record).await,
        ["phone_number_verified = true has no effect when phone_number is absent."]
    );
    let project = Project::new().await;
    let record = json!({"preferred_username": "x", "email_verified": true});
    let detail = project.import_by("preferred_username", false, &[record]).await;
    assert_eq!(warnings(&detail[0]), ["email_verified = true has no effect when email is absent."]);
}

#[tokio::test]
async fn update_with_verified_of_an_absent_or_removed_identity() {
    let project = Project::new().await;
    let absent = json!({"email": "one@example.com", "phone_number_verified": true});
    let (_, detail) = project.update(json!({"email": "one@example.com"}), absent).await;
    assert_eq!(warnings(&detail), ["phone_number_verified has no effect when phone_number is absent."]);
    let removed = json!({"email": "one@example.com", "phone_number": null, "phone_number_verified": true});
    let detail = project.import(true, &[removed]).await.remove(0);
    assert_eq!(warnings(&detail), ["phone_number_verified has no effect when phone_number = null."]);
}

#[tokio::test]
async fn update_to_the_account_state_that_is() {
    let project = Project::new().await;
    let (_, detail) = project
        .update(json!({"email": "one@example.com"}), json!({"email": "one@example.com", "disabled": false}))
        .await;
    assert_eq!(
        (&detail["outcome"], warnings(&detail)),
        (&json!("updated"), vec!["invalid account status transition: normal -> normal"])
    );
    let project = Project::new().await;
    let over = json!({"email": "two@example.com", "account_valid_until": "2020-01-01T00:00:00Z"});
    let (_, detail) = project.update(over, json!({"email": "two@example.com", "disabled": false})).await;
    assert_eq!(warnings(&detail), ["invalid account status transition: outside_valid_period -> normal"]);
}

#[tokio::test]
async fn an_uneventful_record_has_no_warnings() {
    assert!(
        inserting(json!({"email": "one@example.com", "email_verified": true, "disabled": true}))
            .await
            .is_empty()
    );
}
