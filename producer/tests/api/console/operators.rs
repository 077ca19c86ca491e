//! Operators of the installation: they see all tenants, and open one of them.

use std::time::Duration;

use chrono::TimeDelta;
use muster_domain::tenant::Tenant;
use muster_domain::token::Scope;
use muster_producer::{DispatchOptions, ProducerOptions};
use muster_runtime::clock;
use muster_store::{overview, tenants};
use serde_json::{Value, json};

use super::{Browser, Shown, encoded, import, state};
use crate::harness::{Server, accepted, token, until};

const FILE: &str = "email\nmario.rossi@example.com\nanna@\n";

/// Another tenant, with one import that waits to be started, and a token of its operator.
struct Other {
    tenant: Tenant,
    token: String,
    import: String,
}

async fn other(server: &Server, slug: &str, name: &str) -> Other {
    let tenant = tenants::create(&server.store, &slug.parse().unwrap(), name).await.unwrap().into_inner();
    let token = token(&server.store, &tenant, "theirs", &[Scope::Ops]).await;
    let upload = server.client.post(format!("{}/v1/imports?start=manual&filename={slug}.csv", server.url));
    let upload = upload.bearer_auth(&token).header("content-type", "text/csv").body(FILE);
    let import = accepted(upload).await["id"].as_str().unwrap().to_owned();
    Other { tenant, token, import }
}

async fn operator<'s>(server: &'s Server, scopes: &[Scope]) -> Browser<'s> {
    let scopes = [scopes, &[Scope::TenantsAll]].concat();
    Browser::signed_in(server, &token(&server.store, &server.tenant, "boss", &scopes).await).await
}

async fn opened(browser: &Browser<'_>, slug: &str) {
    let shown = browser.fill("/console/tenants", "/console/tenants", &[("tenant", slug)]).await;
    assert_eq!((shown.status, shown.header("location")), (303, "/console"), "{}", shown.body);
}

