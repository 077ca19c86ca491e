//! What foreseeing and taking back cost (P11, P12): a plan beside the import, before-images beside an import that keeps none, an undo beside
//! what it takes back. Six ratios, each of two times of the same round; the medians over the rounds count.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::end_to_end::content;
use crate::generate::{Order, generate_file};
use crate::guard::{self, Guard, Leftover};
use crate::http::Client;
use crate::muster::{self, Muster, Service};
use crate::report::median;
use crate::run::MusterArguments;
use crate::{postgres, services};

/// How often an import is asked how far it is.
const POLL: Duration = Duration::from_millis(50);
/// An import that takes longer hangs.
const HANGS: Duration = Duration::from_secs(3_600);
/// With this a program that is built with faults keeps no before-images.
const WITHOUT: &[(&str, &str)] = &[("MUTANT", "before_images_forgotten")];

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many users.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// How often; the medians count.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// A build of the program with the feature `faults`, which can leave before-images out (default: built from this checkout).
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// What is promised: this time, divided by that one, and the most that it may come to.
#[derive(Debug, Clone, Copy)]
struct Ratio {
    what: &'static str,
    above: Time,
    below: Time,
    most: f64,
}

/// What is timed in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    Import,
    Again,
    Update,
    PlanNew,
    PlanUnchanged,
    UndoUpdates,
    ImportToUndo,
    UndoInserts,
    InsertWith,
    InsertWithout,
    UpdateWith,
    UpdateWithout,
}

const RATIOS: [Ratio; 6] = [
    Ratio {
        what: "planning new users / importing them",
        above: Time::PlanNew,
        below: Time::Import,
        most: 0.6,
    },
    Ratio {
        what: "planning unchanged users / the same file again",
        above: Time::PlanUnchanged,
        below: Time::Again,
        most: 0.7,
    },
    Ratio {
        what: "all updates, with before-images / without",
        above: Time::UpdateWith,
        below: Time::UpdateWithout,
        most: 1.1,
    },
    Ratio {
        what: "all inserts, with before-images / without",
        above: Time::InsertWith,
        below: Time::InsertWithout,
        most: 1.02,
    },
    Ratio {
        what: "undo of updates / these updates",
        above: Time::UndoUpdates,
        below: Time::Update,
        most: 1.2,
    },
    Ratio {
        what: "undo of inserts / this import",
        above: Time::UndoInserts,
        below: Time::ImportToUndo,
        most: 0.7,
    },
];

/// Seconds that each step of a round took.
#[derive(Debug, Default)]
struct Round(Vec<(Time, f64)>);

impl Round {
    fn put(&mut self, time: Time, seconds: f64) {
        self.0.push((time, seconds));
    }

    fn get(&self, time: Time) -> f64 {
        self.0.iter().find(|(known, _)| *known == time).map_or(f64::NAN, |(_, seconds)| *seconds)
    }

    fn ratio(&self, ratio: &Ratio) -> f64 {
        self.get(ratio.above) / self.get(ratio.below)
    }
}

/// What all rounds share.
struct Bench {
    server: String,
    amqp: String,
    name: String,
    folder: PathBuf,
    program: PathBuf,
    faults: PathBuf,
    workers: u32,
    records: u64,
    /// The users, and the same with one field changed.
    files: [PathBuf; 2],
    /// Peak memory in KiB by role, of the program without faults.
    memory: Vec<(&'static str, u64)>,
}

/// `muster-bench undo`.
pub(crate) fn command(arguments: &Arguments, with: &MusterArguments) -> anyhow::Result<()> {
    let root = services::root()?;
    let found =
        |file: &PathBuf| file.canonicalize().with_context(|| format!("cannot find {}", file.display()));
    let mut guard = Guard::start()?;
    let name = format!("muster_undo_{}", std::process::id());
    let servers = services::find(&root, &mut guard, true, &name)?;
    let folder = guard::folder(&mut guard, false)?;
    // Building with faults takes the place of the program that was built before, so each is copied away.
    let faults = match &arguments.faults {
        Some(file) => found(file)?,
        None => copied(&muster::build_with(&root, &["--features", "faults"])?, &folder, "muster-faults")?,
    };
    let program = match &with.muster {
        Some(file) => found(file)?,
        None => copied(&muster::build(&root)?, &folder, "muster")?,
    };
    eprintln!("generating {} records", arguments.records);
    let files = ["first.csv", "changed.csv"].map(|file| folder.join(file));
    for (file, revision) in files.iter().zip(0..) {
        generate_file(&Order { revision, ..Order::clean(arguments.records, 1) }, file)?;
    }
    let mut bench = Bench {
        server: servers.database.clone(),
        amqp: servers.amqp.clone().context("no broker")?,
        name,
        folder,
        program,
        faults,
        workers: with.workers,
        records: arguments.records,
        files,
        memory: Vec::new(),
    };
    bench.template(&mut guard)?;
    let mut rounds = Vec::new();
    for number in 1..=arguments.runs {
        eprintln!("run {number} of {}", arguments.runs);
        rounds.push(bench.round(&mut guard, number)?);
    }
    guard.finish()?;
    report(&rounds, &bench.memory, &servers.versions, arguments);
    Ok(())
}

fn copied(program: &Path, folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let copy = folder.join(name);
    std::fs::copy(program, &copy).with_context(|| format!("cannot copy {}", program.display()))?;
    Ok(copy)
}

impl Bench {
    /// The database that all others are copies of.
    fn template(&self, guard: &mut Guard) -> anyhow::Result<()> {
        let (name, url) = self.database(guard, "template", "template0")?;
        self.muster(&self.program, &name, &url, &[]).call(&["migrate"]).map(drop)
    }

