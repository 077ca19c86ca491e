//! Settling a delivery: what was decided about it is written down in the store, then the broker is told.

use std::time::Duration;

use muster_domain::fault::{self, Mutant, Point};
use muster_queue::{QueueError, Settler};
use muster_runtime::retry::{Backoff, Policy as RetryPolicy};
use muster_store::apply::{Costs, Later};

use crate::settlement::Settlement;
use crate::shared::{Label, Note, Shared};

/// Writes a verdict down in the store.
pub(crate) async fn conclude(
    shared: &Shared,
    label: &Label,
    settlement: Settlement,
    problem: &str,
) -> Settlement {
    let Label { import, tenant, chunk } = label;
    let note = match settlement {
        Settlement::RetryLater(delay) => Note::Later(Later { delay, problem, costs: Costs::Attempt }),
        Settlement::Defer(delay) => Note::Later(Later { delay, problem, costs: Costs::Deferral }),
        Settlement::Wait(delay) => Note::Later(Later { delay, problem, costs: Costs::Nothing }),
        Settlement::MarkDead => Note::Dead(problem),
        Settlement::Ack | Settlement::DeadLetter(_) | Settlement::Hold | Settlement::GiveBack => {
            return settlement;
        }
    };
    match shared.write_note_until_done(*chunk, note).await {
        Some(Ok(true)) if settlement == Settlement::MarkDead => {
            metrics::counter!("muster_chunks_dead_total").increment(1);
            tracing::error!(%import, tenant, %chunk, problem, "a chunk is dead");
        }
        Some(Ok(true)) if matches!(settlement, Settlement::Wait(_)) => {
            tracing::debug!(%import, tenant, %chunk, problem, "a chunk waits for another");
        }
        Some(Ok(true)) => {
            let spends = if matches!(settlement, Settlement::RetryLater(_)) { "attempt" } else { "nothing" };
            metrics::counter!("muster_chunks_put_off_total", "spends" => spends).increment(1);
            tracing::warn!(%import, tenant, %chunk, problem, spends, "a chunk was deferred");
        }
        Some(Ok(false)) => {}
        Some(Err(error)) => {
            tracing::error!(
                %import, tenant, %chunk, %error,
                "a chunk could not be deferred or ended; it is dispatched again after its lease"
            );
        }
        None => return give_back(shared, label).await,
    }
    settlement
}

/// Gives a delivery back because the worker stops. The store is away, or the delivery would not be given back; but a note that
/// stays counts as a death, so taking it away is tried for as long as the stop has time for it.
pub(crate) async fn give_back(shared: &Shared, label: &Label) -> Settlement {
    let Label { import, tenant, chunk } = label;
    let mut backoff = Backoff::new(RetryPolicy { longest: Duration::from_secs(1), ..RetryPolicy::RECONNECT });
    let released = async {
        while let Err(error) = shared.write_note(*chunk, Note::Release).await {
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
    Settlement::GiveBack
}

pub(crate) async fn settle(shared: &Shared, label: &Label, settlement: Settlement, settler: Settler) {
    let Label { import, tenant, chunk } = label;
    match settlement {
        Settlement::DeadLetter(why) => {
            tracing::warn!(%import, tenant, %chunk, why, "a message became a dead letter");
            settle_in_time(shared, settler.dead_letter(why)).await;
        }
        // Dropped, it is delivered to another worker.
        Settlement::GiveBack | Settlement::Hold => return drop(settler),
        Settlement::Ack
        | Settlement::RetryLater(_)
        | Settlement::Defer(_)
        | Settlement::Wait(_)
        | Settlement::MarkDead => {
            settle_in_time(shared, acked(settler)).await;
        }
    }
    if let Err(fault) = fault::point_of(Point::AfterAck, chunk.get()) {
        tracing::warn!(%fault, "set to fail after the ack");
    }
    // The lane's next chunk can go out. Should this be lost, the dispatcher looks by itself soon.
    if let Err(error) = shared.write_note(*chunk, Note::Wake).await {
        tracing::debug!(%error, "the dispatcher could not be woken");
    }
}

async fn acked(settler: Settler) -> Result<(), QueueError> {
    fault::point(Point::BeforeAck)?;
    settler.ack().await
}

/// A broker that does not answer must not hold the permit.
pub(crate) async fn settle_in_time(shared: &Shared, sent: impl Future<Output = Result<(), QueueError>>) {
    match tokio::time::timeout(shared.pool.deadline(), sent).await {
        Ok(sent) => settled(sent),
        Err(_) => tracing::warn!("the broker did not answer in time; a delivery will come again"),
    }
}

/// An ack that is lost makes the message come again, which changes nothing (P3).
pub(crate) fn settled(sent: Result<(), QueueError>) {
    if let Err(error) = sent {
        tracing::debug!(%error, "a delivery could not be settled and will come again");
    }
}
