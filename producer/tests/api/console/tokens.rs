//! Tokens at the console: made, shown once, revoked.

use muster_domain::token::Scope;
use muster_runtime::clock;
use muster_store::tenants;
use muster_store::tokens::{self, TokenInfo};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Browser, Shown};
use crate::harness::{Server, token};

/// What the page shows of a new token.
fn made(shown: &Shown) -> String {
    let text = shown.body.split("<pre id=\"made\">").nth(1).expect("a token is shown");
    text.split('<').next().unwrap().to_owned()
}

async fn named(server: &Server, name: &str) -> Option<TokenInfo> {
    tokens::find_by_name(server.store.pool(), server.tenant.id, name).await.unwrap()
}

#[tokio::test]
async fn a_token_is_made_at_the_console_shown_once_and_audited() {
    let server = Server::start().await;
    let browser = Browser::signed_in(&server, &server.token).await;
    let make =
        async |fields: &[(&str, &str)]| browser.fill("/console/tokens", "/console/tokens", fields).await;
    let fields = [
        ("name", " nightly <b> "),
        ("scope", "import:read"),
        ("scope", "import:write"),
        ("scope", "import:read"),
        ("valid_for", "2d"),
    ];
    let shown = make(&fields).await;
    assert_eq!((shown.status, shown.header("cache-control")), (200, "no-store"), "{}", shown.body);
    assert!(shown.body.contains("The token nightly &lt;b&gt; is made."), "{}", shown.body);
    let token = made(&shown);
    assert!(token.starts_with("mst_") && token.len() == 53, "{token}");
    assert_eq!(shown.body.matches(&token).count(), 1);
    let info = named(&server, "nightly <b>").await.unwrap();
    assert_eq!(info.scopes, [Scope::ImportWrite, Scope::ImportRead]);
    let valid = info.expires_at.unwrap() - clock::now();
    assert!((47..=48).contains(&valid.num_hours()), "{valid}");
    // It does what it may, and nothing else.
    let ask = async |path: &str| {
        let request = server.client.get(format!("{}{path}", server.url)).bearer_auth(&token);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((ask("/v1/imports").await, ask("/v1/audit").await), (200, 403));
    // Nothing shows it again: no page, no audit, no row.
    for page in ["/console/tokens", "/console/audit"] {
        let page = browser.page(page).await;
        assert!(page.contains("nightly &lt;b&gt;") && !page.contains(&token), "{page}");
    }
    assert!(!format!("{:?}", server.database.snapshot().await).contains(&token));
    let entry = server.json("/v1/audit?limit=1").await["entries"][0].take();
    assert_eq!((&entry["action"], &entry["name"]), (&json!("token.create"), &json!("nightly <b>")));
    assert_eq!((&entry["token"], &entry["of_other_tenant"]), (&json!("all"), &json!(false)));
    assert_eq!((&entry["counts"], &entry["subject"]), (&json!({"scopes": 2}), &json!(info.id)));
    assert_eq!(entry["filter"], json!({"scopes": "import:write import:read", "expires": true}));
    // A form that is sent again makes nothing and shows nothing.
    let again = make(&fields).await;
    assert!(again.body.contains("No token was made.") && again.body.contains("already"), "{}", again.body);
    assert!(!again.body.contains("id=\"made\""));
    let gone = browser.fill("/console/tokens", "/console/tokens/revoke", &[("name", "nightly <b>")]).await;
    assert_eq!(gone.status, 303);
    assert!(named(&server, "nightly <b>").await.unwrap().revoked_at.is_some());
    assert!(make(&fields).await.body.contains("which is revoked"));
    // Without an end.
    assert_eq!(make(&[("name", "for good"), ("scope", "ops"), ("valid_for", "")]).await.status, 200);
    assert_eq!(named(&server, "for good").await.unwrap().expires_at, None);
}

#[tokio::test]
async fn a_token_is_never_made_with_more_than_its_makers_scopes() {
    let server = Server::start().await;
    let before = tokens::list(server.store.pool(), server.tenant.id).await.unwrap().len();
    let ops = Browser::signed_in(&server, &server.token).await;
    let fields = |scope| [("name", "more"), ("scope", "import:read"), ("scope", scope), ("valid_for", "1d")];
    assert!(!ops.page("/console/tokens").await.contains("value=\"tenants:all\""), "it is not offered");
    let refused = ops.fill("/console/tokens", "/console/tokens", &fields("tenants:all")).await;
    assert!(refused.status == 403 && refused.body.contains("tenants:all"), "{}", refused.body);
    for unknown in ["everything", "", "OPS", "import:read,ops"] {
        let refused = ops.fill("/console/tokens", "/console/tokens", &fields(unknown)).await;
        assert_eq!(refused.status, 400, "{unknown}: {}", refused.body);
    }
    // Without the secret of the session, or with that of another one.
    let foreign = Browser::signed_in(&server, &server.token).await.secret();
    for form in [None, Some(""), Some(foreign.as_str())] {
        let fields =
            [form.map(|form| ("form", form)), Some(("name", "more")), Some(("scope", "import:read"))];
        let fields: Vec<(&str, &str)> = fields.into_iter().flatten().collect();
        let refused = ops.send("/console/tokens", &fields, None).await;
        assert!(refused.status == 403 && refused.body.contains("Nothing was done"), "{}", refused.body);
    }
    assert_eq!(tokens::list(server.store.pool(), server.tenant.id).await.unwrap().len(), before);
    // A token that may not list tokens makes none, not even of what it may.
    let all: Vec<Scope> = Scope::ALL.iter().copied().filter(|scope| *scope != Scope::Ops).collect();
    let rest = Browser::signed_in(&server, &token(&server.store, &server.tenant, "rest", &all).await).await;
    let refused = rest.fill("/console", "/console/tokens", &fields("import:read")).await;
    assert_eq!((refused.status, rest.get("/console/tokens").await.status), (403, 403));
    assert!(named(&server, "more").await.is_none());
}

#[tokio::test]
async fn a_token_for_all_tenants_is_made_by_such_a_one_in_its_own_tenant_alone() {
    let server = Server::start().await;
    let other =
        tenants::create(&server.store, &"globex".parse().unwrap(), "Globex").await.unwrap().into_inner();
    let boss = token(&server.store, &server.tenant, "boss", &[Scope::Ops, Scope::TenantsAll]).await;
    let boss = Browser::signed_in(&server, &boss).await;
    let fields = [("name", "second"), ("scope", "ops"), ("scope", "tenants:all"), ("valid_for", "1d")];
    let shown = boss.fill("/console/tokens", "/console/tokens", &fields).await;
    let second = Browser::signed_in(&server, &made(&shown)).await;
    assert!(second.page("/console/tenants").await.contains("Open Globex"));
    // What it makes ends with it at the latest.
    let end = named(&server, "second").await.unwrap().expires_at;
    for (name, valid_for) in [("third", ""), ("fourth", "90d")] {
        let fields = [("name", name), ("scope", "ops"), ("valid_for", valid_for)];
        made(&second.fill("/console/tokens", "/console/tokens", &fields).await);
        assert_eq!(named(&server, name).await.unwrap().expires_at, end, "{name}");
    }
    // Whoever may not give what a token may does not revoke it.
    let ops = Browser::signed_in(&server, &server.token).await;
    let page = ops.page("/console/tokens").await;
    assert!(page.contains("\"Revoke third\"") && !page.contains("\"Revoke second\""), "{page}");
    let revoke = async |browser: &Browser<'_>, name: &str| {
        browser.fill("/console/tokens", "/console/tokens/revoke", &[("name", name)]).await.status
    };
    assert_eq!((revoke(&ops, "second").await, revoke(&ops, "nobody").await), (403, 404));
    assert!(named(&server, "second").await.unwrap().revoked_at.is_none());
    assert_eq!((revoke(&ops, "third").await, revoke(&boss, "fourth").await), (303, 303));
    let opened = second.fill("/console/tenants", "/console/tenants", &[("tenant", "globex")]).await;
    assert_eq!(opened.status, 303);
    let page = second.page("/console/tokens").await;
    assert!(page.contains("value=\"ops\"") && !page.contains("value=\"tenants:all\""), "{page}");
    assert_eq!(second.fill("/console/tokens", "/console/tokens", &fields).await.status, 403);
    assert!(tokens::list(server.store.pool(), other.id).await.unwrap().is_empty());
    // One for that tenant alone is that tenant's, and has an end.
    for (valid_for, why) in [("", "Say how long"), ("91d", "must be 90d at most")] {
        let fields = [("name", "second"), ("scope", "ops"), ("valid_for", valid_for)];
        let refused = second.fill("/console/tokens", "/console/tokens", &fields).await;
        let said = refused.body.contains("No token was made.") && refused.body.contains(why);
        assert!(refused.status == 200 && said, "{}", refused.body);
    }
    let fields = [("name", "second"), ("scope", "ops"), ("valid_for", "1d")];
    let theirs = made(&second.fill("/console/tokens", "/console/tokens", &fields).await);
    let info = tokens::find_by_name(server.store.pool(), other.id, "second").await.unwrap().unwrap();
    assert_eq!(info.expires_at, end);
    let theirs = Browser::signed_in(&server, &theirs).await;
    assert!(theirs.page("/console").await.contains("Globex"));
    assert_eq!(theirs.get("/console/tenants").await.status, 403);
    let entries = theirs.page("/console/audit").await;
    assert!(entries.contains("token.create") && entries.contains("token second, an operator’s"), "{entries}");
}

