//! Consuming: take a delivery, apply it, settle it. As many at a time as the worker has permits, each taken before receiving.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::{Duration, Instant};

use muster_shared::fault::{self, Point};
use muster_shared::holding::Holder;
use muster_shared::id::{ChunkId, ImportId};
use muster_shared::outcome::Counts;
use muster_shared::queue::{Delivery, Message, Settler};
use muster_shared::retry::{Backoff, Policy as RetryPolicy};
use muster_shared::rules::Rules;
use muster_shared::store::{self, ErrorKind, Store, StoreError};
use muster_shared::{clock, queue};
use rand::Rng;
use tokio::sync::{Mutex, OwnedSemaphorePermit};

use crate::apply::{Care, Report, apply};
use crate::settle::{Applied, Policy, Verdict, decide};
use crate::slots::Slots;

/// Tries of one delivery in a row before a collision is met by working alone, and before it counts as a failed attempt.
const CROWDED_TRIES: u32 = 3;
const TRIES: u32 = 6;
/// Imports whose rules are remembered.
const REMEMBERED: usize = 1_000;

/// What all deliveries of a worker share.
#[derive(Debug)]
pub(crate) struct Shared {
    store: Store,
    slots: Slots,
    policy: Policy,
    rules: SyncMutex<HashMap<ImportId, Arc<Rules>>>,
    /// Notes the chunks in work, so that nobody takes them for lost.
    holder: Holder,
    /// Held while a chunk is applied that was delivered before: whatever ended the worker then, it ends now with that
    /// chunk alone on its conscience, and only that chunk's attempt was counted.
    suspects: Mutex<()>,
}

impl Shared {
    pub(crate) fn new(store: Store, policy: Policy, holder: Holder) -> Self {
        let slots = Slots::new(store.clone());
        Self { store, slots, policy, rules: SyncMutex::default(), holder, suspects: Mutex::new(()) }
    }

    async fn rules(&self, import: ImportId) -> Result<Option<Arc<Rules>>, StoreError> {
        fault::point(Point::Rules)?;
        let known = self.rules.lock().unwrap_or_else(PoisonError::into_inner).get(&import).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Some(options) = store::apply::options(&self.store, import).await? else { return Ok(None) };
        let rules = Arc::new(Rules::new(options));
        let mut cache = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= REMEMBERED {
            cache.clear();
        }
        cache.insert(import, rules.clone());
        Ok(Some(rules))
    }
}

/// Applies and settles one delivery. Holds its permit until it is settled.
pub(crate) async fn handle(shared: Arc<Shared>, delivery: Delivery, permit: OwnedSemaphorePermit) {
    let redelivered = delivery.redelivered;
    let (message, settler) = delivery.into_parts();
    match message {
        Ok(message) => {
            let chunk = ChunkId::new(message.headers.chunk_id);
            let _held = shared.holder.hold(chunk);
            let verdict = work(&shared, &message, redelivered).await;
            settle(&shared, chunk, verdict, settler).await;
        }
        Err(error) => {
            tracing::warn!(%error, "a message that is none of ours was parked");
            settled(settler.dead_letter(error.to_string()).await);
        }
    }
    drop(permit);
}

/// Works on a delivery until it can be settled, through outages of the store.
async fn work(shared: &Shared, message: &Message, redelivered: bool) -> Verdict {
    let chunk = ChunkId::new(message.headers.chunk_id);
    let started = Instant::now();
    let suspect = if redelivered { Some(shared.suspects.lock().await) } else { None };
    let mut attempts = message.headers.attempt;
    if suspect.is_some() {
        match persist(|| store::apply::count_attempt(&shared.store, chunk)).await {
            Ok(Some(spent)) if spent >= shared.policy.attempts => {
                bury(shared, chunk, "the worker died while applying it, as often as it may").await;
                return Verdict::Ack;
            }
            Ok(Some(spent)) => attempts = spent + 1,
            Ok(None) => return Verdict::Ack,
            Err(error) => tracing::error!(%chunk, %error, "an attempt could not be counted"),
        }
    }
    let mut backoff = Backoff::new(RetryPolicy::RECONNECT);
    let mut tries = 0;
    let mut care = Care::default();
    loop {
        tries += 1;
        let (applied, problem) = match attempt(shared, message, care).await {
            Ok(Report::Done(counts)) => {
                log_applied(message, &counts, started, attempts);
                (Applied::Done, None)
            }
            Ok(Report::NothingToDo) => (Applied::NothingToDo, None),
            Ok(Report::Unknown) => (Applied::Unknown, None),
            Ok(Report::Broken(why)) => (Applied::Broken, Some(why)),
            Err(error) => {
                let kind = error.kind();
                if tries < TRIES && recover(&error, tries, &mut care) {
                    tracing::debug!(%chunk, %error, tries, "applied again");
                    continue;
                }
                tracing::warn!(%chunk, %error, tries, "the chunk could not be applied");
                (Applied::Failed(kind), Some(error.to_string()))
            }
        };
        let jitter = clock::rng().random::<f64>();
        match decide(applied, attempts, &shared.policy, jitter) {
            Verdict::Hold => tokio::time::sleep(backoff.delay()).await,
            Verdict::PutOff(delay) => {
                put_off(shared, chunk, delay, problem.as_deref().unwrap_or("unknown")).await;
                return Verdict::Ack;
            }
            Verdict::Bury => {
                bury(shared, chunk, problem.as_deref().unwrap_or("unknown")).await;
                return Verdict::Ack;
            }
            verdict @ (Verdict::Ack | Verdict::Park(_)) => return verdict,
        }
        tries = 0;
    }
}

