//! The console as a browser meets it: cookies, forms, pages.

use muster_producer::api::CONSOLE_ROUTES;
use muster_shared::clock;
use muster_shared::store::{tenants, tokens};
use muster_shared::token::Scope;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, redirect};

use crate::harness::{Server, accepted, token};

/// A browser that keeps one session, and follows no redirect by itself.
struct Browser<'s> {
    server: &'s Server,
    client: Client,
    cookie: Option<String>,
}

/// What a browser was answered.
struct Shown {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Shown {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The secret of the forms of the page.
    fn form(&self) -> &str {
        let from = self.body.find("name=\"form\" value=\"").expect("the page has a form") + 19;
        self.body[from..].split('"').next().unwrap()
    }

    /// The cookie that was set last.
    fn cookie(&self) -> &str {
        let set = self.headers.get_all("set-cookie").iter().next_back().expect("a cookie is set");
        set.to_str().unwrap().split(';').next().unwrap()
    }
}

impl<'s> Browser<'s> {
    fn new(server: &'s Server) -> Self {
        let client = Client::builder().redirect(redirect::Policy::none()).build().unwrap();
        Self { server, client, cookie: None }
    }

    async fn signed_in(server: &'s Server, token: &str) -> Self {
        let mut browser = Self::new(server);
        let shown = browser.sign_in(token).await;
        assert_eq!((shown.status, shown.header("location")), (303, "/console"), "{}", shown.body);
        browser.cookie = Some(shown.cookie().to_owned());
        browser
    }

    async fn sign_in(&self, token: &str) -> Shown {
        let door = self.get("/console/sign-in").await;
        let fields = [("form", door.form()), ("then", "/console"), ("token", token)];
        self.send("/console/sign-in", &fields, Some(door.cookie())).await
    }

    async fn ask(&self, method: Method, path: &str, live: bool) -> Shown {
        let mut request = self.client.request(method, format!("{}{path}", self.server.url));
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        if live {
            request = request.header("muster-live", "1");
        }
        shown(request.send().await.unwrap()).await
    }

    async fn get(&self, path: &str) -> Shown {
        self.ask(Method::GET, path, false).await
    }

    async fn page(&self, path: &str) -> String {
        let shown = self.get(path).await;
        assert_eq!(shown.status, 200, "{path}: {}", shown.body);
        shown.body
    }

    async fn send(&self, path: &str, fields: &[(&str, &str)], cookie: Option<&str>) -> Shown {
        let body: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let mut request = self.client.post(format!("{}{path}", self.server.url));
        if let Some(cookie) = cookie.or(self.cookie.as_deref()) {
            request = request.header("cookie", cookie);
        }
        let request =
            request.header("content-type", "application/x-www-form-urlencoded").body(body.join("&"));
        shown(request.send().await.unwrap()).await
    }

    /// Presses a button of a page.
    async fn press(&self, page: &str, path: &str) -> Shown {
        let form = self.get(page).await.form().to_owned();
        self.send(path, &[("form", &form)], None).await
    }

