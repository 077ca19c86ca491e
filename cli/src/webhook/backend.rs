//! Webhooks in a store, or behind a server.

use std::time::Duration;

use anyhow::bail;
use muster_producer::api::{
    DeliveryList, DeliveryView, WebhookCreated, WebhookList, WebhookRefusal, WebhookSecretView, WebhookView,
};
use muster_shared::config::Config;
use muster_shared::id::{DeliveryId, TenantId, WebhookId};
use muster_shared::import::DeliveryState;
use muster_shared::store::Store;
use muster_shared::store::deliveries::{self, DeliveryFilter, DeliveryInfo};
use muster_shared::store::webhooks::{
    self as store, Created, Dropped, NewWebhook, Rotated, WebhookChange, Which,
};
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::failure::usage;
use crate::imports::Remote;
use crate::pipeline::webhook_targets;

/// How long a try is waited for.
const WAIT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(200);

/// Where the webhooks are.
pub(super) enum Backend<'b> {
    /// In a store, of this tenant; the configuration says what is allowed.
    Here(&'b Store, TenantId, &'b Config),
    /// Behind a server.
    Behind(&'b Remote),
}

const NO_SUCH: &str = "there is no such webhook, or it has no such delivery";

async fn read<T: DeserializeOwned>(remote: &Remote, request: RequestBuilder) -> anyhow::Result<T> {
    let response = remote.send(request.timeout(Duration::from_secs(90))).await?;
    Ok(response.json().await.map_err(reqwest::Error::without_url)?)
}

