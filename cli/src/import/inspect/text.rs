//! The text of an inspection report.

use std::fmt::Write;

use muster_domain::inspect::{Column, Problem, Report};

use crate::output::{number, table};

/// Records that are shown of those that the report has.
const FIRST: usize = 3;
/// Problems that are shown.
const SHOWN: usize = 20;

/// The whole answer. `profiled`: the command line names a profile.
pub(super) fn text(name: &str, report: &Report, command: Option<&str>, profiled: bool) -> String {
    // Writing to a String cannot fail, here and below.
    let mut text = opening(name, report, profiled);
    if let Some(error) = &report.refused {
        let _ = write!(text, "\n\nIt would be refused: {error} [{}]", error.code);
    }
    if !report.columns.is_empty() {
        let _ = write!(text, "\n\n{}", columns(&report.columns));
    }
    for (at, record) in report.first.iter().take(FIRST).enumerate() {
        let fields: Vec<String> = record.iter().map(|(field, value)| format!("{field}: {value}")).collect();
        let _ = write!(text, "\n{}record {}  {}", if at == 0 { "\n" } else { "" }, at + 1, fields.join(", "));
    }
    if report.invalid > 0 {
        let (invalid, records) = (number(report.invalid), number(report.records));
        let _ = write!(text, "\n\n{invalid} of {records} records would fail");
    }
    for (at, problem) in report.problems.iter().take(SHOWN).enumerate() {
        let _ = write!(text, "{}{}", if at == 0 { "\n\n" } else { "\n" }, problem_text(problem));
    }
    if report.problems.len() > SHOWN {
        let _ = write!(text, "\nand {} further causes (`--json` has them)", report.problems.len() - SHOWN);
    }
    if let Some(days) = report.days.told_beside(report.dates) {
        let _ = write!(text, "\n\n{days}");
    }
    if report.needs_catalog {
        text.push_str(
            "\n\nRoles, groups, teams and locations are looked up in the catalog when the file is imported.",
        );
    }
    if let Some(command) = command {
        let _ = write!(text, "\n\nTo import it:\n  {command}");
    }
    text
}

/// What kind of file it is.
fn opening(name: &str, report: &Report, profiled: bool) -> String {
    let mut text = format!("{name}: {} in {}", report.format, report.encoding);
    if report.sheet.is_none() && !report.encoding_known.is_empty() && report.refused.is_none() {
        let _ = write!(text, " ({})", report.encoding_known);
    }
    if let Some(sheet) = &report.sheet {
        let _ = write!(text, ", sheet {sheet}");
    } else if let Some(delimiter) = report.delimiter {
        let _ = write!(text, ", delimiter {}", delimiter.as_str());
    }
    let _ = write!(text, ", {} records", number(report.records));
    if report.skipped_lines > 0 {
        let what = if report.skipped.is_empty() { "empty".to_owned() } else { report.skipped.join(", ") };
        let _ = write!(text, "\n{} lines before the header are skipped: {what}", report.skipped_lines);
    }
    if let Some(profile) = report.profile
        && !profiled
    {
        let _ =
            write!(text, "\nIt looks like a file that the profile {profile} is for: `--profile {profile}`");
    }
    text
}

fn columns(columns: &[Column]) -> String {
    let row = |column: &Column| {
        let name = column.name.split_whitespace().collect::<Vec<_>>().join(" ");
        vec![name, column.field.clone().unwrap_or_else(|| "left out".into()), column.by.into()]
    };
    table(&["COLUMN", "FIELD", "KNOWN BY"], &columns.iter().map(row).collect::<Vec<_>>())
}

fn problem_text(problem: &Problem) -> String {
    let field = problem.field.as_deref().map(|field| format!("{field}: ")).unwrap_or_default();
    let code = problem.code.map_or_else(|| "warning".to_owned(), |code| code.to_string());
    let places: Vec<String> = problem
        .first
        .iter()
        .map(|place| format!("record {}, line {}", number(place.record), number(place.line)))
        .collect();
    let more = if problem.count > problem.first.len() as u64 { "; …" } else { "" };
    format!(
        "{:>9}  {field}{} [{code}]\n           {}{more}",
        number(problem.count),
        problem.message,
        places.join("; ")
    )
}
