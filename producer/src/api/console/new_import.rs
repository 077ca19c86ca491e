//! A new import: choose a file, inspect it before anything is stored, map its columns, and upload it.
//!
//! The page uses a script, which sends a file of any size as it is, through the same API as every client. Its
//! requests carry the form secret in a header ([`FORM_HEADER`]), which no other site can send.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{Html, IntoResponse, Response};
use maud::{Markup, html};
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::field::{Field, METADATA_PREFIX};
use muster_domain::import_profile::BUILTIN;
use muster_domain::inspect::{Column, DayOrder, DayProof, Problem, Report};
use muster_domain::options::Dates;
use muster_domain::parse::FAILED_MARK;
use muster_domain::token::Scope;
use muster_domain::validate::{NOT_KNOWN, OF_FAILED};
use muster_store::import_profiles::{self, SavedProfile};
use serde::Serialize;

use super::error::ConsoleError;
use super::formatting::{bytes, count, number};
use super::page::{Page, Section, secret, sentence};
use super::session::{FORM_HEADER, Visit};
use super::{assets, choices, words};
use crate::api::AppState;
use crate::api::error::ApiError;
use crate::api::params::Params;
use crate::api::waiting::Client;
use crate::api::{inspect, upload};

/// Problems that are shown before the import.
const MOST_SHOWN: usize = 12;

/// Shows the page.
pub(super) async fn show(State(state): State<AppState>, visit: Visit) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::ImportWrite)?;
    let own = import_profiles::list(&mut *state.0.store.reading(tenant).await?, tenant).await?;
    let page =
        Page { section: Section::New, title: "New import".into(), renew: None, main: view(&visit, &own) };
    Ok(page.show(&visit))
}

/// Looks at a file and shows what was found, as a part of the page. Nothing is stored.
pub(super) async fn look(
    State(state): State<AppState>,
    visit: Visit,
    params: Params,
    request: Request,
) -> Result<Response, ConsoleError> {
    if !is_of_the_page(&visit, &request) {
        return Err(ConsoleError::Form);
    }
    let auto = params.get("dates") == Some(Dates::Auto.as_str());
    let found = inspect::look(State(state), visit.caller(), params, request).await;
    // Errors of options are shown with the findings.
    let shown = match found {
        Ok(Json(report)) => findings(&report, auto),
        Err(error @ (ApiError::Invalid(_) | ApiError::UnsupportedMediaType(_) | ApiError::Body(_))) => {
            html! { p.note.wrong role="alert" { (words::told(&sentence(&error.body("").error.message))) } }
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Html(shown.into_string()).into_response())
}

/// Takes the file, as `POST /v1/imports` does.
pub(super) async fn take(
    state: State<AppState>,
    visit: Visit,
    client: Client,
    params: Params,
    request: Request,
) -> Result<Response, ConsoleError> {
    if !is_of_the_page(&visit, &request) {
        return Err(ConsoleError::Form);
    }
    match upload::create(state, visit.caller(), client, params, request).await {
        Ok(answer) => Ok(answer),
        // The script reads errors as all clients of the API do.
        Err(error) => Ok(error.into_response()),
    }
}

/// Whether a request has the secret of forms.
pub(super) fn is_of_the_page(visit: &Visit, request: &Request) -> bool {
    let given = request.headers().get(FORM_HEADER).and_then(|value| value.to_str().ok());
    given.is_some_and(|given| visit.gave(given))
}

fn view(visit: &Visit, own: &[SavedProfile]) -> Markup {
    html! {
        h1 { "New import" }
        noscript { p.note.wrong { "This page needs scripts. Without them, use " code { "muster import users" } " or the API." } }
        form #new-import {
            (secret(visit))
            section aria-labelledby="file-title" {
                h2 #file-title { "1. The file" }
                label.drop for="file" {
                    span { "Drop a file here, or choose one" }
                    input #file type="file" name="file" required;
                    small { "A table or a list of people: CSV, Excel (.xlsx), JSON or NDJSON." }
                }
            }
            section aria-labelledby="options-title" {
                h2 #options-title { "2. What to do with it" }
                div.options.by-profile {
                    div {
                        label for="profile" { "As a profile says" }
                        select #profile name="profile" {
                            option value="" { "none" }
                            @for one in own { option value=(one.name) { (one.name) } }
                            @for one in BUILTIN { option value=(one.name) { (one.title) } }
                        }
                    }
                }
                (choices::view(choices::Form::Import, &[]))
            }
            section aria-labelledby="found-title" {
                h2 #found-title { "3. How it will be read" }
                div #found { p.calm { "Choose a file first. Nothing is stored by looking at it." } }
            }
            details.keep {
                summary { "Save these options as a profile" }
                p.hint { "With what the columns mean, for the next file of this kind. Without what is of this file alone." }
                label for="keep-as" { "Its name" }
                input #keep-as maxlength="63" autocomplete="off" placeholder="monthly-hr" spellcheck="false";
                button #keep type="button" { "Save" }
                p #kept role="status" {}
            }
            div.send {
                button.main #send type="submit" disabled { "Import" }
                progress #sent max="100" value="0" hidden aria-label="Upload" {}
                p #outcome role="status" {}
            }
        }
        script src=(assets::UPLOAD.address()) defer {}
    }
}

