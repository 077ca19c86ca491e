//! Every bad input of the table (docs/input.md) through the command line, with everything applied: exit code, code, counts and
//! users. The server's half is in producer/tests/api/input.rs.

use muster_store::tenants;
use muster_testkit::TestDatabase;
use muster_testkit::input::{Case, rows};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::harness::Desk;

/// One command a case, so each of these takes a part of the table.
const PARTS: usize = 3;

async fn empty(database: &TestDatabase) {
    let store = database.store().await;
    sqlx::raw_sql("truncate users, user_credentials, memberships, imports, chunks, record_issues cascade")
        .execute(store.pool())
        .await
        .unwrap();
    store.close().await;
}

async fn users(database: &TestDatabase) -> Vec<Value> {
    let store = database.store().await;
    let users = sqlx::query_scalar(
        "select jsonb_build_object('email', email, 'phone_number', phone_number, 'preferred_username', preferred_username,
                                   'given_name', given_name, 'family_name', family_name, 'metadata', metadata)
           from users order by email",
    )
    .fetch_all(store.pool())
    .await
    .unwrap();
    store.close().await;
    users
}

fn has(user: &Value, part: &Value) -> bool {
    part.as_object().unwrap().iter().all(|(name, value)| match (&user[name], value) {
        (Value::Object(_), Value::Object(_)) => has(&user[name], value),
        (found, wanted) => found == wanted,
    })
}

fn run(desk: &Desk, runtime: &Runtime, database: &TestDatabase, name: &str, case: &Case) {
    let file = format!("input.{}{}", case.format, if case.is_gzip() { ".gz" } else { "" });
    desk.write(&file, case.bytes());
    let mut args = vec!["import", "users", &file, "--format", &case.format, "--json", "--log", "off"];
    let options: Vec<String> = case
        .options
        .iter()
        .flat_map(|(name, value)| [format!("--{}", name.replace('_', "-")), value.clone()])
        .collect();
    args.extend(options.iter().map(String::as_str));
    let run = desk.run(&args);
    let there = runtime.block_on(users(database));
    if case.comes["status"] != 202 {
        let code = case.comes["code"].as_str().unwrap();
        assert_eq!(run.code, Some(1), "{name}: {run:?}");
        assert!(run.stderr.contains(&format!("[{code}]")), "{name}: {run:?}");
        assert_eq!(there, Vec::<Value>::new(), "{name}: nothing is applied");
        return;
    }
    let failed = case.comes["failed"].as_array().unwrap().len();
    let told = run.json();
    assert_eq!(
        run.code,
        Some(if failed == 0 && told["counts"]["failed"] == 0 { 0 } else { 3 }),
        "{name}: {run:?}"
    );
    assert_eq!(told["counts"]["total"], case.comes["total"], "{name}: {told}");
    assert!(told["counts"]["failed"].as_u64().unwrap() >= failed as u64, "{name}: {told}");
    for part in &case.users {
        assert!(there.iter().any(|user| has(user, part)), "{name}: {part} is not among {there:?}");
    }
    if !case.users.is_empty() {
        assert_eq!(there.len(), case.users.len(), "{name}: {there:?}");
    }
    runtime.block_on(empty(database));
}

fn part(part: usize) {
    let runtime = Runtime::new().unwrap();
    let database = runtime.block_on(TestDatabase::create());
    runtime.block_on(async {
        let store = database.store().await;
        tenants::ensure_default(&store).await.unwrap();
        store.close().await;
    });
    let desk = Desk::new().set("DATABASE_URL", &database.url());
    for row in rows().iter().skip(part).step_by(PARTS) {
        for (at, case) in row.cases.iter().filter(|case| case.is_plain()).enumerate() {
            // All that say what users there are, and of the others the first: the parser's half is the same through every door.
            if at == 0 || !case.users.is_empty() {
                run(&desk, &runtime, &database, &row.row, case);
            }
        }
    }
}

#[test]
fn a_first_third_of_the_bad_inputs_comes_to_what_the_table_says() {
    part(0);
}

#[test]
fn a_second_third_of_the_bad_inputs_comes_to_what_the_table_says() {
    part(1);
}

#[test]
fn a_last_third_of_the_bad_inputs_comes_to_what_the_table_says() {
    part(2);
}
