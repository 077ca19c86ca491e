use muster_testkit::TestDatabase;
use sqlx::AssertSqlSafe;

use super::LATER_CHUNKS;
use super::found::FOUND;
use super::untouched::DELETED;

/// Of the tables, only `undo_steps` grows while an undo goes on.
#[tokio::test]
async fn the_steps_of_a_user_are_found_by_undo_and_user() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let mut connection = store.dedicated_connection().await.unwrap();
    let prepare = format!(
        "set plan_cache_mode = force_generic_plan;
         prepare found (int, uuid[], text[], text[], text[], boolean, uuid, uuid) as {FOUND}"
    );
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await.unwrap();
    let explain =
        "explain execute found (1, '{}', '{}', '{}', '{}', true, '0190a5f0-7b7c-7000-8000-000000000001',
                                          '0190a5f0-7b7c-7000-8000-000000000002')";
    let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut connection).await.unwrap();
    // Each look at the steps of a user, and the line below it.
    let looks = plan.iter().zip(plan.iter().skip(1)).filter(|(line, _)| line.contains(" on undo_steps s"));
    let conditions: Vec<&String> = looks.map(|(_, condition)| condition).collect();
    assert_eq!(conditions.len(), 3, "{plan:#?}");
    let by_both =
        |condition: &String| condition.contains("(import_id = ") && condition.contains("(user_id = ");
    assert!(conditions.into_iter().all(by_both), "{plan:#?}");
    // Whether there are any at all: the first of each undo, whatever the statistics say of other undos.
    let first = plan.iter().zip(plan.iter().skip(1)).find(|(line, _)| line.contains(" on undo_steps noted"));
    let (look, condition) = first.expect("the steps are looked for");
    assert!(look.contains("Index") && condition.contains("Index Cond: (import_id = "), "{plan:#?}");
}

/// However large the tables are: users are found by their id, and memberships by their user.
#[tokio::test]
async fn users_that_are_deleted_unread_are_found_by_their_ids() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let mut connection = store.dedicated_connection().await.unwrap();
    // The tables are empty: only what an index allows is to be seen.
    let prepare = format!(
        "set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_bitmapscan = off;
         set enable_hashjoin = off; set enable_mergejoin = off;
         prepare deleted (int, uuid[], int[], uuid, boolean) as {DELETED}"
    );
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await.unwrap();
    let explain = "explain execute deleted (1, '{}', '{}', '0190a5f0-7b7c-7000-8000-000000000001', false)";
    let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut connection).await.unwrap();
    let below = |what: &str| {
        let look = plan.iter().zip(plan.iter().skip(1)).find(|(line, _)| line.contains(what));
        let (look, condition) = look.unwrap_or_else(|| panic!("{what} is looked at: {plan:#?}"));
        assert!(look.contains("Index"), "{plan:#?}");
        condition.trim().to_owned()
    };
    assert!(below(" using users_pkey on users u").contains("id = n.id"), "{plan:#?}");
    assert!(below(" on memberships m").contains("Index Cond: (user_id = u.id)"), "{plan:#?}");
    assert!(below(" on undo_steps noted").contains("Index Cond: (import_id = "), "{plan:#?}");
}

#[tokio::test]
async fn later_imports_are_looked_up_from_the_last_one_backwards() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let mut connection = store.dedicated_connection().await.unwrap();
    // The tables are empty: only what an index allows is to be seen.
    let prepare = format!(
        "set enable_seqscan = off; set enable_bitmapscan = off; set enable_sort = off;
         prepare later (int, uuid, uuid) as {LATER_CHUNKS}"
    );
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await.unwrap();
    let explain = "explain execute later (1, '0190a5f0-7b7c-7000-8000-000000000001', '0190a5f0-7b7c-7000-8000-000000000002')";
    let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut connection).await.unwrap();
    let plan = plan.join("\n");
    assert!(
        plan.contains("Index Scan Backward using before_images_tenant on before_images newest"),
        "{plan}"
    );
    assert!(plan.contains("Index Cond: ((tenant_id = $1) AND (id < "), "{plan}");
}
