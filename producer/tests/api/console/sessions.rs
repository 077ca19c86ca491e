//! Who comes in, what a session is good for, and what it shows to whom.

use muster_domain::token::Scope;
use muster_producer::api::CONSOLE_ROUTES;
use muster_store::{tenants, tokens};
use reqwest::Method;

use super::{Browser, encoded, import, state};
use crate::harness::{Server, token};

#[tokio::test]
async fn a_token_signs_in_and_whoever_is_not_signed_in_is_sent_to_the_door() {
    let server = Server::start().await;
    let browser = Browser::new(&server);
    let away = browser.get("/console/imports?state=running").await;
    assert_eq!(
        (away.status, away.header("location")),
        (303, "/console/sign-in?then=/console/imports%3Fstate%3Drunning")
    );
    let unknown = browser.sign_in(&format!("mst_{}", "A".repeat(43))).await;
    assert!(unknown.status == 401 && unknown.body.contains("No such token"), "{}", unknown.body);
    let nonsense = browser.sign_in("<script>").await;
    assert!(nonsense.status == 401 && !nonsense.body.contains("<script>\""), "{}", nonsense.body);
    let browser = Browser::signed_in(&server, &server.token).await;
    let page = browser.page("/console").await;
    assert!(page.contains("Needs attention") && page.contains("token all"), "{page}");
    let again = browser.get("/console/sign-in?then=/console/imports").await;
    assert_eq!((again.status, again.header("location")), (303, "/console/imports"));
}

