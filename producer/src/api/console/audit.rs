//! The audit: who did what, when, to what, how many, and how they were chosen.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use maud::{Markup, html};
use muster_domain::token::Scope;
use muster_store::audit::{self, AuditEntry};
use serde_json::Value;

use super::error::ConsoleError;
use super::formatting::moment;
use super::page::{Page, Section};
use super::session::{Visit, field, query};
use crate::api::AppState;

/// Entries of a page.
const PAGE: usize = 50;

/// Shows it, the newest first.
pub(super) async fn list(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::Ops)?;
    let after = field(&query(&uri), "after").and_then(|text| text.parse().ok());
    let most = i64::try_from(PAGE).unwrap_or(i64::MAX).saturating_add(1);
    let mut found = audit::page(&state.0.store, tenant, after, None, most).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = if more { found.last().map(|entry| entry.id) } else { None };
    let page = Page { section: Section::Audit, title: "Audit".into(), renew: None, main: view(&found, next) };
    Ok(page.show(&visit))
}

fn view(found: &[AuditEntry], next: Option<i64>) -> Markup {
    html! {
        h1 { "Audit" }
        p.facts { "Who did what. Nobody can change or delete it. Who sent which file is with the imports." }
        @if found.is_empty() { p.calm { "Nothing so far." } } @else { (table(found, true)) }
        @if let Some(next) = next { nav.pages aria-label="Pages" { a href={ "/console/audit?after=" (next) } { "Older" } } }
    }
}

/// Entries as a table; with what they were done to, where that is not the same for all.
pub(super) fn table(found: &[AuditEntry], with_subject: bool) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr {
                    th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "What" }
                    @if with_subject { th scope="col" { "To what" } }
                    th scope="col" { "How many" } th scope="col" { "Which" }
                } }
                tbody { @for entry in found { (row(entry, with_subject)) } }
            }
        }
    }
}

fn row(entry: &AuditEntry, with_subject: bool) -> Markup {
    html! {
        tr {
            th scope="row" { (moment(entry.at)) }
            td data-name="Who" { (who(entry)) }
            td data-name="What" { code { (entry.action) } }
            @if with_subject { td data-name="To what" { (subject(entry)) } }
            td data-name="How many" { (pairs(Some(&entry.counts))) }
            td data-name="Which" { (pairs(entry.filter.as_ref())) }
        }
    }
}

/// Who did it.
pub(super) fn who(entry: &AuditEntry) -> String {
    let who = entry.token.as_ref().map_or(entry.actor.clone(), |name| format!("token {name}"));
    if entry.of_other_tenant { format!("{who}, an operator’s") } else { who }
}

/// What it was done to, as a link where it has a page.
fn subject(entry: &AuditEntry) -> Markup {
    let kind = entry.action.split('.').next().unwrap_or_default();
    let page = match (kind, entry.subject, &entry.name) {
        ("import", Some(id), _) => Some(format!("/console/imports/{id}")),
        ("bulk", Some(id), _) => Some(format!("/console/bulk/{id}")),
        ("webhook", Some(id), _) => Some(format!("/console/webhooks/{id}")),
        ("profile", _, Some(name)) => Some(format!("/console/profiles/{name}")),
        _ => None,
    };
    let name = entry.name.clone().or_else(|| entry.subject.map(|id| id.to_string())).unwrap_or_default();
    html! { @match page { Some(page) => { a href=(page) { (name) } } None => { (name) } } }
}

/// Names with their values: `records 3, chunks 1`.
fn pairs(value: Option<&Value>) -> String {
    let all = value.and_then(Value::as_object).into_iter().flatten();
    let all: Vec<String> = all
        .map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name} {text}"),
            None => format!("{name} {value}"),
        })
        .collect();
    all.join(", ")
}
