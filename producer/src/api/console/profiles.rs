//! The tenant's import profiles: saved from a new import, seen, changed and deleted; the built-in ones can be looked at.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use muster_domain::catalog::FieldError;
use muster_domain::error::ErrorCode;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::TenantId;
use muster_domain::import_profile::{BUILTIN, Builtin};
use muster_domain::request::{as_object, checked_profile, options_over, pairs};
use muster_domain::tenant::Slug;
use muster_domain::token::Scope;
use muster_runtime::clock;
use muster_store::import_profiles::{self as store, Saved, SavedProfile};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::choices::{self, Form};
use super::error::ConsoleError;
use super::formatting::{ago, count};
use super::new_import::is_of_the_page;
use super::page::{Page, Section, secret};
use super::session::{Filled, Visit};
use super::words;
use crate::api::AppState;
use crate::api::error::ApiError;
use crate::api::params::{Params, invalid};
use crate::request::too_many_profiles;

/// The field of the form that says which profile it changes.
const SEEN: &str = "seen";
/// What columns mean, one a line.
const COLUMNS: &str = "columns";
/// Where these pages are.
const HERE: &str = "/console/profiles";

/// Shows the profiles.
pub(super) async fn list(State(state): State<AppState>, visit: Visit) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::ImportRead)?;
    listed(&state, &visit, tenant, None, "").await
}

async fn listed(
    state: &AppState,
    visit: &Visit,
    tenant: TenantId,
    wrong: Option<String>,
    given: &str,
) -> Result<Response, ConsoleError> {
    let own = store::list(&mut *state.0.store.reading(tenant).await?, tenant).await?;
    Ok(page("Profiles", all(&own, visit, wrong.as_deref(), given, clock::now()), visit))
}

