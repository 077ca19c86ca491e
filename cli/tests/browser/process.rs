//! What a person does at the console, and how it looks.

mod operators;
mod trials;

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::driver::{Browser, LOOKS};
use crate::rig::{Rig, people};

async fn signed_in(rig: &Rig) -> Browser {
    let browser = Browser::start().await;
    browser.open(&format!("{}/console", rig.url)).await;
    browser.fill("#token", &rig.token).await;
    browser.click("button[type=submit]").await;
    browser.until_says("Needs attention").await;
    browser
}

/// Nothing went wrong in the browser, and everything came from the server.
async fn nothing_wrong(browser: &Browser, rig: &Rig, page: &str) {
    let said = browser.said().await;
    assert!(said.is_empty(), "{page}: {said:?}");
    let loaded = browser.run("return performance.getEntriesByType('resource').map(one => one.name)").await;
    for address in loaded.as_array().unwrap() {
        assert!(address.as_str().unwrap().starts_with(&rig.url), "{page} loads {address}");
    }
}

#[tokio::test]
async fn a_person_finds_out_why_records_failed_mends_them_and_sees_no_failures() {
    let mut rig = Rig::start().await;
    rig.work();
    let (_, import) = rig.upload("filename=september.csv", people(370, "people.example", 10)).await;
    rig.ended(&import).await;
    let browser = signed_in(&rig).await;
    browser.until_says("37 records failed").await;
    browser.click(".attention a").await;
    browser.until_says("What it means and what to do").await;
    browser.click(".problems summary").await;
    assert_eq!(browser.run("return document.querySelectorAll('.problems > li').length").await, json!(3));
    browser.click(".problems .where a").await;
    browser
        .until(
            "the records from the first one with the problem on",
            "return location.search.startsWith('?number=')",
        )
        .await;
    let named = browser.run("return document.querySelector('tbody th').innerText").await;
    assert_eq!(named, browser.run("return new URLSearchParams(location.search).get('number')").await);
    // Mended, with a header of another language, and uploaded again: looked at, its column given a meaning, and taken.
    let folder = tempfile::tempdir().unwrap();
    let mended = folder.path().join("mended.csv");
    let file = people(370, "people.example", 0).replacen("email,given_name", "Dienstadresse,given_name", 1);
    std::fs::write(&mended, file).unwrap();
    browser.open(&format!("{}/console/new", rig.url)).await;
    browser.fill("#file", &mended.display().to_string()).await;
    browser.until_says("The file would be refused.").await;
    browser.choose("[data-column=Dienstadresse]", "email").await;
    browser.until_says("bruno.marino1@people.example").await;
    browser.until("no record would fail", "return !document.body.innerText.includes('would fail')").await;
    browser.click("#send").await;
    browser.until_says("100 %").await;
    assert_eq!(
        browser.run("return document.querySelector('.counts .failed dd').innerText").await,
        json!("0")
    );
    nothing_wrong(&browser, &rig, "the import").await;
    browser.close().await;
    rig.stop().await;
}

