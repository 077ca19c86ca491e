//! Receipts, mended files and histories over a real socket.

use muster_domain::outcome::{OutcomeSheet, Verdict};
use muster_domain::receipt::{self, Fault, PublicKey};
use muster_runtime::clock;
use muster_store::tenants;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, accepted, assert_refused, token, until};

/// An import that has ended: all of its records fail.
async fn ended(server: &Server, query: &str, body: &str) -> String {
    let import = accepted(server.upload(&format!("brake=0&{query}"), body.to_owned())).await;
    let id = import["id"].as_str().unwrap().to_owned();
    until("the import ends", async || {
        server.json(&format!("/v1/imports/{id}")).await["state"] == "completed"
    })
    .await;
    id
}

async fn text(server: &Server, path: &str) -> String {
    let response = server.get(path).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.text().await.unwrap()
}

#[tokio::test]
async fn only_an_import_that_has_ended_has_a_receipt_and_a_report() {
    let server = Server::start().await;
    let waits = accepted(server.upload("start=manual", "email\na@example.com\n")).await;
    let id = waits["id"].as_str().unwrap();
    for part in ["receipt", "report.html"] {
        let error =
            assert_refused(server.get(&format!("/v1/imports/{id}/{part}")), 409, "state_conflict").await;
        assert_eq!(error["state"], "received");
    }
    // One whose plan is made, or waits for a decision, has not ended either.
    let planned = accepted(server.upload("start=plan", "email\nb@example.com\n")).await;
    let id = planned["id"].as_str().unwrap();
    for state in ["planning", "planned"] {
        sqlx::query("update imports set state = $2 where id = $1::uuid")
            .bind(id)
            .bind(state)
            .execute(server.store.pool())
            .await
            .unwrap();
        for part in ["receipt", "report.html"] {
            let asked = server.get(&format!("/v1/imports/{id}/{part}"));
            assert_eq!(assert_refused(asked, 409, "state_conflict").await["state"], state);
        }
    }
    let id = ended(&server, "filename=bad.csv", "email\nmarker-one\n").await;
    let document = text(&server, &format!("/v1/imports/{id}/receipt")).await;
    let key = server.json("/v1/receipts/key").await;
    let public: PublicKey = key["key"].as_str().unwrap().parse().unwrap();
    let (said, _) = receipt::check(&document, Some(public)).unwrap();
    assert_eq!((said.import.id.to_string(), said.counts.failed), (id.clone(), 1));
    assert!(!document.contains("marker-one"), "no value of a user is in it: {document}");
    assert_eq!(receipt::check(&document.replace("bad.csv", "bat.csv"), None), Err(Fault::Changed));
    let page = text(&server, &format!("/v1/imports/{id}/report.html")).await;
    assert!(
        page.contains("bad.csv") && page.contains("email_invalid") && !page.contains("marker-one"),
        "{page}"
    );
    // The key is there once, whoever asks, and its private half is in no answer.
    assert_eq!(server.json("/v1/receipts/key").await, key);
    let kept: Vec<Vec<u8>> =
        sqlx::query_scalar("select pkcs8 from receipt_keys").fetch_all(server.store.pool()).await.unwrap();
    assert_eq!(kept.len(), 1);
    let mut reading = server.store.reading(server.tenant.id).await.unwrap();
    assert!(sqlx::query("select pkcs8 from receipt_keys").fetch_all(&mut *reading).await.is_err());
}

