//! Who may do what: every route of the documentation, with every wrong credential and the other tenant's.

use muster_producer::api::openapi;
use muster_shared::store::{tenants, tokens};
use muster_shared::token::Scope;
use reqwest::Method;
use serde_json::Value;

use crate::harness::{Server, accepted, assert_refused, refused, token};

/// Routes without a token.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// How routes of front doors begin that have credentials of their own: their contract tests ask who may do what.
const FRONT_DOORS: [&str; 4] = ["/_api/admin/", "/api/", "/apps/", "/v1/bulk/"];

/// Method and path of every route, and the scope that it takes. A route that is not here fails the tests.
const SCOPES: [(&str, &str, Scope); 21] = [
    ("post", "/v1/imports", Scope::ImportWrite),
    ("get", "/v1/imports", Scope::ImportRead),
    ("post", "/v1/inspect", Scope::ImportWrite),
    ("get", "/v1/imports/{id}", Scope::ImportRead),
    ("get", "/v1/imports/{id}/records", Scope::ImportRead),
    ("get", "/v1/imports/{id}/problems", Scope::ImportRead),
    ("get", "/v1/imports/{id}/failed.csv", Scope::ImportRead),
    ("get", "/v1/imports/{id}/failed.ndjson", Scope::ImportRead),
    ("post", "/v1/imports/{id}/proceed", Scope::ImportWrite),
    ("post", "/v1/imports/{id}/pause", Scope::ImportWrite),
    ("post", "/v1/imports/{id}/resume", Scope::ImportWrite),
    ("post", "/v1/imports/{id}/cancel", Scope::ImportWrite),
    ("post", "/v1/imports/{id}/retry", Scope::ImportWrite),
    ("get", "/v1/users", Scope::UsersRead),
    ("get", "/v1/users/export", Scope::UsersRead),
    ("get", "/v1/users/{id}", Scope::UsersRead),
    ("get", "/v1/profiles", Scope::ImportRead),
    ("get", "/v1/profiles/{name}", Scope::ImportRead),
    ("put", "/v1/profiles/{name}", Scope::ImportWrite),
    ("delete", "/v1/profiles/{name}", Scope::ImportWrite),
    ("get", "/v1/catalog", Scope::CatalogRead),
];
const PUT_CATALOG: (&str, &str, Scope) = ("put", "/v1/catalog", Scope::CatalogWrite);