    fn muster<'m>(
        &'m self,
        program: &'m Path,
        prefix: &str,
        database: &str,
        variables: &'static [(&'static str, &'static str)],
    ) -> Muster<'m> {
        Muster {
            program,
            folder: &self.folder,
            database: database.to_owned(),
            amqp: &self.amqp,
            prefix: prefix.to_owned(),
            variables,
        }
    }

    fn database(&self, guard: &mut Guard, what: &str, template: &str) -> anyhow::Result<(String, String)> {
        let name = format!("{}_{what}", self.name);
        guard.add(&Leftover::Database { server: self.server.clone(), name: name.clone() })?;
        let url = postgres::create_database(&self.server, &name, template)?;
        Ok((name, url))
    }

    /// Each part in a fresh database; every other round in the opposite order, so that none always comes first.
    fn round(&mut self, guard: &mut Guard, number: u32) -> anyhow::Result<Round> {
        let mut round = Round::default();
        let mut parts: [Part; 5] = [plan_new, updates, inserts, images_with, images_without];
        if number.is_multiple_of(2) {
            parts.reverse();
        }
        for part in parts {
            part(self, guard, &mut round)?;
        }
        for ratio in &RATIOS {
            eprintln!("  {:<50} {:.2}", ratio.what, round.ratio(ratio));
        }
        Ok(round)
    }

    /// Does something with running services in a database of its own.
    fn alone(
        &mut self,
        guard: &mut Guard,
        (what, faults): (&str, bool),
        variables: &'static [(&'static str, &'static str)],
        work: impl FnOnce(&mut Running<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let template = format!("{}_template", self.name);
        let (name, url) = self.database(guard, what, &template)?;
        let program = if faults { &self.faults } else { &self.program };
        let muster = self.muster(program, &name, &url, variables);
        let token = muster.token()?;
        let mut services = vec![muster.service(guard, "producer", "producer")?];
        for number in 1..=self.workers {
            services.push(muster.service(guard, &format!("worker {number}"), "worker")?);
        }
        let producer = services.first_mut().context("no producer")?;
        producer.answers()?;
        let client = Client { address: producer.address, token };
        services.iter_mut().skip(1).try_for_each(Service::works)?;
        let mut running =
            Running { client, services, database: url, files: &self.files, records: self.records };
        work(&mut running)?;
        let mut peaks = Vec::new();
        for (place, service) in running.services.iter().enumerate() {
            peaks.push((if place == 0 { "producer" } else { "worker" }, service.peak_memory()?));
        }
        for service in running.services.into_iter().rev() {
            service.stop(guard)?;
        }
        // What a build with faults takes is promised to nobody.
        if !faults {
            self.memory.extend(peaks);
        }
        postgres::drop_database(&self.server, &name)?;
        guard.forget(&Leftover::Database { server: self.server.clone(), name })
    }
}

type Part = fn(&mut Bench, &mut Guard, &mut Round) -> anyhow::Result<()>;

