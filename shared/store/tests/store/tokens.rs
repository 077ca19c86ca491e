use muster_domain::id::TenantId;
use muster_domain::token::{Scope, Token};
use muster_runtime::clock;
use muster_store::tokens::{self, Authenticated, NewToken, TokenInfo};
use muster_store::{Store, tenants};
use muster_testkit::TestDatabase;

async fn tenant(store: &Store, slug: &str) -> TenantId {
    tenants::create(store, &slug.parse().unwrap(), slug).await.unwrap().into_inner().id
}

async fn create(store: &Store, tenant: TenantId, name: &str) -> (TokenInfo, Token) {
    match tokens::create(store, tenant, name, &[Scope::ImportRead, Scope::ImportWrite]).await.unwrap() {
        NewToken::Created(info, token) => (info, token),
        NewToken::NameTaken(info) => panic!("{info:?}"),
    }
}

#[tokio::test]
async fn a_token_stands_for_its_tenant_and_scopes() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let tenant = tenant(&store, "acme").await;
    let (info, token) = create(&store, tenant, "ci").await;

    let sent: Token = token.reveal().parse().unwrap();
    let credential = tokens::authenticate(&store, &sent).await.unwrap().credential().unwrap();
    assert_eq!((credential.tenant_id, credential.token_id), (tenant, info.id));
    assert_eq!(credential.name, "ci");
    assert_eq!(credential.scopes, [Scope::ImportRead, Scope::ImportWrite]);

    let unknown = Token::generate(&mut clock::rng());
    assert_eq!(tokens::authenticate(&store, &unknown).await.unwrap(), Authenticated::Unknown);
}

#[tokio::test]
async fn a_token_may_be_of_one_organization() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let tenant = tenant(&store, "acme").await;
    let slug = "sales".parse().unwrap();
    let created =
        tokens::create_for(&store, tenant, Some(&slug), "sync", &[Scope::UsersWrite], None).await.unwrap();
    let NewToken::Created(info, token) = created else { panic!("{created:?}") };
    assert_eq!(info.organization.as_deref(), Some("sales"));
    assert_eq!(tokens::list(store.pool(), tenant).await.unwrap(), [info]);
    let credential = tokens::authenticate(&store, &token).await.unwrap().credential().unwrap();
    assert_eq!(credential.organization.as_deref(), Some("sales"));
}

#[tokio::test]
async fn the_database_does_not_hold_the_token() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let tenant = tenant(&store, "acme").await;
    let (_, token) = create(&store, tenant, "ci").await;
    assert!(!format!("{:?}", database.snapshot().await).contains(token.reveal()));
}

#[tokio::test]
async fn a_name_is_given_once() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let (one, two) = (tenant(&store, "one").await, tenant(&store, "two").await);
    let (info, _) = create(&store, one, "ci").await;
    let after_first = database.snapshot().await;

    let again = tokens::create(&store, one, "ci", &[Scope::Ops]).await.unwrap();
    assert!(matches!(again, NewToken::NameTaken(taken) if taken == info));
    assert_eq!(database.snapshot().await, after_first);
    // Another tenant's names are its own.
    create(&store, two, "ci").await;
}

#[tokio::test]
async fn a_revoked_token_stands_for_nobody() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let (one, two) = (tenant(&store, "one").await, tenant(&store, "two").await);
    let (_, token) = create(&store, one, "ci").await;

    assert_eq!(tokens::revoke(&store, two, "ci").await.unwrap(), None);
    assert!(tokens::authenticate(&store, &token).await.unwrap().credential().is_some());

    let revoked = tokens::revoke(&store, one, "ci").await.unwrap().unwrap();
    assert!(revoked.revoked_at.is_some());
    assert_eq!(tokens::authenticate(&store, &token).await.unwrap(), Authenticated::Unknown);
    let after_first = database.snapshot().await;

    assert_eq!(tokens::revoke(&store, one, "ci").await.unwrap(), Some(revoked.clone()));
    assert_eq!(database.snapshot().await, after_first);
    assert_eq!(tokens::list(store.pool(), one).await.unwrap(), [revoked]);
    assert_eq!(tokens::list(store.pool(), two).await.unwrap(), []);
}

#[tokio::test]
async fn a_scope_that_is_not_known_grants_nothing() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let tenant = tenant(&store, "acme").await;
    let (_, token) = create(&store, tenant, "ci").await;
    sqlx::raw_sql("update tokens set scopes = '{from:tomorrow,users:read}'")
        .execute(store.pool())
        .await
        .unwrap();
    let credential = tokens::authenticate(&store, &token).await.unwrap().credential().unwrap();
    assert_eq!(credential.scopes, [Scope::UsersRead]);
}
