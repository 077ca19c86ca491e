//! Dispatching: staged chunks go to the queue, a window of them ahead of the workers, in turn across tenants and imports.
//!
//! Any number of dispatchers may run, since each chunk is claimed once. A dispatcher holds nothing that matters: killed at
//! any line, the leases of what it claimed run out and another one dispatches it again (P3 makes that harmless).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use muster_shared::dispatch::choose;
use muster_shared::fault::{self, Point};
use muster_shared::id::ChunkId;
use muster_shared::queue::{DeadLetter, Headers, Message, Queue, QueueError};
use muster_shared::retry::{Backoff, Policy};
use muster_shared::store::dispatch::{self as store, ClaimedChunk};
use muster_shared::store::{Store, StoreError, apply, intake, retention};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Version of the message's body: that of the chunk's encoding.
const BODY_VERSION: u16 = 1;
/// How often what needs no hurry is looked after.
const SWEEP: Duration = Duration::from_secs(2);
/// Dead letters taken back at a time.
const DEAD_LETTERS: usize = 100;

/// How a dispatcher works.
#[derive(Debug, Clone, Copy)]
pub struct DispatchOptions {
    /// Most chunks that are with the workers at a time.
    pub window: usize,
    /// How long a dispatched chunk may be silent.
    pub lease: Duration,
    /// How often to look without having been woken.
    pub poll: Duration,
    /// How long things are kept; none keeps all.
    pub retention: Option<Retention>,
}

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// An import after its end.
    pub imports: Duration,
    /// The secrets of an import's failed records after its end.
    pub secrets: Duration,
    /// An import that was received and that nobody starts.
    pub waiting: Duration,
}

impl Default for DispatchOptions {
    fn default() -> Self {
        Self {
            window: 16,
            lease: Duration::from_secs(300),
            poll: Duration::from_millis(250),
            retention: None,
        }
    }
}

/// A running dispatcher. Dropped, it is aborted.
#[derive(Debug)]
pub struct Dispatcher {
    stop: CancellationToken,
    wake: Arc<Notify>,
    task: JoinHandle<()>,
    listener: JoinHandle<()>,
}

impl Dispatcher {
    /// Starts to dispatch. Store and broker may be away: the dispatcher keeps trying.
    pub fn start(store: Store, queue: Queue, options: DispatchOptions) -> Self {
        let stop = CancellationToken::new();
        let wake = Arc::new(Notify::new());
        let listener = tokio::spawn(listen(store.clone(), wake.clone()));
        let run = Run { store, queue, options, wake: wake.clone(), stop: stop.clone() };
        Self { stop, wake, task: tokio::spawn(run.run()), listener }
    }

    /// Something new is staged.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// What wakes the dispatcher, for those who do not hold it.
    pub fn wake_handle(&self) -> Arc<Notify> {
        self.wake.clone()
    }

    /// Stops after the round that is under way.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the dispatcher did not end well");
        }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.task.abort();
        self.listener.abort();
    }
}

/// Passes on what workers and receivers notify.
async fn listen(store: Store, wake: Arc<Notify>) {
    let mut backoff = Backoff::new(Policy::RECONNECT);
    loop {
        match store.listen(store::WAKE_CHANNEL).await {
            Ok(mut wakes) => {
                backoff.reset();
                while wakes.next().await.is_ok() {
                    wake.notify_one();
                }
            }
            Err(error) => tracing::debug!(%error, "cannot listen; polling meanwhile"),
        }
        sleep(backoff.delay()).await;
    }
}

struct Run {
    store: Store,
    queue: Queue,
    options: DispatchOptions,
    wake: Arc<Notify>,
    stop: CancellationToken,
}

