//! Requests for one job that meet: the later one finds the job as the earlier one left it.

use reqwest::{RequestBuilder, StatusCode};
use serde_json::json;
use sqlx::Connection;

use super::jobs::{job, proceed, put, start, uploaded, users};
use crate::harness::Server;

/// Two requests that change a job, of which the second waits for the first; what each was answered.
async fn one_after_the_other(
    server: &Server,
    id: i64,
    first: RequestBuilder,
    second: RequestBuilder,
) -> [StatusCode; 2] {
    let mut other = server.store.connection().await.unwrap();
    // The first request stops at the job's file, when it has the job already.
    let mut holding = other.begin().await.unwrap();
    sqlx::query("select from imports where id = (select import_id from bulk_jobs where id = $1) for update")
        .bind(id)
        .execute(&mut *holding)
        .await
        .unwrap();
    let first = tokio::spawn(first.send());
    server.until_waiting(1).await;
    let second = tokio::spawn(second.send());
    server.until_waiting(2).await;
    holding.rollback().await.unwrap();
    [first.await.unwrap().unwrap().status(), second.await.unwrap().unwrap().status()]
}

#[tokio::test]
async fn a_start_that_waits_for_a_new_file_starts_that_file() {
    let server = start().await;
    let id = uploaded(&server, 1).await;
    let answers = one_after_the_other(&server, id, put(&server, id, users(2)), proceed(&server, id)).await;
    assert_eq!(answers, [StatusCode::OK, StatusCode::OK]);
    let job = job(&server, id).await;
    assert_eq!((&job["status"], &job["total_rows"]), (&json!("in_progress"), &json!(2)));
}

#[tokio::test]
async fn of_two_new_files_the_later_is_the_jobs() {
    let server = start().await;
    let id = uploaded(&server, 1).await;
    let answers =
        one_after_the_other(&server, id, put(&server, id, users(2)), put(&server, id, users(3))).await;
    assert_eq!(answers, [StatusCode::OK, StatusCode::OK]);
    let job = job(&server, id).await;
    assert_eq!((&job["status"], &job["total_rows"]), (&json!("valid_scheme"), &json!(3)));
}

#[tokio::test]
async fn a_new_file_that_waits_for_the_start_is_refused() {
    let server = start().await;
    let id = uploaded(&server, 1).await;
    let answers = one_after_the_other(&server, id, proceed(&server, id), put(&server, id, users(2))).await;
    assert_eq!(answers, [StatusCode::OK, StatusCode::CONFLICT]);
    let job = job(&server, id).await;
    assert_eq!((&job["status"], &job["total_rows"]), (&json!("in_progress"), &json!(1)));
}

#[tokio::test]
async fn two_starts_are_one() {
    let server = start().await;
    let id = uploaded(&server, 1).await;
    let answers = one_after_the_other(&server, id, proceed(&server, id), proceed(&server, id)).await;
    assert_eq!(answers, [StatusCode::OK, StatusCode::OK]);
    assert_eq!(job(&server, id).await["status"], "in_progress");
}
