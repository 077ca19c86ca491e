//! A tenant's webhooks: list, create, show, change, delete, rotate secrets, send a test, and show deliveries.

mod views;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::id::{DeliveryId, TenantId, WebhookId};
use muster_domain::import::DeliveryState;
use muster_domain::json_words::in_words_of_json;
use muster_domain::normalise::has_forbidden_char;
use muster_domain::token::Scope;
use muster_domain::webhook::{MOST_EVENTS, event_types};
use muster_store::deliveries::{self, DeliveryFilter, DeliveryInfo, Pinged};
use muster_store::webhooks::{self as store, Created, Dropped, NewWebhook, Rotated, WebhookChange, Which};
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::timeout;

use self::views::{NewWebhookBody, WebhookPatch};
use super::AppState;
use super::auth::Caller;
use super::error::{ApiError, WebhookRefusal};
use super::params::{Id, Params, invalid, next_page};
use super::waiting::{Client, Waiting};

pub use views::{
    DeliveryList, DeliveryView, TryView, WebhookCreated, WebhookList, WebhookSecretView, WebhookView,
};

/// Largest body of a request, in bytes.
const BODY_BYTES: usize = 64 * 1024;
/// Most characters of a description.
const DESCRIPTION: usize = 255;
/// Pauses between looks at a delivery that is waited for: the first, and the longest.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Lists the tenant's webhooks, the oldest first.
#[utoipa::path(
    get, path = "/v1/webhooks", tag = "webhooks",
    responses((status = 200, description = "The webhooks", body = WebhookList)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    params: Params,
) -> Result<Json<WebhookList>, ApiError> {
    let tenant = caller.may(Scope::WebhooksRead)?;
    params.finish()?;
    let found = store::list(&mut *state.0.store.reading(tenant).await?, tenant).await?;
    Ok(Json(WebhookList { webhooks: found.into_iter().map(Into::into).collect() }))
}

/// Creates a webhook: an address that is notified of the tenant's imports from now on, by requests signed as
/// in Standard Webhooks. The answer has the secret, which is shown this once.
#[utoipa::path(
    post, path = "/v1/webhooks", tag = "webhooks",
    request_body(content = NewWebhookBody, content_type = "application/json"),
    responses((status = 201, description = "The webhook and its secret", body = WebhookCreated)),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<(StatusCode, Json<WebhookCreated>), ApiError> {
    let tenant = caller.may(Scope::WebhooksWrite)?;
    params.finish()?;
    let body: NewWebhookBody = read(&state, body).await?;
    let most = state.0.webhooks.most;
    if !store::has_room(&state.0.store, tenant, most).await? {
        return Err(ApiError::Webhook(WebhookRefusal::TooMany(most)));
    }
    check_target(&state, &body.url).await?;
    let new = NewWebhook {
        url: body.url,
        description: checked_description(body.description.unwrap_or_default())?,
        events: checked_events(body.events.unwrap_or_default())?,
        failed_above: checked_share(body.failed_above)?,
        enabled: body.enabled.unwrap_or(true),
    };
    match store::create(&state.0.store.by(&caller.actor()), tenant, &new, most).await? {
        Created::New(info, secret) => {
            let secret = secret.reveal().to_owned();
            Ok((StatusCode::CREATED, Json(WebhookCreated { webhook: (*info).into(), secret })))
        }
        Created::TooMany => Err(ApiError::Webhook(WebhookRefusal::TooMany(most))),
    }
}

/// Shows a webhook.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, description = "The webhook", body = WebhookView)),
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<WebhookId>,
    params: Params,
) -> Result<Json<WebhookView>, ApiError> {
    let tenant = caller.may(Scope::WebhooksRead)?;
    params.finish()?;
    let found = store::find(&mut *state.0.store.reading(tenant).await?, tenant, id).await?;
    found.map(|info| Json(info.into())).ok_or(ApiError::NotFound)
}

/// Changes the given properties of a webhook. A webhook that is enabled again is notified of what happens
/// from then on, and its pending deliveries are tried again.
#[utoipa::path(
    patch, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)),
    request_body(content = WebhookPatch, content_type = "application/json"),
    responses((status = 200, description = "The webhook as it is now", body = WebhookView)),
)]
pub(super) async fn change(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<WebhookId>,
    params: Params,
    body: Body,
) -> Result<Json<WebhookView>, ApiError> {
    let tenant = caller.may(Scope::WebhooksWrite)?;
    params.finish()?;
    let body: WebhookPatch = read(&state, body).await?;
    if let Some(url) = &body.url {
        check_target(&state, url).await?;
    }
    let change = WebhookChange {
        url: body.url,
        description: body.description.map(checked_description).transpose()?,
        events: body.events.map(checked_events).transpose()?,
        failed_above: body.failed_above.map(checked_share).transpose()?,
        enabled: body.enabled,
    };
    let changed = store::change(&state.0.store.by(&caller.actor()), tenant, id, &change).await?;
    changed.map(|info| Json(info.into())).ok_or(ApiError::NotFound)
}

