//! Small files, an oddity each, with what their records must come to beside them: `shared/test_data/records`.
//!
//! `NAME.csv`, `NAME.json` or `NAME.ndjson` is the upload, `NAME.expected.json` what it comes to. `NAME.case.json`, where there is
//! one, has the import's `options`, the `limits` of the parse step, and records that are imported `before` (native
//! names, JSON). The catalog is [`hostile::catalog`](super::hostile::catalog).

use std::fs;
use std::path::{Path, PathBuf};

use muster_domain::error::FileError;
use muster_domain::options::ImportOptions;
use muster_domain::outcome::Outcome;
use muster_domain::parse::{Format, ParseLimits};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::oracle::{Fields, Observed};

/// One file.
#[derive(Debug)]
pub struct Oddity {
    /// Its name, with its format's ending.
    pub name: String,
    /// The upload.
    pub bytes: Vec<u8>,
    /// What the import is asked to do.
    pub options: ImportOptions,
    /// Bounds of the parse step.
    pub limits: ParseLimits,
    /// A JSON upload to import before, with default options.
    pub before: Option<Vec<u8>>,
    /// Where the expectation stands.
    pub expected: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Case {
    options: Map<String, Value>,
    limits: Limits,
    before: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Limits {
    record_bytes: Option<usize>,
    header_bytes: Option<usize>,
    fields: Option<usize>,
    names: Option<usize>,
    name_bytes: Option<usize>,
    depth: Option<usize>,
}

/// Every file of the corpus, by name.
///
/// # Panics
/// When the corpus cannot be read.
pub fn oddities() -> Vec<Oddity> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../test_data/records");
    let paths = fs::read_dir(&folder).expect("the corpus").map(|entry| entry.expect("a file").path());
    let sidecar = |path: &Path| {
        path.to_str().is_some_and(|path| path.ends_with(".case.json") || path.ends_with(".expected.json"))
    };
    let mut oddities: Vec<Oddity> = paths.filter(|path| !sidecar(path)).map(|path| read(&path)).collect();
    oddities.sort_by(|one, two| one.name.cmp(&two.name));
    oddities
}

fn read(path: &Path) -> Oddity {
    let ending = path.extension().and_then(|ending| ending.to_str()).expect("an ending");
    let format: Format = ending.parse().expect("the ending of a format");
    let case: Case = match fs::read(path.with_extension("case.json")) {
        Ok(json) => serde_json::from_slice(&json).expect("a case"),
        Err(_) => Case::default(),
    };
    let mut options = case.options;
    options.insert("format".to_owned(), Value::from(format.as_str()));
    let default = ParseLimits::default();
    let limits = case.limits;
    Oddity {
        name: path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned(),
        bytes: fs::read(path).expect("a readable file"),
        options: serde_json::from_value(Value::Object(options)).expect("options"),
        limits: ParseLimits {
            record_bytes: limits.record_bytes.unwrap_or(default.record_bytes),
            header_bytes: limits.header_bytes.unwrap_or(default.header_bytes),
            fields: limits.fields.unwrap_or(default.fields),
            names: limits.names.unwrap_or(default.names),
            name_bytes: limits.name_bytes.unwrap_or(default.name_bytes),
            depth: limits.depth.unwrap_or(default.depth),
        },
        before: case.before.map(|records| records.to_string().into_bytes()),
        expected: path.with_extension("expected.json"),
    }
}

impl Oddity {
    /// What it must come to.
    ///
    /// # Panics
    /// When the expectation cannot be read.
    pub fn wanted(&self) -> Value {
        let json = fs::read(&self.expected).expect("what it must come to");
        serde_json::from_slice(&json).expect("JSON")
    }
}

/// A refused file, as expectations have it.
pub fn refused(error: &FileError) -> Value {
    json!({"refused": error.code.as_str(), "record": error.record, "field": error.field})
}

/// What became of each record, and the users in the end, as expectations have it: without ids.
pub fn came(records: &[Observed], mut users: Vec<Fields>) -> Value {
    let records: Vec<Value> = records
        .iter()
        .map(|record| {
            let outcome = match record.verdict.outcome {
                Outcome::Pending => "pending",
                Outcome::Inserted => "inserted",
                Outcome::Updated => "updated",
                Outcome::Skipped => "skipped",
                Outcome::Failed => "failed",
            };
            let mut map = Map::from_iter([("outcome".to_owned(), Value::from(outcome))]);
            map.extend(
                record.verdict.reason.map(|reason| ("reason".to_owned(), Value::from(reason.as_str()))),
            );
            if !record.errors.is_empty() {
                let errors = record.errors.iter().map(|error| match &error.field {
                    Some(field) => format!("{} in {field}", error.code.as_str()),
                    None => error.code.as_str().to_owned(),
                });
                map.insert("errors".to_owned(), errors.collect());
            }
            if !record.warnings.is_empty() {
                map.insert("warnings".to_owned(), Value::from(record.warnings.clone()));
            }
            Value::Object(map)
        })
        .collect();
    users.sort_by_cached_key(|fields| format!("{fields:?}"));
    let users: Vec<Value> =
        users.into_iter().map(|fields| Value::Object(fields.into_iter().collect())).collect();
    json!({"records": records, "users": users})
}
