//! One consumer's session: a connection, its number, the lock on that number, and the statements that go over it.
//!
//! A session is moved into each [`turn`](Session::turn) and comes back only with its result. So a turn that
//! is cancelled (it took too long, or the queue was dropped) closes its connection, and no half-used
//! connection is used again. Other consumers release what the session held.

use std::collections::HashSet;

use muster_domain::fault::{self, Point};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::socket;
use crate::QueueError;
use crate::delivery::{Settle, Settlement};
use crate::message::{DecodeError, HeaderValue, Headers};

// First key of the advisory locks: "MQUE". The second is the consumer's number.
pub(super) const LOCK_CLASS: i32 = 0x4d51_5545;
/// The reason if the backend itself dead-letters a message, in RabbitMQ's wording.
const DELIVERY_LIMIT: &str = "delivery_limit";

#[derive(Debug)]
pub(super) struct Session {
    connection: PgConnection,
    // Looked up by name in every statement: a queue that is deleted and declared again has another id.
    queue: String,
    delivery_limit: i32,
    holder: i32,
}

/// A message that was claimed.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) id: i64,
    headers: serde_json::Value,
    pub(super) body: Vec<u8>,
    pub(super) deliveries: i32,
    pub(super) dead_reason: Option<String>,
}

/// What one turn is to do, in this order.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) settle: Vec<Settle>,
    /// Free what dead consumers hold.
    pub(super) sweep: bool,
    /// Claim so many ready messages at most.
    pub(super) claim: i64,
}

/// What one turn did.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) claimed: Vec<Claimed>,
    /// Messages became ready again, for whoever takes them.
    pub(super) freed: bool,
}

impl Session {
    pub(super) async fn open(
        options: &PgConnectOptions,
        queue: &str,
        delivery_limit: u32,
    ) -> Result<Self, QueueError> {
        fault::point(Point::OpenSession)?;
        let mut connection = socket::connect(options).await?;
        // The server ends the session of a consumer that is frozen or disconnected. Otherwise its lock would hold its messages forever.
        sqlx::raw_sql("set idle_session_timeout = '10s'").execute(&mut connection).await?;
        sqlx::query!("insert into queues (name) values ($1) on conflict (name) do nothing", queue)
            .execute(&mut connection)
            .await?;
        let delivery_limit = i32::try_from(delivery_limit).unwrap_or(i32::MAX);
        let holder = loop {
            let taken = sqlx::query!(
                r#"with next as materialized (select nextval('queue_holders')::integer as holder)
                   select holder as "holder!", pg_try_advisory_lock($1, holder) as "free!" from next"#,
                LOCK_CLASS
            )
            .fetch_one(&mut connection)
            .await?;
            // Not free: the numbers have started again and met a consumer that still lives.
            if taken.free {
                break taken.holder;
            }
        };
        Ok(Self { connection, queue: queue.to_owned(), delivery_limit, holder })
    }

    /// Settles, sweeps and claims. Replies to what it settles.
    pub(super) async fn turn(mut self, work: Work) -> Result<(Self, Turn), sqlx::Error> {
        let requeued = self.settle(work.settle).await?;
        let swept = work.sweep && self.sweep().await? > 0;
        let claimed = if work.claim > 0 { self.claim(work.claim).await? } else { Vec::new() };
        Ok((self, Turn { claimed, freed: requeued || swept }))
    }