/// The server asks for the body with an answer of its own: the form is on its way then.
#[tokio::test]
async fn what_is_revoked_while_its_form_is_on_its_way_does_nothing() {
    let server = Server::start().await;
    let short = token(&server.store, &server.tenant, "short", &[Scope::Ops]).await;
    let browser = Browser::signed_in(&server, &short).await;
    let form = browser.get("/console/tokens").await.form().to_owned();
    let body = format!("form={form}&name=late&scope=ops&valid_for=1d");
    let (address, cookie) = (server.url.strip_prefix("http://").unwrap(), browser.cookie.as_deref().unwrap());
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /console/tokens HTTP/1.1\r\nhost: {address}\r\ncookie: {cookie}\r\nexpect: 100-continue\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    tokens::revoke(&server.store, server.tenant.id, "short").await.unwrap().unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 303") && answer.contains("/console/sign-in"), "{answer}");
    assert!(named(&server, "late").await.is_none());
}

#[tokio::test]
async fn what_is_wrong_with_a_form_for_a_token_is_told_and_what_was_typed_stays() {
    let server = Server::start().await;
    let browser = Browser::signed_in(&server, &server.token).await;
    let long = "x".repeat(256);
    let (good, read) = (("name", "nightly"), ("scope", "import:read"));
    for (fields, why) in [
        (vec![("name", "  "), read, ("valid_for", "2d")], "name must not be empty"),
        (vec![("name", long.as_str()), read], "255 characters at most"),
        (vec![("name", "a\nb"), read], "all of them visible"),
        (vec![good, ("valid_for", "2d")], "at least one"),
        (vec![good, read, ("valid_for", "soon")], "must be a time"),
        (vec![good, read, ("valid_for", "-2d")], "must be a time"),
        (vec![good, read, ("valid_for", "99999999999d")], "36500d at most"),
    ] {
        let shown = browser.fill("/console/tokens", "/console/tokens", &fields).await;
        let said = shown.body.contains("No token was made.") && shown.body.contains(why);
        assert!(shown.status == 200 && said, "{why}: {}", shown.body);
        let typed = format!("value=\"{}\"", fields[0].1.trim());
        assert!(shown.body.contains(&typed), "{typed}: {}", shown.body);
        assert_eq!(shown.body.contains("value=\"import:read\" checked"), fields.contains(&read));
    }
    assert_eq!(tokens::list(server.store.pool(), server.tenant.id).await.unwrap().len(), 1);
}
