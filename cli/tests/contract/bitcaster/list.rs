//! C.1.7: list and detail.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{Desk, keys, path};

#[tokio::test]
async fn a_listed_user_has_the_contracts_fields() {
    let desk = Desk::new().await;
    let created =
        desk.user(json!({"email": "a+b@example.com", "first_name": "Ann", "custom_fields": {"k": 1}})).await;
    for (path, users) in
        [("/api/o/my-org/u/", "/api/o/my-org/u/"), ("/api/v1/user/my-org/", "/api/v1/user/my-org/")]
    {
        let list = desk.get(path).await.is(200);
        let url = format!("{}{users}a+b@example.com/", desk.tenant.url);
        assert_eq!(
            list,
            json!([{"id": created["id"], "url": url, "email": "a+b@example.com", "username": "a+b@example.com",
                    "first_name": "Ann", "last_name": "", "locked": false, "is_active": true}])
        );
        let there = desk.tenant.http.get(&url).bearer_auth(&desk.token).send().await.unwrap();
        assert_eq!(there.status(), 200);
    }
}

#[tokio::test]
async fn detail_has_the_contracts_fields_and_links() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "a@example.com", "custom_fields": {"k": 1}})).await;
    let shown = desk.get("/api/o/my-org/u/a@example.com/").await.is(200);
    assert_eq!(
        keys(&shown),
        [
            "addresses",
            "email",
            "first_name",
            "id",
            "is_active",
            "last_name",
            "locked",
            "messages",
            "username"
        ]
    );
    let url = format!("{}/api/o/my-org/u/a@example.com", desk.tenant.url);
    assert_eq!(shown["addresses"], format!("{url}/addresses/"));
    assert_eq!(shown["messages"], format!("{url}/messages/"));
}

#[tokio::test]
async fn unknown_users_are_404() {
    let desk = Desk::new().await;
    assert_eq!(desk.get(&path("nobody@example.com")).await.is(404), json!({"detail": "Not found."}));
}

#[tokio::test]
async fn a_user_in_two_groups_is_listed_once() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "a@example.com"})).await;
    desk.tenant.muster(&["catalog", "show", "--tenant", &desk.tenant.slug]);
    muster_store::catalog::ensure_group(&desk.tenant.store, desk.tenant.id, "developers").await.unwrap();
    desk.import("email\na@example.com\n", &["--org", "my-org", "--group", "developers"]).counts(0, 1, 1);
    assert_eq!(desk.memberships().await.len(), 2);
    assert_eq!(desk.get("/api/o/my-org/u/").await.is(200).as_array().unwrap().len(), 1);
    desk.get(&path("a@example.com")).await.is(200);
}

#[tokio::test]
async fn a_list_of_any_length_is_one_array_of_members() {
    let desk = Desk::new().await;
    let csv: String = (0..2500).map(|at| format!("u{at}@example.com\n")).collect();
    desk.import(format!("email\n{csv}"), &["--org", "my-org"]).counts(0, 2500, 2500);
    desk.post("/api/o/other/u/", json!({"email": "stranger@example.com"})).await.is(201);
    let list = desk.get("/api/o/my-org/u/").await.is(200);
    let emails: HashSet<&str> =
        list.as_array().unwrap().iter().filter_map(|user: &Value| user["email"].as_str()).collect();
    assert_eq!((list.as_array().unwrap().len(), emails.len()), (2500, 2500));
    assert!(!emails.contains("stranger@example.com"));
    // A page that is full is not the last one.
    let csv: String = (0..1000).map(|at| format!("o{at}@example.com\n")).collect();
    desk.import(format!("email\n{csv}"), &["--org", "other"]);
    assert_eq!(desk.get("/api/o/other/u/").await.is(200).as_array().unwrap().len(), 1001);
}

#[tokio::test]
async fn users_without_an_email_address_are_not_shown() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "a@example.com"})).await;
    let mut connection = desk.tenant.store.connection().await.unwrap();
    sqlx::query(
        "with added as (insert into users (id, tenant_id, preferred_username) values (gen_random_uuid(), $1, 'nobody') returning id)
         insert into memberships (user_id, organization_id, group_id, tenant_id)
         select added.id, m.organization_id, m.group_id, $1 from added, memberships m where m.tenant_id = $1",
    )
    .bind(desk.tenant.id.get())
    .execute(&mut connection)
    .await
    .unwrap();
    let listed = desk.get("/api/o/my-org/u/").await.is(200);
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test]
async fn messages_are_linked_and_not_there() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "a@example.com"})).await;
    let shown = desk.get("/api/o/my-org/u/a@example.com/").await.is(200);
    let link = shown["messages"].as_str().unwrap();
    let path = &link[link.find("/api/").unwrap()..];
    let told = desk.get(path).await.is(404);
    assert_eq!(told, json!({"detail": "Not found."}));
}

#[tokio::test]
async fn locked_users_say_so() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "a@example.com"})).await;
    desk.patch("/api/o/my-org/u/a@example.com/", json!({"locked": true})).await.is(200);
    let listed = desk.get("/api/o/my-org/u/").await.is(200);
    assert_eq!(listed[0]["locked"], true);
}
