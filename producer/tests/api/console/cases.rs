//! Files that people have, sent by the page of a new import: the options stand in the address, the file comes as it lies on the disk, and
//! nothing but its name says what it is.

use std::fs;

use muster_store::catalog;
use muster_testkit::hostile;
use serde_json::Value;

use super::{Browser, encoded};
use crate::case_table::folder;
use crate::cases::{all, asked, cancelled, wrongly_answered};
use crate::harness::Server;

#[tokio::test]
async fn files_that_people_have_are_taken_by_the_console_as_the_table_says() {
    let server = Server::start().await;
    catalog::apply(&server.store, server.tenant.id, &hostile::catalog()).await.unwrap();
    let browser = Browser::signed_in(&server, &server.token).await;
    let form = browser.secret();
    let mut found = Vec::new();
    for (file, flags, wanted) in all() {
        let pairs = asked(&file, &flags).into_iter();
        let query: Vec<String> = pairs.map(|(name, value)| format!("{name}={}", encoded(&value))).collect();
        let (told, query) = (format!("{file} {flags:?}"), query.join("&"));
        let body = fs::read(folder().join(&file)).unwrap();
        let taken =
            browser.send_bytes(&format!("/console/new/take?{query}"), Some(&form), body.clone()).await;
        let Ok(answer) = serde_json::from_str::<Value>(&taken.body) else {
            found.push(format!("{told}: {} {}", taken.status, taken.body));
            continue;
        };
        found.extend(wrongly_answered(&told, taken.status, &answer, &wanted));
        cancelled(&server, &answer).await;
        // What the page shows before: whether the file would be refused, and never an error of the page itself.
        let look = browser.send_bytes(&format!("/console/new/look?{query}"), Some(&form), body).await;
        let refused = look.body.contains("note wrong");
        if look.status != 200 || refused != wanted.refused.is_some() {
            found.push(format!("{told}: the page shows {} {}", look.status, look.body));
        }
    }
    assert!(found.is_empty(), "{} rows:\n{}", found.len(), found.join("\n"));
}
