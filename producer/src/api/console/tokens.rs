//! The tenant's tokens: listed, made and revoked. The text of a new one is shown once, on the page that answers its form.
//!
//! Nobody gives a token what their own one may not do, and one that opens all tenants is made only by such a one in its own tenant.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::TenantId;
use muster_domain::quantity::parse_duration;
use muster_domain::token::{NAME_CHARS, Scope, UnknownScope, checked_name, expires_at};
use muster_runtime::clock;
use muster_store::tokens::{self, NewToken, TokenInfo};

use super::error::ConsoleError;
use super::formatting::{ago, moment};
use super::page::{Page, Section, secret, sentence};
use super::session::{Filled, Visit};
use crate::api::AppState;
use crate::api::error::ApiError;
use crate::api::params::invalid;

/// How long a token is valid, where nobody says otherwise.
const USUAL_LIFE: &str = "90d";

/// What is said above the list.
#[derive(Debug)]
enum Said {
    /// Nothing.
    Nothing,
    /// Why no token was made.
    Wrong(String),
    /// The name of the new token, and its text.
    Made(String, String),
}

/// The form of a new token, as it was filled in.
#[derive(Debug)]
struct Asked {
    name: String,
    scopes: Vec<Scope>,
    valid_for: String,
}

impl Default for Asked {
    fn default() -> Self {
        Self { name: String::new(), scopes: Vec::new(), valid_for: USUAL_LIFE.into() }
    }
}

impl Asked {
    /// What the form says. A scope that there is not, or that the visitor may not give, was not on the page.
    fn of(filled: &Filled) -> Result<Self, ApiError> {
        let mut scopes = Vec::new();
        for text in filled.values("scope") {
            let scope: Scope =
                text.parse().map_err(|wrong: UnknownScope| invalid("scope", wrong.to_string()))?;
            if !filled.visit.may_grant(scope) && !mutant(Mutant::ScopesUnchecked) {
                return Err(ApiError::Forbidden(scope));
            }
            scopes.push(scope);
        }
        scopes.sort_unstable();
        scopes.dedup();
        let given = |name: &str| filled.field(name).unwrap_or_default().trim().to_owned();
        Ok(Self { name: given("name"), scopes, valid_for: given("valid_for") })
    }

    /// Name and expiry of the new token, or what is wrong with the form.
    fn checked(&self, now: DateTime<Utc>) -> Result<(&str, Option<DateTime<Utc>>), String> {
        let name = checked_name(&self.name).map_err(|wrong| format!("the name {wrong}"))?;
        if self.scopes.is_empty() {
            return Err("choose at least one thing that it may do".into());
        }
        let end = |valid_for: Duration| expires_at(now, valid_for).map_err(str::to_owned);
        let expiry = match self.valid_for.as_str() {
            "" => None,
            text => Some(
                parse_duration(text)
                    .and_then(end)
                    .map_err(|wrong| format!("how long it is valid {wrong}"))?,
            ),
        };
        Ok((name, expiry))
    }
}

/// Shows the tokens.
pub(super) async fn list(State(state): State<AppState>, visit: Visit) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::Ops)?;
    shown(&state, tenant, &visit, &Said::Nothing, &Asked::default()).await
}

/// Makes a token, and shows it; or says why not.
pub(super) async fn create(State(state): State<AppState>, filled: Filled) -> Result<Response, ConsoleError> {
    let tenant = filled.visit.may(Scope::Ops)?;
    let asked = Asked::of(&filled)?;
    let said = match asked.checked(clock::now()) {
        Err(wrong) => Said::Wrong(wrong),
        Ok((name, expires_at)) => {
            let store = state.0.store.by(&filled.visit.actor());
            match tokens::create_for(&store, tenant, None, name, &asked.scopes, expires_at).await? {
                NewToken::Created(info, token) => {
                    tracing::info!(tenant = tenant.get(), token = %info.id, "a token was made at the console");
                    Said::Made(info.name, token.reveal().to_owned())
                }
                NewToken::NameTaken(info) => Said::Wrong(taken(&info)),
            }
        }
    };
    let asked = if matches!(said, Said::Made(..)) { Asked::default() } else { asked };
    shown(&state, tenant, &filled.visit, &said, &asked).await
}

fn taken(info: &TokenInfo) -> String {
    let revoked = if info.revoked_at.is_some() { ", which is revoked" } else { "" };
    format!("there is a token named {} already{revoked}: choose another name", info.name)
}

/// Revokes a token permanently.
pub(super) async fn revoke(State(state): State<AppState>, filled: Filled) -> Result<Response, ConsoleError> {
    let tenant = filled.visit.may(Scope::Ops)?;
    let name = filled.field("name").unwrap_or_default();
    let revoked = tokens::revoke(&state.0.store.by(&filled.visit.actor()), tenant, name)
        .await?
        .ok_or(ApiError::NotFound)?;
    tracing::info!(tenant = tenant.get(), token = %revoked.id, "a token was revoked at the console");
    Ok(Redirect::to("/console/tokens").into_response())
}

async fn shown(
    state: &AppState,
    tenant: TenantId,
    visit: &Visit,
    said: &Said,
    asked: &Asked,
) -> Result<Response, ConsoleError> {
    let found = tokens::list(state.0.store.pool(), tenant).await?;
    let offered: Vec<Scope> = Scope::ALL.iter().copied().filter(|scope| visit.may_grant(*scope)).collect();
    let form = form(&secret(visit), &offered, asked);
    let main = view(&found, &secret(visit), said, &form, clock::now());
    Ok(Page { section: Section::Tokens, title: "Tokens".into(), renew: None, main }.show(visit))
}

