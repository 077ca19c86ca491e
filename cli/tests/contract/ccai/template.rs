//! B.1.2: the template.

use serde_json::{Value, json};

use super::client::{Api, ok};

#[tokio::test]
async fn the_template_is_one_user_with_every_field() {
    let api = Api::new().await;
    let template = ok(api.get("bulk/users/template")).await;
    let zero = |name: &str| json!({"name": name, "value": 0});
    let expected = json!([{
        "email": "user1@example.com", "new_email": "", "agent_number": "A-001", "first_name": "John", "last_name": "Doe",
        "alias": "", "status": "Active", "location": "Mexico", "max_chat_limit": 2, "max_chat_limit_enabled": "0",
        "unrestricted_international_calling": "0", "external_user": "0", "ucaas_sip_uri": "", "ucaas_user_name": "",
        "extension_number": "", "availability_filter": "", "availability_filter_timeout": "",
        "direct_inbound_number1": "", "direct_inbound_number2": "", "direct_inbound_number3": "",
        "direct_inbound_number4": "", "direct_inbound_number5": "",
        "roles": [zero("Admin"), zero("Agent"), zero("Manager")], "teams": [zero("Sales"), zero("Support")],
    }]);
    assert_eq!(template, expected);
}

#[tokio::test]
async fn the_template_has_the_roles_and_teams_that_there_are_now() {
    let api = Api::new().await;
    let catalog = r#"{"roles": ["Agent", "Night shift"], "teams": []}"#;
    let put = api.tenant.http.put(format!("{}/v1/catalog", api.tenant.url)).bearer_auth(&api.token);
    ok(put.header("content-type", "application/json").body(catalog)).await;
    let template = ok(api.get("bulk/users/template")).await;
    assert_eq!(
        (&template[0]["roles"], &template[0]["teams"], &template[0]["location"]),
        (
            &json!([{"name": "Agent", "value": 0}, {"name": "Night shift", "value": 0}]),
            &json!([]),
            &json!("")
        )
    );
}

/// Its clients copy the template and send every role and team back.
#[tokio::test]
async fn a_copy_of_a_template_of_thousands_of_teams_can_be_uploaded_as_it_is() {
    let api = Api::new().await;
    let teams: Vec<String> = (0..3_000).map(|n| format!("Customer service team number {n}")).collect();
    let catalog = json!({"roles": ["Agent"], "teams": teams, "limits": {"max_chat_limit": 10}});
    let put = api.tenant.http.put(format!("{}/v1/catalog", api.tenant.url)).bearer_auth(&api.token);
    ok(put.header("content-type", "application/json").body(catalog.to_string())).await;
    let template = ok(api.get("bulk/users/template")).await;
    assert_eq!(template[0]["teams"].as_array().unwrap().len(), 3_000);
    api.apply_all(template.as_array().unwrap()).await;
}

#[tokio::test]
async fn a_copy_of_the_template_can_be_uploaded_as_it_is() {
    let api = Api::new().await;
    let template = ok(api.get("bulk/users/template")).await;
    let users = template.as_array().unwrap().clone();
    api.apply_all(&users).await;
    let user = api.user("user1@example.com").await;
    for (name, value) in users[0].as_object().unwrap() {
        if !matches!(name.as_str(), "new_email" | "status") {
            // A flag is a text in the template, and a number where users are shown.
            let shown = if user[name].is_number() && value.is_string() {
                json!(user[name].to_string())
            } else {
                user[name].clone()
            };
            assert_eq!(&shown, value, "{name}");
        }
    }
    assert_eq!(user["deactivated_at"], Value::Null);
}
