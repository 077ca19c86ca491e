//! Settling a delivery: what was decided about it is written down in the store, then the broker is told.

use std::time::Duration;

use muster_domain::fault::{self, Mutant, Point};
use muster_queue::{QueueError, Settler};
use muster_runtime::retry::{Backoff, Policy as RetryPolicy};
use muster_store::apply::Later;

use crate::shared::{Label, Note, Shared};
use crate::verdict::Verdict;

/// Writes a verdict down in the store.
pub(crate) async fn conclude(shared: &Shared, label: &Label, verdict: Verdict, problem: &str) -> Verdict {
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
pub(crate) async fn give_back(shared: &Shared, label: &Label) -> Verdict {
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

pub(crate) async fn settle(shared: &Shared, label: &Label, verdict: Verdict, settler: Settler) {
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
pub(crate) async fn settle_in_time(shared: &Shared, sent: impl Future<Output = Result<(), QueueError>>) {
    match tokio::time::timeout(shared.slots.deadline(), sent).await {
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
