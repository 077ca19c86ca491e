//! Errors of the queue seam, and how a caller should react to each.

use std::time::Duration;

use muster_domain::fault::Fault;
use muster_runtime::retry::ErrorKind;

use crate::message::MAX_BODY;

/// An error of the queue seam. Its [`kind`](QueueError::kind) is decided from codes, never from message text.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The message was not stored, because no such queue exists. The next publish declares the topology again.
    #[error(
        "queue {queue} does not exist, so the message was not stored; it is declared again at the next publish"
    )]
    Unroutable {
        /// The queue that is not there.
        queue: String,
    },
    /// The broker said that it did not store the message.
    #[error("the broker refused the message for queue {queue}")]
    Refused {
        /// The queue that did not take it.
        queue: String,
    },
    /// No answer in time. A message may or may not have been stored. Publishing it again is correct, since duplicates are harmless.
    #[error("no answer within {} s while {doing}{}", after.as_secs_f32(), blocked_note(*blocked))]
    TimedOut {
        /// What was being done.
        doing: &'static str,
        /// How long it was given.
        after: Duration,
        /// Whether the broker had said that it takes no messages for the time being.
        blocked: bool,
    },
    /// The delivery's consumer lost its connection, or the queue was dropped: the message will be delivered again.
    #[error("the delivery is no longer held, and its message will be delivered again")]
    Lost,
    /// The body is too long for any broker.
    #[error("the body has {size} bytes and may have {MAX_BODY} at most")]
    TooLarge {
        /// The body's length in bytes.
        size: usize,
    },
    /// The queue exists with other properties than this version of the program wants.
    #[error(
        "queue {queue} exists with other properties ({detail}); \
         let it run empty and delete it, or set another prefix"
    )]
    Mismatch {
        /// The queue or exchange.
        queue: String,
        /// What the broker says differs.
        detail: String,
    },
    /// An address, name or limit that can never work.
    #[error("{0}")]
    Configuration(String),
    /// The broker or the way to it failed.
    #[error("broker: {0}")]
    Broker(#[source] Box<lapin::Error>),
    /// The database or the way to it failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

fn blocked_note(blocked: bool) -> &'static str {
    if blocked { "; the broker blocks publishers (memory or disk alarm)" } else { "" }
}

impl QueueError {
    /// What the error asks of the caller: [`Transient`](ErrorKind::Transient) or [`Permanent`](ErrorKind::Permanent).
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unroutable { .. } | Self::Refused { .. } | Self::TimedOut { .. } | Self::Lost => {
                ErrorKind::Transient
            }
            Self::TooLarge { .. } | Self::Mismatch { .. } | Self::Configuration(_) => ErrorKind::Permanent,
            Self::Broker(error) => broker_kind(error),
            Self::Database(error) => database_kind(error),
        }
    }
}

impl QueueError {
    /// Whether the broker knows no such queue.
    pub(super) fn is_not_found(&self) -> bool {
        self.has_code(NOT_FOUND)
    }

    /// Whether the broker failed at what it was asked for, and ended the connection over it.
    pub(super) fn is_internal(&self) -> bool {
        self.has_code(INTERNAL_ERROR)
    }

    fn has_code(&self, code: u16) -> bool {
        let Self::Broker(error) = self else { return false };
        matches!(error.kind(), lapin::ErrorKind::ProtocolError(error) if error.get_id() == code)
    }
}

/// A fault is a connection that went away, as in the store.
impl From<Fault> for QueueError {
    fn from(fault: Fault) -> Self {
        if fault.refused { Self::Configuration(fault.to_string()) } else { Self::Lost }
    }
}

impl From<lapin::Error> for QueueError {
    fn from(error: lapin::Error) -> Self {
        Self::Broker(Box::new(error))
    }
}

// Codes of the AMQP 0-9-1 specification.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const NOT_ALLOWED: u16 = 530;
const NOT_IMPLEMENTED: u16 = 540;
const INTERNAL_ERROR: u16 = 541;

fn broker_kind(error: &lapin::Error) -> ErrorKind {
    match error.kind() {
        // Wrong password or permission, a virtual host that does not exist, a feature that the broker lacks.
        lapin::ErrorKind::ProtocolError(error) => match error.get_id() {
            ACCESS_REFUSED | NOT_ALLOWED | NOT_IMPLEMENTED => ErrorKind::Permanent,
            _ => ErrorKind::Transient,
        },
        lapin::ErrorKind::InvalidProtocolVersion(_) | lapin::ErrorKind::AuthProviderError(_) => {
            ErrorKind::Permanent
        }
        _ => ErrorKind::Transient,
    }
}

fn database_kind(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            // Classes: connection, rollback (deadlock, serialisation), resources, operator (shutdown), system.
            Some(code) if ["08", "40", "53", "57", "58"].contains(&code.get(..2).unwrap_or_default()) => {
                ErrorKind::Transient
            }
            // Lock not available: a lock time-out of ours.
            Some("55P03") => ErrorKind::Transient,
            _ => ErrorKind::Permanent,
        },
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => ErrorKind::Transient,
        _ => ErrorKind::Permanent,
    }
}
