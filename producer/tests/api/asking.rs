//! How clients ask: pages, waiting for a change, preferences, bodies of any media type, and errors that speak of the request.

use std::time::{Duration, Instant};

use muster_domain::chunk::ChunkLimits;
use muster_producer::ProducerOptions;
use muster_producer::receive::ReceiveLimits;
use muster_runtime::clock;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::harness::{Server, accepted, assert_refused, refused, until};

const CSV: &str = "email\na@example.com\nb@example.com\nc@example.com\n";

async fn answered(server: &Server, path: &str) -> (HeaderMap, Value) {
    let response = server.get(path).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    (response.headers().clone(), response.json().await.unwrap())
}

#[tokio::test]
async fn lists_are_paged_in_one_way() {
    let chunk = ChunkLimits { records: 1, lanes: 1, ..ChunkLimits::default() };
    let receive = ReceiveLimits { chunk, ..ReceiveLimits::default() };
    let server = Server::start_with(ProducerOptions { receive, ..ProducerOptions::default() }).await;
    let mut imports = Vec::new();
    for _ in 0..3 {
        let import = accepted(server.upload("start=manual", CSV)).await;
        imports.insert(0, import["id"].as_str().unwrap().to_owned());
    }
    let users = "insert into users (id, tenant_id, email)
                 select gen_random_uuid(), $1, n || '@example.com' from generate_series(1, 3) n";
    sqlx::query(users).bind(server.tenant.id.get()).execute(server.store.pool()).await.unwrap();
    let (records, chunks) =
        (format!("/v1/imports/{}/records", imports[0]), format!("/v1/imports/{}/chunks", imports[0]));
    for (path, list, key) in [
        ("/v1/imports", "imports", "id"),
        (records.as_str(), "records", "record"),
        (chunks.as_str(), "chunks", "id"),
        ("/v1/users", "users", "id"),
    ] {
        let (mut link, mut seen, mut after) = (Some(format!("{path}?limit=1")), Vec::new(), None);
        while let Some(next) = link {
            let (headers, page) = answered(&server, &next).await;
            assert_eq!(page[list].as_array().unwrap().len(), 1, "{next}");
            seen.push(page[list][0][key].clone());
            link = page["next_link"].as_str().map(str::to_owned);
            // The header, the link and the value say the same.
            let header = headers.get("link").map(|link| link.to_str().unwrap().to_owned());
            assert_eq!(header, link.as_ref().map(|link| format!("<{link}>; rel=\"next\"")));
            assert_eq!(link.is_none(), page["next"].is_null());
            if let Some(link) = &link {
                let text =
                    page["next"].as_str().map(str::to_owned).unwrap_or_else(|| page["next"].to_string());
                assert!(link.contains(&format!("after={text}")), "{link}");
                after.get_or_insert(text);
            }
        }
        assert_eq!(seen.len(), 3, "{path}");
        let (_, page) = answered(&server, &format!("{path}?after={}", after.unwrap())).await;
        assert_eq!(page[list].as_array().unwrap().len(), 2, "{path}");
    }
    // As it was before there was one way.
    let (_, page) = answered(&server, &format!("/v1/imports?before={}", imports[0])).await;
    assert_eq!(page["imports"].as_array().unwrap().len(), 2);
    let both = format!("/v1/imports?before={0}&after={0}", imports[0]);
    assert_refused(server.get(&both), 400, "invalid_request").await;
    // What is asked for stays in the links.
    let path = "/v1/users?limit=2&updated_since=2026-01-31T09:30:00.25%2B01:00";
    let (_, page) = answered(&server, path).await;
    let link = page["next_link"].as_str().unwrap();
    assert!(link.ends_with("&limit=2&updated_since=2026-01-31T08%3A30%3A00.250Z"), "{link}");
    assert_eq!(answered(&server, link).await.1["users"].as_array().unwrap().len(), 1);
}

