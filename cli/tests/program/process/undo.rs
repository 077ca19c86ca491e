//! docs/guides/undo.md, command by command.

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

#[test]
fn the_story_of_the_wrong_file_comes_to_a_clean_end() {
    let desk = Desk::new();
    write_files(&desk);
    let mut wrong = String::new();
    let mut run = |command: &[&str]| -> Run {
        let args: Vec<&str> =
            command.iter().map(|word| if *word == "WRONG" { &*wrong } else { *word }).collect();
        let ran = desk.run(&args).exits(0);
        if command.contains(&"partners.csv") {
            wrong = desk.run(&["imports", "show", "last", "--json"]).exits(0).json()["id"].as_str().unwrap()
                [..23]
                .to_owned();
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
    let diff = &of("imports plan last --diff --field metadata.office").stdout;
    assert_eq!(diff.lines().filter(|line| line.starts_with("record ")).count(), 39_976);
    assert!(diff.contains("\n  - metadata.office: \"Partners 1\"\n  + metadata.office: \"Milan 1\""));
    let undone = of("imports proceed last");
    assert!(undone.stdout.contains("updated   40,976"), "{undone:#?}");
    assert!(undone.stdout.contains("skipped   20 (changed_since 20)"), "{undone:#?}");
    let kept = of("imports records last --outcome skipped");
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
    let twice = desk.run(&["imports", "undo", &wrong]).exits(1);
    twice.tells(&["already", "[already_undone]"]);
    let check = desk.run(&["imports", "undo", &wrong, "--check"]).exits(1);
    check.tells(&["undoes it already [already_undone]", "imports show"]);
    desk.run(&["imports", "undo", "last", "--field", "nothing"]).exits(2).tells(&["no field"]);
    desk.run(&["imports", "undo", "last", "--field", "metadata.a,email"])
        .exits(2)
        .tells(&["one field at a time"]);
    desk.run(&["imports", "undo", "last", "--records", "0"]).exits(2);
    desk.run(&["imports", "undo", "last", "--code", "email_invalid"]).exits(2).tells(&["changed_since_plan"]);
    desk.run(&["imports", "undo", "last", "--now", "--hold"]).exits(2);
    let id =
        desk.run(&["imports", "show", "last", "--json"]).exits(0).json()["id"].as_str().unwrap().to_owned();
    let held = desk.run(&["imports", "undo", "last", "--hold", "--json"]).exits(0).json();
    assert_eq!((&held["state"], &held["counts"]["total"]), (&"received".into(), &20.into()));
    desk.run(&["imports", "cancel", "last"]).exits(0);
    let at_once = desk.run(&["imports", "undo", &id, "--now"]).exits(0);
    assert!(at_once.stdout.contains("updated   20"), "{at_once:#?}");
}
