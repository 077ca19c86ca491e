//! What no client can do to others: fill the metrics, the log, the connections or the places of uploads; and what every answer
//! says to browsers.

use std::time::{Duration, Instant};

use muster_domain::token::Scope;
use muster_producer::ProducerOptions;
use muster_producer::api::HttpOptions;
use muster_store::tenants;
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Server, accepted, assert_refused, error, token, until};

fn http(http: HttpOptions) -> ProducerOptions {
    ProducerOptions { http, ..ProducerOptions::default() }
}

#[tokio::test]
async fn methods_that_nobody_knows_are_one_label_and_are_refused() {
    let server = Server::start().await;
    for number in 0..200 {
        let method = Method::from_bytes(format!("M{}{number}", "X".repeat(4_000)).as_bytes()).unwrap();
        let request = server.client.request(method, format!("{}/v1/imports", server.url));
        let (status, told) = error(request.send().await.unwrap()).await;
        assert_eq!((status, told["code"].as_str()), (405, Some("method_not_allowed")));
    }
    let metrics =
        server.client.get(format!("{}/metrics", server.url)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("method=\"other\"") && !metrics.contains("XXXX"), "{}", metrics.len());
    // Our own routes make this much; the methods alone would have made 800 kB.
    assert!(metrics.len() < 400_000, "{}", metrics.len());
}

/// What stands in labels is of ours: every address that leads nowhere is one route.
#[tokio::test]
async fn addresses_and_request_ids_are_no_labels() {
    let server = Server::start().await;
    for number in 0..50 {
        let request = server.client.get(format!("{}/nowhere/marker{number}", server.url));
        let request = request.header("x-request-id", format!("marker{number}"));
        assert_eq!(request.send().await.unwrap().status(), StatusCode::NOT_FOUND);
    }
    let metrics =
        server.client.get(format!("{}/metrics", server.url)).send().await.unwrap().text().await.unwrap();
    assert!(!metrics.contains("marker"), "{metrics}");
}