/// What was found in a file. `auto`: the order of its days is to be the one that it proves.
fn findings(report: &Report, auto: bool) -> Markup {
    let proved = report.days.option();
    let unproved = auto && proved.is_none() && report.refused.is_none();
    let again = report.columns.iter().any(|column| column.name == FAILED_MARK);
    // The page looks once more with that order.
    let days = proved.filter(|order| auto && *order != Dates::Iso).map(Dates::as_str);
    html! {
        @if unproved { p.note.wrong role="alert" { strong { "The file would be refused. " } (days_told(&report.days)) } }
        @if let Some(error) = &report.refused {
            p.note.wrong role="alert" {
                strong { "The file would be refused. " } (words::told(&sentence(refusal(error)))) " "
                @if error.code == ErrorCode::CsvHeaderUnknown && !report.columns.is_empty() {
                    "Choose below what it means, or " em { "– left out –" } "."
                } @else if error.code == ErrorCode::CsvHeaderMissing && !report.columns.is_empty() {
                    "Choose below which column it is."
                } @else {
                    (words::told(error.code.advice()))
                }
            }
        }
        (unknown(&report.columns))
        p.facts data-refused=[(unproved || report.refused.is_some()).then_some("1")] data-days=[days] data-again=[again.then_some("1")] #facts {
            (count(report.records, "record", "records"))
            @if report.invalid > 0 { ", " strong.bad { (number(report.invalid)) " of them would fail" } }
            " · " (word(&report.format)) ", " (word(&report.encoding))
            @if let Some(delimiter) = &report.delimiter { ", cells end with " (word(delimiter)) }
            " · " (bytes(report.bytes))
            @if let Some(sheet) = &report.sheet { ", sheet " (sheet) }
            @if let Some(profile) = report.profile { ", a file for the profile " strong { (profile) } }
            @if report.skipped_lines > 0 { " · " (count(report.skipped_lines, "line", "lines")) " before the header left out" }
        }
        @if again { p.hint { "It brings failed records again: where nothing else is chosen, it is read as the import was in which they failed." } }
        @if !report.columns.is_empty() { (columns(&report.columns)) }
        @if !report.first.is_empty() { (first(&report.first)) }
        @if !report.problems.is_empty() { (problems(&report.problems)) }
        @if !unproved && report.days.order != DayOrder::Iso { p.hint { (days_told(&report.days)) } }
        @if report.needs_catalog { p.hint { "Roles, groups, teams and locations are looked up when the file is imported." } }
    }
}

