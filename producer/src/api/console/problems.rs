//! The problems of an import: failures and warnings by cause, the most frequent first, each with what it means and what to do.

use std::collections::BTreeMap;

use maud::{Markup, html};
use muster_shared::error::ErrorCode;
use muster_shared::store::records::{self, IssueReport};
use muster_shared::store::reports::ImportReport;
use muster_shared::store::{Store, StoreError};

use super::imports;
use super::page::sentence;
use super::words::{count, number};

/// Records with errors or warnings that are looked at; of more of them the first.
const MOST_RECORDS: usize = 2_000;
/// Records that are read at a time.
const AT_A_TIME: i64 = 1_000;
/// Problems that are shown.
const MOST_SHOWN: usize = 20;
/// Records that a problem names.
const NAMED: usize = 5;

/// Failures or warnings with one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The code of the failure; none of a warning.
    pub(super) code: Option<ErrorCode>,
    /// The column or key, where it is about one.
    pub(super) field: Option<String>,
    /// What the first one says.
    pub(super) message: String,
    /// How many there are.
    pub(super) count: u64,
    /// The first records.
    pub(super) records: Vec<u64>,
}

/// What is wrong in an import, as far as it was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Problems {
    /// By cause: failures first, the most frequent first.
    pub(super) found: Vec<Problem>,
    /// There are more records with problems than were looked at.
    pub(super) more: bool,
}

/// Reads what is wrong in an import.
pub(super) async fn read(store: &Store, report: &ImportReport) -> Result<Problems, StoreError> {
    let (mut issues, mut after) = (Vec::new(), 0);
    loop {
        let mut reading = store.reading(report.tenant).await?;
        let page = records::issues(&mut *reading, report.tenant, &[report.id], after, AT_A_TIME).await?;
        let Some(last) = page.last() else { break };
        after = last.record;
        issues.extend(page);
        if issues.len() >= MOST_RECORDS {
            break;
        }
    }
    let more = issues.len() >= MOST_RECORDS;
    Ok(Problems { found: by_cause(&issues), more })
}

fn by_cause(issues: &[IssueReport]) -> Vec<Problem> {
    let mut causes: BTreeMap<(&str, &str), Problem> = BTreeMap::new();
    let mut note = |key, record, new: &dyn Fn() -> Problem| {
        let problem = causes.entry(key).or_insert_with(new);
        problem.count += 1;
        if problem.records.len() < NAMED {
            problem.records.push(record);
        }
    };
    for issue in issues {
        for error in &issue.errors {
            let key = (error.code.as_str(), error.field.as_deref().unwrap_or_default());
            note(key, issue.record, &|| Problem {
                code: Some(error.code),
                field: error.field.clone(),
                message: error.message.clone(),
                count: 0,
                records: Vec::new(),
            });
        }
        for warning in &issue.warnings {
            note(("", warning.as_str()), issue.record, &|| Problem {
                code: None,
                field: None,
                message: warning.clone(),
                count: 0,
                records: Vec::new(),
            });
        }
    }
    let mut found: Vec<Problem> = causes.into_values().collect();
    found.sort_by_key(|problem| (problem.code.is_none(), std::cmp::Reverse(problem.count)));
    found
}

/// The problems, each with what it means and what to do.
pub(super) fn view(problems: &Problems, report: &ImportReport) -> Markup {
    let records = |problem: &Problem| {
        html! {
            @for (at, record) in problem.records.iter().enumerate() {
                @if at > 0 { ", " }
                a href={ (imports::address(report.id)) "/records?number=" (record) } { (number(*record)) }
            }
            @if problem.count > problem.records.len() as u64 { ", …" }
        }
    };
    html! {
        ol.problems {
            @for problem in problems.found.iter().take(MOST_SHOWN) {
                li.warning[problem.code.is_none()] {
                    p.cause {
                        span.times { (number(problem.count)) " ×" } " "
                        strong { (sentence(&problem.message)) }
                    }
                    p.where {
                        @if let Some(field) = &problem.field { "Column " code { (field) } ". " }
                        "Record " (records(problem))
                        @match problem.code {
                            Some(code) => { " · " code { (code) } }
                            None => { " · a warning: the records were applied" }
                        }
                    }
                    @if let Some(code) = problem.code {
                        details {
                            summary { "What it means and what to do" }
                            p { (code.explanation()) }
                            p { (code.advice()) }
                            @if let Some(example) = code.example() { pre { (example) } }
                        }
                    }
                }
            }
        }
        @if problems.found.len() > MOST_SHOWN {
            p { (count((problems.found.len() - MOST_SHOWN) as u64, "more cause", "more causes")) ". The file of failed records has them all." }
        }
        @if problems.more {
            p { "Counted in the first " (number(MOST_RECORDS as u64)) " records with problems; the file of failed records has them all." }
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_shared::error::RecordError;

    use super::*;
    use crate::api::console::imports::tests::report;

    fn issue(record: u64, errors: Vec<RecordError>, warnings: &[&str]) -> IssueReport {
        let warnings = warnings.iter().map(|text| (*text).to_owned()).collect();
        IssueReport { import: report().id, record, failed: !errors.is_empty(), errors, warnings }
    }

    #[test]
    fn problems_are_grouped_by_cause_and_the_most_frequent_comes_first() {
        let bad =
            || RecordError::new(ErrorCode::EmailInvalid, "the address has no domain").in_field("E-Mail");
        let other = RecordError::new(ErrorCode::FieldUnknown, "the field is not known").in_field("<b>x</b>");
        let issues = [
            issue(3, vec![bad(), other], &[]),
            issue(7, vec![bad()], &["roles holds names"]),
            issue(9, Vec::new(), &["roles holds names"]),
            issue(11, Vec::new(), &["roles holds names"]),
        ];
        let found = by_cause(&issues);
        let told: Vec<(Option<ErrorCode>, u64, &[u64])> =
            found.iter().map(|problem| (problem.code, problem.count, &problem.records[..])).collect();
        assert_eq!(
            told,
            [
                (Some(ErrorCode::EmailInvalid), 2, &[3, 7][..]),
                (Some(ErrorCode::FieldUnknown), 1, &[3][..]),
                (None, 3, &[7, 9, 11][..])
            ]
        );
        let shown = view(&Problems { found, more: false }, &report()).into_string();
        assert!(shown.contains("&lt;b&gt;x&lt;/b&gt;") && !shown.contains("<b>"), "{shown}");
        assert!(
            shown.contains("The address has no domain.") && shown.contains("records?number=3"),
            "{shown}"
        );
    }
}
