//! The log of deliveries: pages, a single delivery, and redelivery.

use chrono::{DateTime, Utc};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{DeliveryId, ImportId, TenantId, WebhookId};
use muster_domain::import::DeliveryState;
use muster_domain::webhook;
use muster_runtime::clock;
use serde_json::Value;
use uuid::Uuid;

use super::corrupt;
use crate::audit::{self, Did, Entry};
use crate::{Store, StoreError};

/// Most pings of a webhook that are still to be made.
pub const MOST_PINGS: i64 = 5;
/// Deliveries that retention deletes in one go.
const FORGOTTEN: i64 = 1_000;

/// A delivery as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryInfo {
    /// Id: what the receiver gets as `webhook-id`.
    pub id: DeliveryId,
    /// Name of what is told.
    pub kind: String,
    /// Number of the event, if it belongs to one.
    pub event: Option<i64>,
    /// The import, if it belongs to one.
    pub import: Option<ImportId>,
    /// State.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// The last ten tries: `at`, `status`, `problem`, `took_ms`.
    pub tries: Value,
    /// What is sent.
    pub payload: String,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it is tried next.
    pub due_at: Option<DateTime<Utc>>,
    /// When it was delivered or given up.
    pub ended_at: Option<DateTime<Utc>>,
}

struct DeliveryRow {
    id: Uuid,
    kind: String,
    event: Option<i64>,
    import_id: Option<Uuid>,
    state: String,
    attempts: i32,
    tries: Value,
    payload: String,
    created_at: DateTime<Utc>,
    due_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
}

impl TryFrom<DeliveryRow> for DeliveryInfo {
    type Error = StoreError;

    fn try_from(row: DeliveryRow) -> Result<Self, StoreError> {
        let id = DeliveryId::new(row.id);
        Ok(Self {
            id,
            kind: row.kind,
            event: row.event,
            import: row.import_id.map(ImportId::new),
            state: row.state.parse().map_err(|_| corrupt(id))?,
            attempts: row.attempts.unsigned_abs(),
            tries: row.tries,
            payload: row.payload,
            created_at: row.created_at,
            due_at: row.due_at,
            ended_at: row.ended_at,
        })
    }
}

/// Which deliveries are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeliveryFilter {
    /// Those in this state only.
    pub state: Option<DeliveryState>,
    /// Those before this one only.
    pub before: Option<DeliveryId>,
}

/// Up to `limit` deliveries of a webhook, the newest first. `None` if the tenant has no such webhook.
pub async fn page(
    store: &Store,
    tenant: TenantId,
    webhook: WebhookId,
    filter: DeliveryFilter,
    limit: i64,
) -> Result<Option<Vec<DeliveryInfo>>, StoreError> {
    let mut reading = store.reading(tenant).await?;
    let there = sqlx::query_scalar!(
        r#"select exists (select from webhooks where tenant_id = $1 and id = $2) as "there!""#,
        tenant.get(),
        webhook.get(),
    );
    if !there.fetch_one(&mut *reading).await? {
        return Ok(None);
    }
    let rows = sqlx::query_as!(
        DeliveryRow,
        r#"select id, type as kind, event, import_id, state, attempts, tries, payload, created_at, due_at, ended_at
             from webhook_deliveries
            where tenant_id = $1 and webhook_id = $2 and ($3::text is null or state = $3) and ($4::uuid is null or id < $4)
            order by id desc
            limit $5"#,
        tenant.get(),
        webhook.get(),
        filter.state.map(DeliveryState::as_str),
        filter.before.map(DeliveryId::get),
        limit,
    )
    .fetch_all(&mut *reading)
    .await?;
    rows.into_iter().map(DeliveryInfo::try_from).collect::<Result<_, _>>().map(Some)
}