    /// Gives the number up at once, rather than when the server notices that the connection is gone.
    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }

    async fn settle(&mut self, commands: Vec<Settle>) -> Result<bool, sqlx::Error> {
        let (mut acks, mut requeues, mut dead_lettered, mut reasons) = (vec![], vec![], vec![], vec![]);
        for command in &commands {
            // A tag is a row's id, and ids are positive.
            let id = command.tag.cast_signed();
            match &command.how {
                Settlement::Ack => acks.push(id),
                Settlement::Requeue => requeues.push(id),
                Settlement::DeadLetter { reason } => {
                    dead_lettered.push(id);
                    reasons.push(reason.clone());
                }
            }
        }
        let mut done = HashSet::new();
        if !acks.is_empty() {
            done.extend(self.ack(&acks).await?);
        }
        if !requeues.is_empty() {
            done.extend(self.requeue(&requeues).await?);
        }
        if !dead_lettered.is_empty() {
            done.extend(self.dead_letter(&dead_lettered, &reasons).await?);
        }
        for Settle { tag, reply, .. } in commands {
            let Some(reply) = reply else { continue };
            // No such row: the queue was purged or deleted meanwhile.
            let held = done.contains(&tag.cast_signed());
            // The receiver gave up waiting: there is nobody to tell.
            drop(reply.send(if held { Ok(()) } else { Err(QueueError::Lost) }));
        }
        Ok(!requeues.is_empty())
    }

    async fn ack(&mut self, ids: &[i64]) -> Result<Vec<i64>, sqlx::Error> {
        fault::point(Point::RowAck).map_err(std::io::Error::from)?;
        sqlx::query_scalar!(
            "delete from queue_messages where id = any($1) and holder = $2 returning id",
            ids,
            self.holder
        )
        .fetch_all(&mut self.connection)
        .await
    }

    async fn requeue(&mut self, ids: &[i64]) -> Result<Vec<i64>, sqlx::Error> {
        sqlx::query_scalar!(
            "update queue_messages
             set    holder = null,
                    -- What lies in the dead-letter queue stays there, for the reason it has.
                    dead_reason = case when dead_reason is null and deliveries > $3 then $4 else dead_reason end
             where  id = any($1) and holder = $2
             returning id",
            ids,
            self.holder,
            self.delivery_limit,
            DELIVERY_LIMIT
        )
        .fetch_all(&mut self.connection)
        .await
    }

    async fn dead_letter(&mut self, ids: &[i64], reasons: &[String]) -> Result<Vec<i64>, sqlx::Error> {
        sqlx::query_scalar!(
            "update queue_messages message
             set    holder = null, dead_reason = parked.reason
             from   unnest($1::bigint[], $2::text[]) as parked (id, reason)
             where  message.id = parked.id and message.holder = $3
             returning message.id",
            ids,
            reasons,
            self.holder
        )
        .fetch_all(&mut self.connection)
        .await
    }

    async fn sweep(&mut self) -> Result<u64, sqlx::Error> {
        let freed = sqlx::query!(
            "with holders as materialized (
                 select distinct holder
                 from   queue_messages
                 where  queue_id = (select id from queues where name = $1) and holder is not null and holder <> $2
             ), dead as materialized (
                 -- Whoever gets a holder's lock knows that the holder is dead: it had taken the lock before its first
                 -- claim. The lock is let go with this statement; another sweep at the same time passes over it.
                 select holder from holders where pg_try_advisory_xact_lock($3, holder)
             )
             update queue_messages message
             set    holder = null,
                    dead_reason = case when dead_reason is null and deliveries > $4 then $5 else dead_reason end
             from   dead
             -- Read again from the newest version of the row: what another freed and a third claimed is not touched.
             where  message.queue_id = (select id from queues where name = $1) and message.holder = dead.holder",
            self.queue,
            self.holder,
            LOCK_CLASS,
            self.delivery_limit,
            DELIVERY_LIMIT
        )
        .execute(&mut self.connection)
        .await?;
        Ok(freed.rows_affected())
    }

    async fn claim(&mut self, most: i64) -> Result<Vec<Claimed>, sqlx::Error> {
        fault::point(Point::RowClaim).map_err(std::io::Error::from)?;
        let mut claimed = sqlx::query_as!(
            Claimed,
            "with next as materialized (
                 select id
                 from   queue_messages
                 where  queue_id = (select id from queues where name = $1) and holder is null and dead_reason is null
                 order  by id
                 limit  $3
                 for    update skip locked
             )
             update queue_messages message
             set    holder = $2, deliveries = deliveries + 1
             from   next
             where  message.id = next.id
             returning message.id, headers, body, deliveries, dead_reason",
            self.queue,
            self.holder,
            most
        )
        .fetch_all(&mut self.connection)
        .await?;
        // RETURNING has no order.
        claimed.sort_unstable_by_key(|message| message.id);
        Ok(claimed)
    }

    /// Claims from the dead-letter queue. Not counted as a delivery.
    pub(super) async fn claim_dead(mut self, most: i64) -> Result<(Self, Vec<Claimed>), sqlx::Error> {
        // A taker that died would otherwise hide its dead letters until a consumer sweeps.
        self.sweep().await?;
        let mut claimed = sqlx::query_as!(
            Claimed,
            "with next as materialized (
                 select id
                 from   queue_messages
                 where  queue_id = (select id from queues where name = $1) and holder is null and dead_reason is not null
                 order  by id
                 limit  $3
                 for    update skip locked
             )
             update queue_messages message
             set    holder = $2
             from   next
             where  message.id = next.id
             returning message.id, headers, body, deliveries, dead_reason",
            self.queue,
            self.holder,
            most
        )
        .fetch_all(&mut self.connection)
        .await?;
        claimed.sort_unstable_by_key(|message| message.id);
        Ok((self, claimed))
    }
}

impl Claimed {
    /// The headers, or why they are none.
    pub(super) fn headers(&self) -> Result<Headers, DecodeError> {
        Headers::decode(|name| match self.headers.get(name)? {
            serde_json::Value::Number(number) => number.as_i64().map(HeaderValue::Integer),
            serde_json::Value::String(text) => Some(HeaderValue::Text(text.clone())),
            _ => None,
        })
    }
}
