//! What differs on purpose (docs/front-doors/authgear.md) and has no row in the other modules.

use serde_json::{Value, json};

use super::project::{HASH, Project, causes, error};

async fn outcome(project: &Project, record: Value) -> Value {
    project.import(true, &[record]).await.remove(0)
}

#[tokio::test]
async fn argon2id_hashes_are_taken_and_bcrypt_costs_have_a_limit() {
    let project = Project::new().await;
    let argon =
        "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    let with = |kind: &str, hash: &str, at: &str| json!({"email": at, "password": {"type": kind, "password_hash": hash}});
    let taken = outcome(&project, with("argon2id", argon, "a@example.com")).await;
    assert_eq!(taken["outcome"], "inserted", "{taken}");
    assert_eq!(project.secrets().await.unwrap()[0].as_deref(), Some(argon));
    let dear = outcome(&project, with("bcrypt", &HASH.replacen("$10$", "$16$", 1), "b@example.com")).await;
    assert_eq!(dear["outcome"], "failed", "{dear}");
}

#[tokio::test]
async fn roles_are_compared_without_regard_to_case() {
    let project = Project::with_catalog().await;
    let taken = outcome(&project, json!({"email": "a@example.com", "roles": ["ADMIN"]})).await;
    assert_eq!(
        (&taken["outcome"], project.names("roles").await),
        (&json!("inserted"), vec!["admin".to_owned()])
    );
}

#[tokio::test]
async fn names_have_a_limit_and_hold_nothing_invisible() {
    let project = Project::new().await;
    for (name, kind) in [
        ("a".repeat(257), "maxLength"),
        ("a\u{200b}b".into(), "general"),
        ("a\u{7}b".into(), "general"),
        ("a\0b".into(), "general"),
    ] {
        let failed = outcome(&project, json!({"email": "a@example.com", "name": name})).await;
        assert_eq!(causes(&failed["errors"][0]), [("/name", kind)], "{failed}");
    }
    let longest = outcome(&project, json!({"email": "a@example.com", "name": "a".repeat(256)})).await;
    assert_eq!(longest["outcome"], "inserted");
}

#[tokio::test]
async fn bytes_that_are_not_utf_8_and_two_lists_of_records_are_invalid_json() {
    let project = Project::new().await;
    for body in [
        &b"{\"identifier\":\"email\",\"records\":[{\"email\":\"a@example.com\",\"name\":\"J\xfcrgen\"}]}"[..],
        br#"{"identifier":"email","records":[{"email":"a@example.com"}],"records":[{"email":"b@example.com"}]}"#,
    ] {
        let (status, told) = error(project.send(body).await).await;
        assert_eq!((status, &told["reason"]), (400, &json!("InvalidJSON")), "{told}");
    }
    assert!(project.tenant.users().await.is_empty());
}

#[tokio::test]
async fn unknown_keys_that_look_like_secrets_are_hidden() {
    let project = Project::new().await;
    let record =
        json!({"email": "a@example.com", "pasword": "kept", "passwordd": "hunter2", "my_hash": "hunter2"});
    let failed = outcome(&project, record).await;
    assert_eq!(failed["outcome"], "failed");
    let seen =
        json!({"email": "a@example.com", "pasword": "kept", "passwordd": "REDACTED", "my_hash": "REDACTED"});
    assert_eq!(failed["record"], seen);
}