/// One delivery. `None` if the tenant's webhook has none of this id.
pub async fn find(
    store: &Store,
    tenant: TenantId,
    webhook: WebhookId,
    delivery: DeliveryId,
) -> Result<Option<DeliveryInfo>, StoreError> {
    sqlx::query_as!(
        DeliveryRow,
        "select id, type as kind, event, import_id, state, attempts, tries, payload, created_at, due_at, ended_at
           from webhook_deliveries
          where tenant_id = $1 and webhook_id = $2 and id = $3",
        tenant.get(),
        webhook.get(),
        delivery.get(),
    )
    .fetch_optional(&mut *store.reading(tenant).await?)
    .await?
    .map(DeliveryInfo::try_from)
    .transpose()
}

/// Makes a delivery due at once, whatever its result was, with as much time for attempts as a new one. `None` if the tenant's webhook has
/// none of this id.
pub async fn redeliver(
    store: &Store,
    tenant: TenantId,
    webhook: WebhookId,
    delivery: DeliveryId,
) -> Result<Option<DeliveryInfo>, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let row = sqlx::query_as!(
        DeliveryRow,
        "update webhook_deliveries
            set state = 'pending', due_at = now(), give_up_at = null, ended_at = null
          where tenant_id = $1 and webhook_id = $2 and id = $3
         returning id, type as kind, event, import_id, state, attempts, tries, payload, created_at, due_at, ended_at",
        tenant.get(),
        webhook.get(),
        delivery.get(),
    )
    .fetch_optional(&mut *transaction)
    .await?;
    if row.is_some() {
        let entry = Entry::of(Did::WebhookRedeliver).to(webhook.get());
        let entry = entry.chosen(Some(serde_json::json!({ "delivery": delivery.get() })));
        audit::note(&mut transaction, store, tenant, entry).await?;
    }
    transaction.commit().await?;
    row.map(DeliveryInfo::try_from).transpose()
}

/// What became of a ping that was wished for.
#[derive(Debug, Clone, PartialEq)]
pub enum Pinged {
    /// It is to be made.
    Made(Box<DeliveryInfo>),
    /// [`MOST_PINGS`] are still to be made.
    TooMany,
    /// The tenant has no such webhook.
    NotFound,
}

/// Writes a delivery that says nothing, so that the webhook can be tried.
pub async fn ping(store: &Store, tenant: TenantId, webhook: WebhookId) -> Result<Pinged, StoreError> {
    let mut transaction = store.pool().begin().await?;
    // Locked, so that pings at the same moment count each other.
    let Some(slug) = sqlx::query_scalar!(
        "select t.slug
           from webhooks as w
           join tenants as t on t.id = w.tenant_id
          where w.tenant_id = $1 and w.id = $2
            for no key update of w",
        tenant.get(),
        webhook.get(),
    )
    .fetch_optional(&mut *transaction)
    .await?
    else {
        return Ok(Pinged::NotFound);
    };
    let pending = sqlx::query_scalar!(
        r#"select count(*) as "pending!" from webhook_deliveries where webhook_id = $1 and state = 'pending' and type = 'muster.ping'"#,
        webhook.get(),
    );
    if pending.fetch_one(&mut *transaction).await? >= MOST_PINGS && !mutant(Mutant::AnyPings) {
        return Ok(Pinged::TooMany);
    }
    let made = sqlx::query_as!(
        DeliveryRow,
        "insert into webhook_deliveries (id, webhook_id, tenant_id, type, payload)
         values ($1, $2, $3, 'muster.ping', $4)
         returning id, type as kind, event, import_id, state, attempts, tries, payload, created_at, due_at, ended_at",
        clock::new_id(),
        webhook.get(),
        tenant.get(),
        webhook::ping_payload(&slug, webhook.get(), clock::now()),
    )
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Pinged::Made(Box::new(made.try_into()?)))
}

/// Deletes some of the deliveries that ended longer ago than that. Returns how many there were.
pub async fn forget(store: &Store, seconds: f64) -> Result<u64, StoreError> {
    let forgotten = sqlx::query!(
        "delete from webhook_deliveries
          where id in (select id
                         from webhook_deliveries
                        where state <> 'pending' and ended_at < now() - make_interval(secs => $1)
                        limit $2)",
        seconds,
        FORGOTTEN,
    )
    .execute(store.pool())
    .await?;
    Ok(forgotten.rows_affected())
}
