//! Deliveries of webhooks: written from the events, claimed by a producer, and the result of each.
//!
//! A webhook stores the last event whose delivery is written, and advances in the transaction that writes. So no crash loses a delivery,
//! and an index refuses a duplicate. A producer claims a webhook for as long as an attempt can take. The claim of a producer that died
//! expires, and another producer repeats the delivery. So each delivery is made at least once, and one at a time for each webhook.

mod log;
mod write;

use std::time::Duration;

use chrono::{DateTime, Utc};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{DeliveryId, TenantId, WebhookId};
use muster_domain::import::DeliveryState;
use muster_domain::webhook::{SealedSecret, WebhookSecret};
use serde_json::json;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{Store, StoreError};

pub use self::log::{DeliveryFilter, DeliveryInfo, MOST_PINGS, Pinged, find, forget, page, ping, redeliver};
pub use self::write::{write_failing_imports, write_new};

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
    /// The exact bytes that are sent.
    pub payload: String,
    /// How often it was tried before.
    pub attempts: u32,
    /// What it is signed with: the new secret first. Empty where they cannot be read.
    pub secrets: Vec<WebhookSecret>,
}

/// Claims webhooks: $1 at the most, for $2 seconds, of one tenant $4 that fail. $3 and $5 are mutants.
const CLAIM_DUE: &str = "
    with due as (
           select w.id, w.tenant_id, w.tried_at, coalesce(w.claimed_until >= now(), false) as taken,
                  not $5 and exists (select from webhook_deliveries as f
                                      where f.webhook_id = w.id and f.state = 'pending' and f.attempts > 0
                                        and (w.enabled or f.type = 'muster.ping')) as fails
             from webhooks as w
             join tenants as t on t.id = w.tenant_id and t.disabled_at is null
            where exists (select from webhook_deliveries as d
                           where d.webhook_id = w.id and d.state = 'pending' and d.due_at <= now()
                             and (w.enabled or d.type = 'muster.ping'))
       ),
       placed as (
           select id, fails,
                  row_number() over (partition by tenant_id, fails order by taken desc, tried_at nulls first, id) as place
             from due
       ),
       free as (
           select w.id
             from webhooks as w
             join placed as p on p.id = w.id
            where (w.claimed_until is null or w.claimed_until < now() or $3)
              and (not p.fails or p.place <= $4)
            order by p.fails, w.tried_at nulls first, w.id
            limit $1
              for no key update of w skip locked
       )
       update webhooks as w
          set claim = gen_random_uuid(), claimed_until = now() + make_interval(secs => $2), tried_at = now()
         from free
        where w.id = free.id
       returning w.claim";

/// Claims up to `most` webhooks with a delivery that is due, for so many seconds, and gives the next delivery of each: what was not tried
/// yet in the order of the events, a ping after those that were written before it, then what failed before. The webhook that has waited longest comes first.
///
/// A receiver that hangs takes its place for as long as a try can take. So webhooks with a failed delivery
/// come last, and those of one tenant take at most `failing` slots, whoever claimed them.
pub async fn claim(store: &Store, most: i64, failing: i64, seconds: f64) -> Result<Vec<Claim>, StoreError> {
    let mut transaction = store.pool().begin().await?;
    let claimed: Vec<Uuid> = sqlx::query_scalar(CLAIM_DUE)
        .bind(most)
        .bind(seconds)
        .bind(mutant(Mutant::WebhookAtOnce))
        .bind(failing)
        .bind(mutant(Mutant::FailingWebhooksFirst))
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
                     and (w.enabled or d.type = 'muster.ping')
                   order by d.attempts > 0,
                            -- What belongs to no event comes after the events whose deliveries were written before it.
                            case when d.attempts = 0
                                 then coalesce(d.event, (select e.event
                                                           from webhook_deliveries as e
                                                          where e.webhook_id = d.webhook_id and e.id < d.id and e.event is not null
                                                          order by e.id desc
                                                          limit 1))
                            end nulls first,
                            d.event is null, d.due_at, d.id
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
            webhook: WebhookId::new(row.id),
            tenant: TenantId::new(row.tenant_id),
            url: row.url,
            kind: row.kind,
            delivery: DeliveryId::new(row.delivery),
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
    if !give_back(&mut transaction, claim, gone).await? {
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

/// Gives the webhook of a claim back; disabled where its receiver is gone. False where another claim has it.
async fn give_back(connection: &mut PgConnection, claim: &Claim, gone: bool) -> Result<bool, StoreError> {
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
    .execute(connection)
    .await?;
    Ok(given_back.rows_affected() == 1)
}

fn corrupt(delivery: DeliveryId) -> StoreError {
    StoreError::corrupt("webhook_deliveries", "state", delivery)
}
