//! docs/contracts/bitcaster.md C.1.6: addresses.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::{Desk, answer, path};

async fn desk() -> (Desk, String) {
    let desk = Desk::new().await;
    desk.user(json!({"email": "a@example.com"})).await;
    (desk, format!("{}address/", path("a@example.com")))
}

#[tokio::test]
async fn addresses_are_listed_by_name() {
    let (desk, addresses) = desk().await;
    for (name, value) in [("z", "last"), ("b", "second"), ("a", "first")] {
        desk.post(&addresses, json!({"name": name, "value": value})).await.is(201);
    }
    let listed = desk.get(&addresses).await.is(200);
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "email", "z"]);
    assert_eq!(listed[0], json!({"value": "first", "type": "GENERIC", "name": "a"}));
}

#[tokio::test]
async fn the_type_is_told_by_the_value() {
    let (desk, addresses) = desk().await;
    for (name, value, said, kind) in [
        ("sms", "+391234567890", "email", "phone"),
        ("work", "work@example.com", "phone", "email"),
        ("slack", "U0123", "account", "GENERIC"),
        ("local", "1234567890", "phone", "GENERIC"),
    ] {
        let body = json!({"name": name, "value": value, "type": said});
        let added = desk.post(&addresses, body).await.is(201);
        assert_eq!(added, json!({"value": value, "type": kind, "name": name}));
    }
}

#[tokio::test]
async fn json_and_forms_are_read() {
    let (desk, addresses) = desk().await;
    let request = desk.request(Method::POST, &addresses, &format!("Key {}", desk.token));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let added = answer(request.body("name=sms&value=%2B391234567890&type=phone")).await.is(201);
    assert_eq!(added, json!({"value": "+391234567890", "type": "phone", "name": "sms"}));
}

#[tokio::test]
async fn the_same_again_is_200_and_changes_nothing() {
    let (desk, addresses) = desk().await;
    let body = json!({"name": "sms", "value": "+391234567890"});
    let added = desk.post(&addresses, body.clone()).await.is(201);
    let before = desk.only_user().await;
    assert_eq!(desk.post(&addresses, body).await.is(200), added);
    assert_eq!(desk.only_user().await, before);
}

#[tokio::test]
async fn a_name_or_a_value_that_is_taken_is_400() {
    let (desk, addresses) = desk().await;
    desk.post(&addresses, json!({"name": "sms", "value": "+391234567890"})).await.is(201);
    let before = desk.only_user().await;
    let name = desk.post(&addresses, json!({"name": "sms", "value": "other"})).await.is(400);
    assert_eq!(name, json!({"name": ["The user has an address of this name with another value."]}));
    let value = desk.post(&addresses, json!({"name": "phone", "value": "+391234567890"})).await.is(400);
    assert_eq!(value, json!({"value": ["The user has this address under another name."]}));
    assert_eq!(desk.only_user().await, before);
}

#[tokio::test]
async fn name_and_value_are_required_and_have_a_limit() {
    let (desk, addresses) = desk().await;
    let long = "é".repeat(256);
    for (body, errors) in [
        (json!({}), json!({"name": ["This field is required."], "value": ["This field is required."]})),
        (
            json!({"name": "", "value": null}),
            json!({"name": ["This field may not be blank."], "value": ["This field may not be null."]}),
        ),
        (
            json!({"name": "x", "value": long}),
            json!({"value": ["Ensure this field has no more than 255 characters."]}),
        ),
        (
            json!({"name": long, "value": "x"}),
            json!({"name": ["Ensure this field has no more than 255 characters."]}),
        ),
        (
            json!({"name": "x", "value": "y", "type": "fax"}),
            json!({"type": ["\"fax\" is not a valid choice."]}),
        ),
    ] {
        assert_eq!(desk.post(&addresses, body.clone()).await.is(400), errors, "{body}");
    }
    desk.post(&addresses, json!({"name": "é".repeat(255), "value": "ü".repeat(255)})).await.is(201);
}

#[tokio::test]
async fn who_is_no_member_has_no_addresses() {
    let (desk, _) = desk().await;
    for path in ["/api/v1/user/my-org/nobody@example.com/address/", "/api/o/other/u/a@example.com/addresses/"]
    {
        desk.get(path).await.is(404);
        desk.post(path, json!({"name": "x", "value": "y"})).await.is(404);
    }
}

#[tokio::test]
async fn one_address_at_once_is_added_once() {
    let (desk, addresses) = desk().await;
    let body = json!({"name": "sms", "value": "+391234567890"});
    let answers = join_all((0..12).map(|_| desk.post(&addresses, body.clone()))).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(201), count(200)), (1, 11));
}