/// What stands in the audit of whose token it is, the newest first: what, by which token, whether that is another tenant's.
async fn audit(server: &Server, token: &str) -> Vec<(String, String, bool)> {
    let answer =
        server.client.get(format!("{}/v1/audit", server.url)).bearer_auth(token).send().await.unwrap();
    let page: Value = answer.json().await.unwrap();
    let entries = page["entries"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries
        .map(|entry| (text(&entry["action"]), text(&entry["token"]), entry["of_other_tenant"] == true))
        .collect()
}

#[tokio::test]
async fn an_operator_sees_all_tenants_and_what_is_done_in_one_is_in_its_audit() {
    let server = Server::start().await;
    let ours = import(&server, "start=manual&filename=ours.csv", FILE).await;
    let other = other(&server, "globex", "Globex <b>").await;
    let browser = operator(&server, &[Scope::Ops]).await;
    let page = browser.page("/console/tenants").await;
    for text in ["Globex &lt;b&gt;", "globex.csv", "ours.csv", "waits to be started", "you are here"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(browser.page("/console/tenants?q=GLOB").await.contains("globex.csv"));
    assert!(browser.page("/console/tenants?q=nobody").await.contains("No tenant is called that."));
    assert!(browser.page(&format!("/console/tenants?q={}", encoded("%_'\"<i>"))).await.contains("&lt;i&gt;"));
    // Through an import of it.
    let theirs = format!("/console/imports/{}", other.import);
    assert_eq!(browser.get(&theirs).await.status, 404, "the choice comes first");
    let fields = [("tenant", "globex"), ("then", theirs.as_str())];
    let shown = browser.fill("/console/tenants", "/console/tenants", &fields).await;
    assert_eq!((shown.status, shown.header("location")), (303, theirs.as_str()), "{}", shown.body);
    let page = browser.page(&theirs).await;
    assert!(page.contains("globex.csv") && page.contains("token boss of Default"), "{page}");
    assert!(page.contains("Back to Default"), "{page}");
    assert_eq!(browser.get(&format!("/console/imports/{ours}")).await.status, 404);
    for page in ["/console", "/console/imports"] {
        let page = browser.page(page).await;
        assert!(page.contains("globex.csv") && !page.contains("ours.csv"), "{page}");
    }
    assert_eq!(browser.press(&theirs, &format!("{theirs}/cancel")).await.status, 303);
    // Opening the tenant that it is in says nothing twice.
    opened(&browser, "globex").await;
    assert!(browser.page("/console/audit").await.contains("token boss, an operator’s"));
    let done = audit(&server, &other.token).await;
    let by_boss = |what: &str| (what.to_owned(), "boss".to_owned(), true);
    assert_eq!(done, [by_boss("import.cancel"), by_boss("operator.enter")]);
    // And back.
    opened(&browser, server.tenant.slug.as_str()).await;
    let page = browser.page("/console").await;
    assert!(page.contains("ours.csv") && !page.contains("Back to"), "{page}");
    assert!(audit(&server, &server.token).await.is_empty(), "nothing was done here");
    assert_eq!(state(&server, &ours).await, "received");
}

#[tokio::test]
async fn without_the_scope_no_other_tenant_is_opened_whatever_is_sent() {
    let server = Server::start().await;
    import(&server, "start=manual&filename=ours.csv", FILE).await;
    let other = other(&server, "globex", "Globex").await;
    let everything: Vec<Scope> =
        Scope::ALL.iter().copied().filter(|scope| *scope != Scope::TenantsAll).collect();
    for (name, scopes) in
        [("ops", &[Scope::Ops][..]), ("reader", &[Scope::ImportRead][..]), ("many", &everything[..])]
    {
        let browser =
            Browser::signed_in(&server, &token(&server.store, &server.tenant, name, scopes).await).await;
        assert!(!browser.page("/console").await.contains("/console/tenants"));
        assert_eq!(browser.get("/console/tenants").await.status, 403);
        let fields = [("tenant", "globex"), ("then", "/console/imports")];
        let refused = browser.fill("/console", "/console/tenants", &fields).await;
        assert!(refused.status == 403 && refused.body.contains("tenants:all"), "{}", refused.body);
        // Even if somebody had written it into the session.
        let forged =
            "update console_sessions set chosen_tenant_id = (select id from tenants where slug = 'globex')";
        sqlx::raw_sql(forged).execute(server.store.pool()).await.unwrap();
        for page in ["/console/imports", "/console/imports?tenant=globex"] {
            let page = browser.page(page).await;
            assert!(page.contains("ours.csv") && !page.contains("globex.csv"), "{name}: {page}");
        }
        assert_eq!(browser.get(&format!("/console/imports/{}", other.import)).await.status, 404);
    }
    assert!(audit(&server, &other.token).await.is_empty());
    // The API knows no choice: there an operator's token is of its own tenant too.
    let boss = token(&server.store, &server.tenant, "boss", &[Scope::Ops, Scope::TenantsAll]).await;
    let imports = server.client.get(format!("{}/v1/imports", server.url)).bearer_auth(&boss);
    let imports: Value = imports.send().await.unwrap().json().await.unwrap();
    assert_eq!(imports["imports"].as_array().unwrap().len(), 1, "{imports}");
    assert_eq!(imports["imports"][0]["filename"], json!("ours.csv"));
}

#[tokio::test]
async fn what_a_page_of_one_tenant_sends_does_nothing_in_another() {
    let server = Server::start().await;
    let other = other(&server, "globex", "Globex").await;
    let browser = operator(&server, &[Scope::Ops]).await;
    // Two windows of one session: the form of the first is of its own tenant.
    let first = browser.get("/console").await;
    let ours = first.form().to_owned();
    let refused = browser.send("/console/tenants", &[("tenant", "globex")], None).await;
    assert!(refused.status == 403 && refused.body.contains("Nothing was done"), "{}", refused.body);
    opened(&browser, "globex").await;
    let page = browser.get("/console").await;
    let theirs = page.form().to_owned();
    // An open window loads itself anew where what it asks for is of another tenant, or of another session.
    let back = browser.get("/console/imports").await;
    assert!(theirs != ours && mark(&page) != mark(&first) && mark(&page) == mark(&back));
    let anew = Browser::signed_in(&server, &server.token).await.get("/console").await;
    assert!(mark(&anew) != mark(&first) && mark(&anew) != mark(&page) && !ours.contains(mark(&first)));
    let cancel = format!("/console/imports/{}/cancel", other.import);
    let new = [("form", ours.as_str()), ("name", "stray"), ("scope", "import:read")];
    for (path, fields) in
        [(cancel.as_str(), &new[..1]), ("/console/tokens", &new[..]), ("/console/catalog", &new[..1])]
    {
        let refused = browser.send(path, fields, None).await;
        assert!(
            refused.status == 403 && refused.body.contains("Nothing was done"),
            "{path}: {}",
            refused.body
        );
    }
    assert_eq!(browser.send_file("/console/new/take?filename=a.csv", Some(&ours), FILE).await.status, 403);
    let taken = browser.send_file("/console/new/take?filename=a.csv&start=manual", Some(&theirs), FILE).await;
    assert_eq!(taken.status, 202, "{}", taken.body);
    opened(&browser, "default").await;
    assert_eq!(browser.send("/console/sign-out", &[("form", &theirs)], None).await.status, 403);
    let done: Vec<String> = audit(&server, &other.token).await.into_iter().map(|(what, ..)| what).collect();
    assert_eq!(done, ["operator.enter"]);
    assert!(!browser.page("/console/imports").await.contains("a.csv"));
    // The session is ended from every window.
    let (_, leave) = page.body.split_once("action=\"/console/sign-out\"").unwrap();
    let leave = leave.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(leave, ours, "every window sends the same");
    opened(&browser, "globex").await;
    let gone = browser.send("/console/sign-out", &[("form", leave)], None).await;
    assert_eq!((gone.status, gone.header("location")), (303, "/console/sign-in?left=1"), "{}", gone.body);
    assert_eq!(browser.get("/console").await.status, 303);
}

/// What the script tells the pages of one session in one tenant by.
fn mark(shown: &Shown) -> &str {
    shown.body.split("data-session=\"").nth(1).unwrap().split('"').next().unwrap()
}

#[tokio::test]
async fn a_disabled_tenant_is_not_opened_and_one_that_becomes_it_is_left() {
    let server = Server::start().await;
    import(&server, "start=manual&filename=ours.csv", FILE).await;
    let other = other(&server, "globex", "Globex").await;
    let browser = operator(&server, &[Scope::Ops]).await;
    let ask =
        async |slug: &str| browser.fill("/console/tenants", "/console/tenants", &[("tenant", slug)]).await;
    for missing in ["nowhere", "", "..", "<b>"] {
        assert_eq!(ask(missing).await.status, 404, "{missing}");
    }
    let disable = async |disabled| {
        tenants::set_disabled(&server.store, &other.tenant.slug, disabled).await.unwrap().unwrap();
    };
    disable(true).await;
    let refused = ask("globex").await;
    assert!(refused.status == 403 && refused.body.contains("disabled"), "{}", refused.body);
    let page = browser.page("/console/tenants").await;
    assert!(page.contains("disabled ") && !page.contains("Open Globex"), "{page}");
    assert!(!page.contains("globex.csv"), "what is in it is to wait: {page}");
    disable(false).await;
    opened(&browser, "globex").await;
    assert!(browser.page("/console/imports").await.contains("globex.csv"));
    disable(true).await;
    let in_own = async || {
        let page = browser.page("/console/imports").await;
        assert!(page.contains("ours.csv") && !page.contains("globex.csv"), "{page}");
    };
    in_own().await;
    // It is not opened again by itself.
    disable(false).await;
    in_own().await;
    // Nor is it open to a token that has lost the scope.
    opened(&browser, "globex").await;
    let narrowed = "update tokens set scopes = '{ops}' where name = 'boss'";
    sqlx::raw_sql(narrowed).execute(server.store.pool()).await.unwrap();
    in_own().await;
}

#[tokio::test]
async fn scopes_say_what_an_operator_may_in_every_tenant() {
    let server = Server::start().await;
    let other = other(&server, "globex", "Globex").await;
    let reader = operator(&server, &[Scope::ImportRead]).await;
    opened(&reader, "globex").await;
    let records = format!("/console/imports/{}/records", other.import);
    let page = reader.page(&records).await;
    assert!(page.contains("m•••@•••.com") && !page.contains("mario.rossi"), "{page}");
    for page in ["/console/tokens", "/console/audit", "/console/queue", "/console/users", "/console/catalog"]
    {
        assert_eq!(reader.get(page).await.status, 403, "{page}");
    }
    let import = format!("/console/imports/{}", other.import);
    assert_eq!(reader.press(&import, &format!("{import}/cancel")).await.status, 403);
    // The files of failed records have people's values.
    let page = reader.page(&import).await;
    assert!(page.contains("Failed records") && !page.contains("/failed."), "{page}");
    let files = [format!("{import}/failed.csv"), format!("{import}/failed.ndjson")];
    for file in &files {
        let refused = reader.get(file).await;
        let said = refused.body.contains("users:read") && !refused.body.contains("anna@");
        assert!(refused.status == 403 && said, "{}", refused.body);
    }
    let scopes = [Scope::ImportRead, Scope::UsersRead, Scope::TenantsAll];
    let seer =
        Browser::signed_in(&server, &token(&server.store, &server.tenant, "seer", &scopes).await).await;
    opened(&seer, "globex").await;
    let page = seer.page(&import).await;
    for file in &files {
        assert!(page.contains(file) && seer.page(file).await.contains("anna@"), "{file}: {page}");
    }
    // Without the scope for imports, tenants have names and nothing else.
    let token = token(&server.store, &server.tenant, "bare", &[Scope::TenantsAll]).await;
    let bare = Browser::signed_in(&server, &token).await;
    let page = bare.page("/console/tenants").await;
    assert!(page.contains("Open Globex"), "{page}");
    assert!(!page.contains("globex.csv") && !page.contains("Running"), "{page}");
    opened(&bare, "globex").await;
    assert_eq!(bare.get("/console/imports").await.status, 403);
}

/// Imports of a tenant that need somebody, that run, and that are of no interest any more.
async fn of_every_kind(server: &Server, token: &str) {
    let send = async |query: &str, body: &str| {
        let request = server.client.post(format!("{}/v1/imports?{query}", server.url)).bearer_auth(token);
        let answer = request.header("content-type", "text/csv").body(body.to_owned()).send().await.unwrap();
        let body: Value = answer.json().await.unwrap();
        body["id"].as_str().unwrap_or_default().to_owned()
    };
    let sql = async |text: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(server.store.pool()).await.unwrap();
    };
    send("start=manual", "email\na@example.com\n").await;
    send("", "email\nb@example.com\nc@example.com\n").await;
    // One that has a chunk to try again, and one whose file was refused.
    let retried = send("", "email\nd@example.com\n").await;
    sql(format!("update chunks set state = 'retryable', due_at = now() + interval '1 hour', leased_until = null where import_id = '{retried}'")).await;
    send("", "email\n\"never closed").await;
    // Ended: with a dead chunk, with failures, long ago.
    for (dead, failed, ago) in [(1, 1, 1), (0, 1, 1), (0, 0, 1), (1, 1, 48)] {
        let import = send("start=manual", "email\ne@example.com\n").await;
        let sheet = json!({"total": 1, "pending": 0, "inserted": 1 - failed, "updated": 0, "skipped": 0, "failed": failed});
        let chunks = json!({"staged": 0, "dispatched": 0, "retryable": 0, "applied": 1 - dead, "dead": dead, "cancelled": 0});
        sql(format!(
            "update imports
                set state = 'completed', started_at = now(), completed_at = now() - interval '{ago} hours', final_counts = '{sheet}',
                    final_chunks = '{chunks}'
              where id = '{import}'"
        ))
        .await;
    }
}

#[tokio::test]
async fn the_overview_of_all_tenants_counts_what_that_of_each_tells() {
    let server = Server::start().await;
    let other = other(&server, "globex", "Globex").await;
    of_every_kind(&server, &server.token).await;
    of_every_kind(&server, &other.token).await;
    let empty =
        tenants::create(&server.store, &"empty".parse().unwrap(), "Empty").await.unwrap().into_inner();
    let since = clock::now() - TimeDelta::hours(24);
    let found = overview::everywhere(&server.store, None, &[], since, 10).await.unwrap();
    assert_eq!((found.all, found.tenants.len()), (3, 3));
    for one in &found.tenants {
        let tenant = one.tenant.id;
        let concerning = overview::concerning(&server.store, tenant, since, 50).await.unwrap();
        let under_way = overview::under_way(&server.store, tenant).await.unwrap();
        assert_eq!((one.concerning, one.running), (concerning.all, under_way.imports), "{one:?}");
        assert_eq!(one.pending, under_way.pending, "{one:?}");
        let nothing = (one.concerning, one.running, one.urgent) == (0, 0, 0);
        assert_eq!(nothing, tenant == empty.id, "{one:?}");
    }
    let order: Vec<&str> = found.tenants.iter().map(|one| one.tenant.slug.as_str()).collect();
    assert_eq!(order, ["globex", "default", "empty"], "where most needs somebody comes first");
    assert!(found.tenants[0].urgent == 2 && found.tenants[0].concerning == 6, "{found:?}");
    let part = overview::everywhere(&server.store, Some("GLOB"), &[], since, 10).await.unwrap();
    assert_eq!((part.all, part.tenants[0].tenant.id), (1, other.tenant.id));
    let cut = overview::everywhere(&server.store, None, &[], since, 1).await.unwrap();
    assert_eq!((cut.all, cut.tenants.len()), (3, 1));
    let first = overview::everywhere(&server.store, None, &[empty.id], since, 1).await.unwrap();
    assert_eq!((first.all, first.tenants[0].tenant.id), (3, empty.id), "what is asked for first");
}

#[tokio::test]
async fn what_stands_still_is_told_also_where_its_tenant_is_not_shown() {
    let dispatch = DispatchOptions { stall_after: Duration::from_secs(1), ..DispatchOptions::default() };
    let server = Server::start_with(ProducerOptions { dispatch, ..ProducerOptions::default() }).await;
    let other = other(&server, "globex", "Globex").await;
    let upload = server.client.post(format!("{}/v1/imports?filename=still.csv", server.url));
    accepted(
        upload.bearer_auth(&other.token).header("content-type", "text/csv").body("email\na@example.com\n"),
    )
    .await;
    let browser = operator(&server, &[Scope::ImportRead]).await;
    until("it is told", async || browser.page("/console/tenants").await.contains("still.csv")).await;
    let page = browser.page("/console/tenants?q=nobody").await;
    assert!(page.contains("1 import more at least"), "{page}");
    assert!(!page.contains("Nothing needs attention."), "{page}");
}
