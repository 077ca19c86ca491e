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
async fn a_username_in_another_case_and_a_domain_in_punycode_find_the_user() {
    let project = Project::new().await;
    for (identifier, first, again) in
        [("preferred_username", "JDoe", "jdoe"), ("email", "a@例子.com", "A@xn--fsqu00a.com")]
    {
        let inserted = project.import_by(identifier, false, &[json!({identifier: first})]).await;
        assert_eq!(outcomes(&inserted), ["inserted"], "{first}: {inserted:?}");
        let found = project.import_by(identifier, false, &[json!({identifier: again})]).await;
        assert_eq!(outcomes(&found), ["skipped"], "{again}");
    }
}

#[tokio::test]
async fn phone_number_finds_the_user() {
    let project = Project::new().await;
    let record = |name: &str| json!({"phone_number": "+85298765432", "name": name});
    let inserted = project.import_by("phone_number", false, &[record("J")]).await;
    assert_eq!(outcomes(&inserted), ["inserted"]);
    for (upsert, outcome) in [(false, "skipped"), (true, "updated")] {
        let found = project.import_by("phone_number", upsert, &[record("K")]).await;
        assert_eq!((outcomes(&found), &found[0]["user_id"]), (vec![outcome], &inserted[0]["user_id"]));
    }
}

/// They are in different chunks.
#[tokio::test]
async fn duplicates_far_apart_come_out_in_input_order() {
    for (upsert, outcome, name) in [(false, "skipped", "First"), (true, "updated", "Last")] {
        let project = Project::new().await;
        let mut records: Vec<Value> =
            (0..5_000).map(|at| json!({"email": format!("u{at}@example.com")})).collect();
        records[0] = json!({"email": "one@example.com", "name": "First"});
        records[4_999] = json!({"email": "ONE@example.com", "name": "Last"});
        let details = project.import(upsert, &records).await;
        assert_eq!(
            (&details[0]["outcome"], &details[4_999]["outcome"]),
            (&json!("inserted"), &json!(outcome))
        );
        let users = project.tenant.users().await;
        let one = users.iter().find(|user| user["email"] == "one@example.com").unwrap();
        assert_eq!(one["attributes"]["name"], name);
    }
}

/// Authgear never looks at what it would not use.
#[tokio::test]
async fn a_record_is_judged_whole_whatever_of_it_would_be_used() {
    let project = Project::with_catalog().await;
    let password = json!({"type": "bcrypt", "password_hash": HASH});
    project.import(false, &[json!({"email": "ex@example.com", "password": password})]).await;
    for defect in [
        json!({"email": "ex@example.com", "roles": ["nobody"]}),
        json!({"email": "ex@example.com", "preferred_username": "a b"}),
        json!({"email": "ex@example.com", "password": {"type": "bcrypt", "password_hash": "$1$x"}}),
        json!({"email": "ex@example.com", "mfa": {"totp": {"secret": "secret"}}}),
    ] {
        for upsert in [false, true] {
            assert_eq!(
                outcomes(&project.import(upsert, std::slice::from_ref(&defect)).await),
                ["failed"],
                "{defect}"
            );
        }
    }
    let user = project.user().await;
    assert_eq!((&user["version"], project.secrets().await.unwrap()[0].as_deref()), (&json!(1), Some(HASH)));
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
