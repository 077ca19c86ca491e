//! The queue on RabbitMQ 3.10 to 4.x: quorum queues, publisher confirms, consumer acknowledgements.
//!
//! Limitations: it cannot count unsettled deliveries, cannot set a reason on messages that the broker
//! dead-letters itself, and cannot see a message's age. A publish without an answer may have been stored.
//! Order is kept only between messages that are never requeued.
//!
//! There are two connections: one for publishing, one for everything else. During an alarm the broker blocks
//! connections that publish. Consumers must still settle then, or the alarm would never end.

mod consume;
mod declare;
mod handshake;
mod link;
mod properties;
mod publish;
mod settling;

use std::sync::{Arc, Mutex, PoisonError};

use lapin::Channel;
use lapin::options::{
    BasicGetOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use muster_domain::fault::{self, Mutant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::consume::{Session, Setup};
use self::link::Link;
use self::publish::Publisher;
use self::settling::Settling;

use super::{DeadLetter, Feed, Message, QueueDepth, QueueError, QueueOptions, QueueServer, Topology};

// Seconds. TCP alone needs many minutes to notice a peer that vanished.
const HEARTBEAT: u16 = 10;

#[derive(Debug)]
pub(crate) struct RabbitQueue {
    uri: AMQPUri,
    topology: Topology,
    options: QueueOptions,
    link: Arc<Link>,
    publisher: Arc<Publisher>,
    // Owns the tasks of consumers and of dead letters being taken: they end with the queue at the latest.
    tasks: Mutex<JoinSet<()>>,
}

impl RabbitQueue {
    pub(crate) fn new(url: &str, topology: Topology, options: QueueOptions) -> Result<Self, QueueError> {
        // The parser's message repeats parts of the address, which holds the password.
        let mut uri: AMQPUri = url.parse().map_err(|_| {
            QueueError::Configuration(
                "the broker's address is not one of the form amqp://user:password@host:port/vhost".to_owned(),
            )
        })?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let link = |purpose| Link::new(uri.clone(), purpose, topology.clone(), &options);
        Ok(Self {
            publisher: Arc::new(Publisher::new(
                link("publisher"),
                options.in_flight,
                options.publish_timeout,
            )),
            link: Arc::new(link("consumer")),
            uri,
            topology,
            options,
            tasks: Mutex::new(JoinSet::new()),
        })
    }

    pub(crate) async fn publish(&self, message: Message) -> Result<(), QueueError> {
        let properties = properties::of(&message.headers);
        self.publisher.publish(&self.topology.queue(), properties, message.body).await
    }

    pub(crate) fn place(&self) -> String {
        let authority = &self.uri.authority;
        format!("{}:{}", authority.host, authority.port)
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.publisher.is_blocked() && !fault::mutant(Mutant::BlockedBrokerReady)
    }

    pub(crate) async fn consumer(&self, prefetch: u16) -> Result<Feed, QueueError> {
        let setup = Setup {
            link: Arc::clone(&self.link),
            publisher: Arc::clone(&self.publisher),
            topology: self.topology.clone(),
            options: self.options,
            prefetch,
        };
        let session = Session::open(&setup).await?;
        let (out, deliveries) = mpsc::unbounded_channel();
        let (alive, ended) = oneshot::channel();
        self.spawn(async move {
            consume::run(setup, session, out).await;
            drop(alive);
        });
        Ok(Feed { deliveries, ended })
    }

    pub(crate) async fn dead_letters(&self, max: usize) -> Result<Vec<DeadLetter>, QueueError> {
        let (connection, channel) = self.link.channel().await?;
        let mut settling = Settling::new(Arc::clone(&self.publisher), self.topology.dead());
        let mut taken = Vec::new();
        while taken.len() < max {
            // Each is acked once the store has it.
            let options = BasicGetOptions { no_ack: false };
            let get = channel.basic_get(self.topology.dead().into(), options);
            let got = match self.within("taking dead letters", get).await {
                Ok(got) => got,
                Err(error) => {
                    self.link.give_up(&connection, &self.topology.dead(), &error).await;
                    return Err(error);
                }
            };
            self.link.works(&self.topology.dead());
            let Some(got) = got else { break };
            let reason = properties::dead_reason(&got.delivery.properties);
            taken.extend(settling.accept(got.delivery).map(|delivery| DeadLetter { delivery, reason }));
        }
        settling.accept_no_more();
        // The channel lives as long as what was taken over it; closing it requeues.
        self.spawn(async move {
            while settling.step().await {}
            drop(channel);
        });
        Ok(taken)
    }

    pub(crate) async fn depth(&self) -> Result<QueueDepth, QueueError> {
        let (connection, channel) = self.link.channel().await?;
        match self.depth_by(&channel).await {
            // Somebody deleted it: a new connection declares it again, and it is empty.
            Err(error) if error.is_not_found() => {
                self.link.discard(&connection);
                let (_connection, channel) = self.link.channel().await?;
                self.depth_by(&channel).await
            }
            depth => depth,
        }
    }

    pub(crate) async fn consumers(&self) -> Result<u64, QueueError> {
        let (_connection, channel) = self.link.channel().await?;
        Ok(self.look(&channel, self.topology.queue()).await?.consumer_count().into())
    }

    pub(crate) async fn check(&self) -> Result<QueueServer, QueueError> {
        self.depth().await?;
        let version = timeout(self.options.connect_timeout, handshake::version(&self.uri)).await;
        Ok(QueueServer { backend: "rabbitmq", version: version.ok().flatten() })
    }

    pub(crate) async fn purge(&self) -> Result<(), QueueError> {
        let (_connection, channel) = self.link.channel().await?;
        for queue in [self.topology.queue(), self.topology.dead()] {
            self.within("purging", channel.queue_purge(queue.into(), QueuePurgeOptions::default())).await?;
        }
        Ok(())
    }

    pub(crate) async fn delete(&self) -> Result<(), QueueError> {
        let (connection, channel) = self.link.channel().await?;
        for queue in [self.topology.queue(), self.topology.dead()] {
            self.within("deleting", channel.queue_delete(queue.into(), QueueDeleteOptions::default()))
                .await?;
        }
        let exchange = self.topology.dead().into();
        self.within("deleting", channel.exchange_delete(exchange, ExchangeDeleteOptions::default())).await?;
        // What declared the topology must not be taken for having done so.
        self.link.discard(&connection);
        Ok(())
    }

    async fn depth_by(&self, channel: &Channel) -> Result<QueueDepth, QueueError> {
        let ready = self.count(channel, self.topology.queue()).await?;
        let dead = self.count(channel, self.topology.dead()).await?;
        Ok(QueueDepth { ready, dead })
    }

    async fn count(&self, channel: &Channel, queue: String) -> Result<u64, QueueError> {
        Ok(self.look(channel, queue).await?.message_count().into())
    }

    async fn look(&self, channel: &Channel, queue: String) -> Result<lapin::Queue, QueueError> {
        // Passive: only looks.
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
        self.within("counting messages", declared).await
    }

    async fn within<T>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, lapin::Error>>,
    ) -> Result<T, QueueError> {
        let after = self.options.publish_timeout;
        let done = timeout(after, work).await;
        Ok(done.map_err(|_| QueueError::TimedOut { doing, after, blocked: false })??)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}
