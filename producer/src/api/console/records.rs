//! Records of an import: by outcome, from a number or a line on, or those with an identifier.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use maud::{Markup, html};
use muster_domain::error::{ErrorCode, RecordError};
use muster_domain::id::ImportId;
use muster_domain::outcome::Outcome;
use muster_domain::token::Scope;
use muster_store::problems::{self, Cause};
use muster_store::records::{self, RecordFilter, RecordReport};
use muster_store::reports::{self, ImportReport};
use muster_store::{Store, StoreError, lookup};

use super::error::ConsoleError;
use super::formatting::number;
use super::imports::{address, name};
use super::page::{self, Section};
use super::session::{Visit, field, query};
use super::words;
use crate::api::AppState;
use crate::api::error::ApiError;
use crate::api::mask::masked;
use crate::api::params::encoded;

/// Records on a page.
const PAGE: usize = 50;
/// Most records with one identifier that are shown.
const SAME: usize = 10;

/// Longest search for a line or an identifier.
const SEARCH: Duration = Duration::from_secs(10);

/// What was found on a page.
#[derive(Debug, Default)]
struct Page {
    records: Vec<RecordReport>,
    /// Whether others may follow them.
    goes_on: bool,
    /// The record at which the search was stopped because it took too long.
    stopped_at: Option<u64>,
}

/// Which records somebody wants to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wanted {
    outcome: Option<Outcome>,
    after: u64,
    number: Option<u64>,
    line: Option<u64>,
    identifier: Option<String>,
    code: Option<String>,
    field: Option<String>,
}

impl Wanted {
    fn of(uri: &Uri) -> Self {
        let asked = query(uri);
        let text = |name| field(&asked, name).map(str::trim).filter(|text| !text.is_empty());
        let whole = |name| text(name).and_then(|text: &str| text.replace(',', "").parse::<u64>().ok());
        Self {
            outcome: text("outcome").and_then(outcome),
            after: whole("after").unwrap_or(0),
            number: whole("number"),
            line: whole("line"),
            identifier: text("identifier").map(str::to_owned),
            code: text("code").map(str::to_owned),
            field: text("field").map(str::to_owned),
        }
    }
}

/// Shows them.
pub(super) async fn list(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::ImportRead)?;
    let import: ImportId = id.parse().map_err(|_| ApiError::NotFound)?;
    let store = &state.0.store;
    let report = reports::import(store, tenant, import).await?.ok_or(ApiError::NotFound)?;
    let wanted = Wanted::of(&uri);
    let mut found = read(store, &report, &wanted).await?;
    let more = found.goes_on && found.records.len() > PAGE;
    found.records.truncate(PAGE);
    let next = if more { found.records.last().map(|record| record.record) } else { None };
    let page = page::Page {
        section: Section::Imports,
        title: format!("Records of {}", name(&report)),
        renew: None,
        main: view(&report, &wanted, &found, next, visit.sees_people()),
    };
    Ok(page.show(&visit))
}

/// Reads the records.
async fn read(store: &Store, report: &ImportReport, wanted: &Wanted) -> Result<Page, StoreError> {
    let (tenant, import, options) = (report.tenant, report.id, &report.options);
    if let Some(identifier) = &wanted.identifier {
        let found = lookup::with_identifier(store, tenant, import, options, identifier, SAME, SEARCH).await?;
        let mut records = Vec::new();
        for record in found.found {
            let filter = RecordFilter { after: record - 1, sources: true, ..RecordFilter::default() };
            records.extend(records::page(store, tenant, import, options, filter, 1).await?);
        }
        return Ok(Page { records, goes_on: false, stopped_at: found.stopped_at });
    }
    let mut stopped_at = None;
    let after = match (wanted.number, wanted.line) {
        (Some(number), _) => number.saturating_sub(1),
        (None, Some(line)) => {
            let found = lookup::at_line(store, tenant, import, options.format, line, SEARCH).await?;
            stopped_at = found.stopped_at;
            match found.found {
                Some(record) => record - 1,
                None => return Ok(Page { stopped_at, ..Page::default() }),
            }
        }
        (None, None) => wanted.after,
    };
    let cause = Cause { code: wanted.code.as_deref(), field: wanted.field.as_deref() };
    let filter = RecordFilter { outcome: wanted.outcome, cause, after, sources: true };
    let records = records::page(store, tenant, import, options, filter, PAGE + 1).await?;
    Ok(Page { records, goes_on: true, stopped_at })
}

