//! Consuming: take a delivery, apply it, settle it. As many at a time as the worker has permits, each taken before receiving.
//!
//! Who waits where: while the store cannot be reached, the delivery is held here, without an attempt; what the store answers
//! with but does not take waits in the store, and its message is acked, so that its place in the window is free.

mod canon;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use muster_domain::fault::{self, Mutant, Point};
use muster_domain::id::{ChunkId, TenantId};
use muster_queue::{Delivery, Message, QueueError, Settler};
use muster_runtime::clock;
use muster_runtime::retry::{Backoff, Policy as RetryPolicy};
use muster_store::apply::{self as store, Later};
use muster_store::holding::Holder;
use muster_store::{ErrorKind, StoreError};
use rand::Rng;
use tokio::sync::{OwnedSemaphorePermit, RwLock};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use canon::{log_applied, log_planned};

use crate::apply::{Care, Job, Report};
use crate::room::Room;
use crate::rules::RulesCache;
use crate::settle::{Applied, Policy, Standing, Verdict, decide};
use crate::slots::Slots;
use crate::split::waited;

/// Tries of one delivery in a row before a collision is met by working alone, before a collision that goes on although nobody
/// else writes is taken for a refusal, and before the attempt has failed.
const CROWDED_TRIES: u32 = 3;
const REFUSED_TRIES: u32 = 5;
const TRIES: u32 = 8;
/// Steps in a row that a database that can be reached does not answer in time, after which the chunk is deferred.
const SILENT_TRIES: u32 = 3;

/// What all deliveries of a worker share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// This worker, for as long as its process lives.
    worker: Uuid,
    slots: Slots,
    /// What all chunks in work take in memory together.
    room: Room,
    policy: Policy,
    rules: RulesCache,
    /// Shared by what is applied; held alone for a chunk that another worker began and did not end. Should that chunk end this
    /// worker too, it ends it with that chunk alone on its conscience.
    seclusion: RwLock<()>,
    /// Notes the chunks in work, so that nobody takes them for lost.
    holder: Holder,
    /// No more is taken; what waits for the store is given back.
    stop: CancellationToken,
    /// How long a worker that stops tries to take its notes away.
    releasing: Duration,
}

impl Shared {
    pub(crate) fn new(
        slots: Slots,
        room: Room,
        policy: Policy,
        holder: Holder,
        stop: CancellationToken,
        releasing: Duration,
    ) -> Self {
        Self {
            worker: clock::new_id(),
            slots,
            room,
            policy,
            rules: RulesCache::default(),
            seclusion: RwLock::new(()),
            holder,
            stop,
            releasing,
        }
    }

    /// Whose a message's chunk is, as lines of the log tell it.
    fn label(&self, message: &Message) -> Label {
        let tenant = message.headers.tenant;
        let name = tenant.and_then(|tenant| self.rules.tenant_name(TenantId::new(tenant)));
        Label {
            import: message.headers.import_id,
            tenant: name.map_or_else(
                || tenant.map_or_else(|| "-".into(), |id| id.to_string()),
                |name| name.to_string(),
            ),
            chunk: ChunkId::new(message.headers.chunk_id),
        }
    }

    /// One try of a delivery. True beside an error: the store could be reached.
    async fn try_once(
        &self,
        job: &Job<'_>,
        care: Care,
        standing: &mut Standing,
    ) -> Result<Report, (StoreError, bool)> {
        fault::point(Point::Consume).map_err(|fault| (fault.into(), true))?;
        // Before the seclusion: whoever holds room never waits for more of it.
        let _room = self.room.take(&job.message.body).await;
        let (mut alone, mut beside) = (None, None);
        if care.secluded {
            alone = Some(self.seclusion.write().await);
        } else {
            beside = Some(self.seclusion.read().await);
        }
        let mut connection = self.slots.take().await.map_err(|error| (error, false))?;
        let result = job.apply(&mut connection, care, standing).await;
        match result {
            Ok(_) => self.slots.give_back(connection),
            // The connection is dropped, and whatever it was in the middle of with it.
            Err(_) => drop(connection),
        }
        drop((alone, beside));
        result.map_err(|error| {
            if !error.is_answer() && error.kind() == ErrorKind::Transient {
                self.slots.distrust();
            }
            (error, true)
        })
    }

