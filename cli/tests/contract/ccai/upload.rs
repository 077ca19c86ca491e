//! B.1.3: upload and proceed.

use muster_domain::token::Scope;
use reqwest::multipart::Form;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use super::client::{Api, BASE, form, id_of, json_of, ok, person, refused, token};

fn file(email: &str) -> String {
    json!([person(email, json!({}))]).to_string()
}

/// The body of an answer whose `Link` is the bare address of the job.
async fn with_link(request: RequestBuilder) -> Value {
    let response: Response = request.send().await.unwrap();
    let link = response.headers()["link"].to_str().unwrap().to_owned();
    let (status, body) = json_of(response).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["link"], link);
    assert!(link.ends_with(&format!("{BASE}/bulk/users_jobs/{}", id_of(&body))), "{link}");
    body
}

#[tokio::test]
async fn upload_answers_created_with_the_link() {
    let api = Api::new().await;
    let body = with_link(api.post("bulk/users/upload").multipart(form(file("a@example.com")))).await;
    assert_eq!((body.as_object().unwrap().len(), &body["status"]), (3, &json!("created")));
    assert!(body["id"].is_i64());
}

#[tokio::test]
async fn proceed_answers_the_status_before_with_the_link() {
    let api = Api::new().await;
    let id = api.upload(file("a@example.com")).await;
    let body = with_link(api.start(id)).await;
    assert_eq!((body.as_object().unwrap().len(), &body["status"]), (3, &json!("valid_scheme")));
}

#[tokio::test]
async fn proceed_again_starts_nothing_again() {
    let api = Api::new().await;
    let id = api.upload(file("a@example.com")).await;
    ok(api.start(id)).await;
    assert!(
        ["in_progress", "completed"].contains(&with_link(api.start(id)).await["status"].as_str().unwrap())
    );
    let before = api.completed(id).await;
    let users = api.tenant.users().await;
    assert_eq!(with_link(api.start(id)).await["status"], "completed");
    assert_eq!((api.job(id).await, api.tenant.users().await), (before, users));
}

#[tokio::test]
async fn proceed_takes_the_id_as_number_or_text() {
    let api = Api::new().await;
    let id = api.upload(file("a@example.com")).await;
    let text = json!({"id": id.to_string()});
    ok(api.post("bulk/users/proceed").json(&text)).await;
    for body in ["", "{}", "[]", "{", r#"{"id": null}"#, r#"{"id": "x"}"#] {
        let request = api.post("bulk/users/proceed").header("content-type", "application/json").body(body);
        assert_eq!(refused(request).await, 400, "{body}");
    }
}

#[tokio::test]
async fn nothing_is_applied_before_proceed() {
    let api = Api::new().await;
    let id = api.upload(file("a@example.com")).await;
    assert_eq!(api.status(id).await, "valid_scheme");
    assert!(api.tenant.users().await.is_empty());
}

#[tokio::test]
async fn put_replaces_the_file_of_a_job_that_was_not_started() {
    let api = Api::new().await;
    let id = api.upload("[]").await;
    assert_eq!(api.status(id).await, "invalid_scheme");
    let put = |text: String| {
        api.put("bulk/users/upload").multipart(
            Form::new()
                .text("id", id.to_string())
                .part("file", reqwest::multipart::Part::text(text).file_name("second.json")),
        )
    };
    let body = with_link(put(file("second@example.com"))).await;
    assert_eq!((id_of(&body), &body["status"]), (id, &json!("created")));
    let job = api.job(id).await;
    assert_eq!((&job["status"], &job["filename"]), (&json!("valid_scheme"), &json!("second.json")));
    // Once more, on a valid one.
    with_link(put(file("third@example.com"))).await;
    ok(api.start(id)).await;
    assert_eq!(api.completed(id).await["total_rows"], 1);
    let users = api.tenant.users().await;
    assert_eq!((users.len(), &users[0]["email"]), (1, &json!("third@example.com")));
    assert_eq!(refused(put(file("fourth@example.com"))).await, 409);
    assert_eq!(ok(api.get("bulk/users/jobs")).await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_put_that_brings_a_bad_file_makes_the_job_invalid_and_tells_who_sent_it() {
    let mut api = Api::new().await;
    let id = api.upload(file("a@example.com")).await;
    let put = |api: &Api, form: Form| api.put("bulk/users/upload").multipart(form.text("id", id.to_string()));
    assert_eq!(refused(put(&api, Form::new())).await, 400);
    let job = api.job(id).await;
    assert_eq!((&job["status"], &job["total_rows"]), (&json!("valid_scheme"), &json!(1)), "its file is left");
    api.token = token(&api.tenant, "api_user_name_2", &[Scope::ImportWrite, Scope::ImportRead]).await;
    ok(put(&api, form(file("nobody")))).await;
    let job = api.job(id).await;
    assert_eq!(
        (&job["status"], &job["uploaded_api_user_name"]),
        (&json!("invalid_scheme"), &json!("api_user_name_2"))
    );
    assert_eq!(refused(api.start(id)).await, 409);
    assert!(api.tenant.users().await.is_empty());
}

#[tokio::test]
async fn post_with_an_id_is_put() {
    let api = Api::new().await;
    let id = api.upload("[]").await;
    // The part may come after the file.
    let request =
        api.post("bulk/users/upload").multipart(form(file("a@example.com")).text("id", id.to_string()));
    assert_eq!(id_of(&ok(request).await), id);
    assert_eq!(api.status(id).await, "valid_scheme");
    ok(api.start(id)).await;
    let late =
        api.post("bulk/users/upload").multipart(form(file("b@example.com")).text("id", id.to_string()));
    assert_eq!(refused(late).await, 409);
    api.completed(id).await;
    assert_eq!(api.tenant.users().await.len(), 1);
    // An empty part is a field that was not filled in.
    let empty = api.post("bulk/users/upload").multipart(form(file("b@example.com")).text("id", ""));
    assert_ne!(id_of(&ok(empty).await), id);
}

#[tokio::test]
async fn a_large_file_is_validated_whole() {
    let api = Api::new().await;
    let mut users: Vec<Value> =
        (0..9_000).map(|at| person(&format!("user{at}@example.com"), json!({}))).collect();
    users.push(person("USER0@example.com", json!({})));
    let errors = api.scheme_errors(json!(users).to_string()).await;
    assert_eq!(errors, [("Must be unique within the file".to_owned(), 1, Some(9_001))]);
    users.pop();
    let job = api.apply(&users).await;
    assert_eq!((&job["total_rows"], &job["affected_rows"]), (&json!(9_000), &json!(9_000)));
}
