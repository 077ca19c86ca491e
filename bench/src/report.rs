//! What was measured, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::end_to_end::EndToEnd;
use crate::floor::FloorTime;
use crate::muster;

/// The goal: Muster takes at most this many times the floor…
const RATIO_GOAL: f64 = 1.2;
/// …and a process at most this much memory.
const MEMORY_GOAL_MIB: f64 = 200.0;

/// The value below which `part` of the samples are, which stand sorted; not a number where there are none.
pub(crate) fn percentile(sorted: &[f64], part: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few samples"
    )]
    let at = ((sorted.len() as f64 * part).ceil() as usize).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// All measurements of a run.
pub(crate) struct Report {
    records: u64,
    bytes: u64,
    servers: Vec<String>,
    pub(crate) workers: u32,
    pub(crate) floors: Vec<FloorTime>,
    pub(crate) musters: Vec<EndToEnd>,
    /// Of another build, measured in turn with the first.
    pub(crate) beside: Vec<EndToEnd>,
}

impl Report {
    pub(crate) fn new(records: u64, bytes: u64, servers: &[String]) -> Self {
        Self {
            records,
            bytes,
            servers: servers.to_vec(),
            workers: 0,
            floors: Vec::new(),
            musters: Vec::new(),
            beside: Vec::new(),
        }
    }

    fn floor(&self, of: impl Fn(&FloorTime) -> f64) -> f64 {
        median(self.floors.iter().map(of).collect())
    }

    fn muster(&self, of: impl Fn(&EndToEnd) -> f64) -> f64 {
        median(self.musters.iter().map(of).collect())
    }

    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    fn rate(&self, seconds: f64) -> f64 {
        self.records as f64 / seconds
    }

    /// How many times as long as the build beside it each run took: the first import, and the same file again.
    fn pairs(&self) -> (Vec<f64>, Vec<f64>) {
        let pairs = || self.musters.iter().zip(&self.beside);
        let first = pairs().map(|(this, other)| this.first.completed / other.first.completed);
        let again = pairs().map(|(this, other)| this.again.completed / other.again.completed);
        (first.collect(), again.collect())
    }

    /// Each process with the highest of its peaks over the runs, in MiB.
    fn memory(&self) -> Vec<(String, f64)> {
        let mut all: Vec<(String, u64)> = Vec::new();
        for (name, peak) in self.musters.iter().flat_map(|run| &run.memory) {
            match all.iter_mut().find(|(known, _)| known == name) {
                Some((_, highest)) => *highest = (*highest).max(*peak),
                None => all.push((name.clone(), *peak)),
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "for people to read")]
        all.into_iter().map(|(name, kib)| (name, kib as f64 / 1024.0)).collect()
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "\n{} records, {} bytes; {} cores; {}",
            self.records,
            self.bytes,
            cores(),
            self.servers.join(", ")
        )?;
        for setting in muster::inherited_settings() {
            writeln!(out, "with {setting}")?;
        }
        let total = self.floor(|floor| floor.total);
        writeln!(out, "medians of {} runs, in seconds\n", self.floors.len())?;
        writeln!(out, "floor        {total:8.2}   {:>9.0} records/s", self.rate(total))?;
        writeln!(out, "  copied     {:8.2}", self.floor(|floor| floor.copy))?;
        writeln!(out, "  inserted   {:8.2}", self.floor(|floor| floor.insert))?;
        if self.musters.is_empty() {
            return Ok(());
        }
        let completed = self.muster(|run| run.first.completed);
        writeln!(
            out,
            "Muster       {completed:8.2}   {:>9.0} records/s, {} workers",
            self.rate(completed),
            self.workers
        )?;
        writeln!(out, "  answered   {:8.2}   after the first byte", self.muster(|run| run.first.answered))?;
        writeln!(out, "  completed  {completed:8.2}")?;
        let again = self.muster(|run| run.again.completed);
        writeln!(out, "same again   {again:8.2}   {:>9.0} records/s, no row rewritten", self.rate(again))?;
        writeln!(out, "\nMuster / floor  {:.2}   (goal: {RATIO_GOAL} or less)", completed / total)?;
        if !self.beside.is_empty() {
            let (first, again) = self.pairs();
            writeln!(out, "Muster / build beside it, medians of {} pairs", self.beside.len())?;
            writeln!(out, "  completed  {:8.3}   pairs {}", median(first.clone()), listed(&first))?;
            writeln!(out, "  same again {:8.3}   pairs {}", median(again.clone()), listed(&again))?;
        }
        writeln!(out, "peak memory     MiB    (goal: {MEMORY_GOAL_MIB} or less)")?;
        for (name, peak) in self.memory() {
            writeln!(out, "  {name:<12} {peak:5.0}")?;
        }
        writeln!(out, "\nAll counts, users and fingerprints are exact.")
    }

    pub(crate) fn to_json(&self) -> Value {
        let floors = self.floors.iter();
        let mut value = json!({
            "records": self.records,
            "bytes": self.bytes,
            "cores": cores(),
            "servers": self.servers,
            "settings": muster::inherited_settings(),
            "runs": self.floors.len(),
            "floor": {
                "seconds": self.floor(|floor| floor.total),
                "copy_seconds": self.floor(|floor| floor.copy),
                "insert_seconds": self.floor(|floor| floor.insert),
                "records_per_second": self.rate(self.floor(|floor| floor.total)),
                "all_seconds": floors.map(|floor| floor.total).collect::<Vec<_>>(),
            },
        });
        if !self.musters.is_empty() {
            let completed = self.muster(|run| run.first.completed);
            value["ratio"] = json!(completed / self.floor(|floor| floor.total));
            value["muster"] = json!({
                "workers": self.workers,
                "seconds": completed,
                "answered_seconds": self.muster(|run| run.first.answered),
                "records_per_second": self.rate(completed),
                "all_seconds": self.musters.iter().map(|run| run.first.completed).collect::<Vec<_>>(),
                "again_seconds": self.muster(|run| run.again.completed),
                "again_answered_seconds": self.muster(|run| run.again.answered),
                "peak_memory_mib": self.memory().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            });
        }
        if !self.beside.is_empty() {
            let (first, again) = self.pairs();
            value["beside"] = json!({
                "all_seconds": self.beside.iter().map(|run| run.first.completed).collect::<Vec<_>>(),
                "completed_ratio": median(first.clone()),
                "completed_ratios": first,
                "again_ratio": median(again.clone()),
                "again_ratios": again,
            });
        }
        value
    }
}

fn listed(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:.3}")).collect::<Vec<_>>().join(" ")
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// The middle one; of an even number, the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 { at(half) } else { f64::midpoint(at(half.wrapping_sub(1)), at(half)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn the_report_says_ratio_and_highest_memory() {
        let mut report = Report::new(1_000, 67_000, &["PostgreSQL 15".to_owned()]);
        report.floors = vec![FloorTime { copy: 0.5, insert: 1.5, total: 2.0 }; 2];
        assert!(report.text().contains("500 records/s"), "{}", report.text());
        assert!(report.to_json().get("ratio").is_none());
        let time = crate::end_to_end::ImportTime { answered: 1.0, completed: 3.0 };
        for peak in [2048, 4096] {
            let memory = vec![("producer".to_owned(), peak)];
            report.musters.push(EndToEnd { first: time, again: time, memory });
        }
        assert!(report.text().contains("Muster / floor  1.50"), "{}", report.text());
        assert_eq!(report.to_json()["ratio"], 1.5);
        assert_eq!(report.to_json()["muster"]["peak_memory_mib"]["producer"], 4.0);
    }
}