    /// Writes something down about a chunk, over a connection of its own.
    async fn write_down(&self, chunk: ChunkId, note: Note<'_>) -> Result<bool, StoreError> {
        let mut connection = self.slots.take().await?;
        let step = async {
            match note {
                Note::Later(later) => store::put_off(&mut connection, chunk, self.worker, later).await,
                Note::Dead(problem) => store::end_dead(&mut connection, chunk, self.worker, problem).await,
                Note::Release => store::release(&mut connection, chunk, self.worker).await.map(|()| true),
                Note::Wake => store::wake_dispatchers(&mut connection).await.map(|()| true),
            }
        };
        let result = self.slots.within(step).await;
        match &result {
            Ok(_) => self.slots.give_back(connection),
            Err(_) => self.slots.distrust(),
        }
        result
    }

    /// The same until it is written, through outages of the store. `None`: the worker is to stop.
    async fn write_down_at_last(&self, chunk: ChunkId, note: Note<'_>) -> Option<Result<bool, StoreError>> {
        let mut backoff = Backoff::new(RetryPolicy::RECONNECT);
        loop {
            match self.write_down(chunk, note).await {
                // The chunk's row is held by somebody: no reason to hold its delivery too.
                Err(error) if error.kind() == ErrorKind::Transient && error.sqlstate() != Some("55P03") => {
                    tracing::debug!(%error, "the store is away");
                }
                result => return Some(result),
            }
            if !self.pause(backoff.delay()).await {
                return None;
            }
        }
    }

    /// Waits. False if the worker is to stop.
    async fn pause(&self, delay: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(delay) => true,
            () = self.stop.cancelled() => fault::mutant(Mutant::StopWithoutGrace),
        }
    }
}

/// Whose chunk a line of the log is about. The tenant's name, or its number where the name is not known yet.
#[derive(Debug, Clone)]
struct Label {
    import: Uuid,
    tenant: String,
    chunk: ChunkId,
}

