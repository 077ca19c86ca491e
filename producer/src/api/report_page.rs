//! The report of an import that has ended as one page, to print or to send to people without access to
//! Muster. It loads nothing, runs no script, and contains no value of a user.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use muster_domain::error::ErrorCode;
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::receipt::{PublicKey, Receipt};
use muster_domain::token::Scope;
use muster_store::family::{self, Family};
use muster_store::problems::{self, Problems};
use muster_store::receipts::{self, Found};
use muster_store::{Store, StoreError};
use uuid::Uuid;

use super::AppState;
use super::auth::Caller;
use super::error::ApiError;
use super::params::{Id, Params, thousands};
use super::receipts::PROGRAM;

/// How many causes the page lists.
const CAUSES: i64 = 50;

/// How the page looks: its own styles, so that it needs nothing else.
const STYLE: &str = include_str!("report_page.css");

/// What making the page came to.
#[derive(Debug)]
pub enum ReportPage {
    /// The page.
    Html(String),
    /// The import goes on: there is nothing to report yet.
    NotEnded(ImportState),
    /// The tenant has no such import.
    NotFound,
}

/// Gives the report of an import that has ended as one page that needs nothing else, to print or to send. It has no value of a user.
#[utoipa::path(
    get, path = "/v1/imports/{id}/report.html", tag = "imports", operation_id = "imports_report_page",
    params(("id" = String, Path)),
    responses((status = 200, description = "The page", content_type = "text/html", body = String)),
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Id(import): Id<ImportId>,
    params: Params,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    params.finish()?;
    match page(&state.0.store, tenant, import).await? {
        ReportPage::NotFound => Err(ApiError::NotFound),
        ReportPage::NotEnded(state) => Err(ApiError::StateConflict(state)),
        ReportPage::Html(page) => {
            // A file to keep: pages of this server may bring no styles of their own.
            let name = format!("attachment; filename=\"report-{import}.html\"");
            let headers = [
                (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
                (header::CONTENT_DISPOSITION, name),
            ];
            Ok((StatusCode::OK, headers, page).into_response())
        }
    }
}

/// Makes the page of a tenant's import.
pub async fn page(store: &Store, tenant: TenantId, import: ImportId) -> Result<ReportPage, StoreError> {
    let receipt = match receipts::read(store, tenant, import, PROGRAM).await? {
        Found::NotFound => return Ok(ReportPage::NotFound),
        Found::NotEnded(state) => return Ok(ReportPage::NotEnded(state)),
        Found::Receipt(receipt) => *receipt,
    };
    let problems = problems::problems(store, tenant, import, CAUSES).await?;
    let family = family::of(store, tenant, import).await?;
    let key = receipts::key(store).await?.public();
    Ok(ReportPage::Html(view(&receipt, &problems, family.as_ref(), key).into_string()))
}

fn view(receipt: &Receipt, problems: &Problems, family: Option<&Family>, key: PublicKey) -> Markup {
    let name = receipt.file.as_ref().and_then(|file| file.name.clone());
    let title = name.unwrap_or_else(|| format!("Import {}", receipt.import.id));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Report: " (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                p.over { "Report of an import of users" }
                h1 { (title) }
                p.lead {
                    (thousands(receipt.counts.total)) " records, import " (receipt.import.state)
                    @if let Some(ended) = receipt.times.completed_at { " on " (day(ended)) }
                    "."
                }
                (counts(receipt))
                @if let Some(family) = family { (of_family(family, receipt.import.id)) }
                (causes(problems))
                (facts(receipt, key))
                p.foot {
                    "Made by " (receipt.program) " on " (day(receipt.issued_at)) ". The receipt of this import (muster imports receipt "
                    (receipt.import.id) ") is signed and says the same; muster verify checks it against the file."
                }
            }
        }
    }
}

