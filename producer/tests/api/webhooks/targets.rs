//! Where webhooks may not lead: by address and by name, when they are created and at each delivery.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use muster_producer::webhook::{Lookup, Targets, WebhookOptions};
use serde_json::{Value, json};

use super::receiver::Receiver;
use super::{created, eager, id, server, told_to, waiting_import};
use crate::harness::{Server, assert_refused, until};

fn public(lookup: Lookup) -> WebhookOptions {
    WebhookOptions { targets: Targets { allow_private: false, lookup }, ..eager() }
}

/// The problem of the only delivery, once it was tried so often.
async fn problem(server: &Server, webhook: &str, tries: u64) -> Vec<String> {
    until("it is tried", async || {
        let all = told_to(server, webhook).await;
        all.first().is_some_and(|first| first["attempts"].as_u64().unwrap() >= tries)
    })
    .await;
    let all = told_to(server, webhook).await;
    let problems = all[0]["tries"].as_array().unwrap().iter();
    problems.map(|one| one["problem"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn an_address_or_name_that_is_not_public_is_refused() {
    let (server, receiver) = (server(public(Lookup::System)).await, Receiver::start().await);
    let port = receiver.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "127.1",
        "2130706433",
        "0177.0.0.1",
        "0x7f000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "[fd00:ec2::254]",
    ] {
        let body = json!({"url": format!("https://{host}:{port}/hooks")});
        let error =
            assert_refused(server.post("/v1/webhooks").json(&body), 400, "webhook_target_refused").await;
        assert_eq!(error["field"], "url");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.starts_with("url must lead to an address of the public network"),
            "{host}: {message}"
        );
    }
    for url in [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "hooks",
        "https://user:x@hooks.example.com/",
    ] {
        assert_refused(server.post("/v1/webhooks").json(&json!({"url": url})), 400, "webhook_target_refused")
            .await;
    }
    assert_eq!(server.json("/v1/webhooks").await["webhooks"], json!([]));
    assert_eq!(receiver.connections(), 0);
}

fn counted(_: &str) -> Vec<IpAddr> {
    LOOKED_UP.fetch_add(1, Ordering::SeqCst);
    Vec::new()
}

static LOOKED_UP: AtomicUsize = AtomicUsize::new(0);

#[tokio::test]
async fn who_may_have_no_more_webhooks_has_no_name_looked_up() {
    let server = server(WebhookOptions { most: 1, ..public(Lookup::By(counted)) }).await;
    let body = json!({"url": "https://hooks.test/"});
    created(&server, body.clone()).await;
    assert_eq!(LOOKED_UP.load(Ordering::SeqCst), 1);
    assert_refused(server.post("/v1/webhooks").json(&body), 409, "too_many_webhooks").await;
    assert_eq!(LOOKED_UP.load(Ordering::SeqCst), 1);
}

/// What was allowed when it was created, or came into the store by another way, is looked at again at each delivery.
#[tokio::test]
async fn an_address_is_checked_again_at_each_delivery() {
    let (server, receiver) = (server(public(Lookup::System)).await, Receiver::start().await);
    // A name of a top-level domain that is reserved: it leads nowhere.
    let webhook =
        created(&server, json!({"url": "https://hooks.invalid/", "events": ["import.received"]})).await;
    let lead = async |url: String| {
        let set = sqlx::query("update webhooks set url = $1").bind(url);
        set.execute(server.store.pool()).await.unwrap();
    };
    lead(receiver.url.replace("http:", "https:")).await;
    waiting_import(&server).await;
    let first = problem(&server, id(&webhook), 1).await;
    assert!(first[0].starts_with("the address must lead to an address of the public network"), "{first:?}");
    lead(format!("https://localhost:{}/", receiver.port())).await;
    let tried = first.len() as u64;
    let second = problem(&server, id(&webhook), tried + 2).await;
    let last = second.last().unwrap();
    assert!(last.starts_with("the address must lead to an address of the public network"), "{second:?}");
    assert_eq!(receiver.connections(), 0);
}

/// Public when the webhook is created, nowhere when its delivery is checked, and this machine whenever it is asked after that.
fn rebinding(_: &str) -> Vec<IpAddr> {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    match ASKED.fetch_add(1, Ordering::SeqCst) {
        0 => vec![IpAddr::from([1, 1, 1, 1])],
        1 => Vec::new(),
        _ => vec![IpAddr::from([127, 0, 0, 1])],
    }
}

#[tokio::test]
async fn a_name_that_means_something_else_a_moment_later_leads_nowhere() {
    let (server, receiver) = (server(public(Lookup::By(rebinding))).await, Receiver::start().await);
    let url = format!("https://rebind.test:{}/hooks", receiver.port());
    let webhook = created(&server, json!({"url": url, "events": ["import.received"]})).await;
    waiting_import(&server).await;
    let problems = problem(&server, id(&webhook), 2).await;
    assert_eq!(problems[0], "no connection", "{problems:?}");
    assert!(problems[1].starts_with("the address must lead to"), "{problems:?}");
    assert_eq!(receiver.connections(), 0, "nobody connected");
    let shown: Value = server.json(&format!("/v1/webhooks/{}", id(&webhook))).await;
    assert_eq!(shown["enabled"], true);
}
