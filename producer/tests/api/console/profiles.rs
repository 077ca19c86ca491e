//! Profiles at the console: saved from a new import, changed on their page.

use muster_domain::token::Scope;
use serde_json::json;

use super::{Browser, encoded};
use crate::harness::{Server, token};

#[tokio::test]
async fn options_chosen_for_a_new_import_are_saved_as_a_profile() {
    let server = Server::start().await;
    let browser = Browser::signed_in(&server, &server.token).await;
    let form = browser.secret();
    let keep = async |query: &str| {
        let path = format!("/console/new/keep?{query}");
        browser.send_file(&path, Some(&form), "").await
    };
    let columns = encoded(r#"{"Dienstadresse":"email","Wer":"name"}"#);
    // What is of the file alone is left out.
    let query = format!(
        "as=hr&filename=a.csv&format=csv&dates=dmy&full_names=last_first&unknown_columns=ignore&columns={columns}"
    );
    let kept = keep(&query).await;
    assert_eq!((kept.status, kept.body.as_str()), (201, r#"{"name":"hr"}"#));
    let saved = server.json("/v1/profiles/hr").await;
    let options = json!({
        "dates": "dmy", "full_names": "last_first", "unknown_columns": "ignore", "columns": r#"{"Dienstadresse":"email","Wer":"name"}"#,
    });
    assert_eq!(saved["options"], options);
    // Nobody's profile is replaced by the way.
    let again = keep("as=hr&dates=mdy").await;
    assert!(
        again.status == 200
            && again.body.contains("\"error\"")
            && again.body.contains("is that of another profile"),
        "{}",
        again.body
    );
    assert_eq!(server.json("/v1/profiles/hr").await["options"], options);
    // What is chosen beside a profile goes over what it says, column by column.
    let columns = encoded(r#"{"Wer":"nickname","Büro":"custom__office"}"#);
    assert_eq!(keep(&format!("as=branch&profile=hr&dates=mdy&columns={columns}")).await.status, 201);
    let branch = server.json("/v1/profiles/branch").await["options"].take();
    assert_eq!((&branch["dates"], &branch["full_names"]), (&json!("mdy"), &json!("last_first")));
    assert_eq!(branch["columns"], r#"{"Wer":"nickname","Büro":"custom__office","Dienstadresse":"email"}"#);
    assert_eq!(keep("as=people&profile=slack").await.status, 201);
    assert!(
        server.json("/v1/profiles/people").await["options"]["columns"].as_str().unwrap().contains("fullname")
    );
    // What no profile can have is told, and nothing is saved.
    for (query, told) in [
        ("as=x&dates=auto", "a profile is for many"),
        ("as=slack", "built-in"),
        ("dates=dmy", "must be 1 to 63"),
        ("as=x&profile=gone", "no such profile"),
        ("as=x&dates=never", "must be one of"),
    ] {
        let refused = keep(query).await;
        assert!(
            refused.status == 200 && refused.body.contains("\"error\"") && refused.body.contains(told),
            "{query}: {}",
            refused.body
        );
    }
    assert_eq!(browser.send_file("/console/new/keep?as=x", Some("00"), "").await.status, 403);
    let own: Vec<String> = server.json("/v1/profiles").await["profiles"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|profile| profile["built_in"].is_null())
        .map(|profile| profile["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(own, ["branch", "hr", "people"]);
    assert!(browser.page("/console/new").await.contains("<option value=\"branch\">"));
}

#[tokio::test]
async fn a_profile_is_changed_on_its_page_unless_somebody_changed_it_meanwhile() {
    let server = Server::start().await;
    let browser = Browser::signed_in(&server, &server.token).await;
    let form = browser.secret();
    let made = browser.send("/console/profiles", &[("form", &form), ("name", "hr")], None).await;
    assert_eq!((made.status, made.header("location")), (303, "/console/profiles/hr"));
    let twice = browser.send("/console/profiles", &[("form", &form), ("name", "hr")], None).await;
    assert!(twice.status == 200 && twice.body.contains("No profile was made."), "{}", twice.body);
    assert!(twice.body.contains("value=\"hr\""), "{}", twice.body);
    let page = browser.get("/console/profiles/hr").await;
    let save = async |page: &super::Shown, fields: &[(&str, &str)]| {
        let fields = [&[("form", page.form()), ("seen", page.hidden("seen"))][..], fields].concat();
        browser.send("/console/profiles/hr", &fields, None).await
    };
    let columns = "Dienstadresse = email\r\n\r\nA=b = <u>nothing\r\nLeft out =";
    let wrong = save(&page, &[("columns", columns), ("sheet", "\"<b>")]).await;
    assert!(wrong.status == 200 && wrong.body.contains("Nothing was changed."), "{}", wrong.body);
    assert!(
        wrong.body.contains("&lt;u&gt;nothing") && wrong.body.contains("&quot;&lt;b&gt;"),
        "{}",
        wrong.body
    );
    assert_eq!(server.json("/v1/profiles/hr").await["options"], json!({}));
    let unreadable = save(&page, &[("columns", "no sign")]).await;
    assert!(unreadable.body.contains("each line must be"), "{}", unreadable.body);
    assert!(unreadable.body.contains("no sign</textarea>"), "{}", unreadable.body);
    let columns = "Dienstadresse = email\r\n\r\nA=b = nickname\r\nLeft out =";
    let fields = [("columns", columns), ("dates", "dmy"), ("full_names", ""), ("format", "csv")];
    assert_eq!(save(&page, &fields).await.status, 303);
    let options =
        json!({"columns": r#"{"Dienstadresse":"email","A=b":"nickname","Left out":""}"#, "dates": "dmy"});
    assert_eq!(server.json("/v1/profiles/hr").await["options"], options);
    // The first page is older than that.
    let late = save(&page, &[("dates", "iso")]).await;
    assert!(late.status == 200 && late.body.contains("It was changed since"), "{}", late.body);
    assert_eq!(server.json("/v1/profiles/hr").await["options"], options);
    let now = browser.get("/console/profiles/hr").await;
    assert!(now.body.contains("Dienstadresse = email\nA=b = nickname\nLeft out = "), "{}", now.body);
    assert!(now.body.contains("<option value=\"dmy\" selected>"), "{}", now.body);
    // Who has seen what is there may replace it.
    assert_eq!(save(&late, &[("dates", "iso")]).await.status, 303);
    assert_eq!(server.json("/v1/profiles/hr").await["options"], json!({"dates": "iso"}));
    // Who may only look sees what it says, and no form for it; built-in ones are for looking at.
    let reader = token(&server.store, &server.tenant, "reader", &[Scope::ImportRead]).await;
    let reader = Browser::signed_in(&server, &reader).await;
    let seen = reader.page("/console/profiles/hr").await;
    assert!(seen.contains("<code>dates</code>") && !seen.contains("<textarea"), "{seen}");
    let slack = browser.page("/console/profiles/slack").await;
    assert!(slack.contains("fullname = name") && !slack.contains("<textarea"), "{slack}");
    let gone = browser.press("/console", "/console/profiles/hr/delete").await;
    assert_eq!((gone.status, gone.header("location")), (303, "/console/profiles"));
    assert_eq!(browser.get("/console/profiles/hr").await.status, 404);
    assert_eq!(browser.press("/console", "/console/profiles/hr/delete").await.status, 404);
}

/// Enough of them that somebody sees what a column means.
#[tokio::test]
async fn the_first_twenty_records_are_shown_as_they_will_be_read() {
    let server = Server::start().await;
    let browser = Browser::signed_in(&server, &server.token).await;
    let rows: String = (1..=25).map(|number| format!("u{number}@example.com\n")).collect();
    let path = "/console/new/look?filename=a.csv";
    let found = browser.send_file(path, Some(&browser.secret()), &format!("email\n{rows}")).await.body;
    assert!(found.contains(">u20@example.com<") && !found.contains(">u21@example.com<"), "{found}");
}

/// The page looks once more with the order that the file proves; where it proves none, nothing is sent.
#[tokio::test]
async fn the_order_of_days_that_a_file_proves_is_told_to_the_page() {
    let server = Server::start().await;
    let browser = Browser::signed_in(&server, &server.token).await;
    let form = browser.secret();
    let look = async |dates: &str, day: &str| {
        let path = format!("/console/new/look?filename=a.csv{dates}");
        browser.send_file(&path, Some(&form), &format!("email,birthdate\nann@example.com,{day}\n")).await.body
    };
    let proved = look("&dates=auto", "31.12.1990").await;
    assert!(proved.contains(" data-days=\"dmy\"") && proved.contains("the only order that fits"), "{proved}");
    let again = look("&dates=dmy", "31.12.1990").await;
    assert!(!again.contains("data-days") && !again.contains("would fail"), "{again}");
    let unproved = look("&dates=auto", "01/02/1990").await;
    assert!(
        unproved.contains("data-refused=\"1\"") && unproved.contains("Each date fits both orders"),
        "{unproved}"
    );
    let iso = look("&dates=auto", "1990-12-31").await;
    assert!(
        !iso.contains("data-days") && !iso.contains("data-refused") && !iso.contains("would fail"),
        "{iso}"
    );
    // Whoever did not ask for it is told all the same.
    assert!(look("", "31.12.1990").await.contains("the only order that fits"));
}