/// Deletes a webhook with its secrets and deliveries. A delivery that is being sent may still arrive.
#[utoipa::path(
    delete, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 204, description = "It is deleted")),
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<WebhookId>,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let tenant = caller.may(Scope::WebhooksWrite)?;
    params.finish()?;
    match store::delete(&state.0.store.by(&caller.actor()), tenant, id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::NotFound),
    }
}

/// Gives a webhook a new secret, which is shown this once. Deliveries are signed with both until the old one is dropped.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/secret", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, description = "The new secret", body = WebhookSecretView)),
)]
pub(super) async fn rotate(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<WebhookId>,
    params: Params,
) -> Result<Json<WebhookSecretView>, ApiError> {
    let tenant = caller.may(Scope::WebhooksWrite)?;
    params.finish()?;
    match store::rotate(&state.0.store.by(&caller.actor()), tenant, id).await? {
        Rotated::New(secret) => Ok(Json(WebhookSecretView { secret: secret.reveal().to_owned() })),
        Rotated::TwoAlready => Err(ApiError::Webhook(WebhookRefusal::TwoSecrets)),
        Rotated::NotFound => Err(ApiError::NotFound),
    }
}

/// Drops one of two secrets: the old one when the receiver has the new one, or the new one where it was lost.
#[utoipa::path(
    delete, path = "/v1/webhooks/{id}/secret", tag = "webhooks",
    params(("id" = String, Path),
           ("which" = Option<String>, Query, description = "old or new")),
    responses((status = 204, description = "The other one is the only one now")),
)]
pub(super) async fn drop_secret(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<WebhookId>,
    mut params: Params,
) -> Result<StatusCode, ApiError> {
    let tenant = caller.may(Scope::WebhooksWrite)?;
    let which = match params.take::<String>("which")?.as_deref() {
        None | Some("old") => Which::Old,
        Some("new") => Which::New,
        Some(_) => return Err(invalid("which", "must be one of: old, new")),
    };
    params.finish()?;
    match store::drop_secret(&state.0.store.by(&caller.actor()), tenant, id, which).await? {
        Dropped::Done => Ok(StatusCode::NO_CONTENT),
        Dropped::OneAlone => Err(ApiError::Webhook(WebhookRefusal::OneSecret)),
        Dropped::NotFound => Err(ApiError::NotFound),
    }
}

/// Tests a webhook, enabled or not, by sending `muster.ping` once. With `wait` the answer says how that went.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/ping", tag = "webhooks",
    params(("id" = String, Path),
           ("wait" = Option<String>, Query, description = "how long to wait for the try, as in 20s; at most 60s")),
    responses((status = 200, description = "The delivery", body = DeliveryView)),
)]
pub(super) async fn ping(
    State(state): State<AppState>,
    caller: Caller,
    client: Client,
    Id(id): Id<WebhookId>,
    mut params: Params,
) -> Result<Json<DeliveryView>, ApiError> {
    let tenant = caller.may(Scope::WebhooksWrite)?;
    let wait = params.take_wait()?.unwrap_or_default();
    params.finish()?;
    let waiting = Waiting::begin(&state, tenant, client, wait)?;
    match deliveries::ping(&state.0.store, tenant, id).await? {
        Pinged::Made(made) => Ok(Json(tried(&state, tenant, id, *made, &waiting).await?.into())),
        Pinged::TooMany => Err(ApiError::Webhook(WebhookRefusal::TooManyPings)),
        Pinged::NotFound => Err(ApiError::NotFound),
    }
}

/// Lists the past and pending deliveries of a webhook with their results, newest first.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}/deliveries", tag = "webhooks",
    params(("id" = String, Path),
           ("state" = Option<String>, Query, description = "pending, delivered or failed"),
           ("after" = Option<String>, Query, description = "`next` of the page before: the id of its last delivery"),
           ("limit" = Option<u16>, Query, description = "Most deliveries of the page")),
    responses((status = 200, description = "A page of deliveries", body = DeliveryList,
               headers(("Link" = String, description = "Address of the next page, `rel=\"next\"`; absent on the last")))),
)]
pub(super) async fn deliveries(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<WebhookId>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::WebhooksRead)?;
    let filter = DeliveryFilter { state: params.take("state")?, before: params.take_after()? };
    let limit = usize::from(params.take_limit(50, 200)?);
    params.finish()?;
    let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let page = deliveries::page(&state.0.store, tenant, id, filter, most).await?;
    let mut page = page.ok_or(ApiError::NotFound)?;
    let more = page.len() > limit;
    page.truncate(limit);
    let next = if more { page.last().map(|delivery| delivery.id.get()) } else { None };
    let of_state = filter.state.map(|state| format!("&state={state}")).unwrap_or_default();
    let base = &state.0.link_base;
    let next_link =
        next.map(|next| format!("{base}/v1/webhooks/{id}/deliveries?after={next}&limit={limit}{of_state}"));
    let headers = next_page(next_link.as_deref());
    let deliveries = page.into_iter().map(Into::into).collect();
    Ok((headers, Json(DeliveryList { deliveries, next, next_link })).into_response())
}

