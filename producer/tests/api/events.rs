//! What happens to imports, page by page and followed.

use std::time::{Duration, Instant};

use muster_domain::token::Scope;
use muster_producer::ProducerOptions;
use muster_producer::api::HttpOptions;
use muster_store::{events, tenants, tokens};
use reqwest::Response;
use serde_json::{Value, json};

use crate::harness::{Server, accepted, assert_refused, token, until};

/// An answer that goes on.
struct Stream {
    response: Response,
    text: String,
}

/// One event of it.
#[derive(Debug, Clone, PartialEq)]
struct Piece {
    id: Option<i64>,
    kind: String,
    data: Value,
}

impl Stream {
    async fn open(server: &Server, path: &str, token: &str, last: Option<i64>) -> Self {
        let mut request = server.client.get(format!("{}{path}", server.url)).bearer_auth(token);
        request = request.header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event, comments apart; `None` when the answer is over.
    async fn next(&mut self) -> Option<Piece> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field =
                    |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                if let (Some(kind), Some(data)) = (field("event:"), field("data:")) {
                    let (kind, data) = (kind.to_owned(), serde_json::from_str(data).unwrap());
                    return Some(Piece { id: field("id:").map(|id| id.parse().unwrap()), kind, data });
                }
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let piece = tokio::time::timeout(left, self.response.chunk()).await.expect("nothing comes");
            self.text.push_str(std::str::from_utf8(&piece.ok()??).unwrap());
        }
    }

    /// The next event that is no progress.
    async fn happened(&mut self) -> Option<Piece> {
        loop {
            let piece = self.next().await?;
            if piece.kind != "progress" {
                return Some(piece);
            }
        }
    }
}

async fn states(server: &Server, path: &str, wanted: usize) -> Vec<Value> {
    until("all is told", async || server.json(path).await["events"].as_array().unwrap().len() == wanted)
        .await;
    server.json(path).await["events"].as_array().unwrap().clone()
}

#[tokio::test]
async fn events_are_listed_and_followed_from_the_last_one_that_was_seen() {
    let server = Server::start().await;
    let import = accepted(server.upload("start=manual", "email\na@example.com\n")).await;
    let path = format!("/v1/imports/{}", import["id"].as_str().unwrap());
    for verb in ["proceed", "pause", "cancel"] {
        assert_eq!(server.post(&format!("{path}/{verb}")).send().await.unwrap().status().as_u16(), 200);
    }
    let all = states(&server, &format!("{path}/events"), 5).await;
    let told: Vec<&Value> = all.iter().map(|event| &event["data"]["state"]).collect();
    assert_eq!(told, ["receiving", "received", "running", "paused", "cancelled"]);
    assert_eq!(all[4]["data"]["from"], "paused");
    assert_eq!(states(&server, "/v1/events", 5).await, all);
    // By pages, and on from the last.
    let page = server.json("/v1/events?limit=2").await;
    assert_eq!(page["events"].as_array().unwrap(), &all[..2]);
    let rest = server.json(&format!("/v1/events?after={}", page["next"])).await;
    assert_eq!(rest["events"].as_array().unwrap(), &all[2..]);
    let nothing = server.json(&format!("/v1/events?after={}", rest["next"])).await;
    assert_eq!((&nothing["events"], &nothing["next"]), (&json!([]), &rest["next"]));
    // Followed from the second on, to the end of the import.
    let second = all[1]["number"].as_i64();
    let mut stream = Stream::open(&server, &format!("{path}/events"), &server.token, second).await;
    let mut followed = Vec::new();
    loop {
        let piece = stream.happened().await.unwrap();
        if piece.kind == "end" {
            break;
        }
        assert_eq!(piece.id, piece.data["number"].as_i64());
        followed.push(piece.data);
    }
    assert_eq!(followed, &all[2..]);
    assert_eq!(stream.next().await, None, "it ends with the import");
    for wrong in ["after=x", "limit=0", "limit=1001", "colour=red"] {
        assert_refused(server.get(&format!("/v1/events?{wrong}")), 400, "invalid_request").await;
    }
    let odd = server.get("/v1/events").header("accept", "text/event-stream").header("last-event-id", "x");
    assert_refused(odd, 400, "invalid_request").await;
}

