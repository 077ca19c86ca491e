//! Webhooks and deliveries in the shape of requests and responses.

use chrono::{DateTime, Utc};
use muster_domain::import::DeliveryState;
use muster_store::deliveries::DeliveryInfo;
use muster_store::webhooks::WebhookInfo;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// A webhook that is to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewWebhookBody {
    /// Where it leads: an address of the public network that begins with `https://`, unless the installation allows others.
    pub(super) url: String,
    /// What people call it.
    pub(super) description: Option<String>,
    /// Names of the events that it is notified of; empty for all.
    pub(super) events: Option<Vec<String>>,
    /// It is notified of an import if more than this share of its records failed, in percent, from 0 to 99.
    pub(super) failed_above: Option<u8>,
    /// Whether it is enabled at first; the default is yes.
    pub(super) enabled: Option<bool>,
}

/// Changes of a webhook; properties that are not named stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookPatch {
    /// Where it leads.
    pub(super) url: Option<String>,
    /// What people call it.
    pub(super) description: Option<String>,
    /// Names of its events; an empty list means all.
    pub(super) events: Option<Vec<String>>,
    /// It is notified if the share of failed records is higher, in percent, from 0 to 99; null: never.
    #[serde(default, deserialize_with = "there")]
    #[schema(value_type = Option<u8>)]
    pub(super) failed_above: Option<Option<u8>>,
    /// Whether anything is delivered.
    pub(super) enabled: Option<bool>,
}

/// Tells null from nothing.
fn there<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<u8>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookView {
    /// Id.
    pub id: Uuid,
    /// Where it leads.
    pub url: String,
    /// What people call it.
    pub description: String,
    /// Names of the events that it is notified of; empty for all.
    pub events: Vec<String>,
    /// It is notified of an import if more than this share of its records failed, in percent; null: never.
    pub failed_above: Option<u8>,
    /// Whether anything is delivered.
    pub enabled: bool,
    /// `gone`: its receiver answered 410. Null where it is enabled, or where somebody disabled it.
    pub disabled_reason: Option<String>,
    /// How many secrets deliveries are signed with: 1, or 2 until one of them is dropped.
    pub secrets: u8,
    /// Deliveries that are still to be made.
    pub pending: u64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

impl From<WebhookInfo> for WebhookView {
    fn from(info: WebhookInfo) -> Self {
        Self {
            id: info.id.get(),
            url: info.url,
            description: info.description,
            events: info.events,
            failed_above: info.failed_above,
            enabled: info.enabled,
            disabled_reason: info.disabled_reason,
            secrets: info.secrets,
            pending: info.pending,
            created_at: info.created_at,
            updated_at: info.updated_at,
        }
    }
}

/// A new webhook, and its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WebhookCreated {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: WebhookView,
    /// What deliveries are signed with. It is shown this once.
    pub secret: String,
}

/// A new secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WebhookSecretView {
    /// The secret. It is shown this once.
    pub secret: String,
}

/// A tenant's webhooks.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WebhookList {
    /// The oldest first.
    pub webhooks: Vec<WebhookView>,
}

/// One try of a delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TryView {
    /// When it began.
    pub at: DateTime<Utc>,
    /// Status of the answer; null where there was none.
    pub status: Option<u16>,
    /// What went wrong; null where nothing did.
    pub problem: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// One delivery of a webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryView {
    /// Id: what the receiver gets as `webhook-id`, the same at every try.
    pub id: Uuid,
    /// Name of what is told.
    #[serde(rename = "type")]
    pub kind: String,
    /// Number of the event; null for a ping and for a share of failed records.
    pub event: Option<i64>,
    /// The import; null for a ping.
    pub import: Option<Uuid>,
    /// pending, delivered or failed.
    #[schema(value_type = String)]
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// The last ten tries, the newest last.
    pub tries: Vec<TryView>,
    /// What is sent.
    #[schema(value_type = Object)]
    pub payload: Value,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it is tried next; null once it has ended.
    pub next_try_at: Option<DateTime<Utc>>,
    /// When it was delivered or given up.
    pub ended_at: Option<DateTime<Utc>>,
}

impl From<DeliveryInfo> for DeliveryView {
    fn from(info: DeliveryInfo) -> Self {
        Self {
            id: info.id.get(),
            kind: info.kind,
            event: info.event,
            import: info.import.map(|import| import.get()),
            state: info.state,
            attempts: info.attempts,
            tries: serde_json::from_value(info.tries).unwrap_or_default(),
            payload: serde_json::from_str(&info.payload).unwrap_or_default(),
            created_at: info.created_at,
            next_try_at: info.due_at,
            ended_at: info.ended_at,
        }
    }
}

/// A page of deliveries, the newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeliveryList {
    /// The deliveries.
    pub deliveries: Vec<DeliveryView>,
    /// What to give as `after` for the next page; null on the last.
    pub next: Option<Uuid>,
    /// Address of the next page; null on the last.
    #[serde(default)]
    pub next_link: Option<String>,
}
