//! Placeholder: the backend follows.

use super::{DeadLetter, Feed, Message, QueueDepth, QueueError, QueueOptions, QueueServer, Topology};

#[derive(Debug)]
pub(crate) struct RabbitQueue;

fn absent<T>() -> Result<T, QueueError> {
    Err(QueueError::Configuration("this backend is not there yet".to_owned()))
}

impl RabbitQueue {
    pub(crate) fn new(url: &str, topology: Topology, options: QueueOptions) -> Result<Self, QueueError> {
        let _ = (url, topology, options);
        Ok(Self)
    }
    pub(crate) async fn publish(&self, _: Message) -> Result<(), QueueError> {
        absent()
    }
    pub(crate) async fn consumer(&self, _: u16) -> Result<Feed, QueueError> {
        absent()
    }
    pub(crate) async fn dead_letters(&self, _: usize) -> Result<Vec<DeadLetter>, QueueError> {
        absent()
    }
    pub(crate) async fn depth(&self) -> Result<QueueDepth, QueueError> {
        absent()
    }
    pub(crate) async fn check(&self) -> Result<QueueServer, QueueError> {
        absent()
    }
    pub(crate) async fn purge(&self) -> Result<(), QueueError> {
        absent()
    }
    pub(crate) async fn delete(&self) -> Result<(), QueueError> {
        absent()
    }
}