impl Backend<'_> {
    pub(super) async fn create(&self, new: &NewWebhook) -> anyhow::Result<WebhookCreated> {
        match self {
            Self::Behind(remote) => {
                let body = json!({
                    "url": new.url, "description": new.description, "events": new.events,
                    "failed_above": new.failed_above, "enabled": new.enabled,
                });
                read(remote, remote.request(Method::POST, "/v1/webhooks").json(&body)).await
            }
            Self::Here(store, tenant, config) => {
                if let Err(error) = webhook_targets(config).check(&new.url).await {
                    return Err(usage(format!("{} [webhook_target_refused]", WebhookRefusal::Target(error))));
                }
                match store::create(store, *tenant, new, config.webhook.per_tenant).await? {
                    Created::New(info, secret) => {
                        Ok(WebhookCreated { webhook: (*info).into(), secret: secret.reveal().to_owned() })
                    }
                    Created::TooMany => bail!(WebhookRefusal::TooMany(config.webhook.per_tenant)),
                }
            }
        }
    }

    pub(super) async fn list(&self) -> anyhow::Result<Vec<WebhookView>> {
        match self {
            Self::Behind(remote) => Ok(remote.get::<WebhookList>("/v1/webhooks", &[]).await?.webhooks),
            Self::Here(store, tenant, _) => {
                let found = store::list(&mut *store.reading(*tenant).await?, *tenant).await?;
                Ok(found.into_iter().map(Into::into).collect())
            }
        }
    }

    pub(super) async fn enable(&self, id: Uuid, enabled: bool) -> anyhow::Result<WebhookView> {
        match self {
            Self::Behind(remote) => {
                let request = remote.request(Method::PATCH, &format!("/v1/webhooks/{id}"));
                read(remote, request.json(&json!({ "enabled": enabled }))).await
            }
            Self::Here(store, tenant, _) => {
                let change = WebhookChange { enabled: Some(enabled), ..WebhookChange::default() };
                match store::change(store, *tenant, WebhookId::new(id), &change).await? {
                    Some(info) => Ok(info.into()),
                    None => bail!(NO_SUCH),
                }
            }
        }
    }

    pub(super) async fn delete(&self, id: Uuid) -> anyhow::Result<()> {
        match self {
            Self::Behind(remote) => {
                remote.send(remote.request(Method::DELETE, &format!("/v1/webhooks/{id}"))).await?;
            }
            Self::Here(store, tenant, _) => {
                if !store::delete(store.pool(), *tenant, WebhookId::new(id)).await? {
                    bail!(NO_SUCH);
                }
            }
        }
        Ok(())
    }

    /// The new secret.
    pub(super) async fn rotate(&self, id: Uuid) -> anyhow::Result<String> {
        match self {
            Self::Behind(remote) => {
                let request = remote.request(Method::POST, &format!("/v1/webhooks/{id}/secret"));
                Ok(read::<WebhookSecretView>(remote, request).await?.secret)
            }
            Self::Here(store, tenant, _) => match store::rotate(store, *tenant, WebhookId::new(id)).await? {
                Rotated::New(secret) => Ok(secret.reveal().to_owned()),
                Rotated::TwoAlready => {
                    bail!("two secrets are valid already; `muster webhook drop-secret` drops one of them")
                }
                Rotated::NotFound => bail!(NO_SUCH),
            },
        }
    }

    pub(super) async fn drop_secret(&self, id: Uuid, which: Which) -> anyhow::Result<()> {
        match self {
            Self::Behind(remote) => {
                let which = if which == Which::Old { "old" } else { "new" };
                let path = format!("/v1/webhooks/{id}/secret?which={which}");
                remote.send(remote.request(Method::DELETE, &path)).await?;
                Ok(())
            }
            Self::Here(store, tenant, _) => {
                match store::drop_secret(store, *tenant, WebhookId::new(id), which).await? {
                    Dropped::Done => Ok(()),
                    Dropped::OneAlone => bail!(WebhookRefusal::OneSecret),
                    Dropped::NotFound => bail!(NO_SUCH),
                }
            }
        }
    }

    pub(super) async fn deliveries(
        &self,
        id: Uuid,
        state: Option<DeliveryState>,
        limit: u16,
    ) -> anyhow::Result<Vec<DeliveryView>> {
        match self {
            Self::Behind(remote) => {
                let mut query = vec![("limit", limit.to_string())];
                query.extend(state.map(|state| ("state", state.to_string())));
                let path = format!("/v1/webhooks/{id}/deliveries");
                Ok(remote.get::<DeliveryList>(&path, &query).await?.deliveries)
            }
            Self::Here(store, tenant, _) => {
                let filter = DeliveryFilter { state, before: None };
                let found =
                    deliveries::page(store, *tenant, WebhookId::new(id), filter, limit.into()).await?;
                Ok(found.unwrap_or_default().into_iter().map(Into::into).collect())
            }
        }
    }

    pub(super) async fn redeliver(&self, id: Uuid, delivery: Uuid) -> anyhow::Result<DeliveryView> {
        match self {
            Self::Behind(remote) => {
                let path =
                    format!("/v1/webhooks/{id}/deliveries/{delivery}/redeliver?wait={}s", WAIT.as_secs());
                read(remote, remote.request(Method::POST, &path)).await
            }
            Self::Here(store, tenant, _) => {
                let (id, delivery) = (WebhookId::new(id), DeliveryId::new(delivery));
                match deliveries::redeliver(store, *tenant, id, delivery).await? {
                    Some(made) => waited(store, *tenant, id, made).await,
                    None => bail!(NO_SUCH),
                }
            }
        }
    }

    pub(super) async fn ping(&self, id: Uuid) -> anyhow::Result<DeliveryView> {
        match self {
            Self::Behind(remote) => {
                let path = format!("/v1/webhooks/{id}/ping?wait={}s", WAIT.as_secs());
                read(remote, remote.request(Method::POST, &path)).await
            }
            Self::Here(store, tenant, _) => {
                let id = WebhookId::new(id);
                match deliveries::ping(store, *tenant, id).await? {
                    Some(made) => waited(store, *tenant, id, made).await,
                    None => bail!(NO_SUCH),
                }
            }
        }
    }
}

/// Waits until a producer has tried a delivery, where there is one.
async fn waited(
    store: &Store,
    tenant: TenantId,
    webhook: WebhookId,
    mut delivery: DeliveryInfo,
) -> anyhow::Result<DeliveryView> {
    let (began, before) = (Instant::now(), delivery.attempts);
    while delivery.state == DeliveryState::Pending && delivery.attempts == before && began.elapsed() < WAIT {
        sleep(LOOK).await;
        match deliveries::find(store, tenant, webhook, delivery.id).await? {
            Some(found) => delivery = found,
            None => bail!(NO_SUCH),
        }
    }
    Ok(delivery.into())
}
