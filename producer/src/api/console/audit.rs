//! The audit: what was done that leaves no other trace.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use maud::{Markup, html};
use muster_domain::token::Scope;
use muster_store::audit::{self, AuditEntry};

use super::leave::Leave;
use super::page::{Page, Section};
use super::session::{Visit, field, query};
use super::words::moment;
use crate::api::AppState;

/// Entries of a page.
const PAGE: usize = 50;

/// Shows it, the newest first.
pub(super) async fn list(State(state): State<AppState>, visit: Visit, uri: Uri) -> Result<Response, Leave> {
    let tenant = visit.may(Scope::Ops)?;
    let after = field(&query(&uri), "after").and_then(|text| text.parse().ok());
    let most = i64::try_from(PAGE).unwrap_or(i64::MAX).saturating_add(1);
    let mut found = audit::page(&state.0.store, tenant, after, most).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = if more { found.last().map(|entry| entry.id) } else { None };
    let page = Page { section: Section::Audit, title: "Audit".into(), renew: None, main: view(&found, next) };
    Ok(page.show(&visit))
}

fn view(found: &[AuditEntry], next: Option<i64>) -> Markup {
    html! {
        h1 { "Audit" }
        p.facts { "What was done that leaves no other trace. Nobody can change or delete it." }
        @if found.is_empty() { p.calm { "Nothing so far." } } @else {
            div.scroll {
                table {
                    thead { tr { th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "How many" } } }
                    tbody { @for entry in found { (row(entry)) } }
                }
            }
        }
        @if let Some(next) = next { nav.pages aria-label="Pages" { a href={ "/console/audit?after=" (next) } { "Older" } } }
    }
}

fn row(entry: &AuditEntry) -> Markup {
    let counts = entry.counts.as_object().into_iter().flatten();
    let counts: Vec<String> = counts.map(|(name, number)| format!("{name} {number}")).collect();
    html! {
        tr {
            th scope="row" { (moment(entry.at)) }
            td data-name="Who" { @match &entry.token { Some(name) => { "token " (name) } None => { (entry.actor) } } }
            td data-name="What" { code { (entry.action) } @if let Some(subject) = entry.subject { " " code { (subject) } } }
            td data-name="How many" { (counts.join(", ")) }
        }
    }
}
