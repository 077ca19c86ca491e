//! Dispatching: sends staged chunks to the queue, a limited window ahead of the workers, in turn across tenants and imports.
//!
//! Any number of dispatchers may run, since each chunk is claimed once. A dispatcher has no state of its own:
//! if it is killed, its claims are staged again within seconds ([`sweep`]) and another dispatcher sends them
//! (P3 makes that harmless). Its tasks are supervised: a task that panics is restarted, and
//! [`Dispatcher::progress`] reports to readiness.

mod sweep;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use muster_domain::dispatch::{self, FairShare, LaneHead, Silence};
use muster_domain::fault::{self, Mutant, Point};
use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_queue::{Headers, Message, Queue, QueueError};
use muster_runtime::retry::{Backoff, Policy};
use muster_runtime::supervise::{Progress, Supervised, supervise};
use muster_runtime::telemetry::traces;
use muster_store::dispatch::{self as store, ClaimedChunk};
use muster_store::holding::{BEAT, Held, Holder, Holding};
use muster_store::status::Bounds;
use muster_store::{Store, StoreError, holders};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Version of the message's body: that of the chunk's encoding.
const BODY_VERSION: u16 = 1;
/// How long what was published may wait to be confirmed in the store. Well below the time that a claim is good for.
const CONFIRM_WITHIN: Duration = Duration::from_millis(500);
/// How often a broker that takes nothing is tried: soon at first, since a fail-over is short, then less than once a second.
const TRY_AGAIN: Policy = Policy { longest: Duration::from_millis(1200), ..Policy::RECONNECT };
/// How often the log is told of an import that cannot be completed.
const WARNED_EVERY: Duration = Duration::from_secs(60);
/// Without a look at the queue for so long, a chunk past its lease may still wait there.
const LOOKED: Duration = Duration::from_secs(3);

/// How a dispatcher works.
#[derive(Debug, Clone, Copy)]
pub struct DispatchOptions {
    /// Most chunks that are with the workers at a time. None: what follows from the workers.
    pub window: Option<usize>,
    /// How long a chunk that is with the workers holds its place in the window.
    pub lease: Duration,
    /// How often to look without having been woken.
    pub poll: Duration,
    /// How long an import may run without progress before it counts as standing still.
    pub stall_after: Duration,
    /// How long things are kept; none keeps all.
    pub retention: Option<Retention>,
    /// Attempts that a chunk has: the workers' number.
    pub attempts: u32,
    /// How long the store may take to answer. Longer than that, a connection leads nowhere and is given up.
    pub deadline: Duration,
    /// How long stopping may take.
    pub grace: Duration,
}

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// An import after its end.
    pub imports: Duration,
    /// The secrets of an import's failed records after its end.
    pub secrets: Duration,
    /// What an import changed, after its end.
    pub before_images: Duration,
    /// An import that was received and that nobody starts.
    pub waiting: Duration,
}

impl Default for DispatchOptions {
    fn default() -> Self {
        Self {
            window: None,
            lease: Duration::from_secs(30),
            poll: Duration::from_millis(250),
            stall_after: Duration::from_secs(60),
            retention: None,
            attempts: 5,
            deadline: Duration::from_secs(15),
            grace: Duration::from_secs(5),
        }
    }
}

/// A running dispatcher. Dropped, it is aborted.
#[derive(Debug)]
pub struct Dispatcher {
    stop: CancellationToken,
    wake: Arc<Notify>,
    rounds: Supervised,
    others: Vec<Supervised>,
    holding: Holding,
    grace: Duration,
    bounds: Bounds,
}

impl DispatchOptions {
    /// The settings that the progress of an import depends on.
    pub fn bounds(&self) -> Bounds {
        Bounds { window: self.window, stall_after: self.stall_after }
    }
}

impl Dispatcher {
    /// Starts to dispatch. Store and broker may be away: the dispatcher keeps trying.
    pub fn start(store: Store, queue: Queue, options: DispatchOptions) -> Self {
        let stop = CancellationToken::new();
        let wake = Arc::new(Notify::new());
        let holding = Holding::start(store.clone(), "dispatcher", None);
        let run = Arc::new(Run {
            urgent: store.reserved(),
            store,
            queue,
            options,
            wake: wake.clone(),
            stop: stop.clone(),
            holder: holding.holder(),
            silence: Mutex::default(),
            stalled: Mutex::default(),
            started: Instant::now(),
            looked: Progress::new(),
        });
        let rounds = supervise("dispatch", stop.clone(), {
            let run = run.clone();
            move |progress| Rounds::new(run.clone()).run(progress)
        });
        let mut others = sweep::start(&run);
        others.push(supervise("dispatch wake-ups", stop.clone(), move |_| listen(run.clone())));
        let (grace, bounds) = (options.grace, options.bounds());
        Self { stop, wake, rounds, others, holding, grace, bounds }
    }

    /// Something new is staged.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// What wakes the dispatcher, for those who do not hold it.
    pub fn wake_handle(&self) -> Arc<Notify> {
        self.wake.clone()
    }