/// The profile leaves people who are there as they are, and refuses columns that it does not know: nothing of the page speaks against it.
#[tokio::test]
async fn a_new_import_does_as_its_profile_says_and_is_sent_again_without_harm() {
    let rig = Rig::start().await;
    rig.save("/v1/profiles/careful", json!({"on_existing": "skip", "dates": "dmy"})).await;
    let browser = signed_in(&rig).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, odd) = (folder.path().join("people.csv"), folder.path().join("odd.csv"));
    std::fs::write(&file, people(20, "people.example", 0)).unwrap();
    std::fs::write(&odd, "email,Kostenstelle\nann@people.example,4711\n").unwrap();
    browser.open(&format!("{}/console/new", rig.url)).await;
    // Without a profile an unknown column is left out; with this one it is refused.
    browser.fill("#file", &odd.display().to_string()).await;
    browser.until_says("1 record ·").await;
    browser.choose("#profile", "careful").await;
    browser.until_says("The file would be refused.").await;
    browser.fill("#file", &file.display().to_string()).await;
    browser.until_says("20 records").await;
    // Of two changes one after the other the first look is stopped.
    browser
        .run("window.looks = []; const ask = fetch; window.fetch = (to, how) => { looks.push(how.signal); return ask(to, how); }")
        .await;
    let stopped = browser
        .run(
            "const list = document.getElementById('on_invalid');
             for (const value of ['refuse', 'continue', '']) {
               list.value = value;
               list.dispatchEvent(new Event('change', { bubbles: true }));
             }
             return looks.map(signal => signal.aborted)",
        )
        .await;
    assert_eq!(stopped, json!([true, true, false]));
    browser.until("it may be sent", "return !document.getElementById('send').disabled").await;
    // The answer to the first upload gets lost on its way.
    browser
        .run(
            "const open = XMLHttpRequest.prototype.open;
             XMLHttpRequest.prototype.open = function (...to) {
               if (!window.lost) this.addEventListener('load', (event) => {
                 event.stopImmediatePropagation();
                 this.dispatchEvent(new ProgressEvent('error'));
               });
               window.lost = true;
               return open.apply(this, to);
             }",
        )
        .await;
    browser.click("#send").await;
    browser.until_says("Send it again: what has arrived is not imported twice.").await;
    browser.click("#send").await;
    browser.until("the page of the import", "return location.pathname.startsWith('/console/imports/')").await;
    let imports = rig.ask("/v1/imports").await["imports"].take();
    assert_eq!(imports.as_array().unwrap().len(), 1, "{imports}");
    let options = &imports[0]["options"];
    assert_eq!((&options["on_existing"], &options["dates"]), (&json!("skip"), &json!("dmy")), "{options}");
    assert_ne!(options["unknown_columns"], "ignore", "{options}");
    browser.close().await;
    rig.stop().await;
}

/// Full names, days in the order that the file proves, and a finer option, chosen on the page; and then as a profile for the next file.
#[tokio::test]
async fn what_is_chosen_for_a_new_import_is_seen_at_once_and_saved_as_a_profile() {
    let rig = Rig::start().await;
    let browser = signed_in(&rig).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, next) = (folder.path().join("october.csv"), folder.path().join("november.csv"));
    let header = "Dienstadresse;name;birthdate\n";
    std::fs::write(&file, format!("{header}mario@people.example;Rossi, Mario;31.12.1990\n")).unwrap();
    std::fs::write(&next, format!("{header}anna@people.example;Verdi, Anna;30.11.1991\n")).unwrap();
    browser.open(&format!("{}/console/new", rig.url)).await;
    browser.fill("#file", &file.display().to_string()).await;
    browser.until_says("The file would be refused.").await;
    browser.choose("[data-column=Dienstadresse]", "email").await;
    browser.until_says("1 of them would fail").await;
    browser.choose("#dates", "auto").await;
    browser.until("the day is read", "return !document.body.innerText.includes('would fail')").await;
    browser.choose("#full_names", "last_first").await;
    let split =
        "return [...document.querySelectorAll('.first th')].some(cell => cell.textContent === 'given_name')";
    browser.until("the name is split", split).await;
    browser.click(".further summary").await;
    browser.choose("#delimiter", "semicolon").await;
    browser.click(".keep summary").await;
    browser.fill("#keep-as", "monthly").await;
    browser.click("#keep").await;
    browser.until_says("a profile is for many").await;
    browser.choose("#dates", "dmy").await;
    browser.click("#keep").await;
    browser.until_says("Saved as the profile monthly.").await;
    let saved = rig.ask("/v1/profiles/monthly").await["options"].take();
    let wanted = json!({
        "columns": "{\"Dienstadresse\":\"email\"}", "dates": "dmy", "delimiter": "semicolon", "full_names": "last_first",
        "unknown_columns": "ignore",
    });
    assert_eq!(saved, wanted);
    // The next file needs no more than the profile.
    browser.open(&format!("{}/console/new", rig.url)).await;
    browser.choose("#profile", "monthly").await;
    browser.fill("#file", &next.display().to_string()).await;
    browser.until_says("1 record ·").await;
    browser.until("nothing would fail", "return !document.body.innerText.includes('would fail')").await;
    // Changed on its page, it is another for the file after that.
    browser.open(&format!("{}/console/profiles/monthly", rig.url)).await;
    browser.choose("#dates", "iso").await;
    browser.click(".profile > button").await;
    rig.until_at("/v1/profiles/monthly", "it is saved", |now| now["options"]["dates"] == "iso").await;
    browser.until("the page is there again", "return document.readyState === 'complete'").await;
    nothing_wrong(&browser, &rig, "the profile").await;
    browser.close().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_page_follows_an_import_and_keeps_what_is_open_and_focused() {
    let mut rig = Rig::start().await;
    let (_, import) = rig.upload("filename=live.csv&start=manual", people(2_000, "live.example", 100)).await;
    let browser = signed_in(&rig).await;
    browser.open(&format!("{}/console/imports/{import}", rig.url)).await;
    browser.until_says("Start").await;
    browser.click(".levers button.main").await;
    browser.until_says("The import was started.").await;
    browser.click(".confirm summary").await;
    browser.run("document.querySelector('.confirm button').focus()").await;
    // Somebody else pauses it: the page sees that by itself.
    rig.act(&import, "pause").await;
    browser.until_says("Resume").await;
    assert_eq!(browser.run("return document.querySelector('.confirm').open").await, json!(true));
    assert_eq!(browser.run("return document.activeElement.innerText").await, json!("Cancel this import"));
    browser.click(".levers button.main").await;
    rig.work();
    browser.until_says("100 %").await;
    browser.until_says("completed").await;
    // The session ends while the page is open: it asks for a token, and comes back.
    rig.sql("delete from console_sessions").await;
    browser.until_says("Show a token of your tenant").await;
    browser.fill("#token", &rig.token).await;
    browser.click("button[type=submit]").await;
    browser.until_says("live.csv").await;
    browser.close().await;
    rig.stop().await;
}

