//! Deliveries of webhooks: written from the events, claimed by a producer, and what came of each.
//!
//! A webhook remembers the last event whose delivery is written, and moves on in the transaction that writes: whatever dies, none is
//! missing, and one that is written again is refused by an index. A producer claims a webhook for as long as a try can take; a claim whose
//! holder died runs out, and another producer makes the delivery again. So each is made at least once, and to one webhook one at a time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::clock;
use crate::fault::{Mutant, mutant};
use crate::id::{DeliveryId, ImportId, TenantId, WebhookId};
use crate::import::DeliveryState;
use crate::outcome::Counts;
use crate::webhook::{self, Happening, SealedSecret, WebhookSecret};

/// Webhooks looked after in one go, and events of one of them.
const WEBHOOKS: i64 = 100;
const EVENTS: i64 = 200;
/// Deliveries that retention deletes in one go.
const FORGOTTEN: i64 = 1_000;

/// Writes deliveries for what happened since. Returns whether there may be more to write; a webhook that the store refuses stops no other.
pub async fn write_new(store: &Store) -> Result<bool, StoreError> {
    let behind = sqlx::query_scalar!(
        "select w.id
           from webhooks as w
          where w.enabled and exists (select from events as e where e.tenant_id = w.tenant_id and e.number > w.seen)
          order by w.id
          limit $1",
        WEBHOOKS,
    )
    .fetch_all(store.pool())
    .await?;
    let (mut more, mut problem) = (behind.len() as i64 == WEBHOOKS, None);
    for id in behind {
        match write_for(store, id).await {
            Ok(all) => more |= !all,
            Err(error) => {
                problem.get_or_insert(error);
            }
        }
    }
    problem.map_or(Ok(more), Err)
}

/// The same for one webhook. Returns whether all is written.
async fn write_for(store: &Store, id: Uuid) -> Result<bool, StoreError> {
    let mut transaction = store.pool().begin().await?;
    // Another producer that writes for it is waited for; what it wrote is seen then.
    let Some(webhook) = sqlx::query!(
        "select w.tenant_id, w.events, w.failed_above, w.seen, t.slug
           from webhooks as w
           join tenants as t on t.id = w.tenant_id
          where w.id = $1 and w.enabled
            for update of w",
        id,
    )
    .fetch_optional(&mut *transaction)
    .await?
    else {
        return Ok(true);
    };
    let happened = happened_since(&mut transaction, webhook.tenant_id, webhook.seen).await?;
    let Some(last) = happened.last().map(|event| event.number) else { return Ok(true) };
    let mut ids = clock::id_source();
    let mut rows = Rows::default();
    for event in &happened {
        if let Some(name) = event.told_as(&webhook.events) {
            rows.ids.push(ids.next_id());
            rows.events.push(event.number);
            rows.imports.push(event.import.get());
            rows.payloads.push(event.payload(&name, &webhook.slug));
            rows.names.push(name);
        }
        if let (Some(above), Some(counts), true) =
            (percent(webhook.failed_above), &event.counts, event.is_completion())
            && webhook::is_failing(counts, above)
        {
            let payload = webhook::failing_payload(&webhook.slug, event.import, counts, above, event.at);
            write_failing(&mut transaction, id, webhook.tenant_id, event.import, &payload).await?;
        }
    }
    write(&mut transaction, id, webhook.tenant_id, &rows).await?;
    sqlx::query!("update webhooks set seen = $2 where id = $1", id, last).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok((happened.len() as i64) < EVENTS)
}

fn percent(stored: Option<i16>) -> Option<u8> {
    stored.and_then(|percent| u8::try_from(percent).ok())
}

async fn happened_since(
    connection: &mut PgConnection,
    tenant: i32,
    seen: i64,
) -> Result<Vec<Happening>, StoreError> {
    let rows = sqlx::query!(
        r#"select e.number as "number!", e.import_id, e.at, e.kind, e.data, i.error ->> 'code' as error, i.final_counts as "counts?"
             from events as e
             left join imports as i on i.id = e.import_id
            where e.tenant_id = $1 and e.number > $2
            order by e.number
            limit $3"#,
        tenant,
        seen,
        EVENTS,
    )
    .fetch_all(connection)
    .await?;
    let happening =
        |(number, import, at, kind, data, error, counts): (_, _, _, _, _, _, Option<Value>)| Happening {
            number,
            import: ImportId::new(import),
            at,
            kind,
            data,
            error,
            counts: counts.and_then(|counts| serde_json::from_value(counts).ok()),
        };
    Ok(rows
        .into_iter()
        .map(|row| happening((row.number, row.import_id, row.at, row.kind, row.data, row.error, row.counts)))
        .collect())
}

