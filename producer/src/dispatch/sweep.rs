//! Other duties of a dispatcher: lost chunks, dead letters, dead receivers, retention. Each is a separate
//! task, so none waits for another or stops with it. A task that fails retries with back-off.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use muster_domain::fault::{self, Mutant, Point, mutant};
use muster_domain::id::{ChunkId, ImportId};
use muster_queue::{DeadLetter, QueueError};
use muster_runtime::retry::{Backoff, Policy};
use muster_runtime::supervise::{Supervised, supervise};
use muster_store::dispatch::{self as store, DeadLetterOf};
use muster_store::holding::BEAT;
use muster_store::status::{self, Stalled};
use muster_store::{
    ErrorKind, Store, StoreError, apply, bulk, events, family, history, holders, plans, receiving, retention,
};
use tokio::time::sleep;

use super::{Retention, Run};

/// How often lost chunks are looked for.
const RECONCILE: Duration = Duration::from_millis(500);
/// How often what needs no hurry is looked after.
const SWEEP: Duration = Duration::from_secs(2);
/// How often events get their numbers.
const NUMBER_EVENTS: Duration = Duration::from_millis(250);
/// How often actions on many imports are looked for.
const BULK: Duration = Duration::from_millis(500);
/// How often imports are looked for that make no progress.
const STALLED: Duration = Duration::from_secs(10);
/// How often the rows of processes that are gone are deleted.
const FORGET_HOLDERS: Duration = Duration::from_secs(60);
/// How often keys of plans are deleted that nobody needs any more, and how many times in a row.
const FORGET_KEYS: Duration = Duration::from_secs(10);
const FORGET_KEYS_TURNS: usize = 20;
/// How many times in a row leftovers of one upload are deleted.
const LEFTOVERS_TURNS: usize = 20;
/// How long one turn of an action on many imports may take.
const BULK_WITHIN: Duration = Duration::from_secs(600);
/// How long one turn of counting corrected records may take.
const COUNT_WITHIN: Duration = Duration::from_secs(600);
/// How long retention may take.
const FORGET_WITHIN: Duration = Duration::from_secs(600);
/// The longest pause after failures, in periods.
const LONGEST_PAUSE: u32 = 5;
/// For how long a chunk must seem lost: longer than it can take from a delivery until the worker has said that it holds the chunk.
const PATIENCE: Duration = BEAT.saturating_add(Duration::from_millis(250));
/// Dead letters taken at a time, and how many times in a row: those that cannot be dealt with are passed over.
const DEAD_LETTERS: usize = 100;
const DEAD_LETTER_TURNS: usize = 10;

#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Starts all parts.
pub(super) fn start(run: &Arc<Run>) -> Vec<Supervised> {
    let mut parts = vec![
        part(run, "lost chunks", RECONCILE, |run| async move { run.reconcile().await }),
        part(run, "dead letters", SWEEP, |run| async move { run.take_dead_letters().await }),
        part(run, "dead receivers", SWEEP, |run| async move { run.abort_abandoned().await }),
        part(run, "dead holders", FORGET_HOLDERS, |run| async move { run.forget_holders().await }),
        part(run, "marks of commits", SWEEP, |run| async move { run.forget_commit_marks().await }),
        part(run, "keys of plans", FORGET_KEYS, |run| async move { run.forget_keys().await }),
        part(run, "stuck copies", SWEEP, |run| async move { run.end_stuck_copies().await }),
        part(run, "events", NUMBER_EVENTS, |run| async move { run.number_events().await }),
        part(run, "bulk actions", BULK, |run| async move { run.do_in_bulk().await }),
        part(run, "corrected records", SWEEP, |run| async move { run.count_mended().await }),
        part(run, "stalled imports", STALLED, |run| async move { run.tell_stalled().await }),
    ];
    if let Some(retention) = run.options.retention {
        parts.push(part(
            run,
            "retention",
            SWEEP,
            move |run| async move { run.forget_imports(retention).await },
        ));
    }
    parts
}

