//! What cannot be done in the state that things are in, and what a newer program wrote.

use serde_json::{Value, json};

use super::Asked;
use crate::harness::{Server, accepted};
use crate::plans::made;
use crate::undo::applied;

const CSV: &str = "email\na@example.com\n";

async fn uploaded(server: &Server, query: &str) -> String {
    accepted(server.upload(query, CSV)).await["id"].as_str().unwrap().to_owned()
}

async fn put_state(server: &Server, import: &str, state: &str) {
    sqlx::query("update imports set state = $2 where id = $1::uuid")
        .bind(import)
        .bind(state)
        .execute(server.store.pool())
        .await
        .unwrap();
}

/// Asks what is at an import: `POST pause`.
async fn told(asked: &mut Asked, server: &Server, import: &str, what: &str, wanted: &str) {
    let (verb, part) = what.split_once(' ').unwrap();
    let (part, query) = part.split_once('?').unwrap_or((part, ""));
    let part = if part.is_empty() { String::new() } else { format!("/{part}") };
    let request = server.request(verb.parse().unwrap(), &format!("/v1/imports/{import}{part}?{query}"));
    asked.told(&format!("{verb} /v1/imports/{{id}}{part}"), wanted, request).await;
}

/// Everything about states.
pub(super) async fn all(asked: &mut Asked) {
    let server = Server::start().await;
    Box::pin(imports(asked, &server)).await;
    Box::pin(undos(asked, &server)).await;
    Box::pin(others(asked, &server)).await;
    Box::pin(newer(asked, &server)).await;
}

async fn imports(asked: &mut Asked, server: &Server) {
    let received = uploaded(server, "start=manual").await;
    for what in [
        "POST pause",
        "POST resume",
        "POST retry",
        "POST plan",
        "POST undo",
        "GET receipt",
        "GET report.html",
    ] {
        told(asked, server, &received, what, "409 state_conflict").await;
    }
    for what in ["GET plan", "GET plan/changes", "GET plan.csv"] {
        told(asked, server, &received, what, "409 no_plan").await;
    }
    told(asked, server, &received, "POST cancel", "200").await;
    told(asked, server, &received, "POST proceed", "409 state_conflict").await;
}

async fn undos(asked: &mut Asked, server: &Server) {
    let gone = applied(server, false).await;
    told(asked, server, &gone, "POST undo", "410 before_images_gone").await;
    told(asked, server, &gone, "POST cancel", "409 state_conflict").await;
    let kept = applied(server, true).await;
    told(asked, server, &kept, "POST undo?outcome=updated", "409 not_applied").await;
    told(asked, server, &kept, "POST undo?start=manual", "202").await;
    told(asked, server, &kept, "POST undo", "409 already_undone").await;
    told(asked, server, &kept, "POST retry", "409 already_undone").await;
    put_state(server, &kept, "cancelled").await;
    told(asked, server, &kept, "POST resume", "409 already_undone").await;
}

/// The catalog, and webhooks.
async fn others(asked: &mut Asked, server: &Server) {
    let catalog = |organizations: Value| {
        let body = json!({"organizations": organizations});
        server.request(reqwest::Method::PUT, "/v1/catalog").json(&body)
    };
    asked.told("PUT /v1/catalog", "200", catalog(json!([{"slug": "acme", "name": "Acme"}]))).await;
    let user = server.post("/api/o/acme/u/").json(&json!({"email": "ann@example.com"}));
    assert_eq!(user.send().await.unwrap().status(), 201);
    asked.told("PUT /v1/catalog", "409 state_conflict", catalog(json!([]))).await;

    let nowhere = json!({"url": "ftp://example.com/"});
    let refused = "400 webhook_target_refused";
    asked.told("POST /v1/webhooks", refused, server.post("/v1/webhooks").json(&nowhere)).await;
    // Nobody listens there.
    let body = json!({"url": "http://127.0.0.1:1/", "enabled": false});
    let webhook: Value = server.post("/v1/webhooks").json(&body).send().await.unwrap().json().await.unwrap();
    let webhook = format!("/v1/webhooks/{}", webhook["id"].as_str().unwrap());
    let change = server.request(reqwest::Method::PATCH, &webhook).json(&nowhere);
    asked.told("PATCH /v1/webhooks/{id}", refused, change).await;
    let secret = |method| server.request(method, &format!("{webhook}/secret"));
    for (method, first, again) in [
        (reqwest::Method::POST, "200", "409 state_conflict"),
        (reqwest::Method::DELETE, "204", "409 state_conflict"),
    ] {
        let name = format!("{method} /v1/webhooks/{{id}}/secret");
        asked.told(&name, first, secret(method.clone())).await;
        asked.told(&name, again, secret(method)).await;
    }
}

/// An import whose options are of a newer program.
async fn newer(asked: &mut Asked, server: &Server) {
    let rewrite = async |import: &str| {
        sqlx::query(
            "update imports set options = jsonb_set(options, '{on_existing}', '\"merge_in_a_new_way\"')
              where id = $1::uuid",
        )
        .bind(import)
        .execute(server.store.pool())
        .await
        .unwrap();
    };
    let wanted = "503 newer_version";
    // Said again, the request is answered with its import.
    let keyed = || server.upload("start=manual", CSV).header("idempotency-key", "newer");
    let import = accepted(keyed()).await["id"].as_str().unwrap().to_owned();
    rewrite(&import).await;
    asked.told("POST /v1/imports", wanted, keyed()).await;
    for what in [
        "GET ",
        "GET events",
        "GET records",
        "GET problems",
        "GET failed.csv",
        "GET failed.ndjson",
        "GET undo",
        "GET receipt",
        "GET report.html",
        "POST undo",
    ] {
        told(asked, server, &import, what, wanted).await;
    }
    let runs = uploaded(server, "").await;
    rewrite(&runs).await;
    for what in ["POST proceed", "POST pause", "POST resume", "POST retry", "POST cancel"] {
        told(asked, server, &runs, what, wanted).await;
    }
    let planned = made(server).await;
    rewrite(&planned).await;
    told(asked, server, &planned, "POST plan", wanted).await;
}