fn view(found: &[TokenInfo], secret: &Markup, said: &Said, form: &Markup, now: DateTime<Utc>) -> Markup {
    html! {
        h1 { "Tokens" }
        p.facts { "What programs and people show to do something in this tenant. A revoked one opens nothing any more." }
        @match said {
            Said::Nothing => {}
            Said::Wrong(why) => { div.note.wrong role="alert" { p { strong { "No token was made." } " " (sentence(why)) } } }
            Said::Made(name, token) => {
                div.note role="status" {
                    p { strong { "The token " (name) " is made." } " It is shown this once and kept nowhere: copy it now." }
                    pre #made { (token) }
                }
            }
        }
        div.scroll {
            table.tokens {
                thead {
                    tr { th scope="col" { "Name" } th scope="col" { "May" } th scope="col" { "Last used" } th scope="col" { "Ends" } th scope="col" { span.unseen { "What you can do" } } }
                }
                tbody { @for token in found { (row(token, secret, now)) } }
            }
        }
        (form)
    }
}

fn form(secret: &Markup, offered: &[Scope], asked: &Asked) -> Markup {
    html! {
        section aria-labelledby="new" {
            h2 #new { "A new one" }
            form.document method="post" action="/console/tokens" autocomplete="off" {
                (secret)
                label for="name" { "Name, new in the tenant" }
                input #name name="name" required maxlength=(NAME_CHARS) value=(asked.name) placeholder="nightly";
                fieldset {
                    legend { "What it may do: what your own token may, and no more" }
                    @for scope in offered {
                        label.tick {
                            input type="checkbox" name="scope" value=(scope) checked[asked.scopes.contains(scope)];
                            span { code { (scope) } " " (meaning(*scope)) }
                        }
                    }
                }
                label for="valid_for" { "How long it is valid, as in 12h or 90d; nothing: until it is revoked" }
                input #valid_for name="valid_for" maxlength="32" value=(asked.valid_for);
                button.main type="submit" { "Make it" }
            }
        }
    }
}

/// What a scope opens, in a few words.
fn meaning(scope: Scope) -> &'static str {
    match scope {
        Scope::ImportWrite => "import files, and steer imports",
        Scope::ImportRead => "see imports and their records, with people’s values hidden",
        Scope::UsersRead => "see users and people’s values",
        Scope::UsersWrite => "change single users",
        Scope::UsersErase => "erase users and every trace of them",
        Scope::CatalogRead => "see the catalog",
        Scope::CatalogWrite => "change the catalog",
        Scope::WebhooksRead => "see webhooks and their deliveries",
        Scope::WebhooksWrite => "change webhooks and their secrets",
        Scope::Ops => "everything above; also queue, tokens and audit of this tenant",
        Scope::TenantsAll => "at the console, all that is ticked above in every other tenant too",
    }
}

fn row(token: &TokenInfo, secret: &Markup, now: DateTime<Utc>) -> Markup {
    html! {
        tr {
            th scope="row" { (token.name) @if let Some(organization) = &token.organization { " " code { (organization) } } }
            td data-name="May" { @for scope in &token.scopes { code { (scope) } " " } }
            td data-name="Last used" { @match token.last_used_at { Some(at) => { (ago(now, at)) } None => { "never" } } }
            td data-name="Ends" {
                @match (token.revoked_at, token.expires_at) {
                    (Some(at), _) => { "revoked " (ago(now, at)) }
                    (None, Some(at)) => { (moment(at)) }
                    (None, None) => { "never" }
                }
            }
            td {
                @if token.revoked_at.is_none() {
                    details.confirm {
                        summary.button aria-label={ "Revoke " (token.name) } { "Revoke…" }
                        form method="post" action="/console/tokens/revoke" {
                            (secret)
                            input type="hidden" name="name" value=(token.name);
                            p { "Clients that use it lose access at once and permanently." }
                            button.danger type="submit" { "Revoke " (token.name) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, scopes: &[Scope], valid_for: &str) -> Asked {
        Asked { name: name.into(), scopes: scopes.to_vec(), valid_for: valid_for.into() }
    }

    #[test]
    fn a_form_needs_a_name_a_scope_and_a_time_that_there_is() {
        let now = clock::now();
        let good = asked("nightly", &[Scope::ImportRead], "2d");
        assert_eq!(good.checked(now), Ok(("nightly", Some(now + chrono::TimeDelta::days(2)))));
        assert_eq!(asked("nightly", &[Scope::Ops], "").checked(now), Ok(("nightly", None)));
        for (wrong, why) in [
            (asked("", &[Scope::Ops], "2d"), "the name must not be empty"),
            (asked("a", &[], "2d"), "choose at least one"),
            (asked("a", &[Scope::Ops], "soon"), "how long it is valid must be a time"),
            (asked("a", &[Scope::Ops], "0d"), "how long it is valid must be a time"),
            (asked("a", &[Scope::Ops], "99999999d"), "how long it is valid must be 36500d at most"),
        ] {
            assert!(wrong.checked(now).unwrap_err().contains(why), "{wrong:?}");
        }
    }

    #[test]
    fn every_box_has_its_label_and_what_was_ticked_stays() {
        let shown = form(&html! {}, &[Scope::ImportRead, Scope::Ops], &asked("<b>", &[Scope::Ops], "1h"));
        let shown = shown.into_string();
        assert!(shown.contains("value=\"ops\" checked") && shown.contains("value=\"&lt;b&gt;\""), "{shown}");
        assert!(
            !shown.contains("value=\"import:read\" checked") && !shown.contains("tenants:all"),
            "{shown}"
        );
        assert_eq!(
            shown.matches("type=\"checkbox\"").count(),
            shown.matches("<label class=\"tick\">").count()
        );
    }
}
