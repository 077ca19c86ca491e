//! docs/contracts/bitcaster.md C.1.5: every worked example of `_mode`, over HTTP, twice: all modes are
//! idempotent.

use serde_json::{Value, json};

use super::{Desk, path};

fn stored() -> Value {
    json!({"office": "Milan", "dept": {"code": "IT", "floor": 3}, "tags": ["a", "b"], "note": "x"})
}

fn with(key: &str, value: Value) -> Value {
    let mut object = stored();
    object[key] = value;
    object
}

fn without(key: &str) -> Value {
    let mut object = stored();
    object.as_object_mut().unwrap().remove(key);
    object
}

async fn comes_to(mode: &str, sent: Value, wanted: Value) {
    applied(stored(), mode, sent, wanted).await;
}

async fn applied(stored: Value, mode: &str, sent: Value, wanted: Value) {
    let desk = Desk::new().await;
    desk.user(json!({"email": "a@example.com", "custom_fields": stored})).await;
    for _ in 0..2 {
        let body = json!({"custom_fields": sent, "_mode": mode});
        let answered = desk.patch(&path("a@example.com"), body).await.is(200);
        assert_eq!(answered["custom_fields"], wanted);
        let user = desk.only_user().await;
        // Nothing stored is an empty object.
        assert_eq!(user["metadata"], if wanted == json!({}) { Value::Null } else { wanted.clone() });
        assert_eq!(user["version"], if wanted == stored { 1 } else { 2 });
    }
}

macro_rules! examples {
    ($($name:ident: $mode:literal $sent:tt => $wanted:expr;)*) => {
        $(#[tokio::test]
        async fn $name() {
            comes_to($mode, json!($sent), $wanted).await;
        })*
    };
}

examples! {
    merge_replaces_a_value_and_keeps_the_rest: "merge" {"office": "London"} => with("office", json!("London"));
    merge_recurses_object_onto_object: "merge" {"dept": {"floor": 4}} => with("dept", json!({"code": "IT", "floor": 4}));
    merge_replaces_an_object_by_a_text: "merge" {"dept": "IT"} => with("dept", json!("IT"));
    merge_replaces_a_text_by_an_object: "merge" {"note": {"k": 1}} => with("note", json!({"k": 1}));
    merge_replaces_lists: "merge" {"tags": ["c"]} => with("tags", json!(["c"]));
    merge_stores_null: "merge" {"note": null} => with("note", json!(null));
    merge_of_an_empty_object_inside_changes_nothing: "merge" {"dept": {}} => stored();
    merge_of_nothing_changes_nothing: "merge" {} => stored();
    override_replaces_top_level_keys_and_keeps_the_others: "override" {"dept": {"floor": 4}} => with("dept", json!({"floor": 4}));
    rewrite_replaces_everything: "rewrite" {"dept": {"floor": 4}} => json!({"dept": {"floor": 4}});
    rewrite_of_nothing_empties: "rewrite" {} => json!({});
    remove_deletes_whatever_the_value: "remove" {"note": 7} => without("note");
    remove_recurses_object_onto_object: "remove" {"dept": {"floor": 0}} => with("dept", json!({"code": "IT"}));
    remove_deletes_an_emptied_parent: "remove" {"dept": {"code": 0, "floor": 0}} => without("dept");
    remove_of_an_empty_object_changes_nothing: "remove" {"dept": {}} => stored();
    remove_by_null_deletes: "remove" {"dept": null} => without("dept");
    remove_by_a_number_deletes: "remove" {"dept": 1} => without("dept");
    remove_deletes_a_list_whole: "remove" {"tags": ["a"]} => without("tags");
    remove_deletes_a_text_by_an_object: "remove" {"office": {"x": 1}} => without("office");
    remove_of_what_is_not_there_changes_nothing: "remove" {"zzz": 1} => stored();
    ignore_changes_nothing: "ignore" {"office": "London", "zzz": 1} => stored();
}

#[tokio::test]
async fn remove_of_a_stored_empty_object_deletes_it() {
    applied(json!({"dept": {}, "a": 1}), "remove", json!({"dept": {}}), json!({"a": 1})).await;
}
