//! Bulk actions on many imports: selected by a filter, previewed, started, watched and aborted.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use muster_domain::bulk::{Action, Filter};
use muster_domain::error::ErrorCode;
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::token::Scope;
use muster_runtime::clock;
use muster_store::bulk as store;
use uuid::Uuid;

use super::error::ConsoleError;
use super::formatting::{ago, count, number};
use super::imports::address;
use super::page::{Page, Section, secret};
use super::session::{Filled, Visit, field, query};
use super::words;
use crate::api::AppState;
use crate::api::bulk::{BulkView, actor, looked};
use crate::api::error::ApiError;
use crate::api::params::and;

/// Where these pages are.
const HERE: &str = "/console/bulk";

/// What an action is called.
fn label(action: Action) -> &'static str {
    match action {
        Action::Pause => "Pause",
        Action::Resume => "Resume",
        Action::Cancel => "Cancel",
        Action::Retry => "Retry what failed",
        Action::Redrive => "Redrive dead chunks",
    }
}

/// The states in which something can be done.
fn changeable_states() -> impl Iterator<Item = ImportState> {
    let can_be = |state: &ImportState| Action::ALL.iter().any(|one| one.can_be_done_in().contains(state));
    ImportState::ALL.iter().copied().filter(can_be)
}

/// Shows the form and what was done last.
pub(super) async fn form(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::ImportRead)?;
    let last: Vec<BulkView> =
        store::list(&state.0.store, tenant).await?.into_iter().map(BulkView::from).collect();
    let moves = last.iter().any(|one| !one.is_final());
    let page = Page {
        section: Section::Imports,
        title: "Many imports at once".into(),
        // Unfinished input is kept.
        renew: moves.then_some(2_000),
        main: form_view(&query(&uri), &last, &visit, clock::now()),
    };
    Ok(page.show(&visit))
}

