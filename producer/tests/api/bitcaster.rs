//! The front door for Bitcaster's clients: its documentation, who may come in, and requests that meet others on the way.
//! Its contract is tested in cli/tests/contract.

use std::time::Duration;

use muster_domain::token::Scope;
use muster_producer::ProducerOptions;
use muster_producer::api::{HttpOptions, openapi};
use muster_store::{catalog, tokens};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Server, token, until};

const USERS: &str = "/api/o/my-org/u/";

async fn server() -> Server {
    let server = Server::start().await;
    let wanted =
        serde_json::from_value(json!({"organizations": [{"slug": "my-org", "name": "My"}]})).unwrap();
    catalog::apply(&server.store, server.tenant.id, &wanted).await.unwrap();
    server
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn create(server: &Server, email: &str) -> RequestBuilder {
    server.post(USERS).json(&json!({ "email": email }))
}

async fn users(server: &Server) -> i64 {
    sqlx::query_scalar("select count(*) from users").fetch_one(server.store.pool()).await.unwrap()
}

#[tokio::test]
async fn every_route_is_documented_and_asks_for_a_token_with_its_scope() {
    let server = server().await;
    assert_eq!(answer(create(&server, "a@example.com")).await.0, 201);
    let weak = token(&server.store, &server.tenant, "weak", &[Scope::ImportWrite, Scope::CatalogWrite]).await;
    let documented = serde_json::to_value(openapi()).unwrap();
    let mut operations = 0;
    for (path, item) in
        documented["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/api/"))
    {
        for (method, operation) in item.as_object().unwrap() {
            operations += 1;
            assert_eq!(operation["tags"], json!(["bitcaster"]), "{path}");
            let url = path
                .replace("{org}", "my-org")
                .replace("{username}", "a@example.com")
                .replace("{project}", "p")
                .replace("{application}", "a");
            let method: Method = method.to_uppercase().parse().unwrap();
            let bare = server.client.request(method.clone(), format!("{}{url}", server.url));
            let (status, body) = answer(bare).await;
            assert_eq!(
                (status, body),
                (401, json!({"detail": "Authentication credentials were not provided."}))
            );
            let (status, _) =
                answer(server.client.request(method, format!("{}{url}", server.url)).bearer_auth(&weak))
                    .await;
            let open = path == "/api/system/ping/" || path == "/api/login/";
            assert_eq!(status, if open { 200 } else { 403 }, "{url}");
        }
    }
    assert_eq!(operations, 2 * 2 + 2 * 3 + 4 * 2 + 2 + 2);
}

#[tokio::test]
async fn a_header_without_a_token_or_with_two_is_told_so() {
    let server = server().await;
    for (header, said) in [
        ("Key", "Invalid token header. No credentials provided."),
        ("Token a b", "Invalid token header. Token string should not contain spaces."),
        ("Key nonsense", "Invalid token."),
    ] {
        let request = server.client.get(format!("{}{USERS}", server.url)).header("authorization", header);
        assert_eq!(answer(request).await, (401, json!({ "detail": said })), "{header}");
    }
}

#[tokio::test]
async fn a_body_of_null_is_no_data() {
    let server = server().await;
    let request = server.post(USERS).header("content-type", "application/json").body("null");
    assert_eq!(answer(request).await, (400, json!({"non_field_errors": ["No data provided"]})));
}

/// A client made the user by its address before it knew of names.
#[tokio::test]
async fn a_registration_names_a_user_that_has_its_address_and_no_name() {
    let server = server().await;
    assert_eq!(answer(create(&server, "a@example.com")).await.0, 201);
    let body = json!({"username": "ann", "email": "a@example.com"});
    let register = server.post("/api/o/my-org/p/p/a/a/register/").json(&body);
    let (status, registered) = answer(register).await;
    assert_eq!((status, &registered["user"]["username"]), (200, &json!("ann")), "{registered}");
    assert_eq!(users(&server).await, 1);
}

