//! C.1.1: the paths of both prefixes, with and without the slash at the end.

use reqwest::Method;
use serde_json::json;

use super::{Desk, answer};

#[tokio::test]
async fn list_and_create_are_at_both_prefixes() {
    let desk = Desk::new().await;
    for (at, path) in ["/api/o/my-org/u/", "/api/v1/user/my-org/", "/api/o/my-org/u", "/api/v1/user/my-org"]
        .into_iter()
        .enumerate()
    {
        desk.post(path, json!({"email": format!("u{at}@example.com")})).await.is(201);
        assert_eq!(desk.get(path).await.is(200).as_array().unwrap().len(), at + 1, "{path}");
    }
}

#[tokio::test]
async fn detail_and_update_are_at_both_prefixes() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "ann@example.com"})).await;
    for (at, path) in
        ["/api/o/my-org/u/ann@example.com", "/api/v1/user/my-org/ann@example.com"].into_iter().enumerate()
    {
        for slash in ["", "/"] {
            let path = format!("{path}{slash}");
            for method in [Method::PUT, Method::PATCH] {
                let name = format!("Ann {at}{slash}{method}");
                let answered = desk.send(method, &path, Some(json!({"first_name": name}))).await.is(200);
                assert_eq!(answered["first_name"], name);
                assert_eq!(desk.get(&path).await.is(200)["first_name"], name);
            }
        }
    }
}

#[tokio::test]
async fn addresses_are_at_both_prefixes_and_names() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "ann@example.com"})).await;
    for (at, user) in
        ["/api/o/my-org/u/ann@example.com", "/api/v1/user/my-org/ann@example.com"].into_iter().enumerate()
    {
        for (nth, end) in ["address/", "addresses/", "address", "addresses"].into_iter().enumerate() {
            let path = format!("{user}/{end}");
            let body = json!({"name": format!("n{at}{nth}"), "value": format!("v{at}{nth}")});
            desk.post(&path, body).await.is(201);
            assert_eq!(desk.get(&path).await.is(200).as_array().unwrap().len(), 2 + 4 * at + nth);
        }
    }
}

#[tokio::test]
async fn a_users_name_in_the_path_may_be_escaped_and_in_any_case() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "o'neil+tag@example.com"})).await;
    for name in ["o'neil+tag@example.com", "o%27neil%2Btag%40example.com", "O%27NEIL+TAG@Example.COM"] {
        let found = desk.get(&format!("/api/o/my-org/u/{name}/")).await.is(200);
        assert_eq!(found["username"], "o'neil+tag@example.com");
    }
}

#[tokio::test]
async fn ping_and_login_say_the_tokens_name() {
    let desk = Desk::new().await;
    for path in ["/api/system/ping/", "/api/system/ping", "/api/login/", "/api/login"] {
        assert_eq!(desk.get(path).await.is(200), json!({"token": "writer"}));
    }
    let wrong = answer(desk.request(Method::GET, "/api/system/ping/", "Key wrong")).await;
    assert_eq!(wrong.is(401), json!({"detail": "Invalid token."}));
}

#[tokio::test]
async fn other_methods_are_refused() {
    let desk = Desk::new().await;
    for path in
        ["/api/o/my-org/u/", "/api/v1/user/my-org/a@example.com/", "/api/o/my-org/u/a@example.com/addresses/"]
    {
        let answered = desk.send(Method::DELETE, path, None).await;
        assert_eq!(answered.is(405), json!({"detail": "Method \"DELETE\" not allowed."}));
    }
}
