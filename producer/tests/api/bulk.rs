//! What is done to many imports at once.

use std::time::Duration;

use futures_util::future::join_all;
use muster_domain::id::ChunkId;
use muster_domain::token::Scope;
use muster_store::{apply, bulk, tenants};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Connection;

use crate::harness::{Server, accepted, assert_refused, token, until};

/// An import that waits for its start.
async fn waits(server: &Server, filename: &str) -> String {
    let upload = server.upload(&format!("start=manual&filename={filename}"), "email\na@example.com\n");
    accepted(upload).await["id"].as_str().unwrap().to_owned()
}

/// An import that runs, or ran, with these records.
async fn runs(server: &Server, file: &str) -> String {
    accepted(server.upload("", file.to_owned())).await["id"].as_str().unwrap().to_owned()
}

/// What an action would be done to.
async fn look(server: &Server, query: &str) -> Value {
    let response = server.post(&format!("/v1/bulk?{query}")).send().await.unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, StatusCode::CREATED, "{query}: {text}");
    serde_json::from_str(&text).unwrap()
}

async fn pull(server: &Server, bulk: &Value, lever: &str) -> Value {
    let path = format!("/v1/bulk/{}/{lever}", bulk["id"].as_str().unwrap());
    let response = server.post(&path).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    response.json().await.unwrap()
}

async fn show(server: &Server, bulk: &Value) -> Value {
    server.json(&format!("/v1/bulk/{}", bulk["id"].as_str().unwrap())).await
}

async fn until_done(server: &Server, bulk: &Value) -> Value {
    until("the action is done", async || show(server, bulk).await["state"] == "done").await;
    show(server, bulk).await
}

async fn state(server: &Server, import: &str) -> String {
    server.json(&format!("/v1/imports/{import}")).await["state"].as_str().unwrap().to_owned()
}

async fn until_state(server: &Server, import: &str, wanted: &str) {
    until(wanted, async || state(server, import).await == wanted).await;
}

#[tokio::test]
async fn what_is_done_is_what_was_shown_and_no_more() {
    let server = Server::start().await;
    let (one, two) = (waits(&server, "one.csv").await, waits(&server, "two.csv").await);
    let shown = look(&server, "action=cancel").await;
    assert_eq!(
        (&shown["state"], &shown["imports"], &shown["records"], &shown["states"], &shown["first"]),
        (&json!("preview"), &json!(2), &json!(2), &json!({"received": 2}), &json!([one, two]))
    );
    assert!(shown["actor"].as_str().unwrap().starts_with("token:"), "{shown}");
    let later = waits(&server, "later.csv").await;
    assert_eq!(state(&server, &one).await, "received", "looking does nothing");
    assert_eq!(server.json("/v1/bulk").await["actions"], json!([]), "what was only looked at is not listed");
    pull(&server, &shown, "start").await;
    let done = until_done(&server, &shown).await;
    assert_eq!((&done["succeeded"], &done["refused"]), (&json!(2), &json!(0)));
    for import in [&one, &two] {
        assert_eq!(state(&server, import).await, "cancelled");
    }
    assert_eq!(state(&server, &later).await, "received");
    assert_eq!(server.json("/v1/bulk").await["actions"][0]["id"], shown["id"]);
    // What somebody ended is brought back by name alone.
    assert_eq!(look(&server, "action=resume").await["imports"], 0);
    assert_eq!(look(&server, "action=resume&state=cancelled").await["imports"], 2);
}

#[tokio::test]
async fn an_action_that_is_started_twice_is_done_once() {
    let server = Server::start().await;
    let import = waits(&server, "one.csv").await;
    let shown = look(&server, "action=cancel&file=ONE").await;
    let started = join_all((0..5).map(|_| pull(&server, &shown, "start"))).await;
    assert!(started.iter().all(|one| one["started_at"] == started[0]["started_at"]), "{started:?}");
    until_done(&server, &shown).await;
    let resumed = server.post(&format!("/v1/imports/{import}/resume")).send().await.unwrap();
    assert_eq!(resumed.status(), StatusCode::OK);
    let again = pull(&server, &shown, "start").await;
    assert_eq!((&again["state"], &again["succeeded"]), (&json!("done"), &json!(1)));
    // Nor is it ended a second time.
    assert_eq!(pull(&server, &shown, "abort").await["state"], "done");
}

