use muster_domain::id::{TenantId, UserId};
use muster_domain::options::IdentifierField;
use muster_store::{Store, users};
use muster_testkit::TestDatabase;
use serde_json::json;

const ANA: &str = "00000000-0000-7000-8000-000000000001";

async fn with_users() -> (TestDatabase, Store) {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    sqlx::raw_sql(
        r#"
        insert into tenants (slug, name) values ('one', 'One'), ('two', 'Two');
        insert into organizations (tenant_id, slug, name) values (1, 'south', 'South'), (1, 'north', 'North');
        insert into catalog_names (tenant_id, kind, key, name)
        values (1, 'group', 'reader', 'Reader'), (1, 'role', 'admin', 'Admin'), (1, 'role', 'agent', 'Agent'),
               (1, 'team', 'night', 'Night'), (1, 'location', 'mexico', 'Mexico');
        insert into users (id, tenant_id, email, phone_number, preferred_username, given_name, attributes, metadata,
                           created_at, updated_at)
        values ('00000000-0000-7000-8000-000000000001', 1, 'ana@example.com', '+4915112345678', 'ana', 'Ana',
                '{"locale": "pt-BR"}', '{"level": 3}', '2026-01-02T03:04:05Z', '2026-01-02T03:04:05Z'),
               ('00000000-0000-7000-8000-000000000002', 2, 'ana@example.com', null, null, null, null, null,
                '2026-01-02T03:04:05Z', '2026-01-02T03:04:05Z');
        update users
           set profile = '{"email_verified": true, "roles": [3, 2, 99], "groups": [1], "teams": [4], "location": 5,
                           "disabled_at": "2026-01-02T03:04:05Z", "mfa_email": "otp@example.com",
                           "addresses": {"sms": {"type": "phone", "value": "+391234567"}}, "agent": {"alias": "A"}}'
         where id = '00000000-0000-7000-8000-000000000001';
        insert into memberships (user_id, organization_id, group_id, tenant_id)
        values ('00000000-0000-7000-8000-000000000001', 1, 0, 1),
               ('00000000-0000-7000-8000-000000000001', 2, 1, 1);
        "#,
    )
    .execute(store.pool())
    .await
    .unwrap();
    (database, store)
}

#[tokio::test]
async fn a_user_is_shown_with_everything_that_belongs_to_it() {
    let (_database, store) = with_users().await;
    let id: UserId = ANA.parse().unwrap();
    let user = users::get(store.pool(), TenantId::new(1), id).await.unwrap().unwrap();
    let expected = json!({
        "id": ANA, "email": "ana@example.com", "phone_number": "+4915112345678", "preferred_username": "ana",
        "given_name": "Ana", "family_name": null, "locale": "pt-BR", "metadata": {"level": 3},
        "memberships": [
            {"organization": "north", "group": "Reader"},
            {"organization": "south", "group": null},
        ],
        "email_verified": true, "phone_number_verified": false,
        // Number 99 has left the catalog.
        "roles": ["Admin", "Agent"], "groups": ["Reader"], "teams": ["Night"], "location": "Mexico",
        "disabled": true, "disabled_at": "2026-01-02T03:04:05Z", "account_valid_from": null,
        "account_valid_until": null, "locked": false, "mfa": {"email": "otp@example.com", "phone_number": null},
        "addresses": {"sms": {"type": "phone", "value": "+391234567"}}, "agent": {"alias": "A"},
        "version": 1, "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z",
    });
    assert_eq!(serde_json::to_value(&user).unwrap(), expected);
    assert_eq!(serde_json::from_value::<muster_domain::user::User>(expected).unwrap(), user);
}

#[tokio::test]
async fn a_user_with_little_is_shown_with_empty_parts() {
    let (_database, store) = with_users().await;
    let user =
        users::find(store.pool(), TenantId::new(2), IdentifierField::Email, "ana@example.com").await.unwrap();
    let user = user.unwrap();
    assert!(user.attributes.is_empty() && user.metadata.is_empty() && user.memberships.is_empty());
    assert!(user.roles.is_empty() && user.addresses.is_empty() && !user.disabled);
}

#[tokio::test]
async fn users_are_found_by_each_unique_field() {
    let (_database, store) = with_users().await;
    for (field, key) in [
        (IdentifierField::Email, "ana@example.com"),
        (IdentifierField::PhoneNumber, "+4915112345678"),
        (IdentifierField::PreferredUsername, "ana"),
    ] {
        let user = users::find(store.pool(), TenantId::new(1), field, key).await.unwrap();
        assert_eq!(user.unwrap().id.to_string(), ANA, "{field}");
        assert_eq!(users::find(store.pool(), TenantId::new(1), field, "nobody").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_user_of_another_tenant_is_not_found() {
    let (_database, store) = with_users().await;
    let id: UserId = ANA.parse().unwrap();
    assert_eq!(users::get(store.pool(), TenantId::new(2), id).await.unwrap(), None);
    let user =
        users::find(store.pool(), TenantId::new(2), IdentifierField::PreferredUsername, "ana").await.unwrap();
    assert_eq!(user, None);
}
