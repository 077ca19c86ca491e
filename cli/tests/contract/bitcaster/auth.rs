//! C.1.2: credentials, organizations and content types.

use reqwest::Method;
use reqwest::multipart::Form;
use serde_json::json;

use super::{Desk, answer, path};

#[tokio::test]
async fn key_token_and_bearer_are_taken() {
    let desk = Desk::new().await;
    for scheme in ["Key", "Token", "Bearer", "key", "TOKEN"] {
        let request = desk.request(Method::GET, "/api/o/my-org/u/", &format!("{scheme} {}", desk.token));
        assert_eq!(answer(request).await.is(200), json!([]));
    }
}

#[tokio::test]
async fn without_credentials_it_is_401_with_a_challenge() {
    let desk = Desk::new().await;
    let missing = "Authentication credentials were not provided.";
    let url = format!("{}/api/o/my-org/u/", desk.tenant.url);
    for (authorization, detail) in [
        (None, missing),
        (Some("Basic dTpw"), missing),
        (Some("Key"), "Invalid token header. No credentials provided."),
        (Some("Key "), "Invalid token header. No credentials provided."),
        (Some("Key a b"), "Invalid token header. Token string should not contain spaces."),
        (Some("Key nonsense"), "Invalid token."),
        (Some("Token mst_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "Invalid token."),
    ] {
        let mut request = desk.tenant.http.get(&url);
        if let Some(text) = authorization {
            request = request.header("authorization", text);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401, "{authorization:?}");
        assert_eq!(response.headers()["www-authenticate"], "Key");
        assert_eq!(response.json::<serde_json::Value>().await.unwrap(), json!({"detail": detail}));
    }
}

#[tokio::test]
async fn a_token_of_one_organization_is_refused_at_another() {
    let desk = Desk::new().await;
    let printed = desk.tenant.muster(&[
        "token",
        "create",
        "--tenant",
        &desk.tenant.slug,
        "--name",
        "bound",
        "--scope",
        "users:write",
        "--organization",
        "other",
    ]);
    let bound = format!("Key {}", printed.trim());
    let denied = json!({"detail": "You do not have permission to perform this action."});
    let call = async |method, path: &str| {
        answer(desk.request(method, path, &bound).json(&json!({"email": "a@example.com"}))).await
    };
    call(Method::POST, "/api/o/other/u/").await.is(201);
    assert_eq!(call(Method::POST, "/api/o/my-org/u/").await.is(403), denied);
    assert_eq!(call(Method::GET, "/api/v1/user/my-org/").await.is(403), denied);
    assert_eq!(call(Method::PATCH, &path("a@example.com")).await.is(403), denied);
    assert_eq!(call(Method::GET, "/api/o/nowhere/u/").await.is(403), denied);
    // Nor does it open what is about the whole tenant.
    let native = answer(desk.request(
        Method::GET,
        "/v1/users?email=a@example.com",
        &format!("Bearer {}", printed.trim()),
    ));
    assert_eq!(native.await.is(403)["error"]["code"], "forbidden");
}

#[tokio::test]
async fn an_unbound_token_works_on_every_organization_and_another_is_not_found() {
    let desk = Desk::new().await;
    desk.post("/api/o/other/u/", json!({"email": "a@example.com"})).await.is(201);
    desk.post("/api/o/my-org/u/", json!({"email": "a@example.com"})).await.is(200);
    let not_found = json!({"detail": "Not found."});
    assert_eq!(desk.get("/api/o/nowhere/u/").await.is(404), not_found);
    assert_eq!(desk.post("/api/o/nowhere/u/", json!({"email": "b@example.com"})).await.is(404), not_found);
    assert_eq!(desk.tenant.users().await.len(), 1);
}

#[tokio::test]
async fn a_read_only_token_cannot_write() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "a@example.com"})).await;
    let reader = format!("Key {}", desk.tenant.token("reader", &["users:read"]));
    let stranger = format!("Key {}", desk.tenant.token("stranger", &["import:write", "catalog:write"]));
    let address = format!("{}address/", path("a@example.com"));
    let body = json!({"email": "b@example.com", "first_name": "B", "name": "x", "value": "y"});
    for (method, path, reads) in [
        (Method::GET, "/api/o/my-org/u/", true),
        (Method::POST, "/api/o/my-org/u/", false),
        (Method::GET, &*path("a@example.com"), true),
        (Method::PUT, &*path("a@example.com"), false),
        (Method::PATCH, &*path("a@example.com"), false),
        (Method::GET, &*address, true),
        (Method::POST, &*address, false),
    ] {
        let as_reader = answer(desk.request(method.clone(), path, &reader).json(&body)).await;
        assert_eq!(as_reader.status, if reads { 200 } else { 403 }, "{method} {path}");
        let as_stranger = answer(desk.request(method, path, &stranger).json(&body)).await;
        assert_eq!(as_stranger.status, 403);
    }
    assert_eq!(desk.tenant.users().await.len(), 1);
}