#[tokio::test]
async fn what_is_aborted_does_nothing_more() {
    let server = Server::start().await;
    let mut imports = Vec::new();
    for number in 0..3 {
        imports.push(waits(&server, &format!("{number}.csv")).await);
    }
    let shown = look(&server, "action=cancel").await;
    let mut other = server.store.connection().await.unwrap();
    let mut held = other.begin().await.unwrap();
    sqlx::query("select from imports where id = $1::uuid for update")
        .bind(&imports[1])
        .execute(&mut *held)
        .await
        .unwrap();
    pull(&server, &shown, "start").await;
    until("the first is done", async || show(&server, &shown).await["succeeded"] == 1).await;
    server.until_waiting(1).await;
    assert_eq!(pull(&server, &shown, "abort").await["state"], "aborted");
    held.rollback().await.unwrap();
    until("nobody works on it", async || {
        let free = "select claimed_until is null from bulk_actions";
        sqlx::query_scalar::<_, bool>(free).fetch_one(server.store.pool()).await.unwrap()
    })
    .await;
    let states = join_all(imports.iter().map(|import| state(&server, import))).await;
    assert_eq!(states, ["cancelled", "cancelled", "received"], "what was under way is done");
    let ended = show(&server, &shown).await;
    assert_eq!((&ended["state"], &ended["succeeded"]), (&json!("aborted"), &json!(2)));
    assert_eq!(pull(&server, &shown, "start").await["state"], "aborted");
}

#[tokio::test]
async fn a_retry_in_bulk_drives_the_records_of_its_cause_and_no_others() {
    let server = Server::start().await;
    let phones = runs(&server, "email,phone_number\na@example.com,xyz\nnobody,\n").await;
    let addresses = runs(&server, "email\nnobody\n").await;
    for import in [&phones, &addresses] {
        until_state(&server, import, "completed").await;
    }
    let shown = look(&server, "action=retry&code=phone_invalid").await;
    assert_eq!(
        (&shown["imports"], &shown["records"], &shown["first"]),
        (&json!(1), &json!(1), &json!([phones]))
    );
    assert_eq!(look(&server, "action=retry&field=email").await["records"], 2);
    assert_eq!(look(&server, "action=retry").await["records"], 3);
    pull(&server, &shown, "start").await;
    assert_eq!(until_done(&server, &shown).await["succeeded"], 1);
    let counts = server.json(&format!("/v1/imports/{phones}")).await["counts"].clone();
    assert_eq!((&counts["pending"], &counts["failed"]), (&json!(1), &json!(1)), "{counts}");
    assert_eq!(state(&server, &addresses).await, "completed");
}

#[tokio::test]
async fn dead_chunks_of_many_imports_are_redriven() {
    let server = Server::start().await;
    let (dead, failed) =
        (runs(&server, "email\na@example.com\n").await, runs(&server, "email\nnobody\n").await);
    let chunk: i64 = sqlx::query_scalar("select id from chunks where import_id = $1::uuid")
        .bind(&dead)
        .fetch_one(server.store.pool())
        .await
        .unwrap();
    assert!(apply::mark_dead(&server.store, ChunkId::new(chunk), "for a test").await.unwrap());
    for import in [&dead, &failed] {
        until_state(&server, import, "completed").await;
    }
    let shown = look(&server, "action=redrive").await;
    assert_eq!(
        (&shown["imports"], &shown["records"], &shown["first"]),
        (&json!(1), &json!(1), &json!([dead]))
    );
    assert_eq!(look(&server, "action=retry&dead=true").await["first"], json!([dead]));
    pull(&server, &shown, "start").await;
    until_done(&server, &shown).await;
    assert_eq!(state(&server, &dead).await, "running");
    assert_eq!(server.json(&format!("/v1/imports/{dead}")).await["counts"]["pending"], 1);
}

