//! Webhooks over real sockets: what is told, in which order, signed how; receivers that behave badly; addresses that are refused.

pub(crate) mod receiver;
mod targets;

use std::time::Duration;

use muster_domain::id::ChunkId;
use muster_domain::token::Scope;
use muster_domain::webhook::Schedule;
use muster_producer::webhook::{Targets, WebhookOptions};
use muster_producer::{Producer, ProducerOptions};
use muster_queue::{Queue, QueueOptions, Topology};
use muster_store::{apply, deliveries, tenants};
use reqwest::Method;
use serde_json::{Value, json};

use self::receiver::{Receiver, Reply};
use crate::harness::{Server, accepted, assert_refused, token, until};

/// Deliveries to this machine, tried again soon.
pub(crate) fn eager() -> WebhookOptions {
    WebhookOptions {
        targets: Targets { allow_private: true, ..Targets::default() },
        timeout: Duration::from_secs(1),
        spare: Duration::from_secs(1),
        schedule: Schedule { first: Duration::from_millis(100), ..Schedule::default() },
        ..WebhookOptions::default()
    }
}

async fn server(webhooks: WebhookOptions) -> Server {
    Server::start_with(ProducerOptions { webhooks, ..ProducerOptions::default() }).await
}

async fn created(server: &Server, body: Value) -> Value {
    let response = server.post("/v1/webhooks").json(&body).send().await.unwrap();
    let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
    assert_eq!(status, 201, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn id(document: &Value) -> &str {
    document["id"].as_str().unwrap()
}

async fn waiting_import(server: &Server) -> String {
    let import = accepted(server.upload("start=manual", "email\nanna@example.com\n")).await;
    id(&import).to_owned()
}

async fn steer(server: &Server, import: &str, how: &str) {
    let answer = server.post(&format!("/v1/imports/{import}/{how}")).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "{how}");
}

async fn told_to(server: &Server, webhook: &str) -> Vec<Value> {
    let page = server.json(&format!("/v1/webhooks/{webhook}/deliveries?limit=200")).await;
    page["deliveries"].as_array().unwrap().clone()
}

/// Waits until no delivery is to be made any more.
async fn until_settled(server: &Server, webhook: &str) -> Vec<Value> {
    until("every delivery has ended", async || {
        told_to(server, webhook).await.iter().all(|delivery| delivery["state"] != "pending")
    })
    .await;
    told_to(server, webhook).await
}

#[tokio::test]
async fn what_happens_is_told_in_order_and_signed() {
    let (server, receiver) = (server(eager()).await, Receiver::start().await);
    let webhook = created(&server, json!({"url": receiver.url, "description": "HR"})).await;
    let secret = webhook["secret"].as_str().unwrap();
    let import = waiting_import(&server).await;
    for how in ["proceed", "pause", "cancel"] {
        steer(&server, &import, how).await;
    }
    let received = receiver.until(5).await;
    let states = ["receiving", "received", "running", "paused", "cancelled"];
    let kinds = states.map(|state| format!("import.{state}"));
    assert_eq!(receiver.kinds(), kinds);
    for (request, state) in received.iter().zip(states) {
        assert!(request.is_signed_with(secret), "{request:?}");
        assert_eq!(request.signatures().len(), 1);
        assert_eq!(request.headers["content-type"], "application/json");
        let told = request.told();
        assert_eq!((&told["data"]["import"], &told["data"]["state"]), (&json!(import), &json!(state)));
        assert_eq!(told["data"]["tenant"], "default");
        assert!(!request.body.contains("anna"), "{}", request.body);
    }
    let cancelled = received[4].told();
    assert_eq!(
        (&cancelled["data"]["from"], &cancelled["data"]["counts"]["skipped"]),
        (&json!("paused"), &json!(1))
    );
    // The log has the same, the newest first, and the webhook itself no secret.
    let log = until_settled(&server, id(&webhook)).await;
    let logged: Vec<&str> = log.iter().rev().map(id).collect();
    assert_eq!(logged, received.iter().map(|request| request.id()).collect::<Vec<_>>());
    for delivery in &log {
        assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("delivered"), &json!(1)));
        assert_eq!(
            (&delivery["tries"][0]["status"], &delivery["tries"][0]["problem"]),
            (&json!(204), &Value::Null)
        );
    }
    let shown = server.json(&format!("/v1/webhooks/{}", id(&webhook))).await;
    assert_eq!(
        (&shown["secret"], &shown["secrets"], &shown["pending"]),
        (&Value::Null, &json!(1), &json!(0))
    );
    // By pages, as other lists.
    let page = server.json(&format!("/v1/webhooks/{}/deliveries?limit=2", id(&webhook))).await;
    let next = server.json(page["next_link"].as_str().unwrap()).await;
    assert_eq!(
        [page["deliveries"].as_array().unwrap().as_slice(), next["deliveries"].as_array().unwrap()].concat(),
        log[..4]
    );
    let failed = server.json(&format!("/v1/webhooks/{}/deliveries?state=failed", id(&webhook))).await;
    assert_eq!(failed["deliveries"], json!([]));
}

