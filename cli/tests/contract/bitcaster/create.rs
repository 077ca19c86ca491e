//! C.1.3: create or enrol.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Desk, keys, path};

const USERS: &str = "/api/v1/user/my-org/";

#[tokio::test]
async fn a_new_user_is_201_with_its_fields() {
    let desk = Desk::new().await;
    let body = json!({"email": "user@company.com", "first_name": "John", "last_name": "Doe",
                      "custom_fields": {"external_id": "12345", "role": "editor"}});
    let created = desk.post(USERS, body).await.is(201);
    assert_eq!(keys(&created), ["custom_fields", "email", "first_name", "id", "last_name", "username"]);
    assert_eq!(created["email"], "user@company.com");
    assert_eq!(created["username"], "user@company.com");
    assert_eq!((&created["first_name"], &created["last_name"]), (&json!("John"), &json!("Doe")));
    assert_eq!(created["custom_fields"], json!({"external_id": "12345", "role": "editor"}));
    let user = desk.only_user().await;
    assert_eq!(created["id"], user["id"]);
    assert_eq!(user["metadata"], created["custom_fields"]);
}

#[tokio::test]
async fn an_existing_user_is_200_and_no_field_changes() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "a@example.com", "first_name": "Ann", "custom_fields": {"k": 1}})).await;
    let before = desk.only_user().await;
    let again = json!({"email": "a@example.com", "first_name": "X", "last_name": "Y", "custom_fields": {"k": 2, "z": 3}});
    let answered = desk.post(USERS, again).await.is(200);
    assert_eq!((&answered["first_name"], &answered["last_name"]), (&json!("Ann"), &json!("")));
    assert_eq!(answered["custom_fields"], json!({"k": 1}));
    assert_eq!(desk.only_user().await, before, "not even the version");
}

#[tokio::test]
async fn an_existing_user_is_enrolled_in_another_organization() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "a@example.com"})).await;
    desk.get("/api/o/other/u/a@example.com/").await.is(404);
    desk.post("/api/o/other/u/", json!({"email": "a@example.com"})).await.is(200);
    desk.get("/api/o/other/u/a@example.com/").await.is(200);
    let default = |slug: &str| (slug.to_owned(), "Default".to_owned());
    assert_eq!(desk.memberships().await, [default("my-org"), default("other")]);
}

#[tokio::test]
async fn the_default_group_is_created_once() {
    let desk = Desk::new().await;
    let bodies = (0..8).map(|at| desk.post(USERS, json!({"email": format!("u{at}@example.com")})));
    assert!(join_all(bodies).await.iter().all(|answer| answer.status == 201));
    let groups = muster_store::catalog::get(&desk.tenant.store, desk.tenant.id).await.unwrap().groups;
    assert_eq!(groups, ["Default"]);
    assert_eq!(desk.memberships().await.len(), 8);
}

#[tokio::test]
async fn the_default_address_is_ensured() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "A@Example.com"})).await;
    let addresses = desk.get(&format!("{}addresses/", path("a@example.com"))).await.is(200);
    assert_eq!(addresses, json!([{"value": "a@example.com", "type": "email", "name": "email"}]));
}

#[tokio::test]
async fn an_existing_user_without_the_address_gets_it_and_no_field_changes() {
    let desk = Desk::new().await;
    let mut connection = desk.tenant.store.connection().await.unwrap();
    sqlx::query("insert into users (id, tenant_id, email, given_name) values (gen_random_uuid(), $1, 'a@example.com', 'Ann')")
        .bind(desk.tenant.id.get())
        .execute(&mut connection)
        .await
        .unwrap();
    let answered = desk.post(USERS, json!({"email": "a@example.com", "first_name": "X"})).await.is(200);
    assert_eq!(answered["first_name"], "Ann");
    let addresses = desk.get(&format!("{}addresses/", path("a@example.com"))).await.is(200);
    assert_eq!(addresses[0]["name"], "email");
}

#[tokio::test]
async fn an_address_named_email_with_another_value_stays() {
    let desk = Desk::new().await;
    let mut connection = desk.tenant.store.connection().await.unwrap();
    sqlx::query(
        r#"insert into users (id, tenant_id, email, profile) values (gen_random_uuid(), $1, 'a@example.com',
           '{"addresses": {"email": {"type": "email", "value": "other@example.com"}}}')"#,
    )
    .bind(desk.tenant.id.get())
    .execute(&mut connection)
    .await
    .unwrap();
    desk.post(USERS, json!({"email": "a@example.com"})).await.is(200);
    let addresses = desk.get(&format!("{}addresses/", path("a@example.com"))).await.is(200);
    assert_eq!(addresses, json!([{"value": "other@example.com", "type": "email", "name": "email"}]));
}

#[tokio::test]
async fn email_is_required_valid_and_normalised() {
    let desk = Desk::new().await;
    for (body, sentence) in [
        (json!({}), "This field is required."),
        (json!({"email": null}), "This field may not be null."),
        (json!({"email": " "}), "This field may not be blank."),
        (json!({"email": "nobody"}), "Enter a valid email address."),
        (json!({"email": 5}), "Enter a valid email address."),
        (json!({"email": {"a": 1}}), "Not a valid string."),
        (json!({"email": true}), "Not a valid string."),
        (
            json!({"email": format!("{}@{}.com", "a".repeat(60), "b".repeat(60) + "." + &"c".repeat(60))}),
            "Ensure this field has no more than 150 characters.",
        ),
    ] {
        let refused = desk.post(USERS, body.clone()).await.is(400);
        assert_eq!(refused, json!({"email": [sentence]}), "{body}");
    }
    let created = desk.post(USERS, json!({"email": "  Mario.Rossi@EXAMPLE.com "})).await.is(201);
    assert_eq!(created["email"], "mario.rossi@example.com");
    desk.post(USERS, json!({"email": "mario.rossi@example.com"})).await.is(200);
}