/// Looks which imports are like that, and shows them. Nothing is done to them.
pub(super) async fn look(State(state): State<AppState>, filled: Filled) -> Result<Response, ConsoleError> {
    let tenant = filled.visit.may(Scope::ImportWrite)?;
    let mut given = String::new();
    let mut filter = Filter::default();
    let mut wrong = None;
    for name in Filter::NAMES {
        let Some(text) = filled.field(name).map(str::trim).filter(|text| !text.is_empty()) else { continue };
        and(&mut given, name, text);
        if let Err(error) = filter.set(name, text) {
            wrong.get_or_insert((error.name, error.message));
        }
    }
    let action = filled.field("action").unwrap_or_default();
    and(&mut given, "action", action);
    let looked = match (action.parse::<Action>(), wrong) {
        (_, Some(wrong)) => Err(wrong),
        (Err(_), None) => Err(("action", "must be chosen".to_owned())),
        (Ok(action), None) => {
            match looked(&state, tenant, &actor(&filled.visit.caller()), action, &filter).await {
                Ok(view) => Ok(view),
                Err(ApiError::Invalid(error)) => {
                    let name = Filter::NAMES.iter().copied().find(|name| **name == *error.field);
                    Err((name.unwrap_or("action"), error.message))
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    let to = match looked {
        Ok(view) => format!("{HERE}/{}", view.id),
        Err((name, message)) => {
            and(&mut given, "wrong", name);
            and(&mut given, "why", &message);
            format!("{HERE}?{}", given.trim_start_matches('&'))
        }
    };
    Ok(Redirect::to(&to).into_response())
}

/// Shows one action.
pub(super) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::ImportRead)?;
    let bulk = store::show(&state.0.store, tenant, parse(&id)?).await?.ok_or(ApiError::NotFound)?;
    let bulk = BulkView::from(bulk);
    let page = Page {
        section: Section::Imports,
        title: title(&bulk),
        renew: (bulk.state == "running").then_some(1_000),
        main: view(&bulk, &visit, clock::now()),
    };
    Ok(page.show(&visit))
}

/// Starts or aborts one.
pub(super) async fn pull(
    State(state): State<AppState>,
    Path((id, lever)): Path<(String, String)>,
    filled: Filled,
) -> Result<Response, ConsoleError> {
    let tenant = filled.visit.may(Scope::ImportWrite)?;
    let id = parse(&id)?;
    let by = &state.0.store.by(&filled.visit.actor());
    let done = match lever.as_str() {
        "start" => store::start(by, tenant, id).await?,
        "abort" => store::abort(by, tenant, id).await?,
        _ => None,
    };
    let bulk = done.ok_or(ApiError::NotFound)?;
    Ok(Redirect::to(&format!("{HERE}/{}", bulk.id)).into_response())
}

fn parse(id: &str) -> Result<Uuid, ApiError> {
    id.parse().map_err(|_| ApiError::NotFound)
}

fn title(bulk: &BulkView) -> String {
    let action: &str = match bulk.action.parse() {
        Ok(action) => label(action),
        Err(_) => &bulk.action,
    };
    format!("{action}: {}", count(bulk.imports, "import", "imports"))
}

fn form_view(asked: &[(String, String)], last: &[BulkView], visit: &Visit, now: DateTime<Utc>) -> Markup {
    let given = |name: &str| field(asked, name).filter(|text| !text.is_empty());
    html! {
        p.way { a href="/console/imports" { "Imports" } }
        h1 { "Many imports at once" }
        @if let Some(why) = given("why") {
            p.note.wrong role="alert" { strong { "Not like that. " } (given("wrong").unwrap_or_default()) " " (words::message(why)) }
        }
        @if visit.allows(Scope::ImportWrite) {
            p.lead { "Choose what is to be done, and to which imports. You see what is found before anything is done." }
            (choices(asked, visit))
        }
        section aria-labelledby="last" {
            h2 #last { "What was done last" }
            @if last.is_empty() { p.calm { "Nothing yet." } } @else { (table(last, now)) }
        }
    }
}

/// What is to be done, and to which imports.
fn choices(asked: &[(String, String)], visit: &Visit) -> Markup {
    let given = |name: &str| field(asked, name).filter(|text| !text.is_empty());
    let wrong = |name: &str| given("wrong") == Some(name);
    let text = |name: &'static str, label: &str, example: &str| {
        html! {
            div {
                label for=(name) { (label) }
                input id=(name) name=(name) type="text" value=[given(name)] placeholder=(example)
                    maxlength="255" autocomplete="off" aria-invalid=[wrong(name).then_some("true")];
            }
        }
    };
    html! {
        form.filter method="post" action=(HERE) aria-label="What is to be done" {
            (secret(visit))
            div {
                label for="action" { "Do this" }
                select #action name="action" {
                    @for action in Action::ALL {
                        option value=(action) selected[given("action") == Some(action.as_str())] { (label(*action)) }
                    }
                }
            }
            div {
                label for="state" { "to imports in state" }
                select #state name="state" aria-invalid=[wrong("state").then_some("true")] {
                    option value="" { "all that fit" }
                    @for state in changeable_states() {
                        option value=(state) selected[given("state") == Some(state.as_str())] { (state) }
                    }
                }
            }
            (text("older_than", "opened longer ago than", "7d"))
            (text("newer_than", "opened less long ago than", "12h"))
            (text("file", "with this in the file's name", "people"))
            (text("profile", "received with the profile", "monthly-hr"))
            div {
                label for="code" { "with records that failed with" }
                select #code name="code" {
                    option value="" { "any error, or none" }
                    @for code in ErrorCode::ALL {
                        option value=(code) selected[given("code") == Some(code.as_str())] { (code) }
                    }
                }
            }
            (text("field", "for this column or key", "email"))
            div {
                label for="dead" { "with dead chunks" }
                select #dead name="dead" {
                    option value="" { "or without" }
                    option value="true" selected[given("dead") == Some("true")] { "only" }
                }
            }
            button.main type="submit" { "Look" }
        }
    }
}

fn table(last: &[BulkView], now: DateTime<Utc>) -> Markup {
    html! {
        div.scroll {
            table.bulk {
                thead {
                    tr {
                        th scope="col" { "What" }
                        th scope="col" { "State" }
                        th.number scope="col" { "Done" }
                        th.number scope="col" { "Refused" }
                        th scope="col" { "Looked at" }
                    }
                }
                tbody {
                    @for bulk in last {
                        tr {
                            th scope="row" { a href={ (HERE) "/" (bulk.id) } { (title(bulk)) } }
                            td { (state(&bulk.state)) }
                            td.number data-name="Done" { (number(bulk.succeeded)) }
                            td.number.failed[bulk.refused > 0] data-name="Refused" { (number(bulk.refused)) }
                            td data-name="Looked at" { (ago(now, bulk.created_at)) }
                        }
                    }
                }
            }
        }
    }
}

fn state(state: &str) -> Markup {
    let meaning = match state {
        "done" => "good",
        "running" => "busy",
        "preview" => "wait",
        _ => "idle",
    };
    html! { span class={ "state " (meaning) } { (state) } }
}