#[tokio::test]
async fn imports_are_chosen_by_state_age_and_file() {
    let server = Server::start().await;
    let old = waits(&server, "HR-2025.csv").await;
    waits(&server, "people.csv").await;
    sqlx::query("update imports set created_at = now() - interval '3 days' where id = $1::uuid")
        .bind(&old)
        .execute(server.store.pool())
        .await
        .unwrap();
    for (query, found) in [
        ("action=cancel", 2),
        ("action=cancel&state=received", 2),
        ("action=cancel&state=running", 0),
        ("action=pause", 0),
        ("action=cancel&older_than=2d", 1),
        ("action=cancel&newer_than=36500d", 2),
        ("action=cancel&newer_than=1h", 1),
        ("action=cancel&older_than=2d&newer_than=1h", 0),
        ("action=cancel&file=hr-", 1),
        ("action=cancel&file=%25", 0),
        ("action=cancel&code=email_invalid", 0),
        ("action=retry", 0),
    ] {
        assert_eq!(look(&server, query).await["imports"], found, "{query}");
    }
    let ended = look(&server, "action=pause").await;
    assert_eq!(pull(&server, &ended, "start").await["state"], "done", "with nothing to do it is done");
    for (query, field) in [
        ("", "action"),
        ("action=delete", "action"),
        ("action=pause&state=completed", "state"),
        ("action=pause&state=nowhere", "state"),
        ("action=pause&older_than=soon", "older_than"),
        ("action=pause&older_than=9999999d", "older_than"),
        ("action=redrive&code=email_invalid", "code"),
        ("action=pause&dead=perhaps", "dead"),
        ("action=pause&colour=red", "colour"),
    ] {
        let error = assert_refused(server.post(&format!("/v1/bulk?{query}")), 400, "invalid_request").await;
        assert_eq!(error["field"], field, "{query}");
    }
}

/// As it was named when the file was sent, the tenant's own or a built-in one.
#[tokio::test]
async fn imports_are_chosen_by_the_profile_that_they_were_received_with() {
    let server = Server::start().await;
    let saved = server.request(Method::PUT, "/v1/profiles/monthly").json(&json!({"dates": "dmy"}));
    assert!(saved.send().await.unwrap().status().is_success());
    for profile in ["", "&profile=monthly", "&profile=slack"] {
        let query = format!("start=manual&filename=a.csv{profile}");
        accepted(server.upload(&query, "email\na@example.com\n".to_owned())).await;
    }
    for (profile, found) in [("", 3), ("&profile=monthly", 1), ("&profile=slack", 1), ("&profile=month", 0)] {
        assert_eq!(look(&server, &format!("action=cancel{profile}")).await["imports"], found, "{profile}");
    }
}

#[tokio::test]
async fn what_cannot_be_done_any_more_is_told_with_its_reason() {
    let server = Server::start().await;
    let (one, two) = (waits(&server, "one.csv").await, waits(&server, "two.csv").await);
    let shown = look(&server, "action=cancel").await;
    sqlx::query("delete from chunks where import_id = $1::uuid")
        .bind(&two)
        .execute(server.store.pool())
        .await
        .unwrap();
    sqlx::query("update imports set state = 'completed', completed_at = now() where id = $1::uuid")
        .bind(&two)
        .execute(server.store.pool())
        .await
        .unwrap();
    pull(&server, &shown, "start").await;
    let done = until_done(&server, &shown).await;
    assert_eq!((&done["succeeded"], &done["refused"]), (&json!(1), &json!(1)));
    assert_eq!(done["refusals"], json!([{"import": two, "why": "it is completed"}]));
    assert_eq!(state(&server, &one).await, "cancelled");
}