#[tokio::test]
async fn one_cause_is_retried_and_what_was_cancelled_goes_on() {
    let mut rig = Rig::start().await;
    rig.sql(
        "create function refuse() returns trigger language plpgsql as $$
         begin
             if new.email like 'bruno.marino1@%' then raise exception 'no' using errcode = '42501'; end if;
             return new;
         end $$;
         create trigger refuse before insert on users for each row execute function refuse()",
    )
    .await;
    rig.work();
    let (_, import) = rig.upload("filename=october.csv", people(60, "people.example", 10)).await;
    rig.ended(&import).await;
    let browser = signed_in(&rig).await;
    browser.until_says("7 records failed").await;
    browser.click(".attention a").await;
    browser.until_says("database_refused").await;
    rig.sql("drop trigger refuse on users").await;
    browser.click(".acts form:has(input[value=database_refused]) button").await;
    browser.until_says("What failed was driven once more").await;
    let six = "return document.querySelector('.counts .failed dd').innerText === '6' && document.body.innerText.includes('completed')";
    browser.until("the six others stay failed", six).await;
    let gone = "return [...document.querySelectorAll('.problems')].every(part => !part.innerText.includes('database_refused'))";
    browser.until("the cause is gone", gone).await;
    // Another one is cancelled before it began, and goes on all the same.
    let (_, import) = rig.upload("filename=november.csv&start=manual", people(40, "other.example", 0)).await;
    browser.open(&format!("{}/console/imports/{import}", rig.url)).await;
    browser.click(".confirm summary").await;
    browser.click(".confirm button.danger").await;
    browser.until_says("The import was cancelled.").await;
    browser.click(".levers button.main").await;
    browser.until_says("The import goes on.").await;
    browser.until_says("100 %").await;
    nothing_wrong(&browser, &rig, "the import").await;
    browser.close().await;
    rig.stop().await;
}

#[tokio::test]
async fn everything_can_be_reached_with_the_keyboard() {
    const TAB: char = '\u{e004}';
    const ENTER: char = '\u{e007}';
    let rig = Rig::start().await;
    let browser = Browser::start().await;
    browser.open(&format!("{}/console", rig.url)).await;
    browser.until("the field has the focus", "return document.activeElement.id === 'token'").await;
    browser.keys(&format!("{}{ENTER}", rig.token)).await;
    browser.until_says("Needs attention").await;
    browser.keys(&TAB.to_string()).await;
    assert_eq!(browser.run("return document.activeElement.innerText").await, json!("Skip to content"));
    let mut reached = Vec::new();
    for _ in 0..14 {
        browser.keys(&TAB.to_string()).await;
        reached.push(browser.run("return document.activeElement.innerText").await);
        let seen = browser.run("return document.activeElement.matches(':focus-visible') || document.activeElement === document.body").await;
        assert_eq!(seen, json!(true), "{reached:?}");
    }
    for name in ["Overview", "Imports", "Sign out", "All imports"] {
        assert!(reached.contains(&json!(name)), "{name}: {reached:?}");
    }
    browser.close().await;
    rig.stop().await;
}

