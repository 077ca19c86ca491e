//! A webhook is changed, and its secrets are exchanged: the new one is shown this once, and the old one is dropped when the receiver has it.

use maud::{Markup, html};
use muster_domain::id::{TenantId, WebhookId};
use muster_domain::webhook::event_types;
use muster_store::webhooks::{self as store, Dropped, Rotated, WebhookChange, WebhookInfo, Which};

use super::error::ConsoleError;
use super::page::secret;
use super::session::{Filled, Visit, field};
use crate::api::AppState;
use crate::api::error::{ApiError, WebhookRefusal};
use crate::api::params::invalid;
use crate::api::webhooks::{checked_description, checked_events, checked_share};

/// What is said above the list, or above one webhook.
pub(super) enum Said {
    /// Nothing.
    Nothing,
    /// Why nothing was done, and what the form had: nobody has to enter it again.
    Wrong(String, Vec<(String, String)>),
    /// The new secret.
    Secret(String),
}

impl Said {
    /// What the form had that was refused.
    pub(super) fn given(&self) -> &[(String, String)] {
        if let Self::Wrong(_, given) = self { given } else { &[] }
    }
}

/// Why nothing was done, where nothing was entered.
fn wrong(why: impl Into<String>) -> Said {
    Said::Wrong(why.into(), Vec::new())
}

/// Makes a webhook what its form says, or says why not.
pub(super) async fn change(
    state: &AppState,
    tenant: TenantId,
    id: WebhookId,
    filled: &Filled,
) -> Result<Said, ConsoleError> {
    let asked = asked(filled).and_then(|change| match &change.url {
        Some(url) if url.is_empty() => Err(invalid("url", "must not be empty")),
        _ => Ok(change),
    });
    let change = match asked {
        Ok(change) => change,
        Err(error) => return Ok(Said::Wrong(told(&error), filled.all())),
    };
    if let Err(error) = state.0.webhooks.targets.check(change.url.as_deref().unwrap_or_default()).await {
        return Ok(Said::Wrong(WebhookRefusal::Target(error).to_string(), filled.all()));
    }
    match store::change(&state.0.store.by(&filled.visit.actor()), tenant, id, &change).await? {
        Some(_) => Ok(Said::Nothing),
        None => Err(ApiError::NotFound.into()),
    }
}

fn asked(filled: &Filled) -> Result<WebhookChange, ApiError> {
    let given = |name: &str| filled.field(name).unwrap_or_default().trim().to_owned();
    let events = filled.values("event").into_iter().map(str::to_owned).collect();
    let share = match given("failed_above").as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| invalid("failed_above", "must be from 0 to 99"))?),
    };
    Ok(WebhookChange {
        url: Some(given("url")),
        description: Some(checked_description(given("description"))?),
        events: Some(checked_events(events)?),
        failed_above: Some(checked_share(share)?),
        enabled: None,
    })
}

fn told(wrong: &ApiError) -> String {
    wrong.body("").error.message
}

/// Gives a webhook a new secret, and shows it.
pub(super) async fn rotate(
    state: &AppState,
    tenant: TenantId,
    id: WebhookId,
    filled: &Filled,
) -> Result<Said, ConsoleError> {
    match store::rotate(&state.0.store.by(&filled.visit.actor()), tenant, id).await? {
        Rotated::New(secret) => Ok(Said::Secret(secret.reveal().to_owned())),
        Rotated::TwoAlready => Ok(wrong("two secrets are valid already: drop one of them first")),
        Rotated::NotFound => Err(ApiError::NotFound.into()),
    }
}

/// Drops one of two secrets.
pub(super) async fn drop_secret(
    state: &AppState,
    tenant: TenantId,
    id: WebhookId,
    which: Which,
    filled: &Filled,
) -> Result<Said, ConsoleError> {
    match store::drop_secret(&state.0.store.by(&filled.visit.actor()), tenant, id, which).await? {
        Dropped::Done => Ok(Said::Nothing),
        Dropped::OneAlone => Ok(wrong("only one secret is valid: give it a new one first")),
        Dropped::NotFound => Err(ApiError::NotFound.into()),
    }
}

/// The forms, for somebody who may; with what was given, where it was refused.
pub(super) fn forms(webhook: &WebhookInfo, visit: &Visit, given: &[(String, String)]) -> Markup {
    let at = |act: &str| format!("/console/webhooks/{}/{act}", webhook.id);
    let refused = !given.is_empty();
    let shown = |name: &str, kept: &str| {
        if refused { field(given, name).unwrap_or_default().to_owned() } else { kept.to_owned() }
    };
    let chosen = |name: &str| {
        if refused {
            given.iter().any(|(key, value)| key == "event" && value == name)
        } else {
            webhook.events.iter().any(|event| event == name)
        }
    };
    let share =
        shown("failed_above", &webhook.failed_above.map(|share| share.to_string()).unwrap_or_default());
    html! {
        details.keep open[refused] {
            summary { "Change it" }
            form.document method="post" action=(at("change")) {
                (secret(visit))
                label for="url" { "Address" }
                input #url name="url" type="url" required maxlength="2048" value=(shown("url", &webhook.url));
                label for="description" { "What you call it" }
                input #description name="description" maxlength="255" value=(shown("description", &webhook.description));
                fieldset {
                    legend { "It is told of these, and of everything where none is chosen" }
                    @for name in event_types() {
                        label.tick { input type="checkbox" name="event" value=(name) checked[chosen(&name)]; " " code { (name) } }
                    }
                }
                label for="failed_above" { "And of an import of which more than this share failed, in percent; nothing: of none" }
                input #failed_above name="failed_above" type="number" min="0" max="99" value=[(!share.is_empty()).then_some(share)];
                button.main type="submit" { "Save" }
            }
        }
        details.keep {
            summary { "Secrets" }
            @if webhook.secrets == 2 {
                p.hint { "Deliveries are signed with two secrets. When the receiver has the new one, drop the old one; if the new one was lost, drop that." }
                div.levers {
                    form method="post" action=(at("drop-old")) { (secret(visit)) button type="submit" { "Drop the old secret" } }
                    form method="post" action=(at("drop-new")) { (secret(visit)) button type="submit" { "Drop the new secret" } }
                }
            } @else {
                p.hint { "Deliveries are signed with one secret. A new one counts beside it until one of the two is dropped." }
                form method="post" action=(at("rotate")) { (secret(visit)) button type="submit" { "Give it a new secret" } }
            }
        }
    }
}
