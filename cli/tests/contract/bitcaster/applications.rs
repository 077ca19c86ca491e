//! C.5: members of an application.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Desk, keys, path};

const REGISTER: &str = "/api/o/my-org/p/crm/a/web/register/";

fn unregister(name: &str) -> String {
    format!("/api/o/my-org/p/crm/a/web/unregister/{name}/")
}

/// Application, user, custom fields and whether it is active, of every member.
async fn members(desk: &Desk) -> Vec<Value> {
    let mut connection = desk.tenant.store.connection().await.unwrap();
    let rows: Vec<String> = sqlx::query_scalar(
        "select json_build_array(m.project || '/' || m.application, u.email, m.custom_fields, m.active)::text
           from application_members m join users u on u.id = m.user_id where m.tenant_id = $1 order by 1",
    )
    .bind(desk.tenant.id.get())
    .fetch_all(&mut connection)
    .await
    .unwrap();
    rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect()
}

#[tokio::test]
async fn a_new_user_is_registered_with_everything_in_the_answer() {
    let desk = Desk::new().await;
    let body = json!({"username": "jdoe", "email": "J.Doe@Example.com", "first_name": "John", "last_name": "Doe",
                      "custom_fields": {"plan": "gold"}, "active": true, "distribution_list": null,
                      "addresses": [{"value": "j.doe@example.com"},
                                    {"value": "+390669821234", "name": "mobile", "assign_to_preferred_channel": true}]});
    let answered = desk.post(REGISTER, body).await.is(201);
    assert_eq!(
        answered,
        json!({"user": {"username": "jdoe", "first_name": "John", "last_name": "Doe", "email": "j.doe@example.com"},
               "created": true,
               "membership": {"custom_fields": {"plan": "gold"}, "active": true, "locked": false, "enable_notifications": true},
               "addresses": [{"value": "j.doe@example.com", "type": "email", "name": "email"},
                             {"value": "+390669821234", "type": "phone", "name": "mobile"}],
               "assignments": [{"address": "+390669821234", "channel": null, "skipped": true}],
               "distribution_list": null})
    );
    let user = desk.only_user().await;
    assert_eq!((&user["preferred_username"], &user["metadata"]), (&json!("jdoe"), &Value::Null));
    assert_eq!(members(&desk).await, [json!(["crm/web", "j.doe@example.com", {"plan": "gold"}, true])]);
    assert_eq!(desk.memberships().await, [("my-org".to_owned(), "Default".to_owned())]);
}

#[tokio::test]
async fn an_existing_user_keeps_its_fields_and_the_applications_custom_fields_are_merged() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "a@example.com", "first_name": "Ann", "custom_fields": {"own": 1}})).await;
    let first = json!({"username": "A@example.com", "first_name": "Eve", "email": "a@example.com",
                       "custom_fields": {"dept": {"code": "IT", "floor": 3}, "tags": ["a"]}});
    let answered = desk.post(REGISTER, first.clone()).await.is(200);
    assert_eq!((&answered["created"], &answered["user"]["first_name"]), (&json!(false), &json!("Ann")));
    let second = json!({"username": "a@example.com", "active": false, "custom_fields": {"dept": {"floor": 4}, "tags": []}});
    let answered = desk.post(REGISTER, second).await.is(200);
    let merged = json!({"dept": {"code": "IT", "floor": 4}, "tags": []});
    assert_eq!(answered["membership"]["custom_fields"], merged);
    assert_eq!(answered["membership"]["enable_notifications"], false);
    // Without custom fields nothing of them changes, and another application has its own.
    desk.post(REGISTER, json!({"username": "a@example.com"})).await.is(200);
    desk.post("/api/o/my-org/p/crm/a/app/register/", json!({"username": "a@example.com"})).await.is(200);
    assert_eq!(
        members(&desk).await,
        [json!(["crm/app", "a@example.com", {}, true]), json!(["crm/web", "a@example.com", merged, true])]
    );
    assert_eq!(desk.only_user().await["metadata"], json!({"own": 1}));
}

