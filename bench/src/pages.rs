//! How long each page of the console takes, with many imports in the store and a large one running. The pages are found as a person finds
//! them: from the overview on, by the links that stand in them, so that one that is added later is measured too.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::generate::{Order, generate_file};
use crate::guard::{self, Guard, Leftover};
use crate::http::Client;
use crate::muster::{self, Muster, Service};
use crate::report::percentile;
use crate::run::MusterArguments;
use crate::{postgres, services};

/// What is promised of each page, in milliseconds at the median.
const PROMISED_MEDIAN: f64 = 100.0;
/// Most pages that are looked for.
const MOST: usize = 100;
/// How often an import is asked how far it is, and when it hangs.
const POLL: Duration = Duration::from_millis(20);
const HANGS: Duration = Duration::from_secs(600);

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Imports in the store; each tenth has records that failed.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..))]
    imports: u32,
    /// Records of each of them.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..))]
    records: u64,
    /// Records of the import that runs meanwhile. Where it ends before everything is measured, that is an error.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    large: u64,
    /// How often each page is asked for.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// A page and how long it took, shortest first.
struct Measured {
    page: String,
    milliseconds: Vec<f64>,
    bytes: usize,
}

impl Measured {
    fn at(&self, part: f64) -> f64 {
        percentile(&self.milliseconds, part)
    }
}

/// `muster-bench pages`.
pub(crate) fn command(arguments: &Arguments, with: &MusterArguments) -> anyhow::Result<()> {
    let root = services::root()?;
    let program = match &with.muster {
        Some(file) => file.canonicalize().with_context(|| format!("cannot find {}", file.display()))?,
        None => muster::build(&root)?,
    };
    let mut guard = Guard::start()?;
    let name = format!("muster_pages_{}", std::process::id());
    let servers = services::find(&root, &mut guard, true, &name)?;
    let folder = guard::folder(&mut guard, false)?;
    guard.add(&Leftover::Database { server: servers.database.clone(), name: name.clone() })?;
    let database = postgres::create_database(&servers.database, &name, "template0")?;
    let amqp = servers.amqp.clone().context("no broker")?;
    let muster =
        Muster { program: &program, folder: &folder, database, amqp: &amqp, prefix: name, variables: &[] };
    muster.call(&["migrate"])?;
    let all = measure(&mut guard, &muster, arguments, with.workers)?;
    guard.finish()?;
    report(&all, arguments);
    Ok(())
}

fn measure(
    guard: &mut Guard,
    muster: &Muster<'_>,
    arguments: &Arguments,
    workers: u32,
) -> anyhow::Result<Vec<Measured>> {
    let token = muster.operator_of("pages")?;
    let mut running = vec![muster.service(guard, "producer", "producer")?];
    for number in 1..=workers {
        running.push(muster.service(guard, &format!("worker {number}"), "worker")?);
    }
    let producer = running.first_mut().context("no producer")?;
    producer.answers()?;
    let client = Client { address: producer.address, token };
    running.iter_mut().skip(1).try_for_each(Service::works)?;

    eprintln!("{} imports of {} records", arguments.imports, arguments.records);
    let small = fill(&client, muster.folder, arguments)?;
    let file = muster.folder.join("large.csv");
    generate_file(&Order::clean(arguments.large, 1), &file)?;
    eprintln!("an import of {} records", arguments.large);
    let large = upload(&client, "large.csv", &file)?;
    let cookie = sign_in(&client)?;
    let users = client.get("/v1/users?limit=1", 200)?;
    let user = users.pointer("/users/0/id").and_then(Value::as_str).context("there is no user")?;
    let pages = find(&client, &cookie, &seeds(&small, &large, user))?;
    eprintln!("{} pages, {} times each", pages.len(), arguments.samples);
    let mut all: Vec<Measured> =
        pages.into_iter().map(|page| Measured { page, milliseconds: Vec::new(), bytes: 0 }).collect();
    // In turn, so that each page meets the whole of what goes on.
    for _ in 0..arguments.samples {
        for one in &mut all {
            let start = Instant::now();
            let answer = client.browse(&one.page, &cookie, None)?;
            one.milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
            ensure!(answer.status == 200, "{} answered {}", one.page, answer.status);
            one.bytes = answer.body.len();
        }
    }
    let state = client.get(&format!("/v1/imports/{large}"), 200)?;
    let state = state.get("state").and_then(Value::as_str).unwrap_or_default();
    ensure!(
        state == "running",
        "the large import is {state} and did not run all the while: --large takes more"
    );
    for one in &mut all {
        one.milliseconds.sort_by(f64::total_cmp);
    }
    all.sort_by(|one, other| other.at(0.5).total_cmp(&one.at(0.5)));
    for service in running.into_iter().rev() {
        service.stop(guard)?;
    }
    Ok(all)
}

