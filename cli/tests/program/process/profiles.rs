//! Import profiles: a tenant's own and the built-in ones; workbooks; and what failed by cause.

use std::path::{Path, PathBuf};

use muster_domain::import_profile::BUILTIN;
use muster_store::tenants;
use muster_testkit::TestDatabase;
use tokio::runtime::Runtime;

use crate::harness::{Desk, Run};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The file with the vendor's published names that each guide is tried with.
fn sample(profile: &str) -> &'static str {
    match profile {
        "google-workspace" => "12b.csv",
        "microsoft-365" => "13b.csv",
        "entra" => "11.csv",
        "okta" => "14.csv",
        "cognito" => "15.csv",
        "auth0" => "61c.json",
        "keycloak" => "60d.json",
        "firebase" => "60e.json",
        "fusionauth" => "89b.json",
        "scim" => "63i.json",
        "moodle" => "17b.csv",
        "canvas" => "16b.csv",
        "slack" => "19b.csv",
        other => panic!("{other} has no sample"),
    }
}

#[test]
fn the_commands_of_each_guide_work_as_they_stand() {
    // A server of its own would have to be started anew for each of the commands.
    let runtime = Runtime::new().unwrap();
    let database = runtime.block_on(TestDatabase::create());
    runtime.block_on(async {
        let store = database.store().await;
        tenants::ensure_default(&store).await.unwrap();
        store.close().await;
    });
    let desk = Desk::new().set("DATABASE_URL", &database.url());
    for profile in BUILTIN {
        let cases = repository().join("shared/test_data/cases");
        std::fs::copy(cases.join(sample(profile.name)), desk.path(profile.file)).unwrap();
        let guide = repository().join("docs/guides").join(format!("{}.md", profile.name));
        let guide = std::fs::read_to_string(guide).unwrap();
        let (_, commands) = guide.split_once("```sh\n").unwrap();
        let (commands, _) = commands.split_once("```").unwrap();
        let mut run = 0;
        for line in commands.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words[0], "muster", "{line}");
            desk.run(&words[1..]).exits(0);
            run += 1;
        }
        assert_eq!(run, 2, "{}", profile.name);
    }
}

#[test]
fn the_profile_that_fits_is_proposed_and_never_taken() {
    let desk = Desk::new();
    let cases = repository().join("shared/test_data/cases");
    for profile in BUILTIN {
        let file = format!("{}-{}", profile.name, profile.file);
        std::fs::copy(cases.join(sample(profile.name)), desk.path(&file)).unwrap();
        let told = desk.run(&["inspect", &file, "--profile", "auto"]).exits(0);
        let command = format!("muster import users {file} --profile {}", profile.name);
        assert!(told.stdout.contains(&command), "{told:#?}");
    }
    desk.write("people.csv", "email\na@example.com\n");
    desk.run(&["inspect", "people.csv", "--profile", "auto"]).exits(2).tells(&["muster profile list"]);
    desk.run(&["import", "users", "people.csv", "--profile", "auto"]).exits(2).tells(&["muster inspect"]);
}

#[test]
fn a_profile_is_saved_used_shown_and_deleted() {
    let desk = Desk::new();
    desk.write("people.csv", "Titel;Wann\n1;2\nMail-Adresse;Geb.\na@example.com;24.12.1980\n");
    let save = ["profile", "save", "hr", "--skip-lines", "2", "--dates", "dmy"];
    let columns = ["--column", "Mail-Adresse=email", "--column", "Geb.=birthdate"];
    desk.run(&[&save[..], &columns].concat()).exits(0);
    let list = desk.run(&["profile", "list"]).exits(0);
    assert!(list.stdout.contains("hr ") && list.stdout.contains("google-workspace"), "{list:#?}");
    let shown = desk.run(&["profile", "show", "hr"]).exits(0);
    assert!(shown.stdout.contains("Geb.=birthdate"), "{shown:#?}");
    desk.run(&["inspect", "people.csv", "--profile", "hr"]).exits(0);
    desk.run(&["import", "users", "people.csv", "--profile", "hr"]).exits(0);
    // Options given beside the profile take precedence.
    desk.run(&["import", "users", "people.csv", "--profile", "hr", "--dates", "iso"]).exits(3);
    desk.run(&["profile", "save", "okta", "--dates", "dmy"]).exits(2).tells(&["built-in"]);
    desk.run(&["profile", "save", "none"]).exits(2).tells(&["name at least one to save"]);
    desk.run(&["profile", "save", "x", "--dates", "auto"]).exits(2).tells(&["say `iso`, `dmy` or `mdy`"]);
    desk.run(&["profile", "save", "x", "--format", "csv"]).exits(2).tells(&["by the ending of its name"]);
    desk.run(&["profile", "save", "x", "--profile", "okta"]).exits(2).tells(&["cannot be part of a profile"]);
    desk.run(&["profile", "delete", "hr"]).exits(0);
    desk.run(&["profile", "show", "hr"]).exits(1).tells(&["muster profile list"]);
    desk.run(&["import", "users", "people.csv", "--profile", "hr"]).exits(2).tells(&["muster profile save"]);
}

