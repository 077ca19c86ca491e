//! Reading imports and records page by page, steering, users and the catalog.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, accepted, assert_refused};

#[tokio::test]
async fn imports_are_listed_newest_first_page_by_page() {
    let server = Server::start().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let import = accepted(server.upload("start=manual", "email\na@example.com\n")).await;
        ids.insert(0, import["id"].clone());
    }
    let mut listed = Vec::new();
    let mut link = Some("/v1/imports?limit=2&state=received".to_owned());
    while let Some(path) = link {
        let page = server.json(&path).await;
        listed.extend(page["imports"].as_array().unwrap().iter().map(|import| import["id"].clone()));
        link = page["next_link"].as_str().map(str::to_owned);
        assert_eq!(link.is_none(), page["next"].is_null());
    }
    assert_eq!(listed, ids);
    assert_eq!(server.json("/v1/imports?state=paused").await["imports"], json!([]));
    for wrong in ["limit=0", "limit=201", "state=done", "before=x", "colour=red"] {
        assert_refused(server.get(&format!("/v1/imports?{wrong}")), 400, "invalid_request").await;
    }
}

#[tokio::test]
async fn records_are_read_in_file_order_page_by_page() {
    let server = Server::start().await;
    let rows: String = (1..=25)
        .map(|n| if n % 5 == 0 { format!("bad{n}\n") } else { format!("u{n}@example.com\n") })
        .collect();
    let import = accepted(server.upload("start=manual", format!("email\n{rows}"))).await;
    assert_eq!((&import["counts"]["failed"], &import["counts"]["pending"]), (&json!(5), &json!(20)));
    let records = import["links"]["records"].as_str().unwrap().to_owned();
    let mut numbers = Vec::new();
    let mut after = json!(0);
    while !after.is_null() {
        let page = server.json(&format!("{records}?limit=10&after={after}")).await;
        numbers.extend(
            page["records"].as_array().unwrap().iter().map(|record| record["record"].as_u64().unwrap()),
        );
        after = page["next"].clone();
    }
    assert_eq!(numbers, (1..=25).collect::<Vec<u64>>());
    let failed = server.json(&format!("{records}?outcome=failed&limit=2")).await;
    let first = &failed["records"][0];
    assert_eq!((&first["record"], &first["identifier"]), (&json!(5), &json!("bad5")));
    assert_eq!(first["errors"][0]["code"], "email_invalid");
    assert_eq!(failed["next"], 10);
    for wrong in ["outcome=lost", "limit=1001", "after=-1"] {
        assert_refused(server.get(&format!("{records}?{wrong}")), 400, "invalid_request").await;
    }
}

#[tokio::test]
async fn a_requested_transition_is_made_or_refused_with_a_reason() {
    let server = Server::start().await;
    let import = accepted(server.upload("start=manual", "email\na@example.com\n")).await;
    let link = import["links"]["self"].as_str().unwrap().to_owned();
    let steer = async |verb: &str| -> Value {
        let response = server.post(&format!("{link}/{verb}")).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{verb}");
        response.json::<Value>().await.unwrap()["state"].take()
    };
    let error = assert_refused(server.post(&format!("{link}/pause")), 409, "state_conflict").await;
    assert_eq!(error["state"], "received");
    for (verb, state) in
        [("proceed", "running"), ("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")]
    {
        assert_eq!(steer(verb).await, state);
        assert_eq!(steer(verb).await, state, "saying it twice is saying it once");
    }
    assert_refused(server.post(&format!("{link}/retry")), 409, "state_conflict").await;
    // What was cancelled goes on where it stopped.
    assert_eq!(steer("resume").await, "running");
    assert_eq!(server.json(&link).await["counts"]["pending"], 1);
}

#[tokio::test]
async fn users_are_found_by_one_field() {
    let server = Server::start().await;
    let nobody = json!({ "users": [], "next": null, "next_link": null });
    assert_eq!(server.json("/v1/users?email=A@Example.com").await, nobody);
    assert_eq!(server.json("/v1/users").await, nobody);
    // Generated clients send the size of a page always.
    assert_eq!(server.json("/v1/users?email=a@example.com&limit=100").await, nobody);
    for wrong in [
        "email=nobody",
        "limit=0",
        "email=a@example.com&limit=0",
        "organization=a%20b",
        "updated_since=yesterday",
        "email=a@example.com&phone_number=%2B4912345678",
        "phone_number=1",
    ] {
        assert_refused(server.get(&format!("/v1/users?{wrong}")), 400, "invalid_request").await;
    }
    // No calendar of the database has them.
    for year in ["-10000", "-4714", "%2B262000"] {
        for path in ["/v1/users", "/v1/users/export"] {
            let request = server.get(&format!("{path}?updated_since={year}-01-01T00:00:00Z"));
            let told = assert_refused(request, 400, "invalid_request").await;
            assert_eq!(told["field"], "updated_since", "{told}");
        }
    }
}

#[tokio::test]
async fn the_catalog_is_replaced_as_a_whole() {
    let server = Server::start().await;
    let mut catalog = server.json("/v1/catalog").await;
    assert_eq!(catalog["organizations"][0]["slug"], "default");
    catalog["groups"] = json!(["Blue"]);
    let put = |body: &Value| server.request(Method::PUT, "/v1/catalog").json(body);
    let stored: Value = put(&catalog).send().await.unwrap().json().await.unwrap();
    assert_eq!(stored["groups"], json!(["Blue"]));
    assert_eq!(server.json("/v1/catalog").await, stored);
    let error = assert_refused(put(&json!({ "groups": ["", "a", "a"] })), 400, "invalid_request").await;
    assert_eq!(error["errors"].as_array().unwrap().len(), 2);
    let error = assert_refused(put(&json!({ "grops": [] })), 400, "invalid_request").await;
    assert_eq!(error["line"], 1);
    let text = server.request(Method::PUT, "/v1/catalog").body("{}");
    assert_refused(text, 415, "unsupported_media_type").await;
}