/// Deliveries to be written, a column each.
#[derive(Default)]
struct Rows {
    ids: Vec<Uuid>,
    events: Vec<i64>,
    imports: Vec<Uuid>,
    names: Vec<String>,
    payloads: Vec<String>,
}

async fn write(
    connection: &mut PgConnection,
    webhook: Uuid,
    tenant: i32,
    rows: &Rows,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into webhook_deliveries (id, webhook_id, tenant_id, event, import_id, type, payload)
         select t.id, $1, $2, t.event, t.import_id, t.type, t.payload
           from unnest($3::uuid[], $4::bigint[], $5::uuid[], $6::text[], $7::text[]) as t (id, event, import_id, type, payload)
             on conflict do nothing",
        webhook,
        tenant,
        &rows.ids,
        &rows.events,
        &rows.imports,
        &rows.names,
        &rows.payloads,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Once an import and webhook, however often it is found.
async fn write_failing(
    connection: &mut PgConnection,
    webhook: Uuid,
    tenant: i32,
    import: ImportId,
    payload: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into webhook_deliveries (id, webhook_id, tenant_id, import_id, type, payload)
         values ($1, $2, $3, $4, 'import.failing', $5)
             on conflict do nothing",
        clock::new_id(),
        webhook,
        tenant,
        import.get(),
        payload,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes deliveries for imports that run and of which too many records have failed already.
pub async fn write_failing_imports(store: &Store) -> Result<(), StoreError> {
    let found = sqlx::query!(
        r#"select w.id, w.tenant_id, t.slug, w.failed_above as "above!", i.id as import_id, s.total as "total!",
                  s.pending as "pending!", s.inserted as "inserted!", s.updated as "updated!", s.skipped as "skipped!",
                  s.failed as "failed!"
             from webhooks as w
             join tenants as t on t.id = w.tenant_id
             join imports as i on i.tenant_id = w.tenant_id and i.state in ('running', 'paused')
            cross join lateral (
                  select coalesce(sum(records), 0) as total, coalesce(sum(pending), 0) as pending,
                         coalesce(sum(inserted), 0) as inserted, coalesce(sum(updated), 0) as updated,
                         coalesce(sum(skipped), 0) as skipped, coalesce(sum(failed), 0) as failed
                    from chunks
                   where import_id = i.id) as s
            where w.enabled and w.failed_above is not null
              and s.failed * 100 > (s.total - s.pending) * w.failed_above
              and not exists (select from webhook_deliveries as d
                               where d.webhook_id = w.id and d.import_id = i.id and d.type = 'import.failing')"#,
    )
    .fetch_all(store.pool())
    .await?;
    for row in found {
        let counts = Counts {
            total: row.total.unsigned_abs(),
            pending: row.pending.unsigned_abs(),
            inserted: row.inserted.unsigned_abs(),
            updated: row.updated.unsigned_abs(),
            skipped: row.skipped.unsigned_abs(),
            failed: row.failed.unsigned_abs(),
        };
        let Some(above) = percent(Some(row.above)).filter(|above| webhook::is_failing(&counts, *above))
        else {
            continue;
        };
        let import = ImportId::new(row.import_id);
        let payload = webhook::failing_payload(&row.slug, import, &counts, above, clock::now());
        let mut connection = store.pool().acquire().await?;
        write_failing(&mut connection, row.id, row.tenant_id, import, &payload).await?;
    }
    Ok(())
}

/// A delivery that this program is to try now.
#[derive(Debug)]
pub struct Claim {
    claim: Uuid,
    /// Of which webhook.
    pub webhook: WebhookId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Where it leads.
    pub url: String,
    /// Name of what is told.
    pub kind: String,
    /// The delivery.
    pub delivery: DeliveryId,
    /// What is sent, byte for byte.
    pub payload: String,
    /// How often it was tried before.
    pub attempts: u32,
    /// What it is signed with: the new secret first. Empty where they cannot be read.
    pub secrets: Vec<WebhookSecret>,
}

/// Claims up to `most` webhooks with a delivery that is due, for so many seconds, and gives the next delivery of each: what was not tried
/// yet in the order of the events, then what failed before. The webhook that has waited longest comes first.
pub async fn claim(store: &Store, most: i64, seconds: f64) -> Result<Vec<Claim>, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let claimed = sqlx::query_scalar!(
        r#"with free as (
               select w.id
                 from webhooks as w
                 join tenants as t on t.id = w.tenant_id and t.disabled_at is null
                where (w.claimed_until is null or w.claimed_until < now() or $3)
                  and exists (select from webhook_deliveries as d
                               where d.webhook_id = w.id and d.state = 'pending' and d.due_at <= now()
                                 and (w.enabled or d.type = 'webhook.ping'))
                order by w.tried_at nulls first, w.id
                limit $1
                  for update of w skip locked
           )
           update webhooks as w
              set claim = gen_random_uuid(), claimed_until = now() + make_interval(secs => $2), tried_at = now()
             from free
            where w.id = free.id
           returning w.claim as "claim!""#,
        most,
        seconds,
        mutant(Mutant::WebhookAtOnce),
    )
    .fetch_all(&mut *transaction)
    .await?;
    if claimed.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        r#"select w.id, w.tenant_id, w.url, w.claim as "claim!", d.id as "delivery!", d.type as "kind!", d.payload as "payload!",
                  d.attempts as "attempts!", s.key, s.current, s.previous
             from webhooks as w
             join webhook_secrets as s on s.webhook_id = w.id
            cross join lateral (
                  select d.id, d.type, d.payload, d.attempts
                    from webhook_deliveries as d
                   where d.webhook_id = w.id and d.state = 'pending' and d.due_at <= now()
                     and (w.enabled or d.type = 'webhook.ping')
                   order by d.attempts > 0, case when d.attempts = 0 then d.event end nulls first, d.due_at, d.id
                   limit 1) as d
            where w.claim = any ($1)"#,
        &claimed,
    )
    .fetch_all(&mut *transaction)
    .await?;
    transaction.commit().await?;
    let open =
        |key: &[u8], sealed: Option<Vec<u8>>| sealed.and_then(|sealed| SealedSecret::new(sealed).open(key));
    Ok(rows
        .into_iter()
        .map(|row| Claim {
            claim: row.claim,
            webhook: WebhookId(row.id),
            tenant: TenantId(row.tenant_id),
            url: row.url,
            kind: row.kind,
            delivery: DeliveryId(row.delivery),
            payload: row.payload,
            attempts: row.attempts.unsigned_abs(),
            secrets: [open(&row.key, Some(row.current)), open(&row.key, row.previous)]
                .into_iter()
                .flatten()
                .collect(),
        })
        .collect())
}

