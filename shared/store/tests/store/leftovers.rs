//! Uploads that came to nothing: their imports end at once, and what was staged of them is deleted page by page.

use muster_domain::id::{ImportId, TenantId};
use muster_domain::options::ImportOptions;
use muster_store::{Store, receiving, reports, tenants};
use muster_testkit::TestDatabase;
use uuid::Uuid;

/// An import whose receiver is gone, with so many chunks of one record and keys.
async fn abandoned(store: &Store, tenant: TenantId, chunks: i32, keys: i32) -> ImportId {
    let id: Uuid = sqlx::query_scalar(
        "insert into imports (id, tenant_id, state, options, alive_until)
         values (gen_random_uuid(), $1, 'receiving', $2::text::jsonb, now() - interval '1 minute') returning id",
    )
    .bind(tenant.get())
    .bind(serde_json::to_string(&ImportOptions::default()).unwrap())
    .fetch_one(store.pool())
    .await
    .unwrap();
    sqlx::query(
        "insert into chunks (import_id, tenant_id, lane, seq, first_record, last_record, records, pending, body_hash, body)
         select $1, $2, 0, seq, seq + 1, seq + 1, 1, 1, 0, '' from generate_series(0, $3 - 1) as seq",
    )
    .bind(id)
    .bind(tenant.get())
    .bind(chunks)
    .execute(store.pool())
    .await
    .unwrap();
    sqlx::query(
        "insert into import_keys (import_id, list, key, record)
         select $1, 0, gen_random_uuid(), record from generate_series(1, $2) as record",
    )
    .bind(id)
    .bind(keys)
    .execute(store.pool())
    .await
    .unwrap();
    ImportId::new(id)
}

async fn number(store: &Store, question: &'static str) -> i64 {
    sqlx::query_scalar(question).fetch_one(store.pool()).await.unwrap()
}

const STAGED: &str = "select (select count(*) from chunks) + (select count(*) from import_keys)";

#[tokio::test]
async fn a_large_upload_that_came_to_nothing_ends_at_once_and_is_deleted_in_pages() {
    let store = TestDatabase::create().await.store().await;
    let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
    let large = abandoned(&store, tenant, 1_200, 60_000).await;
    let small = abandoned(&store, tenant, 3, 3).await;
    assert_eq!(receiving::abort_abandoned(&store, false).await.unwrap(), 2);
    assert_eq!(receiving::abort_abandoned(&store, false).await.unwrap(), 0);
    // What is left is no part of it.
    for import in [large, small] {
        let report = reports::import(&store, tenant, import).await.unwrap().unwrap();
        assert_eq!(
            (report.counts.total, report.counts.pending, report.chunks.staged),
            (0, 0, 0),
            "{report:?}"
        );
    }
    assert_eq!(receiving::left_over(&store).await.unwrap(), [large]);
    let mut left = number(&store, STAGED).await;
    assert!(left > 0, "one page does not have everything");
    // Each page stays deleted, whatever becomes of the next one.
    while receiving::delete_leftovers(&store, large).await.unwrap() {
        let now = number(&store, STAGED).await;
        assert!(now < left, "{now} of {left}");
        left = now;
    }
    assert_eq!(number(&store, STAGED).await, 0);
    assert_eq!(receiving::left_over(&store).await.unwrap(), []);
    assert!(!receiving::delete_leftovers(&store, large).await.unwrap(), "there is nothing more to do");
}

#[tokio::test]
async fn an_upload_that_cannot_be_aborted_stops_no_other() {
    let store = TestDatabase::create().await.store().await;
    let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
    let (before, stuck) = (abandoned(&store, tenant, 1, 1).await, abandoned(&store, tenant, 1, 1).await);
    let after = abandoned(&store, tenant, 1, 1).await;
    let refuse = format!(
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
         create trigger refuse before delete on chunks for each row when (old.import_id = '{stuck}') execute function refuse()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(refuse)).execute(store.pool()).await.unwrap();
    receiving::abort_abandoned(&store, false).await.unwrap_err();
    for (import, state) in [(before, "aborted"), (stuck, "receiving"), (after, "aborted")] {
        let report = reports::import(&store, tenant, import).await.unwrap().unwrap();
        assert_eq!(report.state.as_str(), state);
    }
}