#[tokio::test]
async fn tenants_do_not_see_each_others_users() {
    let (one, two) = (Desk::new().await, Desk::new().await);
    one.user(json!({"email": "a@example.com", "first_name": "One"})).await;
    two.get(&path("a@example.com")).await.is(404);
    two.patch(&path("a@example.com"), json!({"first_name": "Two"})).await.is(404);
    two.user(json!({"email": "a@example.com", "first_name": "Two"})).await;
    assert_eq!(one.only_user().await["given_name"], "One");
}

#[tokio::test]
async fn there_is_no_throttle() {
    let desk = Desk::new().await;
    for at in 0..60 {
        desk.post("/api/o/my-org/u/", json!({"email": format!("u{at}@example.com")})).await.is(201);
    }
}

#[tokio::test]
async fn json_forms_and_multipart_are_read() {
    let desk = Desk::new().await;
    let post = || desk.request(Method::POST, "/api/o/my-org/u/", &format!("Key {}", desk.token));
    let fields = [("email", "b@example.com"), ("first_name", "B"), ("custom_fields", r#"{"k": 1}"#)];
    let form = answer(
        post()
            .header("content-type", "application/x-www-form-urlencoded")
            .body("email=a%40example.com&first_name=A+A&custom_fields=%7B%22k%22%3A+1%7D&unknown=x"),
    );
    let form = form.await.is(201);
    assert_eq!((&form["first_name"], &form["custom_fields"]), (&json!("A A"), &json!({"k": 1})));
    let multipart = fields.into_iter().fold(Form::new(), |form, (name, value)| form.text(name, value));
    let multipart = answer(post().multipart(multipart)).await.is(201);
    assert_eq!((&multipart["first_name"], &multipart["custom_fields"]), (&json!("B"), &json!({"k": 1})));
    let typed = answer(
        post()
            .header("content-type", "application/json; charset=utf-8")
            .body(r#"{"email": "c@example.com"}"#),
    );
    typed.await.is(201);
}

#[tokio::test]
async fn a_body_that_begins_with_a_brace_is_json_whatever_its_type() {
    let desk = Desk::new().await;
    for (at, media_type) in ["application/x-www-form-urlencoded", "text/plain", ""].into_iter().enumerate() {
        let request = desk.request(Method::POST, "/api/v1/user/my-org/", &format!("Token {}", desk.token));
        let request =
            if media_type.is_empty() { request } else { request.header("content-type", media_type) };
        answer(request.body(format!(" \n{{\"email\": \"u{at}@example.com\"}}"))).await.is(201);
    }
}

#[tokio::test]
async fn other_bodies_are_refused() {
    let desk = Desk::new().await;
    let post = |media_type: &str, body: &'static str| {
        let request = desk.request(Method::POST, "/api/o/my-org/u/", &format!("Key {}", desk.token));
        answer(request.header("content-type", media_type).body(body))
    };
    let refused = post("text/csv", "email\na@example.com").await.is(415);
    assert_eq!(refused, json!({"detail": "Unsupported media type \"text/csv\" in request."}));
    let list = post("application/json", "[]").await.is(400);
    assert_eq!(list, json!({"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]}));
    let null = post("application/json", "null").await.is(400);
    assert_eq!(null, json!({"non_field_errors": ["No data provided"]}));
    assert_eq!(post("application/json", "").await.is(400), json!({"email": ["This field is required."]}));
    let large = desk.request(Method::POST, "/api/o/my-org/u/", &format!("Key {}", desk.token));
    answer(large.body(format!("{{\"x\": \"{}\"}}", "x".repeat(2_000_000)))).await.is(413);
}
