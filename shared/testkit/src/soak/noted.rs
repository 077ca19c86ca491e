//! The faults of a run that something is waited for after; how long that took is worked out at the end (`recovery`).

use std::sync::Mutex;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::journal::held;

/// What is waited for after a fault.
#[derive(Debug, Clone)]
pub(super) enum Waits {
    /// Each of these chunks, which the killed worker had, is applied.
    Each(Vec<i64>),
    /// Any chunk is applied.
    Any,
    /// Any chunk goes out.
    Out,
}

#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) kind: &'static str,
    /// When it was healed; for a killed worker, when it was killed.
    pub(super) at: DateTime<Utc>,
    pub(super) waits: Waits,
}

/// The faults of a run that something is waited for after.
#[derive(Debug, Default)]
pub(crate) struct Recoveries {
    pub(super) faults: Mutex<Vec<Fault>>,
    pub(super) busy_keys: Mutex<Vec<f64>>,
    pub(super) connected: Mutex<Vec<f64>>,
}

impl Recoveries {
    /// A worker died with these chunks.
    pub(crate) fn worker_died(&self, kind: &'static str, at: DateTime<Utc>, chunks: Vec<i64>) {
        held(&self.faults).push(Fault { kind, at, waits: Waits::Each(chunks) });
    }

    /// Work can go on from here.
    pub(crate) fn healed(&self, kind: &'static str, at: DateTime<Utc>) {
        held(&self.faults).push(Fault { kind, at, waits: Waits::Any });
    }

    /// Chunks can go out from here.
    pub(crate) fn can_publish(&self, kind: &'static str, at: DateTime<Utc>) {
        held(&self.faults).push(Fault { kind, at, waits: Waits::Out });
    }

    /// A process had a new session with the database after so many seconds.
    pub(crate) fn connected_again(&self, seconds: f64) {
        held(&self.connected).push(seconds);
    }

    /// A key was refused for so long since its first request was being received.
    pub(crate) fn key_was_busy(&self, time: Duration) {
        held(&self.busy_keys).push(time.as_secs_f64());
    }
}
