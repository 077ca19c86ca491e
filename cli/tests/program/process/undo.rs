//! docs/guides/undo.md, command by command.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::harness::{Desk, Run};

const GUIDE: &str = include_str!("../../../../docs/guides/undo.md");

/// The commands of the guide, in their order.
fn commands() -> Vec<Vec<&'static str>> {
    let blocks = GUIDE.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines);
    lines
        .map(|line| line.strip_prefix("muster ").unwrap_or_else(|| panic!("{line}")).split(' ').collect())
        .collect()
}

/// 40,000 users; 39,996 of them and 1,000 strangers with other offices; 20 of those corrected.
fn write_files(desk: &Desk) {
    let header = "email,custom__office\n";
    let (mut people, mut partners, mut corrections) =
        (header.to_owned(), header.to_owned(), header.to_owned());
    for at in 0..40_000 {
        writeln!(people, "person{at}@example.com,Milan {}", at % 9).unwrap();
        if at < 39_996 {
            writeln!(partners, "person{at}@example.com,Partners {}", at % 7).unwrap();
        }
    }
    for at in 0..1_000 {
        writeln!(partners, "stranger{at}@example.com,Partners").unwrap();
    }
    for at in 0..20 {
        writeln!(corrections, "person{}@example.com,Rome", at * 1_000).unwrap();
    }
    desk.write("people.csv", people);
    desk.write("partners.csv", partners);
    desk.write("corrections.csv", corrections);
}

/// The id of the newest import.
fn newest(desk: &Desk) -> String {
    desk.run(&["imports", "show", "last", "--json"]).exits(0).json()["id"].as_str().unwrap().to_owned()
}