#[tokio::test]
async fn who_follows_sees_what_happens_to_its_own_tenant_and_how_an_import_gets_on() {
    let server = Server::start().await;
    let other =
        tenants::create(&server.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    let stranger = token(&server.store, &other, "all", &[Scope::Ops]).await;
    let mut own = Stream::open(&server, "/v1/events", &server.token, None).await;
    let mut strangers = Stream::open(&server, "/v1/events", &stranger, None).await;
    let import = accepted(server.upload("", "email\na@example.com\n")).await;
    for state in ["receiving", "running"] {
        let piece = own.next().await.unwrap();
        assert_eq!((&piece.data["import"], &piece.data["data"]["state"]), (&import["id"], &json!(state)));
    }
    // What happens while nothing else does is told soon, each time: else it would be read after five seconds.
    for (verb, state) in
        [("pause", "paused"), ("resume", "running"), ("pause", "paused"), ("resume", "running")]
    {
        let asked = Instant::now();
        let path = format!("/v1/imports/{}/{verb}", import["id"].as_str().unwrap());
        assert_eq!(server.post(&path).send().await.unwrap().status().as_u16(), 200);
        assert_eq!(own.next().await.unwrap().data["data"]["state"], state);
        assert!(asked.elapsed() < Duration::from_secs(4), "{state} was told after {:?}", asked.elapsed());
    }
    let path = format!("/v1/imports/{}/events", import["id"].as_str().unwrap());
    let mut one = Stream::open(&server, &path, &server.token, None).await;
    let progress = loop {
        let piece = one.next().await.unwrap();
        if piece.kind == "progress" {
            break piece;
        }
    };
    assert_eq!((progress.id, &progress.data["counts"]["pending"]), (None, &json!(1)));
    assert!(progress.data["progress"]["window"].is_object(), "{progress:?}");
    // The first thing that the other tenant sees is its own.
    let theirs = server.client.post(format!("{}/v1/imports", server.url)).bearer_auth(&stranger);
    let theirs = accepted(theirs.header("content-type", "text/csv").body("email\nb@example.com\n")).await;
    assert_eq!(strangers.next().await.unwrap().data["import"], theirs["id"]);
}

#[tokio::test]
async fn a_token_that_is_revoked_follows_no_more() {
    let server = Server::start().await;
    let reader = token(&server.store, &server.tenant, "reader", &[Scope::ImportRead]).await;
    let mut stream = Stream::open(&server, "/v1/events", &reader, None).await;
    tokens::revoke(&server.store, server.tenant.id, "reader").await.unwrap();
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_server_that_stops_does_not_wait_for_those_who_follow() {
    let server = Server::start().await;
    let mut stream = Stream::open(&server, "/v1/events", &server.token, None).await;
    let asked = Instant::now();
    let stopping = tokio::spawn(server.stop());
    assert_eq!(stream.next().await, None);
    drop(stopping.await.unwrap());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

/// One that is written first and committed last is missed by nobody who has read the others.
#[tokio::test]
async fn an_event_that_is_committed_late_gets_a_later_number() {
    let server = Server::start().await;
    let slow = accepted(server.upload("start=manual", "email\na@example.com\n")).await;
    let fast = accepted(server.upload("start=manual", "email\nb@example.com\n")).await;
    let before = states(&server, "/v1/events", 4).await.last().unwrap()["number"].as_i64().unwrap();
    let cancel = "update imports set state = 'cancelled', completed_at = now() where id = $1::uuid";
    let mut late = server.store.pool().begin().await.unwrap();
    sqlx::query(cancel).bind(slow["id"].as_str().unwrap()).execute(&mut *late).await.unwrap();
    sqlx::query(cancel).bind(fast["id"].as_str().unwrap()).execute(server.store.pool()).await.unwrap();
    let first = states(&server, &format!("/v1/events?after={before}"), 1).await;
    assert_eq!(first[0]["import"], fast["id"]);
    late.commit().await.unwrap();
    let after = first[0]["number"].as_i64().unwrap();
    let then = states(&server, &format!("/v1/events?after={after}"), 1).await;
    assert_eq!(then[0]["import"], slow["id"]);
    assert_eq!(events::last(&server.store, server.tenant.id).await.unwrap(), then[0]["number"]);
}

/// Asks to follow all events of a tenant; the answer's head is there.
async fn follows(server: &Server, token: &str, after: Option<i64>) -> Response {
    let after = after.map_or_else(String::new, |after| format!("?after={after}"));
    let request = server.client.get(format!("{}/v1/events{after}", server.url)).bearer_auth(token);
    request.header("accept", "text/event-stream").send().await.unwrap()
}

fn http(http: HttpOptions) -> ProducerOptions {
    ProducerOptions { http, ..ProducerOptions::default() }
}

#[tokio::test]
async fn who_follows_is_bounded_for_a_tenant_and_in_all() {
    let options = HttpOptions { followers: 3, tenant_followers: 2, ..HttpOptions::default() };
    let server = Server::start_with(http(options)).await;
    let other =
        tenants::create(&server.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    let other = token(&server.store, &other, "all", &[Scope::Ops]).await;
    let first = follows(&server, &server.token, None).await;
    let second = follows(&server, &server.token, None).await;
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    let asked = |token: &str| {
        let request = server.client.get(format!("{}/v1/events", server.url)).bearer_auth(token);
        request.header("accept", "text/event-stream")
    };
    assert_refused(asked(&server.token), 429, "rate_limited").await;
    let third = follows(&server, &other, None).await;
    assert_eq!(third.status().as_u16(), 200);
    assert_refused(asked(&other), 429, "rate_limited").await;
    // A page is no answer that goes on, and needs no place.
    assert_eq!(server.get("/v1/events").send().await.unwrap().status().as_u16(), 200);
    drop(first);
    until("a place is free", async || follows(&server, &server.token, None).await.status().as_u16() == 200)
        .await;
}

#[tokio::test]
async fn an_answer_follows_for_so_long_and_another_goes_on() {
    let server =
        Server::start_with(http(HttpOptions { followed: Duration::from_secs(5), ..HttpOptions::default() }))
            .await;
    let began = Instant::now();
    let mut first = Stream::open(&server, "/v1/events", &server.token, Some(0)).await;
    accepted(server.upload("start=manual", "email\na@example.com\n")).await;
    let mut last = None;
    while let Some(piece) = first.next().await {
        last = piece.id;
    }
    assert!(last.is_some() && began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
    let second = accepted(server.upload("start=manual", "email\nb@example.com\n")).await;
    let mut another = Stream::open(&server, "/v1/events", &server.token, last).await;
    let piece = another.next().await.unwrap();
    assert_eq!((&piece.data["import"], &piece.data["data"]["state"]), (&second["id"], &json!("receiving")));
}

/// Or its place would be taken for as long as its connection is there.
#[tokio::test]
async fn who_follows_and_does_not_read_loses_its_place() {
    let server =
        Server::start_with(http(HttpOptions { tenant_followers: 1, ..HttpOptions::default() })).await;
    // More than all buffers on the way hold.
    sqlx::query(
        "insert into events (number, tenant_id, import_id, kind, data)
         select nextval('event_numbers'), $1, gen_random_uuid(), 'import', jsonb_build_object('state', repeat('x', 500000))
           from generate_series(1, 100)",
    )
    .bind(server.tenant.id.get())
    .execute(server.store.pool())
    .await
    .unwrap();
    let idle = follows(&server, &server.token, Some(0)).await;
    assert_eq!(idle.status().as_u16(), 200);
    let last = events::last(&server.store, server.tenant.id).await.unwrap();
    let again = async || {
        let request = server.get(&format!("/v1/events?after={last}")).header("accept", "text/event-stream");
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(again().await, 429);
    until("its place is free", async || again().await == 200).await;
    drop(idle);
}

/// A client that loses its connection before anything has happened comes again with the number that it was told.
#[tokio::test]
async fn who_has_seen_no_event_goes_on_from_where_it_began() {
    let server = Server::start().await;
    accepted(server.upload("start=manual", "email\na@example.com\n")).await;
    let last = states(&server, "/v1/events", 2).await[1]["number"].as_i64().unwrap();
    let mut stream = follows(&server, &server.token, None).await;
    let first = tokio::time::timeout(Duration::from_secs(10), stream.chunk()).await.expect("nothing comes");
    let first = String::from_utf8(first.unwrap().unwrap().to_vec()).unwrap();
    assert_eq!(first, format!("id: {last}\n\n"));
    drop(stream);
    let missed = accepted(server.upload("start=manual", "email\nb@example.com\n")).await;
    let mut again = Stream::open(&server, "/v1/events", &server.token, Some(last)).await;
    assert_eq!(again.happened().await.unwrap().data["import"], missed["id"]);
}
