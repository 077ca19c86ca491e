//! The audit: who did what, page by page, for the tenant's operator alone.

use muster_domain::token::Scope;
use muster_store::tenants;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, assert_refused, token};

async fn erased(server: &Server, token: &str, email: &str) -> String {
    let made = server.client.post(format!("{}/api/o/acme/u/", server.url)).bearer_auth(&server.token);
    assert!(made.json(&json!({"email": email})).send().await.unwrap().status().is_success());
    let found = server.json(&format!("/v1/users?email={email}")).await;
    let user = found["users"][0]["id"].as_str().unwrap().to_owned();
    let erase = server.client.delete(format!("{}/v1/users/{user}", server.url)).bearer_auth(token);
    assert_eq!(erase.send().await.unwrap().status().as_u16(), 200);
    user
}

#[tokio::test]
async fn the_audit_says_who_did_what_and_names_nobody_who_was_erased() {
    let server = Server::start().await;
    let catalog = json!({"organizations": [{"slug": "acme", "name": "Acme"}]});
    let made = server.request(Method::PUT, "/v1/catalog").json(&catalog).send().await.unwrap();
    assert!(made.status().is_success());
    assert_eq!(server.json("/v1/audit").await, json!({"entries": [], "next": null, "next_link": null}));
    let eraser = token(&server.store, &server.tenant, "eraser", &[Scope::UsersErase]).await;
    let mut users = Vec::new();
    for name in ["ann", "bob", "cleo"] {
        users.insert(0, erased(&server, &eraser, &format!("{name}@example.com")).await);
    }
    let page = server.json("/v1/audit").await;
    let entries = page["entries"].as_array().unwrap();
    let of = |key: &str| entries.iter().map(|entry| entry[key].clone()).collect::<Vec<Value>>();
    assert_eq!(of("subject"), users);
    assert!(
        of("token").iter().all(|name| name == "eraser")
            && of("action").iter().all(|what| what == "users.erase")
    );
    assert!(entries.iter().all(|entry| entry["counts"]["users"] == 1 && entry["at"].is_string()));
    assert!(!page.to_string().contains("example.com"));
    // By pages, the newest first.
    let (mut link, mut seen) = (Some("/v1/audit?limit=1".to_owned()), Vec::new());
    while let Some(next) = link {
        let page = server.json(&next).await;
        seen.push(page["entries"][0]["subject"].clone());
        link = page["next_link"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, users);
    // Neither another tenant's operator nor a token without the scope sees any of it.
    let other =
        tenants::create(&server.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    let stranger = token(&server.store, &other, "all", &[Scope::Ops]).await;
    let theirs = server.client.get(format!("{}/v1/audit", server.url)).bearer_auth(&stranger);
    let theirs: Value = theirs.send().await.unwrap().json().await.unwrap();
    assert_eq!(theirs["entries"], json!([]));
    let narrow = server.client.get(format!("{}/v1/audit", server.url)).bearer_auth(&eraser);
    assert_refused(narrow, 403, "forbidden").await;
    for wrong in ["limit=0", "limit=201", "after=x", "colour=red"] {
        assert_refused(server.get(&format!("/v1/audit?{wrong}")), 400, "invalid_request").await;
    }
}
