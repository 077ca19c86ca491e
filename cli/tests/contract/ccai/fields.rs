//! docs/contracts/ccai.md B.1.1: the documented fields of a record, one test a row.

use serde_json::{Value, json};

use super::client::{Api, person};

const EMAIL: &str = "Must be a valid email";
const UNIQUE: &str = "Must be unique within the file";
const NAME: &str = "Non-empty string";
const FLAG: &str = "Must be 0, 1 or empty";

fn error(message: &str, column: u64, row: u64) -> (String, u64, Option<u64>) {
    (message.to_owned(), column, Some(row))
}

#[tokio::test]
async fn email_is_required_valid_and_unique_within_the_file() {
    let api = Api::new().await;
    for email in [json!(null), json!(""), json!("nobody"), json!(5), json!("a@b@c")] {
        api.assert_scheme_error(person("x", json!({ "email": email })), EMAIL, 1).await;
    }
    api.assert_scheme_error(json!({"first_name": "John", "last_name": "Doe"}), EMAIL, 1).await;
    let twice = ["one@example.com", "two@example.com", " ONE@Example.com", "one@example.com"];
    let users: Vec<Value> = twice.iter().map(|email| person(email, json!({}))).collect();
    let errors = api.scheme_errors(json!(users).to_string()).await;
    assert_eq!(errors, [error(UNIQUE, 1, 3), error(UNIQUE, 1, 4)]);
}

#[tokio::test]
async fn new_email_renames_and_is_unique_among_its_own() {
    let api = Api::new().await;
    api.apply_all(&[person("old@example.com", json!({"new_email": ""}))]).await;
    let id = api.user("old@example.com").await["id"].clone();
    for empty in [json!(""), json!(null)] {
        api.apply_all(&[person("old@example.com", json!({ "new_email": empty }))]).await;
    }
    api.apply_all(&[person("old@example.com", json!({"new_email": "New@Example.com"}))]).await;
    assert_eq!(api.user("new@example.com").await["id"], id);
    assert_eq!(api.tenant.users().await.len(), 1);
    api.assert_scheme_error(person("new@example.com", json!({"new_email": "x"})), EMAIL, 2).await;
    let users = json!([
        person("a@example.com", json!({"new_email": "c@example.com"})),
        person("b@example.com", json!({"new_email": "C@example.com"})),
        // Unique in each list by itself: a user may take the address that another leaves.
        person("c@example.com", json!({"new_email": "a@example.com"})),
    ]);
    assert_eq!(api.scheme_errors(users.to_string()).await, [error(UNIQUE, 2, 2)]);
}

#[tokio::test]
async fn agent_number_is_any_text() {
    let api = Api::new().await;
    let steps = [
        (json!(1001), json!("1001")),
        (json!(""), json!("1001")),
        (json!("A-1"), json!("A-1")),
        (json!(null), json!("A-1")),
    ];
    api.assert_field_goes("agent_number", &steps).await;
}

#[tokio::test]
async fn first_name_is_required() {
    names("first_name", 4).await;
}

#[tokio::test]
async fn last_name_is_required() {
    names("last_name", 5).await;
}

async fn names(name: &str, column: u64) {
    let api = Api::new().await;
    for value in [json!(""), json!("  "), json!(null), json!(7)] {
        api.assert_scheme_error(person("a@example.com", json!({ name: value })), NAME, column).await;
    }
    let mut without = person("a@example.com", json!({}));
    without.as_object_mut().unwrap().remove(name);
    api.assert_scheme_error(without.clone(), NAME, column).await;
    let long = person("a@example.com", json!({ name: "x".repeat(257) }));
    api.assert_scheme_error(long, "The value is longer than 256 characters", column).await;
    for hidden in ["a\u{7}b", "a\u{200b}b", "a\nb"] {
        let user = person("a@example.com", json!({ name: hidden }));
        api.assert_scheme_error(user, "The value holds a control or invisible character", column).await;
    }
    let longest = "\u{eb}".repeat(256);
    api.apply_all(&[person("a@example.com", json!({ name: format!("  {longest} ") }))]).await;
    assert_eq!(api.user("a@example.com").await[name], longest);
    api.apply_all(&[person("a@example.com", json!({ name: "Zoë" }))]).await;
    assert_eq!(api.user("a@example.com").await[name], "Zoë");
    // Also for a user that exists.
    api.assert_scheme_error(without, NAME, column).await;
}

#[tokio::test]
async fn status_is_active_inactive_or_empty() {
    let api = Api::new().await;
    let email = "status@example.com";
    let mut inactive = Vec::new();
    for status in ["Active", "", "Inactive", "Inactive", "", "Active"] {
        api.apply_all(&[person(email, json!({ "status": status }))]).await;
        inactive.push(!api.user(email).await["deactivated_at"].is_null());
    }
    assert_eq!(inactive, [false, false, true, true, true, false]);
    for wrong in [json!("Gone"), json!(1), json!(true)] {
        let user = person(email, json!({ "status": wrong }));
        api.assert_scheme_error(user, "Must be Active, Inactive or empty", 7).await;
    }
}

