//! `--plan`, `muster imports plan` and `proceed`, on the embedded engine and through a server.

use super::serve::serve;
use crate::harness::Desk;

const PEOPLE: &str = "email,first_name\nada@example.com,Ada\nbea@example.com,Bea\n";
const LATER: &str = "email,first_name\nada@example.com,Ida\nbea@example.com,Bea\ncara@example.com,Cara\n";

#[test]
fn a_file_is_planned_looked_at_and_applied() {
    let desk = Desk::new();
    desk.write("people.csv", PEOPLE);
    desk.write("later.csv", LATER);
    desk.run(&["import", "users", "people.csv"]).exits(0);
    let planned = desk.run(&["import", "users", "later.csv", "--plan"]).exits(0);
    for line in [
        "would insert  1",
        "would update  1",
        "would skip    1 (unchanged 1)",
        "would fail    0",
        "given_name: changed 1",
        "to apply it: muster imports proceed ",
        "to drop it:  muster imports cancel ",
    ] {
        assert!(planned.stdout.contains(line), "{line}: {planned:#?}");
    }
    // Nothing was written, and the same command shows the same plan.
    let names = |desk: &Desk| {
        let users = desk.run(&["users", "list", "--json"]).exits(0).json();
        let mut names: Vec<String> = users
            .as_array()
            .unwrap()
            .iter()
            .map(|user| user["given_name"].as_str().unwrap().to_owned())
            .collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&desk), ["Ada", "Bea"]);
    let again = desk.run(&["import", "users", "later.csv", "--dry-run", "--json"]).exits(0).json();
    assert_eq!((&again["state"], &again["counts"]["updated"]), (&"planned".into(), &1.into()));
    let diff = desk.run(&["imports", "plan", "last", "--diff"]).exits(0);
    assert!(diff.stdout.contains("\n  - given_name: \"Ada\"\n  + given_name: \"Ida\""), "{diff:#?}");
    let none = desk.run(&["imports", "plan", "last", "--diff", "--field", "phone_number"]).exits(0);
    assert_eq!(none.stdout, "");
    // It is made anew, as things are now.
    desk.write("meanwhile.csv", "email,first_name\ncara@example.com,Cara\n");
    desk.run(&["import", "users", "meanwhile.csv"]).exits(0);
    let id = again["id"].as_str().or(again["import"].as_str()).unwrap();
    let anew = desk.run(&["imports", "plan", id, "--again"]).exits(0);
    assert!(anew.stdout.contains("would insert  0") && anew.stdout.contains("unchanged 2"), "{anew:#?}");
    desk.run(&["imports", "proceed", id]).exits(0);
    desk.run(&["imports", "plan", id, "--again"]).exits(1);
    assert_eq!(names(&desk), ["Bea", "Cara", "Ida"]);
    desk.run(&["import", "users", "people.csv", "--plan", "--start", "auto"]).exits(2);
    desk.run(&["imports", "plan", "0198ffff"]).exits(1);
}

#[test]
fn a_plan_ends_as_applying_it_would_and_one_that_is_dropped_is_gone() {
    let desk = Desk::new();
    desk.write("people.csv", "email,first_name\nada@example.com,Ada\nnobody,Bea\n");
    let (child, url, token) = serve(&desk, true);
    let through = |args: &[&str]| desk.run(&[args, &["--server", &url, "--token", &token]].concat());
    let planned = through(&["import", "users", "people.csv", "--plan", "--brake", "0"]).exits(3);
    assert!(planned.stdout.contains("would fail    1"), "{planned:#?}");
    let plan = through(&["imports", "plan", "last", "--json"]).exits(3).json();
    assert_eq!((&plan["counts"]["inserted"], &plan["counts"]["failed"]), (&1.into(), &1.into()));
    through(&["imports", "cancel", "last"]).exits(0);
    through(&["imports", "plan", "last"]).exits(1).tells(&["no_plan"]);
    // An undo waits for its plan too, and shows it.
    through(&["import", "users", "people.csv", "--brake", "0"]).exits(3);
    let undone = through(&["imports", "undo", "last"]).exits(0);
    assert!(undone.stdout.contains("would update  1 (deleted 1)"), "{undone:#?}");
    through(&["imports", "proceed", "last"]).exits(0);
    crate::harness::signal(&child, "TERM");
    crate::harness::wait(child);
}