const OUTCOMES: [(&str, Outcome); 5] = [
    ("failed", Outcome::Failed),
    ("inserted", Outcome::Inserted),
    ("updated", Outcome::Updated),
    ("skipped", Outcome::Skipped),
    ("pending", Outcome::Pending),
];

fn outcome(text: &str) -> Option<Outcome> {
    OUTCOMES.iter().find(|(name, _)| *name == text).map(|(_, outcome)| *outcome)
}

/// The name of an outcome.
fn outcome_name(outcome: Outcome) -> &'static str {
    OUTCOMES.iter().find(|(_, known)| *known == outcome).map_or("", |(name, _)| name)
}

fn view(report: &ImportReport, wanted: &Wanted, page: &Page, next: Option<u64>, people: bool) -> Markup {
    let found = page.records.as_slice();
    html! {
        p.way { a href=(address(report.id)) { (name(report)) } }
        h1 { "Records" }
        (form(report, wanted))
        @if let Some(code) = &wanted.code {
            p.note { "Those that failed with " code { (code) } @if let Some(field) = &wanted.field { " in " code { (field) } } ". " a href={ (address(report.id)) "/records" } { "All records" } }
        }
        @if let Some(at) = page.stopped_at {
            p.note.wrong role="status" {
                "The search was stopped after " (SEARCH.as_secs()) " seconds" @if at > 0 { ", at record " (number(at)) } ". "
                "There may be records that it did not come to: ask for a number instead."
            }
        }
        @if found.is_empty() && page.stopped_at.is_none() { p.calm { "No record is like that." } }
        @else if found.is_empty() { p.calm { "None was found so far." } } @else { (table(found, people)) }
        @if let Some(next) = next {
            p.pages { a.button rel="next" href=(next_address(report, wanted, next)) { "Next" } }
        }
        @if !people { p.hint { "Identifiers are hidden: the token lacks the scope " code { "users:read" } "." } }
    }
}

fn next_address(report: &ImportReport, wanted: &Wanted, after: u64) -> String {
    let outcome =
        wanted.outcome.map_or(String::new(), |outcome| format!("&outcome={}", outcome_name(outcome)));
    let code = wanted.code.as_deref().map_or(String::new(), |code| format!("&code={}", encoded(code)));
    let field = wanted.field.as_deref().map_or(String::new(), |field| format!("&field={}", encoded(field)));
    format!("{}/records?after={after}{outcome}{code}{field}", address(report.id))
}