/// New users are planned, and nothing is imported.
fn plan_new(bench: &mut Bench, guard: &mut Guard, round: &mut Round) -> anyhow::Result<()> {
    bench.alone(guard, ("plan", false), &[], |running| {
        let (_, seconds) = running.plan(0, "inserted")?;
        round.put(Time::PlanNew, seconds);
        let users = postgres::row(&running.database, "select count(*) from users")?;
        ensure!(users == ["0"], "a plan has made users");
        Ok(())
    })
}

/// Users are imported, come again, are planned unchanged, are changed, and the change is undone.
fn updates(bench: &mut Bench, guard: &mut Guard, round: &mut Round) -> anyhow::Result<()> {
    bench.alone(guard, ("updates", false), &[], |running| {
        round.put(Time::Import, running.import(0, "inserted")?.1);
        round.put(Time::Again, running.import(0, "skipped")?.1);
        let (plan, seconds) = running.plan(0, "skipped")?;
        round.put(Time::PlanUnchanged, seconds);
        running.client.post(&format!("/v1/imports/{plan}/cancel"), 200)?;
        let before = content(&running.database)?;
        let (import, seconds) = running.import(1, "updated")?;
        round.put(Time::Update, seconds);
        ensure!(content(&running.database)? != before, "the changed file has changed nothing");
        round.put(Time::UndoUpdates, running.undo(&import)?);
        ensure!(content(&running.database)? == before, "the undo has not taken everything back");
        Ok(())
    })
}

/// Users are imported, and that is undone.
fn inserts(bench: &mut Bench, guard: &mut Guard, round: &mut Round) -> anyhow::Result<()> {
    bench.alone(guard, ("inserts", false), &[], |running| {
        let (import, seconds) = running.import(0, "inserted")?;
        round.put(Time::ImportToUndo, seconds);
        round.put(Time::UndoInserts, running.undo(&import)?);
        let users = postgres::row(&running.database, "select count(*) from users")?;
        ensure!(users == ["0"], "the undo has left users");
        Ok(())
    })
}

fn images_with(bench: &mut Bench, guard: &mut Guard, round: &mut Round) -> anyhow::Result<()> {
    bench.alone(guard, ("with", true), &[], |running| {
        round.put(Time::InsertWith, running.import(0, "inserted")?.1);
        round.put(Time::UpdateWith, running.import(1, "updated")?.1);
        let kept = postgres::row(&running.database, "select count(*) > 0 from before_images")?;
        ensure!(kept == ["t"], "there are no before-images");
        Ok(())
    })
}

fn images_without(bench: &mut Bench, guard: &mut Guard, round: &mut Round) -> anyhow::Result<()> {
    bench.alone(guard, ("without", true), WITHOUT, |running| {
        round.put(Time::InsertWithout, running.import(0, "inserted")?.1);
        round.put(Time::UpdateWithout, running.import(1, "updated")?.1);
        let kept = postgres::row(&running.database, "select count(*) > 0 from before_images")?;
        ensure!(kept == ["f"], "the program keeps before-images: it is not built with faults");
        Ok(())
    })
}

/// Services that run, and who asks them.
struct Running<'a> {
    client: Client,
    services: Vec<Service>,
    database: String,
    files: &'a [PathBuf; 2],
    records: u64,
}