/// Others come, so there is no last page.
#[tokio::test]
async fn a_page_of_events_always_says_where_to_read_on() {
    let server = Server::start().await;
    for _ in 0..2 {
        accepted(server.upload("start=manual", CSV)).await;
    }
    until("the events have their numbers", async || {
        answered(&server, "/v1/events").await.1["events"].as_array().unwrap().len() == 4
    })
    .await;
    let (mut next, mut seen, mut linked) = (0, 0, 0);
    loop {
        let (headers, page) = answered(&server, &format!("/v1/events?limit=1&after={next}")).await;
        // A link has the next page where there is one already.
        let link = page["next_link"].as_str().map(|link| format!("<{link}>; rel=\"next\""));
        assert_eq!(headers.get("link").map(|link| link.to_str().unwrap()), link.as_deref());
        let events = page["events"].as_array().unwrap();
        let Some(event) = events.first() else {
            assert_eq!(page["next"], next);
            break;
        };
        assert_eq!((events.len(), &page["next"]), (1, &event["number"]));
        next = page["next"].as_i64().unwrap();
        seen += 1;
        if let Some(link) = page["next_link"].as_str() {
            assert_eq!(link, format!("/v1/events?after={next}&limit=1"));
            linked += 1;
        }
    }
    assert!(seen >= 2 && linked == seen - 1, "{seen} {linked}");
    // Of an import, too.
    let import = &answered(&server, "/v1/imports").await.1["imports"][0];
    let path = format!("/v1/imports/{}/events", import["id"].as_str().unwrap());
    until("both events have their numbers", async || {
        answered(&server, &path).await.1["events"].as_array().unwrap().len() == 2
    })
    .await;
    let (_, first) = answered(&server, &format!("{path}?limit=1")).await;
    let (_, last) = answered(&server, first["next_link"].as_str().unwrap()).await;
    assert_eq!((last["events"].as_array().unwrap().len(), &last["next_link"]), (1, &Value::Null));
}

#[tokio::test]
async fn errors_of_parameters_speak_of_the_request() {
    let server = Server::start().await;
    let import = accepted(server.upload("start=manual", CSV)).await;
    let own = format!("/v1/imports/{}", import["id"].as_str().unwrap());
    for (path, field, told) in [
        ("/v1/imports?limit=x".to_owned(), "limit", "limit must be from 1 to 200"),
        ("/v1/imports?limit=70000".to_owned(), "limit", "limit must be from 1 to 200"),
        (format!("{own}/records?limit=-1"), "limit", "limit must be from 1 to 1,000"),
        (format!("{own}/records?after=x"), "after", "after must be `next` of the page before"),
        ("/v1/imports?after=x".to_owned(), "after", "after must be `next` of the page before"),
        (format!("{own}?wait=1h"), "wait", "wait must be a time of up to 60 seconds, such as 30s"),
        ("/v1/imports?limit=1&limit=2".to_owned(), "limit", "limit is given twice"),
        ("/v1/imports?colour=red".to_owned(), "colour", "there is no such parameter"),
    ] {
        let (status, error) = refused(server.get(&path)).await;
        assert_eq!(
            (status, error["field"].as_str(), error["message"].as_str()),
            (400, Some(field), Some(told)),
            "{path}"
        );
    }
    let (_, error) = refused(server.upload("on_existing=replace", CSV)).await;
    assert_eq!(error["message"], "on_existing must be one of: skip, update, enrol");
    let (_, error) = refused(server.get("/v1/imports?state=done")).await;
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("state must be one of: receiving, "), "{message}");
}

