//! Tenants, tokens, the catalog and `doctor` on the embedded engine.

use crate::harness::Desk;

#[test]
fn tenants_and_tokens_are_made_listed_and_revoked() {
    let desk = Desk::new();
    desk.run(&["tenant", "create", "ACME", "--name", "Acme Inc."]).exits(0);
    let again = desk.run(&["tenant", "create", "acme"]).exits(0);
    assert!(again.stdout.contains("already"), "{again:#?}");
    let list = desk.run(&["tenant", "list", "--json"]).exits(0).json();
    assert_eq!((&list[0]["slug"], &list[1]["slug"]), (&"acme".into(), &"default".into()));

    let create =
        ["token", "create", "--tenant", "acme", "--name", "nightly", "--scope", "import:write,import:read"];
    let token = desk.run(&create).exits(0);
    assert!(token.stdout.starts_with("mst_") && token.stdout.trim().len() == 53, "{token:#?}");
    desk.run(&create).exits(1).tells(&["nightly already"]);
    let list = desk.run(&["token", "list", "--tenant", "acme", "--json"]).exits(0);
    assert!(!list.stdout.contains(token.stdout.trim()), "a token is shown once");
    assert_eq!(list.json()[0]["scopes"], serde_json::json!(["import:write", "import:read"]));
    desk.run(&["token", "revoke", "nightly", "--tenant", "acme"]).exits(0);
    desk.run(&["token", "revoke", "weekly", "--tenant", "acme"]).exits(1).tells(&["no token of that name"]);
    let list = desk.run(&["token", "list", "--tenant", "acme", "--json"]).exits(0).json();
    assert!(list[0]["revoked_at"].is_string());
}

#[test]
fn a_tenant_is_disabled_and_enabled_and_takes_no_file_meanwhile() {
    let desk = Desk::new();
    desk.write("people.csv", "email\nann@example.com\n");
    desk.run(&["tenants", "disable", "default"]).exits(0);
    desk.run(&["import", "users", "people.csv"])
        .exits(1)
        .tells(&["disabled", "muster tenant enable default"]);
    let list = desk.run(&["tenant", "list", "--json"]).exits(0).json();
    assert!(list[0]["disabled_at"].is_string(), "{list}");
    desk.run(&["tenant", "enable", "default", "--json"]).exits(0);
    desk.run(&["import", "users", "people.csv"]).exits(0);
    desk.run(&["tenant", "disable", "nobody"]).exits(1).tells(&["no tenant nobody"]);
}

#[test]
fn a_person_is_erased_by_an_identifier_or_the_id() {
    let desk = Desk::new();
    desk.write("people.csv", "email\nann@example.com\nbob@example.com\n");
    desk.run(&["import", "users", "people.csv"]).exits(0);
    let erased = desk.run(&["users", "erase", "--email", "ANN@example.com", "--json"]).exits(0).json();
    assert_eq!(erased, serde_json::json!({"users": 1, "records": 1, "mentions": 0, "changes": 0}));
    desk.run(&["users", "erase", "--email", "ann@example.com"]).exits(0);
    desk.run(&["users", "erase", "--email", "nobody"]).exits(2);
    desk.run(&["users", "erase"]).exits(2);
    let missing = "0190a5f0-7b7c-7000-8000-000000000001";
    desk.run(&["users", "erase", "--id", missing]).exits(1).tells(&["no such user"]);
    let records = desk.run(&["imports", "records", "last", "--json"]).exits(0);
    assert!(
        !records.stdout.contains("ann@example.com") && records.stdout.contains("bob@example.com"),
        "{records:#?}"
    );
}

#[test]
fn a_catalog_is_applied_whole_or_not_at_all() {
    let desk = Desk::new();
    let shown = desk.run(&["catalog", "show"]).exits(0);
    assert_eq!(shown.json()["organizations"][0]["slug"], "default");
    let mut catalog = shown.json();
    catalog["roles"] = serde_json::json!(["Editor", "Reader"]);
    desk.write("catalog.json", catalog.to_string());
    desk.run(&["catalog", "apply", "catalog.json"]).exits(0);
    catalog["roles"] = serde_json::json!(["Editor", "EDITOR"]);
    desk.write("wrong.json", catalog.to_string());
    desk.run(&["catalog", "apply", "wrong.json"]).exits(1).tells(&["roles[1]", "refused"]);
    desk.write("broken.json", "{");
    desk.run(&["catalog", "apply", "broken.json"]).exits(1).tells(&["broken.json is not a catalog"]);
    let now = desk.run(&["catalog", "show"]).exits(0).json();
    assert_eq!(now["roles"], serde_json::json!(["Editor", "Reader"]));
}

#[test]
fn doctor_finds_the_embedded_default_well() {
    let desk = Desk::new();
    let checks = desk.run(&["doctor", "--json"]).exits(0).json();
    for id in
        ["configuration", "database", "migrations", "second_lock", "version", "durability", "clock", "broker"]
    {
        let check = checks.as_array().unwrap().iter().find(|check| check["id"] == id).unwrap();
        assert_eq!(check["status"], "ok", "{check}");
    }
    assert!(!desk.path(".muster").exists(), "a check leaves nothing behind");
    let migrated = desk.run(&["migrate"]).exits(0);
    assert!(migrated.stdout.contains("nothing to do"), "{migrated:#?}");
}
