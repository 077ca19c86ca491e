//! Consuming: a task owns a session, yields deliveries, settles them, and starts again when the session is lost.

use std::time::Duration;

use bytes::Bytes;
use muster_runtime::retry::Backoff;
use sqlx::PgPool;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::notifier::Notifier;
use super::session::{Claimed, Session, Turn, Work};
use crate::delivery::{Settle, Settler};
use crate::{Delivery, Message, QueueError, QueueOptions, Topology};

// How long a wake-up that got lost can delay a message, and how long a dead consumer keeps its own.
const LOOK: Duration = Duration::from_secs(1);
// Commands settled with one statement; more wait for the next turn.
const SETTLE_AT_ONCE: usize = 256;

/// What a consumer needs to start, and to start again.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) pool: PgPool,
    pub(super) notifier: Notifier,
    pub(super) topology: Topology,
    pub(super) options: QueueOptions,
    pub(super) prefetch: u16,
}

impl Setup {
    pub(super) async fn open(&self) -> Result<Session, QueueError> {
        let after = self.options.connect_timeout;
        let queue = self.topology.queue();
        // Cut short, the attempt takes its connection with it.
        let opened = timeout(
            after,
            Session::open(&super::consuming(&self.pool), &queue, self.topology.delivery_limit()),
        )
        .await;
        opened.map_err(|_| QueueError::TimedOut {
            doing: "connecting to the database",
            after,
            blocked: false,
        })?
    }
}

/// Runs until nobody receives any more and all that was received is settled.
pub(super) async fn run(setup: Setup, first: Session, out: mpsc::UnboundedSender<Delivery>) {
    let mut session = first;
    loop {
        let window = Window::new(setup.prefetch.into());
        match window.serve(session, &setup, &out).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, queue = setup.topology.queue(), "consumer lost its session"),
        }
        match reopen(&setup, &out).await {
            Some(opened) => session = opened,
            None => return,
        }
        tracing::info!(queue = setup.topology.queue(), "consumer is back");
    }
}

async fn reopen(setup: &Setup, out: &mpsc::UnboundedSender<Delivery>) -> Option<Session> {
    let mut backoff = Backoff::new(setup.options.reconnect);
    while !out.is_closed() {
        match setup.open().await {
            Ok(session) => return Some(session),
            Err(error) => {
                tracing::warn!(%error, queue = setup.topology.queue(), "consumer cannot come back yet")
            }
        }
        tokio::select! {
            () = out.closed() => {}
            () = sleep(backoff.delay()) => {}
        }
    }
    None
}

/// The deliveries of one session that are not settled yet, and the commands that settle them.
pub(super) struct Window {
    prefetch: i64,
    unsettled: i64,
    // Given to every delivery; let go once no further delivery comes, so that the last settled one ends `commands`.
    handle: Option<mpsc::UnboundedSender<Settle>>,
    commands: mpsc::UnboundedReceiver<Settle>,
}

impl Window {
    pub(super) fn new(prefetch: i64) -> Self {
        let (handle, commands) = mpsc::unbounded_channel();
        Self { prefetch, unsettled: 0, handle: Some(handle), commands }
    }

    /// Takes a message in; `None` once [`Self::accept_no_more`] was called.
    pub(super) fn accept(&mut self, claimed: Claimed) -> Option<Delivery> {
        let settler = Settler::new(claimed.id.cast_unsigned(), self.handle.clone()?);
        self.unsettled += 1;
        let headers = claimed.headers();
        Some(Delivery {
            redelivered: claimed.deliveries > 1,
            delivery_count: u32::try_from(claimed.deliveries).unwrap_or(0),
            body: headers.map(|headers| Message { headers, body: Bytes::from(claimed.body) }),
            settler,
        })
    }

    /// From now on everything that is left to do is to settle.
    pub(super) fn accept_no_more(&mut self) {
        self.handle = None;
    }

    async fn serve(
        mut self,
        mut session: Session,
        setup: &Setup,
        out: &mpsc::UnboundedSender<Delivery>,
    ) -> Result<(), QueueError> {
        let mut notifications = setup.notifier.listen();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work = Work { sweep: true, ..Work::default() };
        loop {
            // Before claiming, so that a message published from now on notifies again.
            notifications.mark_unchanged();
            // What a consumer that is gone gives back rings for itself too: claiming it over and over would spend the
            // deliveries that the message may have.
            if out.is_closed() {
                self.accept_no_more();
            }
            work.claim = if self.handle.is_some() { self.prefetch - self.unsettled } else { 0 };
            let (back, turn) = turn(session, work, setup).await?;
            session = back;
            if turn.freed {
                setup.notifier.notify();
            }
            for claimed in turn.claimed {
                // Where nobody receives any more, the delivery comes back and is requeued by its drop.
                if let Some(delivery) = self.accept(claimed) {
                    drop(out.send(delivery));
                }
            }
            work = match self.wait(&mut notifications, &mut look, out).await {
                Some(work) => work,
                None => return Ok(session.close().await?),
            };
        }
    }

    /// Waits for something to do; `None` once everything is settled and nothing further comes.
    async fn wait(
        &mut self,
        notifications: &mut watch::Receiver<()>,
        look: &mut tokio::time::Interval,
        out: &mpsc::UnboundedSender<Delivery>,
    ) -> Option<Work> {
        let mut work = Work::default();
        loop {
            tokio::select! {
                count = self.commands.recv_many(&mut work.settle, SETTLE_AT_ONCE) => {
                    self.unsettled -= i64::try_from(count).unwrap_or(i64::MAX);
                    return (count > 0).then_some(work);
                }
                // An error would mean that the notifier is gone, but the setup holds it.
                Ok(()) = notifications.changed(), if self.handle.is_some() && self.unsettled < self.prefetch => {
                    return Some(work);
                }
                _ = look.tick() => {
                    work.sweep = true;
                    return Some(work);
                }
                () = out.closed(), if self.handle.is_some() => self.accept_no_more(),
            }
        }
    }

    /// Settles what was taken, until nothing is left.
    pub(super) async fn settle_all(mut self, mut session: Session, setup: &Setup) -> Result<(), QueueError> {
        self.accept_no_more();
        loop {
            let mut work = Work::default();
            if self.commands.recv_many(&mut work.settle, SETTLE_AT_ONCE).await == 0 {
                return Ok(session.close().await?);
            }
            (session, _) = turn(session, work, setup).await?;
        }
    }
}

// Cut short, a turn takes the session with it: a server that vanished would otherwise never be noticed.
async fn turn(session: Session, work: Work, setup: &Setup) -> Result<(Session, Turn), QueueError> {
    let after = setup.options.publish_timeout;
    match timeout(after, session.turn(work)).await {
        Ok(turn) => Ok(turn?),
        Err(_) => Err(QueueError::TimedOut { doing: "talking to the database", after, blocked: false }),
    }
}
