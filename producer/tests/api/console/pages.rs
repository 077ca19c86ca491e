//! What pages show, and what they do.

use std::time::Duration;

use muster_domain::chunk::ChunkLimits;
use muster_domain::id::ImportId;
use muster_domain::options::ImportOptions;
use muster_domain::parse::Format;
use muster_domain::token::Scope;
use muster_producer::ProducerOptions;
use muster_producer::receive::ReceiveLimits;
use muster_runtime::clock;
use muster_store::lookup::{self, Found};
use muster_store::{Store, StoreOptions, tenants};
use muster_testkit::TestDatabase;
use muster_testkit::proxy::Proxy;

use super::{Browser, import, state};
use crate::harness::{Server, accepted, token, until};

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
async fn a_search_stops_when_its_time_is_over_and_says_where() {
    let receive = ReceiveLimits {
        chunk: ChunkLimits { records: 2, lanes: 1, ..ChunkLimits::default() },
        ..ReceiveLimits::default()
    };
    let server = Server::start_with(ProducerOptions { receive, ..ProducerOptions::default() }).await;
    let records: Vec<String> = (1..=5).map(|n| format!(r#"{{"email":"u{n}@example.com"}}"#)).collect();
    let json = server.post("/v1/imports?format=json&start=manual").body(format!("[{}]", records.join(",")));
    let id = accepted(json).await["id"].as_str().unwrap().to_owned();
    let import: ImportId = id.parse().unwrap();
    let (store, tenant, options) = (&server.store, server.tenant.id, ImportOptions::default());
    let (none, enough) = (Duration::ZERO, Duration::from_secs(60));
    // Every record stands on the first line, also those of the last chunk.
    let at_line = async |time| lookup::at_line(store, tenant, import, Format::Json, 1, time).await.unwrap();
    assert_eq!(at_line(enough).await, Found { found: Some(5), stopped_at: None });
    assert_eq!(at_line(none).await, Found { found: None, stopped_at: Some(0) });
    for wanted in ["u5@example.com", "not an address"] {
        let found = async |time| {
            lookup::with_identifier(store, tenant, import, &options, wanted, 10, time).await.unwrap()
        };
        let all = if wanted.starts_with('u') { vec![5] } else { Vec::new() };
        assert_eq!(found(enough).await, Found { found: all, stopped_at: None });
        assert_eq!(found(none).await, Found { found: Vec::new(), stopped_at: Some(0) });
    }
    let browser = Browser::signed_in(&server, &server.token).await;
    let page = browser.page(&format!("/console/imports/{id}/records?line=1")).await;
    assert!(page.contains("u5@example.com") && !page.contains("u4@example.com"), "{page}");
}

/// An import that completed, with a dead chunk.
async fn dead(server: &Server) -> String {
    let import = import(server, "start=manual&filename=dead.csv", "email\na@example.com\n").await;
    let change = format!(
        "update chunks set state = 'dead', pending = 0, failed = records, problem = 'it is broken' where import_id = '{import}';
         update imports
            set state = 'completed', started_at = now(), completed_at = now(),
                final_counts = '{{\"total\": 1, \"pending\": 0, \"inserted\": 0, \"updated\": 0, \"skipped\": 0, \"failed\": 1,
                                 \"chunks\": {{\"staged\": 0, \"dispatched\": 0, \"retryable\": 0, \"applied\": 0, \"dead\": 1, \"cancelled\": 0}}}}'
          where id = '{import}'"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(server.store.pool()).await.unwrap();
    import
}

#[tokio::test]
async fn what_needs_somebody_is_told_however_many_imports_are_newer() {
    let server = Server::start().await;
    let browser = Browser::signed_in(&server, &server.token).await;
    assert!(browser.page("/console").await.contains("Nothing needs attention."));
    let old = dead(&server).await;
    for number in 0..21 {
        let query = format!("start=manual&filename=n{number}.csv");
        let newer = import(&server, &query, "email\na@example.com\n").await;
        let response = server.post(&format!("/v1/imports/{newer}/cancel")).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }
    let overview = browser.page("/console").await;
    assert!(!overview.contains("Nothing needs attention."), "{overview}");
    assert!(overview.contains(&old) && overview.contains("1 chunk is dead"), "{overview}");
    let queue = browser.page("/console/queue").await;
    assert!(queue.contains("dead.csv") && queue.contains("It is broken."), "{queue}");
}

#[tokio::test]
async fn running_imports_are_counted_all_of_them() {
    let server = Server::start().await;
    for number in 0..22 {
        import(&server, &format!("filename=n{number}.csv"), "email\na@example.com\nb@example.com\n").await;
    }
    let browser = Browser::signed_in(&server, &server.token).await;
    let overview = browser.page("/console").await;
    assert!(overview.contains("The newest 20 of 22 that run:"), "{overview}");
    assert!(overview.contains(">22<") && overview.contains(">44<"), "{overview}");
}

/// However many have begun since.
#[tokio::test]
async fn what_ended_last_is_shown_by_its_end() {
    let server = Server::start().await;
    for name in ["first", "second"] {
        import(&server, &format!("filename={name}.csv&start=manual"), "email\na@example.com\n").await;
    }
    for number in 0..21 {
        import(&server, &format!("filename=n{number}.csv"), "email\na@example.com\n").await;
    }
    let browser = Browser::signed_in(&server, &server.token).await;
    assert!(browser.page("/console").await.contains("No import has ended yet."));
    let list = server.json("/v1/imports?state=received").await;
    for import in list["imports"].as_array().unwrap() {
        let path = format!("/v1/imports/{}/cancel", import["id"].as_str().unwrap());
        assert_eq!(server.post(&path).send().await.unwrap().status(), 200);
    }
    // The newest was cancelled first.
    let overview = browser.page("/console").await;
    let (_, ended) = overview.split_once("Ended last").unwrap();
    let (first, second) = (ended.find("first.csv").unwrap(), ended.find("second.csv").unwrap());
    assert!(first < second && !ended.contains("n20.csv"), "{ended}");
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
        if lever == "pause" {
            for (path, who) in [(own.as_str(), "Paused by token "), ("/console", "paused by token ")] {
                let page = one.page(path).await;
                assert!(page.contains(who), "{path} says who did it: {page}");
            }
        }
    }
    one.press(&own, &format!("{own}/cancel")).await;
    let late = two.press("/console", &format!("{own}/pause")).await;
    assert_eq!(late.header("location"), format!("{own}?not=pause"));
    assert!(two.page(&format!("{own}?not=pause")).await.contains("It could not be paused"));
    assert_eq!(state(&server, &import).await, "cancelled");
    // Each of it once, however many pressed.
    let page = two.page(&own).await;
    assert!(page.contains("What was done to it"), "{page}");
    for lever in ["proceed", "pause", "resume", "cancel"] {
        assert_eq!(page.matches(&format!("<code>import.{lever}</code>")).count(), 1, "{lever}: {page}");
    }
    let writer =
        token(&server.store, &server.tenant, "writer", &[Scope::ImportRead, Scope::ImportWrite]).await;
    let page = Browser::signed_in(&server, &writer).await.page(&own).await;
    assert!(page.contains("What was done to it") && page.contains("<dt>Sent by</dt>"), "{page}");
}

#[tokio::test]
async fn an_import_says_by_which_others_it_is_undone() {
    let server = Server::start().await;
    let file = "email\na@example.com\n";
    let (first, undo) =
        (import(&server, "start=manual", file).await, import(&server, "start=manual", file).await);
    let browser = Browser::signed_in(&server, &server.token).await;
    let page = format!("/console/imports/{first}");
    assert!(!browser.page(&page).await.contains("Undone by"));
    let change = format!("update imports set undoes = '{first}' where id = '{undo}'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(server.store.pool()).await.unwrap();
    let shown = browser.page(&page).await;
    let told = format!("Undone by <a href=\"/console/imports/{undo}\">this import</a> (received).");
    assert!(shown.contains(&told), "{shown}");
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
        // Under another address is what a browser must not keep: a file of another version.
        let address = part.unwrap().split('?').next().unwrap();
        for other in [address.to_owned(), format!("{address}?v=0"), format!("{}&x=1", part.unwrap())] {
            assert_eq!(browser.get(&other).await.header("cache-control"), "no-store", "{other}");
        }
    }
    assert_eq!(browser.get("/console/assets/..%2fconsole.rs").await.status, 404);
}

#[tokio::test]
async fn a_file_is_looked_at_and_taken_by_the_page_of_a_new_import_and_by_no_other() {
    let server = Server::start().await;
    let browser = Browser::signed_in(&server, &server.token).await;
    let page = browser.get("/console/new").await;
    assert!(page.body.contains("Drop a file here"), "{}", page.body);
    // Nothing is chosen at first, so that a profile counts.
    let lists = page.body.matches("<select ").count();
    assert_eq!(page.body.matches("<option value=\"\">").count(), lists, "{}", page.body);
    assert!(!page.body.contains(" selected"), "{}", page.body);
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
    for figure in ["Ready", "Unacked", "Consumers", "Window", "places taken", "Rate", "Waiting"] {
        assert!(queue.contains(figure), "{figure}: {queue}");
    }
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
    let audit = browser.page("/console/audit").await;
    assert!(
        audit.contains("token.revoke") && audit.contains("<td data-name=\"To what\">other</td>"),
        "{audit}"
    );
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
        let page = browser.get("/console/catalog").await;
        let fields = [("form", page.form()), ("seen", page.hidden("seen")), ("catalog", text)];
        browser.send("/console/catalog", &fields, None).await
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
    // As large as the API takes it.
    let roles: Vec<String> = (0..9_000).map(|number| format!("{number:0240}")).collect();
    let saved = save(&format!(r#"{{{organizations}, "roles": {}}}"#, serde_json::json!(roles))).await;
    assert_eq!(saved.status, 303, "{}", saved.body);
    // The first page is older than all of this.
    let fields = [("form", page.form()), ("seen", page.hidden("seen")), ("catalog", "{}")];
    assert!(browser.send("/console/catalog", &fields, None).await.body.contains("It was changed since"));
}

#[tokio::test]
async fn a_catalog_that_somebody_changed_meanwhile_is_not_overwritten() {
    let server = Server::start().await;
    let (one, two) =
        (Browser::signed_in(&server, &server.token).await, Browser::signed_in(&server, &server.token).await);
    let (first, second) = (one.get("/console/catalog").await, two.get("/console/catalog").await);
    let with = |role: &str| {
        format!(r#"{{"organizations": [{{"slug": "default", "name": "Default"}}], "roles": ["{role}"]}}"#)
    };
    let save = async |browser: &Browser<'_>, page: &super::Shown, text: &str| {
        let fields = [("form", page.form()), ("seen", page.hidden("seen")), ("catalog", text)];
        browser.send("/console/catalog", &fields, None).await
    };
    assert_eq!(save(&one, &first, &with("First")).await.status, 303);
    let refused = save(&two, &second, &with("Second")).await;
    assert!(refused.status == 200 && refused.body.contains("It was changed since"), "{}", refused.body);
    assert_eq!(server.json("/v1/catalog").await["roles"], serde_json::json!(["First"]));
    // The page says what the catalog holds now, and whoever has seen it may replace it.
    assert!(refused.body.contains("First") && refused.body.contains("Second"), "{}", refused.body);
    assert_eq!(save(&two, &refused, &with("Second")).await.status, 303);
    assert_eq!(server.json("/v1/catalog").await["roles"], serde_json::json!(["Second"]));
}

#[tokio::test]
async fn many_imports_are_chosen_looked_at_and_done() {
    let server = Server::start().await;
    let mut imports = Vec::new();
    for name in ["one.csv", "two.csv", "other.csv"] {
        imports
            .push(import(&server, &format!("start=manual&filename={name}"), "email\na@example.com\n").await);
    }
    let browser = Browser::signed_in(&server, &server.token).await;
    let form = browser.get("/console/bulk").await;
    let look = async |fields: &[(&str, &str)]| {
        let fields = [&[("form", form.form()), ("action", "cancel")][..], fields].concat();
        browser.send("/console/bulk", &fields, None).await
    };
    // What is wrong is told, and what was given stands there as it was.
    let wrong = look(&[("older_than", "soon"), ("file", "o\"n")]).await;
    assert_eq!(wrong.status, 303);
    let told = browser.page(wrong.header("location")).await;
    assert!(told.contains("Not like that.") && told.contains("value=\"o&quot;n\""), "{told}");
    let found = look(&[("file", "o"), ("state", "received"), ("older_than", "")]).await;
    let page = found.header("location").to_owned();
    let shown = browser.page(&page).await;
    assert!(shown.contains("Cancel: 3 imports") && shown.contains("Nothing was done yet."), "{shown}");
    assert!(shown.contains(&format!("/console/imports/{}", imports[0])), "{shown}");
    for import in &imports {
        assert_eq!(state(&server, import).await, "received");
    }
    let started = browser.press(&page, &format!("{page}/start")).await;
    assert_eq!((started.status, started.header("location")), (303, page.as_str()));
    until("it is done", async || browser.page(&page).await.contains("3 of 3 imports done")).await;
    for import in &imports {
        assert_eq!(state(&server, import).await, "cancelled");
    }
    assert!(browser.page("/console/bulk").await.contains(&page));
    // Who may only look sees what was done, and no form for it.
    let reader = token(&server.store, &server.tenant, "reader", &[Scope::ImportRead]).await;
    let reader = Browser::signed_in(&server, &reader).await;
    let seen = reader.page("/console/bulk").await;
    assert!(seen.contains(&page) && !seen.contains("action=\"/console/bulk\""), "{seen}");
}

#[tokio::test]
async fn a_plan_is_looked_through_by_outcome_and_field() {
    let server = Server::start().await;
    let import = crate::plans::made(&server).await;
    let browser = Browser::signed_in(&server, &server.token).await;
    let page = browser.page(&format!("/console/imports/{import}")).await;
    assert!(page.contains(">Start<") && page.contains(">Plan anew<"), "{page}");
    let own = format!("/console/imports/{import}/changes");
    let all = browser.page(&own).await;
    for text in ["Marker-Zoe", "=Ann", "phone_number", "inserted", "updated"] {
        assert!(all.contains(text), "{text}: {all}");
    }
    let phones = browser.page(&format!("{own}?field=phone_number&outcome=updated")).await;
    assert!(phones.contains("+3212345678") && !phones.contains("Marker-Zoe"), "{phones}");
    assert!(browser.page(&format!("{own}?outcome=failed")).await.contains("No record is like that."));
    // Who may not see users sees what changes, and no value.
    let reader = token(&server.store, &server.tenant, "reader", &[Scope::ImportRead]).await;
    let reader = Browser::signed_in(&server, &reader).await;
    let masked = reader.page(&own).await;
    assert!(masked.contains("given_name") && masked.contains("Values are hidden"), "{masked}");
    assert!(!masked.contains("Marker-Zoe") && !masked.contains("3212345678"), "{masked}");
    // The plan is made anew by a press.
    let again = browser
        .press(&format!("/console/imports/{import}"), &format!("/console/imports/{import}/plan"))
        .await;
    assert_eq!(again.status, 303);
    assert_eq!(state(&server, &import).await, "planning");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_says_within_seconds_that_the_database_does_not_answer() {
    let database = TestDatabase::create().await;
    let (proxy, target) = Proxy::before_database(&database.target()).await;
    let store = Store::connect(target, &StoreOptions::default()).await.unwrap();
    let server = Server::start_on(database, store, ProducerOptions::default()).await;
    let browser = Browser::signed_in(&server, &server.token).await;
    browser.page("/console").await;
    proxy.freeze_for_good();
    for live in [false, true] {
        let began = std::time::Instant::now();
        let shown = browser.ask(reqwest::Method::GET, "/console", live).await;
        assert_eq!(shown.status, 503, "{}", shown.body);
        assert!(shown.body.contains("The database does not answer"), "{}", shown.body);
        assert!(shown.body.contains("DATABASE_URL") && shown.header("retry-after") == "5", "{}", shown.body);
        // The request's own time is 30 seconds.
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    }
    proxy.pass();
}