    /// The facts about the progress of an import.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// How long ago the last round ended well.
    pub fn progress(&self) -> Progress {
        self.rounds.progress()
    }

    /// Stops after the round that is under way, within the grace: what a round was cut off in is staged again by others.
    pub async fn stop(self) {
        self.stop.cancel();
        let others = join_all(self.others.into_iter().map(|task| task.stop(self.grace)));
        tokio::join!(self.rounds.stop(self.grace), others);
        self.holding.stop().await;
    }
}

/// Passes on what workers and receivers notify.
async fn listen(run: Arc<Run>) {
    let mut backoff = Backoff::new(Policy::RECONNECT);
    let listening = async {
        loop {
            match run.store.listen(store::WAKE_CHANNEL).await {
                Ok(mut wakes) => {
                    backoff.reset();
                    while wakes.next().await.is_ok() {
                        run.wake.notify_one();
                    }
                }
                Err(error) => tracing::debug!(%error, "cannot listen; polling meanwhile"),
            }
            sleep(backoff.delay()).await;
        }
    };
    // The connection is the listener's own, so it may be cut off.
    tokio::select! {
        () = listening => {}
        () = run.stop.cancelled() => {}
    }
}

/// What the tasks of a dispatcher share.
struct Run {
    store: Store,
    /// The same over connections that no reads take: chunks go out however much is read.
    urgent: Store,
    queue: Queue,
    options: DispatchOptions,
    wake: Arc<Notify>,
    stop: CancellationToken,
    holder: Holder,
    silence: Mutex<Silence>,
    /// Imports that made no progress when they were last looked for.
    stalled: Mutex<HashMap<ImportId, TenantId>>,
    started: Instant,
    /// When the leases of the chunks that wait in the queue were last looked after.
    looked: Progress,
}

/// The task that dispatches.
struct Rounds {
    run: Arc<Run>,
    fair: FairShare,
    /// From which lane to look: another one each round.
    lane: i32,
    /// Published, and not confirmed in the store yet; held until they are.
    published: Vec<Held>,
    /// When the first of them was published.
    since: Instant,
    /// The broker did not take everything in the last round.
    refused: bool,
    /// Places in the window, and when they were last counted.
    window: usize,
    counted: Option<Instant>,
    /// When the log was last told of an import that cannot be completed.
    warned: Option<Instant>,
}

impl Rounds {
    fn new(run: Arc<Run>) -> Self {
        let (fair, since) = (FairShare::default(), Instant::now());
        let window = dispatch::window(run.options.window, None);
        Self {
            run,
            fair,
            lane: 0,
            published: Vec::new(),
            since,
            refused: false,
            window,
            counted: None,
            warned: None,
        }
    }

    async fn run(mut self, progress: Progress) {
        let mut backoff = Backoff::new(TRY_AGAIN);
        let run = self.run.clone();
        while !run.stop.is_cancelled() {
            let refused = self.refused;
            // A wake-up does not shorten the wait after a failure, since each try claims chunks and gives them back.
            let mut wakes = fault::mutant(Mutant::ClaimsInAnOutage);
            let pause = match self.round().await {
                Ok(()) if !self.refused => {
                    progress.note();
                    backoff.reset();
                    wakes = true;
                    // A broker that is back is given the rest of the window at once.
                    if refused { Duration::ZERO } else { run.options.poll }
                }
                // The broker did not take everything: what it refused is staged again.
                Ok(()) => {
                    progress.note();
                    backoff.delay()
                }
                Err(error) => {
                    tracing::warn!(%error, "dispatching failed; trying again");
                    backoff.delay()
                }
            };
            let pause = if self.published.is_empty() { pause } else { pause.min(CONFIRM_WITHIN) };
            tokio::select! {
                () = sleep(pause) => {}
                () = run.wake.notified(), if wakes => {}
                () = run.stop.cancelled() => {}
            }
        }
        if let Err(error) = self.confirm().await {
            tracing::debug!(%error, "what was published last could not be confirmed; it may be sent twice");
        }
    }

    /// Dispatches what there is room for, and completes what has ended.
    async fn round(&mut self) -> Result<(), StoreError> {
        fault::point(Point::Look)?;
        let run = self.run.clone();
        let chosen = run.within(self.choose()).await?;
        if !chosen.is_empty() {
            fault::point(Point::Claim)?;
            let confirmed = self.ids();
            let lease = run.options.lease.as_secs_f64();
            let claimed =
                run.within(store::claim_to_publish(&run.urgent, &chosen, &confirmed, lease)).await?;
            self.published.clear();
            let held: Vec<Held> = claimed.iter().map(|chunk| run.holder.hold(chunk.id)).collect();
            let sent = join_all(claimed.into_iter().map(|chunk| run.publish(chunk))).await;
            // Where another dispatcher claimed them all, nothing is known of the broker.
            if !sent.is_empty() {
                self.refused = sent.contains(&false);
            }
            self.published.extend(held.into_iter().zip(sent).filter(|(_, sent)| *sent).map(|(held, _)| held));
            self.since = Instant::now();
        }
        if !self.published.is_empty() && self.since.elapsed() >= CONFIRM_WITHIN {
            self.confirm().await?;
        }
        let completed = run.within(store::complete_ended(&run.urgent)).await?;
        for import in completed.imports {
            tracing::info!(%import, "import completed");
        }
        if let Some((import, error)) = completed.problem {
            self.warn_of_uncompleted(import, &error);
        }
        Ok(())
    }