#[tokio::test]
async fn the_same_registration_again_changes_nothing() {
    let desk = Desk::new().await;
    let body = json!({"username": "ann", "email": "ann@example.com", "custom_fields": {"k": 1},
                      "addresses": [{"value": "a1@example.com"}, {"value": "a2@example.com"}, {"value": "x", "name": "y"}]});
    let first = desk.post(REGISTER, body.clone()).await.is(201);
    let before = (desk.only_user().await, members(&desk).await);
    let again = desk.post(REGISTER, body).await.is(200);
    assert_eq!((desk.only_user().await, members(&desk).await), before);
    assert_eq!(again["addresses"], first["addresses"]);
    let names: Vec<&str> =
        first["addresses"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["email", "email 2", "y"]);
}

/// Names that the request leaves out are made up, so they are no reason to replace an address that somebody gave the user.
#[tokio::test]
async fn a_registration_adds_addresses_and_leaves_those_that_the_user_has() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "ann@example.com"})).await;
    let addresses = format!("{}addresses/", path("ann@example.com"));
    // It has one named `email` already.
    for (name, value) in [("phone", "+390669821234"), ("office", "Rome")] {
        desk.post(&addresses, json!({"name": name, "value": value})).await.is(201);
    }
    let body = json!({"username": "ann@example.com", "email": "other@example.com",
                      "addresses": [{"value": "+390669821234"}, {"value": "+390669825678"}, {"name": "office", "value": "Bern"}]});
    for _ in 0..2 {
        let answered = desk.post(REGISTER, body.clone()).await.is(200);
        assert_eq!(
            answered["addresses"],
            json!([{"value": "+390669821234", "type": "phone", "name": "phone"},
                   {"value": "+390669825678", "type": "phone", "name": "phone 2"},
                   {"value": "Bern", "type": "GENERIC", "name": "office 2"}])
        );
        let kept = desk.get(&addresses).await.is(200);
        let mut kept: Vec<(&str, &str)> = kept
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["name"].as_str().unwrap(), one["value"].as_str().unwrap()))
            .collect();
        kept.sort_unstable();
        assert_eq!(
            kept,
            [
                ("email", "ann@example.com"),
                ("email 2", "other@example.com"),
                ("office", "Rome"),
                ("office 2", "Bern"),
                ("phone", "+390669821234"),
                ("phone 2", "+390669825678"),
            ]
        );
    }
}

#[tokio::test]
async fn everything_that_is_wrong_with_addresses_is_told_at_their_places() {
    let desk = Desk::new().await;
    let (long, too_long) = ("y".repeat(256), "Ensure this field has no more than 255 characters.");
    let body = json!({"username": "ann@example.com", "email": "other@example.com",
                      "addresses": [{"name": "y"}, {"value": long}, {"value": "x"}, {"name": long, "value": long}]});
    let told = desk.post(REGISTER, body).await.is(400);
    assert_eq!(
        told,
        json!({"addresses": [{"value": ["This field is required."]}, {"value": [too_long]}, {},
                             {"name": [too_long], "value": [too_long]}]})
    );
    assert!(desk.tenant.users().await.is_empty());
}

#[tokio::test]
async fn registrations_of_one_user_at_once_make_one_user_and_lose_no_field() {
    let desk = Desk::new().await;
    let bodies = (0..12).map(|at| {
        let key = format!("k{at}");
        desk.post(
            REGISTER,
            json!({"username": "ann", "email": "ann@example.com", "custom_fields": {key: at}}),
        )
    });
    let answers = join_all(bodies).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 11);
    let members = members(&desk).await;
    assert_eq!(members.len(), 1);
    assert_eq!(members[0][2].as_object().unwrap().len(), 12);
}

#[tokio::test]
async fn a_name_that_is_an_address_is_the_users_and_another_address_is_kept_beside_it() {
    let desk = Desk::new().await;
    let body = json!({"username": "ann@example.com", "email": "other@example.com"});
    let answered = desk.post(REGISTER, body).await.is(201);
    assert_eq!((&answered["user"]["email"], &answered["addresses"]), (&json!("ann@example.com"), &json!([])));
    let addresses = desk.get(&format!("{}addresses/", path("ann@example.com"))).await.is(200);
    assert_eq!(addresses, json!([{"value": "other@example.com", "type": "email", "name": "email"}]));
}

