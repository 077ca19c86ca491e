//! The states of imports and chunks, and the moves between them. The store guards every move.

mod moves;

use serde::{Deserialize, Serialize};

pub use moves::{CHUNK_MOVES, ChunkStep, IMPORT_MOVES, ImportStep, Move, Step};

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every state, in the order of the diagram.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The text in the store and in responses.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownState;

            fn from_str(text: &str) -> Result<Self, UnknownState> {
                match text { $($text => Ok(Self::$variant),)* _ => Err(UnknownState { allowed: &[$($text,)*] }) }
            }
        }
    };
}

/// The text names no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of: {}", allowed.join(", "))]
pub struct UnknownState {
    /// The states there are.
    pub allowed: &'static [&'static str],
}

states! {
    /// Where an import stands.
    ImportState {
        /// The upload is coming in.
        Receiving = "receiving",
        /// Everything is staged durably; it waits for `proceed`.
        Received = "received",
        /// Its chunks are dispatched to find out what they would do. Nothing is written to users.
        Planning = "planning",
        /// It is known what every record would come to; it waits for `proceed`.
        Planned = "planned",
        /// Its chunks are dispatched and applied.
        Running = "running",
        /// No further chunk is dispatched until `resume`.
        Paused = "paused",
        /// Every record has its outcome.
        Completed = "completed",
        /// The upload stopped half-way; nothing of it is kept.
        Aborted = "aborted",
        /// The file cannot be imported; nothing of it is applied.
        Refused = "refused",
        /// Stopped on request; records whose turn had not come are skipped.
        Cancelled = "cancelled",
    }
}

impl ImportState {
    /// Whether the import has ended (`retry` leads on from `completed`, `resume` from `cancelled`).
    ///
    /// ```
    /// use muster_domain::import::ImportState;
    ///
    /// assert!(ImportState::Completed.is_final());
    /// assert!(!"running".parse::<ImportState>().unwrap().is_final());
    /// ```
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Aborted | Self::Refused | Self::Cancelled)
    }
}

states! {
    /// Where a chunk stands.
    ChunkState {
        /// In the store, not with the workers.
        Staged = "staged",
        /// Published, until its lease is over.
        Dispatched = "dispatched",
        /// An attempt failed; it is dispatched again when it is due.
        Retryable = "retryable",
        /// It is known what its records would come to.
        Planned = "planned",
        /// Every record has its outcome.
        Applied = "applied",
        /// Its attempts are spent; its records have failed.
        Dead = "dead",
        /// The import was cancelled before its turn.
        Cancelled = "cancelled",
    }
}

states! {
    /// The state of the delivery of a webhook.
    DeliveryState {
        /// It is still to be made, or to be tried again.
        Pending = "pending",
        /// The receiver has it.
        Delivered = "delivered",
        /// It is tried no more.
        Failed = "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_read_as_they_are_written() {
        for state in ImportState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for state in ChunkState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        assert!("done".parse::<ImportState>().is_err());
    }
}
