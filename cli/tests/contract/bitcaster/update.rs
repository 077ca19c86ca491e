//! docs/contracts/bitcaster.md C.1.4: PUT and PATCH.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Desk, answer, keys, path};

const ANN: &str = "ann@example.com";

async fn ann() -> Desk {
    let desk = Desk::new().await;
    desk.user(json!({"email": ANN, "first_name": "Ann", "last_name": "Lee", "custom_fields": {"k": 1}}))
        .await;
    desk
}

#[tokio::test]
async fn an_update_answers_the_user_as_it_is_now() {
    let desk = ann().await;
    let body = json!({"first_name": "John", "last_name": "Doe", "locked": true, "custom_fields": {"office": "London"}});
    let answered = desk.patch(&path(ANN), body).await.is(200);
    assert_eq!(keys(&answered), ["_mode", "custom_fields", "first_name", "last_name", "locked"]);
    assert_eq!(
        answered,
        json!({"first_name": "John", "last_name": "Doe", "locked": true,
               "custom_fields": {"k": 1, "office": "London"}, "_mode": "merge"})
    );
    let user = desk.only_user().await;
    assert_eq!((&user["given_name"], &user["profile"]["locked"]), (&json!("John"), &json!(true)));
    assert_eq!(user["version"], 2);
}

#[tokio::test]
async fn put_and_patch_are_the_same_and_absent_is_unchanged() {
    let desk = ann().await;
    for method in [Method::PUT, Method::PATCH] {
        let answered = desk.send(method, &path(ANN), Some(json!({"last_name": "May"}))).await.is(200);
        assert_eq!((&answered["first_name"], &answered["last_name"]), (&json!("Ann"), &json!("May")));
        assert_eq!((&answered["locked"], &answered["custom_fields"]), (&json!(false), &json!({"k": 1})));
    }
    assert_eq!(desk.only_user().await["version"], 2, "the second one changed nothing");
    desk.send(Method::PUT, &path(ANN), Some(json!({}))).await.is(200);
    assert_eq!(desk.only_user().await["version"], 2);
}

#[tokio::test]
async fn locked_is_a_boolean_in_any_spelling() {
    let desk = ann().await;
    for (value, locked) in [
        (json!(true), true),
        (json!(false), false),
        (json!("True"), true),
        (json!(0), false),
        (json!("on"), true),
    ] {
        let answered = desk.patch(&path(ANN), json!({"locked": value})).await.is(200);
        assert_eq!(answered["locked"], locked, "{value}");
        assert_eq!(desk.get(&path(ANN)).await.is(200)["locked"], locked);
    }
    for (value, sentence) in [
        (json!("maybe"), "Must be a valid boolean."),
        (json!([]), "Must be a valid boolean."),
        (json!(null), "This field may not be null."),
    ] {
        assert_eq!(
            desk.patch(&path(ANN), json!({"locked": value})).await.is(400),
            json!({"locked": [sentence]})
        );
    }
}

#[tokio::test]
async fn a_form_without_locked_leaves_it() {
    let desk = ann().await;
    desk.patch(&path(ANN), json!({"locked": true})).await.is(200);
    let request = desk.request(Method::PUT, &path(ANN), &format!("Key {}", desk.token));
    let request = request.header("content-type", "application/x-www-form-urlencoded").body("first_name=Eve");
    let answered = answer(request).await.is(200);
    assert_eq!((&answered["first_name"], &answered["locked"]), (&json!("Eve"), &json!(true)));
}

#[tokio::test]
async fn email_and_username_cannot_be_changed() {
    let desk = ann().await;
    let body = json!({"email": "eve@example.com", "username": "eve", "id": 1, "first_name": "Eve"});
    desk.patch(&path(ANN), body).await.is(200);
    let user = desk.only_user().await;
    assert_eq!((&user["email"], &user["preferred_username"]), (&json!(ANN), &Value::Null));
    desk.get(&path("eve@example.com")).await.is(404);
}

#[tokio::test]
async fn an_invalid_mode_is_told() {
    let desk = ann().await;
    for (mode, sentence) in [
        (json!("x"), "\"x\" is not a valid choice."),
        (json!(""), "\"\" is not a valid choice."),
        (json!(5), "\"5\" is not a valid choice."),
        (json!(null), "This field may not be null."),
    ] {
        let body = json!({"_mode": mode, "custom_fields": {"k": 2}});
        assert_eq!(desk.patch(&path(ANN), body).await.is(400), json!({"_mode": [sentence]}));
    }
    assert_eq!(desk.only_user().await["metadata"], json!({"k": 1}));
}