/// The name that the guide gives to the import that a command makes.
fn name_of_made(command: &[&'static str]) -> Option<&'static str> {
    match *command {
        [.., "partners.csv"] => Some("WRONG"),
        ["imports", "undo", "WRONG"] => Some("UNDO"),
        [.., "--plan"] => Some("PLANNED"),
        _ => None,
    }
}

#[test]
fn the_story_of_the_wrong_file_comes_to_a_clean_end() {
    let desk = Desk::new();
    write_files(&desk);
    let mut ids: BTreeMap<&str, String> = BTreeMap::new();
    let mut run = |command: &[&'static str]| -> Run {
        let args: Vec<&str> =
            command.iter().map(|word| ids.get(word).map_or(*word, String::as_str)).collect();
        let ran = desk.run(&args).exits(0);
        if let Some(name) = name_of_made(command) {
            // The beginning is enough.
            ids.insert(name, newest(&desk)[..23].to_owned());
        }
        ran
    };
    let ran: Vec<(String, Run)> =
        commands().iter().map(|command| (command.join(" "), run(command))).collect();
    let of = |wanted: &str| {
        &ran.iter().find(|(command, _)| command == wanted).unwrap_or_else(|| panic!("{wanted}")).1
    };
    assert!(of("import users partners.csv").stdout.contains("inserted  1,000\n  updated   39,996"));
    assert!(of("imports list").stdout.lines().count() >= 4);
    let check = of("imports undo WRONG --check");
    for told in
        ["can be undone: 1,000 records inserted users, 39,996 changed them", "imports changed users after it"]
    {
        assert!(check.stderr.contains(told), "{check:#?}");
    }
    let planned = of("imports undo WRONG");
    for told in [
        "would update  40,976 (deleted 1,000)",
        "would skip    20 (changed_since 20)",
        "39,976",
        "muster imports proceed ",
    ] {
        assert!(planned.stdout.contains(told), "{told}: {planned:#?}");
    }
    let diff = &of("imports plan UNDO --diff --field metadata.office").stdout;
    let count = |start: &str| diff.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!((count("record "), count("  - the user"), count("  ~ ")), (40_996, 1_000, 20));
    assert!(diff.contains("\n  - metadata.office: \"Partners 1\"\n  + metadata.office: \"Milan 1\""));
    let alone = &of("imports plan UNDO --diff --outcome skipped").stdout;
    assert_eq!(alone.lines().filter(|line| line.starts_with("record ")).count(), 20, "{alone}");
    assert!(alone.contains("left as it is: metadata.office"), "{alone}");
    let undone = of("imports proceed UNDO");
    assert!(undone.stdout.contains("updated   40,976"), "{undone:#?}");
    assert!(undone.stdout.contains("skipped   20 (changed_since 20)"), "{undone:#?}");
    let kept = of("imports records UNDO --outcome skipped");
    assert!(kept.stdout.lines().all(|line| line.contains("  changed_since  user 0")), "{kept:#?}");
    assert_eq!(kept.stdout.lines().count(), 20, "{kept:#?}");
    assert!(kept.stdout.lines().all(|line| line.contains(", and left as it is: metadata.office")));

    let foreseen = of("import users people.csv --plan");
    assert!(
        foreseen.stdout.contains("would update  20") && foreseen.stdout.contains("unchanged 39,980"),
        "{foreseen:#?}"
    );

    // As it was before, but for the corrections: the right file again finds nothing but those.
    let again = desk.run(&["import", "users", "people.csv"]).exits(0);
    assert!(again.stdout.contains("updated   20") && again.stdout.contains("unchanged 39,980"), "{again:#?}");
    let wrong = &*ids["WRONG"];
    let twice = desk.run(&["imports", "undo", wrong]).exits(1);
    twice.tells(&["already", "[already_undone]"]);
    let check = desk.run(&["imports", "undo", wrong, "--check"]).exits(1);
    check.tells(&["undoes it already [already_undone]", "imports show"]);
    desk.run(&["imports", "undo", "last", "--field", "nothing"]).exits(2).tells(&["no field"]);
    desk.run(&["imports", "undo", "last", "--field", "metadata.a,email"])
        .exits(2)
        .tells(&["one field at a time"]);
    desk.run(&["imports", "undo", "last", "--records", "0"]).exits(2);
    desk.run(&["imports", "undo", "last", "--code", "email_invalid"]).exits(2).tells(&["changed_since_plan"]);
    desk.run(&["imports", "undo", "last", "--now", "--hold"]).exits(2);
    let id = newest(&desk);
    let held = desk.run(&["imports", "undo", "last", "--hold", "--json"]).exits(0).json();
    assert_eq!((&held["state"], &held["counts"]["total"]), (&"received".into(), &20.into()));
    desk.run(&["imports", "cancel", "last"]).exits(0);
    let at_once = desk.run(&["imports", "undo", &id, "--now"]).exits(0);
    assert!(at_once.stdout.contains("updated   20"), "{at_once:#?}");
}

#[test]
fn an_import_that_waits_is_cancelled_before_it_is_undone() {
    let desk = Desk::new();
    desk.write("people.csv", "email,custom__office\na@example.com,Rome\n");
    desk.run(&["import", "users", "people.csv", "--start", "manual"]).exits(0);
    let id = newest(&desk);
    let told = format!(
        "it is received; cancel it first, then undo it: `muster imports cancel {id}` [state_conflict]"
    );
    for command in [&["imports", "undo", "last"][..], &["imports", "undo", "last", "--check"]] {
        desk.run(command).exits(1).tells(&[&told]);
    }
    desk.run(&["imports", "show", "last"])
        .exits(0)
        .tells(&[&format!("to start it: muster imports proceed {id}")]);
    // A check of a part would say what it does not count.
    for part in [["--field", "email"], ["--records", "1"], ["--outcome", "inserted"], ["--code", "enrolled"]]
    {
        let command = ["imports", "undo", "last", "--check", part[0], part[1]];
        desk.run(&command).exits(2).tells(&["--check counts the whole import"]);
    }
    desk.run(&["imports", "proceed", "last"]).exits(0);
    // Once more there is nothing to do, and that is said.
    let idle = desk.run(&["imports", "proceed", "last"]).exits(0);
    idle.tells(&["nothing was to be done", &id, "is completed", "`muster imports list --state planned`"]);
    let idle = desk.run(&["imports", "retry", "last"]).exits(0);
    idle.tells(&["nothing was to be done", "no record of it failed"]);
}

#[test]
fn undos_of_undos_are_shown_with_what_to_type() {
    let desk = Desk::new();
    desk.write("people.csv", "email,custom__office\na@example.com,Milan\n");
    desk.write("wrong.csv", "email,custom__office\na@example.com,Rome\nb@example.com,Rome\n");
    desk.run(&["import", "users", "people.csv"]).exits(0);
    desk.run(&["import", "users", "wrong.csv"]).exits(0);
    let wrong = newest(&desk);
    desk.run(&["imports", "undo", &wrong, "--now"]).exits(0);
    let first = newest(&desk);

    // Each says what the other is, and no option of a file is one of an undo.
    let row = |id: &str, name: &str| {
        let shown = desk.run(&["imports", "show", id]).exits(0).stdout;
        let found =
            shown.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
        (found, shown.contains("phone_check"))
    };
    assert_eq!(row(&first, "undoes "), (Some(wrong.clone()), false));
    assert_eq!(row(&wrong, "undone by "), (Some(first.clone()), true));
    let listed = desk.run(&["imports", "list"]).exits(0).stdout;
    assert!(listed.contains(&format!("undo of wrong.csv, import {wrong}")), "{listed}");
    assert!(listed.contains(&format!("wrong.csv (undo {first}: completed)")), "{listed}");
    let records = desk.run(&["imports", "records", &first]).exits(0).stdout;
    assert!(records.lines().all(|line| line.contains("  user 0")), "{records}");

    // The undo was undone: the import's changes are there again, and the newest undo takes them back.
    desk.run(&["imports", "undo", &first, "--now"]).exits(0);
    let second = newest(&desk);
    let command = format!("muster imports undo {second}");
    let told = desk.run(&["imports", "undo", &wrong]).exits(1);
    let told =
        told.tells(&[&format!("import {first} undoes it already [already_undone]"), &format!("`{command}`")]);
    assert!(told.stderr.contains(&format!("{second} is the newest of them")), "{told:#?}");
    desk.run(&command.split(' ').skip(1).collect::<Vec<_>>()).exits(0);
    let third = newest(&desk);
    desk.run(&["imports", "undo", &wrong])
        .exits(1)
        .tells(&[&format!("`muster imports proceed {third}` does it")]);
    let shown = desk.run(&["imports", "show", &third]).exits(0);
    shown.tells(&[&format!("to apply it: muster imports proceed {third}"), "to drop it:"]);

    // A cancelled undo is resumed, not retried.
    desk.run(&["imports", "cancel", &third]).exits(0);
    desk.run(&["imports", "retry", &third]).exits(1).tells(&[&format!("`muster imports resume {third}`")]);
}
