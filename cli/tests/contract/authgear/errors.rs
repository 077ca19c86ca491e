//! A.2.4 and A.2.5: errors of a request, and the one error of a failed record.

use serde_json::{Value, json};

use super::project::{HASH, Project, causes, error};

#[tokio::test]
async fn malformed_json_tells_its_byte() {
    let project = Project::new().await;
    for (body, offset) in [("", 0), ("{", 1), ("{\"identifier\":\"email\",}", 23), ("{}x", 3)] {
        let (status, error) = error(project.send(body).await).await;
        assert_eq!(status, 400);
        assert_eq!((&error["name"], &error["reason"]), (&json!("BadRequest"), &json!("InvalidJSON")));
        assert_eq!(error["info"]["byte_offset"], offset, "{body}: {error}");
    }
}

#[tokio::test]
async fn half_a_surrogate_pair_is_malformed_json() {
    let project = Project::new().await;
    let body = r#"{"identifier":"email","records":[{"email":"a@example.com","name":"\ud800"}]}"#;
    let (status, error) = error(project.send(body).await).await;
    assert_eq!((status, &error["reason"]), (400, &json!("InvalidJSON")));
    assert!(project.tenant.users().await.is_empty());
}

#[tokio::test]
async fn unknown_id_is_task_not_found() {
    let project = Project::new().await;
    for id in ["userimport_4WZ0V7EPT4GZ2ABVN03QXYZ122W835C1", "task_1", "x", "%FF", "%00"] {
        let (status, error) = error(project.get(&project.token(), id).send().await.unwrap()).await;
        assert_eq!(status, 404);
        assert_eq!(
            error,
            json!({"name": "NotFound", "reason": "TaskNotFound", "message": "task not found", "code": 404})
        );
    }
}

/// The error of the last of these records, which fails.
async fn failing(project: &Project, upsert: bool, records: &[Value]) -> Value {
    let mut details = project.import(upsert, records).await;
    let last = details.pop().unwrap();
    assert_eq!(last["outcome"], "failed", "{last}");
    last["errors"][0].clone()
}

