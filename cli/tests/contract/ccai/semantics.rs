//! docs/contracts/ccai.md B.3: what a job does to users.

use serde_json::{Value, json};

use super::client::{Api, ok, person};

#[tokio::test]
async fn not_found_is_created_and_found_is_updated() {
    let api = Api::new().await;
    api.apply_all(&[person("a@example.com", json!({"alias": "One"}))]).await;
    let users =
        [person("A@EXAMPLE.com ", json!({"alias": "Two"})), person("b@example.com", json!({"alias": "Bea"}))];
    api.apply_all(&users).await;
    let all = ok(api.get("users")).await;
    let aliases: Vec<&Value> = all.as_array().unwrap().iter().map(|user| &user["alias"]).collect();
    assert_eq!(aliases, ["Two", "Bea"]);
}

#[tokio::test]
async fn empty_values_change_nothing() {
    let api = Api::new().await;
    let full = json!({
        "agent_number": "7", "alias": "Jo", "location": "Rome", "max_chat_limit": 3, "max_chat_limit_enabled": 1,
        "external_user": 1, "extension_number": "42", "availability_filter": "Days", "status": "Inactive",
        "direct_inbound_number1": "+390200000001", "roles": [{"name": "Agent", "value": 1}],
    });
    api.apply_all(&[person("a@example.com", full.clone())]).await;
    let before = api.user("a@example.com").await;
    let versions = |users: Vec<Value>| users[0]["version"].clone();
    let version = versions(api.tenant.users().await);
    let mut empty = full;
    empty.as_object_mut().unwrap().values_mut().for_each(|value| *value = json!(""));
    api.apply_all(&[person("a@example.com", empty)]).await;
    assert_eq!(api.user("a@example.com").await, before);
    assert_eq!(versions(api.tenant.users().await), version, "the row is not even written");
}

#[tokio::test]
async fn a_double_is_a_scheme_error_and_nothing_of_the_file_is_applied() {
    let api = Api::new().await;
    let users = ["a@example.com", "b@example.com", "a@example.com"].map(|email| person(email, json!({})));
    let errors = api.scheme_errors(json!(users).to_string()).await;
    assert_eq!(errors, [("Must be unique within the file".to_owned(), 1, Some(3))]);
    assert!(api.tenant.users().await.is_empty());
}

#[tokio::test]
async fn a_taken_address_is_an_update_error_of_its_row_alone() {
    let api = Api::new().await;
    api.apply_all(&[person("taken@example.com", json!({})), person("a@example.com", json!({}))]).await;
    let users = [
        person("a@example.com", json!({"new_email": "taken@example.com"})),
        person("b@example.com", json!({"new_email": "free@example.com"})),
    ];
    let job = api.apply(&users).await;
    assert_eq!((&job["affected_rows"], &job["failed_rows"]), (&json!(1), &json!(1)));
    assert_eq!((&job["update_errors"][0]["row"], &job["update_errors"][0]["column"]), (&json!(1), &json!(2)));
    assert_eq!(api.user("free@example.com").await["first_name"], "John");
}

#[tokio::test]
async fn rows_are_applied_in_the_order_of_the_file() {
    let rename = |from: &str, to: &str| {
        person(&format!("{from}@example.com"), json!({"new_email": format!("{to}@example.com")}))
    };
    let with_two = async || {
        let api = Api::new().await;
        api.apply_all(&[person("a@example.com", json!({})), person("b@example.com", json!({}))]).await;
        api
    };
    let api = with_two().await;
    let (a, b) = (api.user("a@example.com").await, api.user("b@example.com").await);
    api.apply_all(&[rename("b", "c"), rename("a", "b")]).await;
    assert_eq!(api.user("b@example.com").await["id"], a["id"]);
    assert_eq!(api.user("c@example.com").await["id"], b["id"]);
    // The other way round, the address is not free yet when the first row wants it.
    let api = with_two().await;
    let job = api.apply(&[rename("a", "b"), rename("b", "c")]).await;
    let taken = json!([{"message": "Email is already taken", "column": 2, "row": 1, "error_type": "error"}]);
    assert_eq!((&job["affected_rows"], &job["update_errors"]), (&json!(1), &taken));
    let all = ok(api.get("users")).await;
    let emails: Vec<&Value> = all.as_array().unwrap().iter().map(|user| &user["email"]).collect();
    assert_eq!(emails, ["a@example.com", "c@example.com"]);
}

