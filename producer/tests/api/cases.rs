//! Files that people have, received over HTTP: refused or staged as the table says that they are.

use std::fs;

use muster_store::catalog;
use muster_testkit::hostile;
use serde_json::Value;

use crate::case_table::{Come, folder, options, rows, words};
use crate::harness::{Server, error};

/// What is not as the row says. The import is received and not started, so what planning alone finds is not seen.
async fn wrong(server: &Server, file: &str, flags: &[String], wanted: &Come) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut options = options(flags);
    options.extend([("filename".to_owned(), file.to_owned()), ("start".to_owned(), "manual".to_owned())]);
    let mut upload = server.post("/v1/imports").query(&options).body(fs::read(folder().join(file)).unwrap());
    if file.ends_with(".gz") {
        upload = upload.header("content-encoding", "gzip");
    }
    let response = upload.send().await.unwrap();
    let told = format!("{file} {flags:?}");
    if let Some(refused) = &wanted.refused {
        if response.status().is_success() {
            return vec![format!("{told}: it is taken")];
        }
        let (_, error) = error(response).await;
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
        return wrong;
    }
    if !response.status().is_success() {
        return vec![format!("{told}: {:?}", error(response).await)];
    }
    let import: Value = response.json().await.unwrap();
    let counts = &import["counts"];
    let total = wanted.inserted + wanted.updated + wanted.skipped + wanted.failed;
    if counts["total"] != total || counts["failed"].as_u64().unwrap() > wanted.failed {
        wrong.push(format!("{told}: {counts}"));
    }
    // So many imports may be under way and no more.
    let cancel = server.post(&format!("/v1/imports/{}/cancel", import["id"].as_str().unwrap()));
    assert!(cancel.send().await.unwrap().status().is_success());
    wrong
}

#[tokio::test]
async fn files_that_people_have_are_received_as_the_table_says() {
    let server = Server::start().await;
    catalog::apply(&server.store, server.tenant.id, &hostile::catalog()).await.unwrap();
    let mut found = Vec::new();
    for row in rows() {
        found.extend(wrong(&server, &row.file, &row.come.with, &row.come).await);
        if let (Some(hint), Some(then)) = (&row.come.hint, &row.come.then) {
            let flags: Vec<String> = row.come.with.iter().cloned().chain(words(hint)).collect();
            found.extend(wrong(&server, &row.file, &flags, then).await);
        }
    }
    assert!(found.is_empty(), "{} rows:\n{}", found.len(), found.join("\n"));
}