#[tokio::test]
async fn a_request_that_meets_another_writer_decides_again() {
    let server = server().await;
    // Somebody inserts the same user and has not committed yet.
    let mut other: PgConnection = server.store.connection().await.unwrap();
    let mut transaction = other.begin().await.unwrap();
    sqlx::query("insert into users (id, tenant_id, email, given_name) values (gen_random_uuid(), $1, 'a@example.com', 'Ann')")
        .bind(server.tenant.id.get())
        .execute(&mut *transaction)
        .await
        .unwrap();
    let request = tokio::spawn(answer(create(&server, "a@example.com")));
    server.until_waiting(1).await;
    transaction.commit().await.unwrap();
    let (status, body) = request.await.unwrap();
    assert_eq!((status, &body["first_name"]), (200, &json!("Ann")));
    assert_eq!(users(&server).await, 1);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_nothing() {
    let server = server().await;
    assert_eq!(answer(create(&server, "first@example.com")).await.0, 201);
    // Somebody has the tenant's users alone.
    let mut other: PgConnection = server.store.connection().await.unwrap();
    let mut transaction = other.begin().await.unwrap();
    muster_store::apply::lock_tenant(&mut transaction, server.tenant.id, true).await.unwrap();
    let leaving = tokio::spawn(answer(create(&server, "second@example.com")));
    server.until_waiting(1).await;
    leaving.abort();
    assert!(leaving.await.is_err());
    transaction.rollback().await.unwrap();
    until("the user is there", async || users(&server).await == 2).await;
    assert_eq!(answer(create(&server, "second@example.com")).await.0, 200);
}

#[tokio::test]
async fn connections_that_went_away_while_idle_are_replaced() {
    let server = server().await;
    assert_eq!(answer(create(&server, "a@example.com")).await.0, 201);
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
    )
    .execute(server.store.pool())
    .await
    .unwrap();
    assert_eq!(answer(create(&server, "b@example.com")).await.0, 201);
}

#[tokio::test]
async fn an_organization_cannot_go_while_somebody_is_enrolled_in_it() {
    let server = server().await;
    let mut other: PgConnection = server.store.connection().await.unwrap();
    let mut transaction = other.begin().await.unwrap();
    muster_store::apply::lock_tenant(&mut transaction, server.tenant.id, false).await.unwrap();
    let (store, tenant) = (server.store.clone(), server.tenant.id);
    let removing =
        tokio::spawn(async move { catalog::apply(&store, tenant, &Default::default()).await.unwrap() });
    server.until_waiting(1).await;
    sqlx::query(
        "insert into memberships (user_id, organization_id, group_id, tenant_id)
                 select gen_random_uuid(), id, 0, $1 from organizations where tenant_id = $1",
    )
    .bind(tenant.get())
    .execute(&mut *transaction)
    .await
    .unwrap();
    transaction.commit().await.unwrap();
    assert!(matches!(removing.await.unwrap(), catalog::Applied::Refused(_)));
}

#[tokio::test]
async fn a_store_that_fails_is_500_and_one_that_is_away_503() {
    let server = server().await;
    assert_eq!(answer(create(&server, "a@example.com")).await.0, 201);
    sqlx::raw_sql("alter table memberships rename to elsewhere").execute(server.store.pool()).await.unwrap();
    let (status, body) = answer(create(&server, "b@example.com")).await;
    let told = body["detail"].as_str().unwrap();
    assert_eq!((status, body.as_object().unwrap().len()), (500, 1));
    assert!(!told.contains("memberships") && !told.contains("relation"), "{told}");
    server.store.close().await;
    let (status, body) = answer(server.get(USERS)).await;
    assert_eq!((status, body["detail"].is_string()), (503, true), "{body}");
}

/// The head of a request whose body is to have 100 bytes, and its first ones.
async fn begin(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST {USERS} HTTP/1.1\r\nHost: x\r\nAuthorization: Token {}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\n\r\n{{\"email\": \"a@example.com\",",
        server.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_body_that_stops_half_way_makes_no_user_and_one_that_pauses_is_408() {
    let stream = {
        let server = server().await;
        let stream = begin(&server).await.into_std().unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut stream = TcpStream::from_std(stream).unwrap();
        // The server closes once it has dealt with it.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        assert_eq!(users(&server).await, 0);
        stream
    };
    drop(stream);
    let http = HttpOptions { idle_body_timeout: Duration::from_millis(200), ..HttpOptions::default() };
    let server = Server::start_with(ProducerOptions { http, ..ProducerOptions::default() }).await;
    let mut answer = [0; 12];
    begin(&server).await.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_token_that_was_revoked_is_401() {
    let server = server().await;
    let revoked = token(&server.store, &server.tenant, "revoked", &[Scope::UsersWrite]).await;
    tokens::revoke(&server.store, server.tenant.id, "revoked").await.unwrap().unwrap();
    let response =
        server.client.get(format!("{}{USERS}", server.url)).bearer_auth(revoked).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["www-authenticate"]),
        (401, &"Key".parse().unwrap())
    );
}

#[tokio::test]
async fn the_default_group_is_a_setting() {
    let http = HttpOptions { default_group: "Staff".into(), ..HttpOptions::default() };
    let server = Server::start_with(ProducerOptions { http, ..ProducerOptions::default() }).await;
    let wanted =
        serde_json::from_value(json!({"organizations": [{"slug": "my-org", "name": "My"}]})).unwrap();
    catalog::apply(&server.store, server.tenant.id, &wanted).await.unwrap();
    assert_eq!(answer(create(&server, "a@example.com")).await.0, 201);
    assert_eq!(catalog::get(&server.store, server.tenant.id).await.unwrap().groups, ["Staff"]);
}
