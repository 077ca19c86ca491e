//! All tenants, for the operators of the installation: what runs and what needs attention in each, and the way into another one.
//!
//! Numbers are counted over all tenants at once; what is told of an import is read for its tenant alone.

use std::collections::HashMap;

use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::progress::Progress;
use muster_domain::tenant::{Slug, Tenant};
use muster_domain::token::Scope;
use muster_runtime::clock;
use muster_store::overview::{self, Everywhere, TenantOverview};
use muster_store::reports::ImportReport;
use muster_store::sessions::{self, Chosen};
use muster_store::status::StalledImports;

use super::attention::{self, Item, Weight};
use super::error::ConsoleError;
use super::formatting::{ago, count, number};
use super::imports;
use super::page::{Page, Section, secret};
use super::session::{Filled, Visit, field, query};
use super::sign_in::place;
use super::words;
use crate::api::AppState;
use crate::api::error::ApiError;
use crate::api::stalls::stalled;

/// Most tenants on the page.
const MOST: i64 = 100;
/// Most tenants of which imports are named.
const MOST_NAMED: usize = 10;
/// Most imports of each of these that are named.
const MOST_IMPORTS: i64 = 5;

/// Something about an import that needs somebody.
#[derive(Debug)]
struct Need {
    tenant: Tenant,
    report: ImportReport,
    item: Item,
}

/// What needs somebody, and how many imports there are beside these at least.
#[derive(Debug, Default)]
struct Needs {
    first: Vec<Need>,
    more: u64,
    /// It is not known which imports stand still.
    unknown: bool,
}

/// Shows the page. What runs is for those who may see imports.
pub(super) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Response, ConsoleError> {
    let here = visit.may(Scope::TenantsAll)?;
    let now = clock::now();
    let asked = query(&uri);
    let text = field(&asked, "q").map(str::trim).filter(|text| !text.is_empty());
    let store = &state.0.store;
    let sees = visit.allows(Scope::ImportRead);
    let stalls = if sees { stalled(&state).await.map(|stalls| stalls.found) } else { None };
    let first: Vec<TenantId> = stalls.iter().flat_map(|found| &found.first).map(|one| one.tenant).collect();
    let found = overview::everywhere(store, text, &first, now - attention::LATELY, MOST).await?;
    let needs = if sees { needs(&state, &found, stalls.as_deref(), now).await? } else { Needs::default() };
    let main = html! {
        h1 { "Tenants" }
        p.facts { "Every tenant of this installation. Opening one is noted in its audit; what you may do there is what your token may." }
        (search(text))
        @if sees { (attention(&needs, &visit, here, now)) }
        (table(&found, sees, &visit, here, now))
    };
    let renew = sees.then_some(10_000);
    Ok(Page { section: Section::Tenants, title: "Tenants".into(), renew, main }.show(&visit))
}

/// Opens a tenant, or the token's own again.
pub(super) async fn open(State(state): State<AppState>, filled: Filled) -> Result<Response, ConsoleError> {
    filled.visit.may(Scope::TenantsAll)?;
    let wanted: Slug = filled.field("tenant").unwrap_or_default().parse().map_err(|_| ApiError::NotFound)?;
    let store = state.0.store.by(&filled.visit.actor());
    match sessions::choose(&store, &filled.key().hash(), &wanted).await? {
        Chosen::In(tenant) => {
            let token = filled.visit.caller().token();
            tracing::info!(tenant = tenant.id.get(), %token, "a tenant was opened at the console");
            Ok(Redirect::to(place(filled.field("then"))).into_response())
        }
        Chosen::Disabled => Err(ApiError::TenantDisabled.into()),
        Chosen::NotFound => Err(ApiError::NotFound.into()),
    }
}

/// What needs somebody in the tenants where most does, the most urgent first. What is in disabled ones is to wait.
async fn needs(
    state: &AppState,
    found: &Everywhere,
    stalls: Option<&StalledImports>,
    now: DateTime<Utc>,
) -> Result<Needs, ConsoleError> {
    let store = &state.0.store;
    let mut stalled: HashMap<TenantId, Vec<(ImportId, Progress)>> = HashMap::new();
    for one in stalls.iter().flat_map(|stalls| &stalls.first) {
        stalled.entry(one.tenant).or_default().push((one.import, one.progress.clone()));
    }
    // Those that are not named. Some of them may be among the others that need somebody, so that the greater of two numbers counts.
    let mut more_stalled = stalls.map_or(0, |stalls| stalls.count);
    let mut open: Vec<&TenantOverview> =
        found.tenants.iter().filter(|one| one.tenant.disabled_at.is_none()).collect();
    let more = open.iter().map(|one| one.concerning).sum();
    let mut needs = Needs { first: Vec::new(), more, unknown: stalls.is_none() };
    open.retain(|one| one.concerning > 0 || stalled.contains_key(&one.tenant.id));
    open.sort_by_key(|one| !stalled.contains_key(&one.tenant.id));
    for TenantOverview { tenant, .. } in open.into_iter().take(MOST_NAMED) {
        let since = now - attention::LATELY;
        let mut reports = overview::concerning(store, tenant.id, since, MOST_IMPORTS).await?.imports;
        needs.more = needs.more.saturating_sub(reports.len() as u64);
        let mut still = stalled.remove(&tenant.id).unwrap_or_default();
        still.truncate(usize::try_from(MOST_IMPORTS).unwrap_or(usize::MAX));
        more_stalled = more_stalled.saturating_sub(still.len() as u64);
        let others = still.iter().map(|(import, _)| *import);
        let others: Vec<ImportId> =
            others.filter(|import| !reports.iter().any(|report| report.id == *import)).collect();
        reports.extend(overview::listed(store, tenant.id, &others).await?);
        for report in reports {
            // What was found a moment ago may have ended meanwhile.
            let progress = still.iter().find(|(import, _)| *import == report.id && !report.state.is_final());
            let progress = progress.map(|(_, progress)| progress);
            let items = attention::of(&report, progress, None, now).into_iter();
            needs.first.extend(items.map(|item| Need {
                tenant: tenant.clone(),
                report: report.clone(),
                item,
            }));
        }
    }
    needs.more = needs.more.max(more_stalled);
    needs.first.sort_by_key(|one| one.item.weight);
    Ok(needs)
}

