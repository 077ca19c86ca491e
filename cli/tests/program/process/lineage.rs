//! docs/guides/receipt.md, command by command; and receipts that were changed, over a real socket.

use std::process::Stdio;

use serde_json::Value;

use super::serve::serve;
use crate::harness::{Desk, Run, signal, wait};

const GUIDE: &str = include_str!("../../../../docs/guides/receipt.md");

/// The commands of the guide, in their order.
fn commands() -> Vec<Vec<&'static str>> {
    let blocks = GUIDE.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines);
    lines
        .map(|line| line.strip_prefix("muster ").unwrap_or_else(|| panic!("{line}")).split(' ').collect())
        .collect()
}

const STAFF: &str = "email,first_name,custom__office\n\
    ada@example.com,Ada,Rome\n\
    bob,Bob,Rome\n\
    cyd@example.com,Cyd,Oslo\n\
    dan,Dan,Oslo\n\
    eve@example.com,Eve,Bern\n\
    fay@example.com,Fay,Bern\n";

#[test]
fn the_story_of_the_mended_file_ends_with_its_proof() {
    let desk = Desk::new();
    desk.write("staff.csv", STAFF);
    let mut key = String::new();
    let mut ran: Vec<(String, Run)> = Vec::new();
    for command in commands() {
        let args: Vec<&str> = command.iter().map(|word| if *word == "KEY" { &*key } else { *word }).collect();
        let line = command.join(" ");
        // Two records fail, then one, then none; what was mended in between is somebody's work.
        let code = if matches!(&*line, "import users staff.csv" | "import users failed.csv") { 3 } else { 0 };
        let run = desk.run(&args).exits(code);
        match &*line {
            "imports failed last -o failed.csv" => {
                let mended = desk.read("failed.csv").replace("\"bob\"", "\"bob@example.com\"");
                desk.write("failed.csv", mended);
            }
            "imports failed last -o failed2.csv" => {
                let mended = desk.read("failed2.csv").replace("\"dan\"", "\"dan@example.com\"");
                desk.write("failed2.csv", mended);
            }
            "receipts key" => key = run.stdout.trim().to_owned(),
            _ => {}
        }
        ran.push((line, run));
    }
    let of = |wanted: &str| {
        &ran.iter().find(|(command, _)| command == wanted).unwrap_or_else(|| panic!("{wanted}")).1
    };
    let shown = of("imports show last");
    assert!(shown.stdout.contains("6 records: 6 applied over 3 imports, 0 open"), "{shown:#?}");
    let good = of("verify receipt.json failed2.csv");
    assert!(
        good.stdout.contains("failed2.csv is the file") && good.stdout.contains("it has 1 records"),
        "{good:#?}"
    );
    assert!(of("verify receipt.json failed2.csv --key KEY").stdout.contains("the key that was given"));
    let page = desk.read("report.html");
    assert!(page.contains("6 records: 6 applied over 3 imports, 0 open"), "{page}");
    assert!(!page.contains("example.com") && !page.contains("http"), "{page}");
    let history = of("users history ada@example.com");
    for told in [
        "inserted by import",
        "(staff.csv), record 1, line 2, operator",
        "given_name: nothing -> Ada",
        "metadata.office: nothing -> Rome",
    ] {
        assert!(history.stdout.contains(told), "{told}: {history:#?}");
    }
    // Before the last mending one record was open.
    let list = desk.run(&["imports", "list", "--json"]).exits(0).json();
    let second = list[1]["id"].as_str().unwrap();
    let second = desk.run(&["imports", "show", second, "--json"]).exits(0).json();
    assert_eq!(second["mends"], list[2]["id"]);
    assert_eq!(second["family"]["members"].as_array().unwrap().len(), 3);
}

