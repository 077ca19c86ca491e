//! Who is let in: wrong credentials, too many of them, disabled tenants. Who may do what is asked in [`crate::matrix`].

use std::num::NonZeroU32;

use muster_domain::rsa_key::RsaPublicKey;
use muster_domain::token::Scope;
use muster_producer::ProducerOptions;
use muster_producer::api::HttpOptions;
use muster_store::keys::{self, NewKey};
use muster_store::{tenants, tokens};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use crate::harness::{Server, assert_refused, token, until};
use crate::matrix::{Door, PUBLIC, rows, signed};

#[tokio::test]
async fn every_route_asks_for_a_known_token() {
    let server = Server::start().await;
    tokens::create(&server.store, server.tenant.id, "gone", &[Scope::Ops]).await.unwrap();
    let revoked = token(&server.store, &server.tenant, "revoked", &[Scope::Ops]).await;
    tokens::revoke(&server.store, server.tenant.id, "revoked").await.unwrap();
    let unknown = format!("mst_{}", "A".repeat(43));
    let long = format!("mst_{}", "A".repeat(8_000));
    for row in rows().into_iter().filter(|row| row.door == Door::Native) {
        let (method, path) = (row.method, row.path);
        let path_of_none =
            path.replace("{id}", "0190a5f0-7b7c-7000-8000-000000000001").replace("{name}", "hr");
        let url = format!("{}{path_of_none}", server.url);
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
    }
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
    assert!(documentation["paths"]["/v1/imports"]["post"]["responses"]["202"].is_object());
    let page = server.get("/docs/").send().await.unwrap();
    assert_eq!(page.status().as_u16(), 200);
}

/// One request to a route of each door, with whatever credential.
fn every_way_in(server: &Server, token: &str, jwt: &str) -> Vec<RequestBuilder> {
    let get = |path: &str| server.client.get(format!("{}{path}", server.url));
    vec![
        get("/v1/imports").bearer_auth(token),
        get("/_api/admin/users/import/userimport_0").bearer_auth(jwt),
        get("/apps/api/v1/bulk/users/jobs").basic_auth(server.tenant.slug.as_str(), Some(token)),
        get("/v1/users").basic_auth(server.tenant.slug.as_str(), Some(token)),
        get("/api/system/ping/").bearer_auth(token),
    ]
}

async fn add_key(server: &Server) {
    let key = RsaPublicKey::from_pem(PUBLIC).unwrap();
    let new = NewKey { kid: "k", key: &key, app_id: None, host: None, scopes: NewKey::SCOPES };
    assert!(keys::add(server.store.pool(), server.tenant.id, &new).await.unwrap());
}

fn limited(of_address: u32, of_token: u32) -> ProducerOptions {
    let (auth_failures, token_failures) = (NonZeroU32::new(of_address), NonZeroU32::new(of_token));
    let http = HttpOptions { auth_failures, token_failures, ..HttpOptions::default() };
    ProducerOptions { http, ..ProducerOptions::default() }
}

async fn assert_waits(response: Response) {
    assert_eq!(response.status(), 429);
    let seconds: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=61).contains(&seconds), "{seconds}");
    let body: Value = response.json().await.unwrap();
    assert!(body["error"].is_object() || body["message"].is_string() || body["detail"].is_string(), "{body}");
}

#[tokio::test]
async fn an_address_may_fail_so_often_at_all_doors_together_and_who_is_known_goes_on() {
    // One comes back in half a minute, which is long enough for a slow machine.
    let server = Server::start_with(limited(2, 1_000)).await;
    add_key(&server).await;
    let jwt = signed(&server.tenant, "k");
    for request in every_way_in(&server, &server.token, &jwt) {
        assert!(matches!(request.send().await.unwrap().status().as_u16(), 200 | 404));
    }
    let mut refused = 0;
    for number in 0..4 {
        let unknown = format!("mst_{number:043}");
        for request in every_way_in(&server, &unknown, &signed(&server.tenant, "unknown")) {
            let response = request.send().await.unwrap();
            match response.status().as_u16() {
                401 | 403 => refused += 1,
                _ => assert_waits(response).await,
            }
        }
    }
    assert!((2..=3).contains(&refused), "{refused}");
    for request in every_way_in(&server, &server.token, &jwt) {
        assert!(matches!(request.send().await.unwrap().status().as_u16(), 200 | 404));
    }
    // Without any credential nothing is tried.
    let bare = server.client.get(format!("{}/v1/imports", server.url));
    assert_refused(bare, 401, "unauthorized").await;
    let other = token(&server.store, &server.tenant, "not yet seen", &[Scope::Ops]).await;
    let error = assert_refused(
        server.client.get(format!("{}/v1/imports", server.url)).bearer_auth(other),
        429,
        "rate_limited",
    )
    .await;
    assert!(error["message"].as_str().unwrap().contains("try again in"), "{error}");
}

