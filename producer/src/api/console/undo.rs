//! Undoing an import: first what could be undone, then the undo, which is an import of its own.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use muster_domain::error::ErrorCode;
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::token::Scope;
use muster_runtime::clock;
use muster_store::reports;

use super::error::ConsoleError;
use super::formatting::{ago, count, number};
use super::imports::{address, name};
use super::page::{Page, Section, secret};
use super::session::{Filled, Visit};
use crate::api::AppState;
use crate::api::error::ApiError;
use crate::api::params::{Id, Params};
use crate::api::undo::{self, UndoPreview};

/// Shows what an undo could do. Nothing is changed.
pub(super) async fn preview(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::ImportRead)?;
    let import = import(&id)?;
    let report = reports::import(&state.0.store, tenant, import).await?.ok_or(ApiError::NotFound)?;
    let Json(found) = undo::preview(State(state), visit.caller(), Id(import), Params::none()).await?;
    let form = visit.allows(Scope::ImportWrite).then(|| secret(&visit));
    let main = view(&found, (&name(&report), report.state), form.as_ref(), clock::now());
    let title = format!("Undo {}", name(&report));
    Ok(Page { section: Section::Imports, title, renew: None, main }.show(&visit))
}

/// Opens the undo, which is planned first, and shows it.
pub(super) async fn open(
    State(state): State<AppState>,
    Path(id): Path<String>,
    filled: Filled,
) -> Result<Response, ConsoleError> {
    let (caller, import) = (filled.visit.caller(), import(&id)?);
    let (_, Json(opened)) = undo::create(State(state), caller, Id(import), Params::none()).await?;
    Ok(Redirect::to(&address(opened.import.id)).into_response())
}

fn import(id: &str) -> Result<ImportId, ApiError> {
    id.parse().map_err(|_| ApiError::NotFound)
}

fn view(
    found: &UndoPreview,
    (name, state): (&str, ImportState),
    form: Option<&Markup>,
    now: DateTime<Utc>,
) -> Markup {
    let here = address(ImportId::new(found.import));
    html! {
        p.way { a href=(here) { (name) } }
        h1 { "Undo" }
        @if let Some(code) = found.refused {
            p.note.wrong {
                strong { "It cannot be undone. " }
                @if code == ErrorCode::StateConflict { "The import is " (state) ". Cancel it first, or wait for its end, then undo it." }
                @else { (code.explanation()) }
            }
        }
        @if let Some(undo) = found.undone_by {
            p.note { a href=(address(ImportId::new(undo))) { "The undo that there is" } }
        }
        section aria-label="What could be undone" {
            dl.about {
                dt { "Records that inserted users" } dd { (number(found.inserted)) " · these are deleted, unless somebody changed them since" }
                dt { "Records that changed users" } dd { (number(found.updated)) " · these are as before, but for what somebody changed since" }
                @if found.gone > 0 { dt { "Not kept any more" } dd { (count(found.gone, "change", "changes")) } }
                @if let Some(ended) = found.ended_at { dt { "Ended" } dd { (ago(now, ended)) } }
                @if !found.later.is_empty() {
                    dt { "Later imports" }
                    dd {
                        @for later in &found.later { p { a href=(address(ImportId::new(*later))) { code { (later) } } } }
                        p.hint { "What they changed of the same users is left as it is." }
                    }
                }
            }
        }
        @if let Some(secret) = form.filter(|_| found.refused.is_none()) {
            form.levers method="post" action={ (here) "/undo" } {
                (secret)
                button.danger type="submit" { "Undo this import" }
            }
            p.hint { "It is planned first: nothing changes until you apply the plan. The undo is an import: it can be watched, its records tell what was left alone, and it can be undone itself." }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_cannot_be_undone_has_no_button() {
        let id = Uuid::from_u128(1);
        let found = UndoPreview {
            import: id,
            refused: None,
            undone_by: None,
            inserted: 1_200,
            updated: 3,
            gone: 0,
            ended_at: None,
            later: vec![id],
        };
        let form = html! { "secret" };
        let shown =
            view(&found, ("<b>.csv", ImportState::Completed), Some(&form), clock::now()).into_string();
        assert!(
            shown.contains("1,200") && shown.contains("Undo this import") && !shown.contains("<b>"),
            "{shown}"
        );
        let refused = UndoPreview { refused: Some(ErrorCode::StateConflict), ..found };
        let shown = view(&refused, ("x", ImportState::Paused), Some(&form), clock::now()).into_string();
        assert!(
            shown.contains("It cannot be undone.")
                && shown.contains("is paused. Cancel it first")
                && !shown.contains("Undo this import"),
            "{shown}"
        );
    }
}
