//! Consuming: a task owns the channel, yields deliveries, settles them, and starts again when the connection is lost.
//!
//! A consumer whose channel the broker closed looks idle, not broken. So the task checks from time to time
//! that the queue exists, still has a consumer, and does not fill up while this consumer gets nothing.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use muster_domain::fault::{self, Point};
use muster_runtime::retry::Backoff;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::link::Link;
use super::publish::Publisher;
use super::settling::Settling;
use crate::{Delivery, QueueError, QueueOptions, Topology};

/// What a consumer needs to start, and to start again.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) link: Arc<Link>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) topology: Topology,
    pub(super) options: QueueOptions,
    pub(super) prefetch: u16,
}

/// One channel's time as a consumer.
pub(super) struct Session {
    connection: Arc<Connection>,
    channel: Channel,
    stream: lapin::Consumer,
    settling: Settling,
}

enum End {
    /// Nobody receives any more, and everything is settled.
    Stopped,
    /// The channel is no longer a consumer, for the reason given.
    Broken(String),
}

/// What the broker says of the queue.
struct Probe {
    ready: u32,
    consumers: u32,
}

type ProbeFuture = Pin<Box<dyn Future<Output = Result<Probe, String>> + Send>>;

/// Runs until nobody receives any more and all that was received is settled.
pub(super) async fn run(setup: Setup, first: Session, out: mpsc::UnboundedSender<Delivery>) {
    let mut session = first;
    loop {
        match session.serve(&setup, &out).await {
            End::Stopped => return,
            End::Broken(reason) => {
                tracing::warn!(queue = setup.topology.queue(), reason, "consumer lost its channel");
            }
        }
        // Another connection, though only the channel may be gone: it declares the topology again.
        setup.link.discard(&session.connection);
        drop(session);
        match reopen(&setup, &out).await {
            Some(opened) => session = opened,
            None => return,
        }
        tracing::info!(queue = setup.topology.queue(), "consumer is back");
    }
}

async fn reopen(setup: &Setup, out: &mpsc::UnboundedSender<Delivery>) -> Option<Session> {
    let mut backoff = Backoff::new(setup.options.reconnect);
    loop {
        tokio::select! {
            () = out.closed() => return None,
            opened = Session::open(setup) => match opened {
                Ok(session) => return Some(session),
                Err(error) => tracing::warn!(%error, queue = setup.topology.queue(), "consumer cannot come back yet"),
            },
        }
        tokio::select! {
            () = out.closed() => return None,
            () = sleep(backoff.delay()) => {}
        }
    }
}

impl Session {
    pub(super) async fn open(setup: &Setup) -> Result<Self, QueueError> {
        fault::point(Point::OpenSession)?;
        let (connection, channel) = setup.link.channel().await?;
        let started = timeout(setup.options.connect_timeout, Self::start(setup, &channel)).await;
        let stream = match started {
            Ok(Ok(stream)) => {
                setup.link.works(&setup.topology.queue());
                stream
            }
            Ok(Err(error)) => {
                let error = error.into();
                setup.link.give_up(&connection, &setup.topology.queue(), &error).await;
                return Err(error);
            }
            Err(_) => {
                setup.link.discard(&connection);
                let after = setup.options.connect_timeout;
                return Err(QueueError::TimedOut { doing: "starting to consume", after, blocked: false });
            }
        };
        let settling = Settling::new(Arc::clone(&setup.publisher), setup.topology.dead());
        Ok(Self { connection, channel, stream, settling })
    }

    async fn start(setup: &Setup, channel: &Channel) -> Result<lapin::Consumer, lapin::Error> {
        // A window for each consumer: quorum queues know no window shared by a channel.
        channel.basic_qos(setup.prefetch, BasicQosOptions { global: false }).await?;
        let options = BasicConsumeOptions {
            // Means nothing to RabbitMQ.
            no_local: false,
            // Every message is acked after its work is committed, never before.
            no_ack: false,
            // Any number of workers.
            exclusive: false,
            // Wait for the answer, or a queue that is missing would go unnoticed.
            nowait: false,
        };
        // Empty: the broker makes up the consumer's name.
        channel.basic_consume(setup.topology.queue().into(), "".into(), options, FieldTable::default()).await
    }

    async fn serve(&mut self, setup: &Setup, out: &mpsc::UnboundedSender<Delivery>) -> End {
        let mut health =
            interval_at(Instant::now() + setup.options.health_interval, setup.options.health_interval);
        health.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut probe: Option<ProbeFuture> = None;
        let mut starving = false;
        loop {
            tokio::select! {
                received = self.stream.next() => match received {
                    Some(Ok(delivery)) => {
                        starving = false;
                        if let Some(delivery) = self.settling.accept(delivery) {
                            // Where nobody receives any more, the delivery comes back and is requeued by its drop.
                            drop(out.send(delivery));
                        }
                    }
                    Some(Err(error)) => return End::Broken(error.to_string()),
                    None => return End::Broken("the broker cancelled the consumer".to_owned()),
                },
                _ = self.settling.step() => {}
                _ = health.tick(), if probe.is_none() => probe = Some(self.probe(setup)),
                result = async { probe.as_mut()?.as_mut().await.into() }, if probe.is_some() => {
                    probe = None;
                    match result {
                        Some(Ok(Probe { consumers: 0, .. })) => {
                            return End::Broken("the queue counts no consumer".to_owned());
                        }
                        // Once may be a message that is on its way.
                        Some(Ok(Probe { ready, .. })) if ready > 0 && self.has_room(setup) => {
                            if starving {
                                return End::Broken("messages are ready, but none is delivered".to_owned());
                            }
                            starving = true;
                        }
                        Some(Ok(_)) | None => starving = false,
                        Some(Err(reason)) => return End::Broken(reason),
                    }
                }
                () = out.closed() => return self.finish(setup).await,
            }
        }
    }

    /// Whether the broker may deliver more, by what this side knows.
    fn has_room(&self, setup: &Setup) -> bool {
        self.settling.unsettled() < usize::from(setup.prefetch)
    }

    // A passive declaration on the consuming channel itself: it needs the socket, the channel and the queue, and gives
    // the counts.
    fn probe(&self, setup: &Setup) -> ProbeFuture {
        let channel = self.channel.clone();
        let queue = setup.topology.queue();
        let limit = setup.options.health_interval;
        Box::pin(async move {
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            match timeout(limit, channel.queue_declare(queue.into(), options, FieldTable::default())).await {
                Ok(Ok(queue)) => {
                    Ok(Probe { ready: queue.message_count(), consumers: queue.consumer_count() })
                }
                Ok(Err(error)) => Err(format!("the health check failed: {error}")),
                Err(_) => Err("the health check was not answered".to_owned()),
            }
        })
    }

    /// Receives nothing more, requeues what nobody will see, and waits for the rest to be settled.
    async fn finish(&mut self, setup: &Setup) -> End {
        let cancelled = timeout(setup.options.health_interval, self.cancel()).await;
        if !matches!(cancelled, Ok(Ok(()))) {
            tracing::debug!("consumer could not be cancelled; its channel is closed instead");
        }
        self.settling.accept_no_more();
        while self.settling.step().await {}
        End::Stopped
    }

    async fn cancel(&mut self) -> Result<(), lapin::Error> {
        // Wait for the answer: after it the stream ends, so that nothing can slip in behind.
        let options = BasicCancelOptions { nowait: false };
        self.channel.basic_cancel(self.stream.tag(), options).await?;
        while let Some(Ok(delivery)) = self.stream.next().await {
            // Dropped at once, and requeued by that.
            drop(self.settling.accept(delivery));
        }
        Ok(())
    }
}