/// The message of a refusal without what is to be typed at the command line for each column: the table of columns asks for it.
fn refusal(error: &FileError) -> &str {
    let message = error.message.as_str();
    match error.code {
        ErrorCode::CsvHeaderUnknown => {
            message.split_once(". Say what it is").map_or(message, |(what, _)| what)
        }
        _ => message,
    }
}

/// The columns of which nothing would be imported because they are not known, before somebody wonders where they are.
fn unknown(columns: &[Column]) -> Markup {
    let unknown: Vec<&str> = columns
        .iter()
        .filter(|column| column.field.is_none() && column.by == NOT_KNOWN)
        .map(|column| column.name.as_str())
        .collect();
    let one = unknown.len() == 1;
    html! {
        @if !unknown.is_empty() && !mutant(Mutant::UnknownLeftOutUnsaid) {
            p.note.wait role="status" {
                strong { (count(unknown.len() as u64, "column is", "columns are")) " not known and will be left out: " }
                @for (at, name) in unknown.iter().take(MOST_SHOWN).enumerate() {
                    @if at > 0 { ", " }
                    @if name.is_empty() { "one without a name" } @else { code { (name) } }
                }
                @if unknown.len() > MOST_SHOWN { " and " (number((unknown.len() - MOST_SHOWN) as u64)) " more" }
                ". Choose below what " @if one { "it means" } @else { "they mean" } " if that is wrong."
            }
        }
    }
}

/// In which order the days of a file are written.
fn days_told(days: &DayProof) -> Markup {
    html! {
        @match days.order {
            DayOrder::Iso => { "Dates are written year first." }
            DayOrder::Dmy => { "Dates are written day first (31.12.2025), which is the only order that fits." }
            DayOrder::Mdy => { "Dates are written month first (12/31/2025), which is the only order that fits." }
            DayOrder::Unproved => {
                "Each date fits both orders" @if let Some(column) = &days.column { " in " code { (column) } } ": ask whoever made the file, and choose how dates are written."
            }
            DayOrder::Mixed => { "Some dates are written day first and some month first: no order fits all of them." }
        }
    }
}