/// Makes a profile without options, to be filled on its page.
pub(super) async fn create(State(state): State<AppState>, filled: Filled) -> Result<Response, ConsoleError> {
    let tenant = filled.visit.may(Scope::ImportWrite)?;
    let name = filled.field("name").unwrap_or_default().trim();
    match kept(&state, &filled.visit, tenant, name, Vec::new()).await {
        Ok(name) => Ok(Redirect::to(&format!("{HERE}/{name}")).into_response()),
        Err(ApiError::Invalid(wrong)) => {
            listed(&state, &filled.visit, tenant, Some(wrong.to_string()), name).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Saves what was chosen for a new import, under a name that is free: the script of that page asks.
pub(super) async fn keep(
    State(state): State<AppState>,
    visit: Visit,
    mut params: Params,
    request: Request,
) -> Result<Response, ConsoleError> {
    if !is_of_the_page(&visit, &request) {
        return Err(ConsoleError::Form);
    }
    let tenant = visit.may(Scope::ImportWrite)?;
    let answer = async {
        let name: String = params.take("as")?.unwrap_or_default();
        let profile: Option<String> = params.take("profile")?;
        let given = params.into_pairs();
        let under = match &profile {
            Some(profile) => of_name(&state, tenant, profile).await?,
            None => Vec::new(),
        };
        kept(&state, &visit, tenant, &name, options_over(&under, &given)?).await
    };
    Ok(match answer.await {
        Ok(name) => (StatusCode::CREATED, Json(json!({ "name": name.as_str() }))).into_response(),
        Err(error) => {
            // The script reads errors as all clients of the API do. What somebody entered is part of the conversation: a status of
            // failure would stand in the browser's console.
            let mut answer = error.into_response();
            if answer.status().is_client_error() {
                *answer.status_mut() = StatusCode::OK;
            }
            answer
        }
    })
}

/// The options of a profile, the tenant's own or a built-in one.
async fn of_name(state: &AppState, tenant: TenantId, name: &str) -> Result<Vec<(String, String)>, ApiError> {
    if let Some(builtin) = Builtin::find(name) {
        return Ok(builtin.pairs());
    }
    let missing = || invalid("profile", "there is no such profile any more");
    let slug: Slug = name.parse().map_err(|_| missing())?;
    let saved = store::get(&mut *state.0.store.reading(tenant).await?, tenant, &slug).await?;
    saved.map(|saved| saved.options).ok_or_else(missing)
}

/// Saves a profile whose name is free.
async fn kept(
    state: &AppState,
    visit: &Visit,
    tenant: TenantId,
    name: &str,
    options: Vec<(String, String)>,
) -> Result<Slug, ApiError> {
    let name = checked_profile(name, &options)?;
    let is_free = |there: Option<&SavedProfile>| there.is_none() || mutant(Mutant::ProfileSavedBlindly);
    match store::save_over(&state.0.store.by(&visit.actor()), tenant, &name, &options, is_free).await? {
        Saved::Done(_) => Ok(name),
        Saved::Changed => {
            Err(invalid("name", "is that of another profile: choose another, or change that one on its page"))
        }
        Saved::TooMany => Err(invalid("name", too_many_profiles())),
    }
}

/// Shows a profile.
pub(super) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::ImportRead)?;
    if let Some(builtin) = Builtin::find(&name) {
        return Ok(page(builtin.name, of_a_product(builtin), &visit));
    }
    let saved = found(&state, tenant, &name).await?;
    let main = one(&saved, &saved.options, &visit, None, clock::now());
    Ok(page(&saved.name, main, &visit))
}

async fn found(state: &AppState, tenant: TenantId, name: &str) -> Result<SavedProfile, ApiError> {
    let slug: Slug = name.parse().map_err(|_| ApiError::NotFound)?;
    let saved = store::get(&mut *state.0.store.reading(tenant).await?, tenant, &slug).await?;
    saved.ok_or(ApiError::NotFound)
}

/// Makes a profile what its form says, or says why not: also where it is another by now than the one that the form was filled for.
pub(super) async fn save(
    State(state): State<AppState>,
    Path(name): Path<String>,
    filled: Filled,
) -> Result<Response, ConsoleError> {
    let tenant = filled.visit.may(Scope::ImportWrite)?;
    let saved = found(&state, tenant, &name).await?;
    let seen = filled.field(SEEN).unwrap_or_default();
    let is_seen = |there: Option<&SavedProfile>| {
        there.is_some_and(|there| fingerprint(&there.options) == seen) || mutant(Mutant::ProfileSavedBlindly)
    };
    let (options, checked) = asked(&filled);
    let checked = checked.and_then(|()| checked_profile(&saved.name, &options));
    let wrong = match checked {
        Ok(slug) => {
            match store::save_over(&state.0.store.by(&filled.visit.actor()), tenant, &slug, &options, is_seen)
                .await?
            {
                Saved::Done(_) => return Ok(Redirect::to(&format!("{HERE}/{slug}")).into_response()),
                Saved::Changed => {
                    "it was changed since you opened this page: saving again replaces what it is now"
                        .to_owned()
                }
                Saved::TooMany => too_many_profiles(),
            }
        }
        Err(wrong) => wrong.to_string(),
    };
    let saved = found(&state, tenant, &name).await?;
    let main = one(&saved, &options, &filled.visit, Some(&wrong), clock::now());
    Ok(page(&saved.name, main, &filled.visit))
}

/// What a form asks for; and whether its columns can be read.
fn asked(filled: &Filled) -> (Vec<(String, String)>, Result<(), FieldError>) {
    let given = |name: &str| filled.field(name).map(str::trim).filter(|text| !text.is_empty());
    let mut options: Vec<(String, String)> = Form::Profile
        .fields()
        .filter_map(|(option, _)| Some((option.name.to_owned(), given(option.name)?.to_owned())))
        .collect();
    let Some(text) = given(COLUMNS) else { return (options, Ok(())) };
    let line = |line: &str| {
        let (name, meaning) = line.rsplit_once('=')?;
        Some((name.trim().to_owned(), meaning.trim().to_owned()))
    };
    let lines: Option<Vec<(String, String)>> =
        text.lines().filter(|line| !line.trim().is_empty()).map(line).collect();
    match lines {
        Some(lines) => {
            options.push((COLUMNS.to_owned(), as_object(&lines)));
            (options, Ok(()))
        }
        // As it was written, so that it stands there again.
        None => {
            options.push((COLUMNS.to_owned(), text.to_owned()));
            let wrong = "each line must be the name of a column, =, and what it means";
            (options, Err(FieldError::new(ErrorCode::InvalidRequest, COLUMNS, wrong)))
        }
    }
}

/// Deletes a profile. Imports that used it keep their options.
pub(super) async fn delete(
    State(state): State<AppState>,
    Path(name): Path<String>,
    filled: Filled,
) -> Result<Response, ConsoleError> {
    let tenant = filled.visit.may(Scope::ImportWrite)?;
    let slug: Slug = name.parse().map_err(|_| ApiError::NotFound)?;
    match store::delete(&state.0.store.by(&filled.visit.actor()), tenant, &slug).await? {
        true => Ok(Redirect::to(HERE).into_response()),
        false => Err(ApiError::NotFound.into()),
    }
}

/// What tells the options of one profile from those of another.
fn fingerprint(options: &[(String, String)]) -> String {
    hex::encode(Sha256::digest(serde_json::to_vec(options).unwrap_or_default()))
}

fn page(title: &str, main: Markup, visit: &Visit) -> Response {
    Page { section: Section::Profiles, title: title.into(), renew: None, main }.show(visit)
}

fn all(own: &[SavedProfile], visit: &Visit, wrong: Option<&str>, given: &str, now: DateTime<Utc>) -> Markup {
    html! {
        h1 { "Profiles" }
        p.facts { "Named sets of options for files of one kind. What is chosen beside a profile counts more." }
        @if let Some(wrong) = wrong { p.note.wrong role="alert" { strong { "No profile was made. " } (words::message(wrong)) } }
        section aria-labelledby="own" {
            h2 #own { "Your own" }
            @if own.is_empty() { p.calm { "There are none yet. The page of a new import saves what was chosen there as one." } } @else {
                div.scroll {
                    table {
                        thead { tr { th scope="col" { "Name" } th scope="col" { "Options" } th scope="col" { "Saved" } } }
                        tbody { @for one in own { tr {
                            th scope="row" { a href={ (HERE) "/" (one.name) } { (one.name) } }
                            td data-name="Options" { (short(&one.options)) }
                            td data-name="Saved" { (ago(now, one.updated_at)) }
                        } } }
                    }
                }
            }
            @if visit.allows(Scope::ImportWrite) {
                form.filter method="post" action=(HERE) {
                    (secret(visit))
                    div { label for="name" { "A new one, called" } input #name name="name" required maxlength="63" value=(given) autocomplete="off" spellcheck="false"; }
                    button type="submit" { "Make it" }
                }
            }
        }
        section aria-labelledby="built-in" {
            h2 #built-in { "Built in" }
            ul { @for one in BUILTIN { li { a href={ (HERE) "/" (one.name) } { (one.title) } } } }
        }
    }
}

/// The options in a few words.
fn short(options: &[(String, String)]) -> Markup {
    html! {
        @if options.is_empty() { "none" }
        @for (name, value) in options {
            @match (name.as_str(), pairs(value)) {
                (COLUMNS, Ok(columns)) => { (count(columns.len() as u64, "column", "columns")) " " }
                _ => { code { (name) "=" (value) } " " }
            }
        }
    }
}

/// The value of an option as a form has it: columns one a line, fields that do something with commas between them.
fn as_field(name: &str, value: &str) -> String {
    let between = match name {
        COLUMNS => ("\n", " = "),
        "behaviours" => (",", "="),
        _ => return value.to_owned(),
    };
    let Ok(all) = pairs(value) else { return value.to_owned() };
    let all: Vec<String> =
        all.iter().map(|(name, meaning)| format!("{name}{}{meaning}", between.1)).collect();
    all.join(between.0)
}

fn one(
    saved: &SavedProfile,
    options: &[(String, String)],
    visit: &Visit,
    wrong: Option<&str>,
    now: DateTime<Utc>,
) -> Markup {
    let chosen: Vec<(String, String)> =
        options.iter().map(|(name, value)| (name.clone(), as_field(name, value))).collect();
    let columns = super::session::field(&chosen, COLUMNS).unwrap_or_default();
    html! {
        p.way { a href=(HERE) { "Profiles" } }
        h1 { (saved.name) }
        p.facts { "Saved " (ago(now, saved.updated_at)) }
        @if let Some(wrong) = wrong { p.note.wrong role="alert" { strong { "Nothing was changed. " } (words::message(wrong)) } }
        @if visit.allows(Scope::ImportWrite) {
            form.profile method="post" action={ (HERE) "/" (saved.name) } {
                (secret(visit))
                input type="hidden" name=(SEEN) value=(fingerprint(&saved.options));
                section aria-labelledby="options" { h2 #options { "Options" } (choices::view(Form::Profile, &chosen)) }
                section aria-labelledby="meanings" {
                    h2 #meanings { "Columns" }
                    label for=(COLUMNS) { "One a line: its name in the file, =, and what it means; nothing after the sign leaves it out" }
                    textarea id=(COLUMNS) name=(COLUMNS) rows="8" spellcheck="false" placeholder="Dienstadresse = email" { (columns) }
                }
                button.main type="submit" { "Save" }
            }
            div.levers {
                details.confirm {
                    summary.button { "Delete…" }
                    form method="post" action={ (HERE) "/" (saved.name) "/delete" } {
                        (secret(visit))
                        p { "Imports that used it keep their options." }
                        button.danger type="submit" { "Delete " (saved.name) }
                    }
                }
            }
        } @else { (read_only(options)) }
    }
}

fn of_a_product(builtin: &Builtin) -> Markup {
    html! {
        p.way { a href=(HERE) { "Profiles" } }
        h1 { (builtin.title) }
        p.facts { (builtin.from) " Built in: to change it, choose it for a new import and save what you choose beside it under a name of your own." }
        @if !builtin.note.is_empty() { p.hint { (builtin.note) } }
        (read_only(&builtin.pairs()))
    }
}

fn read_only(options: &[(String, String)]) -> Markup {
    html! {
        section aria-labelledby="options" {
            h2 #options { "Options" }
            @if options.is_empty() { p.calm { "It has none." } }
            dl.about { @for (name, value) in options { dt { code { (name) } } dd { @for line in as_field(name, value).lines() { p { (line) } } } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_in_a_form_as_people_write_them() {
        assert_eq!(as_field("columns", r#"{"E-Mail":"email","A=b":""}"#), "E-Mail = email\nA=b = ");
        assert_eq!(
            as_field("behaviours", r#"{"given_name":"ignore","name":"keep"}"#),
            "given_name=ignore,name=keep"
        );
        assert_eq!(as_field("dates", "dmy"), "dmy");
        assert_eq!(as_field("columns", "nothing that can be read"), "nothing that can be read");
    }

    #[test]
    fn a_profile_is_told_in_a_few_words_and_nothing_of_it_is_markup() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let shown = short(&[pair("columns", "a=email,b=name"), pair("sheet", "<b>")]).into_string();
        assert!(shown.contains("2 columns") && shown.contains("sheet=&lt;b&gt;"), "{shown}");
        assert_eq!(short(&[]).into_string(), "none");
    }
}