#[tokio::test]
async fn what_somebody_moved_after_it_was_shown_is_refused_with_its_state() {
    let server = Server::start().await;
    let steer = async |import: &str, how: &str| {
        let answer = server.post(&format!("/v1/imports/{import}/{how}")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{how}");
    };
    let cases: [(&str, &[&str], &[&str], &str); 5] = [
        ("action=resume", &["pause"], &["cancel"], "cancelled"),
        ("action=resume&state=paused", &["pause"], &["cancel"], "cancelled"),
        ("action=resume&state=cancelled", &["cancel"], &["resume", "pause"], "paused"),
        ("action=cancel&state=running", &[], &["pause"], "paused"),
        ("action=cancel&state=paused", &["pause"], &["resume"], "running"),
    ];
    for (query, before, between, now) in cases {
        // It waits for ever: there is no worker.
        let import = runs(&server, "email\na@example.com\n").await;
        for how in before {
            steer(&import, how).await;
        }
        let newest = format!("{query}&newer_than=1h");
        let shown = look(&server, &newest).await;
        assert_eq!(shown["first"], json!([import]), "{query}");
        for how in between {
            steer(&import, how).await;
        }
        pull(&server, &shown, "start").await;
        let done = until_done(&server, &shown).await;
        assert_eq!((&done["succeeded"], &done["refused"]), (&json!(0), &json!(1)), "{query}");
        assert_eq!(done["refusals"], json!([{"import": import, "why": format!("it is {now}")}]), "{query}");
        assert_eq!(state(&server, &import).await, now, "{query}");
        // The next one is alone.
        sqlx::query("update imports set created_at = now() - interval '2 hours' where id = $1::uuid")
            .bind(&import)
            .execute(server.store.pool())
            .await
            .unwrap();
    }
    // The same of one that waited for its start.
    let import = waits(&server, "one.csv").await;
    let shown = look(&server, "action=cancel&state=received").await;
    steer(&import, "proceed").await;
    pull(&server, &shown, "start").await;
    let done = until_done(&server, &shown).await;
    assert_eq!(done["refusals"], json!([{"import": import, "why": "it is running"}]));
    assert_eq!(state(&server, &import).await, "running");
}

/// Two dispatchers, and whoever works beside them, share one action.
#[tokio::test]
async fn who_works_on_one_action_at_once_does_each_import_once() {
    let server = Server::start().await;
    for number in 0..30 {
        waits(&server, &format!("{number}.csv")).await;
    }
    let shown = look(&server, "action=cancel").await;
    pull(&server, &shown, "start").await;
    let works = async || while bulk::work(&server.store).await.unwrap() {};
    join_all((0..3).map(|_| works())).await;
    let done = until_done(&server, &shown).await;
    assert_eq!((&done["succeeded"], &done["refused"]), (&json!(30), &json!(0)));
}

#[tokio::test]
async fn actions_of_another_tenant_are_as_missing_ones() {
    let server = Server::start().await;
    waits(&server, "ours.csv").await;
    let shown = look(&server, "action=cancel").await;
    let other =
        tenants::create(&server.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    let theirs = token(&server.store, &other, "theirs", &[Scope::Ops]).await;
    let path = format!("{}/v1/bulk/{}", server.url, shown["id"].as_str().unwrap());
    for request in [
        server.client.get(&path),
        server.client.post(format!("{path}/start")),
        server.client.post(format!("{path}/abort")),
    ] {
        assert_eq!(request.bearer_auth(&theirs).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    }
    let found = server.client.post(format!("{}/v1/bulk?action=cancel", server.url)).bearer_auth(&theirs);
    assert_eq!(found.send().await.unwrap().json::<Value>().await.unwrap()["imports"], 0);
    assert_eq!(show(&server, &shown).await["state"], "preview");
}

#[tokio::test]
async fn what_was_shown_long_ago_or_often_is_forgotten() {
    let server = Server::start().await;
    let started = look(&server, "action=pause").await;
    pull(&server, &started, "start").await;
    let first = look(&server, "action=pause").await;
    for _ in 0..19 {
        look(&server, "action=pause").await;
    }
    assert_eq!(show(&server, &first).await["state"], "preview");
    look(&server, "action=pause").await;
    let path = format!("/v1/bulk/{}/start", first["id"].as_str().unwrap());
    assert_refused(server.post(&path), 404, "not_found").await;
    let day = Duration::from_secs(24 * 60 * 60).as_secs_f64();
    assert_eq!(bulk::forget(&server.store, day).await.unwrap(), 0);
    sqlx::raw_sql("update bulk_actions set created_at = created_at - interval '2 hours'")
        .execute(server.store.pool())
        .await
        .unwrap();
    // What was started stays as long as imports do.
    assert_eq!(bulk::forget(&server.store, day).await.unwrap(), 20);
    assert_eq!(bulk::list(&server.store, server.tenant.id).await.unwrap().len(), 1);
    assert_eq!(bulk::forget(&server.store, -1.0).await.unwrap(), 1);
}

#[tokio::test]
async fn an_action_has_so_many_imports_and_no_more() {
    let server = Server::start().await;
    let make = async |many: i32| {
        sqlx::query(
            "insert into imports (id, tenant_id, state, options, alive_until)
             select gen_random_uuid(), $1, 'received', '{}', now() from generate_series(1, $2)",
        )
        .bind(server.tenant.id.get())
        .bind(many)
        .execute(server.store.pool())
        .await
        .unwrap();
    };
    make(10_000).await;
    assert_eq!(look(&server, "action=cancel").await["imports"], 10_000);
    make(1).await;
    let error = assert_refused(server.post("/v1/bulk?action=cancel"), 400, "invalid_request").await;
    assert!(error["message"].as_str().unwrap().contains("more than 10,000 imports"), "{error}");
    assert_eq!(look(&server, "action=cancel&state=running").await["imports"], 0);
}
