//! Webhooks in a store, or behind a server.

use std::time::Duration;

use anyhow::bail;
use muster_domain::id::{DeliveryId, TenantId, WebhookId};
use muster_domain::import::DeliveryState;
use muster_producer::api::{DeliveryView, WebhookCreated, WebhookRefusal, WebhookView};
use muster_runtime::config::Config;
use muster_store::Store;
use muster_store::deliveries::{self, DeliveryFilter, DeliveryInfo, Pinged};
use muster_store::webhooks::{self as store, Created, Dropped, NewWebhook, Rotated, WebhookChange, Which};
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::client::{Remote, operations};
use crate::failure::usage;
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

impl Backend<'_> {
    pub(super) async fn create(&self, new: &NewWebhook) -> anyhow::Result<WebhookCreated> {
        match self {
            Self::Behind(remote) => {
                let body = json!({
                    "url": new.url, "description": new.description, "events": new.events,
                    "failed_above": new.failed_above, "enabled": new.enabled,
                });
                remote.ask(operations::WEBHOOKS_CREATE.call().with_body(body)).await
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
            Self::Behind(remote) => Ok(remote.ask(operations::WEBHOOKS_LIST.call()).await?.webhooks),
            Self::Here(store, tenant, _) => {
                let found = store::list(&mut *store.reading(*tenant).await?, *tenant).await?;
                Ok(found.into_iter().map(Into::into).collect())
            }
        }
    }

    pub(super) async fn enable(&self, id: Uuid, enabled: bool) -> anyhow::Result<WebhookView> {
        match self {
            Self::Behind(remote) => {
                let body = json!({ "enabled": enabled });
                remote.ask(operations::WEBHOOKS_CHANGE.at(&[&id]).with_body(body)).await
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
                remote.send(remote.request(&operations::WEBHOOKS_DELETE.at(&[&id]))).await?;
            }
            Self::Here(store, tenant, _) => {
                if !store::delete(store, *tenant, WebhookId::new(id)).await? {
                    bail!(NO_SUCH);
                }
            }
        }
        Ok(())
    }

    /// The new secret.
    pub(super) async fn rotate(&self, id: Uuid) -> anyhow::Result<String> {
        match self {
            Self::Behind(remote) => Ok(remote.ask(operations::WEBHOOKS_ROTATE.at(&[&id])).await?.secret),
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
                let call = operations::WEBHOOKS_DROP_SECRET.at(&[&id]).with("which", which);
                remote.send(remote.request(&call)).await?;
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
                let call = operations::WEBHOOKS_DELIVERIES
                    .at(&[&id])
                    .with("limit", limit.to_string())
                    .with_all(state.map(|state| ("state", state.to_string())));
                Ok(remote.ask(call).await?.deliveries)
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
                let call = operations::WEBHOOKS_REDELIVER.at(&[&id, &delivery]);
                remote.ask(call.with("wait", format!("{}s", WAIT.as_secs()))).await
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
                let call = operations::WEBHOOKS_PING.at(&[&id]);
                remote.ask(call.with("wait", format!("{}s", WAIT.as_secs()))).await
            }
            Self::Here(store, tenant, _) => {
                let id = WebhookId::new(id);
                match deliveries::ping(store, *tenant, id).await? {
                    Pinged::Made(made) => waited(store, *tenant, id, *made).await,
                    Pinged::TooMany => {
                        bail!(
                            "{} pings of the webhook are still to be made: wait for them",
                            deliveries::MOST_PINGS
                        )
                    }
                    Pinged::NotFound => bail!(NO_SUCH),
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