/// Does `work` again and again until the dispatcher stops.
fn part<Work, Done>(run: &Arc<Run>, name: &'static str, period: Duration, work: Work) -> Supervised
where
    Work: Fn(Arc<Run>) -> Done + Clone + Send + Sync + 'static,
    Done: Future<Output = Result<(), SweepError>> + Send + 'static,
{
    let run = run.clone();
    supervise(name, run.stop.clone(), move |progress| {
        let (run, work) = (run.clone(), work.clone());
        async move {
            let policy = Policy { first: period, longest: period * LONGEST_PAUSE, ..Policy::RECONNECT };
            let mut backoff = Backoff::new(policy);
            while !run.stop.is_cancelled() {
                let pause = match work(run.clone()).await {
                    Ok(()) => {
                        progress.note();
                        backoff.reset();
                        period
                    }
                    Err(error) => {
                        tracing::warn!(part = name, %error, "a part of the sweep failed; trying again");
                        backoff.delay()
                    }
                };
                tokio::select! {
                    () = sleep(pause) => {}
                    () = run.stop.cancelled() => {}
                }
            }
        }
    })
}

impl Run {
    /// The only place that decides to dispatch a chunk again: if no process holds it and no message carries it.
    async fn reconcile(&self) -> Result<(), SweepError> {
        if mutant(Mutant::WaitForLease) {
            return Ok(());
        }
        let lease = self.options.lease.as_secs_f64();
        let mut taken = self.within(store::stage_claims_again(&self.urgent)).await?;
        let mut silent = self.within(store::silent(&self.urgent, lease)).await?;
        let mut waiting = Ok(0);
        if !silent.is_empty() {
            // Before the chunks are read again: messages delivered in between then count as waiting, which does no harm.
            waiting = self.queue.depth().await.map(|depth| depth.ready);
            silent = self.within(store::silent(&self.urgent, lease)).await?;
        }
        // Where the queue cannot be reached, all of them may wait in it.
        let ready = waiting.as_ref().map_or(u64::MAX, |ready| *ready);
        let ready = if mutant(Mutant::PublishAgain) { 0 } else { ready };
        let lost = {
            let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
            silence.lost(&silent, ready, self.started.elapsed(), PATIENCE)
        };
        if !lost.is_empty() {
            taken += self.within(store::stage_again(&self.urgent, &lost)).await?;
        }
        silent.retain(|chunk| !lost.contains(chunk));
        if !silent.is_empty() && self.within(store::renew_waiting(&self.urgent, &silent, lease)).await? > 0 {
            tracing::warn!(chunks = silent.len(), ready, "chunks wait in the queue: are workers running?");
        }
        self.looked.note();
        if taken > 0 {
            metrics::counter!("muster_chunks_lost_total").increment(taken);
            tracing::warn!(chunks = taken, "chunks were lost on their way; they are dispatched again");
            self.wake.notify_one();
        }
        Ok(waiting.map(drop)?)
    }

    /// Looks at every dead letter, some hundreds at a time. A dead letter that cannot be handled now stays
    /// where it is, and blocks no other.
    async fn take_dead_letters(&self) -> Result<(), SweepError> {
        let (mut left, mut problem) = (Vec::new(), None);
        for _ in 0..DEAD_LETTER_TURNS {
            // Those that are left are held, so that the next turn gives others.
            let letters = self.queue.dead_letters(DEAD_LETTERS).await?;
            let last = letters.len() < DEAD_LETTERS;
            for letter in letters {
                match self.take_dead_letter(&letter).await {
                    Ok(true) => {
                        if let Err(error) = letter.delivery.ack().await {
                            tracing::debug!(%error, "a dead letter could not be acked and will come again");
                        }
                    }
                    Ok(false) => left.push(letter),
                    Err(error)
                        if error.kind() == ErrorKind::Transient || mutant(Mutant::LetterStopsSweep) =>
                    {
                        return Err(error.into());
                    }
                    Err(error) => {
                        left.push(letter);
                        problem.get_or_insert(error);
                    }
                }
            }
            if last {
                break;
            }
        }
        problem.map_or(Ok(()), |error| Err(error.into()))
    }

    /// A chunk that has attempts left is not at fault and is dispatched again; one whose attempts are spent is dead, so that its
    /// import ends, and `retry` drives it again. False where that cannot be decided now.
    async fn take_dead_letter(&self, letter: &DeadLetter) -> Result<bool, StoreError> {
        fault::point(Point::TakeDeadLetter)?;
        let reason = &letter.reason;
        let Ok(message) = &letter.delivery.body else {
            tracing::error!(reason, "a dead letter of another program is dropped");
            return Ok(true);
        };
        let chunk = ChunkId::new(message.headers.chunk_id);
        let (import, tenant) = (message.headers.import_id, message.headers.tenant);
        let attempts = if mutant(Mutant::InnocentDies) { 0 } else { self.options.attempts };
        let letter_of = store::dead_letter(&self.urgent, chunk, ImportId::new(import), attempts);
        match self.within(letter_of).await? {
            DeadLetterOf::Innocent => {
                tracing::warn!(
                    %import, tenant, %chunk, reason,
                    "a chunk's message became a dead letter; the chunk is dispatched again"
                );
                self.wake.notify_one();
            }
            DeadLetterOf::Spent => {
                let why = format!("dead letter: {reason}");
                if self.within(apply::mark_dead(&self.store, chunk, &why)).await? {
                    metrics::counter!("muster_chunks_dead_total").increment(1);
                    tracing::error!(
                        %import, tenant, %chunk, reason,
                        "a chunk whose attempts are spent became a dead letter and is dead"
                    );
                }
            }
            DeadLetterOf::Locked => return Ok(false),
            DeadLetterOf::Nothing => {
                tracing::warn!(%import, tenant, %chunk, reason, "a dead letter of no open chunk is dropped")
            }
        }
        Ok(true)
    }

    async fn abort_abandoned(&self) -> Result<(), SweepError> {
        fault::point(Point::Sweep).map_err(StoreError::from)?;
        let abandoned = self.within(receiving::abort_abandoned(&self.store, false)).await;
        if let Ok(abandoned @ 1..) = abandoned {
            tracing::warn!(abandoned, "imports whose receiver died were aborted");
        }
        self.delete_leftovers().await?;
        abandoned?;
        Ok(())
    }

    /// Deletes what is left of uploads that came to nothing. One that cannot be deleted keeps no other.
    async fn delete_leftovers(&self) -> Result<(), SweepError> {
        let mut problem = None;
        for import in self.within(receiving::left_over(&self.store)).await? {
            for _ in 0..LEFTOVERS_TURNS {
                match self.within(receiving::delete_leftovers(&self.store, import)).await {
                    Ok(true) if !self.stop.is_cancelled() => {}
                    Ok(_) => break,
                    Err(error) if error.is_answer() => {
                        problem.get_or_insert(error);
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        problem.map_or(Ok(()), |error| Err(error.into()))
    }

    async fn number_events(&self) -> Result<(), SweepError> {
        self.within(events::number(&self.store)).await?;
        Ok(())
    }

    /// Executes bulk actions. What it sets going is dispatched at once.
    async fn do_in_bulk(&self) -> Result<(), SweepError> {
        while !self.stop.is_cancelled() {
            let Some(work) = self.within(bulk::next(&self.store)).await? else { break };
            Store::within(BULK_WITHIN, bulk::go_on(&self.store, &work)).await?;
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Notes with the imports what their families corrected of them.
    async fn count_mended(&self) -> Result<(), SweepError> {
        Store::within(COUNT_WITHIN, family::count_mended(&self.store)).await?;
        Ok(())
    }

    /// Tells in the log of imports that make no progress, once when that begins and once when it ends.
    async fn tell_stalled(&self) -> Result<(), SweepError> {
        let stalled = self.within(status::stalled(&self.store, &self.options.bounds())).await?;
        let mut known = self.stalled.lock().unwrap_or_else(PoisonError::into_inner);
        for Stalled { import, tenant, progress } in &stalled.first {
            if known.insert(*import, *tenant).is_none() {
                tracing::warn!(%import, %tenant, why = progress.reason(), "a running import makes no progress");
            }
        }
        known.retain(|import, tenant| {
            // If there are more than are reported, an import that is not reported may be stalled too.
            let still = stalled.first.iter().any(|one| one.import == *import)
                || stalled.count > stalled.first.len() as u64;
            if !still {
                tracing::info!(%import, %tenant, "an import that made no progress goes on, or has ended");
            }
            still
        });
        Ok(())
    }

    async fn forget_commit_marks(&self) -> Result<(), SweepError> {
        self.within(muster_store::forget_commit_marks(&self.store)).await?;
        Ok(())
    }

    async fn forget_holders(&self) -> Result<(), SweepError> {
        self.within(holders::delete_gone(&self.store)).await?;
        Ok(())
    }

    /// A copy takes less than any statement may.
    async fn end_stuck_copies(&self) -> Result<(), SweepError> {
        if mutant(Mutant::StuckCopiesStay) {
            return Ok(());
        }
        let ended = self.within(holders::end_stuck_copies(&self.urgent, self.options.deadline)).await?;
        if ended > 0 {
            tracing::warn!(ended, "sessions were ended that froze in the middle of a copy");
        }
        Ok(())
    }

    async fn forget_keys(&self) -> Result<(), SweepError> {
        for _ in 0..FORGET_KEYS_TURNS {
            if self.stop.is_cancelled() || self.within(plans::forget_keys(&self.store)).await? == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn forget_imports(&self, kept: Retention) -> Result<(), SweepError> {
        let waiting = kept.waiting.as_secs_f64();
        let cancelling = retention::cancel_unstarted(&self.store, waiting);
        // Imports that cannot be cancelled are reported at the end, so the rest of retention does not wait for them.
        let unstarted = match Store::within(FORGET_WITHIN, cancelling).await {
            Ok(unstarted) => unstarted,
            Err(error) => retention::Unstarted { problem: Some(error), ..Default::default() },
        };
        if unstarted.cancelled > 0 {
            tracing::info!(
                unstarted = unstarted.cancelled,
                "imports that were not started in time were cancelled"
            );
        }
        let secrets = kept.secrets.as_secs_f64();
        let forgotten = self.within(retention::forget_secrets(&self.store, secrets)).await?;
        if forgotten > 0 {
            tracing::info!(forgotten, "keys of secrets past their retention were thrown away");
        }
        let images = kept.before_images.as_secs_f64();
        let forgotten = self.within(retention::forget_before_images(&self.store, images)).await?;
        // What requests did is kept as long as what imports did.
        self.within(history::forget(&self.store, images)).await?;
        if forgotten > 0 {
            tracing::info!(forgotten, "before-images past their retention were deleted");
        }
        self.within(bulk::forget(&self.store, kept.imports.as_secs_f64())).await?;
        let deleting = retention::delete_ended(&self.store, kept.imports.as_secs_f64());
        let deleted = Store::within(FORGET_WITHIN, deleting).await?;
        if deleted.imports > 0 {
            tracing::info!(deleted = deleted.imports, "imports past their retention were deleted");
        }
        unstarted.problem.or(deleted.problem).map_or(Ok(()), |error| Err(error.into()))
    }
}