#[tokio::test]
async fn a_webhook_is_told_what_it_wants_and_nothing_of_another_tenant() {
    let (server, receiver) = (server(eager()).await, Receiver::start().await);
    let others = Receiver::start().await;
    created(&server, json!({"url": receiver.url, "events": ["import.cancelled", "import.running"]})).await;
    let other =
        tenants::create(&server.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    let stranger = token(&server.store, &other, "all", &[Scope::Ops]).await;
    let theirs = server.client.post(format!("{}/v1/webhooks", server.url)).bearer_auth(&stranger);
    assert_eq!(theirs.json(&json!({"url": others.url})).send().await.unwrap().status().as_u16(), 201);
    let import = waiting_import(&server).await;
    for how in ["proceed", "pause", "cancel"] {
        steer(&server, &import, how).await;
    }
    receiver.until(2).await;
    // What the other tenant is told first is its own.
    let theirs = server.client.post(format!("{}/v1/imports?start=manual", server.url)).bearer_auth(&stranger);
    let theirs = accepted(theirs.header("content-type", "text/csv").body("email\nb@example.com\n")).await;
    let told = others.until(1).await[0].told();
    assert_eq!((&told["data"]["import"], &told["data"]["tenant"]), (&theirs["id"], &json!("other")));
    assert_eq!(receiver.kinds(), ["import.running", "import.cancelled"]);
}

#[tokio::test]
async fn a_webhook_is_told_that_a_plan_waits_for_a_decision() {
    let (server, receiver) = (server(eager()).await, Receiver::start().await);
    created(&server, json!({"url": receiver.url, "events": ["import.planned"]})).await;
    let import = accepted(server.upload("start=plan", "email\na@example.com\n")).await;
    let id = import["id"].as_str().unwrap();
    // As if workers had planned it.
    for moved in [
        "update chunks set state = 'planned', claim_until = null, leased_until = null where import_id = $1::uuid",
        "update imports set state = 'planned', planned_at = now() where id = $1::uuid and state = 'planning'",
    ] {
        sqlx::query(moved).bind(id).execute(server.store.pool()).await.unwrap();
    }
    let told = receiver.until(1).await[0].told();
    assert_eq!((&told["data"]["import"], &told["data"]["state"]), (&import["id"], &json!("planned")));
    assert_eq!(told["data"]["from"], "planning");
    assert_eq!(receiver.kinds(), ["import.planned"]);
}

#[tokio::test]
async fn a_webhook_is_told_one_thing_at_a_time_in_the_order_of_events() {
    let (server, receiver) = (server(eager()).await, Receiver::start().await);
    // Slower than what is due is looked for.
    receiver.always(Reply::Slow(200, Duration::from_millis(450)));
    let webhook = created(&server, json!({"url": receiver.url})).await;
    for _ in 0..2 {
        let import = waiting_import(&server).await;
        steer(&server, &import, "cancel").await;
    }
    let received = receiver.until(6).await;
    let log = until_settled(&server, id(&webhook)).await;
    assert_eq!((log.len(), receiver.received().len()), (6, 6), "each is told once");
    let numbers: Vec<i64> =
        received.iter().map(|one| one.told()["data"]["event"].as_i64().unwrap()).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert_eq!(receiver.most_at_once(), 1);
}

#[tokio::test]
async fn a_receiver_that_hangs_or_redirects_or_talks_nonsense_is_tried_again_and_stops_no_other() {
    let (server, bad, good) = (server(eager()).await, Receiver::start().await, Receiver::start().await);
    let elsewhere = Receiver::start().await;
    bad.next([
        Reply::Hang,
        Reply::Raw(format!("HTTP/1.1 307 X\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url)),
        Reply::Raw("SSH-2.0-OpenSSH_9.6\r\n".into()),
        Reply::Raw(String::new()),
        Reply::EndlessHead,
        Reply::Status(500),
    ]);
    let wanted = json!(["import.received"]);
    let first = created(&server, json!({"url": bad.url, "events": wanted})).await;
    created(&server, json!({"url": good.url, "events": wanted})).await;
    waiting_import(&server).await;
    good.until(1).await;
    let received = bad.until(7).await;
    let log = until_settled(&server, id(&first)).await;
    assert_eq!((log.len(), &log[0]["state"], &log[0]["attempts"]), (1, &json!("delivered"), &json!(7)));
    let tries = log[0]["tries"].as_array().unwrap();
    let told: Vec<String> =
        tries.iter().map(|one| one["problem"].as_str().unwrap_or("delivered").to_owned()).collect();
    assert_eq!(told[0], "no answer within 1 seconds");
    assert_eq!(told[1], "the answer was 307: redirects are not followed");
    assert!(
        told[2..5].iter().all(|problem| problem.starts_with("no answer that can be read: it ")),
        "{told:?}"
    );
    assert_eq!((told[5].as_str(), told[6].as_str()), ("the answer was 500", "delivered"));
    assert!(told.iter().all(|problem| !problem.contains("127.0.0.1")), "{told:?}");
    assert_eq!(elsewhere.connections(), 0);
    // The same delivery at each try, signed anew.
    let secret = first["secret"].as_str().unwrap();
    assert!(received.iter().all(|one| one.id() == received[0].id() && one.is_signed_with(secret)));
}

#[tokio::test]
async fn a_delivery_that_waits_for_its_next_try_holds_up_no_later_event() {
    let options = WebhookOptions {
        schedule: Schedule { first: Duration::from_secs(5), ..Schedule::default() },
        ..eager()
    };
    let (server, receiver) = (server(options).await, Receiver::start().await);
    receiver.next([Reply::Status(503)]);
    let webhook = created(&server, json!({"url": receiver.url})).await;
    waiting_import(&server).await;
    receiver.until(3).await;
    assert_eq!(receiver.kinds(), ["import.receiving", "import.received", "import.receiving"]);
    until_settled(&server, id(&webhook)).await;
}

#[tokio::test]
async fn an_answer_without_end_is_read_for_a_little() {
    let options = WebhookOptions { timeout: Duration::from_secs(8), ..eager() };
    let (server, receiver) = (server(options).await, Receiver::start().await);
    receiver.always(Reply::Endless);
    let webhook = created(&server, json!({"url": receiver.url, "events": ["import.received"]})).await;
    waiting_import(&server).await;
    receiver.until(1).await;
    let log = until_settled(&server, id(&webhook)).await;
    assert_eq!((&log[0]["state"], &log[0]["attempts"]), (&json!("delivered"), &json!(1)));
    let took = log[0]["tries"][0]["took_ms"].as_u64().unwrap();
    assert!(took < 6_000, "{took} ms");
}

#[tokio::test]
async fn a_receiver_that_answers_410_is_told_nothing_more() {
    let (server, receiver) = (server(eager()).await, Receiver::start().await);
    receiver.always(Reply::Status(410));
    let webhook = created(&server, json!({"url": receiver.url})).await;
    let path = format!("/v1/webhooks/{}", id(&webhook));
    waiting_import(&server).await;
    until("the webhook is disabled", async || server.json(&path).await["enabled"] == json!(false)).await;
    assert_eq!(server.json(&path).await["disabled_reason"], "gone");
    let before = receiver.received().len();
    // Another webhook is told of an event, so this one would have been.
    let witness = Receiver::start().await;
    created(&server, json!({"url": witness.url})).await;
    let import = waiting_import(&server).await;
    witness.until(2).await;
    assert_eq!(receiver.received().len(), before);
    // Enabled again, it is told what happens from then on, and what was still to be told.
    receiver.always(Reply::Status(200));
    let enabled = server.request(Method::PATCH, &path).json(&json!({"enabled": true})).send().await.unwrap();
    let enabled: Value = enabled.json().await.unwrap();
    assert_eq!((&enabled["enabled"], &enabled["disabled_reason"]), (&json!(true), &Value::Null));
    steer(&server, &import, "cancel").await;
    until("it is told again", async || receiver.kinds().contains(&"import.cancelled".to_owned())).await;
    let log = until_settled(&server, id(&webhook)).await;
    // What it refused has failed; what was to be told after that was delivered.
    let (first, later) = log.split_last().unwrap();
    assert_eq!((&first["type"], &first["state"]), (&json!("import.receiving"), &json!("failed")));
    assert!(later.iter().all(|delivery| delivery["state"] == "delivered"), "{later:?}");
}

#[tokio::test]
async fn a_delivery_is_given_up_when_its_time_is_over_and_made_again_by_hand() {
    let schedule = Schedule {
        first: Duration::from_millis(100),
        give_up_after: Duration::from_millis(400),
        ..Schedule::default()
    };
    let (server, receiver) = (server(WebhookOptions { schedule, ..eager() }).await, Receiver::start().await);
    receiver.always(Reply::Status(500));
    let webhook = created(&server, json!({"url": receiver.url, "events": ["import.received"]})).await;
    waiting_import(&server).await;
    receiver.until(1).await;
    let log = until_settled(&server, id(&webhook)).await;
    assert_eq!(log[0]["state"], "failed");
    let tries = log[0]["attempts"].as_u64().unwrap();
    assert!((2..=6).contains(&tries), "{tries}");
    receiver.always(Reply::Status(200));
    let again = format!("/v1/webhooks/{}/deliveries/{}/redeliver?wait=20s", id(&webhook), id(&log[0]));
    let answer = server.post(&again).send().await.unwrap();
    let made: Value = answer.json().await.unwrap();
    assert_eq!((&made["state"], &made["attempts"]), (&json!("delivered"), &json!(tries + 1)));
    let received = receiver.received();
    assert!(received.iter().all(|one| one.id() == id(&log[0])), "it keeps its id");
    // What was delivered can be made again too.
    let made: Value = server.post(&again).send().await.unwrap().json().await.unwrap();
    assert_eq!((&made["state"], &made["attempts"]), (&json!("delivered"), &json!(tries + 2)));
    let missing = "0190a5f0-7b7c-7000-8000-000000000001";
    let missing = format!("/v1/webhooks/{}/deliveries/{missing}/redeliver", id(&webhook));
    assert_refused(server.post(&missing), 404, "not_found").await;
}

#[tokio::test]
async fn deliveries_are_signed_with_both_secrets_until_one_is_dropped() {
    let (server, receiver) = (server(eager()).await, Receiver::start().await);
    let webhook = created(&server, json!({"url": receiver.url, "events": ["import.received"]})).await;
    let (path, old) = (format!("/v1/webhooks/{}", id(&webhook)), webhook["secret"].as_str().unwrap());
    let rotate = async || -> String {
        let answer: Value =
            server.post(&format!("{path}/secret")).send().await.unwrap().json().await.unwrap();
        answer["secret"].as_str().unwrap().to_owned()
    };
    let drop_secret = |which: &str| server.request(Method::DELETE, &format!("{path}/secret?which={which}"));
    let told = async |count: usize| {
        waiting_import(&server).await;
        receiver.until(count).await.pop().unwrap()
    };
    assert_refused(drop_secret("old"), 409, "state_conflict").await;
    let new = rotate().await;
    assert_ne!(new, old);
    let both = told(1).await;
    assert!(both.signatures().len() == 2 && both.is_signed_with(old) && both.is_signed_with(&new));
    assert_eq!(server.json(&path).await["secrets"], 2);
    // A second rotation would take the secret from a receiver that has one of these.
    assert_refused(server.post(&format!("{path}/secret")), 409, "state_conflict").await;
    assert_refused(drop_secret("both"), 400, "invalid_request").await;
    assert_eq!(drop_secret("old").send().await.unwrap().status().as_u16(), 204);
    let one = told(2).await;
    assert!(one.signatures().len() == 1 && one.is_signed_with(&new) && !one.is_signed_with(old));
    // A new one that was lost on its way goes, and the old one is the only one again.
    let lost = rotate().await;
    assert_eq!(drop_secret("new").send().await.unwrap().status().as_u16(), 204);
    let kept = told(3).await;
    assert!(kept.signatures().len() == 1 && kept.is_signed_with(&new) && !kept.is_signed_with(&lost));
    // No secret stands in the store as it is.
    let rows: Vec<String> =
        sqlx::query_scalar("select s::text || encode(s.current, 'escape') from webhook_secrets as s")
            .fetch_all(server.store.pool())
            .await
            .unwrap();
    for secret in [old, &new, &lost] {
        assert!(rows.iter().all(|row| !row.contains(&secret[6..20])), "{rows:?}");
    }
}

#[tokio::test]
async fn a_ping_is_told_once_and_says_how_it_went() {
    let (server, receiver) = (server(eager()).await, Receiver::start().await);
    let webhook = created(&server, json!({"url": receiver.url, "enabled": false})).await;
    let path = format!("/v1/webhooks/{}/ping?wait=20s", id(&webhook));
    let ping = async || -> Value { server.post(&path).send().await.unwrap().json().await.unwrap() };
    let good = ping().await;
    assert_eq!((&good["type"], &good["state"]), (&json!("muster.ping"), &json!("delivered")));
    assert_eq!(receiver.received()[0].told()["data"]["webhook"], webhook["id"]);
    receiver.always(Reply::Status(500));
    let bad = ping().await;
    assert_eq!((&bad["state"], &bad["attempts"]), (&json!("failed"), &json!(1)));
    assert_eq!(bad["tries"][0]["problem"], "the answer was 500");
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn so_many_pings_wait_and_no_more() {
    let options = WebhookOptions { timeout: Duration::from_secs(60), ..eager() };
    let (server, receiver) = (server(options).await, Receiver::start().await);
    receiver.always(Reply::Hang);
    let webhook = created(&server, json!({"url": receiver.url})).await;
    let path = format!("/v1/webhooks/{}/ping", id(&webhook));
    for _ in 0..5 {
        assert_eq!(server.post(&path).send().await.unwrap().status().as_u16(), 200);
    }
    assert_refused(server.post(&path), 429, "rate_limited").await;
    assert_eq!(told_to(&server, id(&webhook)).await.len(), 5);
    let another = created(&server, json!({"url": receiver.url})).await;
    let path = format!("/v1/webhooks/{}/ping", id(&another));
    assert_eq!(server.post(&path).send().await.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn a_ping_is_told_after_the_events_that_were_before_it() {
    let options = WebhookOptions { timeout: Duration::from_secs(30), ..eager() };
    let (server, receiver) = (server(options).await, Receiver::start().await);
    receiver.next([Reply::Slow(200, Duration::from_secs(3))]);
    let webhook = created(&server, json!({"url": receiver.url})).await;
    waiting_import(&server).await;
    until("both events are to be told", async || told_to(&server, id(&webhook)).await.len() == 2).await;
    let ping = server.post(&format!("/v1/webhooks/{}/ping", id(&webhook))).send().await.unwrap();
    assert_eq!(ping.status().as_u16(), 200);
    receiver.until(3).await;
    assert_eq!(receiver.kinds(), ["import.receiving", "import.received", "muster.ping"]);
}

#[tokio::test]
async fn too_many_failed_records_are_told_once_an_import() {
    let (server, receiver) = (server(eager()).await, Receiver::start().await);
    let wanted = json!(["chunk.dead", "import.braked"]);
    created(&server, json!({"url": receiver.url, "events": wanted, "failed_above": 40})).await;
    // Of one that has ended: no record of it is applied, so no worker is needed.
    let ended = accepted(server.upload("", "email\nnobody\n")).await;
    let first = receiver.until(1).await[0].told();
    assert_eq!((&first["type"], &first["data"]["import"]), (&json!("import.failing"), &ended["id"]));
    assert_eq!((&first["data"]["above"], &first["data"]["failed_percent"]), (&json!(40), &json!(100.0)));
    assert_eq!(first["data"]["counts"]["failed"], 1);
    // Of one that runs: a worker would apply the last record.
    let lines = |failing: usize| "nobody\n".repeat(failing);
    accepted(server.upload("brake=0", format!("email\n{}a@example.com\n", lines(99)))).await;
    let running = accepted(server.upload("brake=0", format!("email\n{}b@example.com\n", lines(150)))).await;
    let second = receiver.until(2).await[1].told();
    assert_eq!((&second["type"], &second["data"]["import"]), (&json!("import.failing"), &running["id"]));
    assert_eq!(second["data"]["counts"]["pending"], 1);
    // One that the brake stopped.
    let braked = server.upload("brake=50", format!("email\n{}", lines(200))).send().await.unwrap();
    assert_eq!(braked.status().as_u16(), 422);
    let third = receiver.until(3).await[2].told();
    assert_eq!(
        (&third["type"], &third["data"]["error"]),
        (&json!("import.braked"), &json!("mostly_invalid"))
    );
    assert!(!third.to_string().contains("nobody"), "{third}");
    // Told again of no import, however often it is looked at.
    let told: i64 =
        sqlx::query_scalar("select count(*) from webhook_deliveries where type = 'import.failing'")
            .fetch_one(server.store.pool())
            .await
            .unwrap();
    assert_eq!(told, 2);
}

#[tokio::test]
async fn a_dead_chunk_is_told() {
    let (server, receiver) = (server(eager()).await, Receiver::start().await);
    created(&server, json!({"url": receiver.url, "events": ["chunk.dead"]})).await;
    let import = waiting_import(&server).await;
    let chunk: i64 = sqlx::query_scalar("select id from chunks where import_id = $1::uuid")
        .bind(&import)
        .fetch_one(server.store.pool())
        .await
        .unwrap();
    assert!(apply::mark_dead(&server.store, ChunkId::new(chunk), "its attempts are spent").await.unwrap());
    let told = receiver.until(1).await[0].told();
    assert_eq!((&told["type"], &told["data"]["import"]), (&json!("chunk.dead"), &json!(import)));
    assert_eq!(told["data"]["problem"], "its attempts are spent");
}

/// What cannot be written at one moment is written at another: nothing that happened is passed over.
#[tokio::test]
async fn what_happens_while_deliveries_cannot_be_written_is_told_later() {
    let (server, receiver) = (server(eager()).await, Receiver::start().await);
    created(&server, json!({"url": receiver.url})).await;
    // A sequence moves on although what moved it comes to nothing.
    let refuse = "create sequence refused;
                  create function refuse() returns trigger language plpgsql as $$
                  begin perform nextval('refused'); raise exception 'no'; end $$;
                  create trigger refuse before insert on webhook_deliveries for each row execute function refuse()";
    sqlx::raw_sql(refuse).execute(server.store.pool()).await.unwrap();
    let import = waiting_import(&server).await;
    steer(&server, &import, "cancel").await;
    until("the events have their numbers", async || {
        server.json("/v1/events").await["events"].as_array().unwrap().len() == 3
    })
    .await;
    until("it was tried twice", async || {
        let tried: i64 = sqlx::query_scalar("select last_value from refused")
            .fetch_one(server.store.pool())
            .await
            .unwrap();
        tried > 1
    })
    .await;
    assert_eq!(receiver.received().len(), 0);
    sqlx::raw_sql("drop trigger refuse on webhook_deliveries").execute(server.store.pool()).await.unwrap();
    receiver.until(3).await;
    assert_eq!(receiver.kinds(), ["import.receiving", "import.received", "import.cancelled"]);
}

#[tokio::test]
async fn a_producer_that_is_gone_loses_no_delivery() {
    let (server, receiver) = (server(eager()).await, Receiver::start().await);
    receiver.next([Reply::Hang]);
    created(&server, json!({"url": receiver.url, "events": ["import.received"]})).await;
    waiting_import(&server).await;
    // The request is on its way, and nobody will hear of its end.
    receiver.until(1).await;
    let Server { producer, database, store, .. } = server;
    drop(producer);
    let queue =
        Queue::postgres(store.pool().clone(), Topology::new("muster").unwrap(), QueueOptions::default());
    let options = ProducerOptions { webhooks: eager(), ..ProducerOptions::default() };
    let other = Producer::start(store, queue, options).await.unwrap();
    let received = receiver.until(2).await;
    assert_eq!(received[0].id(), received[1].id());
    other.stop().await.unwrap();
    drop(database);
}

#[tokio::test]
async fn a_tenant_has_so_many_webhooks_and_no_more() {
    let server = server(WebhookOptions { most: 3, ..eager() }).await;
    let create =
        || server.post("/v1/webhooks").json(&json!({"url": "http://127.0.0.1:1/", "enabled": false}));
    let sent = (0..8).map(|_| create().send());
    let answers = futures_util::future::join_all(sent).await;
    let created = answers.iter().filter(|answer| answer.as_ref().unwrap().status().as_u16() == 201).count();
    assert_eq!(created, 3);
    assert_refused(create(), 409, "too_many_webhooks").await;
    let all = server.json("/v1/webhooks").await;
    assert_eq!(all["webhooks"].as_array().unwrap().len(), 3);
    let first = format!("/v1/webhooks/{}", id(&all["webhooks"][0]));
    assert_eq!(server.request(Method::DELETE, &first).send().await.unwrap().status().as_u16(), 204);
    assert_eq!(create().send().await.unwrap().status().as_u16(), 201);
}

#[tokio::test]
async fn a_webhook_is_created_and_changed_as_it_must_be_or_not_at_all() {
    let server = server(eager()).await;
    let url = "http://127.0.0.1:1/";
    let long = "x".repeat(256);
    for (body, field) in [
        (json!({"url": url, "events": ["import.done"]}), "events"),
        (json!({"url": url, "events": vec!["import.running"; 65]}), "events"),
        (json!({"url": url, "failed_above": 100}), "failed_above"),
        (json!({"url": url, "description": long}), "description"),
        (json!({"url": url, "description": "a\nb"}), "description"),
    ] {
        let error = assert_refused(server.post("/v1/webhooks").json(&body), 400, "invalid_request").await;
        assert_eq!(error["field"], field, "{body}");
    }
    for body in [
        json!({}),
        json!([]),
        json!({"url": 7}),
        json!({"url": url, "failed_above": -1}),
        json!({"url": url, "colour": "red"}),
    ] {
        assert_refused(server.post("/v1/webhooks").json(&body), 400, "invalid_request").await;
    }
    assert_eq!(server.json("/v1/webhooks").await["webhooks"], json!([]));
    let body = json!({"url": url, "events": ["import.running", "chunk.dead", "import.running"], "failed_above": 0, "description": "b".repeat(255)});
    let webhook = created(&server, body).await;
    assert_eq!(webhook["events"], json!(["chunk.dead", "import.running"]));
    let path = format!("/v1/webhooks/{}", id(&webhook));
    let change = async |body: Value| -> Value {
        server.request(Method::PATCH, &path).json(&body).send().await.unwrap().json().await.unwrap()
    };
    let other = change(json!({"description": "HR", "enabled": false})).await;
    assert_eq!(
        (&other["description"], &other["enabled"], &other["failed_above"]),
        (&json!("HR"), &json!(false), &json!(0))
    );
    let other = change(json!({"failed_above": null, "events": []})).await;
    assert_eq!(
        (&other["failed_above"], &other["events"], &other["description"]),
        (&Value::Null, &json!([]), &json!("HR"))
    );
    assert_refused(
        server.request(Method::PATCH, &path).json(&json!({"url": "nowhere"})),
        400,
        "webhook_target_refused",
    )
    .await;
    assert_eq!(server.json(&path).await["url"], url);
}

#[tokio::test]
async fn deliveries_are_forgotten_after_their_time() {
    let options = WebhookOptions { keep: Some(Duration::from_millis(1)), ..eager() };
    let (server, receiver) = (server(options).await, Receiver::start().await);
    let webhook = created(&server, json!({"url": receiver.url})).await;
    let ping = format!("/v1/webhooks/{}/ping", id(&webhook));
    assert_eq!(server.post(&ping).send().await.unwrap().status().as_u16(), 200);
    receiver.until(1).await;
    until_settled(&server, id(&webhook)).await;
    let forgotten = deliveries::forget(&server.store, 0.001).await.unwrap();
    assert!(forgotten <= 1 && told_to(&server, id(&webhook)).await.is_empty());
}
