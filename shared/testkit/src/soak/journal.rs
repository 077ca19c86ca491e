//! What happened, and what was wrong, as lines of JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use muster_runtime::clock;
use serde_json::{Map, Value};

/// The kinds of wrong, counted in records where a record is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    /// A record of an accepted import left no trace.
    Lost,
    /// Something was done twice.
    Duplicated,
    /// Something came out otherwise than it must.
    Differs,
    /// Something did not end in time.
    NotEnded,
    /// Something failed and does not say why.
    WithoutReason,
    /// A user's value stands where none may.
    Leaked,
}

impl Wrong {
    pub(crate) const ALL: [Self; 6] =
        [Self::Lost, Self::Duplicated, Self::Differs, Self::NotEnded, Self::WithoutReason, Self::Leaked];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Differs => "wrong",
            Self::NotEnded => "not_ended",
            Self::WithoutReason => "without_reason",
            Self::Leaked => "leaked",
        }
    }
}

/// Writes events.jsonl and violations.jsonl.
#[derive(Debug)]
pub(crate) struct Journal {
    events: Mutex<File>,
    violations: Mutex<File>,
    counts: Mutex<BTreeMap<String, u64>>,
    /// Records and times of each.
    wrong: Mutex<BTreeMap<(Wrong, String), (u64, u64)>>,
    /// What was told since damage was done on purpose, which is no violation.
    expected: Mutex<Option<BTreeSet<String>>>,
}

pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    pub(crate) fn new(folder: &Path) -> anyhow::Result<Self> {
        let file = |name| File::create(folder.join(name)).with_context(|| format!("cannot write {name}"));
        Ok(Self {
            events: Mutex::new(file("events.jsonl")?),
            violations: Mutex::new(file("violations.jsonl")?),
            counts: Mutex::default(),
            wrong: Mutex::default(),
            expected: Mutex::default(),
        })
    }

    /// Notes that something happened, and counts it.
    pub(crate) fn event(&self, kind: &str, fields: Value) {
        self.count(kind, 1);
        write(&self.events, &[("kind", kind)], fields);
    }

    /// Notes something that must not be. `records`: how many records it concerns, at least 1.
    pub(crate) fn violation(&self, wrong: Wrong, what: &str, records: u64, fields: Value) {
        if let Some(expected) = held(&self.expected).as_mut() {
            expected.insert(what.to_owned());
            return;
        }
        let mut all = held(&self.wrong);
        let (count, times) = all.entry((wrong, what.to_owned())).or_default();
        *count += records.max(1);
        *times += 1;
        // The first of a kind are shown at once.
        if *times <= 3 {
            eprintln!("soak: violation: {what} ({}): {fields}", wrong.name());
        }
        drop(all);
        write(&self.violations, &[("wrong", wrong.name()), ("what", what)], fields);
    }

    /// From here on what is told is expected: damage was done on purpose.
    pub(crate) fn expect(&self) {
        held(&self.expected).get_or_insert_default();
    }

    /// What was told since.
    pub(crate) fn expected(&self) -> BTreeSet<String> {
        held(&self.expected).clone().unwrap_or_default()
    }

    pub(crate) fn count(&self, name: &str, number: u64) {
        *held(&self.counts).entry(name.to_owned()).or_default() += number;
    }

    pub(crate) fn counted(&self, name: &str) -> u64 {
        held(&self.counts).get(name).copied().unwrap_or(0)
    }

    /// Everything counted whose name begins so, without that beginning.
    pub(crate) fn counts(&self, prefix: &str) -> BTreeMap<String, u64> {
        let counts = held(&self.counts);
        let named = counts.iter().filter_map(|(name, count)| Some((name.strip_prefix(prefix)?, *count)));
        named.map(|(name, count)| (name.to_owned(), count)).collect()
    }

    /// What was wrong, with the number of records.
    pub(crate) fn wrongs(&self) -> BTreeMap<(Wrong, String), u64> {
        held(&self.wrong).iter().map(|(what, (records, _))| (what.clone(), *records)).collect()
    }
}

fn write(file: &Mutex<File>, head: &[(&str, &str)], fields: Value) {
    let mut line = Map::new();
    line.insert("at".into(), clock::now().to_rfc3339().into());
    line.extend(head.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
    match fields {
        Value::Object(fields) => line.extend(fields),
        Value::Null => {}
        other => drop(line.insert("value".into(), other)),
    }
    let mut text = Value::Object(line).to_string();
    text.push('\n');
    if let Err(error) = held(file).write_all(text.as_bytes()) {
        eprintln!("soak: the evidence cannot be written: {error}");
    }
}
