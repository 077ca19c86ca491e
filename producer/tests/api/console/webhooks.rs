//! Webhooks and the audit at the console.

use muster_domain::token::Scope;

use super::Browser;
use crate::harness::{Server, token, until};
use crate::webhooks::receiver::Receiver;

#[tokio::test]
async fn a_webhook_is_made_tried_told_again_disabled_and_deleted_at_the_console() {
    let (server, receiver) = (Server::start().await, Receiver::start().await);
    let browser = Browser::signed_in(&server, &server.token).await;
    assert!(browser.page("/console/webhooks").await.contains("There are none yet."));
    let form = browser.secret();
    let send = async |path: &str, fields: &[(&str, &str)]| {
        browser.send(path, &[&[("form", form.as_str())], fields].concat(), None).await
    };
    let wrong = send("/console/webhooks", &[("url", "nowhere"), ("description", "\"HR\"")]).await;
    assert!(
        wrong.body.contains("No webhook was created.")
            && wrong.body.contains("value=\"nowhere\"")
            && wrong.body.contains("value=\"&quot;HR&quot;\""),
        "{}",
        wrong.body
    );
    let made = send("/console/webhooks", &[("url", &receiver.url), ("description", "<b>HR</b>")]).await;
    let secret = made.body.split("<code>whsec_").nth(1).unwrap().split('<').next().unwrap();
    let list = browser.page("/console/webhooks").await;
    assert!(list.contains(&receiver.url) && list.contains("&lt;b&gt;HR") && !list.contains(secret), "{list}");
    let id = server.json("/v1/webhooks").await["webhooks"][0]["id"].as_str().unwrap().to_owned();
    let page = format!("/console/webhooks/{id}");
    assert_eq!(send(&format!("{page}/ping"), &[]).await.status, 303);
    receiver.until(1).await;
    until("the page says so", async || browser.page(&page).await.contains("delivered")).await;
    let log = server.json(&format!("/v1/webhooks/{id}/deliveries")).await;
    let delivery = log["deliveries"][0]["id"].as_str().unwrap();
    assert_eq!(send(&format!("{page}/deliveries/{delivery}/redeliver"), &[]).await.status, 303);
    receiver.until(2).await;
    // It is changed as a whole, or not at all.
    let change = format!("{page}/change");
    let fields = [
        ("url", receiver.url.as_str()),
        ("description", "Portal"),
        ("event", "import.completed"),
        ("event", "import.failing"),
    ];
    let wrong = send(&change, &fields).await;
    assert!(wrong.status == 200 && wrong.body.contains("Nothing was changed."), "{}", wrong.body);
    let fields = [
        ("url", "http://nowhere.invalid:1/"),
        ("description", "Mine"),
        ("event", "chunk.dead"),
        ("failed_above", "100"),
    ];
    let wrong = send(&change, &fields).await;
    assert!(
        wrong.body.contains("Nothing was changed.") && wrong.body.contains("from 0 to 99"),
        "{}",
        wrong.body
    );
    // Nobody has to enter it again.
    for given in [
        "value=\"http://nowhere.invalid:1/\"",
        "value=\"Mine\"",
        "value=\"100\"",
        "value=\"chunk.dead\" checked",
    ] {
        assert!(wrong.body.contains(given), "{given}: {}", wrong.body);
    }
    assert_eq!(wrong.body.matches(" checked").count(), 1, "{}", wrong.body);
    let fields = [
        ("url", receiver.url.as_str()),
        ("description", "Portal"),
        ("event", "import.completed"),
        ("event", "chunk.dead"),
        ("failed_above", "5"),
    ];
    assert_eq!(send(&change, &fields).await.status, 303);
    let changed = server.json(&format!("/v1/webhooks/{id}")).await;
    assert_eq!(changed["events"], serde_json::json!(["chunk.dead", "import.completed"]), "{changed}");
    assert_eq!(
        (&changed["description"], &changed["failed_above"]),
        (&"Portal".into(), &5.into()),
        "{changed}"
    );
    // A new secret is shown this once and counts beside the old one, until one of them is dropped.
    assert!(send(&format!("{page}/drop-old"), &[]).await.body.contains("nly one secret is valid"));
    let rotated = send(&format!("{page}/rotate"), &[]).await;
    let second = rotated.body.split("<code>whsec_").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert!(second != secret && !browser.page(&page).await.contains(&second));
    assert!(send(&format!("{page}/rotate"), &[]).await.body.contains("Two secrets are valid already"));
    assert_eq!(send(&format!("{page}/drop-old"), &[]).await.status, 303);
    assert_eq!(server.json(&format!("/v1/webhooks/{id}")).await["secrets"], 1);
    assert_eq!(send(&format!("{page}/disable"), &[]).await.status, 303);
    assert!(browser.page(&page).await.contains(">Enable<"));
    assert_eq!(send(&format!("{page}/explode"), &[]).await.status, 404);
    assert_eq!(send(&format!("{page}/delete"), &[]).await.header("location"), "/console/webhooks");
    assert_eq!(browser.get(&page).await.status, 404);
}

#[tokio::test]
async fn who_may_only_read_webhooks_sees_no_buttons() {
    let server = Server::start().await;
    let reader = token(&server.store, &server.tenant, "reader", &[Scope::WebhooksRead]).await;
    let browser = Browser::signed_in(&server, &reader).await;
    let page = browser.page("/console/webhooks").await;
    assert!(
        page.contains("There are none yet.") && !page.contains("Create") && !page.contains(">Audit<"),
        "{page}"
    );
    let operator = Browser::signed_in(&server, &server.token).await;
    assert!(operator.page("/console/audit").await.contains("Nothing so far."));
}
