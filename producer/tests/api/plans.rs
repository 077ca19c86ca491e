//! Plans over HTTP: what is told, to whom, and what is refused with which code.

use muster_domain::catalog::Catalog;
use muster_domain::outcome::Outcome;
use muster_domain::planned::{PlannedChunk, PlannedRecord, Sums};
use muster_domain::token::Scope;
use muster_store::{catalog, tenants};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Server, accepted, assert_refused, token};

pub(crate) fn planned(index: usize, outcome: Outcome, before: &Value, after: &Value) -> PlannedRecord {
    PlannedRecord {
        index,
        record: index as u64 + 1,
        line: index as u64 + 2,
        outcome,
        reason: None,
        user: (outcome == Outcome::Updated).then(|| Uuid::from_u128(7)),
        errors: Vec::new(),
        warnings: Vec::new(),
        before: before.as_object().cloned().unwrap_or_default(),
        after: after.as_object().cloned().unwrap_or_default(),
        inserts: None,
        maker: None,
        exceptions: None,
    }
}

/// An import as if workers had planned it: one user would be inserted, two changed.
pub(crate) async fn made(server: &Server) -> String {
    let csv = "email,given_name\nnew@example.com,New\na@example.com,=Ann\nb@example.com,Bob\n";
    let import = accepted(server.upload("start=manual", csv)).await["id"].as_str().unwrap().to_owned();
    let records = vec![
        planned(0, Outcome::Inserted, &json!({}), &json!({})),
        planned(1, Outcome::Updated, &json!({"given_name": "Marker-Zoe"}), &json!({"given_name": "=Ann"})),
        planned(2, Outcome::Updated, &json!({"phone_number": "+3212345678"}), &json!({})),
    ];
    let sums = serde_json::to_value(Sums::of(&records)).unwrap();
    let records = PlannedChunk { records, ..PlannedChunk::default() }.encode().unwrap();
    sqlx::query(
        "insert into plans (tenant_id, import_id, chunk_id, inserted, updated, skipped, failed, sums, follows, users, versions, keys,
                            records)
         select tenant_id, import_id, id, 1, 2, 0, 0, $2, '{}', '{}', '{}', '', $3
           from chunks where import_id = $1::uuid order by id limit 1",
    )
    .bind(&import)
    .bind(sums)
    .bind(records)
    .execute(server.store.pool())
    .await
    .unwrap();
    plan_is_whole(server, &import).await;
    import
}

/// As if the plan of an import were whole.
async fn plan_is_whole(server: &Server, import: &str) {
    for moved in [
        "update chunks set state = 'planned' where import_id = $1::uuid",
        "update imports set state = 'planned', plan = 'make', planned_at = now() where id = $1::uuid",
    ] {
        sqlx::query(moved).bind(import).execute(server.store.pool()).await.unwrap();
    }
}

/// An import as if workers had planned it, with these chunks of users that would be changed.
pub(crate) async fn made_of(server: &Server, chunks: Vec<Vec<PlannedRecord>>) -> String {
    let import = accepted(server.upload("start=manual", "email\na@example.com\n")).await;
    let import = import["id"].as_str().unwrap().to_owned();
    for (chunk, records) in (1_i64..).zip(chunks) {
        let updated = i32::try_from(records.len()).unwrap();
        let sums = serde_json::to_value(Sums::of(&records)).unwrap();
        sqlx::query(
            "insert into plans (tenant_id, import_id, chunk_id, inserted, updated, skipped, failed, sums, follows, users, versions,
                                keys, records)
             select tenant_id, id, $2, 0, $3, 0, 0, $4, '{}', '{}', '{}', '', $5 from imports where id = $1::uuid",
        )
        .bind(&import)
        .bind(chunk)
        .bind(updated)
        .bind(sums)
        .bind(PlannedChunk { records, ..PlannedChunk::default() }.encode().unwrap())
        .execute(server.store.pool())
        .await
        .unwrap();
    }
    plan_is_whole(server, &import).await;
    import
}

