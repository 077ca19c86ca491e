//! `muster webhook` and `muster audit`, in a store and behind a server.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::json;

use super::serve::serve;
use crate::harness::{Desk, signal, wait};

#[test]
fn webhooks_are_made_changed_and_deleted_without_a_server() {
    let desk = Desk::new();
    desk.run(&["webhook", "create", "https://127.0.0.1/"])
        .exits(2)
        .tells(&["webhook_target_refused", "public network"]);
    desk.run(&["webhook", "create", "https://hooks.invalid/", "--event", "import.done"])
        .exits(2)
        .tells(&["import.completed"]);
    let made = [
        "webhook",
        "create",
        "https://hooks.invalid/",
        "--event",
        "import.completed,chunk.dead",
        "--failed-above",
        "5",
    ];
    let made = desk.run(&made).exits(0);
    assert!(made.stdout.starts_with("whsec_"), "{made:#?}");
    let list = desk.run(&["webhooks", "list", "--json"]).exits(0);
    assert!(!list.stdout.contains(made.stdout.trim()), "a secret is shown once");
    let webhook = list.json()[0].clone();
    assert_eq!((&webhook["failed_above"], &webhook["enabled"]), (&json!(5), &json!(true)));
    let id = webhook["id"].as_str().unwrap();
    let end = &id[30..];
    assert_eq!(desk.run(&["webhook", "show", end, "--json"]).exits(0).json(), webhook);
    let shown = desk.run(&["webhook", "disable", end]).exits(0);
    assert!(
        shown.stdout.contains("disabled") && shown.stdout.contains("failed records above 5 %"),
        "{shown:#?}"
    );
    let second = desk.run(&["webhook", "rotate", end]).exits(0);
    assert!(second.stdout.starts_with("whsec_") && second.stdout != made.stdout, "{second:#?}");
    desk.run(&["webhook", "rotate", end]).exits(1).tells(&["two secrets are valid already"]);
    desk.run(&["webhook", "drop-secret", end, "--which", "new"]).exits(0);
    desk.run(&["webhook", "drop-secret", end]).exits(1).tells(&["only one secret"]);
    desk.run(&["webhook", "show", "zz"]).exits(1).tells(&["no such webhook"]);
    desk.run(&["webhook", "delete", end]).exits(0);
    assert_eq!(desk.run(&["webhook", "list", "--json"]).exits(0).json(), json!([]));
}

/// A server that answers every request with this status, as often as it is asked.
fn receiver(status: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            // The head and the body of a ping come together or right after each other.
            let mut bytes = [0; 4096];
            let mut read = 0;
            while read < bytes.len() && !bytes[..read].ends_with(b"}") {
                match stream.read(&mut bytes[read..]) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => read += count,
                }
            }
            let _ = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    url
}

#[test]
fn a_webhook_is_tried_and_told_again_behind_a_server_and_the_audit_is_read() {
    let desk = Desk::new().set("MUSTER_WEBHOOK_ALLOW_PRIVATE", "true");
    let (server, url, token) = serve(&desk, true);
    let behind = |args: &[&str]| {
        let all = [args, &["--server", &url, "--token", &token, "--json"]].concat();
        desk.run(&all)
    };
    let good = behind(&["webhook", "create", &receiver(200)]).exits(0).json();
    let bad = behind(&["webhook", "create", &receiver(500)]).exits(0).json();
    assert!(good["secret"].as_str().unwrap().starts_with("whsec_"));
    let id = |webhook: &serde_json::Value| webhook["id"].as_str().unwrap().to_owned();
    let ping = behind(&["webhook", "ping", &id(&good)]).exits(0).json();
    assert_eq!(ping["state"], "delivered");
    let failed = behind(&["webhook", "ping", &id(&bad)]).exits(1).json();
    assert_eq!(
        (&failed["state"], &failed["tries"][0]["problem"]),
        (&json!("failed"), &json!("the answer was 500"))
    );
    let again = behind(&["webhook", "redeliver", &id(&good), ping["id"].as_str().unwrap()]).exits(0).json();
    assert_eq!((&again["state"], &again["attempts"]), (&json!("delivered"), &json!(2)));
    let log = behind(&["webhook", "deliveries", &id(&bad), "--state", "failed"]).exits(0).json();
    assert_eq!((log.as_array().unwrap().len(), &log[0]["id"]), (1, &failed["id"]));
    behind(&["webhook", "disable", &id(&bad)]).exits(0);
    // The same store without the server's words: the program beside it delivers.
    let here = desk.run(&["webhook", "ping", &id(&good)]).exits(0);
    assert!(here.stdout.starts_with("delivered: 200"), "{here:#?}");
    desk.write("people.csv", "email\nann@example.com\n");
    behind(&["import", "users", "people.csv"]).exits(0);
    desk.run(&["users", "erase", "--email", "ann@example.com"]).exits(0);
    let audit = behind(&["audit", "list"]).exits(0).json();
    assert_eq!((&audit[0]["action"], &audit[0]["actor"]), (&json!("users.erase"), &json!("operator")));
    assert_eq!(desk.run(&["audit", "list", "--json"]).exits(0).json(), audit);
    desk.run(&["profile", "save", "hr", "--dates", "dmy"]).exits(0);
    let table = desk.run(&["audit", "list"]).exits(0).stdout;
    for told in ["users 1", "webhook.create", "webhook.redeliver", "disabled 1", "profile.save", "options 1"]
    {
        assert!(table.contains(told), "{told}: {table}");
    }
    signal(&server, "TERM");
    wait(server).exits(0);
}