#[test]
fn a_workbook_goes_in_and_its_failed_records_come_back_as_a_table() {
    let desk = Desk::new();
    let cases = repository().join("shared/test_data/cases");
    std::fs::copy(cases.join("25j.xlsx"), desk.path("staff.xlsx")).unwrap();
    let told = desk.run(&["inspect", "staff.xlsx"]).exits(3);
    for words in ["sheet People", "record 3, line 7", "muster import users staff.xlsx --skip-lines 2"] {
        assert!(told.stdout.contains(words), "{words}: {told:#?}");
    }
    desk.run(&["import", "users", "staff.xlsx", "--skip-lines", "2"]).exits(3);
    desk.run(&["imports", "failed", "last", "-o", "failed.csv"]).exits(0);
    assert!(desk.read("failed.csv").contains("spreadsheet_damage"));
    desk.run(&["import", "users", "staff.xlsx", "--sheet", "Other"]).exits(0);
    desk.run(&["import", "users", "staff.xlsx", "--sheet", "Third"]).exits(1).tells(&["`People`, `Other`"]);
}

#[test]
fn what_failed_is_told_by_cause_and_can_be_fetched_and_retried_by_it() {
    let desk = Desk::new();
    let mut file = String::from("email,phone_number,birthdate\n");
    for number in 0..30 {
        let phone = if number % 3 == 0 { "089/123" } else { "" };
        let birthdate = if number % 5 == 1 { "31.31.2000" } else { "" };
        file.push_str(&format!("person{number}@example.com,{phone},{birthdate}\n"));
    }
    desk.write("people.csv", &file);
    let import = desk.run(&["import", "users", "people.csv"]).exits(3);
    for words in
        ["10  phone_number:", "record 1, line 2; record 4, line 5", "such as `089/123`", "6  birthdate:"]
    {
        assert!(import.stdout.contains(words), "{words}: {import:#?}");
    }
    let problems = desk.run(&["imports", "problems", "last", "--json"]).exits(0).json();
    assert_eq!((&problems["problems"][0]["count"], &problems["more"]), (&10.into(), &false.into()));
    assert_eq!(problems["problems"][1]["first"][0], serde_json::json!({"record": 2, "line": 3}));
    let code = problems["problems"][1]["code"].as_str().unwrap().to_owned();
    let records = desk.run(&["imports", "records", "last", "--code", &code]).exits(0);
    assert_eq!(records.stdout.lines().count(), 6, "{records:#?}");
    let none = desk.run(&["imports", "records", "last", "--code", &code, "--field", "phone_number"]).exits(0);
    assert_eq!(none.stdout, "");
    desk.run(&["imports", "failed", "last", "--field", "birthdate", "-o", "dates.csv"]).exits(0);
    assert_eq!(desk.read("dates.csv").lines().count(), 7);
    // Nothing has changed, so they fail again; the others were not touched.
    desk.run(&["imports", "retry", "last", "--field", "birthdate"]).exits(3);
    desk.run(&["imports", "report", "last", "-o", "report.csv"]).exits(0);
    let report = desk.read("report.csv");
    assert_eq!(report.lines().count(), 31);
    assert!(report.lines().nth(2).unwrap().contains("person1@example.com"), "{report}");
}

#[test]
fn a_file_most_of_whose_first_records_fail_for_one_cause_is_stopped() {
    let desk = Desk::new();
    let mut file = String::from("email,birthdate\n");
    for number in 0..150 {
        file.push_str(&format!(
            "person{number}@example.com,{}\n",
            if number < 100 { "24.12.1980" } else { "" }
        ));
    }
    desk.write("people.csv", &file);
    desk.run(&["import", "users", "people.csv"]).exits(1).tells(&[
        "100 of the first 150 records",
        "[mostly_invalid]",
        "`--brake 0`",
    ]);
    desk.run(&["import", "users", "people.csv", "--brake", "70", "--json"]).exits(3);
    desk.run(&["import", "users", "people.csv", "--dates", "dmy"]).exits(0);
}

