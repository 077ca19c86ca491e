use muster_domain::catalog::Catalog;
use muster_domain::error::ErrorCode;
use muster_domain::id::TenantId;
use muster_store::catalog::{self, Applied};
use muster_store::{Store, tenants};
use muster_testkit::TestDatabase;
use sqlx::AssertSqlSafe;

async fn tenant(store: &Store, slug: &str) -> TenantId {
    tenants::create(store, &slug.parse().unwrap(), slug).await.unwrap().into_inner().id
}

fn example() -> Catalog {
    serde_json::from_str(
        r#"{"organizations": [{"slug": "north", "name": "North"}, {"slug": "south", "name": "South"}],
            "groups": ["Reader", "Writer"], "roles": ["Agent", "Straße"], "teams": ["Support"], "locations": ["México"],
            "custom_attributes": {"age": {"type": "integer", "minimum": 0}, "tier": {"type": "enum", "values": ["a", "b"]}},
            "limits": {"max_chat_limit": 5}}"#,
    )
    .unwrap()
}

fn applied(result: Applied) -> Catalog {
    match result {
        Applied::Catalog(catalog) => catalog,
        Applied::Refused(errors) => panic!("{errors:?}"),
    }
}

/// What was refused: field and code.
fn refused(result: Applied) -> Vec<(String, ErrorCode)> {
    match result {
        Applied::Catalog(catalog) => panic!("{catalog:?}"),
        Applied::Refused(errors) => errors.into_iter().map(|error| (error.field, error.code)).collect(),
    }
}

/// Row versions too, so that a row that was rewritten as it was shows.
async fn versions(store: &Store) -> Vec<String> {
    sqlx::query_scalar(
        "select concat_ws(' ', 'o', xmin, slug) from organizations union all \
         select concat_ws(' ', 'n', xmin, key) from catalog_names union all \
         select concat_ws(' ', 'a', xmin, name) from attribute_definitions union all \
         select concat_ws(' ', 't', xmin, slug) from tenants order by 1",
    )
    .fetch_all(store.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn a_catalog_reads_as_it_was_applied_and_twice_is_once() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let tenant = tenant(&store, "acme").await;
    assert_eq!(catalog::get(&store, tenant).await.unwrap(), Catalog::default());

    assert_eq!(applied(catalog::apply(&store, tenant, &example()).await.unwrap()), example());
    assert_eq!(catalog::get(&store, tenant).await.unwrap(), example());
    let (after_first, rows) = (database.snapshot().await, versions(&store).await);

    assert_eq!(applied(catalog::apply(&store, tenant, &example()).await.unwrap()), example());
    assert_eq!(database.snapshot().await, after_first);
    assert_eq!(versions(&store).await, rows);
}

#[tokio::test]
async fn a_catalog_becomes_exactly_what_is_applied() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let (one, two) = (tenant(&store, "one").await, tenant(&store, "two").await);
    catalog::apply(&store, one, &example()).await.unwrap();
    catalog::apply(&store, two, &example()).await.unwrap();

    let mut other = example();
    other.organizations.remove(0);
    other.organizations[0].name = "The South".into();
    other.groups = vec!["WRITER".into(), "Editor".into()];
    other.teams.clear();
    other.custom_attributes.remove("tier");
    other.limits.max_chat_limit = None;
    let stored = applied(catalog::apply(&store, one, &other).await.unwrap());
    other.groups = vec!["Editor".into(), "WRITER".into()];
    assert_eq!(stored, other);
    // And that of the other tenant stays.
    assert_eq!(catalog::get(&store, two).await.unwrap(), example());

    applied(catalog::apply(&store, one, &Catalog::default()).await.unwrap());
    assert_eq!(catalog::get(&store, one).await.unwrap(), Catalog::default());
}