#[tokio::test]
async fn every_answer_has_the_headers_that_keep_it_private() {
    let server = Server::start().await;
    for path in [
        "/v1/imports",
        "/v1/users?email=a@example.com",
        "/healthz",
        "/nowhere",
        "/docs/",
        "/openapi.json",
        "/metrics",
        "/api/system/ping/",
        "/console",
        "/console/sign-in",
        "/console/nowhere",
    ] {
        for with_token in [true, false] {
            let request = if with_token {
                server.get(path)
            } else {
                server.client.get(format!("{}{path}", server.url))
            };
            let answer = request.send().await.unwrap();
            let header = |name: &str| {
                answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
            };
            assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
            assert!(header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
            assert_eq!(header("x-frame-options"), "DENY", "{path}");
            assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
            if !path.starts_with("/docs") {
                assert_eq!(header("cache-control"), "no-store", "{path}");
            }
        }
    }
}

#[tokio::test]
async fn metrics_and_readiness_can_be_apart_from_clients() {
    let options = HttpOptions { ops_listen: Some("127.0.0.1:0".parse().unwrap()), ..HttpOptions::default() };
    let server = Server::start_with(http(options)).await;
    let ops = format!("http://{}", server.producer.ops_addr().unwrap());
    for path in ["/readyz", "/metrics", "/docs/", "/openapi.json"] {
        assert_eq!(
            server.client.get(format!("{}{path}", server.url)).send().await.unwrap().status(),
            404,
            "{path}"
        );
        assert_eq!(server.client.get(format!("{ops}{path}")).send().await.unwrap().status(), 200, "{path}");
    }
    for url in [&server.url, &ops] {
        assert_eq!(server.client.get(format!("{url}/healthz")).send().await.unwrap().status(), 200);
    }
    let request = server.client.get(format!("{ops}/v1/imports")).bearer_auth(&server.token);
    assert_eq!(request.send().await.unwrap().status(), 404);
    server.stop().await;
}

/// An upload that has begun and does not go on.
pub(crate) async fn begun(server: &Server, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST /v1/imports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: text/csv\r\n\
         Content-Length: 1000\r\n\r\nemail\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

pub(crate) async fn receiving(server: &Server, count: i64) {
    until("uploads are under way", async || {
        let now: i64 = sqlx::query_scalar("select count(*) from imports where state = 'receiving'")
            .fetch_one(server.store.pool())
            .await
            .unwrap();
        now == count
    })
    .await;
}

/// Its body has come: what it waits for takes nobody's place.
#[tokio::test]
async fn an_upload_that_waits_for_the_end_of_its_import_keeps_no_place() {
    let options = HttpOptions { uploads: 1, tenant_uploads: 1, ..HttpOptions::default() };
    let server = Server::start_with(http(options)).await;
    let csv = "email\na@example.com\n";
    let waiting = server.upload("start=manual", csv).header("prefer", "wait=60").send();
    let other = async {
        let first = async || {
            let found = server.json("/v1/imports?state=received").await;
            found["imports"][0]["id"].as_str().map(str::to_owned)
        };
        until("the first upload is staged", async || first().await.is_some()).await;
        let id = first().await.unwrap();
        let second = accepted(server.upload("start=manual", csv)).await;
        let cancel = server.post(&format!("/v1/imports/{id}/cancel")).send().await.unwrap();
        assert_eq!(cancel.status(), 200);
        second
    };
    let (first, second) = tokio::join!(waiting, other);
    let first = first.unwrap();
    assert_eq!(first.status(), 200);
    let first: serde_json::Value = first.json().await.unwrap();
    assert_eq!((first["state"].as_str(), second["state"].as_str()), (Some("cancelled"), Some("received")));
}

#[tokio::test]
async fn uploads_at_once_are_bounded_for_a_tenant_and_in_all() {
    let options = HttpOptions { uploads: 3, tenant_uploads: 2, ..HttpOptions::default() };
    let server = Server::start_with(http(options)).await;
    let other =
        tenants::create(&server.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    let others = token(&server.store, &other, "all", &[Scope::Ops]).await;
    let mut open = vec![begun(&server, &server.token).await, begun(&server, &server.token).await];
    receiving(&server, 2).await;
    let send = || server.upload("", "email\na@example.com\n");
    let refusal = send().send().await.unwrap();
    assert_eq!(refusal.headers()["retry-after"], "5");
    let (status, told) = error(refusal).await;
    assert_eq!((status, told["code"].as_str()), (429, Some("rate_limited")));
    // Another tenant has places of its own, as long as there are any.
    let foreign = || {
        server
            .client
            .post(format!("{}/v1/imports", server.url))
            .bearer_auth(&others)
            .header("content-type", "text/csv")
            .body("email\na@example.com\n")
    };
    accepted(foreign()).await;
    open.push(begun(&server, &others).await);
    receiving(&server, 3).await;
    let refusal = foreign().send().await.unwrap();
    assert_eq!(refusal.headers()["retry-after"], "2");
    let (status, told) = error(refusal).await;
    assert_eq!((status, told["code"].as_str()), (503, Some("unavailable")));
    // Everything else goes on, and a place that comes free is there for the next.
    assert_eq!(server.get("/v1/imports").send().await.unwrap().status(), 200);
    drop(open);
    until("a place is free", async || send().send().await.unwrap().status() == StatusCode::ACCEPTED).await;
}

#[tokio::test]
async fn a_body_that_drips_is_ended() {
    let options = HttpOptions { upload_rate_after: Duration::from_millis(200), ..HttpOptions::default() };
    let server = Server::start_with(http(options)).await;
    let mut stream = begun(&server, &server.token).await;
    let (mut reading, mut writing) = stream.split();
    let mut answer = Vec::new();
    let drip = async {
        loop {
            if writing.write_all(b"x").await.is_err() {
                // The server has closed the connection. Its answer was sent before, and is still to be read.
                return std::future::pending().await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let read = async {
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&answer).contains("upload_timeout") {
            match reading.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(length) => answer.extend_from_slice(&piece[..length]),
            }
        }
    };
    let both = async {
        tokio::select! { () = drip => {}, () = read => {} }
    };
    tokio::time::timeout(Duration::from_secs(30), both).await.expect("the upload is ended");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("bytes a second"), "{answer}");
}

/// 300 clients that never end the head of their request, and as many that never end their body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_request_does_not_mind_slow_clients() {
    let server = Server::start().await;
    let ask = async || {
        let started = Instant::now();
        assert_eq!(server.get("/v1/imports").send().await.unwrap().status(), 200);
        started.elapsed()
    };
    let measure = async || {
        let mut times = Vec::new();
        for _ in 0..50 {
            times.push(ask().await);
        }
        times.sort_unstable();
        times[48]
    };
    ask().await;
    let idle = measure().await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
        stream.write_all(b"GET /v1/imports HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
        slow.push(stream);
    }
    for _ in 0..100 {
        slow.push(begun(&server, &server.token).await);
    }
    let busy = measure().await;
    // Twice the idle time, and no less than what a busy machine may add.
    assert!(
        busy < (2 * idle).max(Duration::from_millis(500)),
        "{busy:?} beside slow clients, {idle:?} alone"
    );
}

#[tokio::test]
async fn a_token_that_has_expired_is_as_one_that_nobody_knows() {
    let server = Server::start().await;
    let plain = async |token: &str| {
        let request = server.client.get(format!("{}/v1/imports", server.url)).bearer_auth(token);
        let (status, mut told) = error(request.send().await.unwrap()).await;
        told["request_id"].take();
        (status, told)
    };
    let mut answers = Vec::new();
    for (name, change) in [
        ("expired", "expires_at = now() - interval '1 second'"),
        ("revoked", "revoked_at = now()"),
        ("unknown", "hash = sha256('x')"),
    ] {
        let token = token(&server.store, &server.tenant, name, &[Scope::Ops]).await;
        let sql = format!("update tokens set {change} where name = '{name}'");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(server.store.pool()).await.unwrap();
        answers.push(plain(&token).await);
    }
    assert_eq!(answers[0].0, 401);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let soon = token(&server.store, &server.tenant, "soon", &[Scope::Ops]).await;
    sqlx::raw_sql("update tokens set expires_at = now() + interval '1 day' where name = 'soon'")
        .execute(server.store.pool())
        .await
        .unwrap();
    let used =
        || sqlx::query_scalar::<_, bool>("select last_used_at is not null from tokens where name = 'soon'");
    assert!(!used().fetch_one(server.store.pool()).await.unwrap());
    let request = server.client.get(format!("{}/v1/imports", server.url)).bearer_auth(&soon);
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert!(used().fetch_one(server.store.pool()).await.unwrap());
    assert_refused(
        server.client.get(format!("{}/v1/imports", server.url)).bearer_auth(format!("{soon}x")),
        401,
        "unauthorized",
    )
    .await;
}

/// What stands in a body is never run as a request of its own, and a request whose length is in doubt is refused or cut.
#[tokio::test]
async fn requests_that_lie_about_their_length_run_nothing_else() {
    let server = Server::start().await;
    let head = format!(
        "POST /v1/imports?start=manual HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: text/csv\r\n",
        server.token
    );
    let inner =
        format!("{head}Content-Length: 6\r\n\r\nemail\n").replace("manual", "manual&filename=smuggled");
    let long = inner.len();
    let requests = [
        format!("{head}Content-Length: 6\r\nContent-Length: 7\r\n\r\nemail\n{inner}"),
        format!("{head}Content-Length: -1\r\n\r\n{inner}"),
        format!("{head}Content-Length: 6x\r\n\r\nemail\n{inner}"),
        format!("{head}Transfer-Encoding: identity\r\n\r\n{inner}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nxyz\r\n{inner}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n-6\r\nemail\n\r\n{inner}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nemail\n\r\n{inner}"),
        format!("{head}Content-Length: {long}\r\n\r\n{inner}"),
    ];
    for request in requests {
        let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(30), read).await.expect("an answer, or its end");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{request}\n{answer}");
    }
    until("all have ended", async || {
        server.json("/v1/imports?state=receiving").await["imports"].as_array().unwrap().is_empty()
    })
    .await;
    let imports = server.json("/v1/imports").await;
    for import in imports["imports"].as_array().unwrap() {
        assert_ne!(import["filename"], "smuggled");
        assert!(["aborted", "refused"].contains(&import["state"].as_str().unwrap()), "{import}");
    }
    // The last HTTP before 1.1 has its answer, too.
    let mut old = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    old.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    old.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

/// A form is as large as a catalog, and whoever is not signed in keeps nothing of it here.
#[tokio::test]
async fn a_form_of_a_stranger_is_not_waited_for() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let head = "POST /console/catalog HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Content-Length: 30000000\r\n\r\nform=";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    let read = async {
        while !answer.ends_with(b"\r\n\r\n") {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(length) => answer.extend_from_slice(&piece[..length]),
            }
        }
    };
    // Its rest is thrown away for 5 seconds; an answer that waits for it comes after 30.
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("an answer comes");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 303") && answer.contains("/console/sign-in"), "{answer}");
}