/// Imports that have ended. One of them with failed records.
fn fill(client: &Client, folder: &Path, arguments: &Arguments) -> anyhow::Result<String> {
    let file = folder.join("small.csv");
    let (mut failed, mut last) = (None, None);
    for number in 0..arguments.imports {
        let mut order = Order::clean(arguments.records, 10_000 + u64::from(number));
        if number % 10 == 0 {
            order.invalid = 20.0;
        }
        generate_file(&order, &file)?;
        let import = upload(client, &format!("people-{number}.csv"), &file)?;
        if number % 10 == 0 {
            failed = Some(import.clone());
        }
        last = Some(import);
    }
    let start = Instant::now();
    for import in [&failed, &last].into_iter().flatten() {
        loop {
            let view = client.get(&format!("/v1/imports/{import}"), 200)?;
            if view.get("state").and_then(Value::as_str) == Some("completed") {
                break;
            }
            ensure!(start.elapsed() < HANGS, "the import hangs: {view}");
            std::thread::sleep(POLL);
        }
    }
    failed.context("there is no import")
}

/// Uploads a file. The import's id.
fn upload(client: &Client, name: &str, file: &Path) -> anyhow::Result<String> {
    let import = client.post_file(&format!("/v1/imports?filename={name}"), file, 202)?;
    import.get("id").and_then(Value::as_str).map(str::to_owned).context("the answer has no id")
}

/// Signs in at the console. The cookie of the session.
fn sign_in(client: &Client) -> anyhow::Result<String> {
    let door = client.browse("/console/sign-in", "", None)?;
    let body = String::from_utf8_lossy(&door.body).into_owned();
    let form = body.split_once("name=\"form\" value=\"").and_then(|(_, rest)| rest.split('"').next());
    let form = form.context("the page for signing in has no form")?;
    let cookie = door.cookie("muster_console_door").context("the page for signing in sets no cookie")?;
    let fields = format!("form={form}&then=%2Fconsole&token={}", client.token);
    let inside = client.browse("/console/sign-in", cookie, Some(&fields))?;
    let session = inside.cookie("muster_console");
    session.map(str::to_owned).with_context(|| format!("signing in answered {}", inside.status))
}

/// Where to begin: pages that no link leads to as they are asked for here, and those of two different imports.
fn seeds(small: &str, large: &str, user: &str) -> Vec<String> {
    let mut seeds = vec![
        "/console".to_owned(),
        "/console/imports".into(),
        "/console/imports?state=running".into(),
        "/console/imports?q=people-77".into(),
        "/console/users?q=nobody%40example.com".into(),
        format!("/console/users/{user}"),
    ];
    for import in [small, large] {
        seeds.push(format!("/console/imports/{import}"));
        seeds.push(format!("/console/imports/{import}/records"));
        seeds.push(format!("/console/imports/{import}/records?outcome=failed"));
    }
    seeds.push(format!("/console/imports/{large}/records?number=500000"));
    seeds
}

