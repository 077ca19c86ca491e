//! The table of the files that people have (`shared/test_data/cases/table.json`): what stands in a row, and flags as options.

#![allow(dead_code, reason = "each of the programs reads what it needs")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) file: String,
    #[serde(flatten)]
    pub(crate) come: Come,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Come {
    pub(crate) with: Vec<String>,
    pub(crate) refused: Option<String>,
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
    /// Fields of users, whoever has them.
    pub(crate) users: Vec<BTreeMap<String, Value>>,
    pub(crate) tells: Vec<String>,
    pub(crate) hides: Vec<String>,
    pub(crate) hint: Option<String>,
    pub(crate) then: Option<Box<Come>>,
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/test_data/cases")
}

pub(crate) fn rows() -> Vec<Row> {
    serde_json::from_slice(&fs::read(folder().join("table.json")).unwrap()).expect("the table")
}

/// Flags as on the command line, as the options that the program makes of them.
pub(crate) fn options(flags: &[String]) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut columns = serde_json::Map::new();
    for pair in flags.chunks(2) {
        let [flag, value] = pair else { panic!("a flag without a value: {pair:?}") };
        let name = flag.strip_prefix("--").expect("a flag").replace('-', "_");
        if name == "column" {
            let (column, field) = value.rsplit_once('=').expect("NAME=FIELD");
            let before = columns.insert(column.trim().to_owned(), field.trim().into());
            assert!(before.is_none(), "{column} is given twice, and the program takes it once");
        } else {
            pairs.push((name, value.clone()));
        }
    }
    if !columns.is_empty() {
        pairs.push(("columns".into(), Value::Object(columns).to_string()));
    }
    pairs
}

/// Words as a shell makes them.
pub(crate) fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