/// Where pictures go: those that a page of the documents shows to there where they are to be renewed, all others nowhere that stays.
struct Pictures {
    renewed: Option<PathBuf>,
    page: String,
    folder: tempfile::TempDir,
}

impl Pictures {
    fn new() -> Self {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        Self {
            renewed: std::env::var_os("MUSTER_UPDATE_DOCS").map(|_| docs.join("console")),
            page: std::fs::read_to_string(docs.join("console.md")).unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str, look: &str) -> PathBuf {
        let file = format!("{name}-{look}.png");
        match &self.renewed {
            Some(folder) if self.page.contains(&format!("(console/{file})")) => folder.join(file),
            _ => self.folder.path().join(file),
        }
    }
}

/// Imports in every state, and some chunks that do not get on.
async fn a_busy_day(rig: &mut Rig) -> Vec<(&'static str, String)> {
    rig.work();
    let (_, mended) = rig.upload("filename=contractors.csv", people(4_800, "contract.example", 0)).await;
    rig.ended(&mended).await;
    let (_, flawed) =
        rig.upload("filename=personnel-september.csv", people(12_210, "people.example", 330)).await;
    rig.ended(&flawed).await;
    rig.upload("filename=branch-office.csv", "e-mail;name\n\"never closed".into()).await;
    let (_, again) = rig.upload("filename=contractors.csv", people(4_800, "contract.example", 0)).await;
    rig.ended(&again).await;
    let looked = rig.post("/v1/bulk?action=retry&code=email_invalid").await;
    let bulk = format!("/v1/bulk/{}", looked["id"].as_str().unwrap());
    rig.post(&format!("{bulk}/start")).await;
    rig.until_at(&bulk, "it is done", |now| now["state"] == "done").await;
    rig.ended(&flawed).await;
    rig.rest().await;
    let (_, broken) =
        rig.upload("filename=partners.csv&start=manual", people(3_000, "partner.example", 600)).await;
    rig.sql(&format!("update chunks set body = '\\x00' where id = (select max(id) from chunks where import_id = '{broken}')")).await;
    rig.act(&broken, "proceed").await;
    rig.work();
    rig.ended(&broken).await;
    let (_, half) = rig.upload("filename=alumni.csv", people(30_000, "alumni.example", 900)).await;
    rig.until(&half, "half of it is done", |now| now["counts"]["pending"].as_u64().unwrap() < 17_000).await;
    rig.rest().await;
    rig.sql(&format!(
        "update chunks set state = 'retryable', due_at = now() + interval '38 seconds', attempts = 1, leased_until = null,
                problem = 'the database is full (53100)'
          where id = (select min(id) from chunks where import_id = '{half}' and state in ('staged', 'dispatched'))"
    ))
    .await;
    let (_, waits) =
        rig.upload("filename=interns.csv&start=manual", people(640, "interns.example", 160)).await;
    let (_, paused) = rig.upload("filename=suppliers.csv", people(2_500, "supplier.example", 0)).await;
    rig.act(&paused, "pause").await;
    // Other tenants, for the page of them all.
    let (globex, initech) =
        (rig.tenant("globex", "Globex Logistics").await, rig.tenant("initech", "Initech").await);
    rig.upload_with(&globex, "filename=drivers.csv&start=manual", people(900, "globex.example", 90)).await;
    rig.upload_with(&initech, "filename=people.csv", "email;name\n\"never closed".into()).await;
    let hr = json!({"dates": "dmy", "full_names": "last_first", "columns": "{\"Dienstadresse\":\"email\",\"Kostenstelle\":\"\"}"});
    rig.save("/v1/profiles/monthly-personnel", hr).await;
    // What a webhook was told, without a receiver.
    rig.sql(
        "insert into webhooks (id, tenant_id, url, description, enabled, seen)
         select '0190a5f0-7b7c-7000-8000-00000000000a', id, 'https://hooks.example.com/muster', 'Personnel portal', false, 0 from tenants
          where slug = 'acme';
         insert into webhook_deliveries (id, webhook_id, tenant_id, type, payload, state, attempts, tries, due_at, ended_at)
         select gen_random_uuid(), webhooks.id, tenant_id, kind, '{}', state, 1, '[]', null, now()
           from webhooks, (values ('import.completed', 'delivered'), ('import.failing', 'failed')) as told (kind, state)",
    )
    .await;
    // As if the day had been longer: for the picture of records by time.
    rig.sql(
        "update chunks set applied_at = applied_at - (id * 7919 % 300) * interval '1 minute'
          where import_id in (select id from imports where state = 'completed')",
    )
    .await;
    vec![("running", half), ("failed", flawed), ("dead", broken), ("waiting", waits)]
}

#[tokio::test]
async fn pages_are_good_to_look_at_for_everybody() {
    let mut rig = Rig::start().await;
    let imports = a_busy_day(&mut rig).await;
    let pictures = Pictures::new();
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("personnel-october.csv");
    let header = "Dienstadresse;Vorname;Nachname;Telefon;Kostenstelle\n";
    let rows = people(420, "people.example", 60)
        .lines()
        .skip(1)
        .map(|row| format!("{};4711\n", row.replace(',', ";")))
        .collect::<String>();
    std::fs::write(&file, format!("{header}{rows}")).unwrap();
    let looked = rig.post("/v1/bulk?action=cancel&state=paused").await;
    let mut pages = vec![
        ("overview".to_owned(), "/console".to_owned()),
        ("imports".into(), "/console/imports".into()),
        ("bulk".into(), "/console/bulk".into()),
        ("bulk-looked".into(), format!("/console/bulk/{}", looked["id"].as_str().unwrap())),
        ("profiles".into(), "/console/profiles".into()),
        ("profile".into(), "/console/profiles/monthly-personnel".into()),
        ("webhooks".into(), "/console/webhooks".into()),
        ("webhook".into(), "/console/webhooks/0190a5f0-7b7c-7000-8000-00000000000a".into()),
        ("audit".into(), "/console/audit".into()),
        ("new-import".into(), "/console/new".into()),
        ("queue".into(), "/console/queue".into()),
        ("users".into(), "/console/users?q=bruno.marino1%40contract.example".into()),
        ("catalog".into(), "/console/catalog".into()),
        ("tokens".into(), "/console/tokens".into()),
        ("tenants".into(), "/console/tenants".into()),
        ("records".into(), format!("/console/imports/{}/records?outcome=failed", imports[1].1)),
        ("undo".into(), format!("/console/imports/{}/undo", imports[1].1)),
        ("not-found".into(), "/console/nowhere".into()),
    ];
    pages.extend(
        imports.iter().map(|(name, id)| (format!("import-{name}"), format!("/console/imports/{id}"))),
    );
    let browser = Browser::start().await;
    for look in LOOKS {
        browser.look(look).await;
        browser.open(&format!("{}/console", rig.url)).await;
        if look == LOOKS[0] {
            browser.until_says("Show a token").await;
            assert_eq!(browser.violations().await, Vec::<String>::new(), "sign-in");
            browser.picture(&pictures.path("sign-in", look.name)).await;
            browser.fill("#token", &rig.token).await;
            browser.click("button[type=submit]").await;
            browser.until_says("Needs attention").await;
            nothing_wrong(&browser, &rig, "sign-in").await;
        }
        for (name, path) in &pages {
            browser.open(&format!("{}{path}", rig.url)).await;
            browser.until(name, "return document.readyState === 'complete'").await;
            if name == "new-import" {
                browser.fill("#file", &file.display().to_string()).await;
                browser.until_says("The file would be refused.").await;
                browser.choose("[data-column=Dienstadresse]", "email").await;
                browser.until_says("The first records").await;
            }
            let wide = browser
                .run("return document.documentElement.scrollWidth > document.documentElement.clientWidth")
                .await;
            assert_eq!(wide, json!(false), "{name} is wider than {}", look.name);
            browser.picture(&pictures.path(name, look.name)).await;
            assert_eq!(browser.violations().await, Vec::<String>::new(), "{name} {}", look.name);
            if name == "not-found" {
                // The browser notes the status itself.
                browser.said().await;
            } else {
                nothing_wrong(&browser, &rig, name).await;
            }
        }
    }
    browser.close().await;
    rig.stop().await;
}