#[tokio::test]
async fn a_file_can_be_sent_again_after_a_rename() {
    let api = Api::new().await;
    api.apply_all(&[person("old@example.com", json!({}))]).await;
    let id = api.user("old@example.com").await["id"].clone();
    for alias in ["One", "Two"] {
        let users = [person("old@example.com", json!({"new_email": "new@example.com", "alias": alias}))];
        api.apply_all(&users).await;
        let user = api.user("new@example.com").await;
        assert_eq!((&user["id"], &user["alias"]), (&id, &json!(alias)));
    }
    assert_eq!(api.tenant.users().await.len(), 1);
}

#[tokio::test]
async fn addresses_are_given_back_as_they_are_compared() {
    let api = Api::new().await;
    let shown = "jo@b\u{fc}cher.example";
    for written in ["\u{ff2a}o@B\u{fc}cher.example", " JO@xn--bcher-kva.example "] {
        api.apply_all(&[person(written, json!({}))]).await;
        assert_eq!(api.user(written).await["email"], shown, "{written}");
    }
    assert_eq!(api.tenant.users().await.len(), 1);
}

#[tokio::test]
async fn extensions_and_numbers_may_be_shared_and_any_number_of_roles_had() {
    let api = Api::new().await;
    let roles: Vec<String> = (0..11).map(|at| format!("Role {at}")).collect();
    let put = api.tenant.http.put(format!("{}/v1/catalog", api.tenant.url)).bearer_auth(&api.token);
    ok(put.json(&json!({ "roles": roles }))).await;
    let all: Vec<Value> = roles.iter().map(|name| json!({"name": name, "value": 1})).collect();
    let same = json!({"extension_number": "42", "direct_inbound_number1": "+390200000001", "roles": all});
    api.apply_all(&[person("a@example.com", same.clone()), person("b@example.com", same)]).await;
    // And a new user may have none.
    api.apply_all(&[person("c@example.com", json!({}))]).await;
    for (email, count) in [("a@example.com", 11), ("b@example.com", 11), ("c@example.com", 0)] {
        let user = api.user(email).await;
        let has = user["roles"].as_array().unwrap().iter().filter(|role| role["value"] == 1).count();
        assert_eq!(has, count, "{email}");
    }
}

#[tokio::test]
async fn additions_deactivations_and_updates_come_in_one_file() {
    let api = Api::new().await;
    api.apply_all(&[person("stays@example.com", json!({})), person("goes@example.com", json!({}))]).await;
    let users = [
        person("comes@example.com", json!({"status": "Active"})),
        person("goes@example.com", json!({"status": "Inactive"})),
        person("stays@example.com", json!({"location": "Rome"})),
    ];
    api.apply_all(&users).await;
    let all = ok(api.get("users")).await;
    let states: Vec<(&Value, bool)> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|user| (&user["email"], user["deactivated_at"].is_null()))
        .collect();
    let expected = [("comes@example.com", true), ("goes@example.com", false), ("stays@example.com", true)];
    assert_eq!(states.len(), 3);
    for ((email, active), (wanted, is_active)) in states.into_iter().zip(expected) {
        assert_eq!((email, active), (&json!(wanted), is_active));
    }
    api.apply_all(&[person("goes@example.com", json!({"status": "Active"}))]).await;
    assert_eq!(api.user("goes@example.com").await["deactivated_at"], Value::Null);
}

#[tokio::test]
async fn unchanged_rows_count_as_affected() {
    let api = Api::new().await;
    let users = [person("a@example.com", json!({"alias": "Jo"}))];
    api.apply_all(&users).await;
    // The helper asserts the counters.
    api.apply_all(&users).await;
}

#[tokio::test]
async fn a_name_that_left_the_catalog_after_validation_is_an_update_error() {
    let api = Api::new().await;
    let id = api
        .upload(
            json!([person("a@example.com", json!({"location": "Rome"})), person("b@example.com", json!({}))])
                .to_string(),
        )
        .await;
    assert_eq!(api.status(id).await, "valid_scheme");
    let put = api.tenant.http.put(format!("{}/v1/catalog", api.tenant.url)).bearer_auth(&api.token);
    ok(put.json(&json!({"locations": ["Mexico"]}))).await;
    ok(api.start(id)).await;
    let job = api.completed(id).await;
    let expected = json!([{"message": "Unknown location", "column": 8, "row": 1, "error_type": "error"}]);
    assert_eq!((&job["failed_rows"], &job["update_errors"]), (&json!(1), &expected));
}