fn day(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

fn counts(receipt: &Receipt) -> Markup {
    let counts = &receipt.counts;
    let parts = [
        ("inserted", "new users", counts.inserted),
        ("updated", "users changed", counts.updated),
        ("skipped", "nothing to do", counts.skipped),
        ("failed", "could not be applied", counts.failed),
    ];
    html! {
        table.counts {
            tbody {
                tr { @for (name, _, count) in &parts { td class=(name) { strong { (thousands(*count)) } } } }
                tr { @for (name, meaning, _) in &parts { th scope="col" { (name) br; small { (meaning) } } } }
            }
        }
    }
}

fn of_family(family: &Family, own: Uuid) -> Markup {
    html! {
        h2 { "With the imports that correct it" }
        p { strong { (family.summary) } "." }
        table {
            thead { tr { th { "Import" } th { "File" } th { "State" } th.number { "Records" } } }
            tbody {
                @for member in &family.members {
                    tr {
                        td { code { (member.id) } @if member.id.get() == own { " (this one)" } }
                        td { (member.filename.as_deref().unwrap_or_default()) }
                        td { (member.state) @if member.undone { ", undone" } }
                        td.number { (thousands(member.records)) }
                    }
                }
            }
        }
    }
}

fn causes(problems: &Problems) -> Markup {
    html! {
        @if !problems.problems.is_empty() {
            h2 { "What failed, and what to do" }
            table {
                thead { tr { th.number { "Records" } th { "What is wrong" } th { "Where" } } }
                tbody {
                    @for problem in &problems.problems {
                        tr {
                            td.number { (thousands(problem.count)) }
                            td {
                                @match problem.code.parse::<ErrorCode>() {
                                    Ok(code) => { (code.explanation()) br; small { (problem.advice.as_deref().unwrap_or(code.advice())) } }
                                    Err(_) => { (problem.code) }
                                }
                            }
                            td {
                                code { (problem.code) }
                                @if let Some(field) = &problem.field { ", column " code { (field) } }
                                @if let Some(first) = problem.first.first() { ", first in record " (thousands(first.record)) }
                            }
                        }
                    }
                }
            }
            @if problems.more { p { "There are more causes than these." } }
        }
    }
}

fn facts(receipt: &Receipt, key: PublicKey) -> Markup {
    let times = [
        ("Received", receipt.times.received_at),
        ("Started", receipt.times.started_at),
        ("Ended", receipt.times.completed_at),
    ];
    let lineage = &receipt.lineage;
    let others = [
        ("Mends import", lineage.mends.into_iter().collect::<Vec<_>>()),
        ("Mended by", lineage.mended_by.clone()),
        ("Undoes import", lineage.undoes.into_iter().collect()),
        ("Undone by", lineage.undone_by.clone()),
    ];
    html! {
        h2 { "About it" }
        dl {
            dt { "Import" } dd { code { (receipt.import.id) } }
            dt { "Tenant" } dd { (receipt.tenant) }
            @for (name, at) in times { @if let Some(at) = at { dt { (name) } dd { (day(at)) } } }
            @for (name, ids) in others {
                @if !ids.is_empty() { dt { (name) } dd { @for id in ids { code { (id) } br; } } }
            }
            @if let Some(file) = &receipt.file {
                dt { "Bytes of the file" } dd { (thousands(file.bytes)) }
                dt { "SHA-256 of the file" } dd { code { (file.sha256) } }
            }
            dt { "Root of the outcomes" } dd { code { (receipt.outcomes.root) } }
            dt { "Key of the installation" } dd { code { (key) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::options::ImportOptions;
    use muster_domain::outcome::Counts;
    use muster_domain::receipt::{FileLine, ImportLine, Lineage, OutcomeDigests, SigningKey, Times, VERSION};
    use muster_store::problems::{Place, Problem};

    use super::*;

    #[test]
    fn the_page_loads_nothing_and_shows_no_value_of_a_user() {
        let at = DateTime::from_timestamp(1_750_000_000, 0).unwrap();
        let receipt = Receipt {
            version: VERSION,
            issued_at: at,
            program: PROGRAM.into(),
            tenant: "acme".into(),
            import: ImportLine { id: Uuid::from_u128(1), state: ImportState::Completed },
            file: Some(FileLine {
                name: Some("<img src=x onerror=alert(1)>.csv".into()),
                sha256: "00".repeat(32),
                bytes: 1_234,
                records: 3,
                read_as: None,
            }),
            options: ImportOptions::default(),
            counts: Counts { total: 3, inserted: 2, failed: 1, ..Counts::default() },
            problems: Vec::new(),
            outcomes: OutcomeDigests::of(&[[1; 32]]),
            times: Times {
                created_at: at,
                received_at: Some(at),
                started_at: Some(at),
                completed_at: Some(at),
            },
            lineage: Lineage { mends: Some(Uuid::from_u128(2)), ..Lineage::default() },
        };
        let problem = Problem {
            code: "email_invalid".into(),
            field: Some("email".into()),
            count: 1,
            message: "the address marker@ is none".into(),
            example: Some("marker@".into()),
            advice: None,
            first: vec![Place { record: 3, line: Some(4) }],
        };
        let problems = Problems { problems: vec![problem], ..Problems::default() };
        let key = SigningKey::from_kept(&SigningKey::generate().unwrap()).unwrap().public();
        let page = view(&receipt, &problems, None, key).into_string();
        for said in ["&lt;img src=x", "email_invalid", "1,234", &receipt.outcomes.root, &key.to_string()] {
            assert!(page.contains(said), "{said}: {page}");
        }
        for not in ["<img", "<script", "http:", "https:", "url(", "@import", "src=\"", "href", "marker@"] {
            assert!(!page.contains(not), "{not}: {page}");
        }
    }
}
