//! The tenant's tokens: listed, made and revoked. The text of a new one is shown once, on the page that answers its form.
//!
//! Nobody gives a token what their own one may not do, and one that opens all tenants is made only by such a one in its own tenant, and
//! revoked there. No token is made that lasts longer than its maker's one, and in a tenant that was opened none without an end.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, TimeDelta, Utc};
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
/// How long a token is valid at most that is made in a tenant that was opened.
const LIFE_ELSEWHERE: TimeDelta = TimeDelta::days(90);

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

/// How long a token may be valid that a visitor makes.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// When the visitor's own one ends; none for never.
    end: Option<DateTime<Utc>>,
    /// Whether it is made in a tenant that was opened.
    elsewhere: bool,
}

impl Bounds {
    fn of(visit: &Visit) -> Self {
        Self { end: visit.ends_at(), elsewhere: visit.opened().is_some() }
    }

    /// What the form says of it.
    fn label(self) -> &'static str {
        match self {
            Self { elsewhere: true, .. } => {
                "How long it is valid, as in 12h; in this tenant, which is not your token’s own, 90d at most"
            }
            Self { end: Some(_), .. } => {
                "How long it is valid, as in 12h or 90d; nothing: as long as your own token"
            }
            Self { end: None, .. } => "How long it is valid, as in 12h or 90d; nothing: until it is revoked",
        }
    }
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
    fn checked(&self, bounds: Bounds, now: DateTime<Utc>) -> Result<(&str, Option<DateTime<Utc>>), String> {
        let name = checked_name(&self.name).map_err(|wrong| format!("the name {wrong}"))?;
        if self.scopes.is_empty() {
            return Err("choose at least one thing that it may do".into());
        }
        let end = |valid_for: Duration| expires_at(now, valid_for).map_err(str::to_owned);
        let expiry = match self.valid_for.as_str() {
            "" if bounds.elsewhere => {
                return Err("say how long it is valid: this tenant is not your token’s own".into());
            }
            "" => None,
            text => Some(
                parse_duration(text)
                    .and_then(end)
                    .map_err(|wrong| format!("how long it is valid {wrong}"))?,
            ),
        };
        if bounds.elsewhere && expiry.is_some_and(|expiry| expiry > now + LIFE_ELSEWHERE) {
            let why = "how long it is valid must be 90d at most: this tenant is not your token’s own";
            return Err(why.into());
        }
        Ok((name, [expiry, bounds.end].into_iter().flatten().min()))
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
    let said = match asked.checked(Bounds::of(&filled.visit), clock::now()) {
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
    let found = tokens::find_by_name(state.0.store.pool(), tenant, name).await?.ok_or(ApiError::NotFound)?;
    if let Some(scope) = beyond(&found, &filled.visit) {
        return Err(ApiError::Forbidden(scope).into());
    }
    let revoked = tokens::revoke(&state.0.store.by(&filled.visit.actor()), tenant, name)
        .await?
        .ok_or(ApiError::NotFound)?;
    tracing::info!(tenant = tenant.get(), token = %revoked.id, "a token was revoked at the console");
    Ok(Redirect::to("/console/tokens").into_response())
}

/// What a token may and the visitor may not give: whoever could not have made it does not revoke it.
fn beyond(token: &TokenInfo, visit: &Visit) -> Option<Scope> {
    token.scopes.iter().copied().find(|scope| !visit.may_grant(*scope))
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
    let form = form(&secret(visit), &offered, asked, Bounds::of(visit));
    let main = view(&found, visit, said, &form, clock::now());
    Ok(Page { section: Section::Tokens, title: "Tokens".into(), renew: None, main }.show(visit))
}

fn view(found: &[TokenInfo], visit: &Visit, said: &Said, form: &Markup, now: DateTime<Utc>) -> Markup {
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
                tbody { @for token in found { (row(token, visit, now)) } }
            }
        }
        (form)
    }
}

fn form(secret: &Markup, offered: &[Scope], asked: &Asked, bounds: Bounds) -> Markup {
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
                label for="valid_for" { (bounds.label()) }
                input #valid_for name="valid_for" maxlength="32" required[bounds.elsewhere] value=(asked.valid_for);
                @if let Some(end) = bounds.end { p.hint { "It ends with your own token at the latest: " (moment(end)) "." } }
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

fn row(token: &TokenInfo, visit: &Visit, now: DateTime<Utc>) -> Markup {
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
                @if token.revoked_at.is_none() && beyond(token, visit).is_none() {
                    details.confirm {
                        summary.button aria-label={ "Revoke " (token.name) } { "Revoke…" }
                        form method="post" action="/console/tokens/revoke" {
                            (secret(visit))
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
        let any = Bounds { end: None, elsewhere: false };
        let good = asked("nightly", &[Scope::ImportRead], "2d");
        assert_eq!(good.checked(any, now), Ok(("nightly", Some(now + TimeDelta::days(2)))));
        assert_eq!(asked("nightly", &[Scope::Ops], "").checked(any, now), Ok(("nightly", None)));
        for (wrong, why) in [
            (asked("", &[Scope::Ops], "2d"), "the name must not be empty"),
            (asked("a", &[], "2d"), "choose at least one"),
            (asked("a", &[Scope::Ops], "soon"), "how long it is valid must be a time"),
            (asked("a", &[Scope::Ops], "0d"), "how long it is valid must be a time"),
            (asked("a", &[Scope::Ops], "99999999d"), "how long it is valid must be 36500d at most"),
        ] {
            assert!(wrong.checked(any, now).unwrap_err().contains(why), "{wrong:?}");
        }
    }

    #[test]
    fn a_token_lasts_no_longer_than_its_makers_and_has_an_end_in_another_tenant() {
        let now = clock::now();
        let day = |days| Some(now + TimeDelta::days(days));
        let until = |valid_for: &str, end, elsewhere| {
            let asked = asked("nightly", &[Scope::ImportRead], valid_for);
            asked.checked(Bounds { end, elsewhere }, now).map(|(_, expiry)| expiry)
        };
        assert_eq!(until("", day(2), false), Ok(day(2)));
        assert_eq!(until("1d", day(2), false), Ok(day(1)));
        assert_eq!(until("90d", day(2), false), Ok(day(2)));
        assert_eq!(until("91d", None, false), Ok(day(91)));
        assert_eq!(until("90d", None, true), Ok(day(90)));
        assert_eq!(until("90d", day(2), true), Ok(day(2)));
        assert!(until("", day(2), true).unwrap_err().contains("say how long"));
        assert!(until("91d", None, true).unwrap_err().contains("90d at most"));
    }

    #[test]
    fn every_box_has_its_label_and_what_was_ticked_stays() {
        let bounds = Bounds { end: None, elsewhere: false };
        let asked = asked("<b>", &[Scope::Ops], "1h");
        let shown = form(&html! {}, &[Scope::ImportRead, Scope::Ops], &asked, bounds);
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