#[tokio::test]
async fn a_session_is_a_cookie_that_no_script_reads_and_no_other_site_sends() {
    let server = Server::start().await;
    let shown = Browser::new(&server).sign_in(&server.token).await;
    let set = shown.header("set-cookie");
    assert!(
        set.starts_with("muster_console=") && set.ends_with("; Path=/console; HttpOnly; SameSite=Strict"),
        "{set}"
    );
    let kept: Vec<(Vec<u8>,)> =
        sqlx::query_as("select hash from console_sessions").fetch_all(server.store.pool()).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert!(
        !shown.cookie().contains(&kept[0].0.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    );
    // The API knows no cookies.
    let request = server.client.get(format!("{}/v1/imports", server.url)).header("cookie", shown.cookie());
    assert_eq!(request.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_form_without_the_secret_of_its_session_is_refused_and_does_nothing() {
    let server = Server::start().await;
    let import = import(&server, "start=manual", "email\na@example.com\n").await;
    let (ours, theirs) =
        (Browser::signed_in(&server, &server.token).await, Browser::signed_in(&server, &server.token).await);
    let lever = format!("/console/imports/{import}/proceed");
    let foreign = theirs.get("/console").await.form().to_owned();
    for fields in [&[][..], &[("form", "")], &[("form", foreign.as_str())], &[("other", "1")]] {
        let refused = ours.send(&lever, fields, None).await;
        assert!(refused.status == 403 && refused.body.contains("Nothing was done"), "{}", refused.body);
        assert_eq!(ours.send("/console/sign-out", fields, None).await.status, 403);
    }
    assert_eq!(state(&server, &import).await, "received");
    let door = ours.get("/console/sign-in").await;
    assert_eq!(door.status, 303);
    // Signing in needs the secret of the page too, so that nobody is signed in by another site.
    let fields = [("token", server.token.as_str())];
    let refused = Browser::new(&server).send("/console/sign-in", &fields, None).await;
    assert!(
        refused.status == 403
            && !refused.headers["set-cookie"].to_str().unwrap().starts_with("muster_console=")
    );
    let done = ours.press(&format!("/console/imports/{import}"), &lever).await;
    assert_eq!(
        (done.status, done.header("location")),
        (303, format!("/console/imports/{import}?did=proceed").as_str())
    );
    assert_eq!(state(&server, &import).await, "running");
}

#[tokio::test]
async fn a_session_is_over_when_it_is_idle_or_old_or_left_or_its_token_counts_no_more() {
    let server = Server::start().await;
    let set = async |text: &str| {
        let change = format!("update console_sessions set {text}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(server.store.pool()).await.unwrap();
    };
    let idle = Browser::signed_in(&server, &server.token).await;
    set("used_at = now() - interval '59 minutes'").await;
    // What a page asks by itself is no use of it.
    assert_eq!(idle.ask(Method::GET, "/console", true).await.status, 200);
    set("used_at = used_at - interval '2 minutes'").await;
    assert_eq!(idle.ask(Method::GET, "/console", true).await.status, 401);
    assert_eq!(idle.get("/console").await.status, 303);
    let used = Browser::signed_in(&server, &server.token).await;
    set("used_at = now() - interval '59 minutes'").await;
    used.page("/console").await;
    set("used_at = used_at - interval '2 minutes'").await;
    used.page("/console").await;
    set("created_at = now() - interval '12 hours'").await;
    assert_eq!(used.get("/console").await.status, 303);
    let left = Browser::signed_in(&server, &server.token).await;
    let gone = left.press("/console", "/console/sign-out").await;
    assert!(
        gone.status == 303 && gone.header("set-cookie").contains("Max-Age=0"),
        "{}",
        gone.header("set-cookie")
    );
    assert_eq!(left.get("/console").await.status, 303);
    let other = token(&server.store, &server.tenant, "other", &[Scope::ImportRead]).await;
    let revoked = Browser::signed_in(&server, &other).await;
    revoked.page("/console").await;
    tokens::revoke(&server.store, server.tenant.id, "other").await.unwrap().unwrap();
    assert_eq!(revoked.get("/console").await.status, 303);
    let disabled = Browser::signed_in(&server, &server.token).await;
    tenants::set_disabled(&server.store, &server.tenant.slug, true).await.unwrap().unwrap();
    let refused = disabled.get("/console").await;
    assert!(refused.status == 403 && refused.body.contains("disabled"), "{}", refused.body);
}

#[tokio::test]
async fn every_page_asks_for_its_scope_and_no_other_will_do() {
    let server = Server::start().await;
    let import = import(&server, "start=manual", "email\nnobody\n").await;
    let path = |path: &str| path.replace("{id}", &import).replace("{lever}", "pause");
    // Pages of things that are not there: they are looked for, by whoever may.
    let missing = |path: &str| {
        ["/console/users/{id}", "/console/tokens/revoke", "/console/tenants"].contains(&path)
            || path.starts_with("/console/profiles/{name}")
            || path.starts_with("/console/webhooks/{id}")
            || path.starts_with("/console/bulk/")
    };
    for route in CONSOLE_ROUTES {
        let away = Browser::new(&server).ask(route.method.parse().unwrap(), &path(route.path), false).await;
        assert_eq!(away.status, 303, "{} {}", route.method, route.path);
    }
    for scope in Scope::ALL {
        let token = token(&server.store, &server.tenant, scope.as_str(), &[*scope]).await;
        let browser = Browser::signed_in(&server, &token).await;
        // Who may see no page may have the secret of forms all the same.
        let form = browser.secret();
        // Leaving is the last of them, and ends the session.
        for route in CONSOLE_ROUTES {
            let shown = match route.method {
                "GET" => browser.get(&path(route.path)).await,
                _ if route.path.starts_with("/console/new/") => {
                    let name = scope.as_str().replace(':', "-");
                    let under =
                        if route.path.ends_with("/keep") { format!("&as={name}") } else { String::new() };
                    let path = format!("{}?filename=a.csv{under}", route.path);
                    browser.send_file(&path, Some(&form), "email\na@b.co\n").await
                }
                _ => browser.send(&path(route.path), &[("form", &form)], None).await,
            };
            // The operator of a tenant may do everything, but in no other.
            let ops = |wanted: Scope| *scope == Scope::Ops && wanted != Scope::TenantsAll;
            let may = route.scope.is_none_or(|wanted| wanted == *scope || ops(wanted));
            assert_eq!(
                shown.status != 403,
                may,
                "{} {} with {scope}: {}",
                route.method,
                route.path,
                shown.status
            );
            // An import that has not run cannot be undone, nothing of it can be proved, and this one has no plan.
            let of_ended =
                ["/undo", "/receipt", "/report.html", "/changes"].iter().any(|end| route.path.ends_with(end));
            let refused = of_ended && shown.status == 409;
            let found = shown.status < 400 || refused || missing(route.path) && shown.status == 404;
            assert!(found || !may, "{} {}: {}", route.method, route.path, shown.status);
            let told = shown.body.contains(route.scope.map_or("", Scope::as_str));
            assert!(may || told, "{}", shown.body);
        }
    }
}

#[tokio::test]
async fn ids_of_another_tenant_and_nonsense_are_as_missing_ones() {
    let server = Server::start().await;
    let other =
        tenants::create(&server.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    let theirs = token(&server.store, &other, "theirs", &[Scope::Ops]).await;
    let import = import(&server, "start=manual&filename=ours.csv", "email\nnobody\n").await;
    let browser = Browser::signed_in(&server, &theirs).await;
    let missing = "0190a5f0-7b7c-7000-8000-000000000001";
    for route in CONSOLE_ROUTES.iter().filter(|route| route.path.contains("{id}")) {
        for id in [import.as_str(), missing, "nonsense", "%00", "..%2f..%2f"] {
            let path = route.path.replace("{id}", id).replace("{lever}", "cancel");
            let shown = match route.method {
                "GET" => browser.get(&path).await,
                _ => browser.press("/console", &path).await,
            };
            assert!(
                shown.status == 404 && !shown.body.contains("ours.csv"),
                "{path}: {} {}",
                shown.status,
                shown.body
            );
        }
    }
    assert_eq!(state(&server, &import).await, "received");
    // What no text of the database may hold is asked for by nobody, and is in no form.
    for page in ["/console/imports?q=%00", "/console/users?q=%00", "/console/imports?%00=1"] {
        browser.page(page).await;
    }
    let fields = [("form", browser.secret()), ("name", "\0".to_owned())];
    let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(browser.send("/console/tokens/revoke", &fields, None).await.status, 400);
    for page in ["/console", "/console/imports", "/console/imports?q=ours"] {
        assert!(!browser.page(page).await.contains("ours.csv"), "{page}");
    }
    assert_eq!(browser.get("/console/nowhere").await.status, 404);
    assert_eq!(browser.press("/console", &format!("/console/imports/{import}/drop")).await.status, 404);
}

#[tokio::test]
async fn what_stands_in_names_and_files_is_text_and_nothing_in_a_page_runs() {
    let server = Server::start().await;
    let mark = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
    let query = format!("start=manual&unknown_columns=ignore&filename={}", encoded(mark));
    let file = format!("email,\"{}\"\n\"{}\",x\n", mark.replace('"', "\"\""), mark.replace('"', "\"\""));
    let import = import(&server, &query, &file).await;
    let odd = token(&server.store, &server.tenant, mark, &[Scope::Ops]).await;
    let browser = Browser::signed_in(&server, &odd).await;
    let own = format!("/console/imports/{import}");
    let pages = [
        "/console".into(),
        "/console/imports".into(),
        own.clone(),
        format!("{own}/records"),
        format!("/console/imports?q={}", encoded(mark)),
        format!("{own}/records?identifier={}", encoded(mark)),
        format!("{own}?did={}", encoded(mark)),
        format!("/console/bulk?file={0}&wrong={0}&why={0}", encoded(mark)),
        "/console/nowhere".into(),
        format!("/console/sign-in?then={}", encoded(mark)),
    ];
    for page in &pages {
        let body = browser.get(page).await.body;
        for bad in ["<script>", "<img", " style=", " onerror=alert(2)>\"", "javascript:"] {
            assert!(!body.contains(bad), "{page} has {bad}: {body}");
        }
        assert_eq!(
            body.matches("<script").count(),
            body.matches("<script src=\"/console/assets/").count(),
            "{page}"
        );
    }
    assert!(browser.page(&own).await.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

#[tokio::test]
async fn people_are_hidden_from_who_may_not_see_them() {
    let server = Server::start().await;
    let import = import(&server, "start=manual", "email\nmario.rossi@example.com\nanna@\n").await;
    let records = format!("/console/imports/{import}/records");
    let reader = token(&server.store, &server.tenant, "reader", &[Scope::ImportRead]).await;
    let reader = Browser::signed_in(&server, &reader).await;
    for page in [records.clone(), format!("/console/imports/{import}")] {
        let shown = reader.page(&page).await;
        assert!(!shown.contains("mario.rossi") && !shown.contains("anna@"), "{shown}");
    }
    assert!(reader.page(&records).await.contains("m•••@•••.com"));
    let both = token(&server.store, &server.tenant, "both", &[Scope::ImportRead, Scope::UsersRead]).await;
    assert!(
        Browser::signed_in(&server, &both).await.page(&records).await.contains("mario.rossi@example.com")
    );
}

#[tokio::test]
async fn who_may_not_see_imports_comes_to_another_page_and_can_leave() {
    let server = Server::start().await;
    for (scope, first) in [
        (Scope::UsersRead, "/console/users"),
        (Scope::WebhooksRead, "/console/webhooks"),
        (Scope::ImportWrite, "/console/new"),
        // It sees no page at all.
        (Scope::WebhooksWrite, "/console"),
    ] {
        let token = token(&server.store, &server.tenant, scope.as_str(), &[scope]).await;
        let entered = Browser::new(&server).sign_in(&token).await;
        assert_eq!((entered.status, entered.header("location")), (303, first), "{scope}");
        let browser = Browser::signed_in(&server, &token).await;
        assert_eq!(browser.get("/console/sign-in").await.header("location"), first, "{scope}");
        // What it may not see says so, and has the way out.
        let refused = browser.get("/console").await;
        assert!(refused.status == 403 && refused.body.contains("may not do that"), "{}", refused.body);
        assert!(refused.body.contains(">Sign out<") && refused.body.ends_with("</html>"), "{}", refused.body);
        let missing = browser.get("/console/nowhere").await;
        assert!(missing.status == 404 && missing.body.contains(">Sign out<"), "{}", missing.body);
        let form = refused.form().to_owned();
        let left = browser.send("/console/sign-out", &[("form", &form)], None).await;
        assert_eq!((left.status, left.header("location")), (303, "/console/sign-in?left=1"), "{scope}");
    }
    // A stranger sees no menu.
    let stranger = Browser::new(&server).get("/console/nowhere").await;
    assert!(stranger.status == 404 && !stranger.body.contains(">Sign out<"), "{}", stranger.body);
}
