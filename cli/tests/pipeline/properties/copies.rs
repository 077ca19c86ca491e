//! Copies of messages: every chunk's comes more than once, while it is with the workers and when it has ended (P3).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use muster_domain::id::{ImportId, TenantId};
use muster_queue::{Headers, Message, Queue};
use muster_store::Store;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::case::Import;
use crate::harness::Pipeline;

const COPYING: u8 = 0;
const PAUSED: u8 = 1;
const STOPPED: u8 = 2;

/// What a dispatcher sends for a chunk.
pub(super) fn message(tenant: i32, import: Uuid, chunk: i64, body: Vec<u8>) -> Message {
    let headers = Headers {
        version: 1,
        tenant: Some(tenant),
        import_id: import,
        chunk_id: chunk,
        attempt: 1,
        traceparent: None,
    };
    Message { headers, body: body.into() }
}

/// Sends a copy of each chunk's message as soon as the chunk is seen to be with the workers.
pub(super) struct Copies {
    state: Arc<AtomicU8>,
    sender: JoinHandle<()>,
}

impl Copies {
    pub(super) fn start(pipeline: &Pipeline) -> Self {
        let state = Arc::new(AtomicU8::new(COPYING));
        let (store, queue, tenant) = (pipeline.store.clone(), pipeline.queue.clone(), pipeline.tenant);
        let sender = tokio::spawn(send(store, queue, tenant, state.clone()));
        Self { state, sender }
    }

    /// Sends no more from now on.
    pub(super) fn pause(&self) {
        self.state.store(PAUSED, Ordering::Relaxed);
    }

    pub(super) async fn stop(self) {
        self.state.store(STOPPED, Ordering::Relaxed);
        self.sender.await.unwrap();
    }
}

type Row = (i64, Uuid, i32, Vec<u8>);

async fn send(store: Store, queue: Queue, tenant: TenantId, state: Arc<AtomicU8>) {
    let mut sent = HashSet::new();
    while state.load(Ordering::Relaxed) == COPYING {
        let mut connection = store.pool().acquire().await.unwrap();
        let rows: Vec<Row> = sqlx::query_as(
            "select id, import_id, reopened, body from chunks where tenant_id = $1 and state = 'dispatched'",
        )
        .bind(tenant.get())
        .fetch_all(&mut *connection)
        .await
        .unwrap();
        drop(connection);
        for (chunk, import, reopened, body) in rows {
            if sent.insert((chunk, reopened)) {
                queue.publish(message(tenant.get(), import, chunk, body)).await.unwrap();
            }
        }
        // It looks again and again, and leaves the machine to the others.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends every chunk's message again when all have ended, and waits until that has changed nothing.
pub(super) async fn send_late_copies(pipeline: &Pipeline, imports: &[(ImportId, &Import)]) {
    let witness = pipeline.witness().await;
    for (import, _) in imports {
        let mut connection = pipeline.store.connection().await.unwrap();
        let rows: Vec<Row> =
            sqlx::query_as("select id, import_id, reopened, body from chunks where import_id = $1")
                .bind(import.get())
                .fetch_all(&mut connection)
                .await
                .unwrap();
        for (chunk, import, _, body) in rows {
            pipeline.queue.publish(message(pipeline.tenant.get(), import, chunk, body)).await.unwrap();
        }
    }
    let worker = pipeline.worker(2);
    pipeline.settle(worker).await;
    assert_eq!(pipeline.witness().await, witness);
}
