//! Webhooks: a task that writes deliveries for events, and sends those that are due.
//!
//! Any number of producers may run it: each event is written once for each webhook, and one producer at a
//! time claims a webhook ([`muster_store::deliveries`]). A crash loses nothing: the claim expires, and the
//! delivery is repeated.

mod send;
mod target;

use std::time::Duration;

use muster_domain::fault::{self, Mutant, Point, mutant};
use muster_domain::import::DeliveryState;
use muster_domain::webhook::Schedule;
use muster_runtime::retry::{Backoff, Policy};
use muster_runtime::supervise::{Progress, Supervised, supervise};
use muster_store::deliveries::{self, Claim, Next, Try};
use muster_store::{Store, StoreError, events};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub use target::{Lookup, TargetError, Targets, URL_BYTES};

use send::Sender;

/// How often to look for events and for deliveries that are due.
const LOOK: Duration = Duration::from_millis(300);
/// How often events are written although no new number was seen: another producer may have died over them.
const WRITE: Duration = Duration::from_secs(5);
/// How often running imports are looked at for their share of failed records.
const FAILING: Duration = Duration::from_secs(5);
/// How often deliveries past their time are deleted.
const FORGET: Duration = Duration::from_secs(60);
/// What a claim is good for beyond the time that a try may take.
const SPARE: Duration = Duration::from_secs(5);

/// How webhooks are delivered.
#[derive(Debug, Clone, Copy)]
pub struct WebhookOptions {
    /// Where they may lead.
    pub targets: Targets,
    /// Most webhooks of a tenant.
    pub most: u32,
    /// Most deliveries at a time, of this process.
    pub at_once: u32,
    /// How long a try may take in all.
    pub timeout: Duration,
    /// When a delivery that failed is tried again.
    pub schedule: Schedule,
    /// How long deliveries are kept after their end; none keeps all.
    pub keep: Option<Duration>,
    /// What a claim is good for beyond `timeout`.
    pub spare: Duration,
    /// How long the store may take to answer.
    pub deadline: Duration,
    /// How long stopping may take.
    pub grace: Duration,
}

impl Default for WebhookOptions {
    fn default() -> Self {
        Self {
            targets: Targets::default(),
            most: 20,
            at_once: 8,
            timeout: Duration::from_secs(15),
            schedule: Schedule::default(),
            keep: None,
            spare: SPARE,
            deadline: Duration::from_secs(15),
            grace: Duration::from_secs(5),
        }
    }
}

/// The task, running. Dropped, it is aborted.
#[derive(Debug)]
pub(crate) struct Webhooks {
    task: Supervised,
    grace: Duration,
}

impl Webhooks {
    /// Starts it. The store may be away: it keeps trying.
    pub(crate) fn start(store: Store, options: WebhookOptions) -> Self {
        let stop = CancellationToken::new();
        let token = stop.clone();
        let task = supervise("webhooks", stop, move |progress| {
            Round::new(store.clone(), options, token.clone()).run(progress)
        });
        Self { task, grace: options.grace }
    }

    /// Begins no further delivery, and waits for those under way, within the grace.
    pub(crate) async fn stop(self) {
        self.task.stop(self.grace).await;
    }
}

/// The task's own state.
struct Round {
    store: Store,
    options: WebhookOptions,
    stop: CancellationToken,
    /// Number of the newest event when everything was last written.
    known: Option<i64>,
    wrote: Instant,
    looked_at_failing: Option<Instant>,
    forgot: Option<Instant>,
    under_way: JoinSet<()>,
}

impl Round {
    fn new(store: Store, options: WebhookOptions, stop: CancellationToken) -> Self {
        Self {
            store,
            options,
            stop,
            known: None,
            wrote: Instant::now(),
            looked_at_failing: None,
            forgot: None,
            under_way: JoinSet::new(),
        }
    }