/// How a try went.
#[derive(Debug, Clone, PartialEq)]
pub struct Try {
    /// When it began.
    pub at: DateTime<Utc>,
    /// Status of the answer, where there was one.
    pub status: Option<u16>,
    /// What went wrong. Without anything of the address or of the answer.
    pub problem: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// What follows from a try.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// The receiver has it.
    Delivered,
    /// It is tried again after a pause, unless its time is over by then.
    Again {
        /// The pause.
        pause: Duration,
        /// How long after its first try it is given up.
        give_up_after: Duration,
    },
    /// The receiver wants nothing any more: the webhook is disabled.
    Gone,
}

/// Writes down how a try went, and gives the webhook back. `None` where the claim had run out, so that another producer has it.
pub async fn finish(
    store: &Store,
    claim: &Claim,
    tried: &Try,
    next: Next,
) -> Result<Option<DeliveryState>, StoreError> {
    let (pause, give_up_after) = match next {
        Next::Again { pause, give_up_after } => (pause, give_up_after),
        Next::Delivered | Next::Gone => (Duration::ZERO, Duration::ZERO),
    };
    let gone = next == Next::Gone && !mutant(Mutant::GoneGoesOn);
    let mut transaction = store.pool().begin().await?;
    let given_back = sqlx::query!(
        "update webhooks
            set claim = null, claimed_until = null,
                disabled_reason = case when $3 and enabled then 'gone' else disabled_reason end,
                enabled = enabled and not $3
          where id = $1 and claim = $2",
        claim.webhook.get(),
        claim.claim,
        gone,
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if given_back == 0 {
        return Ok(None);
    }
    let noted = json!([{
        "at": tried.at, "status": tried.status, "problem": tried.problem,
        "took_ms": u64::try_from(tried.took.as_millis()).unwrap_or(u64::MAX),
    }]);
    let state = sqlx::query_scalar!(
        r#"with next as (
               select case when $3 then 'delivered'
                           when $4 or coalesce(give_up_at, now() + make_interval(secs => $6)) < now() + make_interval(secs => $5)
                           then 'failed'
                           else 'pending' end as state
                 from webhook_deliveries
                where id = $1
           )
           update webhook_deliveries as d
              set attempts   = d.attempts + 1,
                  -- The last ten.
                  tries      = jsonb_path_query_array(d.tries, '$[last - 8 to last]') || $2::jsonb,
                  give_up_at = coalesce(d.give_up_at, now() + make_interval(secs => $6)),
                  state      = next.state,
                  due_at     = case when next.state = 'pending' then now() + make_interval(secs => $5) end,
                  ended_at   = case when next.state <> 'pending' then now() end
             from next
            where d.id = $1 and d.state = 'pending'
           returning d.state"#,
        claim.delivery.get(),
        noted,
        next == Next::Delivered,
        next == Next::Gone,
        pause.as_secs_f64(),
        give_up_after.as_secs_f64(),
    )
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    let state = state.map(|text| text.parse().map_err(|_| corrupt(claim.delivery))).transpose()?;
    Ok(state)
}