#[tokio::test]
async fn planned_changes_are_found_by_a_part_of_a_field_and_by_the_whole() {
    let server = Server::start().await;
    let records = vec![
        planned(
            0,
            Outcome::Updated,
            &json!({"metadata.office": "Rome"}),
            &json!({"metadata.office": "Oslo"}),
        ),
        planned(1, Outcome::Updated, &json!({}), &json!({"roles.3": true})),
        planned(2, Outcome::Updated, &json!({"given_name": "Ann"}), &json!({"given_name": "Anna"})),
    ];
    let import = made_of(&server, vec![records]).await;
    for (field, found) in [
        ("metadata", vec![1]),
        ("metadata.office", vec![1]),
        ("metadata.off", vec![]),
        ("roles", vec![2]),
        ("roles.3", vec![2]),
        ("roles.4", vec![]),
        ("given_name", vec![3]),
        ("given", vec![]),
    ] {
        let page = server.json(&format!("/v1/imports/{import}/plan/changes?field={field}")).await;
        let records = page["records"].as_array().unwrap().iter();
        let numbers: Vec<u64> = records.map(|record| record["record"].as_u64().unwrap()).collect();
        assert_eq!((numbers, &page["next"]), (found, &Value::Null), "{field}");
    }
}

#[tokio::test]
async fn a_page_of_large_planned_records_ends_sooner() {
    let server = Server::start().await;
    let note = json!({"metadata.note": "x".repeat(300 * 1024)});
    let large = |numbers: std::ops::Range<usize>| -> Vec<PlannedRecord> {
        numbers.map(|at| planned(at, Outcome::Updated, &json!({}), &note)).collect()
    };
    let import = made_of(&server, vec![large(0..5), large(5..6)]).await;
    let address = format!("/v1/imports/{import}/plan/changes?limit=1000");
    let first = server.json(&address).await;
    assert_eq!(
        first["records"].as_array().unwrap().len(),
        5,
        "the chunk with which it is enough is told whole"
    );
    let next = first["next"].as_str().unwrap();
    let second = server.json(&format!("{address}&after={next}")).await;
    assert_eq!((&second["records"][0]["record"], &second["next"]), (&json!(6), &Value::Null));
    // As many as are wanted, at the most.
    let one = server.json(&format!("/v1/imports/{import}/plan/changes?limit=1")).await;
    assert_eq!((one["records"].as_array().unwrap().len(), one["next"].is_string()), (1, true));
}

#[tokio::test]
async fn an_import_that_is_planned_waits_for_its_plan() {
    let server = Server::start().await;
    let import = accepted(server.upload("start=plan", "email\na@example.com\n")).await;
    assert_eq!(import["state"], "planning");
    let plan = import["links"]["plan"].as_str().unwrap();
    let id = import["id"].as_str().unwrap();
    assert!(plan.ends_with(&format!("/v1/imports/{id}/plan")), "{plan}");
    let view = server.json(&format!("/v1/imports/{id}/plan")).await;
    assert_eq!((&view["state"], &view["planned_at"]), (&json!("planning"), &Value::Null));
    assert_eq!((&view["counts"]["pending"], &view["counts"]["failed"]), (&json!(1), &json!(0)));
    for verb in ["proceed", "pause", "retry"] {
        let refused =
            assert_refused(server.post(&format!("/v1/imports/{id}/{verb}")), 409, "state_conflict").await;
        assert_eq!(refused["state"], "planning");
    }
    let cancelled: Value =
        server.post(&format!("/v1/imports/{id}/cancel")).send().await.unwrap().json().await.unwrap();
    assert_eq!(cancelled["state"], "cancelled");
    assert_refused(server.get(&format!("/v1/imports/{id}/plan")), 409, "no_plan").await;
}

/// The groups of the catalog.
async fn groups(server: &Server) -> Vec<String> {
    catalog::get(&server.store, server.tenant.id).await.unwrap().groups
}

/// Every row that a plan may not write.
async fn untouchable(server: &Server) -> Vec<String> {
    let mut all = Vec::new();
    for table in [
        "users",
        "memberships",
        "user_credentials",
        "organizations",
        "catalog_names",
        "attribute_definitions",
    ] {
        let sql = format!("select '{table} ' || row_to_json(t)::text from {table} as t order by 1");
        let rows: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(server.store.pool()).await.unwrap();
        all.extend(rows);
    }
    all
}