fn form(report: &ImportReport, wanted: &Wanted) -> Markup {
    html! {
        form.filter method="get" action={ (address(report.id)) "/records" } role="search" aria-label="Records" {
            div {
                label for="outcome" { "Outcome" }
                select #outcome name="outcome" {
                    option value="" { "any" }
                    @for (name, outcome) in OUTCOMES { option value=(name) selected[wanted.outcome == Some(outcome)] { (name) } }
                }
            }
            div { label for="number" { "From record" } input #number name="number" inputmode="numeric" size="8" value=[wanted.number]; }
            div { label for="line" { "or line" } input #line name="line" inputmode="numeric" size="8" value=[wanted.line]; }
            div {
                label for="identifier" { "or " (report.options.identifier.as_str()) }
                input #identifier name="identifier" size="24" autocomplete="off" value=[wanted.identifier.as_deref()];
            }
            button type="submit" { "Show" }
        }
    }
}

/// The first cells of a record's row: where it stands, and its outcome.
pub(super) fn place(record: u64, line: Option<u64>, outcome: Outcome) -> Markup {
    html! {
        th.number scope="row" data-name="Record" { (number(record)) }
        td.number data-name="Line" { @if let Some(line) = line { (number(line)) } }
        td { span class={ "outcome " (outcome_name(outcome)) } { (outcome_name(outcome)) } }
    }
}

/// Records as a table; on a narrow screen each row is a block.
pub(super) fn table(found: &[RecordReport], people: bool) -> Markup {
    html! {
        div.scroll {
            table.records {
                thead {
                    tr {
                        th.number scope="col" { "Record" }
                        th.number scope="col" { "Line" }
                        th scope="col" { "Outcome" }
                        th scope="col" { "Identifier" }
                        th scope="col" { "What there is to say" }
                    }
                }
                tbody {
                    @for record in found {
                        tr {
                            (place(record.record, record.line, record.outcome))
                            td.value {
                                @match record.identifier.as_deref() {
                                    Some(value) if people => { (value) }
                                    Some(value) => { (masked(value)) }
                                    None => {}
                                }
                            }
                            td.wide { (said(record, people)) }
                        }
                    }
                }
            }
        }
    }
}

fn said(record: &RecordReport, people: bool) -> Markup {
    // The message does not say which name it is.
    let name = |error: &RecordError| {
        let code = Some(error.code).filter(|code| people && *code == ErrorCode::CatalogUnknown)?;
        problems::example(record.source.as_deref(), error.field.as_deref(), code.as_str())
    };
    html! {
        @if let Some(reason) = record.reason { p { (reason.as_str()) } }
        @for error in &record.errors {
            p { @if let Some(field) = &error.field { code { (field) } " " } (words::message(&error.message)) @if let Some(name) = name(error) { " It is “" (name) "”." } }
        }
        @for warning in &record.warnings { p.warning { (words::message(warning)) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::console::imports::tests::report;

    fn record() -> RecordReport {
        RecordReport {
            record: 7,
            line: Some(1_008),
            outcome: Outcome::Failed,
            reason: None,
            user_id: None,
            identifier: Some("<i>mario@example.com".into()),
            warnings: vec!["mind <b>".into()],
            errors: vec![RecordError::new(ErrorCode::EmailInvalid, "the address is none").in_field("<u>")],
            source: None,
        }
    }

    #[test]
    fn values_are_text_and_hidden_from_those_who_may_not_see_people() {
        let shown = table(&[record()], true).into_string();
        assert!(shown.contains("&lt;i&gt;mario@example.com") && shown.contains("1,008"), "{shown}");
        assert!(!shown.contains("<i>") && !shown.contains("<b>") && !shown.contains("<u>"), "{shown}");
        let shown = table(&[record()], false).into_string();
        assert!(!shown.contains("mario") && shown.contains("•••@•••.com"), "{shown}");
    }

    #[test]
    fn a_search_that_was_stopped_says_how_far_it_came_and_not_that_there_is_none() {
        let shown = |page: &Page| view(&report(), &Wanted::default(), page, None, true).into_string();
        let stopped = shown(&Page { stopped_at: Some(12_000), ..Page::default() });
        assert!(stopped.contains("stopped after 10 seconds, at record 12,000."), "{stopped}");
        assert!(!stopped.contains("No record is like that."), "{stopped}");
        let none = shown(&Page::default());
        assert!(none.contains("No record is like that.") && !none.contains("stopped"), "{none}");
    }

    #[test]
    fn what_is_asked_is_read_from_the_address_and_nonsense_is_nothing() {
        let wanted = |query: &str| Wanted::of(&format!("/console/imports/x/records{query}").parse().unwrap());
        assert_eq!(wanted("?outcome=drop&number=x&line=&after=-1"), Wanted::default());
        let all = wanted("?outcome=failed&number=1,200&identifier=+a%40b.co+");
        assert_eq!(
            (all.outcome, all.number, all.identifier.as_deref()),
            (Some(Outcome::Failed), Some(1_200), Some("a@b.co"))
        );
        assert_eq!(
            next_address(&report(), &all, 50).rsplit_once('/').unwrap().1,
            "records?after=50&outcome=failed"
        );
    }
}