fn routes() -> Vec<(Method, String, Scope)> {
    let documented = serde_json::to_value(openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in documented["paths"].as_object().unwrap() {
        for (method, _) in item.as_object().unwrap() {
            if OPEN.contains(&path.as_str()) || FRONT_DOORS.iter().any(|door| path.starts_with(door)) {
                continue;
            }
            let known = SCOPES.iter().chain([&PUT_CATALOG]).find(|(m, p, _)| m == method && p == path);
            let (_, _, scope) = known.unwrap_or_else(|| panic!("{method} {path} has no row"));
            routes.push((method.to_uppercase().parse().unwrap(), path.clone(), *scope));
        }
    }
    assert_eq!(routes.len(), SCOPES.len() + 1, "a row is of no route");
    routes
}

#[tokio::test]
async fn every_route_asks_for_a_known_token_with_its_scope() {
    let server = Server::start().await;
    tokens::create(&server.store, server.tenant.id, "gone", &[Scope::Ops]).await.unwrap();
    let revoked = token(&server.store, &server.tenant, "revoked", &[Scope::Ops]).await;
    tokens::revoke(server.store.pool(), server.tenant.id, "revoked").await.unwrap();
    let unknown = format!("mst_{}", "A".repeat(43));
    let long = format!("mst_{}", "A".repeat(8_000));
    for (method, path, scope) in routes() {
        let url = format!(
            "{}{}",
            server.url,
            path.replace("{id}", "0190a5f0-7b7c-7000-8000-000000000001").replace("{name}", "hr")
        );
        let plain = || server.client.request(method.clone(), &url);
        let mut wrong = vec![
            plain(),
            plain().bearer_auth(&unknown),
            plain().bearer_auth(&revoked),
            plain().bearer_auth(&long),
            plain().bearer_auth("x y"),
            plain().query(&[("token", &server.token)]),
            plain().bearer_auth(&server.token).header("authorization", format!("Bearer {unknown}")),
        ];
        // At this address, Basic is the credential of another front door.
        if path != "/v1/users" {
            wrong.push(plain().basic_auth("user", Some(&server.token)));
        }
        for request in wrong {
            let response = request.send().await.unwrap();
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
            let (status, error) = crate::harness::error(response).await;
            assert_eq!((status, &error["code"]), (401, &Value::from("unauthorized")), "{method} {path}");
        }
        let others: Vec<Scope> =
            Scope::ALL.iter().copied().filter(|held| *held != scope && *held != Scope::Ops).collect();
        let name = format!("{method} {path}");
        let weak = token(&server.store, &server.tenant, &name, &others).await;
        assert_refused(plain().bearer_auth(&weak), 403, "forbidden").await;
        let able = token(&server.store, &server.tenant, &format!("{name} able"), &[scope]).await;
        let status = plain().bearer_auth(&able).send().await.unwrap().status().as_u16();
        assert!(!matches!(status, 401 | 403 | 500), "{method} {path}: {status}");
    }
}

#[tokio::test]
async fn another_tenants_ids_are_as_missing_ones_on_every_route() {
    let server = Server::start().await;
    let import = accepted(server.upload("start=manual", "email\nnobody\n")).await;
    let other =
        tenants::create(&server.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    let foreign = token(&server.store, &other, "all", &[Scope::Ops]).await;
    let own = import["id"].as_str().unwrap();
    for (method, path, _) in routes().into_iter().filter(|(_, path, _)| path.contains("{id}")) {
        let ask = async |id: &str| {
            let url = format!("{}{}", server.url, path.replace("{id}", id));
            let (status, mut error) =
                refused(server.client.request(method.clone(), url).bearer_auth(&foreign)).await;
            error["request_id"].take();
            (status, error)
        };
        let missing = ask("0190a5f0-7b7c-7000-8000-000000000001").await;
        assert_eq!(missing.0, 404, "{method} {path}");
        assert_eq!(ask(own).await, missing, "{method} {path}");
        for odd in ["-1", "99999999999999999999", "%00", "..%2F..", "';drop table imports", "%FF"] {
            assert_eq!(ask(odd).await.0, 404, "{method} {path} {odd}");
        }
    }
    let after = server.json(&format!("/v1/imports/{own}")).await;
    assert_eq!(after, import, "nothing was done to it");
}

#[tokio::test]
async fn what_is_not_there_has_the_shape_of_errors() {
    let server = Server::start().await;
    assert_refused(server.get("/v2/nothing"), 404, "not_found").await;
    assert_refused(server.request(Method::DELETE, "/v1/catalog"), 405, "method_not_allowed").await;
    let sane = server.get("/v1/catalog").header("x-request-id", "abc-1").send().await.unwrap();
    assert_eq!(sane.headers()["x-request-id"], "abc-1");
    let odd = server.get("/v1/catalog").header("x-request-id", "a b").send().await.unwrap();
    assert_ne!(odd.headers()["x-request-id"], "a b");
}

#[tokio::test]
async fn operators_see_how_it_fares() {
    let server = Server::start().await;
    assert_eq!(server.json("/healthz").await["status"], "alive");
    assert_eq!(server.json("/readyz").await["status"], "ready");
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("muster_store_connections{"), "{metrics}");
    assert!(metrics.contains("muster_http_request_seconds_bucket{"), "{metrics}");
    let documentation = server.json("/openapi.json").await;
    assert!(documentation["paths"]["/v1/imports"]["post"]["responses"]["default"].is_object());
    let page = server.get("/docs/").send().await.unwrap();
    assert_eq!(page.status().as_u16(), 200);
}