#[tokio::test]
async fn a_plan_makes_no_group_before_it_is_applied() {
    let server = Server::start().await;
    let organizations: Catalog =
        serde_json::from_value(json!({"organizations": [{"slug": "org", "name": "Org"}]})).unwrap();
    catalog::apply(&server.store, server.tenant.id, &organizations).await.unwrap();
    let before = untouchable(&server).await;
    let planned = async || {
        let import = accepted(server.upload("start=plan&group=Readers", "email\na@example.com\n")).await;
        let import = import["id"].as_str().unwrap().to_owned();
        plan_is_whole(&server, &import).await;
        import
    };
    let dropped = planned().await;
    let (first, second) = (planned().await, planned().await);
    assert_eq!(untouchable(&server).await, before, "a plan writes nothing, not even a group");
    assert_eq!(server.post(&format!("/v1/imports/{dropped}/cancel")).send().await.unwrap().status(), 200);
    assert_eq!(untouchable(&server).await, before);
    // Applied, it makes the group; another plan with the same one finds it.
    for import in [&first, &second] {
        assert_eq!(server.post(&format!("/v1/imports/{import}/proceed")).send().await.unwrap().status(), 200);
        assert_eq!(groups(&server).await, ["Readers"]);
    }
    let so: Vec<bool> = sqlx::query_scalar(
        "select (options #>> '{enrolment,group_id}')::int = (select id from catalog_names where kind = 'group')
           from imports where state = 'running'",
    )
    .fetch_all(server.store.pool())
    .await
    .unwrap();
    assert_eq!(so, [true, true]);
    // A file that is refused makes none either.
    let refused = "start=plan&group=Writers&on_invalid=refuse";
    assert_refused(server.upload(refused, "email\nnobody\n"), 422, "invalid_records").await;
    assert_eq!(groups(&server).await, ["Readers"]);
}

#[tokio::test]
async fn a_plan_tells_sums_changes_and_a_table() {
    let server = Server::start().await;
    let import = made(&server).await;
    let address = format!("/v1/imports/{import}/plan");
    let plan = server.json(&address).await;
    assert_eq!(
        plan["counts"],
        json!({"total": 3, "pending": 0, "inserted": 1, "updated": 2, "skipped": 0, "failed": 0})
    );
    assert_eq!(plan["fields"][0], json!({"field": "given_name", "set": 0, "changed": 1, "removed": 0}));
    assert_eq!(plan["kinds"][0]["count"], 1);
    assert_eq!(plan["warnings"][0]["code"], "many_users");
    let first = server.json(&format!("{address}/changes?limit=2")).await;
    assert_eq!((&first["masked"], &first["records"].as_array().unwrap().len()), (&json!(false), &2));
    assert_eq!(
        first["records"][1]["changes"][0],
        json!({"field": "given_name", "before": "Marker-Zoe", "after": "=Ann"})
    );
    let next = first["next"].as_str().unwrap();
    assert!(first["next_link"].as_str().unwrap().contains(&format!("after={next}")));
    let second = server.json(&format!("{address}/changes?limit=2&after={next}")).await;
    assert_eq!((&second["records"][0]["record"], &second["next"]), (&json!(3), &Value::Null));
    let phones = server.json(&format!("{address}/changes?field=phone_number&outcome=updated")).await;
    assert_eq!(
        (phones["records"].as_array().unwrap().len(), &phones["records"][0]["record"]),
        (1, &json!(3))
    );
    let none = server.json(&format!("{address}/changes?field=phone")).await;
    assert_eq!(none["records"], json!([]));
    let table = server.get(&format!("{address}.csv")).send().await.unwrap();
    assert!(table.headers()["content-disposition"].to_str().unwrap().contains("plan-"));
    let table = table.text().await.unwrap();
    let lines: Vec<&str> = table.trim_start_matches('\u{feff}').lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[1].starts_with("\"1\",\"2\",\"inserted\""), "{table}");
    // No cell runs in a spreadsheet.
    assert!(lines[2].contains("\"given_name\",\"Marker-Zoe\",\"'=Ann\""), "{table}");
    assert!(lines[3].contains("\"phone_number\",\"'+3212345678\",\"\""), "{table}");
}

