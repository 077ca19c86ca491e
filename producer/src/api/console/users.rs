//! Users: a user is found by an identifier and shown with all data except secrets.

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use muster_domain::id::UserId;
use muster_domain::options::IdentifierField;
use muster_domain::token::Scope;
use muster_domain::user::User;
use muster_store::history::{self, Cursor};
use muster_store::users;
use serde_json::Value;

use super::error::ConsoleError;
use super::page::{Page, Section};
use super::session::{Visit, field, query};
use crate::api::AppState;
use crate::api::error::ApiError;
use crate::api::users::key;

/// How much of a user's history is shown at once.
const HISTORY: usize = 20;

/// Finds a user, or asks for one.
pub(super) async fn find(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::UsersRead)?;
    let asked = query(&uri);
    let text = field(&asked, "q").map(str::trim).filter(|text| !text.is_empty());
    if let Some(text) = text {
        for by in IdentifierField::ALL {
            let Some(key) = key(*by, text) else { continue };
            let found = users::find(&mut *state.0.store.reading(tenant).await?, tenant, *by, &key).await?;
            if let Some(user) = found {
                return Ok(Redirect::to(&format!("/console/users/{}", user.id)).into_response());
            }
        }
        if let Ok(id) = text.parse::<UserId>()
            && users::get(&mut *state.0.store.reading(tenant).await?, tenant, id).await?.is_some()
        {
            return Ok(Redirect::to(&format!("/console/users/{id}")).into_response());
        }
    }
    let main = html! {
        h1 { "Users" }
        (search(text))
        @if text.is_some() { p.calm { "There is no such user." } }
    };
    Ok(Page { section: Section::Users, title: "Users".into(), renew: None, main }.show(&visit))
}

/// Shows a user.
pub(super) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::UsersRead)?;
    let id: UserId = id.parse().map_err(|_| ApiError::NotFound)?;
    let found = users::get(&mut *state.0.store.reading(tenant).await?, tenant, id).await?;
    let user = found.ok_or(ApiError::NotFound)?;
    let asked = query(&uri);
    let after: Option<Cursor> = field(&asked, "after").and_then(|after| after.parse().ok());
    let history = history::page(&state.0.store, tenant, id, after, HISTORY).await?;
    let here = format!("/console/users/{id}");
    let main = html! {
        (view(&user))
        @if let Some(history) = &history { (super::history::view(history, &here, visit.allows(Scope::ImportRead))) }
    };
    let page = Page { section: Section::Users, title: called(&user), renew: None, main };
    Ok(page.show(&visit))
}

fn search(text: Option<&str>) -> Markup {
    html! {
        form.filter method="get" action="/console/users" role="search" aria-label="Users" {
            div { label for="q" { "E-mail address, phone number, user name or id" } input #q type="search" name="q" size="40" value=[text] autocomplete="off"; }
            button type="submit" { "Find" }
        }
    }
}

/// What a user is called.
fn called(user: &User) -> String {
    let names: Vec<&str> =
        [&user.given_name, &user.family_name].into_iter().flatten().map(String::as_str).collect();
    if !names.is_empty() {
        return names.join(" ");
    }
    [&user.email, &user.preferred_username, &user.phone_number]
        .into_iter()
        .flatten()
        .next()
        .cloned()
        .unwrap_or_else(|| "User".into())
}

fn view(user: &User) -> Markup {
    let told: Vec<(String, Value)> = match serde_json::to_value(user) {
        Ok(Value::Object(fields)) => fields.into_iter().filter(|(_, value)| !is_nothing(value)).collect(),
        _ => Vec::new(),
    };
    html! {
        p.way { a href="/console/users" { "Users" } }
        h1 { (called(user)) }
        section aria-label="Fields" {
            dl.about { @for (name, value) in &told { dt { code { (name) } } dd { (shown(value)) } } }
        }
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.values().all(is_nothing),
        _ => false,
    }
}

/// A value as people read it.
fn shown(value: &Value) -> Markup {
    html! {
        @match value {
            Value::String(text) => { (text) }
            Value::Array(list) => { ul { @for one in list { li { (shown(one)) } } } }
            Value::Object(members) => {
                dl.about { @for (name, value) in members.iter().filter(|(_, value)| !is_nothing(value)) { dt { code { (name) } } dd { (shown(value)) } } }
            }
            other => { (other) }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_user_is_shown_without_what_is_not_there_and_as_text() {
        let user: User = serde_json::from_value(json!({
            "id": "0190a5f0-7b7c-7000-8000-000000000001", "email": "a@b.co", "phone_number": null, "preferred_username": null,
            "given_name": "<b>Ann", "family_name": null, "metadata": {"cost": {"centre": 7}}, "memberships": [], "version": 1,
            "email_verified": false, "phone_number_verified": false, "roles": ["Agent"], "groups": [], "teams": [], "location": null,
            "disabled": false, "disabled_at": null, "account_valid_from": null, "account_valid_until": null, "locked": false,
            "mfa": {"email": null, "phone_number": null}, "addresses": {}, "agent": {},
            "created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-01T00:00:00Z"
        }))
        .unwrap();
        let shown = view(&user).into_string();
        assert!(
            shown.contains("&lt;b&gt;Ann") && shown.contains("centre") && shown.contains("Agent"),
            "{shown}"
        );
        assert!(
            !shown.contains("mfa") && !shown.contains("phone_number</code>") && !shown.contains("<b>"),
            "{shown}"
        );
        assert_eq!(called(&User { given_name: None, ..user }), "a@b.co");
    }
}
