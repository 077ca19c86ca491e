//! Webhooks: the list, the deliveries of each and their results, and new webhooks, whose secret is shown once.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use muster_domain::id::{DeliveryId, TenantId, WebhookId};
use muster_domain::import::DeliveryState;
use muster_domain::token::Scope;
use muster_runtime::clock;
use muster_store::deliveries::{self, DeliveryFilter, DeliveryInfo, Pinged};
use muster_store::webhooks::{self as store, Created, NewWebhook, WebhookChange, WebhookInfo, Which};

use super::error::ConsoleError;
use super::formatting::{ago, count, moment};
use super::page::{Page, Section, secret, sentence};
use super::session::{Filled, Visit, field};
use super::webhook_edit::{self, Said};
use crate::api::AppState;
use crate::api::error::{ApiError, WebhookRefusal};
use crate::api::webhooks::{DeliveryView, checked_description};

/// Deliveries of a page.
const PAGE: i64 = 50;

/// Shows the webhooks.
pub(super) async fn list(State(state): State<AppState>, visit: Visit) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::WebhooksRead)?;
    let found = store::list(&mut *state.0.store.reading(tenant).await?, tenant).await?;
    Ok(page("Webhooks", None, all(&found, &visit, &Said::Nothing), &visit))
}

/// Creates a webhook for all events, and shows its secret.
pub(super) async fn create(State(state): State<AppState>, filled: Filled) -> Result<Response, ConsoleError> {
    let tenant = filled.visit.may(Scope::WebhooksWrite)?;
    let url = filled.field("url").unwrap_or_default().trim().to_owned();
    let most = state.0.webhooks.most;
    let has_room = store::has_room(&state.0.store, tenant, most).await?;
    let said = match checked_description(filled.field("description").unwrap_or_default().to_owned()) {
        Err(error) => Said::Wrong(error.to_string(), filled.all()),
        Ok(_) if !has_room => Said::Wrong(WebhookRefusal::TooMany(most).to_string(), filled.all()),
        Ok(description) => match state.0.webhooks.targets.check(&url).await {
            Err(error) => Said::Wrong(WebhookRefusal::Target(error).to_string(), filled.all()),
            Ok(()) => {
                let new =
                    NewWebhook { url, description, events: Vec::new(), failed_above: None, enabled: true };
                match store::create(&state.0.store.by(&filled.visit.actor()), tenant, &new, most).await? {
                    Created::New(_, secret) => Said::Secret(secret.reveal().to_owned()),
                    Created::TooMany => Said::Wrong(WebhookRefusal::TooMany(most).to_string(), filled.all()),
                }
            }
        },
    };
    let found = store::list(&mut *state.0.store.reading(tenant).await?, tenant).await?;
    Ok(page("Webhooks", None, all(&found, &filled.visit, &said), &filled.visit))
}

/// Shows the deliveries of a webhook.
pub(super) async fn show(
    State(state): State<AppState>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::WebhooksRead)?;
    let id: WebhookId = id.parse().map_err(|_| ApiError::NotFound)?;
    shown(&state, tenant, id, &visit, &Said::Nothing).await
}

/// The page of a webhook, with what is said above it.
async fn shown(
    state: &AppState,
    tenant: TenantId,
    id: WebhookId,
    visit: &Visit,
    said: &Said,
) -> Result<Response, ConsoleError> {
    let webhook = store::find(&mut *state.0.store.reading(tenant).await?, tenant, id).await?;
    let webhook = webhook.ok_or(ApiError::NotFound)?;
    let found = deliveries::page(&state.0.store, tenant, id, DeliveryFilter::default(), PAGE).await?;
    let main = one(&webhook, &found.unwrap_or_default(), visit, said, clock::now());
    // A page that shows a secret is the answer to a form, and cannot be asked for again.
    let renew = matches!(said, Said::Nothing).then_some(5_000);
    Ok(page("Webhook", renew, main, visit))
}

/// Tries, enables, disables, changes or deletes a webhook, or exchanges its secrets.
pub(super) async fn act(
    State(state): State<AppState>,
    Path((id, act)): Path<(String, String)>,
    filled: Filled,
) -> Result<Response, ConsoleError> {
    let tenant = filled.visit.may(Scope::WebhooksWrite)?;
    let id: WebhookId = id.parse().map_err(|_| ApiError::NotFound)?;
    let said = match act.as_str() {
        "change" => webhook_edit::change(&state, tenant, id, &filled).await?,
        "rotate" => webhook_edit::rotate(&state, tenant, id, &filled).await?,
        "drop-old" => webhook_edit::drop_secret(&state, tenant, id, Which::Old, &filled).await?,
        "drop-new" => webhook_edit::drop_secret(&state, tenant, id, Which::New, &filled).await?,
        _ => return switched(&state, tenant, id, &act, &filled).await,
    };
    match said {
        Said::Nothing => Ok(back_to(id)),
        said => shown(&state, tenant, id, &filled.visit, &said).await,
    }
}