#[tokio::test]
async fn names_may_be_blank_and_have_a_limit() {
    let desk = Desk::new().await;
    let created = desk.user(json!({"email": "a@example.com", "first_name": "", "last_name": "  "})).await;
    assert_eq!((&created["first_name"], &created["last_name"]), (&json!(""), &json!("")));
    let long = json!({"email": "b@example.com", "first_name": "é".repeat(150), "last_name": "é".repeat(151)});
    let refused = desk.post(USERS, long).await.is(400);
    assert_eq!(refused, json!({"last_name": ["Ensure this field has no more than 150 characters."]}));
    desk.user(json!({"email": "b@example.com", "first_name": "é".repeat(150), "last_name": 7})).await;
    let refused = desk
        .post(USERS, json!({"email": "c@example.com", "first_name": null, "last_name": true}))
        .await
        .is(400);
    assert_eq!(
        refused,
        json!({"first_name": ["This field may not be null."], "last_name": ["Not a valid string."]})
    );
}

#[tokio::test]
async fn custom_fields_null_is_absent_and_others_are_objects() {
    let desk = Desk::new().await;
    for (at, fields) in [json!(null), json!({})].into_iter().enumerate() {
        let created =
            desk.user(json!({"email": format!("u{at}@example.com"), "custom_fields": fields})).await;
        assert_eq!(created["custom_fields"], json!({}));
    }
    let deep =
        json!({"a": {"b": [1, 2.5, null, {"c": "\u{1f600}"}]}, "n": null, "big": 12345678901234567u64});
    let created = desk.user(json!({"email": "deep@example.com", "custom_fields": deep})).await;
    assert_eq!(created["custom_fields"], deep);
    for fields in [json!([1]), json!("text"), json!("{}"), json!(5), json!(true)] {
        let refused =
            desk.post(USERS, json!({"email": "x@example.com", "custom_fields": fields})).await.is(400);
        assert_eq!(refused, json!({"custom_fields": ["Expected a dictionary of items."]}), "{fields}");
    }
}

#[tokio::test]
async fn id_and_username_are_read_only_and_unknown_keys_ignored() {
    let desk = Desk::new().await;
    let id = "0190a5f0-7b7c-7000-8000-000000000001";
    let created = desk
        .user(json!({"id": id, "username": "root", "email": "a@example.com", "is_superuser": true, "password": "x",
                     "locked": true, "custom__x": 1}))
        .await;
    assert_ne!(created["id"], id);
    assert_eq!(created["username"], "a@example.com");
    assert_eq!(desk.get(&path("a@example.com")).await.is(200)["locked"], false);
    assert_eq!(desk.only_user().await["metadata"], Value::Null);
}

#[tokio::test]
async fn malformed_json_is_told() {
    let desk = Desk::new().await;
    for body in
        ["{\"email\": ", "{\"email\": \"a@example.com\",}", "{\"email\": \"\\ud800@example.com\"}", "{} x"]
    {
        let request = desk.request(reqwest::Method::POST, USERS, &format!("Key {}", desk.token));
        let refused = super::answer(request.body(body)).await.is(400);
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.starts_with("JSON parse error - ") && !detail.contains("example.com"), "{detail}");
    }
}

#[tokio::test]
async fn posts_of_one_new_user_at_once_make_one_user_and_no_error() {
    let desk = Desk::new().await;
    for round in 0..5 {
        let body = json!({"email": format!("u{round}@example.com"), "first_name": "Ann"});
        let answers = join_all((0..20).map(|_| desk.post(USERS, body.clone()))).await;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        let (last, others) = statuses.split_last().unwrap();
        assert_eq!((*last, others.iter().all(|status| *status == 200)), (201, true), "{statuses:?}");
        assert!(answers.iter().all(|answer| answer.json["id"] == answers[0].json["id"]));
    }
    let users = desk.tenant.users().await;
    assert_eq!(users.len(), 5);
    assert!(users.iter().all(|user| user["version"] == 1));
}

/// What Django's own rules would take.
#[tokio::test]
async fn what_one_rule_for_all_front_doors_refuses() {
    let desk = Desk::new().await;
    let with = |name: &str, value: Value| {
        let mut body = json!({"email": "a@example.com"});
        body[name] = value;
        body
    };
    for (name, value) in [
        ("first_name", json!("Ann\nLee")),
        ("last_name", json!("L\u{200b}ee")),
        ("email", json!("user@localhost")),
        ("email", json!("\"a b\"@example.com")),
    ] {
        let told = desk.post(USERS, with(name, value)).await.is(400);
        assert!(told[name][0].is_string() && keys(&told) == [name], "{told}");
    }
    let told = desk.post(USERS, with("custom_fields", json!({"k": "x".repeat(70_000)}))).await.is(400);
    assert_eq!(keys(&told), ["custom_fields"]);
    let told = desk.post(USERS, with("custom_fields", json!({"k": "x".repeat(2_000_000)}))).await.is(413);
    assert_eq!(keys(&told), ["detail"]);
    assert!(desk.tenant.users().await.is_empty());
}
