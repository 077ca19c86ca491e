//! Users read back, deleted and erased, beside the database and through a server.

use serde_json::Value;

use super::serve::serve;
use crate::harness::{Desk, Run, signal, wait};

/// The command through the server, and beside it on the same store.
fn both(desk: &Desk, url: &str, token: &str, args: &[&str]) -> [Run; 2] {
    let through = [args, &["--server", url, "--token", token]].concat();
    [desk.run(&through), desk.run(args)]
}

#[test]
fn users_are_read_back_and_deleted_beside_the_database_and_through_a_server() {
    let desk = Desk::new();
    let (child, url, token) = serve(&desk, true);
    let both = |args: &[&str]| both(&desk, &url, &token, args);
    let through = |args: &[&str]| desk.run(&[args, &["--server", &url, "--token", &token]].concat());
    let names = ["ada", "bea", "cara", "=dan"];
    let rows = names.map(|name| {
        format!("{}@example.com,{name},+4411349600{}\n", name.trim_start_matches('='), name.len())
    });
    desk.write("people.csv", format!("email,first_name,custom__phone\n{}", rows.concat()));
    through(&["import", "users", "people.csv"]).exits(0);

    for run in both(&["users", "list", "--json"]) {
        let listed = run.exits(0).json();
        let mut emails: Vec<&str> =
            listed.as_array().unwrap().iter().map(|user| user["email"].as_str().unwrap()).collect();
        // Records with different addresses are applied beside each other.
        emails.sort_unstable();
        assert_eq!(emails, ["ada@example.com", "bea@example.com", "cara@example.com", "dan@example.com"]);
    }
    for run in both(&["users", "list", "--limit", "2"]) {
        assert_eq!(run.exits(0).stdout.lines().count(), 3);
    }
    let id = desk.run(&["users", "show", "ADA@example.com", "--json"]).exits(0).json()["id"].clone();
    for run in both(&["users", "show", id.as_str().unwrap(), "--json"]) {
        assert_eq!(run.exits(0).json()["given_name"], "ada");
    }
    for run in both(&["users", "show", "nobody@example.com"]) {
        run.exits(1).tells(&["no such user", "muster users list"]);
    }
    for run in both(&["users", "export", "-o", "users.csv"]) {
        run.exits(0);
        assert!(desk.read("users.csv").contains("ada@example.com"));
    }
    // What was exported changes nothing when it comes back, and both ways say why nothing changed.
    let again = through(&["import", "users", "users.csv"]).exits(0);
    assert!(again.stdout.contains("skipped   4 (unchanged 4)"), "{again:#?}");

    through(&["users", "delete", "ada@example.com"]).exits(0);
    desk.run(&["users", "delete", "bea@example.com", "--json"]).exits(0);
    through(&["users", "erase", "--email", "cara@example.com"]).exits(0);
    for run in both(&["users", "delete", "ada@example.com"]) {
        run.exits(1).tells(&["no such user"]);
    }
    through(&["users", "erase", "--email", "ada@example.com"]).exits(1).tells(&["no such user"]);
    desk.run(&["users", "erase", "--email", "ada@example.com"]).exits(0);
    let left: Value = desk.run(&["users", "list", "--json"]).exits(0).json();
    assert_eq!(left.as_array().unwrap().len(), 1);
    signal(&child, "TERM");
    wait(child).exits(0);
}

#[test]
fn both_ways_tell_a_refused_file_and_a_wrong_option_alike() {
    let (here, there) = (Desk::new(), Desk::new());
    let (child, url, token) = serve(&there, true);
    let files = [
        ("unclosed.csv", "email,first_name\na@example.com,Ada\nb@example.com,\"Bea\n"),
        ("unknown.csv", "email,shoe_size\na@example.com,43\n"),
        ("good.csv", "email\na@example.com\n"),
        ("broken.json", "[{\"email\": \"a@example.com\",}]"),
    ];
    for (name, text) in files {
        here.write(name, text);
        there.write(name, text);
    }
    for args in [
        ["unclosed.csv", "--brake", "0"],
        ["unknown.csv", "--brake", "0"],
        ["broken.json", "--brake", "0"],
        ["good.csv", "--profile", "nothing"],
        ["good.csv", "--org", "nowhere"],
        ["good.csv", "--phone-country", "XX"],
        ["good.csv", "--skip-lines", "some"],
    ] {
        let args = [&["import", "users"], &args[..]].concat();
        let local = here.run(&args);
        let remote = there.run(&[&args[..], &["--server", &url, "--token", &token]].concat());
        assert_eq!(local.code, remote.code, "{local:#?}\n{remote:#?}");
        let told = local.stderr.lines().last().unwrap();
        let told = told.trim().trim_start_matches("error: ").trim_start_matches("because: ");
        assert!(remote.stderr.contains(told), "{told}\n{remote:#?}");
    }
    signal(&child, "TERM");
    wait(child).exits(0);
}

#[test]
fn profiles_of_a_server_are_saved_used_and_deleted_through_it() {
    let desk = Desk::new();
    let (child, url, token) = serve(&desk, true);
    let through = |args: &[&str]| desk.run(&[args, &["--server", &url, "--token", &token]].concat());
    desk.write("people.csv", "Mail-Adresse;Geb.\na@example.com;24.12.1980\n");
    let columns = ["--column", "Mail-Adresse=email", "--column", "Geb.=birthdate"];
    through(&[&["profile", "save", "hr", "--dates", "dmy"], &columns[..]].concat()).exits(0);
    assert!(through(&["profile", "list"]).exits(0).stdout.contains("hr "));
    assert!(through(&["profile", "show", "hr"]).exits(0).stdout.contains("Geb.=birthdate"));
    through(&["inspect", "people.csv", "--profile", "hr"]).exits(0);
    through(&["import", "users", "people.csv", "--profile", "hr"]).exits(0);
    through(&["inspect", "people.csv", "--profile", "none"]).exits(2).tells(&["no profile none"]);
    through(&["profile", "delete", "hr"]).exits(0);
    through(&["profile", "delete", "hr"]).exits(1).tells(&["muster profile list"]);
    through(&["profile", "show", "hr"]).exits(1).tells(&["muster profile list"]);
    signal(&child, "TERM");
    wait(child).exits(0);
}

#[test]
fn doctor_asks_the_server_that_commands_are_told_to_ask() {
    let desk = Desk::new();
    let (child, url, token) = serve(&desk, true);
    let status = |checks: &Value, id: &str| {
        let check = checks.as_array().unwrap().iter().find(|check| check["id"] == id);
        check.unwrap_or_else(|| panic!("{id} is not in {checks}"))["status"].clone()
    };
    let well = desk.run(&["doctor", "--json", "--server", &url, "--token", &token]).exits(0).json();
    for id in ["configuration", "server", "readiness", "token"] {
        assert_eq!(status(&well, id), "ok", "{id}: {well}");
    }
    let wrong = desk.run(&["doctor", "--json", "--server", &url, "--token", "mst_wrong"]).exits(1).json();
    assert_eq!(status(&wrong, "token"), "failed");
    signal(&child, "TERM");
    wait(child).exits(0);
    let elsewhere = Desk::new().set("MUSTER_SERVER", &url).set("MUSTER_TOKEN", &token);
    let away = elsewhere.run(&["doctor", "--json"]).exits(1).json();
    assert_eq!(status(&away, "server"), "failed");
    assert!(!elsewhere.path(".muster").exists());
}
