//! One small file an oddity (`shared/test_data`), each with what it must come to beside it.
//!
//! `MUSTER_BLESS=1` writes what it comes to now: look at the difference before it is committed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use muster_domain::parse::{Dialect, Format, SkipLines};
use serde_json::Value;

use crate::seen::{SeenValue, parse, parse_pieces};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../test_data")
}

/// The files of the corpus with their formats: named for the format, then for the oddity.
fn corpus() -> Vec<(PathBuf, Format)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder()).expect("the corpus") {
        let path = entry.expect("a file").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        if name.ends_with(".expected.json") {
            continue;
        }
        if let Some(format) = name.split_once('_').and_then(|(format, _)| format.parse().ok()) {
            files.push((path, format));
        }
    }
    files.sort_unstable_by(|one, two| one.0.cmp(&two.0));
    files
}

fn expected_path(path: &Path) -> PathBuf {
    path.with_extension("expected.json")
}

/// What is asked for beside the format stands in the name: `csv_detect_…` has its delimiter told from the header, and
/// `…_given_ENCODING` its encoding named; `csv_flexible_…` may have short and long rows.
fn dialect(path: &Path) -> Dialect {
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let delimiter = if name.starts_with("csv_detect_") { None } else { Dialect::default().delimiter };
    let encoding = name.split_once("_given_").map(|(_, encoding)| encoding.parse().expect("an encoding"));
    let flexible = name.starts_with("csv_flexible_");
    Dialect { delimiter, encoding, flexible, ..Dialect::default() }
}

#[test]
fn oddity_comes_to_what_stands_beside_it() {
    let bless = env::var_os("MUSTER_BLESS").is_some();
    let mut wrong = Vec::new();
    let corpus = corpus();
    assert!(corpus.len() >= 60, "the corpus is there");
    for (path, format) in corpus {
        let upload = fs::read(&path).expect("a readable file");
        let seen = parse(format, dialect(&path), &upload);
        assert_eq!(parse_pieces(format, dialect(&path), upload.chunks(1)), seen, "{}", path.display());
        let seen = seen.to_json();
        if bless {
            let text = serde_json::to_string_pretty(&seen).expect("JSON") + "\n";
            fs::write(expected_path(&path), text).expect("written");
            continue;
        }
        let expected = fs::read(expected_path(&path)).expect("what it must come to");
        let expected: Value = serde_json::from_slice(&expected).expect("JSON");
        if seen != expected {
            wrong.push(format!("{}:\nexpected {expected:#}\ngot {seen:#}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_expectation_has_its_file() {
    let files: BTreeSet<PathBuf> = corpus().iter().map(|(path, _)| expected_path(path)).collect();
    for entry in fs::read_dir(folder()).expect("the corpus") {
        let path = entry.expect("a file").path();
        if path.to_str().is_some_and(|path| path.ends_with(".expected.json")) {
            assert!(files.contains(&path), "{} belongs to nothing", path.display());
        }
    }
}

/// The lines before the header of a sheet are its rows, however many breaks are in their cells, and wherever the file is cut.
#[test]
fn the_rows_of_a_sheet_are_counted_where_they_are_skipped() {
    let upload = b"\"Staff\nas of \"\"today\"\"\n,in lines\",\n,\nemail,\"first_name\"\n\"a@b.co\",\"Ada\"\n";
    let dialect = Dialect { handmade: true, skip_lines: SkipLines::Lines(2), ..Dialect::default() };
    for pieces in [1, 7, upload.len()] {
        let seen = parse_pieces(Format::Xlsx, dialect, upload.chunks(pieces));
        assert_eq!(seen.header, Some(vec!["email".to_owned(), "first_name".to_owned()]), "{seen:?}");
        assert_eq!(seen.records.len(), 1, "{seen:?}");
        assert_eq!(seen.records[0].position.line, 4, "{seen:?}");
        let email = ("email".to_owned(), SeenValue::Text("a@b.co".to_owned()));
        assert!(seen.records[0].fields.contains(&email), "{seen:?}");
    }
}