    async fn run(mut self, progress: Progress) {
        let sender = match Sender::new(self.options.targets, self.options.timeout) {
            Ok(sender) => sender,
            Err(error) => {
                tracing::error!(%error, "webhooks cannot be delivered");
                return;
            }
        };
        let mut backoff = Backoff::new(Policy::RECONNECT);
        while !self.stop.is_cancelled() {
            let pause = match self.round(&sender).await {
                Ok(()) => {
                    progress.note();
                    backoff.reset();
                    LOOK
                }
                Err(error) => {
                    tracing::warn!(%error, "webhooks cannot be looked after; trying again");
                    backoff.delay()
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                // What ended makes room, and its webhook may have more.
                Some(ended) = self.under_way.join_next() => note_panic(ended),
                () = self.stop.cancelled() => {}
            }
        }
        while let Some(ended) = self.under_way.join_next().await {
            note_panic(ended);
        }
    }

    /// Each part is done whatever came of the others.
    async fn round(&mut self, sender: &Sender) -> Result<(), StoreError> {
        let written = self.write_new().await;
        let failing = self.write_failing().await;
        let forgotten = self.forget().await;
        let begun = self.begin_due(sender).await;
        written.and(failing).and(forgotten).and(begun)
    }

    async fn write_failing(&mut self) -> Result<(), StoreError> {
        if is_over(self.looked_at_failing, FAILING) {
            self.within(deliveries::write_failing_imports(&self.store)).await?;
            self.looked_at_failing = Some(Instant::now());
        }
        Ok(())
    }

    async fn forget(&mut self) -> Result<(), StoreError> {
        if let Some(keep) = self.options.keep
            && is_over(self.forgot, FORGET)
        {
            let forgotten = self.within(deliveries::forget(&self.store, keep.as_secs_f64())).await?;
            self.forgot = Some(Instant::now());
            if forgotten > 0 {
                tracing::info!(forgotten, "deliveries of webhooks past their retention were deleted");
            }
        }
        Ok(())
    }

    async fn write_new(&mut self) -> Result<(), StoreError> {
        let newest = self.within(events::newest(&self.store)).await?;
        if self.known == Some(newest) && self.wrote.elapsed() < WRITE {
            return Ok(());
        }
        let more = self.within(deliveries::write_new(&self.store)).await?;
        self.known = (!more).then_some(newest);
        self.wrote = Instant::now();
        Ok(())
    }

    /// Begins deliveries as long as there are places and something is due.
    async fn begin_due(&mut self, sender: &Sender) -> Result<(), StoreError> {
        let places = (self.options.at_once as usize).saturating_sub(self.under_way.len());
        if places == 0 {
            return Ok(());
        }
        let places = i64::try_from(places).unwrap_or(i64::MAX);
        // Half of all places, for webhooks of one tenant that fail.
        let failing = i64::from((self.options.at_once / 2).max(1));
        let seconds = (self.options.timeout + self.options.spare).as_secs_f64();
        for claim in self.within(deliveries::claim(&self.store, places, failing, seconds)).await? {
            let (store, sender, options) = (self.store.clone(), sender.clone(), self.options);
            self.under_way.spawn(async move { deliver(&store, &sender, &options, &claim).await });
        }
        Ok(())
    }

    async fn within<T>(&self, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        Store::within(self.options.deadline, asked).await
    }
}

fn is_over(since: Option<Instant>, period: Duration) -> bool {
    since.is_none_or(|since| since.elapsed() >= period)
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a delivery did not end well; it is made again when its claim has run out");
    }
}

/// Makes one delivery, and notes how that went.
async fn deliver(store: &Store, sender: &Sender, options: &WebhookOptions, claim: &Claim) {
    if mutant(Mutant::WebhookNotedFirst) {
        let tried =
            Try { at: muster_runtime::clock::now(), status: None, problem: None, took: Duration::ZERO };
        let _ = deliveries::finish(store, claim, &tried, Next::Delivered).await;
    }
    if fault::point(Point::WebhookClaimed).is_err() {
        return;
    }
    let (tried, next) = sender.send(claim, &options.schedule).await;
    if fault::point(Point::WebhookSent).is_err() {
        return;
    }
    let (webhook, delivery, status) = (claim.webhook, claim.delivery, tried.status);
    let finished = Store::within(options.deadline, deliveries::finish(store, claim, &tried, next)).await;
    let result = match (finished, next) {
        (Ok(Some(DeliveryState::Delivered)), _) => "delivered",
        (Ok(Some(_)), Next::Gone) => {
            tracing::warn!(%webhook, tenant = %claim.tenant, "the receiver of a webhook answered 410: the webhook is disabled");
            "gone"
        }
        (Ok(Some(DeliveryState::Failed)), _) => {
            tracing::warn!(%webhook, %delivery, status, problem = tried.problem, "a delivery is given up");
            "given_up"
        }
        (Ok(Some(DeliveryState::Pending)), _) => {
            tracing::debug!(%webhook, %delivery, status, problem = tried.problem, "a delivery failed and is tried again");
            "put_off"
        }
        (Ok(None), _) => {
            tracing::debug!(%webhook, %delivery, "a delivery took so long that another producer has it");
            return;
        }
        (Err(error), _) => {
            tracing::warn!(%webhook, %delivery, %error, "how a delivery went cannot be noted; it is made again");
            return;
        }
    };
    metrics::counter!("muster_webhook_deliveries_total", "result" => result).increment(1);
}
