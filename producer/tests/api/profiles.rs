//! Import profiles, workbooks, problems and the brake over HTTP.

use muster_domain::intake::Memory;
use muster_domain::receive::REPEATS_TOLD;
use muster_domain::token::Scope;
use muster_producer::ProducerOptions;
use muster_producer::receive::ReceiveLimits;
use muster_producer::workbook::BookLimits;
use muster_store::{import_profiles, tenants};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, accepted, assert_refused, token, until};

fn put(server: &Server, name: &str, body: &Value) -> reqwest::RequestBuilder {
    server.request(Method::PUT, &format!("/v1/profiles/{name}")).json(body)
}

#[tokio::test]
async fn a_profile_is_saved_used_and_deleted_and_is_its_tenants_alone() {
    let server = Server::start().await;
    let body = json!({"columns": "Mail-Adresse=email", "delimiter": "semicolon"});
    let saved: Value = put(&server, "HR", &body).send().await.unwrap().json().await.unwrap();
    assert_eq!((&saved["name"], &saved["options"]), (&json!("hr"), &body));
    let list = server.json("/v1/profiles").await;
    assert!(list["profiles"].as_array().unwrap().iter().any(|one| one["name"] == "hr"));
    assert!(list["profiles"].as_array().unwrap().iter().any(|one| one["built_in"].is_string()));
    let import = accepted(server.upload("profile=hr", "Mail-Adresse;first_name\na@example.com;Ada\n")).await;
    assert_eq!(import["counts"]["total"], 1);
    let looked =
        server.post("/v1/inspect?profile=hr&format=csv").body("Mail-Adresse;x\n").send().await.unwrap();
    assert_eq!(looked.json::<Value>().await.unwrap()["columns"][0]["field"], "email");
    for (name, body) in [
        ("okta", json!({})),
        ("x", json!({"dates": "soon"})),
        ("x", json!({"filename": "a"})),
        ("x", json!({"format": "csv"})),
    ] {
        assert_refused(put(&server, name, &body), 400, "invalid_request").await;
    }
    // Another tenant has no such profile.
    let other =
        tenants::create(&server.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    let theirs = token(&server.store, &other, "all", &[Scope::Ops]).await;
    let get = server.client.get(format!("{}/v1/profiles/hr", server.url)).bearer_auth(&theirs);
    assert_eq!(get.send().await.unwrap().status(), 404);
    let delete = || server.request(Method::DELETE, "/v1/profiles/hr").send();
    assert_eq!(delete().await.unwrap().status(), 204);
    assert_eq!(delete().await.unwrap().status(), 404);
    assert_refused(server.upload("profile=hr", "email\n"), 400, "invalid_request").await;
}

#[tokio::test]
async fn a_tenant_has_so_many_profiles_and_no_more() {
    let server = Server::start().await;
    let body = json!({"dates": "dmy"});
    for number in 0..import_profiles::MOST {
        let saved = put(&server, &format!("p{number}"), &body).send().await.unwrap();
        assert_eq!(saved.status(), 200, "{number}");
    }
    assert_refused(put(&server, "more", &body), 400, "invalid_request").await;
    // One that is there can be replaced, and a free place can be taken.
    assert_eq!(put(&server, "p7", &json!({"dates": "mdy"})).send().await.unwrap().status(), 200);
    let delete = server.request(Method::DELETE, "/v1/profiles/p7").send().await.unwrap();
    assert_eq!(delete.status(), 204);
    assert_eq!(put(&server, "more", &body).send().await.unwrap().status(), 200);
    let other =
        tenants::create(&server.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    let name = "theirs".parse().unwrap();
    let theirs = [("dates".to_owned(), "dmy".to_owned())];
    assert!(import_profiles::save(&server.store, other.id, &name, &theirs).await.unwrap().is_some());
}

/// As many as the pool has connections for count before one of them is written: what is written waits for them.
#[tokio::test]
async fn profiles_that_are_saved_at_once_keep_to_the_tenants_number() {
    const AT_ONCE: usize = 20;
    let server = Server::start().await;
    sqlx::query(
        "insert into import_profiles (tenant_id, name, options)
         select $1, 'p' || number, '{}' from generate_series(1, $2) as number",
    )
    .bind(server.tenant.id.get())
    .bind(import_profiles::MOST - 1)
    .execute(server.store.pool())
    .await
    .unwrap();
    let gate = tokio::sync::Mutex::new(server.store.dedicated_connection().await.unwrap());
    let closed = "create function gate() returns trigger language plpgsql as
                  $$begin perform pg_advisory_xact_lock_shared(12); return new; end$$;
                  create trigger gate before insert on import_profiles for each row execute function gate();
                  select pg_advisory_lock(12);";
    sqlx::raw_sql(closed).execute(&mut *gate.lock().await).await.unwrap();
    let sent = (0..AT_ONCE).map(|number| put(&server, &format!("more{number}"), &json!({})).send());
    let answers = tokio::spawn(futures_util::future::join_all(sent.collect::<Vec<_>>()));
    until("several of them wait", async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(&mut *gate.lock().await)
        .await
        .unwrap();
        waiting >= 3
    })
    .await;
    sqlx::raw_sql("select pg_advisory_unlock(12)").execute(&mut *gate.lock().await).await.unwrap();
    let statuses: Vec<u16> =
        answers.await.unwrap().into_iter().map(|answer| answer.unwrap().status().as_u16()).collect();
    let of = |status: u16| statuses.iter().filter(|found| **found == status).count();
    assert_eq!((of(200), of(400)), (1, AT_ONCE - 1), "{statuses:?}");
    let there: i64 = sqlx::query_scalar("select count(*) from import_profiles where tenant_id = $1")
        .bind(server.tenant.id.get())
        .fetch_one(server.store.pool())
        .await
        .unwrap();
    assert_eq!(there, import_profiles::MOST);
}

#[tokio::test]
async fn a_workbook_is_taken_by_its_media_type() {
    let server = Server::start().await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/test_data/cases/25j.xlsx");
    let bytes = std::fs::read(path).unwrap();
    let book = |query: &str, bytes: Vec<u8>| {
        let kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
        server.post(&format!("/v1/imports?{query}")).header("content-type", kind).body(bytes)
    };
    let import = accepted(book("sheet=Other", bytes.clone())).await;
    assert_eq!((&import["counts"]["total"], &import["options"]["format"]), (&json!(1), &json!("xlsx")));
    assert_refused(book("sheet=Third", bytes.clone()), 400, "sheet_unknown").await;
    assert_refused(book("", bytes[..bytes.len() / 2].to_vec()), 400, "workbook_unreadable").await;
}

#[tokio::test]
async fn problems_are_told_by_cause_and_records_filtered_by_it() {
    let server = Server::start().await;
    let file = "email,phone_number\na@example.com,nothing\nb@example.com,nothing\nbad,\nc@example.com,\n";
    let import = accepted(server.upload("", file)).await;
    let id = import["id"].as_str().unwrap();
    let path = format!("/v1/imports/{id}");
    // The good record is applied by nobody here: what failed is told before.
    until("the problems are there", async || {
        let told = server.json(&format!("{path}/problems")).await;
        told["problems"].as_array().unwrap().len() == 2
    })
    .await;
    let told = server.json(&format!("{path}/problems")).await;
    let phone = &told["problems"][0];
    assert_eq!(
        (&phone["count"], &phone["field"], &phone["example"]),
        (&json!(2), &json!("phone_number"), &json!("nothing"))
    );
    assert_eq!(phone["first"], json!([{"record": 1, "line": 2}, {"record": 2, "line": 3}]));
    assert!(phone["advice"].is_string());
    let folded =
        accepted(server.upload("", "email,first_name\na@example.com,\"Ada\nB.\"\nb@example.com,Bea\n")).await;
    let told = server.json(&format!("/v1/imports/{}/problems", folded["id"].as_str().unwrap())).await;
    let warning = json!({"message": "first_name holds a line break; it was replaced by a blank.", "count": 1,
                         "first": [{"record": 1, "line": 2}]});
    assert_eq!(told, json!({"problems": [], "more": false, "warnings": [warning], "more_warnings": false}));
    let code = phone["code"].as_str().unwrap();
    let records = server.json(&format!("{path}/records?code={code}")).await;
    assert_eq!(records["records"].as_array().unwrap().len(), 2);
    assert_eq!(records["records"][1]["line"], 3);
    let failed =
        server.get(&format!("{path}/failed.csv?field=email")).send().await.unwrap().text().await.unwrap();
    assert_eq!(failed.lines().count(), 2, "{failed}");
    assert_refused(server.get(&format!("{path}/records?code=nonsense")), 400, "invalid_request").await;
    assert_refused(server.get("/v1/imports/0190a5f0-7b7c-7000-8000-00000000000a/problems"), 404, "not_found")
        .await;
}

/// The file waits until it was looked at as a whole; its import says what was found.
#[tokio::test]
async fn the_order_of_days_is_found_out_over_http_where_the_file_proves_it() {
    let book = BookLimits { bytes: 4_000, ..BookLimits::default() };
    let receive = ReceiveLimits { book, ..ReceiveLimits::default() };
    let server = Server::start_with(ProducerOptions { receive, ..ProducerOptions::default() }).await;
    let send = |file: String| server.upload("dates=auto&start=manual", file);
    let rows = |days: &[&str]| {
        let rows = days.iter().enumerate().map(|(at, day)| format!("a{at}@example.com,{day}\n"));
        format!("email,birthdate\n{}", rows.collect::<String>())
    };
    for (days, order, failed) in [
        (&["24.12.1980", "01.02.1990", "soon"][..], "dmy", 1),
        (&["01/02/1990", "12/24/1980"][..], "mdy", 0),
        (&["1980-12-24", ""][..], "iso", 0),
    ] {
        let import = accepted(send(rows(days))).await;
        assert_eq!(import["counts"]["failed"], failed, "{order}: {import}");
        let told = server.json(&format!("/v1/imports/{}", import["id"].as_str().unwrap())).await;
        assert_eq!(told["options"]["dates"].as_str().unwrap_or("iso"), order, "{told}");
    }
    for days in [&["01.02.1990", "03.04.1990"][..], &["24/12/1980", "12/24/1980"][..]] {
        let told = assert_refused(send(rows(days)), 400, "days_unproved").await;
        assert!(told["message"].as_str().unwrap().contains("fit"), "{told}");
    }
    let two = "email,birthdate,account_valid_until\na@example.com,24/12/1980,03/04/2026\n";
    let told = assert_refused(send(two.into()), 400, "days_unproved").await;
    assert!(told["message"].as_str().unwrap().contains("in account_valid_until: "), "{told}");
    let told = assert_refused(send(rows(&["24.12.1980"; 200])), 400, "days_unproved").await;
    assert!(told["message"].as_str().unwrap().contains("larger than the 4000 bytes"), "{told}");
    // A fault of the file comes first, and what says its order needs no waiting.
    assert_refused(send("email,nothing\na@example.com,\n".into()), 400, "csv_header_unknown").await;
    accepted(server.upload("dates=dmy", rows(&["24.12.1980"; 200]))).await;
}

/// Memory for so many users of a file is a setting; what it finds is told beside the record, and as one cause.
#[tokio::test]
async fn records_of_one_user_are_told_while_a_file_is_received() {
    let receive = ReceiveLimits { repeats: Memory::of(1 << 16), ..ReceiveLimits::default() };
    let server = Server::start_with(ProducerOptions { receive, ..ProducerOptions::default() }).await;
    let file =
        "email,first_name\na@example.com,Ada\nb@example.com,Bea\nA@example.com,Ann\n b@example.com,Bob\n";
    let import = accepted(server.upload("start=manual", file)).await;
    let path = format!("/v1/imports/{}", import["id"].as_str().unwrap());
    let told = server.json(&format!("{path}/problems")).await;
    let warnings = told["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{told}");
    let message = warnings[0]["message"].as_str().unwrap();
    assert!(
        message.starts_with("Record 1, an earlier one of the file, is about the same user."),
        "{message}"
    );
    let places = json!([{"record": 3, "line": 4}, {"record": 4, "line": 5}]);
    assert_eq!((&warnings[0]["count"], &warnings[0]["first"]), (&json!(2), &places));
    let records = server.json(&format!("{path}/records")).await;
    let of = |at: usize| records["records"][at]["warnings"].clone();
    assert!(of(3)[0].as_str().unwrap().starts_with("Record 2, "), "{records}");
    assert!(of(0).as_array().is_none_or(Vec::is_empty), "{records}");
    // Where a user may stand once, the later record fails and says why.
    let once = accepted(server.upload("start=manual&duplicates=refuse", file)).await;
    let told = server.json(&format!("/v1/imports/{}/problems", once["id"].as_str().unwrap())).await;
    assert_eq!((&told["problems"][0]["count"], &told["warnings"]), (&json!(2), &json!([])), "{told}");
}

/// One record of each membership of a user: a row of the store for each would be as many as the file has.
#[tokio::test]
async fn repeats_beyond_a_number_are_told_as_one_warning_with_their_number() {
    let receive = ReceiveLimits { repeats: Memory::of(1 << 16), ..ReceiveLimits::default() };
    let server = Server::start_with(ProducerOptions { receive, ..ProducerOptions::default() }).await;
    let records = REPEATS_TOLD + 4;
    let file = format!("email\n{}", "a@example.com\n".repeat(usize::try_from(records).unwrap()));
    let import = accepted(server.upload("start=manual", file)).await;
    let path = format!("/v1/imports/{}", import["id"].as_str().unwrap());
    let told = server.json(&format!("{path}/problems")).await;
    let [each, together] = told["warnings"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!((&each["count"], &each["first"][0]["record"]), (&json!(REPEATS_TOLD), &json!(2)), "{told}");
    let first = json!([{"record": REPEATS_TOLD + 2, "line": REPEATS_TOLD + 3}]);
    assert_eq!((&together["count"], &together["first"]), (&json!(1), &first), "{told}");
    assert!(together["message"].as_str().unwrap().contains("from this record on, 3 of them"), "{told}");
}

#[tokio::test]
async fn the_brake_refuses_a_file_before_anything_is_applied() {
    let server = Server::start().await;
    let file = || format!("email\n{}", "bad\n".repeat(120));
    let error = assert_refused(server.upload("", file()), 422, "mostly_invalid").await;
    assert!(error["message"].as_str().unwrap().contains("brake=0"), "{error}");
    accepted(server.upload("brake=0", file())).await;
    assert_refused(server.upload("brake=101", file()), 400, "invalid_request").await;
}
