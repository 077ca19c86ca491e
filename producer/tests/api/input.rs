//! Every bad input of the table (docs/input.md) through the real server: status, code, place, and nothing done by what was
//! refused. `MUSTER_BLESS=1` writes what each comes to now: look at the difference before it is committed.

use muster_testkit::input::{Case, rows, write};
use serde_json::{Value, json};

use crate::harness::Server;

fn media_type(format: &str) -> &'static str {
    match format {
        "json" => "application/json",
        "ndjson" => "application/x-ndjson",
        _ => "text/csv",
    }
}

async fn comes_to(server: &Server, case: &Case) -> Value {
    let mut request = server.post("/v1/imports?start=manual").query(&case.options);
    let media_type = case.media_type.as_deref().unwrap_or_else(|| media_type(&case.format));
    if !media_type.is_empty() {
        request = request.header("content-type", media_type);
    }
    for (name, value) in &case.headers {
        request = request.header(name, value);
    }
    let response = request.body(case.bytes()).send().await.unwrap();
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    if status != 202 {
        let mut told = json!({ "status": status, "code": body["error"]["code"] });
        for place in ["line", "record", "column", "field"] {
            if !body["error"][place].is_null() {
                told[place] = body["error"][place].clone();
            }
        }
        return told;
    }
    let link = format!("/v1/imports/{}/records?limit=1000", body["id"].as_str().unwrap());
    let records = server.json(&link).await;
    let failed: Vec<Value> = records["records"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|record| record["outcome"] == "failed")
        .map(|record| {
            let error = &record["errors"][0];
            json!({ "record": record["record"], "code": error["code"], "field": error["field"] })
        })
        .collect();
    assert_eq!(body["counts"]["failed"], failed.len(), "{body}");
    json!({ "status": 202, "total": body["counts"]["total"], "failed": failed })
}

/// Nothing that was refused has left a chunk, and nothing at all has touched a user.
async fn assert_no_effect(server: &Server, row: &str) {
    let effects: i64 = sqlx::query_scalar(
        "select (select count(*) from users)
              + (select count(*) from chunks c join imports i on i.id = c.import_id
                  where i.state in ('refused', 'aborted', 'receiving'))",
    )
    .fetch_one(server.store.pool())
    .await
    .unwrap();
    assert_eq!(effects, 0, "{row}");
}

#[tokio::test]
async fn every_bad_input_comes_to_what_the_table_says() {
    let server = Server::start().await;
    let bless = std::env::var_os("MUSTER_BLESS").is_some();
    let (mut table, mut wrong) = (rows(), Vec::new());
    let mut cases = 0;
    for row in &mut table {
        for case in &mut row.cases {
            cases += 1;
            let comes = comes_to(&server, case).await;
            if comes["status"].as_u64().is_none_or(|status| status >= 500) || (comes != case.comes && !bless)
            {
                wrong.push(format!(
                    "{} {:?}\n  comes to {comes}\n  and not {}",
                    row.row, case.send, case.comes
                ));
            }
            case.comes = comes;
        }
        assert_no_effect(&server, &row.row).await;
    }
    if bless {
        write(&table);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases >= 150, "{cases} cases");
}
