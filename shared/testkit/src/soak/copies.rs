//! Publishes the message of each chunk that is with the workers four times more, while that is asked for (F32).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use muster_queue::{Headers, Message, Queue, QueueOptions};
use sqlx::Row as _;
use tokio::time::sleep;

use super::world::World;

/// Copies beside the message itself.
const COPIES: usize = 4;

const DISPATCHED: &str =
    "select id, import_id, tenant_id, attempts, body from chunks where state = 'dispatched'";

/// Runs until the run closes.
pub(crate) async fn copies(world: Arc<World>) -> anyhow::Result<()> {
    let queue = Queue::rabbit(world.rabbit.url(), world.topology.clone(), QueueOptions::default())?;
    let mut copied: HashSet<i64> = HashSet::new();
    while !world.closing() {
        if !world.copying.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(100)).await;
            continue;
        }
        for row in world.db.rows(DISPATCHED, |query| query).await? {
            let chunk: i64 = row.try_get("id")?;
            if !copied.insert(chunk) {
                continue;
            }
            let body: Vec<u8> = row.try_get("body")?;
            let headers = Headers {
                version: 1,
                tenant: Some(row.try_get("tenant_id")?),
                import_id: row.try_get("import_id")?,
                chunk_id: chunk,
                attempt: u32::try_from(row.try_get::<i32, _>("attempts")?).unwrap_or(0) + 1,
                traceparent: None,
            };
            for _ in 0..COPIES {
                let message = Message { headers: headers.clone(), body: body.clone().into() };
                match queue.publish(message).await {
                    Ok(()) => world.journal.count("messages copied", 1),
                    Err(error) => lost_copy(&error),
                }
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// A copy that cannot be published is one fewer.
fn lost_copy(error: &dyn std::error::Error) {
    eprintln!("soak: a copy was not published: {error}");
}