/// What is written down about a chunk outside of its own transaction.
#[derive(Debug, Clone, Copy)]
enum Note<'a> {
    Later(Later<'a>),
    Dead(&'a str),
    Release,
    Wake,
}

/// Applies and settles one delivery. Holds its permit until it is settled.
pub(crate) async fn handle(shared: Arc<Shared>, delivery: Delivery, permit: OwnedSemaphorePermit) {
    let (message, settler) = delivery.into_parts();
    match message {
        Ok(message) => {
            let chunk = ChunkId::new(message.headers.chunk_id);
            let _held = shared.holder.hold(chunk);
            if fault::mutant(Mutant::AckBeforeCommit) {
                settled(settler.ack().await);
                work(&shared, &message).await;
            } else {
                let verdict = work_or_panic(&shared, &message).await;
                settle(&shared, &shared.label(&message), verdict, settler).await;
            }
        }
        Err(error) => {
            tracing::warn!(%error, "a message that is none of ours became a dead letter");
            settle_in_time(&shared, settler.dead_letter(error.to_string())).await;
        }
    }
    drop(permit);
}

/// A panic over a chunk is a failed attempt of that chunk, and of nothing else.
async fn work_or_panic(shared: &Shared, message: &Message) -> Verdict {
    let worked = AssertUnwindSafe(work(shared, message)).catch_unwind().await;
    match worked {
        Ok(verdict) => verdict,
        Err(_) => {
            let Label { import, tenant, chunk } = shared.label(message);
            tracing::error!(%import, tenant, %chunk, "the program panicked over a chunk");
            let standing = Standing { attempt: message.headers.attempt, deferrals: 0 };
            let applied = Applied::Failed(ErrorKind::Permanent);
            let verdict = decide(applied, standing, &shared.policy, jitter());
            conclude(shared, &shared.label(message), verdict, "the program panicked over it").await
        }
    }
}

/// Works on a delivery until it can be settled.
async fn work(shared: &Shared, message: &Message) -> Verdict {
    let started = Instant::now();
    metrics::counter!("muster_chunk_attempts_total").increment(1);
    let job = Job {
        message,
        worker: if fault::mutant(Mutant::RedeliveredIsSuspect) { clock::new_id() } else { shared.worker },
        attempts: shared.policy.attempts,
        slots: &shared.slots,
        rules: &shared.rules,
    };
    let mut standing = Standing { attempt: message.headers.attempt, deferrals: 0 };
    let mut backoff = Backoff::new(RetryPolicy::RECONNECT);
    let mut care = Care::default();
    let (mut tries, mut silent) = (0, 0);
    loop {
        tries += 1;
        let began = Instant::now();
        let (applied, problem) = match shared.try_once(&job, care, &mut standing).await {
            Ok(Report::Suspect) => {
                care.secluded = true;
                continue;
            }
            Ok(report) => told(&shared.label(message), report, started, standing.attempt),
            Err((error, reached)) => {
                silent = if reached && matches!(error, StoreError::Silent(_)) { silent + 1 } else { 0 };
                let held = waited(&error, began.elapsed(), &shared.slots.limits());
                let Label { import, tenant, chunk } = shared.label(message);
                if !held && tries < TRIES && recover(&error, reached, tries, &mut care) {
                    tracing::debug!(%import, tenant, %chunk, %error, tries, "applied again");
                    continue;
                }
                tracing::warn!(%import, tenant, %chunk, %error, tries, "the chunk could not be applied");
                (failed(&error, reached, silent), error.to_string())
            }
        };
        match decide(applied, standing, &shared.policy, jitter()) {
            Verdict::Hold => {
                if !shared.pause(backoff.delay()).await {
                    return give_back(shared, &shared.label(message)).await;
                }
            }
            verdict => return conclude(shared, &shared.label(message), verdict, &problem).await,
        }
        tries = 0;
    }
}

/// What a report means, and its reason where there is one.
fn told(label: &Label, report: Report, started: Instant, attempt: u32) -> (Applied, String) {
    match report {
        Report::Done(told) => {
            log_applied(label, &told, started, attempt);
            (Applied::Done, String::new())
        }
        Report::Planned(counts) => {
            log_planned(label, &counts, started, attempt);
            (Applied::Done, String::new())
        }
        Report::Waits => {
            (Applied::Waits, "it is applied after a chunk of another lane, as it was planned".into())
        }
        Report::NothingToDo => (Applied::NothingToDo, String::new()),
        Report::Unknown => (Applied::Unknown, String::new()),
        Report::Foreign => (Applied::Foreign, String::new()),
        // The caller met it by seclusion before; another worker may have died over the chunk since.
        Report::Suspect => (Applied::Away, String::new()),
        Report::Spent => (Applied::Spent, "the worker died while applying it, as often as it may".into()),
        Report::Newer(why) if fault::mutant(Mutant::NewerSpendsAttempts) => {
            (Applied::Failed(ErrorKind::Permanent), why)
        }
        Report::Newer(why) => (Applied::Newer, format!("it waits for a newer program: {why}")),
        Report::Broken(why) => (Applied::Broken, why),
        Report::Sick(error) => (refused(), format!("the database refuses every record: {error}")),
    }
}

/// The database answers, and this chunk is to wait for it.
fn refused() -> Applied {
    if fault::mutant(Mutant::SickHolds) { Applied::Away } else { Applied::Sick }
}

/// What an error means that trying again at once did not mend. `reached`: a connection could be had. `silent`: how many steps
/// in a row were not answered in time although it could.
fn failed(error: &StoreError, reached: bool, silent: u32) -> Applied {
    match error.kind() {
        // A database that takes no connection, for whatever reason, is away.
        _ if !reached => Applied::Away,
        ErrorKind::Transient if fault::mutant(Mutant::SplitByCodes) => Applied::Away,
        ErrorKind::Transient if error.is_answer() || silent >= SILENT_TRIES => refused(),
        ErrorKind::Transient => Applied::Away,
        // A row that this program cannot read was written by a newer one, or is damaged: no reason to end the chunk.
        ErrorKind::Permanent if matches!(error, StoreError::Corrupt { .. }) => Applied::Newer,
        kind => Applied::Failed(kind),
    }
}

/// Whether to try again at once, and how.
fn recover(error: &StoreError, reached: bool, tries: u32, care: &mut Care) -> bool {
    if fault::mutant(Mutant::SplitByCodes) && error.kind() != ErrorKind::Conflict {
        let data = error.kind() == ErrorKind::Data && !care.split;
        care.split |= data;
        return data || error.kind() == ErrorKind::Transient && tries < 2;
    }
    match error.kind() {
        ErrorKind::Conflict => {
            care.alone |= tries >= CROWDED_TRIES || matches!(error, StoreError::NotAlone);
            // Nobody else writes, and yet: it is refused.
            care.split |= tries >= REFUSED_TRIES;
            true
        }
        // Whatever the code says: whether it is one record or everything is found by splitting.
        _ if reached && error.is_answer() && !fault::mutant(Mutant::SplittingOff) => {
            !std::mem::replace(&mut care.split, true)
        }
        // With one more look: the connection may have been stale.
        ErrorKind::Transient => tries < 2,
        ErrorKind::Data | ErrorKind::Permanent => false,
    }
}

/// Writes a verdict down in the store.
async fn conclude(shared: &Shared, label: &Label, verdict: Verdict, problem: &str) -> Verdict {
    let Label { import, tenant, chunk } = label;
    let note = match verdict {
        Verdict::PutOff(delay) => Note::Later(Later { delay, problem, spends: true }),
        Verdict::Defer(delay) | Verdict::Wait(delay) => Note::Later(Later { delay, problem, spends: false }),
        Verdict::Bury => Note::Dead(problem),
        Verdict::Ack | Verdict::DeadLetter(_) | Verdict::Hold | Verdict::GiveBack => return verdict,
    };
    match shared.write_down_at_last(*chunk, note).await {
        Some(Ok(true)) if verdict == Verdict::Bury => {
            metrics::counter!("muster_chunks_dead_total").increment(1);
            tracing::error!(%import, tenant, %chunk, problem, "a chunk is dead");
        }
        Some(Ok(true)) if matches!(verdict, Verdict::Wait(_)) => {
            tracing::debug!(%import, tenant, %chunk, problem, "a chunk waits for another");
        }
        Some(Ok(true)) => {
            let spends = if matches!(verdict, Verdict::PutOff(_)) { "attempt" } else { "nothing" };
            metrics::counter!("muster_chunks_put_off_total", "spends" => spends).increment(1);
            tracing::warn!(%import, tenant, %chunk, problem, spends, "a chunk was put off");
        }
        Some(Ok(false)) => {}
        Some(Err(error)) => {
            tracing::error!(
                %import, tenant, %chunk, %error,
                "a chunk could not be put off or ended; its lease will bring it back"
            );
        }
        None => return give_back(shared, label).await,
    }
    verdict
}

/// Gives a delivery back because the worker stops. The store is away, or the delivery would not be given back; but a note that
/// stays counts as a death, so taking it away is tried for as long as the stop has time for it.
async fn give_back(shared: &Shared, label: &Label) -> Verdict {
    let Label { import, tenant, chunk } = label;
    let mut backoff = Backoff::new(RetryPolicy { longest: Duration::from_secs(1), ..RetryPolicy::RECONNECT });
    let released = async {
        while let Err(error) = shared.write_down(*chunk, Note::Release).await {
            tracing::debug!(%import, tenant, %chunk, %error, "a chunk that is given back is still noted as begun");
            if fault::mutant(Mutant::NoteLeftBehind) {
                return;
            }
            tokio::time::sleep(backoff.delay()).await;
        }
    };
    if tokio::time::timeout(shared.releasing, released).await.is_err() {
        tracing::warn!(
            %import, tenant, %chunk,
            "a chunk that is given back stays noted as begun: it may cost an attempt"
        );
    }
    Verdict::GiveBack
}

async fn settle(shared: &Shared, label: &Label, verdict: Verdict, settler: Settler) {
    let Label { import, tenant, chunk } = label;
    match verdict {
        Verdict::DeadLetter(why) => {
            tracing::warn!(%import, tenant, %chunk, why, "a message became a dead letter");
            settle_in_time(shared, settler.dead_letter(why)).await;
        }
        // Dropped, it is delivered to another worker.
        Verdict::GiveBack | Verdict::Hold => return drop(settler),
        Verdict::Ack | Verdict::PutOff(_) | Verdict::Defer(_) | Verdict::Wait(_) | Verdict::Bury => {
            settle_in_time(shared, acked(settler)).await;
        }
    }
    if let Err(fault) = fault::point_of(Point::AfterAck, chunk.get()) {
        tracing::warn!(%fault, "told to fail after the ack");
    }
    // The lane's next chunk can go out. Should this be lost, the dispatcher looks by itself soon.
    if let Err(error) = shared.write_down(*chunk, Note::Wake).await {
        tracing::debug!(%error, "the dispatcher could not be woken");
    }
}

async fn acked(settler: Settler) -> Result<(), QueueError> {
    fault::point(Point::BeforeAck)?;
    settler.ack().await
}

/// A broker that does not answer must not hold the permit.
async fn settle_in_time(shared: &Shared, sent: impl Future<Output = Result<(), QueueError>>) {
    match tokio::time::timeout(shared.slots.deadline(), sent).await {
        Ok(sent) => settled(sent),
        Err(_) => tracing::warn!("the broker did not answer in time; a delivery will come again"),
    }
}

/// An ack that is lost makes the message come again, which changes nothing (P3).
fn settled(sent: Result<(), QueueError>) {
    if let Err(error) = sent {
        tracing::debug!(%error, "a delivery could not be settled and will come again");
    }
}

fn jitter() -> f64 {
    clock::rng().random::<f64>()
}
