//! An operator of the installation at the console: all tenants, the way into one, and a token for it.

use super::{nothing_wrong, signed_in};
use crate::driver::{Browser, LOOKS};
use crate::rig::{Rig, people};

/// What the page shows is for everybody, and fits every screen.
async fn good_for_everybody(browser: &Browser, rig: &Rig, page: &str) {
    for look in LOOKS {
        browser.look(look).await;
        let wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
        assert_eq!(browser.run(wide).await, false, "{page} is wider than {}", look.name);
        assert_eq!(browser.violations().await, Vec::<String>::new(), "{page} {}", look.name);
    }
    browser.look(LOOKS[0]).await;
    nothing_wrong(browser, rig, page).await;
}

#[tokio::test]
async fn an_operator_opens_another_tenant_makes_a_token_there_and_goes_back() {
    let rig = Rig::start().await;
    let globex = rig.tenant("globex", "Globex Logistics").await;
    rig.upload_with(&globex, "filename=drivers.csv&start=manual", people(30, "globex.example", 0)).await;
    let browser = signed_in(&rig).await;
    browser.click("nav a[href='/console/tenants']").await;
    browser.until_says("waits to be started").await;
    good_for_everybody(&browser, &rig, "tenants").await;
    // The import of another tenant is one step away.
    browser.click(".attention button").await;
    browser.until_says("Back to Acme Stationers").await;
    browser.until_says("drivers.csv").await;
    good_for_everybody(&browser, &rig, "an import of another tenant").await;
    browser.open(&format!("{}/console/tokens", rig.url)).await;
    browser.fill("#name", "nightly").await;
    browser.click("input[value='import:read']").await;
    browser.click("form[action='/console/tokens'] button").await;
    browser.until_says("It is shown this once").await;
    let token = browser.run("return document.querySelector('#made').innerText").await;
    assert!(token.as_str().unwrap().starts_with("mst_"), "{token}");
    good_for_everybody(&browser, &rig, "a new token").await;
    // Shown once: what is asked for again has it no more.
    browser.open(&format!("{}/console/tokens", rig.url)).await;
    browser.until_says("nightly").await;
    assert!(browser.run("return document.querySelector('#made')").await.is_null());
    browser.click("button.away").await;
    browser.until_says("No import is under way.").await;
    browser.until("it is gone", "return !document.body.innerText.includes('Back to')").await;
    browser.close().await;
    rig.stop().await;
}

/// A window that was left open shows one tenant, until the session is in another.
#[tokio::test]
async fn a_window_of_one_tenant_never_shows_what_is_of_another() {
    let rig = Rig::start().await;
    rig.tenant("globex", "Globex Logistics").await;
    rig.upload("filename=stationers.csv&start=manual", people(30, "people.example", 0)).await;
    let browser = signed_in(&rig).await;
    browser.open(&format!("{}/console/imports", rig.url)).await;
    browser.until_says("stationers.csv").await;
    // As a second window does it, with the form of its own page.
    browser
        .run(
            "window.stays = true;
             const form = new URLSearchParams({ tenant: 'globex', form: document.querySelector('input[name=form]').value });
             fetch('/console/tenants', { method: 'POST', body: form, redirect: 'manual' });",
        )
        .await;
    browser.until_says("Back to Acme Stationers").await;
    browser.until_says("There is no import yet.").await;
    let whole = browser.run("return window.stays === undefined").await;
    assert_eq!(whole, true, "the page was loaded anew, with its header and its forms");
    browser.close().await;
    rig.stop().await;
}