impl Run {
    async fn run(self) {
        let mut backoff = Backoff::new(Policy::RECONNECT);
        let mut swept: Option<Instant> = None;
        while !self.stop.is_cancelled() {
            if swept.is_none_or(|at| at.elapsed() >= SWEEP) {
                if let Err(error) = self.sweep().await {
                    tracing::warn!(%error, "sweeping failed; trying again");
                }
                swept = Some(Instant::now());
            }
            let pause = match self.round().await {
                Ok(true) => {
                    backoff.reset();
                    self.options.poll
                }
                // The broker did not take everything: what it refused is staged again.
                Ok(false) => backoff.delay(),
                Err(error) => {
                    tracing::warn!(%error, "dispatching failed; trying again");
                    backoff.delay()
                }
            };
            tokio::select! {
                _ = timeout(pause, self.wake.notified()) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Dispatches what there is room for, and completes what has ended. False if the broker is away.
    async fn round(&self) -> Result<bool, StoreError> {
        fault::point(Point::Look)?;
        let heads = store::lane_heads(&self.store).await?;
        let chosen = choose(&heads, self.options.window);
        let mut all_sent = true;
        if !chosen.is_empty() {
            fault::point(Point::Claim)?;
            let claimed = store::claim(&self.store, &chosen, self.options.lease.as_secs_f64()).await?;
            let sent = join_all(claimed.into_iter().map(|chunk| self.publish(chunk))).await;
            all_sent = sent.into_iter().all(|sent| sent);
        }
        for import in store::complete_ended(&self.store).await? {
            tracing::info!(%import, "import completed");
        }
        Ok(all_sent)
    }

    async fn publish(&self, chunk: ClaimedChunk) -> bool {
        let id = chunk.id;
        let message = Message {
            headers: Headers {
                version: BODY_VERSION,
                tenant: Some(chunk.tenant.get()),
                import_id: chunk.import.get(),
                chunk_id: id.get(),
                attempt: chunk.attempt,
                traceparent: None,
            },
            body: chunk.body.into(),
        };
        match self.send(message).await {
            Ok(()) => {
                metrics::counter!("muster_chunks_dispatched_total").increment(1);
                true
            }
            Err(error) => {
                tracing::warn!(chunk = %id, %error, "a chunk could not be published; it stays staged");
                // Should this fail too, the lease runs out.
                if let Err(error) = store::unclaim(&self.store, id).await {
                    tracing::warn!(chunk = %id, %error, "a chunk could not be given back");
                }
                false
            }
        }
    }

    async fn send(&self, message: Message) -> Result<(), QueueError> {
        fault::point(Point::BeforePublish)?;
        self.queue.publish(message).await?;
        fault::point(Point::AfterPublish)?;
        Ok(())
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        fault::point(Point::Sweep)?;
        let abandoned = intake::abort_abandoned(&self.store, false).await?;
        if abandoned > 0 {
            tracing::warn!(abandoned, "imports whose receiver died were aborted");
        }
        self.keep_waiting().await?;
        self.forget().await?;
        self.take_back_dead_letters().await
    }

    async fn forget(&self) -> Result<(), StoreError> {
        let Some(retention) = self.options.retention else { return Ok(()) };
        let unstarted = retention::cancel_unstarted(&self.store, retention.waiting.as_secs_f64()).await?;
        if unstarted > 0 {
            tracing::info!(unstarted, "imports that nobody started were cancelled");
        }
        let forgotten = retention::forget_secrets(&self.store, retention.secrets.as_secs_f64()).await?;
        if forgotten > 0 {
            tracing::info!(forgotten, "keys of secrets past their retention were thrown away");
        }
        let deleted = retention::delete_ended(&self.store, retention.imports.as_secs_f64()).await?;
        if deleted > 0 {
            tracing::info!(deleted, "imports past their retention were deleted");
        }
        Ok(())
    }

    /// A chunk past its lease is dispatched again, unless messages wait in the queue: then nobody works, and more messages
    /// would not help.
    async fn keep_waiting(&self) -> Result<(), StoreError> {
        if store::overdue(&self.store).await? == 0 {
            return Ok(());
        }
        match self.queue.depth().await {
            Ok(depth) if depth.ready > 0 => {
                let chunks = store::extend_leases(&self.store, self.options.lease.as_secs_f64()).await?;
                tracing::warn!(chunks, ready = depth.ready, "chunks wait in the queue: are workers running?");
            }
            Ok(_) => {
                tracing::warn!("dispatched chunks were silent for longer than their lease; they go out again")
            }
            Err(error) => tracing::debug!(%error, "the queue cannot be reached"),
        }
        Ok(())
    }

    /// What the broker parked ends in the store as dead, so that its import ends; `retry` drives it again.
    async fn take_back_dead_letters(&self) -> Result<(), StoreError> {
        let letters = match self.queue.dead_letters(DEAD_LETTERS).await {
            Ok(letters) => letters,
            Err(error) => {
                tracing::debug!(%error, "the dead letters cannot be read");
                return Ok(());
            }
        };
        for DeadLetter { delivery, reason } in letters {
            fault::point(Point::TakeBack)?;
            if let Ok(message) = &delivery.body {
                let chunk = ChunkId::new(message.headers.chunk_id);
                if apply::bury(&self.store, chunk, &format!("parked by the broker: {reason}")).await? {
                    tracing::error!(%chunk, reason, "a chunk was parked by the broker and is dead");
                }
            } else {
                tracing::error!(reason, "a message that is none of ours was parked and is dropped");
            }
            if let Err(error) = delivery.ack().await {
                tracing::debug!(%error, "a dead letter could not be acked and will come again");
            }
        }
        Ok(())
    }
}
