//! The names of the queues and their delivery limit. Pure; each backend creates them in its own way.
//!
//! Names have a prefix and a version. So tests do not interfere, and a changed topology can exist beside the
//! old one until that is empty; the properties of an existing queue cannot be changed.

use crate::QueueError;

/// Names and limits of one work queue and its dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    prefix: String,
    delivery_limit: u32,
}

// Raised whenever the properties with which queues are declared change.
const VERSION: u32 = 1;
// AMQP names hold 255 bytes; this leaves room for what is added to the prefix.
const PREFIX_LONGEST: usize = 200;
// High, for it is only the fuse for a message that kills its worker: attempts are counted in the store.
const DELIVERY_LIMIT: u32 = 20;

impl Topology {
    /// The topology under `prefix`: 1 to 200 of the characters `a-z`, `A-Z`, `0-9`, `.`, `_` and `-`.
    ///
    /// ```
    /// use muster_queue::Topology;
    ///
    /// let topology = Topology::new("muster").unwrap();
    /// assert_eq!(topology.dead(), format!("{}.dead", topology.queue()));
    /// assert!(Topology::new("a queue").is_err());
    /// ```
    pub fn new(prefix: impl Into<String>) -> Result<Self, QueueError> {
        let prefix = prefix.into();
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if prefix.is_empty() || prefix.len() > PREFIX_LONGEST || !prefix.chars().all(allowed) {
            return Err(QueueError::Configuration(format!(
                "a queue prefix has 1 to {PREFIX_LONGEST} of the characters a-z, A-Z, 0-9, dot, underscore and hyphen"
            )));
        }
        Ok(Self { prefix, delivery_limit: DELIVERY_LIMIT })
    }

    /// Lets a message be returned `limit` times; after that it is dead-lettered. At least 1.
    #[must_use]
    pub fn with_delivery_limit(mut self, limit: u32) -> Self {
        self.delivery_limit = limit.max(1);
        self
    }

    /// Name of the work queue.
    pub fn queue(&self) -> String {
        format!("{}.chunks.v{VERSION}", self.prefix)
    }

    /// Name of the dead-letter queue, and of the exchange that feeds it.
    pub fn dead(&self) -> String {
        format!("{}.dead", self.queue())
    }

    /// How often a message may be redelivered before it is dead-lettered.
    pub fn delivery_limit(&self) -> u32 {
        self.delivery_limit
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_prefix_and_version() {
        let topology = Topology::new("muster").unwrap();
        assert_eq!(topology.queue(), "muster.chunks.v1");
        assert_eq!(topology.dead(), "muster.chunks.v1.dead");
        assert_eq!(topology.delivery_limit(), 20);
    }

    #[test]
    fn a_prefix_that_no_broker_takes_is_refused() {
        for prefix in ["", "with space", "naïve", &"x".repeat(201)] {
            assert!(matches!(Topology::new(prefix), Err(QueueError::Configuration(_))), "{prefix}");
        }
    }
}
