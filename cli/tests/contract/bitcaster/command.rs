//! C.3 and C.4: `bc import users`, its options, its lines and its exit codes.

use muster_store::catalog::{self, Applied};
use serde_json::json;

use super::Desk;

const CSV: &str = "email\na@example.com\n";

#[tokio::test]
async fn a_file_is_imported_by_its_name() {
    let desk = Desk::new().await;
    let folder = tempfile::tempdir().unwrap();
    // Whatever it is called.
    let file = folder.path().join("employees.txt");
    std::fs::write(&file, CSV).unwrap();
    let args = [file.to_str().unwrap(), "--tenant", &desk.tenant.slug, "--org", "my-org"];
    desk.bc(&args, b"").prints(
        0,
        &[
            "Importing users into organization 'My Company'...",
            "Success! Processed 1 lines, created/updated 1 users.",
        ],
    );
}

#[tokio::test]
async fn without_an_organization_it_is_the_first_by_name_that_is_local() {
    let desk = Desk::new().await;
    let organizations = json!([{"slug": "a", "name": "Zeta"}, {"slug": "b", "name": "Beta"}, {"slug": "c", "name": "OS4D"},
                               {"slug": "d", "name": "Alpha"}]);
    let wanted = serde_json::from_value(json!({ "organizations": organizations })).unwrap();
    let applied = catalog::apply(&desk.tenant.store, desk.tenant.id, &wanted).await.unwrap();
    assert!(matches!(applied, Applied::Catalog(_)));
    let run = desk.import(CSV, &[]);
    assert_eq!(run.stdout.lines().next(), Some("Importing users into organization 'Alpha'..."));
    assert_eq!(desk.memberships().await, [("d".to_owned(), "Default".to_owned())]);
}

#[tokio::test]
async fn without_a_local_organization_it_is_an_error() {
    let desk = Desk::new().await;
    for organizations in [json!([]), json!([{"slug": "os4d", "name": "OS4D"}])] {
        let wanted = serde_json::from_value(json!({ "organizations": organizations })).unwrap();
        catalog::apply(&desk.tenant.store, desk.tenant.id, &wanted).await.unwrap();
        desk.import(CSV, &[]).prints(1, &["Error: No local organization found."]);
    }
}

#[tokio::test]
async fn an_unknown_organization_is_an_error() {
    let desk = Desk::new().await;
    desk.import(CSV, &["--org", "nowhere"]).prints(1, &["Error: Organization 'nowhere' not found."]);
    desk.import(CSV, &["--org", "No Where!"]).prints(1, &["Error: Organization 'No Where!' not found."]);
}

#[tokio::test]
async fn a_group_that_is_named_must_exist() {
    let desk = Desk::new().await;
    desk.import(CSV, &["--org", "my-org", "--group", "developers"])
        .prints(1, &["Error: Group 'developers' not found in organization 'my-org'."]);
    desk.import(CSV, &["--group", "developers"])
        .prints(1, &["Error: Group 'developers' not found in organization 'None'."]);
    assert!(desk.tenant.users().await.is_empty());
    catalog::ensure_group(&desk.tenant.store, desk.tenant.id, "developers").await.unwrap();
    desk.import(CSV, &["--org", "my-org", "--group", "developers"]).counts(0, 1, 1);
    assert_eq!(desk.memberships().await, [("my-org".to_owned(), "developers".to_owned())]);
}

/// C.4: what Bitcaster's one line sums up.
#[tokio::test]
async fn outcomes_are_inserted_updated_skipped_and_failed() {
    let desk = Desk::new().await;
    desk.user(json!({"email": "member@example.com"})).await;
    desk.post("/api/o/other/u/", json!({"email": "elsewhere@example.com"})).await.is(201);
    let csv = "email\nnew@example.com\nelsewhere@example.com\nmember@example.com\nbad\n";
    desk.import(csv, &["--org", "my-org"]).counts(3, 3, 4);
    let shown = desk.tenant.muster(&["imports", "show", "last", "--tenant", &desk.tenant.slug, "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let counts = json!({"total": 4, "pending": 0, "inserted": 1, "updated": 1, "skipped": 1, "failed": 1});
    assert_eq!(shown["counts"], counts);
    let failed = desk.tenant.muster(&["imports", "failed", "last", "--tenant", &desk.tenant.slug]);
    assert!(failed.contains("\n\"bad\",\"email_invalid\",\"email\","), "{failed}");
}

#[tokio::test]
async fn the_default_group_is_a_setting_and_groups_are_named_in_any_case() {
    let desk = Desk::new().await;
    catalog::ensure_group(&desk.tenant.store, desk.tenant.id, "developers").await.unwrap();
    desk.import(CSV, &["--org", "my-org", "--group", "DEVELOPERS"]).counts(0, 1, 1);
    let mut command = desk.tenant.command(&["bc", "import", "users", "-", "--tenant", &desk.tenant.slug]);
    command.args(["--org", "my-org"]).env("MUSTER_BITCASTER_DEFAULT_GROUP", "Staff");
    assert!(run_with(command, CSV).success());
    let groups: Vec<String> = desk.memberships().await.into_iter().map(|(_, group)| group).collect();
    assert_eq!(groups, ["Staff", "developers"]);
}

fn run_with(mut command: std::process::Command, input: &str) -> std::process::ExitStatus {
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    child.wait().unwrap()
}

#[tokio::test]
async fn another_group_adds_a_second_role() {
    let desk = Desk::new().await;
    desk.import(CSV, &["--org", "my-org"]).counts(0, 1, 1);
    catalog::ensure_group(&desk.tenant.store, desk.tenant.id, "developers").await.unwrap();
    desk.import(CSV, &["--org", "my-org", "--group", "developers"]).counts(0, 1, 1);
    let groups: Vec<String> = desk.memberships().await.into_iter().map(|(_, group)| group).collect();
    assert_eq!(groups, ["Default", "developers"]);
}

#[tokio::test]
async fn what_goes_wrong_is_told_on_standard_output() {
    let desk = Desk::new().await;
    let run = desk.import("email\n\"a@example.com\n", &["--org", "my-org"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.lines().last().unwrap().starts_with("An error occurred: "), "{run:?}");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_wrong_usage() {
    let desk = Desk::new().await;
    let run = desk.bc(&["no-such-file.csv"], b"");
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
    assert!(run.stderr.contains("no-such-file.csv"));
}
