//! Somebody who has never seen Muster finds out from the console alone why an import stands still, each within a minute, and sees it go on.
//! The steps are those of docs/console.md, *Finding out what is wrong*.

use std::time::{Duration, Instant};

use super::{nothing_wrong, signed_in};
use crate::driver::Browser;
use crate::rig::{Rig, people};

/// In which time somebody finds out.
const A_MINUTE: Duration = Duration::from_secs(60);

/// Signs in, reads what the overview says of an import that needs somebody, and follows it to the import's page, which says why.
async fn found_out(rig: &Rig, what: &str, todo: &str, why: &str) -> Browser {
    let began = Instant::now();
    let browser = signed_in(rig).await;
    browser.until_says(what).await;
    browser.until_says(todo).await;
    browser.click(".attention a").await;
    browser.until("the import", "return location.pathname.startsWith('/console/imports/')").await;
    browser.until_says(why).await;
    assert!(began.elapsed() < A_MINUTE, "found out after {:?}", began.elapsed());
    browser
}

/// The page of the import, left open, shows how it comes to its end.
async fn goes_on(browser: &Browser, rig: &Rig, import: &str) {
    browser.open(&format!("{}/console/imports/{import}", rig.url)).await;
    browser.until_says("100 %").await;
    browser.until_says("completed").await;
    let none = "return document.querySelector('.counts .failed dd').innerText === '0'";
    browser.until("nothing failed", none).await;
    nothing_wrong(browser, rig, "the import").await;
}

/// The file of failed records as somebody mends it: a good address in each line, and no phone number.
fn mended(failed: &str) -> String {
    let mut lines = failed.lines();
    let mut file = format!("{}\n", lines.next().unwrap());
    for (at, line) in lines.enumerate() {
        // One quote at each end: the first cell may be empty.
        let inner = line.strip_prefix('"').and_then(|line| line.strip_suffix('"')).unwrap();
        let mut cells: Vec<String> = inner.split("\",\"").map(str::to_owned).collect();
        cells[0] = format!("mended{at}@people.example");
        cells[3] = String::new();
        file.push_str(&format!("\"{}\"\n", cells.join("\",\"")));
    }
    file
}

#[tokio::test]
async fn why_37_records_failed_is_found_out_and_their_file_is_mended_from_the_console_alone() {
    let mut rig = Rig::on_call().await;
    rig.work();
    let (_, import) = rig.upload("filename=september.csv", people(370, "people.example", 10)).await;
    rig.ended(&import).await;
    let causes = "What it means and what to do";
    let browser = found_out(&rig, "37 records failed", "Check the problems", causes).await;
    browser.click(".problems summary").await;
    browser.until_says("Record 10 (line 11)").await;
    let failed = browser.behind("#failed ~ .pages a[href$='/failed.csv']").await;
    assert_eq!(failed.lines().count(), 38, "{failed}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("september-mended.csv");
    std::fs::write(&file, mended(&failed)).unwrap();
    browser.click("nav a[href='/console/new']").await;
    browser.fill("#file", &file.display().to_string()).await;
    browser.until_says("37 records ·").await;
    browser.until("nothing would fail", "return !document.body.innerText.includes('would fail')").await;
    browser.click("#send").await;
    browser.until_says("100 %").await;
    // The first import's page shows both as one, of which nothing failed.
    browser.open(&format!("{}/console/imports/{import}", rig.url)).await;
    browser.until_says("september-mended.csv").await;
    browser.until_says("370 records: 370 applied over 2 imports, 0 open").await;
    browser.open(&format!("{}/console", rig.url)).await;
    browser.until_says("Nothing needs attention.").await;
    nothing_wrong(&browser, &rig, "the import").await;
    browser.close().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_full_disk_is_found_out_from_the_console_alone() {
    let mut rig = Rig::on_call().await;
    rig.sql(
        "create function refuse() returns trigger language plpgsql as
             $$ begin raise exception 'no' using errcode = '53100'; end $$;
         create trigger refuse before insert on users for each statement execute function refuse()",
    )
    .await;
    rig.work();
    let (_, import) = rig.upload("filename=october.csv", people(600, "people.example", 0)).await;
    let browser = found_out(&rig, "stands still", "disk full", "disk full").await;
    browser.until_says("Stalled chunks").await;
    browser.until_says("Its chunks go on by themselves once the reason is gone.").await;
    rig.sql("drop trigger refuse on users").await;
    goes_on(&browser, &rig, &import).await;
    browser.close().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_broker_that_is_gone_is_found_out_from_the_console_alone() {
    let mut rig = Rig::on_call_with_broker().await;
    rig.work();
    let broker = rig.broker.as_ref().unwrap();
    broker.refuse();
    broker.cut();
    let (_, import) = rig.upload("filename=october.csv", people(600, "people.example", 0)).await;
    let why = "he queue does not accept it";
    let browser = found_out(&rig, "stands still", why, why).await;
    browser.click("nav a[href='/console/queue']").await;
    browser.until_says("RabbitMQ does not answer (").await;
    browser.until_says("chunks are sent when it is back").await;
    rig.broker.as_ref().unwrap().pass();
    goes_on(&browser, &rig, &import).await;
    browser.close().await;
    rig.stop().await;
}

/// A chunk over which as many workers died as may, as a record leaves it that no worker survives.
#[tokio::test]
async fn a_poison_record_is_found_out_from_the_console_alone() {
    let mut rig = Rig::on_call().await;
    let (_, import) = rig.upload("filename=october.csv&start=manual", people(600, "people.example", 0)).await;
    rig.sql(&format!(
        "update chunks set begun = array(select gen_random_uuid() from generate_series(1, 5))
          where id = (select max(id) from chunks where import_id = '{import}')"
    ))
    .await;
    rig.act(&import, "proceed").await;
    rig.work();
    let why = "The worker died while applying it, as often as it may.";
    let browser = found_out(&rig, "1 chunk is dead", "Check the reason, mend it, and retry.", why).await;
    let records = "return / records?, from [0-9,]+ to /.test(document.body.innerText)";
    browser.until("the records of the chunk are named", records).await;
    browser.until_says("completed").await;
    // What killed the workers is mended; the chunk is driven once more.
    browser.click(".levers form[action$='/retry'] button").await;
    browser.until_says("What failed was driven once more").await;
    goes_on(&browser, &rig, &import).await;
    browser.close().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_gone_is_found_out_from_the_console_alone() {
    let mut rig = Rig::on_call().await;
    rig.work();
    rig.rest().await;
    let (_, import) = rig.upload("filename=october.csv", people(600, "people.example", 0)).await;
    let why = "aits for a worker: none is running";
    let browser = found_out(&rig, why, "Start a worker.", why).await;
    browser.click("nav a[href='/console/queue']").await;
    browser.until_says("No worker is there.").await;
    rig.work();
    goes_on(&browser, &rig, &import).await;
    browser.close().await;
    rig.stop().await;
}
