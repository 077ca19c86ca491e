//! A template of the largest catalog, and links of a server that does not know its own address.

use muster_store::catalog::{self, Applied};
use reqwest::Method;
use serde_json::json;

use super::jobs::{at, form, job, ok, start, users};

#[tokio::test]
async fn a_copy_of_the_template_of_the_largest_catalog_is_valid() {
    let server = start().await;
    let names =
        |kind: &str| (0..10_000).map(|at| format!("{kind} number {at} of this rather large place")).collect();
    let (roles, teams): (Vec<String>, Vec<String>) = (names("Role"), names("Team"));
    let wanted = serde_json::from_value(json!({"roles": roles, "teams": teams})).unwrap();
    let applied = catalog::apply(&server.store, server.tenant.id, &wanted).await.unwrap();
    assert!(matches!(applied, Applied::Catalog(_)));
    let template = ok(at(&server, Method::GET, "users/template")).await;
    // Written with one entry a line it takes more room than it came in.
    let copy = serde_json::to_string_pretty(&template).unwrap();
    assert!(copy.len() > 1024 * 1024, "larger than another record may be");
    let uploaded = ok(at(&server, Method::POST, "users/upload").multipart(form(copy))).await;
    let job = job(&server, uploaded["id"].as_i64().unwrap()).await;
    assert_eq!((&job["status"], &job["scheme_errors"]), (&json!("valid_scheme"), &json!([])));
}

#[tokio::test]
async fn links_of_a_server_without_a_public_address_have_no_host() {
    let server = start().await;
    let ticket = ok(at(&server, Method::POST, "users/upload").multipart(form(users(1)))).await;
    assert_eq!(ticket["link"], format!("/apps/api/v1/bulk/users_jobs/{}", ticket["id"]));
}

#[tokio::test]
async fn flags_of_the_template_are_texts() {
    let server = start().await;
    let template = ok(at(&server, Method::GET, "users/template")).await;
    for flag in ["max_chat_limit_enabled", "unrestricted_international_calling", "external_user"] {
        assert_eq!(template[0][flag], json!("0"), "{flag}");
    }
}
