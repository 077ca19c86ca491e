use muster_domain::tenant::Slug;
use muster_store::{catalog, tenants};
use muster_testkit::TestDatabase;

fn slug(text: &str) -> Slug {
    text.parse().unwrap()
}

#[tokio::test]
async fn creating_a_tenant_twice_finds_the_first() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let first = tenants::create(&store, &slug("acme"), "Acme").await.unwrap();
    assert!(first.is_new());
    let after_first = database.snapshot().await;

    let second = tenants::create(&store, &slug("ACME"), "Another").await.unwrap();
    assert!(!second.is_new());
    assert_eq!(second.into_inner(), first.into_inner());
    assert_eq!(database.snapshot().await, after_first);
}

#[tokio::test]
async fn tenants_are_listed_and_found_by_slug() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    for name in ["b", "a"] {
        tenants::create(&store, &slug(name), name).await.unwrap();
    }
    let listed = tenants::list(store.pool()).await.unwrap();
    assert_eq!(listed.iter().map(|tenant| tenant.slug.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(tenants::find_by_slug(store.pool(), &slug("b")).await.unwrap().as_ref(), listed.get(1));
    assert_eq!(tenants::find_by_slug(store.pool(), &slug("c")).await.unwrap(), None);
}

#[tokio::test]
async fn the_default_tenant_comes_once_and_with_its_organization() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let (one, two) = tokio::join!(tenants::ensure_default(&store), tenants::ensure_default(&store));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(one.is_new() != two.is_new());
    let tenant = one.into_inner();
    assert_eq!(tenant, two.into_inner());
    let organization = catalog::find_organization(store.pool(), tenant.id, &slug("default")).await.unwrap();
    assert_eq!(organization.unwrap().1.name, "Default");

    let after_first = database.snapshot().await;
    assert!(!tenants::ensure_default(&store).await.unwrap().is_new());
    assert_eq!(database.snapshot().await, after_first);
}