/// Each changed byte is found, in the receipt and in the file, and told by its name.
#[test]
fn what_was_changed_is_found_without_asking_anybody() {
    let desk = Desk::new();
    let (child, url, token) = serve(&desk, true);
    let at = |args: &[&str]| {
        let mut args = args.to_vec();
        args.extend(["--server", &url, "--token", &token]);
        desk.run(&args)
    };
    desk.write("staff.csv", STAFF);
    at(&["import", "users", "staff.csv"]).exits(3);
    at(&["imports", "receipt", "last", "-o", "receipt.json"]).exits(0);
    let key = at(&["receipts", "key"]).exits(0).stdout.trim().to_owned();
    at(&["imports", "report", "last", "--html", "-o", "report.html"]).exits(0);
    assert!(desk.read("report.html").contains("email_invalid"));
    let held = at(&["import", "users", "staff.csv", "--start", "manual", "--json"]).exits(3).json();
    let id = held["id"].as_str().unwrap();
    at(&["imports", "receipt", id]).exits(1).tells(&["received", "[state_conflict]"]);
    at(&["imports", "report", id, "--html"]).exits(1).tells(&["[state_conflict]"]);
    let other = "00000000-0000-7000-8000-000000000001";
    at(&["import", "users", "staff.csv", "--mends", other]).exits(2).tells(&["--mends", "of this tenant"]);
    signal(&child, "TERM");
    wait(child).exits(0);

    // Nothing is asked: nothing runs any more, and the folder is another.
    let alone = Desk::new();
    let receipt = desk.read("receipt.json");
    alone.write("receipt.json", &receipt);
    alone.write("staff.csv", STAFF);
    let good = alone.run(&["verify", "receipt.json", "staff.csv", "--key", &key, "--json"]).exits(0).json();
    assert_eq!(good["wrong"], Value::Array(Vec::new()), "{good}");
    assert!(!alone.path(".muster").exists());
    let verify = |args: &[&str]| {
        let mut all = vec!["verify", "changed.json"];
        all.extend(args);
        alone.run(&all)
    };
    let good: Value = serde_json::from_str(&receipt).unwrap();
    for (from, to) in
        [("\"failed\": 2", "\"failed\": 1"), ("staff.csv", "stuff.csv"), ("\"Ed25519\"", "\"Ed25518\"")]
    {
        assert!(receipt.contains(from), "{from}: {receipt}");
        alone.write("changed.json", receipt.replacen(from, to, 1));
        let run = verify(&["staff.csv"]).exits(1);
        assert!(run.stdout.contains("WRONG: the receipt"), "{run:#?}");
    }
    // Written anew it is another document; and one of another installation is told as such.
    alone.write("changed.json", good.to_string());
    assert!(verify(&[]).exits(1).stdout.contains("was changed after it was signed"));
    alone.write("changed.json", &receipt);
    let stranger = "A".repeat(43) + "=";
    assert!(verify(&["--key", &stranger]).exits(1).stdout.contains("of another installation"));
    verify(&["--key", "nonsense"]).exits(2).tells(&["--key"]);
    // A byte of the file, a line more, and another file altogether.
    alone.write("other.csv", STAFF.replace("Cyd", "Cid"));
    let run = verify(&["other.csv"]).exits(1);
    assert!(run.stdout.contains("WRONG: other.csv was changed"), "{run:#?}");
    alone.write("other.csv", format!("{STAFF}gus@example.com,Gus,Bern\n"));
    let run = verify(&["other.csv"]).exits(1);
    assert!(
        run.stdout.contains("other.csv is another file") && run.stdout.contains("has 7 records"),
        "{run:#?}"
    );
    // Compressed it is the same file.
    let packed = std::process::Command::new("gzip")
        .arg("-k")
        .arg(alone.path("staff.csv"))
        .stdin(Stdio::null())
        .status();
    assert!(packed.unwrap().success());
    assert!(verify(&["staff.csv.gz"]).exits(0).stdout.contains("staff.csv.gz is the file"));
    alone.write("changed.json", "{}");
    assert!(verify(&[]).exits(1).stdout.contains("this is no receipt"));
    alone.run(&["verify", "missing.json"]).exits(1).tells(&["missing.json"]);
}
