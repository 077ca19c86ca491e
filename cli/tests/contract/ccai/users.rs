//! docs/contracts/ccai.md B.1.4: user configuration data.

use serde_json::{Value, json};

use super::client::{Api, BASE, json_of, ok, person, refused};
use crate::harness::until;

async fn with_users(count: usize) -> Api {
    let api = Api::new().await;
    let user =
        |at| person(&format!("user{at:02}@example.com"), json!({"agent_number": format!("A-{at:02}")}));
    api.apply_all(&(0..count).map(user).collect::<Vec<Value>>()).await;
    api
}

fn emails(users: &Value) -> Vec<&str> {
    users.as_array().unwrap().iter().map(|user| user["email"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_field_is_given_back_in_order() {
    let api = Api::new().await;
    let sent = json!({
        "agent_number": "A-7", "alias": "Jo", "status": "Inactive", "location": "Rome", "max_chat_limit": 3,
        "max_chat_limit_enabled": 1, "unrestricted_international_calling": 1, "external_user": 0,
        "ucaas_sip_uri": "sip:jo@example.com", "ucaas_user_name": "jo", "extension_number": "0042",
        "availability_filter": "Days", "availability_filter_timeout": 30,
        "direct_inbound_number1": "+390200000001", "direct_inbound_number5": "+390200000005",
        "roles": [{"name": "Agent", "value": 1}], "teams": [{"name": "Sales", "value": 1}],
    });
    api.apply_all(&[person("jo@example.com", sent)]).await;
    let text = api.get("users").send().await.unwrap().text().await.unwrap();
    let user = &serde_json::from_str::<Value>(&text).unwrap()[0];
    let entry = |name: &str, value: u8| json!({"name": name, "value": value});
    let expected = [
        ("email", json!("jo@example.com")),
        ("agent_number", json!("A-7")),
        ("first_name", json!("John")),
        ("last_name", json!("Doe")),
        ("alias", json!("Jo")),
        ("deactivated_at", user["deactivated_at"].clone()),
        ("location", json!("Rome")),
        ("max_chat_limit", json!(3)),
        ("max_chat_limit_enabled", json!(1)),
        ("unrestricted_international_calling", json!(1)),
        ("external_user", json!(0)),
        ("ucaas_sip_uri", json!("sip:jo@example.com")),
        ("ucaas_user_name", json!("jo")),
        ("extension_number", json!("0042")),
        ("roles", json!([entry("Admin", 0), entry("Agent", 1), entry("Manager", 0)])),
        ("teams", json!([entry("Sales", 1), entry("Support", 0)])),
        ("direct_inbound_number1", json!("+390200000001")),
        ("direct_inbound_number2", json!("")),
        ("direct_inbound_number3", json!("")),
        ("direct_inbound_number4", json!("")),
        ("direct_inbound_number5", json!("+390200000005")),
        ("availability_filter", json!("Days")),
        ("availability_filter_timeout", json!(30)),
    ];
    let mut place = 0;
    for (name, value) in &expected {
        assert_eq!(&user[*name], value, "{name}");
        let at = text.find(&format!("\"{name}\":")).unwrap();
        assert!(at > place, "{name} is out of order");
        place = at;
    }
    assert_eq!(user.as_object().unwrap().len(), expected.len() + 1, "and `id`");
    assert!(user.get("status").is_none());
    assert!(user["deactivated_at"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn what_is_given_back_can_be_uploaded_again() {
    let api = with_users(2).await;
    let mut users = ok(api.get("users")).await.as_array().unwrap().clone();
    for user in &mut users {
        user["status"] = json!("Active");
    }
    api.apply_all(&users).await;
    users.iter_mut().for_each(|user| drop(user.as_object_mut().unwrap().remove("status")));
    assert_eq!(ok(api.get("users")).await, json!(users));
}

#[tokio::test]
async fn users_are_chosen_by_email_id_or_agent_number() {
    let api = with_users(4).await;
    let all = ok(api.get("users")).await;
    let id = |at: usize| all[at]["id"].as_str().unwrap().to_owned();
    for query in [
        "email=USER01@example.com&email=user03@example.com".to_owned(),
        "email=user03@example.com,user01@example.com,user01@example.com,nobody@example.com".to_owned(),
        format!("id={}&id={}", id(3), id(1)),
        format!("id={},{},{},x", id(3), id(1), id(1)),
        "agent_number=A-03&agent_number=A-01".to_owned(),
        "agent_number=A-03,A-01,A-01,A-99".to_owned(),
    ] {
        let response = api.get(&format!("users?{query}")).send().await.unwrap();
        assert_eq!(response.headers()["total"], "2");
        let (status, users) = json_of(response).await;
        assert_eq!(
            (status, emails(&users)),
            (200, vec!["user01@example.com", "user03@example.com"]),
            "{query}"
        );
    }
    assert_eq!(ok(api.get("users?email=nobody@example.com")).await, json!([]));
    // What no field may hold is nobody's.
    assert_eq!(ok(api.get("users?agent_number=A%00")).await, json!([]));
    assert_eq!(ok(api.get("users?email=a%00@example.com")).await, json!([]));
}

#[tokio::test]
async fn one_kind_of_id_a_request_and_at_most_a_thousand() {
    let api = with_users(1).await;
    assert_eq!(refused(api.get("users?email=user00@example.com&agent_number=A-00")).await, 400);
    let ids = |count| (0..count).map(|at| at.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(ok(api.get(&format!("users?agent_number={}", ids(1_000)))).await, json!([]));
    assert_eq!(refused(api.get(&format!("users?agent_number={}", ids(1_001)))).await, 400);
}

#[tokio::test]
async fn ids_and_a_page_exclude_each_other() {
    let api = with_users(1).await;
    assert_eq!(refused(api.get("users?email=user00@example.com&page=1")).await, 400);
}

#[tokio::test]
async fn pages_are_told_by_link_total_and_per_page() {
    let api = with_users(5).await;
    let response = api.get("users").send().await.unwrap();
    assert_eq!(
        (&response.headers()["total"], &response.headers()["per-page"]),
        (&"5".parse().unwrap(), &"100".parse().unwrap())
    );
    assert!(response.headers().get("link").is_none());
    let mut seen = Vec::new();
    let mut next = Some(format!("{}{BASE}/users?per_page=2", api.tenant.url));
    while let Some(url) = next {
        let response =
            api.tenant.http.get(url).basic_auth(&api.tenant.slug, Some(&api.token)).send().await.unwrap();
        let link =
            response.headers().get("link").map(|link| link.to_str().unwrap().to_owned()).unwrap_or_default();
        next = link
            .split(", ")
            .find_map(|link| Some(link.strip_suffix("; rel=\"next\"")?.trim_matches(['<', '>']).to_owned()));
        let (_, users) = json_of(response).await;
        seen.extend(emails(&users).into_iter().map(str::to_owned));
    }
    let expected: Vec<String> = (0..5).map(|at| format!("user{at:02}@example.com")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn paging_may_stand_in_a_json_body_and_the_query_wins() {
    let api = with_users(3).await;
    let with_body = |path: &str| api.get(path).json(&json!({"page": 2, "per_page": 1}));
    assert_eq!(emails(&ok(with_body("users")).await), ["user01@example.com"]);
    assert_eq!(emails(&ok(with_body("users?page=3")).await), ["user02@example.com"]);
    let both = ok(with_body("users?page=1&per_page=2")).await;
    assert_eq!(emails(&both), ["user00@example.com", "user01@example.com"]);
    assert_eq!(refused(api.get("users").json(&json!({"per_page": "many"}))).await, 400);
}

#[tokio::test]
async fn a_page_has_a_hundred_users_unless_another_size_is_asked_for() {
    let api = with_users(101).await;
    let response = api.get("users").send().await.unwrap();
    assert_eq!(response.headers()["total"], "101");
    let link = response.headers()["link"].to_str().unwrap().to_owned();
    assert!(link.contains("page=2&per_page=100>; rel=\"next\""), "{link}");
    assert_eq!(json_of(response).await.1.as_array().unwrap().len(), 100);
    assert_eq!(ok(api.get("users?page=2")).await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn users_without_an_address_are_not_among_them() {
    let api = with_users(1).await;
    let url = format!("{}/v1/imports?identifier=preferred_username", api.tenant.url);
    let native = api.tenant.http.post(url).bearer_auth(&api.token).header("content-type", "text/csv");
    let taken = native.body("preferred_username,first_name\njo,Jo\n").send().await.unwrap();
    assert_eq!(taken.status(), 202);
    until("the user is there", || async { (api.tenant.users().await.len() == 2).then_some(()) }).await;
    assert_eq!(emails(&ok(api.get("users")).await), ["user00@example.com"]);
}

#[tokio::test]
async fn a_page_size_above_the_maximum_is_refused_in_their_words() {
    let api = with_users(1).await;
    ok(api.get("users?per_page=1000")).await;
    let (status, body) = json_of(api.get("users?per_page=1001").send().await.unwrap()).await;
    assert_eq!(status, 400);
    let message = body["message"].as_str().unwrap();
    assert!(message.starts_with("Exceeded maximum page size request (1,000 is"), "{message}");
    assert_eq!(refused(api.get("users?per_page=many")).await, 400);
}

#[tokio::test]
async fn inactive_users_are_among_them_and_other_tenants_users_are_not() {
    let (api, other) = (with_users(2).await, with_users(1).await);
    api.apply_all(&[person("user00@example.com", json!({"status": "Inactive"}))]).await;
    let users = ok(api.get("users")).await;
    assert_eq!(emails(&users), ["user00@example.com", "user01@example.com"]);
    assert!(users[0]["deactivated_at"].is_string() && users[1]["deactivated_at"].is_null());
    let theirs = ok(other.get("users")).await[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(ok(api.get(&format!("users?id={theirs}"))).await, json!([]));
}