/// The seeds, and the pages that links lead to from there: one of each kind.
fn find(client: &Client, cookie: &str, seeds: &[String]) -> anyhow::Result<Vec<String>> {
    let mut pages: Vec<String> = seeds.to_vec();
    let mut known: BTreeSet<String> = seeds.iter().map(|page| kind(page)).collect();
    let mut at = 0;
    while let Some(page) = pages.get(at).cloned() {
        at += 1;
        let answer = client.browse(&page, cookie, None)?;
        ensure!(answer.status == 200, "{page} answered {}", answer.status);
        for link in links(&String::from_utf8_lossy(&answer.body)) {
            if pages.len() < MOST && known.insert(kind(&link)) {
                pages.push(link);
            }
        }
    }
    Ok(pages)
}

/// Addresses of pages of the console that a page leads to.
fn links(page: &str) -> Vec<String> {
    let found = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let is_page = |link: &&str| {
        let path = link.split(['?', '#']).next().unwrap_or_default();
        (path == "/console" || path.starts_with("/console/"))
            && !path.starts_with("/console/assets/")
            && !path.starts_with("/console/sign-")
            && !path.ends_with(".csv")
            && !path.ends_with(".ndjson")
    };
    let bare = |link: &str| link.split('#').next().unwrap_or_default().replace("&amp;", "&");
    found.filter(is_page).map(bare).collect()
}

/// A page with its ids and values left out.
fn kind(page: &str) -> String {
    let (path, query) = page.split_once('?').unwrap_or((page, ""));
    let is_id =
        |part: &str| part.len() == 36 && part.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let parts: Vec<&str> = path.split('/').map(|part| if is_id(part) { "{id}" } else { part }).collect();
    let mut names: Vec<&str> =
        query.split('&').filter_map(|pair| pair.split('=').next()).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    format!("{}?{}", parts.join("/"), names.join("&"))
}

fn report(all: &[Measured], arguments: &Arguments) {
    let (imports, large) = (arguments.imports, arguments.large);
    if arguments.json {
        let pages: Vec<Value> = all
            .iter()
            .map(|one| json!({"page": one.page, "median_ms": one.at(0.5), "p95_ms": one.at(0.95), "bytes": one.bytes}))
            .collect();
        println!("{:#}", json!({"imports": imports, "large": large, "pages": pages}));
        return;
    }
    println!("{imports} imports in the store, {large} records running");
    println!("{:>10} {:>10} {:>10}  page", "median ms", "p95 ms", "bytes");
    for one in all {
        println!("{:>10.1} {:>10.1} {:>10}  {}", one.at(0.5), one.at(0.95), one.bytes, one.page);
    }
    let slow = all.iter().filter(|one| one.at(0.5) >= PROMISED_MEDIAN).count();
    println!(
        "promised: less than {PROMISED_MEDIAN} ms at the median; {slow} of {} pages take longer",
        all.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0190a5f0-7b7c-7000-8000-000000000001";

    #[test]
    fn pages_of_one_kind_differ_in_ids_and_values_alone() {
        assert_eq!(kind(&format!("/console/imports/{ID}")), "/console/imports/{id}?");
        assert_eq!(kind("/console/imports?state=running&q=a"), kind("/console/imports?q=b&state=paused"));
        assert_ne!(kind("/console/imports?q=b"), kind("/console/imports"));
    }

    #[test]
    fn links_to_pages_are_followed_and_no_others() {
        let page = format!(
            "<a href=\"/console/queue#stuck\">a</a><link href=\"/console/assets/x.css\"><a href=\"https://example.com\">b</a>\
             <a href=\"/console/imports?before={ID}&amp;state=paused\">c</a><a href=\"/console/imports/{ID}/failed.csv\">d</a>"
        );
        assert_eq!(
            links(&page),
            ["/console/queue".to_owned(), format!("/console/imports?before={ID}&state=paused")]
        );
    }
}