fn assert_error(error: &Value, name: &str, reason: &str, code: u16) {
    assert_eq!(
        (&error["name"], &error["reason"], &error["code"]),
        (&json!(name), &json!(reason), &json!(code))
    );
    assert!(!error["message"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn schema_violations_are_told_all_at_once_sorted() {
    let project = Project::new().await;
    let record = json!({"email": "bad", "name": "", "zoneinfo": 7, "more": 1,
                        "password": {"type": "x"}, "mfa": {"totp": {}, "password": {"unknown": 1}}});
    let error = failing(&project, false, &[record]).await;
    assert_error(&error, "Invalid", "ValidationFailed", 400);
    assert_eq!(error["message"], "invalid value");
    let expected = [
        ("/email", "format"),
        ("/mfa/password", "required"),
        ("/mfa/password/unknown", ""),
        ("/mfa/totp", "required"),
        ("/more", ""),
        ("/name", "minLength"),
        ("/password", "required"),
        ("/password/type", "enum"),
        ("/zoneinfo", "type"),
    ];
    assert_eq!(causes(&error), expected);
    assert_eq!(
        error["info"]["causes"][1]["details"],
        json!({"actual": ["unknown"], "expected": ["password_hash", "type"], "missing": ["password_hash", "type"]})
    );
    assert_eq!(
        error["info"]["causes"][8]["details"],
        json!({"actual": ["integer", "number"], "expected": ["null", "string"]})
    );
}

#[tokio::test]
async fn login_id_too_long_reserved_or_of_other_characters() {
    let project = Project::new().await;
    let long = "x".repeat(41);
    for (name, kind) in [
        (long.as_str(), "maxLength"),
        ("admin", "blocked"),
        ("j doe", "format"),
        ("jdöe", "format"),
        ("ｊdoe", "format"),
    ] {
        let record = json!({"email": "one@example.com", "preferred_username": name});
        let error = failing(&project, false, &[record]).await;
        assert_error(&error, "Invalid", "ValidationFailed", 400);
        assert_eq!(error["message"], "invalid login ID");
        assert_eq!(causes(&error), [("/login_id", kind)], "{name}");
    }
}

#[tokio::test]
async fn identity_of_another_user() {
    let project = Project::new().await;
    project
        .import(false, &[json!({"email": "one@example.com", "phone_number": "+85298765432", "preferred_username": "one"})])
        .await;
    project.import(false, &[json!({"email": "two@example.com"})]).await;
    for upsert in [false, true] {
        let email = if upsert { "two@example.com" } else { "new@example.com" };
        for (field, value, kind) in
            [("phone_number", "+85298765432", "phone"), ("preferred_username", "ONE", "username")]
        {
            let error = failing(&project, upsert, &[json!({"email": email, field: value})]).await;
            assert_error(&error, "Invalid", "InvariantViolated", 400);
            assert_eq!(error["message"], "identity already exists");
            assert_eq!(
                error["info"],
                json!({"cause": {"kind": "DuplicatedIdentity"},
                       "IdentityTypeIncoming": "login_id", "LoginIDTypeIncoming": kind,
                       "IdentityTypeExisting": "login_id", "LoginIDTypeExisting": kind})
            );
        }
    }
    let record = json!({"preferred_username": "new", "email": "one@example.com"});
    let detail = project.import_by("preferred_username", false, &[record]).await.remove(0);
    assert_eq!(detail["errors"][0]["info"]["LoginIDTypeIncoming"], "email");
    assert_eq!(project.tenant.users().await.len(), 2);
}

#[tokio::test]
async fn unknown_role_keys_are_all_listed() {
    let project = Project::with_catalog().await;
    let record = json!({"email": "one@example.com", "roles": ["ghost", "admin", "spook"]});
    let error = failing(&project, false, &[record]).await;
    assert_error(&error, "NotFound", "RoleUnknownKeys", 404);
    assert_eq!(
        (&error["message"], &error["info"]),
        (&json!("unknown role keys"), &json!({"keys": ["ghost", "spook"]}))
    );
}

#[tokio::test]
async fn unknown_group_keys_are_all_listed() {
    let project = Project::with_catalog().await;
    let record = json!({"email": "one@example.com", "groups": ["staff", "ghost"]});
    let error = failing(&project, false, &[record]).await;
    assert_error(&error, "NotFound", "GroupUnknownKeys", 404);
    assert_eq!(
        (&error["message"], &error["info"]),
        (&json!("unknown group keys"), &json!({"keys": ["ghost"]}))
    );
}

#[tokio::test]
async fn bad_bcrypt_hash() {
    let project = Project::new().await;
    for hash in ["hunter2", "$2a$10$short", "$1$salt$hash", &HASH.replacen("$10$", "$31$", 1)] {
        let password = json!({"type": "bcrypt", "password_hash": hash});
        for record in [
            json!({"email": "one@example.com", "password": password}),
            json!({"email": "one@example.com", "mfa": {"password": password}}),
        ] {
            let error = failing(&project, false, &[record]).await;
            assert_error(&error, "Invalid", "InvalidBcryptHash", 400);
            assert!(!error.to_string().contains(hash));
        }
    }
}

#[tokio::test]
async fn bad_totp_secret() {
    let project = Project::new().await;
    for secret in ["secret", "JBSWY3DPEHPK3PXP====", "JBSWY3D1"] {
        let record = json!({"email": "one@example.com", "mfa": {"totp": {"secret": secret}}});
        assert_error(&failing(&project, false, &[record]).await, "Invalid", "InvalidTOTPSecret", 400);
    }
}

#[tokio::test]
async fn what_is_wrong_with_mfa_is_told_before_a_bad_secret() {
    let project = Project::new().await;
    let record = json!({"email": "one@example.com", "mfa": {"totp": {"secret": "bad", "digits": 8}}});
    let error = failing(&project, false, &[record]).await;
    assert_eq!(causes(&error), [("/mfa/totp/digits", "")]);
}

#[tokio::test]
async fn a_taken_identity_is_told_before_a_period_that_ends_before_it_begins() {
    let project = Project::new().await;
    project.import(false, &[json!({"email": "one@example.com", "preferred_username": "one"})]).await;
    let record = json!({"email": "two@example.com", "preferred_username": "one",
                        "account_valid_from": "2027-01-01T00:00:00Z", "account_valid_until": "2026-01-01T00:00:00Z"});
    assert_eq!(failing(&project, false, &[record]).await["reason"], "InvariantViolated");
}

#[tokio::test]
async fn custom_attribute_beyond_its_definition() {
    let project = Project::with_catalog().await;
    let record = json!({"email": "one@example.com", "custom_attributes": {"level": 12}});
    let error = failing(&project, false, &[record]).await;
    assert_error(&error, "Invalid", "ValidationFailed", 400);
    assert_eq!(
        error["info"]["causes"],
        json!([{"location": "/custom_attributes/level", "kind": "maximum", "details": {"actual": 12, "maximum": 9}}])
    );
}

#[tokio::test]
async fn validity_that_ends_before_it_begins() {
    let project = Project::new().await;
    let record = json!({"email": "one@example.com", "account_valid_from": "2027-01-01T00:00:00Z",
                        "account_valid_until": "2026-01-01T00:00:00Z"});
    let error = failing(&project, false, &[record]).await;
    assert_error(&error, "Invalid", "InvalidAccountStatusTransition", 400);
    assert_eq!(
        error["message"],
        "the start timestamp of account valid period must be less than the end timestamp of the account valid period"
    );
    assert_eq!(error["info"]["cause"]["kind"], "AccountValidFromShouldBeBeforeAccountValidUntil");
}

#[tokio::test]
async fn a_failed_record_leaves_nothing_behind() {
    let project = Project::with_catalog().await;
    let first = json!({"email": "one@example.com", "name": "Before", "roles": ["admin"]});
    let bad = json!({"email": "one@example.com", "name": "After", "roles": ["ghost"], "disabled": true});
    let (user, detail) = project.update(first, bad).await;
    assert_eq!(detail["outcome"], "failed");
    assert_eq!((&user["attributes"]["name"], &user["version"]), (&json!("Before"), &json!(1)));
    assert_eq!(project.names("roles").await, ["admin"]);
}

#[tokio::test]
async fn a_key_that_stands_twice_is_told() {
    let project = Project::new().await;
    let body = r#"{"identifier":"email","records":[{"email":"a@example.com","name":"A","name":"B"},{"email":"b@example.com"}]}"#;
    let id = project.start_text(body).await;
    let answer = project.completed(&id).await;
    assert_eq!(causes(&answer["details"][0]["errors"][0]), [("/name", "general")]);
    assert_eq!(answer["details"][1]["outcome"], "inserted");
}

/// Authgear tells of the identity.
#[tokio::test]
async fn what_the_file_alone_shows_is_told_before_what_other_users_have() {
    let project = Project::with_catalog().await;
    project.import(false, &[json!({"email": "a@example.com", "preferred_username": "jdoe"})]).await;
    for (field, value, reason) in [
        ("custom_attributes", json!({"level": 99}), "ValidationFailed"),
        ("roles", json!(["ghost"]), "RoleUnknownKeys"),
        ("password", json!({"type": "bcrypt", "password_hash": "hunter2"}), "InvalidBcryptHash"),
    ] {
        let record = json!({"email": "b@example.com", "preferred_username": "jdoe", field: value});
        let detail = project.import(false, &[record]).await.remove(0);
        assert_eq!(detail["errors"][0]["reason"], reason, "{detail}");
    }
}
