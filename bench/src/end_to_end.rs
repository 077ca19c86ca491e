//! Muster end to end: a file goes in over HTTP, through the broker and the workers, until the import is `completed`;
//! then the same file again, which must change nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::generate::{Counts, Manifest};
use crate::guard::Guard;
use crate::http::Client;
use crate::muster::{Muster, Service};
use crate::postgres;

/// How often the import is asked how far it is. Each answer sums up its chunks: asked 20 times a second, that took a hundredth of the
/// machine.
const POLL: Duration = Duration::from_millis(500);
/// An import that counts nothing for this long hangs.
const STALLED: Duration = Duration::from_secs(120);

/// How long an import took, in seconds from the first byte sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImportTime {
    /// The upload was answered: everything is staged.
    pub(crate) answered: f64,
    /// The import was `completed`: by the database, since it opened the import, which it does with the first bytes.
    pub(crate) completed: f64,
}

/// What one run gave.
pub(crate) struct EndToEnd {
    pub(crate) first: ImportTime,
    pub(crate) again: ImportTime,
    /// Name and peak memory in KiB of each process.
    pub(crate) memory: Vec<(String, u64)>,
}

/// One run in a fresh database. `content` is the fingerprint that the users must have.
pub(crate) fn measure(
    guard: &mut Guard,
    muster: &Muster<'_>,
    workers: u32,
    file: &Path,
    manifest: &Manifest,
    content: &str,
) -> anyhow::Result<EndToEnd> {
    let token = muster.token()?;
    let mut services = vec![muster.service(guard, "producer", "producer")?];
    for number in 1..=workers {
        services.push(muster.service(guard, &format!("worker {number}"), "worker")?);
    }
    let mut address = None;
    for service in &mut services {
        if address.is_none() {
            service.answers()?;
            address = Some(service.address);
        } else {
            service.works()?;
        }
    }
    let client = Client { address: address.context("no producer")?, token };

    postgres::settle(&muster.database, file)?;
    let first = import(&client, &mut services, muster, file, manifest.records, manifest.first)
        .context("the first import")?;
    let before = check_users(&muster.database, manifest, content).context("after the first import")?;
    postgres::settle(&muster.database, file)?;
    let again = import(&client, &mut services, muster, file, manifest.records, manifest.again)
        .context("the same file again")?;
    let after = check_users(&muster.database, manifest, content).context("after the same file again")?;
    ensure!(before == after, "the same file again has rewritten rows, though nothing in them changed");

    let memory = services.iter().map(|service| Ok((service.name.clone(), service.peak_memory()?)));
    let memory = memory.collect::<anyhow::Result<Vec<_>>>()?;
    // The workers first: the producer's dispatcher may still be asked.
    for service in services.into_iter().rev() {
        service.stop(guard)?;
    }
    Ok(EndToEnd { first, again, memory })
}

fn import(
    client: &Client,
    services: &mut [Service],
    muster: &Muster<'_>,
    file: &Path,
    records: u64,
    expected: Counts,
) -> anyhow::Result<ImportTime> {
    let start = Instant::now();
    let import = client.post_file("/v1/imports", file, 202)?;
    let answered = start.elapsed().as_secs_f64();
    let id = import.get("id").and_then(Value::as_str).context("the answer has no id")?;
    let path = format!("/v1/imports/{id}");
    let (mut pending, mut moved) = (None, Instant::now());
    let import = loop {
        let import = client.get(&path, 200)?;
        let state = import.get("state").and_then(Value::as_str).unwrap_or_default();
        if state == "completed" {
            break import;
        }
        ensure!(["received", "running"].contains(&state), "the import is {state}: {import}");
        let now = import.pointer("/counts/pending").and_then(Value::as_u64);
        if now != pending {
            (pending, moved) = (now, Instant::now());
        }
        ensure!(moved.elapsed() < STALLED, "the import stands still: {import}");
        services.iter_mut().try_for_each(Service::check)?;
        std::thread::sleep(POLL);
    };
    let wanted = [
        ("total", records),
        ("pending", 0),
        ("inserted", expected.inserted),
        ("updated", expected.updated),
        ("skipped", expected.skipped),
        ("failed", expected.failed),
    ];
    for (name, wanted) in wanted {
        let count = import.pointer(&format!("/counts/{name}")).and_then(Value::as_u64);
        ensure!(count == Some(wanted), "counts.{name} is {count:?} instead of {wanted}: {import}");
    }
    let query =
        format!("select extract(epoch from completed_at - created_at) from imports where id = '{id}'");
    let completed: f64 =
        postgres::row(&muster.database, &query)?.concat().parse().context("no time of its end")?;
    Ok(ImportTime { answered, completed })
}

/// Fingerprint of what the users are, whichever ids and places they have: equal for the floor and for Muster.
pub(crate) fn content(url: &str) -> anyhow::Result<String> {
    let query = "select sum(hashtextextended(concat_ws(e'\\x1f', email, given_name, family_name, metadata), 0)) from users";
    Ok(postgres::row(url, query)?.join("|"))
}

/// Fingerprint of where each row is and who wrote it: another one as soon as one row is rewritten.
fn check_users(url: &str, manifest: &Manifest, expected: &str) -> anyhow::Result<String> {
    let query = "select count(*), count(distinct email), sum(version),
                        sum(hashtextextended(concat_ws(' ', id, ctid, xmin), 0))
                   from users";
    let row = postgres::row(url, query)?;
    let wanted = manifest.users.to_string();
    for (what, value) in ["count(*)", "count(distinct email)", "sum(version)"].iter().zip(&row) {
        ensure!(*value == wanted, "{what} of users is {value} instead of {wanted}");
    }
    let content = content(url)?;
    ensure!(
        content == expected,
        "the users are not those of the file: fingerprint {content} instead of {expected}"
    );
    row.into_iter().nth(3).context("the rows have no fingerprint")
}
