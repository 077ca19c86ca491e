//! Working on one delivery: apply its chunk, as often as that may help, until it can be settled.
//!
//! Where a chunk waits: while the store cannot be reached, the delivery is held here and no attempt is spent.
//! If the store answers but refuses the chunk, the chunk waits in the store and its message is acked, so that
//! its place in the window is free.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use muster_domain::fault::{self, Mutant};
use muster_domain::id::ChunkId;
use muster_queue::{Delivery, Message, Settler};
use muster_runtime::clock;
use muster_runtime::retry::{Backoff, Policy as RetryPolicy};
use muster_runtime::telemetry::traces::{self, Span};
use muster_store::connections::is_met_alone;
use muster_store::{ErrorKind, StoreError};
use rand::Rng;
use tokio::sync::OwnedSemaphorePermit;

use crate::apply::{ApplyMode, Job, Report};
use crate::bisect::waited;
use crate::log_lines::{log_applied, log_planned};
use crate::settle::{conclude, give_back, settle, settle_in_time, settled};
use crate::settlement::{Applied, Settlement, Standing, decide};
use crate::shared::{Label, Shared};
use crate::spans;

/// Tries of one delivery in a row before a collision that goes on although nobody else writes is taken for a refusal, and before the
/// attempt has failed.
const REFUSED_TRIES: u32 = 5;
const TRIES: u32 = 8;
/// Steps in a row that a database that can be reached does not answer in time, after which the chunk is deferred.
const SILENT_TRIES: u32 = 3;
/// Connections that broke while one delivery was applied, after which the chunk is deferred: it may be what breaks them.
const BROKEN_TRIES: u32 = 6;

/// Applies and settles one delivery. Holds its permit until it is settled.
pub(crate) async fn handle(shared: Arc<Shared>, delivery: Delivery, permit: OwnedSemaphorePermit) {
    let (message, settler) = delivery.into_parts();
    match message {
        Ok(message) => {
            let chunk = ChunkId::new(message.headers.chunk_id);
            let _held = shared.holder.hold(chunk);
            let mut span = spans::begin(&message);
            let context = span.context();
            traces::within(context, apply_and_settle(&shared, &message, settler, &mut span)).await;
        }
        Err(error) => {
            tracing::warn!(%error, "a message of another program became a dead letter");
            settle_in_time(&shared, settler.dead_letter(error.to_string())).await;
        }
    }
    drop(permit);
}

async fn apply_and_settle(shared: &Shared, message: &Message, settler: Settler, span: &mut Span) {
    if fault::mutant(Mutant::AckBeforeCommit) {
        settled(settler.ack().await);
        work(shared, message).await;
        return;
    }
    let settlement = work_or_panic(shared, message).await;
    spans::tell(span, settlement);
    settle(shared, &shared.label(message), settlement, settler).await;
}

/// A panic over a chunk is a failed attempt of that chunk, and of nothing else.
async fn work_or_panic(shared: &Shared, message: &Message) -> Settlement {
    let worked = AssertUnwindSafe(work(shared, message)).catch_unwind().await;
    match worked {
        Ok(settlement) => settlement,
        Err(_) => {
            let Label { import, tenant, chunk } = shared.label(message);
            tracing::error!(%import, tenant, %chunk, "the program panicked over a chunk");
            let standing = Standing { attempt: message.headers.attempt, deferrals: 0 };
            let applied = Applied::Failed(ErrorKind::Permanent);
            let settlement = decide(applied, standing, &shared.policy, jitter());
            conclude(shared, &shared.label(message), settlement, "the program panicked over it").await
        }
    }
}

/// Works on a delivery until it can be settled.
async fn work(shared: &Shared, message: &Message) -> Settlement {
    let started = Instant::now();
    metrics::counter!("muster_chunk_attempts_total").increment(1);
    let job = Job {
        message,
        worker: if fault::mutant(Mutant::RedeliveredIsSuspect) { clock::new_id() } else { shared.worker },
        attempts: shared.policy.attempts,
        pool: &shared.pool,
        rules: &shared.rules,
    };
    let mut standing = Standing { attempt: message.headers.attempt, deferrals: 0 };
    let mut backoff = Backoff::new(RetryPolicy::RECONNECT);
    let mut mode = ApplyMode::default();
    let (mut tries, mut silent, mut broken) = (0, 0, 0);
    loop {
        tries += 1;
        let began = Instant::now();
        let (applied, problem) = match shared.try_once(&job, mode, &mut standing).await {
            Ok(Report::NeedsIsolation) => {
                mode.isolated = true;
                continue;
            }
            Ok(report) => interpret(&shared.label(message), report, started, standing.attempt),
            Err((error, reached)) => {
                silent = if reached && matches!(error, StoreError::Silent(_)) { silent + 1 } else { 0 };
                broken += u32::from(reached && is_break(&error));
                let held = waited(&error, began.elapsed(), &shared.pool.limits());
                let Label { import, tenant, chunk } = shared.label(message);
                let problem = told(&error, broken);
                if matches!(error, StoreError::Silent(_)) || broken > 1 {
                    // Nothing can be written with the chunk while a session that does not answer may hold its row.
                    shared.holder.meets(chunk, &problem);
                }
                if !held && tries < TRIES && recover(&error, reached, tries, &mut mode) {
                    tracing::debug!(%import, tenant, %chunk, %error, tries, "applied again");
                    continue;
                }
                tracing::warn!(%import, tenant, %chunk, %error, tries, "the chunk could not be applied");
                (failed(&error, reached, silent, broken), problem)
            }
        };
        match decide(applied, standing, &shared.policy, jitter()) {
            Settlement::Hold => {
                if !shared.pause(backoff.delay()).await {
                    return give_back(shared, &shared.label(message)).await;
                }
            }
            settlement => return conclude(shared, &shared.label(message), settlement, &problem).await,
        }
        tries = 0;
    }
}