fn corrupt(delivery: DeliveryId) -> StoreError {
    StoreError::corrupt("webhook_deliveries", "state", delivery)
}

/// A delivery as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryInfo {
    /// Id: what the receiver gets as `webhook-id`.
    pub id: DeliveryId,
    /// Name of what is told.
    pub kind: String,
    /// Number of the event, where it is of one.
    pub event: Option<i64>,
    /// The import, where it is of one.
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
        let id = DeliveryId(row.id);
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

/// Makes a delivery due at once, whatever became of it, with as much time for its tries as a new one. `None` if the tenant's webhook has
/// none of this id.
pub async fn redeliver(
    store: &Store,
    tenant: TenantId,
    webhook: WebhookId,
    delivery: DeliveryId,
) -> Result<Option<DeliveryInfo>, StoreError> {
    sqlx::query_as!(
        DeliveryRow,
        "update webhook_deliveries
            set state = 'pending', due_at = now(), give_up_at = null, ended_at = null
          where tenant_id = $1 and webhook_id = $2 and id = $3
         returning id, type as kind, event, import_id, state, attempts, tries, payload, created_at, due_at, ended_at",
        tenant.get(),
        webhook.get(),
        delivery.get(),
    )
    .fetch_optional(store.pool())
    .await?
    .map(DeliveryInfo::try_from)
    .transpose()
}

/// Writes a delivery that says nothing, so that the webhook can be tried. `None` if the tenant has no such webhook.
pub async fn ping(
    store: &Store,
    tenant: TenantId,
    webhook: WebhookId,
) -> Result<Option<DeliveryInfo>, StoreError> {
    let Some(slug) = sqlx::query_scalar!(
        "select t.slug from webhooks as w join tenants as t on t.id = w.tenant_id where w.tenant_id = $1 and w.id = $2",
        tenant.get(),
        webhook.get(),
    )
    .fetch_optional(store.pool())
    .await?
    else {
        return Ok(None);
    };
    sqlx::query_as!(
        DeliveryRow,
        "insert into webhook_deliveries (id, webhook_id, tenant_id, type, payload)
         values ($1, $2, $3, 'webhook.ping', $4)
         returning id, type as kind, event, import_id, state, attempts, tries, payload, created_at, due_at, ended_at",
        clock::new_id(),
        webhook.get(),
        tenant.get(),
        webhook::ping_payload(&slug, webhook.get(), clock::now()),
    )
    .fetch_one(store.pool())
    .await?
    .try_into()
    .map(Some)
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
