//! Which webhooks are claimed, and how many.

use std::time::Duration;

use muster_domain::id::TenantId;
use muster_runtime::clock;
use muster_store::deliveries::{self, Next, Try};
use muster_store::webhooks::{self, Created, NewWebhook};
use muster_store::{Store, tenants};
use muster_testkit::TestDatabase;

/// What a claim is good for, in seconds: longer than the test takes.
const CLAIM: f64 = 600.0;

async fn tenant(store: &Store, slug: &str) -> TenantId {
    tenants::create(store, &slug.parse().unwrap(), slug).await.unwrap().into_inner().id
}

/// A webhook with one delivery that is due and was tried so often.
async fn webhook(store: &Store, tenant: TenantId, attempts: i32) {
    let new = NewWebhook {
        url: "https://hooks.example.com/".into(),
        description: String::new(),
        events: Vec::new(),
        failed_above: None,
        enabled: true,
    };
    let Created::New(info, _) = webhooks::create(store, tenant, &new, 100).await.unwrap() else {
        panic!("there is room for it");
    };
    sqlx::query(
        "insert into webhook_deliveries (id, webhook_id, tenant_id, type, payload, attempts)
         values (gen_random_uuid(), $1, $2, 'import.running', '{}', $3)",
    )
    .bind(info.id.get())
    .bind(tenant.get())
    .bind(attempts)
    .execute(store.pool())
    .await
    .unwrap();
}

#[tokio::test]
async fn webhooks_that_fail_come_last_and_leave_places_free() {
    let store = TestDatabase::create().await.store().await;
    let (many, one) = (tenant(&store, "many").await, tenant(&store, "one").await);
    for _ in 0..20 {
        webhook(&store, many, 1).await;
    }
    webhook(&store, one, 0).await;
    // The others have waited longer.
    sqlx::query("update webhooks set tried_at = now() where tenant_id = $1")
        .bind(one.get())
        .execute(store.pool())
        .await
        .unwrap();
    let first = deliveries::claim(&store, 1, 4, CLAIM).await.unwrap();
    assert_eq!(first.iter().map(|claim| claim.tenant).collect::<Vec<_>>(), [one]);
    // Those that fail have four places and no more, until one is free again.
    let failing = deliveries::claim(&store, 7, 4, CLAIM).await.unwrap();
    assert_eq!(failing.iter().map(|claim| claim.tenant).collect::<Vec<_>>(), [many; 4]);
    assert!(deliveries::claim(&store, 3, 4, CLAIM).await.unwrap().is_empty());
    let tried = Try { at: clock::now(), status: None, problem: None, took: Duration::from_secs(15) };
    let hour = Duration::from_secs(3600);
    let again = Next::Again { pause: hour, give_up_after: 24 * hour };
    deliveries::finish(&store, &failing[0], &tried, again).await.unwrap();
    let next = deliveries::claim(&store, 4, 4, CLAIM).await.unwrap();
    assert_eq!(next.iter().map(|claim| claim.tenant).collect::<Vec<_>>(), [many]);
    // Who does not fail has as many as are free.
    for _ in 0..6 {
        webhook(&store, many, 0).await;
    }
    assert_eq!(deliveries::claim(&store, 8, 4, CLAIM).await.unwrap().len(), 6);
}
