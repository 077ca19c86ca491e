//! What producer and worker share: the domain (pure), and behind features the store, the queue and the embedded engine.

pub mod error;
mod error_code;
pub mod parse;
#[cfg(feature = "queue")]
pub mod queue;
pub mod record;
#[cfg(feature = "runtime")]
pub mod retry;
