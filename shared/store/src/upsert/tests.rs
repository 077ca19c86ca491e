use muster_testkit::TestDatabase;
use sqlx::AssertSqlSafe;

use super::FIND_USERS;

#[tokio::test]
async fn users_are_looked_up_by_index_even_if_the_plan_was_made_on_an_empty_table() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let mut connection = store.dedicated_connection().await.unwrap();
    let prepare = format!("prepare find (int, text[], text[], text[], int, int) as {FIND_USERS}");
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await.unwrap();
    let explain = "explain execute find (1, '{a}', '{b}', '{c}', 0, 0)";
    let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut connection).await.unwrap();
    let plan = plan.join("\n");
    for key in ["email", "phone_number", "preferred_username"] {
        assert!(plan.contains(&format!("Index Cond: ((tenant_id = $1) AND ({key} = ")), "{plan}");
    }
}
