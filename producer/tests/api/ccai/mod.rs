//! The front door for CCAI Platform: who may do what, and what the server must be set up for. Its contract is tested in
//! cli/tests/contract.

mod jobs;
mod meeting;
mod template;

use std::num::NonZeroU32;

use muster_domain::token::Scope;
use muster_producer::ProducerOptions;
use muster_producer::api::HttpOptions;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Server, token};

/// Every operation, and the scope that it takes.
const SCOPES: [(&str, &str, Scope); 10] = [
    ("get", "/bulk/users/template", Scope::ImportRead),
    ("post", "/bulk/users/upload", Scope::ImportWrite),
    ("put", "/bulk/users/upload", Scope::ImportWrite),
    ("post", "/bulk/users/proceed", Scope::ImportWrite),
    ("get", "/bulk/users/jobs", Scope::ImportRead),
    ("get", "/bulk/users/jobs/{id}", Scope::ImportRead),
    ("get", "/bulk/users_jobs/{id}", Scope::ImportRead),
    ("get", "/bulk/users/errors/scheme/{id}", Scope::ImportRead),
    ("get", "/bulk/users/errors/update/{id}", Scope::ImportRead),
    ("get", "/users", Scope::UsersRead),
];

#[tokio::test]
async fn every_operation_asks_for_a_known_credential_with_its_scope() {
    let server = Server::start().await;
    let slug = server.tenant.slug.as_str();
    let unknown = format!("mst_{}", "A".repeat(43));
    for prefix in ["/apps/api/v1", "/v1"] {
        for (at, (method, path, scope)) in SCOPES.into_iter().enumerate() {
            let url = format!("{}{prefix}{}", server.url, path.replace("{id}", "1"));
            let method: Method = method.to_uppercase().parse().unwrap();
            let plain = || server.client.request(method.clone(), &url);
            let twice = plain().basic_auth(slug, Some(&server.token)).header("authorization", "Basic x");
            for request in [
                plain().basic_auth(slug, Some(&unknown)),
                plain().basic_auth("somebody", Some(&server.token)),
                plain().basic_auth(slug, Option::<&str>::None),
                plain().header("authorization", "Basic x"),
                twice,
            ] {
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{url}");
                let challenge = response.headers()["www-authenticate"].to_str().unwrap();
                assert!(challenge.starts_with("Basic "), "{url}: {challenge}");
                let body: Value = response.json().await.unwrap();
                assert!(body["message"].is_string(), "{url}: {body}");
            }
            let scopes: Vec<Scope> =
                Scope::ALL.iter().copied().filter(|held| ![scope, Scope::Ops].contains(held)).collect();
            let name = format!("{prefix} {at}");
            let others = token(&server.store, &server.tenant, &name, &scopes).await;
            let response = plain().basic_auth(slug, Some(others)).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{url}");
        }
    }
}

#[tokio::test]
async fn more_requests_a_second_than_are_allowed_are_refused() {
    let http = HttpOptions { ccai_requests_per_second: NonZeroU32::new(1), ..HttpOptions::default() };
    let server = Server::start_with(ProducerOptions { http, ..ProducerOptions::default() }).await;
    let ask = async || -> Response {
        let url = format!("{}/apps/api/v1/bulk/users/jobs", server.url);
        let slug = server.tenant.slug.as_str();
        server.client.get(url).basic_auth(slug, Some(&server.token)).send().await.unwrap()
    };
    assert_eq!(ask().await.status(), StatusCode::OK);
    // However slow the machine is, some two requests come within a second of each other.
    for _ in 0..1_000 {
        let response = ask().await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(response.headers()["retry-after"], "1");
            let body: Value = response.json().await.unwrap();
            assert_eq!(body, json!({"message": "Too many requests: try again in a second"}));
            // The native API has no such limit.
            assert!(server.json("/v1/imports").await["imports"].is_array());
            return;
        }
    }
    panic!("no request was refused");
}

#[tokio::test]
async fn the_documentation_has_every_operation_with_its_own_credential() {
    let server = Server::start().await;
    let documentation = server.json("/openapi.json").await;
    assert_eq!(documentation["components"]["securitySchemes"]["api_user"]["scheme"], "basic");
    let paths = documentation["paths"].as_object().unwrap();
    let documented = paths.iter().filter(|(path, _)| path.starts_with("/apps/"));
    assert_eq!(documented.map(|(_, item)| item.as_object().unwrap().len()).sum::<usize>(), SCOPES.len());
    for (method, path, _) in SCOPES {
        let operation = &paths[&format!("/apps/api/v1{path}")][method];
        assert!(operation["security"][0]["api_user"].is_array(), "{method} {path}");
        let error = &operation["responses"]["500"]["content"]["application/json"]["schema"]["$ref"];
        assert_eq!(error, "#/components/schemas/CcaiMessage", "{method} {path}");
    }
}