#[tokio::test]
async fn a_mended_file_is_linked_by_itself_or_by_hand_and_never_to_another_tenant() {
    let server = Server::start().await;
    let first = ended(&server, "", "email\nbad\nworse\n").await;
    assert_eq!(server.json(&format!("/v1/imports/{first}")).await["family"], Value::Null);
    for extension in ["csv", "ndjson"] {
        let file = text(&server, &format!("/v1/imports/{first}/failed.{extension}")).await;
        assert!(file.contains(&format!("{first}#2")), "{file}");
        let media_type = if extension == "csv" { "text/csv" } else { "application/x-ndjson" };
        let again =
            server.post("/v1/imports?start=manual&brake=0").header("content-type", media_type).body(file);
        assert_eq!(accepted(again).await["mends"], *first, "{extension}");
    }
    // The mark as a spreadsheet saves it: other delimiter, nothing quoted, in another encoding.
    let file = format!("email;_error_code;_muster_\u{f1}\u{fe}\u{20ac}\r\nbad;email_invalid;{first}#1\r\n");
    let windows = file
        .chars()
        .map(|c| if c == '\u{20ac}' { 0x80 } else { u8::try_from(u32::from(c)).unwrap() })
        .collect::<Vec<u8>>();
    assert_eq!(accepted(server.upload("start=manual&brake=0", windows)).await["mends"], *first);
    // A number of the mark alone, as older files have it, links nothing; what is said by hand counts more.
    let old = "email,_muster_\u{f1}\u{fe}\u{20ac}\nbad,1\n";
    assert_eq!(accepted(server.upload("start=manual&brake=0", old)).await["mends"], Value::Null);
    let by_hand = format!("start=manual&brake=0&mends={first}");
    assert_eq!(accepted(server.upload(&by_hand, old)).await["mends"], *first);
    let family = server.json(&format!("/v1/imports/{first}")).await["family"].clone();
    assert_eq!((&family["root"], &family["records"], &family["open"]), (&json!(first), &json!(2), &json!(2)));
    assert_eq!(family["members"].as_array().unwrap().len(), 5, "{family}");
    assert_eq!(family["summary"], "2 records: 0 applied over 5 imports, 2 open");

    let other =
        tenants::create(&server.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    let token = token(&server.store, &other, "all", &[muster_domain::token::Scope::Ops]).await;
    let theirs = |query: &str, body: String| {
        let url = format!("{}/v1/imports?{query}", server.url);
        server.client.post(url).bearer_auth(&token).header("content-type", "text/csv").body(body)
    };
    let file = text(&server, &format!("/v1/imports/{first}/failed.csv")).await;
    assert_eq!(accepted(theirs("start=manual&brake=0", file)).await["mends"], Value::Null);
    let body = || "email\na@example.com\n".to_owned();
    for mends in [first.as_str(), "0190a5f0-7b7c-7000-8000-000000000001", "nonsense"] {
        let error = assert_refused(theirs(&format!("mends={mends}"), body()), 400, "invalid_request").await;
        assert_eq!(error["field"], "mends");
    }
}

#[tokio::test]
async fn a_file_of_failed_records_is_read_as_the_import_that_they_come_from() {
    let server = Server::start().await;
    let query = "unknown_columns=ignore&columns=Rolle%3Droles&null_words=n%2Fa";
    let first = ended(&server, query, "email,Rolle\nbad,chief\n").await;
    let again = "start=manual&brake=0&unknown_columns=ignore";
    // What a column of the last import means, and what a cell without anything is.
    let read = async || -> (Option<String>, Value) {
        let options: Value = sqlx::query_scalar(
            "select options::jsonb from imports order by created_at desc, id desc limit 1",
        )
        .fetch_one(server.store.pool())
        .await
        .unwrap();
        let rules = options["fields"].as_array().into_iter().flatten();
        let field = rules.clone().find(|rule| rule["name"] == "rolle" && rule["mapped"].is_object());
        (field.and_then(|rule| rule["field"].as_str()).map(str::to_owned), options["null_words"].clone())
    };
    for extension in ["csv", "ndjson"] {
        let file = text(&server, &format!("/v1/imports/{first}/failed.{extension}")).await;
        let media_type = if extension == "csv" { "text/csv" } else { "application/x-ndjson" };
        let sent = |path: &str| server.post(path).header("content-type", media_type).body(file.clone());
        let looked: Value =
            sent("/v1/inspect?unknown_columns=ignore").send().await.unwrap().json().await.unwrap();
        let columns = looked["columns"].as_array().unwrap();
        let role = columns.iter().find(|column| column["name"] == "Rolle").unwrap();
        assert_eq!(role["field"], "roles", "{extension}: {looked}");
        assert_eq!(accepted(sent(&format!("/v1/imports?{again}"))).await["mends"], *first);
        assert_eq!(read().await, (Some("roles".to_owned()), json!(["n/a"])), "{extension}");
    }
    // In a form, in pieces, and where the request says something else.
    let file = text(&server, &format!("/v1/imports/{first}/failed.csv")).await;
    let part = reqwest::multipart::Part::text(file.clone()).file_name("failed.csv");
    let form = reqwest::multipart::Form::new().text("start", "manual").text("brake", "0").part("file", part);
    assert_eq!(accepted(server.post("/v1/imports").multipart(form)).await["mends"], *first);
    assert_eq!(read().await.0.as_deref(), Some("roles"));
    let other = format!("{again}&columns=Rolle%3Dcustom__role&null_words=-");
    assert_eq!(accepted(server.upload(&other, file)).await["mends"], *first);
    assert_eq!(read().await, (Some("metadata".to_owned()), json!(["-"])));
    // A file that says nothing of where it comes from is read as it is asked.
    accepted(server.upload(again, "email,Rolle\na@example.com,chief\n")).await;
    assert_eq!(read().await.0, None);
}

#[tokio::test]
async fn requests_about_a_user_are_in_its_history_until_it_is_erased() {
    let server = Server::start().await;
    let catalog = json!({"organizations": [{"slug": "acme", "name": "Acme"}]});
    assert!(
        server.request(Method::PUT, "/v1/catalog").json(&catalog).send().await.unwrap().status().is_success()
    );
    let made = server.post("/api/o/acme/u/").json(&json!({"email": "ann@example.com", "first_name": "Ann"}));
    assert_eq!(made.send().await.unwrap().status(), 201);
    let change = json!({"last_name": "Lee", "custom_fields": {"office": "Rome"}, "_mode": "merge"});
    for _ in 0..2 {
        let put = server.request(Method::PUT, "/api/o/acme/u/ann@example.com/").json(&change);
        assert_eq!(put.send().await.unwrap().status(), 200);
    }
    let found = server.json("/v1/users?email=ann@example.com").await;
    let id = found["users"][0]["id"].as_str().unwrap();
    let path = format!("/v1/users/{id}/history");
    let history = server.json(&path).await;
    let entries = history["entries"].as_array().unwrap();
    let kinds: Vec<_> =
        entries.iter().map(|entry| (&entry["kind"], &entry["by"], &entry["actor"]["name"])).collect();
    let (request, all) = (json!("request"), json!("all"));
    assert_eq!(
        kinds,
        [(&json!("updated"), &request, &all), (&json!("inserted"), &request, &all)],
        "{history}"
    );
    let fields = entries[0]["fields"].as_array().unwrap();
    assert!(fields.contains(&json!({"field": "family_name", "before": null, "after": "Lee"})), "{history}");
    assert!(
        fields.contains(&json!({"field": "metadata.office", "before": null, "after": "Rome"})),
        "{history}"
    );
    let fields = entries[1]["fields"].as_array().unwrap();
    assert!(
        fields.contains(&json!({"field": "email", "before": null, "after": "ann@example.com"})),
        "{history}"
    );
    assert!(
        fields.iter().any(|field| field["field"].as_str().unwrap().starts_with("memberships.acme")),
        "{history}"
    );
    assert_eq!((&history["next"], &history["older_gone"]), (&Value::Null, &json!(false)));

    // Page by page the same.
    let first = server.json(&format!("{path}?limit=1")).await;
    assert_eq!(first["entries"], json!([entries[0]]));
    let link = first["next_link"].as_str().unwrap();
    assert!(link.ends_with(&format!("{path}?after={}&limit=1", first["next"].as_str().unwrap())), "{link}");
    let second = server.json(&format!("{path}?limit=1&after={}", first["next"].as_str().unwrap())).await;
    assert_eq!(second["entries"], json!([entries[1]]));
    assert_eq!(second["next"], Value::Null);
    assert_refused(server.get(&format!("{path}?after=x")), 400, "invalid_request").await;

    let erased = server.request(Method::DELETE, &format!("/v1/users/{id}")).send().await.unwrap();
    assert_eq!(erased.status(), 200);
    assert_refused(server.get(&path), 404, "not_found").await;
    let left: i64 =
        sqlx::query_scalar("select count(*) from user_changes").fetch_one(server.store.pool()).await.unwrap();
    assert_eq!(left, 0, "nothing is left of it");
}

#[tokio::test]
async fn a_family_is_summed_up_where_it_is_asked_for_or_nothing_goes_on() {
    let server = Server::start().await;
    let first = ended(&server, "", "email\nbad\nworse\n").await;
    let file = text(&server, &format!("/v1/imports/{first}/failed.csv")).await;
    let waits = accepted(server.upload("start=manual&brake=0", file)).await;
    assert_eq!(waits["mends"], *first);
    let waits = waits["id"].as_str().unwrap();
    assert_eq!(server.json(&format!("/v1/imports/{waits}")).await["family"], Value::Null);
    let asked = server.json(&format!("/v1/imports/{waits}?details=true")).await;
    assert_eq!(asked["family"]["summary"], "2 records: 0 applied over 2 imports, 2 open");
    let first = server.json(&format!("/v1/imports/{first}")).await;
    assert_eq!(first["family"]["root"], first["id"]);
}

#[tokio::test]
async fn a_page_of_a_history_looks_at_so_many_chunks_and_says_where_it_stopped() {
    let server = Server::start().await;
    let import = accepted(server.upload("start=manual", "email\na@example.com\n")).await;
    let import = import["id"].as_str().unwrap();
    let inserted = |user| {
        let mut sheet = OutcomeSheet::pending(1);
        sheet.set(0, Verdict::INSERTED, Some(user));
        sheet.encode()
    };
    // As if the import had inserted the user first and then many others, without before-images.
    let user = clock::new_id();
    let applied =
        "update chunks set state = 'applied', pending = 0, inserted = 1, outcomes = $2, applied_at = now()
                    where import_id = $1::uuid";
    let others = "insert into chunks (import_id, tenant_id, lane, seq, state, first_record, last_record, records, pending, inserted,
                                      body_hash, body, outcomes, applied_at)
                  select import_id, tenant_id, lane, seq + n, state, first_record, last_record, records, pending, inserted,
                         body_hash, body, $2, applied_at
                    from chunks, generate_series(1, 6000) as n
                   where import_id = $1::uuid";
    for (sql, user) in [(applied, user), (others, clock::new_id())] {
        sqlx::query(sql).bind(import).bind(inserted(user)).execute(server.store.pool()).await.unwrap();
    }
    let path = format!("/v1/users/{user}/history");
    let first = server.json(&path).await;
    assert_eq!((&first["entries"], &first["older_gone"]), (&json!([]), &json!(false)), "{first}");
    let second = server.json(&format!("{path}?after={}", first["next"].as_str().unwrap())).await;
    assert_eq!(
        (&second["entries"][0]["kind"], &second["next"]),
        (&json!("inserted"), &Value::Null),
        "{second}"
    );
    assert_eq!(second["entries"].as_array().unwrap().len(), 1);
}