/// Tries, enables, disables or deletes a webhook.
async fn switched(
    state: &AppState,
    tenant: TenantId,
    id: WebhookId,
    act: &str,
    filled: &Filled,
) -> Result<Response, ConsoleError> {
    let enable = |enabled| WebhookChange { enabled: Some(enabled), ..WebhookChange::default() };
    let store = &state.0.store.by(&filled.visit.actor());
    let there = match act {
        "ping" => match deliveries::ping(store, tenant, id).await? {
            Pinged::Made(_) => true,
            Pinged::NotFound => false,
            Pinged::TooMany => {
                let said = Said::Wrong(WebhookRefusal::TooManyPings.to_string(), Vec::new());
                return shown(state, tenant, id, &filled.visit, &said).await;
            }
        },
        "enable" => store::change(store, tenant, id, &enable(true)).await?.is_some(),
        "disable" => store::change(store, tenant, id, &enable(false)).await?.is_some(),
        "delete" => {
            let there = store::delete(store, tenant, id).await?;
            if there {
                return Ok(Redirect::to("/console/webhooks").into_response());
            }
            there
        }
        _ => false,
    };
    if there { Ok(back_to(id)) } else { Err(ApiError::NotFound.into()) }
}

/// Makes a delivery again.
pub(super) async fn redeliver(
    State(state): State<AppState>,
    Path((id, delivery)): Path<(String, String)>,
    filled: Filled,
) -> Result<Response, ConsoleError> {
    let tenant = filled.visit.may(Scope::WebhooksWrite)?;
    let id: WebhookId = id.parse().map_err(|_| ApiError::NotFound)?;
    let delivery: DeliveryId = delivery.parse().map_err(|_| ApiError::NotFound)?;
    match deliveries::redeliver(&state.0.store.by(&filled.visit.actor()), tenant, id, delivery).await? {
        Some(_) => Ok(back_to(id)),
        None => Err(ApiError::NotFound.into()),
    }
}

fn back_to(id: WebhookId) -> Response {
    Redirect::to(&format!("/console/webhooks/{id}")).into_response()
}

fn page(title: &str, renew: Option<u32>, main: Markup, visit: &Visit) -> Response {
    Page { section: Section::Webhooks, title: title.into(), renew, main }.show(visit)
}

fn all(found: &[WebhookInfo], visit: &Visit, said: &Said) -> Markup {
    let given = |name: &str| field(said.given(), name).unwrap_or_default();
    html! {
        h1 { "Webhooks" }
        p.facts { "Addresses that are notified about imports, by signed requests." }
        (say(said, "No webhook was created.", "The webhook is created."))
        @if found.is_empty() { p.calm { "There are none yet." } } @else {
            div.scroll {
                table {
                    thead { tr { th scope="col" { "Address" } th scope="col" { "State" } th scope="col" { "Is told" } th scope="col" { "To be told" } } }
                    tbody { @for webhook in found { (row(webhook)) } }
                }
            }
        }
        @if visit.allows(Scope::WebhooksWrite) {
            section aria-labelledby="new" {
                h2 #new { "A new one" }
                form.document method="post" action="/console/webhooks" {
                    (secret(visit))
                    label for="url" { "Address" }
                    input #url name="url" type="url" required maxlength="2048" value=(given("url")) placeholder="https://hooks.example.com/muster";
                    label for="description" { "What you call it" }
                    input #description name="description" maxlength="255" value=(given("description"));
                    button.main type="submit" { "Create" }
                }
            }
        }
    }
}

fn say(said: &Said, refused: &str, done: &str) -> Markup {
    html! {
        @match said {
            Said::Nothing => {}
            Said::Wrong(why, _) => { div.note.wrong role="alert" { p { strong { (refused) } " " (sentence(why)) } } }
            Said::Secret(secret) => {
                div.note role="status" { p { strong { (done) } " Its secret is shown this once: " code { (secret) } } }
            }
        }
    }
}

fn row(webhook: &WebhookInfo) -> Markup {
    html! {
        tr {
            th scope="row" {
                a href={ "/console/webhooks/" (webhook.id) } { (webhook.url) }
                @if !webhook.description.is_empty() { p.hint { (webhook.description) } }
            }
            td data-name="State" { (state_of(webhook)) }
            td data-name="Is told" { (event_text(webhook)) }
            td data-name="To be told" { (count(webhook.pending, "delivery", "deliveries")) }
        }
    }
}

