//! Measures fairness (P8): how long 200 records take alone, beside millions of the same tenant, and beside one large
//! import, a flood and a stalled import of another tenant.
//!
//! A flood takes what one large import takes already, all of the machine. So it is compared with one large import of the
//! other tenant, and the sick import, of which the database refuses every record, with the same small imports alone in the
//! same database right before: after the large ones it is another database than at the start.

use std::path::{Path, PathBuf};
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

/// How often an import is asked how far it is.
const POLL: Duration = Duration::from_millis(5);
/// An import that takes longer hangs.
const HANGS: Duration = Duration::from_secs(300);
/// The median that is promised beside the large import, in seconds, and what a neighbour may add to the 95th percentile.
const PROMISED_MEDIAN: f64 = 1.0;
const PROMISED_RATIO: f64 = 1.2;
/// Which case is the one beside a large import of another tenant, and the one alone among all users of the cases before.
const OTHERS_LARGE: usize = 2;
const ALONE_AGAIN: usize = 4;
/// Records of the sick import: more than are tried while forty small ones need no longer than alone.
const SICK: u32 = 200_000;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Records of the large import. Where it ends before everything beside it is measured, that is an error.
    #[arg(long, default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    large: u64,
    /// Records of a small import.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    small: u64,
    /// Small imports in each case.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..))]
    samples: u32,
    /// Imports of the flood, all at once, which share the records of the large one.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    flood: u32,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Seconds that small imports took in one case, shortest first.
struct Times {
    case: &'static str,
    /// The case that this one is compared with.
    base: usize,
    seconds: Vec<f64>,
}

impl Times {
    fn at(&self, part: f64) -> f64 {
        percentile(&self.seconds, part)
    }
}

/// `muster-bench fair`.
pub(crate) fn command(arguments: &Arguments, with: &MusterArguments) -> anyhow::Result<()> {
    let root = services::root()?;
    let program = match &with.muster {
        Some(file) => file.canonicalize().with_context(|| format!("cannot find {}", file.display()))?,
        None => muster::build(&root)?,
    };
    let mut guard = Guard::start()?;
    let name = format!("muster_fair_{}", std::process::id());
    let servers = services::find(&root, &mut guard, true, &name)?;
    let folder = guard::folder(&mut guard, false)?;
    guard.add(&Leftover::Database { server: servers.database.clone(), name: name.clone() })?;
    let database = postgres::create_database(&servers.database, &name, "template0")?;
    let amqp = servers.amqp.clone().context("no broker")?;
    let muster =
        Muster { program: &program, folder: &folder, database, amqp: &amqp, prefix: name, variables: &[] };
    muster.call(&["migrate"])?;
    sicken(&muster.database)?;
    let all = measure(&mut guard, &muster, arguments, with.workers)?;
    guard.finish()?;
    report(&all, arguments.json);
    Ok(())
}

/// Who writes a user of this name is refused as a full disk refuses. Others are not, so each of these records fails by itself. There from
/// the start, so that every case pays for the trigger.
fn sicken(database: &str) -> anyhow::Result<()> {
    let trigger = "create function sick() returns trigger language plpgsql as $$
                   begin raise exception using errcode = 'disk_full', message = 'sick'; end $$;
                   create trigger sick before insert on users for each row
                   when (new.family_name = 'Sick') execute function sick()";
    postgres::psql(database, &[trigger], None).map(drop)
}