/// Words of the program's own types say nothing to who sends a body.
#[tokio::test]
async fn bodies_that_are_wrong_are_told_in_words_of_json() {
    let server = Server::start().await;
    let put = |body: &'static str| {
        let request = server.request(reqwest::Method::PUT, "/v1/catalog");
        request.header("content-type", "application/json").body(body)
    };
    let post = |body: &'static str| server.post("/v1/webhooks").body(body);
    for (request, told) in [
        (post(r#"["https://hooks.example.com/", null, null, null, null]"#), "must be a JSON object"),
        (post("5"), "must be a JSON object"),
        (post(r#"{"url": 5}"#), "invalid type: number `5`, expected a string"),
        (
            post(r#"{"url": "x", "failed_above": "x"}"#),
            "invalid type: string \"x\", expected a whole number from 0 to 255",
        ),
        (post(r#"{"url": "x", "events": {}}"#), "invalid type: an object, expected a list"),
        (put(r#"{"organizations": 5}"#), "invalid type: number `5`, expected a list"),
        (put(r#"{"limits": {"max_chat_limit": -1}}"#), "expected a whole number from 0 to 4,294,967,295"),
        (
            put(r#"{"custom_attributes": {"level": {"type": "integer", "minimum": "x"}}}"#),
            "level: invalid type: string \"x\", expected a whole number",
        ),
    ] {
        let error = assert_refused(request, 400, "invalid_request").await;
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(told), "{told}: {message}");
        for word in ["struct", "enum", "u8", "u32", "i64", "a map", "a sequence", "NewWebhookBody"] {
            assert!(!message.contains(word), "{message}");
        }
    }
}

/// No text of the database may hold it, so it must not come that far.
#[tokio::test]
async fn a_nul_in_a_parameter_is_refused() {
    let server = Server::start().await;
    let import = accepted(server.upload("start=manual", CSV)).await;
    let own = format!("/v1/imports/{}", import["id"].as_str().unwrap());
    for (path, field) in [
        ("/v1/imports?idempotency_key=a%00".to_owned(), "idempotency_key"),
        ("/v1/users?email=%00a@example.com".to_owned(), "email"),
        (format!("{own}/records?field=%00"), "field"),
        (format!("{own}/failed.csv?field=%00"), "field"),
        ("/v1/imports?%00=1".to_owned(), "query"),
    ] {
        let (status, error) = refused(server.get(&path)).await;
        assert_eq!((status, error["field"].as_str()), (400, Some(field)), "{path}: {error}");
        assert!(error["message"].as_str().unwrap().ends_with("must not hold a NUL"), "{error}");
    }
    for query in [
        "filename=%00",
        "group=a%00",
        "columns=%00=email",
        "columns=%7B%22a%22:%22custom__b%5Cu0000%22%7D",
        "columns=%7B%22a%5Cu0000%22:%22email%22%7D",
    ] {
        assert_refused(server.upload(query, CSV), 400, "invalid_request").await;
    }
    let part = reqwest::multipart::Part::text(CSV).file_name("users.csv");
    let form = reqwest::multipart::Form::new().text("group", "a\0b").part("file", part);
    assert_refused(server.post("/v1/imports").multipart(form), 400, "invalid_request").await;
    for option in ["columns", "null_words", "at"] {
        let profile = server.request(reqwest::Method::PUT, "/v1/profiles/odd");
        let profile = profile.json(&serde_json::json!({ option: "a\0=email" }));
        assert_refused(profile, 400, "invalid_request").await;
    }
    for columns in [r#"{"a":"custom__b\u0000"}"#, r#"{"a\u0000":"email"}"#] {
        let profile = server.request(reqwest::Method::PUT, "/v1/profiles/odd");
        let profile = profile.json(&serde_json::json!({ "columns": columns }));
        assert_refused(profile, 400, "invalid_request").await;
    }
}

#[tokio::test]
async fn a_request_may_wait_for_another_state() {
    let server = Server::start().await;
    let import = accepted(server.upload("start=manual", CSV)).await;
    let own = format!("/v1/imports/{}", import["id"].as_str().unwrap());
    // Without a change it is answered when the time is over.
    let began = Instant::now();
    let (headers, shown) = answered(&server, &format!("{own}?wait=300ms")).await;
    assert_eq!(
        (&shown["state"], began.elapsed() >= Duration::from_millis(300)),
        (&Value::from("received"), true)
    );
    assert_eq!(headers["retry-after"], "1");
    // With one, when it comes: whether it came before the request or after, it is the last.
    let began = Instant::now();
    let long = format!("{own}?wait=60s");
    let waiting = answered(&server, &long);
    let cancelling = async { server.post(&format!("{own}/cancel")).send().await.unwrap().status() };
    let ((headers, shown), status) = tokio::join!(waiting, cancelling);
    assert_eq!((status.as_u16(), &shown["state"]), (200, &Value::from("cancelled")));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(!headers.contains_key("retry-after"), "nothing more will come");
    // One that has ended is answered at once.
    let began = Instant::now();
    answered(&server, &format!("{own}?wait=60s")).await;
    assert!(began.elapsed() < Duration::from_secs(30));
    let missing = format!("/v1/imports/{}?wait=60s", clock::new_id());
    assert_refused(server.get(&missing), 404, "not_found").await;
}

#[tokio::test]
async fn an_upload_says_what_of_its_preferences_was_done() {
    let server = Server::start().await;
    let send = async |prefer: Option<&str>, query: &str, csv: &'static str| {
        let request = server.upload(query, csv);
        let request = match prefer {
            Some(prefer) => request.header("prefer", prefer),
            None => request,
        };
        let response = request.send().await.unwrap();
        let applied =
            response.headers().get("preference-applied").map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), applied, response.headers().contains_key("retry-after"))
    };
    assert_eq!(send(None, "start=manual", CSV).await, (202, None, true));
    let asynchronous = send(Some("respond-async"), "start=manual", CSV).await;
    assert_eq!(asynchronous, (202, Some("respond-async".into()), true));
    // It waits for start, and the client only a moment.
    assert_eq!(send(Some("wait=0"), "start=manual", CSV).await, (202, Some("wait=0".into()), true));
    // A file without records is an import that ends by itself.
    let ended = send(Some("handling=lenient, wait=60"), "start=auto", "email\n").await;
    assert_eq!(ended, (200, Some("wait=60".into()), false));
}

#[tokio::test]
async fn a_body_of_any_media_type_is_taken_where_the_format_is_given() {
    let server = Server::start().await;
    for media_type in
        ["application/octet-stream", "text/plain", "application/x-www-form-urlencoded", "image/png"]
    {
        let body = || server.post("/v1/imports").header("content-type", media_type).body(CSV);
        let told = assert_refused(body(), 415, "unsupported_media_type").await;
        assert!(told["message"].as_str().unwrap().contains("?format=csv"), "{told}");
        let given =
            server.post("/v1/imports?format=csv&start=manual").header("content-type", media_type).body(CSV);
        assert_eq!(accepted(given).await["counts"]["total"], 3, "{media_type}");
    }
}

/// `curl -d @users.csv` sends the file without its line ends, as a form.
#[tokio::test]
async fn a_table_that_lost_its_line_ends_is_recognised() {
    let server = Server::start().await;
    let form = "application/x-www-form-urlencoded";
    for body in [CSV.replace('\n', ""), "email".into(), "x".repeat(300_000)] {
        let request = server.post("/v1/imports?format=csv").header("content-type", form).body(body);
        let (status, error) = refused(request).await;
        assert_eq!((status, error["code"].as_str()), (400, Some("invalid_request")), "{error}");
        assert!(error["message"].as_str().unwrap().contains("--data-binary @FILE"), "{error}");
    }
    // JSON loses nothing with its line ends.
    let json = server.post("/v1/imports?format=json&start=manual").header("content-type", form);
    assert_eq!(accepted(json.body(r#"[{"email":"a@example.com"}]"#)).await["counts"]["total"], 1);
}
