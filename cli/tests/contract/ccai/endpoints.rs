//! B.1: endpoints, both prefixes, authentication.

use muster_domain::token::Scope;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::client::{Api, BASE, form, id_of, json_of, ok, person, refused, token};

/// Every step of a job under one prefix.
async fn walk(api: &Api, base: &str) {
    let at = |method: Method, path: &str| api.at(method, &format!("{base}/{path}"));
    assert!(ok(at(Method::GET, "bulk/users/template")).await[0]["roles"].is_array());
    assert!(ok(at(Method::GET, "users")).await.is_array());
    let bad = form("[{}]");
    let id = id_of(&ok(at(Method::POST, "bulk/users/upload").multipart(bad)).await);
    let errors = ok(at(Method::GET, &format!("bulk/users/errors/scheme/{id}"))).await;
    assert_eq!(errors.as_array().unwrap().len(), 3, "{errors}");
    let good = form(json!([person("walk@example.com", json!({}))]).to_string()).text("id", id.to_string());
    let again = ok(at(Method::PUT, "bulk/users/upload").multipart(good)).await;
    assert_eq!((id_of(&again), &again["status"]), (id, &json!("created")));
    let started = ok(at(Method::POST, "bulk/users/proceed").json(&json!({"id": id}))).await;
    assert_eq!((id_of(&started), &started["status"]), (id, &json!("valid_scheme")));
    api.completed(id).await;
    for path in ["bulk/users/jobs", "bulk/users_jobs"] {
        assert_eq!(ok(at(Method::GET, &format!("{path}/{id}"))).await["status"], "completed", "{path}");
    }
    assert_eq!(ok(at(Method::GET, "bulk/users/jobs")).await[0]["id"], id);
    assert_eq!(ok(at(Method::GET, &format!("bulk/users/errors/update/{id}"))).await, json!([]));
}

#[tokio::test]
async fn every_endpoint_answers_under_the_long_prefix() {
    walk(&Api::new().await, BASE).await;
}

#[tokio::test]
async fn every_endpoint_answers_under_the_short_prefix() {
    walk(&Api::new().await, "/v1").await;
}

#[tokio::test]
async fn the_job_link_leads_to_the_job() {
    let api = Api::new().await;
    let body = ok(api.post("bulk/users/upload").multipart(form("[]"))).await;
    let link = body["link"].as_str().unwrap();
    assert!(link.starts_with("http://") && link.ends_with(&format!("{BASE}/bulk/users_jobs/{}", body["id"])));
    let job = api.tenant.http.get(link).basic_auth(&api.tenant.slug, Some(&api.token));
    assert_eq!(ok(job).await["id"], body["id"]);
}

#[tokio::test]
async fn basic_authentication_is_subdomain_and_credential() {
    let api = Api::new().await;
    let other = Api::new().await;
    let ask = |user: &str, password: &str| {
        api.tenant
            .http
            .get(format!("{}{BASE}/bulk/users/jobs", api.tenant.url))
            .basic_auth(user, Some(password))
    };
    ok(ask(&api.tenant.slug, &api.token)).await;
    let unknown = "mst_0000000000000000000000000000000000000000000";
    for (user, password) in [
        (api.tenant.slug.as_str(), unknown),
        (&api.tenant.slug, ""),
        (&api.tenant.slug, &other.token),
        (&other.tenant.slug, &api.token),
        ("", &api.token),
    ] {
        let response = ask(user, password).send().await.unwrap();
        let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
        let (status, body) = json_of(response).await;
        assert_eq!((status, body["message"].is_string()), (401, true));
        assert!(challenge.starts_with("Basic "), "{challenge}");
    }
    let bearer =
        api.tenant.http.get(format!("{}{BASE}/bulk/users/jobs", api.tenant.url)).bearer_auth(&api.token);
    assert_eq!(refused(bearer).await, 401, "no other scheme");
}

#[tokio::test]
async fn a_credential_with_all_scopes_does_everything_and_one_without_is_refused() {
    let mut api = Api::new().await;
    let id = api.upload("[]").await;
    api.token = token(&api.tenant, "reader", &[Scope::ImportRead]).await;
    ok(api.get("bulk/users/jobs")).await;
    ok(api.get("bulk/users/template")).await;
    assert_eq!(refused(api.post("bulk/users/upload").multipart(form("[]"))).await, 403);
    assert_eq!(refused(api.start(id)).await, 403);
    assert_eq!(refused(api.get("users")).await, 403);
}

#[tokio::test]
async fn another_tenants_jobs_are_not_there() {
    let (api, other) = (Api::new().await, Api::new().await);
    let id = api.upload(json!([person("a@example.com", json!({}))]).to_string()).await;
    for path in ["bulk/users/jobs", "bulk/users_jobs", "bulk/users/errors/scheme", "bulk/users/errors/update"]
    {
        assert_eq!(refused(other.get(&format!("{path}/{id}"))).await, 404, "{path}");
    }
    assert_eq!(refused(other.start(id)).await, 404);
    let form = form("[]").text("id", id.to_string());
    assert_eq!(refused(other.put("bulk/users/upload").multipart(form)).await, 404);
    assert_eq!(ok(other.get("bulk/users/jobs")).await, json!([]));
    assert_eq!(api.status(id).await, "valid_scheme");
}

#[tokio::test]
async fn the_native_users_address_still_answers_bearers() {
    let api = Api::new().await;
    api.apply_all(&[person("native@example.com", json!({}))]).await;
    let url = format!("{}/v1/users?email=native@example.com", api.tenant.url);
    let ask = |with: &dyn Fn(RequestBuilder) -> RequestBuilder| with(api.tenant.http.get(&url));
    let native: Value = ok(ask(&|request| request.bearer_auth(&api.token))).await;
    assert_eq!(native["users"][0]["given_name"], "John");
    let own = ok(ask(&|request| request.basic_auth(&api.tenant.slug, Some(&api.token)))).await;
    assert_eq!(own[0]["first_name"], "John");
    let (status, body) = json_of(ask(&|request| request).send().await.unwrap()).await;
    assert_eq!((status, &body["error"]["code"]), (401, &json!("unauthorized")));
}