fn measure(
    guard: &mut Guard,
    muster: &Muster<'_>,
    arguments: &Arguments,
    workers: u32,
) -> anyhow::Result<Vec<Times>> {
    let (ours, theirs) = (muster.token_of("ours")?, muster.token_of("theirs")?);
    let mut running = vec![muster.service(guard, "producer", "producer")?];
    for number in 1..=workers {
        running.push(muster.service(guard, &format!("worker {number}"), "worker")?);
    }
    let producer = running.first_mut().context("no producer")?;
    producer.answers()?;
    let address = producer.address;
    running.iter_mut().skip(1).try_for_each(Service::works)?;
    let (ours, theirs) = (Client { address, token: ours }, Client { address, token: theirs });
    let mut smalls =
        Smalls { folder: muster.folder, records: arguments.small, samples: arguments.samples, seed: 1_000 };
    let mut all = Vec::new();
    let mut times = |case: &'static str, base: usize| -> anyhow::Result<()> {
        eprintln!("{case}");
        all.push(Times { case, base, seconds: smalls.take(&ours)? });
        Ok(())
    };

    times("alone", 0)?;
    let large = muster.folder.join("large.csv");
    for (case, client, seed) in [
        ("beside a large import of the same tenant", &ours, 1),
        ("beside a large import of another tenant", &theirs, 2),
    ] {
        generate_file(&Order::clean(arguments.large, seed), &large)?;
        let import = begin(client, &large)?;
        times(case, 0)?;
        still_runs(client, &import)?;
        end(client, &import)?;
    }

    let each = arguments.large.div_ceil(arguments.flood.into());
    let files: Vec<PathBuf> =
        (0..arguments.flood).map(|number| muster.folder.join(format!("flood-{number}.csv"))).collect();
    for (seed, file) in (100..).zip(&files) {
        generate_file(&Order::clean(each, seed), file)?;
    }
    let flood: Vec<String> = files.iter().map(|file| begin(&theirs, file)).collect::<anyhow::Result<_>>()?;
    times("beside another tenant's flood", OTHERS_LARGE)?;
    still_runs(&theirs, flood.last().context("no flood")?)?;
    flood.iter().try_for_each(|import| end(&theirs, import))?;

    times("alone, with all these users", ALONE_AGAIN)?;
    let sick = muster.folder.join("sick.csv");
    let rows: String = (0..SICK).map(|n| format!("sick{n}@example.com,Sick\n")).collect();
    std::fs::write(&sick, format!("email,last_name\n{rows}")).context("writing the sick file")?;
    let import = begin(&theirs, &sick)?;
    times("beside another tenant's sick import", ALONE_AGAIN)?;
    if state(&theirs, &import)? != "running" {
        // They waited for it, or it was faster than they: what they took says which.
        eprintln!("the sick import ended before the small ones beside it");
    }

    for service in running.into_iter().rev() {
        service.stop(guard)?;
    }
    Ok(all)
}

/// Small imports, one after the other, each of users of its own.
struct Smalls<'a> {
    folder: &'a Path,
    records: u64,
    samples: u32,
    seed: u64,
}

impl Smalls<'_> {
    fn take(&mut self, client: &Client) -> anyhow::Result<Vec<f64>> {
        let mut seconds = Vec::new();
        for _ in 0..self.samples {
            self.seed += 1;
            let file: PathBuf = self.folder.join("small.csv");
            generate_file(&Order::clean(self.records, self.seed), &file)?;
            let start = Instant::now();
            let import = begin(client, &file)?;
            end(client, &import)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        Ok(seconds)
    }
}

/// Uploads a file. The import's address.
fn begin(client: &Client, file: &Path) -> anyhow::Result<String> {
    let import = client.post_file("/v1/imports", file, 202)?;
    let id = import.get("id").and_then(Value::as_str).context("the answer has no id")?;
    Ok(format!("/v1/imports/{id}"))
}

/// What was measured beside an import was measured beside it all the while.
fn still_runs(client: &Client, import: &str) -> anyhow::Result<()> {
    let state = state(client, import)?;
    ensure!(
        state == "running",
        "the import beside is {state} and did not run all the while: --large takes more"
    );
    Ok(())
}

fn state(client: &Client, import: &str) -> anyhow::Result<String> {
    let import = client.get(import, 200)?;
    Ok(import.get("state").and_then(Value::as_str).unwrap_or("unknown").to_owned())
}

/// Waits until the import is completed.
fn end(client: &Client, import: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let import = client.get(import, 200)?;
        if import.get("state").and_then(Value::as_str) == Some("completed") {
            return Ok(());
        }
        ensure!(start.elapsed() < HANGS, "the import hangs: {import}");
        std::thread::sleep(POLL);
    }
}

fn report(all: &[Times], as_json: bool) {
    let times_base =
        |times: &Times| times.at(0.95) / all.get(times.base).map_or(f64::NAN, |base| base.at(0.95));
    if as_json {
        let cases: Vec<Value> = all
            .iter()
            .map(|times| {
                json!({"case": times.case, "median": times.at(0.5), "p95": times.at(0.95), "times_base": times_base(times)})
            })
            .collect();
        println!("{:#}", json!({"cases": cases}));
        return;
    }
    println!("{:<42} {:>9} {:>9}   p95 to that", "small imports", "median s", "p95 s");
    for times in all {
        let base = all.get(times.base).map_or("", |base| base.case);
        let (median, p95, ratio) = (times.at(0.5), times.at(0.95), times_base(times));
        println!("{:<42} {median:>9.3} {p95:>9.3}   {ratio:.2} {base}", times.case);
    }
    println!(
        "promised: at most {PROMISED_MEDIAN} s at the median beside a large import of the same tenant, and at most {PROMISED_RATIO} times the p95 for a \
         flood of another tenant instead of one large import, and for its sick import"
    );
}