#[tokio::test]
async fn a_mode_may_be_in_any_case_and_replace_is_rewrite() {
    let desk = ann().await;
    for (mode, told) in [
        ("MERGE", "merge"),
        ("Override", "override"),
        ("REPLACE", "rewrite"),
        ("replace", "rewrite"),
        ("IGNORE", "ignore"),
    ] {
        let answered =
            desk.patch(&path(ANN), json!({"_mode": mode, "custom_fields": {"z": 1}})).await.is(200);
        assert_eq!(answered["_mode"], told);
    }
    assert_eq!(desk.only_user().await["metadata"], json!({"z": 1}));
}

#[tokio::test]
async fn without_a_mode_each_prefix_does_as_its_clients_expect() {
    let desk = ann().await;
    let body = json!({"custom_fields": {"z": 2}});
    let ignored = desk.patch("/api/o/my-org/u/ann@example.com/", body.clone()).await.is(200);
    assert_eq!((&ignored["_mode"], &ignored["custom_fields"]), (&json!("ignore"), &json!({"k": 1})));
    let merged = desk.patch("/api/v1/user/my-org/ann@example.com/", body).await.is(200);
    assert_eq!((&merged["_mode"], &merged["custom_fields"]), (&json!("merge"), &json!({"k": 1, "z": 2})));
}

#[tokio::test]
async fn a_blank_name_removes_it_and_null_is_refused() {
    let desk = ann().await;
    let answered = desk.patch(&path(ANN), json!({"first_name": ""})).await.is(200);
    assert_eq!((&answered["first_name"], &answered["last_name"]), (&json!(""), &json!("Lee")));
    let refused = desk.patch(&path(ANN), json!({"last_name": null})).await.is(400);
    assert_eq!(refused, json!({"last_name": ["This field may not be null."]}));
    let refused = desk.patch(&path(ANN), json!({"last_name": "x".repeat(151)})).await.is(400);
    assert_eq!(refused, json!({"last_name": ["Ensure this field has no more than 150 characters."]}));
}

#[tokio::test]
async fn custom_fields_that_are_no_object_are_400() {
    let desk = ann().await;
    for mode in ["merge", "remove", "override", "rewrite"] {
        for fields in [json!([1]), json!("k"), json!(1)] {
            let refused =
                desk.patch(&path(ANN), json!({"_mode": mode, "custom_fields": fields})).await.is(400);
            assert_eq!(refused, json!({"custom_fields": ["Expected a dictionary of items."]}));
        }
        // Null says nothing, as in a POST.
        desk.patch(&path(ANN), json!({"_mode": mode, "custom_fields": null})).await.is(200);
    }
    desk.patch(&path(ANN), json!({"_mode": "ignore", "custom_fields": [1]})).await.is(200);
    assert_eq!(desk.only_user().await["metadata"], json!({"k": 1}));
}

#[tokio::test]
async fn who_is_no_member_is_404() {
    let desk = ann().await;
    let not_found = json!({"detail": "Not found."});
    for path in [path("nobody@example.com"), path("nobody"), "/api/o/other/u/ann@example.com/".into()] {
        assert_eq!(desk.patch(&path, json!({"first_name": "X"})).await.is(404), not_found, "{path}");
        assert_eq!(desk.get(&path).await.is(404), not_found);
    }
    assert_eq!(desk.only_user().await["given_name"], "Ann");
}

#[tokio::test]
async fn patches_of_one_user_at_once_all_count() {
    let desk = ann().await;
    let bodies = (0..16).map(|at| json!({"custom_fields": {format!("key{at}"): at}, "_mode": "merge"}));
    let user = path(ANN);
    let answers = join_all(bodies.map(|body| desk.patch(&user, body))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let user = desk.only_user().await;
    assert_eq!(user["metadata"].as_object().unwrap().len(), 17);
    assert_eq!(user["version"], 17);
}

#[tokio::test]
async fn forms_and_multipart_are_read_as_json_is() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "a@example.com", "custom_fields": {"k": 1}})).await;
    let fields = [("custom_fields", r#"{"z": 1}"#), ("_mode", "merge"), ("locked", "true")];
    let authorization = format!("Token {}", desk.token);
    let request = || desk.request(Method::PATCH, &path("a@example.com"), &authorization);
    let form = request()
        .header("content-type", "application/x-www-form-urlencoded")
        .body("custom_fields=%7B%22z%22%3A+1%7D&_mode=merge&locked=true");
    let parts =
        fields.iter().fold(reqwest::multipart::Form::new(), |form, (name, value)| form.text(*name, *value));
    for request in [form, request().multipart(parts)] {
        let told = answer(request).await.is(200);
        assert_eq!(
            (&told["custom_fields"], &told["locked"]),
            (&json!({"k": 1, "z": 1}), &json!(true)),
            "{told}"
        );
    }
    let damaged = request().header("content-type", "multipart/form-data").body("x");
    let told = answer(damaged).await.is(400);
    assert!(told["detail"].as_str().unwrap().starts_with("Multipart form parse error"), "{told}");
}