/// What a report means, and its reason where there is one.
fn interpret(label: &Label, report: Report, started: Instant, attempt: u32) -> (Applied, String) {
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
        // The caller met it by isolation before; another worker may have died over the chunk since.
        Report::NeedsIsolation => (Applied::StoreUnreachable, String::new()),
        Report::Spent => (Applied::Spent, "the worker died while applying it, as often as it may".into()),
        Report::Newer(why) if fault::mutant(Mutant::NewerSpendsAttempts) => {
            (Applied::Failed(ErrorKind::Permanent), why)
        }
        Report::Newer(why) => (Applied::Newer, format!("it waits for a newer program: {why}")),
        Report::Broken(why) => (Applied::Broken, why),
        Report::StoreRefuses(error) => (refused(), format!("the database refuses every record: {error}")),
    }
}

/// The database answers, and this chunk is to wait for it.
fn refused() -> Applied {
    if fault::mutant(Mutant::SickHolds) { Applied::StoreUnreachable } else { Applied::StoreRefuses }
}

/// Whether a connection broke that could be had.
fn is_break(error: &StoreError) -> bool {
    matches!(error, StoreError::Unreachable(_) | StoreError::Unknown)
}

/// The error in words, and how often connections broke where it is not the first time.
fn told(error: &StoreError, broken: u32) -> String {
    match broken > 1 && is_break(error) {
        true => format!(
            "the connection to the database broke {broken} times while the chunk was applied: {error}"
        ),
        false => error.to_string(),
    }
}

/// The meaning of an error that an immediate retry did not fix. `reached`: a connection could be had. `silent`: how many steps
/// in a row were not answered in time although it could. `broken`: how many connections broke.
fn failed(error: &StoreError, reached: bool, silent: u32, broken: u32) -> Applied {
    match error.kind() {
        // A database that takes no connection, for whatever reason, is away.
        _ if !reached => Applied::StoreUnreachable,
        ErrorKind::Transient if fault::mutant(Mutant::SplitByCodes) => Applied::StoreUnreachable,
        ErrorKind::Transient if error.is_answer() || silent >= SILENT_TRIES => refused(),
        ErrorKind::Transient if broken >= BROKEN_TRIES && !fault::mutant(Mutant::BreaksForEver) => {
            Applied::Breaks
        }
        ErrorKind::Transient => Applied::StoreUnreachable,
        // A row that this program cannot read was written by a newer one, or is damaged: no reason to end the chunk.
        ErrorKind::Permanent if matches!(error, StoreError::Corrupt { .. }) => Applied::Newer,
        kind => Applied::Failed(kind),
    }
}

/// Whether to try again at once, and how.
fn recover(error: &StoreError, reached: bool, tries: u32, mode: &mut ApplyMode) -> bool {
    if fault::mutant(Mutant::SplitByCodes) && error.kind() != ErrorKind::Conflict {
        let data = error.kind() == ErrorKind::Data && !mode.bisect;
        mode.bisect |= data;
        return data || error.kind() == ErrorKind::Transient && tries < 2;
    }
    match error.kind() {
        ErrorKind::Conflict => {
            mode.exclusive |= is_met_alone(error, tries);
            // Nobody else writes, and still there is a collision: it is refused.
            mode.bisect |= tries >= REFUSED_TRIES;
            true
        }
        // Whatever the code says: whether it is one record or everything is found by splitting.
        _ if reached && error.is_answer() && !fault::mutant(Mutant::SplittingOff) => {
            !std::mem::replace(&mut mode.bisect, true)
        }
        // With one more look: the connection may have been stale.
        ErrorKind::Transient => tries < 2,
        ErrorKind::Data | ErrorKind::Permanent => false,
    }
}

fn jitter() -> f64 {
    clock::rng().random::<f64>()
}