    /// What the script of the page of a new import sends.
    async fn send_file(&self, path: &str, form: Option<&str>, file: &str) -> Shown {
        let mut request = self.client.post(format!("{}{path}", self.server.url)).body(file.to_owned());
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        if let Some(form) = form {
            request = request.header("muster-form", form);
        }
        shown(request.send().await.unwrap()).await
    }
}

async fn shown(response: reqwest::Response) -> Shown {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Shown { status, headers, body: response.text().await.unwrap() }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}

async fn import(server: &Server, query: &str, body: &str) -> String {
    accepted(server.upload(query, body.to_owned())).await["id"].as_str().unwrap().to_owned()
}

async fn state(server: &Server, import: &str) -> String {
    server.json(&format!("/v1/imports/{import}")).await["state"].as_str().unwrap().to_owned()
}

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
    tokens::revoke(server.store.pool(), server.tenant.id, "other").await.unwrap().unwrap();
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
    let missing = |path: &str| ["/console/users/{id}", "/console/tokens/revoke"].contains(&path);
    for route in CONSOLE_ROUTES {
        let away = Browser::new(&server).ask(route.method.parse().unwrap(), &path(route.path), false).await;
        assert_eq!(away.status, 303, "{} {}", route.method, route.path);
    }
    for scope in Scope::ALL {
        let token = token(&server.store, &server.tenant, scope.as_str(), &[*scope]).await;
        for route in CONSOLE_ROUTES {
            let browser = Browser::signed_in(&server, &token).await;
            // Who may see no page has the secret of forms from the page that says so, which has none: it is in no address either.
            let shown = match (route.method, scope) {
                ("GET", _) => browser.get(&path(route.path)).await,
                (_, Scope::ImportRead | Scope::Ops) if route.path.starts_with("/console/new/") => {
                    let form = browser.get("/console").await.form().to_owned();
                    browser
                        .send_file(&format!("{}?filename=a.csv", route.path), Some(&form), "email\na@b.co\n")
                        .await
                }
                (_, Scope::ImportRead | Scope::Ops) => browser.press("/console", &path(route.path)).await,
                _ => continue,
            };
            let may = route.scope.is_none_or(|wanted| wanted == *scope || *scope == Scope::Ops);
            assert_eq!(
                shown.status != 403,
                may,
                "{} {} with {scope}: {}",
                route.method,
                route.path,
                shown.status
            );
            // An import that has not run cannot be undone.
            let refused = route.path.ends_with("/undo") && shown.status == 409;
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
async fn an_import_shows_its_problems_by_cause_and_gives_the_failed_records() {
    let server = Server::start().await;
    let file = "email,given_name\na@example.com,Ann\nnobody,Bob\nneither,Cid\n";
    let import = import(&server, "start=manual&filename=people.csv", file).await;
    let browser = Browser::signed_in(&server, &server.token).await;
    let page = browser.page(&format!("/console/imports/{import}")).await;
    for text in [
        "people.csv",
        "email_invalid",
        "records?number=2",
        "What it means and what to do",
        "Lane 1",
        ">Start<",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains(">Pause<") && !page.contains(">Resume<"), "{page}");
    let failed = browser.get(&format!("/console/imports/{import}/failed.csv")).await;
    assert!(
        failed.header("content-type").starts_with("text/csv") && failed.body.contains("neither"),
        "{}",
        failed.body
    );
    assert!(browser.get(&format!("/console/imports/{import}/failed.ndjson")).await.body.contains("nobody"));
}

#[tokio::test]
async fn records_are_found_by_outcome_number_line_and_identifier() {
    let server = Server::start().await;
    // The second record has a cell of two lines, so that numbers and lines go apart.
    let file = "email,given_name\na@example.com,Ann\nb@example.com,\"B\nb\"\nnobody,Cid\nd@example.com,Dee\n";
    let import = import(&server, "start=manual", file).await;
    let browser = Browser::signed_in(&server, &server.token).await;
    let found = async |query: &str| {
        let page = browser.page(&format!("/console/imports/{import}/records?{query}")).await;
        ["a@example.com", "b@example.com", "nobody", "d@example.com"]
            .into_iter()
            .filter(|value| page.contains(&format!("<td class=\"value\">{value}")))
            .collect::<Vec<_>>()
    };
    assert_eq!(found("").await.len(), 4);
    assert_eq!(found("outcome=failed").await, ["nobody"]);
    assert_eq!(found("number=3").await, ["nobody", "d@example.com"]);
    assert_eq!(found("line=5").await, ["nobody", "d@example.com"]);
    assert_eq!(
        found("line=4").await,
        ["b@example.com", "nobody", "d@example.com"],
        "the record that begins before"
    );
    assert_eq!(found("line=1").await.len(), 0, "the header is no record");
    assert_eq!(found("identifier=B@Example.com").await, ["b@example.com"]);
    assert_eq!(found("identifier=nobody").await, ["nobody"]);
    assert!(found("identifier=z@example.com").await.is_empty());
}

#[tokio::test]
async fn levers_move_an_import_and_two_people_who_pull_one_do_no_harm() {
    let server = Server::start().await;
    let import = import(&server, "start=manual", "email\na@example.com\n").await;
    let (one, two) =
        (Browser::signed_in(&server, &server.token).await, Browser::signed_in(&server, &server.token).await);
    let own = format!("/console/imports/{import}");
    for (lever, after) in [("proceed", "running"), ("pause", "paused"), ("resume", "running")] {
        let path = format!("{own}/{lever}");
        let (first, second) = tokio::join!(one.press(&own, &path), two.press(&own, &path));
        for pressed in [first, second] {
            assert_eq!(
                (pressed.status, pressed.header("location")),
                (303, format!("{own}?did={lever}").as_str())
            );
        }
        assert_eq!(state(&server, &import).await, after);
    }
    one.press(&own, &format!("{own}/cancel")).await;
    let late = two.press("/console", &format!("{own}/pause")).await;
    assert_eq!(late.header("location"), format!("{own}?not=pause"));
    assert!(two.page(&format!("{own}?not=pause")).await.contains("It could not be paused"));
    assert_eq!(state(&server, &import).await, "cancelled");
}

#[tokio::test]
async fn the_list_is_filtered_searched_and_paged() {
    let server = Server::start().await;
    for number in 0..32 {
        import(&server, &format!("start=manual&filename=File{number:02}.csv"), "email\na@example.com\n")
            .await;
    }
    let browser = Browser::signed_in(&server, &server.token).await;
    let first = browser.page("/console/imports").await;
    assert!(
        first.contains("File31.csv") && first.contains("File02.csv") && !first.contains("File01.csv"),
        "{first}"
    );
    let at = first.find("/console/imports?before=").unwrap();
    let older = first[at..].split('"').next().unwrap().to_owned();
    let second = browser.page(&older).await;
    assert!(second.contains("File01.csv") && !second.contains("File02.csv"), "{second}");
    let found = browser.page("/console/imports?q=fILE07&state=received").await;
    assert!(found.contains("File07.csv") && !found.contains("File08.csv"), "{found}");
    assert!(
        browser.page("/console/imports?q=file07&state=running").await.contains("No import is like that.")
    );
}

#[tokio::test]
async fn pages_load_files_of_this_server_alone_and_browsers_keep_them() {
    let server = Server::start().await;
    let browser = Browser::signed_in(&server, &server.token).await;
    let page = browser.get("/console").await;
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'") && !policy.contains("unsafe") && !policy.contains("http"),
        "{policy}"
    );
    assert!(!page.body.contains("http://") && !page.body.contains("https://"), "{}", page.body);
    for (ending, media_type) in [("css", "text/css"), ("js", "text/javascript"), ("svg", "image/svg+xml")] {
        let part = page
            .body
            .split('"')
            .find(|part| part.starts_with("/console/assets/") && part.contains(&format!(".{ending}?v=")));
        let file = browser.get(part.unwrap()).await;
        assert!(file.status == 200 && file.header("content-type").starts_with(media_type), "{ending}");
        assert!(file.header("cache-control").contains("immutable"));
        assert!(!file.body.contains("@import") && !file.body.contains("url("), "{ending}");
    }
    assert_eq!(browser.get("/console/assets/..%2fconsole.rs").await.status, 404);
}

#[tokio::test]
async fn a_file_is_looked_at_and_taken_by_the_page_of_a_new_import_and_by_no_other() {
    let server = Server::start().await;
    let browser = Browser::signed_in(&server, &server.token).await;
    let page = browser.get("/console/new").await;
    assert!(page.body.contains("Drop a file here"), "{}", page.body);
    let form = page.form();
    let file = "E-Mail;Kostenstelle\nann@example.com;4711\nnobody;<b>\n";
    let look = "/console/new/look?filename=people.csv&unknown_columns=ignore";
    let found = browser.send_file(look, Some(form), file).await;
    assert_eq!(found.status, 200, "{}", found.body);
    for text in [
        "2 records",
        "1 of them would fail",
        "custom__kostenstelle",
        "ann@example.com",
        "email_invalid",
        "What to do",
    ] {
        assert!(found.body.contains(text), "{text}: {}", found.body);
    }
    assert!(!found.body.contains("<b>"), "{}", found.body);
    let wrong = browser.send_file("/console/new/look?filename=people.csv&dates=xyz", Some(form), file).await;
    assert!(wrong.status == 200 && wrong.body.contains("note wrong"), "{}", wrong.body);
    let none = browser.send_file("/console/new/look?filename=people.docx", Some(form), "PK").await;
    assert!(none.status == 200 && none.body.contains("note wrong"), "{}", none.body);
    let take = "/console/new/take?filename=people.csv&start=manual&columns=%7B%22Kostenstelle%22%3A%22custom__cost%22%7D";
    for path in [look, take] {
        for form in [
            None,
            Some("00"),
            Some(Browser::signed_in(&server, &server.token).await.get("/console").await.form()),
        ] {
            assert_eq!(browser.send_file(path, form, file).await.status, 403);
        }
        assert_eq!(Browser::new(&server).send_file(path, Some(form), file).await.status, 401);
    }
    let stored: i64 =
        sqlx::query_scalar("select count(*) from imports").fetch_one(server.store.pool()).await.unwrap();
    assert_eq!(stored, 0);
    let taken = browser.send_file(take, Some(form), file).await;
    assert_eq!(taken.status, 202, "{}", taken.body);
    let import: serde_json::Value = serde_json::from_str(&taken.body).unwrap();
    assert!(
        browser
            .page(&format!("/console/imports/{}", import["id"].as_str().unwrap()))
            .await
            .contains("people.csv")
    );
    let refused = browser.send_file(&take.replace("start=manual", "start=never"), Some(form), file).await;
    let error: serde_json::Value = serde_json::from_str(&refused.body).unwrap();
    assert!(refused.status == 400 && error["error"]["message"].is_string(), "{}", refused.body);
}

#[tokio::test]
async fn operators_see_the_queue_and_tokens_and_revoke_them() {
    let server = Server::start().await;
    let import = import(&server, "filename=waits.csv", "email\na@example.com\n").await;
    let browser = Browser::signed_in(&server, &server.token).await;
    let queue = browser.page("/console/queue").await;
    assert!(queue.contains("No worker is there.") && queue.contains("dispatcher"), "{queue}");
    let stuck = format!(
        "update chunks set state = 'dead', pending = 0, failed = records, problem = 'it is <b>' where import_id = '{import}'"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(stuck)).execute(server.store.pool()).await.unwrap();
    let queue = browser.page("/console/queue").await;
    assert!(queue.contains("It is &lt;b&gt;.") && queue.contains("1 dead chunk"), "{queue}");
    let other = token(&server.store, &server.tenant, "other", &[Scope::ImportRead]).await;
    let signed_in = Browser::signed_in(&server, &other).await;
    let tokens = browser.get("/console/tokens").await;
    assert!(tokens.body.contains("other") && !tokens.body.contains(&other), "{}", tokens.body);
    let fields = [("form", tokens.form()), ("name", "other")];
    assert_eq!(browser.send("/console/tokens/revoke", &fields, None).await.status, 303);
    assert_eq!(signed_in.get("/console").await.status, 303);
    assert!(browser.page("/console/tokens").await.contains("revoked <time"));
}

#[tokio::test]
async fn a_user_is_found_by_what_it_is_known_by() {
    let server = Server::start().await;
    sqlx::query(
        "insert into users (id, tenant_id, email, given_name) values ($1, $2, 'ann@example.com', 'Ann<b>')",
    )
    .bind(clock::new_id())
    .bind(server.tenant.id.get())
    .execute(server.store.pool())
    .await
    .unwrap();
    let browser = Browser::signed_in(&server, &server.token).await;
    let found = browser.get("/console/users?q=+Ann%40Example.com+").await;
    assert_eq!(found.status, 303);
    let page = browser.page(found.header("location")).await;
    assert!(
        page.contains("ann@example.com") && page.contains("Ann&lt;b&gt;") && !page.contains("<b>"),
        "{page}"
    );
    assert!(browser.page("/console/users?q=nobody%40example.com").await.contains("There is no such user."));
    let other =
        tenants::create(&server.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    let theirs =
        Browser::signed_in(&server, &token(&server.store, &other, "theirs", &[Scope::Ops]).await).await;
    assert_eq!(theirs.get(found.header("location")).await.status, 404);
    assert!(theirs.page("/console/users?q=ann%40example.com").await.contains("There is no such user."));
}

#[tokio::test]
async fn the_catalog_is_changed_as_a_whole_or_not_at_all() {
    let server = Server::start().await;
    let browser = Browser::signed_in(&server, &server.token).await;
    let page = browser.get("/console/catalog").await;
    let save = async |text: &str| {
        browser.send("/console/catalog", &[("form", page.form()), ("catalog", text)], None).await
    };
    let organizations = r#""organizations": [{"slug": "default", "name": "Default"}]"#;
    let saved = save(&format!(r#"{{{organizations}, "roles": ["Agent <b>"]}}"#)).await;
    assert_eq!(saved.status, 303, "{}", saved.body);
    assert!(browser.page("/console/catalog").await.contains("Agent &lt;b&gt;"));
    for wrong in ["no catalog", r#"{"roles": [""]}"#] {
        let refused = save(wrong).await;
        assert!(refused.status == 200 && refused.body.contains("Nothing was changed."), "{}", refused.body);
    }
    assert!(server.json("/v1/catalog").await["roles"].as_array().unwrap().len() == 1);
}