#[tokio::test]
async fn tokens_that_begin_alike_may_fail_so_often_together() {
    let server = Server::start_with(limited(1_000, 3)).await;
    let mut statuses = Vec::new();
    for number in 0..6 {
        let guess = format!("mst_abcdefgh{number:035}");
        let request = server.client.get(format!("{}/v1/imports", server.url)).bearer_auth(guess);
        statuses.push(request.send().await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429, 429]);
    let another = format!("mst_{}", "B".repeat(43));
    assert_refused(
        server.client.get(format!("{}/v1/imports", server.url)).bearer_auth(another),
        401,
        "unauthorized",
    )
    .await;
}

#[tokio::test]
async fn a_disabled_tenant_is_refused_at_every_door_and_says_why() {
    let server = Server::start().await;
    add_key(&server).await;
    let jwt = signed(&server.tenant, "k");
    let ask = async || {
        let mut answers = Vec::new();
        for request in every_way_in(&server, &server.token, &jwt) {
            let response = request.send().await.unwrap();
            answers.push((response.status().as_u16(), response.json::<Value>().await.unwrap()));
        }
        answers
    };
    let open = ask().await;
    assert!(open.iter().all(|(status, _)| matches!(status, 200 | 404)), "{open:?}");
    tenants::set_disabled(&server.store, &server.tenant.slug, true).await.unwrap().unwrap();
    // A token that was looked up is not looked up again for some seconds.
    until("the tenant is known to be disabled", async || {
        ask().await.iter().all(|(status, _)| *status == 403)
    })
    .await;
    let closed = ask().await;
    assert_eq!(closed[0].1["error"]["code"], "tenant_disabled");
    assert_eq!(closed[1].1["error"]["reason"], "TenantDisabled");
    assert!(closed[2].1["message"].as_str().unwrap().contains("disabled"), "{closed:?}");
    assert_eq!(closed[3].1, closed[2].1);
    assert_eq!(closed[4].1["detail"], "The tenant is disabled.");
    // An unknown credential learns nothing of it.
    let unknown = format!("mst_{}", "A".repeat(43));
    for request in every_way_in(&server, &unknown, &signed(&server.tenant, "unknown")) {
        let status = request.send().await.unwrap().status().as_u16();
        assert!(matches!(status, 401 | 403), "{status}");
    }
    tenants::set_disabled(&server.store, &server.tenant.slug, false).await.unwrap().unwrap();
    assert!(ask().await.iter().all(|(status, _)| matches!(status, 200 | 404)));
}

/// The last lock is in the store itself: what is read of an import is read for its tenant.
#[tokio::test]
async fn records_are_read_for_the_tenant_that_has_the_import() {
    use muster_domain::id::ImportId;
    use muster_store::records::{self, RecordFilter};
    use muster_store::{problems, reports};

    let server = Server::start().await;
    let import = crate::harness::accepted(server.upload("start=manual", "email\nnobody\n")).await;
    let import = ImportId::new(import["id"].as_str().unwrap().parse().unwrap());
    let other =
        tenants::create(&server.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    let options = reports::import(&server.store, server.tenant.id, import).await.unwrap().unwrap().options;
    for (tenant, found) in [(server.tenant.id, 1), (other.id, 0)] {
        let (store, all) = (&server.store, RecordFilter::default());
        assert_eq!(records::page(store, tenant, import, &options, all, 10).await.unwrap().len(), found);
        assert_eq!(records::failed(store, tenant, import, 0, 10, 1 << 20).await.unwrap().len(), found);
        assert_eq!(problems::problems(store, tenant, import, 10).await.unwrap().problems.len(), found);
        assert_eq!(
            records::issues(&mut *store.reading(tenant).await.unwrap(), tenant, &[import], 0, 10)
                .await
                .unwrap()
                .len(),
            found
        );
    }
}