fn state_of(webhook: &WebhookInfo) -> Markup {
    html! {
        @match (webhook.enabled, webhook.disabled_reason.as_deref()) {
            (true, _) => { span.state.good { "enabled" } }
            (false, Some("gone")) => { span.state.bad { "disabled: its receiver wants nothing more (410)" } }
            (false, _) => { span.state.idle { "disabled" } }
        }
    }
}

fn event_text(webhook: &WebhookInfo) -> Markup {
    html! {
        @if webhook.events.is_empty() { "everything" } @else { @for name in &webhook.events { code { (name) } " " } }
        @if let Some(percent) = webhook.failed_above { ", and failed records above " (percent) " %" }
    }
}

fn one(
    webhook: &WebhookInfo,
    found: &[DeliveryInfo],
    visit: &Visit,
    said: &Said,
    now: DateTime<Utc>,
) -> Markup {
    html! {
        p.way { a href="/console/webhooks" { "Webhooks" } }
        h1 { (webhook.url) }
        (say(said, "Nothing was changed.", "The webhook has a new secret beside the old one."))
        dl.about {
            @if !webhook.description.is_empty() { dt { "Description" } dd { (webhook.description) } }
            dt { "State" } dd { (state_of(webhook)) }
            dt { "Is told" } dd { (event_text(webhook)) }
            dt { "Secrets" } dd { @if webhook.secrets == 2 { "two: drop one when the receiver has the new one" } @else { "one" } }
            dt { "Created" } dd { (moment(webhook.created_at)) }
        }
        @if visit.allows(Scope::WebhooksWrite) { (controls(webhook, visit)) (webhook_edit::forms(webhook, visit, said.given())) }
        section aria-labelledby="deliveries" {
            h2 #deliveries { "Deliveries" }
            @if found.is_empty() { p.calm { "Nothing yet." } } @else {
                div.scroll {
                    table {
                        thead { tr { th scope="col" { "What" } th scope="col" { "State" } th scope="col" { "Last try" } th scope="col" { "When" } th scope="col" { span.unseen { "What you can do" } } } }
                        tbody { @for delivery in found { (delivery_row(webhook, delivery, visit, now)) } }
                    }
                }
            }
        }
    }
}

fn controls(webhook: &WebhookInfo, visit: &Visit) -> Markup {
    let at = |act: &str| format!("/console/webhooks/{}/{act}", webhook.id);
    let (toggle, word) = if webhook.enabled { ("disable", "Disable") } else { ("enable", "Enable") };
    html! {
        div.levers {
            form method="post" action=(at("ping")) { (secret(visit)) button type="submit" { "Try it" } }
            form method="post" action=(at(toggle)) { (secret(visit)) button type="submit" { (word) } }
            details.confirm {
                summary.button { "Delete…" }
                form method="post" action=(at("delete")) {
                    (secret(visit))
                    p { "It is deleted with its secret and everything below." }
                    button.danger type="submit" { "Delete" }
                }
            }
        }
    }
}

fn delivery_row(webhook: &WebhookInfo, delivery: &DeliveryInfo, visit: &Visit, now: DateTime<Utc>) -> Markup {
    let tries = DeliveryView::from(delivery.clone()).tries;
    let meaning = match delivery.state {
        DeliveryState::Delivered => "good",
        DeliveryState::Pending => "wait",
        DeliveryState::Failed => "bad",
    };
    html! {
        tr {
            th scope="row" {
                code { (delivery.kind) }
                @if let Some(import) = delivery.import { " " a href={ "/console/imports/" (import) } { "import" } }
            }
            td data-name="State" { span class={ "state " (meaning) } { (delivery.state) } }
            td data-name="Last try" {
                @match tries.last() {
                    None => { "not tried yet" }
                    Some(last) => {
                        @if let Some(problem) = &last.problem { (sentence(problem)) } @else if let Some(status) = last.status { (status) }
                        " (" (count(delivery.attempts.into(), "try", "tries")) ")"
                    }
                }
            }
            td data-name="When" { (ago(now, delivery.created_at)) }
            td {
                @if visit.allows(Scope::WebhooksWrite) {
                    form method="post" action={ "/console/webhooks/" (webhook.id) "/deliveries/" (delivery.id) "/redeliver" } {
                        (secret(visit))
                        button.quiet type="submit" aria-label={ "Deliver " (delivery.kind) " again" } { "Again" }
                    }
                }
            }
        }
    }
}