/// Whether to try again at once, and how.
fn recover(error: &StoreError, tries: u32, care: &mut Care) -> bool {
    match error.kind() {
        ErrorKind::Conflict => {
            care.alone |= tries >= CROWDED_TRIES || matches!(error, StoreError::NotAlone);
            true
        }
        ErrorKind::Data if !care.split => {
            care.split = true;
            true
        }
        // With one more look: the connection may have been stale.
        ErrorKind::Transient => tries < 2,
        ErrorKind::Data | ErrorKind::Permanent => false,
    }
}

async fn attempt(shared: &Shared, message: &Message, care: Care) -> Result<Report, StoreError> {
    fault::point(Point::Consume)?;
    let Some(rules) = shared.rules(ImportId::new(message.headers.import_id)).await? else {
        return Ok(Report::Unknown);
    };
    let mut connection = shared.slots.take().await?;
    let mut ids = clock::id_source();
    let chunk = ChunkId::new(message.headers.chunk_id);
    // On an error the connection is dropped here, and whatever it was in the middle of with it.
    let report = apply(&mut connection, chunk, &message.body, &rules, &mut ids, care).await?;
    shared.slots.give_back(connection);
    Ok(report)
}

async fn settle(shared: &Shared, chunk: ChunkId, verdict: Verdict, settler: Settler) {
    let sent = match verdict {
        Verdict::Park(why) => {
            tracing::warn!(%chunk, why, "a message was parked");
            settler.dead_letter(why).await
        }
        Verdict::Ack | Verdict::PutOff(_) | Verdict::Bury | Verdict::Hold => acked(settler).await,
    };
    settled(sent);
    if let Err(fault) = fault::point_of(Point::AfterAck, chunk.get()) {
        tracing::warn!(%fault, "told to fail after the ack");
    }
    // The lane's next chunk can go out. Should this be lost, the dispatcher looks by itself soon.
    if let Err(error) = store::dispatch::wake(&shared.store).await {
        tracing::debug!(%error, "the dispatcher could not be woken");
    }
}

async fn acked(settler: Settler) -> Result<(), queue::QueueError> {
    fault::point(Point::BeforeAck)?;
    settler.ack().await
}

/// An ack that is lost makes the message come again, which changes nothing (P3).
fn settled(sent: Result<(), queue::QueueError>) {
    if let Err(error) = sent {
        tracing::debug!(%error, "a delivery could not be settled and will come again");
    }
}

/// Writes down that a chunk was put off; counts the attempt first, so that no crash in between makes it free.
async fn put_off(shared: &Shared, chunk: ChunkId, delay: Duration, problem: &str) {
    let counted = persist(|| store::apply::count_attempt(&shared.store, chunk)).await;
    let put_off = persist(|| store::apply::put_off(&shared.store, chunk, delay.as_secs_f64(), problem)).await;
    if let Err(error) = counted.map(|_| ()).and(put_off) {
        tracing::error!(%chunk, %error, "a chunk could not be put off; its lease will bring it back");
    }
}

async fn bury(shared: &Shared, chunk: ChunkId, problem: &str) {
    match persist(|| store::apply::bury(&shared.store, chunk, problem)).await {
        Ok(true) => {
            metrics::counter!("muster_chunks_dead_total").increment(1);
            tracing::error!(%chunk, problem, "a chunk is dead");
        }
        Ok(false) => {}
        Err(error) => {
            tracing::error!(%chunk, %error, "a chunk could not be buried; its lease will bring it back")
        }
    }
}

/// Repeats an operation of the store for as long as the store is away.
async fn persist<T, Try: Future<Output = Result<T, StoreError>>>(
    operation: impl Fn() -> Try,
) -> Result<T, StoreError> {
    let mut backoff = Backoff::new(RetryPolicy::RECONNECT);
    loop {
        match operation().await {
            Err(error) if error.kind() == ErrorKind::Transient => {
                tracing::debug!(%error, "the store is away");
                tokio::time::sleep(backoff.delay()).await;
            }
            result => return result,
        }
    }
}

fn log_applied(message: &Message, counts: &Counts, started: Instant, attempt: u32) {
    let elapsed = started.elapsed();
    metrics::counter!("muster_records_total", "outcome" => "inserted").increment(counts.inserted);
    metrics::counter!("muster_records_total", "outcome" => "updated").increment(counts.updated);
    metrics::counter!("muster_records_total", "outcome" => "skipped").increment(counts.skipped);
    metrics::counter!("muster_records_total", "outcome" => "failed").increment(counts.failed);
    metrics::histogram!("muster_chunk_seconds").record(elapsed.as_secs_f64());
    tracing::info!(
        import = %message.headers.import_id,
        chunk = message.headers.chunk_id,
        attempt,
        records = counts.total,
        inserted = counts.inserted,
        updated = counts.updated,
        skipped = counts.skipped,
        failed = counts.failed,
        milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        "chunk applied"
    );
}
