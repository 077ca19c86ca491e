//! A tenant's webhooks and their secrets: create, list, show, change, delete; give a new secret, drop one of two.

use chrono::{DateTime, Utc};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{TenantId, WebhookId};
use muster_domain::webhook::{SealedSecret, WebhookSecret};
use muster_runtime::clock;
use serde_json::{Value, json};
use sqlx::PgExecutor;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::audit::{self, Did, Entry};
use super::{Store, StoreError};

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookInfo {
    /// Id.
    pub id: WebhookId,
    /// Where it leads.
    pub url: String,
    /// What people call it.
    pub description: String,
    /// Names of the events that it is notified of; empty for all.
    pub events: Vec<String>,
    /// It is notified of an import if more than this share of its records failed, in percent.
    pub failed_above: Option<u8>,
    /// Whether anything is delivered.
    pub enabled: bool,
    /// `gone`: its receiver answered 410.
    pub disabled_reason: Option<String>,
    /// How many secrets deliveries are signed with: 1 or 2.
    pub secrets: u8,
    /// Deliveries that are still to be made.
    pub pending: u64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

struct WebhookRow {
    id: Uuid,
    url: String,
    description: String,
    events: Vec<String>,
    failed_above: Option<i16>,
    enabled: bool,
    disabled_reason: Option<String>,
    two_secrets: bool,
    pending: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<WebhookRow> for WebhookInfo {
    fn from(row: WebhookRow) -> Self {
        Self {
            id: WebhookId::new(row.id),
            url: row.url,
            description: row.description,
            events: row.events,
            failed_above: row.failed_above.and_then(|percent| u8::try_from(percent).ok()),
            enabled: row.enabled,
            disabled_reason: row.disabled_reason,
            secrets: if row.two_secrets { 2 } else { 1 },
            pending: row.pending.unsigned_abs(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// What a new webhook is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// Where it leads; checked by the caller.
    pub url: String,
    /// What people call it.
    pub description: String,
    /// Names of the events that it is notified of; empty for all.
    pub events: Vec<String>,
    /// Share of failed records from which on it is notified, in percent.
    pub failed_above: Option<u8>,
    /// Whether it begins enabled.
    pub enabled: bool,
}

/// Changes of a webhook; `None` keeps the current value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is that of the webhook")]
pub struct WebhookChange {
    pub url: Option<String>,
    pub description: Option<String>,
    pub events: Option<Vec<String>>,
    pub failed_above: Option<Option<u8>>,
    pub enabled: Option<bool>,
}

impl WebhookChange {
    /// Which parts of the webhook it changes, each counted once: neither addresses nor names stand in the audit. None: it changes nothing.
    fn as_counts(&self, before: &WebhookInfo) -> Option<Value> {
        let switched = differs(self.enabled.as_ref(), &before.enabled);
        let parts = [
            ("url", differs(self.url.as_ref(), &before.url)),
            ("description", differs(self.description.as_ref(), &before.description)),
            ("events", differs(self.events.as_ref(), &before.events)),
            ("failed_above", differs(self.failed_above.as_ref(), &before.failed_above)),
            ("enabled", switched && self.enabled == Some(true)),
            ("disabled", switched && self.enabled == Some(false)),
        ];
        let changed = parts.into_iter().filter(|(_, changed)| *changed);
        let counts: serde_json::Map<String, Value> =
            changed.map(|(name, _)| (name.to_owned(), 1.into())).collect();
        (!counts.is_empty()).then_some(counts.into())
    }
}

/// Whether a part is given, and is another one than it was.
fn differs<T: PartialEq>(given: Option<&T>, before: &T) -> bool {
    given.is_some_and(|given| given != before || mutant(Mutant::WebhookGivenIsChanged))
}

/// What creating a webhook came to.
#[derive(Debug)]
pub enum Created {
    /// A new webhook with its secret, which is shown this once.
    New(Box<WebhookInfo>, WebhookSecret),
    /// The tenant has as many as it may.
    TooMany,
}

/// Whether the tenant has fewer webhooks than `most`, to be asked before work is done for one more. [`create`] counts again.
pub async fn has_room(store: &Store, tenant: TenantId, most: u32) -> Result<bool, StoreError> {
    if mutant(Mutant::LookedUpUncounted) {
        return Ok(true);
    }
    let there: i64 = sqlx::query_scalar("select count(*) from webhooks where tenant_id = $1")
        .bind(tenant.get())
        .fetch_one(&mut *store.reading(tenant).await?)
        .await?;
    Ok(there < i64::from(most))
}

/// Creates a webhook, where the tenant has fewer than `most`. It is notified of what happens from now on.
pub async fn create(
    store: &Store,
    tenant: TenantId,
    new: &NewWebhook,
    most: u32,
) -> Result<Created, StoreError> {
    let id = clock::new_id();
    let mut transaction = store.pool().begin().await?;
    // Held to the end, so that two at once count each other.
    sqlx::query!("select id from tenants where id = $1 for no key update", tenant.get())
        .fetch_optional(&mut *transaction)
        .await?;
    let there = sqlx::query_scalar!(
        r#"select count(*) as "count!" from webhooks where tenant_id = $1"#,
        tenant.get()
    )
    .fetch_one(&mut *transaction)
    .await?;
    if there >= i64::from(most) {
        return Ok(Created::TooMany);
    }
    sqlx::query!(
        "insert into webhooks (id, tenant_id, url, description, events, failed_above, enabled, seen)
         values ($1, $2, $3, $4, $5, $6, $7, (select coalesce(max(number), 0) from events))",
        id,
        tenant.get(),
        new.url,
        new.description,
        &new.events,
        new.failed_above.map(i16::from),
        new.enabled,
    )
    .execute(&mut *transaction)
    .await?;
    // The server makes the key; the secret is sealed with it in the same transaction.
    let key = sqlx::query_scalar!(
        "insert into webhook_secrets (webhook_id, tenant_id, current) values ($1, $2, '') returning key",
        id,
        tenant.get(),
    )
    .fetch_one(&mut *transaction)
    .await?;
    let secret = new_secret(&key)?;
    sqlx::query!("update webhook_secrets set current = $2 where webhook_id = $1", id, secret.1.as_bytes())
        .execute(&mut *transaction)
        .await?;
    let info = find(&mut *transaction, tenant, WebhookId::new(id)).await?;
    audit::note(&mut transaction, store, tenant, Entry::of(Did::WebhookCreate).to(id)).await?;
    super::commit(store, transaction).await?;
    match info {
        Some(info) => Ok(Created::New(Box::new(info), secret.0)),
        None => Err(StoreError::Conflict("the webhook")),
    }
}

fn new_secret(key: &[u8]) -> Result<(WebhookSecret, SealedSecret), StoreError> {
    let mut rng = clock::rng();
    let secret = WebhookSecret::generate(&mut rng);
    let sealed = secret.seal(key, &mut rng);
    let sealed = sealed.ok_or_else(|| StoreError::Program("a secret could not be sealed".into()))?;
    Ok((secret, sealed))
}

/// A tenant's webhooks, the oldest first.
pub async fn list(executor: impl PgExecutor<'_>, tenant: TenantId) -> Result<Vec<WebhookInfo>, StoreError> {
    select(executor, tenant, None).await
}

/// One of them.
pub async fn find(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    id: WebhookId,
) -> Result<Option<WebhookInfo>, StoreError> {
    Ok(select(executor, tenant, Some(id)).await?.pop())
}

async fn select(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    id: Option<WebhookId>,
) -> Result<Vec<WebhookInfo>, StoreError> {
    let rows = sqlx::query_as!(
        WebhookRow,
        r#"select id, url, description, events, failed_above, enabled, disabled_reason, two_secrets, created_at, updated_at,
                  (select count(*) from webhook_deliveries as d
                    where d.webhook_id = webhooks.id and d.state = 'pending') as "pending!"
             from webhooks
            where tenant_id = $1 and ($2::uuid is null or id = $2)
            order by id"#,
        tenant.get(),
        id.map(WebhookId::get),
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Changes a webhook. When it is enabled, it is notified of what happens from then on, and pending deliveries are tried.
pub async fn change(
    store: &Store,
    tenant: TenantId,
    id: WebhookId,
    change: &WebhookChange,
) -> Result<Option<WebhookInfo>, StoreError> {
    let mut transaction = store.pool().begin().await?;
    // Of two changes at once, each is compared with what the other one left.
    sqlx::query!(
        "select from webhooks where tenant_id = $1 and id = $2 for no key update",
        tenant.get(),
        id.get(),
    )
    .execute(&mut *transaction)
    .await?;
    let Some(before) = find(&mut *transaction, tenant, id).await? else { return Ok(None) };
    let changed = sqlx::query!(
        "update webhooks
            set url             = coalesce($3, url),
                description     = coalesce($4, description),
                events          = coalesce($5, events),
                failed_above    = case when $6 then $7 else failed_above end,
                seen            = case when not enabled and $8 then (select coalesce(max(number), 0) from events) else seen end,
                disabled_reason = case when $8 then null else disabled_reason end,
                enabled         = coalesce($8, enabled),
                updated_at      = now()
          where tenant_id = $1 and id = $2",
        tenant.get(),
        id.get(),
        change.url,
        change.description,
        change.events.as_deref(),
        change.failed_above.is_some(),
        change.failed_above.flatten().map(i16::from),
        change.enabled,
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if changed == 0 {
        return Ok(None);
    }
    let info = find(&mut *transaction, tenant, id).await?;
    if let Some(counts) = change.as_counts(&before) {
        let entry = Entry::of(Did::WebhookChange).to(id.get()).counting(counts);
        audit::note(&mut transaction, store, tenant, entry).await?;
    }
    transaction.commit().await?;
    Ok(info)
}

/// Deletes a webhook with its secrets and deliveries. False if there is none.
pub async fn delete(store: &Store, tenant: TenantId, id: WebhookId) -> Result<bool, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let deleted =
        sqlx::query!("delete from webhooks where tenant_id = $1 and id = $2", tenant.get(), id.get())
            .execute(&mut *transaction)
            .await?
            .rows_affected();
    if deleted == 1 {
        audit::note(&mut transaction, store, tenant, Entry::of(Did::WebhookDelete).to(id.get())).await?;
    }
    transaction.commit().await?;
    Ok(deleted == 1)
}

/// What giving a new secret came to.
#[derive(Debug)]
pub enum Rotated {
    /// The new secret, which is shown this once. The one before counts beside it.
    New(WebhookSecret),
    /// Two are valid already: one of them has to be dropped first.
    TwoAlready,
    /// There is no such webhook.
    NotFound,
}

/// Gives a webhook a new secret. The one that it had is valid until it is dropped.
pub async fn rotate(store: &Store, tenant: TenantId, id: WebhookId) -> Result<Rotated, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let Some(row) = locked(&mut transaction, tenant, id).await? else { return Ok(Rotated::NotFound) };
    if row.two {
        return Ok(Rotated::TwoAlready);
    }
    let (secret, sealed) = new_secret(&row.key)?;
    sqlx::query!(
        "update webhook_secrets set previous = current, current = $2, rotated_at = now() where webhook_id = $1",
        id.get(),
        sealed.as_bytes(),
    )
    .execute(&mut *transaction)
    .await?;
    set_two(&mut transaction, id, true).await?;
    audit::note(&mut transaction, store, tenant, Entry::of(Did::WebhookRotate).to(id.get())).await?;
    super::commit(store, transaction).await?;
    Ok(Rotated::New(secret))
}

/// Which of two secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The secret before the rotation.
    Old,
    /// The secret from the rotation.
    New,
}

/// What dropping a secret came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// The other one is the only one now.
    Done,
    /// There is one alone.
    OneAlone,
    /// There is no such webhook.
    NotFound,
}

/// Drops one of two secrets.
pub async fn drop_secret(
    store: &Store,
    tenant: TenantId,
    id: WebhookId,
    which: Which,
) -> Result<Dropped, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let Some(row) = locked(&mut transaction, tenant, id).await? else { return Ok(Dropped::NotFound) };
    if !row.two {
        return Ok(Dropped::OneAlone);
    }
    sqlx::query!(
        "update webhook_secrets set current = case when $2 then current else previous end, previous = null where webhook_id = $1",
        id.get(),
        which == Which::Old,
    )
    .execute(&mut *transaction)
    .await?;
    set_two(&mut transaction, id, false).await?;
    let which = if which == Which::Old { "old" } else { "new" };
    let entry = Entry::of(Did::WebhookDropSecret).to(id.get());
    let entry = entry.chosen(Some(json!({ "which": which })));
    audit::note(&mut transaction, store, tenant, entry).await?;
    transaction.commit().await?;
    Ok(Dropped::Done)
}

struct LockedSecrets {
    key: Vec<u8>,
    two: bool,
}

async fn locked(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: WebhookId,
) -> Result<Option<LockedSecrets>, StoreError> {
    Ok(sqlx::query_as!(
        LockedSecrets,
        r#"select key, previous is not null as "two!"
             from webhook_secrets
            where tenant_id = $1 and webhook_id = $2
              for update"#,
        tenant.get(),
        id.get(),
    )
    .fetch_optional(connection)
    .await?)
}

/// Front doors may not read secrets; the webhook's own row has their number.
async fn set_two(connection: &mut PgConnection, id: WebhookId, two: bool) -> Result<(), StoreError> {
    sqlx::query!("update webhooks set two_secrets = $2, updated_at = now() where id = $1", id.get(), two)
        .execute(connection)
        .await?;
    Ok(())
}