/// A plan of ten million records is summed up and paged as one of three: nobody reads its records to add them up, and a page ends when it is
/// full.
#[tokio::test]
async fn a_plan_of_ten_million_records_is_summed_up_and_paged() {
    let server = Server::start().await;
    let import = accepted(server.upload("start=manual", "email\na@example.com\n")).await;
    let import = import["id"].as_str().unwrap().to_owned();
    // The sums of a thousand records a chunk; the first of them are enough to be shown.
    let before = json!({"metadata.office": "Rome"});
    let mut records: Vec<PlannedRecord> = (0..1_000)
        .map(|at| planned(at, Outcome::Updated, &before, &json!({"metadata.office": "Oslo"})))
        .collect();
    let sums = serde_json::to_value(Sums::of(&records)).unwrap();
    records.truncate(5);
    let records = PlannedChunk { records, ..PlannedChunk::default() }.encode().unwrap();
    sqlx::query(
        "insert into plans (tenant_id, import_id, chunk_id, inserted, updated, skipped, failed, sums, follows, users, versions, keys,
                            records)
         select tenant_id, id, n, 0, 1000, 0, 0, $2, '{}', '{}', '{}', '', $3
           from imports, generate_series(1, 10000) as n where id = $1::uuid",
    )
    .bind(&import)
    .bind(sums)
    .bind(records)
    .execute(server.store.pool())
    .await
    .unwrap();
    sqlx::query("update imports set total = 10000000 where id = $1::uuid")
        .bind(&import)
        .execute(server.store.pool())
        .await
        .unwrap();
    plan_is_whole(&server, &import).await;
    let plan = server.json(&format!("/v1/imports/{import}/plan")).await;
    assert_eq!(
        (&plan["counts"]["total"], &plan["counts"]["updated"]),
        (&json!(10_000_000), &json!(10_000_000))
    );
    assert_eq!(plan["fields"][0]["changed"], 10_000_000);
    assert_eq!(plan["warnings"][0]["code"], "many_users");
    let first = server.json(&format!("/v1/imports/{import}/plan/changes?limit=3")).await;
    assert_eq!(first["records"].as_array().unwrap().len(), 3);
    assert!(first["next"].is_string());
    let none = server.json(&format!("/v1/imports/{import}/plan/changes?field=phone_number")).await;
    assert_eq!((&none["records"], &none["next"]), (&json!([]), &Value::Null));
}

#[tokio::test]
async fn a_plan_masks_values_for_who_may_not_read_users() {
    let server = Server::start().await;
    let import = made(&server).await;
    let reader = token(&server.store, &server.tenant, "reader", &[Scope::ImportRead]).await;
    let ask = async |path: &str| {
        let url = format!("{}/v1/imports/{import}/{path}", server.url);
        server.client.get(url).bearer_auth(&reader).send().await.unwrap().text().await.unwrap()
    };
    for path in ["plan", "plan/changes", "plan.csv"] {
        let told = ask(path).await;
        assert!(!told.contains("Marker-Zoe") && !told.contains("3212345678"), "{told}");
    }
    let changes: Value = serde_json::from_str(&ask("plan/changes").await).unwrap();
    assert_eq!(
        (&changes["masked"], &changes["records"][1]["changes"][0]["before"]),
        (&json!(true), &json!("M•••"))
    );
}

#[tokio::test]
async fn what_cannot_be_asked_of_a_plan_is_refused() {
    let server = Server::start().await;
    let import = made(&server).await;
    let other =
        tenants::create(&server.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner();
    let other = token(&server.store, &other, "other", &[Scope::Ops]).await;
    for (method, path) in [
        (Method::GET, "plan"),
        (Method::POST, "plan"),
        (Method::GET, "plan/changes"),
        (Method::GET, "plan.csv"),
        (Method::POST, "proceed"),
    ] {
        let url = format!("{}/v1/imports/{import}/{path}", server.url);
        assert_refused(server.client.request(method, url).bearer_auth(&other), 404, "not_found").await;
    }
    let plain = accepted(server.upload("start=manual", "email\na@example.com\n")).await;
    let plain = plain["id"].as_str().unwrap();
    for path in ["plan", "plan/changes", "plan.csv"] {
        assert_refused(server.get(&format!("/v1/imports/{plain}/{path}")), 409, "no_plan").await;
    }
    assert_refused(server.post(&format!("/v1/imports/{plain}/plan")), 409, "state_conflict").await;
    let changes = format!("/v1/imports/{import}/plan/changes");
    for query in ["after=7", "after=x", "limit=0", "limit=5000", "outcome=pending", "unknown=1"] {
        assert_refused(server.get(&format!("{changes}?{query}")), 400, "invalid_request").await;
    }
    let proceed = format!("/v1/imports/{import}/proceed");
    assert_refused(server.post(&format!("{proceed}?on_drift=guess")), 400, "invalid_request").await;
    let running: Value =
        server.post(&format!("{proceed}?on_drift=apply")).send().await.unwrap().json().await.unwrap();
    assert_eq!(running["state"], "running");
    // Once more is once; in another way it cannot be.
    let again = server.post(&proceed).send().await.unwrap();
    assert_eq!(again.status(), 200);
    assert_refused(server.post(&format!("{proceed}?on_drift=refuse")), 409, "state_conflict").await;
    assert_refused(server.post(&format!("/v1/imports/{import}/plan")), 409, "state_conflict").await;
}