/// A form that comes is read like every body: no slower than that, and no more of it.
#[tokio::test]
async fn a_form_of_the_door_is_small() {
    let server = Server::start().await;
    let send = async |bytes: usize| {
        let request = server.client.post(format!("{}/console/sign-in", server.url));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(format!("token={}", "x".repeat(bytes))).send().await.unwrap().status().as_u16()
    };
    assert_eq!((send(65_000).await, send(70_000).await), (403, 413));
}

/// It asks for more than all buffers on the way hold.
#[tokio::test]
async fn a_client_that_reads_nothing_loses_its_connection() {
    let options = HttpOptions {
        connections: 1,
        idle_answer_timeout: Duration::from_millis(500),
        ..HttpOptions::default()
    };
    let server = Server::start_with(http(options)).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = server.url.trim_start_matches("http://").parse().unwrap();
    let mut idle = socket.connect(address).await.unwrap();
    let ask = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
    idle.write_all(ask.repeat(100).as_bytes()).await.unwrap();
    // There is one place for connections.
    let other = server.client.get(format!("{}/healthz", server.url)).send();
    let answer = tokio::time::timeout(Duration::from_secs(30), other).await.expect("the place is free");
    assert_eq!(answer.unwrap().status(), 200);
    drop(idle);
}

/// Somebody who waits for an import that does not go on.
async fn waits(server: &Server, import: &str, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "GET /v1/imports/{import}?wait=60s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn who_waits_is_bounded_and_counts_no_more_when_the_client_is_gone() {
    let options = HttpOptions { waiters: 3, tenant_waiters: 2, ..HttpOptions::default() };
    let server = Server::start_with(http(options)).await;
    let csv = "email\na@example.com\n";
    let import = accepted(server.upload("start=manual", csv)).await["id"].as_str().unwrap().to_owned();
    let mut open = Vec::new();
    let another = async |wait: &str| {
        let answer = server.get(&format!("/v1/imports/{import}?wait={wait}")).send().await.unwrap();
        answer.status().as_u16()
    };
    // A look takes a place too for a moment, and who comes in that moment is refused: so others come until all places are taken.
    let deadline = Instant::now() + Duration::from_secs(60);
    while another("1ms").await != 429 {
        assert!(Instant::now() < deadline, "the places are never taken");
        open.push(waits(&server, &import, &server.token).await);
    }
    let refusal = server.get(&format!("/v1/imports/{import}?wait=1s")).send().await.unwrap();
    assert_eq!(refusal.headers()["retry-after"], "5");
    assert_eq!(error(refusal).await.1["code"], "rate_limited");
    // Who does not wait needs no place, and an upload that wishes to wait is taken all the same.
    assert_eq!(another("0s").await, 200);
    let wish = server.upload("start=manual", csv).header("prefer", "wait=60").send().await.unwrap();
    assert_eq!((wish.status().as_u16(), wish.headers().get("preference-applied")), (202, None));
    open.clear();
    let gone = Instant::now();
    until("a place is free", async || another("1ms").await == 200).await;
    // Not because their 60 seconds are over.
    assert!(gone.elapsed() < Duration::from_secs(40), "{:?}", gone.elapsed());
    // A server that stops does not wait for them either.
    let began = Instant::now();
    drop(server.stop().await);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