    /// An import that cannot be completed is tried again by each round, and must not slow down those for everybody else.
    fn warn_of_uncompleted(&mut self, import: ImportId, error: &StoreError) {
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARNED_EVERY) {
            tracing::warn!(%import, %error, "an import cannot be completed; trying again");
            self.warned = Some(Instant::now());
        }
    }

    /// The window follows from the workers that live, unless it is set.
    async fn count_places(&mut self) -> Result<(), StoreError> {
        let set = self.run.options.window;
        if set.is_none() && self.counted.is_none_or(|counted| counted.elapsed() >= BEAT) {
            self.window = dispatch::window(None, holders::slots(&self.run.urgent).await?);
            self.counted = Some(Instant::now());
        }
        Ok(())
    }

    async fn choose(&mut self) -> Result<Vec<ChunkId>, StoreError> {
        self.count_places().await?;
        self.lane = if self.lane >= i32::from(i16::MAX) { 0 } else { self.lane + 1 };
        let wanted = i32::try_from(self.window).unwrap_or(i32::MAX / 2);
        let mut read = store::some_lane_heads(&self.run.urgent, Some(wanted), self.lane).await?;
        self.keep_places(&mut read.heads);
        // For the case that what was read is not enough to choose from.
        let before = read.cut.then(|| self.fair.clone());
        let mut window = self.places(&read.heads);
        let mut chosen = self.fair.choose(&read.heads, window);
        let full = in_flight(&read.heads) + chosen.len() >= window;
        if let Some(before) = before.filter(|_| !full) {
            read = store::some_lane_heads(&self.run.urgent, None, self.lane).await?;
            self.keep_places(&mut read.heads);
            self.fair = before;
            window = self.places(&read.heads);
            chosen = self.fair.choose(&read.heads, window);
        }
        Ok(chosen)
    }

    /// A broker that did not take everything is tried with one chunk, so that an outage does not move a window of them to and fro.
    fn places(&self, heads: &[LaneHead]) -> usize {
        if self.refused && !fault::mutant(Mutant::WholeWindowRefused) {
            self.window.min(in_flight(heads) + 1)
        } else {
            self.window
        }
    }

    /// A chunk past its lease gives its place to others, unless it may still wait in the queue.
    fn keep_places(&self, heads: &mut [LaneHead]) {
        if self.run.looked.silent_for() > LOOKED || fault::mutant(Mutant::PlaceForEver) {
            for head in heads.iter_mut() {
                head.in_flight = !head.ready;
            }
        }
    }

    async fn confirm(&mut self) -> Result<(), StoreError> {
        let published = self.ids();
        if !published.is_empty() {
            let lease = self.run.options.lease.as_secs_f64();
            self.run.within(store::confirm(&self.run.urgent, &published, lease)).await?;
            self.published.clear();
        }
        Ok(())
    }

    fn ids(&self) -> Vec<ChunkId> {
        self.published.iter().map(Held::chunk).collect()
    }
}

fn in_flight(heads: &[LaneHead]) -> usize {
    heads.iter().filter(|head| head.in_flight).count()
}

impl Run {
    /// Waits for the store as long as it may take to answer.
    async fn within<T>(&self, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        Store::within(self.options.deadline, asked).await
    }

    /// False if the broker did not take the message: the chunk is staged again then.
    async fn publish(&self, chunk: ClaimedChunk) -> bool {
        let (id, import, tenant) = (chunk.id, chunk.import, chunk.tenant);
        let mut span =
            traces::continued(chunk.traceparent.as_deref(), "publish chunk", traces::Kind::Producer);
        span.about(import.get(), Some(tenant.get()));
        span.set("muster.chunk", traces::Value::Number(id.get()));
        span.count("muster.attempt", chunk.attempt.into());
        let message = Message {
            headers: Headers {
                version: BODY_VERSION,
                tenant: Some(chunk.tenant.get()),
                import_id: chunk.import.get(),
                chunk_id: id.get(),
                attempt: chunk.attempt,
                traceparent: span.traceparent().filter(|_| !fault::mutant(Mutant::TraceparentEmpty)),
            },
            body: chunk.body.into(),
        };
        match self.send(message).await {
            Ok(()) => {
                metrics::counter!("muster_chunks_dispatched_total").increment(1);
                true
            }
            Err(error) => {
                span.fail();
                tracing::warn!(%import, %tenant, chunk = %id, %error, "a chunk could not be published; it stays staged");
                let problem = format!("the queue does not accept it: {error}");
                // Should this fail too, the claim runs out.
                if let Err(error) = self.within(store::unclaim(&self.urgent, id, &problem)).await {
                    tracing::warn!(%import, %tenant, chunk = %id, %error, "a chunk could not be given back");
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
}