#[tokio::test]
async fn a_catalog_with_mistakes_changes_nothing() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let tenant = tenant(&store, "acme").await;
    catalog::apply(&store, tenant, &example()).await.unwrap();
    let before = database.snapshot().await;
    let bad = Catalog { roles: vec!["a".into(), "A".into()], ..Catalog::default() };
    let errors = refused(catalog::apply(&store, tenant, &bad).await.unwrap());
    assert_eq!(errors, [("roles[1]".to_owned(), ErrorCode::InvalidRequest)]);
    assert_eq!(database.snapshot().await, before);
}

#[tokio::test]
async fn what_users_are_in_cannot_be_removed() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let tenant = tenant(&store, "acme").await;
    catalog::apply(&store, tenant, &example()).await.unwrap();
    sqlx::raw_sql(
        "insert into memberships (user_id, organization_id, group_id, tenant_id)
         select '00000000-0000-7000-8000-000000000001', o.id, g.id, o.tenant_id
         from organizations o, catalog_names g where o.slug = 'north' and g.key = 'reader'",
    )
    .execute(store.pool())
    .await
    .unwrap();
    let before = database.snapshot().await;

    let errors = refused(catalog::apply(&store, tenant, &Catalog::default()).await.unwrap());
    assert_eq!(
        errors,
        [
            ("organizations".to_owned(), ErrorCode::StateConflict),
            ("groups".to_owned(), ErrorCode::StateConflict),
        ]
    );
    assert_eq!(database.snapshot().await, before);
}

#[tokio::test]
async fn what_an_open_import_enrols_in_cannot_be_removed() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let tenant = tenant(&store, "acme").await;
    catalog::apply(&store, tenant, &example()).await.unwrap();
    let insert = format!(
        "insert into imports (id, tenant_id, options, alive_until)
         select gen_random_uuid(), {tenant}, json_build_object('enrolment',
                json_build_object('organization_id', id, 'group_id', 0)), now()
         from organizations where slug = 'north'"
    );
    sqlx::raw_sql(AssertSqlSafe(insert)).execute(store.pool()).await.unwrap();

    let errors = refused(catalog::apply(&store, tenant, &Catalog::default()).await.unwrap());
    assert_eq!(errors, [("organizations".to_owned(), ErrorCode::StateConflict)]);

    sqlx::raw_sql("update imports set state = 'completed'").execute(store.pool()).await.unwrap();
    applied(catalog::apply(&store, tenant, &Catalog::default()).await.unwrap());
}

#[tokio::test]
async fn names_are_found_in_any_case_and_groups_made_on_demand_once() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let (one, two) = (tenant(&store, "one").await, tenant(&store, "two").await);
    catalog::apply(&store, one, &example()).await.unwrap();

    let (id, organization) =
        catalog::find_organization(store.pool(), one, &"NORTH".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(organization.name, "North");
    assert!(id.get() > 0);
    assert_eq!(catalog::find_organization(store.pool(), two, &"north".parse().unwrap()).await.unwrap(), None);

    let reader = catalog::find_group(store.pool(), one, " READER").await.unwrap().unwrap();
    assert_eq!(catalog::ensure_group(&store, one, "reader").await.unwrap(), reader);
    assert_eq!(catalog::find_group(store.pool(), two, "Reader").await.unwrap(), None);

    let (first, second) = tokio::join!(
        catalog::ensure_group(&store, two, "Default"),
        catalog::ensure_group(&store, two, "default")
    );
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(catalog::get(&store, two).await.unwrap().groups.len(), 1);
}

#[tokio::test]
async fn changes_of_one_catalog_at_once_leave_one_of_them() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let tenant = tenant(&store, "acme").await;
    let other = Catalog { groups: vec!["Only".into()], ..Catalog::default() };
    let example = example();
    let (first, second) =
        tokio::join!(catalog::apply(&store, tenant, &example), catalog::apply(&store, tenant, &other));
    applied(first.unwrap());
    applied(second.unwrap());
    let stored = catalog::get(&store, tenant).await.unwrap();
    assert!(stored == example || stored == other, "{stored:?}");
}