fn view(bulk: &BulkView, visit: &Visit, now: DateTime<Utc>) -> Markup {
    let looked = bulk.state == "preview";
    html! {
        p.way { a href=(HERE) { "Many imports at once" } }
        h1 { (title(bulk)) }
        p { (state(&bulk.state)) @if looked { " Nothing was done yet." } }
        @if visit.allows(Scope::ImportWrite) { (controls(bulk, visit)) }
        @if !looked { (progress(bulk)) }
        section aria-label="What it is about" {
            dl.about {
                dt { "Imports" } dd { (number(bulk.imports)) (states(&bulk.states)) }
                dt { (about(bulk)) } dd { (number(bulk.records)) }
                dt { "Chosen by" } dd { (filter(&bulk.filter)) }
                dt { "Asked for by" } dd { code { (bulk.actor) } " " (ago(now, bulk.created_at)) }
                @if let Some(at) = bulk.started_at { dt { "Started" } dd { (ago(now, at)) } }
                @if let Some(at) = bulk.ended_at { dt { "Ended" } dd { (ago(now, at)) } }
            }
        }
        @if !bulk.refusals.is_empty() {
            section aria-labelledby="refusals" {
                h2 #refusals { "Could not be done" }
                ul.held {
                    @for refusal in &bulk.refusals { li { (link(refusal.import)) ": " (refusal.why) } }
                }
                @if bulk.refused > bulk.refusals.len() as u64 { p.hint { "These are the first of " (number(bulk.refused)) "." } }
            }
        }
        @if !bulk.first.is_empty() {
            section aria-labelledby="first" {
                h2 #first { "The first imports" }
                ul.held { @for import in &bulk.first { li { (link(*import)) } } }
            }
        }
    }
}

fn link(import: Uuid) -> Markup {
    html! { a href=(address(ImportId::new(import))) { code { (import) } } }
}

/// What its records are.
fn about(bulk: &BulkView) -> &'static str {
    let failures = bulk.action.parse::<Action>().is_ok_and(Action::is_about_failures);
    if failures { "Their failed records that are meant" } else { "Their records without an outcome" }
}

fn states(states: &BTreeMap<String, u64>) -> Markup {
    let texts: Vec<String> =
        states.iter().map(|(state, count)| format!("{} {state}", number(*count))).collect();
    html! { @if !texts.is_empty() { ": " (texts.join(", ")) } }
}

fn filter(filter: &BTreeMap<String, String>) -> Markup {
    html! {
        @if filter.is_empty() { "all to which it can be done" }
        @for (at, (name, value)) in filter.iter().enumerate() {
            @if at > 0 { ", " }
            (name.replace('_', " ")) " " code { (value) }
        }
    }
}

fn progress(bulk: &BulkView) -> Markup {
    let done = bulk.succeeded + bulk.refused;
    let told = format!("{} of {} done", number(done), count(bulk.imports, "import", "imports"));
    html! {
        p role="status" {
            progress max=(bulk.imports.max(1)) value=(done) aria-label=(told) {}
            " " (told)
            @if bulk.refused > 0 { ", " (number(bulk.refused)) " of them could not be done" }
        }
    }
}

fn controls(bulk: &BulkView, visit: &Visit) -> Markup {
    let here = format!("{HERE}/{}", bulk.id);
    let cancels = bulk.action == Action::Cancel.as_str();
    let button = |lever: &str, label: &str, class: Option<&str>| {
        html! {
            form method="post" action={ (here) "/" (lever) } {
                (secret(visit))
                button type="submit" class=[class] { (label) }
            }
        }
    };
    html! {
        @match bulk.state.as_str() {
            "preview" if bulk.imports == 0 => { p.calm { "No import is like that." } }
            "preview" => div.levers role="group" aria-label="What you can do" {
                (button("start", &title(bulk), Some(if cancels { "danger" } else { "main" })))
            },
            "running" => div.levers role="group" aria-label="What you can do" { (button("abort", "Stop here", None)) },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(state: &str) -> BulkView {
        BulkView {
            id: Uuid::from_u128(1),
            action: "retry".into(),
            filter: BTreeMap::from([("file".into(), "<b>".into())]),
            state: state.into(),
            imports: 3,
            records: 37,
            states: BTreeMap::from([("completed".into(), 3)]),
            first: vec![Uuid::from_u128(2)],
            succeeded: 1,
            refused: 1,
            refusals: Vec::new(),
            actor: "operator".into(),
            created_at: clock::now(),
            started_at: None,
            ended_at: None,
        }
    }

    #[test]
    fn every_state_in_which_something_can_be_done_can_be_chosen() {
        use ImportState as S;
        let states: Vec<S> = changeable_states().collect();
        let all = [S::Received, S::Planning, S::Planned, S::Running, S::Paused, S::Completed, S::Cancelled];
        assert_eq!(states, all);
    }

    #[test]
    fn an_action_is_called_by_what_it_does_and_how_many_it_is_about() {
        assert_eq!(title(&bulk("preview")), "Retry what failed: 3 imports");
        let shown = progress(&bulk("running")).into_string();
        assert!(shown.contains("2 of 3 imports done, 1 of them could not be done"), "{shown}");
        assert!(filter(&bulk("done").filter).into_string().contains("file <code>&lt;b&gt;</code>"));
    }
}
