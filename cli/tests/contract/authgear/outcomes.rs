//! A.2.1, A.3.1, A.3.2, A.3.6 and A.3.8: outcomes, identifiers, duplicates, states and redaction.

use serde_json::{Value, json};

use super::project::{HASH, Project};

fn outcomes(details: &[Value]) -> Vec<&str> {
    details.iter().map(|detail| detail["outcome"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn summary_counts_the_details() {
    let project = Project::new().await;
    project.import(false, &[json!({"email": "one@example.com"})]).await;
    let records = json!([{"email": "one@example.com"}, {"email": "two@example.com"}, {"email": "bad"}]);
    let id = project.start(&json!({"identifier": "email", "records": records})).await;
    let answer = project.completed(&id).await;
    assert_eq!(
        answer["summary"],
        json!({"total": 3, "inserted": 1, "updated": 0, "skipped": 1, "failed": 1})
    );
    assert_eq!(outcomes(answer["details"].as_array().unwrap()), ["skipped", "inserted", "failed"]);
    let id = project.start(&json!({"upsert": true, "identifier": "email", "records": records})).await;
    let answer = project.completed(&id).await;
    assert_eq!(
        answer["summary"],
        json!({"total": 3, "inserted": 0, "updated": 2, "skipped": 0, "failed": 1})
    );
    assert_eq!(outcomes(answer["details"].as_array().unwrap()), ["updated", "updated", "failed"]);
}

#[tokio::test]
async fn skipped_has_the_id_of_the_user_that_exists_and_changes_nothing() {
    let project = Project::new().await;
    project.import(false, &[json!({"email": "one@example.com", "name": "Before"})]).await;
    let details = project.import(false, &[json!({"email": "one@example.com", "name": "After"})]).await;
    let user = project.user().await;
    assert_eq!((&details[0]["outcome"], &details[0]["user_id"]), (&json!("skipped"), &user["id"]));
    assert_eq!((&user["attributes"]["name"], &user["version"]), (&json!("Before"), &json!(1)));
}

#[tokio::test]
async fn updated_has_the_id_of_the_user() {
    let project = Project::new().await;
    let (user, detail) = project
        .update(json!({"email": "one@example.com"}), json!({"email": "one@example.com", "name": "J"}))
        .await;
    assert_eq!((&detail["outcome"], &detail["user_id"]), (&json!("updated"), &user["id"]));
}

#[tokio::test]
async fn identifier_in_any_case_finds_the_user_and_is_echoed_unchanged() {
    let project = Project::new().await;
    project.import(false, &[json!({"email": "Foo@X.example.com"})]).await;
    for upsert in [false, true] {
        let details =
            project.import(upsert, &[json!({"email": " fOO@x.EXAMPLE.com", "email_verified": true})]).await;
        assert_eq!(outcomes(&details), [if upsert { "updated" } else { "skipped" }]);
        assert_eq!(details[0]["record"]["email"], " fOO@x.EXAMPLE.com");
    }
    let user = project.user().await;
    assert_eq!(
        (&user["email"], &user["profile"]["email_verified"]),
        (&json!("foo@x.example.com"), &json!(true))
    );
}

#[tokio::test]
async fn username_in_any_case_finds_the_user() {
    let project = Project::new().await;
    project.import_by("preferred_username", false, &[json!({"preferred_username": "JDoe"})]).await;
    let details =
        project.import_by("preferred_username", false, &[json!({"preferred_username": "jdoe"})]).await;
    assert_eq!(outcomes(&details), ["skipped"]);
}

#[tokio::test]
async fn duplicates_are_inserted_then_skipped_in_input_order() {
    let project = Project::new().await;
    let records = [
        json!({"email": "one@example.com", "name": "First"}),
        json!({"email": "ONE@example.com", "name": "Last"}),
    ];
    let details = project.import(false, &records).await;
    assert_eq!(outcomes(&details), ["inserted", "skipped"]);
    assert_eq!(details[0]["user_id"], details[1]["user_id"]);
    assert_eq!(project.user().await["attributes"]["name"], "First");
}

#[tokio::test]
async fn duplicates_are_inserted_then_updated_and_the_last_wins() {
    let project = Project::new().await;
    let records = [
        json!({"email": "one@example.com", "name": "First"}),
        json!({"email": "ONE@example.com", "name": "Last"}),
    ];
    let details = project.import(true, &records).await;
    assert_eq!(outcomes(&details), ["inserted", "updated"]);
    assert_eq!(project.user().await["attributes"]["name"], "Last");
}

#[tokio::test]
async fn a_bad_record_fails_alone() {
    let project = Project::new().await;
    let records = [json!({"email": "a@example.com"}), json!({"email": 7}), json!({"email": "b@example.com"})];
    assert_eq!(outcomes(&project.import(false, &records).await), ["inserted", "failed", "inserted"]);
}

#[tokio::test]
async fn pending_shows_no_summary_no_details_and_no_end() {
    let project = Project::new().await;
    let id = project.start(&json!({"identifier": "email", "records": [{"email": "a@example.com"}]})).await;
    let answer: Value = project.get(&project.token(), &id).send().await.unwrap().json().await.unwrap();
    // It may have been completed already; what it shows fits its state all the same.
    let ended = answer["status"] == "completed";
    for name in ["summary", "details", "completed_at"] {
        assert_eq!(answer.get(name).is_some(), ended, "{answer}");
    }
    project.completed(&id).await;
}

#[tokio::test]
async fn secrets_are_redacted_and_nothing_else() {
    let project = Project::new().await;
    let password = json!({"type": "bcrypt", "password_hash": HASH, "expire_after": "2027-01-01T00:00:00Z"});
    let record = json!({
        "name": "J", "email": "one@example.com", "password": password,
        "mfa": {"email": "m@example.com", "phone_number": "+85298765432", "password": password,
                "totp": {"secret": "JBSWY3DPEHPK3PXP"}},
    });
    let details = project.import(false, &[record]).await;
    let hidden =
        json!({"type": "bcrypt", "password_hash": "REDACTED", "expire_after": "2027-01-01T00:00:00Z"});
    assert_eq!(
        details[0]["record"],
        json!({"name": "J", "email": "one@example.com", "password": hidden,
               "mfa": {"email": "m@example.com", "phone_number": "+85298765432", "password": hidden,
                       "totp": {"secret": "REDACTED"}}})
    );
}

#[tokio::test]
async fn secrets_of_another_type_are_redacted_whole() {
    let project = Project::new().await;
    let records = [
        json!({"email": "a@example.com", "password": "hunter2"}),
        json!({"email": "b@example.com", "mfa": ["hunter2"]}),
        json!({"email": "c@example.com", "mfa": {"password": "hunter2", "totp": 7}}),
        json!({"email": "d@example.com", "password": null}),
    ];
    let details = project.import(false, &records).await;
    assert_eq!(outcomes(&details), ["failed"; 4]);
    assert_eq!(details[0]["record"]["password"], "REDACTED");
    assert_eq!(details[1]["record"]["mfa"], "REDACTED");
    assert_eq!(details[2]["record"]["mfa"], json!({"password": "REDACTED", "totp": "REDACTED"}));
    assert_eq!(details[3]["record"]["password"], Value::Null);
    assert!(!Value::from(details).to_string().contains("hunter2"));
}

#[tokio::test]
async fn keys_of_a_record_come_back_sorted() {
    let project = Project::new().await;
    let body = r#"{"identifier":"email","records":[{"name":"N","email":"a@example.com","address":{"region":"R","country":"C"}}]}"#;
    let id = project.start_text(body).await;
    project.completed(&id).await;
    let text = project.get(&project.token(), &id).send().await.unwrap().text().await.unwrap();
    let sorted = r#"{"address":{"country":"C","region":"R"},"email":"a@example.com","name":"N"}"#;
    assert!(text.contains(sorted), "{text}");
}

#[tokio::test]
async fn no_users_value_is_in_the_errors_but_where_the_contract_has_it() {
    let project = Project::new().await;
    let marker = "marker-4711";
    let record = json!({"email": format!("{marker} @example.com"), "phone_number": marker, "website": marker,
                        "birthdate": marker, "zoneinfo": marker, "locale": marker});
    let details = project.import(false, &[record]).await;
    assert!(!details[0]["errors"].to_string().contains(marker));
}
