//! The audit: who did what, page by page, for the tenant's operator alone.

use muster_domain::token::Scope;
use muster_store::{tenants, tokens};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, accepted, assert_refused, token, until};
use crate::webhooks::receiver::Receiver;

async fn erased(server: &Server, token: &str, email: &str) -> String {
    let made = server.client.post(format!("{}/api/o/acme/u/", server.url)).bearer_auth(&server.token);
    assert!(made.json(&json!({"email": email})).send().await.unwrap().status().is_success());
    let found = server.json(&format!("/v1/users?email={email}")).await;
    let user = found["users"][0]["id"].as_str().unwrap().to_owned();
    let erase = server.client.delete(format!("{}/v1/users/{user}", server.url)).bearer_auth(token);
    assert_eq!(erase.send().await.unwrap().status().as_u16(), 200);
    user
}

#[tokio::test]
async fn the_audit_says_who_did_what_and_names_nobody_who_was_erased() {
    let server = Server::start().await;
    let catalog = json!({"organizations": [{"slug": "acme", "name": "Acme"}]});
    let made = server.request(Method::PUT, "/v1/catalog").json(&catalog).send().await.unwrap();
    assert!(made.status().is_success());
    let first = server.json("/v1/audit").await;
    assert_eq!(
        (first["entries"].as_array().unwrap().len(), &first["next"], &first["next_link"]),
        (1, &Value::Null, &Value::Null)
    );
    assert_eq!(first["entries"][0]["action"], "catalog.replace");
    let eraser = token(&server.store, &server.tenant, "eraser", &[Scope::UsersErase]).await;
    let mut users = Vec::new();
    for name in ["ann", "bob", "cleo"] {
        users.insert(0, erased(&server, &eraser, &format!("{name}@example.com")).await);
    }
    let page = server.json("/v1/audit").await;
    let entries = page["entries"].as_array().unwrap().split_last().unwrap().1;
    let of = |key: &str| entries.iter().map(|entry| entry[key].clone()).collect::<Vec<Value>>();
    assert_eq!(of("subject"), users);
    assert!(
        of("token").iter().all(|name| name == "eraser")
            && of("action").iter().all(|what| what == "users.erase")
    );
    assert!(entries.iter().all(|entry| entry["counts"]["users"] == 1 && entry["at"].is_string()));
    assert!(!page.to_string().contains("example.com"));
    // By pages, the newest first.
    let (mut link, mut seen) = (Some("/v1/audit?limit=1".to_owned()), Vec::new());
    while let Some(next) = link {
        let page = server.json(&next).await;
        seen.push(page["entries"][0]["subject"].clone());
        link = page["next_link"].as_str().map(str::to_owned);
    }
    assert_eq!(seen.pop(), Some(Value::Null), "a catalog has no id");
    assert_eq!(seen, users);
    // Neither another tenant's operator nor a token without the scope sees any of it.
    let other =
        tenants::create(&server.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    let stranger = token(&server.store, &other, "all", &[Scope::Ops]).await;
    let theirs = server.client.get(format!("{}/v1/audit", server.url)).bearer_auth(&stranger);
    let theirs: Value = theirs.send().await.unwrap().json().await.unwrap();
    assert_eq!(theirs["entries"], json!([]));
    let narrow = server.client.get(format!("{}/v1/audit", server.url)).bearer_auth(&eraser);
    assert_refused(narrow, 403, "forbidden").await;
    for wrong in ["limit=0", "limit=201", "after=x", "colour=red"] {
        assert_refused(server.get(&format!("/v1/audit?{wrong}")), 400, "invalid_request").await;
    }
}

async fn ask(server: &Server, method: Method, path: &str, body: Option<Value>) -> Value {
    let mut request = server.request(method, path);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.json().await.unwrap_or_default()
}

/// What stands in the audit since then, the oldest first: what, to what by name, how many, which.
async fn since(server: &Server, before: i64) -> Vec<(String, Value, Value, Value)> {
    let page = server.json("/v1/audit?limit=200").await;
    let entries = page["entries"].as_array().unwrap().iter().rev();
    let new = entries.filter(|entry| entry["id"].as_i64().unwrap() > before);
    new.map(|entry| {
        assert!(
            entry["actor"].as_str().unwrap().starts_with("token:") && entry["token"].is_string(),
            "{entry}"
        );
        let part = |name: &str| entry[name].clone();
        (entry["action"].as_str().unwrap().to_owned(), part("name"), part("counts"), part("filter"))
    })
    .collect()
}

async fn newest(server: &Server) -> i64 {
    server.json("/v1/audit?limit=1").await["entries"][0]["id"].as_i64().unwrap_or(0)
}

fn entry(action: &str, name: Value, counts: Value, filter: Value) -> (String, Value, Value, Value) {
    (action.to_owned(), name, counts, filter)
}

#[tokio::test]
async fn what_is_done_is_in_the_audit_with_who_and_how_many() {
    let (server, receiver) = (Server::start().await, Receiver::start().await);
    let none = || (Value::Null, json!({}), Value::Null);
    let plain = |action: &str| entry(action, none().0, none().1, none().2);
    // Profiles.
    let profile = Some(json!({"dates": "dmy", "sheet": "1"}));
    ask(&server, Method::PUT, "/v1/profiles/hr", profile).await;
    ask(&server, Method::DELETE, "/v1/profiles/hr", None).await;
    let wanted = [
        entry("profile.save", "hr".into(), json!({"options": 2}), Value::Null),
        entry("profile.delete", "hr".into(), json!({}), Value::Null),
    ];
    assert_eq!(since(&server, 0).await, wanted);
    // Webhooks: neither their addresses nor their secrets.
    let mark = newest(&server).await;
    let made = ask(&server, Method::POST, "/v1/webhooks", Some(json!({"url": receiver.url}))).await;
    let webhook = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
    ask(&server, Method::PATCH, &webhook, Some(json!({"description": "HR", "enabled": false}))).await;
    // What is given again as it is, is no change; and a change that changes nothing is none.
    let again = json!({"url": receiver.url, "description": "HR", "enabled": false, "failed_above": 5});
    ask(&server, Method::PATCH, &webhook, Some(again.clone())).await;
    ask(&server, Method::PATCH, &webhook, Some(again)).await;
    ask(&server, Method::POST, &format!("{webhook}/secret"), None).await;
    ask(&server, Method::DELETE, &format!("{webhook}/secret?which=new"), None).await;
    let ping = ask(&server, Method::POST, &format!("{webhook}/ping?wait=20s"), None).await;
    let delivery = ping["id"].as_str().unwrap();
    ask(&server, Method::POST, &format!("{webhook}/deliveries/{delivery}/redeliver"), None).await;
    ask(&server, Method::DELETE, &webhook, None).await;
    let wanted = [
        plain("webhook.create"),
        entry("webhook.change", Value::Null, json!({"description": 1, "disabled": 1}), Value::Null),
        entry("webhook.change", Value::Null, json!({"failed_above": 1}), Value::Null),
        plain("webhook.rotate"),
        entry("webhook.drop_secret", Value::Null, json!({}), json!({"which": "new"})),
        entry("webhook.redeliver", Value::Null, json!({}), json!({"delivery": delivery})),
        plain("webhook.delete"),
    ];
    assert_eq!(since(&server, mark).await, wanted);
    let all = server.json("/v1/audit").await.to_string();
    assert!(!all.contains(&receiver.url) && !all.contains("whsec_"), "{all}");
}

#[tokio::test]
async fn what_is_done_to_imports_is_in_the_audit_once() {
    let server = Server::start().await;
    let file = "email\na@example.com\nnobody\n";
    let upload =
        async || accepted(server.upload("start=manual&filename=a.csv", file.to_owned())).await["id"].clone();
    let import = upload().await;
    let own = format!("/v1/imports/{}", import.as_str().unwrap());
    for lever in ["proceed", "pause", "resume", "pause", "cancel", "resume"] {
        // Who says it twice has done it once.
        ask(&server, Method::POST, &format!("{own}/{lever}"), None).await;
        ask(&server, Method::POST, &format!("{own}/{lever}"), None).await;
    }
    let wanted = ["proceed", "pause", "resume", "pause", "cancel", "resume"];
    let found = since(&server, 0).await;
    let actions: Vec<&str> = found.iter().map(|(action, ..)| action.as_str()).collect();
    assert_eq!(actions, wanted.map(|lever| format!("import.{lever}")));
    let page = server.json("/v1/audit").await;
    assert!(page["entries"].as_array().unwrap().iter().all(|entry| entry["subject"] == import), "{page}");
    // A retry with how many and which.
    let mark = newest(&server).await;
    let failed = accepted(server.upload("filename=b.csv", "email\nnobody\n".to_owned())).await["id"].clone();
    let failed = format!("/v1/imports/{}", failed.as_str().unwrap());
    until("it ends", async || server.json(&failed).await["state"] == "completed").await;
    ask(&server, Method::POST, &format!("{failed}/retry?code=phone_invalid"), None).await;
    ask(&server, Method::POST, &format!("{failed}/retry?code=email_invalid"), None).await;
    let retried = entry("import.retry", Value::Null, json!({"chunks": 1}), json!({"code": "email_invalid"}));
    assert_eq!(since(&server, mark).await, [retried]);
    // Many at once: who began it, with which filter, how many it was about, and how it ended; no entry an import.
    let mark = newest(&server).await;
    let (one, _two) = (upload().await, upload().await);
    let looked = ask(&server, Method::POST, "/v1/bulk?action=cancel&state=received&file=a.csv", None).await;
    let bulk = format!("/v1/bulk/{}", looked["id"].as_str().unwrap());
    // One of them is not to be had any more when its turn comes.
    ask(&server, Method::POST, &format!("/v1/imports/{}/proceed", one.as_str().unwrap()), None).await;
    ask(&server, Method::POST, &format!("{bulk}/start"), None).await;
    ask(&server, Method::POST, &format!("{bulk}/start"), None).await;
    until("it is done", async || server.json(&bulk).await["state"] == "done").await;
    // Not the name, which may be a person's: the audit is kept after they are erased. The action itself has it.
    assert_eq!(server.json(&bulk).await["filter"]["file"], "a.csv");
    let filter = json!({"state": "received", "file": "5 characters"});
    let wanted = [
        entry("import.proceed", Value::Null, json!({}), Value::Null),
        entry("bulk.start", "cancel".into(), json!({"imports": 2, "records": 2}), filter.clone()),
        entry("bulk.end", "cancel".into(), json!({"succeeded": 1, "refused": 1}), filter),
    ];
    assert_eq!(since(&server, mark).await, wanted);
    // What nobody started was not done.
    let looked = ask(&server, Method::POST, "/v1/bulk?action=cancel", None).await;
    ask(&server, Method::POST, &format!("/v1/bulk/{}/abort", looked["id"].as_str().unwrap()), None).await;
    assert_eq!(since(&server, mark).await.len(), 3);
}

/// The tokens of a tenant, whoever makes and revokes them, and how often.
#[tokio::test]
async fn tokens_are_in_the_audit_by_name() {
    let server = Server::start().await;
    let operator = server.store.by("operator");
    tokens::create(&operator, server.tenant.id, "nightly", &[Scope::ImportWrite, Scope::ImportRead])
        .await
        .unwrap();
    tokens::create(&operator, server.tenant.id, "nightly", &[Scope::ImportWrite]).await.unwrap();
    for _ in 0..2 {
        tokens::revoke(&operator, server.tenant.id, "nightly").await.unwrap().unwrap();
    }
    let page = server.json("/v1/audit").await;
    let entries = page["entries"].as_array().unwrap();
    let told: Vec<(&Value, &Value, &Value)> =
        entries.iter().map(|entry| (&entry["action"], &entry["name"], &entry["actor"])).collect();
    let (name, actor) = (json!("nightly"), json!("operator"));
    assert_eq!(told, [(&json!("token.revoke"), &name, &actor), (&json!("token.create"), &name, &actor)]);
    assert_eq!(entries[1]["counts"], json!({"scopes": 2}));
}

/// The CCAI door starts a job's import, and cancels one whose file is replaced: as anywhere else, that is in the audit.
#[tokio::test]
async fn what_is_done_to_the_import_of_a_job_is_in_the_audit() {
    let server = Server::start().await;
    let mark = newest(&server).await;
    let api = |method: Method, path: &str| {
        let request = server.client.request(method, format!("{}/apps/api/v1/bulk/users/{path}", server.url));
        request.basic_auth(server.tenant.slug.as_str(), Some(&server.token))
    };
    let file = |id: Option<&str>| {
        let people = r#"[{"email": "bo@example.com", "first_name": "Bo", "last_name": "Lee"}]"#;
        let form = reqwest::multipart::Form::new();
        let form = match id {
            Some(id) => form.text("id", id.to_owned()),
            None => form,
        };
        form.part("file", reqwest::multipart::Part::text(people).file_name("users.json"))
    };
    let made: Value =
        api(Method::POST, "upload").multipart(file(None)).send().await.unwrap().json().await.unwrap();
    let id = made["id"].to_string();
    for request in [
        api(Method::PUT, "upload").multipart(file(Some(&id))),
        api(Method::POST, "proceed").json(&json!({"id": made["id"]})),
        api(Method::POST, "proceed").json(&json!({"id": made["id"]})),
    ] {
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }
    let wanted =
        ["import.cancel", "import.proceed"].map(|action| entry(action, Value::Null, json!({}), Value::Null));
    assert_eq!(since(&server, mark).await, wanted);
}