/// Delivers again, whatever the result was, with the same id and as much time for attempts as a new delivery.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/deliveries/{delivery}/redeliver", tag = "webhooks",
    params(("id" = String, Path), ("delivery" = String, Path),
           ("wait" = Option<String>, Query, description = "how long to wait for the try, as in 20s; at most 60s")),
    responses((status = 200, description = "The delivery", body = DeliveryView)),
)]
pub(super) async fn redeliver(
    State(state): State<AppState>,
    caller: Caller,
    client: Client,
    OfWebhook(webhook, delivery): OfWebhook,
    mut params: Params,
) -> Result<Json<DeliveryView>, ApiError> {
    let tenant = caller.may(Scope::WebhooksWrite)?;
    let wait = params.take_wait()?.unwrap_or_default();
    params.finish()?;
    let waiting = Waiting::begin(&state, tenant, client, wait)?;
    let made = deliveries::redeliver(&state.0.store.by(&caller.actor()), tenant, webhook, delivery).await?;
    let made = made.ok_or(ApiError::NotFound)?;
    Ok(Json(tried(&state, tenant, webhook, made, &waiting).await?.into()))
}

/// The state of the delivery after the next attempt, or once the waiting is over.
async fn tried(
    state: &AppState,
    tenant: TenantId,
    webhook: WebhookId,
    mut delivery: DeliveryInfo,
    waiting: &Waiting,
) -> Result<DeliveryInfo, ApiError> {
    let (mut pause, before) = (FIRST_LOOK, delivery.attempts);
    while delivery.state == DeliveryState::Pending
        && delivery.attempts == before
        && waiting.pause(pause).await
    {
        pause = (pause * 2).min(LAST_LOOK);
        let found = deliveries::find(&state.0.store, tenant, webhook, delivery.id).await?;
        delivery = found.ok_or(ApiError::NotFound)?;
    }
    Ok(delivery)
}

/// A webhook and one of its deliveries, of an address. A text that is not an id matches nothing.
#[derive(Debug)]
pub(super) struct OfWebhook(WebhookId, DeliveryId);

impl FromRequestParts<AppState> for OfWebhook {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((webhook, delivery)) = path.map_err(|_| ApiError::NotFound)?;
        match (webhook.parse(), delivery.parse()) {
            (Ok(webhook), Ok(delivery)) => Ok(Self(webhook, delivery)),
            _ => Err(ApiError::NotFound),
        }
    }
}

/// The body of a request, where it is what it must be.
async fn read<T: DeserializeOwned>(state: &AppState, body: Body) -> Result<T, ApiError> {
    let failed = |code, message: &str| ApiError::Body(FileError::new(code, message));
    let bytes = timeout(state.0.pace.pause, to_bytes(body, BODY_BYTES))
        .await
        .map_err(|_| failed(ErrorCode::UploadTimeout, "the body came too slowly"))?
        .map_err(|_| failed(ErrorCode::UploadTooLarge, "the body is too large or stopped before its end"))?;
    // A reader of an object takes a list of its values, too.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(failed(ErrorCode::InvalidRequest, "the body is no webhook: it must be a JSON object"));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| in_words_of_json(&error))
        .map_err(|told| failed(ErrorCode::InvalidRequest, &format!("the body is no webhook: {told}")))
}

async fn check_target(state: &AppState, url: &str) -> Result<(), ApiError> {
    let checked = state.0.webhooks.targets.check(url).await;
    checked.map_err(|error| ApiError::Webhook(WebhookRefusal::Target(error)))
}

/// A description, where it is what it must be.
pub(super) fn checked_description(text: String) -> Result<String, ApiError> {
    if text.chars().count() > DESCRIPTION || has_forbidden_char(&text) {
        return Err(invalid("description", format!("must be at most {DESCRIPTION} visible characters")));
    }
    Ok(text)
}

pub(super) fn checked_events(mut names: Vec<String>) -> Result<Vec<String>, ApiError> {
    let known = event_types();
    if names.len() > MOST_EVENTS || names.iter().any(|name| !known.contains(name)) {
        return Err(invalid("events", format!("must be a list of: {}", known.join(", "))));
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

pub(super) fn checked_share(percent: Option<u8>) -> Result<Option<u8>, ApiError> {
    match percent {
        Some(100..) => Err(invalid("failed_above", "must be from 0 to 99")),
        percent => Ok(percent),
    }
}