fn columns(columns: &[Column]) -> Markup {
    html! {
        h3 { "Columns" }
        div.scroll {
            table.columns {
                thead { tr { th scope="col" { "In the file" } th scope="col" { "Means" } } }
                tbody {
                    @for (at, column) in columns.iter().enumerate() {
                        tr {
                            th scope="row" #{ "column-" (at) } { @if column.name.is_empty() { "(no name)" } @else { (column.name) } }
                            td {
                                @if column.by == OF_FAILED { (of_failed(&column.name)) } @else { (meaning(at, column)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What a column is that only a file of failed records has.
fn of_failed(name: &str) -> Markup {
    html! {
        @if name == FAILED_MARK { "Leave this column as it is: it says where the file comes from." }
        @else { "Not read: it says why the record failed." }
    }
}

/// A choice of what a column means.
fn meaning(at: usize, column: &Column) -> Markup {
    let chosen = column.field.as_deref();
    let own = format!("{METADATA_PREFIX}{}", key_of(&column.name));
    let extra = chosen.filter(|field| field.starts_with(METADATA_PREFIX) && **field != own);
    html! {
        select aria-labelledby={ "column-" (at) } data-column=(column.name) {
            option value="" selected[chosen.is_none()] { "– left out –" }
            @for field in Field::ALL.iter().filter(|field| **field != Field::Metadata) {
                option value=(field.as_str()) selected[chosen == Some(field.as_str())] { (field.as_str()) }
            }
            @if let Some(field) = extra { option value=(field) selected { (field) } }
            @if own.len() > METADATA_PREFIX.len() {
                option value=(own) selected[chosen == Some(own.as_str())] { (own) }
            }
        }
    }
}

/// A column's name as a key of the metadata.
fn key_of(name: &str) -> String {
    let plain = |letter: char| if letter.is_alphanumeric() { letter.to_ascii_lowercase() } else { '_' };
    name.trim().chars().take(60).map(plain).collect::<String>().trim_matches('_').to_owned()
}

fn first(records: &[Vec<(String, String)>]) -> Markup {
    let mut fields: Vec<&str> = Vec::new();
    for (field, _) in records.iter().flatten() {
        if !fields.contains(&field.as_str()) {
            fields.push(field);
        }
    }
    html! {
        h3 { "The first records" }
        div.scroll {
            table.first {
                thead { tr { @for field in &fields { th scope="col" { (field) } } } }
                tbody {
                    @for record in records {
                        tr {
                            @for field in &fields {
                                td data-name=(field) {
                                    @if let Some((_, value)) = record.iter().find(|(name, _)| name == field) { (value) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What is true of all its records, and the message of the first, since others may have another mistake of the same kind.
fn told(problem: &Problem) -> Markup {
    match problem.code {
        Some(code) if problem.count > 1 => {
            html! { (words::message(code.explanation())) " For example: " (words::message(&problem.message)) }
        }
        _ => words::message(&problem.message),
    }
}

fn problems(problems: &[Problem]) -> Markup {
    html! {
        h3 { "Problems" }
        ol.problems {
            @for problem in problems.iter().take(MOST_SHOWN) {
                li.warning[problem.code.is_none()] {
                    p.cause { span.times { (number(problem.count)) " ×" } " " strong { (told(problem)) } }
                    p.where {
                        @if let Some(field) = &problem.field { "Column " code { (field) } ". " }
                        @if let Some(place) = problem.first.first() { "First in record " (number(place.record)) ", line " (number(place.line)) }
                        @if let Some(code) = problem.code { " · " code { (code) } }
                    }
                    @if let Some(code) = problem.code {
                        details { summary { "What to do" } p { (words::told(code.advice())) } }
                    }
                }
            }
        }
        @if problems.len() > MOST_SHOWN { p { "And " (count((problems.len() - MOST_SHOWN) as u64, "more cause", "more causes")) "." } }
    }
}

/// A value's own word.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_has_a_key_of_its_own_among_the_choices() {
        assert_eq!(key_of(" Cost Centre "), "cost_centre");
        assert_eq!(key_of("…"), "");
        let column = Column { name: "Cost <b>".into(), field: None, by: "" };
        let shown = meaning(3, &column).into_string();
        assert!(
            shown.contains("data-column=\"Cost &lt;b&gt;\"") && shown.contains("custom__cost__b"),
            "{shown}"
        );
        let column = Column { name: "Mail".into(), field: Some("email".into()), by: "" };
        assert!(meaning(0, &column).into_string().contains("value=\"email\" selected"));
    }

    #[test]
    fn a_column_that_is_not_known_is_told_and_one_that_is_left_out_on_purpose_is_not() {
        let column = |name: &str, by| Column { name: name.into(), field: None, by };
        let shown = unknown(&[column("shoe_size", NOT_KNOWN), column("notes", "mapping")]).into_string();
        assert!(shown.contains("1 column is not known and will be left out: "), "{shown}");
        assert!(shown.contains("shoe_size") && !shown.contains("notes"), "{shown}");
        assert_eq!(unknown(&[column("notes", "mapping")]).into_string(), "");
        let shown =
            columns(&[column(FAILED_MARK, OF_FAILED), column("_error_code", OF_FAILED)]).into_string();
        assert!(shown.contains("it says where the file comes from") && !shown.contains("<select"), "{shown}");
    }

    #[test]
    fn records_are_shown_by_field_and_their_values_are_text() {
        let pair = |field: &str, value: &str| (field.to_owned(), value.to_owned());
        let shown = first(&[vec![pair("email", "a@b.co")], vec![pair("given_name", "<u>")]]).into_string();
        assert!(shown.contains("<th scope=\"col\">email</th><th scope=\"col\">given_name</th>"), "{shown}");
        assert!(shown.contains("&lt;u&gt;"), "{shown}");
    }
}
