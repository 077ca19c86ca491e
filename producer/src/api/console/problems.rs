//! The problems of an import: failures and warnings by cause, the most frequent first, each with what it means and what to do.

use maud::{Markup, html};
use muster_domain::error::ErrorCode;
use muster_store::problems::{self, Place, Problem, Problems, Warned};
use muster_store::reports::ImportReport;
use muster_store::{Store, StoreError};

use super::formatting::number;
use super::imports::address;
use super::words;
use crate::api::params::encoded;

/// Causes that are shown of failures, and of warnings.
const MOST: i64 = 20;

/// Reads the problems of an import.
pub(super) async fn read(store: &Store, report: &ImportReport) -> Result<Problems, StoreError> {
    problems::problems(store, report.tenant, report.id, MOST).await
}

/// Who looks at the problems.
#[derive(Debug)]
pub(super) struct Viewer {
    /// People's values are shown.
    pub(super) people: bool,
    /// The failed records may be had as a file.
    pub(super) file: bool,
    /// What every form carries, where records of one cause may be retried.
    pub(super) secret: Option<Markup>,
}

/// The problems, each with what it means and what to do.
pub(super) fn view(problems: &Problems, report: &ImportReport, viewer: &Viewer) -> Markup {
    let here = address(report.id);
    html! {
        ol.problems {
            @for problem in &problems.problems { li { (failure(problem, &here, viewer)) } }
            @for warned in &problems.warnings { li.warning { (warning(warned, &here)) } }
        }
        @if problems.more || problems.more_warnings {
            p.hint { "There are more causes than these; the file of failed records has them all." }
        }
    }
}

fn failure(problem: &Problem, here: &str, viewer: &Viewer) -> Markup {
    let code: Option<ErrorCode> = problem.code.parse().ok();
    let cause = query_of(problem);
    html! {
        p.cause { span.times { (number(problem.count)) " ×" } " " strong { (heading(problem, code)) } }
        p.where {
            @if problem.count > 1 && code.is_some() { "The first: " (words::message(&problem.message)) " " }
            @if let Some(field) = &problem.field { "Column " code { (field) } ". " }
            @if let Some(example) = problem.example.as_ref().filter(|_| viewer.people) { "For example “" (example) "”. " }
            (places(&problem.first, problem.count, here)) " · " code { (problem.code) }
        }
        @if let Some(code) = code {
            details {
                summary { "What it means and what to do" }
                p { (words::told(code.explanation())) }
                p { (words::told(code.advice())) }
                @if let Some(example) = code.example() { pre { (example) } }
            }
        }
        div.acts {
            a href={ (here) "/records?" (cause) } { "These records" }
            @if viewer.file { a href={ (here) "/failed.csv?" (cause) } download { "As CSV" } }
            @if let Some(secret) = viewer.secret.as_ref().filter(|_| retry_may_help(code)) {
                form method="post" action={ (here) "/retry" } {
                    (secret)
                    input type="hidden" name="code" value=(problem.code);
                    input type="hidden" name="field" value=[problem.field.as_deref()];
                    button.quiet type="submit" { "Retry these" }
                }
            }
        }
    }
}

/// Whether the same record may come to something else: the catalog, the database or another user was the reason, and not the file's own
/// values alone. Of a code that a newer program wrote that is not known.
fn retry_may_help(code: Option<ErrorCode>) -> bool {
    code.is_none_or(|code| {
        matches!(
            code,
            ErrorCode::CatalogUnknown
                | ErrorCode::FieldUnknown
                | ErrorCode::ValueInvalid
                | ErrorCode::ValueOutOfRange
                | ErrorCode::IdentityConflict
                | ErrorCode::AddressTaken
                | ErrorCode::DatabaseRefused
                | ErrorCode::ChunkDead
                | ErrorCode::ChangedSincePlan
                | ErrorCode::Internal
        )
    })
}

/// What is true of all its records. The message is that of the first, and others may have another mistake of the same kind.
fn heading(problem: &Problem, code: Option<ErrorCode>) -> Markup {
    match code {
        Some(code) if problem.count > 1 => words::message(code.explanation()),
        _ => words::message(&problem.message),
    }
}

fn warning(warned: &Warned, here: &str) -> Markup {
    html! {
        p.cause { span.times { (number(warned.count)) " ×" } " " strong { (words::message(&warned.message)) } }
        p.where { (places(&warned.first, warned.count, here)) " · a warning: the records were applied" }
    }
}

/// The first records, as links.
fn places(first: &[Place], count: u64, here: &str) -> Markup {
    html! {
        @for (at, place) in first.iter().enumerate() {
            @if at == 0 { "Record " } @else { ", " }
            a href={ (here) "/records?number=" (place.record) } { (number(place.record)) }
            @if let Some(line) = place.line { " (line " (number(line)) ")" }
        }
        @if count > first.len() as u64 { ", …" }
    }
}

/// A cause in an address.
fn query_of(problem: &Problem) -> String {
    let field = problem.field.as_deref().map_or(String::new(), |field| format!("&field={}", encoded(field)));
    format!("code={}{field}", encoded(&problem.code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::console::imports::tests::report;

    #[test]
    fn a_problem_tells_where_it_is_met_and_what_to_do_and_nothing_of_it_is_markup() {
        let problem = Problem {
            code: "email_invalid".into(),
            field: Some("<b>&".into()),
            count: 5,
            message: "the address has no domain".into(),
            example: Some("ann@<i>".into()),
            advice: None,
            first: vec![Place { record: 3, line: Some(1_004) }, Place { record: 7, line: None }],
        };
        let warned =
            Warned { message: "mind".into(), count: 1, first: vec![Place { record: 9, line: None }] };
        let found =
            Problems { problems: vec![problem], more: false, warnings: vec![warned], more_warnings: true };
        let shown = view(&found, &report(), &Viewer { people: true, file: true, secret: None }).into_string();
        for text in [
            "5 ×",
            "Not an e-mail address.",
            "The first: ",
            "The address has no domain.",
            "(line 1,004)",
            ", …",
            "&lt;i&gt;",
            "field=%3Cb%3E%26",
            "a warning",
            "more causes",
        ] {
            assert!(shown.contains(text), "{text}: {shown}");
        }
        assert!(!shown.contains("<b>") && !shown.contains("<i>") && !shown.contains("Retry"), "{shown}");
        let shown =
            view(&found, &report(), &Viewer { people: false, file: false, secret: Some(html! { "secret" }) })
                .into_string();
        assert!(
            !shown.contains("ann@") && !shown.contains("Retry these"),
            "the file itself is wrong: {shown}"
        );
        let mut found = found;
        found.problems[0].code = "catalog_unknown".into();
        let shown =
            view(&found, &report(), &Viewer { people: false, file: false, secret: Some(html! { "secret" }) })
                .into_string();
        assert!(shown.contains("Retry these"), "{shown}");
    }
}
