//! The list of imports, newest first: by state, and by the name of the file, the number, or the beginning of the id.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::token::Scope;
use muster_runtime::clock;
use muster_store::reports::{self, ImportReport};

use super::error::ConsoleError;
use super::formatting::{ago, number, percent};
use super::page::{Page, Section};
use super::session::{Visit, field, query};
use super::{BASE, charts};
use crate::api::AppState;
use crate::api::params::encoded;

/// Imports on a page.
const PAGE: i64 = 30;

/// Shows the list.
pub(super) async fn list(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::ImportRead)?;
    let asked = query(&uri);
    let wanted = field(&asked, "state").and_then(|text| text.parse::<ImportState>().ok());
    let text = field(&asked, "q").map(str::trim).filter(|text| !text.is_empty());
    let before = field(&asked, "before").and_then(|text| text.parse::<ImportId>().ok());
    let store = &state.0.store;
    let mut found = match text {
        Some(text) => reports::imports_named(store, tenant, text, wanted, before, PAGE + 1).await?,
        None => reports::imports(store, tenant, wanted, before, PAGE + 1).await?,
    };
    let more = found.len() > usize::try_from(PAGE).unwrap_or(usize::MAX);
    found.truncate(usize::try_from(PAGE).unwrap_or(usize::MAX));
    let older = if more { found.last().map(|report| report.id) } else { None };
    let moves = before.is_none() && found.iter().any(|report| !report.state.is_final());
    let page = Page {
        section: Section::Imports,
        title: "Imports".into(),
        renew: Some(if moves { 2_000 } else { 10_000 }),
        main: view(&found, wanted, text, older, clock::now()),
    };
    Ok(page.show(&visit))
}

fn view(
    found: &[ImportReport],
    wanted: Option<ImportState>,
    text: Option<&str>,
    older: Option<ImportId>,
    now: DateTime<Utc>,
) -> Markup {
    html! {
        h1 { "Imports" }
        form.filter method="get" action="/console/imports" role="search" aria-label="Imports" {
            div { label for="q" { "File or id" } input #q type="search" name="q" value=[text]; }
            div {
                label for="state" { "State" }
                select #state name="state" {
                    option value="" { "all" }
                    @for state in ImportState::ALL {
                        option value=(state) selected[wanted == Some(*state)] { (state) }
                    }
                }
            }
            button type="submit" { "Show" }
            @if wanted.is_some() || text.is_some() { a.quiet href="/console/imports" { "Show all" } }
            a.quiet href="/console/bulk" { "Many at once…" }
        }
        @if found.is_empty() {
            p.calm { @if wanted.is_some() || text.is_some() { "No import is like that." } @else { "There is no import yet." } }
        } @else {
            (table(found, now))
        }
        @if let Some(older) = older {
            p.pages { a.button href=(older_address(older, wanted, text)) rel="next" { "Older" } }
        }
    }
}

fn older_address(before: ImportId, wanted: Option<ImportState>, text: Option<&str>) -> String {
    let state = wanted.map_or(String::new(), |state| format!("&state={state}"));
    let text = text.map_or(String::new(), |text| format!("&q={}", encoded(text)));
    format!("{BASE}/imports?before={before}{state}{text}")
}

/// Imports as a table; on a narrow screen each row is a block.
pub(super) fn table(found: &[ImportReport], now: DateTime<Utc>) -> Markup {
    html! {
        div.scroll {
            table.imports {
                thead {
                    tr {
                        th scope="col" { "File" }
                        th scope="col" { "State" }
                        th scope="col" { "Progress" }
                        th.number scope="col" { "Records" }
                        th.number scope="col" { "Failed" }
                        th scope="col" { "Begun" }
                    }
                }
                tbody {
                    @for report in found {
                        tr {
                            th scope="row" { a href=(address(report.id)) { (name(report)) } }
                            td { (charts::state(report.state)) }
                            td.wide { (progress(report)) }
                            td.number data-name="Records" { (number(report.counts.total)) }
                            td.number.failed[report.open_failed() > 0] data-name="Failed" {
                                (number(report.open_failed()))
                                @if report.mended > 0 { " (" (number(report.mended)) " corrected)" }
                            }
                            td data-name="Begun" { (ago(now, report.created_at)) }
                        }
                    }
                }
            }
        }
    }
}

/// How far an import is, with the number.
fn progress(report: &ImportReport) -> Markup {
    let counts = &report.counts;
    html! {
        @if counts.total > 0 {
            div.meter { (charts::progress(counts)) span { (percent(counts.total - counts.pending, counts.total)) " %" } }
        }
    }
}

/// Where the page of an import is.
pub(super) fn address(import: ImportId) -> String {
    format!("{BASE}/imports/{import}")
}

/// What an import is called: its file, or the beginning of its id.
pub(super) fn name(report: &ImportReport) -> String {
    match report.filename.as_deref().map(str::trim) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => format!("import {}", report.number),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use muster_domain::id::TenantId;
    use muster_domain::options::ImportOptions;
    use muster_domain::outcome::Counts;
    use muster_domain::progress::{Progress, Window};
    use muster_store::reports::ChunkCounts;
    use uuid::Uuid;

    use super::*;

    /// An import that ended well.
    pub(crate) fn report() -> ImportReport {
        let at = DateTime::from_timestamp(1_750_000_000, 0).unwrap();
        ImportReport {
            id: ImportId::new(Uuid::from_u128(1)),
            number: 7,
            tenant: TenantId::new(1),
            state: ImportState::Completed,
            filename: Some("people.csv".into()),
            encoding: None,
            delimiter: None,
            options: ImportOptions::default(),
            newer: None,
            columns: Vec::new(),
            bytes: 1_000,
            counts: Counts { total: 2, inserted: 2, ..Counts::default() },
            mended: 0,
            chunks: ChunkCounts { applied: 1, ..ChunkCounts::default() },
            mends: None,
            error: None,
            created_at: at,
            received_at: Some(at),
            started_at: Some(at),
            completed_at: Some(at),
        }
    }

    /// One that gets on.
    pub(crate) fn progress() -> Progress {
        Progress {
            no_progress_since: None,
            stalled: false,
            rate: None,
            ends_at: None,
            problem: None,
            waits_for: None,
            ahead: 0,
            window: Window { import: 2, tenant: 3, used: 8, size: 16 },
        }
    }

    #[test]
    fn markup_in_the_name_of_a_file_is_text() {
        let report = ImportReport { filename: Some("<img src=x onerror=alert(1)>.csv".into()), ..report() };
        let text = Some("\"><script>alert(1)</script>");
        let shown = view(&[report], None, text, None, clock::now()).into_string();
        assert!(shown.contains("&lt;img src=x onerror=alert(1)&gt;.csv"), "{shown}");
        assert!(!shown.contains("<img") && !shown.contains("<script"), "{shown}");
    }

    #[test]
    fn the_next_page_keeps_what_was_asked() {
        let address =
            older_address(ImportId::new(Uuid::from_u128(5)), Some(ImportState::Running), Some("a&b"));
        assert_eq!(
            address,
            "/console/imports?before=00000000-0000-0000-0000-000000000005&state=running&q=a%26b"
        );
    }

    #[test]
    fn an_import_without_a_file_has_its_number() {
        assert_eq!(name(&ImportReport { filename: Some(" ".into()), ..report() }), "import 7");
    }
}
