//! How long `muster inspect` takes for a file: from the start of the program to its answer, as a person waits for it.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::generate::{Format, Order, generate_file};
use crate::guard::{self, Guard};
use crate::report::{cores, median};
use crate::{muster, process, services};

/// What is promised for 1,000,000 records of a CSV file, in seconds.
const PROMISED: f64 = 2.0;
/// How often the memory of the program is looked at while it runs.
const LOOK: Duration = Duration::from_millis(5);

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Records of each file.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// The seed of the files.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often each file is looked at; the medians count.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The program to measure (default: the release build of this checkout, built if it is not up to date).
    #[arg(long, value_name = "FILE")]
    muster: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// A file, and what looking at it must find.
struct Case {
    what: &'static str,
    file: PathBuf,
    records: u64,
    invalid: u64,
    bytes: u64,
}

/// What was measured of one.
struct Measured {
    case: Case,
    seconds: Vec<f64>,
    /// The most memory that was seen, in KiB.
    peak: u64,
}

impl Measured {
    fn seconds(&self) -> f64 {
        median(self.seconds.clone())
    }

    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    fn rate(&self) -> f64 {
        self.case.records as f64 / self.seconds()
    }

    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    fn mebibytes(&self) -> f64 {
        self.peak as f64 / 1024.0
    }
}

/// `muster-bench inspect`.
pub(crate) fn command(arguments: &Arguments) -> anyhow::Result<()> {
    let root = services::root()?;
    let program = match &arguments.muster {
        Some(file) => file.canonicalize().with_context(|| format!("cannot find {}", file.display()))?,
        None => muster::build(&root)?,
    };
    let mut guard = Guard::start()?;
    let folder = guard::folder(&mut guard, false)?;
    let mut all = Vec::new();
    for case in cases(arguments, &folder)? {
        eprint!("{}", case.what);
        let mut measured = Measured { case, seconds: Vec::new(), peak: 0 };
        for _ in 0..arguments.runs {
            let (seconds, peak) = look(&program, &folder, &measured.case)?;
            eprint!(" {seconds:.2} s");
            measured.seconds.push(seconds);
            measured.peak = measured.peak.max(peak);
        }
        eprintln!();
        all.push(measured);
    }
    guard.finish()?;
    report(&all, arguments);
    Ok(())
}

/// The files: the one that the promise is about first.
fn cases(arguments: &Arguments, folder: &Path) -> anyhow::Result<Vec<Case>> {
    let clean = Order::clean(arguments.records, arguments.seed);
    let orders = [
        ("CSV", "clean.csv", clean.clone()),
        (
            "CSV, 5 % repeated, 1 % invalid",
            "mixed.csv",
            Order { duplicates: 5.0, invalid: 1.0, ..clean.clone() },
        ),
        ("NDJSON", "clean.ndjson", Order { format: Format::Ndjson, ..clean.clone() }),
        ("JSON", "clean.json", Order { format: Format::Json, ..clean }),
    ];
    let mut cases = Vec::new();
    for (what, name, order) in orders {
        eprintln!("generating {} records: {what}", order.records);
        let file = folder.join(name);
        let made = generate_file(&order, &file)?;
        cases.push(Case { what, file, records: made.records, invalid: made.first.failed, bytes: made.bytes });
    }
    cases.push(staff(arguments.records, folder.join("staff.csv"))?);
    Ok(cases)
}

/// A list as an HR system writes it, looked at without options: each record has a day and a phone number that are refused.
fn staff(records: u64, file: PathBuf) -> anyhow::Result<Case> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&file)?);
    writeln!(out, "Nachname;Vorname;E-Mail;Telefon;Geburtsdatum")?;
    for number in 0..records {
        writeln!(out, "Müller;Jürgen;person{number}@example.com;0151 2{number:07};24.12.1980")?;
    }
    out.flush()?;
    let bytes = std::fs::metadata(&file)?.len();
    Ok(Case { what: "CSV, two faults in each record", file, records, invalid: records, bytes })
}

/// Looks at the file once: seconds and KiB.
fn look(program: &Path, folder: &Path, case: &Case) -> anyhow::Result<(f64, u64)> {
    let answer = folder.join("answer.json");
    let mut command = Command::new(program);
    command.arg("inspect").arg(&case.file).arg("--json").current_dir(folder).env("MUSTER_DATA_DIR", folder);
    for name in ["MUSTER_CONFIG", "MUSTER_SERVER", "MUSTER_TOKEN"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(File::create(&answer)?);
    let ended = AtomicBool::new(false);
    let start = Instant::now();
    let mut child = command.spawn().context("cannot start muster inspect")?;
    let pid = child.id();
    let (status, seconds, peak) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut peak = 0;
            while !ended.load(Ordering::Relaxed) {
                peak = peak.max(process::peak_memory(pid).unwrap_or(0));
                std::thread::sleep(LOOK);
            }
            peak
        });
        let status = child.wait();
        let seconds = start.elapsed().as_secs_f64();
        ended.store(true, Ordering::Relaxed);
        (status, seconds, watching.join().unwrap_or(0))
    });
    let status = status.context("waiting for muster inspect")?;
    // It says by 3 that records would fail.
    let wanted = if case.invalid > 0 { 3 } else { 0 };
    ensure!(status.code() == Some(wanted), "muster inspect of {} ended with {status}", case.what);
    let answer: Value = serde_json::from_str(&std::fs::read_to_string(&answer)?)?;
    for (name, wanted) in [("records", case.records), ("invalid", case.invalid)] {
        let count = answer.get(name).and_then(Value::as_u64);
        ensure!(count == Some(wanted), "{}: {name} is {count:?} instead of {wanted}", case.what);
    }
    Ok((seconds, peak))
}

fn report(all: &[Measured], arguments: &Arguments) {
    if arguments.json {
        let files = all.iter().map(|one| {
            json!({"file": one.case.what, "records": one.case.records, "bytes": one.case.bytes, "seconds": one.seconds(),
                   "runs": one.seconds, "peak_mib": one.mebibytes()})
        });
        println!("{:#}", json!({"cores": cores(), "files": files.collect::<Vec<_>>()}));
        return;
    }
    println!("{} records; {} cores; medians of {} runs\n", arguments.records, cores(), arguments.runs);
    // As it stands in bench/README.md.
    println!("| file | seconds | records/s | peak MiB |\n|---|---|---|---|");
    for one in all {
        println!("| {} | {:.2} | {:.0} | {:.0} |", one.case.what, one.seconds(), one.rate(), one.mebibytes());
    }
    if let Some(first) = all.first() {
        let kept = if first.seconds() <= PROMISED { "it takes less" } else { "IT TAKES MORE" };
        println!("\npromised for 1,000,000 records as CSV: {PROMISED} s; {kept}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_of_the_list_of_staff_has_its_two_faults() {
        let file = std::env::temp_dir().join(format!("muster-bench-staff-{}.csv", std::process::id()));
        let case = staff(2, file.clone()).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!((case.records, case.invalid, case.bytes), (2, 2, text.len() as u64));
        assert!(text.ends_with("person1@example.com;0151 20000001;24.12.1980\n"), "{text}");
    }
}
