//! What each record of a planned import would do: with the fields that change, before and after, and filters.

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use maud::{Markup, html};
use muster_domain::id::ImportId;
use muster_domain::outcome::Outcome;
use muster_domain::token::Scope;
use muster_store::plans::{self, Cursor, PlannedPage};
use muster_store::reports::{self, ImportReport};
use serde_json::Value;

use super::error::ConsoleError;
use super::imports::{address, name};
use super::page::{self, Section};
use super::records::place;
use super::session::{Visit, field, query};
use super::words;
use crate::api::AppState;
use crate::api::error::ApiError;
use crate::api::params::encoded;
use crate::api::plans::PlannedView;

/// Records on a page.
const PAGE: usize = 50;

const OUTCOMES: [(&str, Outcome); 4] = [
    ("updated", Outcome::Updated),
    ("inserted", Outcome::Inserted),
    ("skipped", Outcome::Skipped),
    ("failed", Outcome::Failed),
];

/// Which records somebody wants to see.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    outcome: Option<(&'static str, Outcome)>,
    field: Option<String>,
    after: Cursor,
}

impl Wanted {
    fn of(uri: &Uri) -> Self {
        let asked = query(uri);
        let text = |name| field(&asked, name).map(str::trim).filter(|text| !text.is_empty());
        let outcome = text("outcome").and_then(|text| OUTCOMES.into_iter().find(|(name, _)| *name == text));
        Self {
            outcome,
            field: text("field").map(str::to_owned),
            after: text("after").and_then(|text| text.parse().ok()).unwrap_or_default(),
        }
    }

    fn next(&self, import: ImportId, after: Cursor) -> String {
        let outcome = self.outcome.map_or(String::new(), |(name, _)| format!("&outcome={name}"));
        let field = self.field.as_deref().map_or(String::new(), |field| format!("&field={}", encoded(field)));
        format!("{}/changes?after={after}{outcome}{field}", address(import))
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
    if plans::is_there(store, tenant, import).await? != Some(true) {
        return Err(ApiError::NoPlan.into());
    }
    let fields = plans::fields(store, tenant, import).await?;
    let wanted = Wanted::of(&uri);
    let asked = PlannedPage {
        field: wanted.field.as_deref(),
        outcome: wanted.outcome.map(|(_, outcome)| outcome),
        after: wanted.after,
        limit: PAGE,
    };
    let found = plans::page(store, tenant, import, asked).await?;
    let people = visit.sees_people();
    let records: Vec<PlannedView> =
        found.records.into_iter().map(|record| PlannedView::new(record, people)).collect();
    let next = found.next.map(|after| wanted.next(import, after));
    let page = page::Page {
        section: Section::Imports,
        title: format!("Plan of {}", name(&report)),
        renew: None,
        main: view(&report, &wanted, &fields, &records, next.as_deref(), people),
    };
    Ok(page.show(&visit))
}

fn view(
    report: &ImportReport,
    wanted: &Wanted,
    fields: &[String],
    records: &[PlannedView],
    next: Option<&str>,
    people: bool,
) -> Markup {
    let here = address(report.id);
    html! {
        p.way { a href=(here) { (name(report)) } }
        h1 { "What each record would do" }
        form.filter method="get" action={ (here) "/changes" } role="search" aria-label="Planned records" {
            div {
                label for="outcome" { "Outcome" }
                select #outcome name="outcome" {
                    option value="" { "any" }
                    @for (name, outcome) in OUTCOMES {
                        option value=(name) selected[wanted.outcome == Some((name, outcome))] { (name) }
                    }
                }
            }
            div {
                label for="field" { "Changes the field" }
                input #field name="field" size="24" autocomplete="off" list="fields" value=[wanted.field.as_deref()];
                datalist #fields { @for field in fields { option value=(field) {} } }
            }
            button type="submit" { "Show" }
        }
        @if records.is_empty() && next.is_some() { p.calm { "None so far is like that; there are more." } }
        @else if records.is_empty() { p.calm { "No record is like that." } } @else { (table(records)) }
        @if let Some(next) = next { p.pages { a.button rel="next" href=(next) { "Next" } } }
        @if !people { p.hint { "Values are hidden: the token lacks the scope " code { "users:read" } "." } }
    }
}

fn table(records: &[PlannedView]) -> Markup {
    html! {
        div.scroll {
            table.records {
                thead {
                    tr {
                        th.number scope="col" { "Record" }
                        th.number scope="col" { "Line" }
                        th scope="col" { "Outcome" }
                        th scope="col" { "What changes" }
                    }
                }
                tbody {
                    @for record in records {
                        tr {
                            (place(record.record, record.line, record.outcome))
                            td.wide { (said(record)) }
                        }
                    }
                }
            }
        }
    }
}

fn said(record: &PlannedView) -> Markup {
    let value = |value: &Option<Value>| match value {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "nothing".to_owned(),
    };
    html! {
        @if let Some(reason) = record.reason { p { (reason.as_str()) } }
        @for change in &record.changes {
            p { code { (change.field) } " " del { (value(&change.before)) } " → " ins { (value(&change.after)) } }
        }
        @for error in &record.errors {
            p { @if let Some(field) = &error.field { code { (field) } " " } (words::message(&error.message)) }
        }
        @for warning in &record.warnings { p.warning { (words::message(warning)) } }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::console::imports::tests::report;

    #[test]
    fn changes_are_shown_as_text_with_the_filters_that_were_asked_for() {
        let record: PlannedView = serde_json::from_value(json!({
            "record": 1_007, "line": 8, "outcome": "updated", "reason": null, "user_id": null, "errors": [],
            "warnings": ["mind <b>"],
            "changes": [{"field": "metadata.<u>", "before": "<i>Rome", "after": ["x"]}, {"field": "given_name", "before": "Ann"}]
        }))
        .unwrap();
        let wanted = Wanted::of(&"/x?outcome=updated&field=metadata&after=nonsense".parse().unwrap());
        let next = wanted.next(report().id, "7.3".parse().unwrap());
        assert!(next.ends_with("/changes?after=7.3&outcome=updated&field=metadata"), "{next}");
        let shown = view(&report(), &wanted, &["metadata.<u>".to_owned()], &[record], Some(&next), true)
            .into_string();
        for part in ["1,007", "&lt;i&gt;Rome", "[&quot;x&quot;]", "nothing", "selected", "value=\"metadata\""]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("<u>") && !shown.contains("<i>") && !shown.contains("<b>"), "{shown}");
    }
}