#[tokio::test]
async fn what_is_wrong_with_a_registration_is_told_by_field_and_nothing_is_written() {
    let desk = Desk::new().await;
    let with = |name: &str, value: Value| {
        let mut body = json!({"username": "ann", "addresses": [{"value": "a@example.com"}]});
        body[name] = value;
        body
    };
    for (body, told) in [
        (json!({}), json!({"username": ["This field is required."]})),
        (with("username", json!(" ")), json!({"username": ["This field may not be blank."]})),
        (with("email", json!("nobody")), json!({"email": ["Enter a valid email address."]})),
        (with("active", json!("maybe")), json!({"active": ["Must be a valid boolean."]})),
        (with("active", Value::Null), json!({"active": ["This field may not be null."]})),
        (with("custom_fields", json!([1])), json!({"custom_fields": ["Expected a dictionary of items."]})),
        (
            with("addresses", json!({})),
            json!({"addresses": {"non_field_errors": ["Expected a list of items but got type \"dict\"."]}}),
        ),
        (
            with("addresses", json!([{"value": "x"}, {"name": "y"}, 7])),
            json!({"addresses": [{}, {"value": ["This field is required."]},
                                 {"non_field_errors": ["Invalid data. Expected a dictionary."]}]}),
        ),
        (
            with("addresses", json!([{"value": "x"}, {"value": "y".repeat(256), "name": "long"}])),
            json!({"addresses": [{}, {"value": ["Ensure this field has no more than 255 characters."]}]}),
        ),
        (
            with("distribution_list", json!("news")),
            json!({"distribution_list": "DistributionList 'news' does not exist"}),
        ),
    ] {
        assert_eq!(desk.post(REGISTER, body.clone()).await.is(400), told, "{body}");
    }
    assert!(desk.tenant.users().await.is_empty() && members(&desk).await.is_empty());
}

/// An older version of the client makes users by their addresses alone.
#[tokio::test]
async fn a_user_with_the_address_and_without_a_name_is_the_one_that_is_meant() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "ann@example.com", "first_name": "Ann"})).await;
    let body = json!({"username": "ann", "email": "Ann@example.com", "first_name": "Eve",
                      "addresses": [{"value": "ann@example.com", "assign_to_preferred_channel": true}]});
    let answered = desk.post(REGISTER, body.clone()).await.is(200);
    assert_eq!((&answered["created"], &answered["user"]["first_name"]), (&json!(false), &json!("Ann")));
    assert_eq!(desk.only_user().await["preferred_username"], "ann");
    desk.post(REGISTER, body).await.is(200);
    assert_eq!(desk.tenant.users().await.len(), 1);
}

/// An address that another user has: the registration as a whole comes to nothing.
#[tokio::test]
async fn an_address_of_another_user_refuses_the_registration() {
    let desk = Desk::new().await;
    desk.post(REGISTER, json!({"username": "bob", "email": "a@example.com"})).await.is(201);
    let told = desk.post(REGISTER, json!({"username": "ann", "email": "a@example.com"})).await.is(400);
    assert_eq!(keys(&told), ["email"]);
    assert_eq!(members(&desk).await.len(), 1);
}

#[tokio::test]
async fn unregistering_answers_a_count_and_keeps_the_user() {
    let desk = Desk::new().await;
    desk.post(REGISTER, json!({"username": "jdoe", "email": "j@example.com"})).await.is(201);
    for name in ["jdoe", "JDoe", "j@example.com"] {
        assert_eq!(desk.post(&unregister(name), json!({})).await.is(200), json!({"deleted": 0}), "{name}");
    }
    let not_found = json!({"detail": "Not found."});
    assert_eq!(desk.post(&unregister("nobody"), json!({})).await.is(404), not_found);
    // One of another organization is none of this.
    desk.post("/api/o/other/u/", json!({"email": "b@example.com"})).await.is(201);
    assert_eq!(desk.post(&unregister("b@example.com"), json!({})).await.is(404), not_found);
    assert_eq!(
        desk.post("/api/o/nowhere/p/crm/a/web/register/", json!({"username": "x"})).await.is(404),
        not_found
    );
    assert_eq!(desk.tenant.users().await.len(), 2);
    assert_eq!(members(&desk).await.len(), 1);
}

#[tokio::test]
async fn an_erased_user_is_no_member_of_an_application_any_more() {
    let desk = Desk::new().await;
    desk.post(REGISTER, json!({"username": "jdoe", "email": "j@example.com"})).await.is(201);
    desk.tenant.muster(&["users", "erase", "--tenant", &desk.tenant.slug, "--email", "j@example.com"]);
    assert!(members(&desk).await.is_empty());
}
