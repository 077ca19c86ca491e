//! The table of bad inputs: whole, its tests there, and docs/input.md made of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Write;
use std::{env, fs};

use muster_domain::error::ErrorCode;
use muster_testkit::input::{Row, rows};
use muster_testkit::sources;

#[test]
fn every_bad_input_has_a_row_and_every_row_a_proof() {
    let (rows, sources) = (rows(), sources::all());
    let numbers: Vec<String> = rows.iter().map(|row| row.row.clone()).collect();
    let expected: Vec<String> = (1..=72).map(|number| format!("B{number}")).collect();
    assert_eq!(numbers, expected);
    for row in &rows {
        assert!(!row.cases.is_empty() || !row.tests.is_empty(), "{} has no proof", row.row);
        for test in &row.tests {
            let there = [format!("fn {test}("), format!("on_both_queues!({test}"), format!("    {test},")];
            assert!(there.iter().any(|text| sources.contains(text)), "{}: there is no test {test}", row.row);
        }
        for case in &row.cases {
            let code = case.comes["code"].as_str();
            assert!(code.is_none_or(|code| code.parse::<ErrorCode>().is_ok()), "{}: {code:?}", row.row);
        }
    }
}

/// What its cases come to, each kind of answer once.
fn answers(row: &Row) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut add = |text: String| {
        if !told.contains(&text) {
            told.push(text);
        }
    };
    for case in &row.cases {
        match (case.comes["code"].as_str(), case.comes["failed"].as_array()) {
            (Some(code), _) => add(format!("{} `{code}`", case.comes["status"])),
            (None, Some(failed)) if failed.is_empty() => add("202".to_owned()),
            (None, Some(failed)) => {
                failed.iter().for_each(|one| add(format!("record: `{}`", one["code"].as_str().unwrap())));
            }
            (None, None) => {}
        }
    }
    told.join(", ")
}

fn page() -> String {
    let mut out = String::from(
        "# Bad input\n\n<!-- Made of shared/test_data/input/table.json: MUSTER_UPDATE_DOCS=1 cargo nextest run --workspace --all-features the_page_of_inputs -->\n\n\
         What becomes of what people and programs send by mistake or on purpose. Where an answer begins with a status other than\n\
         202, the file is refused and nothing of it is applied; `record:` is the code of a record that fails alone. Each file is sent\n\
         to a real server (`every_bad_input_comes_to_what_the_table_says`), the first of each row also through the command line,\n\
         where everything is applied (`a_first_third_of_the_bad_inputs_comes_to_what_the_table_says` and its like).\n\n\
         | | Input | What holds | Answers | Tests |\n|---|---|---|---|---|\n",
    );
    for row in rows() {
        let tests: Vec<String> = row.tests.iter().map(|test| format!("`{test}`")).collect();
        let files = match row.cases.len() {
            0 => String::new(),
            1 => "1 file".to_owned(),
            more => format!("{more} files"),
        };
        let tests = [files, tests.join(", ")]
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join("; ");
        writeln!(out, "| {} | {} | {} | {} | {tests} |", row.row, row.input, row.holds, answers(&row))
            .unwrap();
    }
    out
}

/// `MUSTER_UPDATE_DOCS=1` writes the page anew.
#[test]
fn the_page_of_inputs_is_the_table() {
    let path = sources::root().join("docs/input.md");
    if env::var_os("MUSTER_UPDATE_DOCS").is_some() {
        fs::write(&path, page()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/input.md is out of date: run this test with MUSTER_UPDATE_DOCS=1");
}
