//! Files that people have, received over HTTP: refused or staged as the table says that they are.

use std::fs;

use muster_store::catalog;
use muster_testkit::hostile;
use serde_json::Value;

use crate::case_table::{Come, folder, options, rows, words};
use crate::harness::Server;

/// What of an answer is not as the row says. The import is received and not started, so what planning alone finds is not seen.
pub(crate) fn wrongly_answered(told: &str, status: u16, answer: &Value, wanted: &Come) -> Vec<String> {
    let mut wrong = Vec::new();
    let taken = (200..300).contains(&status);
    let error = &answer["error"];
    match &wanted.refused {
        Some(_) if taken => wrong.push(format!("{told}: it is taken")),
        Some(refused) => {
            let code = if refused == "format_unknown" { "unsupported_media_type" } else { refused };
            let message = format!("{}, line {}", error["message"].as_str().unwrap(), error["line"]);
            if error["code"] != code {
                wrong.push(format!("{told}: {code} is wanted: {error}"));
            }
            let missing =
                wanted.tells.iter().chain(&wanted.hint).filter(|words| !message.contains(words.as_str()));
            wrong.extend(missing.map(|words| format!("{told}: {words} is not told: {message}")));
            let shown = wanted.hides.iter().filter(|words| message.contains(words.as_str()));
            wrong.extend(shown.map(|words| format!("{told}: {words} is told: {message}")));
        }
        None if !taken => wrong.push(format!("{told}: {status} {answer}")),
        None => {
            let counts = &answer["counts"];
            let total = wanted.inserted + wanted.updated + wanted.skipped + wanted.failed;
            if counts["total"] != total || counts["failed"].as_u64().unwrap() > wanted.failed {
                wrong.push(format!("{told}: {counts}"));
            }
        }
    }
    wrong
}

/// So many imports may be under way and no more, so one that was taken is cancelled.
pub(crate) async fn cancelled(server: &Server, answer: &Value) {
    let Some(id) = answer["id"].as_str() else { return };
    let cancel = server.post(&format!("/v1/imports/{id}/cancel"));
    assert!(cancel.send().await.unwrap().status().is_success());
}

/// The options of a row as an upload has them.
pub(crate) fn asked(file: &str, flags: &[String]) -> Vec<(String, String)> {
    let mut options = options(flags);
    options.extend([("filename".to_owned(), file.to_owned()), ("start".to_owned(), "manual".to_owned())]);
    options
}

/// Each row of the table, and what comes of it where its hint is followed word for word.
pub(crate) fn all() -> Vec<(String, Vec<String>, Come)> {
    let mut all = Vec::new();
    for row in rows() {
        let then = row.come.hint.as_ref().zip(row.come.then.as_ref()).map(|(hint, then)| {
            let flags = row.come.with.iter().cloned().chain(words(hint)).collect();
            (row.file.clone(), flags, Come::clone(then))
        });
        all.push((row.file, row.come.with.clone(), row.come));
        all.extend(then);
    }
    all
}

#[tokio::test]
async fn files_that_people_have_are_received_as_the_table_says() {
    let server = Server::start().await;
    catalog::apply(&server.store, server.tenant.id, &hostile::catalog()).await.unwrap();
    let mut found = Vec::new();
    for (file, flags, wanted) in all() {
        let body = fs::read(folder().join(&file)).unwrap();
        let mut upload = server.post("/v1/imports").query(&asked(&file, &flags)).body(body);
        if file.ends_with(".gz") {
            upload = upload.header("content-encoding", "gzip");
        }
        let response = upload.send().await.unwrap();
        let status = response.status().as_u16();
        let answer: Value = response.json().await.unwrap();
        found.extend(wrongly_answered(&format!("{file} {flags:?}"), status, &answer, &wanted));
        cancelled(&server, &answer).await;
    }
    assert!(found.is_empty(), "{} rows:\n{}", found.len(), found.join("\n"));
}
