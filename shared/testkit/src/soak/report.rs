//! What is told of a run, as text and as report.json.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::journal::{Wrong, held};
use super::recovery::Times;
use super::world::World;

/// What was found out outside of the world.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) seeds: Vec<u64>,
    pub(crate) seconds: f64,
    pub(crate) fault_seconds: f64,
    pub(crate) times: BTreeMap<&'static str, Times>,
    pub(crate) targets_missed: Vec<String>,
}

/// The commit of the checkout, with a mark where files were changed since.
fn commit(root: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(root).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain"]).is_some_and(|lines| !lines.is_empty());
    let mark = if changed { " with changes" } else { "" };
    git(&["rev-parse", "--short=12", "HEAD"]).map_or("unknown".into(), |commit| format!("{commit}{mark}"))
}

impl World {
    /// Writes the report. True if nothing was wrong.
    pub(crate) fn report(&self, root: &Path, run: &Run) -> anyhow::Result<bool> {
        let wrongs = self.journal.wrongs();
        let good = wrongs.is_empty() && run.targets_missed.is_empty();
        let report = self.json(root, run, good);
        let path = self.options.dir.join("report.json");
        std::fs::write(&path, serde_json::to_string_pretty(&report)?).context("report.json")?;
        print!("{}", self.text(&report, run)?);
        Ok(good)
    }

    fn json(&self, root: &Path, run: &Run, good: bool) -> Value {
        let count = |name: &str| self.journal.counted(name);
        let mut wrong: BTreeMap<&str, u64> = Wrong::ALL.iter().map(|wrong| (wrong.name(), 0)).collect();
        let mut violations = BTreeMap::new();
        for ((kind, what), records) in self.journal.wrongs() {
            *wrong.entry(kind.name()).or_default() += records;
            violations.insert(what, json!({"kind": kind.name(), "records": records}));
        }
        let times: BTreeMap<&str, Value> =
            run.times.iter().map(|(kind, times)| (*kind, times.json())).collect();
        let memory: BTreeMap<&str, u64> =
            self.processes().map(|process| (&*process.name, process.peak())).collect();
        let mut stops: Vec<f64> = self.processes().flat_map(|process| held(&process.stops).clone()).collect();
        stops.sort_by(f64::total_cmp);
        json!({
            "good": good, "commit": commit(root), "seeds": run.seeds, "replay": self.replay(run),
            "seconds": run.seconds.round(), "fault_seconds": run.fault_seconds.round(),
            "imports": {"attempted": count("attempted imports"), "accepted": count("accepted imports"),
                        "unanswered_but_there": count("unanswered imports that are there"),
                        "late": count("applied_late"),
                        "sent_while_broker_away": count("uploads while the broker was away")},
            "records": {"attempted": count("attempted records"), "accepted": count("accepted records"),
                        "acknowledged": count("acknowledged records"), "ok": count("records ok"),
                        "recovered": count("recovered records"), "compared": count("compared records"),
                        "lost": wrong["lost"], "duplicated": wrong["duplicated"], "wrong": wrong["wrong"],
                        "not_ended": wrong["not_ended"], "without_reason": wrong["without_reason"],
                        "leaked": wrong["leaked"]},
            "violations": violations,
            "chunks": {"applied": count("chunks applied"),
                       "in_own_transactions": count("chunks applied in transactions of their own"),
                       "redelivered": count("redelivered"), "dispatched_again": count("dispatched again"),
                       "dead_lettered": count("dead-lettered"), "messages_copied": count("messages copied")},
            "users": {"compared": count("users compared"), "versions": count("users whose version was compared")},
            "reads": {"imports": count("reads"), "failed_records": count("failed records read"),
                      "records_in_pages": count("records read in pages")},
            "kills": self.kills.load(Ordering::SeqCst), "faults": self.journal.counts("fault "),
            "recovery_seconds": times,
            "stopping_seconds": {"count": stops.len(), "max": stops.last()},
            "answers": self.journal.counts("answer "), "steering": self.journal.counts("steering "),
            "exited_by_itself": count("exited_by_itself"), "series_retired": count("series_retired"),
            "peak_memory_kib": memory, "targets_missed": run.targets_missed,
        })
    }

    /// The command that does the same again, as far as a seed goes.
    fn replay(&self, run: &Run) -> String {
        let options = &self.options;
        let seeds: Vec<String> = run.seeds.iter().map(u64::to_string).collect();
        let mut line = format!(
            "muster-soak --program {} --seed {} --minutes {} --every {} --tenants {} --series {} --most {}",
            options.program.display(),
            seeds.join(","),
            options.minutes,
            options.every,
            options.tenants,
            options.series,
            options.most
        );
        let numbers = [("kills", options.kills), ("imports", options.imports), ("records", options.records)];
        for (name, number) in numbers {
            if let Some(number) = number {
                line += &format!(" --{name} {number}");
            }
        }
        for (name, number) in [("flood", options.flood), ("broker-away", options.broker_away)] {
            if number > 0 {
                line += &format!(" --{name} {number}");
            }
        }
        if !options.mix.is_empty() {
            line += &format!(" --mix {}", options.mix.join(","));
        }
        line
    }

    fn text(&self, report: &Value, run: &Run) -> anyhow::Result<String> {
        let mut out = String::new();
        let seeds: Vec<String> = run.seeds.iter().map(u64::to_string).collect();
        writeln!(out, "kill soak: seed {}, commit {}", seeds.join(" and "), report["commit"])?;
        writeln!(out, "  {} s, faults for {} s", report["seconds"], report["fault_seconds"])?;
        for part in ["imports", "records", "chunks", "users", "reads", "faults", "answers"] {
            let pairs = report[part].as_object().into_iter().flatten();
            let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name} {value}")).collect();
            writeln!(out, "  {part:8} {}", pairs.join(", "))?;
        }
        writeln!(out, "  SIGKILLs {}", report["kills"])?;
        writeln!(out, "  seconds until work went on:")?;
        for (kind, times) in report["recovery_seconds"].as_object().into_iter().flatten() {
            writeln!(
                out,
                "    {kind}: {} times, p50 {}, p95 {}, max {}",
                times["count"], times["p50"], times["p95"], times["max"]
            )?;
        }
        for target in &run.targets_missed {
            writeln!(out, "  not reached: {target}")?;
        }
        for ((wrong, what), records) in self.journal.wrongs() {
            writeln!(out, "  VIOLATION {}: {what} ({records})", wrong.name())?;
        }
        writeln!(out, "  evidence in {}", self.options.dir.display())?;
        writeln!(out, "  again: {}", report["replay"].as_str().unwrap_or_default())?;
        let verdict = if report["good"] == true { "nothing was wrong" } else { "SOMETHING WAS WRONG" };
        writeln!(out, "  {verdict}")?;
        Ok(out)
    }
}
