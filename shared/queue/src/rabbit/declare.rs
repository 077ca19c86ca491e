//! The topology for RabbitMQ 3.10 to 4.x. Every property is set explicitly, since defaults differ between versions.
//!
//! ```text
//! default exchange → queue (quorum) → delivery limit → exchange .dead (fanout) → queue .dead (quorum): the end
//! ```
//!
//! The dead-letter queue is terminal. A cycle back to the work queue would lose messages that reach the
//! delivery limit, since the broker drops messages in a dead-letter cycle without a rejection.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};
use muster_domain::fault::{self, Mutant};

use crate::{QueueError, Topology};

const PRECONDITION_FAILED: u16 = 406;
const OK: u16 = 200;

/// Declares what is missing and checks that the rest is correct.
///
/// On a channel of its own, because a mismatch costs the channel.
pub(super) async fn declare(connection: &Connection, topology: &Topology) -> Result<(), QueueError> {
    let channel = connection.create_channel().await?;
    dead_letter_side(&channel, topology).await.map_err(|error| explain(error, topology.dead()))?;
    work_side(&channel, topology).await.map_err(|error| explain(error, topology.queue()))?;
    channel.close(OK, "declared".into()).await?;
    Ok(())
}

/// Deletes a queue of which the broker has kept only the name. The broker was killed while it wrote the
/// queue's files, and since then every use of the queue closes the connection with an internal error. The
/// next connection declares it again.
///
/// A queue that has messages or consumers works, so it is left as it is. Should a message come just before the deletion, its chunk goes
/// out again, as that of every lost message.
pub(super) async fn delete_broken(channel: &Channel, queue: &str) -> Result<(), lapin::Error> {
    if fault::mutant(Mutant::BrokenQueueStays) {
        return Ok(());
    }
    let look = QueueDeclareOptions { passive: true, ..durable() };
    let found = channel.queue_declare(queue.into(), look, FieldTable::default()).await?;
    if found.message_count() > 0 || found.consumer_count() > 0 {
        return Ok(());
    }
    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    tracing::warn!(queue, "the broker has lost the files of the queue: it is deleted and declared again");
    Ok(())
}

// First, so that the work queue never points to an exchange that is not there.
async fn dead_letter_side(channel: &Channel, topology: &Topology) -> Result<(), lapin::Error> {
    let dead = topology.dead();
    let exchange = ExchangeDeclareOptions {
        // Survives a restart of the broker, as the queues do.
        durable: true,
        // Stays when its last binding goes: without it dead letters would have nowhere to go.
        auto_delete: false,
        // Only the broker publishes to it; dead letters of the program go to the queue by name.
        internal: true,
        // Create it if it is missing.
        passive: false,
        // Wait for the answer, or a mismatch would go unnoticed.
        nowait: false,
    };
    let name = || dead.as_str().into();
    // Fanout: a message is dead-lettered whatever its routing key.
    channel.exchange_declare(name(), ExchangeKind::Fanout, exchange, FieldTable::default()).await?;

    let mut arguments = quorum();
    // A billion: as good as none, and said, because RabbitMQ 4 throws a message away that came back 20 times where
    // nothing is said, and 3.10 refuses the -1 that would mean none.
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(1_000_000_000));
    channel.queue_declare(name(), durable(), arguments).await?;
    channel
        .queue_bind(name(), name(), "".into(), QueueBindOptions { nowait: false }, FieldTable::default())
        .await
}

async fn work_side(channel: &Channel, topology: &Topology) -> Result<(), lapin::Error> {
    let mut arguments = quorum();
    // The fuse for a message that kills its worker. None by default before 4.0, 20 since.
    let limit = AMQPValue::LongLongInt(topology.delivery_limit().into());
    arguments.insert("x-delivery-limit".into(), limit);
    // Where a message goes that blew the fuse.
    arguments.insert("x-dead-letter-exchange".into(), long_text(&topology.dead()));
    // The broker removes a message from here only once the dead-letter queue has confirmed it.
    arguments.insert("x-dead-letter-strategy".into(), long_text("at-least-once"));
    // at-least-once is silently at-most-once without this. There is no length limit, so nothing is refused by it.
    arguments.insert("x-overflow".into(), long_text("reject-publish"));
    channel.queue_declare(topology.queue().into(), durable(), arguments).await?;
    Ok(())
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    // Replicated, and synced to disk before it confirms; classic queues do neither on every version. The number of
    // replicas is left to the cluster.
    arguments.insert("x-queue-type".into(), long_text("quorum"));
    arguments
}

fn durable() -> QueueDeclareOptions {
    QueueDeclareOptions {
        // Quorum queues are always durable, and refuse a declaration that says otherwise.
        durable: true,
        // Every worker consumes from it.
        exclusive: false,
        // Stays when the last worker goes: that is when it is needed.
        auto_delete: false,
        // Create it if it is missing.
        passive: false,
        // Wait for the answer, or a mismatch would go unnoticed.
        nowait: false,
    }
}

fn long_text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn explain(error: lapin::Error, queue: String) -> QueueError {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(refused) if refused.get_id() == PRECONDITION_FAILED => {
            QueueError::Mismatch { queue, detail: refused.get_message().to_string() }
        }
        _ => error.into(),
    }
}