#[tokio::test]
async fn location_is_an_existing_one_empty_or_null() {
    let api = Api::new().await;
    let steps = [
        (json!("mexico"), json!("Mexico")),
        (json!(""), json!("Mexico")),
        (json!(null), json!("")),
        (json!("ROME"), json!("Rome")),
    ];
    api.assert_field_goes("location", &steps).await;
    api.assert_scheme_error(person("a@example.com", json!({"location": "Oslo"})), "Unknown location", 8)
        .await;
}

#[tokio::test]
async fn max_chat_limit_is_within_the_configured_range() {
    let api = Api::new().await;
    let steps =
        [(json!(1), json!(1)), (json!("5"), json!(5)), (json!(""), json!(5)), (json!(null), json!(5))];
    api.assert_field_goes("max_chat_limit", &steps).await;
    for wrong in [json!(0), json!(6), json!("six"), json!(1.5)] {
        let user = person("a@example.com", json!({ "max_chat_limit": wrong }));
        api.assert_scheme_error(user, "Must be in the range 1..5", 9).await;
    }
}

#[tokio::test]
async fn max_chat_limit_enabled_is_0_1_or_empty() {
    let api = Api::new().await;
    let steps = [
        (json!(1), json!(1)),
        (json!(""), json!(1)),
        (json!("0"), json!(0)),
        (json!(true), json!(1)),
        (json!(null), json!(1)),
    ];
    api.assert_field_goes("max_chat_limit_enabled", &steps).await;
    api.assert_scheme_error(person("a@example.com", json!({"max_chat_limit_enabled": 2})), FLAG, 10).await;
}

#[tokio::test]
async fn roles_are_given_taken_or_left() {
    names_of("roles", ["Admin", "Agent", "Manager"], 22, "Unknown role").await;
}

#[tokio::test]
async fn teams_are_given_taken_or_left() {
    names_of("teams", ["Sales", "Support", "Support"], 25, "Unknown team").await;
}

async fn names_of(list: &str, [first, second, third]: [&str; 3], column: u64, unknown: &str) {
    let api = Api::new().await;
    let email = "names@example.com";
    let entry = |name: &str, value: Value| json!({"name": name, "value": value});
    let steps = [
        (json!([entry(first, json!(1)), entry(second, json!(0))]), vec![first]),
        // Names without a value, and names that are not there, stay as they are.
        (json!([entry(first, json!("")), entry(second, json!("1"))]), vec![first, second]),
        (json!([entry(&third.to_uppercase(), json!(null))]), vec![first, second]),
        (json!([]), vec![first, second]),
        (json!(""), vec![first, second]),
        (json!(null), vec![first, second]),
        (json!([entry(first, json!(false)), entry(second, json!(1))]), vec![second]),
    ];
    for (sent, has) in steps {
        api.apply_all(&[person(email, json!({ list: sent }))]).await;
        let user = api.user(email).await;
        let there = user[list].as_array().unwrap().iter().filter(|entry| entry["value"] == 1);
        let there: Vec<&str> = there.map(|entry| entry["name"].as_str().unwrap()).collect();
        assert_eq!(there, has, "{sent}");
    }
    let shape = "Must be a list of objects with name and value";
    for (sent, message, at) in [
        (json!([entry(first, json!(1)), entry("Nobody", json!(1))]), unknown, column + 1),
        (json!([entry("Nobody", json!(""))]), unknown, column),
        (json!([entry(first, json!(2))]), FLAG, column),
        (json!([{"value": 1}]), shape, column),
        (json!(["Admin"]), shape, column),
        (json!({"name": first}), shape, column),
    ] {
        api.assert_scheme_error(person(email, json!({ list: sent })), message, at).await;
    }
}

#[tokio::test]
async fn all_that_is_wrong_with_a_row_is_told() {
    let api = Api::new().await;
    let user = json!({"email": "x", "first_name": "", "last_name": null, "status": "?", "max_chat_limit": 9});
    let errors = api.scheme_errors(json!([person("a@example.com", json!({})), user]).to_string()).await;
    let mut columns: Vec<(u64, Option<u64>)> =
        errors.iter().map(|(_, column, row)| (*column, *row)).collect();
    columns.sort_unstable();
    assert_eq!(columns, [1, 4, 5, 7, 9].map(|column| (column, Some(2))));
}

#[tokio::test]
async fn unknown_keys_are_not_fatal() {
    let api = Api::new().await;
    let more =
        json!({"id": "x", "deactivated_at": null, "role_names": ["x"], "custom__a": 1, "phone_number": "?"});
    api.apply_all(&[person("a@example.com", more)]).await;
    assert_eq!(api.tenant.users().await[0]["phone_number"], Value::Null);
    assert_eq!(api.tenant.users().await[0]["metadata"], Value::Null);
}