fn search(text: Option<&str>) -> Markup {
    html! {
        form.filter method="get" action="/console/tenants" role="search" aria-label="Tenants" {
            div { label for="q" { "Name" } input #q type="search" name="q" value=[text]; }
            button type="submit" { "Show" }
            @if text.is_some() { a.quiet href="/console/tenants" { "Show all" } }
        }
    }
}

fn attention(needs: &Needs, visit: &Visit, here: TenantId, now: DateTime<Utc>) -> Markup {
    html! {
        section aria-labelledby="attention" {
            h2 #attention { "Needs attention" }
            @if needs.unknown { p.hint { "It is unknown whether imports make progress." } }
            @if needs.first.is_empty() && needs.more == 0 && !needs.unknown { p.calm { "Nothing needs attention." } }
            @if !needs.first.is_empty() {
                ul.attention {
                    @for one in &needs.first {
                        li.bad[one.item.weight == Weight::Bad] {
                            (way(&one.tenant, &imports::name(&one.report), &imports::address(one.report.id), visit, here))
                            " " span.what {
                                "of " (one.tenant.name) ": " (one.item.what)
                                @if let Some(when) = one.item.when { ", " (when.view(now)) }
                            }
                            p { (words::told(&one.item.todo)) }
                            @if let Some(command) = one.item.command { pre { code { (command) } } }
                        }
                    }
                }
            }
            @if needs.more > 0 { p.hint { (count(needs.more, "import", "imports")) " more at least: open their tenants." } }
        }
    }
}

/// The way to a page of a tenant: a link in the tenant that the session is in, and a form that opens any other.
fn way(tenant: &Tenant, name: &str, to: &str, visit: &Visit, here: TenantId) -> Markup {
    html! {
        @if tenant.id == here {
            a href=(to) { (name) }
        } @else {
            form method="post" action="/console/tenants" {
                (secret(visit))
                input type="hidden" name="tenant" value=(tenant.slug);
                input type="hidden" name="then" value=(to);
                button.link type="submit" { (name) }
            }
        }
    }
}

fn table(found: &Everywhere, sees: bool, visit: &Visit, here: TenantId, now: DateTime<Utc>) -> Markup {
    let more = found.all.saturating_sub(found.tenants.len() as u64);
    html! {
        section aria-labelledby="tenants" {
            h2 #tenants { "Imports by tenant" }
            @if found.tenants.is_empty() { p.calm { "No tenant is called that." } } @else {
                div.scroll {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Tenant" }
                                @if sees {
                                    th.number scope="col" { "Running" } th.number scope="col" { "To be settled" }
                                    th.number scope="col" { "Need attention" } th.number scope="col" { "Urgent" }
                                }
                                th scope="col" { span.unseen { "What you can do" } }
                            }
                        }
                        tbody { @for one in &found.tenants { (row(one, sees, visit, here, now)) } }
                    }
                }
            }
            @if more > 0 { p.hint { "And " (count(more, "tenant", "tenants")) " more, in which less needs somebody: look for their names." } }
        }
    }
}

fn row(one: &TenantOverview, sees: bool, visit: &Visit, here: TenantId, now: DateTime<Utc>) -> Markup {
    let tenant = &one.tenant;
    html! {
        tr {
            th scope="row" { (tenant.name) " " code { (tenant.slug) } }
            @if sees {
                td.number data-name="Running" { (number(one.running)) }
                td.number data-name="To be settled" { (number(one.pending)) }
                td.number data-name="Need attention" { (number(one.concerning)) }
                td.number.failed[one.urgent > 0] data-name="Urgent" { (number(one.urgent)) }
            }
            td {
                @match tenant.disabled_at {
                    Some(at) => { span.state.idle { "disabled " (ago(now, at)) } }
                    None if tenant.id == here => { span.state.good { "you are here" } }
                    None => {
                        form method="post" action="/console/tenants" {
                            (secret(visit))
                            input type="hidden" name="tenant" value=(tenant.slug);
                            button.quiet type="submit" aria-label={ "Open " (tenant.name) } { "Open" }
                        }
                    }
                }
            }
        }
    }
}