impl Running<'_> {
    /// Imports a file: its id, and the seconds until it was `completed`.
    fn import(&mut self, file: usize, outcome: &str) -> anyhow::Result<(String, f64)> {
        self.upload("/v1/imports", file, "completed", "/counts", outcome)
    }

    /// Plans a file: its id, and the seconds until it was `planned`.
    fn plan(&mut self, file: usize, outcome: &str) -> anyhow::Result<(String, f64)> {
        let timed = self.upload("/v1/imports?start=plan", file, "planned", "", "")?;
        let plan = self.client.get(&format!("/v1/imports/{}/plan", timed.0), 200)?;
        self.counted(&plan, "/counts", outcome)?;
        Ok(timed)
    }

    fn upload(
        &mut self,
        path: &str,
        file: usize,
        state: &str,
        counts: &str,
        outcome: &str,
    ) -> anyhow::Result<(String, f64)> {
        let file = self.files.get(file).context("no such file")?.clone();
        postgres::settle(&self.database, &file)?;
        let start = Instant::now();
        let import = self.client.post_file(path, &file, 202)?;
        let (id, import) = self.until(&import, state, start)?;
        let seconds = start.elapsed().as_secs_f64();
        if !outcome.is_empty() {
            self.counted(&import, counts, outcome)?;
        }
        Ok((id, seconds))
    }

    /// Undoes an import at once. The seconds until that was `completed`.
    fn undo(&mut self, import: &str) -> anyhow::Result<f64> {
        let file = self.files.first().context("no file")?.clone();
        postgres::settle(&self.database, &file)?;
        let start = Instant::now();
        let undo = self.client.post(&format!("/v1/imports/{import}/undo?start=auto"), 202)?;
        let (_, undo) = self.until(&undo, "completed", start)?;
        let seconds = start.elapsed().as_secs_f64();
        self.counted(&undo, "/counts", "updated")?;
        Ok(seconds)
    }

    fn until(&mut self, import: &Value, wanted: &str, start: Instant) -> anyhow::Result<(String, Value)> {
        let id = import.get("id").and_then(Value::as_str).context("the answer has no id")?.to_owned();
        loop {
            let import = self.client.get(&format!("/v1/imports/{id}"), 200)?;
            let state = import.get("state").and_then(Value::as_str).unwrap_or_default();
            if state == wanted {
                return Ok((id, import));
            }
            let goes_on = ["received", "running", "planning"].contains(&state);
            ensure!(goes_on && start.elapsed() < HANGS, "the import is {state}: {import}");
            self.services.iter_mut().try_for_each(Service::check)?;
            std::thread::sleep(POLL);
        }
    }

    /// Every record has this outcome.
    fn counted(&self, told: &Value, counts: &str, outcome: &str) -> anyhow::Result<()> {
        let count = told.pointer(&format!("{counts}/{outcome}")).and_then(Value::as_u64);
        ensure!(count == Some(self.records), "{outcome} is {count:?} instead of {}: {told}", self.records);
        Ok(())
    }
}

fn report(rounds: &[Round], memory: &[(&'static str, u64)], versions: &[String], arguments: &Arguments) {
    let peak = |role: &str| {
        let all = memory.iter().filter(|(of, _)| *of == role).map(|(_, peak)| *peak);
        all.max().unwrap_or(0).div_ceil(1024)
    };
    let all: Vec<(Ratio, Vec<f64>)> = RATIOS
        .into_iter()
        .map(|ratio| (ratio, rounds.iter().map(|round| round.ratio(&ratio)).collect()))
        .collect();
    if arguments.json {
        let ratios: Vec<Value> = all
            .iter()
            .map(|(ratio, values)| {
                json!({"what": ratio.what, "median": median(values.clone()), "promised": ratio.most, "all": values})
            })
            .collect();
        let seconds: Vec<Value> = rounds
            .iter()
            .map(|round| {
                round.0.iter().map(|(time, seconds)| (format!("{time:?}"), json!(seconds))).collect()
            })
            .collect();
        println!(
            "{:#}",
            json!({"records": arguments.records, "versions": versions, "ratios": ratios, "seconds": seconds,
                   "peak_memory_mib": {"producer": peak("producer"), "worker": peak("worker")}})
        );
        return;
    }
    println!("{} records, {} runs, {}", arguments.records, arguments.runs, versions.join(", "));
    println!("{:<50} {:>7} {:>9}   each run", "median of", "ratio", "promised");
    for (ratio, values) in all {
        let each: Vec<String> = values.iter().map(|value| format!("{value:.2}")).collect();
        let mark = if median(values.clone()) > ratio.most { " missed" } else { "" };
        println!("{:<50} {:>7.2} {:>9.2}   {}{mark}", ratio.what, median(values), ratio.most, each.join(" "));
    }
    println!("peak memory: producer {} MiB, worker {} MiB", peak("producer"), peak("worker"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::generate;

    #[test]
    fn a_ratio_is_of_two_times_of_one_round() {
        let mut round = Round::default();
        round.put(Time::Import, 10.0);
        round.put(Time::PlanNew, 5.0);
        assert_eq!(round.ratio(&RATIOS[0]), 0.5);
        assert!(round.ratio(&RATIOS[1]).is_nan(), "what was not timed is no number");
    }

    #[test]
    fn the_changed_file_names_the_same_users_and_changes_each() {
        let text = |revision| {
            let mut bytes = Vec::new();
            generate(&Order { revision, ..Order::clean(50, 1) }, &mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let (first, changed) = (text(0), text(1));
        let address = |line: &str| line.split(',').next().unwrap().to_owned();
        for (first, changed) in first.lines().zip(changed.lines()).skip(1) {
            assert_eq!(address(first), address(changed));
            assert_ne!(first, changed);
        }
    }
}
