//! The tenant's catalog, shown and edited as a document.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use muster_domain::catalog::{Catalog, FieldError};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::json_words::in_words_of_json;
use muster_domain::token::Scope;
use muster_store::catalog::{self as store, Applied};
use sha2::{Digest, Sha256};

use super::error::ConsoleError;
use super::formatting::count;
use super::page::{Page, Section, secret};
use super::session::{Filled, Visit};
use super::words;
use crate::api::AppState;
use crate::api::catalog::CATALOG_BYTES;

/// The field of the form that says which catalog it changes.
const SEEN: &str = "seen";

/// Shows the catalog.
pub(super) async fn show(State(state): State<AppState>, visit: Visit) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::CatalogRead)?;
    let catalog = store::get(&state.0.store, tenant).await?;
    let text = serde_json::to_string_pretty(&catalog).unwrap_or_default();
    Ok(page(&visit, &catalog, &text, &[]))
}

/// Replaces the catalog with the one that was sent, or says why not, for example because it has changed since the form was opened.
pub(super) async fn replace(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, ConsoleError> {
    let filled = Filled::within(request, &state, CATALOG_BYTES as u64).await?;
    let tenant = filled.visit.may(Scope::CatalogWrite)?;
    let text = filled.field("catalog").unwrap_or_default();
    let seen = filled.field(SEEN).unwrap_or_default();
    let is_seen = |catalog: &Catalog| fingerprint(catalog) == seen || mutant(Mutant::CatalogSavedBlindly);
    let wrong = match Catalog::parse(text.as_bytes()) {
        Ok(catalog) => match store::apply_over(&state.0.store.by(&filled.visit.actor()), tenant, &catalog, is_seen).await? {
            Some(Applied::Catalog(_)) => return Ok(Redirect::to("/console/catalog").into_response()),
            Some(Applied::Refused(errors)) => errors.iter().map(FieldError::to_string).collect(),
            None => vec![
                "it was changed since you opened this page: its current content is under Names; saving again replaces it".to_owned(),
            ],
        },
        Err(error) => vec![format!("this is no catalog: {}", in_words_of_json(&error))],
    };
    let catalog = store::get(&state.0.store, tenant).await?;
    Ok(page(&filled.visit, &catalog, text, &wrong))
}

/// A fingerprint that distinguishes catalogs.
fn fingerprint(catalog: &Catalog) -> String {
    hex::encode(Sha256::digest(serde_json::to_vec(catalog).unwrap_or_default()))
}

fn page(visit: &Visit, catalog: &Catalog, text: &str, wrong: &[String]) -> Response {
    let main = view(visit, catalog, text, wrong);
    Page { section: Section::Catalog, title: "Catalog".into(), renew: None, main }.show(visit)
}

fn view(visit: &Visit, catalog: &Catalog, text: &str, wrong: &[String]) -> Markup {
    let lists = [
        ("Roles", &catalog.roles),
        ("Groups", &catalog.groups),
        ("Teams", &catalog.teams),
        ("Locations", &catalog.locations),
    ];
    html! {
        h1 { "Catalog" }
        p.facts { "What records may name. A name that is not here is an error of its record." }
        @if !wrong.is_empty() {
            div.note.wrong role="alert" { p { strong { "Nothing was changed." } } ul { @for text in wrong.iter().take(20) { li { (words::message(text)) } } } }
        }
        section aria-labelledby="names" {
            h2 #names { "Names" }
            dl.about {
                dt { "Organizations" }
                dd { @if catalog.organizations.is_empty() { "none" } @for one in catalog.organizations.iter().take(200) { p { (one.name) " " code { (one.slug) } } } }
                @for (name, list) in lists { dt { (name) } dd { (names(list)) } }
                dt { "Attributes" }
                dd { @if catalog.custom_attributes.is_empty() { "none" } @for name in catalog.custom_attributes.keys().take(200) { code { (name) } " " } }
            }
        }
        @if visit.allows(Scope::CatalogWrite) {
            section aria-labelledby="change" {
                h2 #change { "Change it" }
                form.document method="post" action="/console/catalog" {
                    (secret(visit))
                    input type="hidden" name=(SEEN) value=(fingerprint(catalog));
                    label for="catalog" { "The whole catalog, in the form of the API. What is left out is removed, unless users have it." }
                    textarea #catalog name="catalog" rows="18" spellcheck="false" { (text) }
                    button.main type="submit" { "Save" }
                }
            }
        }
    }
}

fn names(list: &[String]) -> Markup {
    html! {
        @if list.is_empty() { "none" } @else {
            (list.iter().take(200).map(String::as_str).collect::<Vec<_>>().join(", "))
            @if list.len() > 200 { " and " (count((list.len() - 200) as u64, "other", "others")) }
        }
    }
}
