//! One try of a delivery ([`Shared::try_once`]), and what all deliveries of a worker share.

use std::time::Duration;

use muster_domain::fault::{self, Mutant, Point};
use muster_domain::id::{ChunkId, TenantId};
use muster_queue::Message;
use muster_runtime::clock;
use muster_runtime::retry::{Backoff, Policy as RetryPolicy};
use muster_store::apply::{self as store, Later};
use muster_store::holding::Holder;
use muster_store::{ErrorKind, StoreError};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::apply::{ApplyMode, Job, Report};
use crate::deadline_pool::DeadlinePool;
use crate::memory_budget::MemoryBudget;
use crate::rules::RulesCache;
use crate::settlement::{AttemptPolicy, Standing};

/// What all deliveries of a worker share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// This worker, for as long as its process lives.
    pub(crate) worker: Uuid,
    pub(crate) pool: DeadlinePool,
    /// What all chunks in work take in memory together.
    pub(crate) budget: MemoryBudget,
    pub(crate) policy: AttemptPolicy,
    pub(crate) rules: RulesCache,
    /// Held shared while chunks are applied, and exclusively for a chunk that another worker began and did
    /// not end. Should that chunk end this worker too, it ends it although it applied only that chunk.
    isolation: RwLock<()>,
    /// Notes the chunks in progress, so that they are not taken for lost.
    pub(crate) holder: Holder,
    /// No more is taken; what waits for the store is given back.
    stop: CancellationToken,
    /// How long a worker that stops tries to take its notes away.
    pub(crate) releasing: Duration,
}

impl Shared {
    pub(crate) fn new(
        pool: DeadlinePool,
        budget: MemoryBudget,
        policy: AttemptPolicy,
        holder: Holder,
        stop: CancellationToken,
        releasing: Duration,
    ) -> Self {
        Self {
            worker: clock::new_id(),
            pool,
            budget,
            policy,
            rules: RulesCache::default(),
            isolation: RwLock::new(()),
            holder,
            stop,
            releasing,
        }
    }

    /// Whose a message's chunk is, as lines of the log tell it.
    pub(crate) fn label(&self, message: &Message) -> Label {
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
    pub(crate) async fn try_once(
        &self,
        job: &Job<'_>,
        mode: ApplyMode,
        standing: &mut Standing,
    ) -> Result<Report, (StoreError, bool)> {
        fault::point(Point::Consume).map_err(|fault| (fault.into(), true))?;
        // Before the isolation lock: a holder of memory never waits for more memory.
        let _room = self.budget.take(&job.message.body).await;
        let (mut exclusive, mut beside) = (None, None);
        if mode.isolated {
            exclusive = Some(self.isolation.write().await);
        } else {
            beside = Some(self.isolation.read().await);
        }
        let mut connection = self.pool.take().await.map_err(|error| (error, false))?;
        let result = job.apply(&mut connection, mode, standing).await;
        match result {
            Ok(_) => self.pool.give_back(connection),
            // The connection is dropped, and whatever it was in the middle of with it.
            Err(_) => drop(connection),
        }
        drop((exclusive, beside));
        result.map_err(|error| {
            if !error.is_answer() && error.kind() == ErrorKind::Transient {
                self.pool.close_idle();
            }
            (error, true)
        })
    }

    /// Writes something down about a chunk, over a connection of its own.
    pub(crate) async fn write_note(&self, chunk: ChunkId, note: Note<'_>) -> Result<bool, StoreError> {
        let mut connection = self.pool.take().await?;
        let step = async {
            match note {
                Note::Later(later) => store::defer(&mut connection, chunk, self.worker, later).await,
                Note::Dead(problem) => store::end_dead(&mut connection, chunk, self.worker, problem).await,
                Note::Release => store::release(&mut connection, chunk, self.worker).await.map(|()| true),
                Note::Wake => store::wake_dispatchers(&mut connection).await.map(|()| true),
            }
        };
        let result = self.pool.within(step).await;
        match &result {
            Ok(_) => self.pool.give_back(connection),
            Err(_) => self.pool.close_idle(),
        }
        result
    }

    /// The same until it is written, through outages of the store. `None`: the worker is to stop.
    pub(crate) async fn write_note_until_done(
        &self,
        chunk: ChunkId,
        note: Note<'_>,
    ) -> Option<Result<bool, StoreError>> {
        let mut backoff = Backoff::new(RetryPolicy::RECONNECT);
        loop {
            match self.write_note(chunk, note).await {
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
    pub(crate) async fn pause(&self, delay: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(delay) => true,
            () = self.stop.cancelled() => fault::mutant(Mutant::StopWithoutGrace),
        }
    }
}

/// Whose chunk a line of the log is about. The tenant's name, or its number where the name is not known yet.
#[derive(Debug, Clone)]
pub(crate) struct Label {
    pub(crate) import: Uuid,
    pub(crate) tenant: String,
    pub(crate) chunk: ChunkId,
}

/// What is written about a chunk outside of its own transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Note<'a> {
    Later(Later<'a>),
    Dead(&'a str),
    Release,
    Wake,
}
