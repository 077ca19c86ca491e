//! docs/contracts/ccai.md B.1.1: the further fields that the live template has, one test a row, and the forms
//! in which clients send values.

use serde_json::{Value, json};

use super::client::{Api, person};

/// A text: set, left by an empty text and by null, set anew.
async fn text(name: &str) {
    let api = Api::new().await;
    let steps = [
        (json!("some one"), json!("some one")),
        (json!(""), json!("some one")),
        (json!(null), json!("some one")),
        (json!(4321), json!("4321")),
    ];
    api.assert_field_goes(name, &steps).await;
}

/// Yes or no.
async fn flag(name: &str, column: u64) {
    let api = Api::new().await;
    let steps = [
        (json!(0), json!(0)),
        (json!("1"), json!(1)),
        (json!(""), json!(1)),
        (json!(null), json!(1)),
        (json!(false), json!(0)),
        (json!("yes"), json!(1)),
    ];
    api.assert_field_goes(name, &steps).await;
    let wrong = person("a@example.com", json!({ name: "maybe" }));
    api.assert_scheme_error(wrong, "Must be 0, 1 or empty", column).await;
}

#[tokio::test]
async fn alias() {
    text("alias").await;
}

#[tokio::test]
async fn extension_number() {
    text("extension_number").await;
}

#[tokio::test]
async fn unrestricted_international_calling() {
    flag("unrestricted_international_calling", 11).await;
}

#[tokio::test]
async fn external_user() {
    flag("external_user", 12).await;
}

#[tokio::test]
async fn ucaas_sip_uri() {
    text("ucaas_sip_uri").await;
}

#[tokio::test]
async fn ucaas_user_name() {
    text("ucaas_user_name").await;
}

#[tokio::test]
async fn availability_filter() {
    text("availability_filter").await;
}

#[tokio::test]
async fn direct_inbound_numbers_1_to_5() {
    let api = Api::new().await;
    for number in 1..=5_u64 {
        let name = format!("direct_inbound_number{number}");
        let there = format!("+3902000000{number}");
        let steps = [(json!(there), json!(there)), (json!(""), json!(there)), (json!(null), json!(there))];
        api.assert_field_goes(&name, &steps).await;
        let wrong = person("a@example.com", json!({ name: "12" }));
        api.assert_scheme_error(wrong, "Must be a phone number in E.164", 16 + number).await;
    }
}

#[tokio::test]
async fn availability_filter_timeout() {
    let api = Api::new().await;
    let steps = [(json!(0), json!(0)), (json!("1440"), json!(1440)), (json!(""), json!(1440))];
    api.assert_field_goes("availability_filter_timeout", &steps).await;
    for wrong in [json!(-1), json!(1441), json!("soon")] {
        let user = person("a@example.com", json!({ "availability_filter_timeout": wrong }));
        api.assert_scheme_error(user, "Must be in the range 0..1440", 16).await;
    }
}

#[tokio::test]
async fn types_in_the_wild_are_all_taken() {
    let api = Api::new().await;
    let sent = json!({
        "agent_number": null, "max_chat_limit": "3", "max_chat_limit_enabled": "1", "external_user": true,
        "unrestricted_international_calling": "", "new_email": null, "status": "Active", "location": "",
        "roles": [{"name": "Admin", "value": "1"}, {"name": "Agent", "value": ""}, {"name": "Manager", "value": null}],
        "teams": [{"name": "Sales", "value": 0}, {"name": "Support", "value": true}],
    });
    api.apply_all(&[person("wild@example.com", sent)]).await;
    let user = api.user("wild@example.com").await;
    let given = |list: &str| -> Vec<Value> {
        user[list].as_array().unwrap().iter().map(|entry| entry["value"].clone()).collect()
    };
    assert_eq!(
        (given("roles"), given("teams")),
        (vec![json!(1), json!(0), json!(0)], vec![json!(0), json!(1)])
    );
    assert_eq!((&user["max_chat_limit"], &user["max_chat_limit_enabled"]), (&json!(3), &json!(1)));
    assert_eq!((&user["external_user"], &user["agent_number"]), (&json!(1), &json!("")));
}

#[tokio::test]
async fn a_byte_order_mark_is_no_error() {
    let api = Api::new().await;
    let id = api.upload(format!("\u{feff}{}", json!([person("a@example.com", json!({}))]))).await;
    assert_eq!(api.status(id).await, "valid_scheme");
}