/// Text in windows-1252, as far as German needs it.
fn windows_1252(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

/// A list of staff with so many people, of whom the last ten stand in it twice and three have a mistake.
fn staff(people: usize) -> Vec<u8> {
    let mut text = String::from(
        "Mitarbeiterliste Stand 01.10.2026;;;;;;\r\n;;;;;;\r\nPersonalnummer;Nachname;Vorname;E-Mail;Telefon;Geburtsdatum;Abteilung\r\n",
    );
    for number in (1..=people).chain(people - 9..=people) {
        let email = if number == 7 { "person7".into() } else { format!("person{number}@example.com") };
        let phone = if number == 9 { "siehe Liste".into() } else { format!("0151 234{number:05}") };
        let day = if number == 11 { "31.02.1980" } else { "24.12.1980" };
        text.push_str(&format!("{number:05};Müller;Jürgen;{email};{phone};{day};Einkauf & Lager\r\n"));
        if number % 50 == 0 {
            text.push_str(";;;;;;\r\n");
        }
    }
    windows_1252(&text)
}

/// How many people the list of the guide has.
const STAFF: usize = 40_000;
/// What stands in the guide for the id of any import, and for the time that any import took.
const ID: &str = "0199f3a0-7b7c-7000-8000-00000000000a";
const TIME: &str = "  time      1.0 s, 40,000 records/s";

/// What a run printed, with what is other at each run replaced.
fn printed(stdout: &str) -> String {
    let is_id = |at: usize, text: &str| {
        text.get(at..at + ID.len()).is_some_and(|id| {
            let fits = |(c, like): (char, char)| if like == '-' { c == '-' } else { c.is_ascii_hexdigit() };
            id.chars().zip(ID.chars()).all(fits)
        })
    };
    let line = |line: &str| {
        if line.starts_with("  time ") {
            return TIME.to_owned();
        }
        let mut line = line.to_owned();
        if let Some(at) = (0..line.len()).find(|at| is_id(*at, &line)) {
            line.replace_range(at..at + ID.len(), ID);
        }
        line.trim_end().to_owned()
    };
    stdout.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The guide with what its commands print, and what each of them came to.
fn followed(desk: &Desk, guide: &str, file: &str) -> (String, Vec<Run>) {
    let mut written = String::new();
    let mut runs: Vec<Run> = Vec::new();
    for (at, part) in guide.split("```").enumerate() {
        let text = match (part.split_once('\n'), at % 2) {
            (Some(("sh", commands)), 1) => {
                for line in commands.lines() {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    assert_eq!(words[0], "muster", "{line}");
                    runs.push(desk.run(&words[1..]));
                }
                part.to_owned()
            }
            (Some(("text", _)), 1) => {
                let printed = runs.last().map_or_else(|| file.to_owned(), |run| printed(&run.stdout));
                format!("text\n{printed}\n")
            }
            _ => part.to_owned(),
        };
        if at > 0 {
            written.push_str("```");
        }
        written.push_str(&text);
    }
    (written, runs)
}

/// `MUSTER_UPDATE_DOCS=1` writes into the guide what its commands print.
#[test]
fn a_file_of_an_hr_system_goes_in_as_its_guide_says() {
    let desk = Desk::new();
    let file = staff(STAFF);
    let text: String = file.iter().map(|byte| char::from(*byte)).collect();
    let begins = text.lines().take(5).collect::<Vec<_>>().join("\n");
    desk.write("personal.csv", file);
    let path = repository().join("docs/guides/hr-file.md");
    let guide = std::fs::read_to_string(&path).unwrap();
    let (written, runs) = followed(&desk, &guide, &begins);
    let codes: Vec<i32> = runs.iter().map(|run| run.code.unwrap()).collect();
    assert_eq!(codes, [3, 3, 3, 0, 3, 0, 0], "{runs:#?}");
    for (at, words) in [
        (0, "40,010 of 40,010 records would fail"),
        (0, "--phone-country"),
        (0, "--dates dmy"),
        (1, "3 of 40,010 records would fail"),
        (2, "inserted  39,997"),
        (2, "failed    3"),
        // The first import inserts, the second finds everything there.
        (4, "skipped   40,007"),
        (4, "failed    3"),
        (5, "record 7, line 10"),
    ] {
        assert!(runs[at].stdout.contains(words), "{words}: {:#?}", runs[at]);
    }
    assert_eq!(runs[5].stdout.matches("such as").count(), 3, "{:#?}", runs[5]);
    assert_eq!(desk.read("failed.csv").lines().count(), 4);
    if std::env::var_os("MUSTER_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == written,
        "docs/guides/hr-file.md is not what its commands print: run this test with MUSTER_UPDATE_DOCS=1"
    );
}

#[test]
fn the_order_of_days_is_taken_where_the_file_proves_it() {
    let desk = Desk::new();
    let days = |days: [&str; 3]| {
        let rows = days.iter().enumerate().map(|(at, day)| format!("a{at}@example.com,{day}\n"));
        format!("email,birthdate\n{}", rows.collect::<String>())
    };
    desk.write("proved.csv", days(["24.12.1980", "01.02.1990", ""]));
    desk.write("either.csv", days(["01.02.1990", "03.04.1990", ""]));
    desk.write("mixed.csv", days(["24/12/1980", "12/24/1980", ""]));
    let told = desk.run(&["inspect", "proved.csv", "--dates", "auto"]).exits(0);
    assert!(told.stdout.contains("muster import users proved.csv --dates dmy"), "{told:#?}");
    let told = desk.run(&["inspect", "either.csv"]).exits(3);
    assert!(told.stdout.contains("Each date fits both orders"), "{told:#?}");
    desk.run(&["import", "users", "proved.csv", "--dates", "auto"]).exits(0);
    let ada = desk.run(&["users", "show", "a1@example.com", "--json"]).exits(0).json();
    assert_eq!(ada["birthdate"], "1990-02-01", "{ada}");
    desk.run(&["import", "users", "either.csv", "--dates", "auto"]).exits(2).tells(&["--dates mdy"]);
    desk.run(&["import", "users", "mixed.csv", "--dates", "auto"]).exits(2).tells(&["no order fits"]);
    let piped = ["import", "users", "-", "--format", "csv", "--dates", "auto"];
    let proved = desk.read("proved.csv").replace("example.com", "example.org");
    desk.run_with_input(&piped, proved.as_bytes()).exits(0);
    let ada = desk.run(&["users", "show", "a1@example.org", "--json"]).exits(0).json();
    assert_eq!(ada["birthdate"], "1990-02-01", "{ada}");
    let either = desk.read("either.csv");
    desk.run_with_input(&piped, either.as_bytes()).exits(1).tells(&["--dates mdy", "[days_unproved]"]);
}

#[test]
fn a_look_tells_values_that_a_file_has_twice() {
    let desk = Desk::new();
    desk.write(
        "twice.csv",
        "email,phone_number\na@example.com,+441134960001\nA@example.com,\nb@example.com,+441134960001\n",
    );
    let told = desk.run(&["inspect", "twice.csv"]).exits(0);
    for words in
        ["record 2 means the same user as record 1", "record 3 has the value of record 1", "record 3, line 4"]
    {
        assert!(told.stdout.contains(words), "{words}: {told:#?}");
    }
}

/// One is found while the file is received, the other when the record is applied.
#[test]
fn what_a_record_is_warned_of_before_and_while_it_is_applied_is_told() {
    let desk = Desk::new();
    desk.write("people.csv", "email,first_name,phone_number_verified\na@example.com,\"Ada\nB.\",true\n");
    desk.run(&["import", "users", "people.csv"]).exits(0);
    let told = desk.run(&["imports", "records", "last", "--json"]).exits(0).json();
    let wanted = [
        "first_name holds a line break; it was replaced by a blank.",
        "phone_number_verified = true has no effect when phone_number is absent.",
    ];
    assert_eq!(told["warnings"], serde_json::json!(wanted), "{told}");
}

#[test]
fn values_that_were_left_out_are_told_in_the_summary() {
    let desk = Desk::new();
    desk.write(
        "people.csv",
        "email,phone_number\na@example.com,call me\nb@example.com,call me\nc@example.com,\n",
    );
    let run = desk.run(&["import", "users", "people.csv", "--on-invalid-value", "drop"]).exits(0);
    for words in
        ["inserted  3", "phone_number was left out", "[warning]", "record 1, line 2; record 2, line 3"]
    {
        assert!(run.stdout.contains(words), "{words}: {run:#?}");
    }
    let told = desk.run(&["imports", "problems", "last"]).exits(0);
    assert!(told.stdout.contains("phone_number was left out"), "{told:#?}");
}
