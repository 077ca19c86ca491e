//! Records of an import: by outcome, from a number or a line on, or those with an identifier.

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use maud::{Markup, html};
use muster_shared::id::ImportId;
use muster_shared::outcome::Outcome;
use muster_shared::store::problems::Cause;
use muster_shared::store::records::{self, RecordFilter, RecordReport};
use muster_shared::store::reports::{self, ImportReport};
use muster_shared::store::{Store, StoreError, lookup};
use muster_shared::token::Scope;

use super::imports::{address, name};
use super::leave::{Leave, encoded};
use super::page::{Page, Section, sentence};
use super::session::{Visit, field, query};
use super::words::number;
use crate::api::AppState;
use crate::api::error::ApiError;
use crate::api::mask::masked;

/// Records on a page.
const PAGE: usize = 50;
/// Most records with one identifier that are shown.
const SAME: usize = 10;

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
) -> Result<Response, Leave> {
    let tenant = visit.may(Scope::ImportRead)?;
    let import: ImportId = id.parse().map_err(|_| ApiError::NotFound)?;
    let store = &state.0.store;
    let report = reports::import(store, tenant, import).await?.ok_or(ApiError::NotFound)?;
    let wanted = Wanted::of(&uri);
    let (mut found, pages) = read(store, &report, &wanted).await?;
    let more = pages && found.len() > PAGE;
    found.truncate(PAGE);
    let next = if more { found.last().map(|record| record.record) } else { None };
    let page = Page {
        section: Section::Imports,
        title: format!("Records of {}", name(&report)),
        renew: None,
        main: view(&report, &wanted, &found, next, visit.sees_people()),
    };
    Ok(page.show(&visit))
}

/// The records, and whether others may follow them.
async fn read(
    store: &Store,
    report: &ImportReport,
    wanted: &Wanted,
) -> Result<(Vec<RecordReport>, bool), StoreError> {
    let (tenant, import, options) = (report.tenant, report.id, &report.options);
    if let Some(identifier) = &wanted.identifier {
        let mut found = Vec::new();
        for record in lookup::with_identifier(store, tenant, import, options, identifier, SAME).await? {
            let filter = RecordFilter { after: record - 1, ..RecordFilter::default() };
            found.extend(records::page(store, tenant, import, options, filter, 1).await?);
        }
        return Ok((found, false));
    }
    let after = match (wanted.number, wanted.line) {
        (Some(number), _) => number.saturating_sub(1),
        (None, Some(line)) => match lookup::at_line(store, tenant, import, line).await? {
            Some(record) => record - 1,
            None => return Ok((Vec::new(), false)),
        },
        (None, None) => wanted.after,
    };
    let cause = Cause { code: wanted.code.as_deref(), field: wanted.field.as_deref() };
    let filter = RecordFilter { outcome: wanted.outcome, cause, after, ..RecordFilter::default() };
    Ok((records::page(store, tenant, import, options, filter, PAGE + 1).await?, true))
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

fn view(
    report: &ImportReport,
    wanted: &Wanted,
    found: &[RecordReport],
    next: Option<u64>,
    people: bool,
) -> Markup {
    html! {
        p.way { a href=(address(report.id)) { (name(report)) } }
        h1 { "Records" }
        (form(report, wanted))
        @if let Some(code) = &wanted.code {
            p.note { "Those that failed with " code { (code) } @if let Some(field) = &wanted.field { " in " code { (field) } } ". " a href={ (address(report.id)) "/records" } { "All records" } }
        }
        @if found.is_empty() { p.calm { "No record is like that." } } @else { (table(found, people)) }
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
                            th.number scope="row" data-name="Record" { (number(record.record)) }
                            td.number data-name="Line" { @if let Some(line) = record.line { (number(line)) } }
                            td { span class={ "outcome " (outcome_name(record.outcome)) } { (outcome_name(record.outcome)) } }
                            td.value {
                                @match record.identifier.as_deref() {
                                    Some(value) if people => { (value) }
                                    Some(value) => { (masked(value)) }
                                    None => {}
                                }
                            }
                            td.wide { (said(record)) }
                        }
                    }
                }
            }
        }
    }
}

fn said(record: &RecordReport) -> Markup {
    html! {
        @if let Some(reason) = record.reason { p { (reason.as_str()) } }
        @for error in &record.errors {
            p { @if let Some(field) = &error.field { code { (field) } " " } (sentence(&error.message)) }
        }
        @for warning in &record.warnings { p.warning { (sentence(warning)) } }
    }
}

#[cfg(test)]
mod tests {
    use muster_shared::error::{ErrorCode, RecordError};

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
